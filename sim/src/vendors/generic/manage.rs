//! What a token is worth (RFC 7662), and its end before its time (RFC 7009).

use super::clients::{Client, invalid_client};
use super::issue::{LISTS, token_type};
use super::{Generic, issuer, refusal};
use crate::fields::Fields;
use crate::http::{Reply, Request};
use crate::tokens::{Grant, Issued};
use crate::vendors::{Answer, Visit};
use serde_json::{Value, json};

/// What is told of a live token.
pub(super) fn claims(request: &Request, issued: &Issued) -> Value {
    let fallback = Grant::default();
    let grant = issued.grant.as_deref().unwrap_or(&fallback);
    let audiences = [grant.audience.as_slice(), grant.resource.as_slice()].concat();
    let mut claims = json!({
        "active": true,
        "iss": issuer(request),
        "client_id": grant.client_id,
        "sub": issued.subject,
        "scope": grant.scope.join(" "),
        "audience": grant.audience,
        "resource": grant.resource,
        "aud": audiences,
        "iat": issued.issued_at.floor() as i64,
        "exp": issued.expires_at.floor() as i64,
        "token_type": token_type(grant),
    });
    if let Some(jkt) = &grant.jkt {
        claims["cnf"]["jkt"] = json!(jkt);
    }
    if let Some(x5t) = &grant.x5t {
        claims["cnf"]["x5t#S256"] = json!(x5t);
    }
    if let Some(act) = &grant.act {
        claims["act"] = act.clone();
    }
    claims
}

impl Generic {
    /// The client, the token that it asks about, and what the token is if it lives.
    fn asked(&mut self, visit: &Visit<'_>) -> Result<(Client, String, Option<Issued>, bool), Reply> {
        let request = visit.request;
        request.allow_token_post()?;
        let mut form: Fields = request.form_with_lists(&LISTS)?;
        let client = self.clients.authenticate(&mut form, request, visit.now, &mut self.seen)?;
        let client = client.ok_or_else(|| invalid_client("there is no client authentication"))?;
        let token = form.text("token")?;
        let access = visit.ledger.tokens.live(&token, visit.now);
        let refresh = visit.ledger.refresh_tokens.live(&token, visit.now).filter(|issued| !issued.spent);
        let (issued, is_refresh) = (access.or(refresh).cloned(), refresh.is_some());
        Ok((client, token, issued, is_refresh))
    }

    pub(super) fn introspect(&mut self, visit: &mut Visit<'_>) -> Answer {
        let (client, _, issued, _) = self.asked(visit)?;
        if client.is_public() {
            return Err(invalid_client("a public client cannot prove who it is (RFC 7662 2.1)"));
        }
        let body = issued.map_or_else(|| json!({"active": false}), |issued| claims(visit.request, &issued));
        Ok(Reply::token(200, body))
    }

    /// The end of an access token, or of a refresh token with its whole family.
    pub(super) fn revoke_token(&mut self, visit: &mut Visit<'_>) -> Answer {
        let (client, token, issued, is_refresh) = self.asked(visit)?;
        let Some(issued) = issued else { return Ok(Reply::empty(200)) };
        if issued.grant.as_ref().is_some_and(|grant| grant.client_id != client.id) {
            return Err(refusal("unauthorized_client", "token: was issued to another client"));
        }
        if is_refresh {
            visit.ledger.kill_family(&issued.group);
        } else {
            visit.ledger.tokens.kill(&token);
        }
        Ok(Reply::empty(200))
    }
}
