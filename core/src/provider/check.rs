//! What the types of a provider file cannot say: references that lead somewhere, keys that are used, headers that are free.

use std::collections::HashSet;

use super::definition::{Definition, Grant, GrantKind, Method, Operation};
use crate::error::{Error, ErrorCode, Result};

/// Given by qauth itself: what the caller may narrow a token to.
const BUILTIN: [&str; 3] = ["scope", "audience", "resource"];

/// Keys of a profile that are not credentials or variables.
pub(crate) const PROFILE_KEYS: [&str; 16] = [
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
];

/// Headers that only the HTTP client itself may write.
const FORBIDDEN_HEADERS: [&str; 7] =
    ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"];

pub(crate) fn check(definition: &Definition) -> Result<()> {
    let checker = Checker { definition, used: HashSet::new() };
    checker.run().map_err(|message| Error::config(format!("provider {:?}: {message}", definition.name)))
}

/// Whether a caller or provider file may set this header: not the ones that frame the message.
pub(crate) fn header_is_free(name: &str) -> bool {
    !FORBIDDEN_HEADERS.contains(&name.to_ascii_lowercase().as_str())
}

struct Checker<'a> {
    definition: &'a Definition,
    used: HashSet<&'a str>,
}

type Check = Result<(), String>;

impl<'a> Checker<'a> {
    fn run(mut self) -> Check {
        let definition = self.definition;
        if !is_identifier(&definition.name, true) {
            return Err("name: expected lower-case letters, digits, - and _, beginning with a letter".into());
        }
        if !definition.api_path.is_empty()
            && (!definition.api_path.starts_with('/') || definition.api_path.ends_with('/'))
        {
            return Err("api_path: must begin with / and not end with it".into());
        }
        self.fields()?;
        for (name, environment) in &definition.environments {
            for (key, url) in [("base_url", &environment.base_url), ("api_base_url", &environment.api_base_url)] {
                let Some(url) = url else { continue };
                let key = format!("environments.{name}.{key}");
                self.uses(&key, url.variables(), &[])?;
                if !url.literal_start().starts_with("https://") && !url.literal_start().starts_with("http://") {
                    return Err(format!("{key}: must begin with https://"));
                }
            }
        }
        if definition.grants.keys().all(|kind| *kind == GrantKind::RefreshToken) {
            return Err("grants: there must be one beside refresh_token".into());
        }
        for (kind, grant) in &definition.grants {
            self.grant(*kind, grant)?;
        }
        self.headers("attach.headers", &definition.attach.headers, &[])?;
        let attach = &definition.attach;
        if !is_header_name(&attach.header) || !header_is_free(&attach.header) {
            return Err("attach.header: is no header name, or one that the HTTP client writes itself".into());
        }
        if !attach.scheme.is_empty() && !is_header_name(&attach.scheme) {
            return Err("attach.scheme: expected one word such as \"Bearer\", or nothing".into());
        }
        for (name, operation) in &definition.operations {
            self.operation(name, operation)?;
        }
        self.answer()?;
        self.lifetime()?;
        self.unused()
    }

    fn fields(&self) -> Check {
        let definition = self.definition;
        for (section, fields) in [("variables", &definition.variables), ("credentials", &definition.credentials)] {
            for (name, field) in fields {
                let key = format!("{section}.{name}");
                if !is_identifier(name, false) {
                    return Err(format!("{key}: names are lower-case letters, digits and _"));
                }
                if PROFILE_KEYS.contains(&name.as_str()) || name == "refresh_token" {
                    return Err(format!("{key}: this name has a meaning of its own in profiles; choose another"));
                }
                if section == "credentials" && definition.variables.contains_key(name) {
                    return Err(format!("{key}: is declared under variables too"));
                }
                if field.secret && field.default.is_some() {
                    return Err(format!("{key}.default: a secret has no default"));
                }
                if let (Some(pattern), Some(default)) = (&field.pattern, &field.default)
                    && !pattern.matches(default)
                {
                    return Err(format!("{key}.default: does not match its pattern"));
                }
                if field.env.as_ref().is_some_and(|env| {
                    env.is_empty() || !env.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
                }) {
                    return Err(format!("{key}.env: expected upper-case letters, digits and _"));
                }
            }
        }
        Ok(())
    }

