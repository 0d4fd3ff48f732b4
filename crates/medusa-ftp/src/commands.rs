//! Every command in one table: verb, argument, the states in which it is allowed, and whether others may
//! follow it without waiting for its reply.
//!
//! Nothing is done here. What a command does stands in `session/`.

use medusa_text::{Arguments, Row, States, Table};

use Arguments::{Forbidden, Optional, Required};

/// Nobody has logged in.
pub(crate) const OUT: States = States::only(0);
/// A name was given, and a password is awaited.
pub(crate) const NAMED: States = States::only(1);
/// Somebody is logged in.
pub(crate) const IN: States = States::only(2);
/// Somebody is logged in and has said what is to be renamed.
pub(crate) const RENAMING: States = States::only(3);

/// Logged in, whatever came before.
const INSIDE: States = IN.or(RENAMING);
/// Not logged in.
const OUTSIDE: States = OUT.or(NAMED);

/// What the server can be asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Abor,
    Acct,
    Allo,
    Appe,
    Auth,
    Ccc,
    Cdup,
    Clnt,
    Cwd,
    Dele,
    Eprt,
    Epsv,
    Feat,
    Hash,
    Help,
    Host,
    List,
    Mdtm,
    Mfmt,
    Mkd,
    Mlsd,
    Mlst,
    Mode,
    Nlst,
    Noop,
    Opts,
    Pass,
    Pasv,
    Pbsz,
    Port,
    Prot,
    Pwd,
    Quit,
    Rein,
    Rest,
    Retr,
    Rmd,
    Rnfr,
    Rnto,
    Site,
    Size,
    Smnt,
    Stat,
    Stor,
    Stou,
    Stru,
    Syst,
    Type,
    User,
    Xsha256,
}

/// The table. A verb that begins with X is the older spelling of RFC 1123 §4.1.3.1.
pub(crate) const COMMANDS: Table<Command> = Table::new(&[
    row("TYPE", Command::Type, Required, INSIDE, "TYPE A|I|L 8"),
    row("PASV", Command::Pasv, Forbidden, INSIDE, "PASV"),
    row("EPSV", Command::Epsv, Optional, INSIDE, "EPSV [1|2|ALL]"),
    row("RETR", Command::Retr, Required, INSIDE, "RETR path"),
    row("SIZE", Command::Size, Required, INSIDE, "SIZE path"),
    row("STOR", Command::Stor, Required, INSIDE, "STOR path"),
    row("CWD", Command::Cwd, Required, INSIDE, "CWD path"),
    row("PWD", Command::Pwd, Forbidden, INSIDE, "PWD"),
    row("MLSD", Command::Mlsd, Optional, INSIDE, "MLSD [path]"),
    row("LIST", Command::List, Optional, INSIDE, "LIST [path]"),
    row("NLST", Command::Nlst, Optional, INSIDE, "NLST [path]"),
    row("MDTM", Command::Mdtm, Required, INSIDE, "MDTM path"),
    row("USER", Command::User, Required, OUTSIDE, "USER name"),
    row("PASS", Command::Pass, Optional, NAMED, "PASS password"),
    row("QUIT", Command::Quit, Forbidden, States::ANY, "QUIT"),
    row("NOOP", Command::Noop, Optional, States::ANY, "NOOP"),
    row("FEAT", Command::Feat, Forbidden, States::ANY, "FEAT"),
    row("SYST", Command::Syst, Forbidden, States::ANY, "SYST"),
    row("OPTS", Command::Opts, Required, States::ANY, "OPTS UTF8|MLST|MODE|HASH [value]"),
    row("PORT", Command::Port, Required, INSIDE, "PORT h1,h2,h3,h4,p1,p2"),
    row("EPRT", Command::Eprt, Required, INSIDE, "EPRT |family|address|port|"),
    row("REST", Command::Rest, Required, INSIDE, "REST offset"),
    row("MODE", Command::Mode, Required, INSIDE, "MODE S|Z"),
    row("STRU", Command::Stru, Required, INSIDE, "STRU F"),
    row("ABOR", Command::Abor, Forbidden, States::ANY, "ABOR"),
    row("STAT", Command::Stat, Optional, States::ANY, "STAT [path]"),
    row("HELP", Command::Help, Optional, States::ANY, "HELP [command]"),
    row("APPE", Command::Appe, Required, INSIDE, "APPE path"),
    row("STOU", Command::Stou, Optional, INSIDE, "STOU [path]"),
    row("ALLO", Command::Allo, Required, INSIDE, "ALLO octets"),
    row("MLST", Command::Mlst, Optional, INSIDE, "MLST [path]"),
    row("CDUP", Command::Cdup, Forbidden, INSIDE, "CDUP"),
    row("MKD", Command::Mkd, Required, INSIDE, "MKD path"),
    row("RMD", Command::Rmd, Required, INSIDE, "RMD path"),
    row("DELE", Command::Dele, Required, INSIDE, "DELE path"),
    row("RNFR", Command::Rnfr, Required, INSIDE, "RNFR path"),
    row("RNTO", Command::Rnto, Required, RENAMING, "RNTO path"),
    row("MFMT", Command::Mfmt, Required, INSIDE, "MFMT YYYYMMDDHHMMSS path"),
    row("HASH", Command::Hash, Required, INSIDE, "HASH path"),
    row("XSHA256", Command::Xsha256, Required, INSIDE, "XSHA256 path"),
    row("SITE", Command::Site, Required, INSIDE, "SITE CHMOD mode path|HELP"),
    row("HOST", Command::Host, Required, OUT, "HOST name"),
    row("CLNT", Command::Clnt, Required, States::ANY, "CLNT name"),
    row("ACCT", Command::Acct, Required, States::ANY, "ACCT name"),
    row("REIN", Command::Rein, Forbidden, States::ANY, "REIN"),
    last("AUTH", Command::Auth, Required, OUTSIDE, "AUTH TLS"),
    row("PBSZ", Command::Pbsz, Required, States::ANY, "PBSZ 0"),
    row("PROT", Command::Prot, Required, States::ANY, "PROT C|P"),
    row("CCC", Command::Ccc, Forbidden, States::ANY, "CCC"),
    row("SMNT", Command::Smnt, Required, States::ANY, "SMNT path"),
    row("XPWD", Command::Pwd, Forbidden, INSIDE, "XPWD"),
    row("XCWD", Command::Cwd, Required, INSIDE, "XCWD path"),
    row("XCUP", Command::Cdup, Forbidden, INSIDE, "XCUP"),
    row("XMKD", Command::Mkd, Required, INSIDE, "XMKD path"),
    row("XRMD", Command::Rmd, Required, INSIDE, "XRMD path"),
]);

const fn row(
    verb: &'static str,
    command: Command,
    arguments: Arguments,
    states: States,
    syntax: &'static str,
) -> Row<Command> {
    Row { verb, command, arguments, states, pipelined: true, syntax }
}

/// A command behind which nothing may be sent before its reply has come: it would be thrown away.
const fn last(
    verb: &'static str,
    command: Command,
    arguments: Arguments,
    states: States,
    syntax: &'static str,
) -> Row<Command> {
    Row { verb, command, arguments, states, pipelined: false, syntax }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn verbs_are_capitals_and_stand_once() {
        let mut seen = HashSet::new();
        for row in COMMANDS.rows() {
            assert!(seen.insert(row.verb), "{} stands twice", row.verb);
            assert!(
                row.verb.bytes().all(|octet| octet.is_ascii_uppercase() || octet.is_ascii_digit())
            );
            assert!(row.syntax.starts_with(row.verb), "{}", row.syntax);
        }
    }
}
