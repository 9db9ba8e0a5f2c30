//! `qauth call`: an operation that the provider's file declares.

use qauth_core::{ErrorCode, Provider, TokenOptions};

use super::Session;
use crate::args::CallArgs;
use crate::assignment::{self, Files};
use crate::console::Console;
use crate::failure::Failure;

pub(super) fn run(session: &Session, args: &CallArgs, console: &mut Console<'_, '_>) -> Result<(), Failure> {
    let source = session.source(&args.profile)?;
    let parameters = assignment::parse(&args.parameters, "parameter", Files::Read, console.stdin())?;
    let options = TokenOptions { timeout: args.timeout, ..TokenOptions::default() };
    let result = source.call_blocking(&args.operation, &parameters, options).map_err(|error| {
        let name = source.provider().name().to_owned();
        let unsent = error.code() == ErrorCode::InvalidArgument && error.status().is_none();
        let hint = (unsent && Provider::built_in(&name).is_ok())
            .then(|| format!("`qauth providers {name}` shows the operations and their parameters"));
        Failure::Core(error, hint)
    })?;
    console.value(result.value())?;
    // Flushed first: whoever reads the note can rely on having the secret.
    console.flush()?;
    let shown = result.secrets().iter().filter(|at| result.value().pointer(at).is_some());
    let names: Vec<&str> = shown.map(|at| at.trim_start_matches('/')).collect();
    if !names.is_empty() {
        console.note(&format!("{} is shown this once only: store it now", names.join(", ")));
    }
    Ok(())
}
