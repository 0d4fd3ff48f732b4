//! The engine under whatever may happen, in whatever order.

use super::*;

/// Something that happens to the engine.
#[derive(Debug, Clone)]
enum Event {
    Ask(u8),
    /// One of the packets under way is answered so, with flags, and an alias or not.
    Answer(usize, u16, bool),
    /// The same, with an octet changed.
    Mangle(usize, usize),
    Unreachable(usize),
    Hangup(usize, bool),
    Advance(u64),
    Servers(u8),
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0..8_u8).prop_map(Event::Ask),
        8 => (any::<usize>(), prop_oneof![4 => Just(0), 1 => Just(2), 1 => Just(3), 1 => Just(1), 1 => Just(TC)], any::<bool>())
            .prop_map(|(which, flags, alias)| Event::Answer(which, flags, alias)),
        2 => (any::<usize>(), any::<usize>()).prop_map(|(which, at)| Event::Mangle(which, at)),
        1 => any::<usize>().prop_map(Event::Unreachable),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(which, failed)| Event::Hangup(which, failed)),
        4 => (0..3000_u64).prop_map(Event::Advance),
        1 => any::<u8>().prop_map(Event::Servers),
    ]
}

proptest! {
    /// Whatever happens in whatever order: whoever waits is told, once, and nothing is left behind.
    #[test]
    fn nobody_is_forgotten(events in proptest::collection::vec(events(), 1..120)) {
        const SERVERS: [&str; 4] = ["192.0.2.1", "192.0.2.2", "tls://192.0.2.3", "tls://192.0.2.4"];
        let pace = Pace { outstanding: 5, waiting: 12, ..Pace::default() };
        let mut net = Net::with(&SERVERS[..3], pace);
        let (mut wire, mut waiting, mut heard) = (Vec::new(), BTreeSet::new(), Vec::new());
        for event in events {
            match event {
                Event::Ask(name) => {
                    let number = net.next;
                    if net.ask(&format!("name-{name}.test")).is_none() {
                        waiting.insert(number);
                    }
                }
                Event::Advance(by) => { net.advance(ms(by)); }
                Event::Servers(mask) => {
                    let chosen = SERVERS.iter().enumerate().filter(|(i, _)| mask >> i & 1 == 1);
                    let chosen: Vec<_> = chosen.map(|(_, one)| one.parse().expect("one")).collect();
                    net.engine.set_servers(&chosen, pace, net.now);
                }
                Event::Answer(which, ..) | Event::Mangle(which, _) | Event::Unreachable(which)
                | Event::Hangup(which, _) if !wire.is_empty() => {
                    let index = which % wire.len();
                    let answer = |asked: &[u8]| {
                        let owner = question(asked).0;
                        let (flags, alias) = match event {
                            Event::Answer(_, flags, alias) => (flags, alias),
                            _ => (0, false),
                        };
                        let answers = match alias {
                            true => vec![record(&owner, 5, 60, name("name-0.test"))],
                            false if flags == 0 => vec![a(&owner, 2)],
                            false => Vec::new(),
                        };
                        let mut bytes = reply(asked, flags, &answers, &[]);
                        if let Event::Mangle(_, at) = event {
                            let at = at % bytes.len();
                            bytes[at] ^= 0x55;
                        }
                        bytes
                    };
                    match (&wire[index], &event) {
                        (Transmit::Datagram { path, .. }, Event::Unreachable(_)) => {
                            net.engine.handle_unreachable(*path, which % 2 == 0, net.now);
                        }
                        (Transmit::Stream { server, .. }, Event::Hangup(_, failed)) => {
                            net.engine.handle_hangup(*server, *failed, net.now);
                        }
                        (Transmit::Datagram { path, to, bytes }, _) => {
                            net.engine.handle_datagram(*path, *to, &answer(bytes), net.now);
                        }
                        (Transmit::Stream { server, bytes }, _) => {
                            net.engine.handle_message(*server, &answer(bytes), net.now);
                        }
                        _ => {}
                    }
                }
                _ => {}
            }
            let sent = std::iter::from_fn(|| net.engine.poll_transmit());
            wire.extend(sent.filter(|one| !matches!(one, Transmit::Close { .. })));
            heard.extend(std::iter::from_fn(|| net.engine.poll_answer()).map(|(number, _)| number));
            prop_assert!(net.engine.outstanding() <= 5);
            prop_assert_eq!(net.engine.waiting + heard.len(), waiting.len());
        }
        for _ in 0..4 {
            net.advance(ms(20_000));
        }
        heard.extend(std::iter::from_fn(|| net.engine.poll_answer()).map(|(number, _)| number));
        let all: BTreeSet<u32> = heard.iter().copied().collect();
        prop_assert_eq!(heard.len(), all.len(), "told once");
        prop_assert_eq!(all, waiting);
        prop_assert!(net.is_clean());
    }
}
