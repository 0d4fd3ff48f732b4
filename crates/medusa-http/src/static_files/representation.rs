//! A file as it is sent: its content or descriptor, its validators, and the header fields, made once
//! and copied into each response. What of it a request gets is decided elsewhere (`answer.rs`).

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use medusa_files::Metadata;

use super::conditional::{EntityTag, Validators, date};
use super::encoding::Coding;
use super::media_type::MediaType;
use super::options::StaticOptions;
use crate::response::FieldBlock;

/// One file, ready to be sent.
#[derive(Debug)]
pub(crate) struct Representation {
    pub(crate) metadata: Metadata,
    pub(crate) content: Content,
    pub(crate) fields: Fields,
    pub(crate) media: MediaType,
}

/// Where the content is.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// In memory.
    Bytes(Bytes),
    /// In a file that is open.
    Open(Arc<File>),
    /// In a file that is opened when it is to be sent.
    Closed,
}

/// What a response says of a file.
#[derive(Debug)]
pub(crate) struct Fields {
    /// The entity tag without its quotes.
    tag: String,
    is_weak: bool,
    /// Whole seconds since 1970; `None` where HTTP can't write the date.
    modified: Option<i64>,
    /// The same, to be compared with a clock.
    since: SystemTime,
    /// For 304: what tells the client that its copy is good, and for how long (RFC 9110 §15.4.5).
    pub(crate) validators: FieldBlock,
    /// For multipart bodies: all but the type.
    pub(crate) untyped: FieldBlock,
    /// For 200 and 206.
    pub(crate) all: FieldBlock,
}

impl Fields {
    /// The fields of a file that is sent in this coding. `on_the_fly` says that the coding is made for
    /// each response: then there are no ranges, and the tag is weak, since another version of the
    /// compressor makes other bytes of the same file.
    pub(crate) fn new(
        file: &Metadata,
        sent: &Metadata,
        media: MediaType,
        coding: Coding,
        on_the_fly: bool,
        options: &StaticOptions,
    ) -> Self {
        let tag = entity_tag(sent, coding);
        // The file's own date for all its codings: they are of one age.
        let modified = Some(file.modified.seconds).filter(|&seconds| date(seconds).is_some());
        let quoted = if on_the_fly { format!("W/\"{tag}\"") } else { format!("\"{tag}\"") };
        let mut lines = Vec::with_capacity(10);
        lines.extend(line(header::ETAG, &quoted));
        if let Some(date) = modified.and_then(date) {
            lines.extend(line(header::LAST_MODIFIED, &date.to_string()));
        }
        if media.is_compressible && (options.gzip || options.precompressed) {
            lines.extend(line(header::VARY, "Accept-Encoding"));
        }
        if let Some(cache_control) = &options.cache_control {
            lines.push((header::CACHE_CONTROL, cache_control.clone()));
        }
        let validators = lines.len();
        if let Some(coding) = coding.name() {
            lines.extend(line(header::CONTENT_ENCODING, coding));
        }
        if !on_the_fly {
            lines.extend(line(header::ACCEPT_RANGES, "bytes"));
        }
        lines.extend(line(header::X_CONTENT_TYPE_OPTIONS, "nosniff"));
        let untyped = lines.len();
        lines.extend(line(header::CONTENT_TYPE, media.value));
        Self {
            tag,
            is_weak: on_the_fly,
            modified,
            since: modified.and_then(system_time).unwrap_or(UNIX_EPOCH),
            validators: block(&lines[..validators]),
            untyped: block(&lines[..untyped]),
            all: block(&lines),
        }
    }

    /// Whether the file's date is still to come: then it isn't told, since a server must not say a later one than
    /// that of its response (RFC 9110 §8.8.2.1).
    #[inline]
    pub(crate) fn are_ahead_of(&self, now: SystemTime) -> bool {
        self.since > now
    }

    /// What conditions are compared with.
    pub(crate) fn current(&self) -> Validators<'_> {
        let tag = EntityTag { is_weak: self.is_weak, opaque: self.tag.as_bytes() };
        Validators { tag: Some(tag), modified: self.modified }
    }
}

/// The tag of a file in a coding. It changes whenever the file is another one, was written to (also by who sets
/// its date back: the inode's own time can't be), or has another length, and is the same in every process. The
/// inode's number can't be read from it.
pub(crate) fn entity_tag(metadata: &Metadata, coding: Coding) -> String {
    let mut mixed = 0;
    for word in [
        metadata.inode,
        metadata.device,
        metadata.modified.seconds.cast_unsigned(),
        metadata.modified.nanoseconds.into(),
        metadata.changed.seconds.cast_unsigned(),
        metadata.changed.nanoseconds.into(),
    ] {
        mixed = mix(mixed ^ word);
    }
    let suffix = match coding {
        Coding::Identity => "",
        Coding::Gzip => "-gz",
        Coding::Brotli => "-br",
    };
    format!("{mixed:016x}-{:x}{suffix}", metadata.len)
}

/// The finalizer of SplitMix64 with its step: a bijection that spreads every bit.
fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

fn system_time(seconds: i64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?))
}

/// A field whose value was made here: digits, dates and constants, none of which is refused.
fn line(name: HeaderName, value: &str) -> Option<(HeaderName, HeaderValue)> {
    Some((name, HeaderValue::from_str(value).ok()?))
}

fn block(lines: &[(HeaderName, HeaderValue)]) -> FieldBlock {
    // Framing fields alone are refused, and there are none.
    FieldBlock::new(lines.iter().map(|(name, value)| (name, value))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use medusa_files::{Kind, Timestamp};

    use super::*;

    fn metadata() -> Metadata {
        Metadata {
            kind: Kind::File,
            len: 10,
            modified: Timestamp { seconds: 784_111_777, nanoseconds: 5 },
            changed: Timestamp::default(),
            inode: 42,
            device: 1,
            mode: 0o644,
            links: 1,
            owner: 0,
            group: 0,
        }
    }

    #[test]
    fn the_tag_follows_every_change() {
        let base = metadata();
        let later = Timestamp { nanoseconds: 6, ..base.modified };
        let tags = [
            entity_tag(&base, Coding::Identity),
            entity_tag(&base, Coding::Gzip),
            entity_tag(&base, Coding::Brotli),
            entity_tag(&Metadata { inode: 43, ..base }, Coding::Identity),
            entity_tag(&Metadata { device: 2, ..base }, Coding::Identity),
            entity_tag(&Metadata { len: 11, ..base }, Coding::Identity),
            entity_tag(&Metadata { modified: later, ..base }, Coding::Identity),
            // Written to, and the date set back.
            entity_tag(&Metadata { changed: later, ..base }, Coding::Identity),
        ];
        for (at, tag) in tags.iter().enumerate() {
            assert!(!tags[..at].contains(tag));
            assert!(EntityTag::parse(format!("\"{tag}\"").as_bytes()).is_some());
        }
        // Owner and mode aren't content.
        let other = Metadata { mode: 0o600, owner: 5, ..base };
        assert_eq!(tags[0], entity_tag(&other, Coding::Identity));
    }

    #[test]
    fn a_date_that_http_cannot_write_is_left_out() {
        let options = StaticOptions::default();
        let media = super::super::media_type::of(b"a.txt");
        for (seconds, told) in [(0, true), (-1, false), (i64::MAX, false)] {
            let modified = Timestamp { seconds, nanoseconds: 0 };
            let metadata = Metadata { modified, ..metadata() };
            let fields =
                Fields::new(&metadata, &metadata, media, Coding::Identity, false, &options);
            assert_eq!(fields.current().modified.is_some(), told);
        }
    }
}
