//! TLS 1.3 measured beside nginx, with the same certificate: an ECDSA key on P-256.

use anyhow::Result;

use crate::measure::{Drive, Goal, Work};
use crate::servers::Kind;
use crate::suite::{Idle, Options, Suite};

use Kind::{Medusa, Nginx, Other};

const KINDS: &[Kind] = &[Nginx, Medusa, Other];

const fn beside_nginx(most: f64) -> Goal {
    Goal { of: Medusa, against: Nginx, most }
}

const WORKS: &[Work] = &[
    Work {
        name: "4 KiB file over TLS",
        path: "/4k.bin",
        fields: &[],
        drive: Drive::Requests { connections: 64, depth: 1 },
        kinds: KINDS,
        goals: &[beside_nginx(0.9)],
    },
    Work {
        name: "1 MiB file over TLS",
        path: "/1m.bin",
        fields: &[],
        drive: Drive::Requests { connections: 16, depth: 1 },
        kinds: KINDS,
        goals: &[beside_nginx(1.0)],
    },
    Work {
        name: "full handshake and a 13-byte reply",
        path: "/hello.txt",
        fields: &[],
        drive: Drive::Handshakes { resumed: false },
        kinds: KINDS,
        goals: &[beside_nginx(1.1)],
    },
    Work {
        name: "resumed handshake and a 13-byte reply",
        path: "/hello.txt",
        fields: &[],
        drive: Drive::Handshakes { resumed: true },
        kinds: KINDS,
        goals: &[beside_nginx(1.0)],
    },
];

const IDLE: Idle =
    Idle { name: "memory of an idle TLS connection", connections: 2_000, kinds: KINDS, most: None };

/// Measures, and prints what was found.
pub(crate) fn run(options: &Options) -> Result<()> {
    Suite { works: WORKS, idle: IDLE, secured: true }.run(options)
}
