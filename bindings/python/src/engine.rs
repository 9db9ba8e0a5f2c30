//! `qauth.Engine`.

use std::path::PathBuf;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use serde_json::Value;

use crate::convert::{self, Seconds};
use crate::custom::Function;
use crate::error::checked;
use crate::events;
use crate::source::TokenSource;
use crate::wait::wait;

/// One per process as a rule: owns the connections, the store and the sources.
///
/// `Engine(config)` takes the structure of qauth.toml as a mapping; `Engine()` has providers alone, whose credentials come
/// from the environment. It starts nothing before the first token is obtained. As a context manager it closes at the end.
#[pyclass(frozen, weakref, module = "qauth")]
pub(crate) struct Engine(qauth_core::Engine);

/// Reads files, which may be slow: without the interpreter lock.
fn made(py: Python<'_>, make: impl FnOnce() -> qauth_core::Result<qauth_core::Engine> + Send) -> PyResult<Engine> {
    events::log(py)?;
    let engine = checked(py, || py.detach(make))?;
    events::listen(&engine);
    Ok(Engine(engine))
}

#[pymethods]
impl Engine {
    #[new]
    #[pyo3(signature = (config=None, /))]
    fn new(py: Python<'_>, config: Option<&Bound<'_, PyAny>>) -> PyResult<Engine> {
        match config {
            Some(config) => {
                let config = Value::Object(convert::object(config, "config")?);
                made(py, || qauth_core::Engine::from_value(config))
            }
            None => made(py, qauth_core::Engine::new),
        }
    }

    /// The configuration that is found: QAUTH_CONFIG, then qauth/qauth.toml and qauth/profiles.d/*.toml in the XDG folder;
    /// none is fine.
    #[staticmethod]
    fn discover(py: Python<'_>) -> PyResult<Engine> {
        made(py, qauth_core::Engine::discover)
    }

    /// A qauth.toml, or JSON of the same structure where the name ends in ".json".
    #[staticmethod]
    #[pyo3(signature = (path, /))]
    fn from_file(py: Python<'_>, path: &Bound<'_, PyAny>) -> PyResult<Engine> {
        let path: PathBuf =
            path.extract().map_err(|_| convert::wrong(path, "path", "a str or os.PathLike that names a file"))?;
        made(py, || qauth_core::Engine::from_file(path))
    }

    /// The text of a qauth.toml.
    #[staticmethod]
    #[pyo3(signature = (text, /))]
    fn from_toml(py: Python<'_>, text: &Bound<'_, PyString>) -> PyResult<Engine> {
        let text = convert::text(text, "text")?;
        made(py, || qauth_core::Engine::from_toml(&text))
    }

    /// The same structure as JSON text.
    #[staticmethod]
    #[pyo3(signature = (text, /))]
    fn from_json(py: Python<'_>, text: &Bound<'_, PyString>) -> PyResult<Engine> {
        let text = convert::text(text, "text")?;
        made(py, || qauth_core::Engine::from_json(&text))
    }

    /// The process's own engine, made by `discover` at its first use.
    #[staticmethod]
    fn shared(py: Python<'_>) -> PyResult<Engine> {
        made(py, qauth_core::Engine::shared)
    }

