//! FTP measured beside vsftpd: whole sessions, large files both ways, idle control connections. What is
//! compared is the processor time of all of a server's processes; vsftpd has two for each session.

mod account;
mod client;
mod servers;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::idle::growth;
use crate::machine;
use crate::measure::{Effort, Reached, Round, goals};
use crate::process::{Interrupt, raise_descriptors};
use crate::suite::Options;
use crate::table::{self, median, number, table};

use client::{Control, session};
use servers::{Kind, Server, Workshop};

/// MiB of the large file.
const LARGE: u64 = 200;
const IDLE: usize = 5_000;
/// Descriptors that are left for everything else.
const SPARE: usize = 200;
/// Octets that an idle control connection may weigh.
const IDLE_OCTETS: f64 = 1024.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drive {
    /// Connect, log in, one small RETR, QUIT, one after the other.
    Sessions,
    Download,
    Upload,
}

struct Work {
    name: &'static str,
    drive: Drive,
    /// At most so many times vsftpd's processor time.
    cost: f64,
}

const WORKS: &[Work] = &[
    Work {
        name: "a session: connect, log in, 4 KiB RETR, QUIT",
        drive: Drive::Sessions,
        cost: 1.0 / 15.0,
    },
    Work { name: "download of 200 MiB", drive: Drive::Download, cost: 1.0 },
    Work { name: "upload of 200 MiB", drive: Drive::Upload, cost: 0.7 },
];

struct Measured {
    kind: Kind,
    samples: Vec<Round>,
}

/// Measures, and prints what was found.
pub(crate) fn run(options: &Options) -> Result<()> {
    let interrupt = Interrupt::watch()?;
    let medusa = options.medusa()?;
    let descriptors = usize::try_from(raise_descriptors()).unwrap_or(usize::MAX);
    let idle = IDLE.min(descriptors.saturating_sub(SPARE));
    let cores = options.cores()?;
    let effort = options.effort();
    println!("{}", machine::facts(cores));
    let missing = || "vsftpd: not installed or not root, and so not measured".to_owned();
    println!("- {}", Kind::Vsftpd.version().unwrap_or_else(missing));
    let workshop = Workshop { cores, medusa, other: options.other(), connections: idle + SPARE };
    let how = if workshop.is_accounted() { "control groups" } else { "/proc, which forgets some" };
    println!("- processor time by {how}");
    println!("- medians of {} rounds of some {} s\n", effort.rounds, effort.seconds);
    let mut reached = Vec::new();
    for work in WORKS.iter().filter(|work| options.wants(work.name)) {
        let measured = work.measure(&workshop, effort, &interrupt)?;
        println!("### {}\n\n{}", work.name, work.table(&measured));
        reached.push(work.reached(&measured));
    }
    let name = "memory of an idle control connection";
    if options.wants(name) {
        let each = weigh(&workshop, idle, &interrupt)?;
        println!(
            "### {name}\n\n{} that have logged in: {} octets each\n",
            number(idle as f64),
            number(each)
        );
        reached.push(Reached {
            work: name.to_owned(),
            what: "medusa, octets".to_owned(),
            value: number(each),
            goal: format!("≤ {}", number(IDLE_OCTETS)),
            is_met: Some(each <= IDLE_OCTETS),
        });
    }
    println!("### goals\n\n{}", goals(reached));
    Ok(())
}

impl Work {
    fn measure(
        &self,
        workshop: &Workshop,
        effort: Effort,
        interrupt: &Interrupt,
    ) -> Result<Vec<Measured>> {
        let mut servers = Vec::new();
        for kind in [Kind::Medusa, Kind::Other, Kind::Vsftpd] {
            interrupt.check()?;
            servers.extend(workshop.start(kind, LARGE)?);
        }
        let mut measured: Vec<_> = servers
            .iter()
            .map(|server| Measured { kind: server.kind, samples: Vec::new() })
            .collect();
        for round in 0..=effort.rounds {
            for (server, measured) in servers.iter().zip(&mut measured) {
                interrupt.check()?;
                let sample = self.round(server, effort.seconds);
                let failed = || format!("{} at \"{}\"", server.kind.name(), self.name);
                let sample = sample.with_context(failed)?;
                // The first round fills caches and counts for nothing.
                if round > 0 {
                    measured.samples.push(sample);
                }
            }
        }
        Ok(measured)
    }

