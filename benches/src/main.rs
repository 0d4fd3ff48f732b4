//! Medusa measured beside the servers that people use today.

mod bare;
mod canned;

use std::net::SocketAddr;

use clap::Parser;

/// Measures Medusa beside the servers that people use today.
#[derive(Parser)]
enum Command {
    /// Serves a canned reply from a bare epoll loop.
    ServeBare {
        /// Where to listen.
        address: SocketAddr,
    },
    /// Serves the same reply from a session on the core.
    ServeCanned {
        /// Where to listen.
        address: SocketAddr,
    },
}

fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::ServeBare { address } => bare::serve(address),
        Command::ServeCanned { address } => canned::serve(address),
    }
}
