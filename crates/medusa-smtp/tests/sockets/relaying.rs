//! Mail for elsewhere: submitted, queued, and sent on to servers that are real, scripted or not there.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use medusa_accounts::{Logins, ThrottleLimits};
use medusa_core::config::Listen;
use medusa_core::server::Running;
use medusa_core::{Server, ServiceParts};
use medusa_mail::{
    Commits, DiskQueue, EntryId, Envelope, MaildirStore, Queue, RealDisk, Recipient,
};
use medusa_resolver::{Data, Fixed, Name};
use medusa_smtp::{
    Authorities, Outbound, PlaintextLogin, Relay, Schedule, Security, Sending, SmtpService, Way,
};

use crate::flawed::Flawed;
use crate::support::{Everybody, Kind, Line, PATIENCE, messages, serve};

/// Waits until something is so.
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        thread::yield_now();
    }
}

fn queue(folder: &Path) -> Arc<dyn Queue> {
    Arc::new(DiskQueue::at(&folder.join("queue"), Arc::new(RealDisk), Commits::InThread))
}

fn retrying(every: Duration) -> Schedule {
    let mut schedule = Schedule::default();
    schedule.retry = vec![every];
    schedule
}

fn mx(preference: u16, host: &str) -> Data {
    Data::Mx { preference, exchange: Name::new(host).unwrap() }
}

/// Puts a message from `sender` into the queue, as a program would.
fn enqueue(sending: &Sending, sender: &str, recipients: Vec<Recipient>) -> EntryId {
    let mut envelope = Envelope::new(sender, SystemTime::now());
    envelope.recipients = recipients;
    let mut queuing = sending.queue().begin().unwrap();
    queuing.write(b"Subject: from a program\r\n\r\nhello\r\n").unwrap();
    queuing.seal(&envelope).unwrap();
    let id = queuing.id().clone();
    let (tell, told) = mpsc::channel();
    queuing.commit(Box::new(move |result| tell.send(result).unwrap()));
    told.recv().unwrap().unwrap();
    sending.queued(&id, &envelope);
    id
}

fn recipient(address: &str, notify: Option<&str>) -> Recipient {
    let notify = notify.map(str::to_owned);
    Recipient { address: address.into(), notify, ..Recipient::default() }
}

/// A submission server for `example.test` that sends on as it is told.
fn submission(folder: &Path, outbound: Outbound) -> (Running, SocketAddr, Sending) {
    let store = Arc::new(MaildirStore::open(&folder.join("mail"), "out.example.test").unwrap());
    let domains = vec!["example.test".to_owned()];
    let outbound = outbound.with_local(domains.clone(), Arc::new(Everybody), store.clone());
    let sending = outbound.build().unwrap();
    let service = SmtpService::new(
        ServiceParts::new("smtp.submission").listen(Listen::Inet(([127, 0, 0, 1], 0).into())),
        "out.example.test",
        domains,
        Everybody,
        store,
    );
    let logins = Logins::new(Arc::new(Everybody), ThrottleLimits::default());
    let service = service
        .with_submission(logins, PlaintextLogin::Loopback)
        .with_sending(Some(sending.clone()))
        .build();
    let server = Server::builder().shards(2).mount(service).bind().unwrap();
    let Listen::Inet(address) = server.bound()[0].address else { panic!("not TCP") };
    (server.start().unwrap(), address, sending)
}

/// Submits a message from alice; the code that its end gets.
fn submit(address: SocketAddr, recipients: &[&str], text: &str) -> u16 {
    let mut line = Line::connect(address).unwrap();
    let mut say = |text: &str, code: u16| {
        if !text.is_empty() {
            line.send(&format!("{text}\r\n")).unwrap();
        }
        assert_eq!(line.code().unwrap(), code, "{text}");
    };
    say("", 220);
    say("EHLO client.test", 250);
    // `\0alice\0ecila`
    say("AUTH PLAIN AGFsaWNlAGVjaWxh", 235);
    say("MAIL FROM:<alice@example.test>", 250);
    for recipient in recipients {
        say(&format!("RCPT TO:<{recipient}>"), 250);
    }
    say("DATA", 354);
    line.send(&format!("{text}\r\n.\r\n")).unwrap();
    line.code().unwrap()
}

