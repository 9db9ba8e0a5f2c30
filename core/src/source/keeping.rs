//! Whether a source that nobody uses can be let go of, and since when nobody does.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use super::Source;
use crate::events::EventKind;
use crate::profile::{Mode, Profile};
use crate::record_name::RecordName;
use crate::store::Record;

impl Source {
    /// Somebody takes it into their hands, or out of them.
    pub(crate) fn touch(&self) {
        self.touched_ns.store(self.core.clock.coarse_ns(), Ordering::Relaxed);
    }

    /// Whoever has found it in the map has it; `false`: it is just being let go of.
    pub(crate) fn taken(&self) -> bool {
        self.touch();
        !self.is_leaving()
    }

    /// Somebody who has just come by a handle asks this before they do anything with it: either they see that it leaves, or
    /// [`Source::leave`] sees them.
    pub(super) fn is_leaving(&self) -> bool {
        fence(Ordering::SeqCst);
        match self.leaving.load(Ordering::Relaxed) {
            0 => false,
            process => process == std::process::id(),
        }
    }

    /// Nobody may take it from here on; `false`: somebody has.
    pub(crate) fn leave(self: &Arc<Self>) -> bool {
        self.leaving.store(std::process::id(), Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let alone = self.is_unused();
        if !alone {
            self.stay();
        }
        alone
    }

    /// It may be taken again.
    pub(crate) fn stay(&self) {
        self.leaving.store(0, Ordering::Release);
    }

    /// For how long nobody has.
    pub(crate) fn untouched(&self) -> Duration {
        let now = self.core.clock.coarse_ns();
        Duration::from_nanos(now.saturating_sub(self.touched_ns.load(Ordering::Relaxed)))
    }

    /// Nobody has it but the map of sources, and it can be made again as it is: its function, and keys that were given later,
    /// are the host's and nowhere else, as is the silence after a rejection. One that renews without being asked stays too.
    pub(crate) fn is_unused(self: &Arc<Self>) -> bool {
        let silent = || {
            let now = self.core.clock.now();
            self.life.lock().pause.as_ref().is_some_and(|pause| !pause.until.passed(&now))
        };
        Arc::strong_count(self) == 1
            && !self.has_function()
            && !self.updated.load(Ordering::Relaxed)
            && self.profile.load().mode != Mode::Always
            && !silent()
    }

    /// The names of all records that it may use.
    pub(crate) fn record_names(&self) -> Vec<RecordName> {
        let profile = self.profile();
        let names = |one: &Profile| std::iter::once(one.record_name()).chain(one.refusals_name().cloned());
        profile.candidates().flat_map(names).collect()
    }

    /// Lets go of its records, but for those that others use; `false`: all stay, since one holds what is nowhere else and cannot be had
    /// again.
    pub(crate) fn let_records_go(&self, used: &HashSet<RecordName>) -> bool {
        let profile = self.profile();
        let now = self.core.clock.now().unix();
        let keep = |record: &Record| {
            // A sign-in that only this process knows; and a refusal that would otherwise be met once more.
            let sign_in = record.refresh.is_some()
                && profile.grant.interactive()
                && profile.signed_in.as_ref().is_none_or(|kept| kept.file.is_none());
            sign_in || record.failure.as_ref().is_some_and(|failure| failure.until > now)
        };
        let names: Vec<RecordName> = self.record_names().into_iter().filter(|name| !used.contains(name)).collect();
        self.core.store.let_go(&names, &keep)
    }

    pub(crate) fn report_evicted(&self, unused: Duration) {
        self.core.report((&self.profile(), self.tally()), EventKind::Evicted, "unused", unused, |event| event);
    }
}
