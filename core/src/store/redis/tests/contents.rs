//! What stands under our keys and is not ours, or no longer whole.

use super::*;

#[test]
fn what_is_not_ours_is_an_error_and_stays() {
    // fault 69
    let server = Server::start();
    run(async {
        let store = store(&server);
        let key = format!("qauth:{{{}}}:record", outer(&store).await);
        for spoil in [
            format!("SET {key} text"),
            format!("LPUSH {key} text"),
            format!("HSET {key} some field"),
            format!("HSET {key} g 1 r text"),
            format!("HSET {key} g 1 r text t noon"),
            format!("HSET {key} g {} r text t 1", "1".repeat(1000)),
        ] {
            let _: redis::Value = server.tell(&spoil);
            let before: Option<Vec<u8>> = server.tell(&format!("DUMP {key}"));
            for result in [
                Store::load(&store, &name()).await.map(drop),
                Store::compare_and_set(&store, &name(), 0, record(1, now())).await.map(drop),
            ] {
                let said = refusal(result, ErrorCode::Store);
                assert!(said.contains(&key) && said.contains("store.prefix"), "{said}");
            }
            assert_eq!(server.tell::<Option<Vec<u8>>>(&format!("DUMP {key}")), before, "{spoil}");
            let _: i32 = server.tell(&format!("DEL {key}"));
        }
        let lease = key.replace("record", "lease");
        let _: i32 = server.tell(&format!("LPUSH {lease} text"));
        refusal(Store::lease(&store, &name(), &owner("1")).await, ErrorCode::Store);
        Store::release(&store, &name(), &owner("1")).await.unwrap();
        assert_eq!(server.tell::<i32>(&format!("LLEN {lease}")), 1);
        assert!(write(&store, 0, record(1, now())).await);
    });
}

#[test]
fn a_huge_value_is_an_error_and_never_comes_over_the_wire() {
    // fault 69
    let server = Server::start();
    run(async {
        let store = store(&server);
        let key = format!("qauth:{{{}}}:record", outer(&store).await);
        let mut command = redis::cmd("HSET");
        command.arg(&key).arg(&["g", "1", "t", "1", "r"]).arg(vec![b'x'; 64 * 1024 * 1024]);
        let _: i32 = command.query(&mut server.admin()).unwrap();
        let sent = server.counts("total_net_output_bytes");
        let said = refusal(Store::load(&store, &name()).await, ErrorCode::Store);
        assert!(said.contains("larger than 1 MiB"), "{said}");
        let swap = Store::compare_and_set(&store, &name(), 0, record(1, now())).await;
        refusal(swap.map(drop), ErrorCode::Store);
        assert!(server.counts("total_net_output_bytes") - sent < 100_000);
        assert_eq!(server.tell::<usize>(&format!("HSTRLEN {key} r")), 64 * 1024 * 1024);
    });
}

#[test]
fn a_damaged_record_counts_as_none_and_only_exactly_that_is_written_over() {
    // faults 61, 69
    let server = Server::start();
    run(async {
        let store = store(&server);
        assert!(write(&store, 0, record(5, now())).await);
        let key = format!("qauth:{{{}}}:record", outer(&store).await);
        // Not what it was, foreign JSON, and a generation that its record does not have.
        for (field, value) in [("r", "qauth/1 sealed x"), ("r", "{\"some\":\"json\"}"), ("g", "6")] {
            let _: i32 = server.tell(&format!("HSET {key} {field} {value}"));
            assert_eq!(stands(&store).await, 0);
            let lost = Store::compare_and_set(&store, &name(), 4, record(6, now())).await.unwrap();
            assert!(matches!(lost, Swap::Lost(None)));
            assert!(write(&store, 0, record(5, now())).await);
            assert_eq!(stands(&store).await, 5);
        }
        // Who knows what stood there goes on from it.
        let _: i32 = server.tell(&format!("HSET {key} r damaged"));
        assert!(write(&store, 5, record(6, now())).await);
        // Somebody else mends it in between: that one stays.
        let names = store.names().await.unwrap();
        let outer = outer(&store).await;
        let bytes = names.codec.encode(&outer, &record(9, now())).unwrap();
        let late = store.write(&names, &outer, ("6", b"what was damaged"), &record(9, now()), &bytes).await.unwrap();
        assert_eq!(late.word, "record");
        assert_eq!(stands(&store).await, 6);
    });
}

#[test]
fn another_records_bytes_and_another_keys_record_are_told_apart() {
    // faults 61, 72
    let server = Server::start();
    run(async {
        let store = store(&server);
        let other = RecordName::new(&["b".into()]);
        assert!(write(&store, 0, record(1, now())).await);
        let codec = &store.names().await.unwrap().codec;
        let (from, to) = (format!("qauth:{{{}}}:record", codec.outer(&name())), codec.outer(&other));
        let _: i32 = server.tell(&format!("COPY {from} qauth:{{{to}}}:record"));
        assert!(Store::load(&store, &other).await.unwrap().is_none());
        // A newer version's is refused and stays.
        let mut command = redis::cmd("HSET");
        let _: i32 = command.arg(&from).arg("r").arg("qauth/2 whatever\nbody").query(&mut server.admin()).unwrap();
        refusal(Store::load(&store, &name()).await, ErrorCode::Store);
        let swap = Store::compare_and_set(&store, &name(), 0, record(2, now())).await;
        let said = refusal(swap.map(drop), ErrorCode::Store);
        assert!(said.contains("newer version"), "{said}");
        assert_eq!(server.tell::<String>(&format!("HGET {from} g")), "1");
    });
}

#[test]
fn a_record_that_is_gone_is_none_and_scripts_that_are_gone_are_sent_again() {
    // fault 69
    let server = Server::start();
    run(async {
        let store = store(&server);
        assert!(write(&store, 0, record(1, now())).await);
        let _: () = server.tell("SCRIPT FLUSH");
        assert_eq!(stands(&store).await, 1);
        let _: () = server.tell("SCRIPT FLUSH");
        assert!(write(&store, 1, record(2, now())).await);
        let _: () = server.tell("SCRIPT FLUSH");
        assert!(Store::lease(&store, &name(), &owner("1")).await.unwrap());
        let _: () = server.tell("SCRIPT FLUSH");
        Store::release(&store, &name(), &owner("1")).await.unwrap();
        assert!(Store::lease(&store, &name(), &owner("2")).await.unwrap());
        let key = format!("qauth:{{{}}}:record", outer(&store).await);
        let _: i32 = server.tell(&format!("DEL {key}"));
        assert_eq!(stands(&store).await, 0);
        // Who still counts on it loses.
        assert!(!write(&store, 2, record(3, now())).await);
    });
}
