//! The manual clock: three hands that tests move, and virtual time for whoever drives it.
//!
//! Undriven, a pause inside a renewal moves the clock by its length, for there is nobody else to wait for. While somebody
//! drives it ([`Drive`]), pauses wait: what is due at one moment runs at once, and time goes on to the next event only
//! when everything that the driver set off has ended or sleeps.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use tokio::task::futures::TaskLocalFuture;

use super::{Moment, NANOS, nanos};
use crate::store::BoxFuture;

/// Boot time starts here, so that subtracting from it cannot reach below zero.
const START_NS: u64 = 1_000_000 * NANOS;
/// How long, in real time, a driver waits for what it has set off; servers that hang have limits of their own.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct ManualClock {
    mono_ns: AtomicU64,
    /// Boot time minus monotonic time: what the machine has slept.
    asleep_ns: AtomicU64,
    /// Wall time minus boot time.
    wall_ahead_ns: AtomicI64,
    /// The state of the generator (splitmix64), if runs spread and jitter.
    seed: Option<AtomicU64>,
    /// Held by the one who drives.
    wheel: Mutex<()>,
    /// Taken after `wheel`, and never across a wait.
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    driven: bool,
    /// Nothing is counted: all that is at work is at work on the driver's thread.
    alone: bool,
    /// By boot time, then in order.
    sleepers: BTreeMap<(u64, u64), Sleeper>,
    count: u64,
    /// Tasks that the driver set off and that neither have ended nor sleep.
    busy: usize,
    /// Which of the driver's calls want to be polled.
    woken: Vec<usize>,
}

