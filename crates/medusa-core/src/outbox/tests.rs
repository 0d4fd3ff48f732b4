//! Segments in order, whatever they are and however little of them is taken.

use super::*;

fn take(out: &mut Outbox, step: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while !out.is_empty() {
        let front = out.front();
        let count = front.len().min(step);
        all.extend_from_slice(&front[..count]);
        out.advance(count as u64);
    }
    all
}

fn mixed() -> Outbox {
    let mut out = Outbox::new();
    out.push_slice(b"head ");
    out.push(Bytes::from(vec![b'x'; 2000]));
    out.push_slice(b" mid");
    let mark = out.mark();
    out.push_slice(b"chunk");
    out.push(Bytes::from(vec![b'y'; 1500]));
    out.prepend(mark, b"<5dc+5>");
    out.push_slice(b" tail");
    out
}

#[test]
fn order_survives_every_step_size() {
    let expected = [
        b"head ".to_vec(),
        vec![b'x'; 2000],
        b" mid<5dc+5>chunk".to_vec(),
        vec![b'y'; 1500],
        b" tail".to_vec(),
    ]
    .concat();
    for step in [1, 2, 3, 7, 64, 1499, 1500, 1501, 9999] {
        let mut out = mixed();
        assert_eq!(out.len(), expected.len() as u64);
        assert_eq!(take(&mut out, step), expected, "step {step}");
        assert!(out.is_empty());
    }
}

#[test]
fn gather_agrees_with_front() {
    let out = mixed();
    let mut slices = [IoSlice::new(&[]); 16];
    let count = out.gather(&mut slices);
    let gathered: Vec<u8> = slices[..count].iter().flat_map(|s| s.to_vec()).collect();
    assert_eq!(gathered, take(&mut mixed(), 1));
}

#[test]
fn a_mark_at_the_very_start_keeps_its_place() {
    let mut out = Outbox::new();
    let mark = out.mark();
    out.push_slice(b"body");
    out.prepend(mark, b"4\r\n");
    out.push_slice(b"\r\n");
    assert_eq!(take(&mut out, 2), b"4\r\nbody\r\n");
}

#[test]
fn an_empty_prefix_leaves_nothing_behind() {
    let mut out = Outbox::new();
    let mark = out.mark();
    out.prepend(mark, b"");
    assert!(out.is_empty());
}

#[test]
fn nested_marks_stay_in_order() {
    let mut out = Outbox::new();
    out.push_slice(b"a");
    let outer = out.mark();
    let inner = out.mark();
    out.push_slice(b"d");
    out.prepend(inner, b"c");
    out.prepend(outer, b"b");
    assert_eq!(take(&mut out, 1), b"abcd");
}

#[test]
fn milestones_tell_what_was_delivered() {
    let (tx, rx) = std::sync::mpsc::channel();
    let mut out = Outbox::new();
    let first = tx.clone();
    let began = out.pushed();
    out.push_slice(b"hello");
    out.push_milestone(began, Box::new(move |d| first.send(d).unwrap()));
    let began = out.pushed();
    out.push_slice(b"world");
    out.push_milestone(began, Box::new(move |d| tx.send(d).unwrap()));
    out.advance(4);
    assert!(rx.try_recv().is_err());
    out.advance(3);
    assert_eq!(rx.recv().unwrap(), Delivered { bytes: 5, completed: true });
    drop(out);
    assert_eq!(rx.recv().unwrap(), Delivered { bytes: 2, completed: false });
}

#[test]
fn a_plain_reply_takes_no_segment() {
    let mut out = Outbox::new();
    out.push_slice(b"one");
    out.push(Bytes::from_static(b"two"));
    assert_eq!(out.segments.capacity(), 0);
    assert_eq!(take(&mut out, 100), b"onetwo");
}
