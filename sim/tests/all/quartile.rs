use crate::support::start;
use qauth_sim::known;
use serde_json::{Value, json};

const REPORTS: &str = "/quartile/reports";

/// Reads an answer of the login as a tolerant client does.
fn read(text: &str) -> Value {
    serde_json::from_str(&text.replace('\n', " ")).unwrap()
}

fn tokens(answer: &crate::support::Answer) -> (String, String) {
    let json = read(&answer.text);
    let at = |pointer: &str| json.pointer(pointer).unwrap().as_str().unwrap().to_owned();
    (at("/authorization/token"), at("/refresh/token"))
}

#[tokio::test]
async fn the_login_answers_as_the_sample_with_a_raw_line_break_in_a_string() {
    let probe = start();
    probe.script("clock", json!({"freeze": true})).await;
    let now = probe.state().await["now"].as_f64().unwrap().floor() as i64;
    let answer = probe.quartile_login().await.is(200);
    assert!(serde_json::from_str::<Value>(&answer.text).is_err(), "strict JSON forbids the raw line break");
    let json = read(&answer.text);
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&json), ["authorization", "refresh"]);
    let of_access = ["token", "type", "expires_in", "expires_at", "not_before", "note"];
    assert_eq!(names(&json["authorization"]), of_access);
    assert_eq!(names(&json["refresh"]), ["token", "expires_in", "expires_at", "note"]);
    assert_eq!(
        (&json["authorization"]["expires_in"], &json["refresh"]["expires_in"]),
        (&json!(43200), &json!(1209600))
    );
    assert_eq!(json["authorization"]["type"], "Bearer");
    assert!(json["authorization"]["not_before"].as_i64().unwrap() < now - 300 * 86_400);
    let expires_at = json["authorization"]["expires_at"].as_str().unwrap();
    let parsed: jiff::civil::DateTime = expires_at.parse().unwrap();
    assert_eq!(expires_at.len(), 19, "{expires_at}");
    assert_eq!(parsed.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp().as_second(), now + 43_200);
}

#[tokio::test]
async fn the_reports_want_token_and_subscription_key() {
    let probe = start();
    let (token, _) = tokens(&probe.quartile_login().await);
    probe.quartile_get(REPORTS, &token).await.is(200);
    probe.quartile_get(REPORTS, "").await.refuses_the_token();
    probe.get(REPORTS, &token).await.names(401, "Subscription-Key");
    let wrong = probe.with_token("GET", REPORTS, &token).header("subscription-key", "wrong");
    probe.send(wrong).await.names(401, "Subscription-Key");
}

#[tokio::test]
async fn the_login_is_strict() {
    let probe = start();
    let login = "/quartile/auth/v2/login";
    let good = json!({"username": known::QUARTILE_USERNAME, "password": known::QUARTILE_PASSWORD});
    probe.json(login, good.clone()).await.names(401, "Subscription-Key");
    probe.quartile(login, json!({"username": known::QUARTILE_USERNAME})).await.names(400, "password");
    let mut extra = good.clone();
    extra["otp"] = json!("1");
    probe.quartile(login, extra).await.names(400, "otp");
    let mut wrong = good;
    wrong["password"] = json!("wrong");
    probe.quartile(login, wrong).await.is(401);
    probe.quartile("/quartile/auth/v1/login", json!({})).await.is(404);
    let get = probe.request("GET", login).header("subscription-key", known::QUARTILE_SUBSCRIPTION_KEY);
    assert_eq!(probe.send(get).await.is(405).header("allow"), "POST");
}

#[tokio::test]
async fn a_refresh_token_rotates() {
    let probe = start();
    let (first_access, first) = tokens(&probe.quartile_login().await);
    let (access, second) = tokens(&probe.quartile_refresh(&first).await.is(200));
    assert_ne!(first, second);
    probe.quartile_get(REPORTS, &first_access).await.is(200);
    probe.quartile_get(REPORTS, &access).await.is(200);
    probe.quartile_refresh(&second).await.is(200);
    assert_eq!(probe.count("quartile", "by_grant/refresh_token").await, 2);
    assert_eq!(probe.count("quartile", "reuse_detected").await, 0);
}

#[tokio::test]
async fn a_spent_refresh_token_revokes_all_tokens_of_its_login() {
    let probe = start();
    let (_, first) = tokens(&probe.quartile_login().await);
    let (access, second) = tokens(&probe.quartile_refresh(&first).await);
    probe.quartile_refresh(&first).await.is(401);
    assert_eq!(probe.count("quartile", "reuse_detected").await, 1);
    probe.quartile_get(REPORTS, &access).await.refuses_the_token();
    probe.quartile_refresh(&second).await.is(401);
    let (access, _) = tokens(&probe.quartile_login().await);
    probe.quartile_get(REPORTS, &access).await.is(200);
}

#[tokio::test]
async fn a_new_login_disables_earlier_refresh_tokens() {
    let probe = start();
    let (access, refresh) = tokens(&probe.quartile_login().await);
    let (_, newer) = tokens(&probe.quartile_login().await);
    probe.quartile_refresh(&refresh).await.is(401);
    assert_eq!(probe.count("quartile", "reuse_detected").await, 0);
    probe.quartile_get(REPORTS, &access).await.is(200);
    probe.quartile_refresh(&newer).await.is(200);
}

#[tokio::test]
async fn a_refresh_token_ends_after_its_own_lifetime() {
    let probe = start();
    let (_, refresh) = tokens(&probe.quartile_login().await);
    probe.script("clock", json!({"advance": 1_209_601})).await;
    probe.quartile_refresh(&refresh).await.is(401);
}

#[tokio::test]
async fn validate_tells_whether_the_token_is_good() {
    let probe = start();
    let (token, _) = tokens(&probe.quartile_login().await);
    let validate = |token: &str| {
        let request = probe.with_token("POST", "/quartile/auth/v2/validate", token);
        request.header("subscription-key", known::QUARTILE_SUBSCRIPTION_KEY)
    };
    assert_eq!(probe.send(validate(&token)).await.is(200).json(), json!({"valid": true}));
    probe.send(validate(&token).body("x")).await.names(400, "body");
    probe.script("revoke", json!({"vendor": "quartile", "tokens": true})).await;
    probe.send(validate(&token)).await.refuses_the_token();
    assert_eq!(probe.count("quartile", "token_requests").await, 1);
}
