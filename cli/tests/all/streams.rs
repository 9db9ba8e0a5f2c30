//! Pipes that close, disks that are full, colours.

use std::fs::File;
use std::io::Read;
use std::process::Stdio;

use crate::support::{Bench, finish};

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let bench = Bench::new();
    for arguments in
        [&["token", "orders"][..], &["call", "pricing", "prices", "sku=1"], &["providers"], &["--help"], &["--version"]]
    {
        let mut child = bench.command(arguments).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]), "{arguments:?}");
    }
    let mut child = bench.command(&["request", "orders", "/large?bytes=900000"]).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 10]).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn a_full_disk_is_an_error_of_its_own() {
    let bench = Bench::new();
    for arguments in [&["token", "orders"][..], &["providers"], &["--help"]] {
        let mut command = bench.command(arguments);
        command.stdout(Stdio::from(File::options().write(true).open("/dev/full").unwrap()));
        let output = finish(command);
        output.fails(74, "output");
    }
    let mut command = bench.command(&["token", "orders", "--json"]);
    command.stdout(Stdio::from(File::options().write(true).open("/dev/full").unwrap()));
    finish(command).fails_in_json(74, "output");
}

#[test]
fn a_pipe_has_no_colours_and_a_terminal_has_them() {
    let bench = Bench::new();
    for arguments in
        [&["providers"][..], &["providers", "qpay"], &["token", "nowhere"], &["tokn"], &["--help"], &["status"]]
    {
        let colored =
            |output: &crate::support::Output| (output.stdout.contains('\x1b'), output.stderr.contains('\x1b'));
        assert_eq!(colored(&bench.qauth(arguments)), (false, false), "{arguments:?}");
        let shown = bench.in_process(arguments, true);
        assert_eq!(colored(&shown), (!shown.stdout.is_empty(), !shown.stderr.is_empty()), "{arguments:?}");
        let never: Vec<&str> = arguments.iter().copied().chain(["--color", "never"]).collect();
        assert_eq!(colored(&bench.in_process(&never, true)), (false, false), "{arguments:?}");
        let always: Vec<&str> = ["--color=always"].iter().chain(arguments).copied().collect();
        assert_ne!(colored(&bench.qauth(&always)), (false, false), "{arguments:?}");
    }
}

#[test]
fn results_themselves_are_never_coloured() {
    let bench = Bench::new();
    for arguments in [&["token", "orders"][..], &["token", "orders", "--json"], &["request", "orders", "/orders", "-i"]]
    {
        let always: Vec<&str> = arguments.iter().copied().chain(["--color", "always"]).collect();
        assert!(!bench.qauth(&always).fine().contains('\x1b'));
    }
}

#[test]
fn quiet_leaves_the_error_and_takes_the_hint() {
    let bench = Bench::new();
    let said = bench.qauth(&["token", "orders", "--set", "environment=nowhere"]).fails(3, "config");
    assert_eq!(said.lines().count(), 2, "{said}");
    let said = bench.qauth(&["token", "orders", "--set", "environment=nowhere", "-q"]).fails(3, "config");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn the_library_can_run_many_commands_in_one_process() {
    let bench = Bench::new();
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let _ = bench.in_process(&["token", "orders"], false).fine();
    for _ in 0..3 {
        let first = bench.in_process(&["token", "orders"], false).fine();
        assert!(!first.is_empty());
        bench.in_process(&["token", "nowhere"], false).fails(3, "config");
    }
    assert!(threads() < 64, "{}", threads());
}