    fn grant(&mut self, kind: GrantKind, grant: &'a Grant) -> Check {
        let at = format!("grants.{}", kind.name());
        if kind == GrantKind::Static {
            let Some(token) = &grant.token else { return Err(format!("{at}.token: is missing")) };
            let sends = [
                ("method", grant.method != Method::Post),
                ("path", grant.path.is_some()),
                ("url", grant.url.is_some()),
                ("query", !grant.query.is_empty()),
                ("headers", !grant.headers.is_empty()),
                ("form", grant.form.is_some()),
                ("json", grant.json.is_some()),
                ("client_auth", grant.client_auth.is_some()),
                ("basic", grant.basic.is_some()),
            ];
            if let Some((key, _)) = sends.iter().find(|(_, given)| *given) {
                return Err(format!("{at}.{key}: a static token sends no request; only token is used"));
            }
            return self.uses(&format!("{at}.token"), token.variables(), &[]);
        }
        if grant.token.is_some() {
            return Err(format!("{at}.token: is used by the static grant only"));
        }
        let extra: &[&str] = if kind == GrantKind::RefreshToken { &["refresh_token"] } else { &[] };
        match (&grant.path, &grant.url) {
            (Some(path), None) if path.literal_start().starts_with('/') => {
                self.uses(&format!("{at}.path"), path.variables(), extra)?;
            }
            (Some(_), None) => return Err(format!("{at}.path: must begin with /")),
            (None, Some(url)) => self.uses(&format!("{at}.url"), url.variables(), extra)?,
            (None, None) => return Err(format!("{at}.path: is missing (or url)")),
            (Some(_), Some(_)) => return Err(format!("{at}.url: is given beside path; keep one")),
        }
        self.headers(&format!("{at}.headers"), &grant.headers, extra)?;
        for (name, value) in &grant.query {
            self.uses(&format!("{at}.query.{name}"), value.variables(), extra)?;
        }
        for (name, value) in grant.form.iter().flatten() {
            self.uses(&format!("{at}.form.{name}"), value.variables(), extra)?;
        }
        if let Some(json) = &grant.json {
            self.uses(&format!("{at}.json"), json.variables().into_iter(), extra)?;
            if grant.form.is_some() {
                return Err(format!("{at}.json: is given beside form; keep one"));
            }
            if grant.client_auth.is_some() {
                return Err(format!("{at}.client_auth: goes with a form body (RFC 6749 2.3.1)"));
            }
        }
        if !matches!(grant.method, Method::Get | Method::Post) {
            return Err(format!("{at}.method: expected POST or GET"));
        }
        if grant.method == Method::Get && (grant.json.is_some() || grant.form.is_some()) {
            return Err(format!("{at}.method: GET carries no body; use query"));
        }
        if grant.client_auth.is_some() {
            if grant.method == Method::Get {
                return Err(format!("{at}.client_auth: goes with POST (RFC 6749 2.3.1)"));
            }
            self.uses(&format!("{at}.client_auth"), ["client_id", "client_secret"].into_iter(), &[])?;
            if grant.basic.is_some() {
                return Err(format!("{at}.basic: is given beside client_auth; keep one"));
            }
        }
        if let Some(basic) = &grant.basic {
            self.uses(&format!("{at}.basic"), basic.iter().map(String::as_str), &[])?;
        }
        Ok(())
    }

    fn operation(&mut self, name: &str, operation: &'a Operation) -> Check {
        let at = format!("operations.{name}");
        if !is_identifier(name, false) {
            return Err(format!("{at}: names are lower-case letters, digits and _"));
        }
        if !operation.path.literal_start().starts_with('/') {
            return Err(format!("{at}.path: must begin with /"));
        }
        for (header, value) in &operation.headers {
            self.header_name(&format!("{at}.headers.{header}"), header)?;
            self.header_text(&format!("{at}.headers.{header}"), value)?;
        }
        if operation.method == Method::Get && operation.json.is_some() {
            return Err(format!("{at}.json: GET carries no body; use query"));
        }
        let parameters: HashSet<&str> = super::parameters(operation).collect();
        for declared in &operation.optional {
            if !parameters.contains(declared.as_str()) {
                return Err(format!("{at}.optional: {declared} is no parameter of this operation"));
            }
        }
        if let Some(kind) = operation.grants.iter().find(|kind| !self.definition.grants.contains_key(*kind)) {
            return Err(format!("{at}.grants: the provider has no grant {}", kind.name()));
        }
        // What is no variable or credential is a parameter of the call.
        self.used.extend(parameters);
        Ok(())
    }

