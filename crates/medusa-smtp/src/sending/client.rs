//! One connection to another server: greeting, EHLO, STARTTLS, AUTH, and then one message after the other.
//! Pure: a session of the core, told what to send by notes and telling its worker by its inbox.
//!
//! | stage | awaited | leads to |
//! |---|---|---|
//! | `Greeting` | 220 | `Hello` |
//! | `Hello` | 250 to EHLO; after 5xx, 250 to HELO | `Securing`, `Login` or `Idle` |
//! | `Securing` | 220 to STARTTLS, and the handshake | `Hello` |
//! | `Login` | 334 and 235 to AUTH | `Idle` |
//! | `Idle` | a job | `Sending` |
//! | `Sending` | what was said of a transaction, in order | `Idle` |
//! | `Gone` | nothing: the connection is being closed | |
//!
//! Where the server takes it, a transaction goes out as one group (RFC 2920); with CHUNKING the message goes
//! as it is on disk, in one chunk (RFC 3030), otherwise with its dots doubled. Nothing is decided here about
//! other servers or other times: what a recipient was told, and what is wrong with this server, is reported.

mod hello;
#[cfg(test)]
mod tests;
mod transaction;

use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use medusa_accounts::Credentials;
use medusa_accounts::sasl;
use medusa_core::tls::ClientTls;
use medusa_core::{
    Cx, Deadline, Frame, Framing, Goodbye, Note, Reason, ReplySlot, Session, TimerKey,
};
use medusa_mail::Body;

use super::outcome::{Kind, Outcome, Problem};
use super::reply::{Extensions, Gathered, Gathering, Reply, Status};
use super::route::Security;
use super::worker::inbox::{Inbox, Word};
use transaction::Transaction;

/// A reply's line: four times RFC 5321 §4.5.3.1.5's, as Postfix takes it (`line_length_limit`).
const LINE_OCTETS: usize = 2048;
/// Commands that may be unanswered: so many that the network is used, and so few that their replies can't
/// fill it while the server waits for us to read them (RFC 2920 §3.1).
const WINDOW: usize = 100;

const REPLY: TimerKey = TimerKey(1);
const IDLE: TimerKey = TimerKey(2);

/// RFC 5321 §4.5.3.2.
const MINUTE: Duration = Duration::from_secs(60);

/// A server, and who we are to it.
#[derive(Debug, Clone)]
pub(crate) struct Profile {
    /// The server's name, for reports.
    pub host: Arc<str>,
    /// Its name or address, for its certificate.
    pub server_name: Box<str>,
    /// What we call ourselves.
    pub ourselves: Arc<str>,
    /// Whether the connection is secured.
    pub security: Security,
    /// How.
    pub tls: Option<Arc<ClientTls>>,
    /// Who we are.
    pub login: Option<Credentials>,
    /// How long it stays without a job.
    pub idle: Duration,
}

/// A message.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub sender: String,
    pub body: Body,
    pub smtputf8: bool,
    pub ret: Option<String>,
    pub envid: Option<String>,
    pub file: Arc<File>,
    /// Octets of the file.
    pub size: u64,
}

/// A recipient of a message.
#[derive(Debug, Clone)]
pub(crate) struct Addressee {
    /// Its number in the envelope.
    pub index: usize,
    pub address: String,
    pub notify: Option<String>,
    pub orcpt: Option<String>,
}

/// A message to be sent: a note to the session.
#[derive(Debug)]
pub(crate) struct Job {
    pub ticket: u64,
    pub message: Arc<Outgoing>,
    pub recipients: Vec<Addressee>,
}

/// What a session tells its worker.
#[derive(Debug)]
pub(crate) struct Report {
    /// Which session, by the number that it was given.
    pub session: u64,
    /// The job that it has ended, by its ticket.
    pub ticket: Option<u64>,
    /// What recipients were told, by their numbers. Those that are missing were told nothing.
    pub outcomes: Vec<(usize, Outcome)>,
    /// What is wrong with the server, if that is why.
    pub problem: Option<Problem>,
    /// The session takes no more jobs.
    pub gone: bool,
}

