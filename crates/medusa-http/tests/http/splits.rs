//! The same octets come out however the network splits what goes in.

use medusa_core::testing::{Faults, mutated};
use proptest::prelude::*;

use crate::fixture::{Held, client, service};

/// Streams of requests that reach every state.
const STREAMS: &[&str] = &[
    "GET /hello HTTP/1.1\r\nHost: a\r\n\r\nGET /nothing HTTP/1.1\r\nHost: a\r\n\r\n",
    "\r\nGET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\nHEAD /hello HTTP/1.0\r\n\r\nGET",
    "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\nGET / HTTP\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=\"b\"\r\nab\r\nc\r\n1\r\n\r\r\n0\r\nX: y\r\n\r\nGET /stream HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\nabcde\r\n0\r\n\r\n",
    "POST /enough HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabcdefghiGET /hello HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabcdefghiGET /late HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST /careful HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcdGET /304 HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST /late-echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nabGET /204 HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\n\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /hello HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
    "GET /hello HTTP/2.0\r\nX\n\r\n\r\n",
    "GET /hello\r\nHost: a\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n",
];

fn answer(parts: &[&[u8]]) -> Vec<u8> {
    let service = service(&Held::default());
    let mut client = client(&service, Faults::none());
    for part in parts {
        client.send(part);
    }
    // Work is done at the end, so that the order of events is the same.
    client.run_jobs();
    client.output()
}

#[test]
fn every_two_way_split() {
    for stream in STREAMS {
        let stream = stream.as_bytes();
        let whole = answer(&[stream]);
        for cut in 0..=stream.len() {
            let (a, b) = stream.split_at(cut);
            assert_eq!(answer(&[a, b]), whole, "{cut} of {:?}", String::from_utf8_lossy(stream));
        }
    }
}

#[test]
fn three_way_splits() {
    for stream in STREAMS {
        let stream = stream.as_bytes();
        let whole = answer(&[stream]);
        for first in 0..=stream.len() {
            // The second cut near the first, where the interesting ends are, and far from it.
            for second in [1, 2, 3, 4, 17].map(|d| (first + d).min(stream.len())) {
                let parts = [&stream[..first], &stream[first..second], &stream[second..]];
                assert_eq!(
                    answer(&parts),
                    whole,
                    "{first}, {second} of {:?}",
                    String::from_utf8_lossy(stream)
                );
            }
        }
    }
}

/// What holds for any octets: the answers are the same however they arrive.
fn fuzz(octets: &[u8]) {
    let whole = answer(&[octets]);
    let single: Vec<&[u8]> = octets.chunks(1).collect();
    assert_eq!(answer(&single), whole, "{:?}", String::from_utf8_lossy(octets));
}

#[test]
fn conversations_that_are_nearly_right() {
    let corpus: Vec<&[u8]> = STREAMS.iter().map(|stream| stream.as_bytes()).collect();
    mutated(&corpus, 6, 1_000).for_each(|octets| fuzz(&octets));
}

proptest! {
    #[test]
    fn arbitrary_octets_never_panic(octets in proptest::collection::vec(any::<u8>(), 0..400)) {
        answer(&[&octets]);
    }

    #[test]
    fn spoiled_requests_never_panic_and_split_alike(
        stream in proptest::sample::select(STREAMS),
        at in any::<proptest::sample::Index>(),
        octet in proptest::sample::select(&b"\r\n\0 :;,0aZ\xff\t/%"[..]),
        insert in any::<bool>(),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..4),
    ) {
        let mut stream = stream.as_bytes().to_vec();
        let at = at.index(stream.len());
        if insert {
            stream.insert(at, octet);
        } else {
            stream[at] = octet;
        }
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.push(0);
        cuts.push(stream.len());
        cuts.sort_unstable();
        let parts: Vec<&[u8]> = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
        prop_assert_eq!(answer(&parts), answer(&[&stream]));
    }
}
