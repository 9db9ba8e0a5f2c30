use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::header::{HeaderMap, HeaderValue};

use super::*;
use crate::Engine;
use crate::source::Source;

/// The canary is the profile's secret.
const CANARY: &str = "canary secret/5d1e";

fn profile(provider: &str) -> std::sync::Arc<Profile> {
    let table = match provider {
        "quartile" => format!("username = \"u\"\npassword = \"{CANARY}\"\nsubscription_key = \"k\""),
        "quable" => format!("instance = \"acme\"\nusername = \"api_x\"\npassword = \"{CANARY}\""),
        "quiqup" => format!("client_id = \"c\"\nclient_secret = \"{CANARY}\""),
        _ => format!("token_endpoint = \"https://x.example/token\"\nclient_id = \"c\"\nclient_secret = \"{CANARY}\""),
    };
    let engine = Engine::from_toml(&format!("[profiles.p]\nprovider = \"{provider}\"\n{table}")).unwrap();
    let source: std::sync::Arc<Source> = engine.source("p").unwrap().inner();
    source.profile()
}

fn answer(status: u16, body: &str) -> HttpResponse {
    HttpResponse { status, headers: HeaderMap::new(), body: body.as_bytes().to_vec() }
}

fn judge(provider: &str, kind: GrantKind, response: &HttpResponse) -> std::result::Result<Issued, Refusal> {
    let profile = profile(provider);
    let sent_unix = Duration::from_secs(1_654_837_728);
    let answer = &profile.provider.definition().answer;
    let asked = Asked { profile: &profile, kind, answer, secrets: &[], sent_unix, dpop: false };
    let result = read(&asked, response);
    if let Err(refusal) = &result {
        assert!(!refusal.error.to_string().contains("canary"), "{}", refusal.error);
    }
    result
}

fn client(status: u16, body: &str) -> std::result::Result<Issued, Refusal> {
    judge("oauth2", GrantKind::ClientCredentials, &answer(status, body))
}

fn lifetime(expires_in: &str) -> Option<Duration> {
    client(200, &format!("{{\"access_token\": \"t\", \"expires_in\": {expires_in}}}")).unwrap().lifetime
}

#[test]
fn expires_in_is_read_in_every_form_that_servers_send() {
    // fault 37
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    for (text, expected) in [("3600", 3600), ("\"3600\"", 3600), ("3600.9", 3600), ("3.6e3", 3600), ("0", 0), ("-5", 0)]
    {
        assert_eq!(lifetime(text), seconds(expected), "{text}");
    }
    // Absurd ones are cut to 30 days; none at all is five minutes, never for ever.
    for text in ["9223372036854775808", "1e300", "\"1e400\""] {
        assert_eq!(lifetime(text), seconds(2_592_000), "{text}");
    }
    assert_eq!(lifetime("null"), seconds(300));
    for text in ["true", "[]", "{}", "\"soon\"", "\"NaN\""] {
        let body = format!("{{\"access_token\": \"t\", \"expires_in\": {text}}}");
        assert!(client(200, &body).unwrap_err().error.to_string().contains("expires_in"), "{text}");
    }
}

#[test]
fn a_token_that_no_header_can_carry_is_refused() {
    // fault 35
    let long = format!("\"{}\"", "x".repeat(70_000));
    for token in ["null", "\"\"", "5", "\"a b\"", "\"a\\nb\"", "\"t\u{00fc}\"", "[]", &long] {
        let refusal = client(200, &format!("{{\"access_token\": {token}}}")).unwrap_err();
        assert_eq!((refusal.error.code(), refusal.verdict), (ErrorCode::Protocol, Verdict::Unknown), "{token}");
    }
    assert!(client(200, "{}").is_err());
}

#[test]
fn token_types_compare_without_case_and_unknown_ones_are_refused() {
    // fault 36
    for kind in ["\"bearer\"", "\"BEARER\"", "null"] {
        assert!(client(200, &format!("{{\"access_token\": \"t\", \"token_type\": {kind}}}")).is_ok(), "{kind}");
    }
    for kind in ["\"mac\"", "\"DPoP\"", "5"] {
        assert!(client(200, &format!("{{\"access_token\": \"t\", \"token_type\": {kind}}}")).is_err(), "{kind}");
    }
}

