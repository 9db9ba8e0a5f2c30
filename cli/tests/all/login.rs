//! `qauth login` and `qauth logout`, with a person who is a test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Child;

use qauth_sim::known;
use serde_json::{Value, json};

use crate::support::{Bench, Output};

const ARGUMENTS: [&str; 2] = ["--config", "logins.toml"];

/// Profiles of one server; pauses between polls pass at once.
fn bench() -> Bench {
    let bench = Bench::new();
    let issuer = format!("{}/generic", bench.sim.url());
    let client = known::generic("public_client_id").unwrap();
    let mut text = "[testing]\nclock = \"manual\"\n".to_owned();
    for (name, grant, more) in [
        ("device", "device_code", "refresh_token = \"file:logins/device.login\""),
        ("web", "authorization_code", "refresh_token = \"file:logins/web.login\""),
        ("unkept", "device_code", ""),
    ] {
        text.push_str(&format!(
            "[profiles.{name}]\nprovider = \"oauth2\"\ngrant = \"{grant}\"\nissuer = \"{issuer}\"\nclient_id = \"{client}\"\n\
             scope = \"read offline_access\"\napi_base_url = \"{issuer}/api\"\n{more}\n"
        ));
    }
    bench.file("logins.toml", &text);
    bench
}

fn qauth(bench: &Bench, arguments: &[&str]) -> Output {
    bench.qauth(&[arguments, &ARGUMENTS].concat())
}

/// A command that waits for a browser; the address that it says to open.
fn waiting(bench: &Bench, arguments: &[&str]) -> (Child, String) {
    let arguments = [&["login", "web", "--no-browser", "--json"], arguments, &ARGUMENTS].concat();
    let mut child = bench.command(&arguments).spawn().unwrap();
    let mut line = String::new();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    stderr.read_line(&mut line).unwrap();
    child.stderr = Some(stderr.into_inner());
    let said: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line}"));
    assert_eq!((&said["login"]["kind"], &said["login"]["opened"]), (&json!("authorization_code"), &json!(false)));
    (child, said["login"]["authorization_url"].as_str().unwrap().to_owned())
}

fn ended(child: Child) -> Output {
    Output::from(child.wait_with_output().unwrap())
}

/// What a browser would get.
struct Page {
    status: u16,
    head: String,
    body: String,
}

