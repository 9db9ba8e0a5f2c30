//! A vendor without rules: it answers what `POST /_sim/script` told it to.

use super::{Answer, Revocation, Vendor, Visit, form_grant};
use crate::fields::{FieldError, Fields};
use crate::http::{Content, Reply, Request};
use crate::ledger::{Endpoint, Ledger, Settings};
use hyper::body::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};

/// One answer, `{n}` still in it.
#[derive(Debug)]
struct Scripted {
    status: StatusCode,
    headers: Vec<(HeaderName, String)>,
    body: Body,
    /// How many times it is still to be given before the next one's turn.
    times: u64,
}

#[derive(Debug)]
enum Body {
    None,
    Json(Value),
    Text(String),
}

/// The answers for one method and path.
#[derive(Debug, Default)]
struct Route {
    queue: VecDeque<Scripted>,
    answered: u64,
}

impl Route {
    fn next(&mut self) -> Option<Reply> {
        while self.queue.len() > 1 && self.queue.front().is_some_and(|front| front.times == 0) {
            self.queue.pop_front();
        }
        let front = self.queue.front_mut()?;
        front.times = front.times.saturating_sub(1);
        self.answered += 1;
        Some(front.reply(&self.answered.to_string()))
    }
}

impl Scripted {
    fn reply(&self, number: &str) -> Reply {
        let fill = |text: &str| text.replace("{n}", number);
        let body = match &self.body {
            Body::None => Content::Empty,
            Body::Json(value) => Content::Json(Box::new(fill_json(value, &fill))),
            Body::Text(text) => {
                let text = fill(text);
                let is_json = serde_json::from_str::<Value>(&text).is_ok();
                let guess = if is_json { "application/json" } else { "text/plain" };
                Content::Raw { content_type: Some(guess.to_owned()), bytes: Bytes::from(text) }
            }
        };
        let headers = self
            .headers
            .iter()
            .filter_map(|(name, value)| HeaderValue::from_str(&fill(value)).ok().map(|value| (name.clone(), value)));
        Reply { status: self.status, headers: headers.collect(), body }
    }
}

fn fill_json(value: &Value, fill: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(fill(text)),
        Value::Array(list) => list.iter().map(|item| fill_json(item, fill)).collect(),
        Value::Object(map) => map.iter().map(|(name, value)| (name.clone(), fill_json(value, fill))).collect(),
        other => other.clone(),
    }
}

/// The vendor: its scripts by method and path.
#[derive(Debug, Default)]
pub(super) struct ScriptedVendor {
    routes: HashMap<(Method, String), Route>,
}

/// What comes below `/scripted`, as it was sent; the vendor itself is `/`.
fn below(request: &Request) -> &str {
    match request.path.strip_prefix("/scripted") {
        None | Some("") => "/",
        Some(path) => path,
    }
}

impl ScriptedVendor {
    /// Takes all the replies in or, if one is wrong, none.
    fn script(&mut self, mut fields: Fields) -> Result<(), FieldError> {
        let (replies, clear) = (fields.optional_list("replies")?, fields.flag("clear")?.unwrap_or(false));
        fields.finish()?;
        if replies.is_none() && !clear {
            return Err(FieldError::new("replies", "is missing; or give \"clear\""));
        }
        let parsed: Vec<_> = replies.unwrap_or_default().into_iter().map(parse).collect::<Result<_, _>>()?;
        if clear {
            self.routes.clear();
        }
        for (route, reply) in parsed {
            self.routes.entry(route).or_default().queue.push_back(reply);
        }
        Ok(())
    }
}

