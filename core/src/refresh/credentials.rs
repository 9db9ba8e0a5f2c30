//! Which of a profile's credentials renew its token, and what every narrowing of them knows of their refusal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Brief, Failure, Obtained, Pause, PauseKind, Renewal, Step, forgotten};
use crate::custom::Desk;
use crate::error::{Error, ErrorCode};
use crate::profile::Profile;
use crate::provider::GrantKind;
use crate::record_name::RecordName;
use crate::response::Verdict;
use crate::runtime::Core;
use crate::store::{Record, Swap};

/// How often somebody who has no lease may write first.
const ROUNDS: u32 = 8;

impl<'a> Renewal<'a> {
    /// Renews with the credentials in use; where the server refuses those for good, with the next ones in their order,
    /// each once. Within one limit and one count of attempts. Gives the renewal that had the last word, which is still to
    /// be finished.
    pub(crate) async fn with_what_works(
        core: &'a Core,
        profile: &'a Profile,
        desk: Option<&'a Desk>,
        brief: Brief,
    ) -> (Renewal<'a>, Step<Obtained>) {
        let mut renewal = Renewal::new(core, profile, desk, brief);
        let mut others = profile.candidates().skip(1).peekable();
        if others.peek().is_none() {
            let result = renewal.run().await;
            return (renewal, result);
        }
        if renewal.brief.forget {
            for other in profile.candidates().skip(1) {
                renewal.amend(&other.record_name(), forgotten).await;
            }
        }
        let mut refusals = Vec::new();
        loop {
            let failure = match renewal.run().await {
                Err(failure) if failure.refuses_credentials() => failure,
                result => return (renewal, result),
            };
            let error = failure.error.clone().about(&profile.name, profile.provider.name());
            refusals.push((renewal.profile.position(), renewal.remember(failure, &error).await));
            let Some(next) = others.next() else {
                let failure = renewal.all_refused(refusals);
                return (renewal, Err(failure));
            };
            renewal.finish().await;
            renewal = Renewal {
                name: next.record_name(),
                profile: next,
                // What the API rejected was a token of the others.
                brief: Brief { rejected: false, ..renewal.brief },
                forgot: AtomicBool::new(false),
                ..renewal
            };
        }
    }

    /// The error of the first in the profile, until the first of them may be tried again.
    fn all_refused(&self, mut refusals: Vec<(usize, Pause)>) -> Failure {
        refusals.sort_unstable_by_key(|(position, _)| *position);
        let now = self.now();
        let error = &refusals[0].1.error;
        let why =
            format!("all {} credentials of the profile are refused; the first: {}", refusals.len(), error.message());
        let error = error.clone().with_message(why);
        let until = refusals.iter().map(|(_, pause)| pause.until).min_by_key(|until| until.left(&now));
        let until = until.expect("somebody refused");
        let pause = Pause::new(until, error.clone(), PauseKind::Final);
        Failure { error, verdict: Verdict::Final, remembered: Some(pause) }
    }

    /// Whether a refusal is of the credentials, whatever the token would have been narrowed to.
    pub(super) fn is_of_credentials(&self, error: &Error) -> bool {
        error.code() == ErrorCode::InvalidClient || self.is_of_login(error)
    }

    /// Whether it is of the login itself: that says nothing of a refresh token.
    pub(super) fn is_of_login(&self, error: &Error) -> bool {
        error.code() == ErrorCode::InvalidGrant && matches!(self.profile.grant, GrantKind::Password | GrantKind::Login)
    }

    /// The record in which every narrowing of these credentials remembers their refusal, if there is one in it, be its
    /// time over or not; nothing where that is the renewal's own.
    pub(super) async fn refused_for_all(&self) -> Step<Option<Arc<Record>>> {
        let Some(name) = self.profile.refusals_name() else { return Ok(None) };
        let loaded = match self.core.store.load(name).await {
            Err(_) if self.alone.load(Ordering::Relaxed) => None,
            loaded => loaded?,
        };
        Ok(loaded.filter(|record| self.holds_refusal(record)))
    }

    /// Forgets that.
    pub(super) async fn forget_for_all(&self) {
        if let Some(name) = self.profile.refusals_name() {
            self.amend(name, |record| self.without_refusal(record)).await;
        }
    }

    /// The record without a refusal of the credentials, if it holds one.
    pub(super) fn without_refusal(&self, record: &Record) -> Option<Record> {
        self.holds_refusal(record).then(|| Record { failure: None, ..record.clone() })
    }

    fn holds_refusal(&self, record: &Record) -> bool {
        let failure = record.failure.as_ref();
        failure.is_some_and(|failure| failure.last && self.is_of_credentials(&failure.error))
    }

    /// Changes another record than the renewal's own, and says whether that is written. While somebody renews by it, it is
    /// left alone: a write between could cost that renewal its refresh token.
    pub(super) async fn amend(&self, name: &RecordName, change: impl FnMut(&Record) -> Option<Record>) -> bool {
        if !self.core.store.lease(name, &self.brief.owner).await.unwrap_or(false) {
            return false;
        }
        self.change(name, change).await.unwrap_or(false)
    }

