//! Python values to JSON and back, and the arguments that several calls share.

use std::borrow::Cow;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyMapping, PyString, PyTuple};
use qauth_core::{CallOptions, TokenOptions};
use serde_json::{Map, Number, Value};

use crate::error::checked;

/// Deeper than any configuration; an object that holds itself ends here.
const DEEPEST: usize = 64;

/// A mapping as a JSON object; errors name the place, as `config.profiles.pricing.timeout`, never the value.
pub(crate) fn object(value: &Bound<'_, PyAny>, at: &str) -> PyResult<Map<String, Value>> {
    match json(value, at, 0)? {
        Value::Object(map) => Ok(map),
        _ => Err(wrong(value, at, "a mapping")),
    }
}

/// Keyword arguments as a JSON object.
pub(crate) fn keywords(given: Option<&Bound<'_, PyDict>>) -> PyResult<Map<String, Value>> {
    let mut map = Map::new();
    for (key, value) in given.into_iter().flatten() {
        let key = text(key.cast()?, "a keyword")?;
        map.insert(key.to_string(), json(&value, &key, 0)?);
    }
    Ok(map)
}

fn json(value: &Bound<'_, PyAny>, at: &str, depth: usize) -> PyResult<Value> {
    if depth > DEEPEST {
        return Err(PyValueError::new_err(format!("{at}: is nested too deep, or holds itself")));
    }
    if value.is_none() {
        return Ok(Value::Null);
    }
    if let Ok(flag) = value.cast::<PyBool>() {
        return Ok(Value::Bool(flag.is_true()));
    }
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(Value::String(self::text(text, at)?.into_owned()));
    }
    if value.is_instance_of::<PyInt>() {
        let number = value.extract::<i64>().map(Number::from).or_else(|_| value.extract::<u64>().map(Number::from));
        return number.map(Value::Number).map_err(|_| PyValueError::new_err(format!("{at}: is too large a number")));
    }
    if value.is_instance_of::<PyFloat>() {
        let number = Number::from_f64(value.extract()?);
        return number.map(Value::Number).ok_or_else(|| PyValueError::new_err(format!("{at}: is not a finite number")));
    }
    if value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>() {
        let items =
            value.try_iter()?.enumerate().map(|(index, item)| json(&item?, &format!("{at}.{index}"), depth + 1));
        return items.collect::<PyResult<Vec<_>>>().map(Value::Array);
    }
    if let Ok(mapping) = value.cast::<PyMapping>() {
        let mut map = Map::new();
        for pair in mapping.items()?.iter() {
            let (key, item): (Bound<'_, PyAny>, Bound<'_, PyAny>) = pair.extract()?;
            let Ok(key) = key.cast::<PyString>() else { return Err(wrong(&key, &format!("{at}: a key"), "a string")) };
            let key = text(key, at)?;
            let item = json(&item, &format!("{at}.{key}"), depth + 1)?;
            map.insert(key.into_owned(), item);
        }
        return Ok(Value::Object(map));
    }
    // Paths, for instance of a CA file.
    if let Ok(path) = value.call_method0("__fspath__")
        && let Ok(path) = path.cast::<PyString>()
    {
        return Ok(Value::String(text(path, at)?.into_owned()));
    }
    Err(wrong(value, at, "a string, number, bool, list or mapping"))
}

/// Errors name the place; Python's own error for a lone surrogate would carry the text itself.
pub(crate) fn text<'a>(text: &'a Bound<'_, PyString>, at: &str) -> PyResult<Cow<'a, str>> {
    text.to_cow().map_err(|_| PyValueError::new_err(format!("{at}: holds characters that are no Unicode text")))
}

/// A value of the wrong type; only its type is shown.
pub(crate) fn wrong(value: &Bound<'_, PyAny>, at: &str, expected: &str) -> PyErr {
    let found = value.get_type().name().map_or_else(|_| "another type".to_owned(), |name| name.to_string());
    PyTypeError::new_err(format!("{at}: expected {expected}, got {found}"))
}

/// JSON as Python's own types.
pub(crate) fn python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Null => py.None().into_bound(py),
        Value::Bool(flag) => PyBool::new(py, *flag).to_owned().into_any(),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => number.into_pyobject(py)?.into_any(),
            (None, Some(number)) => number.into_pyobject(py)?.into_any(),
            (None, None) => number.as_f64().into_pyobject(py)?.into_any(),
        },
        Value::String(text) => PyString::new(py, text).into_any(),
        Value::Array(items) => {
            let list = PyList::empty(py);
            items.iter().try_for_each(|item| list.append(python(py, item)?))?;
            list.into_any()
        }
        Value::Object(map) => members(py, map)?.into_any(),
    })
}

