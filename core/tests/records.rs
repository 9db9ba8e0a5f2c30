//! What the store holds, told and forgotten.

mod support;

use std::thread;

use qauth_core::{Engine, ErrorCode, RecordInfo, RecordState, TokenOptions, TokenSource};
use qauth_sim::known;
use serde_json::json;
use support::Bench;

fn token(source: &TokenSource) -> String {
    source.token_blocking(TokenOptions::default()).unwrap().access_token().to_owned()
}

fn states(engine: &Engine) -> Vec<(String, RecordState)> {
    let told = |info: RecordInfo| (info.profile.unwrap(), info.state);
    engine.records_blocking().unwrap().into_iter().map(told).collect()
}

#[test]
fn records_are_told_in_the_order_of_their_profiles_with_their_states() {
    let bench = Bench::start();
    let url = bench.url();
    let wrong = format!(
        "[profiles.wrong]\nprovider = \"quiqup\"\nbase_url = \"{url}/quiqup\"\nclient_id = \"quiqup-client\"\n\
         client_secret = \"no\"\n\
         [profiles.person]\nprovider = \"qpay\"\ngrant = \"password\"\nbase_url = \"{url}/qpay\"\nusername = \"{}\"\n\
         password = \"{}\"\n[testing]\nclock = \"manual\"",
        known::QPAY_USERNAME,
        known::QPAY_PASSWORD,
    );
    let engine = bench.engine(&wrong);
    assert_eq!(engine.records_blocking().unwrap().len(), 0);
    for name in ["quiqup", "person", "wrong"] {
        let _ = engine.source(name).unwrap().token_blocking(TokenOptions::default());
    }
    let told = engine.records_blocking().unwrap();
    let profiles: Vec<&str> = told.iter().filter_map(|info| info.profile.as_deref()).collect();
    assert_eq!(profiles, ["person", "quiqup", "wrong"]);
    assert_eq!(told[0].provider.as_deref(), Some("qpay"));
    assert!(told[0].has_refresh_token && !told[1].has_refresh_token);
    assert_eq!(told[1].expires_at, told[1].obtained_at.map(|at| at + 3600));
    assert_eq!((told[2].failure, told[2].obtained_at), (Some(ErrorCode::InvalidClient), None));
    let states_are = |person, quiqup, wrong| {
        let expected = [("person", person), ("quiqup", quiqup), ("wrong", wrong)];
        assert_eq!(states(&engine), expected.map(|(name, state)| (name.to_owned(), state)));
    };
    states_are(RecordState::Valid, RecordState::Valid, RecordState::Refused);
    // Nothing runs meanwhile.
    engine.step_wall_clock(1000.0).unwrap();
    states_are(RecordState::Renewable, RecordState::Valid, RecordState::Empty);
    engine.step_wall_clock(3000.0).unwrap();
    states_are(RecordState::Expired, RecordState::Expired, RecordState::Empty);
}

#[test]
fn a_cleared_profile_obtains_a_token_anew_and_others_keep_theirs() {
    let bench = Bench::start();
    let engine = bench.engine("");
    let (cleared, other) = (engine.source("quiqup").unwrap(), engine.source("quantaprice").unwrap());
    let (first, kept) = (token(&cleared), token(&other));
    assert!(engine.clear_blocking("quiqup").unwrap());
    let expected = [("quantaprice", RecordState::Valid), ("quiqup", RecordState::Empty)];
    assert_eq!(states(&engine), expected.map(|(name, state)| (name.to_owned(), state)));
    assert!(cleared.cached().is_none());
    assert_ne!(token(&cleared), first);
    assert_eq!(token(&other), kept);
    assert_eq!((bench.count("quiqup", "token_requests"), bench.count("quantaprice", "token_requests")), (2, 1));
    let generations: Vec<u64> = engine.records_blocking().unwrap().iter().map(|info| info.generation).collect();
    // The token, nothing, another one: none of them could be taken for an older one.
    assert_eq!(generations, [1, 3]);
}

#[test]
fn there_is_nothing_to_clear_where_there_is_nothing() {
    let engine = Bench::start().engine("");
    assert!(!engine.clear_blocking("quiqup").unwrap());
    assert!(engine.records_blocking().unwrap().is_empty());
    assert_eq!(engine.clear_blocking("nowhere").unwrap_err().code(), ErrorCode::Config);
    engine.close();
    assert_eq!(engine.records_blocking().unwrap_err().code(), ErrorCode::Closed);
    assert_eq!(engine.clear_blocking("quiqup").unwrap_err().code(), ErrorCode::Closed);
}

#[test]
fn clearing_ends_a_refusal_at_once() {
    let bench = Bench::start();
    let toml = format!(
        "[profiles.p]\nprovider = \"quiqup\"\nbase_url = \"{}/quiqup\"\nclient_id = \"quiqup-client\"\n\
         client_secret = \"{}\"",
        bench.url(),
        known::QUIQUP_CLIENT_SECRET,
    );
    let engine = bench.engine(&toml);
    let source = engine.source("p").unwrap();
    bench.control(
        "POST",
        "/_sim/faults",
        Some(
            &json!({"vendor": "quiqup", "endpoint": "token", "status": 401, "body": "{\"error\":\"invalid_client\"}"}),
        ),
    );
    for _ in 0..2 {
        let error = source.token_blocking(TokenOptions::default()).unwrap_err();
        assert_eq!((error.code(), bench.count("quiqup", "token_requests")), (ErrorCode::InvalidClient, 1));
    }
    assert!(engine.clear_blocking("p").unwrap());
    token(&source);
}

#[test]
fn a_renewal_under_way_is_waited_for_and_its_token_cleared() {
    let bench = Bench::start();
    bench.settings(&json!({"vendor": "quiqup", "delay_ms": 300}));
    let engine = bench.engine("");
    let source = engine.source("quiqup").unwrap();
    let asking = source.clone();
    let asking = thread::spawn(move || token(&asking));
    bench.wait_for_count("quiqup", "token_requests", 1);
    assert!(engine.clear_blocking("quiqup").unwrap());
    assert!(source.cached().is_none());
    // Who waited for it has it.
    assert!(!asking.join().unwrap().is_empty());
    assert_eq!(states(&engine), [("quiqup".to_owned(), RecordState::Empty)]);
}

#[test]
fn every_source_with_the_record_serves_it_no_more_and_a_narrowed_one_has_its_own() {
    let bench = Bench::start();
    let twin = format!(
        "[profiles.twin]\nprovider = \"qpay\"\nbase_url = \"{}/qpay\"\nclient_id = \"{}\"\nclient_secret = \"{}\"",
        bench.url(),
        known::QPAY_CLIENT_ID,
        known::QPAY_CLIENT_SECRET,
    );
    let engine = bench.engine(&twin);
    let (wide, twin) = (engine.source("qpay").unwrap(), engine.source("twin").unwrap());
    let narrow = wide.scoped(Some("email"), None, None).unwrap();
    let first = token(&wide);
    assert_eq!(token(&twin), first);
    token(&narrow);
    assert_eq!(bench.count("qpay", "token_requests"), 2);
    // A source alone: the one that it was narrowed from is not touched, though it remembers refusals for it.
    assert!(narrow.clear_blocking().unwrap());
    assert!(narrow.cached().is_none());
    assert_eq!((token(&wide), token(&twin)), (first.clone(), first.clone()));
    token(&narrow);
    // A profile: with all that it was narrowed to.
    assert!(engine.clear_blocking("qpay").unwrap());
    assert!(wide.cached().is_none() && twin.cached().is_none() && narrow.cached().is_none());
    assert_ne!(token(&twin), first);
}
