//! Token sources.

use napi::bindgen_prelude::{Buffer, External};
use napi::{Env, Result};
use napi_derive::napi;
use qauth_core::{Again, Answer, CallOptions, Headers, Request, Response, Token, TokenOptions, TokenRef, TokenSource};

use crate::convert::{fallible, infallible, object, options};
use crate::promises::{Begun, Promises};
use crate::token::TokenParts;

/// What is written once per source.
#[napi(object, object_from_js = false, use_nullable = true)]
pub(crate) struct SourceParts {
    /// The profile's name.
    pub profile: String,
    /// The provider's name.
    pub provider: String,
    /// Where API calls begin.
    pub api_base_url: Option<String>,
    /// The header that carries the token.
    pub header_name: String,
}

/// The source's facts, as they are now.
#[napi]
pub(crate) fn source_parts(source: &External<TokenSource>) -> Result<SourceParts> {
    infallible(|| SourceParts {
        profile: source.profile(),
        provider: source.provider().name().to_owned(),
        api_base_url: source.api_base_url(),
        header_name: source.header_name(),
    })
}

/// The token that is cached now.
#[napi]
pub(crate) fn source_cached(source: &External<TokenSource>) -> Result<Option<TokenParts>> {
    infallible(|| source.cached().map(TokenParts::from))
}

/// A header's value and the generation of its token.
#[napi(object, object_from_js = false, use_nullable = true)]
pub(crate) struct CachedHeader {
    /// `Bearer eyJ…`
    pub value: String,
    /// Exact in a double.
    pub generation: f64,
}

/// The header that is cached now.
#[napi]
pub(crate) fn source_cached_header(source: &External<TokenSource>) -> Result<Option<CachedHeader>> {
    let copied = |token: TokenRef<'_>| CachedHeader {
        value: token.header_value().to_owned(),
        generation: token.generation() as f64,
    };
    infallible(|| source.with_cached_header(copied))
}

/// A promise of a token.
#[napi]
pub(crate) fn source_token<'env>(
    env: &'env Env,
    promises: &External<Promises>,
    source: &External<TokenSource>,
    timeout_ms: Option<f64>,
    min_remaining_ms: Option<f64>,
) -> Result<Begun<'env>> {
    let options = options(timeout_ms, min_remaining_ms)?;
    promises.begin(env, |queue, deferred| {
        source.token_queued(options, queue, move |result| deferred.settle(result.map(TokenParts::from)))
    })
}

/// A promise of the one header's value.
#[napi]
pub(crate) fn source_header<'env>(
    env: &'env Env,
    promises: &External<Promises>,
    source: &External<TokenSource>,
) -> Result<Begun<'env>> {
    promises.begin(env, |queue, deferred| {
        // Refused before a token is obtained, as everywhere.
        source.check_single_header()?;
        let value = |token: Token| token.header_value().to_owned();
        source.token_queued(TokenOptions::default(), queue, move |result| deferred.settle(result.map(value)))
    })
}

/// Everything that a request must carry.
#[napi(object, object_from_js = false, use_nullable = true)]
pub(crate) struct HeadersParts {
    /// Names and values.
    pub pairs: Vec<Vec<String>>,
    /// For `sourceRejected`.
    pub generation: f64,
}

impl From<Headers> for HeadersParts {
    fn from(headers: Headers) -> HeadersParts {
        HeadersParts {
            pairs: headers.iter().map(|(name, value)| vec![name.to_owned(), value.to_owned()]).collect(),
            generation: headers.generation() as f64,
        }
    }
}

/// A promise of everything that a request must carry.
#[napi]
pub(crate) fn source_headers<'env>(
    env: &'env Env,
    promises: &External<Promises>,
    source: &External<TokenSource>,
    method: String,
    url: String,
    timeout_ms: Option<f64>,
    min_remaining_ms: Option<f64>,
) -> Result<Begun<'env>> {
    let options = options(timeout_ms, min_remaining_ms)?;
    promises.begin(env, |queue, deferred| {
        source.headers_queued(method, url, options, queue, move |result| {
            deferred.settle(result.map(HeadersParts::from));
        })
    })
}

/// An API call.
#[napi(object, object_to_js = false)]
pub(crate) struct RequestParts {
    /// `GET` and so on.
    pub method: String,
    /// A path or a whole URL.
    pub target: String,
    /// Names and values.
    pub query: Vec<Vec<String>>,
    /// Names and values.
    pub headers: Vec<Vec<String>>,
    /// Sent as it is.
    pub body: Option<Buffer>,
    /// For token and call together.
    pub timeout_ms: Option<f64>,
}

