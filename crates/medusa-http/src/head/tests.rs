//! The head parser against tables of what must be taken and refused, and against itself.

use proptest::prelude::*;

use super::*;

/// What a framer would lend: all before the first empty line.
fn frame(octets: &[u8]) -> &[u8] {
    &octets[..memchr::memmem::find(octets, b"\r\n\r\n").expect("ends in an empty line")]
}

fn parse(text: &str) -> Result<Head<'_>, Fault> {
    Head::parse(frame(text.as_bytes()), &HeadLimits::default())
}

#[test]
fn a_plain_request() {
    let head = parse("GET /a/b?c=d HTTP/1.1\r\nHost: example.test:8080\r\nAccept:\t*/* \r\n\r\n");
    let head = head.expect("well-formed");
    assert_eq!(head.method(), Method::GET);
    assert_eq!(head.target(), Target::Origin { path: b"/a/b", query: Some(b"c=d") });
    assert_eq!(head.version(), Version::HTTP_11);
    assert!(head.persistent());
    assert_eq!(head.request_line(), b"GET /a/b?c=d HTTP/1.1");
    let host = head.host().expect("a host");
    assert_eq!((host.host, host.port), (&b"example.test"[..], Some(8080)));
    assert_eq!(head.known(Known::Accept), Some(&b"*/*"[..]));
    assert_eq!(head.known(Known::Range), None);
    let fields: Vec<_> = head.fields().collect();
    assert_eq!(fields, [(&b"Host"[..], &b"example.test:8080"[..]), (b"Accept", b"*/*")]);
}

#[test]
fn what_is_taken() {
    for (text, why) in [
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "one empty line before (RFC 9112 §2.2)"),
        ("GET / HTTP/1.0\r\n\r\n", "1.0 needs no Host"),
        ("GET / HTTP/1.1\r\nhOsT:a\r\n\r\n", "names in any case, no space needed"),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", "an empty Host"),
        ("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "IPv6"),
        ("GET /\u{e4} HTTP/1.1\r\nHost: a\r\nX: \u{e4}\r\n\r\n", "octets above ASCII"),
        ("GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n", "absolute-form"),
        ("GET http://b?x HTTP/1.1\r\nHost: a\r\n\r\n", "absolute-form without a path"),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "asterisk-form"),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", "authority-form"),
        ("M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n", "a method nobody knows"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX:\r\nY: \t \r\n\r\n", "empty values"),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 007\r\n\r\n", "leading zeros are digits"),
    ] {
        assert!(parse(text).is_ok(), "{why}: {:?}", parse(text));
    }
}

