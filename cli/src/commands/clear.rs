//! `qauth clear`: what the store holds of a profile is forgotten.

use serde_json::json;

use super::{SEEN_BY_ITS_OWN_PROCESS, Session};
use crate::args::ClearArgs;
use crate::console::Console;
use crate::failure::Failure;

pub(super) fn run(session: &Session, args: &ClearArgs, console: &mut Console<'_, '_>) -> Result<(), Failure> {
    let source = session.narrowed(&args.profile, &args.narrowing)?;
    let cleared = source.clear_blocking()?;
    if console.is_json() {
        return console.value(&json!({
            "profile": source.profile(),
            "provider": source.provider().name(),
            "cleared": cleared,
        }));
    }
    if cleared {
        return console.line("cleared: the next token is obtained anew");
    }
    console.line("there was nothing to clear")?;
    console.note(SEEN_BY_ITS_OWN_PROCESS);
    Ok(())
}
