//! What a source tells of itself: each thing that happens to its token, counted and told to whoever listens.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Source;
use crate::error::{Error, ErrorCode};
use crate::events::{Event, EventKind};
use crate::metrics::Tally;
use crate::profile::Profile;
use crate::runtime::Core;
use crate::token::Published;

/// What set a renewal off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// There has been no token.
    FirstUse,
    /// Behind the callers' back, before anybody has to wait.
    Ahead,
    /// A caller found the token stale.
    Stale,
    /// A caller found none that is valid, where there had been one.
    Expired,
    /// A caller asked for a longer life than the token has left.
    MinRemaining,
    /// The API rejected the token.
    Rejected,
}

impl Cause {
    pub(super) fn name(self) -> &'static str {
        match self {
            Cause::FirstUse => "first_use",
            Cause::Ahead => "ahead",
            Cause::Stale => "stale",
            Cause::Expired => "expired",
            Cause::MinRemaining => "min_remaining",
            Cause::Rejected => "rejected",
        }
    }
}

impl Core {
    /// Counts an event and tells it. With no lock held: who hears of it may use this very source.
    pub(crate) fn report(
        &self,
        (profile, tally): (&Profile, &Tally),
        kind: EventKind,
        reason: &'static str,
        duration: Duration,
        more: impl FnOnce(Event) -> Event,
    ) {
        tally.count(kind);
        let about = (profile.name.as_str(), profile.provider.name());
        self.events.tell(more(Event::new(kind, about, reason, duration, self.clock.now().unix())));
    }

    /// Tells when the store cannot be used as it should, and when it can again.
    pub(crate) fn notice_store(&self, (profile, tally): (&Profile, &Tally)) {
        let trouble = self.store.trouble();
        if self.store_degraded.swap(trouble.is_some(), Ordering::Relaxed) == trouble.is_some() {
            return;
        }
        match trouble {
            Some(error) => {
                let reason = error.code().name();
                self.report((profile, tally), EventKind::StoreDegraded, reason, Duration::ZERO, |event| {
                    event.with_error(&error)
                });
            }
            None => {
                self.report((profile, tally), EventKind::StoreRecovered, "store", Duration::ZERO, |event| event);
            }
        }
    }
}

impl Source {
    /// What is counted of this source and of those that bear its name.
    pub(crate) fn tally(&self) -> &Arc<Tally> {
        self.tally.get_or_init(|| {
            let profile = self.profile();
            self.core.tallies.of(&profile.name, profile.provider.name())
        })
    }

    /// A token was published. `replaced`: there was a valid one.
    pub(super) fn report_token(
        &self,
        profile: &Profile,
        published: &Arc<Published>,
        (adopted, replaced): (bool, bool),
        cause: Cause,
        took: Duration,
    ) {
        self.told_of_failing.store(false, Ordering::Relaxed);
        let kind = match (adopted, replaced) {
            (true, _) => EventKind::Adopted,
            (false, true) => EventKind::Renewed,
            (false, false) => EventKind::Obtained,
        };
        let tally = self.tally();
        tally.renewal_took(took);
        tally.token_ends(published.expires().map(|end| end.unix()));
        let generation = published.generation;
        self.core.report((profile, tally), kind, cause.name(), took, |event| event.with_generation(generation));
    }

    /// A renewal brought no token; `silence` is for how long none is tried.
    pub(super) fn report_failure(
        &self,
        profile: &Profile,
        error: &Error,
        cause: Cause,
        took: Duration,
        silence: Duration,
    ) {
        let tally = self.tally();
        tally.renewal_took(took);
        tally.count_failure(error.code());
        let (kind, reason, duration) = match error.code() {
            code @ ErrorCode::SessionConflict => (EventKind::Conflict, code.name(), silence),
            _ => (EventKind::Failed, cause.name(), took),
        };
        self.core.report((profile, tally), kind, reason, duration, |event| event.with_error(error));
    }

    /// A caller gets a valid token that could not be renewed: told once, until a renewal succeeds.
    pub(super) fn report_serving(&self, published: &Published, error: &Error) {
        if self.told_of_failing.swap(true, Ordering::Relaxed) {
            return;
        }
        let left = published.left(&self.core.clock.now()).unwrap_or(Duration::MAX);
        let kind = EventKind::ServedWhileFailing;
        self.core.report((&self.profile(), self.tally()), kind, error.code().name(), left, |event| {
            event.with_error(error).with_generation(published.generation)
        });
    }
}
