//! A zone as it is served: read-only, compact, and rendered already.
//!
//! All of it stands in one piece of memory, name by name in canonical order (RFC 4034 §6.1), so that a
//! question touches a slot of the index and the node itself, and nothing else:
//!
//! ```text
//! node    name length (1), name below the apex, flags (1), RRsets (2), a head for each RRset, their data
//! head    type (2), records (2), signatures (2), references (2), octets of records (4), of signatures (4)
//! data    records, signatures (RRSIGs that cover them), references
//! record  C0 0C, type (2), class (2), TTL (4), length (2), data
//! ref.    where a name begins (2), where its pointer to the apex stands (2; FFFF: none), its node (4)
//! ```
//!
//! A record's owner is a pointer to the question's name, which it nearly always is; and names in records
//! that end in the apex do so by a pointer, whose place is written down, as where the apex stands in an
//! answer follows from the length of the question. How a zone is made is in `builder`.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use super::index::Index;
use super::nsec3::Nsec3;
use crate::name::{Name, QueryName, canonical_cmp, hash_label};
use crate::types::RecordType;

/// What is known of a node besides its records.
pub(crate) mod node_flag {
    /// It has NS records and isn't the apex: what is below belongs to somebody else.
    pub(crate) const CUT: u8 = 1;
    /// It is below a cut: glue, or nothing.
    pub(crate) const BELOW_CUT: u8 = 2;
    /// It has a DNAME record.
    pub(crate) const DNAME: u8 = 4;
    /// It is below a DNAME, and not to be seen.
    pub(crate) const BELOW_DNAME: u8 = 8;
    /// It has a child `*`.
    pub(crate) const WILDCARD: u8 = 16;
    /// It has nothing but NSEC3 records and their signatures, and isn't to be seen (RFC 5155 §7.2.8).
    pub(crate) const HASH: u8 = 32;
    /// It has a CNAME record.
    pub(crate) const CNAME: u8 = 64;
}

/// The octets of an RRset's head.
pub(crate) const HEAD: usize = 16;
/// The octets of a reference.
pub(crate) const REFERENCE: usize = 8;
/// A reference without a pointer to the apex.
pub(crate) const NO_POINTER: u16 = u16::MAX;
/// A reference to a name that isn't in the zone.
pub(crate) const NO_NODE: u32 = u32::MAX;

/// The first label of a wildcard (RFC 4592 §2.1.1).
const WILDCARD: &[u8] = b"\x01*";

/// A zone, ready to be served.
pub struct Zone {
    pub(crate) apex: Name,
    pub(crate) blob: Box<[u8]>,
    /// Where each node begins, in canonical order.
    pub(crate) order: Box<[u32]>,
    pub(crate) index: Index,
    /// The SOA record for negative answers, with their TTL (RFC 2308 §5), as an RRset in `blob`.
    pub(crate) negative_soa: usize,
    pub(crate) soa: Soa,
    pub(crate) denial: Denial,
    pub(crate) records: usize,
    /// Whether it came from a primary that hasn't been heard for too long.
    pub(crate) stale: AtomicBool,
}

/// How a signed zone proves that something isn't there.
#[derive(Debug)]
pub(crate) enum Denial {
    /// It isn't signed.
    None,
    /// By NSEC records at its names: the numbers of those that have one and aren't glue, in canonical order.
    Nsec(Box<[u32]>),
    /// By NSEC3 records at hashes of its names.
    Nsec3(Nsec3),
}

/// The numbers of a SOA record (RFC 1035 §3.3.13).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Soa {
    /// The zone's version.
    pub serial: u32,
    /// After how many seconds a secondary asks for it.
    pub refresh: u32,
    /// After how many seconds a secondary asks again when nobody has answered.
    pub retry: u32,
    /// After how many seconds a secondary that hears nothing gives up.
    pub expire: u32,
    /// How many seconds it may be kept that something isn't there.
    pub minimum: u32,
}

impl Soa {
    /// The numbers at the end of a SOA record's data.
    pub(crate) fn read(rdata: &[u8]) -> Soa {
        let number = |from_end: usize| {
            let start = rdata.len().checked_sub(from_end);
            let bytes = start.and_then(|start| rdata[start..].first_chunk::<4>());
            bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes))
        };
        Soa {
            serial: number(20),
            refresh: number(16),
            retry: number(12),
            expire: number(8),
            minimum: number(4),
        }
    }
}

