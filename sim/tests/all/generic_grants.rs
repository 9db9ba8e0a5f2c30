//! The grants of `/generic` that need one request each.

use crate::signing::{claims, jwt, known, unix_now};
use crate::support::{Answer, Probe, start};
use serde_json::{Value, json};

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const EXCHANGE: (&str, &str) = ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange");
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

fn password() -> [(&'static str, &'static str); 3] {
    [("grant_type", "password"), ("username", known("username")), ("password", known("password"))]
}

fn refresh(token: &str) -> [(&str, &str); 2] {
    [("grant_type", "refresh_token"), ("refresh_token", token)]
}

impl Probe {
    async fn bearer_grant(&self, claims: &Value, more: &[(&str, &str)]) -> Answer {
        let assertion = jwt("ES256", json!({}), claims);
        let fields = [&[("grant_type", JWT_BEARER), ("assertion", &assertion)], more].concat();
        self.form("/generic/token", &fields).await
    }
}

#[tokio::test]
async fn a_public_client_may_not_speak_for_itself() {
    let probe = start();
    probe.public(&[("grant_type", "client_credentials")]).await.fails(400, "unauthorized_client");
    probe.public(&[EXCHANGE]).await.fails(400, "unauthorized_client");
    probe.public(&password()).await.is(200);
}

#[tokio::test]
async fn a_wrong_password_or_a_revoked_account_is_refused() {
    let probe = start();
    let mut wrong = password();
    wrong[2].1 = "wrong";
    probe.generic(&wrong).await.fails(400, "invalid_grant");
    let token = probe.generic(&password()).await.is(200).at("/access_token");
    assert_eq!(probe.introspect(&token).await["sub"], known("username"));
    probe.script("revoke", json!({"vendor": "generic", "username": known("username")})).await;
    probe.get("/generic/api/whoami", &token).await.refuses_the_token();
    probe.generic(&password()).await.fails(400, "invalid_grant");
    probe.script("credentials", json!({"vendor": "generic", "password": "wrong"})).await;
    probe.generic(&wrong).await.is(200);
}

#[tokio::test]
async fn a_confidential_client_keeps_its_refresh_token() {
    let probe = start();
    let first = probe.generic(&password()).await.is(200);
    let token = first.at("/refresh_token");
    for _ in 0..2 {
        let again = probe.generic(&refresh(&token)).await.is(200).json();
        assert!(again.get("refresh_token").is_none() && again["access_token"] != first.json()["access_token"]);
    }
    probe.public(&refresh(&token)).await.fails(400, "invalid_grant");
    let wide = [&refresh(&token)[..], &[("scope", "write")]].concat();
    probe.generic(&wide).await.fails(400, "invalid_scope");
    probe.script("revoke", json!({"vendor": "generic", "refresh_tokens": true})).await;
    probe.generic(&refresh(&token)).await.fails(400, "invalid_grant");
}

#[tokio::test]
async fn a_refresh_narrows_what_was_granted_and_never_widens_it() {
    let probe = start();
    let wide = [("scope", "read write"), ("resource", "https://api.example.com")];
    let token = probe.public(&[&password()[..], &wide].concat()).await.is(200).at("/refresh_token");
    let other = [&refresh(&token)[..], &[("resource", "https://other.example.com")]].concat();
    probe.public(&other).await.fails(400, "invalid_target");
    let narrow = probe.public(&[&refresh(&token)[..], &[("scope", "write")]].concat()).await.is(200);
    assert_eq!(narrow.at("/scope"), "write");
    assert_eq!(probe.public(&refresh(&narrow.at("/refresh_token"))).await.is(200).at("/scope"), "read write");
}

#[tokio::test]
async fn a_replayed_refresh_token_of_the_public_client_ends_its_family() {
    let probe = start();
    let first = probe.public(&password()).await.is(200).at("/refresh_token");
    let second = probe.public(&refresh(&first)).await.is(200);
    let other = probe.public(&password()).await.is(200).at("/refresh_token");
    probe.get("/generic/api/whoami", &second.at("/access_token")).await.is(200);
    probe.public(&refresh(&first)).await.fails(400, "invalid_grant");
    assert_eq!(probe.count("generic", "reuse_detected").await, 1);
    probe.get("/generic/api/whoami", &second.at("/access_token")).await.refuses_the_token();
    probe.public(&refresh(&second.at("/refresh_token"))).await.fails(400, "invalid_grant");
    probe.public(&refresh(&other)).await.is(200);
}

