//! Where an answer keeps its parts.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Where an answer keeps its parts; RFC 6749 5.1 and 5.2 where nothing is said.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Answer {
    pub(crate) success: Vec<u16>,
    pub(crate) access_token: Part,
    pub(crate) token_type: Part,
    pub(crate) expires_in: Span,
    /// Read only where `expires_in` is absent.
    pub(crate) expires_at: Option<Instant>,
    pub(crate) refresh_token: Part,
    pub(crate) refresh_expires_in: Span,
    pub(crate) scope: Part,
    pub(crate) error: Part,
    pub(crate) error_description: Part,
    /// Members kept beside the token, by name.
    pub(crate) keep: IndexMap<String, Part>,
    pub(crate) control_characters_in_strings: bool,
    /// A success that is none: an error in a 200.
    pub(crate) failed_when: Option<Condition>,
    /// The server's own words for what went wrong, as codes of qauth.
    pub(crate) error_codes: BTreeMap<String, String>,
    /// Errors that are known by their status alone.
    pub(crate) final_statuses: BTreeMap<String, String>,
}

impl Default for Answer {
    fn default() -> Answer {
        let seconds = |at: &str| Span { at: Part::pointer(at), unit: Unit::Seconds };
        Answer {
            success: vec![200],
            access_token: Part::pointer("/access_token"),
            token_type: Part::pointer("/token_type"),
            expires_in: seconds("/expires_in"),
            expires_at: None,
            refresh_token: Part::pointer("/refresh_token"),
            refresh_expires_in: seconds("/refresh_expires_in"),
            scope: Part::pointer("/scope"),
            error: Part::pointer("/error"),
            error_description: Part::pointer("/error_description"),
            keep: IndexMap::new(),
            control_characters_in_strings: false,
            failed_when: None,
            error_codes: BTreeMap::new(),
            final_statuses: BTreeMap::new(),
        }
    }
}

/// A JSON Pointer (RFC 6901).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pointer(pub(crate) String);

impl<'de> Deserialize<'de> for Pointer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if !text.starts_with('/') {
            return Err(D::Error::custom("expected a JSON Pointer such as \"/access_token\" (RFC 6901)"));
        }
        match text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1'])) {
            true => Ok(Pointer(text)),
            false => {
                Err(D::Error::custom("has a ~ that is neither ~0, which stands for ~, nor ~1, which stands for /"))
            }
        }
    }
}

/// One place of an answer: `"/pointer"`, `{ header = "X-Token" }`, `{ cookie = "SID" }` or `{ text = true }`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Part {
    Pointer(Pointer),
    Header(String),
    Cookie(String),
    /// The whole body, without white space around it.
    Text,
}

impl Part {
    fn pointer(text: &str) -> Part {
        Part::Pointer(Pointer(text.to_owned()))
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Part::Pointer(pointer) => f.write_str(&pointer.0),
            Part::Header(name) => write!(f, "the header {name}"),
            Part::Cookie(name) => write!(f, "the cookie {name}"),
            Part::Text => f.write_str("its text"),
        }
    }
}

/// A length of time in an answer: a [`Part`], or a table of one with its unit.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Span {
    pub(crate) at: Part,
    pub(crate) unit: Unit,
}

/// A moment in an answer: seconds since 1970 (or of another unit), RFC 3339, an HTTP date, or a date and time whose zone
/// is stated here.
#[derive(Clone, Debug)]
pub(crate) struct Instant {
    pub(crate) at: Part,
    pub(crate) unit: Unit,
    pub(crate) zone: Option<Zone>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    Milliseconds,
    #[default]
    Seconds,
    Minutes,
    Hours,
    Days,
}

impl Unit {
    pub(crate) const fn seconds(self) -> f64 {
        match self {
            Unit::Milliseconds => 0.001,
            Unit::Seconds => 1.0,
            Unit::Minutes => 60.0,
            Unit::Hours => 3_600.0,
            Unit::Days => 86_400.0,
        }
    }
}

