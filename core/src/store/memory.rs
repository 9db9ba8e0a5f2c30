//! The default store: this process's memory. A child of `fork` starts with an empty one, for its parent's refresh tokens
//! are its parent's to spend.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::{BoxFuture, LEASE, Listed, Owner, Record, Store, Swap};
use crate::error::Result;
use crate::forkcell::ForkCell;
use crate::record_name::RecordName;

#[derive(Default)]
pub(crate) struct MemoryStore {
    shelf: ForkCell<Mutex<Shelf>>,
}

#[derive(Default)]
struct Shelf {
    records: HashMap<RecordName, Arc<Record>>,
    /// So many were of use when it was last looked for those that are not.
    useful: usize,
    leases: HashMap<RecordName, (Owner, Instant)>,
}

impl MemoryStore {
    /// No call panics while it holds the lock, so a poisoned one still holds whole records.
    fn with<R>(&self, use_shelf: impl FnOnce(&mut Shelf) -> R) -> R {
        let shelf = self.shelf.get_or_init(Mutex::default);
        use_shelf(&mut shelf.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shelf {
    /// Secrets that change leave the records of the old ones behind: once their tokens have ended, those are of no use.
    fn make_room(&mut self, newest: &Record) {
        let Some(now) = newest.token.as_ref().map(|token| token.sent_at) else { return };
        if self.records.len() >= 2 * self.useful.max(64) {
            self.records.retain(|_, record| record.is_useful(now));
            self.useful = self.records.len();
        }
    }
}

impl Store for MemoryStore {
    fn load<'a>(&'a self, name: &'a RecordName) -> BoxFuture<'a, Result<Option<Arc<Record>>>> {
        Box::pin(async move { Ok(self.with(|shelf| shelf.records.get(name).cloned())) })
    }

    fn compare_and_set<'a>(
        &'a self,
        name: &'a RecordName,
        expected: u64,
        record: Arc<Record>,
    ) -> BoxFuture<'a, Result<Swap>> {
        Box::pin(async move {
            Ok(self.with(|shelf| {
                let standing = shelf.records.get(name);
                if standing.map_or(0, |standing| standing.generation) != expected {
                    return Swap::Lost(standing.cloned());
                }
                shelf.make_room(&record);
                shelf.records.insert(name.clone(), record);
                Swap::Stored
            }))
        })
    }

    fn lease<'a>(&'a self, name: &'a RecordName, owner: &'a Owner) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            Ok(self.with(|shelf| {
                let now = Instant::now();
                match shelf.leases.get(name) {
                    Some((holder, deadline)) if holder != owner && *deadline > now => false,
                    _ => {
                        shelf.leases.insert(name.clone(), (owner.clone(), now + LEASE));
                        true
                    }
                }
            }))
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Listed>>> {
        // Nobody outside this process could ask.
        let listed = |record: &Arc<Record>| Listed { outer: String::new(), record: Ok(Record::clone(record)) };
        Box::pin(async move { Ok(self.with(|shelf| shelf.records.values().map(listed).collect())) })
    }

    fn let_go(&self, names: &[RecordName], keep: &dyn Fn(&Record) -> bool) -> bool {
        self.with(|shelf| {
            let now = Instant::now();
            let leased = |name: &RecordName| shelf.leases.get(name).is_some_and(|(_, deadline)| *deadline > now);
            let stays = |name: &RecordName| leased(name) || shelf.records.get(name).is_some_and(|record| keep(record));
            if names.iter().any(stays) {
                return false;
            }
            names.iter().for_each(|name| drop(shelf.records.remove(name)));
            true
        })
    }

    fn release<'a>(&'a self, name: &'a RecordName, owner: &'a Owner) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.with(|shelf| {
                if shelf.leases.get(name).is_some_and(|(holder, _)| holder == owner) {
                    shelf.leases.remove(name);
                }
            });
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now<T>(future: BoxFuture<'_, T>) -> T {
        crate::block::block_on(future)
    }

    #[test]
    fn a_late_writer_loses_and_sees_the_winner() {
        let store = MemoryStore::default();
        let name = RecordName::new(&["a".into()]);
        let record = |generation| Arc::new(Record { generation, ..Record::default() });
        assert!(matches!(now(store.compare_and_set(&name, 0, record(1))).unwrap(), Swap::Stored));
        assert!(matches!(now(store.compare_and_set(&name, 1, record(2))).unwrap(), Swap::Stored));
        let lost = now(store.compare_and_set(&name, 1, record(2))).unwrap();
        assert!(matches!(lost, Swap::Lost(Some(winner)) if winner.generation == 2));
    }

    #[test]
    fn one_owner_holds_the_lease_and_only_it_can_give_it_back() {
        let store = MemoryStore::default();
        let name = RecordName::new(&["a".into()]);
        let (one, two) = (Owner("1".into()), Owner("2".into()));
        assert!(now(store.lease(&name, &one)).unwrap());
        assert!(now(store.lease(&name, &one)).unwrap());
        assert!(!now(store.lease(&name, &two)).unwrap());
        now(store.release(&name, &two)).unwrap();
        assert!(!now(store.lease(&name, &two)).unwrap());
        now(store.release(&name, &one)).unwrap();
        assert!(now(store.lease(&name, &two)).unwrap());
    }
}
