//! What is known of one parcel that is under way: who is still to be named, which server and which connection
//! are at hand, what is being written down, and when it is tried again. Plain data; what is done with it stands
//! in `dispatch`, `heard` and `written`.
//!
//! An attempt waits for one thing at a time: for its entry to be opened, for the resolver (`asked`), for a
//! connection (`session`), or for what is written down (`writing`). It is over when nothing more is tried, and
//! concluded when nothing is being written either.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sending::client::{Addressee, Outgoing};
use crate::sending::hosts::Trail;
use crate::sending::outcome::Outcome;
use crate::sending::schedule::{Health, Parcel};

/// One parcel that is under way.
pub(super) struct Attempt {
    pub parcel: Parcel,
    pub message: Option<Arc<Outgoing>>,
    /// Recipients who haven't been named yet.
    pub left: VecDeque<Addressee>,
    /// Those of the job at hand.
    pub batch: Vec<Addressee>,
    pub trail: Option<Trail>,
    /// The server at hand.
    pub target: Option<(SocketAddr, Arc<str>)>,
    /// Which connection has the job at hand.
    pub session: Option<u64>,
    /// Since when the resolver is waited for.
    pub asked: Option<Instant>,
    /// Connections that ended before they took the job.
    pub ended: u32,
    /// Which connection has done a job of ours.
    pub served: Option<u64>,
    /// Results that are being written down.
    pub writing: usize,
    /// How often that has panicked.
    pub panics: u32,
    /// Nothing more is tried.
    pub over: bool,
    pub health: Health,
    pub next: Option<Duration>,
}

impl Attempt {
    pub(super) fn new(parcel: Parcel) -> Attempt {
        Attempt {
            parcel,
            message: None,
            left: VecDeque::new(),
            batch: Vec::new(),
            trail: None,
            target: None,
            session: None,
            asked: None,
            ended: 0,
            served: None,
            writing: 0,
            panics: 0,
            over: false,
            health: Health::Unknown,
            next: None,
        }
    }

    /// Those who haven't been told anything meet the same fate, and nothing more is tried.
    pub(super) fn end_with(&mut self, outcome: &Outcome) -> Vec<(usize, Outcome)> {
        self.over = true;
        let rest = self.batch.drain(..).chain(self.left.drain(..));
        rest.map(|one| (one.index, outcome.clone())).collect()
    }

    /// Whether nothing is left of it.
    pub(super) fn is_done(&self) -> bool {
        self.over && self.writing == 0
    }
}
