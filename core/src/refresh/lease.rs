//! The right to renew: taken, kept while the work lasts, and looked at again before anything is sent.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Notify;

use super::{Failure, Obtained, Renewal, Step};
use crate::error::{Error, ErrorCode};
use crate::store::{LEASE, Record};

/// How often who waits for a lease looks whether it is free, at first, and then: who is told of changes looks by itself only
/// for the sake of a holder that died, and has time where callers are served meanwhile. A fleet of thousands waits for one
/// lease, before one store.
pub(super) const FIRST_LOOK: Duration = Duration::from_millis(50);
const LONGEST_LOOK: Duration = Duration::from_millis(250);
const FIRST_LOOK_TOLD: Duration = Duration::from_millis(200);
const LONGEST_LOOK_TOLD: Duration = Duration::from_secs(1);
const LONGEST_LOOK_UNHURRIED: Duration = Duration::from_secs(4);

impl Renewal<'_> {
    /// Renews the lease for as long as the work takes. What is under way of that when the work ends is not given up: a store
    /// would do it all the same, after the lease was given back.
    pub(super) async fn while_kept<T>(&self, work: impl Future<Output = T>) -> T {
        let done = Notify::new();
        let keep = async {
            loop {
                tokio::select! {
                    biased;
                    () = done.notified() => return,
                    () = self.core.clock.beside(LEASE.mul_f64(0.3)) => {}
                }
                let _ = self.lease().await;
            }
        };
        let work = async {
            let result = work.await;
            done.notify_one();
            result
        };
        tokio::join!(work, keep).0
    }

    /// Callers are served a token that is not stale: asked anew each time, for a store that does not answer takes its time.
    pub(super) fn is_unhurried(&self) -> bool {
        self.brief.unhurried_until.is_some_and(|until| !until.passed(&self.now()))
    }

    /// Waits for the lease. A sibling may have renewed already, which takes no lease to see, or brings the token meanwhile, or
    /// its error.
    pub(super) async fn take_lease(&self) -> Step<Option<Obtained>> {
        let mut pause = if self.core.store.shared() { FIRST_LOOK_TOLD } else { FIRST_LOOK };
        let mut told = true;
        loop {
            let changed = self.core.store.changed(&self.name);
            // Who has the lease reads the record anyway.
            if told && let Some(record) = self.load().await? {
                if let Some(adopted) = self.adoptable(&record) {
                    return Ok(Some(adopted));
                }
                if let Some(failure) = self.remembered(&record).filter(|failure| self.holds_back(failure, &record)) {
                    return Err(failure);
                }
            }
            if self.lease().await? {
                return Ok(None);
            }
            told = self.wait_for_holder(&mut pause, changed).await?;
        }
    }

    /// Time may have passed, in pauses or because the process was stopped: nothing that cannot be undone is sent unless the
    /// lease is still ours and nobody has written the record since. A lease alone says little: it may have lapsed, been
    /// another's and be free again (docs/protocol.md).
    pub(super) async fn check_turn(&self, record: &Record) -> Step<()> {
        if !self.durable_first() || self.alone.load(Ordering::Relaxed) {
            return Ok(());
        }
        let ours =
            self.lease().await? && self.load().await?.map_or(0, |standing| standing.generation) == record.generation;
        // What a process knows of a store that does not answer is no look.
        match self.core.store.trouble() {
            Some(trouble) => Err(trouble.into()),
            None if ours => Ok(()),
            None => Err(self.overtaken()),
        }
    }

    /// Somebody else has renewed, or is about to: nothing is sent and nothing written, and it begins again.
    pub(super) fn overtaken(&self) -> Failure {
        self.is_overtaken.store(true, Ordering::Relaxed);
        let error = Error::new(ErrorCode::Store, "others renew this token, again and again, before it can be");
        error.with_retryable(true).into()
    }

    /// Somebody else holds the lease: waits until it is worth another look; whether the record is worth one too.
    pub(super) async fn wait_for_holder(&self, pause: &mut Duration, changed: impl Future<Output = ()>) -> Step<bool> {
        if self.deadline.passed(&self.now()) {
            let message = "another party holds the right to renew this token and has not finished";
            return Err(Error::new(ErrorCode::Timeout, message).into());
        }
        let longest = match (self.core.store.shared(), self.is_unhurried()) {
            (false, _) => LONGEST_LOOK,
            (true, false) => LONGEST_LOOK_TOLD,
            (true, true) => LONGEST_LOOK_UNHURRIED,
        };
        let told = tokio::select! {
            () = self.core.clock.look_again_after(*pause) => !self.core.store.shared(),
            () = changed => true,
        };
        *pause = pause.mul_f64(1.5).min(longest);
        Ok(told)
    }

    /// Takes the lease, or keeps it.
    pub(super) async fn lease(&self) -> Result<bool, Error> {
        // What is not answered may have happened.
        self.may_hold_lease.store(true, Ordering::Relaxed);
        let held = self.core.store.lease(&self.name, &self.brief.owner).await?;
        self.may_hold_lease.store(held, Ordering::Relaxed);
        Ok(held)
    }
}
