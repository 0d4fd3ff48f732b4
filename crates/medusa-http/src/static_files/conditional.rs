//! Conditional requests (RFC 9110 §13): entity tags, their comparison, and the order in which the
//! conditions are looked at. Pure: it is handed what the client sent and what the file is.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

/// An entity tag (RFC 9110 §8.8.3), without its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntityTag<'a> {
    pub(crate) is_weak: bool,
    pub(crate) opaque: &'a [u8],
}

/// What there is to compare with: the file as it stands. Nothing stands where both are `None`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Validators<'a> {
    pub(crate) tag: Option<EntityTag<'a>>,
    /// Whole seconds since 1970, as Last-Modified tells them.
    pub(crate) modified: Option<i64>,
}

/// The conditions of one request. A field that came in several lines is combined into one
/// (RFC 9110 §5.3), so that nothing is copied where it came in one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conditions<'a> {
    pub(crate) if_match: Option<Cow<'a, [u8]>>,
    pub(crate) if_unmodified_since: Option<Cow<'a, [u8]>>,
    pub(crate) if_none_match: Option<Cow<'a, [u8]>>,
    pub(crate) if_modified_since: Option<Cow<'a, [u8]>>,
}

/// What the conditions say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Do what the method asks.
    Proceed,
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

impl<'a> EntityTag<'a> {
    /// One tag and nothing behind it.
    pub(crate) fn parse(text: &'a [u8]) -> Option<Self> {
        match Self::take(text)? {
            (tag, []) => Some(tag),
            _ => None,
        }
    }

    /// The tag that the text begins with, and the rest.
    fn take(text: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (is_weak, quoted) = match text.strip_prefix(b"W/") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let rest = quoted.strip_prefix(b"\"")?;
        let end = rest.iter().position(|&byte| byte == b'"')?;
        let (opaque, rest) = (&rest[..end], &rest[end + 1..]);
        // etagc = %x21 / %x23-7E / obs-text
        let is_tag = opaque.iter().all(|&byte| byte > b' ' && byte != 0x7f);
        is_tag.then_some((Self { is_weak, opaque }, rest))
    }

    /// The strong comparison (RFC 9110 §8.8.3.2): equal, and neither is weak.
    pub(crate) fn equals_strongly(self, other: EntityTag<'_>) -> bool {
        !self.is_weak && !other.is_weak && self.opaque == other.opaque
    }

    /// The weak comparison: equal but for weakness.
    pub(crate) fn equals_weakly(self, other: EntityTag<'_>) -> bool {
        self.opaque == other.opaque
    }
}

impl Conditions<'_> {
    /// Whether there is anything to look at.
    pub(crate) fn is_empty(&self) -> bool {
        self.if_match.is_none()
            && self.if_unmodified_since.is_none()
            && self.if_none_match.is_none()
            && self.if_modified_since.is_none()
    }

    /// The same, to outlive the request.
    pub(crate) fn into_owned(self) -> Conditions<'static> {
        let own = |field: Option<Cow<'_, [u8]>>| field.map(|field| Cow::Owned(field.into_owned()));
        Conditions {
            if_match: own(self.if_match),
            if_unmodified_since: own(self.if_unmodified_since),
            if_none_match: own(self.if_none_match),
            if_modified_since: own(self.if_modified_since),
        }
    }

    /// The verdict, in the order of RFC 9110 §13.2.2. `reads` is true for GET and HEAD. If-Range,
    /// the last step, is [`range_applies`].
    pub(crate) fn evaluate(&self, current: &Validators<'_>, reads: bool) -> Verdict {
        let exists = current.tag.is_some() || current.modified.is_some();
        // Step 1, and step 2 where there is no If-Match.
        if let Some(list) = &self.if_match {
            if !names(list, current.tag, exists, |one, other| one.equals_strongly(other)) {
                return Verdict::Failed;
            }
        } else if let Some(limit) = self.if_unmodified_since.as_deref().and_then(parse_date)
            && current.modified.is_some_and(|modified| modified > limit)
        {
            return Verdict::Failed;
        }
        // Step 3, and step 4 where there is no If-None-Match.
        if let Some(list) = &self.if_none_match {
            if names(list, current.tag, exists, |one, other| one.equals_weakly(other)) {
                return if reads { Verdict::NotModified } else { Verdict::Failed };
            }
        } else if reads
            && let Some(limit) = self.if_modified_since.as_deref().and_then(parse_date)
            && current.modified.is_some_and(|modified| modified <= limit)
        {
            return Verdict::NotModified;
        }
        Verdict::Proceed
    }
}

/// Step 5: whether a Range field is to be looked at, given the value of If-Range. A weak tag never
/// matches, and neither does a date: two versions may be of one second, so that it is no strong validator
/// (RFC 9110 §13.1.5, §8.8.2.2). The whole file is always right, and every response has a tag to go on by.
pub(crate) fn range_applies(if_range: Option<&[u8]>, current: &Validators<'_>) -> bool {
    let Some(value) = if_range else {
        return true;
    };
    let same = |tag| current.tag.is_some_and(|current| current.equals_strongly(tag));
    EntityTag::parse(value).is_some_and(same)
}

