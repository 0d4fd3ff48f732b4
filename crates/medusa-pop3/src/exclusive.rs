//! One session at a time has a maildrop (RFC 1939 §3): among those of one service, whatever the store does.
//! Stores that other programs use too lock for themselves.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use medusa_mail::{Content, Error, Maildrop, Message};

use crate::Maildrops;

/// The accounts whose maildrops are open.
#[derive(Debug, Clone, Default)]
pub(crate) struct Open(Arc<Mutex<HashSet<String>>>);

impl Open {
    /// Opens a maildrop that no other session has. Blocks.
    pub(crate) fn open(
        &self,
        maildrops: &dyn Maildrops,
        account: &str,
    ) -> Result<Box<dyn Maildrop>, Error> {
        if !self.accounts().insert(account.to_owned()) {
            return Err(Error::InUse);
        }
        let hold = Hold { open: self.clone(), account: account.to_owned() };
        Ok(Box::new(Exclusive { maildrop: maildrops.open(account)?, _hold: hold }))
    }

    /// Nothing that holds it leaves it half changed.
    fn accounts(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Hold {
    open: Open,
    account: String,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.open.accounts().remove(&self.account);
    }
}

/// A maildrop, and then what keeps others out.
struct Exclusive {
    maildrop: Box<dyn Maildrop>,
    _hold: Hold,
}

impl Maildrop for Exclusive {
    fn messages(&self) -> &[Message] {
        self.maildrop.messages()
    }

    fn read(&self, index: usize) -> Result<Content, Error> {
        self.maildrop.read(index)
    }

    fn remove(&self, indices: &[usize]) -> Result<(), Error> {
        self.maildrop.remove(indices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;

    impl Maildrops for Nothing {
        fn open(&self, account: &str) -> Result<Box<dyn Maildrop>, Error> {
            if account == "broken" { Err(Error::NoSpace) } else { Ok(Box::new(Nothing)) }
        }
    }

    impl Maildrop for Nothing {
        fn messages(&self) -> &[Message] {
            &[]
        }

        fn read(&self, _: usize) -> Result<Content, Error> {
            Err(Error::Missing)
        }

        fn remove(&self, _: &[usize]) -> Result<(), Error> {
            Ok(())
        }
    }

    #[test]
    fn a_store_that_locks_nothing_has_one_session_a_maildrop() {
        let open = Open::default();
        let other = open.clone();
        let first = open.open(&Nothing, "a").unwrap();
        assert!(matches!(other.open(&Nothing, "a"), Err(Error::InUse)));
        assert!(other.open(&Nothing, "b").is_ok());
        drop(first);
        assert!(other.open(&Nothing, "a").is_ok());
        for _ in 0..2 {
            assert!(matches!(open.open(&Nothing, "broken"), Err(Error::NoSpace)));
        }
    }
}
