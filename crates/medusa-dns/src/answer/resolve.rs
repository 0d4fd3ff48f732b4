//! What a zone says to a question (RFC 1034 §4.3.2, RFC 4592, RFC 6672): answers, chains, referrals and
//! that something isn't there.
//!
//! Pure: zones in, records out. Proofs are found in `denial`; the header is the caller's.

use std::sync::Arc;

use super::writer::{Full, IN, Owner, QUESTION, Section, Writer};
use crate::name::{MAX_NAME, QueryName};
use crate::types::{Rcode, RecordType};
use crate::wire::flag;
use crate::zone::{
    Denial, NO_NODE, Node, RECORD_HEAD, RrSet, Zone, ZonesSnapshot, below, node_flag,
};

/// No node's place.
const NOWHERE: (usize, u32) = (0, NO_NODE);

/// The most aliases that are followed in one answer (Knot has 20, Unbound 12).
const LONGEST_CHAIN: usize = 16;

/// What kind of answer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Records that were asked for.
    Positive,
    /// The name is there, the type isn't.
    NoData,
    /// The name isn't there.
    NameError,
    /// Others know.
    Referral,
    /// An alias that leads out of all zones.
    Alias,
    /// It couldn't be answered.
    Error,
}

/// What is to be said in the header.
pub(super) struct Resolved {
    pub(super) rcode: Rcode,
    pub(super) kind: Kind,
    /// AA and TC.
    pub(super) flags: u8,
}

