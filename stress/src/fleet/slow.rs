//! Every answer of the server comes late; then too late (fault 67).

use std::time::Duration;

use super::{Fleet, TIMEOUT, plain_redis};
use crate::Found;
use crate::process::Bench;
use crate::proxy::{Link, Proxy};

/// A renewal is seven questions, one after the other, and a fifth of the lifetime is left for it.
const LIFETIME: Duration = Duration::from_secs(12);
const LATE: Duration = Duration::from_millis(300);

pub(crate) fn run(bench: &Bench) -> Found {
    let server = plain_redis()?;
    let link = Proxy::before(server.port)?;
    let mut fleet = Fleet::on(bench, link.port, Some(LIFETIME))?;
    fleet.go()?;
    fleet.until_renewed(0)?;
    link.link(Link::Delay(LATE));
    fleet.until_renewed(2)?.smooth()?;
    fleet.mark()?;
    link.link(Link::Delay(2 * TIMEOUT));
    std::thread::sleep(LIFETIME * 3 / 2);
    let told = fleet.report()?.at_most_unavailable()?.errors();
    link.link(Link::Pass);
    fleet.recovered(1)?;
    Ok(format!(
        "{} nodes, answers after {LATE:?}: no error; after {:?}: {told} calls told so, then as before",
        fleet.nodes,
        2 * TIMEOUT
    ))
}
