//! Telling others that a zone has changed (RFC 1996): the message, and how often it is repeated.
//!
//! Pure: the time is handed in. Sockets are the keeper's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::delta::soa_record;
use super::message::{Packer, Question};
use super::tsig::{Key, Signer};
use crate::name::Name;
use crate::types::{Rcode, RecordType, class, opcode};
use crate::wire::{Header, flag};
use crate::zone::Zone;

/// How often it is said before it is given up, and how long the first answer is waited for; then twice as
/// long each time (RFC 1996 §3.6; BIND and Knot wait shorter than its 60 seconds too).
const TRIES: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_secs(3);

/// One change that somebody is told of.
#[derive(Debug)]
pub(crate) struct Notice {
    pub(crate) zone: Name,
    pub(crate) target: SocketAddr,
    id: u16,
    tries: u32,
    next: Instant,
}

impl Notice {
    /// A notice that is to be sent at once.
    pub(crate) fn new(zone: Name, target: SocketAddr, id: u16, now: Instant) -> Notice {
        Notice { zone, target, id, tries: 0, next: now }
    }

    /// When there is something to do.
    pub(crate) fn deadline(&self) -> Instant {
        self.next
    }

    /// Whether it is to be sent now; none if it is to be given up.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<bool> {
        if now < self.next {
            return Some(false);
        }
        if self.tries == TRIES {
            return None;
        }
        self.next = now + FIRST_WAIT * (1 << self.tries);
        self.tries += 1;
        Some(true)
    }

    /// The message, with the zone's SOA record (RFC 1996 §3.7).
    pub(crate) fn message(&self, zone: &Zone, key: Option<&Arc<Key>>, seconds: u64) -> Vec<u8> {
        let mut packer = Packer::default();
        packer.begin(self.id, [opcode::NOTIFY << 3 | flag::AUTHORITATIVE, 0]);
        let name = self.zone.clone();
        packer.question(&Question { name, rtype: RecordType::SOA, class: class::IN });
        if let Some(soa) = soa_record(zone) {
            // Two names and a few numbers: there is room.
            let _ = packer.record(0, &soa, class::IN, 1024);
        }
        let message = packer.finish();
        if let Some(key) = key {
            Signer::sign_request(key, message, seconds);
        }
        std::mem::take(message)
    }

    /// How it was answered, if this is the answer.
    pub(crate) fn answered(&self, message: &[u8]) -> Option<Rcode> {
        let header = Header::read(message)?;
        let is_it =
            header.id == self.id && header.is_response() && header.opcode() == opcode::NOTIFY;
        is_it.then(|| Rcode(u16::from(header.flags[1] & 0xF)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::testing::{apex, zone};

    #[test]
    fn it_is_repeated_for_a_while() {
        let start = Instant::now();
        let mut notice = Notice::new(apex(), "127.0.0.1:53".parse().unwrap(), 7, start);
        let mut now = start;
        for wait in [3, 6, 12, 24, 48] {
            assert_eq!(notice.poll(now), Some(true));
            assert_eq!(notice.poll(now), Some(false));
            now += Duration::from_secs(wait);
            assert_eq!(notice.deadline(), now);
        }
        assert_eq!(notice.poll(now), None);
    }

    #[test]
    fn only_its_answer_answers_it() {
        let notice = Notice::new(apex(), "127.0.0.1:53".parse().unwrap(), 7, Instant::now());
        let mut message = notice.message(&zone(3, &[]), None, 0);
        assert_eq!(message[..12], [0, 7, 0x24, 0, 0, 1, 0, 1, 0, 0, 0, 0]);
        assert_eq!(notice.answered(&message), None);
        message[2] |= 0x80;
        assert_eq!(notice.answered(&message), Some(Rcode::NOERROR));
        message[3] = 5;
        assert_eq!(notice.answered(&message), Some(Rcode::REFUSED));
        message[1] = 8;
        assert_eq!(notice.answered(&message), None);
        assert_eq!(notice.answered(&[]), None);
    }
}