/// Each refused, with its reason; and for the same reason in part, once that part holds it.
const REFUSED: &[(&str, Fault)] = &[
    ("GET / HTTP/1.1\n\n\r\n\r\n", Fault::BareLineEnd),
    ("GET / HTTP/1.1\nHost: a\r\n\r\n", Fault::BareLineEnd),
    ("GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", Fault::BareLineEnd),
    ("GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", Fault::BareLineEnd),
    ("GET / HTTP/1.1\r\nHost: a\r\nX\nY: b\r\n\r\n", Fault::BareLineEnd),
    ("GET / HTTP/1.1\r\nHost: a\r\n\nX: b\r\n\r\n", Fault::BareLineEnd),
    ("GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", Fault::BareLineEnd),
    ("GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", Fault::BareLineEnd),
    ("GET /\n HTTP/1.1\r\nHost: a\r\n\r\n", Fault::BareLineEnd),
    ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Fault::BareLineEnd),
    ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Fault::RequestLine),
    ("\r\n\r\n", Fault::RequestLine),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", Fault::ControlOctet),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: a\x7fb\r\n\r\n", Fault::ControlOctet),
    ("GET / HTTP/1.1\r\nHost: a\r\nX\x01: b\r\n\r\n", Fault::ControlOctet),
    ("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", Fault::ControlOctet),
    ("GE\tT / HTTP/1.1\r\nHost: a\r\n\r\n", Fault::ControlOctet),
    ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", Fault::SpaceBeforeColon),
    ("GET / HTTP/1.1\r\nHost\t: a\r\n\r\n", Fault::SpaceBeforeColon),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", Fault::FoldedLine),
    ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", Fault::FoldedLine),
    ("GET / HTTP/1.1\r\nHost: a\r\n\tX: b\r\n\r\n", Fault::FoldedLine),
    ("GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", Fault::FieldName),
    ("GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", Fault::FieldName),
    ("GET / HTTP/1.1\r\nHost: a\r\nX Y: b\r\n\r\n", Fault::FieldName),
    ("GET / HTTP/1.1\r\nHost: a\r\nX(: b\r\n\r\n", Fault::FieldName),
    ("GET / HTTP/1.1\r\nHost: a\r\n\u{e4}: b\r\n\r\n", Fault::FieldName),
    ("GET /\r\n\r\n", Fault::RequestLine),
    ("GET\r\n\r\n", Fault::RequestLine),
    (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", Fault::RequestLine),
    ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", Fault::RequestLine),
    ("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", Fault::RequestLine),
    ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", Fault::RequestLine),
    ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", Fault::RequestLine),
    ("GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", Fault::RequestLine),
    ("GET / http/1.1\r\nHost: a\r\n\r\n", Fault::RequestLine),
    ("GET / HTTP/1.1x\r\nHost: a\r\n\r\n", Fault::RequestLine),
    ("GET / HTTP/11\r\nHost: a\r\n\r\n", Fault::RequestLine),
    ("G(T / HTTP/1.1\r\nHost: a\r\n\r\n", Fault::RequestLine),
    ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", Fault::Version),
    ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", Fault::Version),
    ("GET / HTTP/0.9\r\nHost: a\r\n\r\n", Fault::Version),
    ("PRI * HTTP/2.0\r\n\r\n", Fault::Version),
    ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Target),
    ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Target),
    ("GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Target),
    ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Target),
    ("GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Target),
    ("GET http://u@a/x HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Target),
    ("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Target),
    ("CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Target),
    ("GET / HTTP/1.1\r\n\r\n", Fault::HostMissing),
    ("GET http://a/ HTTP/1.1\r\n\r\n", Fault::HostMissing),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Fault::Host),
    ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Fault::Host),
    ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", Fault::Host),
    ("GET / HTTP/1.0\r\nHost: a@b\r\n\r\n", Fault::Host),
    ("GET http://a/ HTTP/1.1\r\nHost: <\r\n\r\n", Fault::Host),
    (
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        Fault::ContentLength,
    ),
    ("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", Fault::ContentLength),
    ("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", Fault::ContentLength),
    ("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", Fault::ContentLength),
    ("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n", Fault::ContentLength),
    ("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 1\r\n\r\n", Fault::ContentLength),
    ("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", Fault::ContentLength),
    (
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n",
        Fault::ContentLength,
    ),
];

#[test]
fn what_is_refused_and_why() {
    for &(text, fault) in REFUSED {
        assert_eq!(parse(text).err(), Some(fault), "{text:?}");
    }
}

#[test]
fn a_part_is_refused_for_the_reason_of_the_whole() {
    for &(text, fault) in REFUSED {
        let mut refused = false;
        let end = frame(text.as_bytes()).len() + 3;
        for cut in 0..=end {
            let part = &text.as_bytes()[..cut];
            match Head::fault_in_part(part, &HeadLimits::default()) {
                Some(early) => {
                    assert_eq!(early, fault, "{text:?} cut at {cut}");
                    refused = true;
                }
                None => assert!(!refused, "{text:?} refused, and no longer at {cut}"),
            }
        }
    }
}

#[test]
fn limits_look_at_the_head() {
    let limits = HeadLimits { head: 200, target: 20, fields: 3 };
    let parse = |text: &str| Head::parse(frame(text.as_bytes()), &limits).err();
    let target = |n: usize| format!("GET /{} HTTP/1.0\r\n\r\n", "a".repeat(n - 1));
    assert_eq!(parse(&target(20)), None);
    assert_eq!(parse(&target(21)), Some(Fault::TargetTooLong));
    let fields = |n: usize| format!("GET / HTTP/1.0\r\n{}\r\n", "X: y\r\n".repeat(n));
    assert_eq!(parse(&fields(3)), None);
    assert_eq!(parse(&fields(4)), Some(Fault::HeadTooLong));
    let value = |n: usize| format!("GET / HTTP/1.0\r\nX: {}\r\n\r\n", "y".repeat(n - 19));
    assert_eq!(parse(&value(200)), None);
    assert_eq!(parse(&value(201)), Some(Fault::HeadTooLong));
}

#[test]
fn persistence() {
    for (version, connection, persistent) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: Close\r\n", false),
        ("1.1", "Connection: foo, close\r\n", false),
        ("1.1", "Connection: foo\r\nConnection: close\r\n", false),
        ("1.1", "Connection: closed\r\n", true),
        ("1.1", "Connection: keep-alive, close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: keep-alive\r\n", true),
        ("1.0", "Connection: Keep-Alive, x\r\n", true),
        ("1.0", "Connection: keep-alive\r\nConnection: close\r\n", false),
    ] {
        let text = format!("GET / HTTP/{version}\r\nHost: a\r\n{connection}\r\n");
        let head = parse(&text).expect("well-formed");
        assert_eq!(head.persistent(), persistent, "{text:?}");
    }
}

