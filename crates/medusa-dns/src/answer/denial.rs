//! Proofs that something isn't there, in zones that are signed already: by NSEC (RFC 4035 §3.1.3) and by
//! NSEC3 (RFC 5155 §7.2).
//!
//! Which nodes have them is found here; `resolve` writes them.

use super::resolve::Resolution;
use crate::name::{MAX_NAME, QueryName};
use crate::types::RecordType;
use crate::zone::{Denial, Node, Nsec3};

impl<'z> Resolution<'_, 'z, '_> {
    /// There is no such name. `label` is where its closest encloser begins.
    pub(super) fn prove_name_error(&mut self, name: &QueryName, label: usize) {
        match &self.zone.denial {
            _ if !self.dnssec => {}
            Denial::None => {}
            Denial::Nsec(owners) => {
                let name_gap = self.covering(owners, name.suffix(0));
                let star = wildcard_of(name, label);
                let star_gap = self.covering(owners, &star);
                self.proofs.add(name_gap);
                self.proofs.add(star_gap);
            }
            Denial::Nsec3(nsec3) => {
                // An encloser that only leads to delegations which are opted out has no record.
                let label = self.provable(nsec3, name, label);
                self.closest(nsec3, name, label);
                let star = nsec3.covering(&nsec3.hash(&wildcard_of(name, label)));
                self.add(star);
            }
        }
    }

    /// There is such a name, and nothing of the type at it. With a wildcard, `wildcard` is where its
    /// closest encloser begins.
    pub(super) fn prove_no_data(
        &mut self,
        name: &QueryName,
        node: &Node<'z>,
        wildcard: Option<usize>,
    ) {
        match &self.zone.denial {
            _ if !self.dnssec => {}
            Denial::None => {}
            Denial::Nsec(owners) => {
                // An empty non-terminal has no record of its own; it lies in a gap.
                let own = match (node.rrset(RecordType::NSEC), wildcard) {
                    (Some(_), _) => Some(*node),
                    (None, Some(label)) => self.covering(owners, &wildcard_of(name, label)),
                    (None, None) => self.covering(owners, name.suffix(0)),
                };
                self.proofs.add(own);
                if wildcard.is_some() {
                    let gap = self.covering(owners, name.suffix(0));
                    self.proofs.add(gap);
                }
            }
            Denial::Nsec3(nsec3) => {
                if let Some(label) = wildcard {
                    self.closest(nsec3, name, label);
                    let star = nsec3.matching(&nsec3.hash(&wildcard_of(name, label)));
                    self.add(star);
                    return;
                }
                match nsec3.matching(&nsec3.hash(name.suffix(0))) {
                    Some(own) => self.add(Some(own)),
                    // A delegation that is opted out, or a name that only leads to such (§7.2.4).
                    None => self.closest_provable(nsec3, name),
                }
            }
        }
    }

    /// The answer was made from a wildcard: there is nothing closer (RFC 4035 §3.1.3.3, RFC 5155 §7.2.6).
    pub(super) fn prove_wildcard(&mut self, name: &QueryName, label: usize) {
        match &self.zone.denial {
            _ if !self.dnssec => {}
            Denial::None => {}
            Denial::Nsec(owners) => {
                let gap = self.covering(owners, name.suffix(0));
                self.proofs.add(gap);
            }
            Denial::Nsec3(nsec3) => {
                let next_closer = name.suffix(label.saturating_sub(1));
                self.add(nsec3.covering(&nsec3.hash(next_closer)));
            }
        }
    }

    /// Nothing is known of the keys of this delegation (RFC 4035 §3.1.4.1, RFC 5155 §7.2.7).
    pub(super) fn prove_unsigned(&mut self, node: &Node<'z>) {
        match &self.zone.denial {
            Denial::None => {}
            Denial::Nsec(_) => self.proofs.add(Some(*node)),
            Denial::Nsec3(nsec3) => {
                let wire = node.name();
                let mut name = QueryName::default();
                if name.read(wire.wire()).is_err() {
                    return;
                }
                match nsec3.matching(&nsec3.hash(wire.wire())) {
                    Some(own) => self.add(Some(own)),
                    None => self.closest_provable(nsec3, &name),
                }
            }
        }
    }

    // ---- helpers -----------------------------------------------------------------------------

    fn add(&mut self, number: Option<u32>) {
        let node = number.and_then(|number| self.zone.node(number));
        self.proofs.add(node);
    }

    /// The node whose NSEC record spans the gap that a name lies in.
    fn covering(&self, owners: &[u32], wire: &[u8]) -> Option<Node<'z>> {
        let prefix = wire.len().checked_sub(self.zone.apex().wire().len())?;
        self.zone.spanning(owners, &wire[..prefix])
    }

    /// The closest encloser is there, and the next closer name isn't (RFC 5155 §7.2.1).
    fn closest(&mut self, nsec3: &'z Nsec3, name: &QueryName, label: usize) {
        self.add(nsec3.matching(&nsec3.hash(name.suffix(label))));
        let next_closer = name.suffix(label.saturating_sub(1));
        self.add(nsec3.covering(&nsec3.hash(next_closer)));
    }

    /// The same, with the closest encloser that has a record.
    fn closest_provable(&mut self, nsec3: &'z Nsec3, name: &QueryName) {
        let label = self.provable(nsec3, name, 1);
        self.closest(nsec3, name, label);
    }

    /// Where the closest encloser begins that has a record, from `label` on. The apex has one.
    fn provable(&self, nsec3: &Nsec3, name: &QueryName, label: usize) -> usize {
        let apex = self.zone.apex().wire().len();
        let mut labels =
            (label..=name.count()).take_while(|label| name.suffix(*label).len() >= apex);
        let has_record = |label: &usize| nsec3.matching(&nsec3.hash(name.suffix(*label))).is_some();
        labels.find(has_record).unwrap_or(label)
    }
}

/// The name of a wildcard, without an allocation.
struct Wildcard {
    wire: [u8; MAX_NAME + 2],
    length: usize,
}

/// The wildcard below the name from `label` on.
fn wildcard_of(name: &QueryName, label: usize) -> Wildcard {
    let suffix = name.suffix(label);
    let mut wire = [0; MAX_NAME + 2];
    wire[..2].copy_from_slice(b"\x01*");
    wire[2..2 + suffix.len()].copy_from_slice(suffix);
    Wildcard { wire, length: suffix.len() + 2 }
}

impl std::ops::Deref for Wildcard {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.wire[..self.length]
    }
}
