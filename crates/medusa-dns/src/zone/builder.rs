//! From records in any order to a zone: sorted, checked against each other, and rendered.
//!
//! Where records come from is not its business: a master file, a transfer, an update, a program. What a
//! single record may hold is checked by `rdata`.

use std::sync::atomic::AtomicBool;

use super::fault::Fault;
use super::index::Index;
use super::model::{
    Denial, HEAD, Head, NO_NODE, NO_POINTER, RECORD_HEAD, REFERENCE, Soa, Zone, node_flag,
};
use super::nsec3::{HASH, MOST_ITERATIONS, Nsec3};
use super::rdata;
use super::text::base32_into;
use crate::name::{MAX_LABELS, Name, hash_below, hash_of, label_starts, labels};
use crate::types::{RecordType, class};

/// A record of a zone, as it is handed about: without compression.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Record {
    /// Its owner.
    pub owner: Name,
    /// Its type.
    pub rtype: RecordType,
    /// How long it may be kept, in seconds.
    pub ttl: u32,
    /// Its data in wire form, names uncompressed.
    pub rdata: Vec<u8>,
}

/// Why a record has no place in a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misfit {
    /// Its owner isn't the apex and doesn't end in it.
    #[error("the name is outside of the zone")]
    OutOfZone,
    /// Its type is for messages alone.
    #[error("no zone has records of this type")]
    Meta,
    /// Its data isn't what its type says.
    #[error("the data isn't that of its type")]
    Malformed,
}

/// Collects the records of a zone.
#[derive(Debug)]
pub struct ZoneBuilder {
    apex: Name,
    raws: Vec<Raw>,
    /// Owners, their sort keys, and data.
    arena: Vec<u8>,
}

/// Where a record was written: a file's number and a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Origin {
    pub(crate) file: u16,
    pub(crate) line: u32,
}

/// A record whose octets are in the arena.
#[derive(Debug, Clone, Copy)]
struct Raw {
    /// The beginning of its key: most comparisons end here, without a look into the arena.
    lead: u64,
    owner: u32,
    rdata: u32,
    ttl: u32,
    key_length: u16,
    rdata_length: u16,
    rtype: RecordType,
    prefix_length: u8,
    origin: Origin,
}

/// A name that the zone will have.
struct Plan {
    owner: u32,
    prefix_length: u8,
    flags: u8,
    /// Its records in the sorted list.
    first: u32,
    end: u32,
}

impl ZoneBuilder {
    /// A zone of this name, without records yet.
    pub fn new(apex: Name) -> ZoneBuilder {
        ZoneBuilder { apex, raws: Vec::new(), arena: Vec::new() }
    }

    /// Adds a record.
    ///
    /// # Errors
    ///
    /// It has no place in this zone.
    pub fn add(&mut self, record: &Record) -> Result<(), Misfit> {
        let Record { owner, rtype, ttl, rdata } = record;
        self.add_wire(owner.wire(), *rtype, *ttl, rdata, Origin::default())
    }

    /// Adds a record whose owner is an uncompressed name in lower case.
    pub(crate) fn add_wire(
        &mut self,
        owner: &[u8],
        rtype: RecordType,
        ttl: u32,
        rdata: &[u8],
        origin: Origin,
    ) -> Result<(), Misfit> {
        if rtype.is_meta() {
            return Err(Misfit::Meta);
        }
        if !rdata::is_sound(rtype, rdata) {
            return Err(Misfit::Malformed);
        }
        let prefix = below(owner, self.apex.wire()).ok_or(Misfit::OutOfZone)?;
        let (owner, key_length) = match self.raws.last() {
            // One name mostly has several records, one after the other.
            Some(last) if self.prefix_of(last) == prefix => (last.owner, last.key_length),
            _ => {
                let start = self.arena.len() as u32;
                self.arena.extend_from_slice(prefix);
                let key_length = key_into(&mut self.arena, prefix);
                (start, key_length)
            }
        };
        let rdata_start = self.arena.len() as u32;
        self.arena.extend_from_slice(rdata);
        let mut raw = Raw {
            lead: 0,
            owner,
            rdata: rdata_start,
            ttl,
            key_length,
            rdata_length: rdata.len() as u16,
            rtype,
            prefix_length: prefix.len() as u8,
            origin,
        };
        let key = self.key_of(&raw);
        let mut lead = [0; 8];
        let taken = key.len().min(8);
        lead[..taken].copy_from_slice(&key[..taken]);
        raw.lead = u64::from_be_bytes(lead);
        self.raws.push(raw);
        Ok(())
    }

