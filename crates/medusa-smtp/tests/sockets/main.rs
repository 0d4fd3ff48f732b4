//! Over real sockets, into real Maildirs: clients that people use.

#![allow(clippy::unwrap_used, reason = "a test panics where something is not as expected")]

mod clients;
#[allow(dead_code, reason = "some of its flaws are for other tests")]
#[path = "../../src/sending/flawed.rs"]
mod flawed;
mod relaying;
mod support;
