//! A private key before it is known what it shall sign; what ring refuses, in clear words.

use ring::error::KeyRejected;
use ring::rand::SystemRandom;
use ring::rsa;
use ring::signature::{EcdsaKeyPair, Ed25519KeyPair};
use zeroize::Zeroizing;

use super::algorithm::{Algorithm, Curve};
use super::encoding::{fixed, without_leading_zeros};

pub(super) const DAMAGED: &str = "is a damaged private key";

pub(super) enum Material {
    Rsa(rsa::KeyPair),
    Ec(Curve, EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Secret(Zeroizing<Vec<u8>>),
}

impl Material {
    /// What it is, to be put after "is".
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Material::Rsa(_) => "an RSA key",
            Material::Ec(Curve::P256, _) => "an EC key (P-256)",
            Material::Ec(Curve::P384, _) => "an EC key (P-384)",
            Material::Ed25519(_) => "an Ed25519 key",
            Material::Secret(_) => "a shared secret",
        }
    }

    /// The algorithm that most servers expect of such a key.
    pub(super) fn usual_algorithm(&self) -> Algorithm {
        match self {
            Material::Rsa(_) => Algorithm::Rs256,
            Material::Ec(Curve::P256, _) => Algorithm::Es256,
            Material::Ec(Curve::P384, _) => Algorithm::Es384,
            Material::Ed25519(_) => Algorithm::EdDsa,
            Material::Secret(_) => Algorithm::Hs256,
        }
    }

    /// An RSA key of this modulus, which `build` makes.
    pub(super) fn rsa(
        modulus: &[u8],
        build: impl FnOnce() -> Result<rsa::KeyPair, KeyRejected>,
    ) -> Result<Material, String> {
        let modulus = without_leading_zeros(modulus);
        let bits = modulus.len() * 8 - modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
        // ring's own words are the same for a modulus and an exponent that it dislikes.
        if bits < 2048 {
            return Err(format!("is an RSA key of {bits} bits, which is too short: 2048 is the least"));
        }
        if bits > 4096 {
            return Err(format!("is an RSA key of {bits} bits, which is too long: 4096 is the most"));
        }
        build().map(Material::Rsa).map_err(|rejected| {
            match rejected.to_string().as_str() {
                "TooSmall" | "TooLarge" => "is an RSA key whose public exponent is not supported: 65537 is usual",
                "VersionNotSupported" => "is an RSA key of more than two primes, which is not supported",
                "PrivateModulusLenNotMultipleOf512Bits" => {
                    "is an RSA key of unusual length: 2048, 3072 and 4096 bits are usual"
                }
                "InconsistentComponents" => "is a damaged RSA key: its parts do not fit each other",
                _ => "is a damaged RSA key",
            }
            .to_owned()
        })
    }

    /// An EC key from its private number and its public point (an uncompressed one, RFC 5480 2.2).
    pub(super) fn ec(curve: Curve, private: &[u8], public: &[u8]) -> Result<Material, String> {
        let name = curve.name();
        if matches!(public, [2 | 3, ..]) {
            return Err(format!(
                "is an EC key ({name}) with a compressed public key; convert it: \
                 openssl ec -conv_form uncompressed -in OLD.pem -out NEW.pem"
            ));
        }
        let damaged = || format!("is a damaged EC key ({name})");
        // Some writers cut leading zeros, which RFC 5915 3 and RFC 7518 6.2.2.1 forbid.
        let private = fixed(private, curve.size()).ok_or_else(damaged)?;
        let pair =
            EcdsaKeyPair::from_private_key_and_public_key(curve.signing(), &private, public, &SystemRandom::new())
                .map_err(|rejected| match rejected.to_string().as_str() {
                    "InconsistentComponents" => {
                        format!("is a damaged EC key ({name}): its private and public parts do not fit each other")
                    }
                    _ => damaged(),
                })?;
        Ok(Material::Ec(curve, pair))
    }

    /// An Ed25519 key from its seed alone, which must have 32 bytes.
    pub(super) fn ed25519_seed(seed: &[u8]) -> Result<Material, String> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed);
        pair.map(Material::Ed25519).map_err(|_| format!("has {} bytes, where an Ed25519 key has 32", seed.len()))
    }
}
