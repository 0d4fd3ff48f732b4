//! A control connection (RFC 959): lines in, replies out, in order.
//!
//! A command that must look at files does so in the pool, and the next line waits. During a transfer
//! lines are kept for later, but for ABOR, which ends it, and STAT, which tells how far it is; so
//! replies come in the order of the commands whatever is pipelined.
//!
//! Pure: files are the storage's, sockets the core's.

mod channel;
mod files;
mod info;
mod login;
mod transfer;

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::Arc;

use medusa_accounts::{Logins, Waiting};
use medusa_core::{
    AccessSink, Cx, Deadline, Frame, Framing, Goodbye, Listening, Note, Session, TimerKey,
};
use medusa_files::{Above, VirtualPath};
use medusa_text::{Line, Mismatch, States, code};

use crate::Error;
use crate::access::Counts;
use crate::commands::{COMMANDS, Command, IN, NAMED, OUT, RENAMING};
use crate::data::{Order, Report};
use crate::home::{Home, Visit};
use crate::listing::Facts;
use crate::passive::Ports;
use crate::storage::Storage;
use crate::stream::Representation;
use crate::telnet;

pub(crate) use crate::home::Rights;
use channel::Channel;
use transfer::{Announce, Promised, Transfer};

/// The longest line: a path of 4,095 octets, each of which may be doubled.
const LINE: usize = 8 * 1024 + 64;
/// So many lines wait behind a transfer before reading rests.
const WAITING: usize = 32;
/// So many commands that are none are answered before the connection is closed: whoever talks something
/// else to this port, through a browser for instance, shall not go on.
const WRONGS: u32 = 20;

/// The level of MODE Z where nothing is said: zlib's own.
const LEVEL: u32 = 6;

const LOGIN: TimerKey = TimerKey(1);
const DATA: TimerKey = TimerKey(2);
/// The limit on how long somebody may take to log in.
const OUTSIDE: TimerKey = TimerKey(3);

/// What the sessions of a service share.
pub(crate) struct Shared {
    pub(crate) name: Arc<str>,
    pub(crate) home: Box<Home>,
    pub(crate) logins: Option<Logins>,
    pub(crate) anonymous: bool,
    /// What anonymous visitors find, where that is known before they come.
    pub(crate) anonymous_visit: Option<Arc<Visit>>,
    pub(crate) ports: Ports,
    /// Names that STOU has told and that are no files yet.
    pub(crate) promised: Arc<Promised>,
    pub(crate) passive_address: Option<Ipv4Addr>,
    pub(crate) has_tls: bool,
    /// Whether a secured data connection must resume a session of its control connection.
    pub(crate) data_tls_binding: bool,
    pub(crate) access: Option<Arc<dyn AccessSink>>,
    pub(crate) counts: Option<Arc<Counts>>,
    pub(crate) banner: String,
}

/// One control connection.
pub(crate) struct FtpSession {
    shared: Arc<Shared>,
    state: States,
    /// The name of USER, then of who is logged in.
    user: String,
    visit: Option<Arc<Visit>>,
    login: Option<Box<Waiting<FtpSession>>>,
    cwd: VirtualPath,
    how: Representation,
    /// The level of MODE Z.
    level: u32,
    is_protected: bool,
    /// TLS from the first octet.
    is_implicit: bool,
    has_buffer_size: bool,
    restart: u64,
    renaming: Option<VirtualPath>,
    only_epsv: bool,
    facts: Facts,
    channel: Channel,
    /// Counts data channels, so that a late report is known for one.
    serial: u64,
    /// The TLS sessions of which one is to be resumed on a data connection.
    tickets: Vec<[u8; 16]>,
    transfer: Option<Box<Transfer>>,
    /// Lines that came during a transfer.
    waiting: VecDeque<Vec<u8>>,
    /// The pool, or the core, is to say something before the next line.
    is_busy: bool,
    /// An ABOR without its LF was obeyed already.
    has_aborted_early: bool,
    /// The peer sends no more.
    is_ending: bool,
    wrongs: u32,
}

impl FtpSession {
    pub(crate) fn new(shared: Arc<Shared>) -> FtpSession {
        FtpSession {
            shared,
            state: OUT,
            user: String::new(),
            visit: None,
            login: None,
            cwd: VirtualPath::root(),
            how: Representation::default(),
            level: LEVEL,
            is_protected: false,
            is_implicit: false,
            has_buffer_size: false,
            restart: 0,
            renaming: None,
            only_epsv: false,
            facts: Facts::default(),
            channel: Channel::None,
            serial: 0,
            tickets: Vec::new(),
            transfer: None,
            waiting: VecDeque::new(),
            is_busy: false,
            has_aborted_early: false,
            is_ending: false,
            wrongs: 0,
        }
    }

