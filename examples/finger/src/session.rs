//! One connection: a line with a question, a text with the answer, and the end (RFC 1288 §2.2).

use std::sync::Arc;

use bytes::Bytes;
use medusa_core::{Cx, Frame, Framing, ReplySlot, Session};
use medusa_files::Error;

use crate::plans::Plans;
use crate::query::{About, Query, parse};

/// A question's greatest length: `/W`, a name and a host name.
const MOST_QUESTION: usize = 512;

pub(crate) const BUSY: &[u8] = b"The server is busy, try again later.\r\n";
const NO_QUESTION: &[u8] = b"That is no question that finger knows.\r\n";
/// The words of RFC 1288 §3.2.1.
const NO_FORWARDING: &[u8] = b"Finger forwarding service denied.\r\n";

/// The protocol's machine.
#[derive(Debug)]
pub struct FingerSession {
    plans: Arc<Plans>,
    /// The answer's place in the order of replies.
    slot: Option<ReplySlot>,
}

impl FingerSession {
    /// A session that answers from `plans`.
    pub fn new(plans: Arc<Plans>) -> Self {
        Self { plans, slot: None }
    }

    fn look_up(&mut self, cx: &mut Cx<'_>, user: Option<String>, at_length: bool) {
        let plans = Arc::clone(&self.plans);
        // The place in the order is taken now, so the close below waits for the answer.
        self.slot = Some(cx.reserve());
        let work = move || match user {
            None => plans.everybody(at_length),
            Some(name) => plans.one(&name, at_length),
        };
        let asked = cx.offload(work, |session: &mut Self, cx, found: Result<String, Error>| {
            let text = found.unwrap_or_else(|error| match error.is_absence() {
                true => "No such user.\n".to_owned(),
                false => "That can't be looked up now.\n".to_owned(),
            });
            session.fulfil(cx, presentable(&text));
        });
        if asked.is_err() {
            self.fulfil(cx, Bytes::from_static(BUSY));
        }
    }

    fn fulfil(&mut self, cx: &mut Cx<'_>, answer: Bytes) {
        if let Some(slot) = self.slot.take() {
            cx.fulfil_bytes(slot, answer);
        }
    }
}

impl Session for FingerSession {
    fn opened(&mut self, cx: &mut Cx<'_>) {
        cx.expect(Framing::line(MOST_QUESTION));
    }

    fn received(&mut self, cx: &mut Cx<'_>, frame: Frame<'_>) {
        match parse(frame.bytes) {
            None => cx.write(NO_QUESTION),
            Some(Query { about, at_length }) => match about {
                About::Everybody => self.look_up(cx, None, at_length),
                About::User(name) => self.look_up(cx, Some(name), at_length),
                About::Elsewhere => cx.write(NO_FORWARDING),
            },
        }
        cx.close();
    }

    fn overlong(&mut self, cx: &mut Cx<'_>) {
        cx.write(NO_QUESTION);
        cx.close();
    }
}

/// Lines that end in CRLF, without anything that steers a terminal (RFC 1288 §3.3).
fn presentable(text: &str) -> Bytes {
    let mut shown = String::with_capacity(text.len() + 16);
    for line in text.lines() {
        shown.extend(line.chars().filter(|c| *c == '\t' || !c.is_control()));
        shown.push_str("\r\n");
    }
    shown.into()
}

#[cfg(test)]
mod tests {
    use medusa_core::Limits;
    use medusa_core::testing::{Client, Faults};

    use super::*;

    const ALICE: &str = "Alice, ground floor\nBack on Monday.\n";

    fn session() -> (tempfile::TempDir, FingerSession) {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, plan) in [("alice", ALICE), ("bob", "Bob \x1b[2J\n"), (".hidden", "no")] {
            std::fs::write(folder.path().join(name), plan).expect("a plan");
        }
        let plans = Plans::open(folder.path()).expect("a folder");
        (folder, FingerSession::new(Arc::new(plans)))
    }

    /// The whole answer to what a client sends.
    fn answer(sent: &[u8], faults: Faults) -> String {
        let (_folder, session) = session();
        let mut client = Client::with(Box::new(session), Limits::default(), faults);
        let answer = client.send(sent).run_jobs().text();
        assert!(client.is_closed(), "{sent:?} leaves the connection open");
        answer
    }

    #[test]
    fn questions_are_answered() {
        for (question, expected) in [
            ("alice\r\n", "Alice, ground floor\r\n"),
            ("/W alice\r\n", "Alice, ground floor\r\nBack on Monday.\r\n"),
            ("\r\n", "alice            Alice, ground floor\r\nbob              Bob [2J\r\n"),
            (
                "/W\r\n",
                "alice\r\nAlice, ground floor\r\nBack on Monday.\r\n\r\nbob\r\nBob [2J\r\n\r\n",
            ),
            ("carol\r\n", "No such user.\r\n"),
            (".hidden\r\n", "That is no question that finger knows.\r\n"),
            ("../alice\r\n", "That is no question that finger knows.\r\n"),
            ("alice@elsewhere.test\r\n", "Finger forwarding service denied.\r\n"),
            ("alice\r\nbob\r\n", "Alice, ground floor\r\n"),
        ] {
            assert_eq!(answer(question.as_bytes(), Faults::none()), expected, "{question:?}");
            for size in 1..4 {
                let faults = Faults::none().reads([size]).writes([size]);
                assert_eq!(answer(question.as_bytes(), faults), expected, "{question:?} by {size}");
            }
        }
    }

    #[test]
    fn a_question_without_an_end_is_refused() {
        assert_eq!(answer(&[b'a'; MOST_QUESTION + 2], Faults::none()).as_bytes(), NO_QUESTION);
    }

    #[test]
    fn a_client_that_half_closes_is_answered() {
        let (_folder, session) = session();
        let mut client = Client::new(session);
        client.send("alice\r\n").end().run_jobs();
        assert_eq!(client.text(), "Alice, ground floor\r\n");
    }

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(presentable("a\x1b[2Jb\tc\r\nd\u{9b}e\n"), "a[2Jb\tc\r\nde\r\n");
        assert_eq!(presentable(""), "");
    }
}
