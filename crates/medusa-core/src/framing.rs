//! Input: a byte stream cut into [`Frame`]s by a [`Terminator`].
//!
//! Pure: it is handed what has arrived and says where the next frame ends. It keeps no bytes, only the
//! place up to which it has searched, so that the work is linear however slowly the bytes drip in, and
//! the result is the same however the network splits them.

mod search;

use std::sync::Arc;

use memchr::memmem;

use self::search::find_from;

/// What ends a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Terminator {
    /// These bytes, which are not part of the frame. Must not be empty.
    Delimiter(Delimiter),
    /// So many bytes.
    Length(u64),
    /// A line that holds one dot (RFC 5321 §4.5.2, RFC 1939 §3). The bytes are un-stuffed; each line
    /// keeps its CRLF, so an empty text is an empty frame.
    DotLine,
    /// Nothing: bytes are handed on as they come, until the stream ends.
    None,
}

/// The bytes that end a frame: a constant of the protocol, or found at run time (a MIME boundary).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delimiter {
    /// A constant of the protocol.
    Static(&'static [u8]),
    /// Found at run time.
    Owned(Arc<[u8]>),
}

/// How a frame is handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Complete, and lent from the input buffer. A frame of more than `limit` bytes (its terminator not
    /// counted) is refused as overlong.
    Whole {
        /// The longest frame, in bytes.
        limit: usize,
    },
    /// In pieces of any size as they arrive, in bounded memory.
    Pieces,
}

/// A terminator and a delivery: what a session expects next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Framing {
    /// What ends a frame.
    pub terminator: Terminator,
    /// How it is handed on.
    pub delivery: Delivery,
}

impl Framing {
    /// Lines that end in CRLF, at most `limit` bytes without it.
    pub const fn line(limit: usize) -> Self {
        Self::delimited(b"\r\n", limit)
    }

    /// Whole frames that end in `delimiter`.
    pub const fn delimited(delimiter: &'static [u8], limit: usize) -> Self {
        Framing {
            terminator: Terminator::Delimiter(Delimiter::Static(delimiter)),
            delivery: Delivery::Whole { limit },
        }
    }

    /// `length` bytes, whole: for short records such as a length prefix.
    pub const fn exact(length: usize) -> Self {
        Framing {
            terminator: Terminator::Length(length as u64),
            delivery: Delivery::Whole { limit: length },
        }
    }

    /// `length` bytes in pieces: a body.
    pub const fn length(length: u64) -> Self {
        Framing { terminator: Terminator::Length(length), delivery: Delivery::Pieces }
    }

    /// A dot-terminated text in pieces: a mail.
    pub const fn dot_line() -> Self {
        Framing { terminator: Terminator::DotLine, delivery: Delivery::Pieces }
    }

    /// Bytes as they come.
    pub const fn stream() -> Self {
        Framing { terminator: Terminator::None, delivery: Delivery::Pieces }
    }
}

/// A frame, or a piece of one, lent from the input buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The bytes, without the terminator.
    pub bytes: &'a [u8],
    /// Whether the frame ends here. Always so with [`Delivery::Whole`].
    pub end: bool,
}

/// What [`Framer::cut`] found at the front of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Cut {
    /// `input[start..start + length]` is a frame or a piece; `consumed` bytes are done with.
    Frame {
        /// Where its bytes begin.
        start: usize,
        /// How many they are.
        length: usize,
        /// Whether the frame ends here.
        end: bool,
        /// How much of the input to drop.
        consumed: usize,
    },
    /// Nothing complete yet; `consumed` bytes (of an overlong frame or a stuffed dot) are done with.
    Partial {
        /// How much of the input to drop.
        consumed: usize,
    },
    /// The frame is longer than its limit. Said once; the rest is skipped up to its terminator.
    Overlong {
        /// How much of the input to drop.
        consumed: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the beginning of a frame, or inside one (`Framer::scanned`, `Framer::left`).
    Normal,
    /// Inside a dot text: at the beginning of a line, behind a CR, or elsewhere.
    LineStart,
    BehindCr,
    MidLine,
    /// A frame of length 0 was delivered: only a new `expect` starts another.
    Spent,
}

/// Cuts frames. It holds positions, not bytes.
#[derive(Debug)]
pub struct Framer {
    framing: Framing,
    /// How much of the unconsumed input holds no complete terminator.
    scanned: usize,
    /// What is left of a frame of known length.
    left: u64,
    /// The whole frame at hand exceeds its limit: what is left of it is skipped.
    overlong: bool,
    /// What is expected behind it, if that was said meanwhile.
    next: Option<Box<Framing>>,
    state: State,
}

