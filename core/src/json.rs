//! Strict JSON from servers and configuration: no duplicate keys, bounded depth, faults that name a place and never the
//! text.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use zeroize::Zeroizing;

/// Why a text is not the JSON we accept. Its text gives the reason and the place, nothing of what stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    reason: Cow<'static, str>,
    line: usize,
    column: usize,
    /// The key that occurs twice, for callers whose keys are no secret (our own configuration); not part of the text.
    pub(crate) key: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not valid JSON: {} at line {} column {}", self.reason, self.line, self.column)
    }
}

impl std::error::Error for Fault {}

/// Reads one JSON value that fills the whole text.
///
/// UTF-8 only, with or without a byte order mark; arrays and objects at most 127 deep. A number beyond f64 (`1e400`) is
/// a fault. With `control_characters`, raw characters below 0x20 inside strings are taken as they are, as some vendors
/// send them.
pub(crate) fn parse(bytes: &[u8], control_characters: bool) -> Result<Value, Fault> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let escapes = if control_characters { raw_controls(bytes) } else { Vec::new() };
    let escaped = (!escapes.is_empty()).then(|| escape(bytes, &escapes));
    let text = std::str::from_utf8(escaped.as_ref().map_or(bytes, |escaped| escaped)).map_err(|error| {
        let (line, column) = place(bytes, unescaped(error.valid_up_to(), &escapes));
        Fault { reason: "a byte that is not UTF-8".into(), line, column, key: None }
    })?;

    let mut duplicate = None;
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Strict(&mut duplicate).deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    value.map_err(|error| {
        let (line, column) = if escapes.is_empty() {
            (error.line(), error.column())
        } else {
            place(bytes, unescaped(offset(text.as_bytes(), error.line(), error.column()), &escapes))
        };
        Fault { reason: reason(&error, duplicate.is_some()), line, column, key: duplicate }
    })
}

/// serde_json's own words without its place, which may belong to the escaped copy. Its syntax errors are fixed
/// sentences.
fn reason(error: &serde_json::Error, duplicate: bool) -> Cow<'static, str> {
    if duplicate {
        return "a key that occurs twice in one object".into();
    }
    match error.classify() {
        serde_json::error::Category::Eof => "the text ends too early".into(),
        serde_json::error::Category::Syntax => {
            let text = error.to_string();
            text.split(" at line ").next().unwrap_or_default().to_owned().into()
        }
        _ => "a value that cannot be read".into(),
    }
}

/// Where control characters stand inside strings. A backslash keeps the next byte to itself, so that `\` before a raw
/// line break stays the error it is instead of becoming an escaped backslash.
fn raw_controls(bytes: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut in_string = false;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => at += 1,
            0x00..0x20 if in_string => found.push(at),
            _ => {}
        }
        at += 1;
    }
    found
}

/// How much longer `\u000a` is than the byte that it stands for.
const GROWTH: usize = 5;

/// A copy with the bytes at `controls` written as `\u00XX`; wiped on drop, since answers hold tokens.
fn escape(bytes: &[u8], controls: &[usize]) -> Zeroizing<Vec<u8>> {
    let mut copy = Zeroizing::new(Vec::with_capacity(bytes.len() + GROWTH * controls.len()));
    let mut from = 0;
    for &at in controls {
        copy.extend_from_slice(&bytes[from..at]);
        copy.extend_from_slice(format!("\\u{:04x}", bytes[at]).as_bytes());
        from = at + 1;
    }
    copy.extend_from_slice(&bytes[from..]);
    copy
}

/// The offset in the original of an offset in the escaped copy.
fn unescaped(offset: usize, controls: &[usize]) -> usize {
    let before = controls.iter().enumerate().take_while(|(index, at)| *at + GROWTH * index < offset).count();
    offset - (GROWTH * before).min(offset)
}

/// The byte offset just after a place as serde_json counts it: lines from 1, columns in bytes from 1.
fn offset(bytes: &[u8], line: usize, column: usize) -> usize {
    let skipped = line.saturating_sub(1);
    let start: usize = bytes.split_inclusive(|byte| *byte == b'\n').take(skipped).map(<[u8]>::len).sum();
    start + column
}

/// The line and column, as serde_json counts them, just after `offset` bytes.
fn place(bytes: &[u8], offset: usize) -> (usize, usize) {
    let before = &bytes[..offset.min(bytes.len())];
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    (before.iter().filter(|byte| **byte == b'\n').count() + 1, before.len() - line_start)
}

