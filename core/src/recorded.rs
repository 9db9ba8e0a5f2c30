//! A provider file against recorded answers: the same code as with a server, and no network.

mod compare;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Map, Value};

use self::compare::Comparison;
use crate::attach;
use crate::block::block_on;
use crate::clock::Clock;
use crate::config::{DEFAULT_MAX_ANSWER, ProfileInput, TransportOptions, Trust};
use crate::document;
use crate::error::{Error, ErrorCode, Result};
use crate::metrics::Tally;
use crate::profile::Profile;
use crate::provider::{GrantKind, Provider};
use crate::refresh::{Brief, Renewal};
use crate::runtime::Core;
use crate::store::{BoxFuture, MemoryStore, Owner};
use crate::token::Published;
use crate::transport::{HttpRequest, HttpResponse, TransportFault};

/// Too short for any pause: a request that failed is not sent again, so that a recording holds each once.
const NO_REPEAT: Duration = Duration::from_millis(10);

/// One test of a recording.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// As the recording says it.
    pub name: String,
    /// What a passed test expects in the end: a token (`None`) or this error.
    pub expects: Option<ErrorCode>,
    /// Passed, or everything that differs, in sentences without secrets.
    pub outcome: std::result::Result<(), String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recording {
    test: Vec<Test>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Test {
    name: String,
    /// Keys of a profile.
    profile: Map<String, Value>,
    /// The wall clock.
    #[serde(default)]
    now: Option<String>,
    #[serde(default)]
    exchange: Vec<Exchange>,
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exchange {
    request: Request,
    response: Response,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    method: String,
    url: String,
    /// Those that must be there; others may.
    #[serde(default)]
    headers: Map<String, Value>,
    /// The whole body in one of three forms.
    #[serde(default)]
    form: Option<Map<String, Value>>,
    #[serde(default)]
    json: Option<Value>,
    #[serde(default)]
    body: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Response {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, Lines>,
    #[serde(default)]
    json: Option<Value>,
    #[serde(default)]
    body: Option<String>,
}

/// A header's value, or several lines of the same header.
#[derive(Deserialize)]
#[serde(untagged)]
enum Lines {
    One(String),
    Several(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    #[serde(default)]
    access_token: Option<Value>,
    #[serde(default)]
    token_type: Option<Value>,
    #[serde(default)]
    expires_in: Option<Value>,
    #[serde(default)]
    scope: Option<Value>,
    #[serde(default)]
    refresh_token: Option<Value>,
    #[serde(default)]
    extras: Option<Value>,
    #[serde(default)]
    attached: Option<Attached>,
    #[serde(default)]
    error: Option<String>,
}

impl Expect {
    fn is_of_token(&self) -> bool {
        let Expect { access_token, token_type, expires_in, scope, refresh_token, extras, attached, error: _ } = self;
        let values = [access_token, token_type, expires_in, scope, refresh_token, extras];
        attached.is_some() || values.into_iter().any(Option::is_some)
    }
}

/// A request to the API, and what it carries.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Attached {
    #[serde(default = "get")]
    method: String,
    url: String,
    #[serde(default)]
    headers: Map<String, Value>,
    /// The whole URL, where the token goes into it.
    #[serde(default)]
    url_sent: Option<Value>,
}

fn get() -> String {
    "GET".to_owned()
}

/// A test whose words are all understood.
struct Case {
    test: Test,
    clock: Clock,
    error: Option<ErrorCode>,
    exchanges: VecDeque<(usize, Request, HttpResponse)>,
}

impl Provider {
    /// Runs this provider against the answers of a recording (TOML), without any network; `file:` values of its profiles
    /// begin in `folder`. The requests are built, the answers read and the tokens attached as with a real server, except
    /// that nothing is sent a second time and nothing comes from the process environment. Blocks.
    ///
    /// # Errors
    /// `config`: the recording itself is wrong; the message names the key.
    pub fn test_recorded(&self, recording: &str, folder: &Path) -> Result<Vec<Recorded>> {
        let recording: Recording = document::typed(document::from_toml(recording, "recording")?, "recording")?;
        if recording.test.is_empty() {
            return Err(Error::config("recording.test: is empty"));
        }
        let cases = recording.test.into_iter().enumerate().map(|(index, test)| {
            let wrong = |(key, why): (String, String)| Error::config(format!("recording.test[{index}].{key}: {why}"));
            Case::read(test).map_err(wrong)
        });
        // All are read before the first one runs.
        let cases: Vec<Case> = cases.collect::<Result<_>>()?;
        cases.into_iter().map(|case| case.run(self, folder)).collect()
    }
}

impl Case {
    fn read(mut test: Test) -> std::result::Result<Case, (String, String)> {
        let wrong = |key: &str, why: &str| Err((key.to_owned(), why.to_owned()));
        let clock = match &test.now {
            None => Clock::manual(),
            Some(text) => match text.parse::<jiff::Timestamp>().map(|now| Duration::try_from(now.as_duration())) {
                Ok(Ok(now)) => Clock::manual_at(now),
                _ => return wrong("now", "expected a time such as \"2026-01-01T00:00:00Z\" (RFC 3339)"),
            },
        };
        let expect = &test.expect;
        let error = match expect.error.as_deref().map(ErrorCode::from_name) {
            None if expect.access_token.is_none() => return wrong("expect", "expected access_token or error"),
            None => None,
            Some(None) => return wrong("expect.error", "is no error code of qauth"),
            Some(_) if expect.is_of_token() => {
                return wrong("expect.error", "is given beside what a token would be expected to have; keep one");
            }
            Some(code) => code,
        };
        let mut exchanges = VecDeque::new();
        for (index, Exchange { request, response }) in std::mem::take(&mut test.exchange).into_iter().enumerate() {
            let wrong = |(key, why): (&str, &str)| (format!("exchange[{index}].{key}"), why.to_owned());
            let bodies = [request.form.is_some(), request.json.is_some(), request.body.is_some()];
            if bodies.into_iter().filter(|given| *given).count() > 1 {
                return Err(wrong(("request", "has more than one of form, json and body; keep one")));
            }
            exchanges.push_back((index + 1, request, response.read().map_err(wrong)?));
        }
        Ok(Case { test, clock, error, exchanges })
    }

    fn run(self, provider: &Provider, folder: &Path) -> Result<Recorded> {
        let Case { test, clock, error: expected, exchanges } = self;
        let trust = Trust { folder: Some(folder.to_owned()), discovered: true, alone: true, ..Trust::default() };
        let input =
            ProfileInput { name: "test".to_owned(), table: test.profile, trust: Arc::new(trust), implicit: false };
        let recorded = |outcome| Ok(Recorded { name: test.name.clone(), expects: expected, outcome });
        let profile = match Profile::build(&input, provider, NO_REPEAT) {
            Ok(profile) => profile,
            Err(error) => return recorded(judge_error(expected, &error)),
        };
        if profile.grant == GrantKind::Custom {
            return recorded(Err(
                "grant custom: the host's own function gives its tokens, no recorded server".to_owned()
            ));
        }
        let mut profile = profile.named();
        profile.timeout = NO_REPEAT;
        let wire = Arc::new(Mutex::new(Wire { exchanges, comparison: Comparison::new(profile.mask()) }));
        let answering = wire.clone();
        let answers = move |request: HttpRequest| -> BoxFuture<'static, _> {
            let answer = lock(&answering).answer(&request);
            Box::pin(std::future::ready(answer))
        };
        let options = TransportOptions { answers: Some(Arc::new(answers)), ..TransportOptions::default() };
        let core = Core::new(clock, Arc::new(MemoryStore::default()), options, DEFAULT_MAX_ANSWER)?;

        let got = obtain(&core, &profile);
        let mut wire = lock(&wire);
        let Wire { exchanges, comparison } = &mut *wire;
        for (number, ..) in exchanges.iter() {
            comparison.differs(format!("exchange {number}: is recorded, but this request was not sent"));
        }
        match got {
            Err(error) => {
                if let Err(why) = judge_error(expected, &error) {
                    comparison.differs(why);
                }
            }
            Ok(_) if expected.is_some() => {
                let code = expected.map_or("", ErrorCode::name);
                comparison.differs(format!("error: expected {code:?}, got a token"));
            }
            Ok(got) => judge_token(&test.expect, &got, &core, &profile, comparison),
        }
        core.close();
        recorded(comparison.outcome())
    }
}

/// What came out.
struct Got {
    published: Arc<Published>,
    refresh_token: Option<String>,
}

fn obtain(core: &Core, profile: &Profile) -> Result<Got> {
    let brief = Brief {
        floor: 0,
        rejected: false,
        forget: false,
        owner: Owner("recorded".to_owned()),
        spread: 0.0,
        unhurried_until: None,
        served_until: None,
        tally: Arc::new(Tally::new(profile.provider.name())),
        lent: None,
    };
    // Its timers need a runtime around them.
    let _inside = core.running()?.handle.enter();
    block_on(async {
        let renewal = Renewal::new(core, profile, None, brief);
        let mut obtained = renewal.run().await.map_err(|failure| failure.error)?;
        renewal.write_behind(&mut obtained).await;
        let record = core.store.load(&profile.record_name()).await?;
        let refresh = record.and_then(|record| Some(record.refresh.as_ref()?.token.expose().to_owned()));
        Ok(Got { published: obtained.published, refresh_token: refresh })
    })
}

fn judge_error(expected: Option<ErrorCode>, error: &Error) -> std::result::Result<(), String> {
    match expected {
        Some(code) if code == error.code() => Ok(()),
        Some(code) => {
            Err(format!("error: expected {:?}, got {:?} ({})", code.name(), error.code().name(), error.message()))
        }
        None => Err(format!("expected a token, got the error {:?} ({})", error.code().name(), error.message())),
    }
}

fn judge_token(expect: &Expect, got: &Got, core: &Core, profile: &Profile, comparison: &mut Comparison) {
    let token = &got.published;
    let text = |text: Option<&str>| text.map(Value::from);
    for (name, expected, found) in [
        ("access_token", &expect.access_token, text(Some(token.access_token()))),
        ("token_type", &expect.token_type, text(Some(&token.token_type))),
        ("expires_in", &expect.expires_in, token.life().map(|life| Value::from(life.as_secs()))),
        ("scope", &expect.scope, text(token.scope.as_deref())),
        ("refresh_token", &expect.refresh_token, text(got.refresh_token.as_deref())),
        ("extras", &expect.extras, Some(Value::Object(token.extras.clone()))),
    ] {
        if let Some(expected) = expected {
            comparison.value(name, expected, found.as_ref());
        }
    }
    let Some(Attached { method, url, headers, url_sent }) = &expect.attached else { return };
    let attached = attach::resolve(profile, url).and_then(|url| attach::attach(core, profile, token, method, &url));
    match attached {
        Err(error) => comparison.differs(format!("attached: {}", error.message())),
        Ok(attached) => {
            let found = |name: &str| {
                let found = attached.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.to_owned())
            };
            comparison.headers("attached.headers", headers, found);
            if let Some(expected) = url_sent {
                comparison.value("attached.url_sent", expected, Some(&Value::from(attached.url.as_str())));
            }
        }
    }
}

impl Response {
    fn read(self) -> std::result::Result<HttpResponse, (&'static str, &'static str)> {
        let mut headers = HeaderMap::new();
        for (name, lines) in self.headers {
            let name = HeaderName::from_bytes(name.as_bytes());
            let name = name.map_err(|_| ("response.headers", "one of the names is no header name"))?;
            let lines = match lines {
                Lines::One(line) => vec![line],
                Lines::Several(lines) => lines,
            };
            for line in lines {
                let value = HeaderValue::from_str(&line);
                headers.append(&name, value.map_err(|_| ("response.headers", "one of the values fits no header"))?);
            }
        }
        if !(200..=599).contains(&self.status) {
            return Err(("response.status", "expected a status from 200 to 599"));
        }
        let body = match (self.json, self.body) {
            (Some(_), Some(_)) => return Err(("response.body", "is given beside json; keep one")),
            (Some(json), None) => {
                headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
                json.to_string()
            }
            (None, body) => body.unwrap_or_default(),
        };
        Ok(HttpResponse { status: self.status, headers, body: body.into_bytes() })
    }
}

/// What stands in for the network.
struct Wire {
    exchanges: VecDeque<(usize, Request, HttpResponse)>,
    comparison: Comparison,
}

impl Wire {
    fn answer(&mut self, sent: &HttpRequest) -> std::result::Result<HttpResponse, TransportFault> {
        let Some((number, expected, response)) = self.exchanges.pop_front() else {
            let place = format!("{} to {}{}", sent.method, sent.url.host_str().unwrap_or_default(), sent.url.path());
            let message = format!("a request was sent that no exchange records: {}", self.comparison.masked(&place));
            self.comparison.differs(message.clone());
            return Err(TransportFault { sent: true, code: ErrorCode::Network, message });
        };
        let at = |key: &str| format!("exchange {number}: {key}");
        let comparison = &mut self.comparison;
        comparison.value(&at("method"), &expected.method.into(), Some(&sent.method.as_str().into()));
        // As it is written on the wire, whatever form the recording has.
        let url = url::Url::parse(&expected.url).map_or(expected.url, String::from);
        comparison.value(&at("url"), &url.into(), Some(&sent.url.as_str().into()));
        let found = |name: &str| {
            let value = sent.headers.get(name)?;
            Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        comparison.headers(&at("headers"), &expected.headers, found);
        let body = sent.body.as_deref().unwrap_or_default();
        if let Some(form) = expected.form {
            comparison.value(&at("form"), &Value::Object(form), Some(&form_of(body)));
        }
        if let Some(json) = expected.json {
            comparison.value(&at("json"), &json, serde_json::from_slice(body).ok().as_ref());
        }
        if let Some(text) = expected.body {
            comparison.value(&at("body"), &text.into(), Some(&String::from_utf8_lossy(body).into()));
        }
        Ok(response)
    }
}

/// A form's fields; one that is given several times is a list.
fn form_of(body: &[u8]) -> Value {
    let mut fields = Map::new();
    for (name, value) in url::form_urlencoded::parse(body) {
        let value = Value::from(value.into_owned());
        match fields.get_mut(name.as_ref()) {
            None => drop(fields.insert(name.into_owned(), value)),
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    Value::Object(fields)
}

/// Nothing panics while it is held.
fn lock(wire: &Mutex<Wire>) -> std::sync::MutexGuard<'_, Wire> {
    wire.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
