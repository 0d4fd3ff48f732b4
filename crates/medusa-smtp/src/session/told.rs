//! Senders who want to know that a message was delivered here are told (RFC 3461 §5.2.3): a delivery status
//! notification (RFC 3464) with the head of the message, into the sender's maildrop or into the queue.
//!
//! What becomes of mail for elsewhere is told by whoever sends it on.

use std::fmt::Write;
use std::sync::{Arc, mpsc};
use std::time::SystemTime;

use medusa_mail::{Body, Envelope, Error, Recipient, Then};

use super::{Shared, same_domain};
use crate::address;
use crate::service::account;
use crate::trace::{ascii, date, return_path};

/// A message's head that is longer is cut in a report.
const HEAD_OCTETS: usize = 16 * 1024;

/// Whether a NOTIFY names this (RFC 3461 §4.1).
pub(super) fn wants(notify: &str, what: &str) -> bool {
    notify.split(',').any(|word| word.eq_ignore_ascii_case(what))
}

/// The head of a message, as far as it stands at its beginning, in whole lines.
pub(super) fn head(text: &[u8]) -> &[u8] {
    let text = &text[..text.len().min(HEAD_OCTETS)];
    match memchr::memmem::find(text, b"\r\n\r\n") {
        Some(end) => &text[..end + 2],
        None => &text[..memchr::memmem::rfind(text, b"\r\n").map_or(0, |end| end + 2)],
    }
}

/// A report that is to be made.
pub(super) struct Told {
    pub shared: Arc<Shared>,
    pub id: String,
    pub sender: String,
    pub envid: Option<String>,
    pub recipients: Vec<Recipient>,
    pub head: Vec<u8>,
    pub at: SystemTime,
}

impl Told {
    /// Has it kept, and waits for that. One that can't be is a line in the log: the message itself is delivered.
    pub(super) fn post(self) {
        if let Err(error) = self.keep() {
            let (id, sender) = (&self.id, &self.sender);
            tracing::error!(%id, %sender, %error, "can't tell a sender that a message was delivered");
        }
    }

    fn keep(&self) -> Result<(), Error> {
        let shared = &self.shared;
        let Some((Some(mailbox), _)) = address::path(&format!("<{}>", self.sender)) else {
            return Ok(());
        };
        let domain = match &mailbox.domain {
            Some(address::Domain::Name(name)) => name.as_str(),
            _ => "",
        };
        match shared.domains.iter().find(|ours| same_domain(ours, domain)) {
            Some(ours) => match account(&*shared.directory, &mailbox.local, ours) {
                Ok(account) => {
                    let mut text = return_path("");
                    text.extend_from_slice(&self.compose());
                    waited_for(|then| shared.store.deliver(&[account], text, then))
                }
                Err(_) => Ok(()),
            },
            None => self.enqueue(),
        }
    }

    fn enqueue(&self) -> Result<(), Error> {
        let Some(sending) = &self.shared.sending else { return Ok(()) };
        let mut envelope = Envelope::new("", self.at);
        if self.is_global() {
            (envelope.body, envelope.smtputf8) = (Body::EightBitMime, true);
        }
        envelope.recipients.push(Recipient {
            address: self.sender.clone(),
            // RFC 3461 §5.2.9: nobody is told of a report's fate.
            notify: Some("NEVER".into()),
            ..Recipient::default()
        });
        let mut queuing = sending.queue().begin()?;
        queuing.write(&self.compose())?;
        queuing.seal(&envelope)?;
        let id = queuing.id().clone();
        waited_for(|then| queuing.commit(then))?;
        sending.queued(&id, &envelope);
        Ok(())
    }

    /// Whether it needs the types of RFC 6533.
    fn is_global(&self) -> bool {
        !self.head.is_ascii()
            || !self.sender.is_ascii()
            || self.recipients.iter().any(|one| !one.address.is_ascii())
    }

