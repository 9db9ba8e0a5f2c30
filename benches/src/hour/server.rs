//! A token server that is cheap enough for a thousand sources: it counts by virtual seconds, and can be away.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How the server is away.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Outage {
    /// Connections are closed at once.
    Closed,
    /// Every answer is a 503.
    Unavailable,
}

pub(crate) struct Server {
    url: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    second: AtomicUsize,
    /// 0: at work; else how it is away.
    away: AtomicU64,
    per_second: Mutex<Vec<u32>>,
    per_source: Mutex<Vec<u32>>,
}

impl Server {
    /// `lifetimes`: in seconds, of the token behind each path `/t/INDEX`.
    pub(crate) fn start(lifetimes: Vec<u64>) -> std::io::Result<Server> {
        let shared = Arc::new(Shared::default());
        shared.per_source.lock().unwrap().resize(lifetimes.len(), 0);
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let url = format!("http://{}", listener.local_addr()?);
        let (serving, lifetimes) = (shared.clone(), Arc::new(lifetimes));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::spawn(move || {
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener)?;
                loop {
                    let (stream, _) = listener.accept().await?;
                    tokio::spawn(serve(stream, serving.clone(), lifetimes.clone()));
                }
                #[allow(unreachable_code)]
                Ok::<(), std::io::Error>(())
            })
        });
        Ok(Server { url, shared })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What is asked from now on is asked in this second.
    pub(crate) fn second(&self, second: usize) {
        self.shared.second.store(second, Ordering::SeqCst);
    }

    pub(crate) fn now(&self) -> usize {
        self.shared.second.load(Ordering::SeqCst)
    }

    pub(crate) fn away(&self, outage: Option<Outage>) {
        self.shared.away.store(outage.map_or(0, |outage| outage as u64 + 1), Ordering::SeqCst);
    }

    /// How many requests, or connections that were closed before one, each second saw.
    pub(crate) fn per_second(&self) -> Vec<u32> {
        self.shared.per_second.lock().unwrap().clone()
    }

    /// How many requests came for each source while the server was there.
    pub(crate) fn per_source(&self) -> Vec<u32> {
        self.shared.per_source.lock().unwrap().clone()
    }
}

impl Shared {
    fn count(&self) {
        let second = self.second.load(Ordering::SeqCst);
        let mut per_second = self.per_second.lock().unwrap();
        let length = per_second.len().max(second + 1);
        per_second.resize(length, 0);
        per_second[second] += 1;
    }

    fn is_away(&self, outage: Outage) -> bool {
        self.away.load(Ordering::SeqCst) == outage as u64 + 1
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>, lifetimes: Arc<Vec<u64>>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut read = Vec::new();
    loop {
        if shared.is_away(Outage::Closed) {
            shared.count();
            // Reset: thousands of connections would otherwise wait for their ports.
            return stream.set_zero_linger();
        }
        let Some((head, length)) = whole(&read) else {
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
            continue;
        };
        shared.count();
        let path = String::from_utf8_lossy(&read[..head]).split(' ').nth(1).unwrap_or_default().to_owned();
        read.drain(..head + length);
        let (status, body) = match path.strip_prefix("/t/").and_then(|index| index.parse::<usize>().ok()) {
            Some(index) if !shared.is_away(Outage::Unavailable) => {
                let mut per_source = shared.per_source.lock().unwrap();
                per_source[index] += 1;
                let (count, lifetime) = (per_source[index], lifetimes[index]);
                let body = format!(
                    "{{\"access_token\":\"t{index}-{count}\",\"token_type\":\"Bearer\",\"expires_in\":{lifetime}}}"
                );
                ("200 OK", body)
            }
            _ => ("503 Service Unavailable", String::new()),
        };
        let head =
            format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all([head, body].concat().as_bytes()).await?;
    }
}

/// The length of a request's head and of its body, if it is all there.
fn whole(read: &[u8]) -> Option<(usize, usize)> {
    let head = read.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&read[..head]).ok()?;
    let length = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|(_, value)| value.trim().parse().ok()).unwrap_or(0);
    (read.len() >= head + length).then_some((head, length))
}
