//! Counters of an engine.

use crate::code::qauth_code;
use crate::engine::qauth_engine;
use crate::error::qauth_error;
use crate::guard::guard;
use crate::handle;
use crate::string::qauth_string;

/// Counters and durations as they are now, as a JSON object: "sources" (how many the engine holds), "evicted" (how many
/// it has let go of, since nobody used them), "store_degraded" (the store cannot be used as it should) and "profiles", by name those that had something to count, each with "provider", "events" and "failures" (how often, by the kind's or the code's
/// word), "requests" for tokens, "renewals", "renewal_seconds" (all together), "expires_at" (of the last token, in seconds
/// since 1970, or null) and "clock_skew" (seconds). A profile that was removed counts anew, and so does a child of fork. On
/// QAUTH_OK *json_out is the caller's; free it once with qauth_string_free. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_engine_metrics(
    engine: *const qauth_engine,
    json_out: *mut *mut qauth_string,
    error_out: *mut *mut qauth_error,
) -> qauth_code {
    guard(error_out, || {
        let place = handle::out(json_out, "json_out")?;
        place.put(handle::borrow(engine, "engine")?.metrics().to_json().into());
        Ok(())
    })
}

/// The same in the text format of Prometheus (OpenMetrics 1.0), to be served as
/// "application/openmetrics-text; version=1.0.0; charset=utf-8". On QAUTH_OK *text_out is the caller's; free it once with
/// qauth_string_free. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_engine_prometheus(
    engine: *const qauth_engine,
    text_out: *mut *mut qauth_string,
    error_out: *mut *mut qauth_error,
) -> qauth_code {
    guard(error_out, || {
        let place = handle::out(text_out, "text_out")?;
        place.put(handle::borrow(engine, "engine")?.metrics().to_prometheus().into());
        Ok(())
    })
}
