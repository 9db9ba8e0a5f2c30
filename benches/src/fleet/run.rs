//! One run: nodes that start and die, and the callers on them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use qauth_core::fleet::{Fleet, Time};
use qauth_core::{Error, TokenOptions, TokenSource};
use serde_json::{Map, Value, json};

use crate::world::{Kind, Random, State, Vendor, World, token};

/// How long a caller waits.
const LIMIT: Duration = Duration::from_secs(30);

pub(crate) struct Plan {
    pub(crate) nodes: usize,
    pub(crate) profiles: usize,
    pub(crate) seconds: usize,
    /// Within so many seconds all nodes start.
    pub(crate) start: usize,
    /// How long Redis is away, and the token servers.
    pub(crate) redis_outage: usize,
    pub(crate) vendor_outage: usize,
    /// Over how long a node looks at its profiles after Redis was away.
    pub(crate) spread: usize,
    pub(crate) deaths: usize,
    pub(crate) seed: u64,
}

impl Plan {
    pub(crate) fn redis_away(&self) -> std::ops::Range<Duration> {
        let from = self.seconds * 2 / 5;
        secs(from)..secs(from + self.redis_outage)
    }

    pub(crate) fn vendors_away(&self) -> std::ops::Range<Duration> {
        let from = self.seconds * 7 / 10;
        secs(from)..secs(from + self.vendor_outage)
    }
}

fn secs(seconds: usize) -> Duration {
    Duration::from_secs(seconds as u64)
}

/// What callers met.
#[derive(Clone, Debug, Default)]
pub(crate) struct Met {
    pub(crate) calls: u64,
    /// Those that the cache did not serve at once, in microseconds of waiting, by the cause: the profile's first use on this node or not.
    pub(crate) waits: [Vec<u32>; 2],
    pub(crate) errors_redis_away: u64,
    pub(crate) errors_vendors_away: u64,
    pub(crate) errors_else: u64,
    pub(crate) first_error_else: Option<String>,
    /// A session's token that another login had ended.
    pub(crate) dead_tokens: u64,
}

pub(crate) struct Report {
    pub(crate) met: Met,
    pub(crate) state: State,
}

/// Of ten profiles, one lives for 5 minutes, two for 15, five for an hour, two for half a day. Every twentieth rotates, every
/// twentieth has a single session.
pub(crate) fn vendor(number: usize) -> Vendor {
    let lifetime = [300, 900, 900, 3600, 3600, 3600, 3600, 3600, 43_200, 43_200][number % 10];
    let kind = match (number % 10, number / 10 % 2) {
        (2, 0) => Kind::Rotating,
        (5, 0) => Kind::SingleSession,
        _ => Kind::ClientCredentials,
    };
    Vendor { kind, lifetime, logins: 0, refreshes: 0, spent_twice: 0 }
}

/// How often a node uses a profile, in seconds on the average.
pub(crate) fn used_every(number: usize) -> f64 {
    [120.0, 900.0, 3600.0][(number + number / 10) % 3]
}

fn configuration(plan: &Plan) -> Value {
    let login = json!({"path": "/login", "json": {"username": "{username}"}});
    let provider = |lifetime: Value, grants: Value| {
        json!({
            "environments": {"production": {"base_url": "https://vendor.invalid"}},
            "credentials": {"username": {}},
            "grants": grants,
            "lifetime": lifetime,
        })
    };
    let refresh = json!({"path": "/login", "json": {"refresh_token": "{refresh_token}"}});
    let profiles: Map<String, Value> = (0..plan.profiles)
        .map(|number| {
            let profile = match vendor(number).kind {
                Kind::ClientCredentials => json!({
                    "provider": "oauth2",
                    "token_endpoint": format!("https://vendor.invalid/t/{number}"),
                    "client_id": format!("client-{number}"),
                    "client_secret": "fleet-secret",
                }),
                Kind::Rotating => json!({"provider": "rotating", "username": number.to_string()}),
                Kind::SingleSession => json!({"provider": "session", "username": number.to_string()}),
            };
            (format!("p{number}"), profile)
        })
        .collect();
    json!({
        "testing": {"clock": "manual", "seed": plan.seed as u32},
        "providers": {
            "rotating": provider(json!({"rotates": true}), json!({"login": login, "refresh_token": refresh})),
            "session": provider(json!({"single_session": true}), json!({"login": login})),
        },
        "profiles": profiles,
    })
}

/// Which source is used in which second: a wheel of seconds.
struct Wheel {
    slots: Vec<Vec<u32>>,
    random: Random,
}

