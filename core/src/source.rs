//! One source inside: the published record, the hot path, and the decision who serves, waits or renews.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use serde_json::{Map, Value};
use tokio::sync::watch;

use crate::attach;
use crate::block::block_on_until;
use crate::clock::{Deadline, Moment};
use crate::error::{Error, ErrorCode, Result};
use crate::forkcell::ForkCell;
use crate::profile::{Mode, Narrowing, Profile};
use crate::provider::GrantKind;
use crate::random::random_unit;
use crate::refresh::{Brief, Pause, PauseKind, Renewal};
use crate::runtime::Core;
use crate::schedule::Timed;
use crate::secret::Secret;
use crate::store::BoxFuture;
use crate::token::Published;

/// How long callers wait for the renewal of a token that is stale but still valid.
const STALE_WAIT: Duration = Duration::from_secs(1);
/// A token that lived this long was accepted for a while: its rejection starts a new count.
const ACCEPTED_AFTER: Duration = Duration::from_secs(60);
/// How often a renewal starts over because its token was rejected while it was under way.
const ROUNDS: u32 = 3;
const MAX_REJECTION_PAUSE: Duration = Duration::from_secs(60);

/// What everybody who waits for a renewal gets: the winner's token or its error.
pub(crate) type Outcome = Result<Arc<Published>>;
pub(crate) type FlightWatch = watch::Receiver<Option<Outcome>>;

/// The live object of one profile.
pub(crate) struct Source {
    pub(crate) core: Arc<Core>,
    profile: ArcSwap<Profile>,
    /// Empty before the first token and after an invalidation or close: a tombstone is an absent record.
    published: ArcSwapOption<Published>,
    local: ForkCell<Local>,
    companion_headers: bool,
    closed: AtomicBool,
}

/// What belongs to this process alone.
struct Local {
    state: Mutex<State>,
    /// Held by a renewal to its very end: the next one starts when the store is written and the lease given back, though
    /// its waiters are told earlier.
    turn: tokio::sync::Mutex<()>,
    /// 0.8 to 1.0, drawn per process: the children of one parent do not renew in one instant.
    spread: f64,
}

/// What the slow path needs to know. One lock, held for decisions only, never across a wait.
#[derive(Default)]
pub(crate) struct State {
    flight: Option<FlightWatch>,
    /// Rises with invalidate, update and close: a renewal begun before does not publish over them.
    epoch: u64,
    /// Only tokens with a larger generation count as new.
    floor: u64,
    /// The renewal to come answers a rejection by the API.
    rejected: bool,
    /// Tokens rejected in a row before they had lived a minute.
    rejections: u32,
    /// The next renewal clears what the store remembers of failures.
    forget: bool,
    pause: Option<Pause>,
}

enum Step {
    Serve(Arc<Published>),
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

impl Source {
    pub(crate) fn new(core: Arc<Core>, profile: Profile) -> Arc<Source> {
        Arc::new(Source {
            companion_headers: attach::check_single_header(&profile).is_err(),
            profile: ArcSwap::from_pointee(profile.named(core.store.naming_key())),
            published: ArcSwapOption::empty(),
            local: ForkCell::new(),
            closed: AtomicBool::new(false),
            core,
        })
    }

    pub(crate) fn profile(&self) -> Arc<Profile> {
        self.profile.load_full()
    }

    /// Whether requests carry more than the one header with the token; fixed, as the provider is.
    pub(crate) fn has_companion_headers(&self) -> bool {
        self.companion_headers
    }

    /// The hot path: one pointer, two clock reads, no lock and no allocation.
    #[inline]
    pub(crate) fn hot(&self) -> Option<Guard<Option<Arc<Published>>>> {
        let guard = self.published.load();
        let published = guard.as_ref()?;
        if self.core.clock.hot_passed(&published.hot) {
            return None;
        }
        published.mark_used();
        Some(guard)
    }

