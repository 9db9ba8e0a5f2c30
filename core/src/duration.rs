//! Durations as files write them: `"60s"`, `"500ms"`, `"5m"`, `"12h"`, `"7d"`, or a number of seconds.

use std::time::Duration;

use serde::de::{Deserializer, Error as _, Visitor};

use crate::error::{Error, Result};

/// Longer than any token lives; keeps arithmetic far from overflow.
const LONGEST: f64 = 100.0 * 365.0 * 86_400.0;

const EXPECTED: &str = "expected a duration such as \"60s\", \"500ms\", \"5m\", \"12h\" or \"7d\", not negative";

/// Seconds from a caller; refuses NaN, negative and absurd values.
pub(crate) fn from_seconds(seconds: f64) -> Option<Duration> {
    (seconds.is_finite() && (0.0..=LONGEST).contains(&seconds)).then(|| Duration::from_secs_f64(seconds))
}

/// An argument in seconds, as languages with plain numbers give it.
///
/// # Errors
/// `invalid_argument`, naming the argument, for NaN, a negative number and more than a century.
pub fn duration_argument(name: &str, seconds: f64) -> Result<Duration> {
    from_seconds(seconds).ok_or_else(|| {
        Error::invalid_argument(format!("{name}: expected a number that is not negative, and less than a century"))
    })
}

fn from_text(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    from_seconds(number.parse::<f64>().ok()? * unit)
}

/// For `#[serde(deserialize_with)]` on an `Option<Duration>`.
pub(crate) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    struct DurationVisitor;
    impl Visitor<'_> for DurationVisitor {
        type Value = Duration;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(EXPECTED.trim_start_matches("expected "))
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Duration, E> {
            from_text(text).ok_or_else(|| E::custom(EXPECTED))
        }

        fn visit_u64<E: serde::de::Error>(self, seconds: u64) -> Result<Duration, E> {
            self.visit_f64(seconds as f64)
        }

        fn visit_i64<E: serde::de::Error>(self, seconds: i64) -> Result<Duration, E> {
            self.visit_f64(seconds as f64)
        }

        fn visit_f64<E: serde::de::Error>(self, seconds: f64) -> Result<Duration, E> {
            from_seconds(seconds).ok_or_else(|| E::custom(EXPECTED))
        }
    }
    deserializer.deserialize_any(DurationVisitor).map(Some).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_and_nonsense_is_refused() {
        assert_eq!(from_text("60s"), Some(Duration::from_secs(60)));
        assert_eq!(from_text("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(from_text("1.5h"), Some(Duration::from_secs(5400)));
        assert_eq!(from_text("7d"), Some(Duration::from_secs(604_800)));
        // fault 6
        for wrong in ["", "s", "-1s", "NaN", "1e9d", "5 m", "1w", "99999999999999999999d"] {
            assert_eq!(from_text(wrong), None, "{wrong}");
        }
        assert_eq!(from_seconds(f64::NAN), None);
        assert_eq!(from_seconds(f64::INFINITY), None);
    }
}
