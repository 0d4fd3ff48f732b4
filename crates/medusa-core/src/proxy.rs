//! The PROXY protocol's header, versions 1 and 2 (HAProxy's proxy-protocol.txt, 2020), by which a proxy
//! says for whom it speaks. Pure: whether a peer is trusted to say so is decided elsewhere.

use std::net::{IpAddr, SocketAddr};

/// What stands before the stream proper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Header {
    /// More is needed to tell.
    Incomplete,
    /// A header of so many octets. Without addresses the proxy speaks for itself (a health check) or
    /// doesn't know.
    Complete { length: usize, addresses: Option<(SocketAddr, SocketAddr)> },
    /// No header, or a bad one.
    Invalid(&'static str),
}

/// The longest header that is read. Version 1 has 107 octets at most; 2 KiB leave room for the
/// extensions of version 2, certificates not included.
pub(crate) const LONGEST: usize = 2048;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const V1_LONGEST: usize = 107;

/// Reads the header at the front of `input`: the client's address, and the one that it connected to.
pub(crate) fn parse(input: &[u8]) -> Header {
    let begins = |with: &[u8]| {
        let known = input.len().min(with.len());
        input[..known] == with[..known]
    };
    match input {
        _ if begins(b"PROXY ") => parse_text(input),
        _ if begins(SIGNATURE) => parse_binary(input),
        _ => Header::Invalid("no PROXY header"),
    }
}

/// Version 1 (§2.1): one line.
fn parse_text(input: &[u8]) -> Header {
    let Some(end) = input.windows(2).take(V1_LONGEST - 1).position(|pair| pair == b"\r\n") else {
        return match input.len() < V1_LONGEST {
            true => Header::Incomplete,
            false => Header::Invalid("a PROXY line without an end"),
        };
    };
    let length = end + 2;
    let Ok(line) = std::str::from_utf8(&input[..end]) else {
        return Header::Invalid("a PROXY line that is not ASCII");
    };
    let fields: Vec<&str> = line.split(' ').collect();
    match fields[..] {
        ["PROXY", "UNKNOWN", ..] => Header::Complete { length, addresses: None },
        ["PROXY", family @ ("TCP4" | "TCP6"), source, destination, from, to] => {
            let address = |ip: &str, port: &str| {
                let ip: IpAddr = ip.parse().ok()?;
                // A sign or leading zeros are no port (§2.1).
                let plain = port.bytes().all(|byte| byte.is_ascii_digit())
                    && (port == "0" || !port.starts_with('0'));
                let port = port.parse().ok().filter(|_| plain)?;
                (ip.is_ipv4() == (family == "TCP4")).then_some(SocketAddr::new(ip, port))
            };
            match (address(source, from), address(destination, to)) {
                (Some(source), Some(destination)) => {
                    Header::Complete { length, addresses: Some((source, destination)) }
                }
                _ => Header::Invalid("a PROXY line with a bad address"),
            }
        }
        _ => Header::Invalid("a malformed PROXY line"),
    }
}

