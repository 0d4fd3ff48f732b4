//! Commands about files and folders that need no data connection.

use medusa_core::Cx;
use medusa_core::producer::{bytes, chain};
use medusa_files::VirtualPath;
use sha2::{Digest, Sha256};

use super::transfer::{seconds, without_options};
use super::{FtpSession, RENAMING, refuse, say};
use crate::Error;
use crate::listing::{Form, Lines};
use crate::storage::{Content, Entry, Info, Storage};
use crate::stream::{added_by_ascii, pooled};
use crate::telnet::{push_name, push_quoted};
use crate::time::{push_stamp, read_stamp};

/// A longer file's length in TYPE A isn't told: it would have to be read for it.
const COUNTED: u64 = 64 << 20;
/// So much of a file is hashed before others have their turn in the pool.
const HASHED: u64 = 16 << 20;
/// What is read at once.
const PIECE: usize = 64 << 10;

impl FtpSession {
    pub(super) fn change_folder(&mut self, cx: &mut Cx<'_>, argument: &[u8]) {
        let (storage, path) = match self.allowed(|_| true, argument) {
            Ok(allowed) => allowed,
            Err(error) => return refuse(cx, &error),
        };
        let Some(visit) = self.visit.clone() else { return refuse(cx, &Error::NotPermitted) };
        let look = move |info: Result<Info, Error>, path: VirtualPath| match info?.is_folder {
            true => Ok((visit.message_at(&path), path)),
            false => Err(Error::NotAFolder),
        };
        let known = match self.visit.as_ref().is_some_and(|visit| visit.reads_messages()) {
            true => None,
            false => storage.try_info(&path).map(|info| look(info, path.clone())),
        };
        let work = move || look(storage.info(&path), path);
        self.at_once_or_in_pool(cx, known, work, |session, cx, found| match found {
            Ok((message, path)) => {
                session.cwd = path;
                say(cx, 250, &(message + "There you are"));
            }
            Err(error) => refuse(cx, &error),
        });
    }

    pub(super) fn pwd(&mut self, cx: &mut Cx<'_>) {
        let path = self.cwd.to_absolute();
        say_path(cx, 257, b"", &path, b" is where you are");
    }

    pub(super) fn mkd(&mut self, cx: &mut Cx<'_>, argument: &[u8]) {
        match self.allowed(|rights| rights.write, argument) {
            Err(error) => refuse(cx, &error),
            Ok((storage, path)) => {
                let make = move || storage.make_folder(&path).map(|()| path.to_absolute());
                self.in_pool(cx, make, |_, cx, made| match made {
                    Ok(path) => say_path(cx, 257, b"", &path, b" is there now"),
                    Err(error) => refuse(cx, &error),
                });
            }
        }
    }

    pub(super) fn rmd(&mut self, cx: &mut Cx<'_>, argument: &[u8]) {
        match self.allowed(|rights| rights.delete, argument) {
            Err(error) => refuse(cx, &error),
            Ok((_, path)) if self.must_keep_name(&path) => refuse(cx, &Error::NotPermitted),
            Ok((storage, path)) => {
                self.change(cx, move || storage.remove_folder(&path), 250, "It is gone");
            }
        }
    }

    pub(super) fn dele(&mut self, cx: &mut Cx<'_>, argument: &[u8]) {
        match self.allowed(|rights| rights.delete, argument) {
            Err(error) => refuse(cx, &error),
            Ok((storage, path)) => {
                self.change(cx, move || storage.remove_file(&path), 250, "It is gone");
            }
        }
    }

    pub(super) fn rnfr(&mut self, cx: &mut Cx<'_>, argument: &[u8]) {
        let (storage, path) = match self.allowed(|rights| rights.delete, argument) {
            Ok((_, path)) if self.must_keep_name(&path) => {
                return refuse(cx, &Error::NotPermitted);
            }
            Ok(allowed) => allowed,
            Err(error) => return refuse(cx, &error),
        };
        let look = move || storage.info(&path).map(|_| path);
        self.in_pool(cx, look, |session, cx, path| match path {
            Ok(path) => {
                session.renaming = Some(path);
                session.state = RENAMING;
                say(cx, 350, "And its new name?");
            }
            Err(error) => refuse(cx, &error),
        });
    }

    pub(super) fn rnto(&mut self, cx: &mut Cx<'_>, argument: &[u8]) {
        let from = self.renaming.take();
        self.state = super::IN;
        match (from, self.allowed(|rights| rights.write, argument)) {
            (Some(from), Ok((storage, to))) => {
                let replace = self.rights_at(&to).delete;
                self.change(cx, move || storage.rename(&from, &to, replace), 250, "It is renamed");
            }
            (_, Err(error)) => refuse(cx, &error),
            (None, _) => say(cx, 503, "RNFR comes first"),
        }
    }

