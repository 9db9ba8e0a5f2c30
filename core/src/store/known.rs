//! What this process knows of a store that others share: the newest record of each profile, kept beside the store.
//!
//! A record that could not be written lives on here, dirty, and is written later (fault 47). A store that steps back, since a
//! failover lost its last write, it was emptied, or a backup came back, gets the newer record again by compare-and-set
//! (faults 65, 68, 69). While it cannot be reached, it says so once.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::{BoxFuture, LEASE, Listed, Owner, Record, Store, Swap, Told};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::forkcell::ForkCell;
use crate::record_name::RecordName;

/// Dirty records are tried again after so long, doubling up to so long.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// How often somebody else may write first while an older record is written over.
const ROUNDS: u32 = 4;

/// A store that several processes share, and what this one knows of it.
pub(crate) struct Known<S> {
    store: S,
    clock: Clock,
    memory: ForkCell<Memory>,
}

/// A process's own: what a parent could not write is its parent's to write.
#[derive(Default)]
struct Memory {
    records: Mutex<HashMap<RecordName, Entry>>,
    waiting: Mutex<HashMap<RecordName, Arc<Notify>>>,
    trouble: Mutex<Option<Error>>,
    dirtied: Notify,
}

struct Entry {
    record: Arc<Record>,
    /// It stands nowhere but here.
    dirty: bool,
    /// The lease that is kept until it is written.
    lease: Option<Owner>,
}

impl Entry {
    fn written(record: &Arc<Record>) -> Entry {
        Entry { record: record.clone(), dirty: false, lease: None }
    }

    /// Whether it counts more than what stands in the store.
    ///
    /// What the store has shown before is newer by its generation. What could not be written brings an answer of the server,
    /// and a sibling's note (an intent, a remembered failure) may have a larger number all the same: there the newer token
    /// counts, and of two records with one token the one that knows its refresh token to be gone (docs/protocol.md). What a
    /// person has cleared since stays cleared.
    fn goes_before(&self, standing: Option<&Arc<Record>>) -> bool {
        let Some(standing) = standing else { return true };
        let known = &self.record;
        let later = known.generation > standing.generation;
        if !self.dirty || standing.is_cleared() {
            return later;
        }
        let token = |record: &Record| record.token.as_ref().map_or(0, |token| token.generation);
        match token(known).cmp(&token(standing)) {
            Ordering::Greater => true,
            Ordering::Less => false,
            Ordering::Equal if known.refresh.is_none() && standing.refresh.is_some() => true,
            Ordering::Equal => later,
        }
    }
}

impl<S: Store> Known<S> {
    pub(crate) fn new(store: S, clock: Clock) -> Known<S> {
        Known { store, clock, memory: ForkCell::new() }
    }

    fn memory(&self) -> &Memory {
        self.memory.get_or_init(Memory::default)
    }

    /// Every answer tells how the store is.
    fn noted<T>(&self, result: Result<T>) -> Result<T> {
        *lock(&self.memory().trouble) = result.as_ref().err().cloned();
        result
    }

    /// What is to be written over what stands there, since it counts more and is still of use.
    fn counts_more(&self, name: &RecordName, standing: Option<&Arc<Record>>) -> Option<Arc<Record>> {
        let now = self.clock.now().unix();
        let records = lock(&self.memory().records);
        let entry = records.get(name).filter(|entry| entry.goes_before(standing))?;
        // Into an emptied store nothing is written that has ended.
        let useful = entry.dirty || standing.is_some() || entry.record.is_useful(now);
        let generation = standing.map_or(0, |standing| standing.generation) + 1;
        useful.then(|| match entry.record.generation >= generation {
            true => entry.record.clone(),
            false => {
                Arc::new(Record { generation: generation.max(now.as_millis() as u64), ..Record::clone(&entry.record) })
            }
        })
    }

    fn newest(&self, name: &RecordName) -> Option<Arc<Record>> {
        lock(&self.memory().records).get(name).map(|entry| entry.record.clone())
    }

