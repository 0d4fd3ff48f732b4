//! What can be written, and what is said of what can't.

use super::*;
use proptest::prelude::*;

fn message<T: FromStr<Err = ValueError> + fmt::Debug>(text: &str) -> String {
    text.parse::<T>().expect_err(text).to_string()
}

#[test]
fn periods_are_read() {
    for (text, millis) in [
        ("30s", 30_000),
        ("5m", 300_000),
        ("365d", 31_536_000_000),
        ("1h30m", 5_400_000),
        ("1h 30m", 5_400_000),
        ("2d3h4m5s6ms", 183_845_006),
        ("500 ms", 500),
        ("0s", 0),
        ("  7s ", 7_000),
    ] {
        assert_eq!(text.parse(), Ok(Period(Duration::from_millis(millis))), "{text}");
    }
}

#[test]
fn wrong_periods_are_explained() {
    for (text, part) in [
        ("", "is empty"),
        ("-5s", "is negative"),
        ("30", "has no unit; write \"30s\" or \"30m\""),
        ("30 sec", "`sec` is not a unit here"),
        ("30S", "`S` is not a unit here"),
        ("1.5h", "not a whole number"),
        ("s", "not a whole number"),
        ("soon", "not a whole number"),
        ("5s1m", "`m` can't stand there"),
        ("5s5s", "`s` can't stand there"),
        ("1h30", "has no unit"),
        ("36526d", "too large; the most is 36525d"),
        ("99999999999999999999d", "too large"),
        ("36525d1s", "too large"),
    ] {
        let message = message::<Period>(text);
        assert!(message.contains(part), "{text}: {message}");
    }
}

#[test]
fn sizes_are_read() {
    for (text, octets) in [
        ("0 B", 0),
        ("512B", 512),
        ("64 KiB", 65_536),
        ("10 MiB", 10_485_760),
        ("2 GiB", 2_147_483_648),
        ("8388607 TiB", 8_388_607 << 40),
    ] {
        assert_eq!(text.parse(), Ok(Size(octets)), "{text}");
    }
}

#[test]
fn wrong_sizes_are_explained() {
    for (text, part) in [
        ("", "is empty"),
        ("-1 KiB", "is negative"),
        ("64", "has no unit; write \"64 B\" or \"64 KiB\""),
        ("64 KB", "`KB` is not a unit here"),
        ("64 kib", "`kib` is not a unit here"),
        ("64K", "`K` is not a unit here"),
        ("1.5 MiB", "not a whole number"),
        ("1_000 B", "not a whole number"),
        ("MiB", "not a whole number"),
        ("1 KiB 2 B", "`KiB 2 B` is not a unit here"),
        ("8388608 TiB", "too large"),
        ("18446744073709551616 B", "too large"),
    ] {
        let message = message::<Size>(text);
        assert!(message.contains(part), "{text}: {message}");
    }
}

#[test]
fn rates_are_read_and_wrong_ones_explained() {
    assert_eq!("100 B/s".parse(), Ok(Rate(100)));
    assert_eq!("1 MiB /s".parse(), Ok(Rate(1 << 20)));
    for (text, part) in [
        ("100 B", "write \"100 B/s\""),
        ("100", "write \"100 B/s\" or \"100 KiB/s\""),
        ("100/s", "has no unit"),
        ("100 KB/s", "`KB` is not a unit"),
        ("100 B/m", "`B/m` is not a unit"),
        ("", "is empty"),
        ("/s", "is empty"),
    ] {
        let message = message::<Rate>(text);
        assert!(message.contains(part), "{text}: {message}");
    }
}

#[test]
fn addresses_are_read() {
    for text in ["127.0.0.1:8080", "[::]:0", "[::1]:65535", "unix:run/medusa.sock", "unix:/run/x"] {
        assert_eq!(text.parse::<Listen>().expect(text).to_string(), text);
    }
}

#[test]
fn wrong_addresses_are_explained() {
    for (text, part) in [
        ("", "it is empty"),
        ("8080", "write \"127.0.0.1:8080\""),
        (":8080", "write \"0.0.0.0:8080\""),
        ("*:80", "write \"0.0.0.0:80\""),
        ("127.0.0.1", "the port is missing"),
        ("::1", "write \"[::1]:8080\""),
        ("127.0.0.1:70000", "at most 65535"),
        ("localhost:80", "write \"127.0.0.1:80\""),
        ("www.example.test:80", "names are not looked up"),
        ("/run/medusa.sock", "write \"unix:/run/medusa.sock\""),
        ("unix:", "the path of the socket is missing"),
        ("300.1.1.1:80", "write an IP address and a port"),
    ] {
        let message = message::<Listen>(text);
        assert!(message.contains(part), "{text}: {message}");
    }
}

proptest! {
    #[test]
    fn what_is_shown_can_be_read(millis in 0..=PERIOD_MOST_MILLIS, octets in 0..=i64::MAX as u64) {
        let period = Period(Duration::from_millis(millis));
        prop_assert_eq!(period.to_string().parse(), Ok(period));
        prop_assert_eq!(Size(octets).to_string().parse(), Ok(Size(octets)));
        prop_assert_eq!(Rate(octets).to_string().parse(), Ok(Rate(octets)));
    }

    #[test]
    fn nothing_panics(text in "\\PC{0,24}") {
        let _ = text.parse::<Period>();
        let _ = text.parse::<Size>();
        let _ = text.parse::<Rate>();
        let _ = text.parse::<Listen>();
    }

    #[test]
    fn nothing_near_a_value_panics(text in "[-0-9]{0,22}[ .,_]{0,2}[dhmsKMGTiBµ/:\\[\\]]{0,4}[0-9dhms]{0,4}") {
        let _ = text.parse::<Period>();
        let _ = text.parse::<Size>();
        let _ = text.parse::<Rate>();
        let _ = text.parse::<Listen>();
    }
}
