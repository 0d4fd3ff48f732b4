//! The zones of a server: which there are, and which a question belongs to. One of them is replaced
//! without the others, and without those who are answering from it noticing.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};

use super::builder::{Misfit, Origin, Record, ZoneBuilder};
use super::fault::Fault;
use super::index::Index;
use super::model::Zone;
use super::rdata::canonical;
use crate::name::{Name, QueryName, Shown, hash_of, labels};
use crate::types::RecordType;

/// The zones of a server. Cheap to clone: all clones are the same set.
#[derive(Clone, Default)]
pub struct Zones {
    current: Arc<ArcSwap<ZonesSnapshot>>,
    /// Held while the set is changed, so that no change is lost.
    changing: Arc<Mutex<()>>,
}

/// The zones at one moment.
#[derive(Default)]
pub struct ZonesSnapshot {
    zones: Vec<Arc<Zone>>,
    index: Index,
    /// The most labels of a zone's name.
    deepest: usize,
}

impl std::fmt::Debug for Zones {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.current().zones()).finish()
    }
}

impl std::fmt::Debug for ZonesSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.zones).finish()
    }
}

impl Zones {
    /// A set of these; of those with one name the last.
    pub fn new(zones: impl IntoIterator<Item = Arc<Zone>>) -> Zones {
        let all = Zones::default();
        all.change(|by_name| {
            by_name.extend(zones.into_iter().map(|zone| (zone.apex().wire().to_vec(), zone)));
        });
        all
    }

    /// The zones as they are now.
    #[inline]
    pub fn current(&self) -> Guard<Arc<ZonesSnapshot>> {
        self.current.load()
    }

    /// Adds a zone, or puts it in the place of the one with its name. Who is answering from the old one
    /// goes on with it.
    pub fn replace(&self, zone: Zone) {
        let zone = Arc::new(zone);
        self.change(|zones| {
            zones.insert(zone.apex().wire().to_vec(), zone);
        });
    }

    /// Adds zones, or puts them in the place of those with their names, all at once: each change costs as
    /// much as there are zones.
    pub(crate) fn replace_all(&self, new: Vec<Zone>) {
        self.change(|zones| {
            let named = |zone: Zone| (zone.apex().wire().to_vec(), Arc::new(zone));
            zones.extend(new.into_iter().map(named));
        });
    }

    /// Takes zones out, all at once.
    pub(crate) fn remove_all(&self, names: &[Name]) {
        self.change(|zones| {
            for name in names {
                zones.remove(name.wire());
            }
        });
    }

    /// Takes a zone out, and says whether it was there.
    pub fn remove(&self, apex: &Name) -> bool {
        let mut removed = false;
        self.change(|zones| removed = zones.remove(apex.wire()).is_some());
        removed
    }

    /// The zone of this very name.
    pub fn named(&self, apex: &Name) -> Option<Arc<Zone>> {
        self.current().named(apex).cloned()
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<Vec<u8>, Arc<Zone>>)) {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.current.load();
        let zones = old.zones.iter().map(|zone| (zone.apex().wire().to_vec(), Arc::clone(zone)));
        let mut zones = zones.collect();
        change(&mut zones);
        let mut index = Index::for_places(zones.len());
        for (number, apex) in zones.keys().enumerate() {
            index.insert(hash_of(apex), number as u32);
        }
        let deepest = zones.keys().map(|apex| labels(apex).count()).max().unwrap_or(0);
        let zones = zones.into_values().collect();
        self.current.store(Arc::new(ZonesSnapshot { zones, index, deepest }));
    }
}

impl ZonesSnapshot {
    /// All of them, by name.
    pub fn zones(&self) -> &[Arc<Zone>] {
        &self.zones
    }

    /// The zone of this very name.
    fn named(&self, apex: &Name) -> Option<&Arc<Zone>> {
        let is_it =
            |number: u32| self.zones.get(number as usize).is_some_and(|zone| zone.apex() == apex);
        let number = self.index.find(hash_of(apex.wire()), is_it)?;
        self.zones.get(number as usize)
    }

