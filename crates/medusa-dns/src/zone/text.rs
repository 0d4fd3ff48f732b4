//! Values as master files write them: names with an origin, strings with escapes, periods, hex and base 32.
//!
//! Which value stands where is in `rdata`.

use crate::name::{MAX_LABEL, MAX_NAME};

/// Appends the wire form of the name `text`, its case kept; a relative one ends in `origin`.
///
/// # Errors
///
/// What is wrong with it, in words.
pub(crate) fn name_into(
    out: &mut Vec<u8>,
    text: &[u8],
    origin: Option<&[u8]>,
) -> Result<(), &'static str> {
    let start = out.len();
    let outcome = append_name(out, text, origin);
    let outcome = outcome.and_then(|()| match out.len() - start {
        0..=MAX_NAME => Ok(()),
        _ => Err("the name is longer than 255 octets"),
    });
    if outcome.is_err() {
        out.truncate(start);
    }
    outcome
}

const NO_ORIGIN: &str = "a relative name, where no origin is known: end it with a dot";

fn append_name(out: &mut Vec<u8>, text: &[u8], origin: Option<&[u8]>) -> Result<(), &'static str> {
    match text {
        b"." => {
            out.push(0);
            return Ok(());
        }
        b"@" => {
            out.extend_from_slice(origin.ok_or(NO_ORIGIN)?);
            return Ok(());
        }
        b"" => return Err("an empty name"),
        _ => {}
    }
    let mut label = out.len();
    out.push(0);
    let mut rest = text;
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        if first == b'.' {
            close_label(out, label)?;
            label = out.len();
            out.push(0);
            continue;
        }
        let byte = if first == b'\\' { unescape(&mut rest)? } else { first };
        out.push(byte);
    }
    if out.len() == label + 1 {
        // It ended in a dot: the root's label is there already.
        return Ok(());
    }
    close_label(out, label)?;
    out.extend_from_slice(origin.ok_or(NO_ORIGIN)?);
    Ok(())
}

fn close_label(out: &mut [u8], label: usize) -> Result<(), &'static str> {
    match out.len() - label - 1 {
        0 => Err("an empty label"),
        length @ 1..=MAX_LABEL => {
            out[label] = length as u8;
            Ok(())
        }
        _ => Err("a label is longer than 63 octets"),
    }
}

/// The octet that an escape stands for; the backslash is gone already.
fn unescape(rest: &mut &[u8]) -> Result<u8, &'static str> {
    let digits = rest.first_chunk::<3>().filter(|digits| digits.iter().all(u8::is_ascii_digit));
    if let Some(digits) = digits {
        let number = digits.iter().fold(0_u16, |sum, digit| sum * 10 + u16::from(digit - b'0'));
        *rest = &rest[3..];
        return u8::try_from(number).map_err(|_| "an escape over \\255");
    }
    let (&byte, behind) = rest.split_first().ok_or("a backslash with nothing behind it")?;
    if byte.is_ascii_digit() {
        return Err("an escape has three digits: \\007");
    }
    *rest = behind;
    Ok(byte)
}

/// Appends the octets that `text` stands for, its escapes resolved and quotes inside it left out.
///
/// # Errors
///
/// What is wrong with it, in words.
pub(crate) fn octets_into(out: &mut Vec<u8>, text: &[u8]) -> Result<(), &'static str> {
    let mut rest = text;
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        match first {
            b'\\' => out.push(unescape(&mut rest)?),
            b'"' => {}
            _ => out.push(first),
        }
    }
    Ok(())
}

/// A number of seconds: `3600`, `1h`, `1w2d3h4m5s`; at most 2³¹-1 (RFC 2181 §8).
pub(crate) fn seconds(text: &[u8]) -> Option<u32> {
    period(text).filter(|total| *total <= i32::MAX as u32)
}

/// A number of seconds that isn't a TTL, of all 32 bits (RFC 1035 §3.3.13).
pub(crate) fn period(text: &[u8]) -> Option<u32> {
    let (mut total, mut number, mut digits) = (0_u64, 0_u64, false);
    for byte in text {
        if let digit @ b'0'..=b'9' = byte {
            number = number * 10 + u64::from(digit - b'0');
            digits = true;
        } else {
            let unit = match byte.to_ascii_lowercase() {
                b's' => 1,
                b'm' => 60,
                b'h' => 3600,
                b'd' => 86400,
                b'w' => 604_800,
                _ => return None,
            };
            if !digits {
                return None;
            }
            total += number * unit;
            (number, digits) = (0, false);
        }
        if number > u64::from(u32::MAX) || total > u64::from(u32::MAX) {
            return None;
        }
    }
    let total = total + number;
    let complete = !text.is_empty() && (digits || total > 0 || text.len() > 1);
    u32::try_from(total).ok().filter(|_| complete)
}

