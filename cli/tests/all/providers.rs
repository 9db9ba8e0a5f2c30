//! `qauth providers`.

use serde_json::{Value, json};

use crate::support::{Bench, finish};

#[test]
fn the_table_lists_all_of_them() {
    let bench = Bench::new();
    let table = bench.qauth(&["providers"]).fine();
    assert!(table.starts_with("NAME "), "{table}");
    let list = bench.qauth(&["providers", "--json"]).json();
    assert_eq!(list.as_array().unwrap().len(), table.lines().count() - 1);
    for provider in list.as_array().unwrap() {
        let name = provider["name"].as_str().unwrap();
        let line = table.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
        let words = [&provider["grants"], &provider["environments"]].map(|list| {
            list.as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect::<Vec<_>>().join(", ")
        });
        assert!(words.iter().all(|words| line.contains(words)), "{line}");
        assert!(line.contains(provider["description"].as_str().unwrap()), "{line}");
    }
}

#[test]
fn one_is_shown_with_its_fields_grants_environments_and_operations() {
    let bench = Bench::new();
    let shown = bench.qauth(&["providers", "qpay"]).fine();
    let line = |start: &str| {
        let found = shown.lines().find(|line| line.trim_start().starts_with(start));
        found.unwrap_or_else(|| panic!("{start} in {shown}")).split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("client_secret"), "client_secret QPAY_CLIENT_SECRET secret");
    assert_eq!(line("client_id"), "client_id QPAY_CLIENT_ID");
    assert_eq!(line("realm"), "realm QPAY_REALM default \"qpay\"; matches [A-Za-z0-9_-]+");
    assert_eq!(line("client_credentials"), "client_credentials default");
    assert_eq!(line("sandbox"), "sandbox default");
    assert!(
        line("create_client")
            .starts_with("create_client POST /credentials/clients tenant_id=… name=… roles=… a new client"),
        "{shown}"
    );

    let value = bench.qauth(&["providers", "qpay", "--json"]).json();
    let field = value["fields"].as_array().unwrap().iter().find(|field| field["name"] == "password").unwrap();
    assert_eq!((&field["env"], &field["secret"]), (&json!("QPAY_PASSWORD"), &json!(true)));
    let operations = value["operations"].as_array().unwrap();
    let operation = operations.iter().find(|operation| operation["name"] == "get_client").unwrap();
    assert_eq!(operation["parameters"], json!([{"name": "id", "required": true}]));
}

#[test]
fn every_built_in_one_can_be_shown_and_its_file_printed_word_for_word() {
    let bench = Bench::new();
    for provider in bench.qauth(&["providers", "--json"]).json().as_array().unwrap() {
        let name = provider["name"].as_str().unwrap();
        assert!(bench.qauth(&["providers", name]).fine().starts_with(&format!("{name}: ")));
        let text = bench.qauth(&["providers", name, "--toml"]).fine();
        assert!(text.contains(&format!("name = {name:?}")), "{text}");
        let value = bench.qauth(&["providers", name, "--toml", "--json"]).json();
        assert_eq!(value["toml"], Value::from(text));
    }
}

#[test]
fn a_file_is_checked_and_a_table_of_the_configuration_is_listed() {
    let bench = Bench::new();
    let text = bench.qauth(&["providers", "quantaprice", "--toml"]).fine();
    bench.file("mine.toml", &text.replace("\"quantaprice\"", "\"mine\""));
    assert!(bench.qauth(&["providers", "./mine.toml"]).fine().starts_with("mine: "));
    bench.file("wrong.toml", &format!("{text}\n[nonsense]\n"));
    let said = bench.qauth(&["providers", "wrong.toml"]).fails(3, "config");
    assert!(said.contains("nonsense"), "{said}");
    bench.qauth(&["providers", "nowhere.toml"]).fails(3, "config");

    bench.file(
        "own.toml",
        "[providers.house]\ndescription = \"our own\"\n[providers.house.credentials]\nkey = { env = \"HOUSE_KEY\", secret = true }\n\
         [providers.house.environments.main]\nbase_url = \"https://house.example\"\n[providers.house.grants.static]\ntoken = \"{key}\"\n",
    );
    let list = bench.qauth(&["providers", "--config", "own.toml"]).fine();
    assert!(list.lines().any(|line| line.starts_with("house") && line.contains("our own")), "{list}");
    assert!(bench.qauth(&["providers", "house", "--config", "own.toml"]).fine().contains("HOUSE_KEY"));
    bench.qauth(&["providers", "house", "--toml", "--config", "own.toml"]).fails(17, "unsupported");
}

#[test]
fn an_unknown_one_is_refused_with_those_there_are() {
    let bench = Bench::new();
    let said = finish(bench.bare_command(&["providers", "nowhere"])).fails(3, "config");
    assert!(said.contains("quantaprice") && said.contains("quartile"), "{said}");
}
