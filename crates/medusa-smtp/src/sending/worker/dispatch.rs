//! One attempt, from a parcel to a connection that has its job: the entry is opened, a connection that stands
//! already is given the job where there is one, else servers are found, one after the other, and connected to.
//!
//! Which servers those are is the `Trail`'s business; here its questions are asked and its steps are taken. When
//! no server is left, all recipients that are left share a fate, and a destination that can't be reached rests:
//! with it, what has grown too old in its line is returned or its senders are told that it waits.

use std::sync::Arc;

use medusa_core::DatagramCx;
use medusa_mail::Error as MailError;
use medusa_resolver::{Answer, Asker, LookupError, Question};

use super::attempt::Attempt;
use super::{Link, Worker};
use crate::sending::client::{Addressee, ClientSession, Job, Outgoing, Profile};
use crate::sending::hosts::{Step, Trail};
use crate::sending::ledger::Opened;
use crate::sending::outcome::{Fate, Outcome};
use crate::sending::route::Security;
use crate::sending::schedule::{Health, Parcel};

impl Worker {
    pub(super) fn start(&mut self, cx: &mut DatagramCx<'_>, parcel: Parcel) {
        let ticket = self.number();
        let shared = Arc::clone(&self.shared);
        let opened = parcel.clone();
        self.admit(cx, ticket, Attempt::new(parcel));
        self.offload(
            cx,
            move || shared.ledger.open(&shared.ways, &opened),
            move |worker, cx, opened| worker.opened_entry(cx, ticket, opened),
        );
    }

    fn opened_entry(
        &mut self,
        cx: &mut DatagramCx<'_>,
        ticket: u64,
        opened: Option<Result<Opened, MailError>>,
    ) {
        let Some(attempt) = self.attempts.get_mut(&ticket) else { return };
        match opened {
            Some(Ok(Opened { envelope, file, size, recipients })) => {
                for index in recipients {
                    let Some(one) = envelope.recipients.get(index) else { continue };
                    attempt.left.push_back(Addressee {
                        index,
                        address: one.address.clone(),
                        notify: one.notify.clone(),
                        orcpt: one.orcpt.clone(),
                    });
                }
                attempt.message = Some(Arc::new(Outgoing {
                    sender: envelope.sender,
                    body: envelope.body,
                    smtputf8: envelope.smtputf8,
                    ret: envelope.ret,
                    envid: envelope.envid,
                    file,
                    size,
                }));
                self.dispatch(cx, ticket);
            }
            unread => self.unread(cx, ticket, unread.and_then(Result::err)),
        }
    }

    /// Hands the attempt's next recipients to a connection, or ends it.
    pub(super) fn dispatch(&mut self, cx: &mut DatagramCx<'_>, ticket: u64) {
        let most = self.shared.limits.recipients.max(1);
        let Some(attempt) = self.attempts.get_mut(&ticket) else { return };
        attempt.session = None;
        if attempt.batch.is_empty() {
            let count = attempt.left.len().min(most);
            attempt.batch = attempt.left.drain(..count).collect();
        }
        let Some(message) = attempt.message.clone().filter(|_| !attempt.batch.is_empty()) else {
            attempt.over = true;
            return self.conclude(cx, ticket);
        };
        let place = &attempt.parcel.place;
        let idle =
            self.links.iter_mut().find(|(_, link)| link.ticket.is_none() && link.place == *place);
        if let Some((number, link)) = idle {
            link.ticket = Some(ticket);
            attempt.session = Some(*number);
            let recipients = attempt.batch.clone();
            cx.notify(link.address, Job { ticket, message, recipients });
            return;
        }
        if self.leaving {
            return self.leave(cx, ticket);
        }
        if attempt.target.is_some() {
            return self.connect(cx, ticket, false);
        }
        let (way, name) = self.shared.ways.way(place);
        let (ourselves, port) = (&self.shared.hostname, self.shared.ways.port);
        let random = self.shared.random();
        let (trail, step) = match &way.relay {
            Some(relay) => Trail::to_relay(relay, ourselves, random),
            None => Trail::to_domain(name, port, ourselves, random),
        };
        attempt.trail = Some(trail);
        self.step(cx, ticket, step);
    }

    pub(super) fn step(&mut self, cx: &mut DatagramCx<'_>, ticket: u64, step: Step) {
        match step {
            Step::Ask(questions) => {
                for question in questions {
                    self.ask(cx, ticket, question);
                }
            }
            Step::Wait => {}
            Step::Connect(target, host) => {
                if let Some(attempt) = self.attempts.get_mut(&ticket) {
                    attempt.target = Some((target, host));
                }
                self.connect(cx, ticket, false);
            }
            Step::Done(outcome) => self.give_up(cx, ticket, &outcome),
        }
    }

