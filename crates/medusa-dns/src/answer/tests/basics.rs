//! The answers that everybody asks for (RFC 1034 §4.3.2), and those that surprise (RFC 4592, RFC 6672).

use super::*;

const ZONE: &str = "\
$ORIGIN example.test.
$TTL 3600
@       SOA ns1 hostmaster 7 3600 900 604800 300
        NS  ns1
        NS  ns.other.test.
        MX  10 mail
        MX  20 mail
        TXT \"v=spf1 -all\" \"more\"
ns1     A   192.0.2.1
        AAAA 2001:db8::1
mail    A   192.0.2.2
www     CNAME web
web     A   192.0.2.3
        A   192.0.2.4
out     CNAME www.other.test.
loop    CNAME pool
pool    CNAME loop
gone    CNAME nowhere
sub     NS  ns.sub
        NS  ns1
        DS  1 8 2 00112233445566778899AABBCCDDEEFF00112233445566778899AABBCCDDEEFF
ns.sub  A   192.0.2.5
deep.empty.inner A 192.0.2.6
*.wild  A   192.0.2.7
        MX  5 mail
b.wild  TXT \"b\"
x.c.wild TXT \"c\"
*.alias CNAME web
old     DNAME new
a.new   A   192.0.2.8
_sip._tcp SRV 1 2 5060 mail
";

const SOA: &str = "authority: example.test. 300 SOA ns1.example.test. hostmaster.example.test. 7 3600 900 604800 300";

#[track_caller]
fn is(asked: &str, expected: &str) {
    check(ZONE, asked, &expected.replace("SOA!", SOA));
}

#[test]
fn records_are_found() {
    is(
        "web.example.test A",
        "NOERROR AA\nanswer: web.example.test. 3600 A 192.0.2.3\nanswer: web.example.test. 3600 A 192.0.2.4",
    );
    is(
        "WEB.Example.TEST. A +rd",
        "NOERROR AA RD\nanswer: WEB.Example.TEST. 3600 A 192.0.2.3\nanswer: WEB.Example.TEST. 3600 A 192.0.2.4",
    );
    is(
        "example.test SOA",
        "NOERROR AA\nanswer: example.test. 3600 SOA ns1.example.test. hostmaster.example.test. 7 3600 900 604800 300",
    );
    is("example.test TXT", "NOERROR AA\nanswer: example.test. 3600 TXT v=spf1 -allmore");
}

#[test]
fn addresses_come_along_once() {
    is(
        "example.test MX",
        "NOERROR AA
        answer: example.test. 3600 MX 10 mail.example.test.
        answer: example.test. 3600 MX 20 mail.example.test.
        additional: mail.example.test. 3600 A 192.0.2.2",
    );
    is(
        "example.test NS",
        "NOERROR AA
        answer: example.test. 3600 NS ns.other.test.
        answer: example.test. 3600 NS ns1.example.test.
        additional: ns1.example.test. 3600 A 192.0.2.1
        additional: ns1.example.test. 3600 AAAA 2001:db8::1",
    );
    is(
        "_sip._tcp.example.test SRV",
        "NOERROR AA
        answer: _sip._tcp.example.test. 3600 SRV 1 2 5060 mail.example.test.
        additional: mail.example.test. 3600 A 192.0.2.2",
    );
}

#[test]
fn what_is_not_there_is_told_with_the_soa_record() {
    is("nowhere.example.test A", "NXDOMAIN AA\nSOA!");
    is("x.nowhere.example.test A", "NXDOMAIN AA\nSOA!");
    is("web.example.test AAAA", "NOERROR AA\nSOA!");
    // Empty non-terminals are there (RFC 4592 §2.2.2, RFC 8020).
    is("empty.inner.example.test A", "NOERROR AA\nSOA!");
    is("inner.example.test ANY", "NOERROR AA\nSOA!");
    is("other.inner.example.test A", "NXDOMAIN AA\nSOA!");
    is("_tcp.example.test SRV", "NOERROR AA\nSOA!");
}

#[test]
fn aliases_are_followed() {
    is(
        "www.example.test A",
        "NOERROR AA
        answer: www.example.test. 3600 CNAME web.example.test.
        answer: web.example.test. 3600 A 192.0.2.3
        answer: web.example.test. 3600 A 192.0.2.4",
    );
    is(
        "www.example.test CNAME",
        "NOERROR AA\nanswer: www.example.test. 3600 CNAME web.example.test.",
    );
    is(
        "www.example.test ANY",
        "NOERROR AA\nanswer: www.example.test. 3600 CNAME web.example.test.",
    );
    is(
        "www.example.test AAAA",
        "NOERROR AA\nanswer: www.example.test. 3600 CNAME web.example.test.\nSOA!",
    );
    is("out.example.test A", "NOERROR AA\nanswer: out.example.test. 3600 CNAME www.other.test.");
    is(
        "gone.example.test A",
        "NXDOMAIN AA\nanswer: gone.example.test. 3600 CNAME nowhere.example.test.\nSOA!",
    );
    is(
        "loop.example.test A",
        "NOERROR AA
        answer: loop.example.test. 3600 CNAME pool.example.test.
        answer: pool.example.test. 3600 CNAME loop.example.test.",
    );
}

