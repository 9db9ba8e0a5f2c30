//! A fleet on one Redis: engines that share nothing else, each with a runtime and connections of its own.

#[path = "support/held.rs"]
mod held;
#[allow(dead_code, reason = "the store's own tests use more of it")]
#[path = "../src/store/redis/tests/server.rs"]
mod server;

use std::thread::JoinHandle;

use held::{Asked, Held};
use qauth_core::{Engine, ErrorCode, Token, TokenOptions, TokenSource};
use rustix::process::Signal;
use serde_json::json;
use server::{Server, until};

struct Fleet {
    vendor: Held,
    redis: Server,
    folder: tempfile::TempDir,
}

impl Fleet {
    fn new() -> Fleet {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), "ab".repeat(32)).unwrap();
        Fleet { vendor: Held::start(), redis: Server::start(), folder }
    }

    /// One more process, as it were; its account has refresh tokens that rotate, or none.
    fn node(&self, rotates: bool) -> (Engine, TokenSource) {
        let mut grants = json!({"login": {"path": "/login", "json": {"key": "{key}", "scope": "{scope}"}}});
        if rotates {
            grants["refresh_token"] = json!({"path": "/refresh", "json": {"token": "{refresh_token}"}});
        }
        let config = json!({
            "store": {
                "kind": "redis",
                "url": self.redis.url(),
                "encryption_key": format!("file:{}", self.folder.path().join("key").display()),
                "timeout": "2s",
            },
            "profiles": {"p": {
                "provider": {
                    "name": "acme",
                    "environments": {"production": {"base_url": self.vendor.url}},
                    "credentials": {"key": {"secret": true}},
                    "grants": grants,
                    "lifetime": {"rotates": rotates},
                },
                "base_url": self.vendor.url,
                "key": "k",
            }},
        });
        let engine = Engine::from_value(config).unwrap();
        let source = engine.source("p").unwrap();
        (engine, source)
    }

    fn asked(&self, path: &str) -> Asked {
        let asked = self.vendor.next();
        assert_eq!(asked.path, path, "{}", asked.body);
        asked
    }

    fn first(&self, source: &TokenSource) -> Token {
        let asking = ask(source);
        rotates(self.asked("login"), "first", "r1");
        asking.join().unwrap().unwrap()
    }
}

fn rotates(asked: Asked, access_token: &str, refresh_token: &str) {
    let body = json!({"access_token": access_token, "refresh_token": refresh_token, "expires_in": 3600});
    asked.answers(200, &body.to_string());
}

fn ask(source: &TokenSource) -> JoinHandle<Result<Token, ErrorCode>> {
    let source = source.clone();
    std::thread::spawn(move || source.token_blocking(TokenOptions::default()).map_err(|error| error.code()))
}

fn text(token: &Result<Token, ErrorCode>) -> Result<&str, ErrorCode> {
    token.as_ref().map(Token::access_token).map_err(|code| *code)
}

#[test]
fn a_fleet_that_starts_at_once_logs_in_once() {
    // fault 71
    let fleet = Fleet::new();
    let nodes: Vec<_> = (0..20).map(|_| fleet.node(true)).collect();
    let asking: Vec<_> = nodes.iter().map(|(_, source)| ask(source)).collect();
    rotates(fleet.asked("login"), "first", "r1");
    for asking in asking {
        assert_eq!(text(&asking.join().unwrap()), Ok("first"));
    }
    fleet.vendor.nothing_more();
}

#[test]
fn a_renewal_reaches_the_fleet_without_a_call() {
    // fault 70
    let fleet = Fleet::new();
    let ((_a, one), (_b, two)) = (fleet.node(true), fleet.node(true));
    let first = fleet.first(&one);
    assert_eq!(text(&ask(&two).join().unwrap()), Ok("first"));
    one.invalidate(&first);
    let asking = ask(&one);
    rotates(fleet.asked("refresh"), "second", "r2");
    assert_eq!(text(&asking.join().unwrap()), Ok("second"));
    until("the other takes it up", || two.cached().is_some_and(|token| token.access_token() == "second"));
    fleet.vendor.nothing_more();
}

