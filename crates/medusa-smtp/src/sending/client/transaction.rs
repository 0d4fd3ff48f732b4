//! One message over a connection that stands: MAIL, RCPT, and DATA or BDAT.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use medusa_core::Cx;
use medusa_core::producer::{dot_stuffed, file};
use medusa_mail::Body;

use super::{Await, ClientSession, Job, Stage, WINDOW};
use crate::sending::outcome::{Kind, Outcome, Problem};
use crate::sending::reply::{Reply, Status};

/// How much of a message is looked at in one read.
const PIECE: usize = 64 * 1024;

/// A message under way.
pub(super) struct Transaction {
    job: Job,
    step: Step,
    /// Recipients of the job that are part of it: those beyond may come in another one.
    count: usize,
    /// The places in the job of those that were taken.
    taken: Vec<usize>,
    outcomes: Vec<(usize, Outcome)>,
    /// Why the whole is refused.
    refused: Option<Outcome>,
    /// Whether it is said to be more than 7-bit ASCII, and to need SMTPUTF8.
    says: Says,
    body: Pour,
}

#[derive(Debug, Clone, Copy, Default)]
struct Says {
    body: Option<Body>,
    smtputf8: bool,
}

/// What is said next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Rset,
    Mail,
    Rcpt(usize),
    Body,
    Said,
}

/// How far the message itself is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pour {
    Not,
    /// It is being sent.
    Under,
    /// All of it has been handed to the network.
    Out,
}

/// What a message holds beyond ASCII.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Beyond {
    head: bool,
    body: bool,
}

impl Transaction {
    pub(super) fn ticket(&self) -> u64 {
        self.job.ticket
    }

    pub(super) fn into_outcomes(self) -> Vec<(usize, Outcome)> {
        self.outcomes
    }

    /// Whether the server may have taken the message.
    pub(super) fn awaits_verdict(&self) -> bool {
        self.body == Pour::Out
    }

    fn settle(&mut self, place: usize, outcome: Outcome) {
        if let Some(recipient) = self.job.recipients.get(place) {
            self.outcomes.push((recipient.index, outcome));
        }
    }

    fn settle_taken(&mut self, outcome: &Outcome) {
        for place in std::mem::take(&mut self.taken) {
            self.settle(place, outcome.clone());
        }
    }
}

