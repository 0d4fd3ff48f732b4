//! Datagrams sent back by the core and by a bare loop in C: what the core itself costs.
//!
//! The loop and the load are one small C program, compiled when it is needed. What counts is the server's
//! processor time, in rounds that take turns.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use medusa_core::config::Listen;
use medusa_core::{
    Acceptor, Datagram, DatagramCx, DatagramService, Listener, Peer, Server, Service, ServiceParts,
    Session,
};

use crate::machine;
use crate::measure::{Reached, goals};
use crate::process::{Cores, Interrupt, Process, Spent};
use crate::table::{median, number, ratio, table};

/// How datagrams are measured.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How often each server is measured under each load
    #[arg(long, value_name = "N", default_value_t = 7)]
    rounds: usize,
    /// How many datagrams each time
    #[arg(long, value_name = "N", default_value_t = 400_000)]
    count: usize,
    /// Octets in a datagram: about a DNS query
    #[arg(long, value_name = "N", default_value_t = 64)]
    size: usize,
}

/// The floor and the load: the same calls without anything around them.
const BARE: &str = include_str!("datagrams.c");

struct Load {
    name: &'static str,
    sockets: usize,
    /// Datagrams in flight on each.
    window: usize,
    /// At most so many times what the first server costs; none where a wake costs more than the
    /// datagram.
    most: Option<f64>,
}

const LOADS: &[Load] = &[
    Load { name: "datagrams in batches", sockets: 4, window: 32, most: Some(1.1) },
    Load { name: "datagrams one at a time", sockets: 1, window: 1, most: None },
];

#[derive(Clone, Copy)]
enum Kind {
    /// A role of the C program.
    Bare(&'static str),
    /// Itself.
    Core,
}

/// Name, kind, and where it listens. All are compared with the first.
const SERVERS: &[(&str, Kind, &str)] = &[
    ("bare, epoll", Kind::Bare("epoll"), "127.0.0.1"),
    ("bare, blocking", Kind::Bare("blocking"), "127.0.0.1"),
    ("core", Kind::Core, "127.0.0.1:0"),
    ("core, wildcard", Kind::Core, "0.0.0.0:0"),
];

/// Measures, and prints a table for each load.
pub(crate) fn run(options: &Options) -> Result<()> {
    let cores = Cores::take()?;
    let interrupt = Interrupt::watch()?;
    println!("{}\n- {} octets a datagram\n", machine::facts(cores), options.size);
    let folder = tempfile::tempdir()?;
    let bare = compile(folder.path())?;
    let mut reached = Vec::new();
    for load in LOADS {
        let mut servers = Vec::new();
        for (_, kind, address) in SERVERS {
            servers.push(Measured::start(cores, *kind, address, &bare)?);
        }
        for round in 0..=options.rounds {
            for server in &mut servers {
                interrupt.check()?;
                // The first round warms up and counts for nothing.
                let count = if round == 0 { options.count / 4 } else { options.count };
                let sample = server.measure(load, &bare, options.size, count);
                // Interrupted, the load has been so too.
                interrupt.check()?;
                let sample = sample?;
                if round > 0 {
                    server.samples.push(sample);
                }
            }
        }
        let costs: Vec<Vec<f64>> = servers.iter().map(Measured::costs).collect();
        println!("## {}\n\n{}", load.name, show(&servers, &costs));
        for (costs, (name, kind, _)) in costs[1..].iter().zip(&SERVERS[1..]) {
            let (Some(most), Kind::Core) = (load.most, kind) else { continue };
            let ratio = ratio(costs.iter().copied(), servers[0].costs());
            reached.push(Reached {
                work: load.name.to_owned(),
                what: format!("{name} / {}", SERVERS[0].0),
                value: format!("{ratio:.2}"),
                goal: format!("≤ {most:.2}"),
                is_met: Some(ratio <= most),
            });
        }
    }
    println!("## Goals\n\n{}", goals(reached));
    Ok(())
}

/// Sends datagrams back until the process is killed; prints its port first.
pub(crate) fn serve(address: SocketAddr) -> Result<()> {
    let server = Server::builder().mount(Box::new(Echo(address))).bind()?;
    if let Listen::Inet(address) = server.bound()[0].address {
        println!("{}", address.port());
    }
    Ok(server.run()?)
}

struct Echo(SocketAddr);

struct EchoDatagrams;

impl DatagramService for EchoDatagrams {
    fn received(&mut self, cx: &mut DatagramCx<'_>, datagram: Datagram<'_>) {
        cx.reply(datagram.sender, |out| out.extend_from_slice(datagram.bytes));
    }
}

impl Service for Echo {
    fn parts(&self) -> ServiceParts {
        ServiceParts::new("echo")
    }

