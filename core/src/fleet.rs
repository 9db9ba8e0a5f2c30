//! A fleet in one thread: many engines on one manual clock, before a simulated network and a simulated Redis. For
//! `benches/src/fleet`, which says how both behave.
//!
//! The engines are whole: sources, renewals, what each knows of the store. What is simulated is on the wire's far side.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::header::HeaderMap;
use serde_json::Value;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{Notify, broadcast};

use crate::clock::{Clock, Deadline};
use crate::config::{Config, Trust};
use crate::engine::Engine;
use crate::error::{Error, ErrorCode, Result};
use crate::record_name::RecordName;
use crate::schedule::Schedule;
use crate::store::{BoxFuture, Known, LEASE, Listed, Owner, Record, Store, Swap, Told};
use crate::transport::{HttpRequest, HttpResponse, TransportFault};

/// So many announcements may be on their way to the slowest node.
const BACKLOG: usize = 1 << 14;

/// What a node asks of Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Reads a record.
    Load,
    /// Writes one, if nobody else has.
    Swap,
    /// Takes or keeps the right to renew.
    Lease,
    /// Gives it back.
    Release,
    /// One message, which Redis itself sends to this many.
    Announce(usize),
    /// Subscribes anew, after Redis was away.
    Subscribe,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Done(Duration),
    /// It is known after this time that Redis cannot be reached.
    Unreachable(Duration),
    /// The node is dead.
    Never,
}

/// The far side of the wire. `now` is the time since the fleet's beginning.
pub trait World: Send + Sync {
    fn redis(&self, now: Duration, node: usize, operation: Operation) -> Fate;

    /// Over how long a node that has lost Redis for a while looks at what it knows.
    fn spread(&self) -> Duration;

    /// A token server's answer, and after how long it comes: status and body; `None`: the connection is refused.
    fn answer(&self, now: Duration, path: &str, body: &[u8]) -> (Duration, Option<(u16, String)>);
}

/// A fleet's time, to have in hand.
#[derive(Clone)]
pub struct Time {
    clock: Clock,
    start_ns: u64,
}

impl Time {
    /// Since the fleet's beginning.
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.clock.now().boot_ns() - self.start_ns)
    }

    /// `work`, if it ends within this time.
    pub async fn within<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
        self.clock.within(limit, work).await
    }

    /// Waits for so long.
    pub async fn sleep(&self, pause: Duration) {
        self.clock.sleep(pause).await;
    }
}

/// Engines that share a clock, a thread and a Redis.
pub struct Fleet {
    time: Time,
    config: Arc<Config>,
    schedule: Arc<Schedule>,
    runtime: Runtime,
    /// Told when nothing is left to do at this moment.
    rests: Arc<Notify>,
    redis: Arc<Redis>,
}

impl Fleet {
    /// `configuration` is each node's, with `testing.clock = "manual"`.
    ///
    /// # Errors
    /// `config`; `unsupported` for the system's clock; `internal` without a runtime.
    pub fn new(configuration: Value, world: Arc<dyn World>) -> Result<Fleet> {
        let mut config = Config::from_value(configuration, Trust::default())?;
        let clock = config.clock.clone();
        drop(clock.drive()?);
        let time = Time { start_ns: clock.now().boot_ns(), clock };
        config.transport.answers = Some(Arc::new({
            let (world, time) = (world.clone(), time.clone());
            move |request| Box::pin(answer(world.clone(), time.clone(), request))
        }));
        let rests = Arc::new(Notify::new());
        let parked = rests.clone();
        let runtime = Builder::new_current_thread().enable_time().on_thread_park(move || parked.notify_one()).build();
        let runtime = runtime.map_err(|error| Error::new(ErrorCode::Internal, error.kind().to_string()))?;
        let redis = Redis {
            world,
            time: time.clone(),
            handle: runtime.handle().clone(),
            shelf: Mutex::default(),
            announcements: broadcast::channel(BACKLOG).0,
        };
        Ok(Fleet {
            time,
            config: Arc::new(config),
            schedule: Arc::new(Schedule::new()),
            runtime,
            rests,
            redis: Arc::new(redis),
        })
    }

    /// One more node. It dies where its engine and its sources are dropped.
    ///
    /// # Errors
    /// As of an engine.
    pub fn node(&self, number: usize) -> Result<Engine> {
        let store = Known::new(Node { redis: self.redis.clone(), number }, self.time.clock.clone());
        let engine = Engine::with_store(self.config.clone(), Arc::new(store))?;
        engine.core().run_on(self.runtime.handle().clone(), self.schedule.clone());
        Ok(engine)
    }

    /// Redis was away: every node subscribes anew.
    pub fn redis_returns(&self) {
        let _ = self.redis.announcements.send(None);
    }

    pub fn time(&self) -> Time {
        self.time.clone()
    }

    /// Sets work off; only while the fleet runs.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(work);
    }

    /// Time goes on for so long, from event to event; `second` is called at the beginning of each.
    ///
    /// # Errors
    /// None, once the fleet is made.
    pub fn run(&self, seconds: u64, mut second: impl FnMut(u64)) -> Result<()> {
        let drive = self.time.clock.drive_alone()?;
        let begin = self.time.clock.now();
        let after = |seconds: u64| begin.after(Duration::from_secs(seconds)).boot_ns();
        self.runtime.block_on(async {
            for number in 0..=seconds {
                let limit = after(number);
                loop {
                    self.rests.notified().await;
                    let next = [drive.next_ns(limit), self.schedule.next_ns()].into_iter().flatten().min();
                    let Some(next) = next.filter(|next| *next <= limit) else { break };
                    drive.move_to(next);
                    self.schedule.due(self.time.clock.now().boot_ns()).into_iter().for_each(|source| source.on_timer());
                }
                drive.move_to(limit);
                if number < seconds {
                    second(number);
                }
            }
        });
        Ok(())
    }
}

