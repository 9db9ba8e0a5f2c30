use crate::support::{quable, start};
use qauth_sim::known;
use serde_json::{Value, json};

const ACME: &str = "/quable/acme/api/products";

#[tokio::test]
async fn a_sign_in_is_answered_201_with_the_token_inside() {
    let probe = start();
    let answer = probe.quable("acme").await.is(201);
    let oauth = &answer.json()["oauth"];
    let token = answer.at("/oauth/access_token");
    assert_eq!(*oauth, json!({"access_token": token, "expires_in": 3600, "refresh_token": null}));
    assert!(token.len() == 32 && token.bytes().all(|b| b.is_ascii_hexdigit()), "{token}");
    assert!(answer.json()["user"].is_object() && answer.json()["id"].is_string());
    probe.get(ACME, &token).await.is(200);
}

#[tokio::test]
async fn a_login_kills_the_session_before_it_in_the_same_instance_only() {
    let probe = start();
    let first = probe.quable("acme").await.at("/oauth/access_token");
    let elsewhere = probe.quable("other").await.at("/oauth/access_token");
    let second = probe.quable("acme").await.at("/oauth/access_token");
    probe.get(ACME, &first).await.refuses_the_token();
    probe.get(ACME, &second).await.is(200);
    probe.get("/quable/other/api/products", &elsewhere).await.is(200);
    probe.get(ACME, &elsewhere).await.refuses_the_token();
    assert_eq!(probe.count("quable", "sessions_killed").await, 1);
}

#[tokio::test]
async fn a_takeover_kills_the_token_without_a_request_of_ours() {
    let probe = start();
    let token = probe.quable("acme").await.at("/oauth/access_token");
    let takeover = json!({"vendor": "quable", "instance": "acme"});
    assert_eq!(probe.script("takeover", takeover.clone()).await, json!({"killed": true}));
    assert_eq!(probe.script("takeover", takeover).await, json!({"killed": false}));
    probe.get(ACME, &token).await.refuses_the_token();
    assert_eq!(probe.count("quable", "token_requests").await, 1);
    assert_eq!(probe.count("quable", "sessions_killed").await, 1);
}

#[tokio::test]
async fn a_refused_login_has_a_status_and_no_body() {
    let probe = start();
    let mut body = quable();
    body["signin"]["password"] = json!("wrong");
    let answer = probe.json("/quable/acme/api_1.php/sessions", body).await.is(401);
    assert_eq!((answer.text.as_str(), answer.header("content-type")), ("", ""));
}

#[tokio::test]
async fn a_malformed_login_is_refused_by_what_is_wrong_with_it() {
    let probe = start();
    let sessions = "/quable/acme/api_1.php/sessions";
    probe.json(sessions, json!({"username": "a", "password": "b"})).await.names(400, "signin");
    probe.json(sessions, json!({"signin": {"username": "a"}})).await.names(400, "signin.password");
    let mut body = quable();
    body["signin"]["remember"] = json!(true);
    probe.json(sessions, body).await.names(400, "signin.remember");
    let mut body = quable();
    body["extra"] = Value::Null;
    probe.json(sessions, body).await.names(400, "extra");
    for instance in ["Acme", "a.b", "-a", "a_b", "a%2Fb"] {
        probe.quable(instance).await.is(404);
    }
    probe.json("/quable/api_1.php/sessions", quable()).await.is(404);
}

#[tokio::test]
async fn the_generic_token_works_without_a_login_until_it_is_revoked() {
    let probe = start();
    probe.get(ACME, known::QUABLE_GENERIC_TOKEN).await.is(200);
    probe.quable("acme").await.is(201);
    probe.script("clock", json!({"advance": 1e9})).await;
    probe.get("/quable/other/api/products", known::QUABLE_GENERIC_TOKEN).await.is(200);
    probe.script("revoke", json!({"vendor": "quable", "generic_token": true})).await;
    probe.get(ACME, known::QUABLE_GENERIC_TOKEN).await.refuses_the_token();
}

#[tokio::test]
async fn a_session_is_over_when_its_time_is() {
    let probe = start();
    let token = probe.quable("acme").await.at("/oauth/access_token");
    probe.script("clock", json!({"advance": 3601})).await;
    probe.get(ACME, &token).await.refuses_the_token();
    probe.quable("acme").await.is(201);
    assert_eq!(probe.count("quable", "sessions_killed").await, 0);
}
