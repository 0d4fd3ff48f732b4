//! A pipe: bytes from another thread, another connection or a slow computation, in bounded memory.
//!
//! The writer is told how much was taken, and by a callback when there is room again; the reader is a
//! producer, and wakes its connection by another callback. Neither end ever waits.

use std::collections::VecDeque;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{ProduceError, Produced, Producer};
use crate::outbox::Outbox;

/// Called, from whatever thread, when the other end of a pipe has changed something. It must be short.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Short pieces written one after another are joined up to this length, so that the queue is no longer
/// than the capacity makes it.
const JOIN: usize = 4 * 1024;

/// A piece is not cut shorter than this, so that little room doesn't splinter it.
const MIN_PIECE: usize = 16 * 1024;

/// Makes a pipe that holds at most `capacity` bytes, and at least one.
///
/// The reader's chunk, by which it may overshoot the room, is 16 KiB.
pub fn pipe(capacity: usize) -> (PipeWriter, PipeReader) {
    let shared = Arc::new(Mutex::new(Pipe {
        queue: VecDeque::new(),
        tail: Vec::new(),
        length: 0,
        capacity: capacity.max(1),
        end: None,
        reader_gone: false,
        reader_waits: false,
        writer_waits: false,
        wake_reader: None,
        wake_writer: None,
    }));
    (PipeWriter { shared: Arc::clone(&shared) }, PipeReader { shared })
}

/// Why a [`PipeWriter`] took nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotWritten {
    /// The pipe is full. The callback given to [`PipeWriter::on_room`] tells when it no longer is.
    #[error("the pipe is full")]
    Full,
    /// The reader is gone, with the client as a rule. There is no use in going on.
    #[error("nobody reads from the pipe any more")]
    Closed,
}

/// The end that is written to. Dropped without [`close`](Self::close), it leaves a reply that fails.
pub struct PipeWriter {
    shared: Arc<Mutex<Pipe>>,
}

/// The end that is a producer. Dropped, it tells the writer so.
pub struct PipeReader {
    shared: Arc<Mutex<Pipe>>,
}

struct Pipe {
    queue: VecDeque<Bytes>,
    /// Short pieces, joined, behind the queue.
    tail: Vec<u8>,
    /// Bytes in all.
    length: usize,
    capacity: usize,
    end: Option<Result<(), Box<dyn StdError + Send + Sync>>>,
    reader_gone: bool,
    /// The reader found nothing and was promised a wake.
    reader_waits: bool,
    /// The writer found no room and was promised a wake.
    writer_waits: bool,
    wake_reader: Option<Wake>,
    wake_writer: Option<Wake>,
}

impl PipeWriter {
    /// Has `wake` called when there is room again after [`NotWritten::Full`], or the reader is gone.
    pub fn on_room(&self, wake: Wake) {
        let mut pipe = lock(&self.shared);
        pipe.wake_writer = Some(wake);
        if pipe.room() > 0 || pipe.reader_gone {
            wake_writer(pipe);
        }
    }

    /// Takes as much off the front of `bytes` as there is room for, and returns how much that was.
    ///
    /// # Errors
    ///
    /// When there is no room at all, or the reader is gone. Writing nothing always succeeds.
    pub fn write(&self, bytes: &mut Bytes) -> Result<usize, NotWritten> {
        let mut pipe = lock(&self.shared);
        let taken = pipe.admit(bytes.len())?;
        let piece = bytes.split_to(taken);
        pipe.push(piece);
        self.written(pipe);
        Ok(taken)
    }

    /// Copies as much of the front of `bytes` as there is room for, and returns how much that was.
    ///
    /// # Errors
    ///
    /// When there is no room at all, or the reader is gone. Writing nothing always succeeds.
    pub fn write_slice(&self, bytes: &[u8]) -> Result<usize, NotWritten> {
        let mut pipe = lock(&self.shared);
        let taken = pipe.admit(bytes.len())?;
        pipe.push_slice(&bytes[..taken]);
        self.written(pipe);
        Ok(taken)
    }

    /// How many bytes would be taken now; none when the reader is gone.
    pub fn room(&self) -> usize {
        lock(&self.shared).room()
    }

