//! Envelopes on disk: lines of a key and its value, written and read here alone.
//!
//! The values are a peer's text: what isn't printable ASCII is percent-encoded. A last line says that it
//! is whole. Addresses and DSN values are kept as they were given and not understood.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use super::seconds;
use crate::Error;

const FIRST: &str = "medusa envelope 1";
const LAST: &str = "end";

/// What the octets of a message may be (RFC 6152, RFC 3030).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Body {
    /// ASCII in lines.
    #[default]
    SevenBit,
    /// Lines of any octets.
    EightBitMime,
    /// Any octets, not in lines.
    BinaryMime,
}

/// Who sent a message to whom, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The reverse path without its brackets; empty for the null sender.
    pub sender: String,
    /// What the message is made of.
    pub body: Body,
    /// Whether addresses or headers need SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// DSN's RET (RFC 3461 §4.3).
    pub ret: Option<String>,
    /// DSN's ENVID (RFC 3461 §4.4), as it was given.
    pub envid: Option<String>,
    /// The account that submitted it.
    pub submitter: Option<String>,
    /// What it was called when it was accepted, in its Received field and in logs.
    pub trace: Option<String>,
    /// When it was accepted, to the second.
    pub accepted: SystemTime,
    /// When it is to be tried next, to the second.
    pub next: SystemTime,
    /// Whom it is for.
    pub recipients: Vec<Recipient>,
}

/// One recipient of a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recipient {
    /// The forward path without its brackets.
    pub address: String,
    /// DSN's NOTIFY (RFC 3461 §4.1).
    pub notify: Option<String>,
    /// DSN's ORCPT (RFC 3461 §4.2).
    pub orcpt: Option<String>,
    /// Whether it is done with: sent, or given up.
    pub done: bool,
    /// Whether the sender was told that it waits.
    pub warned: bool,
    /// Attempts so far.
    pub attempts: u32,
    /// What was said to the last attempt.
    pub last_reply: Option<String>,
}

impl Envelope {
    /// An envelope of a message that was accepted at `now`, to be tried at once.
    pub fn new(sender: impl Into<String>, now: SystemTime) -> Envelope {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds(now));
        Envelope {
            sender: sender.into(),
            body: Body::default(),
            smtputf8: false,
            ret: None,
            envid: None,
            submitter: None,
            trace: None,
            accepted: now,
            next: now,
            recipients: Vec::new(),
        }
    }

    /// As it stands on disk.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!("{FIRST}\n");
        let mut line = |key: &str, value: &str| {
            let _ = writeln!(text, "{key} {}", encoded(value));
        };
        line("sender", &self.sender);
        line("body", BODIES[self.body as usize]);
        for (key, value) in [
            ("ret", &self.ret),
            ("envid", &self.envid),
            ("submitter", &self.submitter),
            ("trace", &self.trace),
        ] {
            if let Some(value) = value {
                line(key, value);
            }
        }
        if self.smtputf8 {
            line("smtputf8", "");
        }
        line("accepted", &seconds(self.accepted).to_string());
        line("next", &seconds(self.next).to_string());
        for recipient in &self.recipients {
            line("recipient", &recipient.address);
            let Recipient { notify, orcpt, last_reply, .. } = recipient;
            for (key, value) in [("notify", notify), ("orcpt", orcpt), ("last-reply", last_reply)] {
                if let Some(value) = value {
                    line(key, value);
                }
            }
            line("attempts", &recipient.attempts.to_string());
            for (key, is_so) in [("warned", recipient.warned), ("done", recipient.done)] {
                if is_so {
                    line(key, "");
                }
            }
        }
        text.push_str(LAST);
        text.push('\n');
        text.into_bytes()
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    ///
    /// [`Error::Envelope`].
    pub fn parse(bytes: &[u8]) -> Result<Envelope, Error> {
        let damaged = Error::Envelope;
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("not text"))?;
        let mut lines = text.split_terminator('\n');
        if lines.next() != Some(FIRST) {
            return Err(damaged("not of this version"));
        }
        let mut envelope = Envelope::new("", SystemTime::UNIX_EPOCH);
        let mut is_whole = false;
        for line in lines.by_ref() {
            if line == LAST {
                is_whole = true;
                break;
            }
            let (key, value) = line.split_once(' ').ok_or(damaged("a line without a value"))?;
            let value = decoded(value).ok_or(damaged("a value that can't be decoded"))?;
            envelope.take(key, value)?;
        }
        match is_whole && text.ends_with('\n') && lines.next().is_none() {
            true => Ok(envelope),
            false => Err(damaged("cut short")),
        }
    }

    fn take(&mut self, key: &str, value: String) -> Result<(), Error> {
        let number = || value.parse::<u64>().map_err(|_| Error::Envelope("a number that is none"));
        let time = || {
            let since = Duration::from_secs(number()?);
            SystemTime::UNIX_EPOCH.checked_add(since).ok_or(Error::Envelope("a time that is none"))
        };
        match (key, self.recipients.last_mut()) {
            ("recipient", _) => {
                self.recipients.push(Recipient { address: value, ..Recipient::default() });
            }
            ("notify", Some(recipient)) => recipient.notify = Some(value),
            ("orcpt", Some(recipient)) => recipient.orcpt = Some(value),
            ("last-reply", Some(recipient)) => recipient.last_reply = Some(value),
            ("done", Some(recipient)) => recipient.done = true,
            ("warned", Some(recipient)) => recipient.warned = true,
            ("attempts", Some(recipient)) => {
                recipient.attempts = number()?.try_into().unwrap_or(u32::MAX);
            }
            ("sender", None) => self.sender = value,
            ("body", None) => {
                let index = BODIES.iter().position(|body| *body == value);
                let bodies = [Body::SevenBit, Body::EightBitMime, Body::BinaryMime];
                self.body = index.map(|i| bodies[i]).ok_or(Error::Envelope("an unknown body"))?;
            }
            ("smtputf8", None) => self.smtputf8 = true,
            ("ret", None) => self.ret = Some(value),
            ("envid", None) => self.envid = Some(value),
            ("submitter", None) => self.submitter = Some(value),
            ("trace", None) => self.trace = Some(value),
            ("accepted", None) => self.accepted = time()?,
            ("next", None) => self.next = time()?,
            _ => return Err(Error::Envelope("a key in the wrong place, or an unknown one")),
        }
        Ok(())
    }
}

