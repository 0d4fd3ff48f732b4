//! However an attempt goes, it comes back: its entry is done with, waits, or is held.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use medusa_core::testing::{Asked, Client, Datagrams, Faults};
use medusa_mail::{
    Action, Commits, DiskQueue, EntryId, Envelope, Queue, QueueView, RealDisk, Recipient, Request,
};

use crate::default_limits;
use crate::sending::flawed::Flawed;
use crate::sending::route::{Relay, Way};
use crate::sending::{Outbound, Sending};

const SECOND: Duration = Duration::from_secs(1);

/// A worker of its own, a queue that has flaws, and whoever is at the other end of connections.
struct House {
    queue: Arc<Flawed>,
    sending: Sending,
    worker: Datagrams,
    folder: tempfile::TempDir,
}

/// The clock that a test's worker begins with.
fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)
}

impl House {
    /// With one entry, for recipients each at a server of his own, and the worker about to open the queue.
    fn new(recipients: &[&str]) -> House {
        let folder = tempfile::tempdir().unwrap();
        let queue = DiskQueue::open(folder.path(), Arc::new(RealDisk), Commits::AtOnce);
        let queue = Arc::new(Flawed::new(queue.unwrap()));
        let ways = recipients.iter().enumerate().map(|(at, address)| {
            let mut way = Way::new(address.split_once('@').unwrap().1);
            way.relay = Relay::parse(&format!("127.0.0.1:{}", at + 1));
            way
        });
        let sending = Outbound::new(queue.clone(), "we.test").with_ways(ways.collect());
        let sending = sending.build().unwrap();
        let mut envelope = Envelope::new("a@b.test", start());
        for address in recipients {
            let address = (*address).to_owned();
            envelope.recipients.push(Recipient { address, ..Recipient::default() });
        }
        let mut queuing = queue.begin().unwrap();
        queuing.write(b"Subject: hi\r\n\r\nhi\r\n").unwrap();
        queuing.seal(&envelope).unwrap();
        queuing.commit(Box::new(|result| result.unwrap()));
        let worker = Datagrams::at(sending.worker(), &[]);
        House { queue, sending, worker, folder }
    }

    fn view(&self) -> QueueView {
        QueueView::open(self.folder.path()).unwrap()
    }

    fn id(&self) -> EntryId {
        self.queue.entries().unwrap()[0].id.clone()
    }

    fn path(&self, folder: &str) -> PathBuf {
        self.folder.path().join(folder).join(self.id().as_ref())
    }

    /// Does all that is to be done now.
    fn run(&mut self) -> &mut House {
        self.worker.run_jobs().deliver();
        self.worker.run_jobs().deliver();
        self
    }

    fn wait(&mut self, time: Duration) -> &mut House {
        self.worker.advance(time);
        self.run()
    }

    /// The connections that it has asked for.
    fn connections(&mut self) -> Vec<Client> {
        let asked = self.worker.asked().into_iter().filter_map(|asked| match asked {
            Asked::Connect(_, _, session) => {
                Some(Client::with(session, default_limits(), Faults::none()))
            }
            _ => None,
        });
        asked.collect()
    }

    /// The one that it has asked for, with its message sent but for the verdict.
    fn sending(&mut self) -> Client {
        let mut client = self.connections().pop().expect("a connection");
        for line in ["220 hi", "250 hi", "250 sender", "250 recipient", "354 go on"] {
            client.send(format!("{line}\r\n"));
        }
        assert!(client.text().ends_with("\r\n.\r\n"));
        client
    }

    /// Nobody can leave it a note any more.
    fn fill(&mut self) {
        let remote = self.worker.remote().expect("it is there");
        while remote.notify(()).is_ok() {}
    }

    fn assert_done(&self) {
        assert!(self.worker.is_idle(), "an attempt has not come back");
        assert_eq!(self.sending.queue_length(), 0);
        assert!(self.queue.entries().unwrap().is_empty());
        let counts = &self.sending.0.counts;
        assert_eq!((counts.queued.value(), counts.dequeued.value()), (1, 1));
    }

    /// Held, seen by operators, and nothing of it is under way or to be sent.
    fn assert_held(&mut self) {
        assert!(self.worker.is_idle(), "an attempt has not come back");
        assert_eq!(self.sending.queue_length(), 0);
        assert!(self.view().entries().unwrap()[0].held);
        self.wait(Duration::from_secs(5 * 60 * 60));
        assert!(self.connections().is_empty(), "what is held was tried");
        let counts = &self.sending.0.counts;
        assert_eq!((counts.queued.value(), counts.dequeued.value()), (1, 1));
    }
}

