//! The simulator as a client meets it: over HTTP, one file per vendor and one per thing that can be scripted.

mod cli;
mod clock;
mod common_api;
mod control;
mod faults;
mod generic;
mod generic_dpop;
mod generic_flows;
mod generic_grants;
mod qpay;
mod quable;
mod quantaprice;
mod quartile;
mod quiqup;
mod scripted;
mod signing;
mod support;
mod tls;
