//! What a zone has become: the difference between two of its versions, and the last few of them, from
//! which IXFR is answered.
//!
//! Pure, and in memory alone; what has to last is in `journal`.

use std::cmp::Ordering;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use super::message::serial_of;
use crate::name::canonical_cmp;
use crate::types::RecordType;
use crate::zone::{Node, Record, Zone};

/// How one version of a zone becomes the next. Each list begins with the SOA record of its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delta {
    /// The serial of the version before.
    pub(crate) from: u32,
    /// The serial of the version behind.
    pub(crate) to: u32,
    /// What is gone.
    pub(crate) removed: Vec<Record>,
    /// What has come.
    pub(crate) added: Vec<Record>,
}

impl Delta {
    /// A difference of these; none if the lists don't begin with a SOA record each.
    pub(crate) fn new(removed: Vec<Record>, added: Vec<Record>) -> Option<Delta> {
        let serial = |records: &[Record]| {
            let first = records.first().filter(|first| first.rtype == RecordType::SOA)?;
            serial_of(&first.rdata)
        };
        Some(Delta { from: serial(&removed)?, to: serial(&added)?, removed, added })
    }

    /// What has changed from one version of a zone to another; none if their serials are the same.
    pub(crate) fn between(old: &Zone, new: &Zone) -> Option<Delta> {
        if old.soa().serial == new.soa().serial || old.apex() != new.apex() {
            return None;
        }
        let (mut removed, mut added) = (vec![soa_record(old)?], vec![soa_record(new)?]);
        let (mut old_nodes, mut new_nodes) = (old.nodes().peekable(), new.nodes().peekable());
        loop {
            let order = match (old_nodes.peek(), new_nodes.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(old), Some(new)) => canonical_cmp(old.prefix, new.prefix),
            };
            let gone = old_nodes.next_if(|_| order.is_le());
            let come = new_nodes.next_if(|_| order.is_ge());
            let before = gone.map_or_else(Vec::new, |node| records_of(&node));
            let behind = come.map_or_else(Vec::new, |node| records_of(&node));
            if before != behind {
                missing(&before, &behind, &mut removed);
                missing(&behind, &before, &mut added);
            }
        }
        Delta::new(removed, added)
    }

    /// About how many octets it takes, in memory or in a message.
    pub(crate) fn octets(&self) -> usize {
        self.removed.iter().chain(&self.added).map(octets_of).sum()
    }

    /// The records of the delta as IXFR has them (RFC 1995 §4).
    fn into_records(self: Arc<Self>) -> impl Iterator<Item = Record> + Send {
        let count = self.removed.len() + self.added.len();
        (0..count).filter_map(move |index| {
            let added = index.checked_sub(self.removed.len());
            let record = added.map_or_else(|| self.removed.get(index), |at| self.added.get(at));
            record.cloned()
        })
    }
}

fn octets_of(record: &Record) -> usize {
    record.owner.wire().len() + record.rdata.len() + 10
}

/// Appends what is in `these` and not in `those`, but for the SOA record.
pub(crate) fn missing(these: &[Record], those: &[Record], out: &mut Vec<Record>) {
    let those: HashSet<&Record> = those.iter().collect();
    let gone = these.iter().filter(|record| !those.contains(record));
    out.extend(gone.filter(|record| record.rtype != RecordType::SOA).cloned());
}

/// The SOA record of a zone.
pub(crate) fn soa_record(zone: &Zone) -> Option<Record> {
    let set = zone.node(0)?.rrset(RecordType::SOA)?;
    let rdata = set.rdata(zone.apex()).next()?;
    Some(Record { owner: zone.apex().clone(), rtype: RecordType::SOA, ttl: set.ttl(), rdata })
}

/// The records of one name, signatures included.
pub(crate) fn records_of(node: &Node<'_>) -> Vec<Record> {
    let mut out = Vec::new();
    let owner = node.name();
    for set in node.rrsets() {
        let apex = node.zone.apex().wire();
        let own = set.rendered().map(|one| (one.rtype, one.ttl, set.expanded(&one, apex)));
        let signatures = set.rendered_signatures();
        let signatures = signatures.map(|one| (one.rtype, one.ttl, one.rdata.to_vec()));
        let all = own.chain(signatures);
        out.extend(all.map(|(rtype, ttl, rdata)| Record {
            owner: owner.clone(),
            rtype,
            ttl,
            rdata,
        }));
    }
    out
}

