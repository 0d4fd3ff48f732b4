//! Transfers: RETR, STOR, APPE, STOU, LIST, NLST, MLSD, what becomes of them, and ABOR.
//!
//! First the storage is asked, then 150 is said, then the data connection gets its work; its report is
//! the last reply. That reply's place is reserved from the beginning, so that nothing comes before it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use bytes::Bytes;
use medusa_core::{Cx, ReplySlot, Returned, Target};
use medusa_files::{Above, VirtualPath};
use medusa_text::code;

use super::channel::Channel;
use super::{DATA, FtpSession, Rights, refuse, say};
use crate::Error;
use crate::access::Record;
use crate::data::{DataSession, Event, Failure, Name, Order, PATIENCE, RETRY, Report, Tray, Work};
use crate::listing::{Form, Lines};
use crate::pace::Pace;
use crate::pattern::Pattern;
use crate::storage::{Ending, Entry, Info, Start, Storage, Upload};
use crate::stream::{Sink, content_from, pooled};
use crate::telnet::push_name;

/// So many names are tried for STOU.
const NAMES: u32 = 1000;

/// A file up to this length may be gone before its 150 is said, which then leaves with the last reply.
const SHORT: u64 = 64 * 1024;
/// So often a session tells itself to say 150, until it does: in the same turn of its shard the data
/// connection reports that it stands, begins, and reports that all is sent.
const HOPS: u8 = 3;

/// Said to oneself: that 150 is due after so many more of these.
pub(super) struct Announce {
    serial: u64,
    hops: u8,
}

/// A transfer under way.
pub(super) struct Transfer {
    /// The 150, until it is said.
    announcement: Option<(ReplySlot, Bytes)>,
    slot: ReplySlot,
    /// What the data connection is to do, until it stands.
    work: Option<Work>,
    /// ABOR has come.
    is_abandoned: bool,
    moved: Arc<AtomicU64>,
    began: Instant,
    /// For the access log; lists aren't in it.
    record: Option<Record>,
    /// How an upload whose connection has gone is to end, as soon as the pool has room for it.
    cut: Option<(CutWork, CutDone)>,
}

