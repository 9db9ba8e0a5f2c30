//! A person's part: to sign in once, so that renewals have a refresh token to go on with, and to sign out again.

mod code;
mod device;
mod logout;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Mutex;

pub(crate) use self::logout::logout;
pub use self::logout::{LoggedOut, Revocation};

use self::code::Code;
use self::device::{Device, Pace};
use crate::block::block_on;
use crate::clock::{Deadline, Moment};
use crate::error::{Error, ErrorCode, Result};
use crate::exchange::Exchange;
use crate::metrics::Tally;
use crate::private_file;
use crate::profile::Profile;
use crate::provider::GrantKind;
use crate::refresh::Renewal;
use crate::response::Refusal;
use crate::runtime::Core;
use crate::secret::Secret;
use crate::source::Source;
use crate::token::{Issued, Token};

/// How a sign-in is begun.
#[derive(Clone, Debug, Default)]
pub struct LoginOptions {
    /// For [`LoginKind::AuthorizationCode`]: where the server sends the browser afterwards, for instance
    /// `http://127.0.0.1:PORT/callback` (RFC 8252 7.3).
    pub redirect_uri: Option<String>,
    /// Begin only if the refresh token outlives this process: the profile says `refresh_token = "file:PATH"`, and that
    /// file can be written.
    pub must_be_kept: bool,
}

/// What a person has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LoginKind {
    /// Enter a code on any device (RFC 8628); meanwhile [`Login::finish`] waits.
    DeviceCode,
    /// Sign in in a browser, which is then sent to the redirect URI (RFC 6749 4.1, RFC 7636); [`Login::complete`] takes what
    /// it brings.
    AuthorizationCode,
}

/// A sign-in that has succeeded. `Debug` shows no token.
#[derive(Clone, Debug)]
pub struct LoggedIn {
    /// The source's current token from now on.
    pub token: Token,
    /// The server gave a refresh token. Without one this sign-in ends with the token; the scope `offline_access` makes many
    /// servers give one. A refresh token of an earlier sign-in stays in use.
    pub refresh_token_given: bool,
    /// The file that keeps it; `None`: it lives in the engine's store alone.
    pub kept_in: Option<PathBuf>,
}

/// A sign-in under way, begun by [`TokenSource::begin_login`](crate::TokenSource::begin_login). Dropped, it is given up.
pub struct Login(Arc<Inner>);

struct Inner {
    source: Arc<Source>,
    profile: Arc<Profile>,
    way: Way,
    /// Held while its requests are sent: one at a time.
    pace: Mutex<Pace>,
    /// Set once; what was learned is spent by then.
    outcome: OnceLock<Result<LoggedIn>>,
}

enum Way {
    Device(Device),
    Code(Code),
}

impl LoginKind {
    /// What this grant needs of a person, if anything.
    pub(crate) fn of(grant: GrantKind) -> Option<LoginKind> {
        match grant {
            GrantKind::DeviceCode => Some(LoginKind::DeviceCode),
            GrantKind::AuthorizationCode => Some(LoginKind::AuthorizationCode),
            _ => None,
        }
    }

    /// The grant's name, as profiles write it.
    pub const fn name(self) -> &'static str {
        match self {
            LoginKind::DeviceCode => "device_code",
            LoginKind::AuthorizationCode => "authorization_code",
        }
    }
}

impl Login {
    /// What the person has to do.
    pub fn kind(&self) -> LoginKind {
        match &self.0.way {
            Way::Device(_) => LoginKind::DeviceCode,
            Way::Code(_) => LoginKind::AuthorizationCode,
        }
    }

    /// The code that the person enters at [`Login::verification_uri`]; `None` for an authorization code.
    pub fn user_code(&self) -> Option<&str> {
        self.device().map(|device| device.user_code.as_str())
    }

    /// Where the person enters it.
    pub fn verification_uri(&self) -> Option<&str> {
        self.device().map(|device| device.verification_uri.as_str())
    }

    /// The same with the code in it, for a link or a QR code, if the server gives one.
    pub fn verification_uri_complete(&self) -> Option<&str> {
        self.device()?.verification_uri_complete.as_deref()
    }

    /// How long the code can still be entered.
    pub fn expires_in(&self) -> Option<Duration> {
        self.device().map(|device| device.end.left(&self.0.source.core.clock.now()))
    }

    /// What to open in the person's browser; `None` for a device code.
    pub fn authorization_url(&self) -> Option<&str> {
        match &self.0.way {
            Way::Device(_) => None,
            Way::Code(code) => Some(code.url.as_str()),
        }
    }

    /// Waits until the person has signed in, at most until the code expires. On any executor, or none; given up, it can be
    /// called again.
    ///
    /// # Errors
    /// `reauthentication_required`: the code has expired; `access_denied`: the person refused; `store`: the refresh token
    /// could not be written to the profile's file, while the token itself serves; `unsupported` for an authorization
    /// code; else what the server said.
    pub async fn finish(&self) -> Result<LoggedIn> {
        let work = device::finish(self.0.clone());
        self.0.about(self.0.source.core.while_awaited(work).await)
    }

    /// The same for a thread that may block.
    ///
    /// # Errors
    /// As [`Login::finish`].
    pub fn finish_blocking(&self) -> Result<LoggedIn> {
        block_on(self.finish())
    }

    /// Takes what the browser brought to the redirect URI: the whole URL, or its query. The code in it is sent once,
    /// whatever becomes of the caller; asked again, the outcome is the same.
    ///
    /// # Errors
    /// `invalid_argument`: `state` is not that of this sign-in, so somebody else sent it, and the sign-in is still open.
    /// All others end it: `access_denied`: the person refused; `reauthentication_required`: the server ended it;
    /// `protocol`: the answer is not for us or makes no sense; `store` as for [`Login::finish`]; else what the server said.
    pub async fn complete(&self, redirected: &str) -> Result<LoggedIn> {
        let work = code::complete(self.0.clone(), redirected.to_owned());
        self.0.about(self.0.source.core.to_the_end(work).await)
    }

