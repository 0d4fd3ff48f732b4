//! Telling somebody what became of a reply: access logs depend on it.
//!
//! It changes no byte. It belongs around the whole reply: inside a transformer it could only tell what
//! the transformer took.

use std::cell::Cell;
use std::rc::Rc;

use super::{ProduceError, Produced, Producer};
use crate::outbox::{Delivered, Outbox};

/// Produces what `inner` does, and tells `hook` once what became of it: when the socket has taken the
/// last byte, when `inner` failed, or when the client left.
///
/// Its chunk is that of `inner`.
pub fn hooked<P: Producer>(inner: P, hook: impl FnOnce(Delivered) + Send + 'static) -> Hooked<P> {
    Hooked { inner, hook: Some(Box::new(hook)), sent: None }
}

/// Made by [`hooked`].
pub struct Hooked<P> {
    inner: P,
    hook: Option<Box<dyn FnOnce(Delivered) + Send>>,
    sent: Option<Sent>,
}

/// How far the reply has come.
struct Sent {
    /// What had been pushed before its first byte, and what has been with its last.
    began: u64,
    ended: u64,
    /// What the socket has taken of all that was pushed.
    written: Rc<Cell<u64>>,
}

impl<P: Producer> Producer for Hooked<P> {
    fn produce(&mut self, out: &mut Outbox) -> Result<Produced, ProduceError> {
        let sent = self.sent.get_or_insert_with(|| Sent {
            began: out.pushed(),
            ended: out.pushed(),
            written: out.progress(),
        });
        let produced = self.inner.produce(out);
        sent.ended = out.pushed();
        let began = sent.began;
        match produced {
            Ok(Produced::Done) => {
                if let Some(hook) = self.hook.take() {
                    out.push_milestone(began, hook);
                }
            }
            Ok(_) => {}
            Err(_) => self.give_up(),
        }
        produced
    }

    fn remaining(&self) -> Option<u64> {
        self.inner.remaining()
    }
}

impl<P> Hooked<P> {
    fn give_up(&mut self) {
        if let Some(hook) = self.hook.take() {
            let bytes = self
                .sent
                .as_ref()
                .map_or(0, |sent| sent.written.get().clamp(sent.began, sent.ended) - sent.began);
            hook(Delivered { bytes, completed: false });
        }
    }
}

impl<P> Drop for Hooked<P> {
    fn drop(&mut self) {
        self.give_up();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::producer::{bytes, composite, empty, generated};

    fn told(producer: impl Producer) -> (Hooked<impl Producer>, mpsc::Receiver<Delivered>) {
        let (tell, told) = mpsc::channel();
        (hooked(producer, move |delivered| tell.send(delivered).unwrap()), told)
    }

    #[test]
    fn the_hook_waits_for_the_socket() {
        let mut out = Outbox::new();
        out.push_slice(b"earlier");
        let (mut producer, told) = told(bytes("hello"));
        assert_eq!(producer.produce(&mut out).unwrap(), Produced::Done);
        drop(producer);
        out.advance(11);
        assert!(told.try_recv().is_err());
        out.advance(1);
        assert_eq!(told.recv().unwrap(), Delivered { bytes: 5, completed: true });
        assert!(told.recv().is_err());
    }

    #[test]
    fn an_empty_reply_is_told_at_once() {
        let (mut producer, told) = told(empty());
        assert_eq!(producer.produce(&mut Outbox::new()).unwrap(), Produced::Done);
        assert_eq!(told.try_recv().unwrap(), Delivered { bytes: 0, completed: true });
    }

    #[test]
    fn a_client_that_leaves_is_told() {
        let mut out = Outbox::new();
        out.set_target(1);
        let (mut producer, told) = told(composite(vec![bytes("hello"), bytes("world")]));
        assert_eq!(producer.produce(&mut out).unwrap(), Produced::More);
        // What waits in the outbox never reaches anybody.
        out.advance(2);
        drop(producer);
        assert_eq!(told.try_recv().unwrap(), Delivered { bytes: 2, completed: false });
        drop(out);
        assert!(told.recv().is_err());
    }

    #[test]
    fn an_outbox_that_is_abandoned_is_told() {
        let mut out = Outbox::new();
        let (mut producer, told) = told(bytes("hello"));
        assert_eq!(producer.produce(&mut out).unwrap(), Produced::Done);
        drop(producer);
        out.advance(2);
        drop(out);
        assert_eq!(told.try_recv().unwrap(), Delivered { bytes: 2, completed: false });
    }

    #[test]
    fn an_error_is_told_once() {
        let (mut producer, told) =
            told(generated(|_: &mut Outbox| Err(ProduceError::Truncated { missing: 1 })));
        assert!(producer.produce(&mut Outbox::new()).is_err());
        drop(producer);
        assert_eq!(told.try_recv().unwrap(), Delivered { bytes: 0, completed: false });
        assert!(told.recv().is_err());
    }
}
