//! A token server that answers only when it is told to.
#![allow(dead_code, reason = "no test uses all of it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use qauth_core::Engine;
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(20);

/// Listens until the test ends.
pub(crate) struct Held {
    pub(crate) url: String,
    pub(crate) asked: Receiver<Asked>,
}

pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) body: String,
    pub(crate) stream: TcpStream,
}

impl Held {
    pub(crate) fn start() -> Held {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, asked) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sender: Sender<Asked> = sender.clone();
                std::thread::spawn(move || read(stream).and_then(|asked| sender.send(asked).ok()));
            }
        });
        Held { url, asked }
    }

    pub(crate) fn next(&self) -> Asked {
        self.asked.recv_timeout(PATIENCE).expect("a request is under way")
    }

    pub(crate) fn nothing_more(&self) {
        assert!(self.asked.try_recv().is_err(), "one request too many");
    }

    /// One profile for each name, whose token endpoint is its name.
    pub(crate) fn engine(&self, testing: &str, names: &[&str], keys: &str) -> Engine {
        let profile = |name: &&str| {
            format!(
                "[profiles.{name}]\nprovider = \"oauth2\"\ntoken_endpoint = \"{}/{name}\"\nclient_id = \"c\"\nclient_secret = \"s\"\n{keys}\n",
                self.url
            )
        };
        let profiles: String = names.iter().map(profile).collect();
        Engine::from_toml(&format!("[testing]\n{testing}\n{profiles}")).unwrap()
    }
}

fn read(stream: TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.trim_start_matches('/').to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        match header.trim_end().split_once(':') {
            None => break,
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.trim().parse().ok()?,
            Some(_) => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { path, body: String::from_utf8(body).ok()?, stream })
}

impl Asked {
    pub(crate) fn answers(mut self, status: u16, body: &str) {
        let length = body.len();
        // Whoever asked may be gone.
        let _ = write!(
            self.stream,
            "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
    }

    pub(crate) fn gives(self, access_token: &str, expires_in: u64) {
        let body = json!({"access_token": access_token, "token_type": "Bearer", "expires_in": expires_in});
        self.answers(200, &body.to_string());
    }
}

/// In memory, if the system has a place for that: a disk that others write to takes its time.
pub(crate) fn folder() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}
