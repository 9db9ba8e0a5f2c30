//! `qauth.toml` and its like: finding it, trusting it, and what it may say (DESIGN.md 8).

mod discover;
mod profiles;
mod reference;
mod store;
mod transport;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::{Map, Value};

pub use discover::Discovery;
pub(crate) use profiles::{ProfileInput, Profiles};
pub(crate) use reference::{
    Resolved, Trust, WatchedFile, check_multiline, check_text, literal, resolve, resolve_multiline,
};
use store::StoreTable;
pub(crate) use store::{FileOptions, RedisOptions, StoreOptions};
pub(crate) use transport::{PROXY_FROM_ENVIRONMENT, TransportOptions};

use crate::clock::Clock;
use crate::duration;
use crate::error::{Error, Result};

/// A parsed configuration: checked in shape, its secrets not yet read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Config {
    pub(crate) profiles: Profiles,
    /// `[providers.name]` tables.
    pub(crate) providers: IndexMap<String, Value>,
    pub(crate) store: StoreOptions,
    pub(crate) transport: TransportOptions,
    /// The most that an API answer may hold, in decoded bytes.
    pub(crate) max_answer: usize,
    pub(crate) clock: Clock,
    pub(crate) keeping: Keeping,
    pub(crate) trust: Arc<Trust>,
}

/// How many sources an engine keeps, and for how long unused ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keeping {
    pub(crate) max: usize,
    pub(crate) idle: Option<Duration>,
}

impl Default for Keeping {
    fn default() -> Keeping {
        Keeping { max: 10_000, idle: None }
    }
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::profiles"))]
    profiles: IndexMap<String, Map<String, Value>>,
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::providers"))]
    providers: IndexMap<String, Value>,
    #[serde(default)]
    store: StoreTable,
    #[serde(default)]
    transport: TransportTable,
    #[serde(default)]
    sources: SourcesTable,
    #[serde(default)]
    testing: TestingTable,
    #[serde(default)]
    allow_commands: bool,
}

#[derive(Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct TransportTable {
    #[serde(default)]
    ca_file: Option<PathBuf>,
    #[serde(default)]
    proxy: Option<String>,
    #[serde(default, deserialize_with = "duration::optional")]
    #[cfg_attr(feature = "schema", schemars(with = "crate::schema::Length"))]
    connect_timeout: Option<Duration>,
    #[serde(default, deserialize_with = "duration::optional")]
    #[cfg_attr(feature = "schema", schemars(with = "crate::schema::Length"))]
    timeout: Option<Duration>,
    #[serde(default)]
    max_answer_bytes: Option<usize>,
}

#[derive(Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct SourcesTable {
    #[serde(default)]
    max: Option<usize>,
    #[serde(default, deserialize_with = "duration::optional")]
    #[cfg_attr(feature = "schema", schemars(with = "crate::schema::Length"))]
    idle: Option<Duration>,
}

#[derive(Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct TestingTable {
    #[serde(default)]
    clock: ClockKind,
    #[serde(default)]
    start: Option<String>,
    #[serde(default)]
    seed: Option<u32>,
}

impl TestingTable {
    fn clock(&self) -> Result<Clock> {
        match self.clock {
            ClockKind::Manual => {
                Ok(Clock::manual_with(self.start.as_deref().map(start).transpose()?, self.seed.map(u64::from)))
            }
            ClockKind::System if self.start.is_some() => {
                Err(Error::config("testing.start: the system's clock starts by itself; add clock = \"manual\""))
            }
            ClockKind::System if self.seed.is_some() => {
                Err(Error::config("testing.seed: with the system's clock no run repeats; add clock = \"manual\""))
            }
            ClockKind::System => Ok(Clock::system()),
        }
    }
}

/// When a manual clock starts, since 1970.
fn start(text: &str) -> Result<Duration> {
    let start = text.parse::<jiff::Timestamp>().ok().and_then(|start| Duration::try_from(start.as_duration()).ok());
    start.filter(|start| *start < LATEST_START).ok_or_else(|| {
        Error::config("testing.start: expected a time from 1970 to 2200 such as \"1970-01-01T00:00:00Z\" (RFC 3339)")
    })
}

/// Far from where times in nanoseconds end.
const LATEST_START: Duration = Duration::from_secs(230 * 365 * 86_400);

#[derive(Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
enum ClockKind {
    #[default]
    System,
    Manual,
}

/// 1 MiB, unless `transport.max_answer_bytes` says otherwise.
pub(crate) const DEFAULT_MAX_ANSWER: usize = 1024 * 1024;

impl Config {
    /// No file at all: defaults, and providers by name with credentials from the environment.
    pub(crate) fn empty() -> Config {
        Config { max_answer: DEFAULT_MAX_ANSWER, ..Config::default() }
    }

    pub(crate) fn from_toml(text: &str) -> Result<Config> {
        Self::from_value(crate::document::from_toml(text, "configuration")?, Trust::default())
    }

    pub(crate) fn from_json(text: &str) -> Result<Config> {
        Self::from_value(crate::document::from_json(text, "configuration")?, Trust::default())
    }

