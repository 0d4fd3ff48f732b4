//! One POP3 connection: the machine of RFC 1939. All of its transitions:
//!
//! | state | what comes | what is said | next |
//! |---|---|---|---|
//! | `Greeted`, `Named` | USER | `+OK`, whoever it is | `Named` |
//! | `Named` | PASS | waits for the verdict | `Entering` |
//! | `Greeted`, `Named` | AUTH | `+ ` and a challenge | `Exchanging` |
//! | `Exchanging` | a line | as the mechanism wants | `Exchanging`, `Entering` |
//! | `Entering` | a verdict, then the maildrop | `+OK` | `Transaction` |
//! | `Exchanging`, `Entering` | a denial, no maildrop | `-ERR [AUTH]`, `[LOGIN-DELAY]`, `[IN-USE]`, `[SYS/…]` | `Greeted` |
//! | `Greeted`, `Named` | UTF8 | `+OK` | the same, and messages as they are |
//! | `Greeted`, `Named` | STLS | `+OK`, then TLS; `-ERR` after UTF8 | `Greeted` |
//! | `Transaction` | RETR, LIST, … | | `Transaction` |
//! | `Transaction` | QUIT | waits until all before it is sent, then for the removals | `Leaving` |
//! | `Leaving` | the removals are made, or not | `+OK`, `-ERR` | closed |
//! | any | the connection ends otherwise | | nothing is removed (§6) |
//!
//! Pure: the maildrop is opened, read and changed in the offload pool.

mod login;

use std::mem::replace;
use std::rc::Rc;
use std::sync::Arc;

use medusa_accounts::sasl::Server;
use medusa_accounts::{Logins, Waiting};
use medusa_core::{AccessSink, Cx, Frame, Framing, Session, TimerKey};
use medusa_mail::Error;
use medusa_text::status::{err, err_with, ok};
use medusa_text::{Line, Mismatch, States};

use crate::access::Record;
use crate::commands::{Command, GREETED, NAMED, TABLE, TRANSACTION};
use crate::exclusive::Open;
use crate::login_delay::LoginDelay;
use crate::replies::TEMPORARY;
use crate::retrieval::retrieval;
use crate::visit::{Column, Form, Visit, number_of};
use crate::{Maildrops, PlaintextLogin};

/// The longest line, without its end. RFC 2449 §4 has 255 octets for a command, and RFC 5034 §4 wants as
/// much as the mechanisms need: PLAIN with two names of 255 octets and a password of 1,024 makes 2,048
/// in base64, behind `AUTH PLAIN `.
pub(crate) const LINE_OCTETS: usize = 2_100;

/// So many commands that are none, or logins that fail, end a session (Dovecot allows 20).
pub(crate) const ERRORS: u32 = 20;

const LOGIN: TimerKey = TimerKey(0);
const DELAY: TimerKey = TimerKey(1);

/// What the sessions of one shard share.
pub(crate) struct Shard {
    pub(crate) maildrops: Arc<dyn Maildrops>,
    pub(crate) open: Open,
    pub(crate) logins: Logins,
    pub(crate) service: Arc<str>,
    pub(crate) plaintext: PlaintextLogin,
    pub(crate) login_delay: Option<Arc<LoginDelay>>,
    pub(crate) has_tls: bool,
    pub(crate) access: Option<Arc<dyn AccessSink>>,
}

pub(crate) struct Pop3Session {
    shard: Rc<Shard>,
    state: State,
    /// A login that has to wait after failed ones. Boxed: it is rare, and most of a session's size.
    waiting: Option<Box<Waiting<Self>>>,
    errors: u32,
    form: Form,
}

enum State {
    Greeted,
    Named(String),
    Exchanging(Box<Server>),
    Entering,
    Transaction(Visit),
    /// With what is to be removed yet.
    Leaving(Option<Visit>),
}

impl Pop3Session {
    pub(crate) fn new(shard: Rc<Shard>) -> Pop3Session {
        let (state, form) = (State::Greeted, Form::default());
        Pop3Session { shard, state, waiting: None, errors: 0, form }
    }
}

impl Session for Pop3Session {
    fn opened(&mut self, cx: &mut Cx<'_>) {
        cx.expect(Framing::line(LINE_OCTETS));
        if let Some(login) = cx.limits().login {
            cx.arm(LOGIN, login);
        }
        // Without a time stamp in angle brackets: APOP is not offered (RFC 1939 §7).
        cx.compose(|out| ok(out, "Medusa POP3 ready"));
    }

    fn received(&mut self, cx: &mut Cx<'_>, frame: Frame<'_>) {
        match replace(&mut self.state, State::Greeted) {
            State::Exchanging(mut server) => {
                let step = server.line(frame.bytes);
                self.step(cx, server, step);
            }
            state => {
                self.state = state;
                self.command(cx, &Line::new(frame.bytes));
            }
        }
    }

    fn overlong(&mut self, cx: &mut Cx<'_>) {
        if matches!(self.state, State::Exchanging(_)) {
            self.state = State::Greeted;
        }
        self.error(cx, "the line is too long");
    }

