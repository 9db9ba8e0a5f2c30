//! A driver: the program that makes one language's calls, one per line.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Longer than anything a command may wait for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Variables of the environment that would change what a case sees.
const FOREIGN: [&str; 10] = [
    "QAUTH_",
    "QUANTAPRICE_",
    "QUIQUP_",
    "QUABLE_",
    "QUARTILE_",
    "QPAY_",
    "OAUTH2_",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
];

/// What cases may refer to as `env:CONFORMANCE_…`.
pub const ENVIRONMENT: [(&str, &str); 4] = [
    ("CONFORMANCE_CLIENT_ID", qauth_sim::known::QUIQUP_CLIENT_ID),
    ("CONFORMANCE_CLIENT_SECRET", qauth_sim::known::QUIQUP_CLIENT_SECRET),
    ("CONFORMANCE_EMPTY", ""),
    ("CONFORMANCE_PADDED", " canary-padded "),
];

/// One language, as the report names it, and how its driver is started.
#[derive(Clone, Debug)]
pub struct Face {
    /// `rust`, `c`, `cpp`, `cli` and so on.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<String>,
}

/// A driver that runs.
pub struct Driver {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    printed: Arc<Mutex<String>>,
}

impl Face {
    /// Starts the driver.
    ///
    /// # Errors
    /// Why it cannot be started.
    pub fn start(&self) -> Result<Driver, String> {
        let (program, arguments) = self.command.split_first().ok_or("there is no command for this driver")?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if FOREIGN.iter().any(|start| name.to_ascii_uppercase().starts_with(start)) {
                command.env_remove(&*name);
            }
        }
        command.envs(ENVIRONMENT);
        let mut child = command.spawn().map_err(|error| format!("the driver {program} cannot be started: {error}"))?;
        let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(input), Some(output), Some(mut errors)) = (input, output, errors) else {
            return Err("the driver has no pipes".into());
        };
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let printed = Arc::new(Mutex::new(String::new()));
        let kept = printed.clone();
        std::thread::spawn(move || {
            let mut chunk = [0u8; 4096];
            while let Ok(count @ 1..) = errors.read(&mut chunk) {
                kept.lock().unwrap_or_else(PoisonError::into_inner).push_str(&String::from_utf8_lossy(&chunk[..count]));
            }
        });
        Ok(Driver { child, input, lines, printed })
    }
}

impl Driver {
    /// Sends a command and waits for its reply.
    ///
    /// # Errors
    /// If the driver died or is silent for too long.
    pub fn ask(&mut self, line: &str) -> Result<String, String> {
        let sent = self.input.write_all(format!("{line}\n").as_bytes()).and_then(|()| self.input.flush());
        let reply = match sent {
            Ok(()) => self.lines.recv_timeout(PATIENCE).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        reply.map_err(|error| {
            let ended = self.child.try_wait().ok().flatten().map(|status| format!(" ({status})")).unwrap_or_default();
            format!("the driver gave no reply: {error}{ended}; it printed {:?}", self.printed())
        })
    }

    /// What it has written to its standard error, where a library writes nothing.
    pub fn printed(&self) -> String {
        self.printed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends it: its input closes, and it must then end by itself with status 0.
    ///
    /// # Errors
    /// How it ended instead.
    pub fn finish(mut self) -> Result<(), String> {
        drop(self.input);
        for _ in 0..500 {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(format!("the driver ended with {status}")),
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
        }
        let _ = self.child.kill();
        Err("the driver did not end within 10 s after its input had closed".into())
    }
}
