//! The renewal of a source as a task: single flight, its rounds, what it publishes and what it remembers.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::Poll;

use tokio::sync::watch;

use super::{FlightWatch, Outcome, Source, State};
use crate::error::{Error, ErrorCode, Result};
use crate::profile::Mode;
use crate::refresh::{Brief, Pause, PauseKind, Renewal};
use crate::schedule::Timed;
use crate::secret::Secret;
use crate::token::Published;

/// How often a renewal starts over because its token was rejected while it was under way.
const ROUNDS: u32 = 3;

impl Source {
    /// The renewal under way, or a new one. It runs on the engine's runtime and outlives every caller's giving up.
    pub(super) fn flight(self: &Arc<Self>, state: &mut State) -> Result<FlightWatch> {
        if let Some(flight) = state.flight() {
            return Ok(flight.clone());
        }
        let running = self.core.running()?;
        let (sender, flight) = watch::channel(None);
        state.flight = Some(flight.clone());
        running.handle.spawn(self.core.clock.counted(self.clone().renew(sender)));
        Ok(flight)
    }

    /// One flight. A panic in it drops the sender, which wakes the waiters and frees the slot (fault 55).
    async fn renew(self: Arc<Self>, sender: watch::Sender<Option<Outcome>>) {
        // The renewal before tells its waiters first and then writes and gives its lease back: to its very end it is alone.
        let _turn = self.turn().await;
        let tell = |outcome: Outcome| drop(sender.send_replace(Some(outcome)));
        // Frees the slot, which is ours until a token is published.
        let fail = |error: Error| {
            self.lock().flight = None;
            tell(Err(error));
        };
        for round in 1.. {
            if self.profile.load().watches_files() {
                // Reading files, or running a command again, is nothing for the thread that drives the network.
                let source = self.clone();
                let _ = tokio::task::spawn_blocking(move || source.reread_files()).await;
            }
            let profile = self.profile();
            let about = |error: Error| error.about(&profile.name, profile.provider.name());
            let (epoch, brief) = self.brief();
            let desk = self.has_function().then(|| self.desk());
            let renewal = Renewal::new(&self.core, &profile, desk, brief);
            match renewal.run().await {
                Ok(mut obtained) => {
                    let published = obtained.published.clone();
                    let fits = self.publish(&published, epoch);
                    let mut behind = pin!(async {
                        renewal.write_behind(&mut obtained).await;
                        renewal.finish().await;
                    });
                    // A store that is done at once is done before the waiters wake and want this thread's processor.
                    let done = poll_fn(|context| Poll::Ready(behind.as_mut().poll(context).is_ready())).await;
                    if fits {
                        tracing::debug!(profile = %profile.name, generation = published.generation, "token published");
                        tell(Ok(published));
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
                    tracing::warn!(profile = %profile.name, code = %error.code(), "token not renewed");
                    let pause = renewal.remember(failure, &error).await;
                    let fits = self.remember(pause, epoch);
                    renewal.finish().await;
                    // A failure of the old secret is nothing to those who came after an update or reset.
                    if fits || round >= ROUNDS {
                        return fail(error);
                    }
                }
            }
            if self.is_closed() {
                return fail(Error::closed());
            }
            if round >= ROUNDS {
                let message = "the token was rejected while it was renewed, again and again";
                return fail(about(Error::new(ErrorCode::AccessDenied, message).with_retryable(true)));
            }
        }
    }

    /// The token that is published now, for masking what a server says.
    fn lent(&self) -> Option<Secret> {
        self.published.load().as_ref().map(|published| Secret::new(published.access_token()))
    }

    /// What a renewal starts from, and the epoch in which it does.
    pub(crate) fn brief(&self) -> (u64, Brief) {
        let mut state = self.lock();
        let published = self.published.load();
        let generation = published.as_ref().map_or(0, |published| published.generation);
        let brief = Brief {
            floor: self.floor.load(Ordering::Relaxed).max(generation),
            rejected: std::mem::take(&mut state.rejected),
            forget: std::mem::take(&mut state.forget),
            spread: self.local().spread,
            owner: self.local().owner.clone(),
            served_until: published.as_ref().and_then(|published| published.expires().copied()),
            lent: self.lent(),
        };
        (state.epoch, brief)
    }

    /// Publishes, unless the source was invalidated, updated or closed since `epoch`; then later tokens only count.
    fn publish(self: &Arc<Self>, published: &Arc<Published>, epoch: u64) -> bool {
        let mut state = self.lock();
        self.floor.fetch_max(published.generation, Ordering::Relaxed);
        if state.epoch != epoch || self.is_closed() {
            return false;
        }
        state.pause = None;
        // In one step: whoever rejects this token from here on must not be sent to the flight that brought it.
        state.flight = None;
        self.published.store(Some(published.clone()));
        drop(state);
        self.schedule(published);
        true
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
        let mut state = self.lock();
        if state.epoch != epoch || state.forget {
            return false;
        }
        if pause.kind == PauseKind::Transient
            && self.published.load().is_some()
            && self.profile.load().mode != Mode::OnDemand
            && let Ok(running) = self.core.running()
        {
            running.schedule.add(&pause.behind, self.timed());
        }
        state.pause = Some(pause);
        true
    }

    fn due(self: &Arc<Self>) -> Option<FlightWatch> {
        let now = self.core.clock.now();
        let mut state = self.lock();
        let mode = self.profile.load().mode;
        let current = self.published.load_full()?;
        let wanted = mode == Mode::Always || (mode == Mode::Background && current.was_used());
        let held_back =
            state.pause.as_ref().is_some_and(|pause| pause.kind == PauseKind::Final || !pause.behind.passed(&now));
        if self.is_closed() || !wanted || held_back || !current.windows.refresh_at.passed(&now) {
            return None;
        }
        self.flight(&mut state).ok()
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
