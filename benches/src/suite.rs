//! A suite: works measured one after the other, idle connections weighed, and a table of goals.

use std::path::PathBuf;

use anyhow::{Context, Result};
use medusa_core::tls::{ClientTls, Roots};

use crate::idle::{Weight, weigh};
use crate::machine;
use crate::measure::{Drive, Effort, Reached, Work, costs, goals};
use crate::process::{Cores, Interrupt, raise_descriptors};
use crate::servers::{Kind, Workshop, medusa};
use crate::site::Site;
use crate::table::{number, table};

/// Descriptors that are left for everything else.
const SPARE: usize = 200;

/// What is measured.
pub(crate) struct Suite {
    pub(crate) works: &'static [Work],
    pub(crate) idle: Idle,
    /// Over TLS.
    pub(crate) secured: bool,
}

/// Idle connections to be weighed.
pub(crate) struct Idle {
    pub(crate) name: &'static str,
    pub(crate) connections: usize,
    pub(crate) kinds: &'static [Kind],
    /// Octets that one may weigh; `None`, fewer than nginx's.
    pub(crate) most: Option<f64>,
}

/// How to measure.
#[derive(clap::Args)]
pub(crate) struct Options {
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
    /// Server and client take turns on one core, so that neither waits for the other; latency and
    /// requests per second mean little then
    #[arg(long)]
    one_core: bool,
    /// Another build of medusa, measured beside it
    #[arg(long, value_name = "PROGRAM")]
    other: Option<PathBuf>,
}

impl Options {
    pub(crate) fn effort(&self) -> Effort {
        let (rounds, seconds) = if self.quick { (3, 1) } else { (5, 3) };
        Effort {
            rounds: self.rounds.unwrap_or(rounds).max(1),
            seconds: self.seconds.unwrap_or(seconds).max(1),
        }
    }

    /// Whether it is only to be seen that it runs.
    pub(crate) fn is_quick(&self) -> bool {
        self.quick
    }

    /// Another build to be measured beside it.
    pub(crate) fn other(&self) -> Option<PathBuf> {
        self.other.clone()
    }

    /// The program to be measured.
    pub(crate) fn medusa(&self) -> Result<PathBuf> {
        self.medusa.clone().map_or_else(medusa, Ok)
    }

    pub(crate) fn cores(&self) -> Result<Cores> {
        let cores = Cores::take()?;
        if self.one_core { cores.shared() } else { Ok(cores) }
    }

    pub(crate) fn wants(&self, work: &str) -> bool {
        self.only.as_ref().is_none_or(|only| work.contains(only.as_str()))
    }
}

impl Suite {
    /// Measures, and prints what was found.
    pub(crate) fn run(&self, options: &Options) -> Result<()> {
        let interrupt = Interrupt::watch()?;
        let medusa = options.medusa()?;
        let descriptors = usize::try_from(raise_descriptors()).unwrap_or(usize::MAX);
        let idle = self.idle.connections.min(descriptors.saturating_sub(SPARE));
        let cores = options.cores()?;
        let site = Site::make()?;
        let tls = if self.secured { Some(certify(&site)?) } else { None };
        let other = options.other.clone();
        let workshop = Workshop { site, cores, medusa, other, connections: idle + SPARE, tls };
        let effort = options.effort();
        println!("{}", machine::facts(cores));
        println!("{}", workshop.peers());
        println!("- medians of {} rounds of {} s\n", effort.rounds, effort.seconds);

        let mut reached = Vec::new();
        for work in self.works.iter().filter(|work| options.wants(work.name)) {
            let measured = work.measure(&workshop, effort, &interrupt)?;
            println!("### {}\n\n{}\n", work.name, manner(work.drive));
            println!("{}", costs(&measured, work.goals.first().map(|goal| goal.against)));
            reached.extend(work.goals.iter().map(|goal| goal.reached(work.name, &measured)));
        }
        if options.wants(self.idle.name) {
            let mut weights = Vec::new();
            for kind in self.idle.kinds {
                weights.extend(weigh(&workshop, *kind, idle, &interrupt)?);
            }
            println!("### {}\n\n{} connections\n", self.idle.name, number(idle as f64));
            println!("{}", weights_table(&weights));
            reached.extend(self.idle.reached(&weights));
        }
        println!("### goals\n\n{}", goals(reached));
        Ok(())
    }
}

impl Idle {
    fn reached(&self, weights: &[Weight]) -> Option<Reached> {
        let of = |kind| weights.iter().find(|weight| weight.kind == kind).map(|weight| weight.each);
        let medusa = of(Kind::Medusa)?;
        let (goal, is_met) = match (self.most, of(Kind::Nginx)) {
            (Some(most), _) => (format!("≤ {}", number(most)), Some(medusa <= most)),
            (None, Some(nginx)) => (format!("< {} (nginx)", number(nginx)), Some(medusa < nginx)),
            (None, None) => ("fewer than nginx".to_owned(), None),
        };
        let (work, what) = (self.name.to_owned(), format!("{}, octets", Kind::Medusa.name()));
        Some(Reached { work, what, value: number(medusa), goal, is_met })
    }
}

fn manner(drive: Drive) -> String {
    match drive {
        Drive::Requests { connections, depth: 1 } => format!("{connections} connections"),
        Drive::Requests { connections, depth } => {
            format!("{connections} connections, {depth} requests at once on each")
        }
        Drive::Handshakes { .. } => "one connection after the other, a request on each".to_owned(),
    }
}

fn weights_table(weights: &[Weight]) -> String {
    let rows: Vec<_> = weights
        .iter()
        .map(|weight| {
            let before = number(weight.base as f64 / 1024.0);
            [weight.kind.name().to_owned(), before, number(weight.each)]
        })
        .collect();
    table(["server", "KiB before", "octets each"], &rows)
}

/// Makes a certificate for the servers, and a client that takes it.
fn certify(site: &Site) -> Result<ClientTls> {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    site.write("cert.pem", &certified.cert.pem())?;
    site.write("key.pem", &certified.signing_key.serialize_pem())?;
    // The certificate isn't looked at: what that costs is the client's.
    ClientTls::new(&Roots::Anyone, &[]).context("no client for TLS can be made")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_has_a_limit_or_a_rival() {
        let weight = |kind, each| Weight { kind, base: 0, each };
        let weights = [weight(Kind::Medusa, 478.0), weight(Kind::Nginx, 503.0)];
        let mut idle = Idle { name: "", connections: 1, kinds: &[], most: Some(400.0) };
        let reached = idle.reached(&weights).unwrap();
        assert_eq!((reached.goal.as_str(), reached.is_met), ("≤ 400", Some(false)));
        idle.most = None;
        assert_eq!(idle.reached(&weights).unwrap().is_met, Some(true));
        assert_eq!(idle.reached(&weights[..1]).unwrap().is_met, None);
        assert!(idle.reached(&[]).is_none());
    }
}
