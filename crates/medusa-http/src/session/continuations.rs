//! What a session keeps for answers that come late: what goes on when their work is done, for whom each is, and
//! what handlers have said meanwhile. Pure; a session without any keeps a pointer to nothing.

use std::any::Any;

use http::StatusCode;
use medusa_core::TimerKey;

use super::Owed;
use crate::handler::{Answer, Exchange, Reading, Ticket};
use crate::response::Response;

/// The timer of a ticket that waits. A session that has 32,768 of them at once has run out of other things
/// first: the number of answers in flight is bounded far below.
pub(crate) fn waiting_key(id: u32) -> TimerKey {
    TimerKey(id as u16 & 0x7fff)
}

/// The timer by which a request must have been answered.
pub(crate) fn deadline_key(number: u32) -> TimerKey {
    TimerKey(number as u16 | 0x8000)
}

/// What waits for a ticket's work to be done.
pub(crate) enum Continuation {
    Answer(Then<Answer>),
    Reading(Then<Reading>),
}

impl Continuation {
    pub(crate) fn answer<T: 'static>(
        then: impl FnOnce(T, &mut Exchange<'_, '_>) -> Answer + 'static,
    ) -> Continuation {
        Continuation::Answer(Box::new(move |value, exchange| match value.downcast() {
            Ok(value) => then(*value, exchange),
            Err(_) => Response::error(StatusCode::INTERNAL_SERVER_ERROR).into(),
        }))
    }
}

type Then<A> = Box<dyn FnOnce(Box<dyn Any>, &mut Exchange<'_, '_>) -> A>;

/// What a session keeps for answers that come late: a pointer to nothing, mostly.
#[derive(Default)]
pub(crate) struct Continuations {
    late: Option<Box<Late>>,
    last: u32,
    /// A handler wants nothing behind its request to be looked at.
    alone: bool,
}

/// What a handler has said of a request, beside its answer.
pub(crate) struct News {
    pub(crate) user: Option<Box<str>>,
    pub(crate) alone: bool,
}

#[derive(Default)]
struct Late {
    waiting: Vec<(u32, Continuation)>,
    owed: Vec<Owed>,
    /// Who asks, as a handler has just found out.
    user: Option<Box<str>>,
    /// A request's head that waits until all before it is answered.
    held: Option<Box<[u8]>>,
}

impl Continuations {
    pub(crate) fn ticket(&mut self) -> Ticket {
        self.last = self.last.wrapping_add(1);
        Ticket { id: self.last }
    }

    pub(crate) fn take(&mut self, id: u32) -> Option<Continuation> {
        let waiting = &mut self.late.as_mut()?.waiting;
        let at = waiting.iter().position(|(waiting, _)| *waiting == id)?;
        Some(waiting.swap_remove(at).1)
    }

    pub(crate) fn wait(&mut self, id: u32, continuation: Continuation) {
        self.late.get_or_insert_default().waiting.push((id, continuation));
    }

    /// The answers that were put off, in the order of their requests.
    #[inline]
    pub(crate) fn owed(&self) -> &[Owed] {
        self.late.as_ref().map_or(&[], |late| &late.owed)
    }

    pub(crate) fn owed_mut(&mut self) -> &mut Vec<Owed> {
        &mut self.late.get_or_insert_default().owed
    }

    /// Keeps a head until all before it is answered.
    pub(crate) fn hold(&mut self, head: &[u8]) {
        self.late.get_or_insert_default().held = Some(head.into());
    }

    /// Whether a head is kept.
    pub(crate) fn holds(&self) -> bool {
        self.late.as_ref().is_some_and(|late| late.held.is_some())
    }

    /// The head that was kept.
    #[inline]
    pub(crate) fn take_held(&mut self) -> Option<Box<[u8]>> {
        self.late.as_mut()?.held.take()
    }

    /// A handler says who asks.
    pub(crate) fn set_user(&mut self, name: &str) {
        self.late.get_or_insert_default().user = Some(name.into());
    }

    /// A handler wants nothing behind its request to be looked at.
    pub(crate) fn stand_alone(&mut self) {
        self.alone = true;
    }

    /// What the handler that was called last has said.
    #[inline]
    pub(crate) fn news(&mut self) -> News {
        let user = self.late.as_mut().and_then(|late| late.user.take());
        News { user, alone: std::mem::take(&mut self.alone) }
    }

    /// Gives back what isn't needed any more: an idle connection is to weigh little.
    pub(crate) fn shrink(&mut self) {
        let unused =
            |late: &Late| late.owed.is_empty() && late.waiting.is_empty() && late.held.is_none();
        if self.late.as_deref().is_some_and(unused) {
            self.late = None;
        }
    }
}
