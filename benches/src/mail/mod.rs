//! Mail measured: messages accepted durably beside Postfix, POP3 sessions beside Dovecot, idle SMTP sessions.
//! What is compared is the processor time of all of a server's processes, and how many messages a second
//! are accepted.

mod clients;
mod servers;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::idle::growth;
use crate::machine;
use crate::measure::{Effort, Reached, Round, goals};
use crate::process::{Interrupt, raise_descriptors};
use crate::suite::Options;
use crate::table::{self, median, number, table};

use clients::{Line, fetch, submit};
use servers::{Kind, Server, Workshop};

/// Messages sent before it is known how many a server can take.
const FIRST: usize = 200;
/// The most in a round: more would be a test of the folder.
const MOST: usize = 20_000;
/// Messages in the box that is fetched from, and the octets of each.
const STORED: (usize, usize) = (500, 4096);
/// How many of them a session fetches.
const FETCHED: usize = 100;
const IDLE: usize = 10_000;
/// Descriptors that are left for everything else.
const SPARE: usize = 200;
/// Octets that an idle session may weigh.
const IDLE_OCTETS: f64 = 1024.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drive {
    /// A session after each message, or one for many.
    Submit {
        one_connection: bool,
    },
    Fetch {
        pipelined: bool,
    },
}

struct Work {
    name: &'static str,
    drive: Drive,
    against: Kind,
    /// At most so many times the peer's processor time.
    cost: f64,
    /// At least so many times its rate.
    rate: Option<f64>,
}

const WORKS: &[Work] = &[
    Work {
        name: "4 KiB messages into a Maildir, 16 sessions",
        drive: Drive::Submit { one_connection: false },
        against: Kind::Postfix,
        cost: 1.0 / 8.0,
        rate: Some(3.0),
    },
    Work {
        name: "4 KiB messages into a Maildir, 16 sessions that go on",
        drive: Drive::Submit { one_connection: true },
        against: Kind::Postfix,
        cost: 1.0 / 8.0,
        rate: Some(3.0),
    },
    Work {
        name: "POP3: log in, STAT, LIST, UIDL, 100 RETR",
        drive: Drive::Fetch { pipelined: false },
        against: Kind::Dovecot,
        cost: 1.0 / 6.0,
        rate: None,
    },
    Work {
        name: "POP3: the same, all RETR at once",
        drive: Drive::Fetch { pipelined: true },
        against: Kind::Dovecot,
        cost: 1.0 / 6.0,
        rate: None,
    },
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
    for kind in [Kind::Postfix, Kind::Dovecot] {
        let missing = || format!("{}: not installed or not root, and so not measured", kind.name());
        println!("- {}", kind.version().unwrap_or_else(missing));
    }
    println!("- medians of {} rounds of some {} s\n", effort.rounds, effort.seconds);
    let mut workshop = Workshop {
        cores,
        medusa,
        other: options.other(),
        connections: idle + SPARE,
        stored: (0, 0),
    };
    let mut reached = Vec::new();
    for work in WORKS.iter().filter(|work| options.wants(work.name)) {
        workshop.stored = if matches!(work.drive, Drive::Fetch { .. }) { STORED } else { (0, 0) };
        let measured = work.measure(&workshop, effort, &interrupt)?;
        println!("### {}\n\n{}", work.name, work.table(&measured));
        reached.extend(work.reached(&measured));
    }
    let name = "memory of an idle SMTP session";
    if options.wants(name) {
        let each = weigh(&workshop, idle, &interrupt)?;
        println!("### {name}\n\n{} sessions: {} octets each\n", number(idle as f64), number(each));
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
        for kind in [Kind::Medusa, Kind::Other, self.against] {
            interrupt.check()?;
            servers.extend(workshop.start(kind)?);
        }
        let mut rounds = Vec::new();
        for server in &servers {
            // It fills caches and counts for nothing, but as a measure of how much is to be done.
            let first = self.round(server, None, 1).with_context(|| self.failed(server))?;
            rounds.push((first, Vec::new()));
        }
        for _ in 0..effort.rounds {
            for (server, (first, samples)) in servers.iter().zip(&mut rounds) {
                interrupt.check()?;
                let sample = self.round(server, Some(*first), effort.seconds);
                samples.push(sample.with_context(|| self.failed(server))?);
            }
        }
        let each = servers.iter().zip(rounds);
        Ok(each.map(|(server, (_, samples))| Measured { kind: server.kind, samples }).collect())
    }

    fn failed(&self, server: &Server) -> String {
        format!("{} at \"{}\"", server.kind.name(), self.name)
    }

    fn round(&self, server: &Server, first: Option<Round>, seconds: u32) -> Result<Round> {
        let before = server.process.spent()?;
        let (done, took) = match self.drive {
            Drive::Submit { one_connection } => {
                let messages = first.map_or(FIRST, |first| {
                    ((first.rate() * f64::from(seconds)) as usize).clamp(FIRST, MOST)
                });
                let to = server.new_mail();
                (messages, submit(server.smtp, &to, messages, one_connection)?)
            }
            Drive::Fetch { pipelined } => {
                let (begun, mut sessions) = (Instant::now(), 0);
                while sessions == 0 || begun.elapsed() < Duration::from_secs(seconds.into()) {
                    fetch(server.pop3, (FETCHED, STORED.1), pipelined)?;
                    sessions += 1;
                }
                (sessions, begun.elapsed())
            }
        };
        Ok(Round { done: done as f64, took, spent: server.process.spent()?.since(before) })
    }

    fn table(&self, measured: &[Measured]) -> String {
        let base = measured.iter().find(|one| one.kind == self.against);
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
                    base.map_or("–".to_owned(), |base| number(ratio(one, base, Round::cost))),
                ]
            })
            .collect();
        let (rate, cost) = match self.drive {
            Drive::Submit { .. } => ("messages/s", "CPU µs/message"),
            Drive::Fetch { .. } => ("sessions/s", "CPU µs/session"),
        };
        let times = format!("× {}", self.against.name());
        table(["server", rate, cost, "user", "system", "least–most", &times], &rows)
    }

    fn reached(&self, measured: &[Measured]) -> Vec<Reached> {
        let find = |kind| measured.iter().find(|one| one.kind == kind);
        let both = find(Kind::Medusa).zip(find(self.against));
        let goal =
            |what: &str, value: fn(&Round) -> f64, goal: String, is_met: &dyn Fn(f64) -> bool| {
                let ratio = both.map(|(one, base)| ratio(one, base, value));
                Reached {
                    work: self.name.to_owned(),
                    what: format!("{what}, medusa / {}", self.against.name()),
                    value: ratio.map_or("not measured".to_owned(), number),
                    goal,
                    is_met: ratio.map(is_met),
                }
            };
        let cost = goal("CPU", Round::cost, format!("≤ {:.3}", self.cost), &|r| r <= self.cost);
        let rate = self.rate.map(|least| {
            goal("rate", Round::rate, format!("≥ {}", number(least)), &|r| r >= least)
        });
        [Some(cost), rate].into_iter().flatten().collect()
    }
}