    fn compose(&self) -> Vec<u8> {
        let (hostname, id, at) = (&self.shared.hostname, &self.id, date(self.at));
        let (charset, transfer, status, headers) = match self.is_global() {
            true => ("utf-8", "8bit", "message/global-delivery-status", "message/global-headers"),
            false => ("us-ascii", "7bit", "message/delivery-status", "text/rfc822-headers"),
        };
        let boundary = format!("{id}/{hostname}");
        let mut text = format!(
            "Received: by {hostname} (Medusa)\r\n\tid {id}-report; {at}\r\n\
             From: Mail Delivery System <MAILER-DAEMON@{hostname}>\r\nTo: <{sender}>\r\n\
             Subject: Successful Mail Delivery Report\r\nDate: {at}\r\n\
             Message-ID: <{id}.report@{hostname}>\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"{boundary}\"\r\n\
             Content-Transfer-Encoding: {transfer}\r\n\r\n\
             --{boundary}\r\nContent-Type: text/plain; charset={charset}\r\n\
             Content-Transfer-Encoding: {transfer}\r\n\r\n\
             This is the mail system at {hostname}.\r\n\r\nYour message was delivered to:\r\n\r\n",
            sender = self.sender,
        );
        // A String takes everything.
        for one in &self.recipients {
            let _ = write!(text, "  <{}>\r\n", one.address);
        }
        let _ = write!(
            text,
            "\r\n--{boundary}\r\nContent-Type: {status}\r\nContent-Transfer-Encoding: {transfer}\r\n\r\n"
        );
        if let Some(envid) = &self.envid {
            let _ = write!(text, "Original-Envelope-Id: {}\r\n", plain(envid));
        }
        let _ = write!(text, "Reporting-MTA: dns; {hostname}\r\nArrival-Date: {at}\r\n");
        for one in &self.recipients {
            let kind = if one.address.is_ascii() { "rfc822" } else { "utf-8" };
            text.push_str("\r\n");
            if let Some((kind, address)) = one.orcpt.as_deref().and_then(|o| o.split_once(';')) {
                let _ = write!(text, "Original-Recipient: {kind}; {}\r\n", plain(address));
            }
            let _ = write!(
                text,
                "Final-Recipient: {kind}; {}\r\nAction: delivered\r\nStatus: 2.0.0\r\n",
                one.address
            );
        }
        let _ = write!(
            text,
            "\r\n--{boundary}\r\nContent-Type: {headers}\r\nContent-Transfer-Encoding: {transfer}\r\n\r\n"
        );
        // What xtext stands for may be anything.
        let text = if self.is_global() { text } else { ascii(text) };
        let mut octets = text.into_bytes();
        octets.extend_from_slice(&self.head);
        octets.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        octets
    }
}

/// What xtext stands for; left as it is where that is nothing that a field may hold.
fn plain(xtext: &str) -> String {
    let mut parts = xtext.split('+');
    let mut octets = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(octet) => octets.push(octet),
            None => return xtext.to_owned(),
        }
        octets.extend_from_slice(part.get(2..).unwrap_or_default().as_bytes());
    }
    match String::from_utf8(octets) {
        Ok(text) if !text.contains(char::is_control) => text,
        _ => xtext.to_owned(),
    }
}

fn waited_for(commit: impl FnOnce(Then)) -> Result<(), Error> {
    let (tell, told) = mpsc::channel();
    commit(Box::new(move |result| drop(tell.send(result))));
    told.recv().unwrap_or(Err(Error::Closing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_and_escapes() {
        assert_eq!(head(b"A: b\r\nC: d\r\n\r\nbody\r\n"), b"A: b\r\nC: d\r\n");
        assert_eq!(head(b"A: b\r\nC: d"), b"A: b\r\n");
        assert_eq!(head(&[b'x'; 20_000]), b"");
        for (xtext, text) in
            [("QQ+3D1", "QQ=1"), ("a+2Bb@c", "a+b@c"), ("x+0D+0Ay", "x+0D+0Ay"), ("a+", "a+")]
        {
            assert_eq!(plain(xtext), text);
        }
        assert!(wants("FAILURE,success", "SUCCESS") && !wants("NEVER", "SUCCESS"));
    }
}