/// One who answers as a test says, and tells what it was told.
struct Scripted {
    address: SocketAddr,
    heard: mpsc::Receiver<String>,
}

/// Serves any number of connections, which are counted; `answer` is asked for the reply to each line, and with "" for the
/// greeting. A message's text is one line to it.
fn scripted(answer: impl FnMut(usize, &str) -> String + Send + 'static) -> Scripted {
    scripted_at(([127, 0, 0, 1], 0).into(), answer)
}

fn scripted_at(
    address: SocketAddr,
    answer: impl FnMut(usize, &str) -> String + Send + 'static,
) -> Scripted {
    let listener = TcpListener::bind(address).unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, heard) = mpsc::channel();
    let answer = Arc::new(Mutex::new(answer));
    thread::spawn(move || {
        for (count, stream) in listener.incoming().enumerate() {
            let Ok(stream) = stream else { return };
            let (answer, tell) = (Arc::clone(&answer), tell.clone());
            thread::spawn(move || {
                converse(stream, &mut |line| (answer.lock().unwrap())(count, line), &tell)
            });
        }
    });
    Scripted { address, heard }
}

fn converse(
    stream: TcpStream,
    answer: &mut dyn FnMut(&str) -> String,
    tell: &mpsc::Sender<String>,
) -> Option<()> {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    let mut in_text = false;
    loop {
        if in_text && !line.ends_with("\r\n.\r\n") && line != ".\r\n" {
            if reader.read_line(&mut line).ok()? == 0 {
                return Some(());
            }
            continue;
        }
        if !line.is_empty() {
            tell.send(line.trim_end().to_owned()).ok()?;
        }
        let reply = answer(line.trim_end());
        if reply.is_empty() || reader.get_mut().write_all(reply.as_bytes()).is_err() {
            return Some(());
        }
        in_text = reply.starts_with("354");
        line.clear();
        if !in_text && reader.read_line(&mut line).unwrap_or(0) == 0 {
            return Some(());
        }
    }
}

/// What a server says that takes everything and offers nothing.
fn plainly(line: &str) -> String {
    let verb = line.split([' ', ':']).next().unwrap_or_default();
    match verb {
        "" => "220 next.test\r\n",
        "DATA" => "354 go on\r\n",
        "QUIT" => "",
        _ => "250 next.test\r\n",
    }
    .to_owned()
}

impl Scripted {
    fn hear(&self) -> String {
        self.heard.recv_timeout(PATIENCE).expect("something is said")
    }

    /// Everything up to a line that begins so.
    fn hear_until(&self, verb: &str) -> Vec<String> {
        let mut heard = Vec::new();
        loop {
            heard.push(self.hear());
            if heard[heard.len() - 1].starts_with(verb) {
                return heard;
            }
        }
    }

    fn relay(&self) -> Option<Relay> {
        Relay::parse(&self.address.to_string())
    }
}

#[test]
fn from_one_server_to_the_next() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mx, address) = serve(there.path(), &Kind::Mx);
    let relay = Relay::parse(&address.to_string());
    let outbound = Outbound::new(queue(here.path()), "out.example.test").with_relay(relay);
    let (running, address, sending) = submission(here.path(), outbound);
    // One here, which is example.test for both; the others' server knows it as its own.
    let text = "Subject: hello\r\n\r\n..two dots\r\n";
    assert_eq!(submit(address, &["bob@example.test"], text), 250);
    until("local mail", || messages(here.path(), "bob", "new").len() == 1);
    assert_eq!(sending.queue_length(), 0);
    running.handle().stop();
    running.join().unwrap();
    mx.handle().stop();
    mx.join().unwrap();
}

