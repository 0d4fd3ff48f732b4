//! Changes to a zone that are asked for by message (RFC 2136): what must hold, what is changed, and how it
//! is answered.
//!
//! Pure: the outcome is the difference that the message makes, all of it or nothing. Who may ask is checked
//! by the desk, and what makes it last is in `journal`. Signatures of a signed zone aren't made anew: who
//! updates it brings them.

use std::collections::HashMap;

use super::delta::{Delta, missing, records_of, soa_record};
use super::message::{Entry, Reader, is_newer, serial_of, sound_ttl, with_serial};
use crate::name::{Name, QueryName};
use crate::types::{Rcode, RecordType, class};
use crate::zone::{Record, Zone, below, rdata};

#[allow(missing_docs)]
impl Rcode {
    pub(crate) const YXRRSET: Rcode = Rcode(7);
    pub(crate) const NXRRSET: Rcode = Rcode(8);
    pub(crate) const NOTZONE: Rcode = Rcode(10);
}

/// What an update may have of records; a message has no room for many more.
const MOST_RECORDS: usize = 8192;

/// What `message` would change of `zone`: nothing, or a difference with a new serial.
///
/// # Errors
///
/// Why nothing is changed, as it is answered.
pub(crate) fn difference(zone: &Zone, message: &[u8]) -> Result<Option<Delta>, Rcode> {
    let (mut reader, _) = Reader::open(message).ok_or(Rcode::FORMERR)?;
    let mut sections: [Vec<Change>; 2] = Default::default();
    while let Some(entry) = reader.next().map_err(|()| Rcode::FORMERR)? {
        // What is additional is for signatures and EDNS.
        if let Some(section) = sections.get_mut(entry.section) {
            if section.len() >= MOST_RECORDS {
                return Err(Rcode::REFUSED);
            }
            section.push(Change::read(&reader, entry, zone)?);
        }
    }
    let [required, changes] = sections;
    let mut draft = Draft { zone, names: HashMap::new() };
    draft.require(required)?;
    // All are looked at before the first is done (RFC 2136 §3.4.1).
    for change in &changes {
        change.check()?;
    }
    for change in changes {
        draft.change(change);
    }
    draft.finish()
}

/// One record of an update, whose class says what is to be done.
#[derive(Debug)]
struct Change {
    record: Record,
    class: u16,
    is_empty: bool,
}

impl Change {
    fn read(reader: &Reader<'_>, entry: Entry, zone: &Zone) -> Result<Change, Rcode> {
        if below(entry.owner.wire(), zone.apex().wire()).is_none() {
            return Err(Rcode::NOTZONE);
        }
        let is_empty = entry.data.is_empty();
        // No data is no record's, but asks for a whole RRset.
        let rdata = match is_empty && entry.class != class::IN {
            true => Vec::new(),
            false => reader.data(&entry).ok_or(Rcode::FORMERR)?,
        };
        let record = Record { owner: entry.owner, rtype: entry.rtype, ttl: entry.ttl, rdata };
        Ok(Change { record, class: entry.class, is_empty })
    }

    /// Whether it is in order as a change (RFC 2136 §3.4.1.3).
    fn check(&self) -> Result<(), Rcode> {
        let Record { rtype, ttl, .. } = self.record;
        let fine = match self.class {
            class::IN => !rtype.is_meta(),
            class::ANY => {
                ttl == 0 && self.is_empty && (!rtype.is_meta() || rtype == RecordType::ANY)
            }
            class::NONE => ttl == 0 && !self.is_empty && !rtype.is_meta(),
            _ => false,
        };
        fine.then_some(()).ok_or(Rcode::FORMERR)
    }
}

/// A zone while it is changed: the names that were touched, as they are now.
struct Draft<'z> {
    zone: &'z Zone,
    names: HashMap<Name, Touched>,
}

struct Touched {
    before: Vec<Record>,
    now: Vec<Record>,
}

/// Types that may stand beside a CNAME record (RFC 4034 §2.5, §3.1, §4).
const BESIDE_CNAME: [RecordType; 4] =
    [RecordType::CNAME, RecordType::RRSIG, RecordType::NSEC, RecordType::KEY];

