//! What a failure leaves: how long nothing is tried, what siblings need not try again, and when to step back from a fight
//! over an account's only session.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{ATTEMPTS, Failure, Renewal, Step};
use crate::clock::Deadline;
use crate::error::{Error, ErrorCode};
use crate::response::Verdict;
use crate::store::{Record, StoredFailure};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Behind the back of callers with a valid token a renewal waits for this part of what the token has left, and at most so long.
const PART_OF_LEFT: u32 = 4;
const LONGEST_BEHIND: Duration = Duration::from_secs(300);
/// A remembered refusal: the first time, and at most.
const FIRST_REFUSAL: Duration = Duration::from_secs(5);
const LONGEST_REFUSAL: Duration = Duration::from_secs(300);
/// This many takeovers of a session within this time mean that another party uses the account.
const TAKEOVERS: usize = 3;
const TAKEOVER_WINDOW: Duration = Duration::from_secs(60);
const FIRST_CONFLICT: Duration = Duration::from_secs(30);
const LONGEST_CONFLICT: Duration = Duration::from_secs(900);

/// Until when no renewal is tried, and what callers without a token hear.
#[derive(Clone)]
pub(crate) struct Pause {
    pub(crate) until: Deadline,
    /// The same for a renewal behind the back of callers who hold a valid token; never before `until`.
    pub(crate) behind: Deadline,
    pub(crate) error: Error,
    pub(crate) kind: PauseKind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PauseKind {
    /// Callers whose deadline allows wait for its end.
    Transient,
    /// Callers get the error at once; it is tried again afterwards.
    Refused,
    /// Refused, and not tried behind the back of callers who still hold a valid token.
    Final,
}

impl Pause {
    /// One that is as long for everybody.
    pub(crate) fn new(until: Deadline, error: Error, kind: PauseKind) -> Pause {
        Pause { until, behind: until, error, kind }
    }
}

impl Renewal<'_> {
    /// A failure that somebody met with this very secret, whose time is not over.
    pub(super) fn remembered(&self, record: &Record) -> Option<Failure> {
        let failure = record.failure.as_ref().filter(|failure| failure.fingerprint == self.profile.fingerprint)?;
        let left = failure.left(self.now().unix())?;
        let kind = match (failure.last, failure.error.code()) {
            (true, _) => PauseKind::Final,
            (false, ErrorCode::SessionConflict) => PauseKind::Refused,
            (false, _) => PauseKind::Transient,
        };
        // Who met it may have been another profile of these credentials, some time ago.
        let error = failure.error.clone().retold_to(&self.profile.name);
        let error = if failure.last { error } else { error.with_retry_after(Some(left)) };
        let pause = self.paused(left, error.clone(), kind);
        Some(Failure { error, verdict: Verdict::Final, remembered: Some(pause) })
    }

    /// Counts a takeover of the account's only session; too many in a minute, and qauth steps back instead of fighting.
    pub(super) async fn note_takeover(&self, record: &mut Arc<Record>) -> Step<()> {
        let now = self.now();
        let mut next = Record::clone(record);
        next.takeovers.iter_mut().for_each(|at| *at = (*at).min(now.unix()));
        next.takeovers.retain(|at| now.unix().saturating_sub(*at) < TAKEOVER_WINDOW);
        next.takeovers.push(now.unix());
        // A session that lasted shows that the other party is gone: a new conflict starts with a short pause again.
        if record.token.as_ref().is_some_and(|token| now.unix().saturating_sub(token.sent_at) >= LONGEST_CONFLICT) {
            next.conflicts = 0;
        }
        if next.takeovers.len() < TAKEOVERS {
            return self.note(record, next).await;
        }
        let wait = (FIRST_CONFLICT * (1 << next.conflicts.min(5))).min(LONGEST_CONFLICT);
        let advice = self.profile.provider.definition().lifetime.conflict_advice.as_deref();
        let error = Error::new(
            ErrorCode::SessionConflict,
            format!(
                "another party keeps taking over this account's only session{}",
                advice.map(|advice| format!(": {advice}")).unwrap_or_default()
            ),
        )
        .with_retry_after(Some(wait))
        .about(&self.profile.name, self.profile.provider.name());
        next.conflicts += 1;
        next.takeovers.clear();
        next.failure = Some(StoredFailure {
            error: error.clone(),
            fingerprint: self.profile.fingerprint.clone(),
            until: now.unix() + wait,
            wait,
            last: false,
            count: 0,
        });
        self.note(record, next).await?;
        let pause = Pause::new(now.after(wait), error.clone(), PauseKind::Refused);
        Err(Failure { error, verdict: Verdict::Final, remembered: Some(pause) })
    }

