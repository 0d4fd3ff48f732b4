//! Every reply that says the same each time: code, enhanced status (RFC 3463) and text. What says more (the
//! greeting, EHLO, a message's id) is composed where it is sent.

use medusa_accounts::Told;
use medusa_mail::Error as MailError;

macro_rules! replies {
    ($($(#[$doc:meta])* $name:ident $code:literal $status:literal $text:literal;)*) => {
        /// A reply.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Reply { $($(#[$doc])* $name,)* }

        impl Reply {
            /// Code, enhanced status and text.
            pub(crate) const fn parts(self) -> (u16, &'static str, &'static str) {
                match self { $(Reply::$name => ($code, $status, $text),)* }
            }
        }
    };
}

replies! {
    /// STARTTLS is granted.
    StartTls 220 "2.0.0" "Ready to start TLS";
    Bye 221 "2.0.0" "Bye";
    LoggedIn 235 "2.7.0" "Authentication succeeded";
    Ok 250 "2.0.0" "OK";
    Sender 250 "2.1.0" "Sender taken";
    Recipient 250 "2.1.5" "Recipient taken";
    /// VRFY tells nobody who is here (RFC 5321 §7.3).
    CannotVerify 252 "2.5.0" "Send some mail, and see";
    /// RFC 3030 §2: each chunk is answered.
    Chunk 250 "2.0.0" "Chunk taken";
    Timeout 421 "4.4.2" "Timeout; closing the connection";
    Draining 421 "4.3.2" "The server is shutting down";
    TooManyConnections 421 "4.7.0" "Too many connections; try again later";
    TooManyErrors 421 "4.7.0" "Too many errors; closing the connection";
    Busy 451 "4.3.2" "Too busy; try again later";
    /// What a store says that has failed.
    StorageFailed 451 "4.3.0" "The message can't be kept now; try again later";
    TooManyHere 452 "4.5.3" "Too many recipients; send the rest in another message";
    MaildropFull 452 "4.2.2" "The maildrop is full";
    StorageFull 452 "4.3.1" "No space is left for mail";
    LoginLater 454 "4.7.0" "Temporary authentication failure";
    CommandTooLong 500 "5.5.2" "The line is too long";
    TextLineTooLong 500 "5.6.0" "A line of the message is too long";
    LoginTooLong 500 "5.5.6" "The authentication exchange is too long";
    Unknown 500 "5.5.1" "Unknown command";
    /// An octet that no command holds: a control octet, or a CR or LF on its own.
    BadOctet 500 "5.5.2" "A command holds an octet that it can't";
    NotText 501 "5.5.2" "A command must be ASCII or UTF-8";
    Missing 501 "5.5.4" "Something must follow this command";
    Unexpected 501 "5.5.4" "Nothing may follow this command";
    BadName 501 "5.5.2" "That can't be a host's name";
    BadArgument 501 "5.5.4" "Malformed argument";
    BadParameter 501 "5.5.4" "Malformed parameter";
    BadSender 501 "5.1.7" "Malformed sender address";
    BadRecipient 501 "5.1.3" "Malformed recipient address";
    BadLogin 501 "5.5.2" "Malformed authentication exchange";
    LoginCancelled 501 "5.7.0" "Authentication cancelled";
    NotImplemented 502 "5.5.1" "Command not implemented";
    NotOffered 502 "5.5.1" "Command not offered here";
    HelloFirst 503 "5.5.1" "Say EHLO first";
    MailFirst 503 "5.5.1" "Say MAIL first";
    RecipientsFirst 503 "5.5.1" "Say MAIL and RCPT first";
    MailTwice 503 "5.5.1" "The sender is known already";
    ChunksBegun 503 "5.5.1" "The message has begun; go on with BDAT, or say RSET";
    InTransaction 503 "5.5.1" "Not within a mail transaction";
    LoggedInAlready 503 "5.5.1" "Authenticated already";
    SecuredAlready 503 "5.5.1" "TLS is active already";
    NoService 503 "5.5.1" "No service here but QUIT";
    NoMechanism 504 "5.5.4" "No such authentication mechanism";
    LoginFirst 530 "5.7.0" "Authentication required";
    WrongCredentials 535 "5.7.8" "Authentication credentials invalid";
    TlsFirst 538 "5.7.11" "Encryption required for this authentication mechanism";
    NoSuchUser 550 "5.1.1" "No such recipient here";
    Disabled 550 "5.2.1" "The recipient's account is disabled";
    NoRelay 550 "5.7.1" "Mail for other domains isn't taken here";
    /// SMTP smuggling: a line end that isn't CRLF (RFC 5321 §2.3.8).
    BareLineEnd 550 "5.6.11" "A CR or LF that isn't part of a CRLF";
    TooLarge 552 "5.3.4" "The message is too large";
    NeedsUtf8 553 "5.6.7" "This address needs SMTPUTF8";
    NoRecipients 554 "5.5.1" "No valid recipients";
    EarlyTalker 554 "5.5.1" "You spoke before the greeting";
    Foreign 554 "5.5.1" "This is SMTP";
    Loop 554 "5.4.6" "Too many hops: this message goes in circles";
    UnknownParameter 555 "5.5.4" "Unknown parameter";
}

impl Reply {
    /// Writes it.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        let (code, status, text) = self.parts();
        medusa_text::code::enhanced(out, code, status, text);
    }

    /// What a client is told whose login is denied (RFC 4954 §6).
    pub(crate) fn denied(told: Told) -> Reply {
        match told {
            Told::WrongCredentials => Reply::WrongCredentials,
            Told::Malformed => Reply::BadLogin,
            Told::TooLong => Reply::LoginTooLong,
            Told::Cancelled => Reply::LoginCancelled,
            Told::NoSuchMechanism => Reply::NoMechanism,
            Told::TryLater { .. } => Reply::LoginLater,
        }
    }

    /// What is said of a store's failure. All may pass but one.
    pub(crate) fn stored(error: &MailError) -> Reply {
        match error {
            MailError::Full => Reply::MaildropFull,
            MailError::NoSpace => Reply::StorageFull,
            MailError::TooLong => Reply::TooLarge,
            _ => Reply::StorageFailed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_has_its_codes_class() {
        // Every reply that can be reached is tried by the conversation tests; here, that none can be at odds
        // with itself.
        for reply in [Reply::Ok, Reply::MaildropFull, Reply::Loop, Reply::LoggedIn] {
            let (code, status, _) = reply.parts();
            assert_eq!(status.as_bytes()[0], code.to_string().as_bytes()[0]);
        }
    }
}
