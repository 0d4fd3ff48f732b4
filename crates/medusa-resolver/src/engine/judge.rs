//! What an answer means: records, nothing, an alias to be followed, or a server that doesn't know.
//!
//! Only what answers the question is kept of it: the chain of aliases from the name that was asked for,
//! the records at its end, and what proves that there are none.

use crate::wire::{Message, RawRecord, kind, parent, rcode, u16_at, u32_at};

/// Aliases that are followed in one look-up (Unbound: 11, BIND: 16).
pub(super) const ALIASES: usize = 16;
/// The longest that an answer is kept, in seconds (Unbound's cache-max-ttl).
const LONGEST: u32 = 86_400;
/// The longest that a negative answer is kept (RFC 2308 §5: one to three hours work well).
const LONGEST_NEGATIVE: u32 = 3_600;

/// What an answer means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// That's it.
    Answer(Outcome),
    /// The name is an alias, and the server says no more than that.
    Alias { links: Vec<RawRecord>, target: Vec<u8> },
    /// This server doesn't know; another one may.
    Lame(&'static str),
}

/// What is to be told and kept.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) rcode: u16,
    pub(super) answers: Vec<RawRecord>,
    pub(super) authority: Vec<RawRecord>,
    /// In seconds.
    pub(super) ttl: u32,
    /// Whether records that were asked for are among the answers, and not aliases alone.
    pub(super) answered: bool,
}

/// Judges an answer to a question for records of type `asked` of `name`, to which `before`, aliases that
/// were followed already, have led.
pub(super) fn judge(
    message: &Message,
    name: &[u8],
    asked: u16,
    dnssec: bool,
    before: &[RawRecord],
) -> Verdict {
    let (links, end) = match chain(message, name, asked, before) {
        Ok(chain) => chain,
        Err(reason) => return Verdict::Lame(reason),
    };
    let mut answers = at(&message.answers, &end, asked);
    if !answers.is_empty() && message.rcode == rcode::NOERROR {
        let authority = if dnssec { proofs(message) } else { Vec::new() };
        let mut all = [before, &links].concat();
        all.append(&mut answers);
        let found = outcome(rcode::NOERROR, all, authority, LONGEST);
        return Verdict::Answer(Outcome { answered: true, ..found });
    }
    let soa = message
        .authority
        .iter()
        .find(|record| record.kind == kind::SOA && is_within(&end, &record.owner));
    let is_nothing = message.rcode == rcode::NXDOMAIN || soa.is_some();
    if !is_nothing {
        if !links.is_empty() {
            return Verdict::Alias { links, target: end };
        }
        if message.authority.iter().any(|record| record.kind == kind::NS) {
            return Verdict::Lame("a server referred to others");
        }
    }
    // How long nothing stays nothing is said by the SOA record; without one, it isn't kept (RFC 2308 §5).
    let most = soa.and_then(|soa| u32_at(&soa.rdata, soa.rdata.len().checked_sub(4)?).ok());
    let authority = match (soa, dnssec) {
        (Some(_), true) => proofs(message),
        (Some(soa), false) => vec![soa.clone()],
        (None, _) => Vec::new(),
    };
    let all = [before, &links].concat();
    let most = most.unwrap_or(0).min(LONGEST_NEGATIVE);
    Verdict::Answer(outcome(message.rcode, all, authority, most))
}

/// Limits every time to live to `most`, and takes the shortest for that of the whole.
fn outcome(
    rcode: u16,
    mut answers: Vec<RawRecord>,
    mut authority: Vec<RawRecord>,
    most: u32,
) -> Outcome {
    let mut ttl = most;
    for record in answers.iter_mut().chain(&mut authority) {
        record.ttl = record.ttl.min(most);
        ttl = ttl.min(record.ttl);
    }
    Outcome { rcode, answers, authority, ttl, answered: false }
}

