//! Opens connections: to the server itself or to the master that the sentinels name, with TLS and a login.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ProtocolVersion, RedisConnectionInfo, RedisError, Value, cmd};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsConnector;

use super::fault::{Fault, Then};
use super::metered::{Metered, Stream};
use super::options::{Address, Login, Options, Server};
use crate::error::{Error, ErrorCode, Result};
use crate::secret::Mask;
use crate::transport::{bare_config, tls_reason};

/// A connection, and the task that moves its bytes.
pub(super) type Opened = (MultiplexedConnection, Driver);

/// The task ends when nobody has this any more.
pub(super) struct Driver(JoinHandle<()>);

impl Driver {
    /// Whether the connection is lost.
    pub(super) fn has_ended(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(super) struct Dialer {
    server: Server,
    database: i64,
    login: Login,
    tls: Option<TlsConnector>,
    timeout: Duration,
    /// The sentinel that answered last.
    first: AtomicUsize,
    mask: Mask,
}

impl Dialer {
    /// # Errors
    /// `config` where `store.ca_file` cannot be used.
    pub(super) fn new(options: &Options) -> Result<Dialer> {
        let tls = options.tls.then(|| bare_config(options.ca_file.as_deref(), "store.ca_file")).transpose()?;
        let tls = tls.map(|config| TlsConnector::from(Arc::new(config)));
        let mut mask = Mask::default();
        let sentinels = match &options.server {
            Server::Sentinels { login, .. } => login.password.as_ref(),
            Server::At(_) => None,
        };
        options.login.password.iter().chain(sentinels).for_each(|password| mask.add(password.expose()));
        Ok(Dialer {
            server: options.server.clone(),
            database: options.database,
            login: options.login.clone(),
            tls,
            timeout: options.timeout,
            first: AtomicUsize::new(0),
            mask,
        })
    }

    pub(super) async fn open(&self, config: AsyncConnectionConfig) -> Result<Opened, Fault> {
        match &self.server {
            Server::At(address) => self.log_in(address, &self.login, ProtocolVersion::RESP3, config).await,
            Server::Sentinels { addresses, master, login } => self.master(addresses, master, login, config).await,
        }
    }

    pub(super) fn unreachable(&self, why: &str) -> Fault {
        Fault::unreachable(&self.server.to_string(), why)
    }

    pub(super) fn fault(&self, error: &RedisError) -> Fault {
        Fault::new(&self.server.to_string(), error, &self.mask)
    }

    /// Asks the sentinels in turn, beginning with the one that answered last. Each gets its share of the time, so that one
    /// that is silent does not use up what the others need.
    async fn master(
        &self,
        sentinels: &[Address],
        master: &str,
        login: &Login,
        config: AsyncConnectionConfig,
    ) -> Result<Opened, Fault> {
        let share = self.timeout / (sentinels.len() as u32 + 1);
        let first = self.first.load(Ordering::Relaxed);
        let mut last = None;
        for turn in 0..sentinels.len() {
            let index = (first + turn) % sentinels.len();
            let asked = tokio::time::timeout(share, self.ask(&sentinels[index], master, login)).await;
            let silent = || Fault::unreachable(&format!("the sentinel {}", sentinels[index]), "no answer in time");
            let address = match asked.unwrap_or_else(|_| Err(silent())) {
                Ok(address) => address,
                Err(fault) => {
                    last = Some(fault);
                    continue;
                }
            };
            self.first.store(index, Ordering::Relaxed);
            // A sentinel may not know yet that the server it names was replaced: then the next one may.
            match self.at_master(&address, config.clone()).await {
                Ok(opened) => return Ok(opened),
                Err(fault) => last = Some(fault),
            }
        }
        Err(last.unwrap_or_else(|| self.unreachable("no sentinel is configured")))
    }

    async fn ask(&self, sentinel: &Address, master: &str, login: &Login) -> Result<Address, Fault> {
        let name = format!("the sentinel {sentinel}");
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let (mut connection, _driver) = self.log_in(sentinel, login, ProtocolVersion::RESP2, config).await?;
        let question = cmd("SENTINEL").arg("get-master-addr-by-name").arg(master).take();
        let answer = connection.send_packed_command(&question).await;
        let answer = answer.and_then(Value::extract_error).map_err(|error| Fault::new(&name, &error, &self.mask))?;
        match redis::from_redis_value::<Option<(String, u16)>>(answer) {
            Ok(Some((host, port))) => Ok(Address { host, port }),
            Ok(None) => {
                let message = format!("{name} knows no master {master:?}: check store.master");
                Err(Fault { error: Error::new(ErrorCode::StoreUnavailable, message), then: Then::Reconnect })
            }
            Err(_) => Err(Fault::unreachable(&name, "what answers there is no sentinel; check store.sentinels")),
        }
    }

    async fn at_master(&self, address: &Address, config: AsyncConnectionConfig) -> Result<Opened, Fault> {
        let (mut connection, driver) = self.log_in(address, &self.login, ProtocolVersion::RESP3, config).await?;
        let answer = connection.send_packed_command(&cmd("ROLE")).await;
        let name = address.to_string();
        let answer = answer.and_then(Value::extract_error).map_err(|error| Fault::new(&name, &error, &self.mask))?;
        let role = match answer {
            Value::Array(parts) => {
                parts.into_iter().next().and_then(|part| redis::from_redis_value::<String>(part).ok())
            }
            _ => None,
        };
        match role.as_deref() {
            Some("master") => Ok((connection, driver)),
            _ => Err(Fault::unreachable(&name, "the sentinels call it the master, and it is none yet")),
        }
    }

    /// Connects, with TLS where the URL says so, and logs in.
    async fn log_in(
        &self,
        address: &Address,
        login: &Login,
        protocol: ProtocolVersion,
        config: AsyncConnectionConfig,
    ) -> Result<Opened, Fault> {
        let stream = Metered::new(self.connect(address).await?);
        let is_sentinel = protocol == ProtocolVersion::RESP2;
        let mut info = RedisConnectionInfo::default().set_protocol(protocol).set_skip_set_lib_name();
        if !is_sentinel {
            info = info.set_db(self.database);
        }
        if let Some(username) = &login.username {
            info = info.set_username(username);
        }
        if let Some(password) = &login.password {
            info = info.set_password(password.expose());
        }
        let opened = MultiplexedConnection::new_with_config(&info, stream, config).await;
        let (connection, driver) = opened.map_err(|error| Fault::new(&address.to_string(), &error, &self.mask))?;
        Ok((connection, Driver(tokio::spawn(driver))))
    }

    async fn connect(&self, address: &Address) -> Result<Stream, Fault> {
        let unreachable = |error: std::io::Error| Fault::unreachable(&address.to_string(), &reason(&error));
        let (host, port) = (address.host.clone(), address.port);
        // On a task of its own: where the system gives no thread for the name's lookup, tokio panics (fault 75).
        let mut connecting = JoinSet::new();
        connecting.spawn(async move { TcpStream::connect((host.as_str(), port)).await });
        let connected = connecting.join_next().await.and_then(Result::ok);
        let stream = connected.unwrap_or_else(|| Err(std::io::ErrorKind::WouldBlock.into())).map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let Some(tls) = &self.tls else { return Ok(Stream::Plain(stream)) };
        let name = ServerName::try_from(address.host.clone())
            .map_err(|_| Fault::unreachable(&address.to_string(), "no certificate can name this host"))?;
        let stream = tls.connect(name, stream).await.map_err(unreachable)?;
        Ok(Stream::Tls(Box::new(stream)))
    }
}

fn reason(error: &std::io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(error) => format!("TLS: {}", tls_reason(error).replace("transport.", "store.")),
        None => error.kind().to_string(),
    }
}
