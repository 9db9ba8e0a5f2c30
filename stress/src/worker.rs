//! What runs in the processes: an engine, and a report of what it gives.

use std::collections::BTreeSet;
use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant, UNIX_EPOCH};

use qauth_core::{Engine, Error, EventKind, EventLog, Result, Token, TokenOptions, TokenSource};
use serde_json::{Value, json};

use crate::fleet;
use crate::kinds::Kind;

/// `once VENDOR CONFIG`: gets a token, tells whether the vendor takes it, and ends.
/// `renew CONFIG`: the same without asking the vendor.
/// `cold CONFIG`: tells when it has a token. `no-token CONFIG`: tells when it could ask for one.
/// `fleet NODES CONFIG`: so many nodes of a fleet (see [`fleet::node`]).
/// `serve CONFIG`: asks for a token every few milliseconds and tells events; takes commands.
pub(crate) fn main(arguments: &[String]) -> ExitCode {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["once", vendor, config] => say(once(Some(vendor), config)),
        ["renew", config] => say(once(None, config)),
        ["cold", config] => say(cold(config, true)),
        ["no-token", config] => say(cold(config, false)),
        ["serve", config] => serve(config),
        ["fleet", nodes, config] => fleet::node::main(nodes, config),
        _ => return ExitCode::from(2),
    }
    ExitCode::SUCCESS
}

pub(crate) fn say(line: Value) {
    let mut output = std::io::stdout().lock();
    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
}

/// On a clock that all processes share.
pub(crate) fn now_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is written for the length of the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn engine(config: &str) -> Result<Engine> {
    Engine::from_json(config)
}

fn failed(error: &Error) -> Value {
    json!({"error": error.code().name(), "message": error.to_string()})
}

fn once(vendor: Option<&str>, config: &str) -> Value {
    let engine = match engine(config) {
        Ok(engine) => engine,
        Err(error) => return failed(&error),
    };
    let told = match engine.source("p").and_then(|source| source.token_blocking(TokenOptions::default())) {
        Ok(token) => {
            let valid = vendor.map(|vendor| is_accepted(vendor, config, &token));
            json!({"valid": valid, "generation": token.generation()})
        }
        Err(error) => failed(&error),
    };
    // What is written after the token was given is part of the renewal.
    engine.close();
    told
}

fn is_accepted(vendor: &str, config: &str, token: &Token) -> bool {
    let kind = Kind::ALL.into_iter().find(|kind| kind.vendor() == vendor);
    let (Some(kind), Some(to)) = (kind, address_in(config)) else { return false };
    kind.accepts(&to, token.access_token()).unwrap_or(false)
}

/// The simulator's, which every configuration here names.
fn address_in(config: &str) -> Option<SocketAddr> {
    let (_, rest) = config.split_once("http://")?;
    rest.split('/').next()?.parse().ok()
}

fn cold(config: &str, token: bool) -> Value {
    let source = match engine(config).and_then(|engine| engine.source("p")) {
        Ok(source) => source,
        Err(error) => return failed(&error),
    };
    let got = if token { source.token_blocking(TokenOptions::default()).map(drop) } else { Ok(()) };
    match got {
        Ok(()) => json!({"at": now_ns()}),
        Err(error) => failed(&error),
    }
}

/// How often a worker that serves asks.
const EVERY: Duration = Duration::from_millis(10);

fn serve(config: &str) {
    static EVENTS: EventLog = EventLog::new();
    let sources = engine(config).and_then(|engine| {
        engine.log_to(&EVENTS);
        engine.profiles().iter().map(|name| engine.source(name)).collect::<Result<Vec<_>>>()
    });
    let sources = match sources {
        Ok(sources) => sources,
        Err(error) => return say(failed(&error)),
    };
    let (to, commands) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(std::result::Result::ok) {
            let _ = to.send(line);
        }
    });
    std::thread::spawn(|| tell_events(&EVENTS));
    let mut gaps = Gaps::default();
    loop {
        let start = Instant::now();
        match commands.recv_timeout(EVERY) {
            Ok(command) if command == "report" => say(gaps.report()),
            Ok(_) | Err(RecvTimeoutError::Timeout) => gaps.stalled(start.elapsed().saturating_sub(EVERY)),
            Err(RecvTimeoutError::Disconnected) => return,
        }
        sources.iter().for_each(|source| gaps.ask(source));
    }
}

/// Events as they come, to a fraction of a millisecond.
fn tell_events(events: &'static EventLog) {
    loop {
        if events.pending() {
            for event in events.take() {
                if matches!(event.kind(), EventKind::Obtained | EventKind::Renewed | EventKind::Adopted) {
                    let (kind, profile, generation) = (event.kind().name(), event.profile(), event.generation());
                    // When it happened, not when it is told.
                    let at = event.at().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
                    let why = event.reason();
                    say(json!({"event": kind, "profile": profile, "generation": generation, "why": why, "at": at}));
                }
            }
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// How well a worker was served.
#[derive(Default)]
struct Gaps {
    asked: u64,
    /// Profile and generation of each token.
    tokens: BTreeSet<(String, u64)>,
    errors: Vec<String>,
    longest: Duration,
    /// By how much the machine was late with a pause: it is busy, and so long may a call take for that alone.
    stall: Duration,
}

impl Gaps {
    fn ask(&mut self, source: &TokenSource) {
        let start = Instant::now();
        self.asked += 1;
        match source.token_blocking(TokenOptions::default()) {
            Ok(token) => {
                // What it spent on its own pauses is not the store's.
                self.longest = self.longest.max(start.elapsed());
                self.tokens.insert((source.profile(), token.generation()));
            }
            Err(error) => self.errors.push(error.to_string()),
        }
    }

    fn stalled(&mut self, late: Duration) {
        self.stall = self.stall.max(late);
    }

    fn report(&self) -> Value {
        json!({
            "event": "report",
            "asked": self.asked,
            "tokens": self.tokens,
            "errors": self.errors,
            "longest_us": self.longest.as_micros() as u64,
            "stall_us": self.stall.as_micros() as u64,
        })
    }
}
