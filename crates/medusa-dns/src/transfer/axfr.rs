//! A zone as a stream of messages (RFC 5936), made while the other end takes them.
//!
//! Each message has the question again, as §2.2.1 allows, so that names are compressed as in any answer.
//! Who may have a zone is decided elsewhere.

use std::sync::Arc;

use medusa_core::{Outbox, ProduceError, Produced, Producer};

use crate::answer::{Full, LONGEST, Owner, QUESTION, Section, Writer};
use crate::types::{Rcode, RecordType};
use crate::wire::flag;
use crate::zone::{Node, RrSet, Zone};

/// How long a message becomes: as far as pointers reach (BIND and NSD fill 16 KiB as well).
const MESSAGE: usize = 16 * 1024 - 1;

/// Produces the messages of a transfer, each with its length in front.
pub(crate) struct Axfr {
    zone: Arc<Zone>,
    id: u16,
    /// Name, type and class as they were asked.
    question: Box<[u8]>,
    next: Next,
}

/// What comes next.
#[derive(Clone, Copy)]
enum Next {
    /// The SOA record that begins it.
    First,
    /// An RRset of a node, from this record on.
    Set {
        node: u32,
        set: usize,
        record: usize,
    },
    /// The SOA record that ends it.
    Last,
    Done,
}

/// A record that no message can hold, with its owner and the question.
#[derive(Debug, thiserror::Error)]
#[error("a record of {0} is too long for a message")]
struct TooLong(String);

impl Axfr {
    /// A transfer of `zone`, to who has asked `question` with this id.
    pub(crate) fn new(zone: Arc<Zone>, id: u16, question: &[u8]) -> Axfr {
        Axfr { zone, id, question: question.into(), next: Next::First }
    }

    /// Appends the next message to `out`.
    fn message(&mut self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let start = out.len();
        out.extend_from_slice(&[0, 0]);
        let zone = Arc::clone(&self.zone);
        let question = self.question.clone();
        let mut writer = Writer::new(out, MESSAGE, &question);
        // The node whose name the message has already, and where.
        let mut named = None;
        loop {
            let before = self.next;
            match self.put(&zone, &mut writer, &mut named) {
                Ok(()) if matches!(self.next, Next::Done) => break,
                Ok(()) => {}
                Err(Full) if writer.has(Section::Answer) => break,
                // It fits no common message: it gets one of its own.
                Err(Full) if writer.room() < LONGEST - MESSAGE => {
                    writer.release(LONGEST - MESSAGE);
                    self.next = before;
                }
                Err(Full) => return Err(TooLong(zone.apex().to_string())),
            }
        }
        writer.finish(self.id, [flag::RESPONSE | flag::AUTHORITATIVE, 0], Rcode::NOERROR, 1);
        let length = (out.len() - start - 2) as u16;
        out[start..start + 2].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    /// Appends what comes next, or nothing.
    fn put(
        &mut self,
        zone: &Zone,
        writer: &mut Writer<'_>,
        named: &mut Option<(u32, u16)>,
    ) -> Result<(), Full> {
        let soa = || zone.node(0).and_then(|apex| apex.rrset(RecordType::SOA)).ok_or(Full);
        match self.next {
            Next::First => {
                writer.rrset(Section::Answer, &soa()?, Owner::At(QUESTION), true)?;
                self.next = Next::Set { node: 0, set: 0, record: 0 };
            }
            Next::Last => {
                writer.rrset(Section::Answer, &soa()?, Owner::At(QUESTION), false)?;
                self.next = Next::Done;
            }
            Next::Set { node: number, set, record } => {
                let Some(node) = zone.node(number) else {
                    self.next = Next::Last;
                    return Ok(());
                };
                let Some(rrset) = node.rrsets().nth(set) else {
                    self.next = Next::Set { node: number + 1, set: 0, record: 0 };
                    return Ok(());
                };
                let is_soa = number == 0 && rrset.rtype == RecordType::SOA;
                if !is_soa {
                    let owner = match *named {
                        Some((one, at)) if one == number => Owner::At(at),
                        _ if number == 0 => Owner::At(QUESTION),
                        _ => Owner::Below(node.prefix),
                    };
                    let at = writer.len();
                    self.put_set(&node, &rrset, owner, record, writer)?;
                    if matches!(owner, Owner::Below(_)) {
                        *named = Writer::pointer(at).map(|at| (number, at));
                    }
                }
                self.next = Next::Set { node: number, set: set + 1, record: 0 };
            }
            Next::Done => {}
        }
        Ok(())
    }

    /// Appends an RRset, or as many of its records from `record` on as fit.
    fn put_set(
        &mut self,
        node: &Node<'_>,
        set: &RrSet<'_>,
        owner: Owner<'_>,
        record: usize,
        writer: &mut Writer<'_>,
    ) -> Result<(), Full> {
        if record == 0 {
            if set.count == 0 {
                return writer.signatures_alone(Section::Answer, set, owner);
            }
            let whole = writer.rrset(Section::Answer, set, owner, true);
            let alone = !writer.has(Section::Answer);
            if whole.is_ok() || !alone || writer.room() < LONGEST - MESSAGE {
                return whole.map(|_| ());
            }
        }
        // More than a message holds: record by record.
        let records = set.rendered().map(|one| (one, true));
        let signatures = set.rendered_signatures().map(|one| (one, false));
        for (index, (one, own)) in records.chain(signatures).enumerate().skip(record) {
            let rdata = match own {
                true => set.expanded(&one, self.zone.apex().wire()),
                false => one.rdata.to_vec(),
            };
            let head = (one.rtype, crate::types::class::IN, one.ttl);
            let owner = if node.prefix.is_empty() { owner } else { Owner::Below(node.prefix) };
            if writer.record(Section::Answer, owner, head, &rdata).is_err() {
                if let Next::Set { record, .. } = &mut self.next {
                    *record = index;
                }
                return Err(Full);
            }
        }
        Ok(())
    }
}

impl Producer for Axfr {
    fn produce(&mut self, out: &mut Outbox) -> Result<Produced, ProduceError> {
        loop {
            out.compose(|buffer| self.message(buffer))
                .map_err(|error| ProduceError::Failed(Box::new(error)))?;
            match self.next {
                Next::Done => return Ok(Produced::Done),
                _ if out.room() == 0 => return Ok(Produced::More),
                _ => {}
            }
        }
    }
}
