//! The Date field (RFC 9110 §6.6.1), made once a second and then lent, with the status line that most
//! responses have before it. It has no clock: the time is handed in.

use std::cell::{Cell, Ref, RefCell};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// An IMF-fixdate: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(crate) type Date = [u8; DATE];

const DATE: usize = 29;
const OK: &[u8] = b"HTTP/1.1 200 OK\r\n";
const NAME: &[u8] = b"Date: ";
const END: &[u8] = b"\r\n";
const BEGIN: usize = OK.len() + NAME.len();
const ALL: usize = BEGIN + DATE + END.len();

/// How a response of some second begins.
#[derive(Debug)]
pub(crate) struct Stamp([u8; ALL]);

impl Stamp {
    /// Of this date.
    pub(crate) fn new(date: &Date) -> Stamp {
        let mut lines = [0; ALL];
        let mut at = 0;
        for part in [OK, NAME, date, END] {
            lines[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        Stamp(lines)
    }

    /// The date by itself.
    pub(crate) fn date(&self) -> &[u8] {
        &self.0[BEGIN..BEGIN + DATE]
    }

    /// The line of the Date field.
    #[inline]
    pub(crate) fn line(&self) -> &[u8] {
        &self.0[OK.len()..]
    }

    /// The status line of 200, and that of the Date field.
    #[inline]
    pub(crate) fn ok(&self) -> &[u8; ALL] {
        &self.0
    }
}

/// The last stamp made.
#[derive(Debug)]
pub(crate) struct DateCache {
    /// The last time that was asked for: a turn of the event loop has one for all its responses.
    asked: Cell<SystemTime>,
    /// The second of the stamp.
    made: Cell<u64>,
    stamp: RefCell<Stamp>,
}

impl Default for DateCache {
    fn default() -> DateCache {
        DateCache {
            asked: Cell::new(UNIX_EPOCH),
            made: Cell::new(0),
            stamp: RefCell::new(Stamp::new(&date_of(0))),
        }
    }
}

impl DateCache {
    /// The stamp at `now`. It is lent, since to copy it is as dear as to compose the rest of a head.
    #[inline]
    pub(crate) fn at(&self, now: SystemTime) -> Ref<'_, Stamp> {
        if self.asked.replace(now) != now {
            let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            if self.made.replace(seconds) != seconds {
                self.stamp.replace(Stamp::new(&date_of(seconds)));
            }
        }
        self.stamp.borrow()
    }
}

#[cold]
fn date_of(seconds: u64) -> Date {
    // Beyond the year 9999 there is no such date; httpdate would panic.
    let seconds = seconds.min(253_402_300_799);
    let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
    text.as_bytes().first_chunk().copied().unwrap_or([b' '; DATE])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_lasts_a_second() {
        let cache = DateCache::default();
        let at = |ms| {
            let stamp = cache.at(UNIX_EPOCH + Duration::from_millis(ms));
            let date = String::from_utf8_lossy(stamp.date()).into_owned();
            assert_eq!(stamp.line(), format!("Date: {date}\r\n").as_bytes());
            assert_eq!(&stamp.ok()[..], format!("HTTP/1.1 200 OK\r\nDate: {date}\r\n").as_bytes());
            date
        };
        assert_eq!(at(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(at(784_111_777_000), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(at(784_111_777_999), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(at(784_111_778_000), "Sun, 06 Nov 1994 08:49:38 GMT");
        assert_eq!(at(784_111_777_000), "Sun, 06 Nov 1994 08:49:37 GMT", "set back");
        assert_eq!(at(u64::MAX / 1000), "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
