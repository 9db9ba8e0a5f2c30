//! The command line's driver: each line becomes one run of the program `qauth`, whose path is this program's argument.
//!
//! The configuration lies in a file of its own. A run keeps nothing for the next one, so that commands which live of what
//! was before are unsupported. `engine` and `source` run what shows whether file and profile are right.

#![allow(clippy::print_stdout)]

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use qauth_core::ErrorCode;
use qauth_tests::text::plain;
use qauth_tests::wire::{self, Reply};
use serde_json::{Map, Value};

struct Driver {
    program: Vec<String>,
    folder: tempfile::TempDir,
    config: PathBuf,
    profile: String,
    /// `--set` and narrowing, as the lines before asked for.
    options: Vec<String>,
    narrowing: Vec<String>,
    /// Secrets are not for the command line: they are given in variables.
    variables: Vec<(String, String)>,
}

fn main() -> std::io::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut driver = Driver {
        program: std::env::args().skip(1).collect(),
        config: PathBuf::new(),
        folder,
        profile: String::new(),
        options: Vec::new(),
        narrowing: Vec::new(),
        variables: Vec::new(),
    };
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let fields = wire::fields(&line);
        let argument = |index: usize| fields.get(index).map_or("", String::as_str);
        println!("{}", driver.handle(argument(0), &argument)?.to_line());
    }
    Ok(())
}

