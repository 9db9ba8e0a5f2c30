//! Templates: `{name}` or `{function(argument)}` inside text, with functions from a closed list and no logic.

use std::collections::HashMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::random::random_hex;
use crate::secret::Secret;

/// RFC 3986 unreserved characters stay; everything else in a path segment is escaped.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Text with variables in it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    Variable(String),
    Call(Function, String),
}

/// The functions that a template may call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Function {
    /// Standard Base64 of a variable.
    Base64,
    /// The time now: `seconds` or `milliseconds` since 1970.
    Now,
    /// That many random bytes in hex.
    Random,
    /// A JWT of the file's `[jwts]`, signed for this one rendering.
    Jwt,
}

/// A value that a template's variable stands for.
#[derive(Clone, Debug)]
pub(crate) enum Bound {
    Secret(Secret),
    Json(Value),
}

impl From<&str> for Bound {
    fn from(text: &str) -> Bound {
        Bound::Json(Value::from(text))
    }
}

/// What variables mean in one rendering.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    pub(crate) values: HashMap<String, Bound>,
    pub(crate) unix_ms: u128,
    /// Those that were signed for this rendering.
    pub(crate) jwts: HashMap<String, Secret>,
}

/// Where the rendered text will stand, which decides how values are escaped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Place {
    /// Encoded as a whole later: form and query values, JSON strings.
    Whole,
    /// One segment of a URL's path.
    Path,
    /// Part of a URL's host: only what a DNS label holds, so that no value can point a credential elsewhere.
    Host,
    /// A header's value: control characters are refused.
    Header,
}

impl Template {
    /// Parses; the error says what is wrong, for the caller to put the key's name before it.
    pub(crate) fn parse(text: &str) -> Result<Template, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..at + 1];
            if rest[at + 1..].starts_with(brace) {
                literal.push_str(brace);
                rest = &rest[at + 2..];
                continue;
            }
            if brace == "}" {
                return Err("has a } without its {; write }} for a literal one".to_owned());
            }
            let end = rest[at..].find('}').ok_or("has a { without its }; write {{ for a literal one")?;
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(Part::parse(&rest[at + 1..at + end])?);
            rest = &rest[at + end + 1..];
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Template(parts))
    }

    /// The names of the variables in it.
    pub(crate) fn variables(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Variable(name) | Part::Call(Function::Base64, name) => Some(name.as_str()),
            Part::Text(_) | Part::Call(..) => None,
        })
    }

    /// The names of the JWTs in it.
    pub(crate) fn jwts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Call(Function::Jwt, name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// What stands before and after its one variable `name`; `None` unless there is exactly one such and no other.
    pub(crate) fn around(&self, name: &str) -> Option<(&str, &str)> {
        let at = self.0.iter().position(|part| matches!(part, Part::Variable(variable) if variable == name))?;
        let (before, after) = (&self.0[..at], &self.0[at + 1..]);
        Some((literal(before)?, literal(after)?))
    }

    /// Whether it is one variable and nothing else.
    pub(crate) fn is_variable(&self) -> bool {
        matches!(self.0.as_slice(), [Part::Variable(_)])
    }

    /// The whole of it, where there is nothing to fill in.
    pub(crate) fn text(&self) -> Option<&str> {
        literal(&self.0)
    }

    /// Whether names are all that is to be filled in.
    pub(crate) fn calls_nothing(&self) -> bool {
        !self.0.iter().any(|part| matches!(part, Part::Call(..)))
    }

    /// The variables of a URL that stand before its path.
    pub(crate) fn host_variables(&self) -> impl Iterator<Item = &str> {
        let mut in_host = true;
        self.0.iter().filter_map(move |part| match part {
            Part::Text(text) => {
                let rest = text.split_once("://").map_or(text.as_str(), |(_, rest)| rest);
                in_host &= !rest.contains(['/', '?', '#']);
                None
            }
            Part::Variable(name) | Part::Call(Function::Base64, name) => in_host.then_some(name.as_str()),
            Part::Call(..) => None,
        })
    }

    /// The text before the first variable.
    pub(crate) fn literal_start(&self) -> &str {
        match self.0.first() {
            Some(Part::Text(text)) => text,
            _ => "",
        }
    }

    /// The text, or `None` where a variable has no value, so that its field is dropped.
    pub(crate) fn render(&self, scope: &Scope, place: Place) -> Result<Option<String>> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Variable(name) => match scope.text(name)? {
                    Some(value) => place.push(&mut text, name, &value)?,
                    None => return Ok(None),
                },
                Part::Call(Function::Base64, name) => match scope.text(name)? {
                    Some(value) => place.push(&mut text, name, &STANDARD.encode(value))?,
                    None => return Ok(None),
                },
                Part::Call(Function::Now, unit) => {
                    let now = if unit == "milliseconds" { scope.unix_ms } else { scope.unix_ms / 1000 };
                    text.push_str(&now.to_string());
                }
                Part::Call(Function::Random, bytes) => text.push_str(&random_hex(bytes.parse().unwrap_or(16))),
                // Of letters, digits, `-`, `_` and `.` alone, so that it needs no escaping anywhere.
                Part::Call(Function::Jwt, name) => match scope.jwts.get(name) {
                    Some(jwt) => text.push_str(jwt.expose()),
                    None => return Ok(None),
                },
            }
        }
        Ok(Some(text))
    }

    /// Like [`Template::render`], but a template that is one variable keeps the type of its value, and the time alone is
    /// a number.
    pub(crate) fn render_json(&self, scope: &Scope) -> Result<Option<Value>> {
        if let [Part::Variable(name)] = self.0.as_slice()
            && let Some(Bound::Json(value)) = scope.values.get(name)
        {
            return Ok(Some(value.clone()));
        }
        let text = self.render(scope, Place::Whole)?;
        Ok(match self.0.as_slice() {
            [Part::Call(Function::Now, _)] => text.and_then(|text| text.parse::<u64>().ok()).map(Value::from),
            _ => text.map(Value::from),
        })
    }
}

