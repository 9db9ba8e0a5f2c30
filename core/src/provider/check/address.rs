//! Addresses: where tokens and secrets go is the file's and the profile's choice, never a caller's.

use super::{BUILTIN, Checker};
use crate::discovery::check_issuer;
use crate::provider::definition::RequestSpec;
use crate::provider::template::Template;
use crate::url_rules;

impl<'a> Checker<'a> {
    pub(super) fn addresses(&mut self) {
        let definition = self.definition;
        let api_path = &definition.api_path;
        if !api_path.is_empty() && (!api_path.starts_with('/') || api_path.ends_with('/')) {
            self.wrong("api_path", "must begin with / and not end with it");
        }
        self.no_template("api_path", api_path);
        for (name, environment) in &definition.environments {
            for (key, url) in [("base_url", &environment.base_url), ("api_base_url", &environment.api_base_url)] {
                let Some(url) = url else { continue };
                let at = format!("environments.{name}.{key}");
                self.address(&at, url, |text| url_rules::base(text).map(drop));
                self.fixed(&at, url);
                for name in url.variables() {
                    if definition.field(name).is_some_and(|field| field.optional && field.default.is_none()) {
                        self.lacks(
                            &at,
                            format!("{{{name}}} is optional, and no address without it; give it a default"),
                        );
                    }
                }
            }
        }
        self.discovery();
    }

    fn discovery(&mut self) {
        let definition = self.definition;
        let Some(discovery) = &definition.discovery else { return };
        self.fixed("discovery.issuer", &discovery.issuer);
        if !discovery.issuer.is_variable() {
            self.address("discovery.issuer", &discovery.issuer, check_issuer);
        }
        if !definition.variables.values().chain(definition.credentials.values()).any(|field| field.discovered.is_some())
        {
            self.lacks("discovery", "no variable has discovered = \"…\", so nothing would be read from it");
        }
    }

    /// What is written once, when the profile is read.
    fn fixed(&mut self, at: &str, url: &'a Template) {
        self.uses(at, url, &[]);
        self.undiscovered(at, url);
        if !url.calls_nothing() {
            self.wrong(at, "holds a function, which is for requests; an address has names alone");
        }
        if let Some(name) = url.variables().find(|name| BUILTIN.contains(name)) {
            self.wrong(at, format!("{{{name}}} is what a token is narrowed to, and no part of an address"));
        }
    }

    /// Where a request goes; `called` are names that its caller gives.
    pub(super) fn target(&mut self, at: &str, request: RequestSpec<'a>, called: &[&str]) {
        match (request.path, request.url) {
            (Some(path), None) if path.literal_start().starts_with('/') => {}
            (Some(_), None) => self.wrong(format!("{at}.path"), "must begin with /"),
            (None, Some(url)) => self.url(&format!("{at}.url"), url, called),
            (None, None) => self.lacks(format!("{at}.path"), "is missing (or url)"),
            (Some(_), Some(_)) => self.wrong(format!("{at}.url"), "is given beside path; keep one"),
        }
        if request.path.is_some_and(|path| path.jwts().next().is_some()) {
            self.wrong(format!("{at}.path"), UNSIGNED);
        }
    }

    /// A whole URL.
    pub(super) fn url(&mut self, at: &str, url: &'a Template, called: &[&str]) {
        if !url.is_variable() {
            self.address(at, url, |text| url_rules::parse(text).map(drop));
        }
        if url.jwts().next().is_some() {
            self.wrong(at, UNSIGNED);
        }
        if let Some(name) = url.host_variables().find(|name| called.contains(name)) {
            self.wrong(at, format!("{{{name}}} would let a caller choose the host; declare a variable for it"));
        }
    }

    /// An address that is whole is judged now, others when the profile is read.
    fn address(&mut self, at: &str, url: &Template, rules: impl Fn(&str) -> Result<(), String>) {
        if !url.literal_start().starts_with("https://") && !url.literal_start().starts_with("http://") {
            return self.wrong(at, "must begin with https://");
        }
        if let Some(Err(why)) = url.text().map(rules) {
            self.wrong(at, why);
        }
    }

    /// Text that is taken as it stands.
    pub(super) fn no_template(&mut self, at: &str, text: &str) {
        if text.contains(['{', '}']) {
            self.wrong(at, "is no template, and holds a brace");
        }
    }
}

const UNSIGNED: &str = "holds a JWT, which is signed for an address and so cannot be in it";
