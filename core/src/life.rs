//! The state machine of one source: which token is published, whether a renewal is under way, and what a renewal may still
//! publish after an invalidation, an update or the end.
//!
//! It knows no clock, no store and no runtime. Who decides holds its lock ([`Life::lock`]); the hot path reads the published
//! pointer alone. `core/model` runs this very file under a model checker, in every order of its steps that threads allow.

use std::ops::{Deref, DerefMut};

use crate::sync::{Arc, AtomicBool, AtomicU64, ForkCell, Guard, Mutex, MutexGuard, Ordering, PoisonError, Slot};

/// What is published: it counts upwards.
pub(crate) trait Lent {
    fn generation(&self) -> u64;
}

/// A renewal under way.
pub(crate) trait Flight: Clone {
    /// Whether it can still bring an outcome: one that panicked, or met a runtime that was shutting down, cannot.
    fn alive(&self) -> bool;
}

/// One source's life; `T` is what is published, `F` the renewal under way, `P` a pause.
pub(crate) struct Life<T, F, P> {
    /// Empty before the first token and after an invalidation or close: a tombstone is an absent record.
    published: Slot<T>,
    /// Only tokens with a larger generation count as new. A child of fork goes on from its parent's, so that within one
    /// process a generation names one token of this source. Changed under the lock.
    floor: AtomicU64,
    closed: AtomicBool,
    /// This process's own: a child of fork has no flights and pauses of its parent.
    state: ForkCell<Mutex<State<T, F, P>>>,
}

/// What only the holder of the lock sees. Held for decisions only, never across a wait.
pub(crate) struct State<T, F, P> {
    flight: Option<F>,
    /// What was published last, from its withdrawal to the next token: nobody is served it, and no server's text may show it.
    withdrawn: Option<Arc<T>>,
    /// Rises with invalidate, update and close: a renewal begun before does not publish over them.
    epoch: u64,
    /// The renewal to come answers a rejection by the API.
    rejected: bool,
    /// The next renewal clears what the store remembers of failures.
    forget: bool,
    /// Tokens rejected in a row before they had lived for a while.
    pub(crate) rejections: u32,
    pub(crate) pause: Option<P>,
}

/// What one round of a renewal starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Round {
    /// Of the round: nothing is published in another one.
    pub(crate) epoch: u64,
    /// Only tokens with a larger generation count as new.
    pub(crate) floor: u64,
    /// It answers a rejection by the API.
    pub(crate) rejected: bool,
    /// What the store remembers of failures is cleared first.
    pub(crate) forget: bool,
}

/// The lock, held.
pub(crate) struct Locked<'a, T, F, P> {
    life: &'a Life<T, F, P>,
    state: MutexGuard<'a, State<T, F, P>>,
}

impl<T: Lent, F: Flight, P> Life<T, F, P> {
    pub(crate) fn new() -> Life<T, F, P> {
        Life {
            published: Slot::empty(),
            floor: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            state: ForkCell::new(),
        }
    }

    /// What is published now, on loan: one pointer, nothing else.
    #[inline(always)]
    pub(crate) fn published(&self) -> Guard<Option<Arc<T>>> {
        self.published.load()
    }

    /// The same to keep.
    pub(crate) fn current(&self) -> Option<Arc<T>> {
        self.published.load_full()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn lock(&self) -> Locked<'_, T, F, P> {
        // Nothing panics between the changes of one decision, so a poisoned state is a whole one.
        let state = self.state.get_or_init(|| Mutex::new(State::new()));
        Locked { life: self, state: state.lock().unwrap_or_else(PoisonError::into_inner) }
    }

    /// Ends serving, for good.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let mut locked = self.lock();
        locked.withdraw();
        locked.withdrawn = None;
    }
}

