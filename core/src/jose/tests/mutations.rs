//! Damaged keys: never a panic, never a piece of the key in the words about it.

use std::collections::BTreeSet;

use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::jose::x5t_s256;

/// Per key file, in its text and again in its DER.
const ROUNDS: usize = 200;

/// No run of this many characters of a key may be seen.
const WINDOW: usize = 8;

struct XorShift(u64);

impl XorShift {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }

    /// One to three faults: a byte changed, bytes lost, doubled, or put in, the end lost.
    fn damage(&mut self, bytes: &mut Vec<u8>, byte: fn(usize) -> u8) {
        for _ in 0..=self.below(3) {
            let start = self.below(bytes.len());
            let end = (start + 1 + self.below(12)).min(bytes.len());
            match self.below(6) {
                0 | 1 if start < bytes.len() => bytes[start] = byte(self.below(256)),
                2 => drop(bytes.drain(start..end)),
                3 => bytes.splice(start..start, bytes[start..end].to_vec()).for_each(drop),
                4 => bytes.insert(start, byte(self.below(256))),
                _ => bytes.truncate(start.max(bytes.len() / 2)),
            }
        }
    }
}

#[test]
fn damaged_keys_never_panic_and_errors_show_nothing_of_them() {
    let mut random = XorShift(0x9E37_79B9_7F4A_7C15);
    let mut said: BTreeSet<String> = BTreeSet::new();
    let mut shown: BTreeSet<String> = BTreeSet::new();
    for key in KEYS.files().filter(|file| !file.path().ends_with("README.md")) {
        let text = key.contents_utf8().expect("text");
        let secret: Vec<char> = if text.starts_with('{') { text.to_owned() } else { body(text) }.chars().collect();
        shown.extend(secret.windows(WINDOW).map(|window| window.iter().collect()));
        let der = STANDARD.decode(body(text)).ok();
        for _ in 0..ROUNDS {
            let mut damaged = text.as_bytes().to_vec();
            random.damage(&mut damaged, |byte| (byte % 128) as u8);
            said.extend(attempt(&String::from_utf8(damaged).expect("ASCII"), None));
            if let Some(der) = &der {
                let mut damaged = der.clone();
                random.damage(&mut damaged, |byte| byte as u8);
                said.extend(attempt(&STANDARD.encode(damaged), Some(KeyFormat::Base64)));
            }
        }
    }
    assert!(said.len() > 20, "the damage reaches every part: {said:#?}");
    for error in said {
        let characters: Vec<char> = error.chars().collect();
        for window in characters.windows(WINDOW) {
            let window: String = window.iter().collect();
            assert!(!shown.contains(&window), "{error} shows {window}");
        }
    }
}

/// Reads the text as what it may be and signs with what comes of it; gives what was said.
fn attempt(text: &str, format: Option<KeyFormat>) -> Vec<String> {
    let mut said = Vec::new();
    for algorithm in [None, Some(Algorithm::EdDsa)] {
        match SigningKey::parse(text, format, algorithm) {
            Ok(key) => said.extend(key.sign(b"message").err().map(|error| error.to_string())),
            Err(error) => said.push(error),
        }
    }
    said.extend(x5t_s256(text).err());
    said
}
