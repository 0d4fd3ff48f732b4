//! Answers that are nearly right: what holds for any octets.

use medusa_core::testing::mutated;

use super::*;

/// An answer to a question for `a.test`, whose id and name are still to be those of the question.
fn answer(flags: u16, answers: &[RawRecord], authority: &[RawRecord]) -> Vec<u8> {
    reply(b"\0\0\0\0\0\0\0\0\0\0\0\0\x01a\x04test\0\0\x01\0\x01", flags, answers, authority)
}

/// Whatever octets answer a question: it is told once at most, nothing is left of it in the end, and what is
/// remembered is told again in the same words. Says whether an address was told.
fn fuzz(octets: &[u8]) -> bool {
    let mut net = Net::new(&["192.0.2.53"]);
    assert_eq!(net.ask("a.test"), None);
    let mut told = Vec::new();
    // Aliases are followed, and a server is asked more than once.
    for _ in 0..20 {
        for transmit in std::iter::from_fn(|| net.engine.poll_transmit()).collect::<Vec<_>>() {
            // What none but the asked one knows is right.
            let matching = |asked: &[u8]| {
                let mut bytes = octets.to_vec();
                let known = question_end(asked).min(bytes.len());
                for at in (0..known).filter(|at| !(2..HEADER).contains(at)) {
                    bytes[at] = asked[at];
                }
                bytes
            };
            match transmit {
                Transmit::Datagram { path, to, bytes } => {
                    net.receive(path, to, &matching(&bytes));
                }
                Transmit::Stream { server, bytes } => {
                    net.engine.handle_message(server, &matching(&bytes), net.now);
                }
                _ => {}
            }
        }
        told.append(&mut net.told());
        net.advance(ms(5_000));
    }
    told.append(&mut net.told());
    assert!(net.is_clean() && told.len() == 1, "{told:?} of {octets:?}");
    let is_address = told[0].contains("192.0.2.");
    if let Some(again) = net.ask("a.test") {
        assert_eq!(is_address, again.contains("192.0.2."), "{told:?}, then {again}: {octets:?}");
    }
    is_address
}

#[test]
fn answers_that_are_nearly_right() {
    let alias = |owner: &str, to: &str| record(owner, 5, 60, name(to));
    let corpus = [
        answer(0, &[a("a.test", 300), a("a.test", 200)], &[]),
        answer(0, &[alias("a.test", "b.test"), alias("b.test", "c.test"), a("c.test", 9)], &[]),
        answer(0, &[alias("a.test", "b.test")], &[]),
        answer(0, &[record("test", 39, 60, name("b")), alias("a.test", "a.b")], &[soa("b", 5)]),
        answer(3, &[], &[soa("test", 7)]),
        answer(0, &[], &[soa("a.test", 7), record("a.test", 47, 7, b"\x01b\0\0\x01\x40")]),
        answer(0x0200, &[], &[]),
        answer(2, &[], &[]),
        [&answer(0, &[], &[])[..], b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01"].concat(),
    ];
    let corpus: Vec<_> = corpus.iter().map(Vec::as_slice).collect();
    let addresses = mutated(&corpus, 6, 3_000).filter(|octets| fuzz(octets)).count();
    assert!(addresses > 50, "too few of them came that far: {addresses}");
}
