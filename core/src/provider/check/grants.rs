//! The grants of a provider file: which keys each can have, and what their requests may say.

use super::{BUILTIN, Checker};
use crate::provider::definition::{Authorize, ClientAuth, Grant, GrantKind, Method, RequestSpec, Step};

/// Whom a JWT is for, which a request says where nobody else does.
const AUDIENCE: &str = "assertion_audience";

/// Requests in a row, at most.
const MAX_STEPS: usize = 2;

impl<'a> Checker<'a> {
    pub(super) fn grants(&mut self) {
        let definition = self.definition;
        if definition.grants.keys().all(|kind| *kind == GrantKind::RefreshToken) {
            self.lacks("grants", "there must be one beside refresh_token");
        } else if definition.grants.contains_key(&GrantKind::RefreshToken) && !self.is_sent() {
            self.lacks("grants.refresh_token", "no other grant of this file asks a server, which could give one");
        }
        for (kind, grant) in &definition.grants {
            self.grant(*kind, grant);
        }
    }

    fn grant(&mut self, kind: GrantKind, grant: &'a Grant) {
        let at = format!("grants.{}", kind.name());
        self.misplaced(&at, kind, grant);
        if let Some(answer) = &grant.answer {
            self.answer(&format!("{at}.answer"), answer);
        }
        if !kind.sends() {
            return self.made_here(&at, kind, grant);
        }
        let mut known: Vec<&str> = match kind {
            GrantKind::RefreshToken => vec!["refresh_token", "narrowed_scope"],
            GrantKind::AuthorizationCode => vec!["code", "redirect_uri", "code_verifier"],
            GrantKind::DeviceCode => vec!["device_code"],
            _ => Vec::new(),
        };
        if grant.steps.len() > MAX_STEPS {
            self.wrong(format!("{at}.steps"), "at most two requests can precede the one that brings the token");
        }
        for (index, step) in grant.steps.iter().enumerate() {
            self.step(&format!("{at}.steps.{index}"), step, &mut known);
        }
        if let Some(device) = &grant.device {
            self.request(&format!("{at}.device"), device.request(), &[]);
            if !device.keep.is_empty() {
                self.wrong(format!("{at}.device.keep"), "its answer is that of RFC 8628; remove it");
            }
        }
        if let Some(authorize) = &grant.authorize {
            self.page(&format!("{at}.authorize"), authorize);
        }
        match kind {
            GrantKind::DeviceCode if grant.device.is_none() => self.lacks(format!("{at}.device"), "is missing"),
            GrantKind::AuthorizationCode if grant.authorize.is_none() => {
                self.lacks(format!("{at}.authorize"), "is missing");
            }
            _ => {}
        }
        if kind.interactive() && !self.definition.grants.contains_key(&GrantKind::RefreshToken) {
            self.lacks(&at, "leaves a refresh token, but there is no [grants.refresh_token] that makes tokens of it");
        }
        self.request(&at, grant.request(), &known);
        self.kept_is_used(&at, grant);
    }

    /// A token that is given or signed here: no server is asked, and none describes itself.
    fn made_here(&mut self, at: &str, kind: GrantKind, grant: &'a Grant) {
        let at = format!("{at}.token");
        let Some(token) = &grant.token else {
            if kind != GrantKind::Custom {
                self.lacks(at, "is missing");
            }
            return;
        };
        self.uses(&at, token, &[]);
        self.undiscovered(&at, token);
        match (kind, token.jwts().next()) {
            (GrantKind::SelfSigned, None) => {
                self.wrong(&at, "expected {jwt(NAME)}; a token that is given is grant static");
            }
            (GrantKind::Static, Some(_)) => self.wrong(&at, "a token that is signed here is grant self_signed"),
            _ => {}
        }
        let audience = self.definition.field(AUDIENCE);
        if self.definition.names_in([token]).contains(AUDIENCE)
            && audience.is_none_or(|field| field.optional && field.default.is_none())
        {
            self.wrong(&at, "its JWT has {assertion_audience}, which no request gives: declare it, not as optional");
        }
    }

    /// The page on which a person signs in.
    fn page(&mut self, at: &str, authorize: &'a Authorize) {
        let at_url = format!("{at}.url");
        self.uses(&at_url, &authorize.url, &[]);
        self.url(&at_url, &authorize.url, &BUILTIN);
        for (name, value) in &authorize.query {
            let at = format!("{at}.query.{name}");
            if Authorize::OWN.contains(&name.as_str()) {
                self.wrong(&at, "is written by qauth itself");
            }
            self.uses(&at, value, &[]);
        }
        self.names(at, Authorize::CLIENT);
    }

