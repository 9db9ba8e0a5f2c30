//! Engines.

use napi::bindgen_prelude::{AsyncTask, External};
use napi::{Env, Result, Task};
use napi_derive::napi;
use qauth_core::{Engine, RecordInfo, TokenSource};
use serde_json::Value;

use crate::convert::{fallible, infallible, object};

/// Without a configuration.
#[napi]
pub(crate) fn engine_new() -> Result<External<Engine>> {
    made(Engine::new)
}

/// With the configuration that is found.
#[napi]
pub(crate) fn engine_discover() -> Result<External<Engine>> {
    made(Engine::discover)
}

/// The process's own: the same one in every environment.
#[napi]
pub(crate) fn engine_shared() -> Result<External<Engine>> {
    made(Engine::shared)
}

/// From a file.
#[napi]
pub(crate) fn engine_from_file(path: String) -> Result<External<Engine>> {
    made(|| Engine::from_file(path))
}

/// From the text of a `qauth.toml`.
#[napi]
pub(crate) fn engine_from_toml(text: String) -> Result<External<Engine>> {
    made(|| Engine::from_toml(&text))
}

/// From the same structure as JSON.
#[napi]
pub(crate) fn engine_from_json(text: String) -> Result<External<Engine>> {
    made(|| Engine::from_json(&text))
}

fn made(make: impl FnOnce() -> qauth_core::Result<Engine>) -> Result<External<Engine>> {
    fallible(make).map(External::new)
}

/// The source of a profile or provider, with keys given in code as the JSON of an object.
#[napi]
pub(crate) fn engine_source(engine: &External<Engine>, name: String, options: String) -> Result<External<TokenSource>> {
    let options = object("options", &options)?;
    fallible(|| engine.source_with(&name, &options)).map(External::new)
}

/// Forgets a profile's source.
#[napi]
pub(crate) fn engine_remove(engine: &External<Engine>, name: String) -> Result<bool> {
    infallible(|| engine.remove(&name))
}

/// The configuration's profiles.
#[napi]
pub(crate) fn engine_profiles(engine: &External<Engine>) -> Result<Vec<String>> {
    infallible(|| engine.profiles())
}

/// Counters and durations, as JSON.
#[napi]
pub(crate) fn engine_metrics(engine: &External<Engine>) -> Result<String> {
    infallible(|| engine.metrics().to_json().to_string())
}

/// The same as Prometheus reads it.
#[napi]
pub(crate) fn engine_prometheus(engine: &External<Engine>) -> Result<String> {
    infallible(|| engine.metrics().to_prometheus())
}

/// Moves a manual clock.
#[napi]
pub(crate) fn engine_advance(engine: &External<Engine>, seconds: f64) -> AsyncTask<Blocking> {
    AsyncTask::new(Blocking { engine: Engine::clone(engine), work: Work::Advance(seconds) })
}

/// Lets a machine with a manual clock sleep.
#[napi]
pub(crate) fn engine_suspend(engine: &External<Engine>, seconds: f64) -> AsyncTask<Blocking> {
    AsyncTask::new(Blocking { engine: Engine::clone(engine), work: Work::Suspend(seconds) })
}

/// Sets the wall clock of a manual clock.
#[napi]
pub(crate) fn engine_step_wall_clock(engine: &External<Engine>, seconds: f64) -> Result<()> {
    fallible(|| engine.step_wall_clock(seconds))
}

/// What the store holds, as JSON.
#[napi]
pub(crate) fn engine_records(engine: &External<Engine>) -> AsyncTask<Records> {
    AsyncTask::new(Records(Engine::clone(engine)))
}

/// Forgets what the store holds of a profile.
#[napi]
pub(crate) fn engine_clear(engine: &External<Engine>, name: String) -> AsyncTask<Clear> {
    AsyncTask::new(Clear(Engine::clone(engine), name))
}

/// Ends the engine.
#[napi]
pub(crate) fn engine_close(engine: &External<Engine>) -> AsyncTask<Blocking> {
    AsyncTask::new(Blocking { engine: Engine::clone(engine), work: Work::Close })
}

/// What blocks, on a thread of node's pool.
pub(crate) struct Blocking {
    engine: Engine,
    work: Work,
}

enum Work {
    Advance(f64),
    Suspend(f64),
    Close,
}

impl Task for Blocking {
    type Output = ();
    type JsValue = ();

    fn compute(&mut self) -> Result<()> {
        match self.work {
            Work::Advance(seconds) => fallible(|| self.engine.advance(seconds)),
            Work::Suspend(seconds) => fallible(|| self.engine.suspend(seconds)),
            Work::Close => infallible(|| self.engine.close()),
        }
    }

    fn resolve(&mut self, _env: Env, (): ()) -> Result<()> {
        Ok(())
    }
}

/// A look into the store, which may be slow.
pub(crate) struct Records(Engine);

impl Task for Records {
    type Output = String;
    type JsValue = String;

    fn compute(&mut self) -> Result<String> {
        let records: Value = fallible(|| self.0.records_blocking())?.iter().map(RecordInfo::to_json).collect();
        Ok(records.to_string())
    }

    fn resolve(&mut self, _env: Env, records: String) -> Result<String> {
        Ok(records)
    }
}

/// What waits for a renewal under way.
pub(crate) struct Clear(Engine, String);

impl Task for Clear {
    type Output = bool;
    type JsValue = bool;

    fn compute(&mut self) -> Result<bool> {
        fallible(|| self.0.clear_blocking(&self.1))
    }

    fn resolve(&mut self, _env: Env, cleared: bool) -> Result<bool> {
        Ok(cleared)
    }
}
