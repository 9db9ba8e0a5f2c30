//! A server that is not there at all, or is somebody else: what only sockets can show, and how many come back after it.

#[path = "support/held.rs"]
mod held;
mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use held::Held;
use qauth_core::{Engine, ErrorCode, Request, TokenOptions, TokenSource};
use qauth_sim::{Sim, SimOptions, known};

fn sim(port: u16, tls: bool) -> Sim {
    Sim::start(SimOptions { port, tls }).unwrap()
}

fn ask(source: &TokenSource) -> Result<String, ErrorCode> {
    let token = source.token_blocking(TokenOptions::default()).map_err(|error| error.code())?;
    Ok(token.access_token().to_owned())
}

/// What keeps a renewal from succeeding, as somebody hears it who has no use for what is left of the token.
fn what_is_wrong(source: &TokenSource) -> ErrorCode {
    let options = TokenOptions { min_remaining: Duration::from_secs(3590), ..TokenOptions::default() };
    source.token_blocking(options).unwrap_err().code()
}

#[test]
fn a_valid_token_is_served_while_nothing_listens() {
    // faults 15, 57
    let first = sim(0, false);
    let (port, url) = (first.addr().port(), first.url());
    let engine = Engine::from_toml(&format!(
        "[testing]\nclock = \"manual\"\n[profiles.p]\nprovider = \"quantaprice\"\nbase_url = \"{url}/quantaprice\"\nclient_id = \"{}\"\nclient_secret = \"{}\"",
        known::QUANTAPRICE_CLIENT_ID,
        known::QUANTAPRICE_CLIENT_SECRET,
    ))
    .unwrap();
    let source = engine.source("p").unwrap();
    let token = ask(&source).unwrap();
    drop(first);
    // Renewed ahead from 3300 s on; stale from 3540 s on.
    for seconds in [3310.0, 235.0, 50.0] {
        engine.advance(seconds).unwrap();
        assert_eq!(what_is_wrong(&source), ErrorCode::Network);
        assert_eq!(ask(&source).as_ref(), Ok(&token));
    }
    let _second = sim(port, false);
    engine.advance(10.0).unwrap();
    assert_ne!(ask(&source).unwrap(), token);
}

#[test]
fn a_valid_token_is_served_while_somebody_else_answers() {
    // faults 21, 57
    let first = sim(0, true);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), first.ca_pem().unwrap()).unwrap();
    let port = first.addr().port();
    let engine = Engine::from_toml(&format!(
        "[testing]\nclock = \"manual\"\n[transport]\nca_file = \"{}\"\n[profiles.p]\nprovider = \"quantaprice\"\nbase_url = \"{}/quantaprice\"\nclient_id = \"{}\"\nclient_secret = \"{}\"",
        folder.path().join("ca.pem").display(),
        first.url(),
        known::QUANTAPRICE_CLIENT_ID,
        known::QUANTAPRICE_CLIENT_SECRET,
    ))
    .unwrap();
    let source = engine.source("p").unwrap();
    let token = ask(&source).unwrap();
    drop(first);
    // Another authority's certificate, then no TLS at all.
    for (tls, seconds) in [(true, 3310.0), (false, 235.0)] {
        let _other = sim(port, tls);
        engine.advance(seconds).unwrap();
        assert_eq!(what_is_wrong(&source), ErrorCode::Tls, "tls: {tls}");
        assert_eq!(ask(&source).as_ref(), Ok(&token));
    }
    engine.advance(60.0).unwrap();
    assert!(ask(&source).is_err());
}

