//! The Date field's value (RFC 9110 §6.6.1), made once a second and then lent. It has no clock: the
//! time is handed in.

use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// An IMF-fixdate: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(crate) type Date = [u8; 29];

/// The last date made.
#[derive(Debug)]
pub(crate) struct DateCache {
    /// The last time that was asked for: a turn of the event loop has one for all its responses.
    asked: Cell<SystemTime>,
    /// The second of the date.
    made: Cell<u64>,
    date: Cell<Date>,
}

impl Default for DateCache {
    fn default() -> DateCache {
        let cache = DateCache {
            asked: Cell::new(UNIX_EPOCH),
            made: Cell::new(0),
            date: Cell::new([b' '; 29]),
        };
        cache.make(0);
        cache
    }
}

impl DateCache {
    /// The date at `now`.
    #[inline]
    pub(crate) fn at(&self, now: SystemTime) -> Date {
        if self.asked.replace(now) != now {
            let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            if self.made.get() != seconds {
                self.make(seconds);
            }
        }
        self.date.get()
    }

    #[cold]
    fn make(&self, seconds: u64) {
        self.made.set(seconds);
        // Beyond the year 9999 there is no such date; httpdate would panic.
        let seconds = seconds.min(253_402_300_799);
        let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
        if let Some(octets) = text.as_bytes().first_chunk() {
            self.date.set(*octets);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_lasts_a_second() {
        let cache = DateCache::default();
        let at = |ms| cache.at(UNIX_EPOCH + Duration::from_millis(ms));
        assert_eq!(&at(784_111_777_000), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(&at(784_111_777_999), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(&at(784_111_778_000), b"Sun, 06 Nov 1994 08:49:38 GMT");
        assert_eq!(&at(784_111_777_000), b"Sun, 06 Nov 1994 08:49:37 GMT", "set back");
        assert_eq!(&at(u64::MAX / 1000), b"Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