    fn expired(&mut self, cx: &mut Cx<'_>, key: TimerKey) {
        match key {
            DELAY => {
                let waiting = self.waiting.take();
                if let Some(answer) = waiting.and_then(|waiting| waiting.go_on(cx)) {
                    self.answered(cx, answer);
                }
            }
            // As for any other time-out, without a word (RFC 1939 §3).
            _ => cx.close(),
        }
    }

    fn drained(&mut self, cx: &mut Cx<'_>) {
        if let State::Leaving(visit @ Some(_)) = &mut self.state
            && let Some(visit) = visit.take()
        {
            self.update(cx, &visit);
        }
    }

    fn draining(&mut self, cx: &mut Cx<'_>) {
        match &self.state {
            // Who has said QUIT hears how it went.
            State::Leaving(_) => {}
            // Who has marked messages has them, and would fetch them again.
            State::Transaction(visit) if !visit.deleted().is_empty() => {}
            _ => cx.close(),
        }
    }

    /// RFC 2595 §4: what was said before TLS counts for nothing.
    fn secured(&mut self, _: &mut Cx<'_>) {
        self.state = State::Greeted;
    }
}

// ---- commands --------------------------------------------------------------------------------

impl Pop3Session {
    fn command(&mut self, cx: &mut Cx<'_>, line: &Line<'_>) {
        let command = match TABLE.find(line, self.states()) {
            Ok(row) => row.command,
            Err(Mismatch::Unknown) => return self.error(cx, "no such command"),
            Err(Mismatch::State(row)) => {
                let text = match (row.command, &self.state) {
                    (Command::Pass, State::Greeted) => "USER comes first",
                    (_, State::Transaction(_)) => "you are logged in already",
                    _ => "log in first",
                };
                return self.error(cx, text);
            }
            Err(Mismatch::Unexpected(row) | Mismatch::Missing(row)) => {
                return self.error(cx, &format!("write it so: {}", row.syntax));
            }
        };
        match command {
            Command::Quit => self.quit(cx),
            Command::Capa => self.capabilities(cx),
            Command::User => self.user(cx, line.trimmed()),
            Command::Pass => self.pass(cx, line.argument.unwrap_or_default()),
            Command::Auth => self.auth(cx, line.trimmed()),
            Command::Stls => self.stls(cx),
            Command::Lang => language(cx, line.trimmed()),
            Command::Utf8 => {
                self.form = Form::Utf8;
                cx.compose(|out| ok(out, "UTF-8 it is"));
            }
            command => {
                if let State::Transaction(visit) = &mut self.state {
                    let access = self.shard.access.as_ref();
                    transact(cx, visit, access, command, line.trimmed());
                }
            }
        }
    }

    fn states(&self) -> States {
        match self.state {
            State::Transaction(_) => TRANSACTION,
            State::Named(_) => NAMED,
            _ => GREETED,
        }
    }

    /// The peer's mistake. Too many of them end the session.
    fn error(&mut self, cx: &mut Cx<'_>, text: &str) {
        cx.compose(|out| err(out, text));
        self.count_error(cx);
    }

    fn count_error(&mut self, cx: &mut Cx<'_>) {
        self.errors += 1;
        if self.errors >= ERRORS {
            cx.close();
        }
    }

    /// RFC 2449 §6, RFC 3206 §6, RFC 5034 §3, RFC 6856 §2 and §3. What isn't here isn't done.
    fn capabilities(&self, cx: &mut Cx<'_>) {
        let confidential = self.is_confidential(cx);
        let is_inside = matches!(self.state, State::Transaction(_));
        let stls = self.shard.has_tls && !cx.is_secured() && !is_inside;
        let mechanisms = self.shard.logins.mechanisms(&self.shard.service, confidential);
        cx.compose(|out| {
            ok(out, "capabilities");
            let mut say = |line: &str| {
                out.extend_from_slice(line.as_bytes());
                out.extend_from_slice(b"\r\n");
            };
            say(
                "TOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\nEXPIRE NEVER\r\nLANG\r\n\
                 UTF8 USER",
            );
            if confidential {
                say("USER");
            }
            if !mechanisms.is_empty() {
                let names: Vec<&str> = mechanisms.iter().map(|m| m.name()).collect();
                say(&format!("SASL {}", names.join(" ")));
            }
            if let Some(delay) = &self.shard.login_delay {
                say(&format!("LOGIN-DELAY {}", delay.seconds()));
            }
            if stls {
                say("STLS");
            }
            // RFC 2449 §6.9: only to those who have logged in.
            if is_inside {
                say("IMPLEMENTATION Medusa");
            }
            say(".");
        });
    }

    fn quit(&mut self, cx: &mut Cx<'_>) {
        match replace(&mut self.state, State::Leaving(None)) {
            State::Transaction(visit) if !visit.deleted().is_empty() => {
                cx.pause();
                // A client that sends RETR, DELE and QUIT at once and is cut off within the message
                // must find it again.
                if cx.in_flight() == 0 && cx.unsent_bytes() == 0 {
                    self.update(cx, &visit);
                } else {
                    self.state = State::Leaving(Some(visit));
                }
            }
            // With the lock, before it is said: the next session may be waiting for that.
            state => {
                drop(state);
                bye(cx);
            }
        }
    }

