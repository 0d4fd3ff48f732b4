//! A store that is one function: the least there is to write for a program that takes mail.

use std::sync::Arc;

use crate::{Error, Incoming, MailStore, Then};

/// Hands each message whole to a function that keeps it. Messages are gathered in memory, each as long as the server
/// takes them: [`MailStore`] is for those who want them on disk as they come.
#[derive(Debug)]
pub struct WholeMessages<F>(Arc<F>);

impl<F> WholeMessages<F>
where
    F: Fn(&[String], &[u8]) -> Result<(), Error> + Send + Sync + 'static,
{
    /// A store that has each message kept by `keep`: for these accounts, with lines that end in CRLF. It may block,
    /// and several may be kept at once. Its sender is told that the message is safe when `keep` says so, and not
    /// before: by then no crash should lose it.
    pub fn new(keep: F) -> Self {
        WholeMessages(Arc::new(keep))
    }
}

impl<F> MailStore for WholeMessages<F>
where
    F: Fn(&[String], &[u8]) -> Result<(), Error> + Send + Sync + 'static,
{
    fn has_quota(&self) -> bool {
        false
    }

    fn begin(&self, accounts: &[String]) -> Result<Box<dyn Incoming>, Error> {
        let keep = Arc::clone(&self.0);
        Ok(Box::new(Gathered { keep, accounts: accounts.to_vec(), message: Vec::new() }))
    }

    fn deliver(&self, accounts: &[String], message: Vec<u8>, then: Then) {
        then((self.0)(accounts, &message));
    }
}

struct Gathered<F> {
    keep: Arc<F>,
    accounts: Vec<String>,
    message: Vec<u8>,
}

impl<F> Incoming for Gathered<F>
where
    F: Fn(&[String], &[u8]) -> Result<(), Error> + Send + Sync,
{
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.message.extend_from_slice(bytes);
        Ok(())
    }

    fn commit(self: Box<Self>, then: Then) {
        then((self.keep)(&self.accounts, &self.message));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn a_message_is_kept_once_it_is_whole() {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&kept);
        let store = WholeMessages::new(move |accounts: &[String], message: &[u8]| {
            if message.is_empty() {
                return Err(Error::NoSpace);
            }
            into.lock().unwrap().push((accounts.to_vec(), message.to_vec()));
            Ok(())
        });
        let accounts = ["a".to_owned(), "b".to_owned()];
        let mut incoming = store.begin(&accounts).unwrap();
        incoming.write(b"one\r\n").unwrap();
        drop(store.begin(&accounts).unwrap());
        assert!(kept.lock().unwrap().is_empty());
        incoming.write(b"two\r\n").unwrap();
        incoming.commit(Box::new(|outcome| outcome.unwrap()));
        store.deliver(&accounts[..1], b"three\r\n".to_vec(), Box::new(|outcome| outcome.unwrap()));
        let full = |outcome| assert!(matches!(outcome, Err(Error::NoSpace)));
        store.begin(&accounts).unwrap().commit(Box::new(full));
        let kept = kept.lock().unwrap();
        assert_eq!(kept[0], (accounts.to_vec(), b"one\r\ntwo\r\n".to_vec()));
        assert_eq!(kept[1], (accounts[..1].to_vec(), b"three\r\n".to_vec()));
        assert_eq!(kept.len(), 2);
    }
}
