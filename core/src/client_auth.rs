//! How the client proves who it is: RFC 6749 2.3, RFC 7523 2.2, RFC 8705 2. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use url::form_urlencoded::byte_serialize;

use crate::discovery::Metadata;
use crate::error::{Error, Result};
use crate::profile::Profile;
use crate::provider::{ClientAuth, Scope};
use crate::secret::Secret;
use crate::signing;

/// RFC 7523 2.2.
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The method for this profile: its own choice, the provider's, or by what it gives and the server takes at this endpoint
/// (RFC 8414 2).
pub(crate) fn choose(
    profile: &Profile,
    declared: ClientAuth,
    metadata: Option<&Metadata>,
    endpoint: &str,
) -> Result<ClientAuth> {
    let chosen = profile.client_auth.unwrap_or(declared);
    if chosen != ClientAuth::Auto {
        return Ok(chosen);
    }
    let has = |name: &str| profile.value(name).is_some();
    let certificate = profile.identity.is_some() && !has("client_secret");
    let possible = [
        (has("private_key"), ClientAuth::PrivateKeyJwt),
        (has("client_secret"), ClientAuth::ClientSecretBasic),
        (has("client_secret"), ClientAuth::ClientSecretPost),
        (has("client_secret"), ClientAuth::ClientSecretJwt),
        (certificate, ClientAuth::TlsClientAuth),
        (certificate, ClientAuth::SelfSignedTlsClientAuth),
        (!has("client_secret") && !has("private_key") && !certificate, ClientAuth::None),
    ];
    let possible = || possible.iter().filter(|(possible, _)| *possible).map(|(_, method)| *method);
    let supported = metadata.and_then(|metadata| {
        let own = metadata.list(&format!("{endpoint}_auth_methods_supported"));
        own.or_else(|| metadata.list("token_endpoint_auth_methods_supported"))
    });
    match supported {
        None => Ok(possible().next().unwrap_or(ClientAuth::None)),
        // "none" proves nothing, and most servers with public clients do not list it.
        Some(supported) => possible()
            .find(|method| *method == ClientAuth::None || supported.contains(&method.name()))
            .ok_or_else(|| {
                let wanted = supported.iter().map(|name| safe(name)).collect::<Vec<_>>().join(", ");
                Error::config(format!(
                    "client_auth: the server takes {wanted}, for which this profile gives no credentials"
                ))
            }),
    }
}

/// Adds the proof to a request's headers or form; what is sent besides the profile's own secrets is returned.
pub(crate) fn apply(
    profile: &Profile,
    method: ClientAuth,
    scope: &Scope,
    headers: &mut HeaderMap,
    form: &mut Vec<(String, String)>,
) -> Result<Option<Secret>> {
    let value = |name: &str| match profile.value(name) {
        Some(value) => Ok(value.expose()),
        None => Err(Error::config(format!("{name}: is missing: client_auth {} needs it", method.name()))),
    };
    let mut add = |name: &str, value: &str| {
        if !form.iter().any(|(given, _)| given == name) {
            form.push((name.to_owned(), value.to_owned()));
        }
    };
    match method {
        ClientAuth::ClientSecretBasic => {
            let encode = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
            headers.insert(AUTHORIZATION, basic(&encode(value("client_id")?), &encode(value("client_secret")?))?);
        }
        ClientAuth::ClientSecretBasicRaw => {
            headers.insert(AUTHORIZATION, basic(value("client_id")?, value("client_secret")?)?);
        }
        ClientAuth::ClientSecretPost => {
            add("client_id", value("client_id")?);
            add("client_secret", value("client_secret")?);
        }
        ClientAuth::ClientSecretJwt | ClientAuth::PrivateKeyJwt => {
            let assertion = signing::sign_one(profile, method.name(), scope)?;
            // RFC 7521 4.2: not needed, and asked for by several servers.
            add("client_id", value("client_id")?);
            add("client_assertion_type", JWT_BEARER);
            add("client_assertion", assertion.expose());
            return Ok(Some(assertion));
        }
        ClientAuth::TlsClientAuth | ClientAuth::SelfSignedTlsClientAuth if profile.identity.is_none() => {
            return Err(Error::config(format!("certificate: is missing: client_auth {} needs it", method.name())));
        }
        ClientAuth::TlsClientAuth | ClientAuth::SelfSignedTlsClientAuth | ClientAuth::None | ClientAuth::Auto => {
            add("client_id", value("client_id")?);
        }
    }
    Ok(None)
}

/// RFC 7617: two texts as they are.
pub(crate) fn basic(user: &str, password: &str) -> Result<HeaderValue> {
    let mut header = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
        .map_err(|_| Error::invalid_argument("the credentials do not fit a header"))?;
    header.set_sensitive(true);
    Ok(header)
}

/// A word of the server, fit to be shown.
fn safe(word: &str) -> String {
    word.chars().filter(|c| c.is_ascii_graphic()).take(64).collect()
}
