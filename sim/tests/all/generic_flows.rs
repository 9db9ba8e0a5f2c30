//! The grants of `/generic` that need a browser: by a redirect, and by a device's code.

use crate::generic::POST_CLIENT;
use crate::signing::{ProofKey, known, sha256};
use crate::support::{Answer, Probe, form, start};
use serde_json::json;
use std::collections::HashMap;

const VERIFIER: &str = "a-verifier-that-is-long-enough-for-the-rule-of-43";
const REDIRECT: &str = "http://127.0.0.1:9/callback?keep=1";

impl Probe {
    async fn authorize(&self, changed: &[(&str, &str)]) -> Answer {
        let challenge = sha256(VERIFIER);
        let mut fields: Vec<(&str, &str)> = vec![
            ("client_id", known("public_client_id")),
            ("response_type", "code"),
            ("redirect_uri", REDIRECT),
            ("state", "s1"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        fields.retain(|(name, _)| changed.iter().all(|(other, _)| other != name));
        fields.extend(changed);
        self.get(&format!("/generic/authorize?{}", form(&fields)), "").await
    }

    async fn code(&self) -> String {
        redirected(&self.authorize(&[]).await)["code"].clone()
    }

    async fn redeem(&self, code: &str, verifier: &str) -> Answer {
        let fields = [("code", code), ("code_verifier", verifier), ("redirect_uri", REDIRECT)];
        self.public(&[&[("grant_type", "authorization_code")], &fields[..]].concat()).await
    }

    async fn device(&self) -> (String, String) {
        let answer = self.form("/generic/device_authorization", &POST_CLIENT).await.is(200);
        (answer.at("/device_code"), answer.at("/user_code"))
    }

    async fn poll(&self, device_code: &str) -> Answer {
        let grant = ("grant_type", "urn:ietf:params:oauth:grant-type:device_code");
        self.generic(&[grant, ("device_code", device_code)]).await
    }

    async fn wait(&self, seconds: u64) {
        self.script("clock", json!({"advance": seconds})).await;
    }
}

/// The parameters that a redirect to the client carries.
fn redirected(answer: &Answer) -> HashMap<String, String> {
    assert_eq!(answer.status, 302, "{}", answer.text);
    let url = url::Url::parse(answer.header("location")).unwrap();
    assert!(url.as_str().starts_with("http://127.0.0.1:9/callback?keep=1&"), "{url}");
    url.query_pairs().into_owned().collect()
}

#[tokio::test]
async fn a_code_is_good_for_tokens_once() {
    let probe = start();
    let answer = redirected(&probe.authorize(&[("scope", "read openid")]).await);
    assert_eq!((answer["state"].as_str(), &answer["iss"]), ("s1", &probe.generic_url("")));
    let tokens = probe.redeem(&answer["code"], VERIFIER).await.is(200);
    assert_eq!(tokens.at("/scope"), "read openid");
    probe.public(&[("grant_type", "refresh_token"), ("refresh_token", &tokens.at("/refresh_token"))]).await.is(200);
    probe.redeem(&answer["code"], VERIFIER).await.fails(400, "invalid_grant");
    assert_eq!(probe.count("generic", "reuse_detected").await, 1);
    probe.get("/generic/api/whoami", &tokens.at("/access_token")).await.refuses_the_token();
}

#[tokio::test]
async fn a_code_wants_its_verifier_its_redirect_and_its_time() {
    let probe = start();
    let code = probe.code().await;
    probe.redeem(&code, &VERIFIER.replace("43", "44")).await.fails(400, "invalid_grant");
    probe.redeem("unknown", VERIFIER).await.fails(400, "invalid_grant");
    let grant = [("grant_type", "authorization_code"), ("code", &code), ("redirect_uri", REDIRECT)];
    probe.public(&grant).await.names(400, "code_verifier");
    let fields = [&grant[..2], &[("code_verifier", VERIFIER), ("redirect_uri", "http://127.0.0.1:9/")]].concat();
    probe.public(&fields).await.fails(400, "invalid_grant");
    probe.generic(&[&grant[..], &[("code_verifier", VERIFIER)]].concat()).await.fails(400, "invalid_grant");
    probe.redeem(&code, VERIFIER).await.is(200);
    let late = probe.code().await;
    probe.wait(61).await;
    probe.redeem(&late, VERIFIER).await.fails(400, "invalid_grant");
}

#[tokio::test]
async fn what_is_wrong_with_an_authorization_request_is_told_by_the_redirect() {
    let probe = start();
    for (changed, error) in [
        (("response_type", "token"), "unsupported_response_type"),
        (("code_challenge", ""), "invalid_request"),
        (("code_challenge", "short"), "invalid_request"),
        (("code_challenge_method", "plain"), "invalid_request"),
        (("scope", "admin"), "invalid_scope"),
        (("resource", "https://evil.example.com"), "invalid_target"),
    ] {
        let answer = redirected(&probe.authorize(&[changed]).await);
        assert_eq!((answer["error"].as_str(), answer.get("code")), (error, None), "{changed:?}");
    }
    probe.authorize(&[("client_id", "nobody")]).await.names(400, "client_id");
    probe.authorize(&[("redirect_uri", "/relative")]).await.names(400, "redirect_uri");
    assert_eq!(probe.count("generic", "by_part/authorize").await, 8);
}

#[tokio::test]
async fn a_code_is_bound_to_the_key_and_the_resources_of_its_request() {
    let (probe, key) = (start(), ProofKey::new());
    let changed = [("dpop_jkt", key.thumbprint()), ("resource", "https://api.example.com".to_owned())];
    let changed = changed.each_ref().map(|(name, value)| (*name, value.as_str()));
    let code = redirected(&probe.authorize(&changed).await)["code"].clone();
    probe.redeem(&code, VERIFIER).await.fails(400, "invalid_grant");
    let send = |resource: &'static str| {
        let fields = [
            ("client_id", known("public_client_id")),
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("code_verifier", VERIFIER),
            ("redirect_uri", REDIRECT),
            ("resource", resource),
        ];
        let proof = key.proof("POST", &probe.generic_url("/token"), &json!({}));
        probe.send(probe.form_request("/generic/token", &fields).header("dpop", proof))
    };
    send("https://other.example.com").await.fails(400, "invalid_target");
    send("https://api.example.com").await.is(200);
}

#[tokio::test]
async fn a_device_code_is_good_for_its_own_client_only() {
    let probe = start();
    probe.script("device", json!({"outcome": "approve"})).await;
    let (code, _) = probe.device().await;
    let grant = ("grant_type", "urn:ietf:params:oauth:grant-type:device_code");
    probe.public(&[grant, ("device_code", &code)]).await.fails(400, "invalid_grant");
    probe.poll(&code).await.is(200);
    probe.form("/generic/device_authorization", &[("scope", "read")]).await.fails(401, "invalid_client");
}

#[tokio::test]
async fn the_next_redirect_says_what_it_was_told_to() {
    let probe = start();
    let next = json!({"state": "forged", "iss": "https://evil.example.com", "code": "fake"});
    assert_eq!(probe.script("authorize", next.clone()).await, json!({"next": next}));
    let answer = redirected(&probe.authorize(&[]).await);
    assert_eq!((answer["state"].as_str(), answer["code"].as_str()), ("forged", "fake"));
    assert_eq!(answer["iss"], "https://evil.example.com");
    assert_eq!(redirected(&probe.authorize(&[]).await)["state"], "s1");
    probe.script("authorize", json!({"error": "access_denied", "code": "never", "omit": ["iss"]})).await;
    let answer = redirected(&probe.authorize(&[]).await);
    assert_eq!((answer["error"].as_str(), answer["state"].as_str()), ("access_denied", "s1"));
    assert!(!answer.contains_key("code") && !answer.contains_key("iss"));
    probe.json("/_sim/authorize", json!({"omit": ["scope"]})).await.names(400, "omit");
}

#[tokio::test]
async fn a_device_waits_until_a_person_opens_the_page() {
    let probe = start();
    probe.script("clock", json!({"freeze": true})).await;
    let answer = probe.form("/generic/device_authorization", &POST_CLIENT).await.is(200);
    let json = answer.json();
    assert_eq!((&json["interval"], &json["expires_in"]), (&json!(5), &json!(600)));
    let code = answer.at("/device_code");
    probe.poll(&code).await.fails(400, "authorization_pending");
    probe.get(answer.at("/verification_uri_complete").strip_prefix(&probe.sim.url()).unwrap(), "").await.is(200);
    probe.wait(5).await;
    let tokens = probe.poll(&code).await.is(200);
    assert_eq!(probe.introspect(&tokens.at("/access_token")).await["sub"], known("username"));
    assert!(!tokens.at("/refresh_token").is_empty());
    probe.poll(&code).await.fails(400, "invalid_grant");
    probe.get("/generic/activate?user_code=nothing", "").await.names(400, "user_code");
    assert_eq!(probe.count("generic", "by_grant/device_code").await, 3);
}

#[tokio::test]
async fn a_device_that_polls_too_often_is_slowed_down_by_five_seconds() {
    let probe = start();
    probe.script("clock", json!({"freeze": true})).await;
    let (code, _) = probe.device().await;
    probe.poll(&code).await.fails(400, "authorization_pending");
    probe.poll(&code).await.fails(400, "slow_down");
    probe.wait(9).await;
    probe.poll(&code).await.fails(400, "slow_down");
    probe.wait(15).await;
    probe.poll(&code).await.fails(400, "authorization_pending");
    assert_eq!(probe.script("device", json!({"enforce_interval": false})).await["next"], false);
    probe.poll(&code).await.fails(400, "authorization_pending");
}

#[tokio::test]
async fn a_device_is_approved_denied_or_expired_on_demand() {
    let probe = start();
    let told = probe.script("device", json!({"outcome": "approve", "after_polls": 2, "enforce_interval": false})).await;
    assert_eq!(told, json!({"user_codes": [], "next": true}));
    let (code, _) = probe.device().await;
    probe.poll(&code).await.fails(400, "authorization_pending");
    probe.poll(&code).await.fails(400, "authorization_pending");
    probe.poll(&code).await.is(200);
    let ((denied, user_code), (expired, other)) = (probe.device().await, probe.device().await);
    let told = probe.script("device", json!({"outcome": "deny"})).await;
    assert_eq!(told, json!({"user_codes": [user_code, other], "next": false}));
    let told = probe.script("device", json!({"outcome": "expire", "user_code": other})).await;
    assert_eq!(told["user_codes"], json!([other]));
    probe.poll(&denied).await.fails(400, "access_denied");
    probe.poll(&expired).await.fails(400, "expired_token");
    let (late, _) = probe.device().await;
    probe.wait(600).await;
    probe.poll(&late).await.fails(400, "expired_token");
    probe.json("/_sim/device", json!({"outcome": "deny", "user_code": other})).await.names(400, "user_code");
    probe.json("/_sim/device", json!({"after_polls": 1})).await.names(400, "outcome");
}
