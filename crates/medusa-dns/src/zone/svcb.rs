//! The parameters of SVCB and HTTPS records (RFC 9460), in text and on the wire.
//!
//! Their data's other fields are in the table of `rdata`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::rdata::{Words, Wrong, counted};
use super::text;

/// Keys that have a name, by number (RFC 9460 §14.3.2, RFC 9461, RFC 9540).
const KEYS: &[&str] = &[
    "mandatory",
    "alpn",
    "no-default-alpn",
    "port",
    "ipv4hint",
    "ech",
    "ipv6hint",
    "dohpath",
    "ohttp",
];

const MANDATORY: u16 = 0;
const ALPN: u16 = 1;
const NO_DEFAULT_ALPN: u16 = 2;
const PORT: u16 = 3;
const IPV4HINT: u16 = 4;
const ECH: u16 = 5;
const IPV6HINT: u16 = 6;
const OHTTP: u16 = 8;

/// Appends the parameters that are left in `words`, sorted by key.
pub(super) fn parse(words: &mut Words<'_, '_>, out: &mut Vec<u8>) -> Result<(), Wrong> {
    let mut parameters: Vec<(u16, Vec<u8>)> = Vec::new();
    while let Some(token) = words.next() {
        let (name, value) = match memchr::memchr(b'=', token.text) {
            Some(at) => (&token.text[..at], Some(&token.text[at + 1..])),
            None => (token.text, None),
        };
        let key = key(name).ok_or_else(|| words.wrong("not a parameter's key"))?;
        let mut wire = Vec::new();
        parameter(key, value, &mut wire).map_err(|message| words.wrong(message))?;
        if parameters.iter().any(|(other, _)| *other == key) {
            return Err(words.wrong("this parameter stands twice"));
        }
        parameters.push((key, wire));
    }
    parameters.sort_by_key(|(key, _)| *key);
    let has = |key: u16| parameters.iter().any(|(other, _)| *other == key);
    if let Some((_, mandatory)) = parameters.first().filter(|(key, _)| *key == MANDATORY) {
        let keys = mandatory.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
        if !keys.clone().all(has) {
            return Err(words.wrong("`mandatory` names a parameter that isn't there"));
        }
    }
    if has(NO_DEFAULT_ALPN) && !has(ALPN) {
        return Err(words.wrong("`no-default-alpn` needs `alpn`"));
    }
    for (key, wire) in parameters {
        let length = u16::try_from(wire.len()).map_err(|_| words.wrong("a value is too long"))?;
        out.extend_from_slice(&key.to_be_bytes());
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&wire);
    }
    Ok(())
}

/// Whether these octets are parameters: in ascending order, and none cut off.
pub(super) fn is_sound(mut rest: &[u8]) -> bool {
    let mut last = None;
    while !rest.is_empty() {
        let Some((&[high, low, length_high, length_low], behind)) = rest.split_first_chunk::<4>()
        else {
            return false;
        };
        let key = u16::from_be_bytes([high, low]);
        let length = usize::from(u16::from_be_bytes([length_high, length_low]));
        if last.is_some_and(|last| last >= key) || behind.len() < length {
            return false;
        }
        last = Some(key);
        rest = &behind[length..];
    }
    true
}

fn key(name: &[u8]) -> Option<u16> {
    if let Some(index) = KEYS.iter().position(|key| key.as_bytes() == name) {
        return Some(index as u16);
    }
    let digits = name.strip_prefix(b"key")?;
    let plain = digits.len() == 1 || digits.first() != Some(&b'0');
    let number = text::number(digits).filter(|number| plain && *number < 65535)?;
    Some(number as u16)
}

fn parameter(key: u16, value: Option<&[u8]>, out: &mut Vec<u8>) -> Result<(), &'static str> {
    let mut octets = Vec::new();
    text::octets_into(&mut octets, value.unwrap_or_default())?;
    match key {
        NO_DEFAULT_ALPN | OHTTP if value.is_some() => return Err("this parameter has no value"),
        NO_DEFAULT_ALPN | OHTTP => return Ok(()),
        MANDATORY | ALPN | PORT | IPV4HINT | ECH | IPV6HINT if octets.is_empty() => {
            return Err("this parameter needs a value");
        }
        _ => {}
    }
    match key {
        MANDATORY => {
            let keys =
                octets.split(|byte| *byte == b',').map(self::key).collect::<Option<Vec<_>>>();
            let mut keys = keys.ok_or("not a list of keys")?;
            keys.sort_unstable();
            if keys.contains(&MANDATORY) || keys.windows(2).any(|pair| pair[0] == pair[1]) {
                return Err("a key that can't be mandatory, or stands twice");
            }
            out.extend(keys.iter().flat_map(|key| key.to_be_bytes()));
        }
        ALPN => {
            for id in list(&octets) {
                counted(out, |out| {
                    out.extend_from_slice(&id);
                    (!id.is_empty()).then_some(())
                })
                .ok_or("an empty protocol, or one of more than 255 octets")?;
            }
        }
        PORT => {
            let port = text::number(&octets).and_then(|port| u16::try_from(port).ok());
            out.extend_from_slice(&port.ok_or("not a port")?.to_be_bytes());
        }
        IPV4HINT => {
            for address in addresses::<std::net::Ipv4Addr>(&octets).ok_or("not IPv4 addresses")? {
                out.extend_from_slice(&address.octets());
            }
        }
        IPV6HINT => {
            for address in addresses::<std::net::Ipv6Addr>(&octets).ok_or("not IPv6 addresses")? {
                out.extend_from_slice(&address.octets());
            }
        }
        ECH => out.extend_from_slice(&STANDARD.decode(&octets).map_err(|_| "not base 64")?),
        _ => out.extend_from_slice(&octets),
    }
    Ok(())
}

/// A list with commas, where a backslash keeps the octet behind it from being one (RFC 9460 §A.1).
fn list(octets: &[u8]) -> Vec<Vec<u8>> {
    let mut items = vec![Vec::new()];
    let mut bytes = octets.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b',' => items.push(Vec::new()),
            _ => {
                let kept = if byte == b'\\' { bytes.next().copied().unwrap_or(byte) } else { byte };
                if let Some(item) = items.last_mut() {
                    item.push(kept);
                }
            }
        }
    }
    items
}

fn addresses<T: std::str::FromStr>(octets: &[u8]) -> Option<Vec<T>> {
    std::str::from_utf8(octets).ok()?.split(',').map(|text| text.parse().ok()).collect()
}
