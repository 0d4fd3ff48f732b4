//! What is said by EDNS in an answer (RFC 6891): the OPT record and its options.
//!
//! What a query says by it is read in `wire`.

use super::cookie::{self, Cookie};
use super::writer::Writer;
use super::{Asker, Settings, Transport};
use crate::types::{Rcode, RecordType};
use crate::wire::{Edns, option};

/// The octets of an OPT record without options.
const FIXED: usize = 11;

/// The most octets of a server's id: with it, a question for the longest name and everything else that is
/// said here still fit into 512 octets.
pub(crate) const MAX_NSID: usize = 128;

/// An extended error (RFC 8914 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extended(u16);

impl Extended {
    pub(super) const STALE: Extended = Extended(3);
    pub(super) const NOT_AUTHORITATIVE: Extended = Extended(20);
    pub(super) const UNREACHABLE: Extended = Extended(22);
}

/// What an answer will say.
pub(super) struct Reply<'s> {
    payload: u16,
    dnssec: bool,
    nsid: Option<&'s [u8]>,
    keepalive: Option<u16>,
    padding: bool,
    cookie: Option<Cookie>,
}

impl<'s> Reply<'s> {
    /// What is due to a query.
    #[inline]
    pub(super) fn to(edns: &Edns<'_>, settings: &'s Settings, asker: &Asker) -> Self {
        let connected = asker.transport != Transport::Udp;
        Reply {
            payload: settings.payload,
            dnssec: edns.dnssec,
            nsid: settings.nsid.as_deref().filter(|nsid| edns.nsid && nsid.len() <= MAX_NSID),
            keepalive: (edns.keepalive && connected).then_some(settings.keepalive),
            padding: edns.padding && asker.transport == Transport::Secured,
            cookie: cookie_of(edns, settings, asker),
        }
    }

    /// Whether the query's cookie can be none.
    #[inline]
    pub(super) fn is_malformed(&self) -> bool {
        self.cookie == Some(Cookie::Malformed)
    }

    /// Whether the query's cookie is one of ours.
    #[inline]
    pub(super) fn is_known(&self) -> bool {
        matches!(self.cookie, Some(Cookie::Sound { is_ours: true, .. }))
    }

    /// How many octets it takes, extended errors and padding not counted: those are sent if they fit.
    #[inline]
    pub(super) fn len(&self) -> usize {
        let nsid = self.nsid.map_or(0, |nsid| 4 + nsid.len());
        let keepalive = self.keepalive.map_or(0, |_| 6);
        let cookie = match self.cookie {
            Some(Cookie::Sound { .. }) => 4 + cookie::WHOLE,
            _ => 0,
        };
        FIXED + nsid + keepalive + cookie
    }

    /// Appends the OPT record.
    #[inline]
    pub(super) fn write(&self, rcode: Rcode, extended: Option<Extended>, writer: &mut Writer<'_>) {
        if extended.is_none() && !self.padding && self.len() == FIXED {
            let [high, low] = self.payload.to_be_bytes();
            let dnssec = if self.dnssec { 0x80 } else { 0 };
            let rcode = (rcode.0 >> 4) as u8;
            return writer.append(|out| {
                out.extend_from_slice(&[0, 0, 41, high, low, rcode, 0, dnssec, 0, 0, 0])
            });
        }
        let extended = extended.filter(|_| writer.room() >= self.len() + 6);
        let plain = self.len() + extended.map_or(0, |_| 6);
        let padding = self.padding.then(|| padding(writer.len() + plain, writer.room(), plain));
        writer.append(|out| {
            out.push(0);
            out.extend_from_slice(&RecordType::OPT.0.to_be_bytes());
            out.extend_from_slice(&self.payload.to_be_bytes());
            let dnssec = if self.dnssec { 0x80 } else { 0 };
            out.extend_from_slice(&[(rcode.0 >> 4) as u8, 0, dnssec, 0]);
            let length = plain - FIXED + padding.flatten().map_or(0, |octets| octets + 4);
            out.extend_from_slice(&(length as u16).to_be_bytes());
            if let Some(nsid) = self.nsid {
                put(out, option::NSID, nsid);
            }
            if let Some(keepalive) = self.keepalive {
                put(out, option::KEEPALIVE, &keepalive.to_be_bytes());
            }
            if let Some(Cookie::Sound { reply, .. }) = &self.cookie {
                put(out, option::COOKIE, reply);
            }
            if let Some(Extended(code)) = extended {
                put(out, option::EXTENDED_ERROR, &code.to_be_bytes());
            }
            if let Some(octets) = padding.flatten() {
                out.extend_from_slice(&option::PADDING.to_be_bytes());
                out.extend_from_slice(&(octets as u16).to_be_bytes());
                out.resize(out.len() + octets, 0);
            }
        });
    }
}

#[inline]
fn cookie_of(edns: &Edns<'_>, settings: &Settings, asker: &Asker) -> Option<Cookie> {
    let secret = settings.cookie_secret.as_ref()?;
    Some(cookie::look(secret, edns.cookie?, asker.address?, asker.now))
}

/// How many octets of padding make a message of so many octets one of a multiple of 468 (RFC 8467
/// §4.1), or as long as it may be. None if not even the option's head fits.
fn padding(length: usize, room: usize, plain: usize) -> Option<usize> {
    const BLOCK: usize = 468;
    let free = room.checked_sub(plain + 4)?;
    let wanted = (length + 4).next_multiple_of(BLOCK) - (length + 4);
    Some(wanted.min(free))
}

fn put(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(&(value.len() as u16).to_be_bytes());
    out.extend_from_slice(value);
}
