//! What the end of a process leaves in the store.

#[path = "support/held.rs"]
mod held;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use held::{Held, folder};
use qauth_core::{Engine, TokenOptions};
use serde_json::json;

const AT: &str = "QAUTH_TEST_EXIT_URL";
const FOLDER: &str = "QAUTH_TEST_EXIT_FOLDER";

fn engine(url: &str, folder: &Path, single_session: bool) -> Engine {
    let config = json!({
        "store": {"kind": "file", "path": folder},
        "profiles": {"p": {
            "provider": {
                "name": "acme",
                "environments": {"production": {"base_url": url}},
                "credentials": {"key": {"secret": true}},
                "grants": {"login": {"path": "/login", "json": {"key": "{key}"}}},
                "lifetime": {"single_session": single_session},
            },
            "base_url": url,
            "key": "k",
        }},
    });
    Engine::from_value(config).unwrap()
}

/// What the next tests start again: it ends while its login is under way. By itself it does nothing.
#[test]
#[allow(clippy::print_stdout)]
fn child_that_ends() {
    let (Ok(url), Some(folder)) = (std::env::var(AT), std::env::var_os(FOLDER)) else { return };
    let single_session = std::env::var_os("QAUTH_TEST_EXIT_SINGLE").is_some();
    let source = engine(&url, Path::new(&folder), single_session).source("p").unwrap();
    std::thread::spawn(move || source.token_blocking(TokenOptions::default()));
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    println!("\nends");
    std::process::exit(7);
}

/// Starts it, lets it end when its login has come, and answers that `after` it said so. What a sibling finds then.
fn ended(single_session: bool, after: Duration) -> Option<String> {
    let folder = folder();
    let server = Held::start();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child_that_ends", "--nocapture"])
        .env(AT, &server.url)
        .env(FOLDER, folder.path().join("store"));
    if single_session {
        command.env("QAUTH_TEST_EXIT_SINGLE", "1");
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let asked = server.next();
    drop(child.stdin.take());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    lines.find(|line| line == "ends").expect("the child says so");
    // Nothing shows that a process is at its end but that it stays there.
    std::thread::sleep(after);
    asked.gives("late", 3600);
    assert_eq!(child.wait().unwrap().code(), Some(7));
    let source = engine(&server.url, &folder.path().join("store"), single_session).source("p").unwrap();
    let sibling = std::thread::spawn(move || source.token_blocking(TokenOptions::default()));
    match server.asked.recv_timeout(Duration::from_millis(200)) {
        Ok(asked) => asked.gives("another", 3600),
        Err(_) => return Some(sibling.join().unwrap().unwrap().access_token().to_owned()),
    }
    sibling.join().unwrap().unwrap();
    None
}

/// fault 74
#[test]
fn a_login_that_is_under_way_is_stored_before_the_process_ends() {
    assert_eq!(ended(true, Duration::from_millis(200)).as_deref(), Some("late"));
}

#[test]
fn what_can_be_had_again_does_not_keep_a_process_from_ending() {
    assert_eq!(ended(false, Duration::from_millis(200)), None);
}

#[test]
fn a_process_does_not_wait_for_ever() {
    // The answer comes after its patience of two seconds.
    assert_eq!(ended(true, Duration::from_millis(2500)), None);
}
