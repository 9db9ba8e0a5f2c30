//! The conformance suite: case files under `conformance/`, executed in every language through small drivers.
//!
//! `conformance/README.md` describes the case files and the line protocol.

pub mod case;
pub mod expect;
pub mod face;
pub mod report;
pub mod run;
pub mod simulator;
pub mod suite;
pub mod text;
pub mod wire;
