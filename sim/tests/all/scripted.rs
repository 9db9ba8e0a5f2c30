//! `/scripted`, and the record of what clients sent.

use crate::signing::{claims, jwt};
use crate::support::start;
use serde_json::{Value, json};

#[tokio::test]
async fn replies_come_in_order_and_the_last_one_stays() {
    let probe = start();
    let reply = |n: &str, times: u64| json!({"path": "/login", "json": {"is": n, "n": "{n}"}, "times": times});
    let told = probe.script("script", json!({"replies": [reply("a", 2), reply("b", 1)]})).await;
    assert_eq!(told, json!({"routes": 1, "unscripted": 0}));
    for (number, name) in ["a", "a", "b", "b"].iter().enumerate() {
        let answer = probe.json("/scripted/login", json!({})).await.is(200).json();
        assert_eq!(answer, json!({"is": name, "n": (number + 1).to_string()}));
    }
    probe.script("script", json!({"replies": [reply("c", 1)]})).await;
    assert_eq!(probe.json("/scripted/login?x=1", json!({})).await.at("/is"), "c");
    assert_eq!(probe.count("scripted", "token_requests").await, 5);
}

#[tokio::test]
async fn status_headers_and_texts_are_as_scripted() {
    let probe = start();
    let cookies = json!({"Set-Cookie": ["a={n}", "b=2"], "Content-Type": "text/html"});
    let reply = json!({"method": "GET", "path": "/api/page", "status": 418, "headers": cookies, "body": "<p>{n}</p>"});
    probe.script("script", json!({"replies": [reply]})).await;
    let answer = probe.get("/scripted/api/page", "").await.is(418);
    let sent: Vec<&str> = answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap()).collect();
    assert_eq!((sent, answer.text.as_str()), (vec!["a=1", "b=2"], "<p>1</p>"));
    assert_eq!(answer.header("content-type"), "text/html");
    assert_eq!(probe.count("scripted", "api_requests").await, 1);
}

#[tokio::test]
async fn an_unknown_path_is_not_found_and_counted() {
    let probe = start();
    probe.script("script", json!({"replies": [{"path": "/login"}]})).await;
    probe.get("/scripted/login", "").await.is(404);
    assert_eq!(probe.json("/scripted/login", json!({})).await.is(200).text, "");
    probe.json("/scripted/login/", json!({})).await.is(404);
    assert_eq!(probe.count("scripted", "unscripted").await, 2);
    let told = probe.script("script", json!({"clear": true})).await;
    assert_eq!(told, json!({"routes": 0, "unscripted": 2}));
    probe.json("/scripted/login", json!({})).await.is(404);
}

#[tokio::test]
async fn faults_and_the_reset_hold_for_scripts_too() {
    let probe = start();
    probe.script("script", json!({"replies": [{"path": "/t", "json": {"a": 1}}]})).await;
    probe.script("faults", json!({"vendor": "scripted", "endpoint": "token", "replace": {"/a": 2}})).await;
    assert_eq!(probe.json("/scripted/t", json!({})).await.json(), json!({"a": 2}));
    probe.script("reset", json!({})).await;
    probe.json("/scripted/t", json!({})).await.is(404);
}

#[tokio::test]
async fn a_wrong_script_is_refused_whole() {
    let probe = start();
    for (reply, field) in [
        (json!({}), "replies.1.path"),
        (json!({"path": "login"}), "replies.1.path"),
        (json!({"path": "/a?b"}), "replies.1.path"),
        (json!({"path": "/a", "status": 99}), "replies.1.status"),
        (json!({"path": "/a", "json": 1, "body": ""}), "replies.1.body"),
        (json!({"path": "/a", "headers": {"a": 1}}), "replies.1.headers.a"),
        (json!({"path": "/a", "times": 0}), "replies.1.times"),
        (json!({"path": "/a", "extra": 0}), "replies.1.extra"),
        (json!(1), "replies.1"),
    ] {
        probe.json("/_sim/script", json!({"replies": [{"path": "/good"}, reply]})).await.names(400, field);
    }
    probe.json("/_sim/script", json!({})).await.names(400, "replies");
    probe.json("/scripted/good", json!({})).await.is(404);
    probe.json("/_sim/settings", json!({"vendor": "scripted", "delay_ms": 1})).await.is(200);
    probe.json("/_sim/credentials", json!({"vendor": "scripted"})).await.names(400, "vendor");
}

#[tokio::test]
async fn requests_are_kept_whole() {
    let probe = start();
    let assertion = jwt("ES256", json!({"kid": "k"}), &claims("generic-es256", "x"));
    let fields = [("a", "1"), ("a", "2"), ("unknown", "u"), ("client_assertion", assertion.as_str())];
    probe.send(probe.form_request("/generic/token?q=1&q=2&r=3", &fields).header("x-one", "y")).await.is(400);
    probe.json("/scripted/login", json!({"user": "u"})).await.is(404);
    probe.quiqup().await;
    let all = probe.get("/_sim/requests", "").await.is(200).json();
    assert_eq!(all["count"], 2);
    let first = &all["requests"][0];
    assert_eq!(
        (&first["vendor"], &first["path"], &first["status"], &first["json"]),
        (&json!("generic"), &json!("/token"), &json!(400), &Value::Null)
    );
    assert_eq!((&first["query"], &first["parameters"]), (&json!("q=1&q=2&r=3"), &json!({"q": ["1", "2"], "r": "3"})));
    assert_eq!((&first["form"]["a"], &first["form"]["unknown"]), (&json!(["1", "2"]), &json!("u")));
    assert_eq!(first["headers"]["x-one"], "y");
    assert_eq!(first["jwts"]["client_assertion"]["header"], json!({"kid": "k", "alg": "ES256"}));
    assert_eq!(first["jwts"]["client_assertion"]["claims"]["iss"], "generic-es256");
    let told = probe.script("requests", json!({"vendor": "scripted", "path": "/login", "forget": true})).await;
    let login = &told["requests"][0];
    assert_eq!((&login["json"], &login["form"]), (&json!({"user": "u"}), &Value::Null));
    assert_eq!(login["body"], "{\"user\":\"u\"}");
    assert_eq!(probe.script("requests", json!({"vendor": "scripted"})).await, json!({"count": 0, "requests": []}));
    assert_eq!(probe.script("requests", json!({"vendor": "generic", "path": "/token"})).await["count"], 1);
    probe.json("/_sim/requests", json!({"vendor": "qpay"})).await.names(400, "vendor");
}