    /// Remembers what stands in the store now, unless something newer is known.
    fn learn(&self, name: &RecordName, record: &Arc<Record>) {
        let mut records = lock(&self.memory().records);
        match records.get(name) {
            Some(entry) if entry.goes_before(Some(record)) => {}
            _ => drop(records.insert(name.clone(), Entry::written(record))),
        }
    }

    async fn load(&self, name: &RecordName) -> Result<Option<Arc<Record>>> {
        let mut standing = match self.noted(self.store.load(name).await) {
            Ok(standing) => standing,
            Err(error) => return self.newest(name).map(Some).ok_or(error),
        };
        for _ in 0..ROUNDS {
            let generation = standing.as_ref().map_or(0, |standing| standing.generation);
            let Some(known) = self.counts_more(name, standing.as_ref()) else { break };
            match self.noted(self.store.compare_and_set(name, generation, known.clone()).await) {
                Ok(Swap::Stored) => {
                    self.learn(name, &known);
                    return Ok(Some(known));
                }
                Ok(Swap::Lost(winner)) => standing = winner,
                Err(_) => return Ok(Some(known)),
            }
        }
        match &standing {
            Some(standing) => self.learn(name, standing),
            None => {
                let mut records = lock(&self.memory().records);
                if records.get(name).is_some_and(|entry| !entry.dirty) {
                    records.remove(name);
                }
            }
        }
        // Others write all the time; what must not be lost is still here.
        Ok(self.newest(name).or(standing))
    }

    /// Writes dirty records, whenever there are some.
    async fn clean(&self) {
        let mut pause = FIRST_RETRY;
        loop {
            if self.dirty().is_empty() {
                self.memory().dirtied.notified().await;
                pause = FIRST_RETRY;
            }
            // Not all processes in one instant, once the store is back.
            self.clock.look_again_after(pause).await;
            let longest = if self.keep_leases().await { LEASE.mul_f64(0.3) } else { LONGEST_RETRY };
            pause = (pause * 2).min(longest);
            self.write_dirty().await;
        }
    }

    /// Renews the leases that are kept for dirty records; whether there are any. They are not given back: by then a renewal of
    /// this process may stand on them, and they lapse.
    async fn keep_leases(&self) -> bool {
        let kept: Vec<(RecordName, Owner)> = {
            let records = lock(&self.memory().records);
            records.iter().filter_map(|(name, entry)| Some((name.clone(), entry.lease.clone()?))).collect()
        };
        for (name, owner) in &kept {
            let _ = self.store.lease(name, owner).await;
        }
        !kept.is_empty()
    }

    /// Writes those that are still the newest.
    async fn write_dirty(&self) {
        for name in self.dirty() {
            let _ = self.load(&name).await;
        }
    }

    fn dirty(&self) -> Vec<RecordName> {
        let records = lock(&self.memory().records);
        records.iter().filter(|(_, entry)| entry.dirty).map(|(name, _)| name.clone()).collect()
    }

    fn tell(&self, name: &RecordName) {
        if let Some(waiting) = lock(&self.memory().waiting).remove(name) {
            waiting.notify_waiters();
        }
    }
}

impl<S: Store> Store for Known<S> {
    fn shared(&self) -> bool {
        true
    }

    fn load<'a>(&'a self, name: &'a RecordName) -> BoxFuture<'a, Result<Option<Arc<Record>>>> {
        Box::pin(self.load(name))
    }

