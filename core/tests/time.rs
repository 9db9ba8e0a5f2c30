//! Clocks that jump, sleep and stand still, and the order of events in virtual time.

#[path = "support/held.rs"]
mod held;

use std::io::{BufRead, BufReader, Write};
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use held::Held;
use qauth_core::{Engine, ErrorCode, TokenOptions, TokenSource};
use serde_json::json;

const MANUAL: &str = "clock = \"manual\"";

fn ask(source: &TokenSource) -> std::thread::JoinHandle<Result<String, ErrorCode>> {
    let source = source.clone();
    std::thread::spawn(move || {
        let token = source.token_blocking(TokenOptions::default()).map_err(|error| error.code())?;
        Ok(token.access_token().to_owned())
    })
}

/// What callers get who wait for nothing.
fn at_once(source: &TokenSource) -> Option<String> {
    let options = TokenOptions { timeout: Some(Duration::ZERO), ..TokenOptions::default() };
    let (cached, token) = (source.cached(), source.token_blocking(options).ok());
    assert!(cached.is_none() || token.is_some(), "the hot path serves what the other one does not");
    token.map(|token| token.access_token().to_owned())
}

/// A source that holds the token `first` for so many seconds.
fn holding(server: &Held, expires_in: u64, testing: &str) -> (Engine, TokenSource) {
    let engine = server.engine(testing, &["p"], "mode = \"on_demand\"");
    let source = engine.source("p").unwrap();
    let asking = ask(&source);
    server.next().gives("first", expires_in);
    assert_eq!(asking.join().unwrap().as_deref(), Ok("first"));
    (engine, source)
}

#[test]
fn a_machine_that_sleeps_in_the_middle_of_a_request_asks_once_more() {
    // fault 20
    let server = Held::start();
    let engine = server.engine(MANUAL, &["p"], "");
    let source = engine.source("p").unwrap();
    let asking = ask(&source);
    let request = server.next();
    engine.suspend(13.0 * 3600.0).unwrap();
    request.gives("of-yesterday", 3600);
    server.next().gives("of-today", 3600);
    assert_eq!(asking.join().unwrap().as_deref(), Ok("of-today"));
    assert_eq!(at_once(&source).as_deref(), Some("of-today"));
    server.nothing_more();
}

#[test]
fn a_connection_that_did_not_outlive_a_sleep_is_one_failed_attempt() {
    // fault 20: the limit of what is done for a caller does not run while the machine sleeps.
    let server = Held::start();
    let engine = server.engine(MANUAL, &["p"], "");
    let source = engine.source("p").unwrap();
    let asking = ask(&source);
    let request = server.next();
    engine.suspend(13.0 * 3600.0).unwrap();
    drop(request);
    server.next().gives("of-today", 3600);
    assert_eq!(asking.join().unwrap().as_deref(), Ok("of-today"));
}

#[test]
fn a_token_that_ends_as_the_server_says_is_not_asked_for_again() {
    let server = Held::start();
    let source = server.engine(MANUAL, &["p"], "").source("p").unwrap();
    let asking = ask(&source);
    server.next().gives("dead", 0);
    assert_eq!(asking.join().unwrap(), Err(ErrorCode::Protocol));
    server.nothing_more();
}

#[test]
fn the_hot_path_serves_nothing_after_the_end_by_any_clock() {
    // fault 43. 2 s: shorter than the whole seconds that the hot path knows of the wall clock.
    let server = Held::start();
    for tenths in 0..10 {
        let testing = format!("clock = \"manual\"\nstart = \"2026-01-01T00:00:00.{tenths}Z\"");
        for pass in [Engine::advance, Engine::suspend, Engine::step_wall_clock] {
            let (engine, source) = holding(&server, 2, &testing);
            pass(&engine, 1.0).unwrap();
            assert_eq!(at_once(&source).as_deref(), Some("first"));
            pass(&engine, 1.0).unwrap();
            assert_eq!(at_once(&source), None, "{testing}");
        }
    }
}

