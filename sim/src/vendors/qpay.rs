//! QPay: a Keycloak realm with machines (client credentials) and a person (password), and an API for machines.

use super::qpay_credentials::{Client, Clients};
use super::{Answer, Revocation, Vendor, Visit, common_api, peek, unknown};
use crate::fields::{FieldError, Fields};
use crate::http::{Reply, Request};
use crate::known;
use crate::ledger::{Endpoint, Ledger, Settings, seconds};
use crate::tokens::{Issued, jwt};
use hyper::Method;
use serde_json::{Value, json};

const REALM: &str = "qpay";
/// The public client through which a person logs in.
const CONSOLE: &str = "qpay-console";
const DEFAULT_SCOPE: &str = "email profile";

/// The vendor, the person and the clients.
pub(super) struct Qpay {
    username: String,
    password: String,
    revoked: bool,
    clients: Clients,
}

impl Default for Qpay {
    fn default() -> Self {
        Self {
            username: known::QPAY_USERNAME.to_owned(),
            password: known::QPAY_PASSWORD.to_owned(),
            revoked: false,
            clients: Clients::default(),
        }
    }
}

impl Qpay {
    fn token(&self, visit: Visit<'_>) -> Answer {
        visit.request.allow_token_post()?;
        let mut form = visit.request.form()?;
        // Keycloak takes a client's credentials either way.
        if let Some((id, secret)) = visit.request.basic_client()? {
            form.add("client_id", id)?;
            form.add("client_secret", secret)?;
        }
        let grant = form.text("grant_type")?;
        if !["client_credentials", "password", "refresh_token"].contains(&grant.as_str()) {
            return Err(Reply::error(400, "unsupported_grant_type", "grant_type: Unsupported grant_type"));
        }
        let client_id = form.text("client_id")?;
        let scope = form.optional_text("scope")?;
        let scope = scope.map_or_else(|| DEFAULT_SCOPE.to_owned(), |more| format!("{DEFAULT_SCOPE} {more}"));
        match grant.as_str() {
            "client_credentials" => self.client_credentials(&client_id, form, &scope, visit),
            "password" => self.password(&client_id, form, &scope, visit),
            _ => refresh_token(&client_id, form, &scope, visit),
        }
    }

    fn client_credentials(&self, client_id: &str, mut form: Fields, scope: &str, visit: Visit<'_>) -> Answer {
        if client_id == CONSOLE {
            let text = "Public client not allowed to retrieve service account";
            return Err(Reply::error(401, "unauthorized_client", text));
        }
        let secret = form.text("client_secret")?;
        form.finish()?;
        match self.clients.by_client_id(client_id) {
            None => Err(Reply::error(401, "invalid_client", "Invalid client or Invalid client credentials")),
            Some(client) if client.revoked || client.secret != secret => {
                Err(Reply::error(401, "unauthorized_client", "Invalid client or Invalid client credentials"))
            }
            Some(_) => Ok(machine_token(visit.ledger, visit.now, client_id, scope)),
        }
    }

    fn password(&self, client_id: &str, mut form: Fields, scope: &str, visit: Visit<'_>) -> Answer {
        check_console(client_id, "Client not allowed for direct access grants")?;
        let (username, password) = (form.text("username")?, form.text("password")?);
        form.finish()?;
        if self.revoked || username != self.username || password != self.password {
            return Err(Reply::error(401, "invalid_grant", "Invalid user credentials"));
        }
        Ok(personal_token(visit.ledger, visit.now, &username, scope))
    }

    fn api(&self, name: &str, visit: Visit<'_>) -> Answer {
        match name {
            "cards" => visit.request.allow(&[Method::GET])?,
            _ => common_api::allow(name, visit.request)?,
        }
        let owner = visit.ledger.authorize(visit.request, visit.now)?;
        if name != "cards" {
            return common_api::answer(name, visit.request);
        }
        let client = self.clients.by_client_id(&owner.subject).filter(|_| !owner.person);
        let client = client.ok_or_else(|| Reply::forbidden("this needs a client's token, not a person's"))?;
        if !client.roles.iter().any(|role| role == "issuer") {
            return Err(Reply::forbidden("this needs the role issuer"));
        }
        Ok(Reply::json(200, json!({"cards": [{"id": "card-0001", "status": "active"}]})))
    }

