//! One conversation: commands are looked up in the table, carried out, and answered in order.
//!
//! Split by task: here the commands that need nothing but the session; `envelope` has MAIL and RCPT,
//! `message` DATA and BDAT, `keeping` where messages go, `login` AUTH.

mod envelope;
mod keeping;
mod login;
mod message;
mod told;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use medusa_accounts::{Identity, Logins, PlaintextLogin};
use medusa_core::{AccessSink, Cx, Deadline, Frame, Framing, Note, Peer, Session, TimerKey};
use medusa_mail::MailStore;
use medusa_text::{Line, Mismatch, Row, code};

use crate::address::is_host;
use crate::commands::{COMMANDS, Command, Event, FOREIGN, State, UNIMPLEMENTED};
use crate::inspect::Smuggling;
use crate::params::{self, Offered};
use crate::policy::{Client, Policy, Verdict};
use crate::replies::Reply;
use crate::sending::Sending;
use crate::service::{Directory, Role, SmtpLimits};

use login::Login;
use message::Mail;

/// How long the store may take to say whether a message is kept, before the connection is given up. The
/// client's patience is 10 minutes (RFC 5321 §4.5.3.2.6).
const COMMIT: (TimerKey, Duration) = (TimerKey(1), Duration::from_secs(10 * 60));
const GREETING: TimerKey = TimerKey(2);
const LOGIN: TimerKey = TimerKey(3);

/// A command line that can't hold AUTH's initial response; more than RFC 5321 §4.5.3.1.4's 512, for
/// parameters. Postfix's `line_length_limit`.
const COMMAND_OCTETS: usize = 2048;
/// One that can (RFC 4954 §4).
const AUTH_OCTETS: usize = medusa_accounts::sasl::LINE_OCTETS + 32;

/// What all sessions of a service share.
pub(crate) struct Shared {
    pub service: Arc<str>,
    pub hostname: String,
    pub role: Role,
    pub domains: Vec<String>,
    pub store: Arc<dyn MailStore>,
    pub directory: Arc<dyn Directory>,
    pub logins: Option<Logins>,
    pub policy: Option<Arc<dyn Policy>>,
    pub limits: SmtpLimits,
    pub smuggling: Smuggling,
    pub plaintext_login: PlaintextLogin,
    pub offers_tls: bool,
    pub access: Option<Arc<dyn AccessSink>>,
    /// Takes mail for elsewhere, from those who have logged in.
    pub sending: Option<Sending>,
}

impl Shared {
    /// Extensions that aren't offered everywhere. Status notifications need a queue: their addressees are
    /// anywhere.
    pub(crate) fn offered(&self) -> Offered {
        Offered { logins: self.logins.is_some(), dsn: self.sending.is_some() }
    }
}

/// What the sessions of one shard share.
pub(crate) struct Shard {
    pub shared: Arc<Shared>,
    /// Messages begun.
    pub count: Cell<u64>,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Nothing may: the greeting is yet to be said.
    Early,
    Command,
    /// A message, up to its dot.
    Text,
    /// A chunk of one.
    Chunk {
        last: bool,
    },
    /// A chunk that nobody wants, and what is said behind it.
    Skip(Reply),
    /// A line of an authentication exchange.
    Login,
    /// Nothing, until something is done elsewhere.
    Waiting,
}

/// One connection.
pub(crate) struct SmtpSession {
    shard: Rc<Shard>,
    state: State,
    mode: Mode,
    helo: Box<str>,
    extended: bool,
    identity: Option<Identity>,
    /// Commands that were refused.
    errors: u32,
    /// Recipients that were refused for themselves.
    refused: u32,
    /// Recipients beyond those that a transaction takes.
    overshoot: u32,
    /// The server shuts down: what is under way is the last.
    leaving: bool,
    mail: Option<Box<Mail>>,
    login: Option<Box<Login>>,
}

impl SmtpSession {
    pub(crate) fn new(shard: Rc<Shard>) -> SmtpSession {
        SmtpSession {
            shard,
            state: State::Fresh,
            mode: Mode::Command,
            helo: "".into(),
            extended: false,
            identity: None,
            errors: 0,
            refused: 0,
            overshoot: 0,
            leaving: false,
            mail: None,
            login: None,
        }
    }

    fn shared(&self) -> &Shared {
        &self.shard.shared
    }

    // ---- what is said ------------------------------------------------------------------------

