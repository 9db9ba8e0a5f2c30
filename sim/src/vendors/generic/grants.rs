//! The token endpoint: who asks, with which proof, and by which grant.

use super::clients::invalid_client;
use super::issue::{Call, LISTS, Wanted, issue, scopes};
use super::{DEVICE_CODE, Generic, JWT_BEARER, TOKEN_EXCHANGE, refusal};
use crate::fields::Fields;
use crate::http::Reply;
use crate::jose::Jwt;
use crate::tokens::{Grant, Issued, hex};
use crate::vendors::{Answer, Visit};
use serde_json::{Value, json};

/// How far away the end of an authorization grant's assertion may be.
const GRANT_ASSERTION_SECONDS: f64 = 3600.0;
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const REFRESH_TOKEN: &str = "urn:ietf:params:oauth:token-type:refresh_token";

/// One grant's way from the form to the body of the answer.
type Outcome = Result<Value, Reply>;

impl Generic {
    pub(super) fn token(&mut self, visit: &mut Visit<'_>) -> Answer {
        let (request, now) = (visit.request, visit.now);
        request.allow_token_post()?;
        let mut form = request.form_with_lists(&LISTS)?;
        let grant_type = form.text("grant_type")?;
        let authenticated = self.clients.authenticate(&mut form, request, now, &mut self.seen)?;
        if authenticated.is_none() && grant_type != JWT_BEARER {
            return Err(invalid_client("there is no client authentication"));
        }
        let jkt =
            self.proofs.check(request, now, None, &mut self.seen).map_err(|refused| refused.by_token_endpoint())?;
        let wanted = Wanted::take(&mut form, &request.origin)?;
        let Some(client) = authenticated else {
            return self.jwt_bearer(visit, None, wanted, jkt, form).map(|body| Reply::token(200, body));
        };
        if client.is_public() && ["client_credentials", TOKEN_EXCHANGE].contains(&grant_type.as_str()) {
            return Err(refusal("unauthorized_client", "a public client may not use this grant"));
        }
        let call = Call::new(client, wanted, jkt);
        let body = match grant_type.as_str() {
            "client_credentials" => {
                let (id, family) = (call.client.id.clone(), hex::<8>());
                Ok(issue(visit, &id, false, &family, call.grant()))
            }
            "password" => self.password(visit, &call, form),
            "refresh_token" => refresh_token(visit, &call, form),
            "authorization_code" => self.codes.redeem(visit, &call, form),
            DEVICE_CODE => self.devices.redeem(visit, &call, &self.account, form),
            TOKEN_EXCHANGE => exchange(visit, &call, form),
            JWT_BEARER => {
                let Call { client, wanted, jkt, .. } = call;
                self.jwt_bearer(visit, Some(client), wanted, jkt, form)
            }
            _ => Err(refusal("unsupported_grant_type", "grant_type: is unknown")),
        };
        body.map(|body| Reply::token(200, body))
    }

    fn password(&self, visit: &mut Visit<'_>, call: &Call, mut form: Fields) -> Outcome {
        let (username, password) = (form.text("username")?, form.text("password")?);
        let account = &self.account;
        if account.revoked || username != account.username || password != account.password {
            return Err(refusal("invalid_grant", "the username or the password is wrong"));
        }
        Ok(call.log_in(visit, &username, &hex::<8>()))
    }

    /// RFC 7523 2.1: the assertion is the grant, so nobody has to authenticate; who does so gets the token.
    fn jwt_bearer(
        &mut self,
        visit: &mut Visit<'_>,
        client: Option<super::clients::Client>,
        mut wanted: Wanted,
        jkt: Option<String>,
        mut form: Fields,
    ) -> Outcome {
        let wrong = |problem: &str| refusal("invalid_grant", &format!("assertion: {problem}"));
        let jwt = Jwt::parse(&form.text("assertion")?).ok_or_else(|| wrong("is not a JWT"))?;
        let (request, now) = (visit.request, visit.now);
        let signer = self.clients.check_assertion(&jwt, request, now, GRANT_ASSERTION_SECONDS, &mut self.seen);
        let signer = signer.map_err(|problem| wrong(&problem))?.clone();
        let subject = jwt.text("sub").ok_or_else(|| wrong("sub is missing"))?;
        let person = subject == self.account.username && !self.account.revoked;
        if !person && subject != signer.id {
            return Err(wrong("sub is neither the account nor iss"));
        }
        if let (None, Some(claimed)) = (&wanted.scope, jwt.text("scope")) {
            wanted.scope = Some(scopes(claimed)?);
        }
        let call = Call::new(client.unwrap_or(signer), wanted, jkt);
        Ok(issue(visit, subject, person, &hex::<8>(), call.grant()))
    }
}

