//! Request heads: one pass over the octets up to the empty line, in which every octet is judged
//! and nothing is copied (RFC 9112 §2 to §5).
//!
//! The parser is strict where leniency has let requests be smuggled: a line ends in CR LF only, no
//! space before a colon, no folded lines, no control octets. The one leniency is an empty line
//! before the request line (RFC 9112 §2.2), once. It finds faults in the order of the octets, so
//! that an unfinished head is refused for the same reason as the whole one would be.

mod fields;
pub(crate) mod octets;
mod target;

use std::borrow::Cow;

use http::{Method, Version};

pub use fields::{Fields, Known};
pub(crate) use fields::{KnownSet, tokens};
pub(crate) use target::canonical_path;
pub use target::{Authority, Target};

use crate::error::Fault;

/// How large a head may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Octets from the method to the empty line; 32 KiB, as nginx has it (4 buffers of 8 KiB).
    pub head: usize,
    /// Octets of the target; 8,000 is what RFC 9112 §3 asks for at least, and nginx gives 8 KiB.
    pub target: usize,
    /// Header fields; 100, as Apache has it (`LimitRequestFields`).
    pub fields: usize,
}

impl Default for HeadLimits {
    fn default() -> HeadLimits {
        HeadLimits { head: 32 * 1024, target: 8 * 1024, fields: 100 }
    }
}

/// Where a value lies. One word: what is written in halves and read as a whole makes a processor wait.
#[derive(Debug, Clone, Copy, Default)]
struct Span(u64);

impl Span {
    /// Heads are far below 4 GiB: `HeadLimits::head` is checked before, and `as` would only ever be
    /// wrong for a limit beyond that.
    #[inline]
    fn new(start: usize, length: usize) -> Span {
        Span(start as u64 | (length as u64) << 32)
    }

    #[inline]
    fn range(self) -> std::ops::Range<usize> {
        let start = self.0 as u32 as usize;
        start..start + (self.0 >> 32) as usize
    }
}

/// A request head that has been judged: everything in it may be relied on.
#[derive(Debug, Clone)]
pub struct Head<'a> {
    bytes: &'a [u8],
    method: &'a [u8],
    request_line: &'a [u8],
    target: Target<'a>,
    /// The target is a path in its canonical form; many that are aren't known to be.
    has_plain_path: bool,
    old_version: bool,
    close: bool,
    keep_alive: bool,
    content_length: Option<u64>,
    fields_start: usize,
    fields_end: usize,
    seen: KnownSet,
    known: [Span; fields::COUNT],
}

impl<'a> Head<'a> {
    /// Parses a head that is all there, without the CR LF CR LF that ended it.
    ///
    /// # Errors
    ///
    /// The first fault, in the order of the octets.
    #[inline]
    pub fn parse(bytes: &'a [u8], limits: &HeadLimits) -> Result<Head<'a>, Fault> {
        let mut head = Head::unread(bytes);
        head.read(limits)?;
        Ok(head)
    }

    /// A head to be [read](Head::read) in its place: it is large, and to move it is as dear as half of
    /// the reading.
    #[inline]
    pub(crate) fn unread(bytes: &'a [u8]) -> Head<'a> {
        Head {
            bytes,
            method: b"",
            request_line: b"",
            target: Target::Asterisk,
            has_plain_path: false,
            old_version: false,
            close: false,
            keep_alive: false,
            content_length: None,
            fields_start: 0,
            fields_end: 0,
            seen: KnownSet::default(),
            known: [Span::default(); fields::COUNT],
        }
    }

    /// As [`Head::parse`]. After an error nothing in it may be relied on.
    #[inline]
    pub(crate) fn read(&mut self, limits: &HeadLimits) -> Result<(), Fault> {
        if self.bytes.len() > limits.head {
            return Err(too_long(self.bytes, limits));
        }
        scan::<true>(self, limits).map_err(|stop| match stop {
            Stop::Fault(fault) => fault,
            Stop::Short => Fault::RequestLine,
        })
    }

    /// The fault for which this unfinished head will be refused however it goes on, if there is
    /// one already. The answer is the one that [`Head::parse`] will give to the whole.
    pub fn fault_in_part(part: &[u8], limits: &HeadLimits) -> Option<Fault> {
        // Three octets at its end may belong to the empty line.
        if part.len() > limits.head + 3 {
            return Some(too_long(part, limits));
        }
        match scan::<false>(&mut Head::unread(part), limits) {
            Err(Stop::Fault(fault)) => Some(fault),
            Err(Stop::Short) | Ok(_) => None,
        }
    }

    /// All of it, as it came.
    pub(crate) fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The method's octets; methods are case-sensitive (RFC 9110 §9.1).
    pub fn method_bytes(&self) -> &'a [u8] {
        self.method
    }

    /// The method.
    #[inline]
    pub fn method(&self) -> Method {
        match self.method {
            b"GET" => Method::GET,
            // The grammar has been checked, and it is the same as this type's.
            other => Method::from_bytes(other).unwrap_or(Method::GET),
        }
    }

    /// The request line as it came, without its CR LF: for logs.
    pub fn request_line(&self) -> &'a [u8] {
        self.request_line
    }

