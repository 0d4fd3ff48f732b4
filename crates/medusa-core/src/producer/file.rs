//! Files and ranges of files, open already or opened when first asked.
//!
//! Where the outbox accepts files, ranges of the file go into it for `sendfile`; otherwise, and for
//! small files, bytes are read into it. Neither may stall the event loop: the page cache is asked with
//! `RWF_NOWAIT`, and what it doesn't hold is read in the pool. It never opens a path by itself, and
//! follows no growth of a file: the range is fixed when the producer is made.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::Advice;
use rustix::io::{Errno, ReadWriteFlags};

use super::deferred::{Deferred, Outcome};
use super::{ProduceError, Produced, Producer};
use crate::outbox::Outbox;

/// At most so much of a file goes into the outbox as one segment, after one look at the page cache.
const SEGMENT: u64 = 1024 * 1024;

/// A rest up to this length is read even where a segment would do: it then leaves in the same `writev`
/// as the head before it. Over loopback that took 2.6 µs for 4 KiB, and `sendfile` with its probe 3.1;
/// they meet at 8 KiB, and at 16 KiB it was 3.5 to 3.2.
const SMALL: u64 = 8 * 1024;

/// A read takes as much as there is room for, within these bounds.
const MIN_READ: usize = 4 * 1024;
const MAX_READ: usize = 64 * 1024;

/// How much is read in the pool when the page cache had none of it.
const COLD_READ: u64 = 256 * 1024;

/// Produces the first `length` bytes of `file`, as a rule its length as `fstat` told it.
///
/// A file that turns out to be shorter is [`ProduceError::Truncated`]. Its chunk, by which it may
/// overshoot the room, is 1 MiB where the outbox accepts files (no memory is used for it), else 4 KiB,
/// or 256 KiB when the page cache didn't hold it.
pub fn file(file: Arc<File>, length: u64) -> FileProducer {
    file_range(file, 0, length)
}

/// Produces `length` bytes of `file` from `offset`. Otherwise like [`file()`].
pub fn file_range(file: Arc<File>, offset: u64, length: u64) -> FileProducer {
    FileProducer { file, offset, left: length, state: State::Ready, read_now }
}

/// Produces `length` bytes from `offset` of a file that `open` opens when it is first asked, so that a
/// thousand pipelined replies hold few descriptors.
///
/// `open` runs in the pool, unless [`cheap`](LazyFile::cheap) is said.
pub fn lazy_file(
    offset: u64,
    length: u64,
    open: impl FnOnce() -> io::Result<Arc<File>> + Send + 'static,
) -> LazyFile {
    LazyFile { offset, length, cheap: false, state: Lazy::Closed(Box::new(open)) }
}

/// Made by [`file()`] and [`file_range`].
pub struct FileProducer {
    file: Arc<File>,
    offset: u64,
    left: u64,
    state: State,
    /// Reads only what the page cache holds. A field, so that a test can play a cold cache.
    read_now: fn(&File, &mut [u8], u64) -> rustix::io::Result<usize>,
}

enum State {
    Ready,
    /// The next so many bytes were brought into the page cache.
    Warm(NonZeroU64),
    Warming(Deferred<io::Result<u64>>, u64),
    Reading(Deferred<io::Result<Vec<u8>>>),
}

impl Producer for FileProducer {
    fn produce(&mut self, out: &mut Outbox) -> Result<Produced, ProduceError> {
        match &mut self.state {
            State::Ready | State::Warm(_) => {}
            State::Warming(job, wanted) => match job.outcome() {
                Outcome::Running => return Ok(Produced::Pending),
                Outcome::Lost => self.state = State::Ready,
                Outcome::Finished(warmed) => {
                    let warmed = warmed?;
                    let wanted = *wanted;
                    self.state = State::Ready;
                    match NonZeroU64::new(warmed) {
                        Some(warmed) if warmed.get() == wanted => self.state = State::Warm(warmed),
                        _ => return Err(self.truncated()),
                    }
                }
            },
            State::Reading(job) => match job.outcome() {
                Outcome::Running => return Ok(Produced::Pending),
                Outcome::Lost => self.state = State::Ready,
                Outcome::Finished(read) => {
                    let read = read?;
                    self.state = State::Ready;
                    if read.is_empty() {
                        return Err(self.truncated());
                    }
                    let count = read.len() as u64;
                    out.push(Bytes::from(read));
                    return Ok(self.took(count));
                }
            },
        }
        if self.left == 0 {
            return Ok(Produced::Done);
        }
        if out.accepts_files() && self.left > SMALL { self.send(out) } else { self.read(out) }
    }

