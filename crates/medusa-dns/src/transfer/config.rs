//! What the configuration says of keys, primaries and updates, and what it means for a zone.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use medusa_core::{BuildContext, BuildError};
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use zeroize::Zeroizing;

use super::desk::Kept;
use super::message::is_newer;
use super::secondary::expiry;
use super::store::{JournalFile, touched};
use super::tsig::{Algorithm, Key, Keys};
use crate::config::ZoneConfig;
use crate::load_zone;
use crate::name::Name;
use crate::zone::{Zone, name_from_text};

/// A key as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyConfig {
    name: String,
    algorithm: String,
    secret: Secret,
}

/// Octets in base 64 that nobody is shown.
struct Secret(Zeroizing<String>);

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Secret(Zeroizing::new(text)))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not shown")
    }
}

/// Another name server: an address, with port 53 where none is named.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServerAddress(pub(crate) SocketAddr);

impl FromStr for ServerAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let whole = text.parse();
        let address = whole.or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)));
        address.map(ServerAddress).map_err(|_| {
            format!("`{text}` is no address of a name server, such as \"192.0.2.1:53\"")
        })
    }
}

impl<'de> Deserialize<'de> for ServerAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// The keys.
///
/// # Errors
///
/// A name, an algorithm or a secret is none, or two keys have one name.
pub(crate) fn keys(configs: &[KeyConfig]) -> Result<Keys, BuildError> {
    let mut all: Vec<Key> = Vec::new();
    for (index, KeyConfig { name, algorithm, secret }) in configs.iter().enumerate() {
        let key = |key: &str| format!("key[{index}].{key}");
        let name = name_from_text(name).map_err(|message| {
            BuildError::at(key("name"), format!("`{name}` is no name: {message}"))
        })?;
        if all.iter().any(|other| *other.name() == name) {
            return Err(BuildError::at(key("name"), format!("the key {name} is there already")));
        }
        let algorithm = Algorithm::named(algorithm).ok_or_else(|| {
            let known: Vec<_> = Algorithm::names().collect();
            BuildError::at(key("algorithm"), format!("`{algorithm}` is no algorithm of a key"))
                .hint(format!("there are {}", known.join(", ")))
        })?;
        let secret = STANDARD.decode(secret.0.trim()).ok().filter(|secret| !secret.is_empty());
        let secret = secret.ok_or_else(|| {
            BuildError::at(key("secret"), "the secret isn't in base 64")
                .hint("`openssl rand -base64 32` makes one")
        })?;
        all.push(Key::new(name, algorithm, secret));
    }
    Ok(Keys::new(all))
}

/// How the zone of this entry is kept.
///
/// # Errors
///
/// It names a key that isn't there, or says what makes no sense together.
pub(crate) fn kept(
    entry: &ZoneConfig,
    index: usize,
    cx: &BuildContext,
    keys: &Keys,
) -> Result<Kept, BuildError> {
    let at = |key: &str| format!("zone[{index}].{key}");
    let key_named = |key: &str, name: &Option<String>| -> Result<Option<Arc<Key>>, BuildError> {
        let Some(text) = name else { return Ok(None) };
        let found = name_from_text(text).ok().and_then(|name| keys.named(&name).cloned());
        found.map(Some).ok_or_else(|| {
            BuildError::at(at(key), format!("there is no key `{text}`")).hint(
                "keys are written as `[[dns.NAME.key]]` with `name`, `algorithm` and `secret`",
            )
        })
    };
    let addresses =
        |list: &[super::ServerAddress]| list.iter().map(|address| address.0).collect::<Vec<_>>();
    let update_key = key_named("update_key", &entry.update_key)?;
    if !entry.update_from.is_empty() && update_key.is_none() {
        return Err(BuildError::at(at("update_from"), "an address is easily forged")
            .hint("name the key that updates have to be signed with: `update_key`"));
    }
    if update_key.is_some() && !entry.primary.is_empty() {
        let message = "a zone that comes from a primary is changed there";
        return Err(BuildError::at(at("update_key"), message));
    }
    if entry.catalog && entry.primary.is_empty() {
        let message = "a catalog comes from a primary, as the zones that it lists do";
        return Err(BuildError::at(at("catalog"), message));
    }
    Ok(Kept {
        transfer_to: entry.transfer_to.clone(),
        key: key_named("key", &entry.key)?,
        primaries: addresses(&entry.primary),
        notify: addresses(&entry.notify),
        update_from: entry.update_from.clone(),
        update_key,
        file: entry.file.as_ref().map(|file| cx.path(file)),
        is_catalog: entry.catalog,
        most_octets: entry.max_transfer.map(|size| size.0),
        ..Kept::default()
    })
}