#[tokio::test]
async fn a_revoked_refresh_token_takes_its_family_along() {
    let probe = start();
    let tokens = probe.public(&password()).await.is(200);
    let (access, refresh_token) = (tokens.at("/access_token"), tokens.at("/refresh_token"));
    let fields = [("client_id", known("public_client_id")), ("token", &refresh_token)];
    probe.form("/generic/revoke", &fields).await.is(200);
    probe.get("/generic/api/whoami", &access).await.refuses_the_token();
    probe.public(&refresh(&refresh_token)).await.fails(400, "invalid_grant");
}

#[tokio::test]
async fn a_signed_assertion_is_a_grant_of_its_own() {
    let probe = start();
    let issuer = probe.generic_url("");
    let mut good = claims("generic-es256", &issuer);
    let token = probe.bearer_grant(&good, &[]).await.is(200);
    assert_eq!(probe.introspect(&token.at("/access_token")).await["sub"], "generic-es256");
    probe.bearer_grant(&good, &[]).await.fails(400, "invalid_grant");
    good["sub"] = json!(known("username"));
    good["scope"] = json!("read write");
    good["jti"] = Value::Null;
    let token = probe.bearer_grant(&good, &[]).await.is(200);
    assert_eq!(token.at("/scope"), "read write");
    let told = probe.introspect(&token.at("/access_token")).await;
    assert_eq!((&told["sub"], &told["client_id"]), (&json!(known("username")), &json!("generic-es256")));
    assert_eq!(probe.bearer_grant(&good, &[("scope", "read")]).await.at("/scope"), "read");
    for (name, value) in [
        ("sub", json!("somebody")),
        ("iss", json!("generic-rs256")),
        ("aud", json!("https://elsewhere.example.com")),
        ("exp", json!(unix_now() - 1)),
    ] {
        let mut wrong = claims("generic-es256", &issuer);
        wrong[name] = value;
        probe.bearer_grant(&wrong, &[]).await.fails(400, "invalid_grant");
    }
    assert_eq!(probe.count("generic", "by_grant/jwt-bearer").await, 8);
}

#[tokio::test]
async fn a_token_is_exchanged_for_another_with_an_actor() {
    let probe = start();
    let subject = probe.generic(&password()).await.is(200).at("/access_token");
    let actor = probe.machine_token().await;
    let mut fields = vec![EXCHANGE, ("subject_token", &subject), ("subject_token_type", ACCESS_TOKEN)];
    fields.extend([("audience", "a"), ("audience", "b"), ("resource", "https://api.example.com")]);
    fields.extend([("actor_token", actor.as_str()), ("actor_token_type", ACCESS_TOKEN)]);
    let answer = probe.generic(&fields).await.is(200);
    assert_eq!(answer.at("/issued_token_type"), ACCESS_TOKEN);
    let json = answer.json();
    assert_eq!((&json["audience"], &json["resource"]), (&json!(["a", "b"]), &json!(["https://api.example.com"])));
    let told = probe.introspect(&answer.at("/access_token")).await;
    assert_eq!((&told["sub"], &told["act"]), (&json!(known("username")), &json!({"sub": "generic-post"})));
}

#[tokio::test]
async fn a_dead_or_mistyped_subject_token_is_refused() {
    let probe = start();
    let tokens = probe.generic(&password()).await.is(200);
    let (access, refresh) = (tokens.at("/access_token"), tokens.at("/refresh_token"));
    let exchange = |token, kind| [EXCHANGE, ("subject_token", token), ("subject_token_type", kind)];
    for (token, kind) in [
        ("dead", ACCESS_TOKEN),
        (refresh.as_str(), ACCESS_TOKEN),
        (&access, "urn:ietf:params:oauth:token-type:refresh_token"),
        (&access, "urn:ietf:params:oauth:token-type:saml2"),
    ] {
        probe.generic(&exchange(token, kind)).await.fails(400, "invalid_request");
    }
    probe.generic(&[EXCHANGE, ("subject_token", &access)]).await.names(400, "subject_token_type");
    probe.generic(&exchange(&refresh, "urn:ietf:params:oauth:token-type:refresh_token")).await.is(200);
}