#[test]
fn the_targets_host_goes_before_the_fields() {
    let head = parse("GET http://b:81/x HTTP/1.1\r\nHost: a\r\n\r\n").expect("well-formed");
    assert_eq!(head.host(), Some(Authority { host: b"b", port: Some(81) }));
    assert_eq!(head.target().path(), Some(&b"/x"[..]));
    let head = parse("GET / HTTP/1.1\r\nHost:\r\n\r\n").expect("well-formed");
    assert_eq!(head.host(), None);
}

/// `Head::method` relies on it.
#[test]
fn every_method_of_the_grammar_is_one_of_the_http_crates() {
    let tokens = (0..=255u8).filter(|&octet| octets::is(octet, octets::TOKEN));
    for octet in tokens {
        let name = [b'X', octet];
        assert_eq!(Method::from_bytes(&name).expect("a method").as_str().as_bytes(), name);
    }
    let long = "X".repeat(30_000);
    assert!(Method::from_bytes(long.as_bytes()).is_ok());
}

#[test]
fn known_names_are_found_in_any_case() {
    for &(known, name) in fields::KNOWN {
        assert_eq!(Known::find(name.as_bytes()), Some(known));
        assert_eq!(Known::find(name.to_ascii_uppercase().as_bytes()), Some(known));
        let mut other = name.to_owned();
        other.replace_range(0..1, "_");
        assert_eq!(Known::find(other.as_bytes()), None);
    }
    assert_eq!(Known::find(b""), None);
}

#[test]
fn a_value_is_found_where_it_lies() {
    let head = parse("GET / HTTP/1.1\r\nHost: a\r\nRange: \t\r\nAccept: 1\r\naccept: 2\r\n\r\n");
    let head = head.expect("well-formed");
    assert_eq!(head.known(Known::Range), Some(&b""[..]));
    assert_eq!(head.known(Known::Accept), Some(&b"1"[..]), "the first of several");
    let all: Vec<_> = head.fields().all(&http::header::ACCEPT).collect();
    assert_eq!(all, [b"1", b"2"]);
}

