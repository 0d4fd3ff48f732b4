//! Which servers to try for a destination, one after the other (RFC 5321 §5.1, RFC 7505). Pure: what is looked
//! up is asked for, and answers are handed in.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use medusa_resolver::{LookupError, Name, Question, RecordKind, Records};

use super::outcome::{Kind, Outcome, Problem};
use super::reply::Status;
use super::route::{Host, Relay};

/// Addresses tried in one attempt (Postfix's `smtp_mx_address_limit`).
const MOST_TRIED: usize = 5;

/// What is to be done now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Look these up.
    Ask(Vec<Question>),
    /// Other answers are to come.
    Wait,
    /// Connect to this server, which has this name.
    Connect(SocketAddr, Arc<str>),
    /// None is left: this is the outcome for every recipient.
    Done(Outcome),
}

/// A server that may be tried.
#[derive(Debug, Clone)]
struct Candidate {
    preference: u16,
    host: Name,
}

/// The server at hand.
#[derive(Debug)]
struct Current {
    preference: u16,
    name: Arc<str>,
    addresses: VecDeque<IpAddr>,
    /// Answers that are yet to come.
    asked: usize,
    /// Why there may be addresses that we don't know of.
    unsure: Option<LookupError>,
}

/// One attempt's way through a destination's servers.
#[derive(Debug)]
pub(crate) struct Trail {
    /// The domain, as people know it.
    domain: String,
    relay: bool,
    port: u16,
    ourselves: Arc<str>,
    candidates: VecDeque<Candidate>,
    current: Option<Current>,
    /// The preferences from here on are no better than our own.
    cut: Option<u16>,
    tried: usize,
    /// Why another attempt may go better.
    hope: Option<Outcome>,
    /// Why it won't.
    last: Option<Outcome>,
    random: u64,
}

impl Trail {
    fn new(domain: &str, relay: bool, port: u16, ourselves: &Arc<str>, random: u64) -> Trail {
        Trail {
            domain: domain.to_owned(),
            relay,
            port,
            ourselves: Arc::clone(ourselves),
            candidates: VecDeque::new(),
            current: None,
            cut: None,
            tried: 0,
            hope: None,
            last: None,
            random: random | 1,
        }
    }

