//! `qauth providers check` and `qauth providers test`.

use serde_json::json;

use crate::support::Bench;

const RECORDING: &str = r#"
[[test]]
name = "client credentials give a token"
profile = { client_id = "0123456789abcdef01234567", client_secret = "file:secret" }
[[test.exchange]]
request = { method = "POST", url = "https://login.quantaprice.com/oauth2/token" }
response = { status = 200, json = { access_token = "a-token", expires_in = 300 } }
[test.expect]
access_token = "a-token"
[[test]]
name = "a wrong secret is refused"
profile = { client_id = "0123456789abcdef01234567", client_secret = "file:secret" }
[[test.exchange]]
request = { method = "POST", url = "https://login.quantaprice.com/oauth2/token" }
response = { status = 401, json = { error = "invalid_client" } }
[test.expect]
error = "invalid_client"
"#;

fn bench() -> (Bench, String) {
    let bench = Bench::new();
    let text = bench.qauth(&["providers", "quantaprice", "--toml"]).fine();
    bench.file("mine.toml", &text);
    bench.file("secret", &"c".repeat(64));
    (bench, text)
}

#[test]
fn a_correct_file_is_said_to_be_correct() {
    let (bench, text) = bench();
    let said = bench.qauth(&["providers", "check", "mine.toml"]).fine();
    assert!(said.starts_with("mine.toml is correct: provider quantaprice, "), "{said}");
    let said = bench.qauth_with_stdin(&["providers", "check", "-"], &text).fine();
    assert!(said.starts_with("<stdin> is correct"), "{said}");
    let value = bench.qauth(&["providers", "check", "mine.toml", "--json"]).json();
    assert_eq!(value, json!({ "file": "mine.toml", "mistakes": [] }));
}

#[test]
fn every_mistake_of_a_file_has_its_own_line() {
    let (bench, _) = bench();
    bench.file("wrong.toml", "name = 7\n[grants.login]\npath = \"token\"\nbodyy = \"canary\"\n");
    let output = bench.qauth(&["providers", "check", "wrong.toml"]);
    assert_eq!((output.status, output.stderr.as_str()), (3, ""));
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(lines[0], "wrong.toml:1:1: name: has the wrong type or value; expected a string");
    assert_eq!(lines[1], "wrong.toml:3:1: grants.login.path: must begin with /");
    assert!(lines[2].starts_with("wrong.toml:4:1: grants.login.bodyy: is unknown; expected one of"), "{}", lines[2]);
    assert_eq!(lines[3..], ["3 mistakes"]);
    assert!(!output.stdout.contains("canary"));

    let output = bench.qauth(&["providers", "check", "wrong.toml", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!((output.status, &value["mistakes"][1]["line"]), (3, &json!(3)));
    bench.qauth(&["providers", "check", "nowhere.toml"]).fails(3, "config");
}

#[test]
fn a_recording_beside_the_file_is_run_without_a_network() {
    let (bench, _) = bench();
    bench.file("mine.test.toml", RECORDING);
    let said = bench.qauth(&["providers", "test", "mine.toml"]).fine();
    assert_eq!(
        said,
        "ok      client credentials give a token\nok      a wrong secret is refused\n2 passed, 0 failed\n"
    );
    let path = bench.path("mine.toml");
    assert_eq!(bench.qauth(&["providers", "test", path.to_str().unwrap()]).fine(), said);
}

#[test]
fn a_failed_test_names_what_differs_and_ends_with_1() {
    let (bench, _) = bench();
    bench.file("other.toml", &RECORDING.replace("access_token = \"a-token\"\n", "access_token = \"another\"\n"));
    let output = bench.qauth(&["providers", "test", "mine.toml", "--recording", "other.toml"]);
    assert_eq!(output.status, 1);
    let first = "failed  client credentials give a token: access_token: expected \"another\", got \"a-token\"";
    assert_eq!(output.stdout.lines().next(), Some(first));
    assert!(output.stdout.ends_with("1 passed, 1 failed\n"));
    let output = bench.qauth(&["providers", "test", "mine.toml", "--recording", "other.toml", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(
        (&value["passed"], &value["failed"], &value["tests"][1]["message"]),
        (&json!(1), &json!(1), &json!(null))
    );
}

#[test]
fn a_test_without_a_recording_or_with_a_wrong_one_is_an_error() {
    let (bench, _) = bench();
    let said = bench.qauth(&["providers", "test", "mine.toml"]).fails(3, "config");
    assert!(said.contains("mine.test.toml"), "{said}");
    bench.file("mine.test.toml", &RECORDING.replace("name =", "nmae ="));
    let said = bench.qauth(&["providers", "test", "mine.toml"]).fails(3, "config");
    assert!(said.contains("nmae"), "{said}");
    bench.file("wrong.toml", "name = 7\n");
    let said = bench.qauth(&["providers", "test", "wrong.toml"]).fails(3, "config");
    assert!(said.contains("qauth providers check wrong.toml"), "{said}");
}
