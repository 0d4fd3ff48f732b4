//! DNS measured: questions over UDP and TCP beside Knot and NSD and a bare echo, and what a zone of a million
//! names takes to load and to hold. What is compared is the processor time of all of a server's processes;
//! answers a second depend on who else computes.

mod load;
mod servers;
mod zones;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::datagrams;
use crate::machine;
use crate::measure::{Effort, Reached, goals};
use crate::process::{Interrupt, Spent};
use crate::suite::Options;
use crate::table::{self, median, number, table};

use load::{Outcome, Over, ask};
use servers::{Kind, Server, Workshop};
use zones::{APEX, questions, zone};

/// Names of the zone that is asked.
const NAMES: usize = 10_000;
/// Names of the zone that is loaded.
const MANY: usize = 1_000_000;
/// The same with `--quick`.
const FEWER: usize = 100_000;
/// Questions that may be lost, as a share: a server that drops them costs less.
const LOST: f64 = 0.001;

/// One way of asking.
struct Work {
    name: &'static str,
    over: Over,
    kinds: &'static [Kind],
    /// At most so many times the processor time of each of these.
    goals: &'static [(Kind, f64)],
}

const WORKS: &[Work] = &[
    Work {
        name: "UDP",
        over: Over::Udp,
        kinds: &[Kind::Floor, Kind::Medusa, Kind::Other, Kind::Knot, Kind::Nsd],
        goals: &[(Kind::Knot, 0.9), (Kind::Floor, 1.1)],
    },
    Work {
        name: "TCP, 8 connections, pipelined",
        over: Over::Tcp,
        kinds: &[Kind::Medusa, Kind::Other, Kind::Knot, Kind::Nsd],
        goals: &[(Kind::Knot, 0.7)],
    },
];

/// What a server came to, a sample each round.
struct Measured {
    kind: Kind,
    samples: Vec<(Outcome, Spent)>,
}

/// What a zone took to load, a sample each round.
struct Loaded {
    kind: Kind,
    samples: Vec<Loading>,
}

#[derive(Clone, Copy)]
struct Loading {
    /// Seconds until it answered.
    seconds: f64,
    /// Seconds of processor time until then.
    computed: f64,
    octets: f64,
}

/// Measures, and prints what was found.
pub(crate) fn run(options: &Options) -> Result<()> {
    let interrupt = Interrupt::watch()?;
    let medusa = options.medusa()?;
    let folder = tempfile::tempdir()?;
    let floor = datagrams::compile(folder.path())?;
    let cores = options.cores()?;
    let effort = options.effort();
    println!("{}", machine::facts(cores));
    for kind in [Kind::Knot, Kind::Nsd] {
        let missing = || format!("{}: skipped: not installed", kind.name());
        println!("- {}", kind.version().unwrap_or_else(missing));
    }
    println!("- medians of {} rounds of {} s\n", effort.rounds, effort.seconds);
    let workshop = Workshop { cores, medusa, other: options.other(), floor };
    let (small, asked) = (folder.path().join("small.zone"), folder.path().join("questions"));
    fs::write(&small, zone(NAMES))?;
    fs::write(&asked, questions(NAMES))?;
    let mut reached = Vec::new();
    for work in WORKS.iter().filter(|work| options.wants(work.name)) {
        let measured = work.measure(&workshop, (&small, &asked), effort, &interrupt)?;
        println!(
            "### {}\n\n{} names\n\n{}",
            work.name,
            number(NAMES as f64),
            work.table(&measured)
        );
        reached.extend(work.reached(&measured));
    }
    let many = if options.is_quick() { FEWER } else { MANY };
    let name = format!("zone of {} names", number(many as f64));
    if options.wants(&name) {
        let large = folder.path().join("large.zone");
        fs::write(&large, zone(many))?;
        let last = format!("n{}.{APEX}", (many - 1) / 20 * 20);
        let loaded = load_rounds(&workshop, &large, &last, effort.rounds, &interrupt)?;
        println!("### {name}\n\n{}", loaded_table(&loaded));
        reached.extend(loaded_goals(&name, &loaded));
    }
    println!("### goals\n\n{}", goals(reached));
    Ok(())
}

