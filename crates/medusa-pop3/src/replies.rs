//! The words for what goes wrong: response codes of RFC 2449 §8 and RFC 3206, for logins and for mail
//! storage. Nothing of the system's own words reaches a client.

use std::io::ErrorKind;
use std::time::Duration;

use medusa_accounts::{Denial, Told};
use medusa_mail::Error;
use medusa_text::status::{err, err_with};

use crate::login_delay::whole_seconds;

pub(crate) const TEMPORARY: &str = "SYS/TEMP";
const PERMANENT: &str = "SYS/PERM";

/// Says that the server has too much to do.
pub(crate) fn busy(out: &mut Vec<u8>) {
    err_with(out, TEMPORARY, "the server is busy, try again later");
}

/// Says that somebody has logged in not long ago (RFC 2449 §8.1.1).
pub(crate) fn too_soon(out: &mut Vec<u8>, left: Duration) {
    let text = format!("you have just been here, come back in {} s", whole_seconds(left));
    err_with(out, "LOGIN-DELAY", &text);
}

/// Says why there is no maildrop.
pub(crate) fn refuse_maildrop(out: &mut Vec<u8>, error: &Error) {
    match error {
        Error::Missing => err_with(out, TEMPORARY, "the maildrop isn't there now"),
        error => refuse(out, error),
    }
}

/// Says why mail can't be had.
pub(crate) fn refuse(out: &mut Vec<u8>, error: &Error) {
    match error {
        // RFC 2449 §8.1.2.
        Error::InUse => err_with(out, "IN-USE", "another session has this maildrop"),
        Error::Missing => err(out, "the message has gone"),
        Error::Name(_) => err_with(out, PERMANENT, "this account has no maildrop"),
        // RFC 3206 §4: permanent is what nobody but an operator will change.
        Error::Io { source, .. }
            if matches!(source.kind(), ErrorKind::PermissionDenied | ErrorKind::NotADirectory) =>
        {
            err_with(out, PERMANENT, "the mail can't be read");
        }
        _ => err_with(out, TEMPORARY, "the mail can't be read now, try again later"),
    }
}

/// Says why somebody isn't logged in.
pub(crate) fn deny(out: &mut Vec<u8>, denial: &Denial) {
    match denial.told() {
        Told::WrongCredentials => err_with(out, "AUTH", "wrong name or password"),
        Told::Malformed => err(out, "that is no login"),
        Told::TooLong => err(out, "the login is too long"),
        Told::Cancelled => err(out, "cancelled"),
        Told::NoSuchMechanism => err(out, "no such mechanism here"),
        Told::TryLater { after: None } => busy(out),
        Told::TryLater { after: Some(after) } => {
            let seconds = after.as_secs().max(1);
            let text = format!("too many failed logins, try again in {seconds} s");
            err_with(out, TEMPORARY, &text);
        }
    }
}
