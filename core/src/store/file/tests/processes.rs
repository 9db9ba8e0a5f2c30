//! Several processes: each child is this very test program, started again for [`child`] alone.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child as Process, ChildStdin, Command, Stdio};
use std::sync::{Mutex, mpsc};

use super::super::disk::die_after;
use super::*;

/// Another process with a store in the same folder, which does as it is told.
struct Child {
    process: Process,
    commands: ChildStdin,
    answers: Box<dyn Iterator<Item = String> + Send>,
}

impl Child {
    fn start(path: &Path, lease: Duration) -> Child {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::file::tests::processes::child", "--nocapture"])
            .env("QAUTH_TEST_STORE", path)
            .env("QAUTH_TEST_LEASE", lease.as_millis().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let commands = process.stdin.take().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let answers = Box::new(lines.filter_map(|line| line.strip_prefix("> ").map(str::to_owned)));
        Child { process, commands, answers }
    }

    fn tell(&mut self, command: &str) {
        writeln!(self.commands, "{command}").unwrap();
    }

    /// `None`: it has ended.
    fn answer(&mut self) -> Option<String> {
        self.answers.next()
    }

    fn ask(&mut self, command: &str) -> String {
        self.tell(command);
        self.answer().unwrap_or_else(|| panic!("no answer to {command}"))
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.process.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Killed, and seen to be.
    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What [`Child`] starts again; by itself it does nothing.
#[test]
#[allow(clippy::print_stdout)]
fn child() {
    let Ok(path) = std::env::var("QAUTH_TEST_STORE") else { return };
    let lease = std::env::var("QAUTH_TEST_LEASE").unwrap().parse().unwrap();
    let store = open_for(Path::new(&path), Duration::from_millis(lease));
    let answer = |text: String| println!("\n> {text}");
    for command in std::io::stdin().lines() {
        let command = command.unwrap();
        let words: Vec<&str> = command.split(' ').collect();
        let number = |at: usize| words[at].parse().unwrap();
        match words[0] {
            "lease" => {
                let taken = store.0.leases.take(&store.0.folder().unwrap(), &outer(&store), &Owner(words[1].into()));
                answer(taken.unwrap().to_string());
            }
            "release" => {
                store.0.leases.release(&outer(&store), &Owner(words[1].into()));
                answer("released".into());
            }
            "swap" => answer(swap(&store, number(1), number(2)).unwrap().to_string()),
            "load" => answer(standing(&store).unwrap().to_string()),
            "guard" => {
                std::mem::forget(Guard::take(&store.0.folder().unwrap(), &outer(&store)).unwrap());
                answer("held".into());
            }
            "die" => die_after(Some(number(1) as u32)),
            "live" => die_after(None),
            "fork" => {
                let (mut there, here) = std::io::pipe().unwrap();
                let forked = fork(|| {
                    (&here).write_all(&[1]).unwrap();
                    std::thread::park();
                    false
                });
                there.read_exact(&mut [0]).unwrap();
                answer(forked.to_string());
            }
            "fork-lease" => answer(ended_well(fork(|| takes(&store, words[1]))).to_string()),
            "hammer" => answer(hammer(&store, number(1) as usize, number(2))),
            _ => panic!("{command}"),
        }
    }
}

/// From a process whose other threads are at rest.
#[allow(unsafe_code)]
fn fork(child: impl FnOnce() -> bool) -> libc::pid_t {
    // SAFETY: nobody else holds a lock that the child could need.
    match unsafe { libc::fork() } {
        0 => {
            let well = child();
            // SAFETY: ends the child without running the parent's exit handlers.
            unsafe { libc::_exit(i32::from(!well)) }
        }
        pid => pid,
    }
}

#[allow(unsafe_code)]
fn ended_well(child: libc::pid_t) -> bool {
    let mut status = 0;
    // SAFETY: `status` is writable.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert!(libc::WIFEXITED(status));
    status == 0
}

/// So many threads raise the generation up to a number. Which ones they wrote.
fn hammer(store: &FileStore, threads: usize, last: u64) -> String {
    let won = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let generation = standing(store).unwrap();
                    if generation >= last {
                        return;
                    }
                    if swap(store, generation, generation + 1).unwrap() {
                        won.lock().unwrap().push((generation + 1).to_string());
                    }
                }
            });
        }
    });
    won.into_inner().unwrap().join(" ")
}

fn takes(store: &FileStore, owner: &str) -> bool {
    store.0.leases.take(&store.0.folder().unwrap(), &outer(store), &Owner(owner.into())).unwrap()
}

#[test]
fn the_lease_of_a_killed_process_lapses_at_once() {
    // fault 64
    let (_parent, path) = place(true);
    let store = open_for(&path, 1000 * SECOND);
    let mut child = Child::start(&path, 1000 * SECOND);
    assert_eq!(child.ask("lease 1"), "true");
    assert!(!takes(&store, "2"));
    child.kill();
    assert!(takes(&store, "2"));
}

