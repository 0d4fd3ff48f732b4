//! Request targets in their four forms (RFC 9112 §3.2), hosts, and the one canonical form of a
//! path that routes and files are both looked up by.

use std::borrow::Cow;

use super::octets;
use crate::error::Fault;

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target<'a> {
    /// `/path?query`.
    Origin {
        /// Begins with `/`, as it came.
        path: &'a [u8],
        /// What follows the first `?`.
        query: Option<&'a [u8]>,
    },
    /// `http://host/path?query`.
    Absolute {
        /// Whether the scheme is `https`.
        secure: bool,
        /// Host and port.
        authority: Authority<'a>,
        /// As it came, or `/` where there is none.
        path: &'a [u8],
        /// What follows the first `?`.
        query: Option<&'a [u8]>,
    },
    /// `host:port`, with CONNECT alone.
    Authority(Authority<'a>),
    /// `*`, with OPTIONS alone.
    Asterisk,
}

impl<'a> Target<'a> {
    #[inline]
    pub(super) fn parse(method: &[u8], target: &'a [u8]) -> Result<Target<'a>, Fault> {
        if method == b"CONNECT" {
            return match Authority::parse(target) {
                Some(authority) if authority.port.is_some() && !authority.host.is_empty() => {
                    Ok(Target::Authority(authority))
                }
                _ => Err(Fault::Target),
            };
        }
        match target {
            [b'/', ..] => {
                let (path, query) = split_query(target);
                Ok(Target::Origin { path, query })
            }
            b"*" if method == b"OPTIONS" => Ok(Target::Asterisk),
            _ => Target::parse_absolute(target).ok_or(Fault::Target),
        }
    }

    fn parse_absolute(target: &'a [u8]) -> Option<Target<'a>> {
        let colon = memchr::memchr(b':', target)?;
        let secure = match &target[..colon] {
            scheme if scheme.eq_ignore_ascii_case(b"http") => false,
            scheme if scheme.eq_ignore_ascii_case(b"https") => true,
            _ => return None,
        };
        let rest = target[colon + 1..].strip_prefix(b"//")?;
        let end = rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
        // RFC 9110 §4.2.4: user information in an http URI is an error. `Authority` has none.
        let authority = Authority::parse(&rest[..end]).filter(|a| !a.host.is_empty())?;
        let (path, query) = split_query(&rest[end..]);
        let path = if path.is_empty() { b"/" } else { path };
        Some(Target::Absolute { secure, authority, path, query })
    }

    /// The path as it came, where the form has one.
    pub fn path(&self) -> Option<&'a [u8]> {
        match self {
            Target::Origin { path, .. } | Target::Absolute { path, .. } => Some(path),
            Target::Authority(_) | Target::Asterisk => None,
        }
    }

    /// What follows the first `?`, as it came.
    pub fn query(&self) -> Option<&'a [u8]> {
        match self {
            Target::Origin { query, .. } | Target::Absolute { query, .. } => *query,
            Target::Authority(_) | Target::Asterisk => None,
        }
    }
}

#[inline]
fn split_query(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    match target.iter().position(|&b| b == b'?') {
        Some(at) => (&target[..at], Some(&target[at + 1..])),
        None => (target, None),
    }
}

