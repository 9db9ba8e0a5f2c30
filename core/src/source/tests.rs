use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Limit, Source};
use crate::clock::Clock;
use crate::config::TransportOptions;
use crate::error::{Error, ErrorCode, Result};
use crate::profile::Profile;
use crate::record_name::RecordName;
use crate::runtime::Core;
use crate::store::{BoxFuture, Listed, MemoryStore, Owner, Record, Store, Swap};
use crate::{Engine, TokenOptions};

/// A memory store that panics once, in the middle of a renewal, or fails, and counts what is read.
struct PanicsOnce {
    inner: MemoryStore,
    armed: AtomicBool,
    /// Nothing can be read for now.
    fails: Arc<AtomicBool>,
    loads: Arc<AtomicU64>,
}

impl PanicsOnce {
    fn new(armed: bool) -> PanicsOnce {
        let inner = MemoryStore::default();
        PanicsOnce { inner, armed: AtomicBool::new(armed), fails: Arc::default(), loads: Arc::default() }
    }
}

impl Store for PanicsOnce {
    fn load<'a>(&'a self, name: &'a RecordName) -> BoxFuture<'a, Result<Option<Arc<Record>>>> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        assert!(!self.armed.swap(false, Ordering::SeqCst), "the panic that this test is about");
        if self.fails.load(Ordering::SeqCst) {
            return Box::pin(async { Err(Error::new(ErrorCode::StoreUnavailable, "nothing can be read")) });
        }
        self.inner.load(name)
    }

    fn compare_and_set<'a>(
        &'a self,
        name: &'a RecordName,
        expected: u64,
        record: Arc<Record>,
    ) -> BoxFuture<'a, Result<Swap>> {
        self.inner.compare_and_set(name, expected, record)
    }

    fn lease<'a>(&'a self, name: &'a RecordName, owner: &'a Owner) -> BoxFuture<'a, Result<bool>> {
        self.inner.lease(name, owner)
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Listed>>> {
        self.inner.list()
    }

    fn let_go(&self, names: &[RecordName], keep: &dyn Fn(&Record) -> bool) -> bool {
        self.inner.let_go(names, keep)
    }

    fn release<'a>(&'a self, name: &'a RecordName, owner: &'a Owner) -> BoxFuture<'a, Result<()>> {
        self.inner.release(name, owner)
    }
}

#[test]
fn a_renewal_that_panics_tells_its_waiters_and_frees_its_slot() {
    // fault 55
    let sim = qauth_sim::Sim::start(qauth_sim::SimOptions::default()).unwrap();
    let toml = format!(
        "[profiles.p]\nprovider = \"quiqup\"\nbase_url = \"{}/quiqup\"\nclient_id = \"quiqup-client\"\nclient_secret = \"quiqup-secret-5f1c\"",
        sim.url()
    );
    let profile = Engine::from_toml(&toml).unwrap().source("p").unwrap().inner().profile();
    let core =
        Core::new(Clock::system(), Arc::new(PanicsOnce::new(true)), TransportOptions::default(), 1 << 20).unwrap();
    let source = Source::new(Arc::new(core), (*profile).clone());
    let ask = || {
        let until = Some(Instant::now() + Duration::from_secs(5));
        crate::block::block_on(source.token(Limit { until, min_remaining: Duration::ZERO, blocking: true }))
    };
    assert_eq!(ask().map(drop).unwrap_err().code(), ErrorCode::Internal);
    // At once: the lease of the renewal that died is this source's own.
    ask().map(drop).unwrap();
}

