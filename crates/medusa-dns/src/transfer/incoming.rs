//! Zones as they come: the messages of an answer to AXFR or IXFR, checked one by one, and what they make.
//!
//! Pure: what is taken is bounded, and nothing of it counts before its end has come and is signed. Where it
//! goes then is for the keeper to say.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::delta::{Delta, records_of, soa_record};
use super::message::{Packer, Question, Reader, is_newer, serial_of, sound_ttl};
use super::tsig::{Key, SignatureError, Signer, Verifier};
use crate::name::{Name, QueryName};
use crate::types::{Rcode, RecordType, class};
use crate::zone::{Misfit, Record, Zone, ZoneBuilder, rdata};

/// Why a transfer was given up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum TransferError {
    /// The primary doesn't give it.
    #[error("the primary answers {0}")]
    Refused(Rcode),
    /// A message isn't in order, or isn't an answer to what was asked.
    #[error("a message isn't in order: {0}")]
    Malformed(&'static str),
    /// A record that has no place in the zone.
    #[error("{owner} {rtype}: {misfit}")]
    Misfit {
        /// Its owner.
        owner: Name,
        /// Its type.
        rtype: RecordType,
        /// What is wrong with it.
        misfit: Misfit,
    },
    /// Signatures that were asked for and don't hold.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// More than may come.
    #[error("more than {0} octets have come")]
    TooLarge(u64),
    /// The changes don't begin with the version that there is.
    #[error("the changes aren't those of the version that there is")]
    Unrelated,
    /// The primary has gone back, or has lost what it had.
    #[error("its serial {0} is older than {1}")]
    Older(u32, u32),
    /// What came makes no zone.
    #[error("what came is no zone: {0}")]
    NoZone(String),
}

impl TransferError {
    /// Whether AXFR may succeed where IXFR has failed so: the primary doesn't know it, or its changes are
    /// of no use.
    pub(crate) fn is_about_changes(&self) -> bool {
        match self {
            TransferError::Refused(rcode) => {
                [Rcode::FORMERR, Rcode::NOTIMP, Rcode::SERVFAIL].contains(rcode)
            }
            TransferError::Malformed(_)
            | TransferError::Misfit { .. }
            | TransferError::Unrelated
            | TransferError::NoZone(_) => true,
            TransferError::Signature(_) | TransferError::TooLarge(_) | TransferError::Older(..) => {
                false
            }
        }
    }
}

/// What a transfer has brought.
#[derive(Debug)]
pub(crate) enum Brought {
    /// The version that there is.
    Current,
    /// All of it.
    Whole(ZoneBuilder),
    /// What has changed, version by version.
    Changes(Vec<Delta>),
}

/// What is asked of a primary.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// The zone's name.
    pub(crate) name: Name,
    /// The version that there is, if changes to it will do.
    pub(crate) held: Option<Arc<Zone>>,
    /// The key that both ends sign with.
    pub(crate) key: Option<Arc<Key>>,
    /// The most octets that may come.
    pub(crate) octets: u64,
}

/// Takes the messages of an answer.
#[derive(Debug)]
pub(crate) struct Incoming {
    wanted: Wanted,
    id: u16,
    verifier: Option<Verifier>,
    octets: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing has come.
    Begun,
    /// The newest SOA record has come, and what follows tells what kind of answer it is.
    Headed(Record),
    Whole {
        soa: Record,
        builder: ZoneBuilder,
    },
    Changes {
        soa: Record,
        done: Vec<Delta>,
        part: Part,
        lists: [Vec<Record>; 2],
    },
    Complete(Brought),
    /// It was handed out, or an error was.
    Over,
}

/// Which list of a change is being filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Removed,
    Added,
}

impl Incoming {
    /// Begins: the request, as a message, and what takes its answer.
    pub(crate) fn begin(wanted: Wanted, id: u16, now: u64) -> (Vec<u8>, Incoming) {
        let mut packer = Packer::default();
        packer.begin(id, [0, 0]);
        let rtype = if wanted.held.is_some() { RecordType::IXFR } else { RecordType::AXFR };
        packer.question(&Question { name: wanted.name.clone(), rtype, class: class::IN });
        if let Some(soa) = wanted.held.as_deref().and_then(soa_record) {
            // Nothing is longer than two names.
            let _ = packer.record(1, &soa, class::IN, 1024);
        }
        let request = packer.finish();
        let verifier = wanted.key.as_ref().map(|key| Signer::sign_request(key, request, now));
        let incoming = Incoming { wanted, id, verifier, octets: 0, state: State::Begun };
        (request.clone(), incoming)
    }

