//! API calls with the token attached: `request` for any, `call` for the operations that a provider file declares.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderMap;
use serde_json::{Map, Value};
use url::Url;

use crate::attach::{self, Headers};
use crate::challenge::Challenges;
use crate::client_auth;
use crate::discovery::Metadata;
use crate::dpop;
use crate::error::{Error, ErrorCode, Result};
use crate::json;
use crate::profile::Profile;
use crate::provider::{Bound, GrantKind, OnUnauthorized, Operation, Part, Place, header_is_free};
use crate::request::{self, header_name, header_value};
use crate::response;
use crate::secret::Secret;
use crate::signing;
use crate::source::{Limit, Source};
use crate::token::Token;
use crate::transport::{HttpRequest, HttpResponse};

/// An API call. `target` is a path below the profile's API address, or a whole URL on one of its hosts.
#[derive(Clone, Default)]
pub struct Request {
    /// `GET`, `POST` and so on.
    pub method: String,
    /// A path that begins with `/`, or a whole URL.
    pub target: String,
    /// Appended to the target's query.
    pub query: Vec<(String, String)>,
    /// Sent beside those that the token needs; `Authorization`, `Host` and the framing headers are refused.
    pub headers: Vec<(String, String)>,
    /// Sent as it is.
    pub body: Option<Vec<u8>>,
    /// For token and call together; `None`: the profile's own.
    pub timeout: Option<Duration>,
}

impl Request {
    /// A call without query, headers and body.
    pub fn new(method: impl Into<String>, target: impl Into<String>) -> Request {
        Request { method: method.into(), target: target.into(), ..Request::default() }
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request").field("method", &self.method).finish_non_exhaustive()
    }
}

/// What the API answered, whatever the status.
#[derive(Clone)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
    /// Decoded; at most `transport.max_answer_bytes`.
    pub body: Vec<u8>,
    error: Option<Error>,
}

impl Response {
    /// A status of 400 or more as an error of the one table, for callers that want one: `access_denied` for 401 and 403,
    /// `rate_limited`, `server_error`, else `invalid_argument`.
    pub fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// The parsed result of an operation. `Debug` hides the members that the vendor shows only once.
#[derive(Clone)]
pub struct CallResult {
    value: Value,
    secrets: Vec<String>,
}

impl CallResult {
    /// The answer; `true` or `false` for an operation whose status is its result; null where there was no body.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Takes the answer out.
    pub fn into_value(self) -> Value {
        self.value
    }

    /// JSON Pointers to members that the vendor shows this once only: store them before anything else.
    pub fn secrets(&self) -> &[String] {
        &self.secrets
    }
}

impl std::fmt::Debug for CallResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = self.value.clone();
        for at in &self.secrets {
            if let Some(secret) = shown.pointer_mut(at) {
                *secret = Value::from("***");
            }
        }
        write!(f, "CallResult({shown})")
    }
}

/// Whether a 401 leads to one new token and one more try.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Retry {
    Once,
    Never,
}

/// Sends a request with the token attached (DESIGN.md 8): 401 once more with a new token, 403 and redirects as they are.
pub(crate) async fn request(source: &Arc<Source>, request: &Request, limit: Limit) -> Result<Response> {
    let profile = source.profile();
    let mut url = attach::resolve(&profile, &request.target)?;
    if !request.query.is_empty() {
        url.query_pairs_mut().extend_pairs(&request.query);
    }
    let method = reqwest::Method::from_bytes(request.method.as_bytes())
        .ok()
        .filter(|method| *method != reqwest::Method::CONNECT)
        .ok_or_else(|| Error::invalid_argument("method: expected GET, POST, PUT, PATCH, DELETE, HEAD or OPTIONS"))?;
    let mut headers = HeaderMap::new();
    let attach = &profile.provider.definition().attach;
    let own = |name: &str| {
        let token_header = if attach.cookie.is_some() { "cookie" } else { attach.header.as_str() };
        (attach.query.is_none() && name.eq_ignore_ascii_case(token_header))
            || (profile.dpop && name.eq_ignore_ascii_case("dpop"))
            || attach.headers.keys().any(|companion| name.eq_ignore_ascii_case(companion))
    };
    for (name, value) in &request.headers {
        if !header_is_free(name) || own(name) {
            return Err(Error::invalid_argument(format!("headers: {name:?} is written by qauth itself")));
        }
        headers.append(header_name(name)?, header_value(name, value)?);
    }
    let http = HttpRequest {
        method,
        url,
        headers,
        body: request.body.clone(),
        timeout: None,
        max_body: source.core.max_answer,
        identity: profile.identity.clone(),
    };
    let answered = send(source, http, None, limit, Retry::Once, Whose::Profile).await?;
    let response = &answered.response;
    let headers = response
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let error = (response.status >= 400).then(|| refused(source, &profile, "the call", &answered));
    let (status, headers) = (response.status, headers.collect());
    Ok(Response { status, headers, body: answered.response.body, error })
}

