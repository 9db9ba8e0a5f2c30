//! Files that a child of `fork` must not keep. A lock lives as long as any descriptor of the opened file that took it: with
//! a copy in a child, a lease would outlive its holder.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU64, Ordering};
use std::time::Duration;

/// A file of this process alone: its descriptor is closed in a child.
pub(super) struct OwnFile {
    file: ManuallyDrop<File>,
    entry: &'static AtomicI32,
}

/// The forks of this process: a file that was opened while one was under way may have been copied before it was listed.
static BEGUN: AtomicU64 = AtomicU64::new(0);
static ENDED: AtomicU64 = AtomicU64::new(0);

/// What a child closes. It only grows, and no lock guards it: a child would find it locked by a thread that it does not have.
static LIST: Part = Part::new();

struct Part {
    descriptors: [AtomicI32; 64],
    next: AtomicPtr<Part>,
}

const NONE: RawFd = -1;

impl OwnFile {
    /// Opens a file, again if a fork came in between. The outer error is of forks, the inner one of `open`.
    pub(super) fn open<E>(open: impl Fn() -> Result<File, E>) -> io::Result<Result<OwnFile, E>> {
        notice_forks()?;
        for _ in 0..20_000 {
            // In this order: as many ended as begun means that none was under way when `begun` was read.
            let ended = ENDED.load(Ordering::SeqCst);
            let begun = BEGUN.load(Ordering::SeqCst);
            if ended == begun {
                let own = open().map(OwnFile::list);
                if BEGUN.load(Ordering::SeqCst) == begun {
                    return Ok(own);
                }
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        Err(io::Error::other("the process forks without a pause"))
    }

    fn list(file: File) -> OwnFile {
        let entry = LIST.enter(file.as_raw_fd());
        OwnFile { file: ManuallyDrop::new(file), entry }
    }
}

impl Deref for OwnFile {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

impl AsRawFd for OwnFile {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        // First off the list: the number may be another file's as soon as it is closed.
        self.entry.store(NONE, Ordering::SeqCst);
        // SAFETY: dropped here only, and not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.file) };
    }
}

impl Part {
    const fn new() -> Part {
        Part { descriptors: [const { AtomicI32::new(NONE) }; 64], next: AtomicPtr::new(std::ptr::null_mut()) }
    }

    fn enter(&'static self, descriptor: RawFd) -> &'static AtomicI32 {
        let mut part = self;
        loop {
            let free = |entry: &&AtomicI32| {
                entry.compare_exchange(NONE, descriptor, Ordering::SeqCst, Ordering::Relaxed).is_ok()
            };
            if let Some(entry) = part.descriptors.iter().find(free) {
                return entry;
            }
            part = part.next_or_new();
        }
    }

    fn next(&'static self) -> Option<&'static Part> {
        // SAFETY: null, or from `Box::into_raw` below, and never freed.
        unsafe { self.next.load(Ordering::Acquire).as_ref() }
    }

    fn next_or_new(&'static self) -> &'static Part {
        if let Some(next) = self.next() {
            return next;
        }
        let new = Box::into_raw(Box::new(Part::new()));
        let winner = match self.next.compare_exchange(std::ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => new,
            Err(winner) => {
                // SAFETY: `new` was not published; nobody else has it.
                drop(unsafe { Box::from_raw(new) });
                winner
            }
        };
        // SAFETY: published, and never freed.
        unsafe { &*winner }
    }
}

/// Twice does no harm: both counters count twice.
fn notice_forks() -> io::Result<()> {
    static NOTICED: AtomicBool = AtomicBool::new(false);
    if !NOTICED.load(Ordering::Acquire) {
        // SAFETY: the handlers only use atomics and `close`, which a child of a process with threads may call.
        let failed = unsafe { libc::pthread_atfork(Some(begins), Some(ended_in_parent), Some(ended_in_child)) };
        if failed != 0 {
            return Err(io::Error::from_raw_os_error(failed));
        }
        NOTICED.store(true, Ordering::Release);
    }
    Ok(())
}

extern "C" fn begins() {
    BEGUN.fetch_add(1, Ordering::SeqCst);
}

extern "C" fn ended_in_parent() {
    ENDED.fetch_add(1, Ordering::SeqCst);
}

extern "C" fn ended_in_child() {
    let mut part = Some(&LIST);
    while let Some(here) = part {
        for entry in &here.descriptors {
            let descriptor = entry.swap(NONE, Ordering::SeqCst);
            if descriptor != NONE {
                // SAFETY: a descriptor that its owner, whom this process does not have, had listed and not closed.
                unsafe { libc::close(descriptor) };
            }
        }
        part = here.next();
    }
    // Other forks that were under way are the parent's.
    ENDED.store(BEGUN.load(Ordering::SeqCst), Ordering::SeqCst);
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::mpsc;

    use super::*;

    fn fork(child: impl FnOnce() -> i32) -> libc::pid_t {
        // SAFETY: the children of these tests only make system calls, and leave by `_exit`.
        match unsafe { libc::fork() } {
            0 => {
                let status = child();
                // SAFETY: ends the child without running the parent's exit handlers.
                unsafe { libc::_exit(status) }
            }
            pid => pid,
        }
    }

    /// Until it is killed.
    fn wait() -> i32 {
        // SAFETY: a system call.
        unsafe { libc::pause() }
    }

    fn status(pid: libc::pid_t) -> i32 {
        let mut status = 0;
        // SAFETY: `status` is writable.
        assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
        status
    }

    #[test]
    fn a_child_has_no_copy() {
        // fault 73
        let folder = tempfile::tempdir().unwrap();
        // More than one part of the list holds.
        let own: Vec<OwnFile> = (0..150)
            .map(|number| OwnFile::open(|| File::create(folder.path().join(number.to_string()))).unwrap().unwrap())
            .collect();
        let numbers: Vec<RawFd> = own.iter().map(|own| own.as_raw_fd()).collect();
        let child = fork(|| {
            // SAFETY: asks for a descriptor's flags.
            let open = numbers.iter().filter(|number| unsafe { libc::fcntl(**number, libc::F_GETFD) } != -1).count();
            open as i32
        });
        assert_eq!(status(child), 0);
        own.iter().for_each(|own| assert!(own.metadata().is_ok(), "the parent still has them"));
    }

    #[test]
    fn a_file_is_opened_again_where_a_fork_came_between_opening_and_listing() {
        // fault 73
        let folder = tempfile::tempdir().unwrap();
        let (child, opened) = (Cell::new(None), Cell::new(0));
        let own = OwnFile::open(|| {
            let file = File::create(folder.path().join("a"));
            opened.set(opened.get() + 1);
            if child.get().is_none() {
                child.set(Some(fork(wait)));
            }
            file
        });
        let own = own.unwrap().unwrap();
        own.try_lock().unwrap();
        drop(own);
        let free = File::create(folder.path().join("a")).unwrap().try_lock().is_ok();
        let child = child.get().unwrap();
        // SAFETY: a child of this test, which has not been waited for.
        unsafe { libc::kill(child, libc::SIGKILL) };
        status(child);
        assert!(free && opened.get() >= 2);
    }

    #[test]
    fn no_child_has_a_copy_of_a_file_that_was_opened_while_it_was_made() {
        // fault 73
        let folder = tempfile::tempdir().unwrap();
        let file = |number: usize| File::create(folder.path().join(number.to_string()));
        let (mut there, here) = io::pipe().unwrap();
        let (done, stop) = mpsc::channel::<()>();
        let forking = std::thread::spawn(move || {
            let mut children = Vec::new();
            while children.is_empty() || (stop.try_recv().is_err() && children.len() < 400) {
                children.push(fork(|| {
                    // SAFETY: says that it has begun.
                    unsafe { libc::write(here.as_raw_fd(), [1u8].as_ptr().cast(), 1) };
                    wait()
                }));
            }
            children
        });
        let own: Vec<OwnFile> = (0..200)
            .map(|number| {
                let own = OwnFile::open(|| file(number)).unwrap().unwrap();
                own.try_lock().unwrap();
                own
            })
            .collect();
        done.send(()).ok();
        let children = forking.join().unwrap();
        io::Read::read_exact(&mut there, &mut vec![0; children.len()]).unwrap();
        // Not unlocked: a copy in a child would keep the lock.
        drop(own);
        let free = (0..200).filter(|number| file(*number).unwrap().try_lock().is_ok()).count();
        for child in children {
            // SAFETY: a child of this test, which has not been waited for.
            unsafe { libc::kill(child, libc::SIGKILL) };
            status(child);
        }
        assert_eq!(free, 200);
    }
}
