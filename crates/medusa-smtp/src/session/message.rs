//! DATA and BDAT: a message streams by the inspector into the store, in bounded memory, and is answered once
//! it is kept.
//!
//! What is gathered goes to the pool in pieces, and the connection is paused meanwhile: a disk that is
//! slower than the network slows the client. A message that is refused is still read to its end, as far as
//! that is worth it, so that what follows isn't taken for commands.

use std::sync::Arc;

use medusa_core::{Cx, Frame, Framing};
use medusa_mail::{Body, Envelope, Error as MailError, Recipient};
use medusa_text::code;
use memchr::memmem;

use super::keeping::{Keeping, Plan};
use super::told::{self, Told};
use super::{COMMIT, Mode, SmtpSession, Verdict};
use crate::access;
use crate::commands::{Command, Event};
use crate::inspect::Inspector;
use crate::params::{self, MailParameters};
use crate::policy::{Client, Policy, Transaction};
use crate::replies::Reply;
use crate::trace::{self, Trace};

/// Room for a message as most are, so that it isn't copied from buffer to buffer as it comes.
const GATHERED: usize = 8 * 1024;
/// So much is gathered before the pool is asked to write it.
const PIECE: usize = 64 * 1024;
/// How much of a message that is too long is read before the client is left.
pub(super) const OVERRUN: u64 = 16 << 20;

/// A message, from MAIL to its end.
pub(super) struct Mail {
    pub sender: String,
    pub parameters: MailParameters,
    /// Whom it is for: accounts, each once.
    pub accounts: Vec<String>,
    /// And elsewhere.
    pub onward: Vec<Recipient>,
    /// Those of the accounts' addresses whose delivery is to be told to the sender.
    pub told_of: Vec<Recipient>,
    /// The addresses of both, as they were taken.
    pub recipients: Vec<String>,
    /// How many more were refused for themselves.
    pub refused: u32,
    /// A policy wants it thrown away.
    pub discarded: bool,
    receiving: Option<Receiving>,
}

/// A message whose text is coming.
struct Receiving {
    id: String,
    inspector: Inspector,
    /// What a policy hasn't seen yet, or the store.
    gathered: Vec<u8>,
    /// What goes in front of it, until a policy has seen the head.
    trace: Option<Vec<u8>>,
    keeping: Option<Keeping>,
    /// Octets of the message itself.
    size: u64,
    /// Octets in all that were written or will be.
    written: u64,
    /// Why it is refused, once it is.
    failed: Option<Failure>,
    /// Its head, where that is told to the sender.
    head: Vec<u8>,
}

enum Failure {
    Reply(Reply),
    Policy(Verdict),
}

/// The note that a store has answered.
pub(super) struct Committed(pub Result<(), MailError>);

type Written = Result<(Keeping, Vec<u8>), MailError>;

impl Mail {
    pub(super) fn new(sender: String, parameters: MailParameters) -> Mail {
        Mail {
            sender,
            parameters,
            accounts: Vec::new(),
            onward: Vec::new(),
            told_of: Vec::new(),
            recipients: Vec::new(),
            refused: 0,
            discarded: false,
            receiving: None,
        }
    }

    /// Nobody gets it, and its sender isn't told.
    fn is_for_nobody(&self) -> bool {
        self.discarded || (self.accounts.is_empty() && self.onward.is_empty())
    }
}

impl Receiving {
    /// Gives the message up; what there is of it is forgotten.
    fn fail(&mut self, failure: Failure) {
        if self.failed.is_none() {
            self.failed = Some(failure);
        }
        self.gathered = Vec::new();
        self.keeping = None;
    }

    fn take(&mut self, bytes: &[u8], limit: Option<u64>) {
        self.size += bytes.len() as u64;
        if self.failed.is_some() {
            return;
        }
        self.inspector.take(bytes, &mut self.gathered);
        if limit.is_some_and(|limit| self.size > limit) {
            self.fail(Failure::Reply(Reply::TooLarge));
        } else if self.inspector.overlong {
            self.fail(Failure::Reply(Reply::TextLineTooLong));
        }
    }

