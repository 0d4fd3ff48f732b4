//! The queue of bytes that wait for the socket.
//!
//! An [`Outbox`] is filled by sessions and [producers](crate::Producer) and emptied by a transport. It
//! holds three kinds of segment: short bytes, coalesced in one buffer; shared [`Bytes`]; and ranges of
//! open files. It is pure: it never writes by itself. A transport asks for slices with
//! [`gather`](Outbox::gather) or for the file in front with [`front_file`](Outbox::front_file), writes
//! what it can, and reports with [`advance`](Outbox::advance).

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::IoSlice;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

/// Shared bytes up to this length are copied next to their neighbours: a copy of this size costs less
/// than one more entry in a `writev`.
const COALESCE: usize = 1024;

/// What a prepended piece may hold without an allocation: a chunk header or a length prefix.
const SHORT: usize = 22;

/// A buffer that has grown beyond this is given back to the allocator rather than kept for reuse.
const KEEP_CAPACITY: usize = 256 * 1024;

/// Work that a producer hands out of the event loop (a read of a cold file). When it has run, the
/// connection is woken and the producer asked again.
pub type Job = Box<dyn FnOnce() + Send>;

/// What became of a reply, as told to a [`hooked`](crate::producer::hooked) producer's hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    /// Bytes of the reply that were handed on.
    pub bytes: u64,
    /// Whether the socket took all of them, and the producer had said that it was done.
    pub completed: bool,
}

type Hook = Box<dyn FnOnce(Delivered) + Send>;

enum Segment {
    /// So many of the next bytes of `Outbox::buffer`.
    Inline(usize),
    Short {
        bytes: [u8; SHORT],
        start: u8,
        end: u8,
    },
    Shared(Bytes),
    File {
        file: Arc<File>,
        offset: u64,
        length: u64,
    },
    /// Nothing to write: reached when all before it has been written.
    Milestone(Box<Milestone>),
}

struct Milestone {
    began: u64,
    ended: u64,
    hook: Hook,
}

/// A place in an [`Outbox`], to slip bytes in front of what follows it. Valid until the outbox is next
/// written from.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Mark {
    segment: usize,
    pushed: u64,
}

/// Segments waiting for the socket, first in, first out.
pub struct Outbox {
    buffer: Vec<u8>,
    /// How much of `buffer` has been written already.
    taken: usize,
    /// Inline bytes before the first segment: a plain reply touches `buffer` and this number alone.
    lead: usize,
    segments: VecDeque<Segment>,
    /// The next inline byte starts a segment of its own, since a mark stands before it.
    sealed: bool,
    files: bool,
    target: u64,
    pushed: u64,
    written: u64,
    /// The same, for replies that ask what became of them before they are whole.
    progress: Option<Rc<Cell<u64>>>,
    job: Option<Job>,
}

