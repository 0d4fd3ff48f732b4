//! From a table of the document to a `Config` struct, gathering every error on the way.
//!
//! serde stops at the first error. Here a value that can't be read is noted, left out, and the table
//! is read again without it, until nothing new turns up: one run tells all. Unknown keys need no
//! `deny_unknown_fields`, because a derived struct names its fields when it asks to be read; a struct
//! with `flatten` doesn't, and is not for configurations. What the values mean is not judged here.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ops::Range;

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::diagnostic::Diagnostic;
use super::document::Table;
use super::fault::{Error, Fault};

/// Errors told of one table: each costs another reading, and nobody mends more at a time.
const MOST_ERRORS: usize = 50;

/// Reads `table` as a `T`, but for the keys in `without`, which belong to somebody else. `None` if
/// there was anything wrong, and then `errors` has grown.
pub(crate) fn read<T: DeserializeOwned>(
    table: &Table<'_, '_>,
    without: &[&str],
    errors: &mut Vec<Diagnostic>,
) -> Option<T> {
    let notes = Notes::default();
    for key in without {
        if let Some(entry) = table.entry(key) {
            notes.leave_out(entry.value);
        }
    }
    let read = loop {
        let before = notes.left_out.borrow().len();
        let target = Target::Table(table.entries);
        let node =
            Node { target, span: table.span.clone(), name: table.name.clone(), notes: &notes };
        match T::deserialize(node) {
            Ok(value) => break Some(value),
            // Something new was left out: there may be more behind it.
            Err(_) if notes.left_out.borrow().len() > before => {
                if notes.found.borrow().len() >= MOST_ERRORS {
                    break None;
                }
            }
            Err(error) => {
                notes.note(error, &table.span, &table.name);
                break None;
            }
        }
    };
    let found = notes.found.into_inner();
    let clean = found.is_empty();
    errors.extend(found);
    read.filter(|_| clean)
}

/// What was found wrong so far, and what is left out because of it.
#[derive(Default)]
struct Notes {
    found: RefCell<Vec<Diagnostic>>,
    /// Values by their address, which is theirs alone while the document lives.
    left_out: RefCell<HashSet<*const ()>>,
}

impl Notes {
    fn has_left_out<T>(&self, value: &T) -> bool {
        self.left_out.borrow().contains(&std::ptr::from_ref(value).cast())
    }

    fn leave_out<T>(&self, value: &T) {
        self.left_out.borrow_mut().insert(std::ptr::from_ref(value).cast());
    }

    /// Notes why `value` can't be read and leaves it out, unless that was something inside it.
    fn note_value<T>(&self, value: &T, error: Error, span: &Range<usize>, name: &str) -> Error {
        if !matches!(error.fault, Fault::Noted) {
            self.leave_out(value);
            self.note(error, span, name);
        }
        Error::new(Fault::Noted)
    }

    /// Adds a complaint at the error's own place, or else at `span`.
    fn note(&self, error: Error, span: &Range<usize>, name: &str) {
        self.found.borrow_mut().extend(error.into_diagnostic(span, name));
    }

    /// An unknown key of a struct that names its fields.
    fn note_unknown(
        &self,
        key: &Spanned<DeString<'_>>,
        known: &'static [&'static str],
        name: &str,
    ) {
        let found = key.get_ref().clone().into_owned();
        let error = Error { fault: Fault::UnknownField { found, known }, span: Some(key.span()) };
        self.note(error, &key.span(), name);
    }
}

/// A value, or the table that reading starts with.
#[derive(Clone, Copy)]
enum Target<'d> {
    Value(&'d DeValue<'d>),
    Table(&'d DeTable<'d>),
}

struct Node<'d, 'n> {
    target: Target<'d>,
    span: Range<usize>,
    /// The table that it stands in, or is.
    name: String,
    notes: &'n Notes,
}

impl<'d, 'n> Node<'d, 'n> {
    fn table(&self) -> Option<&'d DeTable<'d>> {
        match self.target {
            Target::Table(table) => Some(table),
            Target::Value(value) => value.as_table(),
        }
    }

