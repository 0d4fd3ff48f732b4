//! What a connection costs that has asked once and now says nothing: the memory of a server's processes
//! that isn't a file's, before and after many were opened. What the kernel keeps for a socket is the same
//! for all and isn't counted.

use anyhow::{Context, Result};
use std::io::Write;

use crate::client::{Stream, reply, request};
use crate::process::{Interrupt, Process};
use crate::servers::{Kind, Server, Workshop};

/// Connections opened before any of them is answered: fewer than a backlog holds.
const BATCH: usize = 200;

/// What was measured of one server.
pub(crate) struct Weight {
    pub(crate) kind: Kind,
    /// Before any connection.
    pub(crate) base: u64,
    /// Octets for each connection.
    pub(crate) each: f64,
}

/// Weighs `connections` idle connections to a fresh server; `None` where there is none.
pub(crate) fn weigh(
    workshop: &Workshop,
    kind: Kind,
    connections: usize,
    interrupt: &Interrupt,
) -> Result<Option<Weight>> {
    let Some(server) = workshop.start(kind)? else { return Ok(None) };
    let open = |count| open(workshop, &server, count);
    let weighed = growth(&server.process, connections, interrupt, open);
    let failed = || format!("{} with idle connections", kind.name());
    let (base, each) = weighed.with_context(failed)?;
    Ok(Some(Weight { kind, base, each }))
}

/// The octets of a server's processes before any connection, and by how many they grow for each of so many,
/// of which `open` opens a few at a time.
pub(crate) fn growth<C>(
    process: &Process,
    connections: usize,
    interrupt: &Interrupt,
    mut open: impl FnMut(usize) -> Result<Vec<C>>,
) -> Result<(u64, f64)> {
    // What the first of all brings into being is no connection's.
    drop(open(1)?);
    let base = process.anonymous_octets()?;
    let mut held = Vec::with_capacity(connections);
    while held.len() < connections {
        interrupt.check()?;
        let batch = BATCH.min(connections - held.len());
        held.extend(open(batch).with_context(|| format!("after {} connections", held.len()))?);
    }
    let octets = process.anonymous_octets()?.saturating_sub(base);
    Ok((base, octets as f64 / connections as f64))
}

fn open(workshop: &Workshop, server: &Server, count: usize) -> Result<Vec<Stream>> {
    let mut batch = (0..count).map(|_| workshop.connect(server)).collect::<Result<Vec<_>>>()?;
    for stream in &mut batch {
        stream.write_all(request("/hello.txt", &[]).as_bytes())?;
    }
    for stream in &mut batch {
        reply(stream)?;
    }
    Ok(batch)
}
