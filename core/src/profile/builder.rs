//! A profile from its keys: what they must be, where their values come from, and what is refused before anything is sent.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use url::Url;

use super::credentials;
use super::needs::{self, Need, Needs};
use super::{FieldValue, Mode, Narrowing, Options, Profile, SignedIn, canonical_scope, fingerprint};
use crate::config::{ProfileInput, Resolved, WatchedFile, check_multiline, check_text, resolve, resolve_multiline};
use crate::dpop::DpopKey;
use crate::error::{Error, Result};
use crate::jose::SigningKey;
use crate::provider::{
    Bound, ClientAuth, Environment, Field, Grant, GrantKind, PROFILE_KEYS, Place, Provider, RequestSpec, Scope,
    Template,
};
use crate::secret::Secret;
use crate::signing;
use crate::transport::Identity;
use crate::url_rules;

/// `max_lifetime` where nobody says otherwise: an absurd answer is cut to this.
const MAX_LIFETIME: Duration = Duration::from_secs(30 * 86_400);

pub(super) struct Builder<'a> {
    pub(super) input: &'a ProfileInput,
    pub(super) provider: &'a Provider,
    /// Which of several credentials the profile is built with; `input` has their keys among its own.
    pub(super) entry: Option<Entry<'a>>,
}

/// One of the profile's `credentials`.
pub(super) struct Entry<'a> {
    pub(super) index: usize,
    pub(super) given: &'a Map<String, Value>,
    /// The profile's own keys.
    pub(super) shared: &'a Map<String, Value>,
}

impl Builder<'_> {
    pub(super) fn build(&self, call_timeout: Duration) -> Result<Profile> {
        let definition = self.provider.definition();
        let (options, given) = self.split()?;
        let grant = self.grant(&options)?;
        self.check_several(&options, grant)?;
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
            refusals_name: None,
            alternatives: Arc::default(),
            chosen: 0,
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
    pub(super) fn split(&self) -> Result<(Options, Map<String, Value>)> {
        let mut options = Map::new();
        let mut given = Map::new();
        for (key, value) in &self.input.table {
            match key.as_str() {
                "provider" | credentials::KEY => {}
                key if PROFILE_KEYS.contains(&key) => drop(options.insert(key.to_owned(), value.clone())),
                key => drop(given.insert(key.to_owned(), value.clone())),
            }
        }
        Ok((crate::document::typed(Value::Object(options), &self.at(""))?, given))
    }

    /// Where several credentials are of use.
    fn check_several(&self, options: &Options, grant: GrantKind) -> Result<()> {
        if self.entry.is_none() {
            return Ok(());
        }
        if !grant.sends() {
            let why = format!("grant {} asks no server, which could refuse one of them; give one alone", grant.name());
            return Err(self.wrong(credentials::KEY, &why));
        }
        if grant.interactive() {
            let why = format!("grant {} needs a person, who signs in to one; give one alone", grant.name());
            return Err(self.wrong(credentials::KEY, &why));
        }
        match options.refresh_token {
            Some(_) => {
                Err(self.wrong("refresh_token", "belongs to one of credentials, and nobody can tell which; remove it"))
            }
            None => Ok(()),
        }
    }

    /// The names of the provider's fields.
    pub(super) fn fields(&self) -> impl Iterator<Item = &str> {
        let definition = self.provider.definition();
        definition.variables.keys().chain(definition.credentials.keys()).map(String::as_str)
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

    pub(super) fn environment(&self, options: &Options) -> Result<Option<(&String, &Environment)>> {
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
                let known = self.fields().collect::<Vec<_>>().join(", ");
                let beside = match &self.entry {
                    Some(entry) if entry.given.contains_key(key) => String::new(),
                    _ => format!(" beside {}", PROFILE_KEYS.join(", ")),
                };
                let why = format!("is unknown to provider {:?}, which takes {known}{beside}", self.provider.name());
                return Err(self.wrong(key, &why));
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
        let env = field.env.as_deref().filter(|_| !self.input.trust.alone);
        if let Some((env, value)) = env.and_then(|env| Some((env, std::env::var(env).ok()?))) {
            let at = format!("{} (from {env})", self.at(name));
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
        Err(self.wrong(name, &format!("is missing: give it in the profile{}", self.hint(name))))
    }

    /// Where else a field is looked for.
    fn hint(&self, name: &str) -> String {
        let field = self.provider.definition().field(name).filter(|_| !self.input.trust.alone);
        let env = field.and_then(|field| field.env.as_ref());
        env.map(|env| format!(", or set the environment variable {env}")).unwrap_or_default()
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
                let hint = self.hint(name);
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
            let hint = self.hint("client_secret");
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
    pub(super) fn dpop(&self, options: &Options, grant: GrantKind) -> Result<bool> {
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
        // What the profile itself does not give, this one of its credentials should.
        let own = |entry: &&Entry<'_>| {
            entry.given.contains_key(key) || (self.fields().any(|name| name == key) && !entry.shared.contains_key(key))
        };
        let key = match self.entry.as_ref().filter(own) {
            Some(entry) => &format!("{}[{}].{key}", credentials::KEY, entry.index),
            None => key,
        };
        match key {
            "" => place,
            key if self.input.implicit => format!("{place}: {key}"),
            key => format!("{place}.{key}"),
        }
    }

    pub(super) fn wrong(&self, key: &str, why: &str) -> Error {
        Error::config(format!("{}: {why}", self.at(key)))
    }
}
