//! The members of a request body, taken one by one, so that a missing, ill-typed or unknown one is named.

use serde_json::{Map, Value};
use std::fmt;

/// What is wrong with which field.
#[derive(Debug, PartialEq)]
pub(crate) struct FieldError {
    field: String,
    problem: String,
}

impl FieldError {
    pub(crate) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.problem)
    }
}

/// Fields still to be taken. Whatever is left at [`Fields::finish`] is unknown, and refused.
#[derive(Debug)]
pub(crate) struct Fields {
    map: Map<String, Value>,
    prefix: String,
}

impl Fields {
    pub(crate) fn empty() -> Self {
        Self { map: Map::new(), prefix: String::new() }
    }

    pub(crate) fn from_json(body: &[u8]) -> Result<Self, FieldError> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(map)) => Ok(Self { map, prefix: String::new() }),
            Ok(_) => Err(FieldError::new("body", "must be a JSON object")),
            Err(error) => Err(FieldError::new("body", format!("is not JSON ({error})"))),
        }
    }

    /// Also for query strings, which have the same form. A repeated field is refused (RFC 6749 3.2).
    pub(crate) fn from_form(body: &[u8]) -> Result<Self, FieldError> {
        let mut map = Map::new();
        for (name, value) in url::form_urlencoded::parse(body) {
            if map.insert(name.to_string(), Value::String(value.into_owned())).is_some() {
                return Err(FieldError::new(name, "is given more than once"));
            }
        }
        Ok(Self { map, prefix: String::new() })
    }

    /// A form in which the named fields may come more than once ([`Fields::list`] takes them), and a field without a
    /// value counts as left out (RFC 6749 3.2).
    pub(crate) fn from_form_with_lists(body: &[u8], lists: &[&str]) -> Result<Self, FieldError> {
        let mut map = Map::new();
        for (name, value) in url::form_urlencoded::parse(body) {
            let (listed, value) = (lists.contains(&name.as_ref()), Value::String(value.into_owned()));
            match map.get_mut(name.as_ref()) {
                _ if value == "" => {}
                Some(Value::Array(list)) => list.push(value),
                Some(_) => return Err(FieldError::new(name, "is given more than once")),
                None => drop(map.insert(name.to_string(), if listed { Value::Array(vec![value]) } else { value })),
            }
        }
        Ok(Self { map, prefix: String::new() })
    }

    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn wrong<T>(&self, name: &str, problem: &str) -> Result<T, FieldError> {
        Err(FieldError::new(self.name(name), problem))
    }

    fn needed<T>(&self, name: &str, value: Option<T>) -> Result<T, FieldError> {
        value.map_or_else(|| self.wrong(name, "is missing"), Ok)
    }

    /// Adds a field that came another way; given both ways it is refused.
    pub(crate) fn add(&mut self, name: &str, text: String) -> Result<(), FieldError> {
        match self.map.insert(name.to_owned(), Value::String(text)) {
            None => Ok(()),
            Some(_) => self.wrong(name, "is given in the body and in Authorization; once is enough (RFC 6749 2.3)"),
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    pub(crate) fn value(&mut self, name: &str) -> Option<Value> {
        self.map.shift_remove(name)
    }

    pub(crate) fn optional_text(&mut self, name: &str) -> Result<Option<String>, FieldError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
            Some(Value::String(_)) => self.wrong(name, "is empty"),
            Some(_) => self.wrong(name, "must be a string"),
        }
    }

    pub(crate) fn text(&mut self, name: &str) -> Result<String, FieldError> {
        let value = self.optional_text(name)?;
        self.needed(name, value)
    }

    /// A finite number.
    pub(crate) fn number(&mut self, name: &str) -> Result<Option<f64>, FieldError> {
        match self.value(name) {
            None => Ok(None),
            Some(value) => value.as_f64().map_or_else(|| self.wrong(name, "must be a number"), |n| Ok(Some(n))),
        }
    }

    /// A whole number from 0 upwards.
    pub(crate) fn count(&mut self, name: &str) -> Result<Option<u64>, FieldError> {
        match self.value(name) {
            None => Ok(None),
            Some(value) => {
                value.as_u64().map_or_else(|| self.wrong(name, "must be a whole number, not negative"), |n| Ok(Some(n)))
            }
        }
    }

    pub(crate) fn flag(&mut self, name: &str) -> Result<Option<bool>, FieldError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => self.wrong(name, "must be true or false"),
        }
    }

    /// `true` where the field is; `false` says nothing that leaving it out does not say, so it is refused.
    pub(crate) fn mark(&mut self, name: &str) -> Result<bool, FieldError> {
        match self.flag(name)? {
            Some(false) => self.wrong(name, "must be true, or left out"),
            given => Ok(given.is_some()),
        }
    }

    pub(crate) fn optional_map(&mut self, name: &str) -> Result<Option<Map<String, Value>>, FieldError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map)),
            Some(_) => self.wrong(name, "must be an object"),
        }
    }

    /// A required object, whose own fields are named `name.field` in errors.
    pub(crate) fn object(&mut self, name: &str) -> Result<Fields, FieldError> {
        let map = self.optional_map(name)?;
        let map = self.needed(name, map)?;
        Ok(Fields { map, prefix: format!("{}.", self.name(name)) })
    }

    pub(crate) fn optional_texts(&mut self, name: &str) -> Result<Option<Vec<String>>, FieldError> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let texts = value
            .as_array()
            .and_then(|list| list.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>());
        texts.map_or_else(|| self.wrong(name, "must be a list of strings"), |texts| Ok(Some(texts)))
    }

    pub(crate) fn texts(&mut self, name: &str) -> Result<Vec<String>, FieldError> {
        let texts = self.optional_texts(name)?;
        self.needed(name, texts)
    }

    /// What is wrong with a field, under its whole name.
    pub(crate) fn error(&self, name: &str, problem: &str) -> FieldError {
        FieldError::new(self.name(name), problem)
    }

    /// A list of objects, whose own fields are named `name.0.field` in errors.
    pub(crate) fn optional_list(&mut self, name: &str) -> Result<Option<Vec<Fields>>, FieldError> {
        let list = match self.value(name) {
            None => return Ok(None),
            Some(Value::Array(list)) => list,
            Some(_) => return self.wrong(name, "must be a list"),
        };
        let items = list.into_iter().enumerate().map(|(index, item)| match item {
            Value::Object(map) => Ok(Fields { map, prefix: format!("{}.{index}.", self.name(name)) }),
            _ => self.wrong(&format!("{name}.{index}"), "must be an object"),
        });
        items.collect::<Result<_, _>>().map(Some)
    }

    /// A field that may come more than once; empty where it does not come at all.
    pub(crate) fn list(&mut self, name: &str) -> Vec<String> {
        match self.value(name) {
            Some(Value::Array(list)) => list.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect(),
            Some(Value::String(text)) => vec![text],
            _ => Vec::new(),
        }
    }

    /// One of a few words.
    pub(crate) fn choice(&mut self, name: &str, words: &[&str]) -> Result<Option<String>, FieldError> {
        match self.optional_text(name)? {
            Some(word) if !words.contains(&word.as_str()) => {
                self.wrong(name, &format!("must be one of {}", words.join(", ")))
            }
            word => Ok(word),
        }
    }

    pub(crate) fn finish(self) -> Result<(), FieldError> {
        match self.map.keys().next() {
            Some(name) => Err(FieldError::new(self.name(name), "is not a known field")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_fields_are_named_by_their_whole_path() {
        let mut fields = Fields::from_json(br#"{"signin": {"username": "a", "extra": 1}}"#).unwrap();
        let mut signin = fields.object("signin").unwrap();
        assert_eq!(signin.text("password").unwrap_err().to_string(), "signin.password: is missing");
        signin.text("username").unwrap();
        assert_eq!(signin.finish().unwrap_err().to_string(), "signin.extra: is not a known field");
    }

    #[test]
    fn a_repeated_form_field_is_refused() {
        assert_eq!(Fields::from_form(b"a=1&a=2").unwrap_err().to_string(), "a: is given more than once");
        assert!(Fields::from_form_with_lists(b"a=1&a=2", &["b"]).is_err());
    }

    #[test]
    fn a_list_keeps_its_order_and_an_empty_value_is_none() {
        let mut fields = Fields::from_form_with_lists(b"a=2&b=&a=1&a=", &["a"]).unwrap();
        assert_eq!((fields.list("a"), fields.has("b")), (vec!["2".to_owned(), "1".to_owned()], false));
    }
}
