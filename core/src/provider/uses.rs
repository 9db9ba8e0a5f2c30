//! Which names the parts of a definition use: credentials, variables, and what qauth itself gives.

use std::collections::BTreeSet;

use super::definition::{ClientAuth, Definition, Field, Grant, JwtSpec, RequestSpec};
use super::template::Template;

/// What `auto` may come to, beside the certificate, which is the connection's.
const PROOFS: [ClientAuth; 2] = [ClientAuth::ClientSecretJwt, ClientAuth::PrivateKeyJwt];

impl Definition {
    /// The credential or variable of this name.
    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        self.variables.get(name).or_else(|| self.credentials.get(name))
    }

    /// The JWT of this name: the file's, or the standard assertion of a client authentication (RFC 7523 3).
    pub(crate) fn jwt(&self, name: &str) -> Option<&JwtSpec> {
        self.jwts.get(name).or_else(|| JwtSpec::standard(name))
    }

    /// The names in templates, and in the JWTs that they carry.
    pub(crate) fn names_in<'a>(&'a self, templates: impl IntoIterator<Item = &'a Template>) -> BTreeSet<&'a str> {
        let mut names = BTreeSet::new();
        for template in templates {
            names.extend(template.variables());
            names.extend(template.jwts().flat_map(|jwt| self.names_of_jwt(jwt)));
        }
        names
    }

    /// The names that a grant's requests use, but for the proof of who the client is.
    pub(crate) fn names_of_grant<'a>(&'a self, grant: &'a Grant) -> BTreeSet<&'a str> {
        let page = grant.authorize.iter().flat_map(|page| page.query.values().chain([&page.url]));
        let templates = grant.requests().flat_map(RequestSpec::templates).chain(&grant.token).chain(page);
        let mut names = self.names_in(templates);
        names.extend(grant.requires());
        names
    }

    /// The names that this proof uses where they are given.
    pub(crate) fn names_of_proof(&self, method: ClientAuth) -> BTreeSet<&str> {
        let methods = if method == ClientAuth::Auto { PROOFS.to_vec() } else { vec![method] };
        let names = |method: ClientAuth| {
            let assertion = method.jwt().into_iter().flat_map(|jwt| self.names_of_jwt(jwt));
            method.needs().iter().copied().chain(assertion)
        };
        let mut found = BTreeSet::new();
        found.extend(methods.into_iter().flat_map(names));
        found
    }

    fn names_of_jwt(&self, name: &str) -> impl Iterator<Item = &str> {
        let jwt = self.jwt(name).into_iter();
        jwt.flat_map(|jwt| jwt.templates().flat_map(Template::variables).chain(jwt.credentials()))
    }
}