/// A name of a zone, with its records.
#[derive(Clone, Copy)]
pub struct Node<'z> {
    pub(crate) zone: &'z Zone,
    /// The name without the apex.
    pub(crate) prefix: &'z [u8],
    pub(crate) flags: u8,
    /// The heads of its RRsets, and their data behind them.
    heads: &'z [u8],
    data: &'z [u8],
    /// Where it stands in memory, which tells it from others.
    pub(crate) at: u32,
}

/// The records of one type at one name, rendered, with the signatures that cover them.
#[derive(Clone, Copy)]
pub struct RrSet<'z> {
    pub(crate) rtype: RecordType,
    pub(crate) count: u16,
    pub(crate) signature_count: u16,
    pub(crate) records: &'z [u8],
    pub(crate) signatures: &'z [u8],
    references: &'z [u8],
}

/// One record of an RRset as it is in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rendered<'z> {
    pub(crate) rtype: RecordType,
    pub(crate) ttl: u32,
    /// Its data; names in it may end in a pointer to the apex.
    pub(crate) rdata: &'z [u8],
    /// Where its data begins in the RRset.
    pub(crate) at: usize,
}

/// A name in an RRset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reference {
    /// Where it begins, in the RRset's records.
    pub(crate) name: u16,
    /// Where its pointer to the apex stands, or [`NO_POINTER`].
    pub(crate) pointer: u16,
    /// Which node it names, by its number in canonical order, or [`NO_NODE`].
    pub(crate) node: u32,
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zone")
            .field("apex", &self.apex)
            .field("serial", &self.soa.serial)
            .field("records", &self.records)
            .finish_non_exhaustive()
    }
}

impl Zone {
    /// The zone's name.
    pub fn apex(&self) -> &Name {
        &self.apex
    }

    /// A zone that isn't there yet: a name, and nothing to be told of it.
    pub(crate) fn vacant(apex: Name) -> Zone {
        Zone {
            apex,
            blob: Box::default(),
            order: Box::default(),
            index: Index::for_places(0),
            negative_soa: 0,
            soa: Soa::default(),
            denial: Denial::None,
            records: 0,
            stale: AtomicBool::new(true),
        }
    }

    /// Whether nothing may be told of it: it is a secondary's that has expired, or hasn't come yet.
    #[inline]
    pub fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed)
    }

    /// Says whether it may be told of, to all who hold it.
    pub(crate) fn set_stale(&self, stale: bool) {
        self.stale.store(stale, Ordering::Relaxed);
    }

    /// The numbers of its SOA record.
    pub fn soa(&self) -> Soa {
        self.soa
    }

    /// How many records it has.
    pub fn record_count(&self) -> usize {
        self.records
    }

    /// How many octets of memory it takes.
    pub fn octets(&self) -> usize {
        let hashes = match &self.denial {
            Denial::Nsec3(nsec3) => nsec3.octets(),
            Denial::Nsec(owners) => owners.len() * size_of::<u32>(),
            Denial::None => 0,
        };
        self.blob.len() + self.order.len() * size_of::<u32>() + self.index.octets() + hashes
    }

    /// Its names in canonical order, empty ones included.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = Node<'_>> {
        self.order.iter().map(|at| self.node_at(*at))
    }

    /// The node that stands at `number` in canonical order.
    pub(crate) fn node(&self, number: u32) -> Option<Node<'_>> {
        self.order.get(number as usize).map(|at| self.node_at(*at))
    }

    /// The node that has the question's name from label `from` on. The name must end in the apex.
    #[inline]
    pub(crate) fn find(&self, name: &QueryName, from: usize) -> Option<Node<'_>> {
        let suffix = name.suffix(from);
        let prefix = &suffix[..suffix.len().checked_sub(self.apex.wire().len())?];
        self.find_prefix(name.hash(from), prefix)
    }

    /// The node with this prefix, whose whole name has this hash.
    #[inline]
    pub(crate) fn find_prefix(&self, hash: u64, prefix: &[u8]) -> Option<Node<'_>> {
        let is_it = |at: u32| {
            let at = at as usize;
            usize::from(self.blob[at]) == prefix.len()
                && self.blob[at + 1..at + 1 + prefix.len()] == *prefix
        };
        self.index.find(hash, is_it).map(|at| self.node_at(at))
    }

    /// The wildcard below the name from `label` on.
    pub(crate) fn wildcard(&self, name: &QueryName, label: usize) -> Option<Node<'_>> {
        let suffix = name.suffix(label);
        let prefix = &suffix[..suffix.len().checked_sub(self.apex.wire().len())?];
        let is_it = |at: u32| {
            let bytes = &self.blob[at as usize..];
            usize::from(bytes[0]) == prefix.len() + WILDCARD.len()
                && bytes[1..].starts_with(WILDCARD)
                && bytes[1 + WILDCARD.len()..].starts_with(prefix)
        };
        let at = self.index.find(hash_label(name.hash(label), WILDCARD), is_it)?;
        Some(self.node_at(at))
    }

    /// The node whose NSEC record spans the gap that the name with this prefix lies in: the last one at or
    /// before it in canonical order, and before the first one the last of all.
    pub(crate) fn spanning(&self, owners: &[u32], prefix: &[u8]) -> Option<Node<'_>> {
        let at_or_before = |number: &u32| {
            self.node(*number).is_some_and(|node| canonical_cmp(node.prefix, prefix).is_le())
        };
        let behind = owners.partition_point(at_or_before);
        let owner = owners[..behind].last().or_else(|| owners.last())?;
        self.node(*owner)
    }

    #[inline]
    pub(crate) fn node_at(&self, at: u32) -> Node<'_> {
        #[cfg(test)]
        LOOKS.set(LOOKS.get() + 1);
        let bytes = &self.blob[at as usize..];
        let (prefix, rest) = bytes[1..].split_at(usize::from(bytes[0]));
        let count = usize::from(u16::from_be_bytes([rest[1], rest[2]]));
        let (heads, data) = rest[3..].split_at(count * HEAD);
        Node { zone: self, prefix, flags: rest[0], heads, data, at }
    }

    /// The SOA record as negative answers have it.
    pub(crate) fn negative_soa(&self) -> RrSet<'_> {
        let (head, data) = self.blob[self.negative_soa..].split_at(HEAD);
        Head::read(head).over(data)
    }
}

