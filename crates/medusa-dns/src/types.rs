//! Numbers that DNS has names for: record types, classes, opcodes and response codes.
//!
//! What the records of a type hold is in `zone::rdata`.

use std::fmt;
use std::str::FromStr;

/// The type of a record or of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordType(pub u16);

macro_rules! record_types {
    ($($name:ident $text:literal $number:literal)*) => {
        #[allow(missing_docs)]
        impl RecordType {
            $(pub const $name: RecordType = RecordType($number);)*
        }

        /// Names by number, in the order of the IANA's registry.
        const NAMES: &[(u16, &str)] = &[$(($number, $text)),*];
    };
}

record_types! {
    A "A" 1
    NS "NS" 2
    MD "MD" 3
    MF "MF" 4
    CNAME "CNAME" 5
    SOA "SOA" 6
    MB "MB" 7
    MG "MG" 8
    MR "MR" 9
    NULL "NULL" 10
    WKS "WKS" 11
    PTR "PTR" 12
    HINFO "HINFO" 13
    MINFO "MINFO" 14
    MX "MX" 15
    TXT "TXT" 16
    RP "RP" 17
    AFSDB "AFSDB" 18
    X25 "X25" 19
    ISDN "ISDN" 20
    RT "RT" 21
    SIG "SIG" 24
    KEY "KEY" 25
    PX "PX" 26
    AAAA "AAAA" 28
    LOC "LOC" 29
    SRV "SRV" 33
    NAPTR "NAPTR" 35
    KX "KX" 36
    CERT "CERT" 37
    DNAME "DNAME" 39
    OPT "OPT" 41
    APL "APL" 42
    DS "DS" 43
    SSHFP "SSHFP" 44
    IPSECKEY "IPSECKEY" 45
    RRSIG "RRSIG" 46
    NSEC "NSEC" 47
    DNSKEY "DNSKEY" 48
    DHCID "DHCID" 49
    NSEC3 "NSEC3" 50
    NSEC3PARAM "NSEC3PARAM" 51
    TLSA "TLSA" 52
    SMIMEA "SMIMEA" 53
    HIP "HIP" 55
    CDS "CDS" 59
    CDNSKEY "CDNSKEY" 60
    OPENPGPKEY "OPENPGPKEY" 61
    CSYNC "CSYNC" 62
    ZONEMD "ZONEMD" 63
    SVCB "SVCB" 64
    HTTPS "HTTPS" 65
    SPF "SPF" 99
    NID "NID" 104
    L32 "L32" 105
    L64 "L64" 106
    LP "LP" 107
    EUI48 "EUI48" 108
    EUI64 "EUI64" 109
    TKEY "TKEY" 249
    TSIG "TSIG" 250
    IXFR "IXFR" 251
    AXFR "AXFR" 252
    MAILB "MAILB" 253
    MAILA "MAILA" 254
    ANY "ANY" 255
    URI "URI" 256
    CAA "CAA" 257
    AVC "AVC" 258
    AMTRELAY "AMTRELAY" 260
    RESINFO "RESINFO" 261
    WALLET "WALLET" 262
    TA "TA" 32768
    DLV "DLV" 32769
}

impl RecordType {
    /// Whether it stands for no data: the types that only a question or a message has (RFC 6895 §3.1).
    pub fn is_meta(self) -> bool {
        self == RecordType::OPT || (128..=255).contains(&self.0) || self.0 == 0
    }
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.binary_search_by_key(&self.0, |(number, _)| *number) {
            Ok(index) => f.write_str(NAMES[index].1),
            // RFC 3597 §5.
            Err(_) => write!(f, "TYPE{}", self.0),
        }
    }
}

/// A word that names no record type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a record type")]
pub struct UnknownType;

impl FromStr for RecordType {
    type Err = UnknownType;

    fn from_str(text: &str) -> Result<Self, UnknownType> {
        if let Some((number, _)) = NAMES.iter().find(|(_, name)| name.eq_ignore_ascii_case(text)) {
            return Ok(RecordType(*number));
        }
        let (word, number) = text.split_at_checked(4).ok_or(UnknownType)?;
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let number = number.parse().ok().filter(|_| digits && word.eq_ignore_ascii_case("TYPE"));
        number.map(RecordType).ok_or(UnknownType)
    }
}

/// Classes.
pub mod class {
    /// The internet.
    pub const IN: u16 = 1;
    /// Chaosnet, which servers answer questions about themselves in.
    pub const CH: u16 = 3;
    /// None, in updates (RFC 2136).
    pub const NONE: u16 = 254;
    /// Any.
    pub const ANY: u16 = 255;
}

/// What is asked for.
pub mod opcode {
    /// A question.
    pub const QUERY: u8 = 0;
    /// A zone has changed (RFC 1996).
    pub const NOTIFY: u8 = 4;
    /// A zone is to be changed (RFC 2136).
    pub const UPDATE: u8 = 5;
}

/// How it went. The numbers above 15 need EDNS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rcode(pub u16);

#[allow(missing_docs)]
impl Rcode {
    pub const NOERROR: Rcode = Rcode(0);
    pub const FORMERR: Rcode = Rcode(1);
    pub const SERVFAIL: Rcode = Rcode(2);
    pub const NXDOMAIN: Rcode = Rcode(3);
    pub const NOTIMP: Rcode = Rcode(4);
    pub const REFUSED: Rcode = Rcode(5);
    pub const YXDOMAIN: Rcode = Rcode(6);
    pub const NOTAUTH: Rcode = Rcode(9);
    pub const BADVERS: Rcode = Rcode(16);
    pub const BADCOOKIE: Rcode = Rcode(23);
}

impl fmt::Display for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            0 => "NOERROR",
            1 => "FORMERR",
            2 => "SERVFAIL",
            3 => "NXDOMAIN",
            4 => "NOTIMP",
            5 => "REFUSED",
            6 => "YXDOMAIN",
            9 => "NOTAUTH",
            16 => "BADVERS",
            23 => "BADCOOKIE",
            other => return write!(f, "RCODE{other}"),
        };
        f.write_str(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_one_name_and_one_number() {
        assert!(NAMES.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for (number, name) in NAMES {
            assert_eq!(name.to_lowercase().parse(), Ok(RecordType(*number)));
            assert_eq!(RecordType(*number).to_string(), *name);
        }
        assert_eq!("type65280".parse(), Ok(RecordType(65280)));
        assert_eq!(RecordType(65280).to_string(), "TYPE65280");
        for wrong in ["TYPE", "TYPE-1", "TYPE+1", "TYPE65536", "B", "", "IN"] {
            assert_eq!(wrong.parse::<RecordType>(), Err(UnknownType), "{wrong}");
        }
    }
}
