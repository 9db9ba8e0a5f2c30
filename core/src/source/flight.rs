//! The renewal of a source as a task: single flight, its rounds, what it publishes and what it remembers.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use super::landing::{FlightWatch, Teller, landing};
use super::report::Cause;
use super::{Locked, Outcome, Source};
use crate::error::{Error, ErrorCode, Result};
use crate::events::EventKind;
use crate::life::Round;
use crate::profile::{Mode, Profile};
use crate::refresh::{Brief, Pause, PauseKind, Renewal};
use crate::runtime::Running;
use crate::schedule::Timed;
use crate::secret::Secret;
use crate::token::Published;

/// How often a renewal starts over because its token was rejected while it was under way.
const ROUNDS: u32 = 3;

impl Source {
    /// The renewal under way, or a new one. It runs on the engine's runtime and outlives every caller's giving up.
    pub(super) fn flight(self: &Arc<Self>, state: &mut Locked<'_>, cause: Cause) -> Result<FlightWatch> {
        state.fly(|| {
            let running = self.core.running()?;
            let (teller, flight) = landing();
            running.handle.spawn(self.core.clock.counted(self.clone().renew(teller, cause)));
            Ok(flight)
        })
    }

    /// One flight. A panic in it drops the teller, which wakes the waiters and frees the slot (fault 55).
    async fn renew(self: Arc<Self>, teller: Teller, cause: Cause) {
        // The renewal before tells its waiters first and then writes and gives its lease back: to its very end it is alone.
        let _turn = self.turn().await;
        let tell = |outcome: Outcome| teller.tell(outcome);
        // Frees the slot, which is ours until a token is published.
        let fail = |failed: Outcome| {
            self.life.lock().fail();
            tell(failed);
        };
        for round in 1.. {
            let start = self.core.clock.now();
            if self.profile.load().watches_files() {
                // Reading files, or running a command again, is nothing for the thread that drives the network.
                let source = self.clone();
                let _ = tokio::task::spawn_blocking(move || source.reread_files()).await;
            }
            let (epoch, brief) = self.brief();
            // After the round has begun: a token of keys that an update replaces from here on is not published.
            let profile = self.profile();
            let about = |error: Error| error.about(&profile.name, profile.provider.name());
            let cause = if brief.rejected { Cause::Rejected } else { cause };
            let desk = self.has_function().then(|| self.desk());
            let (renewal, result) = Renewal::with_what_works(&self.core, &profile, desk, brief).await;
            self.core.notice_store((&profile, self.tally()));
            match result {
                Ok(mut obtained) => {
                    // A process that ends as soon as it has the token, as a command does, leaves it to its siblings.
                    let shared = self.core.store.shared();
                    let _until_written = self.core.running().ok().filter(|_| shared).map(Running::critical);
                    let published = obtained.published.clone();
                    let replaced = self.life.current().is_some_and(|current| current.valid(&self.core.clock.now()));
                    let how = (obtained.adopted, replaced);
                    let fits = self.publish(&published, renewal.profile(), epoch);
                    let mut behind = pin!(async {
                        renewal.write_behind(&mut obtained).await;
                        renewal.finish().await;
                    });
                    // A store that is done at once is done before the waiters wake and want this thread's processor.
                    let done = poll_fn(|context| Poll::Ready(behind.as_mut().poll(context).is_ready())).await;
                    if fits {
                        self.report_token(&profile, &published, how, cause, self.core.clock.now().since(&start));
                        tell(Outcome::Token(published));
                    }
                    if !done {
                        behind.await;
                    }
                    if fits {
                        return;
                    }
                }
                Err(failure) => {
                    let error = about(failure.error.clone());
                    let end = if failure.remembered() { Outcome::Held } else { Outcome::Failed };
                    let took = self.core.clock.now().since(&start);
                    let pause = renewal.remember(failure, &error).await;
                    let silence = pause.until.left(&self.core.clock.now());
                    self.report_failure(&profile, &error, cause, took, silence);
                    let fits = self.remember(pause, epoch);
                    if renewal.owes_forgetting() {
                        self.life.lock().forget_next_time();
                    }
                    renewal.finish().await;
                    // A failure of the old secret is nothing to those who came after an update or reset.
                    if fits || round >= ROUNDS {
                        return fail(end(error));
                    }
                }
            }
            if self.is_closed() {
                return fail(Outcome::Failed(Error::closed()));
            }
            if round >= ROUNDS {
                let message = "the token was rejected while it was renewed, again and again";
                let error = Error::new(ErrorCode::AccessDenied, message).with_retryable(true);
                return fail(Outcome::Failed(about(error)));
            }
        }
    }

