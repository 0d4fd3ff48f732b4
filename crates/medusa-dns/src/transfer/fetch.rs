//! One transfer from a primary over TCP: asks, takes what comes, and reports to the keeper, whatever
//! happens.
//!
//! What comes is checked by `incoming`; what becomes of it is the keeper's to say.

use std::time::Duration;

use medusa_core::{Address, Cx, Deadline, Frame, Framing, Goodbye, Reason, Session, TimerKey};

use super::incoming::{Brought, Incoming, TransferError, Wanted};
use crate::service::whole_seconds_of;

/// How long a transfer may take (BIND's `max-transfer-time-in`).
pub(crate) const LONGEST: Duration = Duration::from_secs(2 * 3600);
const WHOLE: TimerKey = TimerKey(1);

/// Why nothing was brought.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// What came was refused, or the primary refuses.
    #[error(transparent)]
    Refused(#[from] TransferError),
    /// The primary can't be reached, or left.
    #[error("{0}")]
    Lost(String),
}

/// What a transfer has come to.
#[derive(Debug)]
pub(crate) struct Report {
    /// Which one.
    pub(crate) number: u64,
    pub(crate) wanted: Wanted,
    pub(crate) outcome: Result<Brought, FetchError>,
}

/// A connection to a primary.
pub(crate) struct Fetch {
    number: u64,
    id: u16,
    /// Until it is reported.
    wanted: Option<Wanted>,
    incoming: Option<Incoming>,
    keeper: Address,
    in_message: bool,
}

impl Fetch {
    pub(crate) fn new(number: u64, id: u16, wanted: Wanted, keeper: Address) -> Fetch {
        Fetch { number, id, wanted: Some(wanted), incoming: None, keeper, in_message: false }
    }

    /// What the keeper is to be told, once.
    fn outcome(&mut self, outcome: Result<Brought, FetchError>) -> Option<Report> {
        let wanted = self.wanted.take()?;
        self.incoming = None;
        Some(Report { number: self.number, wanted, outcome })
    }

    fn report(&mut self, cx: &mut Cx<'_>, outcome: Result<Brought, FetchError>) {
        if let Some(report) = self.outcome(outcome) {
            cx.notify(self.keeper, report);
        }
    }
}

impl Session for Fetch {
    fn opened(&mut self, cx: &mut Cx<'_>) {
        let Some(wanted) = self.wanted.clone() else { return cx.abort() };
        let now = whole_seconds_of(cx.wall_clock());
        let (request, incoming) = Incoming::begin(wanted, self.id, now);
        self.incoming = Some(incoming);
        cx.write(&(request.len() as u16).to_be_bytes());
        cx.write(&request);
        cx.arm(WHOLE, LONGEST);
        cx.expect(Framing::exact(2));
    }

    fn received(&mut self, cx: &mut Cx<'_>, frame: Frame<'_>) {
        if !self.in_message {
            let length = frame.bytes.first_chunk::<2>().map_or(0, |two| u16::from_be_bytes(*two));
            if length == 0 {
                self.report(cx, Err(TransferError::Malformed("it is empty").into()));
                return cx.abort();
            }
            self.in_message = true;
            cx.expect(Framing::exact(length.into()));
            return;
        }
        self.in_message = false;
        cx.expect(Framing::exact(2));
        let Some(incoming) = &mut self.incoming else { return };
        match incoming.take(frame.bytes, whole_seconds_of(cx.wall_clock())) {
            Ok(None) => {}
            Ok(Some(brought)) => {
                self.report(cx, Ok(brought));
                cx.close();
            }
            Err(error) => {
                self.report(cx, Err(error.into()));
                cx.abort();
            }
        }
    }

    fn timed_out(&mut self, cx: &mut Cx<'_>, _: Deadline) {
        self.report(cx, Err(FetchError::Lost("it sends nothing".into())));
        cx.abort();
    }

    fn expired(&mut self, cx: &mut Cx<'_>, _: TimerKey) {
        self.report(cx, Err(FetchError::Lost("the transfer takes too long".into())));
        cx.abort();
    }

    fn closed(&mut self, goodbye: &Goodbye) {
        let why = match &goodbye.reason {
            Reason::Unreachable(error) | Reason::Lost(error) => error.to_string(),
            Reason::Stopped => "the server ends".into(),
            _ => "it closed the connection in the middle of the transfer".into(),
        };
        if let Some(report) = self.outcome(Err(FetchError::Lost(why))) {
            goodbye.notify(self.keeper, report);
        }
    }
}