type CutWork = Box<dyn FnOnce() -> Result<(), Failure> + Send>;
type CutDone = Box<dyn FnOnce(&mut FtpSession, &mut Cx<'_>, Result<(), Failure>) + Send>;

impl FtpSession {
    // ---- what is asked for ---------------------------------------------------------------------

    pub(super) fn retr(&mut self, cx: &mut Cx<'_>, argument: &[u8]) {
        let offset = std::mem::take(&mut self.restart);
        if !self.is_ready(cx) || self.refuse_ascii_offset(cx, offset) {
            return;
        }
        let (storage, path) = match self.allowed(|rights| rights.read, argument) {
            Ok(allowed) => allowed,
            Err(error) => return refuse(cx, &error),
        };
        let (how, shown) = (self.how, path.to_absolute());
        let known = storage.try_read(&path);
        let open = move || storage.read(&path);
        self.at_once_or_in_pool(cx, known, open, move |session, cx, content| match content {
            Ok(content) if offset > content.len() => refuse(cx, &Error::BeyondEnd),
            Ok(content) => {
                let length = content.len() - offset;
                let make = Box::new(move || how.apply(content_from(content, offset)));
                let record = session.record(cx, 'o', &shown);
                let pace = session.pace(false);
                let text = match how.ascii || how.deflate.is_some() {
                    true => "Here it comes".to_owned(),
                    false => format!("Here it comes ({length} bytes)"),
                };
                let work = |moved| Work::Send { make, moved, pace };
                let is_short = length <= SHORT;
                session.start(cx, work, text.as_bytes(), is_short, record);
            }
            Err(error) => refuse(cx, &error),
        });
    }

    pub(super) fn stor(&mut self, cx: &mut Cx<'_>, argument: &[u8]) {
        let start = match std::mem::take(&mut self.restart) {
            0 => Start::Empty,
            offset => Start::At(offset),
        };
        self.store(cx, argument, start, false);
    }

    pub(super) fn appe(&mut self, cx: &mut Cx<'_>, argument: &[u8]) {
        self.restart = 0;
        self.store(cx, argument, Start::End, false);
    }

    pub(super) fn stou(&mut self, cx: &mut Cx<'_>, argument: &[u8]) {
        self.restart = 0;
        let argument = if argument.trim_ascii().is_empty() { b"file" } else { argument };
        self.store(cx, argument, Start::New, true);
    }

    fn store(&mut self, cx: &mut Cx<'_>, argument: &[u8], start: Start, is_unique: bool) {
        let offset = if let Start::At(offset) = start { offset } else { 0 };
        if !self.is_ready(cx) || self.refuse_ascii_offset(cx, offset) {
            return;
        }
        let (storage, path) = match self.allowed(|rights| rights.write, argument) {
            Ok(allowed) => allowed,
            Err(error) => return refuse(cx, &error),
        };
        let how = self.how;
        // Who may not remove may not replace either: the name must be free.
        let start = match start {
            start if self.rights_at(&path).delete => start,
            Start::At(_) => return refuse(cx, &Error::NotPermitted),
            _ => Start::New,
        };
        let promised = Arc::clone(&self.shared.promised);
        let look = move || match is_unique {
            false => {
                storage.check_write(&path, start)?;
                let open = move |path: &VirtualPath| storage.write(path, start);
                Ok((path, None, Box::new(open) as Begin))
            }
            true => {
                let promise = unique(&*storage, &path, &promised)?;
                let open = move |path: &VirtualPath| storage.write(path, Start::New);
                Ok((promise.path.clone(), Some(promise), Box::new(open) as Begin))
            }
        };
        self.in_pool(cx, look, move |session, cx, looked: Result<_, Error>| match looked {
            Ok((path, promise, begin)) => {
                let shown = path.to_absolute();
                // RFC 1123 §4.1.2.9 fixes the text for STOU.
                let text = match is_unique {
                    true => {
                        let mut text = b"FILE: ".to_vec();
                        match path.parent().as_ref() == Some(&session.cwd) {
                            true => push_name(&mut text, path.name().unwrap_or_default()),
                            // Whoever isn't there couldn't find it by its name alone.
                            false => push_name(&mut text, &shown),
                        }
                        text
                    }
                    false => b"Send it".to_vec(),
                };
                let open = Box::new(move || -> Result<Box<dyn Upload>, Error> {
                    let upload = begin(&path)?;
                    Ok(match promise {
                        Some(promise) => Box::new(Unique { upload, promise }),
                        None => upload,
                    })
                });
                let tray = Tray { sink: Sink::new(open, how), gathered: Vec::new() };
                let record = session.record(cx, 'i', &shown);
                let pace = session.pace(true);
                let work = |moved| Work::Receive { tray, moved, pace };
                session.start(cx, work, &text, false, record);
            }
            Err(error) => refuse(cx, &error),
        });
    }

    pub(super) fn list(&mut self, cx: &mut Cx<'_>, argument: &[u8]) {
        let now = seconds(cx);
        self.lines(cx, without_options(argument), Form::Long { now });
    }

    pub(super) fn nlst(&mut self, cx: &mut Cx<'_>, argument: &[u8]) {
        self.lines(cx, without_options(argument), Form::Names);
    }

    pub(super) fn mlsd(&mut self, cx: &mut Cx<'_>, argument: &[u8]) {
        let rights = self.cwd.join(argument, Above::Stay).map(|path| self.rights_at(&path));
        // A path that is none is refused with the rest.
        let form = Form::Facts(self.facts, rights.unwrap_or(Rights::READ));
        self.lines(cx, argument, form);
    }

    fn lines(&mut self, cx: &mut Cx<'_>, argument: &[u8], form: Form) {
        self.restart = 0;
        if !self.is_ready(cx) {
            return;
        }
        let (storage, path) = match self.allowed(|rights| rights.list, argument) {
            Ok(allowed) => allowed,
            Err(error) => return refuse(cx, &error),
        };
        let given = argument.to_vec();
        // Lists are text whatever TYPE says, and have their CRLF already.
        let how = super::Representation { ascii: false, ..self.how };
        let open = move || lines_of(&*storage, &path, &given, form);
        self.in_pool(cx, open, move |session, cx, lines| match lines {
            Ok(lines) => {
                let make = Box::new(move || how.apply(Box::new(pooled(lines))));
                let pace = Pace::default();
                let work = |moved| Work::Send { make, moved, pace };
                session.start(cx, work, b"Here it comes", false, None);
            }
            Err(error) => refuse(cx, &error),
        });
    }

    // ---- from 150 to the last reply ----------------------------------------------------------------

    /// Whether there is a way for data; otherwise it is said.
    fn is_ready(&mut self, cx: &mut Cx<'_>) -> bool {
        match &self.channel {
            Channel::None => say(cx, 425, "Say PASV, EPSV, PORT or EPRT first"),
            Channel::Unbound => {
                self.channel = Channel::None;
                say(cx, 522, "The data connection must resume the TLS session of this one");
            }
            _ => return true,
        }
        false
    }

    fn refuse_ascii_offset(&mut self, cx: &mut Cx<'_>, offset: u64) -> bool {
        let refused = offset > 0 && (self.how.ascii || self.how.deflate.is_some());
        if refused {
            say(cx, 504, "A transfer is resumed in TYPE I and MODE S");
        }
        refused
    }

    fn start(
        &mut self,
        cx: &mut Cx<'_>,
        work: impl FnOnce(Arc<AtomicU64>) -> Work,
        text: &[u8],
        is_short: bool,
        record: Option<Record>,
    ) {
        let moved = Arc::<AtomicU64>::default();
        let mut work = Some(work(Arc::clone(&moved)));
        // The text may hold a name, which is octets.
        let reply = [b"150 ", text, b"\r\n"].concat();
        let may_be_done_at_once =
            is_short && matches!(self.channel, Channel::Open(..) | Channel::Listening { .. });
        let announcement = match may_be_done_at_once {
            true => Some((cx.reserve(), Bytes::from(reply))),
            false => {
                cx.write(&reply);
                None
            }
        };
        match &self.channel {
            Channel::Open(remote, _) => {
                if let Some(work) = work.take() {
                    cx.notify(remote.address(), Order::Begin(work));
                }
            }
            Channel::Target(target) => {
                self.serial += 1;
                let name = Name { serial: self.serial, index: 0 };
                let session = Box::new(DataSession::new(cx.remote(), name));
                let mut target = Target::new(*target);
                // A client may look whether it is the server that it talks to (RFC 959 §5.2).
                if let Some(ip) = cx.peer().local.ip() {
                    target = target.from_address(ip);
                }
                if self.is_protected {
                    // Whoever connects, the client of FTP is the client of TLS (RFC 4217 §7).
                    target = target.as_tls_server();
                }
                let address = cx.connect(target, session);
                self.channel = Channel::Connecting(address);
                cx.arm(DATA, PATIENCE);
            }
            _ => cx.arm(DATA, PATIENCE),
        }
        let (slot, began) = (cx.reserve(), cx.now());
        if announcement.is_some() {
            // Behind what the data connection was told.
            cx.notify(cx.address(), Announce { serial: self.serial, hops: HOPS });
        }
        let (is_abandoned, cut) = (false, None);
        let transfer =
            Transfer { announcement, slot, work, is_abandoned, moved, began, record, cut };
        self.transfer = Some(Box::new(transfer));
        // It may have come, and been refused, while the storage was asked.
        if matches!(self.channel, Channel::None) {
            self.conclude(cx, Err(Failure::Lost));
        } else if matches!(self.channel, Channel::Unbound) {
            self.conclude(cx, Err(Failure::Insecure));
        }
    }

    /// Says 150 if it is time and nothing came of the transfer meanwhile.
    pub(super) fn announced(&mut self, cx: &mut Cx<'_>, announce: Announce) {
        let Announce { serial, hops } = announce;
        let Some(transfer) = self.transfer.as_mut().filter(|_| serial == self.serial) else {
            return;
        };
        match hops.checked_sub(1) {
            Some(hops) => cx.notify(cx.address(), Announce { serial, hops }),
            None => transfer.announce(cx),
        }
    }

    pub(super) fn reported(&mut self, cx: &mut Cx<'_>, report: Report) {
        let Report { from: Name { serial, index }, event } = report;
        let is_late = matches!(&self.channel, Channel::Open(_, taken) if *taken != index);
        if serial != self.serial || is_late {
            return match event {
                Event::Opened { remote, .. } => cx.notify(remote.address(), Order::Abandon),
                // Nobody waits for it; a full pool drops it, which leaves nothing open either.
                Event::Ended { result, left: Some(tray) } => drop(
                    cx.offload(move || drop(tray.end_as(result)), |_: &mut FtpSession, _, ()| {}),
                ),
                Event::Ended { .. } | Event::Crowded => {}
            };
        }
        match event {
            Event::Crowded => self.close_port(cx),
            Event::Opened { remote, tls } => {
                self.data_opened(cx, remote, index, tls);
                self.use_channel(cx);
            }
            Event::Ended { result, left: Some(tray) } => {
                self.cut(cx, tray, result);
            }
            Event::Ended { result, left: None } => {
                match self.channel {
                    // Also where it was a handshake that failed: as a rule it was the transfer's own client, who
                    // would otherwise wait for its reply as long as for a connection that never comes.
                    _ if self.transfer.is_some() => self.conclude(cx, result),
                    // Before a transfer it may have been anyone, and the right one may come yet.
                    Channel::Listening { .. } => {}
                    // It left before it was used.
                    _ => self.drop_channel(cx),
                }
            }
        }
        self.go_on(cx);
    }

    /// The transfer that waited for its data connection begins, or can't.
    fn use_channel(&mut self, cx: &mut Cx<'_>) {
        let Some(transfer) = &mut self.transfer else { return };
        cx.disarm(DATA);
        match &self.channel {
            Channel::Open(remote, _) => {
                if let Some(work) = transfer.work.take() {
                    cx.notify(remote.address(), Order::Begin(work));
                }
            }
            _ => self.conclude(cx, Err(Failure::Insecure)),
        }
    }

    /// Ends an upload whose connection has gone, in the pool.
    fn cut(&mut self, cx: &mut Cx<'_>, tray: Tray, result: Result<(), Failure>) {
        let work = move || tray.end_as(result);
        let done = move |session: &mut FtpSession, cx: &mut Cx<'_>, result| {
            session.conclude(cx, result);
            session.go_on(cx);
        };
        self.submit_cut(cx, Box::new(work), Box::new(done));
    }

    /// A full pool is asked again: nothing of what has come shall be lost to it.
    fn submit_cut(&mut self, cx: &mut Cx<'_>, work: CutWork, done: CutDone) {
        if let Err(Returned(refused)) = cx.offload(work, done)
            && let Some(transfer) = &mut self.transfer
        {
            transfer.cut = Some(refused);
            cx.arm(DATA, RETRY);
        }
    }

    /// Says how it ended.
    fn conclude(&mut self, cx: &mut Cx<'_>, result: Result<(), Failure>) {
        let Some(mut transfer) = self.transfer.take() else { return };
        cx.disarm(DATA);
        transfer.announce(cx);
        let Transfer { slot, is_abandoned, moved, began, record, work, .. } = *transfer;
        // An upload that never began has changed nothing.
        drop(work);
        let octets = moved.load(Ordering::Relaxed);
        let (code, text) = match &result {
            Ok(()) => (226, "Done".to_owned()),
            Err(_) if is_abandoned => (426, "Broken off".to_owned()),
            Err(failure) => told(failure),
        };
        if let Some(record) = record {
            let elapsed = cx.now().saturating_duration_since(began);
            record.finish(seconds(cx), elapsed, octets, result.is_ok());
        }
        let mut reply = Vec::new();
        code::reply(&mut reply, code, &text);
        cx.fulfil_bytes(slot, Bytes::from(reply));
        if result.is_ok() {
            // It is closing by itself.
            self.channel = Channel::None;
            self.serial += 1;
        }
        self.drop_channel(cx);
    }

    /// The data connection is late, or the pool was full.
    pub(super) fn data_expired(&mut self, cx: &mut Cx<'_>) {
        if let Some((work, done)) = self.transfer.as_mut().and_then(|one| one.cut.take()) {
            return self.submit_cut(cx, work, done);
        }
        if self.transfer.is_none() {
            // A port that nobody uses isn't held for ever.
            if let Channel::Listening { .. } = self.channel {
                self.drop_channel(cx);
            }
            return;
        }
        self.conclude(cx, Err(Failure::Unreachable));
        self.go_on(cx);
    }

    /// ABOR, or nobody is there any more.
    pub(super) fn abandon(&mut self, cx: &mut Cx<'_>) {
        let Some(transfer) = &mut self.transfer else { return };
        transfer.is_abandoned = true;
        match &self.channel {
            // It reports when it has ended.
            Channel::Open(remote, _) if transfer.work.is_none() => {
                cx.notify(remote.address(), Order::Abandon);
            }
            _ => self.conclude(cx, Err(Failure::Abandoned)),
        }
    }

    /// STAT during a transfer: before the transfer's own last reply.
    pub(super) fn tell_progress(&mut self, cx: &mut Cx<'_>) {
        let Some(transfer) = &mut self.transfer else { return };
        transfer.announce(cx);
        let moved = transfer.moved.load(Ordering::Relaxed);
        let text = match transfer.work.is_some() {
            true => "Waiting for the data connection".to_owned(),
            false => format!("A transfer is under way, {moved} bytes so far"),
        };
        let mut reply = Vec::new();
        code::reply(&mut reply, 213, &text);
        // The place of the last reply is taken for this one, and another kept.
        let slot = std::mem::replace(&mut transfer.slot, cx.reserve());
        cx.fulfil_bytes(slot, Bytes::from(reply));
    }

    fn pace(&self, is_upload: bool) -> Pace {
        self.visit.as_ref().map_or_else(Pace::default, |visit| visit.pace(is_upload))
    }

    fn record(&self, cx: &Cx<'_>, direction: char, path: &[u8]) -> Option<Record> {
        let (access, counts) = (self.shared.access.as_ref(), self.shared.counts.as_ref());
        if access.is_none() && counts.is_none() {
            return None;
        }
        let mark = if self.visit.is_some() && self.user == "anonymous" { 'a' } else { 'r' };
        let record = Record::new(path, self.how, direction, mark, &self.user);
        Some(record.of(cx.peer().remote.ip()).to(access.cloned(), counts.cloned()))
    }
}

