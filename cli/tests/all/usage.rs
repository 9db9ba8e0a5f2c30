//! Help, version and mistyped command lines.

use qauth_core::ErrorCode;

use crate::support::Bench;

#[test]
fn version_and_help_are_results() {
    let bench = Bench::new();
    assert_eq!(bench.qauth(&["--version"]).fine(), format!("qauth {}\n", qauth_core::VERSION));
    let help = bench.qauth(&["--help"]).fine();
    for code in ErrorCode::ALL {
        let line = format!("{:4}  {}", code.exit_status(), code.name());
        assert!(help.lines().any(|shown| shown == line), "{line:?} in {help}");
    }
    for command in ["token", "request", "call", "login", "logout", "status", "clear", "providers"] {
        let help = bench.qauth(&[command, "--help"]).fine();
        assert!(help.contains(&format!("Usage: qauth {command}")) && help.contains("--config <FILE>"), "{help}");
        assert!(bench.qauth(&[command, "-h"]).fine().len() < help.len());
    }
}

#[test]
fn wrong_usage_ends_with_two() {
    let bench = Bench::new();
    for arguments in [
        &[][..],
        &["tokn", "pricing"],
        &["token"],
        &["token", "pricing", "--nonsense"],
        &["token", "pricing", "--timeout", "soon"],
        &["token", "pricing", "--timeout=-1"],
        &["token", "pricing", "--header", "--json"],
        &["request", "pricing"],
        &["request", "pricing", "GET", "/x", "/y"],
        &["request", "pricing", "/x", "--query", "nonsense"],
        &["request", "pricing", "/x", "--header", "nonsense"],
        &["request", "pricing", "/x y"],
        &["request", "pricing", "G T", "/x"],
        &["call", "pricing"],
        &["status", "pricing"],
        &["clear"],
        &["providers", "--toml"],
        &["--color", "sometimes", "providers"],
    ] {
        let output = bench.qauth(arguments);
        assert_eq!((output.status, output.stdout.as_str()), (2, ""), "{arguments:?}: {}", output.stderr);
        assert!(!output.stderr.is_empty());
    }
    assert_eq!(bench.count("quantaprice", "requests"), 0);
}

#[test]
fn with_json_wrong_usage_is_an_object_too() {
    let bench = Bench::new();
    let error = bench.qauth(&["token", "--json"]).fails_in_json(2, "invalid_argument");
    assert!(error["message"].as_str().unwrap().contains("<PROFILE>"), "{error}");
    let error = bench.qauth(&["token", "p", "--nonsense=canary", "--json"]).fails_in_json(2, "invalid_argument");
    assert!(error["message"].as_str().unwrap().contains("--nonsense"), "{error}");
    let error =
        bench.qauth(&["request", "pricing", "/x", "--query", "y", "--json"]).fails_in_json(2, "invalid_argument");
    assert!(error["message"].as_str().unwrap().contains("--query 1"), "{error}");
}

#[test]
fn an_argument_that_is_not_unicode_is_refused_without_a_panic() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let bench = Bench::new();
    let mut command = bench.command(&["token"]);
    command.arg(OsStr::from_bytes(b"\xff\xfe"));
    assert_eq!(crate::support::finish(command).status, 2);
    assert_eq!(
        qauth_cli::run_with(
            [],
            &mut qauth_cli::Streams {
                stdin: &mut std::io::empty(),
                stdout: &mut std::io::sink(),
                stderr: &mut std::io::sink(),
                stdout_is_terminal: false,
                stderr_is_terminal: false,
                no_color: true,
            },
        ),
        2
    );
}
