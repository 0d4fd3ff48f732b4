//! POP3 over real sockets, with Maildirs, TLS, and the clients that people use.

#![allow(clippy::unwrap_used)]

mod clients;
mod fixture;
mod wire;
