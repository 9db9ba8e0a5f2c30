//! Records in a Redis (or Valkey) server that a fleet shares.
//!
//! | key | holds |
//! | --- | --- |
//! | `PREFIX:naming-key` | the key of the outer names, encrypted |
//! | `PREFIX:{OUTER}:record` | a hash: `g` generation, `r` the encrypted record, `t` when it was written, in milliseconds by the server's clock |
//! | `PREFIX:{OUTER}:lease` | who renews it; lapses by itself |
//! | channel `PREFIX:changed` | the outer name of a record that changed, and the generation of its token (0: none that is new) |

mod connection;
mod dial;
mod fault;
mod metered;
mod options;
mod scripts;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::cmd;

use self::connection::Connection;
use self::options::Options;
use self::scripts::{Reply, Scripts};
use self::watch::Heard;
use super::codec::{Codec, NAMING_KEY, NamingKey, Unreadable};
use super::{BoxFuture, Keys, LEASE, Listed, Owner, Record, Store, Swap, Told};
use crate::clock::Clock;
use crate::config::RedisOptions;
use crate::error::{Error, ErrorCode, Result};
use crate::random::random_unit;
use crate::record_name::RecordName;

/// A record of which nothing is of use any more says that what others still hold is over: it stays for as long as a token
/// may live.
const KEPT: Duration = Duration::from_secs(30 * 86_400);

/// Who may have missed something looks at one record after the other, so far apart, and at all of them within so long; on
/// average.
const LOOK: Duration = Duration::from_millis(200);
const LOOKS: Duration = Duration::from_secs(30);

/// How often somebody else may be quicker, one after the other.
const ROUNDS: u32 = 4;

pub(crate) struct RedisStore {
    connection: Connection,
    scripts: Scripts,
    keys: Keys,
    clock: Clock,
    timeout: Duration,
    prefix: String,
    /// Known once the server was reached. Without a lock, so that a child of `fork` can use its parent's.
    names: ArcSwapOption<Names>,
}

/// How records are called, from the naming key that stands in the server.
struct Names {
    codec: Codec,
    /// The key as it stands there.
    sealed: Vec<u8>,
}

/// What stands under a record's name.
enum Standing {
    None,
    Record(Arc<Record>),
    /// Something that was a record. It counts as none, and only exactly this may be written over.
    Damaged {
        generation: String,
        bytes: Vec<u8>,
    },
}

impl RedisStore {
    /// Checks the options. Nothing is connected before the first operation.
    ///
    /// # Errors
    /// `config`, naming the key.
    pub(crate) fn open(given: &RedisOptions, clock: Clock) -> Result<RedisStore> {
        let options = Options::new(given)?;
        let keys: Vec<&str> = given.encryption_keys.iter().map(|key| key.expose()).collect();
        let keys = Keys::parse(&keys, "store.encryption_key")?;
        Ok(RedisStore {
            connection: Connection::new(&options)?,
            scripts: Scripts::new(),
            keys,
            clock,
            timeout: options.timeout,
            prefix: options.prefix,
            names: ArcSwapOption::empty(),
        })
    }

    fn record_key(&self, outer: &str) -> String {
        format!("{}:{{{outer}}}:record", self.prefix)
    }

    fn lease_key(&self, outer: &str) -> String {
        format!("{}:{{{outer}}}:lease", self.prefix)
    }

    fn naming_key(&self) -> String {
        format!("{}:{NAMING_KEY}", self.prefix)
    }

    fn channel(&self) -> String {
        format!("{}:changed", self.prefix)
    }

    async fn names(&self) -> Result<Arc<Names>> {
        match self.names.load_full() {
            Some(names) => Ok(names),
            None => self.learn_names().await,
        }
    }

