//! HTTP measured: the works, their servers and their goals.

use anyhow::Result;

use crate::Options;
use crate::idle::weigh;
use crate::machine;
use crate::measure::{Effort, Goal, Reached, Work, costs, goals};
use crate::process::{Cores, Interrupt, raise_descriptors};
use crate::servers::{Kind, Workshop, medusa};
use crate::site::Site;
use crate::table::{number, table};

/// Idle connections that are weighed.
const IDLE: usize = 10_000;
/// What an idle connection may weigh.
const MOST_OCTETS: f64 = 500.0;
/// Descriptors that are left for everything else.
const SPARE: usize = 200;

use Kind::{Bare, Canned, H2o, Handler, Medusa, Nginx, Other};

const WORKS: &[Work] = &[
    Work {
        name: "13-byte reply, keep-alive",
        path: "/hello.txt",
        fields: &[],
        connections: 64,
        depth: 1,
        kinds: &[Bare, Canned, Handler, Medusa, Other, Nginx, H2o],
        goals: &[
            Goal { of: Handler, against: Bare, most: 1.1 },
            Goal { of: Medusa, against: Bare, most: 1.1 },
        ],
    },
    Work {
        name: "13-byte reply, 16 pipelined",
        path: "/hello.txt",
        fields: &[],
        connections: 64,
        depth: 16,
        kinds: &[Bare, Canned, Handler, Medusa, Other, Nginx, H2o],
        goals: &[
            Goal { of: Handler, against: Bare, most: 1.5 },
            Goal { of: Medusa, against: Bare, most: 1.5 },
        ],
    },
    Work {
        name: "4 KiB file",
        path: "/4k.bin",
        fields: &[],
        connections: 64,
        depth: 1,
        kinds: &[H2o, Medusa, Other, Nginx],
        goals: &[Goal { of: Medusa, against: H2o, most: 0.85 }],
    },
    Work {
        name: "1 MiB file",
        path: "/1m.bin",
        fields: &[],
        connections: 16,
        depth: 1,
        kinds: &[Nginx, Medusa, Other, H2o],
        goals: &[Goal { of: Medusa, against: Nginx, most: 1.0 }],
    },
    Work {
        name: "110 KB text, gzip 6 on the fly",
        path: "/text.txt",
        fields: &["Accept-Encoding: gzip"],
        connections: 16,
        depth: 1,
        kinds: &[H2o, Medusa, Other, Nginx],
        goals: &[Goal { of: Medusa, against: H2o, most: 0.9 }],
    },
];

const MEMORY: &str = "memory of an idle connection";

/// Measures, and prints what was found.
pub(crate) fn run(options: &Options) -> Result<()> {
    let interrupt = Interrupt::watch()?;
    let medusa = options.medusa.clone().map_or_else(medusa, Ok)?;
    let descriptors = usize::try_from(raise_descriptors()).unwrap_or(usize::MAX);
    let idle = IDLE.min(descriptors.saturating_sub(SPARE));
    let cores = Cores::take()?;
    let site = Site::make()?;
    let other = options.other.clone();
    let workshop = Workshop { site, cores, medusa, other, connections: idle + SPARE };
    let Effort { rounds, seconds } = options.effort();
    println!("{}", machine::facts(cores));
    println!("{}", workshop.peers());
    println!("- medians of {rounds} rounds of {seconds} s\n");

    let mut reached: Vec<Reached> = Vec::new();
    for work in WORKS.iter().filter(|work| options.wants(work.name)) {
        let measured = work.measure(&workshop, options.effort(), &interrupt)?;
        let pipelined =
            if work.depth > 1 { format!(", {} at once", work.depth) } else { String::new() };
        println!("### {}\n\n{} connections{pipelined}\n", work.name, work.connections);
        println!("{}", costs(&measured, work.goals.first().map(|goal| goal.against)));
        reached.extend(work.goals.iter().map(|goal| goal.reached(work.name, &measured)));
    }
    if options.wants(MEMORY) {
        let mut rows = Vec::new();
        for kind in [Canned, Handler, Medusa, Other, Nginx, H2o] {
            let Some(weight) = weigh(&workshop, kind, idle, &interrupt)? else { continue };
            let (base, each) = (weight.base as f64 / 1024.0, number(weight.each));
            rows.push([weight.kind.name().to_owned(), number(base), each]);
            if kind == Medusa {
                reached.push(Reached {
                    work: MEMORY.to_owned(),
                    what: format!("{}, octets", kind.name()),
                    value: number(weight.each),
                    goal: format!("≤ {}", number(MOST_OCTETS)),
                    is_met: Some(weight.each <= MOST_OCTETS),
                });
            }
        }
        println!("### {MEMORY}\n\n{} connections\n", number(idle as f64));
        println!("{}", table(["server", "KiB before", "octets each"], &rows));
    }
    println!("### goals\n\n{}", goals(reached));
    Ok(())
}