impl ClientSession {
    pub(super) fn begin(&mut self, cx: &mut Cx<'_>, job: Job) {
        self.stage = Stage::Sending;
        let message = Arc::clone(&job.message);
        let most = self.offered.most_recipients.unwrap_or(usize::MAX);
        let count = job.recipients.len().min(most);
        let step = if self.dirty { Step::Rset } else { Step::Mail };
        let needs_utf8 = message.smtputf8
            || !message.sender.is_ascii()
            || job.recipients.iter().any(|recipient| !recipient.address.is_ascii());
        let offered = &self.offered;
        let says = Says {
            body: match message.body {
                Body::BinaryMime => Some(Body::BinaryMime),
                body => offered.eight_bit.then_some(body),
            },
            smtputf8: needs_utf8 && offered.smtputf8,
        };
        let unfit = [
            (
                matches!(offered.size, Some(Some(limit)) if message.size > limit),
                Status(5, 3, 4),
                "the message is larger than the server takes",
            ),
            (
                message.body == Body::BinaryMime && !(offered.binary && offered.chunking),
                Status(5, 6, 3),
                "the message is binary, which the server doesn't take",
            ),
            (
                has_controls(&job),
                Status(5, 1, 3),
                "an address or a parameter holds what can't be sent",
            ),
        ];
        let unfit = unfit.into_iter().find(|(is_so, ..)| *is_so);
        let unsure = (message.body == Body::EightBitMime && !offered.eight_bit)
            || (needs_utf8 && !offered.smtputf8);
        self.transaction = Some(Box::new(Transaction {
            job,
            step,
            count,
            taken: Vec::new(),
            outcomes: Vec::new(),
            refused: None,
            says,
            body: Pour::Not,
        }));
        if let Some((_, status, text)) = unfit {
            let mut outcome = Outcome::failed(status, text);
            outcome.host = Some(Arc::clone(&self.profile.host));
            return self.refuse_all(cx, &outcome);
        }
        if !unsure {
            return self.go_on(cx);
        }
        // What was announced may not be so: most messages said to be 8BITMIME are ASCII.
        let scanned = |session: &mut ClientSession, cx: &mut Cx<'_>, beyond| {
            session.looked_at(cx, beyond);
        };
        if cx.offload(move || look_at(&message.file), scanned).is_err() {
            let text = "there is too much to do here";
            self.fail(cx, self.trouble(Kind::Untried, Status(4, 3, 2), text));
        }
    }

    /// The server takes less than the message was said to be: it is told what it is (RFC 6152 §3, RFC 6531
    /// §3.5). Nothing is converted.
    fn looked_at(&mut self, cx: &mut Cx<'_>, beyond: std::io::Result<Beyond>) {
        let Some(transaction) = &mut self.transaction else { return };
        let Ok(beyond) = beyond else {
            let text = "the message can't be read";
            return self.fail(cx, self.trouble(Kind::Unanswered, Status(4, 3, 0), text));
        };
        let message = Arc::clone(&transaction.job.message);
        let host = Some(Arc::clone(&self.profile.host));
        let without_utf8 = !self.offered.smtputf8;
        let international = message.smtputf8 && beyond.head || !message.sender.is_ascii();
        let unfit = if without_utf8 && international {
            Some((Status(5, 6, 7), "the server doesn't take internationalised mail (SMTPUTF8)"))
        } else if !self.offered.eight_bit && (beyond.head || beyond.body) {
            Some((Status(5, 6, 3), "the message holds 8-bit text, which the server doesn't take"))
        } else {
            None
        };
        if let Some((status, text)) = unfit {
            let outcome = Outcome { host, ..Outcome::failed(status, text) };
            return self.refuse_all(cx, &outcome);
        }
        if without_utf8 {
            for place in 0..transaction.count {
                if transaction.job.recipients.get(place).is_some_and(|one| !one.address.is_ascii())
                {
                    let text = "the server doesn't take internationalised addresses (SMTPUTF8)";
                    let outcome = Outcome::failed(Status(5, 6, 7), text);
                    transaction.settle(place, Outcome { host: host.clone(), ..outcome });
                }
            }
        }
        if transaction.outcomes.len() >= transaction.count {
            return self.finish(cx);
        }
        self.go_on(cx);
        self.wait(cx);
    }

    fn refuse_all(&mut self, cx: &mut Cx<'_>, outcome: &Outcome) {
        if let Some(transaction) = &mut self.transaction {
            transaction.outcomes.clear();
            for place in 0..transaction.job.recipients.len() {
                transaction.settle(place, outcome.clone());
            }
        }
        self.finish(cx);
    }

    /// Whether a message is on its way out.
    pub(super) fn is_pouring(&self) -> bool {
        self.transaction.as_ref().is_some_and(|one| one.body == Pour::Under)
    }

    pub(super) fn poured(&mut self) {
        if let Some(transaction) = &mut self.transaction {
            transaction.body = Pour::Out;
        }
    }

    /// Says as much as may be said.
    fn go_on(&mut self, cx: &mut Cx<'_>) {
        while self.stage == Stage::Sending {
            let Some(transaction) = &mut self.transaction else { return };
            let (busy, waiting) = (!self.awaited.is_empty(), self.awaited.len());
            if busy && (!self.offered.pipelining || waiting >= WINDOW) {
                break;
            }
            match transaction.step {
                Step::Rset => {
                    transaction.step = Step::Mail;
                    self.say(cx, b"RSET\r\n", Await::Rset);
                }
                Step::Mail => {
                    transaction.step = Step::Rcpt(0);
                    let line = self.mail_line();
                    self.dirty = true;
                    self.say(cx, line.as_bytes(), Await::Mail);
                }
                Step::Rcpt(_) if transaction.refused.is_some() => transaction.step = Step::Said,
                Step::Rcpt(place) if place < transaction.count => {
                    transaction.step = Step::Rcpt(place + 1);
                    let is_settled = transaction.job.recipients.get(place).is_none_or(|one| {
                        transaction.outcomes.iter().any(|(index, _)| *index == one.index)
                    });
                    if !is_settled {
                        let line = self.rcpt_line(place);
                        self.say(cx, line.as_bytes(), Await::Rcpt(place));
                    }
                }
                Step::Rcpt(_) => transaction.step = Step::Body,
                Step::Body if !busy && transaction.taken.is_empty() => {
                    transaction.step = Step::Said
                }
                // A chunk is sent without being asked for: only to whom somebody was taken.
                Step::Body if self.offered.chunking && busy => break,
                Step::Body if self.offered.chunking => {
                    transaction.step = Step::Said;
                    let line = format!("BDAT {} LAST\r\n", transaction.job.message.size);
                    self.say(cx, line.as_bytes(), Await::End);
                    self.pour(cx, false);
                }
                Step::Body => {
                    transaction.step = Step::Said;
                    self.say(cx, b"DATA\r\n", Await::Data);
                }
                Step::Said if busy => break,
                Step::Said => return self.finish(cx),
            }
        }
        if !self.awaited.is_empty() && !self.is_pouring() {
            self.wait(cx);
        }
    }

    /// Sends the message itself, from its file.
    fn pour(&mut self, cx: &mut Cx<'_>, stuffed: bool) {
        let Some(transaction) = &mut self.transaction else { return };
        transaction.body = Pour::Under;
        let message = &transaction.job.message;
        let text = file(Arc::clone(&message.file), message.size);
        self.speak(cx);
        cx.disarm(super::REPLY);
        if stuffed {
            cx.send(dot_stuffed(text));
        } else {
            cx.send(text);
        }
    }

    fn mail_line(&self) -> String {
        let Some(transaction) = &self.transaction else { return String::new() };
        let message = &transaction.job.message;
        let mut line = format!("MAIL FROM:<{}>", message.sender);
        if self.offered.size.is_some() {
            line.push_str(&format!(" SIZE={}", message.size));
        }
        match transaction.says.body {
            Some(Body::EightBitMime) => line.push_str(" BODY=8BITMIME"),
            Some(Body::BinaryMime) => line.push_str(" BODY=BINARYMIME"),
            Some(Body::SevenBit) | None => {}
        }
        if transaction.says.smtputf8 {
            line.push_str(" SMTPUTF8");
        }
        if self.offered.dsn {
            parameter(&mut line, "RET", &message.ret);
            parameter(&mut line, "ENVID", &message.envid);
        }
        line + "\r\n"
    }

    fn rcpt_line(&self, place: usize) -> String {
        let recipients = self.transaction.as_ref().map(|one| &one.job.recipients);
        let Some(recipient) = recipients.and_then(|all| all.get(place)) else {
            return String::new();
        };
        let mut line = format!("RCPT TO:<{}>", recipient.address);
        if self.offered.dsn {
            parameter(&mut line, "NOTIFY", &recipient.notify);
            parameter(&mut line, "ORCPT", &recipient.orcpt);
        }
        line + "\r\n"
    }

    pub(super) fn transaction_replied(&mut self, cx: &mut Cx<'_>, awaited: Await, reply: &Reply) {
        let host = Arc::clone(&self.profile.host);
        let dsn = self.offered.dsn;
        let Some(transaction) = &mut self.transaction else { return };
        match (awaited, reply.code / 100) {
            (Await::Rset, 2) => self.dirty = false,
            (Await::Rset, _) => {
                // Over another connection it needs none.
                let problem =
                    Problem { kind: Kind::Untried, ..Problem::said(Kind::Host, reply, &host) };
                return self.fail(cx, problem);
            }
            (Await::Mail, 2) => {}
            // We are out of step with it, which says nothing of the message.
            (Await::Mail, 5) if reply.code == 503 => {
                return self.fail(cx, Problem::said(Kind::Host, reply, &host));
            }
            (Await::Mail, 4 | 5) => {
                self.dirty = false;
                transaction.refused = Some(Outcome::of(reply, &host, dsn));
            }
            // What is said of them behind a MAIL that was refused means nothing.
            (Await::Rcpt(_), _) if transaction.refused.is_some() => {}
            (Await::Rcpt(place), 2) => transaction.taken.push(place),
            (Await::Rcpt(place), 4 | 5) => {
                let mut outcome = Outcome::of(reply, &host, dsn);
                // RFC 5321 §4.5.3.1.10: 552 means that they are too many, unless it is said to be something else.
                let others = matches!(reply.status, Some(Status(_, subject, _)) if subject != 5);
                if reply.code == 552 && (!others || !transaction.taken.is_empty()) {
                    outcome = Outcome::deferred(Status(4, 5, 3), reply.shown());
                }
                transaction.settle(place, outcome);
            }
            (Await::Data, 3) if transaction.taken.is_empty() => {
                // RFC 2920 §3.1: it waits for a message all the same. An empty one is for nobody.
                self.say(cx, b".\r\n", Await::End);
            }
            (Await::Data, 3) => {
                self.awaited.push_back(Await::End);
                self.pour(cx, true);
            }
            (Await::Data, 4 | 5) => transaction.settle_taken(&Outcome::of(reply, &host, dsn)),
            (Await::End, 2 | 4 | 5) => {
                // A transaction that came to nothing is still open to some.
                self.dirty = reply.code / 100 != 2;
                let cut_short = transaction.body == Pour::Under;
                transaction.settle_taken(&Outcome::of(reply, &host, dsn));
                transaction.body = Pour::Not;
                if cut_short && reply.code / 100 != 2 {
                    // It answers before it has read all: where its next command would begin isn't known.
                    self.gone(None);
                    return cx.abort();
                }
            }
            _ => return self.misplaced(cx, awaited, reply),
        }
        self.go_on(cx);
    }

    /// The transaction is over.
    fn finish(&mut self, cx: &mut Cx<'_>) {
        let Some(mut transaction) = self.transaction.take() else { return };
        if let Some(refused) = transaction.refused.take() {
            transaction.outcomes.clear();
            for place in 0..transaction.count {
                transaction.settle(place, refused.clone());
            }
        }
        self.stage = Stage::Idle;
        let ticket = transaction.ticket();
        self.report(Some(ticket), transaction.outcomes, None);
        self.ready(cx);
    }
}

