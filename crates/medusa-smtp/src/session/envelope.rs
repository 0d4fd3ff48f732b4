//! MAIL and RCPT: who sends, who is here, and who may not.

use medusa_accounts::Recipient;
use medusa_core::Cx;
use medusa_mail::{Error as MailError, Recipient as Named};

use super::message::Mail;
use super::{SmtpSession, Verdict};
use crate::address::{self, Domain, Mailbox};
use crate::commands::{Command, Event};
use crate::params::{self, RcptParameters};
use crate::replies::Reply;
use crate::report::wants;
use crate::service::{Role, account, home};

/// Recipients in excess of those that a transaction takes, before the connection is ended (the default of
/// Postfix's `smtpd_recipient_overshoot_limit`).
const OVERSHOOT: u32 = 1000;

/// In how many transactions without a message all recipients that may be refused can be.
const REFUSED_TRANSACTIONS: u32 = 5;

/// Somebody who is here, or elsewhere.
pub(super) struct Found {
    /// None for those elsewhere.
    account: Option<String>,
    address: String,
}

/// Who gets a message.
enum Taker {
    Account(String),
    Elsewhere,
    /// Nobody: a policy has it thrown away.
    Nobody,
}

impl SmtpSession {
    pub(super) fn mail(&mut self, cx: &mut Cx<'_>, argument: &str) {
        let shared = &self.shard.shared;
        if shared.role == Role::Submission && self.identity.is_none() {
            return self.refuse(cx, Reply::LoginFirst);
        }
        let Some((mailbox, rest)) = behind("FROM:", argument).and_then(address::path) else {
            return self.refuse(cx, Reply::BadSender);
        };
        if mailbox.as_ref().is_some_and(|mailbox| mailbox.domain.is_none()) {
            return self.refuse(cx, Reply::BadSender);
        }
        let parameters = match params::mail(rest, shared.offered()) {
            Ok(parameters) => parameters,
            Err(reply) => return self.refuse(cx, reply),
        };
        if !parameters.smtputf8 && mailbox.as_ref().is_some_and(Mailbox::needs_utf8) {
            return self.refuse(cx, Reply::NeedsUtf8);
        }
        if shared.limits.message.is_some_and(|limit| parameters.size > Some(limit)) {
            return self.refuse(cx, Reply::TooLarge);
        }
        let sender = mailbox.map(|mailbox| mailbox.to_string()).unwrap_or_default();
        let peer = cx.peer().clone();
        let verdict = self.judged(&peer, |policy, client| policy.sender(client, &sender));
        if self.refused_by(cx, &verdict) {
            return;
        }
        let mut mail = Mail::new(sender, parameters);
        mail.discarded = verdict == Verdict::Discard;
        self.mail = Some(Box::new(mail));
        self.step(Event::Done(Command::Mail));
        self.say(cx, Reply::Sender);
    }

    pub(super) fn rcpt(&mut self, cx: &mut Cx<'_>, argument: &str) {
        let Some((Some(mailbox), rest)) = behind("TO:", argument).and_then(address::path) else {
            return self.refuse(cx, Reply::BadRecipient);
        };
        let parameters = match params::rcpt(rest, self.shared().offered()) {
            Ok(parameters) => parameters,
            Err(reply) => return self.refuse(cx, reply),
        };
        let Some(mail) = &self.mail else { return self.refuse(cx, Reply::MailFirst) };
        if !mail.parameters.smtputf8 && mailbox.needs_utf8() {
            return self.refuse(cx, Reply::NeedsUtf8);
        }
        let (taken, size) = (mail.recipients.len(), mail.parameters.size.unwrap_or(0));
        if self.shared().limits.recipients.is_some_and(|limit| taken >= limit) {
            return self.exceed(cx);
        }
        // Before it is looked who is here: it says nothing of that.
        if self.shared().limits.errors.is_some_and(|limit| mail.refused >= limit) {
            return self.exceed(cx);
        }
        let found = match self.find(cx, &mailbox) {
            Ok(found) => found,
            Err(reply) => return self.refuse_recipient(cx, reply),
        };
        let sender = mail.sender.clone();
        let peer = cx.peer().clone();
        let verdict =
            self.judged(&peer, |policy, client| policy.recipient(client, &sender, &found.address));
        if self.refused_by(cx, &verdict) {
            return;
        }
        if verdict == Verdict::Discard {
            return self.take_recipient(cx, Taker::Nobody, named(found.address, parameters));
        }
        let Found { account, address } = found;
        let address = named(address, parameters);
        let Some(account) = account else {
            return self.take_recipient(cx, Taker::Elsewhere, address);
        };
        let store = self.shared().store.clone();
        if !store.has_quota() {
            return self.take_recipient(cx, Taker::Account(account), address);
        }
        self.wait(cx);
        let asked = cx.offload(
            move || (store.admit(&account, size), account),
            move |session: &mut SmtpSession, cx, (admitted, account)| {
                session.admitted(cx, admitted, account, address)
            },
        );
        if asked.is_err() {
            self.listen(cx);
            self.say(cx, Reply::Busy);
        }
    }