impl Driver {
    fn handle<'a>(&mut self, command: &str, argument: &impl Fn(usize) -> &'a str) -> std::io::Result<Reply> {
        match command {
            "engine" => {
                self.profile.clear();
                self.config = self.folder.path().join("qauth.json");
                std::fs::write(&self.config, argument(1))?;
                self.run(&["providers", "oauth2"], None, |_| Reply::ok())
            }
            "engine_from_file" => {
                self.profile.clear();
                self.config = argument(1).into();
                self.run(&["providers", "oauth2"], None, |_| Reply::ok())
            }
            "source" | "source_with" => {
                self.profile = argument(1).to_owned();
                (self.options, self.variables, self.narrowing) = (Vec::new(), Vec::new(), Vec::new());
                self.set(argument(2));
                self.probe()
            }
            "scoped" => {
                self.narrowing.clear();
                for (option, index) in [("--scope", 1), ("--audience", 2), ("--resource", 3)] {
                    if !argument(index).is_empty() {
                        self.narrowing.extend([option.to_owned(), argument(index).to_owned()]);
                    }
                }
                Ok(Reply::ok())
            }
            "token" => {
                let mut words = vec!["token", &self.profile];
                words.extend(self.narrowing.iter().map(String::as_str));
                if !argument(1).is_empty() {
                    words.extend(["--min-remaining", argument(1)]);
                }
                let timeout = argument(2).parse().map(|ms: f64| (ms / 1000.0).to_string()).unwrap_or_default();
                if !timeout.is_empty() {
                    words.extend(["--timeout", &timeout]);
                }
                self.run(&words, None, token)
            }
            "request" => {
                let mut words = vec!["request", "--include", &self.profile, argument(1), argument(2)];
                let body = Some(argument(3)).filter(|body| !body.is_empty());
                if body.is_some() {
                    words.extend(["--data", "-"]);
                }
                let mut headers = Vec::new();
                let mut index = 4;
                while !argument(index).is_empty() {
                    headers.push(format!("{}: {}", argument(index), argument(index + 1)));
                    index += 2;
                }
                for header in &headers {
                    words.extend(["--header", header]);
                }
                self.run(&words, body, response)
            }
            "call" => {
                let parameters: Map<String, Value> = serde_json::from_str(argument(2)).unwrap_or_default();
                let parameters: Vec<String> =
                    parameters.iter().map(|(name, value)| format!("{name}:={value}")).collect();
                let mut words = vec!["call", &self.profile, argument(1)];
                words.extend(parameters.iter().map(String::as_str));
                if !argument(3).is_empty() {
                    words.extend(["--save-as", argument(3)]);
                }
                self.run(&words, None, |stdout| Reply::ok().with("result", stdout.trim_end()))
            }
            "records" => self.run(&["status"], None, |stdout| Reply::ok().with("records", stdout.trim_end())),
            "clear" => self.run(&["clear", argument(1)], None, token),
            "close" => Ok(Reply::ok()),
            _ => Ok(Reply::unsupported()),
        }
    }

    /// Keys given in code are options; a secret is pointed to, be it one of several.
    fn set(&mut self, overrides: &str) {
        let mut overrides: Map<String, Value> = serde_json::from_str(overrides).unwrap_or_default();
        self.point_to_secrets(&mut overrides);
        for (key, value) in overrides {
            self.options.extend(["--set".to_owned(), format!("{key}:={value}")]);
        }
    }

    fn point_to_secrets(&mut self, keys: &mut Map<String, Value>) {
        for (key, value) in keys {
            if let Value::Array(list) = value {
                list.iter_mut().filter_map(Value::as_object_mut).for_each(|entry| self.point_to_secrets(entry));
            } else if ["secret", "password", "token", "key"].iter().any(|word| key.contains(word)) {
                let name = format!("CONFORMANCE_SET_{}", self.variables.len());
                self.variables.push((name.clone(), plain(value)));
                *value = Value::from(format!("env:{name}"));
            }
        }
    }

    /// Asks for what is refused before anything is sent, but after the profile has been judged.
    fn probe(&self) -> std::io::Result<Reply> {
        let reply = self.run(&["request", &self.profile, "GET", "ftp://probe/"], None, |_| Reply::ok())?;
        let judged = reply.get("code") == Some("invalid_argument")
            && reply.get("message").is_some_and(|said| said.contains("url:"));
        Ok(if judged { Reply::ok() } else { reply })
    }

    fn run(&self, words: &[&str], stdin: Option<&str>, read: impl Fn(&str) -> Reply) -> std::io::Result<Reply> {
        let mut command = Command::new(self.program.first().map_or("qauth", String::as_str));
        command.args(self.program.iter().skip(1)).args(words).args(&self.options);
        command.arg("--json").arg("--quiet").arg("--config").arg(&self.config);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        if let (Some(mut pipe), Some(text)) = (child.stdin.take(), stdin) {
            pipe.write_all(text.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        match output.status.success() {
            true if stderr.is_empty() => Ok(read(&stdout)),
            true => Err(std::io::Error::other(format!("a success with {stderr:?} on its standard error"))),
            false => refusal(&output, &stdout, &stderr, words.contains(&"--save-as")),
        }
    }
}

/// Everything that `--json` promises of an error; its exit status is that of the code, and nothing is on standard output but
/// an answer that could not be saved.
fn refusal(output: &Output, stdout: &str, stderr: &str, saves: bool) -> std::io::Result<Reply> {
    let wrong = |why: &str| std::io::Error::other(format!("{why}: {} {stderr:?}", output.status));
    let document: Value = serde_json::from_str(stderr).map_err(|_| wrong("an error that is no JSON"))?;
    let error = &document["error"];
    let code = error["code"].as_str().unwrap_or_default();
    let status = ErrorCode::from_name(code).map(|code| i32::from(code.exit_status()));
    if status.is_none() || output.status.code() != status || !(stdout.is_empty() || saves) {
        return Err(wrong("an exit status that is not its code's, or output beside an error"));
    }
    let members = error.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let reply = members.fold(Reply::error(), |reply, (key, value)| reply.with(key, plain(value)));
    Ok(reply.with_some("answer", Some(stdout.trim_end()).filter(|answer| !answer.is_empty())))
}

fn token(stdout: &str) -> Reply {
    let token: Map<String, Value> = serde_json::from_str(stdout).unwrap_or_default();
    let members = token.iter().filter(|(_, value)| !value.is_null());
    members.fold(Reply::ok(), |reply, (key, value)| reply.with(key, plain(value)))
}

/// `--include` prints the status, the headers, an empty line and the body.
fn response(stdout: &str) -> Reply {
    let (head, body) = stdout.split_once("\n\n").unwrap_or((stdout, ""));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    let reply = Reply::ok().with("status", status).with("body", body);
    let headers = lines.filter_map(|line| line.split_once(": ").or(line.strip_suffix(':').map(|name| (name, ""))));
    headers.fold(reply, |reply, (name, value)| reply.with(format!("header.{name}"), value))
}