    /// The same for a thread that may block.
    ///
    /// # Errors
    /// As [`Login::complete`].
    pub fn complete_blocking(&self, redirected: &str) -> Result<LoggedIn> {
        block_on(self.complete(redirected))
    }

    fn device(&self) -> Option<&Device> {
        match &self.0.way {
            Way::Device(device) => Some(device),
            Way::Code(_) => None,
        }
    }
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login({:?}, {})", self.0.profile.name, self.kind().name())
    }
}

/// Begins a sign-in: asks for a device code, or makes the address for the browser.
pub(crate) async fn begin(source: Arc<Source>, options: LoginOptions) -> Result<Login> {
    let profile = source.profile();
    let Some(kind) = LoginKind::of(profile.grant) else {
        let message = format!("grant: {} needs no person: just ask for the token", profile.grant.name());
        return Err(Error::new(ErrorCode::Unsupported, message));
    };
    check_keeping(&profile, options.must_be_kept).await?;
    let core = source.core.clone();
    let (way, pace) = match kind {
        LoginKind::DeviceCode => {
            device::begin(&source, &profile).await.map(|(device, pace)| (Way::Device(device), pace))?
        }
        LoginKind::AuthorizationCode => {
            let code = code::begin(&core, &profile, options.redirect_uri.as_deref()).await?;
            (Way::Code(code), Pace::default())
        }
    };
    Ok(Login(Arc::new(Inner { source, profile, way, pace: Mutex::new(pace), outcome: OnceLock::new() })))
}

/// A person's time is not wasted on a sign-in that cannot be kept.
async fn check_keeping(profile: &Profile, must: bool) -> Result<()> {
    let Some(file) = profile.signed_in.as_ref().and_then(|signed_in| signed_in.file.clone()) else {
        let name = &profile.name;
        return match must {
            false => Ok(()),
            true if profile.refresh_definition().is_none() => {
                Err(Error::config("grants.refresh_token: this provider declares none, so no sign-in of it can be kept"))
            }
            true if profile.signed_in.is_some() => Err(Error::config(
                "refresh_token: is given by the profile itself, so a sign-in has no place to write one: \
                 write refresh_token = \"file:PATH\" in its place",
            )),
            true => Err(Error::config(format!(
                "refresh_token: is missing: nothing would keep this sign-in. Add it to the profile, for instance \
                 refresh_token = \"file:{name}.login\""
            ))),
        };
    };
    let checked = {
        let file = file.clone();
        tokio::task::spawn_blocking(move || private_file::check(&file)).await
    };
    checked.unwrap_or_else(|_| Err(std::io::ErrorKind::Interrupted.into())).map_err(|error| {
        let message = format!("refresh_token: the file {} cannot be written: {}", file.display(), error.kind());
        Error::new(ErrorCode::Store, message)
    })
}

impl Inner {
    fn core(&self) -> &Core {
        &self.source.core
    }

    fn about<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| error.about(&self.profile.name, self.profile.provider.name()))
    }

    /// Ends the sign-in; the first word counts.
    fn end(&self, outcome: Result<LoggedIn>) -> Result<LoggedIn> {
        self.outcome.get_or_init(|| self.about(outcome)).clone()
    }

    /// One request of the grant, with what this sign-in alone knows.
    async fn exchange(
        &self,
        given: Vec<(&'static str, Secret)>,
        deadline: Deadline,
    ) -> std::result::Result<(Issued, Moment), Refusal> {
        exchange(self.core(), (&self.profile, self.source.tally()), given, deadline).run().await
    }

    /// The token becomes the source's current one, once its refresh token is kept.
    async fn take_over(&self, issued: &Issued, sent: Moment) -> Result<LoggedIn> {
        let (source, profile) = (&self.source, &self.profile);
        let _turn = source.turn().await;
        if source.profile().record_name() != profile.record_name() {
            return Err(Error::config("the profile was changed during the sign-in: begin it again"));
        }
        let renewal = Renewal::new(self.core(), profile, None, source.brief().1);
        let kept = renewal.sign_in(issued, sent, profile.dpop_key.as_ref()).await;
        let published = kept.published?;
        source.adopt(&published)?;
        if profile.signed_in.is_some() {
            let source = source.clone();
            let _ = tokio::task::spawn_blocking(move || source.reread()).await;
        }
        tracing::info!(profile = %profile.name, provider = profile.provider.name(), "signed in");
        let kept_in = kept.file.map_err(|error| {
            let file = profile.signed_in.as_ref().and_then(|signed_in| signed_in.file.as_deref());
            let file = file.map(|file| file.display().to_string()).unwrap_or_default();
            let message = format!(
                "signed in, but the refresh token could not be written to {file} ({}): the sign-in ends with this process",
                error.kind()
            );
            Error::new(ErrorCode::Store, message)
        })?;
        Ok(LoggedIn { token: Token::new(published), refresh_token_given: issued.refresh_token.is_some(), kept_in })
    }
}

fn exchange<'a>(
    core: &'a Core,
    (profile, tally): (&'a Profile, &'a Tally),
    given: Vec<(&'static str, Secret)>,
    deadline: Deadline,
) -> Exchange<'a> {
    Exchange {
        core,
        profile,
        kind: profile.grant,
        grant: profile.grant_definition(),
        given,
        dpop: profile.dpop_key.as_ref().filter(|_| profile.dpop),
        lent: None,
        deadline,
        tally,
    }
}
