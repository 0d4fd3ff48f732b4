//! Which way mail for a domain goes: to its own servers, or to one that is named here. Pure.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use medusa_accounts::Credentials;

use super::schedule::Place;
use crate::address::folded;

/// Where SMTP servers listen (RFC 5321 §4.5.4.2).
const PORT: u16 = 25;

/// A server by its name or its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name, whose addresses are looked up.
    Name(String),
    /// An address.
    Address(IpAddr),
}

/// A server that takes mail for others: a smart host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// Which one.
    pub host: Host,
    /// Its port.
    pub port: u16,
}

/// Whether connections are secured by STARTTLS (RFC 3207).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// Where the server offers it, whatever its certificate (RFC 7435): better than nothing, and no worse.
    #[default]
    Opportunistic,
    /// Always, with a certificate that is good for the server's name; mail waits otherwise.
    Require,
    /// Never.
    Off,
}

/// Which authorities are trusted to vouch for a server, where that is required.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Authorities {
    /// Those of the system.
    #[default]
    System,
    /// Those of a file in PEM.
    File(PathBuf),
}

/// How mail for some domains goes out.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Way {
    /// For which domains: `example.org`, `*.example.org` for everything below it, or `*`.
    pub domain: String,
    /// The server that it goes to; none: those that the domain itself names (MX).
    pub relay: Option<Relay>,
    /// Whether connections are secured.
    pub security: Security,
    /// Who vouches for the server.
    pub authorities: Authorities,
    /// Who we are to the server (RFC 4954).
    pub login: Option<Credentials>,
    /// Messages under way to each domain or relay at one time; as for others where it is none.
    pub connections: Option<usize>,
    /// The least time between two messages to it; as for others where it is none.
    pub pause: Option<Duration>,
}

impl Way {
    /// Mail for `domain`, to its own servers.
    pub fn new(domain: impl Into<String>) -> Way {
        Way { domain: domain.into(), ..Way::default() }
    }

    /// Both folded.
    fn is_for(&self, domain: &str) -> bool {
        match self.domain.strip_prefix('*') {
            Some("") => true,
            Some(below) => domain.len() > below.len() && domain.ends_with(below),
            None => self.domain == domain,
        }
    }
}

impl Relay {
    /// Reads `host`, `host:port`, `192.0.2.1:port` or `[2001:db8::1]:port`.
    pub fn parse(text: &str) -> Option<Relay> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, after) = rest.split_once(']')?;
                let address = address.parse::<IpAddr>().ok()?;
                let port = match after {
                    "" => None,
                    after => Some(after.strip_prefix(':')?),
                };
                (Host::Address(address), port)
            }
            None => {
                let (host, port) = match text.rsplit_once(':') {
                    Some((host, port)) => (host, Some(port)),
                    None => (text, None),
                };
                let is_name = crate::address::is_host(host) && !host.contains([':', '[', ']']);
                match host.parse::<IpAddr>() {
                    Ok(address) => (Host::Address(address), port),
                    Err(_) if is_name => (Host::Name(host.to_lowercase()), port),
                    Err(_) => return None,
                }
            }
        };
        let port = match port {
            None => PORT,
            Some(port) => port.parse().ok().filter(|port| *port != 0)?,
        };
        Some(Relay { host, port })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::Address(IpAddr::V4(address)) => address.fmt(f),
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl fmt::Display for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// All ways, the first that fits first.
#[derive(Debug)]
pub(crate) struct Ways {
    ways: Vec<Way>,
    /// The port of servers that a domain names: another one in tests.
    pub port: u16,
}

/// What stands between a way's number and the domain or relay in the name of a destination.
pub(super) const MARK: char = ' ';

impl Ways {
    /// Those ways, and `fallback` where none of them fits.
    pub(crate) fn new(mut ways: Vec<Way>, fallback: Option<Relay>, port: Option<u16>) -> Ways {
        ways.push(Way { relay: fallback, ..Way::new("*") });
        for way in &mut ways {
            way.domain = match way.domain.strip_prefix("*.") {
                Some(below) => format!("*.{}", folded(below)),
                None => folded(&way.domain),
            };
        }
        Ways { ways, port: port.unwrap_or(PORT) }
    }

