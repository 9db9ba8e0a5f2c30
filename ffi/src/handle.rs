//! Opaque handles, and every cast of this crate.
//!
//! A handle points to a [`Tagged`] value. Its first word names its type; `free` overwrites it. So a handle of another type
//! is refused always, and one that was freed as long as its memory has not been used again.

use std::sync::atomic::{AtomicU64, Ordering};

use qauth_core::{Error, ErrorCode};

use crate::guard::Result;

const FREED: u64 = 0xdead_dead_dead_dead;

/// An opaque C type, and what is behind it.
pub(crate) trait Handle: Sized {
    /// The type's own number, unlike every other's.
    const TAG: u64;
    /// Its C name.
    const NAME: &'static str;
    /// What it stands for.
    type Value: Send + Sync;
}

#[repr(C)]
struct Tagged<T> {
    tag: AtomicU64,
    value: T,
}

macro_rules! handle {
    ($( $(#[doc = $doc:literal])* $name:ident($value:ty) = $tag:literal; )+) => {
        $( impl $crate::handle::Handle for $name {
            const TAG: u64 = u64::from_be_bytes(*$tag);
            const NAME: &'static str = stringify!($name);
            type Value = $value;
        } )+
    };
}
pub(crate) use handle;

fn invalid<T>(message: String) -> Result<T> {
    Err(Error::new(ErrorCode::InvalidArgument, message).into())
}

fn usable<T>(pointer: *const T) -> bool {
    !pointer.is_null() && pointer.is_aligned()
}

/// The pointer to what is behind a handle, if its tag is right.
fn tagged<H: Handle>(handle: *const H) -> Option<*const Tagged<H::Value>> {
    let tagged = handle.cast::<Tagged<H::Value>>();
    if !usable(tagged) {
        return None;
    }
    // SAFETY: the pointer is aligned and not null; the header demands that it came from this library, and everything that
    // this library gives out as a handle begins with a tag.
    let tag = unsafe { &(*tagged).tag };
    (tag.load(Ordering::Relaxed) == H::TAG).then_some(tagged)
}

/// The value behind a handle; `None` where it is NULL, of another type or freed.
#[inline(always)]
pub(crate) fn peek<'a, H: Handle>(handle: *const H) -> Option<&'a H::Value> {
    // SAFETY: the tag proves that a `Tagged<H::Value>` is there; the header demands that it is not freed before the call
    // has ended.
    tagged(handle).map(|tagged| unsafe { &(*tagged).value })
}

/// The same as a refusal that names the parameter.
#[inline(always)]
pub(crate) fn borrow<'a, H: Handle>(handle: *const H, parameter: &str) -> Result<&'a H::Value> {
    match peek(handle) {
        Some(value) => Ok(value),
        None if handle.is_null() => invalid(format!("{parameter}: must not be NULL")),
        None => invalid(format!("{parameter}: is no {}, or was freed", H::NAME)),
    }
}

/// A new handle, owned by the caller.
pub(crate) fn give<H: Handle>(value: H::Value) -> *mut H {
    Box::into_raw(Box::new(Tagged { tag: AtomicU64::new(H::TAG), value })).cast()
}

/// Takes a handle's value out and frees it; `None` where it is NULL, of another type or freed already.
pub(crate) fn take<H: Handle>(handle: *mut H) -> Option<H::Value> {
    let tagged = tagged(handle)?.cast_mut();
    // SAFETY: the tag proves that a `Tagged<H::Value>` is there.
    let tag = unsafe { &(*tagged).tag };
    // Of two threads that free the same handle one wins.
    tag.compare_exchange(H::TAG, FREED, Ordering::AcqRel, Ordering::Relaxed).ok()?;
    // SAFETY: it came from `give`; the exchange above lets nobody else come here.
    let whole = unsafe { Box::from_raw(tagged) };
    Some(whole.value)
}

/// The same for a call that uses the handle up, whatever comes of it.
pub(crate) fn consume<H: Handle>(handle: *mut H, parameter: &str) -> Result<H::Value> {
    match take(handle) {
        Some(value) => Ok(value),
        None if handle.is_null() => invalid(format!("{parameter}: must not be NULL")),
        None => invalid(format!("{parameter}: is no {}, or was used up", H::NAME)),
    }
}

/// A handle that stays ours: C borrows it for as long as this lives.
pub(crate) struct Own<H: Handle>(Box<Tagged<H::Value>>);

impl<H: Handle> Own<H> {
    pub(crate) fn new(value: H::Value) -> Own<H> {
        Own(Box::new(Tagged { tag: AtomicU64::new(H::TAG), value }))
    }

    pub(crate) fn as_ptr(&self) -> *const H {
        (&raw const *self.0).cast()
    }
}

impl<H: Handle> Drop for Own<H> {
    fn drop(&mut self) {
        self.0.tag.store(FREED, Ordering::Relaxed);
    }
}

/// A place for a result, checked before any work is done.
pub(crate) struct Out<T>(*mut T);

/// Refuses NULL.
pub(crate) fn out<T>(place: *mut T, parameter: &str) -> Result<Out<T>> {
    match usable(place) {
        true => Ok(Out(place)),
        false if place.is_null() => invalid(format!("{parameter}: must not be NULL")),
        false => invalid(format!("{parameter}: is not aligned")),
    }
}

/// NULL means that the caller does not want to know.
#[inline(always)]
pub(crate) fn out_if_wanted<T>(place: *mut T, parameter: &str) -> Result<Option<Out<T>>> {
    if place.is_null() { Ok(None) } else { out(place, parameter).map(Some) }
}

impl<T> Out<T> {
    pub(crate) fn write(self, value: T) {
        // SAFETY: checked by `out`; the header demands that it is writable.
        unsafe { self.0.write(value) }
    }
}

impl<H: Handle> Out<*mut H> {
    /// Hands a new handle over.
    pub(crate) fn put(self, value: H::Value) {
        self.write(give(value));
    }
}

/// `count` values at `first`; NULL only where there are none.
pub(crate) fn slice<'a, T>(first: *const T, count: usize, parameter: &str) -> Result<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    if first.is_null() {
        return invalid(format!("{parameter}: must not be NULL where its length is {count}"));
    }
    if !first.is_aligned() {
        return invalid(format!("{parameter}: is not aligned"));
    }
    if count.checked_mul(size_of::<T>().max(1)).is_none_or(|bytes| bytes > isize::MAX as usize) {
        return invalid(format!("{parameter}: its length {count} is longer than any memory"));
    }
    // SAFETY: not null, aligned, and no longer than memory can be; the header demands that the values are there.
    Ok(unsafe { std::slice::from_raw_parts(first, count) })
}

