//! Compare-and-set, leases, times and announcements.

use std::sync::Mutex;

use super::*;

#[test]
fn a_late_writer_loses_and_sees_the_winner() {
    // fault 66
    let server = Server::start();
    run(async {
        let (one, two) = (store(&server), store(&server));
        assert!(Store::load(&one, &name()).await.unwrap().is_none());
        assert!(write(&one, 0, record(7, now())).await);
        assert!(write(&two, 7, record(8, now())).await);
        let lost = Store::compare_and_set(&one, &name(), 7, record(8, now())).await.unwrap();
        let Swap::Lost(Some(winner)) = lost else { panic!("it lost") };
        assert_eq!(winner.generation, 8);
        assert!(!write(&one, 0, record(9, now())).await);
        assert_eq!((stands(&one).await, stands(&two).await), (8, 8));
    });
}

#[test]
fn one_owner_holds_the_lease_and_only_it_can_give_it_back() {
    // fault 66
    let server = Server::start();
    run(async {
        let (one, two) = (store(&server), store(&server));
        let (name, first, second) = (name(), owner("1"), owner("2"));
        assert!(Store::lease(&one, &name, &first).await.unwrap());
        assert!(Store::lease(&one, &name, &first).await.unwrap());
        assert!(!Store::lease(&two, &name, &second).await.unwrap());
        Store::release(&two, &name, &second).await.unwrap();
        assert!(!Store::lease(&two, &name, &second).await.unwrap());
        Store::release(&one, &name, &first).await.unwrap();
        assert!(Store::lease(&two, &name, &second).await.unwrap());
        // The former holder wakes up: the lease is not its to give.
        Store::release(&one, &name, &first).await.unwrap();
        assert!(!Store::lease(&one, &name, &first).await.unwrap());
    });
}

#[test]
fn a_lease_lapses_by_itself() {
    // fault 71
    let server = Server::start();
    run(async {
        let store = store(&server);
        assert!(Store::lease(&store, &name(), &owner("1")).await.unwrap());
        let key = format!("qauth:{{{}}}:lease", outer(&store).await);
        let left: u64 = server.tell(&format!("PTTL {key}"));
        assert!((1..=10_000).contains(&left), "{left}");
        let _: i32 = server.tell(&format!("PEXPIRE {key} 1"));
        server::until("it lapses", || server.tell::<i32>(&format!("EXISTS {key}")) == 0);
        assert!(Store::lease(&store, &name(), &owner("2")).await.unwrap());
    });
}

#[test]
fn a_record_lives_as_long_as_its_longest_part() {
    let server = Server::start();
    run(async {
        let store = store(&server);
        let key = format!("qauth:{{{}}}:record", outer(&store).await);
        let minute = Duration::from_secs(60);
        let mut generation = 0;
        for (record, seconds) in [
            (record(0, now()), Some(300)),
            (refreshable(0, Some(minute * 60)), Some(3600)),
            (refreshable(0, None), None),
            (record(0, now()), Some(300)),
            (Arc::new(Record::default()), Some(30 * 86_400)),
        ] {
            generation += 1;
            let record = Record { generation, ..record.as_ref().clone() };
            assert!(write(&store, generation - 1, Arc::new(record)).await);
            let left: i64 = server.tell(&format!("TTL {key}"));
            match seconds {
                Some(seconds) => assert!((seconds - 60..=seconds).contains(&left), "{left} of {seconds}"),
                None => assert_eq!(left, -1),
            }
        }
    });
}

#[test]
fn a_record_comes_onto_the_readers_clock_by_the_servers() {
    // fault 43
    let server = Server::start();
    run(async {
        let at = |seconds| Clock::manual_at(Duration::from_secs(seconds));
        let writer = RedisStore::open(&given(&server.url()), at(1_000_000)).unwrap();
        let reader = RedisStore::open(&given(&server.url()), at(5_000_000)).unwrap();
        let behind = RedisStore::open(&given(&server.url()), at(1_000)).unwrap();
        assert!(write(&writer, 0, record(1, 999_990)).await);
        let key = format!("qauth:{{{}}}:record", outer(&writer).await);
        let sent = async |store: &RedisStore| {
            let record = Store::load(store, &name()).await.unwrap().unwrap();
            record.token.as_ref().unwrap().sent_at.as_secs()
        };
        // It was written just now, and sent ten seconds before.
        assert!((4_999_960..=4_999_990).contains(&sent(&reader).await));
        assert!((960..=990).contains(&sent(&behind).await));
        let aged = |by: i64| {
            let written: i64 = server.tell(&format!("HGET {key} t"));
            let _: i32 = server.tell(&format!("HSET {key} t {}", written - by));
        };
        aged(3_600_000);
        assert!((4_996_360..=4_996_390).contains(&sent(&reader).await));
        // The server's clock was set back since: the record counts as just written.
        aged(-7_200_000);
        assert_eq!(sent(&reader).await, 4_999_990);
    });
}

#[test]
fn what_others_write_and_give_back_is_announced() {
    // fault 70
    let server = Server::start();
    run(async {
        let (ear, mouth) = (Arc::new(store(&server)), store(&server));
        let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
        assert_eq!(stands(&ear).await, 0);
        let watching = ear.clone();
        let _task = tokio::spawn(async move {
            let tell = |name: &RecordName, _: Option<u64>| told.send(name.clone()).unwrap();
            Store::watch(watching.as_ref(), &tell).await;
        });
        // Once it listens: announcements may have been missed before.
        assert!(heard.recv().await.unwrap() == name());
        assert!(write(&mouth, 0, record(1, now())).await);
        assert!(heard.recv().await.unwrap() == name());
        assert!(Store::lease(&mouth, &name(), &owner("1")).await.unwrap());
        Store::release(&mouth, &name(), &owner("1")).await.unwrap();
        assert!(heard.recv().await.unwrap() == name());
        // A name that nobody here asked for, and noise, mean nothing; a lost connection means that anything may have changed.
        let _: i32 = server.tell("PUBLISH qauth:changed noise");
        let _: i32 = server.tell(&format!("PUBLISH qauth:changed {}", "x".repeat(100_000)));
        assert!(heard.is_empty());
        let _: i32 = server.tell("CLIENT KILL TYPE pubsub");
        assert!(heard.recv().await.unwrap() == name());
    });
}

#[test]
fn every_record_is_listed_and_a_damaged_one_is_said_to_be() {
    let server = Server::start();
    run(async {
        let store = store(&server);
        let names: Vec<RecordName> = (0..50).map(|number| RecordName::new(&[number.to_string()])).collect();
        for (number, name) in names.iter().enumerate() {
            let record = record(number as u64 + 1, now());
            assert!(matches!(Store::compare_and_set(&store, name, 0, record).await.unwrap(), Swap::Stored));
        }
        let spoilt = store.names().await.unwrap().codec.outer(&names[7]);
        let _: i32 = server.tell(&format!("HSET qauth:{{{spoilt}}}:record r qauth/1"));
        let _: String = server.tell("SET qauth:{short}:record foreign");
        let listed = Store::list(&store).await.unwrap();
        let generations = Mutex::new(Vec::new());
        for listed in &listed {
            match &listed.record {
                Ok(record) => generations.lock().unwrap().push(record.generation),
                Err(error) => assert!(listed.outer == spoilt && error.message().contains("damaged"), "{error}"),
            }
        }
        let mut generations = generations.into_inner().unwrap();
        generations.sort_unstable();
        assert_eq!(generations, (1..=50).filter(|number| *number != 8).collect::<Vec<u64>>());
        assert_eq!(listed.len(), 50);
    });
}