impl Work {
    fn measure(
        &self,
        workshop: &Workshop,
        (zone, questions): (&Path, &Path),
        effort: Effort,
        interrupt: &Interrupt,
    ) -> Result<Vec<Measured>> {
        let mut servers: Vec<(Server, Measured)> = Vec::new();
        for kind in self.kinds {
            interrupt.check()?;
            if let Some(server) = workshop.start(*kind, zone, &format!("n0.{APEX}"))? {
                servers.push((server, Measured { kind: *kind, samples: Vec::new() }));
            }
        }
        for round in 0..=effort.rounds {
            for (server, measured) in &mut servers {
                interrupt.check()?;
                // The first round fills caches and counts for nothing.
                let seconds = if round == 0 { 1 } else { effort.seconds };
                let before = server.process.spent()?;
                let outcome = ask(server.address, self.over, questions, seconds);
                // Interrupted, dnsperf has been so too.
                interrupt.check()?;
                let failed = || format!("{} at \"{}\"", server.kind.name(), self.name);
                let outcome = outcome.with_context(failed)?;
                let spent = server.process.spent()?.since(before);
                let lost = outcome.lost as f64 / (outcome.answered + outcome.lost) as f64;
                ensure!(
                    lost <= LOST,
                    "{} lost {} questions: {}",
                    server.kind.name(),
                    outcome.lost,
                    fs::read_to_string(server.folder().join("said")).unwrap_or_default()
                );
                if round > 0 {
                    measured.samples.push((outcome, spent));
                }
            }
        }
        Ok(servers.into_iter().map(|(_, measured)| measured).collect())
    }

    fn table(&self, measured: &[Measured]) -> String {
        let against = self.goals.first().map(|goal| goal.0);
        let base = measured.iter().find(|one| Some(one.kind) == against);
        let rows: Vec<_> = measured
            .iter()
            .map(|one| {
                let each = |value: fn(&(Outcome, Spent)) -> f64| one.samples.iter().map(value);
                let middle = |value| number(median(each(value)));
                let least = each(cost).fold(f64::INFINITY, f64::min);
                let most = each(cost).fold(0.0, f64::max);
                [
                    one.kind.name().to_owned(),
                    middle(|(o, _)| o.answered as f64 / o.duration.as_secs_f64()),
                    format!("{:.0} %", median(each(share)) * 100.0),
                    middle(cost),
                    middle(|(o, s)| s.user.as_secs_f64() * 1e6 / o.answered as f64),
                    middle(|(o, s)| s.system.as_secs_f64() * 1e6 / o.answered as f64),
                    format!("{}–{}", number(least), number(most)),
                    middle(|(o, _)| o.latency.as_secs_f64() * 1e6),
                    base.map_or("–".to_owned(), |base| number(ratio(one, base))),
                ]
            })
            .collect();
        let times = against.map_or("×".to_owned(), |kind| format!("× {}", kind.name()));
        let headings = [
            "server",
            "answers/s",
            "busy",
            "CPU µs/answer",
            "user",
            "system",
            "least–most",
            "latency µs",
            &times,
        ];
        table(headings, &rows)
    }

    fn reached(&self, measured: &[Measured]) -> Vec<Reached> {
        let find = |kind| measured.iter().find(|one| one.kind == kind);
        let goals = self.goals.iter().map(|(against, most)| {
            let both = find(Kind::Medusa).zip(find(*against));
            let ratio = both.map(|(medusa, against)| ratio(medusa, against));
            Reached {
                work: self.name.to_owned(),
                what: format!("CPU, medusa / {}", against.name()),
                value: ratio.map_or("not measured".to_owned(), |ratio| format!("{ratio:.2}")),
                goal: format!("≤ {most:.2}"),
                is_met: ratio.map(|ratio| ratio <= *most),
            }
        });
        goals.collect()
    }
}

/// Microseconds of processor time for an answer.
fn cost((outcome, spent): &(Outcome, Spent)) -> f64 {
    spent.micros() / outcome.answered as f64
}

/// How much of the time the server computed.
fn share((outcome, spent): &(Outcome, Spent)) -> f64 {
    spent.micros() / 1e6 / outcome.duration.as_secs_f64()
}

fn ratio(one: &Measured, base: &Measured) -> f64 {
    table::ratio(one.samples.iter().map(cost), base.samples.iter().map(cost))
}

