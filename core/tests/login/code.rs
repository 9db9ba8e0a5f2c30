//! RFC 6749 4.1 with PKCE (RFC 7636) and the issuer in the answer (RFC 9207).

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use qauth_core::{Engine, ErrorCode, Login, LoginOptions, TokenSource};
use serde_json::json;

use super::support::{Bench, REDIRECT, access, clean, for_redirect, refusal, token};

const GRANT: &str = "authorization_code";

fn begin(source: &TokenSource) -> (Login, HashMap<String, String>) {
    let login = source.begin_login_blocking(for_redirect()).unwrap();
    let url = url::Url::parse(login.authorization_url().unwrap()).unwrap();
    let query = url.query_pairs().into_owned().collect();
    (login, query)
}

#[test]
fn the_code_of_the_browser_is_redeemed_with_the_verifier_of_the_challenge() {
    let bench = Bench::new();
    bench.grants([token("one")]);
    let source = bench.source(GRANT);
    let (login, query) = begin(&source);
    let url = login.authorization_url().unwrap();
    assert!(
        url.starts_with(&format!("{}/authorize?response_type=code&client_id=client&", bench.server.url())),
        "{url}"
    );
    assert_eq!((query["redirect_uri"].as_str(), query["scope"].as_str()), (REDIRECT, "read offline_access"));
    assert_eq!(query["code_challenge_method"], "S256");
    assert!(query["state"].len() >= 32);
    let done = login.complete_blocking(&format!("{REDIRECT}?code=canary-code&state={}", query["state"])).unwrap();
    assert_eq!(done.token.access_token(), "access-one");
    assert_eq!(bench.stored().as_deref(), Some("refresh-one"));
    let form = bench.server.asked("/token").remove(0);
    assert_eq!((form["grant_type"].as_str(), form["code"].as_str()), ("authorization_code", "canary-code"));
    assert_eq!((form["redirect_uri"].as_str(), form["client_id"].as_str()), (REDIRECT, "client"));
    let verifier = &form["code_verifier"];
    assert!((43..=128).contains(&verifier.len()));
    let digest = ring::digest::digest(&ring::digest::SHA256, verifier.as_bytes());
    assert_eq!(URL_SAFE_NO_PAD.encode(digest), query["code_challenge"]);
    assert_eq!(access(&source).unwrap(), "access-one");
    // The browser may load its page again: the code is not sent again.
    login.complete_blocking(&format!("code=canary-code&state={}", query["state"])).unwrap();
    assert_eq!(bench.server.asked("/token").len(), 1);
    let shown = format!("{login:?} {done:?}");
    assert!(!shown.contains(&query["state"]) && !shown.contains("one"), "{shown}");
}

#[test]
fn each_sign_in_has_its_own_state_and_challenge() {
    let bench = Bench::new();
    let source = bench.source(GRANT);
    let ((_, one), (_, two)) = (begin(&source), begin(&source));
    assert_ne!(one["state"], two["state"]);
    assert_ne!(one["code_challenge"], two["code_challenge"]);
}

#[test]
fn a_redirect_with_another_state_ends_nothing() {
    let bench = Bench::new();
    bench.grants([token("one")]);
    let source = bench.source(GRANT);
    let (login, query) = begin(&source);
    let state = &query["state"];
    for foreign in [
        "code=canary-code".to_owned(),
        "code=canary-code&state=canary".to_owned(),
        "error=access_denied&state=canary".to_owned(),
        format!("code=canary-code&state={state}&state={state}"),
        String::new(),
    ] {
        let error = clean(login.complete_blocking(&foreign).unwrap_err());
        assert_eq!(error.code(), ErrorCode::InvalidArgument, "{foreign}");
    }
    assert!(bench.server.asked("/token").is_empty());
    login.complete_blocking(&format!("code=canary-code&state={state}")).unwrap();
}

#[test]
fn an_error_of_the_server_ends_the_sign_in_and_is_masked() {
    let bench = Bench::new();
    let source = bench.source(GRANT);
    for (word, code) in [
        ("access_denied", ErrorCode::AccessDenied),
        ("invalid_scope", ErrorCode::ReauthenticationRequired),
        ("server_error", ErrorCode::ReauthenticationRequired),
    ] {
        let (login, query) = begin(&source);
        let state = &query["state"];
        let answer = format!("error={word}&error_description=no%0A{state}&state={state}");
        let error = login.complete_blocking(&answer).unwrap_err();
        assert_eq!((error.code(), error.server_error()), (code, Some(word)));
        assert_eq!(error.server_error_description(), Some("no ***"));
        let again = login.complete_blocking(&format!("code=canary-code&state={state}")).unwrap_err();
        assert_eq!(clean(again).code(), code, "it has ended");
    }
    assert!(bench.server.asked("/token").is_empty());
}