impl<T: Lent, F: Flight, P> Locked<'_, T, F, P> {
    pub(crate) fn current(&self) -> Option<Arc<T>> {
        self.life.current()
    }

    /// The largest generation that there has been.
    pub(crate) fn floor(&self) -> u64 {
        self.life.floor.load(Ordering::Relaxed)
    }

    /// The renewal under way, if it is alive.
    pub(crate) fn flight(&self) -> Option<&F> {
        self.flight.as_ref().filter(|flight| flight.alive())
    }

    /// The renewal under way, or a new one.
    pub(crate) fn fly<E>(&mut self, start: impl FnOnce() -> Result<F, E>) -> Result<F, E> {
        if let Some(flight) = self.flight() {
            return Ok(flight.clone());
        }
        let flight = start()?;
        self.flight = Some(flight.clone());
        Ok(flight)
    }

    /// A round of the renewal under way begins.
    pub(crate) fn begin(&mut self) -> Round {
        let round = self.round();
        self.rejected = false;
        self.forget = false;
        round
    }

    /// What a round that began now would start from.
    pub(crate) fn round(&self) -> Round {
        let generation = self.current().map_or(0, |current| current.generation());
        let floor = self.floor().max(generation);
        Round { epoch: self.epoch, floor, rejected: self.rejected, forget: self.forget }
    }

    /// Publishes, unless the source was invalidated, updated or closed since the round began; then later tokens only count.
    /// `false`: it is not published, and the slot of the renewal is still its own.
    pub(crate) fn publish(&mut self, token: &Arc<T>, epoch: u64) -> bool {
        self.life.floor.fetch_max(token.generation(), Ordering::Relaxed);
        if !self.fits(epoch) {
            return false;
        }
        self.pause = None;
        // In one step: whoever rejects this token from here on must not be sent to the flight that brought it.
        self.flight = None;
        self.withdrawn = None;
        self.life.published.store(Some(token.clone()));
        true
    }

    /// Whether what comes of a round would be published now.
    pub(crate) fn fits(&self, epoch: u64) -> bool {
        self.epoch == epoch && !self.life.is_closed()
    }

    /// Remembers a failure, unless something has happened since the round began that makes it outdated.
    pub(crate) fn remember(&mut self, pause: P, epoch: u64) -> bool {
        let fits = self.epoch == epoch && !self.forget;
        if fits {
            self.pause = Some(pause);
        }
        fits
    }

    /// The renewal under way ends without a token.
    pub(crate) fn fail(&mut self) {
        self.flight = None;
    }

    /// The current token was rejected, if it is the one that is meant: it is served no more, and no renewal that has begun
    /// publishes over that.
    pub(crate) fn invalidate(&mut self, meant: impl FnOnce(&T) -> bool) -> Option<Arc<T>> {
        let current = self.current().filter(|current| meant(current))?;
        self.withdraw();
        self.life.floor.fetch_max(current.generation(), Ordering::Relaxed);
        self.rejected = true;
        Some(current)
    }

    /// The profile is another: the token of the old one is not served any more.
    pub(crate) fn update(&mut self) {
        self.withdraw();
        self.pause = None;
        self.rejected = false;
        self.rejections = 0;
    }

    /// Somebody outside has made this token, or forgotten all: nothing that was remembered counts, and no renewal that has
    /// begun publishes over it. `false`: closed.
    pub(crate) fn replace(&mut self, token: Option<&Arc<T>>) -> bool {
        if self.life.is_closed() {
            return false;
        }
        self.withdraw();
        self.withdrawn = None;
        self.rejected = false;
        self.forget = false;
        self.rejections = 0;
        self.pause = None;
        if let Some(token) = token {
            self.life.floor.fetch_max(token.generation(), Ordering::Relaxed);
            self.life.published.store(Some(token.clone()));
        }
        true
    }

    /// Forgets failures and pauses, in the store too once the next renewal is there.
    pub(crate) fn reset(&mut self) {
        self.pause = None;
        self.rejections = 0;
        self.forget = true;
    }

    /// The round that was to do so ended before it could: the next renewal does.
    pub(crate) fn forget_next_time(&mut self) {
        self.forget = true;
    }

    /// What callers hold: what is published, or was until it was withdrawn.
    pub(crate) fn lent(&self) -> Option<Arc<T>> {
        self.current().or_else(|| self.withdrawn.clone())
    }

    fn withdraw(&mut self) {
        self.epoch += 1;
        if let Some(current) = self.current() {
            self.withdrawn = Some(current);
        }
        self.life.published.store(None);
    }
}

impl<T, F, P> State<T, F, P> {
    fn new() -> State<T, F, P> {
        State { flight: None, withdrawn: None, epoch: 0, rejected: false, forget: false, rejections: 0, pause: None }
    }
}

impl<T, F, P> Deref for Locked<'_, T, F, P> {
    type Target = State<T, F, P>;

    fn deref(&self) -> &State<T, F, P> {
        &self.state
    }
}

impl<T, F, P> DerefMut for Locked<'_, T, F, P> {
    fn deref_mut(&mut self) -> &mut State<T, F, P> {
        &mut self.state
    }
}
