//! What is code in a Rust file, and what is comment, string or test.
//!
//! Not a parser: it knows comments, strings and characters, which is enough to tell `unsafe` from the
//! word in a sentence. Macros and attributes are code like any other.

/// `text` with comments and the insides of strings and characters blanked out, line by line.
pub(super) fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = opaque_length(rest, code.chars().next_back());
        match length {
            0 => {
                code.push(first);
                rest = &rest[first.len_utf8()..];
            }
            _ => {
                code.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
                rest = &rest[length..];
            }
        }
    }
    code
}

/// `text` up to its unit tests, which stand last in a file.
pub(super) fn before_tests(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod ").map_or(text, |end| &text[..end])
}

/// The numbers of the lines in which `word` stands as a word of its own, from 1.
pub(super) fn lines_with<'t>(text: &'t str, word: &'t str) -> impl Iterator<Item = usize> + 't {
    text.lines()
        .enumerate()
        .filter(move |(_, line)| has_word(line, word))
        .map(|(index, _)| index + 1)
}

/// Whether `word` stands in `line` with nothing of a name on either side.
fn has_word(line: &str, word: &str) -> bool {
    let of_a_name = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(start, _)| {
        let (before, after) = (&line[..start], &line[start + word.len()..]);
        let longer_before = of_a_name(before.chars().next_back()) && of_a_name(word.chars().next());
        let longer_after = of_a_name(after.chars().next()) && of_a_name(word.chars().next_back());
        !longer_before && !longer_after
    })
}

/// How many octets at the start of `rest` are a comment, a string or a character; 0 for code.
fn opaque_length(rest: &str, before: Option<char>) -> usize {
    let in_a_name = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment_length(rest);
    }
    if rest.starts_with('"') {
        return string_length(rest);
    }
    if rest.starts_with('\'') {
        return character_length(rest);
    }
    if !in_a_name {
        let raw = rest
            .strip_prefix("br")
            .or_else(|| rest.strip_prefix("cr"))
            .or_else(|| rest.strip_prefix('r'));
        if let Some(hashes) = raw.map(|raw| raw.len() - raw.trim_start_matches('#').len()) {
            let prefix = rest.len() - raw.map_or(0, str::len) + hashes;
            if rest[prefix..].starts_with('"') {
                let end = format!("\"{}", "#".repeat(hashes));
                return rest[prefix + 1..]
                    .find(&end)
                    .map_or(rest.len(), |at| prefix + 1 + at + end.len());
            }
        }
    }
    0
}

fn block_comment_length(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

fn string_length(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// A character's length, or 0 for a lifetime: `'a'` closes after one character, `'a` doesn't.
fn character_length(rest: &str) -> usize {
    let mut inside = rest[1..].char_indices();
    match inside.next() {
        Some((_, '\\')) => {
            inside.next();
            rest[1..].char_indices().skip(2).find(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 2)
        }
        Some((_, '\'')) | None => 0,
        Some(_) => match inside.next() {
            Some((at, '\'')) => at + 2,
            _ => 0,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_strings_and_characters_are_blanked() {
        for (text, code) in [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            ("f(\"x\\\"y\", 1)", "f(      , 1)"),
            ("r#\"a \" b\"# c", "           c"),
            ("br\"a\\\" c", "       c"),
            ("for r in x", "for r in x"),
            ("'\"' a", "    a"),
            ("'\\'' a", "     a"),
            ("'\\u{1F600}' a", "            a"),
            ("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)"),
            ("\"a\nb\" c", "  \n   c"),
            ("let var\"x\"", "let var   "),
            ("\"never closed", "             "),
            ("/* never closed", "               "),
        ] {
            assert_eq!(code_of(text), code, "{text}");
        }
    }

    #[test]
    fn lines_are_kept() {
        let text = include_str!("source.rs");
        assert_eq!(code_of(text).lines().count(), text.lines().count());
        assert!(!code_of(text).contains("opaque at all, this comment: \u{2020}"));
    }

    #[test]
    fn words_are_words() {
        let lines = |text, word| lines_with(text, word).collect::<Vec<_>>();
        assert_eq!(lines("unsafe {\n}\nunsafe_code\nan_unsafe\n(unsafe)", "unsafe"), [1, 5]);
        assert_eq!(lines("std::fs::read\nstd::fsx\nmystd::fs", "std::fs"), [1]);
        assert_eq!(lines("#[ignore]\n#[ignore = \"x\"]\n#[ignored]", "#[ignore"), [1, 2]);
    }

    #[test]
    fn unit_tests_are_cut_off() {
        assert_eq!(before_tests("a\n#[cfg(test)]\nmod tests {\n}"), "a\n");
        assert_eq!(before_tests("a\n#[cfg(test)]\nuse b;"), "a\n#[cfg(test)]\nuse b;");
    }
}