impl Framer {
    /// A framer that expects `framing`.
    pub fn new(framing: Framing) -> Self {
        let mut framer = Framer {
            framing,
            scanned: 0,
            left: 0,
            overlong: false,
            next: None,
            state: State::Normal,
        };
        framer.start();
        framer
    }

    /// Expects something else from the next byte on; behind an overlong frame, once that is skipped.
    pub fn expect(&mut self, framing: Framing) {
        if self.overlong {
            self.next = Some(Box::new(framing));
        } else {
            self.framing = framing;
            self.start();
        }
    }

    /// Forgets what has come so far: what is expected begins anew.
    pub fn restart(&mut self) {
        if let Some(next) = self.next.take() {
            self.framing = *next;
        }
        self.start();
    }

    /// What is expected.
    pub fn framing(&self) -> &Framing {
        &self.framing
    }

    /// Whether a frame in pieces has begun or must come: a body, as opposed to a command.
    pub fn inside_body(&self) -> bool {
        self.framing.delivery == Delivery::Pieces
            && self.framing.terminator != Terminator::None
            && self.state != State::Spent
    }

    /// Finds the next frame or piece at the front of `input`, which must begin with all that earlier
    /// calls left unconsumed.
    #[inline]
    pub fn cut(&mut self, input: &mut [u8]) -> Cut {
        match (&self.framing.terminator, self.framing.delivery) {
            (Terminator::Delimiter(_), Delivery::Whole { limit }) => {
                self.cut_delimited(input, limit)
            }
            (Terminator::Delimiter(_), Delivery::Pieces) => self.cut_delimited_piece(input),
            (Terminator::Length(length), Delivery::Whole { limit }) => {
                let length = *length;
                self.cut_length(input, length, limit)
            }
            (Terminator::Length(_), Delivery::Pieces) => self.cut_length_piece(input),
            (Terminator::DotLine, Delivery::Whole { limit }) => self.cut_dot_text(input, limit),
            (Terminator::DotLine, Delivery::Pieces) => self.cut_dot_piece(input),
            (Terminator::None, _) if input.is_empty() => Cut::Partial { consumed: 0 },
            (Terminator::None, _) => frame(0, input.len(), false, input.len()),
        }
    }

    fn start(&mut self) {
        self.scanned = 0;
        self.overlong = false;
        self.left = match self.framing.terminator {
            Terminator::Length(length) => length,
            _ => 0,
        };
        self.state = match self.framing.terminator {
            Terminator::DotLine => State::LineStart,
            _ => State::Normal,
        };
    }

    fn delimiter(&self) -> &[u8] {
        match &self.framing.terminator {
            Terminator::Delimiter(Delimiter::Static(bytes)) => bytes,
            Terminator::Delimiter(Delimiter::Owned(bytes)) => bytes,
            _ => &[],
        }
    }

    #[inline]
    fn cut_delimited(&mut self, input: &mut [u8], limit: usize) -> Cut {
        if input.is_empty() {
            // Behind the last frame of what has come: nearly always.
            return Cut::Partial { consumed: 0 };
        }
        let width = self.delimiter().len();
        match find_from(input, self.delimiter(), self.scanned) {
            Some(at) => {
                self.scanned = 0;
                if self.overlong {
                    self.restart();
                    Cut::Partial { consumed: at + width }
                } else if at > limit {
                    Cut::Overlong { consumed: at + width }
                } else {
                    frame(0, at, true, at + width)
                }
            }
            None => {
                // The last width - 1 bytes may be the beginning of the delimiter.
                let searched = input.len().saturating_sub(width - 1);
                if self.overlong {
                    self.scanned = 0;
                    Cut::Partial { consumed: searched }
                } else if searched > limit {
                    self.overlong = true;
                    self.scanned = 0;
                    Cut::Overlong { consumed: searched }
                } else {
                    self.scanned = searched;
                    Cut::Partial { consumed: 0 }
                }
            }
        }
    }

    fn cut_delimited_piece(&mut self, input: &[u8]) -> Cut {
        let width = self.delimiter().len();
        match find_from(input, self.delimiter(), self.scanned) {
            Some(at) => {
                self.scanned = 0;
                frame(0, at, true, at + width)
            }
            None => match input.len().saturating_sub(width - 1) {
                0 => Cut::Partial { consumed: 0 },
                safe => frame(0, safe, false, safe),
            },
        }
    }