    pub(super) fn size(&mut self, cx: &mut Cx<'_>, argument: &[u8]) {
        let (storage, path) = match self.allowed(|rights| rights.list || rights.read, argument) {
            Ok(allowed) => allowed,
            Err(error) => return refuse(cx, &error),
        };
        let is_ascii = self.how.ascii;
        let known = storage.try_info(&path).and_then(|info| match info {
            Ok(Info { is_folder: false, len, .. }) if !is_ascii => Some(Ok(len)),
            _ => None,
        });
        let measure = move || {
            let info = match storage.info(&path) {
                // A client that goes on with an upload asks from where on.
                Err(Error::NotFound) if !is_ascii => return storage.part(&path),
                info => info?,
            };
            match (info.is_folder, is_ascii) {
                (true, _) => Err(Error::IsAFolder),
                (false, false) => Ok(info.len),
                (false, true) => length_in_ascii(&*storage, &path),
            }
        };
        self.at_once_or_in_pool(cx, known, measure, |_, cx, size| match size {
            Ok(size) => say(cx, 213, &size.to_string()),
            // RFC 3659 §4: what can't be told is 550.
            Err(Error::TooMuch) => say(cx, 550, "Too long to be counted in TYPE A"),
            Err(error) => refuse(cx, &error),
        });
    }

    pub(super) fn mdtm(&mut self, cx: &mut Cx<'_>, argument: &[u8]) {
        let (storage, path) = match self.allowed(|rights| rights.list || rights.read, argument) {
            Ok(allowed) => allowed,
            Err(error) => return refuse(cx, &error),
        };
        self.at_once_or_in_pool(
            cx,
            storage.try_info(&path),
            move || storage.info(&path),
            |_, cx, info| match info {
                Ok(info) => {
                    let mut stamp = Vec::new();
                    push_stamp(
                        &mut stamp,
                        medusa_files::Timestamp { nanoseconds: 0, ..info.modified },
                    );
                    say(cx, 213, &String::from_utf8_lossy(&stamp));
                }
                Err(error) => refuse(cx, &error),
            },
        );
    }

    pub(super) fn mfmt(&mut self, cx: &mut Cx<'_>, argument: &[u8]) {
        let at = argument.iter().position(|&octet| octet == b' ').unwrap_or(argument.len());
        let (stamp, name) = (&argument[..at], argument.get(at + 1..).unwrap_or_default());
        let (Some(moment), false) = (read_stamp(stamp), name.is_empty()) else {
            return say(cx, 501, "Syntax: MFMT YYYYMMDDHHMMSS path");
        };
        let (storage, path) = match self.allowed(|rights| rights.write && rights.delete, name) {
            Ok(allowed) => allowed,
            Err(error) => return refuse(cx, &error),
        };
        let (mut head, name) = (b"213 Modify=".to_vec(), name.to_vec());
        head.extend_from_slice(stamp);
        head.extend_from_slice(b"; ");
        self.in_pool(
            cx,
            move || storage.set_modified(&path, moment),
            move |_, cx, set| match set {
                Ok(()) => cx.compose(|out| {
                    out.extend_from_slice(&head);
                    push_name(out, &name);
                    out.extend_from_slice(b"\r\n");
                }),
                Err(error) => refuse(cx, &error),
            },
        );
    }

    pub(super) fn mlst(&mut self, cx: &mut Cx<'_>, argument: &[u8]) {
        let (storage, path) = match self.allowed(|rights| rights.list, argument) {
            Ok(allowed) => allowed,
            Err(error) => return refuse(cx, &error),
        };
        let (facts, rights) = (self.facts, self.rights_at(&path));
        let look = move || storage.info(&path).map(|info| (info, path));
        self.in_pool(cx, look, move |_, cx, found| match found {
            Ok((info, path)) => cx.compose(|out| {
                out.extend_from_slice(b"250-Here it is\r\n ");
                facts.push(out, &info, rights, false);
                out.push(b' ');
                push_name(out, &path.to_absolute());
                out.extend_from_slice(b"\r\n250 That is all\r\n");
            }),
            Err(error) => refuse(cx, &error),
        });
    }

    /// STAT with a path: a list on the control connection (RFC 959 §4.1.3).
    pub(super) fn stat_path(&mut self, cx: &mut Cx<'_>, argument: &[u8]) {
        let given = without_options(argument);
        let (storage, path) = match self.allowed(|rights| rights.list, given) {
            Ok(allowed) => allowed,
            Err(error) => return refuse(cx, &error),
        };
        let (form, given) = (Form::Reply { now: seconds(cx) }, given.to_vec());
        let open = move || {
            let info = storage.info(&path)?;
            let entries = match info.is_folder {
                true => storage.list(&path)?,
                false => Box::new(std::iter::once(Ok(Entry { name: given, info }))),
            };
            Ok((info.is_folder, Lines::new(entries, form)))
        };
        self.in_pool(cx, open, |_, cx, opened: Result<_, Error>| match opened {
            Ok((is_folder, lines)) => {
                let (head, tail) = match is_folder {
                    true => ("212-Here it is\r\n", "212 That is all\r\n"),
                    false => ("213-Here it is\r\n", "213 That is all\r\n"),
                };
                cx.send(chain(chain(bytes(head), pooled(lines)), bytes(tail)));
            }
            Err(error) => refuse(cx, &error),
        });
    }

