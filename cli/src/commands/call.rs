//! `qauth call`: an operation that the provider's file declares.

use qauth_core::{CallOptions, Error, ErrorCode, Provider, TokenOptions};

use super::Session;
use crate::args::CallArgs;
use crate::assignment::{self, Files};
use crate::console::Console;
use crate::failure::Failure;

pub(super) fn run(session: &Session, args: &CallArgs, console: &mut Console<'_, '_>) -> Result<(), Failure> {
    let source = session.source(&args.profile)?;
    let parameters = assignment::parse(&args.parameters, "parameter", Files::Read, console.stdin())?;
    let token = TokenOptions { timeout: args.timeout, ..TokenOptions::default() };
    let options = CallOptions { token, save_as: args.save_as.clone() };
    let result = source.call_blocking(&args.operation, &parameters, options);
    // Not lost with the call that failed.
    if let Some(answer) = result.as_ref().err().and_then(Error::answer) {
        console.value(answer)?;
        console.flush()?;
    }
    let result = result.map_err(|error| {
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
        let advice = match &args.save_as {
            Some(name) => format!("it is kept in profile {name}"),
            None => "store it now".to_owned(),
        };
        console.note(&format!("{} is shown this once only: {advice}", names.join(", ")));
    }
    Ok(())
}
