//! Records as bytes for a store outside this process: named by a key, bound to their names, and encrypted where there is a key
//! for it (DESIGN.md 5).
//!
//! ```text
//! qauth/1 plain HMAC        then a line break and JSON; the HMAC is the naming key's, over outer name and JSON
//! qauth/1 sealed KEY-ID     then a line break, 32 bytes of salt, AES-256-GCM over the same JSON, bound to line and outer name
//! ```

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ring::{digest, hmac};
use zeroize::Zeroizing;

use super::keys::Sealed;
use super::{Keys, MAX_RECORD, Record, Written, wire};
use crate::clock::Clock;
use crate::error::{Error, ErrorCode, Result};
use crate::forkcell::ForkCell;
use crate::random::random_bytes;
use crate::record_name::RecordName;

const VERSION: &str = "qauth/1";
/// The outer name of the naming key itself.
pub(crate) const NAMING_KEY: &str = "naming-key";

/// Why bytes are no record.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// They never were, or have been changed: whatever stood there is lost.
    Damaged(&'static str),
    /// They are a record that this process cannot read, and must not destroy.
    Refused(Error),
}

/// The random key that makes outer names, once per store.
#[derive(Clone, PartialEq)]
pub(crate) struct NamingKey(Zeroizing<Vec<u8>>);

/// Turns the records of one store into bytes and back.
pub(crate) struct Codec {
    keys: Keys,
    /// Nobody but us must be able to make a record: what is not encrypted is refused.
    sealed_only: bool,
    naming: hmac::Key,
    clock: Clock,
    /// Which records the outer names are that were asked for. A process's own: a child of fork asks anew.
    asked: ForkCell<Mutex<HashMap<String, RecordName>>>,
}

impl NamingKey {
    /// A new one, for a store that has none.
    pub(crate) fn generate() -> NamingKey {
        NamingKey(Zeroizing::new(random_bytes(32)))
    }

    /// As a store keeps it.
    pub(crate) fn to_bytes(&self, keys: &Keys) -> Vec<u8> {
        let check = |body: &[u8]| hex(digest::digest(&digest::SHA256, body).as_ref());
        envelope(keys, NAMING_KEY, &self.0, check)
    }

    /// Reads it; `true`: by another key than the one that writes now, so that it should be written again before that is
    /// taken away.
    pub(crate) fn from_bytes(keys: &Keys, bytes: &[u8]) -> std::result::Result<(NamingKey, bool), Unreadable> {
        let (line, _) = split(bytes)?;
        let check = |body: &[u8]| hex(digest::digest(&digest::SHA256, body).as_ref());
        let body = open(keys, NAMING_KEY, bytes, check)?;
        match body.len() {
            32 => Ok((NamingKey(body), keys.first().is_some_and(|first| !line.ends_with(first)))),
            _ => Err(Unreadable::Damaged("the naming key has the wrong length")),
        }
    }
}

impl Codec {
    /// `sealed_only`: records that are not encrypted are refused, for a store into which others can write.
    pub(crate) fn new(keys: Keys, sealed_only: bool, naming_key: &NamingKey, clock: Clock) -> Codec {
        let naming = hmac::Key::new(hmac::HMAC_SHA256, &naming_key.0);
        Codec { keys, sealed_only, naming, clock, asked: ForkCell::new() }
    }

    /// What the record is called outside this process: 40 hexadecimal digits.
    pub(crate) fn outer(&self, name: &RecordName) -> String {
        let outer = hex(&hmac::sign(&self.naming, name.as_bytes()).as_ref()[..20]);
        self.with_asked(|asked| asked.entry(outer.clone()).or_insert_with(|| name.clone()).clone());
        outer
    }

    /// Which record of this process that is, if it has asked for it.
    pub(crate) fn inner(&self, outer: &str) -> Option<RecordName> {
        self.with_asked(|asked| asked.get(outer).cloned())
    }

    /// All that were asked for.
    pub(crate) fn asked(&self) -> Vec<RecordName> {
        self.with_asked(|asked| asked.values().cloned().collect())
    }

    /// Forgets that they were asked for.
    pub(crate) fn forget(&self, names: &[RecordName]) {
        self.with_asked(|asked| asked.retain(|_, name| !names.contains(name)));
    }