#[derive(Debug)]
struct Sleeper {
    who: Who,
    waker: Waker,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Who {
    /// A task that the driver set off: time stands still while it is at work.
    Task,
    /// A call that the driver polls itself.
    Call,
    /// Set off by somebody else; the driver does not wait for it.
    Other,
}

thread_local! {
    /// The clock that this thread drives.
    static DRIVING: Cell<*const ManualClock> = const { Cell::new(std::ptr::null()) };
}
tokio::task_local! {
    static TASK: Option<Task>;
}

/// Work that was set off by the driver, from its start to its end.
#[derive(Debug)]
pub(crate) struct Task(Arc<ManualClock>);

/// A task, counted where a driver set it off.
pub(crate) type Counted<F> = TaskLocalFuture<Option<Task>, F>;

impl ManualClock {
    pub(super) fn new(unix: Duration, seed: Option<u64>) -> ManualClock {
        ManualClock {
            mono_ns: AtomicU64::new(START_NS),
            asleep_ns: AtomicU64::new(0),
            wall_ahead_ns: AtomicI64::new(signed(unix) - START_NS as i64),
            seed: seed.map(AtomicU64::new),
            wheel: Mutex::default(),
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    pub(super) fn now(&self) -> Moment {
        let (mono_ns, boot_ns) = (self.mono_ns(), self.boot_ns());
        Moment { boot_ns, mono_ns, wall_ns: boot_ns.saturating_add_signed(self.wall_ahead_ns.load(Ordering::SeqCst)) }
    }

    pub(super) fn mono_ns(&self) -> u64 {
        self.mono_ns.load(Ordering::SeqCst)
    }

    pub(super) fn wall_seconds(&self) -> i64 {
        (self.now().wall_ns / NANOS) as i64
    }

    fn boot_ns(&self) -> u64 {
        self.mono_ns().saturating_add(self.asleep_ns.load(Ordering::SeqCst))
    }

    /// Time passes, on every clock.
    pub(super) fn advance(&self, by: Duration) {
        self.mono_ns.fetch_add(nanos(by), Ordering::SeqCst);
    }

    /// The machine sleeps: the monotonic clock stands still.
    pub(super) fn suspend(&self, by: Duration) {
        self.asleep_ns.fetch_add(nanos(by), Ordering::SeqCst);
    }

    /// Somebody sets the wall clock.
    pub(super) fn step_wall(&self, by: Duration, back: bool) {
        let by = if back { -signed(by) } else { signed(by) };
        let step = |ahead: i64| Some(ahead.saturating_add(by));
        let _ = self.wall_ahead_ns.fetch_update(Ordering::SeqCst, Ordering::SeqCst, step);
    }

    /// A number from 0 to 1, if this clock has a seed: splitmix64.
    pub(super) fn draw(&self) -> Option<f64> {
        const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut bits = self.seed.as_ref()?.fetch_add(GAMMA, Ordering::SeqCst).wrapping_add(GAMMA);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        Some((bits >> 11) as f64 / (1u64 << 53) as f64)
    }

    /// Counts a task where this thread drives the clock.
    pub(super) fn task(self: &Arc<Self>) -> Option<Task> {
        if !self.is_driven_here() {
            return None;
        }
        let mut state = self.lock();
        if state.alone {
            return None;
        }
        state.busy += 1;
        Some(Task(self.clone()))
    }

    pub(super) fn is_driven_here(&self) -> bool {
        DRIVING.get() == std::ptr::from_ref(self)
    }

    pub(super) fn is_in_task(&self) -> bool {
        TASK.try_with(|task| task.as_ref().is_some_and(|task| std::ptr::eq(Arc::as_ptr(&task.0), self)))
            .unwrap_or(false)
    }

    pub(super) async fn sleep(self: &Arc<Self>, pause: Duration) {
        if self.lock().driven {
            Sleep { clock: self, at: self.boot_ns().saturating_add(nanos(pause)), key: None }.await;
        } else {
            self.advance(pause);
            tokio::task::yield_now().await;
        }
    }

    /// Several that wait for one moment move an undriven clock to it once.
    pub(super) async fn sleep_until(self: &Arc<Self>, boot_ns: u64) {
        Sleep { clock: self, at: boot_ns, key: None }.await;
    }

    fn move_to(&self, boot_ns: u64) {
        self.mono_ns.fetch_max(boot_ns.saturating_sub(self.asleep_ns.load(Ordering::SeqCst)), Ordering::SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Counts and a map that are whole between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn signed(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX / 2)
}

/// A pause: until the driver brings the clock there, or, where nobody drives it, at once by moving it there.
struct Sleep<'a> {
    clock: &'a Arc<ManualClock>,
    at: u64,
    key: Option<(u64, u64)>,
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let clock = self.clock.clone();
        let mut state = clock.lock();
        if let Some(key) = self.key {
            return match state.sleepers.get_mut(&key) {
                Some(sleeper) => {
                    sleeper.waker.clone_from(context.waker());
                    Poll::Pending
                }
                None => {
                    self.key = None;
                    Poll::Ready(())
                }
            };
        }
        if !state.driven || self.at <= clock.boot_ns() {
            clock.move_to(self.at);
            return Poll::Ready(());
        }
        let who = match (clock.is_in_task(), clock.is_driven_here()) {
            (true, _) => Who::Task,
            (false, true) => Who::Call,
            (false, false) => Who::Other,
        };
        state.count += 1;
        let key = (self.at, state.count);
        state.sleepers.insert(key, Sleeper { who, waker: context.waker().clone() });
        if who == Who::Task {
            state.busy -= 1;
            clock.changed.notify_all();
        }
        self.key = Some(key);
        Poll::Pending
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        let Some(key) = self.key else { return };
        let mut state = self.clock.lock();
        if state.sleepers.remove(&key).is_some_and(|sleeper| sleeper.who == Who::Task) {
            state.busy += 1;
        }
    }
}

impl Task {
    pub(super) fn scope<F: Future>(task: Option<Task>, work: F) -> Counted<F> {
        TASK.scope(task, work)
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.lock().busy -= 1;
        self.0.changed.notify_all();
    }
}

/// What the driver polls itself.
struct Call {
    work: BoxFuture<'static, ()>,
    waker: Waker,
}

/// The place of a call. One that was taken by another call since polls that one for nothing.
struct Place {
    clock: Arc<ManualClock>,
    index: usize,
}

impl Wake for Place {
    fn wake(self: Arc<Self>) {
        self.clock.lock().woken.push(self.index);
        self.clock.changed.notify_all();
    }
}

/// The right to move the clock from event to event, on this thread. What is begun here, or set off by what is begun here,
/// is waited for.
pub(crate) struct Drive<'a> {
    clock: &'a Arc<ManualClock>,
    calls: Vec<Option<Call>>,
    free: Vec<usize>,
    /// Something did not end in [`PATIENCE`]; it is not waited for any more.
    given_up: bool,
    before: *const ManualClock,
    _wheel: MutexGuard<'a, ()>,
}

impl<'a> Drive<'a> {
    pub(super) fn new(clock: &'a Arc<ManualClock>) -> Drive<'a> {
        let wheel = clock.wheel.lock().unwrap_or_else(PoisonError::into_inner);
        clock.lock().driven = true;
        let before = DRIVING.replace(Arc::as_ptr(clock));
        Drive { clock, calls: Vec::new(), free: Vec::new(), given_up: false, before, _wheel: wheel }
    }

    pub(super) fn alone(clock: &'a Arc<ManualClock>) -> Drive<'a> {
        let drive = Drive::new(clock);
        clock.lock().alone = true;
        drive
    }

    /// Begins a call, which is polled here.
    pub(crate) fn begin(&mut self, work: BoxFuture<'static, ()>) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.calls.push(None);
            self.calls.len() - 1
        });
        let waker = Waker::from(Arc::new(Place { clock: self.clock.clone(), index }));
        self.calls[index] = Some(Call { work, waker });
        self.poll(index);
    }

