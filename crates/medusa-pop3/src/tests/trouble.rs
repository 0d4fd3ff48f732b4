//! What happens when storage fails.

use std::io;

use medusa_mail::Error;

use super::{Setup, inside, say, two};

fn broken() -> Error {
    Error::Io { path: "/secret/path".into(), source: io::Error::other("EIO") }
}

fn denied() -> Error {
    Error::Io { path: "/secret/path".into(), source: io::ErrorKind::PermissionDenied.into() }
}

#[test]
fn a_maildrop_that_can_not_be_opened_is_told_by_its_code() {
    for (error, expected) in [
        (broken as fn() -> Error, "-ERR [SYS/TEMP] the mail can't be read now, try again later\n"),
        (|| Error::NoSpace, "-ERR [SYS/TEMP] the mail can't be read now, try again later\n"),
        (denied, "-ERR [SYS/PERM] the mail can't be read\n"),
        (|| Error::Name("a/b".into()), "-ERR [SYS/PERM] this account has no maildrop\n"),
        (|| Error::Missing, "-ERR [SYS/TEMP] the maildrop isn't there now\n"),
        (|| Error::InUse, "-ERR [IN-USE] another session has this maildrop\n"),
    ] {
        let store = two();
        store.fail("open", error);
        let mut client = Setup::new(&store).connect();
        let named = "+OK and the password?\n";
        assert_eq!(say(&mut client, "USER alice\nPASS secret"), format!("{named}{expected}"));
        // Once it works, the same session may try again.
        store.fail("", error);
        assert!(
            say(&mut client, "USER alice\nPASS secret").ends_with("+OK 2 messages (56 octets)\n")
        );
    }
}

#[test]
fn a_message_that_can_not_be_read_is_refused_and_the_session_goes_on() {
    let store = two();
    let mut client = inside(&store);
    store.fail("read", broken);
    assert_eq!(say(&mut client, "RETR 1\nTOP 1 0\nNOOP"), {
        "-ERR [SYS/TEMP] the mail can't be read now, try again later\n\
         -ERR [SYS/TEMP] the mail can't be read now, try again later\n+OK nothing done\n"
    });
    store.fail("read", || Error::Missing);
    assert_eq!(say(&mut client, "RETR 1\nSTAT"), "-ERR the message has gone\n+OK 2 56\n");
}

#[test]
fn removals_that_fail_are_told() {
    let store = two();
    let mut client = inside(&store);
    store.fail("remove", broken);
    assert_eq!(say(&mut client, "DELE 1\nQUIT"), {
        "+OK marked as deleted\n-ERR [SYS/TEMP] some of the 1 deleted messages were not removed\n"
    });
    assert!(client.is_closed());
    assert_eq!(store.left(), ["U1", "U2"]);
    assert!(store.0.lock().unwrap().locked.is_empty());
}