    /// The same under its lease, which is given back.
    pub(super) async fn change(
        &self,
        name: &RecordName,
        mut change: impl FnMut(&Record) -> Option<Record>,
    ) -> Step<bool> {
        let store = &self.core.store;
        let work = async {
            let mut record = store.load(name).await?.unwrap_or_default();
            for _ in 0..ROUNDS {
                let Some(next) = change(&record) else { return Ok(false) };
                let next = Record { generation: self.after(&record), about: self.about(), ..next };
                match store.compare_and_set(name, record.generation, Arc::new(next)).await? {
                    Swap::Stored => return Ok(true),
                    Swap::Lost(winner) => record = winner.unwrap_or_default(),
                }
            }
            Err(Error::new(ErrorCode::Store, "others keep writing this record").with_retryable(true).into())
        };
        let written = work.await;
        // One that is kept for a record that could not be written is kept.
        if !store.keeps_lease(name) {
            let _ = store.release(name, &self.brief.owner).await;
        }
        written
    }
}

impl Failure {
    /// The credentials were refused for good, so that others may fare better: not the request itself, and not for the
    /// moment only.
    fn refuses_credentials(&self) -> bool {
        let last = match &self.remembered {
            Some(pause) => pause.kind == PauseKind::Final,
            None => self.verdict == Verdict::Final,
        };
        last && matches!(
            self.error.code(),
            ErrorCode::InvalidClient
                | ErrorCode::InvalidGrant
                | ErrorCode::ReauthenticationRequired
                | ErrorCode::AccessDenied
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Engine;
    use crate::block::block_on;
    use crate::clock::Clock;
    use crate::config::TransportOptions;
    use crate::metrics::Tally;
    use crate::store::{MemoryStore, Owner};

    /// One renewal of a narrowed profile, by `this`, in an empty store.
    fn with_renewal(test: impl FnOnce(&Core, &Profile, &Renewal<'_>)) {
        let engine = Engine::from_toml(
            "[profiles.p]\nprovider = \"qpay\"\nbase_url = \"http://127.0.0.1:1\"\nclient_id = \"a\"\nclient_secret = \"b\"\nscope = \"cards\"",
        );
        let core =
            Core::new(Clock::manual(), Arc::new(MemoryStore::default()), TransportOptions::default(), 1 << 20).unwrap();
        let profile = Profile::clone(&engine.unwrap().source("p").unwrap().inner().profile());
        let profile = profile.named();
        let owner = Owner("this".to_owned());
        let brief = Brief {
            floor: 0,
            rejected: false,
            forget: false,
            owner,
            spread: 1.0,
            unhurried_until: Some(core.clock.now().after(Duration::from_secs(10))),
            served_until: None,
            tally: Arc::new(Tally::new("v")),
            lent: None,
        };
        test(&core, &profile, &Renewal::new(&core, &profile, None, brief));
    }

    #[test]
    fn the_record_of_a_renewal_under_way_is_left_alone() {
        with_renewal(|core, profile, renewal| {
            let refused = || Failure {
                error: Error::new(ErrorCode::InvalidClient, "no"),
                verdict: Verdict::Final,
                remembered: None,
            };
            let name = profile.refusals_name().unwrap();
            let holds = |name: &RecordName| {
                let record = block_on(core.store.load(name)).unwrap();
                record.is_some_and(|record| record.failure.is_some())
            };
            let other = Owner("another".to_owned());
            assert!(block_on(core.store.lease(name, &other)).unwrap());
            let error = refused().error;
            block_on(renewal.remember(refused(), &error));
            // It is remembered all the same, for this narrowing.
            assert_eq!((holds(name), holds(&profile.record_name())), (false, true));
            block_on(core.store.release(name, &other)).unwrap();
            block_on(renewal.remember(refused(), &error));
            assert!(holds(name));
            // Given back: whoever renews by it need not wait.
            assert!(block_on(core.store.lease(name, &other)).unwrap());
        });
    }

    #[test]
    fn who_can_do_without_the_store_waits_for_it_until_the_token_is_stale() {
        // fault 67: by then it is known that the store does not answer.
        with_renewal(|core, _, renewal| {
            let away = Error::new(ErrorCode::StoreUnavailable, "away");
            assert!(!renewal.can_do_without(&away));
            core.clock.advance(Duration::from_secs(11)).unwrap();
            assert!(renewal.can_do_without(&away));
        });
    }

    #[test]
    fn that_one_process_does_not_reach_the_store_is_told_to_no_other() {
        // fault 67: the store may be back when it is to be written.
        with_renewal(|core, profile, renewal| {
            for (code, told) in [(ErrorCode::StoreUnavailable, false), (ErrorCode::Network, true)] {
                let error = Error::new(code, "away");
                let failure = Failure { error: error.clone(), verdict: Verdict::NotSent, remembered: None };
                block_on(renewal.remember(failure, &error));
                let record = block_on(core.store.load(&profile.record_name())).unwrap();
                assert_eq!(record.is_some_and(|record| record.failure.is_some()), told, "{}", code.name());
            }
        });
    }
}
