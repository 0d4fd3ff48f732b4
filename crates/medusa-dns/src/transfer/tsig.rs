//! Signatures over whole messages with a secret that both ends share (RFC 8945): checking them, making
//! them, and both over a stream of messages.
//!
//! Time is handed in, as seconds of the wall clock since 1970, and messages are octets: nothing here knows
//! a socket. Keys aren't negotiated (TKEY).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::name::{Name, expand};
use crate::types::{Rcode, RecordType, class};
use crate::wire::{HEADER, Header, RawRecord, question_of};

/// How far two clocks may differ, in seconds (RFC 8945 §10).
pub(crate) const FUDGE: u16 = 300;

/// How many messages of a stream may come unsigned between two that are (RFC 8945 §5.3.1).
const MOST_UNSIGNED: u32 = 99;

/// The errors that a TSIG record itself tells (RFC 8945 §3).
mod error {
    pub(super) const BADSIG: u16 = 16;
    pub(super) const BADKEY: u16 = 17;
    pub(super) const BADTIME: u16 = 18;
    pub(super) const BADTRUNC: u16 = 22;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

/// How a key signs: an HMAC, and how many octets of it are sent and asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Algorithm {
    hash: Hash,
    octets: u8,
}

/// Name, hash, its octets (RFC 8945 §6). MD5 isn't among them: it is broken, and may be left out since
/// RFC 8945.
const ALGORITHMS: &[(&str, Hash, u8)] = &[
    ("hmac-sha1", Hash::Sha1, 20),
    ("hmac-sha224", Hash::Sha224, 28),
    ("hmac-sha256", Hash::Sha256, 32),
    ("hmac-sha384", Hash::Sha384, 48),
    ("hmac-sha512", Hash::Sha512, 64),
];

impl Algorithm {
    /// The algorithm of this name: `hmac-sha256`, or `hmac-sha256-128` for one that is cut to so many bits,
    /// but to no less than half (RFC 8945 §5.2.2.1).
    pub(crate) fn named(name: &str) -> Option<Algorithm> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let whole = |name: &str| ALGORITHMS.iter().find(|(known, ..)| *known == name);
        if let Some((_, hash, octets)) = whole(&name) {
            return Some(Algorithm { hash: *hash, octets: *octets });
        }
        let (name, bits) = name.rsplit_once('-')?;
        let (_, hash, octets) = whole(name)?;
        let bits: u16 = bits.parse().ok().filter(|bits| bits % 8 == 0)?;
        let cut = u8::try_from(bits / 8).ok()?;
        (least_octets(*octets)..=*octets)
            .contains(&cut)
            .then_some(Algorithm { hash: *hash, octets: cut })
    }

    /// All names, for a message that lists them.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        ALGORITHMS.iter().map(|(name, ..)| *name)
    }

    fn entry(self) -> &'static (&'static str, Hash, u8) {
        // Every hash has its line.
        ALGORITHMS.iter().find(|(_, hash, _)| *hash == self.hash).unwrap_or(&ALGORITHMS[0])
    }

    fn name_into(self, out: &mut Vec<u8>) {
        let name = self.entry().0;
        out.push(name.len() as u8);
        out.extend_from_slice(name.as_bytes());
        out.push(0);
    }

    fn digest(self, secret: &[u8]) -> Digest {
        macro_rules! digest {
            ($($hash:ident)*) => {
                match self.hash {
                    // An HMAC takes a key of any length.
                    $(Hash::$hash => Digest::$hash(new_mac(secret)),)*
                }
            };
        }
        digest!(Sha1 Sha224 Sha256 Sha384 Sha512)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, _, octets) = self.entry();
        f.write_str(name)?;
        if self.octets < *octets {
            write!(f, "-{}", u16::from(self.octets) * 8)?;
        }
        Ok(())
    }
}

/// The least that a signature may be cut to: half of it, and 10 octets (RFC 8945 §5.2.2.1).
fn least_octets(whole: u8) -> u8 {
    (whole / 2).max(10)
}

