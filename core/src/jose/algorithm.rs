//! The signature algorithms of JWS (RFC 7518 3.1, RFC 8037 3.1) that we make.

use ring::hmac;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaSigningAlgorithm, RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding,
};
use std::str::FromStr;

macro_rules! algorithms {
    ($( $variant:ident = $name:literal; )+) => {
        /// A signature algorithm, named as in the `alg` header.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Algorithm { $( $variant, )+ }

        impl Algorithm {
            pub(crate) const ALL: &'static [Algorithm] = &[ $( Algorithm::$variant, )+ ];

            /// The name in the `alg` header.
            pub(crate) const fn name(self) -> &'static str { match self { $( Algorithm::$variant => $name, )+ } }
        }
    };
}

algorithms! {
    Rs256 = "RS256";
    Rs384 = "RS384";
    Rs512 = "RS512";
    Ps256 = "PS256";
    Ps384 = "PS384";
    Ps512 = "PS512";
    Es256 = "ES256";
    Es384 = "ES384";
    Hs256 = "HS256";
    Hs384 = "HS384";
    Hs512 = "HS512";
    EdDsa = "EdDSA";
}

/// What an algorithm demands of its key, and what ring needs to know beside the key.
pub(super) enum Family {
    Rsa(&'static dyn RsaEncoding),
    Ec(Curve),
    Ed25519,
    Hmac(hmac::Algorithm),
}

/// The curves of ES256 and ES384.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
}

impl Algorithm {
    /// The algorithm of exactly this name.
    pub(crate) fn from_name(name: &str) -> Option<Algorithm> {
        Self::ALL.iter().copied().find(|algorithm| algorithm.name() == name)
    }

    pub(super) fn family(self) -> Family {
        match self {
            Algorithm::Rs256 => Family::Rsa(&RSA_PKCS1_SHA256),
            Algorithm::Rs384 => Family::Rsa(&RSA_PKCS1_SHA384),
            Algorithm::Rs512 => Family::Rsa(&RSA_PKCS1_SHA512),
            Algorithm::Ps256 => Family::Rsa(&RSA_PSS_SHA256),
            Algorithm::Ps384 => Family::Rsa(&RSA_PSS_SHA384),
            Algorithm::Ps512 => Family::Rsa(&RSA_PSS_SHA512),
            Algorithm::Es256 => Family::Ec(Curve::P256),
            Algorithm::Es384 => Family::Ec(Curve::P384),
            Algorithm::EdDsa => Family::Ed25519,
            Algorithm::Hs256 => Family::Hmac(hmac::HMAC_SHA256),
            Algorithm::Hs384 => Family::Hmac(hmac::HMAC_SHA384),
            Algorithm::Hs512 => Family::Hmac(hmac::HMAC_SHA512),
        }
    }
}

impl FromStr for Algorithm {
    type Err = String;

    fn from_str(name: &str) -> Result<Algorithm, String> {
        Algorithm::from_name(name).ok_or_else(|| {
            let known = Self::ALL.iter().map(|algorithm| algorithm.name()).collect::<Vec<_>>().join(", ");
            match name.eq_ignore_ascii_case("none") {
                true => format!("the algorithm `none` signs nothing and is never used; choose one of {known}"),
                false => format!("the algorithm is unknown; choose one of {known}"),
            }
        })
    }
}

impl Curve {
    /// The name in a JWK's `crv`.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Curve::P256 => "P-256",
            Curve::P384 => "P-384",
        }
    }

    /// How many bytes a private number or a coordinate has.
    pub(super) const fn size(self) -> usize {
        match self {
            Curve::P256 => 32,
            Curve::P384 => 48,
        }
    }

    /// ECDSA with the hash that JWS pairs with this curve; `r || s`, not DER (RFC 7518 3.4).
    pub(super) fn signing(self) -> &'static EcdsaSigningAlgorithm {
        match self {
            Curve::P256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
            Curve::P384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
        }
    }
}
