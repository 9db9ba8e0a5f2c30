//! How a flight ends for those who wait for it: its outcome is told once.
//!
//! Tasks are woken by their wakers. Threads that block wait on one condition variable, so that one system call wakes a
//! thousand of them.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use super::Outcome;
use crate::life::Flight;

/// Two ends of one flight.
pub(super) fn landing() -> (Teller, FlightWatch) {
    let (sender, outcome) = watch::channel(None);
    let over = Arc::<Over>::default();
    (Teller { sender, threads: Threads(over.clone()) }, FlightWatch { outcome, over })
}

/// The flight's end. Dropped untold it wakes everybody too.
pub(super) struct Teller {
    sender: watch::Sender<Option<Outcome>>,
    /// Woken last: they see what the sender did, or that it is gone.
    threads: Threads,
}

/// The end of those who wait.
#[derive(Clone)]
pub(crate) struct FlightWatch {
    outcome: watch::Receiver<Option<Outcome>>,
    over: Arc<Over>,
}

#[derive(Default)]
struct Over {
    is: Mutex<bool>,
    changed: Condvar,
}

struct Threads(Arc<Over>);

impl Teller {
    pub(super) fn tell(&self, outcome: Outcome) {
        drop(self.sender.send_replace(Some(outcome)));
        self.threads.wake();
    }
}

impl Threads {
    fn wake(&self) {
        *self.0.is.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.changed.notify_all();
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.wake();
    }
}

impl FlightWatch {
    /// What was told; `None` where the flight ended without a word.
    pub(super) async fn landed(&mut self) -> Option<Outcome> {
        self.outcome.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone())
    }

    /// The same for a thread that blocks; the outer `None`: `until` came first.
    pub(super) fn landed_blocking(&self, until: Instant) -> Option<Option<Outcome>> {
        let over = self.over.is.lock().unwrap_or_else(PoisonError::into_inner);
        let left = until.saturating_duration_since(Instant::now());
        let waited = self.over.changed.wait_timeout_while(over, left, |over| !*over);
        let over = *waited.unwrap_or_else(PoisonError::into_inner).0;
        over.then(|| self.outcome.borrow().clone())
    }
}

impl Flight for FlightWatch {
    fn alive(&self) -> bool {
        self.outcome.has_changed().is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::block::block_on;
    use crate::error::{Error, ErrorCode};

    #[test]
    fn what_is_told_reaches_threads_and_tasks_before_and_after() {
        let (teller, flight) = landing();
        let far = Instant::now() + Duration::from_secs(60);
        let early = std::thread::spawn({
            let flight = flight.clone();
            move || flight.landed_blocking(far)
        });
        teller.tell(Outcome::Failed(Error::closed()));
        let code = |outcome: Option<Outcome>| match outcome {
            Some(Outcome::Failed(error)) => Some(error.code()),
            _ => None,
        };
        assert_eq!(code(early.join().unwrap().flatten()), Some(ErrorCode::Closed));
        assert_eq!(code(flight.landed_blocking(Instant::now()).flatten()), Some(ErrorCode::Closed));
        assert_eq!(code(block_on(flight.clone().landed())), Some(ErrorCode::Closed));
        assert!(flight.alive());
    }

    /// fault 55
    #[test]
    fn a_flight_that_dies_wakes_threads_and_tasks() {
        let (teller, mut flight) = landing();
        let far = Instant::now() + Duration::from_secs(60);
        let waiting = std::thread::spawn({
            let flight = flight.clone();
            move || (flight.landed_blocking(far).map(|outcome| outcome.is_none()), flight.alive())
        });
        drop(teller);
        assert_eq!(waiting.join().unwrap(), (Some(true), false));
        assert!(block_on(flight.landed()).is_none());
    }

    #[test]
    fn a_thread_gives_up_at_its_limit_and_the_flight_goes_on() {
        let (_teller, flight) = landing();
        assert!(flight.landed_blocking(Instant::now()).is_none());
        assert!(flight.alive());
    }
}
