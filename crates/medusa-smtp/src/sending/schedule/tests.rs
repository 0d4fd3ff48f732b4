//! What is taken when, with time handed in.

use proptest::prelude::*;

use super::*;

const CAPS: Caps = Caps { running: 10, per_place: 2, pause: Duration::ZERO };

struct Clock {
    scheduler: Scheduler,
    start: Instant,
}

impl Clock {
    fn new(caps: Caps) -> Clock {
        Clock { scheduler: Scheduler::new(caps), start: Instant::now() }
    }

    fn at(&self, seconds: u64) -> Instant {
        self.start + Duration::from_secs(seconds)
    }

    fn add(&mut self, id: &str, places: &[&str], next: u64) -> bool {
        let places = places.iter().map(|place| Place::from(*place)).collect();
        let (next, expires) = (self.at(next), self.at(1000));
        self.scheduler.add(id.into(), places, next, expires)
    }

    /// All that may be taken.
    fn take(&mut self, now: u64) -> Vec<Parcel> {
        let now = self.at(now);
        std::iter::from_fn(|| self.scheduler.take(now)).collect()
    }

    fn finish(&mut self, parcel: &Parcel, next: Option<u64>, health: Health, now: u64) {
        let (next, now) = (next.map(|next| self.at(next)), self.at(now));
        self.scheduler.finished(parcel, next, health, now);
    }

    fn next_due(&self) -> Option<u64> {
        self.scheduler.next_due().map(|at| (at - self.start).as_secs())
    }
}

fn shown(parcels: &[Parcel]) -> String {
    let words: Vec<_> = parcels.iter().map(|one| format!("{}@{}", one.id, one.place)).collect();
    words.join(" ")
}

#[test]
fn entries_wait_for_their_time_and_leave() {
    let mut clock = Clock::new(CAPS);
    clock.add("a", &["x", "y"], 10);
    clock.add("b", &["x"], 5);
    assert!(!clock.add("a", &["z"], 0));
    assert!(clock.take(4).is_empty());
    assert_eq!(clock.next_due(), Some(5));
    let first = clock.take(10);
    assert_eq!(shown(&first), "b@x a@y a@x");
    clock.finish(&first[0], None, Health::Good, 11);
    assert_eq!(clock.scheduler.len(), 1);
    clock.finish(&first[1], Some(70), Health::Good, 12);
    // Each destination has a time of its own, whatever the others do.
    assert_eq!(clock.next_due(), Some(70));
    assert!(clock.take(69).is_empty());
    let second = clock.take(70);
    assert_eq!(shown(&second), "a@y");
    clock.finish(&second[0], None, Health::Good, 71);
    assert_eq!(clock.scheduler.len(), 1);
    clock.finish(&first[2], None, Health::Good, 90);
    assert_eq!((clock.scheduler.len(), clock.next_due()), (0, None));
    assert!(clock.scheduler.lines.is_empty());
}

#[test]
fn limits_hold_and_destinations_take_turns() {
    let mut clock = Clock::new(Caps { running: 3, ..CAPS });
    for number in 0..4 {
        clock.add(&format!("x{number}"), &["x"], 0);
    }
    clock.add("y", &["y"], 0);
    let taken = clock.take(0);
    assert_eq!(shown(&taken), "x0@x y@y x1@x");
    clock.finish(&taken[1], None, Health::Good, 0);
    // x has two under way.
    assert!(clock.take(0).is_empty());
    clock.finish(&taken[0], None, Health::Good, 0);
    assert_eq!(shown(&clock.take(0)), "x2@x");
    clock.finish(&taken[2], None, Health::Good, 0);
    let x: Place = "x".into();
    let now = clock.at(0);
    assert_eq!(
        clock.scheduler.take_for(&x, now).map(|one| one.id.to_string()).as_deref(),
        Some("x3")
    );
    assert_eq!(clock.scheduler.take_for(&x, now), None);
}

