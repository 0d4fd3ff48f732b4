//! Transfers that are in order, and those that are not.

use super::*;
use crate::transfer::delta::{changes, whole};
use crate::transfer::outgoing::Outgoing;
use crate::transfer::testing::{apex, record, zone};
use crate::transfer::tsig::{Algorithm, Keys, locate, verify};

const NOW: u64 = 1_700_000_000;

fn key() -> Key {
    let algorithm = Algorithm::named("hmac-sha256").unwrap();
    Key::new(crate::zone::name_from_text("xfer").unwrap(), algorithm, b"secret".to_vec())
}

fn wanted(held: Option<&Arc<Zone>>, signed: bool) -> Wanted {
    let key = signed.then(|| Arc::new(key()));
    Wanted { name: apex(), held: held.cloned(), key, octets: 1 << 20 }
}

/// Asks, and has `records` answered, signed as the request is.
fn transfer(
    wanted: Wanted,
    records: impl Iterator<Item = Record> + Send + 'static,
) -> Result<Brought, TransferError> {
    let (request, mut incoming) = Incoming::begin(wanted, 7, NOW);
    let keys = Keys::new([key()]);
    let at = locate(&request).unwrap();
    let signer = at.map(|at| verify(&request, at, &keys, NOW).unwrap().into_signer());
    let (_, question) = Reader::open(&request).unwrap();
    let mut outgoing = Outgoing::new(records, 7, question.unwrap(), signer, || NOW);
    loop {
        let message = outgoing.message().unwrap().expect("more was wanted");
        if let Some(brought) = incoming.take(message, NOW)? {
            return Ok(brought);
        }
    }
}

fn numbered(serial: u32, count: usize) -> Arc<Zone> {
    let records: Vec<_> =
        (0..count).map(|at| format!("n{at} TXT v{}", serial + at as u32)).collect();
    Arc::new(zone(serial, &records.iter().map(String::as_str).collect::<Vec<_>>()))
}

#[test]
fn a_zone_comes_whole_or_by_its_changes() {
    for signed in [false, true] {
        let (old, new) = (numbered(1, 1000), numbered(2, 1001));
        let brought = transfer(wanted(None, signed), whole(Arc::clone(&new))).unwrap();
        let (made, deltas) = brought.finish(Some(&old)).unwrap();
        assert!(made.records().eq(new.records()));
        assert_eq!(deltas, [Delta::between(&old, &new).unwrap()]);
        // AXFR is an answer to IXFR too.
        let brought = transfer(wanted(Some(&old), signed), whole(Arc::clone(&new))).unwrap();
        assert!(matches!(brought, Brought::Whole(_)));

        let last = numbered(3, 10);
        let deltas = vec![
            Arc::new(Delta::between(&old, &new).unwrap()),
            Arc::new(Delta::between(&new, &last).unwrap()),
        ];
        let records = changes(&last, deltas.clone()).unwrap();
        let brought = transfer(wanted(Some(&old), signed), records).unwrap();
        let (made, heard) = brought.finish(Some(&old)).unwrap();
        assert!(made.records().eq(last.records()));
        assert!(heard.iter().eq(deltas.iter().map(|delta| &**delta)));

        let soa = std::iter::once(soa_record(&old).unwrap());
        let brought = transfer(wanted(Some(&old), signed), soa).unwrap();
        assert!(matches!(brought, Brought::Current));
        // An older version confirms nothing.
        let soa = std::iter::once(soa_record(&old).unwrap());
        let outcome = transfer(wanted(Some(&new), signed), soa);
        assert_eq!(outcome.unwrap_err(), TransferError::Older(1, 2));
    }
}

