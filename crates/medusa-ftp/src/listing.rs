//! Folders as lines: LIST like `ls -l` (RFC 959 leaves the form open, every client reads this one), NLST
//! as bare names, MLSD and MLST as facts (RFC 3659 §7).
//!
//! A line is made when there is room for it, a folder of any size costs the same memory. Nothing is
//! sorted. Octets of a name that could end a line are shown as `?`.

use std::io::Write;

use medusa_files::Timestamp;

use crate::Error;
use crate::session::Rights;
use crate::storage::{Entries, Entry, Info};
use crate::stream::Generate;
use crate::time::{push_listed, push_stamp};

/// Lines that are made in one go.
const LINES: usize = 256;

/// How a folder is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// LIST, as of this moment.
    Long { now: i64 },
    /// LIST in a reply: the lines begin with a space.
    Reply { now: i64 },
    /// NLST.
    Names,
    /// MLSD.
    Facts(Facts, Rights),
}

/// A folder's lines.
pub(crate) struct Lines {
    entries: Entries,
    form: Form,
    /// An entry that stands before the others.
    first: Option<Entry>,
}

impl Lines {
    pub(crate) fn new(entries: Entries, form: Form) -> Lines {
        Lines { entries, form, first: None }
    }

    /// The same with a line before the others.
    pub(crate) fn beginning_with(self, first: Entry) -> Lines {
        Lines { first: Some(first), ..self }
    }

    fn push(&self, out: &mut Vec<u8>, entry: &Entry, is_self: bool) {
        match self.form {
            Form::Long { now } => push_long(out, entry, now),
            Form::Reply { now } => {
                out.push(b' ');
                push_long(out, entry, now);
            }
            Form::Names => {}
            Form::Facts(facts, rights) => {
                facts.push(out, &entry.info, rights, is_self);
                out.push(b' ');
            }
        }
        push_data_name(out, &entry.name);
        out.extend_from_slice(b"\r\n");
    }
}

impl Generate for Lines {
    fn generate(&mut self, out: &mut Vec<u8>) -> Result<bool, Error> {
        if let Some(first) = self.first.take() {
            self.push(out, &first, true);
        }
        for _ in 0..LINES {
            match self.entries.next() {
                Some(entry) => self.push(out, &entry?, false),
                None => return Ok(false),
            }
        }
        Ok(true)
    }
}

/// A name on a data connection: there is no Telnet there, and 0xFF is itself.
fn push_data_name(out: &mut Vec<u8>, name: &[u8]) {
    out.extend(name.iter().map(|&octet| match octet {
        0..=0x1f | 0x7f => b'?',
        _ => octet,
    }));
}

fn push_long(out: &mut Vec<u8>, entry: &Entry, now: i64) {
    let Info { is_folder, len, modified, mode, .. } = entry.info;
    let mode = mode.unwrap_or(if is_folder { 0o755 } else { 0o644 });
    out.push(if is_folder { b'd' } else { b'-' });
    for place in (0..9).rev() {
        let letter = [b'x', b'w', b'r'][place % 3];
        out.push(if mode >> place & 1 == 1 { letter } else { b'-' });
    }
    // Who owns it on this machine is nobody's business.
    let _ = write!(out, "   1 ftp      ftp      {len:>12} ");
    push_listed(out, modified.seconds, now);
    out.push(b' ');
}

/// Which facts are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts(u8);

/// Every fact and its bit, in the order in which they are told.
const FACTS: [&str; 6] = ["type", "size", "modify", "perm", "UNIX.mode", "unique"];

impl Default for Facts {
    fn default() -> Facts {
        Facts(0b11_1111)
    }
}

impl Facts {
    /// Those that OPTS MLST asks for; unknown ones are passed over (RFC 3659 §7.9).
    pub(crate) fn asked_for(list: &[u8]) -> Facts {
        let asked = list.split(|&octet| octet == b';').map(<[u8]>::trim_ascii);
        let bit = |name: &[u8]| {
            let at = FACTS.iter().position(|fact| fact.as_bytes().eq_ignore_ascii_case(name));
            at.map_or(0, |at| 1 << at)
        };
        Facts(asked.fold(0, |bits, name| bits | bit(name)))
    }

    /// As OPTS MLST answers: `type;size;`.
    pub(crate) fn names(self) -> String {
        let chosen = FACTS.iter().enumerate().filter(|(at, _)| self.has(*at));
        chosen.map(|(_, fact)| format!("{fact};")).collect()
    }

