//! `make bench`: what a cached and a fetched token cost, as ratios against a floor or a peer of the same run.

mod crowd;
mod library;
mod measure;
mod signing;

use std::hint::black_box;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use arc_swap::ArcSwap;
use library::LoadedSource;
use measure::{Subject, nanoseconds};
use qauth_core::{Clock, Engine, TokenOptions};
use qauth_sim::{Sim, SimOptions, known};

const CALLS: u64 = 2_000_000;
const ROUNDS: usize = 15;

fn main() -> ExitCode {
    let Some(library) = std::env::args_os().nth(1).map(PathBuf::from) else {
        say("usage: qauth-bench PATH-TO-libqauth.so [PATH-TO-first-token]");
        return ExitCode::from(2);
    };
    let sim = Sim::start(SimOptions::default()).expect("the simulator starts");
    let config = config(&sim.url());
    for threads in [1, 2] {
        cached(&config, &library, threads);
    }
    fetched(&sim.url(), &config);
    crowd::cold_starts(&sim.url(), &config);
    signing::proofs(&sim.url());
    if let Some(program) = std::env::args_os().nth(2) {
        first_token(&PathBuf::from(program), &library);
    }
    ExitCode::SUCCESS
}

fn config(url: &str) -> String {
    serde_json::json!({"profiles": {"pricing": {
        "provider": "quantaprice",
        "base_url": format!("{url}/quantaprice"),
        "client_id": known::QUANTAPRICE_CLIENT_ID,
        "client_secret": known::QUANTAPRICE_CLIENT_SECRET,
    }}})
    .to_string()
}

/// The cached path against the least that it must do: load one guarded pointer and read two clocks; for C, copy as well.
fn cached(config: &str, library: &std::path::Path, threads: usize) {
    let engine = Engine::from_json(config).expect("the configuration is fine");
    let source = engine.source("pricing").expect("the profile is fine");
    let length = source.with_token(|token| token.header_value().len()).expect("a token");
    let floor = ArcSwap::from_pointee("x".repeat(length));
    let loaded = LoadedSource::open(library, config, "pricing");
    loaded.header(&mut vec![0; 4096]);
    let subjects = [
        Subject {
            name: "floor: ArcSwap guard + two clock reads",
            run: Box::new(|calls| {
                for _ in 0..calls {
                    let guard = floor.load();
                    black_box(Clock::read_hot_clocks());
                    black_box(guard.len());
                }
            }),
        },
        Subject {
            name: "Rust with_token",
            run: Box::new(|calls| {
                for _ in 0..calls {
                    black_box(source.with_token(|token| token.header_value().len())).expect("a token");
                }
            }),
        },
        Subject {
            name: "floor + memcpy",
            run: Box::new(|calls| {
                let mut buffer = vec![0u8; 4096];
                for _ in 0..calls {
                    let guard = floor.load();
                    black_box(Clock::read_hot_clocks());
                    buffer[..guard.len()].copy_from_slice(guard.as_bytes());
                    black_box(&mut buffer);
                }
            }),
        },
        Subject {
            name: "C qauth_source_header",
            run: Box::new(|calls| {
                let mut buffer = vec![0u8; 4096];
                for _ in 0..calls {
                    black_box(loaded.header(&mut buffer));
                }
            }),
        },
        Subject {
            name: "Rust token() (shared count)",
            run: Box::new(|calls| {
                for _ in 0..calls {
                    black_box(source.token_blocking(TokenOptions::default())).expect("a token");
                }
            }),
        },
    ];
    let ns = nanoseconds(&subjects, CALLS, ROUNDS, threads);
    say(&format!("cached, {threads} thread(s), header of {length} bytes: ns per call"));
    for (subject, time) in subjects.iter().zip(&ns) {
        say(&format!("  {:<42} {time:>8.1}", subject.name));
    }
    say(&format!("  with_token / floor                         {:>8.2}x  (at most 1.5)", ns[1] / ns[0]));
    say(&format!("  qauth_source_header - (floor + memcpy)     {:>8.1} ns (at most 10)", ns[3] - ns[2]));
}

/// One token request over a kept connection, against bare reqwest on a runtime of the same kind.
fn fetched(url: &str, config: &str) {
    let engine = Engine::from_json(config).expect("the configuration is fine");
    let source = engine.source("pricing").expect("the profile is fine");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let client = bare_client();
    let endpoint = format!("{url}/quantaprice/oauth2/token");
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", known::QUANTAPRICE_CLIENT_ID),
        ("client_secret", known::QUANTAPRICE_CLIENT_SECRET),
    ];
    let subjects = [
        Subject {
            name: "bare reqwest, answer parsed",
            run: Box::new(|calls| {
                for _ in 0..calls {
                    // Spawned, as a program does that keeps its runtime to itself.
                    let send = client.post(&endpoint).form(&form).send();
                    let task = runtime.spawn(async move { send.await?.json::<serde_json::Value>().await });
                    black_box(runtime.block_on(task)).expect("no panic").expect("an answer");
                }
            }),
        },
        Subject {
            name: "qauth: invalidate, fetch",
            run: Box::new(|calls| {
                for _ in 0..calls {
                    if let Some(token) = source.cached() {
                        source.invalidate(&token);
                        source.reset();
                    }
                    black_box(source.token_blocking(TokenOptions::default())).expect("a token");
                }
            }),
        },
    ];
    let ns = nanoseconds(&subjects, 300, ROUNDS, 1);
    say("fetched over a kept connection on loopback: us per token");
    for (subject, time) in subjects.iter().zip(&ns) {
        say(&format!("  {:<42} {:>8.1}", subject.name, time / 1000.0));
    }
    say(&format!("  qauth / reqwest                            {:>8.2}x  (at most 1.1)", ns[1] / ns[0]));
}

/// reqwest without proxies and without the system's roots, since the simulator speaks http.
fn bare_client() -> reqwest::Client {
    let tls = rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder().no_proxy().tls_backend_preconfigured(tls).build().expect("a client")
}

/// A fresh process: from `dlopen` to the first token over https, certificates verified.
fn first_token(program: &std::path::Path, library: &std::path::Path) {
    let sim = Sim::start(SimOptions { tls: true, ..SimOptions::default() }).expect("the simulator starts");
    let ca = std::env::temp_dir().join(format!("qauth-bench-ca-{}.pem", std::process::id()));
    std::fs::write(&ca, sim.ca_pem().expect("a simulator with TLS has a CA")).expect("a temporary file");
    let mut times: Vec<f64> = (0..11)
        .map(|_| {
            let output = Command::new(program).arg(library).arg(sim.url()).arg(&ca).output().expect("first-token runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).trim().parse().expect("milliseconds")
        })
        .collect();
    times.sort_by(f64::total_cmp);
    say(&format!(
        "dlopen to the first token over loopback https      {:>8.1} ms (median of {})",
        times[times.len() / 2],
        times.len()
    ));
    let size = std::fs::metadata(library).map_or(0, |meta| meta.len());
    say(&format!("{:<50} {:>8.2} MB", library.file_name().unwrap_or_default().to_string_lossy(), size as f64 / 1e6));
    let _ = std::fs::remove_file(ca);
}

#[allow(clippy::print_stdout)]
fn say(line: &str) {
    println!("{line}");
}
