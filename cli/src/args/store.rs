//! What the store holds.

use clap::Args;

use super::NarrowingArgs;

/// List what the store holds
///
/// One line for each profile's token. STATE is the first of these that is true:
///   unreadable   it cannot be read: a note says why
///   conflict     another party kept taking over the account's only session; qauth waits
///   refused      the server refused the credentials; it is not asked again for a while
///   paused       a renewal failed; the next one waits for a while
///   maybe_spent  the refresh token was about to be sent: a renewal is under way, or has died
///   valid        the access token has not ended
///   renewable    the access token has ended, the refresh token has not
///   expired      both have ended: the next call logs in, or asks for a person who does
///   empty        cleared, or signed out
/// With --json a list of objects: name, profile, provider, state, generation, obtained_at, expires_at,
/// has_refresh_token, refresh_expires_at, failure, failure_until, written_at, written_by, error; times
/// are Unix seconds. No token is shown.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct StatusArgs {}

/// Forget what the store holds of a profile
///
/// Its tokens and what is remembered of failures, for every process that shares the store; the next
/// call logs in anew. Waits for a renewal under way. No server is told, so the tokens stay good until
/// they end: `qauth logout` revokes them. Processes that run serve the token they have until they renew
/// it. A refresh token that stood in the store alone is lost: a person who signed in must do so again.
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Examples:
  qauth clear pricing
  qauth clear reports --scope read"
)]
pub(crate) struct ClearArgs {
    /// A profile, or a provider with its credentials in the environment
    pub(crate) profile: String,

    #[command(flatten)]
    pub(crate) narrowing: NarrowingArgs,
}
