//! One simulated hour of many sources with an outage in the middle: real engine, real HTTP, virtual time.
//!
//! `hour [--sources 1000] [--minutes 60] [--outage 10] [--every 1] [--with closed|503] [--seed 42]`

mod server;

use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use qauth_core::{Engine, Error, Token, TokenOptions, TokenSource};
use serde_json::json;
use server::{Outage, Server};

/// From 2 s to 7 days, in equal steps of the logarithm.
const SHORTEST: f64 = 2.0;
const LONGEST: f64 = 604_800.0;

struct Plan {
    sources: usize,
    seconds: usize,
    /// In the middle.
    outage: usize,
    outage_with: Outage,
    /// How often each source is asked, in seconds.
    every: usize,
    seed: u32,
}

/// What callers met.
#[derive(Clone, Debug, Default)]
struct Met {
    asked: u64,
    served: u64,
    served_late: u64,
    errors_with_a_token: u64,
    errors_without: u64,
    /// In which second.
    last_error: usize,
}

struct Report {
    met: Met,
    requests: u64,
    /// One for each lifetime, and one for each time until a token is renewed.
    ideal: f64,
    ideal_with_windows: f64,
    steady_largest: u32,
    outage_rate: f64,
    outage_largest: u32,
    after_largest: u32,
    /// From the server's return to the last caller's error, in seconds.
    recovered_after: usize,
    per_second: Vec<u32>,
}

/// One source with the callers that ask it: who waits is not asked by another one.
struct Asked {
    source: TokenSource,
    server: Arc<Server>,
    /// The last token that a caller got, and whether one waits.
    last: Mutex<(Option<Token>, bool)>,
}

impl Asked {
    async fn ask(self: Arc<Self>, met: Arc<Mutex<Met>>) {
        if std::mem::replace(&mut self.last.lock().unwrap().1, true) {
            return;
        }
        let answer = self.source.token(TokenOptions::default()).await;
        let mut last = self.last.lock().unwrap();
        last.1 = false;
        let valid = |token: &Token| token.expires_in().is_none_or(|left| !left.is_zero());
        let mut met = met.lock().unwrap();
        met.asked += 1;
        match answer {
            Ok(token) => {
                met.served += 1;
                met.served_late += u64::from(!valid(&token));
                last.0 = Some(token);
            }
            Err(_) => {
                match last.0.as_ref().is_some_and(valid) {
                    true => met.errors_with_a_token += 1,
                    false => met.errors_without += 1,
                }
                met.last_error = self.server.now();
            }
        }
    }
}

fn lifetimes(sources: usize) -> Vec<u64> {
    let step = |index: usize| index as f64 / (sources.max(2) - 1) as f64;
    (0..sources).map(|index| (SHORTEST * (LONGEST / SHORTEST).powf(step(index))).round() as u64).collect()
}

/// When a token of this lifetime is renewed, as the engine does it without spreading (DESIGN.md 4, "Windows").
fn renewed_after(lifetime: f64) -> f64 {
    lifetime - (lifetime / 10.0).min(60.0) - (lifetime / 10.0).min(240.0)
}

fn simulate(plan: &Plan) -> Result<Report, Error> {
    let lifetimes = lifetimes(plan.sources);
    let server = Arc::new(Server::start(lifetimes.clone()).expect("a port of this machine is free"));
    let profiles: serde_json::Map<String, serde_json::Value> = (0..plan.sources)
        .map(|index| {
            let endpoint = format!("{}/t/{index}", server.url());
            let profile = json!({"provider": "oauth2", "token_endpoint": endpoint, "client_id": format!("c{index}"), "client_secret": "hour-secret"});
            (format!("s{index}"), profile)
        })
        .collect();
    let testing = json!({"clock": "manual", "seed": plan.seed});
    let engine = Engine::from_value(json!({"testing": testing, "profiles": profiles}))?;
    let asked: Vec<Arc<Asked>> = (0..plan.sources)
        .map(|index| {
            let source = engine.source(&format!("s{index}"))?;
            Ok(Arc::new(Asked { source, server: server.clone(), last: Mutex::default() }))
        })
        .collect::<Result<_, Error>>()?;
    let met = Arc::new(Mutex::new(Met::default()));
    let begins = (plan.seconds - plan.outage) / 2;
    let ends = begins + plan.outage;
    let calls = (0..plan.seconds).flat_map(|second| {
        let (server, outage) = (server.clone(), plan.outage_with);
        // First what the second itself brings, then its callers, spread over it.
        let tick: std::pin::Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(async move {
            server.second(second);
            if second == begins && ends > begins {
                server.away(Some(outage));
            }
            if second == ends {
                server.away(None);
            }
        });
        let callers = asked.iter().enumerate().filter(move |(index, _)| (second + index) % plan.every == 0);
        let callers = callers.map({
            let met = met.clone();
            move |(index, asked)| {
                let at = Duration::from_secs_f64(second as f64 + index as f64 / plan.sources as f64);
                let call: std::pin::Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(asked.clone().ask(met.clone()));
                (at, call)
            }
        });
        std::iter::once((Duration::from_secs(second as u64), tick)).chain(callers)
    });
    engine.simulate(plan.seconds as f64, calls)?;
    engine.close();
    let mut per_second = server.per_second();
    per_second.resize(plan.seconds, 0);
    let hour = plan.seconds as f64;
    let largest = |seconds: &[u32]| seconds.iter().copied().max().unwrap_or(0);
    // The first logins of all are no steady state.
    let (before, during, after) = (&per_second[begins / 2..begins], &per_second[begins..ends], &per_second[ends..]);
    let met = met.lock().unwrap().clone();
    let recovered_after = met.last_error.saturating_sub(ends);
    Ok(Report {
        met,
        requests: server.per_source().iter().map(|count| u64::from(*count)).sum(),
        ideal: lifetimes.iter().map(|lifetime| (hour / *lifetime as f64).max(1.0)).sum(),
        ideal_with_windows: lifetimes.iter().map(|lifetime| (hour / renewed_after(*lifetime as f64)).max(1.0)).sum(),
        steady_largest: largest(before),
        outage_rate: f64::from(during.iter().sum::<u32>()) / during.len().max(1) as f64,
        outage_largest: largest(during),
        after_largest: largest(after),
        recovered_after,
        per_second,
    })
}

