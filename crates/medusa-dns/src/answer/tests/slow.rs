//! The same answers, found the slow way: by going through all records with names as text, as RFC 1034
//! §4.3.2, RFC 4592 and RFC 6672 tell it. What the fast way says is decoded by hickory-proto and must be
//! the same, for zones and questions that nobody has thought of.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const SOA: &str = "t. 5 SOA ns.t. root.t. 1 2 3 4 5";

/// What a name of the zone has.
#[derive(Debug, Clone)]
enum Profile {
    Data(bool, bool, bool),
    Alias(String),
    Cut,
    Renamed(String, bool),
}

/// Records by owner, then by type; each as it is shown.
type Records = BTreeMap<String, BTreeMap<&'static str, Vec<String>>>;

fn records(profiles: &BTreeMap<String, Profile>) -> Records {
    let mut records = Records::new();
    let apex = records.entry("t.".into()).or_default();
    apex.insert("SOA", vec!["ns.t. root.t. 1 2 3 4 5".into()]);
    apex.insert("NS", vec!["ns.t.".into()]);
    for (owner, profile) in profiles {
        let own = records.entry(owner.clone()).or_default();
        match profile {
            Profile::Data(address, text, mail) => {
                // A name that has nothing else has a text.
                if *address {
                    own.insert("A", vec!["192.0.2.1".into(), "192.0.2.2".into()]);
                }
                if *mail {
                    own.insert("MX", vec!["1 a.t.".into(), "2 b.other.".into()]);
                }
                if *text || !(*address || *mail) {
                    own.insert("TXT", vec!["text".into()]);
                }
            }
            Profile::Alias(target) => {
                own.insert("CNAME", vec![target.clone()]);
            }
            Profile::Cut => {
                own.insert("NS", vec![format!("ns.{owner}"), "ns.other.".into()]);
            }
            Profile::Renamed(target, address) => {
                own.insert("DNAME", vec![target.clone()]);
                if *address {
                    own.insert("A", vec!["192.0.2.3".into()]);
                }
            }
        }
    }
    records
}

fn file(records: &Records) -> String {
    let mut text = String::from("$TTL 60\n");
    for (owner, types) in records {
        for (rtype, all) in types {
            for data in all {
                text.push_str(&format!("{owner} {rtype} {data}\n"));
            }
        }
    }
    text
}

/// The name and all that it is below, the longest first.
fn upwards(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |name| {
        let rest = &name[name.find('.')? + 1..];
        (!rest.is_empty()).then_some(rest)
    })
}

fn is_below(name: &str, other: &str) -> bool {
    name.len() > other.len() && name.ends_with(&format!(".{other}"))
}

fn slow(records: &Records, asked: &str, rtype: &str) -> (String, BTreeSet<String>) {
    let mut lines = BTreeSet::new();
    let mut put = |section: &str, owner: &str, rtype: &str, data: &[String]| {
        lines.extend(data.iter().map(|data| format!("{section}: {owner} 60 {rtype} {data}")));
    };
    let exists = |name: &str| {
        records.contains_key(name) || records.keys().any(|owner| is_below(owner, name))
    };
    let mut name = asked.to_owned();
    let mut visited = BTreeSet::new();
    let mut has_answers = false;
    let end = loop {
        if name != "t." && !is_below(&name, "t.") {
            break "alias";
        }
        // From the apex down, the first cut or renaming is what counts.
        let above: Vec<String> = upwards(&name).map(str::to_owned).collect();
        let mut inner = above.iter().rev().filter(|one| is_below(one, "t.") || *one == "t.");
        let found = inner.find_map(|one| {
            let own = records.get(one)?;
            let cut = one != "t." && own.contains_key("NS");
            let renamed = *one != name && own.contains_key("DNAME");
            (cut || renamed).then_some((one.clone(), own, cut))
        });
        if let Some((owner, own, is_cut)) = found {
            if is_cut {
                put("authority", &owner, "NS", &own["NS"]);
                break "referral";
            }
            if !visited.insert(owner.clone()) {
                break "alias";
            }
            has_answers = true;
            put("answer", &owner, "DNAME", &own["DNAME"]);
            let target =
                format!("{}{}", name.strip_suffix(&owner).expect("below"), own["DNAME"][0]);
            put("answer", &name, "CNAME", std::slice::from_ref(&target));
            if rtype == "CNAME" {
                break "alias";
            }
            name = target;
            continue;
        }
        let source = if exists(&name) {
            name.clone()
        } else {
            let encloser = upwards(&name).find(|one| exists(one)).expect("the apex");
            let wildcard = format!("*.{encloser}");
            if !exists(&wildcard) {
                break "no name";
            }
            wildcard
        };
        let empty = BTreeMap::new();
        let own = records.get(&source).unwrap_or(&empty);
        if let Some(data) = own.get(rtype) {
            put("answer", &name, rtype, data);
            break "answer";
        }
        let Some(alias) = own.get("CNAME") else { break "no data" };
        if !visited.insert(source) {
            break "alias";
        }
        has_answers = true;
        put("answer", &name, "CNAME", alias);
        name.clone_from(&alias[0]);
    };
    if end.starts_with("no ") {
        lines.insert(format!("authority: {SOA}"));
    }
    let rcode = if end == "no name" { "NXDOMAIN" } else { "NOERROR" };
    let flags = if end == "referral" && !has_answers { "" } else { "AA" };
    (format!("{rcode} {flags}"), lines)
}

fn fast(zones: &Zones, asked: &str, rtype: &str) -> (String, BTreeSet<String>) {
    let message = query(&format!("{asked} {rtype}"));
    let answer = ask_over(zones, &Settings::default(), Transport::Tcp, &message);
    let text = shown(&answer.expect("an answer"));
    let mut lines = text.lines().map(str::to_owned);
    let head = lines.next().expect("a head");
    (head, lines.filter(|line| !line.starts_with("additional: ")).collect())
}

fn a_name() -> impl Strategy<Value = String> {
    let label = prop::sample::select(vec!["a", "b", "*", "c"]);
    proptest::collection::vec(label, 0..4).prop_map(|labels| {
        labels.iter().map(|label| format!("{label}.")).collect::<String>() + "t."
    })
}

fn a_profile() -> impl Strategy<Value = Profile> {
    let target = || prop_oneof![9 => a_name(), 1 => Just("x.other.".to_owned())];
    prop_oneof![
        5 => any::<(bool, bool, bool)>().prop_map(|(a, b, c)| Profile::Data(a, b, c)),
        3 => target().prop_map(Profile::Alias),
        1 => Just(Profile::Cut),
        1 => (target(), any::<bool>()).prop_map(|(target, address)| Profile::Renamed(target, address)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn both_ways_lead_to_the_same_answer(
        mut profiles in proptest::collection::btree_map(a_name(), a_profile(), 0..8),
        questions in proptest::collection::vec(
            (a_name(), prop::sample::select(vec!["A", "TXT", "MX", "CNAME", "NS", "DNAME"])),
            1..12,
        ),
    ) {
        // What a wildcard would mean there is nobody's to say (RFC 4592 §4.2, RFC 6672 §3.3).
        profiles.retain(|owner, profile| {
            owner != "t." && !(owner.contains('*') && matches!(profile, Profile::Cut | Profile::Renamed(..)))
        });
        let records = records(&profiles);
        let text = file(&records);
        let zones = Zones::new([zone_named(&text, "t")]);
        for (asked, rtype) in &questions {
            let expected = slow(&records, asked, rtype);
            prop_assert_eq!(fast(&zones, asked, rtype), expected, "{} {} in\n{}", asked, rtype, text);
        }
    }
}
