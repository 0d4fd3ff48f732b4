//! A network in memory, as a connection's transport: what the peer has sent, what it has taken, and how the
//! network splits and loses it. The handshake of TLS is played: nothing is encrypted.

use std::cell::{Ref, RefCell, RefMut};
use std::io;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use super::Faults;
use crate::outbox::Outbox;
use crate::tls::{Facts, Secure, TlsError};
use crate::transport::{Carrier, Intake, TransportError, Wrote};

/// One stream between a connection and a test, which both hold.
#[derive(Clone)]
pub(super) struct Line(Rc<RefCell<State>>);

struct State {
    faults: Faults,
    /// What the peer has sent and nobody has read.
    sent: Vec<u8>,
    ended: bool,
    truncated: bool,
    /// What has come out.
    output: Vec<u8>,
    /// The peer takes nothing.
    stalled: bool,
    handshaking: bool,
    /// The handshake has just ended, which a read tells.
    agreed: bool,
    facts: Option<Facts>,
}

impl Line {
    pub(super) fn new(faults: Faults) -> Self {
        Line(Rc::new(RefCell::new(State {
            faults,
            sent: Vec::new(),
            ended: false,
            truncated: false,
            output: Vec::new(),
            stalled: false,
            handshaking: false,
            agreed: false,
            facts: None,
        })))
    }

    fn state(&self) -> Ref<'_, State> {
        self.0.borrow()
    }

    fn state_mut(&self) -> RefMut<'_, State> {
        self.0.borrow_mut()
    }

    pub(super) fn send(&self, bytes: &[u8]) {
        self.state_mut().sent.extend_from_slice(bytes);
    }

    pub(super) fn end(&self, truncated: bool) {
        let mut state = self.state_mut();
        state.ended = true;
        state.truncated |= truncated;
    }

    pub(super) fn has_ended(&self) -> bool {
        self.state().ended
    }

    pub(super) fn stall(&self, stalled: bool) {
        self.state_mut().stalled = stalled;
    }

    /// The handshake ends well.
    pub(super) fn agree(&self, facts: Facts) {
        let mut state = self.state_mut();
        state.sent.clear();
        state.facts = Some(facts);
        (state.handshaking, state.agreed) = (false, true);
    }

    /// Nobody will read what has been sent.
    pub(super) fn drop_unread(&self) {
        self.state_mut().sent.clear();
    }

    pub(super) fn unread(&self) -> usize {
        self.state().sent.len()
    }

    pub(super) fn take_output(&self) -> Vec<u8> {
        std::mem::take(&mut self.state_mut().output)
    }

    /// Whether the network has reset the connection by now.
    pub(super) fn is_reset(&self) -> bool {
        let state = self.state();
        state.faults.resets(state.output.len())
    }
}

impl Carrier for Line {
    fn secure(&mut self, _: Option<&Secure>) -> Result<(), TlsError> {
        self.state_mut().handshaking = true;
        Ok(())
    }

    fn is_handshaking(&self) -> bool {
        self.state().handshaking
    }

    fn facts(&self) -> Option<Facts> {
        self.state().facts.clone()
    }

    fn read(&mut self, scratch: &mut [u8]) -> Result<Intake, TransportError> {
        let state = &mut *self.state_mut();
        let mut count = 0;
        if !std::mem::take(&mut state.agreed) {
            match (state.sent.is_empty(), state.ended) {
                (true, true) => return Ok(Intake::Ended { truncated: state.truncated }),
                (true, false) => return Err(io::Error::from(io::ErrorKind::WouldBlock).into()),
                // Of a handshake that isn't done, nothing comes out.
                _ if state.handshaking => state.sent.clear(),
                _ => count = state.faults.read_size(state.sent.len().min(scratch.len())),
            }
        }
        scratch[..count].copy_from_slice(&state.sent[..count]);
        state.sent.drain(..count);
        Ok(Intake::Bytes { count, drained: state.sent.is_empty() && !state.ended })
    }

    fn read_into(&mut self, room: &mut Vec<u8>) -> Option<io::Result<Intake>> {
        let state = &mut *self.state_mut();
        if state.facts.is_some() || state.agreed {
            return None;
        }
        Some(match (state.sent.is_empty(), state.ended) {
            (true, true) => Ok(Intake::Ended { truncated: state.truncated }),
            (true, false) => Err(io::ErrorKind::WouldBlock.into()),
            _ => {
                let most = state.sent.len().min(room.capacity() - room.len());
                let count = state.faults.read_size(most);
                room.extend(state.sent.drain(..count));
                Ok(Intake::Bytes { count, drained: state.sent.is_empty() && !state.ended })
            }
        })
    }

    fn has_pending(&self) -> bool {
        false
    }

    fn write(&mut self, outbox: &mut Outbox, budget: u64, _: bool) -> io::Result<Wrote> {
        let state = &mut *self.state_mut();
        if state.stalled || state.handshaking {
            return Ok(Wrote { bytes: 0, blocked: state.stalled });
        }
        let bytes = state.faults.write_size(outbox.len()).min(budget);
        take(outbox, bytes, &mut state.output)?;
        Ok(Wrote { bytes, blocked: false })
    }

    fn shut_down(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn reset(&self) {}

    fn take_error(&self) -> io::Result<()> {
        Ok(())
    }

    fn unsent(&self) -> u64 {
        0
    }
}

/// Takes `count` bytes out of an outbox, those of files too.
fn take(outbox: &mut Outbox, count: u64, into: &mut Vec<u8>) -> io::Result<()> {
    let mut left = count;
    while left > 0 {
        let step = if let Some((file, offset, length)) = outbox.front_file() {
            let mut bytes = vec![0; length.min(left) as usize];
            file.read_exact_at(&mut bytes, offset)?;
            into.extend_from_slice(&bytes);
            bytes.len() as u64
        } else {
            let front = outbox.front();
            let step = (front.len() as u64).min(left) as usize;
            into.extend_from_slice(&front[..step]);
            step as u64
        };
        debug_assert!(step > 0, "an outbox is as long as it says");
        outbox.advance(step);
        left -= step;
    }
    Ok(())
}