/// Runs a declared operation and parses its answer; with the token that is `held`, if one is, and none after it.
pub(crate) async fn call(
    source: &Arc<Source>,
    name: &str,
    parameters: &Map<String, Value>,
    held: Option<Token>,
    limit: Limit,
) -> Result<CallResult> {
    let profile = source.profile();
    let operation = find(&profile, name)?;
    let metadata = match operation.url.is_some() {
        true => source
            .core
            .metadata(&profile, &limit.deadline(&source.core.clock))
            .await
            .map_err(|refusal| refusal.error)?,
        false => None,
    };
    let (http, mut sent) = operation_request(source, &profile, name, operation, parameters, metadata.as_deref())?;
    let once = operation.on_401 == OnUnauthorized::Result || held.is_some();
    let retry = if once { Retry::Never } else { Retry::Once };
    let whose = if operation.url.is_some() { Whose::Server } else { Whose::Profile };
    let mut answered = match operation.client_auth {
        // What it is told is about tokens.
        Some(_) => {
            sent.extend(parameters.values().filter_map(Value::as_str).map(Secret::new));
            Answered { response: send_bare(source, http, limit).await?, sent: Vec::new() }
        }
        None => send(source, http, held, limit, retry, whose).await?,
    };
    answered.sent.append(&mut sent);
    let response = &answered.response;
    let secrets = operation.secrets.iter().map(|at| at.0.clone()).collect();
    let value = match (response.status, operation.on_401) {
        (200..300, OnUnauthorized::Result) => Value::Bool(true),
        (401, OnUnauthorized::Result) => Value::Bool(false),
        (200..300, _) if response.body.is_empty() => Value::Null,
        (200..300, _) => {
            json::parse(&response.body, profile.provider.definition().answer.control_characters_in_strings).map_err(
                |fault| {
                    let error = Error::protocol(format!("the answer of operation {name} is not JSON: {fault}"));
                    let error = error.with_status(response.status);
                    match operation.secrets.is_empty() {
                        true => error,
                        false => error.with_answer(Value::from(String::from_utf8_lossy(&response.body))),
                    }
                },
            )?
        }
        _ => return Err(refused(source, &profile, &format!("operation {name}"), &answered)),
    };
    Ok(CallResult { value, secrets })
}

/// An API's answer, and the secrets that were sent for it beside the profile's own: what the API says may quote them.
struct Answered {
    response: HttpResponse,
    sent: Vec<Secret>,
}

/// Whose address a request goes to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// The caller's choice among the profile's hosts.
    Profile,
    /// The server's own, by the provider file or the server's description.
    Server,
}

async fn send(
    source: &Arc<Source>,
    request: HttpRequest,
    held: Option<Token>,
    limit: Limit,
    retry: Retry,
    whose: Whose,
) -> Result<Answered> {
    let profile = source.profile();
    // Refused before a token is obtained: a wrong host costs no login.
    if whose == Whose::Profile {
        attach::check_host(&profile, &request.url)?;
    }
    let token = match held {
        Some(token) => token,
        None => Token::new(source.token(limit).await?),
    };
    let mut sent = vec![Secret::new(token.access_token())];
    let response = send_with(source, &request, &token, limit, whose).await?;
    if response.status != 401
        || retry == Retry::Never
        || !Challenges::of(&response.headers).blame_token()
        || !rejected(source, token.generation(), Some(token.access_token()))
    {
        return Ok(Answered { response, sent });
    }
    let fresh = Token::new(source.token(limit).await?);
    let response = send_with(source, &request, &fresh, limit, whose).await?;
    sent.push(Secret::new(fresh.access_token()));
    Ok(Answered { response, sent })
}

/// A 401 has come: whether one more try with a new token makes sense.
pub(crate) fn rejected(source: &Source, generation: u64, access_token: Option<&str>) -> bool {
    source.invalidate(generation, access_token);
    source.profile().grant != GrantKind::Static
}

/// Sends with this token; once more where all that the API wants is a nonce in the proof (RFC 9449 9).
async fn send_with(
    source: &Arc<Source>,
    request: &HttpRequest,
    token: &Token,
    limit: Limit,
    whose: Whose,
) -> Result<HttpResponse> {
    let response = send_attached(source, request, token, limit, whose).await?;
    let Some(key) = &token.published().dpop else { return Ok(response) };
    let usable = source.core.nonces.learn(key, &request.url, dpop::nonce(&response.headers));
    if response.status != 401 || !usable || !Challenges::of(&response.headers).want_nonce() {
        return Ok(response);
    }
    let response = send_attached(source, request, token, limit, whose).await?;
    source.core.nonces.learn(key, &request.url, dpop::nonce(&response.headers));
    match response.status == 401 && Challenges::of(&response.headers).want_nonce() {
        true => Err(Error::protocol("the API asks for a new DPoP nonce again and again").with_status(401)),
        false => Ok(response),
    }
}

