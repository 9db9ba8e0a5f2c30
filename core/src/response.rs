//! A token endpoint's answer into a token or an error, by the provider's paths (RFC 6749 5.1, 5.2). Pure.

mod lifetime;
mod parts;

use std::time::Duration;

use indexmap::IndexMap;
use reqwest::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use serde_json::{Map, Value};

use self::parts::Parts;
use crate::error::{Error, ErrorCode};
use crate::profile::Profile;
use crate::provider::{Answer, GrantKind, Part};
use crate::secret::Secret;
use crate::token::Issued;
use crate::transport::HttpResponse;

/// A `Retry-After` beyond this is cut to it.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);
const MAX_DESCRIPTION: usize = 256;
const MAX_SERVER_ERROR: usize = 64;
const MAX_TOKEN: usize = 64 * 1024;

/// An answer that gave no token.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) error: Error,
    pub(crate) verdict: Verdict,
}

/// What a refusal says about sending the request again (DESIGN.md 4, "Retries").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing reached the server.
    NotSent,
    /// The server understood and said no. Remembered, not repeated.
    Final,
    /// Answered and surely not applied (429, 503).
    NotApplied,
    /// It may have been applied: a failing server, or a success that cannot be read.
    Unknown,
    /// A 4xx that is not the token endpoint's own word: nothing is known, nothing is repeated at once.
    Noise,
}

/// Which request was answered.
pub(crate) struct Asked<'a> {
    pub(crate) profile: &'a Profile,
    pub(crate) kind: GrantKind,
    /// Where its answer keeps its parts.
    pub(crate) answer: &'a Answer,
    /// Texts that the server knows too, and that its own must not carry into an error.
    pub(crate) secrets: &'a [Secret],
    /// Wall time since 1970 when it was sent.
    pub(crate) sent_unix: Duration,
    /// A token bound to our key was asked for (RFC 9449).
    pub(crate) dpop: bool,
}

/// Judges the answer to the request that brings the token.
pub(crate) fn read(asked: &Asked<'_>, response: &HttpResponse) -> std::result::Result<Issued, Refusal> {
    if !asked.answer.success.contains(&response.status) {
        return Err(failure(asked, response));
    }
    let judged = Parts::read(asked.answer, response).and_then(|parts| success(asked, &parts));
    judged.map_err(|refusal| Refusal { error: refusal.error.with_status(response.status), ..refusal })
}

/// How long a JWT lives that is signed here: as the provider fixes it, else its `exp`, else what the profile says, else
/// five minutes.
pub(crate) fn signed_lifetime(profile: &Profile, token: &str, now_unix: Duration) -> Duration {
    let fixed = profile.provider.definition().lifetime.fixed;
    let own = || lifetime::jwt_expiry(token).map(|exp| exp.saturating_sub(now_unix));
    fixed.or_else(own).or(profile.default_lifetime).unwrap_or(lifetime::FALLBACK).min(profile.max_lifetime)
}

/// Judges the answer to a request before that one, and takes out what later ones read.
pub(crate) fn read_step(
    asked: &Asked<'_>,
    keep: &IndexMap<String, Part>,
    response: &HttpResponse,
) -> std::result::Result<Vec<(String, Secret)>, Refusal> {
    if !(200..300).contains(&response.status) {
        return Err(failure(asked, response));
    }
    let parts = Parts::read(asked.answer, response)?;
    if let Some(refusal) = refused(asked, &parts, response.status) {
        return Err(refusal);
    }
    let kept = keep.iter().map(|(name, part)| match parts.text(part) {
        Some(text) if !text.is_empty() && text.len() <= MAX_TOKEN => Ok((name.clone(), Secret::new(text))),
        _ => Err(unreadable(format!("the first answer has no {name} at {part}"))),
    });
    kept.collect()
}