#[test]
fn without_redis_valid_tokens_are_served_and_no_rotating_refresh_token_is_spent() {
    // fault 67
    let fleet = Fleet::new();
    let (_a, one) = fleet.node(true);
    let first = fleet.first(&one);
    fleet.redis.signal(Signal::STOP);
    assert_eq!(text(&ask(&one).join().unwrap()), Ok("first"));
    one.invalidate(&first);
    assert_eq!(text(&ask(&one).join().unwrap()), Err(ErrorCode::StoreUnavailable));
    fleet.vendor.nothing_more();
    // Who logs in each time harms nobody by doing so.
    let (_b, two) = fleet.node(false);
    let asking = ask(&two);
    fleet.asked("login").gives("alone", 3600);
    assert_eq!(text(&asking.join().unwrap()), Ok("alone"));
    let asking = ask(&two.scoped(Some("s"), None, None).unwrap());
    fleet.asked("login").gives("narrowed", 3600);
    assert_eq!(text(&asking.join().unwrap()), Ok("narrowed"));
    // What is wrong with a token is told, not that it could not be stored either.
    let (_c, three) = fleet.node(false);
    let asking = ask(&three);
    fleet.asked("login").gives("ended", 0);
    assert_eq!(text(&asking.join().unwrap()), Err(ErrorCode::Protocol));
    fleet.redis.signal(Signal::CONT);
    let asking = std::thread::spawn(move || {
        let mut last = Err(ErrorCode::StoreUnavailable);
        until("redis is back", || {
            last = ask(&one).join().unwrap();
            text(&last) != Err(ErrorCode::StoreUnavailable)
        });
        last
    });
    let refresh = fleet.asked("refresh");
    assert!(refresh.body.contains("r1"), "{}", refresh.body);
    rotates(refresh, "second", "r2");
    assert_eq!(text(&asking.join().unwrap()), Ok("second"));
}

#[test]
fn an_emptied_redis_gets_its_newest_record_back_and_nobody_logs_in() {
    // faults 68, 69
    let fleet = Fleet::new();
    let (_a, one) = fleet.node(true);
    let first = fleet.first(&one);
    let _: () = fleet.redis.tell("FLUSHALL");
    one.invalidate(&first);
    let asking = ask(&one);
    let refresh = fleet.asked("refresh");
    assert!(refresh.body.contains("r1"), "{}", refresh.body);
    rotates(refresh, "second", "r2");
    assert_eq!(text(&asking.join().unwrap()), Ok("second"));
    let (_b, two) = fleet.node(true);
    assert_eq!(text(&ask(&two).join().unwrap()), Ok("second"));
    fleet.vendor.nothing_more();
}

#[test]
fn a_renewal_costs_a_handful_of_scripts() {
    let fleet = Fleet::new();
    let (_a, one) = fleet.node(true);
    let first = fleet.first(&one);
    let scripts = || {
        let stats: String = fleet.redis.tell("INFO commandstats");
        let calls = |line: &str| line.strip_prefix("cmdstat_evalsha:calls=")?.split(',').next()?.parse::<u32>().ok();
        stats.lines().find_map(calls).unwrap_or_default()
    };
    let is_at_rest = || fleet.redis.tell::<Vec<String>>("KEYS *lease").is_empty();
    until("the lease is given back", is_at_rest);
    let before = scripts();
    one.invalidate(&first);
    let asking = ask(&one);
    rotates(fleet.asked("refresh"), "second", "r2");
    assert_eq!(text(&asking.join().unwrap()), Ok("second"));
    until("the lease is given back", is_at_rest);
    // Three looks, the lease twice, intent, record, and the lease given back; and it hears itself.
    let cost = scripts() - before;
    assert!((6..=11).contains(&cost), "{cost}");
}
