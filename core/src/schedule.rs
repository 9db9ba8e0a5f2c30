//! The one timer structure of an engine: which source is to be looked at when.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Notify;

use crate::clock::{BootTimer, Clock, Deadline};

/// Something that has a time to be looked at.
pub(crate) trait Timed: Send + Sync {
    /// The time has come.
    fn on_timer(self: Arc<Self>);
}

/// Due times on the boot clock, each with the source to wake. A source may stand here more than once; it decides itself
/// whether there is anything to do.
pub(crate) struct Schedule {
    entries: Mutex<Entries>,
    changed: Notify,
}

#[derive(Default)]
struct Entries {
    heap: BinaryHeap<Reverse<Entry>>,
    count: u64,
    /// So many were left when it was last looked for those whose sources are gone.
    alive: usize,
}

struct Entry {
    at_ns: u64,
    order: u64,
    source: Weak<dyn Timed>,
}

impl Schedule {
    pub(crate) fn new() -> Schedule {
        Schedule { entries: Mutex::default(), changed: Notify::new() }
    }

    pub(crate) fn add(&self, at: &Deadline, source: Weak<dyn Timed>) {
        if at.boot_ns() == u64::MAX {
            return;
        }
        let mut entries = self.lock();
        entries.count += 1;
        // A source that is gone holds its memory until its entry goes, which may be a month off.
        if entries.heap.len() >= 2 * entries.alive.max(64) {
            entries.heap.retain(|Reverse(entry)| entry.source.strong_count() > 0);
            entries.alive = entries.heap.len();
        }
        let entry = Entry { at_ns: at.boot_ns(), order: entries.count, source };
        let first = entries.heap.peek().is_none_or(|Reverse(next)| entry.at_ns < next.at_ns);
        entries.heap.push(Reverse(entry));
        drop(entries);
        // The timer is set for the first one; a later one finds it when that has fired.
        if first {
            self.changed.notify_one();
        }
    }

    /// When the next source is due.
    pub(crate) fn next_ns(&self) -> Option<u64> {
        self.lock().heap.peek().map(|Reverse(entry)| entry.at_ns)
    }

    /// Takes out the sources that are due at `now_ns`.
    pub(crate) fn due(&self, now_ns: u64) -> Vec<Arc<dyn Timed>> {
        let mut entries = self.lock();
        let mut due = Vec::new();
        while entries.heap.peek().is_some_and(|Reverse(entry)| entry.at_ns <= now_ns) {
            if let Some(Reverse(entry)) = entries.heap.pop()
                && let Some(source) = entry.source.upgrade()
            {
                due.push(source);
            }
        }
        due
    }

    /// Wakes due sources until the runtime ends. On a manual clock its driver does this instead.
    pub(crate) async fn run(self: Arc<Self>, clock: Clock) {
        let timer = match BootTimer::new() {
            Ok(timer) => timer,
            Err(error) => {
                tracing::error!(%error, "no timer: tokens are renewed only when a caller finds them stale");
                return;
            }
        };
        loop {
            let next = self.next_ns().unwrap_or(i64::MAX as u64);
            tokio::select! {
                () = self.changed.notified() => {}
                fired = timer.sleep_until(next) => {
                    if let Err(error) = fired {
                        tracing::error!(%error, "the timer failed");
                        return;
                    }
                }
            }
            for source in self.due(clock.now().boot_ns()) {
                source.on_timer();
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        (self.at_ns, self.order) == (other.at_ns, other.order)
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> std::cmp::Ordering {
        (self.at_ns, self.order).cmp(&(other.at_ns, other.order))
    }
}
