//! `qauth logout`: the server is told, and everything here is forgotten.

use qauth_core::{LoggedOut, Revocation};
use serde_json::json;

use super::Session;
use crate::args::LogoutArgs;
use crate::console::Console;
use crate::failure::Failure;

pub(super) fn run(session: &Session, args: &LogoutArgs, console: &mut Console<'_, '_>) -> Result<(), Failure> {
    let source = session.source(&args.profile)?;
    let done = source.logout_blocking()?;
    match console.is_json() {
        true => console.value(&json!({
            "profile": source.profile(),
            "provider": source.provider().name(),
            "refresh_token": word(&done.refresh_token),
            "access_token": word(&done.access_token),
            "deleted": done.deleted,
        }))?,
        false => console.line(&sentence(&done))?,
    }
    for revocation in [done.refresh_token, done.access_token] {
        if let Revocation::Failed(error) = revocation {
            console.flush()?;
            return Err(error.into());
        }
    }
    Ok(())
}

fn word(revocation: &Revocation) -> &'static str {
    match revocation {
        Revocation::Absent => "absent",
        Revocation::Revoked => "revoked",
        Revocation::Unsupported => "unsupported",
        Revocation::Failed(_) => "failed",
    }
}

fn sentence(done: &LoggedOut) -> String {
    let mut parts = Vec::new();
    for (name, revocation) in [("refresh token", &done.refresh_token), ("access token", &done.access_token)] {
        match revocation {
            Revocation::Absent => {}
            Revocation::Revoked => parts.push(format!("the {name} is revoked")),
            Revocation::Unsupported => {
                parts.push(format!("the {name} cannot be revoked at this server and lives until its own end"));
            }
            Revocation::Failed(_) => parts.push(format!("the {name} is not revoked")),
        }
    }
    if let Some(file) = &done.deleted {
        parts.push(format!("{} is deleted", file.display()));
    }
    match parts.is_empty() {
        true => "nobody was signed in".to_owned(),
        false => format!("signed out; {}", parts.join("; ")),
    }
}