/// The text of parts that are text alone.
fn literal(parts: &[Part]) -> Option<&str> {
    match parts {
        [] => Some(""),
        [Part::Text(text)] => Some(text),
        _ => None,
    }
}

impl Part {
    fn parse(inside: &str) -> Result<Part, String> {
        let is_name = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_lowercase())
                && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        };
        if is_name(inside) {
            return Ok(Part::Variable(inside.to_owned()));
        }
        let wrong = || {
            // No more than what can be meant as a name or call: anything may have been pasted here.
            let harmless = |c: char| c.is_ascii_alphanumeric() || "_-.()".contains(c);
            let inside = if inside.len() <= 32 && inside.chars().all(harmless) { inside } else { "…" };
            format!(
                "has {{{inside}}}: expected {{name}} or {{function(argument)}}, the functions being base64, now, random, jwt"
            )
        };
        let (function, argument) = inside.strip_suffix(')').and_then(|call| call.split_once('(')).ok_or_else(wrong)?;
        match function {
            "base64" if is_name(argument) => Ok(Part::Call(Function::Base64, argument.to_owned())),
            "jwt" if is_name(argument) => Ok(Part::Call(Function::Jwt, argument.to_owned())),
            "now" if ["seconds", "milliseconds"].contains(&argument) => {
                Ok(Part::Call(Function::Now, argument.to_owned()))
            }
            "random" if argument.parse().is_ok_and(|bytes: usize| (8..=64).contains(&bytes)) => {
                Ok(Part::Call(Function::Random, argument.to_owned()))
            }
            "now" => Err("calls now(…): expected now(seconds) or now(milliseconds)".to_owned()),
            "random" => Err("calls random(…): expected a number of bytes from 8 to 64".to_owned()),
            _ => Err(wrong()),
        }
    }
}

impl Scope {
    pub(crate) fn set(&mut self, name: &str, value: impl Into<Bound>) {
        self.values.insert(name.to_owned(), value.into());
    }

    fn text(&self, name: &str) -> Result<Option<String>> {
        match self.values.get(name) {
            None | Some(Bound::Json(Value::Null)) => Ok(None),
            Some(Bound::Secret(secret)) => Ok(Some(secret.expose().to_owned())),
            Some(Bound::Json(Value::String(text))) => Ok(Some(text.clone())),
            Some(Bound::Json(value @ (Value::Number(_) | Value::Bool(_)))) => Ok(Some(value.to_string())),
            Some(Bound::Json(_)) => Err(Error::invalid_argument(format!(
                "{name} is a list or object, which cannot stand inside text: give text, a number or a boolean"
            ))),
        }
    }
}

