//! Another server becomes the master (fault 68).

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Fleet, LIFETIME, PATIENCE, PROCESSES};
use crate::Found;
use crate::process::Bench;
use crate::proxy::{Link, Proxy};
use crate::redis::Redis;

pub(crate) fn run(bench: &Bench) -> Found {
    if bench.long {
        let ways = [in_the_middle, without_the_last_write, without_the_note];
        return ways.map(|way| way(bench)).into_iter().collect::<Result<Vec<_>, _>>().map(|found| found.join("; "));
    }
    // Each waits for its sentinel most of the time.
    std::thread::scope(|scope| {
        let other = scope.spawn(|| in_the_middle(bench));
        let lost = without_the_last_write(bench);
        let known = other.join().unwrap_or(Err("it panicked".to_owned()));
        Ok(format!("{}; {}", known?, lost?))
    })
}

struct Pair {
    master: Redis,
    replica: Redis,
    /// Between the two.
    link: Proxy,
    sentinel: Redis,
}

impl Pair {
    fn start() -> Result<Pair, String> {
        let (master, replica) = (Redis::start(&["--repl-diskless-sync-delay", "0"])?, Redis::start(&[])?);
        let link = Proxy::before(master.port)?;
        replica.tell::<String>(&format!("REPLICAOF 127.0.0.1 {}", link.port))?;
        until("the replica follows", || {
            Ok(replica.tell::<String>("INFO replication")?.contains("master_link_status:up"))
        })?;
        let sentinel = Redis::sentinel(master.port)?;
        let pair = Pair { master, replica, link, sentinel };
        until("the sentinel knows the replica", || {
            let replicas: Vec<std::collections::HashMap<String, String>> =
                pair.sentinel.tell("SENTINEL replicas main")?;
            Ok(replicas.iter().any(|replica| replica["flags"] == "slave" && replica["master-link-status"] == "ok"))
        })?;
        Ok(pair)
    }

    fn fleet(&self, bench: &Bench) -> Result<Fleet, String> {
        let store = json!({"sentinels": [format!("127.0.0.1:{}", self.sentinel.port)], "master": "main"});
        let stores: Vec<Value> = (0..PROCESSES).map(|_| store.clone()).collect();
        let mut fleet = Fleet::new(bench, &stores, Some(LIFETIME))?;
        fleet.go()?;
        fleet.until_renewed(1)?;
        Ok(fleet)
    }

    fn until_replaced(&self) -> Result<(), String> {
        until("the replica is the master", || {
            let named: (String, u16) = self.sentinel.tell("SENTINEL get-master-addr-by-name main")?;
            Ok(named.1 == self.replica.port && self.replica.tell::<String>("INFO replication")?.contains("role:master"))
        })
    }
}

/// While the vendor takes its time to answer. The replica has all that the master had.
fn in_the_middle(bench: &Bench) -> Found {
    let pair = Pair::start()?;
    let mut fleet = pair.fleet(bench)?;
    let before = fleet.counters()?["rotating"];
    fleet.host.control("faults", &json!({"vendor": "quartile", "endpoint": "token", "delay_ms": 2000}))?;
    until("somebody renews", || Ok(fleet.counters()?["rotating"].requests > before.requests))?;
    pair.sentinel.tell::<String>("SENTINEL FAILOVER main")?;
    pair.until_replaced()?;
    fleet.recovered(1)?;
    Ok("failover in the middle of a renewal: one login, nothing sent twice".to_owned())
}

/// The last refresh token reached the old master and the processes, and no other server.
fn without_the_last_write(bench: &Bench) -> Found {
    let mut pair = Pair::start()?;
    let mut fleet = pair.fleet(bench)?;
    pair.link.link(Link::Cut);
    fleet.mark()?;
    // A renewal may have been under way, so two: the second one is surely not on the replica.
    fleet.until_renewed(2)?;
    pair.master.kill();
    pair.link.link(Link::Refuse);
    pair.until_replaced()?;
    fleet.recovered(1)?;
    Ok("failover to a replica that lacks the last write: the same".to_owned())
}

/// A refresh token is on its way, and what told of it, lease and note, went with the old master.
fn without_the_note(bench: &Bench) -> Found {
    let mut pair = Pair::start()?;
    let mut fleet = pair.fleet(bench)?;
    fleet.settled()?;
    pair.link.link(Link::Cut);
    let before = fleet.counters()?["rotating"];
    fleet.host.control("faults", &json!({"vendor": "quartile", "endpoint": "token", "delay_ms": 6000}))?;
    until("somebody renews", || Ok(fleet.counters()?["rotating"].requests > before.requests))?;
    pair.master.kill();
    pair.link.link(Link::Refuse);
    pair.until_replaced()?;
    fleet.until("all agree again", |report| report.0.values().all(super::Account::agrees))?.at_most_unavailable()?;
    fleet.mark()?;
    fleet.until_renewed(2)?.at_most_unavailable()?;
    let rotating = fleet.settled()?.1["rotating"];
    // Nobody but the one who waits for the answer can know: one more try for each failover (docs/protocol.md).
    match rotating.repeated {
        0 | 1 => Ok(format!("to one that lacks the note of a renewal under way: {} sent twice", rotating.repeated)),
        _ => Err(format!("rotating: {rotating:?}")),
    }
}

fn until(what: &str, mut so: impl FnMut() -> Result<bool, String>) -> Result<(), String> {
    let begun = Instant::now();
    // A server that changes its role ends connections, be it in the middle of a question.
    while !so().unwrap_or(false) {
        if begun.elapsed() > PATIENCE {
            return Err(format!("{what}: not within {PATIENCE:?}"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
