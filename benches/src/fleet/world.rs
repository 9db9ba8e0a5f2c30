//! What the fleet talks to: the token server, and the Redis with its costs. Both count by virtual seconds.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Mutex;
use std::time::Duration;

use qauth_core::fleet::{Fate, Operation};

/// To Redis and back, within one site.
const ROUND_TRIP: Duration = Duration::from_millis(1);
/// After so long an answer of Redis is waited for no more.
const TIMEOUT: Duration = Duration::from_secs(1);
/// What one thread of Redis needs for a script with a record of 1 kB, for another one, and for one message to one client.
const SCRIPT_WITH_RECORD: Duration = Duration::from_micros(20);
const SCRIPT: Duration = Duration::from_micros(10);
const MESSAGE: Duration = Duration::from_micros(2);
/// What the token server takes.
const LOGIN: Duration = Duration::from_millis(200);
/// Who has lost Redis looks for it so often.
const SUBSCRIBE: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    ClientCredentials,
    /// Logs in once, then each refresh token is good for one use.
    Rotating,
    /// A login ends the session before.
    SingleSession,
}

/// One profile's server.
#[derive(Clone, Debug)]
pub(crate) struct Vendor {
    pub(crate) kind: Kind,
    pub(crate) lifetime: u64,
    pub(crate) logins: u32,
    pub(crate) refreshes: u32,
    /// Refresh tokens that were sent a second time.
    pub(crate) spent_twice: u32,
}

/// Of each second of the run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Second {
    /// Logins and refreshes; and those that met a server that was away.
    pub(crate) logins: u32,
    pub(crate) refused: u32,
    pub(crate) loads: u32,
    pub(crate) swaps: u32,
    pub(crate) leases: u32,
    pub(crate) releases: u32,
    pub(crate) subscribes: u32,
    /// Operations that met a Redis that was away, or too slow.
    pub(crate) unreachable: u32,
    pub(crate) announcements: u32,
    /// One for each announcement and listener.
    pub(crate) messages: u64,
}

impl Second {
    pub(crate) fn operations(&self) -> u32 {
        self.loads + self.swaps + self.leases + self.releases + self.subscribes
    }
}

#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) vendors: Vec<Vendor>,
    pub(crate) seconds: Vec<Second>,
    /// Nodes that died as they were about to write what they had obtained.
    pub(crate) dead: HashSet<usize>,
    deaths: Vec<Duration>,
    busy_until: Duration,
    pub(crate) busy: Duration,
    pub(crate) longest_queue: Duration,
    random: Random,
}

pub(crate) struct World {
    pub(crate) redis_away: Range<Duration>,
    pub(crate) vendors_away: Range<Duration>,
    pub(crate) spread: Duration,
    pub(crate) state: Mutex<State>,
}

impl World {
    pub(crate) fn new(
        vendors: Vec<Vendor>,
        seconds: usize,
        (redis_away, vendors_away): (Range<Duration>, Range<Duration>),
        spread: Duration,
        mut deaths: Vec<Duration>,
        seed: u64,
    ) -> World {
        deaths.reverse();
        let state = State {
            vendors,
            seconds: vec![Second::default(); seconds + 1],
            dead: HashSet::new(),
            deaths,
            busy_until: Duration::ZERO,
            busy: Duration::ZERO,
            longest_queue: Duration::ZERO,
            random: Random(seed),
        };
        World { redis_away, vendors_away, spread, state: Mutex::new(state) }
    }
}

impl State {
    fn at(&mut self, now: Duration) -> &mut Second {
        let last = self.seconds.len() - 1;
        &mut self.seconds[last.min(now.as_secs() as usize)]
    }

    /// One thread does everything, one after the other.
    fn served(&mut self, now: Duration, cost: Duration) -> Duration {
        self.busy_until = self.busy_until.max(now) + cost;
        self.busy += cost;
        let queued = self.busy_until - now;
        self.longest_queue = self.longest_queue.max(queued);
        ROUND_TRIP + queued
    }
}

