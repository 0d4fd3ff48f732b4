//! What is wrong with a zone, and where.

use std::fmt;
use std::sync::Arc;

use super::builder::Origin;
use super::lexer::Place;

/// One thing that is wrong with a zone, or looks so.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// The file, where it is about one.
    pub file: Option<Arc<str>>,
    /// The place in the file: line 0 is the whole of it, column 0 all of a line.
    pub place: Place,
    /// What is wrong.
    pub message: String,
    /// The number of the file, until its name is known.
    pub(crate) number: u16,
}

impl Fault {
    /// About the zone as a whole.
    pub(crate) fn whole(message: impl Into<String>) -> Fault {
        Fault { file: None, place: Place::default(), message: message.into(), number: 0 }
    }

    /// About a record that began in some line.
    pub(crate) fn of_record(origin: Origin, message: impl Into<String>) -> Fault {
        let place = Place { line: origin.line, column: 0, length: 0 };
        Fault { place, number: origin.file, ..Fault::whole(message) }
    }

    /// About some octets of a file.
    pub(crate) fn at(file: &Arc<str>, place: Place, message: impl Into<String>) -> Fault {
        Fault { file: Some(Arc::clone(file)), place, ..Fault::whole(message) }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}:")?;
            if self.place.line > 0 {
                write!(f, "{}:", self.place.line)?;
            }
            if self.place.column > 0 {
                write!(f, "{}:", self.place.column)?;
            }
            f.write_str(" ")?;
        }
        f.write_str(&self.message)
    }
}
