//! Who asks: the other end of the connection, or whom a trusted proxy names in X-Forwarded-For or
//! Forwarded (RFC 7239).
//!
//! What a proxy says is read from its end: each address is believed only because a trusted one wrote
//! it down. Nobody else is asked, since anybody may send these fields. Limits don't look here: they
//! count sockets.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::HeaderName;
use medusa_core::tls::Facts;
use medusa_core::{Endpoint, Network, Peer};

use crate::head::{Head, Known, octets, tokens};

/// Who asks, and over what.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    remote: Endpoint,
    forwarded: Option<IpAddr>,
    secure: bool,
    /// Of the connection: where a proxy speaks, these are the proxy's.
    tls: Option<Arc<Facts>>,
    proxied: bool,
}

impl Origin {
    #[inline]
    pub(crate) fn of(peer: &Peer, head: &Head<'_>, trusted: &[Network]) -> Origin {
        let tls = peer.tls.clone();
        let direct = Origin {
            remote: peer.remote,
            forwarded: None,
            secure: tls.is_some(),
            tls,
            proxied: false,
        };
        if trusted.is_empty() { direct } else { direct.told_by_proxy(head, trusted) }
    }

    fn told_by_proxy(mut self, head: &Head<'_>, trusted: &[Network]) -> Origin {
        let Some(socket) = self.remote.ip().filter(|ip| Network::any_contains(trusted, *ip)) else {
            return self;
        };
        self.proxied = true;
        let mut proto = values(head, "x-forwarded-proto")
            .last()
            .and_then(|value| tokens(value).last())
            .map(<[u8]>::to_vec);
        // A proxy that writes one of the two fields lets the client's other one through; the first
        // is what most of them write.
        if head.known(Known::XForwardedFor).is_some() {
            let fields = values(head, "x-forwarded-for");
            let nodes = fields.iter().rev().flat_map(|value| value.rsplit(|&b| b == b','));
            let nodes = nodes.map(octets::trim).filter(|node| !node.is_empty());
            self.forwarded = Some(walk(socket, nodes, trusted));
        } else if head.known(Known::Forwarded).is_some()
            && let Some(elements) = elements(&values(head, "forwarded"))
        {
            let nodes = elements.iter().rev().map(|e| e.node.as_deref().unwrap_or_default());
            self.forwarded = Some(walk(socket, nodes, trusted));
            proto = proto.or_else(|| elements.last()?.proto.clone());
        }
        if let Some(proto) = proto {
            self.secure = proto.eq_ignore_ascii_case(b"https");
        }
        self
    }

    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.forwarded.or_else(|| self.remote.ip())
    }

    /// Whether the client speaks TLS, be it with a trusted proxy.
    pub(crate) fn is_secure(&self) -> bool {
        self.secure
    }

    /// Whether a trusted proxy speaks for the client.
    pub(crate) fn is_proxied(&self) -> bool {
        self.proxied
    }

    /// The subject of the certificate that the connection's other end has shown.
    pub(crate) fn certificate(&self) -> Option<&str> {
        self.tls.as_ref()?.client.as_deref()
    }
}

/// As logs have it: without the port.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address() {
            Some(address) => address.fmt(f),
            None => self.remote.fmt(f),
        }
    }
}

fn values<'a>(head: &Head<'a>, name: &'static str) -> Vec<&'a [u8]> {
    head.fields().all(&HeaderName::from_static(name)).collect()
}

/// From the socket's address towards the client, as far as the one who tells is trusted. A node that
/// is no address (`unknown`, `_hidden`) ends the way: then it is the last that is known.
fn walk<'a>(
    socket: IpAddr,
    from_last: impl Iterator<Item = &'a [u8]>,
    trusted: &[Network],
) -> IpAddr {
    let mut client = socket;
    for node in from_last {
        let Some(address) = address(node) else { break };
        client = address;
        if !Network::any_contains(trusted, client) {
            break;
        }
    }
    client
}

