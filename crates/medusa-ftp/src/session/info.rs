//! What the server says of itself, and how data is to look: FEAT, OPTS (RFC 2389), HELP, STAT, SITE, TYPE,
//! MODE, STRU, REST.

use std::fmt::Write;

use medusa_core::Cx;
use medusa_text::code;

use super::{FtpSession, say};
use crate::commands::COMMANDS;
use crate::listing::Facts;

impl FtpSession {
    pub(super) fn feat(&mut self, cx: &mut Cx<'_>) {
        let mut features = vec!["UTF8".to_owned(), "EPRT".to_owned(), "EPSV".to_owned()];
        if self.shared.has_tls {
            features.extend(["AUTH TLS", "PBSZ", "PROT"].map(str::to_owned));
        }
        features.push(format!("MLST {}", self.facts.feature()));
        let rest = ["SIZE", "MDTM", "MFMT", "REST STREAM", "TVFS", "MODE Z", "HASH SHA-256*"];
        features.extend(rest.map(str::to_owned));
        features.extend(["XSHA256", "HOST", "CLNT", "SITE CHMOD"].map(str::to_owned));
        cx.compose(|out| code::block(out, 211, "Features:", features, "End"));
    }

    pub(super) fn help(&mut self, cx: &mut Cx<'_>, argument: &[u8]) {
        let verb = argument.trim_ascii();
        if let Some(row) = COMMANDS.row(verb) {
            return say(cx, 214, &format!("Syntax: {}", row.syntax));
        }
        if !verb.is_empty() {
            return say(cx, 504, "No such command");
        }
        let verbs: Vec<&str> = COMMANDS.rows().iter().map(|row| row.verb).collect();
        let lines = verbs.chunks(10).map(|verbs| verbs.join(" "));
        cx.compose(|out| code::block(out, 214, "Commands:", lines, "End"));
    }

    pub(super) fn site(&mut self, cx: &mut Cx<'_>, argument: &[u8]) {
        let argument = argument.trim_ascii_start();
        let at = argument.iter().position(|&octet| octet == b' ').unwrap_or(argument.len());
        let (verb, rest) = (argument[..at].to_ascii_uppercase(), &argument[at..]);
        match verb.as_slice() {
            b"CHMOD" => self.chmod(cx, rest),
            b"HELP" => {
                let lines = ["CHMOD mode path", "HELP"];
                cx.compose(|out| code::block(out, 214, "SITE commands:", lines, "End"));
            }
            _ => say(cx, 504, "SITE knows CHMOD and HELP"),
        }
    }

    pub(super) fn stat(&mut self, cx: &mut Cx<'_>, argument: &[u8]) {
        if !argument.trim_ascii().is_empty() {
            return match self.is_inside() {
                true => self.stat_path(cx, argument),
                false => say(cx, 530, "Log in first"),
            };
        }
        let mut lines = Vec::new();
        match self.is_inside() {
            true => lines.push(format!("Logged in as {}", self.user)),
            false => lines.push("Nobody is logged in".to_owned()),
        }
        let mut how = String::new();
        let _ = write!(how, "TYPE {}, STRU F", if self.how.ascii { 'A' } else { 'I' });
        let _ = write!(how, ", MODE {}", if self.how.deflate.is_some() { 'Z' } else { 'S' });
        lines.push(how);
        if cx.is_secured() {
            let data = if self.is_protected { "protected" } else { "clear" };
            lines.push(format!("The control connection is protected, data is {data}"));
        }
        cx.compose(|out| code::block(out, 211, "How things are:", lines, "End"));
    }

    pub(super) fn opts(&mut self, cx: &mut Cx<'_>, argument: &[u8]) {
        let argument = argument.trim_ascii().to_ascii_uppercase();
        let at = argument.iter().position(|&octet| octet == b' ').unwrap_or(argument.len());
        let (what, value) = (&argument[..at], argument[at..].trim_ascii());
        match (what, value) {
            // Names are octets, and taken for UTF-8 by whoever shows them.
            (b"UTF8", b"ON" | b"") | (b"UTF-8", b"ON" | b"NLST" | b"") => {
                say(cx, 200, "Names are UTF-8");
            }
            (b"MLST", list) => {
                self.facts = Facts::asked_for(list);
                say(cx, 200, format!("MLST OPTS {}", self.facts.names()).trim_end());
            }
            (b"HASH", b"" | b"SHA-256") => say(cx, 200, "SHA-256"),
            (b"MODE", value) => match level_of(value) {
                Some(level) => {
                    self.level = level;
                    if let Some(current) = &mut self.how.deflate {
                        *current = level;
                    }
                    say(cx, 200, &format!("MODE Z LEVEL is {level}"));
                }
                None => say(cx, 501, "Syntax: OPTS MODE Z LEVEL 0-9"),
            },
            _ => say(cx, 501, "There is no such option"),
        }
    }

    pub(super) fn set_type(&mut self, cx: &mut Cx<'_>, argument: &[u8]) {
        match argument.trim_ascii().to_ascii_uppercase().as_slice() {
            b"A" | b"A N" => self.how.ascii = true,
            b"I" | b"L 8" | b"L8" => self.how.ascii = false,
            _ => return say(cx, 504, "The types are A, I and L 8"),
        }
        say(cx, 200, if self.how.ascii { "TYPE is A" } else { "TYPE is I" });
    }

    pub(super) fn set_mode(&mut self, cx: &mut Cx<'_>, argument: &[u8]) {
        self.how.deflate = match argument.trim_ascii() {
            b"S" | b"s" => None,
            b"Z" | b"z" => Some(self.level),
            _ => return say(cx, 504, "The modes are S and Z"),
        };
        say(cx, 200, if self.how.deflate.is_some() { "MODE is Z" } else { "MODE is S" });
    }

    pub(super) fn set_structure(&mut self, cx: &mut Cx<'_>, argument: &[u8]) {
        match argument.trim_ascii() {
            b"F" | b"f" => say(cx, 200, "STRU is F"),
            _ => say(cx, 504, "F is the one structure"),
        }
    }

    pub(super) fn rest(&mut self, cx: &mut Cx<'_>, argument: &[u8]) {
        let digits = argument.trim_ascii();
        let number = std::str::from_utf8(digits).ok().and_then(|text| text.parse::<u64>().ok());
        match number.filter(|_| digits.iter().all(u8::is_ascii_digit)) {
            // A file offset is signed.
            Some(offset) if i64::try_from(offset).is_ok() => {
                self.restart = offset;
                say(cx, 350, &format!("The next transfer begins at {offset}"));
            }
            _ => say(cx, 501, "Syntax: REST offset"),
        }
    }
}

fn level_of(value: &[u8]) -> Option<u32> {
    let digit = value.strip_prefix(b"Z LEVEL ")?.trim_ascii();
    match digit {
        [digit @ b'0'..=b'9'] => Some(u32::from(digit - b'0')),
        _ => None,
    }
}
