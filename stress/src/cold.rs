//! Eighty processes that begin at once on an empty store: one login, and soon a token for all (fault 71).

use std::time::Duration;

use crate::Found;
use crate::kinds::Kind;
use crate::process::{Bench, Site, Worker};
use crate::worker::now_ns;

const PROCESSES: usize = 80;
const LOGIN_MS: u64 = 50;

pub(crate) fn run(bench: &Bench) -> Found {
    let spawning = burst(bench, "no-token", &Site::new(Kind::Session)?)?;
    let site = Site::new(Kind::Session)?;
    site.host.settings(site.kind.vendor(), "delay_ms", LOGIN_MS)?;
    let served = burst(bench, "cold", &site)?;
    match site.host.counters(site.kind.vendor())?.requests {
        1 => Ok(format!(
            "{PROCESSES} processes, one login of {LOGIN_MS} ms; the last one served after {} ms, of which spawning alone takes {} ms",
            served.as_millis(),
            spawning.as_millis()
        )),
        logins => Err(format!("{logins} logins")),
    }
}

/// From before the first process begins until the last one is as far.
fn burst(bench: &Bench, mode: &str, site: &Site) -> Result<Duration, String> {
    let config = site.config().to_string();
    let start = now_ns();
    let workers: Vec<Worker> = (0..PROCESSES).map(|_| bench.worker(&[mode, &config], &[])).collect::<Result<_, _>>()?;
    let mut last = start;
    for worker in workers {
        let said = worker.end()?.said;
        last = last.max(said["at"].as_u64().ok_or_else(|| format!("a process without a token: {said}"))?);
    }
    Ok(Duration::from_nanos(last - start))
}
