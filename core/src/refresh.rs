//! One renewal: lease, adopt, intent, send, write, publish (DESIGN.md 5), with the retry table of DESIGN.md 4.

mod clear;
mod credentials;
mod failures;
mod lease;
mod record;
mod sign_in;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use crate::clock::{Deadline, Moment};
use crate::custom::{self, Desk};
use crate::dpop::DpopKey;
use crate::error::{Error, ErrorCode};
use crate::exchange::{self, Exchange};
use crate::metrics::Tally;
use crate::profile::Profile;
use crate::provider::{Grant, GrantKind, Place};
use crate::record_name::RecordName;
use crate::request;
use crate::response::{self, Refusal, Verdict};
use crate::runtime::Core;
use crate::secret::Secret;
use crate::signing;
use crate::store::{Owner, Record, StoredRefresh};
use crate::token::{Issued, Published};

pub(crate) use self::failures::{Pause, PauseKind};

/// Attempts in one flight.
const ATTEMPTS: u32 = 4;
/// However late it is, this long an answer is waited for that must not be lost; at most half of the profile's `timeout`.
const LEAST_FOR_ANSWER: Duration = Duration::from_secs(5);
/// How often a flight begins again, since somebody else was there before it could send anything.
const BEGINNINGS: u32 = 16;

/// A renewal that gave no token.
pub(crate) struct Failure {
    pub(crate) error: Error,
    verdict: Verdict,
    /// Until then nothing is tried; the store said so already.
    remembered: Option<Pause>,
}

/// A token, from the server or from a sibling.
pub(crate) struct Obtained {
    pub(crate) published: Arc<Published>,
    /// A sibling had obtained it.
    pub(crate) adopted: bool,
    /// What is still to be written, after publishing.
    behind: Option<(u64, Arc<Record>)>,
}

/// A refresh token to be sent; `seed` is its digest where a sign-in left it.
struct Usable {
    token: Secret,
    seed: Option<String>,
}

/// What one request gave.
enum Sent {
    Issued(Box<Issued>, Moment),
    Adopted(Obtained),
}

/// What a renewal starts from.
#[derive(Clone)]
pub(crate) struct Brief {
    /// Only tokens with a larger generation count as new.
    pub(crate) floor: u64,
    /// It answers a rejection by the API.
    pub(crate) rejected: bool,
    /// What the store remembers of failures is cleared first.
    pub(crate) forget: bool,
    /// Who takes the lease.
    pub(crate) owner: Owner,
    /// The source's share of the spread (see [`WindowRules`]).
    pub(crate) spread: f64,
    /// Until then callers are served a token for which none of them has to wait.
    pub(crate) unhurried_until: Option<Deadline>,
    /// The end of the token that callers are served meanwhile.
    pub(crate) served_until: Option<Deadline>,
    /// Where its requests are counted.
    pub(crate) tally: Arc<Tally>,
    /// What this source has lent, so that no server's text repeats it.
    pub(crate) lent: Option<Secret>,
}

/// One renewal of one profile's token.
pub(crate) struct Renewal<'a> {
    core: &'a Core,
    profile: &'a Profile,
    /// Where calls of the host's function are laid, if there is one.
    desk: Option<&'a Desk>,
    brief: Brief,
    name: RecordName,
    deadline: Deadline,
    attempts: AtomicU32,
    /// A token ended on its way by some clock, though the way was shorter than its life.
    jumped: AtomicBool,
    /// What the store remembered of failures has been cleared.
    forgot: AtomicBool,
    /// The store is of no use: what is obtained lives in this process.
    alone: AtomicBool,
    /// Before it could send anything, another party was there.
    is_overtaken: AtomicBool,
    /// The takeover that it answers stands in the record.
    noted_takeover: AtomicBool,
    /// The lease was asked for and not refused: it is to be given back.
    may_hold_lease: AtomicBool,
}

type Step<T> = std::result::Result<T, Failure>;

