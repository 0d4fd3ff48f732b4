//! A program that speaks FTP and has no folder on a disk.
//!
//! * `squares.txt` is made while it is fetched: ten megabytes that are nowhere, of which any part can be
//!   asked for.
//! * What is put into `inbox` is in memory, and the program finds it there.

use std::io;

use medusa_core::ServiceParts;
use medusa_core::config::Listen;
use medusa_ftp::{
    Content, Entries, Entry, Error, FtpService, Info, Memory, ReadAt, Rights, Start, Storage,
    Timestamp, Upload, VirtualPath, Visit, Visitor,
};

/// The whole program as a service, to be mounted in a server.
pub fn service(listen: Listen) -> FtpService {
    let inbox = Memory::new(16 << 20);
    let parts = ServiceParts::new("ftp.embedded").listen(listen);
    FtpService::builder(parts.with_summary("squares.txt, inbox"), move |_: Visitor<'_>| {
        inbox.insert("inbox/read me.txt", "Put your files here.\n")?;
        let mut visit = Visit::new(Numbers { inbox: inbox.clone() }, Rights::ALL);
        visit.greeting = "There are numbers to fetch, and an inbox".to_owned();
        Ok(visit)
    })
    .anonymous(true)
    .build()
}

/// The name of the file that isn't there.
const SQUARES: &[u8] = b"squares.txt";
/// So many lines it has, of so many octets each.
const LINES: u64 = 400_000;
const LINE: u64 = 26;

/// Two kinds of files under one root.
struct Numbers {
    inbox: Memory,
}

/// Each number and its square, in columns.
struct Squares;

impl ReadAt for Squares {
    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let (number, within) = (offset / LINE, (offset % LINE) as usize);
        let line = format!("{number:>8} {:>16}\n", number * number);
        let part = &line.as_bytes()[within..];
        let count = part.len().min(buffer.len());
        buffer[..count].copy_from_slice(&part[..count]);
        Ok(count)
    }
}

fn is_squares(path: &VirtualPath) -> bool {
    path.as_bytes() == SQUARES
}

fn squares() -> Info {
    Info {
        is_folder: false,
        len: LINES * LINE,
        modified: Timestamp { seconds: 0, nanoseconds: 0 },
        mode: Some(0o444),
        unique: None,
    }
}

/// Only what is in the inbox may be changed.
fn in_inbox(path: &VirtualPath) -> Result<&VirtualPath, Error> {
    let mut components = path.components();
    match components.next() == Some(b"inbox") && components.next().is_some() {
        true => Ok(path),
        false => Err(Error::NotPermitted),
    }
}

impl Storage for Numbers {
    fn info(&self, path: &VirtualPath) -> Result<Info, Error> {
        if is_squares(path) { Ok(squares()) } else { self.inbox.info(path) }
    }

    fn list(&self, path: &VirtualPath) -> Result<Entries, Error> {
        let entries = self.inbox.list(path)?;
        let own = path.is_root().then(|| Ok(Entry { name: SQUARES.to_vec(), info: squares() }));
        Ok(Box::new(own.into_iter().chain(entries)))
    }

    fn read(&self, path: &VirtualPath) -> Result<Content, Error> {
        match is_squares(path) {
            true => Ok(Content::Other(Box::new(Squares), squares().len)),
            false => self.inbox.read(path),
        }
    }

    fn write(&self, path: &VirtualPath, start: Start) -> Result<Box<dyn Upload>, Error> {
        self.inbox.write(in_inbox(path)?, start)
    }

    fn remove_file(&self, path: &VirtualPath) -> Result<(), Error> {
        self.inbox.remove_file(in_inbox(path)?)
    }

    fn remove_folder(&self, path: &VirtualPath) -> Result<(), Error> {
        self.inbox.remove_folder(in_inbox(path)?)
    }

    fn make_folder(&self, path: &VirtualPath) -> Result<(), Error> {
        self.inbox.make_folder(in_inbox(path)?)
    }

    fn rename(&self, from: &VirtualPath, to: &VirtualPath, replace: bool) -> Result<(), Error> {
        self.inbox.rename(in_inbox(from)?, in_inbox(to)?, replace)
    }
}
