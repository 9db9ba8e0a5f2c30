//! (token, method, URL) into the headers that a request carries, and the hosts that may see them (DESIGN.md 8).

use std::time::Duration;

use url::Url;

use crate::error::{Error, ErrorCode, Result};
use crate::profile::Profile;
use crate::provider::Place;
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

    /// The generation of the token in them; what [`TokenSource::rejected`](crate::TokenSource::rejected) takes.
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

/// The headers for a request to `url`, which must be one of the profile's own hosts.
pub(crate) fn headers(profile: &Profile, published: &Published, url: &Url, now_unix: Duration) -> Result<Headers> {
    check_host(profile, url)?;
    let attach = &profile.provider.definition().attach;
    let mut pairs = vec![(attach.header.clone(), published.header.clone())];
    let scope = profile.scope(now_unix.as_millis());
    for (name, template) in &attach.headers {
        if let Some(value) = template.render(&scope, Place::Header)? {
            pairs.push((name.clone(), value));
        }
    }
    Ok(Headers { pairs, generation: published.generation })
}

/// Whether one constant header is all that this provider needs.
pub(crate) fn check_single_header(profile: &Profile) -> Result<()> {
    match profile.provider.definition().attach.headers.keys().next() {
        None => Ok(()),
        Some(companion) => Err(Error::new(
            ErrorCode::Unsupported,
            format!("this provider's requests carry {companion} beside the token; use headers(method, url)"),
        )),
    }
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
