//! What is written down and told, on a real queue in a folder.

use std::collections::HashSet;
use std::io::Read;

use medusa_mail::{Body, Commits, DiskQueue, RealDisk, Recipient};

use super::*;
use crate::sending::Status;
use crate::sending::flawed::Flawed;

const DAY: u64 = 24 * 60 * 60;

struct Book {
    ledger: Ledger,
    flaws: Arc<Flawed>,
    _folder: tempfile::TempDir,
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + seconds)
}

fn said(fate: Fate, status: Status) -> Outcome {
    Outcome {
        said: true,
        host: Some("mx.next.test".into()),
        ..Outcome::ours(fate, status, "so it is")
    }
}

fn failed() -> Outcome {
    said(Fate::Failed, Status(5, 1, 1))
}

fn deferred() -> Outcome {
    said(Fate::Deferred, Status(4, 2, 0))
}

fn delivered(dsn: bool) -> Outcome {
    said(Fate::Delivered { dsn }, Status(2, 0, 0))
}

impl Book {
    fn new() -> Book {
        let folder = tempfile::tempdir().unwrap();
        let queue =
            DiskQueue::open(&folder.path().join("queue"), Arc::new(RealDisk), Commits::AtOnce)
                .unwrap();
        let poster = Poster { hostname: "we.test".into(), local: None };
        let flaws = Arc::new(Flawed::new(queue));
        let ledger = Ledger::new(flaws.clone(), Schedule::default(), poster, None, Lot::new(7));
        Book { ledger, flaws, _folder: folder }
    }

    fn enter(&self, text: &str, change: impl FnOnce(&mut Envelope)) -> Id {
        let mut envelope = Envelope::new("a@b.test", at(0));
        for address in ["x@next.test", "y@next.test"] {
            envelope.recipients.push(Recipient { address: address.into(), ..Recipient::default() });
        }
        change(&mut envelope);
        let mut queuing = self.ledger.queue.begin().unwrap();
        queuing.write(text.as_bytes()).unwrap();
        queuing.seal(&envelope).unwrap();
        let id = queuing.id().as_ref().into();
        queuing.commit(Box::new(|result| result.unwrap()));
        id
    }

    fn settle(&self, id: &Id, outcomes: &[(usize, Outcome)], seconds: u64) -> Settled {
        let mut record = Record::new(outcomes.to_vec(), at(seconds));
        let settled = self.ledger.settle(id, &mut record).unwrap();
        if settled.ended {
            self.ledger.end(id, Box::new(|result| result.unwrap()));
        }
        settled
    }

    fn envelope(&self, id: &str) -> Option<Envelope> {
        self.ledger.queue.envelope(&EntryId::parse(id).unwrap()).ok()
    }