#[test]
fn a_wall_clock_set_back_is_no_reason_to_serve_longer() {
    // fault 43
    let server = Held::start();
    for start in ["2026-01-01T00:00:00Z", "1970-01-01T00:00:10Z"] {
        let (engine, source) = holding(&server, 100, &format!("{MANUAL}\nstart = \"{start}\""));
        engine.step_wall_clock(-86_400.0).unwrap();
        engine.advance(89.0).unwrap();
        assert_eq!(at_once(&source).as_deref(), Some("first"));
        engine.advance(11.0).unwrap();
        assert_eq!(at_once(&source), None);
    }
}

#[test]
fn what_comes_due_at_one_moment_is_renewed_at_once() {
    let server = Held::start();
    let engine = server.engine(MANUAL, &["a", "b"], "mode = \"always\"");
    for name in ["a", "b"] {
        let asking = ask(&engine.source(name).unwrap());
        server.next().gives("first", 1000);
        asking.join().unwrap().unwrap();
    }
    let moving = std::thread::spawn({
        let engine = engine.clone();
        move || engine.advance(1000.0 - 60.0 - 100.0).unwrap()
    });
    // Both are there before one is answered.
    let (one, other) = (server.next(), server.next());
    assert_ne!(one.path, other.path);
    one.gives("second", 10_000);
    other.gives("second", 10_000);
    moving.join().unwrap();
    server.nothing_more();
}

