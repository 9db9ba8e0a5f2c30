//! `qauth.TokenSource`.

use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString};
use qauth_core::{Again, Answer, CallResult, Headers, Request};

use crate::asyncio::coroutine;
use crate::call::{call, imported};
use crate::convert::{self, Body, Pairs, Seconds, call_options, options, text};
use crate::error::checked;
use crate::events;
use crate::kept::{Kept, KeptCell};
use crate::ready;
use crate::response::Response;
use crate::token::Token;
use crate::wait::wait;

/// The live object of one profile: a valid token whenever it is asked for one, or a clear error.
///
/// Any thread, any number at once. A call blocks only when it must, without the interpreter lock, at most for its `timeout`
/// (seconds or a timedelta; the profile's own unless given, 30 s by default; 0: cached tokens only).
#[pyclass(frozen, weakref, module = "qauth")]
pub(crate) struct TokenSource {
    source: qauth_core::TokenSource,
    kept: Arc<KeptCell>,
}

impl TokenSource {
    pub(crate) fn new(source: qauth_core::TokenSource) -> TokenSource {
        TokenSource { source, kept: Arc::default() }
    }

    /// The cached token in one of its forms; `None` where a call has to think or to wait.
    #[inline]
    fn cached<T>(&self, py: Python<'_>, form: fn(&Kept) -> &Py<T>) -> Option<Py<T>> {
        let generation = self.source.with_cached(|token| token.generation())?;
        self.kept.get(py, generation, form).or_else(|| {
            let kept = Kept::new(py, self.source.cached()?).ok()?;
            Some(self.kept.put(py, kept, form))
        })
    }
}

/// The token as Python has it: the one that is kept, or a new object that is kept from now on.
fn kept(py: Python<'_>, cell: &KeptCell, token: qauth_core::Token) -> PyResult<Py<Token>> {
    if let Some(token) = cell.get(py, token.generation(), |kept| &kept.token) {
        return Ok(token);
    }
    Ok(cell.put(py, Kept::new(py, token)?, |kept| &kept.token))
}

/// A `dict` whose `repr` hides the values, and which knows its token's generation.
fn request_headers(py: Python<'_>, headers: &Headers) -> PyResult<Py<PyAny>> {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let dict = call(imported(py, &CLASS, "qauth._headers", "RequestHeaders")?, (headers.generation(),), None)?;
    headers.iter().try_for_each(|(name, value)| dict.set_item(name, value))?;
    Ok(dict.unbind())
}

fn request(
    py: Python<'_>,
    method: &Bound<'_, PyString>,
    target: &Bound<'_, PyString>,
    query: Option<Pairs>,
    headers: Option<Pairs>,
    body: Option<Body>,
    timeout: Option<Seconds>,
) -> PyResult<Request> {
    let timeout = options(py, timeout, None)?.timeout;
    let pairs = |given: Option<Pairs>| given.map(|pairs| pairs.0).unwrap_or_default();
    Ok(Request {
        method: text(method, "method")?.into_owned(),
        target: text(target, "target")?.into_owned(),
        query: pairs(query),
        headers: pairs(headers),
        body: body.map(|body| body.0),
        timeout,
    })
}

fn parameters(given: Option<&Bound<'_, PyAny>>) -> PyResult<serde_json::Map<String, serde_json::Value>> {
    given.map_or_else(|| Ok(serde_json::Map::new()), |given| convert::object(given, "parameters"))
}

fn result(py: Python<'_>, result: CallResult) -> PyResult<Py<PyAny>> {
    convert::python(py, result.value()).map(Bound::unbind)
}

#[pymethods]
impl TokenSource {
    /// The profile's name.
    #[getter]
    fn profile(&self) -> String {
        self.source.profile()
    }

    /// The provider's name.
    #[getter]
    fn provider(&self) -> String {
        self.source.provider().name().to_owned()
    }

    /// The API's base address; None for a profile without one.
    #[getter]
    fn api_base_url(&self) -> Option<String> {
        self.source.api_base_url()
    }

    /// The name of the header that carries the token, "Authorization" as a rule.
    #[getter]
    fn header_name(&self) -> String {
        self.source.header_name()
    }

    /// A valid token, cached or new. `min_remaining`: for how many seconds it must still be good.
    #[pyo3(signature = (*, timeout=None, min_remaining=None))]
    fn token(&self, py: Python<'_>, timeout: Option<Seconds>, min_remaining: Option<Seconds>) -> PyResult<Py<Token>> {
        events::log(py)?;
        if timeout.is_none()
            && min_remaining.is_none()
            && let Some(token) = self.cached(py, |kept| &kept.token)
        {
            return Ok(token);
        }
        let options = options(py, timeout, min_remaining)?;
        let token = wait(py, &self.source, self.source.token(options))?;
        kept(py, &self.kept, token)
    }