/// `UTC`, an offset such as `+02:00`, or a name of the system's time zone database.
#[derive(Clone, Debug)]
pub(crate) struct Zone(pub(crate) jiff::tz::TimeZone);

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if matches!(text.as_str(), "UTC" | "Z") {
            return Ok(Zone(jiff::tz::TimeZone::UTC));
        }
        let offset = text.strip_prefix(['+', '-']).and_then(|rest| {
            let (hours, minutes) = rest.split_once(':')?;
            let (hours, minutes) = (hours.parse::<i32>().ok()?, minutes.parse::<i32>().ok()?);
            let seconds = (hours <= 14 && minutes < 60).then_some(hours * 3600 + minutes * 60)?;
            jiff::tz::Offset::from_seconds(if text.starts_with('-') { -seconds } else { seconds }).ok()
        });
        match offset.map(jiff::tz::TimeZone::fixed) {
            Some(zone) => Ok(Zone(zone)),
            None => jiff::tz::TimeZone::get(&text).map(Zone).map_err(|_| {
                D::Error::custom("expected a zone: \"UTC\", an offset such as \"+02:00\", or a name such as \"Europe/Berlin\" that this machine knows")
            }),
        }
    }
}

/// When a success is none: the part is (`equals`) or is not (`not`) this value; an absent part is null.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    pub(crate) at: Part,
    pub(crate) value: Value,
    /// Whether the two must be equal for the answer to be a failure.
    pub(crate) equal: bool,
}

/// Every key that a place of an answer can have, in one table.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Table {
    path: Option<Pointer>,
    header: Option<String>,
    cookie: Option<String>,
    text: Option<bool>,
    unit: Option<Unit>,
    zone: Option<Zone>,
    equals: Option<Value>,
    not: Option<Value>,
}

impl Table {
    /// Reads a place: a text is a JSON Pointer. `allowed` are the keys beside those of the place itself.
    fn read<'de, D: Deserializer<'de>>(deserializer: D, allowed: &[&str]) -> Result<Table, D::Error> {
        let table = match Value::deserialize(deserializer)? {
            Value::String(text) => {
                let path = Pointer::deserialize(Value::from(text)).map_err(D::Error::custom)?;
                Table { path: Some(path), ..Table::default() }
            }
            table @ Value::Object(_) => Table::deserialize(table).map_err(D::Error::custom)?,
            _ => return Err(D::Error::custom(EXPECTED)),
        };
        let extra = [
            ("unit", table.unit.is_some()),
            ("zone", table.zone.is_some()),
            ("equals", table.equals.is_some()),
            ("not", table.not.is_some()),
        ];
        match extra.iter().find(|(name, given)| *given && !allowed.contains(name)) {
            Some((name, _)) => Err(D::Error::custom(format!("{name} has no meaning here; remove it"))),
            None => Ok(table),
        }
    }

    fn part<E: serde::de::Error>(&mut self) -> Result<Part, E> {
        let text = match self.text.take() {
            Some(false) => return Err(E::custom("text: expected true; leave it out otherwise")),
            Some(true) => Some(Part::Text),
            None => None,
        };
        let mut places = [
            self.path.take().map(Part::Pointer),
            self.header.take().map(Part::Header),
            self.cookie.take().map(Part::Cookie),
            text,
        ]
        .into_iter()
        .flatten();
        match (places.next(), places.next()) {
            (Some(part), None) => Ok(part),
            _ => Err(E::custom(EXPECTED)),
        }
    }
}

const EXPECTED: &str = "expected \"/pointer\", or a table with one of path, header, cookie and text = true";

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Table::read(deserializer, &[])?.part()
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut table = Table::read(deserializer, &["unit"])?;
        Ok(Span { at: table.part()?, unit: table.unit.unwrap_or_default() })
    }
}

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut table = Table::read(deserializer, &["unit", "zone"])?;
        Ok(Instant { at: table.part()?, unit: table.unit.unwrap_or_default(), zone: table.zone })
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut table = Table::read(deserializer, &["equals", "not"])?;
        let at = table.part()?;
        match (table.equals.take(), table.not.take()) {
            (Some(value), None) => Ok(Condition { at, value, equal: true }),
            (None, Some(value)) => Ok(Condition { at, value, equal: false }),
            _ => Err(D::Error::custom("expected equals or not, and one of them")),
        }
    }
}
