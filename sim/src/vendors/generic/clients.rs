//! The clients, and the ways in which each proves who it is (RFC 6749 2.3, RFC 7521 4.2, RFC 7523 3, RFC 8705 2).

use super::{issuer, refusal};
use crate::fields::{FieldError, Fields};
use crate::http::{Reply, Request, form_decode};
use crate::jose::{Jwt, VerifyingKey};
use crate::known;
use hyper::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use std::collections::HashMap;

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// How far away the end of a client's assertion may be.
const CLIENT_ASSERTION_SECONDS: f64 = 600.0;
/// How far ahead of the simulator's clock another one may be.
const SKEW_SECONDS: f64 = 60.0;
const PURGE_FROM: usize = 65_536;

/// The known fields of those clients that have a secret.
pub(super) const SECRETS: [(&str, &str); 4] = [
    ("client_id", "client_secret"),
    ("raw_client_id", "raw_client_secret"),
    ("post_client_id", "post_client_secret"),
    ("secret_jwt_client_id", "secret_jwt_client_secret"),
];

/// The one way in which a client authenticates.
#[derive(Debug, Clone)]
pub(super) enum Way {
    /// HTTP Basic, form-encoded inside.
    Basic(String),
    /// HTTP Basic with id and secret as they are, a habit of many servers.
    RawBasic(String),
    Post(String),
    SecretJwt(String),
    KeyJwt(ClientKey),
    /// By the thumbprint of its certificate.
    Certificate(&'static str),
    Public,
}

/// A client's key, for one algorithm.
#[derive(Debug, Clone)]
pub(super) struct ClientKey {
    alg: &'static str,
    kid: &'static str,
    /// The thumbprint of its certificate, where it has one.
    x5t: Option<&'static str>,
    key: VerifyingKey,
}

/// A registered client.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) id: String,
    pub(super) way: Way,
    revoked: bool,
}

impl Client {
    pub(super) fn is_public(&self) -> bool {
        matches!(self.way, Way::Public)
    }

    /// Whether the client signed an assertion, with its own algorithm and under its own names for the key.
    fn signed(&self, jwt: &Jwt) -> Result<(), String> {
        let secret_key;
        let (alg, key) = match &self.way {
            Way::SecretJwt(secret) => {
                secret_key = VerifyingKey::Secret(secret.as_bytes().to_vec());
                ("HS256", &secret_key)
            }
            Way::KeyJwt(key) => {
                if jwt.header.get("kid").is_some_and(|kid| kid != key.kid) {
                    return Err(format!("kid is not {:?}", key.kid));
                }
                if jwt.header.get("x5t#S256").is_some_and(|x5t| x5t.as_str() != key.x5t) {
                    return Err("x5t#S256 is not that of the client's certificate".to_owned());
                }
                (key.alg, &key.key)
            }
            _ => return Err("the client does not sign assertions".to_owned()),
        };
        match jwt.header_text("alg") {
            Some(given) if given == alg => {}
            given => return Err(format!("alg is {given:?}; this client's is {alg}")),
        }
        if jwt.header.contains_key("crit") {
            return Err("crit names what is not understood here".to_owned());
        }
        if key.signed(jwt) { Ok(()) } else { Err("the signature is wrong".to_owned()) }
    }
}

/// The identifiers of tokens that were used and must not come again.
#[derive(Debug, Default)]
pub(super) struct Seen {
    until: HashMap<String, f64>,
}

impl Seen {
    /// Notes an identifier; `false` if it was noted before. It is remembered at least until then.
    pub(super) fn first(&mut self, id: String, now: f64, until: f64) -> bool {
        if self.until.len() >= PURGE_FROM {
            self.until.retain(|_, until| *until > now);
        }
        self.until.insert(id, until).is_none()
    }
}

/// All clients, in the order of the known ones.
#[derive(Debug)]
pub(super) struct Clients {
    list: Vec<Client>,
}