/// The seconds or the HTTP date of `Retry-After` (RFC 9110 10.2.3), capped; garbage and the past count as absent.
pub(crate) fn retry_after(response: &HttpResponse, now_unix: Duration) -> Option<Duration> {
    let text = response.headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let at = httpdate::parse_http_date(text).ok()?;
        at.duration_since(std::time::UNIX_EPOCH).ok()?.checked_sub(now_unix)?
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// A success that cannot be read may have been applied all the same.
fn unreadable(message: String) -> Refusal {
    Refusal { error: Error::protocol(message), verdict: Verdict::Unknown }
}

fn success(asked: &Asked<'_>, parts: &Parts<'_>) -> std::result::Result<Issued, Refusal> {
    let answer = asked.answer;
    if let Some(refusal) = refused(asked, parts, parts.response.status) {
        return Err(refusal);
    }
    let access_token = parts.token(&answer.access_token, "access_token").map_err(unreadable)?;
    let access_token =
        access_token.ok_or_else(|| unreadable(format!("the answer has no access token at {}", answer.access_token)))?;
    let token_type = token_type(asked, parts).map_err(unreadable)?;
    let refresh_token = parts.token(&answer.refresh_token, "refresh_token").map_err(unreadable)?;
    let lifetime = lifetime::of_access_token(asked, parts, &access_token).map_err(unreadable)?;
    let refresh_lifetime = lifetime::span(parts, &answer.refresh_expires_in, "refresh_expires_in")
        .map_err(unreadable)?
        .filter(|lifetime| !lifetime.is_zero());
    let extras: Map<String, Value> =
        answer.keep.iter().filter_map(|(name, at)| Some((name.clone(), parts.get(at)?))).collect();
    Ok(Issued {
        access_token: Secret::new(access_token),
        token_type,
        lifetime: Some(lifetime.min(asked.profile.max_lifetime)),
        refresh_token: refresh_token.map(Secret::new),
        refresh_lifetime,
        scope: parts.get(&answer.scope).and_then(|scope| scope.as_str().map(str::to_owned)),
        extras,
    })
}

fn failure(asked: &Asked<'_>, response: &HttpResponse) -> Refusal {
    let status = response.status;
    let after = retry_after(response, asked.sent_unix);
    let named = |code, message: String| Error::new(code, message).with_status(status);
    let structured = structured(asked, &Parts::of_refusal(asked.answer, response), status);
    let said = |error: Error| match &structured {
        Some(refusal) => error.with_server(
            refusal.error.server_error().map(str::to_owned),
            refusal.error.server_error_description().map(str::to_owned),
        ),
        None => error,
    };
    match status {
        300..400 => {
            let host = response.headers.get(LOCATION).and_then(|location| location.to_str().ok());
            let host = host.and_then(|location| Some(url::Url::parse(location).ok()?.host_str()?.to_owned()));
            let target = host.map(|host| format!(" to host {host}")).unwrap_or_default();
            let message = format!("the token endpoint redirects{target}, which is never followed; correct base_url");
            Refusal { error: named(ErrorCode::Protocol, message), verdict: Verdict::Noise }
        }
        429 => {
            let error = named(ErrorCode::RateLimited, "the server asks for fewer requests".into());
            Refusal { error: said(error).with_retry_after(after), verdict: Verdict::NotApplied }
        }
        503 => {
            let error = named(ErrorCode::ServerError, "the server is unavailable for the moment".into());
            Refusal { error: said(error).with_retry_after(after), verdict: Verdict::NotApplied }
        }
        500.. => {
            let error = named(ErrorCode::ServerError, format!("the server failed ({})", describe(response)));
            Refusal { error: said(error).with_retry_after(after), verdict: Verdict::Unknown }
        }
        _ if structured.is_some() => structured.expect("checked by the guard"),
        _ => by_status(asked, response),
    }
}

/// A 4xx, or a 2xx that the provider does not call a success, with no word of the server.
fn by_status(asked: &Asked<'_>, response: &HttpResponse) -> Refusal {
    let status = response.status;
    if let Some(code) = asked.answer.final_statuses.get(&status.to_string()).and_then(|code| ErrorCode::from_name(code))
    {
        return Refusal { error: Error::new(code, advice(code, asked)).with_status(status), verdict: Verdict::Final };
    }
    if (200..300).contains(&status) {
        let message = format!("the server answered {status}, which is no success of this provider");
        return Refusal { error: Error::protocol(message).with_status(status), verdict: Verdict::Unknown };
    }
    let code = match status {
        401 => asked.kind.refusal(),
        403 => ErrorCode::AccessDenied,
        404 | 405 | 415 => ErrorCode::Config,
        408 => ErrorCode::ServerError,
        _ => ErrorCode::Protocol,
    };
    let message = match code {
        ErrorCode::Protocol | ErrorCode::ServerError => format!("the server refused ({})", describe(response)),
        code => advice(code, asked).to_owned(),
    };
    // It may be a proxy or a firewall that speaks, so it is never final.
    let error = Error::new(code, message).with_status(status).with_retryable(code != ErrorCode::Config);
    Refusal { error, verdict: Verdict::Noise }
}

/// An error in a success: the member of RFC 6749 5.2 in a 200, or what the provider calls a failure.
fn refused(asked: &Asked<'_>, parts: &Parts<'_>, status: u16) -> Option<Refusal> {
    let failed = asked.answer.failed_when.as_ref().map(|condition| {
        let value = parts.get(&condition.at).unwrap_or(Value::Null);
        same(&value, &condition.value) == condition.equal
    });
    match failed {
        // The provider says what a failure is; what stands at `error` then is no failure by itself.
        Some(false) => None,
        Some(true) => structured(asked, parts, status).or_else(|| {
            let error = Error::protocol("the server reports an error in a success").with_status(status);
            Some(Refusal { error: error.with_retryable(false), verdict: Verdict::Final })
        }),
        None => structured(asked, parts, status),
    }
}

/// A header or raw text knows no types: there `"0"` is `0`.
fn same(found: &Value, expected: &Value) -> bool {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(word) => Some(word.to_string()),
        _ => None,
    };
    found == expected || (found.is_string() && text(found) == text(expected))
}

