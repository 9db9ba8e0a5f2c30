//! How a token is obtained: the grants, their requests, and how the client proves who it is.

use indexmap::IndexMap;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::answer::{Answer, Part};
use crate::error::ErrorCode;
use crate::provider::template::{JsonTemplate, Template};

/// How a token is obtained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename_all = "snake_case"))]
pub(crate) enum GrantKind {
    ClientCredentials,
    Password,
    RefreshToken,
    Login,
    /// The profile gives the token itself.
    Static,
    /// The token is a JWT that we sign ourselves.
    SelfSigned,
    /// RFC 7523 2.1.
    JwtBearer,
    /// RFC 8693.
    TokenExchange,
    /// RFC 8628: a person signs in on another device, once.
    DeviceCode,
    /// RFC 6749 4.1 with RFC 7636: a person signs in in a browser, once.
    AuthorizationCode,
    /// The host gives a function.
    Custom,
}

/// Written out, because the place of an error is found through keys that are text.
impl<'de> Deserialize<'de> for GrantKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let known = GrantKind::ALL.into_iter().find(|kind| kind.name() == text);
        known.ok_or_else(|| D::Error::unknown_variant(&text, &GrantKind::NAMES))
    }
}

impl GrantKind {
    const ALL: [GrantKind; 11] = [
        GrantKind::ClientCredentials,
        GrantKind::Password,
        GrantKind::RefreshToken,
        GrantKind::Login,
        GrantKind::Static,
        GrantKind::SelfSigned,
        GrantKind::JwtBearer,
        GrantKind::TokenExchange,
        GrantKind::DeviceCode,
        GrantKind::AuthorizationCode,
        GrantKind::Custom,
    ];

    const NAMES: [&str; 11] = {
        let mut names = [""; 11];
        let mut at = 0;
        while at < names.len() {
            names[at] = GrantKind::ALL[at].name();
            at += 1;
        }
        names
    };

    pub(crate) const fn name(self) -> &'static str {
        match self {
            GrantKind::ClientCredentials => "client_credentials",
            GrantKind::Password => "password",
            GrantKind::RefreshToken => "refresh_token",
            GrantKind::Login => "login",
            GrantKind::Static => "static",
            GrantKind::SelfSigned => "self_signed",
            GrantKind::JwtBearer => "jwt_bearer",
            GrantKind::TokenExchange => "token_exchange",
            GrantKind::DeviceCode => "device_code",
            GrantKind::AuthorizationCode => "authorization_code",
            GrantKind::Custom => "custom",
        }
    }

    /// What a refusal without a word of the server means: whose secret it was.
    pub(crate) const fn refusal(self) -> ErrorCode {
        match self {
            GrantKind::ClientCredentials => ErrorCode::InvalidClient,
            _ => ErrorCode::InvalidGrant,
        }
    }

    /// Whether a person has to sign in before there is a token; renewals then need a refresh token.
    pub(crate) const fn interactive(self) -> bool {
        matches!(self, GrantKind::DeviceCode | GrantKind::AuthorizationCode)
    }

    /// Whether tokens come from a server, so that a refresh token may come with them.
    pub(crate) const fn sends(self) -> bool {
        !matches!(self, GrantKind::Static | GrantKind::SelfSigned | GrantKind::Custom)
    }
}

