//! A pipelined session, cut anywhere, is the same session.

use medusa_core::testing::Faults;

use crate::fixture::{Store, connect, mx, run, send};

const SESSION: &str = "EHLO c\r\nMAIL FROM:<s@c>\r\nRCPT TO:<alice@example.test>\r\nRCPT TO:<x@y>\r\n\
    DATA\r\na\r\n..\r\n.b\r\n\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.test>\r\nBDAT 3\r\nx\r\n\
    BDAT 6 LAST\r\nQUIT\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\ny\nz\r\n.\r\nQUIT\r\n";

#[test]
fn every_split_in_two_and_three() {
    let whole = Store::default();
    let (expected, _) = run(&*mx(&whole).build(), SESSION, Faults::none());
    let kept = whole.kept();
    assert_eq!(kept.len(), 2);
    assert_eq!(kept[1].1.split_once("+0000\r\n").unwrap().1, "x\r\nQUIT\r\n");
    let step = |at: usize| (at..SESSION.len()).step_by(61).chain([SESSION.len()]);
    for first in 0..=SESSION.len() {
        for second in step(first) {
            let store = Store::default();
            let mut client = connect(&*mx(&store).build(), Faults::none());
            for part in [&SESSION[..first], &SESSION[first..second], &SESSION[second..]] {
                send(&mut client, part);
            }
            assert_eq!(client.text(), expected, "split at {first} and {second}");
            assert_eq!(store.kept(), kept, "split at {first} and {second}");
        }
    }
}