    /// Takes the naming key over that stands in the server; where there is none, makes one.
    async fn learn_names(&self) -> Result<Arc<Names>> {
        let mut write = NamingKey::generate().to_bytes(&self.keys);
        let mut over = Vec::new();
        for _ in 0..ROUNDS {
            let key = self.naming_key();
            let reply = self.scripts.name.run(&self.connection, &[&key], &[&write, &over]).await?;
            let sealed = match (reply.word.as_str(), reply.rest.into_iter().next()) {
                ("named", Some(sealed)) => sealed,
                _ => return Err(self.foreign(&key)),
            };
            // Only who has the encryption key may say what records are called.
            if sealed.starts_with(b"qauth/1 plain ") {
                return Err(self.foreign(&key));
            }
            match NamingKey::from_bytes(&self.keys, &sealed) {
                // The encryption key changed: sealed with the new one, so that the old one can go. Once only, at the start:
                // while a fleet is restarted, old and new must not undo each other's work.
                Ok((naming_key, true)) if self.names.load().is_none() => {
                    (write, over) = (naming_key.to_bytes(&self.keys), sealed);
                }
                Ok((naming_key, _)) => return Ok(self.take_over(&naming_key, sealed)),
                Err(Unreadable::Damaged(_)) => return Err(self.foreign(&key)),
                Err(Unreadable::Refused(error)) => return Err(error),
            }
        }
        Err(self.restless())
    }

    fn take_over(&self, naming_key: &NamingKey, sealed: Vec<u8>) -> Arc<Names> {
        let codec = Codec::new(self.keys.clone(), true, naming_key, self.clock.clone());
        // What is announced from now on bears the new names.
        let known = self.names.load_full();
        known.iter().flat_map(|known| known.codec.asked()).for_each(|name| drop(codec.outer(&name)));
        let names = Arc::new(Names { codec, sealed });
        self.names.store(Some(names.clone()));
        names
    }

    async fn load(&self, name: &RecordName) -> Result<Option<Arc<Record>>> {
        for _ in 0..ROUNDS {
            let names = self.names().await?;
            let outer = names.codec.outer(name);
            match self.look(&names, &outer).await? {
                Some(Standing::Record(record)) => return Ok(Some(record)),
                Some(Standing::None | Standing::Damaged { .. }) => return Ok(None),
                None => self.learn_names().await?,
            };
        }
        Err(self.restless())
    }

    async fn look(&self, names: &Names, outer: &str) -> Result<Option<Standing>> {
        let asked = self.clock.now().unix();
        let (key, naming_key) = (self.record_key(outer), self.naming_key());
        let reply = self.scripts.load.run(&self.connection, &[&key, &naming_key], &[&names.sealed]).await?;
        self.standing(names, outer, asked, reply)
    }

    async fn swap(&self, name: &RecordName, expected: u64, record: &Record) -> Result<Swap> {
        for _ in 0..ROUNDS {
            let names = self.names().await?;
            let outer = names.codec.outer(name);
            match self.swap_named(&names, &outer, expected, record).await? {
                Some(swap) => return Ok(swap),
                None => self.learn_names().await?,
            };
        }
        Err(self.restless())
    }

    /// `None`: the record has another name now.
    async fn swap_named(&self, names: &Names, outer: &str, expected: u64, record: &Record) -> Result<Option<Swap>> {
        // Sealed once: sent again after a connection broke, it is known by its bytes.
        let bytes = names.codec.encode(outer, record)?;
        let (mut generation, mut over) = (expected.to_string(), Vec::new());
        for _ in 0..ROUNDS {
            let asked = self.clock.now().unix();
            let reply = self.write(names, outer, (&generation, &over), record, &bytes).await?;
            if reply.word == "stored" {
                return Ok(Some(Swap::Stored));
            }
            let Some(standing) = self.standing(names, outer, asked, reply)? else { return Ok(None) };
            (generation, over) = match standing {
                Standing::Record(standing) => return Ok(Some(Swap::Lost(Some(standing)))),
                Standing::Damaged { generation, bytes } if expected == 0 => (generation, bytes),
                Standing::None if expected == 0 => ("0".to_owned(), Vec::new()),
                Standing::None | Standing::Damaged { .. } => return Ok(Some(Swap::Lost(None))),
            };
        }
        Err(self.restless())
    }