impl Wheel {
    fn add(&mut self, now: usize, index: usize, number: usize, first: bool) {
        // Uniform, from now to twice the average; a fresh node wants most of its profiles soon.
        let within = used_every(number) * if first { 1.0 } else { 2.0 };
        let after = 1 + (self.random.unit() * within) as usize;
        let length = self.slots.len();
        self.slots[(now + after) % length].push(index as u32);
    }
}

pub(crate) fn simulate(plan: &Plan) -> Result<Report, Error> {
    let vendors = (0..plan.profiles).map(vendor).collect();
    let deaths = (1..=plan.deaths).map(|number| secs(plan.seconds * number / (plan.deaths + 1))).collect();
    let away = (plan.redis_away(), plan.vendors_away());
    let world = Arc::new(World::new(vendors, plan.seconds, away, secs(plan.spread), deaths, plan.seed));
    let fleet = Fleet::new(configuration(plan), world.clone())?;
    let time = fleet.time();
    let met = Arc::new(Mutex::new(Met::default()));
    let names: Vec<String> = (0..plan.profiles).map(|number| format!("p{number}")).collect();
    let mut sources: Vec<Option<TokenSource>> = vec![None; plan.nodes * plan.profiles];
    let mut used = vec![false; sources.len()];
    let mut wheel = Wheel { slots: vec![Vec::new(); 7202], random: Random(plan.seed) };
    let (mut started, mut buried) = (0, 0);
    let mut failed = None;
    fleet.run(plan.seconds as u64, |second| {
        let second = second as usize;
        while started < plan.nodes && started * plan.start <= second * plan.nodes {
            let made = fleet.node(started).and_then(|engine| {
                for (number, name) in names.iter().enumerate() {
                    let index = started * plan.profiles + number;
                    sources[index] = Some(engine.source(name)?);
                    wheel.add(second, index, number, true);
                }
                Ok(())
            });
            failed = failed.take().or(made.err());
            started += 1;
        }
        if secs(second) == plan.redis_away().end && plan.redis_outage > 0 {
            fleet.redis_returns();
        }
        let length = wheel.slots.len();
        let slot = std::mem::take(&mut wheel.slots[second % length]);
        let mut counted = met.lock().unwrap();
        let current: Vec<String> = {
            let state = world.state.lock().unwrap();
            if state.dead.len() > buried {
                buried = state.dead.len();
                let gone = state.dead.iter().flat_map(|node| node * plan.profiles..(node + 1) * plan.profiles);
                gone.for_each(|index| sources[index] = None);
            }
            let vendors = state.vendors.iter().enumerate();
            vendors.map(|(number, vendor)| token(number, vendor.logins + vendor.refreshes)).collect()
        };
        for index in slot.into_iter().map(|index| index as usize) {
            let Some(source) = &sources[index] else { continue };
            let number = index % plan.profiles;
            wheel.add(second, index, number, false);
            counted.calls += 1;
            let single = vendor(number).kind == Kind::SingleSession;
            match source.with_cached(|token| single && token.access_token() != current[number]) {
                Some(dead) => counted.dead_tokens += u64::from(dead),
                None => {
                    let first = !std::mem::replace(&mut used[index], true);
                    let (source, world, met) = (source.clone(), world.clone(), met.clone());
                    let after = Duration::from_secs_f64(wheel.random.unit());
                    fleet.spawn(ask(time.clone(), after, source, world, met, first));
                }
            }
        }
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    let (met, state) = (met.lock().unwrap().clone(), world.state.lock().unwrap().clone());
    Ok(Report { met, state })
}

/// A caller whom the cache did not serve.
async fn ask(time: Time, after: Duration, source: TokenSource, world: Arc<World>, met: Arc<Mutex<Met>>, first: bool) {
    time.sleep(after).await;
    let begun = time.elapsed();
    // The engine's own limit for callers is in real time.
    let answer = time.within(LIMIT, source.token(TokenOptions::default())).await;
    let now = time.elapsed();
    let mut met = met.lock().unwrap();
    met.waits[usize::from(!first)].push((now - begun).as_micros() as u32);
    let error = match answer {
        None => Some("no answer within the caller's limit".to_owned()),
        Some(answer) => answer.err().map(|error| error.to_string()),
    };
    if let Some(error) = error {
        let during = |away: &std::ops::Range<Duration>| away.contains(&begun) || away.contains(&now);
        if during(&world.redis_away) {
            met.errors_redis_away += 1;
        } else if during(&world.vendors_away) {
            met.errors_vendors_away += 1;
        } else {
            met.errors_else += 1;
            met.first_error_else.get_or_insert_with(|| format!("at {now:?}, begun {begun:?}: {error}"));
        }
    }
}