/// What a reply is awaited to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Await {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    Auth,
    Rset,
    Mail,
    /// By its place in the job.
    Rcpt(usize),
    Data,
    /// The end of the message, or its chunk.
    End,
}

impl Await {
    /// How long (RFC 5321 §4.5.3.2; what it doesn't name is as MAIL).
    fn patience(self) -> Duration {
        match self {
            Await::Data => 2 * MINUTE,
            Await::End => 10 * MINUTE,
            _ => 5 * MINUTE,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Await::Greeting => "the greeting",
            Await::Ehlo => "EHLO",
            Await::Helo => "HELO",
            Await::StartTls => "STARTTLS",
            Await::Auth => "AUTH",
            Await::Rset => "RSET",
            Await::Mail => "MAIL",
            Await::Rcpt(_) => "RCPT",
            Await::Data => "DATA",
            Await::End => "the end of the message",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Greeting,
    Hello,
    Securing,
    Login,
    Idle,
    Sending,
    Gone,
}

/// A connection.
pub(crate) struct ClientSession {
    number: u64,
    owner: Arc<Inbox>,
    profile: Profile,
    stage: Stage,
    offered: Extensions,
    gathering: Gathering,
    awaited: VecDeque<Await>,
    /// Held while a reply is awaited, so that the core knows that its deadlines for requests don't hold.
    slot: Option<ReplySlot>,
    login: Option<Box<sasl::Client>>,
    logged_in: bool,
    /// A transaction was begun that the server hasn't seen the end of.
    dirty: bool,
    /// The server shuts down: the job at hand is the last.
    leaving: bool,
    /// The job that it was made for, until it can be begun.
    first: Option<Job>,
    transaction: Option<Box<Transaction>>,
}

impl ClientSession {
    pub(crate) fn new(
        number: u64,
        owner: Arc<Inbox>,
        profile: Profile,
        first: Job,
    ) -> ClientSession {
        ClientSession {
            number,
            owner,
            profile,
            stage: Stage::Greeting,
            offered: Extensions::default(),
            gathering: Gathering::default(),
            awaited: VecDeque::new(),
            slot: None,
            login: None,
            logged_in: false,
            dirty: false,
            leaving: false,
            first: Some(first),
            transaction: None,
        }
    }

    // ---- what is said ------------------------------------------------------------------------

    /// Says something that is answered.
    fn say(&mut self, cx: &mut Cx<'_>, line: &[u8], awaited: Await) {
        self.speak(cx);
        cx.write(line);
        self.awaited.push_back(awaited);
    }

    /// What was held back for a reply is let go: something is sent.
    fn speak(&mut self, cx: &mut Cx<'_>) {
        if let Some(slot) = self.slot.take() {
            cx.fulfil_bytes(slot, Bytes::new());
        }
    }

    /// Waits for what was asked.
    fn wait(&mut self, cx: &mut Cx<'_>) {
        if let Some(awaited) = self.awaited.front() {
            cx.arm(REPLY, awaited.patience());
        }
        if self.slot.is_none() {
            self.slot = Some(cx.reserve());
        }
    }

    // ---- what is reported --------------------------------------------------------------------

    fn report(
        &mut self,
        ticket: Option<u64>,
        outcomes: Vec<(usize, Outcome)>,
        problem: Option<Problem>,
    ) {
        let gone = self.stage == Stage::Gone;
        let report = Report { session: self.number, ticket, outcomes, problem, gone };
        self.owner.put(Word::Reported(report));
    }

    /// The connection is of no use any more.
    fn fail(&mut self, cx: &mut Cx<'_>, problem: Problem) {
        if self.stage == Stage::Gone {
            return;
        }
        let polite = matches!(self.stage, Stage::Hello | Stage::Login | Stage::Idle);
        let pouring = self.is_pouring();
        self.gone(Some(problem));
        if pouring {
            // The rest of the message must not go out: another server gets it.
            return cx.abort();
        }
        self.speak(cx);
        cx.disarm(REPLY);
        if polite {
            cx.write(b"QUIT\r\n");
        }
        cx.close();
    }

    fn gone(&mut self, problem: Option<Problem>) {
        self.stage = Stage::Gone;
        self.awaited.clear();
        let (ticket, outcomes) = match (self.transaction.take(), self.first.take()) {
            (Some(transaction), _) => (Some(transaction.ticket()), transaction.into_outcomes()),
            (None, Some(job)) => (Some(job.ticket), Vec::new()),
            (None, None) => (None, Vec::new()),
        };
        self.report(ticket, outcomes, problem);
    }

    fn trouble(&self, kind: Kind, status: Status, text: impl Into<String>) -> Problem {
        let mut problem = Problem::new(kind, status, text);
        problem.outcome.host = Some(Arc::clone(&self.profile.host));
        problem
    }

    /// What a problem is that comes up at any time.
    fn kind(&self) -> Kind {
        match self.transaction.as_ref().is_some_and(|one| one.awaits_verdict()) {
            true => Kind::Unanswered,
            false => Kind::Host,
        }
    }

    /// The connection broke.
    fn lost(&self, what: &str) -> Problem {
        let kind = self.kind();
        let awaited = self.awaited.front().map_or("a message", |awaited| awaited.name());
        self.trouble(kind, Status(4, 4, 2), format!("{what} while {awaited} was under way"))
    }

    // ---- jobs --------------------------------------------------------------------------------

    /// Takes the next job, or waits for one.
    fn ready(&mut self, cx: &mut Cx<'_>) {
        self.stage = Stage::Idle;
        cx.disarm(REPLY);
        match self.first.take() {
            Some(job) => self.begin(cx, job),
            None if self.leaving => self.quit(cx),
            None => {
                cx.arm(IDLE, self.profile.idle);
                self.wait(cx);
            }
        }
    }

    /// Takes leave.
    fn quit(&mut self, cx: &mut Cx<'_>) {
        self.gone(None);
        self.speak(cx);
        cx.write(b"QUIT\r\n");
        cx.close();
    }

    // ---- replies -----------------------------------------------------------------------------

    fn replied(&mut self, cx: &mut Cx<'_>, reply: &Reply) {
        // RFC 5321 §3.8: a server may say so at any time, and is gone then.
        if reply.code == 421 {
            return self.fail(cx, Problem::said(Kind::Host, reply, &self.profile.host));
        }
        let Some(awaited) = self.awaited.pop_front() else {
            let text = format!("it spoke without having been asked: {}", reply.shown());
            return self.fail(cx, self.trouble(Kind::Host, Status(4, 5, 0), text));
        };
        match awaited {
            Await::Greeting | Await::Ehlo | Await::Helo | Await::StartTls | Await::Auth => {
                self.greeted(cx, awaited, reply);
            }
            _ => self.transaction_replied(cx, awaited, reply),
        }
        if self.stage != Stage::Gone && !self.awaited.is_empty() && !self.is_pouring() {
            self.wait(cx);
        }
    }

    /// A reply that doesn't belong where it came.
    fn misplaced(&mut self, cx: &mut Cx<'_>, awaited: Await, reply: &Reply) {
        let text = format!("to {} it said {}", awaited.name(), reply.shown());
        let problem = self.trouble(self.kind(), Status(4, 5, 0), text);
        self.fail(cx, problem);
    }
}

impl Session for ClientSession {
    fn opened(&mut self, cx: &mut Cx<'_>) {
        cx.expect(Framing::line(LINE_OCTETS));
        self.awaited.push_back(Await::Greeting);
        self.wait(cx);
    }

    fn received(&mut self, cx: &mut Cx<'_>, frame: Frame<'_>) {
        if self.stage == Stage::Gone {
            return;
        }
        // Some servers end lines with CR CR LF, which does no harm here.
        let line = frame.bytes.strip_suffix(b"\r").unwrap_or(frame.bytes);
        match self.gathering.line(line) {
            Gathered::More => {}
            Gathered::Reply(reply) => self.replied(cx, &reply),
            Gathered::Garbage => {
                let shown = String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned();
                let text = format!("it doesn't speak SMTP: {}", shown.escape_debug());
                self.fail(cx, self.trouble(self.kind(), Status(4, 5, 0), text));
            }
        }
    }

    fn overlong(&mut self, cx: &mut Cx<'_>) {
        let text = "a line of its reply is too long";
        self.fail(cx, self.trouble(self.kind(), Status(4, 5, 0), text));
    }

    fn timed_out(&mut self, cx: &mut Cx<'_>, deadline: Deadline) {
        let what = match deadline {
            Deadline::Rate => "it took too little",
            _ => "it said nothing for too long",
        };
        let problem = self.lost(what);
        self.fail(cx, problem);
        cx.abort();
    }

    fn expired(&mut self, cx: &mut Cx<'_>, key: TimerKey) {
        match key {
            IDLE if self.stage == Stage::Idle => self.quit(cx),
            REPLY if !self.awaited.is_empty() => {
                let problem = self.lost("it said nothing for too long");
                self.fail(cx, problem);
            }
            _ => {}
        }
    }

    fn notified(&mut self, cx: &mut Cx<'_>, note: Note) {
        let Ok(job) = note.downcast::<Job>() else { return };
        match self.stage {
            Stage::Idle => {
                cx.disarm(IDLE);
                self.begin(cx, job);
            }
            _ => {
                let text = "the connection ended before";
                let problem = self.trouble(Kind::Untried, Status(4, 4, 2), text);
                self.report(Some(job.ticket), Vec::new(), Some(problem));
            }
        }
    }

    fn half_closed(&mut self, cx: &mut Cx<'_>) {
        let problem = match self.stage {
            Stage::Gone => return cx.close(),
            Stage::Idle => {
                self.gone(None);
                self.speak(cx);
                return cx.close();
            }
            Stage::Securing => {
                let text = "it hung up while TLS was agreed upon";
                self.trouble(Kind::Insecure, Status(4, 7, 5), text)
            }
            _ => self.lost("it closed the connection"),
        };
        self.fail(cx, problem);
    }

    fn drained(&mut self, cx: &mut Cx<'_>) {
        // The message has gone out: from now on its fate is awaited.
        if self.is_pouring() {
            self.poured();
            self.wait(cx);
        }
    }

    fn draining(&mut self, cx: &mut Cx<'_>) {
        self.leaving = true;
        if self.stage == Stage::Idle {
            self.quit(cx);
        }
    }

    fn secured(&mut self, cx: &mut Cx<'_>) {
        cx.expect(Framing::line(LINE_OCTETS));
        self.hello(cx);
        self.wait(cx);
    }

    fn closed(&mut self, goodbye: &Goodbye) {
        if self.stage == Stage::Gone {
            return;
        }
        if self.stage == Stage::Idle && self.transaction.is_none() {
            return self.gone(None);
        }
        let host = |text: String| self.trouble(Kind::Host, Status(4, 4, 1), text);
        let problem = match &goodbye.reason {
            // What the core says of a handshake that isn't ended in time: the server was there.
            Reason::Unreachable(_) if self.stage == Stage::Securing => {
                self.trouble(Kind::Insecure, Status(4, 7, 5), "TLS took too long")
            }
            Reason::Unreachable(error) => host(format!("no connection: {error}")),
            Reason::Insecure(error) if self.stage == Stage::Securing => {
                self.trouble(Kind::Insecure, Status(4, 7, 5), error.to_string())
            }
            // One that hangs up at a handshake doesn't say why.
            Reason::Lost(_) if self.stage == Stage::Securing => self.trouble(
                Kind::Insecure,
                Status(4, 7, 5),
                "it hung up while TLS was agreed upon",
            ),
            Reason::Insecure(error) => self.lost(&error.to_string()),
            // The message can't be read: another server won't do better, but another time may.
            Reason::Failed(error) => {
                self.trouble(Kind::Unanswered, Status(4, 3, 0), error.to_string())
            }
            Reason::Lost(error) => self.lost(&format!("the connection broke: {error}")),
            Reason::Stopped | Reason::Closed if self.transaction.is_none() => {
                self.trouble(Kind::Untried, Status(4, 3, 2), "this server is shutting down")
            }
            _ => self.lost("the connection ended"),
        };
        self.gone(Some(problem));
    }
}

impl Drop for ClientSession {
    /// Its worker hears of its end however it comes, also by a panic.
    fn drop(&mut self) {
        if self.stage != Stage::Gone {
            let problem = self.lost("the connection ended");
            self.gone(Some(problem));
        }
    }
}
