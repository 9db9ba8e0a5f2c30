//! The private tokio runtime: lazily started, one worker, a fresh one after fork, joined in bounded time at close.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle};
use tokio::task::{JoinError, JoinHandle};

use crate::clock::Clock;
use crate::config::TransportOptions;
use crate::discovery::Descriptions;
use crate::dpop::Nonces;
use crate::error::{Error, ErrorCode, Result};
use crate::events::Events;
use crate::exit::HoldExit;
use crate::forkcell::{self, ForkCell};
use crate::forkmap::ForkMap;
use crate::metrics::Tallies;
use crate::record_name::RecordName;
use crate::schedule::{Schedule, Timed};
use crate::store::Store;
use crate::transport::Transport;

/// How long close waits for renewals that can simply be done again.
const CLOSE: Duration = Duration::from_secs(1);
/// How long it waits for one whose answer must not be lost: a rotating refresh or a session login on the wire.
const CLOSE_CRITICAL: Duration = Duration::from_secs(2);

/// After a failure to watch the store.
const WATCH_AGAIN: Duration = Duration::from_secs(2);

/// What all sources of one engine share. It knows none of them.
pub(crate) struct Core {
    pub(crate) clock: Clock,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) max_answer: usize,
    pub(crate) descriptions: Descriptions,
    pub(crate) nonces: Nonces,
    pub(crate) events: Events,
    pub(crate) tallies: Tallies,
    transport: ForkCell<Transport>,
    transport_options: TransportOptions,
    running: ForkCell<Running>,
    /// Who hears what siblings do in the store, once the runtime runs.
    siblings: OnceLock<Weak<dyn Siblings>>,
    /// How often sources came, or took another record.
    record_names: AtomicU64,
    /// It was told that the store cannot be used as it should.
    pub(crate) store_degraded: AtomicBool,
    /// Looks after all sources at intervals, once the runtime runs.
    housekeeping: OnceLock<(Duration, Weak<dyn Timed>)>,
    closed: AtomicBool,
}

/// Hears that somebody may have changed a record, and which token stands there now (see [`crate::store::Told`]). Called on
/// the engine's runtime.
pub(crate) trait Siblings: Send + Sync {
    fn changed(&self, name: &RecordName, newest: Option<u64>);

    /// Until now nobody watched: any may have been.
    fn all_changed(&self);
}

/// What belongs to one process and must never cross a fork.
pub(crate) struct Running {
    pub(crate) handle: Handle,
    pub(crate) schedule: Arc<Schedule>,
    runtime: Mutex<Option<tokio::runtime::Runtime>>,
    critical: Critical,
    /// The files that keep a sign-in, each one source's at a time.
    files: ForkMap<PathBuf, Arc<tokio::sync::Mutex<()>>>,
}

/// Counts the requests on the wire whose answers must not be lost.
#[derive(Default)]
struct Critical {
    count: Mutex<usize>,
    changed: Condvar,
}

/// Keeps close, and the end of the process, waiting while it lives.
pub(crate) struct CriticalGuard<'a>(&'a Critical, #[allow(dead_code)] HoldExit);

impl Core {
    pub(crate) fn new(
        clock: Clock,
        store: Arc<dyn Store>,
        transport: TransportOptions,
        max_answer: usize,
    ) -> Result<Core> {
        let core = Core {
            clock,
            store,
            max_answer,
            descriptions: Descriptions::default(),
            nonces: Nonces::default(),
            events: Events::default(),
            tallies: Tallies::default(),
            transport: ForkCell::new(),
            transport_options: transport,
            running: ForkCell::new(),
            siblings: OnceLock::new(),
            record_names: AtomicU64::new(0),
            store_degraded: AtomicBool::new(false),
            housekeeping: OnceLock::new(),
            closed: AtomicBool::new(false),
        };
        core.transport()?;
        Ok(core)
    }

    pub(crate) fn transport(&self) -> Result<&Transport> {
        self.transport.get_or_try_init(|| Transport::new(self.transport_options.clone()))
    }

