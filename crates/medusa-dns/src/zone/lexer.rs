//! A master file as entries of tokens (RFC 1035 §5.1): lines, joined by parentheses, without comments.
//!
//! A token is a piece of the file as it stands there, escapes and all, with its place. What it means is
//! for the reader to say.

/// One word of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    /// As it stands there; without the quotes, if it is `quoted`.
    pub(crate) text: &'a [u8],
    /// Whether it stood in quotes.
    pub(crate) quoted: bool,
    /// Its place.
    pub(crate) place: Place,
}

/// A line and a column, both from 1, and how many octets are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// The line.
    pub line: u32,
    /// The column, in octets.
    pub column: u32,
    /// How many octets from there on.
    pub length: u32,
}

/// What the lexer can't make sense of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LexError {
    pub(crate) place: Place,
    pub(crate) message: &'static str,
}

/// Cuts a text into entries.
pub(crate) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    line: u32,
    line_start: usize,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        // Some editors begin a file with a byte order mark.
        let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
        Lexer { text, at: 0, line: 1, line_start: 0 }
    }

    /// Puts the next entry's tokens into `tokens`. Says whether it begins with white space, and so has
    /// the owner of the entry before; nothing at the end of the text.
    ///
    /// # Errors
    ///
    /// The entry is given up; the next one begins in the next line.
    pub(crate) fn entry(&mut self, tokens: &mut Vec<Token<'a>>) -> Result<Option<bool>, LexError> {
        tokens.clear();
        let mut indented = false;
        let mut open: Option<Place> = None;
        loop {
            let Some(&byte) = self.text.get(self.at) else {
                if let Some(place) = open {
                    let message = "this parenthesis is never closed";
                    return Err(LexError { place, message });
                }
                return Ok((!tokens.is_empty()).then_some(indented));
            };
            match byte {
                b'\n' => {
                    self.end_line();
                    if open.is_none() {
                        if !tokens.is_empty() {
                            return Ok(Some(indented));
                        }
                        indented = false;
                    }
                }
                b' ' | b'\t' | b'\r' => {
                    // Only what is at the very beginning of an entry stands for its owner.
                    if tokens.is_empty() && open.is_none() && self.at == self.line_start {
                        indented = byte != b'\r';
                    }
                    self.at += 1;
                }
                b';' => {
                    let rest = &self.text[self.at..];
                    self.at += memchr::memchr(b'\n', rest).unwrap_or(rest.len());
                }
                b'(' => {
                    let place = self.place(self.at, 1);
                    if open.replace(place).is_some() {
                        return Err(self.give_up(place, "a parenthesis within parentheses"));
                    }
                    self.at += 1;
                }
                b')' => {
                    let place = self.place(self.at, 1);
                    if open.take().is_none() {
                        return Err(self.give_up(place, "this parenthesis was never opened"));
                    }
                    self.at += 1;
                }
                _ => tokens.push(self.token()?),
            }
        }
    }

    fn token(&mut self) -> Result<Token<'a>, LexError> {
        let start = self.at;
        let quoted = self.text[start] == b'"';
        let mut inside = false;
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b'\\' if !matches!(self.text.get(self.at + 1), None | Some(b'\n')) => self.at += 1,
                b'"' => {
                    inside = !inside;
                    if quoted && !inside {
                        self.at += 1;
                        let text = &self.text[start + 1..self.at - 1];
                        return Ok(Token {
                            text,
                            quoted,
                            place: self.place(start, text.len() + 2),
                        });
                    }
                }
                b'\n' if inside => break,
                b' ' | b'\t' | b'\r' | b'\n' | b';' | b'(' | b')' if !inside => break,
                _ => {}
            }
            self.at += 1;
        }
        let text = &self.text[start..self.at];
        let place = self.place(start, text.len());
        if inside {
            return Err(self.give_up(place, "this quote is never closed"));
        }
        Ok(Token { text, quoted: false, place })
    }

    fn place(&self, at: usize, length: usize) -> Place {
        let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Place { line: self.line, column: small(at - self.line_start + 1), length: small(length) }
    }

    fn end_line(&mut self) {
        self.at += 1;
        self.line += 1;
        self.line_start = self.at;
    }

    /// Skips the rest of the line.
    fn give_up(&mut self, place: Place, message: &'static str) -> LexError {
        let rest = &self.text[self.at..];
        match memchr::memchr(b'\n', rest) {
            Some(length) => {
                self.at += length;
                self.end_line();
            }
            None => self.at = self.text.len(),
        }
        LexError { place, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Vec<String> {
        let mut lexer = Lexer::new(text.as_bytes());
        let (mut tokens, mut out) = (Vec::new(), Vec::new());
        loop {
            match lexer.entry(&mut tokens) {
                Ok(None) => return out,
                Ok(Some(indented)) => {
                    let words = tokens.iter().map(|token| {
                        let text = String::from_utf8_lossy(token.text);
                        let Place { line, column, .. } = token.place;
                        let quote = if token.quoted { "\"" } else { "" };
                        format!("{line}:{column}:{quote}{text}{quote}")
                    });
                    let indent = if indented { "_ " } else { "" };
                    out.push(format!("{indent}{}", words.collect::<Vec<_>>().join(" ")));
                }
                Err(error) => out.push(format!("{}: {}", error.place.line, error.message)),
            }
        }
    }

    #[test]
    fn entries_are_lines_unless_parentheses_join_them() {
        assert_eq!(
            entries("a b ; c\n\n  c (d ; e\n f)g\r\n; h\n\"x;y\" k=\"l m\"n \\(\\;"),
            ["1:1:a 1:3:b", "_ 3:3:c 3:6:d 4:2:f 4:4:g", "6:1:\"x;y\" 6:7:k=\"l m\"n 6:16:\\(\\;"]
        );
        assert_eq!(entries(""), [""; 0]);
        assert_eq!(entries("   \n\t; x\n"), [""; 0]);
    }

    #[test]
    fn what_is_wrong_costs_its_line_alone() {
        assert_eq!(
            entries("a )b\nc\nd \"e\nf\n"),
            [
                "1: this parenthesis was never opened",
                "2:1:c",
                "3: this quote is never closed",
                "4:1:f"
            ]
        );
        assert_eq!(entries("a (b\nc\n"), ["1: this parenthesis is never closed"]);
        assert_eq!(
            entries("a ((b\n)c"),
            ["1: a parenthesis within parentheses", "2: this parenthesis was never opened"]
        );
    }
}
