//! A message as it is written: never longer than it may be, its names compressed by what is known rather
//! than by search.
//!
//! What belongs into it is for `resolve` to say.

use crate::types::{Rcode, RecordType, class};
use crate::wire::HEADER;
use crate::zone::{NO_POINTER, RECORD_HEAD, RrSet};

/// Where the question's name stands in a message.
pub(crate) const QUESTION: u16 = HEADER as u16;
/// The highest place that a pointer can name.
const FARTHEST: usize = 0x3FFF;

/// The sections behind the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Answer,
    Authority,
    Additional,
}

/// It doesn't fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// A record's owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner<'a> {
    /// A name that stands at this place already.
    At(u16),
    /// This, in front of the apex.
    Below(&'a [u8]),
}

/// Writes one message behind what is in a buffer already.
pub(crate) struct Writer<'o> {
    out: &'o mut Vec<u8>,
    /// Where the message begins.
    start: usize,
    limit: usize,
    counts: [u16; 3],
    /// Where the apex stands, as a pointer; the root can't be pointed at with profit.
    apex: u16,
}

impl<'o> Writer<'o> {
    /// Begins a message of at most `limit` octets with a header, still empty, and a question.
    #[inline]
    pub(crate) fn new(out: &'o mut Vec<u8>, limit: usize, question: &[u8]) -> Self {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER]);
        out.extend_from_slice(question);
        Writer { out, start, limit, counts: [0; 3], apex: QUESTION }
    }

    /// Goes on with the message at `start`, whose header has its counts.
    pub(crate) fn over(out: &'o mut Vec<u8>, start: usize, limit: usize) -> Self {
        let mut counts = [0; 3];
        for (count, octets) in counts.iter_mut().zip(out[start + 6..].chunks_exact(2)) {
            *count = u16::from_be_bytes([octets[0], octets[1]]);
        }
        Writer { out, start, limit, counts, apex: QUESTION }
    }

    /// Says how many octets of the question's name are in front of the apex.
    #[inline]
    pub(crate) fn set_apex(&mut self, in_front: usize) {
        self.apex = QUESTION + in_front as u16;
    }

    /// Says where the apex of the zone stands from which records come now.
    pub(crate) fn move_apex(&mut self, to: u16) {
        self.apex = to;
    }

