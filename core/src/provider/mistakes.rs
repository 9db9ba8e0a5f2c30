//! Every mistake in a provider file at once, each with its line: for people who write one.

use std::fmt;

use serde_json::Value;
use serde_path_to_error::Segment;
use toml::de::DeTable;

use super::check::{Finding, check};
use super::definition::Definition;
use super::template::Template;
use crate::document::{Located, MAX_BYTES, position, without_values};

/// Beyond that nobody reads on.
const MOST: usize = 100;

/// A mistake in a provider file. No value of the file is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// For instance `grants.login.path`; empty where the mistake is none of a key.
    pub key: String,
    /// What is wrong, and what was expected.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.line, self.column)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// Every mistake, in the order of the lines.
pub(super) fn find(text: &str) -> Vec<Mistake> {
    if text.len() > MAX_BYTES {
        return vec![Mistake { line: 1, column: 1, key: String::new(), message: "is larger than 4 MiB".to_owned() }];
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    let located = Located::of(table.get_ref());
    let mistake = |offset, key: &str, message: String| {
        let (line, column) = position(text, offset);
        Mistake { line, column, key: key.to_owned(), message }
    };
    let mut mistakes: Vec<Mistake> = Vec::new();
    for error in errors.iter().take(MOST) {
        let offset = error.span().map_or(text.len(), |span| span.start);
        let found = mistake(offset, "", without_values(error.message()));
        // The rest of a line that cannot be read says nothing more.
        if !mistakes.iter().any(|known| known.line == found.line) {
            mistakes.push(found);
        }
    }
    let unreadable: Vec<usize> = mistakes.iter().map(|mistake| mistake.line).collect();
    for (key, message) in Reading::of(&located).mistakes(!unreadable.is_empty()) {
        let found = mistake(located.offset(&key), &key, message);
        if !unreadable.contains(&found.line) && !mistakes.contains(&found) {
            mistakes.push(found);
        }
    }
    mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
    mistakes
}

/// A definition is read again and again, each time without what the last attempt stumbled over.
struct Reading {
    value: Value,
    found: Vec<(String, String)>,
}

impl Reading {
    fn of(located: &Located) -> Reading {
        let mut reading = Reading { value: located.value.clone(), found: Vec::new() };
        for (key, why) in &located.misfits {
            reading.found.push((key.clone(), (*why).to_owned()));
            remove(&mut reading.value, &path_of(&located.value, key));
        }
        reading
    }

    /// What is wrong, by key. `torn`: parts of the text could not be read at all, so that nothing is surely missing.
    fn mistakes(mut self, torn: bool) -> Vec<(String, String)> {
        let mut definition = None;
        for _ in 0..MOST {
            match serde_path_to_error::deserialize::<_, Definition>(&self.value) {
                Ok(read) => {
                    definition = Some(read);
                    break;
                }
                Err(error) => {
                    let path = error.path().iter().filter_map(|segment| match segment {
                        Segment::Map { key } => Some(key.clone()),
                        Segment::Seq { index } => Some(index.to_string()),
                        Segment::Enum { .. } | Segment::Unknown => None,
                    });
                    if !self.stumbled(path.collect(), &error.inner().to_string(), torn) {
                        break;
                    }
                }
            }
        }
        let whole = self.found.is_empty() && !torn;
        let unread: Vec<String> = self.found.iter().map(|(key, _)| key.clone()).collect();
        let findings = definition.map(|definition| check(&definition)).unwrap_or_default();
        for Finding { at, message, absence } in findings {
            // It may only follow from what could not be read.
            let known = unread.iter().any(|key| is_at_or_below(key, &at) || is_at_or_below(&at, key));
            if whole || (!absence && !known) {
                self.found.push((at, message));
            }
        }
        self.found
    }

    /// Notes one mistake and takes its cause out of the value; `false`: there is nothing that could be taken out.
    fn stumbled(&mut self, mut path: Vec<String>, said: &str, torn: bool) -> bool {
        let quoted = said.split('`').nth(1).unwrap_or_default();
        let is_member = |path: &[String]| at(&self.value, path).is_some_and(|value| value.get(quoted).is_some());
        let message;
        if said.starts_with("missing field") {
            path.push(quoted.to_owned());
            let added = add(&mut self.value, &path, placeholder(quoted));
            if !torn {
                self.note(&path, "is missing".to_owned());
            }
            return added;
        } else if said.starts_with("unknown ") && (is_member(&path) || path.last().is_some_and(|key| key == quoted)) {
            if is_member(&path) {
                path.push(quoted.to_owned());
            }
            message = match said.split_once("expected ") {
                Some((_, expected)) => format!("is unknown; expected {}", expected.replace('`', "")),
                None => "is unknown".to_owned(),
            };
        } else {
            let texts = at(&self.value, &path).map(|value| wrong_texts(value, &path)).unwrap_or_default();
            if texts.iter().any(|(_, why)| why == said) {
                texts.iter().for_each(|(path, why)| self.note(path, why.clone()));
                for (path, _) in &texts {
                    remove(&mut self.value, path);
                }
                return true;
            }
            message = without_values(said);
        }
        self.note(&path, message);
        match path.as_slice() {
            [section, name] if matches!(section.as_str(), "credentials" | "variables") => {
                // It stays declared, so that its uses are no mistakes.
                let empty = Value::Object(serde_json::Map::new());
                at(&self.value, &path) != Some(&empty) && add(&mut self.value, &[section.clone(), name.clone()], empty)
            }
            path => (1..=path.len()).rev().any(|depth| remove(&mut self.value, &path[..depth])),
        }
    }

    /// A table that has lost what was wrong in it may be wrong for that alone.
    fn note(&mut self, path: &[String], message: String) {
        let key = path.join(".");
        if !self.found.iter().any(|(known, _)| is_at_or_below(known, &key)) {
            self.found.push((key, message));
        }
    }
}

fn is_at_or_below(key: &str, other: &str) -> bool {
    key.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || other.is_empty())
}

