//! A JWT that a request carries, or that is the token itself: `[jwts.NAME]`, used as `{jwt(NAME)}`.

use std::time::Duration;

use indexmap::IndexMap;
use once_cell::race::OnceBox;
use serde::Deserialize;

use crate::duration;
use crate::jose::KeyFormat;
use crate::provider::template::{JsonTemplate, Template};

/// How one JWT is made (RFC 7519).
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct JwtSpec {
    /// The credential that signs.
    pub(crate) key: String,
    /// How the key is written; found out where nothing is said.
    #[serde(default)]
    pub(crate) key_format: Option<KeyFormat>,
    /// `RS256` and so on (RFC 7518 3.1), or a variable; by the kind of the key where nothing is said.
    #[serde(default)]
    pub(crate) algorithm: Option<Template>,
    /// Beside `alg` and `typ`, for instance `kid`.
    #[serde(default)]
    pub(crate) header: IndexMap<String, JsonTemplate>,
    /// The credential with the certificate whose digest goes into the header as `x5t#S256` (RFC 7515 4.1.8).
    #[serde(default)]
    pub(crate) x5t_s256: Option<String>,
    #[serde(default)]
    pub(crate) claims: IndexMap<String, JsonTemplate>,
    /// Adds the claims `iat` and `exp`.
    #[serde(default, deserialize_with = "duration::optional")]
    #[cfg_attr(feature = "schema", schemars(with = "crate::schema::Length"))]
    pub(crate) lifetime: Option<Duration>,
}

/// RFC 7523 3: the client speaks for itself, to this server, for a minute.
const CLIENT_ASSERTION: &str = r#"
algorithm = "{assertion_algorithm}"
header = { kid = "{key_id}" }
claims = { iss = "{client_id}", sub = "{client_id}", aud = "{assertion_audience}", jti = "{random(16)}" }
lifetime = "60s"
"#;

impl JwtSpec {
    /// The assertion of a client authentication, where a file does not say its own.
    pub(crate) fn standard(name: &str) -> Option<&'static JwtSpec> {
        static BY_SECRET: OnceBox<JwtSpec> = OnceBox::new();
        static BY_KEY: OnceBox<JwtSpec> = OnceBox::new();
        let (slot, key) = match name {
            "client_secret_jwt" => (&BY_SECRET, "key = \"client_secret\"\nkey_format = \"text\""),
            "private_key_jwt" => (&BY_KEY, "key = \"private_key\""),
            _ => return None,
        };
        Some(slot.get_or_init(|| {
            Box::new(toml::from_str(&format!("{key}\n{CLIENT_ASSERTION}")).expect("checked by this crate's tests"))
        }))
    }

    /// Every template in it.
    pub(crate) fn templates(&self) -> impl Iterator<Item = &Template> {
        let members = self.header.values().chain(self.claims.values());
        members.flat_map(JsonTemplate::templates).chain(&self.algorithm)
    }

    /// The credentials that it names.
    pub(crate) fn credentials(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.key.as_str()).chain(self.x5t_s256.as_deref())
    }
}
