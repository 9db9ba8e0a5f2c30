//! Providers: one vendor's authentication as a declarative file, built in or the user's own (DESIGN.md 3).

mod check;
mod definition;
mod mistakes;
mod template;
mod uses;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use include_dir::{Dir, include_dir};
use once_cell::race::OnceBox;
use serde_json::{Value, json};

pub(crate) use check::{Finding, PROFILE_KEYS, header_is_free};
pub(crate) use definition::*;
pub use mistakes::Mistake;
pub(crate) use template::{Bound, JsonTemplate, Place, Scope, Template};

use crate::document;
use crate::error::{Error, Result};

static BUILT_IN: Dir<'_> = include_dir!("$OUT_DIR/providers");

/// A checked provider definition. Cheap to clone.
#[derive(Clone)]
pub struct Provider {
    definition: Arc<Definition>,
    source: Arc<str>,
    fingerprint: Arc<str>,
    /// What stands before a token in its header, made once.
    scheme_prefix: Arc<str>,
    cookie_prefix: Arc<str>,
}

impl Provider {
    /// The built-in provider of this name.
    ///
    /// # Errors
    /// `config`: there is none; the message lists those there are.
    pub fn built_in(name: &str) -> Result<Provider> {
        built_in().get(name).cloned().ok_or_else(|| {
            let known: Vec<&str> = built_in().keys().map(String::as_str).collect();
            Error::config(format!(
                "provider {name:?} is unknown: built in are {}; your own is a file (provider = \"./name.toml\") or a [providers.name] table",
                known.join(", ")
            ))
        })
    }

    /// Every built-in provider, by name.
    pub fn all() -> impl Iterator<Item = Provider> {
        built_in().values().cloned()
    }

    /// Parses and checks a provider file (TOML). An unknown or unused key is an error that names it.
    ///
    /// # Errors
    /// `config`, naming the key.
    pub fn from_toml(text: &str) -> Result<Provider> {
        let value = document::from_toml(text, "provider file")?;
        Self::checked(value, text.into())
    }

    /// Every mistake in a provider file, in the order of its lines; none: [`Provider::from_toml`] takes it.
    pub fn check_toml(text: &str) -> Vec<Mistake> {
        mistakes::find(text)
    }

    /// The same from a table of a configuration.
    pub(crate) fn from_value(value: Value) -> Result<Provider> {
        let source = serde_json::to_string_pretty(&value).unwrap_or_default();
        Self::checked(value, source.into())
    }

    fn checked(value: Value, source: Arc<str>) -> Result<Provider> {
        let at = value
            .get("name")
            .and_then(Value::as_str)
            .map_or_else(|| "provider".to_owned(), |name| format!("provider {name:?}"));
        let definition: Definition = document::typed(value, &at)?;
        if let Some(Finding { at, message, .. }) = check::check(&definition).into_iter().next() {
            return Err(Error::config(format!("provider {:?}: {at}: {message}", definition.name)));
        }
        let digest = ring::digest::digest(&ring::digest::SHA256, source.as_bytes());
        let digest: String = digest.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        let fingerprint = format!("{} {digest}", definition.name).into();
        let scheme_prefix = match definition.attach.scheme() {
            "" => String::new(),
            scheme => format!("{scheme} "),
        };
        let cookie_prefix = definition.attach.cookie.as_ref().map(|name| format!("{name}=")).unwrap_or_default();
        Ok(Provider {
            definition: Arc::new(definition),
            source,
            fingerprint,
            scheme_prefix: scheme_prefix.into(),
            cookie_prefix: cookie_prefix.into(),
        })
    }

    /// Its name, as profiles write it.
    pub fn name(&self) -> &str {
        &self.definition.name
    }

    /// One line for people.
    pub fn description(&self) -> Option<&str> {
        self.definition.description.as_deref()
    }

    /// The environments, the default one first.
    pub fn environments(&self) -> impl Iterator<Item = &str> {
        self.definition.environments.keys().map(String::as_str)
    }