    fn remaining(&self) -> Option<u64> {
        Some(self.left)
    }
}

impl FileProducer {
    /// Pushes the next range as a segment, once the page cache holds it.
    fn send(&mut self, out: &mut Outbox) -> Result<Produced, ProduceError> {
        let mut length = self.left.min(SEGMENT);
        match std::mem::replace(&mut self.state, State::Ready) {
            // Not asked again: a file system whose cache can't be asked would never answer yes.
            State::Warm(warmed) => length = length.min(warmed.get()),
            _ => match (self.read_now)(&self.file, &mut [0], self.offset + length - 1) {
                Ok(0) => return Err(self.truncated()),
                Ok(_) => {}
                Err(error) if waits(error) => {
                    let (file, offset) = (Arc::clone(&self.file), self.offset);
                    let job = Deferred::start(out, move || warm(&file, offset, length));
                    self.state = State::Warming(job, length);
                    return Ok(Produced::Pending);
                }
                Err(error) => return Err(io::Error::from(error).into()),
            },
        }
        out.push_file(Arc::clone(&self.file), self.offset, length);
        Ok(self.took(length))
    }

    /// Reads the next range into the outbox, or has it read in the pool.
    fn read(&mut self, out: &mut Outbox) -> Result<Produced, ProduceError> {
        let wanted = out.room().clamp(MIN_READ, MAX_READ);
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(wanted);
        let read = out.compose(|buffer| {
            let end = buffer.len();
            buffer.resize(end + wanted, 0);
            let read = (self.read_now)(&self.file, &mut buffer[end..], self.offset);
            buffer.truncate(end + read.unwrap_or(0));
            read
        });
        match read {
            Ok(0) => Err(self.truncated()),
            Ok(count) => Ok(self.took(count as u64)),
            Err(error) if waits(error) => {
                let (file, offset) = (Arc::clone(&self.file), self.offset);
                let length = self.left.min(COLD_READ);
                let job = Deferred::start(out, move || read_cold(&file, offset, length));
                self.state = State::Reading(job);
                Ok(Produced::Pending)
            }
            Err(error) => Err(io::Error::from(error).into()),
        }
    }

    fn took(&mut self, count: u64) -> Produced {
        self.offset += count;
        self.left -= count;
        if self.left == 0 { Produced::Done } else { Produced::More }
    }

    fn truncated(&self) -> ProduceError {
        let end = self.offset.saturating_add(self.left);
        let length = self.file.metadata().map_or(self.offset, |metadata| metadata.len());
        ProduceError::Truncated { missing: end.saturating_sub(length).clamp(1, self.left) }
    }
}

/// Made by [`lazy_file`].
pub struct LazyFile {
    offset: u64,
    length: u64,
    cheap: bool,
    state: Lazy,
}

type Open = Box<dyn FnOnce() -> io::Result<Arc<File>> + Send>;

enum Lazy {
    Closed(Open),
    Opening(Deferred<io::Result<Arc<File>>>),
    Open(FileProducer),
    Lost,
}

impl LazyFile {
    /// Opens in the event loop: for a descriptor that is kept open elsewhere, or a path whose every
    /// part is known to be cached.
    pub fn cheap(mut self) -> Self {
        self.cheap = true;
        self
    }
}

impl Producer for LazyFile {
    fn produce(&mut self, out: &mut Outbox) -> Result<Produced, ProduceError> {
        let file = match std::mem::replace(&mut self.state, Lazy::Lost) {
            Lazy::Open(mut file) => {
                let produced = file.produce(out);
                self.state = Lazy::Open(file);
                return produced;
            }
            Lazy::Closed(open) if self.cheap => open()?,
            Lazy::Closed(open) => {
                self.state = Lazy::Opening(Deferred::start(out, open));
                return Ok(Produced::Pending);
            }
            Lazy::Opening(mut job) => match job.outcome() {
                Outcome::Finished(file) => file?,
                Outcome::Running => {
                    self.state = Lazy::Opening(job);
                    return Ok(Produced::Pending);
                }
                Outcome::Lost => return Err(lost()),
            },
            Lazy::Lost => return Err(lost()),
        };
        let mut file = file_range(file, self.offset, self.length);
        let produced = file.produce(out);
        self.state = Lazy::Open(file);
        produced
    }

