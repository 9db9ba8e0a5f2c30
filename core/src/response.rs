//! A token endpoint's answer into a token or an error, by the provider's paths (RFC 6749 5.1, 5.2). Pure.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use serde_json::{Map, Value};

use crate::duration;
use crate::error::{Error, ErrorCode};
use crate::json;
use crate::profile::Profile;
use crate::provider::{Answer, GrantKind};
use crate::secret::Secret;
use crate::token::Issued;
use crate::transport::HttpResponse;

/// Where neither the answer nor the provider names a lifetime. Never "for ever".
const FALLBACK_LIFETIME: Duration = Duration::from_secs(300);
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
    /// Tokens that the server knows too, and that its texts must not carry into an error.
    pub(crate) tokens: &'a [&'a Secret],
    /// Wall time since 1970 when it was sent.
    pub(crate) sent_unix: Duration,
}

/// Judges an answer.
pub(crate) fn read(asked: &Asked<'_>, response: &HttpResponse) -> std::result::Result<Issued, Refusal> {
    let answer = &asked.profile.provider.definition().answer;
    if answer.success.contains(&response.status) {
        return success(asked, answer, response)
            .map_err(|refusal| Refusal { error: refusal.error.with_status(response.status), ..refusal });
    }
    Err(failure(asked, answer, response))
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

fn success(asked: &Asked<'_>, answer: &Answer, response: &HttpResponse) -> std::result::Result<Issued, Refusal> {
    // A success that cannot be read may have been applied all the same.
    let unreadable = |message: String| Refusal { error: Error::protocol(message), verdict: Verdict::Unknown };
    let body = json::parse(&response.body, answer.control_characters_in_strings)
        .map_err(|fault| unreadable(format!("the answer is not JSON ({}): {fault}", describe(response))))?;
    if !body.is_object() {
        return Err(unreadable("the answer is JSON but no object".into()));
    }
    if let Some(refusal) = structured(asked, answer, &body, response.status) {
        return Err(refusal);
    }
    let access_token = text_at(&body, &answer.access_token.0, "access_token").map_err(unreadable)?;
    let access_token = access_token
        .ok_or_else(|| unreadable(format!("the answer has no access token at {}", answer.access_token.0)))?;
    let token_type = token_type(asked, answer, &body).map_err(unreadable)?;
    let refresh_token = text_at(&body, &answer.refresh_token.0, "refresh_token").map_err(unreadable)?;
    let lifetime = lifetime(asked, answer, &body, &access_token).map_err(unreadable)?;
    let refresh_lifetime = seconds(&body, &answer.refresh_expires_in.0, "refresh_expires_in")
        .map_err(unreadable)?
        .filter(|lifetime| !lifetime.is_zero());
    let extras: Map<String, Value> =
        answer.keep.iter().filter_map(|(name, at)| Some((name.clone(), body.pointer(&at.0)?.clone()))).collect();
    Ok(Issued {
        access_token: Secret::new(access_token),
        token_type,
        lifetime: Some(lifetime.min(asked.profile.max_lifetime)),
        refresh_token: refresh_token.map(Secret::new),
        refresh_lifetime,
        scope: body.pointer(&answer.scope.0).and_then(Value::as_str).map(str::to_owned),
        extras,
    })
}

fn failure(asked: &Asked<'_>, answer: &Answer, response: &HttpResponse) -> Refusal {
    let status = response.status;
    let after = retry_after(response, asked.sent_unix);
    let named = |code, message: String| Error::new(code, message).with_status(status);
    let json = json::parse(&response.body, answer.control_characters_in_strings).ok();
    let structured = json.as_ref().and_then(|body| structured(asked, answer, body, status));
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
        _ => by_status(asked, answer, response),
    }
}

/// A 4xx, or a 2xx that the provider does not call a success, with no word of the server.
fn by_status(asked: &Asked<'_>, answer: &Answer, response: &HttpResponse) -> Refusal {
    let status = response.status;
    if let Some(code) = answer.final_statuses.get(&status.to_string()).and_then(|code| ErrorCode::from_name(code)) {
        return Refusal {
            error: Error::new(code, advice(code, asked.kind)).with_status(status),
            verdict: Verdict::Final,
        };
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
        code => advice(code, asked.kind).to_owned(),
    };
    // It may be a proxy or a firewall that speaks, so it is never final.
    let error = Error::new(code, message).with_status(status).with_retryable(code != ErrorCode::Config);
    Refusal { error, verdict: Verdict::Noise }
}