/// Has each server load a zone in turn, one at a time.
fn load_rounds(
    workshop: &Workshop,
    zone: &Path,
    last: &str,
    rounds: usize,
    interrupt: &Interrupt,
) -> Result<Vec<Loaded>> {
    let kinds = [Kind::Medusa, Kind::Other, Kind::Knot, Kind::Nsd];
    let mut loaded: Vec<Loaded> =
        kinds.map(|kind| Loaded { kind, samples: Vec::new() }).into_iter().collect();
    for _ in 0..rounds {
        for one in &mut loaded {
            interrupt.check()?;
            let Some(server) = workshop.start(one.kind, zone, last)? else { continue };
            one.samples.push(Loading {
                seconds: server.ready_after.as_secs_f64(),
                computed: server.process.spent()?.micros() / 1e6,
                octets: server.process.resident_octets()? as f64,
            });
        }
    }
    loaded.retain(|one| !one.samples.is_empty());
    Ok(loaded)
}

impl Loaded {
    fn middle(&self, value: fn(&Loading) -> f64) -> f64 {
        median(self.samples.iter().map(value))
    }
}

fn loaded_table(loaded: &[Loaded]) -> String {
    let rows: Vec<_> = loaded
        .iter()
        .map(|one| {
            let computed = |least: fn(f64, f64) -> f64, first| {
                one.samples.iter().map(|sample| sample.computed).fold(first, least)
            };
            [
                one.kind.name().to_owned(),
                number(one.middle(|sample| sample.seconds)),
                number(one.middle(|sample| sample.computed)),
                format!(
                    "{}–{}",
                    number(computed(f64::min, f64::INFINITY)),
                    number(computed(f64::max, 0.0))
                ),
                number(one.middle(|sample| sample.octets) / f64::from(1 << 20)),
            ]
        })
        .collect();
    table(["server", "s until it answers", "CPU s", "least–most", "MiB resident"], &rows)
}

fn loaded_goals(work: &str, loaded: &[Loaded]) -> Vec<Reached> {
    let find = |kind| loaded.iter().find(|one| one.kind == kind);
    let below = |what: &str, rival: Kind, value: fn(&Loading) -> f64| {
        let both = find(Kind::Medusa).zip(find(rival));
        let ratio = both.map(|(medusa, rival)| medusa.middle(value) / rival.middle(value));
        Reached {
            work: work.to_owned(),
            what: format!("{what}, medusa / {}", rival.name()),
            value: ratio.map_or("not measured".to_owned(), |ratio| format!("{ratio:.2}")),
            goal: "< 1.00".to_owned(),
            is_met: ratio.map(|ratio| ratio < 1.0),
        }
    };
    vec![
        below("memory", Kind::Knot, |sample| sample.octets),
        below("memory", Kind::Nsd, |sample| sample.octets),
        below("CPU to load", Kind::Nsd, |sample| sample.computed),
        below("time to load", Kind::Nsd, |sample| sample.seconds),
    ]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn measured(kind: Kind, micros: &[u64]) -> Measured {
        let samples = micros.iter().map(|micros| {
            let spent = Spent { user: Duration::from_micros(*micros), ..Spent::default() };
            (Outcome { answered: 100, ..Outcome::default() }, spent)
        });
        Measured { kind, samples: samples.collect() }
    }

    #[test]
    fn goals_compare_round_by_round() {
        let measured =
            [measured(Kind::Medusa, &[89, 890, 300]), measured(Kind::Knot, &[100, 1000, 300])];
        let reached = WORKS[0].reached(&measured);
        assert_eq!((reached[0].value.as_str(), reached[0].is_met), ("0.89", Some(true)));
        // There was no floor.
        assert_eq!(reached[1].is_met, None);
    }

    #[test]
    fn what_is_loaded_is_compared_with_rivals() {
        let one = |kind, octets| Loaded {
            kind,
            samples: vec![Loading { seconds: 1.0, computed: 1.0, octets }],
        };
        let reached = loaded_goals("", &[one(Kind::Medusa, 50.0), one(Kind::Nsd, 100.0)]);
        let verdicts: Vec<_> = reached.iter().map(|one| one.is_met).collect();
        assert_eq!(verdicts, [None, Some(true), Some(false), Some(false)]);
    }
}
