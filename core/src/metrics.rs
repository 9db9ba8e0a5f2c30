//! Counters and durations of an engine: kept per profile, counted without a lock, given as a snapshot.

mod prometheus;

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::error::ErrorCode;
use crate::events::EventKind;
use crate::forkcell::ForkCell;

/// Upper bounds of the buckets for the length of a renewal, in seconds; one more bucket is for all that is longer.
const BUCKETS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// What has happened to one profile's tokens in this process. Sources that were narrowed count with their profile.
pub(crate) struct Tally {
    provider: String,
    events: [AtomicU32; EventKind::ALL.len()],
    failures: [AtomicU32; ErrorCode::ALL.len()],
    requests: AtomicU32,
    buckets: [AtomicU32; BUCKETS.len() + 1],
    renewing_ns: AtomicU64,
    expires_at: AtomicU64,
    skew_ms: AtomicI64,
}

/// The tallies of an engine, by profile: each source looks its own up once. A child of fork begins with none.
#[derive(Default)]
pub(crate) struct Tallies(ForkCell<Mutex<HashMap<String, Arc<Tally>>>>);

/// A snapshot of an engine's counters (see `Engine::metrics`).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Metrics {
    /// Sources that the engine holds now.
    pub sources: usize,
    /// Sources that were let go of, since nobody used them.
    pub evicted: u64,
    /// The store cannot be used as it should, as far as the last renewal saw.
    pub store_degraded: bool,
    /// Each profile that had something to count, in the order of their names.
    pub profiles: Vec<ProfileMetrics>,
}

/// What has happened to one profile's tokens since the process began to use it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ProfileMetrics {
    /// The profile's name.
    pub profile: String,
    /// The provider's name.
    pub provider: String,
    /// How often each event happened.
    pub events: Vec<(EventKind, u32)>,
    /// Renewals that brought no token, by the error's code; those that happened.
    pub failures: Vec<(ErrorCode, u32)>,
    /// Requests for tokens that were sent or tried.
    pub requests: u32,
    /// Renewals that ended, whatever came of them.
    pub renewals: u32,
    /// How long they took together.
    pub renewing: Duration,
    /// How many renewals took at most so many seconds and longer than the bound before; the last bound is infinite.
    pub buckets: Vec<(f64, u32)>,
    /// When the token that came last ends, in seconds since 1970; `None` before the first one and for one without an end.
    pub expires_at: Option<u64>,
    /// By how much the server's clock was ahead of ours when last it was far off, in seconds; 0 where it was not.
    pub clock_skew: f64,
}

impl Tally {
    pub(crate) fn new(provider: &str) -> Tally {
        Tally {
            provider: provider.to_owned(),
            events: Default::default(),
            failures: Default::default(),
            requests: AtomicU32::default(),
            buckets: Default::default(),
            renewing_ns: AtomicU64::default(),
            expires_at: AtomicU64::default(),
            skew_ms: AtomicI64::default(),
        }
    }

    pub(crate) fn count(&self, kind: EventKind) {
        self.events[kind as usize - 1].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_failure(&self, code: ErrorCode) {
        self.failures[code as usize - 1].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn renewal_took(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let bucket = BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.renewing_ns.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn token_ends(&self, unix: Option<Duration>) {
        self.expires_at.store(unix.map_or(0, |unix| unix.as_secs()), Ordering::Relaxed);
    }

    /// The skew that was told last; 0 where there is none.
    pub(crate) fn skew(&self) -> i64 {
        self.skew_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn set_skew(&self, milliseconds: i64) {
        self.skew_ms.store(milliseconds, Ordering::Relaxed);
    }

    fn snapshot(&self, profile: &str) -> ProfileMetrics {
        let read = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
        let bounds = BUCKETS.into_iter().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u32)> = bounds.zip(self.buckets.iter().map(read)).collect();
        let events = EventKind::ALL.iter().copied().zip(self.events.iter().map(read));
        let failures = ErrorCode::ALL.iter().copied().zip(self.failures.iter().map(read));
        ProfileMetrics {
            profile: profile.to_owned(),
            provider: self.provider.clone(),
            events: events.collect(),
            failures: failures.filter(|(_, count)| *count > 0).collect(),
            requests: read(&self.requests),
            renewals: buckets.iter().map(|(_, count)| count).sum(),
            renewing: Duration::from_nanos(self.renewing_ns.load(Ordering::Relaxed)),
            buckets,
            expires_at: Some(self.expires_at.load(Ordering::Relaxed)).filter(|unix| *unix > 0),
            clock_skew: self.skew_ms.load(Ordering::Relaxed) as f64 / 1000.0,
        }
    }
}

impl Tallies {
    pub(crate) fn of(&self, profile: &str, provider: &str) -> Arc<Tally> {
        let mut tallies = lock(self.0.get_or_init(Mutex::default));
        match tallies.get(profile) {
            Some(tally) => tally.clone(),
            None => tallies.entry(profile.to_owned()).insert_entry(Arc::new(Tally::new(provider))).get().clone(),
        }
    }

    /// The profile's sources are gone, and its counters with them.
    pub(crate) fn forget(&self, profile: &str) {
        if let Some(tallies) = self.0.get() {
            lock(tallies).remove(profile);
        }
    }

    pub(crate) fn snapshot(&self, sources: usize, evicted: u64, store_degraded: bool) -> Metrics {
        let tallies = self.0.get().map(lock);
        let profiles = tallies.iter().flat_map(|tallies| tallies.iter());
        let mut profiles: Vec<ProfileMetrics> = profiles.map(|(name, tally)| tally.snapshot(name)).collect();
        profiles.sort_unstable_by(|one, other| one.profile.cmp(&other.profile));
        Metrics { sources, evicted, store_degraded, profiles }
    }
}

impl Metrics {
    /// The same as JSON: `{"sources": 1, "evicted": 0, "store_degraded": false, "profiles": {"pricing": {"provider": "…", "events": {…}, "failures": {…}, "requests": 1,
    /// "renewals": 1, "renewal_seconds": 0.05, "expires_at": 1767225600, "clock_skew": 0.0}}}`.
    pub fn to_json(&self) -> Value {
        let profiles: Map<String, Value> = self
            .profiles
            .iter()
            .map(|profile| {
                let value = json!({
                    "provider": profile.provider,
                    "events": counts(profile.events.iter().map(|(kind, count)| (kind.name(), *count))),
                    "failures": counts(profile.failures.iter().map(|(code, count)| (code.name(), *count))),
                    "requests": profile.requests,
                    "renewals": profile.renewals,
                    "renewal_seconds": profile.renewing.as_secs_f64(),
                    "expires_at": profile.expires_at,
                    "clock_skew": profile.clock_skew,
                });
                (profile.profile.clone(), value)
            })
            .collect();
        json!({
            "sources": self.sources,
            "evicted": self.evicted,
            "store_degraded": self.store_degraded,
            "profiles": profiles,
        })
    }

    /// The same in the text format of Prometheus (OpenMetrics 1.0): serve it as
    /// `application/openmetrics-text; version=1.0.0; charset=utf-8`.
    pub fn to_prometheus(&self) -> String {
        prometheus::text(self)
    }
}

/// No call panics while it holds the lock, so that a poisoned one still holds whole tallies.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn counts(counts: impl Iterator<Item = (&'static str, u32)>) -> Value {
    Value::Object(counts.map(|(name, count)| (name.to_owned(), Value::from(count))).collect())
}
