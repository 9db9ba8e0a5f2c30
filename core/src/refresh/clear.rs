//! A profile's records are emptied at somebody's word. No server hears of it.

use super::lease::FIRST_LOOK;
use super::{Renewal, Step};
use crate::error::Result;
use crate::profile::SignedIn;
use crate::record_name::RecordName;
use crate::store::Record;

impl Renewal<'_> {
    /// Empties the record of each of the profile's credentials, and has every narrowing of them forget their refusal; whether
    /// there was anything to forget. A renewal under way, here or elsewhere, ends first.
    ///
    /// The records stay, newer than before: who knows the one that stood there would write it again if there were none.
    pub(crate) async fn clear(&self) -> Result<bool> {
        let cleared: Step<bool> = async {
            let mut any = false;
            for profile in self.profile.candidates() {
                any |= self.change_in_turn(&profile.record_name(), emptied).await?;
                if let Some(name) = profile.refusals_name() {
                    any |= self.change_in_turn(name, |record| self.without_refusal(record)).await?;
                }
            }
            Ok(any)
        }
        .await;
        cleared.map_err(|failure| failure.error)
    }

    /// Changes a record under its lease; whether there was anything to change.
    pub(super) async fn change_in_turn(
        &self,
        name: &RecordName,
        change: impl FnMut(&Record) -> Option<Record>,
    ) -> Step<bool> {
        let mut pause = FIRST_LOOK;
        loop {
            let changed = self.core.store.changed(name);
            if self.core.store.lease(name, &self.brief.owner).await? {
                return self.change(name, change).await;
            }
            self.wait_for_holder(&mut pause, changed).await?;
        }
    }
}

/// The record without all that it holds. A refresh token that the profile itself gives can be used again where it stood there
/// unspent; one that was spent never is.
fn emptied(record: &Record) -> Option<Record> {
    let unspent = record.refresh.as_ref().filter(|_| record.intent.is_none());
    let stands = unspent.map(|refresh| SignedIn::digest_of(&refresh.token));
    let seed = record.seed.clone().filter(|seed| stands.as_ref() != Some(seed));
    (!record.is_empty()).then(|| Record { seed, ..Record::default() })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::Engine;
    use crate::block::block_on;
    use crate::clock::Clock;
    use crate::config::TransportOptions;
    use crate::error::ErrorCode;
    use crate::metrics::Tally;
    use crate::profile::Profile;
    use crate::refresh::Brief;
    use crate::runtime::Core;
    use crate::secret::Secret;
    use crate::store::StoredRefresh;
    use crate::store::{MemoryStore, Owner, Swap};

    #[test]
    fn a_refresh_token_of_the_profile_is_used_again_only_where_it_is_unspent() {
        let given = Secret::new("given");
        let digest = SignedIn::digest_of(&given);
        let record = |token: &str, intent| Record {
            refresh: Some(StoredRefresh { token: Secret::new(token), obtained_at: Duration::ZERO, lifetime: None }),
            intent,
            seed: Some(digest.clone()),
            ..Record::default()
        };
        let seed = |record: Record| emptied(&record).expect("there was something").seed;
        assert_eq!(seed(record("given", None)), None);
        assert_eq!(seed(record("given", Some(Duration::ZERO))).as_ref(), Some(&digest));
        assert_eq!(seed(record("successor", None)).as_ref(), Some(&digest));
        assert_eq!(seed(Record { refresh: None, takeovers: vec![Duration::ZERO], ..record("", None) }), Some(digest));
    }

    #[test]
    fn what_is_empty_is_left_alone() {
        assert!(emptied(&Record::default()).is_none());
        assert!(emptied(&Record { generation: 3, seed: Some("given".to_owned()), ..Record::default() }).is_none());
        assert!(emptied(&Record { conflicts: 1, ..Record::default() }).is_some());
    }

    #[test]
    fn a_record_that_somebody_keeps_renewing_is_left_alone_and_that_is_said() {
        let engine = Engine::from_toml(
            "[profiles.p]\nprovider = \"qpay\"\nbase_url = \"http://127.0.0.1:1\"\nclient_id = \"a\"\nclient_secret = \"b\"\ntimeout = \"100ms\"",
        );
        let core =
            Core::new(Clock::system(), Arc::new(MemoryStore::default()), TransportOptions::default(), 1 << 20).unwrap();
        let profile = Profile::clone(&engine.unwrap().source("p").unwrap().inner().profile());
        let profile = profile.named();
        let brief = Brief {
            floor: 0,
            rejected: false,
            forget: false,
            owner: Owner("this".to_owned()),
            spread: 1.0,
            unhurried_until: None,
            served_until: None,
            tally: Arc::new(Tally::new("v")),
            lent: None,
        };
        let (name, other) = (profile.record_name(), Owner("another".to_owned()));
        let holds = Arc::new(Record { generation: 1, conflicts: 1, ..Record::default() });
        assert!(matches!(block_on(core.store.compare_and_set(&name, 0, holds)).unwrap(), Swap::Stored));
        assert!(block_on(core.store.lease(&name, &other)).unwrap());
        let running = core.running().unwrap();
        let clear = || running.handle.block_on(Renewal::new(&core, &profile, None, brief.clone()).clear());
        assert_eq!(clear().unwrap_err().code(), ErrorCode::Timeout);
        assert!(!block_on(core.store.load(&name)).unwrap().unwrap().is_empty());
        block_on(core.store.release(&name, &other)).unwrap();
        assert!(clear().unwrap());
        assert!(block_on(core.store.load(&name)).unwrap().unwrap().is_empty());
        // Given back: whoever renews by it need not wait.
        assert!(block_on(core.store.lease(&name, &other)).unwrap());
    }
}
