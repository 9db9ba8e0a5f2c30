//! RFC 8628.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use qauth_core::{ErrorCode, LoginKind, LoginOptions, TokenOptions};
use serde_json::json;

use super::support::{Bench, access, clean, device, refusal, token, without_refresh};

const GRANT: &str = "device_code";

#[test]
fn who_approves_on_another_device_is_signed_in_after_some_polls() {
    let bench = Bench::new();
    let source = bench.source(GRANT);
    assert_eq!(source.login_kind(), Some(LoginKind::DeviceCode));
    assert_eq!(access(&source).unwrap_err().code(), ErrorCode::ReauthenticationRequired);
    bench.grants([refusal("authorization_pending"), refusal("authorization_pending"), token("one")]);
    let login = source.begin_login_blocking(LoginOptions { must_be_kept: true, ..LoginOptions::default() }).unwrap();
    assert_eq!(
        (login.user_code(), login.verification_uri()),
        (Some("ABCD-EFGH"), Some("https://login.example/device"))
    );
    assert!(login.verification_uri_complete().unwrap().ends_with("ABCD-EFGH"));
    assert_eq!(login.expires_in(), Some(Duration::from_secs(600)));
    assert_eq!(login.authorization_url(), None);
    let done = login.finish_blocking().unwrap();
    assert_eq!(done.token.access_token(), "access-one");
    assert!(done.refresh_token_given);
    assert_eq!(done.kept_in.as_deref(), Some(bench.file().as_path()));
    let asked = bench.server.asked("/device");
    assert_eq!((asked[0]["client_id"].as_str(), asked[0]["scope"].as_str()), ("client", "read offline_access"));
    let polls = bench.server.asked("/token");
    assert_eq!(polls.len(), 3);
    assert_eq!(polls[0]["grant_type"], "urn:ietf:params:oauth:grant-type:device_code");
    assert_eq!(polls[0]["device_code"], "canary-code");
    // Ten seconds before each of the three, on the clock of the engine.
    assert_eq!(login.expires_in(), Some(Duration::from_secs(570)));
    assert_eq!(access(&source).unwrap(), "access-one", "what was remembered before counts no more");
    assert_eq!(login.finish_blocking().unwrap().token.access_token(), "access-one", "asked again, it is the same");
    assert_eq!(bench.server.asked("/token").len(), 3);
    assert!(!format!("{login:?} {done:?}").contains("canary"));
}

#[test]
fn the_refresh_token_is_in_its_owners_file_when_the_sign_in_is_reported() {
    let bench = Bench::new();
    bench.grants([token("one")]);
    let (engine, source) = bench.kept(GRANT);
    source.begin_login_blocking(LoginOptions::default()).unwrap().finish_blocking().unwrap();
    assert_eq!(bench.stored().as_deref(), Some("refresh-one"));
    assert_eq!(std::fs::metadata(bench.file()).unwrap().permissions().mode() & 0o777, 0o600);
    // Renewals use it, and a rotated one stands in the file before its token is seen.
    bench.grants([token("two")]);
    engine.advance(3599.0).unwrap();
    assert_eq!(access(&source).unwrap(), "access-two");
    assert_eq!(bench.stored().as_deref(), Some("refresh-two"));
    assert_eq!(std::fs::metadata(bench.file()).unwrap().permissions().mode() & 0o777, 0o600);
    bench.grants([token("three")]);
    engine.advance(3599.0).unwrap();
    assert_eq!(access(&source).unwrap(), "access-three");
    let sent: Vec<_> =
        bench.server.asked("/token").into_iter().skip(1).map(|form| form["refresh_token"].clone()).collect();
    assert_eq!(sent, ["refresh-one", "refresh-two"]);
}

#[test]
fn a_second_process_goes_on_from_the_file_and_the_first_one_follows_it() {
    let bench = Bench::new();
    bench.grants([token("one")]);
    let (engine, first) = bench.kept(GRANT);
    first.begin_login_blocking(LoginOptions::default()).unwrap().finish_blocking().unwrap();
    bench.grants([token("two")]);
    assert_eq!(access(&bench.source(GRANT)).unwrap(), "access-two");
    // The first one's own is spent by now; the file says so.
    bench.grants([token("three")]);
    engine.advance(3599.0).unwrap();
    assert_eq!(access(&first).unwrap(), "access-three");
    let sent: Vec<_> =
        bench.server.asked("/token").into_iter().skip(1).map(|form| form["refresh_token"].clone()).collect();
    assert_eq!(sent, ["refresh-one", "refresh-two"]);
}