    fn cut_length(&mut self, input: &[u8], length: u64, limit: usize) -> Cut {
        if self.state == State::Spent {
            return Cut::Partial { consumed: 0 };
        }
        if length > limit as u64 {
            if input.is_empty() {
                return Cut::Partial { consumed: 0 };
            }
            let first = !self.overlong;
            let step = self.left.min(input.len() as u64);
            self.left -= step;
            self.overlong = true;
            if self.left == 0 {
                self.restart();
            }
            let consumed = step as usize;
            return if first { Cut::Overlong { consumed } } else { Cut::Partial { consumed } };
        }
        let length = length as usize;
        if input.len() < length {
            return Cut::Partial { consumed: 0 };
        }
        if length == 0 {
            self.state = State::Spent;
        }
        frame(0, length, true, length)
    }

    fn cut_length_piece(&mut self, input: &[u8]) -> Cut {
        if self.state == State::Spent || (input.is_empty() && self.left > 0) {
            return Cut::Partial { consumed: 0 };
        }
        let step = self.left.min(input.len() as u64);
        self.left -= step;
        let end = self.left == 0;
        if end {
            self.start();
            if self.left == 0 {
                self.state = State::Spent;
            }
        }
        frame(0, step as usize, end, step as usize)
    }

    /// Un-stuffs by splitting: a piece never spans a stuffed dot.
    fn cut_dot_piece(&mut self, input: &[u8]) -> Cut {
        let mut from = 0;
        if self.state == State::LineStart {
            match input {
                [] | [b'.'] | [b'.', b'\r'] => return Cut::Partial { consumed: 0 },
                [b'.', b'\r', b'\n', ..] => return frame(0, 0, true, 3),
                [b'.', ..] => from = 1,
                _ => {}
            }
            self.state = State::MidLine;
        }
        let text = &input[from..];
        if text.is_empty() {
            return Cut::Partial { consumed: from };
        }
        let split = if self.state == State::BehindCr && text[0] == b'\n' {
            match text.get(1) {
                None | Some(b'.') => Some(1),
                Some(_) => next_line_dot(text),
            }
        } else {
            next_line_dot(text)
        };
        let length = match split {
            Some(at) => {
                self.state = State::LineStart;
                at
            }
            None => {
                self.state = match text {
                    [.., b'\r', b'\n'] => State::LineStart,
                    [.., b'\r'] => State::BehindCr,
                    _ => State::MidLine,
                };
                text.len()
            }
        };
        frame(from, length, false, from + length)
    }

    /// A whole dot text: found first, then un-stuffed in place.
    fn cut_dot_text(&mut self, input: &mut [u8], limit: usize) -> Cut {
        if self.overlong {
            return match self.cut_dot_piece(input) {
                Cut::Frame { end, consumed, .. } => {
                    if end {
                        self.restart();
                    }
                    Cut::Partial { consumed }
                }
                partial => partial,
            };
        }
        // `scanned` stands at the beginning of a line, `left` counts what of it holds no CRLF.
        let end = loop {
            let line = &input[self.scanned..];
            if line.starts_with(b".\r\n") {
                break Some(self.scanned);
            }
            let from = self.left as usize;
            match line.get(from..).and_then(|rest| memmem::find(rest, b"\r\n")) {
                Some(at) => {
                    self.scanned += from + at + 2;
                    self.left = 0;
                }
                None => {
                    self.left = line.len().saturating_sub(1) as u64;
                    break None;
                }
            }
        };
        match end {
            Some(at) if at <= limit => {
                self.start();
                frame(0, unstuff(&mut input[..at]), true, at + 3)
            }
            // Without an end, all but a possible beginning of the terminator belongs to the text.
            None if input.len() <= limit + 2 => Cut::Partial { consumed: 0 },
            _ => {
                self.start();
                self.overlong = true;
                Cut::Overlong { consumed: 0 }
            }
        }
    }
}

const fn frame(start: usize, length: usize, end: bool, consumed: usize) -> Cut {
    Cut::Frame { start, length, end, consumed }
}

/// Where the next line that begins with a dot begins.
fn next_line_dot(text: &[u8]) -> Option<usize> {
    memmem::find(text, b"\r\n.").map(|at| at + 2)
}

/// Removes the stuffed dots of a dot text in place and returns its new length.
fn unstuff(text: &mut [u8]) -> usize {
    let (mut read, mut write) = (0, 0);
    let mut line_start = true;
    while read < text.len() {
        if line_start && text[read] == b'.' {
            read += 1;
        }
        let rest = &text[read..];
        let step = memmem::find(rest, b"\r\n").map_or(rest.len(), |at| at + 2);
        text.copy_within(read..read + step, write);
        read += step;
        write += step;
        line_start = true;
    }
    write
}

#[cfg(test)]
mod tests;
