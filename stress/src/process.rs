//! Workers as processes, with or without the shim.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::host::Host;
use crate::kinds::Kind;

/// Longer than any limit of a worker's own: who needs it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// What all scenarios need.
pub(crate) struct Bench {
    /// The full figures.
    pub(crate) long: bool,
    program: PathBuf,
    shim: PathBuf,
    _tools: TempDir,
}

impl Bench {
    /// Builds the shim.
    pub(crate) fn new(long: bool) -> Result<Bench, String> {
        let tools = folder()?;
        let (source, shim) = (tools.path().join("shim.c"), tools.path().join("shim.so"));
        std::fs::write(&source, include_str!("../shim/shim.c")).map_err(|error| error.to_string())?;
        let compiler = std::env::var("CC").unwrap_or("cc".to_owned());
        let built = Command::new(&compiler)
            .args(["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o"])
            .args([&shim, &source])
            .output();
        let built = built.map_err(|error| format!("{compiler}: {error}"))?;
        if !built.status.success() {
            return Err(format!("{compiler}: {}", String::from_utf8_lossy(&built.stderr)));
        }
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        Ok(Bench { long, program, shim, _tools: tools })
    }

    /// A worker with these arguments; `shim` is the shim's environment.
    pub(crate) fn worker(&self, arguments: &[&str], shim: &[(&str, String)]) -> Result<Worker, String> {
        let mut command = Command::new(&self.program);
        command.arg("worker").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        if !shim.is_empty() {
            command.env("LD_PRELOAD", &self.shim).envs(shim.iter().map(|(name, value)| (name, value)));
        }
        let child = command.spawn().map_err(|error| format!("a worker does not start: {error}"))?;
        Ok(Worker { child: Some(child) })
    }

    /// One that gets a token, tells of it, and ends.
    pub(crate) fn once(&self, kind: Kind, config: &Value, shim: &[(&str, String)]) -> Result<Ended, String> {
        self.worker(&["once", kind.vendor(), &config.to_string()], shim)?.end()
    }

    /// The same without asking the vendor whether it takes the token: its only calls are those of the renewal.
    pub(crate) fn renew(&self, config: &Value, shim: &[(&str, String)]) -> Result<Ended, String> {
        self.worker(&["renew", &config.to_string()], shim)?.end()
    }
}

pub(crate) fn folder() -> Result<TempDir, String> {
    tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))
}

/// A process that ends with its handle.
pub(crate) struct Worker {
    child: Option<Child>,
}

/// How one ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) killed: bool,
    /// The last line that it printed.
    pub(crate) said: Value,
    pub(crate) took: Duration,
}

impl Ended {
    /// A token that the vendor takes.
    pub(crate) fn served(&self) -> bool {
        self.said["valid"] == true
    }

    pub(crate) fn error(&self) -> &str {
        self.said["error"].as_str().unwrap_or_default()
    }
}

impl Worker {
    pub(crate) fn id(&self) -> i32 {
        self.child.as_ref().map_or(0, |child| child.id() as i32)
    }

    pub(crate) fn signal(&self, signal: i32) {
        // SAFETY: the child was not waited for, so the number is still its own.
        unsafe { libc::kill(self.id(), signal) };
    }

    /// Waits for its end; one that does not come in time hangs.
    pub(crate) fn end(mut self) -> Result<Ended, String> {
        let start = Instant::now();
        let Some(mut child) = self.child.take() else { return Err("it has ended".to_owned()) };
        drop(child.stdin.take());
        let mut output = child.stdout.take().ok_or("no output")?;
        let (to, from) = channel();
        std::thread::spawn(move || {
            let mut text = String::new();
            let _ = output.read_to_string(&mut text);
            let _ = to.send(text);
        });
        let told = from.recv_timeout(PATIENCE);
        if told.is_err() {
            let _ = child.kill();
        }
        let status: ExitStatus = child.wait().map_err(|error| error.to_string())?;
        let text = told.map_err(|_| format!("it hangs: no end within {} s", PATIENCE.as_secs()))?;
        let killed = status.signal() == Some(libc::SIGKILL);
        if !killed && !status.success() {
            return Err(format!("it ended with {status}"));
        }
        let said = text.lines().last().map_or(Value::Null, |line| serde_json::from_str(line).unwrap_or_default());
        Ok(Ended { killed, said, took: start.elapsed() })
    }

    /// Talks with it line by line.
    pub(crate) fn talk(mut self) -> Result<Talk, String> {
        let child = self.child.as_mut().ok_or("it has ended")?;
        let (input, output) = (child.stdin.take(), child.stdout.take().ok_or("no output")?);
        let (to, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if to.send(serde_json::from_str(&line).unwrap_or_default()).is_err() {
                    return;
                }
            }
        });
        Ok(Talk { worker: self, input, lines })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A worker that takes commands and tells what happens.
