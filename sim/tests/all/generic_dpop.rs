//! DPoP at `/generic`: bound tokens, proofs good and bad, nonces.

use crate::signing::{ProofKey, known, sha256, unique, unix_now};
use crate::support::{Answer, Probe, start};
use serde_json::{Value, json};

const GRANT: [(&str, &str); 3] = [
    ("grant_type", "client_credentials"),
    ("client_id", "generic-post"),
    ("client_secret", "generic-post-secret-81d0"),
];

impl Probe {
    async fn proven(&self, proof: &str, fields: &[(&str, &str)]) -> Answer {
        self.send(self.form_request("/generic/token", fields).header("dpop", proof)).await
    }

    /// A token request with a good proof, whose claims are changed.
    async fn bound(&self, key: &ProofKey, changed: Value) -> Answer {
        self.proven(&key.proof("POST", &self.generic_url("/token"), &changed), &GRANT).await
    }

    async fn whoami(&self, scheme: &str, token: &str, proof: &str) -> Answer {
        let request =
            self.request("GET", "/generic/api/whoami?x=1").header("authorization", format!("{scheme} {token}"));
        self.send(request.header("dpop", proof)).await
    }

    /// The API with a good proof, whose claims are changed.
    async fn api(&self, key: &ProofKey, token: &str, changed: Value) -> Answer {
        let mut claims = json!({"ath": sha256(token)});
        for (name, value) in changed.as_object().unwrap() {
            claims[name] = value.clone();
        }
        self.whoami("DPoP", token, &key.proof("GET", &self.generic_url("/api/whoami"), &claims)).await
    }
}

#[tokio::test]
async fn a_proof_binds_the_token_to_its_key() {
    let (probe, key) = (start(), ProofKey::new());
    let answer = probe.bound(&key, json!({})).await.is(200);
    assert_eq!(answer.at("/token_type"), "DPoP");
    let token = answer.at("/access_token");
    assert_eq!(probe.introspect(&token).await["cnf"], json!({"jkt": key.thumbprint()}));
    probe.api(&key, &token, json!({})).await.is(200);
    probe.get("/generic/api/whoami", &token).await.refuses_the_token();
    probe.api(&ProofKey::new(), &token, json!({})).await.fails(401, "invalid_token");
    let plain = probe.machine_token().await;
    probe.api(&key, &plain, json!({})).await.fails(401, "invalid_token");
    let bare = probe.request("GET", "/generic/api/whoami").header("authorization", format!("DPoP {token}"));
    let refused = probe.send(bare).await.fails(401, "invalid_dpop_proof");
    assert_eq!(refused.header("www-authenticate"), "DPoP error=\"invalid_dpop_proof\"");
}

#[tokio::test]
async fn a_wrong_claim_of_a_proof_is_refused_at_the_token_endpoint() {
    let (probe, key) = (start(), ProofKey::new());
    let url = probe.generic_url("/token");
    for changed in [
        json!({"htm": "GET"}),
        json!({"htu": probe.generic_url("/api/whoami")}),
        json!({"htu": format!("{url}?x=1")}),
        json!({"htu": url.replace("127.0.0.1", "localhost")}),
        json!({"iat": unix_now() - 90}),
        json!({"iat": unix_now() + 90}),
        json!({"iat": null}),
        json!({"jti": ""}),
        json!({"jti": null}),
    ] {
        let answer = probe.bound(&key, changed.clone()).await;
        assert_eq!((answer.status, answer.at("/error")), (400, "invalid_dpop_proof".to_owned()), "{changed}");
    }
    probe.bound(&key, json!({"iat": unix_now() - 50})).await.is(200);
}

#[tokio::test]
async fn a_proof_with_a_wrong_header_or_signature_is_refused() {
    let (probe, key) = (start(), ProofKey::new());
    let claims = || json!({"jti": unique(), "htm": "POST", "htu": probe.generic_url("/token"), "iat": unix_now()});
    let mut private = key.jwk();
    private["d"] = json!("AAAA");
    for (name, value) in [
        ("typ", json!("JWT")),
        ("alg", json!("HS256")),
        ("alg", json!("none")),
        ("jwk", Value::Null),
        ("jwk", private),
        ("jwk", ProofKey::new().jwk()),
    ] {
        let mut header = key.header();
        header[name] = value;
        probe.proven(&key.sign(&header, &claims()), &GRANT).await.fails(400, "invalid_dpop_proof");
    }
    probe.proven("no proof", &GRANT).await.fails(400, "invalid_dpop_proof");
    let twice = probe.form_request("/generic/token", &GRANT);
    let twice = twice.header("dpop", key.sign(&key.header(), &claims())).header("dpop", "x");
    probe.send(twice).await.fails(400, "invalid_dpop_proof");
    probe.proven(&key.sign(&key.header(), &claims()), &GRANT).await.is(200);
}

#[tokio::test]
async fn a_replayed_jti_is_refused() {
    let (probe, key) = (start(), ProofKey::new());
    let proof = key.proof("POST", &probe.generic_url("/token"), &json!({}));
    let token = probe.proven(&proof, &GRANT).await.is(200).at("/access_token");
    probe.proven(&proof, &GRANT).await.fails(400, "invalid_dpop_proof");
    let told = probe.script("requests", json!({"vendor": "generic", "path": "/token"})).await;
    assert_eq!(told["requests"][0]["jwts"]["dpop"]["claims"], told["requests"][1]["jwts"]["dpop"]["claims"]);
    assert_eq!(told["requests"][0]["jwts"]["dpop"]["header"]["typ"], "dpop+jwt");
    probe.api(&key, &token, json!({"jti": "one"})).await.is(200);
    probe.api(&key, &token, json!({"jti": "one"})).await.fails(401, "invalid_dpop_proof");
}