#[test]
fn a_relay_gets_what_is_for_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let next = scripted(|_, line| plainly(line));
    let outbound = Outbound::new(queue(folder.path()), "out.example.test").with_relay(next.relay());
    let (running, address, sending) = submission(folder.path(), outbound);
    let to = ["x@elsewhere.test", "bob@example.test", "y@other.test"];
    assert_eq!(submit(address, &to, "Subject: hello\r\n\r\n..two dots"), 250);
    let heard = next.hear_until("Received:");
    assert_eq!(
        heard[..5],
        [
            "EHLO out.example.test",
            "MAIL FROM:<alice@example.test>",
            "RCPT TO:<x@elsewhere.test>",
            "RCPT TO:<y@other.test>",
            "DATA"
        ]
    );
    assert!(heard[5].ends_with("\r\n\r\n..two dots\r\n."), "{}", heard[5]);
    assert!(!heard[5].contains("Return-Path"), "{}", heard[5]);
    until("the queue is empty", || sending.queue_length() == 0);
    assert!(sending.queue().entries().unwrap().is_empty());
    let here = messages(folder.path(), "bob", "new");
    assert!(here[0].starts_with("Return-Path: <alice@example.test>\r\nReceived: "), "{}", here[0]);
    running.handle().stop();
    running.join().unwrap();
}

#[test]
fn a_domains_servers_are_tried_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let next = scripted_at(([127, 0, 0, 2], 0).into(), |_, line| plainly(line));
    // At the first's address nobody listens.
    let fixed = Fixed::new()
        .with("elsewhere.test", [mx(20, "second.test"), mx(10, "first.test")])
        .with("first.test", [Data::A([127, 0, 0, 3].into())])
        .with("second.test", [Data::A([127, 0, 0, 2].into())])
        .with("null.test", [mx(0, ".")]);
    let outbound = Outbound::new(queue(folder.path()), "out.example.test")
        .with_resolver(Arc::new(fixed))
        .with_port(next.address.port());
    let (running, address, sending) = submission(folder.path(), outbound);
    let to = ["x@elsewhere.test", "x@null.test", "x@missing.test", "x@[127.0.0.2]"];
    assert_eq!(submit(address, &to, "Subject: hello\r\n\r\nx"), 250);
    until("the queue is empty", || sending.queue_length() == 0);
    let mut heard: Vec<String> = Vec::new();
    while let Ok(line) = next.heard.try_recv() {
        heard.push(line);
    }
    for to in ["RCPT TO:<x@elsewhere.test>", "RCPT TO:<x@[127.0.0.2]>"] {
        assert_eq!(heard.iter().filter(|line| *line == to).count(), 1, "{heard:?}");
    }
    // The two that nobody takes mail for have come back, each on its own.
    let reports = messages(folder.path(), "alice", "new").join("");
    assert!(
        reports.contains(
            "Final-Recipient: rfc822; x@null.test\r\nAction: failed\r\nStatus: 5.1.10\r\n"
        )
    );
    assert!(reports.contains(
        "Final-Recipient: rfc822; x@missing.test\r\nAction: failed\r\nStatus: 5.1.2\r\n"
    ));
    running.handle().stop();
    running.join().unwrap();
}

