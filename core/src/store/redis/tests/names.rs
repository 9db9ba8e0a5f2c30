//! The naming key: made once, kept, lost, replaced, and sealed anew.

use super::*;

fn with_keys(server: &Server, keys: &[&str]) -> RedisStore {
    let encryption_keys = keys.iter().map(|key| Secret::new(*key)).collect();
    open(&RedisOptions { encryption_keys, ..given(&server.url()) })
}

#[test]
fn who_starts_at_once_takes_the_same_names() {
    // fault 71
    let server = Server::start();
    run(async {
        let stores: Vec<RedisStore> = (0..8).map(|_| store(&server)).collect();
        let all: Vec<_> = stores.iter().map(|store| tokio::time::timeout(server::PATIENCE, outer(store))).collect();
        let mut seen = std::collections::HashSet::new();
        for outer in all {
            seen.insert(outer.await.unwrap());
        }
        assert_eq!(seen.len(), 1);
        assert_eq!(server.tell::<i64>("TTL qauth:naming-key"), -1);
    });
}

#[test]
fn an_emptied_server_gets_the_names_back_from_whoever_knows_them() {
    // fault 69
    let server = Server::start();
    run(async {
        let (one, two) = (store(&server), store(&server));
        assert!(write(&one, 0, record(1, now())).await);
        let before = outer(&one).await;
        let _: () = server.tell("FLUSHALL");
        assert_eq!(stands(&one).await, 0);
        assert_eq!(outer(&two).await, before);
        assert!(write(&two, 0, record(2, now())).await);
        assert_eq!(stands(&one).await, 2);
    });
}

#[test]
fn where_somebody_was_faster_with_new_names_they_are_taken_over() {
    // fault 69
    let server = Server::start();
    run(async {
        let (one, two, three) = (store(&server), store(&server), store(&server));
        assert!(write(&one, 0, record(1, now())).await);
        assert_eq!(stands(&two).await, 1);
        let before = outer(&one).await;
        let _: () = server.tell("FLUSHALL");
        assert!(write(&three, 0, record(2, now())).await);
        assert_ne!(outer(&three).await, before);
        // Each of the operations finds out by itself.
        assert_eq!(stands(&one).await, 2);
        assert_eq!(outer(&one).await, outer(&three).await);
        assert!(Store::lease(&three, &name(), &owner("3")).await.unwrap());
        assert!(!Store::lease(&two, &name(), &owner("2")).await.unwrap());
        let four = store(&server);
        assert_eq!(stands(&four).await, 2);
        let _: () = server.tell("FLUSHALL");
        assert!(write(&store(&server), 0, record(3, now())).await);
        assert!(write(&four, 3, record(4, now())).await);
        // What was asked for under the old names is known under the new ones.
        let known = one.names().await.unwrap();
        assert_eq!(known.codec.asked().len(), 1);
    });
}

#[test]
fn an_encryption_key_is_replaced_while_everybody_goes_on() {
    let server = Server::start();
    run(async {
        let old = with_keys(&server, &[KEY]);
        assert!(write(&old, 0, record(1, now())).await);
        // First everybody learns to read the new key, then it writes, then the old one goes.
        let (reads, writes) = (with_keys(&server, &[KEY, OTHER_KEY]), with_keys(&server, &[OTHER_KEY, KEY]));
        assert_eq!((stands(&reads).await, stands(&writes).await), (1, 1));
        assert!(write(&writes, 1, record(2, now())).await);
        assert_eq!(stands(&reads).await, 2);
        let new = with_keys(&server, &[OTHER_KEY]);
        assert_eq!(stands(&new).await, 2);
        assert_eq!(outer(&new).await, outer(&old).await);
        // Who was left behind is refused, and destroys nothing.
        let said = refusal(Store::load(&old, &name()).await, ErrorCode::Store);
        assert!(said.contains("store.encryption_key"), "{said}");
        let swap = Store::compare_and_set(&old, &name(), 2, record(3, now())).await;
        refusal(swap.map(drop), ErrorCode::Store);
        assert_eq!(stands(&new).await, 2);
    });
}

#[test]
fn a_naming_key_that_nobody_here_sealed_is_refused_and_left_alone() {
    // fault 69
    let server = Server::start();
    run(async {
        let plain = NamingKey::generate().to_bytes(&Keys::default());
        for spoilt in [b"{}".to_vec(), plain] {
            let _: () = redis::cmd("SET").arg("qauth:naming-key").arg(&spoilt).query(&mut server.admin()).unwrap();
            let said = refusal(Store::load(&store(&server), &name()).await, ErrorCode::Store);
            assert!(said.contains("qauth:naming-key"), "{said}");
            assert_eq!(server.tell::<Vec<u8>>("GET qauth:naming-key"), spoilt);
        }
        let _: i32 = server.tell("DEL qauth:naming-key");
        let known = store(&server);
        assert!(write(&known, 0, record(1, now())).await);
        for spoil in ["SETRANGE qauth:naming-key 67108863 x", "DEL qauth:naming-key", "LPUSH qauth:naming-key x"] {
            let _: i64 = server.tell(spoil);
            if !spoil.starts_with("DEL") {
                let sent = server.counts("total_net_output_bytes");
                refusal(Store::load(&known, &name()).await, ErrorCode::Store);
                refusal(Store::lease(&known, &name(), &owner("1")).await, ErrorCode::Store);
                assert!(server.counts("total_net_output_bytes") - sent < 100_000);
            }
        }
        let _: i32 = server.tell("DEL qauth:naming-key");
        assert_eq!(stands(&known).await, 1);
    });
}
