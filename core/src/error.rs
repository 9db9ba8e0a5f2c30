//! The one table of errors that every face shows: C constants, exceptions, `error.code`, exit codes.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

macro_rules! error_codes {
    ($( $(#[doc = $doc:literal])+ $variant:ident = $number:literal, $name:literal, exit $exit:literal, $retry:literal; )+) => {
        /// What went wrong, as a stable number and word. Numbers are never reused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(i32)]
        #[non_exhaustive]
        pub enum ErrorCode { $( $(#[doc = $doc])+ $variant = $number, )+ }

        impl ErrorCode {
            /// Every code, in the order of its numbers.
            pub const ALL: &'static [ErrorCode] = &[ $( ErrorCode::$variant, )+ ];

            /// The word used in every language, for instance `invalid_client`.
            pub const fn name(self) -> &'static str { match self { $( ErrorCode::$variant => $name, )+ } }

            /// The exit status of the command line for this error.
            pub const fn exit_status(self) -> u8 { match self { $( ErrorCode::$variant => $exit, )+ } }

            /// Whether the same call can succeed later with nothing changed on our side.
            pub const fn retryable(self) -> bool { match self { $( ErrorCode::$variant => $retry, )+ } }
        }
    };
}

error_codes! {
    /// An argument of this call is wrong; nothing was sent.
    InvalidArgument = 1, "invalid_argument", exit 2, false;
    /// The configuration is wrong, or the vendor says that the request as configured can never work.
    Config = 2, "config", exit 3, false;
    /// The server refused the client's own credentials (RFC 6749 5.2 `invalid_client`).
    InvalidClient = 3, "invalid_client", exit 4, false;
    /// The server refused the user's login, assertion or refresh token (RFC 6749 5.2 `invalid_grant`).
    InvalidGrant = 4, "invalid_grant", exit 5, false;
    /// No token can be had without a person: a static token was rejected or the refresh token is gone.
    ReauthenticationRequired = 5, "reauthentication_required", exit 6, false;
    /// The API or server understood and refused (403, `access_denied`).
    AccessDenied = 6, "access_denied", exit 7, false;
    /// Too many requests (429); `retry_after` says when to come back.
    RateLimited = 7, "rate_limited", exit 8, true;
    /// The server failed (5xx).
    ServerError = 8, "server_error", exit 9, true;
    /// The server could not be reached or the connection broke.
    Network = 9, "network", exit 10, true;
    /// The deadline passed first.
    Timeout = 10, "timeout", exit 11, true;
    /// The TLS handshake failed; certificates are always verified.
    Tls = 11, "tls", exit 12, false;
    /// The answer makes no sense: not JSON, no token, a redirect, an unknown token type.
    Protocol = 12, "protocol", exit 13, false;
    /// A record in the store could not be read or written.
    Store = 13, "store", exit 14, false;
    /// The store cannot be reached and this profile must not renew without it.
    StoreUnavailable = 14, "store_unavailable", exit 15, true;
    /// Another party keeps taking over this account's only session.
    SessionConflict = 15, "session_conflict", exit 16, true;
    /// This provider or profile cannot do what was asked.
    Unsupported = 16, "unsupported", exit 17, false;
    /// The caller cancelled the call.
    Cancelled = 17, "cancelled", exit 18, false;
    /// The engine or source was closed.
    Closed = 18, "closed", exit 19, false;
    /// A fault in qauth itself; please report it.
    Internal = 19, "internal", exit 70, false;
}

impl ErrorCode {
    /// The code with this word, as provider files write it.
    pub fn from_name(name: &str) -> Option<ErrorCode> {
        Self::ALL.iter().copied().find(|code| code.name() == name)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A failed call: a stable code, a message to act on, and what the server said.
///
/// Cheap to clone and share between waiters. Neither `Display` nor `Debug` ever holds a secret or token: whatever a server
/// sent has been masked before it came here.
#[derive(Clone)]
pub struct Error(Box<Detail>);

#[derive(Clone)]
struct Detail {
    code: ErrorCode,
    message: String,
    profile: Option<String>,
    provider: Option<String>,
    status: Option<u16>,
    server_error: Option<String>,
    server_error_description: Option<String>,
    retryable: bool,
    retry_after: Option<Duration>,
    answer: Option<Value>,
}

/// The result of every fallible call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of this code; `message` says what to do and holds no secret.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Error {
        Error(Box::new(Detail {
            code,
            message: message.into(),
            profile: None,
            provider: None,
            status: None,
            server_error: None,
            server_error_description: None,
            retryable: code.retryable(),
            retry_after: None,
            answer: None,
        }))
    }

    pub(crate) fn config(message: impl Into<String>) -> Error {
        Error::new(ErrorCode::Config, message)
    }

    pub(crate) fn invalid_argument(message: impl Into<String>) -> Error {
        Error::new(ErrorCode::InvalidArgument, message)
    }

    pub(crate) fn protocol(message: impl Into<String>) -> Error {
        Error::new(ErrorCode::Protocol, message)
    }

    pub(crate) fn closed() -> Error {
        Error::new(ErrorCode::Closed, "the engine or source was closed; make a new one")
    }

    /// Names the profile and provider, unless an inner layer already did.
    pub(crate) fn about(mut self, profile: &str, provider: &str) -> Error {
        self.0.profile.get_or_insert_with(|| profile.to_owned());
        self.0.provider.get_or_insert_with(|| provider.to_owned());
        self
    }

    /// The same failure as another profile of the same credentials hears of it.
    pub(crate) fn retold_to(mut self, profile: &str) -> Error {
        self.0.profile = Some(profile.to_owned());
        self
    }

    pub(crate) fn with_message(mut self, message: String) -> Error {
        self.0.message = message;
        self
    }

    pub(crate) fn with_status(mut self, status: u16) -> Error {
        self.0.status = Some(status);
        self
    }

    /// Keeps what the server said; the caller has masked and bounded both texts.
    pub(crate) fn with_server(mut self, error: Option<String>, description: Option<String>) -> Error {
        self.0.server_error = error;
        self.0.server_error_description = description;
        self
    }

    pub(crate) fn with_retry_after(mut self, retry_after: Option<Duration>) -> Error {
        self.0.retry_after = retry_after;
        self
    }

    pub(crate) fn with_retryable(mut self, retryable: bool) -> Error {
        self.0.retryable = retryable;
        self
    }

    /// Keeps an answer that cannot be had again.
    pub(crate) fn with_answer(mut self, answer: Value) -> Error {
        self.0.answer = Some(answer);
        self
    }

    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        self.0.code
    }

    /// The message alone: what happened and what to do, without profile and server detail.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The profile whose token was asked for.
    pub fn profile(&self) -> Option<&str> {
        self.0.profile.as_deref()
    }

    /// The provider of that profile.
    pub fn provider(&self) -> Option<&str> {
        self.0.provider.as_deref()
    }

    /// The HTTP status of the server's answer.
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// The server's `error` (RFC 6749 5.2): a token of at most 64 characters.
    pub fn server_error(&self) -> Option<&str> {
        self.0.server_error.as_deref()
    }

    /// The server's `error_description`, masked, at most 256 printable characters.
    pub fn server_error_description(&self) -> Option<&str> {
        self.0.server_error_description.as_deref()
    }

    /// Whether the same call may succeed later with nothing changed.
    pub fn retryable(&self) -> bool {
        self.0.retryable
    }

    /// How long to wait before the next try can help.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// What the vendor answered, where it holds a secret that is shown this once only and the call could not finish with
    /// it: the profile could not be saved ([`crate::CallOptions::save_as`]), or the answer not be read (then it is its
    /// text). It is the only copy: store it, and keep it out of logs. Neither `Display` nor `Debug` shows it.
    pub fn answer(&self) -> Option<&Value> {
        self.0.answer.as_ref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.0.code)?;
        if let Some(profile) = &self.0.profile {
            write!(f, "profile {profile:?}: ")?;
        }
        f.write_str(&self.0.message)?;
        if let Some(status) = self.0.status {
            write!(f, " (HTTP {status})")?;
        }
        if let Some(error) = &self.0.server_error {
            write!(f, "; the server says {error}")?;
        }
        if let Some(description) = &self.0.server_error_description {
            write!(f, ": {description}")?;
        }
        if let Some(after) = self.0.retry_after {
            write!(f, "; try again in {:.1} s", after.as_secs_f64())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_names_and_exit_statuses_are_unique_and_fixed() {
        for (index, code) in ErrorCode::ALL.iter().enumerate() {
            assert_eq!(*code as i32, index as i32 + 1);
            assert_eq!(ErrorCode::from_name(code.name()), Some(*code));
            assert!(ErrorCode::ALL.iter().filter(|other| other.exit_status() == code.exit_status()).count() == 1);
        }
    }

    #[test]
    fn the_text_names_profile_status_and_server_error() {
        let error = Error::new(ErrorCode::InvalidClient, "check client_secret")
            .about("pricing", "acme")
            .with_status(401)
            .with_server(Some("invalid_client".into()), Some("Invalid client credentials".into()));
        assert_eq!(
            error.to_string(),
            "invalid_client: profile \"pricing\": check client_secret (HTTP 401); the server says invalid_client: Invalid client credentials"
        );
    }
}
