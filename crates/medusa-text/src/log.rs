//! Dates of access logs, in the manner of Apache's common format.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last second of the year 9999: beyond it there is no such date.
const LAST: u64 = 253_402_300_799;

/// `06/Nov/1994:08:49:37 +0000`.
pub fn date(at: SystemTime) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().min(LAST);
    let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
    // `Sun, 06 Nov 1994 08:49:37 GMT` holds all that is needed.
    let part = |range| date.get(range).unwrap_or_default();
    format!("{}/{}/{}:{} +0000", part(5..7), part(8..11), part(12..16), part(17..25))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let at = |seconds| date(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(784_111_777), "06/Nov/1994:08:49:37 +0000");
        assert_eq!(at(1_000_000_000_000), "31/Dec/9999:23:59:59 +0000");
        assert_eq!(date(UNIX_EPOCH - Duration::from_secs(5)), "01/Jan/1970:00:00:00 +0000");
    }
}
