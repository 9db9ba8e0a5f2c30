//! A disk that fails, or a process that ends, at a chosen call: the tests' own `write`, `fsync` and so on stand before the C
//! library's, and do as they do on every thread that has not asked for more.

#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::ffi::{c_char, c_int, c_void};

thread_local! {
    static FAILS: Cell<Option<(&'static str, c_int)>> = const { Cell::new(None) };
    static CALLS_LEFT: Cell<Option<u32>> = const { Cell::new(None) };
    static CALLS: RefCell<Option<Vec<&'static str>>> = const { RefCell::new(None) };
}

/// What `work` meets when each such call fails on this thread.
pub(super) fn failing<T>(call: &'static str, error: c_int, work: impl FnOnce() -> T) -> T {
    FAILS.set(Some((call, error)));
    let done = work();
    FAILS.set(None);
    done
}

/// Which calls `work` makes.
pub(super) fn calls(work: impl FnOnce()) -> Vec<&'static str> {
    CALLS.set(Some(Vec::new()));
    work();
    CALLS.take().unwrap_or_default()
}

/// This process is killed right before its next call but so many; `None`: it lives.
pub(super) fn die_after(calls: Option<u32>) {
    CALLS_LEFT.set(calls);
}

/// Whether the call is to fail.
fn asked(call: &'static str) -> bool {
    let _ =
        CALLS.try_with(|calls| calls.try_borrow_mut().map(|mut calls| calls.as_mut().map(|calls| calls.push(call))));
    match CALLS_LEFT.get() {
        // SAFETY: ends this very process.
        Some(0) => drop(unsafe { libc::kill(libc::getpid(), libc::SIGKILL) }),
        Some(left) => CALLS_LEFT.set(Some(left - 1)),
        None => {}
    }
    let Some((_, error)) = FAILS.get().filter(|(fails, _)| *fails == call) else { return false };
    // SAFETY: this thread's own errno.
    unsafe { *libc::__errno_location() = error };
    true
}

fn is_folder(descriptor: c_int) -> bool {
    // SAFETY: a structure of numbers.
    let mut found: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `found` is writable.
    unsafe { libc::fstat(descriptor, &mut found) == 0 && found.st_mode & libc::S_IFMT == libc::S_IFDIR }
}

macro_rules! calls {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $result:ty, $number:ident, $call:expr;)+) => { $(
        /// # Safety
        /// As the C library's. An argument that is not always there is read all the same, and ignored by the system.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($argument: $kind),*) -> $result {
            if asked($call) {
                return -1;
            }
            // SAFETY: the caller's arguments, as they came.
            unsafe { libc::syscall(libc::$number, $($argument),*) as $result }
        }
    )+ };
}

calls! {
    write(descriptor: c_int, bytes: *const c_void, length: usize) -> isize, SYS_write, "write";
    ftruncate64(descriptor: c_int, length: i64) -> c_int, SYS_ftruncate, "truncate";
    fcntl(descriptor: c_int, command: c_int, argument: usize) -> c_int, SYS_fcntl,
        if command == libc::F_OFD_SETLK { "lock" } else { "fcntl" };
    fsync(descriptor: c_int) -> c_int, SYS_fsync, if is_folder(descriptor) { "fsync folder" } else { "fsync" };
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    if asked("rename") {
        return -1;
    }
    // SAFETY: the caller's arguments, as they came.
    unsafe { libc::syscall(libc::SYS_renameat2, libc::AT_FDCWD, from, libc::AT_FDCWD, to, 0) as c_int }
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: libc::mode_t) -> c_int {
    if asked("open") {
        return -1;
    }
    // SAFETY: the caller's arguments, as they came.
    unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, mode) as c_int }
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_create(
    thread: *mut libc::pthread_t,
    attributes: *const libc::pthread_attr_t,
    main: extern "C" fn(*mut c_void) -> *mut c_void,
    argument: *mut c_void,
) -> c_int {
    type Create = unsafe extern "C" fn(
        *mut libc::pthread_t,
        *const libc::pthread_attr_t,
        extern "C" fn(*mut c_void) -> *mut c_void,
        *mut c_void,
    ) -> c_int;
    if asked("thread") {
        return libc::EAGAIN;
    }
    // SAFETY: the next function of this name is the C library's, with the same arguments.
    unsafe {
        let create: Create = std::mem::transmute(libc::dlsym(libc::RTLD_NEXT, c"pthread_create".as_ptr()));
        create(thread, attributes, main, argument)
    }
}
