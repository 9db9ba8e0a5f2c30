//! Where a configured value comes from: the text itself, `env:NAME`, `file:PATH` or `cmd:PROGRAM ARGS` (DESIGN.md 8).

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};

use crate::error::{Error, Result};
use crate::secret::Secret;

/// Longer values are refused: no credential is that long, and a wrong path may lead to anything.
const MAX_BYTES: u64 = 64 * 1024;
const COMMAND_LIMIT: Duration = Duration::from_secs(10);

/// What a document may refer to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trust {
    /// Relative paths start here: the folder of the configuration file.
    pub(crate) folder: Option<PathBuf>,
    /// `allow_commands = true` in a document that the caller named.
    pub(crate) commands: bool,
    /// The document was found, not named: commands are never run from it.
    pub(crate) discovered: bool,
    /// What the document leaves out is not looked for in the process environment.
    pub(crate) alone: bool,
}

/// A value and, for `file:`, what to watch.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    pub(crate) value: Secret,
    pub(crate) file: Option<WatchedFile>,
}

/// A file that a secret was read from. It is read again when it changes, so that a rotated secret needs no restart.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WatchedFile {
    path: PathBuf,
    stamp: Option<Stamp>,
}

/// Time of change, size and number of a file: a successor written in the same tick of the clock is another file.
type Stamp = (SystemTime, u64, u64);

impl WatchedFile {
    /// A file that is not there yet.
    pub(crate) fn absent(path: &Path) -> WatchedFile {
        WatchedFile { path: path.to_owned(), stamp: None }
    }

    fn stamp(path: &Path) -> Option<Stamp> {
        let meta = std::fs::metadata(path).ok()?;
        Some((meta.modified().ok()?, meta.len(), meta.ino()))
    }

    pub(crate) fn changed(&self) -> bool {
        let now = Self::stamp(&self.path);
        // A file that is gone for the moment (being replaced) keeps its last value.
        now.is_some() && now != self.stamp
    }
}

/// Reads what `text` stands for. `at` names the field in errors; the value never appears in them.
pub(crate) fn resolve(text: &str, at: &str, trust: &Trust) -> Result<Resolved> {
    let resolved = read(text, at, trust)?;
    check_text(resolved.value.expose(), at)?;
    Ok(resolved)
}

/// The same for a key or certificate, which has lines.
pub(crate) fn resolve_multiline(text: &str, at: &str, trust: &Trust) -> Result<Resolved> {
    let resolved = read(text, at, trust)?;
    check_multiline(resolved.value.expose(), at)?;
    Ok(resolved)
}

/// The text that stands for this very value, whatever it begins with.
pub(crate) fn literal(value: &str) -> String {
    match value.split_once(':') {
        Some(("env" | "file" | "cmd" | "literal", _)) => format!("literal:{value}"),
        _ => value.to_owned(),
    }
}

fn read(text: &str, at: &str, trust: &Trust) -> Result<Resolved> {
    let (value, file) = match text.split_once(':') {
        Some(("env", name)) => (from_env(name, at)?, None),
        Some(("file", path)) => {
            let path = trust.folder.as_deref().unwrap_or(Path::new("")).join(path);
            // The stamp is taken first: a change during the read is then noticed at the next look.
            let stamp = WatchedFile::stamp(&path);
            (from_file(&path, at)?, Some(WatchedFile { path, stamp }))
        }
        Some(("cmd", command)) => (from_command(command, at, trust)?, None),
        Some(("literal", value)) => (value.to_owned(), None),
        _ => (text.to_owned(), None),
    };
    Ok(Resolved { value: Secret::new(value), file })
}

/// Refuses what no credential holds and what would be changed silently on its way.
pub(crate) fn check_text(value: &str, at: &str) -> Result<()> {
    if value.is_empty() {
        return Err(Error::config(format!("{at}: is empty")));
    }
    if value.len() as u64 > MAX_BYTES {
        return Err(Error::config(format!("{at}: is longer than 64 KiB")));
    }
    if value.chars().any(char::is_control) {
        return Err(Error::config(format!("{at}: holds a control character (a line break, tab or NUL); remove it")));
    }
    if value.trim() != value {
        return Err(Error::config(format!("{at}: begins or ends with white space; remove it")));
    }
    Ok(())
}

/// The same for a key or certificate: line breaks and tabs are part of it.
pub(crate) fn check_multiline(value: &str, at: &str) -> Result<()> {
    check_text(value.replace(['\n', '\r', '\t'], " ").trim(), at)
}

fn from_env(name: &str, at: &str) -> Result<String> {
    match std::env::var(name) {
        Ok(value) => Ok(value),
        Err(std::env::VarError::NotPresent) => {
            Err(Error::config(format!("{at}: the environment variable {name:?} is not set")))
        }
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(Error::config(format!("{at}: the environment variable {name:?} is not UTF-8")))
        }
    }
}