    // ---- lines ---------------------------------------------------------------------------------

    fn line(&mut self, cx: &mut Cx<'_>, line: &[u8]) {
        if self.transfer.is_none() && !self.is_busy && self.waiting.is_empty() {
            self.perform(cx, line);
        } else {
            let verb = Line::new(line);
            match COMMANDS.row(verb.verb).map(|row| row.command) {
                Some(Command::Abor) => self.abandon(cx),
                Some(Command::Stat)
                    if verb.trimmed().is_empty()
                        && self.waiting.is_empty()
                        && self.transfer.is_some() =>
                {
                    return self.tell_progress(cx);
                }
                _ => {}
            }
            self.waiting.push_back(line.to_vec());
        }
        self.go_on(cx);
    }

    /// Takes up what waits, as far as that can be.
    fn go_on(&mut self, cx: &mut Cx<'_>) {
        while !self.is_busy && self.transfer.is_none() && !cx.is_closing() {
            if let Some(line) = self.waiting.pop_front() {
                self.perform(cx, &line);
            } else if cx.is_draining() {
                say(cx, 421, "The server is shutting down");
                cx.close();
            } else if self.is_ending {
                cx.close();
            } else {
                break;
            }
        }
        match self.is_busy || self.waiting.len() >= WAITING {
            true => cx.pause(),
            false => cx.resume(),
        }
    }

    fn perform(&mut self, cx: &mut Cx<'_>, line: &[u8]) {
        let line = Line::new(line);
        let found = COMMANDS.find(&line, self.state);
        // RNTO must follow RNFR at once (RFC 959 §4.1.3).
        if self.state == RENAMING && !matches!(&found, Ok(row) if row.command == Command::Rnto) {
            self.state = IN;
            self.renaming = None;
        }
        match found {
            Ok(row) => match line.argument {
                Some(argument) if argument.contains(&b'\r') => {
                    say(cx, 501, "A bare CR is no part of an argument");
                }
                argument => self.dispatch(cx, row.command, argument.unwrap_or_default()),
            },
            Err(Mismatch::Unknown) => self.wrong(cx),
            Err(Mismatch::State(row)) if row.states.contain(IN) && !self.is_inside() => {
                say(cx, 530, "Log in first");
            }
            Err(Mismatch::State(_)) => say(cx, 503, "Not now: another command comes before it"),
            Err(Mismatch::Unexpected(row) | Mismatch::Missing(row)) => {
                say(cx, 501, &format!("Syntax: {}", row.syntax));
            }
        }
    }

    fn wrong(&mut self, cx: &mut Cx<'_>) {
        self.wrongs += 1;
        if self.wrongs < WRONGS {
            return say(cx, 500, "No such command");
        }
        say(cx, 421, "Too many commands that are none");
        cx.close();
    }

