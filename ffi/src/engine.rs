//! Engines: profiles, and the sources made of them.

use std::ffi::c_char;

use qauth_core::{Engine, Provider};
use serde_json::{Map, Value, json};

use crate::code::qauth_code;
use crate::error::qauth_error;
use crate::guard::{Result, guard, quiet};
use crate::handle::{self, handle};
use crate::source::{Source, qauth_source};
use crate::string::qauth_string;
use crate::text;

/// One per process as a rule: owns the threads, the connections, the store and the sources. Any thread, any number at once.
pub struct qauth_engine {
    _opaque: [u8; 0],
}

handle! { qauth_engine(Engine) = b"qaEngine"; }

fn make(
    engine_out: *mut *mut qauth_engine,
    error_out: *mut *mut qauth_error,
    make: impl FnOnce() -> Result<Engine>,
) -> qauth_code {
    guard(error_out, || {
        let place = handle::out(engine_out, "engine_out")?;
        place.put(make()?);
        Ok(())
    })
}

/// Makes an engine without a configuration: providers by name, their credentials from the environment. Starts nothing,
/// sends nothing. Fails with QAUTH_INTERNAL where the operating system gives no random bytes. On QAUTH_OK *engine_out is the
/// caller's; free it once with qauth_engine_free. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_engine_new(
    engine_out: *mut *mut qauth_engine,
    error_out: *mut *mut qauth_error,
) -> qauth_code {
    make(engine_out, error_out, || Ok(Engine::new()?))
}

/// The same with the configuration that is found: the file that QAUTH_CONFIG names, else qauth/qauth.toml and the files in
/// qauth/profiles.d of the XDG configuration folder; none is fine. Fails with QAUTH_CONFIG, naming file, section and field.
/// Reads files. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_engine_discover(
    engine_out: *mut *mut qauth_engine,
    error_out: *mut *mut qauth_error,
) -> qauth_code {
    make(engine_out, error_out, || Ok(Engine::discover()?))
}

/// The same with a file: a qauth.toml, or JSON of the same structure where the name ends in ".json". Fails with QAUTH_CONFIG,
/// naming file, section and field. Reads the file. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_engine_from_file(
    path: *const c_char,
    engine_out: *mut *mut qauth_engine,
    error_out: *mut *mut qauth_error,
) -> qauth_code {
    make(engine_out, error_out, || Ok(Engine::from_file(text::required(path, "path")?)?))
}

/// The same with the text of a qauth.toml. Fails with QAUTH_CONFIG, naming section and field, never the value. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_engine_from_toml(
    toml: *const c_char,
    engine_out: *mut *mut qauth_engine,
    error_out: *mut *mut qauth_error,
) -> qauth_code {
    make(engine_out, error_out, || Ok(Engine::from_toml(text::required(toml, "toml")?)?))
}

/// The same with the same structure as JSON. Fails with QAUTH_CONFIG, naming section and field, never the value. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_engine_from_json(
    json: *const c_char,
    engine_out: *mut *mut qauth_engine,
    error_out: *mut *mut qauth_error,
) -> qauth_code {
    make(engine_out, error_out, || Ok(Engine::from_json(text::required(json, "json")?)?))
}

/// Gives the source of a profile, or of a provider whose credentials are in the environment ("acme"). The same name
/// gives the same source behind a handle of its own. Reads secrets, sends nothing. Fails with QAUTH_CONFIG (the profile is
/// unknown or wrong; names the field) or QAUTH_CLOSED. On QAUTH_OK *source_out is the caller's; free it once with
/// qauth_source_free. Any thread; may read files, does not wait for the network. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_engine_source(
    engine: *const qauth_engine,
    name: *const c_char,
    source_out: *mut *mut qauth_source,
    error_out: *mut *mut qauth_error,
) -> qauth_code {
    guard(error_out, || {
        let place = handle::out(source_out, "source_out")?;
        let engine = handle::borrow(engine, "engine")?;
        place.put(Source::new(engine.source(text::required(name, "name")?)?));
        Ok(())
    })
}

/// The same with some keys given in code, as a JSON object: over those of the profile, or in place of one
/// ({"provider": "acme", "instance": "main", ...}). NULL gives none. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_engine_source_with_json(
    engine: *const qauth_engine,
    name: *const c_char,
    overrides_json: *const c_char,
    source_out: *mut *mut qauth_source,
    error_out: *mut *mut qauth_error,
) -> qauth_code {
    guard(error_out, || {
        let place = handle::out(source_out, "source_out")?;
        let engine = handle::borrow(engine, "engine")?;
        let name = text::required(name, "name")?;
        let overrides = text::object(overrides_json, "overrides_json")?;
        place.put(Source::new(engine.source_with(name, &overrides)?));
        Ok(())
    })
}

/// Forgets a profile's source: its handles answer QAUTH_CLOSED from now on and are freed as always; the next
/// qauth_engine_source with this name makes a new one. *removed_out tells whether there was one; NULL if that does not
/// matter. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_engine_remove(
    engine: *mut qauth_engine,
    name: *const c_char,
    removed_out: *mut bool,
    error_out: *mut *mut qauth_error,
) -> qauth_code {
    guard(error_out, || {
        let place = handle::out_if_wanted(removed_out, "removed_out")?;
        let removed = handle::borrow(engine, "engine")?.remove(text::required(name, "name")?);
        if let Some(place) = place {
            place.write(removed);
        }
        Ok(())
    })
}

