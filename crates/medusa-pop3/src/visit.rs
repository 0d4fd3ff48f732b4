//! The TRANSACTION state (RFC 1939 §5): one account's messages, numbered from 1, and which of them are
//! marked as deleted. Pure: nothing is removed here, and no message is read.

use std::collections::BTreeSet;
use std::sync::Arc;

use medusa_core::{Outbox, Produced, Producer, producer::generated};
use medusa_mail::{Maildrop, Message};

use crate::ahead::Ahead;

/// So many rows of a listing are made in one call.
const MAX_ROWS: usize = 512;

/// An open maildrop and what is to become of it.
pub(crate) struct Visit {
    pub(crate) maildrop: Arc<dyn Maildrop>,
    pub(crate) ahead: Arc<Ahead>,
    account: Box<str>,
    /// Shared with listings that are on their way: those show what held when they were asked for.
    deleted: Arc<BTreeSet<usize>>,
    octets: u64,
    form: Form,
}

/// How messages are shown to a session (RFC 6856 §2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Form {
    /// With headers in ASCII: a surrogate stands in for what hasn't.
    #[default]
    Ascii,
    /// As they came: the client has said UTF8.
    Utf8,
}

impl Form {
    /// The octets of a message on the wire.
    pub(crate) fn size(self, message: &Message) -> u64 {
        match self {
            Form::Ascii => message.surrogate_size.unwrap_or(message.wire_size),
            Form::Utf8 => message.wire_size,
        }
    }

    /// Whether a surrogate stands in for a message.
    pub(crate) fn replaces(self, message: &Message) -> bool {
        self == Form::Ascii && message.surrogate_size.is_some()
    }
}

/// What a listing says of each message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    Size,
    UniqueId,
}

impl Visit {
    pub(crate) fn new(account: &str, maildrop: Box<dyn Maildrop>, form: Form) -> Visit {
        let maildrop: Arc<dyn Maildrop> = maildrop.into();
        let octets = total(&*maildrop, form);
        Visit {
            maildrop,
            ahead: Arc::default(),
            account: account.into(),
            deleted: Arc::default(),
            octets,
            form,
        }
    }

    /// How messages are shown.
    pub(crate) fn form(&self) -> Form {
        self.form
    }

    /// Whose it is.
    pub(crate) fn account(&self) -> &str {
        &self.account
    }

    /// What names a message for good.
    pub(crate) fn unique_id(&self, index: usize) -> &str {
        self.maildrop.messages().get(index).map_or("-", |message| &message.unique_id)
    }

    /// Messages that aren't marked.
    pub(crate) fn count(&self) -> usize {
        self.maildrop.messages().len() - self.deleted.len()
    }

    /// Their octets.
    pub(crate) fn octets(&self) -> u64 {
        self.octets
    }

    /// The index of the message that a client names, if it is there and not marked.
    pub(crate) fn index(&self, number: &[u8]) -> Option<usize> {
        let index = usize::try_from(number_of(number)?).ok()?.checked_sub(1)?;
        let is_there = index < self.maildrop.messages().len() && !self.deleted.contains(&index);
        is_there.then_some(index)
    }

    /// Marks a message as deleted.
    pub(crate) fn delete(&mut self, index: usize) {
        if let Some(message) = self.maildrop.messages().get(index)
            && Arc::make_mut(&mut self.deleted).insert(index)
        {
            self.octets -= self.form.size(message);
        }
    }

    /// Unmarks all.
    pub(crate) fn reset(&mut self) {
        self.deleted = Arc::default();
        self.octets = total(&*self.maildrop, self.form);
    }

    /// The marked messages.
    pub(crate) fn deleted(&self) -> Vec<usize> {
        self.deleted.iter().copied().collect()
    }

    /// A message's row.
    pub(crate) fn row(&self, index: usize, column: Column) -> String {
        let mut row = Vec::new();
        if let Some(message) = self.maildrop.messages().get(index) {
            write_row(&mut row, index, message, (column, self.form));
        }
        String::from_utf8_lossy(&row).into_owned()
    }

    /// The rows of all that aren't marked, and the end of a listing.
    pub(crate) fn rows(&self, column: Column) -> impl Producer + 'static {
        let (maildrop, deleted) = (Arc::clone(&self.maildrop), Arc::clone(&self.deleted));
        let form = self.form;
        let mut next = 0;
        generated(move |out: &mut Outbox| {
            let messages = maildrop.messages();
            for _ in 0..MAX_ROWS {
                let Some(message) = messages.get(next) else {
                    out.push_slice(b".\r\n");
                    return Ok(Produced::Done);
                };
                if !deleted.contains(&next) {
                    out.compose(|row| {
                        write_row(row, next, message, (column, form));
                        row.extend_from_slice(b"\r\n");
                    });
                }
                next += 1;
                if out.room() == 0 {
                    break;
                }
            }
            Ok(Produced::More)
        })
    }
}

/// A number as RFC 1939 §3 has them: digits.
pub(crate) fn number_of(text: &[u8]) -> Option<u64> {
    let digits = text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}

fn total(maildrop: &dyn Maildrop, form: Form) -> u64 {
    maildrop.messages().iter().map(|message| form.size(message)).sum()
}

fn write_row(out: &mut Vec<u8>, index: usize, message: &Message, (column, form): (Column, Form)) {
    decimal(out, index as u64 + 1);
    out.push(b' ');
    match column {
        Column::Size => decimal(out, form.size(message)),
        Column::UniqueId => out.extend_from_slice(message.unique_id.as_bytes()),
    }
}

fn decimal(out: &mut Vec<u8>, mut number: u64) {
    let start = out.len();
    loop {
        out.push(b'0' + (number % 10) as u8);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out[start..].reverse();
}