    fn dispatch(&mut self, cx: &mut Cx<'_>, command: Command, argument: &[u8]) {
        match command {
            Command::User => self.user(cx, argument),
            Command::Pass => self.pass(cx, argument),
            Command::Rein => self.rein(cx),
            Command::Auth => self.auth(cx, argument),
            Command::Pbsz => self.pbsz(cx, argument),
            Command::Prot => self.prot(cx, argument),
            Command::Host => self.host(cx, argument),
            Command::Ccc => say(cx, 533, "The control connection stays protected"),
            Command::Acct => say(cx, 202, "No account information is needed"),
            Command::Smnt => say(cx, 502, "Nothing can be mounted"),
            Command::Quit => {
                say(cx, 221, "Goodbye");
                // Who has said QUIT has nothing more to say.
                cx.close_unheard();
            }
            Command::Noop => say(cx, 200, "Here I am"),
            Command::Clnt => say(cx, 200, "Noted"),
            Command::Syst => say(cx, 215, "UNIX Type: L8"),
            Command::Feat => self.feat(cx),
            Command::Help => self.help(cx, argument),
            Command::Opts => self.opts(cx, argument),
            Command::Stat => self.stat(cx, argument),
            Command::Type => self.set_type(cx, argument),
            Command::Mode => self.set_mode(cx, argument),
            Command::Stru => self.set_structure(cx, argument),
            Command::Rest => self.rest(cx, argument),
            Command::Allo => say(cx, 202, "Room is found as it is needed"),
            // What it ended has had its reply.
            Command::Abor => say(cx, 226, "Nothing is under way any more"),
            Command::Port => self.port(cx, argument),
            Command::Eprt => self.eprt(cx, argument),
            Command::Pasv => self.pasv(cx),
            Command::Epsv => self.epsv(cx, argument),
            Command::Retr => self.retr(cx, argument),
            Command::Stor => self.stor(cx, argument),
            Command::Appe => self.appe(cx, argument),
            Command::Stou => self.stou(cx, argument),
            Command::List => self.list(cx, argument),
            Command::Nlst => self.nlst(cx, argument),
            Command::Mlsd => self.mlsd(cx, argument),
            Command::Mlst => self.mlst(cx, argument),
            Command::Cwd => self.change_folder(cx, argument),
            Command::Cdup => self.change_folder(cx, b".."),
            Command::Pwd => self.pwd(cx),
            Command::Mkd => self.mkd(cx, argument),
            Command::Rmd => self.rmd(cx, argument),
            Command::Dele => self.dele(cx, argument),
            Command::Rnfr => self.rnfr(cx, argument),
            Command::Rnto => self.rnto(cx, argument),
            Command::Size => self.size(cx, argument),
            Command::Mdtm => self.mdtm(cx, argument),
            Command::Mfmt => self.mfmt(cx, argument),
            Command::Hash => self.hash(cx, argument, true),
            Command::Xsha256 => self.hash(cx, argument, false),
            Command::Site => self.site(cx, argument),
        }
    }

    // ---- what the commands share -----------------------------------------------------------------

    fn is_inside(&self) -> bool {
        self.state == IN || self.state == RENAMING
    }

    /// Looks whether it may be done, and where.
    fn allowed(
        &self,
        may: impl FnOnce(Rights) -> bool,
        argument: &[u8],
    ) -> Result<(Arc<dyn Storage>, VirtualPath), Error> {
        let visit = self.visit.as_ref().ok_or(Error::NotPermitted)?;
        // Above the root is the root, as in a chroot.
        let path = self.cwd.join(argument, Above::Stay)?;
        match may(visit.rights_at(&path)) {
            true => Ok((Arc::clone(&visit.storage), path)),
            false => Err(Error::NotPermitted),
        }
    }

    fn rights_at(&self, path: &VirtualPath) -> Rights {
        const NONE: Rights = Rights { read: false, list: false, write: false, delete: false };
        self.visit.as_ref().map_or(NONE, |visit| visit.rights_at(path))
    }

    /// Whether a folder, or one below it, has rights or a message by its name.
    fn must_keep_name(&self, path: &VirtualPath) -> bool {
        self.visit.as_ref().is_some_and(|visit| visit.must_keep_name(path))
    }

    /// Does something with files in the pool, and answers.
    fn in_pool<T: Send + 'static>(
        &mut self,
        cx: &mut Cx<'_>,
        work: impl FnOnce() -> T + Send + 'static,
        then: impl FnOnce(&mut FtpSession, &mut Cx<'_>, T) + Send + 'static,
    ) {
        self.is_busy = true;
        let done = move |session: &mut FtpSession, cx: &mut Cx<'_>, value: T| {
            session.is_busy = false;
            then(session, cx, value);
            session.go_on(cx);
        };
        if cx.offload(work, done).is_err() {
            self.is_busy = false;
            refuse(cx, &Error::Busy);
        }
    }

    /// Does `then` with what is known already, or with what the pool finds out.
    fn at_once_or_in_pool<T: Send + 'static>(
        &mut self,
        cx: &mut Cx<'_>,
        known: Option<T>,
        work: impl FnOnce() -> T + Send + 'static,
        then: impl FnOnce(&mut FtpSession, &mut Cx<'_>, T) + Send + 'static,
    ) {
        match known {
            Some(known) => then(self, cx, known),
            None => self.in_pool(cx, work, then),
        }
    }

    /// As `in_pool`, for what only succeeds or fails.
    fn change(
        &mut self,
        cx: &mut Cx<'_>,
        work: impl FnOnce() -> Result<(), Error> + Send + 'static,
        code: u16,
        text: &'static str,
    ) {
        self.in_pool(cx, work, move |_, cx, result| match result {
            Ok(()) => say(cx, code, text),
            Err(error) => refuse(cx, &error),
        });
    }
}