impl Transfer {
    /// Says 150, if it wasn't said.
    fn announce(&mut self, cx: &mut Cx<'_>) {
        if let Some((slot, reply)) = self.announcement.take() {
            cx.fulfil_bytes(slot, reply);
        }
    }
}

/// What a folder's or a file's lines are.
fn lines_of(
    storage: &dyn Storage,
    path: &VirtualPath,
    given: &[u8],
    form: Form,
) -> Result<Lines, Error> {
    let info = match storage.info(path) {
        Err(Error::NotFound) if !matches!(form, Form::Facts(..)) => {
            let pattern = Pattern::of(path, given).ok_or(Error::NotFound)?;
            return Ok(Lines::new(pattern.entries(storage)?, form));
        }
        info => info?,
    };
    if info.is_folder {
        let lines = Lines::new(storage.list(path)?, form);
        return Ok(match form {
            // RFC 3659 §7.2.1: the folder itself, in front.
            Form::Facts(..) => lines.beginning_with(Entry { name: path.to_absolute(), info }),
            _ => lines,
        });
    }
    match form {
        Form::Facts(..) => Err(Error::NotAFolder),
        _ => Ok(Lines::new(one_entry(given, info), form)),
    }
}

fn one_entry(name: &[u8], info: Info) -> crate::storage::Entries {
    Box::new(std::iter::once(Ok(Entry { name: name.to_vec(), info })))
}