    fn say(&self, cx: &mut Cx<'_>, reply: Reply) {
        cx.compose(|out| reply.write(out));
    }

    /// Says no, which can be said only so often.
    fn refuse(&mut self, cx: &mut Cx<'_>, reply: Reply) {
        self.say(cx, reply);
        self.count_error(cx);
    }

    fn count_error(&mut self, cx: &mut Cx<'_>) {
        self.errors += 1;
        if self.shared().limits.errors.is_some_and(|limit| self.errors >= limit) {
            self.end(cx, Reply::TooManyErrors);
        }
    }

    /// Says the last word.
    fn end(&self, cx: &mut Cx<'_>, reply: Reply) {
        if !cx.is_closing() {
            self.say(cx, reply);
            cx.close();
        }
    }

    /// Says a policy's no, if it is one.
    fn refused_by(&mut self, cx: &mut Cx<'_>, verdict: &Verdict) -> bool {
        let (code, status, text) = match verdict {
            Verdict::Refuse(text) => (550, "5.7.1", text),
            Verdict::Defer(text) => (451, "4.7.1", text),
            Verdict::Accept | Verdict::AcceptWith(_) | Verdict::Discard => return false,
        };
        cx.compose(|out| code::enhanced(out, code, status, text));
        self.count_error(cx);
        true
    }