/// Sends a reply.
fn say(cx: &mut Cx<'_>, reply: u16, text: &str) {
    cx.compose(|out| code::reply(out, reply, text));
}

/// Tells an error.
fn refuse(cx: &mut Cx<'_>, error: &Error) {
    if let Error::Io(error) = error {
        tracing::warn!(%error, "a file operation failed");
    }
    say(cx, error.code(), &error.to_string());
}

impl Session for FtpSession {
    fn opened(&mut self, cx: &mut Cx<'_>) {
        cx.expect(Framing::line(LINE));
        if cx.is_secured() {
            // Implicit FTPS: what everybody does is protected data.
            (self.is_protected, self.is_implicit) = (true, true);
            self.remember_tls(cx);
        }
        self.await_login(cx);
        say(cx, 220, &self.shared.banner);
    }

    fn received(&mut self, cx: &mut Cx<'_>, frame: Frame<'_>) {
        let stripped = telnet::stripped(frame.bytes);
        let mut line: &[u8] = &stripped;
        if std::mem::take(&mut self.has_aborted_early) {
            line = line.get(4..).unwrap_or_default();
            line = line.strip_prefix(b"\r").unwrap_or(line);
            if line.is_empty() {
                return self.go_on(cx);
            }
        }
        // The LF was sent as urgent data, as ftplib does, and has been taken out of the stream.
        while let Some((b"\r", rest)) = after_abor(line).and_then(|rest| rest.split_at_checked(1)) {
            self.line(cx, b"ABOR");
            line = rest;
        }
        self.line(cx, line);
    }

    fn unfinished(&mut self, cx: &mut Cx<'_>, so_far: &[u8], _: usize) {
        // Its LF may have been urgent data, and not come at all.
        if !self.has_aborted_early && after_abor(&telnet::stripped(so_far)) == Some(b"\r") {
            self.has_aborted_early = true;
            self.line(cx, b"ABOR");
        }
    }

    fn overlong(&mut self, cx: &mut Cx<'_>) {
        self.has_aborted_early = false;
        // Whatever it was, it is no command, and has its place in the order.
        self.waiting.push_back(Vec::new());
        self.go_on(cx);
    }

    fn notified(&mut self, cx: &mut Cx<'_>, note: Note) {
        let note = match note.downcast::<Listening>() {
            Ok(listening) => return self.listening(cx, listening),
            Err(note) => note,
        };
        let note = match note.downcast::<Report>() {
            Ok(report) => return self.reported(cx, report),
            Err(note) => note,
        };
        match note.downcast::<Announce>() {
            Ok(announce) => self.announced(cx, announce),
            Err(_) => debug_assert!(false, "a control connection hears of its data connections"),
        }
    }

    fn expired(&mut self, cx: &mut Cx<'_>, key: TimerKey) {
        match key {
            LOGIN => self.login_waited(cx),
            DATA => self.data_expired(cx),
            OUTSIDE => {
                say(cx, 421, "Nobody has logged in");
                cx.close();
            }
            _ => {}
        }
    }

    fn secured(&mut self, cx: &mut Cx<'_>) {
        cx.expect(Framing::line(LINE));
        self.has_aborted_early = false;
        self.remember_tls(cx);
    }

    fn timed_out(&mut self, cx: &mut Cx<'_>, _: Deadline) {
        say(cx, 421, "Nothing came for too long");
        cx.close();
    }

    fn half_closed(&mut self, cx: &mut Cx<'_>) {
        self.is_ending = true;
        let quits = |line: &Vec<u8>| Line::new(line).verb.eq_ignore_ascii_case(b"QUIT");
        if !self.waiting.iter().any(quits) {
            // Nobody would hear of the transfer's end.
            self.abandon(cx);
        }
        self.go_on(cx);
    }

    fn draining(&mut self, cx: &mut Cx<'_>) {
        self.go_on(cx);
    }

    fn closed(&mut self, _: &Goodbye) {
        if let Some(remote) = self.channel.connected() {
            // It may have gone too.
            let _ = remote.notify(Order::Abandon);
        }
    }
}

/// What stands behind ABOR, if it is one.
fn after_abor(line: &[u8]) -> Option<&[u8]> {
    let (verb, rest) = line.split_at_checked(4)?;
    verb.eq_ignore_ascii_case(b"ABOR").then_some(rest)
}

#[cfg(test)]
mod tests;
