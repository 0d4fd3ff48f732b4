//! Lines of text, each ended by CRLF.
//!
//! It looks into no line: one that holds a line end of its own comes out as two. Where that could be
//! somebody's doing, the caller refuses it; where dots must be doubled, [`dot_stuffed`] goes around.
//!
//! [`dot_stuffed`]: super::dot_stuffed

use super::{ProduceError, Produced, Producer};
use crate::outbox::Outbox;

/// So many lines are asked of an iterator in one call, however short they are.
const MAX_LINES: usize = 1024;

/// Produces each line that an iterator yields, and CRLF after it. Its chunk is one line.
pub fn lines<I>(lines: I) -> Lines<I::IntoIter>
where
    I: IntoIterator<Item: AsRef<[u8]>>,
{
    Lines { lines: lines.into_iter() }
}

/// Made by [`lines`].
#[derive(Debug, Clone)]
pub struct Lines<I> {
    lines: I,
}

impl<I: Iterator<Item: AsRef<[u8]>>> Producer for Lines<I> {
    fn produce(&mut self, out: &mut Outbox) -> Result<Produced, ProduceError> {
        for _ in 0..MAX_LINES {
            let Some(line) = self.lines.next() else { return Ok(Produced::Done) };
            out.push_slice(line.as_ref());
            out.push_slice(b"\r\n");
            if out.room() == 0 {
                break;
            }
        }
        Ok(Produced::More)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producer::testing::run;

    #[test]
    fn each_line_is_ended() {
        assert_eq!(run(lines(["one", "", "three"])), b"one\r\n\r\nthree\r\n");
        assert_eq!(run(lines([""; 0])), b"");
    }

    #[test]
    fn one_line_at_least_whatever_the_room() {
        let mut out = Outbox::new();
        out.set_target(2);
        let mut producer = lines(vec![b"a line".to_vec(), b"another".to_vec()]);
        assert_eq!(producer.produce(&mut out).unwrap(), Produced::More);
        assert_eq!(out.front(), b"a line\r\n");
    }

    #[test]
    fn many_short_lines_end_one_call() {
        let mut out = Outbox::new();
        out.set_target(u64::MAX);
        let mut producer = lines(std::iter::repeat("x"));
        assert_eq!(producer.produce(&mut out).unwrap(), Produced::More);
        assert_eq!(out.len(), 3 * MAX_LINES as u64);
    }
}
