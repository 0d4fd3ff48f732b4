//! Answers, zone in and text out.

use hickory_proto::op::Message;
use hickory_proto::rr::RData;

use super::*;
use crate::name::Shown;
use crate::zone::{Source, Zones, read_zone};

mod basics;
mod edns;
mod hostile;
mod slow;

/// A file that is always this text.
pub(crate) struct Text<'t>(pub(crate) &'t str);

impl Source for Text<'_> {
    fn read(&mut self, _: &str) -> Result<Vec<u8>, String> {
        Ok(self.0.into())
    }
}

/// The zone that a text is.
pub(crate) fn zone(text: &str) -> Arc<Zone> {
    zone_named(text, "example.test")
}

/// The same, with a name.
pub(crate) fn zone_named(text: &str, name: &str) -> Arc<Zone> {
    let name = crate::zone::name_from_text(name).expect("a name");
    let reading = read_zone(&mut Text(text), "a.zone", Some(&name));
    Arc::new(reading.zone.unwrap_or_else(|faults| panic!("{}", faults[0])))
}

/// A query: `NAME TYPE`, and words for what else it has: `+edns`, `+do`, `+size=N`, `+nsid`, `+rd`.
pub(crate) fn query(text: &str) -> Vec<u8> {
    let mut words = text.split_whitespace();
    let name = words.next().expect("a name");
    let rtype: RecordType = words.next().expect("a type").parse().expect("a type");
    let (mut class, mut edns, mut size, mut flags) = (class::IN, false, 1232_u16, 0);
    let (mut dnssec, mut version, mut options) = (false, 0, Vec::new());
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("CH", _) => class = class::CH,
            ("+edns", _) => edns = true,
            ("+do", _) => (edns, dnssec) = (true, true),
            ("+size", value) => (edns, size) = (true, value.parse().expect("a size")),
            ("+version", value) => (edns, version) = (true, value.parse().expect("a version")),
            ("+option", value) => {
                edns = true;
                options.extend_from_slice(&value.parse::<u16>().expect("a code").to_be_bytes());
                options.extend_from_slice(&[0, 0]);
            }
            ("+rd", _) => flags |= 1,
            (other, _) => panic!("{other}?"),
        }
    }
    let mut message = vec![0x12, 0x34, flags, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns)];
    let name = name_of(name);
    message.extend_from_slice(&name);
    message.extend_from_slice(&rtype.0.to_be_bytes());
    message.extend_from_slice(&class.to_be_bytes());
    if edns {
        message.extend_from_slice(&[0, 0, 41]);
        message.extend_from_slice(&size.to_be_bytes());
        message.extend_from_slice(&[0, version, if dnssec { 0x80 } else { 0 }, 0]);
        message.extend_from_slice(&(options.len() as u16).to_be_bytes());
        message.extend_from_slice(&options);
    }
    message
}

fn name_of(text: &str) -> Vec<u8> {
    let mut name = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        name.push(label.len() as u8);
        name.extend_from_slice(label.as_bytes());
    }
    name.push(0);
    name
}

/// Asks over a transport; the answer's octets, none if there is no answer.
pub(crate) fn ask_over(
    zones: &Zones,
    settings: &Settings,
    transport: Transport,
    message: &[u8],
) -> Option<Vec<u8>> {
    let asker = Asker { address: Some([192, 0, 2, 1].into()), transport, now: 1_000_000_000 };
    // What is in the buffer already is none of its business.
    let mut out = b"before".to_vec();
    let mut answerer = Answerer::default();
    let outcome = answerer.answer(&zones.current(), settings, &asker, message, &mut out);
    assert!(out.starts_with(b"before"));
    let out = out.split_off(6);
    match outcome {
        Outcome::Answered(_) => Some(out),
        _ => {
            assert_eq!(out, []);
            None
        }
    }
}

/// An answer as text: a line for the header, one for each record behind its section's name.
pub(crate) fn shown(answer: &[u8]) -> String {
    let message = Message::from_vec(answer).expect("a message that others can read");
    let mut flags = Vec::new();
    for (name, set) in [
        ("AA", answer[2] & 4 != 0),
        ("TC", answer[2] & 2 != 0),
        ("RD", answer[2] & 1 != 0),
        ("RA", answer[3] & 0x80 != 0),
        ("AD", answer[3] & 0x20 != 0),
        ("CD", answer[3] & 0x10 != 0),
    ] {
        if set {
            flags.push(name);
        }
    }
    let mut rcode = u16::from(answer[3] & 15);
    if let Some(edns) = &message.edns {
        rcode |= u16::from(edns.rcode_high()) << 4;
    }
    let mut text = format!("{} {}\n", Rcode(rcode), flags.join(" "));
    let sections = [
        ("answer", &message.answers),
        ("authority", &message.authorities),
        ("additional", &message.additionals),
    ];
    for (section, records) in sections {
        for record in records {
            let data = match &record.data {
                RData::Unknown { code: hickory_proto::rr::RecordType::DNAME, rdata } => {
                    Shown(&rdata.anything).to_string()
                }
                data => data.to_string(),
            };
            let (name, rtype) = (&record.name, record.record_type());
            let line = format!("{section}: {name} {} {rtype} {data}", record.ttl);
            text.push_str(line.split_whitespace().collect::<Vec<_>>().join(" ").as_str());
            text.push('\n');
        }
    }
    text
}

/// Asks a zone and compares the whole answer, line by line; what is left out in front of a line doesn't
/// count.
#[track_caller]
pub(crate) fn check(zone_text: &str, asked: &str, expected: &str) {
    let zones = Zones::new([zone(zone_text)]);
    let message = query(asked);
    let answer = ask_over(&zones, &Settings::default(), Transport::Udp, &message);
    let answer = answer.expect("an answer");
    assert_eq!(answer[..2], message[..2]);
    let lines = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
    };
    assert_eq!(lines(&shown(&answer)), lines(expected), "{asked}");
}

#[test]
fn an_id_that_is_too_long_is_left_out() {
    let zones = Zones::new([zone("@ SOA ns admin 1 3600 600 86400 60\n@ NS ns\nns A 192.0.2.1\n")]);
    let long = format!("{0}.{0}.{0}.example.test A +size=512 +option=3", "a".repeat(60));
    for (length, is_sent) in [(128, true), (129, false), (70_000, false)] {
        let id = vec![b'~'; length];
        let settings = Settings { nsid: Some(id.into()), ..Settings::default() };
        let answer = ask_over(&zones, &settings, Transport::Udp, &query(&long)).expect("one");
        assert!(answer.len() <= 512, "{length}");
        assert!(Message::from_vec(&answer).is_ok_and(|message| message.edns.is_some()));
        let sent = answer.iter().filter(|octet| **octet == b'~').count();
        assert_eq!(sent, if is_sent { length } else { 0 });
    }
}
