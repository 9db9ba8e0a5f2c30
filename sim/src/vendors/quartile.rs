//! Quartile v2: a login whose refresh tokens rotate, and a subscription key on every request.

use super::{Answer, Revocation, Vendor, Visit, common_api, unknown};
use crate::fields::{FieldError, Fields};
use crate::http::{Content, Reply, Request};
use crate::known;
use crate::ledger::{Endpoint, Ledger, Settings, seconds};
use crate::tokens::{Issued, hex, jwt};
use hyper::Method;
use serde_json::{Value, json};

const A_YEAR: f64 = 31_536_000.0;
const ACCESS_NOTE: &str = "Use this token to make the request in the API...";
/// With the line breaks of the vendor's sample, which are sent raw.
const REFRESH_NOTE: &str = "Use refresh_token to request a new set of tokens. 
        When the access token expires and you request a new set of tokens,
        the refresh token will also be updated! So always save the last refresh token,
        so you won't have any problems. The refresh token may expire or be disabled when
        you request a new set of tokens";

/// The vendor and its one account.
pub(super) struct Quartile {
    username: String,
    password: String,
    subscription_key: String,
    revoked: bool,
}

impl Default for Quartile {
    fn default() -> Self {
        Self {
            username: known::QUARTILE_USERNAME.to_owned(),
            password: known::QUARTILE_PASSWORD.to_owned(),
            subscription_key: known::QUARTILE_SUBSCRIPTION_KEY.to_owned(),
            revoked: false,
        }
    }
}

impl Quartile {
    fn check_subscription(&self, request: &Request) -> Result<(), Reply> {
        match request.header("subscription-key") {
            Some(key) if key == self.subscription_key => Ok(()),
            Some(_) => Err(Reply::error(401, "invalid_subscription_key", "Subscription-Key: is not valid")),
            None => Err(Reply::error(401, "invalid_subscription_key", "Subscription-Key: the header is missing")),
        }
    }

    fn login(&self, visit: Visit<'_>) -> Answer {
        visit.request.allow_token_request()?;
        self.check_subscription(visit.request)?;
        let mut json = visit.request.json()?;
        let (username, password) = (json.text("username")?, json.text("password")?);
        json.finish()?;
        if self.revoked || username != self.username || password != self.password {
            return Err(Reply::error(401, "invalid_grant", "The username or the password is incorrect"));
        }
        visit.ledger.refresh_tokens.kill_subject(&username);
        Ok(issue(visit.ledger, visit.now, &username, &hex::<8>()))
    }

    fn refresh(&self, visit: Visit<'_>) -> Answer {
        visit.request.allow_token_request()?;
        self.check_subscription(visit.request)?;
        let mut json = visit.request.json()?;
        let refresh_token = json.text("refresh_token")?;
        json.finish()?;
        let (ledger, now) = (visit.ledger, visit.now);
        ledger.note_refresh(&refresh_token);
        let Some(known) = ledger.refresh_tokens.live(&refresh_token, now).cloned() else {
            return Err(Reply::error(401, "invalid_grant", "The refresh token is unknown, disabled, or expired"));
        };
        if known.spent {
            ledger.counters.reuse_detected += 1;
            ledger.tokens.kill_group(&known.group);
            ledger.refresh_tokens.kill_group(&known.group);
            let text = "The refresh token was used before; all tokens of its login are revoked";
            return Err(Reply::error(401, "invalid_grant", text));
        }
        ledger.refresh_tokens.spend(&refresh_token);
        Ok(issue(ledger, now, &known.subject, &known.group))
    }

    fn validate(&self, visit: Visit<'_>) -> Answer {
        visit.request.allow(&[Method::POST])?;
        self.check_subscription(visit.request)?;
        visit.ledger.authorize(visit.request, visit.now)?;
        if !visit.request.body.is_empty() {
            return Err(FieldError::new("body", "must be empty").into());
        }
        Ok(Reply::json(200, json!({"valid": true})))
    }

    fn api(&self, name: &str, visit: Visit<'_>) -> Answer {
        match name {
            "reports" => visit.request.allow(&[Method::GET])?,
            _ => common_api::allow(name, visit.request)?,
        }
        self.check_subscription(visit.request)?;
        visit.ledger.authorize(visit.request, visit.now)?;
        match name {
            "reports" => Ok(Reply::json(200, json!({"reports": [{"id": "weekly-sales"}]}))),
            _ => common_api::answer(name, visit.request),
        }
    }
}