pub(crate) struct Talk {
    pub(crate) worker: Worker,
    input: Option<ChildStdin>,
    lines: Receiver<Value>,
}

impl Talk {
    pub(crate) fn tell(&mut self, command: &str) -> Result<(), String> {
        let input = self.input.as_mut().ok_or("its input is closed")?;
        writeln!(input, "{command}").map_err(|error| format!("a worker does not listen: {error}"))
    }

    /// The next line that tells of this; others are passed over.
    pub(crate) fn hear(&self, what: &str) -> Result<Value, String> {
        self.hear_one_of(&[what])
    }

    /// Of a new token, whether the one before had ended or not.
    pub(crate) fn hear_of_token(&self) -> Result<Value, String> {
        self.hear_one_of(&["obtained", "renewed"])
    }

    /// Of one that is newer than this generation, be it a sibling's: its own generation.
    pub(crate) fn hear_of_token_after(&self, generation: u64) -> Result<u64, String> {
        loop {
            let told = self.hear_one_of(&["obtained", "renewed", "adopted"])?;
            if let Some(newer) = told["generation"].as_u64().filter(|told| *told > generation) {
                return Ok(newer);
            }
        }
    }

    fn hear_one_of(&self, what: &[&str]) -> Result<Value, String> {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) if what.iter().any(|what| line["event"] == *what) => return Ok(line),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!("a worker does not tell {what:?} in {PATIENCE:?}"));
                }
                Err(RecvTimeoutError::Disconnected) => return Err(format!("a worker ended before it told {what:?}")),
            }
        }
    }

    /// What came so far.
    pub(crate) fn heard(&self) -> Vec<Value> {
        self.lines.try_iter().collect()
    }
}

/// A simulator, a folder for a store, and one kind of profile between them.
pub(crate) struct Site {
    pub(crate) host: Host,
    pub(crate) kind: Kind,
    root: TempDir,
    signed_in: Option<String>,
    /// How far the wall clocks, of vendor and workers, are ahead.
    wall: u64,
}

impl Site {
    pub(crate) fn new(kind: Kind) -> Result<Site, String> {
        let host = Host::start()?;
        host.settings(kind.vendor(), "refresh_lifetime", 1_000_000_000)?;
        let mut site = Site { host, kind, root: folder()?, signed_in: None, wall: 0 };
        site.sign_in()?;
        Ok(site)
    }

    /// Where a worker's files are: store and sign-in.
    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.root.path().join("store")
    }

    pub(crate) fn config(&self) -> Value {
        self.config_with(&self.store())
    }

    pub(crate) fn config_with(&self, store: &Path) -> Value {
        self.kind.config(&self.host.url(), Some(store), self.signed_in.as_deref())
    }

    /// The person signs in, where it takes one.
    pub(crate) fn sign_in(&mut self) -> Result<(), String> {
        match self.kind {
            Kind::Person => self.signed_in = Some(self.host.sign_in()?),
            Kind::PersonsFile => {
                let file = self.root.path().join("person.login");
                private(&file, self.host.sign_in()?)?;
                self.signed_in = Some(format!("file:{}", file.display()));
            }
            _ => {}
        }
        Ok(())
    }

    /// As if nothing had ever been stored.
    pub(crate) fn begin_anew(&mut self) -> Result<(), String> {
        match std::fs::remove_dir_all(self.store()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.to_string()),
            _ => self.sign_in(),
        }
    }

    /// Every token ends, at the vendor and for the workers to come.
    pub(crate) fn tokens_end(&mut self) -> Result<(), String> {
        const LONGER_THAN_ANY: u64 = 50_000;
        self.wall += LONGER_THAN_ANY;
        self.host.advance(LONGER_THAN_ANY)
    }

    /// The shim's environment for a worker here.
    pub(crate) fn shim(&self, more: &[(&'static str, String)]) -> Vec<(&'static str, String)> {
        let mut shim = vec![("SHIM_FOLDER", self.root().display().to_string()), ("SHIM_WALL", self.wall.to_string())];
        shim.extend_from_slice(more);
        shim
    }

    /// Names in the store that tell of a torn file.
    pub(crate) fn set_aside(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.store()).into_iter().flatten().flatten();
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| name.ends_with(".bad")).collect()
    }
}

/// Writes a file for its owner alone.
pub(crate) fn private(path: &Path, content: impl AsRef<[u8]>) -> Result<(), String> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(content.as_ref())).map_err(|error| format!("{}: {error}", path.display()))
}
