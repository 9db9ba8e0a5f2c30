//! Waiting for a future on a thread of the host, inside any other executor's thread too.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// Parks this thread until the future is done. Time limits are the future's own.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    wait(future, None).expect("without a limit there is always a value")
}

/// Waits on this thread for a call's result, and asks every so often whether to go on: for languages whose signal handlers
/// run on the thread that waits. `None`: `go_on` said no, and the call is given up; a renewal under way goes on.
pub fn block_on_while<F: Future>(future: F, every: Duration, mut go_on: impl FnMut() -> bool) -> Option<F::Output> {
    let mut future = pin!(future);
    loop {
        if let Some(value) = wait(future.as_mut(), Some(Instant::now() + every)) {
            return Some(value);
        }
        if !go_on() {
            return None;
        }
    }
}

fn wait<F: Future>(future: F, limit: Option<Instant>) -> Option<F::Output> {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return Some(value);
        }
        match limit {
            None => thread::park(),
            Some(limit) => {
                let left = limit.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return None;
                }
                thread::park_timeout(left);
            }
        }
    }
}