#[test]
fn a_refresh_that_was_never_sent_leaves_its_token_good() {
    // faults 15, 16: "nothing sent yet" is the one failure after which a rotating refresh token is sent again.
    let first = sim(0, false);
    let (port, url) = (first.addr().port(), first.url());
    let engine = Engine::from_toml(&format!(
        "[testing]\nclock = \"manual\"\n[profiles.p]\nprovider = \"quartile\"\nbase_url = \"{url}/quartile\"\nusername = \"{}\"\npassword = \"{}\"\nsubscription_key = \"{}\"",
        known::QUARTILE_USERNAME,
        known::QUARTILE_PASSWORD,
        known::QUARTILE_SUBSCRIPTION_KEY,
    ))
    .unwrap();
    let source = engine.source("p").unwrap();
    let token = ask(&source).unwrap();
    drop(first);
    // Finds the kept connection broken, so that no refresh is written into it.
    assert_eq!(source.request_blocking(&Request::new("GET", "/reports")).unwrap_err().code(), ErrorCode::Network);
    engine.advance(42_910.0).unwrap();
    assert_eq!(ask(&source).as_ref(), Ok(&token));
    let _second = sim(port, false);
    engine.advance(290.0).unwrap();
    ask(&source).unwrap();
    // The second server knows nothing of it, and refuses it; but it was asked.
    let state = support::state(&url);
    assert_eq!(state["vendors"]["quartile"]["by_grant"]["refresh_token"], 1, "{state}");
}

#[test]
fn after_an_outage_the_sources_of_a_process_come_back_one_by_one() {
    // fault 19
    const SOURCES: usize = 200;
    let names: Vec<String> = (0..SOURCES).map(|number| format!("p{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let server = Held::start();
    let engine = server.engine("clock = \"manual\"\nseed = 19", &names, "mode = \"always\"");
    let (away, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(0)));
    std::thread::spawn({
        let (away, refused) = (away.clone(), refused.clone());
        move || {
            while let Ok(request) = server.asked.recv() {
                if away.load(Ordering::SeqCst) {
                    *refused.lock().unwrap() += 1;
                    request.answers(500, "");
                } else {
                    request.gives("token", 3600);
                }
            }
        }
    });
    let sources: Vec<TokenSource> = names.iter().map(|name| engine.source(name).unwrap()).collect();
    sources.iter().for_each(|source| drop(ask(source).unwrap()));
    away.store(true, Ordering::SeqCst);
    // They are renewed from 3300 s on, and the server is back before any of them has ended.
    engine.advance(3480.0).unwrap();
    away.store(false, Ordering::SeqCst);
    engine.advance(120.0).unwrap();
    let refused = *refused.lock().unwrap();
    assert!((SOURCES * 4..SOURCES * 12).contains(&refused), "{refused} requests in vain");
    // How long ago each has its new token, by seconds.
    let mut seconds = [0; 121];
    for source in &sources {
        let age = 3600.0 - source.cached().expect("none has ended").expires_in().unwrap().as_secs_f64();
        seconds[age as usize] += 1;
    }
    let busiest = seconds.iter().max().unwrap();
    assert!(*busiest <= SOURCES / 10, "{busiest} in one second of {seconds:?}");
}

#[test]
fn pauses_between_attempts_are_drawn_from_their_upper_half() {
    // DESIGN.md 4, "Retries": 100, 200 and 400 ms, so that processes that fail together do not come back together.
    let server = Held::start();
    let mut pauses: Vec<u128> = (1..=8)
        .map(|seed| {
            let testing = format!("clock = \"manual\"\nseed = {seed}");
            let engine = server.engine(&testing, &["watch", "p"], "mode = \"on_demand\"");
            let asking = |name: &str| {
                let source = engine.source(name).unwrap();
                std::thread::spawn(move || ask(&source).unwrap())
            };
            let watch = asking("watch");
            server.next().gives("watch", 3600);
            watch.join().unwrap();
            let call = asking("p");
            (0..3).for_each(|_| server.next().answers(500, ""));
            server.next().gives("token", 3600);
            call.join().unwrap();
            let left = engine.source("watch").unwrap().cached().unwrap().expires_in().unwrap();
            (Duration::from_secs(3600) - left).as_millis()
        })
        .collect();
    assert!(pauses.iter().all(|pause| (350..=700).contains(pause)), "{pauses:?}");
    pauses.sort_unstable();
    pauses.dedup();
    assert!(pauses.len() > 4, "{pauses:?}");
}
