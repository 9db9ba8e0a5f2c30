//! Answers that are lost on their way.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// Between store and server. When it is told to, it hands the next question on, and loses the answer with the connection.
struct Proxy {
    port: u16,
    loses_next: Arc<AtomicBool>,
}

impl Proxy {
    fn start(server: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, loses_next) = (listener.local_addr().unwrap().port(), Arc::new(AtomicBool::new(false)));
        let lose = loses_next.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(std::io::Result::ok) {
                let server = TcpStream::connect(("127.0.0.1", server)).unwrap();
                let (from, to, lose) = (client.try_clone().unwrap(), server.try_clone().unwrap(), lose.clone());
                std::thread::spawn(move || carry(from, to, &AtomicBool::new(false)));
                std::thread::spawn(move || carry(server, client, &lose));
            }
        });
        Proxy { port, loses_next }
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, lose: &AtomicBool) {
    let mut buffer = [0; 65536];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if lose.swap(false, Ordering::SeqCst) || to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

#[test]
fn a_write_whose_answer_was_lost_is_known_for_our_own_when_it_is_sent_again() {
    // fault 47
    let server = Server::start();
    run(async {
        let proxy = Proxy::start(server.port);
        let store = open(&given(&format!("redis://127.0.0.1:{}", proxy.port)));
        assert_eq!(stands(&store).await, 0);
        let lose = || proxy.loses_next.store(true, Ordering::SeqCst);
        // The server knows the script, so that what is lost is the answer to it.
        assert!(write(&store, 0, record(1, now())).await);
        lose();
        assert!(write(&store, 1, record(2, now())).await);
        assert!(!proxy.loses_next.load(Ordering::SeqCst));
        assert_eq!(stands(&store).await, 2);
        assert!(Store::lease(&store, &name(), &owner("1")).await.unwrap());
        lose();
        assert!(Store::lease(&store, &name(), &owner("1")).await.unwrap());
        lose();
        Store::release(&store, &name(), &owner("1")).await.unwrap();
        lose();
        assert!(Store::lease(&store, &name(), &owner("2")).await.unwrap());
        lose();
        assert_eq!(stands(&store).await, 2);
    });
}
