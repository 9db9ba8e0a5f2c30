use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ThreadId;
use std::time::Instant;

use super::*;
use crate::{Engine, TokenOptions, TokenSource};

fn engine() -> Engine {
    Engine::from_toml("[testing]\nclock = \"manual\"").unwrap()
}

/// Counts its calls, and gives `token-1`, `token-2` and so on for ten minutes each.
fn counting(engine: &Engine) -> (TokenSource, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let function = move |_: &TokenCall| {
        let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
        async move { Ok(CustomToken::new(format!("token-{number}"), Some(Duration::from_secs(600)))) }
    };
    (engine.custom_source("vault", &Map::new(), function).unwrap(), calls)
}

fn within(milliseconds: u64) -> TokenOptions {
    TokenOptions { timeout: Some(Duration::from_millis(milliseconds)), ..TokenOptions::default() }
}

#[test]
fn a_token_is_obtained_cached_and_renewed_when_it_has_ended() {
    let engine = engine();
    let (source, calls) = counting(&engine);
    for _ in 0..3 {
        assert_eq!(source.token_blocking(TokenOptions::default()).unwrap().access_token(), "token-1");
    }
    assert_eq!(source.header().unwrap(), "Bearer token-1");
    engine.advance(601.0).unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 1, "no timer calls a host");
    assert_eq!(source.token_blocking(TokenOptions::default()).unwrap().access_token(), "token-2");
}

#[test]
fn fifty_threads_that_ask_at_once_make_one_call_on_one_of_them() {
    // fault 53
    let engine = engine();
    let asking: Arc<Mutex<Vec<ThreadId>>> = Arc::default();
    let ran: Arc<Mutex<Vec<ThreadId>>> = Arc::default();
    let on = ran.clone();
    let function = move |_: &TokenCall| {
        on.lock().unwrap().push(std::thread::current().id());
        async { Ok(CustomToken::new("t", None)) }
    };
    let source = engine.custom_source("vault", &Map::new(), function).unwrap();
    let barrier = Barrier::new(50);
    std::thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| {
                asking.lock().unwrap().push(std::thread::current().id());
                barrier.wait();
                assert_eq!(source.token_blocking(TokenOptions::default()).unwrap().access_token(), "t");
            });
        }
    });
    let ran = ran.lock().unwrap();
    assert_eq!(ran.len(), 1);
    assert!(asking.lock().unwrap().contains(&ran[0]), "a thread of the engine ran the function");
}

#[test]
fn a_queued_call_runs_the_function_on_the_thread_that_runs_the_queue() {
    let engine = engine();
    let ran: Arc<Mutex<Vec<ThreadId>>> = Arc::default();
    let on = ran.clone();
    let function = move |_: &TokenCall| {
        on.lock().unwrap().push(std::thread::current().id());
        async { Ok(CustomToken::new("t", None)) }
    };
    let source = engine.custom_source("vault", &Map::new(), function).unwrap();
    let queue = CompletionQueue::new().unwrap();
    let done = Arc::new(Mutex::new(None));
    let told = done.clone();
    source.token_queued(TokenOptions::default(), &queue, move |result| *told.lock().unwrap() = Some(result)).unwrap();
    let end = Instant::now() + Duration::from_secs(10);
    while done.lock().unwrap().is_none() && Instant::now() < end {
        queue.run(Duration::from_millis(100));
    }
    assert_eq!(done.lock().unwrap().take().unwrap().unwrap().access_token(), "t");
    assert_eq!(*ran.lock().unwrap(), [std::thread::current().id()]);
}

#[test]
fn its_error_is_everybodys_with_its_own_code_and_is_not_repeated() {
    let engine = engine();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let function = move |_: &TokenCall| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Err(Error::new(ErrorCode::AccessDenied, "the vault is sealed")) }
    };
    let source = engine.custom_source("vault", &Map::new(), function).unwrap();
    // The first call has time; those after it have less than the pause, so that they do not wait for its end.
    for limit in [30_000, 50, 50] {
        let error = source.token_blocking(within(limit)).unwrap_err();
        assert_eq!((error.code(), error.profile()), (ErrorCode::AccessDenied, Some("vault")));
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1, "a pause follows a failure");
}

