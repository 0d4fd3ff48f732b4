//! An authoritative name server: zones in memory, answers that are pure, and the service that takes
//! questions over UDP, TCP and TLS.
//!
//! - [`DnsService`] is what a program mounts, with [`Zones`](zone::Zones) of its own.
//! - [`Dns`] is the plug-in `[dns.NAME]`, with zone files.
//! - [`Answerer`](answer::Answerer) turns a message into its answer, without a socket, a clock or a file.
//!
//! It resolves nothing itself: questions for names of others are refused, or passed on to servers that
//! do ([`DnsService::with_forwarding`]).

pub mod answer;
mod config;
mod door;
mod ledger;
pub mod name;
mod plugin;
mod rate;
mod recursion;
mod service;
mod session;
mod store;
#[cfg(test)]
mod tests;
mod transfer;
pub mod types;
mod verify;
pub mod wire;
pub mod zone;

pub use config::DnsConfig;
pub use plugin::Dns;
pub use rate::RateLimit;
pub use service::DnsService;
pub use store::{check_zone, load_zone};
