//! Private keys in DER: PKCS#8 (RFC 5958), PKCS#1 (RFC 8017 A.1.2) and SEC1 (RFC 5915), told apart by their shape.

use ring::rsa;
use ring::signature::Ed25519KeyPair;

use super::algorithm::Curve;
use super::material::{DAMAGED, Material};

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
/// `[0]` around a value: SEC1 parameters, PKCS#8 attributes.
const CONTEXT_0: u8 = 0xA0;
/// `[1]` around a value: the public key of SEC1.
const CONTEXT_1: u8 = 0xA1;
/// `[1]` in place of a bit string's own tag: the public key of PKCS#8 version 2.
const CONTEXT_1_BITS: u8 = 0x81;

const OID_RSA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";
const OID_RSA_PSS: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a";
const OID_EC: &[u8] = b"\x2a\x86\x48\xce\x3d\x02\x01";
const OID_ED25519: &[u8] = b"\x2b\x65\x70";
const OID_P256: &[u8] = b"\x2a\x86\x48\xce\x3d\x03\x01\x07";
const OID_P384: &[u8] = b"\x2b\x81\x04\x00\x22";

/// ring cannot compute a public key and wants one to check the private key against. `openssl pkey` would leave it out
/// again; `openssl ec` does not.
const NO_PUBLIC_KEY: &str =
    "is an EC key without its public key, which is needed; add it: openssl ec -in OLD.pem -out NEW.pem";

/// Whether these bytes have the shape of an unencrypted private key; no public key and no certificate has it.
pub(super) fn is_private_key(der: &[u8]) -> bool {
    let Some(mut fields) = whole_sequence(der) else { return false };
    fields.take(INTEGER).is_some() && matches!(fields.tag(), Some(SEQUENCE | INTEGER | OCTET_STRING))
}

pub(super) fn private_key(der: &[u8]) -> Result<Material, String> {
    let mut fields = whole_sequence(der).ok_or(DAMAGED)?;
    fields.take(INTEGER).ok_or(DAMAGED)?;
    match fields.tag() {
        Some(SEQUENCE) => pkcs8(der, fields),
        Some(INTEGER) => pkcs1(der, fields),
        Some(OCTET_STRING) => sec1(der, None, None),
        _ => Err(DAMAGED.to_owned()),
    }
}

/// `fields` stands behind the version.
fn pkcs8(der: &[u8], mut fields: Reader<'_>) -> Result<Material, String> {
    let mut algorithm = Reader(fields.take(SEQUENCE).ok_or(DAMAGED)?);
    let kind = algorithm.take(OBJECT_IDENTIFIER).ok_or(DAMAGED)?;
    let key = fields.take(OCTET_STRING).ok_or(DAMAGED)?;
    match kind {
        OID_RSA => {
            let mut inner = whole_sequence(key).ok_or(DAMAGED)?;
            inner.take(INTEGER).ok_or(DAMAGED)?;
            pkcs1(key, inner)
        }
        OID_EC => {
            fields.take(CONTEXT_0);
            let public = fields.take(CONTEXT_1_BITS).and_then(whole_bytes);
            sec1(key, algorithm.take(OBJECT_IDENTIFIER), public)
        }
        // Of either version: openssl writes no public key.
        OID_ED25519 => {
            Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map(Material::Ed25519).map_err(|_| DAMAGED.to_owned())
        }
        OID_RSA_PSS => Err("is an RSA key bound to RSASSA-PSS parameters, which is not supported: \
                            a plain RSA key signs PS256 as well"
            .to_owned()),
        _ => Err("is a private key of a kind that is not supported: RSA, EC (P-256, P-384) and Ed25519 are".to_owned()),
    }
}

/// `fields` stands behind the version.
fn pkcs1(der: &[u8], mut fields: Reader<'_>) -> Result<Material, String> {
    let modulus = fields.take(INTEGER).ok_or(DAMAGED)?;
    Material::rsa(modulus, || rsa::KeyPair::from_der(der))
}

/// `curve` and `public` are those of a PKCS#8 document around it.
fn sec1(der: &[u8], curve: Option<&[u8]>, public: Option<&[u8]>) -> Result<Material, String> {
    let mut fields = whole_sequence(der).ok_or(DAMAGED)?;
    fields.take(INTEGER).ok_or(DAMAGED)?;
    let private = fields.take(OCTET_STRING).ok_or(DAMAGED)?;
    let parameters = fields.take(CONTEXT_0).and_then(|value| Reader(value).take(OBJECT_IDENTIFIER));
    let own_public = fields.take(CONTEXT_1).and_then(|value| Reader(value).take(BIT_STRING)).and_then(whole_bytes);
    let curve = match curve.or(parameters) {
        Some(OID_P256) => Curve::P256,
        Some(OID_P384) => Curve::P384,
        Some(_) => return Err("is an EC key on a curve that is not supported: P-256 and P-384 are".to_owned()),
        None => return Err("is an EC key that does not name its curve".to_owned()),
    };
    Material::ec(curve, private, own_public.or(public).ok_or(NO_PUBLIC_KEY)?)
}

/// The fields of a sequence that fills all of `der`.
fn whole_sequence(der: &[u8]) -> Option<Reader<'_>> {
    let mut outer = Reader(der);
    let fields = outer.take(SEQUENCE)?;
    outer.0.is_empty().then_some(Reader(fields))
}

/// The bytes of a bit string's value, of which none is cut short.
fn whole_bytes(bits: &[u8]) -> Option<&[u8]> {
    bits.strip_prefix(&[0])
}

/// Walks over values side by side.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next value's tag.
    fn tag(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next value if it has this tag; otherwise nothing moves.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let [found, first, rest @ ..] = self.0 else { return None };
        if *found != tag {
            return None;
        }
        let (length, rest) = match *first {
            short @ 0..=0x7F => (usize::from(short), rest),
            // Three bytes of length are 16 MB, far beyond any key.
            long @ 0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(long & 0x7F))?;
                (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(value)
    }
}