fn parse(mut fields: Fields) -> Result<((Method, String), Scripted), FieldError> {
    let method = fields.optional_text("method")?.unwrap_or_else(|| "POST".to_owned()).to_ascii_uppercase();
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| fields.error("method", "is not a method"))?;
    let path = fields.text("path")?;
    if !path.starts_with('/') || path.contains(['?', '#']) {
        return Err(fields.error("path", "must begin with \"/\" and have no query"));
    }
    let status = fields.count("status")?.unwrap_or(200);
    let status = u16::try_from(status).ok().filter(|status| (200..600).contains(status));
    let status = status.and_then(|status| StatusCode::from_u16(status).ok());
    let status = status.ok_or_else(|| fields.error("status", "must be from 200 to 599"))?;
    let headers = headers(&mut fields)?;
    let body = match (fields.value("json"), fields.value("body")) {
        (None, None) => Body::None,
        (Some(json), None) => Body::Json(json),
        (None, Some(Value::String(text))) => Body::Text(text),
        (None, Some(_)) => return Err(fields.error("body", "must be a string; \"json\" takes the rest")),
        (Some(_), Some(_)) => return Err(fields.error("body", "cannot be given beside \"json\"")),
    };
    let times = fields.count("times")?.unwrap_or(1);
    if times == 0 {
        return Err(fields.error("times", "must be at least 1"));
    }
    fields.finish()?;
    Ok(((method, path), Scripted { status, headers, body, times }))
}

fn headers(fields: &mut Fields) -> Result<Vec<(HeaderName, String)>, FieldError> {
    let mut headers = Vec::new();
    for (name, value) in fields.optional_map("headers")?.unwrap_or_default() {
        let wrong = |problem| fields.error(&format!("headers.{name}"), problem);
        let parsed: HeaderName = name.parse().map_err(|_| wrong("is not a header name"))?;
        if ["content-length", "transfer-encoding", "connection"].contains(&parsed.as_str()) {
            return Err(wrong("is set by the server itself"));
        }
        let values = match value {
            Value::Array(list) => list,
            one => vec![one],
        };
        for value in values {
            let text = value.as_str().filter(|text| HeaderValue::from_str(text).is_ok());
            let text = text.ok_or_else(|| wrong("must be a string, or a list of them, without control characters"))?;
            headers.push((parsed.clone(), text.to_owned()));
        }
    }
    Ok(headers)
}

impl Vendor for ScriptedVendor {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn ledger(&self) -> Ledger {
        let mut ledger = Ledger::new(Settings::new(3600.0, 86_400.0), &super::GRANTS);
        ledger.counters.unscripted = Some(0);
        ledger
    }

    fn endpoint(&self, path: &[&str]) -> Endpoint {
        if path.first() == Some(&"api") { Endpoint::Api } else { Endpoint::Token }
    }

    fn grant(&self, _path: &[&str], request: &Request) -> Option<String> {
        form_grant(request)
    }

    fn recorded(&self) -> bool {
        true
    }

    fn answer(&mut self, _path: &[&str], visit: Visit<'_>) -> Answer {
        let route = (visit.request.method.clone(), below(visit.request).to_owned());
        if let Some(reply) = self.routes.get_mut(&route).and_then(Route::next) {
            return Ok(reply);
        }
        if let Some(unscripted) = &mut visit.ledger.counters.unscripted {
            *unscripted += 1;
        }
        let text = format!("no script has {} {}", route.0, route.1);
        Err(Reply::error(404, "not_found", &text))
    }

    fn control(&mut self, name: &str, fields: Fields, ledger: &mut Ledger, _now: f64) -> Result<Value, FieldError> {
        if name != "script" {
            return Err(FieldError::new("vendor", "scripted has no such rule"));
        }
        self.script(fields)?;
        Ok(json!({"routes": self.routes.len(), "unscripted": ledger.counters.unscripted}))
    }

    fn credentials(&self) -> Value {
        json!({})
    }

    fn set_credentials(&mut self, _fields: Fields) -> Result<(), FieldError> {
        Err(FieldError::new("vendor", "scripted asks for no credentials"))
    }

    fn revoke(&mut self, _ledger: &mut Ledger, _what: &Revocation) -> Result<(), FieldError> {
        Err(FieldError::new("vendor", "scripted has nothing that could be revoked"))
    }
}