#[test]
fn nothing_is_lost_to_a_full_mailbox() {
    let mut house = House::new(&["x@next.test"]);
    let mut client = house.run().sending();
    // What a connection reports,
    house.fill();
    client.send("250 taken\r\n");
    house.worker.deliver();
    house.worker.advance(SECOND);
    // and that the entry has ended.
    house.fill();
    house.run().wait(SECOND);
    house.assert_done();
}

#[test]
fn a_connection_that_only_disappears_is_heard_of() {
    let mut house = House::new(&["x@next.test"]);
    // As one whose session has panicked.
    drop(house.run().worker.asked());
    house.wait(SECOND);
    assert!(house.worker.is_idle());
    assert_eq!(house.sending.queue_length(), 1);
    house.wait(Duration::from_secs(75));
    house.sending().send("250 taken\r\n");
    house.run();
    house.assert_done();
}

#[test]
fn jobs_that_panic_give_their_attempt_back() {
    // While the entry is opened: it is tried again.
    let mut house = House::new(&["x@next.test"]);
    house.queue.panic("message", 1);
    house.run();
    assert!(house.worker.is_idle() && house.connections().is_empty());
    house.wait(Duration::from_secs(75));
    // While it is written down: that is repeated, and nothing sent again.
    let mut client = house.sending();
    house.queue.panic("envelope", 2);
    client.send("250 taken\r\n");
    house.run().wait(SECOND);
    assert!(!house.worker.is_idle() && house.connections().is_empty());
    // While it ends: that is, too.
    house.queue.panic("retire", 1);
    house.wait(2 * SECOND).wait(4 * SECOND);
    house.assert_done();
}

#[test]
fn an_entry_that_has_the_ledger_panic_each_time_is_held() {
    let mut house = House::new(&["x@next.test"]);
    let mut client = house.run().sending();
    house.queue.panic("envelope", 4);
    // It can't be held at once either.
    house.queue.fail("hold", 1);
    client.send("250 taken\r\n");
    house.run();
    for seconds in [1, 2, 4, 8] {
        house.wait(seconds * SECOND);
    }
    house.assert_held();
}

#[test]
fn reading_the_queue_and_requests_survives_panics() {
    let mut house = House::new(&["x@next.test"]);
    house.queue.panic("entries", 1);
    house.run();
    assert_eq!(house.sending.queue_length(), 0);
    house.queue.panic("requests", 1);
    house.wait(10 * SECOND).wait(SECOND);
    assert_eq!(house.sending.queue_length(), 1);
    // So that it isn't being sent.
    for mut client in house.connections() {
        client.send("421 later\r\n");
    }
    house.run();
    let request = Request { id: Some(house.id()), action: Action::Drop };
    house.view().ask(&request).unwrap();
    house.wait(SECOND);
    house.assert_done();
}

#[test]
fn an_entry_that_is_damaged_while_it_waits_is_held_at_once() {
    let mut house = House::new(&["x@next.test", "y@other.test"]);
    house.run();
    for mut client in house.connections() {
        client.send("421 later\r\n");
    }
    house.run();
    assert_eq!(house.sending.queue_length(), 1);
    let whole = std::fs::read(house.path("waiting")).unwrap();
    std::fs::write(house.path("waiting"), "damaged").unwrap();
    house.wait(Duration::from_secs(75));
    house.assert_held();
    // An operator mends it and has it released.
    std::fs::write(house.path("held"), whole).unwrap();
    house.view().ask(&Request { id: None, action: Action::Retry }).unwrap();
    house.wait(SECOND);
    assert_eq!(house.connections().len(), 2);
}

#[test]
fn an_entry_that_is_damaged_while_it_is_sent_is_held() {
    let mut house = House::new(&["x@next.test"]);
    let mut client = house.run().sending();
    std::fs::write(house.path("waiting"), "damaged").unwrap();
    client.send("250 taken\r\n");
    house.run();
    house.assert_held();
}

#[test]
fn an_entry_without_its_message_is_held() {
    let mut house = House::new(&["x@next.test"]);
    std::fs::remove_file(house.path("messages")).unwrap();
    house.run();
    house.assert_held();
}
