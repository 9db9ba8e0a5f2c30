//! `qauth login`: a person signs in once, and the refresh token is kept.

mod browser;
mod loopback;

use std::time::Duration;

use qauth_core::{Error, ErrorCode, LoggedIn, Login, LoginKind, LoginOptions, TokenOptions, TokenSource};
use serde_json::{Value, json};

use super::Session;
use crate::args::LoginArgs;
use crate::console::Console;
use crate::failure::Failure;

use self::loopback::Loopback;

/// How long a browser is waited for.
const BROWSER_LIMIT: Duration = Duration::from_secs(300);

pub(super) fn run(session: &Session, args: &LoginArgs, console: &mut Console<'_, '_>) -> Result<(), Failure> {
    let source = session.source(&args.profile)?;
    let done = match source.login_kind() {
        None => return try_out(&source, args, console),
        Some(LoginKind::DeviceCode) => device(&source, args, console)?,
        Some(LoginKind::AuthorizationCode) => browser(&source, args, console)?,
    };
    report(&source, &done, console)
}

/// Nobody has to sign in: whether a token can be had is all there is to see.
fn try_out(source: &TokenSource, args: &LoginArgs, console: &mut Console<'_, '_>) -> Result<(), Failure> {
    let token = source.token_blocking(TokenOptions { timeout: args.timeout, ..TokenOptions::default() })?;
    if console.is_json() {
        return console.value(&json!({
            "profile": source.profile(),
            "provider": source.provider().name(),
            "kind": null,
            "expires_in": token.expires_in().map(|left| left.as_secs()),
            "scope": token.scope(),
            "refresh_token_given": null,
            "kept_in": null,
        }));
    }
    let life = token.expires_in().map(|left| format!(", valid for {} s", left.as_secs())).unwrap_or_default();
    console.line(&format!("nobody has to sign in here: a token was obtained{life}"))
}

fn device(source: &TokenSource, args: &LoginArgs, console: &mut Console<'_, '_>) -> Result<LoggedIn, Failure> {
    let login = source.begin_login_blocking(LoginOptions { must_be_kept: true, ..LoginOptions::default() })?;
    let life = login.expires_in().unwrap_or_default();
    let (uri, code) = (login.verification_uri().unwrap_or_default(), login.user_code().unwrap_or_default());
    let whole = login.verification_uri_complete();
    match console.is_json() {
        true => announce(
            console,
            json!({
                "kind": login.kind().name(),
                "verification_uri": uri,
                "verification_uri_complete": whole,
                "user_code": code,
                "expires_in": life.as_secs(),
            }),
        ),
        false => {
            let also = whole.map(|whole| format!("or open\n\n    {whole}\n\n")).unwrap_or_default();
            console.complain(&format!(
                "To sign in, open\n\n    {uri}\n\nand enter the code\n\n    {code}\n\n{also}within {} minutes.\n",
                life.as_secs().div_ceil(60)
            ));
        }
    }
    let limit = args.timeout.unwrap_or(life);
    Ok(loopback::within(limit, async { login.finish().await })?)
}

fn browser(source: &TokenSource, args: &LoginArgs, console: &mut Console<'_, '_>) -> Result<LoggedIn, Failure> {
    let loopback = Loopback::bind(args.port)?;
    let options = LoginOptions { redirect_uri: Some(loopback.redirect_uri()), must_be_kept: true };
    let login: Login = source.begin_login_blocking(options)?;
    let url = login.authorization_url().unwrap_or_default().to_owned();
    let limit = args.timeout.unwrap_or(BROWSER_LIMIT);
    let opened = !args.no_browser && browser::open(&url);
    match console.is_json() {
        true => announce(
            console,
            json!({"kind": login.kind().name(), "authorization_url": url, "opened": opened, "expires_in": limit.as_secs()}),
        ),
        false => {
            let how = if opened { "Sign in in the browser that opens, or open" } else { "To sign in, open" };
            console.complain(&format!("{how}\n\n    {url}\n\non this machine. Waiting for the browser …\n"));
        }
    }
    Ok(loopback.wait(login, limit)?)
}

/// What a program that wraps this command shows to its person.
fn announce(console: &mut Console<'_, '_>, what: Value) {
    console.complain(&format!("{}\n", json!({"login": what})));
}

fn report(source: &TokenSource, done: &LoggedIn, console: &mut Console<'_, '_>) -> Result<(), Failure> {
    let left = done.token.expires_in().map(|left| left.as_secs());
    if console.is_json() {
        return console.value(&json!({
            "profile": source.profile(),
            "provider": source.provider().name(),
            "kind": source.login_kind().map(LoginKind::name),
            "expires_in": left,
            "scope": done.token.scope(),
            "refresh_token_given": done.refresh_token_given,
            "kept_in": done.kept_in,
        }));
    }
    if let Some(file) = &done.kept_in {
        return console.line(&format!("signed in; the refresh token is kept in {}", file.display()));
    }
    console.line("signed in")?;
    console.flush()?;
    let earlier = source.login_file().filter(|file| file.exists());
    console.note(&match earlier {
        Some(file) => format!(
            "the server gave no refresh token; that of an earlier sign-in stays in {} and in use",
            file.display()
        ),
        None => format!(
            "the server gave no refresh token: this sign-in cannot be renewed and ends in {} s at the latest; \
             many servers give one for the scope offline_access",
            left.unwrap_or_default()
        ),
    });
    Ok(())
}

/// Nobody came.
fn too_late(limit: Duration) -> Error {
    Error::new(ErrorCode::Timeout, format!("nobody has signed in within {} s", limit.as_secs()))
}
