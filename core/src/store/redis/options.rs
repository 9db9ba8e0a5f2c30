//! Where a Redis is and how it is spoken to: the keys of `[store]` that are about it, understood before anything is connected.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::config::RedisOptions;
use crate::error::{Error, Result};
use crate::secret::Secret;

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// Below, no network answers; above, half a lease is over before an operation on it fails.
const TIMEOUTS: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(5);

#[derive(Clone)]
pub(super) struct Options {
    pub(super) server: Server,
    pub(super) tls: bool,
    pub(super) database: i64,
    pub(super) login: Login,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) prefix: String,
    /// For each operation: name lookup, connecting, and the answer, together.
    pub(super) timeout: Duration,
}

#[derive(Clone)]
pub(super) enum Server {
    At(Address),
    /// The sentinels know which server is the master at the moment.
    Sentinels {
        addresses: Vec<Address>,
        master: String,
        login: Login,
    },
}

#[derive(Clone, Default)]
pub(super) struct Login {
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// Without the brackets of IPv6.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Options {
    /// # Errors
    /// `config`, naming the key.
    pub(super) fn new(given: &RedisOptions) -> Result<Options> {
        let target = given.url.as_ref().map(|url| Target::parse(url.expose())).transpose()?.unwrap_or_default();
        let login = Login {
            username: one_of("username", given.username.clone(), target.login.username)?,
            password: one_of("password", given.password.clone(), target.login.password)?,
        };
        login.check("username", "password")?;
        let sentinel_login =
            Login { username: given.sentinel_username.clone(), password: given.sentinel_password.clone() };
        sentinel_login.check("sentinel_username", "sentinel_password")?;
        let server = match (target.address, &given.master) {
            (Some(address), _) if sentinel_login.password.is_none() => Server::At(address),
            (None, Some(master)) if !given.sentinels.is_empty() => Server::Sentinels {
                addresses: given.sentinels.iter().map(|text| Address::parse(text)).collect::<Result<_>>()?,
                master: master.clone(),
                login: sentinel_login,
            },
            (Some(_), _) => return Err(wrong("sentinel_password", "is nothing without store.sentinels")),
            (None, _) => return Err(wrong("url", "is missing")),
        };
        if given.tls && given.url.is_some() && !target.tls {
            return Err(wrong("tls", "begin store.url with rediss:// instead"));
        }
        let tls = target.tls || given.tls;
        if given.ca_file.is_some() && !tls {
            return Err(wrong("ca_file", "is of use with TLS only: begin store.url with rediss://, or set store.tls"));
        }
        let database = one_of("database", given.database, target.database)?.unwrap_or(0);
        if database < 0 {
            return Err(wrong("database", "must not be negative"));
        }
        if !TIMEOUTS.contains(&given.timeout) {
            return Err(wrong("timeout", "must be from \"10ms\" to \"5s\""));
        }
        let prefix = checked_prefix(&given.prefix)?;
        Ok(Options { server, tls, database, login, ca_file: given.ca_file.clone(), prefix, timeout: given.timeout })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Server::At(address) => address.fmt(f),
            Server::Sentinels { master, .. } => write!(f, "{master:?} of store.sentinels"),
        }
    }
}

impl Login {
    fn check(&self, username: &str, password: &str) -> Result<()> {
        match (&self.username, &self.password) {
            (Some(_), None) => Err(wrong(password, &format!("is missing, and store.{username} is given"))),
            _ => Ok(()),
        }
    }
}

