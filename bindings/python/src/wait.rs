//! Calls that may block: without the interpreter lock, and interrupted by signals.

use std::time::Duration;

use pyo3::prelude::*;

use crate::call::call;
use crate::error::checked;

/// How soon a blocked main thread notices a signal. Python's handlers run on the main thread only, between two of its
/// instructions, so somebody has to look.
const LOOK: Duration = Duration::from_millis(50);
const NEVER: Duration = Duration::from_secs(86_400);

/// Waits for a call of core. Ctrl-C, or what else a signal handler raises, gives the call up; a renewal under way goes on.
pub(crate) fn wait<T: Send>(py: Python<'_>, call: impl Future<Output = qauth_core::Result<T>> + Send) -> PyResult<T> {
    // While the interpreter ends, `threading` may be gone; then only the main thread runs.
    let every = if is_main_thread(py).unwrap_or(true) { LOOK } else { NEVER };
    let mut raised = None;
    let result = checked(py, || {
        Ok(py.detach(|| {
            qauth_core::block_on_while(call, every, || match Python::attach(|py| py.check_signals()) {
                Ok(()) => true,
                Err(error) => {
                    raised = Some(error);
                    false
                }
            })
        }))
    })?;
    match (result, raised) {
        (Some(result), _) => checked(py, || result),
        (None, Some(error)) => Err(error),
        (None, None) => unreachable!("the call is given up only for an exception"),
    }
}

fn is_main_thread(py: Python<'_>) -> PyResult<bool> {
    let threading = py.import("threading")?;
    let main = call(&threading.getattr("main_thread")?, (), None)?.getattr("ident")?;
    call(&threading.getattr("get_ident")?, (), None)?.eq(main)
}