fn new_mac<M: KeyInit>(secret: &[u8]) -> M {
    #[allow(clippy::expect_used)]
    M::new_from_slice(secret).expect("a key of any length")
}

/// A running HMAC.
#[derive(Clone)]
enum Digest {
    Sha1(Hmac<sha1::Sha1>),
    Sha224(Hmac<sha2::Sha224>),
    Sha256(Hmac<sha2::Sha256>),
    Sha384(Hmac<sha2::Sha384>),
    Sha512(Hmac<sha2::Sha512>),
}

impl Digest {
    fn update(&mut self, bytes: &[u8]) {
        match self {
            Digest::Sha1(mac) => mac.update(bytes),
            Digest::Sha224(mac) => mac.update(bytes),
            Digest::Sha256(mac) => mac.update(bytes),
            Digest::Sha384(mac) => mac.update(bytes),
            Digest::Sha512(mac) => mac.update(bytes),
        }
    }

    fn finish(self) -> Vec<u8> {
        match self {
            Digest::Sha1(mac) => mac.finalize().into_bytes().to_vec(),
            Digest::Sha224(mac) => mac.finalize().into_bytes().to_vec(),
            Digest::Sha256(mac) => mac.finalize().into_bytes().to_vec(),
            Digest::Sha384(mac) => mac.finalize().into_bytes().to_vec(),
            Digest::Sha512(mac) => mac.finalize().into_bytes().to_vec(),
        }
    }
}

/// A secret that two ends share.
pub(crate) struct Key {
    name: Name,
    algorithm: Algorithm,
    secret: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, {}, secret not shown)", self.name, self.algorithm)
    }
}

impl Key {
    /// A key.
    pub(crate) fn new(name: Name, algorithm: Algorithm, secret: Vec<u8>) -> Key {
        Key { name, algorithm, secret: Zeroizing::new(secret) }
    }

    /// Its name, which messages that it signs bear.
    pub(crate) fn name(&self) -> &Name {
        &self.name
    }

    fn digest(&self) -> Digest {
        self.algorithm.digest(&self.secret)
    }
}

/// The keys of a server, by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keys(HashMap<Name, Arc<Key>>);

impl Keys {
    /// A set of these; of those with one name the last.
    pub(crate) fn new(keys: impl IntoIterator<Item = Key>) -> Keys {
        Keys(keys.into_iter().map(|key| (key.name.clone(), Arc::new(key))).collect())
    }

    /// The key of this name.
    pub(crate) fn named(&self, name: &Name) -> Option<&Arc<Key>> {
        self.0.get(name)
    }
}

/// A TSIG record as it stands in a message.
struct Record {
    name: Name,
    class: u16,
    ttl: u32,
    /// In lower case.
    algorithm: Vec<u8>,
    /// When it was signed.
    time: u64,
    fudge: u16,
    mac: Vec<u8>,
    original_id: u16,
    error: u16,
    other: Vec<u8>,
}

/// A message that can't be read as far as its TSIG record, or has one where there may be none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message or its TSIG record isn't in order")]
pub(crate) struct Malformed;

/// Where the TSIG record of a message begins, if it has one.
///
/// # Errors
///
/// The message isn't in order, or the record isn't the last one (RFC 8945 §5.2).
pub(crate) fn locate(message: &[u8]) -> Result<Option<usize>, Malformed> {
    let header = Header::read(message).ok_or(Malformed)?;
    let mut at = HEADER;
    match header.counts[0] {
        0 => {}
        1 => at = expand(message, at, &mut Vec::new()).map_err(|_| Malformed)? + 4,
        // Nobody asks more at once (RFC 9619).
        _ => return Err(Malformed),
    }
    let [_, answers, authorities, additional] = header.counts.map(u32::from);
    let count = answers + authorities + additional;
    let mut found = None;
    for index in 0..count {
        let record = RawRecord::read(message, at).ok_or(Malformed)?;
        if record.rtype == RecordType::TSIG {
            if index + 1 != count || additional == 0 {
                return Err(Malformed);
            }
            found = Some(at);
        }
        at = record.end;
    }
    if found.is_some() && at != message.len() {
        return Err(Malformed);
    }
    Ok(found)
}