    async fn write(
        &self,
        names: &Names,
        outer: &str,
        (generation, over): (&str, &[u8]),
        record: &Record,
        bytes: &[u8],
    ) -> Result<Reply> {
        let now = self.clock.now().unix();
        let of_use = record.useful_until().map(|until| match until.saturating_sub(now) {
            left if left.is_zero() || record.token.is_none() => left.max(KEPT),
            left => left,
        });
        // That somebody is about to send a refresh token is of use to nobody else.
        let announced = if record.intent.is_some() { String::new() } else { self.channel() };
        let of_use = of_use.map_or(0, |left| left.as_millis().clamp(1, 1 << 46)).to_string();
        let (key, next) = (self.record_key(outer), record.generation.to_string());
        let texts = [&next, &of_use, &announced].map(String::as_bytes);
        let message = format!("{outer} {}", record.token.as_ref().map_or(0, |token| token.generation));
        let args =
            [&names.sealed, generation.as_bytes(), over, texts[0], bytes, texts[1], texts[2], message.as_bytes()];
        self.scripts.swap.run(&self.connection, &[&key, &self.naming_key()], &args).await
    }

    /// Reads an answer that tells of a record; `None`: it has another name now. `asked`: the time on this process's clock
    /// before the question was sent.
    fn standing(&self, names: &Names, outer: &str, asked: Duration, reply: Reply) -> Result<Option<Standing>> {
        let mut rest = reply.rest.into_iter();
        Ok(Some(match (reply.word.as_str(), rest.next(), rest.next(), rest.next()) {
            ("renamed", ..) => return Ok(None),
            ("none", ..) => Standing::None,
            ("record", Some(generation), Some(age), Some(bytes)) => {
                let age = std::str::from_utf8(&age).ok().and_then(|age| age.parse().ok()).unwrap_or_default();
                let generation = String::from_utf8_lossy(&generation).into_owned();
                match names.codec.decode(outer, &bytes) {
                    Ok(record) if record.generation.to_string() == generation => {
                        let written = asked.saturating_sub(Duration::from_millis(age));
                        Standing::Record(Arc::new(on_our_clock(record, written)))
                    }
                    Ok(_) | Err(Unreadable::Damaged(_)) => Standing::Damaged { generation, bytes },
                    Err(Unreadable::Refused(error)) => return Err(error),
                }
            }
            ("large", ..) => {
                let message = format!("{} of Redis is larger than 1 MiB: {NOT_OURS}", self.record_key(outer));
                return Err(Error::new(ErrorCode::Store, message));
            }
            _ => return Err(self.foreign(&self.record_key(outer))),
        }))
    }

    async fn take_lease(&self, name: &RecordName, owner: &Owner) -> Result<bool> {
        for _ in 0..ROUNDS {
            let names = self.names().await?;
            let (key, length) = (self.lease_key(&names.codec.outer(name)), LEASE.as_millis().to_string());
            let args = [names.sealed.as_slice(), owner.0.as_bytes(), length.as_bytes()];
            let reply = self.scripts.lease.run(&self.connection, &[&key, &self.naming_key()], &args).await?;
            match reply.word.as_str() {
                "leased" => return Ok(true),
                "held" => return Ok(false),
                "renamed" => drop(self.learn_names().await?),
                _ => return Err(self.foreign(&key)),
            }
        }
        Err(self.restless())
    }

    async fn give_back(&self, name: &RecordName, owner: &Owner) -> Result<()> {
        // Without names there is no lease.
        let Some(names) = self.names.load_full() else { return Ok(()) };
        let outer = names.codec.outer(name);
        let channel = self.channel();
        let message = format!("{outer} 0");
        let args = [owner.0.as_bytes(), channel.as_bytes(), message.as_bytes()];
        self.scripts.release.run(&self.connection, &[&self.lease_key(&outer)], &args).await.map(drop)
    }

