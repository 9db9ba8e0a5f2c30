//! Many processes of one machine on the same accounts: one request for all of them in each token's life, whoever is stopped
//! or killed meanwhile (faults 64, 66, 71, 73).

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Found;
use crate::disk::{side_by_side, until};
use crate::host::{Counters, Host};
use crate::kinds::Kind;
use crate::process::{Bench, Site, Talk, Worker, folder};

/// Both accounts in each process, for so many lives of their tokens.
pub(crate) fn run(bench: &Bench) -> Found {
    let (processes, lives) = if bench.long { (80, 25) } else { (40, 8) };
    const LIFETIME: u64 = 2;
    let kinds = [Kind::Session, Kind::Rotating];
    let (host, root) = (Host::start()?, folder()?);
    let store = root.path().join("store");
    let mut config = json!({});
    for kind in kinds {
        host.settings(kind.vendor(), "lifetime", LIFETIME)?;
        let Value::Object(mut one) = kind.config(&host.url(), Some(&store), None) else { continue };
        config["store"] = one["store"].take();
        config["profiles"][kind.vendor()] = one["profiles"]["p"].take();
    }
    let config = config.to_string();
    let start = Instant::now();
    let mut talks = fleet(bench, processes, &config, &[])?;
    until("every token has lived", || {
        let issued = |kind: Kind| host.counters(kind.vendor()).map(|counters| counters.issued);
        Ok(issued(kinds[0])? >= lives && issued(kinds[1])? >= lives)
    })?;
    let counted = kinds.map(|kind| host.counters(kind.vendor()));
    let lived = start.elapsed();
    let reports = reports(&mut talks)?;
    let mut figures = Vec::new();
    for (kind, counted) in kinds.into_iter().zip(counted) {
        let Counters { requests, issued, repeated, logins } = counted?;
        let tokens: BTreeSet<u64> = reports.iter().flat_map(|report| generations(report, kind.vendor())).collect();
        // A token is renewed when four fifths of its life are over, at the earliest (docs/configuration.md, `ahead`).
        let most = (lived.as_secs_f64() / (0.8 * LIFETIME as f64)).floor() as u64 + 1;
        // The last one that was counted may be on its way to whoever asked for it.
        let unseen = issued.saturating_sub(tokens.len() as u64);
        if requests != issued || unseen > 1 || issued > most || repeated > 0 || (kind == Kind::Rotating && logins != 1)
        {
            return Err(format!(
                "{}: {requests} requests ({logins} logins), {issued} tokens of which {} were served, in {lived:.1?}; {repeated} refresh tokens came twice",
                kind.vendor(),
                tokens.len()
            ));
        }
        figures.push(format!("{}: {issued} tokens, {requests} requests", kind.vendor()));
    }
    let gap = longest(&reports);
    match gap < patience(&reports) {
        true => Ok(format!(
            "{processes} processes for {lived:.0?}; {}; longest wait of a caller {gap:.0?}",
            figures.join(", ")
        )),
        false => Err(format!("a caller waited for {gap:.1?}")),
    }
}

const PROCESSES: usize = 80;

/// One of them asks, and all of them know.
pub(crate) fn wrong_password(bench: &Bench) -> Found {
    for kind in [Kind::Session, Kind::Rotating] {
        let site = Site::new(kind)?;
        let mut config = site.config();
        config["profiles"]["p"]["password"] = json!("another password");
        let config = config.to_string();
        let workers: Vec<Worker> =
            (0..PROCESSES).map(|_| bench.worker(&["renew", &config], &[])).collect::<Result<_, _>>()?;
        for worker in workers {
            let ended = worker.end()?;
            if ended.error() != "invalid_grant" {
                return Err(format!("{kind:?}: a wrong password gives {}", ended.said));
            }
        }
        let requests = site.host.counters(kind.vendor())?.requests;
        if requests != 1 {
            return Err(format!("{kind:?}: {requests} logins with a wrong password"));
        }
    }
    Ok(format!("{PROCESSES} processes with a wrong password, one login each for both kinds"))
}

/// Who renews is killed while the answer is under way.
pub(crate) fn holder_killed(bench: &Bench) -> Found {
    let took = side_by_side(&[Kind::Session, Kind::Rotating], |kind| {
        let fault = Fault { signal: libc::SIGKILL, lifetime: 6, ahead: "2500ms", answer_after_ms: 2_000 };
        fault.happens(bench, *kind, Duration::ZERO..Duration::from_secs(5))
    })?;
    Ok(format!("taken over after {}", took.join(", ")))
}

/// Who renews is stopped for longer than a lease lasts, and goes on when another one has renewed.
pub(crate) fn holder_stopped(bench: &Bench) -> Found {
    let took = side_by_side(&[Kind::Session, Kind::Rotating], |kind| {
        let fault = Fault { signal: libc::SIGSTOP, lifetime: 27, ahead: "13s", answer_after_ms: 11_500 };
        // A lease lasts 10 s from its last renewal, which was when the request was sent.
        fault.happens(bench, *kind, Duration::from_secs(9)..Duration::from_secs(13))
    })?;
    Ok(format!("taken over after {}", took.join(", ")))
}

