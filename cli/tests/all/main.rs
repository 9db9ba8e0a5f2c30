//! The command line against the simulator, as the binary and as the library.

mod call;
mod config;
mod errors;
mod login;
mod provider_files;
mod providers;
mod request;
mod simulator;
mod store;
mod streams;
mod support;
mod token;
mod usage;
