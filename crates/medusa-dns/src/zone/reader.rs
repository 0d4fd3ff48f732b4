//! Master files (RFC 1035 §5): entries become records of a zone, and everything that is wrong with them is
//! told, not just the first.
//!
//! Files come from a [`Source`], so that nothing here opens one. What `$GENERATE` makes is in `generate`.

use std::sync::Arc;

use super::builder::{Misfit, Origin, ZoneBuilder};
use super::fault::Fault;
use super::generate::Generate;
use super::lexer::{Lexer, Place, Token};
use super::model::{Soa, Zone};
use super::rdata;
use super::text;
use crate::name::Name;
use crate::types::RecordType;

/// Where master files come from.
pub trait Source {
    /// The octets of a file.
    ///
    /// # Errors
    ///
    /// Why it can't be had, in words.
    fn read(&mut self, path: &str) -> Result<Vec<u8>, String>;
}

/// A zone that was read, or all that is wrong with it.
#[derive(Debug)]
pub struct Reading {
    /// The zone, or its errors.
    pub zone: Result<Zone, Vec<Fault>>,
    /// What looks wrong, although it can be served.
    pub warnings: Vec<Fault>,
}

/// How many errors are told; a file that isn't a zone has as many as lines.
const MOST_ERRORS: usize = 50;
/// How deep files may include others (BIND has the same).
const DEEPEST: usize = 10;

/// Reads a zone from `file`. Without a name, it is called as its SOA record is; relative names then begin
/// as the file is called, without `.zone`.
pub fn read_zone(source: &mut dyn Source, file: &str, apex: Option<&Name>) -> Reading {
    read_verified(source, file, apex, None)
}

/// A second opinion on the data of a record, in wire form.
pub(crate) type Verify = fn(RecordType, &[u8]) -> Result<(), String>;

/// The same; what `verify` has to say of records are warnings.
pub(crate) fn read_verified(
    source: &mut dyn Source,
    file: &str,
    apex: Option<&Name>,
    verify: Option<Verify>,
) -> Reading {
    let named = || {
        let base = file.rsplit('/').next().unwrap_or(file);
        let stem = base.strip_suffix(".zone").or_else(|| base.strip_suffix(".db")).unwrap_or(base);
        let mut wire = Vec::new();
        text::name_into(&mut wire, stem.as_bytes(), Some(&[0])).ok()?;
        Name::from_wire(&wire).ok()
    };
    let origin = apex.cloned().or_else(named);
    let mut reader = Reader {
        source,
        files: Vec::new(),
        builder: apex.cloned().map(ZoneBuilder::new),
        verify,
        default_ttl: None,
        last_ttl: None,
        errors: Vec::new(),
        warnings: Vec::new(),
        owner: Vec::new(),
        rdata: Vec::new(),
    };
    reader.file(file, origin.map(|name| name.wire().to_vec()), 0, None);
    let Reader { files, builder, mut errors, mut warnings, .. } = reader;
    let name_file = |fault: &mut Fault| {
        if fault.file.is_none() {
            fault.file = files.get(usize::from(fault.number)).cloned();
        }
    };
    let zone = match builder {
        Some(builder) if errors.is_empty() => {
            let (zone, more) = builder.finish();
            warnings.extend(more);
            zone
        }
        Some(_) => Err(Vec::new()),
        None if errors.is_empty() => Err(vec![Fault::whole("the zone has no records")]),
        None => Err(Vec::new()),
    };
    let zone = zone.map_err(|more| {
        errors.extend(more);
        errors.truncate(MOST_ERRORS);
        errors.iter_mut().for_each(name_file);
        errors
    });
    warnings.iter_mut().for_each(name_file);
    Reading { zone, warnings }
}

struct Reader<'s> {
    source: &'s mut dyn Source,
    files: Vec<Arc<str>>,
    builder: Option<ZoneBuilder>,
    verify: Option<Verify>,
    /// From `$TTL` (RFC 2308 §4).
    default_ttl: Option<u32>,
    /// Of the record before (RFC 1035 §5.1).
    last_ttl: Option<u32>,
    errors: Vec<Fault>,
    warnings: Vec<Fault>,
    owner: Vec<u8>,
    rdata: Vec<u8>,
}

/// One file that is being read.
struct Page {
    file: Arc<str>,
    number: u16,
    depth: usize,
    origin: Option<Vec<u8>>,
    /// The owner of the record before, in lower case.
    owner: Option<Vec<u8>>,
}

type Outcome = Result<(), (Place, String)>;

