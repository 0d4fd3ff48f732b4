//! How a work is measured: every server is checked, warmed, and loaded in turn, round by round, so that
//! what else happens on the machine happens to all of them. What is compared is processor time for a
//! request; requests per second depend on who else computes.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::client::ask;
use crate::handshakes::Handshakes;
use crate::load::{Load, Outcome};
use crate::process::{Interrupt, Spent};
use crate::servers::{Kind, Server, Workshop};
use crate::site::HELLO;
use crate::table::{self, median, number, table};

/// One thing that servers are measured at.
pub(crate) struct Work {
    pub(crate) name: &'static str,
    pub(crate) path: &'static str,
    pub(crate) fields: &'static [&'static str],
    pub(crate) drive: Drive,
    pub(crate) kinds: &'static [Kind],
    pub(crate) goals: &'static [Goal],
}

/// How a work is done.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Drive {
    /// Requests on connections that live on, so many at once on each.
    Requests { connections: u32, depth: u32 },
    /// A connection for each request, its TLS session resumed or not.
    Handshakes { resumed: bool },
}

/// That one server is to cost at most so many times what another does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Goal {
    pub(crate) of: Kind,
    pub(crate) against: Kind,
    pub(crate) most: f64,
}

/// How long, and how often.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    pub(crate) seconds: u32,
}

/// What a server came to, a sample each round.
pub(crate) struct Measured {
    pub(crate) kind: Kind,
    /// Octets of one reply, its head included.
    pub(crate) octets: usize,
    pub(crate) samples: Vec<Sample>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) outcome: Outcome,
    pub(crate) spent: Spent,
}

/// A round of some other kind: what was done in which time, and what it took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    pub(crate) done: f64,
    pub(crate) took: Duration,
    pub(crate) spent: Spent,
}

impl Round {
    /// Microseconds of processor time for each.
    pub(crate) fn cost(&self) -> f64 {
        self.spent.micros() / self.done
    }

    /// So many a second.
    pub(crate) fn rate(&self) -> f64 {
        self.done / self.took.as_secs_f64()
    }

    /// The program's part of the cost.
    pub(crate) fn user(&self) -> f64 {
        self.spent.user.as_secs_f64() * 1e6 / self.done
    }

    /// The kernel's part of the cost.
    pub(crate) fn system(&self) -> f64 {
        self.spent.system.as_secs_f64() * 1e6 / self.done
    }
}

/// A goal and what was reached, for the table at the end.
pub(crate) struct Reached {
    pub(crate) work: String,
    pub(crate) what: String,
    pub(crate) value: String,
    pub(crate) goal: String,
    /// `None` where it could not be measured.
    pub(crate) is_met: Option<bool>,
}

impl Sample {
    /// How much of the time the server computed. Where it waited for its client, it also slept and woke
    /// more often, which costs.
    fn share(&self) -> f64 {
        self.spent.micros() / 1e6 / self.outcome.duration.as_secs_f64()
    }

    /// Microseconds of processor time for a request.
    pub(crate) fn cost(&self) -> f64 {
        self.spent.micros() / self.outcome.requests as f64
    }
}

impl Work {
    /// Measures all its servers that there are.
    pub(crate) fn measure(
        &self,
        workshop: &Workshop,
        effort: Effort,
        interrupt: &Interrupt,
    ) -> Result<Vec<Measured>> {
        let mut servers = Vec::new();
        for kind in self.kinds {
            interrupt.check()?;
            if let Some(server) = workshop.start(*kind)? {
                let failed = || format!("{} at \"{}\"", kind.name(), self.name);
                let octets = self.check(workshop, &server).with_context(failed)?;
                servers.push((server, octets));
            }
        }
        let mut measured: Vec<_> = servers
            .iter()
            .map(|(server, octets)| Measured {
                kind: server.kind,
                octets: *octets,
                samples: Vec::new(),
            })
            .collect();
        for round in 0..=effort.rounds {
            for ((server, _), measured) in servers.iter().zip(&mut measured) {
                interrupt.check()?;
                // The first round fills caches and counts for nothing.
                let seconds = if round == 0 { 1 } else { effort.seconds };
                let before = server.process.spent()?;
                let outcome = self.run(workshop, server, seconds);
                // Interrupted, wrk has been so too.
                interrupt.check()?;
                let outcome = outcome
                    .with_context(|| format!("{} at \"{}\"", server.kind.name(), self.name))?;
                let spent = server.process.spent()?.since(before);
                if round > 0 {
                    measured.samples.push(Sample { outcome, spent });
                }
            }
        }
        Ok(measured)
    }

    fn run(&self, workshop: &Workshop, server: &Server, seconds: u32) -> Result<Outcome> {
        let scheme = if workshop.tls.is_some() { "https" } else { "http" };
        let (path, fields) = (self.path, self.fields);
        match self.drive {
            Drive::Requests { connections, depth } => {
                let load = Load { scheme, path, fields, connections, depth, seconds };
                load.run(server.address, workshop.site.folder())
            }
            Drive::Handshakes { resumed } => {
                Handshakes { path, resumed, seconds }.run(server.address)
            }
        }
    }

