//! Three-digit replies (RFC 5321 §4.2, RFC 959 §4.2), with an enhanced status code (RFC 2034) where the
//! protocol has them.
//!
//! A text may hold what a peer sent: octets that could end the line or hide on a terminal are replaced,
//! so that no reply can be forged through it. What the codes mean is the protocol's business.

/// The longest line with its CRLF: RFC 5321 §4.5.3.1.5. Longer texts are cut.
const LINE_OCTETS: usize = 512;

/// Writes a reply. Each line of `text` (they are parted by LF) becomes a line of the reply: `250-one`,
/// `250 two`.
pub fn reply(out: &mut Vec<u8>, code: u16, text: &str) {
    write(out, code, None, text);
}

/// Writes a reply whose lines all begin with an enhanced status code: `250 2.1.0 Sender taken`.
pub fn enhanced(out: &mut Vec<u8>, code: u16, status: &str, text: &str) {
    write(out, code, Some(status), text);
}

/// Writes a reply whose middle lines begin with a space and not with the code, as FTP's FEAT and listings
/// need it (RFC 2389 §3.2): `211-Features:`, ` SIZE`, `211 End`.
pub fn block<L: AsRef<str>>(
    out: &mut Vec<u8>,
    code: u16,
    first: &str,
    lines: impl IntoIterator<Item = L>,
    last: &str,
) {
    head(out, code, b'-', None);
    clean(out, first);
    for line in lines {
        out.push(b' ');
        clean(out, line.as_ref());
    }
    head(out, code, b' ', None);
    clean(out, last);
}

fn write(out: &mut Vec<u8>, code: u16, status: Option<&str>, text: &str) {
    let mut lines = text.split('\n').peekable();
    while let Some(line) = lines.next() {
        head(out, code, if lines.peek().is_some() { b'-' } else { b' ' }, status);
        clean(out, line);
    }
}

fn head(out: &mut Vec<u8>, code: u16, mark: u8, status: Option<&str>) {
    debug_assert!((100..600).contains(&code), "{code} is no reply code");
    out.extend([100, 10, 1].map(|place| b'0' + (code / place % 10) as u8));
    out.push(mark);
    if let Some(status) = status {
        out.extend_from_slice(status.as_bytes());
        out.push(b' ');
    }
}

/// One line's text and its end. What could be taken for a line end or a terminal's command isn't sent.
pub(crate) fn clean(out: &mut Vec<u8>, text: &str) {
    let start = out.iter().rposition(|&octet| octet == b'\n').map_or(0, |at| at + 1);
    let room = LINE_OCTETS - 2;
    for character in text.chars() {
        let shown = if character.is_control() { '?' } else { character };
        if out.len() + shown.len_utf8() - start > room {
            break;
        }
        let mut buffer = [0; 4];
        out.extend_from_slice(shown.encode_utf8(&mut buffer).as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn replies_of_one_line_and_of_many() {
        assert_eq!(written(|out| reply(out, 220, "ready")), "220 ready\r\n");
        assert_eq!(written(|out| reply(out, 250, "a\nb\n")), "250-a\r\n250-b\r\n250 \r\n");
        assert_eq!(
            written(|out| enhanced(out, 550, "5.1.1", "a\nb")),
            "550-5.1.1 a\r\n550 5.1.1 b\r\n"
        );
        assert_eq!(
            written(|out| block(out, 211, "Features:", ["SIZE", "MDTM"], "End")),
            "211-Features:\r\n SIZE\r\n MDTM\r\n211 End\r\n"
        );
    }

    #[test]
    fn nothing_can_be_forged_through_a_text() {
        assert_eq!(
            written(|out| reply(out, 550, "no \r550 \u{1b}[2J\0\u{85}")),
            "550 no ?550 ?[2J??\r\n"
        );
        assert_eq!(
            written(|out| block(out, 211, "a\r\n", ["b\n211 c"], "d")),
            "211-a??\r\n b?211 c\r\n211 d\r\n"
        );
    }

    #[test]
    fn lines_are_cut_at_512_octets() {
        let text = written(|out| reply(out, 250, &"\u{e9}".repeat(600)));
        assert!(
            text.ends_with("\u{e9}\r\n") && (511..=512).contains(&text.len()),
            "{}",
            text.len()
        );
    }

    proptest! {
        #[test]
        fn every_line_of_a_reply_has_its_code(code in 200u16..560, text in any::<String>()) {
            let reply = written(|out| enhanced(out, code, "2.0.0", &text));
            let lines: Vec<&str> = reply.split_terminator("\r\n").collect();
            prop_assert_eq!(lines.len(), text.split('\n').count());
            for (index, line) in lines.iter().enumerate() {
                let mark = if index + 1 == lines.len() { ' ' } else { '-' };
                let head = format!("{code}{mark}2.0.0 ");
                prop_assert!(line.starts_with(&head) && line.len() <= 510);
                prop_assert!(!line.contains(['\r', '\n']));
            }
        }
    }
}