#[test]
fn a_destination_that_is_down_rests_with_all_that_is_for_it() {
    let mut clock = Clock::new(CAPS);
    for number in 0..5 {
        clock.add(&format!("m{number}"), &["x"], 0);
    }
    let taken = clock.take(0);
    assert_eq!(shown(&taken), "m0@x m1@x");
    let down = Health::Down(Duration::from_secs(60));
    clock.finish(&taken[0], Some(300), down, 1);
    clock.finish(&taken[1], Some(300), down, 2);
    // They failed together.
    assert_eq!(clock.scheduler.failures(&"x".into()), 1);
    assert_eq!(clock.next_due(), Some(61));
    assert!(clock.take(60).is_empty());
    // One probe.
    let probe = clock.take(61);
    assert_eq!(shown(&probe), "m2@x");
    clock.finish(&probe[0], Some(400), down, 63);
    assert_eq!(clock.scheduler.failures(&"x".into()), 2);
    assert!(clock.take(122).is_empty());
    let probe = clock.take(123);
    assert_eq!(shown(&probe), "m3@x");
    clock.finish(&probe[0], None, Health::Good, 124);
    assert_eq!(shown(&clock.take(124)), "m4@x");
    assert_eq!(shown(&clock.take(300)), "m0@x");
}

#[test]
fn one_that_turns_out_to_be_there_rests_no_longer() {
    let mut clock = Clock::new(CAPS);
    for id in ["a", "b", "c"] {
        clock.add(id, &["x"], 0);
    }
    let taken = clock.take(0);
    clock.finish(&taken[0], Some(300), Health::Down(Duration::from_secs(60)), 1);
    clock.finish(&taken[1], None, Health::Good, 2);
    assert_eq!(shown(&clock.take(2)), "c@x");
}

#[test]
fn one_with_a_pause_rests_too() {
    let mut clock = Clock::new(Caps { pause: Duration::from_secs(10), ..CAPS });
    for id in ["a", "b", "c"] {
        clock.add(id, &["x"], 0);
    }
    let (x, down) = ("x".into(), Health::Down(Duration::from_secs(60)));
    let taken = clock.take(0);
    assert_eq!(shown(&taken), "a@x");
    clock.finish(&taken[0], Some(900), down, 1);
    assert!(clock.take(10).is_empty());
    assert_eq!(clock.next_due(), Some(61));
    // A probe that fails within its pause counts, and one that fails behind it.
    let probe = clock.take(61);
    assert_eq!(shown(&probe), "b@x");
    clock.finish(&probe[0], Some(900), down, 62);
    assert_eq!(clock.scheduler.failures(&x), 2);
    let probe = clock.take(122);
    assert_eq!(shown(&probe), "c@x");
    assert!(clock.take(132).is_empty());
    clock.finish(&probe[0], Some(900), down, 140);
    assert_eq!(clock.scheduler.failures(&x), 3);
    assert!(clock.take(199).is_empty());
}

#[test]
fn what_grows_too_old_in_a_line_is_handed_out() {
    let mut clock = Clock::new(CAPS);
    for (id, next) in [("a", 0), ("b", 0), ("c", 0)] {
        clock.add(id, &["x"], next);
    }
    let (x, late): (Place, _) = ("x".into(), clock.at(2000));
    clock.scheduler.add(
        "young".into(),
        vec![Arc::clone(&x)],
        clock.start,
        clock.start + Duration::from_secs(5000),
    );
    let taken = clock.take(0);
    clock.finish(&taken[0], Some(5), Health::Down(Duration::from_secs(10_000)), 0);
    let overdue = clock.scheduler.overdue(&x, late);
    assert_eq!(shown(&overdue), "c@x");
    assert!(!clock.scheduler.forget("c"), "it is under way");
    clock.finish(&overdue[0], None, Health::Unknown, 2000);
    assert!(clock.scheduler.forget("c"));
}

