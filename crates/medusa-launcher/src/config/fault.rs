//! serde's errors in an operator's words.
//!
//! serde tells a type mismatch in Rust's terms (`invalid type: integer, expected a sequence`) and
//! keeps no place. Here each error keeps its parts, finds its place on the way up, and is said in the
//! words of the file: list, table, true or false. Which errors there are is decided in `read`.

use std::fmt;
use std::ops::Range;

use serde::de::{self, Unexpected};

use super::diagnostic::{Diagnostic, nearest, quoted_list};

/// An error on its way up to the key or list item that it belongs to.
#[derive(Debug)]
pub(super) struct Error {
    pub(super) fault: Fault,
    pub(super) span: Option<Range<usize>>,
}

#[derive(Debug)]
pub(super) enum Fault {
    /// Already among the complaints.
    Noted,
    Message(String),
    Type {
        found: String,
        expected: String,
    },
    Range {
        found: String,
        expected: String,
    },
    Choice {
        found: String,
        known: &'static [&'static str],
    },
    Missing(&'static str),
    Twice(&'static str),
    UnknownField {
        found: String,
        known: &'static [&'static str],
    },
}

impl Error {
    pub(super) fn new(fault: Fault) -> Self {
        Self { fault, span: None }
    }

    /// Gives the error a place unless it has one.
    pub(super) fn or_at(mut self, span: &Range<usize>) -> Self {
        self.span.get_or_insert_with(|| span.clone());
        self
    }

    /// The complaint about `[name]` that this is, at its own place or else at `span`.
    pub(super) fn into_diagnostic(self, span: &Range<usize>, name: &str) -> Option<Diagnostic> {
        let Self { fault, span: own } = self;
        let span = own.unwrap_or_else(|| span.clone());
        let inside = if name.is_empty() { String::new() } else { format!(" in `[{name}]`") };
        Some(match fault {
            Fault::Noted => return None,
            Fault::Message(message) => Diagnostic::new(message).at(span),
            Fault::Type { found, expected } => {
                Diagnostic::new(format!("{expected} belongs here, not {found}"))
                    .at(span)
                    .hint(hint_for_type(&found, &expected))
            }
            Fault::Range { found, expected } => {
                Diagnostic::new(format!("{found} is out of range: {expected} belongs here"))
                    .at(span)
            }
            Fault::Choice { found, known } => {
                Diagnostic::new(format!("`{found}` is not one of the choices"))
                    .at(span)
                    .hint(suggestion(&found, known, "the choices are"))
            }
            Fault::Missing(field) => Diagnostic::new(format!("`{field}` is missing{inside}"))
                .at(span)
                .label(format!("needs a `{field}`")),
            Fault::Twice(field) => {
                Diagnostic::new(format!("`{field}` is given twice{inside}")).at(span)
            }
            Fault::UnknownField { found, known } => Diagnostic::new(format!(
                "unknown key `{found}`{inside}"
            ))
            .at(span)
            .hint(suggestion(&found, known, "the keys here are")),
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.fault)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Fault::Message(message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(Fault::Type { found: in_words(found), expected: plain(expected) })
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(Fault::Range { found: in_words(found), expected: plain(expected) })
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(Fault::Choice { found: variant.to_owned(), known: expected })
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::new(Fault::UnknownField { found: field.to_owned(), known: expected })
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Fault::Missing(field))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new(Fault::Twice(field))
    }
}

/// What stands in the file, in an operator's words.
fn in_words(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => format!("the boolean {value}"),
        Unexpected::Unsigned(value) => format!("the number {value}"),
        Unexpected::Signed(value) => format!("the number {value}"),
        Unexpected::Float(value) => format!("the number {value}"),
        Unexpected::Str(text) => format!("the string {text:?}"),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map | Unexpected::StructVariant => "a table".to_owned(),
        other => other.to_string(),
    }
}

/// What serde's derive expects, in an operator's words.
fn plain(expected: &dyn de::Expected) -> String {
    let text = expected.to_string();
    const WORDS: &[(&str, &str)] = &[
        ("a sequence", "a list"),
        ("a map", "a table"),
        ("a boolean", "true or false"),
        ("i8", "a whole number from -128 to 127"),
        ("i16", "a whole number from -32768 to 32767"),
        ("i32", "a whole number"),
        ("i64", "a whole number"),
        ("u8", "a whole number from 0 to 255"),
        ("u16", "a whole number from 0 to 65535"),
        ("u32", "a whole number from 0 to 4294967295"),
        ("u64", "a whole number from 0"),
        ("usize", "a whole number from 0"),
        ("path string", "a path in quotes"),
        ("socket address", "an address such as \"127.0.0.1:8080\""),
        ("IP address", "an IP address in quotes"),
    ];
    if let Some((_, words)) = WORDS.iter().find(|(rust, _)| *rust == text) {
        return (*words).to_owned();
    }
    match text.strip_prefix("a nonzero ") {
        Some(_) => "a whole number from 1".to_owned(),
        None if text.starts_with("struct ") => "a table".to_owned(),
        None if text.starts_with("enum ") => "a string".to_owned(),
        None => text,
    }
}

fn suggestion(found: &str, known: &[&str], lead: &str) -> Option<String> {
    match nearest(found, known.iter().copied()) {
        Some(near) => Some(format!("did you mean `{near}`?")),
        None if known.is_empty() => None,
        None => Some(format!("{lead} {}", quoted_list(known.iter().copied()))),
    }
}

fn hint_for_type(found: &str, expected: &str) -> Option<String> {
    let (kind, text) = found
        .split_once(' ')
        .map_or((found, ""), |(_, rest)| rest.split_once(' ').unwrap_or((rest, "")));
    match kind {
        "string" if expected.starts_with("a list") => Some(format!("put it in brackets: [{text}]")),
        "number" if expected.starts_with("a string") => {
            Some(format!("put it in quotes: \"{text}\""))
        }
        "string" if expected == "true or false" && matches!(text, "\"true\"" | "\"false\"") => {
            Some(format!("leave out the quotes: {}", text.trim_matches('"')))
        }
        _ => None,
    }
}