    /// The UPDATE state (RFC 1939 §6): removes what is marked, then lets go of the maildrop.
    fn update(&mut self, cx: &mut Cx<'_>, visit: &Visit) {
        let (maildrop, indices) = (Arc::clone(&visit.maildrop), visit.deleted());
        let count = indices.len();
        let service = Arc::clone(&self.shard.service);
        let work = move || {
            let removed = maildrop.remove(&indices);
            // Before it is said: the next session may be waiting for the lock.
            drop(maildrop);
            if let Err(error) = &removed {
                tracing::error!(service = &*service, %error, "messages can't be removed");
            }
            removed
        };
        let then = move |_: &mut Self, cx: &mut Cx<'_>, removed: Result<(), Error>| match removed {
            Ok(()) => bye(cx),
            Err(_) => {
                let text = format!("some of the {count} deleted messages were not removed");
                cx.compose(|out| err_with(out, TEMPORARY, &text));
                cx.close();
            }
        };
        if cx.offload(work, then).is_err() {
            cx.compose(|out| err_with(out, TEMPORARY, "busy: nothing was removed"));
            cx.close();
        }
    }

    fn stls(&mut self, cx: &mut Cx<'_>) {
        if !self.shard.has_tls {
            self.error(cx, "TLS is not offered");
        } else if cx.is_secured() {
            // RFC 2595 §4.
            self.error(cx, "TLS is there already");
        } else if self.form == Form::Utf8 {
            // RFC 6856 §2.1.
            self.error(cx, "STLS comes before UTF8");
        } else {
            cx.compose(|out| ok(out, "begin TLS"));
            cx.start_tls();
        }
    }
}

/// What is allowed in the TRANSACTION state alone.
fn transact(
    cx: &mut Cx<'_>,
    visit: &mut Visit,
    access: Option<&Arc<dyn AccessSink>>,
    command: Command,
    argument: &[u8],
) {
    let mut words = argument.split(|&octet| octet == b' ').filter(|word| !word.is_empty());
    let number = words.next();
    let index = number.and_then(|number| visit.index(number));
    let lines = match command {
        Command::Top => match words.next().and_then(number_of) {
            None => return cx.compose(|out| err(out, "write it so: TOP message lines")),
            lines => lines,
        },
        _ => None,
    };
    if words.next().is_some() {
        return cx.compose(|out| err(out, "that is one word too many"));
    }
    match (command, index) {
        (Command::Stat, _) => {
            let text = format!("{} {}", visit.count(), visit.octets());
            cx.compose(|out| ok(out, &text));
        }
        (Command::Noop, _) => cx.compose(|out| ok(out, "nothing done")),
        (Command::Rset, _) => {
            visit.reset();
            let text = maildrop_has(visit);
            cx.compose(|out| ok(out, &text));
        }
        (Command::List | Command::Uidl, _) if number.is_none() => {
            let column = column(command);
            let text = maildrop_has(visit);
            cx.compose(|out| ok(out, &text));
            cx.send(visit.rows(column));
        }
        (_, None) => cx.compose(|out| err(out, "no such message")),
        (Command::List | Command::Uidl, Some(index)) => {
            let row = visit.row(index, column(command));
            cx.compose(|out| ok(out, &row));
        }
        (Command::Dele, Some(index)) => {
            visit.delete(index);
            cx.compose(|out| ok(out, "marked as deleted"));
        }
        (_, Some(index)) => {
            let record = access.map(|sink| {
                let verb = if lines.is_some() { "TOP" } else { "RETR" };
                let (account, id) = (visit.account(), visit.unique_id(index));
                Record::new(sink, cx.peer(), cx.wall_clock(), account, verb, id)
            });
            cx.send(retrieval(visit, index, lines, record));
        }
    }
}

fn column(command: Command) -> Column {
    if command == Command::List { Column::Size } else { Column::UniqueId }
}

fn maildrop_has(visit: &Visit) -> String {
    format!("{} messages ({} octets)", visit.count(), visit.octets())
}

/// RFC 6856 §3: every reply is in English.
fn language(cx: &mut Cx<'_>, range: &[u8]) {
    let range = range.to_ascii_lowercase();
    cx.compose(|out| match &range[..] {
        b"" => {
            ok(out, "languages:");
            out.extend_from_slice(b"en English\r\n.\r\n");
        }
        // RFC 4647 §3.4: what is more special finds what is less so.
        b"*" | b"en" | b"i-default" => ok(out, "en it is English"),
        range if range.starts_with(b"en-") => ok(out, "en it is English"),
        _ => err(out, "that language is not spoken here"),
    });
}

fn bye(cx: &mut Cx<'_>) {
    cx.compose(|out| ok(out, "bye"));
    cx.close();
}
