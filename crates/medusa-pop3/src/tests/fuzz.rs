//! Sessions that are nearly right, cut anywhere: what holds for any octets.

use medusa_core::testing::mutated;

use super::*;

/// However they are cut, the answers are the same and so is what is left; every answer is one; nothing is removed
/// but by QUIT, and headers are ASCII for whoever hasn't said UTF8. Tells how many messages were removed.
fn fuzz(octets: &[u8], cut: usize) -> usize {
    let shown = String::from_utf8_lossy(octets);
    let store = || {
        let store = two();
        store.deliver("Subject: \u{fc}\r\n\r\n.\r\n\u{fc}");
        store
    };
    let play = |store: &Store, cut: usize| {
        let mut setup = Setup::new(store);
        // What follows STLS at once is thrown away, and what follows later isn't.
        setup.has_tls = false;
        let mut client = setup.connect();
        for part in octets.chunks(cut) {
            client.send(part).run_jobs();
        }
        client.text()
    };
    let (whole, parts) = (store(), store());
    let answers = play(&whole, usize::MAX);
    assert_eq!(play(&parts, cut), answers, "{shown:?} by {cut}");
    assert_eq!(whole.left(), parts.left(), "{shown:?} by {cut}");
    assert!(whole.left().len() == 3 || answers.ends_with("+OK bye\r\n"), "{shown:?}");
    let answered =
        answers.is_empty() || answers.ends_with("\r\n") && answers.starts_with(['+', '-']);
    assert!(answered, "{answers:?} to {shown:?}");
    let has_said = shown.to_ascii_uppercase().contains("UTF8");
    assert!(has_said || !answers.contains("Subject: \u{fc}"), "{answers:?} to {shown:?}");
    assert!(whole.0.lock().unwrap().locked.is_empty(), "a lock is left by {shown:?}");
    3 - whole.left().len()
}

#[test]
fn sessions_that_are_nearly_right() {
    const CORPUS: [&[u8]; 6] = [
        b"USER alice\r\nPASS secret\r\nSTAT\r\nLIST\r\nUIDL 1\r\nRETR 1\r\nDELE 1\r\nQUIT\r\n",
        b"CAPA\r\nUTF8\r\nUSER alice\r\nPASS two  words \r\nRETR 3\r\nTOP 2 1\r\nRSET\r\nQUIT\r\n",
        b"AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\nLIST 3\r\nRETR 3\r\nDELE 2\r\nDELE 2\r\nLIST\r\nQUIT\r\n",
        b"AUTH PLAIN\r\nAGFsaWNlAHNlY3JldA==\r\nNOOP\r\nLANG\r\nLANG de\r\nTOP 3 0\r\nDELE 3\r\nQUIT\r\n",
        b"AUTH LOGIN\r\n*\r\nUSER j\xc3\xb6rg\r\nPASS p\xc3\xa4ss\r\nSTAT\r\nQUIT\r\n",
        b"STLS\r\nUSER bob\r\nPASS secret\r\nUIDL\r\nQUIT\r\nUSER alice\r\n",
    ];
    let sessions = mutated(&CORPUS, 5, 3_000).enumerate();
    let removed: usize = sessions.map(|(number, octets)| fuzz(&octets, 1 + number % 11)).sum();
    assert!(removed > 100, "too few of them came that far: {removed}");
}
