//! Time: which clocks decide over a token, and a manual one for tests (DESIGN.md 4, "Clocks").
//!
//! Token life is kept on the suspend-aware clock (BOOTTIME) *and* the wall clock; whichever ends first ends the token. The
//! hot path reads two cheaper ones instead: the coarse monotonic clock and `time()`.

mod manual;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) use self::manual::{Counted, Drive};
use self::manual::{ManualClock, Task};
use crate::error::{Error, ErrorCode, Result};
use crate::random::random_unit;

const NANOS: u64 = 1_000_000_000;

/// The clock of an engine: the system's, or a manual one that only its owner moves.
#[derive(Clone, Debug, Default)]
pub struct Clock(Kind);

#[derive(Clone, Debug, Default)]
enum Kind {
    #[default]
    System,
    Manual(Arc<ManualClock>),
}

/// One reading of all clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    boot_ns: u64,
    mono_ns: u64,
    wall_ns: u64,
}

/// A point in time ahead, on each clock. It has passed as soon as one of them says so: a suspended machine, a frozen
/// container and a wall clock stepped forward all end a token; a step backwards changes nothing. What is done for a
/// caller has a limit on the monotonic clock alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    boot_ns: u64,
    wall_ns: u64,
    mono_ns: u64,
}

/// A deadline as the hot path compares it: one tick early on the coarse clock, rough on the wall clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HotDeadline {
    mono_ns: u64,
    wall_s: i64,
}

impl Clock {
    /// The system's clocks.
    pub fn system() -> Clock {
        Clock(Kind::System)
    }

    /// A clock that starts at the present time and moves only by [`Clock::advance`]; for tests.
    pub fn manual() -> Clock {
        Self::manual_at(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    /// The same from another time on, given since 1970.
    pub(crate) fn manual_at(unix: Duration) -> Clock {
        Clock::manual_with(Some(unix), None)
    }

    /// The same, with a seed for what is random on the system's clock.
    pub(crate) fn manual_with(unix: Option<Duration>, seed: Option<u64>) -> Clock {
        let present = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock(Kind::Manual(Arc::new(ManualClock::new(unix.unwrap_or_else(present), seed))))
    }

    /// Whether this clock is moved by hand.
    pub fn is_manual(&self) -> bool {
        matches!(self.0, Kind::Manual(_))
    }

    /// Moves a manual clock forward: the boot clock, the monotonic and the wall clock alike.
    ///
    /// # Errors
    /// `unsupported` on the system's clock.
    pub fn advance(&self, by: Duration) -> Result<()> {
        self.hands().map(|manual| manual.advance(by))
    }

    /// As if the machine had slept: a manual clock's monotonic hand stands still, the others move.
    ///
    /// # Errors
    /// `unsupported` on the system's clock.
    pub fn suspend(&self, by: Duration) -> Result<()> {
        self.hands().map(|manual| manual.suspend(by))
    }

    /// As if somebody had set the wall clock, forward or back; the other hands of a manual clock stay.
    ///
    /// # Errors
    /// `unsupported` on the system's clock.
    pub fn step_wall(&self, by: Duration, back: bool) -> Result<()> {
        self.hands().map(|manual| manual.step_wall(by, back))
    }

    /// Drives a manual clock from this thread.
    pub(crate) fn drive(&self) -> Result<Drive<'_>> {
        self.hands().map(Drive::new)
    }

    /// The same where all that the clock is for runs on this thread: nothing is counted, who drives sees when all rests.
    pub(crate) fn drive_alone(&self) -> Result<Drive<'_>> {
        self.hands().map(Drive::alone)
    }

    fn hands(&self) -> Result<&Arc<ManualClock>> {
        match &self.0 {
            Kind::Manual(manual) => Ok(manual),
            Kind::System => Err(Error::new(
                ErrorCode::Unsupported,
                "the clock is the system's: set testing.clock = \"manual\" to move it by hand",
            )),
        }
    }

    /// A number from 0 to 1 for spreading and jitter; none on a manual clock without a seed, where runs must repeat.
    pub(crate) fn draw(&self) -> Option<f64> {
        match &self.0 {
            Kind::System => Some(random_unit()),
            Kind::Manual(manual) => manual.draw(),
        }
    }

    /// A task that the driver of a manual clock waits for, if this thread drives it.
    pub(crate) fn counted<F: Future>(&self, work: F) -> Counted<F> {
        let task = match &self.0 {
            Kind::System => None,
            Kind::Manual(manual) => manual.task(),
        };
        Task::scope(task, work)
    }

