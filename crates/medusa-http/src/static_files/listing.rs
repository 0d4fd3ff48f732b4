//! A folder as an HTML page. Pure: it is handed the entries and gives the page.
//!
//! Names come from whoever may write into the folder, so they are escaped for HTML where they are
//! shown and percent-encoded where they are linked, and a link begins with `./`, which keeps a name
//! with a colon from being taken for a scheme.

use std::fmt::Write as _;

use medusa_files::Timestamp;

/// How many entries a page shows. A browser is slow beyond, and the page is made in memory.
pub(crate) const MAX_ENTRIES: usize = 10_000;

/// One line of the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) name: Vec<u8>,
    pub(crate) is_folder: bool,
    pub(crate) len: u64,
    pub(crate) modified: Timestamp,
}

/// The page of the folder that the client knows by this path. Folders come first, each kind sorted
/// by name. `is_cut` says that there are more entries than these.
pub(crate) fn page(path: &[u8], mut lines: Vec<Line>, is_cut: bool) -> String {
    lines.sort_unstable_by(|one, other| {
        (!one.is_folder, &one.name).cmp(&(!other.is_folder, &other.name))
    });
    let mut page = String::with_capacity(1024 + lines.len() * 200);
    let title = escaped(path);
    page.push_str("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width\">\n<title>");
    page.push_str(&title);
    page.push_str("</title>\n<style>\n");
    page.push_str(STYLE);
    page.push_str("</style>\n</head>\n<body>\n<h1>");
    page.push_str(&title);
    page.push_str(
        "</h1>\n<table>\n<thead><tr><th>Name<th>Size<th>Modified (UTC)</thead>\n<tbody>\n",
    );
    if path != b"/" {
        page.push_str("<tr><td><a href=\"../\">../</a><td><td>\n");
    }
    for line in &lines {
        push_line(&mut page, line);
    }
    page.push_str("</tbody>\n</table>\n");
    if is_cut {
        let _ = writeln!(page, "<p>Only {} of the entries are shown.</p>", lines.len());
    }
    page.push_str("</body>\n</html>\n");
    page
}

const STYLE: &str = "\
:root { color-scheme: light dark }
body { font: 1rem/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem }
h1 { font-size: 1.25rem; overflow-wrap: anywhere }
table { border-collapse: collapse; width: 100% }
th, td { padding: .15rem .75rem .15rem 0; text-align: left; overflow-wrap: anywhere }
th { border-bottom: 1px solid #8888 }
td:nth-child(2), th:nth-child(2) { text-align: right; white-space: nowrap }
td:nth-child(3), th:nth-child(3) { white-space: nowrap; font-variant-numeric: tabular-nums }
a { text-decoration: none }
a:hover { text-decoration: underline }
";

fn push_line(page: &mut String, line: &Line) {
    let slash = if line.is_folder { "/" } else { "" };
    page.push_str("<tr><td><a href=\"./");
    push_encoded(page, &line.name);
    let _ = write!(page, "{slash}\">{}{slash}</a><td>", escaped(&line.name));
    if !line.is_folder {
        push_size(page, line.len);
    }
    page.push_str("<td>");
    push_moment(page, line.modified);
    page.push('\n');
}

/// A name for HTML, in text or between quotes. What isn't UTF-8 or would move the cursor is shown
/// as the replacement character.
fn escaped(name: &[u8]) -> String {
    let mut out = String::with_capacity(name.len());
    for character in String::from_utf8_lossy(name).chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            control if control.is_control() => out.push('\u{fffd}'),
            // These turn the direction of what follows, so that exe.txt reads as txt.exe.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

/// A name for a link: everything but the unreserved characters (RFC 3986 §2.3) percent-encoded,
/// whatever its bytes are.
pub(crate) fn push_encoded(out: &mut String, name: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in name {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(byte.into());
            }
            other => {
                out.push('%');
                out.push(DIGITS[usize::from(other >> 4)].into());
                out.push(DIGITS[usize::from(other & 15)].into());
            }
        }
    }
}

/// A length to read at a glance, rounded down.
fn push_size(out: &mut String, len: u64) {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if len < 1024 {
        let _ = write!(out, "{len} B");
        return;
    }
    let power = (len.ilog2() / 10) as usize;
    let tenths = ((u128::from(len) * 10) >> (10 * power)) as u64;
    let unit = UNITS[power - 1];
    let _ = match tenths {
        0..100 => write!(out, "{}.{} {unit}", tenths / 10, tenths % 10),
        _ => write!(out, "{} {unit}", tenths / 10),
    };
}

