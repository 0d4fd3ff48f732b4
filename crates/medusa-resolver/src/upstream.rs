//! The servers that are asked: how they are written, and what is known of each.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// The port of DNS (RFC 1035 §4.2) and that of DNS over TLS (RFC 7858 §3.1).
pub(crate) const PORT: u16 = 53;
const TLS_PORT: u16 = 853;

/// A server that answers any question (a recursive or forwarding one), and how it is asked.
///
/// Written as `192.0.2.1`, `192.0.2.1:5353`, `2001:db8::1` or `[2001:db8::1]:5353` for UDP, with TCP where
/// that takes more; `tls://192.0.2.1#dns.example`, with or without a port, for DNS over TLS (RFC 7858),
/// where the certificate must be that of `dns.example`, or of the address where there is no name (strict
/// privacy, RFC 8310 §5).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Upstream {
    address: SocketAddr,
    secured: Option<String>,
}

impl Upstream {
    /// A server that is asked over UDP, and TCP where that takes more.
    pub fn new(address: SocketAddr) -> Self {
        Upstream { address, secured: None }
    }

    /// A server that is asked over TLS, whose certificate must be that of `name`.
    pub fn over_tls(address: SocketAddr, name: impl Into<String>) -> Self {
        Upstream { address, secured: Some(name.into()) }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whose certificate it must show, if it is asked over TLS.
    pub fn tls_name(&self) -> Option<&str> {
        self.secured.as_deref()
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.secured {
            Some(name) => write!(f, "tls://{}#{name}", self.address),
            None => self.address.fmt(f),
        }
    }
}

/// What is wrong with an upstream server as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadUpstream(String);

impl fmt::Display for BadUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is no name server: write `192.0.2.1`, `[2001:db8::1]:5353` or `tls://192.0.2.1#name`",
            self.0
        )
    }
}

impl std::error::Error for BadUpstream {}

impl FromStr for Upstream {
    type Err = BadUpstream;

    fn from_str(text: &str) -> Result<Self, BadUpstream> {
        let bad = || BadUpstream(text.into());
        let Some(rest) = text.strip_prefix("tls://") else {
            return Ok(Upstream::new(address_of(text, PORT).ok_or_else(bad)?));
        };
        let (address, name) = match rest.split_once('#') {
            Some((address, name)) => (address, Some(name)),
            None => (rest, None),
        };
        let address = address_of(address, TLS_PORT).ok_or_else(bad)?;
        let name = match name {
            Some(name) => crate::Name::new(name).map_err(|_| bad())?.to_string(),
            None => address.ip().to_string(),
        };
        Ok(Upstream::over_tls(address, name))
    }
}

fn address_of(text: &str, port: u16) -> Option<SocketAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let ip = bare.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, port));
    ip.or_else(|_| text.parse()).ok().filter(|address| address.port() != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_are_written_as_is_usual() {
        for (text, written) in [
            ("192.0.2.1", "192.0.2.1:53"),
            ("192.0.2.1:5353", "192.0.2.1:5353"),
            ("::1", "[::1]:53"),
            ("[::1]", "[::1]:53"),
            ("[::1]:5353", "[::1]:5353"),
            ("tls://192.0.2.1#Dns.Example", "tls://192.0.2.1:853#dns.example"),
            ("tls://[::1]:8853#dns.example", "tls://[::1]:8853#dns.example"),
            ("tls://192.0.2.1", "tls://192.0.2.1:853#192.0.2.1"),
        ] {
            let upstream: Upstream = text.parse().expect(text);
            assert_eq!(upstream.to_string(), written);
            assert_eq!(written.parse(), Ok(upstream));
        }
        for text in [
            "",
            "dns.example",
            "192.0.2.1:0",
            "tls://",
            "tls://dns.example",
            "tls://192.0.2.1#a..b",
        ] {
            assert_eq!(text.parse::<Upstream>(), Err(BadUpstream(text.into())));
        }
    }
}