async fn send_attached(
    source: &Arc<Source>,
    request: &HttpRequest,
    token: &Token,
    limit: Limit,
    whose: Whose,
) -> Result<HttpResponse> {
    let profile = source.profile();
    let attach = if whose == Whose::Server { attach::attach_unchecked } else { attach::attach };
    let attached = attach(&source.core, &profile, token.published(), request.method.as_str(), &request.url)?;
    let mut headers = request.headers.clone();
    for (name, value) in attached.headers.iter() {
        headers.insert(header_name(name)?, header_value(name, value)?);
    }
    let request = HttpRequest {
        method: request.method.clone(),
        url: attached.url,
        headers,
        body: request.body.clone(),
        timeout: None,
        max_body: request.max_body,
        // The token may be bound to the certificate that it was obtained with.
        identity: profile.identity.clone(),
    };
    send_bare(source, request, limit).await
}

async fn send_bare(source: &Arc<Source>, request: HttpRequest, limit: Limit) -> Result<HttpResponse> {
    let timeout = limit.until.map(|until| until.saturating_duration_since(std::time::Instant::now()));
    let request = HttpRequest { timeout, ..request };
    source.core.transport()?.send(request).await.map_err(|fault| Error::new(fault.code, fault.message))
}

/// What an API answered to a request that the caller sent with a client of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answer<'a> {
    /// The generation of the headers that the request carried.
    pub generation: u64,
    /// The HTTP status.
    pub status: u16,
    /// The value of each `WWW-Authenticate` header.
    pub www_authenticate: &'a [&'a str],
    /// The value of `DPoP-Nonce` (RFC 9449 8.2), which any answer may bring.
    pub dpop_nonce: Option<&'a str>,
}

/// Why a request should be sent once more, with fresh headers: for each reason once, however often it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Again {
    /// The proof needs the nonce that came with the answer (RFC 9449 9). Nothing is wrong with the token.
    Nonce,
    /// The token was rejected, and a new one is on its way.
    Token,
}

/// Takes note of an answer: its nonce, and a 401.
pub(crate) fn answered(source: &Source, target: &str, answer: &Answer<'_>) -> Result<Option<Again>> {
    let challenges = Challenges::read(answer.www_authenticate.iter().copied());
    if let Some(key) = source.dpop_key(answer.generation) {
        let url = attach::resolve(&source.profile(), target)?;
        let usable = source.core.nonces.learn(&key, &url, answer.dpop_nonce);
        if answer.status == 401 && challenges.want_nonce() {
            return Ok(usable.then_some(Again::Nonce));
        }
    }
    if answer.status != 401 || !challenges.blame_token() {
        return Ok(None);
    }
    Ok(rejected(source, answer.generation, None).then_some(Again::Token))
}

/// The headers for a request that the caller sends with a client of its own.
pub(crate) async fn headers(source: &Arc<Source>, method: &str, target: &str, limit: Limit) -> Result<Headers> {
    if reqwest::Method::from_bytes(method.as_bytes()).is_err() {
        return Err(Error::invalid_argument("method: is no HTTP method"));
    }
    let profile = source.profile();
    let url: Url = attach::resolve(&profile, target)?;
    attach::check_host(&profile, &url)?;
    let published = source.token(limit).await?;
    // The profile may have been updated while the token was waited for.
    attach::headers(&source.core, &source.profile(), &published, method, &url)
}

/// The operation of this name, if this profile can call it.
pub(crate) fn find<'a>(profile: &'a Profile, name: &str) -> Result<&'a Operation> {
    let definition = profile.provider.definition();
    let operation = definition.operations.get(name).ok_or_else(|| {
        let known: Vec<&str> = definition.operations.keys().map(String::as_str).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Error::invalid_argument(format!("operation {name:?} is unknown: this provider has {known}"))
    })?;
    if !operation.grants.is_empty() && !operation.grants.contains(&profile.grant) {
        let grants: Vec<&str> = operation.grants.iter().map(|kind| kind.name()).collect();
        return Err(Error::config(format!("grant: operation {name} needs a token of grant {}", grants.join(" or "))));
    }
    Ok(operation)
}

