//! Where data will go through: PORT, PASV (RFC 959), EPRT, EPSV (RFC 2428).
//!
//! A channel is for one transfer. Its other end must be the control connection's peer: others can't
//! connect to it, and it isn't opened to others (RFC 2577).

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use medusa_core::tls::Facts;
use medusa_core::{Address, Cx, Listening, Remote};
use medusa_text::code;

use super::{DATA, FtpSession, say};
use crate::data::{DataAcceptor, Name, Order, PATIENCE};
use crate::passive::Lease;

/// So many ports are tried before it is said that none is free.
const TRIES: usize = 16;

/// A data connection that was asked for.
#[derive(Debug, Default)]
pub(super) enum Channel {
    #[default]
    None,
    /// A port is being bound.
    Binding { inlet: Address, lease: Lease, tries: usize, extended: bool },
    /// Somebody may connect. The lease is held as long as the port is listened on.
    Listening { inlet: Address, _lease: Lease },
    /// We are to connect.
    Target(SocketAddr),
    /// We are connecting.
    Connecting(Address),
    /// It stands, and is this one of those that came.
    Open(Remote, u32),
    /// It stood and its TLS session was another's.
    Unbound,
}

impl Channel {
    /// The data connection that stands.
    pub(super) fn connected(&self) -> Option<&Remote> {
        match self {
            Channel::Open(remote, _) => Some(remote),
            _ => None,
        }
    }
}

impl FtpSession {
    pub(super) fn pasv(&mut self, cx: &mut Cx<'_>) {
        self.listen(cx, false);
    }

    pub(super) fn epsv(&mut self, cx: &mut Cx<'_>, argument: &[u8]) {
        let is_v6 = local_ip(cx).is_some_and(|ip| ip.is_ipv6());
        match argument.trim_ascii().to_ascii_uppercase().as_slice() {
            b"ALL" => {
                self.only_epsv = true;
                say(cx, 200, "EPSV it is from now on");
            }
            b"" => self.listen(cx, true),
            b"1" if !is_v6 => self.listen(cx, true),
            b"2" if is_v6 => self.listen(cx, true),
            number if number.iter().any(|octet| !octet.is_ascii_digit()) => {
                say(cx, 501, "Syntax: EPSV [1|2|ALL]");
            }
            _ if is_v6 => say(cx, 522, "Network protocol not supported, use (2)"),
            _ => say(cx, 522, "Network protocol not supported, use (1)"),
        }
    }

    pub(super) fn port(&mut self, cx: &mut Cx<'_>, argument: &[u8]) {
        match read_port(argument) {
            Some(target) => self.target(cx, target),
            None => say(cx, 501, "Syntax: PORT h1,h2,h3,h4,p1,p2"),
        }
    }

    pub(super) fn eprt(&mut self, cx: &mut Cx<'_>, argument: &[u8]) {
        match read_eprt(argument) {
            Ok(target) => self.target(cx, target),
            Err(Eprt::Family) => say(cx, 522, "Network protocol not supported, use (1,2)"),
            Err(Eprt::Syntax) => say(cx, 501, "Syntax: EPRT |family|address|port|"),
        }
    }

    fn target(&mut self, cx: &mut Cx<'_>, target: SocketAddr) {
        let target = SocketAddr::new(target.ip().to_canonical(), target.port());
        if self.only_epsv {
            say(cx, 503, "It was said that EPSV is all that will be used");
        } else if Some(target.ip()) != cx.peer().remote.ip() || target.port() < 1024 {
            tracing::info!(peer = %cx.peer().remote, %target, "a data connection elsewhere is refused");
            say(cx, 504, "Data goes to your own address, and to no privileged port");
        } else {
            self.drop_channel(cx);
            self.channel = Channel::Target(target);
            say(cx, 200, "There it will go");
        }
    }