/// A node's address: with or without a port, and an IPv6 one with or without its brackets, since
/// X-Forwarded-For has no grammar.
fn address(node: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(node).ok()?;
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = bare.unwrap_or(text).parse().ok();
    let address = address.or_else(|| text.parse().ok().map(|socket: SocketAddr| socket.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

/// One step of a request's way (RFC 7239 §4).
#[derive(Debug, Default, PartialEq, Eq)]
struct Element {
    node: Option<Vec<u8>>,
    proto: Option<Vec<u8>>,
}

/// The elements of all Forwarded fields, the client's first. `None` where they can't be read: then
/// they say nothing.
fn elements(values: &[&[u8]]) -> Option<Vec<Element>> {
    let mut all = Vec::new();
    for value in values {
        for text in split(value, b',')? {
            if text.is_empty() {
                continue;
            }
            let mut element = Element::default();
            for pair in split(text, b';')? {
                if pair.is_empty() {
                    continue;
                }
                let at = memchr::memchr(b'=', pair)?;
                let (name, value) = (&pair[..at], unquoted(&pair[at + 1..])?);
                let place = match name {
                    name if name.eq_ignore_ascii_case(b"for") => &mut element.node,
                    name if name.eq_ignore_ascii_case(b"proto") => &mut element.proto,
                    _ => continue,
                };
                // RFC 7239 §4: each parameter once.
                if place.replace(value).is_some() {
                    return None;
                }
            }
            all.push(element);
        }
    }
    Some(all)
}

/// The parts between separators that don't stand in quotes, without white space around them.
fn split(text: &[u8], separator: u8) -> Option<Vec<&[u8]>> {
    let (mut parts, mut begin, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, &octet) in text.iter().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if octet == separator && !quoted => {
                parts.push(octets::trim(&text[begin..at]));
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(octets::trim(&text[begin..]));
    (!quoted).then_some(parts)
}

/// A token, or what a quoted string stands for (RFC 9110 §5.6.4).
fn unquoted(value: &[u8]) -> Option<Vec<u8>> {
    let Some(inner) = value.strip_prefix(b"\"") else {
        return (!value.is_empty() && !value.contains(&b'"')).then(|| value.to_vec());
    };
    let inner = inner.strip_suffix(b"\"")?;
    let mut out = Vec::with_capacity(inner.len());
    let mut octets = inner.iter();
    while let Some(&octet) = octets.next() {
        match octet {
            b'\\' => out.push(*octets.next()?),
            b'"' => return None,
            octet => out.push(octet),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::HeadLimits;

    /// Who asks, over what, where 127.0.0.0/8 and 2001:db8::/32 are trusted.
    fn who(socket: &str, fields: &str) -> String {
        let trusted = ["127.0.0.0/8", "2001:db8::/32"].map(|text| text.parse().unwrap());
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}");
        let head = Head::parse(head.trim_end().as_bytes(), &HeadLimits::default()).unwrap();
        let remote = Endpoint::Inet(SocketAddr::new(socket.parse().unwrap(), 1));
        let origin = Origin::of(&Peer::new(remote, remote), &head, &trusted);
        assert_eq!(Origin::of(&Peer::new(remote, remote), &head, &[]).to_string(), socket);
        format!("{origin}{}", if origin.is_secure() { " secure" } else { "" })
    }

    #[test]
    fn trusted_proxies_are_believed_from_their_end() {
        for (fields, expected) in [
            ("", "127.0.0.1"),
            ("X-Forwarded-For: 192.0.2.7", "192.0.2.7"),
            ("X-Forwarded-For: 192.0.2.7:4711", "192.0.2.7"),
            ("X-Forwarded-For: 198.51.100.1, 192.0.2.7", "192.0.2.7"),
            ("X-Forwarded-For: 198.51.100.1, 192.0.2.7 , 127.0.0.9,", "192.0.2.7"),
            ("X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-For: 192.0.2.7", "192.0.2.7"),
            ("X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-For: 127.0.0.2", "192.0.2.7"),
            ("X-Forwarded-For: 127.0.0.3, 127.0.0.2", "127.0.0.3"),
            ("X-Forwarded-For: 192.0.2.7, unknown", "127.0.0.1"),
            ("X-Forwarded-For: 192.0.2.7, x, 127.0.0.2", "127.0.0.2"),
            ("X-Forwarded-For: ::ffff:192.0.2.7", "192.0.2.7"),
            ("X-Forwarded-For: [2001:db9::1]:80", "2001:db9::1"),
            ("X-Forwarded-For: 192.0.2.7, 2001:db8::1", "192.0.2.7"),
            ("X-Forwarded-For: ", "127.0.0.1"),
            ("Forwarded: for=192.0.2.7", "192.0.2.7"),
            ("Forwarded: for=192.0.2.7;proto=https;by=127.0.0.1", "192.0.2.7 secure"),
            ("Forwarded: FOR=\"[2001:db9::1]:4711\"; Proto=HTTPS", "2001:db9::1 secure"),
            ("Forwarded: proto=https;for=192.0.2.7, for=127.0.0.2;proto=http", "192.0.2.7"),
            ("Forwarded: for=198.51.100.1\r\nForwarded: for=192.0.2.7", "192.0.2.7"),
            ("Forwarded: for=\"a,b\", for=192.0.2.7", "192.0.2.7"),
            ("Forwarded: for=192.0.2.7, for=\"a\\\",for=192.0.2.8", "127.0.0.1"),
            ("Forwarded: for=192.0.2.7;for=192.0.2.8", "127.0.0.1"),
            ("Forwarded: for=192.0.2.7, for=_hidden", "127.0.0.1"),
            ("Forwarded: for", "127.0.0.1"),
            ("Forwarded: by=1", "127.0.0.1"),
            ("Forwarded: for=192.0.2.8\r\nX-Forwarded-For: 192.0.2.7", "192.0.2.7"),
            ("X-Forwarded-Proto: https", "127.0.0.1 secure"),
            ("X-Forwarded-Proto: https, http", "127.0.0.1"),
            ("X-Forwarded-Proto: http\r\nX-Forwarded-Proto: https", "127.0.0.1 secure"),
        ] {
            assert_eq!(who("127.0.0.1", fields), expected, "{fields}");
        }
    }

    #[test]
    fn nobody_else_is_believed() {
        for fields in [
            "X-Forwarded-For: 192.0.2.7",
            "Forwarded: for=192.0.2.7;proto=https",
            "X-Forwarded-Proto: https",
        ] {
            assert_eq!(who("192.0.2.1", fields), "192.0.2.1");
        }
    }

    /// What holds for any octets: whatever a client has said, it is who the trusted proxy wrote down behind it,
    /// or, where that can't be made out any more, the proxy itself.
    fn fuzz(said: &[u8]) {
        let text = String::from_utf8_lossy(said).into_owned();
        let said = text.replace(|c: char| !(' '..='~').contains(&c), "");
        let by_address = who("127.0.0.1", &format!("X-Forwarded-For: {said}, 192.0.2.7"));
        assert_eq!(by_address, "192.0.2.7", "{said}");
        let by_element = who("127.0.0.1", &format!("Forwarded: {said}, for=192.0.2.7"));
        assert!(matches!(&*by_element, "192.0.2.7" | "127.0.0.1"), "{said}: {by_element}");
    }

    #[test]
    fn nobody_is_let_in_by_what_is_nearly_right() {
        let corpus = [
            &b"for=198.51.100.1;proto=https;by=127.0.0.1"[..],
            b"for=\"[2001:db8::1]:4711\", for=\"a\\\"b\"",
            b"198.51.100.1, 127.0.0.9, [2001:db8::1]:80",
            b"unknown, _hidden, ::ffff:127.0.0.1",
        ];
        medusa_core::testing::mutated(&corpus, 5, 5_000).for_each(|said| fuzz(&said));
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_said_there_is_an_answer(
            said in "[ -~]{0,60}",
            name in proptest::sample::select(vec!["Forwarded", "X-Forwarded-For"]),
        ) {
            let _ = who("127.0.0.1", &format!("{name}: {said}"));
        }
    }
}