/// `2024-02-29 12:34`.
fn push_moment(out: &mut String, moment: Timestamp) {
    let (year, month, day) = civil(moment.seconds.div_euclid(86_400));
    let minute = moment.seconds.rem_euclid(86_400) / 60;
    let _ = write!(out, "{year:04}-{month:02}-{day:02} {:02}:{:02}", minute / 60, minute % 60);
}

/// The Gregorian date of a day counted from 1970-01-01. Years are counted from March, so that the
/// leap day is the last, in cycles of 400 years, which are 146,097 days.
fn civil(day: i64) -> (i64, i64, i64) {
    // From 0000-03-01.
    let day = day.saturating_add(719_468);
    let (cycle, day) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Months of 31, 30, 31, 30, 31 days: 153 in five.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (cycle * 400 + year + carry, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &[u8], is_folder: bool) -> Line {
        let modified = Timestamp { seconds: 1_709_210_096, nanoseconds: 0 };
        Line { name: name.to_vec(), is_folder, len: 1536, modified }
    }

    #[test]
    fn folders_come_first_and_names_are_sorted() {
        let lines = vec![line(b"b", false), line(b"z", true), line(b"a", false), line(b"c", true)];
        let page = page(b"/dir/", lines, false);
        let places: Vec<_> = ["../", "c/", "z/", "a", "b"]
            .iter()
            .map(|name| page.find(&format!(">{name}</a>")).unwrap())
            .collect();
        assert!(places.is_sorted(), "{page}");
        assert!(page.contains("<a href=\"./a\">a</a><td>1.5 KiB<td>2024-02-29 12:34\n"));
        assert!(page.contains("<a href=\"./z/\">z/</a><td><td>2024-02-29 12:34\n"));
        assert!(!page.contains("Only"));
    }

    #[test]
    fn the_root_has_no_way_up_and_a_cut_page_says_so() {
        let page = page(b"/", vec![line(b"a", false)], true);
        assert!(!page.contains("../"));
        assert!(page.contains("Only 1 of the entries are shown."));
    }

    #[test]
    fn no_name_breaks_out_of_its_place() {
        let names: &[&[u8]] = &[
            b"<script>alert(1)</script>",
            b"\"><img src=x onerror=alert(1)>",
            b"javascript:alert(1)",
            b"' onmouseover='x",
            b"a&b",
            b"line\r\nbreak\x1b[31m",
            b"\xff\xfe",
            b"?query#fragment%41",
            "\u{202e}txt.exe".as_bytes(),
        ];
        let lines = names.iter().map(|name| line(name, false)).collect();
        let page = page(b"/<b>/", lines, false);
        for bad in ["<script", "<img", "<b>", "onerror=alert(1)>", "\r", "\x1b", "\u{202e}"] {
            assert!(!page.contains(bad), "{bad:?} in {page}");
        }
        assert!(page.contains("href=\"./javascript%3Aalert%281%29\""));
        assert!(page.contains("href=\"./%FF%FE\""));
        assert!(page.contains("href=\"./%3Fquery%23fragment%2541\""));
        // Nothing but the page's own markup: as many tags as there would be without the names.
        let plain = super::page(b"/x/", names.iter().map(|_| line(b"x", false)).collect(), false);
        assert_eq!(page.matches('<').count(), plain.matches('<').count());
        assert_eq!(page.matches('"').count(), plain.matches('"').count());
    }

    #[test]
    fn sizes_are_short() {
        let table = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (10_239, "9.9 KiB"),
            (10_240, "10 KiB"),
            (1_048_575, "1023 KiB"),
            (1_048_576, "1.0 MiB"),
            (u64::MAX, "15 EiB"),
        ];
        for (len, expected) in table {
            let mut out = String::new();
            push_size(&mut out, len);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn days_are_counted_as_the_calendar_counts_them() {
        // Against the dates of HTTP, over four centuries and all their leap days.
        for day in (0..146_097).step_by(13).chain([11_016, 11_017, 11_015, 47_540, 47_541]) {
            let date = super::super::conditional::date(day * 86_400).unwrap().to_string();
            let (year, month, day) = civil(day);
            let month = [
                "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
            ][month as usize - 1];
            assert_eq!(date[5..16], format!("{day:02} {month} {year:04}"));
        }
        assert_eq!(civil(-1), (1969, 12, 31));
        assert_eq!(civil(-719_468), (0, 3, 1));
    }
}
