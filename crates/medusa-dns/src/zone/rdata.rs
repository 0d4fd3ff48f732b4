//! What the records of each type hold, as a table of fields: how each is written in a master file, and how
//! long it is on the wire.
//!
//! Types that aren't in the table are written in the general form of RFC 3597 and are opaque. What an
//! SVCB record's parameters are is in `svcb`.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::lexer::{Place, Token};
use super::svcb;
use super::text;
use crate::name::{expand, wire_length};
use crate::types::RecordType;

/// One field of a record's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    /// A name that may be compressed: those of RFC 1035 alone (RFC 3597 §4).
    Name,
    /// A name that must not be.
    Plain,
    U8,
    U16,
    U32,
    /// Seconds, as a period.
    Seconds,
    Ip4,
    Ip6,
    /// One character string.
    Text,
    /// One character string or more.
    Texts,
    /// A string without a length in front, up to the end.
    Open,
    /// Octets in hexadecimal digits, up to the end.
    Hex,
    /// Octets in base 64, up to the end.
    Base64,
    /// A salt: its length, then octets; `-` is none (RFC 5155 §3.3).
    Salt,
    /// A hash: its length, then octets in base 32 (RFC 5155 §3.3).
    Hash,
    /// A bit map of types (RFC 4034 §4.1.2).
    Types,
    /// One type.
    Type,
    /// A moment (RFC 4034 §3.2).
    Time,
    /// A DNSSEC algorithm.
    Algorithm,
    /// The type of a certificate (RFC 4398 §2.1).
    Certificate,
    /// So many octets as hexadecimal pairs with dashes between them (RFC 7043).
    Eui(u8),
    /// Four groups of up to four hexadecimal digits, with colons between them (RFC 6742).
    Locator,
    /// A tag of letters and digits (RFC 8659 §4.1).
    Tag,
    /// An SVCB record's parameters (RFC 9460).
    Parameters,
}

use Field::*;

/// The fields of each type that is known.
const TABLE: &[(RecordType, &[Field])] = &[
    (RecordType::A, &[Ip4]),
    (RecordType::NS, &[Name]),
    (RecordType::MD, &[Name]),
    (RecordType::MF, &[Name]),
    (RecordType::CNAME, &[Name]),
    (RecordType::SOA, &[Name, Name, U32, Seconds, Seconds, Seconds, Seconds]),
    (RecordType::MB, &[Name]),
    (RecordType::MG, &[Name]),
    (RecordType::MR, &[Name]),
    (RecordType::PTR, &[Name]),
    (RecordType::HINFO, &[Text, Text]),
    (RecordType::MINFO, &[Name, Name]),
    (RecordType::MX, &[U16, Name]),
    (RecordType::TXT, &[Texts]),
    (RecordType::RP, &[Plain, Plain]),
    (RecordType::AFSDB, &[U16, Plain]),
    (RecordType::X25, &[Text]),
    (RecordType::ISDN, &[Texts]),
    (RecordType::RT, &[U16, Plain]),
    (RecordType::KEY, &[U16, U8, Algorithm, Base64]),
    (RecordType::PX, &[U16, Plain, Plain]),
    (RecordType::AAAA, &[Ip6]),
    (RecordType::SRV, &[U16, U16, U16, Plain]),
    (RecordType::NAPTR, &[U16, U16, Text, Text, Text, Plain]),
    (RecordType::KX, &[U16, Plain]),
    (RecordType::CERT, &[Certificate, U16, Algorithm, Base64]),
    (RecordType::DNAME, &[Plain]),
    (RecordType::DS, &[U16, Algorithm, U8, Hex]),
    (RecordType::SSHFP, &[U8, U8, Hex]),
    (RecordType::RRSIG, &[Type, Algorithm, U8, Seconds, Time, Time, U16, Plain, Base64]),
    (RecordType::NSEC, &[Plain, Types]),
    (RecordType::DNSKEY, &[U16, U8, Algorithm, Base64]),
    (RecordType::DHCID, &[Base64]),
    (RecordType::NSEC3, &[U8, U8, U16, Salt, Hash, Types]),
    (RecordType::NSEC3PARAM, &[U8, U8, U16, Salt]),
    (RecordType::TLSA, &[U8, U8, U8, Hex]),
    (RecordType::SMIMEA, &[U8, U8, U8, Hex]),
    (RecordType::CDS, &[U16, Algorithm, U8, Hex]),
    (RecordType::CDNSKEY, &[U16, U8, Algorithm, Base64]),
    (RecordType::OPENPGPKEY, &[Base64]),
    (RecordType::CSYNC, &[U32, U16, Types]),
    (RecordType::ZONEMD, &[U32, U8, U8, Hex]),
    (RecordType::SVCB, &[U16, Plain, Parameters]),
    (RecordType::HTTPS, &[U16, Plain, Parameters]),
    (RecordType::SPF, &[Texts]),
    (RecordType::NID, &[U16, Locator]),
    (RecordType::L32, &[U16, Ip4]),
    (RecordType::L64, &[U16, Locator]),
    (RecordType::LP, &[U16, Plain]),
    (RecordType::EUI48, &[Eui(6)]),
    (RecordType::EUI64, &[Eui(8)]),
    (RecordType::URI, &[U16, U16, Open]),
    (RecordType::CAA, &[U8, Tag, Open]),
    (RecordType::AVC, &[Texts]),
    (RecordType::RESINFO, &[Texts]),
    (RecordType::WALLET, &[Texts]),
    (RecordType::TA, &[U16, Algorithm, U8, Hex]),
    (RecordType::DLV, &[U16, Algorithm, U8, Hex]),
];

