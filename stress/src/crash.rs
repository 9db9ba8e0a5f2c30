//! A process that is killed at any call of a renewal costs the next one at most a login, and a person's sign-in nothing
//! that the server has not already ended (faults 48, 60, 61, 65).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::Found;
use crate::kinds::Kind;
use crate::process::{Bench, Ended, Site};

/// What all kinds of profile came to.
#[derive(Default)]
struct Tally {
    kills: AtomicU64,
    rounds: AtomicU64,
    /// Renewals that the server had seen and the killed process had not written: only a person could sign in again.
    signed_out: AtomicU64,
    slowest_ms: AtomicU64,
}

pub(crate) fn run(bench: &Bench) -> Found {
    let (kills, tally) = (if bench.long { 20_000 } else { 1_000 }, Tally::default());
    let results: Vec<Result<(), String>> = std::thread::scope(|scope| {
        let lanes = Kind::ALL.map(|kind| {
            let tally = &tally;
            scope.spawn(move || lane(bench, kind, kills, tally).map_err(|why| format!("{kind:?}: {why}")))
        });
        lanes.into_iter().map(|lane| lane.join().unwrap_or(Err("a lane panicked".to_owned()))).collect()
    });
    let wrong: Vec<String> = results.into_iter().filter_map(Result::err).collect();
    if !wrong.is_empty() {
        return Err(wrong.join("; "));
    }
    Ok(format!(
        "{} kills in {} rounds of {} kinds of profile, no refresh token sent twice but by whom a person would have to sign in ({} of those), slowest recovery {} ms",
        tally.kills.load(Ordering::Relaxed),
        tally.rounds.load(Ordering::Relaxed),
        Kind::ALL.len(),
        tally.signed_out.load(Ordering::Relaxed),
        tally.slowest_ms.load(Ordering::Relaxed),
    ))
}

/// Rounds with one kind of profile, a renewal and a first use of an empty folder in turns, until all lanes together have killed
/// enough.
fn lane(bench: &Bench, kind: Kind, enough: u64, tally: &Tally) -> Result<(), String> {
    let mut site = Site::new(kind)?;
    for round in 1.. {
        let first_use = round % 2 == 0;
        let mut at = 1;
        loop {
            let through = kill_and_recover(bench, &mut site, first_use, at, tally);
            let what = if first_use { "first use" } else { "renewal" };
            if through.map_err(|why| format!("killed at point {at} of a {what}: {why}"))? {
                break;
            }
            at += 1;
            tally.kills.fetch_add(1, Ordering::Relaxed);
        }
        if at == 1 {
            return Err("nothing could be killed: the shim sees no calls".to_owned());
        }
        tally.rounds.fetch_add(1, Ordering::Relaxed);
        // Each kind has had both.
        if round >= 2 && tally.kills.load(Ordering::Relaxed) >= enough {
            break;
        }
    }
    Ok(())
}

/// One process dies at this point, the next one has to do; `true`: it did not die, the renewal has fewer points.
fn kill_and_recover(bench: &Bench, site: &mut Site, first_use: bool, at: u64, tally: &Tally) -> Result<bool, String> {
    let kind = site.kind;
    site.tokens_end()?;
    if first_use {
        site.begin_anew()?;
    }
    let before = site.host.counters(kind.vendor())?;
    let ended = bench.renew(&site.config(), &site.shim(&[("SHIM_KILL_AT", at.to_string())]))?;
    if !ended.killed {
        return match ended.error() {
            "" => Ok(true),
            _ => Err(format!("it was not killed, and has no token: {}", ended.said)),
        };
    }
    let next = bench.once(kind, &site.config(), &site.shim(&[]))?;
    tally.slowest_ms.fetch_max(next.took.as_millis() as u64, Ordering::Relaxed);
    let after = site.host.counters(kind.vendor())?;
    let repeated = after.repeated - before.repeated;
    if next.took > Duration::from_secs(8) {
        return Err(format!("the next process took {:?}", next.took));
    }
    if let name @ [_, ..] = &site.set_aside()[..] {
        return Err(format!("a file was torn and set aside: {name:?}"));
    }
    match (next.served(), repeated) {
        (true, 0) => Ok(false),
        // The one try that DESIGN.md 5 allows, and only after it was really spent.
        (false, 1) if kind.needs_person() && next.error() == "reauthentication_required" => {
            tally.signed_out.fetch_add(1, Ordering::Relaxed);
            stays_signed_out(bench, site)?;
            site.sign_in()?;
            Ok(false)
        }
        (_, repeated) => Err(format!("{repeated} refresh tokens came twice, and the next process has {}", next.said)),
    }
}

/// Without the person nobody asks the server again.
fn stays_signed_out(bench: &Bench, site: &Site) -> Result<(), String> {
    let before = site.host.counters(site.kind.vendor())?;
    let Ended { said, .. } = bench.once(site.kind, &site.config(), &site.shim(&[]))?;
    match (site.host.counters(site.kind.vendor())? == before, said["error"].as_str()) {
        (true, Some("reauthentication_required")) => Ok(()),
        (silent, _) => Err(format!("signed out, and the process after it says {said} (asked the server: {})", !silent)),
    }
}
