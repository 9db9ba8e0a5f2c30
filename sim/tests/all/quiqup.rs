use crate::support::{Probe, quiqup, start};
use serde_json::{Value, json};

const TOKEN: &str = "/quiqup/oauth/token";

async fn refresh(probe: &Probe, refresh_token: &str) -> crate::support::Answer {
    let mut body = quiqup();
    body["grant_type"] = json!("refresh_token");
    body["refresh_token"] = json!(refresh_token);
    probe.json(TOKEN, body).await
}

#[tokio::test]
async fn the_token_has_the_shape_of_the_document() {
    let probe = start();
    let now = probe.script("clock", json!({"freeze": true})).await["now"].as_f64().unwrap();
    let answer = probe.quiqup().await.is(200);
    let token = answer.at("/access_token");
    assert!(token.len() == 64 && token.bytes().all(|b| b.is_ascii_hexdigit()), "{token}");
    let created_at = now.floor() as i64;
    let shown = json!({"access_token": token, "created_at": created_at, "expires_in": 3600, "token_type": "bearer"});
    assert_eq!(answer.json(), shown);
}

#[tokio::test]
async fn orders_are_made_and_listed_with_the_token() {
    let probe = start();
    let token = probe.quiqup().await.at("/access_token");
    let order = probe.with_token("POST", "/quiqup/orders", &token).header("content-type", "application/json");
    probe.send(order.body(r#"{"to": "Lisbon"}"#)).await.is(201);
    let listed = probe.get("/quiqup/orders", &token).await.is(200).json();
    assert_eq!(listed, json!({"orders": [{"id": 1, "order": {"to": "Lisbon"}}]}));
    probe.send(probe.with_token("POST", "/quiqup/orders", &token).body("{}")).await.names(415, "Content-Type");
    assert_eq!(
        probe.send(probe.with_token("PUT", "/quiqup/orders", &token)).await.is(405).header("allow"),
        "GET, POST"
    );
    probe.get("/quiqup/orders", "").await.refuses_the_token();
}

#[tokio::test]
async fn the_body_is_json_with_the_documented_fields_only() {
    let probe = start();
    probe.form(TOKEN, &[("grant_type", "client_credentials")]).await.names(415, "Content-Type");
    let mut body = quiqup();
    body["scope"] = json!("all");
    probe.json(TOKEN, body).await.names(400, "scope");
    let mut body = quiqup();
    body["client_id"] = json!(7);
    probe.json(TOKEN, body).await.names(400, "client_id");
    let mut body = quiqup();
    body["grant_type"] = json!("password");
    assert_eq!(probe.json(TOKEN, body).await.is(400).at("/error"), "unsupported_grant_type");
    let mut body = quiqup();
    body["client_secret"] = json!("wrong");
    assert_eq!(probe.json(TOKEN, body).await.is(401).at("/error"), "invalid_client");
}

#[tokio::test]
async fn a_left_out_grant_type_means_client_credentials() {
    let probe = start();
    let mut body = quiqup();
    body.as_object_mut().unwrap().shift_remove("grant_type");
    probe.json(TOKEN, body).await.is(200);
    assert_eq!(probe.count("quiqup", "by_grant/client_credentials").await, 1);
}

#[tokio::test]
async fn a_reused_token_is_answered_with_what_is_left_of_its_life() {
    let probe = start();
    probe.script("settings", json!({"vendor": "quiqup", "reuse_tokens": true})).await;
    probe.script("clock", json!({"freeze": true})).await;
    let first = probe.quiqup().await.json();
    probe.script("clock", json!({"advance": 1000.0})).await;
    let second = probe.quiqup().await.json();
    assert_eq!(second["access_token"], first["access_token"]);
    assert_eq!(second["created_at"], first["created_at"]);
    assert_eq!(second["expires_in"], 2600);
    probe.script("clock", json!({"advance": 2600})).await;
    assert_ne!(probe.quiqup().await.json()["access_token"], first["access_token"]);
    assert_eq!(probe.count("quiqup", "tokens_issued").await, 2);
}

#[tokio::test]
async fn refresh_tokens_come_when_asked_for_and_work_once() {
    let probe = start();
    assert_eq!(probe.quiqup().await.json().get("refresh_token"), None::<&Value>);
    probe.script("settings", json!({"vendor": "quiqup", "refresh_tokens": true})).await;
    let first = probe.quiqup().await.at("/refresh_token");
    let renewed = refresh(&probe, &first).await.is(200);
    assert_ne!(renewed.at("/refresh_token"), first);
    probe.get("/quiqup/orders", &renewed.at("/access_token")).await.is(200);
    assert_eq!(refresh(&probe, &first).await.is(400).at("/error"), "invalid_grant");
    let mut body = quiqup();
    body["grant_type"] = json!("refresh_token");
    probe.json(TOKEN, body).await.names(400, "refresh_token");
}