impl Page {
    fn open(url: &str) -> Page {
        let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Page { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    fn location(&self) -> String {
        let line = self.head.lines().find_map(|line| line.strip_prefix("location: "));
        line.unwrap_or_else(|| panic!("no redirect: {} {}", self.head, self.body)).to_owned()
    }
}

/// Signs in as a browser does; what the last page says.
fn browse(url: &str) -> Page {
    Page::open(&Page::open(url).location())
}

#[test]
fn who_enters_the_code_is_signed_in_and_later_commands_need_nobody() {
    let bench = bench();
    qauth(&bench, &["token", "device"]).fails(6, "reauthentication_required");
    bench.script("device", json!({"outcome": "approve", "after_polls": 2, "enforce_interval": false}));
    let output = qauth(&bench, &["login", "device"]);
    assert_eq!(output.status, 0, "{}", output.stderr);
    assert!(
        output.stderr.contains("/generic/activate\n") && output.stderr.contains("enter the code"),
        "{}",
        output.stderr
    );
    let file = bench.path("logins/device.login");
    assert!(
        output.stdout.starts_with("signed in; ") && output.stdout.contains("logins/device.login"),
        "{}",
        output.stdout
    );
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(!output.stdout.contains(&kept) && !output.stderr.contains(&kept));
    for _ in 0..2 {
        let token = qauth(&bench, &["token", "device", "--json"]).json();
        assert_eq!(token["scope"], "read offline_access");
    }
    let out = qauth(&bench, &["logout", "device"]).fine();
    assert!(out.contains("the refresh token is revoked") && out.contains("is deleted"), "{out}");
    assert!(!file.exists());
    qauth(&bench, &["token", "device"]).fails(6, "reauthentication_required");
    assert_eq!(qauth(&bench, &["logout", "device"]).fine(), "nobody was signed in\n");
}

#[test]
fn with_json_a_program_can_show_the_code_itself() {
    let bench = bench();
    bench.script("device", json!({"outcome": "approve", "enforce_interval": false}));
    let output = qauth(&bench, &["login", "device", "--json"]);
    assert_eq!(output.status, 0, "{}", output.stderr);
    let shown: Value = serde_json::from_str(&output.stderr).unwrap();
    let keys: Vec<&str> = shown["login"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys.join(" "), "kind verification_uri verification_uri_complete user_code expires_in");
    let done: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!((&done["kind"], &done["refresh_token_given"]), (&json!("device_code"), &json!(true)));
    assert!(done["kept_in"].as_str().unwrap().ends_with("logins/device.login"), "{done}");
    let out = qauth(&bench, &["logout", "device", "--json"]).json();
    assert_eq!((&out["refresh_token"], &out["access_token"]), (&json!("revoked"), &json!("absent")));
}

#[test]
fn a_refused_or_expired_code_ends_with_its_own_status() {
    let bench = bench();
    for (outcome, status, code) in [("deny", 7, "access_denied"), ("expire", 6, "reauthentication_required")] {
        bench.script("device", json!({"outcome": outcome, "enforce_interval": false}));
        let output = qauth(&bench, &["login", "device"]);
        assert_eq!((output.status, output.stdout.as_str()), (status, ""), "{}", output.stderr);
        assert!(output.stderr.contains(&format!("error: {code}: ")), "{}", output.stderr);
    }
    assert!(!bench.path("logins/device.login").exists());
}

#[test]
fn a_sign_in_that_nothing_would_keep_is_not_begun() {
    let bench = bench();
    let said = qauth(&bench, &["login", "unkept"]).fails(3, "config");
    assert!(said.contains("refresh_token = \"file:unkept.login\""), "{said}");
    assert_eq!(bench.count("generic", "requests"), 0);
    bench.file("logins", "in the way");
    qauth(&bench, &["login", "device"]).fails(14, "store");
    let said = qauth(&bench, &["login", "unkept", "--set", "refresh_token=canary"]).fails(2, "invalid_argument");
    assert!(said.contains("refresh_token=file:PATH"), "{said}");
}

#[test]
fn the_browser_brings_the_code_and_gets_a_page_without_secrets() {
    let bench = bench();
    let (child, url) = waiting(&bench, &[]);
    let redirect = Page::open(&url).location();
    let page = Page::open(&redirect);
    assert_eq!(page.status, 200);
    assert!(page.body.contains("You can close this window") && !page.body.contains("<script"), "{}", page.body);
    assert!(page.head.contains("cache-control: no-store") && page.head.contains("default-src 'none'"), "{}", page.head);
    let code = redirect.split(['?', '&']).find_map(|pair| pair.strip_prefix("code=")).unwrap().to_owned();
    assert!(!page.body.contains(&code));
    let output = ended(child);
    let done: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{}", output.stderr));
    assert!(done["kept_in"].as_str().unwrap().ends_with("logins/web.login"), "{done}");
    assert!(!output.stdout.contains(&code) && output.stderr.is_empty(), "{}", output.stderr);
    assert_eq!(qauth(&bench, &["token", "web", "--json"]).json()["token_type"], "Bearer");
}

#[test]
fn what_others_send_to_the_waiting_command_ends_nothing() {
    let bench = bench();
    let (child, url) = waiting(&bench, &[]);
    let redirect = Page::open(&url).location();
    let callback = redirect.split('?').next().unwrap();
    for (foreign, status) in [
        (format!("{callback}?code=x&state=canary"), 400),
        (format!("{callback}?error=access_denied&state=canary"), 400),
        (callback.to_owned(), 400),
        (callback.replace("/callback", "/favicon.ico"), 404),
        (callback.replace("/callback", "/"), 404),
    ] {
        assert_eq!(Page::open(&foreign).status, status, "{foreign}");
    }
    // A connection on which nothing comes holds nobody up.
    let address = callback.strip_prefix("http://").unwrap().split('/').next().unwrap();
    let silent = TcpStream::connect(address).unwrap();
    assert_eq!(Page::open(&redirect).status, 200);
    assert_eq!(ended(child).status, 0);
    drop(silent);
}

#[test]
fn a_refusal_by_the_server_or_a_wrong_issuer_ends_the_sign_in() {
    let bench = bench();
    for (next, status, code) in [
        (json!({"error": "access_denied", "error_description": "no"}), 7, "access_denied"),
        (json!({"error": "invalid_scope"}), 6, "reauthentication_required"),
        (json!({"iss": "https://other.example"}), 13, "protocol"),
        (json!({"omit": ["iss"]}), 13, "protocol"),
        (json!({"omit": ["code"]}), 13, "protocol"),
        (json!({"code": "unknown"}), 5, "invalid_grant"),
    ] {
        bench.script("authorize", next.clone());
        let (child, url) = waiting(&bench, &[]);
        let page = browse(&url);
        assert_eq!(page.status, 400, "{next}");
        assert!(page.body.contains("the terminal says why"), "{}", page.body);
        let error = ended(child).fails_in_json(status, code);
        assert_eq!(error["profile"], "web", "{next}");
    }
    assert!(!bench.path("logins/web.login").exists());
}

#[test]
fn nobody_is_waited_for_longer_than_was_said() {
    let bench = bench();
    let (child, _) = waiting(&bench, &["--timeout", "0.2"]);
    let error = ended(child).fails_in_json(11, "timeout");
    assert!(error["message"].as_str().unwrap().contains("nobody has signed in"), "{error}");
}

#[test]
fn the_port_is_the_callers_choice_and_one_that_is_taken_is_named() {
    let bench = bench();
    let taken = bench.sim.addr().port().to_string();
    let said = qauth(&bench, &["login", "web", "--no-browser", "--port", &taken]).fails(2, "invalid_argument");
    assert!(said.contains(&format!("--port {taken}")), "{said}");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (child, url) = waiting(&bench, &["--port", &free.to_string()]);
    assert!(url.contains(&format!("127.0.0.1%3A{free}%2Fcallback")), "{url}");
    browse(&url);
    assert_eq!(ended(child).status, 0);
}

#[test]
fn a_signal_ends_the_wait() {
    let bench = bench();
    let (mut child, _) = waiting(&bench, &[]);
    // Not SIGINT: shells start what runs in the background with that one ignored.
    let sent = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    assert_eq!(child.wait().unwrap().signal(), Some(15));
}

#[test]
fn a_profile_that_needs_nobody_is_tried_out() {
    let bench = Bench::new();
    let said = bench.qauth(&["login", "pricing"]).fine();
    assert!(said.starts_with("nobody has to sign in here: a token was obtained, valid for "), "{said}");
    assert_eq!(bench.qauth(&["login", "pricing", "--json"]).json()["kind"], json!(null));
    bench.fault("quantaprice", "token", 401, 1);
    bench.qauth(&["login", "pricing", "--set", "client_id=ffffffffffffffffffffffff"]).fails(4, "invalid_client");
}

#[test]
fn a_server_that_is_away_does_not_keep_anybody_signed_in() {
    let bench = bench();
    bench.script("device", json!({"outcome": "approve", "enforce_interval": false}));
    assert_eq!(qauth(&bench, &["login", "device"]).status, 0);
    // After the server's description.
    bench.script("faults", json!({"vendor": "generic", "endpoint": "api", "status": 503, "skip": 1}));
    let output = qauth(&bench, &["logout", "device"]);
    assert_eq!(output.status, 9, "{} {}", output.stdout, output.stderr);
    assert!(output.stdout.contains("the refresh token is not revoked"), "{}", output.stdout);
    assert!(output.stderr.contains("server_error") && !bench.path("logins/device.login").exists(), "{}", output.stderr);
}

#[test]
fn without_a_refresh_token_the_sign_in_says_what_to_ask_for() {
    let bench = bench();
    bench.script("device", json!({"outcome": "approve", "enforce_interval": false}));
    bench.script("faults", json!({"vendor": "generic", "endpoint": "token", "remove": ["/refresh_token"]}));
    let output = qauth(&bench, &["login", "device"]);
    assert_eq!((output.status, output.stdout.as_str()), (0, "signed in\n"), "{}", output.stderr);
    assert!(output.stderr.contains("note: ") && output.stderr.contains("offline_access"), "{}", output.stderr);
}
