//! Zones as they leave: a stream of messages that is made as fast as it is taken (RFC 5936, RFC 1995).
//!
//! The version that was begun with is held to the end. Which version, and to whom, is for the desk to say.

use std::fmt;

use medusa_core::{Outbox, ProduceError, Produced, Producer};

use super::message::{LONGEST, Packer, Question};
use super::tsig::Signer;
use crate::types::{Rcode, class};
use crate::wire::flag;
use crate::zone::Record;

/// A message is ended at so many octets, which is as far as compression reaches (NSD and BIND do the
/// same); a record that is longer gets one of its own.
const MESSAGE: usize = 16 * 1024;

/// What tells the time, in seconds since 1970: signatures of a stream that takes long have to be of their
/// own time.
pub(crate) type Clock = fn() -> u64;

/// An answer of any number of messages. Over a connection each has its length in front.
pub(crate) struct Outgoing {
    records: Box<dyn Iterator<Item = Record> + Send>,
    /// The one that didn't fit.
    waiting: Option<Record>,
    packer: Packer,
    id: u16,
    flags: [u8; 2],
    question: Option<Question>,
    signer: Option<Signer>,
    clock: Clock,
    /// Records that have left.
    count: u64,
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing").field("count", &self.count).finish_non_exhaustive()
    }
}

/// A record that fits no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} has a record that is too long for a message")]
pub(crate) struct TooLong(String);

impl Outgoing {
    pub(crate) fn new(
        records: impl Iterator<Item = Record> + Send + 'static,
        id: u16,
        question: Question,
        signer: Option<Signer>,
        clock: Clock,
    ) -> Outgoing {
        let mut records = Box::new(records);
        Outgoing {
            waiting: records.next(),
            records,
            packer: Packer::default(),
            id,
            flags: [flag::RESPONSE | flag::AUTHORITATIVE, Rcode::NOERROR.0 as u8],
            question: Some(question),
            signer,
            clock,
            count: 0,
        }
    }

    /// The next message; none when all have been made.
    ///
    /// # Errors
    ///
    /// There is a record that no message can hold.
    pub(crate) fn message(&mut self) -> Result<Option<&[u8]>, TooLong> {
        let Some(mut record) = self.waiting.take() else { return Ok(None) };
        self.packer.begin(self.id, self.flags);
        // The first message alone has the question (RFC 5936 §2.2.1).
        if let Some(question) = self.question.take() {
            self.packer.question(&question);
        }
        let most = LONGEST - self.signer.as_ref().map_or(0, Signer::octets);
        loop {
            let limit = if self.packer.is_empty() { most } else { MESSAGE.min(most) };
            if self.packer.record(0, &record, class::IN, limit).is_err() {
                if self.packer.is_empty() {
                    return Err(TooLong(format!("{} {}", record.owner, record.rtype)));
                }
                self.waiting = Some(record);
                break;
            }
            self.count += 1;
            match self.records.next() {
                Some(next) => record = next,
                None => break,
            }
        }
        let message = self.packer.finish();
        if let Some(signer) = &mut self.signer {
            signer.sign(message, (self.clock)());
        }
        Ok(Some(message))
    }

    /// All of it as one message of at most `limit` octets; none if it is longer.
    pub(crate) fn single(mut self, limit: usize) -> Option<Vec<u8>> {
        let message = self.message().ok()??.to_vec();
        (self.waiting.is_none() && message.len() <= limit).then_some(message)
    }
}

impl Producer for Outgoing {
    fn produce(&mut self, out: &mut Outbox) -> Result<Produced, ProduceError> {
        loop {
            match self.message() {
                Ok(Some(message)) => {
                    out.push_slice(&(message.len() as u16).to_be_bytes());
                    out.push_slice(message);
                }
                Ok(None) => return Ok(Produced::Done),
                Err(error) => return Err(ProduceError::Failed(Box::new(error))),
            }
            if out.room() == 0 {
                return Ok(if self.waiting.is_some() { Produced::More } else { Produced::Done });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::transfer::delta::whole;
    use crate::transfer::message::Reader;
    use crate::transfer::testing::{apex, zone};
    use crate::types::RecordType;

    fn outgoing(records: impl Iterator<Item = Record> + Send + 'static) -> Outgoing {
        let question = Question { name: apex(), rtype: RecordType::AXFR, class: class::IN };
        Outgoing::new(records, 7, question, None, || 0)
    }

    #[test]
    fn every_record_leaves_once_and_the_soa_record_twice() {
        let many: Vec<_> = (0..3000).map(|at| format!("n{at} TXT text{at}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        let zone = Arc::new(zone(1, &many));
        let mut outgoing = outgoing(whole(Arc::clone(&zone)));
        let (mut heard, mut messages) = (Vec::new(), 0);
        while let Some(message) = outgoing.message().unwrap() {
            let message = message.to_vec();
            assert!(message.len() <= MESSAGE);
            let (mut reader, question) = Reader::open(&message).unwrap();
            assert_eq!(question.is_some(), messages == 0);
            messages += 1;
            while let Some(entry) = reader.next().unwrap() {
                let rdata = reader.data(&entry).unwrap();
                let one = entry;
                heard.push(Record { owner: one.owner, rtype: one.rtype, ttl: one.ttl, rdata });
            }
        }
        assert!(messages > 3);
        let last = heard.pop().unwrap();
        assert_eq!((last.rtype, &last), (RecordType::SOA, &heard[0]));
        let key =
            |record: &Record| (record.owner.wire().to_vec(), record.rtype, record.rdata.clone());
        let mut expected: Vec<_> = zone.records().collect();
        heard.sort_by_key(key);
        expected.sort_by_key(key);
        assert_eq!(heard, expected);
    }

    #[test]
    fn long_records_get_messages_of_their_own() {
        let long = |length: usize| Record {
            owner: apex(),
            rtype: RecordType(65280),
            ttl: 1,
            rdata: vec![7; length],
        };
        let mut fine = outgoing([long(10), long(65_000), long(10)].into_iter());
        let mut lengths = Vec::new();
        while let Some(message) = fine.message().unwrap() {
            lengths.push(message.len());
        }
        assert_eq!(lengths.len(), 3);
        assert!(outgoing([long(65_535)].into_iter()).message().is_err());
        assert!(outgoing([long(400)].into_iter()).single(512).is_some());
        assert!(outgoing([long(500)].into_iter()).single(512).is_none());
        assert!(outgoing([long(400), long(16_000)].into_iter()).single(65_535).is_none());
    }
}
