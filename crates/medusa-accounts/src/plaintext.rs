//! Where passwords may be sent without TLS: one rule for all protocols that leave the choice to the operator.

use medusa_core::Peer;

/// Where passwords may be sent without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PlaintextLogin {
    /// Nowhere.
    Never,
    /// From this machine: loopback addresses and Unix-domain sockets.
    #[default]
    Loopback,
    /// From everywhere.
    Always,
}

impl PlaintextLogin {
    /// Whether this peer may send a password on a connection that has no TLS.
    pub fn allows(self, peer: &Peer) -> bool {
        match self {
            PlaintextLogin::Never => false,
            PlaintextLogin::Loopback => {
                peer.remote.ip().is_none_or(|address| address.to_canonical().is_loopback())
            }
            PlaintextLogin::Always => true,
        }
    }
}
