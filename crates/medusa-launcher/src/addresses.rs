//! Addresses that two listeners of a configuration want, be it by different spellings. What other programs
//! listen on turns out when they are bound.

use std::net::SocketAddr;

use medusa_core::config::Listen;

use crate::config::diagnostic::Diagnostic;
use crate::plan::Mount;

/// A listener that is written before others.
struct Claim {
    address: Listen,
    datagrams: bool,
    /// The table and key that name it.
    table: String,
    key: String,
}

/// Complains about each listener whose address an earlier one has.
pub(crate) fn refuse_shared(mounts: &[Mount<'_>], errors: &mut Vec<Diagnostic>) {
    let mut claims: Vec<Claim> = Vec::new();
    for Mount { table, service, .. } in mounts {
        let parts = service.parts();
        let streams = parts.listeners().iter().cloned().map(|listener| (listener, false));
        let datagrams = service.datagram_listeners().into_iter().map(|listener| (listener, true));
        for (listener, datagrams) in streams.chain(datagrams) {
            let meets = |claim: &&Claim| {
                claim.datagrams == datagrams && overlap(&claim.address, &listener.address)
            };
            let Some(claim) = claims.iter().find(meets) else {
                let (address, key) = (listener.address, listener.key);
                claims.push(Claim { address, datagrams, table: table.name.clone(), key });
                continue;
            };
            let place = table.find(&listener.key);
            // A name server's TCP and UDP come from one key: that is told once.
            if errors.iter().any(|error| error.span.as_ref() == Some(&place)) {
                continue;
            }
            let owner = match claim.table == table.name {
                true => format!("`{}`", claim.key),
                false => format!("`[{}]`", claim.table),
            };
            let complaint = match claim.address == listener.address {
                true => format!("`{}` is taken by {owner} already", listener.address),
                false => format!(
                    "`{}` is taken by {owner} already, which listens on `{}`",
                    listener.address, claim.address
                ),
            };
            errors.push(Diagnostic::new(complaint).at(place));
        }
    }
}

/// Whether the second can't be bound while the first is. IPv6's wildcard is bound for IPv6 alone.
fn overlap(one: &Listen, other: &Listen) -> bool {
    match (one, other) {
        (Listen::Inet(one), Listen::Inet(other)) => {
            // Port 0 is another port each time.
            let same_port = one.port() == other.port() && one.port() != 0;
            let wild = |address: &SocketAddr| address.ip().is_unspecified();
            let same_family = one.is_ipv4() == other.is_ipv4();
            same_port && same_family && (one.ip() == other.ip() || wild(one) || wild(other))
        }
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_take_every_address_of_their_family() {
        for (one, other, shared) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "0.0.0.0:80", true),
            ("[::]:80", "[::1]:80", true),
            ("[::]:80", "0.0.0.0:80", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("0.0.0.0:80", "127.0.0.1:81", false),
            ("0.0.0.0:0", "0.0.0.0:0", false),
            ("unix:a", "unix:a", true),
            ("unix:a", "unix:b", false),
        ] {
            let (one, other) = (one.parse().expect(one), other.parse().expect(other));
            assert_eq!(overlap(&one, &other), shared, "{one} and {other}");
        }
    }
}