    /// Makes the zone.
    ///
    /// # Errors
    ///
    /// All that is wrong with its records together.
    pub fn build(self) -> Result<Zone, Vec<Fault>> {
        self.finish().0
    }

    /// Makes the zone, and tells what looks wrong although it can be served.
    pub(crate) fn finish(mut self) -> (Result<Zone, Vec<Fault>>, Vec<Fault>) {
        // Three quarters of the offsets are left for what is rendered.
        if self.arena.len() > (u32::MAX / 2) as usize {
            let error = Fault::whole("the zone is too large: more than 2 GiB of records");
            return (Err(vec![error]), Vec::new());
        }
        self.sort();
        let mut making = Making { builder: &self, errors: Vec::new(), warnings: Vec::new() };
        let plans = making.plan();
        let zone = making.render(plans);
        let Making { errors, warnings, .. } = making;
        match zone {
            Some(zone) if errors.is_empty() => (Ok(zone), warnings),
            _ => (Err(errors), warnings),
        }
    }

    /// Brings the records into canonical order, and drops those that stand twice.
    fn sort(&mut self) {
        let mut raws = std::mem::take(&mut self.raws);
        raws.sort_by(|left, right| {
            let by_key = || self.key_of(left).cmp(self.key_of(right));
            let by_data = || self.rdata_of(left).cmp(self.rdata_of(right));
            left.lead
                .cmp(&right.lead)
                .then_with(by_key)
                .then_with(|| left.rtype.cmp(&right.rtype))
                .then_with(by_data)
        });
        raws.dedup_by(|right, left| {
            left.rtype == right.rtype
                && self.prefix_of(left) == self.prefix_of(right)
                && self.rdata_of(left) == self.rdata_of(right)
        });
        self.raws = raws;
    }

    fn prefix_of(&self, raw: &Raw) -> &[u8] {
        &self.arena[raw.owner as usize..][..usize::from(raw.prefix_length)]
    }

    fn key_of(&self, raw: &Raw) -> &[u8] {
        let start = raw.owner as usize + usize::from(raw.prefix_length);
        &self.arena[start..][..usize::from(raw.key_length)]
    }

    fn rdata_of(&self, raw: &Raw) -> &[u8] {
        &self.arena[raw.rdata as usize..][..usize::from(raw.rdata_length)]
    }
}

/// The part of `name` in front of `apex`, if it ends in it. Both are in lower case.
pub(crate) fn below<'n>(name: &'n [u8], apex: &[u8]) -> Option<&'n [u8]> {
    let start = name.len().checked_sub(apex.len())?;
    if name[start..] != *apex {
        return None;
    }
    // The apex must begin where a label does.
    let mut at = 0;
    while at < start {
        at += usize::from(name[at]) + 1;
    }
    (at == start).then(|| &name[..start])
}

/// Appends a key whose octets are in the order of names (RFC 4034 §6.1): labels from the right, with a
/// zero behind each.
fn key_into(arena: &mut Vec<u8>, prefix: &[u8]) -> u16 {
    let mut starts = [0; MAX_LABELS];
    let count = label_starts(prefix, &mut starts);
    let start = arena.len();
    for label in starts[..count].iter().rev().map(|at| usize::from(*at)) {
        for byte in &prefix[label + 1..=label + usize::from(prefix[label])] {
            match byte {
                0 | 1 => arena.extend_from_slice(&[1, byte + 1]),
                _ => arena.push(*byte),
            }
        }
        arena.push(0);
    }
    (arena.len() - start) as u16
}

