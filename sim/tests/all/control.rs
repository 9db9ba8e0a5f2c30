use crate::support::{quiqup, start};
use qauth_sim::known;
use serde_json::{Value, json};

#[tokio::test]
async fn the_state_counts_requests_and_keeps_secrets_out() {
    let probe = start();
    let token = probe.quiqup().await.at("/access_token");
    probe.get("/quiqup/orders?note=private", &token).await.is(200);
    probe.get("/quiqup/orders", "wrong").await.is(401);
    let state = probe.state().await;
    assert_eq!(
        state["vendors"]["quiqup"],
        json!({
            "requests": 3, "token_requests": 1, "tokens_issued": 1, "api_requests": 2, "api_unauthorized": 1,
            "by_grant": {"client_credentials": 1, "refresh_token": 0},
            "reuse_detected": 0, "refresh_repeated": 0, "sessions_killed": 0, "faults_served": 0, "faults_pending": 0,
        })
    );
    let log = json!([
        {"vendor": "quiqup", "method": "POST", "path": "/quiqup/oauth/token", "status": 200, "token_request": true,
         "authorization": false},
        {"vendor": "quiqup", "method": "GET", "path": "/quiqup/orders", "status": 200, "token_request": false,
         "authorization": true},
        {"vendor": "quiqup", "method": "GET", "path": "/quiqup/orders", "status": 401, "token_request": false,
         "authorization": true},
    ]);
    assert_eq!(state["requests"], log);
    let text = state.to_string();
    assert!(!text.contains(&token) && !text.contains("private") && !text.contains(known::QUIQUP_CLIENT_SECRET));
    let vendors: Vec<&String> = state["vendors"].as_object().unwrap().keys().collect();
    assert_eq!(vendors, ["quantaprice", "quiqup", "quable", "quartile", "qpay", "generic", "scripted"]);
}

#[tokio::test]
async fn the_log_keeps_the_last_thousand_requests() {
    let probe = start();
    for number in 0..1002 {
        probe.get(&format!("/quiqup/{number}"), "").await.is(404);
    }
    let log = probe.state().await["requests"].clone();
    assert_eq!((log.as_array().unwrap().len(), &log[0]["path"]), (1000, &json!("/quiqup/2")));
}

#[tokio::test]
async fn a_reset_forgets_everything() {
    let probe = start();
    let token = probe.quiqup().await.at("/access_token");
    probe.script("clock", json!({"freeze": true, "advance": 1e6})).await;
    probe.script("credentials", json!({"vendor": "quiqup", "client_secret": "new"})).await;
    probe.script("faults", json!({"vendor": "quiqup", "endpoint": "token", "status": 500})).await;
    probe.script("settings", json!({"vendor": "quiqup", "lifetime": 1})).await;
    let before = probe.state().await["now"].as_f64().unwrap();
    assert!(probe.script("reset", json!({})).await["now"].as_f64().unwrap() < before - 1e5);
    assert_eq!(probe.count("quiqup", "requests").await, 0);
    probe.get("/quiqup/orders", &token).await.is(401);
    assert_eq!(probe.quiqup().await.is(200).json()["expires_in"], 3600);
}

#[tokio::test]
async fn the_known_credentials_are_told_by_vendor() {
    let probe = start();
    let all = probe.get("/_sim/credentials", "").await.is(200).json();
    assert_eq!(all["quantaprice"]["client_id"], known::QUANTAPRICE_CLIENT_ID);
    assert_eq!(all["quantaprice"]["second_client_id"], known::QUANTAPRICE_SECOND_CLIENT_ID);
    assert_eq!(all["quiqup"]["client_secret"], known::QUIQUP_CLIENT_SECRET);
    assert_eq!(all["quable"]["generic_token"], known::QUABLE_GENERIC_TOKEN);
    assert_eq!(all["quartile"]["subscription_key"], known::QUARTILE_SUBSCRIPTION_KEY);
    assert_eq!((&all["qpay"]["tenant_id"], &all["qpay"]["tenant_type"]), (&json!("issuer-001"), &json!("issuer")));
}

