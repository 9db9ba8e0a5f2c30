//! Text that must not be seen: wiped on drop, silent in `Debug`, and the mask that keeps it out of messages.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use zeroize::Zeroizing;

/// A credential or token. Shared by reference count, wiped when the last holder goes; `Debug` prints nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Takes the text over.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(Arc::new(Zeroizing::new(text.into())))
    }

    /// The text itself, for the place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Removes a profile's secrets and tokens from text that a server sent, in raw, form, JSON and base64 form (DESIGN.md 7).
#[derive(Default)]
pub(crate) struct Mask {
    needles: Vec<Zeroizing<String>>,
}

impl Mask {
    pub(crate) fn add(&mut self, secret: &str) {
        if secret.is_empty() {
            return;
        }
        let percent = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
        let json = serde_json::Value::from(secret).to_string();
        for form in [
            secret.to_owned(),
            percent.replace("%20", "+"),
            percent,
            url::form_urlencoded::byte_serialize(secret.as_bytes()).collect(),
            json[1..json.len() - 1].to_owned(),
            // The padded forms first: they hold the others.
            STANDARD.encode(secret),
            URL_SAFE.encode(secret),
            STANDARD_NO_PAD.encode(secret),
            URL_SAFE_NO_PAD.encode(secret),
        ] {
            if !self.needles.iter().any(|known| **known == form) {
                self.needles.push(Zeroizing::new(form));
            }
        }
        // The longest first: a short secret inside a long one must not leave the long one's rest behind.
        self.needles.sort_unstable_by_key(|needle| std::cmp::Reverse(needle.len()));
    }

    /// `text` with every known secret replaced, only printable characters, at most `limit` of them.
    pub(crate) fn clean(&self, text: &str, limit: usize) -> String {
        let mut masked = text.to_owned();
        for needle in &self.needles {
            if masked.contains(needle.as_str()) {
                masked = masked.replace(needle.as_str(), "***");
            }
        }
        masked.chars().map(|c| if unprintable(c) { ' ' } else { c }).take(limit).collect()
    }
}

/// Controls, and the marks that turn or hide text on a terminal.
fn unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_prints_nothing_of_the_secret() {
        assert_eq!(format!("{:?}", Secret::new("canary")), "Secret(…)");
    }

    #[test]
    fn every_encoded_form_is_masked_before_the_text_is_cut() {
        let mut mask = Mask::default();
        mask.add("pa ss\"w%rd+/");
        for form in ["pa ss\"w%rd+/", "pa+ss%22w%25rd%2B%2F", "pa%20ss%22w%25rd%2B%2F", "pa ss\\\"w%rd+/"] {
            let said = mask.clean(&format!("you sent {form} here"), 256);
            assert_eq!(said, "you sent *** here", "{form}");
        }
        let encoded = STANDARD.encode("pa ss\"w%rd+/");
        assert_eq!(mask.clean(&encoded, 256), "***");
        assert_eq!(mask.clean("a\r\nb", 2), "a ");
    }
}
