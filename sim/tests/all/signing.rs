//! What a client signs: assertions with the known keys, and DPoP proofs with a key of its own.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use qauth_sim::known;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding,
};
use ring::{hmac, rsa};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) fn known(field: &str) -> &'static str {
    known::generic(field).unwrap_or_else(|| panic!("no known field {field}"))
}

pub(crate) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// An identifier that did not come before.
pub(crate) fn unique() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("id-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn sha256(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()))
}

fn compact(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn der(field: &str) -> Vec<u8> {
    let base64: String = known(field).lines().filter(|line| !line.starts_with('-')).collect();
    STANDARD.decode(base64).unwrap()
}

fn ec(algorithm: &'static EcdsaSigningAlgorithm, field: &str, message: &[u8]) -> Vec<u8> {
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, &der(field), &SystemRandom::new()).unwrap();
    pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
}

/// A JWT signed with the known key for `alg`; `header` is added to.
pub(crate) fn jwt(alg: &str, header: Value, claims: &Value) -> String {
    let rsa = |padding: &'static dyn RsaEncoding, message: &[u8]| {
        let pair = rsa::KeyPair::from_pkcs8(&der("rsa_private_key")).unwrap();
        let mut signature = vec![0; pair.public().modulus_len()];
        pair.sign(padding, &SystemRandom::new(), message, &mut signature).unwrap();
        signature
    };
    let mut header = header;
    header["alg"] = json!(alg);
    compact(&header, claims, |message| match alg {
        "RS256" => rsa(&RSA_PKCS1_SHA256, message),
        "RS384" => rsa(&RSA_PKCS1_SHA384, message),
        "RS512" => rsa(&RSA_PKCS1_SHA512, message),
        "PS256" => rsa(&RSA_PSS_SHA256, message),
        "ES256" => ec(&ECDSA_P256_SHA256_FIXED_SIGNING, "es256_private_key", message),
        "ES384" => ec(&ECDSA_P384_SHA384_FIXED_SIGNING, "es384_private_key", message),
        "EdDSA" => {
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der("eddsa_private_key")).unwrap();
            pair.sign(message).as_ref().to_vec()
        }
        "HS256" => {
            let key = hmac::Key::new(hmac::HMAC_SHA256, known("secret_jwt_client_secret").as_bytes());
            hmac::sign(&key, message).as_ref().to_vec()
        }
        _ => panic!("no known key for {alg}"),
    })
}

/// The claims of a good assertion of a client for `audience`.
pub(crate) fn claims(client_id: &str, audience: &str) -> Value {
    let now = unix_now();
    json!({"iss": client_id, "sub": client_id, "aud": audience, "iat": now, "exp": now + 60, "jti": unique()})
}

/// A client's own key for proofs.
pub(crate) struct ProofKey(EcdsaKeyPair);

impl ProofKey {
    pub(crate) fn new() -> Self {
        let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self(EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap())
    }

    /// With the members of RFC 7638, in its order.
    pub(crate) fn jwk(&self) -> Value {
        let (x, y) = self.0.public_key().as_ref()[1..].split_at(32);
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({"crv": "P-256", "kty": "EC", "x": text(x), "y": text(y)})
    }

    pub(crate) fn thumbprint(&self) -> String {
        sha256(&self.jwk().to_string())
    }

    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        compact(header, claims, |message| self.0.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec())
    }

    pub(crate) fn header(&self) -> Value {
        json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk()})
    }

    /// A good proof, with more claims or other ones.
    pub(crate) fn proof(&self, method: &str, url: &str, changed: &Value) -> String {
        let mut claims = json!({"jti": unique(), "htm": method, "htu": url, "iat": unix_now()});
        for (name, value) in changed.as_object().unwrap() {
            claims[name] = value.clone();
        }
        self.sign(&self.header(), &claims)
    }
}
