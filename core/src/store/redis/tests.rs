//! The store against real servers, one for each test.

mod answers;
mod contents;
mod fork;
mod names;
mod outages;
mod places;
mod protocol;
mod server;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use self::server::Server;
use super::*;
use crate::secret::Secret;
use crate::store::{StoredRefresh, StoredToken};
use crate::token::Issued;

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const OTHER_KEY: &str = "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// What a configuration gives that names this URL alone.
pub(super) fn given(url: &str) -> RedisOptions {
    RedisOptions {
        url: Some(Secret::new(url)),
        username: None,
        password: None,
        sentinels: Vec::new(),
        master: None,
        sentinel_username: None,
        sentinel_password: None,
        database: None,
        tls: false,
        ca_file: None,
        prefix: "qauth".to_owned(),
        // A busy machine is no outage.
        timeout: Duration::from_secs(5),
        encryption_keys: vec![Secret::new(KEY)],
    }
}

fn open(given: &RedisOptions) -> RedisStore {
    RedisStore::open(given, Clock::system()).unwrap()
}

fn store(server: &Server) -> RedisStore {
    open(&given(&server.url()))
}

/// On a runtime as the engine has one.
fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(test)
}

fn name() -> RecordName {
    RecordName::new(&["a".into()])
}

fn owner(text: &str) -> Owner {
    Owner(text.to_owned())
}

/// Obtained at `sent_at`, seconds since 1970, for five minutes.
fn record(generation: u64, sent_at: u64) -> Arc<Record> {
    let issued = Issued {
        access_token: Secret::new(format!("token-{generation}")),
        token_type: "Bearer".into(),
        lifetime: Some(Duration::from_secs(300)),
        refresh_token: None,
        refresh_lifetime: None,
        scope: None,
        extras: serde_json::Map::new(),
    };
    let token = StoredToken { issued, generation, sent_at: Duration::from_secs(sent_at) };
    Arc::new(Record { generation, token: Some(token), ..Record::default() })
}

fn now() -> u64 {
    Clock::system().now().unix().as_secs()
}

fn refreshable(generation: u64, lifetime: Option<Duration>) -> Arc<Record> {
    let token = Secret::new("refresh");
    let refresh = StoredRefresh { token, obtained_at: Duration::from_secs(now()), lifetime };
    Arc::new(Record { refresh: Some(refresh), ..record(generation, now()).as_ref().clone() })
}

async fn write(store: &RedisStore, expected: u64, record: Arc<Record>) -> bool {
    matches!(Store::compare_and_set(store, &name(), expected, record).await.unwrap(), Swap::Stored)
}

/// The generation that stands there; 0: none.
async fn stands(store: &RedisStore) -> u64 {
    Store::load(store, &name()).await.unwrap().map_or(0, |record| record.generation)
}

async fn outer(store: &RedisStore) -> String {
    store.names().await.unwrap().codec.outer(&name())
}

/// What an operation is refused with, which must name neither key nor password.
fn refusal<T>(result: Result<T>, code: ErrorCode) -> String {
    let error = result.err().expect("it is refused");
    assert_eq!(error.code(), code, "{error}");
    assert!(!error.to_string().contains("canary") && !error.to_string().contains(KEY), "{error}");
    error.to_string()
}
