use crate::support::{claims, start};
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};

#[tokio::test]
async fn the_clock_is_real_time_until_told_otherwise() {
    let probe = start();
    let real = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((probe.state().await["now"].as_f64().unwrap() - real).abs() < 60.0);
    let later = probe.script("clock", json!({"advance": 1000})).await["now"].as_f64().unwrap();
    assert!((later - real - 1000.0).abs() < 60.0);
}

#[tokio::test]
async fn a_token_lives_exactly_its_lifetime_on_a_frozen_clock() {
    let probe = start();
    let frozen = probe.script("clock", json!({"freeze": true})).await["now"].clone();
    let token = probe.quantaprice().await.at("/access_token");
    assert_eq!(claims(&token)["iat"].as_i64(), Some(frozen.as_f64().unwrap().floor() as i64));
    let prices = "/quantaprice/api/v1/prices?sku=A";
    probe.script("clock", json!({"advance": 3599.5})).await;
    probe.get(prices, &token).await.is(200);
    probe.script("clock", json!({"advance": 0.5})).await;
    probe.get(prices, &token).await.refuses_the_token();
    assert_eq!(probe.state().await["now"].as_f64(), Some(frozen.as_f64().unwrap() + 3600.0));
}

#[tokio::test]
async fn the_date_header_tells_the_simulators_time() {
    let probe = start();
    let now = probe.script("clock", json!({"freeze": true, "advance": 100_000})).await["now"].as_f64().unwrap();
    let date = httpdate::parse_http_date(probe.quiqup().await.header("date")).unwrap();
    assert_eq!(date.duration_since(UNIX_EPOCH).unwrap().as_secs(), now.floor() as u64);
}

#[tokio::test]
async fn settings_change_lifetimes() {
    let probe = start();
    probe.script("settings", json!({"vendor": "qpay", "lifetime": 2, "refresh_lifetime": 5})).await;
    let answer = probe.qpay_person().await.json();
    assert_eq!((&answer["expires_in"], &answer["refresh_expires_in"]), (&json!(2), &json!(5)));
    probe.script("settings", json!({"vendor": "quartile", "lifetime": 2.5})).await;
    assert!(probe.quartile_login().await.text.contains("\"expires_in\": 2.5"));
}