#[tokio::test]
async fn a_changed_secret_is_the_accepted_one_and_tokens_live_on() {
    let probe = start();
    let token = probe.quiqup().await.at("/access_token");
    probe.script("credentials", json!({"vendor": "quiqup", "client_secret": "new"})).await;
    probe.quiqup().await.is(401);
    let mut body = quiqup();
    body["client_secret"] = json!("new");
    probe.json("/quiqup/oauth/token", body).await.is(200);
    probe.get("/quiqup/orders", &token).await.is(200);
    probe.script("credentials", json!({"vendor": "quable", "password": "new"})).await;
    probe.quable("acme").await.is(401);
    probe.script("credentials", json!({"vendor": "quartile", "subscription_key": "new"})).await;
    probe.quartile_login().await.is(401);
    probe.script("credentials", json!({"vendor": "qpay", "client_id": "other", "client_secret": "s"})).await;
    probe.qpay_client("other", "s").await.is(200);
    probe.qpay_client(known::QPAY_CLIENT_ID, known::QPAY_CLIENT_SECRET).await.is(200);
}

#[tokio::test]
async fn revoking_ends_tokens_refresh_tokens_or_accounts() {
    let probe = start();
    probe.script("settings", json!({"vendor": "quiqup", "refresh_tokens": true})).await;
    let answer = probe.quiqup().await;
    probe.script("revoke", json!({"vendor": "quiqup", "refresh_tokens": true})).await;
    probe.get("/quiqup/orders", &answer.at("/access_token")).await.is(200);
    let mut body = quiqup();
    body["grant_type"] = json!("refresh_token");
    body["refresh_token"] = json!(answer.at("/refresh_token"));
    probe.json("/quiqup/oauth/token", body).await.is(400);
    probe.script("revoke", json!({"vendor": "quiqup", "tokens": true})).await;
    probe.get("/quiqup/orders", &answer.at("/access_token")).await.refuses_the_token();
    probe.quiqup().await.is(200);

    let quable = probe.quable("acme").await.at("/oauth/access_token");
    probe.script("revoke", json!({"vendor": "quable", "username": known::QUABLE_USERNAME})).await;
    probe.get("/quable/acme/api/products", &quable).await.refuses_the_token();
    probe.quable("acme").await.is(401);
}

#[tokio::test]
async fn a_wrong_call_is_refused_with_the_field_that_is_wrong() {
    let probe = start();
    let cases: [(&str, Value, &str); 15] = [
        ("settings", json!({}), "vendor"),
        ("settings", json!({"vendor": "quantum"}), "vendor"),
        ("settings", json!({"vendor": "quiqup", "lifetime": "1"}), "lifetime"),
        ("settings", json!({"vendor": "quiqup", "lifetme": 1}), "lifetme"),
        ("settings", json!({"vendor": "qpay", "reuse_tokens": true}), "reuse_tokens"),
        ("clock", json!({}), "advance"),
        ("clock", json!({"advance": "1"}), "advance"),
        ("faults", json!({"vendor": "qpay", "status": 500}), "endpoint"),
        ("faults", json!({"vendor": "qpay", "endpoint": "token"}), "status"),
        ("revoke", json!({"vendor": "qpay"}), "tokens"),
        ("revoke", json!({"vendor": "qpay", "client_id": "nobody"}), "client_id"),
        ("revoke", json!({"vendor": "qpay", "client_id": known::QPAY_CLIENT_ID, "username": "maria"}), "client_id"),
        ("takeover", json!({"vendor": "quiqup", "instance": "acme"}), "vendor"),
        ("takeover", json!({"vendor": "quable"}), "instance"),
        ("credentials", json!({"vendor": "quiqup", "password": "x", "client_secret": "y"}), "password"),
    ];
    for (name, body, field) in cases {
        probe.json(&format!("/_sim/{name}"), body).await.names(400, field);
    }
    probe.json("/_sim/nothing", json!({})).await.is(404);
    assert_eq!(probe.get("/_sim/clock", "").await.is(405).header("allow"), "POST");
    probe.get("/nobody/token", "").await.is(404);
}

#[tokio::test]
async fn a_body_beyond_all_measure_is_refused() {
    let probe = start();
    let request = probe.request("POST", "/quiqup/echo").body(vec![b'x'; (16 << 20) + 1]);
    // The refusal may also show as a broken connection, as the rest of the body is not read.
    if let Ok(answer) = probe.try_send(request).await {
        answer.names(413, "body");
    }
    probe.quiqup().await.is(200);
}