#[test]
fn a_service_that_waits_for_a_person_goes_on_when_somebody_else_signs_in() {
    let bench = Bench::new();
    let service = bench.source(GRANT);
    assert_eq!(access(&service).unwrap_err().code(), ErrorCode::ReauthenticationRequired);
    bench.grants([token("one")]);
    bench.source(GRANT).begin_login_blocking(LoginOptions::default()).unwrap().finish_blocking().unwrap();
    bench.grants([token("two")]);
    assert_eq!(access(&service).unwrap(), "access-two");
}

#[test]
fn a_refused_refresh_token_needs_a_person_again_and_is_not_sent_twice() {
    let bench = Bench::new();
    bench.grants([token("one")]);
    let (engine, source) = bench.kept(GRANT);
    source.begin_login_blocking(LoginOptions::default()).unwrap().finish_blocking().unwrap();
    bench.grants([refusal("invalid_grant")]);
    engine.advance(3601.0).unwrap();
    assert_eq!(clean(access(&source).unwrap_err()).code(), ErrorCode::ReauthenticationRequired);
    engine.advance(3601.0).unwrap();
    assert_eq!(access(&source).unwrap_err().code(), ErrorCode::ReauthenticationRequired);
    assert_eq!(bench.server.asked("/token").len(), 2);
}

#[test]
fn a_person_is_called_for_a_refused_sign_in_alone() {
    // faults 46, 48
    let bench = Bench::new();
    bench.grants([token("one")]);
    let (engine, source) = bench.kept(GRANT);
    source.begin_login_blocking(LoginOptions::default()).unwrap().finish_blocking().unwrap();
    engine.advance(3601.0).unwrap();
    for (answer, code) in [
        ((502, json!("a gateway")), ErrorCode::ServerError),
        // A proxy's, maybe: the server itself would say invalid_grant.
        ((401, json!("who are you?")), ErrorCode::InvalidGrant),
        ((400, json!({"error": "invalid_scope"})), ErrorCode::Config),
        ((400, json!({"error": "invalid_client"})), ErrorCode::InvalidClient),
    ] {
        bench.grants([answer]);
        let options = TokenOptions { timeout: Some(Duration::from_millis(500)), ..TokenOptions::default() };
        let error = clean(source.token_blocking(options).unwrap_err());
        assert_eq!(error.code(), code);
        // Beyond every pause.
        engine.advance(400.0).unwrap();
    }
    bench.grants([token("two")]);
    assert_eq!(access(&source).unwrap(), "access-two");
    let asked = bench.server.asked("/token");
    assert!(asked[1..].iter().all(|form| form["refresh_token"] == "refresh-one"), "{asked:?}");
}

#[test]
fn a_refresh_asks_for_a_scope_only_where_it_is_less_than_the_sign_ins() {
    let bench = Bench::new();
    bench.grants([token("one")]);
    let (engine, source) = bench.kept(GRANT);
    source.begin_login_blocking(LoginOptions::default()).unwrap().finish_blocking().unwrap();
    bench.grants([token("two")]);
    engine.advance(3601.0).unwrap();
    access(&source).unwrap();
    bench.grants([token("three")]);
    access(&source.scoped(Some("read"), None, None).unwrap()).unwrap();
    let scopes: Vec<_> = bench.server.asked("/token")[1..].iter().map(|form| form.get("scope").cloned()).collect();
    assert_eq!(scopes, [None, Some("read".to_owned())]);
}

#[test]
fn narrowed_sources_share_the_file_and_use_each_refresh_token_once() {
    // fault 46
    let bench = Bench::new();
    bench.grants((0..20).map(|number| token(&number.to_string())));
    let source = bench.source(GRANT);
    source.begin_login_blocking(LoginOptions::default()).unwrap().finish_blocking().unwrap();
    std::thread::scope(|threads| {
        for number in 0..8 {
            let narrowed = source.scoped(Some(&format!("scope-{number}")), None, None).unwrap();
            threads.spawn(move || access(&narrowed).unwrap());
        }
    });
    let asked = bench.server.asked("/token");
    let sent: Vec<&str> = asked[1..].iter().map(|form| form["refresh_token"].as_str()).collect();
    assert_eq!(sent, (0..8).map(|number| format!("refresh-{number}")).collect::<Vec<_>>());
}

#[test]
fn what_the_refresh_request_cannot_narrow_is_refused() {
    let bench = Bench::new();
    let error = bench.source(GRANT).scoped(None, Some("https://other.example"), None).map(drop).unwrap_err();
    assert!(error.code() == ErrorCode::Config && error.message().contains("audience"), "{error}");
}

