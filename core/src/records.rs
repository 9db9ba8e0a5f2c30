//! What the store holds, for the people who look after it: each record in words and times, and how to empty one.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::error::{Error, ErrorCode, Result};
use crate::refresh::Renewal;
use crate::registry::Registry;
use crate::runtime::Core;
use crate::source::Source;
use crate::store::{Listed, Record, StoredRefresh};

/// One record of the store: a profile's token and what is remembered of it. It holds no token and no secret. Times are
/// in seconds since 1970, by the clock of whoever wrote them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RecordInfo {
    /// The store's own name for it, by which its file or key is found; `None` in a store of kind memory.
    pub name: Option<String>,
    /// The profile that wrote it last: others with the same credentials have the same record. `None` if it cannot be read.
    pub profile: Option<String>,
    /// That profile's provider.
    pub provider: Option<String>,
    /// How it stands, in a word.
    pub state: RecordState,
    /// Rises with every write; 0 if it cannot be read.
    pub generation: u64,
    /// When the access token was asked for.
    pub obtained_at: Option<u64>,
    /// When the access token ends, or ended; `None` without one, and for one without an end.
    pub expires_at: Option<u64>,
    /// Whether there is a refresh token.
    pub has_refresh_token: bool,
    /// When it ends, or ended, if that is known.
    pub refresh_expires_at: Option<u64>,
    /// The failure that is remembered, while it is.
    pub failure: Option<ErrorCode>,
    /// Until then it is, and nothing is tried.
    pub failure_until: Option<u64>,
    /// When it was written; `None` in a store of kind memory.
    pub written_at: Option<u64>,
    /// By which host and process.
    pub written_by: Option<String>,
    /// Why it cannot be read.
    pub error: Option<Error>,
}

/// How a record stands: the first of these that is true of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RecordState {
    /// It cannot be read.
    Unreadable,
    /// Another party kept taking over the account's only session: qauth has stepped back for a while.
    Conflict,
    /// The server refused the credentials, or the request, for good: it is not asked again for a while.
    Refused,
    /// A renewal failed, and the next one waits for a while.
    Paused,
    /// Its refresh token was about to be sent when it was last written. A renewal is under way, or ended without telling: then
    /// the refresh token may be spent, and is not sent again where a login can bring another.
    MaybeSpent,
    /// Its access token has not ended.
    Valid,
    /// Its access token has ended, its refresh token has not.
    Renewable,
    /// What it holds has ended: the next call logs in, or asks for a person who does.
    Expired,
    /// It holds nothing: it was cleared, or signed out.
    Empty,
}

impl RecordState {
    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            RecordState::Unreadable => "unreadable",
            RecordState::Conflict => "conflict",
            RecordState::Refused => "refused",
            RecordState::Paused => "paused",
            RecordState::MaybeSpent => "maybe_spent",
            RecordState::Valid => "valid",
            RecordState::Renewable => "renewable",
            RecordState::Expired => "expired",
            RecordState::Empty => "empty",
        }
    }

    fn of(record: &Record, now: Duration) -> RecordState {
        let ahead = |end: Option<Duration>| end.is_none_or(|end| now < end);
        match record.failure.as_ref().filter(|failure| failure.left(now).is_some()) {
            Some(failure) if failure.error.code() == ErrorCode::SessionConflict => RecordState::Conflict,
            Some(failure) if failure.last => RecordState::Refused,
            Some(_) => RecordState::Paused,
            None if record.intent.is_some() => RecordState::MaybeSpent,
            None if record.token.as_ref().is_some_and(|token| ahead(token.end())) => RecordState::Valid,
            None if record.refresh.as_ref().is_some_and(|refresh| ahead(refresh.end())) => RecordState::Renewable,
            None if record.token.is_some() || record.refresh.is_some() => RecordState::Expired,
            None => RecordState::Empty,
        }
    }
}

