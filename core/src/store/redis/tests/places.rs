//! Logins, TLS and sentinels.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use super::server::{free_port, until, words};
use super::*;

/// What docs/stores.md gives a user.
const ACL: &str = "resetkeys ~qauth:* resetchannels &qauth:changed -@all +evalsha +eval +time +type +set +get +strlen +getrange +del +hset +hmget +hstrlen +pexpire +persist +publish +subscribe +ping";

/// All that a renewal and its siblings do.
async fn everything(store: &RedisStore) -> Result<()> {
    Store::load(store, &name()).await?;
    Store::lease(store, &name(), &owner("1")).await?;
    let generation = Store::load(store, &name()).await?.map_or(0, |record| record.generation);
    for record in [refreshable(generation + 1, None), record(generation + 2, now())] {
        let expected = record.generation - 1;
        Store::compare_and_set(store, &name(), expected, record).await?;
    }
    Store::release(store, &name(), &owner("1")).await
}

#[test]
fn a_user_with_the_least_rights_can_do_everything_and_needs_each_of_them() {
    // fault 67
    let server = Server::start();
    run(async {
        let documented = include_str!("../../../../../docs/stores.md");
        assert!(documented.contains(&format!("user qauth on >PASSWORD {ACL}")), "docs/stores.md has another ACL");
        let allow = |more: &str| {
            let _: () = server.tell(&format!("ACL SETUSER qauth reset on >canary {ACL}{more}"));
        };
        allow("");
        let options = || given(&format!("redis://qauth:canary@127.0.0.1:{}", server.port));
        everything(&open(&options())).await.unwrap();
        let rights = ACL.split(" +").skip(1);
        // The announcement is a hint, and so is hearing it.
        for right in rights.filter(|right| !["publish", "subscribe", "ping"].contains(right)) {
            allow(&format!(" -{right}"));
            let _: () = server.tell("SCRIPT FLUSH");
            let _: () = server.tell("FLUSHALL");
            let store = open(&options());
            let said = refusal(everything(&store).await, ErrorCode::StoreUnavailable);
            assert!(said.contains("docs/stores.md"), "{right}: {said}");
        }
        allow(" +scan");
        assert!(Store::list(&open(&options())).await.is_ok());
        allow("");
        let _: () = server.tell("ACL SETUSER qauth resetkeys ~other:*");
        let said = refusal(everything(&open(&options())).await, ErrorCode::StoreUnavailable);
        assert!(said.contains("docs/stores.md"), "{said}");
    });
}

#[test]
fn a_wrong_or_missing_password_is_said_and_never_shown() {
    // fault 67
    let server = Server::with(&["--requirepass", "right"]);
    run(async {
        let load = async |url: String| Store::load(&open(&given(&url)), &name()).await;
        let at = format!("127.0.0.1:{}", server.port);
        let said = refusal(load(format!("redis://{at}")).await, ErrorCode::StoreUnavailable);
        assert!(said.contains("set store.password"), "{said}");
        for url in [format!("redis://:canary@{at}"), format!("redis://nobody:canary@{at}")] {
            let said = refusal(load(url).await, ErrorCode::StoreUnavailable);
            assert!(said.contains("check store.username and store.password"), "{said}");
        }
        assert!(load(format!("redis://:right@{at}/3")).await.is_ok());
        let said = refusal(load(format!("redis://:right@{at}/99")).await, ErrorCode::StoreUnavailable);
        assert!(said.contains("database"), "{said}");
    });
}

