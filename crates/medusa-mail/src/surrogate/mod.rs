//! The message that stands in for one with UTF-8 in its headers, where the reader knows ASCII alone (RFC 6858;
//! RFC 6856 §2.1). Pure: it is handed the message piece by piece, and hands the other one on.
//!
//! Headers of the message, of its MIME parts and of messages within it hold ASCII only then; bodies are passed
//! as they are. Memory is bounded by one header field and the open boundaries. What is no UTF-8 is no less
//! foreign to ASCII, and is treated alike. MIME that is nested more than 100 deep isn't looked into.

mod addresses;
mod content;
mod field;
mod words;

use memchr::memchr;

use self::content::Content;

/// A field of more octets isn't kept: what of it isn't ASCII becomes question marks.
const FIELD_OCTETS: usize = 64 << 10;
/// Multiparts within multiparts that are looked into.
const DEPTH: usize = 100;
/// The longest line that may be a boundary: RFC 2046 §5.1.1 has 70 octets, and white space may follow.
const BOUNDARY_LINE: usize = 1_000;

/// Takes whatever comes out.
type Sink<'s> = &'s mut dyn FnMut(&[u8]);

/// One message on its way.
#[derive(Debug)]
pub struct Surrogate {
    place: Place,
    /// The line that has begun, as far as it is kept.
    line: Vec<u8>,
    /// The field that has begun: whole lines.
    field: Vec<u8>,
    content: Content,
    /// The multiparts that are open, the outermost first.
    open: Vec<Multipart>,
    /// Whether the header is that of a part, and not a message's.
    in_part: bool,
    /// Whether a header has ended.
    headed: bool,
    changed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Header,
    /// Within a field that is too long to keep.
    Overlong,
    /// Where a line of a body begins.
    BodyLine,
    /// Within a line that is no boundary.
    Body,
}

#[derive(Debug)]
struct Multipart {
    /// With the two hyphens in front.
    delimiter: Vec<u8>,
    is_digest: bool,
}

impl Default for Surrogate {
    fn default() -> Self {
        Surrogate {
            place: Place::Header,
            line: Vec::new(),
            field: Vec::new(),
            content: Content::default(),
            open: Vec::new(),
            in_part: false,
            headed: false,
            changed: false,
        }
    }
}

impl Surrogate {
    /// The whole surrogate of a whole message.
    pub fn of(message: &[u8]) -> Vec<u8> {
        let mut all = Vec::with_capacity(message.len() + 256);
        let mut surrogate = Surrogate::default();
        surrogate.push(message, &mut |bytes| all.extend_from_slice(bytes));
        surrogate.finish(&mut |bytes| all.extend_from_slice(bytes));
        all
    }

    /// Takes what comes next. However it is split, the same comes out.
    pub fn push(&mut self, mut bytes: &[u8], out: Sink<'_>) {
        while !bytes.is_empty() {
            let count = match self.place {
                Place::Header | Place::Overlong => self.header(bytes, out),
                // Nothing can end it.
                _ if self.open.is_empty() => {
                    out(bytes);
                    bytes.len()
                }
                Place::BodyLine => self.body_line(bytes, out),
                Place::Body => self.body(bytes, out),
            };
            bytes = &bytes[count..];
        }
    }

    /// The message has come to its end.
    pub fn finish(&mut self, out: Sink<'_>) {
        let line = std::mem::take(&mut self.line);
        if self.place != Place::Header {
            return out(&line);
        }
        self.header_line(line, out);
        let is_unended = self.field.is_ascii() && !matches!(self.field.last(), None | Some(b'\n'));
        self.flush(out);
        // A header that lost fields still ends: no surrogate is empty.
        if !self.headed && self.changed {
            out(if is_unended { b"\r\n\r\n" } else { b"\r\n" });
        }
    }

    /// Whether anything came out otherwise than it came in. If not, the message is its own surrogate.
    pub fn has_changed(&self) -> bool {
        self.changed
    }

    fn header(&mut self, bytes: &[u8], out: Sink<'_>) -> usize {
        let end = memchr(b'\n', bytes).map(|at| at + 1);
        let count = end.unwrap_or(bytes.len());
        if self.place == Place::Overlong {
            self.overlong(&bytes[..count], out);
            if end.is_some() {
                self.place = Place::Header;
            }
            return count;
        }
        self.line.extend_from_slice(&bytes[..count]);
        if end.is_some() {
            let line = std::mem::take(&mut self.line);
            self.header_line(line, out);
        } else if self.is_overlong(&self.line) {
            let line = std::mem::take(&mut self.line);
            self.header_line(line, out);
            self.place = Place::Overlong;
        }
        count
    }