/// Names of DNSSEC algorithms (IANA).
const ALGORITHMS: &[(&str, u8)] = &[
    ("RSAMD5", 1),
    ("DH", 2),
    ("DSA", 3),
    ("RSASHA1", 5),
    ("DSA-NSEC3-SHA1", 6),
    ("RSASHA1-NSEC3-SHA1", 7),
    ("RSASHA256", 8),
    ("RSASHA512", 10),
    ("ECC-GOST", 12),
    ("ECDSAP256SHA256", 13),
    ("ECDSAP384SHA384", 14),
    ("ED25519", 15),
    ("ED448", 16),
    ("INDIRECT", 252),
    ("PRIVATEDNS", 253),
    ("PRIVATEOID", 254),
];

/// Names of certificate types (RFC 4398 §2.1).
const CERTIFICATES: &[(&str, u16)] = &[
    ("PKIX", 1),
    ("SPKI", 2),
    ("PGP", 3),
    ("IPKIX", 4),
    ("ISPKI", 5),
    ("IPGP", 6),
    ("ACPKIX", 7),
    ("IACPKIX", 8),
    ("URI", 253),
    ("OID", 254),
];

/// What is wrong with a record's data, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) place: Place,
    pub(crate) message: String,
}

/// The fields of a type, if it is known.
pub(crate) fn fields(rtype: RecordType) -> Option<&'static [Field]> {
    let index = TABLE.binary_search_by_key(&rtype, |(known, _)| *known).ok()?;
    Some(TABLE[index].1)
}

/// Appends the data that `tokens` say to `out`. `end` is where the entry ends, for what is missing.
///
/// # Errors
///
/// What is wrong, in words; `out` may have grown.
pub(crate) fn parse(
    rtype: RecordType,
    tokens: &[Token<'_>],
    end: Place,
    origin: Option<&[u8]>,
    out: &mut Vec<u8>,
) -> Result<(), Wrong> {
    let start = out.len();
    let mut words = Words { tokens, at: 0, end };
    if tokens.first().is_some_and(|token| token.text == b"\\#" && !token.quoted) {
        general(rtype, &mut words, out)?;
    } else {
        let fields = fields(rtype).ok_or_else(|| {
            words.wrong(format!("the data of {rtype} can be written as `\\# LENGTH HEX` alone"))
        })?;
        for field in fields {
            one(*field, &mut words, origin, out)?;
        }
        if let Some(token) = words.next() {
            let message = format!("more than what {rtype} holds");
            return Err(Wrong { place: token.place, message });
        }
    }
    if out.len() - start > usize::from(u16::MAX) {
        return Err(words.wrong("more than 65535 octets of data"));
    }
    Ok(())
}

/// Tokens that are taken one by one.
pub(crate) struct Words<'t, 'a> {
    tokens: &'t [Token<'a>],
    at: usize,
    end: Place,
}

impl<'a> Words<'_, 'a> {
    pub(crate) fn next(&mut self) -> Option<Token<'a>> {
        let token = self.tokens.get(self.at).copied();
        self.at += usize::from(token.is_some());
        token
    }

    fn expect(&mut self, what: &str) -> Result<Token<'a>, Wrong> {
        let missing = || Wrong { place: self.end, message: format!("{what} is missing") };
        let token = self.tokens.get(self.at).copied().ok_or_else(missing)?;
        self.at += 1;
        Ok(token)
    }

    /// A complaint about the token that was taken last.
    pub(crate) fn wrong(&self, message: impl Into<String>) -> Wrong {
        let token = self.tokens.get(self.at.saturating_sub(1));
        Wrong { place: token.map_or(self.end, |token| token.place), message: message.into() }
    }
}

