//! Which content coding a client gets (RFC 9110 §12.5.3). Pure.

/// A content coding that may be sent. `Brotli` only where it lies ready beside the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Coding {
    Identity,
    Gzip,
    Brotli,
}

impl Coding {
    /// What the client calls it; `None` for no coding at all.
    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some("gzip"),
            Self::Brotli => Some("br"),
        }
    }
}

/// How much a client wants each coding, in thousandths; 0 is not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    identity: u16,
    gzip: u16,
    brotli: u16,
}

impl Accepted {
    /// A client that says nothing gets no coding: it may take any, but those that can't decode are
    /// those that say nothing.
    pub(crate) const IDENTITY: Self = Self { identity: 1000, gzip: 0, brotli: 0 };

    /// Reads an Accept-Encoding field. What can't be understood of it is passed over.
    pub(crate) fn parse(field: &[u8]) -> Self {
        let (mut identity, mut gzip, mut brotli, mut any) = (None, None, None, None);
        for element in field.split(|&byte| byte == b',') {
            let mut parts = element.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
            let name = parts.next().unwrap_or_default();
            let weight = match parts.find_map(weight) {
                Some(Some(weight)) => weight,
                Some(None) => continue,
                None => 1000,
            };
            let place = match name {
                b"*" => &mut any,
                name if name.eq_ignore_ascii_case(b"identity") => &mut identity,
                // RFC 9110 §8.4.1.3: x-gzip is the same.
                name if name.eq_ignore_ascii_case(b"gzip") => &mut gzip,
                name if name.eq_ignore_ascii_case(b"x-gzip") => &mut gzip,
                name if name.eq_ignore_ascii_case(b"br") => &mut brotli,
                _ => continue,
            };
            place.get_or_insert(weight);
        }
        Self {
            // Acceptable unless excluded, and the least wanted where it isn't named.
            identity: identity.unwrap_or(if any == Some(0) { 0 } else { 1 }),
            gzip: gzip.or(any).unwrap_or(0),
            brotli: brotli.or(any).unwrap_or(0),
        }
    }

    /// Whether this coding may be sent and isn't less wanted than none.
    pub(crate) fn prefers(&self, coding: Coding) -> bool {
        let weight = match coding {
            Coding::Identity => return true,
            Coding::Gzip => self.gzip,
            Coding::Brotli => self.brotli,
        };
        weight > 0 && weight >= self.identity
    }

    /// Whether brotli is to be looked for before gzip: on a tie, since it is the smaller.
    pub(crate) fn brotli_first(&self) -> bool {
        self.brotli >= self.gzip
    }
}

/// A parameter `q=`: `Some(Some(_))`, or `Some(None)` where its value is malformed; `None` for
/// another parameter. A weight is `0[.ddd]` or `1[.000]` (RFC 9110 §12.4.2).
fn weight(parameter: &[u8]) -> Option<Option<u16>> {
    let [b'q' | b'Q', b'=', value @ ..] = parameter else {
        return None;
    };
    let (whole, fraction) = match value {
        [whole] => (*whole, &[][..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (*whole, fraction),
        _ => return Some(None),
    };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Some(None);
    }
    let thousandths = (0..3).fold(0, |sum, place| {
        sum * 10 + fraction.get(place).map_or(0, |digit| u16::from(digit - b'0'))
    });
    Some(match (whole, thousandths) {
        (b'0', thousandths) => Some(thousandths),
        (b'1', 0) => Some(1000),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_field_brings_it_down(
            field in "[a-z*;=,. \t0-9]{0,40}",
            octets in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let _ = Accepted::parse(&octets);
            let accepted = Accepted::parse(field.as_bytes());
            // What isn't named can't be wanted.
            let names = |name: &str| field.contains(name) || field.contains('*');
            prop_assert!(!accepted.prefers(Coding::Gzip) || names("gzip"));
            prop_assert!(!accepted.prefers(Coding::Brotli) || names("br"));
        }
    }

    #[test]
    fn a_table_of_what_clients_accept() {
        // Accept-Encoding; whether gzip, whether brotli, whether brotli first.
        let table = [
            ("gzip, deflate, br, zstd", true, true, true),
            ("gzip, deflate", true, false, false),
            ("GZIP", true, false, false),
            ("x-gzip", true, false, false),
            ("br;q=0.5, gzip;q=0.8", true, true, false),
            ("br;q=0.8 , gzip; q=0.5", true, true, true),
            ("gzip;q=0", false, false, true),
            ("gzip;q=0.000", false, false, true),
            ("gzip;q=0.001", true, false, false),
            ("*", true, true, true),
            ("*;q=0.5", true, true, true),
            ("*;q=0", false, false, true),
            ("gzip, *;q=0", true, false, false),
            ("br, *;q=0", false, true, true),
            ("gzip;q=0, *", false, true, true),
            ("identity", false, false, true),
            ("identity, gzip", true, false, false),
            ("identity, gzip;q=0.5", false, false, false),
            ("identity;q=0.5, gzip", true, false, false),
            ("identity;q=0", false, false, true),
            ("", false, false, true),
            ("gzip;q=2", false, false, true),
            ("gzip;q=0.1234", false, false, true),
            ("gzip;q=", false, false, true),
            ("gzip;q=1.001", false, false, true),
            ("gzip;level=9;q=0.5", true, false, false),
            ("gzipx, xbr", false, false, true),
            (",,gzip,", true, false, false),
        ];
        for (field, gzip, brotli, brotli_first) in table {
            let accepted = Accepted::parse(field.as_bytes());
            assert_eq!(accepted.prefers(Coding::Gzip), gzip, "gzip in {field}");
            assert_eq!(accepted.prefers(Coding::Brotli), brotli, "br in {field}");
            assert_eq!(accepted.brotli_first(), brotli_first, "order in {field}");
            assert!(accepted.prefers(Coding::Identity));
        }
        assert!(!Accepted::IDENTITY.prefers(Coding::Gzip));
        assert!(!Accepted::IDENTITY.prefers(Coding::Brotli));
    }
}