/// Version 2 (§2.2): a binary header.
fn parse_binary(input: &[u8]) -> Header {
    let Some((head, rest)) = input.split_first_chunk::<16>() else { return Header::Incomplete };
    let (command, family) = (head[12], head[13]);
    let announced = usize::from(u16::from_be_bytes([head[14], head[15]]));
    let length = head.len() + announced;
    if length > LONGEST {
        return Header::Invalid("a PROXY header that is too long");
    }
    let Some(body) = rest.get(..announced) else { return Header::Incomplete };
    let addresses = match (command, family) {
        // LOCAL: the proxy itself.
        (0x20, _) => None,
        (0x21, 0x11) => match body.split_first_chunk::<12>() {
            Some((&[a, b, c, d, e, f, g, h, from0, from1, to0, to1], _)) => Some((
                SocketAddr::from(([a, b, c, d], u16::from_be_bytes([from0, from1]))),
                SocketAddr::from(([e, f, g, h], u16::from_be_bytes([to0, to1]))),
            )),
            None => return Header::Invalid("a PROXY header with a short address"),
        },
        (0x21, 0x21) => match body.split_first_chunk::<36>() {
            Some((fields, _)) => {
                let ip = |at: usize| {
                    let mut octets = [0; 16];
                    octets.copy_from_slice(&fields[at..at + 16]);
                    IpAddr::from(octets)
                };
                let port = |at: usize| u16::from_be_bytes([fields[at], fields[at + 1]]);
                Some((SocketAddr::new(ip(0), port(32)), SocketAddr::new(ip(16), port(34))))
            }
            None => return Header::Invalid("a PROXY header with a short address"),
        },
        // Unspecified, datagrams, Unix sockets: nothing that we could use (§2.2: accept, ignore).
        (0x21, _) => None,
        _ => return Header::Invalid("a PROXY header of another version or command"),
    };
    Header::Complete { length, addresses }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, body].concat()
    }

    fn complete(length: usize, source: &str, destination: &str) -> Header {
        let addresses = Some((source.parse().unwrap(), destination.parse().unwrap()));
        Header::Complete { length, addresses }
    }

    #[test]
    fn every_cut_of_a_good_header_is_incomplete() {
        let text = b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n".to_vec();
        let text6 = b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n".to_vec();
        let mut body = vec![192, 0, 2, 1, 192, 0, 2, 2, 0xdc, 4, 1, 0xbb];
        body.extend(b"\x04\0\x03tlv");
        let binary = v2(0x21, 0x11, &body);
        let six = [[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]; 2].concat();
        let binary6 = v2(0x21, 0x21, &[&six[..], &[0, 1, 0, 2]].concat());
        for (header, expected) in [
            (&text, complete(text.len(), "192.0.2.1:56324", "192.0.2.2:443")),
            (&text6, complete(text6.len(), "[2001:db8::1]:1", "[2001:db8::2]:65535")),
            (&binary, complete(binary.len(), "192.0.2.1:56324", "192.0.2.2:443")),
            (&binary6, complete(binary6.len(), "[2001:db8::1]:1", "[2001:db8::1]:2")),
        ] {
            for cut in 0..header.len() {
                assert_eq!(parse(&header[..cut]), Header::Incomplete, "cut at {cut}");
            }
            let followed = [header, &b"GET / HTTP/1.1\r\n"[..]].concat();
            assert_eq!(parse(&followed), expected);
        }
    }

    #[test]
    fn a_proxy_may_speak_for_itself() {
        let none = |length| Header::Complete { length, addresses: None };
        assert_eq!(parse(b"PROXY UNKNOWN\r\n"), none(15));
        assert_eq!(parse(b"PROXY UNKNOWN whatever it says\r\nx"), none(32));
        assert_eq!(parse(&v2(0x20, 0, b"")), none(16));
        assert_eq!(parse(&v2(0x21, 0x31, &[0; 216])), none(232));
    }

    #[test]
    fn bad_headers_are_refused() {
        let long = v2(0x21, 0x11, &vec![0; LONGEST]);
        let endless = [&b"PROXY TCP4 "[..], &[b'1'; 200]].concat();
        for bad in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
            b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
            b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY \xff\r\n",
            &endless,
            &long,
            &v2(0x11, 0x11, &[0; 12]),
            &v2(0x22, 0x11, &[0; 12]),
            &v2(0x21, 0x11, &[0; 11]),
            &v2(0x21, 0x21, &[0; 35]),
        ] {
            assert!(matches!(parse(bad), Header::Invalid(_)), "{bad:?}");
        }
    }

    /// What holds for any octets: a header is within them, and none of its beginnings is one.
    fn fuzz(octets: &[u8]) {
        let Header::Complete { length, .. } = parse(octets) else { return };
        assert!(length <= octets.len().min(LONGEST), "{octets:?}");
        for cut in 0..length {
            assert_eq!(parse(&octets[..cut]), Header::Incomplete, "{octets:?} cut at {cut}");
        }
        assert_eq!(parse(&octets[..length]), parse(octets), "{octets:?}");
    }

    #[test]
    fn headers_that_are_nearly_right() {
        let binary = v2(0x21, 0x11, &[192, 0, 2, 1, 192, 0, 2, 2, 0xdc, 4, 1, 0xbb]);
        let binary6 = v2(0x21, 0x21, &[1; 36]);
        let corpus = [
            &b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\nGET / HTTP/1.1\r\n"[..],
            b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n",
            b"PROXY UNKNOWN\r\n",
            &binary,
            &binary6,
        ];
        crate::testing::mutated(&corpus, 1, 20_000).for_each(|octets| fuzz(&octets));
    }
}
