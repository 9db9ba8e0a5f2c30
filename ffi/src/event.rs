//! Events: what happens to tokens, told by a callback.

use std::ffi::{CStr, CString, c_char, c_void};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use qauth_core::{Error, ErrorCode, Event, Subscription};

use crate::code::qauth_code;
use crate::engine::qauth_engine;
use crate::error::{Texts, qauth_error};
use crate::guard::{guard, quiet};
use crate::handle::{self, Own, handle};
use crate::queue::{Calls, qauth_queue};
use crate::text::c_string;
use crate::user_data::{Lent, qauth_free_function};

/// What happened: one of the QAUTH_EVENT_... numbers. Numbers are never reused; a program must expect kinds that it does not
/// know, and has qauth_event_severity for them.
pub type qauth_kind = i32;

/// A token came where there was none. Seconds: of the renewal.
pub const QAUTH_EVENT_OBTAINED: qauth_kind = 1;
/// A token came in place of a valid one. Seconds: of the renewal.
pub const QAUTH_EVENT_RENEWED: qauth_kind = 2;
/// A sibling had put a newer token into the store. Seconds: of the renewal, which sent nothing.
pub const QAUTH_EVENT_ADOPTED: qauth_kind = 3;
/// A renewal brought no token; the error says why. Seconds: of the renewal.
pub const QAUTH_EVENT_FAILED: qauth_kind = 4;
/// A valid token is served though it cannot be renewed: told once, until a renewal succeeds. Seconds: what it has left.
pub const QAUTH_EVENT_SERVED_WHILE_FAILING: qauth_kind = 5;
/// Another party keeps taking over this account's only session. Seconds: for how long the library steps back.
pub const QAUTH_EVENT_CONFLICT: qauth_kind = 6;
/// The API rejected a token. Seconds: how old it was.
pub const QAUTH_EVENT_INVALIDATED: qauth_kind = 7;
/// The server's clock is far from ours. Seconds: by how much.
pub const QAUTH_EVENT_SKEW: qauth_kind = 8;
/// A source that nobody used was let go of. Seconds: for how long nobody did.
pub const QAUTH_EVENT_EVICTED: qauth_kind = 9;
/// Other credentials of the profile are used from now on, since those before were refused. Seconds: 0.
pub const QAUTH_EVENT_SWITCHED: qauth_kind = 10;
/// The store cannot be used as it should: told once, by the profile that met it first, until it can. Seconds: 0.
pub const QAUTH_EVENT_STORE_DEGRADED: qauth_kind = 11;
/// The store can be used again. Seconds: 0.
pub const QAUTH_EVENT_STORE_RECOVERED: qauth_kind = 12;

/// How much an event matters, one of the QAUTH_SEVERITY_... numbers: the levels that every logging library has.
pub type qauth_severity = i32;

/// As it should be.
pub const QAUTH_SEVERITY_DEBUG: qauth_severity = 1;
/// Worth a line.
pub const QAUTH_SEVERITY_INFO: qauth_severity = 2;
/// Somebody should look, soon if it stays.
pub const QAUTH_SEVERITY_WARNING: qauth_severity = 3;

/// Something that happened to a profile's token. Never holds a secret or a token. It and its texts live as long as the callback
/// that got it runs.
pub struct qauth_event {
    _opaque: [u8; 0],
}

/// A callback that hears of events, until this is freed.
pub struct qauth_subscription {
    _opaque: [u8; 0],
}

handle! {
    qauth_event(Told) = b"qaEvent ";
    qauth_subscription(Hearing) = b"qaSubscr";
}

/// Hears of an event, which is borrowed until it returns. Runs inside qauth_queue_run, on the thread that called that: where
/// several threads run one queue, on several at once and in any order; where it runs the queue itself, once more inside itself.
/// It may call any function of this library, and free its own subscription; no exception may leave it, nor longjmp.
pub type qauth_event_callback = Option<unsafe extern "C" fn(user_data: *mut c_void, event: *const qauth_event)>;

/// An event as C reads it.
pub(crate) struct Told {
    event: Event,
    profile: CString,
    provider: CString,
    reason: CString,
    message: CString,
    error: Option<Own<qauth_error>>,
}

