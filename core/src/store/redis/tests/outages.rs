//! Servers that are gone, silent, loading, full, or refuse.

use rustix::process::Signal;

use super::*;

/// A store that works, on a server that is to be spoilt.
async fn working(server: &Server, given: &RedisOptions) -> RedisStore {
    server.await_answer();
    let store = open(given);
    assert!(write(&store, 0, record(1, now())).await);
    store
}

async fn refused(store: &RedisStore) -> String {
    let swap = Store::compare_and_set(store, &name(), 1, record(2, now())).await;
    refusal(swap.map(drop), ErrorCode::StoreUnavailable)
}

/// Tries as often as the store itself would, until it is reached.
async fn back(store: &RedisStore) -> u64 {
    let begun = std::time::Instant::now();
    loop {
        match Store::load(store, &name()).await {
            Ok(record) => return record.map_or(0, |record| record.generation),
            Err(error) => {
                assert_eq!(error.code(), ErrorCode::StoreUnavailable, "{error}");
                assert!(begun.elapsed() < server::PATIENCE, "{error}");
                tokio::time::sleep(error.retry_after().unwrap_or(Duration::from_millis(20))).await;
            }
        }
    }
}

#[test]
fn a_server_that_is_silent_costs_one_time_limit_and_then_nothing() {
    // fault 67
    let server = Server::start();
    run(async {
        let timeout = Duration::from_millis(200);
        let store = working(&server, &RedisOptions { timeout, ..given(&server.url()) }).await;
        server.signal(Signal::STOP);
        let begun = std::time::Instant::now();
        let said = refused(&store).await;
        assert!(said.contains("no answer within 200ms"), "{said}");
        assert!(begun.elapsed() >= timeout && begun.elapsed() < timeout * 10, "{:?}", begun.elapsed());
        // The next one is told at once, and when to come back.
        let error = Store::load(&store, &name()).await.unwrap_err();
        let wait = error.retry_after().expect("it is not tried now");
        assert!(wait <= Duration::from_millis(100), "{wait:?}");
        // A stopped server takes connections, and says nothing: the pauses grow.
        let mut longest = wait;
        for _ in 0..3 {
            tokio::time::sleep(longest).await;
            refused(&store).await;
            longest = Store::load(&store, &name()).await.unwrap_err().retry_after().unwrap_or_default();
        }
        assert!(longest > Duration::from_millis(150), "{longest:?}");
        server.signal(Signal::CONT);
        // The write whose answer was not awaited may have been done: whoever asks is told the truth.
        assert!([1, 2].contains(&back(&store).await));
    });
}

#[test]
fn many_callers_wait_for_one_connection() {
    // fault 71
    let server = Server::start();
    run(async {
        let store = Arc::new(store(&server));
        let calls: Vec<_> = (0..200)
            .map(|number| {
                let store = store.clone();
                let name = RecordName::new(&[number.to_string()]);
                tokio::spawn(async move { Store::load(store.as_ref(), &name).await.map(drop) })
            })
            .collect();
        for call in calls {
            call.await.unwrap().unwrap();
        }
        // The one that asks, those that wait for the server to start, and the store's.
        assert_eq!(server.tell::<String>("CLIENT LIST TYPE normal").lines().count(), 2);
    });
}

#[test]
fn a_server_that_was_restarted_is_spoken_to_as_if_nothing_had_happened() {
    // fault 67
    let mut server = Server::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    run(async {
        let store = working(&server, &given(&server.url())).await;
        server.kill();
        assert!(refused(&store).await.contains("cannot be reached"));
        server.start_again(&[]);
        assert_eq!(back(&store).await, 1);
        // A lost connection alone is not even noticed.
        let _: i32 = server.tell("CLIENT KILL TYPE normal SKIPME yes");
        assert!(write(&store, 1, record(2, now())).await);
        let _: i32 = server.tell("CLIENT KILL TYPE normal SKIPME yes");
        assert_eq!(stands(&store).await, 2);
    });
}

#[test]
fn nobody_there_is_said_and_where() {
    // fault 67
    run(async {
        let port = server::free_port();
        let store = open(&given(&format!("redis://:canary@127.0.0.1:{port}")));
        let said = refusal(Store::load(&store, &name()).await, ErrorCode::StoreUnavailable);
        assert!(said.contains(&format!("127.0.0.1:{port}")) && said.contains("refused"), "{said}");
        // What is there speaks something else.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let store = open(&given(&format!("redis://:canary@{}", listener.local_addr().unwrap())));
        let web = std::thread::spawn(move || {
            use std::io::Write;
            let mut stream = listener.accept().unwrap().0;
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
            stream
        });
        let said = refusal(Store::load(&store, &name()).await, ErrorCode::StoreUnavailable);
        assert!(said.contains("does not speak Redis' protocol"), "{said}");
        drop(web.join());
    });
}