/// The aliases from `name` on, with what signs and causes them, and the name at which they end.
fn chain(
    message: &Message,
    name: &[u8],
    asked: u16,
    before: &[RawRecord],
) -> Result<(Vec<RawRecord>, Vec<u8>), &'static str> {
    let (mut links, mut end) = (Vec::new(), name.to_vec());
    if matches!(asked, kind::CNAME | kind::ANY) {
        return Ok((links, end));
    }
    let count = |links: &[RawRecord]| links.iter().filter(|link| link.kind == kind::CNAME).count();
    let mut left = ALIASES.saturating_sub(count(before));
    loop {
        let here = |record: &&RawRecord| record.owner.eq_ignore_ascii_case(&end);
        let mut aliases = message.answers.iter().filter(|record| record.kind == kind::CNAME);
        let Some(alias) = aliases.find(here) else { return Ok((links, end)) };
        if left == 0 {
            return Err("there are too many aliases");
        }
        left -= 1;
        let was = |link: &RawRecord| {
            link.kind == kind::CNAME && link.owner.eq_ignore_ascii_case(&alias.rdata)
        };
        let circle = alias.rdata.eq_ignore_ascii_case(&end);
        if circle || before.iter().any(was) || links.iter().any(was) {
            return Err("aliases lead round in a circle");
        }
        // A DNAME stands in front of the alias that it makes (RFC 6672 §3.1).
        for record in &message.answers {
            let causes = record.kind == kind::DNAME || covers(record, kind::DNAME);
            if causes && is_within(&end, &record.owner) && !links.contains(record) {
                links.push(record.clone());
            }
        }
        let signs = |record: &&RawRecord| here(record) && covers(record, kind::CNAME);
        links.push(alias.clone());
        links.extend(message.answers.iter().filter(signs).cloned());
        end.clone_from(&alias.rdata);
    }
}

/// The records of a type, or of all, that `owner` has, and their signatures.
fn at(records: &[RawRecord], owner: &[u8], asked: u16) -> Vec<RawRecord> {
    let wanted = |record: &&RawRecord| {
        record.owner.eq_ignore_ascii_case(owner)
            && (record.kind == asked || asked == kind::ANY || covers(record, asked))
    };
    let found: Vec<_> = records.iter().filter(wanted).cloned().collect();
    // Signatures alone are no answer.
    if found.iter().any(|record| record.kind == asked || asked == kind::ANY) {
        found
    } else {
        Vec::new()
    }
}

/// Whether this is a signature over records of that type (RFC 4034 §3.1.1).
fn covers(record: &RawRecord, kind: u16) -> bool {
    record.kind == kind::RRSIG && u16_at(&record.rdata, 0) == Ok(kind)
}

/// What of the authority section proves that something isn't there (RFC 4035 §3.1.3).
fn proofs(message: &Message) -> Vec<RawRecord> {
    const PROVING: &[u16] = &[kind::SOA, kind::NSEC, kind::NSEC3, kind::DS, kind::RRSIG];
    // A delegation's own name servers and their signatures prove nothing.
    let proves = |record: &&RawRecord| PROVING.contains(&record.kind) && !covers(record, kind::NS);
    message.authority.iter().filter(proves).cloned().collect()
}

