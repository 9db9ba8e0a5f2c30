//! How long a token lives, by what the answer says and the provider knows.

use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::Asked;
use super::parts::Parts;
use crate::duration;
use crate::json;
use crate::provider::{Instant, Part, Span, Unit, Zone};

/// Where neither the answer nor the provider names a lifetime. Never "for ever".
pub(super) const FALLBACK: Duration = Duration::from_secs(300);

type Read<T> = std::result::Result<T, String>;

/// What the provider fixes, else `expires_in`, else `expires_at`, else a cookie's own end, else the default, else a JWT's
/// `exp`, else five minutes.
pub(super) fn of_access_token(asked: &Asked<'_>, parts: &Parts<'_>, access_token: &str) -> Read<Duration> {
    let provider = &asked.profile.provider.definition().lifetime;
    let since_sent = |at: Duration| at.saturating_sub(asked.sent_unix);
    if let Some(fixed) = provider.fixed {
        return Ok(fixed);
    }
    if provider.from_exp {
        let exp = jwt_expiry(access_token).ok_or("the access token is no JWT with exp, which from_exp reads")?;
        return Ok(since_sent(exp));
    }
    if let Some(lifetime) = span(parts, &asked.answer.expires_in, "expires_in")? {
        return Ok(lifetime);
    }
    if let Some(spec) = &asked.answer.expires_at
        && let Some(value) = parts.get(&spec.at).filter(|value| !value.is_null())
    {
        return instant(&value, spec).map(since_sent).ok_or("the answer's expires_at is no date and time".into());
    }
    if let Part::Cookie(name) = &asked.answer.access_token
        && let Some(lifetime) = parts.cookie_lifetime(name, asked.sent_unix)
    {
        return Ok(lifetime);
    }
    if let Some(lifetime) = asked.profile.default_lifetime {
        return Ok(lifetime);
    }
    if let Some(exp) = jwt_expiry(access_token) {
        return Ok(since_sent(exp));
    }
    tracing::warn!(profile = %asked.profile.name, "the answer names no lifetime; five minutes are assumed, default_lifetime says better");
    Ok(FALLBACK)
}

/// A number, or its text; fractions of a second floored, negative ones zero, absurd ones cut later.
pub(super) fn span(parts: &Parts<'_>, span: &Span, name: &str) -> Read<Option<Duration>> {
    match parts.get(&span.at) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match number(&value) {
            Some(number) => Ok(Some(whole_seconds(number, span.unit))),
            None => Err(format!("the answer's {name} is no number of {}", unit_name(span.unit))),
        },
    }
}

fn whole_seconds(number: f64, unit: Unit) -> Duration {
    Duration::from_secs((number * unit.seconds()).floor().clamp(0.0, 1e12) as u64)
}

fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse::<f64>().ok(),
        _ => None,
    };
    number.filter(|number| !number.is_nan())
}

fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::Milliseconds => "milliseconds",
        Unit::Seconds => "seconds",
        Unit::Minutes => "minutes",
        Unit::Hours => "hours",
        Unit::Days => "days",
    }
}

/// A moment since 1970: a number of the stated unit, RFC 3339, an HTTP date, or a date and time in the stated zone.
fn instant(value: &Value, spec: &Instant) -> Option<Duration> {
    if let Some(number) = number(value) {
        return Some(whole_seconds(number, spec.unit));
    }
    let text = value.as_str()?.trim();
    if let Ok(timestamp) = text.parse::<jiff::Timestamp>() {
        return Some(since_1970(timestamp));
    }
    if let Ok(date) = httpdate::parse_http_date(text) {
        return date.duration_since(UNIX_EPOCH).ok();
    }
    let Zone(zone) = spec.zone.as_ref()?;
    let civil = text.parse::<jiff::civil::DateTime>().ok()?;
    Some(since_1970(civil.to_zoned(zone.clone()).ok()?.timestamp()))
}

fn since_1970(timestamp: jiff::Timestamp) -> Duration {
    Duration::from_secs(timestamp.as_second().max(0) as u64)
}

/// The `exp` of something that looks like a JWT (RFC 7519 4.1.4). Not verified: it is read for a lifetime, not for trust.
pub(super) fn jwt_expiry(token: &str) -> Option<Duration> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    let payload = json::parse(&URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?, false).ok()?;
    duration::from_seconds(payload.get("exp")?.as_f64()?.floor())
}
