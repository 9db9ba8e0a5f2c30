//! TOML or JSON text into typed structures, with errors that name the place and never the value.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::json;

/// Larger documents are refused before they are parsed.
pub(crate) const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Parses TOML; `what` names the document in errors.
pub(crate) fn from_toml(text: &str, what: &str) -> Result<Value> {
    check_size(text, what)?;
    let table: toml::Table = toml::from_str(text).map_err(|error| {
        let (line, column) = error.span().map_or((0, 0), |span| position(text, span.start));
        Error::config(format!("{what}: line {line}, column {column}: {}", without_values(error.message())))
    })?;
    serde_json::to_value(table)
        .map_err(|_| Error::config(format!("{what}: holds a value that is not text, number, boolean, list or table")))
}

/// Parses JSON, refusing duplicated keys.
pub(crate) fn from_json(text: &str, what: &str) -> Result<Value> {
    check_size(text, what)?;
    json::parse(text.as_bytes(), false).map_err(|fault| {
        // A key of a configuration may be shown; a key of an answer may not.
        let key = fault.key.as_ref().map(|key| format!("{key}: ")).unwrap_or_default();
        Error::config(format!("{what}: {key}{fault}"))
    })
}

/// Converts into a type; the error names the path, for instance `profiles.pricing.timeout`.
pub(crate) fn typed<T: DeserializeOwned>(value: Value, at: &str) -> Result<T> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let place = match (at, path.as_str()) {
            (at, ".") => at.to_owned(),
            ("", path) => path.to_owned(),
            (at, path) => format!("{at}.{path}"),
        };
        Error::config(format!("{place}: {}", without_values(&error.inner().to_string())))
    })
}

/// Keeps of a parser's message what was expected and drops what was found, which may be a secret in the wrong place.
fn without_values(message: &str) -> String {
    let found = ["invalid type:", "invalid value:", "unknown variant"].iter().any(|start| message.starts_with(start));
    match message.rsplit_once("expected ") {
        Some((_, expected)) if found => format!("has the wrong type or value; expected {expected}"),
        _ => message.replace('\n', " "),
    }
}

fn check_size(text: &str, what: &str) -> Result<()> {
    if text.len() > MAX_BYTES {
        return Err(Error::config(format!("{what}: is larger than 4 MiB")));
    }
    Ok(())
}

fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[allow(dead_code)]
        port: Option<u16>,
    }

    #[test]
    fn an_error_names_the_field_and_never_the_value() {
        let value = from_toml("port = \"canary\"", "sample").unwrap();
        let error = typed::<Sample>(value, "sample").unwrap_err().to_string();
        assert!(error.contains("sample.port") && error.contains("u16") && !error.contains("canary"), "{error}");
        let value = from_json("{\"prot\": 1}", "sample").unwrap();
        assert!(typed::<Sample>(value, "sample").unwrap_err().to_string().contains("unknown field `prot`"));
    }

    #[test]
    fn a_syntax_error_names_the_line_and_never_the_text() {
        // fault 7
        let error = from_toml("a = 1\nsecret = \"canary", "qauth.toml").unwrap_err().to_string();
        assert!(error.contains("line 2") && !error.contains("canary"), "{error}");
        assert!(from_toml("a = 1\na = 2", "qauth.toml").is_err());
        assert!(from_json("{\"a\": 1, \"a\": 2}", "json").is_err());
    }
}