#[test]
fn an_error_in_a_success_is_an_error_even_beside_a_token() {
    // fault 29
    let refusal = client(200, r#"{"access_token": "t", "error": "invalid_client"}"#).unwrap_err();
    assert_eq!((refusal.error.code(), refusal.verdict), (ErrorCode::InvalidClient, Verdict::Final));
}

#[test]
fn structured_errors_map_to_codes_and_are_final() {
    // fault 26
    for (status, word, code) in [
        (401, "invalid_client", ErrorCode::InvalidClient),
        (400, "invalid_grant", ErrorCode::InvalidGrant),
        (401, "unauthorized_client", ErrorCode::InvalidClient),
        (400, "unauthorized_client", ErrorCode::Config),
        (400, "unsupported_grant_type", ErrorCode::Config),
        (400, "invalid_scope", ErrorCode::Config),
        (403, "access_denied", ErrorCode::AccessDenied),
        (400, "something_else", ErrorCode::Config),
    ] {
        let refusal = client(status, &format!("{{\"error\": \"{word}\"}}")).unwrap_err();
        assert_eq!((refusal.error.code(), refusal.verdict), (code, Verdict::Final), "{word}");
        assert_eq!(refusal.error.server_error(), Some(word));
        assert_eq!(refusal.error.status(), Some(status));
    }
}

#[test]
fn noise_counts_as_its_status_class_and_is_never_final() {
    // fault 29
    for (status, code, verdict) in [
        (400, ErrorCode::Protocol, Verdict::Noise),
        (401, ErrorCode::InvalidClient, Verdict::Noise),
        (403, ErrorCode::AccessDenied, Verdict::Noise),
        (404, ErrorCode::Config, Verdict::Noise),
        (405, ErrorCode::Config, Verdict::Noise),
        (415, ErrorCode::Config, Verdict::Noise),
        (429, ErrorCode::RateLimited, Verdict::NotApplied),
        (500, ErrorCode::ServerError, Verdict::Unknown),
        (502, ErrorCode::ServerError, Verdict::Unknown),
        (503, ErrorCode::ServerError, Verdict::NotApplied),
        (204, ErrorCode::Protocol, Verdict::Unknown),
        (206, ErrorCode::Protocol, Verdict::Unknown),
    ] {
        let refusal = client(status, "<html>canary</html>").unwrap_err();
        assert_eq!((refusal.error.code(), refusal.verdict), (code, verdict), "{status}");
    }
    let refusal = judge("quable", GrantKind::Login, &answer(401, "")).unwrap_err();
    assert_eq!((refusal.error.code(), refusal.verdict), (ErrorCode::InvalidGrant, Verdict::Final));
}

#[test]
fn a_redirect_names_the_host_alone() {
    // fault 25
    let mut response = answer(302, "");
    response.headers.insert(LOCATION, HeaderValue::from_static("https://evil.example/canary?x=canary"));
    let refusal = judge("oauth2", GrantKind::ClientCredentials, &response).unwrap_err();
    assert!(refusal.error.to_string().contains("evil.example"));
}

#[test]
fn what_the_server_repeats_of_a_secret_is_masked_and_cut() {
    let long = "x".repeat(1000);
    for form in [CANARY, "canary+secret%2F5d1e", "canary%20secret%2F5d1e"] {
        let body = format!("{{\"error\": \"invalid_client\", \"error_description\": \"you sent {form} {long}\"}}");
        let refusal = client(401, &body).unwrap_err();
        let said = refusal.error.server_error_description().unwrap();
        assert!(said.starts_with("you sent ***") && said.chars().count() == 256, "{said}");
    }
    let refusal = client(401, r#"{"error": "has spaces, so it is prose"}"#).unwrap_err();
    assert_eq!(refusal.error.server_error(), None);
}

#[test]
fn retry_after_is_read_in_both_forms_and_capped() {
    // fault 28
    let after = |value: &'static str| {
        let mut response = answer(429, "");
        response.headers.insert(RETRY_AFTER, HeaderValue::from_static(value));
        retry_after(&response, Duration::from_secs(784_111_777 - 10))
    };
    assert_eq!(after("120"), Some(Duration::from_secs(120)));
    assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(10)));
    for capped in ["1000000000000", "99999999999999999999999999"] {
        assert_eq!(after(capped), Some(Duration::from_secs(3600)), "{capped}");
    }
    for garbage in ["-5", "soon", "", "Sun, 06 Nov 1984 08:49:37 GMT"] {
        assert_eq!(after(garbage), None, "{garbage}");
    }
}

