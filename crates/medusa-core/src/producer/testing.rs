//! What the unit tests of producers share: a transport that takes everything at once.

use super::{Produced, Producer};
use crate::outbox::Outbox;

/// Runs a producer to its end, with an outbox that takes no files, and returns its bytes.
pub(super) fn run(mut producer: impl Producer) -> Vec<u8> {
    let mut out = Outbox::without_files();
    let mut all = Vec::new();
    for _ in 0..100_000 {
        let produced = producer.produce(&mut out).unwrap();
        all.extend(drained(&mut out));
        if let Some(job) = out.take_job() {
            job();
        }
        if produced == Produced::Done {
            return all;
        }
    }
    panic!("never done");
}

/// Empties an outbox that holds no files.
pub(super) fn drained(out: &mut Outbox) -> Vec<u8> {
    let mut all = Vec::new();
    while !out.is_empty() {
        all.extend_from_slice(out.front());
        out.advance(out.front().len() as u64);
    }
    all
}