/// An unsigned number of decimal digits alone.
pub(crate) fn number(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.len() <= 20 && text.iter().all(u8::is_ascii_digit);
    if !digits {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Appends what `text` says in hexadecimal digits.
pub(crate) fn hex_into(out: &mut Vec<u8>, text: &[u8]) -> Option<()> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    for pair in text.chunks_exact(2) {
        out.push((digit(pair[0])? << 4 | digit(pair[1])?) as u8);
    }
    Some(())
}

/// Appends what `text` says in base 32 with the alphabet of hexadecimal digits, without padding (RFC
/// 4648 §7, as NSEC3 writes hashes).
pub(crate) fn base32_into(out: &mut Vec<u8>, text: &[u8]) -> Option<()> {
    let (mut bits, mut have) = (0_u32, 0);
    for byte in text {
        bits = bits << 5 | char::from(*byte).to_digit(32)?;
        have += 5;
        if have >= 8 {
            have -= 8;
            out.push((bits >> have) as u8);
            bits &= (1 << have) - 1;
        }
    }
    // What is left must be padding, and less than a digit.
    (have < 5 && bits == 0).then_some(())
}

/// Seconds since 1970, modulo 2³², as RRSIG writes its times: `20300101000000`, or the number itself.
pub(crate) fn time(text: &[u8]) -> Option<u32> {
    if text.len() != 14 {
        return number(text).and_then(|number| u32::try_from(number).ok());
    }
    let part = |range: std::ops::Range<usize>| number(&text[range]);
    let (year, month, day) = (part(0..4)?, part(4..6)?, part(6..8)?);
    let (hour, minute, second) = (part(8..10)?, part(10..12)?, part(12..14)?);
    let sound = year >= 1970
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 61;
    if !sound {
        return None;
    }
    // Days since 1970-01-01 in the proleptic Gregorian calendar, with years that begin in March.
    let (shifted_year, shifted_month) =
        if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * shifted_year + shifted_year / 4 - shifted_year / 100
        + shifted_year / 400
        + (153 * shifted_month + 2) / 5
        + day
        - 1
        - 719_468;
    Some((days * 86400 + hour * 3600 + minute * 60 + second) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Result<Vec<u8>, &'static str> {
        let mut out = Vec::new();
        name_into(&mut out, text.as_bytes(), Some(b"\x04test\x00")).map(|()| out)
    }

    #[test]
    fn names_are_read() {
        assert_eq!(name("Www").unwrap(), b"\x03Www\x04test\x00");
        assert_eq!(name("www.").unwrap(), b"\x03www\x00");
        assert_eq!(name("@").unwrap(), b"\x04test\x00");
        assert_eq!(name(".").unwrap(), b"\x00");
        assert_eq!(name("a\\.b\\007\\@").unwrap(), b"\x05a.b\x07@\x04test\x00");
        for wrong in ["", "a..b", ".a", "a\\", "a\\25", "a\\256", &"a".repeat(64)] {
            assert!(name(wrong).is_err(), "{wrong}");
        }
        let long = format!("{0}.{0}.{0}.{1}.", "a".repeat(63), "b".repeat(61));
        assert_eq!(name(&long).map(|wire| wire.len()), Ok(255));
        assert!(name(&format!("a{long}")).is_err());
        let mut out = vec![1];
        assert_eq!(name_into(&mut out, b"a", None), Err(NO_ORIGIN));
        assert_eq!(out, [1]);
    }

    #[test]
    fn periods_are_read() {
        for (text, expected) in [
            ("0", Some(0)),
            ("3600", Some(3600)),
            ("1h30M", Some(5400)),
            ("1w2d3h4m5s", Some(788_645)),
            ("2147483647", Some(2_147_483_647)),
            ("2147483648", None),
            ("99999999999999999999999", None),
            ("", None),
            ("h", None),
            ("1x", None),
            ("-1", None),
        ] {
            assert_eq!(seconds(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn times_are_read() {
        assert_eq!(time(b"19700101000000"), Some(0));
        assert_eq!(time(b"20040509183619"), Some(1_084_127_779));
        assert_eq!(time(b"20000229000000"), Some(951_782_400));
        assert_eq!(time(b"1084127779"), Some(1_084_127_779));
        assert_eq!(time(b"20041309183619"), None);
        assert_eq!(time(b"2004"), Some(2004));
    }

    #[test]
    fn octets_are_read() {
        let decode = |decode: fn(&mut Vec<u8>, &[u8]) -> Option<()>, text: &str| {
            let mut out = Vec::new();
            decode(&mut out, text.as_bytes()).map(|()| out)
        };
        assert_eq!(decode(hex_into, "00fF"), Some(vec![0, 255]));
        assert_eq!(decode(hex_into, "0"), None);
        assert_eq!(decode(base32_into, "CPNMUOJ1E8"), Some(b"foobar".to_vec()));
        assert_eq!(decode(base32_into, "cpnmuoj1e8"), Some(b"foobar".to_vec()));
        assert_eq!(decode(base32_into, "CPNMUOJ1E9"), None);
        assert_eq!(decode(base32_into, "W"), None);
    }
}
