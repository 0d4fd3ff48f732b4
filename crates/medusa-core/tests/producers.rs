//! Properties of the producers: random trees of combinators, random room, random drains and waits.
//!
//! What a tree must give is told by plain functions that know nothing of producers: each takes off the
//! output what its node accounts for, and a transformer is checked by undoing it.

use std::cell::Cell;
use std::fs::File;
use std::io::{BufRead, Read, Write};
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::sync::{Arc, Mutex, Weak};

use bytes::Bytes;
use flate2::bufread::{DeflateDecoder, GzDecoder, ZlibDecoder};
use medusa_core::outbox::Job;
use medusa_core::producer::{self, Coding, PipeWriter};
use medusa_core::{Delivered, Outbox, ProduceError, Produced, Producer};
use proptest::collection::vec;
use proptest::prelude::*;

// ---- the trees -----------------------------------------------------------------------------------

/// What a scripted leaf does when it is asked.
#[derive(Debug, Clone)]
enum Say {
    Data(Vec<u8>),
    /// Waits, and is woken from outside.
    Wait,
    /// Waits for a job that it hands out.
    Defer,
    Fail,
}

#[derive(Debug, Clone)]
enum Tree {
    Empty,
    Bytes(Vec<u8>),
    Lines(Vec<Vec<u8>>),
    Pieces(Vec<Vec<u8>>),
    Scripted(Vec<Say>),
    File { content: Vec<u8>, offset: usize, length: usize, lazy: Option<bool> },
    Pipe { content: Vec<u8>, capacity: usize },
    Composite(Vec<Tree>),
    Sequence(Vec<Tree>),
    Chain(Box<Tree>, Box<Tree>),
    Globbing(Box<Tree>, u64),
    Hooked(Box<Tree>),
    Chunked(Box<Tree>, bool),
    Compressed(Box<Tree>, Coding, u32),
    DotStuffed(Box<Tree>),
}

/// What a poisoned lock would mean: a test failed already.
const HELD: &str = "nobody panicked";

const TRAILER: &[u8] = b"Told: later\r\n";

/// Text full of what dot-stuffing looks at, bytes that don't compress, a run that does, or a count in
/// which nothing can change its place.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let bit = prop::sample::select(vec!["\r\n", "\r", "\n", ".", "..", "\r\n.", "a", "some words"]);
    prop_oneof![
        6 => vec(bit, 0..12).prop_map(|bits| bits.concat().into_bytes()),
        2 => vec(any::<u8>(), 0..3000),
        1 => (any::<u8>(), 0..150_000_usize).prop_map(|(byte, length)| vec![byte; length]),
        1 => (0..10_000_u32).prop_map(|count| {
            (0..count).flat_map(|line| format!("{line}\r\n").into_bytes()).collect()
        }),
    ]
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    vec(prop::sample::select(b".. ab".to_vec()), 0..30)
}

fn say() -> impl Strategy<Value = Say> {
    prop_oneof![
        4 => content().prop_map(Say::Data),
        2 => Just(Say::Wait),
        1 => Just(Say::Defer),
    ]
}

fn leaf() -> impl Strategy<Value = Tree> {
    prop_oneof![
        Just(Tree::Empty),
        content().prop_map(Tree::Bytes),
        vec(line(), 0..20).prop_map(Tree::Lines),
        vec(content(), 0..5).prop_map(Tree::Pieces),
        vec(say(), 0..8).prop_map(Tree::Scripted),
        (content(), 0..100_usize, prop::option::of(any::<bool>())).prop_map(
            |(content, offset, lazy)| {
                let offset = offset.min(content.len());
                let length = content.len() - offset;
                // A range that ends before its file does.
                let length = if length % 2 == 0 { length } else { length / 2 };
                Tree::File { content, offset, length, lazy }
            }
        ),
        (content(), 1..5000_usize).prop_map(|(content, capacity)| Tree::Pipe { content, capacity }),
    ]
}

