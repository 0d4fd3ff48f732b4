//! Compression: gzip (RFC 1952), zlib (RFC 1950) and raw deflate (RFC 1951).
//!
//! Its state, some 300 KiB, is there only from the first call to the last. What the inner producer has
//! said is flushed when it has nothing more to say now, so that a client sees it. It doesn't choose a
//! content coding, and gzip's header tells no name and no time: the same input gives the same output.

use flate2::{Compress, Compression, FlushCompress, Status};

use super::{ProduceError, Produced, Producer};
use crate::outbox::Outbox;

/// So much input at most is compressed in one call: about a millisecond's work at level 6.
const MAX_INPUT: usize = 32 * 1024;

/// A call makes as much output as there is room for, within these bounds.
const MIN_OUTPUT: usize = 4 * 1024;
const MAX_OUTPUT: usize = 64 * 1024;

/// Output is made in steps of at most this size, and never so little that a flush has no place for its
/// end (zlib.h asks for more than six bytes).
const MIN_STEP: usize = 64;
const MAX_STEP: usize = 16 * 1024;

/// So often the inner producer is asked in one call, however little it says.
const MAX_ASKED: usize = 64;

/// The window of 32 KiB that every decoder knows.
const WINDOW_BITS: u8 = 15;

/// What goes around the compressed bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// gzip (RFC 1952): HTTP's `gzip`.
    Gzip,
    /// zlib (RFC 1950): what HTTP calls `deflate` (RFC 9110 §8.4.1.2).
    Zlib,
    /// Deflate (RFC 1951) with nothing around it.
    Raw,
}

/// Produces what `inner` does, compressed. `level` is zlib's, from 0 (stored) to 9 (smallest); 6 is its
/// default, and what lies above 9 is taken for 9.
///
/// Its chunk, by which it may overshoot the room, is 5 KiB, however big those of `inner` are.
pub fn compressed<P: Producer>(inner: P, coding: Coding, level: u32) -> Compressed<P> {
    let level = level.min(9);
    Compressed { inner, coding, level, engine: None, phase: Phase::Feeding, unflushed: false }
}

/// Made by [`compressed`].
pub struct Compressed<P> {
    inner: P,
    coding: Coding,
    level: u32,
    engine: Option<Box<Engine>>,
    phase: Phase,
    /// Whether something was fed since the last flush.
    unflushed: bool,
}

struct Engine {
    deflate: Compress,
    /// What the inner producer said and wasn't fed yet.
    staged: Outbox,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Feeding,
    /// The inner producer is done; what is staged is still to be fed.
    Draining,
    Flushing,
    Finishing,
    Finished,
}

impl<P: Producer> Producer for Compressed<P> {
    fn produce(&mut self, out: &mut Outbox) -> Result<Produced, ProduceError> {
        if self.phase == Phase::Finished {
            return Ok(Produced::Done);
        }
        let engine = match &mut self.engine {
            Some(engine) => engine,
            none => none.insert(Box::new(Engine::new(self.coding, self.level))),
        };
        let mut output = out.room().clamp(MIN_OUTPUT, MAX_OUTPUT);
        let mut input = MAX_INPUT;
        let mut asked = 0;
        // Pending may be returned only if the inner producer said so in this very call: what it said
        // in an earlier one may have been followed by its wake.
        let mut waits = false;
        while output > 0 && input > 0 && asked < MAX_ASKED {
            match self.phase {
                Phase::Feeding | Phase::Draining if !engine.staged.is_empty() => {
                    let step = engine.feed(out, input, output)?;
                    input -= step.fed;
                    output = output.saturating_sub(step.made);
                    self.unflushed = true;
                }
                Phase::Draining => self.phase = Phase::Finishing,
                Phase::Feeding if waits && self.unflushed => self.phase = Phase::Flushing,
                Phase::Feeding if waits => return Ok(Produced::Pending),
                Phase::Feeding => {
                    asked += 1;
                    let produced = self.inner.produce(&mut engine.staged)?;
                    if let Some(job) = engine.staged.take_job() {
                        out.defer(job);
                    }
                    match produced {
                        Produced::More => {}
                        Produced::Pending => waits = true,
                        Produced::Done => self.phase = Phase::Draining,
                    }
                }
                Phase::Flushing => {
                    let step = engine.flush(out, FlushCompress::Sync, output)?;
                    output = output.saturating_sub(step.made);
                    if !step.full {
                        self.unflushed = false;
                        self.phase = Phase::Feeding;
                    }
                }
                Phase::Finishing => {
                    let step = engine.flush(out, FlushCompress::Finish, output)?;
                    output = output.saturating_sub(step.made);
                    if step.ended {
                        self.engine = None;
                        self.phase = Phase::Finished;
                        return Ok(Produced::Done);
                    }
                }
                Phase::Finished => return Ok(Produced::Done),
            }
        }
        Ok(Produced::More)
    }

