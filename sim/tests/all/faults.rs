use crate::support::{Probe, quiqup, start};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

async fn fault(probe: &Probe, vendor: &str, endpoint: &str, rest: Value) {
    let mut body = json!({"vendor": vendor, "endpoint": endpoint});
    body.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    probe.script("faults", body).await;
}

#[tokio::test]
async fn a_status_is_answered_with_headers_and_body_and_nothing_is_applied() {
    let probe = start();
    let headers = json!({"Retry-After": "2"});
    fault(&probe, "quiqup", "token", json!({"status": 429, "headers": headers, "body": "slow down"})).await;
    let answer = probe.quiqup().await.is(429);
    assert_eq!((answer.header("retry-after"), answer.text.as_str()), ("2", "slow down"));
    assert_eq!(answer.header("content-type"), "text/plain");
    assert_eq!(probe.count("quiqup", "tokens_issued").await, 0);
    assert_eq!(probe.count("quiqup", "token_requests").await, 1);
    assert_eq!(probe.count("quiqup", "by_grant/client_credentials").await, 1);
    assert_eq!(probe.count("quiqup", "faults_served").await, 1);
    probe.quiqup().await.is(200);
}

#[tokio::test]
async fn a_status_can_be_answered_although_the_request_was_applied() {
    let probe = start();
    fault(&probe, "quiqup", "token", json!({"status": 502, "applied": true, "body": {"error": "x"}})).await;
    assert_eq!(probe.quiqup().await.is(502).json(), json!({"error": "x"}));
    assert_eq!(probe.count("quiqup", "tokens_issued").await, 1);
}

#[tokio::test]
async fn html_can_come_instead_of_json() {
    let probe = start();
    let html = json!({"status": 503, "content_type": "text/html", "body": "<h1>maintenance</h1>"});
    fault(&probe, "quantaprice", "token", html).await;
    let answer = probe.quantaprice().await.is(503);
    assert_eq!((answer.header("content-type"), answer.text.as_str()), ("text/html", "<h1>maintenance</h1>"));
}

#[tokio::test]
async fn skip_and_times_choose_the_requests_and_faults_queue_in_order() {
    let probe = start();
    fault(&probe, "quiqup", "token", json!({"status": 500, "skip": 1, "times": 2})).await;
    fault(&probe, "quiqup", "token", json!({"status": 503})).await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(probe.quiqup().await.status);
    }
    assert_eq!(statuses, [200, 500, 500, 503, 200]);
}

#[tokio::test]
async fn a_fault_touches_its_own_vendor_and_endpoint_only() {
    let probe = start();
    fault(&probe, "quiqup", "api", json!({"status": 401})).await;
    probe.quantaprice().await.is(200);
    let token = probe.quiqup().await.is(200).at("/access_token");
    probe.get("/quiqup/orders", &token).await.is(401);
    probe.get("/quiqup/orders", &token).await.is(200);
    assert_eq!(probe.count("quiqup", "api_unauthorized").await, 1);
}

#[tokio::test]
async fn a_connection_closed_before_has_no_effect() {
    let probe = start();
    fault(&probe, "quiqup", "token", json!({"close": "before"})).await;
    assert!(probe.try_send(probe.json_request("/quiqup/oauth/token", quiqup())).await.is_err());
    assert_eq!(probe.count("quiqup", "tokens_issued").await, 0);
    assert_eq!(probe.count("quiqup", "token_requests").await, 1);
    assert_eq!(probe.state().await["requests"][0]["status"], Value::Null);
    probe.quiqup().await.is(200);
}

#[tokio::test]
async fn a_connection_closed_after_leaves_the_refresh_token_spent() {
    let probe = start();
    let login: Value = serde_json::from_str(&probe.quartile_login().await.text.replace('\n', " ")).unwrap();
    let refresh_token = login["refresh"]["token"].as_str().unwrap();
    fault(&probe, "quartile", "token", json!({"close": "after"})).await;
    let request = probe.json_request("/quartile/auth/v2/refresh", json!({"refresh_token": refresh_token}));
    let request = request.header("subscription-key", qauth_sim::known::QUARTILE_SUBSCRIPTION_KEY);
    assert!(probe.try_send(request).await.is_err());
    assert_eq!(probe.count("quartile", "token_requests").await, 2);
    assert_eq!(probe.count("quartile", "tokens_issued").await, 2);
    probe.quartile_refresh(refresh_token).await.is(401);
    assert_eq!(probe.count("quartile", "reuse_detected").await, 1);
}

#[tokio::test]
async fn a_connection_closed_in_the_body_sends_headers_and_half_of_it() {
    let probe = start();
    fault(&probe, "quantaprice", "token", json!({"close": "body"})).await;
    let request = probe.form_request("/quantaprice/oauth2/token", &crate::support::QUANTAPRICE);
    let mut response = request.send().await.unwrap();
    let length: usize = response.headers()["content-length"].to_str().unwrap().parse().unwrap();
    assert_eq!(response.status(), 200);
    let mut received = 0;
    let ended = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => received += chunk.len(),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    assert!(ended.is_err());
    assert_eq!(received, length / 2);
    assert_eq!(probe.count("quantaprice", "tokens_issued").await, 1);
}

#[tokio::test]
async fn members_of_the_answer_are_changed_by_pointer() {
    let probe = start();
    let replace = json!({"/expires_in": "3600", "/scope": ["odd"]});
    fault(&probe, "quiqup", "token", json!({"replace": replace, "remove": ["/token_type"]})).await;
    let answer = probe.quiqup().await.is(200);
    assert_eq!((&answer.json()["expires_in"], &answer.json()["scope"]), (&json!("3600"), &json!(["odd"])));
    assert_eq!(answer.json().get("token_type"), None);
    probe.get("/quiqup/orders", &answer.at("/access_token")).await.is(200);
}

#[tokio::test]
async fn members_of_quartiles_answer_are_changed_and_its_line_breaks_stay() {
    let probe = start();
    fault(&probe, "quartile", "token", json!({"replace": {"/authorization/expires_in": null}})).await;
    let answer = probe.quartile_login().await.is(200);
    assert!(answer.text.contains("\"expires_in\": null"), "{}", answer.text);
    assert!(serde_json::from_str::<Value>(&answer.text).is_err());
}

#[tokio::test]
async fn delays_wait_on_their_own_or_beside_another_fault() {
    let probe = start();
    fault(&probe, "quiqup", "token", json!({"delay_ms": 150})).await;
    fault(&probe, "quiqup", "token", json!({"delay_ms": 150, "status": 500})).await;
    let started = Instant::now();
    probe.quiqup().await.is(200);
    probe.quiqup().await.is(500);
    assert!(started.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn a_delayed_request_is_applied_at_once_even_if_the_client_gives_up() {
    let probe = start();
    probe.script("settings", json!({"vendor": "quiqup", "delay_ms": 60_000})).await;
    let request = probe.json_request("/quiqup/oauth/token", quiqup()).timeout(Duration::from_millis(200));
    assert!(probe.try_send(request).await.unwrap_err().is_timeout());
    assert_eq!(probe.count("quiqup", "tokens_issued").await, 1);
}

#[tokio::test]
async fn deleting_the_faults_leaves_the_rest() {
    let probe = start();
    fault(&probe, "quiqup", "token", json!({"status": 500, "times": 9})).await;
    probe.quiqup().await.is(500);
    assert_eq!(probe.count("quiqup", "faults_pending").await, 8);
    probe.send(probe.request("DELETE", "/_sim/faults")).await.is(200);
    probe.quiqup().await.is(200);
    assert_eq!(probe.count("quiqup", "token_requests").await, 2);
}