/// In the order of [`Body`].
const BODIES: [&str; 3] = ["7BIT", "8BITMIME", "BINARYMIME"];

fn encoded(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for &octet in value.as_bytes() {
        match octet {
            b'%' | 0..=0x1f | 0x7f.. => {
                let _ = write!(text, "%{octet:02X}");
            }
            plain => text.push(char::from(plain)),
        }
    }
    text
}

fn decoded(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&octet, after)) = rest.split_first() {
        rest = after;
        if octet == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            octets.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            octets.push(octet);
        }
    }
    String::from_utf8(octets).ok()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option::of;
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn recipients()(
            address in any::<String>(),
            notify in of(any::<String>()),
            orcpt in of(any::<String>()),
            done in any::<bool>(),
            warned in any::<bool>(),
            attempts in any::<u32>(),
            last_reply in of(any::<String>()),
        ) -> Recipient {
            Recipient { address, notify, orcpt, done, warned, attempts, last_reply }
        }
    }

    prop_compose! {
        fn envelopes()(
            sender in any::<String>(),
            body in prop::sample::select(vec![Body::SevenBit, Body::EightBitMime, Body::BinaryMime]),
            smtputf8 in any::<bool>(),
            ret in of(any::<String>()),
            envid in of(any::<String>()),
            submitter in of(any::<String>()),
            trace in of(any::<String>()),
            times in any::<(u32, u32)>(),
            recipients in vec(recipients(), 0..4),
        ) -> Envelope {
            let at = |seconds: u32| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into());
            Envelope {
                sender, body, smtputf8, ret, envid, submitter, trace, recipients,
                accepted: at(times.0), next: at(times.1),
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(envelope in envelopes()) {
            let bytes = envelope.to_bytes();
            prop_assert_eq!(&Envelope::parse(&bytes).unwrap(), &envelope);
            for end in 0..bytes.len() {
                prop_assert!(Envelope::parse(&bytes[..end]).is_err(), "cut at {}", end);
            }
        }

        #[test]
        fn any_octets_are_read_or_refused(bytes in vec(any::<u8>(), 0..200)) {
            let _ = Envelope::parse(&bytes);
            let _ = Envelope::parse(&[FIRST.as_bytes(), b"\n", &bytes].concat());
        }
    }
}
