//! A profile: provider, environment, credentials and overrides; parsed, checked, immutable.

mod builder;
mod credentials;
mod needs;
mod saved;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ring::digest;
use serde::Deserialize;
use serde_json::{Map, Value};
use url::Url;

use crate::config::{ProfileInput, WatchedFile, check_text};
use crate::discovery::Metadata;
use crate::dpop::DpopKey;
use crate::duration;
use crate::error::{Error, Result};
use crate::provider::{Bound, ClientAuth, Grant, GrantKind, Place, Provider, Scope};
use crate::record_name::RecordName;
use crate::secret::{Mask, Secret};
use crate::signing::Keys;
use crate::transport::Identity;

/// When a token is renewed (DESIGN.md 4, "Modes").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    /// A timer at `refresh_at`, if the token was used since it was obtained.
    Background,
    /// No timer: the first caller after `stale_at` renews.
    OnDemand,
    /// A timer until close.
    Always,
}

/// One named use of a provider, ready to build requests from.
#[derive(Clone)]
pub(crate) struct Profile {
    pub(crate) name: String,
    pub(crate) provider: Provider,
    pub(crate) grant: GrantKind,
    pub(crate) base_url: Option<String>,
    pub(crate) api_base_url: Option<String>,
    pub(crate) allowed_hosts: Vec<Url>,
    pub(crate) narrowing: Narrowing,
    /// The scope that the profile itself names.
    own_scope: Option<String>,
    /// The profile's own choice, over the grant's.
    pub(crate) client_auth: Option<ClientAuth>,
    pub(crate) mode: Mode,
    pub(crate) buffer: Option<Duration>,
    pub(crate) ahead: Option<Duration>,
    pub(crate) max_lifetime: Duration,
    pub(crate) default_lifetime: Option<Duration>,
    pub(crate) timeout: Duration,
    /// Every token is bound to a key of ours (RFC 9449).
    pub(crate) dpop: bool,
    /// Tells one set of secrets from another without holding them.
    pub(crate) fingerprint: String,
    /// The refresh token that a person's sign-in left.
    pub(crate) signed_in: Option<SignedIn>,
    /// What the profile signs with.
    pub(crate) keys: Arc<Keys>,
    /// The key that it gives for tokens that are bound to one.
    pub(crate) dpop_key: Option<DpopKey>,
    /// The certificate of its connections.
    pub(crate) identity: Option<Arc<Identity>>,
    /// What `fingerprint` is without the refresh token: a record outlives that.
    secrets: String,
    /// Given by the source that the profile is for.
    record_name: Option<RecordName>,
    /// That of the record which remembers refusals of these credentials, where the profile is narrowed: what is refused
    /// there is refused for every narrowing.
    refusals_name: Option<RecordName>,
    /// Where the profile gives several credentials: all of them in their order, and which of them these are.
    alternatives: Arc<[Profile]>,
    chosen: usize,
    values: BTreeMap<String, FieldValue>,
    input: ProfileInput,
}

/// What a token is narrowed to: RFC 6749 3.3 `scope`, `audience` (RFC 8693), `resource` (RFC 8707).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Narrowing {
    pub(crate) scope: Option<String>,
    pub(crate) audience: Option<String>,
    pub(crate) resource: Option<String>,
}

/// A refresh token given by the profile, and the file that keeps it, if one does.
#[derive(Clone)]
pub(crate) struct SignedIn {
    /// None: nobody has signed in yet, and the file is not there.
    pub(crate) refresh_token: Option<Secret>,
    /// Its successors are written there.
    pub(crate) file: Option<PathBuf>,
    watched: Option<WatchedFile>,
}

#[derive(Clone)]
struct FieldValue {
    value: Secret,
    secret: bool,
    file: Option<WatchedFile>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Options {
    #[serde(default)]
    environment: Option<String>,
    #[serde(default)]
    grant: Option<String>,
    #[serde(default)]
    base_url: Option<String>,
    #[serde(default)]
    api_base_url: Option<String>,
    #[serde(default)]
    allowed_hosts: Vec<String>,
    #[serde(default)]
    scope: Option<String>,
    #[serde(default)]
    audience: Option<String>,
    #[serde(default)]
    resource: Option<String>,
    #[serde(default)]
    mode: Option<Mode>,
    #[serde(default, deserialize_with = "duration::optional")]
    #[cfg_attr(feature = "schema", schemars(with = "crate::schema::Length"))]
    buffer: Option<Duration>,
    #[serde(default, deserialize_with = "duration::optional")]
    #[cfg_attr(feature = "schema", schemars(with = "crate::schema::Length"))]
    ahead: Option<Duration>,
    #[serde(default, deserialize_with = "duration::optional")]
    #[cfg_attr(feature = "schema", schemars(with = "crate::schema::Length"))]
    max_lifetime: Option<Duration>,
    #[serde(default, deserialize_with = "duration::optional")]
    #[cfg_attr(feature = "schema", schemars(with = "crate::schema::Length"))]
    default_lifetime: Option<Duration>,
    #[serde(default, deserialize_with = "duration::optional")]
    #[cfg_attr(feature = "schema", schemars(with = "crate::schema::Length"))]
    timeout: Option<Duration>,
    #[serde(default)]
    client_auth: Option<ClientAuth>,
    #[serde(default)]
    dpop: Option<bool>,
    #[serde(default)]
    refresh_token: Option<String>,
}

impl Profile {
    /// Checks a profile against its provider and reads its secrets.
    pub(crate) fn build(input: &ProfileInput, provider: &Provider, call_timeout: Duration) -> Result<Profile> {
        credentials::build(input, provider, call_timeout).map_err(|error| error.about(&input.name, provider.name()))
    }

