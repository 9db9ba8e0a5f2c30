//! What the store costs, and how soon a renewed token is everybody's.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use qauth_core::{Engine, TokenOptions, TokenSource};
use serde_json::{Value, json};

use super::{Fleet, LIFETIME, at, plain_redis};
use crate::Found;
use crate::host::Host;
use crate::kinds::Kind;
use crate::process::{Bench, folder, private};

/// Longer than two of the pauses after which a connection that is silent is asked whether it still is one.
const IDLE: Duration = Duration::from_secs(70);

/// From the moment when one process has published a token to the moment when another has taken it up.
pub(crate) fn adoption(bench: &Bench) -> Found {
    let lifetimes = if bench.long { 25 } else { 3 };
    let server = plain_redis()?;
    let mut fleet = Fleet::of(bench, &vec![at(server.port); 4], 1, Some(LIFETIME))?;
    fleet.go()?;
    for times in 0..=lifetimes {
        fleet.until_renewed(times)?;
    }
    let moments = fleet.moments()?;
    let of = |kinds: &[&str], process: &Value| -> Vec<((String, u64), u64)> {
        let wanted = process.as_array().into_iter().flatten();
        let wanted = wanted.filter(|moment| kinds.iter().any(|kind| moment[0] == *kind));
        let read = |moment: &Value| Some(((moment[1].as_str()?.to_owned(), moment[2].as_u64()?), moment[3].as_u64()?));
        wanted.filter_map(read).collect()
    };
    let published: BTreeMap<_, _> = moments.iter().flat_map(|process| of(&["obtained", "renewed"], process)).collect();
    let mut delays: Vec<Duration> = Vec::new();
    for (token, adopted) in moments.iter().flat_map(|process| of(&["adopted"], process)) {
        // What must not be lost is written before it is published, so that a sibling may be first.
        delays.extend(published.get(&token).map(|since| Duration::from_nanos(adopted.saturating_sub(*since))));
    }
    delays.sort_unstable();
    if delays.len() < 2 * lifetimes {
        return Err(format!("{} adoptions only", delays.len()));
    }
    let at = |part: usize| delays[(delays.len() - 1) * part / 100];
    Ok(format!(
        "{} adoptions in other processes: p50 {:.2?}, p99 {:.2?}, max {:.2?}",
        delays.len(),
        at(50),
        at(99),
        at(100)
    ))
}

/// What one process asks its server, alone and idle.
pub(crate) fn costs(bench: &Bench) -> Found {
    let server = plain_redis()?;
    let mut fleet = Fleet::of(bench, &[at(server.port)], 1, Some(LIFETIME))?;
    fleet.go()?;
    fleet.until_renewed(0)?;
    let (_, before) = fleet.settled()?;
    let scripts = server.commands()?.0;
    fleet.until_renewed(if bench.long { 10 } else { 2 })?;
    let (_, after) = fleet.settled()?;
    let scripts = server.commands()?.0 - scripts;
    let renewals: u64 = after.iter().map(|(name, counters)| counters.issued - before[name].issued).sum();
    drop(fleet);
    let mut idle = Fleet::of(bench, &[at(server.port)], 1, Some(Duration::from_secs(3600)))?;
    idle.go()?;
    idle.until_renewed(0)?;
    let before = server.commands()?;
    std::thread::sleep(IDLE);
    let after = server.commands()?;
    let told = (after.0 - before.0) + (after.1 - before.1);
    Ok(format!(
        "{:.1} scripts for a renewal by a process alone (two in three without a refresh token); {told} commands in {IDLE:?} of a process that is idle, {:.0} in an hour",
        scripts as f64 / renewals as f64,
        told as f64 / IDLE.as_secs_f64() * 3600.0
    ))
}

/// With the Redis store a cached token costs what it costs without.
pub(crate) fn cached(_: &Bench) -> Found {
    let (server, host, folder) = (plain_redis()?, Host::start()?, folder()?);
    let key = folder.path().join("key");
    private(&key, "5c".repeat(32))?;
    let memory = Kind::Client.config(&host.url(), None, None);
    let mut redis = memory.clone();
    redis["store"] = at(server.port);
    redis["store"]["kind"] = json!("redis");
    redis["store"]["encryption_key"] = json!(format!("file:{}", key.display()));
    let (with, without) = (source(&redis)?, source(&memory)?);
    let (mut redis, mut memory) = (f64::MAX, f64::MAX);
    // In turns, and the best of each: what else the machine does meets both.
    for _ in 0..20 {
        redis = redis.min(nanoseconds(&with)?);
        memory = memory.min(nanoseconds(&without)?);
    }
    let figures = format!("{redis:.1} ns with the Redis store, {memory:.1} ns with memory");
    if redis < 1.5 * memory { Ok(figures) } else { Err(figures) }
}

fn source(config: &Value) -> Result<TokenSource, String> {
    let made = Engine::from_json(&config.to_string()).and_then(|engine| engine.source("p"));
    let source = made.map_err(|error| error.to_string())?;
    source.token_blocking(TokenOptions::default()).map_err(|error| error.to_string())?;
    Ok(source)
}

/// Of one look at the cached token.
fn nanoseconds(source: &TokenSource) -> Result<f64, String> {
    const LOOKS: u32 = 100_000;
    let start = Instant::now();
    for _ in 0..LOOKS {
        source.with_cached(|token| std::hint::black_box(token.access_token().len())).ok_or("no token is cached")?;
    }
    Ok(start.elapsed().as_nanos() as f64 / f64::from(LOOKS))
}
