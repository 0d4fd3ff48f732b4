//! The Telnet that is in a control connection (RFC 959 §2.3, RFC 854): commands are taken out of lines,
//! and names are kept from looking like one.
//!
//! Nothing is negotiated: no client of FTP does.

use std::borrow::Cow;

use memchr::memchr;

/// "Interpret as command".
const IAC: u8 = 0xff;

/// `line` without the Telnet commands at its start, which come before ABOR and STAT (RFC 959 §4.1.3, and
/// the data mark of a Synch, which the system may have taken out of the stream), and with doubled 0xFF
/// as one. A single 0xFF in a name is taken for what it is: many clients never double it.
pub(crate) fn stripped(line: &[u8]) -> Cow<'_, [u8]> {
    if memchr(IAC, line).is_none() {
        return Cow::Borrowed(line);
    }
    let mut rest = line;
    loop {
        rest = match rest {
            // WILL, WON'T, DO, DON'T and their option.
            [IAC, 0xfb..=0xfe, _, rest @ ..] => rest,
            // From "end of subnegotiation" to "go ahead": IP and DM are among them.
            [IAC, 0xf0..=0xfa, rest @ ..] => rest,
            // No verb begins with it: what followed was sent out of band.
            [IAC, rest @ ..] => rest,
            _ => break,
        };
    }
    if memchr(IAC, rest).is_none() {
        return Cow::Borrowed(rest);
    }
    let mut text = Vec::with_capacity(rest.len());
    let mut octets = rest.iter().copied().peekable();
    while let Some(octet) = octets.next() {
        text.push(octet);
        if octet == IAC {
            octets.next_if_eq(&IAC);
        }
    }
    Cow::Owned(text)
}

/// Appends a name to a reply: 0xFF is doubled, and what could end the line or command a terminal is shown
/// as `?`.
pub(crate) fn push_name(out: &mut Vec<u8>, name: &[u8]) {
    for &octet in name {
        match octet {
            IAC => out.extend_from_slice(&[IAC, IAC]),
            0..=0x1f | 0x7f => out.push(b'?'),
            _ => out.push(octet),
        }
    }
}

/// The same in double quotes, those of the name doubled (RFC 959 Appendix II).
pub(crate) fn push_quoted(out: &mut Vec<u8>, name: &[u8]) {
    out.push(b'"');
    for part in name.split_inclusive(|&octet| octet == b'"') {
        push_name(out, part);
        if part.ends_with(b"\"") {
            out.push(b'"');
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_taken_out_at_the_start() {
        for (line, expected) in [
            (&b"NOOP"[..], &b"NOOP"[..]),
            (b"\xff\xf4\xff\xf2ABOR", b"ABOR"),
            (b"\xff\xf4\xffABOR", b"ABOR"),
            (b"\xf2ABOR", b"\xf2ABOR"),
            (b"\xff\xfb\x01STAT", b"STAT"),
            (b"RETR a\xff\xffb", b"RETR a\xffb"),
            (b"RETR a\xffb", b"RETR a\xffb"),
            (b"RETR \xff", b"RETR \xff"),
            (b"\xff", b""),
            (b"", b""),
        ] {
            assert_eq!(&*stripped(line), expected, "{line:?}");
        }
    }

    #[test]
    fn names_are_quoted() {
        let mut out = Vec::new();
        push_quoted(&mut out, b"/a\"b\r\n226 done\x1b\xff\xc3\xa9\"");
        assert_eq!(out, b"\"/a\"\"b??226 done?\xff\xff\xc3\xa9\"\"\"");
    }
}
