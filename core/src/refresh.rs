//! One renewal: lease, adopt, intent, send, write, publish (DESIGN.md 5), with the retry table of DESIGN.md 4.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Deadline, Moment};
use crate::error::{Error, ErrorCode};
use crate::profile::Profile;
use crate::provider::{Grant, GrantKind};
use crate::request;
use crate::response::{self, Asked, Verdict};
use crate::secret::Secret;
use crate::source::{Outcome, Pause, PauseKind, Source, random_unit};
use crate::store::{LEASE, Owner, Record, RecordName, StoredFailure, StoredRefresh, StoredToken, Swap};
use crate::token::{Issued, Published};
use crate::windows::{WindowRules, Windows};

/// Attempts in one flight.
const ATTEMPTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A remembered refusal: the first time, and at most.
const FIRST_REFUSAL: Duration = Duration::from_secs(5);
const LONGEST_REFUSAL: Duration = Duration::from_secs(300);
/// This many takeovers of a session within this time mean that another party uses the account.
const TAKEOVERS: usize = 3;
const TAKEOVER_WINDOW: Duration = Duration::from_secs(60);
const FIRST_CONFLICT: Duration = Duration::from_secs(30);
const LONGEST_CONFLICT: Duration = Duration::from_secs(900);
/// How often a renewal starts over because its token was rejected while it was under way.
const ROUNDS: u32 = 3;
/// The same token with the same end, give or take.
const SAME_END: Duration = Duration::from_secs(10);

/// A renewal that gave no token.
struct Failure {
    error: Error,
    verdict: Verdict,
    /// Until then nothing is tried; the store said so already.
    remembered: Option<Pause>,
}

/// A token, from the server or from a sibling.
struct Obtained {
    published: Arc<Published>,
    /// What is still to be written, after publishing.
    behind: Option<(u64, Box<Record>)>,
}

/// What one request gave.
enum Sent {
    Issued(Box<Issued>, Moment),
    Adopted(Obtained),
}

/// Renews, publishes, and tells the outcome through `tell` as soon as it stands; the store may be written after that.
pub(crate) async fn renew(source: &Arc<Source>, tell: impl Fn(Outcome)) -> Outcome {
    let _turn = source.turn().await;
    let mut round = 0;
    loop {
        round += 1;
        source.reread_files();
        let brief = source.brief();
        let profile = source.profile();
        let about = |error: Error| error.about(&profile.name, profile.provider.name());
        let now = source.core.clock.now();
        let renewal = Renewal {
            source,
            name: RecordName::new(source.core.store.naming_key(), &profile.identity()),
            owner: source.core.running()?.new_owner(),
            floor: brief.floor,
            rejected: brief.rejected,
            forget: brief.forget,
            deadline: now.after(profile.timeout),
            profile: &profile,
        };
        let result = renewal.run().await;
        let outcome = match result {
            Ok(obtained) => {
                let fits = source.publish(&obtained.published, brief.epoch);
                if fits {
                    tracing::debug!(profile = %profile.name, generation = obtained.published.generation, "token published");
                    tell(Ok(obtained.published.clone()));
                }
                renewal.write_behind(obtained.behind).await;
                fits.then_some(Ok(obtained.published))
            }
            Err(failure) => {
                let error = about(failure.error.clone());
                tracing::warn!(profile = %profile.name, code = %error.code(), "token not renewed");
                let pause = renewal.remember(failure, &error).await;
                source.remember(pause, brief.epoch);
                Some(Err(error))
            }
        };
        renewal.give_back_lease().await;
        match outcome {
            Some(outcome) => return outcome,
            None if source.is_closed() => return Err(Error::closed()),
            None if round >= ROUNDS => {
                return Err(about(
                    Error::new(ErrorCode::AccessDenied, "the token was rejected while it was renewed, again and again")
                        .with_retryable(true),
                ));
            }
            None => {}
        }
    }
}

struct Renewal<'a> {
    source: &'a Arc<Source>,
    profile: &'a Profile,
    name: RecordName,
    owner: Owner,
    floor: u64,
    rejected: bool,
    forget: bool,
    deadline: Deadline,
}

