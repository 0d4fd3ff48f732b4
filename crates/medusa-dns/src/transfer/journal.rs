//! Changes that last: what a journal holds, as octets.
//!
//! A journal begins with the whole zone, so that it needs no other file, and goes on with one change after
//! the other. Each part has its length and a checksum in front: one that was being written when the power
//! failed is told from one that was. Pure; files are in `store`.
//!
//! ```text
//! part    length (4), checksum (8), kind (1), …
//! whole   serial of the master file (4), records
//! change  records removed (4), records, records added (4), records
//! record  name (in wire form), type (2), TTL (4), length (2), data
//! ```

use sha1::{Digest as _, Sha1};

use super::delta::Delta;
use crate::name::{Name, wire_length};
use crate::types::RecordType;
use crate::zone::{Record, Zone, ZoneBuilder};

/// What a journal begins with.
pub(crate) const MAGIC: &[u8] = b"medusa-dns journal 1\n";

const WHOLE: u8 = 1;
const CHANGE: u8 = 2;
const HEAD: usize = 12;

/// A journal that was read.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// The serial of the master file that the journal goes back to.
    pub(crate) origin: u32,
    /// The zone with all changes.
    pub(crate) zone: Zone,
    /// The changes, the oldest first.
    pub(crate) deltas: Vec<Delta>,
    /// How many octets of it are in order. What is behind them was never acknowledged.
    pub(crate) sound: usize,
}

/// Appends the part that a journal begins with.
pub(crate) fn whole_into(out: &mut Vec<u8>, origin: u32, zone: &Zone) {
    out.extend_from_slice(MAGIC);
    part(out, WHOLE, |out| {
        out.extend_from_slice(&origin.to_be_bytes());
        zone.records().for_each(|record| record_into(out, &record));
    });
}

/// Appends a change.
pub(crate) fn change_into(out: &mut Vec<u8>, delta: &Delta) {
    part(out, CHANGE, |out| {
        for list in [&delta.removed, &delta.added] {
            out.extend_from_slice(&(list.len() as u32).to_be_bytes());
            list.iter().for_each(|record| record_into(out, record));
        }
    });
}

fn part(out: &mut Vec<u8>, kind: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD]);
    out.push(kind);
    fill(out);
    let length = (out.len() - start - HEAD) as u32;
    let sum = checksum(&out[start + HEAD..]);
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    out[start + 4..start + HEAD].copy_from_slice(&sum);
}

fn checksum(bytes: &[u8]) -> [u8; 8] {
    let mut sum = [0; 8];
    sum.copy_from_slice(&Sha1::digest(bytes)[..8]);
    sum
}

fn record_into(out: &mut Vec<u8>, record: &Record) {
    out.extend_from_slice(record.owner.wire());
    out.extend_from_slice(&record.rtype.0.to_be_bytes());
    out.extend_from_slice(&record.ttl.to_be_bytes());
    out.extend_from_slice(&(record.rdata.len() as u16).to_be_bytes());
    out.extend_from_slice(&record.rdata);
}

/// Reads a journal of a zone.
///
/// # Errors
///
/// It doesn't begin as a journal of this zone does, or it is damaged in its middle, in words.
pub(crate) fn recover(apex: &Name, bytes: &[u8]) -> Result<Recovered, String> {
    let mut at = MAGIC.len();
    if !bytes.starts_with(MAGIC) {
        return Err("it is no journal".into());
    }
    let Some((WHOLE, body, next)) = part_at(bytes, at) else {
        return Err("its beginning is damaged".into());
    };
    at = next;
    let mut rest = body;
    let origin = number(&mut rest).ok_or("its beginning is cut off")?;
    let mut builder = ZoneBuilder::new(apex.clone());
    while !rest.is_empty() {
        let record = record_at(&mut rest).ok_or("a record of it is cut off")?;
        let misfit = |misfit| format!("{} {}: {misfit}", record.owner, record.rtype);
        builder.add(&record).map_err(misfit)?;
    }
    let faults = |faults: Vec<crate::zone::Fault>| {
        faults.first().map_or_else(|| "it makes no zone".into(), ToString::to_string)
    };
    let mut zone = builder.build().map_err(faults)?;
    let mut deltas: Vec<Delta> = Vec::new();
    while let Some((CHANGE, body, next)) = part_at(bytes, at) {
        let reached = deltas.last().map_or(zone.soa().serial, |last| last.to);
        let delta = delta_at(body).filter(|delta| delta.from == reached);
        deltas.push(delta.ok_or("a change of it doesn't follow the one before")?);
        at = next;
    }
    // A change that was being written stands at the end. What was done behind damage must not be lost with
    // it.
    if (at + 1..bytes.len()).any(|place| is_change(bytes, place)) {
        return Err(format!("it is damaged at octet {at}, with sound changes behind that"));
    }
    if !deltas.is_empty() {
        let (removed, added) = super::incoming::joined(&deltas);
        zone = zone.edited(&removed, &added).map_err(faults)?;
    }
    Ok(Recovered { origin, zone, deltas, sound: at })
}

