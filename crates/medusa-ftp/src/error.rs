//! What may go wrong with a file, told apart as far as FTP's replies tell it apart.

/// Why something could not be done. Each knows its reply (RFC 959 §4.2, RFC 3659).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing has this name.
    #[error("No such file or folder")]
    NotFound,
    /// Rights, or a place that can't be written to.
    #[error("Not permitted")]
    NotPermitted,
    /// A file was wanted.
    #[error("Is a folder")]
    IsAFolder,
    /// A folder was wanted.
    #[error("Not a folder")]
    NotAFolder,
    /// The name is taken.
    #[error("Exists already")]
    Exists,
    /// The folder holds something.
    #[error("The folder is not empty")]
    NotEmpty,
    /// There is no room.
    #[error("No space left")]
    NoSpace,
    /// The account may not have more, or a file may not be longer.
    #[error("More than is allowed")]
    TooMuch,
    /// An offset behind the end of the file.
    #[error("The offset is behind the end of the file")]
    BeyondEnd,
    /// A name that nothing can have.
    #[error("That is no name for a file")]
    InvalidName,
    /// This storage doesn't do that.
    #[error("Not possible here")]
    Unsupported,
    /// Too much is going on.
    #[error("Too busy, try again later")]
    Busy,
    /// What was sent is not what it should be: compressed data that is damaged, for instance.
    #[error("{0}")]
    Damaged(&'static str),
    /// Anything else. The peer isn't told what.
    #[error("Failed on the server's side")]
    Io(#[source] std::io::Error),
}

impl Error {
    /// The code of the reply.
    pub fn code(&self) -> u16 {
        match self {
            Error::NotFound
            | Error::NotPermitted
            | Error::IsAFolder
            | Error::NotAFolder
            | Error::Exists
            | Error::NotEmpty => 550,
            Error::NoSpace => 452,
            Error::TooMuch => 552,
            Error::BeyondEnd => 554,
            Error::InvalidName => 553,
            Error::Unsupported => 504,
            Error::Busy => 450,
            Error::Damaged(_) | Error::Io(_) => 451,
        }
    }
}

impl From<medusa_files::Error> for Error {
    fn from(error: medusa_files::Error) -> Error {
        use medusa_files::Error as Files;
        match error {
            // What leads out of the root isn't there, as far as a client can know.
            Files::NotFound | Files::EscapesRoot | Files::SymlinkRefused => Error::NotFound,
            Files::NotPermitted | Files::NotRegular => Error::NotPermitted,
            Files::IsAFolder => Error::IsAFolder,
            Files::NotAFolder => Error::NotAFolder,
            Files::Exists => Error::Exists,
            Files::NotEmpty => Error::NotEmpty,
            Files::NoSpace => Error::NoSpace,
            Files::QuotaExceeded | Files::TooLarge => Error::TooMuch,
            Files::BeyondEnd => Error::BeyondEnd,
            Files::InvalidName => Error::InvalidName,
            Files::TooManyOpen | Files::WouldBlock => Error::Busy,
            Files::Io(error) => Error::Io(error),
            other => Error::Io(std::io::Error::other(other)),
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Error {
        medusa_files::Error::from_io(error).into()
    }
}

impl From<medusa_core::Busy> for Error {
    fn from(_: medusa_core::Busy) -> Error {
        Error::Busy
    }
}
