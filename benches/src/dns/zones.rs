//! The zones that every server serves and the questions that are asked, made anew for each run and the same
//! each time.

use std::fmt::Write as _;

use crate::site::Numbers;

/// The zone's name.
pub(super) const APEX: &str = "bench.test";

/// How many questions a file holds: more than fit the caches, so that names aren't asked in a row.
const QUESTIONS: usize = 100_000;

/// A zone of so many names: hosts, aliases, mail, text and delegations, one in twenty signed for below.
pub(super) fn zone(names: usize) -> String {
    let mut text = String::with_capacity(names * 48);
    let head = "$ORIGIN bench.test.\n$TTL 3600\n\
        @ SOA ns1 hostmaster 1 3600 900 604800 300\n@ NS ns1\n@ NS ns2\n@ MX 10 mail\n\
        ns1 A 192.0.2.1\nns2 A 192.0.2.2\nmail A 192.0.2.3\n";
    text.push_str(head);
    for number in 0..names {
        let (a, b, c) = (number >> 16 & 0xFF, number >> 8 & 0xFF, number & 0xFF);
        let _ = match kind(number) {
            Kind::Host => writeln!(text, "n{number} A 10.{a}.{b}.{c}"),
            Kind::Both => writeln!(
                text,
                "n{number} A 10.{a}.{b}.{c}\nn{number} AAAA 2001:db8::{:x}:{:x}",
                number >> 16,
                number & 0xFFFF
            ),
            Kind::Mail => {
                writeln!(text, "n{number} MX 10 mail\nn{number} MX 20 n{}", number / 20 * 20)
            }
            Kind::Alias => writeln!(text, "n{number} CNAME n{}", number / 20 * 20),
            Kind::Text => writeln!(text, "n{number} TXT \"v=spf1 ip4:10.{a}.{b}.{c} -all\""),
            Kind::Delegation => writeln!(
                text,
                "n{number} NS a.n{number}\nn{number} NS ns.elsewhere.test.\na.n{number} A 10.{a}.{b}.{c}"
            ),
        };
    }
    text
}

/// What a name of a zone has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Host,
    Both,
    Mail,
    Alias,
    Text,
    Delegation,
}

/// Of twenty names eleven are hosts with an address, and three with two.
fn kind(number: usize) -> Kind {
    match number % 20 {
        0..11 => Kind::Host,
        11..14 => Kind::Both,
        14 => Kind::Mail,
        15..17 => Kind::Alias,
        17 => Kind::Text,
        _ => Kind::Delegation,
    }
}

/// Questions for a zone of so many names, a line each as dnsperf reads them. One in ten is for a name that
/// isn't there.
pub(super) fn questions(names: usize) -> String {
    let mut numbers = Numbers::new(6);
    let mut text = String::with_capacity(QUESTIONS * 24);
    for _ in 0..QUESTIONS {
        let number = numbers.next() as usize % names;
        let lot = numbers.next() % 10;
        let _ = match (lot, kind(number)) {
            (0, _) => writeln!(text, "x{number}.{APEX} A"),
            (_, Kind::Host | Kind::Alias) => writeln!(text, "n{number}.{APEX} A"),
            (1..5, Kind::Both) => writeln!(text, "n{number}.{APEX} A"),
            (_, Kind::Both) => writeln!(text, "n{number}.{APEX} AAAA"),
            (_, Kind::Mail) => writeln!(text, "n{number}.{APEX} MX"),
            (_, Kind::Text) => writeln!(text, "n{number}.{APEX} TXT"),
            (_, Kind::Delegation) => writeln!(text, "www.n{number}.{APEX} A"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_and_questions_are_the_same_each_time() {
        let text = zone(40);
        assert_eq!(text.lines().filter(|line| line.contains(" NS a.n")).count(), 4);
        assert_eq!(text.lines().filter(|line| line.contains(" AAAA ")).count(), 6);
        let asked = questions(1000);
        assert_eq!(asked, questions(1000));
        assert_eq!(asked.lines().count(), QUESTIONS);
        let missing = asked.lines().filter(|line| line.starts_with('x')).count();
        assert!((9_000..11_000).contains(&missing), "{missing}");
    }
}