    fn compare_and_set<'a>(
        &'a self,
        name: &'a RecordName,
        expected: u64,
        record: Arc<Record>,
    ) -> BoxFuture<'a, Result<Swap>> {
        Box::pin(async move {
            let swap = self.noted(self.store.compare_and_set(name, expected, record.clone()).await)?;
            match &swap {
                Swap::Stored => self.learn(name, &record),
                Swap::Lost(Some(winner)) => self.learn(name, winner),
                Swap::Lost(None) => {}
            }
            Ok(swap)
        })
    }

    fn lease<'a>(&'a self, name: &'a RecordName, owner: &'a Owner) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move { self.noted(self.store.lease(name, owner).await) })
    }

    fn release<'a>(&'a self, name: &'a RecordName, owner: &'a Owner) -> BoxFuture<'a, Result<()>> {
        self.store.release(name, owner)
    }

    fn hold(&self, name: &RecordName, record: Arc<Record>, lease: Option<Owner>) {
        lock(&self.memory().records).insert(name.clone(), Entry { record, dirty: true, lease });
        self.memory().dirtied.notify_one();
    }

    fn keeps_lease(&self, name: &RecordName) -> bool {
        lock(&self.memory().records).get(name).is_some_and(|entry| entry.lease.is_some())
    }

    fn trouble(&self) -> Option<Error> {
        lock(&self.memory().trouble).clone()
    }

    fn changed(&self, name: &RecordName) -> BoxFuture<'static, ()> {
        let notify = lock(&self.memory().waiting).entry(name.clone()).or_default().clone();
        // Made now: what is told from here on is not missed, polled or not.
        let notified = notify.notified_owned();
        Box::pin(notified)
    }

    fn watch<'a>(&'a self, told: Told<'a>) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let told = |name: &RecordName, newest: Option<u64>| {
                self.tell(name);
                told(name, newest);
            };
            tokio::join!(self.store.watch(&told), self.clean());
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Listed>>> {
        self.store.list()
    }

    fn let_go(&self, names: &[RecordName], _keep: &dyn Fn(&Record) -> bool) -> bool {
        let mut records = lock(&self.memory().records);
        if names.iter().any(|name| records.get(name).is_some_and(|entry| entry.dirty)) {
            return false;
        }
        names.iter().for_each(|name| drop(records.remove(name)));
        drop(records);
        let mut waiting = lock(&self.memory().waiting);
        names.iter().for_each(|name| drop(waiting.remove(name)));
        // The store's own stay: others use them.
        self.store.let_go(names, &|_| false)
    }
}

