//! The keys that records are encrypted with: several, of which the first one writes.

use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD as PLUS_AND_SLASH;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use ring::aead::{self, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::{hkdf, hmac};
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::random::random_bytes;

const SALT: usize = 32;

/// Keys for encryption at rest; may be none.
#[derive(Clone, Default)]
pub(crate) struct Keys(Vec<Key>);

#[derive(Clone)]
struct Key {
    bytes: Zeroizing<[u8; 32]>,
    id: String,
}

/// What a sealed text cannot be opened for.
pub(super) enum Sealed {
    /// With a key that is not among these.
    OtherKey,
    /// Not what was sealed under this name.
    Broken,
}

impl Keys {
    /// Each is 32 bytes, in base64 or in hex. `at` names the field.
    pub(crate) fn parse(texts: &[&str], at: &str) -> Result<Keys> {
        let parse = |text: &&str| {
            Key::parse(text).ok_or_else(|| {
                Error::config(format!(
                    "{at}: a key is 32 random bytes in base64 or in hex, as `openssl rand -base64 32` makes them"
                ))
            })
        };
        Ok(Keys(texts.iter().map(parse).collect::<Result<_>>()?))
    }

    /// The name of the key that writes.
    pub(super) fn first(&self) -> Option<&str> {
        self.0.first().map(|key| key.id.as_str())
    }

    /// Encrypts with the first key. Every text has a key of its own, derived from a random salt, so that no number of writes wears a
    /// key out. `bound` must be the same when it is opened.
    pub(super) fn seal(&self, bound: &[u8], text: &[u8]) -> Option<Vec<u8>> {
        let key = self.0.first()?;
        let mut sealed = random_bytes(SALT);
        let mut body = text.to_vec();
        let nonce = Nonce::assume_unique_for_key([0; aead::NONCE_LEN]);
        key.derived(&sealed).seal_in_place_append_tag(nonce, Aad::from(bound), &mut body).ok()?;
        sealed.append(&mut body);
        Some(sealed)
    }

    pub(super) fn open(
        &self,
        id: &str,
        bound: &[u8],
        sealed: &[u8],
    ) -> std::result::Result<Zeroizing<Vec<u8>>, Sealed> {
        let key = self.0.iter().find(|key| key.id == id).ok_or(Sealed::OtherKey)?;
        let (salt, body) = sealed.split_at_checked(SALT).ok_or(Sealed::Broken)?;
        let mut body = Zeroizing::new(body.to_vec());
        let nonce = Nonce::assume_unique_for_key([0; aead::NONCE_LEN]);
        let opened = key.derived(salt).open_in_place(nonce, Aad::from(bound), &mut body);
        let length = opened.map_err(|_| Sealed::Broken)?.len();
        body.truncate(length);
        Ok(body)
    }
}

impl Key {
    fn parse(text: &str) -> Option<Key> {
        let bytes = match text.len() {
            64 => from_hex(text)?,
            _ => Zeroizing::new(BASE64.decode(text.replace('-', "+").replace('_', "/")).ok()?),
        };
        let bytes: Zeroizing<[u8; 32]> = Zeroizing::new(bytes.as_slice().try_into().ok()?);
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, bytes.as_ref()), b"qauth key id 1");
        let id = tag.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        Some(Key { bytes, id })
    }

    /// The key of one text (RFC 5869).
    fn derived(&self, salt: &[u8]) -> LessSafeKey {
        let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(self.bytes.as_ref());
        let derived = secret.expand(&[b"qauth record 1"], &AES_256_GCM).expect("32 bytes are few");
        LessSafeKey::new(UnboundKey::from(derived))
    }
}

/// Padded or not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &PLUS_AND_SLASH,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

fn from_hex(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let pair = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| (0..text.len()).step_by(2).map(pair).collect::<Option<Vec<u8>>>().map(Zeroizing::new)).flatten()
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const SAME: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const OTHER: &str = "__ECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

    fn keys(texts: &[&str]) -> Keys {
        Keys::parse(texts, "store.encryption_key").unwrap()
    }

    #[test]
    fn a_key_is_the_same_in_every_spelling_and_nothing_else_is_one() {
        let sealed = keys(&[HEX]).seal(b"name", b"text").unwrap();
        let id = keys(&[SAME]).first().unwrap().to_owned();
        assert_eq!(keys(&[OTHER, SAME]).open(&id, b"name", &sealed).ok().unwrap().as_slice(), b"text");
        for wrong in ["", "password", &HEX[1..], &format!("{HEX}00"), &SAME[4..], &HEX.replace('f', "g")] {
            let error = Keys::parse(&[SAME, wrong], "store.encryption_key").unwrap_err();
            assert!(error.message().starts_with("store.encryption_key: "), "{error}");
            assert!(wrong.is_empty() || !error.message().contains(wrong), "{error}");
        }
        assert_eq!(format!("{:?}", keys(&[HEX])), "1 keys");
    }

    #[test]
    fn the_first_key_writes_and_all_of_them_read() {
        let (old, both) = (keys(&[HEX]), keys(&[OTHER, HEX]));
        let sealed = old.seal(b"name", b"text").unwrap();
        assert!(both.open(old.first().unwrap(), b"name", &sealed).is_ok());
        let again = both.seal(b"name", b"text").unwrap();
        assert!(matches!(old.open(both.first().unwrap(), b"name", &again), Err(Sealed::OtherKey)));
        assert!(matches!(both.open(old.first().unwrap(), b"name", &again), Err(Sealed::Broken)));
    }

    #[test]
    fn a_text_is_bound_to_its_name_and_every_bit_of_it_counts() {
        let keys = keys(&[HEX]);
        let id = keys.first().unwrap();
        let sealed = keys.seal(b"name", b"text").unwrap();
        assert_ne!(sealed, keys.seal(b"name", b"text").unwrap());
        assert!(keys.open(id, b"other", &sealed).is_err());
        assert!(keys.open(id, b"name", &sealed[..sealed.len() - 1]).is_err());
        assert!(keys.open(id, b"name", &sealed[..7]).is_err());
        for at in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[at] ^= 1;
            assert!(keys.open(id, b"name", &flipped).is_err(), "byte {at}");
        }
    }
}
