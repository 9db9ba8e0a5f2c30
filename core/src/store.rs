//! Where tokens live beyond one source: the record, and the small trait that every store has (DESIGN.md 5).

mod codec;
mod file;
mod keys;
mod known;
mod memory;
mod redis;
mod wire;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use file::FileStore;
pub(crate) use keys::Keys;
pub(crate) use known::Known;
pub(crate) use memory::MemoryStore;
use redis::RedisStore;

use crate::clock::Clock;
use crate::config::StoreOptions;
use crate::error::{Error, Result};
use crate::record_name::RecordName;
use crate::secret::Secret;
use crate::token::Issued;

/// A boxed future: the trait is used as an object.
pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How long a lease lasts unless it is renewed.
pub(crate) const LEASE: Duration = Duration::from_secs(10);

/// No store reads more for one record.
pub(crate) const MAX_RECORD: usize = 1024 * 1024;

/// What a store keeps of one profile. Times are since 1970.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    /// Rises with every write; compare-and-set is on it.
    pub(crate) generation: u64,
    pub(crate) token: Option<StoredToken>,
    pub(crate) refresh: Option<StoredRefresh>,
    /// A rotating refresh token is about to be sent, or was, and its outcome was never written: it may be spent.
    pub(crate) intent: Option<Duration>,
    pub(crate) failure: Option<StoredFailure>,
    /// When the session was taken over, newest last.
    pub(crate) takeovers: Vec<Duration>,
    /// Session conflicts in a row.
    pub(crate) conflicts: u32,
    /// The digest of the profile's own refresh token that was put to use: it is not used a second time.
    pub(crate) seed: Option<String>,
    /// The key that the tokens are bound to, unless the profile gives it (RFC 9449).
    pub(crate) dpop_key: Option<Secret>,
    /// Whose record it is, for people who list the store.
    pub(crate) about: About,
    /// Who wrote it, and when by the writer's clock; the store's own word, not the renewal's.
    pub(crate) written: Option<Written>,
}

/// Names, as they were when the record was written: another profile with the same credentials has the same record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct About {
    pub(crate) profile: String,
    pub(crate) provider: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) at: Duration,
    /// Host and process.
    pub(crate) by: String,
}

impl Record {
    /// Whether it holds nothing but marks: it was never used, or emptied.
    pub(crate) fn is_empty(&self) -> bool {
        let Record { token, refresh, intent, failure, takeovers, conflicts, dpop_key, .. } = self;
        token.is_none()
            && refresh.is_none()
            && intent.is_none()
            && failure.is_none()
            && takeovers.is_empty()
            && *conflicts == 0
            && dpop_key.is_none()
    }

    /// Whether it holds more at `now` (since 1970) than what has ended.
    pub(crate) fn is_useful(&self, now: Duration) -> bool {
        self.token.as_ref().is_some_and(|token| token.end().is_none_or(|end| now < end))
            || self.refresh.is_some()
            || self.seed.is_some()
            || self.failure.as_ref().is_some_and(|failure| now < failure.until)
    }

    /// Whether it says that there is nothing: a person has cleared it.
    pub(crate) fn is_cleared(&self) -> bool {
        self.token.is_none()
            && self.refresh.is_none()
            && self.intent.is_none()
            && self.failure.is_none()
            && self.takeovers.is_empty()
    }

    /// Until when it is of use, since 1970; `None`: for ever, as far as anybody knows.
    pub(crate) fn useful_until(&self) -> Option<Duration> {
        if self.seed.is_some() || self.refresh.as_ref().is_some_and(|refresh| refresh.lifetime.is_none()) {
            return None;
        }
        let token = match &self.token {
            Some(token) => Some(token.end()?),
            None => None,
        };
        let refresh = self.refresh.as_ref().and_then(StoredRefresh::end);
        let failure = self.failure.as_ref().map(|failure| failure.until);
        Some([token, refresh, failure].into_iter().flatten().max().unwrap_or_default())
    }
}

#[derive(Clone, Debug)]
pub(crate) struct StoredToken {
    pub(crate) issued: Issued,
    /// The record's generation when this token was written.
    pub(crate) generation: u64,
    pub(crate) sent_at: Duration,
}

