//! Nothing fails: as many requests as lifetimes, however many nodes there are.

use super::{Fleet, LIFETIME, plain_redis};
use crate::Found;
use crate::process::Bench;

pub(crate) fn run(bench: &Bench) -> Found {
    let lifetimes = if bench.long { 25 } else { 3 };
    let server = plain_redis()?;
    let mut fleet = Fleet::on(bench, server.port, Some(LIFETIME))?;
    fleet.go()?;
    let (scripts, _) = server.commands()?;
    // PATIENCE is for one step, a long run has many.
    for times in 1..=lifetimes {
        fleet.until_renewed(times)?;
    }
    let (report, counters) = fleet.settled()?;
    let (scripts, most) = (server.commands()?.0 - scripts, fleet.most_renewals());
    report.smooth()?;
    let mut renewals = 0;
    for (name, account) in &report.0 {
        let (counters, seen) = (counters[name], account.generations.len() as u64);
        renewals += seen;
        // Each request brought a token, and each token came to everybody.
        if (counters.requests, counters.issued, counters.repeated) != (seen, seen, 0) {
            return Err(format!("{name}: {seen} tokens were seen, and the vendor counts {counters:?}"));
        }
        if seen > most {
            return Err(format!("{name}: {seen} tokens, where {most} are needed: {:?}", account.generations));
        }
        let logins = match *name {
            "session" => seen,
            _ => 1,
        };
        if counters.logins > logins {
            return Err(format!("{name}: {} logins where {logins} were needed", counters.logins));
        }
    }
    let asked: u64 = report.0.values().map(|account| account.asked).sum();
    Ok(format!(
        "{} nodes, {asked} calls, {renewals} renewals of 3 accounts, no request too many, {} scripts for each renewal",
        fleet.nodes,
        scripts / renewals
    ))
}
