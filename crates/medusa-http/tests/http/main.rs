//! The HTTP session over the core's scripted client: no socket, no clock, no sleep.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bounds;
mod conversation;
mod fixture;
mod monitored;
mod origin;
mod predecessors;
mod protected;
mod routes;
mod smuggling;
mod splits;
