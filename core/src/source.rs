//! One source inside: the published record, the hot path, and the decision who serves, waits or renews.

mod change;
mod flight;
mod keeping;
mod landing;
mod report;
mod sibling;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};

use self::landing::FlightWatch;
use self::report::Cause;
use crate::attach;
use crate::clock::{Clock, Deadline};
use crate::custom::{Desk, TokenFunction};
use crate::dpop::DpopKey;
use crate::error::{Error, ErrorCode, Result};
use crate::forkcell::ForkCell;
use crate::life::{self, Lent, Life};
use crate::metrics::Tally;
use crate::profile::{Narrowing, Profile};
use crate::random::random_hex;
use crate::refresh::{Pause, PauseKind};
use crate::runtime::Core;
use crate::store::Owner;
use crate::token::Published;

/// How long callers wait for the renewal of a token that is stale but still valid.
const STALE_WAIT: Duration = Duration::from_secs(1);

/// So many tokens more a caller is sent for who wakes too late for the one that came: a clock that jumps is no loop.
const RENEWALS: u32 = 3;

/// What everybody who waits for a renewal gets: the winner's token or its error.
#[derive(Clone)]
pub(crate) enum Outcome {
    Token(Arc<Published>),
    Failed(Error),
    /// Nothing was tried: the record remembers this failure, and its time is not over. Each waiter decides by the pause.
    Held(Error),
}
type Locked<'a> = life::Locked<'a, Published, FlightWatch, Pause>;

/// The live object of one profile.
pub(crate) struct Source {
    pub(crate) core: Arc<Core>,
    profile: ArcSwap<Profile>,
    life: Life<Published, FlightWatch, Pause>,
    local: ForkCell<Local>,
    tally: ForkCell<Arc<Tally>>,
    companion_headers: AtomicBool,
    /// The host's own, for grant `custom`; boxed once more, since what is swapped is one word.
    function: ArcSwapOption<Arc<dyn TokenFunction>>,
    /// Whoever listens knows that the token cannot be renewed.
    told_of_failing: AtomicBool,
    /// When somebody had it last, on the coarse clock.
    touched_ns: AtomicU64,
    /// Nobody may take it any more: this process (else 0) is just letting go of it. In a child of fork nobody goes on with
    /// what its parent had begun.
    leaving: AtomicU32,
    /// What it knows is nowhere else: keys that were given by `update`.
    updated: AtomicBool,
}

/// What belongs to this process alone.
struct Local {
    /// Held by a renewal to its very end: the next one starts when the store is written and the lease given back, though
    /// its waiters are told earlier.
    turn: tokio::sync::Mutex<()>,
    /// Who takes leases: one name per source and process, so that after a renewal that died the next one has its lease.
    owner: Owner,
    /// Calls of the host's function that wait for somebody to make them.
    desk: Desk,
    /// 0.8 to 1.0, drawn per process: the children of one parent do not renew in one instant.
    spread: f64,
}

enum Step {
    Serve(Arc<Published>),
    /// The same, in a pause after this failure of its renewal.
    ServeMeanwhile(Arc<Published>, Error),
    /// Wait for the flight; where a valid token is named, for a moment only.
    Join(FlightWatch, Option<Arc<Published>>),
    /// Nothing is tried before this moment; the error is for those who cannot wait so long.
    Wait(Deadline, Error),
    Fail(Error),
}

/// How long a call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    /// `None`: cached tokens only.
    pub(crate) until: Option<Instant>,
    pub(crate) min_remaining: Duration,
    /// The thread itself may wait. That spares the engine a timer per call, which would wake its worker.
    pub(crate) blocking: bool,
}

impl Limit {
    /// The same on the engine's clock.
    pub(crate) fn deadline(&self, clock: &Clock) -> Deadline {
        let left = self.until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
        clock.now().limit(left)
    }
}

impl Source {
    pub(crate) fn new(core: Arc<Core>, profile: Profile) -> Arc<Source> {
        Arc::new(Source {
            companion_headers: AtomicBool::new(attach::check_single_header(&profile).is_err()),
            profile: ArcSwap::from_pointee(profile.named()),
            life: Life::new(),
            local: ForkCell::new(),
            tally: ForkCell::new(),
            function: ArcSwapOption::empty(),
            told_of_failing: AtomicBool::new(false),
            touched_ns: AtomicU64::new(core.clock.coarse_ns()),
            leaving: AtomicU32::new(0),
            updated: AtomicBool::new(false),
            core,
        })
    }

    pub(crate) fn profile(&self) -> Arc<Profile> {
        self.profile.load_full()
    }

    /// Whether requests carry more than the one header with the token.
    #[inline(always)]
    pub(crate) fn has_companion_headers(&self) -> bool {
        self.companion_headers.load(Ordering::Relaxed)
    }

    /// The key that the token of this generation is bound to, while that is the current one.
    pub(crate) fn dpop_key(&self, generation: u64) -> Option<DpopKey> {
        let published = self.life.published();
        published.as_ref().filter(|published| published.generation == generation)?.dpop.clone()
    }

