//! What this process knows of a store that others share: the newest record of each profile, kept beside the store.
//!
//! A record that could not be written lives on here, dirty, and is written later (fault 47). A store that steps back, since a
//! failover lost its last write, it was emptied, or a backup came back, gets the newer record again by compare-and-set
//! (faults 65, 68, 69). While it cannot be reached, it says so once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::{BoxFuture, Listed, Owner, Record, Store, Swap};
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

    fn newest(&self, name: &RecordName) -> Option<Arc<Record>> {
        lock(&self.memory().records).get(name).map(|entry| entry.record.clone())
    }

    /// Remembers what stands in the store now, unless something newer is known.
    fn learn(&self, name: &RecordName, record: &Arc<Record>) {
        let mut records = lock(&self.memory().records);
        match records.get(name) {
            Some(entry) if entry.record.generation > record.generation => {}
            _ => drop(records.insert(name.clone(), Entry { record: record.clone(), dirty: false })),
        }
    }

    async fn load(&self, name: &RecordName) -> Result<Option<Arc<Record>>> {
        let mut standing = match self.noted(self.store.load(name).await) {
            Ok(standing) => standing,
            Err(error) => return self.newest(name).map(Some).ok_or(error),
        };
        for _ in 0..ROUNDS {
            let generation = standing.as_ref().map_or(0, |standing| standing.generation);
            let newer = self.newest(name).filter(|known| known.generation > generation);
            let Some(known) = newer.filter(|known| known.is_useful(self.clock.now().unix())) else { break };
            match self.noted(self.store.compare_and_set(name, generation, known.clone()).await) {
                Ok(Swap::Stored) => standing = Some(known),
                Ok(Swap::Lost(winner)) => standing = winner,
                Err(_) => return Ok(Some(known)),
            }
        }
        match &standing {
            Some(standing) => self.learn(name, standing),
            None => drop(lock(&self.memory().records).remove(name)),
        }
        Ok(standing)
    }

    /// Writes dirty records until there are none.
    async fn clean(&self) {
        let mut pause = FIRST_RETRY;
        loop {
            let dirty: Vec<RecordName> = {
                let records = lock(&self.memory().records);
                records.iter().filter(|(_, entry)| entry.dirty).map(|(name, _)| name.clone()).collect()
            };
            if dirty.is_empty() {
                self.memory().dirtied.notified().await;
                pause = FIRST_RETRY;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_RETRY);
            for name in dirty {
                // That writes it, if it is still the newest.
                let _ = self.load(&name).await;
            }
        }
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

    fn hold(&self, name: &RecordName, record: Arc<Record>) {
        lock(&self.memory().records).insert(name.clone(), Entry { record, dirty: true });
        self.memory().dirtied.notify_one();
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

    fn watch<'a>(&'a self, told: &'a (dyn Fn(&RecordName) + Send + Sync)) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let told = |name: &RecordName| {
                self.tell(name);
                told(name);
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
