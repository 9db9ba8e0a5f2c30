//! What happens to tokens, told to the host: to `tracing`, to functions that run on a queue of the host, and to a log that
//! the host empties. No event holds a secret or a token.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use crate::completion::{CompletionQueue, WeakQueue};
use crate::error::Error;
use crate::forkcell::ForkCell;

/// So many events wait for a host that takes none; then the oldest, or those that come, are dropped and counted.
const WAITING: usize = 1000;

macro_rules! event_kinds {
    ($( $(#[doc = $doc:literal])+ $variant:ident = $number:literal, $name:literal, $severity:ident; )+) => {
        /// What happened. Numbers are never reused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(i32)]
        #[non_exhaustive]
        pub enum EventKind { $( $(#[doc = $doc])+ $variant = $number, )+ }

        impl EventKind {
            /// Every kind, in the order of its numbers.
            pub const ALL: &'static [EventKind] = &[ $( EventKind::$variant, )+ ];

            /// The word used in every language, for instance `renewed`.
            pub const fn name(self) -> &'static str { match self { $( EventKind::$variant => $name, )+ } }

            /// How much it matters to somebody who reads a log.
            pub const fn severity(self) -> Severity { match self { $( EventKind::$variant => Severity::$severity, )+ } }
        }
    };
}

event_kinds! {
    /// A token came where there was none. Duration: of the renewal.
    Obtained = 1, "obtained", Debug;
    /// A token came in place of a valid one. Duration: of the renewal.
    Renewed = 2, "renewed", Debug;
    /// A sibling had put a newer token into the store. Duration: of the renewal, which sent nothing.
    Adopted = 3, "adopted", Debug;
    /// A renewal brought no token; the error says why. Duration: of the renewal.
    Failed = 4, "failed", Warning;
    /// A valid token is served though it cannot be renewed: told once, until a renewal succeeds. Duration: what it has left.
    ServedWhileFailing = 5, "served_while_failing", Warning;
    /// Another party keeps taking over this account's only session. Duration: for how long qauth steps back.
    Conflict = 6, "conflict", Warning;
    /// The API rejected a token. Duration: how old it was.
    Invalidated = 7, "invalidated", Info;
    /// The server's clock is far from ours. Duration: by how much.
    Skew = 8, "skew", Warning;
    /// A source that nobody used was let go of. Duration: for how long nobody did.
    Evicted = 9, "evicted", Debug;
    /// Other credentials of the profile are used from now on, since those before were refused. No duration.
    Switched = 10, "switched", Warning;
    /// The store cannot be used as it should: told once, by the profile that met it first, until it can. Tokens that are valid
    /// are served, new ones live in this process, or are not obtained where that would harm. No duration.
    StoreDegraded = 11, "store_degraded", Warning;
    /// The store can be used again. No duration.
    StoreRecovered = 12, "store_recovered", Info;
}

/// How much an event matters; the levels that every logging library has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i32)]
pub enum Severity {
    /// As it should be.
    Debug = 1,
    /// Worth a line.
    Info = 2,
    /// Somebody should look, soon if it stays.
    Warning = 3,
}

/// Something that happened to a source's token. Cheap to share; holds no secret and no token.
#[derive(Clone)]
pub struct Event {
    kind: EventKind,
    profile: String,
    provider: String,
    reason: &'static str,
    duration: Duration,
    error: Option<Error>,
    generation: Option<u64>,
    at: SystemTime,
    lost: u64,
}

impl Event {
    pub(crate) fn new(
        kind: EventKind,
        (profile, provider): (&str, &str),
        reason: &'static str,
        duration: Duration,
        at: Duration,
    ) -> Event {
        Event {
            kind,
            profile: profile.to_owned(),
            provider: provider.to_owned(),
            reason,
            duration,
            error: None,
            generation: None,
            at: SystemTime::UNIX_EPOCH + at,
            lost: 0,
        }
    }

    pub(crate) fn with_error(self, error: &Error) -> Event {
        Event { error: Some(error.clone()), ..self }
    }

    pub(crate) fn with_generation(self, generation: u64) -> Event {
        Event { generation: Some(generation), ..self }
    }

    /// What happened.
    pub fn kind(&self) -> EventKind {
        self.kind
    }

    /// The profile's name.
    pub fn profile(&self) -> &str {
        &self.profile
    }

    /// The provider's name.
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// Why: for what comes of a renewal, what set it off (`first_use`, `ahead`, `stale`, `expired`, `min_remaining`,
    /// `rejected`); for `served_while_failing` and `conflict` the error's code; for `skew`, `server_ahead` or `server_behind`; for
    /// `invalidated`, `rejected`; for `evicted`, `unused`; for `switched`, `refused`; for `store_degraded` the error's code; for `store_recovered`, `store`. A
    /// token that a sibling obtained and that was adopted without a renewal: `announced`.
    pub fn reason(&self) -> &str {
        self.reason
    }

    /// How long; [`EventKind`] says what.
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// What the renewal met.
    pub fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }

    /// Of the token that came or was rejected.
    pub fn generation(&self) -> Option<u64> {
        self.generation
    }

    /// When, by the engine's wall clock.
    pub fn at(&self) -> SystemTime {
        self.at
    }

    /// How many events before this one were dropped, since nobody took them in time.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// One line for people, without profile and provider.
    pub fn message(&self) -> String {
        let seconds = self.duration.as_secs_f64();
        let reason = self.reason;
        let error = self.error.as_ref().map(|error| error.message()).unwrap_or_default();
        match self.kind {
            EventKind::Obtained => format!("token obtained in {seconds:.3} s ({reason})"),
            EventKind::Renewed => format!("token renewed in {seconds:.3} s ({reason})"),
            EventKind::Adopted => format!("a sibling's token adopted ({reason})"),
            EventKind::Failed => format!("no token after {seconds:.3} s ({reason}): {error}"),
            EventKind::ServedWhileFailing => {
                format!("a token with {seconds:.0} s left is served while it cannot be renewed: {error}")
            }
            EventKind::Conflict => format!("stepping back for {seconds:.0} s: {error}"),
            EventKind::Invalidated => format!("token rejected by the API {seconds:.0} s after it was obtained"),
            EventKind::Skew => format!("the server's clock is {seconds:.0} s from ours ({reason}): check both clocks"),
            EventKind::Switched => "other credentials of the profile are used from now on".to_owned(),
            EventKind::StoreDegraded => format!("the store cannot be used as it should: {error}"),
            EventKind::StoreRecovered => "the store can be used again".to_owned(),
            EventKind::Evicted => format!("source let go of, unused for {seconds:.0} s"),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "profile {:?}: {}", self.profile, self.message())
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Event({}: {self})", self.kind.name())
    }
}

/// Events for a host that takes them when it pleases: nothing is called, woken or blocked. Usable on both sides of a fork,
/// where a child begins with an empty one.
pub struct EventLog {
    pending: AtomicBool,
    ring: ForkCell<Mutex<Ring>>,
}

#[derive(Default)]
struct Ring {
    events: VecDeque<Event>,
    lost: u64,
}

impl EventLog {
    /// An empty one.
    pub const fn new() -> EventLog {
        EventLog { pending: AtomicBool::new(false), ring: ForkCell::new() }
    }

    /// Whether there is something to take: one look at memory.
    #[inline(always)]
    pub fn pending(&self) -> bool {
        self.pending.load(Ordering::Relaxed)
    }

    /// Takes what has come, oldest first. The last 1,000 events are kept.
    pub fn take(&self) -> Vec<Event> {
        self.pending.store(false, Ordering::Relaxed);
        let Some(ring) = self.ring.get() else { return Vec::new() };
        let mut ring = lock(ring);
        let lost = std::mem::take(&mut ring.lost);
        let mut events: Vec<Event> = ring.events.drain(..).collect();
        if let Some(first) = events.first_mut() {
            first.lost = lost;
        }
        events
    }

    fn add(&self, event: &Event) {
        let mut ring = lock(self.ring.get_or_init(Mutex::default));
        if ring.events.len() >= WAITING {
            ring.events.pop_front();
            ring.lost += 1;
        }
        ring.events.push_back(event.clone());
        drop(ring);
        self.pending.store(true, Ordering::Relaxed);
    }
}

impl Default for EventLog {
    fn default() -> EventLog {
        EventLog::new()
    }
}

impl fmt::Debug for EventLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventLog(pending: {})", self.pending())
    }
}

/// A function that hears of events. Dropping this changes nothing; it ends by [`Subscription::end`] or with its queue.
#[derive(Clone)]
pub struct Subscription(Arc<Listener>);

struct Listener {
    /// The jobs in it hold this.
    queue: WeakQueue,
    /// `None` once it has ended.
    handler: ForkCell<Mutex<Option<Handler>>>,
    waiting: AtomicUsize,
    lost: AtomicU64,
}

type Handler = Arc<dyn Fn(&Event) + Send + Sync>;

impl Subscription {
    /// Ends it: the function is not called any more, but for a call that runs at this moment, and it is let go of as soon as
    /// none does.
    pub fn end(&self) {
        let handler = self.0.handler.get().and_then(|handler| lock(handler).take());
        // Here, with no lock held: what the function holds may use the engine at its end.
        drop(handler);
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subscription(ended: {})", self.0.ended())
    }
}

impl Listener {
    fn handler(&self) -> Option<Handler> {
        self.handler.get().and_then(|handler| lock(handler).clone())
    }

    /// By itself or with its queue. The function is not taken on loan for this: whoever ends it meanwhile is the one who lets
    /// go of it.
    fn ended(&self) -> bool {
        self.handler.get().is_none_or(|handler| lock(handler).is_none()) || self.queue.is_gone()
    }
}

/// Who hears of an engine's events. Functions belong to the process that gave them.
#[derive(Default)]
pub(crate) struct Events {
    listeners: ForkCell<Mutex<Vec<Arc<Listener>>>>,
    log: OnceLock<&'static EventLog>,
}

impl Events {
    /// The first one that is given counts.
    pub(crate) fn log_to(&self, log: &'static EventLog) {
        let _ = self.log.set(log);
    }

    pub(crate) fn subscribe(
        &self,
        queue: &CompletionQueue,
        handler: impl Fn(&Event) + Send + Sync + 'static,
    ) -> Subscription {
        let listener = Arc::new(Listener {
            queue: queue.downgrade(),
            handler: ForkCell::new(),
            waiting: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
        });
        listener.handler.get_or_init(|| Mutex::new(Some(Arc::new(handler))));
        let listeners = self.listeners.get_or_init(Mutex::default);
        forget_ended(listeners);
        lock(listeners).push(listener.clone());
        Subscription(listener)
    }

    /// Tells everybody. With no lock held while anybody hears of it (fault 59).
    pub(crate) fn tell(&self, event: Event) {
        trace(&event);
        if let Some(log) = self.log.get() {
            log.add(&event);
        }
        let Some(listeners) = self.listeners.get() else { return };
        let known = lock(listeners).clone();
        let mut ended = false;
        for listener in known {
            let Some(queue) = listener.queue.upgrade().filter(|_| !listener.ended()) else {
                ended = true;
                continue;
            };
            if listener.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING {
                listener.waiting.fetch_sub(1, Ordering::Relaxed);
                listener.lost.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let event = Event { lost: listener.lost.swap(0, Ordering::Relaxed), ..event.clone() };
            queue.push(move || {
                listener.waiting.fetch_sub(1, Ordering::Relaxed);
                if let Some(handler) = listener.handler() {
                    handler(&event);
                }
            });
        }
        if ended {
            forget_ended(listeners);
        }
    }
}

/// Lets go of them with no lock held: what a function holds may use the engine at its end.
fn forget_ended(listeners: &Mutex<Vec<Arc<Listener>>>) {
    let mut known = lock(listeners);
    let (ended, others) = std::mem::take(&mut *known).into_iter().partition(|listener| listener.ended());
    *known = others;
    drop(known);
    drop::<Vec<_>>(ended);
}

fn trace(event: &Event) {
    macro_rules! at {
        ($level:ident) => {
            tracing::event!(
                target: "qauth",
                tracing::Level::$level,
                event = event.kind.name(),
                profile = event.profile,
                provider = event.provider,
                reason = event.reason,
                seconds = event.duration.as_secs_f64(),
                code = event.error.as_ref().map(|error| error.code().name()),
                generation = event.generation,
                "{}",
                event.message()
            )
        };
    }
    match event.kind.severity() {
        Severity::Debug => at!(DEBUG),
        Severity::Info => at!(INFO),
        Severity::Warning => at!(WARN),
    }
}

/// Single values that are always whole: a panic elsewhere does not spoil them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(generation: u64) -> Event {
        let event = Event::new(EventKind::Renewed, ("p", "v"), "ahead", Duration::from_millis(1500), Duration::ZERO);
        event.with_generation(generation)
    }

    #[test]
    fn numbers_and_names_are_unique_and_fixed() {
        for (index, kind) in EventKind::ALL.iter().enumerate() {
            assert_eq!(*kind as i32, index as i32 + 1);
            assert_eq!(EventKind::ALL.iter().filter(|other| other.name() == kind.name()).count(), 1);
        }
    }

    #[test]
    fn a_log_that_nobody_empties_keeps_the_last_thousand_and_says_how_many_are_gone() {
        static LOG: EventLog = EventLog::new();
        let events = Events::default();
        events.log_to(&LOG);
        assert!(!LOG.pending() && LOG.take().is_empty());
        (0..WAITING as u64 + 3).for_each(|generation| events.tell(event(generation)));
        assert!(LOG.pending());
        let taken = LOG.take();
        assert_eq!((taken.len(), taken[0].lost(), taken[0].generation()), (WAITING, 3, Some(3)));
        assert!(!LOG.pending() && LOG.take().is_empty());
    }

    #[test]
    fn a_queue_that_nobody_runs_holds_a_thousand_and_then_says_how_many_were_lost() {
        let events = Events::default();
        let queue = CompletionQueue::new().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let heard = seen.clone();
        let subscription =
            events.subscribe(&queue, move |event| lock(&heard).push((event.generation().unwrap(), event.lost())));
        (0..WAITING as u64 + 2).for_each(|generation| events.tell(event(generation)));
        assert_eq!(queue.run(Duration::ZERO), WAITING);
        events.tell(event(5000));
        queue.run(Duration::ZERO);
        assert_eq!(lock(&seen).last(), Some(&(5000, 2)));
        // Ended: neither what waits nor what comes is told.
        events.tell(event(5001));
        subscription.end();
        events.tell(event(5002));
        queue.run(Duration::ZERO);
        assert_eq!(lock(&seen).len(), WAITING + 1);
    }

    #[test]
    fn a_listener_may_tell_and_subscribe() {
        // fault 59
        let events = Arc::new(Events::default());
        let queue = CompletionQueue::new().unwrap();
        let (again, inner) = (events.clone(), queue.clone());
        let told = AtomicBool::new(false);
        events.subscribe(&queue, move |_| {
            if !told.swap(true, Ordering::Relaxed) {
                again.subscribe(&inner, |_| {});
                again.tell(event(2));
            }
        });
        events.tell(event(1));
        assert_eq!(queue.run(Duration::ZERO), 1);
        assert_eq!(queue.run(Duration::ZERO), 2);
    }

    #[test]
    fn a_function_is_let_go_of_when_it_ends_or_its_queue_does() {
        let events = Events::default();
        let (queue, held) = (CompletionQueue::new().unwrap(), Arc::new(()));
        let hear = |queue: &CompletionQueue| {
            let held = held.clone();
            events.subscribe(queue, move |_| assert_eq!(Arc::strong_count(&held), 0, "it has ended"))
        };
        let ended = hear(&queue);
        events.tell(event(1));
        ended.end();
        assert_eq!(Arc::strong_count(&held), 1);
        assert_eq!(queue.run(Duration::ZERO), 1);
        // What waits in a queue does not keep it.
        drop(hear(&queue));
        events.tell(event(2));
        drop(queue);
        events.tell(event(3));
        assert_eq!(Arc::strong_count(&held), 1);
        assert!(lock(events.listeners.get().unwrap()).is_empty());
    }

    #[test]
    fn functions_that_have_ended_do_not_pile_up() {
        let events = Events::default();
        let queue = CompletionQueue::new().unwrap();
        let known = || lock(events.listeners.get().unwrap()).len();
        // Without any event on the way.
        (0..100).for_each(|_| events.subscribe(&queue, |_| {}).end());
        assert_eq!(known(), 1);
        let others = [(); 100].map(|()| events.subscribe(&queue, |_| {}));
        assert_eq!(known(), 100);
        others[1..].iter().for_each(Subscription::end);
        events.tell(event(1));
        assert_eq!((known(), queue.run(Duration::ZERO)), (1, 1));
    }

    #[test]
    fn a_function_may_end_itself() {
        // fault 59
        let events = Events::default();
        let queue = CompletionQueue::new().unwrap();
        let (own, calls) = (Arc::new(OnceLock::<Subscription>::new()), Arc::new(AtomicUsize::new(0)));
        let (inner, counted) = (own.clone(), calls.clone());
        let subscription = events.subscribe(&queue, move |_| {
            inner.get().unwrap().end();
            counted.fetch_add(1, Ordering::Relaxed);
        });
        own.set(subscription).unwrap();
        events.tell(event(1));
        events.tell(event(2));
        assert_eq!((queue.run(Duration::ZERO), calls.load(Ordering::Relaxed)), (2, 1));
        assert_eq!(Arc::strong_count(&own), 1);
    }

    #[test]
    fn the_text_says_what_and_how_long() {
        assert_eq!(event(1).to_string(), "profile \"p\": token renewed in 1.500 s (ahead)");
    }
}
