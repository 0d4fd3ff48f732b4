//! A stored message as its surrogate, for a client that reads no UTF-8 in headers: the producer around
//! `medusa-mail`'s machine, for messages that stay in their files.

use medusa_core::{Outbox, ProduceError, Produced, Producer};
use medusa_mail::Surrogate;

/// What is asked of the inner producer at once, within these bounds.
const MIN_STAGED: usize = 1024;
const MAX_STAGED: usize = 32 * 1024;

/// Produces what stands in for the message that `inner` produces. A chunk may be three times as long as its own,
/// and one header field more.
pub(crate) fn surrogate_text<P: Producer>(inner: P) -> SurrogateText<P> {
    SurrogateText { inner, staged: Outbox::without_files(), surrogate: Surrogate::default() }
}

/// Made by [`surrogate_text`].
#[derive(Debug)]
pub(crate) struct SurrogateText<P> {
    inner: P,
    /// Empty between calls.
    staged: Outbox,
    surrogate: Surrogate,
}

impl<P: Producer> Producer for SurrogateText<P> {
    fn produce(&mut self, out: &mut Outbox) -> Result<Produced, ProduceError> {
        let wanted = out.room().clamp(MIN_STAGED, MAX_STAGED);
        self.staged.set_target(wanted as u64);
        let produced = self.inner.produce(&mut self.staged)?;
        if let Some(job) = self.staged.take_job() {
            out.defer(job);
        }
        while !self.staged.is_empty() {
            let front = self.staged.front();
            let count = front.len() as u64;
            self.surrogate.push(front, &mut |bytes| out.push_slice(bytes));
            self.staged.advance(count);
        }
        if produced == Produced::Done {
            self.surrogate.finish(&mut |bytes| out.push_slice(bytes));
        }
        Ok(produced)
    }
}