/// A host, and perhaps a port (RFC 3986 §3.2, without user information).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authority<'a> {
    /// A name, an IPv4 address, or an IPv6 address in brackets; as it came, so in any case.
    pub host: &'a [u8],
    /// The port, where one is named.
    pub port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// `None` where the octets aren't `host [":" port]`. An empty host is one.
    #[inline]
    pub fn parse(octets: &'a [u8]) -> Option<Authority<'a>> {
        let (host, port) = split_port(octets)?;
        Some(Authority { host, port })
    }

    /// Whether the octets can be parsed, which is cheaper to know.
    #[inline]
    pub(super) fn is_one(octets: &[u8]) -> bool {
        split_port(octets).is_some()
    }

    /// Whether this is the host of that name. Case and a dot at the end don't matter.
    #[inline]
    pub fn is(&self, name: &str) -> bool {
        let host = self.host.strip_suffix(b".").unwrap_or(self.host);
        host.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// Where an IPv6 address in brackets ends, which begins these octets.
#[cold]
fn address_end(octets: &[u8]) -> Option<usize> {
    let end = memchr::memchr(b']', octets)? + 1;
    let address = std::str::from_utf8(&octets[1..end - 1]).ok()?;
    address.parse::<std::net::Ipv6Addr>().ok()?;
    Some(end)
}

/// The host, and the port: one to five digits, of a number that has sixteen bits.
#[inline]
fn split_port(octets: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let end = match octets {
        [b'[', ..] => address_end(octets)?,
        _ => octets::run(octets, 0, octets::REG_NAME),
    };
    let (host, digits) = match octets.split_at_checked(end)? {
        // RFC 3986 §3.2.3 lets the port be empty behind its colon.
        (host, [] | [b':']) => return Some((host, None)),
        (host, [b':', digits @ ..]) if digits.len() <= 5 => (host, digits),
        _ => return None,
    };
    let mut port: u32 = 0;
    for octet in digits {
        if !octet.is_ascii_digit() {
            return None;
        }
        port = port * 10 + u32::from(octet - b'0');
    }
    Some((host, Some(u16::try_from(port).ok()?)))
}

/// The path by which routes are matched and files are found: percent-decoded once, without dot
/// segments (RFC 3986 §5.2.4) and without empty ones. A plain path is lent as it is.
///
/// There is one such form for both, since a path that a route reads otherwise than the file system
/// does walks around the route's rules: `/%70rivate/x`, `//private/x`, `/a%2F..%2Fprivate/x`.
/// An encoded slash is therefore a slash. NUL and a path that climbs above the root are refused, as
/// nginx does it.
#[inline]
pub(crate) fn canonical_path(path: &[u8]) -> Result<Cow<'_, [u8]>, Fault> {
    let mut after_slash = false;
    for &b in path {
        if b == b'%' || after_slash && (b == b'/' || b == b'.') {
            return normalise(path).map(Cow::Owned);
        }
        after_slash = b == b'/';
    }
    Ok(Cow::Borrowed(path))
}

fn normalise(path: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.iter();
    while let Some(&b) = rest.next() {
        let octet = match b {
            b'%' => {
                let high = rest.next().and_then(|&b| hex(b)).ok_or(Fault::Path)?;
                let low = rest.next().and_then(|&b| hex(b)).ok_or(Fault::Path)?;
                high << 4 | low
            }
            b => b,
        };
        if octet == 0 {
            return Err(Fault::Path);
        }
        decoded.push(octet);
    }
    let mut out = Vec::with_capacity(decoded.len());
    let mut segments = decoded.split(|&b| b == b'/').peekable();
    segments.next(); // what stands before the first slash: nothing
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            b"" | b"." => {}
            b".." => {
                let parent = memchr::memrchr(b'/', &out).ok_or(Fault::Path)?;
                out.truncate(parent);
            }
            name => {
                out.push(b'/');
                out.extend_from_slice(name);
                continue;
            }
        }
        if last {
            out.push(b'/');
        }
    }
    if out.is_empty() {
        out.push(b'/');
    }
    Ok(out)
}

/// The value of a hexadecimal digit.
pub(crate) fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &str) -> Result<String, Fault> {
        canonical_path(path.as_bytes()).map(|p| String::from_utf8_lossy(&p).into_owned())
    }

    #[test]
    fn paths_have_one_form() {
        for (came, canonical) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b/"),
            ("/%61", "/a"),
            ("/%2e%2E/a", ""),
            ("//a", "/a"),
            ("/a//b///", "/a/b/"),
            ("/a/./b/.", "/a/b/"),
            ("/a/b/..", "/a/"),
            ("/a/../b", "/b"),
            ("/a/%2e%2e/b", "/b"),
            ("/a%2F..%2Fb", "/b"),
            ("/.well-known/x", "/.well-known/x"),
            ("/...", "/..."),
            ("/%252e", "/%2e"),
            ("/a%00b", ""),
            ("/%", ""),
            ("/%4", ""),
            ("/%zz", ""),
            ("/..", ""),
            ("/a/../..", ""),
            ("/.", "/"),
            ("//", "/"),
        ] {
            let expected =
                if canonical.is_empty() { Err(Fault::Path) } else { Ok(canonical.into()) };
            assert_eq!(path(came), expected, "{came}");
        }
    }

    #[test]
    fn a_plain_path_is_lent() {
        assert!(matches!(canonical_path(b"/a/b.html"), Ok(Cow::Borrowed(_))));
    }

    #[test]
    fn authorities() {
        let ok = |host: &'static str, port| Some(Authority { host: host.as_bytes(), port });
        for (came, expected) in [
            ("example.test", ok("example.test", None)),
            ("example.test:80", ok("example.test", Some(80))),
            ("example.test:", ok("example.test", None)),
            ("[::1]:8080", ok("[::1]", Some(8080))),
            ("[::1]", ok("[::1]", None)),
            ("", ok("", None)),
            ("[::1", None),
            ("[example]", None),
            ("[::1]x", None),
            ("a b", None),
            ("a:65536", None),
            ("a:+1", None),
            ("a:b", None),
            ("user@host", None),
            ("a/b", None),
            ("a,b", ok("a,b", None)),
            ("a<b", None),
        ] {
            assert_eq!(Authority::parse(came.as_bytes()), expected, "{came}");
        }
        assert!(
            Authority::parse(b"WWW.Example.Test.:80").is_some_and(|a| a.is("www.example.test"))
        );
    }
}