impl Address {
    /// `host`, `host:port` or `[ipv6]:port` of a sentinel.
    fn parse(text: &str) -> Result<Address> {
        let refused = || wrong("sentinels", "each must be \"HOST:PORT\"");
        let url = Url::parse(&format!("redis://{text}")).map_err(|_| refused())?;
        let user = !url.username().is_empty() || url.password().is_some();
        let more = !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some();
        match host(&url) {
            Some(host) if !user && !more && url.port() != Some(0) => {
                Ok(Address { host, port: url.port().unwrap_or(SENTINEL_PORT) })
            }
            _ => Err(refused()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// What a URL says.
#[derive(Default)]
struct Target {
    address: Option<Address>,
    tls: bool,
    database: Option<i64>,
    login: Login,
}

impl Target {
    /// The text may hold a password, so no message repeats any of it.
    fn parse(text: &str) -> Result<Target> {
        let refused = |why: &str| Err(wrong("url", why));
        let Ok(url) = Url::parse(text) else {
            return refused("is no URL: expected redis://HOST:PORT, or rediss:// for TLS");
        };
        let tls = match url.scheme() {
            "redis" => false,
            "rediss" => true,
            _ => return refused("must begin with redis://, or with rediss:// for TLS"),
        };
        if url.query().is_some() || url.fragment().is_some() {
            return refused("must not have a query (?) or fragment (#): options have keys of their own under [store]");
        }
        let Some(host) = host(&url) else { return refused("has no host") };
        let port = url.port().unwrap_or(PORT);
        if port == 0 {
            return refused("port 0 cannot be connected to");
        }
        let database = match url.path().trim_start_matches('/') {
            "" => None,
            number => match number.parse::<u32>() {
                Ok(number) => Some(i64::from(number)),
                Err(_) => return refused("must end in the number of a database, as in redis://HOST:PORT/0"),
            },
        };
        let decoded = |part: &str| match percent_decode_str(part).decode_utf8() {
            Ok(text) => Ok(text.into_owned()),
            Err(_) => Err(wrong("url", "the user name and password must be UTF-8, percent-encoded")),
        };
        let username = Some(url.username()).filter(|name| !name.is_empty()).map(decoded).transpose()?;
        let password = url.password().map(decoded).transpose()?.map(Secret::new);
        let address = Some(Address { host, port });
        Ok(Target { address, tls, database, login: Login { username, password } })
    }
}

fn host(url: &Url) -> Option<String> {
    match url.host()? {
        Host::Ipv6(address) => Some(address.to_string()),
        host => Some(host.to_string()).filter(|host| !host.is_empty() && host.is_ascii()),
    }
}

fn one_of<T>(key: &str, given: Option<T>, in_url: Option<T>) -> Result<Option<T>> {
    match (given, in_url) {
        (Some(_), Some(_)) => Err(wrong(key, "stands in store.url too: leave one of them out")),
        (given, in_url) => Ok(given.or(in_url)),
    }
}

/// It stands in keys, in an ACL and in the pattern of a SCAN, so it holds nothing that means something there.
fn checked_prefix(prefix: &str) -> Result<String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '/');
    match (1..=64).contains(&prefix.len()) && prefix.chars().all(fine) {
        true => Ok(prefix.to_owned()),
        false => Err(wrong("prefix", "must be 1 to 64 letters, digits and -_.:/")),
    }
}

fn wrong(key: &str, why: &str) -> Error {
    Error::config(format!("store.{key}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::given;
    use super::*;

    fn refusal(given: &RedisOptions) -> String {
        let error = Options::new(given).err().expect("it is wrong");
        assert_eq!(error.code(), crate::ErrorCode::Config);
        error.message().to_owned()
    }

    #[test]
    fn a_url_says_where_and_as_whom() {
        let options = Options::new(&given("rediss://us%20er:p%40ss@cache.example:7000/3")).unwrap();
        assert_eq!(options.server.to_string(), "cache.example:7000");
        assert_eq!((options.tls, options.database), (true, 3));
        assert_eq!(options.login.username.as_deref(), Some("us er"));
        assert_eq!(options.login.password.unwrap().expose(), "p@ss");
        let options = Options::new(&given("redis://[::1]")).unwrap();
        assert_eq!((options.server.to_string().as_str(), options.tls, options.database), ("[::1]:6379", false, 0));
    }

    #[test]
    fn what_is_wrong_is_named_and_no_secret_is_repeated() {
        // fault 6
        for (url, says) in [
            ("canary", "store.url: is no URL"),
            ("https://:canary@x", "store.url: must begin with redis://"),
            ("redis://:canary@", "store.url: "),
            ("redis://:canary@x/canary", "store.url: must end in the number of a database"),
            ("redis://:canary@x/0?db=canary", "store.url: must not have a query"),
            ("redis://:canary@x:0/", "store.url: port 0"),
            ("redis:///0", "store.url: has no host"),
            ("redis://canary@x", "store.password: is missing, and store.username is given"),
        ] {
            let said = refusal(&given(url));
            assert!(said.starts_with(says), "{url}: {said}");
            assert!(!said.contains("canary"), "{said}");
        }
    }

    #[test]
    fn keys_that_do_not_belong_together_are_refused() {
        let base = || given("redis://x");
        assert!(refusal(&RedisOptions { tls: true, ..base() }).starts_with("store.tls: begin store.url"));
        assert!(refusal(&RedisOptions { ca_file: Some("x".into()), ..base() }).starts_with("store.ca_file: is of use"));
        for prefix in ["", "a{b}", "a*", "a b", "ä"] {
            let prefix = prefix.to_owned();
            assert!(refusal(&RedisOptions { prefix, ..base() }).starts_with("store.prefix: must be"));
        }
        let timeout = Duration::from_secs(6);
        assert!(refusal(&RedisOptions { timeout, ..base() }).starts_with("store.timeout: must be"));
        let twice = RedisOptions { password: Some(Secret::new("canary")), ..given("redis://:other@x") };
        assert_eq!(refusal(&twice), "store.password: stands in store.url too: leave one of them out");
        let twice = RedisOptions { database: Some(1), ..given("redis://x/1") };
        assert_eq!(refusal(&twice), "store.database: stands in store.url too: leave one of them out");
        let lonely = RedisOptions { sentinel_password: Some(Secret::new("canary")), ..base() };
        assert_eq!(refusal(&lonely), "store.sentinel_password: is nothing without store.sentinels");
    }

    #[test]
    fn sentinels_have_hosts_and_ports() {
        let with = |sentinels: &[&str]| RedisOptions {
            url: None,
            sentinels: sentinels.iter().map(|text| (*text).to_owned()).collect(),
            master: Some("main".into()),
            tls: true,
            database: Some(2),
            ..given("")
        };
        let options = Options::new(&with(&["a", "b.example:1", "[::1]:2"])).unwrap();
        let Server::Sentinels { addresses, .. } = &options.server else { panic!("sentinels") };
        let shown: Vec<_> = addresses.iter().map(Address::to_string).collect();
        assert_eq!(shown, ["a:26379", "b.example:1", "[::1]:2"]);
        assert_eq!((options.tls, options.database), (true, 2));
        for wrong in ["", "a:b", "a:0", "x@a:1", "a:1/x", "a?b"] {
            assert!(refusal(&with(&[wrong])).starts_with("store.sentinels: each must be"), "{wrong}");
        }
    }
}
