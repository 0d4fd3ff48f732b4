//! The ports for passive data connections: one set for all sessions of a service, lent and given back, or
//! whichever is free.
//!
//! To let Linux choose a port takes it 4 µs as a rule, but 1 to 2 ms when 20,000 of its 28,000 are in
//! TIME_WAIT, as some hundred sessions a second leave them; to bind one that is named always takes 4 µs.
//! So they are chosen here, of those that Linux would choose from, and by a secret: who can foretell a port
//! may be there first (RFC 2577 §8). It is the system's turn when these are taken.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;

/// A range of ports as it is written: `50000-50100`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortRange(RangeInclusive<u16>);

impl PortRange {
    /// These ports and those between; `None` where there are none, or 0 is among them.
    pub fn new(first: u16, last: u16) -> Option<PortRange> {
        (first > 0 && first <= last).then_some(PortRange(first..=last))
    }
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<PortRange, String> {
        let why = || format!("`{text}` is no range of ports; write one like \"50000-50100\"");
        let (first, last) = text.split_once('-').ok_or_else(why)?;
        let port = |text: &str| text.trim().parse::<u16>().map_err(|_| why());
        let (first, last) = (port(first)?, port(last)?);
        PortRange::new(first, last).ok_or_else(why)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0.start(), self.0.end())
    }
}

impl<'de> Deserialize<'de> for PortRange {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<PortRange, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// So many ports are tried where any will do, before the system chooses.
const GUESSES: usize = 8;

/// The ports of a service. Clones share them.
#[derive(Debug, Clone)]
pub(crate) enum Ports {
    Range(Arc<Mutex<Free>>),
    Any(Arc<Guesses>),
}

/// Chooses ports that nobody can foretell.
#[derive(Debug)]
pub(crate) struct Guesses {
    ports: Vec<RangeInclusive<u16>>,
    secret: RandomState,
    made: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct Free {
    first: u16,
    /// Whether a port is lent, from `first` on.
    lent: Vec<bool>,
    /// Where the search begins: ports are used in turn, so that one which was just given back rests.
    next: usize,
}

/// Ports to be tried, one after the other.
#[derive(Debug)]
pub(crate) enum Lease {
    /// One that is lent until this is dropped.
    Lent(Arc<Mutex<Free>>, u16),
    /// Any of these. Port 0 is the system's choice.
    Any([u16; GUESSES + 1]),
}

impl Lease {
    pub(crate) fn ports(&self) -> &[u16] {
        match self {
            Lease::Lent(_, port) => std::slice::from_ref(port),
            Lease::Any(ports) => ports,
        }
    }
}

impl Ports {
    /// The ports of a range, or any.
    pub(crate) fn new(range: Option<PortRange>) -> Ports {
        match range {
            Some(PortRange(range)) => {
                let (first, lent) = (*range.start(), vec![false; range.len()]);
                Ports::Range(Arc::new(Mutex::new(Free { first, lent, next: 0 })))
            }
            None => {
                let setting = |name: &str| {
                    let path = format!("/proc/sys/net/ipv4/ip_local_{name}");
                    std::fs::read_to_string(path).unwrap_or_default()
                };
                Ports::Any(Arc::new(Guesses {
                    ports: ephemeral(&setting("port_range"), &setting("reserved_ports")),
                    secret: RandomState::new(),
                    made: AtomicU64::new(0),
                }))
            }
        }
    }

    /// Ports that no other session has; `None` when all are lent.
    pub(crate) fn lend(&self) -> Option<Lease> {
        let ports = match self {
            Ports::Range(ports) => ports,
            Ports::Any(guesses) => {
                let mut ports = [0; GUESSES + 1];
                ports[..GUESSES].fill_with(|| guesses.guess());
                return Some(Lease::Any(ports));
            }
        };
        let mut free = ports.lock().unwrap_or_else(PoisonError::into_inner);
        let count = free.lent.len();
        let at = (0..count).map(|step| (free.next + step) % count).find(|&at| !free.lent[at])?;
        free.lent[at] = true;
        free.next = (at + 1) % count;
        Some(Lease::Lent(Arc::clone(ports), free.first + at as u16))
    }