#[test]
fn a_reset_is_not_lost_with_a_renewal_that_could_not_read_the_store() {
    let sim = qauth_sim::Sim::start(qauth_sim::SimOptions::default()).unwrap();
    let toml = format!(
        "[profiles.p]\nprovider = \"quartile\"\nbase_url = \"{}/quartile\"\nusername = \"quartile-user\"\npassword = \"wrong\"\nsubscription_key = \"k\"",
        sim.url()
    );
    let profile = Engine::from_toml(&toml).unwrap().source("p").unwrap().inner().profile();
    let store = PanicsOnce::new(false);
    let fails = store.fails.clone();
    let core = Core::new(Clock::manual(), Arc::new(store), TransportOptions::default(), 1 << 20).unwrap();
    let core = Arc::new(core);
    let source = Source::new(core.clone(), (*profile).clone());
    let ask = || {
        let until = Some(Instant::now() + Duration::from_secs(5));
        let limit = Limit { until, min_remaining: Duration::ZERO, blocking: true };
        let error = crate::block::block_on(source.token(limit)).map(drop).unwrap_err();
        (error.code(), core.tallies.snapshot(0, 0, false).profiles[0].requests)
    };
    assert_eq!(ask(), (ErrorCode::InvalidGrant, 1));
    source.reset();
    fails.store(true, Ordering::SeqCst);
    // Where refresh tokens rotate, nothing is done without the store.
    assert_eq!(ask(), (ErrorCode::StoreUnavailable, 1));
    fails.store(false, Ordering::SeqCst);
    core.clock.advance(Duration::from_secs(2)).unwrap();
    // Asked anew: what the record remembers of the first refusal was to be forgotten.
    assert_eq!(ask(), (ErrorCode::InvalidGrant, 2));
}

#[test]
fn a_renewal_of_a_narrowed_source_reads_one_record_more() {
    let sim = qauth_sim::Sim::start(qauth_sim::SimOptions::default()).unwrap();
    let toml = format!(
        "[profiles.p]\nprovider = \"qpay\"\nbase_url = \"{}/qpay\"\nclient_id = \"qpay-machine\"\nclient_secret = \"qpay-secret-e41d\"",
        sim.url()
    );
    let engine = Engine::from_toml(&toml).unwrap();
    let wide = engine.source("p").unwrap();
    let loads = |profile: &Profile| {
        let store = PanicsOnce::new(false);
        let loads = store.loads.clone();
        let core = Core::new(Clock::system(), Arc::new(store), TransportOptions::default(), 1 << 20).unwrap();
        let source = Source::new(Arc::new(core), profile.clone());
        let until = Some(Instant::now() + Duration::from_secs(5));
        crate::block::block_on(source.token(Limit { until, min_remaining: Duration::ZERO, blocking: true })).unwrap();
        loads.load(Ordering::SeqCst)
    };
    // Before the lease is asked for, and under it.
    assert_eq!(loads(&wide.inner().profile()), 2);
    assert_eq!(loads(&wide.scoped(Some("cards"), None, None).unwrap().inner().profile()), 3);
}

#[test]
fn a_container_that_was_frozen_serves_nothing_of_before() {
    // fault 43: all clocks have moved, and no timer has run yet.
    let sim = qauth_sim::Sim::start(qauth_sim::SimOptions::default()).unwrap();
    let toml = format!(
        "[testing]\nclock = \"manual\"\n[profiles.p]\nprovider = \"quiqup\"\nbase_url = \"{}/quiqup\"\nclient_id = \"quiqup-client\"\nclient_secret = \"quiqup-secret-5f1c\"",
        sim.url()
    );
    let source = Engine::from_toml(&toml).unwrap().source("p").unwrap();
    let first = source.token_blocking(TokenOptions::default()).unwrap();
    source.inner().core.clock.advance(Duration::from_secs(3600)).unwrap();
    let at_once = TokenOptions { timeout: Some(Duration::ZERO), ..TokenOptions::default() };
    assert!(source.cached().is_none());
    assert_eq!(source.token_blocking(at_once).unwrap_err().code(), ErrorCode::Timeout);
    assert_ne!(source.token_blocking(TokenOptions::default()).unwrap().access_token(), first.access_token());
}
