//! Paths that every vendor's API has, for trying a client out: `forbidden`, `redirect`, `echo`, `large`.

use super::Answer;
use crate::http::{Content, Reply, Request};
use hyper::Method;
use hyper::header::{self, HeaderName};
use serde_json::{Map, Value, json};

const MOST_BYTES: u64 = 64 << 20;

/// Judges the path and the method, before the token is looked at.
pub(super) fn allow(name: &str, request: &Request) -> Result<(), Reply> {
    match name {
        "echo" => Ok(()),
        "forbidden" | "redirect" | "large" => request.allow(&[Method::GET]),
        _ => Err(Reply::not_found()),
    }
}

/// The answer to a request whose token is good.
pub(super) fn answer(name: &str, request: &Request) -> Answer {
    match name {
        "echo" => Ok(echo(request, shown)),
        "forbidden" => Err(Reply::forbidden("this token has no permission for this resource")),
        "redirect" => Ok(Reply::empty(302).with(header::LOCATION, "/elsewhere")),
        "large" => large(request),
        _ => Err(Reply::not_found()),
    }
}

/// The same with the token visible, for a vendor whose tokens are worth looking at.
pub(super) fn open_echo(request: &Request) -> Reply {
    echo(request, joined)
}

fn echo(request: &Request, shown: fn(&HeaderName, &Request) -> String) -> Reply {
    let mut headers = Map::new();
    for name in request.headers.keys() {
        headers.insert(name.as_str().to_owned(), Value::String(shown(name, request)));
    }
    Reply::json(
        200,
        json!({
            "method": request.method.as_str(),
            "path": request.path,
            "query": request.query,
            "headers": headers,
            "body_bytes": request.body.len(),
            "body": String::from_utf8_lossy(&request.body),
        }),
    )
}

fn shown(name: &HeaderName, request: &Request) -> String {
    if name == header::AUTHORIZATION {
        return "present".to_owned();
    }
    joined(name, request)
}

fn joined(name: &HeaderName, request: &Request) -> String {
    let values = request.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    values.collect::<Vec<_>>().join(", ")
}

fn large(request: &Request) -> Answer {
    let mut query = request.query_fields()?;
    let bytes = query.text("bytes")?.parse::<u64>().ok().filter(|bytes| *bytes <= MOST_BYTES);
    let bytes = bytes.ok_or_else(|| {
        Reply::error(400, "invalid_request", &format!("bytes: must be a number, at most {MOST_BYTES}"))
    })?;
    let gzip = match query.optional_text("gzip")?.as_deref() {
        None | Some("0") => false,
        Some("1") => true,
        Some(_) => return Err(Reply::error(400, "invalid_request", "gzip: must be 0 or 1")),
    };
    query.finish()?;
    Ok(Reply { body: Content::Filler { bytes: bytes as usize, gzip }, ..Reply::empty(200) })
}
