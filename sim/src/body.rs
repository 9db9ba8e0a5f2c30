//! From a [`Reply`] to the bytes on the wire, including a body that breaks off half-way.

use crate::http::{Content, Reply};
use flate2::{Compression, write::GzEncoder};
use hyper::Response;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{self, HeaderValue};
use serde_json::Value;
use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Why a connection ends without a (whole) answer: a fault asked for it.
#[derive(Debug)]
pub(crate) struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection is cut on request")
    }
}

impl std::error::Error for Cut {}

/// A body of known length. A cut one promises its whole length, sends half of it and then fails.
#[derive(Debug)]
pub(crate) struct SimBody {
    data: Option<Bytes>,
    length: u64,
    cut: CutState,
}

#[derive(Debug, PartialEq)]
enum CutState {
    Whole,
    Half,
    /// One turn for the connection to flush what it has.
    Flushing,
    Failing,
}

impl SimBody {
    pub(crate) fn whole(data: Bytes) -> Self {
        let length = data.len() as u64;
        Self { data: (length > 0).then_some(data), length, cut: CutState::Whole }
    }

    /// An empty body is announced as one byte long, so that the cut shows.
    pub(crate) fn half(data: Bytes) -> Self {
        let length = (data.len() as u64).max(1);
        Self { data: Some(data.slice(..data.len() / 2)), length, cut: CutState::Half }
    }
}

impl Body for SimBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match self.cut {
            CutState::Whole => Poll::Ready(self.data.take().map(|data| Ok(Frame::data(data)))),
            CutState::Half => {
                self.cut = CutState::Flushing;
                Poll::Ready(Some(Ok(Frame::data(self.data.take().unwrap_or_default()))))
            }
            CutState::Flushing => {
                self.cut = CutState::Failing;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            CutState::Failing => Poll::Ready(Some(Err(Cut))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.cut == CutState::Whole && self.data.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}

/// Renders an answer. `date` is the simulator's time, which the `Date` header tells.
pub(crate) fn render(reply: Reply, date: HeaderValue, cut_half_way: bool) -> Response<SimBody> {
    const JSON: Option<&str> = Some("application/json");
    let mut gzipped = false;
    let (content_type, bytes) = match reply.body {
        Content::Empty => (None, Bytes::new()),
        Content::Json(value) => (JSON.map(HeaderValue::from_static), Bytes::from(value.to_string())),
        Content::JsonWithRawLineBreaks(value) => {
            (JSON.map(HeaderValue::from_static), Bytes::from(with_raw_line_breaks(&value)))
        }
        Content::Raw { content_type, bytes } => {
            (content_type.and_then(|text| HeaderValue::from_str(&text).ok()), bytes)
        }
        Content::Filler { bytes, gzip } => {
            gzipped = gzip;
            (Some(HeaderValue::from_static("text/plain")), filler(bytes, gzip))
        }
    };
    let body = if cut_half_way { SimBody::half(bytes) } else { SimBody::whole(bytes) };
    let mut response = Response::new(body);
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    headers.insert(header::DATE, date);
    if let Some(content_type) = content_type {
        headers.insert(header::CONTENT_TYPE, content_type);
    }
    if gzipped {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    // A header that is there several times in the answer goes out so; one that is set here already is replaced.
    let mut set = Vec::new();
    for (name, value) in reply.headers {
        if set.contains(&name) {
            headers.append(name, value);
        } else {
            headers.insert(&name, value);
            set.push(name);
        }
    }
    response
}

/// The JSON text with each `\n` escape replaced by the line break itself, which strict JSON forbids.
fn with_raw_line_breaks(value: &Value) -> String {
    let text = format!("{value:#}");
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match (char, if char == '\\' { chars.next() } else { None }) {
            ('\\', Some('n')) => out.push('\n'),
            (char, Some(escaped)) => out.extend([char, escaped]),
            (char, None) => out.push(char),
        }
    }
    out
}

fn filler(bytes: usize, gzip: bool) -> Bytes {
    let text: Vec<u8> = b"0123456789abcdef".iter().copied().cycle().take(bytes).collect();
    if !gzip {
        return Bytes::from(text);
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let packed = encoder.write_all(&text).and_then(|()| encoder.finish());
    Bytes::from(packed.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn line_breaks_become_raw_and_escaped_backslashes_stay() {
        let text = with_raw_line_breaks(&json!({"note": "a\nb\\n\"c"}));
        assert!(text.contains("\"a\nb\\\\n\\\"c\""), "{text}");
        assert!(serde_json::from_str::<Value>(&text).is_err());
    }
}