fn tree() -> impl Strategy<Value = Tree> {
    leaf().prop_recursive(6, 128, 2, |inner| {
        let boxed = inner.clone().prop_map(Box::new);
        let coding = prop::sample::select(vec![Coding::Gzip, Coding::Zlib, Coding::Raw]);
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Tree::Composite),
            vec(inner, 0..4).prop_map(Tree::Sequence),
            (boxed.clone(), boxed.clone()).prop_map(|(first, second)| Tree::Chain(first, second)),
            (boxed.clone(), 0..20_000_u64).prop_map(|(inner, size)| Tree::Globbing(inner, size)),
            boxed.clone().prop_map(Tree::Hooked),
            (boxed.clone(), any::<bool>())
                .prop_map(|(inner, trailers)| Tree::Chunked(inner, trailers)),
            (boxed.clone(), coding, 0..=9_u32)
                .prop_map(|(inner, coding, level)| Tree::Compressed(inner, coding, level)),
            boxed.prop_map(Tree::DotStuffed),
        ]
    })
}

/// Trees in which one leaf fails in the end.
fn failing_tree() -> impl Strategy<Value = Tree> {
    let failing = vec(say(), 0..4).prop_map(|mut says| {
        says.push(Say::Fail);
        Tree::Scripted(says)
    });
    (failing, tree(), 0..6_u8).prop_map(|(failing, other, around)| {
        let inner = Box::new(Tree::Chain(Box::new(other), Box::new(failing)));
        match around {
            0 => Tree::Chunked(inner, true),
            1 => Tree::Compressed(inner, Coding::Gzip, 1),
            2 => Tree::DotStuffed(inner),
            3 => Tree::Globbing(inner, 5000),
            4 => Tree::Hooked(inner),
            _ => Tree::Chunked(Box::new(Tree::Compressed(inner, Coding::Gzip, 6)), false),
        }
    })
}

// ---- the plain reference -------------------------------------------------------------------------

/// Takes what `tree` must have produced off the front of `output`, and returns the rest.
fn check<'a>(tree: &Tree, output: &'a [u8]) -> &'a [u8] {
    let literal = |expected: &[u8]| {
        assert!(output.starts_with(expected), "{tree:?} gave something else");
        &output[expected.len()..]
    };
    match tree {
        Tree::Empty => output,
        Tree::Bytes(content) | Tree::Pipe { content, .. } => literal(content),
        Tree::Lines(lines) => literal(
            &lines.iter().flat_map(|line| [line, &b"\r\n"[..]].concat()).collect::<Vec<_>>(),
        ),
        Tree::Pieces(pieces) => literal(&pieces.concat()),
        Tree::Scripted(says) => literal(&said(says)),
        Tree::File { content, offset, length, .. } => literal(&content[*offset..][..*length]),
        Tree::Composite(parts) | Tree::Sequence(parts) => {
            parts.iter().fold(output, |rest, part| check(part, rest))
        }
        Tree::Chain(first, second) => check(second, check(first, output)),
        Tree::Globbing(inner, _) | Tree::Hooked(inner) => check(inner, output),
        Tree::Chunked(inner, trailers) => {
            let (plain, rest) = unchunked(output);
            assert!(check(inner, &plain).is_empty(), "more came out of {tree:?}");
            let end = [if *trailers { TRAILER } else { b"" }, b"\r\n"].concat();
            rest.strip_prefix(&end[..]).expect("the end of the chunks")
        }
        Tree::Compressed(inner, coding, _) => {
            let (plain, rest) = match coding {
                Coding::Gzip => decoded(output, GzDecoder::new, GzDecoder::into_inner),
                Coding::Zlib => decoded(output, ZlibDecoder::new, ZlibDecoder::into_inner),
                Coding::Raw => decoded(output, DeflateDecoder::new, DeflateDecoder::into_inner),
            };
            assert!(check(inner, &plain).is_empty(), "more came out of {tree:?}");
            rest
        }
        Tree::DotStuffed(inner) => {
            let (plain, rest) = unstuffed(output);
            let added = check(inner, &plain);
            let text = &plain[..plain.len() - added.len()];
            let ended = text.is_empty() || text.ends_with(b"\r\n");
            assert_eq!(added, if ended { &b""[..] } else { b"\r\n" }, "the end of {tree:?}");
            rest
        }
    }
}

fn said(says: &[Say]) -> Vec<u8> {
    says.iter()
        .flat_map(|say| if let Say::Data(data) = say { &data[..] } else { b"" })
        .copied()
        .collect()
}