    /// The hot path: one pointer, two clock reads, no lock and no allocation.
    #[inline(always)]
    pub(crate) fn hot(&self) -> Option<Guard<Option<Arc<Published>>>> {
        let guard = self.life.published();
        let published = guard.as_ref()?;
        if self.core.clock.hot_passed(&published.hot) {
            return None;
        }
        published.mark_used();
        Some(guard)
    }

    /// A token that is valid and has `min_remaining` left: from the record, or by a renewal within the limit.
    pub(crate) async fn token(self: &Arc<Self>, limit: Limit) -> Result<Arc<Published>> {
        let mut renewed = false;
        let mut renewals = 0;
        loop {
            match self.step(limit, renewed)? {
                Step::Serve(published) => return Ok(published),
                Step::ServeMeanwhile(published, error) => {
                    self.report_serving(&published, &error);
                    return Ok(published);
                }
                // What is remembered belongs to the old secret.
                Step::Fail(_) | Step::Wait(..) if self.reread_within(limit).await => {}
                Step::Fail(error) => return Err(error),
                Step::Wait(end, error) => {
                    let pause = end.left(&self.core.clock.now());
                    let allowed = limit.until.is_some_and(|until| Instant::now() + pause <= until);
                    if !allowed {
                        return Err(error);
                    }
                    self.wait_until(end).await?;
                }
                Step::Join(flight, fallback) => {
                    let outcome = self.join(flight, &fallback, limit).await;
                    let now = self.core.clock.now();
                    match (outcome, fallback) {
                        (Some(Outcome::Token(fresh)), _) => {
                            if fresh.valid(&now) && fresh.left(&now).is_none_or(|left| left >= limit.min_remaining) {
                                fresh.mark_used();
                                return Ok(fresh);
                            }
                            // One that a sibling obtained some time ago says nothing of what a fresh one is good for.
                            renewed =
                                fresh.life().is_none_or(|life| life < limit.min_remaining) || renewals >= RENEWALS;
                            renewals += 1;
                        }
                        // While a token is valid no failure of its renewal reaches a caller, unless it was taken back.
                        (outcome, Some(valid)) if valid.valid(&now) && self.is_published(&valid) => {
                            if let Some(Outcome::Failed(error) | Outcome::Held(error)) = outcome {
                                self.report_serving(&valid, &error);
                            }
                            return Ok(valid);
                        }
                        (None, Some(_)) if limit.until.is_some_and(|until| Instant::now() < until) => {}
                        (Some(Outcome::Held(_)), _) => {}
                        (Some(Outcome::Failed(error)), _) => return Err(error),
                        (None, _) => return Err(self.too_late(limit)),
                    }
                }
            }
        }
    }

    /// Waits for a flight: `None` when the limit was reached first.
    async fn join(&self, mut flight: FlightWatch, fallback: &Option<Arc<Published>>, limit: Limit) -> Option<Outcome> {
        let mut until = limit.until?;
        if fallback.is_some() {
            until = until.min(Instant::now() + STALE_WAIT);
        }
        let told = |outcome: Option<Outcome>| match outcome {
            Some(outcome) => outcome,
            None if self.is_closed() => Outcome::Failed(Error::closed()),
            None => {
                let message = "the renewal ended without a result; please report this";
                Outcome::Failed(Error::new(ErrorCode::Internal, message))
            }
        };
        if limit.blocking && !self.core.clock.is_driven_here() {
            return flight.landed_blocking(until).map(told);
        }
        let landed = async { told(flight.landed().await) };
        if self.core.clock.is_driven_here() {
            return self.core.clock.within(virtual_left(until), landed).await;
        }
        let timed = match self.core.running() {
            // The timer is the engine's own, so that any executor, or none, can wait here.
            Ok(running) => {
                let _inside = running.handle.enter();
                tokio::time::timeout_at(until.into(), landed)
            }
            Err(error) => return Some(Outcome::Failed(error)),
        };
        timed.await.ok()
    }

    async fn wait_until(&self, end: Deadline) -> Result<()> {
        let clock = self.core.clock.clone();
        if clock.is_driven_here() {
            clock.sleep_until(&end).await;
            return Ok(());
        }
        let waiting = self.core.running()?.handle.spawn(async move { clock.sleep_until(&end).await });
        waiting.await.map_err(|_| Error::closed())
    }

    /// [`Source::reread_files`] for a caller: never beyond its limit, and never on the thread that drives the network.
    async fn reread_within(self: &Arc<Self>, limit: Limit) -> bool {
        let Some(until) = limit.until.filter(|_| self.profile.load().watches_files()) else { return false };
        if limit.blocking {
            return self.reread_files();
        }
        let Ok(running) = self.core.running() else { return false };
        let source = self.clone();
        let reading = running.handle.spawn_blocking(move || source.reread_files());
        let timed = {
            let _inside = running.handle.enter();
            tokio::time::timeout_at(until.into(), reading)
        };
        matches!(timed.await, Ok(Ok(true)))
    }

