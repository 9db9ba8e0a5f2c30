//! The server dies and comes back, with what it has written and without (faults 67, 69).

use super::{Fleet, LIFETIME};
use crate::Found;
use crate::process::Bench;
use crate::redis::Redis;

pub(crate) fn run(bench: &Bench) -> Found {
    let rounds = if bench.long { 5 } else { 1 };
    let mut server = Redis::start(&["--appendonly", "yes", "--appendfsync", "always"])?;
    let mut fleet = Fleet::on(bench, server.port, Some(LIFETIME))?;
    fleet.go()?;
    fleet.until_renewed(1)?;
    for _ in 0..rounds {
        for keeps in [true, false] {
            server.kill();
            if !keeps {
                server.forget()?;
            }
            std::thread::sleep(LIFETIME / 2);
            server.start_again()?;
            // Its refresh token outlives the server: in what that has written, or in the processes.
            fleet.recovered(1)?;
        }
    }
    Ok(format!(
        "{} nodes, {rounds} restarts with its data and {rounds} without: one login, nothing sent twice",
        fleet.nodes
    ))
}
