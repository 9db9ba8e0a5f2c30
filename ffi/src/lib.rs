//! qauth-ffi
