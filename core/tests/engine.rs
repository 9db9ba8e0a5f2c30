//! Whole flows of the engine against the simulator. What every language shares is in tests/conformance; here is what only
//! Rust can say: futures that are dropped, threads, forks, close.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use qauth_core::{Engine, ErrorCode, Request, TokenOptions};
use support::Bench;

const VENDORS: [&str; 5] = ["quantaprice", "quiqup", "quable", "quartile", "qpay"];

#[test]
fn every_vendor_gives_a_token_and_takes_it() {
    let bench = Bench::start();
    let engine = bench.engine("");
    for vendor in VENDORS {
        let source = engine.source(vendor).unwrap();
        let token = source.token_blocking(TokenOptions::default()).unwrap();
        assert!(token.expires_in().unwrap() > Duration::from_secs(200), "{vendor}");
        let again = source.token_blocking(TokenOptions::default()).unwrap();
        assert_eq!(token.access_token(), again.access_token());
        assert_eq!(bench.count(vendor, "token_requests"), 1, "{vendor}");
        let path = match vendor {
            "quantaprice" => "/prices?sku=A",
            "quiqup" => "/orders",
            "quable" => "/api/products",
            "quartile" => "/reports",
            _ => "/cards",
        };
        let response = source.request_blocking(&Request::new("GET", path)).unwrap();
        assert_eq!(response.status, 200, "{vendor}");
    }
}

#[test]
fn two_hundred_threads_on_an_empty_cache_make_one_request() {
    // fault 53
    let bench = Bench::start();
    bench.settings(&serde_json::json!({"vendor": "quantaprice", "delay_ms": 50}));
    let source = bench.engine("").source("quantaprice").unwrap();
    let barrier = Arc::new(std::sync::Barrier::new(200));
    let threads: Vec<_> = (0..200)
        .map(|_| {
            let (source, barrier) = (source.clone(), barrier.clone());
            std::thread::spawn(move || {
                barrier.wait();
                source.token_blocking(TokenOptions::default()).unwrap().access_token().to_owned()
            })
        })
        .collect();
    let mut tokens: Vec<String> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    tokens.dedup();
    assert_eq!(tokens.len(), 1);
    assert_eq!(bench.count("quantaprice", "token_requests"), 1);
}

#[test]
fn a_caller_that_gives_up_harms_nobody_and_the_renewal_goes_on() {
    // fault 54
    let bench = Bench::start();
    bench.settings(&serde_json::json!({"vendor": "quantaprice", "delay_ms": 300}));
    let source = bench.engine("").source("quantaprice").unwrap();
    let impatient = TokenOptions { timeout: Some(Duration::from_millis(20)), ..TokenOptions::default() };
    let error = source.token_blocking(impatient).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Timeout);
    source.token_blocking(TokenOptions::default()).unwrap();
    assert_eq!(bench.count("quantaprice", "token_requests"), 1);
}

#[test]
fn a_dropped_future_does_not_stop_the_renewal() {
    // fault 54
    let bench = Bench::start();
    bench.settings(&serde_json::json!({"vendor": "quartile", "delay_ms": 200}));
    let source = bench.engine("").source("quartile").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let wait = source.token(TokenOptions::default());
        assert!(tokio::time::timeout(Duration::from_millis(20), wait).await.is_err());
        source.token(TokenOptions::default()).await.unwrap();
    });
    assert_eq!(bench.count("quartile", "token_requests"), 1);
}

#[test]
fn a_call_on_a_thread_of_another_runtime_may_block() {
    let bench = Bench::start();
    let source = bench.engine("").source("quiqup").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { source.token_blocking(TokenOptions::default()).map(drop).unwrap() });
}

#[test]
fn a_timeout_of_zero_serves_from_the_cache_only() {
    let bench = Bench::start();
    let source = bench.engine("").source("quiqup").unwrap();
    let cached_only = TokenOptions { timeout: Some(Duration::ZERO), ..TokenOptions::default() };
    assert_eq!(source.token_blocking(cached_only).unwrap_err().code(), ErrorCode::Timeout);
    source.token_blocking(TokenOptions::default()).unwrap();
    source.token_blocking(cached_only).unwrap();
}

