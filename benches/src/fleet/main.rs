//! A simulated day of a fleet: real engines on one clock, before simulated token servers and a simulated Redis.
//!
//! `fleet [--nodes 10000] [--profiles 100] [--hours 24] [--start 300] [--redis-outage 300] [--vendor-outage 600] [--spread 30] [--deaths 5] [--seed 42]`

mod run;
mod world;

use std::process::ExitCode;
use std::time::Instant;

use run::{Plan, Report, simulate};
use world::{Kind, Second};

#[allow(clippy::print_stdout, clippy::print_stderr)]
fn main() -> ExitCode {
    let Some(plan) = plan(std::env::args().skip(1)) else {
        eprintln!(
            "usage: fleet [--nodes N] [--profiles N] [--hours N] [--start SECONDS] [--redis-outage SECONDS] [--vendor-outage SECONDS] [--spread SECONDS] [--deaths N] [--seed N]"
        );
        return ExitCode::from(2);
    };
    let begin = Instant::now();
    match simulate(&plan) {
        Ok(report) => {
            print(&plan, &report);
            println!("{:.0} s of real time, {} MiB", begin.elapsed().as_secs_f64(), memory());
            ExitCode::from(u8::from(report.met.errors_else > 0))
        }
        Err(error) => {
            eprintln!("fleet: {error}");
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stdout)]
fn print(plan: &Plan, report: &Report) {
    let Plan { nodes, profiles, seconds, start, redis_outage, vendor_outage, seed, .. } = plan;
    let hours = *seconds as f64 / 3600.0;
    println!("{nodes} nodes with {profiles} profiles, {hours} h; all have started after {start} s; seed {seed}");
    println!("Redis is away for {redis_outage} s, the token servers for {vendor_outage} s\n");
    println!("profiles                      renewals each   of these logins   one per lifetime   spent twice");
    for (kind, name) in [
        (Kind::ClientCredentials, "client credentials"),
        (Kind::Rotating, "rotating"),
        (Kind::SingleSession, "single session"),
    ] {
        for lifetime in [300, 900, 3600, 43_200] {
            let of: Vec<_> = report
                .state
                .vendors
                .iter()
                .filter(|vendor| vendor.kind == kind && vendor.lifetime == lifetime)
                .collect();
            if of.is_empty() {
                continue;
            }
            let each = |count: &dyn Fn(&world::Vendor) -> u32| {
                of.iter().map(|vendor| f64::from(count(vendor))).sum::<f64>() / of.len() as f64
            };
            println!(
                "{:>3} {name:<18} {lifetime:>6} s {:>12.1} {:>17.1} {:>18.1} {:>13.1}",
                of.len(),
                each(&|vendor| vendor.logins + vendor.refreshes),
                each(&|vendor| vendor.logins),
                (*seconds as f64 / lifetime as f64).max(1.0),
                each(&|vendor| vendor.spent_twice),
            );
        }
    }
    let phases = phases(plan);
    println!("\na second of                 cold start       steady    Redis away   Redis back  servers away");
    let line = |name: &str, count: &dyn Fn(&Second) -> f64| {
        let figures = phases.each_ref().map(|phase| {
            let seconds = &report.state.seconds[phase.clone()];
            let sum: f64 = seconds.iter().map(count).sum();
            let peak = seconds.iter().map(count).fold(0.0, f64::max);
            format!("{:.1}/{peak:.0}", sum / seconds.len().max(1) as f64)
        });
        println!("{name:<22}{}", figures.map(|figure| format!("{figure:>14}")).concat());
    };
    line("logins and refreshes", &|second| f64::from(second.logins));
    line("  refused", &|second| f64::from(second.refused));
    line("Redis: operations", &|second| f64::from(second.operations()));
    line("  loads", &|second| f64::from(second.loads));
    line("  swaps", &|second| f64::from(second.swaps));
    line("  leases", &|second| f64::from(second.leases));
    line("  releases", &|second| f64::from(second.releases));
    line("  subscribes", &|second| f64::from(second.subscribes));
    line("  unreachable", &|second| f64::from(second.unreachable));
    line("announcements", &|second| f64::from(second.announcements));
    line("  messages", &|second| second.messages as f64);
    println!("(average/largest second)\n");
    let total = |count: &dyn Fn(&Second) -> f64| report.state.seconds.iter().map(count).sum::<f64>();
    let (renewals, operations) =
        (total(&|second| f64::from(second.logins)), total(&|second| f64::from(second.operations())));
    let others = total(&|second| f64::from(second.leases + second.swaps + second.releases));
    println!(
        "renewals {renewals:.0}; operations for each {:.1}, without loads {:.1}; messages {:.0}",
        operations / renewals,
        others / renewals,
        total(&|second| second.messages as f64) / renewals
    );
    println!("operations of a node in an hour {:.0}", operations / *nodes as f64 / hours);
    println!(
        "Redis at work {:.2} % of the time; its longest queue {:.0} ms",
        100.0 * report.state.busy.as_secs_f64() / *seconds as f64,
        report.state.longest_queue.as_secs_f64() * 1e3
    );
    println!("calls {}, nodes that died with a lease {}", report.met.calls, report.state.dead.len());
    for (waits, name) in report.met.waits.iter().zip(["first use of a profile by a node", "later"]) {
        let mut waits = waits.clone();
        waits.sort_unstable();
        let at = |part: f64| {
            waits.get((waits.len() as f64 * part) as usize).or(waits.last()).map_or(0.0, |wait| f64::from(*wait) / 1e3)
        };
        let waited = waits.iter().filter(|wait| **wait > 0).count();
        println!(
            "not served by the cache, {name}: {}, of these waited {waited}; ms: p50 {:.1}, p99 {:.1}, p99.9 {:.1}, max {:.1}",
            waits.len(),
            at(0.5),
            at(0.99),
            at(0.999),
            at(1.0)
        );
    }
    let met = &report.met;
    println!(
        "errors: Redis away {}, servers away {}, else {} {}",
        met.errors_redis_away,
        met.errors_vendors_away,
        met.errors_else,
        met.first_error_else.as_deref().unwrap_or_default()
    );
    println!("calls served a session's token that a login had ended {}", met.dead_tokens);
}

/// Cold start, steady, Redis away, five minutes after that, servers away.
fn phases(plan: &Plan) -> [std::ops::Range<usize>; 5] {
    let (redis, vendors) = (plan.redis_away(), plan.vendors_away());
    let at = |time: std::time::Duration| time.as_secs() as usize;
    let cold = (plan.start + 60).min(plan.seconds);
    let back = at(redis.end);
    [
        0..cold,
        cold.min(at(redis.start))..at(redis.start),
        at(redis.start)..back,
        back..(back + 300).min(plan.seconds),
        at(vendors.start)..at(vendors.end),
    ]
}

/// The most that was in use, in MiB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn plan(mut arguments: impl Iterator<Item = String>) -> Option<Plan> {
    let mut plan = Plan {
        nodes: 10_000,
        profiles: 100,
        seconds: 86_400,
        start: 300,
        redis_outage: 300,
        vendor_outage: 600,
        spread: 30,
        deaths: 5,
        seed: 42,
    };
    while let Some(name) = arguments.next() {
        let value = arguments.next()?.parse::<usize>().ok()?;
        match name.as_str() {
            "--nodes" => plan.nodes = value.max(1),
            "--profiles" => plan.profiles = value.max(1),
            "--hours" => plan.seconds = 3600 * value.max(1),
            "--start" => plan.start = value,
            "--redis-outage" => plan.redis_outage = value,
            "--vendor-outage" => plan.vendor_outage = value,
            "--spread" => plan.spread = value,
            "--deaths" => plan.deaths = value,
            "--seed" => plan.seed = value as u64,
            _ => return None,
        }
    }
    Some(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fifty nodes with ten profiles, three hours.
    fn small() -> Plan {
        Plan {
            nodes: 50,
            profiles: 10,
            seconds: 3 * 3600,
            start: 300,
            redis_outage: 300,
            vendor_outage: 600,
            spread: 30,
            deaths: 2,
            seed: 42,
        }
    }

    fn renewals(report: &Report) -> Vec<u32> {
        report.state.vendors.iter().map(|vendor| vendor.logins + vendor.refreshes).collect()
    }

    /// faults 16, 17
    #[test]
    fn a_fleet_logs_in_once_per_token_and_no_caller_notices() {
        let plan = Plan { redis_outage: 0, vendor_outage: 0, deaths: 0, ..small() };
        let report = simulate(&plan).unwrap();
        assert_eq!((report.met.errors_else, report.met.dead_tokens), (0, 0), "{:?}", report.met.first_error_else);
        assert!(report.met.calls > 15_000, "{} calls", report.met.calls);
        for (number, renewals) in renewals(&report).into_iter().enumerate() {
            let vendor = run::vendor(number);
            // Renewed before its end, and not where nobody has used it since.
            let most = 1.4 * (plan.seconds as f64 / vendor.lifetime as f64) + 1.0;
            assert!(renewals >= 1 && f64::from(renewals) <= most, "profile {number}: {renewals}, at most {most}");
        }
        let seconds = &report.state.seconds;
        let sum = |count: &dyn Fn(&Second) -> u32| f64::from(seconds.iter().map(count).sum::<u32>());
        let renewed = sum(&|second| second.logins);
        // A lease, a token, an intent or another lease where tokens rotate, and the lease given back; and one look each.
        assert!(sum(&|second| second.swaps) <= 2.0 * renewed && sum(&|second| second.releases) <= 1.2 * renewed);
        assert!(
            sum(&|second| second.loads) <= 1.5 * renewed * plan.nodes as f64,
            "{}",
            sum(&|second| second.loads) / renewed
        );
        assert!(seconds.iter().all(|second| second.logins <= plan.profiles as u32));
    }

    /// faults 19, 66, 67
    #[test]
    fn outages_and_nodes_that_die_are_noticed_only_where_no_token_is_left() {
        let plan = small();
        let report = simulate(&plan).unwrap();
        let met = &report.met;
        assert_eq!((met.errors_else, met.errors_redis_away), (0, 0), "{:?}", met.first_error_else);
        assert_eq!((report.state.dead.len(), met.dead_tokens), (2, 0));
        let refresh_tokens_spent_twice: u32 = report.state.vendors.iter().map(|vendor| vendor.spent_twice).sum();
        assert_eq!(refresh_tokens_spent_twice, 0);
        // Tokens of an hour outlive five minutes without Redis: nobody logs in alone.
        let of_an_hour = renewals(&report)[3..8].iter().max().copied().unwrap();
        assert!(of_an_hour <= 10, "{of_an_hour}");
        let back = plan.redis_away().end.as_secs() as usize;
        let largest = report.state.seconds[back..back + 60].iter().map(Second::operations).max().unwrap();
        assert!(largest <= 4 * plan.nodes as u32, "{largest} operations in one second after Redis came back");
    }
}
