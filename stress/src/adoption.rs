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

/// One process renews, the others are told.
pub(crate) fn run(bench: &Bench) -> Found {
    let renewals = if bench.long { 500 } else { 100 };
    let site = Site::new(Kind::Session)?;
    let vendor = site.kind.vendor();
    site.host.settings(vendor, "lifetime", 2)?;
    let config = |mode: &str| {
        let mut config = site.config();
        let profile = config["profiles"]["p"].take();
        for account in 0..ACCOUNTS {
            let mut profile = profile.clone();
            profile["instance"] = json!(format!("shop-{account}"));
            profile["base_url"] = json!(format!("{}/quable/shop-{account}", site.host.url()));
            profile["mode"] = json!(mode);
            profile["ahead"] = json!("1s");
            config["profiles"][format!("p{account}")] = profile;
        }
        config["profiles"].as_object_mut().map(|profiles| profiles.remove("p"));
        config.to_string()
    };
    let mut talks = fleet(bench, 1, &config("always"), &[])?;
    talks[0].hear_of_token()?;
    talks.extend(fleet(bench, SIBLINGS, &config("on_demand"), &[])?);
    let enough = (ACCOUNTS + renewals) as u64;
    until("there were enough renewals", || Ok(site.host.counters(vendor)?.issued > enough))?;
    let heard: Vec<Vec<Value>> = talks.iter().map(Talk::heard).collect();
    let published = times(&heard[0], &["renewed", "obtained"]);
    let mut delays: Vec<Duration> = Vec::new();
    for sibling in &heard[1..] {
        // What was there when it began is no news to it.
        for (token, at) in times(sibling, &["adopted"]).into_iter().skip(ACCOUNTS) {
            // What must not be lost is written before it is published: it may be adopted before.
            delays.extend(published.get(&token).map(|since| Duration::from_nanos(at.saturating_sub(*since))));
        }
    }
    delays.sort_unstable();
    let missed = (SIBLINGS * renewals).saturating_sub(delays.len());
    // The last ones were still on their way; those in which a sibling itself renewed are none.
    if missed > SIBLINGS * renewals / 10 {
        return Err(format!("of {renewals} renewals {SIBLINGS} siblings took up {} only", delays.len()));
    }
    let at = |part: usize| delays[(delays.len() - 1) * part / 100];
    let figures = format!(
        "{renewals} renewals, {SIBLINGS} siblings: taken up after {:.2?} (p50), {:.2?} (p99), {:.2?} (max)",
        at(50),
        at(99),
        at(100)
    );
    // Nobody told them if they looked only when their own token had run out.
    if at(50) < Duration::from_millis(250) { Ok(figures) } else { Err(figures) }
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
