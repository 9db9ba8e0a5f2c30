//! What a renewal reads in its record and writes into it: a token that a sibling has brought, the one that it obtained itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Failure, Obtained, Renewal, Sent, Step};
use crate::attach;
use crate::clock::Moment;
use crate::dpop::DpopKey;
use crate::error::Error;
use crate::exchange;
use crate::response::Verdict;
use crate::secret::Secret;
use crate::store::{About, Record, StoredRefresh, StoredToken, Swap};
use crate::token::{Issued, Published};
use crate::windows::{WindowRules, Windows};

/// The same token with the same end, give or take.
const SAME_END: Duration = Duration::from_secs(10);
/// How often somebody else may write something that is not newer than a fresh token.
const ROUNDS: u32 = 8;

impl Renewal<'_> {
    /// Makes the record of a fresh token: written before anybody sees it where losing it would hurt, behind it elsewhere.
    pub(super) async fn keep(
        &self,
        record: &mut Arc<Record>,
        sent: Sent,
        spent: Option<Secret>,
        dpop: Option<&DpopKey>,
    ) -> Step<Obtained> {
        let (issued, sent) = match sent {
            Sent::Issued(issued, sent) => (*issued, sent),
            Sent::Adopted(adopted) => return Ok(adopted),
        };
        let obtained_at = sent.unix();
        let refresh = match (&issued.refresh_token, spent) {
            (Some(token), _) => {
                Some(StoredRefresh { token: token.clone(), obtained_at, lifetime: issued.refresh_lifetime })
            }
            // RFC 6749 6: no new one means that the old one stays good (fault 49).
            (None, Some(token)) => {
                let kept = record.refresh.as_ref().filter(|refresh| refresh.token == token).cloned();
                Some(kept.unwrap_or(StoredRefresh { token, obtained_at, lifetime: None }))
            }
            (None, None) => None,
        };
        let seed = self.keep_successor(issued.refresh_token.as_ref(), record).await;
        let generation = self.after(record);
        let renewed = Record {
            generation,
            token: Some(StoredToken { issued: issued.clone(), generation, sent_at: obtained_at }),
            refresh,
            intent: None,
            failure: None,
            takeovers: record.takeovers.clone(),
            conflicts: record.conflicts,
            seed,
            dpop_key: dpop.and_then(|key| key.stored.clone()),
            about: self.about(),
            written: None,
        };
        let published = self.publishable(&issued, generation, &sent, record.token.as_ref(), dpop);
        if !self.durable_first() {
            return match published {
                Ok(published) => {
                    let behind = Some((record.generation, Arc::new(renewed)));
                    Ok(Obtained { published, adopted: false, behind })
                }
                // The token cannot be used, but the refresh token that came with it can.
                Err(failure) => {
                    self.write_or_hold(record, renewed).await;
                    Err(failure)
                }
            };
        }
        for _ in 0..ROUNDS {
            if self.write_or_hold(record, renewed.clone()).await {
                return Ok(Obtained { published: published?, adopted: false, behind: None });
            }
            // Somebody else renewed: theirs is the one that the siblings use.
            if let Some(adopted) = self.adoptable(record) {
                return Ok(adopted);
            }
            // A person has signed out meanwhile, and only a person signs in.
            if self.needs_person() && record.generation > 0 && record.is_cleared() {
                return Err(exchange::sign_in_needed(self.profile).into());
            }
            // What they wrote brings no token, and this one must not be lost.
        }
        // Nobody has a newer one, and it is good.
        self.hold(self.next(record, renewed));
        Ok(Obtained { published: published?, adopted: false, behind: None })
    }

    pub(super) fn publishable(
        &self,
        issued: &Issued,
        generation: u64,
        sent: &Moment,
        previous: Option<&StoredToken>,
        dpop: Option<&DpopKey>,
    ) -> Step<Arc<Published>> {
        let clock = &self.core.clock;
        let windows = match issued.lifetime {
            None => Windows::endless(),
            Some(lifetime) => {
                let windows = Windows::new(sent, lifetime, &self.rules());
                let end = sent.unix() + lifetime;
                let same = previous.is_some_and(|previous| {
                    let previous_end = previous.sent_at + previous.issued.lifetime.unwrap_or(Duration::MAX / 2);
                    previous.issued.access_token == issued.access_token && end <= previous_end + SAME_END
                });
                if same { windows.to_the_end() } else { windows }
            }
        };
        let affixes = attach::affixes(self.profile);
        let published = Published::new(issued, affixes, generation, *sent, windows, clock).bound_to(dpop);
        let now = clock.now();
        if !published.valid(&now) {
            let jumped = issued.lifetime.is_some_and(|lifetime| now.awake_since(sent) < lifetime);
            self.jumped.store(jumped, Ordering::Relaxed);
            return Err(Failure {
                error: Error::protocol("the token had already expired when it arrived").with_retryable(true),
                verdict: Verdict::Unknown,
                remembered: None,
            });
        }
        Ok(Arc::new(published))
    }

    /// A token in the record that is newer than any this source has had, and not about to end.
    pub(super) fn adoptable(&self, record: &Record) -> Option<Obtained> {
        let token = record.token.as_ref().filter(|token| token.generation > self.brief.floor)?;
        let lifetime = token.issued.lifetime?;
        let now = self.now();
        // A time in the future counts as just obtained: the remaining life is never more than the lifetime.
        let age = now.unix().saturating_sub(token.sent_at);
        let windows = Windows::new(&now, lifetime, &self.rules());
        if age >= windows.stale_at.left(&now) {
            return None;
        }
        let sent = now.before(age);
        let windows = Windows::new(&sent, lifetime, &self.rules());
        // A token that is bound to a key that is not there is of no use.
        let dpop = self.dpop_key(record).ok().filter(|_| !self.profile.dpop || self.has_dpop_key(record))?;
        let affixes = attach::affixes(self.profile);
        let published = Published::new(&token.issued, affixes, token.generation, sent, windows, &self.core.clock);
        let published = published.bound_to(dpop.as_ref());
        Some(Obtained { published: Arc::new(published), adopted: true, behind: None })
    }

    fn has_dpop_key(&self, record: &Record) -> bool {
        record.dpop_key.is_some() || self.profile.dpop_key.is_some()
    }

    fn rules(&self) -> WindowRules {
        WindowRules {
            buffer: self.profile.buffer,
            ahead: self.profile.ahead,
            spread: self.brief.spread,
            mode: self.profile.mode,
        }
    }

    /// The generation of what is written over this record. Where others share the store it counts in milliseconds since
    /// 1970: in a store that has lost its newest records, or all of them, what is written anew is newer than what was there.
    pub(super) fn after(&self, record: &Record) -> u64 {
        let next = record.generation.max(self.brief.floor) + 1;
        match self.core.store.shared() {
            true => next.max(self.now().unix().as_millis() as u64),
            false => next,
        }
    }

    pub(super) fn about(&self) -> About {
        About { profile: self.profile.name.clone(), provider: self.profile.provider.name().to_owned() }
    }

    /// What is written over `record`.
    fn next(&self, record: &Record, next: Record) -> Arc<Record> {
        let generation = next.generation.max(self.after(record));
        Arc::new(Record { generation, about: self.about(), ..next })
    }

    /// Writes `next` over `record` if nobody else wrote meanwhile; otherwise `record` becomes what stands there.
    pub(super) async fn write(&self, record: &mut Arc<Record>, next: Record) -> Step<bool> {
        let next = self.next(record, next);
        match self.core.store.compare_and_set(&self.name, record.generation, next.clone()).await? {
            Swap::Stored => {
                *record = next;
                Ok(true)
            }
            Swap::Lost(winner) => {
                *record = winner.unwrap_or_default();
                Ok(false)
            }
        }
    }

    /// The same for what must not be lost, and for what is of use in this process alone: where the store cannot be written,
    /// it lives on in memory, and is written later (fault 47).
    pub(super) async fn write_or_hold(&self, record: &mut Arc<Record>, next: Record) -> bool {
        match self.write(record, next.clone()).await {
            Ok(written) => written,
            Err(failure) => {
                tracing::error!(profile = %self.profile.name, error = %failure.error, "a record could not be stored; it is kept in memory, and written as soon as that is possible");
                let next = self.next(record, next);
                self.hold(next.clone());
                *record = next;
                true
            }
        }
    }

    /// What is written before anything is sent, and is for this process alone where the store is of no use.
    pub(super) async fn note(&self, record: &mut Arc<Record>, next: Record) -> Step<()> {
        let written = match self.alone.load(Ordering::Relaxed) {
            true => self.write_or_hold(record, next).await,
            false => self.write(record, next).await?,
        };
        if written { Ok(()) } else { Err(self.overtaken()) }
    }

    /// The refresh token that was sent is not sent again: refused, or possibly spent. A sibling may have renewed meanwhile,
    /// and what it left stays, as does what stood there before.
    pub(super) async fn give_up(
        &self,
        record: &mut Arc<Record>,
        token: &Secret,
        before: Option<StoredRefresh>,
    ) -> Step<Option<Obtained>> {
        let ours = record.generation;
        let read = self.load().await;
        // What a process knows of a store that does not answer says nothing of its siblings.
        let read = read.and_then(|fresh| match self.core.store.trouble() {
            Some(trouble) => Err(trouble.into()),
            None => Ok(fresh),
        });
        if let Ok(Some(fresh)) = &read {
            *record = fresh.clone();
        }
        for _ in 0..ROUNDS {
            if let Some(adopted) = self.adoptable(record) {
                return Ok(Some(adopted));
            }
            let left = if record.generation == ours { before.clone() } else { record.refresh.clone() };
            let refresh = left.filter(|kept| kept.token != *token);
            let next = Record { refresh, intent: None, ..Record::clone(record) };
            if self.write_or_hold(record, next).await {
                break;
            }
        }
        match read {
            // Nobody is called for a refusal that a sibling may have mended.
            Err(failure) if self.needs_person() => Err(failure),
            _ => Ok(None),
        }
    }

    /// Writes what was published first.
    pub(crate) async fn write_behind(&self, obtained: &mut Obtained) {
        let Some((expected, record)) = obtained.behind.take() else { return };
        // A loser here has a good token all the same, and so has the winner.
        if let Err(error) = self.core.store.compare_and_set(&self.name, expected, record.clone()).await {
            tracing::warn!(profile = %self.profile.name, %error, "a token could not be stored; it is written later");
            self.hold(record);
        }
    }

    /// Keeps in memory what could not be written. Where a maybe-spent refresh token would be tried by a sibling, since only a
    /// person could do more, the lease is kept until it is written.
    fn hold(&self, record: Arc<Record>) {
        let lease = self.needs_person().then(|| self.brief.owner.clone());
        self.core.store.hold(&self.name, record, lease);
    }

    /// A sibling's token, if there is one that is newer than any this source has had.
    pub(crate) async fn of_sibling(&self) -> Option<Obtained> {
        self.adoptable(self.load().await.ok()?.as_deref()?)
    }

    /// Gives the lease back; the last step.
    pub(crate) async fn finish(&self) {
        if !self.core.store.keeps_lease(&self.name) && self.may_hold_lease.swap(false, Ordering::Relaxed) {
            let _ = self.core.store.release(&self.name, &self.brief.owner).await;
        }
    }

    pub(super) async fn load(&self) -> Step<Option<Arc<Record>>> {
        match self.core.store.load(&self.name).await {
            Err(_) if self.alone.load(Ordering::Relaxed) => Ok(None),
            loaded => Ok(loaded?),
        }
    }
}
