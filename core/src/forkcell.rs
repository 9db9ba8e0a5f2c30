//! State that belongs to one process: a child of `fork` finds a fresh one, never its parent's locks, threads or sockets.

#![allow(unsafe_code)]

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicPtr, Ordering};

thread_local! {
    /// On the engine's own threads, the process that they belong to. No such thread survives a fork, so that it need not
    /// ask the system again and again.
    static OWN_THREAD_OF: Cell<u32> = const { Cell::new(0) };
}

/// To be called at the start of a thread that never calls `fork`.
pub(crate) fn mark_own_thread() {
    OWN_THREAD_OF.set(std::process::id());
}

fn pid() -> u32 {
    match OWN_THREAD_OF.get() {
        0 => std::process::id(),
        pid => pid,
    }
}

/// A value tagged with the process that made it (DESIGN.md 6, "fork").
///
/// In a child the first access makes a new value and swaps it in; the parent's is leaked, never dropped, because its locks
/// may be held and its threads are gone.
pub(crate) struct ForkCell<T> {
    current: AtomicPtr<Tagged<T>>,
    owns: PhantomData<T>,
}

struct Tagged<T> {
    pid: u32,
    value: T,
}

impl<T> ForkCell<T> {
    pub(crate) const fn new() -> ForkCell<T> {
        ForkCell { current: AtomicPtr::new(std::ptr::null_mut()), owns: PhantomData }
    }

    /// This process's value, made on the first access. Two threads may both run `make`; one result is kept.
    pub(crate) fn get_or_try_init<E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        let pid = pid();
        let seen = self.current.load(Ordering::Acquire);
        // SAFETY: a non-null pointer came from `Box::into_raw` below and is freed only by `drop`, which has `&mut self`;
        // values that are swapped out are leaked, so the reference stays good for as long as `self` is borrowed.
        if let Some(tagged) = unsafe { seen.as_ref() }
            && tagged.pid == pid
        {
            return Ok(&tagged.value);
        }
        let fresh = Box::into_raw(Box::new(Tagged { pid, value: make()? }));
        match self.current.compare_exchange(seen, fresh, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: `fresh` was just published and is kept alive as said above.
            Ok(_) => Ok(unsafe { &(*fresh).value }),
            Err(winner) => {
                // SAFETY: `fresh` was not published; nobody else has it.
                drop(unsafe { Box::from_raw(fresh) });
                // SAFETY: `winner` was published by another thread of this process and is kept alive as said above.
                Ok(unsafe { &(*winner).value })
            }
        }
    }

    pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        match self.get_or_try_init(|| Ok::<T, std::convert::Infallible>(make())) {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }

    /// This process's value, if it has made one.
    pub(crate) fn get(&self) -> Option<&T> {
        // SAFETY: as in `get_or_try_init`.
        let tagged = unsafe { self.current.load(Ordering::Acquire).as_ref() }?;
        (tagged.pid == pid()).then_some(&tagged.value)
    }
}

impl<T> Default for ForkCell<T> {
    fn default() -> ForkCell<T> {
        ForkCell::new()
    }
}

impl<T> Drop for ForkCell<T> {
    fn drop(&mut self) {
        let current = *self.current.get_mut();
        // SAFETY: the pointer is null or from `Box::into_raw`, and nobody can hold a reference while we have `&mut self`.
        let ours = unsafe { current.as_ref() }.is_some_and(|tagged| tagged.pid == pid());
        if ours {
            // SAFETY: as above; the parent's value is left alone.
            drop(unsafe { Box::from_raw(current) });
        }
    }
}

// SAFETY: the cell hands out `&T` to any thread and drops `T` on any thread.
unsafe impl<T: Send + Sync> Send for ForkCell<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for ForkCell<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_is_made_once_in_one_process() {
        let cell = ForkCell::new();
        assert!(cell.get().is_none());
        assert_eq!(*cell.get_or_init(|| 1), 1);
        assert_eq!(*cell.get_or_init(|| 2), 1);
        assert!(cell.get_or_try_init(|| Err::<i32, ()>(())).is_ok());
    }

    #[test]
    fn a_child_gets_a_value_of_its_own_and_leaves_the_parents_alone() {
        // fault 73
        let cell = ForkCell::new();
        assert_eq!(*cell.get_or_init(|| 1), 1);
        // SAFETY: the child only compares and leaves by `_exit`.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let fresh = cell.get().is_none() && *cell.get_or_init(|| 2) == 2;
            // SAFETY: ends the child without running the parent's exit handlers.
            unsafe { libc::_exit(if fresh { 0 } else { 1 }) };
        }
        let mut status = 0;
        // SAFETY: `status` is writable.
        unsafe { libc::waitpid(child, &mut status, 0) };
        assert_eq!(status, 0);
        assert_eq!(*cell.get_or_init(|| 3), 1);
    }
}
