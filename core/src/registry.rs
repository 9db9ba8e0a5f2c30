//! The sources of one engine: each made once, found by what they stand for, closed together.

use std::sync::Arc;

use ring::digest;
use serde_json::{Map, Value};

use crate::config::Profiles;
use crate::error::{Error, Result};
use crate::profile::{Narrowing, Profile};
use crate::runtime::Core;
use crate::source::Source;

/// The core, the profiles that sources are made of, and the sources. The map takes no lock, so that a child of `fork` never inherits a held one.
pub(crate) struct Registry {
    pub(crate) core: Arc<Core>,
    pub(crate) profiles: Arc<Profiles>,
    sources: papaya::HashMap<SourceKey, Arc<Source>>,
}

/// A profile's name, a digest of what was given in code, and what it was narrowed to.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct SourceKey {
    name: String,
    digest: [u8; 32],
    narrowing: Narrowing,
}

impl SourceKey {
    /// The source of a profile with some keys given in code, in whatever order.
    pub(crate) fn new(name: &str, overrides: &Map<String, Value>) -> SourceKey {
        let mut pairs: Vec<String> = overrides.iter().map(|(key, value)| format!("{key}={value}")).collect();
        pairs.sort();
        SourceKey { name: name.to_owned(), digest: digest_of(&pairs), narrowing: Narrowing::default() }
    }

    /// The source of a profile that was narrowed.
    pub(crate) fn narrowed(profile: &Profile) -> SourceKey {
        SourceKey {
            name: profile.name.clone(),
            digest: digest_of(&[profile.identity(), profile.settings()].concat()),
            narrowing: profile.narrowing.clone(),
        }
    }
}

impl Registry {
    pub(crate) fn new(core: Core, profiles: Arc<Profiles>) -> Registry {
        Registry { core: Arc::new(core), profiles, sources: papaya::HashMap::new() }
    }

    pub(crate) fn get_or_make(
        &self,
        key: SourceKey,
        make: impl FnOnce() -> Result<Arc<Source>>,
    ) -> Result<Arc<Source>> {
        if self.core.is_closed() {
            return Err(Error::closed());
        }
        let sources = self.sources.pin();
        if let Some(source) = sources.get(&key) {
            return Ok(source.clone());
        }
        let made = make()?;
        Ok(sources.get_or_insert(key, made).clone())
    }

    /// Whether there is a source of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.sources.pin().keys().any(|key| key.name == name)
    }

    /// Closes and forgets the sources of this name; whether there were any.
    pub(crate) fn remove(&self, name: &str) -> bool {
        let sources = self.sources.pin();
        let keys: Vec<SourceKey> = sources.keys().filter(|key| key.name == name).cloned().collect();
        let removed = keys.iter().filter_map(|key| sources.remove(key)).inspect(|source| source.close()).count();
        removed > 0
    }

    pub(crate) fn close(&self) {
        self.sources.pin().values().for_each(|source| source.close());
        self.core.close();
    }
}

/// Each part is preceded by its length, so that no two lists run together.
fn digest_of(parts: &[String]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
}