    /// What is wrong with the whole, if anything is.
    fn verdict(&mut self, hops: Option<usize>) {
        if self.failed.is_some() {
            return;
        }
        self.inspector.finish(&mut self.gathered);
        let faults = [
            (self.inspector.is_smuggled(), Reply::BareLineEnd),
            (hops.is_some_and(|limit| self.inspector.hops >= limit), Reply::Loop),
        ];
        if let Some((_, reply)) = faults.into_iter().find(|(is_so, _)| *is_so) {
            self.fail(Failure::Reply(reply));
        }
    }
}

/// Goes on keeping a message, or begins. Blocks.
fn begun(keeping: Option<Keeping>, plan: Option<Plan>) -> Result<Keeping, MailError> {
    match (keeping, plan) {
        (Some(keeping), _) => Ok(keeping),
        (None, Some(plan)) => plan.begin(),
        (None, None) => Err(MailError::Missing),
    }
}

impl SmtpSession {
    pub(super) fn data(&mut self, cx: &mut Cx<'_>) {
        self.begin_text(cx);
        self.mode = Mode::Text;
        cx.compose(|out| code::reply(out, 354, "Go on; a line that holds one dot ends it"));
        cx.expect(Framing::dot_line());
    }

    pub(super) fn bdat(&mut self, cx: &mut Cx<'_>, argument: &str) {
        let Some((size, last)) = params::bdat(argument) else {
            // Where the chunk ends can't be known.
            return self.end(cx, Reply::BadArgument);
        };
        let so_far =
            self.mail.as_ref().and_then(|mail| mail.receiving.as_ref()).map_or(0, |r| r.size);
        let limit = self.shared().limits.message;
        if limit.is_some_and(|limit| so_far.saturating_add(size) > limit.saturating_add(OVERRUN)) {
            return self.end(cx, Reply::TooLarge);
        }
        let begun = self.mail.as_ref().is_some_and(|mail| mail.receiving.is_some());
        if !begun {
            self.begin_text(cx);
        }
        self.step(Event::Done(Command::Bdat));
        self.mode = Mode::Chunk { last };
        cx.expect(Framing::length(size));
    }

    fn begin_text(&mut self, cx: &Cx<'_>) {
        let shared = self.shard.shared.clone();
        let count = self.shard.count.get();
        self.shard.count.set(count + 1);
        let Some(mail) = &mut self.mail else { return };
        let id = trace::id(cx.wall_clock(), cx.address(), count);
        // The message comes behind it.
        let mut trace = Vec::with_capacity(GATHERED);
        let fields = Trace {
            hostname: &shared.hostname,
            helo: &self.helo,
            extended: self.extended,
            authenticated: self.identity.is_some(),
            smtputf8: mail.parameters.smtputf8,
            peer: cx.peer(),
            recipient: match &mail.recipients[..] {
                [one] => Some(one),
                _ => None,
            },
            id: &id,
            at: cx.wall_clock(),
        };
        fields.write(&mut trace);
        // Without a policy nothing will come between.
        let written = trace.len() as u64;
        let (gathered, trace) = match shared.policy {
            Some(_) => (Vec::new(), Some(trace)),
            None => (trace, None),
        };
        mail.receiving = Some(Receiving {
            id,
            inspector: Inspector::new(shared.smuggling, shared.limits.line.unwrap_or(usize::MAX)),
            gathered,
            trace,
            keeping: None,
            size: 0,
            written,
            failed: None,
            head: Vec::new(),
        });
    }

    pub(super) fn text(&mut self, cx: &mut Cx<'_>, frame: Frame<'_>) {
        self.take_piece(cx, frame.bytes);
        match frame.end {
            true => self.text_ended(cx),
            false => self.write_out(cx),
        }
    }

