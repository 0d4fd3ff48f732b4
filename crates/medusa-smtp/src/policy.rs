//! The door for filters: asked at each step of a conversation whether to go on.

use medusa_accounts::Identity;
use medusa_core::Peer;

/// Who speaks.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Client<'c> {
    /// The other end.
    pub peer: &'c Peer,
    /// What it named itself; empty before it has.
    pub helo: &'c str,
    /// Who has logged in.
    pub identity: Option<&'c Identity>,
}

impl<'c> Client<'c> {
    pub(crate) fn new(peer: &'c Peer, helo: &'c str, identity: Option<&'c Identity>) -> Client<'c> {
        Client { peer, helo, identity }
    }
}

/// Whose message to whom.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Transaction<'t> {
    /// The sender; empty for the null sender.
    pub sender: &'t str,
    /// The recipients that were taken.
    pub recipients: &'t [String],
}

impl<'t> Transaction<'t> {
    pub(crate) fn new(sender: &'t str, recipients: &'t [String]) -> Transaction<'t> {
        Transaction { sender, recipients }
    }
}

/// What a policy says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Verdict {
    /// Go on.
    #[default]
    Accept,
    /// Go on, and put these header fields in front of the message: whole lines with CRLF. Where there is no
    /// message yet, it is as [`Accept`](Verdict::Accept).
    AcceptWith(Vec<u8>),
    /// No, for good: 550 5.7.1, or 554 for a connection.
    Refuse(String),
    /// Not now: 451 4.7.1, or 421 for a connection.
    Defer(String),
    /// Say yes and throw it away: this recipient, or the message.
    Discard,
}

/// Decides beside the server's own rules, which come first. Called on an event loop: it must not block.
pub trait Policy: Send + Sync {
    /// A client has connected.
    fn connected(&self, client: &Client<'_>) -> Verdict {
        let _ = client;
        Verdict::Accept
    }

    /// It said HELO or EHLO.
    fn greeted(&self, client: &Client<'_>) -> Verdict {
        let _ = client;
        Verdict::Accept
    }

    /// It named a sender.
    fn sender(&self, client: &Client<'_>, sender: &str) -> Verdict {
        let _ = (client, sender);
        Verdict::Accept
    }

    /// It named a recipient who is here.
    fn recipient(&self, client: &Client<'_>, sender: &str, recipient: &str) -> Verdict {
        let _ = (client, sender, recipient);
        Verdict::Accept
    }

    /// The header section has come: `head` is as much of it as fits in 64 KiB, as it was sent.
    fn headed(&self, client: &Client<'_>, message: &Transaction<'_>, head: &[u8]) -> Verdict {
        let _ = (client, message, head);
        Verdict::Accept
    }

    /// The message has come whole: `size` octets with what was put in front of it.
    fn ended(&self, client: &Client<'_>, message: &Transaction<'_>, size: u64) -> Verdict {
        let _ = (client, message, size);
        Verdict::Accept
    }
}
