//! A simulator, a configuration with all its vendors, and the two ways to run a command.

use std::ffi::OsString;
use std::fs::Permissions;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use qauth_cli::Streams;
use qauth_sim::{Sim, SimOptions, known};
use serde_json::{Value, json};
use tempfile::TempDir;

/// None of them may ever be on stderr.
const SECRETS: [&str; 9] = [
    known::QUANTAPRICE_CLIENT_SECRET,
    known::QUANTAPRICE_SECOND_CLIENT_SECRET,
    known::QUIQUP_CLIENT_SECRET,
    known::QUABLE_PASSWORD,
    known::QUABLE_GENERIC_TOKEN,
    known::QUARTILE_PASSWORD,
    known::QUARTILE_SUBSCRIPTION_KEY,
    known::QPAY_CLIENT_SECRET,
    known::QPAY_PASSWORD,
];

/// One profile of each kind: name, and what the API answers a `GET` of this path.
pub(crate) const PROFILES: [(&str, &str); 6] = [
    ("pricing", "/prices?sku=A-1"),
    ("orders", "/orders"),
    ("pim", "/api/products"),
    ("generic", "/api/products"),
    ("reports", "/reports"),
    ("cards", "/cards"),
];

pub(crate) struct Bench {
    pub(crate) sim: Sim,
    folder: TempDir,
}

pub(crate) struct Output {
    pub(crate) status: u8,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        Bench::with(SimOptions::default())
    }

    pub(crate) fn with(options: SimOptions) -> Bench {
        let bench = Bench { sim: Sim::start(options).unwrap(), folder: tempfile::tempdir().unwrap() };
        bench.file("qauth.toml", &configuration(&bench.sim.url()));
        bench
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        // Whatever the umask: a configuration that others can write is refused.
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The real binary in an empty environment, with the bench's configuration.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.bare_command(arguments);
        command.env("QAUTH_CONFIG", self.path("qauth.toml"));
        command
    }

    /// The same without a configuration.
    pub(crate) fn bare_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qauth"));
        command.args(arguments).env_clear().env("HOME", self.path("home")).current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn qauth(&self, arguments: &[&str]) -> Output {
        finish(self.command(arguments))
    }

    pub(crate) fn qauth_with_stdin(&self, arguments: &[&str], stdin: &str) -> Output {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        Output::from(child.wait_with_output().unwrap())
    }

    /// The library in this process; a terminal on both sides if `terminal`.
    pub(crate) fn in_process(&self, arguments: &[&str], terminal: bool) -> Output {
        let config = self.path("qauth.toml");
        let argv = ["qauth", "--config", config.to_str().unwrap()].into_iter().chain(arguments.iter().copied());
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let status = qauth_cli::run_with(
            argv.map(OsString::from),
            &mut Streams {
                stdin: &mut std::io::empty(),
                stdout: &mut stdout,
                stderr: &mut stderr,
                stdout_is_terminal: terminal,
                stderr_is_terminal: terminal,
                no_color: false,
            },
        );
        let (stdout, stderr) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
        Output { status, stdout, stderr }.checked()
    }

    /// A call of the control API that must succeed.
    pub(crate) fn script(&self, name: &str, body: Value) -> Value {
        self.http("POST", &format!("/_sim/{name}"), "", &body.to_string()).1
    }

    pub(crate) fn count(&self, vendor: &str, counter: &str) -> u64 {
        let (_, state) = self.http("GET", "/_sim/state", "", "");
        state["vendors"][vendor][counter].as_u64().unwrap_or_else(|| panic!("{vendor} {counter} in {state}"))
    }

    /// A request by hand, with header lines; the status and the answer as JSON.
    pub(crate) fn http(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(self.sim.addr()).unwrap();
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}", self.sim.addr());
        write!(stream, "{head}Content-Length: {length}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    /// The next `times` requests to this endpoint get this status and no effect.
    pub(crate) fn fault(&self, vendor: &str, endpoint: &str, status: u16, times: u32) {
        self.script("faults", json!({"vendor": vendor, "endpoint": endpoint, "status": status, "times": times}));
    }
}

