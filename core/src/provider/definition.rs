//! What a provider file may say, as types. Every key is here; an unknown one is an error that names it (DESIGN.md 3).

use std::collections::BTreeMap;
use std::time::Duration;

use indexmap::IndexMap;
use serde::{Deserialize, Deserializer};

use super::template::{JsonTemplate, Template};
use crate::duration;
use crate::error::ErrorCode;

/// One vendor's authentication, as its file declares it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Definition {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) description: Option<String>,
    /// Before every path of an API call.
    #[serde(default)]
    pub(crate) api_path: String,
    /// The first one is the default.
    #[serde(default)]
    pub(crate) environments: IndexMap<String, Environment>,
    #[serde(default)]
    pub(crate) variables: IndexMap<String, Field>,
    #[serde(default)]
    pub(crate) credentials: IndexMap<String, Field>,
    /// The first one that is not `refresh_token` is the default.
    pub(crate) grants: IndexMap<GrantKind, Grant>,
    #[serde(default)]
    pub(crate) answer: Answer,
    #[serde(default)]
    pub(crate) lifetime: Lifetime,
    #[serde(default)]
    pub(crate) attach: Attach,
    #[serde(default)]
    pub(crate) operations: IndexMap<String, Operation>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Environment {
    /// Token calls; API calls too unless `api_base_url` is given. Absent: the profile must give one.
    #[serde(default)]
    pub(crate) base_url: Option<Template>,
    #[serde(default)]
    pub(crate) api_base_url: Option<Template>,
}

/// A credential or variable that a profile or the process environment gives.
#[derive(Clone, Debug, Default, Deserialize)]
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
}

#[derive(Clone, Debug, Deserialize)]
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

/// How a token is obtained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum GrantKind {
    ClientCredentials,
    Password,
    RefreshToken,
    Login,
    Static,
}

impl GrantKind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            GrantKind::ClientCredentials => "client_credentials",
            GrantKind::Password => "password",
            GrantKind::RefreshToken => "refresh_token",
            GrantKind::Login => "login",
            GrantKind::Static => "static",
        }
    }

    /// What a refusal without a word of the server means: whose secret it was.
    pub(crate) const fn refusal(self) -> ErrorCode {
        match self {
            GrantKind::ClientCredentials => ErrorCode::InvalidClient,
            _ => ErrorCode::InvalidGrant,
        }
    }
}

/// One request of a token endpoint, or for `static` the token itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Grant {
    #[serde(default)]
    pub(crate) method: Method,
    /// Below `base_url`.
    #[serde(default)]
    pub(crate) path: Option<Template>,
    /// A whole URL, in place of `path`.
    #[serde(default)]
    pub(crate) url: Option<Template>,
    #[serde(default)]
    pub(crate) query: IndexMap<String, Template>,
    #[serde(default)]
    pub(crate) headers: IndexMap<String, Template>,
    #[serde(default)]
    pub(crate) form: Option<IndexMap<String, Template>>,
    #[serde(default)]
    pub(crate) json: Option<JsonTemplate>,
    /// How `client_id` and `client_secret` are sent (RFC 6749 2.3.1). A profile may choose the other way.
    #[serde(default)]
    pub(crate) client_auth: Option<ClientAuth>,
    /// Any two credentials as HTTP Basic, unencoded.
    #[serde(default)]
    pub(crate) basic: Option<[String; 2]>,
    /// The token itself, for `static`.
    #[serde(default)]
    pub(crate) token: Option<Template>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ClientAuth {
    ClientSecretBasic,
    ClientSecretPost,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Method {
    Get,
    #[default]
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    pub(crate) fn http(self) -> reqwest::Method {
        match self {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
            Method::Put => reqwest::Method::PUT,
            Method::Patch => reqwest::Method::PATCH,
            Method::Delete => reqwest::Method::DELETE,
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
            return Err(serde::de::Error::custom("expected a JSON Pointer such as \"/access_token\" (RFC 6901)"));
        }
        Ok(Pointer(text))
    }
}

fn pointer(text: &str) -> Pointer {
    Pointer(text.to_owned())
}

/// Where an answer keeps its parts; RFC 6749 5.1 and 5.2 where nothing is said.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Answer {
    pub(crate) success: Vec<u16>,
    pub(crate) access_token: Pointer,
    pub(crate) token_type: Pointer,
    pub(crate) expires_in: Pointer,
    /// Read only where `expires_in` is absent.
    pub(crate) expires_at: Option<ExpiresAt>,
    pub(crate) refresh_token: Pointer,
    pub(crate) refresh_expires_in: Pointer,
    pub(crate) scope: Pointer,
    pub(crate) error: Pointer,
    pub(crate) error_description: Pointer,
    /// Members kept beside the token, by name.
    pub(crate) keep: IndexMap<String, Pointer>,
    pub(crate) control_characters_in_strings: bool,
    /// Errors that are known by their status alone.
    pub(crate) final_statuses: BTreeMap<String, String>,
}

