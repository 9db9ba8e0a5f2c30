//! The public face: an engine with its profiles, and token sources.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ring::digest;
use serde_json::{Map, Value};

use crate::attach::{self, Headers};
use crate::block::{block_on, block_on_until};
use crate::call::{self, CallResult, Request, Response};
use crate::completion::{self, CompletionQueue, Pending};
use crate::config::{Config, Discovery, ProfileInput, check_profile_name, read_provider_file};
use crate::duration;
use crate::error::{Error, Result};
use crate::profile::{Narrowing, Profile};
use crate::provider::Provider;
use crate::runtime::Core;
use crate::source::{Limit, Source};
use crate::store::MemoryStore;
use crate::token::{Published, Token};

/// How long `advance` waits for one renewal that it has set off.
const ADVANCE_LIMIT: Duration = Duration::from_secs(30);

/// One per process as a rule: owns the runtime, the transport, the store and the sources.
///
/// Cheap to clone; clones are the same engine. It starts nothing before the first token is obtained. When the last handle
/// of it and of its sources is gone, its threads end by themselves; [`Engine::close`] ends them now.
#[derive(Clone)]
pub struct Engine(Arc<Registry>);

struct Registry {
    core: Arc<Core>,
    config: Config,
    sources: papaya::HashMap<SourceKey, Arc<Source>>,
}

/// A profile's name, what it was narrowed to, and a digest of overrides given in code.
#[derive(Clone, PartialEq, Eq, Hash)]
struct SourceKey {
    name: String,
    overrides: [u8; 32],
    narrowing: Narrowing,
}

/// The live object of one profile: a valid token whenever it is asked for one, or a clear error.
///
/// Cheap to clone; any thread, any number at once. The cached path takes no lock, no system call and no allocation.
#[derive(Clone)]
pub struct TokenSource {
    source: Arc<Source>,
    engine: Engine,
}

impl Engine {
    /// An engine without a configuration: providers by name, their credentials from the environment.
    ///
    /// # Errors
    /// `internal` when the operating system gives no random bytes.
    pub fn new() -> Result<Engine> {
        Engine::from_config(Config::empty())
    }

    /// The configuration that is found: `QAUTH_CONFIG`, then `qauth/qauth.toml` and `qauth/profiles.d/*.toml` in the XDG
    /// folder; none is fine.
    ///
    /// # Errors
    /// `config`, naming file, section and field.
    pub fn discover() -> Result<Engine> {
        Engine::discover_in(&Discovery::from_env())
    }

    /// The same with places of the caller's choice.
    ///
    /// # Errors
    /// `config`, naming file, section and field.
    pub fn discover_in(discovery: &Discovery) -> Result<Engine> {
        Engine::from_config(Config::discover(discovery)?)
    }