    fn listen(&mut self, cx: &mut Cx<'_>, extended: bool) {
        if self.only_epsv && !extended {
            return say(cx, 503, "It was said that EPSV is all that will be used");
        }
        self.drop_channel(cx);
        // Nor does another address help: the port is one of the address that the client talks to.
        if !extended && !matches!(local_ip(cx), Some(IpAddr::V4(_))) {
            return say(cx, 425, "There is no IPv4 address here, use EPSV");
        }
        let tries = self.shared.ports.count().min(TRIES);
        self.bind(cx, None, tries, extended);
    }

    /// Binds a port, another than that of `failed`.
    fn bind(&mut self, cx: &mut Cx<'_>, failed: Option<Lease>, tries: usize, extended: bool) {
        let lease = self.shared.ports.lend();
        drop(failed);
        let (Some(lease), Some(ip), true) = (lease, local_ip(cx), tries > 0) else {
            self.channel = Channel::None;
            return say(cx, 425, "No port is free");
        };
        self.serial += 1;
        let peer = cx.peer().remote.ip();
        let next = Name { serial: self.serial, index: 0 };
        let acceptor = DataAcceptor { control: cx.remote(), next, peer };
        let bind = lease.ports().iter().map(|&port| SocketAddr::new(ip, port)).collect();
        let inlet = cx.listen_private(bind, Box::new(acceptor), self.is_protected);
        self.channel = Channel::Binding { inlet, lease, tries: tries - 1, extended };
        self.is_busy = true;
    }

    pub(super) fn listening(&mut self, cx: &mut Cx<'_>, listening: Listening) {
        match std::mem::take(&mut self.channel) {
            Channel::Binding { inlet, lease, tries, extended } if inlet == listening.id => {
                self.is_busy = false;
                match listening.bound {
                    Ok(bound) => {
                        self.channel = Channel::Listening { inlet, _lease: lease };
                        cx.arm(DATA, PATIENCE);
                        self.tell_port(cx, bound, extended);
                    }
                    // Another program has it.
                    Err(_) => self.bind(cx, Some(lease), tries, extended),
                }
                self.go_on(cx);
            }
            channel => self.channel = channel,
        }
    }

    fn tell_port(&self, cx: &mut Cx<'_>, bound: SocketAddr, extended: bool) {
        let port = bound.port();
        let mut text = String::new();
        let code =
            match (extended, self.shared.passive_address.map(IpAddr::V4).unwrap_or(bound.ip())) {
                (false, IpAddr::V4(ip)) => {
                    let [a, b, c, d] = ip.octets();
                    let (high, low) = (port >> 8, port & 0xff);
                    let _ = write!(text, "Entering Passive Mode ({a},{b},{c},{d},{high},{low})");
                    227
                }
                _ => {
                    let _ = write!(text, "Entering Extended Passive Mode (|||{port}|)");
                    229
                }
            };
        cx.compose(|out| code::reply(out, code, &text));
    }

    /// Ends whatever data connection there is or would be.
    pub(super) fn drop_channel(&mut self, cx: &mut Cx<'_>) {
        match std::mem::take(&mut self.channel) {
            Channel::None | Channel::Target(_) | Channel::Unbound => {}
            Channel::Binding { inlet, .. } | Channel::Listening { inlet, .. } => cx.unlisten(inlet),
            Channel::Connecting(address) => cx.notify(address, Order::Abandon),
            Channel::Open(remote, _) => cx.notify(remote.address(), Order::Abandon),
        }
        // What is still to be heard of it is old.
        self.serial += 1;
    }

    /// Nobody else may come.
    pub(super) fn close_port(&self, cx: &mut Cx<'_>) {
        if let Channel::Listening { inlet, .. } = &self.channel {
            cx.unlisten(*inlet);
        }
    }

