//! The only file that does HTTP: one request out, one whole answer or one truthful fault back.
//!
//! What the host's environment says is not heard: no proxy variables (unless `transport.proxy = "env"`), no `.netrc`,
//! no `SSL_CERT_FILE`. Redirects are answers, not instructions. Nothing is repeated, except by the connection pool when
//! a kept connection turns out to be closed and not one byte of the request was taken.

mod fault;
mod identity;
#[cfg(test)]
mod tests;
mod tls;

pub(crate) use fault::tls_reason;
pub(crate) use tls::bare_config;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Bytes, Frame, SizeHint};
use reqwest::header::{CONTENT_LENGTH, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Proxy, retry};
use url::Url;

pub(crate) use self::fault::TransportFault;
pub(crate) use self::identity::Identity;
use crate::config::{PROXY_FROM_ENVIRONMENT, TransportOptions};
use crate::error::{Error, ErrorCode};
use crate::url_rules::is_loopback;

const USER_AGENT: &str = concat!("qauth/", env!("CARGO_PKG_VERSION"));
const POOL_IDLE: Duration = Duration::from_secs(90);
const POOL_MAX_IDLE_PER_HOST: usize = 32;
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;

/// What an answer's `Content-Length` alone may make us allocate.
const ROOM_AT_ONCE: u64 = 64 * 1024;

/// One request, ready to go. Deliberately without `Debug`: URL, headers and body may hold secrets.
pub(crate) struct HttpRequest {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Vec<u8>>,
    /// For the whole exchange, where shorter than the option's.
    pub(crate) timeout: Option<Duration>,
    /// The most bytes of the answer's body, counted after decoding.
    pub(crate) max_body: usize,
    /// The certificate with which the connection is made, if the server asks for one.
    pub(crate) identity: Option<Arc<Identity>>,
}

/// One whole answer, whatever its status. Without `Debug`, since tokens are in it.
pub(crate) struct HttpResponse {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// Connections to every host that the profiles need. Nothing is opened, and the system's certificates are not read,
/// before the first request that needs it.
pub(crate) struct Transport {
    options: TransportOptions,
    verifier: Arc<tls::LazyVerifier>,
    clients: Clients,
}

/// Connections with one certificate, or with none.
#[derive(Default)]
struct Clients {
    direct: OnceLock<Client>,
    proxied: OnceLock<Client>,
}

impl Transport {
    /// Checks the options; reads `ca_file` and nothing else.
    pub(crate) fn new(options: TransportOptions) -> Result<Transport, Error> {
        for (name, limit) in [("timeout", options.timeout), ("connect_timeout", options.connect_timeout)] {
            if limit.is_zero() {
                return Err(Error::config(format!("transport.{name} must be more than zero")));
            }
        }
        if let Some(proxy) = options.proxy.as_deref().filter(|proxy| *proxy != PROXY_FROM_ENVIRONMENT) {
            check_proxy(proxy)?;
        }
        let extra = options
            .ca_file
            .as_deref()
            .map_or_else(|| Ok(Vec::new()), |path| tls::read_ca_file(path, "transport.ca_file"))?;
        let verifier = Arc::new(tls::LazyVerifier::new(extra));
        Ok(Transport { options, verifier, clients: Clients::default() })
    }

    /// Sends the request once and reads the whole answer, within the deadline. Every status is an answer.
    pub(crate) async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportFault> {
        if let Some(answers) = &self.options.answers {
            return answers(request).await;
        }
        let HttpRequest { method, url, headers, body, timeout, max_body, identity } = request;
        let host = fault::host_and_port(&url);
        if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
            return Err(TransportFault::unsent(ErrorCode::Config, "the URL must be http or https, without user info"));
        }
        let client = self.client(&url, identity.as_deref())?;
        let limit = timeout.map_or(self.options.timeout, |timeout| timeout.min(self.options.timeout));

