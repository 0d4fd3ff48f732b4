//! What an upload goes through on its way to the storage: MODE Z undone, then TYPE A. All of it runs in
//! the pool.

use std::io;

use flate2::{Decompress, FlushDecompress, Status};

use super::Representation;
use super::ascii::FromAscii;
use crate::Error;
use crate::storage::{Ending, Upload};

/// Begins an upload. May block.
pub(crate) type Open = Box<dyn FnOnce() -> Result<Box<dyn Upload>, Error> + Send>;

/// So much is written at once when it comes out of the decompressor.
const PIECE: usize = 64 * 1024;

/// The end of an upload's way.
pub(crate) struct Sink {
    upload: Target,
    ascii: Option<FromAscii>,
    inflate: Option<Box<Inflate>>,
    text: Vec<u8>,
}

/// What an upload changes: nothing before there is something to be written.
enum Target {
    Unopened(Open),
    Open(Box<dyn Upload>),
    /// It could not be begun.
    Lost,
}

impl Target {
    fn open(&mut self) -> Result<&mut Box<dyn Upload>, Error> {
        if let Target::Unopened(_) = self
            && let Target::Unopened(open) = std::mem::replace(self, Target::Lost)
        {
            *self = Target::Open(open()?);
        }
        match self {
            Target::Open(upload) => Ok(upload),
            _ => Err(io::Error::other("it could not be begun").into()),
        }
    }

    fn write(&mut self, octets: &[u8]) -> Result<(), Error> {
        match octets.is_empty() {
            true => Ok(()),
            false => self.open()?.write(octets),
        }
    }

    fn end(mut self, ending: Ending) -> Result<(), Error> {
        if ending == Ending::Complete {
            self.open()?;
        }
        match self {
            Target::Open(upload) => upload.end(ending),
            Target::Unopened(_) | Target::Lost => Ok(()),
        }
    }
}

struct Inflate {
    engine: Decompress,
    plain: Vec<u8>,
    is_over: bool,
}

impl Sink {
    pub(crate) fn new(open: Open, how: Representation) -> Sink {
        let inflate = || {
            let (engine, plain) = (Decompress::new(true), Vec::with_capacity(PIECE));
            Box::new(Inflate { engine, plain, is_over: false })
        };
        Sink {
            upload: Target::Unopened(open),
            ascii: how.ascii.then(FromAscii::default),
            inflate: how.deflate.map(|_| inflate()),
            text: Vec::new(),
        }
    }

    /// Takes what has come.
    pub(crate) fn write(&mut self, wire: &[u8]) -> Result<(), Error> {
        let Some(mut inflate) = self.inflate.take() else { return self.store(wire) };
        let result = self.inflate(&mut inflate, wire);
        self.inflate = Some(inflate);
        result
    }

    /// Ends it.
    pub(crate) fn end(mut self, ending: Ending) -> Result<(), Error> {
        let last = match ending {
            Ending::Failed => Ok(()),
            _ => self.flush(ending),
        };
        match last {
            Ok(()) => self.upload.end(ending),
            Err(error) => {
                self.upload.end(Ending::Failed)?;
                Err(error)
            }
        }
    }

    fn flush(&mut self, ending: Ending) -> Result<(), Error> {
        if let Some(ascii) = &mut self.ascii {
            self.text.clear();
            ascii.end(&mut self.text);
            self.upload.write(&self.text)?;
        }
        match &self.inflate {
            Some(inflate) if !inflate.is_over && ending == Ending::Complete => {
                Err(Error::Damaged("The compressed data ends early"))
            }
            _ => Ok(()),
        }
    }

    fn inflate(&mut self, inflate: &mut Inflate, mut wire: &[u8]) -> Result<(), Error> {
        loop {
            if inflate.is_over {
                return match wire.is_empty() {
                    true => Ok(()),
                    false => Err(Error::Damaged("Something follows the compressed data")),
                };
            }
            let before = inflate.engine.total_in();
            inflate.plain.clear();
            let status = inflate
                .engine
                .decompress_vec(wire, &mut inflate.plain, FlushDecompress::None)
                .map_err(|_| Error::Damaged("The compressed data is damaged"))?;
            wire = &wire[(inflate.engine.total_in() - before) as usize..];
            inflate.is_over = status == Status::StreamEnd;
            let is_full = inflate.plain.len() == inflate.plain.capacity();
            self.store(&inflate.plain)?;
            if wire.is_empty() && !is_full {
                return Ok(());
            }
        }
    }

    fn store(&mut self, plain: &[u8]) -> Result<(), Error> {
        let Some(ascii) = &mut self.ascii else { return self.upload.write(plain) };
        self.text.clear();
        ascii.push(&mut self.text, plain);
        self.upload.write(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use medusa_files::{Above, VirtualPath};

    use super::*;
    use crate::storage::{Memory, Start, Storage};

    fn kept(
        how: Representation,
        wire: &[u8],
        piece: usize,
    ) -> (Result<(), Error>, Option<Vec<u8>>) {
        let memory = Memory::new(1 << 20);
        let path = VirtualPath::new(b"a", Above::Stay).unwrap();
        let storage = memory.clone();
        let mut sink = Sink::new(Box::new(move || storage.write(&path, Start::Empty)), how);
        let written = wire.chunks(piece).try_for_each(|part| sink.write(part));
        let ended = match written {
            Ok(()) => sink.end(Ending::Complete),
            Err(error) => sink.end(Ending::Failed).and(Err(error)),
        };
        (ended, memory.get("a").map(|bytes| bytes.to_vec()))
    }

    fn deflated(text: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_was_compressed_is_stored_plain() {
        let text = b"line\n".repeat(40_000);
        let how = Representation { ascii: true, deflate: Some(6) };
        let wire = deflated(&b"line\r\n".repeat(40_000));
        for piece in [1, 7, 100_000] {
            let (ended, content) = kept(how, &wire, piece);
            assert!(ended.is_ok() && content.as_deref() == Some(&text[..]), "{ended:?}");
        }
    }

    #[test]
    fn damage_leaves_nothing() {
        let how = Representation { ascii: false, deflate: Some(6) };
        let whole = deflated(b"hello, world");
        let mut longer = whole.clone();
        longer.push(0);
        let mut wrong = whole.clone();
        wrong[4] ^= 0xff;
        for wire in [&whole[..whole.len() - 1], &longer, &wrong, b"plain"] {
            let (ended, content) = kept(how, wire, 5);
            assert!(matches!(ended, Err(Error::Damaged(_))), "{ended:?}");
            assert_eq!(content, None);
        }
    }
}