    /// Waits until all that was set off has ended or sleeps.
    pub(crate) fn settle(&mut self) {
        let limit = Instant::now() + PATIENCE;
        while let Some(woken) = self.wait(limit) {
            woken.into_iter().for_each(|index| self.poll(index));
        }
    }

    fn poll(&mut self, index: usize) {
        let Some(call) = &mut self.calls[index] else { return };
        if call.work.as_mut().poll(&mut Context::from_waker(&call.waker)).is_ready() {
            self.calls[index] = None;
            self.free.push(index);
        }
    }

    /// The calls to be polled; none: nobody is at work.
    fn wait(&mut self, limit: Instant) -> Option<Vec<usize>> {
        let mut state = self.clock.lock();
        while state.woken.is_empty() {
            let left = limit.saturating_duration_since(Instant::now());
            self.given_up |= state.busy > 0 && left.is_zero();
            if state.busy == 0 || self.given_up {
                return None;
            }
            state = self.clock.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Some(std::mem::take(&mut state.woken))
    }

    /// When the next pause ends: of what is waited for, or anybody's until `target_ns`.
    pub(crate) fn next_ns(&self, target_ns: u64) -> Option<u64> {
        let state = self.clock.lock();
        let next = state.sleepers.iter().find(|((at, _), sleeper)| *at <= target_ns || sleeper.who != Who::Other);
        next.map(|((at, _), _)| *at)
    }

    /// Moves the clock on, never back, and wakes whose pause is over.
    pub(crate) fn move_to(&self, boot_ns: u64) {
        self.clock.move_to(boot_ns);
        let mut state = self.clock.lock();
        let later = state.sleepers.split_off(&(self.clock.boot_ns() + 1, 0));
        self.wake(state, later);
    }

    fn wake(&self, mut state: MutexGuard<'_, State>, remaining: BTreeMap<(u64, u64), Sleeper>) {
        let over = std::mem::replace(&mut state.sleepers, remaining);
        state.busy += over.values().filter(|sleeper| sleeper.who == Who::Task).count();
        drop(state);
        over.into_values().for_each(|sleeper| sleeper.waker.wake());
    }
}

impl Drop for Drive<'_> {
    fn drop(&mut self) {
        DRIVING.set(self.before);
        let mut state = self.clock.lock();
        (state.driven, state.alone) = (false, false);
        // The pauses of those that nobody waited for move the clock again, as pauses do where nobody drives.
        if let Some((at, _)) = state.sleepers.keys().next_back().copied() {
            self.clock.move_to(at);
        }
        self.wake(state, BTreeMap::new());
    }
}