    pub(super) fn chunk(&mut self, cx: &mut Cx<'_>, frame: Frame<'_>, last: bool) {
        self.take_piece(cx, frame.bytes);
        match (frame.end, last) {
            (false, _) => self.write_out(cx),
            (true, true) => self.text_ended(cx),
            (true, false) => self.chunk_ended(cx),
        }
    }

    /// A chunk is taken, or the message is refused with it (RFC 3030 §2).
    fn chunk_ended(&mut self, cx: &mut Cx<'_>) {
        let failed = self.receiving().and_then(|receiving| receiving.failed.take());
        match failed {
            None => {
                self.listen(cx);
                self.say(cx, Reply::Chunk);
                self.write_out(cx);
                self.settled(cx);
            }
            // Whatever follows needs RSET first: the state is one in which BDAT isn't allowed.
            Some(failure) => self.refuse_message(cx, failure),
        }
    }

    fn receiving(&mut self) -> Option<&mut Receiving> {
        self.mail.as_mut()?.receiving.as_mut()
    }

    fn take_piece(&mut self, cx: &mut Cx<'_>, bytes: &[u8]) {
        let limit = self.shared().limits.message;
        let Some(receiving) = self.receiving() else { return };
        receiving.take(bytes, limit);
        let overrun = limit.is_some_and(|limit| receiving.size > limit.saturating_add(OVERRUN));
        if receiving.inspector.head_ended() || receiving.gathered.len() >= PIECE {
            self.show_head(cx);
        }
        if overrun {
            self.end(cx, Reply::TooLarge);
        }
    }

    /// Lets the policy see the head, once.
    fn show_head(&mut self, cx: &Cx<'_>) {
        let Some(mut mail) = self.mail.take() else { return };
        if let Some(receiving) = &mut mail.receiving
            && receiving.failed.is_none()
            && let Some(mut trace) = receiving.trace.take()
        {
            let gathered = &receiving.gathered;
            let head = match gathered.starts_with(b"\r\n") {
                true => 0,
                false => memmem::find(gathered, b"\r\n\r\n").map_or(gathered.len(), |at| at + 2),
            };
            let transaction = Transaction::new(&mail.sender, &mail.recipients);
            let verdict = self.judged(cx.peer(), |policy, client| {
                policy.headed(client, &transaction, &gathered[..head])
            });
            match verdict {
                Verdict::Accept => {}
                Verdict::AcceptWith(fields) => {
                    trace.extend_from_slice(&fields);
                    receiving.written += fields.len() as u64;
                }
                Verdict::Discard => mail.discarded = true,
                no => receiving.fail(Failure::Policy(no)),
            }
            if receiving.failed.is_none() {
                trace.extend_from_slice(&receiving.gathered);
                receiving.gathered = trace;
            }
        }
        self.mail = Some(mail);
    }

    /// Where the message goes.
    fn plan(&self, cx: &Cx<'_>, mail: &Mail) -> Plan {
        let shared = self.shared();
        let onward = shared.sending.as_ref().filter(|_| !mail.onward.is_empty()).map(|sending| {
            let mut envelope = Envelope::new(mail.sender.clone(), cx.wall_clock());
            if mail.parameters.eight_bit {
                envelope.body = Body::EightBitMime;
            }
            envelope.smtputf8 = mail.parameters.smtputf8;
            envelope.ret = mail.parameters.ret.clone();
            envelope.envid = mail.parameters.envid.clone();
            envelope.submitter = self.identity.as_ref().map(|identity| identity.name().to_owned());
            envelope.trace = mail.receiving.as_ref().map(|receiving| receiving.id.clone());
            envelope.recipients = mail.onward.clone();
            (sending.clone(), envelope)
        });
        Plan {
            store: shared.store.clone(),
            accounts: mail.accounts.clone(),
            preface: trace::return_path(&mail.sender),
            onward,
        }
    }