    /// Whether the reader is gone.
    pub fn is_closed(&self) -> bool {
        lock(&self.shared).reader_gone
    }

    /// Ends the reply: what was written is all of it.
    pub fn close(self) {
        self.end(Ok(()));
    }

    /// Makes the reply fail, once what was written before has been produced.
    pub fn fail(self, error: impl Into<Box<dyn StdError + Send + Sync>>) {
        self.end(Err(error.into()));
    }

    fn written(&self, pipe: MutexGuard<'_, Pipe>) {
        if pipe.length > 0 {
            wake_reader(pipe);
        }
    }

    fn end(&self, end: Result<(), Box<dyn StdError + Send + Sync>>) {
        let mut pipe = lock(&self.shared);
        if pipe.end.is_none() {
            pipe.end = Some(end);
            wake_reader(pipe);
        }
    }
}

impl Drop for PipeWriter {
    fn drop(&mut self) {
        // After `close` or `fail` this changes nothing.
        self.end(Err(io::Error::from(io::ErrorKind::BrokenPipe).into()));
    }
}

impl PipeReader {
    /// Has `wake` called when there is something to produce again: the handle of the connection that
    /// sends the reply.
    pub fn woken_by(self, wake: Wake) -> Self {
        {
            let mut pipe = lock(&self.shared);
            pipe.wake_reader = Some(wake);
            if pipe.length > 0 || pipe.end.is_some() {
                wake_reader(pipe);
            }
        }
        self
    }
}

impl Producer for PipeReader {
    fn produce(&mut self, out: &mut Outbox) -> Result<Produced, ProduceError> {
        let mut pipe = lock(&self.shared);
        let before = pipe.length;
        while let Some(piece) = pipe.pop(out.room().max(MIN_PIECE)) {
            out.push(piece);
            if out.room() == 0 {
                break;
            }
        }
        let produced = if pipe.length > 0 {
            Ok(Produced::More)
        } else {
            match pipe.end.take() {
                None => {
                    pipe.reader_waits = true;
                    Ok(Produced::Pending)
                }
                Some(Ok(())) => {
                    pipe.end = Some(Ok(()));
                    Ok(Produced::Done)
                }
                Some(Err(error)) => Err(ProduceError::Failed(error)),
            }
        };
        if pipe.length < before {
            wake_writer(pipe);
        }
        produced
    }

    fn remaining(&self) -> Option<u64> {
        let pipe = lock(&self.shared);
        matches!(pipe.end, Some(Ok(()))).then_some(pipe.length as u64)
    }
}

impl Drop for PipeReader {
    fn drop(&mut self) {
        let mut pipe = lock(&self.shared);
        pipe.reader_gone = true;
        pipe.queue = VecDeque::new();
        pipe.tail = Vec::new();
        pipe.length = 0;
        wake_writer(pipe);
    }
}

impl Pipe {
    fn room(&self) -> usize {
        if self.reader_gone { 0 } else { self.capacity - self.length }
    }

    /// How many of `wanted` bytes are taken.
    fn admit(&mut self, wanted: usize) -> Result<usize, NotWritten> {
        if self.reader_gone {
            return Err(NotWritten::Closed);
        }
        let room = self.room();
        if room < wanted {
            self.writer_waits = true;
        }
        if room == 0 && wanted > 0 { Err(NotWritten::Full) } else { Ok(wanted.min(room)) }
    }

    fn push(&mut self, piece: Bytes) {
        if piece.len() < JOIN {
            return self.push_slice(&piece);
        }
        self.settle();
        self.length += piece.len();
        self.queue.push_back(piece);
    }

    fn push_slice(&mut self, piece: &[u8]) {
        self.length += piece.len();
        self.tail.extend_from_slice(piece);
        if self.tail.len() >= JOIN {
            self.settle();
        }
    }

    /// Puts the joined pieces into the queue.
    fn settle(&mut self) {
        if !self.tail.is_empty() {
            self.queue.push_back(std::mem::take(&mut self.tail).into());
        }
    }

