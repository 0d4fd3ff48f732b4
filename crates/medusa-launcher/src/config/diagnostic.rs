//! What is wrong with a configuration, and how it is shown: file, line, caret and a suggestion.
//!
//! A `Diagnostic` is one complaint; `Diagnostics` gathers all of them, those about files that the
//! configuration names included, so that one run of `medusa check` is enough to mend them. Nothing here
//! knows what the keys mean.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// A configuration's text and the name it is shown under.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Source {
    /// The file's path as the operator wrote it, or `<built-in>`.
    pub name: String,
    /// The whole text.
    pub text: String,
}

/// One complaint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Diagnostic {
    /// What is wrong, in one sentence.
    pub message: String,
    /// The octets of the text that it is about; `None` for the file as a whole.
    pub span: Option<Range<usize>>,
    /// What stands beside the caret, when it adds something.
    pub label: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// How bad it is.
    pub gravity: Gravity,
    /// The file that it is about, where that isn't the configuration itself.
    pub elsewhere: Option<Arc<Source>>,
}

/// How bad a complaint is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Gravity {
    /// Nothing is served.
    #[default]
    Fatal,
    /// An error when the configuration is checked, and a warning when it is served: a certificate that
    /// has expired must not keep a server from starting in the night.
    Served,
    /// A warning.
    Advice,
}

/// All the complaints about one configuration; never empty when it is returned as an error.
#[derive(Clone, Debug)]
pub(crate) struct Diagnostics {
    source: Source,
    list: Vec<Diagnostic>,
}

impl Diagnostic {
    /// A complaint about the file as a whole.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            span: None,
            label: None,
            hint: None,
            gravity: Gravity::Fatal,
            elsewhere: None,
        }
    }

    /// Sets how bad it is.
    #[must_use]
    pub(crate) fn gravity(mut self, gravity: Gravity) -> Self {
        self.gravity = gravity;
        self
    }

    /// Says which other file it is about.
    #[must_use]
    pub(crate) fn elsewhere(mut self, source: &Arc<Source>) -> Self {
        self.elsewhere = Some(Arc::clone(source));
        self
    }

    /// Where it is, in the form of compilers, `medusa.toml:3`, for a line of the log.
    pub(crate) fn place(&self, source: &Source) -> String {
        let source = self.elsewhere.as_deref().unwrap_or(source);
        let Some(span) = &self.span else { return source.name.clone() };
        let before = &source.text[..visible(&source.text, span).start];
        format!("{}:{}", source.name, before.matches('\n').count() + 1)
    }

    /// Points at `span`.
    #[must_use]
    pub(crate) fn at(mut self, span: Range<usize>) -> Self {
        self.span = Some(span);
        self
    }

    /// Sets what stands beside the caret.
    #[must_use]
    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Sets what to do about it.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<Option<String>>) -> Self {
        self.hint = hint.into();
        self
    }
}

impl Diagnostics {
    /// Each as a line for the log: where it is, and what is wrong.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (String, &str)> {
        self.list.iter().map(|one| (one.place(&self.source), one.message.as_str()))
    }

    /// Complaints about `source`, shown in the order of their lines; those about other files after them.
    pub(crate) fn new(source: Source, mut list: Vec<Diagnostic>) -> Self {
        list.sort_by_key(|one| {
            (one.elsewhere.is_some(), one.span.as_ref().map_or(0, |span| span.start))
        });
        list.dedup();
        Self { source, list }
    }

    /// The complaints alone.
    pub(crate) fn into_list(self) -> Vec<Diagnostic> {
        self.list
    }

    /// The text to print; `styled` with colours for a terminal.
    pub(crate) fn render(&self, styled: bool) -> String {
        let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
        let mut text = String::new();
        for one in &self.list {
            let source = one.elsewhere.as_deref().unwrap_or(&self.source);
            let level = match one.gravity {
                Gravity::Fatal | Gravity::Served => Level::ERROR,
                Gravity::Advice => Level::WARNING,
            };
            let group = level.primary_title(&one.message);
            let group = match &one.span {
                Some(span) => {
                    let span = visible(&source.text, span);
                    let caret = AnnotationKind::Primary.span(span).label(one.label.as_deref());
                    group
                        .element(Snippet::source(&source.text).path(&source.name).annotation(caret))
                }
                None => group.element(annotate_snippets::Origin::path(&source.name)),
            };
            let group = match &one.hint {
                Some(hint) => group.element(Level::HELP.message(hint)),
                None => group,
            };
            text.push_str(&renderer.render(&[group]));
            text.push_str("\n\n");
        }
        text.push_str(&format!("{}: {}\n", self.source.name, self.summary()));
        text
    }

    /// `2 errors, nothing is served`.
    fn summary(&self) -> String {
        let count = |gravities: &[Gravity], noun: &str| match self
            .list
            .iter()
            .filter(|one| gravities.contains(&one.gravity))
            .count()
        {
            0 => None,
            1 => Some(format!("1 {noun}")),
            count => Some(format!("{count} {noun}s")),
        };
        let errors = count(&[Gravity::Fatal, Gravity::Served], "error");
        let warnings = count(&[Gravity::Advice], "warning");
        let counts: Vec<String> = errors.into_iter().chain(warnings).collect();
        let outcome = match self.list.iter().any(|one| one.gravity == Gravity::Fatal) {
            true => "nothing is served",
            false => "it is served all the same",
        };
        format!("{}, {outcome}", counts.join(", "))
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}

