//! Encoded words (RFC 2047): text as ASCII.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// Octets in a word: with the longest field name before it, a line has no more than 76 (RFC 2047 §2).
const OCTETS: usize = 30;

/// Text as encoded words, a line each. What is no UTF-8 is called `unknown-8bit` (RFC 1428 §3).
pub(super) fn encoded(text: &[u8]) -> Vec<u8> {
    let charset = if std::str::from_utf8(text).is_ok() { "utf-8" } else { "unknown-8bit" };
    let mut words = Vec::with_capacity(text.len() * 2 + 32);
    let mut rest = text;
    while !rest.is_empty() {
        let (word, behind) = rest.split_at(cut(rest));
        if !words.is_empty() {
            words.extend_from_slice(b"\r\n ");
        }
        let word = BASE64_STANDARD.encode(word);
        words.extend_from_slice(format!("=?{charset}?b?{word}?=").as_bytes());
        rest = behind;
    }
    words
}

/// Where a word ends: never within a character (RFC 2047 §5).
fn cut(text: &[u8]) -> usize {
    if text.len() <= OCTETS {
        return text.len();
    }
    let begins = |at: &usize| text[*at] & 0xc0 != 0x80;
    // A character has four octets at most; what has more is none.
    (OCTETS - 3..=OCTETS).rev().find(begins).unwrap_or(OCTETS)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A text with its words decoded: those that follow each other in one pair of guillemets.
    pub(in crate::surrogate) fn shown(text: &str) -> String {
        let mut shown = String::new();
        for (at, part) in text.split("=?utf-8?b?").enumerate() {
            let Some((word, rest)) = part.split_once("?=").filter(|_| at > 0) else {
                shown.push_str(part);
                continue;
            };
            let word = String::from_utf8(BASE64_STANDARD.decode(word).unwrap()).unwrap();
            shown.push_str(&format!("\u{ab}{word}\u{bb}"));
            // White space between words isn't shown (RFC 2047 §6.2).
            if rest != "\n " {
                shown.push_str(rest);
            }
        }
        shown.replace("\u{bb}\u{ab}", "")
    }
}
