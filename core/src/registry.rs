//! The sources of one engine: each made once, found by what they stand for, let go of when nobody uses them, closed together.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use ring::digest;
use serde_json::{Map, Value};

use crate::config::{Keeping, Profiles};
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::profile::{Narrowing, Profile};
use crate::runtime::Core;
use crate::schedule::Timed;
use crate::source::Source;

/// However short sources may be idle, all of them are not looked through more often.
const SHORTEST_LOOK: Duration = Duration::from_millis(100);

/// The core, the profiles that sources are made of, and the sources. The map takes no lock, so that a child of `fork` never
/// inherits a held one.
pub(crate) struct Registry {
    pub(crate) core: Arc<Core>,
    pub(crate) profiles: Arc<Profiles>,
    sources: papaya::HashMap<SourceKey, Arc<Source>>,
    keeping: Keeping,
    evicted: AtomicU64,
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
        pairs.sort_unstable();
        SourceKey { name: name.to_owned(), digest: digest_of(&pairs), narrowing: Narrowing::default() }
    }

    /// The source of a profile that was narrowed.
    pub(crate) fn narrowed(profile: &Profile) -> SourceKey {
        SourceKey {
            name: profile.name.clone(),
            digest: digest_of(
                &[profile.all().iter().flat_map(Profile::identity).collect(), profile.settings()].concat(),
            ),
            narrowing: profile.narrowing.clone(),
        }
    }
}

impl Registry {
    pub(crate) fn new(core: Core, profiles: Arc<Profiles>, keeping: Keeping) -> Arc<Registry> {
        let registry = Arc::new(Registry {
            core: Arc::new(core),
            profiles,
            sources: papaya::HashMap::new(),
            keeping,
            evicted: AtomicU64::new(0),
        });
        if let Some(idle) = keeping.idle {
            let weak: Weak<Registry> = Arc::downgrade(&registry);
            registry.core.look_every((idle / 4).max(SHORTEST_LOOK), weak);
        }
        registry
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
            let source = source.clone();
            source.touch();
            return Ok(source);
        }
        let made = make()?;
        let source = sources.get_or_insert(key, made).clone();
        let len = sources.len();
        if len > self.keeping.max {
            // A few more than must go, so that not every new source looks through all of them.
            self.evict(len - self.keeping.max + self.keeping.max / 10, Duration::ZERO);
        }
        Ok(source)
    }

    /// Lets go of this many sources at most, those that have been unused for longest, if for so long.
    fn evict(&self, at_most: usize, unused_for: Duration) {
        let sources = self.sources.pin();
        let (mut unused, mut kept) = (Vec::new(), HashSet::new());
        for (key, source) in &sources {
            match source.is_unused() && source.untouched() >= unused_for {
                true => unused.push((source.untouched(), key)),
                false => kept.extend(source.record_names()),
            }
        }
        unused.sort_unstable_by_key(|(time, _)| std::cmp::Reverse(*time));
        let rest = unused.split_off(at_most.min(unused.len()));
        kept.extend(rest.iter().filter_map(|(_, key)| sources.get(*key)).flat_map(|source| source.record_names()));
        let mut gone = Vec::new();
        for (time, key) in unused {
            let Some(source) = sources.get(key) else { continue };
            // Somebody may have taken it just now: then it stays.
            if source.let_records_go(&kept)
                && matches!(sources.remove_if(key, |_, source| source.is_unused()), Ok(Some(_)))
            {
                source.report_evicted(time);
                gone.push(&key.name);
            }
        }
        self.evicted.fetch_add(gone.len() as u64, Ordering::Relaxed);
        if gone.is_empty() {
            return;
        }
        let names: HashSet<&String> = sources.keys().map(|key| &key.name).collect();
        gone.into_iter().filter(|name| !names.contains(name)).for_each(|name| self.core.tallies.forget(name));
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
        self.core.tallies.forget(name);
        removed > 0
    }

    pub(crate) fn metrics(&self) -> Metrics {
        self.core.tallies.snapshot(self.sources.len(), self.evicted.load(Ordering::Relaxed))
    }

    pub(crate) fn close(&self) {
        self.sources.pin().values().for_each(|source| source.close());
        self.core.close();
    }
}

impl Timed for Registry {
    fn on_timer(self: Arc<Self>) {
        if let Some(idle) = self.keeping.idle {
            self.evict(usize::MAX, idle);
            self.core.look_again();
        }
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
