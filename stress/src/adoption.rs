//! How soon a renewed token is everybody's, and what a cached one costs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use qauth_core::{Engine, TokenOptions, TokenSource};
use serde_json::{Value, json};

use crate::Found;
use crate::disk::until;
use crate::kinds::Kind;
use crate::machine::fleet;
use crate::process::{Bench, Site, Talk};

/// Accounts that are renewed side by side.
const ACCOUNTS: usize = 10;
const SIBLINGS: usize = 3;

/// One process renews, the others are told: of what was written before it was published, and of what was written after.
pub(crate) fn run(bench: &Bench) -> Found {
    let renewals = if bench.long { 500 } else { 50 };
    let figures = [Kind::Session, Kind::Client].map(|kind| of_kind(bench, kind, renewals));
    let [session, client] = figures;
    Ok(format!("{renewals} renewals each, {SIBLINGS} siblings; {}; {}", session?, client?))
}

fn of_kind(bench: &Bench, kind: Kind, renewals: usize) -> Found {
    let (site, vendor) = (Site::new(kind)?, kind.vendor());
    site.host.settings(vendor, "lifetime", 2)?;
    let mut profiles = json!({});
    for account in 0..ACCOUNTS {
        profiles[format!("p{account}")] = account_of(&site, account)?;
    }
    let config = |mode: &str| {
        let mut config = site.config();
        config["profiles"] = profiles.clone();
        for account in 0..ACCOUNTS {
            config["profiles"][format!("p{account}")]["mode"] = json!(mode);
        }
        config.to_string()
    };
    let mut talks = fleet(bench, 1, &config("always"), &[])?;
    talks[0].hear_of_token()?;
    talks.extend(fleet(bench, SIBLINGS, &config("on_demand"), &[])?);
    let enough = (2 * ACCOUNTS + renewals) as u64;
    until("there were enough renewals", || Ok(site.host.counters(vendor)?.issued > enough))?;
    let heard: Vec<Vec<Value>> = talks.iter().map(Talk::heard).collect();
    let published = times(&heard[0], &["renewed", "obtained"]);
    let mut delays: Vec<Duration> = Vec::new();
    for sibling in &heard[1..] {
        // What was there when it began is no news to it.
        for (token, at) in times(sibling, &["adopted"]).into_iter().skip(ACCOUNTS) {
            // What must not be lost is written before it is published, so that a sibling may be first.
            delays.extend(published.get(&token).map(|since| Duration::from_nanos(at.saturating_sub(*since))));
        }
    }
    delays.sort_unstable();
    // The last ones were still on their way; one that a sibling itself renewed is none.
    if delays.len() < SIBLINGS * renewals * 9 / 10 {
        return Err(format!("{vendor}: of {renewals} renewals {SIBLINGS} siblings took up {} only", delays.len()));
    }
    let at = |part: usize| delays[(delays.len() - 1) * part / 100];
    let figures = format!("{vendor}: p50 {:.2?}, p99 {:.2?}, max {:.2?}", at(50), at(99), at(100));
    // Nobody told them if they looked only when their own token had run out.
    if at(50) < Duration::from_millis(250) { Ok(figures) } else { Err(figures) }
}

/// One of many accounts at the vendor.
fn account_of(site: &Site, account: usize) -> Result<Value, String> {
    let mut profile = site.config()["profiles"]["p"].take();
    match site.kind {
        Kind::Client => {
            let (id, secret) = (format!("{account:024x}"), format!("{account:064x}"));
            let accepted = json!({"vendor": site.kind.vendor(), "client_id": id, "client_secret": secret});
            site.host.control("credentials", &accepted)?;
            (profile["client_id"], profile["client_secret"]) = (json!(id), json!(secret));
        }
        _ => {
            profile["instance"] = json!(format!("shop-{account}"));
            profile["base_url"] = json!(format!("{}/quable/shop-{account}", site.host.url()));
        }
    }
    profile["buffer"] = json!("200ms");
    profile["ahead"] = json!("1s");
    Ok(profile)
}

/// When each token came first, by profile and generation.
fn times(lines: &[Value], kinds: &[&str]) -> BTreeMap<(u64, String), u64> {
    let mut times = BTreeMap::new();
    for line in lines.iter().filter(|line| kinds.iter().any(|kind| line["event"] == *kind)) {
        if let (Some(profile), Some(generation), Some(at)) =
            (line["profile"].as_str(), line["generation"].as_u64(), line["at"].as_u64())
        {
            times.entry((generation, profile.to_owned())).or_insert(at);
        }
    }
    times
}

/// With the file store a cached token costs what it costs without.
pub(crate) fn cached(_: &Bench) -> Found {
    let site = Site::new(Kind::Client)?;
    let with = cached_source(&site.config().to_string())?;
    let without = cached_source(&site.kind.config(&site.host.url(), None, None).to_string())?;
    let (mut file, mut memory) = (f64::MAX, f64::MAX);
    // In turns, and the best of each: what else the machine does meets both.
    for _ in 0..20 {
        file = file.min(nanoseconds(&with)?);
        memory = memory.min(nanoseconds(&without)?);
    }
    let figures = format!("{file:.1} ns with the file store, {memory:.1} ns with memory");
    if file < 1.5 * memory { Ok(figures) } else { Err(figures) }
}

fn cached_source(config: &str) -> Result<TokenSource, String> {
    let source = Engine::from_json(config).and_then(|engine| engine.source("p")).map_err(|error| error.to_string())?;
    source.token_blocking(TokenOptions::default()).map_err(|error| error.to_string())?;
    Ok(source)
}

/// Of one look at the cached token.
fn nanoseconds(source: &TokenSource) -> Result<f64, String> {
    const LOOKS: u32 = 100_000;
    let start = Instant::now();
    for _ in 0..LOOKS {
        source.with_cached(|token| std::hint::black_box(token.access_token().len())).ok_or("no token is cached")?;
    }
    Ok(start.elapsed().as_nanos() as f64 / f64::from(LOOKS))
}
