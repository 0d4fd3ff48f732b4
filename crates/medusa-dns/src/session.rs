//! One connection over TCP or TLS: messages with their length in front (RFC 1035 §4.2.2), as many as the
//! client likes. What is known is answered in the order in which it is asked, and before what others are
//! asked for (RFC 7766 §6.2.1.1).
//!
//! What is answered is in `answer`.

use std::cell::RefCell;
use std::rc::Rc;

use medusa_core::{Cx, Frame, Framing, Note, Returned, Session, TimerKey};
use medusa_resolver::Forwarded;

use crate::answer::{Answerer, Asker, Outcome, Transport, refuse};
use crate::ledger::Receiver;
use crate::recursion::Owing;
use crate::service::{Shared, seconds, whole_seconds_of};
use crate::transfer::{self, Asked, Handled};
use crate::types::Rcode;

/// A connection.
pub(crate) struct DnsSession {
    shared: Rc<Shared>,
    answerer: Rc<RefCell<Answerer>>,
    /// Whether the length is known, and the message is expected.
    in_message: bool,
    /// What others were asked for.
    owing: Option<Box<Owing>>,
}

impl DnsSession {
    pub(crate) fn new(shared: Rc<Shared>, answerer: Rc<RefCell<Answerer>>) -> DnsSession {
        DnsSession { shared, answerer, in_message: false, owing: None }
    }

    fn answer(&mut self, cx: &mut Cx<'_>, message: &[u8]) {
        let asker = Asker {
            address: cx.peer().remote.ip(),
            transport: if cx.is_secured() { Transport::Secured } else { Transport::Tcp },
            now: seconds(cx.wall_clock()),
        };
        if transfer::concerns(message) {
            return self.hand_over(cx, &asker, message);
        }
        let zones = self.shared.zones.current();
        let mut answerer = self.answerer.borrow_mut();
        let shared = &*self.shared;
        let mut passed_on = None;
        let to = Receiver { address: asker.address, at: cx.wall_clock() };
        let mut compose = |out: &mut Vec<u8>| {
            with_length(out, |out| {
                let start = out.len();
                let outcome = answerer.answer(&zones, &shared.settings, &asker, message, out);
                if let Some(recursion) = &shared.recursion
                    && let Outcome::Answered(answered) = &outcome
                {
                    let (asked, answer) = ((message, &asker), &mut out[start..]);
                    passed_on = recursion.takes(asked, answered, &answerer, &zones, answer);
                    if passed_on.is_some() {
                        out.truncate(start);
                    }
                }
                if let (Outcome::Answered(answered), None) = (&outcome, &passed_on) {
                    shared.ledger.answered(answered.rcode, &out[start..], to);
                }
                outcome
            })
        };
        let outcome = match &mut self.owing {
            Some(owing) if !owing.is_empty() => {
                let mut framed = Vec::new();
                let outcome = compose(&mut framed);
                if !framed.is_empty() {
                    owing.send(cx, framed);
                }
                outcome
            }
            _ => cx.compose(compose),
        };
        if let Some(kept) = passed_on {
            return self.owing.get_or_insert_default().pass_on(cx, shared, kept);
        }
        match outcome {
            Outcome::Answered(_) => {}
            // The desk has taken those.
            Outcome::Transfer => {
                cx.compose(|out| with_length(out, |out| refuse(message, Rcode::REFUSED, out)));
            }
            // Whoever sends what is no question gets nothing more (RFC 7766 §6.2.2 has no better idea).
            Outcome::Ignored => cx.close(),
        }
    }

    /// Has the desk handle what is no plain question.
    fn hand_over(&mut self, cx: &mut Cx<'_>, asker: &Asker, message: &[u8]) {
        let now = whole_seconds_of(cx.wall_clock());
        let asked = Asked { message, address: asker.address, transport: asker.transport, now };
        let plain = |message: &[u8], out: &mut Vec<u8>| {
            let zones = self.shared.zones.current();
            let mut answerer = self.answerer.borrow_mut();
            answerer.answer(&zones, &self.shared.settings, asker, message, out)
        };
        match self.shared.desk.handle(&asked, plain) {
            Handled::Ignored => cx.close(),
            Handled::Reply(answer) => framed(&answer, |bytes| cx.write(bytes)),
            Handled::Answered(said) => {
                let to = Receiver { address: asker.address, at: cx.wall_clock() };
                let (rcode, answer) = (said.answered.rcode, said.message());
                self.shared.ledger.answered(rcode, &answer, to);
                framed(&answer, |bytes| cx.write(bytes));
            }
            Handled::Stream(outgoing) => cx.send(*outgoing),
            Handled::Work(work) => {
                let slot = cx.reserve();
                let then = move |_: &mut DnsSession, cx: &mut Cx<'_>, answer: Vec<u8>| {
                    framed(&answer, |bytes| cx.fulfil_bytes(slot, bytes.to_vec().into()));
                };
                if let Err(Returned((_, then))) = cx.offload(work, then) {
                    let mut answer = Vec::new();
                    refuse(message, Rcode::SERVFAIL, &mut answer);
                    then(self, cx, answer);
                }
            }
        }
    }
}

/// Hands on an answer with its length in front.
fn framed(answer: &[u8], write: impl FnOnce(&[u8])) {
    let mut bytes = Vec::with_capacity(answer.len() + 2);
    with_length(&mut bytes, |out| out.extend_from_slice(answer));
    write(&bytes);
}

impl Session for DnsSession {
    fn opened(&mut self, cx: &mut Cx<'_>) {
        cx.expect(Framing::exact(2));
    }

    fn received(&mut self, cx: &mut Cx<'_>, frame: Frame<'_>) {
        if !self.in_message {
            let length =
                frame.bytes.first_chunk::<2>().map_or(0, |bytes| u16::from_be_bytes(*bytes));
            if length == 0 {
                cx.close();
                return;
            }
            self.in_message = true;
            cx.expect(Framing::exact(length.into()));
            return;
        }
        self.in_message = false;
        cx.expect(Framing::exact(2));
        self.answer(cx, frame.bytes);
    }

    fn notified(&mut self, cx: &mut Cx<'_>, note: Note) {
        if let (Some(owing), Ok(forwarded)) = (&mut self.owing, note.downcast::<Forwarded>()) {
            owing.heard(cx, &self.shared, &forwarded);
        }
    }

    fn expired(&mut self, cx: &mut Cx<'_>, _: TimerKey) {
        if let Some(owing) = &mut self.owing {
            owing.expired(cx, &self.shared);
        }
    }
}

/// Appends what `compose` appends, with its length in front; nothing if that is nothing.
pub(crate) fn with_length<R>(out: &mut Vec<u8>, compose: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    let start = out.len();
    out.extend_from_slice(&[0, 0]);
    let result = compose(out);
    let length = out.len() - start - 2;
    if length == 0 {
        out.truncate(start);
    } else {
        out[start..start + 2].copy_from_slice(&(length as u16).to_be_bytes());
    }
    result
}