    /// Says that a recipient is one too many for this transaction. The client is to send to the rest in another one
    /// (RFC 5321 §4.5.3.1.10).
    fn exceed(&mut self, cx: &mut Cx<'_>) {
        self.overshoot += 1;
        match self.overshoot > OVERSHOOT {
            true => self.end(cx, Reply::TooManyErrors),
            false => self.say(cx, Reply::TooManyHere),
        }
    }

    /// Says no to a recipient. One who has a list with old addresses is to reach those that are good; one who tries
    /// names is to learn little. So there are as many in a transaction as errors are allowed (20: Postfix counts
    /// them as errors, `smtpd_hard_error_limit`, and closes), and five times as many without a message between.
    fn refuse_recipient(&mut self, cx: &mut Cx<'_>, reply: Reply) {
        self.say(cx, reply);
        self.refused += 1;
        if let Some(mail) = &mut self.mail {
            mail.refused += 1;
        }
        let limit = self.shared().limits.errors;
        let limit = limit.map(|errors| errors.saturating_mul(REFUSED_TRANSACTIONS));
        if limit.is_some_and(|limit| self.refused >= limit) {
            self.end(cx, Reply::TooManyErrors);
        }
    }

    fn admitted(
        &mut self,
        cx: &mut Cx<'_>,
        admitted: Result<(), MailError>,
        account: String,
        address: Named,
    ) {
        match admitted {
            Ok(()) => self.take_recipient(cx, Taker::Account(account), address),
            Err(error) => self.say(cx, Reply::stored(&error)),
        }
        self.listen(cx);
        self.settled(cx);
    }

    fn take_recipient(&mut self, cx: &mut Cx<'_>, taker: Taker, named: Named) {
        if let Some(mail) = &mut self.mail {
            mail.recipients.push(named.address.clone());
            match taker {
                Taker::Account(account) => {
                    let wants_to_know =
                        named.notify.as_deref().is_some_and(|notify| wants(notify, "SUCCESS"));
                    let is_new = mail.told_of.iter().all(|one| one.address != named.address);
                    if wants_to_know && is_new {
                        mail.told_of.push(named);
                    }
                    // An account gets a message once, however many of its addresses it is for.
                    if !mail.accounts.contains(&account) {
                        mail.accounts.push(account);
                    }
                }
                Taker::Elsewhere if mail.onward.iter().any(|one| one.address == named.address) => {}
                Taker::Elsewhere => mail.onward.push(named),
                Taker::Nobody => {}
            }
        }
        self.step(Event::Done(Command::Rcpt));
        self.say(cx, Reply::Recipient);
    }

    /// Whose address this is.
    fn find(&self, cx: &Cx<'_>, mailbox: &Mailbox) -> Result<Found, Reply> {
        let shared = self.shared();
        let first = shared.domains.first().map_or("", String::as_str);
        let domain = match &mailbox.domain {
            None => Some(first),
            Some(Domain::Name(name)) => {
                home(&shared.domains, &shared.hostname, &mailbox.local, name)
            }
            // This server's own address stands for its first domain.
            Some(Domain::Literal(address)) => {
                let ours = cx.peer().local.ip() == Some(address.to_canonical());
                ours.then_some(first)
            }
        };
        let address = mailbox.to_string();
        let Some(domain) = domain else {
            // Never an open relay: MAIL has asked for a login.
            let trusted = shared.role == Role::Submission && self.identity.is_some();
            return match trusted && shared.sending.is_some() {
                true => Ok(Found { account: None, address }),
                false => Err(Reply::NoRelay),
            };
        };
        match account(&*shared.directory, &mailbox.local, domain) {
            Ok(account) => Ok(Found { account: Some(account), address }),
            Err(Recipient::Disabled) => Err(Reply::Disabled),
            Err(_) => Err(Reply::NoSuchUser),
        }
    }
}

/// A recipient with what is to be told of it.
fn named(address: String, parameters: RcptParameters) -> Named {
    let RcptParameters { notify, orcpt } = parameters;
    Named { address, notify, orcpt, ..Named::default() }
}

/// What stands behind `FROM:` or `TO:`. A space may follow the colon: too many clients send one.
fn behind<'a>(keyword: &str, argument: &'a str) -> Option<&'a str> {
    let (head, rest) = argument.trim_start().split_at_checked(keyword.len())?;
    head.eq_ignore_ascii_case(keyword).then(|| rest.trim_start())
}
