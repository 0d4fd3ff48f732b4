//! Addresses and control messages as the Linux kernel lays them out, read and written as bytes.
//!
//! Pure. A `sockaddr` says who sent a datagram; a packet-info control message says to which of our
//! addresses it was sent, and from which one an answer is to go (ip(7), RFC 3542 §6).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const IPPROTO_IP: i32 = 0;
const IPPROTO_IPV6: i32 = 41;
const IP_PKTINFO: i32 = 8;
const IPV6_PKTINFO: i32 = 50;

/// Length, level and type: a `cmsghdr` as the kernel has it, with its `size_t` in front.
const CONTROL_HEAD: usize = size_of::<usize>() + 8;

/// A `sockaddr_in` or `sockaddr_in6`.
#[derive(Clone, Copy, Default)]
#[repr(C, align(8))]
pub(crate) struct RawAddress([u8; 28]);

/// Control messages: room for one packet-info of either family, and for a little that is not asked
/// for.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct RawControl([u8; 64]);

impl Default for RawControl {
    fn default() -> Self {
        RawControl([0; 64])
    }
}

impl RawAddress {
    pub(crate) const CAPACITY: usize = 28;

    /// Writes an address and says how long it is.
    pub(crate) fn write(&mut self, address: SocketAddr) -> usize {
        let bytes = &mut self.0;
        bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        match address {
            SocketAddr::V4(address) => {
                bytes[..2].copy_from_slice(&AF_INET.to_ne_bytes());
                bytes[4..8].copy_from_slice(&address.ip().octets());
                bytes[8..16].fill(0);
                16
            }
            SocketAddr::V6(address) => {
                bytes[..2].copy_from_slice(&AF_INET6.to_ne_bytes());
                bytes[4..8].copy_from_slice(&address.flowinfo().to_ne_bytes());
                bytes[8..24].copy_from_slice(&address.ip().octets());
                bytes[24..28].copy_from_slice(&address.scope_id().to_ne_bytes());
                28
            }
        }
    }

    /// The address, if it is one of the two families.
    pub(crate) fn read(&self) -> Option<SocketAddr> {
        let [f0, f1, p0, p1, a, b, c, d, ..] = self.0;
        let port = u16::from_be_bytes([p0, p1]);
        match u16::from_ne_bytes([f0, f1]) {
            AF_INET => Some(SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), port).into()),
            AF_INET6 => {
                let ip: [u8; 16] = self.0[8..24].try_into().ok()?;
                let scope: [u8; 4] = self.0[24..28].try_into().ok()?;
                let flowinfo = u32::from_ne_bytes([a, b, c, d]);
                let scope = u32::from_ne_bytes(scope);
                Some(SocketAddrV6::new(Ipv6Addr::from(ip), port, flowinfo, scope).into())
            }
            _ => None,
        }
    }
}

impl RawControl {
    pub(crate) const CAPACITY: usize = 64;

    /// Writes that a datagram is to be sent from `source`, and says how long that is. The interface is
    /// left to the route.
    pub(crate) fn write(&mut self, source: IpAddr) -> usize {
        let (level, kind, length) = match source {
            IpAddr::V4(_) => (IPPROTO_IP, IP_PKTINFO, 12),
            IpAddr::V6(_) => (IPPROTO_IPV6, IPV6_PKTINFO, 20),
        };
        let (head, data) = self.0.split_at_mut(CONTROL_HEAD);
        let (size, rest) = head.split_at_mut(size_of::<usize>());
        size.copy_from_slice(&(CONTROL_HEAD + length).to_ne_bytes());
        rest[..4].copy_from_slice(&i32::to_ne_bytes(level));
        rest[4..].copy_from_slice(&i32::to_ne_bytes(kind));
        data[..length].fill(0);
        match source {
            // in_pktinfo: interface, source, destination.
            IpAddr::V4(ip) => data[4..8].copy_from_slice(&ip.octets()),
            // in6_pktinfo: address, interface.
            IpAddr::V6(ip) => data[..16].copy_from_slice(&ip.octets()),
        }
        CONTROL_HEAD + length.next_multiple_of(size_of::<usize>())
    }

    /// The address of ours that a datagram was sent to, from the first `length` bytes. For IPv4 it is
    /// the one to answer from, also where the datagram was sent to a broadcast address.
    pub(crate) fn read(&self, length: usize) -> Option<IpAddr> {
        let mut rest = self.0.get(..length)?;
        while let Some((size, after)) = rest.split_at_checked(size_of::<usize>()) {
            let size = usize::from_ne_bytes(size.try_into().ok()?);
            let level = i32::from_ne_bytes(after.get(..4)?.try_into().ok()?);
            let kind = i32::from_ne_bytes(after.get(4..8)?.try_into().ok()?);
            let data = rest.get(CONTROL_HEAD..size)?;
            match (level, kind) {
                (IPPROTO_IP, IP_PKTINFO) => {
                    let ip: [u8; 4] = data.get(4..8)?.try_into().ok()?;
                    return Some(Ipv4Addr::from(ip).into());
                }
                (IPPROTO_IPV6, IPV6_PKTINFO) => {
                    let ip: [u8; 16] = data.get(..16)?.try_into().ok()?;
                    return Some(Ipv6Addr::from(ip).into());
                }
                _ => rest = rest.get(size.next_multiple_of(size_of::<usize>())..)?,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back() {
        for text in ["192.0.2.1:53", "[2001:db8::1]:5353", "[fe80::1%3]:53", "0.0.0.0:0"] {
            let address: SocketAddr = text.parse().unwrap();
            let mut raw = RawAddress([0xaa; 28]);
            assert_eq!(raw.write(address), if address.is_ipv4() { 16 } else { 28 });
            assert_eq!(raw.read(), Some(address));
        }
        assert_eq!(RawAddress::default().read(), None);
    }

    #[test]
    fn sources_come_back() {
        for text in ["192.0.2.1", "2001:db8::1"] {
            let ip: IpAddr = text.parse().unwrap();
            let mut raw = RawControl([0xaa; 64]);
            let length = raw.write(ip);
            assert_eq!(length, if ip.is_ipv4() { 32 } else { 40 });
            assert_eq!(raw.read(length), Some(ip));
        }
    }

    #[test]
    fn a_message_that_was_not_asked_for_is_passed_over() {
        let ip: IpAddr = "192.0.2.1".parse().unwrap();
        let mut inner = RawControl::default();
        let length = inner.write(ip);
        let mut raw = RawControl::default();
        let size = CONTROL_HEAD + 4;
        raw.0[..size_of::<usize>()].copy_from_slice(&size.to_ne_bytes());
        let start = size.next_multiple_of(size_of::<usize>());
        raw.0[start..start + length].copy_from_slice(&inner.0[..length]);
        assert_eq!(raw.read(start + length), Some(ip));
        assert_eq!(raw.read(start), None);
        assert_eq!(raw.read(0), None);
        assert_eq!(raw.read(1000), None);
        // A length that lies, a length of nothing.
        raw.0[..size_of::<usize>()].copy_from_slice(&usize::MAX.to_ne_bytes());
        assert_eq!(raw.read(64), None);
        raw.0[..size_of::<usize>()].fill(0);
        assert_eq!(raw.read(64), None);
    }
}
