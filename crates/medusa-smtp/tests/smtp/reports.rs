//! A delivery here is told to senders who want to know; what is refused isn't delivered.

use std::io::Read;
use std::sync::Arc;

use medusa_core::Service;
use medusa_core::testing::Faults;
use medusa_mail::{Commits, DiskQueue, Queue, RealDisk};
use medusa_smtp::{Outbound, PlaintextLogin, Policy, Transaction, Verdict};

use crate::fixture::*;

struct House {
    store: Store,
    queue: Arc<DiskQueue>,
    service: Box<dyn Service>,
    _folder: tempfile::TempDir,
}

impl House {
    fn new(policy: Option<Arc<dyn Policy>>) -> House {
        let folder = tempfile::tempdir().unwrap();
        let queue = DiskQueue::open(folder.path(), Arc::new(RealDisk), Commits::AtOnce).unwrap();
        let queue = Arc::new(queue);
        let store = Store::default();
        let sending = Outbound::new(queue.clone(), "mx.example.test").build().unwrap();
        let mut service =
            submission(&store, PlaintextLogin::Always).with_sending(Some(sending.clone()));
        if let Some(policy) = policy {
            service = service.with_policy(policy);
        }
        House { store, queue, service: service.build(), _folder: folder }
    }

    /// What a message from `sender` to bob, who is to be told of, is answered by; `fails_in` steps of the store,
    /// it fails.
    fn submit(&self, sender: &str, fails_in: Option<usize>) -> String {
        let mut client = connect(&*self.service, Faults::none());
        send(&mut client, "EHLO c\r\nAUTH PLAIN AGFsaWNlAGVjaWxh\r\n");
        if let Some(steps) = fails_in {
            self.store.fail_in(steps);
        }
        let to = "RCPT TO:<bob@example.test> NOTIFY=SUCCESS ORCPT=utf-8;b+2Bb@example.test";
        send(&mut client, format!("MAIL FROM:<{sender}> ENVID=QQ+3D1\r\n{to}\r\nDATA\r\n"));
        send(&mut client, "Subject: hi\r\n\r\nhi\r\n.\r\n");
        let codes = codes(&client.text());
        assert!(codes.starts_with("220 250 235 250 250 354 "), "{codes}");
        codes.rsplit(' ').next().unwrap().to_owned()
    }

    fn kept_for(&self, account: &str) -> Vec<String> {
        let kept = self.store.kept().into_iter();
        kept.filter(|(accounts, _)| accounts == &[account]).map(|(_, text)| text).collect()
    }
}

#[test]
fn a_delivery_is_told_to_one_who_is_here() {
    let house = House::new(None);
    assert_eq!(house.submit("alice@example.test", None), "250");
    assert_eq!(house.kept_for("bob").len(), 1);
    let [report] = &house.kept_for("alice")[..] else { panic!("no report") };
    let start =
        "Return-Path: <>\r\nDelivered-To: alice@example.test\r\nReceived: by mx.example.test";
    assert!(report.starts_with(start), "{report}");
    for part in [
        "\r\nContent-Type: message/delivery-status\r\n",
        "\r\nOriginal-Envelope-Id: QQ=1\r\n",
        "\r\nOriginal-Recipient: utf-8; b+2Bb@example.test\r\n",
        "\r\nFinal-Recipient: rfc822; bob@example.test\r\nAction: delivered\r\nStatus: 2.0.0\r\n",
        "\r\nSubject: hi\r\n",
    ] {
        assert!(report.contains(part), "{part}\n{report}");
    }
    assert!(house.queue.entries().unwrap().is_empty());
}

#[test]
fn a_delivery_is_told_to_one_elsewhere_by_mail() {
    let house = House::new(None);
    assert_eq!(house.submit("a@elsewhere.test", None), "250");
    assert_eq!(house.kept_for("bob").len(), 1);
    let [entry] = &house.queue.entries().unwrap()[..] else { panic!("no report") };
    let envelope = house.queue.envelope(&entry.id).unwrap();
    assert_eq!((&*envelope.sender, &*envelope.recipients[0].address), ("", "a@elsewhere.test"));
    assert_eq!(envelope.recipients[0].notify.as_deref(), Some("NEVER"));
    let mut report = String::new();
    house.queue.message(&entry.id).unwrap().read_to_string(&mut report).unwrap();
    assert!(report.contains("\r\nAction: delivered\r\n"), "{report}");
}

#[test]
fn what_is_refused_was_not_delivered() {
    let (mut refused, mut untold) = (0, 0);
    for steps in 0.. {
        assert!(steps < 30, "no end of steps");
        let house = House::new(None);
        let code = house.submit("alice@example.test", Some(steps));
        let (kept, told) = (house.kept_for("bob").len(), house.kept_for("alice").len());
        assert_eq!(house.store.counts().1, 0, "something is neither kept nor forgotten");
        match (&*code, kept, told) {
            ("250", 1, 1) => break,
            // The report's commit has failed, behind that of the message.
            ("250", 1, 0) => untold += 1,
            ("452", 0, 0) => refused += 1,
            other => panic!("step {steps}: {other:?}"),
        }
    }
    // Two begun, written twice and more, and the message committed; then the report.
    assert!(refused >= 6, "{refused} steps");
    assert_eq!(untold, 1);
}

#[test]
fn nobody_is_told_of_what_is_thrown_away() {
    struct Discards;
    impl Policy for Discards {
        fn ended(&self, _: &medusa_smtp::Client<'_>, _: &Transaction<'_>, _: u64) -> Verdict {
            Verdict::Discard
        }
    }
    let house = House::new(Some(Arc::new(Discards)));
    assert_eq!(house.submit("alice@example.test", None), "250");
    assert!(house.store.kept().is_empty());
}