impl Kept {
    /// A secondary's zone as it was when it was transferred last: vacant if there is none that can be read,
    /// and stale if it has expired since. The primary will be asked.
    pub(crate) fn last_copy(&mut self, apex: &Name) -> Zone {
        let vacant = || Zone::vacant(apex.clone());
        let Some(file) = self.file.as_ref().filter(|file| file.exists()) else { return vacant() };
        let zone = match load_zone(file, Some(apex)).zone {
            Ok(zone) => zone,
            Err(faults) => {
                let fault = faults.first().map(ToString::to_string);
                tracing::warn!(zone = %apex, ?fault, "the copy of a zone can't be used");
                return vacant();
            }
        };
        // A clock that was set back makes it no fresher than now.
        let age = touched(file).ok().and_then(|then| SystemTime::now().duration_since(then).ok());
        let age = age.unwrap_or_default();
        zone.set_stale(age >= expiry(&zone.soa()));
        self.age_at_start = Some(age);
        zone
    }

    /// A zone that was read from its master file, with what was changed by message since.
    ///
    /// # Errors
    ///
    /// The journal can't be read, in words.
    pub(crate) fn with_journal(&mut self, zone: Zone) -> Result<Zone, String> {
        let Some(file) = self.file.clone().filter(|_| self.update_key.is_some()) else {
            return Ok(zone);
        };
        let (serial, name) = (zone.soa().serial, zone.apex().clone());
        let opened = JournalFile::find(&file, &name, serial);
        let (mut journal, found) =
            opened.map_err(|error| format!("its journal can't be used: {error}"))?;
        let mut current = zone;
        if let Some(found) = found {
            let reached = found.zone.soa().serial;
            if is_newer(serial, reached) {
                tracing::warn!(
                    zone = %name, serial, reached,
                    "the master file is newer than what updates had made of it: \
                     the journal is put aside as `.journal.old`"
                );
                journal.outdate(serial);
            } else {
                if serial != found.origin {
                    tracing::warn!(
                        zone = %name, serial, reached,
                        "the master file was changed, but its serial isn't newer than what updates \
                         have made of it: the change isn't used"
                    );
                }
                let octets = found.zone.octets();
                let history = self.history.get_mut();
                let history = history.unwrap_or_else(std::sync::PoisonError::into_inner);
                for delta in found.deltas {
                    history.push(Arc::new(delta), octets);
                }
                current = found.zone;
            }
        }
        *super::desk::lock(&self.journal) = Some(journal);
        Ok(current)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::transfer::store::{touch, write_zone};
    use crate::transfer::testing::{apex, record, zone};

    #[test]
    fn a_copy_expires_when_it_would_have_without_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("zone");
        // Its SOA record says 100 seconds, but 3600 and 600 pass before it was asked for twice.
        let old = zone(1, &[]);
        let hasty = record("@ SOA ns1 admin 2 3600 600 100 300");
        let soa: Vec<_> = old.records().filter(|one| one.rtype == hasty.rtype).collect();
        write_zone(&path, &old.edited(&soa, &[hasty]).unwrap()).unwrap();
        for (age, is_stale) in [(1000, false), (5000, true)] {
            touch(&path, SystemTime::now() - Duration::from_secs(age)).unwrap();
            let mut kept = Kept { file: Some(path.clone()), ..Kept::default() };
            assert_eq!(kept.last_copy(&apex()).is_stale(), is_stale, "{age}");
        }
    }
}