fn part_at(bytes: &[u8], at: usize) -> Option<(u8, &[u8], usize)> {
    let head = bytes.get(at..)?.first_chunk::<HEAD>()?;
    let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let start = at + HEAD;
    let body = bytes.get(start..start.checked_add(length)?)?;
    let (kind, rest) = body.split_first()?;
    (checksum(body) == head[4..]).then_some((*kind, rest, start + length))
}

/// Whether a sound change begins there. Most places are found to be none before anything is summed up.
fn is_change(bytes: &[u8], at: usize) -> bool {
    let Some(head) = bytes.get(at..).and_then(|rest| rest.first_chunk::<HEAD>()) else {
        return false;
    };
    let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let body = bytes[at + HEAD..].get(..length).and_then(<[u8]>::split_first);
    body.is_some_and(|(kind, body)| *kind == CHANGE && delta_at(body).is_some())
        && part_at(bytes, at).is_some()
}

fn delta_at(mut body: &[u8]) -> Option<Delta> {
    let mut list = || {
        let count = number(&mut body)?;
        (0..count).map(|_| record_at(&mut body)).collect::<Option<Vec<_>>>()
    };
    let (removed, added) = (list()?, list()?);
    Delta::new(removed, added).filter(|_| body.is_empty())
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    let (bytes, behind) = rest.split_first_chunk::<4>()?;
    *rest = behind;
    Some(u32::from_be_bytes(*bytes))
}

fn record_at(rest: &mut &[u8]) -> Option<Record> {
    let length = wire_length(rest).ok()?;
    let owner = Name::from_wire(&rest[..length]).ok()?;
    let (head, behind) = rest[length..].split_first_chunk::<8>()?;
    let data = usize::from(u16::from_be_bytes([head[6], head[7]]));
    let rdata = behind.get(..data)?.to_vec();
    *rest = &behind[data..];
    Some(Record {
        owner,
        rtype: RecordType(u16::from_be_bytes([head[0], head[1]])),
        ttl: u32::from_be_bytes([head[2], head[3], head[4], head[5]]),
        rdata,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::testing::{apex, zone};

    fn journal() -> (Vec<u8>, Vec<usize>, Vec<Zone>) {
        let zones: Vec<_> =
            (1..=4).map(|at| zone(at, &[&format!("a TXT v{at}"), "b A 192.0.2.1"])).collect();
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        whole_into(&mut bytes, 1, &zones[0]);
        ends.push(bytes.len());
        for pair in zones.windows(2) {
            change_into(&mut bytes, &Delta::between(&pair[0], &pair[1]).unwrap());
            ends.push(bytes.len());
        }
        (bytes, ends, zones)
    }

    #[test]
    fn what_was_written_is_read_again_as_far_as_it_is_whole() {
        let (bytes, ends, zones) = journal();
        for length in 0..=bytes.len() {
            let whole = ends.iter().filter(|end| **end <= length).count();
            let found = recover(&apex(), &bytes[..length]);
            if whole == 0 {
                assert!(found.is_err(), "{length}");
                continue;
            }
            let found = found.unwrap();
            assert_eq!((found.origin, found.sound), (1, ends[whole - 1]));
            assert_eq!(found.deltas.len(), whole - 1);
            assert!(found.zone.records().eq(zones[whole - 1].records()));
        }
    }

    #[test]
    fn no_octet_may_be_another() {
        let (bytes, ends, _) = journal();
        for at in (0..bytes.len()).step_by(3) {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            // Sound changes behind the damage were acknowledged: they aren't given up in silence.
            let found = recover(&apex(), &changed);
            assert_eq!(found.is_ok(), at >= ends[2], "octet {at}");
            if let Ok(found) = found {
                assert!(found.sound <= at && ends.contains(&found.sound), "octet {at}");
            }
        }
        let other = crate::zone::name_from_text("example.org").unwrap();
        assert!(recover(&other, &bytes).is_err());
    }
}
