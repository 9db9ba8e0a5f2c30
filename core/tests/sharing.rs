//! Two engines on one folder, as two processes have it: what one does, the other sees; what cannot be written is not lost.

#[path = "support/held.rs"]
mod held;

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use held::{Asked, Held, folder};
use qauth_core::{Engine, ErrorCode, EventKind, Token, TokenOptions, TokenSource};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(10);

struct Bench {
    server: Held,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        Bench { server: Held::start(), folder: folder() }
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// A sibling: an account whose refresh tokens rotate.
    fn engine(&self, lifetime: Value) -> Engine {
        let mut lifetime = lifetime;
        lifetime["rotates"] = json!(true);
        let config = json!({
            "store": {"kind": "file", "path": self.store()},
            "profiles": {"p": {
                "provider": {
                    "name": "acme",
                    "environments": {"production": {"base_url": self.server.url}},
                    "credentials": {"key": {"secret": true}},
                    "grants": {
                        "login": {"path": "/login", "json": {"key": "{key}"}},
                        "refresh_token": {"path": "/refresh", "json": {"token": "{refresh_token}"}},
                    },
                    "lifetime": lifetime,
                },
                "base_url": self.server.url,
                "key": "k",
            }},
        });
        Engine::from_value(config).unwrap()
    }

    /// The same where only a person could sign in anew.
    fn of_person(&self) -> TokenSource {
        let config = json!({
            "store": {"kind": "file", "path": self.store()},
            "profiles": {"p": {
                "provider": {
                    "name": "acme",
                    "environments": {"production": {"base_url": self.server.url}},
                    "credentials": {"client_id": {}},
                    "grants": {
                        "authorization_code": {"path": "/token", "form": {"code": "{code}"}, "authorize": {"url": "https://acme.example/authorize"}},
                        "refresh_token": {"path": "/refresh", "json": {"token": "{refresh_token}"}},
                    },
                    "lifetime": {"rotates": true},
                },
                "base_url": self.server.url,
                "client_id": "c",
                "refresh_token": "r1",
            }},
        });
        Engine::from_value(config).unwrap().source("p").unwrap()
    }

    fn rotating(&self) -> (Engine, TokenSource) {
        let engine = self.engine(json!({}));
        let source = engine.source("p").unwrap();
        (engine, source)
    }

    /// Logs in.
    fn first(&self, source: &TokenSource) -> Token {
        let asking = ask(source);
        self.asked("login").rotates("first", "r1");
        asking.join().unwrap().unwrap()
    }

    fn asked(&self, path: &str) -> Asked {
        let asked = self.server.next();
        assert_eq!(asked.path, path, "{}", asked.body);
        asked
    }

    /// What stands in the folder under a name that ends like this.
    fn file(&self, ending: &str) -> PathBuf {
        let found = |name: &Path| name.to_string_lossy().ends_with(ending) && !name.ends_with("naming-key.lock");
        let entries = std::fs::read_dir(self.store()).unwrap().map(|entry| entry.unwrap().path());
        entries.into_iter().find(|path| found(path)).expect("it is there")
    }

    /// From here on no record can be written; gives back what is in the way.
    fn full(&self) -> PathBuf {
        let obstacle = self.file(".v1").with_extension("v1.new");
        let _ = std::fs::remove_file(&obstacle);
        std::fs::create_dir(&obstacle).unwrap();
        obstacle
    }
}

trait Answers {
    fn rotates(self, access_token: &str, refresh_token: &str);
    fn refuses(self);
    fn answers_later(self);
}

impl Answers for Asked {
    fn rotates(self, access_token: &str, refresh_token: &str) {
        let body = json!({"access_token": access_token, "refresh_token": refresh_token, "expires_in": 3600});
        self.answers(200, &body.to_string());
    }

