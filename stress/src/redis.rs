//! Redis servers and sentinels of a scenario's own, on free ports, ended with their handles.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::{Cmd, FromRedisValue};
use tempfile::TempDir;

use crate::process::folder;

pub(crate) struct Redis {
    program: &'static str,
    child: Option<Child>,
    pub(crate) port: u16,
    options: Vec<String>,
    folder: TempDir,
}

impl Redis {
    /// A server with these options beside the usual ones.
    pub(crate) fn start(options: &[&str]) -> Result<Redis, String> {
        Redis::with("redis-server", options, folder()?)
    }

    /// A sentinel that watches this server as `main`.
    pub(crate) fn sentinel(master: u16) -> Result<Redis, String> {
        let folder = folder()?;
        // Long enough that nobody mends what a scenario has arranged.
        let watched = format!("sentinel monitor main 127.0.0.1 {master} 1\nsentinel failover-timeout main 60000\n");
        let quick = "sentinel down-after-milliseconds main 1000\n";
        std::fs::write(folder.path().join("sentinel.conf"), watched + quick).map_err(|error| error.to_string())?;
        Redis::with("redis-sentinel", &[], folder)
    }

    fn with(program: &'static str, options: &[&str], folder: TempDir) -> Result<Redis, String> {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let port = free.map_err(|error| format!("no free port: {error}"))?.port();
        let mut server = Redis { program, child: None, port, options, folder };
        server.start_again()?;
        Ok(server)
    }

    /// After [`Redis::kill`]: the same again, on the same port, with what it has written to its disk.
    pub(crate) fn start_again(&mut self) -> Result<(), String> {
        let mut command = Command::new(self.program);
        if self.program == "redis-sentinel" {
            command.arg(self.folder.path().join("sentinel.conf"));
        }
        command.args(["--bind", "127.0.0.1", "--save", "", "--port", &self.port.to_string(), "--dir"]);
        command.arg(self.folder.path()).args(&self.options).stdout(Stdio::null());
        let started = command.spawn();
        self.child = Some(started.map_err(|error| {
            let how = "install it, on Debian with apt-get install redis-server redis-sentinel";
            format!("{} cannot be started ({error}): {how}", self.program)
        })?);
        let begun = Instant::now();
        while self.tell::<String>("PING").is_err() {
            if begun.elapsed() > Duration::from_secs(30) {
                return Err(format!("{} does not answer", self.program));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// What it has written to its disk.
    pub(crate) fn forget(&self) -> Result<(), String> {
        let entries = std::fs::read_dir(self.folder.path()).map_err(|error| error.to_string())?;
        for path in entries.flatten().map(|entry| entry.path()) {
            let gone = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            gone.map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(())
    }

    /// Runs one command, written as in a terminal.
    pub(crate) fn tell<T: FromRedisValue>(&self, command: &str) -> Result<T, String> {
        let mut words = Cmd::new();
        words.arg(command.split(' ').collect::<Vec<_>>());
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port));
        let answer = client.and_then(|client| words.query(&mut client.get_connection_with_timeout(PATIENCE)?));
        answer.map_err(|error| format!("{command}: {error}"))
    }

    /// One number of INFO.
    pub(crate) fn number(&self, what: &str) -> Result<u64, String> {
        let info: String = self.tell("INFO")?;
        let line = info.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
        line.and_then(|number| number.trim().parse().ok()).ok_or(format!("INFO does not tell {what}"))
    }

    /// How often scripts ran, and everything else.
    pub(crate) fn commands(&self) -> Result<(u64, u64), String> {
        let info: String = self.tell("INFO commandstats")?;
        let (mut scripts, mut others) = (0, 0);
        for line in info.lines() {
            let Some((name, rest)) = line.strip_prefix("cmdstat_").and_then(|line| line.split_once(":calls=")) else {
                continue;
            };
            let calls: u64 = rest.split(',').next().and_then(|calls| calls.parse().ok()).unwrap_or(0);
            match name {
                "evalsha" | "eval" => scripts += calls,
                "ping" | "subscribe" | "hello" | "auth" | "select" | "client|setinfo" | "role" => others += calls,
                // What scripts do within, and what we ask.
                _ => {}
            }
        }
        Ok((scripts, others))
    }
}

const PATIENCE: Duration = Duration::from_secs(5);

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
