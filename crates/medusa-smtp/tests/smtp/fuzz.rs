//! Conversations that are nearly right, cut anywhere: what holds for any octets.

use medusa_core::testing::{Faults, mutated};
use medusa_smtp::{PlaintextLogin, SmtpService};

use crate::fixture::{Store, connect, mx, run, send, submission};

/// However they are cut, the replies are the same and so is what is kept; every reply is one; what was kept was
/// answered so, nothing else was, and no line end in it is half a one. Tells how many messages were kept.
fn fuzz(octets: &[u8], service: impl Fn(&Store) -> SmtpService, cut: usize) -> usize {
    let shown = String::from_utf8_lossy(octets);
    let whole = Store::default();
    let (replies, client) = run(&*service(&whole).build(), octets, Faults::none());
    drop(client);
    let kept = whole.kept();
    for line in replies.split_terminator("\r\n") {
        let (code, rest) = line.split_at_checked(3).unwrap_or_default();
        let is_code = matches!(code.as_bytes(), [b'2'..=b'5', b'0'..=b'5', b'0'..=b'9']);
        assert!(is_code && rest.starts_with([' ', '-']), "{line:?} to {shown:?}");
    }
    assert!(replies.ends_with("\r\n") && !replies.replace("\r\n", "").contains(['\r', '\n']));
    assert_eq!(replies.matches("\r\n250 2.0.0 Taken as ").count(), kept.len(), "{shown:?}");
    for (accounts, text) in &kept {
        assert!(!accounts.is_empty(), "{shown:?}");
        assert!(!text.replace("\r\n", "").contains(['\r', '\n']), "{text:?} of {shown:?}");
    }
    assert_eq!(whole.counts().1, 0, "a message is neither kept nor forgotten: {shown:?}");

    let store = Store::default();
    let mut client = connect(&*service(&store).build(), Faults::none());
    octets.chunks(cut).for_each(|part| send(&mut client, part));
    assert_eq!(client.text(), replies, "{shown:?} by {cut}");
    assert_eq!(store.kept(), kept, "{shown:?} by {cut}");
    kept.len()
}

const CORPUS: [&[u8]; 4] = [
    b"EHLO c\r\nMAIL FROM:<s@c> SIZE=9\r\nRCPT TO:<alice@example.test>\r\nRCPT TO:<x@y>\r\nDATA\r\na\r\n..\r\n\
      .b\r\n.\r\nQUIT\r\n",
    b"EHLO c\r\nMAIL FROM:<> BODY=8BITMIME\r\nRCPT TO:<bob@example.test>\r\nBDAT 3\r\nx\r\nBDAT 6 LAST\r\nQUIT\r\n\
      RSET\r\nMAIL FROM:<\"a b\"@c> SMTPUTF8\r\nRCPT TO:<a@all.test>\r\nBDAT 0 LAST\r\nNOOP\r\nQUIT\r\n",
    b"HELO [127.0.0.1]\r\nMAIL FROM:<a@b>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\nReceived: x\r\n\tby y\r\n\r\n\
      \xc3\xbc\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<postmaster>\r\nDATA\r\n.\r\nVRFY x\r\nHELP\r\n",
    b"EHLO c\r\nMAIL FROM:<a@b.test> RET=HDRS ENVID=a+2Bb AUTH=<>\r\nRCPT TO:<alice@example.test> NOTIFY=NEVER \
      ORCPT=rfc822;a@b\r\nDATA\r\nx\r\n.\r\n",
];

#[test]
fn conversations_that_are_nearly_right() {
    let all = mutated(&CORPUS, 11, 1_500).enumerate();
    let kept: usize = all.map(|(number, octets)| fuzz(&octets, mx, 1 + number % 13)).sum();
    assert!(kept > 100, "too few of them came that far: {kept}");
}

#[test]
fn submissions_that_are_nearly_right() {
    const CORPUS: [&[u8]; 3] = [
    b"EHLO c\r\nAUTH PLAIN AGFsaWNlAGVjaWxh\r\nMAIL FROM:<alice@example.test>\r\nRCPT TO:<bob@example.test>\r\n\
      DATA\r\nx\r\n.\r\nQUIT\r\n",
    b"EHLO c\r\nAUTH LOGIN\r\nYWxpY2U=\r\nZWNpbGE=\r\nAUTH PLAIN\r\n*\r\nMAIL FROM:<>\r\nQUIT\r\n",
    b"EHLO c\r\nAUTH PLAIN\r\nAGFsaWNlAGVjaWxh\r\nMAIL FROM:<alice@example.test>\r\nRCPT TO:<x@y>\r\n\
      RCPT TO:<alice+t@example.test>\r\nBDAT 4\r\na: b\r\nBDAT 2 LAST\r\n\r\nQUIT\r\n",
    ];
    let service = |store: &Store| submission(store, PlaintextLogin::Always);
    let all = mutated(&CORPUS, 12, 1_500).enumerate();
    let kept: usize = all.map(|(number, octets)| fuzz(&octets, service, 1 + number % 13)).sum();
    assert!(kept > 100, "too few of them came that far: {kept}");
}
