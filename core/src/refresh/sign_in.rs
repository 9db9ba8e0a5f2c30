//! What a person's sign-in leaves, and how it is forgotten: the record, and the file that keeps the refresh token.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Renewal;
use crate::clock::Moment;
use crate::dpop::DpopKey;
use crate::error::Result;
use crate::private_file;
use crate::profile::SignedIn;
use crate::secret::Secret;
use crate::store::{Record, StoredRefresh, StoredToken};
use crate::token::{Issued, Published};

/// How often somebody else may write the record first.
const ROUNDS: u32 = 8;

/// What became of a sign-in.
pub(crate) struct Kept {
    pub(crate) published: Result<Arc<Published>>,
    /// The file that holds the refresh token now; `None` where there is nothing to keep, or nowhere.
    pub(crate) file: io::Result<Option<PathBuf>>,
}

impl Renewal<'_> {
    /// Takes over the token of a sign-in: its refresh token goes into the file, and both into the record, before anybody
    /// sees them.
    pub(crate) async fn sign_in(&self, issued: &Issued, sent: Moment, dpop: Option<&DpopKey>) -> Kept {
        let file = match (self.login_file(), &issued.refresh_token) {
            (Some(file), Some(token)) => write(file, token).await.map(Some),
            _ => Ok(None),
        };
        let obtained_at = sent.unix();
        let mut generation = self.brief.floor + 1;
        self.replace(|record| {
            generation = self.after(record);
            let given = issued.refresh_token.as_ref().map(|token| StoredRefresh {
                token: token.clone(),
                obtained_at,
                lifetime: issued.refresh_lifetime,
            });
            Record {
                generation,
                token: Some(StoredToken { issued: issued.clone(), generation, sent_at: obtained_at }),
                // Some servers give one at the first sign-in only, and it stays good.
                refresh: given.or_else(|| record.refresh.clone().filter(|_| record.intent.is_none())),
                seed: match (&file, &issued.refresh_token) {
                    (Ok(Some(_)), Some(token)) => Some(SignedIn::digest_of(token)),
                    // What the profile gives besides is older.
                    (_, Some(_)) => self.profile.signed_in.as_ref().and_then(SignedIn::digest),
                    (_, None) => record.seed.clone(),
                },
                dpop_key: dpop.and_then(|key| key.stored.clone()),
                ..Record::default()
            }
        })
        .await;
        let published = self.publishable(issued, generation, &sent, None, dpop).map_err(|failure| failure.error);
        Kept { published, file }
    }

    /// The tokens that stand in the record: refresh token and access token.
    pub(crate) async fn tokens(&self) -> (Option<Secret>, Option<Secret>) {
        let Ok(Some(record)) = self.load().await else { return (None, None) };
        let access = record.token.as_ref().map(|token| token.issued.access_token.clone());
        (record.refresh.as_ref().map(|refresh| refresh.token.clone()), access)
    }

    /// Empties the record, when a renewal that is under way somewhere has ended; a refresh token that the profile still gives
    /// is not used again.
    ///
    /// # Errors
    /// Of the store: the record stands as it was.
    pub(crate) async fn sign_out(&self) -> Result<()> {
        let emptied = |record: &Record| {
            let seed = self.profile.signed_in.as_ref().and_then(SignedIn::digest).or_else(|| record.seed.clone());
            Some(Record { seed, ..Record::default() })
        };
        let emptied = self.change_in_turn(&self.name, emptied).await;
        emptied.map(drop).map_err(|failure| failure.error)
    }

    /// The successor of a refresh token that a file keeps goes there before anybody sees the access token. Gives the
    /// record's `seed` from now on.
    pub(super) async fn keep_successor(&self, refresh_token: Option<&Secret>, record: &Record) -> Option<String> {
        let (Some(file), Some(token)) = (self.login_file(), refresh_token) else { return record.seed.clone() };
        let digest = SignedIn::digest_of(token);
        // Many servers repeat the old one.
        if record.seed.as_ref() == Some(&digest) {
            return Some(digest);
        }
        match write(file, token).await {
            Ok(_) => Some(digest),
            Err(error) => {
                tracing::error!(profile = %self.profile.name, error = %error.kind(), "the renewed refresh token could not be written to its file");
                record.seed.clone()
            }
        }
    }

    fn login_file(&self) -> Option<&Path> {
        self.profile.signed_in.as_ref()?.file.as_deref()
    }

    /// Writes over whatever stands in the store: a person's word goes before that of any renewal.
    async fn replace(&self, mut next: impl FnMut(&Record) -> Record) {
        let mut record = self.load().await.ok().flatten().unwrap_or_default();
        for _ in 0..ROUNDS {
            let written = next(&record);
            if self.write_or_hold(&mut record, written).await {
                return;
            }
        }
        tracing::error!(profile = %self.profile.name, "a sign-in could not be stored: others keep writing");
    }
}

/// Files are nothing for the thread that drives the network.
async fn write(file: &Path, token: &Secret) -> io::Result<PathBuf> {
    let (to, token) = (file.to_owned(), token.clone());
    let written = tokio::task::spawn_blocking(move || private_file::write(&to, token.expose())).await;
    written.unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into())).map(|()| file.to_owned())
}