#[test]
fn what_is_refused_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let next = scripted(|_, line| match line {
        "RCPT TO:<x@elsewhere.test>" => "550-5.1.1 nobody\r\n550 5.1.1 of that name\r\n".into(),
        line => plainly(line),
    });
    let outbound = Outbound::new(queue(folder.path()), "out.example.test").with_relay(next.relay());
    let (running, address, sending) = submission(folder.path(), outbound);
    let to = ["x@elsewhere.test", "y@elsewhere.test"];
    assert_eq!(submit(address, &to, "Subject: precious\r\n\r\nsecret body"), 250);
    until("the queue is empty", || sending.queue_length() == 0);
    let reports = messages(folder.path(), "alice", "new");
    assert_eq!(reports.len(), 1);
    let report = &reports[0];
    for part in [
        "Return-Path: <>\r\n",
        "\r\nTo: <alice@example.test>\r\n",
        "\r\nAuto-Submitted: auto-replied\r\n",
        "Content-Type: multipart/report; report-type=delivery-status;",
        "Content-Type: message/delivery-status\r\n",
        "\r\nReporting-MTA: dns; out.example.test\r\n",
        "\r\nFinal-Recipient: rfc822; x@elsewhere.test\r\nAction: failed\r\nStatus: 5.1.1\r\n",
        "Diagnostic-Code: smtp; 550 5.1.1 nobody of that name\r\n",
        "Content-Type: message/rfc822\r\n",
        "Subject: precious\r\n\r\nsecret body\r\n",
    ] {
        assert!(report.contains(part), "{part:?} is not in\n{report}");
    }
    assert!(!report.contains("y@elsewhere"), "{report}");
    // Never a report about a report.
    let gone = enqueue(&sending, "", vec![recipient("x@elsewhere.test", None)]);
    until("the queue is empty", || sending.queue_length() == 0);
    assert!(sending.queue().envelope(&gone).is_err());
    // Nor where the sender wants none.
    let to = vec![recipient("x@elsewhere.test", Some("NEVER"))];
    enqueue(&sending, "alice@example.test", to);
    until("the queue is empty", || sending.queue_length() == 0);
    // And of what the next server won't report, where the sender wants that.
    let to = vec![recipient("y@elsewhere.test", Some("SUCCESS"))];
    enqueue(&sending, "alice@example.test", to);
    until("the queue is empty", || sending.queue_length() == 0);
    let reports = messages(folder.path(), "alice", "new");
    assert_eq!(reports.len(), 2);
    assert!(
        reports.iter().any(|report| report.contains("\r\nAction: relayed\r\nStatus: 2.0.0\r\n"))
    );
    // A sender elsewhere is told by mail.
    enqueue(&sending, "bob@away.test", vec![recipient("x@elsewhere.test", None)]);
    let heard = next.hear_until("RCPT TO:<bob@away.test>");
    assert_eq!(heard[heard.len() - 2], "MAIL FROM:<>");
    until("the queue is empty", || sending.queue_length() == 0);
    running.handle().stop();
    running.join().unwrap();
}

#[test]
fn what_waits_is_tried_again_and_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let mut count = 0;
    let next = scripted(move |_, line| match line {
        "RCPT TO:<x@elsewhere.test>" => {
            count += 1;
            if count < 3 { "450 4.2.0 later\r\n".into() } else { "250 now\r\n".into() }
        }
        "RCPT TO:<never@elsewhere.test>" => "450 4.2.0 later\r\n".into(),
        line => plainly(line),
    });
    let outbound = Outbound::new(queue(folder.path()), "out.example.test")
        .with_relay(next.relay())
        .with_schedule(retrying(Duration::from_millis(20)));
    let (running, address, sending) = submission(folder.path(), outbound);
    assert_eq!(
        submit(address, &["y@elsewhere.test", "x@elsewhere.test"], "Subject: x\r\n\r\nx"),
        250
    );
    until("the queue is empty", || sending.queue_length() == 0);
    let heard: Vec<String> = std::iter::from_fn(|| next.heard.try_recv().ok()).collect();
    let said = |text: &str| heard.iter().filter(|line| *line == text).count();
    assert_eq!((said("RCPT TO:<y@elsewhere.test>"), said("RCPT TO:<x@elsewhere.test>")), (1, 3));
    // It is six days old when it is tried for the first time.
    let mut envelope = Envelope::new("alice@example.test", SystemTime::now());
    envelope.accepted -= Duration::from_secs(6 * 24 * 3600);
    envelope.recipients = vec![recipient("never@elsewhere.test", None)];
    let mut queuing = sending.queue().begin().unwrap();
    queuing.write(b"Subject: old\r\n\r\n").unwrap();
    queuing.seal(&envelope).unwrap();
    let id = queuing.id().clone();
    let (tell, told) = mpsc::channel();
    queuing.commit(Box::new(move |result| tell.send(result).unwrap()));
    told.recv().unwrap().unwrap();
    sending.queued(&id, &envelope);
    until("the queue is empty", || sending.queue_length() == 0);
    let report = &messages(folder.path(), "alice", "new")[0];
    assert!(report.contains("Action: failed\r\nStatus: 5.4.7\r\n"), "{report}");
    running.handle().stop();
    running.join().unwrap();
}

