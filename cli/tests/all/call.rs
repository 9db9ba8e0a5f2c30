//! `qauth call`.

use serde_json::{Value, json};

use crate::support::Bench;

#[test]
fn operations_of_the_vendors_answer_json_on_one_line() {
    let bench = Bench::new();
    let printed = bench.qauth(&["call", "pricing", "prices", "sku=A-1"]).fine();
    assert_eq!(printed.lines().count(), 1);
    assert!(printed.contains("A-1"), "{printed}");
    assert_eq!(bench.qauth(&["call", "reports", "validate"]).json(), json!(true));
    assert!(bench.qauth(&["call", "console", "whoami"]).json().is_object());
    let printed = bench.in_process(&["call", "console", "whoami"], true).fine();
    assert!(printed.lines().count() > 1 && serde_json::from_str::<Value>(&printed).is_ok(), "{printed}");
}

#[test]
fn a_clients_life_through_the_credentials_api() {
    let bench = Bench::new();
    let create = ["call", "console", "create_client", "tenant_id=issuer-001", "name=batch", "roles:=[\"issuer\"]"];
    let created = bench.qauth(&create);
    assert_eq!(created.status, 0, "{}", created.stderr);
    assert_eq!(created.stderr, "note: client_secret is shown this once only: store it now\n");
    let client: Value = serde_json::from_str(&created.stdout).unwrap();
    let secret = client["client_secret"].as_str().unwrap();
    assert!(!created.stderr.contains(secret));
    let id = format!("id={}", client["id"].as_str().unwrap());

    assert!(bench.qauth(&["call", "console", "list_clients", "tenant_id=issuer-001"]).fine().contains("batch"));
    assert!(!bench.qauth(&["call", "console", "get_client", &id]).fine().contains(secret));
    bench.qauth(&["call", "console", "update_roles", &id, "roles:=[]"]).fine();
    bench.qauth(&["call", "console", "roles"]).fine();
    bench.qauth(&["call", "console", "delete_client", &id]).fine();
    bench.qauth(&["--quiet", "call", "console", "create_client", "tenant_id=issuer-001", "name=b", "roles:=[]"]).fine();
}

#[test]
fn a_new_client_is_saved_as_a_profile_that_works_at_once() {
    let bench = Bench::new();
    let create =
        ["call", "console", "create_client", "tenant_id=issuer-001", "name=b", "roles:=[]", "--save-as", "batch"];
    let created = bench.qauth(&create);
    assert_eq!(created.status, 0, "{}", created.stderr);
    assert_eq!(created.stderr, "note: client_secret is shown this once only: it is kept in profile batch\n");
    let client: Value = serde_json::from_str(&created.stdout).unwrap();
    let saved = std::fs::read_to_string(bench.path("profiles.d/batch.toml")).unwrap();
    assert!(saved.contains(client["client_secret"].as_str().unwrap()), "{saved}");
    bench.qauth(&["token", "batch"]).fine();
    let said = bench.qauth(&create).fails(2, "invalid_argument");
    assert!(said.contains("batch is a profile already"), "{said}");
}

#[test]
fn an_answer_that_cannot_be_saved_is_printed_before_the_error() {
    let bench = Bench::new();
    let answer = json!({"id": "x", "client_secret": "canary-secret"});
    let fault = json!({"vendor": "qpay", "endpoint": "api", "status": 201, "body": answer});
    bench.script("faults", fault);
    let create =
        ["call", "console", "create_client", "tenant_id=issuer-001", "name=b", "roles:=[]", "--save-as", "batch"];
    let created = bench.qauth(&create);
    assert_eq!(created.status, 13, "{}", created.stderr);
    assert_eq!(serde_json::from_str::<Value>(&created.stdout).unwrap(), answer);
    assert!(created.stderr.contains("/client_id") && !created.stderr.contains("canary"), "{}", created.stderr);
    assert!(!bench.path("profiles.d/batch.toml").exists());
}

#[test]
fn a_parameter_comes_from_a_file_or_standard_input() {
    let bench = Bench::new();
    bench.file("sku", "A-77\n");
    bench.file("sku.json", "\"A-78\"");
    assert!(bench.qauth(&["call", "pricing", "prices", "sku=@sku"]).fine().contains("A-77"));
    assert!(bench.qauth(&["call", "pricing", "prices", "sku:=@sku.json"]).fine().contains("A-78"));
    let printed = bench.qauth_with_stdin(&["call", "pricing", "prices", "sku=@-"], "A-79\n").fine();
    assert!(printed.contains("A-79") && !printed.contains("\\n"), "{printed}");
}

#[test]
fn mistakes_are_named_before_anything_is_sent() {
    let bench = Bench::new();
    for (arguments, named) in [
        (&["call", "pricing", "nonsense"][..], "operation \"nonsense\" is unknown"),
        (&["call", "pricing", "prices"], "parameter \"sku\" is missing"),
        (&["call", "pricing", "prices", "sku=1", "color=canary"], "parameter \"color\" is unknown"),
        (&["call", "pricing", "prices", "canary"], "parameter 1: expected name=value"),
        (&["call", "pricing", "prices", "sku:=canary"], "parameter sku: is not JSON"),
    ] {
        let said = bench.qauth(arguments).fails(2, "invalid_argument");
        assert!(said.contains(named), "{said}");
    }
    let said = bench.qauth(&["call", "pricing", "nonsense"]).stderr;
    assert!(said.contains("hint: `qauth providers quantaprice`"), "{said}");
    assert_eq!(bench.count("quantaprice", "requests"), 0);
    let said = bench.qauth(&["call", "cards", "whoami"]).fails(3, "config");
    assert!(said.contains("password"), "{said}");
}

#[test]
fn a_refusal_of_the_api_is_an_error_with_its_status() {
    let bench = Bench::new();
    bench.fault("quantaprice", "api", 403, 1);
    let error = bench.qauth(&["call", "pricing", "prices", "sku=1", "--json"]).fails_in_json(7, "access_denied");
    assert_eq!((&error["status"], &error["retryable"]), (&json!(403), &json!(false)));
    bench.fault("quantaprice", "api", 500, 1);
    let error = bench.qauth(&["call", "pricing", "prices", "sku=1", "--json"]).fails_in_json(9, "server_error");
    assert_eq!(error["retryable"], true);
}