/// Undoes the chunks; what is left begins with the trailers.
fn unchunked(mut output: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut plain = Vec::new();
    loop {
        let end = output.windows(2).position(|pair| pair == b"\r\n").expect("a chunk size");
        let size = std::str::from_utf8(&output[..end]).expect("hex digits");
        let size = usize::from_str_radix(size, 16).expect("hex digits");
        output = &output[end + 2..];
        if size == 0 {
            return (plain, output);
        }
        plain.extend_from_slice(&output[..size]);
        output = output[size..].strip_prefix(b"\r\n").expect("the end of a chunk");
    }
}

fn decoded<'a, D: Read>(
    output: &'a [u8],
    decoder: fn(&'a [u8]) -> D,
    rest: fn(D) -> &'a [u8],
) -> (Vec<u8>, &'a [u8]) {
    let mut plain = Vec::new();
    let mut decoder = decoder(output);
    decoder.read_to_end(&mut plain).expect("a whole stream");
    (plain, rest(decoder))
}

/// Undoes the dots, up to the line that holds one.
fn unstuffed(mut output: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut plain = Vec::new();
    let mut line_start = true;
    loop {
        if line_start && let Some(rest) = output.strip_prefix(b".\r\n") {
            return (plain, rest);
        }
        if line_start && output.first() == Some(&b'.') {
            output = &output[1..];
            assert_eq!(output.first(), Some(&b'.'), "a dot that wasn't doubled");
        }
        let count = output.read_until(b'\n', &mut plain).expect("a slice");
        assert!(count > 0, "text without an end");
        line_start = plain.ends_with(b"\r\n");
    }
}

/// By how much a tree may overshoot the room, as its producers document.
fn chunk(tree: &Tree, files: bool) -> u64 {
    let longest = |parts: &mut dyn Iterator<Item = u64>| parts.max().unwrap_or(0);
    match tree {
        Tree::Empty => 0,
        Tree::Bytes(_) | Tree::Pipe { .. } => 16 * 1024,
        Tree::Lines(lines) => longest(&mut lines.iter().map(|line| line.len() as u64 + 2)),
        Tree::Pieces(pieces) => longest(&mut pieces.iter().map(|piece| piece.len() as u64)),
        Tree::Scripted(says) => longest(&mut says.iter().map(|say| match say {
            Say::Data(data) => data.len() as u64,
            _ => 0,
        })),
        // Whether the page cache holds it is the machine's to decide.
        Tree::File { .. } => (if files { 1024 } else { 256 }) * 1024,
        Tree::Composite(parts) | Tree::Sequence(parts) => {
            longest(&mut parts.iter().map(|part| chunk(part, files)))
        }
        Tree::Chain(first, second) => chunk(first, files).max(chunk(second, files)),
        Tree::Globbing(inner, size) => chunk(inner, files) + size,
        Tree::Hooked(inner) => chunk(inner, files),
        Tree::Chunked(inner, _) => chunk(inner, files) + 25 + TRAILER.len() as u64,
        Tree::Compressed(..) => 5 * 1024,
        Tree::DotStuffed(inner) => chunk(inner, false).div_ceil(3) * 4 + 2048,
    }
}

// ---- from a tree to producers --------------------------------------------------------------------

/// What the driver and the producers of one tree share.
#[derive(Default)]
struct World {
    /// A leaf said that it waits, in the call that is under way.
    waited: Rc<Cell<bool>>,
    told: Vec<Arc<Mutex<Vec<Delivered>>>>,
    writers: Vec<(Option<PipeWriter>, Bytes)>,
}

/// Asserts the contract of what it wraps: of each producer in a tree, from outside.
struct Guard {
    inner: Box<dyn Producer>,
    over: bool,
    leaf: Option<Rc<Cell<bool>>>,
}

impl Producer for Guard {
    fn produce(&mut self, out: &mut Outbox) -> Result<Produced, ProduceError> {
        assert!(!self.over, "asked after its end");
        let (before, pushed) = (self.inner.remaining(), out.pushed());
        let produced = self.inner.produce(out);
        let made = out.pushed() - pushed;
        if let (Some(before), Ok(_)) = (before, &produced) {
            assert_eq!(self.inner.remaining(), Some(before - made), "remaining() is exact");
        }
        match &produced {
            Ok(Produced::More) => {}
            Ok(Produced::Pending) => {
                if let Some(waited) = &self.leaf {
                    waited.set(true);
                }
            }
            Ok(Produced::Done) => {
                assert!(matches!(self.inner.remaining(), None | Some(0)));
                self.over = true;
            }
            Err(_) => self.over = true,
        }
        produced
    }