fn ratio(one: &Measured, base: &Measured, value: fn(&Round) -> f64) -> f64 {
    table::ratio(one.samples.iter().map(value), base.samples.iter().map(value))
}

/// What the server's memory grows by for each of so many sessions that have said EHLO.
fn weigh(workshop: &Workshop, sessions: usize, interrupt: &Interrupt) -> Result<f64> {
    let server = workshop.start(Kind::Medusa)?.context("medusa is always there")?;
    let greet = |_| -> Result<Line> {
        let mut session = Line::connect(server.smtp)?;
        session.code("220")?;
        session.say("EHLO client.example.test\r\n")?;
        session.code("250")?;
        Ok(session)
    };
    let open = |count| (0..count).map(greet).collect();
    Ok(growth(&server.process, sessions, interrupt, open)?.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Spent;

    fn measured(kind: Kind, micros: u64, millis: u64) -> Measured {
        let spent = Spent { user: Duration::from_micros(micros), ..Spent::default() };
        let sample = Round { done: 10.0, took: Duration::from_millis(millis), spent };
        Measured { kind, samples: vec![sample; 3] }
    }

    #[test]
    fn goals_look_at_cost_and_rate() {
        let measured = [measured(Kind::Medusa, 1_000, 100), measured(Kind::Postfix, 10_000, 400)];
        let verdicts = |work: &Work, measured: &[Measured]| {
            work.reached(measured).iter().map(|one| one.is_met).collect::<Vec<_>>()
        };
        let work = &WORKS[0];
        assert_eq!(verdicts(work, &measured), [Some(true), Some(true)]);
        let strict = Work { cost: 0.05, rate: Some(5.0), ..*work };
        assert_eq!(verdicts(&strict, &measured), [Some(false), Some(false)]);
        assert_eq!(verdicts(work, &measured[..1]), [None, None]);
    }
}
