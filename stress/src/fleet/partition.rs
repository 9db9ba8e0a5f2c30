//! Half of the fleet cannot reach the store for longer than a token lives (fault 67).

use std::time::Instant;

use super::{EARLIEST, Fleet, LIFETIME, Report, TIMEOUT, at, plain_redis};
use crate::Found;
use crate::process::Bench;
use crate::proxy::{Link, Proxy};

pub(crate) fn run(bench: &Bench) -> Found {
    let rounds = if bench.long { 5 } else { 1 };
    let server = plain_redis()?;
    let link = Proxy::before(server.port)?;
    let (near, far) = (at(server.port), at(link.port));
    let mut fleet = Fleet::new(bench, &[near.clone(), near, far.clone(), far], Some(LIFETIME))?;
    fleet.go()?;
    fleet.until_renewed(1)?;
    let (mut errors, mut alone) = (0, 0);
    for _ in 0..rounds {
        let cut_off = cut(&mut fleet, &link)?;
        errors += cut_off.errors();
        alone += cut_off.0["plain"].requests;
        link.link(Link::Pass);
        fleet.recovered(1)?;
    }
    Ok(format!(
        "{} of {} nodes cut off {rounds} times: no login for what is shared by them ({errors} calls told so), {alone} of their own",
        fleet.nodes / 2,
        fleet.nodes
    ))
}

/// What the half that is cut off tells.
fn cut(fleet: &mut Fleet, link: &Proxy) -> Result<Report, String> {
    link.link(Link::Cut);
    // What was looked at before, is sent.
    std::thread::sleep(TIMEOUT);
    fleet.mark()?;
    let begun = Instant::now();
    let half = fleet.nodes as u64 / 2;
    let reports = fleet.until_each("those that are cut off say so", |reports| {
        let far = Report::sum(&reports[2..]);
        begun.elapsed() > 2 * LIFETIME && ["session", "rotating"].iter().all(|name| far.0[name].failing == half)
    })?;
    // Who holds the lease may be on the wrong side: then the others wait, for longer than their tokens live.
    Report::sum(&reports[..2]).smooth()?;
    let far = Report::sum(&reports[2..]);
    far.at_most_unavailable()?;
    for name in ["session", "rotating"] {
        if far.0[name].requests != 0 {
            return Err(format!("{name}: {} requests from those that are cut off", far.0[name].requests));
        }
    }
    let (plain, lifetimes) = (&far.0["plain"], begun.elapsed().as_secs_f64() / (LIFETIME.as_secs_f64() * EARLIEST));
    if !plain.errors.is_empty() || plain.most_requests > lifetimes as u64 + 1 {
        return Err(format!(
            "plain: in {lifetimes:.1} lifetimes a node sent {} requests, {:?} {}",
            plain.most_requests, plain.errors, plain.said
        ));
    }
    Ok(far)
}
