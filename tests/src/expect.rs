//! What a reply must be: matchers over its fields.

use serde_json::{Map, Value};

use crate::text::plain;
use crate::wire::Reply;

/// Checks a reply against `ok = {…}` or `error = "code"` / `error = {…}`; with neither, any success will do.
///
/// # Errors
/// The first difference.
pub fn check(reply: &Reply, ok: Option<&Value>, error: Option<&Value>) -> Result<(), String> {
    let wanted = if error.is_some() { "error" } else { "ok" };
    if reply.kind != wanted {
        return Err(format!("expected {wanted}"));
    }
    match ok.or(error) {
        None => Ok(()),
        Some(Value::String(code)) => field(reply, "code", &Value::from(code.as_str())),
        Some(Value::Object(fields)) => fields.iter().try_for_each(|(name, wanted)| field(reply, name, wanted)),
        Some(_) => Err("the case's expectation is neither a table nor a code".into()),
    }
}

fn field(reply: &Reply, name: &str, wanted: &Value) -> Result<(), String> {
    let found = reply.get(name);
    matches(found, wanted).map_err(|why| {
        format!("{name}: {why}, got {}", found.map_or("nothing".into(), |text| format!("{:?}", shortened(text))))
    })
}

/// The beginning of a long text.
pub fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(400).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// Compares a value, absent or not, with a literal or with a table of matchers, all of which must hold.
///
/// # Errors
/// What was expected.
pub fn matches(found: Option<&str>, wanted: &Value) -> Result<(), String> {
    let Value::Object(matchers) = wanted else { return equal(found, wanted) };
    matchers.iter().try_for_each(|(name, argument)| matcher(found, name, argument))
}

fn matcher(found: Option<&str>, name: &str, argument: &Value) -> Result<(), String> {
    if name == "absent" {
        return if found.is_none() == (argument == &Value::Bool(true)) {
            Ok(())
        } else {
            Err(format!("expected absent = {argument}"))
        };
    }
    let text = found.ok_or_else(|| format!("expected {name} {argument}"))?;
    let number = || text.parse::<f64>().map_err(|_| "expected a number".to_owned());
    let holds = match name {
        "equals" => return equal(found, argument),
        "min" => number()? >= limit(argument)?,
        "max" => number()? <= limit(argument)?,
        "contains" => each(argument).all(|part| text.contains(&part)),
        "lacks" => each(argument).all(|part| !text.contains(&part)),
        "not" => each(argument).all(|other| text != other),
        "one_of" => each(argument).any(|other| text == other),
        "json" => return json(text, argument.as_object().ok_or("json: expected a table")?),
        _ => return Err(format!("{name:?} is no matcher")),
    };
    if holds { Ok(()) } else { Err(format!("expected {name} {argument}")) }
}

fn limit(argument: &Value) -> Result<f64, String> {
    plain(argument).parse().map_err(|_| format!("{argument} is no number"))
}

fn each(argument: &Value) -> impl Iterator<Item = String> {
    let list = match argument {
        Value::Array(list) => list.iter().map(plain).collect(),
        one => vec![plain(one)],
    };
    list.into_iter()
}

fn equal(found: Option<&str>, wanted: &Value) -> Result<(), String> {
    let text = found.ok_or_else(|| format!("expected {wanted}"))?;
    let same = match wanted {
        Value::Number(wanted) => {
            text.parse::<f64>().is_ok_and(|number| (number - wanted.as_f64().unwrap_or(f64::NAN)).abs() < 1e-6)
        }
        Value::Array(_) => serde_json::from_str::<Value>(text).is_ok_and(|value| value == *wanted),
        wanted => text == plain(wanted),
    };
    if same { Ok(()) } else { Err(format!("expected {wanted}")) }
}

/// Members of a JSON text by JSON Pointer (RFC 6901); the empty pointer is the whole.
fn json(text: &str, members: &Map<String, Value>) -> Result<(), String> {
    let document: Value = serde_json::from_str(text).map_err(|_| "expected JSON".to_owned())?;
    members.iter().try_for_each(|(pointer, wanted)| {
        let found = document.pointer(pointer).map(plain);
        matches(found.as_deref(), wanted).map_err(|why| format!("{pointer}: {why}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn literals_compare_by_their_type() {
        assert!(matches(Some("3600.0"), &json!(3600)).is_ok());
        assert!(matches(Some("3600.5"), &json!(3600)).is_err());
        assert!(matches(Some("true"), &json!(true)).is_ok());
        assert!(matches(None, &json!("x")).is_err());
    }

    #[test]
    fn all_matchers_of_a_table_must_hold() {
        assert!(matches(Some("abc"), &json!({"contains": ["a", "c"], "lacks": "d", "not": "abcd"})).is_ok());
        assert!(matches(Some("abc"), &json!({"contains": "a", "lacks": "b"})).is_err());
        assert!(matches(Some("5"), &json!({"min": 5, "max": 5.5})).is_ok());
        assert!(matches(None, &json!({"absent": true})).is_ok());
        assert!(matches(None, &json!({"contains": "a"})).is_err());
        assert!(matches(Some("a"), &json!({"cotnains": "a"})).is_err());
    }

    #[test]
    fn members_of_json_are_compared_by_pointer() {
        let wanted = json!({"json": {"/a/b": 1, "/a/c": {"absent": true}, "/n": "null"}});
        assert!(matches(Some("{\"a\": {\"b\": 1}, \"n\": null}"), &wanted).is_ok());
        assert!(matches(Some("{\"a\": {\"b\": 2}, \"n\": null}"), &wanted).is_err());
        assert!(matches(Some("no"), &wanted).is_err());
    }
}
