//! Signed JSON (RFC 7515): private keys in every form people keep them, compact signatures, DPoP proofs.
//!
//! Pure: no file is read and no clock asked. What is wrong with a key is told as the end of a sentence ("is an EC key
//! …"), before which the caller puts the field's name; it never shows anything of the key.

mod algorithm;
mod der;
mod dpop;
mod encoding;
mod jwk;
mod jws;
mod key;
mod material;
mod pem;
#[cfg(test)]
mod tests;

pub(crate) use algorithm::Algorithm;
pub(crate) use dpop::dpop_proof;
pub(crate) use jws::compact;
pub(crate) use key::{KeyFormat, SigningKey};
pub(crate) use pem::x5t_s256;
