//! Quable PIM: a sign-in whose token is the account's only one, and a generic token beside it.

use super::{Answer, Revocation, Vendor, Visit, common_api, unknown};
use crate::fields::{FieldError, Fields};
use crate::http::{Reply, Request};
use crate::known;
use crate::ledger::{Endpoint, Ledger, Settings, bearer, seconds};
use crate::tokens::{Issued, hex};
use hyper::Method;
use serde_json::{Value, json};

/// The vendor: one account, known in every instance.
pub(super) struct Quable {
    username: String,
    password: String,
    revoked: bool,
    generic_token: Option<String>,
}

impl Default for Quable {
    fn default() -> Self {
        Self {
            username: known::QUABLE_USERNAME.to_owned(),
            password: known::QUABLE_PASSWORD.to_owned(),
            revoked: false,
            generic_token: Some(known::QUABLE_GENERIC_TOKEN.to_owned()),
        }
    }
}

impl Quable {
    fn sign_in(&self, instance: &str, visit: Visit<'_>) -> Answer {
        visit.request.allow_token_request()?;
        let mut json = visit.request.json()?;
        let mut signin = json.object("signin")?;
        json.finish()?;
        let (username, password) = (signin.text("username")?, signin.text("password")?);
        signin.finish()?;
        if self.revoked || username != self.username || password != self.password {
            return Err(Reply::empty(401));
        }
        end_session(visit.ledger, visit.now, instance);
        let lifetime = visit.ledger.settings.lifetime;
        let token = hex::<16>();
        visit.ledger.issue(&token, Issued::new(&username, visit.now, lifetime).in_group(instance));
        Ok(Reply::json(
            201,
            json!({
                "id": hex::<8>(),
                "user": {"username": username, "instance": instance},
                "oauth": {"access_token": token, "expires_in": seconds(lifetime), "refresh_token": null},
            }),
        ))
    }

    fn authorize(&self, instance: &str, visit: &Visit<'_>) -> Result<(), Reply> {
        if self.generic_token.as_deref() == Some(bearer(visit.request)?) {
            return Ok(());
        }
        if visit.ledger.authorize(visit.request, visit.now)?.group != instance {
            return Err(Reply::unauthorized("the token belongs to another instance"));
        }
        Ok(())
    }

    fn api(&self, instance: &str, name: &str, visit: Visit<'_>) -> Answer {
        match name {
            "products" => visit.request.allow(&[Method::GET])?,
            _ => common_api::allow(name, visit.request)?,
        }
        self.authorize(instance, &visit)?;
        match name {
            "products" => Ok(Reply::json(200, json!({"products": [{"id": "SHIRT-001", "active": true}]}))),
            _ => common_api::answer(name, visit.request),
        }
    }
}

/// Ends the session of the account in an instance. Tells whether there was one.
fn end_session(ledger: &mut Ledger, now: f64, instance: &str) -> bool {
    let killed = ledger.tokens.has_live_in(instance, now);
    ledger.tokens.kill_group(instance);
    ledger.counters.sessions_killed += u64::from(killed);
    killed
}

/// One DNS label in lower case.
fn is_instance(label: &str) -> bool {
    let known = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-';
    (1..=63).contains(&label.len()) && label.chars().all(known) && !label.starts_with('-') && !label.ends_with('-')
}

impl Vendor for Quable {
    fn name(&self) -> &'static str {
        "quable"
    }

    fn ledger(&self) -> Ledger {
        Ledger::new(Settings::new(3600.0, 0.0), &["login"])
    }

    fn endpoint(&self, path: &[&str]) -> Endpoint {
        if matches!(path, [_, "api_1.php", "sessions"]) { Endpoint::Token } else { Endpoint::Api }
    }

    fn grant(&self, _path: &[&str], _request: &Request) -> Option<String> {
        Some("login".to_owned())
    }

    fn answer(&mut self, path: &[&str], visit: Visit<'_>) -> Answer {
        match path {
            [instance, ..] if !is_instance(instance) => {
                Err(Reply::error(404, "not_found", "the instance must be one lower-case DNS label"))
            }
            [instance, "api_1.php", "sessions"] => self.sign_in(instance, visit),
            [instance, "api", name] => self.api(instance, name, visit),
            _ => Err(Reply::not_found()),
        }
    }

    fn credentials(&self) -> Value {
        json!({"username": self.username, "password": self.password, "generic_token": self.generic_token})
    }

    fn set_credentials(&mut self, mut fields: Fields) -> Result<(), FieldError> {
        let (username, password) = (fields.optional_text("username")?, fields.optional_text("password")?);
        let generic_token = fields.optional_text("generic_token")?;
        if username.is_none() && password.is_none() && generic_token.is_none() {
            return Err(FieldError::new("password", "is missing; or give \"username\" or \"generic_token\""));
        }
        fields.finish()?;
        self.revoked &= username.is_none() && password.is_none();
        self.username = username.unwrap_or_else(|| self.username.clone());
        self.password = password.unwrap_or_else(|| self.password.clone());
        self.generic_token = generic_token.or_else(|| self.generic_token.take());
        Ok(())
    }

    fn revoke(&mut self, ledger: &mut Ledger, what: &Revocation) -> Result<(), FieldError> {
        match what {
            Revocation::User(name) if *name == self.username => {
                self.revoked = true;
                ledger.kill_subject(name);
            }
            Revocation::User(_) => return Err(unknown("username", self.name())),
            Revocation::GenericToken => self.generic_token = None,
            Revocation::Client(_) => return Err(FieldError::new("client_id", "quable has users, not clients")),
        }
        Ok(())
    }

    fn take_over(&mut self, ledger: &mut Ledger, now: f64, instance: &str) -> Result<bool, FieldError> {
        if !is_instance(instance) {
            return Err(FieldError::new("instance", "must be one lower-case DNS label"));
        }
        Ok(end_session(ledger, now, instance))
    }
}