    /// Hands what was gathered to the pool, if it is enough.
    fn write_out(&mut self, cx: &mut Cx<'_>) {
        let Some(mail) = self.mail.take() else { return };
        let is_for_nobody = mail.is_for_nobody();
        let plan = match &mail.receiving {
            Some(receiving) if receiving.gathered.len() >= PIECE && !is_for_nobody => {
                receiving.keeping.is_none().then(|| self.plan(cx, &mail))
            }
            _ => None,
        };
        let mail = self.mail.insert(mail);
        let Some(receiving) = &mut mail.receiving else { return };
        if receiving.gathered.len() < PIECE {
            return;
        }
        if is_for_nobody {
            receiving.gathered.clear();
            return;
        }
        let gathered = std::mem::take(&mut receiving.gathered);
        if receiving.keeping.is_none() && !mail.told_of.is_empty() {
            receiving.head = told::head(&gathered).to_vec();
        }
        let keeping = receiving.keeping.take();
        let asked = cx.offload(
            move || -> Written {
                let mut keeping = begun(keeping, plan)?;
                keeping.write(&gathered)?;
                let mut spare = gathered;
                spare.clear();
                Ok((keeping, spare))
            },
            |session: &mut SmtpSession, cx, written: Written| {
                if let Some(receiving) = session.receiving() {
                    match written {
                        Ok((keeping, spare)) => {
                            receiving.keeping = Some(keeping);
                            receiving.gathered = spare;
                        }
                        Err(error) => {
                            receiving.fail(Failure::Reply(Reply::stored(&error)));
                        }
                    }
                }
                cx.resume();
            },
        );
        match asked {
            Ok(()) => cx.pause(),
            Err(_) => receiving.fail(Failure::Reply(Reply::Busy)),
        }
    }

