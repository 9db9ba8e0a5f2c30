//! What the types of a provider file cannot say: references that lead somewhere, keys that are used, headers that are
//! free. All mistakes are found, not only the first.

mod address;
mod answer;
mod attach;
mod grants;
mod jwts;
mod operations;

use std::collections::HashSet;

use super::definition::{Definition, Field, GrantKind};
use super::template::Template;

/// Given by qauth itself: what the caller may narrow a token to.
const BUILTIN: [&str; 3] = ["scope", "audience", "resource"];

/// Names that mean something else in profiles or templates.
const RESERVED: [&str; 8] = [
    "refresh_token",
    "access_token",
    "code",
    "code_verifier",
    "redirect_uri",
    "device_code",
    "assertion_type",
    "narrowed_scope",
];

/// Keys of a profile that are not credentials or variables.
pub(crate) const PROFILE_KEYS: [&str; 19] = [
    "provider",
    "environment",
    "grant",
    "base_url",
    "api_base_url",
    "allowed_hosts",
    "scope",
    "audience",
    "resource",
    "mode",
    "buffer",
    "ahead",
    "max_lifetime",
    "default_lifetime",
    "timeout",
    "client_auth",
    "dpop",
    "refresh_token",
    "credentials",
];

/// The credential that no part of a file names: DPoP alone uses it.
const DPOP_KEY: &str = "dpop_key";

/// Headers that only the HTTP client itself may write.
const FORBIDDEN_HEADERS: [&str; 7] =
    ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"];

/// One mistake, and the key where it stands, for instance `grants.login.path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) at: String,
    pub(crate) message: String,
    /// Something else is not there; it may only be unreadable.
    pub(crate) absence: bool,
}

/// Every mistake in a definition.
pub(crate) fn check(definition: &Definition) -> Vec<Finding> {
    let mut checker = Checker { definition, used: HashSet::new(), used_jwts: HashSet::new(), findings: Vec::new() };
    checker.run();
    checker.findings
}

/// Whether a caller or provider file may set this header: not the ones that frame the message.
pub(crate) fn header_is_free(name: &str) -> bool {
    !FORBIDDEN_HEADERS.contains(&name.to_ascii_lowercase().as_str())
}

struct Checker<'a> {
    definition: &'a Definition,
    used: HashSet<&'a str>,
    used_jwts: HashSet<&'a str>,
    findings: Vec<Finding>,
}

impl<'a> Checker<'a> {
    fn wrong(&mut self, at: impl Into<String>, message: impl Into<String>) {
        self.findings.push(Finding { at: at.into(), message: message.into(), absence: false });
    }

    /// The same where the mistake is that something else is not there.
    fn lacks(&mut self, at: impl Into<String>, message: impl Into<String>) {
        self.findings.push(Finding { at: at.into(), message: message.into(), absence: true });
    }

    fn run(&mut self) {
        let definition = self.definition;
        if !is_identifier(&definition.name, true) {
            self.wrong("name", "expected lower-case letters, digits, - and _, beginning with a letter");
        }
        self.fields();
        self.addresses();
        for (name, jwt) in &definition.jwts {
            self.jwt(name, jwt);
        }
        self.mtls();
        self.grants();
        self.attach();
        for (name, operation) in &definition.operations {
            self.operation(name, operation);
        }
        self.answer("answer", &definition.answer);
        self.unread_answer();
        self.lifetime();
        self.unused();
    }

    fn fields(&mut self) {
        let definition = self.definition;
        for (section, fields) in [("variables", &definition.variables), ("credentials", &definition.credentials)] {
            for (name, field) in fields {
                let at = format!("{section}.{name}");
                if !is_identifier(name, false) {
                    self.wrong(&at, "names are lower-case letters, digits and _");
                }
                if PROFILE_KEYS.contains(&name.as_str()) || RESERVED.contains(&name.as_str()) {
                    self.wrong(&at, "this name has a meaning of its own; choose another");
                }
                if section == "credentials" && definition.variables.contains_key(name) {
                    self.wrong(&at, "is declared under variables too");
                }
                self.field(&at, field);
            }
        }
    }

