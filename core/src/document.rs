//! TOML or JSON text into typed structures, with errors that name the place and never the value.

use std::collections::HashMap;

use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value};
use toml::de::{DeTable, DeValue};

use crate::error::{Error, Result};
use crate::json;

/// Larger documents are refused before they are parsed.
pub(crate) const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Parses TOML; `what` names the document in errors.
pub(crate) fn from_toml(text: &str, what: &str) -> Result<Value> {
    check_size(text, what)?;
    let wrong = |offset, why: &str| {
        let (line, column) = position(text, offset);
        Error::config(format!("{what}: line {line}, column {column}: {why}"))
    };
    let table = DeTable::parse(text).map_err(|error| {
        let offset = error.span().map_or(text.len(), |span| span.start);
        wrong(offset, &without_values(error.message()))
    })?;
    let located = Located::of(table.get_ref());
    match located.misfits.first() {
        Some((at, why)) => Err(wrong(located.offset(at), &format!("{at}: {why}"))),
        None => Ok(located.value),
    }
}

/// TOML as a value, and where in the text its members stand.
pub(crate) struct Located {
    pub(crate) value: Value,
    /// What a value cannot hold (null stands for it), by path, and why.
    pub(crate) misfits: Vec<(String, &'static str)>,
    /// Where each key or item begins, by path.
    offsets: HashMap<String, usize>,
}

impl Located {
    pub(crate) fn of(table: &DeTable<'_>) -> Located {
        let mut located = Located { value: Value::Null, misfits: Vec::new(), offsets: HashMap::new() };
        located.value = located.table("", table);
        located
    }

    /// Where this path stands, or the nearest table around it. Paths are written `grants.login.steps.0.path`.
    pub(crate) fn offset(&self, path: &str) -> usize {
        let ancestors = std::iter::successors(Some(path), |path| Some(path.rsplit_once('.')?.0));
        ancestors.filter_map(|path| self.offsets.get(path)).next().copied().unwrap_or(0)
    }

    fn table(&mut self, at: &str, table: &DeTable<'_>) -> Value {
        let mut members = Map::new();
        for (key, value) in table {
            let path = below(at, key.get_ref());
            self.offsets.insert(path.clone(), key.span().start);
            let value = self.value(&path, value.get_ref());
            members.insert(key.get_ref().to_string(), value);
        }
        Value::Object(members)
    }

    fn value(&mut self, at: &str, value: &DeValue<'_>) -> Value {
        let number = match value {
            DeValue::String(text) => return Value::from(text.as_ref()),
            DeValue::Boolean(word) => return Value::from(*word),
            DeValue::Table(table) => return self.table(at, table),
            DeValue::Array(items) => {
                let mut list = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    let path = below(at, &index.to_string());
                    self.offsets.insert(path.clone(), item.span().start);
                    list.push(self.value(&path, item.get_ref()));
                }
                return Value::Array(list);
            }
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .ok()
                .map(Number::from)
                .ok_or("is too large a number"),
            DeValue::Float(number) => {
                number.as_str().parse().ok().and_then(Number::from_f64).ok_or("is no number that can be used")
            }
            DeValue::Datetime(_) => Err("is a date or time; write it as text, in quotes"),
        };
        number.map(Value::Number).unwrap_or_else(|why| {
            self.misfits.push((at.to_owned(), why));
            Value::Null
        })
    }
}

/// The path of a member.
pub(crate) fn below(at: &str, key: &str) -> String {
    if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") }
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
    serde_path_to_error::deserialize(&value).map_err(|error| {
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
pub(crate) fn without_values(message: &str) -> String {
    let found = ["invalid type:", "invalid value:", "unknown variant"].iter().any(|start| message.starts_with(start));
    match message.rsplit_once("expected ") {
        Some((_, expected)) if found => {
            let expected = match expected {
                "a map" => "a table",
                "a sequence" => "a list",
                expected if expected.starts_with("struct ") => "a table",
                expected => expected,
            };
            format!("has the wrong type or value; expected {expected}")
        }
        _ => message.replace('\n', " "),
    }
}

fn check_size(text: &str, what: &str) -> Result<()> {
    if text.len() > MAX_BYTES {
        return Err(Error::config(format!("{what}: is larger than 4 MiB")));
    }
    Ok(())
}

/// Line and column as editors count them: in characters, from 1.
pub(crate) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(offset.min(text.len()))];
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
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
