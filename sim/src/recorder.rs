//! Whole requests to `/generic` and `/scripted`, kept for `/_sim/requests`: what the client really sent.

use crate::fields::{FieldError, Fields};
use crate::http::Request;
use crate::jose::Jwt;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use serde_json::{Map, Value, json};
use std::collections::VecDeque;

const KEPT_REQUESTS: usize = 1000;
/// Enough for every token request; what APIs are sent may be longer, and is cut.
const KEPT_BODY_BYTES: usize = 1 << 20;

/// A request as it came, read only when somebody asks for it.
#[derive(Debug)]
struct Recorded {
    vendor: &'static str,
    method: String,
    path: String,
    query: String,
    headers: HeaderMap,
    body: Bytes,
    status: Option<u16>,
}

/// The last requests, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    requests: VecDeque<Recorded>,
}

impl Recorder {
    /// Keeps a request; `status` is `None` where the connection was closed without an answer.
    pub(crate) fn keep(&mut self, vendor: &'static str, request: &Request, status: Option<u16>) {
        if self.requests.len() == KEPT_REQUESTS {
            self.requests.pop_front();
        }
        let below = request.path.strip_prefix('/').and_then(|path| path.strip_prefix(vendor));
        self.requests.push_back(Recorded {
            vendor,
            method: request.method.to_string(),
            path: below.unwrap_or(&request.path).to_owned(),
            query: request.query.clone(),
            headers: request.headers.clone(),
            body: request.body.slice(..request.body.len().min(KEPT_BODY_BYTES)),
            status,
        });
    }

    /// Answers `/_sim/requests`: those of a vendor and a path, or all; `forget` drops what it tells.
    pub(crate) fn tell(&mut self, mut fields: Fields) -> Result<Value, FieldError> {
        let vendor = fields.choice("vendor", &["generic", "scripted"])?;
        let path = fields.optional_text("path")?;
        let forget = fields.flag("forget")?.unwrap_or(false);
        fields.finish()?;
        let wanted = |request: &Recorded| {
            vendor.as_ref().is_none_or(|vendor| vendor == request.vendor)
                && path.as_ref().is_none_or(|path| *path == request.path)
        };
        let told: Vec<Value> = self.requests.iter().filter(|request| wanted(request)).map(Recorded::to_json).collect();
        if forget {
            self.requests.retain(|request| !wanted(request));
        }
        Ok(json!({"count": told.len(), "requests": told}))
    }
}

impl Recorded {
    fn to_json(&self) -> Value {
        let content_type = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let is_form = essence == "application/x-www-form-urlencoded";
        let form = if is_form { pairs(url::form_urlencoded::parse(&self.body)) } else { Map::new() };
        let is_json = essence == "application/json" || essence.ends_with("+json");
        let json: Value = is_json.then(|| serde_json::from_slice(&self.body).ok()).flatten().unwrap_or_default();
        let headers =
            pairs(self.headers.iter().map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes()))));
        let parameters = pairs(url::form_urlencoded::parse(self.query.as_bytes()));
        let mut jwts = Map::new();
        let members = json.as_object().into_iter().flatten();
        for (name, value) in form.iter().chain(members).chain(headers.get_key_value("dpop")) {
            if let Some(jwt) = value.as_str().and_then(Jwt::parse) {
                jwts.insert(name.clone(), jwt.to_json());
            }
        }
        json!({
            "vendor": self.vendor,
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "parameters": parameters,
            "headers": headers,
            "body": String::from_utf8_lossy(&self.body),
            "form": if is_form { Value::Object(form) } else { Value::Null },
            "json": json,
            "jwts": jwts,
            "status": self.status,
        })
    }
}

/// An object; what comes more than once is a list.
fn pairs<N: AsRef<str>, V: AsRef<str>>(pairs: impl Iterator<Item = (N, V)>) -> Map<String, Value> {
    let mut map = Map::new();
    for (name, value) in pairs {
        let value = Value::from(value.as_ref());
        match map.get_mut(name.as_ref()) {
            None => drop(map.insert(name.as_ref().to_owned(), value)),
            Some(Value::Array(list)) => list.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    map
}