    fn refuses(self) {
        self.answers(400, r#"{"error": "invalid_grant"}"#);
    }

    fn answers_later(self) {
        self.answers(429, r#"{"error": "slow_down"}"#);
    }
}

fn ask(source: &TokenSource) -> JoinHandle<Result<Token, ErrorCode>> {
    let source = source.clone();
    std::thread::spawn(move || source.token_blocking(TokenOptions::default()).map_err(|error| error.code()))
}

fn text(token: &Result<Token, ErrorCode>) -> Result<&str, ErrorCode> {
    token.as_ref().map(Token::access_token).map_err(|code| *code)
}

fn until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn count(engine: &Engine, kind: EventKind) -> u32 {
    let metrics = engine.metrics();
    metrics.profiles.iter().flat_map(|profile| &profile.events).filter(|(of, _)| *of == kind).map(|(_, n)| n).sum()
}

#[test]
fn a_siblings_renewal_is_taken_up_without_a_call() {
    let bench = Bench::new();
    let ((_a, one), (b, two)) = (bench.rotating(), bench.rotating());
    let first = bench.first(&one);
    assert_eq!(text(&ask(&two).join().unwrap()), Ok("first"));
    one.invalidate(&first);
    let asking = ask(&one);
    let asked = bench.asked("refresh");
    assert!(asked.body.contains("r1"), "{}", asked.body);
    asked.rotates("second", "r2");
    asking.join().unwrap().unwrap();
    until("the other takes it up", || two.cached().is_some_and(|token| token.access_token() == "second"));
    assert_eq!(count(&b, EventKind::Adopted), 2);
    // The rejected one is the sibling's old one: nobody asks for a third.
    assert!(!two.invalidate(&first));
    bench.server.nothing_more();
}

#[test]
fn a_rejected_token_is_asked_for_in_the_store_first() {
    let bench = Bench::new();
    let ((_a, one), (_b, two)) = (bench.rotating(), bench.rotating());
    let first = bench.first(&one);
    let same = ask(&two).join().unwrap().unwrap();
    one.invalidate(&first);
    let asking = ask(&one);
    let refresh = bench.asked("refresh");
    // The API says so to both at once: the second waits for the first.
    assert!(two.invalidate(&same));
    let waiting = ask(&two);
    refresh.rotates("second", "r2");
    for asking in [asking, waiting] {
        assert_eq!(text(&asking.join().unwrap()), Ok("second"));
    }
    bench.server.nothing_more();
}

/// The first one's request is under way when somebody removes the lock by hand: the sibling renews too, and gives the lease
/// back. The refresh token may be spent, so that it logs in. `answer` says what becomes of the request, given a moment for the
/// sibling's renewal to be made in. Whatever it is, both end with the sibling's token.
fn a_sibling_renews_meanwhile(answer: impl FnOnce(Asked, &dyn Fn())) {
    let bench = Bench::new();
    let ((_a, one), (_b, two)) = (bench.rotating(), bench.rotating());
    let first = bench.first(&one);
    let same = ask(&two).join().unwrap().unwrap();
    one.invalidate(&first);
    let asking = ask(&one);
    let renews = || {
        std::fs::remove_file(bench.file(".lock")).unwrap();
        two.invalidate(&same);
        let other = ask(&two);
        bench.asked("login").rotates("second", "r2");
        assert_eq!(text(&other.join().unwrap()), Ok("second"));
    };
    answer(bench.asked("refresh"), &renews);
    assert_eq!(text(&asking.join().unwrap()), Ok("second"));
    bench.server.nothing_more();
}

/// fault 27
#[test]
fn a_refused_refresh_token_is_believed_only_after_a_look_into_the_store() {
    a_sibling_renews_meanwhile(|refresh, sibling| {
        sibling();
        refresh.refuses();
    });
}

/// fault 66
#[test]
fn a_late_answer_loses_against_the_record_that_a_sibling_has_written() {
    a_sibling_renews_meanwhile(|refresh, sibling| {
        sibling();
        refresh.rotates("late", "r-late");
    });
}

/// fault 66
#[test]
fn a_lease_that_was_anothers_meanwhile_says_nothing_and_nothing_is_sent() {
    a_sibling_renews_meanwhile(|refresh, sibling| {
        // It waits to send again, as if it were stopped.
        refresh.answers_later();
        sibling();
    });
}

/// fault 47
#[test]
fn no_sibling_tries_a_refresh_token_whose_successor_could_not_be_written() {
    let bench = Bench::new();
    let (one, two) = (bench.of_person(), bench.of_person());
    let asking = ask(&one);
    let refresh = bench.asked("refresh");
    let obstacle = bench.full();
    refresh.rotates("first", "r2");
    assert_eq!(text(&asking.join().unwrap()), Ok("first"));
    // Only a person could do more than to try it: the sibling waits, and is told once it is written.
    let waiting = ask(&two);
    std::thread::sleep(Duration::from_millis(500));
    bench.server.nothing_more();
    std::fs::remove_dir(obstacle).unwrap();
    assert_eq!(text(&waiting.join().unwrap()), Ok("first"));
    bench.server.nothing_more();
}

#[test]
fn who_waits_out_a_refusal_hears_of_a_siblings_token() {
    let bench = Bench::new();
    let ((_a, one), (_b, two)) = (bench.rotating(), bench.rotating());
    let asking = ask(&one);
    bench.asked("login").refuses();
    assert_eq!(text(&asking.join().unwrap()), Err(ErrorCode::InvalidGrant));
    // Remembered for both; somebody has it tried again at the other one.
    two.reset();
    let asking = ask(&two);
    bench.asked("login").rotates("first", "r1");
    assert_eq!(text(&asking.join().unwrap()), Ok("first"));
    until("the first one takes it up", || one.cached().is_some());
    bench.server.nothing_more();
}

/// faults 47, 62
#[test]
fn a_rotated_token_that_cannot_be_written_is_served_and_written_as_soon_as_it_can_be() {
    let bench = Bench::new();
    let (engine, one) = bench.rotating();
    let first = bench.first(&one);
    one.invalidate(&first);
    let asking = ask(&one);
    let refresh = bench.asked("refresh");
    let obstacle = bench.full();
    refresh.rotates("second", "r2");
    let second = asking.join().unwrap();
    assert_eq!(text(&second), Ok("second"));
    assert!(engine.metrics().store_degraded);
    assert_eq!(count(&engine, EventKind::StoreDegraded), 1);
    std::fs::remove_dir(obstacle).unwrap();
    // Nobody asks for anything, and a sibling finds it all the same.
    let (_b, two) = bench.rotating();
    until("it is written", || {
        let text = std::fs::read_to_string(bench.file(".v1")).unwrap();
        text.contains("r2") && text.contains("second")
    });
    assert_eq!(text(&ask(&two).join().unwrap()), Ok("second"));
    // The old one is never used again.
    one.invalidate(&second.unwrap());
    let asking = ask(&one);
    let refresh = bench.asked("refresh");
    assert!(refresh.body.contains("r2"), "{}", refresh.body);
    refresh.rotates("third", "r3");
    assert_eq!(text(&asking.join().unwrap()), Ok("third"));
    assert!(!engine.metrics().store_degraded);
    assert_eq!(count(&engine, EventKind::StoreRecovered), 1);
    bench.server.nothing_more();
}

/// fault 62
#[test]
fn where_the_intent_cannot_be_written_the_refresh_token_is_not_spent() {
    let bench = Bench::new();
    let (_a, one) = bench.rotating();
    let first = bench.first(&one);
    let obstacle = bench.full();
    one.invalidate(&first);
    let asking = ask(&one);
    bench.asked("login").rotates("second", "r2");
    let second = asking.join().unwrap();
    assert_eq!(text(&second), Ok("second"));
    std::fs::remove_dir(obstacle).unwrap();
    one.invalidate(&second.unwrap());
    let asking = ask(&one);
    let refresh = bench.asked("refresh");
    assert!(refresh.body.contains("r2"), "{}", refresh.body);
    refresh.rotates("third", "r3");
    assert_eq!(text(&asking.join().unwrap()), Ok("third"));
    bench.server.nothing_more();
}

/// fault 61
#[test]
fn a_damaged_record_is_set_aside_and_the_profile_logs_in() {
    let bench = Bench::new();
    let (engine, one) = bench.rotating();
    bench.first(&one);
    // Who knows the record would write it again.
    engine.close();
    let record = bench.file(".v1");
    for harm in [&b""[..], b"qauth/1 plain 00\n{}", &[0xff; 500]] {
        std::fs::write(&record, harm).unwrap();
        let (sibling, two) = bench.rotating();
        let asking = ask(&two);
        bench.asked("login").rotates("again", "r2");
        assert_eq!(text(&asking.join().unwrap()), Ok("again"));
        sibling.close();
        assert_eq!(std::fs::read(bench.file(".v1.bad")).unwrap(), harm);
    }
    bench.server.nothing_more();
}

#[test]
fn a_damaged_record_that_a_process_knows_is_whole_again() {
    let bench = Bench::new();
    let (_a, one) = bench.rotating();
    bench.first(&one);
    std::fs::write(bench.file(".v1"), "qauth/1 plain 00\n{}").unwrap();
    let (_b, two) = bench.rotating();
    one.invalidate(&one.cached().unwrap());
    let asking = ask(&one);
    let refresh = bench.asked("refresh");
    assert!(refresh.body.contains("r1"), "{}", refresh.body);
    refresh.rotates("second", "r2");
    assert_eq!(text(&asking.join().unwrap()), Ok("second"));
    assert_eq!(text(&ask(&two).join().unwrap()), Ok("second"));
    bench.server.nothing_more();
}

/// fault 65
#[test]
fn a_backup_that_comes_back_does_not_bring_back_a_spent_refresh_token() {
    let bench = Bench::new();
    let (_a, one) = bench.rotating();
    let first = bench.first(&one);
    let record = bench.file(".v1");
    let backup = std::fs::read(&record).unwrap();
    one.invalidate(&first);
    let asking = ask(&one);
    bench.asked("refresh").rotates("second", "r2");
    let second = asking.join().unwrap().unwrap();
    std::fs::write(&record, backup).unwrap();
    one.invalidate(&second);
    let asking = ask(&one);
    let refresh = bench.asked("refresh");
    assert!(refresh.body.contains("r2"), "{}", refresh.body);
    refresh.rotates("third", "r3");
    assert_eq!(text(&asking.join().unwrap()), Ok("third"));
    bench.server.nothing_more();
}
