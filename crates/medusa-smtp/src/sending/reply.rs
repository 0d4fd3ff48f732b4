//! What a server says, read: lines gathered into replies, and what EHLO offers. Pure.
//!
//! Lenient where it does no harm (a missing text, a tab), strict where a reply could be misread: lines of one
//! reply must have one code.

use std::fmt;

/// Lines that a reply may have. Nobody offers as many extensions.
const LINES: usize = 128;
/// Octets of a reply that are kept: enough to tell a sender why.
const KEPT_OCTETS: usize = 4096;

/// An enhanced status code (RFC 3463 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status(pub u8, pub u16, pub u16);

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl Status {
    /// Reads `5.1.1` at the front of a text.
    pub(crate) fn parse(text: &str) -> Option<(Status, &str)> {
        let end = text.find([' ', '\t']).unwrap_or(text.len());
        let mut parts = text[..end].split('.');
        let mut number = |digits: usize| {
            let part = parts.next()?;
            let plain = (1..=digits).contains(&part.len());
            (plain && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse::<u16>().ok())?
        };
        let status = Status(u8::try_from(number(1)?).ok()?, number(3)?, number(3)?);
        let known = matches!(status.0, 2 | 4 | 5) && parts.next().is_none();
        known.then(|| (status, text[end..].trim_start()))
    }
}

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    /// Its three digits.
    pub code: u16,
    /// Its enhanced status, if it has one that fits its code.
    pub status: Option<Status>,
    /// The texts of its lines, parted by LF, without the status of the first.
    pub text: String,
}

impl Reply {
    /// Its status, or the one that its code stands for.
    pub(crate) fn status(&self) -> Status {
        self.status.unwrap_or(Status((self.code / 100) as u8, 0, 0))
    }

    /// As it is shown to people: `550 5.1.1 No such user`.
    pub(crate) fn shown(&self) -> String {
        let text = self.text.replace('\n', " ");
        match self.status {
            Some(status) => format!("{} {status} {text}", self.code),
            None => format!("{} {text}", self.code),
        }
    }
}

/// The lines of a reply so far.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    code: u16,
    lines: usize,
    text: String,
}

/// What a line came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Gathered {
    /// There is more of it.
    More,
    /// It is complete.
    Reply(Reply),
    /// That is no reply.
    Garbage,
}

impl Gathering {
    /// Takes a line without its end.
    pub(crate) fn line(&mut self, line: &[u8]) -> Gathered {
        let code = match line.get(..3) {
            Some([a @ b'2'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9']) => {
                [a, b, c].iter().fold(0, |code, digit| code * 10 + u16::from(**digit - b'0'))
            }
            _ => return Gathered::Garbage,
        };
        let is_last = match line.get(3) {
            None | Some(b' ' | b'\t') => true,
            Some(b'-') => false,
            Some(_) => return Gathered::Garbage,
        };
        self.lines += 1;
        if (self.lines > 1 && self.code != code) || self.lines > LINES {
            return Gathered::Garbage;
        }
        self.code = code;
        let text = String::from_utf8_lossy(line.get(4..).unwrap_or_default());
        if self.text.len() + text.len() < KEPT_OCTETS {
            if self.lines > 1 {
                self.text.push('\n');
            }
            // What would end a line of a report, or command a terminal, isn't kept.
            self.text.extend(text.trim().chars().map(|c| if c.is_control() { '?' } else { c }));
        }
        if !is_last {
            return Gathered::More;
        }
        let Gathering { text, .. } = std::mem::take(self);
        Gathered::Reply(reply(code, text))
    }
}

fn reply(code: u16, text: String) -> Reply {
    let status = Status::parse(&text).filter(|(status, _)| u16::from(status.0) == code / 100);
    match status {
        None => Reply { code, status: None, text },
        Some((status, _)) => {
            // Every line has it.
            let lines: Vec<&str> = text
                .split('\n')
                .map(|line| Status::parse(line).filter(|(s, _)| *s == status).map_or(line, |p| p.1))
                .collect();
            Reply { code, status: Some(status), text: lines.join("\n") }
        }
    }
}

/// What a server offers (RFC 5321 §4.1.1.1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Extensions {
    /// RFC 2920.
    pub pipelining: bool,
    /// RFC 1870: offered, with the most octets of a message if there is a limit.
    pub size: Option<Option<u64>>,
    /// RFC 6152.
    pub eight_bit: bool,
    /// RFC 6531.
    pub smtputf8: bool,
    /// RFC 3030.
    pub chunking: bool,
    /// RFC 3030.
    pub binary: bool,
    /// RFC 3461.
    pub dsn: bool,
    /// RFC 3207.
    pub starttls: bool,
    /// RFC 4954: the mechanisms.
    pub auth: Vec<String>,
    /// RFC 9422: recipients of a message.
    pub most_recipients: Option<usize>,
}

