//! Which record is a profile's (DESIGN.md 5).

use std::fmt;

use ring::digest;

/// Tells a record from all others: a digest of everything that changes which token comes back. It stays in the process; a
/// store that writes anything makes its own name of it, with a key (`store/codec.rs`).
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct RecordName([u8; 32]);

impl RecordName {
    /// Each part is preceded by its length, so that no two identities run together (fault 9).
    pub(crate) fn new(identity: &[String]) -> RecordName {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"qauth record 1");
        for part in identity {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        RecordName(context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for RecordName {
    /// Nothing: secrets went into it, and whoever sees it could try them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecordName(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_that_only_read_alike_have_names_of_their_own() {
        // fault 9
        let name = |parts: &[&str]| RecordName::new(&parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>());
        assert!(name(&["a", "b"]) == name(&["a", "b"]));
        assert!(name(&["ab", ""]) != name(&["a", "b"]));
        assert_eq!(format!("{:?}", name(&["a"])), "RecordName(…)");
    }
}