/// The work of making a zone from sorted records.
struct Making<'b> {
    builder: &'b ZoneBuilder,
    errors: Vec<Fault>,
    warnings: Vec<Fault>,
}

impl<'b> Making<'b> {
    fn apex(&self) -> &[u8] {
        self.builder.apex.wire()
    }

    fn records(&self, plan: &Plan) -> &'b [Raw] {
        &self.builder.raws[plan.first as usize..plan.end as usize]
    }

    fn prefix(&self, plan: &Plan) -> &[u8] {
        &self.builder.arena[plan.owner as usize..][..usize::from(plan.prefix_length)]
    }

    fn name(&self, prefix: &[u8]) -> Name {
        Name::from_wire(&[prefix, self.apex()].concat()).unwrap_or_else(|_| Name::root())
    }

    fn error(&mut self, raw: &Raw, message: String) {
        self.errors.push(Fault::of_record(raw.origin, message));
    }

    // ---- names -------------------------------------------------------------------------------

    /// The zone's names in canonical order, with those that have no records but names below them.
    fn plan(&mut self) -> Vec<Plan> {
        let raws = &self.builder.raws;
        let mut plans: Vec<Plan> = Vec::with_capacity(raws.len());
        // The names that the one at hand is below: numbers of plans, by depth.
        let mut above: Vec<u32> = Vec::new();
        let mut first = 0;
        if raws.first().is_none_or(|raw| raw.prefix_length != 0) {
            self.errors.push(Fault::whole("the zone has no SOA record"));
            return plans;
        }
        for group in raws.chunk_by(|left, right| {
            left.lead == right.lead && self.builder.prefix_of(left) == self.builder.prefix_of(right)
        }) {
            let owner = group[0].owner;
            let prefix = self.builder.prefix_of(&group[0]);
            let mut starts = [0; MAX_LABELS];
            let depth = label_starts(prefix, &mut starts);
            // Of what is above the one before, keep what is above this one too.
            above.truncate(depth);
            while let Some(top) = above.len().checked_sub(1) {
                let plan = &plans[above[top] as usize];
                let start = if top == 0 { prefix.len() } else { starts[depth - top].into() };
                let own =
                    &self.builder.arena[plan.owner as usize..][..usize::from(plan.prefix_length)];
                if prefix[start..] == *own {
                    break;
                }
                above.pop();
            }
            for level in above.len()..depth {
                // An empty non-terminal (RFC 4592 §2.2.2). Its name is the end of this one's.
                let start = usize::from(starts[depth - level]);
                let plan = Plan {
                    owner: owner + start as u32,
                    prefix_length: (prefix.len() - start) as u8,
                    flags: 0,
                    first,
                    end: first,
                };
                push(&mut plans, &mut above, plan, &self.builder.arena);
            }
            let end = first + group.len() as u32;
            let flags = self.flags_of(group);
            let prefix_length = group[0].prefix_length;
            let plan = Plan { owner, prefix_length, flags, first, end };
            push(&mut plans, &mut above, plan, &self.builder.arena);
            first = end;
        }
        plans
    }

    /// What a name's own records say of it.
    fn flags_of(&self, group: &[Raw]) -> u8 {
        let mut flags = 0;
        let is_apex = group[0].prefix_length == 0;
        for raw in group {
            flags |= match raw.rtype {
                RecordType::NS if !is_apex => node_flag::CUT,
                RecordType::DNAME => node_flag::DNAME,
                RecordType::CNAME => node_flag::CNAME,
                _ => 0,
            };
        }
        let of_hash = |raw: &Raw| match raw.rtype {
            RecordType::NSEC3 => true,
            RecordType::RRSIG => covered(self.builder.rdata_of(raw)) == RecordType::NSEC3,
            _ => false,
        };
        if !is_apex && group.iter().all(of_hash) {
            flags |= node_flag::HASH;
        }
        flags
    }

    // ---- records -----------------------------------------------------------------------------

    fn render(&mut self, plans: Vec<Plan>) -> Option<Zone> {
        let first = plans.first()?;
        let soas = self.records(first).iter().filter(|raw| raw.rtype == RecordType::SOA);
        let soas: Vec<Raw> = soas.copied().collect();
        let Some(soa_record) = soas.first() else {
            self.errors.push(Fault::whole("the zone has no SOA record"));
            return None;
        };
        if !self.records(first).iter().any(|raw| raw.rtype == RecordType::NS) {
            self.errors.push(Fault::whole("the zone has no NS records at its apex"));
        }
        let soa = Soa::read(self.builder.rdata_of(soa_record));
        let mut index = Index::for_places(plans.len());
        let apex_hash = hash_of(self.apex());
        for (number, plan) in plans.iter().enumerate() {
            index.insert(hash_below(apex_hash, self.prefix(plan)), number as u32);
        }
        let mut canvas = Canvas {
            apex: self.apex().to_vec(),
            apex_hash,
            blob: Vec::with_capacity(self.builder.arena.len()),
            index,
            references: Vec::new(),
            name: Vec::new(),
        };
        let mut order = Vec::with_capacity(plans.len());
        for plan in &plans {
            if canvas.blob.len() > u32::MAX as usize - (1 << 20) {
                self.errors.push(Fault::whole("the zone is too large: more than 4 GiB"));
                return None;
            }
            order.push(canvas.blob.len() as u32);
            self.check(plan);
            self.render_node(plan, &plans, &mut canvas);
        }
        let negative_soa = canvas.blob.len();
        self.render_negative_soa(first, &soa, &plans, &mut canvas);
        let denial = self.denial(&plans);
        let Canvas { mut index, mut blob, .. } = canvas;
        index.renumber(|number| order[number as usize]);
        blob.shrink_to_fit();
        Some(Zone {
            apex: self.builder.apex.clone(),
            blob: blob.into(),
            order: order.into(),
            index,
            negative_soa,
            soa,
            denial,
            records: self.builder.raws.len(),
            stale: AtomicBool::new(false),
        })
    }

    fn render_node(&self, plan: &Plan, plans: &[Plan], canvas: &mut Canvas) {
        let prefix = self.prefix(plan);
        canvas.blob.push(plan.prefix_length);
        canvas.blob.extend_from_slice(prefix);
        canvas.blob.push(plan.flags);
        let records = self.records(plan);
        let sets = sets_of(records, self.builder);
        canvas.blob.extend_from_slice(&(sets.len() as u16).to_be_bytes());
        let heads = canvas.blob.len();
        canvas.blob.resize(heads + sets.len() * HEAD, 0);
        for (number, set) in sets.iter().enumerate() {
            let head = self.render_set(set, None, plans, canvas);
            canvas.blob[heads + number * HEAD..][..HEAD].copy_from_slice(&head.bytes());
        }
    }

    fn render_negative_soa(&self, apex: &Plan, soa: &Soa, plans: &[Plan], canvas: &mut Canvas) {
        let sets = sets_of(self.records(apex), self.builder);
        let Some(set) = sets.iter().find(|set| set.rtype == RecordType::SOA) else { return };
        let head_at = canvas.blob.len();
        canvas.blob.resize(head_at + HEAD, 0);
        let ttl = ttl_of(set.records).min(soa.minimum);
        let head = self.render_set(set, Some(ttl), plans, canvas);
        canvas.blob[head_at..][..HEAD].copy_from_slice(&head.bytes());
    }

    /// Appends records, signatures and references of one RRset.
    fn render_set(
        &self,
        set: &Set<'_>,
        ttl: Option<u32>,
        plans: &[Plan],
        canvas: &mut Canvas,
    ) -> Head {
        let ttl_of_set = ttl.unwrap_or_else(|| ttl_of(set.records));
        let start = canvas.blob.len();
        canvas.references.clear();
        for raw in set.records {
            let rdata = self.builder.rdata_of(raw);
            canvas.record(start, raw.rtype, ttl_of_set, rdata, |prefix, hash, index| {
                index.find(hash, |number| self.prefix(&plans[number as usize]) == prefix)
            });
        }
        let record_octets = (canvas.blob.len() - start) as u32;
        for raw in set.signatures {
            let ttl = ttl.unwrap_or(raw.ttl);
            canvas.record(0, raw.rtype, ttl, self.builder.rdata_of(raw), |_, _, _| None);
        }
        let signature_octets = (canvas.blob.len() - start) as u32 - record_octets;
        let count = canvas.references.len() / REFERENCE;
        canvas.blob.extend_from_slice(&canvas.references);
        Head {
            rtype: set.rtype,
            count: set.records.len() as u16,
            signature_count: set.signatures.len() as u16,
            reference_count: count as u16,
            record_octets,
            signature_octets,
        }
    }

    // ---- checks ------------------------------------------------------------------------------

    /// What the records of one name may not be together.
    fn check(&mut self, plan: &Plan) {
        let records = self.records(plan);
        let name = |this: &Self| this.name(this.prefix(plan));
        let is_apex = plan.prefix_length == 0;
        if plan.flags & node_flag::CNAME != 0 {
            // RFC 1034 §3.6.2, RFC 4034 §2.5.
            let beside = [RecordType::CNAME, RecordType::RRSIG, RecordType::NSEC, RecordType::KEY];
            if let Some(raw) = records.iter().find(|raw| !beside.contains(&raw.rtype)) {
                let message =
                    format!("{} has a CNAME record and {} beside it", name(self), raw.rtype);
                self.error(raw, message);
            }
        }
        for set in records.chunk_by(|left, right| left.rtype == right.rtype) {
            let first = set[0];
            let single = [RecordType::SOA, RecordType::CNAME, RecordType::DNAME];
            if set.len() > 1 && single.contains(&first.rtype) {
                let message = format!("{} has more than one {} record", name(self), first.rtype);
                self.error(&set[1], message);
            }
            if set.len() > usize::from(u16::MAX) {
                let message = format!("{} has more than 65535 {} records", name(self), first.rtype);
                self.error(&first, message);
            }
            if first.rtype == RecordType::SOA && !is_apex {
                let message = format!("{} has a SOA record and isn't the zone's apex", name(self));
                self.error(&first, message);
            }
            if first.rtype != RecordType::RRSIG && set.iter().any(|raw| raw.ttl != first.ttl) {
                // RFC 2181 §5.2.
                let message = format!(
                    "the {} records of {} have several TTLs; the lowest is taken",
                    first.rtype,
                    name(self)
                );
                self.warnings.push(Fault::of_record(first.origin, message));
            }
        }
        let occluded = node_flag::BELOW_CUT | node_flag::BELOW_DNAME;
        if plan.flags & occluded != 0
            && let Some(raw) = records.iter().find(|raw| {
                plan.flags & node_flag::BELOW_DNAME != 0
                    || !matches!(raw.rtype, RecordType::A | RecordType::AAAA)
            })
        {
            let message = format!("{} {} is hidden by what is above it", name(self), raw.rtype);
            self.warnings.push(Fault::of_record(raw.origin, message));
        }
    }

    /// How the zone denies, and what is needed for it.
    fn denial(&mut self, plans: &[Plan]) -> Denial {
        let Some(apex) = plans.first() else { return Denial::None };
        let of_apex =
            |rtype: RecordType| self.records(apex).iter().filter(move |raw| raw.rtype == rtype);
        if of_apex(RecordType::NSEC).next().is_some() {
            let has_record = |plan: &Plan| {
                plan.flags & node_flag::BELOW_CUT == 0
                    && self.records(plan).iter().any(|raw| raw.rtype == RecordType::NSEC)
            };
            let owners = plans.iter().enumerate().filter(|(_, plan)| has_record(plan));
            return Denial::Nsec(owners.map(|(number, _)| number as u32).collect());
        }
        // Flags are 0 for those that servers use (RFC 5155 §4.1.2).
        let mut parameters = of_apex(RecordType::NSEC3PARAM).map(|raw| self.builder.rdata_of(raw));
        let usable = |rdata: &&[u8]| rdata.starts_with(&[1, 0]);
        let Some(parameters) = parameters.find(usable).map(<[u8]>::to_vec) else {
            return Denial::None;
        };
        let iterations = u16::from_be_bytes([parameters[2], parameters[3]]);
        if iterations > MOST_ITERATIONS {
            let message = format!(
                "NSEC3 with {iterations} iterations: {MOST_ITERATIONS} is the most that is served (RFC 9276)"
            );
            self.errors.push(Fault::whole(message));
            return Denial::None;
        }
        let mut chain = Vec::new();
        for (number, plan) in plans.iter().enumerate() {
            let same = self.records(plan).iter().any(|raw| {
                let rdata = self.builder.rdata_of(raw);
                // Algorithm, iterations and salt; flags may have opt-out.
                raw.rtype == RecordType::NSEC3
                    && rdata[0] == 1
                    && rdata[2..].starts_with(&parameters[2..])
            });
            let mut hash = Vec::with_capacity(HASH);
            let label = labels(self.prefix(plan)).next().unwrap_or_default();
            if same
                && base32_into(&mut hash, label).is_some()
                && let Ok(hash) = <[u8; HASH]>::try_from(&hash[..])
            {
                chain.push((hash, number as u32));
            }
        }
        if chain.is_empty() {
            let message =
                "the zone has an NSEC3PARAM record, and no NSEC3 record that goes with it";
            self.warnings.push(Fault::whole(message));
            return Denial::None;
        }
        Denial::Nsec3(Nsec3::new(&parameters[5..], iterations, chain))
    }
}

