//! The store protocol (DESIGN.md 5) under a model checker: every order of the steps of some processes that share a record,
//! with crashes, stops, lost answers, a store that fails or steps back. docs/protocol.md says what comes of it.
#![cfg(test)]

mod checks;
mod mutations;
mod party;
mod properties;
mod rules;
mod world;
