//! A configuration's text as a tree that remembers where everything stands.
//!
//! It parses TOML, gathers every syntax error, and finds the place of a key path such as
//! `route[1].files`, by which plug-ins name what they refuse. What keys mean is decided elsewhere.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostic, Diagnostics, Source};

/// The tree of one configuration.
#[derive(Debug)]
pub(crate) struct Document<'s> {
    /// What was parsed.
    pub source: &'s Source,
    root: DeTable<'s>,
}

/// One table of the tree: its name as an operator would write it, and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Table<'d, 's> {
    /// `http.site`, or nothing for the root.
    pub name: String,
    /// The octets of its header, or of the key it is the value of.
    pub span: Range<usize>,
    /// Its entries.
    pub entries: &'d DeTable<'s>,
}

/// One entry of a table.
#[derive(Clone, Debug)]
pub(crate) struct Entry<'d, 's> {
    /// The key.
    pub key: &'d str,
    /// The octets of the key.
    pub key_span: Range<usize>,
    /// The value, which knows its octets.
    pub value: &'d Spanned<DeValue<'s>>,
}

impl<'s> Document<'s> {
    /// Parses `source`, or tells everything that isn't TOML in it.
    pub(crate) fn parse(source: &'s Source) -> Result<Self, Diagnostics> {
        let (root, errors) = DeTable::parse_recoverable(&source.text);
        if errors.is_empty() {
            return Ok(Self { source, root: root.into_inner() });
        }
        let list = errors.iter().map(|error| {
            let diagnostic = Diagnostic::new(error.message());
            match error.span() {
                Some(span) => diagnostic.at(span),
                None => diagnostic,
            }
        });
        Err(Diagnostics::new(source.clone(), list.collect()))
    }

    /// The table that holds all the others.
    pub(crate) fn root(&self) -> Table<'_, 's> {
        Table { name: String::new(), span: 0..0, entries: &self.root }
    }
}

impl<'d, 's> Table<'d, 's> {
    /// The entries in the order in which they are written.
    pub(crate) fn in_order(&self) -> Vec<Entry<'d, 's>> {
        let mut entries: Vec<_> = self
            .entries
            .iter()
            .map(|(key, value)| Entry { key: key.get_ref(), key_span: key.span(), value })
            .collect();
        entries.sort_by_key(|entry| entry.key_span.start);
        entries
    }

    /// The entry of this name.
    pub(crate) fn entry(&self, key: &str) -> Option<Entry<'d, 's>> {
        let (key, value) = self.entries.get_key_value(key)?;
        Some(Entry { key: key.get_ref(), key_span: key.span(), value })
    }

    /// The table that this entry of `self` is, if it is one.
    pub(crate) fn below(&self, entry: &Entry<'d, 's>) -> Option<Table<'d, 's>> {
        let entries = entry.value.get_ref().as_table()?;
        let name = match self.name.as_str() {
            "" => entry.key.to_owned(),
            parent => format!("{parent}.{}", entry.key),
        };
        Some(Table { name, span: header(entry), entries })
    }

    /// Where `path` stands (`root`, `route[1].files`): the value where there is one, else the
    /// nearest thing around it that is written. A plug-in may name a key that was left out.
    pub(crate) fn find(&self, path: &str) -> Range<usize> {
        let segments = path.split('.').flat_map(|segment| {
            let (key, indexes) = segment.split_once('[').unwrap_or((segment, ""));
            let indexes = indexes.split(['[', ']']).filter_map(|text| text.parse().ok());
            std::iter::once(Step::Key(key)).chain(indexes.map(Step::Index))
        });
        self.find_steps(segments)
    }

    /// The same for a path whose keys may hold dots.
    pub(crate) fn find_steps<'p>(&self, path: impl IntoIterator<Item = Step<'p>>) -> Range<usize> {
        let mut place = self.span.clone();
        let mut within = Within::Table(self.entries);
        for step in path {
            let value = match (step, within) {
                (Step::Key(key), Within::Table(table)) => {
                    let Some((key, value)) = table.get_key_value(key) else { return place };
                    place = header(&Entry { key: key.get_ref(), key_span: key.span(), value });
                    value
                }
                (Step::Index(index), Within::List(list)) => {
                    let Some(item) = list.get(index) else { return place };
                    place = nonempty(item.span(), &place);
                    item
                }
                _ => return place,
            };
            within = match value.get_ref() {
                DeValue::Table(table) => Within::Table(table),
                DeValue::Array(list) => Within::List(list),
                _ => Within::Leaf,
            };
        }
        place
    }
}