/// Adds a name below those that it is below.
fn push(plans: &mut Vec<Plan>, above: &mut Vec<u32>, mut plan: Plan, arena: &[u8]) {
    if let Some(parent) = above.last().and_then(|number| plans.get_mut(*number as usize)) {
        if parent.flags & (node_flag::CUT | node_flag::BELOW_CUT) != 0 {
            plan.flags |= node_flag::BELOW_CUT;
        }
        if parent.flags & (node_flag::DNAME | node_flag::BELOW_DNAME) != 0 {
            plan.flags |= node_flag::BELOW_DNAME;
        }
        if arena[plan.owner as usize..].starts_with(b"\x01*") {
            parent.flags |= node_flag::WILDCARD;
        }
    }
    above.push(plans.len() as u32);
    plans.push(plan);
}

/// The records of one type at one name, and what signs them.
struct Set<'r> {
    rtype: RecordType,
    records: &'r [Raw],
    signatures: &'r [Raw],
}

/// The type that a signature covers.
fn covered(rdata: &[u8]) -> RecordType {
    RecordType(rdata.first_chunk::<2>().map_or(0, |bytes| u16::from_be_bytes(*bytes)))
}

/// Divides a name's records by type; signatures go to what they cover, or stand alone.
fn sets_of<'r>(records: &'r [Raw], builder: &ZoneBuilder) -> Vec<Set<'r>> {
    let covered = |raw: &Raw| covered(builder.rdata_of(raw));
    let signatures = records.iter().position(|raw| raw.rtype == RecordType::RRSIG);
    let signatures = signatures.map_or(&records[..0], |start| {
        let rest = &records[start..];
        let count = rest.partition_point(|raw| raw.rtype == RecordType::RRSIG);
        &rest[..count]
    });
    let mut sets: Vec<Set<'r>> = records
        .chunk_by(|left, right| left.rtype == right.rtype)
        .filter(|set| set[0].rtype != RecordType::RRSIG)
        .map(|set| Set { rtype: set[0].rtype, records: set, signatures: &records[..0] })
        .collect();
    for group in signatures.chunk_by(|left, right| covered(left) == covered(right)) {
        let rtype = covered(&group[0]);
        match sets.binary_search_by_key(&rtype, |set| set.rtype) {
            Ok(at) => sets[at].signatures = group,
            Err(at) => sets.insert(at, Set { rtype, records: &records[..0], signatures: group }),
        }
    }
    sets
}

