use crate::support::{Answer, Probe, start};
use qauth_sim::known;
use reqwest::RequestBuilder;
use serde_json::{Value, json};

/// The base of every vendor's API, with a token that is good for it.
async fn vendors(probe: &Probe) -> Vec<(&'static str, String)> {
    let quartile: Value = serde_json::from_str(&probe.quartile_login().await.text.replace('\n', " ")).unwrap();
    let qpay = probe.qpay_client(known::QPAY_CLIENT_ID, known::QPAY_CLIENT_SECRET).await;
    vec![
        ("/quantaprice/api/v1", probe.quantaprice().await.at("/access_token")),
        ("/quiqup", probe.quiqup().await.at("/access_token")),
        ("/quable/acme/api", probe.quable("acme").await.at("/oauth/access_token")),
        ("/quartile", quartile["authorization"]["token"].as_str().unwrap().to_owned()),
        ("/qpay", qpay.at("/access_token")),
    ]
}

fn request(probe: &Probe, method: &str, path: &str, token: &str) -> RequestBuilder {
    probe.with_token(method, path, token).header("subscription-key", known::QUARTILE_SUBSCRIPTION_KEY)
}

async fn get(probe: &Probe, path: &str, token: &str) -> Answer {
    probe.send(request(probe, "GET", path, token)).await
}

#[tokio::test]
async fn every_vendor_forbids_redirects_and_echoes() {
    let probe = start();
    for (base, token) in vendors(&probe).await {
        assert_eq!(get(&probe, &format!("{base}/forbidden"), &token).await.is(403).at("/error"), "access_denied");
        let redirect = get(&probe, &format!("{base}/redirect"), &token).await.is(302);
        assert_eq!(redirect.header("location"), "/elsewhere");
        let echo = request(&probe, "PATCH", &format!("{base}/echo?a=b%20c"), &token).body("a body");
        let echo = probe.send(echo).await.is(200);
        assert!(!echo.text.contains(&token));
        let echo = echo.json();
        assert_eq!((&echo["method"], &echo["query"]), (&json!("PATCH"), &json!("a=b%20c")));
        assert_eq!(echo["path"], format!("{base}/echo"));
        assert_eq!(echo["headers"]["authorization"], "present");
        assert_eq!((&echo["body_bytes"], &echo["body"]), (&json!(6), &json!("a body")));
        for name in ["forbidden", "redirect", "echo", "large?bytes=1"] {
            get(&probe, &format!("{base}/{name}"), "").await.refuses_the_token();
        }
        get(&probe, &format!("{base}/nothing"), &token).await.is(404);
    }
}

#[tokio::test]
async fn large_answers_as_many_bytes_as_asked_compressed_or_not() {
    let probe = start();
    let token = probe.quiqup().await.at("/access_token");
    let plain = probe.get("/quiqup/large?bytes=100000", &token).await.is(200);
    assert_eq!((plain.text.len(), plain.header("content-length")), (100_000, "100000"));
    let packed = probe.get("/quiqup/large?bytes=100000&gzip=1", &token).await.is(200);
    assert_eq!(packed.text, plain.text);
    probe.get("/quiqup/large?bytes=many", &token).await.names(400, "bytes");
    probe.get("/quiqup/large", &token).await.names(400, "bytes");
}

#[tokio::test]
async fn a_followed_redirect_shows_in_the_log_with_or_without_the_token() {
    let probe = start();
    assert_eq!(probe.get("/elsewhere", "").await.is(200).json()["authorization"], false);
    probe.get("/elsewhere", "a-token").await.is(200);
    let log = probe.state().await["requests"].clone();
    assert_eq!((&log[0]["vendor"], &log[0]["authorization"]), (&json!("elsewhere"), &json!(false)));
    assert_eq!(log[1]["authorization"], true);
}