    /// The same for asyncio: one descriptor per loop, no thread per waiter. Cancelling the task gives up this wait only.
    #[pyo3(signature = (*, timeout=None, min_remaining=None))]
    fn token_async(
        &self,
        py: Python<'_>,
        timeout: Option<Seconds>,
        min_remaining: Option<Seconds>,
    ) -> PyResult<Py<PyAny>> {
        events::log(py)?;
        if timeout.is_none()
            && min_remaining.is_none()
            && let Some(ready) = self.cached(py, |kept| &kept.ready)
        {
            return Ok(ready);
        }
        let options = options(py, timeout, min_remaining)?;
        let (source, cell) = (self.source.clone(), self.kept.clone());
        let convert = move |py: Python<'_>, token| kept(py, &cell, token).map(Py::into_any);
        coroutine(py, convert, move |queue, done| source.token_queued(options, queue, done)).map(Bound::unbind)
    }

    /// The value of the one header that carries the token, for instance "Bearer eyJ…". Raises UnsupportedError where a
    /// request needs more than one constant header: `headers` is for all.
    fn header(&self, py: Python<'_>) -> PyResult<Py<PyString>> {
        events::log(py)?;
        let hot = self.source.with_cached_header(|token| token.generation());
        if let Some(header) = hot.and_then(|generation| self.kept.get(py, generation, |kept| &kept.header)) {
            return Ok(header);
        }
        checked(py, || self.source.check_single_header())?;
        let token = wait(py, &self.source, self.source.token(Default::default()))?;
        let token = kept(py, &self.kept, token)?;
        Ok(PyString::new(py, token.get().0.header_value()).unbind())
    }

