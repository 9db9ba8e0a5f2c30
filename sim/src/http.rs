//! A request as the vendors read it, and the answer they give, before either meets a socket.

use crate::fields::{FieldError, Fields};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

/// A whole request, read to its end.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Scheme and authority under which the client reached the simulator.
    pub(crate) origin: String,
    /// The thumbprint (`x5t#S256`) of the certificate that the client showed, if it did.
    pub(crate) certificate: Option<String>,
}

impl Request {
    /// The path's segments, percent-decoded. `/a/` has an empty last one, and so is another path than `/a`.
    pub(crate) fn segments(&self) -> Vec<String> {
        let path = self.path.strip_prefix('/').unwrap_or(&self.path);
        path.split('/').map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned()).collect()
    }

    /// The one value of a header, where there is exactly one and it is visible ASCII.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok(),
            _ => None,
        }
    }

    pub(crate) fn allow(&self, methods: &[Method]) -> Result<(), Reply> {
        if methods.contains(&self.method) {
            return Ok(());
        }
        let allowed = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
        let text = format!("{} is not allowed here; allowed: {allowed}", self.method);
        Err(Reply::error(405, "method_not_allowed", &text).with(header::ALLOW, &allowed))
    }

    fn expect_content_type(&self, wanted: &str) -> Result<(), Reply> {
        let given = self.header("content-type").unwrap_or_default();
        let essence = given.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case(wanted) {
            return Ok(());
        }
        let text = format!("Content-Type: must be {wanted}, not {given:?}");
        Err(Reply::error(415, "unsupported_media_type", &text))
    }

    pub(crate) fn json(&self) -> Result<Fields, Reply> {
        self.expect_content_type("application/json")?;
        Ok(Fields::from_json(&self.body)?)
    }

    pub(crate) fn form(&self) -> Result<Fields, Reply> {
        self.expect_content_type("application/x-www-form-urlencoded")?;
        Ok(Fields::from_form(&self.body)?)
    }

    /// The two halves of HTTP Basic as they are, not form-decoded; `None` if there is no such header in good order.
    pub(crate) fn basic_pair(&self) -> Option<(String, String)> {
        let bytes = STANDARD.decode(self.header("authorization")?.strip_prefix("Basic ")?).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        text.split_once(':').map(|(id, secret)| (id.to_owned(), secret.to_owned()))
    }

    /// The client's id and secret of HTTP Basic, form-encoded inside (RFC 6749 2.3.1).
    pub(crate) fn basic_client(&self) -> Result<Option<(String, String)>, Reply> {
        if !self.headers.contains_key(header::AUTHORIZATION) {
            return Ok(None);
        }
        let client = self.basic_pair().and_then(|(id, secret)| Some((form_decode(&id)?, form_decode(&secret)?)));
        client.map(Some).ok_or_else(|| FieldError::new("Authorization", "must be Basic with id and secret").into())
    }

    /// A form whose fields may be unknown, and those of `lists` repeated.
    pub(crate) fn form_with_lists(&self, lists: &[&str]) -> Result<Fields, Reply> {
        self.expect_content_type("application/x-www-form-urlencoded")?;
        Ok(Fields::from_form_with_lists(&self.body, lists)?)
    }

    pub(crate) fn query_fields(&self) -> Result<Fields, Reply> {
        Ok(Fields::from_form(self.query.as_bytes())?)
    }

    /// What every token endpoint wants: POST, and nothing in the query, where secrets would end in logs.
    pub(crate) fn allow_token_post(&self) -> Result<(), Reply> {
        self.allow(&[Method::POST])?;
        match self.query.is_empty() {
            true => Ok(()),
            false => Err(FieldError::new("query", "the token endpoint takes none").into()),
        }
    }

    /// The same where the vendor takes credentials in the body only.
    pub(crate) fn allow_token_request(&self) -> Result<(), Reply> {
        self.allow_token_post()?;
        if self.headers.contains_key(header::AUTHORIZATION) {
            return Err(
                FieldError::new("Authorization", "the token endpoint takes credentials in the body only").into()
            );
        }
        Ok(())
    }
}

/// Undoes the form encoding of one text.
pub(crate) fn form_decode(text: &str) -> Option<String> {
    percent_decode_str(&text.replace('+', " ")).decode_utf8().ok().map(|text| text.into_owned())
}

/// What to answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Content,
}

/// The body of a [`Reply`], rendered only when it goes out, so that faults can still change its members.
#[derive(Debug)]
pub(crate) enum Content {
    Empty,
    Json(Box<Value>),
    /// JSON with raw line breaks inside its strings, as Quartile sends it.
    JsonWithRawLineBreaks(Box<Value>),
    Raw {
        content_type: Option<String>,
        bytes: Bytes,
    },
    /// Text of a given size, compressed if asked.
    Filler {
        bytes: usize,
        gzip: bool,
    },
}

impl Reply {
    pub(crate) fn empty(status: u16) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, headers: Vec::new(), body: Content::Empty }
    }

    pub(crate) fn json(status: u16, body: Value) -> Self {
        Self { body: Content::Json(Box::new(body)), ..Self::empty(status) }
    }

    /// The answer of a token endpoint: never to be cached (RFC 6749 5.1).
    pub(crate) fn token(status: u16, body: Value) -> Self {
        Self::json(status, body).with(header::CACHE_CONTROL, "no-store").with(header::PRAGMA, "no-cache")
    }

    pub(crate) fn error(status: u16, error: &str, description: &str) -> Self {
        Self::json(status, json!({"error": error, "error_description": description}))
    }

    pub(crate) fn not_found() -> Self {
        Self::error(404, "not_found", "there is nothing at this path")
    }

    /// 401 for a missing, unknown, dead or expired token (RFC 6750 3).
    pub(crate) fn unauthorized(description: &str) -> Self {
        Self::challenge("Bearer", "invalid_token", description)
    }

    /// 401 of an API, with the scheme of the token that it wants.
    pub(crate) fn challenge(scheme: &str, error: &str, description: &str) -> Self {
        Self::error(401, error, description).with(header::WWW_AUTHENTICATE, &format!("{scheme} error=\"{error}\""))
    }

    pub(crate) fn forbidden(description: &str) -> Self {
        Self::error(403, "access_denied", description)
    }

    pub(crate) fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }
}

impl From<FieldError> for Reply {
    fn from(error: FieldError) -> Self {
        Reply::error(400, "invalid_request", &error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap()))
            .collect();
        let (path, origin) = ("/a%20b/".to_owned(), "http://127.0.0.1".to_owned());
        Request {
            method: Method::POST,
            path,
            query: String::new(),
            headers,
            body: Bytes::from("{}"),
            origin,
            certificate: None,
        }
    }

    #[test]
    fn segments_are_decoded_and_a_trailing_slash_counts() {
        assert_eq!(request(&[]).segments(), ["a b", ""]);
    }

    #[test]
    fn a_content_type_may_carry_parameters_but_must_be_there() {
        assert!(request(&[("content-type", "application/json; charset=utf-8")]).json().is_ok());
        assert_eq!(request(&[]).json().unwrap_err().status, 415);
        assert_eq!(request(&[("content-type", "application/jsonx")]).json().unwrap_err().status, 415);
    }
}
