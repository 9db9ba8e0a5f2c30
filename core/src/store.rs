//! Where tokens live beyond one source: the record, and the small trait that every store has (DESIGN.md 5).

mod memory;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ring::hmac;

pub(crate) use memory::MemoryStore;

use crate::error::{Error, Result};
use crate::record_name::RecordName;
use crate::secret::Secret;
use crate::token::Issued;

/// A boxed future: the trait is used as an object.
pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How long a lease lasts unless it is renewed.
pub(crate) const LEASE: Duration = Duration::from_secs(10);

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
}

impl Record {
    /// Whether it holds more at `now` (since 1970) than what has ended.
    fn is_useful(&self, now: Duration) -> bool {
        let alive = |token: &StoredToken| token.issued.lifetime.is_none_or(|lifetime| now < token.sent_at + lifetime);
        self.token.as_ref().is_some_and(alive)
            || self.refresh.is_some()
            || self.seed.is_some()
            || self.failure.as_ref().is_some_and(|failure| now < failure.until)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct StoredToken {
    pub(crate) issued: Issued,
    /// The record's generation when this token was written.
    pub(crate) generation: u64,
    pub(crate) sent_at: Duration,
}

#[derive(Clone, Debug)]
pub(crate) struct StoredRefresh {
    pub(crate) token: Secret,
    pub(crate) obtained_at: Duration,
    pub(crate) lifetime: Option<Duration>,
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

/// The outcome of a compare-and-set.
pub(crate) enum Swap {
    Stored,
    /// Somebody else wrote first; this is what stands there now.
    Lost(Option<Arc<Record>>),
}

/// Who holds a lease: one source in one process, which renews one at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner(pub(crate) String);

/// Keeps records, swaps them by generation, and lends the right to renew. The renewal path knows nothing else of a store.
pub(crate) trait Store: Send + Sync {
    /// The key of [`RecordName`], made once per store.
    fn naming_key(&self) -> &hmac::Key;

    fn load<'a>(&'a self, name: &'a RecordName) -> BoxFuture<'a, Result<Option<Arc<Record>>>>;

    /// Writes `record` if the one that stands there has generation `expected` (0: none stands there).
    fn compare_and_set<'a>(
        &'a self,
        name: &'a RecordName,
        expected: u64,
        record: Arc<Record>,
    ) -> BoxFuture<'a, Result<Swap>>;

    /// Takes the lease for [`LEASE`], or renews it for the same owner; `false`: somebody else holds it.
    fn lease<'a>(&'a self, name: &'a RecordName, owner: &'a Owner) -> BoxFuture<'a, Result<bool>>;

    /// Lets go of what this process alone keeps of these records; `false`: all of them stay, since one is leased, or `keep`
    /// says of it that it must.
    fn let_go(&self, names: &[RecordName], keep: &dyn Fn(&Record) -> bool) -> bool;

    /// Gives the lease back, if `owner` still has it.
    fn release<'a>(&'a self, name: &'a RecordName, owner: &'a Owner) -> BoxFuture<'a, Result<()>>;
}