#[cfg(test)]
thread_local! {
    /// How many nodes were looked at: what questions cost, for tests.
    pub(crate) static LOOKS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

impl fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({})", self.name())
    }
}

impl<'z> Node<'z> {
    /// Its whole name.
    pub fn name(&self) -> Name {
        let mut wire = Vec::with_capacity(self.prefix.len() + self.zone.apex.wire().len());
        self.name_into(&mut wire);
        Name::from_wire(&wire).unwrap_or_else(|_| Name::root())
    }

    /// Appends its whole name in wire form.
    pub(crate) fn name_into(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.prefix);
        out.extend_from_slice(self.zone.apex.wire());
    }

    /// What tells it from all nodes of all zones that there are at the time.
    pub(crate) fn place(&self) -> (usize, u32) {
        (std::ptr::from_ref(self.zone).addr(), self.at)
    }

    /// Whether one of these flags is set.
    #[inline]
    pub(crate) fn is(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }

    /// Its RRsets, by type.
    #[inline]
    pub fn rrsets(&self) -> impl Iterator<Item = RrSet<'z>> + use<'z> {
        let mut data = self.data;
        self.heads.chunks_exact(HEAD).map(move |head| {
            let head = Head::read(head);
            let (own, rest) = data.split_at(head.octets());
            data = rest;
            head.over(own)
        })
    }

    /// Its records of one type. None where there are only signatures.
    #[inline]
    pub(crate) fn rrset(&self, rtype: RecordType) -> Option<RrSet<'z>> {
        let mut at = 0;
        for head in self.heads.chunks_exact(HEAD) {
            let found = RecordType(u16::from_be_bytes([head[0], head[1]]));
            if found >= rtype {
                let head = Head::read(head);
                return (found == rtype && head.count > 0).then(|| head.over(&self.data[at..]));
            }
            at += Head::read(head).octets();
        }
        None
    }
}

/// The fixed part of an RRset.
#[derive(Clone, Copy)]
pub(crate) struct Head {
    pub(crate) rtype: RecordType,
    pub(crate) count: u16,
    pub(crate) signature_count: u16,
    pub(crate) reference_count: u16,
    pub(crate) record_octets: u32,
    pub(crate) signature_octets: u32,
}