impl From<&Event> for Told {
    fn from(event: &Event) -> Told {
        Told {
            profile: c_string(event.profile()),
            provider: c_string(event.provider()),
            reason: c_string(event.reason()),
            message: c_string(&event.message()),
            error: event.error().map(|error| Own::new(Texts::from(error))),
            event: event.clone(),
        }
    }
}

/// A subscription, and its place among those of its queue.
pub(crate) struct Hearing {
    core: Subscription,
    calls: Arc<Calls>,
    number: u64,
    /// In a child of fork the queue's lock may be held by nobody for ever.
    process: u32,
}

/// The word for a kind, for instance "renewed": the same in every language. "unknown" for a number that is no kind. Static:
/// never freed. Any thread; does not block; cannot fail. Since 0.1.0.
#[unsafe(no_mangle)]
pub extern "C" fn qauth_event_kind_name(kind: qauth_kind) -> *const c_char {
    name(kind).as_ptr()
}

/// Core's words have no NUL behind them; the test below keeps these the same.
fn name(kind: qauth_kind) -> &'static CStr {
    match kind {
        QAUTH_EVENT_OBTAINED => c"obtained",
        QAUTH_EVENT_RENEWED => c"renewed",
        QAUTH_EVENT_ADOPTED => c"adopted",
        QAUTH_EVENT_FAILED => c"failed",
        QAUTH_EVENT_SERVED_WHILE_FAILING => c"served_while_failing",
        QAUTH_EVENT_CONFLICT => c"conflict",
        QAUTH_EVENT_INVALIDATED => c"invalidated",
        QAUTH_EVENT_SKEW => c"skew",
        QAUTH_EVENT_EVICTED => c"evicted",
        QAUTH_EVENT_SWITCHED => c"switched",
        QAUTH_EVENT_STORE_DEGRADED => c"store_degraded",
        QAUTH_EVENT_STORE_RECOVERED => c"store_recovered",
        _ => c"unknown",
    }
}

/// Hears of what happens to tokens from now on: callback gets each event of this engine when the queue is run, with no lock
/// held. Up to 1,000 events wait; more are dropped, and the next one tells how many.
///
/// It ends with qauth_subscription_free, or with qauth_queue_free if that comes first: what waits is not told. It does not end
/// with the engine: what waits when that is closed or freed is told when the queue is run. A child of fork hears nothing of its
/// parent's subscriptions; it makes its own.
///
/// On QAUTH_OK user_data is the library's: free_user_data (NULL if there is nothing to free) gets it once, when the subscription
/// has ended and no callback of it runs any more: in the call that ends it, or, while the callback runs, after its return. On a
/// failure user_data stays the caller's.
///
/// On QAUTH_OK *subscription_out is the caller's; free it once with qauth_subscription_free. Any thread; does not block.
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_engine_on_event(
    engine: *const qauth_engine,
    queue: *const qauth_queue,
    callback: qauth_event_callback,
    user_data: *mut c_void,
    free_user_data: qauth_free_function,
    subscription_out: *mut *mut qauth_subscription,
    error_out: *mut *mut qauth_error,
) -> qauth_code {
    guard(error_out, || {
        let place = handle::out(subscription_out, "subscription_out")?;
        let engine = handle::borrow(engine, "engine")?;
        let queue = handle::borrow(queue, "queue")?;
        let Some(callback) = callback else {
            return Err(Error::new(ErrorCode::InvalidArgument, "callback: must not be NULL").into());
        };
        let user_data = Lent::new(user_data, free_user_data);
        user_data.accept();
        let core = engine.on_event(&queue.core, move |event| {
            let event = Own::<qauth_event>::new(Told::from(event));
            // SAFETY: the host gave this function and promised that it can be called so; we are on a thread of the host.
            unsafe { callback(user_data.get(), event.as_ptr()) };
        });
        let ended = core.clone();
        let number = queue.calls.add(Box::new(move |_| ended.end()));
        place.put(Hearing { core, calls: queue.calls.clone(), number, process: std::process::id() });
        Ok(())
    })
}

/// Ends a subscription and frees its handle: when this has returned, its callback does not begin any more; one that runs at this
/// moment, on another thread or around this call, is not waited for. NULL does nothing. In a child of fork it only frees the
/// child's copy of the handle. Any thread, also in a callback; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_subscription_free(subscription: *mut qauth_subscription) {
    quiet((), || {
        if let Some(hearing) = handle::take(subscription)
            && hearing.process == std::process::id()
        {
            hearing.calls.take(hearing.number);
            hearing.core.end();
        }
    });
}

