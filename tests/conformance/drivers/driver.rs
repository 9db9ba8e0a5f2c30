//! The Rust driver: each line becomes one call of `qauth-core`.

#![allow(clippy::print_stdout)]

use std::collections::BTreeSet;
use std::io::BufRead;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use qauth_core::{
    CallOptions, CompletionQueue, CustomToken, Engine, Error, ErrorCode, RecordInfo, Request, Token, TokenCall,
    TokenOptions, TokenSource,
};
use qauth_tests::wire::{self, Reply};
use serde_json::{Map, Value, json};

#[derive(Default)]
struct Driver {
    engine: Option<Engine>,
    source: Option<TokenSource>,
    token: Option<Token>,
    started: Option<JoinHandle<Result<Token, Error>>>,
    custom_calls: Arc<AtomicUsize>,
    queue: Option<CompletionQueue>,
    events: Arc<Mutex<Vec<Value>>>,
}

fn main() {
    let mut driver = Driver::default();
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let fields = wire::fields(&line);
        let reply = driver.handle(&fields).unwrap_or_else(|error| refused(&error));
        println!("{}", reply.to_line());
    }
}

impl Driver {
    fn handle(&mut self, fields: &[String]) -> Result<Reply, Error> {
        let argument = |index: usize| fields.get(index).map_or("", String::as_str);
        let Some(command) = fields.first() else { return Ok(Reply::unsupported()) };
        match command.as_str() {
            "engine" | "engine_from_file" => {
                self.close();
                let engine = match command.as_str() {
                    "engine" => Engine::from_json(argument(1))?,
                    _ => Engine::from_file(argument(1))?,
                };
                self.listen(&engine)?;
                self.engine = Some(engine);
                return Ok(Reply::ok());
            }
            "close" => {
                if let Some(engine) = &self.engine {
                    engine.close();
                }
                return Ok(Reply::ok());
            }
            _ => {}
        }
        let Some(engine) = &self.engine else { return Ok(Reply::unsupported()) };
        match command.as_str() {
            "source" => self.source = Some(engine.source(argument(1))?),
            "source_with" => self.source = Some(engine.source_with(argument(1), &object(argument(2)))?),
            "custom_source" => {
                let (keys, results) = (object(argument(2)), fields[3..].to_vec());
                let calls = Arc::new(AtomicUsize::new(0));
                self.custom_calls = calls.clone();
                let function = move |_: &TokenCall| {
                    let index = calls.fetch_add(1, Ordering::SeqCst).min(results.len() / 3 - 1);
                    let result = given(&results[3 * index..]);
                    async move { result }
                };
                self.source = Some(engine.custom_source(argument(1), &keys, function)?);
            }
            "custom_calls" => {
                let count = self.custom_calls.load(Ordering::SeqCst);
                return Ok(Reply::ok().with("count", count.to_string()));
            }
            "events" => {
                if let Some(queue) = &self.queue {
                    queue.run(Duration::ZERO);
                }
                let events = std::mem::take(&mut *self.events.lock().unwrap_or_else(PoisonError::into_inner));
                return Ok(Reply::ok().with("events", Value::Array(events).to_string()));
            }
            "metrics" => {
                let metrics = engine.metrics();
                let reply = Reply::ok().with("metrics", metrics.to_json().to_string());
                return Ok(reply.with("prometheus", metrics.to_prometheus()));
            }
            "records" => {
                let records: Value = engine.records_blocking()?.iter().map(RecordInfo::to_json).collect();
                return Ok(Reply::ok().with("records", records.to_string()));
            }
            "clear" => return Ok(Reply::ok().with("cleared", engine.clear_blocking(argument(1))?.to_string())),
            "advance" => engine.advance(argument(1).parse().unwrap_or(f64::NAN))?,
            "suspend" => engine.suspend(argument(1).parse().unwrap_or(f64::NAN))?,
            "step_wall_clock" => engine.step_wall_clock(argument(1).parse().unwrap_or(f64::NAN))?,
            "remove" => return Ok(Reply::ok().with("removed", engine.remove(argument(1)).to_string())),
            _ => return self.on_source(command, &argument),
        }
        Ok(Reply::ok())
    }

