//! Placeholders in case files: `{sim}`, `{folder}`, `{known.quable.password}`, `{vars.NAME}`, `{filler.BYTES}` and, for what an
//! earlier step answered, `{LABEL.FIELD}` or `{LABEL.FIELD#/json/pointer}`.

use std::collections::BTreeMap;

use qauth_sim::known;
use serde_json::{Map, Value};

use crate::wire::Reply;

/// What placeholders stand for.
#[derive(Default)]
pub struct Scope {
    /// The simulator's URL.
    pub sim: String,
    /// The folder that the case's files lie in.
    pub folder: String,
    /// The case's own variables, of any type.
    pub vars: Map<String, Value>,
    /// Replies of labelled steps.
    pub replies: BTreeMap<String, Reply>,
}

/// The credentials that a fresh simulator accepts: vendor, field, value, and whether it must never be seen.
pub fn known_credentials() -> impl Iterator<Item = (&'static str, &'static str, &'static str, bool)> {
    KNOWN
        .iter()
        .copied()
        .chain(known::GENERIC.iter().map(|(field, value, secret)| ("generic", *field, *value, *secret)))
}

const KNOWN: &[(&str, &str, &str, bool)] = &[
    ("quantaprice", "client_id", known::QUANTAPRICE_CLIENT_ID, false),
    ("quantaprice", "client_secret", known::QUANTAPRICE_CLIENT_SECRET, true),
    ("quantaprice", "second_client_id", known::QUANTAPRICE_SECOND_CLIENT_ID, false),
    ("quantaprice", "second_client_secret", known::QUANTAPRICE_SECOND_CLIENT_SECRET, true),
    ("quiqup", "client_id", known::QUIQUP_CLIENT_ID, false),
    ("quiqup", "client_secret", known::QUIQUP_CLIENT_SECRET, true),
    ("quable", "username", known::QUABLE_USERNAME, false),
    ("quable", "password", known::QUABLE_PASSWORD, true),
    ("quable", "generic_token", known::QUABLE_GENERIC_TOKEN, true),
    ("quartile", "username", known::QUARTILE_USERNAME, false),
    ("quartile", "password", known::QUARTILE_PASSWORD, true),
    ("quartile", "subscription_key", known::QUARTILE_SUBSCRIPTION_KEY, true),
    ("qpay", "client_id", known::QPAY_CLIENT_ID, false),
    ("qpay", "client_secret", known::QPAY_CLIENT_SECRET, true),
    ("qpay", "username", known::QPAY_USERNAME, false),
    ("qpay", "password", known::QPAY_PASSWORD, true),
    ("qpay", "tenant_id", known::QPAY_TENANT_ID, false),
    ("qpay", "tenant_type", known::QPAY_TENANT_TYPE, false),
];

impl Scope {
    /// Replaces the placeholders in every text of `value`. A text that is one `{vars.NAME}` takes the variable's type.
    ///
    /// # Errors
    /// The placeholder that stands for nothing.
    pub fn fill(&self, value: &Value) -> Result<Value, String> {
        Ok(match value {
            Value::String(text) => {
                let whole = text.strip_prefix("{vars.").and_then(|rest| rest.strip_suffix('}'));
                match whole.filter(|name| !name.contains(['{', '}'])) {
                    Some(name) => self.fill(self.variable(name)?)?,
                    None => Value::String(self.text(text)?),
                }
            }
            Value::Array(list) => Value::Array(list.iter().map(|item| self.fill(item)).collect::<Result<_, _>>()?),
            Value::Object(map) => Value::Object(self.fill_map(map)?),
            other => other.clone(),
        })
    }

    /// The same for a table, its keys included.
    ///
    /// # Errors
    /// As [`Scope::fill`].
    pub fn fill_map(&self, map: &Map<String, Value>) -> Result<Map<String, Value>, String> {
        map.iter().map(|(key, value)| Ok((self.text(key)?, self.fill(value)?))).collect()
    }

    /// Replaces the placeholders in one text; braces that belong to something else (a provider's templates) stay.
    ///
    /// # Errors
    /// As [`Scope::fill`].
    pub fn text(&self, text: &str) -> Result<String, String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            out.push_str(&rest[..at]);
            let end = rest[at..].find('}').map(|end| at + end);
            let filled = match end {
                Some(end) => self.placeholder(&rest[at + 1..end])?,
                None => None,
            };
            match (filled, end) {
                (Some(value), Some(end)) => {
                    out.push_str(&value);
                    rest = &rest[end + 1..];
                }
                _ => {
                    out.push('{');
                    rest = &rest[at + 1..];
                }
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    fn placeholder(&self, inside: &str) -> Result<Option<String>, String> {
        match inside {
            "sim" => return Ok(Some(self.sim.clone())),
            "folder" => return Ok(Some(self.folder.clone())),
            _ => {}
        }
        let Some((first, rest)) = inside.split_once('.') else { return Ok(None) };
        let missing = || format!("{{{inside}}} stands for nothing");
        match first {
            "known" => {
                let (vendor, field) = rest.split_once('.').ok_or_else(missing)?;
                let found = known_credentials().find(|(of, name, ..)| *of == vendor && *name == field);
                Ok(Some(found.ok_or_else(missing)?.2.to_owned()))
            }
            "vars" => Ok(Some(plain(&self.fill(self.variable(rest)?)?))),
            "filler" => Ok(Some("x".repeat(rest.parse().map_err(|_| missing())?))),
            label => {
                let Some(reply) = self.replies.get(label) else { return Ok(None) };
                let (field, pointer) = rest.split_once('#').unwrap_or((rest, ""));
                let value = reply.get(field).ok_or_else(missing)?;
                if pointer.is_empty() {
                    return Ok(Some(value.to_owned()));
                }
                let json: Value =
                    serde_json::from_str(value).map_err(|_| format!("{{{inside}}}: the field is not JSON"))?;
                Ok(Some(plain(json.pointer(pointer).ok_or_else(missing)?)))
            }
        }
    }

    fn variable(&self, name: &str) -> Result<&Value, String> {
        self.vars.get(name).ok_or_else(|| format!("{{vars.{name}}} stands for nothing"))
    }
}

/// A JSON value as drivers and matchers see it: text as it is, everything else as JSON.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn placeholders_are_filled_and_other_braces_stay() {
        let vars = json!({"count": 3, "url": "{sim}/x"}).as_object().unwrap().clone();
        let mut scope = Scope { sim: "http://s".into(), vars, ..Scope::default() };
        scope.replies.insert("first".into(), Reply::ok().with("result", "{\"a\": {\"b\": \"c\"}}"));
        assert_eq!(scope.fill(&json!("{vars.count}")).unwrap(), json!(3));
        assert_eq!(scope.fill(&json!("{vars.url}")).unwrap(), json!("http://s/x"));
        assert_eq!(scope.text("a {vars.count} {client_id} {first.result#/a/b} {").unwrap(), "a 3 {client_id} c {");
        assert_eq!(scope.text("{known.qpay.tenant_id}").unwrap(), "issuer-001");
        assert!(scope.text("{known.qpay.nothing}").is_err() && scope.text("{first.nothing}").is_err());
    }
}
