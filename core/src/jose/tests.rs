//! Keys of every form, vectors of the RFCs, and what must be refused.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use include_dir::{Dir, include_dir};
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    RsaParameters, UnparsedPublicKey, VerificationAlgorithm,
};
use serde_json::{Map, Value};

use super::{Algorithm, KeyFormat, SigningKey};

mod algorithms;
mod dpop;
mod forms;
mod mutations;
mod refused;
mod signatures;

static KEYS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/src/jose/tests/keys");

fn file(name: &str) -> &'static str {
    KEYS.get_file(name).and_then(|file| file.contents_utf8()).unwrap_or_else(|| panic!("no key {name}"))
}

fn parse(text: &str) -> SigningKey {
    SigningKey::parse(text, None, None).expect("a key")
}

fn parse_for(text: &str, algorithm: Algorithm) -> SigningKey {
    SigningKey::parse(text, None, Some(algorithm)).expect("a key")
}

fn refusal(text: &str, format: Option<KeyFormat>, algorithm: Option<Algorithm>) -> String {
    SigningKey::parse(text, format, algorithm).expect_err("refused")
}

/// A PEM's base64 on one line.
fn body(pem: &str) -> String {
    pem.lines().filter(|line| !line.contains("-----")).collect()
}

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(members) = value else { panic!("{value} is no object") };
    members
}

fn decoded(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).expect("base64url")
}

/// Header, claims, and what was signed; the signature is verified with nothing but the public JWK.
fn verified(token: &str, public: &Value) -> (Value, Value) {
    let (message, signature) = token.rsplit_once('.').expect("three parts");
    let (header, claims) = message.split_once('.').expect("three parts");
    let header: Value = serde_json::from_slice(&decoded(header)).expect("JSON");
    let claims: Value = serde_json::from_slice(&decoded(claims)).expect("JSON");
    let algorithm = Algorithm::from_name(header["alg"].as_str().expect("alg")).expect("known");
    assert!(verifies(algorithm, public, message.as_bytes(), &decoded(signature)), "{header}");
    (header, claims)
}

fn verifies(algorithm: Algorithm, public: &Value, message: &[u8], signature: &[u8]) -> bool {
    let member = |name: &str| decoded(public[name].as_str().expect(name));
    let point = || [vec![4], member("x"), member("y")].concat();
    let rsa = |parameters: &RsaParameters| {
        PublicKeyComponents { n: member("n"), e: member("e") }.verify(parameters, message, signature).is_ok()
    };
    let by = |algorithm: &'static dyn VerificationAlgorithm, key: Vec<u8>| {
        UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok()
    };
    match algorithm {
        Algorithm::Rs256 => rsa(&RSA_PKCS1_2048_8192_SHA256),
        Algorithm::Rs384 => rsa(&RSA_PKCS1_2048_8192_SHA384),
        Algorithm::Rs512 => rsa(&RSA_PKCS1_2048_8192_SHA512),
        Algorithm::Ps256 => rsa(&RSA_PSS_2048_8192_SHA256),
        Algorithm::Ps384 => rsa(&RSA_PSS_2048_8192_SHA384),
        Algorithm::Ps512 => rsa(&RSA_PSS_2048_8192_SHA512),
        Algorithm::Es256 => by(&ECDSA_P256_SHA256_FIXED, point()),
        Algorithm::Es384 => by(&ECDSA_P384_SHA384_FIXED, point()),
        Algorithm::EdDsa => by(&ED25519, member("x")),
        Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => panic!("a secret has no public key"),
    }
}
