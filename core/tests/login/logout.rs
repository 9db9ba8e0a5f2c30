//! RFC 7009, and what is forgotten here.

use qauth_core::{ErrorCode, LoginOptions, Revocation, TokenSource};
use serde_json::json;

use super::support::{Bench, access, clean, token, without_refresh};

const GRANT: &str = "device_code";

fn signed_in(bench: &Bench) -> TokenSource {
    bench.grants([token("one")]);
    let source = bench.source(GRANT);
    source.begin_login_blocking(LoginOptions::default()).unwrap().finish_blocking().unwrap();
    source
}

#[test]
fn both_tokens_are_revoked_and_everything_here_is_forgotten() {
    let bench = Bench::new();
    bench.server.answers("/revoke", [(200, json!(null))]);
    let source = signed_in(&bench);
    let done = source.logout_blocking().unwrap();
    assert!(
        matches!((&done.refresh_token, &done.access_token), (Revocation::Revoked, Revocation::Revoked)),
        "{done:?}"
    );
    assert_eq!(done.deleted.as_deref(), Some(bench.file().as_path()));
    let asked = bench.server.asked("/revoke");
    let sent: Vec<_> = asked.iter().map(|form| (form["token"].as_str(), form["token_type_hint"].as_str())).collect();
    assert_eq!(sent, [("refresh-one", "refresh_token"), ("access-one", "access_token")]);
    assert_eq!(asked[0]["client_id"], "client");
    assert_eq!(bench.stored(), None);
    assert!(source.cached().is_none());
    assert_eq!(access(&source).unwrap_err().code(), ErrorCode::ReauthenticationRequired);
    assert_eq!(bench.server.asked("/token").len(), 1, "nothing was left to renew with");
    let again = source.logout_blocking().unwrap();
    assert!(
        matches!((&again.refresh_token, &again.access_token), (Revocation::Absent, Revocation::Absent)),
        "{again:?}"
    );
    // A later sign-in is a new one.
    source.begin_login_blocking(LoginOptions::default()).unwrap().finish_blocking().unwrap();
    assert_eq!(access(&source).unwrap(), "access-one");
}

#[test]
fn another_process_revokes_what_the_file_holds() {
    let bench = Bench::new();
    bench.server.answers("/revoke", [(200, json!(null))]);
    signed_in(&bench);
    let done = bench.source(GRANT).logout_blocking().unwrap();
    assert!(matches!((&done.refresh_token, &done.access_token), (Revocation::Revoked, Revocation::Absent)), "{done:?}");
    assert_eq!(bench.stored(), None);
}

#[test]
fn a_server_that_is_away_is_reported_and_everything_is_forgotten_all_the_same() {
    let bench = Bench::new();
    bench.server.answers("/revoke", [(0, json!(null))]);
    let source = signed_in(&bench);
    let done = source.logout_blocking().unwrap();
    let Revocation::Failed(error) = &done.refresh_token else { panic!("{done:?}") };
    assert_eq!(clean(error.clone()).code(), ErrorCode::Network);
    assert_eq!(bench.stored(), None);
    assert_eq!(access(&source).unwrap_err().code(), ErrorCode::ReauthenticationRequired);
}

#[test]
fn what_a_server_says_against_it_is_told_without_the_tokens() {
    let bench = Bench::new();
    let said = |status: u16, word: &str| {
        let answer = json!({"error": word, "error_description": "refresh-one and access-one are unknown"});
        bench.server.answers("/revoke", [(status, answer)]);
        let done = signed_in(&bench).logout_blocking().unwrap();
        assert!(!format!("{done:?}").contains("-one"), "{done:?}");
        done.refresh_token
    };
    assert!(matches!(said(400, "unsupported_token_type"), Revocation::Unsupported));
    assert!(
        matches!(said(401, "invalid_client"), Revocation::Failed(error) if error.code() == ErrorCode::InvalidClient)
    );
    assert!(matches!(said(400, "access-one"), Revocation::Failed(error) if error.server_error().is_none()));
}

#[test]
fn without_a_revocation_endpoint_there_is_nobody_to_tell() {
    let bench = Bench::new();
    let url = bench.server.url();
    let toml = format!(
        "[profiles.p]\nprovider = \"oauth2\"\nclient_id = \"client\"\nclient_secret = \"s\"\ntoken_endpoint = \"{url}/token\""
    );
    let source = qauth_core::Engine::from_toml(&toml).unwrap().source("p").unwrap();
    bench.grants([token("one")]);
    access(&source).unwrap();
    let done = source.logout_blocking().unwrap();
    assert!(matches!(done.access_token, Revocation::Unsupported), "{done:?}");
    // A profile that can sign in by itself does so again, and without the old refresh token.
    bench.grants([token("two")]);
    assert_eq!(access(&source).unwrap(), "access-two");
    assert_eq!(bench.server.asked("/token")[1]["grant_type"], "client_credentials");
}

#[test]
fn a_file_that_cannot_be_deleted_is_an_error_and_serves_no_more() {
    let bench = Bench::new();
    bench.server.answers("/revoke", [(200, json!(null))]);
    let source = signed_in(&bench);
    let path = bench.file();
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let error = clean(source.logout_blocking().unwrap_err());
    assert_eq!(error.code(), ErrorCode::Store);
    assert_eq!(access(&source).unwrap_err().code(), ErrorCode::ReauthenticationRequired);
    assert_eq!(bench.server.asked("/token").len(), 1);
}

#[test]
fn a_call_that_carries_the_token_renews_nothing() {
    let bench = Bench::new();
    let url = bench.server.url();
    let toml = format!(
        r#"
        [testing]
        clock = "manual"
        [profiles.p]
        provider = "vendor"
        key = "canary-key"
        [providers.vendor]
        environments = {{ production = {{ base_url = "{url}" }} }}
        credentials = {{ key = {{ secret = true }} }}
        grants = {{ login = {{ path = "/token", json = {{ key = "{{key}}" }} }} }}
        operations = {{ revoke = {{ method = "POST", path = "/revoke" }} }}
        "#
    );
    let engine = qauth_core::Engine::from_toml(&toml).unwrap();
    let source = engine.source("p").unwrap();
    bench.grants([without_refresh("one")]);
    for (answer, late) in [(200, 0.0), (200, 3500.0), (401, 0.0)] {
        access(&source).unwrap();
        engine.advance(late).unwrap();
        let before = bench.server.asked("/token").len();
        bench.server.answers("/revoke", [(answer, json!(null))]);
        let done = source.logout_blocking().unwrap();
        assert!(matches!(done.access_token, Revocation::Revoked), "{answer}: {done:?}");
        assert_eq!(bench.server.asked("/token").len(), before, "{answer}");
        assert!(source.cached().is_none());
    }
}
