//! Replies that begin with `+OK` or `-ERR` (RFC 1939 §3), with a response code in brackets (RFC 2449 §8)
//! where there is one. Texts are cleaned as in [`code`](crate::code).

use crate::code::clean;

/// Writes `+OK text`.
pub fn ok(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(b"+OK ");
    clean(out, text);
}

/// Writes `-ERR text`.
pub fn err(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(b"-ERR ");
    clean(out, text);
}

/// Writes `-ERR [CODE] text`.
pub fn err_with(out: &mut Vec<u8>, code: &str, text: &str) {
    out.extend_from_slice(b"-ERR [");
    out.extend_from_slice(code.as_bytes());
    out.extend_from_slice(b"] ");
    clean(out, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_signs_and_a_code() {
        let mut out = Vec::new();
        ok(&mut out, "ready");
        err(&mut out, "no\r\n+OK");
        err_with(&mut out, "IN-USE", "the maildrop is locked");
        assert_eq!(out, b"+OK ready\r\n-ERR no??+OK\r\n-ERR [IN-USE] the maildrop is locked\r\n");
    }
}