    /// Keys that this kind of grant has no use for.
    fn misplaced(&mut self, at: &str, kind: GrantKind, grant: &Grant) {
        let sends = kind.sends();
        let token = matches!(kind, GrantKind::Static | GrantKind::SelfSigned);
        let why = match kind {
            GrantKind::Custom => "the host's function is all that a custom grant has",
            _ => "this grant sends no request; only token is used",
        };
        for (key, given, fits, why) in [
            ("token", grant.token.is_some(), token, "is used by the static and self_signed grants only"),
            (
                "authorize",
                grant.authorize.is_some(),
                kind == GrantKind::AuthorizationCode,
                "is used by grant authorization_code only",
            ),
            ("device", grant.device.is_some(), kind == GrantKind::DeviceCode, "is used by grant device_code only"),
            ("method", grant.method != Method::Post, sends, why),
            ("path", grant.path.is_some(), sends, why),
            ("url", grant.url.is_some(), sends, why),
            ("query", !grant.query.is_empty(), sends, why),
            ("headers", !grant.headers.is_empty(), sends, why),
            ("form", grant.form.is_some(), sends, why),
            ("json", grant.json.is_some(), sends, why),
            ("client_auth", grant.client_auth.is_some(), sends, why),
            ("basic", grant.basic.is_some(), sends, why),
            ("steps", !grant.steps.is_empty(), sends, why),
            ("answer", grant.answer.is_some(), sends, why),
        ] {
            if given && !fits {
                self.wrong(format!("{at}.{key}"), why);
            }
        }
    }

    fn step(&mut self, at: &str, step: &'a Step, known: &mut Vec<&'a str>) {
        self.request(at, step.request(), known);
        if step.keep.is_empty() {
            self.lacks(format!("{at}.keep"), "is missing: a request of which nothing is read is of no use");
        }
        for (name, part) in &step.keep {
            let place = format!("{at}.keep.{name}");
            if !super::is_identifier(name, false) || self.is_taken(name) || known.contains(&name.as_str()) {
                self.wrong(&place, "names are lower-case letters, digits and _, each given once");
            }
            self.part(&place, part);
            known.push(name);
        }
    }

    fn kept_is_used(&mut self, at: &str, grant: &'a Grant) {
        for (index, step) in grant.steps.iter().enumerate() {
            let later = grant.steps[index + 1..].iter().map(Step::request).chain([grant.request()]);
            let used: Vec<&str> =
                later.flat_map(RequestSpec::templates).flat_map(|template| template.variables()).collect();
            for name in step.keep.keys().filter(|name| !used.contains(&name.as_str())) {
                self.lacks(format!("{at}.steps.{index}.keep.{name}"), "is kept but no later request reads it");
            }
        }
    }

    fn request(&mut self, at: &str, request: RequestSpec<'a>, known: &[&str]) {
        self.target(at, request, &BUILTIN);
        self.headers(&format!("{at}.headers"), request.headers, false);
        for (at, template) in request.by_key(at) {
            self.uses(&at, template, known);
        }
        self.body(at, request);
        if !matches!(request.method, Method::Get | Method::Post) {
            self.wrong(format!("{at}.method"), "expected POST or GET");
        }
        if request.method == Method::Get && (request.json.is_some() || request.form.is_some()) {
            self.wrong(format!("{at}.method"), "GET carries no body; use query");
        }
        self.client_auth(at, request);
        for name in request.basic.into_iter().flatten() {
            self.names(&format!("{at}.basic"), name);
        }
    }

    /// One body at most.
    pub(super) fn body(&mut self, at: &str, request: RequestSpec<'a>) {
        if request.json.is_some() && request.form.is_some() {
            self.wrong(format!("{at}.json"), "is given beside form; keep one");
        }
    }

    pub(super) fn client_auth(&mut self, at: &str, request: RequestSpec<'a>) {
        let writer = match (request.client_auth, request.basic) {
            (Some(_), _) => "client_auth",
            (None, Some(_)) => "basic",
            (None, None) => return,
        };
        if let Some(name) = request.headers.keys().find(|name| name.eq_ignore_ascii_case("authorization")) {
            self.wrong(format!("{at}.headers.{name}"), format!("is given beside {writer}; keep one"));
        }
        let Some(method) = request.client_auth else { return };
        let at_auth = format!("{at}.client_auth");
        if request.json.is_some() {
            self.wrong(&at_auth, "goes with a form body (RFC 6749 2.3.1)");
        }
        if request.method == Method::Get {
            self.wrong(&at_auth, "goes with POST (RFC 6749 2.3.1)");
        }
        if request.basic.is_some() {
            self.wrong(format!("{at}.basic"), "is given beside client_auth; keep one");
        }
        for name in method.needs() {
            self.names(&at_auth, name);
        }
        // A profile may choose another method, for which these are.
        self.used.extend(self.definition.names_of_proof(ClientAuth::Auto));
        for name in ["client_secret_jwt", "private_key_jwt"] {
            self.used_jwts.insert(name);
        }
        let mtls = matches!(method, ClientAuth::TlsClientAuth | ClientAuth::SelfSignedTlsClientAuth);
        if mtls && self.definition.mtls.is_none() {
            self.lacks(&at_auth, "the certificate is named by [mtls], which is missing");
        }
    }
}