/// Begins to write a file.
type Begin = Box<dyn FnOnce(&VirtualPath) -> Result<Box<dyn Upload>, Error> + Send>;

/// Names that STOU has told, until their uploads have ended: some have their file only then.
pub(super) type Promised = Mutex<HashSet<VirtualPath>>;

/// One of these.
struct Promise {
    promised: Arc<Promised>,
    path: VirtualPath,
}

impl Drop for Promise {
    fn drop(&mut self) {
        let mut promised = self.promised.lock().unwrap_or_else(PoisonError::into_inner);
        promised.remove(&self.path);
    }
}

/// An upload whose name is promised as long as it lasts.
struct Unique {
    upload: Box<dyn Upload>,
    promise: Promise,
}

impl Upload for Unique {
    fn write(&mut self, octets: &[u8]) -> Result<(), Error> {
        self.upload.write(octets)
    }

    fn end(self: Box<Self>, ending: Ending) -> Result<(), Error> {
        let Unique { upload, promise } = *self;
        let ended = upload.end(ending);
        drop(promise);
        ended
    }
}

/// Finds a name that no other file has, or will have: `name`, `name.1`, `name.2`.
fn unique(
    storage: &dyn Storage,
    path: &VirtualPath,
    promised: &Arc<Promised>,
) -> Result<Promise, Error> {
    let folder = path.parent().ok_or(Error::InvalidName)?;
    let name = path.name().unwrap_or_default().to_vec();
    for number in 0..NAMES {
        let mut name = name.clone();
        if number > 0 {
            name.extend_from_slice(format!(".{number}").as_bytes());
        }
        let path = folder.join(&name, Above::Refuse)?;
        let is_new = promised.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone());
        if !is_new {
            continue;
        }
        // Looked at behind the promise: an upload that has ended before it has its file by now.
        let promise = Promise { promised: Arc::clone(promised), path };
        match storage.check_write(&promise.path, Start::New) {
            Err(Error::Exists | Error::IsAFolder) => {}
            checked => return checked.map(|()| promise),
        }
    }
    Err(Error::Exists)
}

