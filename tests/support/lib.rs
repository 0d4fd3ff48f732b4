//! Helpers of the tests over real sockets: a server that is started and ended, and real clients.
//!
//! Every wait has an end: a test that would hang fails instead. Servers listen on loopback, on ports that
//! the system chooses.

mod certificates;
mod client;
mod mail;
mod server;

pub use certificates::Authority;
pub use client::{Answer, curl, openssl, require};
pub use mail::{Conversation, messages};
pub use rustix::process::Signal;
pub use server::{Server, Site};

use std::time::{Duration, Instant};

/// How long anything may take. Generous, since it is met only by what is broken.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Asks again and again until `condition` holds; fails when it never does.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "waited {PATIENCE:?} for this in vain: {what}");
        std::thread::yield_now();
    }
}