impl Reader<'_> {
    fn file(
        &mut self,
        path: &str,
        origin: Option<Vec<u8>>,
        depth: usize,
        included: Option<(&Arc<str>, Place)>,
    ) {
        let text = match self.source.read(path) {
            Ok(text) => text,
            Err(why) => {
                let fault = match included {
                    Some((file, place)) => Fault::at(file, place, format!("{path}: {why}")),
                    None => Fault::at(&path.into(), Place::default(), why),
                };
                self.errors.push(fault);
                return;
            }
        };
        let file: Arc<str> = path.into();
        let number = u16::try_from(self.files.len()).unwrap_or(u16::MAX);
        self.files.push(Arc::clone(&file));
        let mut page = Page { file, number, depth, origin, owner: None };
        let mut lexer = Lexer::new(&text);
        let mut tokens = Vec::new();
        while self.errors.len() < MOST_ERRORS {
            match lexer.entry(&mut tokens) {
                Ok(None) => break,
                Ok(Some(indented)) => {
                    if let Err((place, message)) = self.entry(&mut page, &tokens, indented) {
                        self.errors.push(Fault::at(&page.file, place, message));
                    }
                }
                Err(error) => self.errors.push(Fault::at(&page.file, error.place, error.message)),
            }
        }
    }

    fn entry(&mut self, page: &mut Page, tokens: &[Token<'_>], indented: bool) -> Outcome {
        let Some(first) = tokens.first() else { return Ok(()) };
        if !first.quoted && first.text.first() == Some(&b'$') {
            return self.directive(page, tokens);
        }
        self.record(page, tokens, indented)
    }

    // ---- directives --------------------------------------------------------------------------

    fn directive(&mut self, page: &mut Page, tokens: &[Token<'_>]) -> Outcome {
        let word = tokens[0];
        let arguments = &tokens[1..];
        let name = word.text.to_ascii_uppercase();
        let argument = |index: usize, what: &str| {
            let missing = || (end_of(tokens), format!("{what} is missing"));
            arguments.get(index).copied().ok_or_else(missing)
        };
        let most = match &name[..] {
            b"$ORIGIN" => {
                let token = argument(0, "a name")?;
                page.origin = Some(read_name(token, page.origin.as_deref())?);
                1
            }
            b"$TTL" => {
                let token = argument(0, "a number of seconds")?;
                let ttl = text::seconds(token.text);
                self.default_ttl =
                    Some(ttl.ok_or((token.place, "not a number of seconds".to_owned()))?);
                1
            }
            b"$INCLUDE" => {
                let token = argument(0, "a file")?;
                let mut path = Vec::new();
                let path = text::octets_into(&mut path, token.text)
                    .ok()
                    .and_then(|()| String::from_utf8(path).ok())
                    .ok_or((token.place, "not a file's name".to_owned()))?;
                let origin = match arguments.get(1) {
                    Some(token) => Some(read_name(*token, page.origin.as_deref())?),
                    None => page.origin.clone(),
                };
                if page.depth + 1 >= DEEPEST {
                    return Err((token.place, "files include one another too deeply".to_owned()));
                }
                self.file(&path, origin, page.depth + 1, Some((&page.file, token.place)));
                2
            }
            b"$GENERATE" => {
                let token = argument(0, "a range")?;
                let generate = Generate::read(token, arguments)?;
                self.generate(page, word, &generate)?;
                usize::MAX
            }
            _ => {
                let word = String::from_utf8_lossy(word.text).into_owned();
                return Err((tokens[0].place, format!("{word} is not a directive")));
            }
        };
        match arguments.get(most) {
            Some(token) => Err((token.place, "more than the directive takes".to_owned())),
            None => Ok(()),
        }
    }

    /// Each line that a `$GENERATE` stands for is read like any other; what is wrong is wrong with it.
    fn generate(&mut self, page: &mut Page, word: Token<'_>, generate: &Generate<'_>) -> Outcome {
        for line in generate.lines() {
            let line = line.map_err(|message| (word.place, message.to_owned()))?;
            let texts = line.iter().map(|text| Token { text, quoted: false, place: word.place });
            let tokens: Vec<_> = texts.collect();
            self.record(page, &tokens, false)?;
        }
        Ok(())
    }

    // ---- records -----------------------------------------------------------------------------

    fn record(&mut self, page: &mut Page, tokens: &[Token<'_>], indented: bool) -> Outcome {
        let origin = page.origin.as_deref();
        let mut at = 0;
        if indented {
            if page.owner.is_none() {
                let message = "this record has the name of the one before, and there is none";
                return Err((tokens[0].place, message.to_owned()));
            }
        } else {
            self.owner.clear();
            let token = tokens[0];
            text::name_into(&mut self.owner, token.text, origin)
                .map_err(|message| (token.place, message.to_owned()))?;
            self.owner.make_ascii_lowercase();
            match &mut page.owner {
                Some(owner) => owner.clone_from(&self.owner),
                none => *none = Some(self.owner.clone()),
            }
            at = 1;
        }
        // TTL and class may stand in any order, and each may be left out.
        let (mut ttl, mut has_class) = (None, false);
        let rtype = loop {
            let missing = || (end_of(tokens), "the record's type is missing".to_owned());
            let token = tokens.get(at).ok_or_else(missing)?;
            at += 1;
            if ttl.is_none()
                && let Some(seconds) = text::seconds(token.text)
            {
                ttl = Some(seconds);
                continue;
            }
            let word = std::str::from_utf8(token.text).unwrap_or_default();
            if !has_class && let Some(sound) = class_of(word) {
                if !sound {
                    return Err((token.place, format!("the class is IN here, not {word}")));
                }
                has_class = true;
                continue;
            }
            break word.parse::<RecordType>().map_err(|_| {
                (
                    token.place,
                    format!("`{}` is not a record type", String::from_utf8_lossy(token.text)),
                )
            })?;
        };
        let type_place = tokens[at - 1].place;
        if rtype.is_meta() {
            return Err((type_place, Misfit::Meta.to_string()));
        }
        self.rdata.clear();
        rdata::parse(rtype, &tokens[at..], end_of(tokens), origin, &mut self.rdata)
            .map_err(|wrong| (wrong.place, wrong.message))?;
        if let Some(verify) = self.verify.filter(|_| self.warnings.len() < MOST_ERRORS)
            && let Err(message) = verify(rtype, &self.rdata)
        {
            self.warnings.push(Fault::at(&page.file, type_place, message));
        }
        let ttl = self.ttl(rtype, ttl, page, type_place)?;
        let owner = page.owner.as_deref().unwrap_or(&[0]);
        let builder = match &mut self.builder {
            Some(builder) => builder,
            None => {
                let apex = if rtype == RecordType::SOA { owner } else { origin.unwrap_or(owner) };
                let apex =
                    Name::from_wire(apex).map_err(|error| (type_place, error.to_string()))?;
                self.builder.insert(ZoneBuilder::new(apex))
            }
        };
        let place = tokens[0].place;
        let origin = Origin { file: page.number, line: place.line };
        builder.add_wire(owner, rtype, ttl, &self.rdata, origin).map_err(|misfit| match misfit {
            Misfit::OutOfZone => (place, misfit.to_string()),
            _ => (type_place, misfit.to_string()),
        })
    }

    fn ttl(
        &mut self,
        rtype: RecordType,
        own: Option<u32>,
        page: &Page,
        place: Place,
    ) -> Result<u32, (Place, String)> {
        if let Some(ttl) = own.or(self.default_ttl).or(self.last_ttl) {
            self.last_ttl = Some(ttl);
            return Ok(ttl);
        }
        if rtype == RecordType::SOA {
            // As BIND does.
            let ttl = Soa::read(&self.rdata).minimum;
            let message = "no TTL is said; the SOA record's last number is taken";
            self.warnings.push(Fault::at(&page.file, place, message));
            self.last_ttl = Some(ttl);
            return Ok(ttl);
        }
        Err((place, "the record has no TTL: write one, or `$TTL` above".to_owned()))
    }
}

fn read_name(token: Token<'_>, origin: Option<&[u8]>) -> Result<Vec<u8>, (Place, String)> {
    let mut name = Vec::new();
    text::name_into(&mut name, token.text, origin)
        .map_err(|message| (token.place, message.to_owned()))?;
    name.make_ascii_lowercase();
    Ok(name)
}

/// Whether a word is a class, and then whether it is ours.
fn class_of(word: &str) -> Option<bool> {
    let upper = word.to_ascii_uppercase();
    match upper.as_str() {
        "IN" | "CLASS1" => Some(true),
        "CH" | "HS" | "CS" => Some(false),
        _ => upper.strip_prefix("CLASS")?.parse::<u16>().ok().map(|_| false),
    }
}

/// Right behind an entry's last word.
fn end_of(tokens: &[Token<'_>]) -> Place {
    tokens.last().map_or(Place::default(), |token| Place {
        column: token.place.column + token.place.length,
        length: 1,
        ..token.place
    })
}