#[test]
fn what_waits_in_a_line_is_handed_out_once_for_its_warning() {
    let mut clock = Clock::new(CAPS);
    for id in ["a", "b", "c"] {
        clock.add(id, &["x", "y"], 0);
        clock.scheduler.warn(id, clock.at(100));
    }
    let (x, down) = (Place::from("x"), Health::Down(Duration::from_secs(500)));
    let taken = clock.take(0);
    clock.finish(&taken[0], Some(900), down, 0);
    let (early, late) = (clock.at(99), clock.at(100));
    assert!(clock.scheduler.overdue(&x, early).is_empty());
    let overdue = clock.scheduler.overdue(&x, late);
    assert_eq!(shown(&overdue), "c@x");
    clock.finish(&overdue[0], Some(200), Health::Unknown, 100);
    assert!(clock.take(200).is_empty());
    assert!(clock.scheduler.overdue(&x, clock.at(300)).is_empty(), "it has been told");
}

#[test]
fn operators_hurry_and_drop() {
    let mut clock = Clock::new(CAPS);
    clock.add("a", &["x"], 0);
    clock.add("b", &["x"], 500);
    clock.add("c", &["y"], 500);
    let taken = clock.take(0);
    clock.finish(&taken[0], Some(300), Health::Down(Duration::from_secs(900)), 0);
    let now = clock.at(1);
    clock.scheduler.hurry(Some("b"), now);
    assert_eq!(shown(&clock.take(1)), "b@x");
    clock.scheduler.hurry(None, now);
    // x is probed by one.
    assert_eq!(shown(&clock.take(1)), "c@y");
    // b was under way, and is tried again at once.
    let b = Parcel { id: "b".into(), place: "x".into() };
    clock.finish(&b, Some(900), Health::Good, 2);
    assert_eq!(shown(&clock.take(2)), "a@x b@x");
    let mut clock = Clock::new(CAPS);
    clock.add("a", &["x", "y"], 0);
    clock.add("b", &["x"], 100);
    assert!(clock.scheduler.forget("b") && clock.scheduler.forget("unknown"));
    assert_eq!(clock.take(0).len(), 2);
    assert!(!clock.scheduler.forget("a"));
    assert_eq!(clock.next_due(), None);
}

#[test]
fn one_that_is_hurried_is_before_those_in_line() {
    let mut clock = Clock::new(CAPS);
    clock.add("a", &["x"], 0);
    let taken = clock.take(0);
    clock.finish(&taken[0], Some(300), Health::Down(Duration::from_secs(900)), 0);
    for id in ["b", "c", "d"] {
        clock.add(id, &["x"], 1);
    }
    assert!(clock.take(1).is_empty());
    let now = clock.at(2);
    // One that stands in the line, and one that has yet to come there.
    clock.scheduler.hurry(Some("c"), now);
    clock.scheduler.hurry(Some("a"), now);
    for id in ["a@x", "c@x", "b@x", "d@x"] {
        let taken = clock.take(2);
        assert_eq!(shown(&taken), id);
        clock.finish(&taken[0], None, Health::Unknown, 2);
    }
}

#[test]
fn a_pause_between_two_parcels() {
    let mut clock = Clock::new(Caps { pause: Duration::from_secs(10), ..CAPS });
    clock.add("a", &["x"], 0);
    clock.add("b", &["x"], 0);
    let taken = clock.take(0);
    assert_eq!(shown(&taken), "a@x");
    clock.finish(&taken[0], None, Health::Good, 1);
    assert!(clock.take(9).is_empty());
    assert_eq!(clock.next_due(), Some(10));
    assert_eq!(shown(&clock.take(10)), "b@x");
}

#[test]
fn a_destination_may_have_limits_of_its_own() {
    let mut clock = Clock::new(CAPS);
    clock.scheduler.limit(&"x".into(), Some(1), Some(Duration::from_secs(5)));
    for id in ["a", "b", "c", "d"] {
        clock.add(id, &["x", "y"], 0);
    }
    let taken = clock.take(0);
    assert_eq!(shown(&taken), "a@x a@y b@y");
    clock.finish(&taken[0], None, Health::Good, 1);
    assert!(clock.take(4).is_empty());
    assert_eq!(shown(&clock.take(5)), "b@x");
}

