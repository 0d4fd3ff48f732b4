//! The table of a protocol's commands: verb, argument, the states in which it is allowed, and whether
//! others may follow it without waiting.
//!
//! The whole of a protocol's grammar of commands stands in one such table, in the manner of qmail's
//! `commands.c`, so that it can be read, and tested row by row and state by state.

use crate::Line;

/// A set of a protocol's states, each of which has a number below 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct States(u32);

impl States {
    /// Every state.
    pub const ANY: States = States(u32::MAX);

    /// The state number `index` alone, below 32.
    pub const fn only(index: u8) -> States {
        States(1 << index)
    }

    /// These states and those.
    #[must_use]
    pub const fn or(self, other: States) -> States {
        States(self.0 | other.0)
    }

    /// These states without those.
    #[must_use]
    pub const fn but(self, other: States) -> States {
        States(self.0 & !other.0)
    }

    /// Whether all of `other` are among these.
    pub const fn contain(self, other: States) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Whether a verb takes something behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arguments {
    /// Nothing may follow but white space.
    Forbidden,
    /// Something may follow.
    Optional,
    /// Something must follow.
    Required,
}

/// One command of a protocol.
#[derive(Debug, Clone, Copy)]
pub struct Row<C: 'static> {
    /// The verb, in capitals. It is recognised in any case.
    pub verb: &'static str,
    /// What the protocol calls it.
    pub command: C,
    /// Whether something follows the verb.
    pub arguments: Arguments,
    /// The states in which it is allowed.
    pub states: States,
    /// Whether a client may send more behind it without waiting for its reply (RFC 2920 §3.1 names
    /// those that must be the last of a group).
    pub pipelined: bool,
    /// How it is written, for HELP.
    pub syntax: &'static str,
}

/// All commands of a protocol. Rows that are used most stand first.
#[derive(Debug, Clone, Copy)]
pub struct Table<C: 'static>(&'static [Row<C>]);

/// What is wrong with a command line, so far as the table can tell. The order is that of the checks.
#[derive(Debug, Clone, Copy)]
pub enum Mismatch<C: 'static> {
    /// No row has this verb.
    Unknown,
    /// It isn't allowed now.
    State(&'static Row<C>),
    /// Something follows a verb that stands alone.
    Unexpected(&'static Row<C>),
    /// Nothing follows a verb that can't stand alone.
    Missing(&'static Row<C>),
}

impl<C: 'static> Table<C> {
    /// A table of these rows.
    pub const fn new(rows: &'static [Row<C>]) -> Table<C> {
        Table(rows)
    }

    /// Its rows, in order.
    pub fn rows(&self) -> &'static [Row<C>] {
        self.0
    }

    /// The row of a verb, in any case.
    pub fn row(&self, verb: &[u8]) -> Option<&'static Row<C>> {
        self.0.iter().find(|row| row.verb.as_bytes().eq_ignore_ascii_case(verb))
    }

    /// The row of a command line that may come in `state`.
    ///
    /// # Errors
    ///
    /// The first [`Mismatch`].
    pub fn find(&self, line: &Line<'_>, state: States) -> Result<&'static Row<C>, Mismatch<C>> {
        let row = self.row(line.verb).ok_or(Mismatch::Unknown)?;
        let is_bare = line.trimmed().is_empty();
        match row.arguments {
            _ if !row.states.contain(state) => Err(Mismatch::State(row)),
            Arguments::Forbidden if !is_bare => Err(Mismatch::Unexpected(row)),
            Arguments::Required if is_bare => Err(Mismatch::Missing(row)),
            _ => Ok(row),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUT: States = States::only(0);
    const IN: States = States::only(1);

    const TABLE: Table<u8> = Table::new(&[
        Row {
            verb: "NOOP",
            command: 0,
            arguments: Arguments::Optional,
            states: States::ANY,
            pipelined: true,
            syntax: "NOOP [text]",
        },
        Row {
            verb: "ENTER",
            command: 1,
            arguments: Arguments::Required,
            states: OUT,
            pipelined: false,
            syntax: "ENTER name",
        },
        Row {
            verb: "LEAVE",
            command: 2,
            arguments: Arguments::Forbidden,
            states: States::ANY.but(OUT),
            pipelined: true,
            syntax: "LEAVE",
        },
    ]);

    fn check(line: &str, state: States, expected: &str) {
        let found = match TABLE.find(&Line::new(line.as_bytes()), state) {
            Ok(row) => row.verb.to_owned(),
            Err(Mismatch::Unknown) => "unknown".to_owned(),
            Err(Mismatch::State(row)) => format!("state {}", row.verb),
            Err(Mismatch::Unexpected(row)) => format!("unexpected {}", row.verb),
            Err(Mismatch::Missing(row)) => format!("missing {}", row.verb),
        };
        assert_eq!(found, expected, "{line:?}");
    }

    #[test]
    fn rows_are_found_or_it_is_said_why_not() {
        for state in [OUT, IN] {
            check("noop", state, "NOOP");
            check("NoOp now", state, "NOOP");
            check("NOOPS", state, "unknown");
            check("", state, "unknown");
            check(" NOOP", state, "unknown");
        }
        check("enter me", OUT, "ENTER");
        check("enter", OUT, "missing ENTER");
        check("enter \t ", OUT, "missing ENTER");
        check("enter", IN, "state ENTER");
        check("leave", IN, "LEAVE");
        check("leave  ", IN, "LEAVE");
        check("leave now", IN, "unexpected LEAVE");
        check("leave now", OUT, "state LEAVE");
    }
}