    fn field(&mut self, at: &str, field: &Field) {
        if field.secret && field.default.is_some() {
            self.wrong(format!("{at}.default"), "a secret has no default");
        }
        if let (Some(pattern), Some(default)) = (&field.pattern, &field.default)
            && !pattern.matches(default)
        {
            self.wrong(format!("{at}.default"), "does not match its pattern");
        }
        if field.env.as_ref().is_some_and(|env| {
            env.is_empty() || !env.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        }) {
            self.wrong(format!("{at}.env"), "expected upper-case letters, digits and _");
        }
        if field.discovered.is_some() {
            if self.definition.discovery.is_none() {
                self.lacks(format!("{at}.discovered"), "there is no [discovery] that could give it");
            }
            if field.secret || field.default.is_some() {
                self.wrong(format!("{at}.discovered"), "what the server tells is no secret and has no default");
            }
        }
    }

    /// The variables and JWTs of a template must be declared; `extra` are those that only this place has.
    fn uses(&mut self, at: &str, template: &'a Template, extra: &[&str]) {
        for name in template.variables() {
            let declared = self.definition.field(name).is_some();
            if !declared && !BUILTIN.contains(&name) && !extra.contains(&name) {
                self.wrong(at, format!("{{{name}}} is declared neither under credentials nor under variables"));
            }
            self.used.insert(name);
        }
        self.uses_jwts(at, template);
    }

    fn uses_jwts(&mut self, at: &str, template: &'a Template) {
        for name in template.jwts() {
            if !self.definition.jwts.contains_key(name) {
                self.lacks(at, format!("{{jwt({name})}} is not declared under jwts"));
            }
            self.used_jwts.insert(name);
        }
    }

    /// A key that names a credential, which a profile gives.
    fn names(&mut self, at: &str, name: &'a str) {
        let called = shown(name);
        match self.definition.field(name) {
            None => self.wrong(at, format!("{called} is declared neither under credentials nor under variables")),
            Some(field) if field.discovered.is_some() => {
                self.wrong(at, format!("{called} has discovered, but the server's description holds no credentials"));
            }
            Some(_) => {}
        }
        self.used.insert(name);
    }

    /// Where nobody asks the server for its description.
    fn undiscovered(&mut self, at: &str, template: &'a Template) {
        let definition = self.definition;
        for name in definition.names_in([template]) {
            if definition.field(name).is_some_and(|field| field.discovered.is_some()) {
                self.wrong(at, format!("{{{name}}} has discovered, but the server's description is not read for this"));
            }
        }
    }

    /// Whether a server gives tokens, which refresh tokens, answers and DPoP need.
    fn is_sent(&self) -> bool {
        self.definition.grants.keys().any(|kind| kind.sends() && *kind != GrantKind::RefreshToken)
    }

    fn unused(&mut self) {
        let definition = self.definition;
        if self.is_sent() && definition.attach.takes_dpop() {
            self.used.insert(DPOP_KEY);
        }
        for (section, fields) in [("variables", &definition.variables), ("credentials", &definition.credentials)] {
            for name in fields.keys() {
                if !self.used.contains(name.as_str()) {
                    self.lacks(format!("{section}.{name}"), "is declared but used nowhere");
                }
            }
        }
        for name in definition.jwts.keys() {
            if !self.used_jwts.contains(name.as_str()) {
                self.lacks(format!("jwts.{name}"), "is declared but used nowhere");
            }
        }
    }
}

fn is_identifier(name: &str, hyphen: bool) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || (hyphen && c == '-'))
}

/// A name, unless it is none: a secret may have been pasted where its name belongs.
fn shown(name: &str) -> &str {
    if is_identifier(name, true) { name } else { "what is given here" }
}

fn is_header_name(name: &str) -> bool {
    reqwest::header::HeaderName::from_bytes(name.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests;
