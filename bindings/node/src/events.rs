//! Events on their way to the listeners of an engine (`lib/events.js`): each environment that listens has a subscription of
//! its own, on its own queue. It does not keep node alive.

use std::cell::Cell;
use std::time::UNIX_EPOCH;

use napi::Result;
use napi::bindgen_prelude::External;
use napi_derive::napi;
use qauth_core::{Engine, Event, EventKind, Severity, Subscription};
use serde_json::json;

use crate::convert::{detail, infallible};
use crate::promises::Promises;

/// Ends with its owner: the listeners of one environment.
pub(crate) struct Listening(Subscription);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The word of each kind of event.
#[napi]
pub(crate) fn event_kinds() -> Vec<&'static str> {
    EventKind::ALL.iter().map(|kind| kind.name()).collect()
}

/// Tells this environment's listeners of this number of the engine's events, until `engineUnlisten`, or the end of the
/// environment.
#[napi]
pub(crate) fn engine_listen(
    promises: &External<Promises>,
    engine: &External<Engine>,
    number: f64,
) -> Result<External<Cell<Option<Listening>>>> {
    let wake = promises.wake.clone();
    let handler = move |event: &Event| wake.event(number, text(event));
    infallible(|| External::new(Cell::new(Some(Listening(engine.on_event(&promises.queue, handler))))))
}

/// Nobody listens any more.
#[napi]
pub(crate) fn engine_unlisten(listening: &External<Cell<Option<Listening>>>) -> Result<()> {
    infallible(|| drop(listening.take()))
}

/// An event as JSON.
fn text(event: &Event) -> String {
    let severity = match event.kind().severity() {
        Severity::Debug => "debug",
        Severity::Info => "info",
        Severity::Warning => "warning",
    };
    json!({
        "kind": event.kind().name(),
        "severity": severity,
        "profile": event.profile(),
        "provider": event.provider(),
        "reason": event.reason(),
        "seconds": event.duration().as_secs_f64(),
        "at": event.at().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64,
        "generation": event.generation(),
        "lost": event.lost(),
        "message": event.message(),
        "error": event.error().map(detail),
    })
    .to_string()
}