#[test]
fn limits_are_kept_by_way_and_not_by_destination() {
    let mut clock = Clock::new(CAPS);
    for number in 0..100 {
        clock.scheduler.limit(&format!("3 d{number}.test").into(), Some(1), None);
    }
    assert_eq!(clock.scheduler.special.len(), 1);
    for id in ["a", "b"] {
        clock.add(id, &["3 d7.test"], 0);
        assert_eq!(clock.take(0).len(), usize::from(id == "a"));
    }
}

#[test]
fn a_hundred_thousand_entries_are_quick_and_small() {
    let mut clock = Clock::new(CAPS);
    for number in 0..100_000_u64 {
        let place = format!("0 domain-{}.example.test", number % 1000);
        clock.add(
            &format!("1795368526.M034199P18984Q{number}Rdb429933f6c0"),
            &[&place],
            number % 50,
        );
    }
    let mut count = 0;
    while clock.scheduler.len() > 0 {
        for parcel in clock.take(50) {
            clock.finish(&parcel, None, Health::Good, 50);
            count += 1;
        }
    }
    assert_eq!(count, 100_000);
    // Beside the names: an item, its places, its turn.
    assert!(size_of::<Item>() <= 160, "{}", size_of::<Item>());
}

proptest! {
    /// Whatever happens, nothing is taken twice, limits hold, and everything is sent in the end.
    #[test]
    fn nothing_is_lost_or_sent_twice(
        entries in proptest::collection::vec((proptest::collection::vec(0..4_u8, 1..4), 0..20_u64), 1..30),
        events in proptest::collection::vec((0..6_u8, any::<u8>()), 0..300),
        pause in 0..4_u64,
    ) {
        let pause = Duration::from_secs(pause);
        let mut clock = Clock::new(Caps { running: 5, per_place: 2, pause });
        let mut wanted = 0;
        for (number, (places, next)) in entries.iter().enumerate() {
            let mut places: Vec<String> = places.iter().map(|place| format!("p{place}")).collect();
            places.sort();
            places.dedup();
            wanted += places.len();
            let places: Vec<&str> = places.iter().map(String::as_str).collect();
            clock.add(&format!("e{number}"), &places, *next);
        }
        let (mut now, mut sent) = (0_u64, 0);
        let mut under_way: Vec<Parcel> = Vec::new();
        for (event, choice) in events {
            match event {
                0 => now += u64::from(choice % 10),
                1 => {
                    let at = clock.at(now);
                    let id = format!("e{}", usize::from(choice) % entries.len());
                    clock.scheduler.hurry(Some(&id), at);
                }
                2 | 3 => {
                    let at = clock.at(now);
                    let place = Place::from(format!("p{}", choice % 4));
                    let taken = match event {
                        2 => clock.scheduler.take(at),
                        _ => clock.scheduler.take_for(&place, at),
                    };
                    if let Some(parcel) = taken {
                        prop_assert!(!under_way.contains(&parcel));
                        under_way.push(parcel);
                    }
                    prop_assert!(under_way.len() <= 5);
                }
                _ if under_way.is_empty() => {}
                _ => {
                    let parcel = under_way.swap_remove(usize::from(choice) % under_way.len());
                    let (next, health) = match choice % 3 {
                        0 => (Some(now + 5), Health::Down(Duration::from_secs(7))),
                        1 => (Some(now + 5), Health::Unknown),
                        _ => (None, Health::Good),
                    };
                    sent += usize::from(next.is_none());
                    clock.finish(&parcel, next, health, now);
                }
            }
        }
        for parcel in std::mem::take(&mut under_way) {
            sent += 1;
            clock.finish(&parcel, None, Health::Good, now);
        }
        for _ in 0..1000 {
            now += 1;
            for parcel in clock.take(now) {
                sent += 1;
                clock.finish(&parcel, None, Health::Good, now);
            }
        }
        prop_assert_eq!(sent, wanted);
        prop_assert_eq!(clock.scheduler.len(), 0);
        prop_assert_eq!(clock.scheduler.running, 0);
    }
}