/// What the API answered.
#[napi(object, object_from_js = false, use_nullable = true)]
pub(crate) struct ResponseParts {
    /// The HTTP status.
    pub status: u16,
    /// Names and values.
    pub headers: Vec<Vec<String>>,
    /// Decoded.
    pub body: Buffer,
}

impl From<Response> for ResponseParts {
    fn from(response: Response) -> ResponseParts {
        ResponseParts {
            status: response.status,
            headers: response.headers.into_iter().map(|(name, value)| vec![name, value]).collect(),
            body: response.body.into(),
        }
    }
}

/// A promise of an API's answer.
#[napi]
pub(crate) fn source_request<'env>(
    env: &'env Env,
    promises: &External<Promises>,
    source: &External<TokenSource>,
    request: RequestParts,
) -> Result<Begun<'env>> {
    let pairs = |pairs: Vec<Vec<String>>| {
        pairs.into_iter().filter_map(|pair| <[String; 2]>::try_from(pair).ok()).map(|[name, value]| (name, value))
    };
    let request = Request {
        method: request.method,
        target: request.target,
        query: pairs(request.query).collect(),
        headers: pairs(request.headers).collect(),
        body: request.body.map(Vec::from),
        timeout: options(request.timeout_ms, None)?.timeout,
    };
    promises.begin(env, |queue, deferred| {
        source.request_queued(request, queue, move |result| deferred.settle(result.map(ResponseParts::from)))
    })
}

/// What goes with an operation, beside its parameters.
#[napi(object, object_to_js = false)]
pub(crate) struct OperationOptions {
    pub timeout_ms: Option<f64>,
    pub min_remaining_ms: Option<f64>,
    /// The profile that a new client becomes.
    pub save_as: Option<String>,
}

/// A promise of an operation's result, as JSON.
#[napi]
pub(crate) fn source_call<'env>(
    env: &'env Env,
    promises: &External<Promises>,
    source: &External<TokenSource>,
    operation: String,
    parameters: String,
    given: OperationOptions,
) -> Result<Begun<'env>> {
    let parameters = object("parameters", &parameters)?;
    let token = options(given.timeout_ms, given.min_remaining_ms)?;
    let options = CallOptions { token, save_as: given.save_as };
    promises.begin(env, |queue, deferred| {
        source.call_queued(operation, parameters, options, queue, move |result| {
            deferred.settle(result.map(|result| result.value().to_string()));
        })
    })
}

/// The API rejected this token.
#[napi]
pub(crate) fn source_invalidate(source: &External<TokenSource>, token: &External<Token>) -> Result<bool> {
    infallible(|| source.invalidate(token))
}

/// What the API answered to a request with headers of this generation: "nonce" or "token" where it should be sent once
/// more, each reason once.
#[napi]
pub(crate) fn source_answered(
    source: &External<TokenSource>,
    url: String,
    generation: f64,
    status: u16,
    www_authenticate: Option<String>,
    dpop_nonce: Option<String>,
) -> Result<Option<&'static str>> {
    let challenge = www_authenticate.as_deref();
    let answer = Answer {
        generation: generation as u64,
        status,
        www_authenticate: challenge.as_slice(),
        dpop_nonce: dpop_nonce.as_deref(),
    };
    Ok(fallible(|| source.answered(&url, &answer))?.map(|again| match again {
        Again::Nonce => "nonce",
        Again::Token => "token",
    }))
}

/// Whether a request there may carry this profile's headers.
#[napi]
pub(crate) fn source_allows(source: &External<TokenSource>, url: String) -> Result<bool> {
    infallible(|| source.allows(&url))
}

/// The whole URL of a path below the API address.
#[napi]
pub(crate) fn source_resolve(source: &External<TokenSource>, target: String) -> Result<String> {
    fallible(|| source.resolve(&target))
}

/// Forgets remembered failures and pauses.
#[napi]
pub(crate) fn source_reset(source: &External<TokenSource>) -> Result<()> {
    infallible(|| source.reset())
}

/// Replaces keys of the profile, given as the JSON of an object.
#[napi]
pub(crate) fn source_update(source: &External<TokenSource>, changes: String) -> Result<()> {
    let changes = object("changes", &changes)?;
    fallible(|| source.update(&changes))
}

/// A source of narrowed tokens.
#[napi]
pub(crate) fn source_scoped(
    source: &External<TokenSource>,
    scope: Option<String>,
    audience: Option<String>,
    resource: Option<String>,
) -> Result<External<TokenSource>> {
    fallible(|| source.scoped(scope.as_deref(), audience.as_deref(), resource.as_deref())).map(External::new)
}
