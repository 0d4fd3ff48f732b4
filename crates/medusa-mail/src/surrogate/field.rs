//! One header field that isn't ASCII, and what stands in for it (RFC 6858 §2).

use memchr::memchr;

use super::addresses;
use super::words::encoded;

/// RFC 6858 §2.1, in small letters.
const ADDRESSES: [&[u8]; 11] = [
    b"bcc",
    b"cc",
    b"from",
    b"reply-to",
    b"resent-bcc",
    b"resent-cc",
    b"resent-from",
    b"resent-sender",
    b"resent-to",
    b"sender",
    b"to",
];

/// What stands in for a field; nothing does for most (§2.4).
pub(super) fn rewritten(field: &[u8]) -> Option<Vec<u8>> {
    let colon = memchr(b':', field)?;
    let (name, value) = (field[..colon].trim_ascii_end(), unfolded(&field[colon + 1..]));
    let value = value.trim_ascii();
    let lower = name.to_ascii_lowercase();
    let value = match &lower[..] {
        // §2.3.
        b"subject" => encoded(value),
        b"return-path" => format!("<{}>", addresses::INVALID).into_bytes(),
        b"content-type" | b"content-disposition" => without_foreign_parameters(value)?,
        name if ADDRESSES.contains(&name) => addresses::replaced(value),
        _ => return None,
    };
    Some([name, b": ", &value, b"\r\n"].concat())
}

/// RFC 5322 §2.2.3: the line ends go, the white space behind them stays.
pub(super) fn unfolded(value: &[u8]) -> Vec<u8> {
    let mut unfolded = Vec::with_capacity(value.len());
    for line in value.split_inclusive(|octet| *octet == b'\n') {
        let line = line.strip_suffix(b"\n").map_or(line, |l| l.strip_suffix(b"\r").unwrap_or(l));
        unfolded.extend_from_slice(line);
    }
    unfolded
}

/// §2.2. Nothing is left where the type itself isn't ASCII.
fn without_foreign_parameters(value: &[u8]) -> Option<Vec<u8>> {
    let mut parts = split(value, b';').into_iter();
    let kind = parts.next().filter(|kind| kind.is_ascii())?;
    let mut kept = kind.trim_ascii().to_vec();
    for part in parts.filter(|part| part.is_ascii()) {
        kept.extend_from_slice(b";\r\n ");
        kept.extend_from_slice(part.trim_ascii());
    }
    Some(kept)
}

/// Cuts a structured value at a separator that stands in no quoted string.
pub(super) fn split(value: &[u8], separator: u8) -> Vec<&[u8]> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let cut = move |octet: &u8| {
        let cuts = *octet == separator && !is_quoted;
        is_quoted ^= *octet == b'"' && !is_escaped;
        is_escaped = is_quoted && *octet == b'\\' && !is_escaped;
        cuts
    };
    value.split(cut).collect()
}