    /// How many leases there are to try.
    pub(crate) fn count(&self) -> usize {
        match self {
            Ports::Range(ports) => ports.lock().unwrap_or_else(PoisonError::into_inner).lent.len(),
            Ports::Any(_) => 1,
        }
    }
}

impl Guesses {
    fn guess(&self) -> u16 {
        let count: u64 = self.ports.iter().map(|range| range.len() as u64).sum();
        let drawn = self.secret.hash_one(self.made.fetch_add(1, Ordering::Relaxed));
        let mut at = drawn.checked_rem(count).unwrap_or_default() as usize;
        for range in &self.ports {
            match range.clone().nth(at) {
                Some(port) => return port,
                None => at -= range.len(),
            }
        }
        0
    }
}

/// What Linux chooses ports from, as it tells in /proc/sys/net/ipv4: two numbers, and a list of ranges that
/// are left out. None where it doesn't say.
fn ephemeral(range: &str, reserved: &str) -> Vec<RangeInclusive<u16>> {
    let mut words = range.split_whitespace().map_while(|word| word.parse::<u16>().ok());
    let (Some(first), Some(last)) = (words.next(), words.next()) else { return Vec::new() };
    let mut reserved: Vec<(u16, u16)> = reserved
        .trim()
        .split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some((first.parse().ok()?, last.parse().ok()?))
        })
        .collect();
    reserved.sort_unstable();
    let (mut left, mut next) = (Vec::new(), Some(first.max(1024)));
    for (first, last_reserved) in reserved {
        let Some(from) = next else { break };
        if first > from {
            left.push(from..=(first - 1).min(last));
        }
        next = last_reserved.checked_add(1).map(|behind| behind.max(from));
    }
    left.extend(next.map(|from| from..=last));
    left.retain(|range| !range.is_empty());
    left
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Lease::Lent(ports, port) = self {
            let mut free = ports.lock().unwrap_or_else(PoisonError::into_inner);
            let at = usize::from(*port - free.first);
            free.lent[at] = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        assert_eq!("50000-50100".parse(), Ok(PortRange(50_000..=50_100)));
        assert_eq!(" 7 - 7 ".parse::<PortRange>().unwrap().to_string(), "7-7");
        for wrong in ["", "50000", "2-1", "0-5", "1-65536", "a-b", "-", "1-2-3"] {
            assert!(wrong.parse::<PortRange>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn ports_are_lent_in_turn_and_come_back() {
        let ports = Ports::new(PortRange::new(10, 12));
        let [a, b, c] = [(); 3].map(|()| ports.lend().unwrap());
        assert_eq!((a.ports(), b.ports(), c.ports()), (&[10][..], &[11][..], &[12][..]));
        assert!(ports.lend().is_none());
        drop(b);
        assert_eq!(ports.lend().unwrap().ports(), [11]);
        drop(a);
        // The one that rested longest.
        assert_eq!(ports.lend().unwrap().ports(), [10]);
        for _ in 0..1000 {
            assert!(ports.lend().is_some());
        }
    }

    #[test]
    fn what_the_system_chooses_from_is_read() {
        assert_eq!(ephemeral("32768\t60999\n", "\n"), [32_768..=60_999]);
        assert_eq!(ephemeral("1 2000", ""), [1024..=2000]);
        let reserved = "50000-60999,40000,32768-32770,7\n";
        assert_eq!(ephemeral("32768 60999", reserved), [32_771..=39_999, 40_001..=49_999]);
        assert_eq!(ephemeral("2000 3000", "1-65535"), []);
        assert_eq!(
            ephemeral("2000 3000", "4000-5000,2500-2600,2550-2560"),
            [2000..=2499, 2601..=3000]
        );
        for nothing in ["", "x y", "5000", "5000 4000"] {
            assert_eq!(ephemeral(nothing, ""), [], "{nothing}");
        }
    }

    #[test]
    fn guesses_are_all_over_the_range_and_the_system_is_asked_last() {
        let ports = vec![1024..=1033, 2000..=2009];
        let guesses = |ports| {
            Ports::Any(Arc::new(Guesses {
                ports,
                secret: RandomState::new(),
                made: AtomicU64::new(0),
            }))
        };
        let (one, other) = (guesses(ports.clone()), guesses(ports.clone()));
        let draw = |ports: &Ports| {
            let lease = ports.lend().unwrap();
            assert_eq!(lease.ports().last(), Some(&0));
            lease.ports()[..GUESSES].to_vec()
        };
        let drawn: Vec<u16> = (0..100).flat_map(|_| draw(&one)).collect();
        for range in ports {
            assert!(range.clone().all(|port| drawn.contains(&port)), "{drawn:?}");
        }
        assert!(
            drawn.iter().all(|port| (1024..1034).contains(port) || (2000..2010).contains(port))
        );
        let again: Vec<u16> = (0..100).flat_map(|_| draw(&other)).collect();
        assert_ne!(drawn, again);
        // Where nothing is known, the system chooses at once.
        assert_eq!(draw(&guesses(Vec::new())), [0; GUESSES]);
    }
}