fn one(
    field: Field,
    words: &mut Words<'_, '_>,
    origin: Option<&[u8]>,
    out: &mut Vec<u8>,
) -> Result<(), Wrong> {
    match field {
        Name | Plain => {
            let token = words.expect("a name")?;
            text::name_into(out, token.text, origin).map_err(|message| words.wrong(message))
        }
        U8 => {
            let number = bounded(words, "a number up to 255", u8::MAX.into(), text::number)?;
            out.push(number as u8);
            Ok(())
        }
        U16 => {
            let number = bounded(words, "a number up to 65535", u16::MAX.into(), text::number)?;
            out.extend_from_slice(&(number as u16).to_be_bytes());
            Ok(())
        }
        U32 => {
            let number =
                bounded(words, "a number up to 4294967295", u32::MAX.into(), text::number)?;
            out.extend_from_slice(&(number as u32).to_be_bytes());
            Ok(())
        }
        Seconds => {
            let read = |text: &[u8]| text::period(text).map(u64::from);
            let number =
                bounded(words, "a number of seconds, or a period like 1h30m", u64::MAX, read)?;
            out.extend_from_slice(&(number as u32).to_be_bytes());
            Ok(())
        }
        Time => {
            let read = |text: &[u8]| text::time(text).map(u64::from);
            let number = bounded(words, "a time like 20300101000000", u64::MAX, read)?;
            out.extend_from_slice(&(number as u32).to_be_bytes());
            Ok(())
        }
        Ip4 => {
            let address = parsed::<std::net::Ipv4Addr>(words, "an IPv4 address")?;
            out.extend_from_slice(&address.octets());
            Ok(())
        }
        Ip6 => {
            let address = parsed::<std::net::Ipv6Addr>(words, "an IPv6 address")?;
            out.extend_from_slice(&address.octets());
            Ok(())
        }
        Text => {
            let token = words.expect("a text")?;
            character_string(token, words, out)
        }
        Texts => {
            let first = words.expect("a text")?;
            character_string(first, words, out)?;
            while let Some(token) = words.next() {
                character_string(token, words, out)?;
            }
            Ok(())
        }
        Open => {
            let token = words.expect("a text")?;
            text::octets_into(out, token.text).map_err(|message| words.wrong(message))
        }
        Tag => {
            let token = words.expect("a tag")?;
            let sound = (1..=255).contains(&token.text.len())
                && token.text.iter().all(u8::is_ascii_alphanumeric);
            if !sound {
                return Err(words.wrong("a tag is letters and digits"));
            }
            out.push(token.text.len() as u8);
            out.extend_from_slice(token.text);
            Ok(())
        }
        Hex => {
            let digits = joined(words, "hexadecimal digits")?;
            text::hex_into(out, &digits)
                .ok_or_else(|| words.wrong("not pairs of hexadecimal digits"))
        }
        Base64 => {
            let digits = joined(words, "octets in base 64")?;
            let octets = STANDARD.decode(digits).map_err(|_| words.wrong("not base 64"))?;
            out.extend_from_slice(&octets);
            Ok(())
        }
        Salt => {
            let token = words.expect("a salt, or `-`")?;
            counted(out, |out| match token.text {
                b"-" => Some(()),
                digits => text::hex_into(out, digits),
            })
            .ok_or_else(|| words.wrong("not a salt in hexadecimal digits, or `-`"))
        }
        Hash => {
            let token = words.expect("a hash")?;
            counted(out, |out| text::base32_into(out, token.text))
                .ok_or_else(|| words.wrong("not a hash in base 32"))
        }
        Types => {
            let mut types = Vec::new();
            while let Some(token) = words.next() {
                types.push(record_type(token).ok_or_else(|| words.wrong("not a record type"))?.0);
            }
            type_map(types, out);
            Ok(())
        }
        Type => {
            let token = words.expect("a record type")?;
            let rtype = record_type(token).ok_or_else(|| words.wrong("not a record type"))?;
            out.extend_from_slice(&rtype.0.to_be_bytes());
            Ok(())
        }
        Algorithm => {
            let number = named(words, "an algorithm", ALGORITHMS, u8::MAX.into())?;
            out.push(number as u8);
            Ok(())
        }
        Certificate => {
            let number = named(words, "a certificate's type", CERTIFICATES, u16::MAX.into())?;
            out.extend_from_slice(&(number as u16).to_be_bytes());
            Ok(())
        }
        Eui(length) => {
            let token = words.expect("an address of hexadecimal pairs")?;
            let pairs: Vec<_> = token.text.split(|byte| *byte == b'-').collect();
            let start = out.len();
            let sound = pairs.len() == usize::from(length)
                && pairs.iter().all(|pair| pair.len() == 2 && text::hex_into(out, pair).is_some());
            let message = format!("not {length} hexadecimal pairs with dashes between them");
            sound.then_some(()).ok_or_else(|| {
                out.truncate(start);
                words.wrong(message)
            })
        }
        Locator => {
            let token = words.expect("four hexadecimal groups")?;
            let groups = token.text.split(|byte| *byte == b':').map(|group| {
                let group = std::str::from_utf8(group).ok().filter(|group| group.len() <= 4)?;
                u16::from_str_radix(group, 16).ok()
            });
            let groups: Option<Vec<u16>> = groups.collect();
            let groups = groups.filter(|groups| groups.len() == 4);
            let groups = groups.ok_or_else(|| {
                words.wrong("not four hexadecimal groups with colons between them")
            })?;
            out.extend(groups.iter().flat_map(|group| group.to_be_bytes()));
            Ok(())
        }
        Parameters => svcb::parse(words, out),
    }
}

