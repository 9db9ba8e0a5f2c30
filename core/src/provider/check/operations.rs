//! Named calls: what of them the file gives, and what their caller.

use super::{Checker, RESERVED, is_identifier, shown};
use crate::provider::definition::{GrantKind, Method, OnUnauthorized, Operation};

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
        if operation.on_401 == OnUnauthorized::Result && !operation.secrets.is_empty() {
            self.wrong(format!("{at}.secrets"), "on_401 = \"result\" gives true or false, and no answer with secrets");
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
