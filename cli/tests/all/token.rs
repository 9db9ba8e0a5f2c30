//! `qauth token`.

use std::time::{SystemTime, UNIX_EPOCH};

use qauth_sim::known;
use serde_json::json;

use crate::support::{Bench, PROFILES, finish};

#[test]
fn the_token_alone_is_printed_and_every_api_accepts_it() {
    let bench = Bench::new();
    for (profile, path) in PROFILES {
        let printed = bench.qauth(&["token", profile]).fine();
        let token = printed.strip_suffix('\n').unwrap();
        assert!(!token.is_empty() && !token.contains(char::is_whitespace), "{profile}");
        let api = match profile {
            "pricing" => "/quantaprice/api/v1",
            "orders" => "/quiqup",
            "reports" => "/quartile",
            "cards" => "/qpay",
            _ => "/quable/acme",
        };
        let headers =
            format!("Authorization: Bearer {token}\r\nSubscription-Key: {}\r\n", known::QUARTILE_SUBSCRIPTION_KEY);
        let (status, answer) = bench.http("GET", &format!("{api}{path}"), &headers, "");
        assert_eq!(status, 200, "{profile}: {answer}");
    }
}

#[test]
fn in_json_a_token_has_its_whole_record() {
    let bench = Bench::new();
    let token = bench.qauth(&["token", "orders", "--json"]).json();
    let keys: Vec<&str> = token.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = "access_token token_type expires_in expires_at scope generation extras profile provider";
    assert_eq!(keys.join(" "), expected);
    assert_eq!(token["token_type"], "bearer");
    assert_eq!((&token["profile"], &token["provider"]), (&json!("orders"), &json!("quiqup")));
    assert!(token["extras"]["created_at"].is_number(), "{token}");
    let left = token["expires_in"].as_u64().unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let off = token["expires_at"].as_u64().unwrap().abs_diff(now + left);
    assert!(left > 3000 && off <= 2, "{token}");
}

#[test]
fn a_token_without_an_end_has_null_for_it() {
    let token = Bench::new().qauth(&["token", "generic", "--json"]).json();
    assert_eq!(token["access_token"], known::QUABLE_GENERIC_TOKEN);
    assert_eq!((&token["expires_in"], &token["expires_at"]), (&json!(null), &json!(null)));
}

#[test]
fn header_prints_every_header_that_a_request_must_carry() {
    let bench = Bench::new();
    for (profile, path) in PROFILES {
        let lines = bench.qauth(&["token", profile, "--header"]).fine();
        let first = lines.lines().next().unwrap();
        assert!(first.starts_with("Authorization: Bearer "), "{profile}");
        let companions: Vec<&str> = lines.lines().skip(1).collect();
        match profile {
            "reports" => {
                assert_eq!(companions, [format!("Subscription-Key: {}", known::QUARTILE_SUBSCRIPTION_KEY)]);
                let (status, _) = bench.http("GET", &format!("/quartile{path}"), &lines.replace('\n', "\r\n"), "");
                assert_eq!(status, 200);
            }
            _ => assert!(companions.is_empty(), "{companions:?}"),
        }
    }
}

#[test]
fn a_profile_without_an_api_address_still_has_its_one_header() {
    let bench = Bench::new();
    bench.file(
        "own.toml",
        &format!(
            "[profiles.own]\nprovider = \"oauth2\"\nclient_auth = \"client_secret_post\"\nclient_id = \"{}\"\n\
             client_secret = \"{}\"\ntoken_endpoint = \"{}/quantaprice/oauth2/token\"\n",
            known::QUANTAPRICE_CLIENT_ID,
            known::QUANTAPRICE_CLIENT_SECRET,
            bench.sim.url(),
        ),
    );
    let lines = bench.qauth(&["token", "own", "--header", "--config", "own.toml"]).fine();
    assert!(lines.starts_with("Authorization: Bearer ") && lines.lines().count() == 1);
}

#[test]
fn a_scope_is_sent_and_granted() {
    let bench = Bench::new();
    let token = bench.qauth(&["token", "cards", "--json", "--scope", "email"]).json();
    assert!(token["scope"].as_str().unwrap().contains("email"), "{token}");
    let said = bench.qauth(&["token", "orders", "--audience", "x"]).fails(3, "config");
    assert!(said.contains("audience"), "{said}");
}

#[test]
fn a_life_that_no_token_has_is_refused() {
    let bench = Bench::new();
    bench.qauth(&["token", "pricing", "--min-remaining", "3000"]).fine();
    let said = bench.qauth(&["token", "pricing", "--min-remaining", "999999"]).fails(2, "invalid_argument");
    assert!(said.contains("min_remaining"), "{said}");
}

#[test]
fn a_providers_name_is_a_profile_whose_credentials_are_in_the_environment() {
    let bench = Bench::new();
    let base = format!("base_url={}/quiqup", bench.sim.url());
    let mut command = bench.bare_command(&["token", "quiqup", "--set", &base]);
    command.env("QUIQUP_CLIENT_ID", known::QUIQUP_CLIENT_ID).env("QUIQUP_CLIENT_SECRET", known::QUIQUP_CLIENT_SECRET);
    assert!(!finish(command).fine().is_empty());
    let said = finish(bench.bare_command(&["token", "quiqup", "--set", &base])).fails(3, "config");
    assert!(said.contains("QUIQUP_CLIENT_ID") && said.contains("hint: `qauth providers quiqup`"), "{said}");
}
