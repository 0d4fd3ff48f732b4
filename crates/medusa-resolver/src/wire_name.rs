//! Domain names as they stand in messages (RFC 1035 §3.1, §4.1.4): read within the bounds of the message, with
//! pointers that lead back and come to an end.
//!
//! Whoever reads a name reads it here, whether it asks or answers. Names of hosts and services, checked and as
//! text, are [`Name`](crate::Name); case is the caller's.

/// The most octets of a name, with the length of each label and the root's (RFC 1035 §2.3.4).
pub const MAX_NAME: usize = 255;
/// The most octets of a label.
pub const MAX_LABEL: usize = 63;
/// The most labels of a name, the root's not counted: each takes two octets at least.
pub const MAX_LABELS: usize = 127;

/// What stands before all names in a message (RFC 1035 §4.1.1).
const HEADER: usize = 12;

/// What is wrong with a name on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The message ends inside it.
    #[error("the name is cut off")]
    CutOff,
    /// More than 255 octets.
    #[error("the name is longer than 255 octets")]
    TooLong,
    /// A label that is neither a plain one nor a pointer.
    #[error("a label of a kind that there is not")]
    Label,
    /// A pointer that doesn't point to what came before, so that it may go round for ever; one into the header,
    /// where no name is; or one more than a name has labels.
    #[error("a compression pointer that doesn't point back to a name, or too many of them")]
    Pointer,
}

/// The labels of an uncompressed name, the leftmost first, without their lengths and without the root's.
pub fn labels(wire: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = wire;
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first()?;
        let label = after.get(..usize::from(*length)).filter(|label| !label.is_empty())?;
        rest = &after[label.len()..];
        Some(label)
    })
}

/// How many octets the uncompressed name at the front of `wire` has.
///
/// # Errors
///
/// It is cut off, too long, or has a label of another kind.
#[inline]
pub fn wire_length(wire: &[u8]) -> Result<usize, NameError> {
    let mut at = 0;
    loop {
        let length = usize::from(*wire.get(at).ok_or(NameError::CutOff)?);
        if length > MAX_LABEL {
            return Err(NameError::Label);
        }
        at += length + 1;
        if at > MAX_NAME {
            return Err(NameError::TooLong);
        }
        if length == 0 {
            return Ok(at);
        }
    }
}

/// How many octets a name takes where it stands: its labels up to the root or to a pointer, which isn't
/// followed.
///
/// # Errors
///
/// It is cut off, too long, or has a label of another kind.
#[inline]
pub fn span(wire: &[u8]) -> Result<usize, NameError> {
    let mut at = 0;
    loop {
        match *wire.get(at).ok_or(NameError::CutOff)? {
            0 => return Ok(at + 1),
            length @ 1..=63 => at += usize::from(length) + 1,
            0xC0.. => return wire.get(at + 1).map(|_| at + 2).ok_or(NameError::CutOff),
            _ => return Err(NameError::Label),
        }
        // One octet stays for the root.
        if at >= MAX_NAME {
            return Err(NameError::TooLong);
        }
    }
}

/// Appends the name at `at` of `message` to `out`, its pointers followed and its case kept. Returns where
/// the message goes on behind it. Each pointer must point before the name or pointer that led to it (RFC
/// 9267 §2), and there may be no more of them than labels, so that there is an end, and soon.
///
/// # Errors
///
/// Whatever is wrong with it; `out` is as it was then.
pub fn expand(message: &[u8], at: usize, out: &mut Vec<u8>) -> Result<usize, NameError> {
    let start = out.len();
    let outcome = follow(message, at, out, start);
    if outcome.is_err() {
        out.truncate(start);
    }
    outcome
}

