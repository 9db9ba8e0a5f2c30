//! DPoP (RFC 9449): proofs that the sender of a token holds the key it is bound to.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use serde_json::{Map, Value};
use url::Url;

use super::jws::compact;
use super::key::SigningKey;
use crate::error::{Error, Result};
use crate::random::random_hex;

/// A proof for one request (RFC 9449 4.2). `access_token` is given for requests to an API, not to the token endpoint;
/// `nonce` is what that server last demanded.
pub(crate) fn dpop_proof(
    key: &SigningKey,
    method: &str,
    url: &Url,
    unix_seconds: u64,
    access_token: Option<&str>,
    nonce: Option<&str>,
) -> Result<String> {
    let jwk = key.public_jwk().ok_or_else(|| {
        Error::config(format!("a DPoP proof needs a private key, and {} uses a shared secret", key.algorithm().name()))
    })?;
    let header = Map::from_iter([("typ".to_owned(), "dpop+jwt".into()), ("jwk".to_owned(), jwk.clone())]);

    let mut claims = Map::new();
    let mut claim = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    claim("jti", random_hex(16).into());
    claim("htm", method.into());
    claim("htu", target(url).into());
    claim("iat", unix_seconds.into());
    if let Some(token) = access_token {
        claim("ath", access_token_hash(token).into());
    }
    if let Some(nonce) = nonce {
        claim("nonce", nonce.into());
    }
    compact(key, header, &claims)
}

/// The URL that a proof names: without query and fragment (RFC 9449 4.2), and without a user, who is not sent in it.
fn target(url: &Url) -> String {
    let mut target = url.clone();
    target.set_query(None);
    target.set_fragment(None);
    // These fail for URLs without a host only, which have no user either.
    let _ = target.set_username("");
    let _ = target.set_password(None);
    target.into()
}

/// The `ath` claim.
pub(super) fn access_token_hash(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, token.as_bytes()))
}