    fn acceptor(&self) -> Box<dyn Acceptor> {
        Box::new(|_: &Peer| -> Box<dyn Session> { unreachable!("there is no listener") })
    }

    fn datagram_listeners(&self) -> Vec<Listener> {
        vec![Listener::new(Listen::Inet(self.0))]
    }

    fn datagram_service(&self) -> Option<Box<dyn DatagramService>> {
        Some(Box::new(EchoDatagrams))
    }
}

/// A server, and what it has cost each time.
struct Measured {
    process: Process,
    port: String,
    /// Datagrams that came back, and what was spent on them.
    samples: Vec<(usize, Spent)>,
}

impl Measured {
    fn start(cores: Cores, kind: Kind, address: &str, bare: &Path) -> Result<Self> {
        let (program, role) = match kind {
            Kind::Bare(role) => (bare.to_owned(), role),
            Kind::Core => (std::env::current_exe()?, "serve-datagrams"),
        };
        let mut command = Command::new(program);
        let mut process = cores.serve(command.args([role, address]).stdout(Stdio::piped()))?;
        let stdout = process.child().stdout.take().context("the server's output")?;
        let mut port = String::new();
        BufReader::new(stdout).read_line(&mut port)?;
        Ok(Measured { process, port: port.trim().to_owned(), samples: Vec::new() })
    }

    /// Has datagrams sent back, and says how many came back and what they cost.
    fn measure(
        &self,
        load: &Load,
        bare: &Path,
        size: usize,
        count: usize,
    ) -> Result<(usize, Spent)> {
        let numbers = [load.sockets, load.window, size, count].map(|number| number.to_string());
        let before = self.process.spent()?;
        let mut command = Command::new(bare);
        let output =
            command.args(["load", &self.port]).args(numbers).stderr(Stdio::inherit()).output()?;
        let spent = self.process.spent()?.since(before);
        ensure!(output.status.success(), "the load failed");
        let returned: usize = std::str::from_utf8(&output.stdout)?.trim().parse()?;
        ensure!(returned * 10 > count * 9, "only {returned} of {count} datagrams came back");
        Ok((returned, spent))
    }

    /// Microseconds for a datagram.
    fn costs(&self) -> Vec<f64> {
        self.samples.iter().map(|(count, spent)| spent.micros() / *count as f64).collect()
    }
}

fn show(servers: &[Measured], costs: &[Vec<f64>]) -> String {
    let each = servers.iter().zip(SERVERS).zip(costs);
    let rows = each.map(|((server, (name, ..)), row)| {
        let user = server
            .samples
            .iter()
            .map(|(count, spent)| spent.user.as_secs_f64() * 1e6 / *count as f64);
        let least = row.iter().copied().fold(f64::INFINITY, f64::min);
        let most = row.iter().copied().fold(0.0, f64::max);
        [
            (*name).to_owned(),
            number(median(row.iter().copied())),
            number(median(user)),
            format!("{}–{}", number(least), number(most)),
            number(ratio(row.iter().copied(), costs[0].iter().copied())),
        ]
    });
    let times = format!("× {}", SERVERS[0].0);
    let headings = ["server", "CPU µs/datagram", "user", "least–most", &times];
    table(headings, &rows.collect::<Vec<_>>())
}

/// Compiles the C program.
pub(crate) fn compile(folder: &Path) -> Result<PathBuf> {
    let (source, program) = (folder.join("datagrams.c"), folder.join("datagrams"));
    std::fs::write(&source, BARE)?;
    let compiled = Command::new("cc").arg("-O2").arg("-o").arg(&program).arg(&source).status();
    match compiled {
        Ok(status) if status.success() => Ok(program),
        Ok(status) => bail!("cc: {status}"),
        Err(error) => Err(error).context("the floor is written in C, and cc compiles it"),
    }
}