const QUARTILE: &str = r#"{"authorization": {"token": "a", "type": "Bearer", "expires_in": 43200,
    "expires_at": "2022-06-10T17:08:48", "not_before": 1627058225}, "refresh": {"token": "r", "expires_in": 1209600,
    "note": "a raw
line break"}}"#;

#[test]
fn the_nested_answer_with_a_raw_line_break_is_read() {
    // faults 34, 41
    let issued = judge("quartile", GrantKind::Login, &answer(200, QUARTILE)).unwrap();
    assert_eq!(issued.lifetime, Some(Duration::from_secs(43_200)));
    assert_eq!(issued.refresh_lifetime, Some(Duration::from_secs(1_209_600)));
    // Elsewhere a raw control character is an error.
    assert!(client(200, "{\"access_token\": \"t\", \"note\": \"a\nb\"}").is_err());
}

#[test]
fn expires_at_counts_in_utc_and_only_where_expires_in_is_absent() {
    // fault 41
    let without = QUARTILE.replace("\"expires_in\": 43200,", "");
    // Sent at 05:08:48 UTC on that day, so twelve hours are left.
    let issued = judge("quartile", GrantKind::Login, &answer(200, &without)).unwrap();
    assert_eq!(issued.lifetime, Some(Duration::from_secs(43_200)));
    let later = without.replace("2022-06-10", "2022-06-12");
    let issued = judge("quartile", GrantKind::Login, &answer(200, &later)).unwrap();
    assert_eq!(issued.lifetime, Some(Duration::from_secs(43_200)));
    let nonsense = without.replace("2022-06-10T17:08:48", "tomorrow");
    assert!(judge("quartile", GrantKind::Login, &answer(200, &nonsense)).is_err());
    // fault 39
    for broken in [
        QUARTILE.replace("\"authorization\"", "\"other\""),
        QUARTILE.replace("{\"token\": \"a\"", "[{\"token\": \"a\""),
    ] {
        assert!(judge("quartile", GrantKind::Login, &answer(200, &broken)).is_err());
    }
}

#[test]
fn created_at_is_kept_and_never_added() {
    // fault 42
    let body = r#"{"access_token": "t", "created_at": 1616571253000, "expires_in": 1200, "token_type": "bearer"}"#;
    let issued = judge("quiqup", GrantKind::ClientCredentials, &answer(200, body)).unwrap();
    assert_eq!(issued.lifetime, Some(Duration::from_secs(1200)));
    assert_eq!(issued.extras["created_at"], 1_616_571_253_000_u64);
}

#[test]
fn a_login_answers_201_and_null_means_no_refresh_token() {
    // faults 30, 38
    let body = r#"{"id": 1, "oauth": {"access_token": "t", "expires_in": 3600, "refresh_token": null}}"#;
    let issued = judge("quable", GrantKind::Login, &answer(201, body)).unwrap();
    assert!(issued.refresh_token.is_none());
    assert!(judge("quable", GrantKind::Login, &answer(200, body)).is_err());
    assert!(judge("quable", GrantKind::Login, &answer(201, "{}")).is_err());
    let forever = r#"{"oauth": {"access_token": "t"}}"#;
    assert_eq!(
        judge("quable", GrantKind::Login, &answer(201, forever)).unwrap().lifetime,
        Some(Duration::from_secs(2_592_000))
    );
}

#[test]
fn a_jwts_exp_is_the_lifetime_where_nothing_else_is() {
    let payload = URL_SAFE_NO_PAD.encode(format!("{{\"exp\": {}}}", 1_654_837_728 + 900));
    let body = format!("{{\"access_token\": \"e30.{payload}.sig\"}}");
    assert_eq!(client(200, &body).unwrap().lifetime, Some(Duration::from_secs(900)));
}
