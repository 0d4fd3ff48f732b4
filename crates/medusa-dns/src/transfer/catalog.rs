//! Catalog zones (RFC 9432): zones whose records list other zones.
//!
//! Pure: it reads the list. What becomes of the zones is the keeper's. Of the properties that a member may
//! have, none is heeded: groups need templates, and a change of ownership two catalogs of one operator.

use std::collections::HashSet;

use crate::name::{Name, labels};
use crate::types::RecordType;
use crate::zone::Zone;

/// A zone that a catalog lists.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Member {
    /// Its label in the catalog. When that changes, all that is known of the zone is forgotten.
    pub(crate) id: Vec<u8>,
    pub(crate) name: Name,
}

/// The zones that a catalog lists.
///
/// # Errors
///
/// It is no catalog, or not one of version 2, or it is broken: nothing of it is to be done then (RFC 9432
/// §5.1), in words.
pub(crate) fn members(zone: &Zone) -> Result<Vec<Member>, String> {
    let apex = zone.apex();
    let mut version = false;
    let mut members = Vec::new();
    let mut names = HashSet::new();
    for node in zone.nodes() {
        let mut path: Vec<&[u8]> = labels(node.prefix).collect();
        // A prefix has no root label: the walk ends where it does.
        path.reverse();
        match path[..] {
            [b"version"] => {
                let set = node.rrset(RecordType::TXT);
                let texts: Vec<_> = set.map(|set| set.rdata(apex).collect()).unwrap_or_default();
                if texts != [b"\x012".to_vec()] {
                    return Err("its version isn't 2".into());
                }
                version = true;
            }
            [b"zones", id] => {
                let Some(set) = node.rrset(RecordType::PTR) else { continue };
                let mut targets = set.rdata(apex);
                let (Some(target), None) = (targets.next(), targets.next()) else {
                    return Err(format!("{} names more than one zone", node.name()));
                };
                let name = Name::from_wire(&target)
                    .map_err(|error| format!("{}: {error}", node.name()))?;
                if !names.insert(name.clone()) {
                    return Err(format!("{name} is listed twice"));
                }
                members.push(Member { id: id.to_vec(), name });
            }
            _ => {}
        }
    }
    if version { Ok(members) } else { Err("it doesn't say its version".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::testing::zone;
    use crate::zone::name_from_text;

    #[test]
    fn members_are_read() {
        let catalog = zone(
            1,
            &[
                "version TXT 2",
                "a1.zones PTR one.test.",
                "b2.zones PTR Two.Test.",
                "group.b2.zones TXT nodnssec",
                "other.ext TXT x",
            ],
        );
        let member =
            |id: &[u8], name: &str| Member { id: id.to_vec(), name: name_from_text(name).unwrap() };
        assert_eq!(
            members(&catalog),
            Ok(vec![member(b"a1", "one.test"), member(b"b2", "two.test")])
        );
        assert_eq!(members(&zone(1, &["version TXT 2"])), Ok(vec![]));
    }

    #[test]
    fn what_is_broken_lists_nothing() {
        for records in [
            &["a.zones PTR one.test."][..],
            &["version TXT 1", "a.zones PTR one.test."],
            &["version TXT 2", "version TXT 3", "a.zones PTR one.test."],
            &["version TXT 2", "a.zones PTR one.test.", "a.zones PTR two.test."],
            &["version TXT 2", "a.zones PTR one.test.", "b.zones PTR one.test."],
        ] {
            assert!(members(&zone(1, records)).is_err(), "{records:?}");
        }
    }
}