    /// The zone that a name belongs to: the longest that it ends in from label `from` on.
    #[inline]
    pub(crate) fn find(&self, name: &QueryName, from: usize) -> Option<&Arc<Zone>> {
        // What has more labels than any zone's name is no zone's.
        let mut label = from.max(name.count().saturating_sub(self.deepest));
        while label <= name.count() {
            let is_it = |number: u32| {
                let zone = self.zones.get(number as usize);
                zone.is_some_and(|zone| zone.apex().wire() == name.suffix(label))
            };
            if let Some(number) = self.index.find(name.hash(label), is_it) {
                return self.zones.get(number as usize);
            }
            label += 1;
        }
        None
    }
}

/// Records of one name, by type and data.
type Data<'r> = HashSet<(RecordType, Cow<'r, [u8]>)>;

impl Zone {
    /// Its records in canonical order of names, by type within a name, each set followed by its
    /// signatures.
    pub fn records(&self) -> impl Iterator<Item = Record> + '_ {
        self.nodes().flat_map(move |node| {
            let owner = node.name();
            node.rrsets().flat_map(move |set| {
                let records = set.rendered().map(|record| {
                    let rdata = set.expanded(&record, self.apex().wire());
                    (record.rtype, record.ttl, rdata)
                });
                let signatures = set.rendered_signatures();
                let signatures =
                    signatures.map(|record| (record.rtype, record.ttl, record.rdata.to_vec()));
                let owner = owner.clone();
                let all: Vec<_> = records.chain(signatures).collect();
                all.into_iter().map(move |(rtype, ttl, rdata)| Record {
                    owner: owner.clone(),
                    rtype,
                    ttl,
                    rdata,
                })
            })
        })
    }

    /// A new zone: this one without the records that are `removed`, whatever their TTL, and with those
    /// that are `added`.
    ///
    /// # Errors
    ///
    /// All that is wrong with what it would be.
    pub fn edited(&self, removed: &[Record], added: &[Record]) -> Result<Zone, Vec<Fault>> {
        let mut gone: HashMap<&[u8], Data<'_>> = HashMap::new();
        for Record { owner, rtype, rdata, .. } in removed {
            let here = gone.entry(owner.wire()).or_default();
            here.insert((*rtype, canonical(*rtype, rdata)));
        }
        let mut builder = ZoneBuilder::new(self.apex().clone());
        let misfits = |owner: &[u8], rtype: RecordType, misfit: Misfit| {
            vec![Fault::whole(format!("{} {rtype}: {misfit}", Shown(owner)))]
        };
        let mut owner = Vec::new();
        // Nearly all names stay as they are, and in order.
        for node in self.nodes() {
            owner.clear();
            node.name_into(&mut owner);
            let gone = gone.get(&owner[..]);
            let mut keep = |rtype: RecordType, ttl: u32, rdata: &[u8]| {
                if gone.is_some_and(|gone| gone.contains(&(rtype, canonical(rtype, rdata)))) {
                    return Ok(());
                }
                let added = builder.add_wire(&owner, rtype, ttl, rdata, Origin::default());
                added.map_err(|misfit| misfits(&owner, rtype, misfit))
            };
            for set in node.rrsets() {
                for one in set.rendered() {
                    keep(one.rtype, one.ttl, &set.expanded(&one, self.apex().wire()))?;
                }
                for one in set.rendered_signatures() {
                    keep(one.rtype, one.ttl, one.rdata)?;
                }
            }
        }
        for record in added {
            builder
                .add(record)
                .map_err(|misfit| misfits(record.owner.wire(), record.rtype, misfit))?;
        }
        builder.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::name_from_text;

    #[test]
    fn many_zones_come_and_go_at_once() {
        let names: Vec<_> =
            (0..300).map(|i| name_from_text(&format!("z{i}.test")).unwrap()).collect();
        let zones = Zones::default();
        zones.replace_all(names.iter().cloned().map(Zone::vacant).collect());
        let is_there = |name: &Name| zones.named(name).is_some_and(|zone| zone.apex() == name);
        assert!(names.iter().all(is_there));
        assert!(!is_there(&name_from_text("test").unwrap()));
        zones.remove_all(&names[100..]);
        assert_eq!(names.iter().filter(|name| is_there(name)).count(), 100);
        assert_eq!(zones.current().zones().len(), 100);
    }
}