        let stage = Arc::new(AtomicBool::new(false));
        let mut outgoing = reqwest::Request::new(method, url);
        *outgoing.headers_mut() = headers;
        // hyper never asks an empty body for data, so there is no stage to learn from it.
        let body = body.filter(|body| !body.is_empty());
        let tracked = body.is_some();
        if let Some(body) = body {
            *outgoing.body_mut() = Some(reqwest::Body::wrap(Tracked { data: Some(body.into()), taken: stage.clone() }));
        } else if matches!(*outgoing.method(), Method::POST | Method::PUT | Method::PATCH) {
            // RFC 9110 8.6, which hyper leaves to us; some servers answer 411 without it.
            outgoing.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let surely_unsent = || tracked && !stage.load(Ordering::Acquire);

        let exchange = async {
            let mut response = client
                .execute(outgoing)
                .await
                .map_err(|error| fault::from_request(&error, &host, self.options.connect_timeout, surely_unsent()))?;
            let too_large = || {
                let message = format!("the answer of {host} is larger than the limit of {max_body} bytes");
                TransportFault { sent: true, code: ErrorCode::Protocol, message }
            };
            let announced = response.content_length().unwrap_or(0);
            if announced > max_body as u64 {
                return Err(too_large());
            }
            let mut body = Vec::with_capacity(announced.min(ROOM_AT_ONCE) as usize);
            while let Some(chunk) = response.chunk().await.map_err(|error| fault::from_body(&error, &host))? {
                // Leaving here drops the answer half read, which closes its connection.
                if chunk.len() > max_body - body.len() {
                    return Err(too_large());
                }
                body.extend_from_slice(&chunk);
            }
            Ok(HttpResponse {
                status: response.status().as_u16(),
                headers: std::mem::take(response.headers_mut()),
                body,
            })
        };
        match tokio::time::timeout(limit, exchange).await {
            Ok(result) => result,
            Err(_) => Err(TransportFault {
                sent: !surely_unsent(),
                code: ErrorCode::Timeout,
                message: format!("no complete answer from {host} within {limit:?}"),
            }),
        }
    }

    /// The client for this URL. What is not encrypted never goes to a proxy, and neither does loopback.
    fn client<'a>(&'a self, url: &Url, identity: Option<&'a Identity>) -> Result<&'a Client, TransportFault> {
        let proxy = self.options.proxy.as_deref().filter(|_| url.scheme() == "https" && !is_loopback(url));
        let clients = identity.map_or(&self.clients, Identity::clients);
        let slot = if proxy.is_some() { &clients.proxied } else { &clients.direct };
        match slot.get() {
            Some(client) => Ok(client),
            // Two first requests at once may build two; one stays. No lock is held, whoever forks.
            None => self.build(proxy, identity).map(|client| slot.get_or_init(|| client)),
        }
    }

    fn build(&self, proxy: Option<&str>, identity: Option<&Identity>) -> Result<Client, TransportFault> {
        let failed = |what: &str| TransportFault::unsent(ErrorCode::Internal, format!("{what} could not be set up"));
        let config = tls::client_config(self.verifier.clone(), identity).map_err(|_| failed("TLS"))?;
        let builder = Client::builder()
            .tls_backend_preconfigured(config)
            .http1_only()
            .user_agent(USER_AGENT)
            .redirect(Policy::none())
            .referer(false)
            .retry(retry::never())
            .connect_timeout(self.options.connect_timeout)
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(POOL_MAX_IDLE_PER_HOST)
            .tcp_nodelay(true)
            .tcp_keepalive(KEEPALIVE)
            .tcp_keepalive_interval(KEEPALIVE_INTERVAL)
            .tcp_keepalive_retries(KEEPALIVE_RETRIES);
        let builder = match proxy {
            Some(PROXY_FROM_ENVIRONMENT) => builder,
            Some(proxy) => builder.no_proxy().proxy(Proxy::all(proxy).map_err(|_| failed("transport.proxy"))?),
            None => builder.no_proxy(),
        };
        builder.build().map_err(|_| failed("the HTTP client"))
    }
}

/// `socks5` is refused too: it would need another feature of reqwest.
fn check_proxy(proxy: &str) -> Result<(), Error> {
    let usable = Url::parse(proxy).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && matches!(url.path(), "" | "/")
            && url.query().is_none()
            && url.fragment().is_none()
    });
    if usable && Proxy::all(proxy).is_ok() {
        return Ok(());
    }
    Err(Error::config("transport.proxy must be \"env\" or a URL such as http://proxy:3128 (http or https, no path)"))
}

/// A request body that notes when it is taken. The connection takes it in the same step as the head, before it writes
/// either; so while `taken` is false, surely nothing was sent.
struct Tracked {
    data: Option<Bytes>,
    taken: Arc<AtomicBool>,
}

impl hyper::body::Body for Tracked {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.taken.store(true, Ordering::Release);
        Poll::Ready(self.data.take().map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, |data| data.len() as u64))
    }
}
