//! Proves what the stores promise where tests inside one process cannot: processes that are killed at every call, power that
//! goes, disks that are full, many processes on one account (docs/stress.md).

mod adoption;
mod cold;
mod crash;
mod disk;
mod fleet;
mod host;
mod kinds;
mod log;
mod machine;
mod power;
mod process;
mod proxy;
mod redis;
mod restored;
mod worker;

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use process::Bench;

/// What a scenario found, in figures; or what is wrong.
type Found = Result<String, String>;

type Scenario = fn(&Bench) -> Found;

/// Each proves one thing. `--long` gives them the full figures.
const SCENARIOS: &[(&str, Scenario)] = &[
    ("crash", crash::run),
    ("power", power::run),
    ("power-mutants", power::run_mutants),
    ("restored", restored::run),
    ("disk-full", disk::full),
    ("disk-read-only", disk::read_only),
    ("cold-start", cold::run),
    ("wrong-password", machine::wrong_password),
    ("machine", machine::run),
    ("holder-killed", machine::holder_killed),
    ("holder-stopped", machine::holder_stopped),
    ("adoption", adoption::run),
    ("cached", adoption::cached),
    ("fleet-start", fleet::start::cold),
    ("fleet-wrong", fleet::start::wrong_password),
    ("fleet-calm", fleet::calm::run),
    ("fleet-cut", fleet::partition::run),
    ("fleet-restart", fleet::restart::run),
    ("fleet-emptied", fleet::emptied::run),
    ("fleet-failover", fleet::failover::run),
];

/// Those of the long form alone, unless one is named.
const LONG: &[(&str, Scenario)] = &[
    ("fleet-slow", fleet::slow::run),
    ("fleet-resets", fleet::resets::run),
    ("fleet-full", fleet::full::run),
    ("fleet-holder", fleet::holder::run),
    ("fleet-adoption", fleet::measured::adoption),
    ("fleet-costs", fleet::measured::costs),
    ("fleet-cached", fleet::measured::cached),
];

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "worker") {
        return worker::main(&arguments[1..]);
    }
    let long = arguments.iter().any(|argument| argument == "--long");
    arguments.retain(|argument| argument != "--long");
    let all = || SCENARIOS.iter().chain(LONG);
    if let Some(unknown) = arguments.iter().find(|name| !all().any(|(known, _)| known == name)) {
        let known: Vec<&str> = all().map(|(name, _)| *name).collect();
        say(&format!("{unknown}: no such scenario; there are {}", known.join(", ")));
        return ExitCode::from(2);
    }
    let bench = match Bench::new(long) {
        Ok(bench) => bench,
        Err(error) => {
            say(&format!("setup: FAILED: {error}\nstress: 0 passed, 1 failed"));
            return ExitCode::FAILURE;
        }
    };
    let (mut passed, mut failed) = (0, 0);
    let usual = if long { SCENARIOS.len() + LONG.len() } else { SCENARIOS.len() };
    let wanted = |at: usize, name: &str| match arguments.is_empty() {
        true => at < usual,
        false => arguments.iter().any(|argument| argument == name),
    };
    for (_, (name, run)) in all().enumerate().filter(|(at, (name, _))| wanted(*at, name)) {
        let start = Instant::now();
        let found = run(&bench);
        let seconds = start.elapsed().as_secs_f64();
        match found {
            Ok(figures) => {
                passed += 1;
                say(&format!("{name:<15} {seconds:>6.1} s  {figures}"));
            }
            Err(why) => {
                failed += 1;
                say(&format!("{name:<15} {seconds:>6.1} s  FAILED: {why}"));
            }
        }
    }
    say(&format!("stress: {passed} passed, {failed} failed"));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn say(line: &str) {
    // Who does not listen any more is no reason to fail.
    let _ = writeln!(std::io::stdout(), "{line}");
}
