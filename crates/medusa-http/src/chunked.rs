//! The chunked coding, read (RFC 9112 §7.1): a machine that says which frame it wants next and is
//! given it. It holds no octets and does no input.
//!
//! Strict, since each of these has let a request through unseen: a size is hexadecimal digits and
//! nothing around them, lines end in CR LF alone, extensions are `;token[=token|quoted]`, the data
//! end where the size says. Trailer fields are judged and counted, and otherwise dropped: merged
//! into the header they could forge what was checked there (RFC 9110 §6.5.1).

use crate::error::Fault;
use crate::head::octets;

/// How much beside the data a chunked body may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkLimits {
    /// Octets of a line that holds a chunk's size and extensions; 256 are ample: nobody sends any.
    pub line: usize,
    /// Octets of all chunk extensions of a body; 16 KiB, as Go has it.
    pub extensions: usize,
    /// Octets of the trailer section; 8 KiB.
    pub trailers: usize,
}

impl Default for ChunkLimits {
    fn default() -> ChunkLimits {
        ChunkLimits { line: 256, extensions: 16 * 1024, trailers: 8 * 1024 }
    }
}

/// The frame that the decoder wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// A line up to CR LF, at most so long without it.
    Line {
        /// Beyond it the line is refused with [`Decoder::overlong`].
        limit: usize,
    },
    /// So many octets, in pieces as they come.
    Octets(u64),
    /// Nothing: the body is at its end.
    Nothing,
}

/// What a frame brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded {
    /// Framing; ask for [`Decoder::wants`] anew.
    Framing,
    /// The frame was a piece of the body.
    Data,
    /// The body, and its trailer section, are at their end.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size,
    Data(u64),
    DataEnd,
    Trailer,
    End,
}

/// The decoder of one body.
#[derive(Debug, Clone)]
pub struct Decoder {
    state: State,
    limits: ChunkLimits,
    /// What is left of the body's own bound.
    room: u64,
    extensions: usize,
    trailers: usize,
}

impl Decoder {
    /// A decoder at a body's beginning. The body may be as long as `body_limit`; `None` is any.
    pub fn new(limits: ChunkLimits, body_limit: Option<u64>) -> Decoder {
        Decoder {
            state: State::Size,
            limits,
            room: body_limit.unwrap_or(u64::MAX),
            extensions: 0,
            trailers: 0,
        }
    }

    /// What to read next. Only a frame that ends changes it.
    pub fn wants(&self) -> Want {
        match self.state {
            State::Size => Want::Line { limit: self.limits.line },
            State::Data(size) => Want::Octets(size),
            State::DataEnd => Want::Line { limit: 0 },
            State::Trailer => Want::Line { limit: self.limits.trailers - self.trailers },
            State::End => Want::Nothing,
        }
    }

    /// Takes a frame: a whole line without its CR LF, or a piece of data, of which the last has
    /// `end` set.
    ///
    /// # Errors
    ///
    /// Anything that isn't well-formed; what follows in the connection is then of no known meaning.
    pub fn handle_frame(&mut self, frame: &[u8], end: bool) -> Result<Decoded, Fault> {
        match self.state {
            State::Size => {
                let (size, extensions) = size_line(frame)?;
                self.extensions += extensions;
                if self.extensions > self.limits.extensions {
                    return Err(Fault::ChunkSize);
                }
                self.room = self.room.checked_sub(size).ok_or(Fault::BodyTooLong)?;
                self.state = if size == 0 { State::Trailer } else { State::Data(size) };
            }
            State::Data(_) => {
                if end {
                    self.state = State::DataEnd;
                }
                return Ok(Decoded::Data);
            }
            State::DataEnd if frame.is_empty() => self.state = State::Size,
            State::DataEnd => return Err(Fault::ChunkEnd),
            State::Trailer if frame.is_empty() => {
                self.state = State::End;
                return Ok(Decoded::End);
            }
            State::Trailer => {
                self.trailers += frame.len() + 2;
                if self.trailers > self.limits.trailers {
                    return Err(Fault::Trailer);
                }
                trailer_line(frame)?;
            }
            State::End => return Ok(Decoded::End),
        }
        Ok(Decoded::Framing)
    }

    /// Why the line is refused that went over the limit.
    pub fn overlong(&self) -> Fault {
        match self.state {
            State::Size => Fault::ChunkSize,
            State::DataEnd => Fault::ChunkEnd,
            _ => Fault::Trailer,
        }
    }
}

/// `chunk-size [ chunk-ext ]`: the size, and how long the extensions are.
fn size_line(line: &[u8]) -> Result<(u64, usize), Fault> {
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    // More digits than a u64 has overflow, unless they are zeros, which nobody needs.
    if digits == 0 || digits > 16 {
        return Err(Fault::ChunkSize);
    }
    let size = line[..digits]
        .iter()
        .fold(0u64, |sum, &b| sum << 4 | char::from(b).to_digit(16).map_or(0, u64::from));
    let extensions = &line[digits..];
    if !extensions.is_empty() && !extensions_are_well_formed(extensions) {
        return Err(Fault::ChunkSize);
    }
    Ok((size, extensions.len()))
}

/// `*( BWS ";" BWS token [ BWS "=" BWS ( token / quoted-string ) ] )` (RFC 9112 §7.1.1).
fn extensions_are_well_formed(mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        let Some(name) = skip_blank(rest).strip_prefix(b";").map(skip_blank) else { return false };
        let name_end = octets::run(name, 0, octets::TOKEN);
        if name_end == 0 {
            return false;
        }
        rest = &name[name_end..];
        let Some(value) = skip_blank(rest).strip_prefix(b"=").map(skip_blank) else { continue };
        let value_end = match value {
            [b'"', ..] => match quoted_end(value) {
                Some(end) => end,
                None => return false,
            },
            _ => octets::run(value, 0, octets::TOKEN),
        };
        if value_end == 0 {
            return false;
        }
        rest = &value[value_end..];
    }
    true
}

/// Behind the closing quote of the quoted string that begins here (RFC 9110 §5.6.4).
fn quoted_end(value: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at = octets::run(value, at, octets::QUOTED);
        match value.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' if value.get(at + 1).is_some_and(|&b| octets::is(b, octets::VALUE)) => at += 2,
            _ => return None,
        }
    }
}

fn skip_blank(mut octets: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = octets {
        octets = rest;
    }
    octets
}

fn trailer_line(line: &[u8]) -> Result<(), Fault> {
    let colon = octets::run(line, 0, octets::TOKEN);
    let named = colon > 0 && line.get(colon) == Some(&b':');
    if named && octets::value_run(line, colon + 1) == line.len() {
        return Ok(());
    }
    Err(Fault::Trailer)
}

#[cfg(test)]
mod tests;
