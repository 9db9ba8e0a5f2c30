//! An authorization server that answers what it was told to answer, and remembers what it was asked.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// One request: its path, and the fields of its form.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) form: HashMap<String, String>,
}

#[derive(Default)]
struct State {
    /// By path; the last one is repeated.
    answers: HashMap<String, VecDeque<(u16, Value)>>,
    asked: Vec<Asked>,
}

/// Listens until the test ends.
pub(crate) struct Script {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Script {
    pub(crate) fn start() -> Script {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Script { address, state }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What this path answers from now on, one after the other. Status 0: the connection is closed without an answer; 1: it
    /// stays open without one.
    pub(crate) fn answers(&self, path: &str, answers: impl IntoIterator<Item = (u16, Value)>) {
        self.state.lock().unwrap().answers.insert(path.to_owned(), answers.into_iter().collect());
    }

    /// The forms that this path was asked with.
    pub(crate) fn asked(&self, path: &str) -> Vec<HashMap<String, String>> {
        let state = self.state.lock().unwrap();
        state.asked.iter().filter(|asked| asked.path == path).map(|asked| asked.form.clone()).collect()
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
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
    let form = url::form_urlencoded::parse(&body).into_owned().collect();
    let (status, body) = {
        let mut state = state.lock().unwrap();
        state.asked.push(Asked { path: path.clone(), form });
        let queue = state.answers.entry(path).or_default();
        let next = if queue.len() > 1 { queue.pop_front() } else { queue.front().cloned() };
        next.unwrap_or((404, Value::Null))
    };
    match status {
        0 => return None,
        1 => loop {
            std::thread::park();
        },
        _ => {}
    }
    let body = body.to_string();
    write!(
        reader.get_mut(),
        "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .ok()
}
