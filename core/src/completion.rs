//! Finished calls on their way back to the host: a queue that the host runs on a thread or loop of its own.
//!
//! Core never calls into a host from its own threads (DESIGN.md 6): a call that may block is queued with a function to run
//! when it is done; the queue's descriptor becomes readable, and the host runs what has come.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::error::{Error, ErrorCode, Result};

/// As good as for ever.
const LONGEST_WAIT: Duration = Duration::from_secs(86_400);

type Job = Box<dyn FnOnce() + Send>;

/// Functions to run, in the order in which their calls were done. Any thread may add; any thread of the host may run.
#[derive(Clone)]
pub struct CompletionQueue(Arc<Shared>);

struct Shared {
    jobs: Mutex<VecDeque<Job>>,
    ready: Ready,
}

/// How the host hears that there is something to run.
enum Ready {
    /// An eventfd: readable while jobs wait.
    Descriptor(OwnedFd),
    Waker(Box<dyn Fn() + Send + Sync>),
}

impl CompletionQueue {
    /// An empty queue.
    ///
    /// # Errors
    /// `internal` when the process has no file descriptor left.
    pub fn new() -> Result<CompletionQueue> {
        let ready = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)
            .map_err(|error| Error::new(ErrorCode::Internal, format!("no file descriptor for the queue: {error}")))?;
        Ok(CompletionQueue(Arc::new(Shared { jobs: Mutex::default(), ready: Ready::Descriptor(ready) })))
    }

    /// An empty queue for a loop that is woken by a call instead of a descriptor. `waker` is called on a thread of the
    /// engine when the first job waits; it may do no more than tell the loop to [`CompletionQueue::run`], and must not
    /// block.
    pub fn with_waker(waker: impl Fn() + Send + Sync + 'static) -> CompletionQueue {
        CompletionQueue(Arc::new(Shared { jobs: Mutex::default(), ready: Ready::Waker(Box::new(waker)) }))
    }

    /// Readable while there is something to run; for `poll`, `epoll` and event loops. Valid as long as the queue is. `None`
    /// for one with a waker.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.0.ready {
            Ready::Descriptor(ready) => Some(ready.as_fd()),
            Ready::Waker(_) => None,
        }
    }

    /// Runs what has come, in order, on this thread, without holding a lock; returns how many. Waits for the first one at
    /// most this long; zero does not wait, nor does a queue with a waker.
    pub fn run(&self, wait: Duration) -> usize {
        if let Ready::Descriptor(ready) = &self.0.ready {
            let until = Instant::now() + wait.min(LONGEST_WAIT);
            while !wait.is_zero() && self.is_empty() {
                let left = until.saturating_duration_since(Instant::now());
                let limit = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
                // A signal ends the wait early, as the host's own handlers expect.
                match poll(&mut [PollFd::new(ready, PollFlags::IN)], Some(&limit)) {
                    Ok(1..) => {}
                    _ => break,
                }
                // It may stand for a job that was run before the word of it came.
                drain(ready);
            }
            drain(ready);
        }
        // What a job adds is run by the next call, so that a job that adds itself cannot keep us here.
        let jobs = std::mem::take(&mut *self.lock());
        let ran = jobs.len();
        for job in jobs {
            job();
        }
        ran
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// For one who only adds, if the host still has the queue.
    pub(crate) fn downgrade(&self) -> WeakQueue {
        WeakQueue(Arc::downgrade(&self.0))
    }

    /// Adds a function to run.
    pub(crate) fn push(&self, job: impl FnOnce() + Send + 'static) {
        let first = {
            let mut jobs = self.lock();
            jobs.push_back(Box::new(job));
            jobs.len() == 1
        };
        match &self.0.ready {
            // Full counters are readable all the same.
            Ready::Descriptor(ready) => drop(rustix::io::write(ready, &1u64.to_ne_bytes())),
            Ready::Waker(wake) if first => wake(),
            Ready::Waker(_) => {}
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Job>> {
        self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A queue as one knows it who does not keep it.
pub(crate) struct WeakQueue(Weak<Shared>);

impl WeakQueue {
    /// `None` once nobody has the queue.
    pub(crate) fn upgrade(&self) -> Option<CompletionQueue> {
        self.0.upgrade().map(CompletionQueue)
    }

    /// Nobody has it any more.
    pub(crate) fn is_gone(&self) -> bool {
        self.0.strong_count() == 0
    }
}

fn drain(ready: &OwnedFd) {
    let mut count = [0u8; 8];
    let _ = rustix::io::read(ready, &mut count);
}

impl std::fmt::Debug for CompletionQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CompletionQueue({} waiting)", self.lock().len())
    }
}

/// A queued call. Dropping it changes nothing: the call goes on.
#[derive(Debug)]
pub struct Pending(tokio::sync::oneshot::Sender<()>);

impl Pending {
    /// Gives the call up: its function gets `cancelled`, unless it is done already. A renewal under way goes on.
    pub fn cancel(self) {
        let _ = self.0.send(());
    }
}

/// Runs `work` on the engine's runtime and puts `done` on the queue with its result, exactly once, whatever happens.
pub(crate) fn submit<T: Send + 'static>(
    running: &crate::runtime::Running,
    queue: &CompletionQueue,
    work: impl Future<Output = Result<T>> + Send + 'static,
    done: impl FnOnce(Result<T>) + Send + 'static,
) -> Pending {
    let (cancel, cancelled) = tokio::sync::oneshot::channel();
    let mut delivery = Delivery { queue: queue.clone(), done: Some(done), result: None };
    running.handle.spawn(async move {
        let given_up = async {
            // A dropped handle is no cancellation.
            if cancelled.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        delivery.fill(tokio::select! {
            result = work => result,
            () = given_up => Err(Error::new(ErrorCode::Cancelled, "the caller gave the call up")),
        });
    });
    Pending(cancel)
}

/// Delivers on drop, so that an engine that is closed, or a panic, still answers.
struct Delivery<T: Send + 'static, F: FnOnce(Result<T>) + Send + 'static> {
    queue: CompletionQueue,
    done: Option<F>,
    result: Option<Result<T>>,
}

impl<T: Send + 'static, F: FnOnce(Result<T>) + Send + 'static> Delivery<T, F> {
    fn fill(&mut self, result: Result<T>) {
        self.result = Some(result);
    }
}

impl<T: Send + 'static, F: FnOnce(Result<T>) + Send + 'static> Drop for Delivery<T, F> {
    fn drop(&mut self) {
        let result = self.result.take().unwrap_or_else(|| Err(Error::closed()));
        if let Some(done) = self.done.take() {
            self.queue.push(move || done(result));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_run_in_order_on_the_thread_that_asks() {
        let queue = CompletionQueue::new().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        for number in 0..3 {
            let seen = seen.clone();
            queue.push(move || seen.lock().unwrap().push((number, std::thread::current().id())));
        }
        assert_eq!(queue.run(Duration::from_secs(5)), 3);
        let me = std::thread::current().id();
        assert_eq!(*seen.lock().unwrap(), [(0, me), (1, me), (2, me)]);
        assert_eq!(queue.run(Duration::ZERO), 0);
    }

    #[test]
    fn the_word_of_a_job_that_was_run_already_ends_no_wait() {
        let queue = CompletionQueue::new().unwrap();
        let Ready::Descriptor(ready) = &queue.0.ready else { unreachable!() };
        rustix::io::write(ready, &1u64.to_ne_bytes()).unwrap();
        let (start, wait) = (Instant::now(), Duration::from_millis(50));
        assert_eq!(queue.run(wait), 0);
        assert!(start.elapsed() >= wait);
    }

    #[test]
    fn a_waker_is_called_once_for_what_one_run_will_find() {
        let calls = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = calls.clone();
        let queue = CompletionQueue::with_waker(move || {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        });
        for _ in 0..2 {
            queue.push(|| {});
            queue.push(|| {});
            assert_eq!(queue.run(Duration::from_secs(60)), 2);
        }
        assert_eq!(calls.load(std::sync::atomic::Ordering::SeqCst), 2);
        assert!(queue.fd().is_none());
    }

    #[test]
    fn a_job_may_use_the_queue_it_runs_on() {
        // fault 59
        let queue = CompletionQueue::new().unwrap();
        let again = queue.clone();
        queue.push(move || again.push(|| {}));
        assert_eq!(queue.run(Duration::ZERO), 1);
        assert_eq!(queue.run(Duration::ZERO), 1);
    }
}
