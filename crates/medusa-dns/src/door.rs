//! The door through which messages come that others carry: DNS over HTTPS (RFC 8484).
//!
//! HTTP is none of its business.

use std::fmt;

use medusa_resolver::{Door, DoorAnswer, DoorReply, Visitor};

use crate::answer::{Answerer, Asker, Outcome, Transport, refuse};
use crate::ledger::{Receiver, rcode_of};
use crate::service::{Shared, seconds, whole_seconds_of};
use crate::transfer::{Asked, Handled, concerns};
use crate::types::{Rcode, RecordType};
use crate::wire::{HEADER, Header, RawRecord};

/// A service's door.
pub(crate) struct DnsDoor {
    shared: Shared,
}

impl fmt::Debug for DnsDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DnsDoor")
    }
}

impl DnsDoor {
    pub(crate) fn new(shared: Shared) -> DnsDoor {
        DnsDoor { shared }
    }
}

impl Door for DnsDoor {
    fn answer(&self, message: &[u8], visitor: Visitor) -> DoorReply {
        let transport = if visitor.is_secure { Transport::Secured } else { Transport::Tcp };
        let now = seconds(visitor.now);
        let asker = Asker { address: visitor.address, transport, now };
        let zones = self.shared.zones.current();
        let mut out = Vec::with_capacity(512);
        let settings = &self.shared.settings;
        let mut answerer = Answerer::default();
        if concerns(message) {
            let now = whole_seconds_of(visitor.now);
            let asked = Asked { message, address: visitor.address, transport, now };
            let handled = self.shared.desk.handle_question(&asked, |message, out| {
                answerer.answer(&zones, settings, &asker, message, out)
            });
            return match handled {
                Handled::Answered(said) => {
                    let rcode = said.answered.rcode;
                    self.told(rcode, said.message(), visitor)
                }
                Handled::Reply(answer) => self.told(rcode_of(&answer), answer, visitor),
                Handled::Ignored | Handled::Stream(_) | Handled::Work(_) => DoorReply::Nothing,
            };
        }
        let rcode = match answerer.answer(&zones, settings, &asker, message, &mut out) {
            Outcome::Answered(answered) => {
                if let Some(recursion) = &self.shared.recursion
                    && let asked = (message, &asker)
                    && let Some(kept) =
                        recursion.takes(asked, &answered, &answerer, &zones, &mut out)
                    && let Some(pending) = recursion.bring(kept)
                {
                    return DoorReply::Later(pending);
                }
                answered.rcode
            }
            Outcome::Ignored => return DoorReply::Nothing,
            // The desk has refused those: a transfer takes many messages, and here there is one (RFC
            // 8484 §8).
            Outcome::Transfer => {
                refuse(message, Rcode::NOTIMP, &mut out);
                Rcode::NOTIMP
            }
        };
        self.told(rcode, out, visitor)
    }
}

impl DnsDoor {
    fn told(&self, rcode: Rcode, message: Vec<u8>, visitor: Visitor) -> DoorReply {
        let to = Receiver { address: visitor.address, at: visitor.now };
        self.shared.ledger.answered(rcode, &message, to);
        let seconds = lifetime(&message);
        DoorReply::Now(DoorAnswer { message, seconds })
    }
}

/// How long an answer may be kept (RFC 8484 §5.1): as long as the first of its records; a negative one as
/// long as its SOA record says, and one that says neither not at all.
pub(crate) fn lifetime(answer: &[u8]) -> u32 {
    let Some(header) = Header::read(answer) else { return 0 };
    let [questions, answers, authorities, _] = header.counts;
    let mut at = HEADER;
    for _ in 0..questions {
        match crate::name::wire_length(answer.get(at..).unwrap_or_default()) {
            Ok(length) => at += length + 4,
            Err(_) => return 0,
        }
    }
    let mut shortest = None;
    for index in 0..u32::from(answers) + u32::from(authorities) {
        let Some(record) = RawRecord::read(answer, at) else { return 0 };
        at = record.end;
        let negative = answers == 0 && record.rtype == RecordType::SOA;
        if index < u32::from(answers) || negative {
            shortest = Some(shortest.map_or(record.ttl, |ttl: u32| ttl.min(record.ttl)));
        }
    }
    shortest.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::answer::tests::{query, zone};
    use crate::service::DnsService;
    use crate::zone::Zones;

    #[test]
    fn messages_are_answered_and_hold_as_long_as_their_records() {
        let text = "$TTL 60\n@ SOA ns root 1 2 3 4 5\n@ NS ns\nns A 192.0.2.2\n  7 TXT \"x\"\nwww 9 CNAME ns\n";
        let door = DnsService::new("x", Zones::new([zone(text)])).door();
        let visitor = Visitor { address: None, is_secure: true, now: SystemTime::UNIX_EPOCH };
        let seconds = |asked: &str| {
            let DoorReply::Now(answer) = door.answer(&query(asked), visitor) else {
                panic!("no answer")
            };
            (answer.seconds, answer.message[3] & 15)
        };
        assert_eq!(seconds("ns.example.test A"), (60, 0));
        assert_eq!(seconds("ns.example.test TXT +edns"), (7, 0));
        assert_eq!(seconds("www.example.test A"), (9, 0));
        assert_eq!(seconds("none.example.test A"), (5, 3));
        assert_eq!(seconds("example.org A"), (0, 5));
        assert_eq!(seconds("example.test AXFR"), (0, 4));
        let mut message = query("ns.example.test A");
        message[2] |= 0x80;
        for message in [&message[..], b"short"] {
            assert!(matches!(door.answer(message, visitor), DoorReply::Nothing));
        }
    }
}