impl Default for Outbox {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("bytes", &self.len())
            .field("segments", &self.segments.len())
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Outbox {
    /// An empty outbox that accepts file segments.
    pub fn new() -> Self {
        Outbox {
            buffer: Vec::new(),
            taken: 0,
            lead: 0,
            segments: VecDeque::new(),
            sealed: false,
            files: true,
            target: 64 * 1024,
            pushed: 0,
            written: 0,
            progress: None,
            job: None,
        }
    }

    /// An empty outbox for those who must see the bytes: a transformer or TLS. A file producer that
    /// meets it reads instead.
    pub fn without_files() -> Self {
        let mut out = Self::new();
        out.files = false;
        out
    }

    // ---- filling -----------------------------------------------------------------------------

    /// Whether [`push_file`](Self::push_file) is allowed.
    pub fn accepts_files(&self) -> bool {
        self.files
    }

    /// Allows or forbids file segments; those already queued stay.
    pub fn set_accepts_files(&mut self, files: bool) {
        self.files = files;
    }

    /// How many bytes are still wanted now. A producer may overshoot by one chunk of its own.
    pub fn room(&self) -> usize {
        usize::try_from(self.target.saturating_sub(self.len())).unwrap_or(usize::MAX)
    }

    /// Sets how many waiting bytes are wanted in all.
    pub fn set_target(&mut self, bytes: u64) {
        self.target = bytes;
    }

    /// Bytes waiting, those of files included.
    pub fn len(&self) -> u64 {
        self.pushed - self.written
    }

    /// Whether nothing waits: neither bytes nor an unreported milestone.
    pub fn is_empty(&self) -> bool {
        self.lead == 0 && self.segments.is_empty()
    }

    /// All bytes ever pushed since the last [`reset`](Self::reset).
    pub fn pushed(&self) -> u64 {
        self.pushed
    }

    /// A look at how many of all bytes pushed have been written, for who won't see this outbox again.
    pub(crate) fn progress(&mut self) -> Rc<Cell<u64>> {
        Rc::clone(self.progress.get_or_insert_with(|| Rc::new(Cell::new(self.written))))
    }

    /// Appends a copy of `bytes`.
    #[inline]
    pub fn push_slice(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        self.account(bytes.len());
    }

    /// Appends what `compose` writes to the end of the buffer it is lent. It must only append.
    #[inline]
    pub fn compose<R>(&mut self, compose: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let before = self.buffer.len();
        let result = compose(&mut self.buffer);
        debug_assert!(self.buffer.len() >= before, "compose must only append");
        let added = self.buffer.len().saturating_sub(before);
        self.account(added);
        result
    }

    /// Appends shared bytes; short ones are copied beside their neighbours.
    pub fn push(&mut self, bytes: Bytes) {
        if bytes.len() <= COALESCE {
            self.push_slice(&bytes);
        } else {
            self.sealed = false;
            self.pushed += bytes.len() as u64;
            self.segments.push_back(Segment::Shared(bytes));
        }
    }

    /// Appends `length` bytes of `file` from `offset`. Only where [`accepts_files`](Self::accepts_files).
    pub fn push_file(&mut self, file: Arc<File>, offset: u64, length: u64) {
        debug_assert!(self.files, "this outbox accepts no files");
        if length > 0 {
            self.sealed = false;
            self.pushed += length;
            self.segments.push_back(Segment::File { file, offset, length });
        }
    }

    /// Has `hook` told when all that was pushed so far has been written, or that it never will be.
    /// `began` is what [`pushed`](Self::pushed) said before the reply's first byte.
    pub fn push_milestone(&mut self, began: u64, hook: Hook) {
        let milestone = Milestone { began, ended: self.pushed, hook };
        if self.is_empty() {
            milestone.report(self.written);
        } else {
            self.sealed = false;
            self.segments.push_back(Segment::Milestone(Box::new(milestone)));
        }
    }

    /// Remembers this place, so that [`prepend`](Self::prepend) can put bytes in front of what comes
    /// next.
    pub fn mark(&mut self) -> Mark {
        self.sealed = true;
        Mark { segment: self.segments.len(), pushed: self.pushed }
    }

    /// Bytes pushed since `mark`.
    pub fn since(&self, mark: &Mark) -> u64 {
        self.pushed - mark.pushed
    }

    /// Puts `bytes` at `mark`, before all that was pushed since. Nothing that was pushed is moved.
    pub fn prepend(&mut self, mark: Mark, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let segment = if bytes.len() <= SHORT {
            let mut short = [0; SHORT];
            short[..bytes.len()].copy_from_slice(bytes);
            Segment::Short { bytes: short, start: 0, end: bytes.len() as u8 }
        } else {
            Segment::Shared(Bytes::copy_from_slice(bytes))
        };
        self.pushed += bytes.len() as u64;
        self.segments.insert(mark.segment, segment);
    }

    /// Hands work out of the event loop; the producer returns `Pending` and is asked again when it has
    /// run. One job at a time: the producer in turn is the only one that may ask.
    pub fn defer(&mut self, job: Job) {
        debug_assert!(self.job.is_none(), "one job at a time");
        self.job = Some(job);
    }

    /// The work handed out by the producer in turn, if any.
    pub fn take_job(&mut self) -> Option<Job> {
        self.job.take()
    }

    // ---- emptying ----------------------------------------------------------------------------

    /// Fills `slices` with what can be written in one `writev`: everything up to the first file.
    /// Returns how many were filled.
    pub fn gather<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        let mut inline = self.taken;
        if self.lead > 0 && filled < slices.len() {
            slices[filled] = IoSlice::new(&self.buffer[inline..inline + self.lead]);
            inline += self.lead;
            filled += 1;
        }
        for segment in &self.segments {
            if filled == slices.len() {
                break;
            }
            let bytes: &[u8] = match segment {
                Segment::Inline(length) => {
                    inline += length;
                    &self.buffer[inline - length..inline]
                }
                Segment::Short { bytes, start, end } => {
                    &bytes[usize::from(*start)..usize::from(*end)]
                }
                Segment::Shared(bytes) => bytes,
                Segment::Milestone(_) => continue,
                Segment::File { .. } => break,
            };
            slices[filled] = IoSlice::new(bytes);
            filled += 1;
        }
        filled
    }

    /// All that waits, where that is one piece of short bytes: nearly always.
    #[inline]
    pub(crate) fn sole(&self) -> Option<&[u8]> {
        let is_sole = self.lead > 0 && self.segments.is_empty();
        is_sole.then(|| &self.buffer[self.taken..self.taken + self.lead])
    }

    /// How many slices [`gather`](Self::gather) could fill.
    pub(crate) fn pieces(&self) -> usize {
        self.segments.len() + 1
    }

    /// The bytes in front, for those who take them one slice at a time. Empty when a file is in front
    /// or nothing waits.
    pub fn front(&self) -> &[u8] {
        let mut slices = [IoSlice::new(&[])];
        match self.gather(&mut slices) {
            0 => &[],
            _ => {
                // The slice borrows from `self`; give it that lifetime back.
                let length = slices[0].len();
                self.front_of(length)
            }
        }
    }

