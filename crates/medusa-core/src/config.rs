//! The value types of a configuration: durations, sizes, rates and addresses to listen on.
//!
//! Every plug-in's `Config` struct is read by serde; these types read themselves from a string and
//! say in plain words what is wrong with it. Nothing here knows TOML, files or lines: the launcher
//! adds those. Nothing is guessed either: a number without a unit is refused, and so is `KB`, which
//! half of the world takes for 1,000 and the other half for 1,024.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Visitor};
use thiserror::Error;

/// A span of time as it is written in a configuration: `"500ms"`, `"30s"`, `"1h30m"`, `"365d"`.
///
/// Units are `ms`, `s`, `m`, `h` and `d` (86,400 seconds), in falling order, each at most once
/// (systemd.time(7) and Go's `time.ParseDuration` write it so). `"0s"` is a duration; whether it
/// makes sense is for the key to say.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Period(pub Duration);

/// A number of octets as it is written in a configuration: `"512 B"`, `"64 KiB"`, `"10 MiB"`.
///
/// Units are `B`, `KiB`, `MiB`, `GiB` and `TiB` (IEC 80000-13), the space may be left out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Size(pub u64);

/// Octets per second as they are written in a configuration: `"100 B/s"`, `"1 MiB/s"`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Rate(pub u64);

/// Where a service listens: `"127.0.0.1:8080"`, `"[::]:8080"` or `"unix:run/medusa.sock"`.
///
/// A host name is refused: it may stand for several addresses, or for others tomorrow.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Listen {
    /// An IP address and a port; port 0 lets the system choose.
    Inet(SocketAddr),
    /// The path of a Unix socket, as written: a relative one starts at the configuration's folder.
    Unix(PathBuf),
}

/// What is wrong with a value of a configuration, in words for the one who wrote it.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum ValueError {
    /// Nothing between the quotes.
    #[error("the value is empty; write {example}")]
    Empty {
        /// A value that would do.
        example: &'static str,
    },
    /// It starts with a minus.
    #[error("`{text}` is negative; write {example}")]
    Negative {
        /// What was written.
        text: String,
        /// A value that would do.
        example: &'static str,
    },
    /// A number and nothing after it.
    #[error("`{text}` has no unit; write {suggestion}")]
    NoUnit {
        /// What was written.
        text: String,
        /// The same with units, to choose from.
        suggestion: String,
    },
    /// A unit that is not known here.
    #[error("`{unit}` is not a unit here; {known}")]
    UnknownUnit {
        /// What was written.
        unit: String,
        /// The units that there are.
        known: &'static str,
    },
    /// Not a whole number where one was expected.
    #[error("`{text}` is not a whole number with a unit; write {example}")]
    NotANumber {
        /// What was written.
        text: String,
        /// A value that would do.
        example: &'static str,
    },
    /// Units that repeat or rise, as in `5s1m`.
    #[error("`{unit}` can't stand there in `{text}`: units fall and don't repeat, as in \"1h30m\"")]
    UnitOrder {
        /// What was written.
        text: String,
        /// The unit that is out of order.
        unit: String,
    },
    /// More than can be held.
    #[error("`{text}` is too large; the most is {most}")]
    TooLarge {
        /// What was written.
        text: String,
        /// The largest value.
        most: &'static str,
    },
    /// An address that can't be read.
    #[error("`{text}` is not an address to listen on: {why}")]
    Address {
        /// What was written.
        text: String,
        /// The reason, and what to write instead.
        why: String,
    },
}

impl From<Period> for Duration {
    fn from(period: Period) -> Self {
        period.0
    }
}

impl From<Size> for u64 {
    fn from(size: Size) -> Self {
        size.0
    }
}

impl From<Rate> for u64 {
    fn from(rate: Rate) -> Self {
        rate.0
    }
}

impl FromStr for Period {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        parse_period(text).map(Period)
    }
}

impl FromStr for Size {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        parse_octets(text.trim(), SIZE_EXAMPLE, "").map(Size)
    }
}

