//! The C library as a host loads it: by `dlopen`, through the symbols of its header.

use std::ffi::{CString, c_char, c_void};
use std::path::Path;
use std::ptr::null_mut;

use libloading::{Library, Symbol};

type Code = i32;
type FromJson = unsafe extern "C" fn(*const c_char, *mut *mut c_void, *mut *mut c_void) -> Code;
type EngineSource = unsafe extern "C" fn(*const c_void, *const c_char, *mut *mut c_void, *mut *mut c_void) -> Code;
type SourceHeader = unsafe extern "C" fn(*const c_void, *mut c_char, usize, *mut usize, *mut *mut c_void) -> Code;

/// One source of a library that was loaded at run time. The handles live as long as the process.
pub(crate) struct LoadedSource {
    source: *mut c_void,
    header: SourceHeader,
    /// Keeps the code mapped.
    _library: Library,
}

// SAFETY: the header says that a source may be used by any thread, any number at once.
unsafe impl Sync for LoadedSource {}

impl LoadedSource {
    pub(crate) fn open(path: &Path, config: &str, profile: &str) -> LoadedSource {
        // SAFETY: libqauth has no initialisers with preconditions; the types are those of include/qauth.h.
        unsafe {
            let library = Library::new(path).expect("libqauth.so loads");
            let from_json: Symbol<'_, FromJson> =
                library.get(b"qauth_engine_from_json\0").expect("a symbol of the header");
            let engine_source: Symbol<'_, EngineSource> =
                library.get(b"qauth_engine_source\0").expect("a symbol of the header");
            let header: Symbol<'_, SourceHeader> =
                library.get(b"qauth_source_header\0").expect("a symbol of the header");
            let (mut engine, mut source) = (null_mut(), null_mut());
            let config = CString::new(config).expect("no NUL");
            let profile = CString::new(profile).expect("no NUL");
            assert_eq!(from_json(config.as_ptr(), &mut engine, null_mut()), 0, "the configuration is fine");
            assert_eq!(engine_source(engine, profile.as_ptr(), &mut source, null_mut()), 0, "the profile is fine");
            let header = *header;
            LoadedSource { source, header, _library: library }
        }
    }

    /// `qauth_source_header` into the buffer; how many bytes it needs.
    pub(crate) fn header(&self, buffer: &mut [u8]) -> usize {
        let mut needed = 0;
        // SAFETY: the buffer is writable for its length, the source is alive.
        let code =
            unsafe { (self.header)(self.source, buffer.as_mut_ptr().cast(), buffer.len(), &mut needed, null_mut()) };
        assert_eq!(code, 0, "a header");
        needed
    }
}