    /// A token that is valid and has `min_remaining` left: from the record, or by a renewal within the limit.
    pub(crate) async fn token(self: &Arc<Self>, limit: Limit) -> Outcome {
        let mut renewed = false;
        let mut renewals = 0;
        loop {
            match self.step(limit, renewed)? {
                Step::Serve(published) => return Ok(published),
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
                        (Some(Ok(fresh)), _) => {
                            if fresh.valid(&now) && fresh.left(&now).is_none_or(|left| left >= limit.min_remaining) {
                                fresh.mark_used();
                                return Ok(fresh);
                            }
                            // One that a sibling obtained some time ago says nothing of what a fresh one is good for.
                            renewed = fresh.life().is_none_or(|life| life < limit.min_remaining) || renewals > 0;
                            renewals += 1;
                        }
                        // While a token is valid no failure of its renewal reaches a caller, unless it was taken back.
                        (_, Some(valid)) if valid.valid(&now) && self.is_published(&valid) => return Ok(valid),
                        (None, Some(_)) if limit.until.is_some_and(|until| Instant::now() < until) => {}
                        (Some(Err(error)), _) => return Err(error),
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
        let landed = async {
            match flight.wait_for(Option::is_some).await {
                Ok(outcome) => outcome.clone().expect("waited for it to be there"),
                Err(_) if self.is_closed() => Err(Error::closed()),
                Err(_) => {
                    Err(Error::new(ErrorCode::Internal, "the renewal ended without a result; please report this"))
                }
            }
        };
        if limit.blocking {
            return block_on_until(landed, until);
        }
        let timed = match self.core.running() {
            // The timer is the engine's own, so that any executor, or none, can wait here.
            Ok(running) => {
                let _inside = running.handle.enter();
                tokio::time::timeout_at(until.into(), landed)
            }
            Err(error) => return Some(Err(error)),
        };
        timed.await.ok()
    }

    async fn wait_until(&self, end: Deadline) -> Result<()> {
        let clock = self.core.clock.clone();
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
        let mut state = self.lock();
        let current = self.published.load_full().filter(|current| current.valid(&now));
        if let Some(pause) = &state.pause
            && pause.until.passed(&now)
            && pause.kind != PauseKind::Final
        {
            state.pause = None;
        }
        if let Some(current) = current {
            if current.left(&now).is_none_or(|left| left >= limit.min_remaining) {
                current.mark_used();
                let windows = &current.windows;
                let held_back = state.pause.is_some() && state.flight().is_none();
                if !windows.refresh_at.passed(&now) || held_back {
                    return Ok(Step::Serve(current));
                }
                // On demand, `refresh_at` is `stale_at`.
                let stale = windows.stale_at.passed(&now);
                return Ok(match self.flight(&mut state) {
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
        Ok(Step::Join(self.flight(&mut state)?, None))
    }

    /// The renewal under way, or a new one. It runs on the engine's runtime and outlives every caller's giving up.
    fn flight(self: &Arc<Self>, state: &mut State) -> Result<FlightWatch> {
        if let Some(flight) = state.flight() {
            return Ok(flight.clone());
        }
        let running = self.core.running()?;
        let (sender, flight) = watch::channel(None);
        state.flight = Some(flight.clone());
        running.handle.spawn(self.clone().renew(sender));
        Ok(flight)
    }

    /// One flight. A panic in it drops the sender, which wakes the waiters and frees the slot (fault 55).
    async fn renew(self: Arc<Self>, sender: watch::Sender<Option<Outcome>>) {
        // The renewal before tells its waiters first and then writes and gives its lease back: to its very end it is alone.
        let _turn = self.local().turn.lock().await;
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
            let renewal = match Renewal::new(&self.core, &profile, brief) {
                Ok(renewal) => renewal,
                Err(error) => return fail(about(error)),
            };
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
    pub(crate) fn lent(&self) -> Option<Secret> {
        self.published.load().as_ref().map(|published| Secret::new(published.access_token()))
    }

    /// What a renewal starts from, and the epoch in which it does.
    fn brief(&self) -> (u64, Brief) {
        let mut state = self.lock();
        let published = self.published.load();
        let generation = published.as_ref().map_or(0, |published| published.generation);
        let brief = Brief {
            floor: state.floor.max(generation),
            rejected: std::mem::take(&mut state.rejected),
            forget: std::mem::take(&mut state.forget),
            spread: self.local().spread,
            lent: self.lent(),
        };
        (state.epoch, brief)
    }

    /// Publishes, unless the source was invalidated, updated or closed since `epoch`; then later tokens only count.
    fn publish(self: &Arc<Self>, published: &Arc<Published>, epoch: u64) -> bool {
        let mut state = self.lock();
        state.floor = state.floor.max(published.generation);
        if state.epoch != epoch || self.is_closed() {
            return false;
        }
        state.pause = None;
        // In one step: whoever rejects this token from here on must not be sent to the flight that brought it.
        state.flight = None;
        self.published.store(Some(published.clone()));
        drop(state);
        let mode = self.profile.load().mode;
        if mode != Mode::OnDemand
            && let Ok(running) = self.core.running()
        {
            running.schedule.add(&published.windows.refresh_at, self.timed());
        }
        true
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
            running.schedule.add(&pause.until, self.timed());
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
            state.pause.as_ref().is_some_and(|pause| pause.kind == PauseKind::Final || !pause.until.passed(&now));
        if self.is_closed() || !wanted || held_back || !current.windows.refresh_at.passed(&now) {
            return None;
        }
        self.flight(&mut state).ok()
    }

    /// The API rejected the token of this generation. Acts only if that is still the current one.
    pub(crate) fn invalidate(&self, generation: u64, access_token: Option<&str>) -> bool {
        let now = self.core.clock.now();
        let mut state = self.lock();
        // The number alone could be another source's.
        let rejected = |current: &Arc<Published>| {
            current.generation == generation && access_token.is_none_or(|token| token == current.access_token())
        };
        let Some(current) = self.published.load_full().filter(rejected) else { return false };
        self.published.store(None);
        state.epoch += 1;
        state.floor = state.floor.max(generation);
        state.rejected = true;
        let profile = self.profile.load();
        if profile.grant == GrantKind::Static {
            let error = Error::new(
                ErrorCode::ReauthenticationRequired,
                "the API rejected the configured token, and only a person can get another: put the new one into the profile",
            );
            state.pause = Some(Pause { until: Moment::never(), error, kind: PauseKind::Final });
        } else if !profile.single_session() {
            let young = now.since(&current.obtained) < ACCEPTED_AFTER;
            state.rejections = if young { state.rejections.saturating_add(1) } else { 1 };
            if state.rejections >= 2 {
                let pause = Duration::from_secs(1 << (state.rejections - 2).min(6)).min(MAX_REJECTION_PAUSE);
                let error = Error::new(
                    ErrorCode::AccessDenied,
                    "the API keeps rejecting fresh tokens: check that the profile's environment and permissions fit the API",
                )
                .with_retryable(true);
                state.pause = Some(Pause { until: now.after(pause), error, kind: PauseKind::Transient });
            }
        }
        // With no lock held: a subscriber may use this very source.
        drop(state);
        tracing::info!(profile = %profile.name, provider = profile.provider.name(), generation, "token rejected by the API");
        true
    }

    /// Forgets remembered failures and pauses, here and in the store.
    pub(crate) fn reset(&self) {
        let mut state = self.lock();
        state.pause = None;
        state.rejections = 0;
        state.forget = true;
    }

    /// Replaces keys of the profile; the token obtained with the old ones is not served any more.
    pub(crate) fn update(&self, changes: &Map<String, Value>) -> Result<()> {
        loop {
            let seen = self.profile();
            let updated = Arc::new(seen.updated(changes)?.named(self.core.store.naming_key()));
            let mut state = self.lock();
            if self.swap_profile(&seen, updated) {
                self.published.store(None);
                state.epoch += 1;
                state.pause = None;
                state.rejections = 0;
                return Ok(());
            }
        }
    }

    /// Puts the profile in place of the one that it was made from; `false`: that one is there no more. Under the lock.
    fn swap_profile(&self, seen: &Arc<Profile>, profile: Arc<Profile>) -> bool {
        let fits = Arc::ptr_eq(&self.profile.load(), seen);
        if fits {
            self.profile.store(profile);
        }
        fits
    }

    /// Where a `file:` secret has changed, the profile follows, and what was remembered of the old secret goes.
    fn reread_files(&self) -> bool {
        let seen = self.profile();
        let Some(profile) = seen.with_changed_files() else { return false };
        let other = profile.fingerprint != seen.fingerprint;
        let profile = Arc::new(profile.named(self.core.store.naming_key()));
        let mut state = self.lock();
        // Changed meanwhile: what is there now was made later.
        if self.swap_profile(&seen, profile) && other {
            state.pause = None;
        }
        other
    }

    fn is_published(&self, published: &Arc<Published>) -> bool {
        self.published.load().as_ref().is_some_and(|current| Arc::ptr_eq(current, published))
    }

    pub(crate) fn narrowed(&self, narrowing: Narrowing) -> Result<Arc<Source>> {
        Ok(Source::new(self.core.clone(), self.profile().narrowed(narrowing)?))
    }

    /// Ends serving; calls get `closed` from now on.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let mut state = self.lock();
        state.epoch += 1;
        self.published.store(None);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire) || self.core.is_closed()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics between the changes of one decision, so a poisoned state is a whole one.
        self.local().state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn timed(self: &Arc<Self>) -> Weak<dyn Timed> {
        let weak: Weak<Source> = Arc::downgrade(self);
        weak
    }

    fn local(&self) -> &Local {
        self.local.get_or_init(|| Local {
            state: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            // Runs on a manual clock must repeat.
            spread: if self.core.clock.is_manual() { 1.0 } else { 1.0 - 0.2 * random_unit() },
        })
    }
}

impl State {
    /// The renewal under way, if it is alive: one that panicked, or met a runtime that was shutting down, has no sender.
    fn flight(&self) -> Option<&FlightWatch> {
        self.flight.as_ref().filter(|flight| flight.has_changed().is_ok())
    }
}

impl Timed for Source {
    /// Renew ahead, if the token is used and nothing speaks against it.
    fn on_timer(self: Arc<Self>) -> Option<BoxFuture<'static, ()>> {
        let mut flight = self.due()?;
        Some(Box::pin(async move { drop(flight.wait_for(Option::is_some).await) }))
    }
}