/// What may stand for a value that is missing, so that reading goes on.
fn placeholder(key: &str) -> Value {
    match key {
        "grants" => Value::Object(serde_json::Map::new()),
        "issuer" | "url" => Value::from("https://missing.example"),
        _ => Value::from("missing"),
    }
}

fn at<'a>(value: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| match value {
        Value::Object(members) => members.get(key),
        Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        _ => None,
    })
}

fn parent<'a>(value: &'a mut Value, path: &[String]) -> Option<&'a mut Value> {
    path.split_last()?.1.iter().try_fold(value, |value, key| match value {
        Value::Object(members) => members.get_mut(key),
        Value::Array(items) => items.get_mut(key.parse::<usize>().ok()?),
        _ => None,
    })
}

/// The texts inside a list or object that are no templates.
fn wrong_texts(value: &Value, path: &[String]) -> Vec<(Vec<String>, String)> {
    let inside = |key: String, value| wrong_texts(value, &[path, &[key]].concat());
    match value {
        Value::String(text) => Template::parse(text).err().map(|why| (path.to_vec(), why)).into_iter().collect(),
        Value::Array(items) => {
            items.iter().enumerate().flat_map(|(index, item)| inside(index.to_string(), item)).collect()
        }
        Value::Object(members) => members.iter().flat_map(|(key, value)| inside(key.clone(), value)).collect(),
        _ => Vec::new(),
    }
}

/// Removes a member. An item takes its whole list along: the others would lose the numbers by which they are found in the
/// text.
fn remove(value: &mut Value, path: &[String]) -> bool {
    match (parent(value, path), path.split_last()) {
        (Some(Value::Object(members)), Some((key, _))) => members.shift_remove(key).is_some(),
        (Some(Value::Array(_)), Some((_, list))) => remove(value, list),
        _ => false,
    }
}

fn add(value: &mut Value, path: &[String], new: Value) -> bool {
    match (parent(value, path), path.last()) {
        (Some(Value::Object(members)), Some(key)) => {
            members.insert(key.clone(), new);
            true
        }
        _ => false,
    }
}

/// The parts of a joined path: a key may hold dots itself.
fn path_of(value: &Value, joined: &str) -> Vec<String> {
    match value {
        Value::Object(members) => {
            let inside = members.iter().find(|(key, _)| is_at_or_below(joined, key));
            inside.map_or_else(Vec::new, |(key, inner)| descend(key, inner, joined))
        }
        Value::Array(items) => {
            let index = joined.split('.').next().unwrap_or_default();
            let inner = index.parse::<usize>().ok().and_then(|index| items.get(index));
            inner.map_or_else(Vec::new, |inner| descend(index, inner, joined))
        }
        _ => Vec::new(),
    }
}

fn descend(key: &str, inner: &Value, joined: &str) -> Vec<String> {
    let rest = joined[key.len()..].trim_start_matches('.');
    let mut path = vec![key.to_owned()];
    if !rest.is_empty() {
        path.extend(path_of(inner, rest));
    }
    path
}
