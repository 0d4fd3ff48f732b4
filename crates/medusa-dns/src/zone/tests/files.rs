//! Master files: directives, inheritance, all faults at once, and the zone that comes of them.

use proptest::prelude::*;

use crate::answer::tests::Text;
use crate::name::Name;
use crate::types::RecordType;
use crate::zone::{Reading, Record, Source, Zone, ZoneBuilder, name_from_text, read_zone};

const HEAD: &str = "$TTL 60\n@ SOA ns root 1 2 3 4 5\n@ NS ns\nns A 192.0.2.2\n";

fn read(text: &str) -> Reading {
    read_zone(&mut Text(text), "zones/example.test.zone", None)
}

fn sound(text: &str) -> Zone {
    let reading = read(&format!("{HEAD}{text}"));
    reading.zone.unwrap_or_else(|faults| panic!("{}", faults[0]))
}

/// The records of a zone behind its head, as text.
fn records(zone: &Zone) -> Vec<String> {
    let head = ["SOA", "NS"];
    let shown = zone.records().filter(|one| !head.contains(&one.rtype.to_string().as_str()));
    let shown = shown.map(|one| format!("{} {} {} {:?}", one.owner, one.ttl, one.rtype, one.rdata));
    shown.filter(|line| !line.starts_with("ns.example.test.")).collect()
}

/// Reads a text that is wrong; its faults as they are shown.
fn faults(text: &str) -> Vec<String> {
    let faults = read(text).zone.expect_err("faults");
    faults.iter().map(ToString::to_string).collect()
}

#[test]
fn owners_ttls_and_classes_are_inherited() {
    let zone = sound(
        "a 5 IN A 192.0.2.1\n  IN 6 A 192.0.2.2\n\tA 192.0.2.3\nB A 192.0.2.4\nc.example.test. IN A 192.0.2.5\n",
    );
    assert_eq!(
        records(&zone),
        [
            "a.example.test. 5 A [192, 0, 2, 1]",
            "a.example.test. 5 A [192, 0, 2, 2]",
            "a.example.test. 5 A [192, 0, 2, 3]",
            "b.example.test. 60 A [192, 0, 2, 4]",
            "c.example.test. 60 A [192, 0, 2, 5]",
        ]
    );
}

#[test]
fn origins_change() {
    let zone =
        sound("$ORIGIN sub\n@ A 192.0.2.1\nx A 192.0.2.2\n$ORIGIN example.test.\ny CNAME x.sub\n");
    let names: Vec<_> = zone.nodes().map(|node| node.name().to_string()).collect();
    let expected = [
        "example.test.",
        "ns.example.test.",
        "sub.example.test.",
        "x.sub.example.test.",
        "y.example.test.",
    ];
    assert_eq!(names, expected);
}