    fn text(&self, id: &EntryId) -> String {
        let mut text = String::new();
        self.ledger.queue.message(id).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    /// The one report that came of this.
    fn report(&self, settled: &Settled) -> String {
        assert_eq!(settled.queued.len(), 1);
        self.text(&settled.queued[0].0)
    }
}

const TEXT: &str = "Subject: hi\r\n\r\nbody\r\n";

#[test]
fn each_recipient_has_a_fate_of_its_own() {
    let book = Book::new();
    let id = book.enter(TEXT, |_| {});
    let settled = book.settle(&id, &[(0, delivered(false)), (1, deferred())], 10);
    assert_eq!((settled.delivered, settled.deferred, settled.bounced), (1, 1, 0));
    let wait = settled.next.unwrap().as_secs();
    assert!((50..=70).contains(&wait), "{wait}");
    assert!(settled.queued.is_empty() && !settled.ended);
    let envelope = book.envelope(&id).unwrap();
    assert!(envelope.recipients[0].done && !envelope.recipients[1].done);
    assert_eq!(envelope.recipients[1].last_reply.as_deref(), Some("so it is"));
    assert_eq!(envelope.next, at(10 + wait));
    // What is said of one who is done with counts no more.
    let settled = book.settle(&id, &[(0, failed()), (1, delivered(false))], 100);
    assert_eq!((settled.delivered, settled.bounced, settled.ended), (1, 0, true));
    assert!(book.envelope(&id).is_none());
    let mut record = Record::new(vec![(0, failed())], at(100));
    assert!(book.ledger.settle(&id, &mut record).is_err());
}

#[test]
fn no_peer_makes_an_envelope_too_long() {
    let book = Book::new();
    let id = book.enter(TEXT, |envelope| {
        for count in 0..2000 {
            let address = format!("{count}@next.test");
            envelope.recipients.push(Recipient { address, ..Recipient::default() });
        }
    });
    let outcome = Outcome { text: "%\u{e9}".repeat(3000), ..deferred() };
    let outcomes: Vec<_> = (0..2000).map(|index| (index, outcome.clone())).collect();
    book.settle(&id, &outcomes, 10);
    let envelope = book.envelope(&id).expect("it can still be read");
    let kept = |index: usize| envelope.recipients[index].last_reply.as_ref().unwrap();
    assert!((490..=500).contains(&kept(0).len()) && outcome.text.starts_with(kept(0)));
    assert!(envelope.to_bytes().len() < 4 << 20);
    book.settle(&id, &[(0, delivered(true))], 20);
    assert_eq!(book.envelope(&id).unwrap().recipients[0].last_reply, None);
}

#[test]
fn what_can_not_be_written_down_is_done_later_and_once() {
    let book = Book::new();
    let id = book.enter(TEXT, |_| {});
    let outcomes = vec![(0, failed()), (1, deferred())];
    let mut record = Record::new(outcomes, at(10));
    book.flaws.fail("update", 1);
    let first = book.ledger.settle(&id, &mut record).unwrap();
    assert!(first.again && !first.ended);
    assert_eq!((first.bounced, first.deferred, first.queued.len()), (1, 1, 1));
    assert_eq!(book.envelope(&id).unwrap().recipients[1].attempts, 0);
    let second = book.ledger.settle(&id, &mut record).unwrap();
    assert!(!second.again && second.next == first.next);
    assert_eq!((second.bounced, second.deferred, second.queued.len()), (0, 0, 0));
    let envelope = book.envelope(&id).unwrap();
    assert!(envelope.recipients[0].done);
    assert_eq!(envelope.recipients[1].attempts, 1);
}

#[test]
fn a_report_that_can_not_be_kept_is_kept_later() {
    let mut book = Book::new();
    book.ledger.schedule.warn = Some(Duration::from_secs(3600));
    let id = book.enter(TEXT, |envelope| {
        let address = "z@next.test".to_owned();
        let notify = Some("SUCCESS".to_owned());
        envelope.recipients.push(Recipient { address, notify, ..Recipient::default() });
    });
    let outcomes = vec![(0, failed()), (1, deferred()), (2, delivered(false))];
    let mut record = Record::new(outcomes, at(7200));
    book.flaws.fail("begin", 2);
    for _ in 0..2 {
        let settled = book.ledger.settle(&id, &mut record).unwrap();
        assert!(settled.again && !settled.ended && settled.queued.is_empty());
        let [x, y, z] = &book.envelope(&id).unwrap().recipients[..] else { panic!() };
        assert!(!x.done && !y.warned && z.done);
        assert_eq!([x.attempts, y.attempts, z.attempts], [1, 1, 1]);
    }
    let settled = book.ledger.settle(&id, &mut record).unwrap();
    assert!(!settled.again);
    let told = book.text(&settled.queued[0].0);
    let all = settled.queued.len();
    assert!(all == 1 && ["failed", "delayed", "relayed"].iter().all(|what| told.contains(what)));
    let [x, y, z] = &book.envelope(&id).unwrap().recipients[..] else { panic!() };
    assert!(x.done && y.warned && z.done && !y.done);
}

#[test]
fn an_entry_stays_until_all_of_it_is_told() {
    let book = Book::new();
    let id = book.enter(TEXT, |envelope| envelope.recipients[0].notify = Some("SUCCESS".into()));
    let mut relayed = Record::new(vec![(0, delivered(false))], at(10));
    book.flaws.fail("begin", 1);
    assert!(book.ledger.settle(&id, &mut relayed).unwrap().again);
    // Another destination's is the last one, and nothing is to be told of it.
    let other = book.settle(&id, &[(1, delivered(true))], 11);
    assert!(!other.ended && !other.again && other.next.is_none() && other.queued.is_empty());
    assert!(book.envelope(&id).unwrap().recipients.iter().all(|one| one.done));
    let settled = book.ledger.settle(&id, &mut relayed).unwrap();
    assert!(settled.ended && book.report(&settled).contains("Action: relayed"));
    // One that is given up keeps nothing back.
    let id = book.enter(TEXT, |envelope| envelope.recipients[0].notify = Some("SUCCESS".into()));
    let mut relayed = Record::new(vec![(0, delivered(false))], at(10));
    book.flaws.fail("begin", 1);
    assert!(book.ledger.settle(&id, &mut relayed).unwrap().again);
    drop(relayed);
    assert!(book.settle(&id, &[(1, delivered(true))], 11).ended);
}

#[test]
fn an_entry_that_can_not_be_ended_is_marked() {
    let book = Book::new();
    let id = book.enter(TEXT, |_| {});
    book.flaws.fail("retire", 1);
    book.ledger.end_again(&id, Box::new(|result| assert!(result.is_err())));
    assert!(book.envelope(&id).unwrap().recipients.iter().all(|one| one.done));
    book.ledger.end_again(&id, Box::new(|result| result.unwrap()));
    assert!(book.envelope(&id).is_none());
}

#[test]
fn a_message_that_is_gone_is_not_an_entry_that_is_gone() {
    let book = Book::new();
    let ways = Ways::new(Vec::new(), None, None);
    let id = book.enter(TEXT, |_| {});
    let parcel = Parcel { id: Arc::clone(&id), place: ways.place("x@next.test") };
    assert_eq!(book.ledger.open(&ways, &parcel).unwrap().recipients, [0, 1]);
    let messages = book._folder.path().join("queue/messages");
    std::fs::remove_file(messages.join(&*id)).unwrap();
    let opened = book.ledger.open(&ways, &parcel);
    assert!(matches!(opened, Err(MailError::Envelope(_))), "{opened:?}");
    book.ledger.drop_entry(&id).unwrap();
    assert!(matches!(book.ledger.open(&ways, &parcel), Err(MailError::Missing)));
}

#[test]
fn waits_grow_and_are_spread() {
    let schedule = Schedule::default();
    let minutes = |attempts| schedule.wait(attempts, 512).as_secs_f64() / 60.0;
    assert_eq!([1, 2, 3, 4, 5, 6, 1000].map(minutes), [1.0, 5.0, 15.0, 60.0, 240.0, 240.0, 240.0]);
    let waits: HashSet<_> = (0..1024).map(|random| schedule.wait(1, random)).collect();
    assert_eq!(waits.len(), 1024);
    let (least, most) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
    assert!(*least >= Duration::from_secs(50) && *most <= Duration::from_secs(70));
}

#[test]
fn a_failure_is_told_with_all_that_belongs_to_it() {
    let book = Book::new();
    let id = book.enter(TEXT, |envelope| {
        envelope.envid = Some("QQ+3D1".into());
        envelope.recipients[0].orcpt = Some("rfc822;old+2Btag@b.test".into());
    });
    let settled = book.settle(&id, &[(0, failed()), (1, failed())], 10);
    assert!(settled.ended);
    let (report_id, envelope) = &settled.queued[0];
    assert_eq!(
        (envelope.sender.as_str(), envelope.recipients[0].address.as_str()),
        ("", "a@b.test")
    );
    assert_eq!(envelope.recipients[0].notify.as_deref(), Some("NEVER"));
    let report = book.report(&settled);
    let boundary = format!("{id}/we.test");
    let parts: Vec<&str> = report.split(&format!("--{boundary}")).collect();
    assert_eq!(parts.len(), 5, "{report}");
    assert!(parts[0].starts_with("Received: by we.test (Medusa)"));
    assert!(parts[0].contains(&format!("\tboundary=\"{boundary}\"\r\n")));
    assert!(parts[1].contains("could not be delivered to:\r\n\r\n  <x@next.test>\r\n"));
    let status = parts[2].split_once("\r\n\r\n").unwrap().1;
    assert_eq!(
        status,
        format!(
            "Original-Envelope-Id: QQ=1\r\nReporting-MTA: dns; we.test\r\nX-Queue-ID: {id}\r\n\
             Arrival-Date: Sun, 09 Sep 2001 01:46:40 +0000\r\n\r\n\
             Original-Recipient: rfc822; old+tag@b.test\r\n\
             Final-Recipient: rfc822; x@next.test\r\nAction: failed\r\nStatus: 5.1.1\r\n\
             Remote-MTA: dns; mx.next.test\r\nDiagnostic-Code: smtp; so it is\r\n\
             Last-Attempt-Date: Sun, 09 Sep 2001 01:46:50 +0000\r\n\r\n\
             Final-Recipient: rfc822; y@next.test\r\nAction: failed\r\nStatus: 5.1.1\r\n\
             Remote-MTA: dns; mx.next.test\r\nDiagnostic-Code: smtp; so it is\r\n\
             Last-Attempt-Date: Sun, 09 Sep 2001 01:46:50 +0000\r\n\r\n"
        )
    );
    assert!(parts[3].ends_with(&format!("\r\n\r\n{TEXT}\r\n")), "{}", parts[3]);
    assert_eq!(parts[4], "--\r\n");
    // A report that can't be delivered is the end of it.
    let report_id: Id = report_id.as_ref().into();
    let settled = book.settle(&report_id, &[(0, failed())], 20);
    assert!(settled.ended && settled.queued.is_empty());
}

#[test]
fn a_report_holds_what_its_labels_say() {
    let book = Book::new();
    let id = book.enter(TEXT, |envelope| envelope.envid = Some("+C3+A9".into()));
    let said = Outcome { text: "550 caf\u{e9}".into(), ..failed() };
    let settled = book.settle(&id, &[(0, said)], 10);
    let report = book.report(&settled);
    assert!(report.is_ascii() && !report.contains("8bit"), "{report}");
    assert!(report.contains("Diagnostic-Code: smtp; 550 caf?\r\n"), "{report}");
    // A message that came as 7-bit text, and isn't: in its beginning, or far behind it.
    for text in
        ["A: b\r\n\r\n\u{e9}\r\n".to_owned(), format!("{TEXT}{}\u{e9}\r\n", "x".repeat(70_000))]
    {
        let id = book.enter(&text, |envelope| envelope.ret = Some("FULL".into()));
        let settled = book.settle(&id, &[(0, failed())], 10);
        let report = book.report(&settled);
        assert_eq!(report.matches("Content-Transfer-Encoding: 8bit").count(), 2);
        assert_eq!(settled.queued[0].1.body, Body::EightBitMime);
    }
}

#[test]
fn the_first_warning_is_foreseen() {
    let mut book = Book::new();
    let mut envelope = Envelope::new("a@b.test", at(0));
    for notify in [Some("DELAY"), None] {
        let notify = notify.map(str::to_owned);
        envelope.recipients.push(Recipient { notify, ..Recipient::default() });
    }
    assert_eq!(book.ledger.warns(&envelope), Some(at(4 * 60 * 60)));
    envelope.recipients[0].warned = true;
    assert_eq!(book.ledger.warns(&envelope), None);
    book.ledger.schedule.warn = Some(Duration::from_secs(60));
    assert_eq!(book.ledger.warns(&envelope), Some(at(60)));
}

/// Has no accounts.
struct Nobody;

impl crate::Directory for Nobody {
    fn recipient(&self, _: &str, _: &str) -> medusa_accounts::Recipient {
        medusa_accounts::Recipient::Unknown
    }
}

#[test]
fn the_postmaster_is_told_without_an_account() {
    let mut book = Book::new();
    let maildrops = tempfile::tempdir().unwrap();
    let store = Arc::new(medusa_mail::MaildirStore::open(maildrops.path(), "we.test").unwrap());
    let domains = vec!["b.test".to_owned()];
    book.ledger.poster.local =
        Some(crate::sending::bounce::Local { domains, directory: Arc::new(Nobody), store });
    for (sender, count) in [
        ("nobody@b.test", 0),
        ("Postmaster@b.test", 1),
        // Who reports and takes answers at the server's own name, which isn't among the domains.
        ("postmaster@we.test", 2),
        ("MAILER-DAEMON@WE.test", 3),
    ] {
        let id = book.enter(TEXT, |envelope| envelope.sender = sender.into());
        let settled = book.settle(&id, &[(0, failed()), (1, failed())], 10);
        assert!(settled.ended && settled.queued.is_empty());
        let new = maildrops.path().join("postmaster/new");
        assert_eq!(std::fs::read_dir(new).map_or(0, Iterator::count), count, "{sender}");
    }
}

#[test]
fn as_much_is_returned_as_the_sender_wants() {
    let book = Book::new();
    let check =
        |text: &str, ret: Option<&str>, body: Body, smtputf8: bool, kind: &str, whole: bool| {
            let id = book.enter(text, |envelope| {
                envelope.ret = ret.map(str::to_owned);
                envelope.body = body;
                envelope.smtputf8 = smtputf8;
            });
            let settled = book.settle(&id, &[(0, failed())], 10);
            let report = book.report(&settled);
            assert!(report.contains(&format!("\r\nContent-Type: {kind}\r\n")), "{kind}\n{report}");
            assert_eq!(report.contains("body"), whole, "{kind}");
            settled.queued[0].1.clone()
        };
    let long = format!("{TEXT}{}", "x".repeat(70_000));
    let seven = Body::SevenBit;
    check(TEXT, None, seven, false, "message/rfc822", true);
    check(&long, None, seven, false, "text/rfc822-headers", false);
    check(&long, Some("FULL"), seven, false, "message/rfc822", true);
    check(TEXT, Some("HDRS"), seven, false, "text/rfc822-headers", false);
    check(TEXT, Some("FULL"), Body::BinaryMime, false, "text/rfc822-headers", false);
    let envelope = check(TEXT, None, Body::EightBitMime, false, "message/rfc822", true);
    assert_eq!((envelope.body, envelope.smtputf8), (Body::EightBitMime, false));
    let envelope = check(TEXT, None, seven, true, "message/global", true);
    assert_eq!((envelope.body, envelope.smtputf8), (Body::EightBitMime, true));
    let envelope = check(
        "Subject: \u{e9}\r\n\r\nbody\r\n",
        Some("HDRS"),
        seven,
        false,
        "message/global-headers",
        false,
    );
    assert!(envelope.smtputf8);
}

#[test]
fn who_is_told_of_what() {
    // NOTIFY, whether the next server tells, and what comes of failure, success and a day's wait.
    let rows: [(Option<&str>, bool, [bool; 3]); 7] = [
        (None, false, [true, false, false]),
        (Some("NEVER"), false, [false, false, false]),
        (Some("FAILURE"), false, [true, false, false]),
        (Some("SUCCESS"), false, [false, true, false]),
        (Some("SUCCESS"), true, [false, false, false]),
        (Some("delay,failure"), false, [true, false, true]),
        (Some("SUCCESS,DELAY"), false, [false, true, true]),
    ];
    let book = Book::new();
    for (notify, dsn, told) in rows {
        for (outcome, told) in [failed(), delivered(dsn), deferred()].into_iter().zip(told) {
            let id = book.enter(TEXT, |envelope| {
                envelope.recipients[0].notify = notify.map(str::to_owned);
            });
            let fate = outcome.fate.clone();
            let settled = book.settle(&id, &[(0, outcome)], DAY);
            assert_eq!(settled.queued.len(), usize::from(told), "{notify:?} {fate:?}");
            if told {
                let report = book.report(&settled);
                let action = match fate {
                    Fate::Failed => "failed",
                    Fate::Deferred => "delayed",
                    Fate::Delivered { .. } => "relayed",
                };
                assert!(report.contains(&format!("\r\nAction: {action}\r\n")), "{report}");
                assert_eq!(report.contains("Will-Retry-Until"), action == "delayed");
            }
        }
    }
}

#[test]
fn a_wait_is_told_once_and_an_end_at_last() {
    let mut book = Book::new();
    book.ledger.schedule.warn = Some(Duration::from_secs(3600));
    let id = book.enter(TEXT, |_| {});
    assert!(book.settle(&id, &[(0, deferred())], 3599).queued.is_empty());
    assert_eq!(book.settle(&id, &[(0, deferred())], 3600).queued.len(), 1);
    assert!(book.settle(&id, &[(0, deferred())], 7200).queued.is_empty());
    let settled = book.settle(&id, &[(0, deferred()), (1, deferred())], 5 * DAY);
    assert!(settled.ended && settled.next.is_none());
    assert_eq!(settled.bounced, 2);
    let report = book.report(&settled);
    for part in ["Status: 5.4.7\r\n", "Diagnostic-Code: smtp; so it is\r\n", "tried for too long"] {
        assert!(report.contains(part), "{part}\n{report}");
    }
    // Who has asked to be told of that isn't told later than the others.
    let id = book.enter(TEXT, |envelope| {
        envelope.recipients[0].notify = Some("DELAY".into());
    });
    let mut outcome = deferred();
    outcome.host = Some("127.0.0.1".into());
    let report = book.report(&book.settle(&id, &[(0, outcome)], 3600));
    assert!(report.contains("\r\nRemote-MTA: dns; [127.0.0.1]\r\n"), "{report}");
}

#[test]
fn nothing_of_a_peer_breaks_out_of_a_report() {
    let book = Book::new();
    let id = book.enter(TEXT, |envelope| {
        envelope.recipients[0].orcpt = Some("rfc822;a+0D+0AAction: delivered".into());
        envelope.envid = Some("x+0D+0A+0D+0Ay".into());
    });
    let mut outcome = failed();
    outcome.text = format!("550 {} \r\n\r\nAction: delivered \u{7f}", "word ".repeat(200));
    let settled = book.settle(&id, &[(0, outcome)], 10);
    let report = book.report(&settled);
    assert_eq!(report.matches("\r\nAction:").count(), 1, "{report}");
    assert!(
        report.split("\r\n").all(|line| line.len() < 998 && !line.contains(['\r', '\n', '\u{7f}']))
    );
}
