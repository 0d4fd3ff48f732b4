//! What an update requires, changes and leaves alone.

use super::*;
use crate::transfer::message::{LONGEST, Packer, Question};
use crate::transfer::testing::{apex, record, zone};
use crate::types::opcode;

/// A line of an update: `IN`, `ANY` or `NONE`, and the record, or its name and type alone.
fn message(required: &[&str], changes: &[&str]) -> Vec<u8> {
    let mut packer = Packer::default();
    packer.begin(7, [opcode::UPDATE << 3, 0]);
    packer.question(&Question { name: apex(), rtype: RecordType::SOA, class: class::IN });
    for (section, lines) in [(0, required), (1, changes)] {
        for line in lines {
            let (class, text) = line.split_once(' ').unwrap();
            let words: Vec<_> = text.split(' ').collect();
            let mut one = match words[..] {
                [owner, rtype] => {
                    let mut one = record("a A 192.0.2.1");
                    one.rtype = match rtype {
                        "ANY" => RecordType::ANY,
                        rtype => rtype.parse().unwrap(),
                    };
                    one.owner = match owner {
                        "@" => apex(),
                        "." => Name::root(),
                        label => {
                            crate::zone::name_from_text(&format!("{label}.example.test")).unwrap()
                        }
                    };
                    one.rdata.clear();
                    one
                }
                [owner, "SOA", _, _, serial, ..] => {
                    let mut one = soa_record(&zone(1, &[])).unwrap();
                    one.rdata = with_serial(&one.rdata, serial.parse().unwrap());
                    if owner != "@" {
                        one.owner = crate::zone::name_from_text("a.example.test").unwrap();
                    }
                    one
                }
                _ => record(text),
            };
            let class = match class {
                "IN" => class::IN,
                "ANY" => class::ANY,
                _ => class::NONE,
            };
            if class != class::IN || section == 0 {
                one.ttl = 0;
            }
            packer.record(section, &one, class, LONGEST).unwrap();
        }
    }
    packer.finish().clone()
}

/// Updates a zone of serial 1; what it is then, but for what every zone here has.
fn updated(
    records: &[&str],
    required: &[&str],
    changes: &[&str],
) -> Result<(u32, Vec<String>), Rcode> {
    let old = zone(1, records);
    let delta = difference(&old, &message(required, changes))?;
    let new = match delta {
        Some(delta) => old.edited(&delta.removed, &delta.added).map_err(|_| Rcode::SERVFAIL)?,
        None => zone(1, records),
    };
    let base = zone(1, &[]);
    let mut lines: Vec<_> = new
        .records()
        .filter(|one| one.rtype != RecordType::SOA && !base.records().any(|known| known == *one))
        .map(|one| {
            let name = one.owner.to_string();
            let label = name.strip_suffix(".example.test.").unwrap_or("@").to_owned();
            format!("{label} {} {}", one.rtype, one.rdata.last().unwrap())
        })
        .collect();
    lines.sort();
    Ok((new.soa().serial, lines))
}

fn check(records: &[&str], changes: &[&str], serial: u32, expected: &[&str]) {
    let (found, lines) = updated(records, &[], changes).unwrap();
    assert_eq!(
        (found, &lines[..]),
        (serial, &expected.iter().map(|line| line.to_string()).collect::<Vec<_>>()[..]),
        "{changes:?}"
    );
}

#[test]
fn changes_are_done_by_the_rules() {
    let two = &["a A 192.0.2.1", "a A 192.0.2.2", "a TXT x"];
    check(&[], &["IN a A 192.0.2.1"], 2, &["a A 1"]);
    check(two, &["NONE a A 192.0.2.1"], 2, &["a A 2", "a TXT 120"]);
    check(two, &["ANY a A"], 2, &["a TXT 120"]);
    check(two, &["ANY a ANY"], 2, &[]);
    check(two, &["ANY a A", "IN a A 192.0.2.7"], 2, &["a A 7", "a TXT 120"]);
    // Nothing is changed, and the serial neither.
    check(&["a A 192.0.2.1"], &["IN a A 192.0.2.1"], 1, &["a A 1"]);
    check(&["a A 192.0.2.1"], &["NONE a A 192.0.2.9"], 1, &["a A 1"]);
    check(&["a A 192.0.2.1"], &["NONE a A 192.0.2.1", "IN a A 192.0.2.1"], 1, &["a A 1"]);
    // CNAME and others keep out of each other's way.
    check(&["a A 192.0.2.1"], &["IN a CNAME b"], 1, &["a A 1"]);
    check(&["a CNAME b"], &["IN a A 192.0.2.1"], 1, &["a CNAME 0"]);
    check(&["a CNAME b"], &["IN a CNAME c"], 2, &["a CNAME 0"]);
    // Names are the same in any case.
    check(&["a CNAME b.org."], &["NONE a CNAME B.Org."], 2, &[]);
    check(&["a MX 1 b.org."], &["IN a MX 1 B.ORG."], 2, &["a MX 0"]);
    // The apex keeps its SOA record and a name server.
    check(&[], &["ANY @ ANY", "ANY @ NS", "ANY @ SOA", "NONE @ NS ns1"], 1, &[]);
    check(&[], &["NONE @ SOA ns1 admin 1 3600 600 86400 300"], 1, &[]);
    check(&[], &["IN @ NS ns1.a"], 2, &["@ NS 0"]);
}

