//! Tokens bound to a key of ours, and the proof that every request carries (RFC 9449).

use std::sync::Arc;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use crate::error::{Error, Result};
use crate::forkmap::ForkMap;
use crate::jose::{self, SigningKey};
use crate::secret::Secret;

pub(crate) const PROOF: HeaderName = HeaderName::from_static("dpop");
const NONCE: &str = "dpop-nonce";
/// RFC 9449 8 and 9.
pub(crate) const USE_NONCE: &str = "use_dpop_nonce";
const MAX_NONCE: usize = 1024;
/// A process speaks to a handful of servers with a handful of keys; beyond that old nonces are forgotten.
const MAX_NONCES: usize = 4096;

/// A key that tokens are bound to, and the text from which it can be made again.
#[derive(Clone)]
pub(crate) struct DpopKey {
    key: Arc<SigningKey>,
    thumbprint: Arc<str>,
    /// None for a key that the profile gives.
    pub(crate) stored: Option<Secret>,
}

impl DpopKey {
    pub(crate) fn new(key: SigningKey, stored: Option<Secret>) -> Result<DpopKey> {
        let thumbprint =
            key.thumbprint().ok_or_else(|| Error::config("dpop_key: is a shared secret; a key pair is needed"))?;
        Ok(DpopKey { key: Arc::new(key), thumbprint: thumbprint.into(), stored })
    }

    /// Names it (RFC 7638).
    pub(crate) fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// A key of its own, P-256.
    pub(crate) fn generate() -> Result<DpopKey> {
        let (key, stored) = SigningKey::generate_es256()?;
        DpopKey::new(key, Some(stored))
    }

    /// One that was generated before.
    pub(crate) fn from_stored(stored: &Secret) -> Result<DpopKey> {
        let key = SigningKey::parse(stored.expose(), None, None).map_err(Error::config)?;
        DpopKey::new(key, Some(stored.clone()))
    }
}

/// The nonces that servers gave, for each key and server.
#[derive(Default)]
pub(crate) struct Nonces(ForkMap<(Arc<str>, String), Arc<str>>);

impl Nonces {
    fn get(&self, key: &DpopKey, url: &Url) -> Option<Arc<str>> {
        self.0.get(&(key.thumbprint.clone(), origin(url)))
    }

    /// Takes the nonce of an answer; whether there is one that can be used. One that is known already can: another request
    /// may have learned it while this one was on its way without it.
    pub(crate) fn learn(&self, key: &DpopKey, url: &Url, nonce: Option<&str>) -> bool {
        let fits = |nonce: &&str| nonce.len() <= MAX_NONCE && nonce.bytes().all(|byte| byte.is_ascii_graphic());
        let Some(nonce) = nonce.filter(fits) else { return false };
        if self.0.len() >= MAX_NONCES {
            self.0.clear();
        }
        self.0.insert(&(key.thumbprint.clone(), origin(url)), nonce.into());
        true
    }

    /// The proof for one request (RFC 9449 4.2).
    pub(crate) fn proof(
        &self,
        key: &DpopKey,
        method: &str,
        url: &Url,
        unix_seconds: u64,
        access_token: Option<&str>,
    ) -> Result<String> {
        let nonce = self.get(key, url);
        jose::dpop_proof(&key.key, method, url, unix_seconds, access_token, nonce.as_deref())
    }
}

fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// The nonce in an answer's headers.
pub(crate) fn nonce(headers: &HeaderMap) -> Option<&str> {
    headers.get(NONCE)?.to_str().ok()
}

/// Whether a token endpoint's refusal asks for a nonce (RFC 9449 8).
pub(crate) fn refusal_wants_nonce(server_error: Option<&str>) -> bool {
    server_error == Some(USE_NONCE)
}

/// A proof as a header's value.
pub(crate) fn header(proof: &str) -> Result<HeaderValue> {
    let mut value =
        HeaderValue::from_str(proof).map_err(|_| Error::config("dpop_key: its proof does not fit a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_belongs_to_one_key_and_one_server() {
        let (one, two) = (DpopKey::generate().unwrap(), DpopKey::generate().unwrap());
        let nonces = Nonces::default();
        let here = Url::parse("https://a.example/x").unwrap();
        let there = Url::parse("https://b.example/x").unwrap();
        assert!(nonces.learn(&one, &here, Some("n-1")));
        assert!(nonces.learn(&one, &here, Some("n-1")), "another request may have learned it first");
        assert!(!nonces.learn(&one, &here, None));
        assert_eq!(nonces.get(&one, &Url::parse("https://a.example/other?q").unwrap()).as_deref(), Some("n-1"));
        assert!(nonces.get(&two, &here).is_none() && nonces.get(&one, &there).is_none());
    }

    #[test]
    fn what_cannot_be_a_nonce_is_not_kept() {
        let (key, nonces) = (DpopKey::generate().unwrap(), Nonces::default());
        let url = Url::parse("https://a.example").unwrap();
        for nonce in ["a b".to_owned(), "ü".to_owned(), "x".repeat(2000)] {
            assert!(!nonces.learn(&key, &url, Some(&nonce)));
        }
    }

    #[test]
    fn a_key_is_the_same_after_it_was_stored() {
        let key = DpopKey::generate().unwrap();
        let again = DpopKey::from_stored(key.stored.as_ref().unwrap()).unwrap();
        assert_eq!(key.thumbprint, again.thumbprint);
    }
}