    fn round(&self, server: &Server, seconds: u32) -> Result<Round> {
        let mut control = match self.drive {
            Drive::Sessions => None,
            Drive::Download | Drive::Upload => Some(Control::log_in(server.address)?),
        };
        let before = server.spent()?;
        let begun = Instant::now();
        let (mut done, mut uploads) = (0.0, 0);
        while done == 0.0 || begun.elapsed() < Duration::from_secs(seconds.into()) {
            done += match &mut control {
                None => {
                    session(server.address)?;
                    1.0
                }
                Some(control) if self.drive == Drive::Download => {
                    control.fetch("large")?;
                    LARGE as f64
                }
                Some(control) => {
                    control.store(&format!("up/{uploads}"), LARGE)?;
                    // Not the newest: vsftpd tells that it is there before it has closed it, and who lets go
                    // of a file last pays for its removal.
                    if let Some(before) = u32::checked_sub(uploads, 1) {
                        server.remove(&format!("up/{before}"))?;
                    }
                    uploads += 1;
                    LARGE as f64
                }
            };
        }
        let took = begun.elapsed();
        if let Some(control) = &mut control {
            // It has closed what it had open.
            control.settle()?;
        }
        if self.drive == Drive::Sessions {
            // What the processes of sessions spend on ending is a part of it.
            server.process.settle()?;
        }
        let spent = server.spent()?.since(before);
        if let Some(last) = u32::checked_sub(uploads, 1) {
            server.remove(&format!("up/{last}"))?;
        }
        Ok(Round { done, took, spent })
    }

    fn table(&self, measured: &[Measured]) -> String {
        let base = measured.iter().find(|one| one.kind == Kind::Vsftpd);
        let rows: Vec<_> = measured
            .iter()
            .map(|one| {
                let middle = |value: fn(&Round) -> f64| median(one.samples.iter().map(value));
                let least = one.samples.iter().map(Round::cost).fold(f64::INFINITY, f64::min);
                let most = one.samples.iter().map(Round::cost).fold(0.0, f64::max);
                [
                    one.kind.name().to_owned(),
                    number(middle(Round::rate)),
                    number(middle(Round::cost)),
                    number(middle(Round::user)),
                    number(middle(Round::system)),
                    format!("{}–{}", number(least), number(most)),
                    base.map_or("–".to_owned(), |base| number(ratio(one, base))),
                ]
            })
            .collect();
        let (rate, cost) = match self.drive {
            Drive::Sessions => ("sessions/s", "CPU µs/session"),
            Drive::Download | Drive::Upload => ("MiB/s", "CPU µs/MiB"),
        };
        table(["server", rate, cost, "user", "system", "least–most", "× vsftpd"], &rows)
    }

    fn reached(&self, measured: &[Measured]) -> Reached {
        let find = |kind| measured.iter().find(|one| one.kind == kind);
        let both = find(Kind::Medusa).zip(find(Kind::Vsftpd));
        let ratio = both.map(|(one, base)| ratio(one, base));
        Reached {
            work: self.name.to_owned(),
            what: "medusa / vsftpd".to_owned(),
            value: ratio.map_or("not measured".to_owned(), |ratio| format!("{ratio:.3}")),
            goal: format!("≤ {:.3}", self.cost),
            is_met: ratio.map(|ratio| ratio <= self.cost),
        }
    }
}

fn ratio(one: &Measured, base: &Measured) -> f64 {
    table::ratio(one.samples.iter().map(Round::cost), base.samples.iter().map(Round::cost))
}

/// What the server's memory grows by for each of so many control connections that have logged in.
fn weigh(workshop: &Workshop, connections: usize, interrupt: &Interrupt) -> Result<f64> {
    let server = workshop.start(Kind::Medusa, 0)?.context("medusa is always there")?;
    let open = |count| (0..count).map(|_| Control::log_in(server.address)).collect();
    Ok(growth(&server.process, connections, interrupt, open)?.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Spent;

    fn measured(kind: Kind, micros: &[u64]) -> Measured {
        let samples = micros.iter().map(|micros| {
            let spent = Spent { user: Duration::from_micros(*micros), ..Spent::default() };
            Round { done: 10.0, took: Duration::from_secs(1), spent }
        });
        Measured { kind, samples: samples.collect() }
    }

    #[test]
    fn a_goal_is_a_part_of_what_vsftpd_costs() {
        let measured = [measured(Kind::Medusa, &[10, 200]), measured(Kind::Vsftpd, &[200, 4_000])];
        let work = &WORKS[0];
        assert_eq!(work.reached(&measured).is_met, Some(true));
        assert_eq!(Work { cost: 0.04, ..*work }.reached(&measured).is_met, Some(false));
        assert_eq!(work.reached(&measured[..1]).is_met, None);
    }
}
