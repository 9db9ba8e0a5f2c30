//! Several credentials in a profile, and what narrowed sources know of each other's refusals.

#[path = "support/script.rs"]
mod script;
mod support;

use std::time::Duration;

use qauth_core::{Engine, ErrorCode, TokenOptions, TokenSource};
use script::Script;
use serde_json::{Map, Value, json};
use support::Bench;

fn keys(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn ask(source: &TokenSource) -> std::thread::JoinHandle<Result<String, ErrorCode>> {
    let asking = source.clone();
    std::thread::spawn(move || {
        let token = asking.token_blocking(TokenOptions::default()).map_err(|error| error.code())?;
        Ok(token.access_token().to_owned())
    })
}

/// Profile `p` of Quiqup with these secrets in order.
fn quiqup(bench: &Bench, secrets: &[&str], more: &str) -> TokenSource {
    let list: Vec<_> = secrets.iter().map(|secret| format!("{{ client_secret = {secret:?} }}")).collect();
    let toml = format!(
        "[profiles.p]\nprovider = \"quiqup\"\nbase_url = \"{}/quiqup\"\nclient_id = \"quiqup-client\"\ncredentials = [{}]\n{more}",
        bench.url(),
        list.join(", ")
    );
    bench.engine(&toml).source("p").unwrap()
}

#[test]
fn the_limit_of_a_renewal_covers_all_credentials() {
    let bench = Bench::start();
    bench.settings(&json!({"vendor": "quiqup", "delay_ms": 600}));
    let source = quiqup(&bench, &["wrong", "quiqup-secret-5f1c"], "timeout = \"1s\"");
    let patient = TokenOptions { timeout: Some(Duration::from_secs(10)), ..TokenOptions::default() };
    // With a limit for each, the second would have been in time.
    assert_eq!(source.token_blocking(patient).unwrap_err().code(), ErrorCode::Timeout);
}

#[test]
fn an_update_while_the_old_credentials_are_tried_is_not_undone_by_those_that_work() {
    let bench = Bench::start();
    bench.settings(&json!({"vendor": "quiqup", "delay_ms": 300}));
    let source = quiqup(&bench, &["wrong", "quiqup-secret-5f1c"], "");
    let early = ask(&source);
    bench.wait_for_count("quiqup", "token_requests", 1);
    let list = json!([{"client_secret": "other"}, {"client_secret": "another"}]);
    source.update(&keys(json!({"credentials": list}))).unwrap();
    // The flight goes another round, with the new list.
    assert_eq!(early.join().unwrap().unwrap_err(), ErrorCode::InvalidClient);
    assert_eq!(bench.count("quiqup", "token_requests"), 4);
}

#[test]
fn refusals_of_one_instant_are_one_refusal() {
    // fault 26
    let bench = Bench::start();
    let engine = Engine::from_toml(&format!(
        "[testing]\nclock = \"manual\"\n[profiles.p]\nprovider = \"qpay\"\nbase_url = \"{}/qpay\"\nclient_id = \"qpay-machine\"\nclient_secret = \"wrong\"",
        bench.url()
    ))
    .unwrap();
    let scoped = |scope: &str| engine.source("p").unwrap().scoped(Some(scope), None, None).unwrap();
    bench.settings(&json!({"vendor": "qpay", "delay_ms": 1000}));
    let asking = ["one", "two", "three"].map(|scope| ask(&scoped(scope)));
    for asking in asking {
        assert_eq!(asking.join().unwrap().unwrap_err(), ErrorCode::InvalidClient);
    }
    assert_eq!(bench.count("qpay", "token_requests"), 3);
    bench.settings(&json!({"vendor": "qpay", "delay_ms": 0}));
    let next = || scoped("four").token_blocking(TokenOptions::default()).unwrap_err();
    assert_eq!(next().code(), ErrorCode::InvalidClient);
    assert_eq!(bench.count("qpay", "token_requests"), 3);
    engine.advance(5.0).unwrap();
    assert_eq!(next().code(), ErrorCode::InvalidClient);
    assert_eq!(bench.count("qpay", "token_requests"), 4);
}

#[test]
fn a_refused_login_says_nothing_of_a_refresh_token() {
    let server = Script::start();
    let engine = Engine::from_toml(&format!(
        r#"
        [testing]
        clock = "manual"
        [profiles.p]
        provider = "vendor"
        password = "old"
        mode = "on_demand"
        [providers.vendor]
        environments = {{ production = {{ base_url = "{}" }} }}
        credentials = {{ password = {{ secret = true }} }}
        grants.login = {{ path = "/login", form = {{ password = "{{password}}", scope = "{{scope}}" }} }}
        grants.refresh_token = {{ path = "/refresh", form = {{ refresh_token = "{{refresh_token}}" }} }}
        "#,
        server.url()
    ))
    .unwrap();
    let refused = (400, json!({"error": "invalid_grant"}));
    let first = json!({"access_token": "one", "expires_in": 60, "refresh_token": "r"});
    server.answers("/login", [(200, first), refused.clone()]);
    server.answers("/refresh", [(200, json!({"access_token": "two", "expires_in": 60})), refused]);
    let source = engine.source("p").unwrap();
    let token = || source.token_blocking(TokenOptions::default()).map(|token| token.access_token().to_owned());
    assert_eq!(token().unwrap(), "one");
    engine.advance(61.0).unwrap();
    let narrowed = source.scoped(Some("s"), None, None).unwrap();
    assert_eq!(narrowed.token_blocking(TokenOptions::default()).unwrap_err().code(), ErrorCode::InvalidGrant);
    assert_eq!(token().unwrap(), "two");
    engine.advance(61.0).unwrap();
    assert_eq!(token().unwrap_err().code(), ErrorCode::InvalidGrant);
    assert_eq!((server.asked("/login").len(), server.asked("/refresh").len()), (3, 2));
}