#[test]
fn what_can_not_be_written_down_is_not_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut count = 0;
    let next = scripted(move |_, line| match line {
        "RCPT TO:<y@elsewhere.test>" => {
            count += 1;
            if count == 1 { "450 4.2.0 later\r\n".into() } else { "250 now\r\n".into() }
        }
        line => plainly(line),
    });
    let disk = Arc::new(RealDisk);
    let queue = DiskQueue::at(&folder.path().join("queue"), disk, Commits::InThread);
    let queue = Arc::new(Flawed::new(queue));
    queue.fail("update", 1);
    queue.fail("retire", 1);
    let outbound = Outbound::new(queue.clone(), "out.example.test")
        .with_relay(next.relay())
        .with_schedule(retrying(Duration::from_millis(20)));
    let (running, address, sending) = submission(folder.path(), outbound);
    let to = ["x@elsewhere.test", "y@elsewhere.test"];
    assert_eq!(submit(address, &to, "Subject: x\r\n\r\nx"), 250);
    until("the queue is empty", || sending.queue_length() == 0);
    assert!(queue.entries().unwrap().is_empty());
    let heard: Vec<String> = std::iter::from_fn(|| next.heard.try_recv().ok()).collect();
    let said = |text: &str| heard.iter().filter(|line| *line == text).count();
    assert_eq!((said("RCPT TO:<x@elsewhere.test>"), said("RCPT TO:<y@elsewhere.test>")), (1, 2));
    running.handle().stop();
    running.join().unwrap();
}

#[test]
fn many_messages_share_connections() {
    let folder = tempfile::tempdir().unwrap();
    let next = scripted(|_, line| plainly(line));
    let mut limits = medusa_smtp::SendingLimits::default();
    limits.per_destination = 1;
    let outbound = Outbound::new(queue(folder.path()), "out.example.test")
        .with_relay(next.relay())
        .with_limits(limits);
    let (running, _, sending) = submission(folder.path(), outbound);
    for number in 0..50 {
        let to = vec![recipient(&format!("u{number}@elsewhere.test"), None)];
        enqueue(&sending, "alice@example.test", to);
    }
    until("the queue is empty", || sending.queue_length() == 0);
    let heard: Vec<String> = std::iter::from_fn(|| next.heard.try_recv().ok()).collect();
    let said = |verb: &str| heard.iter().filter(|line| line.starts_with(verb)).count();
    assert_eq!(said("RCPT"), 50);
    assert!(said("EHLO") <= 5, "{} connections", said("EHLO"));
    running.handle().stop();
    running.join().unwrap();
}

#[test]
fn a_server_may_end_each_connection_behind_one_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let mut done = std::collections::HashSet::new();
    let next = scripted(move |count, line| match line {
        "MAIL FROM:<alice@example.test>" if done.contains(&count) => String::new(),
        line => {
            if line.ends_with("\r\n.") {
                done.insert(count);
            }
            plainly(line)
        }
    });
    let mut limits = medusa_smtp::SendingLimits::default();
    limits.recipients = 1;
    let outbound = Outbound::new(queue(folder.path()), "out.example.test")
        .with_relay(next.relay())
        .with_limits(limits);
    let (running, _, sending) = submission(folder.path(), outbound);
    let to = (0..8).map(|number| recipient(&format!("u{number}@elsewhere.test"), None));
    enqueue(&sending, "alice@example.test", to.collect());
    // The first wait would be a minute.
    until("the queue is empty", || sending.queue_length() == 0);
    let heard: Vec<String> = std::iter::from_fn(|| next.heard.try_recv().ok()).collect();
    assert_eq!(heard.iter().filter(|line| line.starts_with("RCPT")).count(), 8);
    running.handle().stop();
    running.join().unwrap();
}

