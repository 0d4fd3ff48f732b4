//! Over real sockets, into real Maildirs: crashes, and clients that people use.

#![allow(clippy::unwrap_used, reason = "a test panics where something is not as expected")]

mod clients;
mod crash;
mod relaying;
mod support;
