//! The public face: an engine with its profiles.

use std::iter;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use once_cell::race::OnceBox;
use serde_json::{Map, Value};

use crate::block::block_on;
use crate::completion::CompletionQueue;
use crate::config::{Config, Discovery, ProfileInput, Trust, check_profile_name, read_provider_file};
use crate::custom::TokenFunction;
use crate::duration::{self, duration_argument};
use crate::error::{Error, Result};
use crate::events::{Event, EventLog, Subscription};
use crate::metrics::Metrics;
use crate::profile::Profile;
use crate::provider::Provider;
use crate::records::{self, RecordInfo};
use crate::registry::{Registry, SourceKey};
use crate::runtime::Core;
use crate::source::Source;
use crate::store::{self, BoxFuture, Store};
use crate::token_source::TokenSource;

/// One per process as a rule: owns the runtime, the transport, the store and the sources.
///
/// Cheap to clone; clones are the same engine. It starts nothing before the first token is obtained. When the last handle
/// of it and of its sources is gone, its threads end by themselves; [`Engine::close`] ends them now.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    config: Arc<Config>,
    registry: Arc<Registry>,
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

    /// A `qauth.toml`, or JSON of the same structure where the name ends in `.json`, and `profiles.d/*.toml` beside it:
    /// further ones may come there while the engine runs ([`crate::CallOptions::save_as`]).
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

    /// The same structure as a value.
    ///
    /// # Errors
    /// `config`, naming section and field, never the value.
    pub fn from_value(value: Value) -> Result<Engine> {
        Engine::from_config(Config::from_value(value, Trust::default())?)
    }

    /// The process's own engine, made by [`Engine::discover`] at its first use.
    ///
    /// # Errors
    /// As [`Engine::discover`]; a later call tries again.
    pub fn shared() -> Result<Engine> {
        static SHARED: OnceBox<Engine> = OnceBox::new();
        if let Some(engine) = SHARED.get() {
            return Ok(engine.clone());
        }
        let engine = Engine::discover()?;
        Ok(SHARED.get_or_init(|| Box::new(engine)).clone())
    }

    fn from_config(config: Config) -> Result<Engine> {
        let config = Arc::new(config);
        let store = store::open(&config.store, &config.clock)?;
        Engine::with_store(config, store)
    }

    /// With a store of somebody's own.
    pub(crate) fn with_store(config: Arc<Config>, store: Arc<dyn Store>) -> Result<Engine> {
        let core = Core::new(config.clock.clone(), store, config.transport.clone(), config.max_answer)?;
        let registry = Registry::new(core, config.clone());
        Ok(Engine(Arc::new(Inner { config, registry })))
    }

    pub(crate) fn core(&self) -> &Core {
        &self.0.registry.core
    }

    /// The source of a profile, or of a provider whose credentials are in the environment (`source("acme")`).
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
        let registry = &self.0.registry;
        let source = registry.get_or_make(SourceKey::new(name, overrides), || {
            let input = self.profile_input(name, overrides)?;
            let provider = self.provider_of(&input)?;
            let profile = Profile::build(&input, &provider, self.0.config.transport.timeout)?;
            Ok(Source::new(registry.core.clone(), profile))
        })?;
        Ok(TokenSource::new(source, registry.clone()))
    }

    /// The source of a profile whose tokens come from a function of the host: an existing profile with grant `custom`, or
    /// one made here of these keys (`api_base_url` and the like). The last function that is given for a name counts.
    ///
    /// Core calls it from no thread of its own: it runs where a caller waits for the token, one call for all who wait,
    /// and its result or error is everybody's. So such a source is renewed `on_demand`. Calls for sources that were narrowed
    /// differently may run at once, and so may a call and one that has outlasted the profile's `timeout`.
    ///
    /// ```no_run
    /// # use qauth_core::{CustomToken, Engine, TokenCall};
    /// # let engine = Engine::discover()?;
    /// let source = engine.custom_source("vault", &Default::default(), |_: &TokenCall| async {
    ///     Ok(CustomToken::new("token", Some(std::time::Duration::from_secs(600))))
    /// })?;
    /// # Ok::<(), qauth_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Engine::source`]; `config` for a profile with another grant.
    pub fn custom_source(
        &self,
        name: &str,
        overrides: &Map<String, Value>,
        function: impl TokenFunction,
    ) -> Result<TokenSource> {
        let mut overrides = overrides.clone();
        if self.0.config.profiles.get(name)?.is_none() {
            overrides.entry("provider").or_insert_with(|| Value::from("custom"));
        }
        let source = self.source_with(name, &overrides)?;
        source.set_function(Arc::new(function))?;
        Ok(source)
    }

    /// Forgets a profile's source: its handles answer `closed` from now on, the next `source(name)` makes a new one.
    /// Returns whether there was one.
    pub fn remove(&self, name: &str) -> bool {
        self.0.registry.remove(name)
    }

    /// The profiles of the configuration, in its order, and those that have come into `profiles.d` since.
    pub fn profiles(&self) -> Vec<String> {
        self.0.config.profiles.names()
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

    /// Moves a manual clock (`testing.clock = "manual"`) forward, runs the renewals that come due on the way, each at its
    /// time, and returns when they have ended. Blocks.
    ///
    /// # Errors
    /// `unsupported` on the system's clock; `invalid_argument` for a number that is negative or no number.
    pub fn advance(&self, seconds: f64) -> Result<()> {
        self.drive(duration_argument("seconds", seconds)?, iter::empty())
    }

    /// Lets a machine with a manual clock sleep: boot and wall clock move on, the monotonic clock stands still, nothing runs.
    /// Then what has come due runs, as in [`Engine::advance`]. Blocks.
    ///
    /// # Errors
    /// As [`Engine::advance`].
    pub fn suspend(&self, seconds: f64) -> Result<()> {
        let clock = &self.0.registry.core.clock;
        clock.suspend(duration_argument("seconds", seconds)?)?;
        self.drive(Duration::ZERO, iter::empty())
    }

    /// Sets the wall clock of a manual clock forward, or back where `seconds` is negative, as a person or a time server
    /// does. No time passes, and nothing runs.
    ///
    /// # Errors
    /// `unsupported` on the system's clock; `invalid_argument` for no number, or more than a century.
    pub fn step_wall_clock(&self, seconds: f64) -> Result<()> {
        let wrong = || Error::invalid_argument("seconds: expected a number, and less than a century");
        let by = duration::from_seconds(seconds.abs()).ok_or_else(wrong)?;
        self.0.registry.core.clock.step_wall(by, seconds < 0.0)
    }

    /// [`Engine::advance`] with callers: each call begins at its time from now on (in order), is polled on this thread, and
    /// is waited for. What it waits for, it waits for in the clock's time.
    ///
    /// # Errors
    /// As [`Engine::advance`].
    #[doc(hidden)]
    pub fn simulate(
        &self,
        seconds: f64,
        calls: impl IntoIterator<Item = (Duration, Pin<Box<dyn Future<Output = ()> + Send>>)>,
    ) -> Result<()> {
        self.drive(duration_argument("seconds", seconds)?, calls.into_iter())
    }

    /// From event to event: the end of a pause, a timer, a call.
    fn drive(&self, by: Duration, calls: impl Iterator<Item = (Duration, BoxFuture<'static, ()>)>) -> Result<()> {
        let clock = &self.0.registry.core.clock;
        let mut drive = clock.drive()?;
        let running = self.0.registry.core.running()?;
        let start = clock.now();
        let target = start.after(by).boot_ns();
        let mut calls = calls.map(|(at, call)| (start.after(at).boot_ns(), call)).peekable();
        loop {
            drive.settle();
            let timer = running.schedule.next_ns().filter(|at| *at <= target);
            let call = calls.peek().map(|(at, _)| *at).filter(|at| *at <= target);
            // Renewals end also where their pauses reach beyond the target.
            let Some(next) = [drive.next_ns(target), timer, call].into_iter().flatten().min() else { break };
            drive.move_to(next);
            let now = clock.now().boot_ns();
            for source in running.schedule.due(now.min(target)) {
                source.on_timer();
            }
            while let Some((_, call)) = calls.next_if(|(at, _)| *at <= now) {
                drive.begin(call);
            }
        }
        drive.move_to(target);
        Ok(())
    }

    /// Hears of what happens to tokens: `handler` runs on the host's thread that runs `queue`, with no lock held, and may use
    /// this engine. Up to 1,000 events wait; more are dropped, and the next one says how many. It ends with the queue, but not
    /// with the engine: what waits is told. In a child of fork it hears nothing.
    ///
    /// [`Subscription::end`] lets go of `handler` on the caller's thread. Where only the queue goes, that may happen later and
    /// on a thread of the engine: end it where it matters what `handler` does when it is dropped.
    pub fn on_event(&self, queue: &CompletionQueue, handler: impl Fn(&Event) + Send + Sync + 'static) -> Subscription {
        self.0.registry.core.events.subscribe(queue, handler)
    }

    /// Puts events into `log` for a host that takes them when it pleases, in a child of fork too. The first log that is given
    /// counts.
    pub fn log_to(&self, log: &'static EventLog) {
        self.0.registry.core.events.log_to(log);
    }

    /// Counters and durations as they are now. A profile that is removed, or whose sources were all let go of, counts anew.
    pub fn metrics(&self) -> Metrics {
        self.0.registry.metrics()
    }

    /// The records of the store, in the order of their profiles: of every process that shares it, or of this one alone
    /// where the store is of kind memory. No token and no secret is in them.
    ///
    /// # Errors
    /// `store` and `store_unavailable`; `closed`. A record that cannot be read is one of the list.
    pub async fn records(&self) -> Result<Vec<RecordInfo>> {
        let core = &self.0.registry.core;
        core.while_awaited(records::list(core.clone())).await
    }

    /// The same for a thread that may block.
    ///
    /// # Errors
    /// As [`Engine::records`].
    pub fn records_blocking(&self) -> Result<Vec<RecordInfo>> {
        block_on(self.records())
    }

    /// Forgets what the store holds of a profile, as [`TokenSource::clear`] does, for all sources of this name that this engine
    /// has: those with keys given in code and those that were narrowed too. Returns whether there was anything to forget.
    ///
    /// # Errors
    /// As [`Engine::source`] and [`TokenSource::clear`].
    pub async fn clear(&self, name: &str) -> Result<bool> {
        let registry = &self.0.registry;
        let _there = self.source(name)?;
        let mut any = false;
        for source in registry.named(name) {
            any |= TokenSource::new(source, registry.clone()).clear().await?;
        }
        Ok(any)
    }

    /// The same for a thread that may block.
    ///
    /// # Errors
    /// As [`Engine::clear`].
    pub fn clear_blocking(&self, name: &str) -> Result<bool> {
        block_on(self.clear(name))
    }

    /// Ends the engine: callers that wait and all later calls get `closed`. Joins its threads within 1 s, or 2 s when an
    /// answer that must not be lost is on the wire. More calls do nothing.
    pub fn close(&self) {
        self.0.registry.close();
    }

    fn profile_input(&self, name: &str, overrides: &Map<String, Value>) -> Result<ProfileInput> {
        let config = &self.0.config;
        let mut input = match config.profiles.get(name)? {
            Some(input) => input,
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
                let known = self.profiles();
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