/// Builds a `Value` and stops at the first duplicate key, which it leaves in its field.
struct Strict<'a>(&'a mut Option<String>);

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Strict(&mut *self.0))? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if object.contains_key(&key) {
                *self.0 = Some(key);
                return Err(A::Error::custom("duplicate key"));
            }
            object.insert(key, entries.next_value_seed(Strict(&mut *self.0))?);
        }
        Ok(object.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: impl AsRef<[u8]>) -> Fault {
        parse(text.as_ref(), false).expect_err("refused")
    }

    #[test]
    fn values_of_every_kind_arrive_in_the_order_of_the_text() {
        let value = parse(br#" {"z":[1,-2,3.5,true,null,"\u00e9"],"a":{"b":18446744073709551615}} "#, false).unwrap();
        assert_eq!(value.to_string(), r#"{"z":[1,-2,3.5,true,null,"é"],"a":{"b":18446744073709551615}}"#);
    }

    #[test]
    fn a_duplicate_key_is_refused_by_position_and_named_only_in_its_field() {
        // fault 34
        let fault = fault("{\"token\":{\"canary\":1,\n\"canary\":2}}");
        assert_eq!(fault.to_string(), "not valid JSON: a key that occurs twice in one object at line 2 column 8");
        assert_eq!(fault.key.as_deref(), Some("canary"));
    }

    #[test]
    fn the_same_key_in_two_objects_is_no_duplicate() {
        assert!(parse(br#"[{"a":1},{"a":{"a":2}}]"#, false).is_ok());
        assert_eq!(fault(r#"{"a":1,"\u0061":2}"#).key.as_deref(), Some("a"), "escaped, yet the same");
    }

    #[test]
    fn nesting_of_a_hundred_thousand_is_refused_without_a_stack_overflow() {
        // fault 34
        for open in ["[", "{\"a\":"] {
            let fault = fault(open.repeat(100_000));
            assert!(fault.to_string().starts_with("not valid JSON: recursion limit exceeded at line 1"), "{fault}");
        }
        assert!(parse(format!("{}{}", "[".repeat(127), "]".repeat(127)).as_bytes(), false).is_ok());
    }

    #[test]
    fn what_is_not_json_is_refused_with_its_place_and_none_of_its_text() {
        // fault 34
        for (text, place) in [
            ("", "line 1 column 0"),
            ("<html>canary</html>", "line 1 column 1"),
            ("canary=1&b=2", "line 1 column 1"),
            ("{\"a\":1} canary", "line 1 column 9"),
            ("{\"a\":\n canary}", "line 2 column 2"),
            ("{canary:1}", "line 1 column 2"),
            ("{\"a\":\"canary", "line 1 column 12"),
            ("[1,]", "line 1 column 4"),
            ("{'canary':1}", "line 1 column 2"),
            ("NaN", "line 1 column 1"),
            ("01", "line 1 column 2"),
        ] {
            let said = fault(text).to_string();
            assert!(said.ends_with(place), "{text}: {said}");
            assert!(!said.contains("canary"), "{said}");
        }
    }

    #[test]
    fn an_unpaired_surrogate_is_refused() {
        // fault 34
        for text in [r#"["\ud800"]"#, r#"["\udc00 "]"#, r#"["\ud800\u0041"]"#] {
            assert!(fault(text).to_string().contains("surrogate") || fault(text).to_string().contains("hex escape"));
        }
        assert_eq!(parse(br#""\ud83d\ude00""#, false).unwrap(), "\u{1F600}");
    }

    #[test]
    fn a_number_beyond_all_bounds_is_an_error_that_says_so() {
        // fault 37
        for text in ["{\"expires_in\":1e400}", "{\"expires_in\":-1e400}"] {
            let said = fault(text).to_string();
            assert!(said.starts_with("not valid JSON: number out of range at line 1 column"), "{said}");
        }
        assert!(fault(format!("1{}", "0".repeat(400))).to_string().contains("out of range"));
        assert_eq!(parse(b"9223372036854775808", false).unwrap(), 9_223_372_036_854_775_808_u64);
    }

    #[test]
    fn utf8_is_demanded_and_a_byte_order_mark_tolerated() {
        // fault 33
        assert_eq!(parse(b"\xEF\xBB\xBF[1]", false).unwrap().to_string(), "[1]");
        assert!(parse(b"\xEF\xBB\xBF\xEF\xBB\xBF[1]", false).is_err());
        let fault = fault(b"[\n\"caf\xE9\"]");
        assert_eq!(fault.to_string(), "not valid JSON: a byte that is not UTF-8 at line 2 column 4");
        let utf16: Vec<u8> = "{\"a\":1}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(parse(&utf16, false).is_err());
    }

    #[test]
    fn raw_control_characters_in_strings_are_refused_unless_asked_for() {
        // fault 34
        let text = b"{\n\t\"note\": \"two\nlines\r\0\x1f\",\t\"b\":1}";
        assert!(fault(text).to_string().contains("control character"));
        let value = parse(text, true).unwrap();
        assert_eq!(value["note"], "two\nlines\r\0\u{1f}");
        assert_eq!(value["b"], 1);
    }

    #[test]
    fn outside_strings_and_after_a_backslash_control_characters_stay_errors() {
        for text in [&b"{\"a\":\x01 1}"[..], b"\"a\\\nb\"", b"\"a\\\\\\\nb\""] {
            assert!(parse(text, true).is_err());
        }
        assert_eq!(parse(b"\"a\\\\\nb\\\"\n\"", true).unwrap(), "a\\\nb\"\n");
    }

    #[test]
    fn places_are_those_of_the_original_text_when_control_characters_were_accepted() {
        let text = b"{\"a\":\"x\ny\tz\",\n\"b\":\"\x01\", !}";
        assert_eq!(
            parse(text, true).unwrap_err().to_string(),
            "not valid JSON: key must be a string at line 3 column 10"
        );
        let broken = b"[\"\n\n\", \"\xFF\"]";
        assert!(parse(broken, true).unwrap_err().to_string().ends_with("line 3 column 4"));
    }
}
