//! What a token request wants, what it gets, and how the answer tells (RFC 6749 5.1).

use super::clients::{Client, Way};
use super::refusal;
use crate::fields::Fields;
use crate::http::Reply;
use crate::ledger::seconds;
use crate::tokens::{Grant, Issued, hex};
use crate::vendors::Visit;
use serde_json::{Value, json};

pub(super) const SCOPES: [&str; 6] = ["read", "write", "openid", "profile", "email", "offline_access"];
/// The parameters that may come more than once (RFC 8707 2, RFC 8693 2.1).
pub(super) const LISTS: [&str; 2] = ["resource", "audience"];

/// The scopes, audiences and resources that a request names.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    pub(super) scope: Option<Vec<String>>,
    pub(super) audience: Vec<String>,
    pub(super) resource: Vec<String>,
}

impl Wanted {
    /// Takes them from a form or a query. `origin` is the simulator's own.
    pub(super) fn take(form: &mut Fields, origin: &str) -> Result<Self, Reply> {
        let scope = form.optional_text("scope")?.map(|text| scopes(&text)).transpose()?;
        let (audience, resource) = (form.list("audience"), form.list("resource"));
        let known =
            [format!("{origin}/generic/api"), "https://api.example.com".into(), "https://other.example.com".into()];
        match resource.iter().find(|resource| !known.contains(resource)) {
            Some(wrong) => Err(refusal("invalid_target", &format!("resource: {wrong:?} is unknown"))),
            None => Ok(Self { scope, audience, resource }),
        }
    }
}

/// The known scopes of a text.
pub(super) fn scopes(text: &str) -> Result<Vec<String>, Reply> {
    let scope: Vec<String> = text.split(' ').map(str::to_owned).collect();
    match scope.iter().find(|name| !SCOPES.contains(&name.as_str())) {
        Some(wrong) => Err(refusal("invalid_scope", &format!("scope: {wrong:?} is unknown"))),
        None => Ok(scope),
    }
}

/// A token request from a client that is who it says.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) client: Client,
    pub(super) wanted: Wanted,
    /// The thumbprint of the DPoP key that signed the request's proof.
    pub(super) jkt: Option<String>,
    /// The thumbprint of the certificate that the token gets bound to.
    pub(super) x5t: Option<String>,
}

impl Call {
    pub(super) fn new(client: Client, wanted: Wanted, jkt: Option<String>) -> Self {
        let x5t = match client.way {
            Way::Certificate(x5t) => Some(x5t.to_owned()),
            _ => None,
        };
        Self { client, wanted, jkt, x5t }
    }

    /// What the wanted token is good for; `read` where no scope is wanted.
    pub(super) fn grant(&self) -> Grant {
        Grant {
            client_id: self.client.id.clone(),
            scope: self.wanted.scope.clone().unwrap_or_else(|| vec!["read".to_owned()]),
            audience: self.wanted.audience.clone(),
            resource: self.wanted.resource.clone(),
            jkt: self.jkt.clone(),
            x5t: self.x5t.clone(),
            act: None,
        }
    }

    /// A person's new tokens, with a refresh token, in a family of their own.
    pub(super) fn log_in(&self, visit: &mut Visit<'_>, username: &str, family: &str) -> Value {
        let mut answer = issue(visit, username, true, family, self.grant());
        answer["refresh_token"] = json!(self.refresh_token(visit, username, family, self.grant()));
        answer
    }

    /// A new refresh token. Only a public client's is bound to its DPoP key: others authenticate (RFC 9449 5).
    pub(super) fn refresh_token(&self, visit: &mut Visit<'_>, subject: &str, family: &str, grant: Grant) -> String {
        let jkt = grant.jkt.clone().filter(|_| self.client.is_public());
        let issued = Issued::new(subject, visit.now, visit.ledger.settings.refresh_lifetime);
        let refresh_token = hex::<32>();
        let issued = issued.of_person().in_group(family).with_grant(Grant { jkt, ..grant });
        visit.ledger.refresh_tokens.insert(&refresh_token, issued);
        refresh_token
    }
}

/// A new access token, and the answer that tells it.
pub(super) fn issue(visit: &mut Visit<'_>, subject: &str, person: bool, family: &str, grant: Grant) -> Value {
    let lifetime = visit.ledger.settings.lifetime;
    let token = hex::<32>();
    let answer = json!({
        "access_token": token,
        "token_type": token_type(&grant),
        "expires_in": seconds(lifetime),
        "scope": grant.scope.join(" "),
    });
    let issued = Issued { person, ..Issued::new(subject, visit.now, lifetime) };
    visit.ledger.issue(&token, issued.in_group(family).with_grant(grant));
    answer
}

pub(super) fn token_type(grant: &Grant) -> &'static str {
    if grant.jkt.is_some() { "DPoP" } else { "Bearer" }
}