impl Place {
    fn push(self, text: &mut String, name: &str, value: &str) -> Result<()> {
        match self {
            Place::Whole => text.push_str(value),
            Place::Path => {
                if matches!(value, "" | "." | "..") {
                    return Err(Error::invalid_argument(format!(
                        "{name} is empty, \".\" or \"..\", which cannot be a path segment"
                    )));
                }
                text.extend(utf8_percent_encode(value, SEGMENT));
            }
            Place::Host => {
                if value.is_empty() || !value.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
                    return Err(Error::config(format!("{name} must be one DNS label: letters, digits and hyphens")));
                }
                text.push_str(value);
            }
            Place::Header => {
                if value.chars().any(char::is_control) {
                    return Err(Error::invalid_argument(format!(
                        "{name} holds a control character, which a header cannot carry"
                    )));
                }
                text.push_str(value);
            }
        }
        Ok(())
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.0 {
            match part {
                Part::Text(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}"))?,
                Part::Variable(name) => write!(f, "{{{name}}}")?,
                Part::Call(function, argument) => {
                    write!(f, "{{{}({argument})}}", format!("{function:?}").to_ascii_lowercase())?;
                }
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Template::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// A JSON body whose strings are templates.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum JsonTemplate {
    Text(Template),
    List(Vec<JsonTemplate>),
    Object(Vec<(String, JsonTemplate)>),
    Literal(Value),
}

impl JsonTemplate {
    fn parse(value: Value) -> Result<JsonTemplate, String> {
        Ok(match value {
            Value::String(text) => JsonTemplate::Text(Template::parse(&text)?),
            Value::Array(list) => {
                JsonTemplate::List(list.into_iter().map(JsonTemplate::parse).collect::<Result<_, _>>()?)
            }
            Value::Object(members) => JsonTemplate::Object(
                members
                    .into_iter()
                    .map(|(key, value)| Ok((key, JsonTemplate::parse(value)?)))
                    .collect::<Result<_, String>>()?,
            ),
            literal => JsonTemplate::Literal(literal),
        })
    }

    /// Every template in it.
    pub(crate) fn templates(&self) -> Vec<&Template> {
        match self {
            JsonTemplate::Text(template) => vec![template],
            JsonTemplate::List(list) => list.iter().flat_map(JsonTemplate::templates).collect(),
            JsonTemplate::Object(members) => members.iter().flat_map(|(_, value)| value.templates()).collect(),
            JsonTemplate::Literal(_) => Vec::new(),
        }
    }

    /// The same, each with the key where it stands.
    pub(crate) fn by_key(&self, at: String) -> Vec<(String, &Template)> {
        match self {
            JsonTemplate::Text(template) => vec![(at, template)],
            JsonTemplate::List(list) => {
                list.iter().enumerate().flat_map(|(index, item)| item.by_key(format!("{at}.{index}"))).collect()
            }
            JsonTemplate::Object(members) => {
                members.iter().flat_map(|(key, value)| value.by_key(format!("{at}.{key}"))).collect()
            }
            JsonTemplate::Literal(_) => Vec::new(),
        }
    }

    /// The body; members whose variable is absent are dropped.
    pub(crate) fn render(&self, scope: &Scope) -> Result<Option<Value>> {
        Ok(match self {
            JsonTemplate::Text(template) => template.render_json(scope)?,
            JsonTemplate::List(list) => {
                let rendered: Result<Vec<_>> = list.iter().map(|item| item.render(scope)).collect();
                Some(Value::Array(rendered?.into_iter().flatten().collect()))
            }
            JsonTemplate::Object(members) => {
                let mut object = serde_json::Map::new();
                for (key, value) in members {
                    if let Some(value) = value.render(scope)? {
                        object.insert(key.clone(), value);
                    }
                }
                Some(Value::Object(object))
            }
            JsonTemplate::Literal(value) => Some(value.clone()),
        })
    }
}

impl<'de> Deserialize<'de> for JsonTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        JsonTemplate::parse(Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        let mut scope = Scope { unix_ms: 1_700_000_000_123, ..Scope::default() };
        scope.set("name", "a b/ü");
        scope.set("roles", Bound::Json(serde_json::json!(["issuer"])));
        scope
    }

    fn render(text: &str, place: Place) -> Result<Option<String>> {
        Template::parse(text).unwrap().render(&scope(), place)
    }

    #[test]
    fn values_are_escaped_for_the_place_they_stand_in() {
        assert_eq!(render("/x/{name}", Place::Path).unwrap().unwrap(), "/x/a%20b%2F%C3%BC");
        assert_eq!(render("{name}", Place::Whole).unwrap().unwrap(), "a b/ü");
        assert!(render("{name}.example", Place::Host).is_err());
        assert_eq!(render("{base64(name)} {now(seconds)}", Place::Header).unwrap().unwrap(), "YSBiL8O8 1700000000");
        assert_eq!(render("{{{now(milliseconds)}}}", Place::Whole).unwrap().unwrap(), "{1700000000123}");
    }

    #[test]
    fn a_control_character_in_a_header_and_a_dot_segment_in_a_path_are_refused() {
        // fault 10
        let mut scope = Scope::default();
        scope.set("value", "a\r\nb");
        scope.set("dots", "..");
        assert!(Template::parse("{value}").unwrap().render(&scope, Place::Header).is_err());
        assert!(Template::parse("/{dots}").unwrap().render(&scope, Place::Path).is_err());
    }

    #[test]
    fn a_field_whose_variable_is_absent_is_dropped() {
        let body: JsonTemplate =
            serde_json::from_value(serde_json::json!({"a": "{absent}", "roles": "{roles}", "n": 1})).unwrap();
        assert_eq!(body.render(&scope()).unwrap().unwrap(), serde_json::json!({"roles": ["issuer"], "n": 1}));
    }

    #[test]
    fn what_is_no_template_is_refused_with_a_reason() {
        for wrong in ["{", "}", "{A}", "{a b}", "{eval(x)}", "{now(x)}", "{random(1)}", "{a{b}}"] {
            assert!(Template::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_template_prints_as_it_was_written() {
        for text in ["https://{instance}.example", "{{x}} {base64(name)}"] {
            assert_eq!(Template::parse(text).unwrap().to_string(), text);
        }
    }
}