/// Octets that look enough like a head to reach every branch.
fn headlike() -> impl Strategy<Value = Vec<u8>> {
    const PIECES: &[&[u8]] = &[
        b"GET",
        b" ",
        b"/",
        b"*",
        b"HTTP/1.1",
        b"HTTP/1.0",
        b"\r\n",
        b"\r\n",
        b"\r",
        b"\n",
        b":",
        b"Host: a\r\n",
        b"GET / HTTP/1.1\r\n",
        b"Content-Length: ",
        b"12",
        b"\t",
        b"Transfer-Encoding: chunked\r\n",
        b"\0",
        b"http://h",
        b"\xff",
        b"Connection: close\r\n",
        b"%2e",
        b"X: y\r\n",
    ];
    let piece = proptest::sample::select(PIECES);
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn arbitrary_octets_never_panic(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Head::parse(&octets, &HeadLimits::default());
    }

    #[test]
    fn a_part_never_contradicts_the_whole(mut octets in headlike(), cut in 0usize..100) {
        octets.extend_from_slice(b"\r\n\r\n");
        let whole = frame(&octets);
        let cut = cut.min(whole.len() + 3);
        if let Some(fault) = Head::fault_in_part(&octets[..cut], &HeadLimits::default()) {
            prop_assert_eq!(Head::parse(whole, &HeadLimits::default()).err(), Some(fault));
        }
    }

    #[test]
    fn what_is_taken_holds_only_what_may_stand(mut octets in headlike()) {
        octets.extend_from_slice(b"\r\n\r\n");
        if let Ok(head) = Head::parse(frame(&octets), &HeadLimits::default()) {
            for (name, value) in head.fields() {
                prop_assert!(octets::all(name, octets::TOKEN));
                prop_assert!(value.is_empty() || octets::all(value, octets::VALUE));
            }
            let block = head.fields().as_bytes();
            let lines = block.split(|&b| b == b'\n').filter(|line| !line.is_empty()).count();
            prop_assert_eq!(head.fields().count(), lines);
        }
    }
}

/// What holds for any octets: a part never contradicts the whole, and what is taken holds only what may
/// stand there.
fn fuzz(octets: &[u8]) {
    let limits = HeadLimits::default();
    let mut ended = octets.to_vec();
    ended.extend_from_slice(b"\r\n\r\n");
    let head = frame(&ended);
    let whole = Head::parse(head, &limits);
    let fault = whole.as_ref().err().copied();
    for cut in 0..head.len() + 3 {
        if let Some(early) = Head::fault_in_part(&ended[..cut], &limits) {
            assert_eq!(Some(early), fault, "{:?} cut at {cut}", String::from_utf8_lossy(&ended));
        }
    }
    let Ok(whole) = whole else { return };
    assert!(octets::all(whole.method_bytes(), octets::TOKEN));
    for (name, value) in whole.fields() {
        assert!(octets::all(name, octets::TOKEN));
        assert!(value.is_empty() || octets::all(value, octets::VALUE));
    }
    for &(known, text) in fields::KNOWN {
        let name = http::HeaderName::from_static(text);
        assert_eq!(whole.known(known), whole.fields().all(&name).next(), "{text}");
    }
    if let Some(Ok(path)) = whole.target().path().map(|path| whole.canonical_path(path)) {
        assert_eq!(canonical_path(whole.target().path().unwrap_or_default()).as_ref(), Ok(&path));
        assert!(path.starts_with(b"/") && !path.contains(&0), "{path:?}");
        assert!(!path.split(|&b| b == b'/').any(|segment| segment == b".." || segment == b"."));
    }
}

#[test]
fn heads_that_are_nearly_right() {
    let corpus = [
        &b"GET /a/b.html?c=d HTTP/1.1\r\nHost: example.test:8080\r\nAccept: text/html, */*"[..],
        b"POST /%61/../c HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 12\r\nContent-Type: text/plain",
        b"PUT http://a.test/b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close, keep-alive",
        b"GET / HTTP/1.0\r\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\nRange: bytes=0-1",
        b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443",
    ];
    medusa_core::testing::mutated(&corpus, 3, 5_000).for_each(|octets| fuzz(&octets));
}
