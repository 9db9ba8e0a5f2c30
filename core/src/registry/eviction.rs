//! Sources that nobody uses are let go of: those idle for long, and the oldest where there are too many.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Registry;
use crate::config::Keeping;
use crate::schedule::Timed;

/// However short sources may be idle, all of them are not looked through more often.
const SHORTEST_LOOK: Duration = Duration::from_millis(100);

/// How often it is looked for idle ones, if they go.
pub(super) fn interval(keeping: &Keeping) -> Option<Duration> {
    keeping.idle.map(|idle| (idle / 4).max(SHORTEST_LOOK))
}

impl Registry {
    /// After a source has come: where there are too many, the oldest go that nobody uses. A few more than must, and the next
    /// look is some way off, so that not every new source looks through all of them. And a few stay though there are too
    /// many: where all others are in use, two that take turns would throw each other out.
    pub(super) fn make_room(&self) {
        let (len, max) = (self.sources.len(), self.keeping.max);
        if len <= self.look_at.load(Ordering::Relaxed) {
            return;
        }
        let few = max / 10;
        self.evict(len - max + few, few, Duration::ZERO);
        self.look_at.store(max.max(self.sources.len() + few), Ordering::Relaxed);
    }

    /// Lets go of this many sources at most, those that have been unused for longest, if for so long; this many unused ones
    /// stay.
    fn evict(&self, at_most: usize, stay: usize, unused_for: Duration) {
        let sources = self.sources.snapshot();
        let mut unused = Vec::new();
        let mut used = HashSet::new();
        for (key, source) in sources.iter() {
            let time = source.untouched();
            match source.is_unused() && time >= unused_for {
                true => unused.push((time, key, source)),
                false => used.extend(source.record_names()),
            }
        }
        unused.sort_unstable_by_key(|(time, ..)| Reverse(*time));
        let rest = unused.split_off(at_most.min(unused.len().saturating_sub(stay)));
        used.extend(rest.iter().flat_map(|(_, _, source)| source.record_names()));
        let mut gone = HashSet::new();
        for (time, key, source) in unused {
            // From here on whoever finds it in the map waits until it is gone.
            if !source.leave() {
                continue;
            }
            if !source.let_records_go(&used) {
                source.stay();
                continue;
            }
            self.sources.remove(key);
            source.close();
            source.report_evicted(time);
            gone.insert(&key.name);
            self.evicted.fetch_add(1, Ordering::Relaxed);
        }
        if !gone.is_empty() {
            for key in self.sources.snapshot().keys() {
                gone.remove(&key.name);
            }
            gone.into_iter().for_each(|name| self.core.tallies.forget(name));
        }
    }
}

impl Timed for Registry {
    fn on_timer(self: Arc<Self>) {
        if let Some(idle) = self.keeping.idle {
            self.evict(usize::MAX, 0, idle);
            self.core.look_again();
        }
    }
}