impl Record {
    fn read(message: &[u8], at: usize) -> Option<Record> {
        let raw = RawRecord::read(message, at)?;
        let mut owner = Vec::new();
        expand(message, at, &mut owner).ok()?;
        let rdata_at = raw.end - raw.rdata.len();
        let mut algorithm = Vec::new();
        let behind = expand(&message[..raw.end], rdata_at, &mut algorithm).ok()?;
        let rest = &message[behind..raw.end];
        let fixed = rest.first_chunk::<10>()?;
        let mac_length = usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
        let mac = rest.get(10..10 + mac_length)?;
        let rest = &rest[10 + mac_length..];
        let tail = rest.first_chunk::<6>()?;
        let other_length = usize::from(u16::from_be_bytes([tail[4], tail[5]]));
        if rest.len() != 6 + other_length {
            return None;
        }
        Some(Record {
            name: Name::from_wire(&owner).ok()?,
            class: raw.class,
            ttl: raw.ttl,
            algorithm: algorithm.to_ascii_lowercase(),
            time: fixed[..6].iter().fold(0, |time, byte| time << 8 | u64::from(*byte)),
            fudge: u16::from_be_bytes([fixed[6], fixed[7]]),
            mac: mac.to_vec(),
            original_id: u16::from_be_bytes([tail[0], tail[1]]),
            error: u16::from_be_bytes([tail[2], tail[3]]),
            other: rest[6..].to_vec(),
        })
    }

    /// What is digested behind a message: all of the record but its signature, or the time alone in a
    /// stream (RFC 8945 §4.3.3, §5.3.1).
    fn variables_into(&self, digest: &mut Digest, timers_only: bool) {
        let mut out = Vec::with_capacity(128);
        if !timers_only {
            out.extend_from_slice(self.name.wire());
            out.extend_from_slice(&class::ANY.to_be_bytes());
            out.extend_from_slice(&0_u32.to_be_bytes());
            out.extend_from_slice(&self.algorithm);
        }
        out.extend_from_slice(&self.time.to_be_bytes()[2..]);
        out.extend_from_slice(&self.fudge.to_be_bytes());
        if !timers_only {
            out.extend_from_slice(&self.error.to_be_bytes());
            out.extend_from_slice(&(self.other.len() as u16).to_be_bytes());
            out.extend_from_slice(&self.other);
        }
        digest.update(&out);
    }

    /// Appends the record to a message and counts it.
    fn append(&self, message: &mut Vec<u8>) {
        message.extend_from_slice(self.name.wire());
        message.extend_from_slice(&RecordType::TSIG.0.to_be_bytes());
        message.extend_from_slice(&class::ANY.to_be_bytes());
        message.extend_from_slice(&0_u32.to_be_bytes());
        let length = self.algorithm.len() + 16 + self.mac.len() + self.other.len();
        message.extend_from_slice(&(length as u16).to_be_bytes());
        message.extend_from_slice(&self.algorithm);
        message.extend_from_slice(&self.time.to_be_bytes()[2..]);
        message.extend_from_slice(&self.fudge.to_be_bytes());
        message.extend_from_slice(&(self.mac.len() as u16).to_be_bytes());
        message.extend_from_slice(&self.mac);
        message.extend_from_slice(&self.original_id.to_be_bytes());
        message.extend_from_slice(&self.error.to_be_bytes());
        message.extend_from_slice(&(self.other.len() as u16).to_be_bytes());
        message.extend_from_slice(&self.other);
        let count = u16::from_be_bytes([message[10], message[11]]).wrapping_add(1);
        message[10..12].copy_from_slice(&count.to_be_bytes());
    }