/// The one of `known` that `written` was probably meant to be.
///
/// Jaro-Winkler favours a common beginning, which is what typing slips keep; 0.8 takes `lisen` for
/// `listen` and leaves `port` alone.
pub(crate) fn nearest<'a>(
    written: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let written = written.to_ascii_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&written, name), name))
        .filter(|(likeness, _)| *likeness >= 0.8)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, name)| name)
}

/// Names as they stand in a sentence: `` `a`, `b` ``.
pub(crate) fn quoted_list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The span cut to its first line and to the text, and never empty unless the text ends there:
/// a table's span may reach over many lines, and the caret belongs to its header.
fn visible(text: &str, span: &Range<usize>) -> Range<usize> {
    let start = floor(text, span.start.min(text.len()));
    let end = floor(text, span.end.clamp(start, text.len()));
    let line_end = text[start..].find('\n').map_or(text.len(), |length| start + length);
    start..end.min(line_end)
}

fn floor(text: &str, mut index: usize) -> usize {
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, list: Vec<Diagnostic>) -> String {
        Diagnostics::new(Source { name: "m.toml".into(), text: text.into() }, list).render(false)
    }

    #[test]
    fn a_complaint_has_file_line_caret_and_suggestion() {
        let shown = shown(
            "[http.site]\nlisen = []\n",
            vec![
                Diagnostic::new("unknown key `lisen`")
                    .at(12..17)
                    .hint("did you mean `listen`?".to_owned()),
            ],
        );
        assert!(shown.contains("error: unknown key `lisen`"), "{shown}");
        assert!(shown.contains("m.toml:2:1"), "{shown}");
        assert!(shown.contains("2 | lisen = []"), "{shown}");
        assert!(shown.contains("| ^^^^^"), "{shown}");
        assert!(shown.contains("help: did you mean `listen`?"), "{shown}");
        assert!(shown.ends_with("m.toml: 1 error, nothing is served\n"), "{shown}");
    }

    #[test]
    fn complaints_come_in_the_order_of_their_lines_and_once() {
        let one = Diagnostic::new("first").at(0..1);
        let two = Diagnostic::new("second").at(4..5);
        let shown = shown("a=1\nb=2\n", vec![two.clone(), one, two]);
        let first = shown.find("first").expect("first");
        let second = shown.find("second").expect("second");
        assert!(first < second, "{shown}");
        assert_eq!(shown.matches("second").count(), 1, "{shown}");
        assert!(shown.contains("2 errors"), "{shown}");
    }

    #[test]
    fn spans_outside_the_text_or_inside_a_character_are_harmless() {
        for span in [0..0, 0..99, 50..60, 1..2, 2..2, 3..3] {
            let shown = shown("é=1", vec![Diagnostic::new("odd").at(span.clone())]);
            assert!(shown.contains("odd"), "{span:?}: {shown}");
        }
        shown("", vec![Diagnostic::new("empty").at(0..0)]);
    }

    #[test]
    fn a_complaint_about_the_whole_file_names_it() {
        let shown = shown("", vec![Diagnostic::new("nothing to serve")]);
        assert!(shown.contains("nothing to serve") && shown.contains("--> m.toml"), "{shown}");
    }

    #[test]
    fn warnings_and_other_files_are_told_apart() {
        let users = Source { name: "users.toml".into(), text: "[alice]\nmail = 5\n".into() };
        let users = Arc::new(users);
        let advice = Diagnostic::new("take care").at(0..1).gravity(Gravity::Advice);
        let other = Diagnostic::new("not a list").at(15..16).elsewhere(&users);
        let source = Source { name: "m.toml".into(), text: "a=1\n".into() };
        assert_eq!(other.place(&source), "users.toml:2");
        assert_eq!(advice.place(&source), "m.toml:1");
        assert_eq!(Diagnostic::new("whole").place(&source), "m.toml");
        let all = shown("a=1\n", vec![other, advice.clone()]);
        for part in ["warning: take care", "m.toml:1:1", "users.toml:2:8", "error: not a list"] {
            assert!(all.contains(part), "{part} is not in:\n{all}");
        }
        assert!(all.ends_with("m.toml: 1 error, 1 warning, nothing is served\n"), "{all}");
        let expired = Diagnostic::new("expired").gravity(Gravity::Served);
        let all = shown("a=1\n", vec![advice, expired]);
        assert!(all.ends_with("1 error, 1 warning, it is served all the same\n"), "{all}");
    }

    #[test]
    fn suggestions_are_near_or_absent() {
        let known = ["listen", "tls_listen", "root", "index", "listing"];
        assert_eq!(nearest("lisen", known), Some("listen"));
        assert_eq!(nearest("Listen", known), Some("listen"));
        assert_eq!(nearest("tls-listen", known), Some("tls_listen"));
        assert_eq!(nearest("indx", known), Some("index"));
        assert_eq!(nearest("certificate", known), None);
    }
}