    fn too_late(&self, limit: Limit) -> Error {
        let message = match limit.until {
            None => "no valid token is cached; allow the call some time to obtain one",
            Some(_) => "no token came before the call's deadline; the renewal goes on",
        };
        Error::new(ErrorCode::Timeout, message)
    }

    /// Decides for one caller. `renewed`: it has waited for a renewal already, and is not sent into another one.
    fn step(self: &Arc<Self>, limit: Limit, renewed: bool) -> Result<Step> {
        if self.is_closed() {
            return Err(Error::closed());
        }
        let now = self.core.clock.now();
        let mut state = self.life.lock();
        let current = state.current().filter(|current| current.valid(&now));
        if let Some(pause) = &state.pause
            && pause.behind.passed(&now)
            && pause.kind != PauseKind::Final
        {
            state.pause = None;
        }
        let cause = match (&current, state.floor()) {
            (Some(_), _) => Cause::MinRemaining,
            (None, 0) => Cause::FirstUse,
            (None, _) => Cause::Expired,
        };
        if let Some(current) = current {
            if current.left(&now).is_none_or(|left| left >= limit.min_remaining) {
                current.mark_used();
                let windows = &current.windows;
                if !windows.refresh_at.passed(&now) {
                    return Ok(Step::Serve(current));
                }
                if let Some(pause) = state.pause.as_ref().filter(|_| state.flight().is_none()) {
                    return Ok(Step::ServeMeanwhile(current, pause.error.clone()));
                }
                // On demand, `refresh_at` is `stale_at`.
                let stale = windows.stale_at.passed(&now);
                let cause = if stale { Cause::Stale } else { Cause::Ahead };
                return Ok(match self.flight(&mut state, cause) {
                    Ok(flight) if stale && !renewed => Step::Join(flight, Some(current)),
                    // A renewal that cannot even start is no reason to withhold a valid token.
                    Ok(_) | Err(_) => Step::Serve(current),
                });
            }
            // No renewal helps where the whole life of a token is too short, and each could kill a session in use.
            if renewed || current.life().is_some_and(|life| life < limit.min_remaining) {
                return Ok(Step::Fail(Error::invalid_argument(
                    "min_remaining: a fresh token of this provider does not live that long; ask for less",
                )));
            }
        }
        if state.flight().is_none()
            && let Some(pause) = &state.pause
            && !pause.until.passed(&now)
        {
            let left = pause.until.left(&now);
            return Ok(match pause.kind {
                PauseKind::Transient => Step::Wait(pause.until, pause.error.clone().with_retry_after(Some(left))),
                PauseKind::Refused => Step::Fail(pause.error.clone().with_retry_after(Some(left))),
                PauseKind::Final => Step::Fail(pause.error.clone()),
            });
        }
        if renewed && state.flight().is_none() {
            return Ok(Step::Fail(Error::protocol("the renewal brought no token that is still valid")));
        }
        // Who takes cached tokens only sets nothing off: for some vendors a login kills the tokens of others.
        if limit.until.is_none() && state.flight().is_none() {
            return Ok(Step::Fail(self.too_late(limit)));
        }
        Ok(Step::Join(self.flight(&mut state, cause)?, None))
    }

    fn is_published(&self, published: &Arc<Published>) -> bool {
        self.life.published().as_ref().is_some_and(|current| Arc::ptr_eq(current, published))
    }

    pub(crate) fn narrowed(&self, narrowing: Narrowing) -> Result<Arc<Source>> {
        if self.is_closed() {
            return Err(Error::closed());
        }
        let source = Source::new(self.core.clone(), self.profile().narrowed(narrowing)?);
        source.function.store(self.function.load_full());
        Ok(source)
    }

    /// The host's function from now on; the last one that is given counts.
    pub(crate) fn set_function(&self, function: Arc<dyn TokenFunction>) {
        self.function.store(Some(Arc::new(function)));
    }

    pub(crate) fn function(&self) -> Option<Arc<dyn TokenFunction>> {
        self.function.load().as_ref().map(|function| Arc::clone(function.as_ref()))
    }

    pub(crate) fn has_function(&self) -> bool {
        self.function.load().is_some()
    }

    pub(crate) fn desk(&self) -> &Desk {
        &self.local().desk
    }

    /// Ends serving; calls get `closed` from now on.
    pub(crate) fn close(&self) {
        self.life.close();
        // The host's own is let go of here, not whenever the map of sources drops what was removed; with no lock held.
        self.function.store(None);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.life.is_closed() || self.core.is_closed()
    }

    fn local(&self) -> &Local {
        self.local.get_or_init(|| Local {
            turn: tokio::sync::Mutex::default(),
            owner: Owner(random_hex(16)),
            desk: Desk::default(),
            spread: 1.0 - 0.2 * self.core.clock.draw().unwrap_or(0.0),
        })
    }
}

/// What a caller's limit leaves on a clock that is driven: whole milliseconds, so that runs repeat.
fn virtual_left(until: Instant) -> Duration {
    Duration::from_millis(until.saturating_duration_since(Instant::now()).as_millis() as u64 + 1)
}

impl Lent for Published {
    fn generation(&self) -> u64 {
        self.generation
    }
}

#[cfg(test)]
mod tests;