    /// The runtime of this process, started on first use.
    pub(crate) fn running(&self) -> Result<&Running> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::closed());
        }
        let running = self.running.get_or_try_init(|| {
            let running = Running::start(&self.clock)?;
            self.look_later(&running);
            self.watch_siblings(&running);
            Ok(running)
        })?;
        // Closed in between: the runtime that was just started has nobody else to stop it.
        if self.closed.load(Ordering::Acquire) {
            running.stop();
            return Err(Error::closed());
        }
        Ok(running)
    }

    /// Runs on somebody else's runtime, from now on.
    pub(crate) fn run_on(&self, handle: Handle, schedule: Arc<Schedule>) {
        self.running.get_or_init(|| {
            let running = Running::on(handle, schedule, None);
            self.look_later(&running);
            self.watch_siblings(&running);
            running
        });
    }

    /// Has somebody look after the sources at intervals, from the moment on when the runtime runs.
    pub(crate) fn look_every(&self, interval: Duration, who: Weak<dyn Timed>) {
        let _ = self.housekeeping.set((interval, who));
    }

    /// Has somebody told of what siblings do in the store, from the moment on when the runtime runs.
    pub(crate) fn tell_of_siblings(&self, who: Weak<dyn Siblings>) {
        let _ = self.siblings.set(who);
    }

    fn watch_siblings(&self, running: &Running) {
        let Some(who) = self.siblings.get().cloned() else { return };
        let store = self.store.clone();
        running.handle.spawn(async move {
            loop {
                let watching = tokio::spawn(watch(store.clone(), who.clone()));
                // tokio panics where the system gives no thread (fault 75): later there may be one.
                if !watching.await.is_err_and(|error| error.is_panic()) {
                    return;
                }
                tokio::time::sleep(WATCH_AGAIN).await;
            }
        });
    }

    /// The next look.
    pub(crate) fn look_again(&self) {
        if let Ok(running) = self.running() {
            self.look_later(running);
        }
    }

    fn look_later(&self, running: &Running) {
        if let Some((interval, who)) = self.housekeeping.get() {
            running.schedule.add(&self.clock.now().after(*interval), who.clone());
        }
    }

    /// Runs on the engine's runtime, to its end whatever becomes of the caller: what is lost half-way is lost for good.
    pub(crate) async fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        ended(self.running()?.handle.spawn(work).await)
    }

    /// The same, but no longer than somebody waits for it.
    pub(crate) async fn while_awaited<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        struct AbortOnDrop<T>(JoinHandle<T>);
        impl<T> Drop for AbortOnDrop<T> {
            fn drop(&mut self) {
                self.0.abort();
            }
        }
        let mut task = AbortOnDrop(self.running()?.handle.spawn(work));
        ended((&mut task.0).await)
    }

    /// A source has come, or uses another record from now on.
    pub(crate) fn note_record_names(&self) {
        self.record_names.fetch_add(1, Ordering::SeqCst);
    }

    /// How often that happened.
    pub(crate) fn record_names(&self) -> u64 {
        self.record_names.load(Ordering::SeqCst)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Stops the runtime and joins its threads, within 1 s, or 2 s when an answer that must not be lost is on the wire.
    pub(crate) fn close(&self) {
        if !self.closed.swap(true, Ordering::AcqRel)
            && let Some(running) = self.running.get()
        {
            running.stop();
        }
    }
}

/// Tells of what siblings do in the store, for ever.
async fn watch(store: Arc<dyn Store>, who: Weak<dyn Siblings>) {
    let told = |name: &RecordName, newest: Option<u64>| {
        if let Some(who) = who.upgrade() {
            who.changed(name, newest);
        }
    };
    // A child of fork serves what its parent had; what has become of that since, nobody has told it.
    if let Some(who) = who.upgrade() {
        who.all_changed();
    }
    store.watch(&told).await;
}

fn ended<T>(result: std::result::Result<Result<T>, JoinError>) -> Result<T> {
    result.unwrap_or_else(|error| match error.is_cancelled() {
        true => Err(Error::closed()),
        false => Err(Error::new(ErrorCode::Internal, "the call ended without a result; please report this")),
    })
}

impl Running {
    fn start(clock: &Clock) -> Result<Running> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let unable = |error: std::io::Error| {
            let message = format!("the engine's thread cannot be started: {}", error.kind());
            Error::new(ErrorCode::Internal, message).with_retryable(true)
        };
        // tokio panics where the system gives no thread (fault 75): ask first, in a way that answers.
        let trial = std::thread::Builder::new().name("qauth-trial".into()).spawn(|| {});
        let _ = trial.map_err(unable)?.join();
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name_fn(|| format!("qauth-{}", COUNT.fetch_add(1, Ordering::Relaxed)))
            .on_thread_start(forkcell::mark_own_thread)
            .enable_all()
            .build()
            .map_err(unable)?;
        let schedule = Arc::new(Schedule::new());
        if !clock.is_manual() {
            runtime.spawn(schedule.clone().run(clock.clone()));
        }
        Ok(Running::on(runtime.handle().clone(), schedule, Some(runtime)))
    }

    fn on(handle: Handle, schedule: Arc<Schedule>, own: Option<tokio::runtime::Runtime>) -> Running {
        Running { handle, schedule, runtime: Mutex::new(own), critical: Critical::default(), files: ForkMap::default() }
    }

    /// Whoever reads a refresh token from this file, sends it and writes its successor does so alone: narrowed sources share
    /// the file of their profile.
    pub(crate) async fn file_turn(&self, file: &Path) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = self.files.get_or_insert(&file.to_owned(), Arc::default());
        turn.lock_owned().await
    }

    pub(crate) fn critical(&self) -> CriticalGuard<'_> {
        *lock(&self.critical.count) += 1;
        CriticalGuard(&self.critical, HoldExit::new())
    }

    fn stop(&self) {
        let Some(runtime) = lock(&self.runtime).take() else { return };
        let start = Instant::now();
        let count = lock(&self.critical.count);
        drop(self.critical.changed.wait_timeout_while(count, CLOSE_CRITICAL, |count| *count > 0));
        let left = CLOSE.saturating_sub(start.elapsed());
        match Handle::try_current() {
            // On a thread of some tokio runtime blocking is forbidden: the workers end by themselves.
            Ok(_) => runtime.shutdown_background(),
            Err(_) => runtime.shutdown_timeout(left.max(Duration::from_millis(50))),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Dropping a runtime joins its threads, which may be this very thread.
        if let Some(runtime) = lock(&self.runtime).take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for CriticalGuard<'_> {
    fn drop(&mut self) {
        *lock(&self.0.count) -= 1;
        self.0.changed.notify_all();
    }
}

/// These locks guard single values that are always whole, so a panic elsewhere does not spoil them.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