    /// The same profile with some of its keys replaced (`source.update`).
    pub(crate) fn updated(&self, changes: &Map<String, Value>) -> Result<Profile> {
        let mut input = self.input.clone();
        for (key, value) in changes {
            if key == "provider" {
                return Err(Error::invalid_argument("provider: cannot be changed by update; make a new source")
                    .about(&self.name, self.provider.name()));
            }
            input.table.insert(key.clone(), value.clone());
        }
        let profile = Profile::build(&input, &self.provider, self.timeout)?;
        // What `scoped` narrowed stays, unless it is what changes.
        let keep = |key: &str| !changes.contains_key(key);
        let Narrowing { scope, audience, resource } = self.narrowing.clone();
        let mut narrowing = profile.narrowing.clone();
        narrowing.scope = if keep("scope") { scope } else { narrowing.scope };
        narrowing.audience = if keep("audience") { audience } else { narrowing.audience };
        narrowing.resource = if keep("resource") { resource } else { narrowing.resource };
        // Of another list the first is tried first.
        let position = if keep(credentials::KEY) { self.chosen } else { 0 };
        Ok(profile.with_narrowing(&narrowing).at_position(position))
    }

    /// Whether there is a `file:` secret to look at.
    pub(crate) fn watches_files(&self) -> bool {
        self.watched().next().is_some()
    }

    fn watched(&self) -> impl Iterator<Item = &WatchedFile> {
        let signed_in = self.signed_in.iter().filter_map(|signed_in| signed_in.watched.as_ref());
        let values = self.all().iter().flat_map(|profile| profile.values.values());
        values.filter_map(|field| field.file.as_ref()).chain(signed_in)
    }

    /// The same profile with its secrets read again, if a `file:` one has changed since; an unreadable one changes nothing.
    pub(crate) fn with_changed_files(&self) -> Option<Profile> {
        if !self.watched().any(WatchedFile::changed) {
            return None;
        }
        self.reread().ok()
    }

    /// The same profile with all that it reads read again.
    pub(crate) fn reread(&self) -> Result<Profile> {
        let profile = Profile::build(&self.input, &self.provider, self.timeout)?;
        Ok(profile.with_narrowing(&self.narrowing).at_position(self.chosen))
    }

    /// The same profile narrowed further.
    pub(crate) fn narrowed(&self, narrowing: Narrowing) -> Result<Profile> {
        for (name, value) in
            [("scope", &narrowing.scope), ("audience", &narrowing.audience), ("resource", &narrowing.resource)]
        {
            if let Some(value) = value {
                check_text(value, name).map_err(|error| {
                    Error::invalid_argument(error.message()).about(&self.name, self.provider.name())
                })?;
                self.check_narrowing(name)?;
                self.check_refresh_narrows(name)?;
            }
        }
        let narrowing = Narrowing {
            scope: narrowing.scope.map(|scope| canonical_scope(&scope)).or_else(|| self.narrowing.scope.clone()),
            audience: narrowing.audience.or_else(|| self.narrowing.audience.clone()),
            resource: narrowing.resource.or_else(|| self.narrowing.resource.clone()),
        };
        Ok(self.clone().with_narrowing(&narrowing))
    }

    fn with_narrowing(self, narrowing: &Narrowing) -> Profile {
        self.each(|profile| Profile { narrowing: narrowing.clone(), ..profile })
    }

    fn check_narrowing(&self, name: &str) -> Result<()> {
        // A function is told what is asked for.
        let sent =
            self.grant == GrantKind::Custom || self.provider.variables_of(self.grant_definition()).contains(name);
        match sent {
            true => Ok(()),
            false => {
                Err(Error::config(format!("{name}: grant {} of this provider does not send it", self.grant.name()))
                    .about(&self.name, self.provider.name()))
            }
        }
    }