#[test]
fn what_belongs_to_others_is_referred() {
    let referral = "NOERROR
        authority: sub.example.test. 3600 NS ns.sub.example.test.
        authority: sub.example.test. 3600 NS ns1.example.test.
        additional: ns.sub.example.test. 3600 A 192.0.2.5
        additional: ns1.example.test. 3600 A 192.0.2.1
        additional: ns1.example.test. 3600 AAAA 2001:db8::1";
    for asked in ["sub.example.test A", "sub.example.test NS", "x.y.sub.example.test A"] {
        is(asked, referral);
    }
    is("ns.sub.example.test A", referral);
    // Keys of what is below are known here (RFC 4035 §3.1.4.1).
    is(
        "sub.example.test DS",
        "NOERROR AA
        answer: sub.example.test. 3600 DS 1 8 2 00112233445566778899AABBCCDDEEFF00112233445566778899AABBCCDDEEFF",
    );
}

#[test]
fn wildcards_stand_for_what_is_not_there() {
    is("a.wild.example.test A", "NOERROR AA\nanswer: a.wild.example.test. 3600 A 192.0.2.7");
    is(
        "a.b.c.d.wild.example.test A",
        "NOERROR AA\nanswer: a.b.c.d.wild.example.test. 3600 A 192.0.2.7",
    );
    is("a.wild.example.test AAAA", "NOERROR AA\nSOA!");
    is("*.wild.example.test A", "NOERROR AA\nanswer: *.wild.example.test. 3600 A 192.0.2.7");
    // What is there isn't made up for (RFC 4592 §2.2.1), and neither is what is below it.
    is("b.wild.example.test A", "NOERROR AA\nSOA!");
    is("y.b.wild.example.test A", "NXDOMAIN AA\nSOA!");
    is("c.wild.example.test A", "NOERROR AA\nSOA!");
    is("y.c.wild.example.test A", "NXDOMAIN AA\nSOA!");
    is("wild.example.test A", "NOERROR AA\nSOA!");
    is(
        "a.wild.example.test MX",
        "NOERROR AA
        answer: a.wild.example.test. 3600 MX 5 mail.example.test.
        additional: mail.example.test. 3600 A 192.0.2.2",
    );
    is(
        "x.alias.example.test A",
        "NOERROR AA
        answer: x.alias.example.test. 3600 CNAME web.example.test.
        answer: web.example.test. 3600 A 192.0.2.3
        answer: web.example.test. 3600 A 192.0.2.4",
    );
}

#[test]
fn subtrees_are_renamed() {
    is(
        "a.old.example.test A",
        "NOERROR AA
        answer: old.example.test. 3600 DNAME new.example.test.
        answer: a.old.example.test. 3600 CNAME a.new.example.test.
        answer: a.new.example.test. 3600 A 192.0.2.8",
    );
    is("old.example.test A", "NOERROR AA\nSOA!");
    is(
        "old.example.test DNAME",
        "NOERROR AA\nanswer: old.example.test. 3600 DNAME new.example.test.",
    );
    let deep = format!("{0}.{0}.{0}.{1}.old.example.test A", "x".repeat(63), "y".repeat(43));
    let zone = ZONE.replace("DNAME new", "DNAME newer");
    let zones = Zones::new([self::zone(&zone)]);
    let answer = ask_over(&zones, &Settings::default(), Transport::Tcp, &query(&deep)).unwrap();
    assert!(shown(&answer).starts_with("YXDOMAIN AA\nanswer: old.example.test. 3600 DNAME newer"));
}

#[test]
fn names_of_others_are_refused() {
    is("example.org A", "REFUSED");
    is("test A", "REFUSED");
    is(". NS", "REFUSED");
    is("myexample.test A", "REFUSED");
}

#[test]
fn a_wildcard_without_records_is_proved_by_the_gap_that_it_lies_in() {
    let text = "\
$ORIGIN example.test.
$TTL 300
@   SOA ns1 hostmaster 7 3600 900 604800 300
    NS  ns1.other.test.
    NSEC x.* SOA NS NSEC
x.* A   192.0.2.1
    NSEC @ A NSEC
";
    let zones = Zones::new([zone(text)]);
    let asked = query("foo.example.test A +do");
    let answer = ask_over(&zones, &Settings::default(), Transport::Udp, &asked).expect("an answer");
    let text = shown(&answer);
    assert!(text.starts_with("NOERROR AA\n"), "{text}");
    for owner in ["example.test.", "x.*.example.test."] {
        assert!(text.contains(&format!("authority: {owner} 300 NSEC")), "{owner}: {text}");
    }
}