async fn answer(
    world: Arc<dyn World>,
    time: Time,
    request: HttpRequest,
) -> std::result::Result<HttpResponse, TransportFault> {
    let (pause, answer) = world.answer(time.elapsed(), request.url.path(), request.body.as_deref().unwrap_or_default());
    time.sleep(pause).await;
    match answer {
        Some((status, body)) => Ok(HttpResponse { status, headers: HeaderMap::new(), body: body.into_bytes() }),
        None => Err(TransportFault { sent: false, code: ErrorCode::Network, message: "refused".to_owned() }),
    }
}

/// One server for all.
struct Redis {
    world: Arc<dyn World>,
    time: Time,
    handle: Handle,
    shelf: Mutex<Shelf>,
    /// `None`: anything may have changed.
    announcements: broadcast::Sender<Option<(RecordName, u64)>>,
}

#[derive(Default)]
struct Shelf {
    records: HashMap<RecordName, Arc<Record>>,
    leases: HashMap<RecordName, (Owner, Deadline)>,
}

impl Redis {
    async fn done(&self, node: usize, operation: Operation) -> Result<MutexGuard<'_, Shelf>> {
        match self.world.redis(self.time.elapsed(), node, operation) {
            Fate::Done(after) => self.time.sleep(after).await,
            Fate::Unreachable(after) => {
                self.time.sleep(after).await;
                return Err(Error::new(ErrorCode::StoreUnavailable, "Redis is away").with_retryable(true));
            }
            Fate::Never => std::future::pending().await,
        }
        Ok(self.shelf.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn announce(self: &Arc<Self>, node: usize, name: &RecordName, newest: u64) {
        let operation = Operation::Announce(self.announcements.receiver_count());
        if let Fate::Done(after) = self.world.redis(self.time.elapsed(), node, operation) {
            let (redis, name) = (self.clone(), name.clone());
            self.handle.spawn(async move {
                redis.time.sleep(after).await;
                let _ = redis.announcements.send(Some((name, newest)));
            });
        }
    }
}

/// One node's connection.
struct Node {
    redis: Arc<Redis>,
    number: usize,
}

impl Store for Node {
    fn shared(&self) -> bool {
        true
    }

    fn load<'a>(&'a self, name: &'a RecordName) -> BoxFuture<'a, Result<Option<Arc<Record>>>> {
        Box::pin(async move { Ok(self.redis.done(self.number, Operation::Load).await?.records.get(name).cloned()) })
    }

    fn compare_and_set<'a>(
        &'a self,
        name: &'a RecordName,
        expected: u64,
        record: Arc<Record>,
    ) -> BoxFuture<'a, Result<Swap>> {
        Box::pin(async move {
            let mut shelf = self.redis.done(self.number, Operation::Swap).await?;
            let standing = shelf.records.get(name);
            if standing.map_or(0, |standing| standing.generation) != expected {
                return Ok(Swap::Lost(standing.cloned()));
            }
            let newest = record.token.as_ref().map_or(0, |token| token.generation);
            shelf.records.insert(name.clone(), record);
            drop(shelf);
            self.redis.announce(self.number, name, newest);
            Ok(Swap::Stored)
        })
    }

    fn lease<'a>(&'a self, name: &'a RecordName, owner: &'a Owner) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            let mut shelf = self.redis.done(self.number, Operation::Lease).await?;
            let now = self.redis.time.clock.now();
            match shelf.leases.get(name) {
                Some((holder, end)) if holder != owner && !end.passed(&now) => Ok(false),
                _ => {
                    shelf.leases.insert(name.clone(), (owner.clone(), now.after(LEASE)));
                    Ok(true)
                }
            }
        })
    }

    fn release<'a>(&'a self, name: &'a RecordName, owner: &'a Owner) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let mut shelf = self.redis.done(self.number, Operation::Release).await?;
            if shelf.leases.get(name).is_some_and(|(holder, _)| holder == owner) {
                shelf.leases.remove(name);
                drop(shelf);
                self.redis.announce(self.number, name, 0);
            }
            Ok(())
        })
    }

    fn watch<'a>(&'a self, told: Told<'a>) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let mut heard = self.redis.announcements.subscribe();
            loop {
                match heard.recv().await {
                    Ok(Some((name, newest))) => told(&name, Some(newest)),
                    // As the Redis store does where it has lost its connection, or the thread.
                    Ok(None) | Err(broadcast::error::RecvError::Lagged(_)) => {
                        let names: Vec<RecordName> = match self.redis.done(self.number, Operation::Subscribe).await {
                            Ok(shelf) => shelf.records.keys().cloned().collect(),
                            Err(_) => Vec::new(),
                        };
                        // Not all at once: some of what is asked anew here is nothing new.
                        let pause = self.redis.world.spread() / names.len().max(1) as u32;
                        for name in names {
                            told(&name, None);
                            if !pause.is_zero() {
                                self.redis.time.clock.look_again_after(pause).await;
                            }
                        }
                    }
                    Err(broadcast::error::RecvError::Closed) => return std::future::pending().await,
                }
            }
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Listed>>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn let_go(&self, _names: &[RecordName], _keep: &dyn Fn(&Record) -> bool) -> bool {
        true
    }
}
