//! What core's own `sync` has, for the model checker.

use std::ops::Deref;
use std::sync::OnceLock;

pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64};
pub(crate) use loom::sync::{Mutex, MutexGuard};
pub(crate) use std::sync::atomic::Ordering;
pub(crate) use std::sync::{Arc, PoisonError};

/// A pointer that is swapped in one step, and read in one.
pub(crate) struct Slot<T>(Mutex<Option<Arc<T>>>);

pub(crate) struct Guard<T>(T);

impl<T> Deref for Guard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Slot<T> {
    pub(crate) fn empty() -> Slot<T> {
        Slot(Mutex::new(None))
    }

    pub(crate) fn load(&self) -> Guard<Option<Arc<T>>> {
        Guard(self.load_full())
    }

    pub(crate) fn load_full(&self) -> Option<Arc<T>> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn store(&self, value: Option<Arc<T>>) {
        *self.0.lock().unwrap() = value;
    }
}

/// There is one process here.
pub(crate) struct ForkCell<T>(OnceLock<T>);

impl<T> ForkCell<T> {
    pub(crate) fn new() -> ForkCell<T> {
        ForkCell(OnceLock::new())
    }

    pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        self.0.get_or_init(make)
    }
}
