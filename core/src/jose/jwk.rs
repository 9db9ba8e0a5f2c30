//! Keys as JSON (RFC 7517): private ones read, public ones written, their thumbprint (RFC 7638).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rsa::{KeyPair, KeyPairComponents, PublicKeyComponents};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::algorithm::{Algorithm, Curve, Family};
use super::encoding::{base64, fixed, without_leading_zeros};
use super::key::{Signer, SigningKey};
use super::material::Material;
use crate::json;

/// Whether this text is surely a JWK and no secret that begins with a brace.
pub(super) fn is_jwk(text: &str) -> bool {
    json::parse(text.as_bytes(), false).is_ok_and(|value| value.get("kty").is_some())
}

/// A key that signs `algorithm`, else what its own `alg` says, else the usual.
pub(super) fn private_key(text: &str, algorithm: Option<Algorithm>) -> Result<SigningKey, String> {
    let value = json::parse(text.as_bytes(), false).map_err(|fault| format!("is {fault}"))?;
    let Value::Object(members) = value else { return Err("is not a JWK: it is no JSON object".to_owned()) };
    let jwk = Jwk(members);
    if jwk.0.contains_key("keys") {
        return Err("is a JWK set; give the one key to sign with".to_owned());
    }
    let algorithm = match (algorithm, jwk.algorithm()?) {
        (Some(wanted), Some(own)) if wanted != own => {
            return Err(format!("is a JWK for {} (its member alg), not for {}", own.name(), wanted.name()));
        }
        (wanted, own) => wanted.or(own),
    };
    let kid = jwk.text("kid").map(str::to_owned);
    let material = match jwk.text("kty") {
        Some("RSA") => jwk.rsa(),
        Some("EC") => jwk.ec(),
        Some("OKP") => jwk.okp(),
        Some("oct") => jwk.oct(algorithm),
        Some(_) => Err("is a JWK of a kty that is not supported: RSA, EC, OKP and oct are".to_owned()),
        None => Err("is not a JWK: it has no member kty".to_owned()),
    }?;
    SigningKey::new(material, algorithm, kid)
}

struct Jwk(Map<String, Value>);

impl Jwk {
    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    fn bytes(&self, name: &str) -> Result<Zeroizing<Vec<u8>>, String> {
        let text = self.text(name).ok_or_else(|| format!("is a JWK without the member {name}"))?;
        base64(text).ok_or_else(|| format!("is a JWK whose member {name} is not base64url"))
    }

    /// The private member `d`, in whose absence the JWK is a public key.
    fn private(&self) -> Result<Zeroizing<Vec<u8>>, String> {
        if !self.0.contains_key("d") {
            return Err("is a public key, not a private one: it has no member d".to_owned());
        }
        self.bytes("d")
    }

    fn algorithm(&self) -> Result<Option<Algorithm>, String> {
        match self.text("alg") {
            None => Ok(None),
            // The name that RFC 9864 gives to EdDSA with this curve.
            Some("Ed25519") => Ok(Some(Algorithm::EdDsa)),
            Some(name) => match Algorithm::from_name(name) {
                Some(algorithm) => Ok(Some(algorithm)),
                None => Err("is a JWK for an algorithm that is not supported (its member alg)".to_owned()),
            },
        }
    }

    fn rsa(&self) -> Result<Material, String> {
        let d = self.private()?;
        // RFC 7518 6.3.2 lets a writer leave the primes out; ring cannot find them again.
        if ["p", "q", "dp", "dq", "qi"].iter().any(|name| !self.0.contains_key(*name)) {
            return Err("is an RSA JWK without all of p, q, dp, dq and qi, which are needed".to_owned());
        }
        let (n, e) = (self.bytes("n")?, self.bytes("e")?);
        let (p, q, dp, dq, qi) =
            (self.bytes("p")?, self.bytes("q")?, self.bytes("dp")?, self.bytes("dq")?, self.bytes("qi")?);
        Material::rsa(&n, || {
            KeyPair::from_components(&KeyPairComponents {
                public_key: PublicKeyComponents { n: without_leading_zeros(&n), e: without_leading_zeros(&e) },
                d: without_leading_zeros(&d),
                p: without_leading_zeros(&p),
                q: without_leading_zeros(&q),
                dP: without_leading_zeros(&dp),
                dQ: without_leading_zeros(&dq),
                qInv: without_leading_zeros(&qi),
            })
        })
    }

    fn ec(&self) -> Result<Material, String> {
        let curve = match self.text("crv") {
            Some("P-256") => Curve::P256,
            Some("P-384") => Curve::P384,
            Some(_) => return Err("is an EC key on a curve that is not supported: P-256 and P-384 are".to_owned()),
            None => return Err("is a JWK without the member crv".to_owned()),
        };
        let d = self.private()?;
        let mut public = vec![4];
        for name in ["x", "y"] {
            let coordinate = fixed(&self.bytes(name)?, curve.size());
            public.extend_from_slice(&coordinate.ok_or_else(|| format!("is a JWK whose member {name} is too long"))?);
        }
        Material::ec(curve, &d, &public)
    }

    fn okp(&self) -> Result<Material, String> {
        if self.text("crv") != Some("Ed25519") {
            return Err("is an OKP JWK on a curve that is not supported: Ed25519 is".to_owned());
        }
        Ed25519KeyPair::from_seed_and_public_key(&self.private()?, &self.bytes("x")?)
            .map(Material::Ed25519)
            .map_err(|_| "is a damaged Ed25519 key: its private and public parts do not fit each other".to_owned())
    }

    fn oct(&self, algorithm: Option<Algorithm>) -> Result<Material, String> {
        let secret = self.bytes("k")?;
        let algorithm = algorithm.unwrap_or(Algorithm::Hs256);
        // Somebody made a key on purpose here; a client_secret given as text is as long as the server made it.
        if let Family::Hmac(hmac) = algorithm.family() {
            let least = hmac.digest_algorithm().output_len();
            if secret.len() < least {
                return Err(format!(
                    "has {} bytes, too few for {}, which wants {least} (RFC 7518 3.2)",
                    secret.len(),
                    algorithm.name()
                ));
            }
        }
        Ok(Material::Secret(secret))
    }
}

/// The public key with the members that RFC 7638 3.2 requires, in its order; a secret has none.
pub(super) fn public(signer: &Signer) -> Option<Value> {
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    match signer {
        Signer::Rsa(pair, _) => {
            let parts = PublicKeyComponents::<Vec<u8>>::from(pair.public());
            Some(json!({ "e": text(&parts.e), "kty": "RSA", "n": text(&parts.n) }))
        }
        Signer::Ec(curve, pair) => {
            // An uncompressed point: 4, x, y.
            let point = &pair.public_key().as_ref()[1..];
            let (x, y) = point.split_at(curve.size());
            Some(json!({ "crv": curve.name(), "kty": "EC", "x": text(x), "y": text(y) }))
        }
        Signer::Ed25519(pair) => Some(json!({ "crv": "Ed25519", "kty": "OKP", "x": text(pair.public_key().as_ref()) })),
        Signer::Hmac(_) => None,
    }
}

/// The SHA-256 thumbprint of what [`public`] gave.
pub(super) fn thumbprint(public: &Value) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, public.to_string().as_bytes()))
}
