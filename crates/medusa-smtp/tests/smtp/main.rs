//! The protocol without a socket: what a client says, and what it is answered.

#![allow(clippy::unwrap_used, reason = "a test panics where something is not as expected")]

mod bounds;
mod conversation;
mod fixture;
mod fuzz;
mod logins;
mod messages;
mod policies;
mod recipients;
mod reports;
mod smuggling;
mod splits;
