//! A key to sign with: read from whatever its owner has, bound to one algorithm.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{EcdsaKeyPair, Ed25519KeyPair, RsaEncoding};
use ring::{hmac, rsa};
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::algorithm::{Algorithm, Curve, Family};
use super::material::Material;
use super::{der, encoding, jwk, pem};
use crate::error::{Error, ErrorCode, Result};
use crate::secret::Secret;

/// Eight times the longest RSA key in PEM, with room for a chain of certificates beside it.
const LIMIT: usize = 64 * 1024;

const UNRECOGNISED: &str = "is neither PEM nor a JWK nor the base64 of a private key";

const NEEDS_HS: &str = "a shared secret needs an HS algorithm";

/// How the text of a key is written; see [`SigningKey::parse`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub(crate) enum KeyFormat {
    Pem,
    Jwk,
    Hex,
    Base64,
    Text,
}

/// A private key or shared secret with the one algorithm it signs with. `Debug` prints nothing of it.
pub(crate) struct SigningKey {
    signer: Signer,
    algorithm: Algorithm,
    kid: Option<String>,
    public_jwk: Option<Value>,
}

pub(super) enum Signer {
    Rsa(rsa::KeyPair, &'static dyn RsaEncoding),
    Ec(Curve, EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Hmac(hmac::Key),
}

impl SigningKey {
    /// Reads a key:
    ///
    /// - PEM of PKCS#8, PKCS#1 or SEC1, also with other text around it or its line breaks lost;
    /// - a JWK: RSA, EC on P-256 or P-384, OKP on Ed25519, oct;
    /// - hex or base64 (either alphabet): of a shared secret, an Ed25519 seed, a key in DER, and base64 of a whole PEM;
    /// - text: the shared secret itself, of any length, since servers issue short ones.
    ///
    /// Without `format` the text tells, except that under an HS algorithm whatever is no PEM and no JWK is taken as it
    /// stands: a client_secret may look like hex. Without `algorithm` it is the JWK's own or the usual one of such a
    /// key; only plain text and oct are secrets then, for a broken key must not become one.
    pub(crate) fn parse(
        text: &str,
        format: Option<KeyFormat>,
        algorithm: Option<Algorithm>,
    ) -> Result<SigningKey, String> {
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err("is empty".to_owned());
        }
        if text.len() > LIMIT {
            return Err(format!("is longer than {LIMIT} bytes, which no key is"));
        }
        let format = match format {
            Some(format) => format,
            None => guess(trimmed, algorithm)?,
        };
        let material = match format {
            KeyFormat::Pem => pem::private_key(trimmed)?,
            KeyFormat::Jwk => return jwk::private_key(trimmed, algorithm),
            KeyFormat::Hex => from_bytes(encoding::hex(trimmed).ok_or("is not hex")?, algorithm)?,
            KeyFormat::Base64 => from_bytes(encoding::base64(trimmed).ok_or("is not base64")?, algorithm)?,
            KeyFormat::Text => Material::Secret(Zeroizing::new(text.as_bytes().to_vec())),
        };
        SigningKey::new(material, algorithm, None)
    }

    /// A new P-256 key, and the same as PKCS#8 in base64 for [`SigningKey::parse`] to read again.
    pub(crate) fn generate_es256() -> Result<(SigningKey, Secret)> {
        let curve = Curve::P256;
        let document = EcdsaKeyPair::generate_pkcs8(curve.signing(), &SystemRandom::new())
            .map_err(|_| Error::new(ErrorCode::Internal, "the operating system's random source failed"))?;
        let broken = |_| Error::new(ErrorCode::Internal, "a key just generated cannot be read");
        let material = der::private_key(document.as_ref()).map_err(broken)?;
        let key = SigningKey::new(material, Some(Algorithm::Es256), None).map_err(broken)?;
        Ok((key, Secret::new(STANDARD.encode(document.as_ref()))))
    }

    pub(super) fn new(
        material: Material,
        algorithm: Option<Algorithm>,
        kid: Option<String>,
    ) -> Result<SigningKey, String> {
        let algorithm = algorithm.unwrap_or_else(|| material.usual_algorithm());
        let signer = match (material, algorithm.family()) {
            (Material::Rsa(pair), Family::Rsa(padding)) => Signer::Rsa(pair, padding),
            (Material::Ec(curve, pair), Family::Ec(wanted)) if curve == wanted => Signer::Ec(curve, pair),
            (Material::Ed25519(pair), Family::Ed25519) => Signer::Ed25519(pair),
            (Material::Secret(secret), Family::Hmac(hmac)) if !secret.is_empty() => {
                Signer::Hmac(hmac::Key::new(hmac, &secret))
            }
            (Material::Secret(secret), _) if secret.is_empty() => return Err("is empty".to_owned()),
            (material, _) => return Err(format!("is {}, which cannot sign {}", material.kind(), algorithm.name())),
        };
        let public_jwk = jwk::public(&signer);
        Ok(SigningKey { signer, algorithm, kid, public_jwk })
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The `kid` of the JWK it was read from.
    pub(crate) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The public key as a JWK with the required members only, in the order of RFC 7638 3.3; `None` for a secret.
    pub(crate) fn public_jwk(&self) -> Option<&Value> {
        self.public_jwk.as_ref()
    }

    /// The JWK thumbprint (RFC 7638) with SHA-256, in base64url; `None` for a secret.
    pub(crate) fn thumbprint(&self) -> Option<String> {
        self.public_jwk().map(jwk::thumbprint)
    }

    /// The signature over `message` as JWS wants it: `r || s` for ES256 and ES384.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let random = SystemRandom::new();
        match &self.signer {
            Signer::Rsa(pair, padding) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                // ring verifies what it signed, which is where a wrong exponent in the key comes to light.
                pair.sign(*padding, &random, message, &mut signature).map_err(|_| {
                    Error::config("the private key cannot sign: it is damaged, its parts do not fit each other")
                })?;
                Ok(signature)
            }
            Signer::Ec(_, pair) => pair
                .sign(&random, message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| Error::new(ErrorCode::Internal, "the operating system's random source failed")),
            Signer::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Signer::Hmac(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

fn guess(trimmed: &str, algorithm: Option<Algorithm>) -> Result<KeyFormat, String> {
    let hmac = matches!(algorithm.map(Algorithm::family), Some(Family::Hmac(_)));
    if pem::is_pem(trimmed) {
        return Ok(KeyFormat::Pem);
    }
    if trimmed.starts_with('{') && (!hmac || jwk::is_jwk(trimmed)) {
        return Ok(KeyFormat::Jwk);
    }
    if hmac {
        return Ok(KeyFormat::Text);
    }
    // Digits of a seed or private number; the same digits are base64 of something else.
    if algorithm.is_some() && matches!(trimmed.len(), 64 | 96) && encoding::hex(trimmed).is_some() {
        return Ok(KeyFormat::Hex);
    }
    match encoding::base64(trimmed) {
        Some(bytes) if bytes.len() == 32 && algorithm == Some(Algorithm::EdDsa) => Ok(KeyFormat::Base64),
        Some(bytes) if der::is_private_key(&bytes) || pem_inside(&bytes).is_some() => Ok(KeyFormat::Base64),
        _ if algorithm.is_none() => Err(format!("{UNRECOGNISED}; {NEEDS_HS}")),
        _ => Err(UNRECOGNISED.to_owned()),
    }
}

fn from_bytes(bytes: Zeroizing<Vec<u8>>, algorithm: Option<Algorithm>) -> Result<Material, String> {
    match algorithm.map(Algorithm::family) {
        Some(Family::Hmac(_)) => return Ok(Material::Secret(bytes)),
        Some(Family::Ec(curve)) if bytes.len() == curve.size() => {
            return Err("is an EC private number without its public key, which is needed; \
                        give PEM or a JWK, which hold both"
                .to_owned());
        }
        _ => {}
    }
    if let Some(text) = pem_inside(&bytes) {
        return pem::private_key(text);
    }
    if der::is_private_key(&bytes) {
        return der::private_key(&bytes);
    }
    match algorithm {
        None => Err(format!("holds no private key in DER form; {NEEDS_HS}")),
        Some(Algorithm::EdDsa) => Material::ed25519_seed(&bytes),
        Some(_) => Err("holds no private key in DER form".to_owned()),
    }
}

/// CI systems that allow one line only make people encode the whole file once more.
fn pem_inside(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| pem::is_pem(text))
}