fn follow(
    message: &[u8],
    mut at: usize,
    out: &mut Vec<u8>,
    start: usize,
) -> Result<usize, NameError> {
    let mut behind = None;
    let mut lowest = at;
    let mut hops = 0;
    loop {
        let length = *message.get(at).ok_or(NameError::CutOff)?;
        match length {
            0 => {
                out.push(0);
                return Ok(behind.unwrap_or(at + 1));
            }
            1..=63 => {
                let end = at + 1 + usize::from(length);
                let label = message.get(at..end).ok_or(NameError::CutOff)?;
                // One octet stays for the root.
                if out.len() - start + label.len() >= MAX_NAME {
                    return Err(NameError::TooLong);
                }
                out.extend_from_slice(label);
                at = end;
            }
            0xC0.. => {
                let low = *message.get(at + 1).ok_or(NameError::CutOff)?;
                let target = usize::from(length & 0x3F) << 8 | usize::from(low);
                hops += 1;
                // Pointers to pointers are of no use to anybody but who wants us busy.
                if target >= lowest || target < HEADER || hops > MAX_LABELS {
                    return Err(NameError::Pointer);
                }
                behind.get_or_insert(at + 2);
                lowest = target;
                at = target;
            }
            _ => return Err(NameError::Label),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wire(text: &str) -> Vec<u8> {
        let mut wire = Vec::new();
        for label in text.split('.').filter(|label| !label.is_empty()) {
            wire.push(label.len() as u8);
            wire.extend_from_slice(label.as_bytes());
        }
        wire.push(0);
        wire
    }

    /// A message that holds these octets behind its header.
    fn message(body: &[u8]) -> Vec<u8> {
        [&[0; HEADER], body].concat()
    }

    #[test]
    fn lengths_have_bounds() {
        let longest = wire(&format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61)));
        assert_eq!(longest.len(), MAX_NAME);
        assert_eq!((wire_length(&longest), span(&longest)), (Ok(255), Ok(255)));
        assert_eq!(expand(&longest, 0, &mut Vec::new()), Ok(255));
        assert_eq!(labels(&longest).map(<[u8]>::len).collect::<Vec<_>>(), [63, 63, 63, 61]);
        let longer = wire(&format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(62)));
        assert_eq!(wire_length(&longer), Err(NameError::TooLong));
        assert_eq!(span(&longer), Err(NameError::TooLong));
        assert_eq!(expand(&longer, 0, &mut Vec::new()), Err(NameError::TooLong));
        for (bytes, error) in [
            (&b""[..], NameError::CutOff),
            (b"\x01", NameError::CutOff),
            (b"\x01a", NameError::CutOff),
            (b"\x40a", NameError::Label),
            (b"\x80a", NameError::Label),
        ] {
            assert_eq!(wire_length(bytes), Err(error), "{bytes:?}");
            assert_eq!(span(bytes), Err(error), "{bytes:?}");
            assert_eq!(expand(bytes, 0, &mut Vec::new()), Err(error), "{bytes:?}");
        }
        // A pointer ends a name where it stands, and is none of what stands uncompressed.
        assert_eq!(span(b"\x01a\xC0\x0Cx"), Ok(4));
        assert_eq!(span(b"\x01a\xC0"), Err(NameError::CutOff));
        assert_eq!(wire_length(b"\x01a\xC0\x0C"), Err(NameError::Label));
    }

    #[test]
    fn pointers_lead_back_and_come_to_an_end() {
        let mut bytes = message(&wire("example.test"));
        let at = bytes.len();
        bytes.extend_from_slice(b"\x03www\xC0\x0Ctail");
        let mut out = Vec::new();
        assert_eq!(expand(&bytes, at, &mut out), Ok(at + 6));
        assert_eq!(out, wire("www.example.test"));
        for (what, body, at) in [
            ("to itself", &b"\xC0\x0C"[..], 12),
            ("forward", b"\xC0\x0E\0\0", 12),
            ("in a circle", b"\x01a\xC0\x0C", 14),
            ("into the header", b"\xC0\x02", 12),
            ("beyond the end", b"\xFF\xFF", 12),
        ] {
            assert_eq!(expand(&message(body), at, &mut out), Err(NameError::Pointer), "{what}");
            assert_eq!(out, wire("www.example.test"));
        }
    }

    #[test]
    fn pointers_to_pointers_are_few() {
        // The root behind the header, and pointers of which each leads to the one before.
        let mut bytes = message(&[0]);
        let start = bytes.len();
        for number in 0..200 {
            let target = if number == 0 { HEADER } else { start + 2 * (number - 1) };
            bytes.extend_from_slice(&(0xC000 | target as u16).to_be_bytes());
        }
        let mut out = Vec::new();
        assert_eq!(expand(&bytes, start + 2 * 126, &mut out), Ok(start + 2 * 127));
        assert_eq!(expand(&bytes, start + 2 * 127, &mut out), Err(NameError::Pointer));
        assert_eq!(out, [0]);
    }

    /// Whatever octets stand there: no panic, and what comes out is a name that stands where it is said to.
    /// Says whether it was a name.
    fn fuzz(bytes: &[u8], at: usize) -> bool {
        let mut out = b"before".to_vec();
        let expanded = expand(bytes, at, &mut out);
        assert!(out.starts_with(b"before"));
        let name = &out[6..];
        match expanded {
            Err(_) => assert_eq!(name, b"", "{bytes:?} at {at}"),
            Ok(behind) => {
                assert!(behind <= bytes.len());
                assert_eq!(span(&bytes[at..]), Ok(behind - at), "{bytes:?} at {at}");
                assert_eq!(wire_length(name), Ok(name.len()), "{bytes:?} at {at}");
                let octets: usize = labels(name).map(|label| label.len() + 1).sum();
                assert_eq!(octets + 1, name.len());
            }
        }
        // Without a pointer both readers say the same.
        let rest = bytes.get(at..).unwrap_or_default();
        if let Ok(length) = wire_length(rest) {
            assert_eq!((expanded, name), (Ok(at + length), &rest[..length]));
        }
        expanded.is_ok()
    }

    #[test]
    fn names_that_are_nearly_right() {
        let long = [&b"\x3f"[..], &[b'a'; 63]].concat().repeat(3);
        let corpus = [
            &message(b"\x07example\x04test\0\x03www\xC0\x0C\x04mail\xC0\x19\0")[..],
            &message(b"\0\xC0\x0C\xC0\x0D\xC0\x0F\x01a\xC0\x11\x01b\xC0\x13")[..],
            &message(&[&long[..], b"\x3dx", &[b'y'; 60], b"\0\x01z\xC0\x0C"].concat())[..],
        ];
        let all = medusa_core::testing::mutated(&corpus, 7, 3_000);
        let sound: usize =
            all.map(|octets| (0..octets.len() + 2).filter(|at| fuzz(&octets, *at)).count()).sum();
        assert!(sound > 10_000, "too few of them are names: {sound}");
    }

    proptest! {
        #[test]
        fn any_octets_are_names_or_none(
            body in proptest::collection::vec(prop_oneof![
                2 => any::<u8>(),
                // What makes labels and pointers likely.
                3 => prop_oneof![Just(0_u8), Just(0xC0), Just(1), Just(2), Just(63), 12_u8..80],
            ], 0..300),
            at in 0_usize..320,
        ) {
            fuzz(&message(&body), at);
        }
    }
}
