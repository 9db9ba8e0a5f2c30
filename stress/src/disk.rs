//! A disk that is full, fails or becomes read-only while processes run: callers are served, what must not be lost is written
//! once that is possible, and no refresh token is sent twice (faults 47, 62).

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::Found;
use crate::kinds::Kind;
use crate::process::{Bench, Site, Talk, private};

/// What fails, and at which calls (`shim.c`).
const FAULTS: [(&str, i32, &str); 5] = [
    ("full at opening", libc::ENOSPC, "o"),
    ("full at writing", libc::ENOSPC, "ow"),
    ("quota at writing", libc::EDQUOT, "w"),
    ("failing at fsync of the file", libc::EIO, "d"),
    ("failing at fsync of the folder", libc::EIO, "n"),
];

/// The disk fails between the request and the answer: the new token is nowhere but in this process, the old one is spent.
pub(crate) fn full(bench: &Bench) -> Found {
    let kinds = [Kind::Rotating, Kind::Session, Kind::Client, Kind::Person];
    let cases: Vec<_> = kinds.iter().flat_map(|kind| FAULTS.map(|fault| (*kind, fault))).collect();
    let written = side_by_side(&cases, |(kind, fault)| full_case(bench, *kind, *fault))?;
    let slowest = written.iter().max().copied().unwrap_or_default();
    Ok(format!(
        "{} cases, every caller served, no request made twice; written at most {slowest:.1?} after there was room",
        cases.len()
    ))
}

fn full_case(bench: &Bench, kind: Kind, (_, number, calls): (&str, i32, &str)) -> Result<Duration, String> {
    let (mut talk, disk) = Disk::start(bench, kind, number, calls)?;
    let (site, vendor) = (&disk.site, kind.vendor());
    let before = site.host.counters(vendor)?;
    site.host.settings(vendor, "lifetime", 30_000)?;
    site.host.control("faults", &json!({"vendor": vendor, "endpoint": "token", "delay_ms": 2500}))?;
    // The old token runs out; the request is at the vendor, its answer is not.
    until("the renewal begins", || Ok(site.host.counters(vendor)?.requests > before.requests))?;
    disk.fail()?;
    talk.hear_of_token()?;
    let during = site.host.counters(vendor)?;
    let standing = disk.record()?;
    disk.recover()?;
    let start = Instant::now();
    // Where only the folder could not be made durable, the record stands there already.
    if calls != "n" {
        until("the record is written", || Ok(disk.record()? != standing))?;
    }
    let written = start.elapsed();
    disk.nobody_asks_again(bench)?;
    no_errors(&mut talk)?;
    let after = site.host.counters(vendor)?;
    match (during.requests - before.requests, after.requests - during.requests, after.repeated) {
        (1, 0, 0) => Ok(written),
        counted => {
            Err(format!("requests with the fault, requests after it, refresh tokens that came twice: {counted:?}"))
        }
    }
}

/// The file system becomes read-only (as Linux does with one that has errors): who can sign in lives on in memory.
pub(crate) fn read_only(bench: &Bench) -> Found {
    let kinds = [Kind::Rotating, Kind::Session, Kind::Client, Kind::Person];
    let told = side_by_side(&kinds, |kind| read_only_case(bench, *kind))?;
    Ok(told.join(", "))
}

fn read_only_case(bench: &Bench, kind: Kind) -> Result<String, String> {
    let (mut talk, disk) = Disk::start(bench, kind, libc::EROFS, "owdn")?;
    let (site, vendor) = (&disk.site, kind.vendor());
    disk.fail()?;
    let before = site.host.counters(vendor)?;
    site.host.settings(vendor, "lifetime", 30_000)?;
    // An engine that is made now says so at once.
    let other = bench.once(kind, &site.config(), &disk.shim)?;
    if other.error() != "store" {
        return Err(format!("a read-only folder, and an engine that begins says {}", other.said));
    }
    if !kind.needs_person() {
        talk.hear_of_token()?;
        let requests = site.host.counters(vendor)?.requests - before.requests;
        disk.recover()?;
        no_errors(&mut talk)?;
        return match requests {
            1 => Ok(format!("{kind:?}: signed in, in memory")),
            requests => Err(format!("{requests} requests for one token")),
        };
    }
    // Its refresh token must not be spent where the next one cannot be kept.
    let error = until_some("the person's token ends", || {
        talk.tell("report")?;
        Ok(talk.hear("report")?["errors"].as_array().and_then(|errors| errors.first()).cloned())
    })?;
    let error = error.as_str().unwrap_or_default();
    if !error.starts_with("store:") || site.host.counters(vendor)?.requests != before.requests {
        return Err(format!("a read-only folder and a refresh token to lose: {error}"));
    }
    disk.recover()?;
    talk.hear_of_token()?;
    disk.nobody_asks_again(bench)?;
    match site.host.counters(vendor)?.repeated {
        0 => Ok(format!("{kind:?}: `store`, and goes on when it can be written")),
        repeated => Err(format!("{repeated} refresh tokens came twice")),
    }
}

