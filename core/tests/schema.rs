//! `docs/schema/*.json` are what the types say. `QAUTH_UPDATE_SCHEMA=1 cargo test -p qauth-core --features schema --test
//! schema` writes them anew.

use std::path::{Path, PathBuf};

use jsonschema::error::ValidationErrorKind;
use qauth_core::{Provider, schema};
use serde_json::Value;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn toml(text: &str) -> Value {
    serde_json::to_value(toml::from_str::<toml::Table>(text).unwrap()).unwrap()
}

/// Where `value` does not fit, as JSON Pointers.
fn faults(schema: &Value, value: &Value) -> Vec<String> {
    let schema = jsonschema::draft202012::new(schema).unwrap();
    let places = schema.iter_errors(value).flat_map(|error| {
        let place = error.instance_path().to_string();
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                unexpected.iter().map(|name| format!("{place}/{name}")).collect()
            }
            ValidationErrorKind::PropertyNames { error } => {
                vec![format!("{place}/{}", error.instance().as_str().unwrap_or_default())]
            }
            _ => vec![place],
        }
    });
    places.collect()
}

fn compare(name: &str, made: &Value) {
    let path = root("docs/schema").join(name);
    let made = format!("{made:#}\n");
    if std::env::var_os("QAUTH_UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let first = made.lines().zip(committed.lines()).position(|(made, committed)| made != committed);
    let first = first.unwrap_or_else(|| made.lines().count().min(committed.lines().count())) + 1;
    assert!(made == committed, "docs/schema/{name} is outdated from line {first} on; run `make schema`");
}

#[test]
fn the_committed_schemas_are_what_the_types_say() {
    compare("provider.schema.json", &schema::provider());
    compare("qauth.schema.json", &schema::configuration());
}

#[test]
fn every_built_in_and_every_contributed_file_fits() {
    let schema = schema::provider();
    for provider in Provider::all() {
        assert_eq!(faults(&schema, &toml(provider.source())), [""; 0], "{}", provider.name());
    }
    for entry in std::fs::read_dir(root("core/providers/contrib")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.ends_with(".toml") && !name.ends_with(".test.toml") {
            assert_eq!(faults(&schema, &toml(&std::fs::read_to_string(&path).unwrap())), [""; 0], "{name}");
        }
    }
}

#[test]
fn a_wrong_provider_file_does_not_fit_where_its_mistake_is() {
    let schema = schema::provider();
    let right = Provider::built_in("quartile").unwrap().source().to_owned();
    for (from, to, at) in [
        ("name = \"quartile\"", "nmae = \"quartile\"", "nmae"),
        ("name = \"quartile\"", "name = 7", "name"),
        ("secret = true", "secret = \"yes\"", "credentials/password/secret"),
        ("path = \"/auth/v2/login\"", "path = \"/{A}\"", "grants/login/path"),
        ("path = \"/auth/v2/login\"", "path = \"/x\"\nbodyy = {}", "grants/login/bodyy"),
        ("[grants.login]", "[grants.logins]", "grants/logins"),
        ("token_type = \"/authorization/type\"", "token_type = \"authorization\"", "answer/token_type"),
        (
            "token_type = \"/authorization/type\"",
            "token_type = { header = \"a\", cookie = \"b\" }",
            "answer/token_type",
        ),
        (
            "token_type = \"/authorization/type\"",
            "token_type = { header = \"a\", unit = \"days\" }",
            "answer/token_type",
        ),
        ("token_type = \"/authorization/type\"", "failed_when = { path = \"/x\" }", "answer/failed_when"),
        ("max = \"43200s\"", "max = \"-1s\"", "lifetime/max"),
        ("on_401 = \"result\"", "on_401 = \"results\"", "operations/validate/on_401"),
    ] {
        let text = right.replacen(from, to, 1);
        assert_ne!(text, right, "{from}");
        assert!(!Provider::check_toml(&text).is_empty(), "{to}");
        let found = faults(&schema, &toml(&text));
        assert!(found.iter().any(|fault| fault.starts_with(&format!("/{at}"))), "{to}: {found:?}");
    }
}

#[test]
fn a_configuration_fits_and_a_wrong_one_does_not() {
    let schema = schema::configuration();
    let right = r#"
allow_commands = true
[profiles.orders]
provider = "quiqup"
base_url = "http://127.0.0.1:8080/quiqup"
client_id = "quiqup-client"
client_secret = "file:quiqup.secret"
allowed_hosts = ["api.example.com"]
timeout = 10
mode = "on_demand"
[profiles.house]
provider = "house"
credentials = [{ key = "env:HOUSE_KEY" }, { key = "file:next.key" }]
[providers.house.credentials]
key = { env = "HOUSE_KEY", secret = true }
[providers.house.grants.static]
token = "{key}"
[store]
kind = "memory"
[transport]
connect_timeout = "2s"
[testing]
clock = "manual"
"#;
    assert_eq!(faults(&schema, &toml(right)), [""; 0]);
    for (from, to, at) in [
        ("provider = \"house\"", "", "profiles/house"),
        ("client_id = \"quiqup-client\"", "client_id = 7", "profiles/orders/client_id"),
        ("mode = \"on_demand\"", "mode = \"sometimes\"", "profiles/orders/mode"),
        ("timeout = 10", "timeout = \"soon\"", "profiles/orders/timeout"),
        ("{ key = \"file:next.key\" }", "7", "profiles/house/credentials/1"),
        ("{ key = \"file:next.key\" }", "{ key = 7 }", "profiles/house/credentials/1/key"),
        ("[profiles.house]", "[profiles.\"a b\"]", "profiles/a b"),
        ("token = \"{key}\"", "token = \"{\"", "providers/house/grants/static/token"),
        ("kind = \"memory\"", "kind = \"cloud\"", "store/kind"),
        ("[testing]", "[tests]", "tests"),
    ] {
        let text = right.replacen(from, to, 1);
        assert_ne!(text, right, "{from}");
        let found = faults(&schema, &toml(&text));
        assert!(found.iter().any(|fault| fault.starts_with(&format!("/{at}"))), "{to}: {found:?}");
    }
}
