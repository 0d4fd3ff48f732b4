//! The access log's lines.

use std::sync::{Arc, Mutex};

use medusa_core::AccessSink;

use super::{Setup, Store, crlf, say, two};

#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

impl AccessSink for Lines {
    fn line(&self, line: &[u8]) {
        self.0.lock().unwrap().push(String::from_utf8(line.to_vec()).unwrap());
    }
}

fn logged(store: &Store) -> (Setup, Arc<Lines>) {
    let lines = Arc::new(Lines::default());
    let mut setup = Setup::new(store);
    setup.access = Some(lines.clone());
    (setup, lines)
}

#[test]
fn each_message_that_was_sent_has_its_line() {
    let store = two();
    let (setup, lines) = logged(&store);
    let mut client = setup.connect();
    say(&mut client, "USER alice\nPASS secret\nLIST\nRETR 2\nTOP 1 0\nRETR 7");
    store.fail("read", || medusa_mail::Error::Missing);
    say(&mut client, "RETR 1\nQUIT");
    let begin = "127.0.0.1 - alice [09/Sep/2001:01:46:40 +0000] \"POP3";
    // With the dots that were doubled, and the end.
    let expected = [format!("{begin} RETR U2\" 38"), format!("{begin} TOP U1\" 19")];
    assert_eq!(*lines.0.lock().unwrap(), expected);
}

#[test]
fn a_message_that_was_cut_off_says_so() {
    let store = Store::with(&[&"a line\r\n".repeat(100_000)]);
    let (setup, lines) = logged(&store);
    let mut client = setup.connect();
    say(&mut client, "USER alice\nPASS secret");
    client.stall();
    client.send(crlf("RETR 1")).run_jobs();
    client.reset();
    let lines = lines.0.lock().unwrap();
    assert!(lines.len() == 1 && lines[0].ends_with(" incomplete"), "{lines:?}");
}