/// RFC 6749 5.2: the `error` member, in whatever status it came.
fn structured(asked: &Asked<'_>, parts: &Parts<'_>, status: u16) -> Option<Refusal> {
    let answer = asked.answer;
    let word = match parts.get(&answer.error)? {
        Value::String(word) if !word.is_empty() => word,
        // Vendors' own numbers, of which 0 is "none" everywhere.
        Value::Number(number) if number.as_f64() != Some(0.0) => number.to_string(),
        _ => return None,
    };
    // RFC 6749 A.7, without the space that only prose has.
    let is_token = (1..=MAX_SERVER_ERROR).contains(&word.len())
        && word.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
    let own = answer.error_codes.get(&word).and_then(|code| ErrorCode::from_name(code));
    if !is_token && own.is_none() && !(200..300).contains(&status) {
        return None;
    }
    let code = match word.as_str() {
        _ if own.is_some() => own.expect("checked by the guard"),
        "invalid_client" => ErrorCode::InvalidClient,
        "invalid_grant" => ErrorCode::InvalidGrant,
        "access_denied" => ErrorCode::AccessDenied,
        "temporarily_unavailable" | "server_error" => ErrorCode::ServerError,
        // Some servers refuse a wrong secret with this word; for the grant itself it comes with 400.
        "unauthorized_client" if status == 401 => ErrorCode::InvalidClient,
        "invalid_request" | "unauthorized_client" | "unsupported_grant_type" | "invalid_scope" | "invalid_target" => {
            ErrorCode::Config
        }
        _ if status == 401 => asked.kind.refusal(),
        _ if status == 403 => ErrorCode::AccessDenied,
        _ if (200..300).contains(&status) => ErrorCode::Protocol,
        _ => ErrorCode::Config,
    };
    let description = parts.text(&answer.error_description);
    let mut mask = asked.profile.mask();
    asked.secrets.iter().for_each(|secret| mask.add(secret.expose()));
    let description = description.map(|text| mask.clean(&text, MAX_DESCRIPTION));
    let error = Error::new(code, advice(code, asked))
        .with_status(status)
        .with_server(is_token.then(|| mask.clean(&word, MAX_SERVER_ERROR)), description);
    let verdict = match code {
        ErrorCode::ServerError => Verdict::Unknown,
        ErrorCode::RateLimited => Verdict::NotApplied,
        _ => Verdict::Final,
    };
    Some(Refusal { error, verdict })
}

