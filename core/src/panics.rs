//! Panics at the border to another language: each becomes an error, and none is printed.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use crate::error::{Error, ErrorCode};

thread_local! {
    /// How many guarded bodies this thread is in.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// Where the last panic of this thread was; never its text, which might quote a secret.
    static PLACE: Cell<Option<String>> = const { Cell::new(None) };
}

/// Counts down whatever happens.
struct Inside;

impl Inside {
    #[inline]
    fn enter() -> Inside {
        DEPTH.set(DEPTH.get() + 1);
        Inside
    }
}

impl Drop for Inside {
    #[inline]
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// For the faces of other languages: the body's result, or `internal` with the place where it panicked. From the first call
/// on, panics inside of guarded bodies and on the engine's threads are not printed; the hook that was there gets all others.
///
/// # Errors
/// `internal`, when the body panicked.
#[inline]
pub fn guarded<T>(body: impl FnOnce() -> T) -> Result<T, Error> {
    keep_quiet();
    let inside = Inside::enter();
    // Whatever a panic leaves half done is behind locks of this crate, which are made for it.
    let result = panic::catch_unwind(AssertUnwindSafe(body));
    drop(inside);
    result.map_err(|payload| {
        // Its destructor is foreign code that could panic again.
        std::mem::forget(payload);
        let place = PLACE.take().unwrap_or_else(|| "an unknown place".to_owned());
        Error::new(ErrorCode::Internal, format!("a fault in qauth itself at {place}; please report it"))
    })
}

/// Keeps this library's panics off the host's stderr, and everybody else's as they were.
fn keep_quiet() {
    static ONCE: Once = Once::new();
    if ONCE.is_completed() || std::thread::panicking() {
        return;
    }
    ONCE.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let ours = std::thread::current().name().is_some_and(|name| name.starts_with("qauth-"));
            if DEPTH.get() > 0 {
                PLACE.set(info.location().map(|place| format!("{}:{}", place.file(), place.line())));
            } else if !ours {
                others(info);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_internal_with_its_place_and_without_its_text() {
        // fault 76
        let error = guarded(|| guarded(|| panic!("secret-canary")).unwrap()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Internal);
        assert!(error.message().contains("panics.rs:") && !error.message().contains("canary"), "{error}");
        assert_eq!(guarded(|| 7).unwrap(), 7);
        assert_eq!(DEPTH.get(), 0);
    }
}
