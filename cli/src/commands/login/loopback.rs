//! The place on this machine to which the browser is sent back (RFC 8252 7.3).

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use qauth_core::{Error, ErrorCode, LoggedIn, Login};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use super::too_late;

const PATH: &str = "/callback";
/// How long the browser may take to fetch the last page.
const LINGER: Duration = Duration::from_millis(500);

type Outcome = Result<LoggedIn, Error>;

pub(super) struct Loopback {
    listener: TcpListener,
    port: u16,
}

impl Loopback {
    /// Listens on this port of 127.0.0.1; 0: on any free one.
    pub(super) fn bind(port: u16) -> Result<Loopback, Error> {
        let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(Loopback { port: listener.local_addr()?.port(), listener })
        });
        bound.map_err(|error| {
            let message = format!("--port {port}: 127.0.0.1 cannot be listened on there: {}", error.kind());
            Error::new(ErrorCode::InvalidArgument, message)
        })
    }

    pub(super) fn redirect_uri(&self) -> String {
        format!("http://127.0.0.1:{}{PATH}", self.port)
    }

    /// Serves until the browser has brought the answer to this sign-in. What others send ends nothing.
    pub(super) fn wait(self, login: Login, limit: Duration) -> Outcome {
        within(limit, async move {
            let listener = tokio::net::TcpListener::from_std(self.listener).map_err(|error| unable(&error))?;
            let login = Arc::new(login);
            let (sender, mut outcomes) = unbounded_channel();
            let mut connections = JoinSet::new();
            let outcome = loop {
                tokio::select! {
                    outcome = outcomes.recv() => break outcome.expect("one sender is held here"),
                    accepted = listener.accept() => match accepted {
                        Ok((stream, _)) => {
                            let (login, sender) = (login.clone(), sender.clone());
                            connections.spawn(async move {
                                let service = service_fn(|request| answer(request, login.clone(), sender.clone()));
                                let serving = http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service);
                                // A connection that breaks is the browser's affair.
                                let _ = serving.await;
                            });
                        }
                        // Out of descriptors, as a rule: some will be given back.
                        Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                    },
                    Some(_) = connections.join_next() => {}
                }
            };
            let lingering = async { while connections.join_next().await.is_some() {} };
            let _ = tokio::time::timeout(LINGER, lingering).await;
            outcome
        })
    }
}

/// Waits on this thread, for so long at most.
pub(super) fn within(limit: Duration, work: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| unable(&error))?;
    runtime.block_on(async { tokio::time::timeout(limit, work).await }).unwrap_or_else(|_| Err(too_late(limit)))
}

fn unable(error: &io::Error) -> Error {
    Error::new(ErrorCode::Internal, format!("the sign-in cannot be waited for: {}", error.kind()))
}

async fn answer(
    request: Request<Incoming>,
    login: Arc<Login>,
    ended: UnboundedSender<Outcome>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() != PATH || request.method() != Method::GET {
        return Ok(page(StatusCode::NOT_FOUND, "There is nothing here."));
    }
    let query = request.uri().query().unwrap_or_default().to_owned();
    // In a task of its own: a browser that hangs up now takes nothing with it.
    let completing = tokio::spawn(async move {
        let outcome = login.complete(&query).await;
        let foreign = outcome.as_ref().is_err_and(|error| error.code() == ErrorCode::InvalidArgument);
        let signed_in = outcome.is_ok();
        if !foreign {
            let _ = ended.send(outcome);
        }
        (signed_in, foreign)
    });
    Ok(match completing.await {
        Ok((true, _)) => page(StatusCode::OK, "You are signed in. You can close this window."),
        Ok((false, true)) => page(StatusCode::BAD_REQUEST, "This is not the answer to the sign-in that is under way."),
        _ => page(
            StatusCode::BAD_REQUEST,
            "The sign-in has not succeeded: the terminal says why. You can close this window.",
        ),
    })
}

/// A page without script, links and anything that was sent here.
fn page(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    const HEADERS: [(HeaderName, &str); 5] = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    let body = format!("<!doctype html><html lang=\"en\"><title>qauth</title><p>{text}</p></html>\n");
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, hyper::header::HeaderValue::from_static(value));
    }
    response
}