    async fn list(&self) -> Result<Vec<Listed>> {
        let names = self.names().await?;
        // A SCAN may give a key twice.
        let mut outers = BTreeSet::new();
        // Names of this length and no other are transferred.
        let pattern = self.record_key(&"[0-9a-f]".repeat(40));
        let start = self.prefix.len() + 2;
        let mut cursor = 0u64;
        loop {
            let scan = cmd("SCAN").arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(500).take();
            let answer = self.connection.run(&scan).await.map_err(|fault| fault.error)?;
            let page = redis::from_redis_value::<(u64, Vec<String>)>(answer);
            let (next, keys) =
                page.map_err(|_| self.connection.dialer.unreachable("its answer makes no sense").error)?;
            outers.extend(keys.iter().filter_map(|key| key.get(start..start + 40)).map(str::to_owned));
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        let mut listed = Vec::new();
        for outer in outers {
            let record = match self.look(&names, &outer).await {
                Ok(Some(Standing::Record(record))) => Ok(Arc::unwrap_or_clone(record)),
                Ok(Some(Standing::Damaged { .. })) => {
                    let message = "the record is damaged; it will be written anew when it is needed";
                    Err(Error::new(ErrorCode::Store, message))
                }
                Ok(Some(Standing::None) | None) => continue,
                Err(error) if error.code() == ErrorCode::StoreUnavailable => return Err(error),
                Err(error) => Err(error),
            };
            listed.push(Listed { outer, record });
        }
        Ok(listed)
    }

    fn foreign(&self, key: &str) -> Error {
        Error::new(ErrorCode::Store, format!("{key} of Redis holds something else than expected: {NOT_OURS}"))
    }

    fn restless(&self) -> Error {
        let message = "what stands in Redis changes faster than it can be written; is something else writing there?";
        Error::new(ErrorCode::Store, message).with_retryable(true)
    }
}

const NOT_OURS: &str = "something else writes there; delete that key, or give store.prefix another name";

/// A record's times are its writer's. It was written at `written` by the reader's clock, as the server's clock tells.
fn on_our_clock(record: Record, written: Duration) -> Record {
    match record.written.as_ref().map(|written| written.at) {
        Some(at) => record.moved(written.saturating_sub(at), at.saturating_sub(written)),
        None => record,
    }
}

impl RedisStore {
    /// Any record may have changed. One after the other, at random: a server that is back meets all of its fleet at once, each
    /// node with all of its profiles.
    async fn tell_all(&self, told: Told<'_>) {
        let asked = self.names.load().as_ref().map(|names| names.codec.asked()).unwrap_or_default();
        let pause = LOOK.min(LOOKS / asked.len().max(1) as u32);
        for name in asked {
            tokio::time::sleep(pause.mul_f64(2.0 * random_unit())).await;
            told(&name, None);
        }
    }
}

impl Store for RedisStore {
    fn shared(&self) -> bool {
        true
    }

    fn load<'a>(&'a self, name: &'a RecordName) -> BoxFuture<'a, Result<Option<Arc<Record>>>> {
        Box::pin(self.load(name))
    }

    fn compare_and_set<'a>(
        &'a self,
        name: &'a RecordName,
        expected: u64,
        record: Arc<Record>,
    ) -> BoxFuture<'a, Result<Swap>> {
        Box::pin(async move { self.swap(name, expected, &record).await })
    }

    fn lease<'a>(&'a self, name: &'a RecordName, owner: &'a Owner) -> BoxFuture<'a, Result<bool>> {
        Box::pin(self.take_lease(name, owner))
    }

    fn release<'a>(&'a self, name: &'a RecordName, owner: &'a Owner) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.give_back(name, owner))
    }

    fn watch<'a>(&'a self, told: Told<'a>) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let (look, mut looks) = tokio::sync::mpsc::channel(1);
            let heard = |heard: Heard| match heard {
                Heard::One(message) => {
                    let (outer, newest) = message.split_once(' ').unwrap_or((&message, ""));
                    let name = self.names.load().as_ref().and_then(|names| names.codec.inner(outer));
                    name.iter().for_each(|name| told(name, newest.parse().ok()));
                }
                // One look that is still to come is enough.
                Heard::Any => drop(look.try_send(())),
            };
            let looking = async {
                while let Some(()) = looks.recv().await {
                    self.tell_all(told).await;
                }
            };
            let channel = self.channel();
            tokio::join!(watch::listen(&self.connection.dialer, &channel, self.timeout, heard), looking).0
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Listed>>> {
        Box::pin(self.list())
    }

    fn let_go(&self, names: &[RecordName], _keep: &dyn Fn(&Record) -> bool) -> bool {
        if let Some(known) = self.names.load_full() {
            known.codec.forget(names);
        }
        true
    }
}
