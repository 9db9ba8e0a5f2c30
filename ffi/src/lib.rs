//! The C face of qauth. `include/qauth.h` is made from this crate's signatures and comments and is its manual.
//!
//! Every function checks what it is given, makes one call into `qauth-core` and hands over the result. [`guard`] keeps
//! panics inside, [`handle`] holds every cast.

#![allow(non_camel_case_types)]
// The contract of each function is its comment, written for C.
#![allow(clippy::missing_safety_doc)]

// In the order in which the header shows them.
mod code;
mod error;
mod version;

mod engine;

mod source;
mod token;

mod headers;
mod request;
mod response;
mod string;

mod queue;

mod custom;

mod event;
mod metrics;
mod records;

// What the header does not show.
mod guard;
mod handle;
mod text;
mod user_data;

pub use code::*;
pub use custom::*;
pub use engine::*;
pub use error::*;
pub use event::*;
pub use headers::*;
pub use metrics::*;
pub use queue::*;
pub use records::*;
pub use request::*;
pub use response::*;
pub use source::*;
pub use string::*;
pub use token::*;
pub use user_data::qauth_free_function;
pub use version::*;
