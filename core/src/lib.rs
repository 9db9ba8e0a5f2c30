//! qauth-core: one token engine that every language borrows.
//!
//! An [`Engine`] holds profiles; a [`TokenSource`] is one profile's live object and gives valid tokens: obtained once,
//! cached, renewed before their end, shared by everybody who asks.
//!
//! ```no_run
//! use qauth_core::{Engine, TokenOptions};
//!
//! let engine = Engine::from_file("qauth.toml")?;
//! let source = engine.source("pricing")?;
//! let token = source.token_blocking(TokenOptions::default())?;
//! println!("valid for {:?}", token.expires_in());
//! # Ok::<(), qauth_core::Error>(())
//! ```
#![deny(unsafe_code)]

mod attach;
mod block;
mod call;
mod challenge;
mod client_auth;
mod clock;
mod completion;
mod config;
mod custom;
mod discovery;
mod document;
mod dpop;
mod duration;
mod engine;
mod error;
mod events;
mod exchange;
mod exit;
#[doc(hidden)]
pub mod fleet;
mod forkcell;
mod forkmap;
mod jose;
mod json;
mod life;
mod login;
mod metrics;
mod panics;
mod private_file;
mod profile;
mod provider;
mod random;
mod record_name;
mod recorded;
mod records;
mod refresh;
mod registry;
mod request;
mod response;
mod runtime;
mod saving;
mod schedule;
#[cfg(feature = "schema")]
pub mod schema;
mod secret;
mod signing;
mod skew;
mod source;
mod store;
mod sync;
mod token;
mod token_source;
mod transport;
mod url_rules;
mod windows;

pub use attach::Headers;
pub use block::block_on_while;
pub use call::{Again, Answer, CallResult, Request, Response};
pub use clock::Clock;
pub use completion::{CompletionQueue, Pending};
pub use config::Discovery;
pub use custom::{CustomToken, TokenCall, TokenFunction};
pub use duration::duration_argument;
pub use engine::Engine;
pub use error::{Error, ErrorCode, Result};
pub use events::{Event, EventKind, EventLog, Severity, Subscription};
pub use exit::wait_for_answers;
pub use login::{LoggedIn, LoggedOut, Login, LoginKind, LoginOptions, Revocation};
pub use metrics::{Metrics, ProfileMetrics};
pub use panics::guarded;
pub use provider::{FieldInfo, Mistake, OperationInfo, Provider};
pub use recorded::Recorded;
pub use records::{RecordInfo, RecordState};
pub use secret::Secret;
pub use token::Token;
pub use token_source::{CallOptions, TokenOptions, TokenRef, TokenSource};

/// This library's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