    /// Takes the next message. Says what it all has brought when it was the last one.
    ///
    /// # Errors
    ///
    /// What is wrong. Nothing is to be taken after it.
    pub(crate) fn take(
        &mut self,
        message: &[u8],
        now: u64,
    ) -> Result<Option<Brought>, TransferError> {
        self.octets += message.len() as u64 + 2;
        if self.octets > self.wanted.octets {
            return Err(TransferError::TooLarge(self.wanted.octets));
        }
        let malformed = TransferError::Malformed;
        let (mut reader, question) =
            Reader::open(message).ok_or(malformed("its header or its question"))?;
        let header = *reader.header();
        if header.id != self.id || !header.is_response() || header.opcode() != 0 {
            return Err(malformed("its header isn't that of an answer"));
        }
        // A refusal may come unsigned where the primary doesn't know the key; that it is refused is all
        // that is taken from it.
        let rcode = Rcode(u16::from(header.flags[1] & 0xF));
        if let Some(verifier) = &mut self.verifier
            && let Err(error) = verifier.check(message, now)
        {
            return Err(match error {
                SignatureError::Missing if rcode != Rcode::NOERROR => TransferError::Refused(rcode),
                error => error.into(),
            });
        }
        if rcode != Rcode::NOERROR {
            return Err(TransferError::Refused(rcode));
        }
        if let Some(question) = question
            && (question.name != self.wanted.name || question.class != class::IN)
        {
            return Err(malformed("it answers another question"));
        }
        while let Some(entry) = reader.next().map_err(|()| malformed("a record is cut off"))? {
            if entry.section != 0 {
                // What a signature or EDNS has there was looked at already.
                continue;
            }
            if entry.class != class::IN {
                return Err(malformed("a record of another class"));
            }
            let misfit = |misfit| TransferError::Misfit {
                owner: entry.owner.clone(),
                rtype: entry.rtype,
                misfit,
            };
            let rdata = reader.data(&entry).ok_or_else(|| misfit(Misfit::Malformed))?;
            let ttl = sound_ttl(entry.ttl);
            let record = Record { owner: entry.owner.clone(), rtype: entry.rtype, ttl, rdata };
            self.record(record)?;
        }
        // IXFR may be answered by the newest SOA record alone, in one message.
        if let State::Headed(soa) = &self.state {
            let serial = serial_of(&soa.rdata).unwrap_or_default();
            let held = self.wanted.held.as_deref().map(|zone| zone.soa().serial);
            match held {
                Some(held) if serial == held => self.state = State::Complete(Brought::Current),
                // It confirms nothing: another primary may have what we have, or a newer one.
                Some(held) if !is_newer(serial, held) => {
                    return Err(TransferError::Older(serial, held));
                }
                _ => {}
            }
        }
        let is_settled = self.verifier.as_ref().is_none_or(Verifier::is_settled);
        if matches!(self.state, State::Complete(_)) {
            if !is_settled {
                return Err(SignatureError::Missing.into());
            }
            if let State::Complete(brought) = std::mem::replace(&mut self.state, State::Over) {
                return Ok(Some(brought));
            }
        }
        Ok(None)
    }

    fn record(&mut self, record: Record) -> Result<(), TransferError> {
        let malformed = TransferError::Malformed;
        let is_soa = record.rtype == RecordType::SOA;
        if is_soa && record.owner != self.wanted.name {
            return Err(malformed("a SOA record of another zone"));
        }
        let state = std::mem::replace(&mut self.state, State::Over);
        self.state = match state {
            State::Begun if is_soa => State::Headed(record),
            State::Begun => return Err(malformed("it doesn't begin with the zone's SOA record")),
            State::Headed(soa) => self.second(soa, record)?,
            State::Whole { soa, builder } if is_soa => {
                // The end is the beginning again, and not another version's (RFC 5936 §2.2).
                if soa.rdata != record.rdata {
                    return Err(malformed("its last SOA record isn't its first"));
                }
                State::Complete(Brought::Whole(builder))
            }
            State::Whole { soa, mut builder } => {
                add(&mut builder, &record)?;
                State::Whole { soa, builder }
            }
            State::Changes { soa, mut done, part, mut lists } => {
                if !is_soa {
                    lists[part as usize].push(record);
                    State::Changes { soa, done, part, lists }
                } else if part == Part::Removed {
                    lists[1].push(record);
                    State::Changes { soa, done, part: Part::Added, lists }
                } else {
                    let [removed, added] = std::mem::take(&mut lists);
                    let delta = Delta::new(removed, added).ok_or(TransferError::Unrelated)?;
                    let reached = delta.to;
                    done.push(delta);
                    let serial = serial_of(&record.rdata);
                    if record.rdata == soa.rdata && serial == Some(reached) {
                        State::Complete(Brought::Changes(done))
                    } else if serial == Some(reached) {
                        lists[0].push(record);
                        State::Changes { soa, done, part: Part::Removed, lists }
                    } else {
                        return Err(TransferError::Unrelated);
                    }
                }
            }
            State::Complete(_) => return Err(malformed("records behind its end")),
            State::Over => return Err(malformed("a message behind its end")),
        };
        Ok(())
    }