    /// What is asked for.
    pub fn target(&self) -> Target<'a> {
        self.target
    }

    /// The path in its one canonical form, where the target has a path.
    #[inline]
    pub(crate) fn canonical_path(&self, path: &'a [u8]) -> Result<Cow<'a, [u8]>, Fault> {
        if self.has_plain_path { Ok(Cow::Borrowed(path)) } else { canonical_path(path) }
    }

    /// HTTP/1.0 or HTTP/1.1.
    pub fn version(&self) -> Version {
        if self.old_version { Version::HTTP_10 } else { Version::HTTP_11 }
    }

    /// The host that is asked: the target's, where it has one, or the Host field's (RFC 9112 §3.3).
    /// `None` where there is neither, or an empty one.
    pub fn host(&self) -> Option<Authority<'a>> {
        match self.target {
            // RFC 9112 §3.2.2: what the Host field says is then ignored.
            Target::Absolute { authority, .. } | Target::Authority(authority) => Some(authority),
            _ => Authority::parse(self.known(Known::Host)?).filter(|field| !field.host.is_empty()),
        }
    }

    /// The first value of the field, without white space around it.
    #[inline]
    pub fn known(&self, field: Known) -> Option<&'a [u8]> {
        let is_there = self.seen.overlaps(KnownSet::of(&[field]));
        is_there.then(|| &self.bytes[self.known[field as usize].range()])
    }

    /// Whether there is any of these fields.
    #[inline]
    pub(crate) fn has_any(&self, fields: KnownSet) -> bool {
        self.seen.overlaps(fields)
    }

    /// All header fields.
    pub fn fields(&self) -> Fields<'a> {
        Fields::new(&self.bytes[self.fields_start..self.fields_end])
    }

    /// The Content-Length, where there is one.
    pub fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// Whether the client is willing to send another request on this connection (RFC 9112 §9.3).
    #[inline]
    pub fn persistent(&self) -> bool {
        !self.close && (!self.old_version || self.keep_alive)
    }
}

enum Stop {
    Fault(Fault),
    /// The octets end before the head does, and nothing is wrong so far.
    Short,
}

impl From<Fault> for Stop {
    #[inline]
    fn from(fault: Fault) -> Stop {
        Stop::Fault(fault)
    }
}

/// What is wrong with a head that is longer than the limit: what is wrong before that goes first, so
/// that the answer doesn't depend on how the octets arrived.
#[cold]
fn too_long(bytes: &[u8], limits: &HeadLimits) -> Fault {
    match scan::<false>(&mut Head::unread(&bytes[..limits.head]), limits) {
        Err(Stop::Fault(fault)) => fault,
        Err(Stop::Short) | Ok(_) => Fault::HeadTooLong,
    }
}

/// `WHOLE` says that the octets are all, and that CR LF CR LF stood behind them.
fn scan<const WHOLE: bool>(head: &mut Head<'_>, limits: &HeadLimits) -> Result<(), Stop> {
    let bytes = head.bytes;
    // RFC 9112 §2.2: an empty line before the request line, from clients that end a body with one.
    let begin = if bytes.starts_with(b"\r\n") { 2 } else { 0 };

    let method_end = match bytes[begin..].starts_with(b"GET ") {
        true => begin + 3,
        false => octets::run(bytes, begin, octets::TOKEN),
    };
    if method_end == begin || bytes.get(method_end) != Some(&b' ') {
        return Err(judge::<WHOLE>(bytes, method_end, Fault::RequestLine));
    }
    let target_start = method_end + 1;
    let (target_end, is_plain) = octets::target_run(bytes, target_start);
    if target_end - target_start > limits.target {
        return Err(Fault::TargetTooLong.into());
    }
    if target_end == target_start || bytes.get(target_end) != Some(&b' ') {
        return Err(judge::<WHOLE>(bytes, target_end, Fault::RequestLine));
    }
    let version_start = target_end + 1;
    let (old_version, version_end) = version::<WHOLE>(bytes, version_start)?;
    let fields_start = line_end::<WHOLE>(bytes, version_end, Fault::RequestLine)?;

    head.method = &bytes[begin..method_end];
    head.request_line = &bytes[begin..version_end];
    head.old_version = old_version;
    head.fields_start = fields_start;
    fields::<WHOLE>(head, limits)?;

    let target = &bytes[target_start..target_end];
    (head.target, head.has_plain_path) = match target {
        [b'/', ..] if is_plain && head.method == b"GET" => {
            (Target::Origin { path: target, query: None }, true)
        }
        _ => (Target::parse(head.method, target)?, false),
    };
    match head.known(Known::Host) {
        None if !old_version => return Err(Fault::HostMissing.into()),
        Some(field) if !Authority::is_one(field) => return Err(Fault::Host.into()),
        _ => {}
    }
    Ok(())
}

