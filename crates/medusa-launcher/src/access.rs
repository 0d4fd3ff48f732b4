//! The access log: a bounded buffer that shards append to, and one thread that writes it to a file.
//!
//! A shard never waits for the disk. When the buffer is full, lines are dropped, counted, and the count
//! is logged. What a line looks like is the protocol's business.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use medusa_core::AccessSink;

/// What may wait for the disk. At 200 octets a line it is 20,000 requests.
const BUFFER: usize = 4 << 20;

/// So much wakes the writer before its time.
const PLENTY: usize = 256 << 10;

/// How long lines are gathered before they are written (nginx's `access_log … flush=` is a second by
/// most examples; `tail -f` should look alive).
const GATHER: Duration = Duration::from_millis(200);

/// Where access lines go.
pub(crate) struct AccessLog {
    path: PathBuf,
    waiting: Mutex<Waiting>,
    changed: Condvar,
    most: usize,
}

/// The thread that writes; it ends when this is closed.
pub(crate) struct Writer {
    log: Arc<AccessLog>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    /// Lines that found no room.
    dropped: u64,
    reopen: bool,
    closing: bool,
}

impl AccessLog {
    /// A log that will be written to the file at `path`; nothing is opened yet.
    pub(crate) fn new(path: &Path) -> Arc<Self> {
        Self::with_buffer(path, BUFFER)
    }

    fn with_buffer(path: &Path, most: usize) -> Arc<Self> {
        Arc::new(Self {
            path: path.to_owned(),
            waiting: Mutex::default(),
            changed: Condvar::new(),
            most,
        })
    }

    /// Opens the file and starts writing.
    pub(crate) fn start(self: &Arc<Self>) -> io::Result<Writer> {
        let file = open(&self.path)?;
        let log = Arc::clone(self);
        let thread = std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || log.write_all(file))?;
        Ok(Writer { log: Arc::clone(self), thread: Some(thread) })
    }

    /// Has the file opened anew, as after logrotate(8) has moved it away.
    pub(crate) fn reopen(&self) {
        self.waiting().reopen = true;
        self.changed.notify_one();
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all(&self, mut file: File) {
        let mut lines = Vec::new();
        let mut failing = false;
        loop {
            let asked = self.take(&mut lines);
            if asked.dropped > 0 {
                tracing::warn!(
                    lines = asked.dropped,
                    "access lines were dropped: the disk is too slow"
                );
            }
            match file.write_all(&lines) {
                Ok(()) => failing = false,
                Err(error) if !failing => {
                    failing = true;
                    tracing::error!(path = %self.path.display(), %error, "the access log can't be written");
                }
                Err(_) => {}
            }
            lines.clear();
            if asked.reopen {
                match open(&self.path) {
                    Ok(opened) => file = opened,
                    Err(error) => tracing::error!(
                        path = %self.path.display(), %error,
                        "the access log can't be opened anew; the old file is used on"
                    ),
                }
            }
            if asked.closing {
                return;
            }
        }
    }

    /// Waits for something to do and takes the lines that wait; `lines` becomes the next buffer.
    fn take(&self, lines: &mut Vec<u8>) -> Waiting {
        let mut waiting = self.waiting();
        while waiting.lines.is_empty() && !waiting.urgent() {
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        let gathered = self.changed.wait_timeout_while(waiting, GATHER, |waiting| {
            waiting.lines.len() < PLENTY && !waiting.urgent()
        });
        let mut waiting = gathered.unwrap_or_else(PoisonError::into_inner).0;
        std::mem::swap(&mut waiting.lines, lines);
        Waiting {
            lines: Vec::new(),
            dropped: std::mem::take(&mut waiting.dropped),
            reopen: std::mem::take(&mut waiting.reopen),
            closing: waiting.closing,
        }
    }
}

impl AccessSink for AccessLog {
    fn line(&self, line: &[u8]) {
        let mut waiting = self.waiting();
        let before = waiting.lines.len();
        if before + line.len() + 1 > self.most {
            waiting.dropped += 1;
            return;
        }
        waiting.lines.extend_from_slice(line);
        // A protocol escapes what its peers send; should one forget, a peer still can't forge a line.
        for octet in &mut waiting.lines[before..] {
            if matches!(octet, b'\n' | b'\r') {
                *octet = b' ';
            }
        }
        waiting.lines.push(b'\n');
        let after = waiting.lines.len();
        drop(waiting);
        if before == 0 || (before < PLENTY && after >= PLENTY) {
            self.changed.notify_one();
        }
    }
}

impl std::fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessLog").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Waiting {
    fn urgent(&self) -> bool {
        self.reopen || self.closing
    }
}

impl Drop for Writer {
    /// Writes what waits, then ends the thread.
    fn drop(&mut self) {
        self.log.waiting().closing = true;
        self.log.changed.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the access log's thread panicked");
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(path: &Path) -> String {
        std::fs::read_to_string(path).expect("a log")
    }

    #[test]
    fn what_waits_is_written_when_it_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("access.log");
        std::fs::write(&path, "before\n").expect("written");
        let log = AccessLog::new(&path);
        log.line(b"one");
        let writer = log.start().expect("started");
        log.line(b"two\r\nforged");
        drop(writer);
        assert_eq!(written(&path), "before\none\ntwo  forged\n");
    }

    #[test]
    fn what_finds_no_room_is_dropped_and_counted() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("access.log");
        let log = AccessLog::with_buffer(&path, 10);
        for _ in 0..4 {
            log.line(b"1234");
        }
        assert_eq!(log.waiting().dropped, 2);
        assert_eq!(log.waiting().lines.len(), 10);
        drop(log.start().expect("started"));
        assert_eq!(written(&path), "1234\n1234\n");
    }

    #[test]
    fn a_moved_file_is_opened_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, moved) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        let log = AccessLog::new(&path);
        let writer = log.start().expect("started");
        log.line(b"old");
        std::fs::rename(&path, &moved).expect("moved");
        log.reopen();
        // The writer takes line and wish together or one after the other: both come to the old file.
        while log.waiting().reopen {
            std::thread::yield_now();
        }
        log.line(b"new");
        drop(writer);
        assert_eq!(written(&moved), "old\n");
        assert_eq!(written(&path), "new\n");
    }

    #[test]
    fn many_threads_write_whole_lines() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("access.log");
        let log = AccessLog::new(&path);
        let writer = log.start().expect("started");
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let log = &log;
                scope.spawn(move || {
                    (0..1000).for_each(|n| log.line(format!("{thread} {n}").as_bytes()))
                });
            }
        });
        drop(writer);
        let text = written(&path);
        assert_eq!(text.lines().count(), 4000);
        for thread in 0..4 {
            let mine: Vec<_> =
                text.lines().filter(|line| line.starts_with(&format!("{thread} "))).collect();
            assert_eq!(mine, (0..1000).map(|n| format!("{thread} {n}")).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(AccessLog::new(&folder.path().join("none/access.log")).start().is_err());
        assert!(AccessLog::new(folder.path()).start().is_err());
    }
}