#[allow(clippy::print_stdout, clippy::print_stderr)]
fn main() -> ExitCode {
    let Some(plan) = plan(std::env::args().skip(1)) else {
        eprintln!(
            "usage: hour [--sources N] [--minutes N] [--outage MINUTES] [--every SECONDS] [--with closed|503] [--seed N]"
        );
        return ExitCode::from(2);
    };
    let begin = Instant::now();
    let report = match simulate(&plan) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("hour: {error}");
            return ExitCode::FAILURE;
        }
    };
    let Plan { sources, seconds, outage, outage_with, every, seed } = plan;
    println!(
        "{sources} sources of 2 s to 7 days, {seconds} s, {outage} s of them without a server ({outage_with:?}), seed {seed}"
    );
    println!("each asked every {every} s; {:.1} s of real time", begin.elapsed().as_secs_f64());
    println!("  token requests answered          {}", report.requests);
    println!("  one per lifetime                 {:.0}", report.ideal);
    println!("  one per time until refresh_at    {:.0}", report.ideal_with_windows);
    println!("  calls                            {}", report.met.asked);
    println!("  served                           {}", report.met.served);
    println!("  served after the token's end     {}", report.met.served_late);
    println!("  errors with a valid token        {}", report.met.errors_with_a_token);
    println!("  errors without a valid token     {}", report.met.errors_without);
    println!("  largest second, steady           {}", report.steady_largest);
    println!("  requests a second in the outage  {:.1}", report.outage_rate);
    println!("  largest second in the outage     {}", report.outage_largest);
    println!("  largest second after the outage  {}", report.after_largest);
    println!("  last error after the outage       {} s", report.recovered_after);
    if std::env::var_os("HOUR_SECONDS").is_some() {
        println!("  by second                        {:?}", report.per_second);
    }
    match report.met.errors_with_a_token + report.met.served_late {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn plan(mut arguments: impl Iterator<Item = String>) -> Option<Plan> {
    let mut plan = Plan { sources: 1000, seconds: 3600, outage: 600, outage_with: Outage::Closed, every: 1, seed: 42 };
    while let Some(name) = arguments.next() {
        let value = arguments.next()?;
        let number = || value.parse::<usize>().ok();
        match name.as_str() {
            "--sources" => plan.sources = number().filter(|count| *count > 0)?,
            "--minutes" => plan.seconds = 60 * number()?,
            "--outage" => plan.outage = 60 * number()?,
            "--every" => plan.every = number().filter(|every| *every > 0)?,
            "--seed" => plan.seed = value.parse().ok()?,
            "--with" => {
                plan.outage_with = match value.as_str() {
                    "closed" => Outage::Closed,
                    "503" => Outage::Unavailable,
                    _ => return None,
                }
            }
            _ => return None,
        }
    }
    (plan.outage < plan.seconds).then_some(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sixty sources, six minutes, two of them without a server.
    fn short(outage_with: Outage) -> Report {
        let plan = Plan { sources: 60, seconds: 360, outage: 120, outage_with, every: 1, seed: 42 };
        simulate(&plan).unwrap()
    }

    /// fault 19
    fn holds(report: &Report) {
        let Met { asked, served, served_late, errors_with_a_token, errors_without, .. } = report.met;
        assert_eq!((served_late, errors_with_a_token), (0, 0));
        // A source is not asked again while its caller waits.
        assert!(asked > 19_000 && served > 19_000 && errors_without > 0, "{:?}", report.met);
        let (requests, ideal) = (report.requests as f64, report.ideal_with_windows);
        assert!(requests > ideal * 0.6 && requests < ideal, "{requests} requests, {ideal} without an outage");
        // Less than an attempt each in ten seconds, though the first minute sees most of the tokens end.
        assert!(report.outage_rate < 6.0, "{} requests a second", report.outage_rate);
        assert!(report.after_largest <= 2 * report.steady_largest, "{:?}", report.per_second);
        assert!(report.recovered_after <= 10, "errors until {} s after the outage", report.recovered_after);
    }

    #[test]
    fn an_outage_of_closed_connections_reaches_no_caller_with_a_token_and_ends_without_a_storm() {
        holds(&short(Outage::Closed));
    }

    #[test]
    fn an_outage_of_503_reaches_no_caller_with_a_token_and_ends_without_a_storm() {
        holds(&short(Outage::Unavailable));
    }
}
