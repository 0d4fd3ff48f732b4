//! What the keeper asks and tells, and when.

use medusa_core::testing::{Asked, Client, Datagrams};
use medusa_core::{Datagram, Limits};

use super::*;
use crate::transfer::delta::{Delta, soa_record, whole};
use crate::transfer::fetch::FetchError;
use crate::transfer::message::{Question, Reader};
use crate::transfer::outgoing::Outgoing;
use crate::transfer::testing::{apex, zone};
use crate::transfer::tsig::Keys;
use crate::types::RecordType;
use crate::zone::{Zones, name_from_text};

/// A datagram service that is nothing but a keeper.
struct Own {
    desk: Desk,
    keeper: Option<Keeper>,
}

impl HasKeeper for Own {
    fn keeper(&mut self) -> Option<&mut Keeper> {
        self.keeper.as_mut()
    }
}

impl DatagramService for Own {
    fn opened(&mut self, cx: &mut DatagramCx<'_>) {
        let desk = self.desk.clone();
        self.keeper = Keeper::appointed::<Own>(&desk, cx);
    }

    fn received(&mut self, cx: &mut DatagramCx<'_>, datagram: Datagram<'_>) {
        let Some(keeper) = &mut self.keeper else { return };
        let sender = datagram.sender;
        if keeper.owns(sender.socket()) {
            keeper.received(cx, sender.socket(), sender.remote(), datagram.bytes);
        }
    }

    fn expired(&mut self, cx: &mut DatagramCx<'_>, key: TimerKey) {
        assert_eq!(key, DUE);
        if let Some(keeper) = &mut self.keeper {
            keeper.expired(cx);
        }
    }

    fn notified(&mut self, cx: &mut DatagramCx<'_>, note: Note) {
        if let Some(keeper) = &mut self.keeper {
            keeper.notified::<Own>(cx, note);
        }
    }
}

const PRIMARIES: [&str; 2] = ["192.0.2.1:53", "192.0.2.2:53"];

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn keeper(first: Zone, kept: Kept) -> (Datagrams, Desk) {
    let zones = Zones::new([Arc::new(first)]);
    let desk = Desk::new(zones, Keys::default(), Vec::new(), || 0);
    desk.keep(apex(), kept);
    (Datagrams::new(Own { desk: desk.clone(), keeper: None }), desk)
}

fn secondary(first: Zone) -> (Datagrams, Desk) {
    let primaries = PRIMARIES.map(at).to_vec();
    keeper(first, Kept { primaries, ..Kept::default() })
}

/// The connections that were asked for: to whom, by which type, and the other end of each.
fn asked(datagrams: &mut Datagrams) -> Vec<(SocketAddr, RecordType, Client)> {
    let connect = |asked| match asked {
        Asked::Connect(_, target, session) => {
            let mut client =
                Client::with(session, Limits::default(), medusa_core::testing::Faults::none());
            let request = client.output();
            let (_, question) = Reader::open(&request[2..]).unwrap();
            Some((target, question.unwrap().rtype, client))
        }
        _ => None,
    };
    datagrams.asked().into_iter().filter_map(connect).collect()
}

/// The one connection that was asked for.
fn one(datagrams: &mut Datagrams) -> (SocketAddr, RecordType, Client) {
    let mut all = asked(datagrams);
    assert_eq!(all.len(), 1);
    all.remove(0)
}

/// Sends a zone to a connection; its id has to be that of the request.
fn send(client: &mut Client, new: &Arc<Zone>, id: [u8; 2]) {
    let question = Question { name: apex(), rtype: RecordType::AXFR, class: 1 };
    let id = u16::from_be_bytes(id);
    let mut outgoing = Outgoing::new(whole(Arc::clone(new)), id, question, None, || 0);
    while let Some(message) = outgoing.message().unwrap() {
        client.send((message.len() as u16).to_be_bytes());
        client.send(message);
    }
}

fn fails(datagrams: &mut Datagrams, mut client: Client) {
    client.reset();
    tell(datagrams, &mut client);
}

/// Hands on what a connection has told its keeper.
fn tell(datagrams: &mut Datagrams, client: &mut Client) {
    for asked in client.asked() {
        if let Asked::Notify(_, note) = asked {
            datagrams.notify(note.downcast::<Report>().expect("a report"));
        }
    }
}