#[test]
fn the_lease_of_a_stopped_process_lapses_at_its_time_and_what_it_does_later_harms_nobody() {
    // faults 64, 66
    let (_parent, path) = place(true);
    let store = open_for(&path, 1000 * SECOND);
    let lease = Duration::from_millis(300);
    for what_it_does in ["lease 1", "release 1"] {
        let mut child = Child::start(&path, lease);
        let asked = std::time::Instant::now();
        assert_eq!(child.ask("lease 1"), "true");
        child.signal("-STOP");
        while !takes(&store, "2") {
            assert!(asked.elapsed() < 60 * SECOND);
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(asked.elapsed() >= lease, "no earlier");
        child.signal("-CONT");
        assert_eq!(child.ask(what_it_does), if what_it_does == "lease 1" { "false" } else { "released" });
        let third = open_for(&path, lease);
        assert!(!takes(&third, "3"), "the new holder still has it");
        assert!(takes(&store, "2"), "and renews it");
        assert_eq!(child.ask("lease 1"), "false");
        assert!(swap(&store, standing(&store).unwrap(), 7).unwrap());
        assert_eq!(child.ask("swap 6 7"), "false", "a late write loses");
        store.0.leases.release(&outer(&store), &Owner("2".into()));
        child.kill();
    }
}

#[test]
#[allow(unsafe_code)]
fn a_fork_of_a_holder_does_not_keep_the_lease_of_a_killed_one() {
    // fault 73
    let (_parent, path) = place(true);
    let store = open_for(&path, 1000 * SECOND);
    let mut child = Child::start(&path, 1000 * SECOND);
    assert_eq!(child.ask("lease 1"), "true");
    assert_eq!(child.ask("guard"), "held");
    let grandchild: libc::pid_t = child.ask("fork").parse().unwrap();
    assert!(Guard::take_within(&store.0.folder().unwrap(), &outer(&store), Duration::ZERO).is_err());
    child.kill();
    let taken = store.0.leases.take(&store.0.folder().unwrap(), &outer(&store), &Owner("2".into()));
    // SAFETY: waits for its end only.
    unsafe { libc::kill(grandchild, libc::SIGKILL) };
    assert!(taken.unwrap());
}

#[test]
fn a_child_of_a_fork_takes_turns_with_its_parent() {
    // fault 73: the store is the same, the leases are each process's own.
    let (_parent, path) = place(true);
    let mut child = Child::start(&path, 1000 * SECOND);
    assert_eq!(child.ask("lease 1"), "true");
    assert_eq!(child.ask("fork-lease 2"), "false");
    assert_eq!(child.ask("fork-lease 1"), "false", "not even under its parent's name");
    assert_eq!(child.ask("lease 1"), "true");
    assert_eq!(child.ask("release 1"), "released");
    assert_eq!(child.ask("fork-lease 2"), "true");
    assert_eq!(child.ask("lease 1"), "true", "whose holder has ended");
}

#[test]
fn a_process_that_is_killed_at_any_call_of_a_write_leaves_the_old_or_the_new_whole() {
    // fault 60
    let (_parent, path) = place(true);
    let store = open(&path);
    let mut generation = 0;
    let mut survived = false;
    for calls in 0..100 {
        let mut child = Child::start(&path, LEASE);
        assert_eq!(child.ask("load"), generation.to_string());
        child.tell(&format!("die {calls}"));
        child.tell(&format!("swap {generation} {}", generation + 1));
        survived = child.answer().is_some();
        child.process.kill().unwrap();
        child.process.wait().unwrap();
        let now = standing(&store).unwrap();
        assert!(now == generation || now == generation + 1, "{generation}, then {now}");
        assert!(!survived || now == generation + 1);
        // The next writer goes on from there, whatever is left lying about.
        assert!(swap(&store, now, now + 1).unwrap());
        generation = now + 1;
        if survived {
            assert!(calls >= 6, "{calls}");
            break;
        }
    }
    assert!(survived);
    assert!(!file(&store, ".v1.bad").exists());
}

#[test]
fn of_two_hundred_writers_one_wins_each_generation_and_readers_see_whole_records() {
    // fault 64
    for disk in [false, true] {
        let (_parent, path) = place(disk);
        let store = open(&path);
        let mut children: Vec<Child> = (0..8).map(|_| Child::start(&path, LEASE)).collect();
        children.iter_mut().for_each(|child| child.tell("hammer 25 100"));
        let mut won: Vec<u64> = children
            .iter_mut()
            .flat_map(|child| {
                let won = child.answer().unwrap();
                won.split_whitespace().map(|number| number.parse().unwrap()).collect::<Vec<u64>>()
            })
            .collect();
        won.sort_unstable();
        assert_eq!(won, (1..=100).collect::<Vec<u64>>());
        assert_eq!(standing(&store).unwrap(), 100);
        assert!(!file(&store, ".v1.bad").exists(), "no reader ever saw half a record");
    }
}

#[test]
fn a_change_of_another_process_is_told() {
    let (_parent, path) = place(true);
    let store = open(&path);
    let _ = outer(&store);
    let mut child = Child::start(&path, LEASE);
    let (tell, told) = mpsc::channel();
    on_the_runtime(async {
        let told_here = move |name: &RecordName, _: Option<u64>| tell.send(name.clone()).unwrap();
        let changes = async {
            tokio::task::spawn_blocking(move || {
                let hear = |what: &str| assert_eq!(told.recv_timeout(30 * SECOND).unwrap(), name(), "{what}");
                // The watch may begin a little later: until it has, nothing is told.
                let mut generation = 0;
                loop {
                    assert_eq!(child.ask(&format!("swap {generation} {}", generation + 1)), "true");
                    generation += 1;
                    if told.recv_timeout(SECOND / 10).is_ok() {
                        break;
                    }
                }
                assert_eq!(child.ask("lease 1"), "true");
                assert_eq!(child.ask("release 1"), "released");
                hear("a lease that was given back");
                std::fs::remove_dir_all(&path).unwrap();
                assert_eq!(child.ask("swap 0 1"), "true");
                hear("a change in a folder that was made anew");
            })
            .await
            .unwrap();
        };
        tokio::select! {
            () = store.watch(&told_here) => unreachable!("it never ends"),
            () = changes => {}
        }
    });
}