/// Whether a list of entity tags, or `*`, names the current one. What isn't a tag ends the list:
/// nothing behind it can be told apart for sure.
fn names(
    list: &[u8],
    current: Option<EntityTag<'_>>,
    exists: bool,
    equals: fn(EntityTag<'_>, EntityTag<'_>) -> bool,
) -> bool {
    if list.trim_ascii() == b"*" {
        return exists;
    }
    let Some(current) = current else {
        return false;
    };
    let mut rest = list;
    loop {
        // Empty elements are ignored (RFC 9110 §5.6.1).
        while let [b' ' | b'\t' | b',', after @ ..] = rest {
            rest = after;
        }
        let Some((tag, after)) = EntityTag::take(rest) else {
            return false;
        };
        // Between two tags there must be a comma.
        let after = after.trim_ascii_start();
        if !after.is_empty() && !after.starts_with(b",") {
            return false;
        }
        if equals(current, tag) {
            return true;
        }
        rest = after;
    }
}

/// An HTTP date in any of the three forms (RFC 9110 §5.6.7), in seconds since 1970. What isn't one
/// is no condition at all.
pub(crate) fn parse_date(value: &[u8]) -> Option<i64> {
    let time = httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()?;
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

/// A date as it is sent. Dates that HTTP can't write (before 1970, after 9999) are none.
pub(crate) fn date(seconds: i64) -> Option<httpdate::HttpDate> {
    /// The last second of the year 9999.
    const LAST: u64 = 253_402_300_799;
    let seconds = u64::try_from(seconds).ok().filter(|&seconds| seconds <= LAST)?;
    Some((SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MODIFIED: i64 = 784_111_777;
    const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn current(is_weak: bool) -> Validators<'static> {
        Validators { tag: Some(EntityTag { is_weak, opaque: b"abc" }), modified: Some(MODIFIED) }
    }

    fn conditions<'a>(fields: &[(&str, &'a str)]) -> Conditions<'a> {
        let mut conditions = Conditions::default();
        for (name, value) in fields {
            let value = value.as_bytes();
            match *name {
                "If-Match" => conditions.if_match = Some(value.into()),
                "If-None-Match" => conditions.if_none_match = Some(value.into()),
                "If-Modified-Since" => conditions.if_modified_since = Some(value.into()),
                "If-Unmodified-Since" => conditions.if_unmodified_since = Some(value.into()),
                other => panic!("{other}"),
            }
        }
        conditions
    }

    #[test]
    fn a_table_of_conditions() {
        use Verdict::*;
        type Fields = &'static [(&'static str, &'static str)];
        // What was sent; the verdict for GET; for PUT; for PUT where nothing stands.
        let table: &[(Fields, Verdict, Verdict, Verdict)] = &[
            (&[], Proceed, Proceed, Proceed),
            (&[("If-Match", "\"abc\"")], Proceed, Proceed, Failed),
            (&[("If-Match", "*")], Proceed, Proceed, Failed),
            (&[("If-Match", "W/\"abc\"")], Failed, Failed, Failed),
            (&[("If-Match", "\"x\", \"abc\"")], Proceed, Proceed, Failed),
            (&[("If-Match", "\"x\"")], Failed, Failed, Failed),
            (&[("If-Match", "")], Failed, Failed, Failed),
            (&[("If-Match", "abc")], Failed, Failed, Failed),
            (&[("If-None-Match", "\"abc\"")], NotModified, Failed, Proceed),
            (&[("If-None-Match", "W/\"abc\"")], NotModified, Failed, Proceed),
            (&[("If-None-Match", "*")], NotModified, Failed, Proceed),
            (&[("If-None-Match", " * ")], NotModified, Failed, Proceed),
            (&[("If-None-Match", "\"a,b\" ,, \"abc\"")], NotModified, Failed, Proceed),
            (&[("If-None-Match", "\"x\" \"abc\"")], Proceed, Proceed, Proceed),
            (&[("If-None-Match", "\"a b\", \"abc\"")], Proceed, Proceed, Proceed),
            (&[("If-None-Match", "\"abc")], Proceed, Proceed, Proceed),
            (&[("If-None-Match", "w/\"abc\"")], Proceed, Proceed, Proceed),
            (&[("If-None-Match", "\"ABC\"")], Proceed, Proceed, Proceed),
            (&[("If-Modified-Since", SAME)], NotModified, Proceed, Proceed),
            (&[("If-Modified-Since", LATER)], NotModified, Proceed, Proceed),
            (&[("If-Modified-Since", EARLIER)], Proceed, Proceed, Proceed),
            (
                &[("If-Modified-Since", "Sunday, 06-Nov-94 08:49:37 GMT")],
                NotModified,
                Proceed,
                Proceed,
            ),
            (&[("If-Modified-Since", "Sun Nov  6 08:49:37 1994")], NotModified, Proceed, Proceed),
            (&[("If-Modified-Since", "yesterday")], Proceed, Proceed, Proceed),
            (&[("If-Unmodified-Since", SAME)], Proceed, Proceed, Proceed),
            (&[("If-Unmodified-Since", EARLIER)], Failed, Failed, Proceed),
            (&[("If-Unmodified-Since", "never")], Proceed, Proceed, Proceed),
            // Each tag outranks its date.
            (
                &[("If-Match", "\"abc\""), ("If-Unmodified-Since", EARLIER)],
                Proceed,
                Proceed,
                Failed,
            ),
            (&[("If-None-Match", "\"x\""), ("If-Modified-Since", SAME)], Proceed, Proceed, Proceed),
            (
                &[("If-None-Match", "\"abc\""), ("If-Modified-Since", EARLIER)],
                NotModified,
                Failed,
                Proceed,
            ),
            // The first two come before the others.
            (&[("If-Match", "\"x\""), ("If-None-Match", "\"abc\"")], Failed, Failed, Failed),
            (&[("If-Match", "\"abc\""), ("If-None-Match", "\"abc\"")], NotModified, Failed, Failed),
            (
                &[("If-Unmodified-Since", EARLIER), ("If-Modified-Since", SAME)],
                Failed,
                Failed,
                Proceed,
            ),
        ];
        for (fields, get, put, put_new) in table {
            let conditions = conditions(fields);
            assert_eq!(conditions.is_empty(), fields.is_empty());
            assert_eq!(conditions.evaluate(&current(false), true), *get, "GET {fields:?}");
            assert_eq!(conditions.evaluate(&current(false), false), *put, "PUT {fields:?}");
            let nothing = Validators::default();
            assert_eq!(conditions.evaluate(&nothing, false), *put_new, "new {fields:?}");
        }
    }

    proptest! {
        /// A list that was written by the rules holds exactly the tags that are in it.
        #[test]
        fn a_list_names_its_tags(
            tags in proptest::collection::vec(("(W/)?", "[!#-~]{0,4}"), 0..5),
            wanted in "[!#-~]{0,4}",
            is_weak: bool,
        ) {
            let list: Vec<String> =
                tags.iter().map(|(weak, opaque)| format!("{weak}\"{opaque}\"")).collect();
            let list = list.join(" , ");
            let current = EntityTag { is_weak, opaque: wanted.as_bytes() };
            let current = Validators { tag: Some(current), modified: None };
            let names = |name| conditions(&[(name, &list)]).evaluate(&current, true);
            let weakly = tags.iter().any(|(_, opaque)| *opaque == wanted);
            let strongly = !is_weak
                && tags.iter().any(|(weak, opaque)| weak.is_empty() && *opaque == wanted);
            let expected = if weakly { Verdict::NotModified } else { Verdict::Proceed };
            prop_assert_eq!(names("If-None-Match"), expected);
            let expected = if strongly { Verdict::Proceed } else { Verdict::Failed };
            prop_assert_eq!(names("If-Match"), expected);
        }

        #[test]
        fn no_field_brings_it_down(octets in proptest::collection::vec(any::<u8>(), 0..40)) {
            let conditions = Conditions {
                if_match: Some(Cow::Borrowed(&octets)),
                if_unmodified_since: Some(Cow::Borrowed(&octets)),
                if_none_match: Some(Cow::Borrowed(&octets)),
                if_modified_since: Some(Cow::Borrowed(&octets)),
            };
            let _ = conditions.evaluate(&current(false), true);
            let _ = range_applies(Some(&octets), &current(false));
        }
    }

    #[test]
    fn a_weak_tag_matches_weakly_alone() {
        let by = |name, value| conditions(&[(name, value)]).evaluate(&current(true), true);
        assert_eq!(by("If-Match", "\"abc\""), Verdict::Failed);
        assert_eq!(by("If-Match", "W/\"abc\""), Verdict::Failed);
        assert_eq!(by("If-None-Match", "\"abc\""), Verdict::NotModified);
    }

    #[test]
    fn if_range_is_strict() {
        let table = [
            (None, true),
            (Some("\"abc\""), true),
            (Some("W/\"abc\""), false),
            (Some("\"x\""), false),
            (Some("\"abc\", \"abc\""), false),
            (Some("*"), false),
            (Some(SAME), false),
            (Some(EARLIER), false),
            (Some(LATER), false),
            (Some(""), false),
        ];
        for (value, applies) in table {
            let value = value.map(str::as_bytes);
            assert_eq!(range_applies(value, &current(false)), applies, "{value:?}");
        }
        assert!(!range_applies(Some(b"\"abc\""), &current(true)));
    }

    #[test]
    fn dates_that_http_cannot_write_are_none() {
        assert_eq!(date(MODIFIED).unwrap().to_string(), SAME);
        assert_eq!(parse_date(SAME.as_bytes()), Some(MODIFIED));
        assert!(date(-1).is_none());
        assert!(date(i64::MAX).is_none());
        assert!(date(253_402_300_799).is_some());
    }
}