impl FromStr for Rate {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let trimmed = text.trim();
        match trimmed.strip_suffix("/s") {
            Some(octets) => parse_octets(octets.trim_end(), RATE_EXAMPLE, "/s").map(Rate),
            // Let a missing number or a wrong unit be told first; they explain more.
            None => parse_octets(trimmed, RATE_EXAMPLE, "/s").and_then(|_| {
                Err(ValueError::NoUnit {
                    text: trimmed.to_owned(),
                    suggestion: format!("\"{trimmed}/s\": a rate is octets per second"),
                })
            }),
        }
    }
}

impl FromStr for Listen {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err(address(
                    text,
                    "the path of the socket is missing, as in \"unix:run/medusa.sock\"",
                )),
                // sockaddr_un ends there (unix(7): sun_path holds 108 octets with the final NUL).
                _ if path.len() > 107 => {
                    Err(address(text, "the path of a Unix socket has at most 107 octets"))
                }
                _ => Ok(Self::Unix(PathBuf::from(path))),
            };
        }
        text.parse().map(Self::Inet).map_err(|_| address(text, why_not_an_address(text)))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_millis();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, millis) in PERIOD_UNITS {
            let count = rest / u128::from(*millis);
            if count > 0 {
                write!(f, "{count}{unit}")?;
                rest -= count * u128::from(*millis);
            }
        }
        Ok(())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, octets) = SIZE_UNITS
            .iter()
            .find(|(_, octets)| self.0 >= *octets && self.0.is_multiple_of(*octets))
            .unwrap_or(&("B", 1));
        write!(f, "{} {unit}", self.0 / octets)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", Size(self.0))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Reads a type from a string alone; `expected` is what a number or a list in its place is told.
macro_rules! deserialized_from_str {
    ($($kind:ty => $expected:expr),* $(,)?) => {$(
        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $kind;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$kind, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
    )*};
}

deserialized_from_str! {
    Period => "a duration such as \"30s\", \"5m\" or \"1h30m\"",
    Size => "a size such as \"64 KiB\" or \"10 MiB\"",
    Rate => "a rate such as \"100 B/s\" or \"1 MiB/s\"",
    Listen => "an address such as \"127.0.0.1:8080\", \"[::]:8080\" or \"unix:run/medusa.sock\"",
}

const PERIOD_EXAMPLE: &str = "a duration such as \"30s\", \"5m\" or \"1h30m\"";
const SIZE_EXAMPLE: &str = "a size such as \"64 KiB\"";
const RATE_EXAMPLE: &str = "a rate such as \"100 B/s\"";
const PERIOD_KNOWN: &str = "durations have `ms`, `s`, `m`, `h` and `d`";
const SIZE_KNOWN: &str = "sizes have `B`, `KiB`, `MiB`, `GiB` and `TiB`";

/// Units of a period in milliseconds, falling.
const PERIOD_UNITS: &[(&str, u64)] =
    &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Units of a size in octets, falling.
