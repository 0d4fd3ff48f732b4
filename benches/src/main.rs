//! Medusa measured beside the servers that people use today. docs/benchmarks.md says how to read it.

mod bare;
mod canned;
mod client;
mod datagrams;
mod handler;
mod http;
mod idle;
mod load;
mod machine;
mod measure;
mod process;
mod servers;
mod site;
mod table;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser};

use measure::Effort;

/// Measures Medusa beside the servers that people use today.
#[derive(Parser)]
enum Command {
    /// Measures HTTP: small replies, files, gzip, idle connections.
    Http(Options),
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

/// How to measure.
#[derive(Args)]
struct Options {
    /// Short rounds, to see whether it runs; the numbers mean little
    #[arg(long)]
    quick: bool,
    /// How often each server is measured [default: 5; quick: 3]
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// How long each time [default: 3; quick: 1]
    #[arg(long, value_name = "N")]
    seconds: Option<u32>,
    /// Only the works whose name holds this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// The medusa to measure [default: this workspace's, built when needed]
    #[arg(long, value_name = "PROGRAM")]
    medusa: Option<PathBuf>,
    /// Another build of medusa, measured beside it
    #[arg(long, value_name = "PROGRAM")]
    other: Option<PathBuf>,
}

impl Options {
    fn effort(&self) -> Effort {
        let (rounds, seconds) = if self.quick { (3, 1) } else { (5, 3) };
        Effort {
            rounds: self.rounds.unwrap_or(rounds).max(1),
            seconds: self.seconds.unwrap_or(seconds).max(1),
        }
    }

    fn wants(&self, work: &str) -> bool {
        self.only.as_ref().is_none_or(|only| work.contains(only.as_str()))
    }
}

fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::Http(options) => http::run(&options),
        Command::Datagrams(options) => datagrams::run(&options),
        Command::ServeBare { address } => bare::serve(address),
        Command::ServeCanned { address } => canned::serve(address),
        Command::ServeHandler { address } => handler::serve(address),
        Command::ServeDatagrams { address } => datagrams::serve(address),
    }
}