/// Whether `name` is `above` or below it.
fn is_within(name: &[u8], above: &[u8]) -> bool {
    let mut rest = Some(name);
    while let Some(name) = rest {
        if name.eq_ignore_ascii_case(above) {
            return true;
        }
        rest = parent(name);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(owner: &[u8], kind: u16, ttl: u32, rdata: &[u8]) -> RawRecord {
        RawRecord { owner: owner.into(), kind, ttl, rdata: rdata.into() }
    }

    fn soa(owner: &[u8], ttl: u32, minimum: u8) -> RawRecord {
        let rdata = [&b"\0\0"[..], &[0; 16], &[0, 0, 0, minimum]].concat();
        record(owner, kind::SOA, ttl, &rdata)
    }

    fn message(rcode: u16, answers: &[RawRecord], authority: &[RawRecord]) -> Message {
        let (answers, authority) = (answers.into(), authority.into());
        Message { id: 0, flags: 0, rcode, answers, authority, edns: true }
    }

    const A: &[u8] = b"\x01a\x04test\0";
    const B: &[u8] = b"\x01b\x04test\0";
    const C: &[u8] = b"\x01c\x05other\0";
    const TEST: &[u8] = b"\x04test\0";
    const IP: &[u8] = &[192, 0, 2, 1];

    fn answer(verdict: Verdict) -> Outcome {
        match verdict {
            Verdict::Answer(outcome) => outcome,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_what_answers_is_kept() {
        let ours = [record(A, kind::CNAME, 90, B), record(B, kind::A, 60, IP)];
        let others =
            [record(C, kind::A, 5, IP), record(A, 16, 5, b"\0"), ours[1].clone(), ours[0].clone()];
        let verdict = judge(&message(0, &others, &[soa(TEST, 5, 5)]), A, kind::A, false, &[]);
        let outcome = answer(verdict);
        // In the order of the chain, whatever their order was.
        assert_eq!((&outcome.answers[..], outcome.ttl), (&ours[..], 60));
        assert_eq!(outcome.authority, []);
    }

    #[test]
    fn nothing_is_as_long_nothing_as_its_zone_says() {
        for (rcode, authority, ttl) in [
            (0, vec![soa(TEST, 100, 30)], 30),
            (3, vec![soa(TEST, 20, 30)], 20),
            (3, vec![], 0),
            (0, vec![], 0),
            // The SOA of another zone says nothing.
            (3, vec![soa(C, 100, 30)], 0),
        ] {
            let outcome = answer(judge(&message(rcode, &[], &authority), A, kind::A, false, &[]));
            assert_eq!((outcome.rcode, outcome.ttl, outcome.answers.len()), (rcode, ttl, 0));
        }
        let alias = [record(A, kind::CNAME, 10, B)];
        let outcome =
            answer(judge(&message(3, &alias, &[soa(TEST, 99, 30)]), A, kind::A, false, &[]));
        assert_eq!((outcome.rcode, outcome.ttl, &outcome.answers[..]), (3, 10, &alias[..]));
        assert_eq!(outcome.authority[0].ttl, 30);
    }

    #[test]
    fn aliases_are_followed_and_bounded() {
        let alias = |owner: &[u8], target: &[u8]| record(owner, kind::CNAME, 60, target);
        let first = [alias(A, C)];
        let verdict = judge(&message(0, &first, &[]), A, kind::A, false, &[]);
        assert_eq!(verdict, Verdict::Alias { links: first.to_vec(), target: C.into() });
        let second = message(0, &[record(C, kind::A, 60, IP)], &[]);
        let outcome = answer(judge(&second, C, kind::A, false, &first));
        assert_eq!(outcome.answers.len(), 2);
        for circle in [vec![alias(A, A)], vec![alias(A, B), alias(B, A)]] {
            let verdict = judge(&message(0, &circle, &[]), A, kind::A, false, &[]);
            assert!(matches!(verdict, Verdict::Lame(_)), "{verdict:?}");
        }
        let verdict = judge(&message(0, &[alias(C, A)], &[]), C, kind::A, false, &first);
        assert!(matches!(verdict, Verdict::Lame(_)), "{verdict:?}");
        let name = |number: usize| [2, b'a' + (number / 26) as u8, b'a' + (number % 26) as u8, 0];
        let long: Vec<_> = (0..20).map(|i| alias(&name(i), &name(i + 1))).collect();
        let verdict = judge(&message(0, &long, &[]), &name(0), kind::A, false, &[]);
        assert_eq!(verdict, Verdict::Lame("there are too many aliases"));
        // Who asks for the alias itself gets it.
        assert_eq!(
            answer(judge(&message(0, &first, &[]), A, kind::CNAME, false, &[])).answers,
            first
        );
    }

    #[test]
    fn a_dname_stands_before_its_alias() {
        let dname = record(TEST, kind::DNAME, 60, b"\x05other\0");
        let answers = [record(A, kind::CNAME, 60, C), dname.clone(), record(C, kind::A, 60, IP)];
        let outcome = answer(judge(&message(0, &answers, &[]), A, kind::A, false, &[]));
        assert_eq!(outcome.answers[0], dname);
        assert_eq!(outcome.answers.len(), 3);
    }

    #[test]
    fn signatures_go_with_what_they_sign() {
        let signature = |owner: &[u8], covered: u16| {
            record(owner, kind::RRSIG, 60, &[&covered.to_be_bytes()[..], &[0; 20]].concat())
        };
        let answers = [record(A, kind::A, 60, IP), signature(A, kind::A), signature(A, 16)];
        let authority =
            [soa(TEST, 60, 60), record(TEST, kind::NS, 60, A), record(TEST, kind::NSEC, 60, A)];
        let outcome = answer(judge(&message(0, &answers, &authority), A, kind::A, true, &[]));
        assert_eq!((outcome.answers.len(), outcome.authority.len()), (2, 2));
        let outcome = answer(judge(&message(0, &answers[1..], &authority), A, kind::A, true, &[]));
        assert_eq!(outcome.answers, []);
    }

    #[test]
    fn a_referral_is_lame() {
        let verdict =
            judge(&message(0, &[], &[record(TEST, kind::NS, 60, A)]), A, kind::A, false, &[]);
        assert!(matches!(verdict, Verdict::Lame(_)));
    }
}