const SIZE_UNITS: &[(&str, u64)] =
    &[("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// The most that a period may be: a hundred years keep every sum with a clock's reading in range.
const PERIOD_MOST_MILLIS: u64 = 36_525 * 86_400_000;

fn parse_period(text: &str) -> Result<Duration, ValueError> {
    let whole = text.trim();
    refuse_empty_or_negative(whole, PERIOD_EXAMPLE)?;
    let too_large = || ValueError::TooLarge { text: whole.to_owned(), most: "36525d" };
    let mut rest = whole;
    let mut millis: u64 = 0;
    let mut units = PERIOD_UNITS;
    while !rest.is_empty() {
        let (digits, tail) = split_digits(rest);
        if digits.is_empty() || tail.starts_with(['.', ',']) {
            return Err(ValueError::NotANumber { text: whole.to_owned(), example: PERIOD_EXAMPLE });
        }
        let (unit, tail) = split_unit(tail);
        if unit.is_empty() {
            return Err(ValueError::NoUnit {
                text: whole.to_owned(),
                suggestion: format!("\"{whole}s\" or \"{whole}m\""),
            });
        }
        let Some(place) = units.iter().position(|(name, _)| *name == unit) else {
            let known = PERIOD_UNITS.iter().any(|(name, _)| *name == unit);
            return Err(if known {
                ValueError::UnitOrder { text: whole.to_owned(), unit: unit.to_owned() }
            } else {
                ValueError::UnknownUnit { unit: unit.to_owned(), known: PERIOD_KNOWN }
            });
        };
        let count: u64 = digits.parse().map_err(|_| too_large())?;
        millis = count
            .checked_mul(units[place].1)
            .and_then(|part| millis.checked_add(part))
            .filter(|sum| *sum <= PERIOD_MOST_MILLIS)
            .ok_or_else(too_large)?;
        units = &units[place + 1..];
        rest = tail.trim_start();
    }
    Ok(Duration::from_millis(millis))
}

/// A whole number and a unit of `SIZE_UNITS`; `per` is what follows the unit in a suggestion.
fn parse_octets(whole: &str, example: &'static str, per: &str) -> Result<u64, ValueError> {
    refuse_empty_or_negative(whole, example)?;
    let (digits, tail) = split_digits(whole);
    if digits.is_empty() || tail.starts_with(['.', ',', '_']) {
        return Err(ValueError::NotANumber { text: whole.to_owned(), example });
    }
    let unit = tail.trim();
    if unit.is_empty() {
        return Err(ValueError::NoUnit {
            text: whole.to_owned(),
            suggestion: format!("\"{digits} B{per}\" or \"{digits} KiB{per}\""),
        });
    }
    let Some((_, octets)) = SIZE_UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(ValueError::UnknownUnit { unit: unit.to_owned(), known: SIZE_KNOWN });
    };
    digits
        .parse()
        .ok()
        .and_then(|count: u64| count.checked_mul(*octets))
        // A file offset is signed, and so is what a database or a log holds it in.
        .filter(|sum| *sum <= i64::MAX as u64)
        .ok_or_else(|| ValueError::TooLarge { text: whole.to_owned(), most: "8388607 TiB" })
}

fn refuse_empty_or_negative(text: &str, example: &'static str) -> Result<(), ValueError> {
    if text.is_empty() {
        return Err(ValueError::Empty { example });
    }
    if text.starts_with(['-', '\u{2212}']) {
        return Err(ValueError::Negative { text: text.to_owned(), example });
    }
    Ok(())
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let end = text.find(|c: char| c.is_ascii_digit() || c.is_whitespace()).unwrap_or(text.len());
    text.split_at(end)
}

fn address(text: &str, why: impl Into<String>) -> ValueError {
    ValueError::Address { text: text.to_owned(), why: why.into() }
}

/// The commonest slips, each with what to write instead.
fn why_not_an_address(text: &str) -> String {
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    if text.is_empty() {
        "it is empty; write \"127.0.0.1:8080\"".to_owned()
    } else if digits(text) {
        format!("the address is missing; write \"127.0.0.1:{text}\" or \"[::]:{text}\"")
    } else if text.parse::<std::net::Ipv4Addr>().is_ok() {
        format!("the port is missing; write \"{text}:8080\"")
    } else if let Ok(v6) = text.parse::<std::net::Ipv6Addr>() {
        format!("brackets and the port are missing; write \"[{v6}]:8080\"")
    } else if digits(port) && port.parse::<u16>().is_err() {
        "a port is at most 65535".to_owned()
    } else if host.is_empty() && digits(port) {
        format!("the address is missing; write \"0.0.0.0:{port}\" or \"[::]:{port}\"")
    } else if host == "*" {
        format!("write \"0.0.0.0:{port}\" for every address, or \"[::]:{port}\"")
    } else if text.starts_with('/') {
        format!("write \"unix:{text}\" for a Unix socket")
    } else if host.eq_ignore_ascii_case("localhost") {
        format!("names are not looked up here; write \"127.0.0.1:{port}\" or \"[::1]:{port}\"")
    } else if host.contains(|c: char| c.is_ascii_alphabetic()) && !host.contains(':') {
        "names are not looked up here; write an IP address and a port".to_owned()
    } else {
        "write an IP address and a port, as in \"127.0.0.1:8080\" or \"[::]:8080\"".to_owned()
    }
}

#[cfg(test)]
mod tests;
