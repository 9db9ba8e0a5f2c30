//! Quantaprice: client credentials in a form, JWTs, keys that die with their tokens.

use super::{Answer, Revocation, Vendor, Visit, common_api, peek, unknown};
use crate::fields::{FieldError, Fields};
use crate::http::{Reply, Request};
use crate::known;
use crate::ledger::{Endpoint, Ledger, Settings, seconds};
use crate::tokens::{Issued, jwt};
use hyper::Method;
use serde_json::{Value, json};

struct ApiKey {
    client_id: String,
    client_secret: String,
    revoked: bool,
}

/// The vendor and its API keys.
pub(super) struct Quantaprice {
    keys: Vec<ApiKey>,
}

impl Default for Quantaprice {
    fn default() -> Self {
        let key = |client_id: &str, client_secret: &str| ApiKey {
            client_id: client_id.to_owned(),
            client_secret: client_secret.to_owned(),
            revoked: false,
        };
        Self {
            keys: vec![
                key(known::QUANTAPRICE_CLIENT_ID, known::QUANTAPRICE_CLIENT_SECRET),
                key(known::QUANTAPRICE_SECOND_CLIENT_ID, known::QUANTAPRICE_SECOND_CLIENT_SECRET),
            ],
        }
    }
}

impl Quantaprice {
    fn token(&self, visit: Visit<'_>) -> Answer {
        visit.request.allow_token_request()?;
        let mut form = visit.request.form()?;
        if form.text("grant_type")? != "client_credentials" {
            return Err(Reply::error(400, "unsupported_grant_type", "grant_type: must be client_credentials"));
        }
        let (client_id, client_secret) = (form.text("client_id")?, form.text("client_secret")?);
        form.finish()?;
        let accepts = |key: &ApiKey| key.client_id == client_id && key.client_secret == client_secret && !key.revoked;
        if !self.keys.iter().any(accepts) {
            return Err(Reply::error(401, "invalid_client", "Invalid client credentials"));
        }
        let lifetime = visit.ledger.settings.lifetime;
        let token = jwt("https://login.quantaprice.com", &client_id, visit.now, lifetime);
        visit.ledger.issue(&token, Issued::new(&client_id, visit.now, lifetime));
        Ok(Reply::token(200, json!({"access_token": token, "token_type": "Bearer", "expires_in": seconds(lifetime)})))
    }

    fn api(name: &str, visit: Visit<'_>) -> Answer {
        match name {
            "prices" => visit.request.allow(&[Method::GET])?,
            _ => common_api::allow(name, visit.request)?,
        }
        visit.ledger.authorize(visit.request, visit.now)?;
        if name != "prices" {
            return common_api::answer(name, visit.request);
        }
        let mut query = visit.request.query_fields()?;
        let sku = query.text("sku")?;
        query.finish()?;
        Ok(Reply::json(200, json!({"sku": sku, "price": "12.50", "currency": "EUR"})))
    }
}

impl Vendor for Quantaprice {
    fn name(&self) -> &'static str {
        "quantaprice"
    }

    fn ledger(&self) -> Ledger {
        Ledger::new(Settings::new(3600.0, 0.0), &["client_credentials"])
    }

    fn endpoint(&self, path: &[&str]) -> Endpoint {
        if path == ["oauth2", "token"] { Endpoint::Token } else { Endpoint::Api }
    }

    fn grant(&self, _path: &[&str], request: &Request) -> Option<String> {
        peek(Fields::from_form(&request.body), "grant_type")
    }

    fn answer(&mut self, path: &[&str], visit: Visit<'_>) -> Answer {
        match path {
            ["oauth2", "token"] => self.token(visit),
            ["api", "v1", name] => Self::api(name, visit),
            _ => Err(Reply::not_found()),
        }
    }

    fn credentials(&self) -> Value {
        let (first, second) = (&self.keys[0], &self.keys[1]);
        json!({
            "client_id": first.client_id, "client_secret": first.client_secret,
            "second_client_id": second.client_id, "second_client_secret": second.client_secret,
        })
    }

    /// A secret for the first key or, with `client_id`, for that one; an unknown id makes a new key.
    fn set_credentials(&mut self, mut fields: Fields) -> Result<(), FieldError> {
        let (client_id, client_secret) = (fields.optional_text("client_id")?, fields.text("client_secret")?);
        fields.finish()?;
        let client_id = client_id.unwrap_or_else(|| self.keys[0].client_id.clone());
        match self.keys.iter_mut().find(|key| key.client_id == client_id) {
            Some(key) => (key.client_secret, key.revoked) = (client_secret, false),
            None => self.keys.push(ApiKey { client_id, client_secret, revoked: false }),
        }
        Ok(())
    }

    fn revoke(&mut self, ledger: &mut Ledger, what: &Revocation) -> Result<(), FieldError> {
        let Revocation::Client(id) = what else {
            return Err(FieldError::new("client_id", "or \"tokens\" is what quantaprice can revoke"));
        };
        let key = self.keys.iter_mut().find(|key| key.client_id == *id);
        key.ok_or_else(|| unknown("client_id", "quantaprice"))?.revoked = true;
        ledger.kill_subject(id);
        Ok(())
    }
}
