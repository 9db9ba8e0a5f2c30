//! Profile and declared request into what goes on the wire. Pure.

use indexmap::IndexMap;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use url::Url;
use url::form_urlencoded;

use crate::client_auth;
use crate::discovery::Metadata;
use crate::error::{Error, Result};
use crate::profile::Profile;
use crate::provider::{Place, RequestSpec, Scope, Template};
use crate::secret::Secret;
use crate::signing;
use crate::transport::HttpRequest;
use crate::url_rules;

/// A token's answer is small; more is a mistake or an attack.
pub(crate) const MAX_TOKEN_ANSWER: usize = 1024 * 1024;

/// A request, and the texts in it that no message may repeat, beside the profile's own secrets.
pub(crate) struct Built {
    pub(crate) http: HttpRequest,
    pub(crate) secrets: Vec<Secret>,
}

/// The declared request to the server that gives tokens, with the values of `scope`.
pub(crate) fn build(
    profile: &Profile,
    request: RequestSpec<'_>,
    scope: &mut Scope,
    metadata: Option<&Metadata>,
) -> Result<Built> {
    let mut url = url(profile, request, scope)?;
    name_audience(scope, &url);
    let mut secrets = signing::sign(profile, request.templates(), scope)?;
    append_query(&mut url, request.query, scope)?;
    let (mut headers, mut form) = (headers(request.headers, scope)?, form(request, scope)?);
    if let Some(declared) = request.client_auth {
        let method = client_auth::choose(profile, declared, metadata, "token_endpoint")?;
        secrets.extend(client_auth::apply(profile, method, scope, &mut headers, form.get_or_insert_default())?);
    }
    if let Some([user, password]) = request.basic {
        let value = |name: &str| profile.value(name).map_or("", |secret| secret.expose());
        headers.insert(AUTHORIZATION, client_auth::basic(value(user), value(password))?);
    }
    let body = body(request, scope, form, &mut headers)?;
    let http = HttpRequest {
        method: request.method.http(),
        url,
        headers,
        body,
        timeout: None,
        max_body: MAX_TOKEN_ANSWER,
        identity: profile.identity.clone(),
    };
    Ok(Built { http, secrets })
}

/// Whom an assertion is for, where neither the profile nor the server's description says it: the token endpoint (RFC 7523
/// 3), else where the request goes.
pub(crate) fn name_audience(scope: &mut Scope, url: &Url) {
    if !scope.values.contains_key("assertion_audience") {
        let audience = scope.values.get("token_endpoint").cloned().unwrap_or_else(|| url.as_str().into());
        scope.set("assertion_audience", audience);
    }
}

/// The headers that a request declares, and what it takes in answer.
pub(crate) fn headers(declared: &IndexMap<String, Template>, scope: &Scope) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    for (name, template) in declared {
        if let Some(value) = template.render(scope, Place::Header)? {
            headers.insert(header_name(name)?, header_value(name, &value)?);
        }
    }
    Ok(headers)
}

/// The fields of a declared form; those without a value are left out.
pub(crate) fn form(request: RequestSpec<'_>, scope: &Scope) -> Result<Option<Vec<(String, String)>>> {
    request.form.map(|fields| render_all(fields, scope)).transpose()
}

/// The body: JSON, a form, or none; its type goes into the headers unless they say it themselves.
pub(crate) fn body(
    request: RequestSpec<'_>,
    scope: &Scope,
    form: Option<Vec<(String, String)>>,
    headers: &mut HeaderMap,
) -> Result<Option<Vec<u8>>> {
    let (kind, body) = match (request.json, form) {
        (Some(json), _) => ("application/json", json.render(scope)?.map(|body| body.to_string().into_bytes())),
        (None, Some(fields)) if !fields.is_empty() => {
            let text = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
            ("application/x-www-form-urlencoded", Some(text.into_bytes()))
        }
        (None, _) => return Ok(None),
    };
    headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(kind));
    Ok(body)
}

fn url(profile: &Profile, request: RequestSpec<'_>, scope: &Scope) -> Result<Url> {
    match (request.path, request.url) {
        (Some(path), _) => {
            let base = profile.base_url.as_deref().unwrap_or_default();
            url_rules::parse(&format!("{base}{}", render(path, scope, Place::Path, "path")?))
        }
        (None, Some(url)) => return whole_url(url, scope),
        (None, None) => Err("has neither path nor url".to_owned()),
    }
    .map_err(|why| Error::config(format!("the token endpoint's address {why}")))
}

/// A whole URL, which may be one variable.
pub(crate) fn whole_url(url: &Template, scope: &Scope) -> Result<Url> {
    let place = if url.is_variable() { Place::Whole } else { Place::Host };
    let text = url.render(scope, place)?.ok_or_else(|| {
        let names: Vec<&str> = url.variables().collect();
        Error::config(format!(
            "{}: is missing: neither the profile nor the server's description gives it",
            names.join(", ")
        ))
    })?;
    url_rules::parse(&text).map_err(|why| Error::config(format!("the server's address {why}")))
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