/// Moves a manual clock (testing.clock = "manual") forward, runs the renewals that come due on the way, and returns when they
/// have ended. Fails with QAUTH_UNSUPPORTED on the system's clock and QAUTH_INVALID_ARGUMENT for a number that is negative or
/// no number. Any thread; blocks. For tests. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_engine_advance(
    engine: *mut qauth_engine,
    seconds: f64,
    error_out: *mut *mut qauth_error,
) -> qauth_code {
    guard(error_out, || {
        let engine = handle::borrow(engine, "engine")?.clone();
        Ok(engine.advance(seconds)?)
    })
}

/// Lets a machine with a manual clock (testing.clock = "manual") sleep: boot and wall clock move on, the monotonic clock stands
/// still, nothing runs. Then what has come due runs, as in qauth_engine_advance, which fails alike. Any thread; blocks. For
/// tests. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_engine_suspend(
    engine: *mut qauth_engine,
    seconds: f64,
    error_out: *mut *mut qauth_error,
) -> qauth_code {
    guard(error_out, || {
        let engine = handle::borrow(engine, "engine")?.clone();
        Ok(engine.suspend(seconds)?)
    })
}

/// Sets the wall clock of a manual clock (testing.clock = "manual") forward, or back where seconds is negative, as a person or a
/// time server does; no time passes, and nothing runs. Fails with QAUTH_UNSUPPORTED on the system's clock and
/// QAUTH_INVALID_ARGUMENT for no number. Any thread; does not block. For tests. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_engine_step_wall_clock(
    engine: *mut qauth_engine,
    seconds: f64,
    error_out: *mut *mut qauth_error,
) -> qauth_code {
    guard(error_out, || Ok(handle::borrow(engine, "engine")?.step_wall_clock(seconds)?))
}

/// The names of the configuration's profiles, in its order, and of those that have come into profiles.d since, as a JSON array.
/// On QAUTH_OK *json_out is the caller's; free it once with qauth_string_free. Any thread; reads that folder. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_engine_profiles_json(
    engine: *const qauth_engine,
    json_out: *mut *mut qauth_string,
    error_out: *mut *mut qauth_error,
) -> qauth_code {
    guard(error_out, || {
        let place = handle::out(json_out, "json_out")?;
        let names = handle::borrow(engine, "engine")?.profiles();
        place.put(Value::from(names).into());
        Ok(())
    })
}

/// The provider of this name, the configuration's own or a built-in one, as a JSON object like those of
/// qauth_providers_json. Fails with QAUTH_CONFIG where there is none. On QAUTH_OK *json_out is the caller's; free it once with
/// qauth_string_free. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_engine_provider_json(
    engine: *const qauth_engine,
    name: *const c_char,
    json_out: *mut *mut qauth_string,
    error_out: *mut *mut qauth_error,
) -> qauth_code {
    guard(error_out, || {
        let place = handle::out(json_out, "json_out")?;
        let provider = handle::borrow(engine, "engine")?.provider(text::required(name, "name")?)?;
        place.put(describe(&provider).into());
        Ok(())
    })
}

/// Every built-in provider as a JSON array of objects with "name", "description", "environments" and "grants" (the default
/// one first), "fields" (each with "name", "env", "secret", "default", "description") and "operations" (each with "name",
/// "description" and "parameters", each of these with "name" and "required"). On QAUTH_OK *json_out is the caller's; free it
/// once with qauth_string_free. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_providers_json(
    json_out: *mut *mut qauth_string,
    error_out: *mut *mut qauth_error,
) -> qauth_code {
    guard(error_out, || {
        let place = handle::out(json_out, "json_out")?;
        let all: Vec<Value> = Provider::all().map(|provider| describe(&provider)).collect();
        place.put(Value::from(all).into());
        Ok(())
    })
}

fn describe(provider: &Provider) -> Value {
    let fields = provider.fields().map(|field| {
        json!({
            "name": field.name, "env": field.env, "secret": field.secret, "default": field.default,
            "description": field.description,
        })
    });
    let operations = provider.operations().map(|operation| {
        let parameters =
            operation.parameters.iter().map(|(name, required)| json!({"name": name, "required": required}));
        json!({
            "name": operation.name, "description": operation.description, "parameters": parameters.collect::<Vec<_>>(),
        })
    });
    let mut described = Map::new();
    described.insert("name".to_owned(), provider.name().into());
    described.insert("description".to_owned(), provider.description().into());
    described.insert("environments".to_owned(), provider.environments().collect::<Vec<_>>().into());
    described.insert("grants".to_owned(), provider.grants().collect::<Vec<_>>().into());
    described.insert("fields".to_owned(), fields.collect());
    described.insert("operations".to_owned(), operations.collect());
    Value::Object(described)
}

/// Ends the engine: callers that wait and all later calls get QAUTH_CLOSED. Joins its threads within 1 s, or 2 s when an answer
/// that must not be lost is on the wire. More calls do nothing. The handle is still to be freed. Any thread, also in a
/// callback; blocks so long. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_engine_close(engine: *mut qauth_engine, error_out: *mut *mut qauth_error) -> qauth_code {
    guard(error_out, || {
        handle::borrow(engine, "engine")?.clone().close();
        Ok(())
    })
}

/// Frees this handle. Sources keep what they need of their engine: when the last handle of both is gone, its threads end by
/// themselves. NULL does nothing. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_engine_free(engine: *mut qauth_engine) {
    quiet((), || drop(handle::take(engine)));
}