#[test]
fn a_caller_that_gives_up_leaves_the_call_to_the_next() {
    // fault 54
    let engine = engine();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    // The first call never ends by itself.
    let function = move |_: &TokenCall| {
        let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            if first {
                std::future::pending::<()>().await;
            }
            Ok(CustomToken::new("t", None))
        }
    };
    let source = engine.custom_source("vault", &Map::new(), function).unwrap();
    let error = source.token_blocking(within(50)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Timeout);
    assert_eq!(source.token_blocking(within(5_000)).unwrap().access_token(), "t");
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[test]
fn a_slow_function_is_not_begun_again_by_each_caller_who_still_has_a_token() {
    let engine = engine();
    let (calls, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(tokio::sync::Notify::new()));
    let (counted, opens) = (calls.clone(), gate.clone());
    let function = move |_: &TokenCall| {
        let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
        let opens = opens.clone();
        async move {
            if number > 1 {
                opens.notified().await;
            }
            Ok(CustomToken::new(format!("token-{number}"), Some(Duration::from_secs(600))))
        }
    };
    let source = engine.custom_source("vault", &Map::new(), function).unwrap();
    let token = || source.token_blocking(TokenOptions::default()).unwrap().access_token().to_owned();
    assert_eq!(token(), "token-1");
    engine.advance(580.0).unwrap();
    assert_eq!(token(), "token-1", "stale, and valid");
    gate.notify_one();
    assert_eq!(token(), "token-2");
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[test]
fn a_function_that_asks_its_own_source_ends_in_a_timeout_and_not_in_a_deadlock() {
    // fault 59
    let engine = engine();
    let own: Arc<Mutex<Option<TokenSource>>> = Arc::default();
    let held = own.clone();
    let function = move |_: &TokenCall| {
        let source = held.lock().unwrap().clone();
        async move {
            let inner = source.expect("set before the first call").token_blocking(within(50));
            assert_eq!(inner.unwrap_err().code(), ErrorCode::Timeout);
            Ok(CustomToken::new("t", None))
        }
    };
    let source = engine.custom_source("vault", &Map::new(), function).unwrap();
    *own.lock().unwrap() = Some(source.clone());
    assert_eq!(source.token_blocking(within(5_000)).unwrap().access_token(), "t");
    // The two hold each other.
    own.lock().unwrap().take();
}

#[test]
fn a_function_may_remove_its_source_and_close_its_engine() {
    // fault 59
    let ends: [fn(&Engine); 2] = [|engine| assert!(engine.remove("vault")), Engine::close];
    for end in ends {
        let engine = engine();
        let held = engine.clone();
        let function = move |_: &TokenCall| {
            end(&held);
            async { Ok(CustomToken::new("t", None)) }
        };
        let source = engine.custom_source("vault", &Map::new(), function).unwrap();
        assert_eq!(source.token_blocking(within(5_000)).unwrap_err().code(), ErrorCode::Closed);
        engine.close();
    }
}

#[test]
fn a_function_that_panics_harms_nobody_else() {
    // fault 55
    let engine = engine();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let function = move |_: &TokenCall| {
        let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            assert!(!first, "planned");
            Ok(CustomToken::new("t", None))
        }
    };
    let source = engine.custom_source("vault", &Map::new(), function).unwrap();
    let panicking = source.clone();
    assert!(std::thread::spawn(move || panicking.token_blocking(within(5_000))).join().is_err());
    assert_eq!(source.token_blocking(within(5_000)).unwrap().access_token(), "t");
}

#[test]
fn what_no_token_can_be_is_refused_and_not_shown() {
    for text in ["", "canary canary", "canary\n", "canary-ü"] {
        let engine = engine();
        let function = move |_: &TokenCall| async move { Ok(CustomToken::new(text, None)) };
        let source = engine.custom_source("vault", &Map::new(), function).unwrap();
        let error = source.token_blocking(TokenOptions::default()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Protocol);
        assert!(!error.to_string().contains("canary"), "{error}");
    }
}

#[test]
fn what_the_token_is_narrowed_to_is_told() {
    let engine = engine();
    let function = |call: &TokenCall| {
        let token = format!("{}/{}", call.profile, call.scope.as_deref().unwrap_or("-"));
        async move { Ok(CustomToken::new(token, None)) }
    };
    let source = engine.custom_source("vault", &Map::new(), function).unwrap();
    let narrowed = source.scoped(Some("read"), None, None).unwrap();
    assert_eq!(source.token_blocking(TokenOptions::default()).unwrap().access_token(), "vault/-");
    assert_eq!(narrowed.token_blocking(TokenOptions::default()).unwrap().access_token(), "vault/read");
}

#[test]
fn two_profiles_with_functions_share_no_token_and_the_last_function_counts() {
    // fault 9
    let engine = engine();
    let giving = |text: &'static str| move |_: &TokenCall| async move { Ok(CustomToken::new(text, None)) };
    let one = engine.custom_source("one", &Map::new(), giving("first")).unwrap();
    let two = engine.custom_source("two", &Map::new(), giving("second")).unwrap();
    engine.custom_source("one", &Map::new(), giving("third")).unwrap();
    assert_eq!(one.token_blocking(TokenOptions::default()).unwrap().access_token(), "third");
    assert_eq!(two.token_blocking(TokenOptions::default()).unwrap().access_token(), "second");
}

#[test]
fn a_source_without_its_function_and_a_function_without_need_are_named() {
    let engine = engine();
    let error = engine.source("custom").unwrap().token_blocking(TokenOptions::default()).unwrap_err();
    assert!(error.code() == ErrorCode::Config && error.message().contains("custom_source"), "{error}");
    let keys: Map<String, Value> = serde_json::from_value(serde_json::json!({
        "provider": "oauth2", "token_endpoint": "https://x.example/t", "client_id": "c", "client_secret": "s",
    }))
    .unwrap();
    let function = |_: &TokenCall| async { Ok(CustomToken::new("t", None)) };
    let error = engine.custom_source("p", &keys, function).unwrap_err();
    assert!(error.code() == ErrorCode::Config && error.message().contains("grant"), "{error}");
    let mode: Map<String, Value> = [("mode".to_owned(), Value::from("background"))].into_iter().collect();
    let error = engine.custom_source("q", &mode, function).unwrap_err();
    assert!(error.message().contains("mode"), "{error}");
}
