//! An authorization server and its API as the standards describe them, strict about every rule that it has: OAuth 2.0
//! with its usual grants, client authentications and token bindings.

mod api;
mod clients;
mod codes;
mod devices;
mod dpop;
mod grants;
mod issue;
mod manage;

use super::{Answer, GRANTS, Revocation, Vendor, Visit, form_grant, unknown};
use crate::fields::{FieldError, Fields};
use crate::http::{Reply, Request};
use crate::jose::ASYMMETRIC;
use crate::known;
use crate::ledger::{Endpoint, Ledger, Settings};
use clients::{Clients, Seen};
use codes::Codes;
use devices::Devices;
use dpop::Proofs;
use hyper::Method;
use serde_json::{Map, Value, json};

const PARTS: [&str; 8] =
    ["discovery", "jwks", "authorize", "device_authorization", "activate", "introspect", "revoke", "userinfo"];
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// The vendor: its clients, its one account, and what it remembers of requests under way.
pub(super) struct Generic {
    clients: Clients,
    account: Account,
    codes: Codes,
    devices: Devices,
    proofs: Proofs,
    seen: Seen,
}

/// The one person who can log in.
struct Account {
    username: String,
    password: String,
    revoked: bool,
}

impl Default for Generic {
    fn default() -> Self {
        let known = |field| known::generic(field).unwrap_or_default().to_owned();
        Self {
            clients: Clients::default(),
            account: Account { username: known("username"), password: known("password"), revoked: false },
            codes: Codes::default(),
            devices: Devices::default(),
            proofs: Proofs::default(),
            seen: Seen::default(),
        }
    }
}

/// The issuer's identifier, which depends on how the client reached the simulator.
fn issuer(request: &Request) -> String {
    format!("{}/generic", request.origin)
}

/// A refusal with 400, as RFC 6749 5.2 writes it.
fn refusal(error: &str, description: &str) -> Reply {
    Reply::error(400, error, description)
}