fn read<T>(event: *const qauth_event, otherwise: T, read: impl FnOnce(&Told) -> T) -> T {
    handle::peek(event).map_or(otherwise, read)
}

/// What happened; 0 for NULL. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_event_kind(event: *const qauth_event) -> qauth_kind {
    read(event, 0, |told| told.event.kind() as qauth_kind)
}

/// How much it matters; 0 for NULL. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_event_severity(event: *const qauth_event) -> qauth_severity {
    read(event, 0, |told| told.event.kind().severity() as qauth_severity)
}

/// The profile's name. Borrowed from the event; NULL for NULL. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_event_profile(event: *const qauth_event) -> *const c_char {
    read(event, std::ptr::null(), |told| told.profile.as_ptr())
}

/// The provider's name. Borrowed from the event; NULL for NULL. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_event_provider(event: *const qauth_event) -> *const c_char {
    read(event, std::ptr::null(), |told| told.provider.as_ptr())
}

/// Why: for what comes of a renewal, what set it off ("first_use", "ahead", "stale", "expired", "min_remaining", "rejected");
/// for QAUTH_EVENT_SERVED_WHILE_FAILING and QAUTH_EVENT_CONFLICT the error's code; for QAUTH_EVENT_SKEW "server_ahead" or
/// "server_behind"; for QAUTH_EVENT_INVALIDATED "rejected", for QAUTH_EVENT_EVICTED "unused", for QAUTH_EVENT_SWITCHED
/// "refused". Borrowed from the event; NULL for NULL. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_event_reason(event: *const qauth_event) -> *const c_char {
    read(event, std::ptr::null(), |told| told.reason.as_ptr())
}

/// One line for people and logs, without profile and provider; its wording is no part of the ABI. Borrowed from the event; NULL
/// for NULL. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_event_message(event: *const qauth_event) -> *const c_char {
    read(event, std::ptr::null(), |told| told.message.as_ptr())
}

/// How long, in seconds; the kind says what. 0 for NULL. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_event_seconds(event: *const qauth_event) -> f64 {
    read(event, 0.0, |told| told.event.duration().as_secs_f64())
}

/// When, by the engine's wall clock, in seconds since 1970; -1 for NULL. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_event_at_unix_s(event: *const qauth_event) -> i64 {
    let at = handle::peek(event).and_then(|told| told.event.at().duration_since(UNIX_EPOCH).ok());
    at.map_or(-1, |at| at.as_secs().try_into().unwrap_or(i64::MAX))
}

/// Of the token that came or was rejected; 0 where there is none, and for NULL. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_event_generation(event: *const qauth_event) -> u64 {
    read(event, 0, |told| told.event.generation().unwrap_or_default())
}

/// How many events before this one were dropped, since the queue was not run in time; 0 for NULL. Any thread; does not block.
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_event_lost(event: *const qauth_event) -> u64 {
    read(event, 0, |told| told.event.lost())
}

/// What the renewal met, or NULL. Borrowed from the event: not to be freed. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_event_error(event: *const qauth_event) -> *const qauth_error {
    read(event, std::ptr::null(), |told| told.error.as_ref().map_or(std::ptr::null(), Own::as_ptr))
}

#[cfg(test)]
mod tests {
    use qauth_core::{EventKind, Severity};

    use super::*;

    #[test]
    fn every_kind_of_core_has_its_number_and_name_here() {
        let source = include_str!("event.rs");
        for kind in EventKind::ALL {
            let number = *kind as qauth_kind;
            assert_eq!(name(number).to_str().unwrap(), kind.name());
            let line = format!("pub const QAUTH_EVENT_{}: qauth_kind = {number};", kind.name().to_uppercase());
            assert!(source.contains(&line), "{line}");
        }
        let known = (-10..1000).filter(|number| name(*number) != c"unknown").count();
        assert_eq!(known, EventKind::ALL.len());
    }

    #[test]
    fn severities_are_numbered_as_in_core() {
        let numbers = [Severity::Debug, Severity::Info, Severity::Warning].map(|severity| severity as qauth_severity);
        assert_eq!(numbers, [QAUTH_SEVERITY_DEBUG, QAUTH_SEVERITY_INFO, QAUTH_SEVERITY_WARNING]);
    }
}