fn operation_request(
    source: &Source,
    profile: &Profile,
    name: &str,
    operation: &Operation,
    parameters: &Map<String, Value>,
    metadata: Option<&Metadata>,
) -> Result<(HttpRequest, Vec<Secret>)> {
    let expected: Vec<&str> = profile.provider.call_parameters(operation).collect();
    if let Some(unknown) = parameters.keys().find(|key| !expected.contains(&key.as_str())) {
        let known = if expected.is_empty() { "none".to_owned() } else { expected.join(", ") };
        return Err(Error::invalid_argument(format!(
            "parameter {unknown:?} is unknown: operation {name} takes {known}"
        )));
    }
    let missing = |key: &&&str| {
        !operation.optional.iter().any(|optional| optional == *key) && parameters.get(**key).is_none_or(Value::is_null)
    };
    if let Some(missing) = expected.iter().find(missing) {
        return Err(Error::invalid_argument(format!("parameter {missing:?} is missing: operation {name} needs it")));
    }
    let mut scope = profile.scope(source.core.clock.now().unix().as_millis(), metadata);
    if let Some(absent) = profile.provider.needed_by(operation).find(|name| !scope.values.contains_key(*name)) {
        return Err(Error::config(format!("{absent}: is missing: operation {name} needs it")));
    }
    for (key, value) in parameters {
        scope.set(key, Bound::Json(value.clone()));
    }
    let declared = operation.request();
    let mut url = match (&operation.path, &operation.url) {
        (Some(path), _) => attach::resolve(profile, &request::render(path, &scope, Place::Path, "path")?)?,
        (None, Some(url)) => request::whole_url(url, &scope)?,
        (None, None) => return Err(Error::config(format!("operation {name} has neither path nor url"))),
    };
    request::name_audience(&mut scope, &url);
    request::append_query(&mut url, declared.query, &scope)?;
    let mut secrets = signing::sign(profile, declared.templates(), &mut scope)?;
    let (mut headers, mut form) = (request::headers(declared.headers, &scope)?, request::form(declared, &scope)?);
    if let Some(method) = operation.client_auth {
        let variable = operation.url.as_ref().and_then(|url| url.variables().next());
        let endpoint = profile.discovered().find(|(name, _)| Some(*name) == variable).map(|(_, member)| member);
        let method = client_auth::choose(profile, method, metadata, endpoint.unwrap_or_default())?;
        secrets.extend(client_auth::apply(profile, method, &scope, &mut headers, form.get_or_insert_default())?);
    }
    let body = request::body(declared, &scope, form, &mut headers)?;
    let http = HttpRequest {
        method: operation.method.http(),
        url,
        headers,
        body,
        timeout: None,
        max_body: source.core.max_answer,
        identity: profile.identity.clone(),
    };
    Ok((http, secrets))
}

/// An API's refusal as an error; its body is quoted only where it has the members of RFC 6749 5.2.
fn refused(source: &Source, profile: &Profile, what: &str, answered: &Answered) -> Error {
    let response = &answered.response;
    let challenges = Challenges::of(&response.headers);
    let (code, advice) = match response.status {
        401 | 403 if !challenges.blame_token() => (ErrorCode::AccessDenied, "accepts the token, but not for this"),
        401 => (ErrorCode::AccessDenied, "rejects the token, a fresh one too"),
        403 => (ErrorCode::AccessDenied, "refuses: this token's owner lacks the permission"),
        429 => (ErrorCode::RateLimited, "asks for fewer requests"),
        300..400 => (ErrorCode::Protocol, "redirects, which is never followed"),
        400..500 => (ErrorCode::InvalidArgument, "refuses the call: check its parameters"),
        500.. => (ErrorCode::ServerError, "failed"),
        _ => (ErrorCode::Protocol, "answered with a status that makes no sense"),
    };
    let answer = &profile.provider.definition().answer;
    let body = json::parse(&response.body, true).ok();
    let mut mask = profile.mask();
    answered.sent.iter().for_each(|secret| mask.add(secret.expose()));
    let said = |part: &Part, limit: usize| {
        let Part::Pointer(at) = part else { return None };
        let text = body.as_ref()?.pointer(&at.0)?.as_str()?;
        Some(mask.clean(text, limit))
    };
    let (challenge, description) = challenges.error().unzip();
    let shown = |text: &str, limit: usize| mask.clean(text, limit);
    let word = said(&answer.error, 65)
        .or_else(|| challenge.map(|word| shown(word, 65)))
        .filter(|word| word.len() <= 64 && word.bytes().all(|byte| byte.is_ascii_graphic()));
    let description =
        said(&answer.error_description, 256).or_else(|| description.flatten().map(|text| shown(text, 256)));
    let wanted = challenges.wanted_scope().map(|scope| format!("; it wants the scope {}", shown(scope, 128)));
    let now = source.core.clock.now().unix();
    Error::new(code, format!("{what}: the API {advice}{}", wanted.unwrap_or_default()))
        .with_status(response.status)
        .with_server(word, description)
        .with_retry_after(response::retry_after(response, now))
        .about(&profile.name, profile.provider.name())
}
