//! The sources of one engine: each made once, found by what they stand for, let go of when nobody uses them, closed together.

mod eviction;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use ring::digest;
use serde_json::{Map, Value};

use crate::config::{Config, Keeping};
use crate::error::{Error, Result};
use crate::forkmap::ForkMap;
use crate::metrics::Metrics;
use crate::profile::{Narrowing, Profile};
use crate::record_name::RecordName;
use crate::runtime::{Core, Siblings};
use crate::source::Source;

/// The core, the profiles that sources are made of, and the sources. Who finds a source in the map takes no lock.
pub(crate) struct Registry {
    pub(crate) core: Arc<Core>,
    pub(crate) config: Arc<Config>,
    sources: ForkMap<SourceKey, Arc<Source>>,
    by_record: ArcSwap<ByRecord>,
    keeping: Keeping,
    /// Beyond this many it is looked for some to let go of.
    look_at: AtomicUsize,
    evicted: AtomicU64,
}

/// Who uses which record, as it was when so many names had changed.
#[derive(Default)]
struct ByRecord {
    changes: u64,
    sources: HashMap<RecordName, Vec<Weak<Source>>>,
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
    pub(crate) fn new(core: Core, config: Arc<Config>) -> Arc<Registry> {
        let keeping = config.keeping;
        let registry = Arc::new(Registry {
            core: Arc::new(core),
            config,
            sources: ForkMap::default(),
            by_record: ArcSwap::default(),
            keeping,
            look_at: AtomicUsize::new(keeping.max),
            evicted: AtomicU64::new(0),
        });
        if registry.core.store.shared() {
            let weak: Weak<Registry> = Arc::downgrade(&registry);
            registry.core.tell_of_siblings(weak);
        }
        if let Some(interval) = eviction::interval(&keeping) {
            let weak: Weak<Registry> = Arc::downgrade(&registry);
            registry.core.look_every(interval, weak);
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
        if let Some(source) = self.sources.get(&key).filter(|source| source.taken()) {
            return Ok(source);
        }
        // Reads files and runs commands: with no hold on the map.
        let made = make()?;
        let source = loop {
            let source = self.sources.get_or_insert(&key, made.clone());
            if source.taken() {
                break source;
            }
            // It is just being let go of.
            std::thread::yield_now();
        };
        drop(made);
        self.core.note_record_names();
        self.make_room();
        Ok(source)
    }

    /// Whether there is a source of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.sources.snapshot().keys().any(|key| key.name == name)
    }

    /// Closes and forgets the sources of this name; whether there were any.
    pub(crate) fn remove(&self, name: &str) -> bool {
        let before = self.sources.snapshot();
        let keys = before.keys().filter(|key| key.name == name);
        let removed = keys.filter_map(|key| self.sources.remove(key)).inspect(|source| source.close()).count();
        self.core.tallies.forget(name);
        removed > 0
    }

    pub(crate) fn metrics(&self) -> Metrics {
        let degraded = self.core.store_degraded.load(Ordering::Relaxed);
        self.core.tallies.snapshot(self.sources.len(), self.evicted.load(Ordering::Relaxed), degraded)
    }

    /// The sources of this name: with keys given in code and narrowed ones too.
    pub(crate) fn named(&self, name: &str) -> Vec<Arc<Source>> {
        self.sources.snapshot().iter().filter(|(key, _)| key.name == name).map(|(_, source)| source.clone()).collect()
    }

    /// The sources with these records serve no token until they have obtained a new one.
    pub(crate) fn forget(&self, names: &[RecordName]) {
        let sources = self.sources.snapshot();
        let with_one = |source: &&Arc<Source>| names.contains(&source.profile().record_name());
        sources.values().filter(with_one).for_each(|source| source.forget());
    }

    /// The sources whose record may have changed in the store look whether a sibling has renewed.
    fn look(&self, name: &RecordName, newest: Option<u64>) {
        let changes = self.core.record_names();
        let mut by_record = self.by_record.load_full();
        // A fleet's store tells of changes many times a second, and there may be thousands of sources.
        if by_record.changes != changes {
            let mut sources: HashMap<RecordName, Vec<Weak<Source>>> = HashMap::new();
            for source in self.sources.snapshot().values() {
                sources.entry(source.profile().record_name()).or_default().push(Arc::downgrade(source));
            }
            by_record = Arc::new(ByRecord { changes, sources });
            self.by_record.store(by_record.clone());
        }
        let using = by_record.sources.get(name).into_iter().flatten();
        using.filter_map(Weak::upgrade).for_each(|source| source.look_for_sibling(newest));
    }

    pub(crate) fn close(&self) {
        self.sources.snapshot().values().for_each(|source| source.close());
        self.core.close();
    }
}

impl Siblings for Registry {
    fn changed(&self, name: &RecordName, newest: Option<u64>) {
        self.look(name, newest);
    }

    fn all_changed(&self) {
        self.sources.snapshot().values().for_each(|source| source.look_for_sibling(None));
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
