//! Why a look-up found nothing, and whether that may change.

use std::borrow::Cow;

/// Why there are no records.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// There is no such name (NXDOMAIN, RFC 1035 §4.1.1), of whatever kind.
    #[error("there is no such name")]
    NoSuchName,
    /// The name is there and has no record of this kind (RFC 2308 §2.2).
    #[error("the name has no record of this kind")]
    NoData,
    /// No answer could be had now: nobody answered, or only to say that they can't; or there is too much
    /// to do. Asking again later may help.
    #[error("{reason}")]
    Temporary {
        /// What happened, in a few words.
        reason: Cow<'static, str>,
    },
    /// It can't be asked at all: what was given is no name.
    #[error("`{name}` is no name that can be looked up: {reason}")]
    Invalid {
        /// What was given.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl LookupError {
    /// A temporary failure.
    pub fn temporary(reason: impl Into<Cow<'static, str>>) -> Self {
        LookupError::Temporary { reason: reason.into() }
    }

    /// Whether asking again later would say the same, as far as anybody knows: mail is returned, where a
    /// temporary failure would have it wait (RFC 5321 §5.1).
    pub fn is_permanent(&self) -> bool {
        !matches!(self, LookupError::Temporary { .. })
    }
}
