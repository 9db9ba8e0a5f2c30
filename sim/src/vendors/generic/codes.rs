//! The authorization endpoint, which logs the one account in without asking, and the codes that it hands out
//! (RFC 6749 4.1, RFC 7636, RFC 9207).

use super::issue::{Call, LISTS, Wanted};
use super::{Generic, issuer, refusal};
use crate::fields::{FieldError, Fields};
use crate::http::Reply;
use crate::jose::sha256;
use crate::tokens::hex;
use crate::vendors::{Answer, Visit};
use hyper::Method;
use hyper::header::{CACHE_CONTROL, LOCATION};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use url::Url;

const CODE_SECONDS: f64 = 60.0;
const OVERRIDES: [&str; 5] = ["state", "iss", "code", "error", "error_description"];

#[derive(Debug)]
struct Code {
    client_id: String,
    redirect_uri: String,
    challenge: String,
    username: String,
    wanted: Wanted,
    jkt: Option<String>,
    expires_at: f64,
    family: String,
    spent: bool,
}

/// The codes, and what the next redirect says instead of the truth.
#[derive(Debug, Default)]
pub(super) struct Codes {
    codes: HashMap<String, Code>,
    next: Map<String, Value>,
}

impl Codes {
    /// `POST /_sim/authorize`.
    pub(super) fn set_next(&mut self, mut fields: Fields) -> Result<Value, FieldError> {
        let mut next = Map::new();
        for name in OVERRIDES {
            if let Some(text) = fields.optional_text(name)? {
                next.insert(name.to_owned(), json!(text));
            }
        }
        if let Some(omit) = fields.optional_texts("omit")? {
            if omit.iter().any(|name| !OVERRIDES.contains(&name.as_str())) {
                return Err(FieldError::new("omit", format!("may hold {}", OVERRIDES.join(", "))));
            }
            next.insert("omit".to_owned(), json!(omit));
        }
        fields.finish()?;
        self.next = next;
        Ok(json!({"next": self.next}))
    }

    /// Exchanges a code for tokens. A second use ends what came from the first.
    pub(super) fn redeem(&mut self, visit: &mut Visit<'_>, call: &Call, mut form: Fields) -> Result<Value, Reply> {
        let (text, verifier) = (form.text("code")?, form.text("code_verifier")?);
        let redirect_uri = form.text("redirect_uri")?;
        let wrong = |problem: &str| refusal("invalid_grant", problem);
        let code = self.codes.get_mut(&text).ok_or_else(|| wrong("code: is unknown"))?;
        if code.client_id != call.client.id {
            return Err(wrong("code: is another client's"));
        }
        if code.spent {
            visit.ledger.counters.reuse_detected += 1;
            visit.ledger.kill_family(&code.family);
            return Err(wrong("code: has been used"));
        }
        if visit.now >= code.expires_at {
            return Err(wrong("code: is expired"));
        }
        if redirect_uri != code.redirect_uri {
            return Err(wrong("redirect_uri: is not that of the authorization request"));
        }
        if !is_verifier(&verifier) || sha256(verifier.as_bytes()) != code.challenge {
            return Err(wrong("code_verifier: does not fit the code_challenge"));
        }
        if code.jkt.is_some() && code.jkt != call.jkt {
            return Err(wrong("code: is bound to another DPoP key"));
        }
        let resource = &call.wanted.resource;
        if !code.wanted.resource.is_empty() && resource.iter().any(|wanted| !code.wanted.resource.contains(wanted)) {
            return Err(refusal("invalid_target", "resource: is more than was granted"));
        }
        let mut wanted = code.wanted.clone();
        if !resource.is_empty() {
            wanted.resource.clone_from(resource);
        }
        code.spent = true;
        let call = Call { wanted, ..Call::new(call.client.clone(), Wanted::default(), call.jkt.clone()) };
        Ok(call.log_in(visit, &code.username, &code.family))
    }
}

/// RFC 7636 4.1.
fn is_verifier(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    (43..=128).contains(&text.len()) && text.bytes().all(fits)
}