    /// The token that callers hold, for masking what a server says.
    fn lent(&self) -> Option<Secret> {
        self.life.lock().lent().map(|published| Secret::new(published.access_token()))
    }

    /// What a renewal starts from, and the epoch in which it does.
    pub(crate) fn brief(&self) -> (u64, Brief) {
        let round = self.life.lock().begin();
        (round.epoch, self.brief_of(round))
    }

    /// The same for who only looks into the record: nothing is taken on.
    pub(crate) fn glance(&self) -> (u64, Brief) {
        let round = self.life.lock().round();
        (round.epoch, self.brief_of(round))
    }

    fn brief_of(&self, round: Round) -> Brief {
        let published = self.life.published();
        Brief {
            unhurried_until: published.as_ref().map(|published| published.windows.stale_at),
            floor: round.floor,
            rejected: round.rejected,
            forget: round.forget,
            spread: self.local().spread,
            owner: self.local().owner.clone(),
            served_until: published.as_ref().and_then(|published| published.expires().copied()),
            tally: self.tally().clone(),
            lent: self.lent(),
        }
    }

    /// Publishes, unless the source was invalidated, updated or closed since `epoch`; and uses the credentials that brought
    /// the token from here on.
    fn publish(self: &Arc<Self>, published: &Arc<Published>, used: &Profile, epoch: u64) -> bool {
        if self.core.is_closed() {
            return false;
        }
        let mut state = self.life.lock();
        let switched = state.fits(epoch) && self.settle_on(used);
        let fits = state.publish(published, epoch);
        drop(state);
        if switched {
            self.core.report((used, self.tally()), EventKind::Switched, "refused", Duration::ZERO, |event| event);
        }
        if fits {
            self.schedule(published);
        }
        fits
    }

    /// Sets the timer for the renewal of what was published.
    pub(super) fn schedule(self: &Arc<Self>, published: &Arc<Published>) {
        let mode = self.profile.load().mode;
        if mode != Mode::OnDemand
            && let Ok(running) = self.core.running()
        {
            running.schedule.add(&published.windows.refresh_at, self.timed());
        }
    }

    /// Remembers a failure, unless something happened since `epoch` that makes it outdated.
    fn remember(self: &Arc<Self>, pause: Pause, epoch: u64) -> bool {
        let (behind, transient) = (pause.behind, pause.kind == PauseKind::Transient);
        let mut state = self.life.lock();
        let fits = state.remember(pause, epoch);
        if fits
            && transient
            && state.current().is_some()
            && self.profile.load().mode != Mode::OnDemand
            && let Ok(running) = self.core.running()
        {
            running.schedule.add(&behind, self.timed());
        }
        fits
    }

    fn due(self: &Arc<Self>) -> Option<FlightWatch> {
        let now = self.core.clock.now();
        let mut state = self.life.lock();
        let mode = self.profile.load().mode;
        let current = state.current()?;
        let wanted = mode == Mode::Always || (mode == Mode::Background && current.was_used());
        let held_back =
            state.pause.as_ref().is_some_and(|pause| pause.kind == PauseKind::Final || !pause.behind.passed(&now));
        if self.is_closed() || self.is_leaving() || !wanted || held_back || !current.windows.refresh_at.passed(&now) {
            return None;
        }
        self.flight(&mut state, Cause::Ahead).ok()
    }

    fn timed(self: &Arc<Self>) -> Weak<dyn Timed> {
        let weak: Weak<Source> = Arc::downgrade(self);
        weak
    }
}

impl Timed for Source {
    /// Renew ahead, if the token is used and nothing speaks against it.
    fn on_timer(self: Arc<Self>) {
        drop(self.due());
    }
}
