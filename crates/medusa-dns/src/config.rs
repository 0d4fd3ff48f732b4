//! `[dns.NAME]` as it is written: its keys and what they may hold.
//!
//! What they mean together is for `plugin` to say.

use std::fmt;
use std::path::PathBuf;

use medusa_core::Network;
use medusa_core::config::{Listen, Size};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::answer::MAX_NSID;
use crate::rate::RateLimit;
use crate::transfer::{KeyConfig, ServerAddress};

/// One DNS service as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DnsConfig {
    /// Where it listens, over UDP and TCP.
    #[serde(default)]
    pub(crate) listen: Vec<Listen>,
    /// Where it listens with TLS from the first octet.
    #[serde(default)]
    pub(crate) tls_listen: Vec<Listen>,
    /// Zone files.
    #[serde(default)]
    pub(crate) zones: Vec<PathBuf>,
    /// Zones with more to say than a file.
    #[serde(default)]
    pub(crate) zone: Vec<ZoneConfig>,
    /// Who may have zones as a whole.
    #[serde(default)]
    pub(crate) transfer_to: Vec<Network>,
    /// Who is asked for names of others.
    #[serde(default)]
    pub(crate) forward: Vec<String>,
    /// For whom others are asked; this machine, where it isn't said.
    pub(crate) recursion_for: Option<Vec<Network>>,
    /// How often somebody is answered.
    #[serde(default)]
    pub(crate) rate_limit: RateConfig,
    /// Secrets that are shared with others.
    #[serde(default)]
    pub(crate) key: Vec<KeyConfig>,
    /// Whether each question has a line in the access log.
    #[serde(default)]
    pub(crate) access: bool,
    /// Who it is among several with one address.
    #[serde(default, deserialize_with = "nsid")]
    pub(crate) nsid: Option<String>,
    /// What it answers to `version.bind`.
    pub(crate) version: Option<String>,
}

/// A zone with more to say than a file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ZoneConfig {
    /// How it is called.
    pub(crate) name: String,
    /// Its file.
    pub(crate) file: Option<PathBuf>,
    /// From where it is transferred: it is a secondary then.
    #[serde(default)]
    pub(crate) primary: Vec<ServerAddress>,
    /// The key of its transfers and notices.
    pub(crate) key: Option<String>,
    /// Who may have it as a whole, in the place of who may have all zones.
    pub(crate) transfer_to: Option<Vec<Network>>,
    /// Who is told when it has changed.
    #[serde(default)]
    pub(crate) notify: Vec<ServerAddress>,
    /// Who may change it: from anywhere if nobody is named.
    #[serde(default)]
    pub(crate) update_from: Vec<Network>,
    /// The key of who may change it.
    pub(crate) update_key: Option<String>,
    /// Whether it lists other zones to be kept.
    #[serde(default)]
    pub(crate) catalog: bool,
    /// The most that may come from its primary.
    pub(crate) max_transfer: Option<Size>,
}

/// `rate_limit`: a table, or `false`.
#[derive(Debug)]
pub(crate) struct RateConfig(pub(crate) Option<RateLimit>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RateTable {
    answers_per_second: Option<u32>,
    slip: Option<u32>,
    except: Option<Vec<Network>>,
}

/// An id that fits into every answer.
fn nsid<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.len() > MAX_NSID {
        return Err(D::Error::custom(format!("an id of a server has at most {MAX_NSID} octets")));
    }
    Ok(Some(text))
}

impl Default for RateConfig {
    fn default() -> Self {
        RateConfig(Some(RateLimit::default()))
    }
}

impl<'de> Deserialize<'de> for RateConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RateVisitor)
    }
}

struct RateVisitor;

impl<'de> Visitor<'de> for RateVisitor {
    type Value = RateConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table like { answers_per_second = 200, slip = 2 }, or false")
    }

    fn visit_bool<E: Error>(self, is_on: bool) -> Result<RateConfig, E> {
        Ok(if is_on { RateConfig::default() } else { RateConfig(None) })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RateConfig, A::Error> {
        let table = RateTable::deserialize(MapAccessDeserializer::new(map))?;
        let mut limit = RateLimit::default();
        if let Some(answers) = table.answers_per_second {
            if answers == 0 {
                return Err(A::Error::custom("0 answers a second are none; `false` is no limit"));
            }
            limit.answers_per_second = answers;
        }
        limit.slip = table.slip.unwrap_or(limit.slip);
        limit.except = table.except.unwrap_or(limit.except);
        Ok(RateConfig(Some(limit)))
    }
}

#[cfg(test)]
mod tests {
    use serde::de::IntoDeserializer;
    use serde::de::value::{Error as Plain, StringDeserializer};

    use super::*;

    #[test]
    fn an_id_of_a_server_is_bounded() {
        for (length, fits) in [(1, true), (128, true), (129, false), (70_000, false)] {
            let text: StringDeserializer<Plain> = "x".repeat(length).into_deserializer();
            assert_eq!(nsid(text).is_ok(), fits, "{length}");
        }
    }
}