impl Generic {
    /// Wrong clients and redirect URIs are told on the spot, everything else by the redirect (RFC 6749 4.1.2.1).
    pub(super) fn authorize(&mut self, visit: &mut Visit<'_>) -> Answer {
        visit.request.allow(&[Method::GET])?;
        let mut query = Fields::from_form_with_lists(visit.request.query.as_bytes(), &LISTS)?;
        let (client_id, redirect_uri) = (query.text("client_id")?, query.text("redirect_uri")?);
        if self.clients.active(&client_id).is_none() {
            return Err(FieldError::new("client_id", "is unknown").into());
        }
        let target = Url::parse(&redirect_uri).ok().filter(|url| url.fragment().is_none());
        let mut target = target.ok_or_else(|| FieldError::new("redirect_uri", "must be a URL without a fragment"))?;
        let state = query.optional_text("state")?;
        let mut next = std::mem::take(&mut self.codes.next);
        let mut answer = Map::new();
        let error = if next.contains_key("error") {
            next.shift_remove("code");
            None
        } else {
            match self.new_code(visit, query, &client_id, &redirect_uri) {
                Ok(code) => {
                    answer.insert("code".to_owned(), json!(code));
                    None
                }
                Err(refused) => Some(refused),
            }
        };
        if let Some((error, description)) = error {
            answer.insert("error".to_owned(), json!(error));
            answer.insert("error_description".to_owned(), json!(description));
        }
        if let Some(state) = state {
            answer.insert("state".to_owned(), json!(state));
        }
        answer.insert("iss".to_owned(), json!(issuer(visit.request)));
        let omit = next.get("omit").cloned().unwrap_or_default();
        answer.extend(next.into_iter().filter(|(name, _)| name != "omit"));
        for name in omit.as_array().into_iter().flatten().filter_map(Value::as_str) {
            answer.shift_remove(name);
        }
        target.query_pairs_mut().extend_pairs(answer.iter().filter_map(|(name, value)| Some((name, value.as_str()?))));
        Ok(Reply::empty(302).with(LOCATION, target.as_str()).with(CACHE_CONTROL, "no-store"))
    }

    /// A code for the fixed account; `Err` is error and description for the redirect.
    fn new_code(
        &mut self,
        visit: &Visit<'_>,
        mut query: Fields,
        client_id: &str,
        redirect_uri: &str,
    ) -> Result<String, (String, String)> {
        let wrong = |error: &str, description: String| (error.to_owned(), description);
        let invalid = |error: FieldError| wrong("invalid_request", error.to_string());
        let response_type = query.text("response_type").map_err(invalid)?;
        if response_type != "code" {
            return Err(wrong("unsupported_response_type", "response_type: must be code".to_owned()));
        }
        let challenge = query.text("code_challenge").map_err(invalid)?;
        let method = query.optional_text("code_challenge_method").map_err(invalid)?;
        if method.as_deref() != Some("S256") {
            return Err(wrong("invalid_request", "code_challenge_method: must be S256".to_owned()));
        }
        if challenge.len() != 43 || !is_verifier(&challenge) {
            return Err(wrong("invalid_request", "code_challenge: is not a SHA-256 hash".to_owned()));
        }
        let jkt = query.optional_text("dpop_jkt").map_err(invalid)?;
        let wanted = Wanted::take(&mut query, &visit.request.origin).map_err(|reply| told(&reply))?;
        if self.account.revoked {
            return Err(wrong("access_denied", "the account is revoked".to_owned()));
        }
        let text = hex::<24>();
        let code = Code {
            client_id: client_id.to_owned(),
            redirect_uri: redirect_uri.to_owned(),
            challenge,
            username: self.account.username.clone(),
            wanted,
            jkt,
            expires_at: visit.now + CODE_SECONDS,
            family: hex::<8>(),
            spent: false,
        };
        self.codes.codes.insert(text.clone(), code);
        Ok(text)
    }
}

/// Error and description of a refusal, to be told another way.
fn told(reply: &Reply) -> (String, String) {
    let crate::http::Content::Json(body) = &reply.body else { return ("server_error".to_owned(), String::new()) };
    let member = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    (member("error"), member("error_description"))
}
