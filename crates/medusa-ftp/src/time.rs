//! Moments as FTP writes them: `20260102030405.678` (RFC 3659 §2.3), and the column of a LIST line.
//!
//! All in UTC, without leap seconds, as file systems count. No clock is read.

use std::io::Write;

use medusa_files::Timestamp;

const DAY: i64 = 86_400;
/// Older than this, or newer than now, a file shows its year (POSIX `ls`: about six months).
const RECENT: i64 = 15_552_000;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

/// A moment taken apart.
struct Civil {
    year: i64,
    month: usize,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
}

impl Civil {
    /// By the calendar of days counted from 0000-03-01, whose years end in the leap day.
    fn of(seconds: i64) -> Civil {
        // The years 0 to 9999 are all that can be written.
        let seconds = seconds.clamp(-62_167_219_200, 253_402_300_799);
        let (days, rest) = (seconds.div_euclid(DAY) + 719_468, seconds.rem_euclid(DAY));
        let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * of_year + 2) / 153;
        let day = of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = era * 400 + year_of_era + i64::from(month <= 2);
        Civil {
            year,
            month: month as usize,
            day,
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
        }
    }
}

/// Appends `YYYYMMDDHHMMSS`, with milliseconds where there are any.
pub(crate) fn push_stamp(out: &mut Vec<u8>, moment: Timestamp) {
    let Civil { year, month, day, hour, minute, second } = Civil::of(moment.seconds);
    let _ = write!(out, "{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}");
    let millis = moment.nanoseconds / 1_000_000;
    if millis > 0 {
        let _ = write!(out, ".{millis:03}");
    }
}

/// Reads `YYYYMMDDHHMMSS[.fraction]`; `None` where that is no moment.
pub(crate) fn read_stamp(text: &[u8]) -> Option<Timestamp> {
    let (whole, fraction) = match text.iter().position(|&octet| octet == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &b"0"[..]),
    };
    let digits = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
    if whole.len() != 14 || fraction.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let number = |part: &[u8]| part.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    let (year, month, day) = (number(&whole[..4]), number(&whole[4..6]), number(&whole[6..8]));
    let (hour, minute, second) =
        (number(&whole[8..10]), number(&whole[10..12]), number(&whole[12..]));
    if !(1..=12).contains(&month) || day < 1 || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let shifted = if month > 2 { year } else { year - 1 };
    let (era, year_of_era) = (shifted.div_euclid(400), shifted.rem_euclid(400));
    let month_of_year = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * month_of_year + 2) / 5 + day - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    let days = era * 146_097 + of_era - 719_468;
    let seconds = days * DAY + hour * 3600 + minute * 60 + second.min(59);
    // The thirtieth of February is another day.
    let read = Civil::of(seconds);
    if (read.year, read.month as i64, read.day) != (year, month, day) {
        return None;
    }
    let nanoseconds = (0..9).fold(0, |sum, place| {
        sum * 10 + fraction.get(place).map_or(0, |digit| u32::from(digit - b'0'))
    });
    Some(Timestamp { seconds, nanoseconds })
}

/// Appends the twelve columns of `ls -l`: `Jan  2 03:04`, or `Jan  2  2019`.
pub(crate) fn push_listed(out: &mut Vec<u8>, seconds: i64, now: i64) {
    let Civil { year, month, day, hour, minute, .. } = Civil::of(seconds);
    let month = MONTHS[month - 1];
    // Clocks differ a little: what was written just now isn't in the future.
    let _ = match (now - RECENT..=now + DAY).contains(&seconds) {
        true => write!(out, "{month} {day:>2} {hour:02}:{minute:02}"),
        false => write!(out, "{month} {day:>2}  {year:04}"),
    };
}

/// Appends the date of a line of a transfer log (xferlog(5)): `Fri Jan  2 03:04:05 2026`.
pub(crate) fn push_logged(out: &mut Vec<u8>, seconds: i64) {
    let Civil { year, month, day, hour, minute, second } = Civil::of(seconds);
    let weekday = WEEKDAYS[seconds.div_euclid(DAY).rem_euclid(7) as usize];
    let month = MONTHS[month - 1];
    let _ = write!(out, "{weekday} {month} {day:>2} {hour:02}:{minute:02}:{second:02} {year:04}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn moments_are_written_and_read() {
        for (seconds, nanoseconds, text) in [
            (0, 0, "19700101000000"),
            (951_782_399, 0, "20000228235959"),
            (951_782_400, 0, "20000229000000"),
            (1_000_000_000, 250_000_000, "20010909014640.250"),
            (-1, 0, "19691231235959"),
            (4_102_444_799, 0, "20991231235959"),
        ] {
            let moment = Timestamp { seconds, nanoseconds };
            assert_eq!(written(|out| push_stamp(out, moment)), text);
            assert_eq!(read_stamp(text.as_bytes()), Some(moment), "{text}");
        }
        for wrong in [
            "",
            "2001090901464",
            "20010931000000",
            "20010229000000",
            "20011301000000",
            "2001010124000x",
            "20010101000000.",
        ] {
            assert_eq!(read_stamp(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn lists_and_logs_have_their_own_ways() {
        let now = 1_000_000_000;
        assert_eq!(written(|out| push_listed(out, now - 60, now)), "Sep  9 01:45");
        assert_eq!(written(|out| push_listed(out, now - RECENT - 1, now)), "Mar 13  2001");
        assert_eq!(written(|out| push_listed(out, now + 2 * DAY, now)), "Sep 11  2001");
        assert_eq!(written(|out| push_logged(out, now)), "Sun Sep  9 01:46:40 2001");
    }

    proptest::proptest! {
        #[test]
        fn every_moment_comes_back(seconds in -62_167_219_200i64..253_402_300_799) {
            let moment = Timestamp { seconds, nanoseconds: 0 };
            let text = written(|out| push_stamp(out, moment));
            proptest::prop_assert_eq!(read_stamp(text.as_bytes()), Some(moment), "{}", text);
        }

        #[test]
        fn nothing_that_is_sent_panics(text in "[0-9.]{0,24}", seconds in proptest::num::i64::ANY) {
            let _ = read_stamp(text.as_bytes());
            written(|out| push_listed(out, seconds, 0));
            written(|out| push_logged(out, seconds));
        }
    }
}
