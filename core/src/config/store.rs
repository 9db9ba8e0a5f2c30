//! `[store]`: where tokens live beyond the process.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::{Trust, positive, resolve};
use crate::duration;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// How long a Redis server may take for one answer.
const ANSWER: Duration = Duration::from_secs(1);

/// Which store, and what it needs; references are read, their texts not yet understood.
#[derive(Clone, Debug, Default)]
pub(crate) enum StoreOptions {
    #[default]
    Memory,
    File(FileOptions),
    Redis(Box<RedisOptions>),
}

#[derive(Clone, Debug)]
pub(crate) struct FileOptions {
    /// Its folder; `None`: the default one.
    pub(crate) path: Option<PathBuf>,
    pub(crate) encryption_keys: Vec<Secret>,
}

#[derive(Clone, Debug)]
pub(crate) struct RedisOptions {
    /// `None` where sentinels say where the server is.
    pub(crate) url: Option<Secret>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Secret>,
    /// `host:port` of each.
    pub(crate) sentinels: Vec<String>,
    /// The name of the server that the sentinels watch.
    pub(crate) master: Option<String>,
    pub(crate) sentinel_username: Option<String>,
    pub(crate) sentinel_password: Option<Secret>,
    pub(crate) database: Option<i64>,
    /// TLS, where no URL says so.
    pub(crate) tls: bool,
    pub(crate) ca_file: Option<PathBuf>,
    /// What all its keys begin with.
    pub(crate) prefix: String,
    /// For one answer.
    pub(crate) timeout: Duration,
    /// At least one.
    pub(crate) encryption_keys: Vec<Secret>,
}

#[derive(Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(super) struct StoreTable {
    kind: StoreKind,
    encryption_key: Option<OneOrMore>,
    path: Option<PathBuf>,
    url: Option<String>,
    username: Option<String>,
    password: Option<String>,
    sentinels: Option<Vec<String>>,
    master: Option<String>,
    sentinel_username: Option<String>,
    sentinel_password: Option<String>,
    database: Option<i64>,
    tls: Option<bool>,
    ca_file: Option<PathBuf>,
    prefix: Option<String>,
    #[serde(deserialize_with = "duration::optional")]
    #[cfg_attr(feature = "schema", schemars(with = "crate::schema::Length"))]
    timeout: Option<Duration>,
}

#[derive(Clone, Copy, Default, Deserialize, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
enum StoreKind {
    #[default]
    Memory,
    File,
    Redis,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl StoreTable {
    pub(super) fn options(self, trust: &Trust) -> Result<StoreOptions> {
        self.check_kind()?;
        let beside = |path: PathBuf| trust.folder.as_deref().unwrap_or(Path::new("")).join(path);
        let secret = |text: &Option<String>, at: &str| {
            text.as_ref().map(|text| resolve(text, at, trust).map(|resolved| resolved.value)).transpose()
        };
        let encryption_keys = self.encryption_keys(trust)?;
        Ok(match self.kind {
            StoreKind::Memory => StoreOptions::Memory,
            StoreKind::File => StoreOptions::File(FileOptions { path: self.path.map(beside), encryption_keys }),
            StoreKind::Redis => {
                if encryption_keys.is_empty() {
                    return Err(Error::config(
                        "store.encryption_key: is missing; a Redis server holds tokens encrypted only: 32 random bytes in base64 (`openssl rand -base64 32`), for instance \"env:QAUTH_STORE_KEY\"",
                    ));
                }
                let sentinels = self.sentinels.unwrap_or_default();
                match (&self.url, sentinels.is_empty(), &self.master) {
                    (None, true, _) => {
                        return Err(Error::config(
                            "store.url: is missing: redis://HOST:PORT, rediss:// for TLS, or give store.sentinels and store.master",
                        ));
                    }
                    (Some(_), false, _) => {
                        return Err(Error::config(
                            "store.url: the sentinels say where the server is; leave out one of url and sentinels",
                        ));
                    }
                    (None, false, None) => {
                        return Err(Error::config(
                            "store.master: is missing: the name under which the sentinels watch the server",
                        ));
                    }
                    (Some(_), true, Some(_)) => {
                        return Err(Error::config("store.master: is nothing without store.sentinels"));
                    }
                    _ => {}
                }
                StoreOptions::Redis(Box::new(RedisOptions {
                    url: secret(&self.url, "store.url")?,
                    username: self.username.clone(),
                    password: secret(&self.password, "store.password")?,
                    sentinels,
                    master: self.master.clone(),
                    sentinel_username: self.sentinel_username.clone(),
                    sentinel_password: secret(&self.sentinel_password, "store.sentinel_password")?,
                    database: self.database,
                    tls: self.tls.unwrap_or(false),
                    ca_file: self.ca_file.map(beside),
                    prefix: self.prefix.unwrap_or_else(|| "qauth".to_owned()),
                    timeout: positive(self.timeout, "store.timeout")?.unwrap_or(ANSWER),
                    encryption_keys,
                }))
            }
        })
    }

    fn encryption_keys(&self, trust: &Trust) -> Result<Vec<Secret>> {
        let texts: Vec<&String> = match &self.encryption_key {
            None => return Ok(Vec::new()),
            Some(OneOrMore::One(text)) => vec![text],
            Some(OneOrMore::More(texts)) if texts.is_empty() => {
                return Err(Error::config(
                    "store.encryption_key: is an empty list; the first key writes, all of them read",
                ));
            }
            Some(OneOrMore::More(texts)) => texts.iter().collect(),
        };
        let read = |text: &&String| {
            // A key in a configuration file would be as easy to steal as what it encrypts.
            if !text.starts_with("env:") && !text.starts_with("file:") && !text.starts_with("cmd:") {
                return Err(Error::config(
                    "store.encryption_key: a key does not belong into a configuration; write \"env:NAME\" or \"file:PATH\"",
                ));
            }
            resolve(text, "store.encryption_key", trust).map(|resolved| resolved.value)
        };
        texts.iter().map(read).collect()
    }

    /// A key that the kind of store has no use for is a mistake.
    fn check_kind(&self) -> Result<()> {
        let redis_keys = [
            ("url", self.url.is_some()),
            ("username", self.username.is_some()),
            ("password", self.password.is_some()),
            ("sentinels", self.sentinels.is_some()),
            ("master", self.master.is_some()),
            ("sentinel_username", self.sentinel_username.is_some()),
            ("sentinel_password", self.sentinel_password.is_some()),
            ("database", self.database.is_some()),
            ("tls", self.tls.is_some()),
            ("ca_file", self.ca_file.is_some()),
            ("prefix", self.prefix.is_some()),
            ("timeout", self.timeout.is_some()),
        ];
        let only = |keys: &[(&str, bool)], kind: &str| match keys.iter().find(|(_, given)| *given) {
            Some((key, _)) => Err(Error::config(format!("store.{key}: is for kind = \"{kind}\" only"))),
            None => Ok(()),
        };
        if self.kind != StoreKind::Redis {
            only(&redis_keys, "redis")?;
        }
        if self.kind != StoreKind::File {
            only(&[("path", self.path.is_some())], "file")?;
        }
        match self.kind == StoreKind::Memory && self.encryption_key.is_some() {
            true => Err(Error::config("store.encryption_key: the memory store writes nothing that could be encrypted")),
            false => Ok(()),
        }
    }
}
