//! Doors to DNS servers of this process, for protocols that carry DNS messages: HTTP does (RFC 8484).
//!
//! A server puts its door under its name, and who carries messages finds it there. Nothing here knows what a
//! message says.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// Answers DNS messages that came by another way than the server's own sockets.
pub trait Door: Send + Sync {
    /// Answers a message. Called on a shard, so it must not block.
    fn answer(&self, message: &[u8], visitor: Visitor) -> DoorReply;
}

/// What a message is answered with.
#[derive(Debug)]
#[must_use]
pub enum DoorReply {
    /// This.
    Now(DoorAnswer),
    /// Something that isn't known yet.
    Later(Pending),
    /// Nothing: it is no question.
    Nothing,
}

/// Who wants the answer that comes later. Called once, on any thread; dropped, there is no answer.
pub type Then = Box<dyn FnOnce(DoorAnswer) + Send>;

/// An answer that isn't known yet. What has to be done for it begins when somebody wants it.
#[must_use]
pub struct Pending(Box<dyn FnOnce(Then) + Send>);

impl Pending {
    /// One that `begin` sees to.
    pub fn new(begin: impl FnOnce(Then) + Send + 'static) -> Pending {
        Pending(Box::new(begin))
    }

    /// Has `then` hear of it.
    pub fn begin(self, then: impl FnOnce(DoorAnswer) + Send + 'static) {
        (self.0)(Box::new(then));
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pending")
    }
}

/// Who brings a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visitor {
    /// Its address, where that is known.
    pub address: Option<IpAddr>,
    /// Whether nobody else can read what is said.
    pub is_secure: bool,
    /// The time.
    pub now: SystemTime,
}

/// A message, and how long it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoorAnswer {
    /// The message.
    pub message: Vec<u8>,
    /// For how many seconds it may be kept.
    pub seconds: u32,
}

/// The doors of a process, by the name of the service: `dns.zones`. All clones are the same doors.
#[derive(Clone, Default)]
pub struct Doors(Arc<Mutex<BTreeMap<String, Arc<dyn Door>>>>);

impl Doors {
    /// Puts a door under a name; one that was there is replaced.
    pub fn open(&self, service: impl Into<String>, door: Arc<dyn Door>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(service.into(), door);
    }

    /// Takes the door under a name away, and gives it.
    pub fn close(&self, service: &str) -> Option<Arc<dyn Door>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(service)
    }

    /// The door under a name.
    pub fn named(&self, service: &str) -> Option<Arc<dyn Door>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(service).cloned()
    }
}

impl fmt::Debug for Doors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let doors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_set().entries(doors.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Echo;

    impl Door for Echo {
        fn answer(&self, message: &[u8], _: Visitor) -> DoorReply {
            DoorReply::Now(DoorAnswer { message: message.to_vec(), seconds: 7 })
        }
    }

    #[test]
    fn a_door_is_found_by_its_name() {
        let doors = Doors::default();
        doors.clone().open("dns.zones", Arc::new(Echo));
        assert!(doors.named("dns.other").is_none());
        let door = doors.named("dns.zones").unwrap();
        let visitor = Visitor { address: None, is_secure: true, now: SystemTime::UNIX_EPOCH };
        let DoorReply::Now(answer) = door.answer(b"x", visitor) else { panic!("now") };
        assert_eq!((answer.message, answer.seconds), (b"x".to_vec(), 7));
        assert_eq!(format!("{doors:?}"), "{\"dns.zones\"}");
        assert!(doors.close("dns.zones").is_some());
        assert!(doors.named("dns.zones").is_none());
    }
}
