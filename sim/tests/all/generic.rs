//! `/generic`: its documents, its clients, its API, and what is told and ended of its tokens.

use crate::signing::{claims, jwt, known, unix_now};
use crate::support::{Answer, Probe, client, start};
use qauth_sim::{Sim, SimOptions};
use reqwest::{Certificate, Identity};
use serde_json::{Value, json};

pub(crate) const TOKEN: &str = "/generic/token";
pub(crate) const POST_CLIENT: [(&str, &str); 2] =
    [("client_id", "generic-post"), ("client_secret", "generic-post-secret-81d0")];
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const GRANT: (&str, &str) = ("grant_type", "client_credentials");

impl Answer {
    /// A refusal with this `error`.
    pub(crate) fn fails(self, status: u16, error: &str) -> Self {
        let answer = self.is(status);
        assert_eq!(answer.at("/error"), error, "{}", answer.text);
        answer
    }
}

impl Probe {
    /// A token request of the client that authenticates in the body.
    pub(crate) async fn generic(&self, fields: &[(&str, &str)]) -> Answer {
        self.form(TOKEN, &[&POST_CLIENT, fields].concat()).await
    }

    /// The same of the public client.
    pub(crate) async fn public(&self, fields: &[(&str, &str)]) -> Answer {
        self.form(TOKEN, &[&[("client_id", known("public_client_id"))], fields].concat()).await
    }

    pub(crate) async fn machine_token(&self) -> String {
        self.generic(&[GRANT]).await.is(200).at("/access_token")
    }

    pub(crate) async fn introspect(&self, token: &str) -> Value {
        self.form("/generic/introspect", &[&POST_CLIENT[..], &[("token", token)]].concat()).await.is(200).json()
    }

    pub(crate) fn generic_url(&self, path: &str) -> String {
        format!("{}/generic{path}", self.sim.url())
    }

    async fn basic(&self, id: &str, secret: Option<&str>) -> Answer {
        self.send(self.form_request(TOKEN, &[GRANT]).basic_auth(id, secret)).await
    }