    fn is_in_time(&self, now: u64) -> bool {
        now.abs_diff(self.time) <= u64::from(self.fudge)
    }
}

/// Digests a message as it was before its TSIG record, which begins at `at`, was added.
fn digest_message(digest: &mut Digest, message: &[u8], at: usize, original_id: u16) {
    let mut header = [0; HEADER];
    header.copy_from_slice(&message[..HEADER]);
    header[..2].copy_from_slice(&original_id.to_be_bytes());
    let count = u16::from_be_bytes([header[10], header[11]]).wrapping_sub(1);
    header[10..].copy_from_slice(&count.to_be_bytes());
    digest.update(&header);
    digest.update(&message[HEADER..at]);
}

fn digest_prior(digest: &mut Digest, mac: &[u8]) {
    if !mac.is_empty() {
        digest.update(&(mac.len() as u16).to_be_bytes());
        digest.update(mac);
    }
}

/// A request whose signature holds, and what its answer is signed with.
#[derive(Debug)]
pub(crate) struct Verified {
    key: Arc<Key>,
    mac: Vec<u8>,
}

/// A request whose signature doesn't hold, or whose record isn't in order.
#[derive(Debug)]
pub(crate) struct Rejected {
    rcode: Rcode,
    /// What the answer's own TSIG record tells, and by whom it is signed.
    told: Option<Told>,
}

#[derive(Debug)]
struct Told {
    name: Name,
    algorithm: Vec<u8>,
    error: u16,
    time: u64,
    /// For errors that are signed: the key and the request's signature.
    signed: Option<(Arc<Key>, Vec<u8>)>,
}

/// Checks the signature of a request, whose record begins at `at`.
///
/// # Errors
///
/// How to refuse it (RFC 8945 §5.2).
pub(crate) fn verify(
    message: &[u8],
    at: usize,
    keys: &Keys,
    now: u64,
) -> Result<Verified, Rejected> {
    let malformed = || Rejected { rcode: Rcode::FORMERR, told: None };
    let record = Record::read(message, at).ok_or_else(malformed)?;
    if record.class != class::ANY || record.ttl != 0 {
        return Err(malformed());
    }
    let refuse = |error: u16, signed: Option<(Arc<Key>, Vec<u8>)>| Rejected {
        rcode: Rcode::NOTAUTH,
        told: Some(Told {
            name: record.name.clone(),
            algorithm: record.algorithm.clone(),
            error,
            time: record.time,
            signed,
        }),
    };
    let key = keys.named(&record.name).filter(|key| {
        let mut own = Vec::new();
        key.algorithm.name_into(&mut own);
        own == record.algorithm
    });
    let Some(key) = key else { return Err(refuse(error::BADKEY, None)) };
    let whole = key.algorithm.entry().2;
    let length = record.mac.len();
    if length > usize::from(whole) || length < usize::from(least_octets(whole)) {
        return Err(malformed());
    }
    let mut digest = key.digest();
    digest_message(&mut digest, message, at, record.original_id);
    record.variables_into(&mut digest, false);
    if !bool::from(digest.finish()[..length].ct_eq(&record.mac)) {
        return Err(refuse(error::BADSIG, None));
    }
    // The order is the RFC's: a time or length is believed once the signature is.
    let signed = || Some((Arc::clone(key), record.mac.clone()));
    if !record.is_in_time(now) {
        return Err(refuse(error::BADTIME, signed()));
    }
    if length < usize::from(key.algorithm.octets) {
        return Err(refuse(error::BADTRUNC, signed()));
    }
    Ok(Verified { key: Arc::clone(key), mac: record.mac })
}

impl Verified {
    /// The key that has signed.
    pub(crate) fn key(&self) -> &Arc<Key> {
        &self.key
    }

    /// Signs the answer, or the messages of it one after another.
    pub(crate) fn into_signer(self) -> Signer {
        Signer { key: self.key, prior: self.mac, in_stream: false }
    }
}