    /// A `qauth.toml`, or JSON of the same structure where the name ends in `.json`, and `profiles.d/*.toml` beside it.
    ///
    /// # Errors
    /// `config`, naming file, section and field.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Engine> {
        Engine::discover_in(&Discovery::file(path.as_ref()))
    }

    /// The text of a `qauth.toml`.
    ///
    /// # Errors
    /// `config`, naming section and field, never the value.
    pub fn from_toml(text: &str) -> Result<Engine> {
        Engine::from_config(Config::from_toml(text)?)
    }

    /// The same structure as JSON.
    ///
    /// # Errors
    /// `config`, naming section and field, never the value.
    pub fn from_json(text: &str) -> Result<Engine> {
        Engine::from_config(Config::from_json(text)?)
    }

    /// The process's own engine, made by [`Engine::discover`] at its first use.
    ///
    /// # Errors
    /// As [`Engine::discover`]; a later call tries again.
    pub fn shared() -> Result<Engine> {
        static SHARED: OnceLock<Engine> = OnceLock::new();
        if let Some(engine) = SHARED.get() {
            return Ok(engine.clone());
        }
        let engine = Engine::discover()?;
        Ok(SHARED.get_or_init(|| engine).clone())
    }

    fn from_config(config: Config) -> Result<Engine> {
        let store = Box::new(MemoryStore::new()?);
        let core = Core::new(config.clock.clone(), store, config.transport.clone(), config.max_answer)?;
        Ok(Engine(Arc::new(Registry { core: Arc::new(core), config, sources: papaya::HashMap::new() })))
    }

    /// The source of a profile, or of a provider whose credentials are in the environment (`source("quantaprice")`).
    /// The same name gives the same source. Reads secrets, sends nothing.
    ///
    /// # Errors
    /// `config`: the profile is unknown or wrong; names the field. `closed`.
    pub fn source(&self, name: &str) -> Result<TokenSource> {
        self.source_with(name, &Map::new())
    }

    /// The same with some keys given in code, over those of the profile or in place of one.
    ///
    /// # Errors
    /// As [`Engine::source`].
    pub fn source_with(&self, name: &str, overrides: &Map<String, Value>) -> Result<TokenSource> {
        let key =
            SourceKey { name: name.to_owned(), overrides: fingerprint(overrides), narrowing: Narrowing::default() };
        self.get_or_make(key, || {
            let input = self.profile_input(name, overrides)?;
            let provider = self.provider_of(&input)?;
            let profile = Profile::build(&input, &provider, self.0.config.transport.timeout)?;
            Ok(Source::new(self.0.core.clone(), profile))
        })
    }

    fn get_or_make(&self, key: SourceKey, make: impl FnOnce() -> Result<Arc<Source>>) -> Result<TokenSource> {
        if self.0.core.is_closed() {
            return Err(Error::closed());
        }
        let sources = self.0.sources.pin();
        let source = match sources.get(&key) {
            Some(source) => source.clone(),
            None => {
                let made = make()?;
                sources.get_or_insert(key, made).clone()
            }
        };
        Ok(TokenSource { source, engine: self.clone() })
    }

    /// Forgets a profile's source: its handles answer `closed` from now on, the next `source(name)` makes a new one.
    /// Returns whether there was one.
    pub fn remove(&self, name: &str) -> bool {
        let sources = self.0.sources.pin();
        let keys: Vec<SourceKey> = sources.keys().filter(|key| key.name == name).cloned().collect();
        let mut removed = false;
        for key in keys {
            if let Some(source) = sources.remove(&key) {
                source.close();
                removed = true;
            }
        }
        removed
    }

    /// The profiles of the configuration, in its order.
    pub fn profiles(&self) -> impl Iterator<Item = &str> {
        self.0.config.profiles.keys().map(String::as_str)
    }

    /// The provider of this name: the configuration's own, or a built-in one.
    ///
    /// # Errors
    /// `config`: there is none.
    pub fn provider(&self, name: &str) -> Result<Provider> {
        match self.0.config.providers.get(name) {
            Some(table) => inline_provider(name, table),
            None => Provider::built_in(name),
        }
    }

    /// The names of all providers: the built-in ones, then the configuration's own.
    pub fn provider_names(&self) -> impl Iterator<Item = String> {
        let own = self.0.config.providers.keys().cloned();
        let built_in = Provider::all().map(|provider| provider.name().to_owned());
        built_in.filter(|name| !self.0.config.providers.contains_key(name)).chain(own)
    }

    /// The provider that [`Engine::source_with`] would use, found without reading a credential.
    ///
    /// # Errors
    /// `config`: the profile or its provider is unknown or wrong.
    pub fn provider_for(&self, name: &str, overrides: &Map<String, Value>) -> Result<Provider> {
        self.provider_of(&self.profile_input(name, overrides)?)
    }

    /// Moves a manual clock (`testing.clock = "manual"`) forward, runs the renewals that come due on the way, and returns
    /// when they have ended. Blocks.
    ///
    /// # Errors
    /// `unsupported` on the system's clock; `invalid_argument` for a number that is negative or no number.
    pub fn advance(&self, seconds: f64) -> Result<()> {
        let by = duration::from_seconds(seconds)
            .ok_or_else(|| Error::invalid_argument("seconds: expected a number that is not negative"))?;
        let clock = &self.0.core.clock;
        clock.advance(Duration::ZERO)?;
        let running = self.0.core.running()?;
        let target = clock.now().boot_ns().saturating_add(by.as_nanos() as u64);
        loop {
            let now = clock.now().boot_ns();
            match running.schedule.next_ns().filter(|next| *next <= target) {
                Some(next) => clock.advance(Duration::from_nanos(next.saturating_sub(now)))?,
                None => {
                    // A pause inside a renewal may have moved the clock further already.
                    return clock.advance(Duration::from_nanos(target.saturating_sub(now)));
                }
            }
            for source in running.schedule.due(clock.now().boot_ns()) {
                if let Some(renewal) = source.on_timer() {
                    let _ = block_on_until(renewal, Instant::now() + ADVANCE_LIMIT);
                }
            }
        }
    }

    /// Ends the engine: callers that wait and all later calls get `closed`. Joins its threads within 1 s, or 2 s when an
    /// answer that must not be lost is on the wire. More calls do nothing.
    pub fn close(&self) {
        let sources = self.0.sources.pin();
        for source in sources.values() {
            source.close();
        }
        self.0.core.close();
    }

    fn profile_input(&self, name: &str, overrides: &Map<String, Value>) -> Result<ProfileInput> {
        let config = &self.0.config;
        let mut input = match config.profiles.get(name) {
            Some(input) => input.clone(),
            None if self.provider(name).is_ok() || overrides.contains_key("provider") => {
                check_profile_name(name)?;
                let mut table = Map::new();
                table.insert("provider".to_owned(), Value::from(name));
                let implicit = !overrides.contains_key("provider");
                ProfileInput { name: name.to_owned(), table, trust: config.trust.clone(), implicit }
            }
            None => {
                if config.providers.contains_key(name) {
                    // The provider's own mistake says more than that there is none.
                    self.provider(name)?;
                }
                let known: Vec<&str> = self.profiles().collect();
                let known = if known.is_empty() {
                    "there are none".to_owned()
                } else {
                    format!("there are {}", known.join(", "))
                };
                return Err(Error::config(format!(
                    "profile {name:?} is unknown: {known}; it is no provider's name either"
                )));
            }
        };
        for (key, value) in overrides {
            input.table.insert(key.clone(), value.clone());
        }
        Ok(input)
    }

    fn provider_of(&self, input: &ProfileInput) -> Result<Provider> {
        let at = |error: Error| Error::config(format!("profiles.{}.provider: {}", input.name, error.message()));
        match input.table.get("provider") {
            Some(Value::String(path)) if path.contains('/') || path.ends_with(".toml") => {
                let path = input.trust.folder.as_deref().unwrap_or(Path::new("")).join(path);
                read_provider_file(&path).and_then(|text| Provider::from_toml(&text)).map_err(at)
            }
            Some(Value::String(name)) => self.provider(name).map_err(at),
            Some(table @ Value::Object(_)) => Provider::from_value(table.clone()).map_err(at),
            Some(_) => Err(at(Error::config("has the wrong type; expected a provider's name, a file or a table"))),
            None => Err(at(Error::config("is missing"))),
        }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.profiles()).finish()
    }
}