pub(crate) fn finish(mut command: Command) -> Output {
    Output::from(command.output().unwrap())
}

impl From<std::process::Output> for Output {
    fn from(output: std::process::Output) -> Output {
        let status = output.status.code().expect("it was not killed").try_into().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Output { status, stdout: text(output.stdout), stderr: text(output.stderr) }.checked()
    }
}

impl Output {
    /// What holds for every command: no secret and no token on stderr.
    fn checked(self) -> Output {
        for secret in SECRETS.iter().chain(&["canary", "eyJ", "Bearer"]) {
            assert!(!self.stderr.contains(secret), "{secret} in {}", self.stderr);
        }
        self
    }

    /// Success, with nothing to say about it; stdout.
    #[track_caller]
    pub(crate) fn fine(self) -> String {
        assert_eq!((self.status, self.stderr.as_str()), (0, ""), "{}", self.stdout);
        self.stdout
    }

    #[track_caller]
    pub(crate) fn json(self) -> Value {
        let text = self.fine();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
    }

    /// No result, this status and this word on stderr; stderr.
    #[track_caller]
    pub(crate) fn fails(self, status: u8, code: &str) -> String {
        assert_eq!((self.status, self.stdout.as_str()), (status, ""), "{}", self.stderr);
        assert!(self.stderr.starts_with(&format!("error: {code}: ")), "{}", self.stderr);
        self.stderr
    }

    /// The same with `--json`; the object inside.
    #[track_caller]
    pub(crate) fn fails_in_json(self, status: u8, code: &str) -> Value {
        assert_eq!((self.status, self.stdout.as_str()), (status, ""), "{}", self.stderr);
        let value: Value =
            serde_json::from_str(&self.stderr).unwrap_or_else(|error| panic!("{error} in {}", self.stderr));
        let error = value["error"].clone();
        assert_eq!(error["code"], code, "{error}");
        let keys: Vec<&str> = error.as_object().unwrap().keys().map(String::as_str).collect();
        let expected =
            "code message profile provider status server_error server_error_description retryable retry_after";
        assert_eq!(keys.join(" "), expected);
        error
    }
}

fn configuration(sim: &str) -> String {
    let profiles = [
        (
            "pricing",
            "quantaprice",
            "quantaprice",
            vec![("client_id", known::QUANTAPRICE_CLIENT_ID), ("client_secret", known::QUANTAPRICE_CLIENT_SECRET)],
        ),
        (
            "orders",
            "quiqup",
            "quiqup",
            vec![("client_id", known::QUIQUP_CLIENT_ID), ("client_secret", known::QUIQUP_CLIENT_SECRET)],
        ),
        (
            "pim",
            "quable",
            "quable/acme",
            vec![("username", known::QUABLE_USERNAME), ("password", known::QUABLE_PASSWORD)],
        ),
        ("generic", "quable", "quable/acme", vec![("grant", "static"), ("generic_token", known::QUABLE_GENERIC_TOKEN)]),
        (
            "reports",
            "quartile",
            "quartile",
            vec![
                ("username", known::QUARTILE_USERNAME),
                ("password", known::QUARTILE_PASSWORD),
                ("subscription_key", known::QUARTILE_SUBSCRIPTION_KEY),
            ],
        ),
        (
            "cards",
            "qpay",
            "qpay",
            vec![("client_id", known::QPAY_CLIENT_ID), ("client_secret", known::QPAY_CLIENT_SECRET)],
        ),
        (
            "console",
            "qpay",
            "qpay",
            vec![("grant", "password"), ("username", known::QPAY_USERNAME), ("password", known::QPAY_PASSWORD)],
        ),
    ];
    let mut text = String::new();
    for (name, provider, path, fields) in profiles {
        text.push_str(&format!("[profiles.{name}]\nprovider = \"{provider}\"\nbase_url = \"{sim}/{path}\"\n"));
        for (key, value) in fields {
            text.push_str(&format!("{key} = \"{value}\"\n"));
        }
    }
    text
}