    fn remaining(&self) -> Option<u64> {
        self.inner.remaining()
    }
}

fn build(tree: &Tree, world: &mut World) -> Guard {
    let leaf = |producer: Box<dyn Producer>, world: &World| Guard {
        inner: producer,
        over: false,
        leaf: Some(Rc::clone(&world.waited)),
    };
    let inner: Box<dyn Producer> = match tree {
        Tree::Empty => return leaf(Box::new(producer::empty()), world),
        Tree::Bytes(content) => return leaf(Box::new(producer::bytes(content.clone())), world),
        Tree::Lines(lines) => return leaf(Box::new(producer::lines(lines.clone())), world),
        Tree::Pieces(pieces) => return leaf(Box::new(producer::pieces(pieces.clone())), world),
        Tree::Scripted(says) => return leaf(Box::new(scripted(says.clone())), world),
        Tree::File { content, offset, length, lazy } => {
            let (offset, length) = (*offset as u64, *length as u64);
            let content = content.clone();
            let open = move || {
                let mut file = tempfile::tempfile()?;
                file.write_all(&content)?;
                Ok(Arc::new(file))
            };
            let producer: Box<dyn Producer> = match lazy {
                None => Box::new(producer::file_range(
                    open().expect("a temporary file"),
                    offset,
                    length,
                )),
                Some(false) => Box::new(producer::lazy_file(offset, length, open)),
                Some(true) => Box::new(producer::lazy_file(offset, length, open).cheap()),
            };
            return leaf(producer, world);
        }
        Tree::Pipe { content, capacity } => {
            let (writer, reader) = producer::pipe(*capacity);
            world.writers.push((Some(writer), content.clone().into()));
            return leaf(Box::new(reader), world);
        }
        Tree::Composite(parts) => {
            let parts: Vec<_> = parts.iter().map(|part| build(part, world)).collect();
            Box::new(producer::composite(parts))
        }
        Tree::Sequence(parts) => {
            let parts: Vec<_> = parts.iter().map(|part| build(part, world)).collect();
            Box::new(producer::sequence(parts))
        }
        Tree::Chain(first, second) => {
            Box::new(producer::chain(build(first, world), build(second, world)))
        }
        Tree::Globbing(inner, size) => Box::new(producer::globbing(build(inner, world), *size)),
        Tree::Hooked(inner) => {
            let inner = build(inner, world);
            Box::new(hooked(inner, world))
        }
        Tree::Chunked(inner, false) => Box::new(producer::chunked(build(inner, world))),
        Tree::Chunked(inner, true) => Box::new(
            producer::chunked(build(inner, world))
                .trailers(|| vec![("Told".into(), "later".into())]),
        ),
        Tree::Compressed(inner, coding, level) => {
            Box::new(producer::compressed(build(inner, world), *coding, *level))
        }
        Tree::DotStuffed(inner) => Box::new(producer::dot_stuffed(build(inner, world))),
    };
    Guard { inner, over: false, leaf: None }
}

fn hooked(inner: Guard, world: &mut World) -> producer::Hooked<Guard> {
    let told = Arc::new(Mutex::new(Vec::new()));
    world.told.push(Arc::clone(&told));
    producer::hooked(inner, move |delivered| told.lock().expect(HELD).push(delivered))
}

fn scripted(says: Vec<Say>) -> impl Producer {
    let mut says = says.into_iter().peekable();
    let mut job: Option<Arc<Mutex<bool>>> = None;
    producer::generated(move |out: &mut Outbox| {
        if let Some(finished) = &job {
            if !*finished.lock().expect(HELD) {
                return Ok(Produced::Pending);
            }
            job = None;
        }
        match says.next() {
            Some(Say::Data(data)) => out.push(data.into()),
            Some(Say::Wait) => return Ok(Produced::Pending),
            Some(Say::Defer) => {
                let finished = Arc::new(Mutex::new(false));
                job = Some(Arc::clone(&finished));
                out.defer(Box::new(move || *finished.lock().expect(HELD) = true));
                return Ok(Produced::Pending);
            }
            Some(Say::Fail) => return Err(ProduceError::Failed("as the script wants".into())),
            None => {}
        }
        Ok(if says.peek().is_some() { Produced::More } else { Produced::Done })
    })
}

