//! `qauth sim`.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use qauth_sim::known;

use crate::support::{Bench, finish};

#[test]
fn the_simulator_serves_until_its_input_closes() {
    let bench = Bench::new();
    let mut child = bench.bare_command(&["sim", "--until-stdin-closes"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let url = line.trim().strip_prefix("qauth-sim listening on ").unwrap();
    let mut command = bench.bare_command(&["token", "quiqup", "--set", &format!("base_url={url}/quiqup")]);
    command.env("QUIQUP_CLIENT_ID", known::QUIQUP_CLIENT_ID).env("QUIQUP_CLIENT_SECRET", known::QUIQUP_CLIENT_SECRET);
    finish(command).fine();
    drop(child.stdin.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn its_options_and_help_are_its_own() {
    let bench = Bench::new();
    let help = bench.qauth(&["sim", "--help"]).fine();
    assert!(help.contains("--until-stdin-closes"), "{help}");
    let wrong = bench.qauth(&["sim", "--nonsense"]);
    assert_eq!(wrong.status, 2, "{}", wrong.stderr);
    assert!(wrong.stderr.contains("--nonsense"), "{}", wrong.stderr);
    let port = bench.sim.addr().port().to_string();
    assert_eq!(bench.qauth(&["sim", "--port", &port]).status, 1);
}
