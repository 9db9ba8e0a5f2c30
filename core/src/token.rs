//! A token: an immutable value that can be shared, and what is published inside a source.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use crate::clock::{Clock, Deadline, HotDeadline, Moment};
use crate::dpop::DpopKey;
use crate::secret::Secret;
use crate::windows::Windows;

/// A valid access token as one source lent it. Cheap to clone, any thread; `Debug` shows no token.
#[derive(Clone)]
pub struct Token(Arc<Published>);

/// What a token endpoint answered, judged and unpacked (RFC 6749 5.1).
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    pub(crate) access_token: Secret,
    pub(crate) token_type: String,
    /// From the moment the request was sent; `None` for a token without an end.
    pub(crate) lifetime: Option<Duration>,
    pub(crate) refresh_token: Option<Secret>,
    pub(crate) refresh_lifetime: Option<Duration>,
    pub(crate) scope: Option<String>,
    pub(crate) extras: Map<String, Value>,
}

/// The record that a source has published: what the hot path reads, through one pointer and nothing else.
pub(crate) struct Published {
    pub(crate) hot: HotDeadline,
    /// `Bearer eyJ…`, made once.
    pub(crate) header: String,
    /// Where in `header` the access token stands.
    token_at: Range<usize>,
    /// The key that the token is bound to (RFC 9449).
    pub(crate) dpop: Option<DpopKey>,
    /// Somebody asked for it since it was obtained; a token that nobody uses is not renewed behind anybody's back.
    used: AtomicBool,
    pub(crate) token_type: String,
    pub(crate) scope: Option<String>,
    pub(crate) extras: Map<String, Value>,
    pub(crate) generation: u64,
    pub(crate) obtained: Moment,
    pub(crate) windows: Windows,
    clock: Clock,
}

impl Published {
    pub(crate) fn new(
        issued: &Issued,
        (before, after): (&str, &str),
        generation: u64,
        obtained: Moment,
        windows: Windows,
        clock: &Clock,
    ) -> Published {
        let token = issued.access_token.expose();
        Published {
            hot: clock.hot(&windows.serve_until, windows.expires_at.as_ref()),
            token_at: before.len()..before.len() + token.len(),
            header: [before, token, after].concat(),
            dpop: None,
            used: AtomicBool::new(false),
            token_type: issued.token_type.clone(),
            scope: issued.scope.clone(),
            extras: issued.extras.clone(),
            generation,
            obtained,
            windows,
            clock: clock.clone(),
        }
    }

    /// The same token, whose every request must prove this key.
    pub(crate) fn bound_to(mut self, key: Option<&DpopKey>) -> Published {
        self.dpop = key.cloned();
        self
    }

    #[inline(always)]
    pub(crate) fn access_token(&self) -> &str {
        &self.header[self.token_at.clone()]
    }

    /// Read first: a store on every call would make the threads of a busy process fight over one cache line.
    #[inline(always)]
    pub(crate) fn mark_used(&self) {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn was_used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn expires(&self) -> Option<&Deadline> {
        self.windows.expires_at.as_ref()
    }

    /// What is left at `now`; `None` for a token without an end.
    pub(crate) fn left(&self, now: &Moment) -> Option<Duration> {
        self.expires().map(|end| end.left(now))
    }

    /// From the moment it was asked for to its end; `None` for a token without an end.
    pub(crate) fn life(&self) -> Option<Duration> {
        self.left(&self.obtained)
    }

    pub(crate) fn valid(&self, now: &Moment) -> bool {
        self.expires().is_none_or(|end| !end.passed(now))
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.header);
    }
}

impl Token {
    pub(crate) fn new(published: Arc<Published>) -> Token {
        Token(published)
    }

    pub(crate) fn published(&self) -> &Arc<Published> {
        &self.0
    }

    /// The access token itself (RFC 6749 1.4). Keep it out of logs.
    #[inline(always)]
    pub fn access_token(&self) -> &str {
        self.0.access_token()
    }

    /// How the API wants it, as the server spelled it, `Bearer` where it said nothing (RFC 6749 7.1).
    pub fn token_type(&self) -> &str {
        &self.0.token_type
    }

    /// When it ends by the wall clock; `None` for a static token without an end.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.0.expires().map(|end| UNIX_EPOCH + end.unix())
    }

    /// How long it is still valid: zero once it has ended, `None` for a token without an end.
    pub fn expires_in(&self) -> Option<Duration> {
        self.0.left(&self.0.clock.now())
    }

    /// The scopes the server granted, if it said so (RFC 6749 3.3).
    pub fn scope(&self) -> Option<&str> {
        self.0.scope.as_deref()
    }

    /// Further members of the answer that the provider file keeps.
    pub fn extras(&self) -> &Map<String, Value> {
        &self.0.extras
    }

    /// Counts the tokens of this source upwards: a later token has a larger number.
    pub fn generation(&self) -> u64 {
        self.0.generation
    }

    /// The value for the header that carries it, for instance `Bearer eyJ…`.
    #[inline(always)]
    pub fn header_value(&self) -> &str {
        &self.0.header
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token")
            .field("token_type", &self.0.token_type)
            .field("expires_in", &self.expires_in())
            .field("generation", &self.0.generation)
            .finish_non_exhaustive()
    }
}
