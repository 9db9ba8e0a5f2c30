//! Who renews for all dies, or is stopped for longer than its lease, while the vendor answers (faults 48, 66, 71).

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Account, Fleet, LIFETIME, plain_redis};
use crate::Found;
use crate::process::{Bench, Talk};

/// The lease, and some more.
const LONGER: Duration = Duration::from_secs(12);

pub(crate) fn run(bench: &Bench) -> Found {
    let server = plain_redis()?;
    let mut fleet = Fleet::on(bench, server.port, Some(LIFETIME))?;
    fleet.go()?;
    let killed = without(&mut fleet, libc::SIGKILL)?.1;
    let (talk, stopped) = without(&mut fleet, libc::SIGSTOP)?;
    std::thread::sleep(LONGER.saturating_sub(stopped));
    talk.worker.signal(libc::SIGCONT);
    // Its answer comes too late, and it takes the others' token.
    fleet.processes.push(talk);
    let before = fleet.counters()?["rotating"];
    fleet.until("all agree again", |report| report.0.values().all(Account::agrees))?;
    fleet.mark()?;
    fleet.until_renewed(1)?.smooth()?;
    let after = fleet.settled()?.1["rotating"];
    // One login for the killed one's spent token, one for the stopped one's, and one at the start.
    if (after.repeated, before.logins, after.logins) != (0, 3, 3) {
        return Err(format!("rotating: {before:?}, then {after:?}"));
    }
    Ok(format!(
        "{} nodes, one login {killed:.1?} after a holder was killed, one {stopped:.1?} after it was stopped, nothing sent twice",
        fleet.nodes
    ))
}

/// Takes away the process whose renewal is under way; tells it, and how long the others needed.
fn without(fleet: &mut Fleet, signal: i32) -> Result<(Talk, Duration), String> {
    fleet.until_renewed(1)?;
    fleet.settled()?;
    fleet.mark()?;
    fleet.host.control("faults", &json!({"vendor": "quartile", "endpoint": "token", "delay_ms": 2000}))?;
    let reports = fleet
        .until_each("somebody renews", |reports| reports.iter().any(|report| report.0["rotating"].requests > 0))?;
    let holder = reports.iter().position(|report| report.0["rotating"].requests > 0).ok_or("nobody renews")?;
    let talk = fleet.processes.remove(holder);
    talk.worker.signal(signal);
    let begun = Instant::now();
    fleet.mark()?;
    // They wait for the lease, for longer than their tokens live.
    fleet.until_renewed(1)?.smooth()?;
    Ok((talk, begun.elapsed()))
}
