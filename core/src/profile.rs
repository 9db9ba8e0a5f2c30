//! A profile: provider, environment, credentials and overrides; parsed, checked, immutable.

mod needs;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ring::{digest, hmac};
use serde::Deserialize;
use serde_json::{Map, Value};
use url::Url;

use self::needs::{Need, Needs};
use crate::config::{ProfileInput, Resolved, WatchedFile, check_multiline, check_text, resolve, resolve_multiline};
use crate::discovery::Metadata;
use crate::dpop::DpopKey;
use crate::duration;
use crate::error::{Error, Result};
use crate::jose::SigningKey;
use crate::provider::{
    Bound, ClientAuth, Environment, Field, Grant, GrantKind, PROFILE_KEYS, Place, Provider, RequestSpec, Scope,
    Template,
};
use crate::record_name::RecordName;
use crate::secret::{Mask, Secret};
use crate::signing::{self, Keys};
use crate::transport::Identity;
use crate::url_rules;

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
    /// Given by the source that the profile is for: the naming key is that of its engine's store.
    record_name: Option<RecordName>,
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

/// `max_lifetime` where nobody says otherwise: an absurd answer is cut to this.
const MAX_LIFETIME: Duration = Duration::from_secs(30 * 86_400);

impl Profile {
    /// Checks a profile against its provider and reads its secrets.
    pub(crate) fn build(input: &ProfileInput, provider: &Provider, call_timeout: Duration) -> Result<Profile> {
        Builder { input, provider }.build(call_timeout).map_err(|error| error.about(&input.name, provider.name()))
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
        let mut profile = Profile::build(&input, &self.provider, self.timeout)?;
        // What `scoped` narrowed stays, unless it is what changes.
        let keep = |key: &str| !changes.contains_key(key);
        let Narrowing { scope, audience, resource } = self.narrowing.clone();
        let narrowing = &mut profile.narrowing;
        narrowing.scope = if keep("scope") { scope } else { narrowing.scope.take() };
        narrowing.audience = if keep("audience") { audience } else { narrowing.audience.take() };
        narrowing.resource = if keep("resource") { resource } else { narrowing.resource.take() };
        Ok(profile)
    }

    /// Whether there is a `file:` secret to look at.
    pub(crate) fn watches_files(&self) -> bool {
        self.watched().next().is_some()
    }

    fn watched(&self) -> impl Iterator<Item = &WatchedFile> {
        let signed_in = self.signed_in.iter().filter_map(|signed_in| signed_in.watched.as_ref());
        self.values.values().filter_map(|field| field.file.as_ref()).chain(signed_in)
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
        let mut profile = Profile::build(&self.input, &self.provider, self.timeout)?;
        profile.narrowing = self.narrowing.clone();
        Ok(profile)
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
        let mut profile = self.clone();
        profile.narrowing = Narrowing {
            scope: narrowing.scope.map(|scope| canonical_scope(&scope)).or_else(|| self.narrowing.scope.clone()),
            audience: narrowing.audience.or_else(|| self.narrowing.audience.clone()),
            resource: narrowing.resource.or_else(|| self.narrowing.resource.clone()),
        };
        Ok(profile)
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
        settings.sort();
        settings
    }

