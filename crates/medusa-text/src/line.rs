//! A command line taken apart: the verb and what follows it. What follows is left as it came.

/// A command line, without its line end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// What stands before the first space, in the peer's spelling.
    pub verb: &'a [u8],
    /// What stands behind the first space, if there is one. Further white space is kept: a file's name
    /// may begin and end with it.
    pub argument: Option<&'a [u8]>,
}

impl<'a> Line<'a> {
    /// Takes `line` apart.
    pub fn new(line: &'a [u8]) -> Line<'a> {
        match line.iter().position(|&octet| octet == b' ') {
            Some(at) => Line { verb: &line[..at], argument: Some(&line[at + 1..]) },
            None => Line { verb: line, argument: None },
        }
    }

    /// What follows the verb without white space around it; empty where there is nothing else.
    pub fn trimmed(&self) -> &'a [u8] {
        self.argument.unwrap_or_default().trim_ascii()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_apart_at_the_first_space() {
        let parts = |line: &'static str| {
            let Line { verb, argument } = Line::new(line.as_bytes());
            (std::str::from_utf8(verb).unwrap(), argument.map(|a| std::str::from_utf8(a).unwrap()))
        };
        assert_eq!(parts("NOOP"), ("NOOP", None));
        assert_eq!(parts("NOOP "), ("NOOP", Some("")));
        assert_eq!(parts("RETR  a name "), ("RETR", Some(" a name ")));
        assert_eq!(parts(" NOOP"), ("", Some("NOOP")));
        assert_eq!(parts(""), ("", None));
        assert_eq!(Line::new(b"NOOP \t x ").trimmed(), b"x");
        assert_eq!(Line::new(b"NOOP").trimmed(), b"");
    }
}
