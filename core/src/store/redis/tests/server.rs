//! A redis-server of one test's own, on a free port, in a folder of its own, ended with the test.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::{Cmd, Connection, FromRedisValue};
use tempfile::TempDir;

/// Longer than any start or failover takes on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Server {
    program: &'static str,
    child: Child,
    pub(super) port: u16,
    options: Vec<String>,
    folder: TempDir,
}

pub(super) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Asks until it is so.
pub(super) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A command as one writes it in a terminal.
pub(super) fn words(command: &str) -> Cmd {
    let mut words = Cmd::new();
    words.arg(command.split(' ').collect::<Vec<_>>());
    words
}

impl Server {
    pub(super) fn start() -> Server {
        Server::with(&[])
    }

    pub(super) fn with(options: &[&str]) -> Server {
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let server = Server::spawn("redis-server", free_port(), options, TempDir::new().unwrap());
        server.await_answer();
        server
    }

    /// Where nothing is waited for, since it does not serve at once.
    pub(super) fn spawn(program: &'static str, port: u16, options: Vec<String>, folder: TempDir) -> Server {
        let child = Server::launch(program, port, &options, folder.path());
        Server { program, child, port, options, folder }
    }

    fn launch(program: &str, port: u16, options: &[String], folder: &Path) -> Child {
        let mut command = Command::new(program);
        if program == "redis-sentinel" {
            command.arg(folder.join("sentinel.conf"));
        }
        command.args(["--bind", "127.0.0.1", "--save", "", "--dir"]).arg(folder);
        if !options.iter().any(|option| option == "--tls-port") {
            command.args(["--port", &port.to_string()]);
        }
        let started = command.args(options).stdout(Stdio::null()).spawn();
        started.unwrap_or_else(|error| {
            panic!("{program} cannot be started ({error}): install it, on Debian with apt-get install redis-server redis-sentinel")
        })
    }

    pub(super) fn await_answer(&self) {
        let client = redis::Client::open(self.url()).unwrap();
        // Any answer will do, be it a refusal.
        until("the server answers", || match client.get_connection() {
            Ok(mut connection) => match redis::cmd("PING").query::<String>(&mut connection) {
                Ok(_) => true,
                Err(error) => !error.is_io_error() && error.code() != Some("LOADING"),
            },
            Err(error) => !error.is_io_error(),
        });
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(super) fn admin(&self) -> Connection {
        redis::Client::open(self.url()).unwrap().get_connection().unwrap()
    }

    /// Runs one command.
    pub(super) fn tell<T: FromRedisValue>(&self, command: &str) -> T {
        words(command).query(&mut self.admin()).unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// One number of INFO.
    pub(super) fn counts(&self, what: &str) -> u64 {
        let info: String = self.tell("INFO");
        let line = info.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':')).expect("INFO has it");
        line.trim().parse().unwrap()
    }

    pub(super) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// After `kill`: the same again, on the same port.
    pub(super) fn start_again(&mut self, more: &[&str]) {
        self.options.extend(more.iter().map(|option| (*option).to_owned()));
        self.child = Server::launch(self.program, self.port, &self.options, self.folder.path());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