    /// Asks the policy, if there is one.
    fn judged(
        &self,
        peer: &Peer,
        ask: impl FnOnce(&dyn Policy, &Client<'_>) -> Verdict,
    ) -> Verdict {
        match &self.shared().policy {
            Some(policy) => {
                let client = Client::new(peer, &self.helo, self.identity.as_ref());
                ask(&**policy, &client)
            }
            None => Verdict::Accept,
        }
    }

    // ---- where it stands ---------------------------------------------------------------------

    fn step(&mut self, event: Event) {
        self.state = self.state.after(event);
    }

    /// Takes commands again, after whatever else came.
    fn listen(&mut self, cx: &mut Cx<'_>) {
        self.mode = Mode::Command;
        let limit = match self.shared().role {
            Role::Mx => COMMAND_OCTETS,
            Role::Submission => AUTH_OCTETS,
        };
        cx.expect(Framing::line(limit));
        cx.resume();
    }

    /// What was under way when the server began to shut down has been answered.
    fn settled(&mut self, cx: &mut Cx<'_>) {
        if self.leaving {
            self.end(cx, Reply::Draining);
        }
    }

    /// Takes nothing until something is done.
    fn wait(&mut self, cx: &mut Cx<'_>) {
        self.mode = Mode::Waiting;
        cx.pause();
    }

    /// Forgets the message that was begun.
    fn reset(&mut self) {
        self.mail = None;
    }

    fn greet(&mut self, cx: &mut Cx<'_>) {
        self.listen(cx);
        let peer = cx.peer().clone();
        match self.judged(&peer, |policy, client| policy.connected(client)) {
            Verdict::Refuse(text) => {
                self.state = State::Refused;
                cx.compose(|out| code::enhanced(out, 554, "5.7.1", &text));
            }
            Verdict::Defer(text) => {
                cx.compose(|out| code::enhanced(out, 421, "4.7.1", &text));
                cx.close();
            }
            Verdict::Accept | Verdict::AcceptWith(_) | Verdict::Discard => {
                let hostname = &self.shard.shared.hostname;
                cx.compose(|out| code::reply(out, 220, &format!("{hostname} ESMTP Medusa")));
            }
        }
    }

    // ---- commands ----------------------------------------------------------------------------

    fn command(&mut self, cx: &mut Cx<'_>, octets: &[u8]) {
        let line = Line::new(octets);
        // Also a CR or LF alone: nothing but CRLF ends a line.
        if octets.iter().any(|octet| octet.is_ascii_control() && *octet != b'\t') {
            return self.refuse(cx, Reply::BadOctet);
        }
        let Ok(argument) = std::str::from_utf8(line.argument.unwrap_or_default()) else {
            return self.refuse(cx, Reply::NotText);
        };
        match COMMANDS.find(&line, self.state.bit()) {
            Ok(row) => self.carry_out(cx, row, argument),
            Err(Mismatch::Unknown) => self.unknown(cx, line.verb),
            // The chunk comes all the same (RFC 3030 §2).
            Err(Mismatch::State(row)) if row.command == Command::Bdat => {
                self.skip_chunk(cx, argument);
            }
            Err(Mismatch::State(row)) => {
                let reply = self.out_of_order(row.command);
                self.refuse(cx, reply);
            }
            Err(Mismatch::Unexpected(_)) => self.refuse(cx, Reply::Unexpected),
            Err(Mismatch::Missing(_)) => self.refuse(cx, Reply::Missing),
        }
    }

    fn carry_out(&mut self, cx: &mut Cx<'_>, row: &Row<Command>, argument: &str) {
        match row.command {
            Command::Ehlo => self.hello(cx, argument, true),
            Command::Helo => self.hello(cx, argument, false),
            Command::Mail => self.mail(cx, argument),
            Command::Rcpt => self.rcpt(cx, argument),
            Command::Data => self.data(cx),
            Command::Bdat => self.bdat(cx, argument),
            Command::Auth => self.auth(cx, argument),
            Command::StartTls => self.start_tls(cx),
            Command::Rset => {
                self.reset();
                self.step(Event::Done(Command::Rset));
                self.say(cx, Reply::Ok);
            }
            Command::Noop => self.say(cx, Reply::Ok),
            Command::Vrfy => self.say(cx, Reply::CannotVerify),
            Command::Help => {
                let mut text = String::from("Commands:");
                let shared = self.shared();
                let offered = |command| match command {
                    Command::Auth => shared.logins.is_some(),
                    Command::StartTls => shared.offers_tls,
                    _ => true,
                };
                for row in COMMANDS.rows().iter().filter(|row| offered(row.command)) {
                    text.push('\n');
                    text.push_str(row.syntax);
                }
                cx.compose(|out| code::enhanced(out, 214, "2.0.0", &text));
            }
            Command::Quit => self.end(cx, Reply::Bye),
        }
    }

    fn unknown(&mut self, cx: &mut Cx<'_>, verb: &[u8]) {
        let among =
            |list: &[&str]| list.iter().any(|one| one.as_bytes().eq_ignore_ascii_case(verb));
        if among(FOREIGN) {
            self.end(cx, Reply::Foreign);
        } else if self.state == State::Refused {
            self.refuse(cx, Reply::NoService);
        } else if among(UNIMPLEMENTED) {
            self.refuse(cx, Reply::NotImplemented);
        } else {
            self.refuse(cx, Reply::Unknown);
        }
    }

    /// What is said to a command that isn't allowed in this state.
    fn out_of_order(&self, command: Command) -> Reply {
        match (self.state, command) {
            (State::Refused, _) => Reply::NoService,
            (State::Fresh, _) => Reply::HelloFirst,
            (State::Chunks, _) => Reply::ChunksBegun,
            (State::Greeted, Command::Rcpt) => Reply::MailFirst,
            (State::Greeted, _) => Reply::RecipientsFirst,
            // RFC 2920 §3.1: none of a group's recipients was taken.
            (State::Sender, Command::Data | Command::Bdat) => Reply::NoRecipients,
            (_, Command::Mail) => Reply::MailTwice,
            _ => Reply::InTransaction,
        }
    }

    fn hello(&mut self, cx: &mut Cx<'_>, argument: &str, extended: bool) {
        let name = argument.trim();
        if !is_host(name) {
            return self.refuse(cx, Reply::BadName);
        }
        self.reset();
        self.helo = name.into();
        self.extended = extended;
        let peer = cx.peer().clone();
        let verdict = self.judged(&peer, |policy, client| policy.greeted(client));
        if self.refused_by(cx, &verdict) {
            self.state = State::Fresh;
            return;
        }
        let command = if extended { Command::Ehlo } else { Command::Helo };
        self.step(Event::Done(command));
        let mut text = self.shared().hostname.clone();
        if extended {
            self.extensions(cx, &mut text);
        }
        cx.compose(|out| code::reply(out, 250, &text));
    }

    /// What is offered, here and now.
    fn extensions(&self, cx: &Cx<'_>, text: &mut String) {
        let shared = self.shared();
        let size = match shared.limits.message {
            Some(limit) => format!("SIZE {limit}"),
            // RFC 1870 §4: a server without a limit says so.
            None => "SIZE 0".into(),
        };
        let mut lines = vec![
            "PIPELINING".to_owned(),
            size,
            "8BITMIME".into(),
            "SMTPUTF8".into(),
            "CHUNKING".into(),
            "ENHANCEDSTATUSCODES".into(),
        ];
        if shared.offered().dsn {
            lines.push("DSN".into());
        }
        if shared.offers_tls && !cx.is_secured() {
            lines.push("STARTTLS".into());
        }
        let mechanisms = self.mechanisms(cx);
        if !mechanisms.is_empty() {
            let names: Vec<&str> = mechanisms.iter().map(|mechanism| mechanism.name()).collect();
            lines.push(format!("AUTH {}", names.join(" ")));
        }
        if let Some(limit) = shared.limits.recipients {
            // RFC 9422.
            lines.push(format!("LIMITS RCPTMAX={limit}"));
        }
        for line in lines {
            text.push('\n');
            text.push_str(&line);
        }
    }

    fn start_tls(&mut self, cx: &mut Cx<'_>) {
        if cx.is_secured() {
            return self.refuse(cx, Reply::SecuredAlready);
        }
        if !self.shared().offers_tls {
            return self.refuse(cx, Reply::NotOffered);
        }
        self.say(cx, Reply::StartTls);
        // RFC 3207 §4.2: nothing that was said before counts.
        self.reset();
        self.helo = "".into();
        self.extended = false;
        self.identity = None;
        self.step(Event::Done(Command::StartTls));
        cx.start_tls();
    }

    /// Takes a chunk off the stream that nobody asked for.
    fn skip_chunk(&mut self, cx: &mut Cx<'_>, argument: &str) {
        let reply = self.out_of_order(Command::Bdat);
        // With it the message is refused (RFC 3030 §2): nobody gets what comes behind it.
        self.reset();
        self.step(Event::MessageEnded);
        match params::bdat(argument) {
            Some((size, _)) if size <= message::OVERRUN => {
                self.mode = Mode::Skip(reply);
                cx.expect(Framing::length(size));
            }
            // Where the chunk ends can't be known, or isn't worth the wait.
            _ => self.end(cx, reply),
        }
    }
}

impl Session for SmtpSession {
    fn opened(&mut self, cx: &mut Cx<'_>) {
        match self.shared().limits.greeting_wait {
            Some(wait) => {
                self.mode = Mode::Early;
                cx.expect(Framing::stream());
                cx.arm(GREETING, wait);
            }
            None => self.greet(cx),
        }
    }