#[test]
fn a_pause_of_one_renewal_moves_the_time_of_no_other() {
    let server = Held::start();
    let engine = server.engine(MANUAL, &["a", "b"], "mode = \"always\"");
    // Renewed after 800 s and after 802 s.
    for (name, expires_in) in [("a", 1000), ("b", 1002)] {
        let asking = ask(&engine.source(name).unwrap());
        server.next().gives("first", expires_in);
        asking.join().unwrap().unwrap();
    }
    let moving = std::thread::spawn({
        let engine = engine.clone();
        move || engine.advance(850.0).unwrap()
    });
    let due = |wanted: &str| {
        let asked = server.next();
        assert_eq!(asked.path, wanted);
        asked
    };
    // The server of `a` wants a pause of 10 s, in the middle of which `b` comes due.
    let mut paused = due("a");
    write!(paused.stream, "HTTP/1.1 503 x\r\nRetry-After: 10\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        .unwrap();
    drop(paused);
    // Longer by far than what is left of the 850 s, so that what is left says when they were asked for.
    due("b").gives("second", 20_000);
    due("a").gives("second", 20_000);
    moving.join().unwrap();
    let left = |name: &str| {
        let token = engine.source(name).unwrap().cached().unwrap();
        20_000.0 - token.expires_in().unwrap().as_secs_f64()
    };
    // Windows of a 1000 s token: 60 s and a tenth; of 1002 s: 60 s and 100.2 s.
    let (a, b) = (850.0 - 840.0 - 10.0, 850.0 - 841.8);
    assert!((left("a") - a).abs() < 0.1 && (left("b") - b).abs() < 0.1, "{} and {}", left("a"), left("b"));
}

#[test]
fn a_clock_with_a_seed_spreads_alike_in_every_run() {
    let server = Held::start();
    let renewed_at = |seed: u32| {
        let engine = server.engine(&format!("{MANUAL}\nseed = {seed}"), &["p"], "mode = \"always\"");
        let source = engine.source("p").unwrap();
        let asking = ask(&source);
        server.next().gives("first", 3600);
        asking.join().unwrap().unwrap();
        let begin = source.cached().unwrap().expires_in().unwrap();
        let moving = std::thread::spawn({
            let engine = engine.clone();
            move || engine.advance(3500.0).unwrap()
        });
        server.next().gives("second", 7200);
        moving.join().unwrap();
        let left = source.cached().unwrap().expires_in().unwrap();
        assert_eq!(begin, Duration::from_secs(3600));
        3500.0 - (7200.0 - left.as_secs_f64())
    };
    let (one, again, other) = (renewed_at(1), renewed_at(1), renewed_at(2));
    assert_eq!(one, again);
    assert_ne!(one, other);
    assert!((3300.0..=3348.0).contains(&one) && (3300.0..=3348.0).contains(&other), "{one}, {other}");
}

#[test]
fn five_hundred_who_wait_out_an_outage_are_one_renewal_at_a_time() {
    // fault 19
    let server = Held::start();
    let engine = server.engine(&format!("{MANUAL}\nseed = 19"), &["p"], "");
    let source = engine.source("p").unwrap();
    // How many asked while the server was away, and after.
    let asked = Arc::new(Mutex::new((0, 0)));
    let is_back = Arc::new(AtomicBool::new(false));
    std::thread::spawn({
        let (asked, is_back) = (asked.clone(), is_back.clone());
        move || {
            while let Ok(request) = server.asked.recv() {
                let mut asked = asked.lock().unwrap();
                if is_back.load(Ordering::SeqCst) {
                    asked.1 += 1;
                    request.gives("back", 3600);
                } else {
                    asked.0 += 1;
                    request.answers(503, "");
                }
            }
        }
    });
    let got = Arc::new(Mutex::new((0, 0)));
    // Each of the 500 asks every 10 s; the server is back after 400 s.
    let times = (0..60).flat_map(|turn| (0..500).map(move |caller| Duration::from_millis(turn * 10_000 + caller * 20)));
    let calls = times.map(|at| {
        let (source, got, is_back) = (source.clone(), got.clone(), is_back.clone());
        let call: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(async move {
            is_back.store(at >= Duration::from_secs(400), Ordering::SeqCst);
            let result = source.token(TokenOptions::default()).await;
            let mut got = got.lock().unwrap();
            match result {
                Ok(_) => got.0 += 1,
                Err(_) => got.1 += 1,
            }
        });
        (at, call)
    });
    engine.simulate(600.0, calls).unwrap();
    let (served, refused) = *got.lock().unwrap();
    assert_eq!(served + refused, 30_000);
    // At the end of the first pause after it, for everybody. Who wakes too late for an attempt waits for the next one, and how
    // many do is the processor's choice.
    assert!(refused > 10_000 && refused <= 20_000, "{refused}");
    // 4, 3, 2 and then one request in each pause of 5 to 10 s, whoever waits; and one when the server is back.
    let (away, back) = *asked.lock().unwrap();
    assert!((45..=90).contains(&away), "{away} requests");
    assert_eq!(back, 1);
}

/// What the next test starts again: it shows what the hot path serves, until it has been stopped for longer than its token
/// lives and has asked on for a while. By itself it does nothing.
#[test]
#[allow(clippy::print_stdout)]
fn child_that_is_stopped() {
    let Ok(url) = std::env::var("QAUTH_TEST_STOPPED") else { return };
    let config = json!({"profiles": {"p": {"provider": "oauth2", "token_endpoint": format!("{url}/p"), "client_id": "c", "client_secret": "s", "mode": "on_demand"}}});
    let source = Engine::from_value(config).unwrap().source("p").unwrap();
    let first = source.token_blocking(TokenOptions::default()).unwrap();
    let end = Instant::now() + Duration::from_secs(2);
    println!("\nholds {}", first.access_token());
    let (mut early, mut late) = (0u64, 0u64);
    let mut serve = |asked: Instant| {
        if source.cached().is_some() {
            *if asked < end { &mut early } else { &mut late } += 1;
        }
    };
    serve(Instant::now());
    println!("\nserves");
    let mut last = Instant::now();
    while last.elapsed() < Duration::from_secs(2) {
        last = Instant::now();
        serve(last);
    }
    (0..1000).for_each(|_| serve(Instant::now()));
    let next = source.token_blocking(TokenOptions::default()).unwrap();
    println!("\nserved early={} late={late} next={}", early > 0, next.access_token());
}

#[test]
fn a_process_that_was_stopped_serves_no_token_of_before() {
    // fault 43, on the system's clocks
    let server = Held::start();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_is_stopped", "--nocapture"])
        .env("QAUTH_TEST_STOPPED", &server.url)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut said = |start: &str| lines.find(|line| line.starts_with(start)).expect("the child says so");
    server.next().gives("first", 2);
    assert_eq!(said("holds"), "holds first");
    let signal = |name: &str| {
        let sent = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    };
    said("serves");
    signal("-STOP");
    // The system's own clocks have to pass the token's end: nothing but time does that.
    std::thread::sleep(Duration::from_millis(2300));
    signal("-CONT");
    server.next().gives("second", 2);
    assert_eq!(said("served"), "served early=true late=0 next=second");
    assert!(child.wait().unwrap().success());
    server.nothing_more();
}
