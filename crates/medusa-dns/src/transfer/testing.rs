//! Zones and records from text, for the tests of this folder.

use crate::name::Name;
use crate::zone::{Record, Source, Zone, name_from_text, read_zone};

struct Text(String);

impl Source for Text {
    fn read(&mut self, _: &str) -> Result<Vec<u8>, String> {
        Ok(self.0.clone().into_bytes())
    }
}

pub(crate) fn apex() -> Name {
    name_from_text("example.test").unwrap()
}

/// `example.test` of this serial, with these records.
pub(crate) fn zone(serial: u32, records: &[&str]) -> Zone {
    let mut text = format!(
        "$TTL 300\n@ SOA ns1 admin {serial} 3600 600 86400 300\n@ NS ns1\nns1 A 192.0.2.53\n"
    );
    for record in records {
        text.push_str(record);
        text.push('\n');
    }
    read_zone(&mut Text(text), "example.test.zone", Some(&apex())).zone.unwrap()
}

/// One record of `example.test`.
pub(crate) fn record(text: &str) -> Record {
    let soa = "@ SOA . . 0 1 1 1 1\n";
    let text = match text.contains(" SOA ") {
        true => format!("$TTL 300\n@ NS ns1\nns1 A 192.0.2.53\n{text}\n"),
        false => format!("$TTL 300\n{soa}@ NS ns1\nns1 A 192.0.2.53\n{text}\n"),
    };
    let wanted = text.lines().last().unwrap().to_owned();
    let rtype = wanted.split(' ').nth(1).unwrap().parse().unwrap();
    let owner = match wanted.split(' ').next().unwrap() {
        "@" => apex(),
        label => name_from_text(&format!("{label}.example.test")).unwrap(),
    };
    let zone = read_zone(&mut Text(text), "example.test.zone", Some(&apex())).zone.unwrap();
    zone.records().find(|one| one.rtype == rtype && one.owner == owner).unwrap()
}