impl Default for Answer {
    fn default() -> Answer {
        Answer {
            success: vec![200],
            access_token: pointer("/access_token"),
            token_type: pointer("/token_type"),
            expires_in: pointer("/expires_in"),
            expires_at: None,
            refresh_token: pointer("/refresh_token"),
            refresh_expires_in: pointer("/refresh_expires_in"),
            scope: pointer("/scope"),
            error: pointer("/error"),
            error_description: pointer("/error_description"),
            keep: IndexMap::new(),
            control_characters_in_strings: false,
            final_statuses: BTreeMap::new(),
        }
    }
}

/// A moment in an answer that has no zone of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExpiresAt {
    pub(crate) path: Pointer,
    pub(crate) zone: Zone,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) enum Zone {
    #[serde(rename = "UTC")]
    Utc,
}

/// How long tokens live and what renewing does to the others.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Lifetime {
    /// Before the end, from when on callers wait for the renewal.
    #[serde(deserialize_with = "duration::optional")]
    pub(crate) buffer: Option<Duration>,
    /// Before that, from when on it is renewed behind the callers' back.
    #[serde(deserialize_with = "duration::optional")]
    pub(crate) ahead: Option<Duration>,
    #[serde(deserialize_with = "duration::optional")]
    pub(crate) max: Option<Duration>,
    /// Where the answer names none.
    #[serde(deserialize_with = "duration::optional")]
    pub(crate) default: Option<Duration>,
    /// Each refresh gives a new refresh token and kills the old one.
    pub(crate) rotates: bool,
    /// Each login kills the session before it.
    pub(crate) single_session: bool,
    /// What the vendor advises when another party keeps taking the session.
    pub(crate) conflict_advice: Option<String>,
}

/// How a token gets onto a request.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Attach {
    pub(crate) header: String,
    /// Before the token; empty for the bare value.
    pub(crate) scheme: String,
    /// Companion headers beside it.
    pub(crate) headers: IndexMap<String, Template>,
}

impl Default for Attach {
    fn default() -> Attach {
        Attach { header: "Authorization".to_owned(), scheme: "Bearer".to_owned(), headers: IndexMap::new() }
    }
}

/// A named authenticated call.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Operation {
    #[serde(default)]
    pub(crate) description: Option<String>,
    #[serde(default)]
    pub(crate) method: Method,
    pub(crate) path: Template,
    #[serde(default)]
    pub(crate) query: IndexMap<String, Template>,
    #[serde(default)]
    pub(crate) headers: IndexMap<String, Template>,
    #[serde(default)]
    pub(crate) json: Option<JsonTemplate>,
    #[serde(default)]
    pub(crate) on_401: OnUnauthorized,
    /// The grants whose tokens may make this call; empty: any.
    #[serde(default)]
    pub(crate) grants: Vec<GrantKind>,
    /// Parameters that may be left out.
    #[serde(default)]
    pub(crate) optional: Vec<String>,
    /// Members of the answer that the vendor shows only once and that must not be logged.
    #[serde(default)]
    pub(crate) secrets: Vec<Pointer>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnUnauthorized {
    /// The token is dead: renew it once and call again.
    #[default]
    Renew,
    /// The answer of the call is whether the token is valid.
    Result,
}
