//! Data of the program that its functions get, and how it is given back.

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

/// Frees user data that the library was given. It may call any function of this library; no exception may leave it, nor
/// longjmp.
pub type qauth_free_function = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

/// Belongs to the host, which promised that its callbacks may get it on any thread on which they run.
#[derive(Clone, Copy)]
pub(crate) struct UserData(*mut c_void);

// SAFETY: as said above; we never look inside.
unsafe impl Send for UserData {}
// SAFETY: the same.
unsafe impl Sync for UserData {}

impl UserData {
    pub(crate) fn new(user_data: *mut c_void) -> UserData {
        UserData(user_data)
    }

    /// A method, so that closures capture the whole.
    pub(crate) fn get(self) -> *mut c_void {
        self.0
    }
}

type FreeFunction = unsafe extern "C" fn(*mut c_void);

/// User data that is freed with this, on a thread of the program.
pub(crate) struct Lent {
    user_data: UserData,
    free: Option<FreeFunction>,
    /// Whether it is ours to free.
    ours: AtomicBool,
}

impl Lent {
    /// Still the program's.
    pub(crate) fn new(user_data: *mut c_void, free: qauth_free_function) -> Lent {
        Lent { user_data: UserData(user_data), free, ours: AtomicBool::new(false) }
    }

    /// The call that brought it has succeeded: it is ours.
    pub(crate) fn accept(&self) {
        self.ours.store(true, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> *mut c_void {
        self.user_data.get()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (true, Some(free)) = (*self.ours.get_mut(), self.free) {
            let left = Left { user_data: self.user_data, free, next: std::ptr::null_mut() };
            match std::thread::current().name().is_some_and(|name| name.starts_with("qauth-")) {
                true => left.keep(),
                false => left.free(),
            }
        }
    }
}

/// User data that a thread of the engine was the last to let go of. The program is never called there: the next function of
/// this library frees it.
struct Left {
    user_data: UserData,
    free: FreeFunction,
    next: *mut Left,
}

/// A list without a lock, which a child of fork could inherit held.
static LEFT: AtomicPtr<Left> = AtomicPtr::new(std::ptr::null_mut());

impl Left {
    fn keep(self) {
        let own = Box::into_raw(Box::new(self));
        let mut first = LEFT.load(Ordering::Relaxed);
        loop {
            // SAFETY: it is ours until the exchange below succeeds.
            unsafe { (*own).next = first };
            match LEFT.compare_exchange_weak(first, own, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(other) => first = other,
            }
        }
    }

    fn free(&self) {
        // SAFETY: the host gave this function and promised that it can be called so; each `Left` is freed once.
        unsafe { (self.free)(self.user_data.get()) };
    }
}

/// Frees what threads of the engine have left.
#[inline]
pub(crate) fn free_what_is_left() {
    if !LEFT.load(Ordering::Relaxed).is_null() {
        free_all();
    }
}

#[cold]
fn free_all() {
    let mut next = LEFT.swap(std::ptr::null_mut(), Ordering::Acquire);
    while !next.is_null() {
        // SAFETY: it came from `keep`; the exchange above made the whole list ours.
        let left = unsafe { Box::from_raw(next) };
        next = left.next;
        left.free();
    }
}