#[test]
fn a_destination_that_is_down_is_probed_once_and_not_by_each_message() {
    let folder = tempfile::tempdir().unwrap();
    let next = scripted(|count, line| match line {
        "" if count < 25 => "421 4.3.2 not now\r\n".into(),
        line => plainly(line),
    });
    let outbound = Outbound::new(queue(folder.path()), "out.example.test")
        .with_relay(next.relay())
        .with_schedule(retrying(Duration::from_millis(50)));
    let sending = outbound.build().unwrap();
    for number in 0..100 {
        let to = vec![recipient(&format!("u{number}@elsewhere.test"), None)];
        enqueue(&sending, "alice@example.test", to);
    }
    let server = Server::builder().mount(sending.service("smtp.out")).bind().unwrap();
    let running = server.start().unwrap();
    until("the queue is empty", || sending.queue_length() == 0);
    let heard: Vec<String> = std::iter::from_fn(|| next.heard.try_recv().ok()).collect();
    let said = |verb: &str| heard.iter().filter(|line| line.starts_with(verb)).count();
    assert_eq!(said("RCPT"), 100);
    // 20 at once, then one probe after the other until somebody answers.
    assert!(said("EHLO") <= 20, "{}", said("EHLO"));
    running.handle().stop();
    running.join().unwrap();
}

#[test]
fn what_the_queue_holds_is_sent_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let outbound = Outbound::new(queue(folder.path()), "out.example.test");
    let (running, address, sending) = submission(folder.path(), outbound);
    // Nobody knows where that is: no resolver.
    assert_eq!(submit(address, &["x@elsewhere.test"], "Subject: x\r\n\r\nx"), 250);
    until("it is deferred", || {
        let entries = sending.queue().entries().unwrap();
        let envelope = entries.first().and_then(|one| sending.queue().envelope(&one.id).ok());
        envelope.is_some_and(|envelope| envelope.recipients[0].attempts == 1)
    });
    running.handle().stop();
    running.join().unwrap();
    drop(sending);
    let id = {
        let queue = queue(folder.path());
        let id = queue.entries().unwrap()[0].id.clone();
        let mut envelope = queue.envelope(&id).unwrap();
        assert!(envelope.next > envelope.accepted);
        envelope.next = envelope.accepted;
        queue.update(&id, &envelope).unwrap();
        id
    };
    let next = scripted(|_, line| plainly(line));
    let outbound = Outbound::new(queue(folder.path()), "out.example.test").with_relay(next.relay());
    let (running, _, sending) = submission(folder.path(), outbound);
    next.hear_until("RCPT TO:<x@elsewhere.test>");
    until("it is sent", || sending.queue().envelope(&id).is_err());
    running.handle().stop();
    running.join().unwrap();
}

#[test]
fn over_tls_to_a_server_that_is_vouched_for_or_not_at_all() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mx_server, address) = serve(there.path(), &Kind::SecuredMx);
    // The certificate is for mx.example.test.
    let local = Data::A([127, 0, 0, 1].into());
    let fixed = Fixed::new()
        .with("example.test", [mx(10, "mx.example.test")])
        .with("mx.example.test", [local.clone()])
        .with("good.test", [mx(10, "mx.example.test")])
        .with("other.test", [mx(10, "mx.other.test")])
        .with("mx.other.test", [local]);
    let way = |domain: &str| {
        let mut way = Way::new(domain);
        way.security = Security::Require;
        way.authorities = Authorities::File(there.path().join("cert.pem"));
        way
    };
    let outbound = Outbound::new(queue(here.path()), "out.example.test")
        .with_resolver(Arc::new(fixed))
        .with_ways(vec![way("good.test"), way("other.test")])
        .with_port(address.port());
    let sending = outbound.build().unwrap();
    let server = Server::builder().mount(sending.service("smtp.out")).bind().unwrap();
    let running = server.start().unwrap();
    // Opportunistic: taken.
    enqueue(&sending, "", vec![recipient("bob@example.test", None)]);
    until("it came", || messages(there.path(), "bob", "new").len() == 1);
    let came = &messages(there.path(), "bob", "new")[0];
    assert!(came.contains(" with ESMTPS\r\n"), "{came}");
    // Vouched for, and refused there as that isn't its domain.
    let refused = enqueue(&sending, "", vec![recipient("bob@good.test", None)]);
    until("it is refused", || sending.queue().envelope(&refused).is_err());
    // For another name: it waits.
    let waiting = enqueue(&sending, "", vec![recipient("bob@other.test", None)]);
    until("it waits", || {
        let envelope = sending.queue().envelope(&waiting).unwrap();
        let said = envelope.recipients[0].last_reply.clone().unwrap_or_default();
        said.starts_with("4.7.5 ")
    });
    for server in [running, mx_server] {
        server.handle().stop();
        server.join().unwrap();
    }
}