    /// The same for asyncio.
    fn header_async<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        events::log(py)?;
        checked(py, || self.source.check_single_header())?;
        if let Some(header) = self.cached(py, |kept| &kept.header) {
            return ready::of(py, header.into_any()).map(|ready| ready.into_bound(py));
        }
        let source = self.source.clone();
        let convert =
            |py: Python<'_>, token: qauth_core::Token| Ok(PyString::new(py, token.header_value()).unbind().into_any());
        coroutine(py, convert, move |queue, done| source.token_queued(Default::default(), queue, done))
    }

    /// Everything that a request to `url` must carry, as a dict. `url`: a path below the API address, or a whole URL on one
    /// of the profile's hosts.
    #[pyo3(signature = (method, url, *, timeout=None, min_remaining=None))]
    fn headers(
        &self,
        py: Python<'_>,
        method: &Bound<'_, PyString>,
        url: &Bound<'_, PyString>,
        timeout: Option<Seconds>,
        min_remaining: Option<Seconds>,
    ) -> PyResult<Py<PyAny>> {
        let options = options(py, timeout, min_remaining)?;
        let (method, url) = (text(method, "method")?, text(url, "url")?);
        let headers = wait(py, &self.source, self.source.headers(&method, &url, options))?;
        request_headers(py, &headers)
    }

    /// The same for asyncio.
    #[pyo3(signature = (method, url, *, timeout=None, min_remaining=None))]
    fn headers_async<'py>(
        &self,
        py: Python<'py>,
        method: &Bound<'py, PyString>,
        url: &Bound<'py, PyString>,
        timeout: Option<Seconds>,
        min_remaining: Option<Seconds>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let options = options(py, timeout, min_remaining)?;
        let (method, url) = (text(method, "method")?.into_owned(), text(url, "url")?.into_owned());
        let source = self.source.clone();
        coroutine(
            py,
            |py, headers: Headers| request_headers(py, &headers),
            move |queue, done| source.headers_queued(method, url, options, queue, done),
        )
    }

    /// Calls the API with the token attached. Every status is a response; a 401 leads to one new token and one more try; a
    /// redirect is returned, never followed. `query` and `headers`: a mapping or pairs; `body`: bytes or str.
    #[pyo3(signature = (method, target, *, query=None, headers=None, body=None, timeout=None))]
    #[expect(clippy::too_many_arguments, reason = "they are Python's keywords")]
    fn request(
        &self,
        py: Python<'_>,
        method: &Bound<'_, PyString>,
        target: &Bound<'_, PyString>,
        query: Option<Pairs>,
        headers: Option<Pairs>,
        body: Option<Body>,
        timeout: Option<Seconds>,
    ) -> PyResult<Response> {
        let request = request(py, method, target, query, headers, body, timeout)?;
        wait(py, &self.source, self.source.request(&request)).map(Response::new)
    }

    /// The same for asyncio.
    #[pyo3(signature = (method, target, *, query=None, headers=None, body=None, timeout=None))]
    #[expect(clippy::too_many_arguments, reason = "they are Python's keywords")]
    fn request_async<'py>(
        &self,
        py: Python<'py>,
        method: &Bound<'py, PyString>,
        target: &Bound<'py, PyString>,
        query: Option<Pairs>,
        headers: Option<Pairs>,
        body: Option<Body>,
        timeout: Option<Seconds>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let request = request(py, method, target, query, headers, body, timeout)?;
        let source = self.source.clone();
        coroutine(
            py,
            |py, response| Ok(Py::new(py, Response::new(response))?.into_any()),
            move |queue, done| source.request_queued(request, queue, done),
        )
    }

    /// Runs an operation that the provider file declares, and gives its parsed result; refusals are errors too:
    /// AccessDeniedError, InvalidArgumentError, RateLimitedError, ServerError. `save_as` names the profile that a new client
    /// becomes.
    #[pyo3(signature = (operation, parameters=None, *, timeout=None, save_as=None))]
    fn call(
        &self,
        py: Python<'_>,
        operation: &Bound<'_, PyString>,
        parameters: Option<&Bound<'_, PyAny>>,
        timeout: Option<Seconds>,
        save_as: Option<&Bound<'_, PyString>>,
    ) -> PyResult<Py<PyAny>> {
        let (parameters, options) = (self::parameters(parameters)?, call_options(py, timeout, save_as)?);
        let operation = text(operation, "operation")?;
        result(py, wait(py, &self.source, self.source.call(&operation, &parameters, options))?)
    }

    /// The same for asyncio.
    #[pyo3(signature = (operation, parameters=None, *, timeout=None, save_as=None))]
    fn call_async<'py>(
        &self,
        py: Python<'py>,
        operation: &Bound<'py, PyString>,
        parameters: Option<&Bound<'_, PyAny>>,
        timeout: Option<Seconds>,
        save_as: Option<&Bound<'_, PyString>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (parameters, options) = (self::parameters(parameters)?, call_options(py, timeout, save_as)?);
        let (source, operation) = (self.source.clone(), text(operation, "operation")?.into_owned());
        coroutine(py, result, move |queue, done| source.call_queued(operation, parameters, options, queue, done))
    }

    /// The API rejected this token. Acts only if it is still the current one; the next call then gets a new one. Returns
    /// whether it acted.
    #[pyo3(signature = (token, /))]
    fn invalidate(&self, token: &Bound<'_, Token>) -> PyResult<bool> {
        let py = token.py();
        events::log(py)?;
        let acted = self.source.invalidate(&token.get().0);
        events::log(py)?;
        Ok(acted)
    }

    /// Forgets remembered failures and pauses: the next call tries again at once.
    fn reset(&self, py: Python<'_>) -> PyResult<()> {
        events::log(py)?;
        self.source.reset();
        Ok(())
    }

    /// Replaces keys of the profile, for instance a secret. Tokens of the old ones are not served any more.
    #[pyo3(signature = (**changes))]
    fn update(&self, py: Python<'_>, changes: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        events::log(py)?;
        let changes = convert::keywords(changes)?;
        checked(py, || py.detach(|| self.source.update(&changes)))
    }

    /// A source of the same profile whose tokens are narrowed to this scope, audience or resource.
    #[pyo3(signature = (*, scope=None, audience=None, resource=None))]
    fn scoped(
        &self,
        py: Python<'_>,
        scope: Option<&Bound<'_, PyString>>,
        audience: Option<&Bound<'_, PyString>>,
        resource: Option<&Bound<'_, PyString>>,
    ) -> PyResult<TokenSource> {
        events::log(py)?;
        let scope = scope.map(|given| text(given, "scope")).transpose()?;
        let audience = audience.map(|given| text(given, "audience")).transpose()?;
        let resource = resource.map(|given| text(given, "resource")).transpose()?;
        checked(py, || self.source.scoped(scope.as_deref(), audience.as_deref(), resource.as_deref()))
            .map(TokenSource::new)
    }

    /// For requests: `requests.get(url, auth=source.requests_auth())`. A 401 leads to one new token and one more try; the
    /// headers go to the profile's own hosts only, also along redirects.
    fn requests_auth<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("qauth._requests")?.getattr("QauthAuth")?.call1((slf,))
    }

    /// For adapters: what the API answered to a request to `url` with the headers of this generation. "nonce" or "token"
    /// where it should be sent once more with fresh headers, each reason once; else None.
    #[pyo3(signature = (url, generation, status, www_authenticate=None, dpop_nonce=None, /))]
    fn _answered(
        &self,
        py: Python<'_>,
        url: &str,
        generation: u64,
        status: u16,
        www_authenticate: Option<&str>,
        dpop_nonce: Option<&str>,
    ) -> PyResult<Option<&'static str>> {
        let challenges = www_authenticate.as_slice();
        events::log(py)?;
        let answer = Answer { generation, status, www_authenticate: challenges, dpop_nonce };
        Ok(checked(py, || self.source.answered(url, &answer))?.map(|again| match again {
            Again::Nonce => "nonce",
            Again::Token => "token",
        }))
    }

    /// For adapters: whether a request to `url` may carry the headers.
    #[pyo3(signature = (url, /))]
    fn _allows(&self, url: &str) -> bool {
        self.source.allows(url)
    }

    /// For benchmarks: what calling anything native costs.
    fn _empty(&self) {}

    fn __repr__(&self) -> String {
        format!("<qauth.TokenSource {:?} of {}>", self.source.profile(), self.source.provider().name())
    }

    fn __copy__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __deepcopy__(slf: Py<Self>, _memo: &Bound<'_, PyAny>) -> Py<Self> {
        slf
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err("a TokenSource is not pickled: call qauth.source(name) in the process that uses it"))
    }
}
