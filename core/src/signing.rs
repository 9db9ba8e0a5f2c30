//! The JWTs that requests carry: their keys, read once, and their claims, written for each (RFC 7515, RFC 7519).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::jose::{self, Algorithm, SigningKey};
use crate::profile::Profile;
use crate::provider::{ClientAuth, JsonTemplate, JwtSpec, Place, Scope, Template};
use crate::secret::Secret;

/// A profile's keys by the name of the JWT that they sign.
pub(crate) type Keys = BTreeMap<String, SigningKey>;

/// Reads every key that the profile can need. The error names the credential.
pub(crate) fn keys(profile: &Profile, proofs: &[ClientAuth]) -> std::result::Result<Keys, (String, String)> {
    let mut names: Vec<&str> = profile.provider.definition().jwts.keys().map(String::as_str).collect();
    for proof in proofs {
        match proof {
            ClientAuth::Auto if profile.value("private_key").is_some() => names.push("private_key_jwt"),
            ClientAuth::Auto => names.push("client_secret_jwt"),
            method => names.extend(method.jwt()),
        }
    }
    names.sort_unstable();
    names.dedup();
    let mut keys = Keys::new();
    for name in names {
        let Some(spec) = profile.provider.jwt(name) else { continue };
        let Some(text) = profile.value(&spec.key) else { continue };
        let algorithm = algorithm(spec, &profile.scope(0, None)).map_err(|why| ("algorithm".to_owned(), why))?;
        let key =
            SigningKey::parse(text.expose(), spec.key_format, algorithm).map_err(|why| (spec.key.clone(), why))?;
        if let Some(name) = &spec.x5t_s256
            && let Some(certificate) = profile.value(name)
        {
            jose::x5t_s256(certificate.expose()).map_err(|why| (name.clone(), why))?;
        }
        keys.insert(name.to_owned(), key);
    }
    Ok(keys)
}

/// Signs the JWTs that these templates hold and puts them into the scope; what was signed is a secret while it lives.
pub(crate) fn sign<'a>(
    profile: &Profile,
    templates: impl Iterator<Item = &'a Template>,
    scope: &mut Scope,
) -> Result<Vec<Secret>> {
    let mut names: Vec<&str> = templates.flat_map(Template::jwts).collect();
    names.sort_unstable();
    names.dedup();
    let mut signed = Vec::new();
    for name in names {
        let jwt = sign_one(profile, name, scope)?;
        scope.jwts.insert(name.to_owned(), jwt.clone());
        signed.push(jwt);
    }
    Ok(signed)
}

/// One JWT, valid from now on.
pub(crate) fn sign_one(profile: &Profile, name: &str, scope: &Scope) -> Result<Secret> {
    let spec = profile.provider.jwt(name).ok_or_else(|| Error::config(format!("jwts.{name}: is not declared")))?;
    let key = profile
        .keys
        .get(name)
        .ok_or_else(|| Error::config(format!("{}: is missing: it signs what the server asks for", spec.key)))?;
    let mut header = Map::new();
    header.insert("typ".into(), Value::from("JWT"));
    if let Some(kid) = key.kid() {
        header.insert("kid".into(), Value::from(kid));
    }
    header.extend(rendered(spec.header.iter(), scope)?);
    if let Some(certificate) = spec.x5t_s256.as_ref().and_then(|name| profile.value(name)) {
        let digest = jose::x5t_s256(certificate.expose()).map_err(Error::config)?;
        header.insert("x5t#S256".into(), Value::from(digest));
    }
    let mut claims = rendered(spec.claims.iter(), scope)?;
    if let Some(lifetime) = spec.lifetime {
        let now = (scope.unix_ms / 1000) as u64;
        claims.insert("iat".into(), Value::from(now));
        claims.insert("exp".into(), Value::from(now + lifetime.as_secs()));
    }
    jose::compact(key, header, &claims).map(Secret::new)
}

fn rendered<'a>(
    members: impl Iterator<Item = (&'a String, &'a JsonTemplate)>,
    scope: &Scope,
) -> Result<Map<String, Value>> {
    let mut object = Map::new();
    for (name, template) in members {
        if let Some(value) = template.render(scope)? {
            object.insert(name.clone(), value);
        }
    }
    Ok(object)
}

fn algorithm(spec: &JwtSpec, scope: &Scope) -> std::result::Result<Option<Algorithm>, String> {
    let Some(template) = &spec.algorithm else { return Ok(None) };
    let text = template.render(scope, Place::Whole).map_err(|error| error.message().to_owned())?;
    text.map(|text| text.parse()).transpose()
}