    fn on_source<'a>(&mut self, command: &str, argument: &impl Fn(usize) -> &'a str) -> Result<Reply, Error> {
        let Some(source) = self.source.clone() else { return Ok(Reply::unsupported()) };
        match command {
            "token" => self.token(source.token_blocking(options(argument(1), argument(2)))),
            "start" => {
                let options = options(argument(1), argument(2));
                self.started = Some(std::thread::spawn(move || source.token_blocking(options)));
                Ok(Reply::ok())
            }
            "join" => match self.started.take().map(JoinHandle::join) {
                Some(Ok(result)) => self.token(result),
                _ => Ok(Reply::unsupported()),
            },
            "header" => Ok(Reply::ok().with("value", source.header()?)),
            "headers" => {
                let headers = source.headers_blocking(argument(1), argument(2), TokenOptions::default())?;
                let reply = Reply::ok().with("count", headers.len().to_string());
                Ok(headers.iter().fold(reply, |reply, (name, value)| reply.with(format!("header.{name}"), value)))
            }
            "request" => {
                let mut request = Request::new(argument(1), argument(2));
                request.body = Some(argument(3)).filter(|body| !body.is_empty()).map(|body| body.as_bytes().to_vec());
                let mut index = 4;
                while !argument(index).is_empty() {
                    request.headers.push((argument(index).to_owned(), argument(index + 1).to_owned()));
                    index += 2;
                }
                let response = source.request_blocking(&request)?;
                let body = String::from_utf8_lossy(&response.body).into_owned();
                let reply = Reply::ok().with("status", response.status.to_string()).with("body", body);
                Ok(response
                    .headers
                    .into_iter()
                    .fold(reply, |reply, (name, value)| reply.with(format!("header.{name}"), value)))
            }
            "call" => {
                let save_as = Some(argument(3)).filter(|name| !name.is_empty()).map(str::to_owned);
                let options = CallOptions { save_as, ..CallOptions::default() };
                let result = source.call_blocking(argument(1), &object(argument(2)), options)?;
                Ok(Reply::ok().with("result", result.value().to_string()))
            }
            "invalidate" => Ok(match &self.token {
                Some(token) => Reply::ok().with("acted", source.invalidate(token).to_string()),
                None => Reply::unsupported(),
            }),
            "reset" => {
                source.reset();
                Ok(Reply::ok())
            }
            "update" => source.update(&object(argument(1))).map(|()| Reply::ok()),
            "scoped" => {
                let some = |index: usize| Some(argument(index)).filter(|text| !text.is_empty());
                self.source = Some(source.scoped(some(1), some(2), some(3))?);
                Ok(Reply::ok())
            }
            "concurrent" => Ok(concurrent(&source, argument(1).parse().unwrap_or(0))),
            _ => Ok(Reply::unsupported()),
        }
    }

    fn token(&mut self, result: Result<Token, Error>) -> Result<Reply, Error> {
        let token = result?;
        let reply = Reply::ok()
            .with("access_token", token.access_token())
            .with("token_type", token.token_type())
            .with_some("expires_in", token.expires_in().map(|left| left.as_secs_f64().to_string()))
            .with_some("scope", token.scope())
            .with("extras", Value::Object(token.extras().clone()).to_string());
        self.token = Some(token);
        Ok(reply)
    }

    fn listen(&mut self, engine: &Engine) -> Result<(), Error> {
        let (queue, events) = (CompletionQueue::new()?, Arc::new(Mutex::new(Vec::new())));
        let heard = events.clone();
        engine.on_event(&queue, move |event| {
            let mut told = json!({
                "kind": event.kind().name(),
                "severity": format!("{:?}", event.kind().severity()).to_lowercase(),
                "profile": event.profile(),
                "provider": event.provider(),
                "reason": event.reason(),
                "seconds": event.duration().as_secs_f64(),
            });
            if let Some(generation) = event.generation() {
                told["generation"] = Value::from(generation);
            }
            if let Some(error) = event.error() {
                told["code"] = Value::from(error.code().name());
            }
            heard.lock().unwrap_or_else(PoisonError::into_inner).push(told);
        });
        (self.queue, self.events) = (Some(queue), events);
        Ok(())
    }

    fn close(&mut self) {
        self.token = None;
        self.source = None;
        if let Some(engine) = self.engine.take() {
            engine.close();
        }
    }
}

/// What the function of a custom source gives: a token, or the error of that code.
fn given(result: &[String]) -> Result<CustomToken, Error> {
    match ErrorCode::from_name(&result[2]) {
        Some(code) => Err(Error::new(code, "the function says so")),
        None => Ok(CustomToken::new(result[0].as_str(), result[1].parse().ok().map(Duration::from_secs_f64))),
    }
}

/// Threads that ask at once: how many got a token, how many different ones, and the codes of the errors.
fn concurrent(source: &TokenSource, threads: usize) -> Reply {
    let barrier = Arc::new(Barrier::new(threads));
    let asking: Vec<_> = (0..threads)
        .map(|_| {
            let (source, barrier) = (source.clone(), barrier.clone());
            std::thread::spawn(move || {
                barrier.wait();
                source.token_blocking(TokenOptions::default())
            })
        })
        .collect();
    let (mut ok, mut tokens, mut errors) = (0, BTreeSet::new(), BTreeSet::new());
    for result in asking.into_iter().filter_map(|thread| thread.join().ok()) {
        match result {
            Ok(token) => {
                ok += 1;
                tokens.insert(token.access_token().to_owned());
            }
            Err(error) => {
                errors.insert(error.code().name());
            }
        }
    }
    let errors: Vec<&str> = errors.into_iter().collect();
    Reply::ok().with("ok", ok.to_string()).with("distinct", tokens.len().to_string()).with("errors", errors.join(","))
}

fn options(min_remaining: &str, timeout_ms: &str) -> TokenOptions {
    TokenOptions {
        min_remaining: min_remaining.parse().map_or(Duration::ZERO, Duration::from_secs_f64),
        timeout: timeout_ms.parse().ok().map(Duration::from_millis),
    }
}

fn object(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).unwrap_or_default()
}

fn refused(error: &Error) -> Reply {
    Reply::error()
        .with("code", error.code().name())
        .with("message", error.to_string())
        .with_some("profile", error.profile())
        .with_some("provider", error.provider())
        .with_some("status", error.status().map(|status| status.to_string()))
        .with_some("server_error", error.server_error())
        .with_some("server_error_description", error.server_error_description())
        .with("retryable", error.retryable().to_string())
        .with_some("retry_after", error.retry_after().map(|after| after.as_secs_f64().to_string()))
        .with_some("answer", error.answer().map(Value::to_string))
}