    /// The second record tells what it is (RFC 1995 §4): a SOA record begins changes, anything else is a
    /// whole zone.
    fn second(&self, soa: Record, record: Record) -> Result<State, TransferError> {
        let held = self.wanted.held.as_deref();
        if record.rtype != RecordType::SOA || held.is_none() {
            let mut builder = ZoneBuilder::new(self.wanted.name.clone());
            add(&mut builder, &soa)?;
            if record.rtype == RecordType::SOA {
                // A zone of one record; what makes of it a zone will be missed.
                if soa.rdata != record.rdata {
                    return Err(TransferError::Malformed("its last SOA record isn't its first"));
                }
                return Ok(State::Complete(Brought::Whole(builder)));
            }
            add(&mut builder, &record)?;
            return Ok(State::Whole { soa, builder });
        }
        if serial_of(&record.rdata) != held.map(|zone| zone.soa().serial) {
            return Err(TransferError::Unrelated);
        }
        let lists = [vec![record], Vec::new()];
        Ok(State::Changes { soa, done: Vec::new(), part: Part::Removed, lists })
    }
}

fn add(builder: &mut ZoneBuilder, record: &Record) -> Result<(), TransferError> {
    builder.add(record).map_err(|misfit| TransferError::Misfit {
        owner: record.owner.clone(),
        rtype: record.rtype,
        misfit,
    })
}

impl Brought {
    /// Makes the zone, and says what has changed. Takes time with a large one.
    ///
    /// # Errors
    ///
    /// What came makes no zone, or nothing has come.
    pub(crate) fn finish(self, held: Option<&Zone>) -> Result<(Zone, Vec<Delta>), TransferError> {
        let no_zone = |faults: Vec<crate::zone::Fault>| {
            let first = faults.first().map(ToString::to_string);
            TransferError::NoZone(first.unwrap_or_else(|| "it has no records".into()))
        };
        match (self, held) {
            (Brought::Whole(builder), held) => {
                let zone = builder.build().map_err(no_zone)?;
                let delta = held.and_then(|held| Delta::between(held, &zone));
                Ok((zone, delta.into_iter().collect()))
            }
            (Brought::Changes(deltas), Some(held))
                if deltas.first().is_some_and(|first| first.from == held.soa().serial) =>
            {
                check_steps(held, &deltas)?;
                let (removed, added) = joined(&deltas);
                let zone = held.edited(&removed, &added).map_err(no_zone)?;
                Ok((zone, deltas))
            }
            _ => Err(TransferError::Unrelated),
        }
    }
}

/// What tells a record from others: all but its TTL.
type Identity<'r> = (&'r Name, RecordType, Cow<'r, [u8]>);

/// Checks that the changes lead on from what there is: what a step removes is there then, and what it adds
/// isn't. Versions that differ although they have one serial are told apart by that.
fn check_steps(held: &Zone, deltas: &[Delta]) -> Result<(), TransferError> {
    let mut names: HashMap<&Name, HashSet<(RecordType, Vec<u8>)>> = HashMap::new();
    for delta in deltas {
        let removed = delta.removed.iter().map(|record| (record, true));
        let added = delta.added.iter().map(|record| (record, false));
        for (record, is_removed) in removed.chain(added) {
            let identity = |record: &Record| {
                (record.rtype, rdata::canonical(record.rtype, &record.rdata).into_owned())
            };
            let here = names.entry(&record.owner).or_insert_with(|| {
                let mut name = QueryName::default();
                let node = name.read(record.owner.wire()).ok().and_then(|_| held.find(&name, 0));
                node.map_or_else(HashSet::new, |node| {
                    records_of(&node).iter().map(identity).collect()
                })
            });
            let fits = match is_removed {
                true => here.remove(&identity(record)),
                false => here.insert(identity(record)),
            };
            if !fits {
                return Err(TransferError::Unrelated);
            }
        }
    }
    Ok(())
}

/// Several changes as one.
pub(crate) fn joined<'d>(
    deltas: impl IntoIterator<Item = &'d Delta>,
) -> (Vec<Record>, Vec<Record>) {
    // What a later change does to a record outweighs what an earlier one has done.
    let mut fates: HashMap<Identity<'d>, Option<&Record>> = HashMap::new();
    let key = |record: &'d Record| {
        (&record.owner, record.rtype, rdata::canonical(record.rtype, &record.rdata))
    };
    for delta in deltas {
        fates.extend(delta.removed.iter().map(|record| (key(record), None)));
        fates.extend(delta.added.iter().map(|record| (key(record), Some(record))));
    }
    // What was added is removed too, so that no other TTL of it stays.
    let removed = fates.keys().map(|(owner, rtype, rdata)| Record {
        owner: (*owner).clone(),
        rtype: *rtype,
        ttl: 0,
        rdata: rdata.to_vec(),
    });
    (removed.collect(), fates.values().flatten().map(|record| (*record).clone()).collect())
}

#[cfg(test)]
mod tests;
