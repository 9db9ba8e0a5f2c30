//! The first moment: everybody at once, with the right credentials and with wrong ones.

use std::time::Instant;

use serde_json::json;

use super::{ACCOUNTS, Fleet, NODES, PROCESSES, at, plain_redis};
use crate::Found;
use crate::process::Bench;

/// One login for each account, however many ask at once (fault 71).
pub(crate) fn cold(bench: &Bench) -> Found {
    let server = plain_redis()?;
    let mut fleet = Fleet::of(bench, &vec![at(server.port); PROCESSES], NODES, None)?;
    // Long enough that all of them ask while the first one logs in.
    for (_, kind) in ACCOUNTS {
        fleet.host.control("settings", &json!({"vendor": kind.vendor(), "delay_ms": 500}))?;
    }
    let begun = Instant::now();
    fleet.go()?;
    let report = fleet.until_renewed(0)?;
    let took = begun.elapsed();
    report.smooth()?;
    for (name, counters) in fleet.counters()? {
        if (counters.requests, counters.logins.max(1)) != (1, 1) {
            return Err(format!("{name}: {} nodes sent {counters:?}", fleet.nodes));
        }
    }
    Ok(format!("{} nodes, one login for each account, everybody served after {took:.1?}", fleet.nodes))
}

/// One login for each account is refused, and everybody is told.
pub(crate) fn wrong_password(bench: &Bench) -> Found {
    let server = plain_redis()?;
    let mut fleet = Fleet::of(bench, &vec![at(server.port); PROCESSES], NODES, None)?;
    fleet.host.control("credentials", &json!({"vendor": "quable", "password": "another"}))?;
    fleet.host.control("credentials", &json!({"vendor": "quartile", "password": "another"}))?;
    fleet
        .host
        .control("revoke", &json!({"vendor": "quantaprice", "client_id": qauth_sim::known::QUANTAPRICE_CLIENT_ID}))?;
    fleet.go()?;
    let nodes = fleet.nodes as u64;
    // Twenty times and more: nobody asks the vendor again.
    let report = fleet.until("everybody is refused", |report| {
        report.0.values().all(|account| account.failing == nodes && account.asked > 20 * nodes)
    })?;
    for (name, counters) in fleet.counters()? {
        if counters.requests != 1 {
            return Err(format!("{name}: {nodes} nodes sent {counters:?}"));
        }
    }
    for (name, account) in &report.0 {
        if !account.errors.keys().all(|code| ["invalid_grant", "invalid_client"].contains(&code.as_str())) {
            return Err(format!("{name}: {:?}", account.errors));
        }
    }
    Ok(format!("{nodes} nodes, one refused login for each account, told to {} callers", report.errors()))
}
