//! Everything that a request can change, and the path of a request through it.

use crate::clock::SimClock;
use crate::control;
use crate::faults::{self, Action};
use crate::http::{Content, Reply, Request};
use crate::ledger::{Endpoint, Ledger};
use crate::recorder::Recorder;
use crate::vendors::{self, Vendor, Visit};
use hyper::header::{AUTHORIZATION, HeaderValue};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

const LOGGED_REQUESTS: usize = 1000;

/// A vendor and its books.
pub(crate) struct Shop {
    pub(crate) vendor: Box<dyn Vendor>,
    pub(crate) ledger: Ledger,
}

/// One request in `GET /_sim/state`: no query, no body, no header.
#[derive(Debug)]
pub(crate) struct Logged {
    vendor: &'static str,
    method: String,
    path: String,
    /// `None` where the connection was closed without an answer.
    status: Option<u16>,
    token_request: bool,
    authorization: bool,
}

impl Logged {
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "vendor": self.vendor,
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "token_request": self.token_request,
            "authorization": self.authorization,
        })
    }
}

/// What becomes of a request.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Waited before anything else happens on the wire.
    pub(crate) delay: Duration,
    /// `None`: the connection ends without an answer.
    pub(crate) reply: Option<Reply>,
    pub(crate) cut_half_way: bool,
    /// The simulator's time, for the `Date` header.
    pub(crate) date: HeaderValue,
}

/// The whole simulator, without its sockets.
pub(crate) struct World {
    pub(crate) clock: SimClock,
    pub(crate) shops: [Shop; 7],
    pub(crate) log: VecDeque<Logged>,
    pub(crate) recorder: Recorder,
    date: (u64, HeaderValue),
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            clock: SimClock::default(),
            shops: vendors::all().map(|vendor| Shop { ledger: vendor.ledger(), vendor }),
            log: VecDeque::new(),
            recorder: Recorder::default(),
            date: (0, HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT")),
        }
    }

    /// Takes a request in: its effects are complete when this returns, whatever the client does meanwhile.
    pub(crate) fn take(&mut self, request: &Request) -> Outcome {
        let segments = request.segments();
        let path: Vec<&str> = segments.iter().map(String::as_str).collect();
        let (first, rest) = (path[0], &path[1..]);
        if first == "_sim" {
            let reply = control::answer(self, rest, request).unwrap_or_else(|refused| refused);
            return self.outcome(0, Some(reply));
        }
        if path == ["elsewhere"] {
            self.note(request, "elsewhere", Some(200), false);
            let carried = request.headers.contains_key(AUTHORIZATION);
            return self.outcome(0, Some(Reply::json(200, json!({"elsewhere": true, "authorization": carried}))));
        }
        // RFC 8414 3.1: the well-known part comes between the host and the issuer's path.
        if let [".well-known", "oauth-authorization-server", "generic"] = path[..] {
            let index = self.shops.iter().position(|shop| shop.vendor.name() == "generic");
            return self.visit(index.unwrap_or_default(), &path, request);
        }
        match self.shops.iter().position(|shop| shop.vendor.name() == first) {
            Some(index) => self.visit(index, rest, request),
            None => {
                let text = "no such vendor; there are quantaprice, quiqup, quable, quartile, qpay, generic, scripted, and _sim";
                self.outcome(0, Some(Reply::error(404, "not_found", text)))
            }
        }
    }

    /// For a request that was not read to its end, and so cannot be taken in.
    pub(crate) fn refuse_long_body(&mut self, most: usize) -> Outcome {
        let text = format!("body: must not be longer than {most} bytes");
        self.outcome(0, Some(Reply::error(413, "invalid_request", &text)))
    }

    fn visit(&mut self, index: usize, path: &[&str], request: &Request) -> Outcome {
        let now = self.clock.now();
        let Shop { vendor, ledger } = &mut self.shops[index];
        let name = vendor.name();
        let endpoint = vendor.endpoint(path);
        let is_token = endpoint == Endpoint::Token;
        let mut delay_ms = if is_token { ledger.settings.delay_ms } else { ledger.settings.api_delay_ms };
        if is_token {
            ledger.counters.token_requests += 1;
            if let Some(grant) = vendor.grant(path, request) {
                ledger.counters.count_grant(&grant);
            }
        } else {
            ledger.counters.api_requests += 1;
            if let Some(part) = vendor.part(path) {
                ledger.counters.count_part(part);
            }
        }
        let fault = ledger.faults(endpoint).next();
        let applies = fault.as_ref().is_none_or(|fault| fault.action.applies_request());
        let answered = applies.then(|| {
            let visit = Visit { ledger: &mut *ledger, now, request };
            vendor.answer(path, visit).unwrap_or_else(|refused| refused)
        });
        let (mut reply, mut cut_half_way) = (answered, false);
        if let Some(fault) = fault {
            ledger.counters.faults_served += 1;
            delay_ms = delay_ms.saturating_add(fault.delay_ms);
            match fault.action {
                Action::Delay => {}
                Action::CloseBefore | Action::CloseAfter => reply = None,
                Action::CloseInBody => cut_half_way = true,
                Action::Edit { replace, remove } => {
                    if let Some(reply) = &mut reply {
                        faults::edit(reply, replace, &remove);
                    }
                }
                Action::Answer { status, headers, content_type, body: bytes, .. } => {
                    reply = Some(Reply { status, headers, body: Content::Raw { content_type, bytes } });
                }
            }
        }
        let status = reply.as_ref().map(|reply| reply.status.as_u16());
        if !is_token && status == Some(401) {
            ledger.counters.api_unauthorized += 1;
        }
        if vendor.recorded() {
            self.recorder.keep(name, request, status);
        }
        self.note(request, name, status, is_token);
        Outcome { cut_half_way, ..self.outcome(delay_ms, reply) }
    }

    fn note(&mut self, request: &Request, vendor: &'static str, status: Option<u16>, token_request: bool) {
        if self.log.len() == LOGGED_REQUESTS {
            self.log.pop_front();
        }
        let (method, path) = (request.method.to_string(), request.path.clone());
        let authorization = request.headers.contains_key(AUTHORIZATION);
        self.log.push_back(Logged { vendor, method, path, status, token_request, authorization });
    }

    fn outcome(&mut self, delay_ms: u64, reply: Option<Reply>) -> Outcome {
        let second = self.clock.now().max(0.0) as u64;
        if self.date.0 != second {
            self.date = (second, date(second));
        }
        let (delay, date) = (Duration::from_millis(delay_ms), self.date.1.clone());
        Outcome { delay, reply, cut_half_way: false, date }
    }
}

/// An HTTP date (RFC 9110 5.6.7), which cannot tell more than the year 9999.
fn date(unix_seconds: u64) -> HeaderValue {
    const LAST: u64 = 253_402_300_799;
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(unix_seconds.min(LAST));
    HeaderValue::from_str(&httpdate::fmt_http_date(time)).expect("an HTTP date is visible ASCII")
}
