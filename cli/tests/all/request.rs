//! `qauth request`.

use serde_json::{Value, json};

use crate::support::{Bench, PROFILES};

#[test]
fn every_vendors_api_is_reached_and_its_body_printed_as_it_is() {
    let bench = Bench::new();
    for (profile, path) in PROFILES {
        let body = bench.qauth(&["request", profile, path]).fine();
        assert!(serde_json::from_str::<Value>(&body).is_ok_and(|body| !body.is_null()), "{profile}: {body}");
    }
}

#[test]
fn method_query_headers_and_body_are_sent_as_given() {
    let bench = Bench::new();
    let seen = bench
        .qauth(&[
            "request",
            "orders",
            "patch",
            "/echo?x=1",
            "--query",
            "q=a b&c",
            "--query",
            "q=2",
            "--header",
            "X-One: 1",
            "-H",
            "Content-Type: text/plain",
            "--data",
            "[1]",
        ])
        .json();
    assert_eq!((&seen["method"], &seen["query"]), (&json!("PATCH"), &json!("x=1&q=a+b%26c&q=2")));
    let headers = &seen["headers"];
    assert_eq!((&headers["x-one"], &headers["content-type"]), (&json!("1"), &json!("text/plain")));
    assert_eq!((&headers["authorization"], &seen["body"]), (&json!("present"), &json!("[1]")));
}

#[test]
fn the_body_comes_from_a_file_or_standard_input_and_makes_it_a_post() {
    let bench = Bench::new();
    bench.file("body.json", "{\"n\": 1}\n");
    let seen = bench.qauth(&["request", "orders", "/echo", "--data", "@body.json"]).json();
    assert_eq!((&seen["method"], &seen["body"]), (&json!("POST"), &json!("{\"n\": 1}\n")));
    assert_eq!(seen["headers"]["content-type"], "application/json");
    let seen = bench.qauth_with_stdin(&["request", "orders", "PUT", "/echo", "-d", "-"], "plain");
    let seen: Value = serde_json::from_str(&seen.fine()).unwrap();
    assert_eq!((&seen["method"], &seen["body"]), (&json!("PUT"), &json!("plain")));
    assert_eq!(seen["headers"].get("content-type"), None);
    let said = bench.qauth(&["request", "orders", "/echo", "--data", "@nowhere"]).fails(2, "invalid_argument");
    assert!(said.contains("--data: the file nowhere"), "{said}");
}

#[test]
fn include_prints_status_and_headers_first() {
    let printed = Bench::new().qauth(&["request", "orders", "/redirect", "--include"]).fine();
    let (head, _) = printed.split_once("\n\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 302\n"), "{head}");
    assert!(head.lines().any(|line| line.starts_with("location: ") && line.contains("/elsewhere")), "{head}");
}

#[test]
fn every_status_is_a_success_unless_fail_is_given() {
    let bench = Bench::new();
    let body = bench.qauth(&["request", "orders", "/forbidden"]).fine();
    let failed = bench.qauth(&["request", "orders", "/forbidden", "--fail"]);
    assert_eq!((failed.status, failed.stdout), (7, body));
    assert!(
        failed.stderr.starts_with("error: access_denied: profile \"orders\": the call: the API refuses"),
        "{}",
        failed.stderr
    );
    for (status, code, exit) in [(404, "invalid_argument", 2), (429, "rate_limited", 8), (502, "server_error", 9)] {
        let headers = json!({"Retry-After": "7"});
        let fault = json!({"vendor": "quiqup", "endpoint": "api", "status": status, "body": "", "headers": headers});
        bench.script("faults", fault);
        let error = bench.qauth(&["request", "orders", "/orders", "--fail", "--json"]).fails_in_json(exit, code);
        assert_eq!((&error["status"], &error["retry_after"]), (&json!(status), &json!(7.0)));
        assert_eq!((&error["profile"], &error["provider"]), (&json!("orders"), &json!("quiqup")));
    }
    bench.qauth(&["request", "orders", "/orders", "--fail"]).fine();
}

#[test]
fn a_401_leads_to_one_new_token_and_one_more_try() {
    let bench = Bench::new();
    bench.fault("quiqup", "api", 401, 1);
    bench.qauth(&["request", "orders", "/orders", "--fail"]).fine();
    assert_eq!((bench.count("quiqup", "token_requests"), bench.count("quiqup", "api_requests")), (2, 2));
}

#[test]
fn the_token_goes_to_the_profiles_own_hosts_only() {
    let bench = Bench::new();
    let said = bench.qauth(&["request", "orders", "http://127.0.0.1:1/x"]).fails(2, "invalid_argument");
    assert!(said.contains("allowed_hosts"), "{said}");
    let own = format!("{}/quiqup/orders", bench.sim.url());
    assert_eq!(bench.count("quiqup", "requests"), 0);
    bench.qauth(&["request", "orders", "GET", &own, "--fail"]).fine();
}

#[test]
fn a_header_that_qauth_writes_is_refused_without_its_value() {
    let said =
        Bench::new().qauth(&["request", "orders", "/echo", "-H", "Authorization: canary"]).fails(2, "invalid_argument");
    assert!(said.contains("Authorization"), "{said}");
}