#[test]
fn an_answer_without_a_code_or_with_two_is_no_answer() {
    let bench = Bench::new();
    let source = bench.source(GRANT);
    for rest in ["", "&code=", "&code=canary&code=canary", "&iss=canary&iss=canary"] {
        let (login, query) = begin(&source);
        let error = clean(login.complete_blocking(&format!("state={}{rest}", query["state"])).unwrap_err());
        assert_eq!(error.code(), ErrorCode::Protocol, "{rest}");
    }
    assert!(bench.server.asked("/token").is_empty());
}

#[test]
fn a_code_is_sent_once_whatever_comes_of_it() {
    let bench = Bench::new();
    let source = bench.source(GRANT);
    for (answer, code) in [
        ((0, json!(null)), ErrorCode::Network),
        ((503, json!({})), ErrorCode::ServerError),
        (refusal("invalid_grant"), ErrorCode::InvalidGrant),
    ] {
        let before = bench.server.asked("/token").len();
        bench.grants([answer]);
        let (login, query) = begin(&source);
        let redirect = format!("code=canary-code&state={}", query["state"]);
        assert_eq!(clean(login.complete_blocking(&redirect).unwrap_err()).code(), code);
        assert_eq!(clean(login.complete_blocking(&redirect).unwrap_err()).code(), code);
        assert_eq!(bench.server.asked("/token").len(), before + 1);
    }
    assert_eq!(access(&source).unwrap_err().code(), ErrorCode::ReauthenticationRequired);
}

#[test]
fn the_answer_must_come_from_the_server_that_was_asked() {
    let bench = Bench::new();
    let url = bench.server.url();
    let mut description = json!({
        "issuer": url,
        "token_endpoint": format!("{url}/token"),
        "authorization_endpoint": format!("{url}/authorize?tenant=a"),
        "authorization_response_iss_parameter_supported": true,
    });
    let complete = |iss: &str| {
        let toml = format!(
            "[testing]\nclock = \"manual\"\n[profiles.p]\nprovider = \"oauth2\"\ngrant = \"{GRANT}\"\nclient_id = \"client\"\nissuer = \"{url}\""
        );
        let source = Engine::from_toml(&toml).unwrap().source("p").unwrap();
        let login = source
            .begin_login_blocking(LoginOptions { redirect_uri: Some(REDIRECT.into()), ..LoginOptions::default() })
            .unwrap();
        let address = url::Url::parse(login.authorization_url().unwrap()).unwrap();
        let query: HashMap<String, String> = address.query_pairs().into_owned().collect();
        assert_eq!(query["tenant"], "a");
        login.complete_blocking(&format!("code=canary-code&state={}{iss}", query["state"]))
    };
    let mine = format!("&iss={}", url::form_urlencoded::byte_serialize(url.as_bytes()).collect::<String>());
    bench.grants([token("one")]);
    bench.server.answers("/.well-known/openid-configuration", [(200, description.clone())]);
    for wrong in ["", "&iss=https%3A%2F%2Fcanary.example"] {
        assert_eq!(clean(complete(wrong).unwrap_err()).code(), ErrorCode::Protocol, "{wrong:?}");
    }
    assert!(bench.server.asked("/token").is_empty());
    let done = complete(&mine).unwrap();
    assert_eq!((done.kept_in, done.refresh_token_given), (None, true), "without a file it lives in memory");
    // A server that does not promise it may leave it out, but what it says must be right.
    description.as_object_mut().unwrap().remove("authorization_response_iss_parameter_supported");
    bench.server.answers("/.well-known/openid-configuration", [(200, description)]);
    complete("").unwrap();
    complete(&mine).unwrap();
    assert_eq!(complete("&iss=https%3A%2F%2Fcanary.example").unwrap_err().code(), ErrorCode::Protocol);
}

#[test]
fn a_redirect_uri_is_needed_and_must_lead_to_this_machine_or_over_https() {
    let bench = Bench::new();
    let source = bench.source(GRANT);
    for uri in [None, Some("http://example.com/cb"), Some("callback")] {
        let options = LoginOptions { redirect_uri: uri.map(str::to_owned), ..LoginOptions::default() };
        let error = source.begin_login_blocking(options).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidArgument);
        assert!(error.message().starts_with("redirect_uri: "), "{error}");
    }
    let login = source.begin_login_blocking(for_redirect()).unwrap();
    assert_eq!(login.finish_blocking().unwrap_err().code(), ErrorCode::Unsupported);
}
