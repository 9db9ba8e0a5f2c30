//! How soon a renewed token is everybody's, and what a cached one costs.

use std::time::{Duration, Instant};

use qauth_core::{Engine, TokenOptions, TokenSource};

use crate::Found;
use crate::kinds::Kind;
use crate::machine::fleet;
use crate::process::{Bench, Site};

/// One process renews, the others adopt.
pub(crate) fn run(bench: &Bench) -> Found {
    let renewals = if bench.long { 500 } else { 100 };
    let mut figures = Vec::new();
    for kind in [Kind::Rotating, Kind::Client] {
        let site = Site::new(kind)?;
        let mut talks = fleet(bench, 4, &site.config().to_string(), &[])?;
        for talk in &talks {
            talk.hear_of_any_token()?;
        }
        let mut delays = Vec::new();
        for renewal in 0..renewals {
            let renewer = renewal % talks.len();
            talks[renewer].tell("renew")?;
            let published = talks[renewer].hear_of_token()?;
            for (index, talk) in talks.iter().enumerate().filter(|(index, _)| *index != renewer) {
                let adopted = loop {
                    let adopted = talk.hear("adopted")?;
                    if adopted["generation"].as_u64() >= published["generation"].as_u64() {
                        break adopted;
                    }
                };
                let at = |line: &serde_json::Value| line["at"].as_u64().ok_or(format!("process {index} tells no time"));
                // What must not be lost is written before it is published: it may be adopted before.
                delays.push(Duration::from_nanos(at(&adopted)?.saturating_sub(at(&published)?)));
            }
        }
        if site.host.counters(kind.vendor())?.repeated > 0 {
            return Err("a refresh token came twice".to_owned());
        }
        delays.sort_unstable();
        let at = |part: usize| delays[(delays.len() - 1) * part / 100];
        figures.push(format!(
            "{}: p50 {:.1?}, p99 {:.1?}, max {:.1?}",
            kind.vendor(),
            at(50),
            at(99),
            at(100)
        ));
        // Without being told, a sibling would look when its own token runs out: an hour from now.
        if at(50) > Duration::from_millis(250) {
            return Err(figures.join("; "));
        }
    }
    Ok(format!("{renewals} renewals, 3 siblings; {}", figures.join("; ")))
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