#[tokio::test]
async fn a_proof_for_another_token_is_refused_by_the_api() {
    let (probe, key) = (start(), ProofKey::new());
    let token = probe.bound(&key, json!({})).await.is(200).at("/access_token");
    probe.api(&key, &token, json!({"ath": sha256("another")})).await.fails(401, "invalid_dpop_proof");
    probe.api(&key, &token, json!({"ath": null})).await.fails(401, "invalid_dpop_proof");
    probe.api(&key, &token, json!({"htm": "POST"})).await.fails(401, "invalid_dpop_proof");
    probe.api(&key, &token, json!({"htu": probe.generic_url("/token")})).await.fails(401, "invalid_dpop_proof");
}

#[tokio::test]
async fn a_nonce_is_demanded_where_it_is_required() {
    let (probe, key) = (start(), ProofKey::new());
    let told = probe.script("dpop", json!({"require": "both"})).await;
    assert_eq!((&told["token"], &told["api"]), (&json!(true), &json!(true)));
    let nonce = told["nonce"].clone();
    let refused = probe.bound(&key, json!({})).await.fails(400, "use_dpop_nonce");
    assert_eq!(refused.header("dpop-nonce"), nonce);
    probe.bound(&key, json!({"nonce": "wrong"})).await.fails(400, "use_dpop_nonce");
    let answer = probe.bound(&key, json!({"nonce": nonce})).await.is(200);
    assert_eq!(answer.header("dpop-nonce"), "");
    let token = answer.at("/access_token");
    let refused = probe.api(&key, &token, json!({})).await.fails(401, "use_dpop_nonce");
    assert_eq!(refused.header("www-authenticate"), "DPoP error=\"use_dpop_nonce\"");
    assert_eq!(refused.header("dpop-nonce"), nonce);
    probe.api(&key, &token, json!({"nonce": nonce})).await.is(200);
    let new = probe.script("dpop", json!({"new_nonce": true})).await["nonce"].clone();
    probe.api(&key, &token, json!({"nonce": nonce})).await.fails(401, "use_dpop_nonce");
    probe.api(&key, &token, json!({"nonce": new})).await.is(200);
    probe.script("dpop", json!({"require": "token"})).await;
    probe.api(&key, &token, json!({})).await.is(200);
    probe.form("/generic/token", &GRANT).await.is(200);
}

#[tokio::test]
async fn rotating_nonces_come_with_every_answer_and_work_once() {
    let (probe, key) = (start(), ProofKey::new());
    probe.script("dpop", json!({"require": "both", "mode": "rotate"})).await;
    let first = probe.bound(&key, json!({})).await.fails(400, "use_dpop_nonce").header("dpop-nonce").to_owned();
    let answer = probe.bound(&key, json!({"nonce": first})).await.is(200);
    let second = answer.header("dpop-nonce").to_owned();
    assert!(!second.is_empty() && first != second);
    let token = answer.at("/access_token");
    let stale = probe.api(&key, &token, json!({"nonce": first})).await.fails(401, "use_dpop_nonce");
    assert_eq!(stale.headers.get_all("dpop-nonce").iter().count(), 1);
    probe.api(&key, &token, json!({"nonce": stale.header("dpop-nonce")})).await.is(200);
}

#[tokio::test]
async fn a_server_that_loops_accepts_no_nonce() {
    let (probe, key) = (start(), ProofKey::new());
    probe.script("dpop", json!({"require": "token", "mode": "loop"})).await;
    let mut nonce = String::new();
    for _ in 0..3 {
        let refused = probe.bound(&key, json!({"nonce": nonce})).await.fails(400, "use_dpop_nonce");
        assert_ne!(refused.header("dpop-nonce"), nonce);
        nonce = refused.header("dpop-nonce").to_owned();
    }
    probe.json("/_sim/dpop", json!({"mode": "spin"})).await.names(400, "mode");
    probe.json("/_sim/dpop", json!({"require": true})).await.names(400, "require");
}

#[tokio::test]
async fn the_public_clients_refresh_token_is_bound_to_the_key_and_others_are_not() {
    let (probe, key) = (start(), ProofKey::new());
    let proof = |key: &ProofKey| key.proof("POST", &probe.generic_url("/token"), &json!({}));
    let person = [("grant_type", "password"), ("username", known("username")), ("password", known("password"))];
    let public = [("client_id", known("public_client_id"))];
    let token = probe.proven(&proof(&key), &[&person[..], &public].concat()).await.is(200).at("/refresh_token");
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", &token), public[0]];
    probe.form("/generic/token", &refresh).await.fails(400, "invalid_grant");
    probe.proven(&proof(&ProofKey::new()), &refresh).await.fails(400, "invalid_grant");
    assert_eq!(probe.proven(&proof(&key), &refresh).await.is(200).at("/token_type"), "DPoP");
    let token = probe.proven(&proof(&key), &[&person[..], &GRANT[1..]].concat()).await.is(200).at("/refresh_token");
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", &token), GRANT[1], GRANT[2]];
    assert_eq!(probe.form("/generic/token", &refresh).await.is(200).at("/token_type"), "Bearer");
}