/// A JSON object as a `dict`.
pub(crate) fn members<'py>(py: Python<'py>, map: &Map<String, Value>) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    map.iter().try_for_each(|(key, value)| dict.set_item(key, python(py, value)?))?;
    Ok(dict)
}

/// Seconds: an `int`, a `float` or a `timedelta`.
pub(crate) struct Seconds(pub(crate) f64);

impl<'a, 'py> FromPyObject<'a, 'py> for Seconds {
    type Error = PyErr;

    fn extract(value: Borrowed<'a, 'py, PyAny>) -> PyResult<Seconds> {
        let number = value.is_instance_of::<PyFloat>() || value.is_instance_of::<PyInt>();
        if number && !value.is_instance_of::<PyBool>() {
            // An int beyond every float is out of range like infinity.
            return Ok(Seconds(value.extract().unwrap_or(f64::INFINITY)));
        }
        match value.call_method0("total_seconds") {
            Ok(seconds) => seconds.extract().map(Seconds),
            Err(_) => Err(PyTypeError::new_err("expected seconds as a number, or a timedelta")),
        }
    }
}

/// What every call that needs a token takes.
pub(crate) fn options(
    py: Python<'_>,
    timeout: Option<Seconds>,
    min_remaining: Option<Seconds>,
) -> PyResult<TokenOptions> {
    checked(py, || {
        let duration = |name: &str, given: Option<Seconds>| {
            given.map(|seconds| qauth_core::duration_argument(name, seconds.0)).transpose()
        };
        Ok(TokenOptions {
            timeout: duration("timeout", timeout)?,
            min_remaining: duration("min_remaining", min_remaining)?.unwrap_or_default(),
        })
    })
}

/// What a call of an operation takes.
pub(crate) fn call_options(
    py: Python<'_>,
    timeout: Option<Seconds>,
    save_as: Option<&Bound<'_, PyString>>,
) -> PyResult<CallOptions> {
    let save_as = save_as.map(|name| text(name, "save_as")).transpose()?.map(Cow::into_owned);
    Ok(CallOptions { token: options(py, timeout, None)?, save_as })
}

/// Names with values, in order: a mapping, or pairs.
pub(crate) struct Pairs(pub(crate) Vec<(String, String)>);

impl<'a, 'py> FromPyObject<'a, 'py> for Pairs {
    type Error = PyErr;

    fn extract(value: Borrowed<'a, 'py, PyAny>) -> PyResult<Pairs> {
        let pairs = match value.cast::<PyMapping>() {
            Ok(mapping) => mapping.items()?.into_any(),
            Err(_) => value.to_owned(),
        };
        let wrong = || PyTypeError::new_err("expected a mapping of strings, or pairs of strings");
        let mut found = Vec::new();
        for pair in pairs.try_iter().map_err(|_| wrong())? {
            let (name, value): (String, Bound<'_, PyAny>) = pair?.extract().map_err(|_| wrong())?;
            found.push((name, plain(&value).ok_or_else(wrong)?));
        }
        Ok(Pairs(found))
    }
}

/// A text, or a number as it is written.
fn plain(value: &Bound<'_, PyAny>) -> Option<String> {
    let number = value.is_instance_of::<PyInt>() || value.is_instance_of::<PyFloat>();
    match number && !value.is_instance_of::<PyBool>() {
        true => value.str().ok()?.extract().ok(),
        false => value.extract().ok(),
    }
}

/// What a request sends: `bytes`, or a `str` as UTF-8.
pub(crate) struct Body(pub(crate) Vec<u8>);

impl<'a, 'py> FromPyObject<'a, 'py> for Body {
    type Error = PyErr;

    fn extract(value: Borrowed<'a, 'py, PyAny>) -> PyResult<Body> {
        if let Ok(bytes) = value.cast::<PyBytes>() {
            return Ok(Body(bytes.as_bytes().to_vec()));
        }
        match value.extract::<String>() {
            Ok(text) => Ok(Body(text.into_bytes())),
            Err(_) => Err(PyTypeError::new_err("expected bytes, or a str of Unicode text")),
        }
    }
}