impl Extensions {
    /// Reads the reply to EHLO. The first line holds the server's name.
    pub(crate) fn parse(text: &str) -> Extensions {
        let mut offered = Extensions::default();
        for line in text.split('\n').skip(1) {
            let mut words = line.split_ascii_whitespace();
            let keyword = words.next().unwrap_or_default().to_ascii_uppercase();
            match keyword.as_str() {
                "PIPELINING" => offered.pipelining = true,
                "SIZE" => {
                    let limit = words.next().and_then(|word| word.parse().ok());
                    offered.size = Some(limit.filter(|limit| *limit > 0));
                }
                "8BITMIME" => offered.eight_bit = true,
                "SMTPUTF8" => offered.smtputf8 = true,
                "CHUNKING" => offered.chunking = true,
                "BINARYMIME" => offered.binary = true,
                "DSN" => offered.dsn = true,
                "STARTTLS" => offered.starttls = true,
                "AUTH" => offered.auth.extend(words.map(str::to_ascii_uppercase)),
                "LIMITS" => {
                    let limit = words.find_map(|word| word.strip_prefix("RCPTMAX=")?.parse().ok());
                    offered.most_recipients = limit.filter(|limit| *limit > 0);
                }
                _ => {}
            }
        }
        offered
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn gathered(lines: &[&str]) -> Option<(u16, String, String)> {
        let mut gathering = Gathering::default();
        let (last, before) = lines.split_last()?;
        for line in before {
            if gathering.line(line.as_bytes()) != Gathered::More {
                return None;
            }
        }
        match gathering.line(last.as_bytes()) {
            Gathered::Reply(reply) => Some((reply.code, reply.status().to_string(), reply.text)),
            _ => None,
        }
    }

    #[test]
    fn replies() {
        let check = |lines: &[&str], code: u16, status: &str, text: &str| {
            let expected = Some((code, status.to_owned(), text.to_owned()));
            assert_eq!(gathered(lines), expected, "{lines:?}");
        };
        check(&["250 OK"], 250, "2.0.0", "OK");
        check(&["250"], 250, "2.0.0", "");
        check(&["250 "], 250, "2.0.0", "");
        check(&["250\tOK"], 250, "2.0.0", "OK");
        check(&["550 5.1.1 no such user"], 550, "5.1.1", "no such user");
        check(&["550-5.1.1 no", "550 5.1.1 such"], 550, "5.1.1", "no\nsuch");
        check(&["550-5.1.1 no", "550 such"], 550, "5.1.1", "no\nsuch");
        // A status of another class isn't one.
        check(&["450 5.1.1 later"], 450, "4.0.0", "5.1.1 later");
        check(&["450 4.1"], 450, "4.0.0", "4.1");
        check(&["450 4.1111.1 x"], 450, "4.0.0", "4.1111.1 x");
        check(&["250 a\u{1b}[2Jb"], 250, "2.0.0", "a?[2Jb");
        for garbage in [
            &["", "x"][..1],
            &["25"],
            &["2500"],
            &["abc def"],
            &["150 x"],
            &["650 x"],
            &["250_x"],
            &["250-a", "251 b"],
            &["HTTP/1.1 200 OK"],
        ] {
            assert_eq!(gathered(garbage), None, "{garbage:?}");
        }
        let endless = vec!["250-x"; LINES + 1];
        assert_eq!(gathered(&endless), None);
    }

    #[test]
    fn extensions() {
        let offered = Extensions::parse(
            "mx.test greets you\nPIPELINING\nsize 1000\n8BITMIME\nSMTPUTF8\nCHUNKING\nDSN\n\
             STARTTLS\nAUTH PLAIN login\nLIMITS MAILMAX=5 RCPTMAX=20\nBINARYMIME\nX-OTHER",
        );
        assert!(offered.pipelining && offered.eight_bit && offered.smtputf8 && offered.chunking);
        assert!(offered.dsn && offered.starttls && offered.binary);
        assert_eq!(offered.size, Some(Some(1000)));
        assert_eq!(offered.auth, ["PLAIN", "LOGIN"]);
        assert_eq!(offered.most_recipients, Some(20));
        assert_eq!(Extensions::parse("PIPELINING"), Extensions::default());
        assert_eq!(Extensions::parse("x\nSIZE 0").size, Some(None));
        assert_eq!(Extensions::parse("x\nSIZE").size, Some(None));
    }

    proptest! {
        #[test]
        fn any_octets_are_read_or_refused(lines in proptest::collection::vec(any::<Vec<u8>>(), 1..4)) {
            let mut gathering = Gathering::default();
            for line in &lines {
                if let Gathered::Reply(reply) = gathering.line(line) {
                    prop_assert!(!reply.text.contains('\r'));
                }
            }
        }
    }
}