#[test]
fn lines_are_generated() {
    let zone = sound("$GENERATE 1-3/2 h${0,2} 7 A 192.0.2.$\n$GENERATE 1-2 $ CNAME h0$.other.\n");
    assert_eq!(records(&zone).len(), 4);
    assert!(records(&zone).contains(&"h03.example.test. 7 A [192, 0, 2, 3]".to_owned()));
    for wrong in ["1", "2-1", "1-2/0", "0-131072", "a-b"] {
        let told = faults(&format!("{HEAD}$GENERATE {wrong} x A 192.0.2.1\n"));
        assert!(told[0].contains(":5:11: "), "{told:?}");
    }
    let told = faults(&format!("{HEAD}$GENERATE 1-2\n"));
    assert!(told[0].ends_with(":5:11: what is to be generated is missing"), "{told:?}");
    let told = faults(&format!("{HEAD}$GENERATE 0-300 x$ A 192.0.2.$\n"));
    assert!(told[0].ends_with("not an IPv4 address"), "{told:?}");
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_its_place() {
    let text = "@ 60 SOA ns root 1 2 3 4 5\n@ 60 NS ns\nns 60 AA 192.0.2.1\nns 60 A 192.0.2\n  60 TXT \"a\nx.other. 60 A 192.0.2.1\nw A 192.0.2.1 ; inherits\n$NOTHING\nv CH A 192.0.2.1\nz 60 A (\n";
    assert_eq!(
        faults(text),
        [
            "zones/example.test.zone:3:7: `AA` is not a record type",
            "zones/example.test.zone:4:9: not an IPv4 address",
            "zones/example.test.zone:5:10: this quote is never closed",
            "zones/example.test.zone:6:1: the name is outside of the zone",
            "zones/example.test.zone:8:1: $NOTHING is not a directive",
            "zones/example.test.zone:9:3: the class is IN here, not CH",
            "zones/example.test.zone:10:8: this parenthesis is never closed",
        ]
    );
    assert_eq!(faults(""), ["zones/example.test.zone: the zone has no records"]);
    assert_eq!(faults("  A 192.0.2.1\n").len(), 1);
    assert!(faults("a A 192.0.2.1\n")[0].contains("has no TTL"));
    // A file that isn't a zone doesn't fill the screen.
    assert_eq!(faults(&"nonsense\n".repeat(1000)).len(), 50);
}

#[test]
fn what_records_may_not_be_together_is_told() {
    for (text, part) in [
        ("a CNAME b\na A 192.0.2.1\n", "has a CNAME record and A beside it"),
        ("a CNAME b\na CNAME c\n", "more than one CNAME"),
        ("a DNAME b\na DNAME c\n", "more than one DNAME"),
        ("@ SOA ns root 9 2 3 4 5\n", "more than one SOA"),
        ("a SOA ns root 9 2 3 4 5\n", "isn't the zone's apex"),
        ("@ NSEC3PARAM 1 0 2000 -\n", "2000 iterations"),
        ("@ TYPE255 \\# 0\n", "no zone has records of this type"),
    ] {
        let told = faults(&format!("{HEAD}{text}"));
        assert!(told.iter().any(|one| one.contains(part)), "{text}: {told:?}");
    }
    assert!(faults("@ 60 SOA a b 1 2 3 4 5\n")[0].contains("no NS records"));
    assert!(faults("@ 60 NS a\n")[0].contains("no SOA record"));
}

#[test]
fn what_looks_wrong_is_a_warning() {
    let warned = |text: &str| {
        let reading = read(&format!("{HEAD}{text}"));
        assert!(reading.zone.is_ok(), "{text}");
        reading.warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(warned("a A 192.0.2.1\n"), [""; 0]);
    assert!(
        warned("a 5 A 192.0.2.1\na 6 A 192.0.2.2\n")[0]
            .contains(":5: the A records of a.example.test. have several TTLs")
    );
    assert!(warned("s NS ns.s\nns.s A 192.0.2.1\nx.s TXT \"hidden\"\n")[0].contains("is hidden"));
    assert!(warned("d DNAME ns\nx.d A 192.0.2.1\n")[0].contains("is hidden"));
}

#[test]
fn a_record_that_stands_twice_is_there_once() {
    let zone = sound("a A 192.0.2.1\na A 192.0.2.1\nA A 192.0.2.1\n");
    assert_eq!(zone.record_count(), 4);
}

#[test]
fn includes_have_their_own_origin() {
    struct Two;
    impl Source for Two {
        fn read(&mut self, path: &str) -> Result<Vec<u8>, String> {
            match path {
                "example.test.zone" => {
                    Ok(format!("{HEAD}$INCLUDE sub.zone sub ; below\nz A 192.0.2.1\n").into())
                }
                "sub.zone" => Ok(b"$ORIGIN x.sub.example.test.\n@ A 192.0.2.7\nwrong B\n".to_vec()),
                "loop.zone" => Ok(b"$INCLUDE loop.zone\n".to_vec()),
                _ => Err("isn't there".into()),
            }
        }
    }
    let faults = read_zone(&mut Two, "example.test.zone", None).zone.unwrap_err();
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].to_string(), "sub.zone:3:7: `B` is not a record type");
    let faults = read_zone(&mut Two, "loop.zone", None).zone.unwrap_err();
    assert!(faults[0].message.contains("too deeply"), "{}", faults[0]);
    let faults = read_zone(&mut Two, "none", None).zone.unwrap_err();
    assert_eq!(faults[0].to_string(), "none: isn't there");
}