/// These guard values that are whole at any time.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::super::{MemoryStore, StoredRefresh, StoredToken};
    use super::*;
    use crate::block::block_on;
    use crate::error::ErrorCode;
    use crate::secret::Secret;
    use crate::token::Issued;

    /// A store that others write too, and that can be away.
    #[derive(Default)]
    struct Shared {
        inner: MemoryStore,
        away: AtomicBool,
    }

    impl Store for Shared {
        fn load<'a>(&'a self, name: &'a RecordName) -> BoxFuture<'a, Result<Option<Arc<Record>>>> {
            let loading = self.inner.load(name);
            match self.away.load(Ordering::SeqCst) {
                true => Box::pin(async { Err(Error::new(ErrorCode::StoreUnavailable, "away")) }),
                false => loading,
            }
        }

        fn compare_and_set<'a>(
            &'a self,
            name: &'a RecordName,
            expected: u64,
            record: Arc<Record>,
        ) -> BoxFuture<'a, Result<Swap>> {
            match self.away.load(Ordering::SeqCst) {
                true => Box::pin(async { Err(Error::new(ErrorCode::StoreUnavailable, "away")) }),
                false => self.inner.compare_and_set(name, expected, record),
            }
        }

        fn lease<'a>(&'a self, name: &'a RecordName, owner: &'a Owner) -> BoxFuture<'a, Result<bool>> {
            self.inner.lease(name, owner)
        }

        fn release<'a>(&'a self, name: &'a RecordName, owner: &'a Owner) -> BoxFuture<'a, Result<()>> {
            self.inner.release(name, owner)
        }

        fn list(&self) -> BoxFuture<'_, Result<Vec<Listed>>> {
            self.inner.list()
        }

        fn let_go(&self, names: &[RecordName], keep: &dyn Fn(&Record) -> bool) -> bool {
            self.inner.let_go(names, keep)
        }
    }

    fn record(generation: u64) -> Arc<Record> {
        let token = Secret::new(format!("refresh-{generation}"));
        let refresh = Some(StoredRefresh { token, obtained_at: Duration::ZERO, lifetime: None });
        Arc::new(Record { generation, refresh, ..Record::default() })
    }

    struct Bench {
        known: Known<Shared>,
        name: RecordName,
    }

    impl Bench {
        fn new() -> Bench {
            Bench { known: Known::new(Shared::default(), Clock::manual()), name: RecordName::new(&["a".into()]) }
        }

        fn away(&self, away: bool) {
            self.known.store.away.store(away, Ordering::SeqCst);
        }

        fn loaded(&self) -> Option<u64> {
            block_on(self.known.load(&self.name)).unwrap().map(|record| record.generation)
        }

        /// What stands in the store itself.
        fn stands(&self) -> Option<u64> {
            block_on(self.known.store.inner.load(&self.name)).unwrap().map(|record| record.generation)
        }

        fn write(&self, expected: u64, generation: u64) -> Result<bool> {
            let swap = block_on(self.known.compare_and_set(&self.name, expected, record(generation)))?;
            Ok(matches!(swap, Swap::Stored))
        }

        /// Somebody else does, or a failover, a backup, a hand with FLUSHALL.
        fn becomes(&self, generation: Option<u64>) {
            let inner = &self.known.store.inner;
            inner.let_go(std::slice::from_ref(&self.name), &|_| false);
            if let Some(generation) = generation {
                assert!(matches!(
                    block_on(inner.compare_and_set(&self.name, 0, record(generation))).unwrap(),
                    Swap::Stored
                ));
            }
        }
    }

    /// fault 47
    #[test]
    fn a_record_that_could_not_be_written_is_served_and_written_later() {
        let bench = Bench::new();
        assert!(bench.write(0, 1).unwrap());
        bench.away(true);
        assert_eq!(bench.write(1, 2).unwrap_err().code(), ErrorCode::StoreUnavailable);
        bench.known.hold(&bench.name, record(2), None);
        assert_eq!((bench.loaded(), bench.stands()), (Some(2), Some(1)));
        block_on(bench.known.write_dirty());
        assert_eq!(bench.known.dirty().len(), 1);
        // What must not be lost is not let go of.
        assert!(!bench.known.let_go(std::slice::from_ref(&bench.name), &|_| false));
        bench.away(false);
        block_on(bench.known.write_dirty());
        assert_eq!((bench.loaded(), bench.stands(), bench.known.dirty().len()), (Some(2), Some(2), 0));
        assert!(bench.known.let_go(std::slice::from_ref(&bench.name), &|_| false));
    }

    #[test]
    fn a_record_that_could_not_be_written_gives_way_to_a_newer_one() {
        let bench = Bench::new();
        bench.known.hold(&bench.name, record(2), None);
        bench.becomes(Some(3));
        assert_eq!((bench.loaded(), bench.stands(), bench.known.dirty().len()), (Some(3), Some(3), 0));
    }

    /// faults 65, 68, 69
    #[test]
    fn a_store_that_steps_back_gets_the_newer_record_again() {
        let bench = Bench::new();
        assert!(bench.write(0, 5).unwrap());
        for back in [Some(4), None] {
            bench.becomes(back);
            assert_eq!((bench.loaded(), bench.stands()), (Some(5), Some(5)));
        }
        // What a sibling has written since is known too.
        bench.becomes(Some(7));
        assert_eq!(bench.loaded(), Some(7));
        bench.becomes(Some(6));
        assert_eq!((bench.loaded(), bench.stands()), (Some(7), Some(7)));
    }

    /// A record whose token came with this generation.
    fn with_token(generation: u64, token: u64, refresh: Option<&str>) -> Arc<Record> {
        let issued = Issued {
            access_token: Secret::new(format!("token-{token}")),
            token_type: "Bearer".into(),
            lifetime: None,
            refresh_token: None,
            refresh_lifetime: None,
            scope: None,
            extras: serde_json::Map::new(),
        };
        let refresh = refresh.map(|text| {
            let token = Secret::new(text);
            StoredRefresh { token, obtained_at: Duration::ZERO, lifetime: None }
        });
        let token = Some(StoredToken { issued, generation: token, sent_at: Duration::ZERO });
        Arc::new(Record { generation, token, refresh, ..Record::default() })
    }

    #[test]
    fn an_answer_that_could_not_be_written_goes_before_a_siblings_note_and_gives_way_to_its_token() {
        let old = |generation| with_token(generation, 1, Some("old"));
        let cleared = |generation| Arc::new(Record { generation, ..Record::default() });
        let (new, refusal) = (with_token(5, 5, Some("new")), with_token(5, 1, None));
        for (case, held, stands, wins) in [
            ("a note has a larger number", &new, old(8), true),
            ("a note has a smaller number", &new, old(4), true),
            ("a newer token", &new, with_token(8, 8, Some("newer")), false),
            ("a newer token with a smaller number than a refusal", &refusal, with_token(4, 4, Some("newer")), false),
            ("a refusal and a note", &refusal, old(8), true),
            ("cleared since", &new, cleared(8), false),
            ("cleared before", &new, cleared(4), true),
        ] {
            let bench = Bench::new();
            bench.known.hold(&bench.name, held.clone(), None);
            let swap = block_on(bench.known.store.inner.compare_and_set(&bench.name, 0, stands.clone())).unwrap();
            assert!(matches!(swap, Swap::Stored));
            // A compare-and-set that is lost teaches nothing that is worth less.
            let lost = block_on(bench.known.compare_and_set(&bench.name, 3, record(9))).unwrap();
            assert!(matches!(lost, Swap::Lost(Some(_))));
            block_on(bench.known.write_dirty());
            let now = block_on(bench.known.store.inner.load(&bench.name)).unwrap().unwrap();
            let expected = if wins { held } else { &stands };
            let token = |record: &Record| record.token.as_ref().map(|token| token.generation);
            let refresh = |record: &Record| record.refresh.as_ref().map(|refresh| refresh.token.clone());
            assert_eq!((token(&now), refresh(&now)), (token(expected), refresh(expected)), "{case}");
            assert!(now.generation >= stands.generation, "{case}");
            assert!(bench.known.dirty().is_empty(), "{case}");
        }
    }

    #[test]
    fn an_older_write_that_ends_late_takes_nothing_from_what_could_not_be_written() {
        let bench = Bench::new();
        let newest = with_token(7, 7, Some("new"));
        bench.known.hold(&bench.name, newest.clone(), Some(Owner("1".into())));
        let swap = block_on(bench.known.compare_and_set(&bench.name, 0, with_token(6, 5, Some("old")))).unwrap();
        assert!(matches!(swap, Swap::Stored));
        assert!(bench.known.keeps_lease(&bench.name));
        assert_eq!((bench.loaded(), bench.stands()), (Some(7), Some(7)));
        assert!(!bench.known.keeps_lease(&bench.name));
    }

    #[test]
    fn a_lease_is_kept_until_the_record_is_written() {
        let bench = Bench::new();
        let (one, two) = (Owner("1".into()), Owner("2".into()));
        assert!(block_on(bench.known.lease(&bench.name, &one)).unwrap());
        bench.away(true);
        bench.known.hold(&bench.name, record(2), Some(one.clone()));
        assert!(bench.known.keeps_lease(&bench.name));
        block_on(bench.known.keep_leases());
        assert!(!block_on(bench.known.lease(&bench.name, &two)).unwrap());
        bench.away(false);
        block_on(bench.known.write_dirty());
        assert!(!bench.known.keeps_lease(&bench.name));
    }

    #[test]
    fn what_is_of_no_more_use_is_not_brought_back() {
        let bench = Bench::new();
        let empty = Arc::new(Record { generation: 5, ..Record::default() });
        block_on(bench.known.compare_and_set(&bench.name, 0, empty)).unwrap();
        bench.becomes(None);
        assert_eq!((bench.loaded(), bench.stands()), (None, None));
    }

    /// fault 67
    #[test]
    fn trouble_is_known_until_the_store_answers_again() {
        let bench = Bench::new();
        bench.away(true);
        assert!(block_on(bench.known.load(&bench.name)).is_err());
        assert_eq!(bench.known.trouble().unwrap().code(), ErrorCode::StoreUnavailable);
        bench.away(false);
        assert_eq!(bench.loaded(), None);
        assert!(bench.known.trouble().is_none());
    }

    #[test]
    fn who_waits_for_a_change_is_woken_by_one_that_came_before_it_was_polled() {
        let bench = Bench::new();
        let changed = bench.known.changed(&bench.name);
        bench.known.tell(&bench.name);
        block_on(changed);
    }
}