    /// The destination that an address belongs to. All that has one name may share a connection.
    pub(crate) fn place(&self, address: &str) -> Place {
        let domain = folded(domain_of(address));
        // The last one is for everything.
        let number = self.ways.iter().position(|way| way.is_for(&domain)).unwrap_or_default();
        match self.ways.get(number).and_then(|way| way.relay.as_ref()) {
            Some(relay) => format!("{number}{MARK}{relay}").into(),
            None => format!("{number}{MARK}{domain}").into(),
        }
    }

    /// The way to a destination, and the domain or relay that it leads to.
    pub(crate) fn way<'w>(&'w self, place: &'w str) -> (&'w Way, &'w str) {
        let (number, name) = place.split_once(MARK).unwrap_or_default();
        let number = number.parse().unwrap_or(self.ways.len() - 1);
        (self.ways.get(number).unwrap_or(&self.ways[self.ways.len() - 1]), name)
    }

    pub(crate) fn all(&self) -> &[Way] {
        &self.ways
    }
}

/// Every destination of an envelope's recipients that aren't done with, once.
pub(crate) fn places(ways: &Ways, envelope: &medusa_mail::Envelope) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    for recipient in envelope.recipients.iter().filter(|recipient| !recipient.done) {
        let place = ways.place(&recipient.address);
        if !places.contains(&place) {
            places.push(Arc::clone(&place));
        }
    }
    places
}

/// What stands behind the last `@`.
pub(crate) fn domain_of(address: &str) -> &str {
    address.rsplit_once('@').map_or("", |(_, domain)| domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relays() {
        for (text, shown) in [
            ("mail.example.test", "mail.example.test:25"),
            ("Mail.example.test:587", "mail.example.test:587"),
            ("192.0.2.1", "192.0.2.1:25"),
            ("127.0.0.1:2600", "127.0.0.1:2600"),
            ("[2001:db8::1]", "[2001:db8::1]:25"),
            ("[2001:db8::1]:26", "[2001:db8::1]:26"),
        ] {
            assert_eq!(Relay::parse(text).map(|r| r.to_string()).as_deref(), Some(shown), "{text}");
        }
        for bad in ["", ":25", "a b", "a:0", "a:65536", "a:x", "[x]:25", "[::1]25", "2001:db8::1:x"]
        {
            assert_eq!(Relay::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_first_way_that_fits() {
        let mut relayed = Way::new("*.inner.test");
        relayed.relay = Relay::parse("hub.test:26");
        let ways = Ways::new(vec![Way::new("Example.org"), relayed], None, None);
        let place = |address: &str| ways.place(address).to_string();
        assert_eq!(place("a@EXAMPLE.org"), "0 example.org");
        assert_eq!(place("a@x.inner.test"), "1 hub.test:26");
        assert_eq!(place("\"a@b\"@y.INNER.test"), "1 hub.test:26");
        assert_eq!(place("a@inner.test"), "2 inner.test");
        assert_eq!(place("a@[192.0.2.1]"), "2 [192.0.2.1]");
        assert_eq!(place("a@b\u{fc}cher.test"), "2 xn--bcher-kva.test");
        let place = ways.place("a@x.inner.test");
        let (way, name) = ways.way(&place);
        assert_eq!((way.domain.as_str(), name), ("*.inner.test", "hub.test:26"));
    }
    #[test]
    fn a_way_is_for_both_forms_of_a_domain() {
        for pattern in ["B\u{dc}CHER.test", "XN--BCHER-KVA.test", "*.b\u{fc}cher.test"] {
            let ways = Ways::new(vec![Way::new(pattern)], None, None);
            let below = if pattern.starts_with('*') { "x." } else { "" };
            for domain in ["b\u{fc}cher.test", "xn--bcher-kva.TEST", "B\u{dc}cher.test"] {
                let place = ways.place(&format!("\u{fc}@{below}{domain}")).to_string();
                assert_eq!(place, format!("0 {below}xn--bcher-kva.test"), "{pattern} {domain}");
            }
        }
    }
}