#[test]
fn close_is_quick_and_final_and_wakes_those_who_wait() {
    // fault 74
    let bench = Bench::start();
    bench.settings(&serde_json::json!({"vendor": "quantaprice", "delay_ms": 20_000}));
    let engine = bench.engine("");
    let source = engine.source("quantaprice").unwrap();
    let waiting = {
        let source = source.clone();
        std::thread::spawn(move || source.token_blocking(TokenOptions::default()).unwrap_err().code())
    };
    bench.wait_for_count("quantaprice", "token_requests", 1);
    let start = Instant::now();
    engine.close();
    assert_eq!(waiting.join().unwrap(), ErrorCode::Closed);
    assert!(start.elapsed() < Duration::from_secs(3));
    assert_eq!(source.token_blocking(TokenOptions::default()).unwrap_err().code(), ErrorCode::Closed);
    assert_eq!(engine.source("quantaprice").unwrap_err().code(), ErrorCode::Closed);
    engine.close();
}

#[test]
fn close_waits_for_a_rotation_that_is_on_the_wire() {
    // fault 74
    let bench = Bench::start();
    bench.settings(&serde_json::json!({"vendor": "quartile", "delay_ms": 500}));
    let engine = bench.engine("");
    let source = engine.source("quartile").unwrap();
    let waiting = std::thread::spawn(move || source.token_blocking(TokenOptions::default()).map(drop));
    bench.wait_for_count("quartile", "token_requests", 1);
    engine.close();
    drop(waiting.join().unwrap());
    assert_eq!(bench.count("quartile", "tokens_issued"), 1);
}

#[test]
fn the_engine_may_be_dropped_before_its_sources() {
    let bench = Bench::start();
    let source = bench.engine("").source("quiqup").unwrap();
    source.token_blocking(TokenOptions::default()).unwrap();
    source.reset();
    assert!(source.cached().is_some());
}

#[test]
fn a_child_serves_its_parents_token_and_can_obtain_its_own() {
    // fault 73
    let bench = Bench::start();
    let engine = bench.engine("");
    let source = engine.source("quantaprice").unwrap();
    let token = source.token_blocking(TokenOptions::default()).unwrap();
    // SAFETY: the child runs engine code only and leaves by `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let inherited = source.cached().is_some_and(|cached| cached.access_token() == token.access_token());
        source.invalidate(&token);
        let renewed =
            source.token_blocking(TokenOptions::default()).is_ok_and(|fresh| fresh.generation() > token.generation());
        // SAFETY: leaves without running the parent's exit handlers.
        unsafe { libc::_exit(i32::from(!(inherited && renewed))) };
    }
    let mut status = 0;
    // SAFETY: `status` is writable.
    unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!(status, 0);
    assert_eq!(bench.count("quantaprice", "token_requests"), 2);
    assert!(source.cached().is_some());
}

#[test]
fn what_is_scoped_alike_is_one_source() {
    let bench = Bench::start();
    let engine = bench.engine("");
    let source = engine.source("qpay").unwrap();
    let narrow = source.scoped(Some("cards  write"), None, None).unwrap();
    let same = source.scoped(Some("cards write"), None, None).unwrap();
    let token = narrow.token_blocking(TokenOptions::default()).unwrap();
    assert_eq!(same.token_blocking(TokenOptions::default()).unwrap().access_token(), token.access_token());
    assert_ne!(source.token_blocking(TokenOptions::default()).unwrap().access_token(), token.access_token());
    assert_eq!(bench.count("qpay", "token_requests"), 2);
    assert_eq!(engine.source("quiqup").unwrap().scoped(Some("x"), None, None).unwrap_err().code(), ErrorCode::Config);
}

#[test]
fn a_secret_file_is_read_again_when_it_changes() {
    let bench = Bench::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "wrong-at-first\n").unwrap();
    let toml = format!(
        "[profiles.orders]\nprovider = \"quiqup\"\nbase_url = \"{}/quiqup\"\nclient_id = \"quiqup-client\"\nclient_secret = \"file:{}\"\n",
        bench.url(),
        file.display()
    );
    let source = Engine::from_toml(&toml).unwrap().source("orders").unwrap();
    assert_eq!(source.token_blocking(TokenOptions::default()).unwrap_err().code(), ErrorCode::InvalidClient);
    // Remembered: no second request with the same secret.
    assert_eq!(source.token_blocking(TokenOptions::default()).unwrap_err().code(), ErrorCode::InvalidClient);
    assert_eq!(bench.count("quiqup", "token_requests"), 1);
    std::fs::write(&file, "quiqup-secret-5f1c\n").unwrap();
    source.token_blocking(TokenOptions::default()).unwrap();
    assert_eq!(bench.count("quiqup", "token_requests"), 2);
}