    /// A data connection stands; whether it may be used.
    pub(super) fn data_opened(
        &mut self,
        cx: &mut Cx<'_>,
        remote: Remote,
        index: u32,
        tls: Option<Arc<Facts>>,
    ) {
        self.close_port(cx);
        if self.transfer.is_none() {
            cx.disarm(DATA);
        }
        let is_bound = self.is_bound(tls.as_deref());
        if let (true, Some(facts)) = (is_bound, &tls) {
            self.remember_ticket(facts.session);
        }
        self.channel = match is_bound {
            true => Channel::Open(remote, index),
            false => {
                tracing::info!(peer = %cx.peer().remote, "a data connection resumes no TLS session of its own");
                cx.notify(remote.address(), Order::Abandon);
                self.serial += 1;
                Channel::Unbound
            }
        };
    }

    /// Whether a data connection's TLS proves that it is the control connection's client.
    fn is_bound(&self, tls: Option<&Facts>) -> bool {
        match tls {
            None => !self.is_protected,
            Some(_) if !self.shared.data_tls_binding => true,
            Some(facts) => facts.resumes.is_some_and(|session| self.tickets.contains(&session)),
        }
    }
}

/// The address that the control connection came in by.
fn local_ip(cx: &Cx<'_>) -> Option<IpAddr> {
    cx.peer().local.ip()
}

fn read_port(argument: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(argument).ok()?.trim();
    // Rust would take a sign too.
    let number = |part: &str| part.trim().parse().ok().filter(|_| !part.contains('+'));
    let numbers: Vec<u8> = text.split(',').map(number).collect::<Option<_>>()?;
    let [a, b, c, d, high, low] = numbers.try_into().ok()?;
    let port = u16::from_be_bytes([high, low]);
    Some(SocketAddr::from((Ipv4Addr::new(a, b, c, d), port)))
}

/// What is wrong with an EPRT.
#[derive(Debug, PartialEq, Eq)]
enum Eprt {
    Family,
    Syntax,
}

fn read_eprt(argument: &[u8]) -> Result<SocketAddr, Eprt> {
    let text = std::str::from_utf8(argument).map_err(|_| Eprt::Syntax)?.trim();
    let mark = text.chars().next().filter(char::is_ascii).ok_or(Eprt::Syntax)?;
    let parts: Vec<&str> = text.split(mark).collect();
    let ["", family, address, port, ""] = parts[..] else { return Err(Eprt::Syntax) };
    let ip: IpAddr = match family {
        "1" => address.parse().map(IpAddr::V4).map_err(|_| Eprt::Syntax)?,
        "2" => address.parse().map(IpAddr::V6).map_err(|_| Eprt::Syntax)?,
        _ if family.parse::<u32>().is_ok() => return Err(Eprt::Family),
        _ => return Err(Eprt::Syntax),
    };
    let port = port.parse().ok().filter(|_| !port.contains('+'));
    Ok(SocketAddr::new(ip, port.ok_or(Eprt::Syntax)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        assert_eq!(read_port(b"127,0,0,1,4,1").unwrap().to_string(), "127.0.0.1:1025");
        for wrong in [
            "",
            "127,0,0,1,4",
            "127,0,0,1,+4,1",
            "127,0,0,1,4,1,1",
            "127,0,0,256,4,1",
            "a,b,c,d,e,f",
        ] {
            assert_eq!(read_port(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(read_eprt(b"|1|192.0.2.1|6275|").unwrap().to_string(), "192.0.2.1:6275");
        assert_eq!(read_eprt(b"!2!::1!6275!").unwrap().to_string(), "[::1]:6275");
        assert_eq!(read_eprt(b"|3|x|1|"), Err(Eprt::Family));
        for wrong in [
            "",
            "|",
            "||||",
            "|1|127.0.0.1|+2000|",
            "|1|::1|6275|",
            "|1|192.0.2.1|65536|",
            "|1|192.0.2.1|1",
        ] {
            assert_eq!(read_eprt(wrong.as_bytes()), Err(Eprt::Syntax), "{wrong}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_is_sent_panics(octets in "[0-9,|.:!a-f\u{e9}]{0,30}") {
            let _ = (read_port(octets.as_bytes()), read_eprt(octets.as_bytes()));
        }
    }
}
