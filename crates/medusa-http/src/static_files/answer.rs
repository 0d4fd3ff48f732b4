//! From a request and a file that was found to a response: which coding, whether the client's copy is
//! still good, which ranges. It touches neither disk nor clock.

use std::borrow::Cow;
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use medusa_core::Producer;
use medusa_core::producer::{Coding as Compression, bytes, compressed, file_range, lazy_file};
use medusa_files::Metadata;

use super::conditional::{Conditions, Verdict, range_applies};
use super::encoding::{Accepted, Coding};
use super::lookup::{Entry, Finder, Sibling, sibling_path};
use super::multipart::{Multipart, content_range, unsatisfied_range};
use super::ranges::{Selection, select};
use super::representation::{Content, Fields, Representation};
use crate::handler::Exchange;
use crate::head::{Known, KnownSet};
use crate::request::Request;
use crate::response::{Body, FieldBlock, Response};

/// What a request asks of a file, beside its name.
#[derive(Clone, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) accepted: Accepted,
    /// What few requests have.
    selection: Option<Selecting<'a>>,
}

/// The conditions under which a file is sent, and how much of it.
#[derive(Clone, Debug)]
struct Selecting<'a> {
    conditions: Conditions<'a>,
    range: Option<Cow<'a, [u8]>>,
    if_range: Option<Cow<'a, [u8]>>,
}

/// Bodies up to this length are copied, which costs less than to count one more owner of them.
const COPIED: usize = 1024;

/// The fields of which [`Selecting`] is made.
const SELECTING: KnownSet = KnownSet::of(&[
    Known::IfMatch,
    Known::IfNoneMatch,
    Known::IfModifiedSince,
    Known::IfUnmodifiedSince,
    Known::IfRange,
    Known::Range,
]);

/// What is sent of a file that was found.
enum Chosen<'e> {
    /// As it lies there, in the one coding or the other.
    Ready(&'e Representation, Coding),
    /// Compressed for this response.
    Deflated(&'e Fields),
}

impl<'a> Ask<'a> {
    pub(crate) fn new(request: &Request<'a>) -> Self {
        Self {
            accepted: match combined(request, Known::AcceptEncoding, &header::ACCEPT_ENCODING) {
                Some(field) => Accepted::parse(&field),
                None => Accepted::IDENTITY,
            },
            selection: request.has_any(SELECTING).then(|| Selecting {
                conditions: conditions(request),
                // RFC 9110 §14.2: Range is defined for GET alone.
                range: match *request.method() == Method::GET {
                    true => combined(request, Known::Range, &header::RANGE),
                    false => None,
                },
                if_range: combined(request, Known::IfRange, &header::IF_RANGE),
            }),
        }
    }

    /// The same, to outlive the request.
    pub(crate) fn into_owned(self) -> Ask<'static> {
        Ask {
            accepted: self.accepted,
            selection: self.selection.map(|selection| Selecting {
                conditions: selection.conditions.into_owned(),
                range: selection.range.map(|range| Cow::Owned(range.into_owned())),
                if_range: selection.if_range.map(|if_range| Cow::Owned(if_range.into_owned())),
            }),
        }
    }

    fn range(&self) -> Option<&[u8]> {
        self.selection.as_ref()?.range.as_deref()
    }

    /// Whether the client would take a file compressed in advance.
    pub(crate) fn wants_siblings(&self) -> bool {
        self.accepted.prefers(Coding::Brotli) || self.accepted.prefers(Coding::Gzip)
    }
}

/// The conditions of a request. Two dates, joined, are none, and so are looked past (RFC 9110 §13.1.3).
pub(crate) fn conditions<'a>(request: &Request<'a>) -> Conditions<'a> {
    Conditions {
        if_match: combined(request, Known::IfMatch, &header::IF_MATCH),
        if_unmodified_since: combined(
            request,
            Known::IfUnmodifiedSince,
            &header::IF_UNMODIFIED_SINCE,
        ),
        if_none_match: combined(request, Known::IfNoneMatch, &header::IF_NONE_MATCH),
        if_modified_since: combined(request, Known::IfModifiedSince, &header::IF_MODIFIED_SINCE),
    }
}