    fn ask(&mut self, cx: &mut DatagramCx<'_>, ticket: u64, question: Question) {
        if let Some(attempt) = self.attempts.get_mut(&ticket) {
            attempt.asked = Some(cx.now());
        }
        match &self.shared.resolver {
            Some(resolver) => resolver.resolve(question, Asker::new(cx.remote(), ticket)),
            None => {
                let error = LookupError::temporary("no resolver is configured");
                cx.notify(cx.address(), Answer::new(ticket, question, Err(error)));
            }
        }
    }

    pub(super) fn answered(&mut self, cx: &mut DatagramCx<'_>, answer: Answer) {
        let Answer { ticket, question, result, .. } = answer;
        let Some(attempt) = self.attempts.get_mut(&ticket) else { return };
        let Some(trail) = &mut attempt.trail else { return };
        let step = trail.answered(&question, result);
        if step != Step::Wait {
            attempt.asked = None;
        }
        self.step(cx, ticket, step);
    }

    /// A new connection to the server at hand, with the job at hand.
    pub(super) fn connect(&mut self, cx: &mut DatagramCx<'_>, ticket: u64, plain: bool) {
        let number = self.number();
        if self.leaving {
            return self.leave(cx, ticket);
        }
        let Some(attempt) = self.attempts.get_mut(&ticket) else { return };
        let (Some((target, host)), Some(message)) = (&attempt.target, &attempt.message) else {
            return;
        };
        let place = Arc::clone(&attempt.parcel.place);
        let (way, _) = self.shared.ways.way(&place);
        let security = if plain { Security::Off } else { way.security };
        let tls = self.shared.tls_for(way);
        let literal = host.starts_with('[');
        let profile = Profile {
            host: Arc::clone(host),
            server_name: if literal { target.ip().to_string().into() } else { (&**host).into() },
            ourselves: Arc::clone(&self.shared.hostname),
            security,
            tls,
            login: way.login.clone(),
            idle: self.shared.limits.idle,
        };
        let recipients = attempt.batch.clone();
        let job = Job { ticket, message: Arc::clone(message), recipients };
        attempt.session = Some(number);
        let session = ClientSession::new(number, Arc::clone(&self.inbox), profile, job);
        let address = cx.connect(*target, Box::new(session));
        self.links.insert(number, Link { address, place, ticket: Some(ticket) });
    }

    /// Every recipient who is left meets the same fate.
    fn give_up(&mut self, cx: &mut DatagramCx<'_>, ticket: u64, outcome: &Outcome) {
        let Some(attempt) = self.attempts.get_mut(&ticket) else { return };
        let outcomes = attempt.end_with(outcome);
        let place = Arc::clone(&attempt.parcel.place);
        if outcome.fate == Fate::Deferred {
            let failures = self.shared.schedule().failures(&place).saturating_add(1);
            let rest = self.shared.ledger.schedule.wait(failures, self.shared.random());
            self.shared.schedule().explain(&place, &outcome.text);
            if let Some(attempt) = self.attempts.get_mut(&ticket) {
                attempt.health = Health::Down(rest);
            }
            // What stands in its line and has grown too old isn't tried before it is returned, or before its
            // sender is told that it waits.
            let late = self.shared.schedule().overdue(&place, cx.now());
            for parcel in late {
                self.expire(cx, parcel, outcome.clone());
            }
        }
        self.write_down(cx, ticket, outcomes);
    }

    /// Returns a parcel that has grown too old in its destination's line, or has its sender told that it waits:
    /// what is written down knows which.
    fn expire(&mut self, cx: &mut DatagramCx<'_>, parcel: Parcel, outcome: Outcome) {
        let ticket = self.number();
        let shared = Arc::clone(&self.shared);
        let opened = parcel.clone();
        let mut attempt = Attempt::new(parcel);
        attempt.over = true;
        attempt.writing = 1;
        self.admit(cx, ticket, attempt);
        let work = move || shared.ledger.open(&shared.ways, &opened);
        self.offload(cx, work, move |worker, cx, opened| {
            let Some(attempt) = worker.attempts.get_mut(&ticket) else { return };
            attempt.writing -= 1;
            match opened {
                Some(Ok(opened)) => {
                    let outcomes = opened.recipients.into_iter().map(|one| (one, outcome.clone()));
                    worker.write_down(cx, ticket, outcomes.collect());
                }
                unread => worker.unread(cx, ticket, unread.and_then(Result::err)),
            }
        });
    }
}
