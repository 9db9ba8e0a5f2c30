//! The server has no room: it throws away what is old, or takes no writes (faults 67, 69).

use std::time::{Duration, Instant};

use super::{Fleet, LIFETIME, plain_redis};
use crate::Found;
use crate::process::Bench;
use crate::redis::Redis;

pub(crate) fn run(bench: &Bench) -> Found {
    let lifetimes = if bench.long { 10 } else { 2 };
    let server = plain_redis()?;
    let mut fleet = Fleet::on(bench, server.port, Some(LIFETIME))?;
    fleet.go()?;
    fleet.until_renewed(1)?;
    // Room for some hundred keys of twenty kilobytes.
    let room = server.number("used_memory")? + 8_000_000;
    server.tell::<String>("CONFIG SET maxmemory-policy allkeys-lru")?;
    server.tell::<String>(&format!("CONFIG SET maxmemory {room}"))?;
    let (begun, mut key) = (Instant::now(), 0);
    while begun.elapsed() < lifetimes * LIFETIME {
        for _ in 0..200 {
            // Refused where the server does not throw away as fast.
            let _ = server.tell::<u64>(&format!("SETRANGE junk:{key} 20000 x"));
            key += 1;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let evicted = server.number("evicted_keys")?;
    if evicted == 0 {
        return Err("nothing was thrown away".to_owned());
    }
    let met = fleet.report()?.at_most_unavailable()?.errors();
    fleet.recovered(1)?;
    let told = refused(&mut fleet, &server)?;
    Ok(format!(
        "{} nodes, {evicted} keys thrown away: {met} errors; no room: {told} calls told so, then as before",
        fleet.nodes
    ))
}

/// How many calls were told that there is no room.
fn refused(fleet: &mut Fleet, server: &Redis) -> Result<u64, String> {
    server.tell::<String>("CONFIG SET maxmemory-policy noeviction")?;
    server.tell::<String>("CONFIG SET maxmemory 1")?;
    let nodes = fleet.nodes as u64;
    let report = fleet.until("everybody is told that there is no room", |report| {
        ["session", "rotating"].iter().all(|name| report.0[name].failing == nodes)
    })?;
    report.at_most_unavailable()?;
    if !report.0["plain"].errors.is_empty() || !report.0["rotating"].said.contains("is full") {
        return Err(format!("plain: {:?}; rotating: {}", report.0["plain"].errors, report.0["rotating"].said));
    }
    server.tell::<String>("CONFIG SET maxmemory 0")?;
    fleet.recovered(1)?;
    Ok(report.errors())
}