    /// The source of a profile, or of a provider whose credentials are in the environment; keywords stand over the
    /// profile's keys. The same name and keywords give the same source. Sends nothing.
    #[pyo3(signature = (name, /, **overrides))]
    pub(crate) fn source(
        &self,
        py: Python<'_>,
        name: &Bound<'_, PyString>,
        overrides: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<TokenSource> {
        events::log(py)?;
        let (name, overrides) = (convert::text(name, "name")?, convert::keywords(overrides)?);
        checked(py, || py.detach(|| self.0.source_with(&name, &overrides))).map(TokenSource::new)
    }

    /// A source whose tokens come from `function`: a profile with grant "custom", or one made here of the keywords
    /// (`api_base_url` and the like). The last function that is given for a name counts.
    ///
    /// The function takes nothing, or a `TokenCall`, and gives the access token as a str, a tuple of it and its lifetime in
    /// seconds, or a mapping as in RFC 6749 5.1. It is called where somebody waits for the token, one call for all who
    /// wait (narrowed sources have calls of their own), and its exception is an error for them all. Calls that block run it
    /// in their thread; for asyncio it runs in the loop's executor, or as a task where it is a coroutine function.
    #[pyo3(signature = (name, function, /, **options))]
    fn custom_source(
        &self,
        py: Python<'_>,
        name: &Bound<'_, PyString>,
        function: &Bound<'_, PyAny>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<TokenSource> {
        events::log(py)?;
        let (name, options) = (convert::text(name, "name")?, convert::keywords(options)?);
        let function = Function::new(function)?;
        checked(py, || py.detach(|| self.0.custom_source(&name, &options, function))).map(TokenSource::new)
    }

    /// Forgets a profile's source: its handles raise ClosedError from now on. Returns whether there was one.
    #[pyo3(signature = (name, /))]
    fn remove(&self, name: &Bound<'_, PyString>) -> PyResult<bool> {
        events::log(name.py())?;
        Ok(self.0.remove(&convert::text(name, "name")?))
    }

    /// The names of the profiles there are now: those of the configuration in its order, then those of the files in profiles.d,
    /// which is read at every call.
    fn profiles(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        events::log(py)?;
        Ok(py.detach(|| self.0.profiles()))
    }

    /// Moves a manual clock (testing.clock = "manual") forward and returns when the renewals that came due have ended.
    #[pyo3(signature = (seconds, /))]
    fn advance(&self, py: Python<'_>, seconds: Seconds) -> PyResult<()> {
        events::log(py)?;
        let result = checked(py, || py.detach(|| self.0.advance(seconds.0)));
        events::log(py)?;
        result
    }

    /// Counters and durations as they are now, by profile: how often each event happened, failures by code, requests,
    /// renewals and how long they took, when the last token ends, how far off the server's clock is. Beside them, how many
    /// sources there are, and how many nobody used and were let go of.
    fn metrics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        events::log(py)?;
        convert::python(py, &self.0.metrics().to_json())
    }

    /// The same in the text format of Prometheus (OpenMetrics 1.0): serve it as
    /// "application/openmetrics-text; version=1.0.0; charset=utf-8".
    fn prometheus(&self, py: Python<'_>) -> PyResult<String> {
        events::log(py)?;
        Ok(self.0.metrics().to_prometheus())
    }

    /// What the store holds, of every process that shares it: a dict for each record, with the profile, the provider, a word
    /// for its state and times in Unix seconds. No token and no secret.
    fn records<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        events::log(py)?;
        let records = checked(py, || py.detach(|| self.0.records_blocking()))?;
        convert::python(py, &records.iter().map(qauth_core::RecordInfo::to_json).collect())
    }

    /// Forgets what the store holds of a profile, for every process that shares it; the next call obtains a token anew. Waits
    /// for a renewal under way. No server is told: tokens stay good until their own end. Returns whether there was anything.
    #[pyo3(signature = (name, /))]
    fn clear(&self, py: Python<'_>, name: &Bound<'_, PyString>) -> PyResult<bool> {
        events::log(py)?;
        let name = convert::text(name, "name")?;
        let source = checked(py, || py.detach(|| self.0.source(&name)))?;
        wait(py, &source, self.0.clear(&name))
    }

    /// Lets a machine with a manual clock sleep; what came due runs afterwards.
    #[pyo3(signature = (seconds, /))]
    fn suspend(&self, py: Python<'_>, seconds: Seconds) -> PyResult<()> {
        events::log(py)?;
        let result = checked(py, || py.detach(|| self.0.suspend(seconds.0)));
        events::log(py)?;
        result
    }

    /// Sets the wall clock of a manual clock forward, or back where the number is negative.
    #[pyo3(signature = (seconds, /))]
    fn step_wall_clock(&self, py: Python<'_>, seconds: Seconds) -> PyResult<()> {
        events::log(py)?;
        checked(py, || self.0.step_wall_clock(seconds.0))
    }

    /// Ends the engine: calls that wait and all later ones raise ClosedError. Takes at most 1 s, or 2 s while an answer that
    /// must not be lost is on the wire. More calls do nothing.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.0.close());
        events::log(py)
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyAny>) -> PyResult<()> {
        self.close(py)
    }

    fn __aenter__<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("qauth._asyncio")?.call_method1("entered", (slf,))
    }

    #[pyo3(signature = (*_exception))]
    fn __aexit__<'py>(slf: Bound<'py, Self>, _exception: &Bound<'_, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("qauth._asyncio")?.call_method1("closed", (slf,))
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        py.detach(|| format!("<qauth.Engine {:?}>", self.0))
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err("an Engine is not pickled: make one in the process that uses it"))
    }
}
