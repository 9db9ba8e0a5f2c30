//! Nodes of a fleet, many in one process: each an engine with connections of its own, and three accounts that it asks for
//! tokens all the time.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;
use std::sync::mpsc::TryRecvError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use qauth_core::{CompletionQueue, Engine, Error, EventKind, EventLog, Result, Token, TokenOptions, TokenSource};
use serde_json::{Value, json};

use super::ACCOUNTS;
use crate::worker::say;

/// How often each account of each node is asked for.
const EVERY: Duration = Duration::from_millis(40);

static EVENTS: EventLog = EventLog::new();

/// Commands: `go` (begin to ask), `mark` (count from here), `report`, `moments` (when tokens were published and adopted).
pub(crate) fn main(nodes: &str, config: &str) {
    let made = (0..nodes.parse().unwrap_or(0)).map(|_| Node::new(config)).collect::<Result<Vec<Node>>>();
    let queue = CompletionQueue::new();
    let (mut nodes, queue) = match made.and_then(|nodes| Ok((nodes, queue?))) {
        Ok(made) => made,
        Err(error) => return say(json!({"event": "ready", "error": error.to_string()})),
    };
    let (to, commands) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(std::result::Result::ok) {
            let _ = to.send(line);
        }
    });
    say(json!({"event": "ready"}));
    let (mut asks, mut next, mut moments) = (false, Instant::now(), Vec::new());
    loop {
        match commands.try_recv().as_deref() {
            Ok("go") => asks = true,
            Ok("mark") => nodes.iter_mut().for_each(Node::mark),
            Ok("report") => say(report(&nodes)),
            Ok("moments") => say(json!({"event": "moments", "moments": std::mem::take(&mut moments)})),
            Ok(_) | Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return,
        }
        if !asks {
            next = Instant::now() + EVERY;
        } else if next <= Instant::now() {
            next = Instant::now() + EVERY;
            nodes.iter().flat_map(|node| &node.seats).for_each(|seat| Seat::ask(seat, &queue));
        }
        queue.run(next.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)));
        for event in EVENTS.take() {
            if matches!(event.kind(), EventKind::Obtained | EventKind::Renewed | EventKind::Adopted) {
                let at = event.at().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
                moments.push(json!([event.kind().name(), event.profile(), event.generation(), at]));
            }
        }
    }
}

struct Node {
    engine: Engine,
    /// One for each account.
    seats: Vec<Arc<Mutex<Seat>>>,
}

impl Node {
    fn new(config: &str) -> Result<Node> {
        let engine = Engine::from_json(config)?;
        engine.log_to(&EVENTS);
        let seats = ACCOUNTS.iter().map(|(name, _)| engine.source(name).map(Seat::new)).collect::<Result<_>>()?;
        Ok(Node { engine, seats })
    }

    /// Requests that were sent for this account's token.
    fn requests(&self, name: &str) -> u64 {
        let metrics = self.engine.metrics();
        metrics.profiles.iter().find(|profile| profile.profile == name).map_or(0, |profile| profile.requests.into())
    }

    fn mark(&mut self) {
        for (seat, (name, _)) in self.seats.iter().zip(ACCOUNTS) {
            let requests = self.requests(name);
            lock(seat).tally = Tally { requests_before: requests, ..Tally::default() };
        }
    }
}

/// One account of one node.
struct Seat {
    source: TokenSource,
    asking: bool,
    last: Option<Token>,
    tally: Tally,
}

/// What has happened since the last mark.
#[derive(Default)]
struct Tally {
    asked: u64,
    errors: BTreeMap<&'static str, u64>,
    said: String,
    generations: BTreeSet<u64>,
    /// Tokens that were older than the one before.
    back: Vec<(u64, u64)>,
    /// Errors while the token that it had was still valid.
    early: u64,
    requests_before: u64,
}

impl Seat {
    fn new(source: TokenSource) -> Arc<Mutex<Seat>> {
        Arc::new(Mutex::new(Seat { source, asking: false, last: None, tally: Tally::default() }))
    }

    /// Never blocks: whoever waits for a renewal does so in the queue.
    fn ask(seat: &Arc<Mutex<Seat>>, queue: &CompletionQueue) {
        let mut this = lock(seat);
        if this.asking {
            return;
        }
        if let Some(token) = this.source.cached() {
            return this.take(Ok(token));
        }
        this.asking = true;
        let waiting = seat.clone();
        let asked = this.source.token_queued(TokenOptions::default(), queue, move |result| {
            let mut seat = lock(&waiting);
            seat.asking = false;
            seat.take(result);
        });
        if let Err(error) = asked {
            this.take(Err(error));
        }
    }

    fn take(&mut self, result: Result<Token>) {
        self.tally.asked += 1;
        match result {
            Ok(token) => {
                let before = self.last.as_ref().map_or(0, Token::generation);
                if token.generation() < before {
                    self.tally.back.push((before, token.generation()));
                }
                self.tally.generations.insert(token.generation());
                self.last = Some(token);
            }
            Err(error) => self.complain(&error),
        }
    }

    fn complain(&mut self, error: &Error) {
        *self.tally.errors.entry(error.code().name()).or_default() += 1;
        self.tally.said = error.to_string();
        // It was made a while ago, when that token had even more left.
        let left = self.last.as_ref().and_then(Token::expires_in).unwrap_or_default();
        self.tally.early += u64::from(!left.is_zero());
    }
}

fn lock(seat: &Mutex<Seat>) -> MutexGuard<'_, Seat> {
    seat.lock().unwrap_or_else(PoisonError::into_inner)
}

fn report(nodes: &[Node]) -> Value {
    let mut report = json!({"event": "report"});
    for (index, (name, _)) in ACCOUNTS.iter().enumerate() {
        let seats: Vec<MutexGuard<'_, Seat>> = nodes.iter().map(|node| lock(&node.seats[index])).collect();
        let last = |seat: &MutexGuard<'_, Seat>| seat.last.as_ref().map_or(0, Token::generation);
        let mut errors: BTreeMap<&str, u64> = BTreeMap::new();
        for (code, count) in seats.iter().flat_map(|seat| &seat.tally.errors) {
            *errors.entry(code).or_default() += count;
        }
        let requests = nodes.iter().zip(&seats).map(|(node, seat)| node.requests(name) - seat.tally.requests_before);
        let requests: Vec<u64> = requests.collect();
        report[name] = json!({
            "asked": seats.iter().map(|seat| seat.tally.asked).sum::<u64>(),
            "without": seats.iter().filter(|seat| seat.last.is_none()).count(),
            "failing": seats.iter().filter(|seat| !seat.tally.errors.is_empty()).count(),
            "errors": errors,
            "said": seats.iter().map(|seat| &seat.tally.said).find(|said| !said.is_empty()),
            "back": seats.iter().flat_map(|seat| &seat.tally.back).collect::<Vec<_>>(),
            "early": seats.iter().map(|seat| seat.tally.early).sum::<u64>(),
            "generations": seats.iter().flat_map(|seat| &seat.tally.generations).collect::<BTreeSet<_>>(),
            "last": seats.iter().map(last).collect::<BTreeSet<_>>(),
            "requests": requests.iter().sum::<u64>(),
            "most_requests": requests.iter().max(),
        });
    }
    report
}
