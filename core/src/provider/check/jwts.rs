//! JWTs, and the keys and certificates that a file names.

use super::Checker;
use crate::jose::{Algorithm, KeyFormat};
use crate::provider::definition::JwtSpec;

impl<'a> Checker<'a> {
    pub(super) fn jwt(&mut self, name: &'a str, jwt: &'a JwtSpec) {
        let at = format!("jwts.{name}");
        if !super::is_identifier(name, false) {
            self.wrong(&at, "names are lower-case letters, digits and _");
        }
        self.names(&format!("{at}.key"), &jwt.key);
        if let Some(certificate) = &jwt.x5t_s256 {
            self.names(&format!("{at}.x5t_s256"), certificate);
        }
        for (part, members) in [("header", &jwt.header), ("claims", &jwt.claims)] {
            for (at, template) in members.iter().flat_map(|(name, value)| value.by_key(format!("{at}.{part}.{name}"))) {
                self.uses(&at, template, &["assertion_audience"]);
                if template.jwts().next().is_some() {
                    self.wrong(&at, "a JWT inside a JWT cannot be written");
                }
            }
        }
        if let Some(written) = ["alg", "x5t#S256"].iter().find(|member| jwt.header.contains_key(**member)) {
            self.wrong(format!("{at}.header.{written}"), "is written by qauth itself: use algorithm, and x5t_s256");
        }
        self.algorithm(&at, jwt);
        // exp is written in whole seconds.
        if jwt.lifetime.is_some_and(|lifetime| lifetime.as_secs() == 0) {
            self.wrong(format!("{at}.lifetime"), "must be at least 1s");
        }
        if jwt.lifetime.is_some()
            && let Some(written) = ["iat", "exp"].iter().find(|claim| jwt.claims.contains_key(**claim))
        {
            self.wrong(format!("{at}.claims.{written}"), "lifetime writes iat and exp; keep one of the two");
        }
    }

    fn algorithm(&mut self, at: &str, jwt: &'a JwtSpec) {
        let Some(algorithm) = &jwt.algorithm else { return };
        let at_algorithm = format!("{at}.algorithm");
        self.uses(&at_algorithm, algorithm, &["assertion_algorithm"]);
        // The key is read with it before any server is asked.
        self.undiscovered(&at_algorithm, algorithm);
        if algorithm.variables().next().is_some() {
            return;
        }
        let shared = match algorithm.to_string().parse::<Algorithm>() {
            Ok(algorithm) => algorithm.name().starts_with("HS"),
            Err(why) => return self.wrong(at_algorithm, why),
        };
        match (jwt.key_format, shared) {
            (Some(KeyFormat::Text), false) => {
                self.wrong(format!("{at}.key_format"), "text is a shared secret, which needs an HS algorithm");
            }
            (Some(KeyFormat::Pem), true) => {
                self.wrong(format!("{at}.key_format"), "pem is a private key, which no HS algorithm signs with");
            }
            _ => {}
        }
    }

    pub(super) fn mtls(&mut self) {
        let definition = self.definition;
        let Some(mtls) = &definition.mtls else { return };
        for (key, name) in [("certificate", &mtls.certificate), ("key", &mtls.key)] {
            let at = format!("mtls.{key}");
            self.names(&at, name);
            if definition.field(name).is_some_and(|field| !field.multiline) {
                self.lacks(
                    &at,
                    format!("{} is PEM, which has lines: declare it with multiline = true", super::shown(name)),
                );
            }
        }
    }
}