    /// Whether this thread drives the clock: what waits here waits for virtual time.
    pub(crate) fn is_driven_here(&self) -> bool {
        matches!(&self.0, Kind::Manual(manual) if manual.is_driven_here())
    }

    /// `work`, unless this clock has gone further before it ends.
    pub(crate) async fn within<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.sleep(limit) => None,
        }
    }

    pub(crate) fn now(&self) -> Moment {
        match &self.0 {
            Kind::System => Moment {
                boot_ns: system::read(libc::CLOCK_BOOTTIME),
                mono_ns: system::read(libc::CLOCK_MONOTONIC),
                wall_ns: system::read(libc::CLOCK_REALTIME),
            },
            Kind::Manual(manual) => manual.now(),
        }
    }

    /// Whether the hot path must stop serving.
    #[inline(always)]
    pub(crate) fn hot_passed(&self, deadline: &HotDeadline) -> bool {
        match &self.0 {
            Kind::System => {
                system::read(libc::CLOCK_MONOTONIC_COARSE) >= deadline.mono_ns
                    || system::wall_seconds() >= deadline.wall_s
            }
            Kind::Manual(manual) => manual.mono_ns() >= deadline.mono_ns || manual.wall_seconds() >= deadline.wall_s,
        }
    }

    /// Time that passes, in nanoseconds: to a few milliseconds, and as cheap as reading gets.
    pub(crate) fn coarse_ns(&self) -> u64 {
        match &self.0 {
            Kind::System => system::read(libc::CLOCK_MONOTONIC_COARSE),
            Kind::Manual(_) => self.now().mono_ns,
        }
    }

    /// Where the hot path stops: at `deadline`, and surely before the token's `end`. `time()` knows whole seconds only, so
    /// the second in which a token ends counts as too late.
    pub(crate) fn hot(&self, deadline: &Deadline, end: Option<&Deadline>) -> HotDeadline {
        let now = self.now();
        let (late, left) = (now.boot_ns.saturating_sub(deadline.boot_ns), deadline.boot_ns.saturating_sub(now.boot_ns));
        let tick = if self.is_manual() { 0 } else { system::coarse_tick_ns() };
        let last = end.map_or(u64::MAX, |end| end.wall_ns / NANOS);
        HotDeadline {
            mono_ns: now.mono_ns.saturating_add(left).saturating_sub(late).saturating_sub(tick),
            wall_s: deadline.wall_ns.div_ceil(NANOS).min(last) as i64,
        }
    }

    /// Waits. A pause inside a renewal moves a manual clock by its length, unless somebody drives it.
    pub(crate) async fn sleep(&self, pause: Duration) {
        match &self.0 {
            Kind::System => tokio::time::sleep(pause).await,
            Kind::Manual(manual) => manual.sleep(pause).await,
        }
    }

    /// Waits until a moment. Several that wait for one move a manual clock to it once.
    pub(crate) async fn sleep_until(&self, end: &Deadline) {
        match &self.0 {
            Kind::System => tokio::time::sleep(end.left(&self.now())).await,
            Kind::Manual(manual) => manual.sleep_until(end.boot_ns).await,
        }
    }

    /// A pause before looking again at what another renewal does. That one is waited for in real time, except by a task
    /// of the driver, for whom time stands still until all are at rest.
    pub(crate) async fn look_again_after(&self, pause: Duration) {
        let pause = pause.mul_f64(0.5 + self.draw().unwrap_or(0.5));
        match &self.0 {
            Kind::Manual(manual) if manual.is_in_task() => manual.sleep(pause).await,
            _ => self.beside(pause).await,
        }
    }

    /// A pause of what goes on beside other work, and moves no clock: in real time, except on the thread that drives.
    pub(crate) async fn beside(&self, pause: Duration) {
        match &self.0 {
            Kind::Manual(manual) if manual.is_driven_here() => manual.sleep(pause).await,
            _ => tokio::time::sleep(pause).await,
        }
    }

    /// What the hot path costs at least: the two clock reads alone. For benchmarks, as the floor to compare with.
    #[doc(hidden)]
    pub fn read_hot_clocks() -> (u64, i64) {
        (system::read(libc::CLOCK_MONOTONIC_COARSE), system::wall_seconds())
    }
}

impl Moment {
    pub(crate) fn after(&self, wait: Duration) -> Deadline {
        Deadline {
            boot_ns: self.boot_ns.saturating_add(nanos(wait)),
            wall_ns: self.wall_ns.saturating_add(nanos(wait)),
            mono_ns: u64::MAX,
        }
    }

