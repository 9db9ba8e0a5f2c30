//! The `[transport]` section, as the transport takes it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::store::BoxFuture;
use crate::transport::{HttpRequest, HttpResponse, TransportFault};

/// The word for `transport.proxy` that opts in to `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`.
pub(crate) const PROXY_FROM_ENVIRONMENT: &str = "env";

/// How to reach servers.
#[derive(Clone)]
pub(crate) struct TransportOptions {
    /// PEM certificates trusted beside the system's roots.
    pub(crate) ca_file: Option<PathBuf>,
    /// A proxy's URL, or `env`. It carries https only: plain http (loopback) and loopback hosts are always reached
    /// directly.
    pub(crate) proxy: Option<String>,
    /// For name lookup, TCP, proxy and TLS handshake together.
    pub(crate) connect_timeout: Duration,
    /// For the whole exchange, from the call to the last byte of the answer.
    pub(crate) timeout: Duration,
    /// Answers in place of servers: nothing goes to any network.
    pub(crate) answers: Option<Answers>,
}

/// Gives the answer to a request, when it pleases.
pub(crate) type Answers =
    Arc<dyn Fn(HttpRequest) -> BoxFuture<'static, Result<HttpResponse, TransportFault>> + Send + Sync>;

impl Default for TransportOptions {
    fn default() -> TransportOptions {
        TransportOptions {
            ca_file: None,
            proxy: None,
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
            answers: None,
        }
    }
}

impl fmt::Debug for TransportOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A proxy's URL may hold a password: its host is enough.
        let proxy = self.proxy.as_deref().map(|proxy| match Url::parse(proxy) {
            _ if proxy == PROXY_FROM_ENVIRONMENT => proxy.to_owned(),
            Ok(url) => {
                let port = url.port_or_known_default().map(|port| format!(":{port}")).unwrap_or_default();
                format!("{}{port}", url.host_str().unwrap_or("…"))
            }
            Err(_) => "…".to_owned(),
        });
        f.debug_struct("TransportOptions")
            .field("ca_file", &self.ca_file)
            .field("proxy", &proxy)
            .field("connect_timeout", &self.connect_timeout)
            .field("timeout", &self.timeout)
            .finish()
    }
}