/// LIST and NLST get the options of `ls` from many clients; they mean nothing here.
pub(super) fn without_options(argument: &[u8]) -> &[u8] {
    let mut rest = argument.trim_ascii_start();
    if !rest.starts_with(b"-") {
        return argument;
    }
    while rest.starts_with(b"-") {
        let end = rest.iter().position(|&octet| octet == b' ').unwrap_or(rest.len());
        rest = rest[end..].trim_ascii_start();
    }
    rest
}

fn told(failure: &Failure) -> (u16, String) {
    let (code, text) = match failure {
        Failure::Lost => (426, "The data connection was lost"),
        Failure::Truncated => (426, "The data connection ended without TLS's close_notify"),
        Failure::Abandoned => (426, "Broken off"),
        Failure::Unreachable => (425, "There is no data connection"),
        Failure::Insecure => (522, "The data connection's TLS is not as it should be"),
        Failure::TimedOut => (426, "The data connection was too slow"),
        Failure::Unreadable => (451, "It could not be read to its end"),
        Failure::Stored(error) => return (error.code(), error.to_string()),
    };
    (code, text.to_owned())
}

/// The wall clock, for dates that people read.
pub(super) fn seconds(cx: &Cx<'_>) -> i64 {
    let since = cx.wall_clock().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
