//! Named calls: what of them the file gives, and what their caller.

use super::{Checker, RESERVED, is_identifier, shown};
use crate::provider::definition::{Field, GrantKind, Method, OnUnauthorized, Operation, Saves};

impl<'a> Checker<'a> {
    pub(super) fn operation(&mut self, name: &'a str, operation: &'a Operation) {
        let at = format!("operations.{name}");
        let definition = self.definition;
        let request = operation.request();
        if !is_identifier(name, false) {
            self.wrong(&at, "names are lower-case letters, digits and _");
        }
        // What is no variable or credential is a parameter of the call.
        let names = crate::provider::parameters(operation);
        let parameters: Vec<&str> = names.filter(|name| definition.field(name).is_none()).collect();
        self.target(&at, request, &parameters);
        self.headers(&format!("{at}.headers"), request.headers, operation.client_auth.is_none());
        self.body(&at, request);
        for (at, template) in request.by_key(&at) {
            self.used.extend(template.variables());
            self.uses_jwts(&at, template);
            if operation.url.is_none() {
                self.undiscovered(&at, template);
            }
            if let Some(name) = template.variables().find(|name| RESERVED.contains(name)) {
                self.wrong(&at, format!("{{{name}}} has a meaning of its own; choose another name for the parameter"));
            }
        }
        match operation.client_auth {
            Some(_) if operation.url.is_none() => {
                self.wrong(format!("{at}.client_auth"), "goes with url: the API knows tokens, not clients");
            }
            Some(_) => {}
            None => self.companions(&at, operation),
        }
        self.client_auth(&at, request);
        if operation.method == Method::Get && (operation.json.is_some() || operation.form.is_some()) {
            self.wrong(format!("{at}.method"), "GET carries no body; use query");
        }
        for declared in operation.optional.iter().filter(|declared| !parameters.contains(&declared.as_str())) {
            let declared = shown(declared);
            self.lacks(format!("{at}.optional"), format!("{declared} is no parameter of this operation"));
        }
        if operation.grants.contains(&GrantKind::RefreshToken) {
            self.wrong(format!("{at}.grants"), "a refreshed token counts as one of the grant that it came from first");
        }
        if let Some(kind) = operation.grants.iter().find(|kind| !definition.grants.contains_key(*kind)) {
            self.lacks(format!("{at}.grants"), format!("the provider has no grant {}", kind.name()));
        }
        for (key, given) in [("secrets", !operation.secrets.is_empty()), ("saves", operation.saves.is_some())] {
            if given && operation.on_401 == OnUnauthorized::Result {
                self.wrong(
                    format!("{at}.{key}"),
                    "on_401 = \"result\" gives true or false, and no answer with secrets",
                );
            }
        }
        if let Some(saves) = operation.saves.as_ref().filter(|_| operation.on_401 != OnUnauthorized::Result) {
            self.saves(&format!("{at}.saves"), saves, operation);
        }
    }

    /// The profile that is saved must be one that works, by itself.
    fn saves(&mut self, at: &str, saves: &'a Saves, operation: &Operation) {
        let (definition, kind) = (self.definition, saves.grant.name());
        let Some(grant) = definition.grants.get(&saves.grant) else {
            return self.lacks(format!("{at}.grant"), format!("the provider has no grant {kind}"));
        };
        if saves.grant.interactive() || matches!(saves.grant, GrantKind::RefreshToken | GrantKind::Custom) {
            self.wrong(format!("{at}.grant"), format!("no profile of grant {kind} works by what an answer holds"));
        }
        let (mut used, mut required) = (definition.names_of_grant(grant), grant.requires().collect::<Vec<_>>());
        for method in grant.requests().filter_map(|request| request.client_auth) {
            used.extend(definition.names_of_proof(method));
            required.extend(method.needs());
        }
        used.extend(definition.names_in(definition.attach.headers.values()));
        used.extend(definition.mtls.iter().flat_map(|mtls| [mtls.certificate.as_str(), &mtls.key]));
        let given = |field: &Field| !field.optional && field.default.is_none() && field.discovered.is_none();
        required.extend(used.iter().filter(|name| definition.credentials.get(**name).is_some_and(given)));
        for (name, pointer) in &saves.fields {
            let at = format!("{at}.fields.{name}");
            self.names(&at, name);
            match definition.field(name) {
                Some(field) if field.discovered.is_none() && !used.contains(name.as_str()) => {
                    self.lacks(at, format!("grant {kind} has no use for it"));
                }
                Some(field) if field.secret && !operation.secrets.contains(pointer) => {
                    self.lacks(at, "is a secret, which secrets does not name");
                }
                _ => {}
            }
        }
        if let Some(name) = required.into_iter().find(|name| !saves.fields.contains_key(*name)) {
            self.lacks(format!("{at}.fields"), format!("{name} is missing: grant {kind} needs it"));
        }
    }

    /// Companion headers go onto every call that carries a token.
    fn companions(&mut self, at: &str, operation: &Operation) {
        let companions = &self.definition.attach.headers;
        for name in operation.headers.keys() {
            if companions.keys().any(|companion| companion.eq_ignore_ascii_case(name)) {
                self.wrong(format!("{at}.headers.{name}"), "is given under attach.headers for every call; keep one");
            }
        }
    }
}