#[test]
fn an_answer_without_an_end_is_broken_off() {
    // fault 69
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let store = open(&given(&format!("redis://{}", listener.local_addr().unwrap())));
    let talker = std::thread::spawn(move || {
        use std::io::Write;
        let mut stream = listener.accept().unwrap().0;
        stream.write_all(b"$100000000000\r\n").unwrap();
        let chunk = vec![b'x'; 1 << 20];
        (0..1000).take_while(|_| stream.write_all(&chunk).is_ok()).count()
    });
    let said = run(async { refusal(Store::load(&store, &name()).await, ErrorCode::StoreUnavailable) });
    assert!(said.contains("the connection was lost"), "{said}");
    assert!(talker.join().unwrap() < 200);
}

#[test]
fn what_the_server_cannot_do_now_is_said_and_over_when_it_is_over() {
    // fault 67
    let server = Server::start();
    run(async {
        let store = working(&server, &given(&server.url())).await;
        let nowhere = server::free_port();
        for (spoil, says, mend) in [
            ("CONFIG SET maxmemory 1", "maxmemory", "CONFIG SET maxmemory 0"),
            ("CONFIG SET min-replicas-to-write 1", "too few replicas", "CONFIG SET min-replicas-to-write 0"),
            (&format!("REPLICAOF 127.0.0.1 {nowhere}"), "store.sentinels", "REPLICAOF NO ONE"),
        ] {
            let _: () = server.tell(spoil);
            let said = refused(&store).await;
            assert!(said.contains(says), "{said}");
            let _: () = server.tell(mend);
            assert_eq!(back(&store).await, 1);
        }
        let _: () = server.tell("CONFIG SET replica-serve-stale-data no");
        let _: () = server.tell(&format!("REPLICAOF 127.0.0.1 {nowhere}"));
        assert!(refused(&store).await.contains("lost its master"));
        let _: () = server.tell("REPLICAOF NO ONE");
        assert_eq!(back(&store).await, 1);
        assert!(write(&store, 1, record(2, now())).await);
    });
}

#[test]
fn a_server_without_room_for_clients_says_so() {
    // fault 67
    let server = Server::start();
    run(async {
        let mut admin = server.admin();
        let _: () = redis::cmd("CONFIG").arg(&["SET", "maxclients", "1"]).query(&mut admin).unwrap();
        let store = store(&server);
        let said = refusal(Store::load(&store, &name()).await, ErrorCode::StoreUnavailable);
        assert!(said.contains("maxclients"), "{said}");
        let _: () = redis::cmd("CONFIG").arg(&["SET", "maxclients", "100"]).query(&mut admin).unwrap();
        assert_eq!(back(&store).await, 0);
    });
}

#[test]
fn a_server_that_loads_is_awaited() {
    // fault 67
    let mut server = Server::with(&["--enable-debug-command", "yes", "--appendonly", "yes"]);
    run(async {
        let store = working(&server, &given(&server.url())).await;
        let _: () = server.tell("DEBUG POPULATE 20000");
        let _: () = server.tell("CONFIG SET appendonly no");
        let _: () = server.tell("CONFIG SET appendonly yes");
        server::until("the file is written", || server.counts("aof_rewrite_in_progress") == 0);
        server.kill();
        // A millisecond for each key, and an ear for clients in between.
        server.start_again(&["--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024"]);
        let mut said = refused(&store).await;
        server::until("it listens", || {
            said.contains("loading") || {
                said = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(refused(&store)));
                said.contains("loading")
            }
        });
        let _: () = server.tell("CONFIG SET key-load-delay 0");
        assert_eq!(back(&store).await, 1);
    });
}

#[test]
fn a_cluster_is_refused_with_a_reason() {
    // fault 67
    let server = Server::with(&["--cluster-enabled", "yes"]);
    run(async {
        let said = refusal(Store::load(&store(&server), &name()).await, ErrorCode::StoreUnavailable);
        assert!(said.contains("cluster, which is not supported yet"), "{said}");
    });
}
