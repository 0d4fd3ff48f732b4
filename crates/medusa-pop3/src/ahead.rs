//! Messages read before they are asked for. Most clients fetch one small message after the other; then each
//! visit to the offload pool brings some more of them, so that a pipelined group is answered in few writes.
//!
//! Only small messages are kept in memory, no more than [`OCTETS`] of them for a session; a large one is a file to
//! be sent from. Who fetches here and there gets what was asked for and no more.

use std::collections::VecDeque;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use medusa_mail::{Content, Error, Maildrop};

/// What is read and not left in its file.
const SMALL: u64 = 16 << 10;
/// The most that is kept of messages nobody has asked for yet.
const OCTETS: u64 = 64 << 10;
/// Messages that are read ahead, at first and at most.
const FIRST: usize = 4;
const MOST: usize = 32;

/// A message that was opened.
#[derive(Debug)]
pub(crate) enum Text {
    Small(Bytes),
    Large(Arc<File>, u64),
}

/// What one session has of its maildrop's messages.
#[derive(Debug, Default)]
pub(crate) struct Ahead(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    texts: VecDeque<(usize, Bytes)>,
    /// What is asked for next by somebody who goes on in order.
    next: usize,
    /// Messages read ahead the last time.
    window: usize,
}

impl Ahead {
    /// A message that was read before.
    pub(crate) fn take(&self, index: usize) -> Option<Bytes> {
        let mut kept = self.kept();
        let at = kept.texts.iter().position(|(one, _)| *one == index)?;
        kept.next = index + 1;
        kept.texts.drain(..=at).last().map(|(_, text)| text)
    }

    /// Opens a message, and reads some that follow it if they are likely to be wanted. Blocks.
    pub(crate) fn open(&self, maildrop: &dyn Maildrop, index: usize) -> Result<Text, Error> {
        let text = open(maildrop, index)?;
        let mut kept = self.kept();
        kept.texts.clear();
        kept.window = match kept.next == index {
            true => (kept.window * 2).clamp(FIRST, MOST),
            false => 0,
        };
        kept.next = index + 1;
        let mut room = OCTETS;
        let following = maildrop.messages().iter().enumerate().skip(index + 1).take(kept.window);
        for (index, message) in following {
            if message.size > SMALL.min(room) {
                break;
            }
            // Whatever is wrong with it is told to who asks for it.
            let Ok(Text::Small(text)) = open(maildrop, index) else { break };
            room = room.saturating_sub(text.len() as u64);
            kept.texts.push_back((index, text));
        }
        Ok(text)
    }

    /// Nothing that holds it leaves it half changed.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open(maildrop: &dyn Maildrop, index: usize) -> Result<Text, Error> {
    let failed = |source| Error::Io { path: "message".into(), source };
    let file = match maildrop.read(index)? {
        Content::File(file) => file,
        Content::Octets(octets) => return Ok(Text::Small(octets.into())),
    };
    let told = maildrop.messages().get(index).map_or(u64::MAX, |message| message.size);
    if told <= SMALL {
        // Room for one octet more, so that its end is seen. A handle may be shared: where it stands says
        // nothing.
        let (mut text, mut length) = (vec![0; told as usize + 1], 0);
        while length < text.len() {
            match file.read_at(&mut text[length..], length as u64) {
                Ok(0) => {
                    text.truncate(length);
                    return Ok(Text::Small(text.into()));
                }
                Ok(count) => length += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }
    let length = file.metadata().map_err(failed)?.len();
    Ok(Text::Large(Arc::new(file), length))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use medusa_mail::Message;

    use super::*;

    /// Messages of these sizes; counts how many were read.
    struct Box(Vec<Message>, AtomicUsize);

    fn maildrop(sizes: &[u64]) -> Box {
        let one = |size: &u64| Message::new("1", *size, *size);
        Box(sizes.iter().map(one).collect(), AtomicUsize::new(0))
    }

    impl Maildrop for Box {
        fn messages(&self) -> &[Message] {
            &self.0
        }

        fn read(&self, index: usize) -> Result<Content, Error> {
            self.1.fetch_add(1, Ordering::SeqCst);
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&vec![b'x'; self.0[index].size as usize]).unwrap();
            std::io::Seek::rewind(&mut file).unwrap();
            Ok(file.into())
        }

        fn remove(&self, _: &[usize]) -> Result<(), Error> {
            Ok(())
        }
    }

    #[test]
    fn who_goes_on_in_order_finds_messages_read() {
        let (ahead, maildrop) = (Ahead::default(), maildrop(&[10; 100]));
        let mut opened = 0;
        for index in 0..100 {
            if ahead.take(index).is_none() {
                assert!(matches!(ahead.open(&maildrop, index), Ok(Text::Small(_))));
                opened += 1;
            }
        }
        assert_eq!(maildrop.1.load(Ordering::SeqCst), 100, "each is read once");
        assert!(opened < 8, "{opened} visits to the pool");
    }

    #[test]
    fn who_jumps_gets_no_more_than_asked_for() {
        let (ahead, maildrop) = (Ahead::default(), maildrop(&[10; 100]));
        for index in [50, 3, 99, 60, 7] {
            assert!(ahead.take(index).is_none());
            ahead.open(&maildrop, index).unwrap();
        }
        assert_eq!(maildrop.1.load(Ordering::SeqCst), 5);
        // What comes before what is asked for isn't wanted any more.
        ahead.open(&maildrop, 8).unwrap();
        assert!(ahead.take(10).is_some() && ahead.take(9).is_none());
    }

    #[test]
    fn memory_is_bounded_and_large_ones_stay_in_their_files() {
        let mut sizes = vec![SMALL; 20];
        sizes.push(SMALL + 1);
        let (ahead, maildrop) = (Ahead::default(), maildrop(&sizes));
        for index in 0..sizes.len() {
            if ahead.take(index).is_none() {
                let is_small = matches!(ahead.open(&maildrop, index), Ok(Text::Small(_)));
                assert_eq!(is_small, index < 20);
            }
            let kept = ahead.kept().texts.iter().map(|(_, text)| text.len() as u64).sum::<u64>();
            assert!(kept <= OCTETS);
        }
        assert_eq!(maildrop.1.load(Ordering::SeqCst), sizes.len());
    }
}