/// Answers a GET or HEAD. `seed` makes a boundary.
pub(crate) fn respond(
    finder: &Arc<Finder>,
    entry: &Entry,
    ask: &Ask<'_>,
    seed: impl FnOnce() -> u64,
    exchange: &Exchange<'_, '_>,
) -> Response {
    let response = |status| exchange.response(status);
    let chosen = choose(finder, entry, ask);
    let fields = match chosen {
        Chosen::Ready(representation, _) => &representation.fields,
        Chosen::Deflated(fields) => fields,
    };
    let is_ahead = fields.are_ahead_of(exchange.wall_clock());
    let with_block = |response: Response, block: &FieldBlock| match is_ahead {
        true => response.block(&block.without("Last-Modified")),
        false => response.block(block),
    };
    if let Some(selection) = &ask.selection
        && !selection.conditions.is_empty()
    {
        match selection.conditions.evaluate(&fields.current(), true) {
            Verdict::Proceed => {}
            Verdict::NotModified => {
                return with_block(response(StatusCode::NOT_MODIFIED), &fields.validators);
            }
            Verdict::Failed => return Response::error(StatusCode::PRECONDITION_FAILED),
        }
    }
    let (representation, coding) = match chosen {
        Chosen::Ready(representation, coding) => (representation, coding),
        Chosen::Deflated(fields) => {
            let plain =
                body(finder, entry, &entry.plain, Coding::Identity, 0..entry.plain.metadata.len);
            let level = finder.options.gzip_level;
            let deflated = compressed(plain, Compression::Gzip, level);
            return with_block(response(StatusCode::OK), &fields.all)
                .body(Body::producer(deflated));
        }
    };
    let len = representation.metadata.len;
    let selection = match &ask.selection {
        Some(Selecting { range: Some(range), if_range, .. })
            if range_applies(if_range.as_deref(), &fields.current()) =>
        {
            select(range, len)
        }
        _ => Selection::Whole,
    };
    match selection {
        Selection::Whole => {
            let response = with_block(response(StatusCode::OK), &fields.all);
            match &representation.content {
                Content::Bytes(bytes) if bytes.len() <= COPIED => response.body_copy(bytes),
                Content::Bytes(bytes) => response.body(bytes.clone()),
                _ => {
                    let producer = body(finder, entry, representation, coding, 0..len);
                    response.body(Body::Producer(producer))
                }
            }
        }
        Selection::One(range) => {
            let value = content_range(&range, len);
            let part = body(finder, entry, representation, coding, range);
            with_content_range(
                with_block(response(StatusCode::PARTIAL_CONTENT), &fields.all),
                &value,
            )
            .body(Body::Producer(part))
        }
        Selection::Several(ranges) => {
            let multipart = Multipart::new(seed(), representation.media.value, len, ranges);
            let response = with_block(response(StatusCode::PARTIAL_CONTENT), &fields.untyped);
            let response = with_field(response, &header::CONTENT_TYPE, &multipart.content_type());
            let source = Source::of(finder, entry, representation, coding);
            response.body(Body::producer(multipart.body(move |range| source.range(range))))
        }
        Selection::Unsatisfiable => {
            let response = Response::error(StatusCode::RANGE_NOT_SATISFIABLE);
            with_content_range(response, &unsatisfied_range(len))
        }
    }
}

/// Which of its codings a file is sent in.
fn choose<'e>(finder: &Finder, entry: &'e Entry, ask: &Ask<'_>) -> Chosen<'e> {
    let brotli = (&entry.brotli, Coding::Brotli);
    let gzip = (&entry.gzip, Coding::Gzip);
    let siblings = if ask.accepted.brotli_first() { [brotli, gzip] } else { [gzip, brotli] };
    for (sibling, coding) in siblings {
        if let Sibling::Ready(ready) = sibling
            && ask.accepted.prefers(coding)
        {
            return Chosen::Ready(ready, coding);
        }
    }
    // A range of what is compressed on the fly would cost all that is before it; and who asks for one
    // goes on with what it has of the file as it is.
    match &entry.deflated {
        Some(fields) if ask.range().is_none() && ask.accepted.prefers(Coding::Gzip) => {
            debug_assert!(finder.options.gzip);
            Chosen::Deflated(fields)
        }
        _ => Chosen::Ready(&entry.plain, Coding::Identity),
    }
}

/// A range of a file, from where it is.
fn body(
    finder: &Arc<Finder>,
    entry: &Entry,
    representation: &Representation,
    coding: Coding,
    range: Range<u64>,
) -> Box<dyn Producer> {
    Source::of(finder, entry, representation, coding).range(range)
}

/// Where a file's content is, for as long as something of it is to be sent.
enum Source {
    Bytes(Bytes),
    Open(Arc<File>),
    Closed { finder: Arc<Finder>, path: Arc<[u8]>, metadata: Metadata },
}

impl Source {
    fn of(
        finder: &Arc<Finder>,
        entry: &Entry,
        representation: &Representation,
        coding: Coding,
    ) -> Source {
        match &representation.content {
            Content::Bytes(content) => Source::Bytes(content.clone()),
            Content::Open(file) => Source::Open(Arc::clone(file)),
            Content::Closed => Source::Closed {
                finder: Arc::clone(finder),
                path: sibling_path(&entry.path, coding).into(),
                metadata: representation.metadata,
            },
        }
    }

    fn range(&self, range: Range<u64>) -> Box<dyn Producer> {
        let length = range.end - range.start;
        match self {
            Source::Bytes(content) => Box::new(bytes(slice(content, &range))),
            Source::Open(file) => Box::new(file_range(Arc::clone(file), range.start, length)),
            Source::Closed { finder, path, metadata } => {
                let (finder, path, metadata) = (Arc::clone(finder), Arc::clone(path), *metadata);
                let open = move || -> std::io::Result<Arc<File>> {
                    Ok(Arc::new(finder.reopen(&path, &metadata)?.into_std()))
                };
                Box::new(lazy_file(range.start, length, open))
            }
        }
    }
}

fn slice(content: &Bytes, range: &Range<u64>) -> Bytes {
    // The content's length is the file's, and it is in memory.
    let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
    content.slice(at(range.start)..at(range.end))
}

fn with_content_range(response: Response, value: &str) -> Response {
    with_field(response, &header::CONTENT_RANGE, value)
}

/// Adds a field whose value was made here, of letters and digits.
fn with_field(response: Response, name: &HeaderName, value: &str) -> Response {
    match HeaderValue::from_str(value) {
        Ok(value) => response.field(name, &value),
        Err(_) => response,
    }
}

/// The value of a field, its lines joined where there are several (RFC 9110 §5.3).
fn combined<'a>(request: &Request<'a>, field: Known, name: &HeaderName) -> Option<Cow<'a, [u8]>> {
    let first = request.known(field)?;
    let mut lines = request.values(name).skip(1).peekable();
    if lines.peek().is_none() {
        return Some(Cow::Borrowed(first));
    }
    let mut joined = first.to_vec();
    for line in lines {
        joined.extend_from_slice(b", ");
        joined.extend_from_slice(line);
    }
    Some(Cow::Owned(joined))
}
