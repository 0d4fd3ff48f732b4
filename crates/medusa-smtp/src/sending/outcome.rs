//! What becomes of recipients, and what is wrong with servers. Pure.

use std::sync::Arc;

use super::reply::{Reply, Status};

/// What became of a recipient in one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The next server has taken it, and tells the sender what he wants to know if `dsn` (RFC 3461 §4).
    Delivered { dsn: bool },
    /// It may be taken later.
    Deferred,
    /// It won't be.
    Failed,
}

/// A recipient's fate, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub fate: Fate,
    pub status: Status,
    /// What the server said, or what went wrong.
    pub text: String,
    /// Whether that was said by the server: `smtp;` in a report (RFC 3464 §2.3.6).
    pub said: bool,
    /// The server.
    pub host: Option<Arc<str>>,
    /// It was the last word after too long a time.
    pub gave_up: bool,
}

impl Outcome {
    /// What a server said of a recipient.
    pub(crate) fn of(reply: &Reply, host: &Arc<str>, dsn: bool) -> Outcome {
        let fate = match reply.code / 100 {
            2 => Fate::Delivered { dsn },
            5 => Fate::Failed,
            _ => Fate::Deferred,
        };
        let status = match reply.status() {
            // A code that belongs elsewhere says only that it didn't go well.
            Status(2 | 4 | 5, ..) => reply.status(),
            Status(_, subject, detail) => Status(4, subject, detail),
        };
        Outcome {
            fate,
            status,
            text: reply.shown(),
            said: true,
            host: Some(Arc::clone(host)),
            gave_up: false,
        }
    }

    /// What we say ourselves.
    pub(crate) fn ours(fate: Fate, status: Status, text: impl Into<String>) -> Outcome {
        Outcome { fate, status, text: text.into(), said: false, host: None, gave_up: false }
    }

    pub(crate) fn deferred(status: Status, text: impl Into<String>) -> Outcome {
        Outcome::ours(Fate::Deferred, status, text)
    }

    pub(crate) fn failed(status: Status, text: impl Into<String>) -> Outcome {
        Outcome::ours(Fate::Failed, status, text)
    }

    /// The same of a recipient who has been waited for too long (RFC 3463 §3.5, X.4.7).
    #[must_use]
    pub(crate) fn expired(mut self) -> Outcome {
        self.fate = Fate::Failed;
        self.gave_up = true;
        self.status = Status(5, 4, 7);
        self
    }
}

/// Why a connection is of no use any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub kind: Kind,
    pub outcome: Outcome,
}

/// What is to be done about a [`Problem`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing was tried: another connection does it.
    Untried,
    /// This server can't be reached, or wants nothing of us now: another one may.
    Host,
    /// This server takes no mail at all (RFC 7504): another one may.
    NoMail,
    /// TLS could not be agreed upon: it goes without where that is allowed.
    Insecure,
    /// This server is we ourselves: those after it are no better (RFC 5321 §5.1).
    Loop,
    /// The message was sent and not answered: it may have been taken.
    Unanswered,
}

impl Problem {
    pub(crate) fn new(kind: Kind, status: Status, text: impl Into<String>) -> Problem {
        Problem { kind, outcome: Outcome::deferred(status, text) }
    }

    pub(crate) fn said(kind: Kind, reply: &Reply, host: &Arc<str>) -> Problem {
        let mut outcome = Outcome::of(reply, host, false);
        // Whatever is said before a recipient was named is said of this server alone.
        outcome.fate = Fate::Deferred;
        outcome.status.0 = 4;
        Problem { kind, outcome }
    }
}