    /// How long the message is.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.out.len() - self.start
    }

    /// Keeps so many octets free.
    #[inline]
    pub(crate) fn reserve(&mut self, octets: usize) {
        self.limit = self.limit.saturating_sub(octets);
    }

    /// Gives octets that were kept free back.
    #[inline]
    pub(crate) fn release(&mut self, octets: usize) {
        self.limit += octets;
    }

    /// How many octets are left.
    pub(crate) fn room(&self) -> usize {
        self.limit.saturating_sub(self.len())
    }

    /// Appends an RRset, or nothing. Says where its records begin as if their first owner were a pointer,
    /// so that references of the RRset can be added to it.
    #[inline]
    pub(crate) fn rrset(
        &mut self,
        section: Section,
        set: &RrSet<'_>,
        owner: Owner<'_>,
        signed: bool,
    ) -> Result<usize, Full> {
        let base = self.out.len();
        let shift = self.records(set, owner, base)?;
        let mut count = set.count;
        if signed && set.signature_count > 0 {
            let first = self.place(base).map_or(owner, Owner::At);
            let owner = if let Owner::At(_) = owner { owner } else { first };
            if self.signatures(set, owner).is_err() {
                self.out.truncate(base);
                return Err(Full);
            }
            count = count.saturating_add(set.signature_count);
        }
        let own = &mut self.counts[section as usize];
        *own = own.saturating_add(count);
        Ok(base - self.start + shift)
    }

    /// Appends the signatures of an RRset alone.
    pub(crate) fn signatures_alone(
        &mut self,
        section: Section,
        set: &RrSet<'_>,
        owner: Owner<'_>,
    ) -> Result<(), Full> {
        self.signatures(set, owner)?;
        self.counts[section as usize] += set.signature_count;
        Ok(())
    }

    /// Appends a record that is no zone's. `data` may be compressed already.
    pub(crate) fn record(
        &mut self,
        section: Section,
        owner: Owner<'_>,
        (rtype, class, ttl): (RecordType, u16, u32),
        data: &[u8],
    ) -> Result<usize, Full> {
        let owner_length = self.owner_length(owner);
        if owner_length + 10 + data.len() > self.room() {
            return Err(Full);
        }
        self.owner(owner);
        self.out.extend_from_slice(&rtype.0.to_be_bytes());
        self.out.extend_from_slice(&class.to_be_bytes());
        self.out.extend_from_slice(&ttl.to_be_bytes());
        self.out.extend_from_slice(&(data.len() as u16).to_be_bytes());
        let at = self.len();
        self.out.extend_from_slice(data);
        self.counts[section as usize] += 1;
        Ok(at)
    }

    /// Appends octets that were kept free, and one record more to the additional section.
    pub(crate) fn append(&mut self, compose: impl FnOnce(&mut Vec<u8>)) {
        compose(self.out);
        self.counts[Section::Additional as usize] += 1;
    }

    /// Where things stand now, to come back to.
    pub(crate) fn mark(&self) -> (usize, [u16; 3]) {
        (self.out.len(), self.counts)
    }

    /// Takes back what came after `mark`.
    pub(crate) fn back_to(&mut self, (length, counts): (usize, [u16; 3])) {
        self.out.truncate(length);
        self.counts = counts;
    }

    /// Whether a section has records.
    pub(crate) fn has(&self, section: Section) -> bool {
        self.counts[section as usize] > 0
    }

    /// A pointer to a place of the message, if it can be had.
    #[inline]
    pub(crate) fn pointer(at: usize) -> Option<u16> {
        (at <= FARTHEST).then_some(at as u16)
    }

    /// Writes the header: id, flags and counts.
    #[inline]
    pub(crate) fn finish(self, id: u16, flags: [u8; 2], rcode: Rcode, questions: u16) {
        let header = &mut self.out[self.start..self.start + HEADER];
        header[0..2].copy_from_slice(&id.to_be_bytes());
        header[2] = flags[0];
        header[3] = flags[1] | rcode.0 as u8 & 0xF;
        header[4..6].copy_from_slice(&questions.to_be_bytes());
        for (index, count) in self.counts.iter().enumerate() {
            header[6 + 2 * index..8 + 2 * index].copy_from_slice(&count.to_be_bytes());
        }
    }

    // ---- helpers -----------------------------------------------------------------------------

    fn place(&self, at: usize) -> Option<u16> {
        Self::pointer(at - self.start)
    }

    fn owner_length(&self, owner: Owner<'_>) -> usize {
        match owner {
            Owner::At(_) => 2,
            Owner::Below(prefix) => prefix.len() + 2,
        }
    }

    fn owner(&mut self, owner: Owner<'_>) {
        match owner {
            Owner::At(at) => self.out.extend_from_slice(&(0xC000 | at).to_be_bytes()),
            Owner::Below(prefix) => {
                self.out.extend_from_slice(prefix);
                self.out.extend_from_slice(&(0xC000 | self.apex).to_be_bytes());
            }
        }
    }

    /// Appends the records of an RRset, and says how much longer the first owner was than a pointer.
    #[inline]
    fn records(&mut self, set: &RrSet<'_>, owner: Owner<'_>, base: usize) -> Result<usize, Full> {
        let mut shift = 0;
        if set.records.len() > self.room() {
            return Err(Full);
        }
        if owner == Owner::At(QUESTION) {
            self.out.extend_from_slice(set.records);
        } else {
            shift = self.owner_length(owner) - 2;
            if set.records.len() + shift > self.room() {
                return Err(Full);
            }
            self.owner(owner);
            self.out.extend_from_slice(&set.records[2..]);
            let others = match owner {
                Owner::At(at) => Some(at),
                Owner::Below(_) => self.place(base),
            };
            let Some(others) = others else {
                // Nothing can be pointed at here: every owner is written out.
                self.out.truncate(base);
                self.spelt_out(set.records, owner)?;
                self.patch_spelt_out(set, owner, base);
                return Ok(shift);
            };
            self.point(base + shift, set.records, others);
        }
        let pointer = (0xC000 | self.apex).to_be_bytes();
        for reference in set.references() {
            if reference.pointer != NO_POINTER {
                let at = base + shift + usize::from(reference.pointer);
                self.out[at..at + 2].copy_from_slice(&pointer);
            }
        }
        Ok(shift)
    }

    /// Appends the signatures of an RRset.
    fn signatures(&mut self, set: &RrSet<'_>, owner: Owner<'_>) -> Result<(), Full> {
        let base = self.out.len();
        match owner {
            Owner::At(at) => {
                if set.signatures.len() > self.room() {
                    return Err(Full);
                }
                self.out.extend_from_slice(set.signatures);
                if at != QUESTION {
                    self.out[base..base + 2].copy_from_slice(&(0xC000 | at).to_be_bytes());
                    self.point(base, set.signatures, at);
                }
            }
            Owner::Below(_) => self.spelt_out(set.signatures, owner)?,
        }
        Ok(())
    }

    /// Has the owners of all records but the first, which were copied to `base`, point to `at`.
    fn point(&mut self, base: usize, records: &[u8], at: u16) {
        let pointer = (0xC000 | at).to_be_bytes();
        let mut next = record_length(records, 0);
        while next < records.len() {
            self.out[base + next..base + next + 2].copy_from_slice(&pointer);
            next += record_length(records, next);
        }
    }

    /// Appends records with an owner in front of each.
    fn spelt_out(&mut self, records: &[u8], owner: Owner<'_>) -> Result<(), Full> {
        let base = self.out.len();
        let mut at = 0;
        while at < records.len() {
            let length = record_length(records, at);
            if self.owner_length(owner) + length - 2 > self.room() {
                self.out.truncate(base);
                return Err(Full);
            }
            self.owner(owner);
            self.out.extend_from_slice(&records[at + 2..at + length]);
            at += length;
        }
        Ok(())
    }

    /// Sets the pointers to the apex in records that were [spelt out](Self::spelt_out) at `base`.
    fn patch_spelt_out(&mut self, set: &RrSet<'_>, owner: Owner<'_>, base: usize) {
        let pointer = (0xC000 | self.apex).to_be_bytes();
        let extra = self.owner_length(owner) - 2;
        let ends = set.rendered().map(|record| record.at + record.rdata.len());
        let ends: Vec<usize> = ends.collect();
        for reference in set.references().filter(|one| one.pointer != NO_POINTER) {
            let own = usize::from(reference.pointer);
            let before = ends.partition_point(|end| *end <= own);
            let at = base + own + extra * (before + 1);
            self.out[at..at + 2].copy_from_slice(&pointer);
        }
    }
}

/// How long the record at `at` is, its owner being a pointer.
#[inline]
fn record_length(records: &[u8], at: usize) -> usize {
    let length = u16::from_be_bytes([records[at + 10], records[at + 11]]);
    RECORD_HEAD + usize::from(length)
}

/// The class of all that zones have.
pub(crate) const IN: u16 = class::IN;