/// A `[providers.name]` table: its key is its name.
fn inline_provider(name: &str, table: &Value) -> Result<Provider> {
    let mut table = table.clone();
    if let Value::Object(members) = &mut table {
        match members.get("name") {
            Some(Value::String(inside)) if inside != name => {
                return Err(Error::config(format!(
                    "providers.{name}.name: is {inside:?}; the table's own name is enough"
                )));
            }
            _ => drop(members.insert("name".to_owned(), Value::from(name))),
        }
    }
    Provider::from_value(table)
}

fn fingerprint(overrides: &Map<String, Value>) -> [u8; 32] {
    let mut sorted: Vec<(&String, String)> = overrides.iter().map(|(key, value)| (key, value.to_string())).collect();
    sorted.sort();
    let mut context = digest::Context::new(&digest::SHA256);
    for (key, value) in sorted {
        for part in [key.as_bytes(), value.as_bytes()] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
    }
    context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// How long a call may take and what its token must still be good for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TokenOptions {
    /// `None`: the profile's own limit (30 s unless set). Zero: cached tokens only, nothing is waited for.
    pub timeout: Option<Duration>,
    /// The token must live at least this long from now on.
    pub min_remaining: Duration,
}

impl TokenSource {
    /// The profile's name.
    pub fn profile(&self) -> String {
        self.source.profile().name.clone()
    }

