//! (token, method, URL) into the headers that a request carries, and the hosts that may see them (DESIGN.md 8).

use url::Url;

use crate::error::{Error, ErrorCode, Result};
use crate::profile::Profile;
use crate::provider::{Bound, Place};
use crate::request;
use crate::runtime::Core;
use crate::signing;
use crate::token::Published;
use crate::url_rules;

/// Everything that a request must carry, in order. Hold it no longer than the request: it has the token in it.
#[derive(Clone, PartialEq, Eq)]
pub struct Headers {
    pairs: Vec<(String, String)>,
    generation: u64,
}

impl Headers {
    /// Name and value of each header.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there are none; a token always makes one.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The generation of the token in them; what
    /// [`TokenSource::invalidate_generation`](crate::TokenSource::invalidate_generation) takes.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The name and value at `index`.
    pub fn get(&self, index: usize) -> Option<(&str, &str)> {
        self.pairs.get(index).map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl std::fmt::Debug for Headers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.pairs.iter().map(|(name, _)| name)).finish()
    }
}

/// What stands before and after the access token where it goes.
pub(crate) fn affixes(profile: &Profile) -> (&str, &str) {
    let attach = &profile.provider.definition().attach;
    if let Some(value) = &attach.value {
        return value.around("access_token").expect("a checked template has the token once, between texts");
    }
    match () {
        () if profile.dpop => ("DPoP ", ""),
        () if attach.query.is_some() => ("", ""),
        () if attach.cookie.is_some() => (profile.provider.cookie_prefix(), ""),
        () => (profile.provider.scheme_prefix(), ""),
    }
}

/// Everything that a request to `url` must carry, and the URL itself where the token stands in it.
pub(crate) struct Attached {
    pub(crate) headers: Headers,
    pub(crate) url: Url,
}

/// Attaches the token to a request to `url`, which must be one of the profile's own hosts.
pub(crate) fn attach(
    core: &Core,
    profile: &Profile,
    published: &Published,
    method: &str,
    url: &Url,
) -> Result<Attached> {
    check_host(profile, url)?;
    attach_unchecked(core, profile, published, method, url)
}

/// The same for a URL of the server itself, which the provider file or the server's description names.
pub(crate) fn attach_unchecked(
    core: &Core,
    profile: &Profile,
    published: &Published,
    method: &str,
    url: &Url,
) -> Result<Attached> {
    let attach = &profile.provider.definition().attach;
    let now = core.clock.now().unix();
    let mut sent = url.clone();
    let mut pairs = Vec::with_capacity(1 + attach.headers.len());
    if let Some(header) = attach.token_header() {
        pairs.push((header.to_owned(), published.header.clone()));
    }
    if let Some(name) = &attach.query {
        sent.query_pairs_mut().append_pair(name, published.access_token());
    }
    if let Some(key) = &published.dpop {
        let proof = core.nonces.proof(key, method, url, now.as_secs(), Some(published.access_token()))?;
        pairs.push(("DPoP".to_owned(), proof));
    }
    if !attach.headers.is_empty() {
        let mut scope = profile.scope(now.as_millis(), None);
        for (name, value) in &published.extras {
            scope.set(name, Bound::Json(value.clone()));
        }
        request::name_audience(&mut scope, url);
        signing::sign(profile, attach.headers.values(), &mut scope)?;
        for (name, template) in &attach.headers {
            if let Some(value) = template.render(&scope, Place::Header)? {
                pairs.push((name.clone(), value));
            }
        }
    }
    Ok(Attached { headers: Headers { pairs, generation: published.generation }, url: sent })
}

/// The headers for a request that the caller sends with a client of its own.
pub(crate) fn headers(
    core: &Core,
    profile: &Profile,
    published: &Published,
    method: &str,
    url: &Url,
) -> Result<Headers> {
    if let Some(name) = &profile.provider.definition().attach.query {
        return Err(Error::new(
            ErrorCode::Unsupported,
            format!("this provider's token goes into the query parameter {name}, not into a header; use request"),
        ));
    }
    attach(core, profile, published, method, url).map(|attached| attached.headers)
}

/// Whether one constant header is all that this provider needs.
pub(crate) fn check_single_header(profile: &Profile) -> Result<()> {
    let attach = &profile.provider.definition().attach;
    let why = match () {
        () if attach.query.is_some() => {
            "this provider's token goes into the query, not into a header; use request".to_owned()
        }
        () if profile.dpop => {
            "every request carries a proof of its own (DPoP) beside the token; use headers(method, url)".to_owned()
        }
        () => match attach.headers.keys().next() {
            None => return Ok(()),
            Some(companion) => {
                format!("this provider's requests carry {companion} beside the token; use headers(method, url)")
            }
        },
    };
    Err(Error::new(ErrorCode::Unsupported, why))
}

/// A path below the API's address, or a whole URL.
pub(crate) fn resolve(profile: &Profile, target: &str) -> Result<Url> {
    if target.chars().any(|c| c.is_control() || c == ' ') {
        return Err(Error::invalid_argument("url: holds a space or control character; percent-encode it"));
    }
    // A path's query may hold a URL.
    if !target.starts_with('/') && target.contains("://") {
        return url_rules::parse(target).map_err(|why| Error::invalid_argument(format!("url: {why}")));
    }
    let Some(base) = &profile.api_base_url else {
        return Err(Error::config(
            "api_base_url: this profile has no API address; set it, or give a whole URL whose host is in allowed_hosts",
        ));
    };
    if !target.starts_with('/') || target.starts_with("//") {
        return Err(Error::invalid_argument("url: expected a path that begins with one /, or a whole URL"));
    }
    let api_path = &profile.provider.definition().api_path;
    url_rules::parse(&format!("{base}{api_path}{target}")).map_err(|why| Error::invalid_argument(format!("url: {why}")))
}

pub(crate) fn check_host(profile: &Profile, url: &Url) -> Result<()> {
    url_rules::check(url).map_err(|why| Error::invalid_argument(format!("url: {why}")))?;
    let api = profile.api_base_url.as_deref().and_then(|base| Url::parse(base).ok());
    if api.iter().chain(&profile.allowed_hosts).any(|own| url_rules::same_origin(own, url)) {
        return Ok(());
    }
    let host = url.host_str().unwrap_or_default();
    Err(match api {
        Some(_) => Error::invalid_argument(format!(
            "url: the token is not sent to host {host:?}, which is not this profile's; add it to allowed_hosts if it is"
        )),
        None => Error::config(format!(
            "api_base_url: this profile has no API address; set it, or add {host:?} to allowed_hosts"
        )),
    })
}
