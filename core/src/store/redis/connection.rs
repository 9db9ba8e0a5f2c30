//! The one connection of a process to its Redis: opened when it is needed, shared by all, given up at the first doubt.
//!
//! A Redis that does not answer costs a call at most `store.timeout`; afterwards it is tried again after growing pauses,
//! and in between every call is told at once what the last try found.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, Value};
use tokio::time::{Instant, timeout_at};

use super::dial::{Dialer, Driver};
use super::fault::{Fault, Then};
use super::options::Options;
use crate::error::{Error, Result};
use crate::forkcell::ForkCell;
use crate::random::random_unit;

/// The first pause after a failure, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

pub(super) struct Connection {
    pub(super) dialer: Arc<Dialer>,
    timeout: Duration,
    slot: ForkCell<Slot>,
}

/// What belongs to one process: a child of `fork` opens a connection of its own and never touches its parent's socket.
#[derive(Default)]
struct Slot {
    /// Held for moments, never while something is waited for.
    state: Mutex<State>,
    /// Whoever opens a connection does so for all.
    opening: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    live: Option<Live>,
    /// Set by a failure, and taken away by the next operation that succeeds.
    broken: Option<Broken>,
}

struct Broken {
    failures: u32,
    until: Instant,
    error: Error,
}

#[derive(Clone)]
struct Live {
    connection: MultiplexedConnection,
    driver: Arc<Driver>,
}

impl Connection {
    pub(super) fn new(options: &Options) -> Result<Connection> {
        let dialer = Arc::new(Dialer::new(options)?);
        Ok(Connection { dialer, timeout: options.timeout, slot: ForkCell::new() })
    }

    /// Sends a command that may safely be sent twice: where an old connection turns out to be lost, it is sent again on a new
    /// one.
    pub(super) async fn run(&self, command: &Cmd) -> Result<Value, Fault> {
        let end = Instant::now() + self.timeout;
        loop {
            let (mut live, is_new) = self.live(end).await?;
            let answer = self
                .in_time(end, live.connection.send_packed_command(command))
                .await
                .and_then(|answer| answer.and_then(Value::extract_error).map_err(|error| self.dialer.fault(&error)));
            let fault = match answer {
                Ok(value) => {
                    self.state().broken = None;
                    return Ok(value);
                }
                Err(fault) => fault,
            };
            if fault.then != Then::Reconnect {
                // It was reached, and it spoke.
                self.state().broken = None;
                return Err(fault);
            }
            self.drop(&live);
            if is_new || Instant::now() >= end {
                return Err(self.failed(fault));
            }
        }
    }

    /// The connection, and whether it was made just now.
    async fn live(&self, end: Instant) -> Result<(Live, bool), Fault> {
        if let Some(live) = self.usable()? {
            return Ok((live, false));
        }
        let slot = self.slot();
        let _turn = match slot.opening.try_lock() {
            Ok(turn) => turn,
            // It failed before and somebody is trying it: not everybody need wait for that.
            Err(_) if self.state().broken.is_some() => return Err(self.still_broken()),
            Err(_) => self.in_time(end, slot.opening.lock()).await?,
        };
        if let Some(live) = self.usable()? {
            return Ok((live, false));
        }
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let opened = self.in_time(end, self.dialer.open(config)).await.and_then(|opened| opened);
        let (connection, driver) = opened.map_err(|fault| self.failed(fault))?;
        let live = Live { connection, driver: Arc::new(driver) };
        self.state().live = Some(live.clone());
        Ok((live, true))
    }

    /// The connection that is there; none, and no error: one may be opened.
    fn usable(&self) -> Result<Option<Live>, Fault> {
        let mut state = self.state();
        state.live.take_if(|live| live.driver.has_ended());
        match &state.broken {
            _ if state.live.is_some() => Ok(state.live.clone()),
            Some(broken) if broken.until > Instant::now() => {
                drop(state);
                Err(self.still_broken())
            }
            _ => Ok(None),
        }
    }

    fn still_broken(&self) -> Fault {
        let state = self.state();
        match &state.broken {
            Some(broken) => {
                let wait = broken.until.saturating_duration_since(Instant::now());
                Fault { error: broken.error.clone().with_retry_after(Some(wait)), then: Then::Reconnect }
            }
            None => self.dialer.unreachable("no answer in time"),
        }
    }

    async fn in_time<T>(&self, end: Instant, work: impl Future<Output = T>) -> Result<T, Fault> {
        let late = || self.dialer.unreachable(&format!("no answer within {:?}", self.timeout));
        timeout_at(end, work).await.map_err(|_| late())
    }

    fn drop(&self, lost: &Live) {
        self.state().live.take_if(|live| Arc::ptr_eq(&live.driver, &lost.driver));
    }

    /// Nobody tries again before a pause is over.
    fn failed(&self, fault: Fault) -> Fault {
        let mut state = self.state();
        let failures = state.broken.as_ref().map_or(0, |broken| broken.failures).saturating_add(1);
        let until = Instant::now() + pause(failures);
        state.broken = Some(Broken { failures, until, error: fault.error.clone() });
        fault
    }

    fn slot(&self) -> &Slot {
        self.slot.get_or_init(Slot::default)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.slot().state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Growing, and different in each process, so that a Redis that comes back is not met by all at once.
pub(super) fn pause(failures: u32) -> Duration {
    let doubled = PAUSES.0.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(PAUSES.1).mul_f64(0.5 + random_unit() / 2.0)
}