    /// Writes a failure into the record, so that siblings do not repeat it, and says how long to be silent. A refusal of the
    /// credentials goes where every narrowing of them looks.
    pub(crate) async fn remember(&self, failure: Failure, error: &Error) -> Pause {
        if let Some(pause) = failure.remembered {
            return pause;
        }
        let last = failure.verdict == Verdict::Final;
        let mut wait = Duration::ZERO;
        let mut noted = |record: &Record| {
            let stored = self.stored(record, error, last);
            wait = stored.wait;
            Record { failure: Some(stored), ..record.clone() }
        };
        let for_all = self.profile.refusals_name().filter(|_| last && self.is_of_credentials(error));
        let shared = match for_all {
            Some(name) => self.amend(name, |record| Some(noted(record))).await,
            None => false,
        };
        // That the store could not be reached from here says nothing to siblings, though it may be back by now.
        let own = error.code() == ErrorCode::StoreUnavailable;
        // Whoever renews by this record now would lose the race for it, and a rotated refresh token with it.
        if !shared && !own && self.lease().await.unwrap_or(false) {
            let mut record = self.load().await.ok().flatten().unwrap_or_default();
            let next = noted(&record);
            if let Err(failure) = self.write(&mut record, next).await {
                tracing::warn!(profile = %self.profile.name, error = %failure.error, "a failure could not be stored");
            }
        }
        let kind = if last { PauseKind::Final } else { PauseKind::Transient };
        self.paused(wait, error.clone(), kind)
    }

    /// A failure as this record keeps it: each in a row lasts longer than the one before.
    fn stored(&self, record: &Record, error: &Error, last: bool) -> StoredFailure {
        let before = record
            .failure
            .as_ref()
            .filter(|before| before.fingerprint == self.profile.fingerprint && before.last == last);
        let now = self.now().unix();
        // Sources that ask in one instant are refused once in a row, not each after the other.
        let count = before.map_or(1, |before| if now < before.until { before.count.max(1) } else { before.count + 1 });
        let wait = match last {
            true => (FIRST_REFUSAL * (1 << (count - 1).min(6))).min(LONGEST_REFUSAL),
            false => self.pause(error, ATTEMPTS.saturating_add(count - 1)),
        };
        StoredFailure {
            error: error.clone(),
            fingerprint: self.profile.fingerprint.clone(),
            until: now + wait,
            wait,
            last,
            count,
        }
    }

    /// Who serves a valid token has time: the more is left of it, the more. A thousand sources then ask a dead server a few
    /// times each before their tokens end, not every ten seconds, and do not come back in the ten seconds after it has
    /// recovered (fault 19). Those whose tokens have ended do.
    fn paused(&self, wait: Duration, error: Error, kind: PauseKind) -> Pause {
        let now = self.now();
        let left = self.brief.served_until.map_or(Duration::ZERO, |end| end.left(&now));
        let behind = self.jittered((left / PART_OF_LEFT).min(LONGEST_BEHIND)).max(wait);
        Pause { behind: now.after(behind), ..Pause::new(now.after(wait), error, kind) }
    }

    /// Every flight in a row that failed leaves the next one an attempt less, down to one: a server that is down is probed,
    /// not hammered.
    pub(super) fn count_attempts_of(&self, record: &Record) {
        let failed =
            record.failure.as_ref().filter(|failure| failure.fingerprint == self.profile.fingerprint && !failure.last);
        let count = failed.map_or(0, |failure| failure.count);
        self.attempts.fetch_max(count.min(ATTEMPTS - 1), Ordering::Relaxed);
    }

    /// What the server asks for, but never less than the back-off: a server that says 0 gets no storm (fault 28). And a
    /// little more, so that all who were told the same do not come back in one instant (fault 19).
    pub(super) fn pause(&self, error: &Error, attempt: u32) -> Duration {
        let own = backoff(attempt);
        match error.retry_after().filter(|after| *after > own) {
            Some(after) => after.mul_f64(1.0 + 0.1 * self.core.clock.draw().unwrap_or(0.0)),
            None => self.jittered(own),
        }
    }

    /// Jitter over the upper half.
    fn jittered(&self, pause: Duration) -> Duration {
        pause.mul_f64(0.5 + 0.5 * self.core.clock.draw().unwrap_or(1.0))
    }
}

/// 100 ms, doubling to 10 s.
fn backoff(attempt: u32) -> Duration {
    (FIRST_PAUSE * (1 << (attempt - 1).min(7))).min(LONGEST_PAUSE)
}