    /// Everything that changes which token comes back, in a fixed order (DESIGN.md 5).
    pub(crate) fn identity(&self) -> Vec<String> {
        let mut parts = vec![
            self.provider.fingerprint().to_owned(),
            self.base_url.clone().unwrap_or_default(),
            self.grant.name().to_owned(),
            self.narrowing.scope.clone().unwrap_or_default(),
            self.narrowing.audience.clone().unwrap_or_default(),
            self.narrowing.resource.clone().unwrap_or_default(),
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

    /// The same profile with the name of its record in the store with this key.
    pub(crate) fn named(self, naming_key: &hmac::Key) -> Profile {
        Profile { record_name: Some(RecordName::new(naming_key, &self.identity())), ..self }
    }

    /// The name of its record.
    pub(crate) fn record_name(&self) -> RecordName {
        self.record_name.clone().expect("a source names every profile that it takes")
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

struct Builder<'a> {
    input: &'a ProfileInput,
    provider: &'a Provider,
}

impl Builder<'_> {
    fn build(&self, call_timeout: Duration) -> Result<Profile> {
        let definition = self.provider.definition();
        let (options, given) = self.split()?;
        let grant = self.grant(&options)?;
        let environment = self.environment(&options)?;

        let grants = || needs::grants(definition, grant);
        let dpop = self.dpop(&options, grant)?;
        let needs = Needs::of(definition, grant, environment.map(|(_, environment)| environment), &options, dpop);

        let values = self.values(&given, &needs, grant)?;
        let mut scope = Scope::default();
        for (name, field) in &values {
            scope.set(name, Bound::Secret(field.value.clone()));
        }
        let base_url = match &options.base_url {
            Some(url) => Some(self.base(&self.text(url, "base_url")?, "base_url")?),
            None => self.rendered(environment, "base_url", &scope)?,
        };
        let api_base_url = match (&options.api_base_url, &options.base_url) {
            (Some(url), _) => Some(self.base(&self.text(url, "api_base_url")?, "api_base_url")?),
            (None, Some(_)) => base_url.clone(),
            (None, None) => self.rendered(environment, "api_base_url", &scope)?.or_else(|| base_url.clone()),
        };
        let below_base = |grant: &Grant| grant.requests().any(|request| request.path.is_some());
        if base_url.is_none() && grants().any(below_base) {
            return Err(self.wrong(
                "base_url",
                "is missing: the vendor documents no address for this environment, so the profile must give one",
            ));
        }
        let narrowing = Narrowing {
            scope: self.optional_text(options.scope.as_deref(), "scope")?.map(|scope| canonical_scope(&scope)),
            audience: self.optional_text(options.audience.as_deref(), "audience")?,
            resource: self.optional_text(options.resource.as_deref(), "resource")?,
        };
        if options.client_auth.is_some() && needs.proofs.is_empty() {
            return Err(self.wrong(
                "client_auth",
                &format!("grant {} of this provider fixes how credentials are sent; remove it", grant.name()),
            ));
        }
        let lifetime = &definition.lifetime;
        let signed_in = self.signed_in(&options, grant)?;
        let secrets = fingerprint(&values, None);
        let mut profile = Profile {
            name: self.input.name.clone(),
            provider: self.provider.clone(),
            grant,
            base_url,
            api_base_url,
            allowed_hosts: self.allowed_hosts(&options.allowed_hosts)?,
            client_auth: options.client_auth,
            mode: self.mode(options.mode, lifetime.single_session, grant)?,
            dpop,
            buffer: options.buffer.or(lifetime.buffer),
            ahead: options.ahead.or(lifetime.ahead),
            max_lifetime: self.positive(options.max_lifetime, "max_lifetime")?.or(lifetime.max).unwrap_or(MAX_LIFETIME),
            default_lifetime: self.positive(options.default_lifetime, "default_lifetime")?.or(lifetime.default),
            timeout: self.positive(options.timeout, "timeout")?.unwrap_or(call_timeout),
            own_scope: narrowing.scope.clone(),
            narrowing: Narrowing::default(),
            fingerprint: match signed_in.as_ref().and_then(|signed_in| signed_in.refresh_token.as_ref()) {
                Some(seed) => fingerprint(&values, Some(seed)),
                None => secrets.clone(),
            },
            secrets,
            signed_in,
            keys: Arc::default(),
            dpop_key: None,
            identity: None,
            record_name: None,
            values,
            input: self.input.clone(),
        };
        for (name, value) in
            [("scope", &narrowing.scope), ("audience", &narrowing.audience), ("resource", &narrowing.resource)]
        {
            if value.is_some() {
                profile.check_narrowing(name)?;
            }
        }
        profile.narrowing = narrowing;
        for request in grants().flat_map(Grant::requests) {
            self.check_token_url(request.url, &scope)?;
        }
        self.check_discovery(&profile, &needs)?;
        profile.keys = Arc::new(signing::keys(&profile, &needs.proofs).map_err(|(key, why)| self.wrong(&key, &why))?);
        self.check_proofs(&profile)?;
        profile.identity = self.identity(&profile)?;
        if dpop && let Some(text) = profile.value("dpop_key") {
            let key = SigningKey::parse(text.expose(), None, None).map_err(|why| self.wrong("dpop_key", &why))?;
            profile.dpop_key = Some(DpopKey::new(key, None).map_err(|error| self.wrong("dpop_key", error.message()))?);
        }
        if dpop && grant.interactive() && profile.value("dpop_key").is_none() {
            return Err(self.wrong(
                "dpop_key",
                "is missing: a refresh token that outlives this process is bound to a key that must do so too",
            ));
        }
        for (name, advice) in profile.advice() {
            tracing::warn!(profile = %profile.name, provider = profile.provider.name(), field = name, "{advice}");
        }
        Ok(profile)
    }

    /// Parts the profile's own keys from the provider's fields.
    fn split(&self) -> Result<(Options, Map<String, Value>)> {
        let mut options = Map::new();
        let mut given = Map::new();
        for (key, value) in &self.input.table {
            match key.as_str() {
                "provider" => {}
                key if PROFILE_KEYS.contains(&key) => drop(options.insert(key.to_owned(), value.clone())),
                key => drop(given.insert(key.to_owned(), value.clone())),
            }
        }
        Ok((crate::document::typed(Value::Object(options), &self.at(""))?, given))
    }

    fn grant(&self, options: &Options) -> Result<GrantKind> {
        let grants = &self.provider.definition().grants;
        let possible = || grants.keys().filter(|kind| **kind != GrantKind::RefreshToken);
        match &options.grant {
            None => Ok(*possible().next().expect("a checked definition has a grant beside refresh_token")),
            Some(name) => possible().find(|kind| kind.name() == name).copied().ok_or_else(|| {
                let known: Vec<_> = possible().map(|kind| kind.name()).collect();
                self.wrong("grant", &format!("this provider has no such grant; it has {}", known.join(", ")))
            }),
        }
    }

    fn environment(&self, options: &Options) -> Result<Option<(&String, &Environment)>> {
        let environments = &self.provider.definition().environments;
        match &options.environment {
            None => Ok(environments.first()),
            Some(name) => environments.get_key_value(name).map(Some).ok_or_else(|| {
                let known: Vec<_> = environments.keys().map(String::as_str).collect();
                self.wrong(
                    "environment",
                    &format!("this provider has no such environment; it has {}", known.join(", ")),
                )
            }),
        }
    }

    fn values(
        &self,
        given: &Map<String, Value>,
        needs: &Needs<'_>,
        grant: GrantKind,
    ) -> Result<BTreeMap<String, FieldValue>> {
        let definition = self.provider.definition();
        let fields = || definition.variables.iter().chain(&definition.credentials);
        for key in given.keys() {
            if !fields().any(|(name, _)| name == key) {
                let known: Vec<_> = fields().map(|(name, _)| name.as_str()).collect();
                return Err(self.wrong(
                    key,
                    &format!(
                        "is unknown to provider {:?}, which takes {} beside {}",
                        self.provider.name(),
                        known.join(", "),
                        PROFILE_KEYS.join(", ")
                    ),
                ));
            }
            if needs.get(key).is_none() {
                let set = if needs.proofs.is_empty() { "grant" } else { "grant or client_auth" };
                let why = format!("is not used by grant {}; remove it, or set {set}", grant.name());
                return Err(self.wrong(key, &why));
            }
        }
        let mut values = BTreeMap::new();
        for (name, field) in fields() {
            let resolved = match given.get(name) {
                Some(Value::String(text)) => {
                    let resolve = if field.multiline { resolve_multiline } else { resolve };
                    Some(resolve(text, &self.at(name), &self.input.trust)?)
                }
                Some(_) => return Err(self.wrong(name, "has the wrong type; expected text")),
                None => match needs.get(name) {
                    None | Some(Need::Idle) => None,
                    Some(need) => self.unwritten(name, field, need)?,
                },
            };
            let Some(Resolved { value, file }) = resolved else { continue };
            if let Some(pattern) = field.pattern.as_ref().filter(|pattern| !pattern.matches(value.expose())) {
                return Err(
                    self.wrong(name, &format!("does not have the form the vendor documents: {}", pattern.as_str()))
                );
            }
            values.insert(name.clone(), FieldValue { value, secret: field.secret, file });
        }
        Ok(values)
    }

    /// A field that the profile does not mention: from the process environment, or its default.
    fn unwritten(&self, name: &str, field: &Field, need: Need) -> Result<Option<Resolved>> {
        let env = field.env.as_ref().filter(|_| !self.input.trust.alone);
        if let Some(value) = env.and_then(|env| std::env::var(env).ok()) {
            let at = format!("{} (from {})", self.at(name), field.env.as_deref().unwrap_or_default());
            if field.multiline {
                check_multiline(&value, &at)?
            } else {
                check_text(&value, &at)?
            }
            return Ok(Some(Resolved { value: Secret::new(value), file: None }));
        }
        if let Some(default) = &field.default {
            return Ok(Some(Resolved { value: Secret::new(default.as_str()), file: None }));
        }
        // What the server tells of itself is checked when all else is known.
        let may_lack = match need {
            Need::Idle | Need::Offered => true,
            Need::Wanted => field.optional,
            Need::Required => false,
        };
        if may_lack || field.discovered.is_some() {
            return Ok(None);
        }
        let hint = field.env.as_ref().map(|env| format!(", or set the environment variable {env}")).unwrap_or_default();
        Err(self.wrong(name, &format!("is missing: give it in the profile{hint}")))
    }

    /// A whole token URL is wrong now or never: it has no part that comes later.
    fn check_token_url(&self, url: Option<&Template>, scope: &Scope) -> Result<()> {
        let Some(template) = url else { return Ok(()) };
        let place = if template.is_variable() { Place::Whole } else { Place::Host };
        let Some(text) = template.render(scope, place)? else { return Ok(()) };
        let key = template.variables().next().unwrap_or("url");
        url_rules::parse(&text).map(drop).map_err(|why| self.wrong(key, &why))
    }

    /// What nobody gave must come from the server, which somebody must have named.
    fn check_discovery(&self, profile: &Profile, needs: &Needs<'_>) -> Result<()> {
        if let Some(issuer) = profile.issuer() {
            return crate::discovery::check_issuer(&issuer).map_err(|why| self.wrong("issuer", &why));
        }
        match profile.discovered().find(|(name, _)| needs.get(name) >= Some(Need::Wanted)) {
            None => Ok(()),
            Some((name, _)) => {
                let env = self.provider.definition().field(name).and_then(|field| field.env.as_ref());
                let hint = env.map(|env| format!(", or set the environment variable {env}")).unwrap_or_default();
                Err(self.wrong(name, &format!("is missing: give it in the profile, or issuer for discovery{hint}")))
            }
        }
    }

    /// What signs must be there, and a client that speaks for itself alone must prove something.
    fn check_proofs(&self, profile: &Profile) -> Result<()> {
        let definition = self.provider.definition();
        let unsigned = |template: &Template| {
            let jwt = template.jwts().find(|name| !profile.keys.contains_key(*name))?;
            self.provider.jwt(jwt).map(|spec| spec.key.clone())
        };
        let of_grant = |grant: &'_ Grant| {
            let page = grant.authorize.iter().flat_map(|page| page.query.values());
            grant.requests().flat_map(RequestSpec::templates).chain(&grant.token).chain(page).find_map(unsigned)
        };
        if let Some(key) = needs::grants(definition, profile.grant).find_map(of_grant) {
            return Err(self.wrong(&key, &format!("is missing: grant {} signs with it", profile.grant.name())));
        }
        if let Some(key) = definition.attach.headers.values().find_map(unsigned) {
            return Err(self.wrong(&key, "is missing: a header of every API call is signed with it"));
        }
        let declared = profile.grant_definition().client_auth;
        let client_auth = declared.map(|declared| profile.client_auth.unwrap_or(declared));
        let proves = ["client_secret", "private_key", "certificate"].iter().any(|name| profile.value(name).is_some());
        if client_auth == Some(ClientAuth::Auto) && profile.grant == GrantKind::ClientCredentials && !proves {
            let field = definition.credentials.get("client_secret");
            let env = field.and_then(|field| field.env.as_ref());
            let hint = env.map(|env| format!(", or set the environment variable {env}")).unwrap_or_default();
            return Err(self.wrong(
                "client_secret",
                &format!("is missing: give it, or private_key or certificate, in the profile{hint}"),
            ));
        }
        Ok(())
    }

    /// The certificate and key that `[mtls]` names, if the profile gives them.
    fn identity(&self, profile: &Profile) -> Result<Option<Arc<Identity>>> {
        let Some(mtls) = &self.provider.definition().mtls else { return Ok(None) };
        match (profile.value(&mtls.certificate), profile.value(&mtls.key)) {
            (Some(certificate), Some(key)) => match Identity::from_pem(certificate.expose(), key.expose()) {
                Ok(identity) => Ok(Some(Arc::new(identity))),
                Err((of_key, why)) => Err(self.wrong(if of_key { &mtls.key } else { &mtls.certificate }, &why)),
            },
            (None, None) => Ok(None),
            (Some(_), None) => Err(self.wrong(&mtls.key, "is missing: it goes with the certificate")),
            (None, Some(_)) => Err(self.wrong(&mtls.certificate, "is missing: it goes with the key")),
        }
    }

    fn mode(&self, given: Option<Mode>, single_session: bool, grant: GrantKind) -> Result<Mode> {
        match (given, grant) {
            // Only a caller can run the host's function: no timer has one.
            (Some(Mode::Background | Mode::Always), GrantKind::Custom) => {
                Err(self.wrong("mode", "a custom grant is renewed on_demand: its function runs where a caller waits"))
            }
            (Some(mode), _) => Ok(mode),
            (None, GrantKind::Custom) => Ok(Mode::OnDemand),
            (None, _) if single_session => Ok(Mode::OnDemand),
            (None, _) => Ok(Mode::Background),
        }
    }

    /// The refresh token of the profile: text, `env:`, or a file that sign-ins and renewals write.
    fn signed_in(&self, options: &Options, grant: GrantKind) -> Result<Option<SignedIn>> {
        let Some(text) = &options.refresh_token else { return Ok(None) };
        if !grant.sends() || !self.provider.definition().grants.contains_key(&GrantKind::RefreshToken) {
            return Err(self.wrong("refresh_token", "this provider or grant has no use for one; remove it"));
        }
        let Some(path) = text.strip_prefix("file:") else {
            let resolved = resolve(text, &self.at("refresh_token"), &self.input.trust)?;
            return Ok(Some(SignedIn { refresh_token: Some(resolved.value), file: None, watched: None }));
        };
        let path = self.input.trust.folder.as_deref().unwrap_or(Path::new("")).join(path);
        // Nobody has signed in yet: `qauth login` makes the file.
        if !path.exists() {
            let watched = Some(WatchedFile::absent(&path));
            return Ok(Some(SignedIn { refresh_token: None, file: Some(path), watched }));
        }
        let resolved = resolve(text, &self.at("refresh_token"), &self.input.trust)?;
        Ok(Some(SignedIn { refresh_token: Some(resolved.value), file: Some(path), watched: resolved.file }))
    }

    /// An address of the environment, if it declares one. What it lacks must not send a token to another host.
    fn rendered(
        &self,
        environment: Option<(&String, &Environment)>,
        key: &str,
        scope: &Scope,
    ) -> Result<Option<String>> {
        let Some((name, environment)) = environment else { return Ok(None) };
        let template = if key == "base_url" { &environment.base_url } else { &environment.api_base_url };
        let Some(template) = template else { return Ok(None) };
        let text = template.render(scope, Place::Host)?.ok_or_else(|| {
            let lacking = template.variables().find(|name| !scope.values.contains_key(*name));
            let why = format!("is missing: environments.{name}.{key} needs it");
            self.wrong(lacking.unwrap_or(key), &why)
        })?;
        self.base(&text, key).map(Some)
    }

    /// Whether tokens are bound to a key, which the grant and the way of the token onto a request must allow.
    fn dpop(&self, options: &Options, grant: GrantKind) -> Result<bool> {
        let attach = &self.provider.definition().attach;
        match options.dpop.unwrap_or(attach.dpop) {
            true if !grant.sends() => {
                let why = format!("grant {} asks no server for a token, which is then bound", grant.name());
                Err(self.wrong("dpop", &why))
            }
            true if !attach.takes_dpop() => {
                let why =
                    "such a token goes into Authorization with the scheme DPoP, and this provider's goes elsewhere";
                Err(self.wrong("dpop", why))
            }
            dpop => Ok(dpop),
        }
    }

    fn base(&self, text: &str, key: &str) -> Result<String> {
        url_rules::base(text).map_err(|why| self.wrong(key, &why))
    }

    fn allowed_hosts(&self, list: &[String]) -> Result<Vec<Url>> {
        list.iter()
            .enumerate()
            .map(|(index, text)| {
                url_rules::origin(text).map_err(|why| self.wrong(&format!("allowed_hosts[{index}]"), &why))
            })
            .collect()
    }

    fn text(&self, text: &str, key: &str) -> Result<String> {
        Ok(resolve(text, &self.at(key), &self.input.trust)?.value.expose().to_owned())
    }

    fn optional_text(&self, text: Option<&str>, key: &str) -> Result<Option<String>> {
        text.filter(|text| !text.is_empty()).map(|text| self.text(text, key)).transpose()
    }

    fn positive(&self, value: Option<Duration>, key: &str) -> Result<Option<Duration>> {
        match value {
            Some(Duration::ZERO) => Err(self.wrong(key, "must be above 0")),
            other => Ok(other),
        }
    }

    fn at(&self, key: &str) -> String {
        let place = match self.input.implicit {
            true => format!("provider {}", self.input.name),
            false => format!("profiles.{}", self.input.name),
        };
        match key {
            "" => place,
            key if self.input.implicit => format!("{place}: {key}"),
            key => format!("{place}.{key}"),
        }
    }

    fn wrong(&self, key: &str, why: &str) -> Error {
        Error::config(format!("{}: {why}", self.at(key)))
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
