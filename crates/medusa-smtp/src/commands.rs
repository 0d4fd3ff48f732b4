//! The whole of SMTP's grammar of commands: every verb, the states in which it is allowed, and where each
//! leads. Nothing is done here.
//!
//! | state | after | that are allowed beside HELO, EHLO, RSET, NOOP, HELP, VRFY, QUIT |
//! |---|---|---|
//! | `Fresh` | the greeting, STARTTLS | STARTTLS |
//! | `Greeted` | HELO, EHLO, RSET, a message's end | MAIL, STARTTLS, AUTH |
//! | `Sender` | MAIL | RCPT |
//! | `Recipients` | RCPT | RCPT, DATA, BDAT |
//! | `Chunks` | BDAT | BDAT |
//! | `Refused` | a greeting of 554 (RFC 5321 §3.1) | nothing, and of those QUIT alone |

use medusa_text::{Arguments, Row, States, Table};

/// What a client may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Helo,
    Ehlo,
    Mail,
    Rcpt,
    Data,
    Bdat,
    Rset,
    Noop,
    Vrfy,
    Help,
    Quit,
    StartTls,
    Auth,
}

/// Where a conversation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Fresh,
    Greeted,
    Sender,
    Recipients,
    Chunks,
    Refused,
}

/// What changes a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// The command was answered by 2xx or 3xx.
    Done(Command),
    /// A message has come to its end, whatever was said to it.
    MessageEnded,
}

impl State {
    /// As the table has it.
    pub(crate) const fn bit(self) -> States {
        States::only(self as u8)
    }

    /// Where `event` leads.
    pub(crate) const fn after(self, event: Event) -> State {
        match (self, event) {
            (_, Event::Done(Command::StartTls)) => State::Fresh,
            (_, Event::Done(Command::Helo | Command::Ehlo)) => State::Greeted,
            (State::Fresh | State::Refused, _) => self,
            (_, Event::MessageEnded | Event::Done(Command::Rset)) => State::Greeted,
            (State::Greeted, Event::Done(Command::Mail)) => State::Sender,
            (State::Sender, Event::Done(Command::Rcpt)) => State::Recipients,
            (State::Recipients, Event::Done(Command::Bdat)) => State::Chunks,
            _ => self,
        }
    }
}

const FRESH: States = State::Fresh.bit();
const GREETED: States = State::Greeted.bit();
const SENDER: States = State::Sender.bit();
const RECIPIENTS: States = State::Recipients.bit();
const CHUNKS: States = State::Chunks.bit();
const ANY: States = FRESH.or(GREETED).or(SENDER).or(RECIPIENTS).or(CHUNKS);
const ALWAYS: States = States::ANY;

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

use Arguments::{Forbidden, Optional, Required};

/// Every command. Those that end a pipelined group are those of RFC 2920 §3.1, RFC 3207 §4 and RFC 4954
/// §4.
pub(crate) const COMMANDS: Table<Command> = Table::new(&[
    row("RCPT", Command::Rcpt, Required, SENDER.or(RECIPIENTS), true, "RCPT TO:<path>"),
    row("MAIL", Command::Mail, Required, GREETED, true, "MAIL FROM:<path> [parameters]"),
    row("DATA", Command::Data, Forbidden, RECIPIENTS, false, "DATA"),
    row("BDAT", Command::Bdat, Required, RECIPIENTS.or(CHUNKS), true, "BDAT octets [LAST]"),
    row("EHLO", Command::Ehlo, Required, ANY, false, "EHLO name"),
    row("HELO", Command::Helo, Required, ANY, true, "HELO name"),
    row("RSET", Command::Rset, Forbidden, ANY, true, "RSET"),
    row("QUIT", Command::Quit, Optional, ALWAYS, false, "QUIT"),
    row("NOOP", Command::Noop, Optional, ANY, false, "NOOP [text]"),
    row("AUTH", Command::Auth, Required, GREETED, false, "AUTH mechanism [initial]"),
    row("STARTTLS", Command::StartTls, Forbidden, FRESH.or(GREETED), false, "STARTTLS"),
    row("VRFY", Command::Vrfy, Required, ANY, false, "VRFY text"),
    row("HELP", Command::Help, Optional, ANY, true, "HELP"),
]);

/// Commands that are known and not implemented (RFC 5321 §4.2.4): 502 and not 500.
pub(crate) const UNIMPLEMENTED: &[&str] = &["EXPN", "ETRN", "TURN", "ATRN", "SEND", "SOML", "SAML"];

/// What is no command of SMTP but the first word of another protocol. Who says it was sent here by a
/// web page or a scanner (CVE-2001-1327; Postfix's `smtpd_forbidden_commands`).
pub(crate) const FOREIGN: &[&str] = &["GET", "POST", "PUT", "HEAD", "CONNECT", "OPTIONS", "HOST:"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transitions() {
        use Command::*;
        let run =
            |events: &[Event]| events.iter().fold(State::Fresh, |state, event| state.after(*event));
        let done = |commands: &[Command]| {
            run(&commands.iter().map(|command| Event::Done(*command)).collect::<Vec<_>>())
        };
        assert_eq!(done(&[]), State::Fresh);
        assert_eq!(done(&[Rset]), State::Fresh);
        assert_eq!(done(&[Ehlo, Mail]), State::Sender);
        assert_eq!(done(&[Ehlo, Mail, Rcpt, Rcpt, Noop]), State::Recipients);
        assert_eq!(done(&[Ehlo, Mail, Rcpt, Bdat]), State::Chunks);
        assert_eq!(done(&[Ehlo, Mail, Rcpt, Bdat, Rset]), State::Greeted);
        assert_eq!(done(&[Ehlo, Mail, Rcpt, Ehlo]), State::Greeted);
        assert_eq!(done(&[Ehlo, StartTls]), State::Fresh);
        assert_eq!(State::Recipients.after(Event::MessageEnded), State::Greeted);
        assert_eq!(State::Refused.after(Event::Done(Quit)), State::Refused);
    }

    #[test]
    fn every_verb_once() {
        let mut verbs: Vec<&str> = COMMANDS.rows().iter().map(|row| row.verb).collect();
        verbs.extend(UNIMPLEMENTED);
        verbs.extend(FOREIGN);
        let count = verbs.len();
        verbs.sort_unstable();
        verbs.dedup();
        assert_eq!(verbs.len(), count);
    }
}