impl Draft<'_> {
    /// The records of a name.
    fn at(&mut self, owner: &Name) -> &mut Vec<Record> {
        let zone = self.zone;
        let touched = self.names.entry(owner.clone()).or_insert_with(|| {
            let mut name = QueryName::default();
            let node = name.read(owner.wire()).ok().and_then(|_| zone.find(&name, 0));
            let before = node.map_or_else(Vec::new, |node| records_of(&node));
            Touched { now: before.clone(), before }
        });
        &mut touched.now
    }

    /// What must hold (RFC 2136 §3.2).
    fn require(&mut self, required: Vec<Change>) -> Result<(), Rcode> {
        let mut sets: HashMap<(Name, RecordType), Vec<Vec<u8>>> = HashMap::new();
        for Change { record, class, is_empty } in required {
            if record.ttl != 0 {
                return Err(Rcode::FORMERR);
            }
            let data = data_of(&record);
            let Record { owner, rtype, .. } = record;
            let is_any = rtype == RecordType::ANY;
            if (rtype.is_meta() && !is_any) || (class != class::IN && !is_empty) {
                return Err(Rcode::FORMERR);
            }
            let here = self.at(&owner);
            let is_there = match is_any {
                true => !here.is_empty(),
                false => here.iter().any(|record| record.rtype == rtype),
            };
            match (class, is_any, is_there) {
                (class::ANY, true, false) => return Err(Rcode::NXDOMAIN),
                (class::ANY, false, false) => return Err(Rcode::NXRRSET),
                (class::NONE, true, true) => return Err(Rcode::YXDOMAIN),
                (class::NONE, false, true) => return Err(Rcode::YXRRSET),
                (class::ANY | class::NONE, ..) => {}
                (class::IN, false, _) => sets.entry((owner, rtype)).or_default().push(data),
                _ => return Err(Rcode::FORMERR),
            }
        }
        for ((owner, rtype), mut wanted) in sets {
            let here = self.at(&owner).iter().filter(|record| record.rtype == rtype);
            let mut here: Vec<_> = here.map(data_of).collect();
            here.sort();
            wanted.sort();
            wanted.dedup();
            if here != wanted {
                return Err(Rcode::NXRRSET);
            }
        }
        Ok(())
    }

    /// Does one change, or leaves it where the rules say so (RFC 2136 §3.4.2).
    fn change(&mut self, change: Change) {
        let Change { record, class, .. } = change;
        let data = data_of(&record);
        let is_apex = record.owner == *self.zone.apex();
        let here = self.at(&record.owner);
        let is_kept =
            |rtype: RecordType| is_apex && [RecordType::SOA, RecordType::NS].contains(&rtype);
        match class {
            class::IN => {
                let ttl = sound_ttl(record.ttl);
                add(here, Record { ttl, ..record }, is_apex);
            }
            class::ANY if record.rtype == RecordType::ANY => {
                here.retain(|one| is_kept(one.rtype));
            }
            class::ANY if !is_kept(record.rtype) => here.retain(|one| one.rtype != record.rtype),
            class::NONE if record.rtype != RecordType::SOA => {
                let count = here.iter().filter(|one| one.rtype == record.rtype).count();
                // A zone keeps its last name server.
                if !(is_apex && record.rtype == RecordType::NS && count == 1) {
                    here.retain(|one| one.rtype != record.rtype || data_of(one) != data);
                }
            }
            _ => {}
        }
    }

    /// The difference, with a serial that is newer.
    fn finish(mut self) -> Result<Option<Delta>, Rcode> {
        let old_soa = soa_record(self.zone).ok_or(Rcode::SERVFAIL)?;
        let apex = self.zone.apex().clone();
        let is_soa = |record: &&Record| record.rtype == RecordType::SOA;
        let mut new_soa =
            self.at(&apex).iter().find(is_soa).cloned().unwrap_or_else(|| old_soa.clone());
        let (mut removed, mut added) = (Vec::new(), Vec::new());
        for Touched { before, now } in self.names.values() {
            missing(before, now, &mut removed);
            missing(now, before, &mut added);
        }
        if removed.is_empty() && added.is_empty() && new_soa == old_soa {
            return Ok(None);
        }
        let old_serial = self.zone.soa().serial;
        if serial_of(&new_soa.rdata) == Some(old_serial) {
            // 0 is left out, as BIND does: to some it means that there is none.
            let next = old_serial.wrapping_add(1).max(1);
            new_soa.rdata = with_serial(&new_soa.rdata, next);
        }
        removed.insert(0, old_soa);
        added.insert(0, new_soa);
        Ok(Delta::new(removed, added))
    }
}

/// A record's data, as records of a set are told apart.
fn data_of(record: &Record) -> Vec<u8> {
    rdata::canonical(record.rtype, &record.rdata).into_owned()
}

/// Adds a record to those of its name (RFC 2136 §3.4.2.2).
fn add(here: &mut Vec<Record>, record: Record, is_apex: bool) {
    let has = |rtype: RecordType| here.iter().any(|one| one.rtype == rtype);
    match record.rtype {
        RecordType::SOA => {
            let current = here.iter_mut().find(|one| one.rtype == RecordType::SOA);
            let Some(current) = current.filter(|_| is_apex) else { return };
            if let (Some(new), Some(old)) = (serial_of(&record.rdata), serial_of(&current.rdata))
                && is_newer(new, old)
            {
                *current = record;
            }
            return;
        }
        RecordType::CNAME => {
            if here.iter().any(|one| !BESIDE_CNAME.contains(&one.rtype)) {
                return;
            }
            here.retain(|one| one.rtype != RecordType::CNAME);
        }
        // There is one for a name (RFC 6672 §2.4).
        RecordType::DNAME => here.retain(|one| one.rtype != RecordType::DNAME),
        rtype if has(RecordType::CNAME) && !BESIDE_CNAME.contains(&rtype) => return,
        _ => {}
    }
    let data = data_of(&record);
    here.retain(|one| one.rtype != record.rtype || data_of(one) != data);
    // The records of a set have one TTL (RFC 2181 §5.2): the newest one's. Signatures have that of what
    // they cover.
    if record.rtype != RecordType::RRSIG {
        for one in here.iter_mut().filter(|one| one.rtype == record.rtype) {
            one.ttl = record.ttl;
        }
    }
    here.push(record);
}

#[cfg(test)]
mod tests;
