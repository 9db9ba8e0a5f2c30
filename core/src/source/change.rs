//! What happens to a source from outside: a rejected token, a reset, other keys, a secret file that changed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Map, Value};

use super::Source;
use super::report::Cause;
use crate::attach;
use crate::clock::Moment;
use crate::error::{Error, ErrorCode, Result};
use crate::events::EventKind;
use crate::profile::Profile;
use crate::provider::GrantKind;
use crate::refresh::{Pause, PauseKind};
use crate::token::Published;

/// A token that lived this long was accepted for a while: its rejection starts a new count.
const ACCEPTED_AFTER: Duration = Duration::from_secs(60);
const MAX_REJECTION_PAUSE: Duration = Duration::from_secs(60);

/// The right to renew, sign in or sign out.
pub(crate) struct Turn<'a> {
    _own: tokio::sync::MutexGuard<'a, ()>,
    /// Where a file keeps the sign-in, among all sources that share it.
    _file: Option<tokio::sync::OwnedMutexGuard<()>>,
}

impl Source {
    /// The API rejected the token of this generation. Acts only if that is still the current one.
    pub(crate) fn invalidate(&self, generation: u64, access_token: Option<&str>) -> bool {
        let now = self.core.clock.now();
        let mut state = self.life.lock();
        // The number alone could be another source's.
        let rejected = state.invalidate(|current| {
            current.generation == generation && access_token.is_none_or(|token| token == current.access_token())
        });
        let Some(current) = rejected else { return false };
        let profile = self.profile.load();
        if profile.grant == GrantKind::Static {
            let error = Error::new(
                ErrorCode::ReauthenticationRequired,
                "the API rejected the configured token, and only a person can get another: put the new one into the profile",
            );
            state.pause = Some(Pause::new(Moment::never(), error, PauseKind::Final));
        } else if !profile.single_session() {
            let young = now.since(&current.obtained) < ACCEPTED_AFTER;
            state.rejections = if young { state.rejections.saturating_add(1) } else { 1 };
            if state.rejections >= 2 {
                let pause = Duration::from_secs(1 << (state.rejections - 2).min(6)).min(MAX_REJECTION_PAUSE);
                let error = Error::new(
                    ErrorCode::AccessDenied,
                    "the API keeps rejecting fresh tokens: check that the profile's environment and permissions fit the API",
                )
                .with_retryable(true);
                state.pause = Some(Pause::new(now.after(pause), error, PauseKind::Transient));
            }
        }
        drop(state);
        let age = now.since(&current.obtained);
        self.core.report((&profile, self.tally()), EventKind::Invalidated, Cause::Rejected.name(), age, |event| {
            event.with_generation(generation)
        });
        true
    }

    /// Forgets remembered failures and pauses, here and in the store.
    pub(crate) fn reset(&self) {
        self.life.lock().reset();
    }

    /// A person has signed in: this token is the current one, and nothing that was remembered before counts any more.
    pub(crate) fn adopt(self: &Arc<Self>, published: &Arc<Published>) -> Result<()> {
        match !self.is_closed() && self.life.lock().replace(Some(published)) {
            true => {
                self.told_of_failing.store(false, Ordering::Relaxed);
                self.schedule(published);
                Ok(())
            }
            false => Err(Error::closed()),
        }
    }

    /// A person has signed out, or its record was cleared: no token is served until a new one is obtained.
    pub(crate) fn forget(&self) {
        self.life.lock().replace(None);
    }

    /// The renewal under way is at its end, and none begins while this is held.
    pub(crate) async fn turn(&self) -> Turn<'_> {
        let own = self.local().turn.lock().await;
        let profile = self.profile();
        let file = match (profile.signed_in.as_ref().and_then(|kept| kept.file.as_ref()), self.core.running()) {
            (Some(file), Ok(running)) => Some(running.file_turn(file).await),
            _ => None,
        };
        Turn { _file: file, _own: own }
    }

    /// The token that is published now.
    pub(crate) fn current(&self) -> Option<Arc<Published>> {
        self.life.current()
    }

    /// Reads the profile's files again, changed or not; what cannot be read changes nothing.
    pub(crate) fn reread(&self) {
        let seen = self.profile();
        let Ok(profile) = seen.reread() else { return };
        let profile = Arc::new(profile.named());
        let _state = self.life.lock();
        // Changed meanwhile: what is there now was made later.
        self.swap_profile(&seen, profile);
    }

    /// Replaces keys of the profile; the token obtained with the old ones is not served any more.
    pub(crate) fn update(&self, changes: &Map<String, Value>) -> Result<()> {
        loop {
            if self.is_closed() {
                return Err(Error::closed());
            }
            let seen = self.profile();
            let updated = Arc::new(seen.updated(changes)?.named());
            let mut state = self.life.lock();
            if self.swap_profile(&seen, updated) {
                state.update();
                self.updated.store(true, Ordering::Relaxed);
                return Ok(());
            }
        }
    }

    /// Of several credentials these work: they are tried first from now on, and what goes beside a token is theirs. Those
    /// of a profile that has been replaced meanwhile are not taken up. Under the lock; says whether others were in use.
    pub(super) fn settle_on(&self, used: &Profile) -> bool {
        let seen = self.profile();
        if seen.position() == used.position() {
            return false;
        }
        let profile = seen.with_credentials_of(&used.record_name());
        profile.is_some_and(|profile| self.swap_profile(&seen, Arc::new(profile)))
    }

    /// Puts the profile in place of the one that it was made from; `false`: that one is there no more. Under the lock.
    fn swap_profile(&self, seen: &Arc<Profile>, profile: Arc<Profile>) -> bool {
        let fits = Arc::ptr_eq(&self.profile.load(), seen);
        if fits {
            let more = attach::check_single_header(&profile).is_err();
            self.profile.store(profile);
            self.core.note_record_names();
            self.companion_headers.store(more, Ordering::Relaxed);
        }
        fits
    }

    /// Where a `file:` secret has changed, the profile follows, and what was remembered of the old secret goes.
    pub(super) fn reread_files(&self) -> bool {
        let seen = self.profile();
        let Some(profile) = seen.with_changed_files() else { return false };
        let other = !profile.same_secrets(&seen);
        let profile = Arc::new(profile.named());
        let mut state = self.life.lock();
        // Changed meanwhile: what is there now was made later.
        if self.swap_profile(&seen, profile) && other {
            state.pause = None;
        }
        other
    }
}