    /// The provider's name.
    pub fn provider(&self) -> Provider {
        self.source.profile().provider.clone()
    }

    /// Where paths of API calls begin; `None` for a profile without an API address, which can `token()` and `header()`.
    pub fn api_base_url(&self) -> Option<String> {
        self.source.profile().api_base_url.clone()
    }

    /// The name of the header that carries the token: `Authorization` unless the provider says otherwise.
    pub fn header_name(&self) -> String {
        self.source.profile().provider.definition().attach.header.clone()
    }

    /// The engine that it belongs to.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// A cached token that needs no thought: not even about to be renewed. Never blocks, never starts anything.
    pub fn cached(&self) -> Option<Token> {
        let guard = self.source.hot()?;
        guard.as_ref().map(|published| Token::new(published.clone()))
    }

    /// Lends the valid token to `use_it` without counting references: the fast path, flat over threads. Blocks like
    /// [`TokenSource::token_blocking`] where none is cached.
    ///
    /// # Errors
    /// As [`TokenSource::token`].
    #[inline]
    pub fn with_token<R>(&self, use_it: impl FnOnce(TokenRef<'_>) -> R) -> Result<R> {
        if let Some(guard) = self.source.hot()
            && let Some(published) = guard.as_ref()
        {
            return Ok(use_it(TokenRef(published)));
        }
        let token = self.token_blocking(TokenOptions::default())?;
        Ok(use_it(TokenRef(token.published())))
    }

    /// A valid token: cached, or by a renewal. On any executor, or none.
    ///
    /// # Errors
    /// What the renewal met, shared by everybody who waited for it; `timeout` when the call's limit is reached, while the
    /// renewal goes on; `closed`.
    pub async fn token(&self, options: TokenOptions) -> Result<Token> {
        if options.min_remaining.is_zero()
            && let Some(token) = self.cached()
        {
            return Ok(token);
        }
        self.about(self.source.token(self.limit(options)).await.map(Token::new))
    }

    /// The same for a thread that may block.
    ///
    /// # Errors
    /// As [`TokenSource::token`].
    pub fn token_blocking(&self, options: TokenOptions) -> Result<Token> {
        match self.cached() {
            Some(token) if options.min_remaining.is_zero() => Ok(token),
            _ => {
                let limit = Limit { blocking: true, ..self.limit(options) };
                self.about(block_on(self.source.token(limit)).map(Token::new))
            }
        }
    }

    /// Everything that a request to `url` (a path below the API address, or a whole URL) must carry.
    ///
    /// # Errors
    /// As [`TokenSource::token`]; `invalid_argument` for a host that is not the profile's; `config` where the profile has
    /// no API address.
    pub async fn headers(&self, method: &str, url: &str, options: TokenOptions) -> Result<Headers> {
        self.about(call::headers(&self.source, method, url, self.limit(options)).await)
    }

    /// The same for a thread that may block.
    ///
    /// # Errors
    /// As [`TokenSource::headers`].
    pub fn headers_blocking(&self, method: &str, url: &str, options: TokenOptions) -> Result<Headers> {
        let limit = Limit { blocking: true, ..self.limit(options) };
        self.about(block_on(call::headers(&self.source, method, url, limit)))
    }

    /// The value of the one header that carries the token, for instance `Bearer eyJ…`, copied out by `use_it`. Blocks like
    /// [`TokenSource::token_blocking`] where none is cached.
    ///
    /// # Errors
    /// `unsupported` where one constant header is not enough; else as [`TokenSource::token`].
    #[inline]
    pub fn with_header<R>(&self, options: TokenOptions, use_it: impl FnOnce(&str) -> R) -> Result<R> {
        if self.source.has_companion_headers() {
            self.about(attach::check_single_header(&self.source.profile()))?;
        }
        if options.min_remaining.is_zero()
            && let Some(guard) = self.source.hot()
            && let Some(published) = guard.as_ref()
        {
            return Ok(use_it(&published.header));
        }
        Ok(use_it(self.token_blocking(options)?.header_value()))
    }

    /// Lends the header's value like [`TokenSource::with_header`], from the cache alone. `None` where none is cached that
    /// needs no thought, and where one constant header is not enough. Never blocks, never starts anything.
    #[inline]
    pub fn with_cached_header<R>(&self, use_it: impl FnOnce(&str) -> R) -> Option<R> {
        if self.source.has_companion_headers() {
            return None;
        }
        let guard = self.source.hot()?;
        guard.as_ref().map(|published| use_it(&published.header))
    }

    /// The same as a text of its own.
    ///
    /// # Errors
    /// As [`TokenSource::with_header`].
    pub fn header(&self) -> Result<String> {
        self.with_header(TokenOptions::default(), str::to_owned)
    }

    /// Calls the API with the token attached. Every status is a result; a 401 leads to one new token and one more try, a
    /// 403 to neither; a redirect is returned, never followed.
    ///
    /// # Errors
    /// Of the token, or of the transport; `invalid_argument` for a host that is not the profile's.
    pub async fn request(&self, request: &Request) -> Result<Response> {
        let limit = self.limit(TokenOptions { timeout: request.timeout, ..TokenOptions::default() });
        self.on_runtime({
            let (source, request) = (self.source.clone(), request.clone());
            async move { call::request(&source, &request, limit).await }
        })
        .await
    }

    /// The same for a thread that may block.
    ///
    /// # Errors
    /// As [`TokenSource::request`].
    pub fn request_blocking(&self, request: &Request) -> Result<Response> {
        block_on(self.request(request))
    }

    /// Runs an operation that the provider file declares.
    ///
    /// # Errors
    /// As [`TokenSource::request`]; statuses that are no success are errors too: `access_denied`, `invalid_argument`,
    /// `rate_limited`, `server_error`.
    pub async fn call(
        &self,
        operation: &str,
        parameters: &Map<String, Value>,
        options: TokenOptions,
    ) -> Result<CallResult> {
        let limit = self.limit(options);
        self.on_runtime({
            let (source, operation, parameters) = (self.source.clone(), operation.to_owned(), parameters.clone());
            async move { call::call(&source, &operation, &parameters, limit).await }
        })
        .await
    }

    /// The same for a thread that may block.
    ///
    /// # Errors
    /// As [`TokenSource::call`].
    pub fn call_blocking(
        &self,
        operation: &str,
        parameters: &Map<String, Value>,
        options: TokenOptions,
    ) -> Result<CallResult> {
        block_on(self.call(operation, parameters, options))
    }

    /// Asks for a token without waiting: `done` is put on `queue` with the result, exactly once, and runs on the host's
    /// thread that runs the queue.
    ///
    /// # Errors
    /// `closed`, and `internal` when no thread can be started; then `done` is not called.
    pub fn token_queued(
        &self,
        options: TokenOptions,
        queue: &CompletionQueue,
        done: impl FnOnce(Result<Token>) + Send + 'static,
    ) -> Result<Pending> {
        let source = self.clone();
        self.queued(queue, async move { source.token(options).await }, done)
    }

    /// The same for [`TokenSource::request`].
    ///
    /// # Errors
    /// As [`TokenSource::token_queued`].
    pub fn request_queued(
        &self,
        request: Request,
        queue: &CompletionQueue,
        done: impl FnOnce(Result<Response>) + Send + 'static,
    ) -> Result<Pending> {
        let source = self.clone();
        self.queued(queue, async move { source.request(&request).await }, done)
    }

    /// The same for [`TokenSource::call`].
    ///
    /// # Errors
    /// As [`TokenSource::token_queued`].
    pub fn call_queued(
        &self,
        operation: String,
        parameters: Map<String, Value>,
        options: TokenOptions,
        queue: &CompletionQueue,
        done: impl FnOnce(Result<CallResult>) + Send + 'static,
    ) -> Result<Pending> {
        let source = self.clone();
        self.queued(queue, async move { source.call(&operation, &parameters, options).await }, done)
    }

    fn queued<T: Send + 'static>(
        &self,
        queue: &CompletionQueue,
        work: impl Future<Output = Result<T>> + Send + 'static,
        done: impl FnOnce(Result<T>) + Send + 'static,
    ) -> Result<Pending> {
        let running = self.about(self.source.core.running())?;
        Ok(completion::submit(running, queue, work, done))
    }