    fn answer(&self) -> Check {
        let answer = &self.definition.answer;
        if answer.success.is_empty() || answer.success.iter().any(|status| !(200..300).contains(status)) {
            return Err("answer.success: expected statuses from 200 to 299".into());
        }
        for (status, code) in &answer.final_statuses {
            if !status.parse::<u16>().is_ok_and(|status| (400..500).contains(&status) && status != 429) {
                return Err(format!(
                    "answer.final_statuses.{status}: expected a status from 400 to 499; 429 and 5xx are never final"
                ));
            }
            let allowed =
                [ErrorCode::InvalidClient, ErrorCode::InvalidGrant, ErrorCode::AccessDenied, ErrorCode::Config];
            if !ErrorCode::from_name(code).is_some_and(|code| allowed.contains(&code)) {
                return Err(format!(
                    "answer.final_statuses.{status}: expected invalid_client, invalid_grant, access_denied or config"
                ));
            }
        }
        Ok(())
    }

    fn lifetime(&self) -> Check {
        let lifetime = &self.definition.lifetime;
        for (key, value) in [("max", lifetime.max), ("default", lifetime.default)] {
            if value.is_some_and(|value| value.is_zero()) {
                return Err(format!("lifetime.{key}: must be above 0"));
            }
        }
        if lifetime.rotates && !self.definition.grants.contains_key(&GrantKind::RefreshToken) {
            return Err("lifetime.rotates: there is no grant refresh_token that could rotate".into());
        }
        if lifetime.conflict_advice.is_some() && !lifetime.single_session {
            return Err("lifetime.conflict_advice: is used with single_session only".into());
        }
        Ok(())
    }

    fn headers(
        &mut self,
        at: &str,
        headers: &'a indexmap::IndexMap<String, super::template::Template>,
        extra: &[&str],
    ) -> Check {
        for (name, value) in headers {
            self.header_name(&format!("{at}.{name}"), name)?;
            self.header_text(&format!("{at}.{name}"), value)?;
            self.uses(&format!("{at}.{name}"), value.variables(), extra)?;
        }
        Ok(())
    }

    fn header_text(&self, at: &str, value: &super::template::Template) -> Check {
        match value.to_string().chars().any(char::is_control) {
            true => Err(format!("{at}: holds a control character")),
            false => Ok(()),
        }
    }

    fn header_name(&self, at: &str, name: &str) -> Check {
        if !is_header_name(name) {
            return Err(format!("{at}: is no header name"));
        }
        if !header_is_free(name) || name.eq_ignore_ascii_case(&self.definition.attach.header) {
            return Err(format!("{at}: this header is written by qauth itself"));
        }
        Ok(())
    }

    fn uses(&mut self, at: &str, names: impl Iterator<Item = &'a str>, extra: &[&str]) -> Check {
        for name in names {
            let definition = self.definition;
            let declared = definition.credentials.contains_key(name) || definition.variables.contains_key(name);
            if !declared && !BUILTIN.contains(&name) && !extra.contains(&name) {
                return Err(format!("{at}: {{{name}}} is declared neither under credentials nor under variables"));
            }
            self.used.insert(name);
        }
        Ok(())
    }

    fn unused(&self) -> Check {
        let definition = self.definition;
        for (section, fields) in [("variables", &definition.variables), ("credentials", &definition.credentials)] {
            if let Some(name) = fields.keys().find(|name| !self.used.contains(name.as_str())) {
                return Err(format!("{section}.{name}: is declared but used nowhere"));
            }
        }
        Ok(())
    }
}

fn is_identifier(name: &str, hyphen: bool) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || (hyphen && c == '-'))
}

fn is_header_name(name: &str) -> bool {
    reqwest::header::HeaderName::from_bytes(name.as_bytes()).is_ok()
}