/// A server that hangs up, refuses for now and talks nonsense at random, and sometimes takes a message.
#[test]
fn through_all_that_may_go_wrong_everything_arrives() {
    const MESSAGES: usize = 150;
    let folder = tempfile::tempdir().unwrap();
    let (mut seed, mut calls) = (88_172_645_463_325_252_u64, 0_u32);
    let next = scripted(move |_, line| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        calls += 1;
        // Later it becomes kind, so that there is an end.
        match seed % 16 {
            _ if calls > 3000 => plainly(line),
            0 => String::new(),
            1 => "421 4.3.2 bye\r\n".into(),
            2 => "451 4.3.0 later\r\n".into(),
            3 if seed % 5 == 0 => "nonsense\r\n".into(),
            _ if line.starts_with("EHLO") && seed % 2 == 0 => {
                "250-next.test\r\n250-PIPELINING\r\n250 SIZE\r\n".into()
            }
            _ => plainly(line),
        }
    });
    let outbound = Outbound::new(queue(folder.path()), "out.example.test")
        .with_relay(next.relay())
        .with_schedule(retrying(Duration::from_millis(3)));
    let sending = outbound.build().unwrap();
    let server = Server::builder().shards(2).mount(sending.service("smtp.out")).bind().unwrap();
    let running = server.start().unwrap();
    for number in 0..MESSAGES {
        let to = vec![
            recipient(&format!("a{number}@elsewhere.test"), None),
            recipient(&format!("b{number}@elsewhere.test"), None),
        ];
        enqueue(&sending, "", to);
    }
    until("the queue is empty", || sending.queue_length() == 0);
    until("it is so on disk", || sending.queue().entries().unwrap().is_empty());
    let heard: std::collections::HashSet<String> =
        std::iter::from_fn(|| next.heard.try_recv().ok()).collect();
    for number in 0..MESSAGES {
        for letter in ["a", "b"] {
            let line = format!("RCPT TO:<{letter}{number}@elsewhere.test>");
            assert!(heard.contains(&line), "{line}");
        }
    }
    // Nothing is left under way: a drain ends at once.
    running.handle().drain(Some(PATIENCE));
    running.join().unwrap();
}

#[test]
fn a_drain_lets_what_is_with_a_server_come_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let (go, wait) = mpsc::channel::<()>();
    let next = scripted(move |_, line| {
        if line.starts_with("Subject") {
            wait.recv_timeout(PATIENCE).unwrap();
        }
        plainly(line)
    });
    let mut limits = medusa_smtp::SendingLimits::default();
    limits.per_destination = 1;
    let outbound = Outbound::new(queue(folder.path()), "out.example.test")
        .with_relay(next.relay())
        .with_limits(limits);
    let sending = outbound.build().unwrap();
    let first = enqueue(&sending, "", vec![recipient("x@elsewhere.test", None)]);
    let second = enqueue(&sending, "", vec![recipient("y@elsewhere.test", None)]);
    let server = Server::builder().mount(sending.service("smtp.out")).bind().unwrap();
    let running = server.start().unwrap();
    next.hear_until("DATA");
    running.handle().drain(Some(PATIENCE));
    go.send(()).unwrap();
    running.join().unwrap();
    // The one under way has gone; the other is there as it was.
    let left = sending.queue().entries().unwrap();
    assert_eq!(left.len(), 1);
    assert!(left[0].id == second || left[0].id == first);
    let envelope = sending.queue().envelope(&left[0].id).unwrap();
    assert_eq!(envelope.recipients[0].attempts, 0);
}