struct Fault {
    signal: i32,
    /// Of the tokens, in seconds; and so long before their end they are renewed.
    lifetime: u64,
    ahead: &'static str,
    /// When the holder's answer comes.
    answer_after_ms: u64,
}

impl Fault {
    fn happens(&self, bench: &Bench, kind: Kind, expected: std::ops::Range<Duration>) -> Result<String, String> {
        let processes = if bench.long { 40 } else { 6 };
        let (site, vendor) = (Site::new(kind)?, kind.vendor());
        site.host.settings(vendor, "lifetime", self.lifetime)?;
        let mut config = site.config();
        config["profiles"]["p"]["mode"] = json!("always");
        config["profiles"]["p"]["buffer"] = json!("500ms");
        config["profiles"]["p"]["ahead"] = json!(self.ahead);
        let mut talks = fleet(bench, processes, &config.to_string(), &[("SHIM_TELL", "1".to_owned())])?;
        let mut first = 0;
        for talk in &talks {
            first = talk.hear_of_token_after(0)?.max(first);
        }
        talks.iter().for_each(|talk| drop(talk.heard()));
        let before = site.host.counters(vendor)?;
        let delay = json!({"vendor": vendor, "endpoint": "token", "delay_ms": self.answer_after_ms});
        site.host.control("faults", &delay)?;
        let requests = || Ok::<u64, String>(site.host.counters(vendor)?.requests - before.requests);
        until("somebody renews", || Ok(requests()? == 1))?;
        let mut holder = None;
        until("somebody says so", || {
            holder = talks.iter().position(|talk| talk.heard().iter().any(|line| line["event"] == "sends"));
            Ok(holder.is_some())
        })?;
        let holder = talks.swap_remove(holder.unwrap_or_default());
        holder.worker.signal(self.signal);
        let start = Instant::now();
        until("another one renews", || Ok(requests()? == 2))?;
        let took = start.elapsed();
        let mut newest = BTreeSet::new();
        for talk in &talks {
            newest.insert(talk.hear_of_token_after(first)?);
        }
        if self.signal == libc::SIGSTOP {
            // Its answer comes too late, and it takes the winner's token.
            holder.worker.signal(libc::SIGCONT);
            newest.insert(holder.hear_of_token_after(first)?);
            talks.push(holder);
        }
        let reports = reports(&mut talks)?;
        let (requests, repeated) = (requests()?, site.host.counters(vendor)?.repeated);
        let gap = longest(&reports);
        if newest.len() != 1 || requests != 2 || repeated != 0 || !expected.contains(&took) || gap > patience(&reports)
        {
            return Err(format!(
                "{requests} requests, {repeated} refresh tokens came twice, {} tokens at the end, taken over after {took:.1?}, longest wait of a caller {gap:.1?}",
                newest.len()
            ));
        }
        Ok(format!("{took:.2?} ({vendor}, {processes} processes, longest wait of a caller {gap:.0?})"))
    }
}

/// Processes that serve, the first one ahead of the others.
pub(crate) fn fleet(
    bench: &Bench,
    processes: usize,
    config: &str,
    shim: &[(&str, String)],
) -> Result<Vec<Talk>, String> {
    (0..processes).map(|_| bench.worker(&["serve", config], shim)?.talk()).collect()
}

/// What the processes tell; none of them may have met an error.
fn reports(talks: &mut [Talk]) -> Result<Vec<Value>, String> {
    talks.iter_mut().try_for_each(|talk| talk.tell("report"))?;
    let reports: Vec<Value> = talks.iter().map(|talk| talk.hear("report")).collect::<Result<_, _>>()?;
    match reports.iter().find(|report| report["errors"].as_array().is_none_or(|errors| !errors.is_empty())) {
        None => Ok(reports),
        Some(report) => Err(format!("a caller met errors: {}", report["errors"])),
    }
}

fn generations(report: &Value, profile: &str) -> Vec<u64> {
    let tokens = report["tokens"].as_array().into_iter().flatten();
    tokens.filter(|token| token[0] == profile).filter_map(|token| token[1].as_u64()).collect()
}

fn longest(reports: &[Value]) -> Duration {
    most(reports, "longest_us")
}

/// A caller who finds a stale token waits for at most a second, and a busy machine makes it longer.
fn patience(reports: &[Value]) -> Duration {
    Duration::from_secs(2) + 4 * most(reports, "stall_us")
}

fn most(reports: &[Value], what: &str) -> Duration {
    Duration::from_micros(reports.iter().filter_map(|report| report[what].as_u64()).max().unwrap_or_default())
}