impl Default for Clients {
    fn default() -> Self {
        let known = |field: &str| known::generic(field).unwrap_or_default();
        let secret = |field: &str| known(field).to_owned();
        let mut ways = vec![
            ("client_id", Way::Basic(secret("client_secret"))),
            ("raw_client_id", Way::RawBasic(secret("raw_client_secret"))),
            ("post_client_id", Way::Post(secret("post_client_secret"))),
            ("secret_jwt_client_id", Way::SecretJwt(secret("secret_jwt_client_secret"))),
            ("public_client_id", Way::Public),
            ("mtls_client_id", Way::Certificate(known("mtls_x5t_s256"))),
        ];
        let keys = [
            ("rs256_client_id", "RS256", "rsa"),
            ("rs384_client_id", "RS384", "rsa"),
            ("rs512_client_id", "RS512", "rsa"),
            ("ps256_client_id", "PS256", "rsa"),
            ("es256_client_id", "ES256", "es256"),
            ("es384_client_id", "ES384", "es384"),
            ("eddsa_client_id", "EdDSA", "eddsa"),
        ];
        ways.extend(keys.into_iter().filter_map(|(field, alg, name)| {
            let jwk = serde_json::from_str(known(&format!("{name}_private_jwk"))).ok()?;
            let (key, kid) = (VerifyingKey::from_jwk(&jwk).ok()?, known(&format!("{name}_kid")));
            let x5t = known::generic(&format!("{name}_x5t_s256"));
            Some((field, Way::KeyJwt(ClientKey { alg, kid, x5t, key })))
        }));
        let client = |(field, way)| Client { id: known(field).to_owned(), way, revoked: false };
        Self { list: ways.into_iter().map(client).collect() }
    }
}

impl Clients {
    fn find(&mut self, id: &str) -> Option<&mut Client> {
        self.list.iter_mut().find(|client| client.id == id)
    }

    /// A client that is not revoked.
    pub(super) fn active(&self, id: &str) -> Option<&Client> {
        self.list.iter().find(|client| client.id == id && !client.revoked)
    }

    pub(super) fn secret(&self, id: &str) -> Option<&str> {
        match &self.list.iter().find(|client| client.id == id)?.way {
            Way::Basic(secret) | Way::RawBasic(secret) | Way::Post(secret) | Way::SecretJwt(secret) => Some(secret),
            _ => None,
        }
    }

    pub(super) fn set_secret(&mut self, id: &str, new: String) -> Result<(), FieldError> {
        let Some(client) = self.find(id) else {
            self.list.push(Client { id: id.to_owned(), way: Way::Basic(new), revoked: false });
            return Ok(());
        };
        match &mut client.way {
            Way::Basic(secret) | Way::RawBasic(secret) | Way::Post(secret) | Way::SecretJwt(secret) => *secret = new,
            _ => return Err(FieldError::new("client_secret", "is nothing that this client has")),
        }
        client.revoked = false;
        Ok(())
    }

    pub(super) fn readmit(&mut self, id: &str) -> Option<()> {
        self.find(id).map(|client| client.revoked = false)
    }

    pub(super) fn revoke(&mut self, id: &str) -> Option<()> {
        self.find(id).map(|client| client.revoked = true)
    }