impl Rejected {
    /// The answer to the request: no more than its question, and why (RFC 8945 §5.2, §5.3.2).
    pub(crate) fn answer(&self, request: &[u8], now: u64) -> Option<Vec<u8>> {
        let mut out = error_answer(request, self.rcode)?;
        if let Some(told) = &self.told {
            let badtime = told.error == error::BADTIME;
            let mut record = Record {
                name: told.name.clone(),
                class: class::ANY,
                ttl: 0,
                algorithm: told.algorithm.clone(),
                // The client's own, which it will find within its fudge (RFC 8945 §5.2.3).
                time: if badtime { told.time } else { now },
                fudge: FUDGE,
                mac: Vec::new(),
                original_id: u16::from_be_bytes([out[0], out[1]]),
                error: told.error,
                other: if badtime { now.to_be_bytes()[2..].to_vec() } else { Vec::new() },
            };
            if let Some((key, prior)) = &told.signed {
                let mut digest = key.digest();
                digest_prior(&mut digest, prior);
                digest.update(&out);
                record.variables_into(&mut digest, false);
                record.mac = digest.finish();
                record.mac.truncate(key.algorithm.octets.into());
            }
            record.append(&mut out);
        }
        Some(out)
    }

    /// What the record tells, in words for a log.
    pub(crate) fn reason(&self) -> &'static str {
        match self.told.as_ref().map(|told| told.error) {
            Some(error) => error_name(error),
            None => "FORMERR",
        }
    }
}

fn error_name(number: u16) -> &'static str {
    match number {
        error::BADSIG => "BADSIG",
        error::BADKEY => "BADKEY",
        error::BADTIME => "BADTIME",
        error::BADTRUNC => "BADTRUNC",
        _ => "an unknown error",
    }
}

/// The header and question of an answer that says nothing but how it went.
pub(crate) fn error_answer(request: &[u8], rcode: Rcode) -> Option<Vec<u8>> {
    let header = Header::read(request)?;
    let question = question_of(request).unwrap_or(&[]);
    let mut out = Vec::with_capacity(HEADER + question.len() + 64);
    out.extend_from_slice(&header.id.to_be_bytes());
    // Opcode and RD as they came.
    out.push(0x80 | header.flags[0] & 0x79);
    out.push(rcode.0 as u8 & 0xF);
    out.extend_from_slice(&u16::from(!question.is_empty()).to_be_bytes());
    out.extend_from_slice(&[0; 6]);
    out.extend_from_slice(question);
    Some(out)
}

/// Signs one message, or a stream of them in which each signature covers the one before.
#[derive(Debug, Clone)]
pub(crate) struct Signer {
    key: Arc<Key>,
    /// The signature before: the request's, or that of the last message.
    prior: Vec<u8>,
    in_stream: bool,
}

impl Signer {
    /// Signs a request, and makes the one who checks what is answered to it.
    pub(crate) fn sign_request(key: &Arc<Key>, message: &mut Vec<u8>, now: u64) -> Verifier {
        let mut signer = Signer { key: Arc::clone(key), prior: Vec::new(), in_stream: false };
        signer.sign(message, now);
        let mut digest = key.digest();
        digest_prior(&mut digest, &signer.prior);
        Verifier { key: signer.key, digest, in_stream: false, unsigned: 0 }
    }

    /// How many octets a signature takes.
    pub(crate) fn octets(&self) -> usize {
        let algorithm = self.key.algorithm;
        // Name, type, class, TTL and length; the algorithm's name; what is fixed; the signature.
        self.key.name.wire().len()
            + 10
            + algorithm.entry().0.len()
            + 2
            + 16
            + usize::from(algorithm.octets)
    }

