//! A simulator with a client beside it, and the few requests that most tests begin with.

use qauth_sim::{Sim, SimOptions, known};
use reqwest::header::HeaderMap;
use reqwest::{Client, ClientBuilder, Method, RequestBuilder, redirect};
use serde_json::{Value, json};

pub(crate) struct Probe {
    pub(crate) sim: Sim,
    pub(crate) client: Client,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {}", self.text))
    }

    /// A string member.
    pub(crate) fn at(&self, pointer: &str) -> String {
        let json = self.json();
        json.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer} in {json}")).to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// A refusal whose text names the field.
    pub(crate) fn names(self, status: u16, field: &str) {
        let answer = self.is(status);
        let text = answer.at("/error_description");
        assert!(text.starts_with(&format!("{field}: ")), "{text}");
    }

    /// The 401 of RFC 6750.
    pub(crate) fn refuses_the_token(self) {
        let answer = self.is(401);
        assert_eq!(answer.header("www-authenticate"), "Bearer error=\"invalid_token\"");
        assert_eq!(answer.at("/error"), "invalid_token");
    }
}

pub(crate) fn client() -> ClientBuilder {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().redirect(redirect::Policy::none())
}

pub(crate) fn start() -> Probe {
    Probe { sim: Sim::start(SimOptions::default()).unwrap(), client: client().build().unwrap() }
}

pub(crate) fn form(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

impl Probe {
    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method: Method = method.parse().unwrap();
        self.client.request(method, format!("{}{path}", self.sim.url()))
    }

    pub(crate) async fn try_send(&self, request: RequestBuilder) -> reqwest::Result<Answer> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answer { status, headers, text: response.text().await? })
    }

    pub(crate) async fn send(&self, request: RequestBuilder) -> Answer {
        self.try_send(request).await.unwrap()
    }

    /// GET with a bearer token; an empty one sends no header.
    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        self.send(self.with_token("GET", path, token)).await
    }

    pub(crate) fn with_token(&self, method: &str, path: &str, token: &str) -> RequestBuilder {
        let request = self.request(method, path);
        if token.is_empty() { request } else { request.header("authorization", format!("Bearer {token}")) }
    }

    pub(crate) fn form_request(&self, path: &str, fields: &[(&str, &str)]) -> RequestBuilder {
        self.request("POST", path).header("content-type", "application/x-www-form-urlencoded").body(form(fields))
    }

    pub(crate) async fn form(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.send(self.form_request(path, fields)).await
    }

    pub(crate) fn json_request(&self, path: &str, body: Value) -> RequestBuilder {
        self.request("POST", path).header("content-type", "application/json").body(body.to_string())
    }

    pub(crate) async fn json(&self, path: &str, body: Value) -> Answer {
        self.send(self.json_request(path, body)).await
    }

    /// A call of the control API that must succeed.
    pub(crate) async fn script(&self, name: &str, body: Value) -> Value {
        self.json(&format!("/_sim/{name}"), body).await.is(200).json()
    }

    pub(crate) async fn state(&self) -> Value {
        self.get("/_sim/state", "").await.is(200).json()
    }

    pub(crate) async fn count(&self, vendor: &str, counter: &str) -> u64 {
        let state = self.state().await;
        state.pointer(&format!("/vendors/{vendor}/{counter}")).and_then(Value::as_u64).unwrap()
    }

    pub(crate) async fn quantaprice(&self) -> Answer {
        self.form("/quantaprice/oauth2/token", &QUANTAPRICE).await
    }

    pub(crate) async fn quiqup(&self) -> Answer {
        self.json("/quiqup/oauth/token", quiqup()).await
    }

    pub(crate) async fn quable(&self, instance: &str) -> Answer {
        self.json(&format!("/quable/{instance}/api_1.php/sessions"), quable()).await
    }

    pub(crate) async fn quartile(&self, path: &str, body: Value) -> Answer {
        let request = self.json_request(path, body).header("subscription-key", known::QUARTILE_SUBSCRIPTION_KEY);
        self.send(request).await
    }

    pub(crate) async fn quartile_login(&self) -> Answer {
        let body = json!({"username": known::QUARTILE_USERNAME, "password": known::QUARTILE_PASSWORD});
        self.quartile("/quartile/auth/v2/login", body).await
    }

    pub(crate) async fn quartile_refresh(&self, refresh_token: &str) -> Answer {
        self.quartile("/quartile/auth/v2/refresh", json!({"refresh_token": refresh_token})).await
    }

    pub(crate) async fn quartile_get(&self, path: &str, token: &str) -> Answer {
        let request = self.with_token("GET", path, token);
        self.send(request.header("subscription-key", known::QUARTILE_SUBSCRIPTION_KEY)).await
    }

    pub(crate) async fn qpay_client(&self, client_id: &str, client_secret: &str) -> Answer {
        let grant = ("grant_type", "client_credentials");
        self.form(QPAY_TOKEN, &[grant, ("client_id", client_id), ("client_secret", client_secret)]).await
    }

    pub(crate) async fn qpay_person(&self) -> Answer {
        self.form(QPAY_TOKEN, &QPAY_PERSON).await
    }
}

pub(crate) const QUANTAPRICE: [(&str, &str); 3] = [
    ("grant_type", "client_credentials"),
    ("client_id", known::QUANTAPRICE_CLIENT_ID),
    ("client_secret", known::QUANTAPRICE_CLIENT_SECRET),
];

pub(crate) const QPAY_TOKEN: &str = "/qpay/auth/realms/qpay/protocol/openid-connect/token";

pub(crate) const QPAY_PERSON: [(&str, &str); 4] = [
    ("grant_type", "password"),
    ("client_id", "qpay-console"),
    ("username", known::QPAY_USERNAME),
    ("password", known::QPAY_PASSWORD),
];

pub(crate) fn quiqup() -> Value {
    let (client_id, client_secret) = (known::QUIQUP_CLIENT_ID, known::QUIQUP_CLIENT_SECRET);
    json!({"client_id": client_id, "client_secret": client_secret, "grant_type": "client_credentials"})
}

pub(crate) fn quable() -> Value {
    json!({"signin": {"username": known::QUABLE_USERNAME, "password": known::QUABLE_PASSWORD}})
}

/// The second part of a JWT.
pub(crate) fn claims(jwt: &str) -> Value {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let parts: Vec<&str> = jwt.split('.').collect();
    assert_eq!(parts.len(), 3, "{jwt}");
    let decoded: Vec<Vec<u8>> = parts.iter().map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
    let header: Value = serde_json::from_slice(&decoded[0]).unwrap();
    assert_eq!(header["alg"], "RS256");
    serde_json::from_slice(&decoded[1]).unwrap()
}