/// A worker with a token that ends within seconds, on a disk that fails when it is told to.
struct Disk {
    site: Site,
    shim: Vec<(&'static str, String)>,
    flag: PathBuf,
}

impl Disk {
    fn start(bench: &Bench, kind: Kind, number: i32, calls: &str) -> Result<(Talk, Disk), String> {
        let site = Site::new(kind)?;
        site.host.settings(kind.vendor(), "lifetime", 2)?;
        let flag = site.root().join("fails");
        let shim = site.shim(&[
            ("SHIM_ERRNO", number.to_string()),
            ("SHIM_CALLS", calls.to_owned()),
            ("SHIM_WHILE", flag.display().to_string()),
        ]);
        let talk = bench.worker(&["serve", &site.config().to_string()], &shim)?.talk()?;
        talk.hear_of_token()?;
        let disk = Disk { site, shim, flag };
        // Client credentials are written behind the caller's back.
        until("the first record is written", || Ok(!disk.record()?.is_empty()))?;
        Ok((talk, disk))
    }

    fn fail(&self) -> Result<(), String> {
        private(&self.flag, "")
    }

    fn recover(&self) -> Result<(), String> {
        std::fs::remove_file(&self.flag).map_err(|error| error.to_string())
    }

    /// The record as it stands in the folder.
    fn record(&self) -> Result<Vec<u8>, String> {
        let is_record = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "v1");
        let entries = std::fs::read_dir(self.site.store()).map_err(|error| error.to_string())?;
        let path = entries.flatten().map(|entry| entry.path()).find(is_record);
        path.map_or(Ok(Vec::new()), |path: PathBuf| read(&path))
    }

    /// A new process finds the token in the store.
    fn nobody_asks_again(&self, bench: &Bench) -> Result<(), String> {
        let before = self.site.host.counters(self.site.kind.vendor())?;
        let other = bench.once(self.site.kind, &self.site.config(), &self.site.shim(&[]))?;
        match (other.served(), self.site.host.counters(self.site.kind.vendor())? == before) {
            (true, true) => Ok(()),
            (_, silent) => Err(format!("a new process has {} (asked the vendor: {})", other.said, !silent)),
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| error.to_string())
}

fn no_errors(talk: &mut Talk) -> Result<(), String> {
    talk.tell("report")?;
    let report = talk.hear("report")?;
    match report["errors"].as_array().is_some_and(|errors| errors.is_empty()) {
        true => Ok(()),
        false => Err(format!("callers met errors: {}", report["errors"])),
    }
}

pub(crate) fn until(what: &str, mut done: impl FnMut() -> Result<bool, String>) -> Result<(), String> {
    until_some(what, || Ok(done()?.then_some(())))
}

fn until_some<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>, String>) -> Result<T, String> {
    let end = Instant::now() + Duration::from_secs(180);
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() >= end {
            return Err(format!("waited in vain: {what}"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Each case on a thread of its own; all that is wrong.
pub(crate) fn side_by_side<C: Sync + std::fmt::Debug, T: Send>(
    cases: &[C],
    run: impl Fn(&C) -> Result<T, String> + Sync,
) -> Result<Vec<T>, String> {
    let run = &run;
    let results: Vec<Result<T, String>> = std::thread::scope(|scope| {
        let running: Vec<_> = cases.iter().map(|case| scope.spawn(move || run(case))).collect();
        let joined = running.into_iter().zip(cases).map(|(case, name)| {
            let result = case.join().unwrap_or(Err("it panicked".to_owned()));
            result.map_err(|why| format!("{name:?}: {why}"))
        });
        joined.collect()
    });
    let (good, bad): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    match bad.is_empty() {
        true => Ok(good.into_iter().flatten().collect()),
        false => Err(bad.into_iter().filter_map(Result::err).collect::<Vec<_>>().join("; ")),
    }
}