#[test]
fn a_secondary_asks_its_primaries_in_turn() {
    let (mut datagrams, desk) = secondary(Zone::vacant(apex()));
    for wait in [2, 4] {
        for target in PRIMARIES {
            let (asked, rtype, client) = one(&mut datagrams);
            assert_eq!((asked, rtype), (at(target), RecordType::AXFR));
            fails(&mut datagrams, client);
        }
        assert!(asked(&mut datagrams).is_empty());
        assert!(desk.zones().named(&apex()).unwrap().is_stale());
        datagrams.advance(Duration::from_secs(wait));
    }
    // The request's id was read already: what answers it is reported by hand.
    let (_, _, _client) = one(&mut datagrams);
    let new = Arc::new(zone(1, &["a TXT x"]));
    let mut builder = crate::zone::ZoneBuilder::new(apex());
    new.records().for_each(|record| builder.add(&record).unwrap());
    let wanted = Wanted { name: apex(), held: None, key: None, octets: 0 };
    let report = |number, outcome| Report { number, wanted: wanted.clone(), outcome };
    // A report of another transfer is none of this one.
    datagrams.notify(report(3, Err(FetchError::Lost("x".into()))));
    datagrams.notify(report(4, Ok(Brought::Whole(builder)))).run_jobs();
    let served = desk.zones().named(&apex()).unwrap();
    assert!(!served.is_stale() && served.records().eq(new.records()));

    // It is asked for again when its SOA record says so, and expires when nobody is there.
    assert!(asked(&mut datagrams).is_empty());
    datagrams.advance(Duration::from_secs(3600));
    let (target, rtype, client) = one(&mut datagrams);
    assert_eq!((target, rtype), (at(PRIMARIES[0]), RecordType::IXFR));
    fails(&mut datagrams, client);
    let (_, _, client) = one(&mut datagrams);
    fails(&mut datagrams, client);
    for _ in 0..150 {
        datagrams.advance(Duration::from_secs(600));
        for (_, _, client) in asked(&mut datagrams) {
            fails(&mut datagrams, client);
        }
    }
    assert!(served.is_stale());
    // All of it is asked for then: the primary may have begun again with an older serial.
    datagrams.advance(Duration::from_secs(600));
    assert_eq!(one(&mut datagrams).1, RecordType::AXFR);
}

#[test]
fn a_transfer_makes_the_zone() {
    let (mut datagrams, desk) = secondary(Zone::vacant(apex()));
    let mut connections = datagrams.asked();
    let Some(Asked::Connect(_, _, session)) = connections.pop() else { panic!("nobody is asked") };
    let mut client = Client::with(session, Limits::default(), medusa_core::testing::Faults::none());
    let request = client.output();
    let many: Vec<_> = (0..1000).map(|at| format!("n{at} TXT x")).collect();
    let new = Arc::new(zone(5, &many.iter().map(String::as_str).collect::<Vec<_>>()));
    send(&mut client, &new, [request[2], request[3]]);
    assert!(client.is_closed());
    tell(&mut datagrams, &mut client);
    datagrams.run_jobs();
    assert!(desk.zones().named(&apex()).unwrap().records().eq(new.records()));
}

#[test]
fn what_is_lost_is_given_up() {
    let (mut datagrams, _) = secondary(zone(1, &[]));
    drop(one(&mut datagrams));
    datagrams.advance(Duration::from_secs(3600));
    assert!(asked(&mut datagrams).is_empty());
    datagrams.advance(GIVEN_UP);
    assert!(!asked(&mut datagrams).is_empty());
}

#[test]
fn a_notice_has_the_primary_asked() {
    let (mut datagrams, desk) = secondary(zone(1, &[]));
    let (_, _, client) = one(&mut datagrams);
    fails(&mut datagrams, client);
    let (_, _, client) = one(&mut datagrams);
    fails(&mut datagrams, client);
    datagrams.notify(News::Notified(apex(), Some(1)));
    datagrams.notify(News::Notified(name_from_text("example.org").unwrap(), None));
    assert!(asked(&mut datagrams).is_empty());
    datagrams.notify(News::Notified(apex(), Some(2)));
    datagrams.advance(Duration::from_millis(250));
    assert_eq!(asked(&mut datagrams).len(), 1);
    drop(desk);
}

#[test]
fn others_are_told_until_they_answer() {
    let targets = ["192.0.2.7:53", "192.0.2.8:53"].map(at);
    let (mut datagrams, desk) =
        keeper(zone(1, &[]), Kept { notify: targets.to_vec(), ..Kept::default() });
    // Once at the start.
    let mut told = datagrams.sent();
    told.sort_by_key(|sent| sent.to);
    assert_eq!(told.iter().map(|sent| sent.to).collect::<Vec<_>>(), targets);
    let mut answer = told[0].bytes.clone();
    answer[2] |= 0x80;
    datagrams.answer(told[0].socket, targets[0], &answer);
    datagrams.advance(Duration::from_secs(3));
    let again = datagrams.sent();
    assert_eq!(again.len(), 1);
    assert_eq!((again[0].to, &again[0].bytes), (targets[1], &told[1].bytes));
    // A newer change takes the place of the older.
    let kept = desk.kept(&apex()).unwrap();
    desk.install(&kept, zone(2, &[]), Vec::new());
    let newer = datagrams.deliver().sent();
    assert_eq!(newer.len(), 2);
    let mut count = 0;
    for _ in 0..100 {
        datagrams.advance(Duration::from_secs(3));
        count += datagrams.sent().len();
    }
    // Five times to each, the first of which was seen before; then it is given up.
    assert_eq!((count, datagrams.clients().len()), (8, 0));
}