    /// HASH (draft-bryan-ftpext-hash), or the older XSHA256.
    pub(super) fn hash(&mut self, cx: &mut Cx<'_>, argument: &[u8], is_draft: bool) {
        let (storage, path) = match self.allowed(|rights| rights.read, argument) {
            Ok(allowed) => allowed,
            Err(error) => return refuse(cx, &error),
        };
        let name = argument.to_vec();
        let open = move || {
            let content = storage.read(&path)?;
            hashed(Hashing { content, at: 0, digest: Sha256::new(), name, is_draft })
        };
        self.in_pool(cx, open, FtpSession::hashed);
    }

    /// A part is done; the next is another job, so that others have their turn.
    fn hashed(&mut self, cx: &mut Cx<'_>, state: Result<Hashing, Error>) {
        match state {
            Err(error) => refuse(cx, &error),
            Ok(state) if state.at < state.content.len() => {
                self.in_pool(cx, move || hashed(state), FtpSession::hashed);
            }
            Ok(Hashing { at, digest, name, is_draft, .. }) => {
                let hex: String =
                    digest.finalize().iter().map(|octet| format!("{octet:02x}")).collect();
                cx.compose(|out| {
                    let head = match is_draft {
                        true => format!("213 SHA-256 0-{at} {hex} "),
                        false => format!("250 {hex}"),
                    };
                    out.extend_from_slice(head.as_bytes());
                    if is_draft {
                        push_name(out, &name);
                    }
                    out.extend_from_slice(b"\r\n");
                });
            }
        }
    }

    /// SITE CHMOD.
    pub(super) fn chmod(&mut self, cx: &mut Cx<'_>, argument: &[u8]) {
        let argument = argument.trim_ascii_start();
        let at = argument.iter().position(|&octet| octet == b' ').unwrap_or(argument.len());
        let (digits, name) = (&argument[..at], argument.get(at + 1..).unwrap_or_default());
        let octal = |digits: &[u8]| u32::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok();
        let mode = octal(digits).filter(|mode| *mode <= 0o777 && digits[0] != b'+');
        let (Some(mode), false) = (mode, name.is_empty()) else {
            return say(cx, 501, "Syntax: SITE CHMOD mode path");
        };
        match self.allowed(|rights| rights.write && rights.delete, name) {
            Ok((storage, path)) => {
                self.change(cx, move || storage.set_mode(&path, mode), 200, "The mode is set");
            }
            Err(error) => refuse(cx, &error),
        }
    }
}

/// A file that is being hashed.
struct Hashing {
    content: Content,
    at: u64,
    digest: Sha256,
    name: Vec<u8>,
    is_draft: bool,
}

fn hashed(mut state: Hashing) -> Result<Hashing, Error> {
    let mut buffer = vec![0; PIECE];
    let end = state.content.len().min(state.at + HASHED);
    while state.at < end {
        match state.content.read_at(&mut buffer, state.at)? {
            0 => return Err(Error::Io(std::io::ErrorKind::UnexpectedEof.into())),
            count => {
                state.digest.update(&buffer[..count]);
                state.at += count as u64;
            }
        }
    }
    Ok(state)
}

fn length_in_ascii(storage: &dyn Storage, path: &VirtualPath) -> Result<u64, Error> {
    let mut content = storage.read(path)?;
    if content.len() > COUNTED {
        return Err(Error::TooMuch);
    }
    let (mut at, mut added, mut buffer) = (0, 0, vec![0; PIECE]);
    while at < content.len() {
        let count = content.read_at(&mut buffer, at)?;
        if count == 0 {
            break;
        }
        added += added_by_ascii(&buffer[..count]);
        at += count as u64;
    }
    Ok(at + added)
}

/// A reply with a path in quotes (RFC 959 Appendix II), however long.
fn say_path(cx: &mut Cx<'_>, code: u16, before: &[u8], path: &[u8], behind: &[u8]) {
    cx.compose(|out| {
        out.extend_from_slice(code.to_string().as_bytes());
        out.push(b' ');
        out.extend_from_slice(before);
        push_quoted(out, path);
        out.extend_from_slice(behind);
        out.extend_from_slice(b"\r\n");
    });
}