    /// A limit for work: the time that a machine sleeps, and what somebody makes of the wall clock, is not work's.
    pub(crate) fn limit(&self, wait: Duration) -> Deadline {
        Deadline { mono_ns: self.mono_ns.saturating_add(nanos(wait)), ..Moment::never() }
    }

    /// The moment `age` earlier.
    pub(crate) fn before(&self, age: Duration) -> Moment {
        let age = nanos(age);
        Moment {
            boot_ns: self.boot_ns.saturating_sub(age),
            mono_ns: self.mono_ns.saturating_sub(age),
            wall_ns: self.wall_ns.saturating_sub(age),
        }
    }

    /// A deadline that no clock reaches.
    pub(crate) fn never() -> Deadline {
        Deadline { boot_ns: u64::MAX, wall_ns: u64::MAX, mono_ns: u64::MAX }
    }

    pub(crate) fn boot_ns(&self) -> u64 {
        self.boot_ns
    }

    pub(crate) fn since(&self, earlier: &Moment) -> Duration {
        Duration::from_nanos(self.boot_ns.saturating_sub(earlier.boot_ns))
    }

    /// What has passed on the clock that stands still while the machine sleeps, whatever the others say.
    pub(crate) fn awake_since(&self, earlier: &Moment) -> Duration {
        Duration::from_nanos(self.mono_ns.saturating_sub(earlier.mono_ns))
    }

    pub(crate) fn unix(&self) -> Duration {
        Duration::from_nanos(self.wall_ns)
    }
}

impl Deadline {
    pub(crate) fn passed(&self, now: &Moment) -> bool {
        now.boot_ns >= self.boot_ns || now.wall_ns >= self.wall_ns || now.mono_ns >= self.mono_ns
    }

    /// What is left on the clock that ends first.
    pub(crate) fn left(&self, now: &Moment) -> Duration {
        let (boot, mono) = (self.boot_ns.saturating_sub(now.boot_ns), self.mono_ns.saturating_sub(now.mono_ns));
        Duration::from_nanos(boot.min(mono).min(self.wall_ns.saturating_sub(now.wall_ns)))
    }

    pub(crate) fn minus(&self, by: Duration) -> Deadline {
        let earlier = |ns: u64| ns.saturating_sub(nanos(by));
        Deadline { boot_ns: earlier(self.boot_ns), wall_ns: earlier(self.wall_ns), ..*self }
    }

    pub(crate) fn boot_ns(&self) -> u64 {
        self.boot_ns
    }

    pub(crate) fn unix(&self) -> Duration {
        Duration::from_nanos(self.wall_ns)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 2)
}

/// The calls to the operating system; both clock reads are served by the vDSO without entering the kernel.
#[allow(unsafe_code)]
mod system {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::NANOS;

    #[inline(always)]
    pub(super) fn read(clock: libc::clockid_t) -> u64 {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is a valid, writable timespec for the length of the call.
        let failed = unsafe { libc::clock_gettime(clock, &mut time) };
        debug_assert_eq!(failed, 0, "the clocks used here exist on every supported kernel");
        time.tv_sec as u64 * NANOS + time.tv_nsec as u64
    }

    #[inline(always)]
    pub(super) fn wall_seconds() -> i64 {
        // SAFETY: a null pointer is allowed; the result is returned only.
        unsafe { libc::time(std::ptr::null_mut()) }
    }

    pub(super) fn coarse_tick_ns() -> u64 {
        // Whoever comes first, or twice at once, asks; no lock, which a fork could leave held.
        static TICK: AtomicU64 = AtomicU64::new(0);
        let known = TICK.load(Ordering::Relaxed);
        if known != 0 {
            return known;
        }
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is a valid, writable timespec for the length of the call.
        let failed = unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &mut time) };
        let tick = if failed == 0 { time.tv_sec as u64 * NANOS + time.tv_nsec as u64 } else { 10_000_000 };
        TICK.store(tick, Ordering::Relaxed);
        tick
    }
}

/// A timer on the suspend-aware clock: a machine that slept past the moment wakes it at once.
pub(crate) struct BootTimer(tokio::io::unix::AsyncFd<rustix::fd::OwnedFd>);

impl BootTimer {
    /// Must be called inside the runtime.
    pub(crate) fn new() -> std::io::Result<BootTimer> {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        let fd = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        #[allow(unsafe_code)]
        // SAFETY: the descriptor is owned by the registration, closed by nobody else, and stays open as long as it lives.
        let registered = unsafe { tokio::io::unix::AsyncFd::register(fd) };
        Ok(BootTimer(registered.map_err(std::io::Error::from)?))
    }