    /// The range of a file in front: file, offset and length.
    pub fn front_file(&self) -> Option<(&Arc<File>, u64, u64)> {
        if self.lead > 0 {
            return None;
        }
        self.segments.iter().find(|segment| !matches!(segment, Segment::Milestone(_))).and_then(
            |segment| match segment {
                Segment::File { file, offset, length } => Some((file, *offset, *length)),
                _ => None,
            },
        )
    }

    /// Whether a file follows somewhere behind the bytes in front, so that a transport may hold a short
    /// packet back (MSG_MORE).
    pub fn has_file(&self) -> bool {
        self.segments.iter().any(|segment| matches!(segment, Segment::File { .. }))
    }

    /// Takes `count` written bytes off the front, and reports the milestones that are thereby reached.
    pub fn advance(&mut self, count: u64) {
        debug_assert!(count <= self.len(), "more was written than waited");
        self.written += count;
        if let Some(progress) = &self.progress {
            progress.set(self.written);
        }
        let mut left = count;
        let from_lead = left.min(self.lead as u64);
        self.lead -= from_lead as usize;
        self.taken += from_lead as usize;
        left -= from_lead;
        while self.lead == 0
            && let Some(front) = self.segments.front_mut()
        {
            match front {
                Segment::Milestone(_) => {}
                _ if left == 0 => break,
                Segment::Inline(length) => {
                    let step = left.min(*length as u64);
                    self.taken += step as usize;
                    *length -= step as usize;
                    left -= step;
                    if *length > 0 {
                        break;
                    }
                }
                Segment::Short { start, end, .. } => {
                    let step = left.min(u64::from(*end - *start));
                    *start += step as u8;
                    left -= step;
                    if start < end {
                        break;
                    }
                }
                Segment::Shared(bytes) => {
                    let step = left.min(bytes.len() as u64);
                    left -= step;
                    if step < bytes.len() as u64 {
                        bytes::Buf::advance(bytes, step as usize);
                        break;
                    }
                }
                Segment::File { offset, length, .. } => {
                    let step = left.min(*length);
                    *offset += step;
                    *length -= step;
                    left -= step;
                    if *length > 0 {
                        break;
                    }
                }
            }
            if let Some(Segment::Milestone(milestone)) = self.segments.pop_front() {
                milestone.report(self.written);
            }
        }
        if self.taken == self.buffer.len() {
            self.buffer.clear();
            self.taken = 0;
        } else if self.taken >= 64 * 1024 && self.taken * 2 >= self.buffer.len() {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
    }

    /// Drops all that waits; unreached milestones report a reply that was not completed.
    pub fn abandon(&mut self) {
        let written = self.written;
        while let Some(segment) = self.segments.pop_front() {
            if let Segment::Milestone(milestone) = segment {
                milestone.report_abandoned(written);
            }
        }
        self.buffer.clear();
        self.taken = 0;
        self.lead = 0;
        self.sealed = false;
        self.job = None;
        self.written = self.pushed;
    }

    /// Makes an outbox like new, keeping its buffers where they are of an ordinary size.
    pub fn reset(&mut self) {
        self.abandon();
        // Who still holds it has come to an end with what was written until now.
        self.progress = None;
        self.pushed = 0;
        self.written = 0;
        self.files = true;
        if self.buffer.capacity() > KEEP_CAPACITY {
            self.buffer = Vec::new();
        }
        if self.segments.capacity() > 1024 {
            self.segments = VecDeque::new();
        }
    }

    #[inline]
    fn account(&mut self, added: usize) {
        if added == 0 {
            return;
        }
        self.pushed += added as u64;
        if self.segments.is_empty() && !self.sealed {
            self.lead += added;
            return;
        }
        match self.segments.back_mut() {
            Some(Segment::Inline(length)) if !self.sealed => *length += added,
            _ => self.segments.push_back(Segment::Inline(added)),
        }
        self.sealed = false;
    }

    fn front_of(&self, length: usize) -> &[u8] {
        if self.lead > 0 {
            return &self.buffer[self.taken..self.taken + length];
        }
        for segment in &self.segments {
            match segment {
                Segment::Milestone(_) => {}
                Segment::Inline(_) => return &self.buffer[self.taken..self.taken + length],
                Segment::Short { bytes, start, end } => {
                    return &bytes[usize::from(*start)..usize::from(*end)];
                }
                Segment::Shared(bytes) => return bytes,
                Segment::File { .. } => break,
            }
        }
        &[]
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.abandon();
    }
}

impl Milestone {
    fn report(self, written: u64) {
        debug_assert!(written >= self.ended);
        (self.hook)(Delivered { bytes: self.ended - self.began, completed: true });
    }

    fn report_abandoned(self, written: u64) {
        let bytes = written.clamp(self.began, self.ended) - self.began;
        (self.hook)(Delivered { bytes, completed: false });
    }
}

#[cfg(test)]
mod tests;
