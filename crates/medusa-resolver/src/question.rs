//! What is asked: a name, and the kind of record that is wanted.

use std::fmt;
use std::net::IpAddr;

use crate::error::LookupError;
use crate::name::Name;

/// A kind of record, among those that programs ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum RecordKind {
    /// An IPv4 address (RFC 1035 §3.4.1).
    A,
    /// An IPv6 address (RFC 3596 §2.1).
    Aaaa,
    /// Who takes a domain's mail (RFC 1035 §3.3.9).
    Mx,
    /// Texts (RFC 1035 §3.3.14).
    Txt,
    /// The name of an address (RFC 1035 §3.3.12).
    Ptr,
    /// Where a service is (RFC 2782).
    Srv,
    /// A zone's name servers (RFC 1035 §3.3.11).
    Ns,
    /// What a server's certificate must match (RFC 6698 §2).
    Tlsa,
}

/// Every kind with its number (RFC 1035 §3.2.2 and as above) and name.
const KINDS: &[(RecordKind, u16, &str)] = &[
    (RecordKind::A, 1, "A"),
    (RecordKind::Ns, 2, "NS"),
    (RecordKind::Ptr, 12, "PTR"),
    (RecordKind::Mx, 15, "MX"),
    (RecordKind::Txt, 16, "TXT"),
    (RecordKind::Aaaa, 28, "AAAA"),
    (RecordKind::Srv, 33, "SRV"),
    (RecordKind::Tlsa, 52, "TLSA"),
];

impl RecordKind {
    /// Its number on the wire.
    pub fn code(self) -> u16 {
        KINDS.iter().find(|(kind, ..)| *kind == self).map_or(0, |(_, code, _)| *code)
    }

    /// The kind with this number on the wire.
    pub fn of_code(code: u16) -> Option<Self> {
        KINDS.iter().find(|(_, known, _)| *known == code).map(|(kind, ..)| *kind)
    }
}

impl fmt::Display for RecordKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = KINDS.iter().find(|(kind, ..)| kind == self);
        f.write_str(known.map_or("?", |(.., name)| name))
    }
}

/// What is asked. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    name: Name,
    kind: RecordKind,
}

impl Question {
    /// Asks for records of `name`, which is checked and normalised as [`Name::new`] says.
    ///
    /// # Errors
    ///
    /// [`LookupError::Invalid`]: that is no name.
    pub fn new(name: &str, kind: RecordKind) -> Result<Self, LookupError> {
        Ok(Question { name: Name::new(name)?, kind })
    }

    /// Asks for records of a name that was checked already.
    pub fn of(name: Name, kind: RecordKind) -> Self {
        Question { name, kind }
    }

    /// Asks for the name of an address (RFC 1035 §3.5, RFC 3596 §2.5). An IPv4 address mapped into IPv6
    /// is taken as IPv4.
    pub fn reverse(address: IpAddr) -> Self {
        let name = match address.to_canonical() {
            IpAddr::V4(address) => {
                let [a, b, c, d] = address.octets();
                format!("{d}.{c}.{b}.{a}.in-addr.arpa")
            }
            IpAddr::V6(address) => {
                let octets = address.octets().into_iter().rev();
                let nibbles = octets.flat_map(|octet| [octet & 15, octet >> 4]);
                nibbles.map(|nibble| format!("{nibble:x}.")).collect::<String>() + "ip6.arpa"
            }
        };
        let name = Name::new(&name).unwrap_or_else(|_| Name::root());
        Question { name, kind: RecordKind::Ptr }
    }

    /// Whose records are wanted.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Of what kind.
    pub fn kind(&self) -> RecordKind {
        self.kind
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_numbers() {
        for (kind, code, name) in KINDS {
            assert_eq!((kind.code(), RecordKind::of_code(*code)), (*code, Some(*kind)));
            assert_eq!(kind.to_string(), *name);
        }
        assert_eq!(RecordKind::of_code(41), None);
    }

    #[test]
    fn addresses_are_turned_round() {
        for (address, name) in [
            ("192.0.2.1", "1.2.0.192.in-addr.arpa"),
            ("::ffff:192.0.2.1", "1.2.0.192.in-addr.arpa"),
            (
                "2001:db8::567:89ab",
                "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
            ),
        ] {
            let question = Question::reverse(address.parse().expect("an address"));
            assert_eq!(question.to_string(), format!("{name} PTR"));
        }
    }
}