impl Head {
    #[inline]
    fn read(bytes: &[u8]) -> Head {
        let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let long = |at: usize| u32::from(word(at)) << 16 | u32::from(word(at + 2));
        Head {
            rtype: RecordType(word(0)),
            count: word(2),
            signature_count: word(4),
            reference_count: word(6),
            record_octets: long(8),
            signature_octets: long(12),
        }
    }

    pub(crate) fn bytes(&self) -> [u8; HEAD] {
        let mut bytes = [0; HEAD];
        let words = [self.rtype.0, self.count, self.signature_count, self.reference_count];
        for (place, word) in bytes.chunks_exact_mut(2).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        bytes[8..12].copy_from_slice(&self.record_octets.to_be_bytes());
        bytes[12..].copy_from_slice(&self.signature_octets.to_be_bytes());
        bytes
    }

    fn octets(&self) -> usize {
        let references = usize::from(self.reference_count) * REFERENCE;
        self.record_octets as usize + self.signature_octets as usize + references
    }

    #[inline]
    fn over<'z>(&self, data: &'z [u8]) -> RrSet<'z> {
        let (records, rest) = data.split_at(self.record_octets as usize);
        let (signatures, rest) = rest.split_at(self.signature_octets as usize);
        RrSet {
            rtype: self.rtype,
            count: self.count,
            signature_count: self.signature_count,
            records,
            signatures,
            references: &rest[..usize::from(self.reference_count) * REFERENCE],
        }
    }
}

impl fmt::Debug for RrSet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RrSet({}, {} records)", self.rtype, self.count)
    }
}

impl<'z> RrSet<'z> {
    /// The type of its records.
    pub fn rtype(&self) -> RecordType {
        self.rtype
    }

    /// How long its records may be kept, in seconds.
    pub fn ttl(&self) -> u32 {
        self.rendered().next().map_or(0, |record| record.ttl)
    }

    /// The data of each record, uncompressed, within a zone of this name.
    pub fn rdata(&self, apex: &Name) -> impl Iterator<Item = Vec<u8>> + use<'z> {
        let (apex, set) = (apex.clone(), *self);
        let records = self.rendered();
        records.map(move |record| set.expanded(&record, apex.wire()))
    }

    /// Its names that are compressed or of nodes, in the order in which they stand.
    #[inline]
    pub(crate) fn references(&self) -> impl Iterator<Item = Reference> + use<'z> {
        self.references.chunks_exact(REFERENCE).map(|bytes| Reference {
            name: u16::from_be_bytes([bytes[0], bytes[1]]),
            pointer: u16::from_be_bytes([bytes[2], bytes[3]]),
            node: u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        })
    }

    /// Its records as they are in memory.
    pub(crate) fn rendered(&self) -> impl Iterator<Item = Rendered<'z>> + use<'z> {
        rendered(self.records)
    }

    /// Its signatures as they are in memory.
    pub(crate) fn rendered_signatures(&self) -> impl Iterator<Item = Rendered<'z>> + use<'z> {
        rendered(self.signatures)
    }

    /// The data of one of its records without compression.
    pub(crate) fn expanded(&self, record: &Rendered<'_>, apex: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(record.rdata.len() + apex.len());
        self.expand(record, apex, &mut out);
        out
    }

    /// Appends the data of one of its records without compression.
    pub(crate) fn expand(&self, record: &Rendered<'_>, apex: &[u8], out: &mut Vec<u8>) {
        let mut copied = record.at;
        let end = record.at + record.rdata.len();
        for reference in self.references() {
            let pointer = usize::from(reference.pointer);
            if reference.pointer != NO_POINTER && (copied..end).contains(&pointer) {
                out.extend_from_slice(&self.records[copied..pointer]);
                out.extend_from_slice(apex);
                copied = pointer + 2;
            }
        }
        out.extend_from_slice(&self.records[copied..end]);
    }
}

/// The octets of a record before its data, with a pointer for an owner.
pub(crate) const RECORD_HEAD: usize = 12;

fn rendered(bytes: &[u8]) -> impl Iterator<Item = Rendered<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let head = bytes.get(at..)?.first_chunk::<RECORD_HEAD>()?;
        let start = at + RECORD_HEAD;
        let length = usize::from(u16::from_be_bytes([head[10], head[11]]));
        at = start + length;
        Some(Rendered {
            rtype: RecordType(u16::from_be_bytes([head[2], head[3]])),
            ttl: u32::from_be_bytes([head[6], head[7], head[8], head[9]]),
            rdata: bytes.get(start..at)?,
            at: start,
        })
    })
}
