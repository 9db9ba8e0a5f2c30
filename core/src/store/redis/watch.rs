//! Hears what others announce, on a connection of its own. Announcements are hints: some are missed whenever this connection
//! is lost, and nothing but time depends on them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::{AsyncConnectionConfig, PushInfo, PushKind, Value};
use tokio::sync::mpsc::{self, Receiver};
use tokio::time::{Instant, sleep, timeout};

use super::connection::pause;
use super::dial::{Dialer, Driver};
use super::fault::{Fault, Then};
use crate::random::random_unit;

/// A connection that is silent for so long is asked whether it still is one.
const SILENCE: Duration = Duration::from_secs(30);
/// About so long nothing is tried where the server refuses it.
const REFUSED: Duration = Duration::from_secs(120);
/// One that lasted so long was not lost because of what is done here.
const LASTING: Duration = Duration::from_secs(10);
/// More announcements at once are taken as: anything may have changed.
const BACKLOG: usize = 1024;
/// Longer than any outer name.
const LONGEST: usize = 64;

/// What was heard.
pub(super) enum Heard {
    /// The record of this outer name may have changed.
    One(String),
    /// Any record may have.
    Any,
}

/// Listens for as long as it is polled.
pub(super) async fn listen(dialer: &Dialer, channel: &str, limit: Duration, heard: impl Fn(Heard)) -> ! {
    let mut failures = 0;
    loop {
        let begun = Instant::now();
        match timeout(limit, subscribe(dialer, channel)).await {
            Ok(Ok(mut ear)) => {
                // What was announced before is lost.
                heard(Heard::Any);
                ear.listen(limit, &heard).await;
            }
            // Nothing that passes by itself: the user may not subscribe, for instance.
            Ok(Err(fault)) if fault.then == Then::GiveUp => sleep(REFUSED.mul_f64(0.5 + random_unit())).await,
            _ => {}
        }
        failures = if begun.elapsed() > LASTING { 1 } else { failures + 1 };
        sleep(pause(failures)).await;
    }
}

struct Ear {
    connection: redis::aio::MultiplexedConnection,
    /// It ends with this.
    _driver: Driver,
    announced: Receiver<String>,
    overrun: Arc<AtomicBool>,
}

async fn subscribe(dialer: &Dialer, channel: &str) -> Result<Ear, Fault> {
    let (sender, announced) = mpsc::channel(BACKLOG);
    let overrun = Arc::new(AtomicBool::new(false));
    let missed = overrun.clone();
    let hear = move |push: PushInfo| {
        // Whoever publishes something else there means nobody here.
        if let (PushKind::Message, Some(Value::BulkString(name))) = (push.kind, push.data.into_iter().next_back())
            && name.len() <= LONGEST
            && sender.try_send(String::from_utf8_lossy(&name).into_owned()).is_err()
        {
            missed.store(true, Ordering::Relaxed);
        }
        Ok::<(), ()>(())
    };
    let config = AsyncConnectionConfig::new().set_response_timeout(None).set_push_sender(hear);
    let (mut connection, driver) = dialer.open(config).await?;
    connection.subscribe(channel).await.map_err(|error| dialer.fault(&error))?;
    Ok(Ear { connection, _driver: driver, announced, overrun })
}

impl Ear {
    /// Until the connection is lost.
    async fn listen(&mut self, limit: Duration, heard: &impl Fn(Heard)) {
        loop {
            match timeout(SILENCE, self.announced.recv()).await {
                Ok(Some(name)) => heard(Heard::One(name)),
                Ok(None) => return,
                Err(_) => {
                    let ping = redis::cmd("PING");
                    if !matches!(timeout(limit, self.connection.send_packed_command(&ping)).await, Ok(Ok(_))) {
                        return;
                    }
                }
            }
            if self.overrun.swap(false, Ordering::Relaxed) {
                heard(Heard::Any);
            }
        }
    }
}
