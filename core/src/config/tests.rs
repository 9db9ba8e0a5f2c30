use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::Engine;
use crate::error::ErrorCode;

const CANARY: &str = "canary-5d1e";

fn error(profile: &str) -> String {
    let error = Engine::from_toml(profile).and_then(|engine| engine.source("p")).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Config, "{error}");
    assert!(!error.to_string().contains(CANARY), "{error}");
    error.to_string()
}

fn quantaprice(more: &str) -> String {
    format!(
        "[profiles.p]\nprovider = \"quantaprice\"\nclient_id = \"{}\"\nclient_secret = \"{}\"\n{more}",
        "a".repeat(24),
        "b".repeat(64)
    )
}

#[test]
fn a_profile_of_each_field_wrong_in_turn_names_the_field_and_never_the_value() {
    // fault 1
    assert!(Engine::from_toml(&quantaprice("")).unwrap().source("p").is_ok());
    for (line, names) in [
        (
            "environment = \"canary-5d1e\"",
            "profiles.p.environment: this provider has no such environment; it has production",
        ),
        ("grant = \"canary-5d1e\"", "profiles.p.grant: this provider has no such grant; it has client_credentials"),
        ("base_url = \"http://canary-5d1e.example\"", "profiles.p.base_url: plain http"),
        ("base_url = \"https://u:canary-5d1e@x\"", "profiles.p.base_url: must not hold a user name"),
        ("base_url = 5", "profiles.p.base_url: has the wrong type"),
        ("api_base_url = \"canary-5d1e\"", "profiles.p.api_base_url: is no URL"),
        ("allowed_hosts = [\"https://x/canary-5d1e\"]", "profiles.p.allowed_hosts[0]"),
        ("allowed_hosts = \"canary-5d1e\"", "profiles.p.allowed_hosts: has the wrong type"),
        ("buffer = \"-1s\"", "profiles.p.buffer: expected a duration"),
        ("buffer = nan", "profiles.p.buffer"),
        ("ahead = \"canary-5d1e\"", "profiles.p.ahead: expected a duration"),
        ("timeout = 0", "profiles.p.timeout: must be above 0"),
        ("max_lifetime = \"0s\"", "profiles.p.max_lifetime: must be above 0"),
        ("mode = \"canary-5d1e\"", "profiles.p.mode: has the wrong type or value; expected one of"),
        ("scope = \"canary-5d1e\"", "scope: grant client_credentials of this provider does not send it"),
        ("client_auth = \"client_secret_post\"", "profiles.p.client_auth"),
        ("instance = \"canary-5d1e\"", "profiles.p.instance: is unknown to provider \"quantaprice\""),
    ] {
        let said = error(&quantaprice(line));
        assert!(said.contains(names), "{line}: {said}");
    }
}

#[test]
fn credentials_are_checked_before_anything_is_sent() {
    // faults 1, 2, 3
    for (value, names) in [
        ("\"\"", "is empty"),
        ("5", "has the wrong type"),
        ("\"canary-5d1e\"", "does not have the form the vendor documents"),
        ("\" canary-5d1e\"", "white space"),
        ("\"canary-5d1e\\n\"", "control character"),
        ("\"canary-5d1e\\u0000\"", "control character"),
        ("\"env:QAUTH_TEST_UNSET\"", "QAUTH_TEST_UNSET"),
    ] {
        let text = format!(
            "[profiles.p]\nprovider = \"quantaprice\"\nclient_id = \"{}\"\nclient_secret = {value}",
            "a".repeat(24)
        );
        let said = error(&text);
        assert!(said.contains("profiles.p.client_secret") && said.contains(names), "{value}: {said}");
    }
    let said = error("[profiles.p]\nprovider = \"quantaprice\"\nclient_secret = \"x\"");
    assert!(said.contains("client_id: is missing") && said.contains("QUANTAPRICE_CLIENT_ID"), "{said}");
}

#[test]
fn an_instance_is_one_dns_label() {
    // fault 5
    for wrong in ["acme.evil", "acme/x", "acme@evil", "acme#", "..", "Acme", "-acme", "acme-", "acme evil"] {
        let said = error(&format!(
            "[profiles.p]\nprovider = \"quable\"\ninstance = \"{wrong}\"\nusername = \"api_x\"\npassword = \"{CANARY}\""
        ));
        assert!(said.contains("profiles.p.instance"), "{wrong}: {said}");
    }
}