    fn remaining(&self) -> Option<u64> {
        (self.phase == Phase::Finished).then_some(0)
    }
}

/// What one step came to.
struct Step {
    fed: usize,
    made: usize,
    /// All the place for output was used: there may be more.
    full: bool,
    ended: bool,
}

impl Engine {
    fn new(coding: Coding, level: u32) -> Self {
        let level = Compression::new(level);
        let deflate = match coding {
            Coding::Gzip => Compress::new_gzip(level, WINDOW_BITS),
            Coding::Zlib => Compress::new(level, true),
            Coding::Raw => Compress::new(level, false),
        };
        let mut staged = Outbox::without_files();
        staged.set_target(MAX_INPUT as u64);
        Engine { deflate, staged }
    }

    /// Feeds at most `input` bytes of what is staged.
    fn feed(
        &mut self,
        out: &mut Outbox,
        input: usize,
        output: usize,
    ) -> Result<Step, ProduceError> {
        let front = self.staged.front();
        let front = &front[..front.len().min(input)];
        let step = Step::take(&mut self.deflate, out, front, FlushCompress::None, output)?;
        self.staged.advance(step.fed as u64);
        Ok(step)
    }

    /// Feeds nothing, and has the compressor say what it holds.
    fn flush(
        &mut self,
        out: &mut Outbox,
        flush: FlushCompress,
        output: usize,
    ) -> Result<Step, ProduceError> {
        Step::take(&mut self.deflate, out, &[], flush, output)
    }
}

