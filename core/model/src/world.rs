//! What stands around the state machine in core: callers, a renewal that goes its rounds, and a server that counts.

use loom::sync::Notify;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

use crate::life::{Flight, Lent, Life};
use crate::sync::{Arc, Mutex};

/// As often as core's renewals start over.
const ROUNDS: u32 = 3;

pub(crate) struct Token {
    pub(crate) generation: u64,
    /// Of the era in which it was asked for.
    pub(crate) era: usize,
}

impl Lent for Token {
    fn generation(&self) -> u64 {
        self.generation
    }
}

/// Both ends of a renewal: who waits, and who tells.
#[derive(Clone)]
pub(crate) struct Watch(Arc<Landing>);

struct Landing {
    alive: AtomicBool,
    outcome: Mutex<Option<Option<u64>>>,
    told: Notify,
}

impl Flight for Watch {
    fn alive(&self) -> bool {
        self.0.alive.load(Ordering::SeqCst)
    }
}

impl Watch {
    fn new() -> Watch {
        let (outcome, told) = (Mutex::new(None), Notify::new());
        Watch(Arc::new(Landing { alive: AtomicBool::new(true), outcome, told }))
    }

    fn land(&self, generation: Option<u64>) {
        *self.0.outcome.lock().unwrap() = Some(generation);
        self.0.told.notify();
        self.end();
    }

    fn end(&self) {
        self.0.alive.store(false, Ordering::SeqCst);
    }

    /// Waits for the outcome: the generation of a token, or `None` for an error. One thread per flight.
    pub(crate) fn wait(&self) -> Option<u64> {
        loop {
            if let Some(outcome) = *self.0.outcome.lock().unwrap() {
                return outcome;
            }
            self.0.told.wait();
        }
    }
}

/// A source as core has it, and what happens at its server.
pub(crate) struct World {
    pub(crate) life: Life<Token, Watch, &'static str>,
    /// Requests that were sent.
    pub(crate) requests: AtomicUsize,
    /// Rises, under the lock, with everything after which older tokens must not be served: another secret, a rejection.
    era: AtomicUsize,
    /// Renewals that run at this moment.
    flying: AtomicUsize,
}

impl World {
    pub(crate) fn new() -> Arc<World> {
        let none = || AtomicUsize::new(0);
        Arc::new(World { life: Life::new(), requests: none(), era: none(), flying: none() })
    }

    /// A source whose first token is there.
    pub(crate) fn with_token() -> Arc<World> {
        let world = World::new();
        let mut locked = world.life.lock();
        let epoch = locked.begin().epoch;
        assert!(locked.publish(&Arc::new(Token { generation: 1, era: 0 }), epoch));
        drop(locked);
        world
    }

    pub(crate) fn generation(&self) -> Option<u64> {
        self.life.published().as_ref().map(|token| token.generation)
    }

    /// Nothing is published that was asked for in an earlier era.
    pub(crate) fn check_era(&self) {
        let locked = self.life.lock();
        let now = self.era.load(Ordering::SeqCst);
        assert!(locked.current().is_none_or(|token| token.era == now), "a token of an earlier era is served");
    }

    pub(crate) fn update(&self) {
        let mut locked = self.life.lock();
        self.era.fetch_add(1, Ordering::SeqCst);
        locked.update();
    }

    pub(crate) fn invalidate(&self, generation: u64) -> bool {
        let mut locked = self.life.lock();
        let acted = locked.invalidate(|current| current.generation == generation).is_some();
        if acted {
            self.era.fetch_add(1, Ordering::SeqCst);
        }
        acted
    }

    /// A caller: what is published, else the renewal under way, else one that it starts. `None`: closed.
    pub(crate) fn fly(self: &Arc<Self>) -> Option<Watch> {
        let mut locked = self.life.lock();
        if self.life.is_closed() || locked.current().is_some() {
            return None;
        }
        let flight = locked.fly(|| {
            let watch = Watch::new();
            let (world, telling) = (self.clone(), watch.clone());
            thread::spawn(move || world.renew(&telling));
            Ok::<_, ()>(watch)
        });
        flight.ok()
    }

    /// One renewal, as core's `renew` goes its rounds.
    pub(crate) fn renew(&self, watch: &Watch) {
        assert_eq!(self.flying.fetch_add(1, Ordering::SeqCst), 0, "two renewals at once");
        for _ in 0..ROUNDS {
            let round = self.life.lock().begin();
            // After the round has begun: what changes in between is then seen when the token is to be published.
            let era = self.era.load(Ordering::SeqCst);
            self.requests.fetch_add(1, Ordering::SeqCst);
            thread::yield_now();
            let token = Arc::new(Token { generation: round.floor + 1, era });
            let mut locked = self.life.lock();
            if locked.publish(&token, round.epoch) {
                self.flying.fetch_sub(1, Ordering::SeqCst);
                drop(locked);
                return watch.land(Some(token.generation));
            }
            if self.life.is_closed() {
                break;
            }
        }
        self.flying.fetch_sub(1, Ordering::SeqCst);
        self.life.lock().fail();
        watch.land(None);
    }

    /// A renewal under way, on a thread of its own.
    pub(crate) fn renewing(self: &Arc<Self>) -> thread::JoinHandle<()> {
        let (world, flight) = (self.clone(), self.start());
        thread::spawn(move || world.renew(&flight))
    }

    /// One that dies in the middle.
    pub(crate) fn panic(&self, watch: &Watch) {
        self.flying.fetch_add(1, Ordering::SeqCst);
        self.life.lock().begin();
        self.flying.fetch_sub(1, Ordering::SeqCst);
        watch.end();
    }

    /// A renewal under way that nobody runs yet.
    pub(crate) fn start(&self) -> Watch {
        let watch = Watch::new();
        self.life.lock().fly(|| Ok::<_, ()>(watch.clone())).unwrap();
        watch
    }
}