#[test]
fn unknown_sections_providers_and_profiles_are_named() {
    // fault 7
    for (text, names) in [
        ("[profile.p]", "unknown field `profile`"),
        ("[profiles.p]", "profiles.p.provider: is missing"),
        ("[profiles.p]\nprovider = \"acme\"", "provider \"acme\" is unknown: built in are custom, oauth2"),
        ("[profiles.p]\nprovider = 5", "profiles.p.provider: has the wrong type"),
        ("[profiles.p]\nprovider = \"./nowhere.toml\"", "nowhere.toml"),
        ("[profiles.q]\nprovider = \"quable\"", "profile \"p\" is unknown: there are q"),
        ("[profiles.\"a/b\"]", "a profile's name is"),
        ("[transport]\ntimeout = \"0s\"", "transport.timeout: must be above 0"),
        ("[transport]\ntimeout = nan", "transport.timeout"),
        ("[transport]\nconnect_timeout = inf", "transport.connect_timeout"),
        ("[profiles.p]\nprovider = \"quiqup\"\nbuffer = nan", "profiles.p.buffer"),
        ("[profiles.p]\nprovider = \"quiqup\"\nahead = -inf", "profiles.p.ahead"),
        ("[profiles.p]\nprovider = \"quiqup\"\nmax_lifetime = +inf", "profiles.p.max_lifetime"),
        ("[transport]\nmax_answer_bytes = -1", "transport.max_answer_bytes"),
        ("[transport]\nca_file = \"/nonexistent/ca.pem\"", "transport.ca_file"),
        ("[testing]\nclock = \"sundial\"", "testing.clock"),
        ("[testing]\nseed = 42", "testing.seed"),
        ("[testing]\nclock = \"manual\"\nseed = -1", "testing.seed"),
        ("[testing]\nstart = \"1970-01-01T00:00:00Z\"", "testing.start"),
        ("[testing]\nclock = \"manual\"\nstart = \"1969-12-31T23:59:59Z\"", "testing.start"),
        ("[testing]\nclock = \"manual\"\nstart = \"9999-01-01T00:00:00Z\"", "testing.start"),
        ("[testing]\nclock = \"manual\"\nstart = \"yesterday\"", "testing.start"),
        ("[store]\nencryption_key = \"canary-5d1e\"", "store.encryption_key"),
        ("[providers.acme]\nnmae = 1\n[profiles.p]\nprovider = \"acme\"", "nmae"),
        ("profiles = 3", "profiles"),
    ] {
        let said = error(text);
        assert!(said.contains(names), "{text}: {said}");
    }
}

#[test]
fn an_inline_provider_works_like_a_file() {
    let table = "environments = { production = { base_url = \"https://api.acme.example\" } }\ncredentials = { key = { secret = true } }\ngrants = { login = { path = \"/token\", json = { key = \"{key}\" } } }";
    let inline = format!("[providers.acme]\n{table}\n[profiles.p]\nprovider = \"acme\"\nkey = \"k\"");
    assert_eq!(Engine::from_toml(&inline).unwrap().source("p").unwrap().provider().name(), "acme");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("acme.toml"), format!("name = \"acme\"\n{table}")).unwrap();
    std::fs::write(folder.path().join("qauth.toml"), "[profiles.p]\nprovider = \"./acme.toml\"\nkey = \"k\"").unwrap();
    assert!(Engine::from_file(folder.path().join("qauth.toml")).unwrap().source("p").is_ok());
}

