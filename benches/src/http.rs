//! HTTP measured: the works, their servers and their goals.

use anyhow::Result;

use crate::measure::{Drive, Goal, Work};
use crate::servers::Kind;
use crate::suite::{Idle, Options, Suite};

use Kind::{Bare, Canned, H2o, Handler, Medusa, Nginx, Other};

const WORKS: &[Work] = &[
    Work {
        name: "13-byte reply, keep-alive",
        path: "/hello.txt",
        fields: &[],
        drive: Drive::Requests { connections: 64, depth: 1 },
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
        drive: Drive::Requests { connections: 64, depth: 16 },
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
        drive: Drive::Requests { connections: 64, depth: 1 },
        kinds: &[H2o, Medusa, Other, Nginx],
        goals: &[Goal { of: Medusa, against: H2o, most: 0.85 }],
    },
    Work {
        name: "1 MiB file",
        path: "/1m.bin",
        fields: &[],
        drive: Drive::Requests { connections: 16, depth: 1 },
        kinds: &[Nginx, Medusa, Other, H2o],
        goals: &[Goal { of: Medusa, against: Nginx, most: 1.0 }],
    },
    Work {
        name: "110 KB text, gzip 6 on the fly",
        path: "/text.txt",
        fields: &["Accept-Encoding: gzip"],
        drive: Drive::Requests { connections: 16, depth: 1 },
        kinds: &[H2o, Medusa, Other, Nginx],
        goals: &[Goal { of: Medusa, against: H2o, most: 0.9 }],
    },
];

const IDLE: Idle = Idle {
    name: "memory of an idle connection",
    connections: 10_000,
    kinds: &[Canned, Handler, Medusa, Other, Nginx, H2o],
    most: Some(500.0),
};

/// Measures, and prints what was found.
pub(crate) fn run(options: &Options) -> Result<()> {
    Suite { works: WORKS, idle: IDLE, secured: false }.run(options)
}