fn parameter(line: &mut String, keyword: &str, value: &Option<String>) {
    if let Some(value) = value {
        line.push(' ');
        line.push_str(keyword);
        line.push('=');
        line.push_str(value);
    }
}

/// Whether something would end the line that it is in. What came by SMTP can't; what a program has put into
/// the queue may.
fn has_controls(job: &Job) -> bool {
    let message = &job.message;
    let of_recipients = job
        .recipients
        .iter()
        .flat_map(|one| [Some(&one.address), one.notify.as_ref(), one.orcpt.as_ref()]);
    let of_message = [Some(&message.sender), message.ret.as_ref(), message.envid.as_ref()];
    of_recipients.chain(of_message).flatten().any(|text| text.contains(char::is_control))
}

/// Blocks.
fn look_at(file: &File) -> std::io::Result<Beyond> {
    let mut beyond = Beyond::default();
    let mut buffer = vec![0; PIECE];
    let (mut at, mut in_head) = (0, true);
    // The last octets of the piece before, for the end of the head.
    let mut tail = *b"\0\0\r\n";
    loop {
        let count = file.read_at(&mut buffer, at)?;
        if count == 0 {
            return Ok(beyond);
        }
        at += count as u64;
        for &octet in &buffer[..count] {
            if !octet.is_ascii() {
                if in_head {
                    beyond.head = true;
                } else {
                    beyond.body = true;
                    return Ok(beyond);
                }
            }
            if in_head {
                tail = [tail[1], tail[2], tail[3], octet];
                in_head = tail != *b"\r\n\r\n";
            }
        }
    }
}