    /// The client that a request comes from; `None` if it does not say. Two proofs at once are refused, and so is one
    /// that is not the client's own way.
    pub(super) fn authenticate(
        &self,
        form: &mut Fields,
        request: &Request,
        now: f64,
        seen: &mut Seen,
    ) -> Result<Option<Client>, Reply> {
        let basic = request.headers.contains_key(AUTHORIZATION);
        let (id, secret) = (form.optional_text("client_id")?, form.optional_text("client_secret")?);
        let (assertion, kind) = (form.optional_text("client_assertion")?, form.optional_text("client_assertion_type")?);
        if [basic, secret.is_some(), assertion.is_some()].iter().filter(|given| **given).count() > 1 {
            return Err(refusal("invalid_request", "client authentication: only one is allowed (RFC 6749 2.3)"));
        }
        if assertion.is_some() != kind.is_some() {
            return Err(FieldError::new("client_assertion_type", "and client_assertion come together").into());
        }
        let client = if basic {
            let client = self.by_basic(request);
            Some(client.ok_or_else(|| {
                invalid_client("the Basic credentials are wrong").with(WWW_AUTHENTICATE, "Basic realm=\"qauth-sim\"")
            })?)
        } else if let Some(assertion) = assertion {
            if kind.as_deref() != Some(ASSERTION_TYPE) {
                return Err(invalid_client("the client_assertion_type is unknown"));
            }
            Some(
                self.by_assertion(&assertion, request, now, seen)
                    .map_err(|problem| invalid_client(&format!("client_assertion: {problem}")))?,
            )
        } else if let Some(secret) = secret {
            let id = id.as_deref().ok_or_else(|| FieldError::new("client_id", "is missing"))?;
            let client = self.active(id).filter(|client| matches!(&client.way, Way::Post(own) if *own == secret));
            Some(client.ok_or_else(|| invalid_client("the client_id or the client_secret is wrong"))?)
        } else if let Some(id) = &id {
            let client = self.active(id).filter(|client| match client.way {
                Way::Public => true,
                Way::Certificate(x5t) => request.certificate.as_deref() == Some(x5t),
                _ => false,
            });
            Some(client.ok_or_else(|| invalid_client("the client is unknown, or must authenticate"))?)
        } else {
            None
        };
        match (client, id) {
            (Some(client), Some(id)) if client.id != id => {
                Err(FieldError::new("client_id", "is not the client that authenticates").into())
            }
            (client, _) => Ok(client.cloned()),
        }
    }

    fn by_basic(&self, request: &Request) -> Option<&Client> {
        let (id, secret) = request.basic_pair()?;
        let raw = self.active(&id).filter(|client| matches!(&client.way, Way::RawBasic(own) if *own == secret));
        raw.or_else(|| {
            let (id, secret) = (form_decode(&id)?, form_decode(&secret)?);
            self.active(&id).filter(|client| matches!(&client.way, Way::Basic(own) if *own == secret))
        })
    }

    fn by_assertion(&self, text: &str, request: &Request, now: f64, seen: &mut Seen) -> Result<&Client, String> {
        let jwt = Jwt::parse(text).ok_or("is not a JWT")?;
        let id = jwt.text("iss").ok_or("iss is missing")?;
        if jwt.text("sub") != Some(id) {
            return Err("sub is not iss".to_owned());
        }
        if jwt.text("jti").is_none() {
            return Err("jti is missing".to_owned());
        }
        self.check_assertion(&jwt, request, now, CLIENT_ASSERTION_SECONDS, seen)
    }

    /// The client that made an assertion, if that is signed, meant for this server, of this time and new.
    pub(super) fn check_assertion(
        &self,
        jwt: &Jwt,
        request: &Request,
        now: f64,
        longest: f64,
        seen: &mut Seen,
    ) -> Result<&Client, String> {
        let id = jwt.text("iss").unwrap_or_default();
        let client = self.active(id).ok_or("iss is not a client")?;
        client.signed(jwt)?;
        let issuer = issuer(request);
        let ours = [format!("{issuer}/token"), format!("{}{}", request.origin, request.path), issuer];
        if !jwt.audiences().iter().any(|audience| ours.iter().any(|own| own == audience)) {
            return Err("aud is neither the issuer nor the token endpoint".to_owned());
        }
        let exp = jwt.number("exp").ok_or("exp is missing")?;
        if exp <= now {
            return Err("exp is over".to_owned());
        }
        if exp > now + longest {
            return Err(format!("exp is more than {longest} s away"));
        }
        for name in ["nbf", "iat"] {
            if jwt.claims.contains_key(name) && jwt.number(name).is_none_or(|time| time > now + SKEW_SECONDS) {
                return Err(format!("{name} is still to come"));
            }
        }
        match jwt.text("jti") {
            Some(jti) if !seen.first(format!("{id} {jti}"), now, exp) => Err("jti has been used before".to_owned()),
            _ => Ok(client),
        }
    }
}

pub(super) fn invalid_client(description: &str) -> Reply {
    Reply::error(401, "invalid_client", description)
}