fn from_file(path: &Path, at: &str) -> Result<String> {
    let refuse = |why: String| Error::config(format!("{at}: the file {}: {why}", path.display()));
    let meta = std::fs::metadata(path).map_err(|error| refuse(error.kind().to_string()))?;
    if !meta.is_file() {
        return Err(refuse("is not a regular file".into()));
    }
    let file = std::fs::File::open(path).map_err(|error| refuse(error.kind().to_string()))?;
    let mut text = String::new();
    file.take(MAX_BYTES + 2)
        .read_to_string(&mut text)
        .map_err(|error| refuse(format!("cannot be read as UTF-8 text ({})", error.kind())))?;
    Ok(trim_newline(text))
}

fn from_command(command: &str, at: &str, trust: &Trust) -> Result<String> {
    if trust.discovered {
        return Err(Error::config(format!(
            "{at}: cmd: is not run from a configuration that was found rather than named; name the file, or use env: or file:"
        )));
    }
    if !trust.commands {
        return Err(Error::config(format!("{at}: cmd: needs allow_commands = true at the top of the configuration")));
    }
    let words = shlex::split(command).filter(|words| !words.is_empty());
    let Some(words) = words else {
        return Err(Error::config(format!("{at}: cmd: holds no command, or a quote that is not closed")));
    };
    let refuse = |why: String| Error::config(format!("{at}: the command {:?} {why}", words[0]));
    let mut child = Command::new(&words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| refuse(format!("cannot be started: {}", error.kind())))?;
    let stdout = child.stdout.take().expect("stdout was asked for as a pipe");
    let (sender, receiver) = mpsc::sync_channel(1);
    let reading = std::thread::Builder::new().name("qauth-cmd".into()).spawn(move || {
        let mut text = String::new();
        let read = stdout.take(MAX_BYTES + 2).read_to_string(&mut text).map(|_| text);
        let _ = sender.send(read);
    });
    if reading.is_err() {
        let _ = child.kill();
        let _ = child.wait();
        return Err(refuse("cannot be read: no thread can be started".into()));
    }
    let end = Instant::now() + COMMAND_LIMIT;
    let answer = receiver.recv_timeout(COMMAND_LIMIT);
    // It may have closed its output and go on.
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() >= end => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(refuse("did not end within 10 s".into()));
            }
            Ok(None) => std::thread::sleep(Duration::from_millis(2)),
            Err(error) => return Err(refuse(format!("was lost: {}", error.kind()))),
        }
    };
    match answer {
        Err(_) => Err(refuse("did not end within 10 s".into())),
        Ok(_) if !status.success() => Err(refuse(format!("failed ({status})"))),
        Ok(Err(_)) => Err(refuse("did not answer in UTF-8".into())),
        Ok(Ok(text)) => Ok(trim_newline(text)),
    }
}

/// One trailing newline is what editors and `echo` add; more is a mistake that is refused later.
fn trim_newline(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str, trust: &Trust) -> String {
        resolve(text, "profiles.a.secret", trust).unwrap_err().to_string()
    }

    #[test]
    fn a_file_loses_one_newline_and_is_watched() {
        // fault 2
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let trust = Trust { folder: Some(folder.path().into()), ..Trust::default() };
        std::fs::write(&path, "canary\r\n").unwrap();
        let resolved = resolve("file:secret", "x", &trust).unwrap();
        assert_eq!(resolved.value.expose(), "canary");
        assert!(!resolved.file.clone().unwrap().changed());
        std::fs::write(&path, "rotated-canary\n").unwrap();
        assert!(resolved.file.unwrap().changed());
        for wrong in ["canary\n\n", " canary", "can\0ary", ""] {
            std::fs::write(&path, wrong).unwrap();
            let said = error("file:secret", &trust);
            assert!(said.contains("profiles.a.secret") && !said.contains("canary"), "{said}");
        }
        assert!(error("file:nowhere", &trust).contains("nowhere"));
        assert!(error("file:.", &trust).contains("regular file"));
    }

    #[test]
    fn a_command_runs_only_where_it_is_allowed_and_named() {
        let allowed = Trust { commands: true, ..Trust::default() };
        assert_eq!(resolve("cmd:printf '%s' 'a b'", "x", &allowed).unwrap().value.expose(), "a b");
        assert!(error("cmd:printf x", &Trust::default()).contains("allow_commands"));
        assert!(
            error("cmd:printf x", &Trust { commands: true, discovered: true, ..Trust::default() }).contains("found")
        );
        assert!(error("cmd:false", &allowed).contains("failed"));
        assert!(error("cmd:/nonexistent/program", &allowed).contains("cannot be started"));
        assert!(error("cmd:'", &allowed).contains("quote"));
    }

    #[test]
    fn a_literal_is_read_as_what_it_is() {
        for value in ["plain", "env:HOME", "file:/etc/passwd", "cmd:true", "literal:x", "env", "https://x"] {
            assert_eq!(resolve(&literal(value), "x", &Trust::default()).unwrap().value.expose(), value);
        }
    }

    #[test]
    fn an_unset_variable_is_named() {
        assert!(error("env:QAUTH_TEST_UNSET", &Trust::default()).contains("QAUTH_TEST_UNSET"));
    }
}