#[test]
fn what_is_no_transfer_is_refused() {
    let old = numbered(1, 10);
    let new = numbered(2, 10);
    let soa = |serial: u32| record(&format!("@ SOA ns1 admin {serial} 3600 600 86400 300"));
    let (one, two) = (soa_record(&old).unwrap(), soa_record(&new).unwrap());
    let a = record("a A 192.0.2.1");
    let outside = Record { owner: Name::root(), ..a.clone() };
    let sideways =
        Record { owner: crate::zone::name_from_text("xexample.test").unwrap(), ..a.clone() };
    let lower = Record { owner: a.owner.clone(), ..one.clone() };
    let cases: Vec<(bool, Vec<Record>)> = vec![
        (false, vec![a.clone(), two.clone()]),
        (false, vec![two.clone(), a.clone(), one.clone()]),
        (false, vec![two.clone(), outside.clone(), two.clone()]),
        (false, vec![two.clone(), sideways, two.clone()]),
        (false, vec![two.clone(), lower, two.clone()]),
        (false, vec![two.clone(), a.clone(), two.clone(), a.clone()]),
        // Changes of a version that isn't held, that jump, or that end elsewhere.
        (true, vec![soa(9), soa(5), a.clone(), soa(9), a.clone(), soa(9)]),
        (true, vec![two.clone(), one.clone(), two.clone(), soa(3), two.clone(), two.clone()]),
        (true, vec![a.clone()]),
    ];
    for (changes, records) in cases {
        let held = changes.then_some(&old);
        let outcome = transfer(wanted(held, false), records.clone().into_iter());
        assert!(outcome.is_err(), "{records:?}");
    }
    // The changes of one version that make no zone.
    let gone = old.records().filter(|record| record.rtype == RecordType::NS);
    let gone: Vec<_> = gone.collect();
    let records = [vec![two.clone(), one], gone, vec![two.clone(), outside, two]].concat();
    let brought = transfer(wanted(Some(&old), false), records.into_iter()).unwrap();
    assert!(matches!(brought.finish(Some(&old)), Err(TransferError::NoZone(_))));
}

#[test]
fn what_never_ends_is_ended() {
    let soa = record("@ SOA ns1 admin 2 3600 600 86400 300");
    let endless =
        (0..).map(|at: u32| Record { rdata: at.to_be_bytes().to_vec(), ..record("a A 192.0.2.1") });
    let endless = std::iter::once(soa).chain(endless.take(200_000));
    let mut small = wanted(None, false);
    small.octets = 100_000;
    assert_eq!(transfer(small, endless).unwrap_err(), TransferError::TooLarge(100_000));
}

#[test]
fn a_stream_that_is_changed_or_not_signed_is_refused() {
    let new = numbered(2, 3000);
    let (request, mut incoming) = Incoming::begin(wanted(None, true), 7, NOW);
    let (_, question) = Reader::open(&request).unwrap();
    let mut unsigned =
        Outgoing::new(whole(Arc::clone(&new)), 7, question.clone().unwrap(), None, || NOW);
    let message = unsigned.message().unwrap().unwrap();
    let heard = incoming.take(message, NOW).unwrap_err();
    assert_eq!(heard, TransferError::Signature(SignatureError::Missing));

    let keys = Keys::new([key()]);
    let at = locate(&request).unwrap().unwrap();
    let signer = verify(&request, at, &keys, NOW).unwrap().into_signer();
    let mut signed = Outgoing::new(whole(new), 7, question.unwrap(), Some(signer), || NOW);
    let (_, mut incoming) = Incoming::begin(wanted(None, true), 7, NOW);
    let first = signed.message().unwrap().unwrap().to_vec();
    assert!(matches!(incoming.take(&first, NOW), Ok(None)));
    // One left out.
    signed.message().unwrap().unwrap();
    let third = signed.message().unwrap().unwrap().to_vec();
    let heard = incoming.take(&third, NOW).unwrap_err();
    assert_eq!(heard, TransferError::Signature(SignatureError::Signature));
}

#[test]
fn an_answer_to_something_else_is_no_answer() {
    let new = numbered(2, 3);
    let question = |text: &str| Question {
        name: crate::zone::name_from_text(text).unwrap(),
        rtype: RecordType::AXFR,
        class: class::IN,
    };
    let heard = |id: u16, name: &str, change: fn(&mut Vec<u8>)| {
        let (_, mut incoming) = Incoming::begin(wanted(None, false), 7, NOW);
        let mut outgoing = Outgoing::new(whole(Arc::clone(&new)), id, question(name), None, || NOW);
        let mut message = outgoing.message().unwrap().unwrap().to_vec();
        change(&mut message);
        incoming.take(&message, NOW)
    };
    assert!(heard(7, "example.test", |_| ()).unwrap().is_some());
    assert!(heard(8, "example.test", |_| ()).is_err());
    assert!(heard(7, "example.org", |_| ()).is_err());
    assert!(heard(7, "example.test", |message| message[2] &= 0x7F).is_err());
    let refused = heard(7, "example.test", |message| message[3] |= 5).unwrap_err();
    assert_eq!(refused, TransferError::Refused(Rcode::REFUSED));
    assert!(heard(7, "example.test", |message| message.truncate(100)).is_err());
    assert!(heard(7, "example.test", |message| message.truncate(3)).is_err());
}