impl RecordInfo {
    fn new(listed: Listed, now: Duration) -> RecordInfo {
        let name = Some(listed.outer).filter(|name| !name.is_empty());
        match listed.record {
            Ok(record) => RecordInfo { name, ..RecordInfo::of(&record, RecordState::of(&record, now), now) },
            Err(error) => {
                let unknown = RecordInfo::of(&Record::default(), RecordState::Unreadable, now);
                RecordInfo { name, error: Some(error), ..unknown }
            }
        }
    }

    fn of(record: &Record, state: RecordState, now: Duration) -> RecordInfo {
        let failure = record.failure.as_ref().filter(|failure| failure.left(now).is_some());
        let known = |name: &str| Some(name.to_owned()).filter(|name| !name.is_empty());
        RecordInfo {
            name: None,
            profile: known(&record.about.profile),
            provider: known(&record.about.provider),
            state,
            generation: record.generation,
            obtained_at: record.token.as_ref().map(|token| token.sent_at.as_secs()),
            expires_at: record.token.as_ref().and_then(|token| token.end()).map(|end| end.as_secs()),
            has_refresh_token: record.refresh.is_some(),
            refresh_expires_at: record.refresh.as_ref().and_then(StoredRefresh::end).map(|end| end.as_secs()),
            failure: failure.map(|failure| failure.error.code()),
            failure_until: failure.map(|failure| failure.until.as_secs()),
            written_at: record.written.as_ref().map(|written| written.at.as_secs()),
            written_by: record.written.as_ref().map(|written| written.by.clone()),
            error: None,
        }
    }

    /// The same as JSON: every field by its name, `state` and `failure` as words, `error` as an object with `code` and
    /// `message`, what is not there as null.
    pub fn to_json(&self) -> Value {
        let error = self.error.as_ref();
        json!({
            "name": self.name,
            "profile": self.profile,
            "provider": self.provider,
            "state": self.state.name(),
            "generation": self.generation,
            "obtained_at": self.obtained_at,
            "expires_at": self.expires_at,
            "has_refresh_token": self.has_refresh_token,
            "refresh_expires_at": self.refresh_expires_at,
            "failure": self.failure.map(ErrorCode::name),
            "failure_until": self.failure_until,
            "written_at": self.written_at,
            "written_by": self.written_by,
            "error": error.map(|error| json!({ "code": error.code().name(), "message": error.message() })),
        })
    }
}

/// All records of the store, by profile and provider.
pub(crate) async fn list(core: Arc<Core>) -> Result<Vec<RecordInfo>> {
    let listed = core.store.list().await?;
    let now = core.clock.now().unix();
    let mut records: Vec<RecordInfo> = listed.into_iter().map(|listed| RecordInfo::new(listed, now)).collect();
    let order = |info: &RecordInfo| (info.profile.clone(), info.provider.clone(), info.name.clone(), info.generation);
    records.sort_by_cached_key(order);
    Ok(records)
}