    /// The API rejected this token. Acts only if it is still the current one; the next caller then gets a new one.
    /// Returns whether it acted.
    pub fn invalidate(&self, token: &Token) -> bool {
        self.source.invalidate(token.generation())
    }

    /// The same by the token's generation.
    pub fn invalidate_generation(&self, generation: u64) -> bool {
        self.source.invalidate(generation)
    }

    /// Forgets remembered failures and pauses: the next call tries again at once.
    pub fn reset(&self) {
        self.source.reset();
    }

    /// Replaces keys of the profile, for instance a secret. Tokens of the old ones are not served any more.
    ///
    /// # Errors
    /// `config`, naming the field; then nothing has changed.
    pub fn update(&self, changes: &Map<String, Value>) -> Result<()> {
        self.source.update(changes)
    }

    /// A source of the same profile whose tokens are narrowed to this scope, audience or resource. The same narrowing gives
    /// the same source.
    ///
    /// # Errors
    /// `config` where the provider's grant does not send it.
    pub fn scoped(&self, scope: Option<&str>, audience: Option<&str>, resource: Option<&str>) -> Result<TokenSource> {
        let own = |text: Option<&str>| text.map(str::to_owned);
        let narrowing = Narrowing { scope: own(scope), audience: own(audience), resource: own(resource) };
        let made = self.source.narrowed(narrowing)?;
        let profile = made.profile();
        let key = SourceKey {
            name: profile.name.clone(),
            overrides: fingerprint_of(&profile.identity()),
            narrowing: profile.narrowing.clone(),
        };
        self.engine.get_or_make(key, || Ok(made))
    }