    /// Where the realm's endpoints are (OpenID Connect Discovery 4).
    fn discovery(&self, realm: &str, visit: &Visit<'_>) -> Answer {
        visit.request.allow(&[Method::GET])?;
        check_realm(realm)?;
        let issuer = format!("{}/qpay/auth/realms/{REALM}", visit.request.origin);
        Ok(Reply::json(
            200,
            json!({
                "issuer": issuer,
                "token_endpoint": format!("{issuer}/protocol/openid-connect/token"),
                "grant_types_supported": ["client_credentials", "password", "refresh_token"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            }),
        ))
    }
}

fn check_realm(realm: &str) -> Result<(), Reply> {
    if realm == REALM { Ok(()) } else { Err(Reply::json(404, json!({"error": "Realm does not exist"}))) }
}

fn check_console(client_id: &str, refusal: &str) -> Result<(), Reply> {
    if client_id == CONSOLE { Ok(()) } else { Err(Reply::error(400, "unauthorized_client", refusal)) }
}

/// Keycloak answers a new refresh token each time, and the old one stays valid until it expires.
fn refresh_token(client_id: &str, mut form: Fields, scope: &str, visit: Visit<'_>) -> Answer {
    check_console(client_id, "Client not allowed for refresh tokens")?;
    let refresh_token = form.text("refresh_token")?;
    form.finish()?;
    let known = visit.ledger.refresh_tokens.live(&refresh_token, visit.now);
    let username = known.map(|known| known.subject.clone());
    let username = username.ok_or_else(|| Reply::error(400, "invalid_grant", "Token is not active"))?;
    Ok(personal_token(visit.ledger, visit.now, &username, scope))
}

fn issuer() -> String {
    format!("https://sandbox.qpay.quecto.com.br/auth/realms/{REALM}")
}

fn machine_token(ledger: &mut Ledger, now: f64, client_id: &str, scope: &str) -> Reply {
    let lifetime = ledger.settings.lifetime;
    let token = jwt(&issuer(), client_id, now, lifetime);
    ledger.issue(&token, Issued::new(client_id, now, lifetime));
    Reply::token(
        200,
        json!({
            "access_token": token,
            "expires_in": seconds(lifetime),
            "refresh_expires_in": 0,
            "token_type": "Bearer",
            "not-before-policy": 0,
            "scope": scope,
        }),
    )
}

fn personal_token(ledger: &mut Ledger, now: f64, username: &str, scope: &str) -> Reply {
    let (lifetime, refresh_lifetime) = (ledger.settings.lifetime, ledger.settings.refresh_lifetime);
    let token = jwt(&issuer(), username, now, lifetime);
    let refresh_token = jwt(&issuer(), username, now, refresh_lifetime);
    ledger.issue(&token, Issued::new(username, now, lifetime).of_person());
    ledger.refresh_tokens.insert(&refresh_token, Issued::new(username, now, refresh_lifetime).of_person());
    Reply::token(
        200,
        json!({
            "access_token": token,
            "expires_in": seconds(lifetime),
            "refresh_expires_in": seconds(refresh_lifetime),
            "refresh_token": refresh_token,
            "token_type": "Bearer",
            "not-before-policy": 0,
            "scope": scope,
        }),
    )
}

impl Vendor for Qpay {
    fn name(&self) -> &'static str {
        "qpay"
    }

    fn ledger(&self) -> Ledger {
        Ledger::new(Settings::new(300.0, 1800.0), &["client_credentials", "password", "refresh_token"])
    }

    fn endpoint(&self, path: &[&str]) -> Endpoint {
        match path {
            ["auth", "realms", _, "protocol", "openid-connect", "token"] => Endpoint::Token,
            _ => Endpoint::Api,
        }
    }

    fn grant(&self, _path: &[&str], request: &Request) -> Option<String> {
        peek(Fields::from_form(&request.body), "grant_type")
    }

    fn answer(&mut self, path: &[&str], visit: Visit<'_>) -> Answer {
        match path {
            ["auth", "realms", realm, "protocol", "openid-connect", "token"] => {
                check_realm(realm)?;
                self.token(visit)
            }
            ["auth", "realms", realm, ".well-known", "openid-configuration"] => self.discovery(realm, &visit),
            ["credentials", rest @ ..] => self.clients.answer(rest, visit),
            [name] => self.api(name, visit),
            _ => Err(Reply::not_found()),
        }
    }

    fn credentials(&self) -> Value {
        let (client_id, client_secret) = self.clients.first();
        json!({
            "client_id": client_id, "client_secret": client_secret,
            "username": self.username, "password": self.password,
            "tenant_id": known::QPAY_TENANT_ID, "tenant_type": known::QPAY_TENANT_TYPE,
        })
    }

    /// A secret for the client (`client_id`: the first one by default; an unknown one is created), or a new
    /// username or password.
    fn set_credentials(&mut self, mut fields: Fields) -> Result<(), FieldError> {
        let (client_id, client_secret) = (fields.optional_text("client_id")?, fields.optional_text("client_secret")?);
        let (username, password) = (fields.optional_text("username")?, fields.optional_text("password")?);
        fields.finish()?;
        match (&client_id, &client_secret) {
            (Some(_), None) => return Err(FieldError::new("client_secret", "is missing")),
            (None, None) if username.is_none() && password.is_none() => {
                return Err(FieldError::new("client_secret", "is missing; or give \"username\" or \"password\""));
            }
            _ => {}
        }
        self.revoked &= username.is_none() && password.is_none();
        self.username = username.unwrap_or_else(|| self.username.clone());
        self.password = password.unwrap_or_else(|| self.password.clone());
        if let Some(secret) = client_secret {
            let client_id = client_id.unwrap_or_else(|| known::QPAY_CLIENT_ID.to_owned());
            match self.clients.by_client_id_mut(&client_id) {
                Some(client) => (client.secret, client.revoked) = (secret, false),
                None => self.clients.add(Client::new(&client_id, &secret, "added by the control API")),
            }
        }
        Ok(())
    }

    fn revoke(&mut self, ledger: &mut Ledger, what: &Revocation) -> Result<(), FieldError> {
        let subject = match what {
            Revocation::Client(id) => {
                let client = self.clients.by_client_id_mut(id);
                client.ok_or_else(|| unknown("client_id", "qpay"))?.revoked = true;
                id
            }
            Revocation::User(name) if *name == self.username => {
                self.revoked = true;
                name
            }
            Revocation::User(_) => return Err(unknown("username", self.name())),
            Revocation::GenericToken => return Err(FieldError::new("generic_token", "only quable has one")),
        };
        ledger.kill_subject(subject);
        Ok(())
    }
}
