//! Somebody empties the server (fault 69).

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Fleet, LIFETIME, plain_redis};
use crate::Found;
use crate::process::Bench;

pub(crate) fn run(bench: &Bench) -> Found {
    let rounds = if bench.long { 10 } else { 1 };
    let server = plain_redis()?;
    let mut fleet = Fleet::on(bench, server.port, Some(LIFETIME))?;
    fleet.go()?;
    for _ in 0..rounds {
        fleet.until_renewed(1)?;
        fleet.settled()?;
        server.tell::<String>("FLUSHALL")?;
        fleet.report()?.smooth()?;
        // All of them know the refresh token.
        fleet.recovered(1)?;
    }
    let mut repeated = 0;
    for _ in 0..rounds {
        let before = fleet.counters()?["rotating"];
        fleet.host.control("faults", &json!({"vendor": "quartile", "endpoint": "token", "delay_ms": 1000}))?;
        let begun = Instant::now();
        while fleet.counters()?["rotating"].requests == before.requests {
            if begun.elapsed() > 2 * LIFETIME {
                return Err("nobody renews".to_owned());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        server.tell::<String>("FLUSHALL")?;
        fleet.mark()?;
        fleet.until_renewed(2)?.smooth()?;
        fleet.settled()?;
        let more = fleet.counters()?["rotating"].repeated - before.repeated;
        // The holder's lease and its note went with the rest: nobody else can know that the refresh token is on its way.
        if more > 1 {
            return Err(format!("rotating: a refresh token came {more} times more"));
        }
        repeated += more;
    }
    Ok(format!(
        "{} nodes, emptied {rounds} times between renewals: one login, nothing sent twice; {rounds} times in the middle of one: {repeated} sent twice",
        fleet.nodes
    ))
}
