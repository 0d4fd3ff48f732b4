//! Bodies on their way in: framed by length or by chunks, handed to their reader piece by piece, held
//! while it pauses, passed over when nobody wants them. Nothing is kept of them here.

use http::Version;
use medusa_core::{Cx, Frame, Framing};

use super::states::Event;
use super::{Asker, HttpSession};
use crate::body::BodyLength;
use crate::chunked::{Decoded, Decoder, Want};
use crate::error::Fault;
use crate::handler::{BodyReader, Exchange, Read, Reading};
use crate::head::{Head, Known};
use crate::response::Response;

/// A body that isn't at its end.
pub(super) struct OpenBody {
    pub(super) framing: BodyFraming,
    /// The client waits for 100 before it sends (RFC 9110 §10.1.1).
    pub(super) expects: bool,
    /// The core has been told what to expect.
    pub(super) begun: bool,
    /// None while the answer is put off, or the rest is passed over.
    pub(super) reading: Option<OpenReading>,
}

pub(super) struct OpenReading {
    pub(super) asker: Asker,
    pub(super) reader: Box<dyn BodyReader>,
    /// The ticket by which a pause ends.
    pub(super) paused: Option<u32>,
    /// The pause came with the last piece.
    pub(super) whole: bool,
}

pub(super) enum BodyFraming {
    /// So many octets are left.
    Length(u64),
    Chunked(Box<Decoder>),
}

impl OpenBody {
    /// Expects what comes next of it. Its minimum rate holds on across the lines of chunks, so that a body
    /// can't be dripped in chunks of one octet.
    pub(super) fn expect(&self, cx: &mut Cx<'_>) {
        cx.expect_in_body(match &self.framing {
            BodyFraming::Length(left) => Framing::length(*left),
            BodyFraming::Chunked(decoder) => match decoder.wants() {
                Want::Octets(size) => Framing::length(size),
                Want::Line { limit } => Framing::line(limit),
                Want::Nothing => Framing::line(0),
            },
        });
    }
}

impl HttpSession {
    /// The body that follows a head, if there is one, and whether the client waits to be asked for
    /// it.
    pub(super) fn open_body(
        &self,
        head: &Head<'_>,
        length: BodyLength,
    ) -> Result<Option<Box<OpenBody>>, Fault> {
        let expects = match head.known(Known::Expect) {
            // RFC 9110 §10.1.1: in 1.0 there is no such thing.
            Some(_) if head.version() == Version::HTTP_10 => false,
            Some(expectation) if expectation.eq_ignore_ascii_case(b"100-continue") => true,
            Some(_) => return Err(Fault::Expectation),
            None => false,
        };
        let framing = match length {
            BodyLength::Length(0) => return Ok(None),
            BodyLength::Length(length) => BodyFraming::Length(length),
            BodyLength::Chunked => {
                let limits = &self.shard.limits;
                BodyFraming::Chunked(Box::new(Decoder::new(limits.chunks, limits.body)))
            }
        };
        Ok(Some(Box::new(OpenBody { framing, expects, begun: false, reading: None })))
    }

    pub(super) fn begin_reading(
        &mut self,
        cx: &mut Cx<'_>,
        asker: Asker,
        read: Read,
        mut body: Box<OpenBody>,
    ) {
        let limit = match (read.limit, self.shard.limits.body) {
            (Some(own), Some(all)) => Some(own.min(all)),
            (own, all) => own.or(all),
        };
        match &mut body.framing {
            BodyFraming::Length(length) => {
                if limit.is_some_and(|limit| *length > limit) {
                    let response = Response::fault(Fault::BodyTooLong);
                    return self.settle(cx, asker, response.into(), Some(body), false);
                }
            }
            BodyFraming::Chunked(decoder) => {
                **decoder = Decoder::new(self.shard.limits.chunks, limit);
            }
        }
        if std::mem::take(&mut body.expects) {
            cx.write(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        body.reading = Some(OpenReading { asker, reader: read.reader, paused: None, whole: false });
        self.body = Some(body);
        self.enter(cx, Event::Read);
    }

    pub(super) fn body_received(&mut self, cx: &mut Cx<'_>, frame: Frame<'_>) {
        let Some(body) = &mut self.body else { return };
        let (piece, whole) = match &mut body.framing {
            BodyFraming::Length(left) => {
                *left = left.saturating_sub(frame.bytes.len() as u64);
                (frame.bytes, frame.end)
            }
            BodyFraming::Chunked(decoder) => {
                let decoded = match decoder.handle_frame(frame.bytes, frame.end) {
                    Ok(decoded) => decoded,
                    Err(fault) => return self.break_off(cx, fault),
                };
                if frame.end {
                    body.expect(cx);
                }
                match decoded {
                    Decoded::Framing => return,
                    Decoded::Data => (frame.bytes, false),
                    Decoded::End => (&[][..], true),
                }
            }
        };
        match &mut body.reading {
            None if whole => {
                self.body = None;
                self.enter(cx, Event::Whole);
                self.close_if_idle(cx);
            }
            None => {}
            Some(open) if !piece.is_empty() => {
                let mut exchange = Exchange::new(cx, &self.shard, &mut self.continuations);
                let reading = open.reader.received(piece, &mut exchange);
                open.asker.told(self.continuations.news());
                self.go_on(cx, reading, whole);
            }
            Some(_) if whole => self.body_ended(cx),
            Some(_) => {}
        }
    }

    /// Takes over what the reader of the body says of its request.
    pub(super) fn reader_told(&mut self) {
        if let Some(open) = self.body.as_mut().and_then(|body| body.reading.as_mut()) {
            open.asker.told(self.continuations.news());
        }
    }

    /// What the reader says decides what happens to the rest of the body.
    pub(super) fn go_on(&mut self, cx: &mut Cx<'_>, reading: Reading, whole: bool) {
        let Some(open) = self.body.as_mut().and_then(|body| body.reading.as_mut()) else { return };
        match reading {
            Reading::More if whole => self.body_ended(cx),
            Reading::More => {
                if open.paused.take().is_some() {
                    self.enter(cx, Event::Resume);
                }
            }
            Reading::Paused(ticket) => {
                open.paused = Some(ticket.id);
                open.whole = whole;
                self.enter(cx, Event::Pause);
            }
            Reading::Enough(answer) => {
                let Some(mut body) = self.body.take() else { return };
                let Some(open) = body.reading.take() else { return };
                let rest = (!whole).then_some(body);
                if rest.is_none() {
                    self.enter(cx, Event::Whole);
                }
                self.settle(cx, open.asker, answer, rest, false);
            }
        }
    }

    pub(super) fn body_ended(&mut self, cx: &mut Cx<'_>) {
        let Some(mut open) = self.body.take().and_then(|body| body.reading) else { return };
        self.enter(cx, Event::Whole);
        let mut exchange = Exchange::new(cx, &self.shard, &mut self.continuations);
        let answer = open.reader.ended(&mut exchange);
        open.asker.told(self.continuations.news());
        self.settle(cx, open.asker, answer, None, false);
    }

    /// The body is broken, or its end never comes.
    pub(super) fn break_off(&mut self, cx: &mut Cx<'_>, fault: Fault) {
        let open = self.body.take().and_then(|body| body.reading);
        match open {
            Some(OpenReading { asker, .. }) => {
                let asked = asker.asked.persistent_if(false);
                self.respond(cx, Asker { asked, ..asker }, None, Response::fault(fault));
            }
            // Its request has been answered: there is nobody to tell.
            None if self.phase.in_body() => self.enter(cx, Event::Last),
            None => self.refuse(cx, fault, b""),
        }
    }
}
