//! Sources that nobody uses are let go of; what cannot be had again is kept.

mod support;

use qauth_core::{CustomToken, Engine, TokenCall, TokenOptions};
use qauth_sim::known;
use serde_json::{Map, Value, json};
use support::Bench;

const KEEPING: &str = "[sources]\nidle = \"10m\"\n[testing]\nclock = \"manual\"";

fn keys(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// Time passes until no source is left; a renewal that has told its waiters may still hold one for a moment.
fn until_none_is_left(engine: &Engine) {
    while engine.metrics().sources > 0 {
        engine.advance(200.0).unwrap();
        std::thread::yield_now();
    }
}

fn requests(bench: &Bench) -> u64 {
    bench.count("quiqup", "token_requests")
}

fn ask(engine: &Engine) -> u64 {
    engine.source("quiqup").unwrap().token_blocking(TokenOptions::default()).unwrap().generation()
}

#[test]
fn a_source_goes_when_nobody_has_used_it_for_so_long() {
    // fault 58
    let bench = Bench::start();
    let engine = bench.engine(KEEPING);
    ask(&engine);
    engine.advance(500.0).unwrap();
    ask(&engine);
    engine.advance(500.0).unwrap();
    assert_eq!((engine.metrics().sources, requests(&bench)), (1, 1), "it was used in between");
    until_none_is_left(&engine);
    let metrics = engine.metrics();
    assert_eq!(metrics.evicted, 1);
    assert!(metrics.profiles.is_empty(), "its counters go with it");
    ask(&engine);
    assert_eq!(requests(&bench), 2);
}

#[test]
fn a_source_that_somebody_holds_stays() {
    let bench = Bench::start();
    let engine = bench.engine(KEEPING);
    let held = engine.source("quiqup").unwrap();
    ask(&engine);
    engine.advance(3000.0).unwrap();
    assert_eq!(engine.metrics().sources, 1);
    drop(held);
    engine.advance(500.0).unwrap();
    assert_eq!(engine.metrics().sources, 1, "since the last handle went");
    until_none_is_left(&engine);
}

#[test]
fn what_the_host_gave_to_a_source_alone_stays() {
    let bench = Bench::start();
    let engine = bench.engine(KEEPING);
    let updated = engine.source_with("quiqup", &keys(json!({"client_secret": "wrong-at-first"}))).unwrap();
    updated.update(&keys(json!({"client_secret": known::QUIQUP_CLIENT_SECRET}))).unwrap();
    let function = |_: &TokenCall| async { Ok(CustomToken::new("token", None)) };
    drop((updated, engine.custom_source("vault", &Map::new(), function).unwrap()));
    engine.advance(10_000.0).unwrap();
    assert_eq!(engine.metrics().sources, 2);
}

#[test]
fn a_remembered_refusal_outlives_what_is_not_used() {
    let bench = Bench::start();
    let engine = bench.engine("[sources]\nidle = \"400ms\"\n[testing]\nclock = \"manual\"");
    let wrong = keys(json!({"client_secret": "wrong"}));
    let ask = || engine.source_with("quiqup", &wrong).unwrap().token_blocking(TokenOptions::default()).unwrap_err();
    ask();
    engine.advance(4.0).unwrap();
    assert_eq!(engine.metrics().sources, 1);
    ask();
    assert_eq!(requests(&bench), 1);
    // After its 5 s are over.
    until_none_is_left(&engine);
}

#[test]
fn a_sign_in_that_no_file_keeps_is_never_let_go_of() {
    // fault 58
    let bench = Bench::start();
    let url = bench.url();
    let engine = bench.engine(&format!(
        "{KEEPING}\n[profiles.person]\nprovider = \"oauth2\"\ngrant = \"device_code\"\nissuer = \"{url}/generic\"\nclient_id = \"{}\"",
        known::generic("public_client_id").unwrap()
    ));
    let person = engine.source("person").unwrap();
    bench.control("POST", "/_sim/device", Some(&json!({"outcome": "approve", "after_polls": 0})));
    person.begin_login_blocking(Default::default()).unwrap().finish_blocking().unwrap();
    drop(person);
    engine.advance(5000.0).unwrap();
    assert_eq!(engine.metrics().sources, 1);
}

#[test]
fn a_million_names_are_not_kept_for_ever() {
    // fault 58: the same bound, on fewer names
    let bench = Bench::start();
    let engine = bench.engine("[sources]\nmax = 100");
    let held: Vec<_> = (0..10).map(|number| made(&engine, &format!("held-{number}"))).collect();
    for number in 0..2000 {
        made(&engine, &format!("name-{number}"));
        assert!(engine.metrics().sources <= 101);
    }
    assert!(engine.metrics().evicted >= 1900);
    // The newest are there, and so are those that somebody holds.
    drop(held);
    assert!(engine.metrics().sources >= 90);
}

fn made(engine: &Engine, name: &str) -> qauth_core::TokenSource {
    let keys = keys(json!({
        "provider": "quiqup", "client_id": "a", "client_secret": "b", "base_url": "http://127.0.0.1:1/quiqup",
    }));
    engine.source_with(name, &keys).unwrap()
}
