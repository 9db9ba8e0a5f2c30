//! A child of fork has a connection of its own.

#![allow(unsafe_code)]

use std::process::Command;

use super::*;

/// The body of the test below, in a process where nothing else runs.
#[test]
fn child_that_forks() {
    let Ok(url) = std::env::var("QAUTH_TEST_REDIS_FORK") else { return };
    let store = open(&given(&url));
    run(async { assert!(write(&store, 0, record(1, now())).await) });
    // The connection belongs to a runtime that is gone; one that lives is what a child must keep its hands off.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    assert_eq!(runtime.block_on(stands(&store)), 1);
    // SAFETY: the child works with a runtime and connection of its own and leaves by `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let fine = run(async { stands(&store).await == 1 && write(&store, 1, record(2, now())).await });
        // SAFETY: ends the child without running the parent's exit handlers.
        unsafe { libc::_exit(if fine { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: `status` is writable.
    unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!(status, 0);
    // The parent's connection is as it was.
    assert_eq!(runtime.block_on(stands(&store)), 2);
}

#[test]
fn a_child_of_fork_opens_a_connection_of_its_own() {
    // fault 73
    let server = Server::start();
    let before = server.counts("total_connections_received");
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::redis::tests::fork::child_that_forks", "--nocapture"])
        .env("QAUTH_TEST_REDIS_FORK", server.url())
        .status()
        .unwrap();
    assert!(status.success());
    // One for each of the parent's runtimes, one for the child, and the one that asks.
    assert_eq!(server.counts("total_connections_received") - before, 4);
}
