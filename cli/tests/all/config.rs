//! Where the configuration comes from, and `--set`.

use std::os::unix::fs::PermissionsExt;

use qauth_sim::known;

use crate::support::{Bench, finish};

fn chmod(bench: &Bench, name: &str, mode: u32) {
    std::fs::set_permissions(bench.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn the_working_directory_has_a_configuration_if_nobody_else_can_write_it() {
    let bench = Bench::new();
    finish(bench.bare_command(&["token", "orders"])).fine();
    chmod(&bench, "qauth.toml", 0o666);
    let said = finish(bench.bare_command(&["token", "orders"])).fails(3, "config");
    assert!(said.contains("can be written by others"), "{said}");
    finish(bench.bare_command(&["token", "orders", "--config", "qauth.toml"])).fine();
}

#[test]
fn the_named_configuration_goes_before_the_environments() {
    let bench = Bench::new();
    bench.file("other.toml", "[profiles.other]\nprovider = \"quiqup\"\n");
    let said = bench.qauth(&["--config", "other.toml", "token", "orders"]).fails(3, "config");
    assert!(said.contains("there are other"), "{said}");
    let said = bench.qauth(&["token", "orders", "--config", "nowhere.toml"]).fails(3, "config");
    assert!(said.contains("nowhere.toml"), "{said}");
}

#[test]
fn the_xdg_folder_is_the_last_place() {
    let bench = Bench::new();
    let config = std::fs::read_to_string(bench.path("qauth.toml")).unwrap();
    std::fs::remove_file(bench.path("qauth.toml")).unwrap();
    bench.file("home/.config/qauth/qauth.toml", &config);
    finish(bench.bare_command(&["token", "orders"])).fine();
}

#[test]
fn set_replaces_keys_of_the_profile() {
    let bench = Bench::new();
    let base = format!("base_url={}/quable/elsewhere", bench.sim.url());
    bench.qauth(&["token", "pim", "--set", &base, "--set", "environment=production", "--set", "buffer:=30"]).fine();
    let said = bench.qauth(&["token", "orders", "--set", "environment=nowhere"]).fails(3, "config");
    assert!(said.contains("staging"), "{said}");
    let said = bench.qauth(&["token", "orders", "--set", "environment"]).fails(2, "invalid_argument");
    assert!(said.contains("--set 1: expected"), "{said}");
}

#[test]
fn a_secret_on_the_command_line_is_refused() {
    let bench = Bench::new();
    for (profile, assignment, variable) in [
        ("pricing", "client_secret=canary", "QUANTAPRICE_CLIENT_SECRET"),
        ("orders", "client_secret:=\"canary\"", "QUIQUP_CLIENT_SECRET"),
        ("quable", "generic_token=canary", "QUABLE_GENERIC_TOKEN"),
        ("reports", "subscription_key=canary", "QUARTILE_SUBSCRIPTION_KEY"),
        ("cards", "client_secret=literal:canary", "QPAY_CLIENT_SECRET"),
    ] {
        let said = bench.qauth(&["token", profile, "--set", assignment]).fails(2, "invalid_argument");
        assert!(said.contains("is a secret") && said.contains(variable), "{said}");
    }
    assert_eq!(bench.qauth(&["token", "orders", "client_secret=canary"]).status, 2);
    assert_eq!(bench.count("quiqup", "requests"), 0);
}

#[test]
fn where_a_secret_is_can_be_said_on_the_command_line() {
    let bench = Bench::new();
    bench.file("inner/secret", &format!("{}\n", known::QUIQUP_CLIENT_SECRET));
    let config = std::fs::read_to_string(bench.path("qauth.toml")).unwrap();
    bench.file("elsewhere/qauth.toml", &config);
    let base = ["token", "orders", "--config", "elsewhere/qauth.toml", "--set"];
    let with = |assignment| base.iter().copied().chain([assignment]).collect::<Vec<_>>();
    // The path begins in the working directory, not beside the configuration.
    finish(bench.bare_command(&with("client_secret=file:inner/secret"))).fine();
    let mut command = bench.bare_command(&with("client_secret=env:MY_SECRET"));
    command.env("MY_SECRET", known::QUIQUP_CLIENT_SECRET);
    finish(command).fine();
    let said = finish(bench.bare_command(&with("client_secret=env:MY_SECRET"))).fails(3, "config");
    assert!(said.contains("MY_SECRET"), "{said}");
}

#[test]
fn a_provider_of_the_users_own_needs_no_configuration() {
    let bench = Bench::new();
    let text = finish(bench.bare_command(&["providers", "quiqup", "--toml"])).fine();
    bench.file("mine.toml", &text.replace("\"quiqup\"", "\"mine\"").replace("QUIQUP_", "MINE_"));
    let base = format!("base_url={}/quiqup", bench.sim.url());
    let arguments = ["token", "mine", "--set", "provider=mine.toml", "--set", &base];
    let mut command = bench.bare_command(&arguments);
    command.env("MINE_CLIENT_ID", known::QUIQUP_CLIENT_ID).env("MINE_CLIENT_SECRET", known::QUIQUP_CLIENT_SECRET);
    std::fs::remove_file(bench.path("qauth.toml")).unwrap();
    finish(command).fine();
    let mut secret = arguments.to_vec();
    secret.extend(["--set", "client_secret=canary"]);
    finish(bench.bare_command(&secret)).fails(2, "invalid_argument");
}
