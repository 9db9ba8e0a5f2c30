//! What the store of an engine holds.

use std::ffi::c_char;

use qauth_core::RecordInfo;
use serde_json::Value;

use crate::code::qauth_code;
use crate::engine::qauth_engine;
use crate::error::qauth_error;
use crate::guard::guard;
use crate::handle;
use crate::string::qauth_string;
use crate::text;

/// The records of the store, of every process that shares it, as a JSON array of objects in the order of their profiles:
/// "name", "profile", "provider", "state" ("unreadable", "conflict", "refused", "paused", "maybe_spent", "valid", "renewable",
/// "expired" or "empty": the first that is true), "generation", "obtained_at", "expires_at", "has_refresh_token",
/// "refresh_expires_at", "failure" (a code's word) and "failure_until" (while it is remembered), "written_at", "written_by"
/// and "error" ("code" and "message" of why it cannot be read); times in seconds since 1970, null for what is not there. No
/// token and no secret. Fails with QAUTH_STORE, QAUTH_STORE_UNAVAILABLE or QAUTH_CLOSED. On QAUTH_OK *json_out is the
/// caller's; free it once with qauth_string_free. Any thread; blocks for as long as the store takes. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_engine_records(
    engine: *const qauth_engine,
    json_out: *mut *mut qauth_string,
    error_out: *mut *mut qauth_error,
) -> qauth_code {
    guard(error_out, || {
        let place = handle::out(json_out, "json_out")?;
        let engine = handle::borrow(engine, "engine")?.clone();
        let records: Value = engine.records_blocking()?.iter().map(RecordInfo::to_json).collect();
        place.put(records.into());
        Ok(())
    })
}

/// Forgets what the store holds of a profile, for every process that shares it: its tokens, and what is remembered of failures.
/// The next call obtains a token anew. No server is told, so that tokens stay good until their own end, and other processes
/// serve theirs until they renew. A refresh token that stood in the store alone is lost: a person who signed in must do so
/// again. *cleared_out tells whether there was anything to forget; NULL if that does not matter. Fails with QAUTH_CONFIG,
/// QAUTH_TIMEOUT (somebody else's renewal took longer than the profile's limit), QAUTH_STORE, QAUTH_STORE_UNAVAILABLE or
/// QAUTH_CLOSED. Any thread; blocks until a renewal under way has ended. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_engine_clear(
    engine: *mut qauth_engine,
    name: *const c_char,
    cleared_out: *mut bool,
    error_out: *mut *mut qauth_error,
) -> qauth_code {
    guard(error_out, || {
        let place = handle::out_if_wanted(cleared_out, "cleared_out")?;
        let engine = handle::borrow(engine, "engine")?.clone();
        let cleared = engine.clear_blocking(text::required(name, "name")?)?;
        if let Some(place) = place {
            place.write(cleared);
        }
        Ok(())
    })
}
