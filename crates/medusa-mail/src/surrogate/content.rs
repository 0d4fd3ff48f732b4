//! What a header says of the body behind it: a multipart, a message, or something to leave alone (RFC 2045,
//! RFC 2046 §5).

use memchr::memchr;

use super::field::{split, unfolded};

/// RFC 2046 §5.1.1 has 70; some programs don't count.
const BOUNDARY_OCTETS: usize = 200;

/// As far as the header has been read. The first of two fields counts.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// No type yet.
    Unsaid {
        is_encoded: bool,
    },
    Multipart {
        boundary: Vec<u8>,
        is_digest: bool,
    },
    /// A message of its own. What is encoded shows no octets.
    Message {
        is_encoded: bool,
    },
    Other,
}

impl Default for Content {
    fn default() -> Self {
        Content::Unsaid { is_encoded: false }
    }
}

impl Content {
    /// Reads a field, whichever it is.
    pub(super) fn read(&mut self, field: &[u8]) {
        // Most begin otherwise.
        if !matches!(field.first(), Some(b'C' | b'c')) {
            return;
        }
        let Some(colon) = memchr(b':', field) else { return };
        let name = field[..colon].trim_ascii_end();
        let value = || unfolded(&field[colon + 1..]);
        if name.eq_ignore_ascii_case(b"content-type") {
            if let Content::Unsaid { is_encoded } = self {
                *self = content(&value(), *is_encoded);
            }
        } else if name.eq_ignore_ascii_case(b"content-transfer-encoding")
            && let Content::Unsaid { is_encoded } | Content::Message { is_encoded } = self
        {
            let value = value().trim_ascii().to_ascii_lowercase();
            *is_encoded = !matches!(&value[..], b"7bit" | b"8bit" | b"binary");
        }
    }
}

fn content(value: &[u8], is_encoded: bool) -> Content {
    let mut parts = split(value, b';').into_iter();
    let kind = parts.next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
    if matches!(&kind[..], b"message/rfc822" | b"message/global") {
        return Content::Message { is_encoded };
    }
    let boundary = parts.find_map(|part| {
        let equals = memchr(b'=', part)?;
        let is_boundary = part[..equals].trim_ascii().eq_ignore_ascii_case(b"boundary");
        is_boundary.then(|| unquoted(part[equals + 1..].trim_ascii()))
    });
    match boundary.filter(|boundary| (1..=BOUNDARY_OCTETS).contains(&boundary.len())) {
        Some(boundary) if kind.starts_with(b"multipart/") => {
            Content::Multipart { boundary, is_digest: kind == b"multipart/digest" }
        }
        _ => Content::Other,
    }
}

/// A parameter's value: a token, or what a quoted string holds.
fn unquoted(value: &[u8]) -> Vec<u8> {
    let Some(quoted) = value.strip_prefix(b"\"") else {
        return value.split(|octet| b" \t(".contains(octet)).next().unwrap_or_default().to_vec();
    };
    let (mut text, mut octets) = (Vec::new(), quoted.iter());
    while let Some(octet) = octets.next() {
        match octet {
            b'"' => break,
            b'\\' => text.extend(octets.next()),
            octet => text.push(*octet),
        }
    }
    // Trailing white space can't be told from padding (RFC 2046 §5.1.1).
    text.trim_ascii_end().to_vec()
}