// ---- the driver ----------------------------------------------------------------------------------

/// One round of a connection: so much is wanted, so much the socket takes.
#[derive(Debug, Clone, Copy)]
struct Round {
    target: u64,
    taken: u64,
    /// A producer that waits is asked once more before its job has run.
    hasty: bool,
}

fn rounds() -> impl Strategy<Value = Vec<Round>> {
    let size = || {
        prop_oneof![
            1 => Just(1_u64),
            1 => 2..100_u64,
            1 => 100..10_000_u64,
            4 => 10_000..200_000_u64,
        ]
    };
    let round = (size(), size(), any::<bool>()).prop_map(|(target, taken, hasty)| Round {
        target,
        taken,
        hasty,
    });
    vec(round, 1..8)
}

enum Ended {
    Done(Vec<u8>),
    Failed,
    /// The client left after so many rounds.
    Left,
}

/// Runs a tree, or `patience` rounds of it, and checks what each call must keep to. Returns also what
/// the hook around all was told.
fn run(tree: &Tree, rounds: &[Round], files: bool, patience: usize) -> (Ended, Delivered) {
    let mut world = World::default();
    let root = build(tree, &mut world);
    let mut root = Some(hooked(root, &mut world));
    let mut out = if files { Outbox::new() } else { Outbox::without_files() };
    let overshoot = chunk(tree, files);
    let (mut all, mut job): (Vec<u8>, Option<Job>) = (Vec::new(), None);
    let mut ended = Ended::Left;
    let mut turns = rounds.iter().cycle().take(patience);
    loop {
        if root.is_none() && out.is_empty() {
            ended = Ended::Done(std::mem::take(&mut all));
            break;
        }
        let Some(round) = turns.next() else { break };
        out.set_target(round.target);
        if let Some(producer) = &mut root
            && out.room() > 0
        {
            world.waited.set(false);
            let produced = producer.produce(&mut out);
            assert!(
                out.len() <= round.target + overshoot,
                "{} bytes for {} and {overshoot}",
                out.len(),
                round.target
            );
            if let Some(deferred) = out.take_job() {
                assert!(job.replace(deferred).is_none(), "one job at a time");
            }
            match produced {
                Ok(Produced::Done) => root = None,
                Ok(Produced::More) => {}
                Ok(Produced::Pending) => {
                    assert!(world.waited.get(), "it waits, though nobody in it does");
                    if !round.hasty {
                        if let Some(job) = job.take() {
                            job();
                        }
                        world.write(round.taken);
                    }
                }
                Err(_) => {
                    ended = Ended::Failed;
                    break;
                }
            }
        }
        if round.hasty && round.target % 3 == 0 {
            // Somewhere else, somebody got on.
            if let Some(job) = job.take() {
                job();
            }
            world.write(round.taken);
        }
        drain(&mut out, round.taken, &mut all);
    }
    // The client is gone, or has everything.
    drop(root);
    drop(out);
    for told in &world.told {
        assert_eq!(told.lock().expect(HELD).len(), 1, "a hook is told once");
    }
    let told = world.told.last().expect("the outermost").lock().expect(HELD)[0];
    (ended, told)
}

impl World {
    /// Has each pipe's writer get on by so much.
    fn write(&mut self, count: u64) {
        for (writer, rest) in &mut self.writers {
            let mut piece = rest.split_to(rest.len().min(count as usize));
            if let Some(pipe) = writer {
                let _ = pipe.write(&mut piece);
            }
            let tail = std::mem::take(rest);
            *rest = [piece, tail].concat().into();
            if rest.is_empty()
                && let Some(writer) = writer.take()
            {
                writer.close();
            }
        }
    }
}

/// Takes `count` bytes as a transport would, or all that is left.
fn drain(out: &mut Outbox, count: u64, all: &mut Vec<u8>) {
    let mut left = count;
    while left > 0 && !out.is_empty() {
        let step = match out.front_file() {
            Some((file, offset, length)) => read(file, offset, length.min(left), all),
            None => {
                let front = out.front();
                let step = front.len().min(left as usize);
                all.extend_from_slice(&front[..step]);
                step as u64
            }
        };
        out.advance(step);
        left -= step;
    }
}