impl Step {
    /// Runs the compressor once, for at most `output` bytes or a little more.
    fn take(
        deflate: &mut Compress,
        out: &mut Outbox,
        input: &[u8],
        flush: FlushCompress,
        output: usize,
    ) -> Result<Step, ProduceError> {
        let place = output.clamp(MIN_STEP, MAX_STEP);
        let (fed, made) = (deflate.total_in(), deflate.total_out());
        let status = out.compose(|buffer| {
            let end = buffer.len();
            buffer.resize(end + place, 0);
            let status = deflate.compress(input, &mut buffer[end..], flush);
            buffer.truncate(end + (deflate.total_out() - made) as usize);
            status
        });
        let status = status.map_err(|error| ProduceError::Failed(Box::new(error)))?;
        let fed = (deflate.total_in() - fed) as usize;
        let made = (deflate.total_out() - made) as usize;
        Ok(Step { fed, made, full: made == place, ended: status == Status::StreamEnd })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::{DeflateDecoder, GzDecoder, ZlibDecoder};
    use flate2::{Decompress, FlushDecompress};

    use super::*;
    use crate::producer::testing::{drained, run};
    use crate::producer::{bytes, composite, empty, generated};

    fn text(length: usize) -> Vec<u8> {
        // Words in an order that doesn't repeat soon, so that it compresses as prose does.
        let words = ["shard ", "session ", "frame ", "reply ", "slot ", "outbox ", "zone\r\n"];
        let mut state = 1_u32;
        let mut all = Vec::new();
        while all.len() < length {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            all.extend_from_slice(words[(state >> 16) as usize % words.len()].as_bytes());
        }
        all.truncate(length);
        all
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    fn decode(coding: Coding, coded: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        match coding {
            Coding::Gzip => GzDecoder::new(coded).read_to_end(&mut plain),
            Coding::Zlib => ZlibDecoder::new(coded).read_to_end(&mut plain),
            Coding::Raw => DeflateDecoder::new(coded).read_to_end(&mut plain),
        }
        .unwrap();
        plain
    }

    #[test]
    fn every_coding_and_level_decodes() {
        for coding in [Coding::Gzip, Coding::Zlib, Coding::Raw] {
            for level in [0, 1, 6, 9, 99] {
                for input in [vec![], text(10), text(200_000), noise(200_000)] {
                    let coded = run(compressed(bytes(input.clone()), coding, level));
                    assert!(decode(coding, &coded) == input, "{coding:?}, level {level}");
                }
            }
        }
    }

    #[test]
    fn the_gzip_header_tells_no_time() {
        let coded = run(compressed(bytes("x"), Coding::Gzip, 6));
        // RFC 1952 §2.3: identification, deflate, no flags, no time.
        assert_eq!(coded[..8], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0]);
        assert_eq!(coded, run(compressed(bytes("x"), Coding::Gzip, 6)));
    }

    #[test]
    fn what_was_said_is_seen_while_the_inner_waits() {
        let mut turn = 0;
        let mut producer = compressed(
            generated(move |out: &mut Outbox| {
                turn += 1;
                if turn % 2 == 1 {
                    out.push_slice(b"some words, ");
                }
                Ok(if turn == 8 { Produced::Done } else { Produced::Pending })
            }),
            Coding::Zlib,
            6,
        );
        let mut out = Outbox::new();
        let mut decoder = Decompress::new(true);
        let mut plain = Vec::with_capacity(1000);
        for turn in 1..=8_usize {
            let produced = producer.produce(&mut out).unwrap();
            let coded = drained(&mut out);
            assert_eq!(produced, if turn == 8 { Produced::Done } else { Produced::Pending });
            // A turn in which nothing was said is no reason for a flush.
            assert_eq!(coded.is_empty(), turn % 2 == 0 && turn < 8);
            decoder.decompress_vec(&coded, &mut plain, FlushDecompress::Sync).unwrap();
            assert_eq!(plain, b"some words, ".repeat(turn.div_ceil(2)));
        }
    }

    #[test]
    fn a_wake_between_a_full_outbox_and_its_emptying_is_not_lost() {
        // The inner producer waits once, after more than fits: the flush spans two calls, and its wake
        // comes between them. The second call must ask it again.
        let mut turn = 0;
        let asked = std::rc::Rc::new(std::cell::Cell::new(0));
        let count = asked.clone();
        let mut producer = compressed(
            generated(move |out: &mut Outbox| {
                turn += 1;
                count.set(turn);
                if turn == 1 {
                    out.push_slice(&noise(20_000));
                    return Ok(Produced::Pending);
                }
                Ok(Produced::Done)
            }),
            Coding::Zlib,
            1,
        );
        let mut out = Outbox::new();
        out.set_target(5_000);
        let mut coded = Vec::new();
        let mut before = 0;
        loop {
            let produced = producer.produce(&mut out).unwrap();
            coded.extend(drained(&mut out));
            match produced {
                Produced::Done => break,
                Produced::More => {}
                Produced::Pending => assert_ne!(asked.get(), before, "waits unasked"),
            }
            before = asked.get();
        }
        assert!(decode(Coding::Zlib, &coded) == noise(20_000));
    }

    #[test]
    fn one_call_is_bounded_whatever_the_ratio() {
        for (input, level) in [(vec![0; 4 << 20], 6), (noise(1 << 20), 6), (noise(1 << 20), 0)] {
            let mut out = Outbox::new();
            let mut producer = compressed(bytes(input), Coding::Gzip, level);
            for room in [1, 100, 10_000, 60_000] {
                out.set_target(room);
                let before = producer.inner.remaining().unwrap();
                assert_eq!(producer.produce(&mut out).unwrap(), Produced::More);
                assert!(out.len() < room + 5 * 1024, "{} for {room}", out.len());
                let taken = before - producer.inner.remaining().unwrap();
                assert!(taken <= 2 * MAX_INPUT as u64, "{taken}");
                out.advance(out.len());
            }
        }
    }

    #[test]
    fn the_state_is_there_only_while_it_is_needed() {
        let mut producer = compressed(composite([empty(), bytes("x")]), Coding::Gzip, 6);
        assert!(producer.engine.is_none());
        assert_eq!(producer.produce(&mut Outbox::new()).unwrap(), Produced::Done);
        assert!(producer.engine.is_none());
    }
}
