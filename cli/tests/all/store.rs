//! `qauth status` and `qauth clear`, on a store that processes share and on one that they do not.

use serde_json::{Value, json};

use crate::support::{Bench, finish};

/// The bench's profiles, with a folder for their tokens.
fn with_files() -> Bench {
    let bench = Bench::new();
    let profiles = std::fs::read_to_string(bench.path("qauth.toml")).unwrap();
    bench.file("qauth.toml", &format!("{profiles}[store]\nkind = \"file\"\npath = \"store\"\n"));
    bench
}

/// The words of a line in order, where columns are two spaces apart.
fn cells(line: &str) -> Vec<&str> {
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

#[test]
fn a_token_of_one_process_is_told_by_a_second_cleared_by_a_third_and_obtained_anew_by_a_fourth() {
    let bench = with_files();
    let first = bench.qauth(&["token", "orders"]).fine();
    assert_eq!(bench.qauth(&["token", "orders"]).fine(), first);
    let table = bench.qauth(&["status"]).fine();
    let lines: Vec<Vec<&str>> = table.lines().map(cells).collect();
    let heading = ["PROFILE", "PROVIDER", "STATE", "EXPIRES", "REFRESH TOKEN", "FAILURE", "WRITTEN", "BY", "NAME"];
    assert_eq!(lines[0], heading);
    assert_eq!((lines.len(), &lines[1][..3]), (2, &["orders", "quiqup", "valid"][..]), "{table}");
    assert!(lines[1][3].starts_with("in 59 min") || lines[1][3] == "in 60 min", "{table}");
    assert!(!table.contains(first.trim()), "{table}");

    assert_eq!(bench.qauth(&["clear", "orders"]).fine(), "cleared: the next token is obtained anew\n");
    let told = bench.qauth(&["status", "--json"]).json();
    assert_eq!((&told[0]["profile"], &told[0]["state"]), (&json!("orders"), &json!("empty")));
    assert_ne!(bench.qauth(&["token", "orders"]).fine(), first);
    assert_eq!(bench.count("quiqup", "token_requests"), 2);
    assert_eq!(bench.qauth(&["status", "--json"]).json()[0]["state"], "valid");
}

#[test]
fn in_json_a_record_has_every_field_and_no_token() {
    let bench = with_files();
    let token = bench.qauth(&["token", "console"]).fine();
    let told = bench.qauth(&["status", "--json"]).json();
    let record = told[0].as_object().unwrap();
    let keys: Vec<&str> = record.keys().map(String::as_str).collect();
    let expected = "name profile provider state generation obtained_at expires_at has_refresh_token refresh_expires_at \
                    failure failure_until written_at written_by error";
    assert_eq!(keys.join(" "), expected);
    assert_eq!(record["has_refresh_token"], true);
    let (from, to) = (record["obtained_at"].as_u64().unwrap(), record["expires_at"].as_u64().unwrap());
    assert!(from < to && to < record["refresh_expires_at"].as_u64().unwrap(), "{told}");
    assert!(record["written_by"].as_str().is_some_and(|by| !by.is_empty()), "{told}");
    let file = bench.path("store").join(format!("{}.v1", record["name"].as_str().unwrap()));
    assert!(file.exists(), "{}", file.display());
    let sealed = std::fs::read_to_string(file).unwrap();
    let text = told.to_string();
    assert!(!text.contains(token.trim()) && sealed.contains(token.trim()), "{text}");
}

#[test]
fn a_refusal_is_told_with_its_code_and_ends_with_clear() {
    let bench = with_files();
    bench.fault("quiqup", "token", 401, 1);
    assert_ne!(bench.qauth(&["token", "orders"]).status, 0);
    let told = bench.qauth(&["status", "--json"]).json();
    assert_eq!((&told[0]["state"], &told[0]["failure"]), (&json!("refused"), &json!("invalid_client")), "{told}");
    let table = bench.qauth(&["status"]).fine();
    assert!(cells(table.lines().nth(1).unwrap())[3].starts_with("invalid_client, tried again"), "{table}");
    let done = bench.qauth(&["clear", "orders", "--json"]).json();
    assert_eq!(done, json!({"profile": "orders", "provider": "quiqup", "cleared": true}));
    bench.qauth(&["token", "orders"]).fine();
}

#[test]
fn a_narrowed_token_is_cleared_by_its_narrowing() {
    let bench = with_files();
    for scope in [&[][..], &["--scope", "email"]] {
        bench.qauth(&[&["token", "cards"], scope].concat()).fine();
    }
    assert_eq!(bench.qauth(&["status", "--json"]).json().as_array().unwrap().len(), 2);
    let states = || {
        let told = bench.qauth(&["status", "--json"]).json();
        let mut states: Vec<Value> = told.as_array().unwrap().iter().map(|record| record["state"].clone()).collect();
        states.sort_by_key(Value::to_string);
        states
    };
    bench.qauth(&["clear", "cards", "--scope", "email"]).fine();
    assert_eq!(states(), ["empty", "valid"]);
    bench.qauth(&["clear", "cards"]).fine();
    assert_eq!(states(), ["empty", "empty"]);
}

#[test]
fn a_record_that_cannot_be_read_is_told_with_the_reason() {
    let bench = with_files();
    bench.qauth(&["token", "orders"]).fine();
    let name = bench.qauth(&["status", "--json"]).json()[0]["name"].as_str().unwrap().to_owned();
    std::fs::write(bench.path("store").join(format!("{name}.v1")), "nonsense").unwrap();
    let shown = bench.qauth(&["status"]);
    assert_eq!((shown.status, cells(shown.stdout.lines().nth(1).unwrap())[0]), (0, "unreadable"), "{}", shown.stdout);
    assert!(shown.stderr.starts_with(&format!("note: record {}: ", &name[..12])), "{}", shown.stderr);
    let told = bench.qauth(&["status", "--json"]).json();
    assert_eq!((&told[0]["state"], &told[0]["error"]["code"]), (&json!("unreadable"), &json!("store")));
}

#[test]
fn an_empty_store_is_no_error_and_memory_says_whose_it_is() {
    let bench = Bench::new();
    bench.qauth(&["token", "orders"]).fine();
    let shown = bench.qauth(&["status"]);
    assert_eq!((shown.status, shown.stdout.as_str()), (0, ""), "{}", shown.stderr);
    assert!(shown.stderr.starts_with("note: the store is empty\nnote: a store of kind memory"), "{}", shown.stderr);
    assert_eq!(bench.qauth(&["status", "--quiet"]).fine(), "");
    assert_eq!(bench.qauth(&["status", "--json"]).json(), json!([]));
    let done = bench.qauth(&["clear", "orders"]);
    assert_eq!((done.status, done.stdout.as_str()), (0, "there was nothing to clear\n"));
    assert!(done.stderr.starts_with("note: a store of kind memory"), "{}", done.stderr);
    assert_eq!(bench.qauth(&["clear", "orders", "--json"]).json()["cleared"], false);
    let said = bench.qauth(&["clear", "nowhere"]).fails(3, "config");
    assert!(said.contains("nowhere"), "{said}");
    finish(bench.bare_command(&["clear", "quiqup"])).fails(3, "config");
}

#[test]
fn a_terminal_has_a_bold_heading() {
    let bench = with_files();
    bench.qauth(&["token", "orders"]).fine();
    let table = bench.in_process(&["status"], true).stdout;
    assert!(table.starts_with("\x1b[1mPROFILE") && table.matches('\x1b').count() == 2, "{table:?}");
}
