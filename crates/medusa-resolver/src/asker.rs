//! Who asks and who answers.

use medusa_core::Remote;

use crate::error::LookupError;
use crate::question::Question;
use crate::records::Records;

/// Looks names up, without blocking.
pub trait Resolver: Send + Sync {
    /// Looks up what is asked and has `asker` hear of it: once, in a note that holds an [`Answer`], now or
    /// later. It may be called on any thread; a call never waits.
    fn resolve(&self, question: Question, asker: Asker);
}

/// Who is to hear of an answer: a session or a datagram service, and its own number for the question.
///
/// An asker that is dropped hears nothing; a resolver answers every one.
#[derive(Debug)]
pub struct Asker {
    remote: Remote,
    ticket: u64,
}

/// The note that whoever asked hears.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// The asker's own number for the question.
    pub ticket: u64,
    /// What was asked.
    pub question: Question,
    /// What was found.
    pub result: Result<Records, LookupError>,
}

impl Answer {
    /// An answer to the question that its asker knows by `ticket`.
    pub fn new(ticket: u64, question: Question, result: Result<Records, LookupError>) -> Self {
        Answer { ticket, question, result }
    }
}

impl Asker {
    /// The session or datagram service behind `remote`, which knows the question by `ticket`.
    pub fn new(remote: Remote, ticket: u64) -> Self {
        Asker { remote, ticket }
    }

    /// Who asks.
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// Its own number for the question.
    pub fn ticket(&self) -> u64 {
        self.ticket
    }

    /// Sends the answer. If whoever asked has gone, nobody hears it; nor if their shard has more notes
    /// waiting than it takes, so an asker should arm a timer of its own.
    pub fn answer(self, question: Question, result: Result<Records, LookupError>) {
        let _ = self.remote.notify(Answer { ticket: self.ticket, question, result });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolver_can_be_shared() {
        fn is_shared<T: Send + Sync + ?Sized>() {}
        is_shared::<dyn Resolver>();
        is_shared::<Asker>();
        is_shared::<Answer>();
    }
}