#[test]
fn no_answer_is_too_strange() {
    let (old, new) = (numbered(1, 3), numbered(2, 4));
    let delta = Arc::new(Delta::between(&old, &new).unwrap());
    let records: Vec<_> = changes(&new, vec![delta]).unwrap().collect();
    let question =
        Question { name: apex(), rtype: RecordType::IXFR, class: crate::types::class::IN };
    for records in [records, whole(Arc::clone(&new)).collect()] {
        let mut outgoing = Outgoing::new(records.into_iter(), 7, question.clone(), None, || NOW);
        let message = outgoing.message().unwrap().unwrap().to_vec();
        let try_out = |message: &[u8]| {
            let (_, mut incoming) = Incoming::begin(wanted(Some(&old), false), 7, NOW);
            if let Ok(Some(brought)) = incoming.take(message, NOW) {
                // It may make a zone or not, but then one that is newer or the same.
                let _ = brought.finish(Some(&old));
                assert!(incoming.take(message, NOW).is_err());
            }
        };
        for length in 0..message.len() {
            try_out(&message[..length]);
        }
        for bit in 0..message.len() * 8 {
            let mut changed = message.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            try_out(&changed);
        }
    }
}

#[test]
fn names_in_data_are_the_same_in_any_case() {
    let old = Arc::new(zone(1, &["a MX 1 mx.Example.Test.", "b MX 1 MX.org.", "c MX 1 x.org."]));
    let step = |from: u32, removed: &[&str], added: &[&str]| {
        let list = |serial: u32, lines: &[&str]| {
            let soa = soa_record(&numbered(serial, 0)).into_iter();
            soa.chain(lines.iter().map(|line| record(line))).collect::<Vec<_>>()
        };
        Delta::new(list(from, removed), list(from + 1, added)).unwrap()
    };
    let first = step(1, &["a MX 1 MX.example.test.", "b MX 1 mx.ORG."], &["c MX 1 Y.org."]);
    let second = step(2, &["c MX 1 y.ORG."], &[]);
    let (new, _) = Brought::Changes(vec![first, second]).finish(Some(&old)).unwrap();
    let left: Vec<_> = new.records().filter(|one| one.rtype == RecordType::MX).collect();
    assert_eq!(left, [record("c MX 1 x.org.")]);
    assert_eq!(new.soa().serial, 3);
}

#[test]
fn changes_have_to_lead_on_from_what_there_is() {
    let old = Arc::new(zone(1, &["a TXT here"]));
    let step = |removed: &[&str], added: &[&str]| {
        let list = |serial: u32, lines: &[&str]| {
            let soa = soa_record(&numbered(serial, 0)).into_iter();
            soa.chain(lines.iter().map(|line| record(line))).collect::<Vec<_>>()
        };
        Delta::new(list(1, removed), list(2, added)).unwrap()
    };
    for (removed, added, fits) in [
        (&["a TXT here"][..], &["a TXT come"][..], true),
        // Another TTL is the record gone and come.
        (&["a TXT here"], &["a TXT here"], true),
        (&["a TXT gone"], &[], false),
        (&["b TXT here"], &[], false),
        (&[], &["a TXT here"], false),
        (&["a TXT here", "a TXT here"], &[], false),
    ] {
        let outcome = Brought::Changes(vec![step(removed, added)]).finish(Some(&old));
        assert_eq!(outcome.is_ok(), fits, "{removed:?} {added:?}");
        assert!(fits || outcome.unwrap_err() == TransferError::Unrelated);
    }
}

#[test]
fn what_has_come_with_any_numbers_can_be_read_again() {
    let mut soa = soa_record(&numbered(7, 0)).unwrap();
    let numbers = soa.rdata.len() - 16;
    soa.rdata[numbers..].fill(0xFF);
    let server = record("@ NS ns1.example.org.");
    let lasting = Record { ttl: 0x8000_0000, ..record("a A 192.0.2.1") };
    let records = vec![soa.clone(), server, lasting, soa.clone()];
    let brought = transfer(wanted(None, false), records.into_iter()).unwrap();
    let (made, _) = brought.finish(None).unwrap();
    assert_eq!(soa_record(&made).unwrap().rdata, soa.rdata);
    let ttls: Vec<_> = made.records().filter(|one| one.rtype == RecordType::A).collect();
    assert_eq!(ttls[0].ttl, 0);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("zone");
    crate::transfer::store::write_zone(&path, &made).unwrap();
    let read = crate::load_zone(&path, Some(&apex())).zone.unwrap();
    assert!(read.records().eq(made.records()));
}