impl qauth_core::fleet::World for World {
    fn redis(&self, now: Duration, node: usize, operation: Operation) -> Fate {
        let mut state = self.state.lock().unwrap();
        if operation == Operation::Swap && state.deaths.last().is_some_and(|at| *at <= now) {
            state.deaths.pop();
            state.dead.insert(node);
        }
        if state.dead.contains(&node) {
            return Fate::Never;
        }
        if self.redis_away.contains(&now) && operation != Operation::Subscribe {
            state.at(now).unreachable += 1;
            return Fate::Unreachable(ROUND_TRIP);
        }
        let second = state.at(now);
        let cost = match operation {
            Operation::Load => {
                second.loads += 1;
                SCRIPT_WITH_RECORD
            }
            Operation::Swap => {
                second.swaps += 1;
                SCRIPT_WITH_RECORD
            }
            Operation::Lease => {
                second.leases += 1;
                SCRIPT
            }
            Operation::Release => {
                second.releases += 1;
                SCRIPT
            }
            Operation::Announce(listeners) => {
                second.announcements += 1;
                second.messages += listeners as u64;
                MESSAGE * listeners as u32
            }
            Operation::Subscribe => {
                second.subscribes += 1;
                SCRIPT
            }
        };
        let took = state.served(now, cost);
        match operation {
            Operation::Announce(_) => Fate::Done(took),
            Operation::Subscribe => Fate::Done(took + SUBSCRIBE.mul_f64(0.5 + state.random.unit() / 2.0)),
            _ if took > TIMEOUT => {
                state.at(now).unreachable += 1;
                Fate::Unreachable(TIMEOUT)
            }
            _ => Fate::Done(took),
        }
    }

    fn spread(&self) -> Duration {
        self.spread
    }

    fn answer(&self, now: Duration, path: &str, body: &[u8]) -> (Duration, Option<(u16, String)>) {
        let mut state = self.state.lock().unwrap();
        let pause = LOGIN.mul_f64(0.5 + state.random.unit());
        if self.vendors_away.contains(&now) {
            state.at(now).refused += 1;
            return (ROUND_TRIP, None);
        }
        state.at(now).logins += 1;
        let body = String::from_utf8_lossy(body);
        let (number, refresh) = asked(path, &body);
        let vendor = &mut state.vendors[number];
        match refresh {
            Some(refresh) if refresh != vendor.logins + vendor.refreshes => {
                vendor.spent_twice += 1;
                return (pause, Some((400, r#"{"error":"invalid_grant"}"#.to_owned())));
            }
            Some(_) => vendor.refreshes += 1,
            None => vendor.logins += 1,
        }
        let count = vendor.logins + vendor.refreshes;
        let mut answer = serde_json::json!({"access_token": token(number, count), "token_type": "Bearer", "expires_in": vendor.lifetime});
        if vendor.kind == Kind::Rotating {
            answer["refresh_token"] = format!("{number}-{count}").into();
        }
        (pause, Some((200, answer.to_string())))
    }
}

/// The token that this profile's server gave for its so many-th answer.
pub(crate) fn token(number: usize, count: u32) -> String {
    format!("access-{number}-{count}-{}", "x".repeat(40))
}

/// `/t/PROFILE`, or `/login` with a name or a refresh token in the body: the profile, and which refresh token.
fn asked(path: &str, body: &str) -> (usize, Option<u32>) {
    if let Some(number) = path.strip_prefix("/t/") {
        return (number.parse().expect("the configuration numbers the profiles"), None);
    }
    let body: serde_json::Value = serde_json::from_str(body).expect("the provider sends JSON");
    match body["refresh_token"].as_str().and_then(|token| token.split_once('-')) {
        Some((number, count)) => (number.parse().expect("a number"), Some(count.parse().expect("a number"))),
        None => (body["username"].as_str().and_then(|name| name.parse().ok()).expect("a number"), None),
    }
}

/// splitmix64.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}