/// A public client's refresh token works once, and its second use ends the family (RFC 9700 4.14.2).
fn refresh_token(visit: &mut Visit<'_>, call: &Call, mut form: Fields) -> Outcome {
    let token = form.text("refresh_token")?;
    if call.client.is_public() {
        visit.ledger.note_refresh(&token);
    }
    let dead = || refusal("invalid_grant", "the refresh token is unknown, revoked, used or expired");
    let known = visit.ledger.refresh_tokens.live(&token, visit.now).cloned().ok_or_else(dead)?;
    let Issued { subject, person, group: family, spent, grant, .. } = known;
    let original: Grant = *grant.ok_or_else(dead)?;
    if original.client_id != call.client.id {
        return Err(refusal("invalid_grant", "the refresh token is another client's"));
    }
    if spent {
        visit.ledger.counters.reuse_detected += 1;
        visit.ledger.kill_family(&family);
        return Err(dead());
    }
    if original.jkt.is_some() && original.jkt != call.jkt {
        return Err(refusal("invalid_grant", "the refresh token is bound to another DPoP key"));
    }
    let access = narrowed(&original, call)?;
    let mut answer = issue(visit, &subject, person, &family, access);
    if call.client.is_public() {
        visit.ledger.refresh_tokens.spend(&token);
        answer["refresh_token"] = json!(call.refresh_token(visit, &subject, &family, original));
    }
    Ok(answer)
}

/// What was granted, or the part of it that is wanted now (RFC 6749 6, RFC 8707 2.2), bound as the request is.
fn narrowed(original: &Grant, call: &Call) -> Result<Grant, Reply> {
    let scope = call.wanted.scope.clone().unwrap_or_else(|| original.scope.clone());
    if scope.iter().any(|name| !original.scope.contains(name)) {
        return Err(refusal("invalid_scope", "scope: is more than was granted"));
    }
    let resource = match call.wanted.resource.as_slice() {
        [] => original.resource.clone(),
        wanted => wanted.to_vec(),
    };
    if !original.resource.is_empty() && resource.iter().any(|wanted| !original.resource.contains(wanted)) {
        return Err(refusal("invalid_target", "resource: is more than was granted"));
    }
    let audience = match call.wanted.audience.as_slice() {
        [] => original.audience.clone(),
        wanted => wanted.to_vec(),
    };
    let (jkt, x5t) = (call.jkt.clone(), call.x5t.clone());
    Ok(Grant { scope, audience, resource, jkt, x5t, ..original.clone() })
}

/// RFC 8693 2: a token for the subject of another one, perhaps with somebody who acts for it.
fn exchange(visit: &mut Visit<'_>, call: &Call, mut form: Fields) -> Outcome {
    let wanted = form.optional_text("requested_token_type")?;
    if wanted.is_some_and(|wanted| wanted != ACCESS_TOKEN) {
        return Err(refusal("invalid_request", "requested_token_type: only access tokens are issued here"));
    }
    let subject = presented(visit, &mut form, "subject_token")?;
    let actor = match form.has("actor_token") || form.has("actor_token_type") {
        true => Some(presented(visit, &mut form, "actor_token")?),
        false => None,
    };
    let from = subject.grant.map(|grant| *grant).unwrap_or_default();
    let mut grant = call.grant();
    if call.wanted.scope.is_none() {
        grant.scope = from.scope;
    }
    grant.act = match actor {
        None => from.act,
        Some(actor) => {
            let mut act = json!({"sub": actor.subject});
            if let Some(earlier) = from.act {
                act["act"] = earlier;
            }
            Some(act)
        }
    };
    let targets = (grant.audience.clone(), grant.resource.clone());
    let mut answer = issue(visit, &subject.subject, subject.person, &hex::<8>(), grant);
    answer["issued_token_type"] = json!(ACCESS_TOKEN);
    (answer["audience"], answer["resource"]) = (json!(targets.0), json!(targets.1));
    Ok(answer)
}

/// The live token in the field `name`, of the type that `name_type` says.
fn presented(visit: &Visit<'_>, form: &mut Fields, name: &str) -> Result<Issued, Reply> {
    let (token, kind) = (form.text(name)?, form.text(&format!("{name}_type"))?);
    let table = match kind.as_str() {
        ACCESS_TOKEN => &visit.ledger.tokens,
        REFRESH_TOKEN => &visit.ledger.refresh_tokens,
        _ => return Err(refusal("invalid_request", &format!("{name}_type: is not understood here"))),
    };
    let live = table.live(&token, visit.now).filter(|issued| !issued.spent).cloned();
    live.ok_or_else(|| refusal("invalid_request", &format!("{name}: is not a live token of this type")))
}