    /// The file that [`Discovery`] finds or names (JSON where its name ends in `.json`) and the profiles beside it, or an
    /// empty configuration.
    pub(crate) fn discover(discovery: &Discovery) -> Result<Config> {
        let Some(found) = discovery.find()? else { return Ok(Config::empty()) };
        let folder = found.path.parent().map(Path::to_owned);
        let trust = Trust { folder, discovered: !found.named, ..Trust::default() };
        let mut config = match found.exists {
            true => Self::from_value(read(&found.path, if found.named { Owner::Any } else { Owner::User })?, trust)?,
            false => {
                let trust = Arc::new(trust);
                Config { profiles: Profiles::new(IndexMap::new(), &trust)?, trust, ..Config::empty() }
            }
        };
        if let Some(folder) = found.profiles {
            config.profiles.add_folder(folder)?;
        }
        Ok(config)
    }

    pub(crate) fn from_value(value: Value, trust: Trust) -> Result<Config> {
        let document: Document = crate::document::typed(value, "configuration")?;
        let trust = Arc::new(Trust { commands: document.allow_commands, ..trust });
        let profiles = Profiles::new(document.profiles, &trust)?;
        let defaults = TransportOptions::default();
        let table = document.transport;
        Ok(Config {
            profiles,
            providers: document.providers,
            store: document.store.options(&trust)?,
            transport: TransportOptions {
                ca_file: table.ca_file.map(|file| trust.folder.as_deref().unwrap_or(Path::new("")).join(file)),
                proxy: table.proxy,
                connect_timeout: positive(table.connect_timeout, "transport.connect_timeout")?
                    .unwrap_or(defaults.connect_timeout),
                timeout: positive(table.timeout, "transport.timeout")?.unwrap_or(defaults.timeout),
                answers: None,
            },
            max_answer: match table.max_answer_bytes {
                Some(0) => return Err(Error::config("transport.max_answer_bytes: must be above 0")),
                Some(bytes) => bytes,
                None => DEFAULT_MAX_ANSWER,
            },
            keeping: Keeping {
                max: match document.sources.max {
                    Some(0) => return Err(Error::config("sources.max: must be above 0")),
                    max => max.unwrap_or(Keeping::default().max),
                },
                idle: positive(document.sources.idle, "sources.idle")?,
            },
            clock: document.testing.clock()?,
            trust,
        })
    }
}

/// Profile names appear in file names, URLs of tools and messages.
pub(crate) fn check_profile_name(name: &str) -> Result<()> {
    let fine = !name.is_empty()
        && name.len() <= 128
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && name.starts_with(|c: char| c.is_ascii_alphanumeric());
    match fine {
        true => Ok(()),
        false => Err(Error::config(format!(
            "profiles.{:?}: a profile's name is letters, digits, -, _ and ., at most 128, beginning with a letter or digit",
            name.chars().take(40).collect::<String>()
        ))),
    }
}

fn positive(value: Option<Duration>, at: &str) -> Result<Option<Duration>> {
    match value {
        Some(Duration::ZERO) => Err(Error::config(format!("{at}: must be above 0"))),
        other => Ok(other),
    }
}

/// Whose file is believed.
#[derive(Clone, Copy, PartialEq)]
enum Owner {
    /// The caller named it.
    Any,
    /// It was found, so it could send credentials anywhere: only the user's own, that nobody else can write.
    User,
}

fn read(path: &Path, owner: Owner) -> Result<Value> {
    let shown = path.display().to_string();
    let text = read_text(path, owner).map_err(|why| Error::config(format!("the configuration {shown}: {why}")))?;
    match path.extension().is_some_and(|extension| extension == "json") {
        true => crate::document::from_json(&text, &shown),
        false => crate::document::from_toml(&text, &shown),
    }
}

/// The text of a provider file that a profile names.
pub(crate) fn read_provider_file(path: &Path) -> Result<String> {
    read_text(path, Owner::Any).map_err(|why| Error::config(format!("{}: {why}", path.display())))
}

/// Opens once and asks the open file, so that it cannot be exchanged between the check and the read.
fn read_text(path: &Path, owner: Owner) -> Result<String, String> {
    use std::io::Read;
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

    let fail = |error: std::io::Error| error.kind().to_string();
    // A FIFO would hold us at open.
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(fail)?;
    let meta = file.metadata().map_err(fail)?;
    if !meta.is_file() {
        return Err("is not a regular file".into());
    }
    if owner == Owner::User {
        if meta.uid() != rustix::process::geteuid().as_raw() && meta.uid() != 0 {
            return Err("belongs to another user; name it with QAUTH_CONFIG if you trust it".into());
        }
        if meta.mode() & 0o022 != 0 {
            return Err("can be written by others; chmod go-w it".into());
        }
    }
    let mut text = String::new();
    file.take(crate::document::MAX_BYTES as u64 + 1).read_to_string(&mut text).map_err(fail)?;
    match text.len() > crate::document::MAX_BYTES {
        true => Err("is larger than 4 MiB".into()),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests;
