//! One exit status per error, and what is said with it.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use qauth_sim::SimOptions;
use serde_json::json;

use crate::support::{Bench, finish};

#[test]
fn wrong_credentials_are_told_apart_by_whose_they_are() {
    let bench = Bench::new();
    for (vendor, change) in [
        ("quantaprice", json!({"client_id": qauth_sim::known::QUANTAPRICE_CLIENT_ID, "client_secret": "f".repeat(64)})),
        ("quiqup", json!({"client_secret": "changed"})),
        ("quable", json!({"password": "changed"})),
        ("quartile", json!({"password": "changed"})),
        ("qpay", json!({"client_id": qauth_sim::known::QPAY_CLIENT_ID, "client_secret": "changed"})),
        ("qpay", json!({"password": "changed"})),
    ] {
        let mut change = change;
        change["vendor"] = json!(vendor);
        bench.script("credentials", change);
    }
    for (profile, status, code) in [
        ("pricing", 4, "invalid_client"),
        ("orders", 4, "invalid_client"),
        ("cards", 4, "invalid_client"),
        ("pim", 5, "invalid_grant"),
        ("reports", 5, "invalid_grant"),
        ("console", 5, "invalid_grant"),
    ] {
        for command in [&["token", profile][..], &["request", profile, "/x"]] {
            let said = bench.qauth(command).fails(status, code);
            assert!(
                said.contains(&format!("profile {profile:?}"))
                    && said.contains("hint: check the profile's credentials"),
                "{said}"
            );
        }
        let error = bench.qauth(&["token", profile, "--json"]).fails_in_json(status, code);
        assert_eq!((&error["profile"], &error["retryable"]), (&json!(profile), &json!(false)));
        assert!(error["status"].is_u64(), "{error}");
    }
}

#[test]
fn an_unknown_profile_is_named_with_those_there_are() {
    let bench = Bench::new();
    let said = bench.qauth(&["token", "nowhere"]).fails(3, "config");
    assert!(said.contains("\"nowhere\"") && said.contains("pricing"), "{said}");
    let error = bench.qauth(&["token", "nowhere", "--json"]).fails_in_json(3, "config");
    assert_eq!(error["provider"], json!(null));
    std::fs::remove_file(bench.path("qauth.toml")).unwrap();
    let said = finish(bench.bare_command(&["token", "nowhere"])).fails(3, "config");
    assert!(said.contains("there are none") && said.contains("hint: no profiles were found"), "{said}");
}

#[test]
fn a_server_that_is_not_there_is_a_network_error() {
    let bench = Bench::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let base = format!("base_url=http://127.0.0.1:{port}");
    let said = bench.qauth(&["token", "orders", "--set", &base]).fails(10, "network");
    assert!(said.contains(&format!("127.0.0.1:{port}")) && said.contains("hint: check base_url"), "{said}");
    let error = bench.qauth(&["request", "orders", "/x", "--set", &base, "--json"]).fails_in_json(10, "network");
    assert_eq!(error["retryable"], true);
}

#[test]
fn a_slow_server_is_a_timeout_at_the_time_that_was_given() {
    let bench = Bench::new();
    for vendor in ["quiqup", "quartile"] {
        bench.script("settings", json!({"vendor": vendor, "delay_ms": 20_000, "api_delay_ms": 20_000}));
    }
    let started = Instant::now();
    for command in [&["token", "orders"][..], &["request", "orders", "/orders"], &["call", "reports", "validate"]] {
        let command: Vec<&str> = command.iter().copied().chain(["--timeout", "0.3"]).collect();
        let said = bench.qauth(&command).fails(11, "timeout");
        assert!(said.contains("hint: --timeout SECONDS"), "{said}");
    }
    assert!(started.elapsed() < Duration::from_secs(12), "{:?}", started.elapsed());
}

#[test]
fn a_busy_server_and_a_broken_one_are_told_apart() {
    let bench = Bench::new();
    let busy =
        json!({"vendor": "quiqup", "endpoint": "token", "status": 429, "headers": {"Retry-After": "60"}, "times": 9});
    bench.script("faults", busy);
    let error = bench.qauth(&["token", "orders", "--json", "--timeout", "2"]).fails_in_json(8, "rate_limited");
    assert!(error["retry_after"].as_f64().is_some_and(|after| after > 50.0), "{error}");
    bench.script(
        "faults",
        json!({"vendor": "quantaprice", "endpoint": "token", "status": 200, "body": "<html>", "times": 9}),
    );
    bench.qauth(&["token", "pricing"]).fails(13, "protocol");
    bench.fault("qpay", "token", 500, 9);
    bench.qauth(&["token", "cards"]).fails(9, "server_error");
}

#[test]
fn an_unknown_certificate_is_a_tls_error() {
    let bench = Bench::with(SimOptions { tls: true, ..SimOptions::default() });
    let said = bench.qauth(&["token", "orders"]).fails(12, "tls");
    assert!(said.contains("ca_file"), "{said}");
    let config = std::fs::read_to_string(bench.path("qauth.toml")).unwrap();
    bench.file("ca.pem", bench.sim.ca_pem().unwrap());
    bench.file("qauth.toml", &format!("{config}\n[transport]\nca_file = \"ca.pem\"\n"));
    bench.qauth(&["token", "orders"]).fine();
}

#[test]
fn what_the_server_says_is_shown_without_the_secrets_in_it() {
    let bench = Bench::new();
    let description = format!("the secret {} is wrong", qauth_sim::known::QUIQUP_CLIENT_SECRET);
    let body = json!({"error": "invalid_client", "error_description": description});
    bench.script("faults", json!({"vendor": "quiqup", "endpoint": "token", "status": 401, "body": body, "times": 2}));
    let said = bench.qauth(&["token", "orders"]).fails(4, "invalid_client");
    assert!(said.contains("the secret *** is wrong"), "{said}");
    let error = bench.qauth(&["token", "orders", "--json"]).fails_in_json(4, "invalid_client");
    assert_eq!((&error["status"], &error["server_error"]), (&json!(401), &json!("invalid_client")));
    assert_eq!(error["server_error_description"], "the secret *** is wrong");
}

#[test]
fn a_static_token_that_is_rejected_is_the_apis_own_401() {
    let bench = Bench::new();
    bench.script("revoke", json!({"vendor": "quable", "generic_token": true}));
    let printed = bench.qauth(&["request", "generic", "/api/products", "--include"]).fine();
    assert!(printed.starts_with("HTTP/1.1 401\n"), "{printed}");
    let failed = bench.qauth(&["request", "generic", "/api/products", "--fail"]);
    assert_eq!(failed.status, 7, "{}", failed.stderr);
}
