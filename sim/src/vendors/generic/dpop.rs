//! DPoP (RFC 9449): proofs that the client holds the key, and the nonces that they have to carry.

use super::clients::Seen;
use crate::fields::{FieldError, Fields};
use crate::http::{Reply, Request};
use crate::jose::{ASYMMETRIC, Jwt, VerifyingKey, has_private_member, sha256, thumbprint};
use crate::tokens::hex;
use hyper::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use url::Url;

const NONCE_HEADER: HeaderName = HeaderName::from_static("dpop-nonce");
/// How far a proof's time may be from the simulator's.
const LEEWAY_SECONDS: f64 = 60.0;

/// What happens to nonces.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    /// One is told where it is missing, and stays good.
    Keep,
    /// Every answer to a request with a proof tells a new one, which replaces the old one.
    Rotate,
    /// None is ever good.
    Loop,
}

/// Where nonces are demanded, and which.
#[derive(Debug)]
pub(super) struct Proofs {
    token: bool,
    api: bool,
    mode: Mode,
    nonce: String,
}

impl Default for Proofs {
    fn default() -> Self {
        Self { token: false, api: false, mode: Mode::Keep, nonce: new_nonce() }
    }
}

/// Why a proof is not accepted.
#[derive(Debug)]
pub(super) enum Refused {
    Invalid(String),
    /// It is good, but lacks the nonce that is to be used.
    Nonce(String),
}

impl Refused {
    /// As the token endpoint says it (RFC 9449 5, 8).
    pub(super) fn by_token_endpoint(self) -> Reply {
        match self {
            Self::Invalid(problem) => Reply::error(400, "invalid_dpop_proof", &format!("DPoP: {problem}")),
            Self::Nonce(nonce) => Reply::error(400, "use_dpop_nonce", "DPoP: use the nonce").with(NONCE_HEADER, &nonce),
        }
    }

    /// As an API says it (RFC 9449 7.1, 9).
    pub(super) fn by_api(self) -> Reply {
        match self {
            Self::Invalid(problem) => Reply::challenge("DPoP", "invalid_dpop_proof", &format!("DPoP: {problem}")),
            Self::Nonce(nonce) => {
                Reply::challenge("DPoP", "use_dpop_nonce", "DPoP: use the nonce").with(NONCE_HEADER, &nonce)
            }
        }
    }
}

impl Proofs {
    /// `POST /_sim/dpop`.
    pub(super) fn set(&mut self, mut fields: Fields) -> Result<Value, FieldError> {
        let require = fields.choice("require", &["none", "token", "api", "both"])?;
        let mode = fields.choice("mode", &["keep", "rotate", "loop"])?;
        let new = fields.flag("new_nonce")?.unwrap_or(false);
        fields.finish()?;
        if let Some(require) = require {
            self.token = ["token", "both"].contains(&require.as_str());
            self.api = ["api", "both"].contains(&require.as_str());
        }
        self.mode = match mode.as_deref() {
            None => self.mode,
            Some("keep") => Mode::Keep,
            Some("rotate") => Mode::Rotate,
            Some(_) => Mode::Loop,
        };
        if new {
            self.nonce = new_nonce();
        }
        Ok(json!({"token": self.token, "api": self.api, "nonce": self.nonce}))
    }

    /// The thumbprint of the key that signed the request's proof; `None` without a proof. `access_token` is what the
    /// request carries, at the API.
    pub(super) fn check(
        &mut self,
        request: &Request,
        now: f64,
        access_token: Option<&str>,
        seen: &mut Seen,
    ) -> Result<Option<String>, Refused> {
        if !request.headers.contains_key("dpop") {
            return Ok(None);
        }
        let text = request.header("dpop").ok_or_else(|| Refused::Invalid("must be given once".to_owned()))?;
        let (jwt, jkt) = verify(text, request, now, access_token).map_err(Refused::Invalid)?;
        let jti = jwt.text("jti").unwrap_or_default();
        if !seen.first(format!("{jkt} {jti}"), now, now + 2.0 * LEEWAY_SECONDS) {
            return Err(Refused::Invalid("jti has been used before".to_owned()));
        }
        let required = if access_token.is_some() { self.api } else { self.token };
        if required && self.mode == Mode::Loop {
            self.nonce = new_nonce();
            return Err(Refused::Nonce(self.nonce.clone()));
        }
        if required && jwt.text("nonce") != Some(&self.nonce) {
            return Err(Refused::Nonce(self.nonce.clone()));
        }
        Ok(Some(jkt))
    }

    /// Tells a new nonce with the answer, where every answer does.
    pub(super) fn finish(&mut self, request: &Request, reply: &mut Reply) {
        if self.mode != Mode::Rotate || !request.headers.contains_key("dpop") {
            return;
        }
        self.nonce = new_nonce();
        reply.headers.retain(|(name, _)| *name != NONCE_HEADER);
        if let Ok(value) = HeaderValue::from_str(&self.nonce) {
            reply.headers.push((NONCE_HEADER, value));
        }
    }
}

fn new_nonce() -> String {
    format!("nonce-{}", hex::<12>())
}

/// Everything about a proof that can be judged without memory (RFC 9449 4.3).
fn verify(text: &str, request: &Request, now: f64, access_token: Option<&str>) -> Result<(Jwt, String), String> {
    let jwt = Jwt::parse(text).ok_or("is not a JWT")?;
    if jwt.header_text("typ") != Some("dpop+jwt") {
        return Err("typ must be dpop+jwt".to_owned());
    }
    if !jwt.header_text("alg").is_some_and(|alg| ASYMMETRIC.contains(&alg)) {
        return Err("alg must be one with a private and a public key".to_owned());
    }
    let jwk = jwt.header.get("jwk").ok_or("jwk is missing")?;
    if has_private_member(jwk) {
        return Err("jwk holds a private key".to_owned());
    }
    let key = VerifyingKey::from_jwk(jwk).map_err(|problem| format!("jwk: {problem}"))?;
    if !key.signed(&jwt) {
        return Err("the signature is wrong".to_owned());
    }
    if jwt.text("jti").is_none_or(str::is_empty) {
        return Err("jti is missing".to_owned());
    }
    if jwt.text("htm") != Some(request.method.as_str()) {
        return Err(format!("htm is not {}", request.method));
    }
    let here = Url::parse(&format!("{}{}", request.origin, request.path)).ok();
    if here.is_none() || jwt.text("htu").and_then(|htu| Url::parse(htu).ok()) != here {
        return Err("htu is not this URL without query and fragment".to_owned());
    }
    match jwt.number("iat") {
        Some(iat) if (iat - now).abs() <= LEEWAY_SECONDS => {}
        _ => return Err(format!("iat is not within {LEEWAY_SECONDS} s of the server's time")),
    }
    if access_token.is_some_and(|token| jwt.text("ath") != Some(&sha256(token.as_bytes()))) {
        return Err("ath is not the hash of the access token".to_owned());
    }
    let jkt = thumbprint(jwk).ok_or("jwk has no thumbprint")?;
    Ok((jwt, jkt))
}