/// The general form: `\# LENGTH HEX` (RFC 3597 §5).
fn general(rtype: RecordType, words: &mut Words<'_, '_>, out: &mut Vec<u8>) -> Result<(), Wrong> {
    words.next();
    let start = out.len();
    let length = bounded(words, "the data's length", u16::MAX.into(), text::number)?;
    let mut digits = Vec::new();
    while let Some(token) = words.next() {
        digits.extend_from_slice(token.text);
    }
    text::hex_into(out, &digits).ok_or_else(|| words.wrong("not pairs of hexadecimal digits"))?;
    if (out.len() - start) as u64 != length {
        let message = format!("{} octets of data where {length} were announced", out.len() - start);
        return Err(words.wrong(message));
    }
    if !is_sound(rtype, &out[start..]) {
        return Err(words.wrong(format!("these octets are no data of {rtype}")));
    }
    Ok(())
}

fn bounded(
    words: &mut Words<'_, '_>,
    what: &str,
    most: u64,
    read: impl Fn(&[u8]) -> Option<u64>,
) -> Result<u64, Wrong> {
    let token = words.expect(what)?;
    let number = read(token.text).filter(|number| *number <= most);
    number.ok_or_else(|| words.wrong(format!("not {what}")))
}

fn named(
    words: &mut Words<'_, '_>,
    what: &str,
    names: &[(&str, impl Copy + Into<u64>)],
    most: u64,
) -> Result<u64, Wrong> {
    let by_name = |text: &[u8]| {
        let found = names.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(text));
        found.map(|(_, number)| (*number).into()).or_else(|| text::number(text))
    };
    bounded(words, what, most, by_name)
}

fn parsed<T: std::str::FromStr>(words: &mut Words<'_, '_>, what: &str) -> Result<T, Wrong> {
    let token = words.expect(what)?;
    let address = std::str::from_utf8(token.text).ok().and_then(|text| text.parse().ok());
    address.ok_or_else(|| words.wrong(format!("not {what}")))
}

fn record_type(token: Token<'_>) -> Option<RecordType> {
    std::str::from_utf8(token.text).ok()?.parse().ok()
}

/// The rest of the tokens, joined.
fn joined(words: &mut Words<'_, '_>, what: &str) -> Result<Vec<u8>, Wrong> {
    let mut all = words.expect(what)?.text.to_vec();
    while let Some(token) = words.next() {
        all.extend_from_slice(token.text);
    }
    Ok(all)
}

fn character_string(
    token: Token<'_>,
    words: &Words<'_, '_>,
    out: &mut Vec<u8>,
) -> Result<(), Wrong> {
    let mut outcome = Ok(());
    counted(out, |out| {
        outcome = text::octets_into(out, token.text);
        outcome.is_ok().then_some(())
    })
    .ok_or_else(|| {
        words
            .wrong(outcome.err().unwrap_or("a text is longer than 255 octets: write it as several"))
    })
}

/// Appends what `fill` appends, with its length in one octet before it.
pub(crate) fn counted(
    out: &mut Vec<u8>,
    fill: impl FnOnce(&mut Vec<u8>) -> Option<()>,
) -> Option<()> {
    let start = out.len();
    out.push(0);
    fill(out)?;
    out[start] = u8::try_from(out.len() - start - 1).ok()?;
    Some(())
}