    fn remaining(&self) -> Option<u64> {
        match &self.state {
            Lazy::Open(file) => file.remaining(),
            _ => Some(self.length),
        }
    }
}

/// The closure is gone with the job, so a second attempt is not to be had.
fn lost() -> ProduceError {
    io::Error::other("the file was never opened").into()
}

/// Whether an answer to a read with `RWF_NOWAIT` means that the read would wait, or that this file
/// system can't tell.
fn waits(error: Errno) -> bool {
    error == Errno::AGAIN || error == Errno::OPNOTSUPP
}

fn read_now(file: &File, buffer: &mut [u8], offset: u64) -> rustix::io::Result<usize> {
    loop {
        let mut slices = [IoSliceMut::new(buffer)];
        match rustix::io::preadv2(file, &mut slices, offset, ReadWriteFlags::NOWAIT) {
            Err(Errno::INTR) => {}
            read => return read,
        }
    }
}

/// Brings a range into the page cache. Returns how much of it there is.
fn warm(file: &File, offset: u64, length: u64) -> io::Result<u64> {
    // The advice starts one big read-ahead; the reads wait for it, and cover what it left out.
    let _ = rustix::fs::fadvise(file, offset, NonZeroU64::new(length), Advice::WillNeed);
    let mut buffer = vec![0; MAX_READ];
    let mut warmed = 0;
    while warmed < length {
        let wanted = (length - warmed).min(buffer.len() as u64) as usize;
        match file.read_at(&mut buffer[..wanted], offset + warmed) {
            Ok(0) => break,
            Ok(count) => warmed += count as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(warmed)
}

/// Reads a range, waiting for the disk. Shorter only at the end of the file.
fn read_cold(file: &File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; length as usize];
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], offset + read as u64) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(read);
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn temporary(content: &[u8]) -> Arc<File> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        Arc::new(file)
    }

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at % 251) as u8).collect()
    }

    /// Empties `out`, reading what a transport would send with `sendfile`. Returns also whether a file
    /// segment was met.
    fn drain(out: &mut Outbox, all: &mut Vec<u8>) -> bool {
        let mut files = false;
        while !out.is_empty() {
            let count = if let Some((file, offset, length)) = out.front_file() {
                files = true;
                let mut read = vec![0; length as usize];
                file.read_exact_at(&mut read, offset).unwrap();
                all.extend_from_slice(&read);
                length
            } else {
                all.extend_from_slice(out.front());
                out.front().len() as u64
            };
            out.advance(count);
        }
        files
    }

    /// Runs a producer to its end. Returns the bytes, the number of jobs, and whether segments were used.
    fn run(
        producer: &mut dyn Producer,
        out: &mut Outbox,
    ) -> Result<(Vec<u8>, usize, bool), ProduceError> {
        let (mut all, mut jobs, mut files) = (Vec::new(), 0, false);
        for _ in 0..10_000 {
            let produced = producer.produce(out)?;
            files |= drain(out, &mut all);
            match produced {
                Produced::Done => return Ok((all, jobs, files)),
                Produced::More => {}
                Produced::Pending => {
                    out.take_job().expect("a promise of a wake")();
                    jobs += 1;
                }
            }
        }
        panic!("never done");
    }

    fn cold(_: &File, _: &mut [u8], _: u64) -> rustix::io::Result<usize> {
        Err(Errno::AGAIN)
    }

    fn unasked(_: &File, _: &mut [u8], _: u64) -> rustix::io::Result<usize> {
        Err(Errno::OPNOTSUPP)
    }

    #[test]
    fn segments_and_reads_give_the_same() {
        for length in [0, 1, 4096, 8 * 1024, 8 * 1024 + 1, 1 << 20, (5 << 19) + 3] {
            let content = pattern(length + 20);
            let handle = temporary(&content);
            for read_now in [read_now, cold, unasked] {
                for mut out in [Outbox::new(), Outbox::without_files()] {
                    let sends = out.accepts_files() && length as u64 > SMALL;
                    let mut producer = file_range(Arc::clone(&handle), 10, length as u64);
                    producer.read_now = read_now;
                    let (all, _, files) = run(&mut producer, &mut out).unwrap();
                    assert!(all == content[10..10 + length], "length {length}");
                    assert_eq!(files, sends, "length {length}");
                }
            }
        }
    }

    #[test]
    fn a_cold_file_is_warmed_once_a_mebibyte() {
        let handle = temporary(&pattern(3 << 20));
        let mut producer = file(handle, 3 << 20);
        producer.read_now = cold;
        let (_, jobs, files) = run(&mut producer, &mut Outbox::new()).unwrap();
        assert_eq!((jobs, files), (3, true));
    }

    #[test]
    fn a_cached_file_needs_no_job() {
        let handle = temporary(&pattern(3 << 20));
        // Where the file system can't tell, every read goes to the pool, and this shows nothing.
        if read_now(&handle, &mut [0], 0).is_err() {
            return;
        }
        for mut out in [Outbox::new(), Outbox::without_files()] {
            let mut producer = file(Arc::clone(&handle), 3 << 20);
            assert_eq!(run(&mut producer, &mut out).unwrap().1, 0);
        }
    }

    #[test]
    fn a_file_that_is_not_cached_is_never_waited_for() {
        let content = pattern(3 << 20);
        let handle = temporary(&content);
        for mut out in [Outbox::new(), Outbox::without_files()] {
            handle.sync_all().unwrap();
            rustix::fs::fadvise(&handle, 0, None, Advice::DontNeed).unwrap();
            let mut producer = file(Arc::clone(&handle), 3 << 20);
            // The kernel may have kept or fetched a page all the same: then there is nothing to wait for.
            if producer.produce(&mut out).unwrap() == Produced::Pending {
                assert!(out.is_empty());
                out.take_job().unwrap()();
            } else {
                out = if out.accepts_files() { Outbox::new() } else { Outbox::without_files() };
                producer = file(Arc::clone(&handle), 3 << 20);
            }
            assert!(run(&mut producer, &mut out).unwrap().0 == content);
        }
    }

    #[test]
    fn a_file_that_got_shorter_is_an_error() {
        for length in [100, 2 << 20] {
            for read_now in [read_now, cold] {
                for mut out in [Outbox::new(), Outbox::without_files()] {
                    let handle = temporary(&pattern(length - 7));
                    let mut producer = file(handle, length as u64);
                    producer.read_now = read_now;
                    match run(&mut producer, &mut out) {
                        Err(ProduceError::Truncated { missing: 7 }) => {}
                        other => panic!("{other:?}"),
                    }
                }
            }
        }
    }

    #[test]
    fn asking_again_before_the_read_is_done_is_harmless() {
        let mut out = Outbox::without_files();
        let mut producer = file(temporary(b"content"), 7);
        producer.read_now = cold;
        assert_eq!(producer.produce(&mut out).unwrap(), Produced::Pending);
        let job = out.take_job().unwrap();
        assert_eq!(producer.produce(&mut out).unwrap(), Produced::Pending);
        assert!(out.take_job().is_none());
        job();
        assert_eq!(producer.produce(&mut out).unwrap(), Produced::Done);
        assert_eq!(out.front(), b"content");
    }

    #[test]
    fn a_read_that_was_dropped_is_asked_for_again() {
        let mut out = Outbox::without_files();
        let mut producer = file(temporary(b"content"), 7);
        producer.read_now = cold;
        assert_eq!(producer.produce(&mut out).unwrap(), Produced::Pending);
        drop(out.take_job());
        assert_eq!(run(&mut producer, &mut out).unwrap().0, b"content");
    }

    #[test]
    fn a_lazy_file_is_opened_when_first_asked() {
        static OPENED: AtomicUsize = AtomicUsize::new(0);
        let lazy = || {
            let handle = temporary(b"some content");
            lazy_file(5, 7, move || {
                OPENED.fetch_add(1, Ordering::Relaxed);
                Ok(handle)
            })
        };
        let mut out = Outbox::new();
        let mut producer = lazy();
        assert_eq!((producer.remaining(), OPENED.load(Ordering::Relaxed)), (Some(7), 0));
        let (all, jobs, _) = run(&mut producer, &mut out).unwrap();
        assert_eq!((all, OPENED.load(Ordering::Relaxed)), (b"content".to_vec(), 1));
        assert!(jobs >= 1);
        assert_eq!(producer.remaining(), Some(0));
        assert_eq!(run(&mut lazy().cheap(), &mut out).unwrap().0, b"content");
    }

    #[test]
    fn a_lazy_file_that_cannot_be_opened_is_an_error() {
        let mut missing = lazy_file(0, 1, || Err(io::ErrorKind::NotFound.into()));
        assert!(matches!(run(&mut missing, &mut Outbox::new()), Err(ProduceError::Io(_))));
    }
}
