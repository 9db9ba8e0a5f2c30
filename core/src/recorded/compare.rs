//! What was expected beside what was found: `"*"` is anything, `{ jwt = … }` looks into a signed token.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::secret::Mask;

/// Longer values are cut.
const SHOWN: usize = 120;

/// Every difference, in sentences that hold no secret of the profile.
pub(super) struct Comparison {
    mask: Mask,
    differences: Vec<String>,
}

impl Comparison {
    pub(super) fn new(mask: Mask) -> Comparison {
        Comparison { mask, differences: Vec::new() }
    }

    pub(super) fn differs(&mut self, sentence: String) {
        self.differences.push(sentence);
    }

    pub(super) fn outcome(&self) -> Result<(), String> {
        if self.differences.is_empty() { Ok(()) } else { Err(self.differences.join("; ")) }
    }

    pub(super) fn masked(&self, text: &str) -> String {
        self.mask.clean(text, SHOWN)
    }

    /// Those headers that are listed.
    pub(super) fn headers(&mut self, at: &str, expected: &Map<String, Value>, found: impl Fn(&str) -> Option<String>) {
        for (name, expected) in expected {
            self.value(&format!("{at}.{name}"), expected, found(name).map(Value::from).as_ref());
        }
    }

    /// A whole value: what is not listed must not be there.
    pub(super) fn value(&mut self, at: &str, expected: &Value, found: Option<&Value>) {
        let Some(found) = found else {
            return self.differs(format!("{at}: is not there, expected {}", self.shown(expected)));
        };
        match (expected, found) {
            (Value::String(any), _) if any == "*" => {}
            (Value::Object(members), _) if is_jwt(members) => self.jwt(at, &members["jwt"], found),
            (Value::Object(expected), Value::Object(found)) => {
                for (key, expected) in expected {
                    self.value(&format!("{at}.{key}"), expected, found.get(key));
                }
                for key in found.keys().filter(|key| !expected.contains_key(*key)) {
                    self.differs(format!("{at}.{}: is there and was not expected", self.masked(key)));
                }
            }
            (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
                for (index, (expected, found)) in expected.iter().zip(found).enumerate() {
                    self.value(&format!("{at}.{index}"), expected, Some(found));
                }
            }
            (Value::Number(expected), Value::Number(found)) if expected.as_f64() == found.as_f64() => {}
            _ if expected == found => {}
            _ => self.differs(format!("{at}: expected {}, got {}", self.shown(expected), self.shown(found))),
        }
    }

    /// The listed members of a JWT, which may stand after a word such as `Bearer`.
    fn jwt(&mut self, at: &str, expected: &Value, found: &Value) {
        let text = found.as_str().and_then(|text| text.split_whitespace().last()).unwrap_or_default();
        let parts: Vec<&str> = text.split('.').collect();
        let part = |index: usize| -> Option<Value> {
            let bytes = URL_SAFE_NO_PAD.decode(parts.get(index).filter(|_| parts.len() == 3)?).ok()?;
            serde_json::from_slice(&bytes).ok()
        };
        for (name, index) in [("header", 0), ("claims", 1)] {
            let Some(Value::Object(members)) = expected.get(name) else { continue };
            let Some(found) = part(index) else {
                return self.differs(format!("{at}: expected a JWT, got {}", self.shown(found)));
            };
            for (key, expected) in members {
                self.value(&format!("{at}.jwt.{name}.{key}"), expected, found.get(key));
            }
        }
    }

    fn shown(&self, value: &Value) -> String {
        self.masked(&value.to_string())
    }
}

/// `{ jwt = { header = {…}, claims = {…} } }`, and nothing else.
fn is_jwt(members: &Map<String, Value>) -> bool {
    let inside = members.get("jwt").and_then(Value::as_object).filter(|_| members.len() == 1);
    inside.is_some_and(|inside| {
        !inside.is_empty()
            && inside.iter().all(|(key, part)| matches!(key.as_str(), "header" | "claims") && part.is_object())
    })
}
