//! What was found: records with typed data, and for how long they hold.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::name::Name;
use crate::question::RecordKind;

/// The records that answer a question; there is at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Records {
    /// Whose records they are: the name that was asked for, or that to which its aliases (CNAME, DNAME)
    /// led.
    pub canonical: Name,
    /// The records, all of the kind that was asked for, in no order of meaning: who chooses among several
    /// sorts them (RFC 5321 §5.1, RFC 2782).
    pub list: Vec<Record>,
    /// Whether somebody has checked signatures.
    pub validation: Validation,
    /// They were to be thrown away, and are told since nobody gives newer ones (RFC 8767).
    pub stale: bool,
}

/// Whether signatures were checked (DNSSEC, RFC 4033).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Validation {
    /// Nobody has said so in a way that can be trusted.
    #[default]
    Unknown,
    /// A server that is trusted, over a path that is, says that they are authentic (the AD bit, RFC 4035
    /// §4.9.3).
    Validated,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// For how long it still holds, in whole seconds.
    pub ttl: Duration,
    /// What it says.
    pub data: Data,
}

impl Record {
    /// A record that holds for `ttl`.
    pub fn new(data: Data, ttl: Duration) -> Self {
        Record { ttl, data }
    }
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Data {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// Who takes a domain's mail.
    Mx {
        /// Lower is tried first (RFC 5321 §5.1).
        preference: u16,
        /// A host; the root where the domain takes no mail (RFC 7505).
        exchange: Name,
    },
    /// A text: its strings joined, without anything between them (RFC 7208 §3.3).
    Txt(Vec<u8>),
    /// The name of an address.
    Ptr(Name),
    /// A name server.
    Ns(Name),
    /// Where a service is (RFC 2782).
    Srv {
        /// Lower is tried first.
        priority: u16,
        /// The share among those of the same priority.
        weight: u16,
        /// The port.
        port: u16,
        /// A host; the root where there is no such service.
        target: Name,
    },
    /// What a server's certificate must match (RFC 6698 §2.1).
    Tlsa {
        /// Which certificate of the chain is meant.
        usage: u8,
        /// Which part of it.
        selector: u8,
        /// How it is compared.
        matching: u8,
        /// With what.
        association: Vec<u8>,
    },
}

impl Data {
    /// The kind of record that says this.
    pub fn kind(&self) -> RecordKind {
        match self {
            Data::A(_) => RecordKind::A,
            Data::Aaaa(_) => RecordKind::Aaaa,
            Data::Mx { .. } => RecordKind::Mx,
            Data::Txt(_) => RecordKind::Txt,
            Data::Ptr(_) => RecordKind::Ptr,
            Data::Ns(_) => RecordKind::Ns,
            Data::Srv { .. } => RecordKind::Srv,
            Data::Tlsa { .. } => RecordKind::Tlsa,
        }
    }
}

impl Records {
    /// Records of `canonical`.
    pub fn new(canonical: Name, list: Vec<Record>) -> Self {
        Records { canonical, list, validation: Validation::Unknown, stale: false }
    }

    /// The addresses among them.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.list.iter().filter_map(|record| match record.data {
            Data::A(address) => Some(address.into()),
            Data::Aaaa(address) => Some(address.into()),
            _ => None,
        })
    }

    /// The mail exchanges among them, the preferred ones first; equals as they came, for the caller to
    /// shuffle.
    pub fn exchanges(&self) -> Vec<(u16, &Name)> {
        let mut exchanges: Vec<_> = self
            .list
            .iter()
            .filter_map(|record| match &record.data {
                Data::Mx { preference, exchange } => Some((*preference, exchange)),
                _ => None,
            })
            .collect();
        exchanges.sort_by_key(|(preference, _)| *preference);
        exchanges
    }

    /// Whether a domain says by these records that it takes no mail at all: a single MX that names the root
    /// (RFC 7505 §3).
    pub fn is_null_mx(&self) -> bool {
        matches!(&self.list[..], [Record { data: Data::Mx { exchange, .. }, .. }] if exchange.is_root())
    }

    /// For how long all of them hold.
    pub fn ttl(&self) -> Duration {
        self.list.iter().map(|record| record.ttl).min().unwrap_or_default()
    }
}