    fn text_ended(&mut self, cx: &mut Cx<'_>) {
        let hops = self.shared().limits.hops;
        if let Some(receiving) = self.receiving() {
            receiving.verdict(hops);
        }
        self.show_head(cx);
        let Some(mut mail) = self.mail.take() else { return };
        if let Some(receiving) = &mut mail.receiving
            && receiving.keeping.is_none()
            && !mail.told_of.is_empty()
        {
            receiving.head = told::head(&receiving.gathered).to_vec();
        }
        let (failed, size, keeping, gathered) = match &mut mail.receiving {
            Some(receiving) => (
                receiving.failed.take(),
                receiving.size + receiving.written,
                receiving.keeping.take(),
                std::mem::take(&mut receiving.gathered),
            ),
            None => (None, 0, None, Vec::new()),
        };
        let is_for_nobody = mail.is_for_nobody();
        let mut plan = keeping.is_none().then(|| self.plan(cx, &mail));
        let verdict = match failed {
            Some(_) => Verdict::Accept,
            None => {
                let transaction = Transaction::new(&mail.sender, &mail.recipients);
                let ask = |policy: &dyn Policy, client: &Client<'_>| {
                    policy.ended(client, &transaction, size)
                };
                self.judged(cx.peer(), ask)
            }
        };
        self.mail = Some(mail);
        if let Some(failure) = failed {
            return self.refuse_message(cx, failure);
        }
        match verdict {
            Verdict::Accept | Verdict::AcceptWith(_) => {}
            Verdict::Discard => return self.committed(cx, Ok(())),
            no => return self.refuse_message(cx, Failure::Policy(no)),
        }
        if is_for_nobody {
            return self.committed(cx, Ok(()));
        }
        let told = self.told(cx);
        self.wait(cx);
        cx.arm(COMMIT.0, COMMIT.1);
        let remote = cx.remote();
        let store = self.shard.shared.store.clone();
        if let Some(Plan { accounts, preface: mut message, onward: None, .. }) =
            plan.take_if(|plan| told.is_none() && plan.onward.is_none() && store.delivers_aside())
        {
            // It came in one piece, and needs nobody else's thread.
            message.extend_from_slice(&gathered);
            let then = Box::new(move |result| {
                let _ = remote.notify(Committed(result));
            });
            return store.deliver(&accounts, message, then);
        }
        let asked = cx.offload(
            move || -> Result<(), MailError> {
                let mut keeping = begun(keeping, plan)?;
                keeping.write(&gathered)?;
                if let Some(told) = told {
                    keeping.tell(told)?;
                }
                keeping.commit(Box::new(move |result| {
                    // One who can't be told says so itself in a while, or has left.
                    let _ = remote.notify(Committed(result));
                }))
            },
            |session: &mut SmtpSession, cx, begun: Result<(), MailError>| {
                if let Err(error) = begun {
                    cx.disarm(COMMIT.0);
                    session.committed(cx, Err(error));
                }
            },
        );
        if asked.is_err() {
            cx.disarm(COMMIT.0);
            self.refuse_message(cx, Failure::Reply(Reply::Busy));
        }
    }

    /// The store has spoken: the message is kept, or it never came.
    pub(super) fn committed(&mut self, cx: &mut Cx<'_>, outcome: Result<(), MailError>) {
        if let Err(error) = outcome {
            let accounts = self.mail.as_ref().map(|mail| mail.accounts.join(" "));
            let (service, accounts) = (&*self.shared().service, accounts.unwrap_or_default());
            tracing::warn!(service, accounts, %error, "a message can't be kept");
            return self.refuse_message(cx, Failure::Reply(Reply::stored(&error)));
        }
        let id = self.receiving().map(|receiving| receiving.id.clone()).unwrap_or_default();
        cx.compose(|out| code::enhanced(out, 250, "2.0.0", &format!("Taken as {id}")));
        self.message_ended(cx, 250);
        // Who gets mail through isn't there for the errors alone (Postfix counts so, too).
        self.errors = 0;
        self.refused = 0;
        self.overshoot = 0;
        self.settled(cx);
    }

    /// What the sender wants to know of the deliveries here.
    fn told(&mut self, cx: &Cx<'_>) -> Option<Told> {
        let mail = self.mail.as_mut()?;
        if mail.told_of.is_empty() || mail.sender.is_empty() {
            return None;
        }
        let receiving = mail.receiving.as_mut()?;
        Some(Told {
            shared: Arc::clone(&self.shard.shared),
            id: receiving.id.clone(),
            sender: mail.sender.clone(),
            envid: mail.parameters.envid.clone(),
            smtputf8: mail.parameters.smtputf8,
            recipients: std::mem::take(&mut mail.told_of),
            head: std::mem::take(&mut receiving.head),
            at: cx.wall_clock(),
        })
    }

    fn refuse_message(&mut self, cx: &mut Cx<'_>, failure: Failure) {
        match failure {
            Failure::Reply(reply) => {
                let code = reply.parts().0;
                self.message_ended(cx, code);
                match code / 100 {
                    // It is our trouble, and no error of the client's.
                    4 => self.say(cx, reply),
                    _ => self.refuse(cx, reply),
                }
            }
            Failure::Policy(verdict) => {
                let code = if matches!(verdict, Verdict::Refuse(_)) { 550 } else { 451 };
                self.message_ended(cx, code);
                self.refused_by(cx, &verdict);
            }
        }
        self.settled(cx);
    }

    /// Whatever was said to it, the message is done with.
    fn message_ended(&mut self, cx: &mut Cx<'_>, code: u16) {
        if let (Some(sink), Some(mail)) = (&self.shared().access, &self.mail)
            && let Some(receiving) = &mail.receiving
        {
            let line = access::Line {
                peer: cx.peer(),
                account: self.identity.as_ref().map(|identity| identity.name()),
                at: cx.wall_clock(),
                sender: &mail.sender,
                recipients: &mail.recipients,
                code,
                octets: receiving.size,
                id: &receiving.id,
            };
            sink.line(line.to_string().as_bytes());
        }
        self.reset();
        self.step(Event::MessageEnded);
        self.listen(cx);
    }
}
