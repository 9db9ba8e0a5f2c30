//! Connections break all the time, some in the middle of an answer (fault 67).

use std::time::{Duration, Instant};

use super::{Fleet, LIFETIME, plain_redis};
use crate::Found;
use crate::process::Bench;
use crate::proxy::Proxy;

const EVERY: Duration = Duration::from_millis(200);

pub(crate) fn run(bench: &Bench) -> Found {
    let lifetimes = if bench.long { 10 } else { 2 };
    let server = plain_redis()?;
    let link = Proxy::before(server.port)?;
    let mut fleet = Fleet::on(bench, link.port, Some(LIFETIME))?;
    fleet.go()?;
    let (begun, mut resets) = (Instant::now(), 0);
    while begun.elapsed() < lifetimes * LIFETIME {
        link.reset();
        resets += 1;
        link.cut_after(resets % 50);
        std::thread::sleep(EVERY);
    }
    let report = fleet.report()?;
    fleet.recovered(1)?;
    report.at_most_unavailable()?;
    Ok(format!(
        "{} nodes, {resets} times all connections reset and an answer cut: {} of {} calls met an error, then as before",
        fleet.nodes,
        report.errors(),
        report.0.values().map(|account| account.asked).sum::<u64>()
    ))
}
