//! The commands of POP3 (RFC 1939 §3 to §7, RFC 2449 §5, RFC 2595 §4, RFC 5034 §4, RFC 6856 §2.1 and §3):
//! every verb, its argument, the states in which it may come, and whether others may follow it at once. What
//! they do is the session's to know.

use medusa_text::{Arguments, Row, States, Table};

/// AUTHORIZATION, nobody named.
pub(crate) const GREETED: States = States::only(0);
/// AUTHORIZATION, after USER.
pub(crate) const NAMED: States = States::only(1);
/// TRANSACTION.
pub(crate) const TRANSACTION: States = States::only(2);

const AUTHORIZATION: States = GREETED.or(NAMED);

/// What a client may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Retr,
    Dele,
    List,
    Uidl,
    Top,
    Stat,
    Noop,
    Rset,
    Quit,
    Capa,
    User,
    Pass,
    Auth,
    Stls,
    Lang,
    Utf8,
}

/// The whole of POP3. APOP isn't here: it needs passwords that are stored in clear.
#[rustfmt::skip]
pub(crate) const TABLE: Table<Command> = Table::new(&[
    row("RETR", Command::Retr, Arguments::Required,  TRANSACTION,   true,  "RETR message"),
    row("DELE", Command::Dele, Arguments::Required,  TRANSACTION,   true,  "DELE message"),
    row("LIST", Command::List, Arguments::Optional,  TRANSACTION,   true,  "LIST [message]"),
    row("UIDL", Command::Uidl, Arguments::Optional,  TRANSACTION,   true,  "UIDL [message]"),
    row("TOP",  Command::Top,  Arguments::Required,  TRANSACTION,   true,  "TOP message lines"),
    row("STAT", Command::Stat, Arguments::Forbidden, TRANSACTION,   true,  "STAT"),
    row("NOOP", Command::Noop, Arguments::Forbidden, TRANSACTION,   true,  "NOOP"),
    row("RSET", Command::Rset, Arguments::Forbidden, TRANSACTION,   true,  "RSET"),
    row("QUIT", Command::Quit, Arguments::Forbidden, States::ANY,   false, "QUIT"),
    row("CAPA", Command::Capa, Arguments::Forbidden, States::ANY,   true,  "CAPA"),
    row("USER", Command::User, Arguments::Required,  AUTHORIZATION, true,  "USER name"),
    row("PASS", Command::Pass, Arguments::Optional,  NAMED,         true,  "PASS password"),
    row("AUTH", Command::Auth, Arguments::Optional,  AUTHORIZATION, false, "AUTH [mechanism [response]]"),
    row("STLS", Command::Stls, Arguments::Forbidden, AUTHORIZATION, false, "STLS"),
    row("LANG", Command::Lang, Arguments::Optional,  States::ANY,   true,  "LANG [language]"),
    row("UTF8", Command::Utf8, Arguments::Forbidden, AUTHORIZATION, true,  "UTF8"),
]);

const fn row(
    verb: &'static str,
    command: Command,
    arguments: Arguments,
    states: States,
    pipelined: bool,
    syntax: &'static str,
) -> Row<Command> {
    Row { verb, command, arguments, states, pipelined, syntax }
}
