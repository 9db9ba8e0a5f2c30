//! A backup, or a container's image, brings an older record back: its refresh token was spent long ago. That costs one
//! refused request; who still runs writes the newer record again (fault 65).

use std::path::Path;

use serde_json::{Value, json};

use crate::Found;
use crate::disk::until;
use crate::kinds::Kind;
use crate::process::{Bench, Site, private};

pub(crate) fn run(bench: &Bench) -> Found {
    for kind in [Kind::Rotating, Kind::Session, Kind::Client, Kind::Person] {
        nobody_runs(bench, kind).map_err(|why| format!("{kind:?}: {why}"))?;
        somebody_runs(bench, kind).map_err(|why| format!("{kind:?}, another process running: {why}"))?;
    }
    Ok("one refused request where nobody knows better, none where a process runs that does".to_owned())
}

/// The processes that knew the newer record are gone.
fn nobody_runs(bench: &Bench, kind: Kind) -> Result<(), String> {
    let mut site = Site::new(kind)?;
    let once = |site: &Site| bench.once(kind, &site.config(), &site.shim(&[]));
    once(&site)?;
    let (backup, _) = crate::log::read_state(&site.store())?;
    for _ in 0..2 {
        site.tokens_end()?;
        let renewed = once(&site)?;
        if !renewed.served() {
            return Err(format!("no renewal: {}", renewed.said));
        }
    }
    restore(&site.store(), &backup)?;
    site.tokens_end()?;
    let before = site.host.counters(kind.vendor())?;
    let first = once(&site)?;
    let after = site.host.counters(kind.vendor())?;
    let again = once(&site)?;
    let (requests, repeated) = (after.requests - before.requests, after.repeated - before.repeated);
    // Only the vendor can say that it is spent.
    let rotates = kind == Kind::Rotating || kind.needs_person();
    let expected = (1 + u64::from(kind == Kind::Rotating), u64::from(rotates));
    let fine = |said: &Value| match kind.needs_person() {
        true => said["error"] == "reauthentication_required",
        false => said["valid"] == true,
    };
    match (requests, repeated) == expected
        && fine(&first.said)
        && fine(&again.said)
        && site.host.counters(kind.vendor())? == after
    {
        true => Ok(()),
        false => {
            Err(format!("{requests} requests, {repeated} refresh tokens twice; {}, then {}", first.said, again.said))
        }
    }
}

/// A process runs that has seen the newer record.
fn somebody_runs(bench: &Bench, kind: Kind) -> Result<(), String> {
    let (site, vendor) = (Site::new(kind)?, kind.vendor());
    site.host.settings(vendor, "lifetime", 2)?;
    let mut config = site.config();
    config["profiles"]["p"]["mode"] = json!("always");
    let talk = bench.worker(&["serve", &config.to_string()], &[])?.talk()?;
    talk.hear_of_token()?;
    let has_record = |state: &crate::log::State| state.keys().any(|name| name.ends_with(".v1"));
    let mut backup = crate::log::State::new();
    until("the first record is written", || {
        backup = crate::log::read_state(&site.store())?.0;
        Ok(has_record(&backup))
    })?;
    for _ in 0..2 {
        talk.hear_of_token()?;
    }
    restore(&site.store(), &backup)?;
    for _ in 0..2 {
        talk.hear_of_token()?;
    }
    let counted = site.host.counters(vendor)?;
    match (counted.repeated, counted.requests == counted.issued) {
        (0, true) => Ok(()),
        _ => Err(format!("{counted:?}")),
    }
}

/// Each record back in its place, as a backup puts it there: whole, by another name first.
fn restore(folder: &Path, backup: &crate::log::State) -> Result<(), String> {
    for (name, bytes) in backup.iter().filter(|(name, _)| name.ends_with(".v1")) {
        let beside = folder.join("restoring");
        private(&beside, bytes)?;
        std::fs::rename(&beside, folder.join(name)).map_err(|error| error.to_string())?;
    }
    Ok(())
}
