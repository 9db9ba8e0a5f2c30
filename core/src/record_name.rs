//! Under which name a profile's record lies in a store (DESIGN.md 5).

use std::sync::Arc;

use ring::hmac;

/// A record's name: an HMAC over everything that changes which token comes back. It tells nothing of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RecordName(Arc<str>);

impl RecordName {
    /// Each part is preceded by its length, so that no two identities run together (fault 9).
    pub(crate) fn new(naming_key: &hmac::Key, identity: &[String]) -> RecordName {
        let mut context = hmac::Context::with_key(naming_key);
        context.update(b"qauth record 1");
        for part in identity {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        RecordName(context.sign().as_ref()[..20].iter().map(|byte| format!("{byte:02x}")).collect::<String>().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_that_only_read_alike_have_names_of_their_own() {
        // fault 9
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"key");
        let name =
            |parts: &[&str]| RecordName::new(&key, &parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>());
        assert_eq!(name(&["a", "b"]), name(&["a", "b"]));
        assert_ne!(name(&["ab", ""]), name(&["a", "b"]));
        assert_ne!(
            name(&["a", "b"]),
            RecordName::new(&hmac::Key::new(hmac::HMAC_SHA256, b"other"), &["a".into(), "b".into()])
        );
    }
}