/// One request of a token endpoint; for `static` and `self_signed` the token itself; nothing for `custom`.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Grant {
    pub(crate) method: Method,
    /// Below `base_url`.
    pub(crate) path: Option<Template>,
    /// A whole URL, in place of `path`.
    pub(crate) url: Option<Template>,
    pub(crate) query: IndexMap<String, Template>,
    pub(crate) headers: IndexMap<String, Template>,
    pub(crate) form: Option<IndexMap<String, Template>>,
    pub(crate) json: Option<JsonTemplate>,
    /// How the client proves who it is. A profile may choose another way.
    pub(crate) client_auth: Option<ClientAuth>,
    /// Any two credentials as HTTP Basic, unencoded.
    pub(crate) basic: Option<[String; 2]>,
    /// The token itself, for `static` and `self_signed`.
    pub(crate) token: Option<Template>,
    /// Requests before this one, at most two, of which later ones read fields.
    pub(crate) steps: Vec<Step>,
    /// Where a person signs in, for `authorization_code`.
    pub(crate) authorize: Option<Authorize>,
    /// The request for a device code, for `device_code`.
    pub(crate) device: Option<Step>,
    /// In place of the provider's own `[answer]`.
    pub(crate) answer: Option<Answer>,
}

/// A request before the one that brings the token.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Step {
    pub(crate) method: Method,
    pub(crate) path: Option<Template>,
    pub(crate) url: Option<Template>,
    pub(crate) query: IndexMap<String, Template>,
    pub(crate) headers: IndexMap<String, Template>,
    pub(crate) form: Option<IndexMap<String, Template>>,
    pub(crate) json: Option<JsonTemplate>,
    pub(crate) client_auth: Option<ClientAuth>,
    pub(crate) basic: Option<[String; 2]>,
    /// What later requests read, by the name of their variable.
    pub(crate) keep: IndexMap<String, Part>,
}

/// The page on which a person signs in (RFC 6749 4.1.1).
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Authorize {
    pub(crate) url: Template,
    /// Beside `response_type`, `client_id`, `redirect_uri`, `state` and the two of PKCE, which qauth writes.
    #[serde(default)]
    pub(crate) query: IndexMap<String, Template>,
}

impl Authorize {
    /// The credential that names the client on the page.
    pub(crate) const CLIENT: &str = "client_id";

    /// What qauth writes into the query itself.
    pub(crate) const OWN: [&str; 7] =
        ["response_type", "client_id", "redirect_uri", "state", "code_challenge", "code_challenge_method", "dpop_jkt"];
}

/// What a grant, a step and an operation have in common: one request.
#[derive(Clone, Copy)]
pub(crate) struct RequestSpec<'a> {
    pub(crate) method: Method,
    pub(crate) path: Option<&'a Template>,
    pub(crate) url: Option<&'a Template>,
    pub(crate) query: &'a IndexMap<String, Template>,
    pub(crate) headers: &'a IndexMap<String, Template>,
    pub(crate) form: Option<&'a IndexMap<String, Template>>,
    pub(crate) json: Option<&'a JsonTemplate>,
    pub(crate) client_auth: Option<ClientAuth>,
    pub(crate) basic: Option<&'a [String; 2]>,
}

macro_rules! request_spec {
    ($of:expr, $basic:expr) => {
        RequestSpec {
            method: $of.method,
            path: $of.path.as_ref(),
            url: $of.url.as_ref(),
            query: &$of.query,
            headers: &$of.headers,
            form: $of.form.as_ref(),
            json: $of.json.as_ref(),
            client_auth: $of.client_auth,
            basic: $basic,
        }
    };
}

impl Grant {
    pub(crate) fn request(&self) -> RequestSpec<'_> {
        request_spec!(self, self.basic.as_ref())
    }

    /// Every request of this grant in the order of sending.
    pub(crate) fn requests(&self) -> impl Iterator<Item = RequestSpec<'_>> {
        self.steps.iter().chain(&self.device).map(Step::request).chain([self.request()])
    }

    /// Credentials that it cannot do without, whatever they are declared to be.
    pub(crate) fn requires(&self) -> impl Iterator<Item = &str> {
        let basic = self.requests().filter_map(|request| request.basic).flatten().map(String::as_str);
        basic.chain(self.authorize.as_ref().map(|_| Authorize::CLIENT))
    }
}

impl Step {
    pub(crate) fn request(&self) -> RequestSpec<'_> {
        request_spec!(self, self.basic.as_ref())
    }
}

