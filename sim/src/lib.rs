//! Five vendors on loopback, for trying out programs that authenticate with them: Quantaprice, Quiqup, Quable PIM,
//! Quartile and QPay, each with its token endpoint and a small API that demands a valid token. Beside them stand
//! `/generic`, an authorization server that follows the standards to the letter, and `/scripted`, which answers whatever
//! it was told to.
//!
//! They are as strict as the vendors' documents, so that a wrong client is caught; their clock, faults, revocations
//! and settings are scripted over HTTP under `/_sim/` (see the crate's README).
//!
//! ```
//! let sim = qauth_sim::Sim::start(qauth_sim::SimOptions::default())?;
//! let token_endpoint = format!("{}/quantaprice/oauth2/token", sim.url());
//! # assert!(token_endpoint.starts_with("http://127.0.0.1:"));
//! # Ok::<(), std::io::Error>(())
//! ```

mod body;
mod cli;
mod clock;
mod control;
mod faults;
mod fields;
mod http;
mod jose;
pub mod known;
mod ledger;
mod recorder;
mod server;
mod tls;
mod tokens;
mod vendors;
mod world;

pub use cli::run;
pub use server::{Sim, SimOptions};
