//! Whether a source that nobody uses can be let go of, and since when nobody does.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Source;
use crate::events::EventKind;
use crate::profile::Profile;
use crate::record_name::RecordName;
use crate::store::Record;

impl Source {
    /// Somebody takes it into their hands, or out of them.
    pub(crate) fn touch(&self) {
        self.touched_ns.store(self.core.clock.coarse_ns(), Ordering::Relaxed);
    }

    /// For how long nobody has.
    pub(crate) fn untouched(&self) -> Duration {
        let now = self.core.clock.coarse_ns();
        Duration::from_nanos(now.saturating_sub(self.touched_ns.load(Ordering::Relaxed)))
    }

    /// Nobody has it but the map of sources, and it can be made again as it is: its function, and keys that were given later,
    /// are the host's and nowhere else.
    pub(crate) fn is_unused(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) == 1 && !self.has_function() && !self.updated.load(Ordering::Relaxed)
    }

    /// The names of all records that it may use.
    pub(crate) fn record_names(&self) -> Vec<RecordName> {
        let profile = self.profile();
        let names = |one: &Profile| std::iter::once(one.record_name()).chain(one.refusals_name().cloned());
        profile.candidates().flat_map(names).collect()
    }

    /// Lets go of its records, but for those that others use; `false`: one holds what is nowhere else and cannot be had
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
        let mut names = self.record_names().into_iter().filter(|name| !used.contains(name));
        names.all(|name| self.core.store.let_go(&name, &keep))
    }

    pub(crate) fn report_evicted(&self, unused: Duration) {
        self.core.report(&self.profile(), EventKind::Evicted, "unused", unused, |event| event);
    }
}
