//! Quiqup: Doorkeeper with JSON bodies, opaque hex tokens and a lower-case `bearer`.

use super::{Answer, Revocation, Vendor, Visit, common_api, peek, unknown};
use crate::fields::{FieldError, Fields};
use crate::http::{Reply, Request};
use crate::known;
use crate::ledger::{Endpoint, Ledger, Settings, seconds};
use crate::tokens::{Issued, hex};
use hyper::Method;
use serde_json::{Value, json};

/// The vendor, its one client, and the orders made with it.
pub(super) struct Quiqup {
    client_id: String,
    client_secret: String,
    revoked: bool,
    orders: Vec<Value>,
}

impl Default for Quiqup {
    fn default() -> Self {
        Self {
            client_id: known::QUIQUP_CLIENT_ID.to_owned(),
            client_secret: known::QUIQUP_CLIENT_SECRET.to_owned(),
            revoked: false,
            orders: Vec::new(),
        }
    }
}

impl Quiqup {
    fn token(&self, visit: Visit<'_>) -> Answer {
        visit.request.allow_token_request()?;
        let mut json = visit.request.json()?;
        let grant = json.optional_text("grant_type")?.unwrap_or_else(|| "client_credentials".to_owned());
        let refreshes = match grant.as_str() {
            "client_credentials" => false,
            "refresh_token" => true,
            _ => {
                let text = "grant_type: must be client_credentials or refresh_token";
                return Err(Reply::error(400, "unsupported_grant_type", text));
            }
        };
        let (client_id, client_secret) = (json.text("client_id")?, json.text("client_secret")?);
        let refresh_token = json.optional_text("refresh_token")?;
        json.finish()?;
        if self.revoked || client_id != self.client_id || client_secret != self.client_secret {
            return Err(Reply::error(401, "invalid_client", "The client_id or client_secret is incorrect"));
        }
        let (ledger, now) = (visit.ledger, visit.now);
        if refreshes {
            let spent = refresh_token.ok_or_else(|| FieldError::new("refresh_token", "is missing"))?;
            if ledger.refresh_tokens.live(&spent, now).is_none() {
                return Err(Reply::error(400, "invalid_grant", "The refresh token is unknown, used, or expired"));
            }
            ledger.refresh_tokens.kill(&spent);
        } else if ledger.settings.reuse_tokens
            && let Some(reply) = existing(ledger, &client_id, now)
        {
            return Ok(reply);
        }
        Ok(new(ledger, &client_id, now))
    }

    fn api(&mut self, name: &str, visit: Visit<'_>) -> Answer {
        match name {
            "orders" => visit.request.allow(&[Method::GET, Method::POST])?,
            _ => common_api::allow(name, visit.request)?,
        }
        visit.ledger.authorize(visit.request, visit.now)?;
        match name {
            "orders" if visit.request.method == Method::POST => {
                visit.request.json()?;
                let order: Value = serde_json::from_slice(&visit.request.body).unwrap_or_default();
                let order = json!({"id": self.orders.len() + 1, "order": order});
                self.orders.push(order.clone());
                Ok(Reply::json(201, order))
            }
            "orders" => Ok(Reply::json(200, json!({"orders": self.orders}))),
            _ => common_api::answer(name, visit.request),
        }
    }
}

/// The token that is still valid, with what is left of its life: what Doorkeeper does with `reuse_access_token`.
fn existing(ledger: &Ledger, client_id: &str, now: f64) -> Option<Reply> {
    let (token, issued) = ledger.tokens.latest_of(client_id, now)?;
    let remaining = (issued.expires_at - now).floor();
    if remaining < 1.0 {
        return None;
    }
    let refresh_token = ledger.refresh_tokens.latest_of(client_id, now).map(|(token, _)| token.to_owned());
    Some(reply(token, issued.issued_at, remaining, refresh_token))
}

fn new(ledger: &mut Ledger, client_id: &str, now: f64) -> Reply {
    let (lifetime, refresh_lifetime) = (ledger.settings.lifetime, ledger.settings.refresh_lifetime);
    let token = hex::<32>();
    ledger.issue(&token, Issued::new(client_id, now, lifetime));
    let refresh_token = ledger.settings.refresh_tokens.then(hex::<32>);
    if let Some(refresh_token) = &refresh_token {
        ledger.refresh_tokens.insert(refresh_token, Issued::new(client_id, now, refresh_lifetime));
    }
    reply(&token, now, lifetime, refresh_token)
}

fn reply(token: &str, created_at: f64, expires_in: f64, refresh_token: Option<String>) -> Reply {
    let mut body = json!({
        "access_token": token,
        "created_at": created_at.floor() as i64,
        "expires_in": seconds(expires_in),
        "token_type": "bearer",
    });
    if let Some(refresh_token) = refresh_token {
        body["refresh_token"] = Value::String(refresh_token);
    }
    Reply::token(200, body)
}

impl Vendor for Quiqup {
    fn name(&self) -> &'static str {
        "quiqup"
    }

    fn ledger(&self) -> Ledger {
        Ledger::new(Settings::new(3600.0, 1_209_600.0), &["client_credentials", "refresh_token"])
    }

    fn endpoint(&self, path: &[&str]) -> Endpoint {
        if path == ["oauth", "token"] { Endpoint::Token } else { Endpoint::Api }
    }

    fn grant(&self, _path: &[&str], request: &Request) -> Option<String> {
        let fields = Fields::from_json(&request.body).ok()?;
        if fields.has("grant_type") { peek(Ok(fields), "grant_type") } else { Some("client_credentials".to_owned()) }
    }

    fn answer(&mut self, path: &[&str], visit: Visit<'_>) -> Answer {
        match path {
            ["oauth", "token"] => self.token(visit),
            [name] => self.api(name, visit),
            _ => Err(Reply::not_found()),
        }
    }

    fn credentials(&self) -> Value {
        json!({"client_id": self.client_id, "client_secret": self.client_secret})
    }

    fn set_credentials(&mut self, mut fields: Fields) -> Result<(), FieldError> {
        let (client_id, client_secret) = (fields.optional_text("client_id")?, fields.text("client_secret")?);
        fields.finish()?;
        self.client_id = client_id.unwrap_or_else(|| self.client_id.clone());
        (self.client_secret, self.revoked) = (client_secret, false);
        Ok(())
    }

    fn revoke(&mut self, ledger: &mut Ledger, what: &Revocation) -> Result<(), FieldError> {
        let Revocation::Client(id) = what else {
            return Err(FieldError::new("client_id", "or \"tokens\" is what quiqup can revoke"));
        };
        if *id != self.client_id {
            return Err(unknown("client_id", self.name()));
        }
        self.revoked = true;
        ledger.kill_subject(id);
        Ok(())
    }
}