    fn visit_table<'de, V: Visitor<'de>>(
        self,
        table: &'d DeTable<'d>,
        fields: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value, Error> {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in &entries {
            let known = fields.is_none_or(|fields| fields.contains(&key.get_ref().as_ref()));
            if !known && !self.notes.has_left_out(*value) {
                self.notes.leave_out(*value);
                self.notes.note_unknown(key, fields.unwrap_or_default(), &self.name);
            }
        }
        entries.retain(|(_, value)| !self.notes.has_left_out(*value));
        let access = Entries {
            entries: entries.into_iter(),
            value: None,
            name: &self.name,
            notes: self.notes,
        };
        visitor.visit_map(access).map_err(|error| match error.fault {
            // It is there, but was left out because it couldn't be read.
            Fault::Missing(field) if table.contains_key(field) => Error::new(Fault::Noted),
            Fault::Noted => error,
            _ => error.or_at(&self.span),
        })
    }

    fn visit<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let span = self.span.clone();
        let value = match self.target {
            Target::Table(table) => return self.visit_table(table, None, visitor),
            Target::Value(value) => value,
        };
        let result = match value {
            DeValue::String(text) => visitor.visit_str(text),
            DeValue::Boolean(value) => visitor.visit_bool(*value),
            DeValue::Integer(number) => {
                match i64::from_str_radix(number.as_str(), number.radix()) {
                    Ok(number) => visitor.visit_i64(number),
                    Err(_) => Err(de::Error::custom(format!("the number {number} is too large"))),
                }
            }
            DeValue::Float(number) => match number.as_str().parse() {
                Ok(number) => visitor.visit_f64(number),
                Err(_) => Err(de::Error::custom(format!("`{number}` is not a number"))),
            },
            DeValue::Datetime(date) => {
                let date = format!("the date {date}");
                Err(de::Error::invalid_type(Unexpected::Other(&date), &visitor))
            }
            DeValue::Array(list) => {
                let items: Vec<_> =
                    list.iter().filter(|item| !self.notes.has_left_out(*item)).collect();
                visitor.visit_seq(Items {
                    items: items.into_iter(),
                    name: &self.name,
                    notes: self.notes,
                })
            }
            DeValue::Table(table) => return self.visit_table(table, None, visitor),
        };
        result.map_err(|error| error.or_at(&span))
    }
}

impl<'de> de::Deserializer<'de> for Node<'_, '_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.visit(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.table() {
            Some(table) => self.visit_table(table, Some(fields), visitor),
            None => self.visit(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let span = self.span.clone();
        let result = match self.target {
            Target::Value(DeValue::String(text)) => {
                visitor.visit_enum(text.as_ref().into_deserializer())
            }
            _ => match self.table().map(|table| (table.len(), table.iter().next())) {
                Some((1, Some((key, value)))) => {
                    let inner = Node {
                        target: Target::Value(value.get_ref()),
                        span: value.span(),
                        name: self.name,
                        notes: self.notes,
                    };
                    visitor.visit_enum(Variant { key: key.get_ref(), key_span: key.span(), inner })
                }
                Some(_) => Err(de::Error::custom("a table with one key belongs here")),
                None => return self.visit(visitor),
            },
        };
        result.map_err(|error| error.or_at(&span))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

/// The entries of a table that are not left out.
struct Entries<'d, 'n> {
    entries: std::vec::IntoIter<(&'d Spanned<DeString<'d>>, &'d Spanned<DeValue<'d>>)>,
    value: Option<(&'d str, &'d Spanned<DeValue<'d>>, Range<usize>)>,
    name: &'n str,
    notes: &'n Notes,
}

impl<'de> MapAccess<'de> for Entries<'_, '_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        self.value = Some((key.get_ref(), value, key.span()));
        let name: &str = key.get_ref();
        // A map's key may be of a type of its own; one that can't be read is left out like a value.
        let read = seed.deserialize(name.into_deserializer());
        read.map(Some).map_err(|error| self.notes.note_value(value, error, &key.span(), self.name))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Some((key, value, key_span)) = self.value.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        let span = if value.span().is_empty() { key_span } else { value.span() };
        let name = match (value.get_ref().is_table() || holds_tables(value.get_ref()), self.name) {
            (false, name) => name.to_owned(),
            (true, "") => key.to_owned(),
            (true, parent) => format!("{parent}.{key}"),
        };
        let target = Target::Value(value.get_ref());
        let node = Node { target, span: span.clone(), name: name.clone(), notes: self.notes };
        seed.deserialize(node).map_err(|error| self.notes.note_value(value, error, &span, &name))
    }
}

fn holds_tables(value: &DeValue<'_>) -> bool {
    value.as_array().is_some_and(|list| list.iter().any(|item| item.get_ref().is_table()))
}

/// The items of a list that are not left out.
struct Items<'d, 'n> {
    items: std::vec::IntoIter<&'d Spanned<DeValue<'d>>>,
    name: &'n str,
    notes: &'n Notes,
}

impl<'de> SeqAccess<'de> for Items<'_, '_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let Some(item) = self.items.next() else { return Ok(None) };
        let node = Node {
            target: Target::Value(item.get_ref()),
            span: item.span(),
            name: self.name.to_owned(),
            notes: self.notes,
        };
        let read = seed.deserialize(node);
        read.map(Some).map_err(|error| self.notes.note_value(item, error, &item.span(), self.name))
    }
}

/// An enum's variant that is written as a table with one key.
struct Variant<'d, 'n> {
    key: &'d str,
    key_span: Range<usize>,
    inner: Node<'d, 'n>,
}

impl<'de, 'd, 'n> EnumAccess<'de> for Variant<'d, 'n> {
    type Error = Error;
    type Variant = Node<'d, 'n>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self::Variant), Error> {
        let variant = seed.deserialize(self.key.into_deserializer());
        let variant = variant.map_err(|error: Error| error.or_at(&self.key_span))?;
        Ok((variant, self.inner))
    }
}

impl<'de> VariantAccess<'de> for Node<'_, '_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Err(Error::new(Fault::Message("this choice takes no value; write its name alone".into()))
            .or_at(&self.span))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Error> {
        self.visit(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        de::Deserializer::deserialize_struct(self, "", fields, visitor)
    }
}

#[cfg(test)]
mod tests;