    async fn asserted(&self, assertion: &str) -> Answer {
        let fields = [GRANT, ("client_assertion_type", ASSERTION_TYPE), ("client_assertion", assertion)];
        self.form(TOKEN, &fields).await
    }
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[tokio::test]
async fn both_metadata_documents_tell_the_same_endpoints() {
    let probe = start();
    let openid = probe.get("/generic/.well-known/openid-configuration", "").await.is(200).json();
    let oauth = probe.get("/.well-known/oauth-authorization-server/generic", "").await.is(200).json();
    assert_eq!(openid, oauth);
    assert_eq!(openid["issuer"], probe.generic_url(""));
    assert_eq!(openid["token_endpoint"], probe.generic_url("/token"));
    assert_eq!(openid["code_challenge_methods_supported"], json!(["S256"]));
    assert_eq!(openid["grant_types_supported"].as_array().unwrap().len(), 7);
    probe.get("/generic/.well-known/oauth-authorization-server/generic", "").await.is(404);
    probe.get("/.well-known/oauth-authorization-server/qpay", "").await.is(404);
    assert_eq!(probe.get("/generic/jwks", "").await.is(200).json(), json!({"keys": []}));
    assert_eq!(probe.count("generic", "by_part/jwks").await, 1);
    assert_eq!(probe.count("generic", "by_part/discovery").await, 3);
    assert_eq!(probe.count("generic", "api_requests").await, 4);
}

#[tokio::test]
async fn a_basic_client_is_form_encoded_and_a_raw_one_is_not() {
    let probe = start();
    let (id, secret) = (known("client_id"), known("client_secret"));
    probe.basic(&encoded(id), Some(&encoded(secret))).await.is(200);
    let refused = probe.basic(id, Some(secret)).await.fails(401, "invalid_client");
    assert_eq!(refused.header("www-authenticate"), "Basic realm=\"qauth-sim\"");
    let (id, secret) = (known("raw_client_id"), known("raw_client_secret"));
    probe.basic(id, Some(secret)).await.is(200);
    probe.basic(&encoded(id), Some(&encoded(secret))).await.fails(401, "invalid_client");
}

#[tokio::test]
async fn two_client_authentications_at_once_are_refused() {
    let probe = start();
    let request = probe.form_request(TOKEN, &[&POST_CLIENT[..], &[GRANT]].concat()).basic_auth("a", Some("b"));
    probe.send(request).await.fails(400, "invalid_request");
    let both = [("client_assertion_type", ASSERTION_TYPE), ("client_assertion", "x"), GRANT];
    probe.generic(&both).await.fails(400, "invalid_request");
}

#[tokio::test]
async fn another_clients_way_or_a_wrong_secret_is_refused() {
    let probe = start();
    let post = |id, secret| vec![GRANT, ("client_id", id), ("client_secret", secret)];
    probe.form(TOKEN, &post(known("client_id"), known("client_secret"))).await.fails(401, "invalid_client");
    probe.form(TOKEN, &post("generic-post", "wrong")).await.fails(401, "invalid_client");
    probe.form(TOKEN, &[GRANT, ("client_id", "generic-post")]).await.fails(401, "invalid_client");
    probe.form(TOKEN, &[GRANT]).await.fails(401, "invalid_client");
    probe.basic("generic-post", Some("generic-post-secret-81d0")).await.fails(401, "invalid_client");
    probe.form(TOKEN, &[GRANT, ("client_id", "generic-mtls")]).await.fails(401, "invalid_client");
}

#[tokio::test]
async fn every_key_client_is_known_by_its_own_algorithm_only() {
    let probe = start();
    let issuer = probe.generic_url("");
    let keys = [
        ("rs256", "RS256", "rsa"),
        ("rs384", "RS384", "rsa"),
        ("rs512", "RS512", "rsa"),
        ("ps256", "PS256", "rsa"),
        ("es256", "ES256", "es256"),
        ("es384", "ES384", "es384"),
        ("eddsa", "EdDSA", "eddsa"),
    ];
    for (name, alg, key) in keys {
        let id = known(&format!("{name}_client_id"));
        let header = json!({"kid": known(&format!("{key}_kid"))});
        let good = jwt(alg, header.clone(), &claims(id, &issuer));
        probe.asserted(&good).await.is(200);
        probe.asserted(&good).await.fails(401, "invalid_client");
        let other = if alg == "ES256" { "RS256" } else { "ES256" };
        probe.asserted(&jwt(other, header, &claims(id, &issuer))).await.fails(401, "invalid_client");
        probe.asserted(&jwt(alg, json!({"kid": "x"}), &claims(id, &issuer))).await.fails(401, "invalid_client");
    }
    let id = known("secret_jwt_client_id");
    probe.asserted(&jwt("HS256", json!({}), &claims(id, &probe.generic_url("/token")))).await.is(200);
    let x5t = json!({"x5t#S256": known("rsa_x5t_s256")});
    probe.asserted(&jwt("RS256", x5t, &claims("generic-rs256", &issuer))).await.is(200);
    let x5t = json!({"x5t#S256": known("mtls_x5t_s256")});
    probe.asserted(&jwt("RS256", x5t, &claims("generic-rs256", &issuer))).await.fails(401, "invalid_client");
}

#[tokio::test]
async fn an_assertion_with_a_wrong_claim_is_refused() {
    let probe = start();
    let (id, issuer, now) = ("generic-es256", probe.generic_url(""), unix_now());
    let cases = [
        ("sub", json!("generic-rs256")),
        ("iss", json!("nobody")),
        ("aud", json!("https://elsewhere.example.com")),
        ("aud", json!([])),
        ("exp", json!(now - 1)),
        ("exp", json!(now + 900)),
        ("exp", Value::Null),
        ("jti", Value::Null),
        ("iat", json!(now + 600)),
        ("nbf", json!(now + 600)),
    ];
    for (name, value) in cases {
        let mut claims = claims(id, &issuer);
        claims[name] = value;
        let answer = probe.asserted(&jwt("ES256", json!({}), &claims)).await;
        assert_eq!((answer.status, answer.at("/error")), (401, "invalid_client".to_owned()), "{name}");
    }
    let mut listed = claims(id, &issuer);
    listed["aud"] = json!(["https://elsewhere.example.com", issuer]);
    probe.asserted(&jwt("ES256", json!({}), &listed)).await.is(200);
}

#[tokio::test]
async fn a_certificate_authenticates_its_client_and_binds_the_token() {
    let sim = Sim::start(SimOptions { tls: true, ..SimOptions::default() }).unwrap();
    let ca = Certificate::from_pem(sim.ca_pem().unwrap().as_bytes()).unwrap();
    let identity = [known("mtls_private_key"), known("mtls_certificate")].concat();
    let identity = Identity::from_pem(identity.as_bytes()).unwrap();
    let showing = client().tls_certs_only([ca.clone()]).identity(identity).build().unwrap();
    let other = [known("rsa_private_key"), known("rsa_certificate")].concat();
    let other = Identity::from_pem(other.as_bytes()).unwrap();
    let other = client().tls_certs_only([ca.clone()]).identity(other).build().unwrap();
    let bare = client().tls_certs_only([ca]).build().unwrap();
    let mut probe = Probe { sim, client: showing };
    let metadata = probe.get("/generic/.well-known/openid-configuration", "").await.is(200).json();
    let methods = metadata["token_endpoint_auth_methods_supported"].as_array().unwrap();
    assert!(methods.contains(&json!("tls_client_auth")) && probe.sim.url().starts_with("https:"));
    let fields = [GRANT, ("client_id", known("mtls_client_id"))];
    let token = probe.form(TOKEN, &fields).await.is(200).at("/access_token");
    let told = probe.get("/generic/api/whoami", &token).await.is(200).json();
    assert_eq!(told["cnf"], json!({"x5t#S256": known("mtls_x5t_s256")}));
    for stranger in [bare, other] {
        probe.client = stranger;
        probe.form(TOKEN, &fields).await.fails(401, "invalid_client");
        probe.get("/generic/api/whoami", &token).await.refuses_the_token();
        probe.machine_token().await;
    }
}

#[tokio::test]
async fn scopes_and_targets_are_known_or_refused() {
    let probe = start();
    let own = probe.generic_url("/api");
    let wide = [
        GRANT,
        ("scope", "read write"),
        ("resource", &own),
        ("resource", "https://api.example.com"),
        ("audience", "a"),
        ("audience", "b"),
        ("unknown", "ignored"),
        ("empty", ""),
    ];
    let answer = probe.generic(&wide).await.is(200);
    assert_eq!((answer.at("/scope"), answer.at("/token_type")), ("read write".into(), "Bearer".into()));
    assert_eq!(answer.header("cache-control"), "no-store");
    let told = probe.introspect(&answer.at("/access_token")).await;
    assert_eq!(told["aud"], json!(["a", "b", own, "https://api.example.com"]));
    assert_eq!((&told["active"], &told["sub"]), (&json!(true), &json!("generic-post")));
    assert_eq!(probe.generic(&[GRANT]).await.at("/scope"), "read");
    probe.generic(&[GRANT, ("scope", "admin")]).await.fails(400, "invalid_scope");
    probe.generic(&[GRANT, ("resource", "https://evil.example.com")]).await.fails(400, "invalid_target");
    probe.generic(&[GRANT, ("scope", "read"), ("scope", "write")]).await.fails(400, "invalid_request");
    probe.generic(&[("grant_type", "telepathy")]).await.fails(400, "unsupported_grant_type");
    probe.generic(&[]).await.fails(400, "invalid_request");
    assert_eq!(probe.count("generic", "by_grant/client_credentials").await, 5);
}

#[tokio::test]
async fn the_api_shows_the_token_and_its_claims() {
    let probe = start();
    let token = probe.machine_token().await;
    let request = probe.with_token("PUT", "/generic/api/echo?a=1", &token).body("hello");
    let echo = probe.send(request).await.is(200).json();
    assert_eq!(echo["headers"]["authorization"], format!("Bearer {token}"));
    assert_eq!((&echo["query"], &echo["body"], &echo["body_bytes"]), (&json!("a=1"), &json!("hello"), &json!(5)));
    assert_eq!(probe.get("/generic/api/whoami", &token).await.json(), probe.introspect(&token).await);
    probe.get("/generic/api/forbidden", &token).await.is(403);
    probe.get("/generic/api/redirect", &token).await.is(302);
    assert_eq!(probe.get("/generic/api/large?bytes=9", &token).await.text.len(), 9);
    assert_eq!(probe.get("/generic/userinfo", &token).await.is(200).at("/sub"), "generic-post");
    probe.get("/generic/api/whoami", "").await.refuses_the_token();
    probe.get("/generic/api/whoami", "wrong").await.refuses_the_token();
    probe.script("clock", json!({"advance": 3601})).await;
    probe.get("/generic/api/whoami", &token).await.refuses_the_token();
    assert_eq!(probe.introspect(&token).await, json!({"active": false}));
}

#[tokio::test]
async fn introspection_and_revocation_want_a_client() {
    let probe = start();
    let token = probe.machine_token().await;
    probe.form("/generic/introspect", &[("token", &token)]).await.fails(401, "invalid_client");
    let public = [("client_id", known("public_client_id")), ("token", &token)];
    probe.form("/generic/introspect", &public).await.fails(401, "invalid_client");
    probe.form("/generic/revoke", &public).await.fails(400, "unauthorized_client");
    let own = [&POST_CLIENT[..], &[("token", &token)]].concat();
    probe.form("/generic/revoke", &own).await.is(200);
    probe.form("/generic/revoke", &own).await.is(200);
    assert_eq!(probe.introspect(&token).await, json!({"active": false}));
}

#[tokio::test]
async fn a_revoked_client_is_refused_until_it_is_accepted_again() {
    let probe = start();
    let token = probe.machine_token().await;
    probe.script("revoke", json!({"vendor": "generic", "client_id": "generic-post"})).await;
    probe.get("/generic/api/whoami", &token).await.refuses_the_token();
    probe.generic(&[GRANT]).await.fails(401, "invalid_client");
    let told = probe.script("credentials", json!({"vendor": "generic", "client_id": "generic-post"})).await;
    assert_eq!(told["post_client_id"], "generic-post");
    let token = probe.machine_token().await;
    probe.script("revoke", json!({"vendor": "generic", "tokens": true})).await;
    probe.get("/generic/api/whoami", &token).await.refuses_the_token();
    let body = json!({"vendor": "generic", "client_id": "generic-post", "client_secret": "new"});
    assert_eq!(probe.script("credentials", body).await["post_client_secret"], "new");
    probe.generic(&[GRANT]).await.fails(401, "invalid_client");
    probe.script("credentials", json!({"vendor": "generic", "client_secret": "new"})).await;
    probe.basic(&encoded(known("client_id")), Some("new")).await.is(200);
    for (body, field) in [
        (json!({"vendor": "generic", "client_id": "nobody"}), "client_id"),
        (json!({"vendor": "generic", "client_id": "generic-es256", "client_secret": "x"}), "client_secret"),
        (json!({"vendor": "generic"}), "client_secret"),
    ] {
        probe.json("/_sim/credentials", body).await.names(400, field);
    }
}

#[tokio::test]
async fn faults_and_settings_reach_the_token_endpoint_alone() {
    let probe = start();
    probe.script("settings", json!({"vendor": "generic", "lifetime": 7})).await;
    probe.script("faults", json!({"vendor": "generic", "endpoint": "token", "status": 503})).await;
    probe.get("/generic/jwks", "").await.is(200);
    probe.generic(&[GRANT]).await.is(503);
    assert_eq!(probe.generic(&[GRANT]).await.json()["expires_in"], 7);
}