    /// The ways to obtain a token, the default one first.
    pub fn grants(&self) -> impl Iterator<Item = &'static str> {
        self.definition.grants.keys().map(|kind| kind.name())
    }

    /// The named calls that it declares, each with its parameters.
    pub fn operations(&self) -> impl Iterator<Item = OperationInfo<'_>> {
        self.definition.operations.iter().map(|(name, operation)| OperationInfo {
            name,
            description: operation.description.as_deref(),
            method: operation.method.http().to_string(),
            path: operation.path.as_ref().or(operation.url.as_ref()).map(Template::to_string).unwrap_or_default(),
            grants: operation.grants.iter().map(|kind| kind.name()).collect(),
            secrets: operation.secrets.iter().map(|at| at.0.as_str()).collect(),
            parameters: self
                .call_parameters(operation)
                .map(|parameter| (parameter, !operation.optional.iter().any(|optional| optional == parameter)))
                .collect(),
        })
    }

    /// What a profile of it must or may give.
    pub fn fields(&self) -> impl Iterator<Item = FieldInfo<'_>> {
        self.definition.variables.iter().chain(&self.definition.credentials).map(|(name, field)| FieldInfo {
            name,
            credential: self.definition.credentials.contains_key(name),
            env: field.env.as_deref(),
            pattern: field.pattern.as_ref().map(Pattern::as_str),
            secret: field.secret,
            optional: field.optional,
            default: field.default.as_deref(),
            description: field.description.as_deref(),
        })
    }

    /// All of the above as one JSON object, for listings in any language.
    pub fn to_json(&self) -> Value {
        let fields = self.fields().map(|field| {
            json!({
                "name": field.name, "kind": if field.credential { "credential" } else { "variable" }, "env": field.env,
                "pattern": field.pattern, "secret": field.secret, "optional": field.optional, "default": field.default,
                "description": field.description,
            })
        });
        let operations = self.operations().map(|operation| {
            let parameters =
                operation.parameters.iter().map(|(name, required)| json!({"name": name, "required": required}));
            json!({
                "name": operation.name, "description": operation.description, "method": operation.method,
                "path": operation.path, "grants": operation.grants, "secrets": operation.secrets,
                "parameters": parameters.collect::<Vec<_>>(),
            })
        });
        json!({
            "name": self.name(), "description": self.description(), "grants": self.grants().collect::<Vec<_>>(),
            "environments": self.environments().collect::<Vec<_>>(), "fields": fields.collect::<Vec<_>>(),
            "operations": operations.collect::<Vec<_>>(),
        })
    }

    /// The file it was read from, word for word.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Its name and a digest of its file: two providers of one name share no token.
    pub(crate) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// `Bearer `, or what the file says.
    pub(crate) fn scheme_prefix(&self) -> &str {
        &self.scheme_prefix
    }

    /// `name=`, where a cookie carries the token.
    pub(crate) fn cookie_prefix(&self) -> &str {
        &self.cookie_prefix
    }

    pub(crate) fn definition(&self) -> &Definition {
        &self.definition
    }

    /// The JWT of this name: the file's, or the standard one of a client authentication.
    pub(crate) fn jwt(&self, name: &str) -> Option<&JwtSpec> {
        self.definition.jwt(name)
    }

    /// The credentials, variables and built-in names that a grant's requests can use.
    pub(crate) fn variables_of<'a>(&'a self, grant: &'a Grant) -> BTreeSet<&'a str> {
        let mut names = self.definition.names_of_grant(grant);
        if grant.requests().any(|request| request.client_auth.is_some()) {
            names.extend(self.definition.names_of_proof(ClientAuth::Auto));
        }
        names
    }

    /// The parameters of an operation: the variables that neither the profile nor qauth gives.
    pub(crate) fn call_parameters<'a>(&'a self, operation: &'a Operation) -> impl Iterator<Item = &'a str> {
        parameters(operation).filter(|name| self.definition.field(name).is_none())
    }

    /// The values of the profile without which an operation cannot be called.
    pub(crate) fn needed_by<'a>(&'a self, operation: &'a Operation) -> impl Iterator<Item = &'a str> {
        let field = |name| self.definition.credentials.get(name).or_else(|| self.definition.variables.get(name));
        parameters(operation).filter(move |name| field(*name).is_some_and(|field| !field.optional))
    }
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Provider({:?})", self.name())
    }
}

/// A named call, for listings.
#[derive(Debug, Clone)]
pub struct OperationInfo<'a> {
    /// The name given to `call`.
    pub name: &'a str,
    /// One line for people.
    pub description: Option<&'a str>,
    /// The HTTP method.
    pub method: String,
    /// Below the API's address, or a whole URL of the server itself.
    pub path: String,
    /// The grants whose tokens may make it; none: any.
    pub grants: Vec<&'static str>,
    /// JSON Pointers to members that the vendor shows only once.
    pub secrets: Vec<&'a str>,
    /// The parameters, each with whether it must be given.
    pub parameters: Vec<(&'a str, bool)>,
}

/// A credential or variable, for listings.
#[derive(Debug, Clone)]
pub struct FieldInfo<'a> {
    /// The key in a profile.
    pub name: &'a str,
    /// Whether it is a credential, not a variable.
    pub credential: bool,
    /// A regular expression that the whole value must match.
    pub pattern: Option<&'a str>,
    /// Whether it may be left out.
    pub optional: bool,
    /// The environment variable that gives it where no profile does.
    pub env: Option<&'a str>,
    /// Whether it must not be seen.
    pub secret: bool,
    /// What it is where nothing is said.
    pub default: Option<&'a str>,
    /// One line for people.
    pub description: Option<&'a str>,
}

/// Every variable in an operation's templates, in order, each once.
pub(crate) fn parameters(operation: &Operation) -> impl Iterator<Item = &str> {
    let mut names: Vec<&str> = Vec::new();
    for name in operation.request().templates().flat_map(Template::variables) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.into_iter()
}

fn built_in() -> &'static BTreeMap<String, Provider> {
    // Two threads may both read them; there is no lock, which a fork could leave held.
    static PROVIDERS: OnceBox<BTreeMap<String, Provider>> = OnceBox::new();
    PROVIDERS.get_or_init(|| {
        let mut providers = BTreeMap::new();
        for text in BUILT_IN.files().filter_map(|file| file.contents_utf8()) {
            let provider =
                Provider::from_toml(text).expect("built-in provider files are checked by this crate's tests");
            providers.insert(provider.name().to_owned(), provider);
        }
        Box::new(providers)
    })
}

#[cfg(test)]
mod tests;
