//! The places of an answer: a member of its JSON, a header, a cookie, its whole text.

use std::time::{Duration, UNIX_EPOCH};

use reqwest::header::SET_COOKIE;
use serde_json::Value;

use super::{MAX_TOKEN, Refusal, describe, unreadable};
use crate::json;
use crate::provider::{Answer, Part};
use crate::transport::HttpResponse;

/// An answer, its body parsed where one of its parts stands there.
pub(super) struct Parts<'a> {
    pub(super) response: &'a HttpResponse,
    json: Option<Value>,
}

impl<'a> Parts<'a> {
    /// For a success: a body in which the access token should stand must be JSON.
    pub(super) fn read(answer: &Answer, response: &'a HttpResponse) -> Result<Parts<'a>, Refusal> {
        let parsed = json::parse(&response.body, answer.control_characters_in_strings);
        let needed = matches!(&answer.access_token, Part::Pointer(_));
        let json = match parsed {
            // A text alone is a JSON document too; some APIs answer with just the quoted token.
            Ok(json) if json.is_object() || json.is_array() || !needed => Some(json),
            Ok(_) => return Err(unreadable("the answer is JSON but no object".into())),
            Err(_) if !needed => None,
            Err(fault) => {
                return Err(unreadable(format!("the answer is not JSON ({}): {fault}", describe(response))));
            }
        };
        Ok(Parts { response, json })
    }

    /// For a refusal, which may have any body or none.
    pub(super) fn of_refusal(answer: &Answer, response: &'a HttpResponse) -> Parts<'a> {
        Parts { response, json: json::parse(&response.body, answer.control_characters_in_strings).ok() }
    }

    pub(super) fn get(&self, part: &Part) -> Option<Value> {
        match part {
            Part::Pointer(pointer) => self.json.as_ref()?.pointer(&pointer.0).cloned(),
            Part::Header(name) => {
                let value = self.response.headers.get(name.as_str())?;
                Some(Value::from(value.to_str().ok()?.trim()))
            }
            Part::Cookie(name) => self.cookie(name).map(|(value, _)| Value::from(value)),
            // `"abc"` with quotation marks is the JSON text abc.
            Part::Text => match &self.json {
                Some(Value::String(text)) => Some(Value::from(text.trim())),
                _ => Some(Value::from(std::str::from_utf8(&self.response.body).ok()?.trim())),
            },
        }
    }

    /// The same as text: numbers and booleans as they are written.
    pub(super) fn text(&self, part: &Part) -> Option<String> {
        match self.get(part)? {
            Value::String(text) => Some(text),
            value @ (Value::Number(_) | Value::Bool(_)) => Some(value.to_string()),
            _ => None,
        }
    }

    /// A token: visible ASCII without spaces (RFC 6750 2.1), so that it fits a header and nothing else gets in.
    pub(super) fn token(&self, part: &Part, name: &str) -> Result<Option<String>, String> {
        match self.get(part) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Err(format!("the answer's {name} is empty")),
            Some(Value::String(text)) if text.len() > MAX_TOKEN => {
                Err(format!("the answer's {name} is longer than 64 KiB"))
            }
            Some(Value::String(text)) if text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Some(text)),
            Some(Value::String(_)) => {
                Err(format!("the answer's {name} holds spaces or characters that a token cannot have"))
            }
            Some(_) => Err(format!("the answer's {name} is no text")),
        }
    }

    /// The end that the server gave a cookie (RFC 6265 5.2.1, 5.2.2): `Max-Age` before `Expires`.
    pub(super) fn cookie_lifetime(&self, name: &str, now_unix: Duration) -> Option<Duration> {
        let (_, attributes) = self.cookie(name)?;
        let attribute = |wanted: &str| {
            attributes.split(';').find_map(|pair| {
                let (key, value) = pair.split_once('=')?;
                key.trim().eq_ignore_ascii_case(wanted).then(|| value.trim())
            })
        };
        if let Some(seconds) = attribute("max-age").and_then(|value| value.parse::<i64>().ok()) {
            return Some(Duration::from_secs(seconds.max(0) as u64));
        }
        let end = httpdate::parse_http_date(attribute("expires")?).ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(end.saturating_sub(now_unix))
    }

    /// A cookie's value and attributes; the last one of that name counts, as in a browser.
    fn cookie(&self, name: &str) -> Option<(&str, &str)> {
        let cookies = self.response.headers.get_all(SET_COOKIE).iter().rev().filter_map(|value| value.to_str().ok());
        cookies
            .filter_map(|cookie| {
                let (pair, attributes) = cookie.split_once(';').unwrap_or((cookie, ""));
                let (own, value) = pair.split_once('=')?;
                (own.trim() == name).then(|| (value.trim().trim_matches('"'), attributes))
            })
            .next()
    }
}