/// All records of a zone as AXFR has them: its SOA record first and last (RFC 5936 §2.2). The zone is
/// held until the last one is taken.
pub(crate) fn whole(zone: Arc<Zone>) -> impl Iterator<Item = Record> + Send {
    let soa = soa_record(&zone);
    let mut number = 0;
    let mut waiting = Vec::new().into_iter();
    let middle = std::iter::from_fn(move || {
        loop {
            if let Some(record) = waiting.next() {
                return Some(record);
            }
            let node = zone.node(number)?;
            let mut records = records_of(&node);
            if number == 0 {
                records.retain(|record| record.rtype != RecordType::SOA);
            }
            number += 1;
            waiting = records.into_iter();
        }
    });
    soa.clone().into_iter().chain(middle).chain(soa)
}

/// The last changes of a zone.
#[derive(Debug, Default)]
pub(crate) struct History {
    deltas: VecDeque<Arc<Delta>>,
    octets: usize,
}

impl History {
    /// How many octets of changes are kept at least; more for a zone that is larger.
    const LEAST: usize = 1 << 20;

    /// Adds a change of a zone that takes so many octets, and forgets the oldest where there are more than
    /// the zone itself would take.
    pub(crate) fn push(&mut self, delta: Arc<Delta>, zone_octets: usize) {
        if self.deltas.back().is_some_and(|last| last.to != delta.from) {
            self.clear();
        }
        self.octets += delta.octets();
        self.deltas.push_back(delta);
        while self.octets > zone_octets.max(Self::LEAST) {
            let Some(oldest) = self.deltas.pop_front() else { break };
            self.octets -= oldest.octets();
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.deltas.clear();
        self.octets = 0;
    }

    /// What has changed since the version `from` up to the version `to`, if all of it is known.
    pub(crate) fn since(&self, from: u32, to: u32) -> Option<Vec<Arc<Delta>>> {
        let last = self.deltas.back()?;
        let start = self.deltas.iter().rposition(|delta| delta.from == from)?;
        (last.to == to).then(|| self.deltas.range(start..).cloned().collect())
    }
}

/// Changes up to `zone` as IXFR has them: the newest SOA record first and last (RFC 1995 §4).
pub(crate) fn changes(
    zone: &Zone,
    deltas: Vec<Arc<Delta>>,
) -> Option<impl Iterator<Item = Record> + Send + use<>> {
    let soa = soa_record(zone)?;
    let middle = deltas.into_iter().flat_map(Delta::into_records);
    Some(std::iter::once(soa.clone()).chain(middle).chain(std::iter::once(soa)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::testing::{record, zone};

    #[test]
    fn the_difference_makes_one_of_the_other() {
        let old = zone(1, &["a A 192.0.2.1", "b A 192.0.2.1", "b A 192.0.2.2", "c.d TXT gone"]);
        let new = zone(2, &["a A 192.0.2.1", "b A 192.0.2.2", "b A 192.0.2.3", "e TXT come"]);
        let delta = Delta::between(&old, &new).unwrap();
        assert_eq!((delta.from, delta.to), (1, 2));
        assert_eq!(delta.removed[1..], [record("b A 192.0.2.1"), record("c.d TXT gone")]);
        assert_eq!(delta.added[1..], [record("b A 192.0.2.3"), record("e TXT come")]);
        let made = old.edited(&delta.removed, &delta.added).unwrap();
        assert!(made.records().eq(new.records()));
        assert_eq!(Delta::between(&old, &old), None);
    }

    #[test]
    fn history_answers_for_what_it_knows() {
        let zones: Vec<_> =
            (1..=4).map(|serial| zone(serial, &[&format!("a TXT v{serial}")])).collect();
        let mut history = History::default();
        assert!(history.since(1, 2).is_none());
        for pair in zones.windows(2) {
            history.push(Arc::new(Delta::between(&pair[0], &pair[1]).unwrap()), 1000);
        }
        assert_eq!(history.since(1, 4).unwrap().len(), 3);
        assert_eq!(history.since(3, 4).unwrap().len(), 1);
        assert!(history.since(4, 4).is_none() && history.since(1, 3).is_none());
        // A gap: what was before leads nowhere.
        history.push(Arc::new(Delta::between(&zones[0], &zones[2]).unwrap()), 1000);
        assert!(history.since(3, 4).is_none());
        assert_eq!(history.since(1, 3).unwrap().len(), 1);
    }

    #[test]
    fn history_is_bounded() {
        let mut history = History::default();
        let text = "x".repeat(200);
        for serial in 1..=6000 {
            let old = record(&format!("@ SOA a. b. {serial} 1 1 1 1"));
            let new = record(&format!("@ SOA a. b. {} 1 1 1 1", serial + 1));
            let more = record(&format!("a TXT {text}"));
            let delta = Delta::new(vec![old], vec![new, more]).unwrap();
            history.push(Arc::new(delta), 0);
            assert!(history.octets <= History::LEAST);
        }
        assert!(history.since(6000, 6001).is_some() && history.since(1, 6001).is_none());
    }
}