/// Where a name leads to in a zone.
enum Found<'z> {
    /// To this node.
    Exact(Node<'z>),
    /// To the wildcard below its closest encloser, whose label this is.
    Wildcard(Node<'z>, usize),
    /// Out of the zone, at this label.
    Cut(Node<'z>, usize),
    /// Elsewhere, at this label.
    Renamed(Node<'z>, usize),
    /// Nowhere. This is the label of the closest encloser.
    Missing(usize),
}

/// Names to work with, kept from question to question.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// The question's.
    pub(super) asked: QueryName,
    /// The one that an alias leads to.
    next: QueryName,
    wire: Vec<u8>,
}

impl Names {
    /// The name that the last alias has led to.
    pub(super) fn target(&self) -> &[u8] {
        &self.wire
    }
}

/// One question to the zones of a server.
pub(super) struct Resolution<'r, 'z, 'o> {
    pub(super) zones: &'z ZonesSnapshot,
    /// The one that is asked now: the question's, or where an alias has led.
    pub(super) zone: &'z Zone,
    pub(super) writer: &'r mut Writer<'o>,
    pub(super) rtype: RecordType,
    /// Whether signatures and proofs are wanted.
    pub(super) dnssec: bool,
    pub(super) proofs: Proofs,
}

/// The nodes whose NSEC or NSEC3 records belong into the authority section, each once.
#[derive(Default)]
pub(super) struct Proofs {
    nodes: [u32; Proofs::MOST],
    count: usize,
}

impl Proofs {
    /// Three for the end of a chain, and one for each wildcard on its way.
    const MOST: usize = LONGEST_CHAIN + 4;

    pub(super) fn add(&mut self, node: Option<Node<'_>>) {
        if let Some(node) = node
            && self.count < Self::MOST
            && !self.nodes[..self.count].contains(&node.at)
        {
            self.nodes[self.count] = node.at;
            self.count += 1;
        }
    }

    fn taken(&self) -> ([u32; Proofs::MOST], usize) {
        (self.nodes, self.count)
    }
}

/// What comes behind a chain of aliases.
enum Ending<'z> {
    /// Records, written at this place.
    Records(RrSet<'z>, usize),
    /// An alias was the last word: it was asked for, or leads in a circle.
    Alias,
    /// An alias leads to where no zone is, or none that can be asked.
    Away,
    NoData,
    NameError,
    /// A referral, whose owner stands at this place.
    Referral(Node<'z>, Owner<'z>),
    /// A name that is too long after renaming (RFC 6672 §2.2).
    TooLong,
}

impl<'z> Resolution<'_, 'z, '_> {
    /// Writes the answer.
    #[inline]
    pub(super) fn resolve(&mut self, names: &mut Names) -> Resolved {
        let start = self.writer.mark();
        match self.chain(names) {
            Ok(ending) => self.finish(ending),
            Err(Full) => {
                // RFC 2181 §9: an RRset that doesn't fit is left out as a whole.
                self.writer.back_to(start);
                let flags = flag::AUTHORITATIVE | flag::TRUNCATED;
                Resolved { rcode: Rcode::NOERROR, kind: Kind::Positive, flags }
            }
        }
    }

    /// Follows aliases and writes the answer section.
    #[inline]
    fn chain(&mut self, names: &mut Names) -> Result<Ending<'z>, Full> {
        let mut at = Some(QUESTION);
        let mut visited = [NOWHERE; LONGEST_CHAIN];
        for hop in 0..LONGEST_CHAIN {
            let name = if hop == 0 { &names.asked } else { &names.next };
            let Some(place) = at else { return Ok(Ending::Alias) };
            let (node, wildcard) = match look_up(self.zone, name) {
                Found::Exact(node) => (node, None),
                Found::Wildcard(node, label) => (node, Some(label)),
                Found::Cut(node, 0) if self.rtype == RecordType::DS => (node, None),
                Found::Cut(node, label) => {
                    let owner = self.owner_of(&node, place, name, label);
                    return Ok(Ending::Referral(node, owner));
                }
                Found::Renamed(node, label) => {
                    if visited.contains(&node.place()) {
                        return Ok(Ending::Alias);
                    }
                    visited[hop] = node.place();
                    match self.rename(&node, place, name, label, &mut names.wire)? {
                        // Where no pointer reaches, the chain ends here.
                        Some(next) => at = Writer::pointer(next),
                        None => return Ok(Ending::TooLong),
                    }
                    if self.rtype == RecordType::CNAME {
                        return Ok(Ending::Alias);
                    }
                    if !self.go_on(names, at) {
                        return Ok(Ending::Away);
                    }
                    continue;
                }
                Found::Missing(label) => {
                    self.prove_name_error(name, label);
                    return Ok(Ending::NameError);
                }
            };
            let owner = Owner::At(place);
            if let Some(set) = self.wanted(&node) {
                if let Some(label) = wildcard {
                    self.prove_wildcard(name, label);
                }
                if self.rtype == RecordType::RRSIG {
                    self.writer.signatures_alone(Section::Answer, &set, owner)?;
                    return Ok(Ending::Alias);
                }
                let base = self.writer.rrset(Section::Answer, &set, owner, self.dnssec)?;
                return Ok(Ending::Records(set, base));
            }
            // Types that may stand beside an alias are asked of the name itself (RFC 4035 §2.5).
            let beside = matches!(self.rtype, RecordType::NSEC | RecordType::RRSIG);
            let is_alias = node.is(node_flag::CNAME) && !beside;
            let alias = is_alias.then(|| node.rrset(RecordType::CNAME)).flatten();
            let Some(alias) = alias else {
                self.prove_no_data(name, &node, wildcard);
                return Ok(Ending::NoData);
            };
            if visited.contains(&node.place()) {
                return Ok(Ending::Alias);
            }
            visited[hop] = node.place();
            let base = self.writer.rrset(Section::Answer, &alias, owner, self.dnssec)?;
            if let Some(label) = wildcard {
                self.prove_wildcard(name, label);
            }
            at = Writer::pointer(base + RECORD_HEAD);
            names.wire.clear();
            if let Some(record) = alias.rendered().next() {
                alias.expand(&record, self.zone.apex().wire(), &mut names.wire);
            }
            if !self.go_on(names, at) {
                return Ok(Ending::Away);
            }
        }
        Ok(Ending::Alias)
    }

    /// The records of a node that answer the question. One RRset is enough for whoever wants any (RFC
    /// 8482 §4.1), and signatures of one for whoever wants those.
    #[inline]
    fn wanted(&self, node: &Node<'z>) -> Option<RrSet<'z>> {
        match self.rtype {
            RecordType::ANY => {
                let any = node.rrsets().find(|set| set.count > 0 && set.rtype != RecordType::NSEC);
                any.or_else(|| node.rrset(RecordType::NSEC))
            }
            RecordType::RRSIG => node.rrsets().find(|set| set.signature_count > 0),
            rtype => node.rrset(rtype),
        }
    }

    /// Whether a chain goes on with the name in `wire`, which stands at `place` of the message: in this zone, or
    /// in another one of this server (RFC 1034 §4.3.2).
    fn go_on(&mut self, names: &mut Names, place: Option<u16>) -> bool {
        if names.next.read(&names.wire).is_err() {
            return false;
        }
        let Some(zone) = zone_of(self.zones, &names.next, self.rtype) else { return false };
        if std::ptr::eq(&**zone, self.zone) {
            return true;
        }
        // A zone that knows nothing adds nothing, and what a zone has to prove is written at the end, when
        // another one is asked.
        let Some(prefix) = below(names.next.wire(), zone.apex().wire()) else { return false };
        if zone.is_stale() || self.proofs.count > 0 {
            return false;
        }
        // The name isn't compressed in front of another zone's apex.
        let apex = place.and_then(|place| Writer::pointer(usize::from(place) + prefix.len()));
        let Some(apex) = apex else { return false };
        self.writer.move_apex(apex);
        self.zone = zone;
        true
    }

    /// Writes a DNAME record and the alias that follows from it. Leaves the new name in `wire`, and says
    /// where it stands; nothing if it would be too long.
    fn rename(
        &mut self,
        node: &Node<'z>,
        place: u16,
        name: &QueryName,
        label: usize,
        wire: &mut Vec<u8>,
    ) -> Result<Option<usize>, Full> {
        let Some(set) = node.rrset(RecordType::DNAME) else { return Ok(None) };
        let owner = self.owner_of(node, place, name, label);
        self.writer.rrset(Section::Answer, &set, owner, self.dnssec)?;
        let Some(record) = set.rendered().next() else { return Ok(None) };
        wire.clear();
        wire.extend_from_slice(&name.wire()[..name.start(label)]);
        wire.extend_from_slice(record.rdata);
        if wire.len() > MAX_NAME {
            return Ok(None);
        }
        let head = (RecordType::CNAME, IN, record.ttl);
        let at = self.writer.record(Section::Answer, Owner::At(place), head, wire)?;
        Ok(Some(at))
    }

    /// The owner of a node that a name is below, or at: its name stands in the message already.
    fn owner_of(&self, node: &Node<'z>, place: u16, name: &QueryName, label: usize) -> Owner<'z> {
        let at = usize::from(place) + name.start(label);
        match Writer::pointer(at) {
            // In front of the apex labels stand where they are written; the apex may be a pointer.
            Some(at) if !node.prefix.is_empty() => Owner::At(at),
            _ => Owner::Below(node.prefix),
        }
    }

    // ---- behind the answers ------------------------------------------------------------------

    #[inline]
    fn finish(&mut self, ending: Ending<'z>) -> Resolved {
        let mut flags = flag::AUTHORITATIVE;
        let (rcode, kind) = match ending {
            Ending::Records(..) | Ending::Alias => (Rcode::NOERROR, Kind::Positive),
            Ending::Away => (Rcode::NOERROR, Kind::Alias),
            Ending::NoData => (Rcode::NOERROR, Kind::NoData),
            Ending::NameError => (Rcode::NXDOMAIN, Kind::NameError),
            Ending::TooLong => (Rcode::YXDOMAIN, Kind::Error),
            Ending::Referral(..) => {
                // The first owner of an alias is still ours (RFC 1035 §4.1.1).
                if !self.writer.has(Section::Answer) {
                    flags = 0;
                }
                (Rcode::NOERROR, Kind::Referral)
            }
        };
        let mark = self.writer.mark();
        let written = match &ending {
            Ending::NoData | Ending::NameError => self.negative(),
            Ending::Referral(node, owner) => self.referral(node, *owner),
            Ending::Records(set, base) => self.proofs().map(|()| self.additional(set, *base)),
            Ending::Alias | Ending::Away => self.proofs(),
            Ending::TooLong => Ok(()),
        };
        if written.is_err() {
            self.writer.back_to(mark);
            flags |= flag::TRUNCATED;
        }
        Resolved { rcode, kind, flags }
    }

    /// The SOA record, for how long nothing may be asked again (RFC 2308 §3), and proofs.
    fn negative(&mut self) -> Result<(), Full> {
        let soa = self.zone.negative_soa();
        self.writer.rrset(Section::Authority, &soa, Owner::Below(&[]), self.dnssec)?;
        self.proofs()
    }

    fn proofs(&mut self) -> Result<(), Full> {
        if self.proofs.count == 0 {
            return Ok(());
        }
        let (nodes, count) = self.proofs.taken();
        for at in &nodes[..count] {
            let node = self.zone.node_at(*at);
            let set = node.rrset(RecordType::NSEC3).or_else(|| node.rrset(RecordType::NSEC));
            if let Some(set) = set {
                self.writer.rrset(Section::Authority, &set, Owner::Below(node.prefix), true)?;
            }
        }
        Ok(())
    }

    /// Who knows: NS records with their addresses, and whether they sign (RFC 4035 §3.1.4).
    fn referral(&mut self, node: &Node<'z>, owner: Owner<'z>) -> Result<(), Full> {
        let Some(set) = node.rrset(RecordType::NS) else { return Ok(()) };
        let base = self.writer.rrset(Section::Authority, &set, owner, false)?;
        let owner = Writer::pointer(base).map_or(owner, |_| owner);
        // Without signatures nobody believes them.
        if self.dnssec && !matches!(self.zone.denial, Denial::None) {
            match node.rrset(RecordType::DS) {
                Some(signers) => {
                    self.writer.rrset(Section::Authority, &signers, owner, true)?;
                }
                None => self.prove_unsigned(node),
            }
        }
        self.proofs()?;
        for reference in set.references() {
            let Some(target) = self.zone.node(reference.node) else { continue };
            let glue = target.prefix.ends_with(node.prefix) && target.is(node_flag::BELOW_CUT);
            let outcome = self.addresses(&target, base + usize::from(reference.name));
            // Without these nobody can go on: all of them, or the truth that some are missing (RFC 9471
            // §3.1). Others can be asked for.
            if glue {
                outcome?;
            }
        }
        Ok(())
    }

    /// The addresses of names in an answer, as far as they fit.
    #[inline]
    fn additional(&mut self, set: &RrSet<'z>, base: usize) {
        for (index, reference) in set.references().enumerate() {
            if reference.node == NO_NODE {
                continue;
            }
            let earlier = set.references().take(index).any(|one| one.node == reference.node);
            let Some(target) = self.zone.node(reference.node).filter(|_| !earlier) else {
                continue;
            };
            let foreign = target.is(node_flag::BELOW_CUT) && set.rtype != RecordType::NS;
            if !foreign && self.addresses(&target, base + usize::from(reference.name)).is_err() {
                return;
            }
        }
    }

    /// The addresses of a node whose name stands at `place`.
    fn addresses(&mut self, node: &Node<'z>, place: usize) -> Result<(), Full> {
        let owner = Writer::pointer(place).map_or(Owner::Below(node.prefix), Owner::At);
        for rtype in [RecordType::A, RecordType::AAAA] {
            if let Some(set) = node.rrset(rtype) {
                let signed = self.dnssec && !node.is(node_flag::BELOW_CUT);
                self.writer.rrset(Section::Additional, &set, owner, signed)?;
            }
        }
        Ok(())
    }
}

/// The zone that is to be asked for a name: keys of a zone are the business of the one above it (RFC 4035
/// §3.1.4.1).
#[inline]
pub(super) fn zone_of<'z>(
    zones: &'z ZonesSnapshot,
    name: &QueryName,
    rtype: RecordType,
) -> Option<&'z Arc<Zone>> {
    let zone = zones.find(name, 0)?;
    if rtype == RecordType::DS && zone.apex().wire() == name.wire() && name.count() > 0 {
        return zones.find(name, 1).or(Some(zone));
    }
    Some(zone)
}

/// Where a name leads to. It must end in the zone's apex.
#[inline]
fn look_up<'z>(zone: &'z Zone, name: &QueryName) -> Found<'z> {
    const HIDDEN: u8 = node_flag::BELOW_CUT | node_flag::BELOW_DNAME | node_flag::HASH;
    if let Some(node) = zone.find(name, 0)
        && !node.is(HIDDEN)
    {
        return if node.is(node_flag::CUT) { Found::Cut(node, 0) } else { Found::Exact(node) };
    }
    for label in 1..=name.count() {
        let Some(node) = zone.find(name, label) else { continue };
        if node.is(HIDDEN) {
            continue;
        }
        if node.is(node_flag::CUT) {
            return Found::Cut(node, label);
        }
        if node.is(node_flag::DNAME) {
            return Found::Renamed(node, label);
        }
        // The closest encloser: only its own wildcard counts (RFC 4592 §3.3.1).
        let wildcard = node.is(node_flag::WILDCARD).then(|| zone.wildcard(name, label)).flatten();
        return match wildcard {
            Some(wildcard) => Found::Wildcard(wildcard, label),
            None => Found::Missing(label),
        };
    }
    Found::Missing(name.count())
}
