//! The listening socket, its thread, and the way of a request from the wire to the [`World`] and back.

use crate::body::{Cut, SimBody, render};
use crate::http::Request;
use crate::jose::sha256;
use crate::tls::{self, Tls};
use crate::world::World;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::HOST;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::{self, Runtime};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

const MOST_BODY_BYTES: usize = 16 << 20;

/// How a simulator is started. The default: any free port, without TLS.
#[derive(Debug, Clone, Default)]
pub struct SimOptions {
    /// The port on 127.0.0.1; 0 takes any free one.
    pub port: u16,
    /// Whether to serve https, with a certificate authority made for this run.
    pub tls: bool,
}

/// A running simulator of all vendors, on a thread of its own. Dropping it stops it: the port is free and all
/// connections are closed when `drop` returns.
#[derive(Debug)]
pub struct Sim {
    addr: SocketAddr,
    ca_pem: Option<String>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Sim {
    /// Binds 127.0.0.1 and starts to serve; requests are accepted as soon as this returns.
    ///
    /// # Errors
    ///
    /// If the port is taken, or threads, sockets or certificates cannot be made.
    pub fn start(options: SimOptions) -> io::Result<Self> {
        let tls = options.tls.then(tls::generate).transpose()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let (acceptor, ca_pem) = tls.map(|Tls { acceptor, ca_pem }| (acceptor, ca_pem)).unzip();
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let server = Arc::new(Server { world: Mutex::new(World::new()), addr, acceptor });
        let run = move || serve(runtime, listener, server, stopped);
        let thread = std::thread::Builder::new().name("qauth-sim".to_owned()).spawn(run)?;
        Ok(Self { addr, ca_pem, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its base URL without a slash at the end: `http://127.0.0.1:PORT`, or `https://…` with TLS. A vendor is at
    /// `{url}/quantaprice`, `{url}/quiqup`, `{url}/quable/INSTANCE`, `{url}/quartile`, `{url}/qpay`, `{url}/generic`,
    /// `{url}/scripted`.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.ca_pem.is_some() { "https" } else { "http" }, self.addr)
    }

    /// The PEM of the certificate authority that clients have to trust; `None` without TLS.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Server {
    world: Mutex<World>,
    addr: SocketAddr,
    acceptor: Option<TlsAcceptor>,
}

fn serve(runtime: Runtime, listener: TcpListener, server: Arc<Server>, stopped: oneshot::Receiver<()>) {
    runtime.block_on(async {
        let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
        tokio::select! {
            () = accept(listener, server) => {}
            _ = stopped => {}
        }
    });
}

async fn accept(listener: tokio::net::TcpListener, server: Arc<Server>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, as a rule: some will be given back.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            match server.acceptor.clone() {
                None => connection(stream, server, None).await,
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
                        let certificate = shown.map(|certificate| sha256(certificate));
                        connection(stream, server, certificate).await;
                    }
                }
            }
        });
    }
}

/// `certificate` is the thumbprint of the one that the client showed.
async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin, server: Arc<Server>, certificate: Option<String>) {
    let service = service_fn(|request| answer(Arc::clone(&server), request, certificate.clone()));
    // An error ends the connection: the client's, or one that a fault asked for.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    server: Arc<Server>,
    request: hyper::Request<Incoming>,
    certificate: Option<String>,
) -> Result<hyper::Response<SimBody>, Cut> {
    let request = server.read(request, certificate).await?;
    let outcome = {
        let mut world = server.world.lock().unwrap_or_else(PoisonError::into_inner);
        match request {
            Some(request) => world.take(&request),
            None => world.refuse_long_body(MOST_BODY_BYTES),
        }
    };
    if !outcome.delay.is_zero() {
        tokio::time::sleep(outcome.delay).await;
    }
    Ok(render(outcome.reply.ok_or(Cut)?, outcome.date, outcome.cut_half_way))
}

impl Server {
    /// The request with its whole body; `None` if that is too long.
    async fn read(
        &self,
        request: hyper::Request<Incoming>,
        certificate: Option<String>,
    ) -> Result<Option<Request>, Cut> {
        let (parts, body) = request.into_parts();
        let body = match Limited::new(body, MOST_BODY_BYTES).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => return Ok(None),
            Err(_) => return Err(Cut),
        };
        let scheme = if self.acceptor.is_some() { "https" } else { "http" };
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
        let origin = host.map_or_else(|| format!("{scheme}://{}", self.addr), |host| format!("{scheme}://{host}"));
        Ok(Some(Request {
            method: parts.method,
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: parts.headers,
            body,
            origin,
            certificate,
        }))
    }
}