/// Which version stands at `start`, and where it ends: true for HTTP/1.0.
#[inline]
fn version<const WHOLE: bool>(bytes: &[u8], start: usize) -> Result<(bool, usize), Stop> {
    let rest = &bytes[start..];
    if rest.starts_with(b"HTTP/1.1\r") {
        return Ok((false, start + 8));
    }
    let end = octets::run(bytes, start, octets::TARGET);
    if end == bytes.len() && !WHOLE {
        return Err(Stop::Short);
    }
    match &bytes[start..end] {
        b"HTTP/1.1" => Ok((false, end)),
        b"HTTP/1.0" => Ok((true, end)),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(Fault::Version.into())
        }
        _ => Err(judge::<WHOLE>(bytes, end, Fault::RequestLine)),
    }
}

fn fields<const WHOLE: bool>(head: &mut Head<'_>, limits: &HeadLimits) -> Result<(), Stop> {
    let bytes = head.bytes;
    let mut at = head.fields_start;
    let mut count = 0;
    let mut seen = KnownSet::default();
    loop {
        match bytes.get(at) {
            None if WHOLE => {
                head.fields_end = at;
                head.seen = seen;
                return Ok(());
            }
            Some(b' ' | b'\t') => return Err(Fault::FoldedLine.into()),
            _ => {}
        }
        let (known, name_end) = match Known::at_front(&bytes[at..]) {
            Some((known, length)) => (Some(known), at + length),
            None => {
                let end = octets::run(bytes, at, octets::TOKEN);
                if end == at || bytes.get(end) != Some(&b':') {
                    return Err(judge_name::<WHOLE>(bytes, end));
                }
                (Known::find(&bytes[at..end]), end)
            }
        };
        let value_end = octets::value_run(bytes, name_end + 1);
        let next = line_end::<WHOLE>(bytes, value_end, Fault::ControlOctet)?;
        count += 1;
        if count > limits.fields {
            return Err(Fault::HeadTooLong.into());
        }
        if let Some(known) = known {
            let again = seen.overlaps(KnownSet::of(&[known]));
            seen.insert(known);
            remember(head, known, again, name_end + 1, value_end)?;
        }
        at = next;
    }
}

/// Notes a known field's place, and refuses what may not be said twice.
#[inline(always)]
fn remember(
    head: &mut Head<'_>,
    known: Known,
    again: bool,
    start: usize,
    end: usize,
) -> Result<(), Fault> {
    const HEEDED: KnownSet = KnownSet::of(&[Known::ContentLength, Known::Connection]);
    let (start, end) = octets::trimmed(head.bytes, start, end);
    if again {
        match known {
            Known::Host => return Err(Fault::Host),
            Known::ContentLength => return Err(Fault::ContentLength),
            _ => {}
        }
    } else {
        head.known[known as usize] = Span::new(start, end - start);
    }
    if HEEDED.overlaps(KnownSet::of(&[known])) {
        return heed(head, known, start, end);
    }
    Ok(())
}

/// Takes over what the fields say that decide about the connection.
#[inline(never)]
fn heed(head: &mut Head<'_>, known: Known, start: usize, end: usize) -> Result<(), Fault> {
    let value = &head.bytes[start..end];
    if known == Known::ContentLength {
        head.content_length = Some(decimal(value).ok_or(Fault::ContentLength)?);
        return Ok(());
    }
    for option in tokens(value) {
        head.close |= option.eq_ignore_ascii_case(b"close");
        head.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
    }
    Ok(())
}

/// Digits and nothing else, so neither sign nor list, and no overflow.
pub(crate) fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0u64, |sum, &b| {
        let digit = b.is_ascii_digit().then(|| u64::from(b - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

/// Behind the CR LF that must stand at `at`.
#[inline]
fn line_end<const WHOLE: bool>(bytes: &[u8], at: usize, otherwise: Fault) -> Result<usize, Stop> {
    match bytes.get(at..at + 2) {
        Some(b"\r\n") => Ok(at + 2),
        None if WHOLE && at == bytes.len() => Ok(at),
        _ => Err(judge::<WHOLE>(bytes, at, otherwise)),
    }
}

/// What is wrong with the octet at `at`, which isn't one that may stand there.
#[cold]
fn judge<const WHOLE: bool>(bytes: &[u8], at: usize, otherwise: Fault) -> Stop {
    match (bytes.get(at), bytes.get(at + 1)) {
        (None, _) | (Some(b'\r'), None) if !WHOLE => Stop::Short,
        (None, _) | (Some(b'\r'), Some(b'\n')) => otherwise.into(),
        (Some(b'\r' | b'\n'), _) => Fault::BareLineEnd.into(),
        (Some(0..0x20 | 0x7f), _) => Fault::ControlOctet.into(),
        _ => otherwise.into(),
    }
}

/// What is wrong where a field's name should have ended in a colon. In a part it may be the end of
/// the head.
#[cold]
fn judge_name<const WHOLE: bool>(bytes: &[u8], at: usize) -> Stop {
    let blank = bytes[at..].iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    match bytes.get(at + blank) {
        None if blank > 0 && !WHOLE => Stop::Short,
        Some(b':') if blank > 0 => Fault::SpaceBeforeColon.into(),
        _ if blank > 0 => Fault::FieldName.into(),
        _ => judge::<WHOLE>(bytes, at, Fault::FieldName),
    }
}

#[cfg(test)]
mod tests;
