//! Master files that are nearly right: what holds for any octets.

use medusa_core::testing::mutated;

use crate::answer::tests::ask_over;
use crate::answer::{Settings, Transport};
use crate::transfer::testing::apex;
use crate::zone::{Source, Zones, read_zone};

/// Files by name.
struct Files<'o>(&'o [u8]);

impl Source for Files<'_> {
    fn read(&mut self, path: &str) -> Result<Vec<u8>, String> {
        match path {
            "a.zone" => Ok(self.0.to_vec()),
            "b.zone" => Ok(b"inc A 192.0.2.77\n".to_vec()),
            // It includes what includes it.
            _ => Ok(b"inc A 192.0.2.77\n$INCLUDE a.zone\n".to_vec()),
        }
    }
}

/// Whatever octets a file has: it has faults with places, not too many, or is a zone whose every record is there
/// when it is asked for. Says whether it is a zone.
fn fuzz(octets: &[u8]) -> bool {
    let shown = String::from_utf8_lossy(octets);
    let reading = read_zone(&mut Files(octets), "a.zone", Some(&apex()));
    let zone = match reading.zone {
        Err(faults) => {
            assert!((1..=51).contains(&faults.len()), "{shown}");
            assert!(faults.iter().all(|fault| !fault.to_string().is_empty()));
            return false;
        }
        Ok(zone) => zone,
    };
    let signatures = zone.records().count().checked_sub(zone.record_count());
    assert!(signatures.is_some(), "{shown}");
    let records: Vec<_> = zone.records().take(30).collect();
    assert!(records.iter().all(|one| one.owner.wire().ends_with(apex().wire())), "{shown}");
    let zones = Zones::new([std::sync::Arc::new(zone)]);
    for record in records.iter().filter(|record| !record.rtype.is_meta()) {
        let mut message = vec![0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        message.extend_from_slice(record.owner.wire());
        message.extend_from_slice(&record.rtype.0.to_be_bytes());
        message.extend_from_slice(&[0, 1]);
        let answer = ask_over(&zones, &Settings::default(), Transport::Tcp, &message);
        let answer = answer.unwrap_or_else(|| panic!("{record:?} of {shown}"));
        // NOERROR, NXDOMAIN for what only proves, YXDOMAIN below a DNAME.
        assert!([0, 3, 6].contains(&(answer[3] & 15)), "{record:?} of {shown}");
    }
    true
}

#[test]
fn files_that_are_nearly_right() {
    const HEAD: &str =
        "$TTL 60\n@ SOA ns root ( 1 2h ; comment\n 3 4w 5 )\n@ NS ns\nns A 192.0.2.2\n";
    let corpus = [
        "www 5 IN A 192.0.2.1\n  AAAA 2001:db8::1\n  TXT \"a b\" c\\010 \\\"\n*.w CNAME www\n",
        "$ORIGIN sub\n@ MX 10 mail\nmail SRV 0 0 25 @\n$ORIGIN example.test.\nx DNAME other.\n",
        "$GENERATE 1-9/2 h${0,3,x} A 192.0.2.$\n$INCLUDE b.zone\nt TYPE65280 \\# 3 010203\n",
        "@ CAA 0 issue \"ca.test\"\nh HTTPS 1 . alpn=h2,h3 port=8443 ipv4hint=192.0.2.1\n\
         s SSHFP 1 1 0123456789abcdef0123456789abcdef01234567\n_t TLSA 3 1 1 0102\n",
        "@ DNSKEY 257 3 13 AQIDBA==\n@ NSEC ns NS SOA NSEC TYPE65280\nns RRSIG A 13 3 60 \
         20300101000000 20200101000000 1 example.test. AQID\nd DS 1 13 2 0102\nd NS ns.d\nns.d A 192.0.2.9\n",
        "@ NSEC3PARAM 1 0 1 aabb\n0p9mhaveqvm6t7vbl5lop2u3t2rp3tom NSEC3 1 1 1 aabb \
         2t7b4g4vsa5smi47k61mv5bv1a22bojr NS SOA\nn NAPTR 1 2 \"u\" \"x\" \"!a!b!\" .\nl LOC \\# 0\n",
    ];
    let corpus: Vec<_> = corpus.iter().map(|text| format!("{HEAD}{text}").into_bytes()).collect();
    let corpus: Vec<_> = corpus.iter().map(Vec::as_slice).collect();
    let zones = mutated(&corpus, 9, 3_000).filter(|octets| fuzz(octets)).count();
    assert!(zones > 150, "too few of them are zones: {zones}");
}
