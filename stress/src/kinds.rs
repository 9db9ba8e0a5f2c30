//! The kinds of profile that differ in what a crash can cost them.

use std::net::SocketAddr;
use std::path::Path;

use qauth_sim::known;
use serde_json::{Value, json};

use crate::host::http;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// Refresh tokens that rotate, and a login when all else fails.
    Rotating,
    /// A login that kills the session before.
    Session,
    /// Client credentials: nothing to lose.
    Client,
    /// Refresh tokens that rotate, and only a person can sign in; the first one stands in the profile.
    Person,
    /// The same with a file that follows the rotation.
    PersonsFile,
}

impl Kind {
    pub(crate) const ALL: [Kind; 5] = [Kind::Rotating, Kind::Session, Kind::Client, Kind::Person, Kind::PersonsFile];

    pub(crate) fn vendor(self) -> &'static str {
        match self {
            Kind::Rotating => "quartile",
            Kind::Session => "quable",
            Kind::Client => "quantaprice",
            Kind::Person | Kind::PersonsFile => "generic",
        }
    }

    pub(crate) fn needs_person(self) -> bool {
        matches!(self, Kind::Person | Kind::PersonsFile)
    }

    /// A configuration with this one profile, `p`. `signed_in` is what a sign-in has left: a refresh token, or `file:PATH`.
    pub(crate) fn config(self, url: &str, store: Option<&Path>, signed_in: Option<&str>) -> Value {
        let mut profile = match self {
            Kind::Rotating => json!({
                "provider": "quartile",
                "base_url": format!("{url}/quartile"),
                "username": known::QUARTILE_USERNAME,
                "password": known::QUARTILE_PASSWORD,
                "subscription_key": known::QUARTILE_SUBSCRIPTION_KEY,
            }),
            Kind::Session => json!({
                "provider": "quable",
                "instance": "acme",
                "base_url": format!("{url}/quable/acme"),
                "username": known::QUABLE_USERNAME,
                "password": known::QUABLE_PASSWORD,
            }),
            Kind::Client => json!({
                "provider": "quantaprice",
                "base_url": format!("{url}/quantaprice"),
                "api_base_url": format!("{url}/quantaprice"),
                "client_id": known::QUANTAPRICE_CLIENT_ID,
                "client_secret": known::QUANTAPRICE_CLIENT_SECRET,
            }),
            Kind::Person | Kind::PersonsFile => json!({
                "provider": person(url),
                "client_id": known::generic("public_client_id"),
                "refresh_token": signed_in,
            }),
        };
        profile["timeout"] = json!("20s");
        let store = match store {
            Some(folder) => json!({"kind": "file", "path": folder}),
            None => json!({"kind": "memory"}),
        };
        json!({"store": store, "profiles": {"p": profile}})
    }

    /// Whether the vendor's API takes the token.
    pub(crate) fn accepts(self, to: &SocketAddr, token: &str) -> Result<bool, String> {
        let key = ("Subscription-Key", known::QUARTILE_SUBSCRIPTION_KEY);
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", bearer.as_str()), key];
        let (method, path) = match self {
            Kind::Rotating => ("POST", "/quartile/auth/v2/validate"),
            Kind::Session => ("GET", "/quable/acme/api/products"),
            Kind::Client => ("GET", "/quantaprice/api/v1/prices?sku=A-1"),
            Kind::Person | Kind::PersonsFile => ("GET", "/generic/api/whoami"),
        };
        http(to, method, path, &headers, "").map(|(status, _)| status == 200)
    }
}

/// A provider whose refresh tokens work once, and whose sign-in needs a person.
fn person(url: &str) -> Value {
    json!({
        "name": "person",
        "environments": {"default": {"base_url": format!("{url}/generic"), "api_base_url": format!("{url}/generic/api")}},
        "credentials": {"client_id": {}},
        "grants": {
            "authorization_code": {
                "path": "/token",
                "form": {
                    "grant_type": "authorization_code",
                    "client_id": "{client_id}",
                    "code": "{code}",
                    "redirect_uri": "{redirect_uri}",
                    "code_verifier": "{code_verifier}",
                },
                "authorize": {"url": format!("{url}/generic/authorize")},
            },
            "refresh_token": {
                "path": "/token",
                "form": {"grant_type": "refresh_token", "client_id": "{client_id}", "refresh_token": "{refresh_token}"},
            },
        },
        "lifetime": {"rotates": true},
    })
}
