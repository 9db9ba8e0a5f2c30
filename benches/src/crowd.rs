//! A cold start: a thousand callers at once of a source without a token, beside a server that takes 50 ms to answer.

use std::sync::{Barrier, RwLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use qauth_core::{CompletionQueue, Engine, Result, TokenOptions, TokenSource};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use crate::say;

const CALLERS: usize = 1000;
const ANSWER: Duration = Duration::from_millis(50);
const ROUNDS: usize = 9;

/// Who calls.
#[derive(Clone, Copy, Default)]
struct Crowd {
    threads: usize,
    tasks: usize,
    queued: usize,
}

/// What each kind of caller does. The last one hands so many calls over and comes back when all are through.
struct Calls<'a> {
    on_thread: &'a (dyn Fn() + Sync),
    in_task: &'a (dyn Fn(&Runtime) -> JoinHandle<()> + Sync),
    queued: &'a (dyn Fn(usize) + Sync),
}

/// Prints for each kind of caller, and for all of them together: requests that the server counted, and milliseconds.
pub(crate) fn cold_starts(url: &str, config: &str) {
    let simulator = Simulator::new(url);
    simulator.take(ANSWER);
    let third = CALLERS / 3;
    let crowds = [
        ("threads", Crowd { threads: CALLERS, ..Crowd::default() }),
        ("tasks of tokio", Crowd { tasks: CALLERS, ..Crowd::default() }),
        ("queued calls", Crowd { queued: CALLERS, ..Crowd::default() }),
        ("all three together", Crowd { threads: third, tasks: third, queued: CALLERS - 2 * third }),
    ];
    say(&format!("{CALLERS} callers at once, an endpoint of 50 ms: requests, ms until the last one has its token"));
    for (name, crowd) in crowds {
        let asleep = median(|| crowd.sleep());
        let before = simulator.token_requests();
        let wall = median(|| crowd.call(config));
        let requests = simulator.token_requests() - before;
        assert_eq!(requests, ROUNDS as u64, "one request each time");
        say(&format!("  {name:<42} {:>8} {wall:>8.1}  (at most 70; {asleep:.1} if all sleep for 50 ms)", 1));
    }
    simulator.take(Duration::ZERO);
}

impl Crowd {
    /// Engine, runtime and connection are new.
    fn call(self, config: &str) -> f64 {
        let engine = Engine::from_json(config).expect("the configuration is fine");
        let source = engine.source("pricing").expect("the profile is fine");
        let queue = CompletionQueue::new().expect("a descriptor");
        let wall = self.together(Calls {
            on_thread: &|| received(source.token_blocking(TokenOptions::default())),
            in_task: &|runtime| {
                let source = source.clone();
                runtime.spawn(async move { received(source.token(TokenOptions::default()).await) })
            },
            queued: &|calls| queued(&source, &queue, calls),
        });
        engine.close();
        wall
    }

    /// What the crowd costs by itself: everybody sleeps as long as the answer takes.
    fn sleep(self) -> f64 {
        self.together(Calls {
            on_thread: &|| thread::sleep(ANSWER),
            in_task: &|runtime| runtime.spawn(async { tokio::time::sleep(ANSWER).await }),
            queued: &|_| thread::sleep(ANSWER),
        })
    }

    /// Milliseconds from the moment when all may go, each thread being there already, until the last one is through.
    fn together(self, calls: Calls<'_>) -> f64 {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let mut turns: Vec<Box<dyn FnOnce() + Send + '_>> = Vec::new();
        turns.extend((0..self.threads).map(|_| -> Box<dyn FnOnce() + Send + '_> { Box::new(calls.on_thread) }));
        if self.tasks > 0 {
            turns.push(Box::new(|| {
                let tasks: Vec<_> = (0..self.tasks).map(|_| (calls.in_task)(&runtime)).collect();
                tasks.into_iter().for_each(|task| runtime.block_on(task).expect("no panic"));
            }));
        }
        if self.queued > 0 {
            turns.push(Box::new(|| (calls.queued)(self.queued)));
        }
        at_once(turns)
    }
}

/// Runs each on a thread of its own, all from one moment on.
fn at_once(turns: Vec<Box<dyn FnOnce() + Send + '_>>) -> f64 {
    let (count, ready) = (turns.len(), Barrier::new(turns.len() + 1));
    // Gates open for all who wait at once. Behind the second one threads end, which takes the system a while.
    let (begin, end) = (RwLock::new(()), RwLock::new(()));
    let (begins, ends) = (begin.write().expect("no panic"), end.write().expect("no panic"));
    let (through, last) = mpsc::channel();
    thread::scope(|scope| {
        for turn in turns {
            let (through, ready, begin, end) = (through.clone(), &ready, &begin, &end);
            let run = move || {
                ready.wait();
                drop(begin.read());
                turn();
                through.send(Instant::now()).expect("somebody listens");
                drop(end.read());
            };
            thread::Builder::new().stack_size(64 << 10).spawn_scoped(scope, run).expect("a thread");
        }
        ready.wait();
        // From the barrier to the gate.
        thread::sleep(Duration::from_millis(100));
        let start = Instant::now();
        drop(begins);
        let last = last.iter().take(count).max().expect("there are some");
        drop(ends);
        (last - start).as_secs_f64() * 1000.0
    })
}

fn received<T>(token: Result<T>) {
    drop(token.expect("a token"));
}

/// Hands the calls over and runs the queue until each has had its token.
fn queued(source: &TokenSource, queue: &CompletionQueue, calls: usize) {
    for _ in 0..calls {
        drop(source.token_queued(TokenOptions::default(), queue, received).expect("the engine runs"));
    }
    let mut through = 0;
    while through < calls {
        through += queue.run(Duration::from_secs(10));
    }
}

fn median(once: impl Fn() -> f64) -> f64 {
    let mut times: Vec<f64> = (0..ROUNDS).map(|_| once()).collect();
    times.sort_by(f64::total_cmp);
    times[ROUNDS / 2]
}

/// The simulator's control.
struct Simulator<'a> {
    url: &'a str,
    client: reqwest::Client,
    runtime: Runtime,
}

impl Simulator<'_> {
    fn new(url: &str) -> Simulator<'_> {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        Simulator { url, client: crate::bare_client(), runtime }
    }

    /// How long its token endpoint takes.
    fn take(&self, delay: Duration) {
        let settings = serde_json::json!({"vendor": "quantaprice", "delay_ms": delay.as_millis() as u64});
        let send = self.client.post(format!("{}/_sim/settings", self.url)).json(&settings).send();
        self.runtime.block_on(send).and_then(reqwest::Response::error_for_status).expect("the simulator obeys");
    }

    fn token_requests(&self) -> u64 {
        let get = self.client.get(format!("{}/_sim/state", self.url)).send();
        let state = async { get.await?.json::<serde_json::Value>().await };
        let state = self.runtime.block_on(state).expect("the simulator answers");
        state["vendors"]["quantaprice"]["token_requests"].as_u64().expect("a count")
    }
}