/// One step of a path.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step<'p> {
    /// A key of a table.
    Key(&'p str),
    /// An item of a list, counted from 0.
    Index(usize),
}

/// What a step begins at.
#[derive(Clone, Copy)]
enum Within<'d, 's> {
    Table(&'d DeTable<'s>),
    List(&'d [Spanned<DeValue<'s>>]),
    Leaf,
}

/// Where an entry is shown: at its value, or at its key when the value is a table that has no
/// header of its own (`[http.site]` makes an `http` that is written nowhere else).
fn header(entry: &Entry<'_, '_>) -> Range<usize> {
    nonempty(entry.value.span(), &entry.key_span)
}

fn nonempty(span: Range<usize>, otherwise: &Range<usize>) -> Range<usize> {
    if span.is_empty() { otherwise.clone() } else { span }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
[http.site]
listen = [\"a\", \"bb\"]
root = \"public\"
inline = { deep = 1 }

[[http.site.route]]
path = \"/a/\"

[[http.site.route]]
path = \"/b/\"
files = \"private\"
";

    fn found(path: &str) -> String {
        let source = Source { name: "m.toml".into(), text: TEXT.into() };
        let document = Document::parse(&source).expect("valid");
        let root = document.root();
        let http = root.below(&root.entry("http").expect("http")).expect("a table");
        let site = http.below(&http.entry("site").expect("site")).expect("a table");
        assert_eq!(site.name, "http.site");
        let span = site.find(path);
        TEXT[span.start..].lines().next().expect("a line")[..].chars().take(span.len()).collect()
    }

    #[test]
    fn key_paths_are_found() {
        assert_eq!(found("root"), "\"public\"");
        assert_eq!(found("listen[1]"), "\"bb\"");
        assert_eq!(found("route[1].files"), "\"private\"");
        assert_eq!(found("inline.deep"), "1");
        assert_eq!(found("route[0]"), "[[http.site.route]]");
    }

    #[test]
    fn what_is_not_written_is_shown_at_what_is_around_it() {
        assert_eq!(found("index"), "[http.site]");
        assert_eq!(found("route[0].files"), "[[http.site.route]]");
        assert_eq!(found("listen[7]"), "[\"a\", \"bb\"]");
        assert_eq!(found("root.deeper.still"), "\"public\"");
        assert_eq!(found(""), "[http.site]");
        assert_eq!(found("]][[x"), "[http.site]");
    }

    #[test]
    fn keys_with_dots_are_found_by_their_steps() {
        let text = "[\"al@example.test\"]\nmail = [\"a\", \"bb\"]\n";
        let source = Source { name: "users.toml".into(), text: text.into() };
        let document = Document::parse(&source).expect("valid");
        let path = [Step::Key("al@example.test"), Step::Key("mail"), Step::Index(1)];
        assert_eq!(&text[document.root().find_steps(path)], "\"bb\"");
        assert_eq!(
            &text[document.root().find_steps(path[..1].iter().copied())],
            "[\"al@example.test\"]"
        );
    }

    #[test]
    fn every_syntax_error_is_told() {
        let source = Source { name: "m.toml".into(), text: "a = \nb = 1\nb = 2\nc = [1\n".into() };
        let errors = Document::parse(&source).expect_err("invalid");
        let shown = errors.to_string();
        for place in ["m.toml:1:5", "m.toml:3:1", "m.toml:4:7"] {
            assert!(shown.contains(place), "{place} is not in:\n{shown}");
        }
    }

    #[test]
    fn entries_come_as_written() {
        let source = Source { name: "m.toml".into(), text: "z=1\na=2\nm=3\n".into() };
        let document = Document::parse(&source).expect("valid");
        let keys: Vec<_> =
            document.root().in_order().iter().map(|entry| entry.key.to_owned()).collect();
        assert_eq!(keys, ["z", "a", "m"]);
    }
}
