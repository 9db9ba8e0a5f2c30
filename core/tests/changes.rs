//! What happens to a source while it is at work: updates, resets, narrowing, rejections.

mod support;

use std::time::Duration;

use qauth_core::{Engine, ErrorCode, TokenOptions, TokenSource};
use serde_json::{Map, Value, json};
use support::Bench;

fn keys(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// Asks in a thread of its own and waits until the server has seen so many requests.
fn ask(bench: &Bench, source: &TokenSource, requests: u64) -> std::thread::JoinHandle<Result<String, ErrorCode>> {
    let asking = source.clone();
    let thread = std::thread::spawn(move || {
        let token = asking.token_blocking(TokenOptions::default()).map_err(|error| error.code())?;
        Ok(token.access_token().to_owned())
    });
    bench.wait_for_count("quiqup", "token_requests", requests);
    thread
}

#[test]
fn a_failure_of_the_old_secret_is_nothing_to_those_who_come_after_an_update() {
    let bench = Bench::start();
    bench.settings(&json!({"vendor": "quiqup", "delay_ms": 300}));
    let source = bench.engine("").source_with("quiqup", &keys(json!({"client_secret": "wrong-at-first"}))).unwrap();
    let early = ask(&bench, &source, 1);
    source.update(&keys(json!({"client_secret": "quiqup-secret-5f1c"}))).unwrap();
    let late = source.token_blocking(TokenOptions::default()).unwrap();
    // Those who came before get the new secret's token too: the flight went another round.
    assert_eq!(early.join().unwrap().unwrap(), late.access_token());
    assert_eq!(bench.count("quiqup", "token_requests"), 2);
}

#[test]
fn a_reset_during_a_failing_renewal_is_not_undone_by_it() {
    let bench = Bench::start();
    bench.settings(&json!({"vendor": "quiqup", "delay_ms": 300}));
    bench.control("POST", "/_sim/faults", Some(&json!({"vendor": "quiqup", "endpoint": "token", "status": 401, "body": {"error": "invalid_client"}, "delay_ms": 300})));
    let source = bench.engine("").source("quiqup").unwrap();
    let early = ask(&bench, &source, 1);
    source.reset();
    early.join().unwrap().unwrap();
    assert_eq!(bench.count("quiqup", "token_requests"), 2);
}

#[test]
fn a_token_taken_back_is_not_served_to_those_who_wait() {
    // fault 56
    let bench = Bench::start();
    let engine = Engine::from_toml(&format!(
        "[testing]\nclock = \"manual\"\n[profiles.p]\nprovider = \"quiqup\"\nbase_url = \"{}/quiqup\"\nclient_id = \"quiqup-client\"\nclient_secret = \"quiqup-secret-5f1c\"\nmode = \"on_demand\"",
        bench.url()
    ))
    .unwrap();
    let source = engine.source("p").unwrap();
    let old = source.token_blocking(TokenOptions::default()).unwrap();
    engine.advance(3590.0).unwrap();
    bench.settings(&json!({"vendor": "quiqup", "delay_ms": 300}));
    let waiting = ask(&bench, &source, 2);
    assert!(source.invalidate(&old));
    assert_ne!(waiting.join().unwrap().unwrap(), old.access_token());
}

#[test]
fn what_differs_in_any_key_is_another_source_when_it_is_narrowed() {
    let bench = Bench::start();
    let engine = bench.engine("");
    let narrow = |api: &str| {
        let source = engine.source_with("qpay", &keys(json!({"api_base_url": api}))).unwrap();
        source.scoped(Some("cards"), None, None).unwrap().api_base_url()
    };
    assert_eq!(narrow("https://one.example").as_deref(), Some("https://one.example"));
    assert_eq!(narrow("https://two.example").as_deref(), Some("https://two.example"));
}

#[test]
fn an_update_and_a_changed_file_do_not_undo_each_other() {
    let bench = Bench::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("id");
    std::fs::write(&file, "unknown-client").unwrap();
    let source = Engine::from_toml(&format!(
        "[profiles.p]\nprovider = \"quiqup\"\nbase_url = \"{}/quiqup\"\nclient_id = \"file:{}\"\nclient_secret = \"wrong\"",
        bench.url(),
        file.display()
    ))
    .unwrap()
    .source("p")
    .unwrap();
    assert!(source.token_blocking(TokenOptions::default()).is_err());
    std::fs::write(&file, "quiqup-client").unwrap();
    source.update(&keys(json!({"client_secret": "quiqup-secret-5f1c"}))).unwrap();
    source.token_blocking(TokenOptions::default()).unwrap();
}

#[test]
fn a_refresh_request_has_the_client_authentication_of_its_own_section() {
    let bench = Bench::start();
    let endpoint = "/auth/realms/qpay/protocol/openid-connect/token";
    let provider = format!(
        r#"
        name = "keycloak"
        environments = {{ main = {{ base_url = "{url}/qpay" }} }}
        [credentials]
        client_id = {{}}
        client_secret = {{ secret = true }}
        [grants.client_credentials]
        path = "{endpoint}"
        form = {{ grant_type = "client_credentials", client_id = "{{client_id}}", client_secret = "{{client_secret}}" }}
        [grants.refresh_token]
        path = "{endpoint}"
        client_auth = "client_secret_basic"
        form = {{ grant_type = "refresh_token", refresh_token = "{{refresh_token}}" }}
        "#,
        url = bench.url()
    );
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("keycloak.toml"), provider).unwrap();
    let config = folder.path().join("qauth.toml");
    let toml = "[testing]\nclock = \"manual\"\n[profiles.p]\nprovider = \"./keycloak.toml\"\nclient_id = \"qpay-machine\"\nclient_secret = \"qpay-secret-e41d\"";
    std::fs::write(&config, toml).unwrap();
    let engine = Engine::from_file(&config).unwrap();
    let source = engine.source("p").unwrap();
    bench.control(
        "POST",
        "/_sim/faults",
        Some(&json!({"vendor": "qpay", "endpoint": "token", "replace": {"/refresh_token": "one"}})),
    );
    source.token_blocking(TokenOptions::default()).unwrap();
    // The simulator would answer a client that does not name itself with 400.
    bench.control("POST", "/_sim/faults", Some(&json!({"vendor": "qpay", "endpoint": "token", "status": 200, "body": {"access_token": "two", "expires_in": 60}})));
    engine.advance(299.0).unwrap();
    source.token_blocking(TokenOptions::default()).unwrap();
    let state = bench.control("GET", "/_sim/state", None);
    let requests = state["requests"].as_array().unwrap();
    assert!(requests.iter().any(|request| request["token_request"] == true && request["authorization"] == true));
}

#[test]
fn a_sibling_s_old_token_does_not_count_as_a_fresh_one() {
    let bench = Bench::start();
    bench.settings(&json!({"vendor": "quiqup", "lifetime": 100}));
    let profile = |name: &str| {
        format!(
            "[profiles.{name}]\nprovider = \"quiqup\"\nbase_url = \"{}/quiqup\"\nclient_id = \"quiqup-client\"\nclient_secret = \"quiqup-secret-5f1c\"\n",
            bench.url()
        )
    };
    let toml = format!("[testing]\nclock = \"manual\"\n{}{}", profile("one"), profile("two"));
    let engine = Engine::from_toml(&toml).unwrap();
    engine.source("one").unwrap().token_blocking(TokenOptions::default()).unwrap();
    engine.advance(40.0).unwrap();
    let options = TokenOptions { min_remaining: Duration::from_secs(80), ..TokenOptions::default() };
    let token = engine.source("two").unwrap().token_blocking(options).unwrap();
    assert!(token.expires_in().unwrap() >= Duration::from_secs(80));
}