    /// Runs a call on the engine's runtime, so that it needs none of the caller's; giving up ends it there too.
    async fn on_runtime<T: Send + 'static>(&self, work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        let running = self.about(self.source.core.running())?;
        let mut task = AbortOnDrop(running.handle.spawn(work));
        self.about(match (&mut task.0).await {
            Ok(result) => result,
            Err(error) if error.is_cancelled() => Err(Error::closed()),
            Err(_) => Err(Error::new(
                crate::error::ErrorCode::Internal,
                "the call ended without a result; please report this",
            )),
        })
    }

    #[cfg(test)]
    pub(crate) fn inner(&self) -> Arc<Source> {
        self.source.clone()
    }

    fn limit(&self, options: TokenOptions) -> Limit {
        let timeout = options.timeout.unwrap_or_else(|| self.source.profile().timeout);
        let until = (!timeout.is_zero()).then(|| Instant::now() + timeout.min(Duration::from_secs(86_400)));
        Limit { until, min_remaining: options.min_remaining, blocking: false }
    }

    fn about<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| {
            let profile = self.source.profile();
            error.about(&profile.name, profile.provider.name())
        })
    }
}

impl std::fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenSource({:?})", self.source.profile())
    }
}

struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn fingerprint_of(identity: &[String]) -> [u8; 32] {
    let pairs = identity.iter().enumerate().map(|(index, part)| (index.to_string(), Value::from(part.as_str())));
    fingerprint(&pairs.collect())
}

/// A token that is only lent: what [`TokenSource::with_token`] gives.
#[derive(Clone, Copy)]
pub struct TokenRef<'a>(&'a Published);

impl TokenRef<'_> {
    /// The access token itself. Keep it out of logs.
    pub fn access_token(&self) -> &str {
        self.0.access_token()
    }

    /// The value for the header that carries it.
    pub fn header_value(&self) -> &str {
        &self.0.header
    }

    /// Counts the tokens of this source upwards.
    pub fn generation(&self) -> u64 {
        self.0.generation
    }
}