#[test]
fn the_root_is_a_zone_too() {
    let text = ". 60 SOA a. b. 1 2 3 4 5\n. 60 NS a.\na. 60 A 192.0.2.1\n";
    let zone = read_zone(&mut Text(text), "root.zone", Some(&Name::root())).zone.unwrap();
    let names: Vec<_> = zone.nodes().map(|node| node.name().to_string()).collect();
    assert_eq!(names, [".", "a."]);
}

#[test]
fn a_zone_is_edited_into_another() {
    let old = sound("a A 192.0.2.1\na A 192.0.2.2\nb CNAME a\n");
    let record = |owner: &str, last: u8| Record {
        owner: name_from_text(owner).unwrap(),
        rtype: RecordType::A,
        ttl: 9,
        rdata: vec![192, 0, 2, last],
    };
    let (gone, new) = (record("a.example.test", 1), record("c.example.test", 3));
    let edited = old.edited(&[gone], std::slice::from_ref(&new)).unwrap();
    assert_eq!(edited.record_count(), old.record_count());
    assert!(edited.records().any(|one| one == new));
    assert_eq!(records(&edited).iter().filter(|line| line.starts_with("a.")).count(), 1);
    // A new record beside an alias is as wrong as in a file.
    assert!(old.edited(&[], &[record("b.example.test", 1)]).is_err());
    assert!(old.edited(&[], &[record("example.org", 1)]).is_err());
}

proptest! {
    /// Whatever goes in comes out again, whatever the order, compressed as it may be.
    #[test]
    fn records_survive_rendering(
        hosts in proptest::collection::btree_set("[a-c*]{1,2}(\\.[a-c]{1,2}){0,2}", 1..20),
        turn in 0usize..20,
    ) {
        let apex = name_from_text("example.test").unwrap();
        let mut all = Vec::new();
        let wire = |text: &str| name_from_text(text).unwrap().wire().to_vec();
        let add = |all: &mut Vec<Record>, owner: &str, rtype, rdata| {
            all.push(Record { owner: name_from_text(owner).unwrap(), rtype, ttl: 60, rdata });
        };
        let soa = [wire("ns.example.test"), wire("root.example.test"), vec![0; 20]].concat();
        add(&mut all, "example.test", RecordType::SOA, soa);
        add(&mut all, "example.test", RecordType::NS, wire("ns.example.test"));
        for host in &hosts {
            let owner = format!("{host}.example.test");
            add(&mut all, &owner, RecordType::MX, [vec![0, 1], wire(&owner)].concat());
            add(&mut all, &owner, RecordType::MX, [vec![0, 2], wire("elsewhere.org")].concat());
            add(&mut all, &owner, RecordType::SRV, [vec![0; 6], wire("example.test")].concat());
        }
        let middle = turn % all.len();
        all.rotate_left(middle);
        let mut builder = ZoneBuilder::new(apex);
        all.iter().for_each(|record| builder.add(record).unwrap());
        let zone = builder.build().unwrap();
        let mut out: Vec<_> = zone.records().collect();
        prop_assert_eq!(out.len(), all.len());
        let key = |one: &Record| (one.owner.wire().to_vec(), one.rtype, one.rdata.clone());
        out.sort_by_key(key);
        all.sort_by_key(key);
        prop_assert_eq!(out, all);
        let names: Vec<_> = zone.nodes().map(|node| node.name()).collect();
        for pair in names.windows(2) {
            prop_assert!(crate::name::canonical_cmp(pair[0].wire(), pair[1].wire()).is_lt());
        }
    }

    #[test]
    fn slips_are_survived(at in 0usize..200, cut in 0usize..12, typed in "[a-z0-9.@$(){}\";\\\\ \t\n]{0,6}") {
        let text = format!("{HEAD}a 5 A 192.0.2.1\n  TXT \"x\" ( \"y\"\n) ; z\n$ORIGIN b\nc MX 10 d\n");
        let at = at.min(text.len());
        let end = (at + cut).min(text.len());
        let _ = read(&format!("{}{typed}{}", &text[..at], &text[end..]));
    }
}