impl<'a> Renewal<'a> {
    pub(crate) fn new(core: &'a Core, profile: &'a Profile, desk: Option<&'a Desk>, brief: Brief) -> Renewal<'a> {
        Renewal {
            core,
            profile,
            desk,
            name: profile.record_name(),
            deadline: core.clock.now().limit(profile.timeout),
            attempts: AtomicU32::new(0),
            jumped: AtomicBool::new(false),
            forgot: AtomicBool::new(false),
            alone: AtomicBool::new(false),
            is_overtaken: AtomicBool::new(false),
            noted_takeover: AtomicBool::new(false),
            may_hold_lease: AtomicBool::new(false),
            brief,
        }
    }

    /// A token, written where it must be before anybody sees it; the rest of the writing is [`Renewal::finish`]'s.
    pub(crate) async fn run(&self) -> Step<Obtained> {
        if matches!(self.profile.grant, GrantKind::Static | GrantKind::SelfSigned) {
            return self.made_here();
        }
        for _ in 0..BEGINNINGS {
            match self.take_lease().await {
                Ok(None) => {}
                Ok(Some(adopted)) => return Ok(adopted),
                Err(failure) if self.can_do_without(&failure.error) => {
                    return self.alone().await;
                }
                Err(failure) => return Err(failure),
            }
            let result = self.while_kept(self.despite_jumps()).await;
            // Whoever came before us brings the token.
            let overtaken = self.is_overtaken.swap(false, Ordering::Relaxed);
            // The store went away since the lease was had.
            if let Err(Failure { error, .. }) = &result
                && error.code() == ErrorCode::StoreUnavailable
                && self.can_do_without(error)
            {
                return self.alone().await;
            }
            if result.is_ok() || !overtaken || self.deadline.passed(&self.now()) {
                return result;
            }
        }
        Err(self.overtaken())
    }

    /// Obtains a token for this process, since the store is of no use. If it is written all the same, by others, theirs is
    /// taken.
    async fn alone(&self) -> Step<Obtained> {
        self.alone.store(true, Ordering::Relaxed);
        let result = self.despite_jumps().await;
        match self.is_overtaken.swap(false, Ordering::Relaxed) {
            true if result.is_err() => self.of_sibling().await.map_or(result, Ok),
            _ => result,
        }
    }

    /// Whether a token can be obtained without this store. One that cannot be reached may hold a sibling's token, which a
    /// login would kill, or whose refresh token would be spent twice. One that is there but fails keeps nothing, so that who can sign in
    /// does.
    fn can_do_without(&self, error: &Error) -> bool {
        match error.code() {
            // Nor while a token is served that is not stale: a fleet would log in once each, and the store may be back soon.
            ErrorCode::StoreUnavailable => !self.durable_first() && !self.is_unhurried(),
            ErrorCode::Store => !self.needs_person(),
            _ => false,
        }
    }

    /// A token that is given, or signed here: there is nobody to ask and nothing to share.
    fn made_here(&self) -> Step<Obtained> {
        let template =
            self.profile.grant_definition().token.as_ref().expect("a checked grant of this kind has a token");
        let now = self.now();
        let mut scope = self.profile.scope(now.unix().as_millis(), None);
        signing::sign(self.profile, [template].into_iter(), &mut scope)?;
        let text = request::render(template, &scope, Place::Header, "token")?;
        let lifetime = match self.profile.grant {
            GrantKind::SelfSigned => Some(response::signed_lifetime(self.profile, &text, now.unix())),
            _ => None,
        };
        let issued = Issued {
            access_token: Secret::new(text),
            token_type: "Bearer".to_owned(),
            lifetime,
            refresh_token: None,
            refresh_lifetime: None,
            scope: None,
            extras: serde_json::Map::new(),
        };
        let published = self.publishable(&issued, self.brief.floor + 1, &now, None, None)?;
        Ok(Obtained { published, adopted: false, behind: None })
    }

    /// Whether it was to clear what the store remembers of failures, and has not come so far.
    pub(crate) fn owes_forgetting(&self) -> bool {
        self.brief.forget && !self.forgot.load(Ordering::Relaxed)
    }

    /// Whether a remembered failure is the last word: it is cleared first where that was asked for, and a refused login says
    /// nothing of a refresh token.
    fn holds_back(&self, failure: &Failure, record: &Record) -> bool {
        let refreshes = self.is_of_login(&failure.error) && self.usable_refresh(record).is_some();
        !refreshes && !self.owes_forgetting()
    }

    /// A machine that slept, or whose wall clock was set, while the answer was under way has a token that ended before it
    /// came. Who waits wants another one (fault 20).
    async fn despite_jumps(&self) -> Step<Obtained> {
        let result = self.under_lease().await;
        match result {
            Err(_) if self.jumped.load(Ordering::Relaxed) && self.attempts.load(Ordering::Relaxed) < ATTEMPTS => {
                self.under_lease().await
            }
            result => result,
        }
    }

    async fn under_lease(&self) -> Step<Obtained> {
        let mut record = self.load().await?.unwrap_or_default();
        if let Some(adopted) = self.adoptable(&record) {
            return Ok(adopted);
        }
        if self.brief.forget {
            if let Some(forgotten) = forgotten(&record) {
                self.note(&mut record, forgotten).await?;
            }
            self.forget_for_all().await;
            self.forgot.store(!self.alone.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        let refused_for_all = if self.brief.forget { None } else { self.refused_for_all().await? };
        let for_all = || self.remembered(refused_for_all.as_ref()?);
        let login_refused = match self.remembered(&record).or_else(for_all) {
            Some(failure) if self.holds_back(&failure, &record) => return Err(failure),
            failure => failure,
        };
        self.count_attempts_of(&record);
        if self.brief.rejected && self.profile.single_session() && !self.noted_takeover.load(Ordering::Relaxed) {
            self.note_takeover(&mut record).await?;
            // One rejection is one takeover, however often it begins again.
            self.noted_takeover.store(true, Ordering::Relaxed);
        }
        // Close waits from the first byte sent until the answer is written.
        let _critical = if self.durable_first() { Some(self.core.running()?.critical()) } else { None };
        let dpop = self.dpop_key(&record)?;
        // At most two: the record's own, and the one that a person's sign-in has left since.
        for _ in 0..2 {
            let (Some(grant), Some(token)) = (self.profile.refresh_definition(), self.usable_refresh(&record)) else {
                break;
            };
            if let Some(obtained) = self.refresh(&mut record, grant, token, dpop.as_ref()).await? {
                return Ok(obtained);
            }
        }
        if self.profile.grant.interactive() {
            let error = exchange::sign_in_needed(self.profile);
            return Err(Failure { error, verdict: Verdict::Final, remembered: None });
        }
        if let Some(failure) = login_refused {
            return Err(failure);
        }
        let sent = self.send(self.profile.grant, self.profile.grant_definition(), None, dpop.as_ref(), &record).await?;
        if refused_for_all.is_some() {
            self.forget_for_all().await;
        }
        self.keep(&mut record, sent, None, dpop.as_ref()).await
    }

    /// The key that the token will be bound to: the profile's, the one of the tokens before, or a new one.
    fn dpop_key(&self, record: &Record) -> Step<Option<DpopKey>> {
        if !self.profile.dpop {
            return Ok(None);
        }
        if let Some(given) = &self.profile.dpop_key {
            return Ok(Some(given.clone()));
        }
        let key = match &record.dpop_key {
            Some(stored) => DpopKey::from_stored(stored)?,
            None => DpopKey::generate()?,
        };
        Ok(Some(key))
    }

    /// Whether losing the answer would hurt: the old token is dead by then.
    fn durable_first(&self) -> bool {
        self.profile.rotates() || self.profile.single_session()
    }

    /// A refresh token that is worth sending. First the profile's own, once: a sign-in, or another process, has left it
    /// since the record was written. Else the record's: not expired, and not one that may be spent already (faults 46, 48).
    fn usable_refresh(&self, record: &Record) -> Option<Usable> {
        let left = self.profile.signed_in.as_ref().filter(|signed_in| signed_in.is_current()).and_then(|signed_in| {
            let seed = signed_in.digest().filter(|digest| record.seed.as_ref() != Some(digest))?;
            Some(Usable { token: signed_in.refresh_token.clone()?, seed: Some(seed) })
        });
        let now = self.now().unix();
        let alive =
            |refresh: &&StoredRefresh| refresh.lifetime.is_none_or(|lifetime| now < refresh.obtained_at + lifetime);
        left.or_else(|| Some(Usable { token: self.unspent(record).filter(alive)?.token.clone(), seed: None }))
    }

    /// The record's refresh token, unless it may be spent. Where only a person could sign in anew, it is worth the try.
    fn unspent<'r>(&self, record: &'r Record) -> Option<&'r StoredRefresh> {
        record.refresh.as_ref().filter(|_| record.intent.is_none() || self.needs_person())
    }

    fn needs_person(&self) -> bool {
        self.profile.grant.interactive()
    }

    /// Uses the refresh token; `None`: it is of no more use, sign in instead.
    async fn refresh(
        &self,
        record: &mut Arc<Record>,
        grant: &Grant,
        usable: Usable,
        dpop: Option<&DpopKey>,
    ) -> Step<Option<Obtained>> {
        let Usable { token, seed } = usable;
        let rotates = self.profile.rotates();
        let before = self.unspent(record).cloned();
        // A sign-in whose first use a crash cuts short is not lost: where it is worth a second try, it stands in the record.
        let obtained_at = self.now().unix();
        let left = seed.as_ref().map(|_| StoredRefresh { token: token.clone(), obtained_at, lifetime: None });
        if rotates || seed.is_some() {
            let intent = Record {
                intent: rotates.then(|| self.now().unix()),
                seed: seed.clone().or_else(|| record.seed.clone()),
                // Whatever becomes of this one, a token that may be spent is not used afterwards.
                refresh: left.or_else(|| before.clone()),
                ..Record::clone(record)
            };
            match self.write(record, intent).await {
                Ok(true) => {}
                Ok(false) => return self.adoptable(record).map(Some).ok_or_else(|| self.overtaken()),
                // The store cannot be written: the refresh token stays unspent, and the profile signs in if it can.
                Err(failure) if self.can_do_without(&failure.error) => return Ok(None),
                Err(failure) => return Err(failure),
            }
        }
        let failure = match self.send(GrantKind::RefreshToken, grant, Some(&token), dpop, record).await {
            Ok(sent) => return self.keep(record, sent, Some(token.clone()), dpop).await.map(Some),
            Err(failure) => failure,
        };
        // Whoever came before us goes on from what stands there.
        if self.is_overtaken.load(Ordering::Relaxed) {
            return Err(failure);
        }
        let refused = failure.verdict == Verdict::Final
            && matches!(failure.error.code(), ErrorCode::InvalidGrant | ErrorCode::ReauthenticationRequired);
        match failure.verdict {
            // Surely not spent: the intent is taken back. And a person is called for a refused sign-in alone: not for a
            // server that fails, and not for a mistake that signing in again would not mend.
            verdict
                if matches!(verdict, Verdict::NotSent | Verdict::NotApplied) || (self.needs_person() && !refused) =>
            {
                if rotates || seed.is_some() {
                    let kept = if seed.is_some() { None } else { record.seed.clone() };
                    let intent = record.intent.filter(|_| verdict == Verdict::Unknown);
                    // Not written, it counts as maybe spent: safe, if dear.
                    let _ = self
                        .write(record, Record { intent, seed: kept, refresh: before, ..Record::clone(record) })
                        .await;
                }
                Err(failure)
            }
            // Refused, or possibly spent: it is never sent again.
            _ => self.give_up(record, &token, before).await,
        }
    }

    /// Sends one grant's request, again where the table allows it.
    async fn send(
        &self,
        kind: GrantKind,
        grant: &Grant,
        refresh_token: Option<&Secret>,
        dpop: Option<&DpopKey>,
        record: &Record,
    ) -> Step<Sent> {
        // Servers rotate without saying so: a refresh token is never sent again blindly, whatever the provider file says.
        let once_only = kind == GrantKind::RefreshToken;
        let careful = kind != GrantKind::RefreshToken && self.profile.single_session();
        let mut unknown = 0;
        loop {
            let attempt = self.attempts.fetch_add(1, Ordering::Relaxed) + 1;
            let failure = match self.send_once(kind, grant, refresh_token, dpop, record).await {
                Ok(sent) => return Ok(sent),
                Err(failure) => failure,
            };
            let again = match failure.verdict {
                // A certificate that is refused now is refused in a second too.
                Verdict::NotSent => failure.error.retryable(),
                Verdict::NotApplied => true,
                Verdict::Unknown if once_only => false,
                Verdict::Unknown if careful => {
                    unknown += 1;
                    if let Some(adopted) = self.load().await?.and_then(|record| self.adoptable(&record)) {
                        return Ok(Sent::Adopted(adopted));
                    }
                    unknown == 1
                }
                Verdict::Unknown => true,
                Verdict::Final | Verdict::Noise => false,
            };
            if !again || attempt >= ATTEMPTS || self.is_overtaken.load(Ordering::Relaxed) {
                return Err(failure);
            }
            let pause = self.pause(&failure.error, attempt);
            if pause >= self.deadline.left(&self.now()) {
                return Err(failure);
            }
            self.core.clock.sleep(pause).await;
        }
    }

    async fn send_once(
        &self,
        kind: GrantKind,
        grant: &Grant,
        refresh_token: Option<&Secret>,
        dpop: Option<&DpopKey>,
        record: &Record,
    ) -> Step<Sent> {
        self.check_turn(record).await?;
        if kind == GrantKind::Custom {
            let (issued, sent) = custom::obtain(self.core, self.profile, self.desk, &self.deadline).await?;
            return Ok(Sent::Issued(Box::new(issued), sent));
        }
        let exchange = Exchange {
            core: self.core,
            profile: self.profile,
            kind,
            grant,
            given: refresh_token.map(|token| ("refresh_token", token.clone())).into_iter().collect(),
            dpop,
            lent: self.brief.lent.clone(),
            deadline: self.deadline_of(kind),
            tally: &self.brief.tally,
        };
        let (issued, sent) = exchange.run().await?;
        Ok(Sent::Issued(Box::new(issued), sent))
    }

    /// Until when an answer is waited for. One that must not be lost gets its time, however late its request is sent: callers
    /// have limits of their own.
    fn deadline_of(&self, kind: GrantKind) -> Deadline {
        let now = self.now();
        let least = LEAST_FOR_ANSWER.min(self.profile.timeout / 2);
        match kind == GrantKind::RefreshToken || self.durable_first() {
            true => now.limit(self.deadline.left(&now).max(least)),
            false => self.deadline,
        }
    }

    /// Whose token it renews.
    pub(crate) fn profile(&self) -> &'a Profile {
        self.profile
    }

    fn now(&self) -> Moment {
        self.core.clock.now()
    }
}

/// The record without what it remembers of failures, if it remembers any.
fn forgotten(record: &Record) -> Option<Record> {
    let any = record.failure.is_some() || !record.takeovers.is_empty() || record.conflicts > 0;
    any.then(|| Record { failure: None, takeovers: Vec::new(), conflicts: 0, ..record.clone() })
}

impl Failure {
    /// The record said so already: nothing was tried.
    pub(crate) fn remembered(&self) -> bool {
        self.remembered.is_some()
    }
}

impl From<Refusal> for Failure {
    fn from(Refusal { error, verdict }: Refusal) -> Failure {
        Failure { error, verdict, remembered: None }
    }
}

impl From<Error> for Failure {
    /// A fault on our side of the wire: nothing was sent, and no server has refused anything.
    fn from(error: Error) -> Failure {
        Failure { error, verdict: Verdict::NotSent, remembered: None }
    }
}
