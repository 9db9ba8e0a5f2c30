//! The end of the process waits a moment for answers that must not be lost: a rotated refresh token that is on its way is
//! stored before the process goes (DESIGN.md 6, fault 74).
//!
//! One handler of `exit` for all engines: `sys.exit`, `process.exit` and the end of `main` come by it; `_exit` and signals do
//! not, and for those there is the intent in the record. A host that may end itself by a signal once it has cleaned up, as
//! Python does after Ctrl-C, calls [`wait_for_answers`] while it does.

#![allow(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::forkcell::ForkCell;

/// How long the end of the process waits at most.
const LONGEST: Duration = Duration::from_secs(2);

/// This process's own: a child of fork has nothing under way, whatever its parent has.
static PENDING: ForkCell<Pending> = ForkCell::new();

#[derive(Default)]
struct Pending {
    count: Mutex<usize>,
    changed: Condvar,
    /// The end has waited for as long as it does.
    given_up: AtomicBool,
}

/// Keeps the process waiting, if it ends while this lives.
pub(crate) struct HoldExit(());

impl HoldExit {
    pub(crate) fn new() -> HoldExit {
        static REGISTERED: AtomicBool = AtomicBool::new(false);
        if !REGISTERED.swap(true, Ordering::Relaxed) {
            // A failure leaves us where `_exit` would.
            // SAFETY: the handler is a plain function that neither panics nor unwinds; the shared libraries are never unmapped
            // (`-z nodelete`), so that it is there when it is called.
            unsafe { libc::atexit(wait) };
        }
        *count(PENDING.get_or_init(Pending::default)) += 1;
        HoldExit(())
    }
}

impl Drop for HoldExit {
    fn drop(&mut self) {
        // In a child of fork the parent's are not ours.
        if let Some(pending) = PENDING.get() {
            let mut count = count(pending);
            *count = count.saturating_sub(1);
            pending.changed.notify_all();
        }
    }
}

/// Waits at most 2 s, once in a process, until no answer is under way that must not be lost. For the end of a host that may not
/// come to `exit`, where the same is done.
pub fn wait_for_answers() {
    if let Some(pending) = PENDING.get().filter(|pending| !pending.given_up.load(Ordering::Relaxed)) {
        let waited = pending.changed.wait_timeout_while(count(pending), LONGEST, |count| *count > 0);
        let end = waited.unwrap_or_else(PoisonError::into_inner).1;
        pending.given_up.store(end.timed_out(), Ordering::Relaxed);
    }
}

extern "C" fn wait() {
    wait_for_answers();
}

fn count(pending: &Pending) -> std::sync::MutexGuard<'_, usize> {
    pending.count.lock().unwrap_or_else(PoisonError::into_inner)
}