    /// # Errors
    /// `store`: it is larger than any store reads.
    pub(crate) fn encode(&self, outer: &str, record: &Record) -> Result<Vec<u8>> {
        let written = Written { at: self.clock.now().unix(), by: writer() };
        let text = Zeroizing::new(wire::to_text(record, &written));
        let bytes = envelope(&self.keys, outer, &text, |body| self.check(outer, body));
        match bytes.len() > MAX_RECORD {
            true => Err(Error::new(ErrorCode::Store, "the token and what came with it are larger than 1 MiB")),
            false => Ok(bytes),
        }
    }

    pub(crate) fn decode(&self, outer: &str, bytes: &[u8]) -> std::result::Result<Record, Unreadable> {
        if self.sealed_only && split(bytes)?.0.contains(" plain ") {
            return Err(Unreadable::Refused(Error::new(
                ErrorCode::Store,
                "the record is not encrypted: somebody else wrote it",
            )));
        }
        let body = open(&self.keys, outer, bytes, |body| self.check(outer, body))?;
        wire::from_text(&body).ok_or(Unreadable::Damaged("is whole, but no record"))
    }

    fn check(&self, outer: &str, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.naming);
        context.update(&(outer.len() as u64).to_be_bytes());
        context.update(outer.as_bytes());
        context.update(body);
        hex(context.sign().as_ref())
    }

    /// No call panics while it holds the lock.
    fn with_asked<R>(&self, ask: impl FnOnce(&mut HashMap<String, RecordName>) -> R) -> R {
        let asked = self.asked.get_or_init(Mutex::default);
        ask(&mut asked.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Record {
    /// The same with all its times moved, onto a clock that is so far ahead of the writer's, or behind it.
    pub(crate) fn moved(mut self, ahead: Duration, behind: Duration) -> Record {
        let to = |time: &mut Duration| *time = (*time + ahead).saturating_sub(behind);
        self.token.iter_mut().for_each(|token| to(&mut token.sent_at));
        self.refresh.iter_mut().for_each(|refresh| to(&mut refresh.obtained_at));
        self.failure.iter_mut().for_each(|failure| to(&mut failure.until));
        self.intent.iter_mut().for_each(to);
        self.takeovers.iter_mut().for_each(to);
        self.written.iter_mut().for_each(|written| to(&mut written.at));
        self
    }
}

fn envelope(keys: &Keys, outer: &str, text: &[u8], check: impl Fn(&[u8]) -> String) -> Vec<u8> {
    let sealed = keys.first().and_then(|id| {
        let line = format!("{VERSION} sealed {id}");
        let body = keys.seal(&bound(&line, outer), text)?;
        Some((line, body))
    });
    let (line, body) = sealed.unwrap_or_else(|| (format!("{VERSION} plain {}", check(text)), text.to_vec()));
    [line.as_bytes(), b"\n", &body].concat()
}

fn open(
    keys: &Keys,
    outer: &str,
    bytes: &[u8],
    check: impl Fn(&[u8]) -> String,
) -> std::result::Result<Zeroizing<Vec<u8>>, Unreadable> {
    let (line, body) = split(bytes)?;
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        [VERSION, "plain", sum] if check(body) == sum => Ok(Zeroizing::new(body.to_vec())),
        [VERSION, "plain", _] => Err(Unreadable::Damaged("its checksum is wrong")),
        [VERSION, "sealed", id] => keys.open(id, &bound(line, outer), body).map_err(|sealed| match sealed {
            Sealed::Broken => Unreadable::Damaged("it was changed since it was encrypted"),
            Sealed::OtherKey => refused("it is encrypted with another key: put that key into store.encryption_key, after the one that is to write"),
        }),
        [VERSION, ..] => Err(Unreadable::Damaged("its first line makes no sense")),
        _ => Err(refused("it was written by a newer version of qauth: update this one, or give it a store of its own")),
    }
}

fn refused(why: &str) -> Unreadable {
    Unreadable::Refused(Error::new(ErrorCode::Store, format!("a record cannot be read: {why}")))
}

/// The first line, and the rest.
fn split(bytes: &[u8]) -> std::result::Result<(&str, &[u8]), Unreadable> {
    let damaged = Unreadable::Damaged("is no record");
    let Some(end) = bytes.iter().take(200).position(|byte| *byte == b'\n') else { return Err(damaged) };
    match std::str::from_utf8(&bytes[..end]) {
        Ok(line) if line.starts_with("qauth/") => Ok((line, &bytes[end + 1..])),
        _ => Err(damaged),
    }
}

fn bound(line: &str, outer: &str) -> Vec<u8> {
    [line, "\n", outer].concat().into_bytes()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Host and process.
fn writer() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{host}:{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{About, StoredFailure, StoredRefresh, StoredToken};
    use super::*;
    use crate::secret::Secret;
    use crate::token::Issued;

    const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    fn full() -> Record {
        let seconds = Duration::from_secs;
        let error = Error::new(ErrorCode::InvalidGrant, "no").with_status(400).about("p", "v");
        Record {
            generation: 1_800_000_000_007,
            token: Some(StoredToken {
                issued: Issued {
                    access_token: Secret::new("access-canary"),
                    token_type: "Bearer".into(),
                    lifetime: Some(seconds(300)),
                    refresh_token: None,
                    refresh_lifetime: None,
                    scope: Some("a b".into()),
                    extras: json!({"tenant": 7}).as_object().unwrap().clone(),
                },
                generation: 1_800_000_000_006,
                sent_at: Duration::from_millis(1_800_000_000_005),
            }),
            refresh: Some(StoredRefresh {
                token: Secret::new("refresh-canary"),
                obtained_at: seconds(1_800_000_000),
                lifetime: None,
            }),
            intent: Some(seconds(3)),
            failure: Some(StoredFailure {
                error: error.with_server(Some("invalid_grant".into()), Some("gone".into())),
                fingerprint: "f".into(),
                until: seconds(9),
                wait: seconds(5),
                last: true,
                count: 2,
            }),
            takeovers: vec![seconds(1), seconds(2)],
            conflicts: 3,
            seed: Some("digest".into()),
            dpop_key: Some(Secret::new("key-canary")),
            about: About { profile: "p".into(), provider: "v".into() },
            written: None,
        }
    }

    fn codec(keys: &[&str], naming_key: &NamingKey) -> Codec {
        Codec::new(Keys::parse(keys, "k").unwrap(), false, naming_key, Clock::manual())
    }

    /// `Debug` shows all of it but the secrets.
    fn told(record: &Record) -> String {
        let secrets = [
            record.token.as_ref().map(|token| token.issued.access_token.expose().to_owned()),
            record.refresh.as_ref().map(|refresh| refresh.token.expose().to_owned()),
            record.dpop_key.as_ref().map(|key| key.expose().to_owned()),
        ];
        format!("{:?} {secrets:?}", Record { written: None, ..record.clone() })
    }

    #[test]
    fn a_record_comes_back_as_it_was_plain_and_sealed() {
        let naming_key = NamingKey::generate();
        for keys in [&[][..], &[KEY]] {
            let codec = codec(keys, &naming_key);
            let outer = codec.outer(&RecordName::new(&["a".into()]));
            for record in [full(), Record { generation: 1, ..Record::default() }] {
                let bytes = codec.encode(&outer, &record).unwrap();
                let back = codec.decode(&outer, &bytes).unwrap();
                assert_eq!(told(&back), told(&record));
                let by = back.written.unwrap().by;
                assert!(by.ends_with(&format!(":{}", std::process::id())), "{by}");
                let shown = String::from_utf8_lossy(&bytes).into_owned();
                assert_eq!(shown.contains("canary"), keys.is_empty() && record.token.is_some());
            }
        }
    }

    /// fault 61
    #[test]
    fn what_was_changed_cut_or_copied_from_another_record_is_damaged() {
        let naming_key = NamingKey::generate();
        for keys in [&[][..], &[KEY]] {
            let codec = codec(keys, &naming_key);
            let (one, two) = ("1".repeat(40), "2".repeat(40));
            let bytes = codec.encode(&one, &full()).unwrap();
            let damaged = |bytes: &[u8], outer: &str| matches!(codec.decode(outer, bytes), Err(Unreadable::Damaged(_)));
            assert!(damaged(&bytes, &two));
            assert!(damaged(&[], &one));
            assert!((0..bytes.len()).all(|length| damaged(&bytes[..length], &one)));
            let flipped =
                |at: usize| bytes.iter().enumerate().map(|(i, b)| if i == at { b ^ 4 } else { *b }).collect::<Vec<_>>();
            assert!((0..bytes.len()).all(|at| codec.decode(&one, &flipped(at)).is_err()));
            assert!((80..bytes.len()).all(|at| damaged(&flipped(at), &one)));
            // Another store's.
            assert!(
                Codec::new(Keys::default(), false, &NamingKey::generate(), Clock::manual())
                    .decode(&one, &bytes)
                    .is_err()
            );
        }
    }

    /// fault 72
    #[test]
    fn what_only_others_can_read_is_refused_and_not_damaged() {
        let naming_key = NamingKey::generate();
        let outer = "1".repeat(40);
        let sealed = codec(&[KEY], &naming_key).encode(&outer, &full()).unwrap();
        let refusal = |codec: &Codec, bytes: &[u8]| match codec.decode(&outer, bytes) {
            Err(Unreadable::Refused(error)) => error.message().to_owned(),
            _ => panic!("not refused"),
        };
        let other = KEY.replace("00", "ff");
        for keys in [&[][..], &[other.as_str()]] {
            assert!(refusal(&codec(keys, &naming_key), &sealed).contains("store.encryption_key"));
        }
        assert!(refusal(&codec(&[], &naming_key), b"qauth/2 whatever\n...").contains("newer version"));
        let plain = codec(&[], &naming_key).encode(&outer, &full()).unwrap();
        // Who turns encryption on goes on from what stands there; where others can write too, nobody does.
        assert!(codec(&[KEY], &naming_key).decode(&outer, &plain).is_ok());
        let strict = Codec::new(Keys::parse(&[KEY], "k").unwrap(), true, &naming_key, Clock::manual());
        assert!(refusal(&strict, &plain).contains("not encrypted"));
    }

    #[test]
    fn the_naming_key_is_kept_like_a_record_and_known_to_be_written_by_an_old_key() {
        let other = KEY.replace("00", "ff");
        let keys = |texts: &[&str]| Keys::parse(texts, "k").unwrap();
        let naming_key = NamingKey::generate();
        let name = RecordName::new(&["a".into()]);
        let outer = codec(&[], &naming_key).outer(&name);
        for (written, read, outdated) in [
            (keys(&[]), keys(&[]), false),
            (keys(&[]), keys(&[KEY]), true),
            (keys(&[KEY]), keys(&[KEY, &other]), false),
            (keys(&[KEY]), keys(&[&other, KEY]), true),
        ] {
            let (back, old) = NamingKey::from_bytes(&read, &naming_key.to_bytes(&written)).ok().unwrap();
            assert_eq!((codec(&[], &back).outer(&name), old), (outer.clone(), outdated));
        }
        let sealed = naming_key.to_bytes(&keys(&[KEY]));
        assert!(matches!(NamingKey::from_bytes(&keys(&[&other]), &sealed), Err(Unreadable::Refused(_))));
        assert!(matches!(NamingKey::from_bytes(&keys(&[KEY]), &sealed[..50]), Err(Unreadable::Damaged(_))));
    }

    #[test]
    fn outer_names_are_known_again_until_they_are_forgotten() {
        let codec = codec(&[], &NamingKey::generate());
        let (one, two) = (RecordName::new(&["1".into()]), RecordName::new(&["2".into()]));
        let outer = codec.outer(&one);
        assert_eq!((outer.len(), codec.inner(&outer)), (40, Some(one.clone())));
        assert_ne!(outer, codec.outer(&two));
        codec.forget(&[one]);
        assert_eq!((codec.inner(&outer), codec.asked()), (None, vec![two]));
    }

    #[test]
    fn times_move_onto_the_readers_clock() {
        let seconds = Duration::from_secs;
        let moved = full().moved(seconds(10), Duration::ZERO);
        assert_eq!((moved.intent, moved.takeovers), (Some(seconds(13)), vec![seconds(11), seconds(12)]));
        let back = full().moved(Duration::ZERO, seconds(2));
        assert_eq!((back.failure.unwrap().until, back.takeovers), (seconds(7), vec![seconds(0), seconds(0)]));
    }
}