    fn received(&mut self, cx: &mut Cx<'_>, frame: Frame<'_>) {
        match self.mode {
            Mode::Command => self.command(cx, frame.bytes),
            Mode::Text => self.text(cx, frame),
            Mode::Chunk { last } => self.chunk(cx, frame, last),
            Mode::Login => self.login_line(cx, frame.bytes),
            Mode::Skip(reply) if frame.end => {
                self.listen(cx);
                self.refuse(cx, reply);
                self.settled(cx);
            }
            Mode::Skip(_) => {}
            Mode::Early => {
                cx.disarm(GREETING);
                self.end(cx, Reply::EarlyTalker);
            }
            // Paused: nothing comes.
            Mode::Waiting => {}
        }
    }

    fn overlong(&mut self, cx: &mut Cx<'_>) {
        match self.mode {
            Mode::Login => self.login_overlong(cx),
            _ => self.refuse(cx, Reply::CommandTooLong),
        }
    }

    fn timed_out(&mut self, cx: &mut Cx<'_>, _: Deadline) {
        self.end(cx, Reply::Timeout);
    }

    fn expired(&mut self, cx: &mut Cx<'_>, key: TimerKey) {
        match key {
            GREETING => self.greet(cx),
            LOGIN => self.login_waited(cx),
            // Nobody knows what became of the message: the client has to ask again.
            _ => cx.abort(),
        }
    }

    fn notified(&mut self, cx: &mut Cx<'_>, note: Note) {
        if let Ok(committed) = note.downcast::<message::Committed>() {
            cx.disarm(COMMIT.0);
            self.committed(cx, committed.0);
        }
    }

    fn secured(&mut self, cx: &mut Cx<'_>) {
        self.listen(cx);
        self.settled(cx);
    }

    fn draining(&mut self, cx: &mut Cx<'_>) {
        self.leaving = true;
        if matches!(self.mode, Mode::Command | Mode::Early | Mode::Login) {
            self.end(cx, Reply::Draining);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_session_is_small() {
        // What a message or a login needs is allocated when there is one.
        assert!(size_of::<SmtpSession>() <= 128, "{}", size_of::<SmtpSession>());
    }
}