#[test]
fn the_serial_may_be_brought() {
    check(&[], &["IN @ SOA ns1 admin 7 3600 600 86400 300"], 7, &[]);
    check(&[], &["IN @ SOA ns1 admin 7 3600 600 86400 300", "IN a A 192.0.2.1"], 7, &["a A 1"]);
    check(&[], &["IN @ SOA ns1 admin 0 3600 600 86400 300", "IN a A 192.0.2.1"], 2, &["a A 1"]);
    check(&[], &["IN a SOA ns1 admin 9 3600 600 86400 300"], 1, &[]);
    let last = zone(u32::MAX, &[]);
    let delta = difference(&last, &message(&[], &["IN a A 192.0.2.1"])).unwrap().unwrap();
    assert_eq!((delta.from, delta.to), (u32::MAX, 1));
}

#[test]
fn what_is_required_has_to_hold() {
    let records = &["a A 192.0.2.1", "a A 192.0.2.2", "b.c TXT x"];
    for (required, expected) in [
        (&["ANY a ANY"][..], None),
        (&["ANY x ANY"], Some(Rcode::NXDOMAIN)),
        // It has no records of its own.
        (&["ANY c ANY"], Some(Rcode::NXDOMAIN)),
        (&["ANY a A"], None),
        (&["ANY a TXT"], Some(Rcode::NXRRSET)),
        (&["NONE x ANY"], None),
        (&["NONE a ANY"], Some(Rcode::YXDOMAIN)),
        (&["NONE a TXT"], None),
        (&["NONE a A"], Some(Rcode::YXRRSET)),
        (&["IN a A 192.0.2.1", "IN a A 192.0.2.2"], None),
        (&["IN a A 192.0.2.1"], Some(Rcode::NXRRSET)),
        (&["IN a A 192.0.2.1", "IN a A 192.0.2.3"], Some(Rcode::NXRRSET)),
        (&["ANY . NS"], Some(Rcode::NOTZONE)),
        (&["ANY a A 192.0.2.1"], Some(Rcode::FORMERR)),
        (&["IN a A"], Some(Rcode::FORMERR)),
    ] {
        let outcome = updated(records, required, &["IN new A 192.0.2.9"]);
        assert_eq!(outcome.as_ref().err().copied(), expected, "{required:?}");
        if let Ok((serial, lines)) = outcome {
            assert_eq!((serial, lines.len()), (2, 4));
        }
    }
}

#[test]
fn all_is_done_or_nothing() {
    for (bad, rcode) in [
        ("IN . NS", Rcode::NOTZONE),
        ("ANY a A 192.0.2.1", Rcode::FORMERR),
        ("NONE a A", Rcode::FORMERR),
        ("IN a A", Rcode::FORMERR),
        ("NONE a ANY", Rcode::FORMERR),
        ("IN a ANY", Rcode::FORMERR),
    ] {
        assert_eq!(updated(&[], &[], &["IN a A 192.0.2.1", bad]), Err(rcode), "{bad}");
    }
    let whole = message(&["NONE a ANY"], &["IN a A 192.0.2.1", "IN b TXT x"]);
    for length in 12..whole.len() {
        assert_eq!(difference(&zone(1, &[]), &whole[..length]).err(), Some(Rcode::FORMERR));
    }
}

#[test]
fn a_set_has_one_ttl() {
    let old = zone(1, &["a 60 A 192.0.2.1"]);
    let delta = difference(&old, &message(&[], &["IN a A 192.0.2.2"])).unwrap().unwrap();
    let new = old.edited(&delta.removed, &delta.added).unwrap();
    let ttls: Vec<_> = new
        .records()
        .filter(|one| one.rtype == RecordType::A && one.owner.wire()[1] == b'a')
        .map(|one| one.ttl)
        .collect();
    assert_eq!(ttls, [300, 300]);
}