#[test]
fn two_providers_of_one_name_share_no_token() {
    // fault 9
    let bench = Bench::start();
    let provider = |path: &str| {
        format!(
            "{{ name = \"acme\", environments = {{ main = {{ base_url = \"{}\" }} }}, credentials = {{ client_id = {{}}, client_secret = {{ secret = true }} }}, grants = {{ client_credentials = {{ path = \"{path}\", json = {{ grant_type = \"client_credentials\", client_id = \"{{client_id}}\", client_secret = \"{{client_secret}}\" }} }} }} }}",
            bench.url()
        )
    };
    let profile = |name: &str, path: &str| {
        format!(
            "[profiles.{name}]\nprovider = {}\nclient_id = \"quiqup-client\"\nclient_secret = \"quiqup-secret-5f1c\"\n",
            provider(path)
        )
    };
    let toml = profile("one", "/quiqup/oauth/token") + &profile("two", "/quiqup/nowhere");
    let engine = Engine::from_toml(&toml).unwrap();
    engine.source("one").unwrap().token_blocking(TokenOptions::default()).unwrap();
    let error = engine.source("two").unwrap().token_blocking(TokenOptions::default()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Config, "{error}");
}

#[test]
fn an_update_may_change_what_the_token_is_narrowed_to() {
    let bench = Bench::start();
    let source = bench.engine("").source("qpay").unwrap();
    let scope = |source: &qauth_core::TokenSource| {
        source.token_blocking(TokenOptions::default()).unwrap().scope().map(str::to_owned).unwrap_or_default()
    };
    assert_eq!(scope(&source), "email profile");
    let changes = serde_json::json!({"scope": "cards"});
    source.update(changes.as_object().unwrap()).unwrap();
    assert_eq!(scope(&source), "email profile cards");
    // What was scoped stays so when something else changes.
    let narrow = source.scoped(Some("other"), None, None).unwrap();
    let changes = serde_json::json!({"buffer": "10s"});
    narrow.update(changes.as_object().unwrap()).unwrap();
    assert_eq!(scope(&narrow), "email profile other");
}

#[test]
fn what_a_server_repeats_of_a_token_never_reaches_an_error() {
    // fault 80
    let bench = Bench::start();
    let source = bench.engine("").source("quartile").unwrap();
    let token = source.token_blocking(TokenOptions::default()).unwrap();
    let said = format!("bad token {} here", token.access_token());
    bench.control("POST", "/_sim/faults", Some(&serde_json::json!({
        "vendor": "quartile", "endpoint": "api", "status": 403, "body": {"error": "forbidden", "error_description": said},
    })));
    let response = source.request_blocking(&Request::new("GET", "/reports")).unwrap();
    let error = response.error().unwrap();
    assert_eq!(error.server_error_description(), Some("bad token *** here"));
}

#[test]
fn everybody_who_waits_for_a_renewal_hears_of_the_close() {
    let bench = Bench::start();
    bench.settings(&serde_json::json!({"vendor": "quantaprice", "delay_ms": 5_000}));
    let engine = bench.engine("");
    let source = engine.source("quantaprice").unwrap();
    let threads: Vec<_> = (0..20)
        .map(|_| {
            let source = source.clone();
            std::thread::spawn(move || source.token_blocking(TokenOptions::default()).map(drop))
        })
        .collect();
    bench.wait_for_count("quantaprice", "token_requests", 1);
    engine.close();
    for thread in threads {
        assert_eq!(thread.join().unwrap().unwrap_err().code(), ErrorCode::Closed);
    }
}

#[test]
fn sources_made_while_the_engine_closes_neither_hang_nor_panic() {
    for _ in 0..50 {
        let bench = Bench::start();
        let engine = bench.engine("");
        let barrier = Arc::new(std::sync::Barrier::new(3));
        let threads: Vec<_> = ["quiqup", "qpay"]
            .into_iter()
            .map(|vendor| {
                let (engine, barrier) = (engine.clone(), barrier.clone());
                std::thread::spawn(move || {
                    barrier.wait();
                    let outcome =
                        engine.source(vendor).and_then(|source| source.token_blocking(TokenOptions::default()));
                    outcome.map_or_else(|error| error.code() == ErrorCode::Closed, |_| true)
                })
            })
            .collect();
        barrier.wait();
        engine.close();
        assert!(threads.into_iter().all(|thread| thread.join().unwrap()));
    }
}
