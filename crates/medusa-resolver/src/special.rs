//! Names that nobody is asked about: localhost and others of special use, and what the hosts file says.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::error::LookupError;
use crate::name::Name;
use crate::question::{Question, RecordKind};
use crate::records::{Data, Record, Records};
use crate::stored::Stored;
use crate::wire::{Query, RawRecord, kind, labels, rcode};

/// For how long local answers hold, in seconds: RFC 6761 says nothing; a day is what BIND's empty zones
/// say.
const TTL: u32 = 86_400;

/// What the hosts file says (hosts(5)): addresses by name, and names by what is asked for an address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Hosts {
    names: HashMap<Name, Vec<IpAddr>>,
    addresses: HashMap<Name, Name>,
}

impl Hosts {
    /// Reads a hosts file's text; what makes no sense in it is skipped, as everybody does.
    pub(crate) fn parse(text: &str) -> Self {
        let mut hosts = Hosts::default();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else { continue };
            for name in words.filter_map(|name| Name::new(name).ok()) {
                let reverse = Question::reverse(address).name().clone();
                hosts.addresses.entry(reverse).or_insert_with(|| name.clone());
                let known = hosts.names.entry(name).or_default();
                if !known.contains(&address) {
                    known.push(address);
                }
            }
        }
        hosts
    }

    /// What the file says of a question, if anything. A name that has addresses of one family alone has
    /// none of the other.
    pub(crate) fn look_up(&self, question: &Question) -> Option<Result<Records, LookupError>> {
        let known = self.names.get(question.name());
        let data: Vec<Data> = match question.kind() {
            RecordKind::A => known?.iter().filter_map(v4).collect(),
            RecordKind::Aaaa => known?.iter().filter_map(v6).collect(),
            RecordKind::Ptr => {
                vec![Data::Ptr(self.addresses.get(question.name())?.clone())]
            }
            _ => return None,
        };
        Some(found(question, data))
    }
}

fn v4(address: &IpAddr) -> Option<Data> {
    if let IpAddr::V4(address) = address { Some(Data::A(*address)) } else { None }
}

fn v6(address: &IpAddr) -> Option<Data> {
    if let IpAddr::V6(address) = address { Some(Data::Aaaa(*address)) } else { None }
}

fn found(question: &Question, data: Vec<Data>) -> Result<Records, LookupError> {
    if data.is_empty() {
        return Err(LookupError::NoData);
    }
    let ttl = std::time::Duration::from_secs(TTL.into());
    let list = data.into_iter().map(|data| Record::new(data, ttl)).collect();
    Ok(Records::new(question.name().clone(), list))
}

/// What an address that is given as a name stands for: itself. No name server knows of it.
pub(crate) fn literal(question: &Question) -> Option<Result<Records, LookupError>> {
    let address: Ipv4Addr = question.name().as_str().parse().ok()?;
    let wanted = question.kind() == RecordKind::A;
    Some(found(question, if wanted { vec![Data::A(address)] } else { Vec::new() }))
}

/// What is answered here, by anybody who forwards questions:
///
/// - `localhost` and names below it are the loopback addresses (RFC 6761 §6.3),
/// - names below `invalid` and `onion` don't exist (RFC 6761 §6.4, RFC 7686 §2).
pub(crate) fn answer(query: &Query) -> Option<Stored> {
    let top = labels(query.name()).last()?;
    let record = |rdata: &[u8]| {
        let owner = query.name().to_vec();
        vec![RawRecord { owner, kind: query.kind(), ttl: TTL, rdata: rdata.into() }]
    };
    let (code, answers) = match top {
        b"localhost" => match query.kind() {
            kind::A => (rcode::NOERROR, record(&Ipv4Addr::LOCALHOST.octets())),
            kind::AAAA => (rcode::NOERROR, record(&Ipv6Addr::LOCALHOST.octets())),
            _ => (rcode::NOERROR, Vec::new()),
        },
        b"invalid" | b"onion" => (rcode::NXDOMAIN, Vec::new()),
        _ => return None,
    };
    Stored::new(query, code, false, &answers, &[], TTL).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::stored::Reply;

    fn ask(name: &str, kind: RecordKind) -> Option<Result<Records, LookupError>> {
        let question = Question::new(name, kind).expect("a name");
        let stored = answer(&Query::of(&question))?;
        Some(Reply::new(Arc::new(stored)).records(&question))
    }

    fn addresses(found: Option<Result<Records, LookupError>>) -> Vec<String> {
        let records = found.expect("known").expect("records");
        records.addresses().map(|address| address.to_string()).collect()
    }

    #[test]
    fn special_names_are_answered_here() {
        assert_eq!(addresses(ask("localhost", RecordKind::A)), ["127.0.0.1"]);
        assert_eq!(addresses(ask("a.b.LOCALHOST.", RecordKind::Aaaa)), ["::1"]);
        assert_eq!(ask("localhost", RecordKind::Mx), Some(Err(LookupError::NoData)));
        assert_eq!(ask("a.invalid", RecordKind::A), Some(Err(LookupError::NoSuchName)));
        assert_eq!(ask("a.onion", RecordKind::A), Some(Err(LookupError::NoSuchName)));
        assert_eq!(ask("localhost.example", RecordKind::A), None);
        assert_eq!(ask(".", RecordKind::Ns), None);
    }

    #[test]
    fn addresses_are_themselves() {
        let ask = |kind| literal(&Question::new("192.0.2.1", kind).expect("a name"));
        assert_eq!(addresses(ask(RecordKind::A)), ["192.0.2.1"]);
        assert_eq!(ask(RecordKind::Mx), Some(Err(LookupError::NoData)));
        assert!(literal(&Question::new("1.2.3.example", RecordKind::A).expect("a name")).is_none());
    }

    #[test]
    fn hosts_are_read_and_nonsense_is_skipped() {
        let hosts = Hosts::parse(
            "127.0.0.1\tlocalhost\n# 192.0.2.9 commented\n192.0.2.1 Mail.Example.  mail # main\n\
             2001:db8::1 mail\n192.0.2.2 mail\nnonsense mail\n192.0.2.3\n192.0.2.4 a..b good\n",
        );
        let ask = |name, kind| hosts.look_up(&Question::new(name, kind).expect("a name"));
        assert_eq!(addresses(ask("mail", RecordKind::A)), ["192.0.2.1", "192.0.2.2"]);
        assert_eq!(addresses(ask("mail", RecordKind::Aaaa)), ["2001:db8::1"]);
        assert_eq!(addresses(ask("good", RecordKind::A)), ["192.0.2.4"]);
        assert_eq!(ask("mail.example", RecordKind::Aaaa), Some(Err(LookupError::NoData)));
        assert_eq!(ask("mail", RecordKind::Mx), None);
        assert_eq!(ask("commented", RecordKind::A), None);
        let reverse = hosts.look_up(&Question::reverse([192, 0, 2, 1].into()));
        let records = reverse.expect("known").expect("records");
        assert_eq!(records.list[0].data, Data::Ptr(Name::new("mail.example").expect("a name")));
    }
}
