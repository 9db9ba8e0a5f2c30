//! Profile and grant into a token request. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use indexmap::IndexMap;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use url::Url;
use url::form_urlencoded::{self, byte_serialize};

use crate::error::{Error, Result};
use crate::profile::Profile;
use crate::provider::{Bound, ClientAuth, Grant, Place, Scope, Template};
use crate::secret::Secret;
use crate::transport::HttpRequest;
use crate::url_rules;

/// A token's answer is small; more is a mistake or an attack.
pub(crate) const MAX_TOKEN_ANSWER: usize = 1024 * 1024;

/// The request that `grant` declares, for this profile; `refresh_token` where it is the refresh request.
pub(crate) fn token_request(
    profile: &Profile,
    grant: &Grant,
    refresh_token: Option<&Secret>,
    unix_ms: u128,
) -> Result<HttpRequest> {
    let mut scope = profile.scope(unix_ms);
    if let Some(refresh_token) = refresh_token {
        scope.set("refresh_token", Bound::Secret(refresh_token.clone()));
    }
    let mut url = match (&grant.path, &grant.url) {
        (Some(path), _) => {
            let base = profile.base_url.as_deref().unwrap_or_default();
            url_rules::parse(&format!("{base}{}", render(path, &scope, Place::Path, "path")?))
        }
        (None, Some(url)) => {
            let place = if url.is_variable() { Place::Whole } else { Place::Host };
            url_rules::parse(&render(url, &scope, place, "url")?)
        }
        (None, None) => Err("has neither path nor url".to_owned()),
    }
    .map_err(|why| Error::config(format!("the token endpoint's address {why}")))?;
    append_query(&mut url, &grant.query, &scope)?;

    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    for (name, template) in &grant.headers {
        if let Some(value) = template.render(&scope, Place::Header)? {
            headers.insert(header_name(name)?, header_value(name, &value)?);
        }
    }
    let mut form = match &grant.form {
        Some(fields) => Some(render_all(fields, &scope)?),
        None => None,
    };
    client_authentication(profile, grant, &mut headers, form.get_or_insert_default())?;
    let body = match (&grant.json, &grant.form) {
        (Some(json), _) => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            json.render(&scope)?.map(|body| body.to_string().into_bytes())
        }
        (None, None) if form.as_ref().is_none_or(Vec::is_empty) => None,
        (None, _) => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
            let fields = form.unwrap_or_default();
            Some(form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish().into_bytes())
        }
    };
    Ok(HttpRequest { method: grant.method.http(), url, headers, body, timeout: None, max_body: MAX_TOKEN_ANSWER })
}

/// RFC 6749 2.3.1: the client's id and secret in the body, or form-encoded inside HTTP Basic.
fn client_authentication(
    profile: &Profile,
    grant: &Grant,
    headers: &mut HeaderMap,
    form: &mut Vec<(String, String)>,
) -> Result<()> {
    let value = |name: &str| profile.value(name).map_or("", |secret| secret.expose());
    let basic = match (grant.client_auth.map(|own| profile.client_auth.unwrap_or(own)), &grant.basic) {
        (Some(ClientAuth::ClientSecretPost), _) => {
            for name in ["client_id", "client_secret"] {
                form.push((name.to_owned(), value(name).to_owned()));
            }
            return Ok(());
        }
        (Some(ClientAuth::ClientSecretBasic), _) => {
            let encode = |name: &str| byte_serialize(value(name).as_bytes()).collect::<String>();
            format!("{}:{}", encode("client_id"), encode("client_secret"))
        }
        (None, Some([user, password])) => format!("{}:{}", value(user), value(password)),
        (None, None) => return Ok(()),
    };
    let mut header = header_value("authorization", &format!("Basic {}", STANDARD.encode(basic)))?;
    header.set_sensitive(true);
    headers.insert(AUTHORIZATION, header);
    Ok(())
}

/// Renders fields, leaving out those whose variable is absent.
pub(crate) fn render_all(fields: &IndexMap<String, Template>, scope: &Scope) -> Result<Vec<(String, String)>> {
    let mut rendered = Vec::new();
    for (name, template) in fields {
        if let Some(value) = template.render(scope, Place::Whole)? {
            rendered.push((name.clone(), value));
        }
    }
    Ok(rendered)
}

pub(crate) fn append_query(url: &mut Url, query: &IndexMap<String, Template>, scope: &Scope) -> Result<()> {
    let pairs = render_all(query, scope)?;
    if !pairs.is_empty() {
        url.query_pairs_mut().extend_pairs(pairs);
    }
    Ok(())
}

pub(crate) fn render(template: &Template, scope: &Scope, place: Place, what: &str) -> Result<String> {
    template.render(scope, place)?.ok_or_else(|| {
        let names: Vec<&str> = template.variables().collect();
        Error::invalid_argument(format!("{what}: needs a value for {}", names.join(", ")))
    })
}

pub(crate) fn header_name(name: &str) -> Result<HeaderName> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| Error::invalid_argument(format!("{name:?} is no header name")))
}

/// A header's value; refuses what would end the line (fault 10) and never shows it.
pub(crate) fn header_value(name: &str, value: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_bytes(value.as_bytes())
        .ok()
        .filter(|_| !value.chars().any(char::is_control))
        .ok_or_else(|| Error::invalid_argument(format!("the header {name} holds a control character")))?;
    value.set_sensitive(true);
    Ok(value)
}