/// No struct of ours ever had more members than fit into this.
const LARGEST: usize = 4096;

/// A visible struct whose first member tells its size in the program, as ABI.md has it.
///
/// # Safety
/// `T` is `repr(C)`, begins with a `usize`, needs no wider alignment, and every bit pattern is one of its values.
pub(crate) unsafe fn sized<'a, T>(whole: *const T, parameter: &str, begin_with: &str) -> Result<&'a T> {
    if whole.is_null() {
        return invalid(format!("{parameter}: must not be NULL"));
    }
    // The first member alone: no more may be there.
    let size = slice(whole.cast::<usize>(), 1, parameter)?[0];
    let known = size_of::<T>();
    if !(known..=LARGEST).contains(&size) {
        return invalid(format!("{parameter}.struct_size: is {size}; begin with {begin_with}, which makes it {known}"));
    }
    let bytes = slice(whole.cast::<u8>(), size, parameter)?;
    if bytes[known..].iter().any(|byte| *byte != 0) {
        return invalid(format!("{parameter}: uses members that this version of the library does not know"));
    }
    // SAFETY: not null, aligned for its first and widest member, and as long as the whole struct.
    Ok(unsafe { &*whole })
}

/// A caller's buffer to copy a text into, with a NUL after it.
#[derive(Clone, Copy)]
pub(crate) struct Buffer {
    first: *mut u8,
    size: usize,
}

/// NULL only where the size is zero.
#[inline(always)]
pub(crate) fn buffer(first: *mut std::ffi::c_char, size: usize, parameter: &str) -> Result<Buffer> {
    if first.is_null() && size > 0 {
        return invalid(format!("{parameter}: must not be NULL where its size is {size}"));
    }
    if size > isize::MAX as usize {
        return invalid(format!("{parameter}: its size {size} is longer than any memory"));
    }
    Ok(Buffer { first: first.cast(), size })
}

impl Buffer {
    /// Copies the whole text, or nothing but an empty one. Returns what is needed, the NUL included, and whether it fitted.
    #[inline(always)]
    pub(crate) fn copy(self, text: &str) -> (usize, bool) {
        let needed = text.len() + 1;
        if needed > self.size {
            if self.size > 0 {
                // SAFETY: the buffer has at least one byte.
                unsafe { self.first.write(0) };
            }
            return (needed, false);
        }
        // SAFETY: the buffer has `needed` bytes by the line above; the text is ours and cannot overlap it.
        unsafe {
            self.first.copy_from_nonoverlapping(text.as_ptr(), text.len());
            self.first.add(text.len()).write(0);
        }
        (needed, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct one;
    struct other;
    handle! {
        one(String) = b"test one";
        other(String) = b"test two";
    }

    #[test]
    fn a_handle_of_another_type_is_refused() {
        let handle = give::<one>("one".to_owned());
        assert_eq!(peek(handle).unwrap(), "one");
        assert!(peek(handle.cast::<other>()).is_none());
        assert!(take(handle.cast::<other>()).is_none());
        assert_eq!(take(handle).unwrap(), "one");
    }

    #[test]
    fn null_and_unaligned_pointers_are_refused() {
        assert!(peek(std::ptr::null::<one>()).is_none());
        assert!(peek(std::ptr::dangling::<u64>().cast::<u8>().wrapping_add(3).cast::<one>()).is_none());
        assert!(take(std::ptr::null_mut::<one>()).is_none());
        assert!(out(std::ptr::null_mut::<u64>(), "place").is_err());
    }

    #[test]
    fn lengths_beyond_memory_are_refused() {
        // fault 76
        let byte = 1u8;
        assert!(slice(&byte, usize::MAX, "body").is_err());
        assert!(slice(&1u64, usize::MAX / 8 + 1, "body").is_err());
        assert!(slice(std::ptr::null::<u8>(), 1, "body").is_err());
        assert!(slice(std::ptr::null::<u8>(), 0, "body").is_ok_and(<[u8]>::is_empty));
        assert!(buffer(std::ptr::null_mut(), 1, "buffer").is_err());
        assert!(buffer(std::ptr::dangling_mut(), usize::MAX, "buffer").is_err());
    }

    #[test]
    fn a_text_is_copied_whole_or_not_at_all() {
        // fault 78
        let mut bytes = [b'x'; 4];
        let whole = buffer(bytes.as_mut_ptr().cast(), 4, "buffer").ok().unwrap();
        assert_eq!(whole.copy("abc"), (4, true));
        assert_eq!(&bytes, b"abc\0");
        let whole = buffer(bytes.as_mut_ptr().cast(), 4, "buffer").ok().unwrap();
        assert_eq!(whole.copy("wxyz"), (5, false));
        assert_eq!(&bytes, b"\0bc\0");
    }
}
