//! The ports for passive data connections: one set for all sessions of a service, lent and given back.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
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

/// The ports of a service. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Ports(Option<Arc<Mutex<Free>>>);

#[derive(Debug)]
struct Free {
    first: u16,
    /// Whether a port is lent, from `first` on.
    lent: Vec<bool>,
    /// Where the search begins: ports are used in turn, so that one which was just given back rests.
    next: usize,
}

/// A port that is lent until this is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    ports: Option<Arc<Mutex<Free>>>,
    pub(crate) port: u16,
}

impl Ports {
    /// The ports of a range, or whatever the system chooses.
    pub(crate) fn new(range: Option<PortRange>) -> Ports {
        Ports(range.map(|PortRange(range)| {
            let (first, lent) = (*range.start(), vec![false; range.len()]);
            Arc::new(Mutex::new(Free { first, lent, next: 0 }))
        }))
    }

    /// A port that no other session has; `None` when all are lent. Port 0 is any.
    pub(crate) fn lend(&self) -> Option<Lease> {
        let Some(ports) = &self.0 else { return Some(Lease { ports: None, port: 0 }) };
        let mut free = ports.lock().unwrap_or_else(PoisonError::into_inner);
        let count = free.lent.len();
        let at = (0..count).map(|step| (free.next + step) % count).find(|&at| !free.lent[at])?;
        free.lent[at] = true;
        free.next = (at + 1) % count;
        Some(Lease { ports: Some(Arc::clone(ports)), port: free.first + at as u16 })
    }

    /// How many ports there are to try.
    pub(crate) fn count(&self) -> usize {
        match &self.0 {
            Some(ports) => ports.lock().unwrap_or_else(PoisonError::into_inner).lent.len(),
            None => 1,
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(ports) = &self.ports {
            let mut free = ports.lock().unwrap_or_else(PoisonError::into_inner);
            let at = usize::from(self.port - free.first);
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
        assert_eq!((a.port, b.port, c.port), (10, 11, 12));
        assert!(ports.lend().is_none());
        drop(b);
        assert_eq!(ports.lend().unwrap().port, 11);
        drop(a);
        // The one that rested longest.
        assert_eq!(ports.lend().unwrap().port, 10);
        for _ in 0..1000 {
            assert!(ports.lend().is_some());
        }
    }
}