    /// Takes the first piece, or so much of it.
    fn pop(&mut self, most: usize) -> Option<Bytes> {
        if self.queue.is_empty() {
            self.settle();
        }
        let mut piece = self.queue.pop_front()?;
        if piece.len() > most {
            self.queue.push_front(piece.split_off(most));
        }
        self.length -= piece.len();
        Some(piece)
    }
}

impl fmt::Debug for PipeWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipeWriter").finish_non_exhaustive()
    }
}

impl fmt::Debug for PipeReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipeReader").finish_non_exhaustive()
    }
}

fn lock(shared: &Mutex<Pipe>) -> MutexGuard<'_, Pipe> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes the reader if it waits. The callback runs unlocked, since it may write in turn.
fn wake_reader(mut pipe: MutexGuard<'_, Pipe>) {
    let Some(wake) = pipe.wake_reader.clone() else { return };
    let waits = std::mem::take(&mut pipe.reader_waits);
    drop(pipe);
    if waits {
        wake();
    }
}

/// Wakes the writer if it waits, in the same way.
fn wake_writer(mut pipe: MutexGuard<'_, Pipe>) {
    let Some(wake) = pipe.wake_writer.clone() else { return };
    let waits = std::mem::take(&mut pipe.writer_waits);
    drop(pipe);
    if waits {
        wake();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::producer::testing::drained;

    fn counter() -> (Arc<AtomicUsize>, Wake) {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let wake = move || {
            counted.fetch_add(1, Ordering::Relaxed);
        };
        (count, Arc::new(wake))
    }

    #[test]
    fn it_is_bounded_and_both_ends_are_woken() {
        let (writer, reader) = pipe(10);
        let (reader_woken, wake) = counter();
        let mut reader = reader.woken_by(wake);
        let (writer_woken, wake) = counter();
        writer.on_room(wake);
        let mut out = Outbox::new();

        assert_eq!(reader.produce(&mut out).unwrap(), Produced::Pending);
        let mut bytes = Bytes::from_static(b"hello world");
        assert_eq!(writer.write(&mut bytes), Ok(10));
        assert_eq!(writer.write(&mut bytes), Err(NotWritten::Full));
        assert_eq!((&bytes[..], writer.room()), (&b"d"[..], 0));
        assert_eq!(reader_woken.load(Ordering::Relaxed), 1);

        assert_eq!(reader.produce(&mut out).unwrap(), Produced::Pending);
        assert_eq!(writer_woken.load(Ordering::Relaxed), 1);
        assert_eq!(writer.write_slice(&bytes), Ok(1));
        assert_eq!(reader_woken.load(Ordering::Relaxed), 2);
        assert_eq!(reader.remaining(), None);
        writer.close();
        assert_eq!((reader_woken.load(Ordering::Relaxed), reader.remaining()), (2, Some(1)));
        assert_eq!(reader.produce(&mut out).unwrap(), Produced::Done);
        assert_eq!(drained(&mut out), b"hello world");
    }

    #[test]
    fn a_writer_that_vanishes_leaves_a_reply_that_fails() {
        let (writer, mut reader) = pipe(10);
        writer.write_slice(b"half").unwrap();
        drop(writer);
        let mut out = Outbox::new();
        assert!(matches!(reader.produce(&mut out), Err(ProduceError::Failed(_))));
        assert_eq!(drained(&mut out), b"half");
    }

    #[test]
    fn a_writer_may_tell_why_it_fails() {
        let (writer, mut reader) = pipe(10);
        writer.fail("the backend answered 500");
        let error = reader.produce(&mut Outbox::new()).unwrap_err();
        assert!(error.to_string().contains("the backend answered 500"));
    }

    #[test]
    fn a_reader_that_leaves_is_told_to_the_writer() {
        let (writer, reader) = pipe(4);
        let (woken, wake) = counter();
        writer.on_room(wake);
        assert_eq!(writer.write_slice(b"12345"), Ok(4));
        drop(reader);
        assert_eq!(woken.load(Ordering::Relaxed), 1);
        assert_eq!((writer.is_closed(), writer.room()), (true, 0));
        assert_eq!(writer.write_slice(b"5"), Err(NotWritten::Closed));
    }

    #[test]
    fn a_wake_that_is_set_late_is_not_lost() {
        let (writer, mut reader) = pipe(4);
        assert_eq!(writer.write_slice(b"12345"), Ok(4));
        assert_eq!(reader.produce(&mut Outbox::new()).unwrap(), Produced::Pending);
        writer.write_slice(b"1").unwrap();
        let (woken, wake) = counter();
        let _reader = reader.woken_by(wake);
        assert_eq!(woken.load(Ordering::Relaxed), 1);
        let (woken, wake) = counter();
        writer.on_room(wake);
        assert_eq!(woken.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_wake_may_write_in_turn() {
        let (writer, mut reader) = pipe(1);
        let writer = Arc::new(writer);
        let again = Arc::clone(&writer);
        writer.on_room(Arc::new(move || {
            again.write_slice(b"b").unwrap();
        }));
        assert_eq!(writer.write_slice(b"ab"), Ok(1));
        let mut out = Outbox::new();
        assert_eq!(reader.produce(&mut out).unwrap(), Produced::Pending);
        assert_eq!(reader.produce(&mut out).unwrap(), Produced::Pending);
        assert_eq!(drained(&mut out), b"ab");
    }

    #[test]
    fn a_long_piece_is_cut_by_room() {
        let (writer, mut reader) = pipe(1 << 20);
        let mut bytes = Bytes::from(vec![7; 100_000]);
        assert_eq!(writer.write(&mut bytes), Ok(100_000));
        let mut out = Outbox::new();
        out.set_target(50_000);
        assert_eq!(reader.produce(&mut out).unwrap(), Produced::More);
        assert_eq!(out.len(), 50_000);
        assert_eq!(reader.produce(&mut out).unwrap(), Produced::More);
        assert_eq!((out.len(), writer.room()), (66_384, (1 << 20) - 33_616));
    }

    #[test]
    fn short_pieces_are_joined() {
        let (writer, mut reader) = pipe(1 << 20);
        for _ in 0..100_000 {
            assert_eq!(writer.write_slice(b"x"), Ok(1));
        }
        let mut out = Outbox::new();
        out.set_target(1);
        assert_eq!(reader.produce(&mut out).unwrap(), Produced::More);
        assert_eq!(out.len(), JOIN as u64);
    }

    #[test]
    fn short_and_long_pieces_keep_their_order() {
        let (writer, mut reader) = pipe(1 << 20);
        let mut expected = Vec::new();
        let mut out = Outbox::new();
        out.set_target(u64::MAX);
        for length in [10, JOIN, 20, 30, 3 * JOIN, 40, JOIN - 1, JOIN, JOIN] {
            let piece = vec![length as u8; length];
            expected.extend_from_slice(&piece);
            assert_eq!(writer.write(&mut piece.into()), Ok(length));
            if length == 40 {
                assert_eq!(reader.produce(&mut out).unwrap(), Produced::Pending);
            }
        }
        writer.close();
        assert_eq!(reader.produce(&mut out).unwrap(), Produced::Done);
        assert!(drained(&mut out) == expected);
    }

    #[test]
    fn another_thread_writes() {
        let (writer, reader) = pipe(1000);
        let thread = std::thread::current();
        let mut reader = reader.woken_by(Arc::new(move || thread.unpark()));
        let written = std::thread::spawn(move || {
            let thread = std::thread::current();
            writer.on_room(Arc::new(move || thread.unpark()));
            for piece in 0..10_000_u32 {
                let mut bytes = Bytes::copy_from_slice(&piece.to_be_bytes());
                while !bytes.is_empty() {
                    if writer.write(&mut bytes) == Err(NotWritten::Full) {
                        std::thread::park();
                    }
                }
            }
            writer.close();
        });
        let mut out = Outbox::new();
        let mut all = Vec::new();
        loop {
            let produced = reader.produce(&mut out).unwrap();
            all.extend(drained(&mut out));
            match produced {
                Produced::More => {}
                Produced::Pending => std::thread::park(),
                Produced::Done => break,
            }
        }
        written.join().unwrap();
        let expected: Vec<u8> = (0..10_000_u32).flat_map(u32::to_be_bytes).collect();
        assert!(all == expected);
    }
}