impl super::Operation {
    pub(crate) fn request(&self) -> RequestSpec<'_> {
        request_spec!(self, None)
    }
}

impl<'a> RequestSpec<'a> {
    /// Every template in it.
    pub(crate) fn templates(self) -> impl Iterator<Item = &'a Template> {
        let json = self.json.into_iter().flat_map(JsonTemplate::templates);
        self.path
            .into_iter()
            .chain(self.url)
            .chain(self.query.values())
            .chain(self.headers.values())
            .chain(self.form.into_iter().flat_map(IndexMap::values))
            .chain(json)
    }

    /// The same, each with the key where it stands.
    pub(crate) fn by_key(self, at: &str) -> Vec<(String, &'a Template)> {
        let address = [("path", self.path), ("url", self.url)].into_iter();
        let address = address.filter_map(|(key, template)| Some((format!("{at}.{key}"), template?)));
        let tables = [("query", Some(self.query)), ("headers", Some(self.headers)), ("form", self.form)];
        let fields = tables.into_iter().flat_map(|(key, table)| {
            let fields = table.into_iter().flatten();
            fields.map(move |(name, template)| (format!("{at}.{key}.{name}"), template))
        });
        let json = self.json.into_iter().flat_map(|json| json.by_key(format!("{at}.json")));
        address.chain(fields).chain(json).collect()
    }
}

/// How the client proves who it is at the server (RFC 6749 2.3, RFC 7523 2.2, RFC 8705 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[expect(clippy::enum_variant_names, reason = "the standards' names for them (RFC 8414 2, RFC 8705 2)")]
pub(crate) enum ClientAuth {
    /// By what the profile gives and the server takes.
    Auto,
    /// Id and secret form-encoded inside HTTP Basic (RFC 6749 2.3.1).
    ClientSecretBasic,
    /// The same unencoded, for servers that do not decode.
    ClientSecretBasicRaw,
    ClientSecretPost,
    /// A JWT signed with the secret.
    ClientSecretJwt,
    /// A JWT signed with a private key.
    PrivateKeyJwt,
    /// The certificate of the connection, which an authority has signed.
    TlsClientAuth,
    /// The certificate of the connection, which the server knows itself.
    SelfSignedTlsClientAuth,
    /// A public client names itself and proves nothing.
    None,
}

impl ClientAuth {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            ClientAuth::Auto => "auto",
            ClientAuth::ClientSecretBasic => "client_secret_basic",
            ClientAuth::ClientSecretBasicRaw => "client_secret_basic_raw",
            ClientAuth::ClientSecretPost => "client_secret_post",
            ClientAuth::ClientSecretJwt => "client_secret_jwt",
            ClientAuth::PrivateKeyJwt => "private_key_jwt",
            ClientAuth::TlsClientAuth => "tls_client_auth",
            ClientAuth::SelfSignedTlsClientAuth => "self_signed_tls_client_auth",
            ClientAuth::None => "none",
        }
    }

    /// The name of the JWT that it signs.
    pub(crate) const fn jwt(self) -> Option<&'static str> {
        match self {
            ClientAuth::ClientSecretJwt | ClientAuth::PrivateKeyJwt => Some(self.name()),
            _ => None,
        }
    }

    /// The credentials without which it cannot be done; others may be used where they are given.
    pub(crate) const fn needs(self) -> &'static [&'static str] {
        match self {
            ClientAuth::Auto | ClientAuth::None => &["client_id"],
            ClientAuth::ClientSecretBasic
            | ClientAuth::ClientSecretBasicRaw
            | ClientAuth::ClientSecretPost
            | ClientAuth::ClientSecretJwt => &["client_id", "client_secret"],
            ClientAuth::PrivateKeyJwt => &["client_id", "private_key"],
            ClientAuth::TlsClientAuth | ClientAuth::SelfSignedTlsClientAuth => {
                &["client_id", "certificate", "certificate_key"]
            }
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