    /// As FEAT tells them: those that are on have a star.
    pub(crate) fn feature(self) -> String {
        let mark = |at| if self.has(at) { "*" } else { "" };
        FACTS.iter().enumerate().map(|(at, fact)| format!("{fact}{};", mark(at))).collect()
    }

    fn has(self, at: usize) -> bool {
        self.0 >> at & 1 == 1
    }

    /// Appends the facts of an entry.
    pub(crate) fn push(self, out: &mut Vec<u8>, info: &Info, rights: Rights, is_self: bool) {
        let kind = match (info.is_folder, is_self) {
            (false, _) => "file",
            (true, false) => "dir",
            (true, true) => "cdir",
        };
        for (at, fact) in FACTS.iter().enumerate().filter(|(at, _)| self.has(*at)) {
            match at {
                0 => drop(write!(out, "{fact}={kind};")),
                1 if info.is_folder => {}
                1 => drop(write!(out, "{fact}={};", info.len)),
                2 => {
                    let _ = write!(out, "{fact}=");
                    let whole = Timestamp { nanoseconds: 0, ..info.modified };
                    push_stamp(out, whole);
                    out.push(b';');
                }
                3 => drop(write!(out, "{fact}={};", rights.letters(info.is_folder))),
                4 => {
                    if let Some(mode) = info.mode {
                        let _ = write!(out, "{fact}={mode:04o};");
                    }
                }
                _ => {
                    if let Some((device, number)) = info.unique {
                        let _ = write!(out, "{fact}={device:x}g{number:x};");
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &[u8], is_folder: bool) -> Entry {
        let modified = Timestamp { seconds: 1_000_000_000, nanoseconds: 5_000_000 };
        let info = Info { is_folder, len: 42, modified, mode: Some(0o640), unique: Some((1, 255)) };
        Entry { name: name.to_vec(), info }
    }

    fn lines(form: Form) -> String {
        let entries = [entry(b"a b", false), entry(b"d\r\n-rw\xff", true)];
        let mut lines = Lines::new(Box::new(entries.into_iter().map(Ok)), form);
        let mut out = Vec::new();
        assert!(!lines.generate(&mut out).unwrap());
        out.iter().map(|&octet| char::from(octet)).collect()
    }

    #[test]
    fn a_folder_in_every_form() {
        assert_eq!(lines(Form::Names), "a b\r\nd??-rw\u{ff}\r\n");
        assert_eq!(
            lines(Form::Long { now: 1_000_000_000 }),
            "-rw-r-----   1 ftp      ftp                42 Sep 09 01:46 a b\r\n\
             drw-r-----   1 ftp      ftp                42 Sep 09 01:46 d??-rw\u{ff}\r\n"
                .replace("Sep 09", "Sep  9")
        );
        assert_eq!(
            lines(Form::Facts(Facts::default(), Rights::READ)),
            "type=file;size=42;modify=20010909014640;perm=r;UNIX.mode=0640;unique=1gff; a b\r\n\
             type=dir;modify=20010909014640;perm=el;UNIX.mode=0640;unique=1gff; d??-rw\u{ff}\r\n"
        );
    }

    proptest::proptest! {
        #[test]
        fn any_wish_for_facts_is_read(wish in proptest::collection::vec(
            proptest::sample::select(vec!["type", "Size", "PERM", "unix.mode", ";", " ", "\u{e9}"]), 0..12,
        )) {
            let wish = wish.concat();
            let facts = Facts::asked_for(wish.as_bytes());
            // What is told of the choice says it again.
            proptest::prop_assert_eq!(Facts::asked_for(facts.names().as_bytes()), facts);
            let line = { let mut out = Vec::new(); facts.push(&mut out, &entry(b"a", true).info, Rights::ALL, false); out };
            proptest::prop_assert_eq!(line.iter().filter(|&&octet| octet == b';').count(),
                facts.names().matches(';').count() - usize::from(facts.has(1)));
        }
    }

    #[test]
    fn facts_are_chosen() {
        let facts = Facts::asked_for(b"Size; type;nonsense;");
        assert_eq!(facts.names(), "type;size;");
        assert_eq!(facts.feature(), "type*;size*;modify;perm;UNIX.mode;unique;");
        assert_eq!(Facts::asked_for(b"").names(), "");
    }
}