#[test]
fn the_refresh_token_that_came_with_a_dead_token_is_the_one_that_counts() {
    // fault 14
    let bench = Bench::new();
    bench.grants([token("one")]);
    // Kept by the record alone.
    let engine = bench.engine(GRANT, "");
    let source = engine.source("p").unwrap();
    source.begin_login_blocking(LoginOptions::default()).unwrap().finish_blocking().unwrap();
    engine.advance(3601.0).unwrap();
    let (status, mut dead) = token("two");
    dead["expires_in"] = json!(0);
    bench.grants([(status, dead), token("three")]);
    // By itself, or after a pause.
    if let Err(error) = access(&source) {
        clean(error);
        engine.advance(60.0).unwrap();
        assert_eq!(access(&source).unwrap(), "access-three");
    }
    let asked = bench.server.asked("/token");
    let sent: Vec<&str> = asked[1..].iter().map(|form| form["refresh_token"].as_str()).collect();
    assert_eq!(sent, ["refresh-one", "refresh-two"]);
}

#[test]
fn slow_down_adds_five_seconds_for_good() {
    let bench = Bench::new();
    bench.grants([refusal("slow_down"), refusal("authorization_pending"), token("one")]);
    let login = bench.source(GRANT).begin_login_blocking(LoginOptions::default()).unwrap();
    login.finish_blocking().unwrap();
    assert_eq!(login.expires_in(), Some(Duration::from_secs(600 - 10 - 15 - 15)));
}

#[test]
fn a_server_that_is_away_is_asked_less_and_less_often() {
    let bench = Bench::new();
    bench.grants([(0, json!(null)), (503, json!({})), refusal("authorization_pending"), token("one")]);
    let login = bench.source(GRANT).begin_login_blocking(LoginOptions::default()).unwrap();
    login.finish_blocking().unwrap();
    assert_eq!(login.expires_in(), Some(Duration::from_secs(600 - 10 - 20 - 40 - 10)));
}

#[test]
fn who_refuses_ends_the_sign_in() {
    let bench = Bench::new();
    bench.grants([refusal("authorization_pending"), refusal("access_denied")]);
    let source = bench.source(GRANT);
    let login = source.begin_login_blocking(LoginOptions::default()).unwrap();
    let error = clean(login.finish_blocking().unwrap_err());
    assert_eq!(
        (error.code(), error.server_error(), error.profile()),
        (ErrorCode::AccessDenied, Some("access_denied"), Some("p"))
    );
    assert_eq!(login.finish_blocking().unwrap_err().code(), ErrorCode::AccessDenied);
    assert_eq!(bench.server.asked("/token").len(), 2);
    assert_eq!(bench.stored(), None);
}

#[test]
fn an_expired_code_says_so_whether_the_server_or_the_clock_tells() {
    let bench = Bench::new();
    bench.grants([refusal("expired_token")]);
    let said = |bench: &Bench| {
        let login = bench.source(GRANT).begin_login_blocking(LoginOptions::default()).unwrap();
        clean(login.finish_blocking().unwrap_err())
    };
    let error = said(&bench);
    assert_eq!(error.code(), ErrorCode::ReauthenticationRequired);
    assert!(error.message().contains("expired"), "{error}");
    bench.server.answers("/device", [(200, device(100))]);
    bench.grants([refusal("authorization_pending")]);
    assert_eq!(said(&bench).code(), ErrorCode::ReauthenticationRequired);
    assert_eq!(bench.server.asked("/token").len(), 1 + 5, "never beyond its end");
}

#[test]
fn what_else_a_server_says_ends_the_sign_in() {
    let bench = Bench::new();
    for (word, code) in [("invalid_client", ErrorCode::InvalidClient), ("invalid_grant", ErrorCode::InvalidGrant)] {
        bench.grants([refusal(word)]);
        let login = bench.source(GRANT).begin_login_blocking(LoginOptions::default()).unwrap();
        assert_eq!(clean(login.finish_blocking().unwrap_err()).code(), code);
    }
    bench.grants([(200, json!({"access_token": 7}))]);
    let login = bench.source(GRANT).begin_login_blocking(LoginOptions::default()).unwrap();
    assert_eq!(clean(login.finish_blocking().unwrap_err()).code(), ErrorCode::Protocol);
    bench.server.answers("/device", [(400, json!({"error": "invalid_scope"}))]);
    let error = bench.source(GRANT).begin_login_blocking(LoginOptions::default()).unwrap_err();
    assert_eq!(clean(error).code(), ErrorCode::Config);
    bench.server.answers("/device", [(200, json!({"device_code": "canary"}))]);
    let error = bench.source(GRANT).begin_login_blocking(LoginOptions::default()).unwrap_err();
    assert_eq!(clean(error).code(), ErrorCode::Protocol);
}

