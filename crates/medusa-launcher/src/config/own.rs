//! Reading one of the launcher's own tables by its name, whether it is written or not.

use serde::de::DeserializeOwned;

use super::diagnostic::Diagnostic;
use super::document::{Entry, Table};
use super::read::read;

/// The table `name` of `root`. `None` where it is left out, and where something is wrong with it; then
/// `errors` has grown.
pub(crate) fn optional<T: DeserializeOwned>(
    root: &Table<'_, '_>,
    name: &str,
    errors: &mut Vec<Diagnostic>,
) -> Option<T> {
    let entry = root.entry(name)?;
    match root.below(&entry) {
        Some(table) => read(&table, &[], errors),
        None => {
            errors.push(not_a_table(&entry, &format!("[{name}]")));
            None
        }
    }
}

/// The same, with the defaults of its type where it is left out.
pub(crate) fn or_default<T: Default + DeserializeOwned>(
    root: &Table<'_, '_>,
    name: &str,
    errors: &mut Vec<Diagnostic>,
) -> Option<T> {
    match root.entry(name) {
        Some(_) => optional(root, name, errors),
        None => Some(T::default()),
    }
}

/// The complaint about an entry that should be a table and isn't; `header` is how it is written.
pub(crate) fn not_a_table(entry: &Entry<'_, '_>, header: &str) -> Diagnostic {
    Diagnostic::new(format!("`{}` is a table, not {}", entry.key, type_in_words(entry)))
        .at(entry.key_span.clone())
        .hint(format!("write `{header}` on a line of its own"))
}

fn type_in_words(entry: &Entry<'_, '_>) -> String {
    match entry.value.get_ref().type_str() {
        "array" => "a list".to_owned(),
        "integer" => "an integer".to_owned(),
        other => format!("a {other}"),
    }
}
