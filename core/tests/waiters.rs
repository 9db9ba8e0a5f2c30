//! All who wait for one renewal, of every kind together: each gives up in its own way, and harms nobody.

#[path = "support/held.rs"]
mod held;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::mpsc::{Sender, channel};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;

use held::{Asked, Held};
use qauth_core::{CompletionQueue, ErrorCode, Result, Token, TokenOptions, TokenSource};

/// As many tasks, and a hundredth part of that in threads and in queued calls.
const TASKS: usize = 10_000;
const FEW: usize = TASKS / 100;

type Heard = std::result::Result<String, ErrorCode>;

fn heard(result: Result<Token>) -> Heard {
    result.map(|token| token.access_token().to_owned()).map_err(|error| error.code())
}

fn in_a_hurry() -> TokenOptions {
    TokenOptions { timeout: Some(Duration::from_millis(30)), ..TokenOptions::default() }
}

/// A task that asks, tells that it waits, and then goes on as `end` says.
async fn waits(source: TokenSource, options: TokenOptions, waiting: Sender<()>, panics: bool) -> Heard {
    let mut call = pin!(source.token(options));
    let first = poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await;
    drop(waiting);
    if let Poll::Ready(result) = first {
        // Its thread was not on for so long that its time is over.
        return heard(result);
    }
    if panics {
        // Without the hook, which would print a thousand times.
        std::panic::resume_unwind(Box::new("a task's own fault"));
    }
    heard(call.await)
}

fn thread(source: &TokenSource, options: TokenOptions) -> JoinHandle<Heard> {
    let source = source.clone();
    std::thread::spawn(move || heard(source.token_blocking(options)))
}

/// What all hear who do not give up before the server answers.
fn a_crowd_hears(answer: impl FnOnce(Asked)) -> Vec<Heard> {
    let server = Held::start();
    let source = server.engine("", &["p"], "").source("p").unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (waiting, all_wait) = channel();
    let task = |options, panics| runtime.spawn(waits(source.clone(), options, waiting.clone(), panics));

    let (mut patient, mut hurried, mut cancelled, mut panicking) = (vec![], vec![], vec![], vec![]);
    for number in 0..TASKS {
        match number % 10 {
            1 => hurried.push(task(in_a_hurry(), false)),
            3 => cancelled.push(task(TokenOptions::default(), false)),
            5 => panicking.push(task(TokenOptions::default(), true)),
            _ => patient.push(task(TokenOptions::default(), false)),
        }
    }
    let threads: Vec<_> = (0..FEW).map(|_| thread(&source, TokenOptions::default())).collect();
    let hurried_threads: Vec<_> = (0..FEW).map(|_| thread(&source, in_a_hurry())).collect();
    let queue = CompletionQueue::new().unwrap();
    let (told, queued) = channel();
    for number in 0..FEW {
        let told = told.clone();
        let done = move |result: Result<Token>| drop(told.send(heard(result)));
        let pending = source.token_queued(TokenOptions::default(), &queue, done).unwrap();
        if number % 2 == 0 {
            pending.cancel();
        }
    }
    drop((waiting, told));

    let asked = server.next();
    assert!(all_wait.recv().is_err(), "each task has let go of its end, and none has sent");
    cancelled.iter().for_each(tokio::task::JoinHandle::abort);
    runtime.block_on(async {
        for task in cancelled {
            assert!(task.await.unwrap_err().is_cancelled());
        }
        for task in panicking {
            assert!(task.await.unwrap_err().is_panic());
        }
        for task in hurried {
            assert_eq!(task.await.unwrap(), Err(ErrorCode::Timeout));
        }
    });
    for thread in hurried_threads {
        assert_eq!(thread.join().unwrap(), Err(ErrorCode::Timeout));
    }
    answer(asked);

    let mut all: Vec<Heard> = runtime.block_on(async {
        let mut heard = vec![];
        for task in patient {
            heard.push(task.await.unwrap());
        }
        heard
    });
    all.extend(threads.into_iter().map(|thread| thread.join().unwrap()));
    let (mut by_queue, mut given_up) = (vec![], 0);
    while by_queue.len() + given_up < FEW {
        queue.run(Duration::from_secs(20));
        for heard in queued.try_iter() {
            match heard {
                Err(ErrorCode::Cancelled) => given_up += 1,
                heard => by_queue.push(heard),
            }
        }
    }
    assert_eq!(given_up, FEW / 2);
    all.extend(by_queue);
    server.nothing_more();
    assert_eq!(all.len(), TASKS / 10 * 7 + FEW + FEW / 2);
    all
}

#[test]
fn a_crowd_of_every_kind_shares_one_token() {
    // faults 53, 54, 55
    let all = a_crowd_hears(|asked| asked.gives("shared", 3600));
    assert!(all.iter().all(|heard| heard.as_deref() == Ok("shared")));
}

#[test]
fn a_crowd_of_every_kind_shares_one_error() {
    // faults 53, 54, 55
    let all = a_crowd_hears(|asked| asked.answers(401, r#"{"error": "invalid_client"}"#));
    assert!(all.iter().all(|heard| *heard == Err(ErrorCode::InvalidClient)));
}
