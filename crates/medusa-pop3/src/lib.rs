//! A POP3 server (RFC 1939): shows each account its maildrop, and removes what it was told to.
//!
//! - [`Pop3Service`] is what a program mounts: [`Maildrops`] of its own, and the accounts' `Logins`.
//! - [`Pop3`] is the plug-in `[pop3.NAME]`, with Maildirs.
//!
//! The protocol is a machine over lines that knows neither sockets nor files. Mail is stored elsewhere
//! (`medusa-mail`), and so are accounts (`medusa-accounts`).

mod access;
mod ahead;
mod commands;
mod exclusive;
mod login_delay;
mod plugin;
mod replies;
mod retrieval;
mod service;
mod session;
mod surrogate_text;
#[cfg(test)]
mod tests;
mod visit;
mod wire_text;

pub use medusa_accounts::PlaintextLogin;
pub use plugin::{Pop3, Pop3Config};
pub use service::{Maildrops, Pop3Service};