    /// Signs a message, which must have room for [`octets`](Self::octets) more.
    pub(crate) fn sign(&mut self, message: &mut Vec<u8>, now: u64) {
        let mut algorithm = Vec::new();
        self.key.algorithm.name_into(&mut algorithm);
        let mut record = Record {
            name: self.key.name.clone(),
            class: class::ANY,
            ttl: 0,
            algorithm,
            time: now,
            fudge: FUDGE,
            mac: Vec::new(),
            original_id: u16::from_be_bytes([message[0], message[1]]),
            error: 0,
            other: Vec::new(),
        };
        let mut digest = self.key.digest();
        digest_prior(&mut digest, &self.prior);
        digest.update(message);
        record.variables_into(&mut digest, self.in_stream);
        record.mac = digest.finish();
        record.mac.truncate(self.key.algorithm.octets.into());
        record.append(message);
        self.prior = record.mac;
        self.in_stream = true;
    }
}

/// What is wrong with the signatures of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SignatureError {
    /// The message or its record isn't in order.
    #[error("the answer's TSIG record isn't in order")]
    Malformed,
    /// There is no signature where there has to be one.
    #[error("the answer isn't signed")]
    Missing,
    /// Another key, or another algorithm.
    #[error("the answer is signed with another key")]
    Key,
    /// It doesn't hold.
    #[error("the answer's signature doesn't hold")]
    Signature,
    /// It was made too long ago, or in the future.
    #[error("the answer's signature is of another time: are both clocks right?")]
    Time,
    /// The other end refuses our signature.
    #[error("the other end refuses our signature: {0}")]
    Refused(&'static str),
}

/// Checks what is answered to a signed request, message by message.
pub(crate) struct Verifier {
    key: Arc<Key>,
    /// Over the signature before and the unsigned messages since.
    digest: Digest,
    in_stream: bool,
    unsigned: u32,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Verifier {
    /// Checks the next message. Of a stream, not every message must be signed; those that aren't count
    /// once a later one is ([`is_settled`](Self::is_settled)).
    ///
    /// # Errors
    ///
    /// What is wrong.
    pub(crate) fn check(&mut self, message: &[u8], now: u64) -> Result<(), SignatureError> {
        let at = locate(message).map_err(|_| SignatureError::Malformed)?;
        let Some(at) = at else {
            self.unsigned += 1;
            if !self.in_stream || self.unsigned > MOST_UNSIGNED {
                return Err(SignatureError::Missing);
            }
            self.digest.update(message);
            return Ok(());
        };
        let record = Record::read(message, at).ok_or(SignatureError::Malformed)?;
        if record.class != class::ANY || record.ttl != 0 {
            return Err(SignatureError::Malformed);
        }
        let mut own = Vec::new();
        self.key.algorithm.name_into(&mut own);
        if record.name != self.key.name || record.algorithm != own {
            return Err(SignatureError::Key);
        }
        // These two come unsigned, and whoever makes them up only hinders what he could hinder anyway.
        if matches!(record.error, error::BADSIG | error::BADKEY) {
            return Err(SignatureError::Refused(error_name(record.error)));
        }
        let octets = usize::from(self.key.algorithm.octets);
        let whole = usize::from(self.key.algorithm.entry().2);
        if !(octets..=whole).contains(&record.mac.len()) {
            return Err(SignatureError::Signature);
        }
        digest_message(&mut self.digest, message, at, record.original_id);
        record.variables_into(&mut self.digest, self.in_stream);
        let mut next = self.key.digest();
        digest_prior(&mut next, &record.mac);
        let made = std::mem::replace(&mut self.digest, next).finish();
        if !bool::from(made[..record.mac.len()].ct_eq(&record.mac)) {
            return Err(SignatureError::Signature);
        }
        if record.error != 0 {
            return Err(SignatureError::Refused(error_name(record.error)));
        }
        if !record.is_in_time(now) {
            return Err(SignatureError::Time);
        }
        self.in_stream = true;
        self.unsigned = 0;
        Ok(())
    }

    /// Whether all messages so far are covered by a signature.
    pub(crate) fn is_settled(&self) -> bool {
        self.in_stream && self.unsigned == 0
    }
}

#[cfg(test)]
mod tests;
