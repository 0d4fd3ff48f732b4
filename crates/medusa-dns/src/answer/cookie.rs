//! Cookies (RFC 7873), made as RFC 9018 says, so that servers with one secret take each other's: who has
//! one is where its address says.
//!
//! Secrets and the time are handed in.

use std::net::IpAddr;

use siphasher::sip::SipHasher24;

/// The octets of a client's cookie.
const CLIENT: usize = 8;
/// The octets of a whole cookie as it is made here.
pub(super) const WHOLE: usize = 24;
/// Version 1, and three octets that are reserved (RFC 9018 §4.1, §4.2).
const VERSION: [u8; 4] = [1, 0, 0, 0];
/// How old a cookie may be, in seconds, and how far ahead of our clock (RFC 9018 §4.3).
const OLDEST: i32 = 60 * 60;
const AHEAD: i32 = 5 * 60;
/// From when on a new one is given (RFC 9018 §4.3).
const AGEING: i32 = 30 * 60;

/// What a query's cookie comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cookie {
    /// Of no length that a cookie has (RFC 7873 §5.2.2).
    Malformed,
    /// Whether it is one of ours, and what is answered.
    Sound { is_ours: bool, reply: [u8; WHOLE] },
}

/// Looks at the cookie of a query from `address`.
pub(super) fn look(secret: &[u8; 16], cookie: &[u8], address: IpAddr, now: u32) -> Cookie {
    let Some((client, server)) = cookie.split_first_chunk::<CLIENT>() else {
        return Cookie::Malformed;
    };
    if !server.is_empty() && !(8..=32).contains(&server.len()) {
        return Cookie::Malformed;
    }
    let mut reply = [0; WHOLE];
    let make = |reply: &mut [u8; WHOLE], time: [u8; 4]| {
        reply[..CLIENT].copy_from_slice(client);
        reply[8..12].copy_from_slice(&VERSION);
        reply[12..16].copy_from_slice(&time);
        let mut input = [0; 32];
        input[..16].copy_from_slice(&reply[..16]);
        let length = match address {
            IpAddr::V4(address) => {
                input[16..20].copy_from_slice(&address.octets());
                20
            }
            IpAddr::V6(address) => {
                input[16..32].copy_from_slice(&address.octets());
                32
            }
        };
        let hash = SipHasher24::new_with_key(secret).hash(&input[..length]);
        reply[16..].copy_from_slice(&hash.to_le_bytes());
    };
    let mut is_ours = false;
    if let Ok([1, _, _, _, time @ .., _, _, _, _, _, _, _, _]) = <&[u8; 16]>::try_from(server) {
        make(&mut reply, *time);
        // Times count modulo 2³² (RFC 9018 §4.3).
        let age = now.wrapping_sub(u32::from_be_bytes(*time)) as i32;
        let same = reply[8..].iter().zip(server).fold(0, |sum, (left, right)| sum | (left ^ right));
        is_ours = same == 0 && (-AHEAD..=OLDEST).contains(&age);
        if is_ours && age < AGEING {
            return Cookie::Sound { is_ours, reply };
        }
    }
    make(&mut reply, now.to_be_bytes());
    Cookie::Sound { is_ours, reply }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(hex: &str) -> Vec<u8> {
        let digits = hex.as_bytes().chunks(2);
        digits
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    fn secret(hex: &str) -> [u8; 16] {
        octets(hex).try_into().unwrap()
    }

    #[test]
    fn cookies_are_those_of_the_rfc() {
        // RFC 9018, appendix A.
        let old = secret("e5e973e5a6b2a43f48e7dc849e37bfcf");
        let learn =
            look(&old, &octets("2464c4abcf10c957"), [198, 51, 100, 100].into(), 1_559_731_985);
        let expected = octets("2464c4abcf10c957010000005cf79f111f8130c3eee29480");
        let Cookie::Sound { is_ours: false, reply } = learn else { panic!("{learn:?}") };
        assert_eq!(reply.to_vec(), expected);
        // Within half an hour it stays.
        let kept = look(&old, &expected, [198, 51, 100, 100].into(), 1_559_731_985 + 1000);
        assert_eq!(kept, Cookie::Sound { is_ours: true, reply });
        // Later a new one is given.
        let renewed = look(&old, &expected, [198, 51, 100, 100].into(), 1_559_734_385);
        let expected = octets("2464c4abcf10c957010000005cf7a871d4a564a1442aca77");
        let Cookie::Sound { is_ours: true, reply } = renewed else { panic!("{renewed:?}") };
        assert_eq!(reply.to_vec(), expected);
        // IPv6, with another secret.
        let new = secret("445536bcd2513298075a5d379663c962");
        let address = "2001:db8:220:1:59de:d0f4:8769:82b8".parse::<IpAddr>().unwrap();
        let made = look(&new, &octets("22681ab97d52c298"), address, 1_559_741_961);
        let Cookie::Sound { reply, .. } = made else { panic!("{made:?}") };
        assert_eq!(reply.to_vec(), octets("22681ab97d52c298010000005cf7c609a6bb79d16625507a"));
    }

    #[test]
    fn whatever_is_not_ours_is_replaced() {
        let secret = [7; 16];
        let address = IpAddr::from([192, 0, 2, 1]);
        let Cookie::Sound { reply, .. } = look(&secret, &[1; 8], address, 1000) else { panic!() };
        let ours =
            |cookie: &[u8], address: IpAddr, now: u32| match look(&secret, cookie, address, now) {
                Cookie::Sound { is_ours, .. } => is_ours,
                Cookie::Malformed => panic!("{cookie:?}"),
            };
        assert!(ours(&reply, address, 1000));
        assert!(ours(&reply, address, 1000 - 299));
        assert!(!ours(&reply, address, 1000 - 301));
        assert!(!ours(&reply, address, 1000 + 3601));
        assert!(!ours(&reply, [192, 0, 2, 2].into(), 1000));
        for bit in 0..WHOLE * 8 {
            let mut wrong = reply;
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(!ours(&wrong, address, 1000), "{bit}");
        }
        for length in [0, 1, 7, 9, 15, 41] {
            assert_eq!(look(&secret, &vec![1; length], address, 0), Cookie::Malformed);
        }
    }
}
