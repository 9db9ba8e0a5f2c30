//! Signing in and out.

use std::time::Duration;

use clap::Args;

use super::seconds;

/// Sign in, for a grant that needs a person once
///
/// With device_code, prints where to go and what to enter there, and waits. With authorization_code,
/// opens the browser and waits for it on 127.0.0.1. The refresh token is kept in the file that the
/// profile names (refresh_token = "file:PATH"); from then on every token comes by itself. A profile
/// that needs no person gets a token once, to see that it works. No token is printed.
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Examples:
  qauth login mail
  qauth login mail --port 8400 --no-browser
  qauth login mail --json"
)]
pub(crate) struct LoginArgs {
    /// A profile, or a provider with its credentials in the environment
    pub(crate) profile: String,

    /// Where the browser is sent back to, if the server wants to know it beforehand
    ///
    /// The redirect URI is http://127.0.0.1:PORT/callback; otherwise any free port is taken, as RFC 8252
    /// asks servers to accept.
    #[arg(long, default_value_t = 0, hide_default_value = true, verbatim_doc_comment)]
    pub(crate) port: u16,

    /// Print the address only
    #[arg(long)]
    pub(crate) no_browser: bool,

    /// How long to wait for the person: 300 s, or until the code expires
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: Option<Duration>,
}

/// Sign out: revoke the tokens, forget them, delete the file
///
/// Tells the server (RFC 7009), if the provider says how. Whatever the server says, everything here
/// is forgotten and the file with the refresh token deleted; a failure is the exit status.
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Example:
  qauth logout mail"
)]
pub(crate) struct LogoutArgs {
    /// A profile, or a provider with its credentials in the environment
    pub(crate) profile: String,
}
