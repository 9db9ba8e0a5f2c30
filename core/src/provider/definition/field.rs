//! What a profile gives: credentials and variables.

use serde::{Deserialize, Deserializer};

/// A credential or variable that a profile or the process environment gives.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Field {
    #[serde(default)]
    pub(crate) env: Option<String>,
    #[serde(default)]
    pub(crate) pattern: Option<Pattern>,
    #[serde(default)]
    pub(crate) secret: bool,
    #[serde(default)]
    pub(crate) optional: bool,
    #[serde(default)]
    pub(crate) default: Option<String>,
    #[serde(default)]
    pub(crate) description: Option<String>,
    /// A pattern that the vendor advises but does not demand, with the vendor's advice.
    #[serde(default)]
    pub(crate) advised: Option<Advised>,
    /// The member of the server's own description that gives it where nobody else does (RFC 8414 2).
    #[serde(default)]
    pub(crate) discovered: Option<String>,
    /// It may hold line breaks: a key or certificate in PEM.
    #[serde(default)]
    pub(crate) multiline: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Advised {
    pub(crate) pattern: Pattern,
    pub(crate) advice: String,
}

/// A regular expression that must match the whole value.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    source: String,
    regex: regex_lite::Regex,
}

impl Pattern {
    pub(crate) fn matches(&self, value: &str) -> bool {
        self.regex.is_match(value)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.source
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let source = String::deserialize(deserializer)?;
        let regex = regex_lite::Regex::new(&format!("^(?:{source})$"))
            .map_err(|error| serde::de::Error::custom(format!("is no regular expression: {error}")))?;
        Ok(Pattern { source, regex })
    }
}
