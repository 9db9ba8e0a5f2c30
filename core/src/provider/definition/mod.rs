//! What a provider file may say, as types. Every key is here; an unknown one is an error that names it (DESIGN.md 3).

mod answer;
mod field;
mod grant;
mod jwt;

use std::time::Duration;

use indexmap::IndexMap;
use serde::Deserialize;

pub(crate) use answer::{Answer, Condition, Instant, Part, Pointer, Span, Unit, Zone};
pub(crate) use field::{Field, Pattern};
pub(crate) use grant::{Authorize, ClientAuth, Grant, GrantKind, Method, RequestSpec, Step};
pub(crate) use jwt::JwtSpec;

use super::template::{JsonTemplate, Template};
use crate::duration;

/// One vendor's authentication, as its file declares it.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    #[serde(default)]
    pub(crate) discovery: Option<Discovery>,
    #[serde(default)]
    pub(crate) jwts: IndexMap<String, JwtSpec>,
    #[serde(default)]
    pub(crate) mtls: Option<Mtls>,
    /// The first one that is not `refresh_token` is the default.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::grants"))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Environment {
    /// Token calls; API calls too unless `api_base_url` is given. Absent: the profile must give one.
    #[serde(default)]
    pub(crate) base_url: Option<Template>,
    #[serde(default)]
    pub(crate) api_base_url: Option<Template>,
}

/// Where the server describes itself (RFC 8414, OpenID Connect Discovery). Variables with `discovered` come from there.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Discovery {
    pub(crate) issuer: Template,
}

/// The client certificate of every connection to the profile's own hosts (RFC 8705): two credentials, as PEM.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Mtls {
    /// The credential with the certificate, its chain after it.
    pub(crate) certificate: String,
    /// The credential with its key.
    pub(crate) key: String,
}

/// How long tokens live and what renewing does to the others.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Lifetime {
    /// Before the end, from when on callers wait for the renewal.
    #[serde(deserialize_with = "duration::optional")]
    #[cfg_attr(feature = "schema", schemars(with = "crate::schema::Length"))]
    pub(crate) buffer: Option<Duration>,
    /// Before that, from when on it is renewed behind the callers' back.
    #[serde(deserialize_with = "duration::optional")]
    #[cfg_attr(feature = "schema", schemars(with = "crate::schema::Length"))]
    pub(crate) ahead: Option<Duration>,
    #[serde(deserialize_with = "duration::optional")]
    #[cfg_attr(feature = "schema", schemars(with = "crate::schema::Length"))]
    pub(crate) max: Option<Duration>,
    /// Where the answer names none.
    #[serde(deserialize_with = "duration::optional")]
    #[cfg_attr(feature = "schema", schemars(with = "crate::schema::Length"))]
    pub(crate) default: Option<Duration>,
    /// Whatever the answer says.
    #[serde(deserialize_with = "duration::optional")]
    #[cfg_attr(feature = "schema", schemars(with = "crate::schema::Length"))]
    pub(crate) fixed: Option<Duration>,
    /// The access token is a JWT, and its `exp` decides (RFC 7519 4.1.4).
    pub(crate) from_exp: bool,
    /// Each refresh gives a new refresh token and kills the old one.
    pub(crate) rotates: bool,
    /// Each login kills the session before it.
    pub(crate) single_session: bool,
    /// What the vendor advises when another party keeps taking the session.
    pub(crate) conflict_advice: Option<String>,
}

/// How a token gets onto a request: by `scheme` or `value` in a header, or by `query` or `cookie` in their place.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Attach {
    pub(crate) header: String,
    /// Before the token; empty for the bare value. `Bearer` where nothing is said.
    pub(crate) scheme: Option<String>,
    /// The whole value of the header, with `{access_token}` in it.
    pub(crate) value: Option<Template>,
    /// The name of a query parameter.
    pub(crate) query: Option<String>,
    /// The name of a cookie.
    pub(crate) cookie: Option<String>,
    /// Companion headers beside it.
    pub(crate) headers: IndexMap<String, Template>,
    /// Every token is bound to a key of ours, and every request proves it (RFC 9449). A profile may ask for it too.
    pub(crate) dpop: bool,
}

impl Default for Attach {
    fn default() -> Attach {
        Attach {
            header: "Authorization".to_owned(),
            scheme: None,
            value: None,
            query: None,
            cookie: None,
            headers: IndexMap::new(),
            dpop: false,
        }
    }
}

impl Attach {
    /// The word before the token, where a scheme is what carries it.
    pub(crate) fn scheme(&self) -> &str {
        self.scheme.as_deref().unwrap_or("Bearer")
    }

    /// The header that carries the token, where it is a header that does.
    pub(crate) fn token_header(&self) -> Option<&str> {
        match (&self.query, &self.cookie) {
            (Some(_), _) => None,
            (None, Some(_)) => Some("Cookie"),
            (None, None) => Some(&self.header),
        }
    }

    /// Whether a token can go into `Authorization: DPoP …`, the only place for one that is bound to a key (RFC 9449 7.1).
    pub(crate) fn takes_dpop(&self) -> bool {
        let own_way = self.scheme.is_some() || self.value.is_some();
        !own_way && self.token_header().is_some_and(|header| header.eq_ignore_ascii_case("authorization"))
    }
}

/// A named authenticated call.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Operation {
    #[serde(default)]
    pub(crate) description: Option<String>,
    #[serde(default)]
    pub(crate) method: Method,
    /// Below the API's address and `api_path`.
    #[serde(default)]
    pub(crate) path: Option<Template>,
    /// A whole URL of the server itself, in place of `path`.
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
    /// The client itself is who calls, not the token's owner (RFC 7009, RFC 7662): the token is not attached.
    #[serde(default)]
    pub(crate) client_auth: Option<ClientAuth>,
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
    #[serde(default)]
    pub(crate) saves: Option<Saves>,
}

/// What an operation's answer makes: a client of its own, which can be saved as a profile (`save_as`).
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Saves {
    /// The grant of that profile.
    pub(crate) grant: GrantKind,
    /// Its credentials and variables, and where the answer has them.
    pub(crate) fields: IndexMap<String, Pointer>,
}

impl Operation {
    /// Whether tokens of this grant may make it.
    pub(crate) fn serves(&self, grant: GrantKind) -> bool {
        self.grants.is_empty() || self.grants.contains(&grant)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnUnauthorized {
    /// The token is dead: renew it once and call again.
    #[default]
    Renew,
    /// The answer of the call is whether the token is valid.
    Result,
}
