//! A network that fails on demand: stands between clients and a server on loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

/// What becomes of connections and of what is sent on them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Link {
    Pass,
    /// Each answer comes so much later.
    Delay(Duration),
    /// Nothing arrives. What was sent arrives when the link passes again, as with TCP, unless the connection is gone by then.
    Cut,
    /// Connections are reset, those that are there and those that are tried.
    Refuse,
}

#[derive(Clone, Copy)]
struct Orders {
    link: Link,
    /// Grows with each reset.
    resets: u64,
}

struct Control {
    orders: watch::Sender<Orders>,
    /// The next answer ends after so many bytes, and with it its connection.
    cut_after: Mutex<Option<usize>>,
}

/// Ends with its handle.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    control: Arc<Control>,
    _runtime: Runtime,
}

impl Proxy {
    /// Stands before what listens on this port.
    pub(crate) fn before(port: u16) -> Result<Proxy, String> {
        let wrong = |error: std::io::Error| format!("the proxy: {error}");
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(wrong)?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).map_err(wrong)?;
        let own = listener.local_addr().map_err(wrong)?.port();
        let (orders, _) = watch::channel(Orders { link: Link::Pass, resets: 0 });
        let control = Arc::new(Control { orders, cut_after: Mutex::new(None) });
        runtime.spawn(listen(listener, (Ipv4Addr::LOCALHOST, port).into(), control.clone()));
        Ok(Proxy { port: own, control, _runtime: runtime })
    }

    pub(crate) fn link(&self, link: Link) {
        self.control.orders.send_modify(|orders| {
            orders.link = link;
            orders.resets += u64::from(link == Link::Refuse);
        });
    }

    /// Resets every connection; what was under way on them is lost.
    pub(crate) fn reset(&self) {
        self.control.orders.send_modify(|orders| orders.resets += 1);
    }

    /// The next answer ends after so many bytes.
    pub(crate) fn cut_after(&self, bytes: usize) {
        *self.control.cut_after.lock().unwrap_or_else(PoisonError::into_inner) = Some(bytes);
    }
}

async fn listen(listener: TcpListener, to: SocketAddr, control: Arc<Control>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(connection(client, to, control.clone()));
    }
}

async fn connection(client: TcpStream, to: SocketAddr, control: Arc<Control>) {
    let mut orders = control.orders.subscribe();
    let now = *orders.borrow_and_update();
    let _ = client.set_zero_linger();
    if now.link == Link::Refuse {
        return;
    }
    let Ok(server) = TcpStream::connect(to).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true), server.set_zero_linger());
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    tokio::select! {
        () = pump(from_client, to_server, &control, false) => {}
        () = pump(from_server, to_client, &control, true) => {}
        _ = orders.wait_for(|orders| orders.resets != now.resets) => {}
    }
    // Dropped here, unread and unsent: the other sides see a reset.
}

/// Until an end or an error; either ends the whole connection.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, control: &Control, answers: bool) {
    let mut orders = control.orders.subscribe();
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let length = match from.read(&mut bytes).await {
            Ok(length @ 1..) => length,
            Ok(0) | Err(_) => return,
        };
        let link = orders.borrow_and_update().link;
        if let (Link::Delay(delay), true) = (link, answers) {
            tokio::time::sleep(delay).await;
        }
        if orders.wait_for(|orders| orders.link != Link::Cut).await.is_err() {
            return;
        }
        let cut = match answers {
            true => control.cut_after.lock().unwrap_or_else(PoisonError::into_inner).take(),
            false => None,
        };
        if to.write_all(&bytes[..cut.map_or(length, |cut| cut.min(length))]).await.is_err() || cut.is_some() {
            return;
        }
    }
}