    /// Whether the server sends what it should, and how many octets that takes.
    fn check(&self, workshop: &Workshop, server: &Server) -> Result<usize> {
        let mut stream = workshop.connect(server)?;
        if let Some(facts) = stream.facts() {
            ensure!(facts.version == "TLSv1.3", "it speaks {}", facts.version);
        }
        let reply = ask(&mut stream, self.path, self.fields)?;
        match reply.field("content-encoding") {
            Some("gzip") => {}
            Some(other) => bail!("it came as {other}"),
            None if self.fields.is_empty() => {
                let file = workshop.site.public().join(self.path.trim_start_matches('/'));
                let expected = match server.kind {
                    Kind::Bare | Kind::Canned | Kind::Handler => HELLO.into(),
                    _ => std::fs::read(file)?,
                };
                ensure!(reply.body == expected, "it isn't what the file holds");
            }
            None => bail!("it came uncompressed"),
        }
        Ok(reply.head.len() + 4 + reply.body.len())
    }
}

/// The table of one work.
pub(crate) fn costs(measured: &[Measured], against: Option<Kind>) -> String {
    let base = against.and_then(|kind| measured.iter().find(|one| one.kind == kind));
    let rows: Vec<_> = measured
        .iter()
        .map(|one| {
            let each = |value: fn(&Sample) -> f64| one.samples.iter().map(value);
            let middle = |value| number(median(each(value)));
            let least = each(Sample::cost).fold(f64::INFINITY, f64::min);
            let most = each(Sample::cost).fold(0.0, f64::max);
            [
                one.kind.name().to_owned(),
                number(median(each(|sample| sample.outcome.per_second()))),
                format!("{:.0} %", median(each(Sample::share)) * 100.0),
                middle(Sample::cost),
                middle(|sample| {
                    sample.spent.user.as_secs_f64() * 1e6 / sample.outcome.requests as f64
                }),
                middle(|sample| {
                    sample.spent.system.as_secs_f64() * 1e6 / sample.outcome.requests as f64
                }),
                format!("{}–{}", number(least), number(most)),
                middle(|sample| micros(sample.outcome.median)),
                middle(|sample| micros(sample.outcome.percentile_99)),
                number(one.octets as f64),
                base.map_or("–".to_owned(), |base| number(ratio(one, base))),
            ]
        })
        .collect();
    let times = against.map_or("×".to_owned(), |kind| format!("× {}", kind.name()));
    let headings = [
        "server",
        "requests/s",
        "busy",
        "CPU µs/request",
        "user",
        "system",
        "least–most",
        "p50 µs",
        "p99 µs",
        "octets",
        &times,
    ];
    table(headings, &rows)
}

/// A duration in microseconds; where wrk could not tell, no number.
fn micros(duration: Option<Duration>) -> f64 {
    duration.map_or(f64::NAN, |duration| duration.as_secs_f64() * 1e6)
}

fn ratio(one: &Measured, base: &Measured) -> f64 {
    let costs = |one: &Measured| one.samples.iter().map(Sample::cost).collect::<Vec<_>>();
    table::ratio(costs(one), costs(base))
}

impl Goal {
    pub(crate) fn reached(&self, work: &str, measured: &[Measured]) -> Reached {
        let find = |kind| measured.iter().find(|one| one.kind == kind);
        let ratio = find(self.of).zip(find(self.against)).map(|(of, against)| ratio(of, against));
        Reached {
            work: work.to_owned(),
            what: format!("{} / {}", self.of.name(), self.against.name()),
            value: ratio.map_or("not measured".to_owned(), |ratio| format!("{ratio:.2}")),
            goal: format!("≤ {:.2}", self.most),
            is_met: ratio.map(|ratio| ratio <= self.most),
        }
    }
}

/// The table of goals.
pub(crate) fn goals(reached: Vec<Reached>) -> String {
    let rows: Vec<_> = reached
        .into_iter()
        .map(|one| {
            let verdict = match one.is_met {
                Some(true) => "reached",
                Some(false) => "missed",
                None => "–",
            };
            [one.work, one.what, one.value, one.goal, verdict.to_owned()]
        })
        .collect();
    table(["work", "what is compared", "measured", "goal", "verdict"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(kind: Kind, micros: &[u64]) -> Measured {
        let samples = micros.iter().map(|micros| {
            let spent = Spent { user: Duration::from_micros(*micros), ..Spent::default() };
            let outcome = Outcome { requests: 100, ..Outcome::default() };
            Sample { outcome, spent }
        });
        Measured { kind, octets: 1, samples: samples.collect() }
    }

    #[test]
    fn what_disturbs_a_round_disturbs_both() {
        let measured =
            [measured(Kind::Medusa, &[110, 1100, 330]), measured(Kind::Bare, &[100, 1000, 300])];
        let goal = Goal { of: Kind::Medusa, against: Kind::Bare, most: 1.1 };
        let reached = goal.reached("work", &measured);
        assert_eq!((reached.value.as_str(), reached.is_met), ("1.10", Some(true)));
        let strict = Goal { most: 1.05, ..goal };
        assert_eq!(strict.reached("work", &measured).is_met, Some(false));
        let missing = Goal { against: Kind::H2o, ..goal };
        assert_eq!(missing.reached("work", &measured).is_met, None);
        assert_eq!(measured[0].samples[0].cost(), 1.1);
    }
}