#[test]
fn a_chain_ends_where_no_pointer_reaches_its_last_name() {
    let mut text = "\
$ORIGIN example.test.
$TTL 300
@     SOA ns1 hostmaster 7 3600 900 604800 300
      NS  ns1.other.test.
old   DNAME new
a.new A 192.0.2.8
"
    .to_owned();
    let signature = "AAAA".repeat(1_500);
    for key in 1..=4 {
        text +=
            &format!("old RRSIG DNAME 8 3 300 20301231000000 20200101000000 {key} @ {signature}\n");
    }
    let zones = Zones::new([zone(&text)]);
    let asked = query("a.old.example.test A +do");
    let answer = ask_over(&zones, &Settings::default(), Transport::Tcp, &asked).expect("an answer");
    assert!(answer.len() > 1 << 14);
    let text = shown(&answer);
    assert!(text.contains("answer: a.old.example.test. 300 CNAME a.new.example.test."), "{text}");
    // What belongs to the target isn't said of the question's name.
    assert!(!text.contains("a.old.example.test. 300 A "), "{text}");
}

/// Zones that lead into one another.
fn neighbours() -> Zones {
    let head = "$TTL 60\n@ SOA ns root 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n";
    let zone = |name: &str, text: &str| zone_named(&format!("{head}{text}"), name);
    Zones::new([
        zone(
            "a.test",
            "out CNAME www.b.test.\nmail CNAME mx.b.test.\nmiss CNAME none.b.test.\n\
             none CNAME out.none.test.\nin CNAME www.sub\nsub NS ns.sub\nns.sub A 192.0.2.7\n\
             deleg CNAME x.deleg.b.test.\nround CNAME round.b.test.\nold DNAME b.test.\n\
             keys CNAME sub\nwhy CNAME out\n",
        ),
        zone(
            "b.test",
            "www A 192.0.2.3\nback CNAME ns.a.test.\nmx MX 10 www\nround CNAME round.a.test.\n\
             deleg NS ns.deleg\nns.deleg A 192.0.2.9\n",
        ),
        zone("sub.a.test", "www A 192.0.2.8\n"),
    ])
}

#[test]
fn aliases_lead_from_zone_to_zone() {
    let zones = neighbours();
    let ask = |asked: &str| {
        let settings = Settings::default();
        let answer = ask_over(&zones, &settings, Transport::Tcp, &query(asked)).expect("an answer");
        let text = shown(&answer);
        text.replace("answer: ", "").lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        ask("out.a.test A"),
        ["NOERROR AA", "out.a.test. 60 CNAME www.b.test.", "www.b.test. 60 A 192.0.2.3"]
    );
    // Names of the other zone's records, and their addresses.
    assert_eq!(
        ask("mail.a.test MX"),
        [
            "NOERROR AA",
            "mail.a.test. 60 CNAME mx.b.test.",
            "mx.b.test. 60 MX 10 www.b.test.",
            "additional: www.b.test. 60 A 192.0.2.3"
        ]
    );
    // It is the other zone that says so, and for how long.
    let soa = "authority: b.test. 5 SOA ns.b.test. root.b.test. 1 2 3 4 5";
    assert_eq!(ask("miss.a.test A"), ["NXDOMAIN AA", "miss.a.test. 60 CNAME none.b.test.", soa]);
    assert_eq!(ask("out.a.test AAAA")[2], soa);
    // Back again, through a DNAME too.
    assert_eq!(ask("back.old.a.test A")[4], "ns.a.test. 60 A 192.0.2.1");
    // Below the own apex too, where the zone itself has a delegation; its keys are the business of the one
    // above.
    assert_eq!(ask("in.a.test A")[2], "www.sub.a.test. 60 A 192.0.2.8");
    assert!(ask("keys.a.test DS")[2].starts_with("authority: a.test. 5 SOA"));
    assert_eq!(
        ask("deleg.a.test A")[2..],
        [
            "authority: deleg.b.test. 60 NS ns.deleg.b.test.",
            "additional: ns.deleg.b.test. 60 A 192.0.2.9"
        ]
    );
    // In a circle, and to nowhere.
    assert_eq!(ask("round.a.test A").len(), 3);
    assert_eq!(ask("none.a.test A"), ["NOERROR AA", "none.a.test. 60 CNAME out.none.test."]);
    // A zone that has expired says nothing.
    zones.current().zones().iter().for_each(|zone| {
        zone.set_stale(zone.apex().to_string() == "b.test.");
    });
    assert_eq!(ask("why.a.test A").len(), 3);
}

#[test]
fn gaps_are_found_without_a_walk() {
    // One name has an NSEC record; the others have come by an update that signs nothing.
    let mut text =
        "$TTL 60\n@ SOA ns root 1 2 3 4 5\n@ NS ns\n@ NSEC ns A NS SOA NSEC\n".to_owned();
    text.push_str("$GENERATE 1-5000 a$ A 192.0.2.1\nns A 192.0.2.1\n");
    let zones = Zones::new([zone(&text)]);
    crate::zone::LOOKS.set(0);
    let message = query("a4999z.example.test A +do");
    let answer = ask_over(&zones, &Settings::default(), Transport::Udp, &message).expect("one");
    assert!(shown(&answer).contains("example.test. 60 NSEC"));
    let looks = crate::zone::LOOKS.get();
    assert!(looks < 100, "{looks}");
}