#[test]
fn without_tls_where_it_fails_and_is_not_required() {
    let folder = tempfile::tempdir().unwrap();
    let next = scripted(|_, line| match line.split(' ').next() {
        Some("EHLO") => "250-next.test\r\n250 STARTTLS\r\n".into(),
        // It grants TLS and speaks something else.
        Some("STARTTLS") => "220 go on\r\nthis is no handshake at all\r\n".into(),
        _ => plainly(line),
    });
    let outbound = Outbound::new(queue(folder.path()), "out.example.test").with_relay(next.relay());
    let sending = outbound.build().unwrap();
    enqueue(&sending, "", vec![recipient("x@elsewhere.test", None)]);
    let server = Server::builder().mount(sending.service("smtp.out")).bind().unwrap();
    let running = server.start().unwrap();
    let heard = next.hear_until("RCPT TO:<x@elsewhere.test>");
    assert_eq!(heard.iter().filter(|line| line.starts_with("STARTTLS")).count(), 1, "{heard:?}");
    until("the queue is empty", || sending.queue_length() == 0);
    running.handle().stop();
    running.join().unwrap();
}

#[test]
fn what_a_user_wants_to_be_told_is_passed_on_or_told_here() {
    let folder = tempfile::tempdir().unwrap();
    // The first connection is to a server that knows DSN, the next ones aren't.
    let next = scripted(|count, line| match line.split(' ').next() {
        Some("EHLO") if count == 0 => "250-next.test\r\n250 DSN\r\n".into(),
        Some("RSET") => "421 4.3.2 bye\r\n".into(),
        _ => plainly(line),
    });
    let mut limits = medusa_smtp::SendingLimits::default();
    limits.idle = Duration::ZERO;
    let outbound = Outbound::new(queue(folder.path()), "out.example.test")
        .with_relay(next.relay())
        .with_limits(limits);
    let (running, address, sending) = submission(folder.path(), outbound);
    let mut line = Line::connect(address).unwrap();
    let mut say = |text: &str, code: u16| {
        if !text.is_empty() {
            line.send(&format!("{text}\r\n")).unwrap();
        }
        assert_eq!(line.code().unwrap(), code, "{text}");
    };
    say("", 220);
    say("EHLO client.test", 250);
    say("AUTH PLAIN AGFsaWNlAGVjaWxh", 235);
    for round in 0..2 {
        say("MAIL FROM:<alice@example.test> RET=HDRS ENVID=QQ1", 250);
        say("RCPT TO:<x@elsewhere.test> NOTIFY=SUCCESS ORCPT=rfc822;x@elsewhere.test", 250);
        say("DATA", 354);
        say("Subject: x\r\n\r\nx\r\n.", 250);
        let heard = next.hear_until("Received:");
        let known = heard.contains(&"MAIL FROM:<alice@example.test> RET=HDRS ENVID=QQ1".to_owned());
        assert_eq!(known, round == 0, "{heard:?}");
        let to = "RCPT TO:<x@elsewhere.test> NOTIFY=SUCCESS ORCPT=rfc822;x@elsewhere.test";
        assert_eq!(heard.contains(&to.to_owned()), round == 0, "{heard:?}");
        until("the queue is empty", || sending.queue_length() == 0);
    }
    // The first server tells it; of the second, we do.
    let reports = messages(folder.path(), "alice", "new");
    assert_eq!(reports.len(), 1, "{reports:?}");
    assert!(reports[0].contains("\r\nOriginal-Envelope-Id: QQ1\r\n"), "{}", reports[0]);
    assert!(reports[0].contains("\r\nAction: relayed\r\n"), "{}", reports[0]);
    running.handle().stop();
    running.join().unwrap();
}