#[test]
fn who_finds_no_socket_is_told_later() {
    let most = 1_024;
    let targets: Vec<SocketAddr> =
        (0..most + 3).map(|i| at(&format!("192.0.{}.{}:53", i / 250, i % 250))).collect();
    let (mut datagrams, desk) =
        keeper(zone(1, &[]), Kept { notify: targets.clone(), ..Kept::default() });
    let told = datagrams.sent();
    assert_eq!(told.len(), most);
    for (one, next) in told.iter().zip(&targets[most..]) {
        let mut answer = one.bytes.clone();
        answer[2] |= 0x80;
        datagrams.answer(one.socket, one.to, &answer);
        let sent: Vec<_> = datagrams.sent().iter().map(|sent| sent.to).collect();
        assert_eq!(sent, [*next]);
    }
    // A newer change takes the sockets of the older.
    let kept = desk.kept(&apex()).unwrap();
    desk.install(&kept, zone(2, &[]), Vec::new());
    assert_eq!(datagrams.deliver().sent().len(), most);
}

#[test]
fn no_zone_names_a_file_elsewhere() {
    let named = |text: &str| file_name(&name_from_text(text).unwrap());
    assert_eq!(named("example.org"), "example.org.zone");
    for odd in ["..%2f", "a/b", "\\.\\.\\/x", ".", "a b", &"x.".repeat(120)] {
        let Ok(name) = name_from_text(odd) else { continue };
        let file = file_name(&name);
        assert!(!file.contains('/') && !file.starts_with('.') && file.len() < 220, "{file}");
    }
}

#[test]
fn all_is_asked_for_where_changes_make_no_zone() {
    let first = zone(1, &[]);
    let held = Arc::new(zone(1, &[]));
    let (mut datagrams, desk) = secondary(first);
    let (target, rtype, _client) = one(&mut datagrams);
    assert_eq!((target, rtype), (at(PRIMARIES[0]), RecordType::IXFR));
    // The one name server goes.
    let (old, new) = (soa_record(&held).unwrap(), soa_record(&zone(2, &[])).unwrap());
    let servers = held.records().filter(|one| one.rtype == RecordType::NS);
    let delta = Delta::new([old].into_iter().chain(servers).collect(), vec![new]).unwrap();
    let wanted = Wanted { name: apex(), held: Some(held), key: None, octets: 0 };
    let outcome = Ok(Brought::Changes(vec![delta]));
    datagrams.notify(Report { number: 0, wanted, outcome }).run_jobs();
    let (target, rtype, client) = one(&mut datagrams);
    assert_eq!((target, rtype), (at(PRIMARIES[0]), RecordType::AXFR));
    // Where that fails too, the next primary is asked, for changes.
    fails(&mut datagrams, client);
    let (target, rtype, _client) = one(&mut datagrams);
    assert_eq!((target, rtype), (at(PRIMARIES[1]), RecordType::IXFR));
    assert_eq!(desk.zones().named(&apex()).unwrap().soa().serial, 1);
}

#[test]
fn a_zone_that_is_kept_no_longer_does_not_come_back() {
    let (_, desk) = secondary(Zone::vacant(apex()));
    let kept = desk.kept(&apex()).unwrap();
    let wanted = Wanted { name: apex(), held: None, key: None, octets: 0 };
    let brought = || {
        let mut builder = crate::zone::ZoneBuilder::new(apex());
        zone(1, &[]).records().for_each(|record| builder.add(&record).unwrap());
        Brought::Whole(builder)
    };
    // Unlisted while it was under way, and listed anew.
    for again in [None, Some(Kept::default())] {
        desk.forget(&apex());
        desk.zones().remove(&apex());
        if let Some(again) = again {
            desk.keep(apex(), again);
        }
        let settled = settle(&desk, &kept, &wanted, brought(), SystemTime::now());
        assert!(matches!(settled, Settled::Useless(_)));
        assert!(desk.zones().named(&apex()).is_none());
    }
}

#[test]
fn what_is_unlisted_while_it_is_begun_is_not_kept() {
    let kept = Kept { primaries: vec![at(PRIMARIES[0])], is_catalog: true, ..Kept::default() };
    let listing = zone(1, &["version TXT 2", "a.zones PTR one.test."]);
    let (mut datagrams, desk) = keeper(listing, kept);
    let member = name_from_text("one.test").unwrap();
    desk.zones().replace(zone(2, &["version TXT 2"]));
    datagrams.notify(News::Changed(apex())).run_jobs();
    assert!(desk.kept(&member).is_none() && desk.zones().named(&member).is_none());
}