fn read(file: &File, offset: u64, length: u64, all: &mut Vec<u8>) -> u64 {
    let start = all.len();
    all.resize(start + length as usize, 0);
    file.read_exact_at(&mut all[start..], offset).expect("the range");
    length
}

/// Enough for the longest tree at the smallest steps.
const ENDLESS: usize = 3_000_000;

/// Whether some round wakes and takes enough for the tree to come to its end within `ENDLESS` rounds.
fn gets_on(rounds: &[Round]) -> bool {
    rounds.iter().any(|round| round.target >= 1000 && round.taken >= 1000 && !round.hasty)
}

fn config(cases: u32) -> ProptestConfig {
    let mut config = ProptestConfig::with_cases(cases);
    config.failure_persistence = None;
    config
}

proptest! {
    #![proptest_config(config(1024))]

    #[test]
    fn any_nesting_gives_what_the_reference_says(
        tree in tree(),
        rounds in rounds().prop_filter("never ends", |rounds| gets_on(rounds)),
        files in any::<bool>(),
    ) {
        let (ended, told) = run(&tree, &rounds, files, ENDLESS);
        let Ended::Done(output) = ended else { panic!("never done") };
        prop_assert!(check(&tree, &output).is_empty(), "more came out");
        prop_assert_eq!(told, Delivered { bytes: output.len() as u64, completed: true });
    }

    #[test]
    fn a_client_that_leaves_is_told_of_once(
        tree in tree(),
        rounds in rounds(),
        files in any::<bool>(),
        patience in 0..30_usize,
    ) {
        let (ended, told) = run(&tree, &rounds, files, patience);
        prop_assert_eq!(told.completed, matches!(ended, Ended::Done(_)));
    }

    #[test]
    fn a_failure_ends_everything(
        tree in failing_tree(),
        rounds in rounds().prop_filter("never ends", |rounds| gets_on(rounds)),
        files in any::<bool>(),
    ) {
        let (ended, told) = run(&tree, &rounds, files, ENDLESS);
        prop_assert!(matches!(ended, Ended::Failed));
        prop_assert!(!told.completed);
    }
}

proptest! {
    #![proptest_config(config(48))]

    #[test]
    fn segments_and_reads_of_a_file_give_the_same(
        length in 0..3_000_000_usize,
        offset in 0..5_000_usize,
        rounds in rounds().prop_filter("never ends", |rounds| gets_on(rounds)),
    ) {
        let content: Vec<u8> = (0..length + offset).map(|at| (at * at % 251) as u8).collect();
        let tree = Tree::File { content, offset, length, lazy: None };
        for files in [true, false] {
            let (ended, _) = run(&tree, &rounds, files, ENDLESS);
            let Ended::Done(output) = ended else { panic!("never done") };
            prop_assert!(check(&tree, &output).is_empty());
        }
    }
}

/// Medusa opened each file when its request was read: 1,500 pipelined requests, 1,500 descriptors.
#[test]
fn fifteen_hundred_replies_hold_few_descriptors() {
    const LENGTH: usize = 100_000;
    let open: Arc<Mutex<Vec<Weak<File>>>> = Arc::default();
    let replies = (0..1500).map(|_| {
        let open = Arc::clone(&open);
        producer::lazy_file(0, LENGTH as u64, move || {
            let file = tempfile::tempfile()?;
            file.set_len(LENGTH as u64)?;
            let file = Arc::new(file);
            open.lock().expect(HELD).push(Arc::downgrade(&file));
            Ok(file)
        })
    });
    let mut replies = producer::composite(replies);
    let mut out = Outbox::new();
    let mut all = 0;
    let mut done = false;
    while !(done && out.is_empty()) {
        if !done && out.room() > 0 {
            done = replies.produce(&mut out).expect("files") == Produced::Done;
            if let Some(job) = out.take_job() {
                job();
            }
        }
        let mut open = open.lock().expect(HELD);
        open.retain(|file| file.strong_count() > 0);
        assert!(open.len() <= 3, "{} are open", open.len());
        let step = out.len().min(10_000);
        all += step;
        out.advance(step);
    }
    assert_eq!(all, 1500 * LENGTH as u64);
}