/// Where everything is (RFC 8414 2, OpenID Connect Discovery 3).
fn discovery(request: &Request) -> Answer {
    request.allow(&[Method::GET])?;
    let issuer = issuer(request);
    let at = |name: &str| format!("{issuer}/{name}");
    let tls = request.origin.starts_with("https:");
    let mut methods = vec!["client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "none"];
    if tls {
        methods.push("tls_client_auth");
    }
    let algorithms = ["HS256", "RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"];
    let grants = [
        "client_credentials",
        "password",
        "refresh_token",
        "authorization_code",
        JWT_BEARER,
        TOKEN_EXCHANGE,
        DEVICE_CODE,
    ];
    Ok(Reply::json(
        200,
        json!({
            "issuer": issuer,
            "token_endpoint": at("token"),
            "authorization_endpoint": at("authorize"),
            "device_authorization_endpoint": at("device_authorization"),
            "introspection_endpoint": at("introspect"),
            "revocation_endpoint": at("revoke"),
            "userinfo_endpoint": at("userinfo"),
            "jwks_uri": at("jwks"),
            "scopes_supported": issue::SCOPES,
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": grants,
            "token_endpoint_auth_methods_supported": methods,
            "token_endpoint_auth_signing_alg_values_supported": algorithms,
            "code_challenge_methods_supported": ["S256"],
            "dpop_signing_alg_values_supported": ASYMMETRIC,
            "authorization_response_iss_parameter_supported": true,
            "tls_client_certificate_bound_access_tokens": tls,
            "subject_types_supported": ["public"],
        }),
    ))
}

impl Generic {
    fn route(&mut self, path: &[&str], visit: &mut Visit<'_>) -> Answer {
        match path {
            ["token"] => self.token(visit),
            [".well-known", "openid-configuration"] => discovery(visit.request),
            [".well-known", "oauth-authorization-server", "generic"]
                if visit.request.path.starts_with("/.well-known/") =>
            {
                discovery(visit.request)
            }
            ["jwks"] => {
                visit.request.allow(&[Method::GET])?;
                Ok(Reply::json(200, json!({"keys": []})))
            }
            ["authorize"] => self.authorize(visit),
            ["device_authorization"] => self.device_authorization(visit),
            ["activate"] => self.activate(visit),
            ["introspect"] => self.introspect(visit),
            ["revoke"] => self.revoke_token(visit),
            ["userinfo"] => self.userinfo(visit),
            ["api", name] => self.api(name, visit),
            _ => Err(Reply::not_found()),
        }
    }
}

impl Vendor for Generic {
    fn name(&self) -> &'static str {
        "generic"
    }

    fn ledger(&self) -> Ledger {
        Ledger::new(Settings::new(3600.0, 2_592_000.0), &GRANTS).with_parts(&PARTS)
    }

    fn endpoint(&self, path: &[&str]) -> Endpoint {
        if path == ["token"] { Endpoint::Token } else { Endpoint::Api }
    }

    fn grant(&self, _path: &[&str], request: &Request) -> Option<String> {
        form_grant(request)
    }

    fn part(&self, path: &[&str]) -> Option<&'static str> {
        match path {
            [".well-known", ..] => Some("discovery"),
            [name] => PARTS.into_iter().skip(1).find(|part| part == name),
            _ => None,
        }
    }

    fn recorded(&self) -> bool {
        true
    }

    fn answer(&mut self, path: &[&str], mut visit: Visit<'_>) -> Answer {
        let mut reply = self.route(path, &mut visit).unwrap_or_else(|refused| refused);
        self.proofs.finish(visit.request, &mut reply);
        Ok(reply)
    }

    fn control(&mut self, name: &str, fields: Fields, _ledger: &mut Ledger, now: f64) -> Result<Value, FieldError> {
        match name {
            "dpop" => self.proofs.set(fields),
            "device" => self.devices.set(fields, now),
            _ => self.codes.set_next(fields),
        }
    }

    /// All known fields, with the secrets and the account that are accepted now.
    fn credentials(&self) -> Value {
        let mut all: Map<String, Value> =
            known::GENERIC.iter().map(|(field, value, _)| ((*field).to_owned(), json!(value))).collect();
        for (id_field, secret_field) in clients::SECRETS {
            if let Some(secret) = known::generic(id_field).and_then(|id| self.clients.secret(id)) {
                all[secret_field] = json!(secret);
            }
        }
        all["username"] = json!(self.account.username);
        all["password"] = json!(self.account.password);
        Value::Object(all)
    }

    /// A secret for a client (`client_id`: the first one by default; an unknown one is made, and is for
    /// client_secret_basic), a revoked client to be accepted again, or a new username or password.
    fn set_credentials(&mut self, mut fields: Fields) -> Result<(), FieldError> {
        let (client_id, client_secret) = (fields.optional_text("client_id")?, fields.optional_text("client_secret")?);
        let (username, password) = (fields.optional_text("username")?, fields.optional_text("password")?);
        fields.finish()?;
        let person = username.is_some() || password.is_some();
        if client_id.is_none() && client_secret.is_none() && !person {
            let problem = "is missing; or give \"client_id\", \"username\" or \"password\"";
            return Err(FieldError::new("client_secret", problem));
        }
        match (client_id, client_secret) {
            (None, None) => {}
            (Some(id), None) => self.clients.readmit(&id).ok_or_else(|| unknown("client_id", "generic"))?,
            (id, Some(secret)) => {
                let id = id.or_else(|| known::generic("client_id").map(str::to_owned)).unwrap_or_default();
                self.clients.set_secret(&id, secret)?;
            }
        }
        self.account.revoked &= !person;
        if let Some(username) = username {
            self.account.username = username;
        }
        if let Some(password) = password {
            self.account.password = password;
        }
        Ok(())
    }

    fn revoke(&mut self, ledger: &mut Ledger, what: &Revocation) -> Result<(), FieldError> {
        match what {
            Revocation::Client(id) => {
                self.clients.revoke(id).ok_or_else(|| unknown("client_id", "generic"))?;
                ledger.kill_client(id);
            }
            Revocation::User(name) if *name == self.account.username => {
                self.account.revoked = true;
                ledger.kill_subject(name);
            }
            Revocation::User(_) => return Err(unknown("username", "generic")),
            Revocation::GenericToken => return Err(FieldError::new("generic_token", "only quable has one")),
        }
        Ok(())
    }
}
