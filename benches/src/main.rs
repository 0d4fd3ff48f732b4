//! Medusa measured beside the servers that people use today. docs/benchmarks.md says how to read it.

mod bare;
mod canned;
mod client;
mod datagrams;
mod dns;
mod ftp;
mod handler;
mod handshakes;
mod http;
mod idle;
mod load;
mod machine;
mod mail;
mod measure;
mod process;
mod servers;
mod site;
mod suite;
mod table;
mod tls;

use std::net::SocketAddr;

use clap::Parser;

/// Measures Medusa beside the servers that people use today.
#[derive(Parser)]
enum Command {
    /// Measures HTTP: small replies, files, gzip, idle connections.
    Http(suite::Options),
    /// Measures TLS 1.3: files, handshakes, idle connections.
    Tls(suite::Options),
    /// Measures FTP: sessions, large files both ways, idle control connections.
    Ftp(suite::Options),
    /// Measures mail: accepting it durably, fetching it, idle sessions.
    Mail(suite::Options),
    /// Measures DNS: answers over UDP and TCP, loading and holding a large zone.
    Dns(suite::Options),
    /// Measures datagrams that are sent back by the core and by a bare loop in C.
    Datagrams(datagrams::Options),
    /// Serves a canned reply from a bare epoll loop.
    #[command(hide = true)]
    ServeBare {
        /// Where to listen.
        address: SocketAddr,
    },
    /// Serves the same reply from a session on the core.
    #[command(hide = true)]
    ServeCanned {
        /// Where to listen.
        address: SocketAddr,
    },
    /// Serves the same reply from a handler on medusa-http.
    #[command(hide = true)]
    ServeHandler {
        /// Where to listen.
        address: SocketAddr,
    },
    /// Sends datagrams back from the core.
    #[command(hide = true)]
    ServeDatagrams {
        /// Where to listen.
        address: SocketAddr,
    },
}

fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::Http(options) => http::run(&options),
        Command::Tls(options) => tls::run(&options),
        Command::Ftp(options) => ftp::run(&options),
        Command::Mail(options) => mail::run(&options),
        Command::Dns(options) => dns::run(&options),
        Command::Datagrams(options) => datagrams::run(&options),
        Command::ServeBare { address } => bare::serve(address),
        Command::ServeCanned { address } => canned::serve(address),
        Command::ServeHandler { address } => handler::serve(address),
        Command::ServeDatagrams { address } => datagrams::serve(address),
    }
}
