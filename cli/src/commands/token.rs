//! `qauth token`: the access token, the headers with it, or everything known about it.

use std::time::{Duration, UNIX_EPOCH};

use qauth_core::{TokenOptions, TokenSource};
use serde_json::json;

use super::Session;
use crate::args::TokenArgs;
use crate::assignment::wrong;
use crate::console::Console;
use crate::failure::Failure;

pub(super) fn run(session: &Session, args: &TokenArgs, console: &mut Console<'_, '_>) -> Result<(), Failure> {
    if args.header && console.is_json() {
        return Err(wrong("--header and --json: only one of them can be given").into());
    }
    let source = session.narrowed(&args.profile, &args.narrowing)?;
    let options = TokenOptions { timeout: args.timeout, min_remaining: args.min_remaining.unwrap_or(Duration::ZERO) };
    if args.header {
        return headers(&source, options, console);
    }
    let token = source.token_blocking(options)?;
    if !console.is_json() {
        return console.line(token.access_token());
    }
    let end = token.expires_at().and_then(|end| end.duration_since(UNIX_EPOCH).ok());
    console.value(&json!({
        "access_token": token.access_token(),
        "token_type": token.token_type(),
        "expires_in": token.expires_in().map(|left| left.as_secs()),
        "expires_at": end.map(|end| end.as_secs()),
        "scope": token.scope(),
        "generation": token.generation(),
        "extras": token.extras(),
        "profile": source.profile(),
        "provider": source.provider().name(),
    }))
}

fn headers(source: &TokenSource, options: TokenOptions, console: &mut Console<'_, '_>) -> Result<(), Failure> {
    if source.api_base_url().is_some() {
        let headers = source.headers_blocking("GET", "/", options)?;
        return headers.iter().try_for_each(|(name, value)| console.line(&format!("{name}: {value}")));
    }
    // Without an API address no host is known to be the profile's own, and only the one header is certain.
    let line = source.with_header(options, |value| format!("{}: {value}", source.header_name()))?;
    console.line(&line)
}