fn ttl_of(records: &[Raw]) -> u32 {
    records.iter().map(|raw| raw.ttl).min().unwrap_or(0)
}

/// What is rendered so far.
struct Canvas {
    apex: Vec<u8>,
    apex_hash: u64,
    blob: Vec<u8>,
    /// Names to numbers of plans.
    index: Index,
    /// References of the RRset at hand.
    references: Vec<u8>,
    name: Vec<u8>,
}

impl Canvas {
    /// Appends a record of an RRset that began at `set`. `node_of` finds a name by prefix and hash.
    fn record(
        &mut self,
        set: usize,
        rtype: RecordType,
        ttl: u32,
        rdata: &[u8],
        node_of: impl Fn(&[u8], u64, &Index) -> Option<u32>,
    ) {
        let start = self.blob.len();
        self.blob.extend_from_slice(&[0xC0, 0x0C]);
        self.blob.extend_from_slice(&rtype.0.to_be_bytes());
        self.blob.extend_from_slice(&class::IN.to_be_bytes());
        self.blob.extend_from_slice(&ttl.to_be_bytes());
        self.blob.extend_from_slice(&[0, 0]);
        // References count in 16 bits; what lies beyond is written out in full.
        let within = start + RECORD_HEAD + rdata.len() - set < usize::from(NO_POINTER);
        let mut copied = 0;
        if within && rtype != RecordType::RRSIG {
            for (at, length, compressible) in rdata::names_in(rtype, rdata) {
                self.name.clear();
                self.name.extend(rdata[at..at + length].iter().map(u8::to_ascii_lowercase));
                let Some(prefix) = below(&self.name, &self.apex) else { continue };
                let node = match has_additional(rtype) {
                    true => node_of(prefix, hash_below(self.apex_hash, prefix), &self.index),
                    false => None,
                };
                let compress = compressible && self.apex.len() > 1;
                if !compress && node.is_none() {
                    continue;
                }
                let prefix_end = at + prefix.len();
                self.blob.extend_from_slice(&rdata[copied..at]);
                let name_at = self.blob.len() - set;
                let mut pointer = NO_POINTER;
                if compress {
                    self.blob.extend_from_slice(&rdata[at..prefix_end]);
                    pointer = (self.blob.len() - set) as u16;
                    self.blob.extend_from_slice(&[0xC0, 0x00]);
                } else {
                    self.blob.extend_from_slice(&rdata[at..at + length]);
                }
                copied = at + length;
                self.references.extend_from_slice(&(name_at as u16).to_be_bytes());
                self.references.extend_from_slice(&pointer.to_be_bytes());
                self.references.extend_from_slice(&node.unwrap_or(NO_NODE).to_be_bytes());
            }
        }
        self.blob.extend_from_slice(&rdata[copied..]);
        let length = (self.blob.len() - start - RECORD_HEAD) as u16;
        self.blob[start + RECORD_HEAD - 2..start + RECORD_HEAD]
            .copy_from_slice(&length.to_be_bytes());
    }
}

/// Whether who asks for this type will ask for the addresses of the names in it (RFC 1035 §3.3, RFC 2782,
/// RFC 9460 §4.1).
fn has_additional(rtype: RecordType) -> bool {
    matches!(
        rtype,
        RecordType::NS
            | RecordType::MX
            | RecordType::SRV
            | RecordType::SVCB
            | RecordType::HTTPS
            | RecordType::AFSDB
            | RecordType::KX
    )
}