/// A new set of tokens in the `family` that a login began.
fn issue(ledger: &mut Ledger, now: f64, username: &str, family: &str) -> Reply {
    let (lifetime, refresh_lifetime) = (ledger.settings.lifetime, ledger.settings.refresh_lifetime);
    let token = jwt("https://api.quartile.com", username, now, lifetime);
    let refresh_token = jwt("https://api.quartile.com/refresh", username, now, refresh_lifetime);
    ledger.issue(&token, Issued::new(username, now, lifetime).in_group(family));
    ledger.refresh_tokens.insert(&refresh_token, Issued::new(username, now, refresh_lifetime).in_group(family));
    let body = json!({
        "authorization": {
            "token": token,
            "type": "Bearer",
            "expires_in": seconds(lifetime),
            "expires_at": without_zone(now + lifetime),
            "not_before": (now - A_YEAR).floor() as i64,
            "note": ACCESS_NOTE,
        },
        "refresh": {
            "token": refresh_token,
            "expires_in": seconds(refresh_lifetime),
            "expires_at": without_zone(now + refresh_lifetime),
            "note": REFRESH_NOTE,
        },
    });
    Reply { body: Content::JsonWithRawLineBreaks(Box::new(body)), ..Reply::empty(200) }
}

/// UTC, as the vendor prints it: `2022-06-10T17:08:48`.
fn without_zone(unix: f64) -> String {
    let time = jiff::Timestamp::from_second(unix.floor() as i64).unwrap_or(jiff::Timestamp::MAX);
    jiff::tz::TimeZone::UTC.to_datetime(time).strftime("%Y-%m-%dT%H:%M:%S").to_string()
}

impl Vendor for Quartile {
    fn name(&self) -> &'static str {
        "quartile"
    }

    fn ledger(&self) -> Ledger {
        Ledger::new(Settings::new(43_200.0, 1_209_600.0), &["login", "refresh_token"])
    }

    fn endpoint(&self, path: &[&str]) -> Endpoint {
        if matches!(path, ["auth", "v2", "login" | "refresh"]) { Endpoint::Token } else { Endpoint::Api }
    }

    fn grant(&self, path: &[&str], _request: &Request) -> Option<String> {
        Some(if path.last() == Some(&"login") { "login" } else { "refresh_token" }.to_owned())
    }

    fn answer(&mut self, path: &[&str], visit: Visit<'_>) -> Answer {
        match path {
            ["auth", "v2", "login"] => self.login(visit),
            ["auth", "v2", "refresh"] => self.refresh(visit),
            ["auth", "v2", "validate"] => self.validate(visit),
            [name] => self.api(name, visit),
            _ => Err(Reply::not_found()),
        }
    }

    fn credentials(&self) -> Value {
        json!({"username": self.username, "password": self.password, "subscription_key": self.subscription_key})
    }

    fn set_credentials(&mut self, mut fields: Fields) -> Result<(), FieldError> {
        let (username, password) = (fields.optional_text("username")?, fields.optional_text("password")?);
        let subscription_key = fields.optional_text("subscription_key")?;
        if username.is_none() && password.is_none() && subscription_key.is_none() {
            return Err(FieldError::new("password", "is missing; or give \"username\" or \"subscription_key\""));
        }
        fields.finish()?;
        self.revoked &= username.is_none() && password.is_none();
        self.username = username.unwrap_or_else(|| self.username.clone());
        self.password = password.unwrap_or_else(|| self.password.clone());
        self.subscription_key = subscription_key.unwrap_or_else(|| self.subscription_key.clone());
        Ok(())
    }

    fn revoke(&mut self, ledger: &mut Ledger, what: &Revocation) -> Result<(), FieldError> {
        let Revocation::User(name) = what else {
            return Err(FieldError::new("username", "or \"tokens\" or \"refresh_tokens\" is what quartile can revoke"));
        };
        if *name != self.username {
            return Err(unknown("username", self.name()));
        }
        self.revoked = true;
        ledger.kill_subject(name);
        Ok(())
    }
}
