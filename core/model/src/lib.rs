//! The state machine of a source under a model checker.
//!
//! `life` is core's own file, compiled here a second time: its locks, atomics and pointers come from a `sync` that lets loom
//! decide which thread runs next, and loom tries every order. What runs around it is written here as core does it.
#![cfg(test)]

#[allow(dead_code)]
#[path = "../../src/life.rs"]
mod life;
mod sync;
mod world;

mod properties;