type Step<T> = std::result::Result<T, Failure>;

impl Renewal<'_> {
    async fn run(&self) -> Step<Obtained> {
        if self.profile.grant == GrantKind::Static {
            return self.fixed();
        }
        if let Some(adopted) = self.take_lease().await? {
            return Ok(adopted);
        }
        // The lease is renewed for as long as the work takes.
        let keep = async {
            loop {
                tokio::time::sleep(LEASE.mul_f64(0.3)).await;
                let _ = self.source.core.store.lease(&self.name, &self.owner).await;
            }
        };
        tokio::select! {
            result = self.under_lease() => result,
            () = keep => unreachable!("the loop above has no end"),
        }
    }

    /// A static token: there is nothing to ask and nothing to share.
    fn fixed(&self) -> Step<Obtained> {
        let template = self.profile.grant_definition().token.as_ref().expect("a checked static grant has a token");
        let text = request::render(template, &self.profile.scope(0), crate::provider::Place::Header, "token")?;
        let issued = Issued {
            access_token: Secret::new(text),
            token_type: "Bearer".to_owned(),
            lifetime: None,
            refresh_token: None,
            refresh_lifetime: None,
            scope: None,
            extras: serde_json::Map::new(),
        };
        let published = self.publishable(&issued, self.floor + 1, &self.now(), None)?;
        Ok(Obtained { published, behind: None })
    }

    /// Waits for the lease; a sibling that holds it may bring the token meanwhile.
    async fn take_lease(&self) -> Step<Option<Obtained>> {
        loop {
            if self.source.core.store.lease(&self.name, &self.owner).await? {
                return Ok(None);
            }
            if let Some(adopted) = self.load().await?.and_then(|record| self.adoptable(&record)) {
                return Ok(Some(adopted));
            }
            if self.deadline.passed(&self.now()) {
                return Err(Error::new(
                    ErrorCode::Timeout,
                    "another party holds the right to renew this token and has not finished",
                )
                .into());
            }
            tokio::time::sleep(Duration::from_millis(50).mul_f64(0.5 + random_unit())).await;
        }
    }

    async fn under_lease(&self) -> Step<Obtained> {
        let mut record = self.load().await?.unwrap_or_default();
        if let Some(adopted) = self.adoptable(&record) {
            return Ok(adopted);
        }
        if self.forget {
            record.failure = None;
            record.takeovers.clear();
            record.conflicts = 0;
        }
        if let Some(failure) = self.remembered(&record) {
            return Err(failure);
        }
        if self.rejected && self.profile.single_session() {
            self.note_takeover(&mut record).await?;
        }
        if let (Some(grant), Some(token)) = (self.profile.refresh_definition(), self.usable_refresh(&record))
            && let Some(obtained) = self.refresh(&mut record, grant, token).await?
        {
            return Ok(obtained);
        }
        let sent = self.send(self.profile.grant, self.profile.grant_definition(), None).await?;
        self.keep(record, sent, None).await
    }

    /// A refresh token that is worth sending: not expired, and not one that may be spent already (faults 46, 48).
    fn usable_refresh(&self, record: &Record) -> Option<Secret> {
        let refresh = record.refresh.as_ref().filter(|_| record.intent.is_none())?;
        let now = self.now().unix();
        let alive = refresh.lifetime.is_none_or(|lifetime| now < refresh.obtained_at + lifetime);
        alive.then(|| refresh.token.clone())
    }

    /// Uses the refresh token; `None`: it is of no more use, sign in instead.
    async fn refresh(&self, record: &mut Record, grant: &Grant, token: Secret) -> Step<Option<Obtained>> {
        let rotates = self.profile.rotates();
        if rotates {
            let intent = Record { intent: Some(self.now().unix()), ..record.clone() };
            if !self.write(record, intent).await? {
                return Ok(self.adoptable(record));
            }
        }
        let failure = match self.send(GrantKind::RefreshToken, grant, Some(&token)).await {
            Ok(sent) => return self.keep(record.clone(), sent, Some(token)).await.map(Some),
            Err(failure) => failure,
        };
        match failure.verdict {
            Verdict::NotSent | Verdict::NotApplied => {
                // Surely not spent: the intent is taken back.
                if rotates {
                    self.write(record, Record { intent: None, ..record.clone() }).await?;
                }
                Err(failure)
            }
            Verdict::Unknown | Verdict::Noise if !rotates => Err(failure),
            // Refused, or possibly spent: it is never sent again. A sibling may have renewed meanwhile.
            _ => {
                if let Some(fresh) = self.load().await?
                    && fresh.generation != record.generation
                {
                    *record = fresh;
                    if let Some(adopted) = self.adoptable(record) {
                        return Ok(Some(adopted));
                    }
                }
                self.write(record, Record { refresh: None, intent: None, ..record.clone() }).await?;
                Ok(None)
            }
        }
    }

    /// Sends one grant's request, again where the table allows it.
    async fn send(&self, kind: GrantKind, grant: &Grant, refresh_token: Option<&Secret>) -> Step<Sent> {
        let once_only = kind == GrantKind::RefreshToken && self.profile.rotates();
        let careful = kind != GrantKind::RefreshToken && self.profile.single_session();
        let mut attempt = 0;
        let mut unknown = 0;
        loop {
            attempt += 1;
            let failure = match self.send_once(kind, grant, refresh_token).await {
                Ok(sent) => return Ok(sent),
                Err(failure) => failure,
            };
            let again = match failure.verdict {
                Verdict::NotSent => failure.error.code() != ErrorCode::Tls,
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
            if !again || attempt >= ATTEMPTS {
                return Err(failure);
            }
            let pause = failure.error.retry_after().unwrap_or_else(|| self.jittered(backoff(attempt)));
            if pause >= self.deadline.left(&self.now()) {
                return Err(failure);
            }
            self.source.core.clock.sleep(pause).await;
        }
    }

    async fn send_once(&self, kind: GrantKind, grant: &Grant, refresh_token: Option<&Secret>) -> Step<Sent> {
        let sent = self.now();
        let mut request = request::token_request(self.profile, grant, refresh_token, sent.unix().as_millis())?;
        request.timeout = Some(self.deadline.left(&sent));
        let core = &self.source.core;
        let answer = {
            let _critical = match self.profile.rotates() || self.profile.single_session() {
                true => Some(core.running()?.critical()),
                false => None,
            };
            core.transport()?.send(request).await
        };
        let response = answer.map_err(|fault| Failure {
            verdict: if fault.sent { Verdict::Unknown } else { Verdict::NotSent },
            error: Error::new(fault.code, fault.message),
            remembered: None,
        })?;
        let asked = Asked { profile: self.profile, kind, sent_unix: sent.unix() };
        match response::read(&asked, &response) {
            Ok(issued) => Ok(Sent::Issued(Box::new(issued), sent)),
            Err(refusal) => Err(Failure { error: refusal.error, verdict: refusal.verdict, remembered: None }),
        }
    }

    /// Makes the record of a fresh token: written before anybody sees it where losing it would hurt, behind it elsewhere.
    async fn keep(&self, mut record: Record, sent: Sent, spent: Option<Secret>) -> Step<Obtained> {
        let (issued, sent) = match sent {
            Sent::Issued(issued, sent) => (*issued, sent),
            Sent::Adopted(adopted) => return Ok(adopted),
        };
        let previous = record.token.clone();
        let obtained_at = sent.unix();
        let refresh = match (&issued.refresh_token, spent) {
            (Some(token), _) => {
                Some(StoredRefresh { token: token.clone(), obtained_at, lifetime: issued.refresh_lifetime })
            }
            // RFC 6749 6: no new one means that the old one stays good (fault 49).
            (None, Some(_)) => record.refresh.clone(),
            (None, None) => None,
        };
        let generation = record.generation.max(self.floor) + 1;
        let renewed = Record {
            generation,
            token: Some(StoredToken { issued: issued.clone(), generation, sent_at: obtained_at }),
            refresh,
            intent: None,
            failure: None,
            takeovers: record.takeovers.clone(),
            conflicts: record.conflicts,
        };
        let durable_first = self.profile.rotates() || self.profile.single_session();
        let published = self.publishable(&issued, generation, &sent, previous.as_ref());
        if !durable_first {
            return Ok(Obtained { published: published?, behind: Some((record.generation, Box::new(renewed))) });
        }
        match self.write(&mut record, renewed).await {
            Ok(true) => {}
            Ok(false) => {
                // Somebody else renewed: theirs is the one that the siblings use.
                if let Some(adopted) = self.adoptable(&record) {
                    return Ok(adopted);
                }
                return Err(Error::new(
                    ErrorCode::Store,
                    "the record was changed by somebody else while it was renewed",
                )
                .with_retryable(true)
                .into());
            }
            Err(failure) => {
                // The token is good and the old one is gone: it lives on in memory.
                tracing::error!(profile = %self.profile.name, error = %failure.error, "the renewed token could not be stored");
            }
        }
        Ok(Obtained { published: published?, behind: None })
    }

    fn publishable(
        &self,
        issued: &Issued,
        generation: u64,
        sent: &Moment,
        previous: Option<&StoredToken>,
    ) -> Step<Arc<Published>> {
        let clock = &self.source.core.clock;
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
        let scheme = &self.profile.provider.definition().attach.scheme;
        let published = Published::new(issued, scheme, generation, *sent, windows, clock);
        if !published.valid(&clock.now()) {
            return Err(Failure {
                error: Error::protocol("the token had already expired when it arrived").with_retryable(true),
                verdict: Verdict::Unknown,
                remembered: None,
            });
        }
        Ok(Arc::new(published))
    }

    /// A token in the record that is newer than any this source has had, and not about to end.
    fn adoptable(&self, record: &Record) -> Option<Obtained> {
        let token = record.token.as_ref().filter(|token| token.generation > self.floor)?;
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
        let scheme = &self.profile.provider.definition().attach.scheme;
        let published = Published::new(&token.issued, scheme, token.generation, sent, windows, &self.source.core.clock);
        Some(Obtained { published: Arc::new(published), behind: None })
    }

    fn rules(&self) -> WindowRules {
        WindowRules {
            buffer: self.profile.buffer,
            ahead: self.profile.ahead,
            spread: self.source.spread(),
            mode: self.profile.mode,
        }
    }

    /// A failure that somebody met with this very secret, whose time is not over.
    fn remembered(&self, record: &Record) -> Option<Failure> {
        let failure = record.failure.as_ref().filter(|failure| failure.fingerprint == self.profile.fingerprint)?;
        let now = self.now();
        let left = failure.until.checked_sub(now.unix()).filter(|left| !left.is_zero())?;
        let kind = match (failure.last, failure.error.code()) {
            (true, _) => PauseKind::Final,
            (false, ErrorCode::SessionConflict) => PauseKind::Refused,
            (false, _) => PauseKind::Transient,
        };
        let pause = Pause { until: now.after(left), error: failure.error.clone(), kind };
        Some(Failure { error: failure.error.clone(), verdict: Verdict::Final, remembered: Some(pause) })
    }

    /// Counts a takeover of the account's only session; too many in a minute, and qauth steps back instead of fighting.
    async fn note_takeover(&self, record: &mut Record) -> Step<()> {
        let now = self.now();
        let mut next = record.clone();
        next.takeovers.retain(|at| now.unix().saturating_sub(*at) < TAKEOVER_WINDOW);
        next.takeovers.push(now.unix());
        // A session that lasted shows that the other party is gone: a new conflict starts with a short pause again.
        if record.token.as_ref().is_some_and(|token| now.unix().saturating_sub(token.sent_at) >= LONGEST_CONFLICT) {
            next.conflicts = 0;
        }
        if next.takeovers.len() < TAKEOVERS {
            self.write(record, next).await?;
            return Ok(());
        }
        let wait = (FIRST_CONFLICT * (1 << next.conflicts.min(5))).min(LONGEST_CONFLICT);
        let advice = self.profile.provider.definition().lifetime.conflict_advice.as_deref();
        let error = Error::new(
            ErrorCode::SessionConflict,
            format!(
                "another party keeps taking over this account's only session{}",
                advice.map(|advice| format!(": {advice}")).unwrap_or_default()
            ),
        )
        .with_retry_after(Some(wait))
        .about(&self.profile.name, self.profile.provider.name());
        next.conflicts += 1;
        next.takeovers.clear();
        next.failure = Some(StoredFailure {
            error: error.clone(),
            fingerprint: self.profile.fingerprint.clone(),
            until: now.unix() + wait,
            last: false,
            count: 0,
        });
        self.write(record, next).await?;
        let pause = Pause { until: now.after(wait), error: error.clone(), kind: PauseKind::Refused };
        Err(Failure { error, verdict: Verdict::Final, remembered: Some(pause) })
    }

    /// Writes a failure into the record, so that siblings do not repeat it, and says how long to be silent.
    async fn remember(&self, failure: Failure, error: &Error) -> Pause {
        if let Some(pause) = failure.remembered {
            return pause;
        }
        let now = self.now();
        let last = failure.verdict == Verdict::Final;
        let mut record = self.load().await.ok().flatten().unwrap_or_default();
        let before = record
            .failure
            .as_ref()
            .filter(|before| before.fingerprint == self.profile.fingerprint && before.last == last);
        let count = before.map_or(0, |before| before.count) + 1;
        let wait = match last {
            true => (FIRST_REFUSAL * (1 << (count - 1).min(6))).min(LONGEST_REFUSAL),
            false => error.retry_after().unwrap_or_else(|| self.jittered(backoff(ATTEMPTS + count - 1))),
        };
        let stored = StoredFailure {
            error: error.clone(),
            fingerprint: self.profile.fingerprint.clone(),
            until: now.unix() + wait,
            last,
            count,
        };
        let next = Record { failure: Some(stored), ..record.clone() };
        if let Err(failure) = self.write(&mut record, next).await {
            tracing::warn!(profile = %self.profile.name, error = %failure.error, "a failure could not be stored");
        }
        let kind = if last { PauseKind::Final } else { PauseKind::Transient };
        Pause { until: now.after(wait), error: error.clone(), kind }
    }

    /// Writes `next` over `record` if nobody else wrote meanwhile; otherwise `record` becomes what stands there.
    async fn write(&self, record: &mut Record, next: Record) -> Step<bool> {
        let next = Record { generation: next.generation.max(record.generation + 1), ..next };
        match self.source.core.store.compare_and_set(&self.name, record.generation, next.clone()).await? {
            Swap::Stored => {
                *record = next;
                Ok(true)
            }
            Swap::Lost(winner) => {
                *record = winner.map(|winner| *winner).unwrap_or_default();
                Ok(false)
            }
        }
    }

    async fn write_behind(&self, behind: Option<(u64, Box<Record>)>) {
        let Some((expected, record)) = behind else { return };
        // A loser here has a good token all the same, and so has the winner.
        if let Err(error) = self.source.core.store.compare_and_set(&self.name, expected, *record).await {
            tracing::warn!(profile = %self.profile.name, %error, "a token could not be stored");
        }
    }

    async fn give_back_lease(&self) {
        if self.profile.grant != GrantKind::Static {
            let _ = self.source.core.store.release(&self.name, &self.owner).await;
        }
    }

    async fn load(&self) -> Step<Option<Record>> {
        Ok(self.source.core.store.load(&self.name).await?)
    }

    fn now(&self) -> Moment {
        self.source.core.clock.now()
    }

    /// Jitter over the upper half; none on a manual clock, where runs must repeat.
    fn jittered(&self, pause: Duration) -> Duration {
        if self.source.core.clock.is_manual() { pause } else { pause.mul_f64(0.5 + 0.5 * random_unit()) }
    }
}

/// 100 ms, doubling to 10 s.
fn backoff(attempt: u32) -> Duration {
    (FIRST_PAUSE * (1 << (attempt - 1).min(7))).min(LONGEST_PAUSE)
}

impl From<Error> for Failure {
    /// A fault on our side of the wire: nothing was sent. What is configured wrongly stays wrong.
    fn from(error: Error) -> Failure {
        let verdict = if error.retryable() { Verdict::NotSent } else { Verdict::Final };
        Failure { error, verdict, remembered: None }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        failure.error
    }
}