    /// A line of a header, with its end if it has one.
    fn header_line(&mut self, mut line: Vec<u8>, out: Sink<'_>) {
        let is_folded = is_folded(&line);
        if self.is_overlong(&line) {
            if !is_folded {
                self.flush(out);
            }
            let field = std::mem::take(&mut self.field);
            self.overlong(&field, out);
            self.overlong(&line, out);
        } else if is_folded && !self.field.is_empty() {
            self.field.append(&mut line);
        } else if matches!(&line[..], b"\r\n" | b"\n") {
            self.flush(out);
            out(&line);
            self.headed();
        } else if self.is_delimiter(&line) {
            // A part may end within its header.
            self.flush(out);
            self.delimited(&line, out);
        } else {
            self.flush(out);
            self.field = line;
        }
    }

    /// The field has come whole.
    fn flush(&mut self, out: Sink<'_>) {
        let field = std::mem::take(&mut self.field);
        if field.is_empty() {
            return;
        }
        self.content.read(&field);
        if field.is_ascii() {
            out(&field);
        } else {
            self.changed = true;
            if let Some(rewritten) = field::rewritten(&field) {
                out(&rewritten);
            }
        }
    }

    /// Whether a line, as far as it has come, makes its field too long to be kept.
    fn is_overlong(&self, line: &[u8]) -> bool {
        let before = if is_folded(line) { self.field.len() } else { 0 };
        before + line.len() > FIELD_OCTETS
    }

    /// Passes on what isn't kept.
    fn overlong(&mut self, part: &[u8], out: Sink<'_>) {
        if part.is_ascii() {
            return out(part);
        }
        self.changed = true;
        let ascii = |octet: &u8| if octet.is_ascii() { *octet } else { b'?' };
        out(&part.iter().map(ascii).collect::<Vec<u8>>());
    }

    /// A header has ended.
    fn headed(&mut self) {
        self.headed = true;
        let in_digest = std::mem::take(&mut self.in_part)
            && self.open.last().is_some_and(|multipart| multipart.is_digest);
        match std::mem::take(&mut self.content) {
            Content::Multipart { boundary, is_digest } if self.open.len() < DEPTH => {
                let delimiter = [b"--", &boundary[..]].concat();
                self.open.push(Multipart { delimiter, is_digest });
                self.place = Place::BodyLine;
            }
            Content::Message { is_encoded: false } => self.place = Place::Header,
            // RFC 2046 §5.1.5.
            Content::Unsaid { is_encoded: false } if in_digest => self.place = Place::Header,
            _ => self.place = Place::BodyLine,
        }
    }

    fn body_line(&mut self, bytes: &[u8], out: Sink<'_>) -> usize {
        if self.line.is_empty() && bytes[0] != b'-' {
            self.place = Place::Body;
            return self.body(bytes, out);
        }
        let end = memchr(b'\n', bytes).map(|at| at + 1);
        let count = end.unwrap_or(bytes.len());
        self.line.extend_from_slice(&bytes[..count]);
        let may_be = match &self.line[..] {
            [] | [b'-'] => true,
            line => line.starts_with(b"--") && line.len() <= BOUNDARY_LINE,
        };
        if end.is_some() && may_be && self.is_delimiter(&self.line) {
            let line = std::mem::take(&mut self.line);
            self.delimited(&line, out);
        } else if end.is_some() || !may_be {
            out(&self.line);
            self.line.clear();
            if end.is_none() {
                self.place = Place::Body;
            }
        }
        count
    }

    /// As many lines as can be passed at once.
    fn body(&mut self, bytes: &[u8], out: Sink<'_>) -> usize {
        let Some(end) = memchr(b'\n', bytes) else {
            out(bytes);
            return bytes.len();
        };
        let mut next = end + 1;
        loop {
            let rest = &bytes[next..];
            match (rest.first(), memchr(b'\n', rest)) {
                (Some(first), Some(end)) if *first != b'-' => next += end + 1,
                _ => break,
            }
        }
        out(&bytes[..next]);
        self.place = Place::BodyLine;
        next
    }

    fn is_delimiter(&self, line: &[u8]) -> bool {
        self.delimiter(line).is_some()
    }

    /// Which of the open multiparts a line delimits, and whether it closes it.
    fn delimiter(&self, line: &[u8]) -> Option<(usize, bool)> {
        if !line.starts_with(b"--") {
            return None;
        }
        let line = line.trim_ascii_end();
        // The innermost first.
        self.open.iter().enumerate().rev().find_map(|(at, multipart)| {
            match line.strip_prefix(&multipart.delimiter[..])? {
                b"" => Some((at, false)),
                b"--" => Some((at, true)),
                _ => None,
            }
        })
    }

    fn delimited(&mut self, line: &[u8], out: Sink<'_>) {
        out(line);
        self.content = Content::default();
        if let Some((at, closes)) = self.delimiter(line) {
            self.open.truncate(if closes { at } else { at + 1 });
            self.in_part = !closes;
            self.place = if closes { Place::BodyLine } else { Place::Header };
        }
    }
}

fn is_folded(line: &[u8]) -> bool {
    matches!(line.first(), Some(b' ' | b'\t'))
}

#[cfg(test)]
mod tests;
