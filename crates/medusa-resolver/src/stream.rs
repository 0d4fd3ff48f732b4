//! The connection to an upstream server, over TCP (RFC 7766) or TLS (RFC 7858): messages with their length
//! in front, many under way at a time.
//!
//! It knows nothing of what they say: what it receives it hands to the service that has made it.

use medusa_core::{Cx, Deadline, Frame, Framing, Goodbye, Note, Remote, Session};

/// A note to the connection: a message to be sent.
pub(crate) struct Message(pub(crate) Vec<u8>);

/// A note to the connection: it isn't needed any more.
pub(crate) struct Leave;

/// A note of the connection's to its service.
pub(crate) struct Said {
    pub(crate) server: u32,
    /// The service's own number for the connection.
    pub(crate) connection: u64,
    pub(crate) event: Event,
}

pub(crate) enum Event {
    /// A message has come.
    Received(Vec<u8>),
    /// The connection is gone; it never stood if it has `failed`.
    Ended { failed: bool },
}

/// The session.
pub(crate) struct Upward {
    server: u32,
    connection: u64,
    service: Remote,
    stands: bool,
    /// What is to be sent once it stands.
    waiting: Vec<Vec<u8>>,
    /// Messages that were sent and have had no answer, as far as counting tells.
    owed: usize,
    /// The length was read, and the message is next.
    in_message: bool,
}

const LENGTH: Framing = Framing::exact(2);

impl Upward {
    pub(crate) fn new(server: u32, connection: u64, service: Remote) -> Self {
        let waiting = Vec::new();
        Upward { server, connection, service, stands: false, waiting, owed: 0, in_message: false }
    }

    fn send(&mut self, cx: &mut Cx<'_>, message: &[u8]) {
        self.owed += 1;
        // In one write, so that both parts go in one segment (RFC 7766 §8).
        cx.compose(|out| {
            out.extend_from_slice(&(message.len() as u16).to_be_bytes());
            out.extend_from_slice(message);
        });
    }
}

impl Session for Upward {
    fn opened(&mut self, cx: &mut Cx<'_>) {
        self.stands = true;
        cx.expect(LENGTH);
        for message in std::mem::take(&mut self.waiting) {
            self.send(cx, &message);
        }
    }

    fn received(&mut self, cx: &mut Cx<'_>, frame: Frame<'_>) {
        if self.in_message {
            self.in_message = false;
            cx.expect(LENGTH);
            let event = Event::Received(frame.bytes.into());
            let (server, connection) = (self.server, self.connection);
            cx.notify(self.service.address(), Said { server, connection, event });
            self.owed = self.owed.saturating_sub(1);
            if cx.is_draining() && self.owed == 0 {
                cx.close();
            }
            return;
        }
        match frame.bytes {
            &[high, low] if (high, low) != (0, 0) => {
                self.in_message = true;
                cx.expect(Framing::exact(u16::from_be_bytes([high, low]).into()));
            }
            // No message is empty.
            _ => cx.abort(),
        }
    }

    fn notified(&mut self, cx: &mut Cx<'_>, note: Note) {
        match note.downcast::<Message>() {
            Ok(Message(bytes)) if self.stands => self.send(cx, &bytes),
            Ok(Message(bytes)) => self.waiting.push(bytes),
            Err(note) if note.is::<Leave>() => cx.close(),
            Err(_) => {}
        }
    }

    fn timed_out(&mut self, cx: &mut Cx<'_>, _: Deadline) {
        cx.close();
    }

    /// Those who wait for an answer may still need it to come to an end.
    fn draining(&mut self, cx: &mut Cx<'_>) {
        if self.owed == 0 && self.waiting.is_empty() {
            cx.close();
        }
    }

    fn closed(&mut self, goodbye: &Goodbye) {
        let (server, connection) = (self.server, self.connection);
        let event = Event::Ended { failed: !self.stands };
        goodbye.notify(self.service.address(), Said { server, connection, event });
    }
}

#[cfg(test)]
mod tests {
    use medusa_core::testing::{Asked, Client};

    use super::*;

    fn said(client: &mut Client) -> Vec<Vec<u8>> {
        let notes = client.asked().into_iter().filter_map(|asked| match asked {
            Asked::Notify(_, note) => note.downcast::<Said>().ok(),
            _ => None,
        });
        notes
            .filter_map(|said| match said.event {
                Event::Received(bytes) => Some(bytes),
                Event::Ended { .. } => None,
            })
            .collect()
    }

    fn client() -> Client {
        struct Other;
        impl Session for Other {
            fn opened(&mut self, _: &mut Cx<'_>) {}
            fn received(&mut self, _: &mut Cx<'_>, _: Frame<'_>) {}
        }
        let service = Client::new(Other).remote().expect("a session");
        Client::new(Upward::new(7, 1, service))
    }

    #[test]
    fn messages_have_their_length_in_front_however_they_are_cut() {
        let stream = b"\0\x03abc\0\x01d\0\x02ef";
        for first in 0..stream.len() {
            for second in first..stream.len() {
                let mut client = client();
                client.send(&stream[..first]).send(&stream[first..second]).send(&stream[second..]);
                assert_eq!(said(&mut client), [&b"abc"[..], b"d", b"ef"], "{first} {second}");
            }
        }
        let mut client = client();
        client.notify(Message(b"question".into()));
        assert_eq!(client.output(), b"\0\x08question");
    }

    #[test]
    fn what_is_owed_is_waited_for_when_the_server_ends() {
        let mut idle = client();
        idle.drain();
        assert!(idle.is_closed());
        let mut client = client();
        client.notify(Message(b"a".into())).notify(Message(b"b".into())).drain();
        client.send(b"\0\x01x");
        assert!(!client.is_closed());
        client.send(b"\0\x01y");
        assert!(client.is_closed());
        assert_eq!(said(&mut client), [b"x", b"y"]);
    }

    #[test]
    fn an_empty_message_ends_it() {
        let mut client = client();
        client.send(b"\0\0");
        assert!(client.is_closed());
    }
}
