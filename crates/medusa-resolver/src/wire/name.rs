//! Names in wire form: labels with their lengths in front, uncompressed, up to the root's zero octet. How
//! they are read in a message is in `wire_name`.
//!
//! They are compared without regard to case by comparing their octets so: a length is at most 63, which
//! is no letter.

use super::Malformed;
use crate::name::Name;
pub(crate) use crate::wire_name::labels;
use crate::wire_name::wire_length;

/// A name's wire form.
pub(crate) fn wire_of(name: &Name) -> Vec<u8> {
    let mut wire = Vec::with_capacity(name.as_str().len() + 2);
    for label in name.labels() {
        // Checked names have labels of 63 octets at most.
        wire.push(label.len() as u8);
        wire.extend_from_slice(label.as_bytes());
    }
    wire.push(0);
    wire
}

/// The name that this is, if it is one that hosts and services have.
pub(crate) fn name_of(wire: &[u8]) -> Option<Name> {
    let mut text = String::with_capacity(wire.len());
    for label in labels(wire) {
        if !text.is_empty() {
            text.push('.');
        }
        // A dot within a label would make two of it.
        text.push_str(
            std::str::from_utf8(label).ok().filter(|l| l.is_ascii() && !l.contains('.'))?,
        );
    }
    if text.is_empty() { Some(Name::root()) } else { Name::new(&text).ok() }
}

/// The name without its leftmost label; none above the root.
pub(crate) fn parent(wire: &[u8]) -> Option<&[u8]> {
    let length = usize::from(*wire.first()?);
    wire.get(1 + length..).filter(|above| length > 0 && !above.is_empty())
}

/// A name as somebody else hands it over: checked, and in lower case.
pub(crate) fn canonical(wire: &[u8], into: &mut Vec<u8>) -> Result<(), Malformed> {
    if wire_length(wire)? != wire.len() {
        return Err(Malformed);
    }
    into.extend(wire.iter().map(u8::to_ascii_lowercase));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for text in [".", "a", "example.org", "_25._tcp.mx.example.org"] {
            let name = Name::new(text).expect("a name");
            let wire = wire_of(&name);
            assert_eq!(name_of(&wire), Some(name));
            let mut lower = Vec::new();
            assert_eq!(canonical(&wire.to_ascii_uppercase(), &mut lower), Ok(()));
            assert_eq!(lower, wire);
        }
        assert_eq!(name_of(b"\x03a.b\0"), None);
        assert_eq!(name_of(b"\x02a\0\0"), None);
        assert_eq!(parent(b"\x01a\x01b\0"), Some(&b"\x01b\0"[..]));
        assert_eq!(parent(b"\x01b\0"), Some(&b"\0"[..]));
        assert_eq!(parent(b"\0"), None);
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let mut long = vec![[&[63][..], &[b'a'; 63]].concat(); 4].concat();
        long.push(0);
        for wire in [&b""[..], b"\x01", b"\x01a", b"\x01a\0\0", b"\xc0\x0c", b"\x40", &long] {
            assert_eq!(canonical(wire, &mut Vec::new()), Err(Malformed), "{wire:?}");
        }
    }
}