/// Appends a bit map of types (RFC 4034 §4.1.2).
fn type_map(mut types: Vec<u16>, out: &mut Vec<u8>) {
    types.sort_unstable();
    types.dedup();
    for window in types.chunk_by(|left, right| left >> 8 == right >> 8) {
        let mut bits = [0_u8; 32];
        for rtype in window {
            bits[usize::from(rtype & 0xFF) / 8] |= 0x80 >> (rtype & 7);
        }
        let used = bits.iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 1);
        out.extend_from_slice(&[(window[0] >> 8) as u8, used as u8]);
        out.extend_from_slice(&bits[..used]);
    }
}

/// How many octets a field has at the front of `rest`.
fn length_of(field: Field, rest: &[u8]) -> Option<usize> {
    let counted = || {
        let length = usize::from(*rest.first()?) + 1;
        (rest.len() >= length).then_some(length)
    };
    let fixed = |length: usize| (rest.len() >= length).then_some(length);
    match field {
        Name | Plain => wire_length(rest).ok(),
        U8 | Algorithm => fixed(1),
        U16 | Type | Certificate => fixed(2),
        U32 | Seconds | Time | Ip4 => fixed(4),
        Ip6 => fixed(16),
        Locator => fixed(8),
        Eui(length) => fixed(length.into()),
        Text | Salt | Hash | Tag => counted(),
        Texts => {
            let mut at = 0;
            while let Some(length) = rest.get(at) {
                at += usize::from(*length) + 1;
            }
            (at == rest.len() && at > 0).then_some(at)
        }
        Open | Hex | Base64 => Some(rest.len()),
        Types => {
            let (mut at, mut last) = (0, None);
            while at < rest.len() {
                let (window, length) = (rest[at], *rest.get(at + 1)?);
                let ordered = last.is_none_or(|last| last < window);
                if !ordered || !(1..=32).contains(&length) {
                    return None;
                }
                last = Some(window);
                at += 2 + usize::from(length);
            }
            (at == rest.len()).then_some(at)
        }
        Parameters => svcb::is_sound(rest).then_some(rest.len()),
    }
}

/// Whether these octets, without compression, are data of a record of this type.
pub(crate) fn is_sound(rtype: RecordType, rdata: &[u8]) -> bool {
    let Some(fields) = fields(rtype) else { return !rtype.is_meta() };
    let mut at = 0;
    for field in fields {
        match length_of(*field, &rdata[at..]) {
            Some(length) => at += length,
            None => return false,
        }
    }
    at == rdata.len()
}

/// Appends the data of a record in a message to `out`, its names expanded. None if it isn't sound; `out`
/// may have grown then.
/// Names of types that came after RFC 1035 are expanded too, as RFC 3597 §4 asks of receivers.
pub fn from_message(
    rtype: RecordType,
    message: &[u8],
    range: std::ops::Range<usize>,
    out: &mut Vec<u8>,
) -> Option<()> {
    let start = out.len();
    let (mut at, end) = (range.start, range.end);
    let bounded = message.get(..end)?;
    for field in fields(rtype).unwrap_or(&[Open]) {
        if matches!(field, Name | Plain) {
            at = expand(bounded, at, out).ok()?;
        } else {
            let rest = bounded.get(at..)?;
            let length = length_of(*field, rest)?;
            out.extend_from_slice(&rest[..length]);
            at += length;
        }
    }
    (at == end && is_sound(rtype, &out[start..])).then_some(())
}

/// The names in a record's data that others are asked for next, or that may be compressed: where each
/// begins, how long it is, and whether it may be compressed.
pub(crate) fn names_in(
    rtype: RecordType,
    rdata: &[u8],
) -> impl Iterator<Item = (usize, usize, bool)> + '_ {
    let mut at = 0;
    fields(rtype).unwrap_or(&[]).iter().filter_map(move |field| {
        let start = at;
        let length = length_of(*field, rdata.get(at..)?)?;
        at += length;
        matches!(field, Name | Plain).then_some((start, length, *field == Name))
    })
}

/// A record's data with its names in lower case, as records are told apart (RFC 4343 §3).
pub(crate) fn canonical(rtype: RecordType, rdata: &[u8]) -> Cow<'_, [u8]> {
    let mut lowered = Cow::Borrowed(rdata);
    for (at, length, _) in names_in(rtype, rdata) {
        if rdata[at..at + length].iter().any(u8::is_ascii_uppercase) {
            lowered.to_mut()[at..at + length].make_ascii_lowercase();
        }
    }
    lowered
}