impl StoredToken {
    /// Its end, if it has one.
    pub(crate) fn end(&self) -> Option<Duration> {
        self.issued.lifetime.map(|lifetime| self.sent_at + lifetime)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct StoredRefresh {
    pub(crate) token: Secret,
    pub(crate) obtained_at: Duration,
    pub(crate) lifetime: Option<Duration>,
}

impl StoredRefresh {
    /// Its end, if it is known.
    pub(crate) fn end(&self) -> Option<Duration> {
        self.lifetime.map(|lifetime| self.obtained_at + lifetime)
    }
}

/// A failure that every party of the store respects, until its time is over or the secret changes.
#[derive(Clone, Debug)]
pub(crate) struct StoredFailure {
    pub(crate) error: Error,
    pub(crate) fingerprint: String,
    pub(crate) until: Duration,
    /// How long it was meant to last.
    pub(crate) wait: Duration,
    pub(crate) last: bool,
    pub(crate) count: u32,
}

impl StoredFailure {
    /// For how long it is respected yet. More than was to be waited: the wall clock was set back since, and would hold this
    /// against us until it is there again.
    pub(crate) fn left(&self, now: Duration) -> Option<Duration> {
        self.until.checked_sub(now).filter(|left| !left.is_zero() && *left <= self.wait)
    }
}

/// The outcome of a compare-and-set.
pub(crate) enum Swap {
    Stored,
    /// Somebody else wrote first; this is what stands there now.
    Lost(Option<Arc<Record>>),
}

/// Who holds a lease: one source in one process, which renews one at a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Owner(pub(crate) String);

/// One record as a list of the store shows it.
pub(crate) struct Listed {
    /// How the store calls it.
    pub(crate) outer: String,
    pub(crate) record: Result<Record>,
}

/// The store that the configuration asks for.
///
/// # Errors
/// `config`; `store`: the folder cannot be used.
pub(crate) fn open(options: &StoreOptions, clock: &Clock) -> Result<Arc<dyn Store>> {
    match options {
        StoreOptions::Memory => Ok(Arc::new(MemoryStore::default())),
        StoreOptions::File(options) => {
            Ok(Arc::new(Known::new(FileStore::open(options, clock.clone())?, clock.clone())))
        }
        StoreOptions::Redis(options) => {
            Ok(Arc::new(Known::new(RedisStore::open(options, clock.clone())?, clock.clone())))
        }
    }
}

/// Hears that a record may have changed, and the generation of the token that stands there now, where that is known; 0:
/// nothing there is new to anybody but those who wait for the lease.
pub(crate) type Told<'a> = &'a (dyn Fn(&RecordName, Option<u64>) + Send + Sync);

/// Keeps records, swaps them by generation, and lends the right to renew. The renewal path knows nothing else of a store.
///
/// Its errors: `store_unavailable` where it cannot be reached, `store` where it is there and cannot do what it must.
pub(crate) trait Store: Send + Sync {
    /// Whether other processes see the same records.
    fn shared(&self) -> bool {
        false
    }

    fn load<'a>(&'a self, name: &'a RecordName) -> BoxFuture<'a, Result<Option<Arc<Record>>>>;

    /// Writes `record` if the one that stands there has generation `expected` (0: none stands there). Once it returns, no
    /// crash loses it.
    fn compare_and_set<'a>(
        &'a self,
        name: &'a RecordName,
        expected: u64,
        record: Arc<Record>,
    ) -> BoxFuture<'a, Result<Swap>>;

    /// Takes the lease for [`LEASE`], or renews it for the same owner; `false`: somebody else holds it.
    fn lease<'a>(&'a self, name: &'a RecordName, owner: &'a Owner) -> BoxFuture<'a, Result<bool>>;

    /// Gives the lease back, if `owner` still has it.
    fn release<'a>(&'a self, name: &'a RecordName, owner: &'a Owner) -> BoxFuture<'a, Result<()>>;

    /// A record that could not be written and must not be lost: it is served from memory, and written later. Until then
    /// this lease is kept, if one is named.
    fn hold(&self, name: &RecordName, record: Arc<Record>, lease: Option<Owner>) {
        let _ = (name, record, lease);
    }

    /// Whether the lease is kept until such a record is written.
    fn keeps_lease(&self, name: &RecordName) -> bool {
        let _ = name;
        false
    }

    /// Why it cannot be used as it should, for now.
    fn trouble(&self) -> Option<Error> {
        None
    }

    /// Done when somebody may have changed this record, or given its lease back, since the future was made.
    fn changed(&self, name: &RecordName) -> BoxFuture<'static, ()> {
        let _ = name;
        Box::pin(std::future::pending())
    }

    /// Tells the name of each record that somebody, be it this process, may have changed, for as long as it is polled, on
    /// the engine's runtime. A hint: nothing depends on it.
    fn watch<'a>(&'a self, told: Told<'a>) -> BoxFuture<'a, ()> {
        let _ = told;
        Box::pin(std::future::pending())
    }

    /// All records there are.
    fn list(&self) -> BoxFuture<'_, Result<Vec<Listed>>>;

    /// Lets go of what this process alone keeps of these records; `false`: all of them stay, since one is leased, or `keep`
    /// says of it that it must.
    fn let_go(&self, names: &[RecordName], keep: &dyn Fn(&Record) -> bool) -> bool;
}
