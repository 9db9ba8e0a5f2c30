//! The API, and userinfo: what a token opens, if it comes as it was issued (RFC 6750 2.1, RFC 9449 7.1, RFC 8705 3).

use super::Generic;
use super::manage::claims;
use crate::http::Reply;
use crate::tokens::Issued;
use crate::vendors::{Answer, Visit, common_api};
use hyper::Method;
use hyper::header::AUTHORIZATION;
use serde_json::json;

impl Generic {
    pub(super) fn api(&mut self, name: &str, visit: &mut Visit<'_>) -> Answer {
        match name {
            "whoami" => visit.request.allow(&[Method::GET])?,
            _ => common_api::allow(name, visit.request)?,
        }
        let issued = self.holder(visit)?;
        match name {
            "whoami" => Ok(Reply::json(200, claims(visit.request, &issued))),
            "echo" => Ok(common_api::open_echo(visit.request)),
            _ => common_api::answer(name, visit.request),
        }
    }

    /// OpenID Connect Core 5.3, with the claims that the scopes give.
    pub(super) fn userinfo(&mut self, visit: &mut Visit<'_>) -> Answer {
        visit.request.allow(&[Method::GET, Method::POST])?;
        let issued = self.holder(visit)?;
        let mut claims = json!({"sub": issued.subject});
        let has =
            |scope: &str| issued.grant.as_ref().is_some_and(|grant| grant.scope.iter().any(|granted| granted == scope));
        if has("profile") {
            claims["preferred_username"] = json!(issued.subject);
        }
        if has("email") && issued.person {
            claims["email"] = json!(issued.subject);
        }
        Ok(Reply::json(200, claims))
    }

    /// Whose valid token the request carries, in the scheme of its type and with the proofs that it is bound to.
    fn holder(&mut self, visit: &Visit<'_>) -> Result<Issued, Reply> {
        let request = visit.request;
        if !request.headers.contains_key(AUTHORIZATION) {
            return Err(Reply::unauthorized("the Authorization header is missing"));
        }
        let given = request.header("authorization").and_then(|value| value.split_once(' '));
        let (scheme, token) = given.filter(|(scheme, _)| ["Bearer", "DPoP"].contains(scheme)).ok_or_else(|| {
            Reply::unauthorized("the Authorization header must be given once: \"Bearer\" or \"DPoP\", and the token")
        })?;
        let refused = |text: &str| Reply::challenge(scheme, "invalid_token", text);
        let issued = visit.ledger.tokens.live(token, visit.now).cloned();
        let issued = issued.ok_or_else(|| refused("the token is unknown, revoked or expired"))?;
        let (jkt, x5t) = issued.grant.as_ref().map(|grant| (grant.jkt.clone(), grant.x5t.clone())).unwrap_or_default();
        if x5t.is_some() && x5t != request.certificate {
            return Err(refused("the token is bound to another certificate"));
        }
        match (scheme, &jkt) {
            ("Bearer", None) => return Ok(issued),
            ("Bearer", Some(_)) => return Err(refused("the token is bound to a key and wants the scheme DPoP")),
            (_, None) => return Err(refused("the token is not bound to a key and wants the scheme Bearer")),
            _ => {}
        }
        let proven = self.proofs.check(request, visit.now, Some(token), &mut self.seen);
        match proven.map_err(|refused| refused.by_api())? {
            None => Err(Reply::challenge("DPoP", "invalid_dpop_proof", "DPoP: the proof is missing")),
            proven if proven == jkt => Ok(issued),
            Some(_) => Err(refused("the token is bound to another key")),
        }
    }
}