/// What the reader can do about it.
fn advice(code: ErrorCode, asked: &Asked<'_>) -> &'static str {
    match (code, asked.kind) {
        (ErrorCode::InvalidClient, _) if asked.profile.value("private_key").is_some() => {
            "the server refuses this client: check the profile's client_id, private_key and key_id, that the server knows the public key, and this machine's clock"
        }
        (ErrorCode::InvalidClient, _) => {
            "the server refuses these client credentials: check the profile's client_id and client_secret"
        }
        (ErrorCode::InvalidGrant, GrantKind::RefreshToken) => "the server refuses the refresh token: sign in again",
        (ErrorCode::InvalidGrant, GrantKind::JwtBearer) => {
            "the server refuses the assertion: check the profile's private_key, key_id and whom it speaks for, and this machine's clock"
        }
        (ErrorCode::InvalidGrant, GrantKind::TokenExchange) => {
            "the server refuses the token that the exchange starts from: check subject_token and its type"
        }
        (ErrorCode::InvalidGrant, kind) if kind.interactive() => "the server refuses this sign-in: begin it again",
        (ErrorCode::InvalidGrant, _) => "the server refuses this login: check the profile's username and password",
        (ErrorCode::AccessDenied, _) => "the server denies access: ask the vendor for the permission",
        (ErrorCode::RateLimited, _) => "the server asks for fewer requests",
        (ErrorCode::ReauthenticationRequired, _) => "the server wants a person to sign in again",
        (ErrorCode::Config, _) => {
            "the server cannot serve this request as configured: check base_url, grant, scope and variables"
        }
        (ErrorCode::ServerError, _) => "the server failed",
        _ => "the server reports an error in a success",
    }
}

fn token_type(asked: &Asked<'_>, parts: &Parts<'_>) -> std::result::Result<String, String> {
    let scheme = asked.profile.provider.definition().attach.scheme();
    // RFC 6749 5.1: the value is case-insensitive.
    let is = |kind: &str, word: &str| kind.eq_ignore_ascii_case(word);
    match parts.get(&asked.answer.token_type) {
        // RFC 9449 5: whoever needs the binding refuses a token without it.
        kind if asked.dpop && !kind.as_ref().and_then(Value::as_str).is_some_and(|kind| is(kind, "dpop")) => {
            Err("a token bound to our key was asked for (dpop), and the server gave one that is not".into())
        }
        None | Some(Value::Null) => Ok("Bearer".to_owned()),
        Some(Value::String(kind)) if asked.dpop || is(&kind, "bearer") || is(&kind, scheme) => Ok(kind),
        // RFC 8693 2.2.1: what is no access token of OAuth.
        Some(Value::String(kind)) if asked.kind == GrantKind::TokenExchange && is(&kind, "N_A") => Ok(kind),
        // What it is must not be shown: a wrong pointer may find a secret.
        Some(Value::String(_)) => {
            Err("the answer's token_type is neither Bearer nor attach.scheme; where the API wants \
                                       Bearer all the same, let answer.token_type name a member that is not there"
                .into())
        }
        Some(_) => Err("the answer's token_type is no text".into()),
    }
}

/// Type and length of an answer: its text is never repeated, it may hold anything.
fn describe(response: &HttpResponse) -> String {
    let kind = response.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("no content type");
    let kind: String =
        kind.chars().take_while(|c| c.is_ascii_alphanumeric() || "/-+. ".contains(*c)).take(60).collect();
    format!("{}, {} bytes", kind.trim(), response.body.len())
}

#[cfg(test)]
mod tests;