#[test]
fn a_found_file_is_trusted_only_if_nobody_else_can_write_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("qauth.toml");
    let discovery = Discovery { named: None, working_directory: Some(folder.path().into()), folder: None };
    assert!(Config::discover(&discovery).unwrap().profiles.names().is_empty());
    std::fs::write(&path, "allow_commands = true\n[profiles.p]\nprovider = \"quable\"\ninstance = \"acme\"\nusername = \"api_x\"\npassword = \"cmd:printf x\"").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    assert!(Config::discover(&discovery).unwrap_err().to_string().contains("can be written by others"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let engine = Engine::discover_in(&discovery).unwrap();
    assert!(engine.source("p").unwrap_err().to_string().contains("found rather than named"));
    let named = Discovery { named: Some(path), working_directory: None, folder: None };
    assert!(Engine::discover_in(&named).unwrap().source("p").is_ok());
}

#[test]
fn profiles_d_beside_the_configuration_adds_profiles() {
    let folder = tempfile::tempdir().unwrap();
    let profiles = folder.path().join("profiles.d");
    std::fs::create_dir(&profiles).unwrap();
    std::fs::write(
        profiles.join("pim.toml"),
        "provider = \"quable\"\ninstance = \"acme\"\nusername = \"api_x\"\npassword = \"y\"",
    )
    .unwrap();
    std::fs::set_permissions(profiles.join("pim.toml"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let discovery = Discovery { named: None, working_directory: None, folder: Some(folder.path().into()) };
    let engine = Engine::discover_in(&discovery).unwrap();
    assert_eq!(engine.profiles(), ["pim"]);
    assert!(engine.source("pim").is_ok());
}

#[test]
fn a_file_with_an_impossible_name_hides_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let (file, profiles) = (folder.path().join("qauth.toml"), folder.path().join("profiles.d"));
    std::fs::write(&file, "").unwrap();
    let engine = Engine::from_file(&file).unwrap();
    std::fs::create_dir(&profiles).unwrap();
    for name in ["bad name", ".#later", "later"] {
        std::fs::write(profiles.join(name).with_extension("toml"), "provider = \"quable\"").unwrap();
    }
    assert_eq!(engine.profiles(), ["later"]);
    assert!(Engine::from_file(&file).unwrap_err().message().contains("#later"));
}

#[test]
fn a_file_that_cannot_be_looked_at_is_not_taken_for_absent() {
    let folder = tempfile::tempdir().unwrap();
    let (file, profiles) = (folder.path().join("qauth.toml"), folder.path().join("profiles.d"));
    std::fs::write(
        &file,
        "[providers.acme]\ncredentials = { key = { default = \"k\" } }\ngrants.static = { token = \"{key}\" }",
    )
    .unwrap();
    let engine = Engine::from_file(&file).unwrap();
    assert!(engine.source("acme").is_ok() && engine.remove("acme"));
    std::fs::create_dir(&profiles).unwrap();
    // As a folder without the right to search it, which stops everybody but root.
    std::os::unix::fs::symlink("acme.toml", profiles.join("acme.toml")).unwrap();
    let error = engine.source("acme").unwrap_err();
    assert!(error.code() == ErrorCode::Config && error.message().contains("acme.toml"), "{error}");
}

#[test]
fn toml_and_json_say_the_same() {
    let json = r#"{"profiles": {"p": {"provider": "quable", "instance": "acme", "username": "api_x", "password": "y", "buffer": 5}}}"#;
    assert!(Engine::from_json(json).unwrap().source("p").is_ok());
    assert!(Engine::from_json("{\"profiles\": {}, \"profiles\": {}}").is_err());
}

#[test]
fn each_kind_of_store_takes_its_own_keys() {
    let redis = "kind = \"redis\"\nencryption_key = \"env:PATH\"";
    for (table, names) in [
        ("path = \"/tmp\"", "store.path"),
        ("url = \"redis://h\"", "store.url"),
        ("kind = \"file\"\nsentinels = [\"h:1\"]", "store.sentinels"),
        ("kind = \"file\"\nencryption_key = \"canary-5d1e\"", "store.encryption_key"),
        ("kind = \"file\"\nencryption_key = []", "store.encryption_key"),
        ("kind = \"file\"\nencryption_key = \"env:QAUTH_TEST_UNSET\"", "store.encryption_key"),
        ("kind = \"redis\"\nurl = \"redis://h\"", "store.encryption_key"),
        ("kind = \"disk\"", "store.kind"),
        (redis, "store.url"),
        (&format!("{redis}\nurl = \"redis://h\"\nmaster = \"m\""), "store.master"),
        (&format!("{redis}\nurl = \"redis://h\"\nsentinels = [\"h:1\"]\nmaster = \"m\""), "store.url"),
        (&format!("{redis}\nsentinels = [\"h:1\"]"), "store.master"),
        (&format!("{redis}\nurl = \"redis://h\"\ntimeout = \"0s\""), "store.timeout"),
        (&format!("{redis}\nurl = \"redis://h\"\npath = \"/tmp\""), "store.path"),
    ] {
        let said = error(&format!("[store]\n{table}"));
        assert!(said.contains(names), "{table}: {said}");
        assert!(!said.contains("canary"), "{said}");
    }
}
