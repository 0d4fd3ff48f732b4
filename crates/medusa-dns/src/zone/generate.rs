//! `$GENERATE`, BIND's way to write many records in a line: `$GENERATE 1-254 $ PTR host-${0,3,d}`.
//!
//! The lines that it stands for are read by `reader`, which also bounds what is in them.

use super::lexer::{Place, Token};
use super::text;

/// The most lines of one directive: a zone file is to stay what its author can imagine.
const MOST_LINES: u64 = 1 << 17;

/// A range, and the words of a line with places for its numbers.
pub(crate) struct Generate<'a> {
    first: u32,
    last: u32,
    step: u32,
    words: Vec<&'a [u8]>,
}

impl<'a> Generate<'a> {
    /// Reads `range` and the words behind it, `tokens` being both.
    pub(crate) fn read(
        range: Token<'_>,
        tokens: &[Token<'a>],
    ) -> Result<Generate<'a>, (Place, String)> {
        let wrong = || (range.place, "not a range: write 1-254, or 0-100/2".to_owned());
        let text = std::str::from_utf8(range.text).map_err(|_| wrong())?;
        let (bounds, step) = text.split_once('/').unwrap_or((text, "1"));
        let (first, last) = bounds.split_once('-').ok_or_else(wrong)?;
        let number = |text: &str| {
            let number = text::number(text.as_bytes()).filter(|number| *number <= i32::MAX as u64);
            number.map(|number| number as u32).ok_or_else(wrong)
        };
        let (first, last, step) = (number(first)?, number(last)?, number(step)?);
        if step == 0 || last < first {
            return Err(wrong());
        }
        if u64::from((last - first) / step) >= MOST_LINES {
            return Err((range.place, format!("more than {MOST_LINES} records")));
        }
        let words: Vec<_> = tokens[1..].iter().map(|token| token.text).collect();
        if words.is_empty() {
            return Err((range.place, "what is to be generated is missing".to_owned()));
        }
        Ok(Generate { first, last, step, words })
    }

    /// The words of each line, or what is wrong with a place for a number.
    pub(crate) fn lines(&self) -> impl Iterator<Item = Result<Vec<Vec<u8>>, &'static str>> + '_ {
        (self.first..=self.last)
            .step_by(self.step as usize)
            .map(|number| self.words.iter().map(|word| filled(word, i64::from(number))).collect())
    }
}

/// `word` with the number in the place of each `$`, as `${offset,width,base}` says; `$$` is a dollar.
fn filled(word: &[u8], number: i64) -> Result<Vec<u8>, &'static str> {
    const WRONG: &str = "not ${OFFSET,WIDTH,BASE} with the bases d, o, x, X, n and N";
    let mut out = Vec::with_capacity(word.len() + 8);
    let mut rest = word;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        match byte {
            b'\\' => {
                out.push(byte);
                if let Some((&escaped, behind)) = rest.split_first() {
                    out.push(escaped);
                    rest = behind;
                }
            }
            b'$' if rest.first() == Some(&b'$') => {
                out.push(b'$');
                rest = &rest[1..];
            }
            b'$' if rest.first() == Some(&b'{') => {
                let end = memchr::memchr(b'}', rest).ok_or(WRONG)?;
                let inside = std::str::from_utf8(&rest[1..end]).map_err(|_| WRONG)?;
                rest = &rest[end + 1..];
                let mut parts = inside.split(',');
                let offset = parts.next().unwrap_or_default().parse::<i32>().map_err(|_| WRONG)?;
                let width = parts.next().unwrap_or("0").parse::<u8>().map_err(|_| WRONG)?;
                let base = parts.next().unwrap_or("d");
                let number = number + i64::from(offset);
                if parts.next().is_some() || number < 0 {
                    return Err(WRONG);
                }
                let width = usize::from(width);
                let text = match base {
                    "d" => format!("{number:0width$}"),
                    "o" => format!("{number:0width$o}"),
                    "x" => format!("{number:0width$x}"),
                    "X" => format!("{number:0width$X}"),
                    "n" => nibbles(&format!("{number:x}"), width),
                    "N" => nibbles(&format!("{number:X}"), width),
                    _ => return Err(WRONG),
                };
                out.extend_from_slice(text.as_bytes());
            }
            b'$' => out.extend_from_slice(number.to_string().as_bytes()),
            _ => out.push(byte),
        }
    }
    Ok(out)
}

/// Hexadecimal digits as labels from the last on, as ip6.arpa has them; `width` counts dots too.
fn nibbles(digits: &str, width: usize) -> String {
    let mut out = String::new();
    let mut digits = digits.chars().rev().peekable();
    loop {
        out.push(digits.next().unwrap_or('0'));
        if digits.peek().is_none() && out.len() >= width {
            return out;
        }
        out.push('.');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_put_in() {
        let filled = |word: &str, number| {
            filled(word.as_bytes(), number).map(|out| String::from_utf8(out).unwrap())
        };
        for (word, number, expected) in [
            ("host-$", 7, "host-7"),
            ("$$-\\$-$", 7, "$-\\$-7"),
            ("${0,3,d}", 7, "007"),
            ("${-5}", 7, "2"),
            ("${10,4,x}.x", 5, "000f.x"),
            ("${0,2,X}", 255, "FF"),
            ("${0,7,n}", 0x1A, "a.1.0.0"),
            ("${0,1,n}", 5, "5"),
        ] {
            assert_eq!(filled(word, number).as_deref(), Ok(expected), "{word}");
        }
        for wrong in ["${", "${x}", "${0,0,q}", "${-8}", "${0,0,d,1}", "${0,300}"] {
            assert!(filled(wrong, 7).is_err(), "{wrong}");
        }
    }
}
