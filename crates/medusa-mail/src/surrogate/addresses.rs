//! A list of addresses in ASCII (RFC 6858 §2.1): an internationalized address becomes one that nobody has, and
//! its display name tells which it was. Names of other addresses become encoded words.
//!
//! Not a validating parser: whatever it is handed, ASCII comes out.

use super::words::encoded;

/// RFC 6858 §2.1 has it among its examples. Nobody can ever have it (RFC 2606 §2).
pub(super) const INVALID: &str = "invalid@internationalized-address.invalid";

/// The list with all that isn't ASCII replaced.
pub(super) fn replaced(list: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut begun = 0;
    let mut separator: &[u8] = b"";
    for (at, octet) in marks(list) {
        let part = list[begun..at].trim_ascii();
        begun = at + 1;
        match octet {
            // A group begins: its name is a phrase.
            b':' => {
                out.extend_from_slice(separator);
                phrase(part, &mut out);
                out.push(b':');
                separator = b"\r\n ";
            }
            _ => {
                if !part.is_empty() {
                    out.extend_from_slice(separator);
                    mailbox(part, &mut out);
                    separator = b",\r\n ";
                }
                if octet == b';' {
                    out.push(b';');
                    separator = b",\r\n ";
                }
            }
        }
    }
    let last = list[begun.min(list.len())..].trim_ascii();
    if !last.is_empty() {
        out.extend_from_slice(separator);
        mailbox(last, &mut out);
    }
    out
}

fn mailbox(text: &[u8], out: &mut Vec<u8>) {
    if text.is_ascii() {
        return out.extend_from_slice(text);
    }
    let begun = out.len();
    let angle = marked(text).find(|(_, octet)| *octet == b'<').map(|(at, _)| at);
    let (name, address) = match angle {
        Some(at) => {
            let (name, behind) = (&text[..at], &text[at + 1..]);
            let end = memchr::memrchr(b'>', behind).unwrap_or(behind.len());
            (name.trim_ascii(), behind[..end].trim_ascii())
        }
        // A name may stand in a comment behind it.
        None => match text.iter().position(|octet| *octet == b'(') {
            Some(at) => (text[at..].trim_ascii(), text[..at].trim_ascii()),
            None => (&b""[..], text),
        },
    };
    let address = match address.is_ascii() {
        true => {
            phrase(name, out);
            address
        }
        false => {
            let name = plain(name);
            let told = match name.is_empty() {
                true => address.to_vec(),
                false => [&name, &b" <"[..], address, b">"].concat(),
            };
            out.extend_from_slice(&encoded(&told));
            INVALID.as_bytes()
        }
    };
    out.extend_from_slice(if out.len() > begun { b"\r\n <" } else { b"<" });
    out.extend_from_slice(address);
    out.push(b'>');
}

/// A name, as it is if that is ASCII.
fn phrase(name: &[u8], out: &mut Vec<u8>) {
    match name.is_ascii() {
        true => out.extend_from_slice(name),
        false => out.extend_from_slice(&encoded(&plain(name))),
    }
}

/// A phrase without its quotes, or a comment without its parentheses.
fn plain(name: &[u8]) -> Vec<u8> {
    let name = match name {
        [b'(', inner @ .., b')'] => inner,
        name => name,
    };
    let (mut text, mut octets) = (Vec::new(), name.iter());
    while let Some(octet) = octets.next() {
        match octet {
            b'"' => {}
            b'\\' => text.extend(octets.next()),
            octet => text.push(*octet),
        }
    }
    text
}

/// Where a list is to be cut: at commas, and around groups.
fn marks(list: &[u8]) -> impl Iterator<Item = (usize, u8)> {
    marked(list).filter(|(_, octet)| b",:;".contains(octet))
}

/// What separates, outside quoted strings, comments, angles and domain literals.
fn marked(text: &[u8]) -> impl Iterator<Item = (usize, u8)> {
    let (mut quoted, mut escaped, mut depth, mut angle, mut literal) =
        (false, false, 0, false, false);
    text.iter().copied().enumerate().filter(move |(_, octet)| {
        if std::mem::take(&mut escaped) {
            return false;
        }
        let is_within = quoted || depth > 0;
        match octet {
            b'\\' => escaped = is_within,
            b'"' if depth == 0 => quoted = !quoted,
            b'(' if !quoted => depth += 1,
            b')' if !quoted && depth > 0 => depth -= 1,
            _ if is_within => {}
            b'<' => {
                return !std::mem::replace(&mut angle, true);
            }
            b'>' => angle = false,
            b'[' => literal = true,
            b']' => literal = false,
            b',' | b':' | b';' => return !angle && !literal,
            _ => {}
        }
        false
    })
}