    /// Waits until the boot clock reaches `boot_ns`.
    pub(crate) async fn sleep_until(&self, boot_ns: u64) -> std::io::Result<()> {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
        let at = boot_ns.max(1);
        let setting = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec { tv_sec: (at / NANOS) as i64, tv_nsec: (at % NANOS) as _ },
        };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::ABSTIME, &setting)?;
        loop {
            let mut ready = self.0.readable().await?;
            let mut count = [0u8; 8];
            match ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut count)?)) {
                Ok(read) => return read.map(|_| ()),
                Err(_would_block) => continue,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(boot: u64, wall: u64) -> Moment {
        Moment { boot_ns: boot * NANOS, mono_ns: boot * NANOS, wall_ns: wall * NANOS }
    }

    #[test]
    fn a_wall_clock_stepped_back_neither_kills_nor_prolongs() {
        // fault 43
        let deadline = at(100, 10_000).after(Duration::from_secs(60));
        assert!(!deadline.passed(&at(159, 5_000)));
        assert!(deadline.passed(&at(160, 5_000)));
        assert_eq!(deadline.left(&at(110, 5_000)), Duration::from_secs(50));
    }

    #[test]
    fn a_wall_clock_stepped_forward_and_a_suspend_both_end_it() {
        let deadline = at(100, 10_000).after(Duration::from_secs(60));
        assert!(deadline.passed(&at(101, 10_060)));
        assert!(deadline.passed(&at(160, 10_001)));
    }

    #[test]
    fn the_hot_deadline_is_never_later_than_the_real_one() {
        let clock = Clock::system();
        // Well over a tick: a busy host may miss some.
        let hot = clock.hot(&clock.now().after(Duration::ZERO).minus(Duration::from_secs(1)), None);
        assert!(clock.hot_passed(&hot));
        let hot = clock.hot(&clock.now().after(Duration::from_secs(60)), None);
        assert!(!clock.hot_passed(&hot));
    }

    #[test]
    fn a_manual_clock_moves_only_by_hand() {
        let clock = Clock::manual();
        let deadline = clock.now().after(Duration::from_secs(10));
        clock.advance(Duration::from_secs(9)).unwrap();
        assert!(!deadline.passed(&clock.now()));
        clock.advance(Duration::from_secs(1)).unwrap();
        assert!(deadline.passed(&clock.now()));
        assert!(Clock::system().advance(Duration::from_secs(1)).is_err());
    }

    #[test]
    fn a_manual_clock_has_three_hands() {
        let clock = Clock::manual_at(Duration::from_secs(5));
        let start = clock.now();
        let moved = |second: &Moment| {
            let wall = second.wall_ns as i64 - start.wall_ns as i64;
            let (boot, mono) = (second.since(&start).as_secs(), second.awake_since(&start).as_secs());
            (boot, mono, wall / NANOS as i64)
        };
        clock.advance(Duration::from_secs(1)).unwrap();
        assert_eq!(moved(&clock.now()), (1, 1, 1));
        clock.suspend(Duration::from_secs(10)).unwrap();
        assert_eq!(moved(&clock.now()), (11, 1, 11));
        clock.step_wall(Duration::from_secs(100), false).unwrap();
        assert_eq!(moved(&clock.now()), (11, 1, 111));
        // Before 1970 there is no time.
        clock.step_wall(Duration::from_secs(1000), true).unwrap();
        assert_eq!(moved(&clock.now()), (11, 1, -5));
    }

    #[test]
    fn a_limit_of_work_runs_while_the_machine_is_awake() {
        // fault 20
        let clock = Clock::manual();
        let limit = clock.now().limit(Duration::from_secs(30));
        clock.suspend(Duration::from_secs(3600)).unwrap();
        clock.step_wall(Duration::from_secs(3600), false).unwrap();
        assert_eq!(limit.left(&clock.now()), Duration::from_secs(30));
        clock.advance(Duration::from_secs(30)).unwrap();
        assert!(limit.passed(&clock.now()));
    }

    #[test]
    fn a_seed_gives_the_same_numbers_and_no_seed_none() {
        let drawn = |seed| -> Vec<_> {
            let clock = Clock::manual_with(None, Some(seed));
            (0..1000).map(|_| clock.draw().unwrap()).collect()
        };
        let numbers = drawn(42);
        assert_eq!(numbers, drawn(42));
        assert_ne!(numbers, drawn(43));
        let mean = numbers.iter().sum::<f64>() / 1000.0;
        assert!((0.45..0.55).contains(&mean) && numbers.iter().all(|number| (0.0..1.0).contains(number)));
        assert_eq!(Clock::manual().draw(), None);
    }
}