    /// The way to a domain's own servers, or to an address literal.
    pub(crate) fn to_domain(
        domain: &str,
        port: u16,
        ourselves: &Arc<str>,
        random: u64,
    ) -> (Trail, Step) {
        let mut trail = Trail::new(domain, false, port, ourselves, random);
        if let Some(literal) = domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let bare = literal.get(..5).filter(|tag| tag.eq_ignore_ascii_case("IPv6:"));
            let bare = bare.map_or(literal, |_| &literal[5..]);
            let step = match bare.parse() {
                Ok(address) => trail.at(domain, address),
                Err(_) => trail.done(),
            };
            return (trail, step);
        }
        let step = match Question::new(domain, RecordKind::Mx) {
            Ok(question) => Step::Ask(vec![question]),
            Err(error) => Step::Done(Outcome::failed(Status(5, 1, 2), error.to_string())),
        };
        (trail, step)
    }

    /// The way to a relay.
    pub(crate) fn to_relay(relay: &Relay, ourselves: &Arc<str>, random: u64) -> (Trail, Step) {
        let mut trail = Trail::new(&relay.to_string(), true, relay.port, ourselves, random);
        let step = match &relay.host {
            Host::Address(address) => trail.at(&relay.host.to_string(), *address),
            Host::Name(name) => match Name::new(name) {
                Ok(host) => {
                    trail.candidates.push_back(Candidate { preference: 0, host });
                    trail.next()
                }
                Err(error) => trail.misconfigured(&error),
            },
        };
        (trail, step)
    }

    /// An answer has come.
    pub(crate) fn answered(
        &mut self,
        question: &Question,
        result: Result<Records, LookupError>,
    ) -> Step {
        match question.kind() {
            RecordKind::Mx if self.current.is_none() => self.exchanges(result),
            RecordKind::A | RecordKind::Aaaa => self.addresses(question, result),
            _ => Step::Wait,
        }
    }

    /// The server that was tried is of no use.
    pub(crate) fn failed(&mut self, problem: &Problem) -> Step {
        let outcome = problem.outcome.clone();
        match problem.kind {
            Kind::NoMail => {
                let status = Status(5, 3, 2);
                self.last = Some(Outcome {
                    status,
                    ..Outcome { fate: super::outcome::Fate::Failed, ..outcome }
                });
                // What one address of a host says holds for all of them.
                self.current = None;
            }
            Kind::Loop => {
                let preference = self.current.take().map_or(0, |current| current.preference);
                self.cut_off(preference);
                self.last = Some(Outcome { fate: super::outcome::Fate::Failed, ..outcome });
            }
            _ => self.hope = Some(outcome),
        }
        self.next()
    }

    // ---- helpers -----------------------------------------------------------------------------

    /// An address that is known.
    fn at(&mut self, name: &str, address: IpAddr) -> Step {
        self.current = Some(Current {
            preference: 0,
            name: name.into(),
            addresses: [address].into(),
            asked: 0,
            unsure: None,
        });
        self.next()
    }

    fn exchanges(&mut self, result: Result<Records, LookupError>) -> Step {
        let records = match result {
            Ok(records) => records,
            // The domain itself stands in for its MX (RFC 5321 §5.1).
            Err(LookupError::NoData) => {
                return match Name::new(&self.domain) {
                    Ok(host) => {
                        self.candidates.push_back(Candidate { preference: 0, host });
                        self.next()
                    }
                    Err(_) => self.done(),
                };
            }
            Err(LookupError::Temporary { reason }) => {
                let text = format!("{}: its MX can't be looked up now: {reason}", self.domain);
                return Step::Done(Outcome::deferred(Status(4, 4, 3), text));
            }
            Err(error) => {
                let text = format!("{}: {error}", self.domain);
                return Step::Done(Outcome::failed(Status(5, 1, 2), text));
            }
        };
        let exchanges = records.exchanges();
        if !exchanges.is_empty() && exchanges.iter().all(|(_, host)| host.is_root()) {
            // RFC 7505 §4.1.
            let text = format!("{} takes no mail (null MX)", self.domain);
            return Step::Done(Outcome::failed(Status(5, 1, 10), text));
        }
        let mut candidates: Vec<Candidate> = exchanges
            .into_iter()
            .filter(|(_, host)| !host.is_root())
            .map(|(preference, host)| Candidate { preference, host: host.clone() })
            .collect();
        // Equals in an order of their own each time (RFC 5321 §5.1).
        self.shuffle(&mut candidates);
        candidates.sort_by_key(|candidate| candidate.preference);
        let ours =
            candidates.iter().find(|one| one.host.as_str().eq_ignore_ascii_case(&self.ourselves));
        let ours = ours.map(|one| one.preference);
        self.candidates = candidates.into();
        if let Some(preference) = ours {
            self.cut_off(preference);
            let text = format!("mail for {} loops back to this server", self.domain);
            self.last = Some(Outcome::failed(Status(5, 4, 6), text));
        }
        self.next()
    }

    fn addresses(&mut self, question: &Question, result: Result<Records, LookupError>) -> Step {
        let Some(current) = &mut self.current else { return Step::Wait };
        if question.name().as_str() != &*current.name || current.asked == 0 {
            return Step::Wait;
        }
        current.asked -= 1;
        match result {
            Ok(records) => current.addresses.extend(records.addresses()),
            Err(error) if !error.is_permanent() => current.unsure = Some(error),
            Err(_) => {}
        }
        if current.asked > 0 {
            return Step::Wait;
        }
        let mut addresses = Vec::from(std::mem::take(&mut current.addresses));
        let (unsure, name) = (current.unsure.take(), Arc::clone(&current.name));
        if let (true, Some(error)) = (addresses.is_empty(), &unsure) {
            let text = format!("{name}: its address can't be looked up now: {error}");
            self.hope = Some(Outcome::deferred(Status(4, 4, 3), text));
        }
        if addresses.is_empty() && unsure.is_none() {
            self.last = Some(Outcome::failed(Status(5, 4, 4), format!("{name} has no address")));
        }
        self.shuffle(&mut addresses);
        if let Some(current) = &mut self.current {
            current.addresses = addresses.into();
        }
        self.next()
    }

    /// The next address, of this server or of the next one.
    fn next(&mut self) -> Step {
        loop {
            if let Some(current) = &mut self.current {
                if let Some(address) = current.addresses.pop_front() {
                    if self.tried >= MOST_TRIED {
                        // What those say that are left isn't known.
                        let text = format!("{}: not all of its servers were tried", self.domain);
                        let unsure = || Outcome::deferred(Status(4, 4, 1), text);
                        self.hope.get_or_insert_with(unsure);
                        return self.done();
                    }
                    self.tried += 1;
                    let target = SocketAddr::new(address, self.port);
                    return Step::Connect(target, Arc::clone(&current.name));
                }
                self.current = None;
            }
            let Some(Candidate { preference, host }) = self.candidates.pop_front() else {
                return self.done();
            };
            if self.cut.is_some_and(|cut| preference >= cut) {
                continue;
            }
            // Somebody has written an address where a name belongs; they mean it.
            if let Ok(address) = host.as_str().parse::<IpAddr>() {
                self.current = Some(Current {
                    preference,
                    name: host.as_str().into(),
                    addresses: [address].into(),
                    asked: 0,
                    unsure: None,
                });
                continue;
            }
            let kinds = [RecordKind::A, RecordKind::Aaaa];
            self.current = Some(Current {
                preference,
                name: host.as_str().into(),
                addresses: VecDeque::new(),
                asked: kinds.len(),
                unsure: None,
            });
            return Step::Ask(kinds.map(|kind| Question::of(host.clone(), kind)).into());
        }
    }

    /// None is left.
    fn done(&mut self) -> Step {
        if let Some(hope) = self.hope.take() {
            return Step::Done(hope);
        }
        let text = || format!("{} has no server that takes mail", self.domain);
        let last = self.last.take();
        let mut outcome = last.unwrap_or_else(|| Outcome::failed(Status(5, 4, 4), text()));
        if self.relay && outcome.status != Status(5, 4, 6) {
            // Whoever wrote the relay's name may mend it: mail isn't lost for that.
            outcome.fate = super::outcome::Fate::Deferred;
            outcome.status.0 = 4;
        }
        Step::Done(outcome)
    }

    fn misconfigured(&self, error: &LookupError) -> Step {
        Step::Done(Outcome::deferred(Status(4, 3, 5), format!("the relay: {error}")))
    }

    fn cut_off(&mut self, preference: u16) {
        self.cut = Some(self.cut.map_or(preference, |cut| cut.min(preference)));
    }

    /// Fisher and Yates, by xorshift: no secret hangs on it.
    fn shuffle<T>(&mut self, list: &mut [T]) {
        for end in (1..list.len()).rev() {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            let at = (self.random >> 16) % (end as u64 + 1);
            list.swap(end, at as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use medusa_resolver::{Data, Fixed};

    use super::super::outcome::Fate;
    use super::*;

    /// Follows a trail to its end, every server failing; what was tried and what it came to.
    fn follow(fixed: &Fixed, trail: (Trail, Step)) -> (Vec<String>, Outcome) {
        let (mut trail, mut step) = trail;
        let mut tried = Vec::new();
        let mut asked: VecDeque<Question> = VecDeque::new();
        for _ in 0..100 {
            step = match step {
                Step::Ask(questions) => {
                    asked.extend(questions);
                    Step::Wait
                }
                Step::Wait => {
                    let question = asked.pop_front().expect("an answer is awaited");
                    trail.answered(&question, fixed.look_up(&question))
                }
                Step::Connect(target, name) => {
                    tried.push(format!("{name} {target}"));
                    let text = format!("{name} is down");
                    trail.failed(&Problem::new(Kind::Host, Status(4, 4, 1), text))
                }
                Step::Done(outcome) => return (tried, outcome),
            };
        }
        panic!("no end")
    }

    fn domain(fixed: &Fixed, domain: &str, random: u64) -> (Vec<String>, Outcome) {
        follow(fixed, Trail::to_domain(domain, 25, &"we.test".into(), random))
    }

    fn mx(preference: u16, host: &str) -> Data {
        Data::Mx { preference, exchange: Name::new(host).unwrap() }
    }

    fn a(last: u8) -> Data {
        Data::A([192, 0, 2, last].into())
    }

    #[test]
    fn by_preference_and_at_random_among_equals() {
        let fixed = Fixed::new()
            .with("d.test", [mx(20, "c.test"), mx(10, "b.test"), mx(10, "a.test")])
            .with("a.test", [a(1)])
            .with("b.test", [a(2), Data::Aaaa("2001:db8::2".parse().unwrap())])
            .with("c.test", [a(3)]);
        let mut firsts = std::collections::HashSet::new();
        for random in 1..50 {
            let (tried, outcome) = domain(&fixed, "D.test", random * 7919);
            assert_eq!(tried.len(), 4);
            assert_eq!(tried[3], "c.test 192.0.2.3:25");
            assert_eq!(outcome.text, "c.test is down");
            assert_eq!(outcome.fate, Fate::Deferred);
            firsts.insert(tried[0].clone());
        }
        assert_eq!(firsts.len(), 3, "{firsts:?}");
    }

    #[test]
    fn without_mx_the_domain_itself() {
        let fixed = Fixed::new().with("d.test", [a(1)]);
        assert_eq!(domain(&fixed, "d.test", 1).0, ["d.test 192.0.2.1:25"]);
    }

    #[test]
    fn literals() {
        let fixed = Fixed::new();
        assert_eq!(domain(&fixed, "[192.0.2.9]", 1).0, ["[192.0.2.9] 192.0.2.9:25"]);
        assert_eq!(
            domain(&fixed, "[IPv6:2001:db8::9]", 1).0,
            ["[IPv6:2001:db8::9] [2001:db8::9]:25"]
        );
    }

    #[test]
    fn what_comes_of_no_server() {
        let lost = LookupError::temporary("nobody answers");
        let fixed = Fixed::new()
            .with("null.test", [mx(0, ".")])
            .with("empty.test", [])
            .with("hollow.test", [mx(10, "gone.test")])
            .with("loop.test", [mx(10, "we.test"), mx(20, "b.test")])
            .with(
                "backup.test",
                [mx(5, "a.test"), mx(10, "WE.test"), mx(10, "b.test"), mx(20, "b.test")],
            )
            .with("unsure.test", [mx(10, "unsure-host.test")])
            .with("a.test", [a(1)])
            .with("b.test", [a(2)])
            .with("unsure-host.test", [])
            .failing("unsure-host.test", RecordKind::A, lost.clone())
            .failing("dark.test", RecordKind::Mx, lost);
        for (name, status, fate) in [
            ("null.test", "5.1.10", Fate::Failed),
            ("missing.test", "5.1.2", Fate::Failed),
            ("empty.test", "5.4.4", Fate::Failed),
            ("hollow.test", "5.4.4", Fate::Failed),
            ("loop.test", "5.4.6", Fate::Failed),
            ("dark.test", "4.4.3", Fate::Deferred),
            ("unsure.test", "4.4.3", Fate::Deferred),
            ("-x-.test", "5.1.2", Fate::Failed),
        ] {
            let (tried, outcome) = domain(&fixed, name, 1);
            assert!(tried.is_empty(), "{name}");
            assert_eq!(
                (outcome.status.to_string().as_str(), &outcome.fate),
                (status, &fate),
                "{name}"
            );
        }
        // Those that are better than we are tried; mail waits for them.
        let (tried, outcome) = domain(&fixed, "backup.test", 1);
        assert_eq!(tried, ["a.test 192.0.2.1:25"]);
        assert_eq!(outcome.fate, Fate::Deferred);
    }

    #[test]
    fn a_server_that_turns_out_to_be_ourselves_cuts_off_the_rest() {
        let fixed = Fixed::new()
            .with("d.test", [mx(10, "a.test"), mx(20, "b.test")])
            .with("a.test", [a(1), a(2)])
            .with("b.test", [a(3)]);
        let (mut trail, _) = Trail::to_domain("d.test", 25, &"we.test".into(), 1);
        let ask = |name: &str, kind| Question::new(name, kind).unwrap();
        for (name, kind) in
            [("d.test", RecordKind::Mx), ("a.test", RecordKind::A), ("a.test", RecordKind::Aaaa)]
        {
            let question = ask(name, kind);
            let _ = trail.answered(&question, fixed.look_up(&question));
        }
        let problem = Problem::new(Kind::Loop, Status(5, 4, 6), "we.test is we");
        let Step::Done(outcome) = trail.failed(&problem) else { panic!("goes on") };
        assert_eq!((outcome.fate, outcome.status), (Fate::Failed, Status(5, 4, 6)));
    }

    #[test]
    fn relays_wait_for_their_operator() {
        let relay = |text| Trail::to_relay(&Relay::parse(text).unwrap(), &"we.test".into(), 1);
        let (tried, _) = follow(&Fixed::new(), relay("127.0.0.1:2600"));
        assert_eq!(tried, ["127.0.0.1 127.0.0.1:2600"]);
        let (tried, outcome) = follow(&Fixed::new(), relay("gone.test:26"));
        assert!(tried.is_empty());
        assert_eq!((outcome.fate, outcome.status), (Fate::Deferred, Status(4, 4, 4)));
    }

    #[test]
    fn only_so_many_are_tried() {
        let hosts: Vec<Data> = (0..20).map(|n| mx(n, &format!("h{n}.test"))).collect();
        let mut fixed = Fixed::new().with("d.test", hosts);
        for n in 0..20 {
            fixed = fixed.with(&format!("h{n}.test"), [a(n)]);
        }
        assert_eq!(domain(&fixed, "d.test", 1).0.len(), MOST_TRIED);
        // Those that say that they take no mail speak for themselves alone.
        let (mut trail, mut step) = Trail::to_domain("d.test", 25, &"we.test".into(), 1);
        let mut asked: VecDeque<Question> = VecDeque::new();
        let outcome = loop {
            step = match step {
                Step::Ask(questions) => {
                    asked.extend(questions);
                    Step::Wait
                }
                Step::Wait => {
                    let question = asked.pop_front().expect("an answer is awaited");
                    trail.answered(&question, fixed.look_up(&question))
                }
                Step::Connect(..) => {
                    trail.failed(&Problem::new(Kind::NoMail, Status(5, 3, 2), "no mail here"))
                }
                Step::Done(outcome) => break outcome,
            };
        };
        assert_eq!((outcome.fate, outcome.status), (Fate::Deferred, Status(4, 4, 1)));
    }
}