    /// Where tokens come of a refresh token alone, or at first, its request is what narrows them.
    fn check_refresh_narrows(&self, name: &str) -> Result<()> {
        let Some(refresh) = self.refresh_definition().filter(|_| self.grant.interactive() || self.signed_in.is_some())
        else {
            return Ok(());
        };
        let wrong = |why: &str| Err(Error::config(why).about(&self.name, self.provider.name()));
        let sent = self.provider.variables_of(refresh);
        let fits = sent.contains(name) || (name == "scope" && sent.contains("narrowed_scope"));
        if !fits {
            return wrong(&format!("{name}: the refresh request of this provider does not send it"));
        }
        match &self.signed_in {
            // Each of two sources would send it.
            Some(signed_in) if signed_in.file.is_none() && self.rotates() => {
                wrong("refresh_token: rotates, so that narrowed sources need it in a file that they share (file:PATH)")
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn grant_definition(&self) -> &Grant {
        &self.provider.definition().grants[&self.grant]
    }

    /// The provider's refresh request, if it has one and this grant can use it.
    pub(crate) fn refresh_definition(&self) -> Option<&Grant> {
        match self.grant.sends() {
            true => self.provider.definition().grants.get(&GrantKind::RefreshToken),
            false => None,
        }
    }

    pub(crate) fn rotates(&self) -> bool {
        self.provider.definition().lifetime.rotates
    }

    pub(crate) fn single_session(&self) -> bool {
        self.provider.definition().lifetime.single_session
    }

    /// The values for templates: credentials, variables, what the server tells of itself, and what the token is narrowed
    /// to.
    pub(crate) fn scope(&self, unix_ms: u128, metadata: Option<&Metadata>) -> Scope {
        let mut scope = Scope { unix_ms, ..Scope::default() };
        for (name, field) in &self.values {
            scope.set(name, Bound::Secret(field.value.clone()));
        }
        if let Some(metadata) = metadata {
            for (name, member) in self.discovered() {
                if let Some(value) = metadata.endpoint(member, self.identity.is_some()) {
                    scope.set(name, value);
                }
            }
            if self.value("assertion_audience").is_none() {
                scope.set("assertion_audience", metadata.issuer());
            }
        }
        let narrowing = &self.narrowing;
        for (name, value) in
            [("scope", &narrowing.scope), ("audience", &narrowing.audience), ("resource", &narrowing.resource)]
        {
            if let Some(value) = value {
                scope.set(name, value.as_str());
            }
        }
        // A refresh token brings the scope that was granted, which may be less than was asked for: only less of it is
        // asked for (RFC 6749 6).
        if let Some(narrowed) = narrowing.scope.as_deref().filter(|_| narrowing.scope != self.own_scope) {
            scope.set("narrowed_scope", narrowed);
        }
        scope
    }

    pub(crate) fn value(&self, name: &str) -> Option<&Secret> {
        self.values.get(name).map(|field| &field.value)
    }

    /// The variables that only the server's own description can give, and the member that does.
    pub(crate) fn discovered(&self) -> impl Iterator<Item = (&str, &str)> {
        let definition = self.provider.definition();
        let fields = definition.variables.iter().chain(&definition.credentials);
        fields.filter_map(|(name, field)| {
            let member = field.discovered.as_deref().filter(|_| self.value(name).is_none())?;
            Some((name.as_str(), member))
        })
    }

    /// The issuer whose description gives them (RFC 8414 2), where the profile names one.
    pub(crate) fn issuer(&self) -> Option<String> {
        let discovery = self.provider.definition().discovery.as_ref()?;
        discovery.issuer.render(&self.scope(0, None), Place::Whole).ok().flatten()
    }

    /// A mask that knows this profile's secrets.
    pub(crate) fn mask(&self) -> Mask {
        let mut mask = Mask::default();
        let seed = self.signed_in.iter().filter_map(|signed_in| signed_in.refresh_token.as_ref());
        for secret in self.values.values().filter(|field| field.secret).map(|field| &field.value).chain(seed) {
            mask.add(secret.expose());
        }
        // As HTTP Basic sends them together.
        let requests = self.refresh_definition().into_iter().chain([self.grant_definition()]).flat_map(Grant::requests);
        let declared = requests.filter_map(|request| request.basic).map(|pair| pair.each_ref().map(String::as_str));
        for pair in declared.chain([["client_id", "client_secret"]]) {
            let [Some(user), Some(password)] = pair.map(|name| self.value(name)) else { continue };
            let encode =
                |secret: &Secret| url::form_urlencoded::byte_serialize(secret.expose().as_bytes()).collect::<String>();
            mask.add(&format!("{}:{}", user.expose(), password.expose()));
            mask.add(&format!("{}:{}", encode(user), encode(password)));
        }
        mask
    }

    /// Every key as it was written, for telling one use of a profile from another.
    pub(crate) fn settings(&self) -> Vec<String> {
        let mut settings: Vec<String> = self.input.table.iter().map(|(key, value)| format!("{key}={value}")).collect();
        settings.sort_unstable();
        settings
    }

    /// Everything that changes which token comes back, in a fixed order (DESIGN.md 5).
    pub(crate) fn identity(&self) -> Vec<String> {
        self.identity_narrowed_to(&self.narrowing)
    }

    fn identity_narrowed_to(&self, narrowing: &Narrowing) -> Vec<String> {
        let mut parts = vec![
            self.provider.fingerprint().to_owned(),
            self.base_url.clone().unwrap_or_default(),
            self.grant.name().to_owned(),
            narrowing.scope.clone().unwrap_or_default(),
            narrowing.audience.clone().unwrap_or_default(),
            narrowing.resource.clone().unwrap_or_default(),
            self.secrets.clone(),
            self.signed_in.as_ref().map(SignedIn::identity).unwrap_or_default(),
            if self.dpop { "dpop".to_owned() } else { String::new() },
            // Nothing tells one function from another but the profile that it is for.
            if self.grant == GrantKind::Custom { self.name.clone() } else { String::new() },
        ];
        for (name, field) in self.values.iter().filter(|(_, field)| !field.secret) {
            parts.push(name.clone());
            parts.push(field.value.expose().to_owned());
        }
        parts
    }

    /// The same profile with the names of its records.
    pub(crate) fn named(self) -> Profile {
        let wide = Narrowing::default();
        self.each(|profile| Profile {
            record_name: Some(RecordName::new(&profile.identity())),
            refusals_name: (profile.narrowing != wide).then(|| RecordName::new(&profile.identity_narrowed_to(&wide))),
            ..profile
        })
    }

    /// The name of its record.
    pub(crate) fn record_name(&self) -> RecordName {
        self.record_name.clone().expect("a source names every profile that it takes")
    }

    /// The name of the record that remembers refusals of its credentials, if that is another: it is the one of the same
    /// profile without a narrowing.
    pub(crate) fn refusals_name(&self) -> Option<&RecordName> {
        self.refusals_name.as_ref()
    }

    /// Whether it has the same secrets, in all of its credentials.
    pub(crate) fn same_secrets(&self, other: &Profile) -> bool {
        self.all().iter().map(|profile| &profile.fingerprint).eq(other.all().iter().map(|profile| &profile.fingerprint))
    }

    /// Values that the vendor advises against, each with its advice.
    pub(crate) fn advice(&self) -> Vec<(&str, &str)> {
        let definition = self.provider.definition();
        let fields = definition.credentials.iter().chain(&definition.variables);
        fields
            .filter_map(|(name, field)| {
                let advised = field.advised.as_ref()?;
                let value = self.value(name)?;
                (!advised.pattern.matches(value.expose())).then_some((name.as_str(), advised.advice.as_str()))
            })
            .collect()
    }
}

impl std::fmt::Debug for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Profile({:?}, {:?})", self.name, self.provider.name())
    }
}

impl SignedIn {
    /// Whose record it is: the file's, whatever it holds now, or the token's own.
    fn identity(&self) -> String {
        match (&self.file, &self.refresh_token) {
            (Some(file), _) => format!("file {}", file.display()),
            (None, Some(token)) => fingerprint(&BTreeMap::new(), Some(token)),
            (None, None) => String::new(),
        }
    }

    /// Tells it from others without holding it.
    pub(crate) fn digest(&self) -> Option<String> {
        self.refresh_token.as_ref().map(SignedIn::digest_of)
    }

    /// The same of any refresh token.
    pub(crate) fn digest_of(token: &Secret) -> String {
        fingerprint(&BTreeMap::new(), Some(token))
    }

    /// Whether it is what its file holds now.
    pub(crate) fn is_current(&self) -> bool {
        !self.watched.as_ref().is_some_and(WatchedFile::changed)
    }
}

fn fingerprint(values: &BTreeMap<String, FieldValue>, seed: Option<&Secret>) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    let secrets = values.iter().filter(|(_, field)| field.secret).map(|(name, field)| (name.as_str(), &field.value));
    for (name, value) in secrets.chain(seed.map(|seed| ("refresh_token", seed))) {
        for part in [name.as_bytes(), value.expose().as_bytes()] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
    }
    context.finish().as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One space between scopes, so that two spellings of one scope share a token (fault 13).
fn canonical_scope(scope: &str) -> String {
    scope.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