#[test]
fn tls_trusts_the_ca_that_is_named_and_no_other() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let authority = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        std::fs::write(file(name), params.self_signed(&key).unwrap().pem()).unwrap();
        Issuer::new(params, key)
    };
    let (ours, _other) = (authority("ours.pem"), authority("other.pem"));
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &ours).unwrap();
    std::fs::write(file("server.pem"), certificate.pem()).unwrap();
    std::fs::write(file("server.key"), key.serialize_pem()).unwrap();
    let port = free_port();
    let options = [
        ["--tls-port", &port.to_string()],
        ["--port", "0"],
        ["--tls-cert-file", &file("server.pem")],
        ["--tls-key-file", &file("server.key")],
        ["--tls-ca-cert-file", &file("ours.pem")],
        ["--tls-auth-clients", "no"],
        ["--requirepass", "canary"],
    ];
    let options = options.iter().flatten().map(|option| (*option).to_owned()).collect();
    let _server = Server::spawn("redis-server", port, options, TempDir::new().unwrap());
    until("the server listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    run(async {
        let url = format!("rediss://:canary@127.0.0.1:{port}");
        let trusting = |name: &str| RedisOptions { ca_file: Some(file(name).into()), ..given(&url) };
        let store = open(&trusting("ours.pem"));
        everything(&store).await.unwrap();
        for distrusting in [trusting("other.pem"), given(&url)] {
            let said = refusal(Store::load(&open(&distrusting), &name()).await, ErrorCode::StoreUnavailable);
            assert!(said.contains("unknown issuer") && said.contains("store.ca_file"), "{said}");
        }
        let url = format!("rediss://:canary@localhost:{port}");
        let elsewhere = RedisOptions { url: Some(Secret::new(url)), ..trusting("ours.pem") };
        let said = refusal(Store::load(&open(&elsewhere), &name()).await, ErrorCode::StoreUnavailable);
        assert!(said.contains("another host name"), "{said}");
        // One side speaks TLS and the other does not.
        let plain = open(&given(&format!("redis://:canary@127.0.0.1:{port}")));
        refusal(Store::load(&plain, &name()).await, ErrorCode::StoreUnavailable);
        let server = Server::start();
        let url = format!("rediss://:canary@127.0.0.1:{}", server.port);
        let secure = open(&RedisOptions { timeout: Duration::from_millis(200), ..given(&url) });
        refusal(Store::load(&secure, &name()).await, ErrorCode::StoreUnavailable);
        let missing = RedisStore::open(&trusting("nothing.pem"), Clock::system());
        assert!(refusal(missing.map(drop), ErrorCode::Config).contains("store.ca_file cannot be read"));
    });
}

#[test]
fn sentinels_lead_to_the_master_and_after_a_failover_to_the_new_one() {
    // faults 67, 68
    let secret = ["--requirepass", "canary", "--masterauth", "canary"];
    let first = Server::with(&secret);
    let second = Server::with(&secret);
    // A sentinel ends all connections to a server whose role it changes, be it in the middle of a question.
    let logged_in = |server: &Server, command: &str| {
        let url = format!("redis://:canary@127.0.0.1:{}", server.port);
        let mut connection = redis::Client::open(url).unwrap().get_connection()?;
        words(command).query::<redis::Value>(&mut connection)
    };
    logged_in(&second, &format!("REPLICAOF 127.0.0.1 {}", first.port)).unwrap();
    let folder = TempDir::new().unwrap();
    let monitor = format!("sentinel monitor main 127.0.0.1 {} 1\nsentinel auth-pass main canary\n", first.port);
    let quick = "sentinel down-after-milliseconds main 2000\nsentinel failover-timeout main 5000\n";
    std::fs::write(folder.path().join("sentinel.conf"), monitor + quick).unwrap();
    let sentinel = Server::spawn("redis-sentinel", free_port(), Vec::new(), folder);
    sentinel.await_answer();
    until("the sentinel knows the replica", || {
        let replicas: Vec<std::collections::HashMap<String, String>> = sentinel.tell("SENTINEL replicas main");
        replicas.iter().any(|replica| replica["flags"] == "slave" && replica["master-link-status"] == "ok")
    });
    run(async {
        // The first one is gone; the second one knows.
        let sentinels = vec![format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", sentinel.port)];
        let led = |master: &str| RedisOptions {
            url: None,
            password: Some(Secret::new("canary")),
            sentinels: sentinels.clone(),
            master: Some(master.to_owned()),
            ..given("")
        };
        let said = refusal(Store::load(&open(&led("other")), &name()).await, ErrorCode::StoreUnavailable);
        assert!(said.contains("knows no master \"other\""), "{said}");
        let store = open(&led("main"));
        assert!(write(&store, 0, record(1, now())).await);
        until("the replica has it", || matches!(logged_in(&second, "DBSIZE"), Ok(redis::Value::Int(2))));
        let _: () = sentinel.tell("SENTINEL FAILOVER main");
        until("the sentinel names the other one", || {
            let named: (String, u16) = sentinel.tell("SENTINEL get-master-addr-by-name main");
            named.1 == second.port
        });
        until("the old one follows", || {
            let info = logged_in(&first, "INFO replication");
            info.is_ok_and(|info| redis::from_redis_value::<String>(info).unwrap().contains("role:slave"))
        });
        let begun = std::time::Instant::now();
        let mut generation = stands(&store).await;
        while generation < 2 {
            assert!(begun.elapsed() < server::PATIENCE);
            match Store::compare_and_set(&store, &name(), 1, record(2, now())).await {
                Ok(_) => generation = stands(&store).await,
                Err(error) => {
                    assert_eq!(error.code(), ErrorCode::StoreUnavailable, "{error}");
                    tokio::time::sleep(error.retry_after().unwrap_or_default()).await;
                }
            }
        }
        let key = format!("qauth:{{{}}}:record", outer(&store).await);
        let there = logged_in(&second, &format!("HGET {key} g")).unwrap();
        assert_eq!(redis::from_redis_value::<String>(there).unwrap(), "2");
    });
}
