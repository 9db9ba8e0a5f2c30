//! What the types of a provider file cannot say: references that lead somewhere, keys that are used, headers that are
//! free. All mistakes are found, not only the first.

mod grants;

use std::collections::HashSet;

use indexmap::IndexMap;

use super::definition::{Answer, Condition, Definition, Field, GrantKind, JwtSpec, Method, Operation, Part};
use super::template::Template;
use crate::error::ErrorCode;
use crate::jose::Algorithm;

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
pub(crate) const PROFILE_KEYS: [&str; 18] = [
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
];

/// Credentials with a meaning of their own, so that they need no template to be used.
const STANDARD: [&str; 2] = ["assertion_audience", "dpop_key"];

/// Headers that only the HTTP client itself may write.
const FORBIDDEN_HEADERS: [&str; 7] =
    ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"];

/// Which of qauth's codes a vendor's word or status may stand for.
const CODES: [ErrorCode; 7] = [
    ErrorCode::InvalidClient,
    ErrorCode::InvalidGrant,
    ErrorCode::AccessDenied,
    ErrorCode::Config,
    ErrorCode::RateLimited,
    ErrorCode::ServerError,
    ErrorCode::ReauthenticationRequired,
];

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
        if !definition.api_path.is_empty()
            && (!definition.api_path.starts_with('/') || definition.api_path.ends_with('/'))
        {
            self.wrong("api_path", "must begin with / and not end with it");
        }
        self.fields();
        for (name, environment) in &definition.environments {
            for (key, url) in [("base_url", &environment.base_url), ("api_base_url", &environment.api_base_url)] {
                let Some(url) = url else { continue };
                let at = format!("environments.{name}.{key}");
                self.uses(&at, url, &[]);
                self.https(&at, url);
            }
        }
        self.discovery();
        for (name, jwt) in &definition.jwts {
            self.jwt(name, jwt);
        }
        if let Some(mtls) = &definition.mtls {
            for (key, name) in [("certificate", &mtls.certificate), ("key", &mtls.key)] {
                self.names(&format!("mtls.{key}"), name);
            }
        }
        self.grants();
        self.attach();
        for (name, operation) in &definition.operations {
            self.operation(name, operation);
        }
        self.answer("answer", &definition.answer);
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

    fn discovery(&mut self) {
        let definition = self.definition;
        let Some(discovery) = &definition.discovery else { return };
        self.uses("discovery.issuer", &discovery.issuer, &[]);
        if !discovery.issuer.is_variable() {
            self.https("discovery.issuer", &discovery.issuer);
        }
        if !definition.variables.values().chain(definition.credentials.values()).any(|field| field.discovered.is_some())
        {
            self.lacks("discovery", "no variable has discovered = \"…\", so nothing would be read from it");
        }
    }

    fn jwt(&mut self, name: &'a str, jwt: &'a JwtSpec) {
        let at = format!("jwts.{name}");
        if !is_identifier(name, false) {
            self.wrong(&at, "names are lower-case letters, digits and _");
        }
        self.names(&format!("{at}.key"), &jwt.key);
        if let Some(certificate) = &jwt.x5t_s256 {
            self.names(&format!("{at}.x5t_s256"), certificate);
        }
        for (part, members) in [("header", &jwt.header), ("claims", &jwt.claims)] {
            for (member, value) in members {
                let at = format!("{at}.{part}.{member}");
                for template in value.templates() {
                    self.uses(&at, template, &["assertion_audience"]);
                    if template.jwts().next().is_some() {
                        self.wrong(&at, "a JWT inside a JWT cannot be written");
                    }
                }
            }
        }
        if let Some(written) = ["alg", "x5t#S256"].iter().find(|member| jwt.header.contains_key(**member)) {
            self.wrong(format!("{at}.header.{written}"), "is written by qauth itself: use algorithm, and x5t_s256");
        }
        if let Some(algorithm) = &jwt.algorithm {
            self.uses(&format!("{at}.algorithm"), algorithm, &["assertion_algorithm"]);
            if algorithm.variables().next().is_none()
                && let Err(why) = algorithm.to_string().parse::<Algorithm>()
            {
                self.wrong(format!("{at}.algorithm"), why);
            }
        }
        if jwt.lifetime.is_some_and(|lifetime| lifetime.is_zero()) {
            self.wrong(format!("{at}.lifetime"), "must be above 0");
        }
        if jwt.lifetime.is_some()
            && let Some(written) = ["iat", "exp"].iter().find(|claim| jwt.claims.contains_key(**claim))
        {
            self.wrong(format!("{at}.claims.{written}"), "lifetime writes iat and exp; keep one of the two");
        }
    }

    fn attach(&mut self) {
        let attach = &self.definition.attach;
        let kept: Vec<&str> = self.definition.answer.keep.keys().map(String::as_str).collect();
        self.headers("attach.headers", &attach.headers, &kept);
        if !is_header_name(&attach.header) || !header_is_free(&attach.header) {
            self.wrong("attach.header", "is no header name, or one that the HTTP client writes itself");
        }
        if attach.scheme.as_ref().is_some_and(|scheme| !scheme.is_empty() && !is_header_name(scheme)) {
            self.wrong("attach.scheme", "expected one word such as \"Bearer\", or nothing");
        }
        let ways = [
            ("scheme", attach.scheme.is_some()),
            ("value", attach.value.is_some()),
            ("query", attach.query.is_some()),
            ("cookie", attach.cookie.is_some()),
        ];
        let given: Vec<&str> = ways.iter().filter(|(_, given)| *given).map(|(key, _)| *key).collect();
        if let [_, second, ..] = given.as_slice() {
            self.wrong(format!("attach.{second}"), format!("is given beside {}; keep one", given[0]));
        }
        if let Some(value) = &attach.value {
            self.header_text("attach.value", value);
            if value.around("access_token").is_none() {
                self.wrong("attach.value", "expected {access_token} once, and no other variable");
            }
        }
        if (attach.query.is_some() || attach.cookie.is_some()) && attach.header != "Authorization" {
            self.wrong("attach.header", "is not used with query or cookie; remove it");
        }
        if attach.query.as_ref().is_some_and(String::is_empty) {
            self.wrong("attach.query", "is empty");
        }
        if attach.cookie.as_ref().is_some_and(|cookie| !is_header_name(cookie)) {
            self.wrong("attach.cookie", "is no name of a cookie");
        }
        if attach.dpop && (!given.is_empty() || attach.header != "Authorization") {
            self.wrong("attach.dpop", "such a token goes into Authorization with the scheme DPoP (RFC 9449 7.1)");
        }
    }

    fn operation(&mut self, name: &'a str, operation: &'a Operation) {
        let at = format!("operations.{name}");
        if !is_identifier(name, false) {
            self.wrong(&at, "names are lower-case letters, digits and _");
        }
        match (&operation.path, &operation.url) {
            (Some(path), None) if path.literal_start().starts_with('/') => {}
            (Some(_), None) => self.wrong(format!("{at}.path"), "must begin with /"),
            (None, Some(url)) if !url.is_variable() => self.https(&format!("{at}.url"), url),
            (None, Some(_)) => {}
            (None, None) => self.lacks(format!("{at}.path"), "is missing (or url)"),
            (Some(_), Some(_)) => self.wrong(format!("{at}.url"), "is given beside path; keep one"),
        }
        for (header, value) in &operation.headers {
            self.header(&format!("{at}.headers.{header}"), header, value);
        }
        self.body(&at, operation.request());
        if operation.client_auth.is_some() {
            if operation.url.is_none() {
                self.wrong(format!("{at}.client_auth"), "goes with url: the API knows tokens, not clients");
            }
            self.client_auth(&at, operation.request());
        }
        if operation.method == Method::Get && (operation.json.is_some() || operation.form.is_some()) {
            self.wrong(format!("{at}.method"), "GET carries no body; use query");
        }
        let parameters: HashSet<&str> = super::parameters(operation).collect();
        for declared in &operation.optional {
            if !parameters.contains(declared.as_str()) {
                let declared = shown(declared);
                self.lacks(format!("{at}.optional"), format!("{declared} is no parameter of this operation"));
            }
        }
        if let Some(kind) = operation.grants.iter().find(|kind| !self.definition.grants.contains_key(*kind)) {
            self.lacks(format!("{at}.grants"), format!("the provider has no grant {}", kind.name()));
        }
        // What is no variable or credential is a parameter of the call.
        self.used.extend(parameters);
        for template in operation.request().templates() {
            self.uses_jwts(&at, template);
        }
    }

    fn answer(&mut self, at: &str, answer: &'a Answer) {
        if answer.success.is_empty() || answer.success.iter().any(|status| !(200..300).contains(status)) {
            self.wrong(format!("{at}.success"), "expected statuses from 200 to 299");
        }
        let list = || CODES.map(ErrorCode::name).join(", ");
        let code = |code: &str| ErrorCode::from_name(code).filter(|code| CODES.contains(code));
        for (status, word) in &answer.final_statuses {
            let at = format!("{at}.final_statuses.{status}");
            if !status.parse::<u16>().is_ok_and(|status| (400..500).contains(&status) && status != 429) {
                self.wrong(&at, "expected a status from 400 to 499; 429 and 5xx are never final");
            }
            match code(word) {
                Some(ErrorCode::RateLimited | ErrorCode::ServerError) => {
                    self.wrong(&at, "what may pass by itself is not final; expected invalid_client, invalid_grant, access_denied, config or reauthentication_required");
                }
                Some(_) => {}
                None => self.wrong(&at, format!("expected one of {}", list())),
            }
        }
        for (word, meaning) in &answer.error_codes {
            if code(meaning).is_none() {
                self.wrong(format!("{at}.error_codes.{word}"), format!("expected one of {}", list()));
            }
        }
        for (name, part) in &answer.keep {
            let at = format!("{at}.keep.{name}");
            if !is_identifier(name, false) || RESERVED.contains(&name.as_str()) {
                self.wrong(&at, "names are lower-case letters, digits and _, and none that has a meaning of its own");
            }
            self.part(&at, part);
        }
        for (key, part) in [
            ("access_token", &answer.access_token),
            ("token_type", &answer.token_type),
            ("refresh_token", &answer.refresh_token),
            ("expires_in", &answer.expires_in.at),
            ("refresh_expires_in", &answer.refresh_expires_in.at),
            ("scope", &answer.scope),
            ("error", &answer.error),
            ("error_description", &answer.error_description),
        ] {
            self.part(&format!("{at}.{key}"), part);
        }
        if let Some(instant) = &answer.expires_at {
            self.part(&format!("{at}.expires_at"), &instant.at);
        }
        if let Some(Condition { at: part, .. }) = &answer.failed_when {
            self.part(&format!("{at}.failed_when"), part);
        }
    }

    fn part(&mut self, at: &str, part: &Part) {
        if let Part::Header(name) | Part::Cookie(name) = part
            && !is_header_name(name)
        {
            self.wrong(at, "is no name of a header or cookie");
        }
    }

    fn lifetime(&mut self) {
        let lifetime = &self.definition.lifetime;
        for (key, value) in [("max", lifetime.max), ("default", lifetime.default), ("fixed", lifetime.fixed)] {
            if value.is_some_and(|value| value.is_zero()) {
                self.wrong(format!("lifetime.{key}"), "must be above 0");
            }
        }
        if lifetime.fixed.is_some() && (lifetime.default.is_some() || lifetime.from_exp) {
            self.wrong("lifetime.fixed", "is given beside default or from_exp, which it makes useless; keep one");
        }
        let refreshes = self.definition.grants.contains_key(&GrantKind::RefreshToken);
        if lifetime.rotates && !refreshes {
            self.lacks("lifetime.rotates", "there is no grant refresh_token that could rotate");
        }
        if lifetime.conflict_advice.is_some() && !lifetime.single_session {
            self.lacks("lifetime.conflict_advice", "is used with single_session only");
        }
    }

    fn headers(&mut self, at: &str, headers: &'a IndexMap<String, Template>, extra: &[&str]) {
        for (name, value) in headers {
            let at = format!("{at}.{name}");
            self.header(&at, name, value);
            self.uses(&at, value, extra);
        }
    }

    fn header(&mut self, at: &str, name: &str, value: &Template) {
        if !is_header_name(name) {
            return self.wrong(at, "is no header name");
        }
        let attach = &self.definition.attach;
        let own = name.eq_ignore_ascii_case("dpop")
            || (attach.query.is_none() && attach.cookie.is_none() && name.eq_ignore_ascii_case(&attach.header));
        // A token request carries no token yet, so its Authorization is free.
        let token_call = at.starts_with("grants.");
        if !header_is_free(name) || (own && !token_call) {
            self.wrong(at, "this header is written by qauth itself");
        }
        self.header_text(at, value);
    }

    fn header_text(&mut self, at: &str, value: &Template) {
        if value.to_string().chars().any(char::is_control) {
            self.wrong(at, "holds a control character");
        }
    }

    fn https(&mut self, at: &str, url: &Template) {
        if !url.literal_start().starts_with("https://") && !url.literal_start().starts_with("http://") {
            self.wrong(at, "must begin with https://");
        }
    }

    /// The variables and JWTs of a template must be declared; `extra` are those that only this place has.
    fn uses(&mut self, at: &str, template: &'a Template, extra: &[&str]) {
        for name in template.variables() {
            let definition = self.definition;
            let declared = definition.credentials.contains_key(name) || definition.variables.contains_key(name);
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

    /// A key that names a credential.
    fn names(&mut self, at: &str, name: &'a str) {
        let definition = self.definition;
        if !definition.credentials.contains_key(name) && !definition.variables.contains_key(name) {
            let name = shown(name);
            self.wrong(at, format!("{name} is declared neither under credentials nor under variables"));
        }
        self.used.insert(name);
    }

    fn unused(&mut self) {
        let definition = self.definition;
        for (section, fields) in [("variables", &definition.variables), ("credentials", &definition.credentials)] {
            for name in fields.keys() {
                if !self.used.contains(name.as_str()) && !STANDARD.contains(&name.as_str()) {
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