#[test]
fn without_a_refresh_token_the_sign_in_says_so_and_an_earlier_one_stays() {
    let bench = Bench::new();
    bench.grants([without_refresh("one")]);
    let (engine, source) = bench.kept(GRANT);
    let done = source.begin_login_blocking(LoginOptions::default()).unwrap().finish_blocking().unwrap();
    assert!(!done.refresh_token_given && done.kept_in.is_none() && bench.stored().is_none());
    assert!(done.token.expires_at().unwrap() > SystemTime::now());
    bench.grants([token("two"), without_refresh("three"), token("four")]);
    source.begin_login_blocking(LoginOptions::default()).unwrap().finish_blocking().unwrap();
    source.begin_login_blocking(LoginOptions::default()).unwrap().finish_blocking().unwrap();
    assert_eq!(bench.stored().as_deref(), Some("refresh-two"));
    engine.advance(3599.0).unwrap();
    assert_eq!(access(&source).unwrap(), "access-four");
    assert_eq!(bench.server.asked("/token")[3]["refresh_token"], "refresh-two");
}

#[test]
fn a_sign_in_that_could_not_be_kept_is_refused_before_a_person_is_asked() {
    let bench = Bench::new();
    let must = || LoginOptions { must_be_kept: true, ..LoginOptions::default() };
    let error = bench.engine(GRANT, "").source("p").unwrap().begin_login_blocking(must()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Config);
    assert!(error.message().contains("refresh_token = \"file:p.login\""), "{error}");
    let given = bench.engine(GRANT, "refresh_token = \"canary\"").source("p").unwrap();
    assert_eq!(clean(given.begin_login_blocking(must()).unwrap_err()).code(), ErrorCode::Config);
    std::fs::write(bench.folder.path().join("logins"), "in the way").unwrap();
    let error = bench.source(GRANT).begin_login_blocking(must()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Store);
    assert!(error.message().contains("p.login"), "{error}");
    assert!(bench.server.asked("/device").is_empty());
}

#[test]
fn a_file_that_cannot_be_written_any_more_loses_nothing() {
    let bench = Bench::new();
    bench.grants([token("one")]);
    let (engine, source) = bench.kept(GRANT);
    let login = source.begin_login_blocking(LoginOptions::default()).unwrap();
    let folder = bench.folder.path().join("logins");
    std::fs::remove_dir(&folder).unwrap();
    std::fs::write(&folder, "in the way").unwrap();
    let error = clean(login.finish_blocking().unwrap_err());
    assert_eq!(error.code(), ErrorCode::Store);
    assert!(error.message().contains("p.login"), "{error}");
    assert_eq!(access(&source).unwrap(), "access-one");
    // The refresh token lives on in this process, and reaches the file once it can be written.
    bench.grants([token("two")]);
    std::fs::remove_file(&folder).unwrap();
    engine.advance(3599.0).unwrap();
    assert_eq!(access(&source).unwrap(), "access-two");
    assert_eq!(bench.stored().as_deref(), Some("refresh-two"));
}

#[test]
fn who_gives_up_waiting_can_come_back_and_a_close_ends_the_wait() {
    let bench = Bench::new();
    bench.server.answers("/device", [(200, device(1))]);
    let engine = bench.engine_on("system", GRANT, "");
    let source = engine.source("p").unwrap();
    let login = source.begin_login_blocking(LoginOptions::default()).unwrap();
    assert!(qauth_core::block_on_while(login.finish(), Duration::from_millis(20), || false).is_none());
    assert!(bench.server.asked("/token").is_empty());
    bench.grants([token("one")]);
    assert_eq!(login.finish_blocking().unwrap().token.access_token(), "access-one");
    let other = source.begin_login_blocking(LoginOptions::default()).unwrap();
    let waiting = std::thread::spawn(move || other.finish_blocking().unwrap_err().code());
    engine.close();
    assert_eq!(waiting.join().unwrap(), ErrorCode::Closed);
}

#[test]
fn a_grant_without_a_person_needs_no_sign_in() {
    let bench = Bench::new();
    let source = bench.engine("client_credentials", "client_secret = \"canary\"").source("p").unwrap();
    assert_eq!(source.login_kind(), None);
    let error = clean(source.begin_login_blocking(LoginOptions::default()).unwrap_err());
    assert_eq!(error.code(), ErrorCode::Unsupported);
    let login = bench.source(GRANT).begin_login_blocking(LoginOptions::default()).unwrap();
    assert_eq!(login.complete_blocking("code=x").unwrap_err().code(), ErrorCode::Unsupported);
}