/// RFC 6749 5.2: the `error` member, in whatever status it came.
fn structured(asked: &Asked<'_>, answer: &Answer, body: &Value, status: u16) -> Option<Refusal> {
    let word = body.pointer(&answer.error.0)?.as_str()?;
    // RFC 6749 A.7, without the space that only prose has.
    let is_token = (1..=MAX_SERVER_ERROR).contains(&word.len())
        && word.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
    if !is_token && !(200..300).contains(&status) {
        return None;
    }
    let code = match word {
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
    let description = body.pointer(&answer.error_description.0).and_then(Value::as_str);
    let mut mask = asked.profile.mask();
    asked.tokens.iter().for_each(|token| mask.add(token.expose()));
    let description = description.map(|text| mask.clean(text, MAX_DESCRIPTION));
    let error = Error::new(code, advice(code, asked.kind))
        .with_status(status)
        .with_server(is_token.then(|| mask.clean(word, MAX_SERVER_ERROR)), description);
    let verdict = if code == ErrorCode::ServerError { Verdict::Unknown } else { Verdict::Final };
    Some(Refusal { error, verdict })
}

/// What the reader can do about it.
fn advice(code: ErrorCode, kind: GrantKind) -> &'static str {
    match (code, kind) {
        (ErrorCode::InvalidClient, _) => {
            "the server refuses these client credentials: check the profile's client_id and client_secret"
        }
        (ErrorCode::InvalidGrant, GrantKind::RefreshToken) => "the server refuses the refresh token: sign in again",
        (ErrorCode::InvalidGrant, _) => "the server refuses this login: check the profile's username and password",
        (ErrorCode::AccessDenied, _) => "the server denies access: ask the vendor for the permission",
        (ErrorCode::Config, _) => {
            "the server cannot serve this request as configured: check base_url, grant, scope and variables"
        }
        (ErrorCode::ServerError, _) => "the server failed",
        _ => "the server reports an error in a success",
    }
}

fn token_type(asked: &Asked<'_>, answer: &Answer, body: &Value) -> std::result::Result<String, String> {
    let scheme = &asked.profile.provider.definition().attach.scheme;
    match body.pointer(&answer.token_type.0) {
        None | Some(Value::Null) => Ok("Bearer".to_owned()),
        // RFC 6749 5.1: the value is case-insensitive.
        Some(Value::String(kind)) if kind.eq_ignore_ascii_case("bearer") || kind.eq_ignore_ascii_case(scheme) => {
            Ok(kind.clone())
        }
        Some(Value::String(_)) => Err("the answer's token_type is neither Bearer nor the provider's scheme".into()),
        Some(_) => Err("the answer's token_type is no text".into()),
    }
}

/// `expires_in`, else `expires_at`, else the default, else a JWT's `exp`, else five minutes.
fn lifetime(
    asked: &Asked<'_>,
    answer: &Answer,
    body: &Value,
    access_token: &str,
) -> std::result::Result<Duration, String> {
    if let Some(lifetime) = seconds(body, &answer.expires_in.0, "expires_in")? {
        return Ok(lifetime);
    }
    if let Some(spec) = &answer.expires_at
        && let Some(value) = body.pointer(&spec.path.0).filter(|value| !value.is_null())
    {
        let at = value
            .as_str()
            .and_then(|text| moment(text, spec.zone))
            .ok_or("the answer's expires_at is no date and time")?;
        return Ok(at.saturating_sub(asked.sent_unix));
    }
    if let Some(lifetime) = asked.profile.default_lifetime {
        return Ok(lifetime);
    }
    if let Some(exp) = jwt_expiry(access_token) {
        return Ok(exp.saturating_sub(asked.sent_unix));
    }
    tracing::warn!(profile = %asked.profile.name, "the answer names no lifetime; five minutes are assumed, default_lifetime says better");
    Ok(FALLBACK_LIFETIME)
}

/// A date and time, in its own zone or else the one the provider file states; since 1970.
fn moment(text: &str, zone: crate::provider::Zone) -> Option<Duration> {
    let timestamp = text.parse::<jiff::Timestamp>().ok().or_else(|| {
        let civil = text.parse::<jiff::civil::DateTime>().ok()?;
        match zone {
            crate::provider::Zone::Utc => civil.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp()),
        }
    })?;
    Some(Duration::from_secs(timestamp.as_second().max(0) as u64))
}

/// The `exp` of something that looks like a JWT (RFC 7519 4.1.4). Not verified: it is read for a lifetime, not for trust.
fn jwt_expiry(token: &str) -> Option<Duration> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    let payload = json::parse(&URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?, false).ok()?;
    duration::from_seconds(payload.get("exp")?.as_f64()?.floor())
}

/// A number of seconds, or its text; fractions floored, negative ones zero, absurd ones cut later.
fn seconds(body: &Value, at: &str, name: &str) -> std::result::Result<Option<Duration>, String> {
    let number = match body.pointer(at) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.trim().parse::<f64>().ok(),
        Some(_) => None,
    };
    match number.filter(|number| !number.is_nan()) {
        Some(number) => Ok(Some(Duration::from_secs(number.floor().clamp(0.0, 1e12) as u64))),
        None => Err(format!("the answer's {name} is no number of seconds")),
    }
}

/// A token: visible ASCII without spaces (RFC 6750 2.1), so that it fits a header and nothing else gets in.
fn text_at(body: &Value, at: &str, name: &str) -> std::result::Result<Option<String>, String> {
    match body.pointer(at) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Err(format!("the answer's {name} is empty")),
        Some(Value::String(text)) if text.len() > MAX_TOKEN => {
            Err(format!("the answer's {name} is longer than 64 KiB"))
        }
        Some(Value::String(text)) if text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Some(text.clone())),
        Some(Value::String(_)) => {
            Err(format!("the answer's {name} holds spaces or characters that a token cannot have"))
        }
        Some(_) => Err(format!("the answer's {name} is no text")),
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
