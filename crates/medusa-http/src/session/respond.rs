//! Responses on their way: composed straight into the connection's outbox where nothing is before
//! them, and as producers where something is, where their place was reserved, or where the access log
//! wants to know what became of them.

use bytes::Bytes;
use http::StatusCode;
use medusa_core::producer::{chain, chunked};
use medusa_core::{Cx, Producer, ReplySlot};

use super::{Asker, Event, HttpSession};
use crate::access::Record;
use crate::compose::{self, Asked, End, Plan};
use crate::error::Fault;
use crate::response::{Body, Response};

/// Bodies up to this length are copied behind their head: dearer than an entry in a `writev` beyond
/// it, as the outbox has it.
const SMALL_BODY: usize = 1024;

impl HttpSession {
    /// Sends a response, in its slot or behind all that came before.
    #[inline]
    pub(super) fn respond(
        &mut self,
        cx: &mut Cx<'_>,
        mut asker: Asker,
        slot: Option<ReplySlot>,
        mut response: Response,
    ) {
        if slot.is_none() {
            self.requests = self.requests.wrapping_add(1);
            asker.asked = asker.asked.persistent_if(!self.ending);
        }
        if let Some(misuse) = response.parts.misuse {
            return self.respond_to_misuse(cx, asker, slot, misuse);
        }
        if let Some(tally) = &self.shard.tally {
            tally.count(response.status());
        }
        let stamp = self.shard.dates.at(cx.wall_clock());
        let plan = Plan::new(asker.asked, &response);
        // RFC 6797 §7.2: never without TLS.
        let always = if asker.asked.is_secure() { &self.shard.hsts[..] } else { &[] };
        if asker.record.is_none() && slot.is_none() {
            let small = match response.content() {
                Body::Bytes(bytes) if plan.send_body && bytes.len() <= SMALL_BODY => &bytes[..],
                Body::Copy(copy) if plan.send_body && copy.len() <= SMALL_BODY => copy,
                _ => &[],
            };
            let sent = !small.is_empty();
            cx.compose(|out| {
                compose::head(out, &response, asker.asked, plan, &stamp, always);
                out.extend_from_slice(small);
            });
            if plan.send_body && !sent {
                match std::mem::take(&mut response.parts.body) {
                    Body::Empty => {}
                    Body::Bytes(bytes) => cx.send_bytes(bytes),
                    Body::Copy(copy) => cx.send_bytes(copy.into()),
                    Body::Producer(producer) if plan.end == End::Chunked => {
                        cx.send(chunked(producer));
                    }
                    Body::Producer(producer) => cx.send_boxed(producer),
                }
            }
        } else {
            let mut head = Vec::new();
            compose::head(&mut head, &response, asker.asked, plan, &stamp, always);
            let head_length = head.len();
            let body = std::mem::take(&mut response.parts.body);
            let body = if plan.send_body { body } else { Body::Empty };
            let whole = whole(head, body, plan);
            let whole = match asker.record {
                Some(record) => Box::new(record.logged(whole, response.status(), head_length)),
                None => whole,
            };
            match slot {
                Some(slot) => cx.fulfil(slot, whole),
                None => cx.send_boxed(whole),
            }
        }
        drop(stamp);
        response.parts.empty();
        self.shard.spare.set(Some(response.parts));
        if plan.close {
            self.enter(cx, Event::Last);
        }
    }

    /// Refuses what can't be made out, and with it all that follows.
    #[cold]
    pub(super) fn refuse(&mut self, cx: &mut Cx<'_>, fault: Fault, octets: &[u8]) {
        let stamp = self.shard.dates.at(cx.wall_clock());
        let sink = self.shard.access.as_ref();
        let record = sink.map(|sink| Record::of_part(sink, cx.peer(), &stamp, octets));
        drop(stamp);
        let asked = Asked::UNKNOWN.secured(cx.is_secured());
        let asker = Asker { asked, record };
        self.respond(cx, asker, None, Response::fault(fault));
    }

    #[cold]
    fn respond_to_misuse(
        &mut self,
        cx: &mut Cx<'_>,
        asker: Asker,
        slot: Option<ReplySlot>,
        misuse: &str,
    ) {
        tracing::error!(misuse, "a handler's response can't be sent");
        let response = Response::error(StatusCode::INTERNAL_SERVER_ERROR);
        self.respond(cx, asker, slot, response);
    }
}

/// Head and body as one producer.
fn whole(mut head: Vec<u8>, body: Body, plan: Plan) -> Box<dyn Producer> {
    use medusa_core::producer::bytes;
    match body {
        Body::Empty => Box::new(bytes(head)),
        Body::Bytes(small) if small.len() <= SMALL_BODY => {
            head.extend_from_slice(&small);
            Box::new(bytes(head))
        }
        Body::Bytes(large) => Box::new(chain(bytes(Bytes::from(head)), bytes(large))),
        Body::Copy(small) if small.len() <= SMALL_BODY => {
            head.extend_from_slice(&small);
            Box::new(bytes(head))
        }
        Body::Copy(large) => Box::new(chain(bytes(head), bytes(large))),
        Body::Producer(producer) if plan.end == End::Chunked => {
            Box::new(chain(bytes(head), chunked(producer)))
        }
        Body::Producer(producer) => Box::new(chain(bytes(head), producer)),
    }
}
