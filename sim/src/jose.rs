//! JSON Web Tokens and Keys (RFC 7515, 7517, 7638) as a server meets them: taken apart, and their signatures checked.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::hmac;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use serde_json::{Map, Value, json};

/// The algorithms with a private and a public key that are understood here.
pub(crate) const ASYMMETRIC: [&str; 9] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

const PRIVATE_MEMBERS: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "k"];

/// A token in three parts, taken apart; its signature is not checked yet.
#[derive(Debug, Clone)]
pub(crate) struct Jwt {
    pub(crate) header: Map<String, Value>,
    pub(crate) claims: Map<String, Value>,
    /// The first two parts as they came, which is what was signed.
    signed: String,
    signature: Vec<u8>,
}

impl Jwt {
    /// `None` for a text that is no JWT: three parts in base64url without padding, the first two JSON objects.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let object = |part: &str| match serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?) {
            Ok(Value::Object(map)) => Some(map),
            _ => None,
        };
        let (header, claims) = (object(header)?, object(claims)?);
        Some(Self { header, claims, signed: signed.to_owned(), signature: URL_SAFE_NO_PAD.decode(signature).ok()? })
    }

    pub(crate) fn header_text(&self, name: &str) -> Option<&str> {
        self.header.get(name)?.as_str()
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.claims.get(name)?.as_str()
    }

    pub(crate) fn number(&self, name: &str) -> Option<f64> {
        self.claims.get(name)?.as_f64()
    }

    /// The `aud` claim, which is a text or a list of texts.
    pub(crate) fn audiences(&self) -> Vec<&str> {
        match self.claims.get("aud") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// Both readable parts, as `POST /_sim/requests` shows them.
    pub(crate) fn to_json(&self) -> Value {
        json!({"header": self.header, "claims": self.claims})
    }
}

/// A key that checks signatures.
#[derive(Debug, Clone)]
pub(crate) enum VerifyingKey {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
    Secret(Vec<u8>),
}

impl VerifyingKey {
    /// Reads a JWK; private members are not looked at. `Err` says what is wrong.
    pub(crate) fn from_jwk(jwk: &Value) -> Result<Self, String> {
        let bytes = |name: &str| {
            let text = jwk[name].as_str().ok_or_else(|| format!("the member {name} is missing"))?;
            URL_SAFE_NO_PAD.decode(text).map_err(|_| format!("the member {name} is not base64url"))
        };
        let point = |size: usize| {
            let (x, y) = (bytes("x")?, bytes("y")?);
            match x.len() == size && y.len() == size {
                true => Ok([vec![4], x, y].concat()),
                false => Err(format!("x and y must have {size} bytes each (RFC 7518 6.2.1.2)")),
            }
        };
        match (jwk["kty"].as_str(), jwk["crv"].as_str()) {
            (Some("RSA"), _) => Ok(Self::Rsa { n: bytes("n")?, e: bytes("e")? }),
            (Some("EC"), Some("P-256")) => Ok(Self::P256(point(32)?)),
            (Some("EC"), Some("P-384")) => Ok(Self::P384(point(48)?)),
            (Some("OKP"), Some("Ed25519")) => Ok(Self::Ed25519(bytes("x")?)),
            _ => Err("kty and crv are not RSA, EC on P-256 or P-384, or OKP on Ed25519".to_owned()),
        }
    }

    /// Whether the key signed the token with the algorithm that its header names.
    pub(crate) fn signed(&self, jwt: &Jwt) -> bool {
        let (message, signature) = (jwt.signed.as_bytes(), jwt.signature.as_slice());
        let plain = |algorithm: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok()
        };
        match (self, jwt.header_text("alg").unwrap_or_default()) {
            (Self::Rsa { n, e }, name) => rsa(name).is_some_and(|parameters| {
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signature).is_ok()
            }),
            (Self::P256(point), "ES256") => plain(&ECDSA_P256_SHA256_FIXED, point),
            (Self::P384(point), "ES384") => plain(&ECDSA_P384_SHA384_FIXED, point),
            (Self::Ed25519(x), "EdDSA") => plain(&ED25519, x),
            (Self::Secret(secret), "HS256") => {
                hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, secret), message, signature).is_ok()
            }
            _ => false,
        }
    }
}

fn rsa(algorithm: &str) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        "RS256" => &RSA_PKCS1_2048_8192_SHA256,
        "RS384" => &RSA_PKCS1_2048_8192_SHA384,
        "RS512" => &RSA_PKCS1_2048_8192_SHA512,
        "PS256" => &RSA_PSS_2048_8192_SHA256,
        "PS384" => &RSA_PSS_2048_8192_SHA384,
        "PS512" => &RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

/// The private members of a JWK, none of which belongs into a proof.
pub(crate) fn has_private_member(jwk: &Value) -> bool {
    PRIVATE_MEMBERS.iter().any(|name| jwk.get(name).is_some())
}

/// The SHA-256 thumbprint of a key (RFC 7638 3): over the required members only, in the order of their names.
pub(crate) fn thumbprint(jwk: &Value) -> Option<String> {
    let names: &[&str] = match jwk["kty"].as_str()? {
        "RSA" => &["e", "kty", "n"],
        "EC" => &["crv", "kty", "x", "y"],
        "OKP" => &["crv", "kty", "x"],
        _ => return None,
    };
    let members: Map<String, Value> = names.iter().map(|name| ((*name).to_owned(), jwk[*name].clone())).collect();
    Some(sha256(Value::Object(members).to_string().as_bytes()))
}

/// SHA-256 in base64url, as `ath`, `jkt`, `x5t#S256` and PKCE write it.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::known;
    use base64::engine::general_purpose::STANDARD;

    #[test]
    fn the_thumbprint_of_rfc_7638_is_found() {
        let jwk = json!({
            "kty": "RSA", "e": "AQAB", "alg": "RS256", "kid": "2011-04-29",
            "n": concat!(
                "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n",
                "3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgd",
                "AZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur",
                "-kEgU8awapJzKnqDKgw"
            ),
        });
        assert_eq!(thumbprint(&jwk).unwrap(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    #[test]
    fn a_text_that_is_no_jwt_is_not_taken_for_one() {
        for text in ["", "a.b", "a.b.c", "e30.e30", "e30.e30.=", "e30=.e30.", "W10.e30."] {
            assert!(Jwt::parse(text).is_none(), "{text}");
        }
        assert!(Jwt::parse("e30.e30.").is_some());
    }

    #[test]
    fn the_known_thumbprints_are_those_of_the_certificates() {
        for name in ["rsa", "mtls"] {
            let pem = known::generic(&format!("{name}_certificate")).unwrap();
            let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
            let x5t = sha256(&STANDARD.decode(base64).unwrap());
            assert_eq!(known::generic(&format!("{name}_x5t_s256")), Some(x5t.as_str()));
        }
    }

    #[test]
    fn the_known_jwks_are_named_by_the_known_kids() {
        for name in ["rsa", "es256", "es384", "eddsa"] {
            let jwk: Value = serde_json::from_str(known::generic(&format!("{name}_private_jwk")).unwrap()).unwrap();
            assert_eq!(jwk["kid"].as_str(), known::generic(&format!("{name}_kid")));
            assert!(VerifyingKey::from_jwk(&jwk).is_ok() && has_private_member(&jwk));
        }
    }
}