/// Empties the records of a source, once its renewal under way has ended; then nobody in this process is served what stood
/// there.
pub(crate) async fn clear(registry: Arc<Registry>, source: Arc<Source>) -> Result<bool> {
    let _turn = source.turn().await;
    let profile = source.profile();
    let cleared = Renewal::new(&source.core, &profile, None, source.glance().1).clear().await?;
    source.forget();
    let names: Vec<_> = profile.candidates().map(|one| one.record_name()).collect();
    registry.forget(&names);
    tracing::info!(profile = %profile.name, provider = profile.provider.name(), "cleared");
    Ok(cleared)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use crate::store::{About, StoredFailure, StoredToken, Written};
    use crate::token::Issued;

    const NOW: Duration = Duration::from_secs(1_000_000);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn token(age: u64, lifetime: Option<u64>) -> Option<StoredToken> {
        let issued = Issued {
            access_token: Secret::new("canary-access"),
            token_type: "Bearer".to_owned(),
            lifetime: lifetime.map(seconds),
            refresh_token: Some(Secret::new("canary-refresh")),
            refresh_lifetime: None,
            scope: Some("canary-scope".to_owned()),
            extras: serde_json::Map::from_iter([("canary-extra".to_owned(), json!(1))]),
        };
        Some(StoredToken { issued, generation: 1, sent_at: NOW - seconds(age) })
    }

    fn refresh(age: u64, lifetime: Option<u64>) -> Option<StoredRefresh> {
        let token = Secret::new("canary-refresh");
        Some(StoredRefresh { token, obtained_at: NOW - seconds(age), lifetime: lifetime.map(seconds) })
    }

    fn failure(code: ErrorCode, last: bool, ago: u64) -> Option<StoredFailure> {
        Some(StoredFailure {
            error: Error::new(code, "canary-message"),
            fingerprint: "canary-fingerprint".to_owned(),
            until: NOW + seconds(60) - seconds(ago),
            wait: seconds(60),
            last,
            count: 1,
        })
    }

    #[test]
    fn each_state_is_told_by_its_word() {
        let old = || Record { token: token(3600, Some(3600)), ..Record::default() };
        let fresh = || Record { token: token(10, Some(3600)), ..Record::default() };
        for (word, record) in [
            ("empty", Record { seed: Some("canary-seed".to_owned()), ..Record::default() }),
            ("valid", fresh()),
            ("valid", Record { token: token(3600, None), ..Record::default() }),
            ("expired", old()),
            ("renewable", Record { refresh: refresh(3600, None), ..old() }),
            ("renewable", Record { refresh: refresh(3600, Some(7200)), ..Record::default() }),
            ("expired", Record { refresh: refresh(3600, Some(3600)), ..old() }),
            ("maybe_spent", Record { refresh: refresh(10, None), intent: Some(NOW), ..old() }),
            ("refused", Record { failure: failure(ErrorCode::InvalidClient, true, 0), ..old() }),
            ("paused", Record { failure: failure(ErrorCode::Network, false, 0), ..fresh() }),
            ("conflict", Record { failure: failure(ErrorCode::SessionConflict, false, 0), ..fresh() }),
            // Its time is over.
            ("expired", Record { failure: failure(ErrorCode::InvalidClient, true, 60), ..old() }),
        ] {
            let info = RecordInfo::new(Listed { outer: "name".to_owned(), record: Ok(record) }, NOW);
            assert_eq!(info.state.name(), word);
            assert_eq!(info.failure.is_some(), ["refused", "paused", "conflict"].contains(&word), "{info:?}");
        }
    }

    #[test]
    fn every_field_is_told_and_no_secret() {
        let record = Record {
            generation: 7,
            token: token(10, Some(3600)),
            refresh: refresh(10, Some(7200)),
            failure: failure(ErrorCode::RateLimited, false, 0),
            seed: Some("canary-seed".to_owned()),
            dpop_key: Some(Secret::new("canary-key")),
            about: About { profile: "main".to_owned(), provider: "acme".to_owned() },
            written: Some(Written { at: NOW, by: "host 17".to_owned() }),
            ..Record::default()
        };
        let info = RecordInfo::new(Listed { outer: "ab12".to_owned(), record: Ok(record) }, NOW);
        let expected = json!({
            "name": "ab12",
            "profile": "main",
            "provider": "acme",
            "state": "paused",
            "generation": 7,
            "obtained_at": 999_990,
            "expires_at": 1_003_590,
            "has_refresh_token": true,
            "refresh_expires_at": 1_007_190,
            "failure": "rate_limited",
            "failure_until": 1_000_060,
            "written_at": 1_000_000,
            "written_by": "host 17",
            "error": null,
        });
        assert_eq!(info.to_json(), expected);
        assert!(!format!("{info:?}").contains("canary"), "{info:?}");
    }

    #[test]
    fn a_record_that_cannot_be_read_is_one_of_the_list() {
        let listed = Listed { outer: "ab12".to_owned(), record: Err(Error::new(ErrorCode::Store, "another key")) };
        let info = RecordInfo::new(listed, NOW).to_json();
        assert_eq!((&info["state"], &info["profile"]), (&json!("unreadable"), &json!(null)));
        assert_eq!(info["error"], json!({"code": "store", "message": "another key"}));
    }
}
