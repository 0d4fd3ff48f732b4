//! Sizes, EDNS and what the server says of itself.

use super::*;

const ZONE: &str = "\
$ORIGIN example.test.
$TTL 3600
@       SOA ns1 hostmaster 7 3600 900 604800 300
        NS  ns1
ns1     A   192.0.2.1
$GENERATE 1-100 many A 192.0.2.$
$GENERATE 1-9 sub NS ns$.sub
$GENERATE 1-9 ns$.sub AAAA 2001:db8::$
$GENERATE 1-9 ns$.sub A 192.0.2.$
$GENERATE 1-30 mx MX $ host$
$GENERATE 1-30 host$ AAAA 2001:db8::$
";

fn ask(settings: &Settings, transport: Transport, asked: &str) -> (String, Vec<u8>) {
    let zones = Zones::new([zone(ZONE)]);
    let answer = ask_over(&zones, settings, transport, &query(asked)).expect("an answer");
    (shown(&answer), answer)
}

fn by(transport: Transport, asked: &str) -> (String, Vec<u8>) {
    ask(&Settings::default(), transport, asked)
}

#[test]
fn what_does_not_fit_is_left_out_as_a_whole() {
    for (asked, limit) in [
        ("many.example.test A", 512),
        ("many.example.test A +edns", 1232),
        ("many.example.test A +size=100", 512),
        ("many.example.test A +size=4096", 1232),
    ] {
        let (text, answer) = by(Transport::Udp, asked);
        assert_eq!(text, "NOERROR AA TC\n", "{asked}");
        assert!(answer.len() <= limit);
        assert_eq!(answer[11], u8::from(asked.contains('+')), "EDNS is answered by EDNS");
    }
    let (text, answer) = by(Transport::Tcp, "many.example.test A");
    assert_eq!(text.lines().count(), 101);
    // Names are compressed: 16 octets an address.
    assert_eq!(answer.len(), 12 + 23 + 100 * 16);
}

#[test]
fn addresses_are_left_out_glue_is_not() {
    let (text, answer) = by(Transport::Udp, "mx.example.test MX +edns");
    assert!(text.starts_with("NOERROR AA\n") && answer.len() <= 1232, "{text}");
    assert_eq!(text.matches("answer: ").count(), 30);
    assert!((5..30).contains(&text.matches("additional: ").count()), "{text}");
    // Glue that is missing is told (RFC 9471).
    let (text, _) = by(Transport::Udp, "x.sub.example.test A");
    assert!(text.starts_with("NOERROR TC\n"), "{text}");
    let (text, _) = by(Transport::Udp, "x.sub.example.test A +edns");
    assert!(text.starts_with("NOERROR \n"), "{text}");
    assert_eq!(text.matches("additional: ").count(), 18);
}

#[test]
fn versions_and_options_are_negotiated() {
    let (text, _) = by(Transport::Udp, "ns1.example.test A +version=1");
    assert_eq!(text, "BADVERS \n");
    let (text, answer) = by(Transport::Udp, "ns1.example.test A +option=65001");
    assert!(text.starts_with("NOERROR AA\n"));
    assert!(answer.ends_with(&[0, 0, 41, 0x04, 0xD0, 0, 0, 0, 0, 0, 0]), "{answer:?}");
    let (_, answer) = by(Transport::Udp, "ns1.example.test A +do");
    assert!(answer.ends_with(&[0, 0, 41, 0x04, 0xD0, 0, 0, 0x80, 0, 0, 0]), "DO is told back");
    // RFC 8914.
    let (text, answer) = by(Transport::Udp, "example.org A +edns");
    assert_eq!(text, "REFUSED \n");
    assert!(answer.ends_with(&[0, 15, 0, 2, 0, 20]), "{answer:?}");
}

#[test]
fn a_server_says_of_itself_what_it_is_told_to() {
    let named = Settings {
        nsid: Some(b"ns1".as_slice().into()),
        version: Some("1.2".into()),
        ..Settings::default()
    };
    let (_, answer) = ask(&named, Transport::Udp, "ns1.example.test A +option=3");
    assert!(answer.ends_with(&[0, 3, 0, 3, b'n', b's', b'1']), "{answer:?}");
    for (name, expected) in
        [("version.bind", "1.2"), ("version.server", "1.2"), ("id.server", "ns1")]
    {
        let (text, _) = ask(&named, Transport::Udp, &format!("{name} TXT CH"));
        assert_eq!(text, format!("NOERROR AA\nanswer: {name}. 0 TXT {expected}\n"));
        let (text, _) = by(Transport::Udp, &format!("{name} TXT CH"));
        assert_eq!(text, "REFUSED \n");
    }
    let (text, _) = ask(&named, Transport::Udp, "authors.bind TXT CH");
    assert_eq!(text, "REFUSED \n");
}

#[test]
fn connections_have_keepalive_and_padding() {
    let (_, answer) = by(Transport::Tcp, "ns1.example.test A +option=11");
    assert!(answer.ends_with(&[0, 11, 0, 2, 0, 100]), "{answer:?}");
    let (_, answer) = by(Transport::Udp, "ns1.example.test A +option=11");
    assert!(answer.ends_with(&[0, 0]), "not over UDP (RFC 7828 §3.2)");
    for asked in ["ns1.example.test A +option=12", "many.example.test A +option=12"] {
        let (_, answer) = by(Transport::Secured, asked);
        assert_eq!(answer.len() % 468, 0, "{asked}");
        let (_, answer) = by(Transport::Tcp, asked);
        assert_ne!(answer.len() % 468, 0, "only where it helps");
    }
}

#[test]
fn cookies_are_answered() {
    let settings = Settings { cookie_secret: Some([7; 16]), ..Settings::default() };
    let zones = Zones::new([zone(ZONE)]);
    let with = |cookie: &[u8]| {
        let mut message = query("ns1.example.test A +edns");
        let at = message.len() - 1;
        message[at] = cookie.len() as u8 + 4;
        message.extend_from_slice(&[0, 10, 0, cookie.len() as u8]);
        message.extend_from_slice(cookie);
        ask_over(&zones, &settings, Transport::Udp, &message).expect("an answer")
    };
    let answer = with(b"01234567");
    let cookie = answer[answer.len() - 24..].to_vec();
    assert!(cookie.starts_with(b"01234567\x01\0\0\0"), "{answer:?}");
    assert!(with(&cookie).ends_with(&cookie));
    assert_eq!(shown(&with(b"0123")), "FORMERR \n");
}

#[test]
fn other_kinds_of_question_are_told_what_they_are() {
    for (asked, expected) in [
        ("example.test AXFR", "NOTIMP \n"),
        ("example.test MAILB", "NOTIMP \n"),
        ("example.test TKEY", "NOTIMP \n"),
        ("example.test OPT", "NOTIMP \n"),
        ("example.org IXFR", "NOTAUTH \n"),
        ("ns1.example.test A CH", "REFUSED \n"),
    ] {
        assert_eq!(by(Transport::Udp, asked).0, expected, "{asked}");
    }
    let (text, _) = by(Transport::Udp, "example.test IXFR");
    assert!(text.starts_with("NOERROR AA\nanswer: example.test. 3600 SOA"), "{text}");
}
