//! The parameters of MAIL and RCPT (RFC 5321 §4.1.2): only those of extensions that are offered are known.

use crate::replies::Reply;

/// What MAIL may say of a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct MailParameters {
    /// SIZE (RFC 1870 §6): about how many octets.
    pub size: Option<u64>,
    /// SMTPUTF8 (RFC 6531 §3.4).
    pub smtputf8: bool,
    /// BODY=8BITMIME (RFC 6152 §3).
    pub eight_bit: bool,
    /// RET (RFC 3461 §4.3): `FULL` or `HDRS`.
    pub ret: Option<String>,
    /// ENVID (RFC 3461 §4.4), as it was given.
    pub envid: Option<String>,
}

/// What RCPT may say of a recipient (RFC 3461 §4.1, §4.2), as it was given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct RcptParameters {
    pub notify: Option<String>,
    pub orcpt: Option<String>,
}

/// Which extensions are offered that have parameters and aren't offered everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offered {
    pub logins: bool,
    pub dsn: bool,
}

/// RFC 3461 §4.4 and §4.2.
const ENVID_OCTETS: usize = 100;
const ORCPT_OCTETS: usize = 500;

/// Reads what follows the path of MAIL. AUTH (RFC 4954 §5) is read where logins are offered, and not
/// believed.
pub(crate) fn mail(text: &str, offered: Offered) -> Result<MailParameters, Reply> {
    let mut parameters = MailParameters::default();
    let mut seen: Vec<String> = Vec::new();
    for parameter in split(text)? {
        let (keyword, value) = parameter?;
        let keyword = keyword.to_ascii_uppercase();
        if seen.contains(&keyword) {
            return Err(Reply::BadParameter);
        }
        match (keyword.as_str(), value) {
            ("SIZE", Some(digits)) => parameters.size = Some(number(digits)?),
            ("BODY", Some(body)) if body.eq_ignore_ascii_case("7BIT") => {}
            ("BODY", Some(body)) if body.eq_ignore_ascii_case("8BITMIME") => {
                parameters.eight_bit = true;
            }
            ("SMTPUTF8", None) => parameters.smtputf8 = true,
            ("AUTH", Some(who)) if offered.logins && (who == "<>" || is_xtext(who)) => {}
            ("AUTH", _) if offered.logins => return Err(Reply::BadParameter),
            ("RET", Some(ret)) if offered.dsn && is_among(&["FULL", "HDRS"], ret) => {
                parameters.ret = Some(ret.to_ascii_uppercase());
            }
            ("ENVID", Some(envid))
                if offered.dsn && envid.len() <= ENVID_OCTETS && is_xtext(envid) =>
            {
                parameters.envid = Some(envid.to_owned());
            }
            ("RET" | "ENVID", _) if offered.dsn => return Err(Reply::BadParameter),
            ("SIZE" | "BODY" | "SMTPUTF8", _) => return Err(Reply::BadParameter),
            _ => return Err(Reply::UnknownParameter),
        }
        seen.push(keyword);
    }
    Ok(parameters)
}

/// Reads what follows the path of RCPT.
pub(crate) fn rcpt(text: &str, offered: Offered) -> Result<RcptParameters, Reply> {
    let mut parameters = RcptParameters::default();
    for parameter in split(text)? {
        let (keyword, value) = parameter?;
        let place = match keyword.to_ascii_uppercase().as_str() {
            "NOTIFY" if offered.dsn => &mut parameters.notify,
            "ORCPT" if offered.dsn => &mut parameters.orcpt,
            _ => return Err(Reply::UnknownParameter),
        };
        let is_right = |value: &&str| match keyword.len() {
            5 => is_original_recipient(value),
            _ => is_notify(value),
        };
        match value.filter(is_right) {
            Some(value) if place.is_none() => *place = Some(value.to_owned()),
            _ => return Err(Reply::BadParameter),
        }
    }
    Ok(parameters)
}

fn is_among(words: &[&str], word: &str) -> bool {
    words.iter().any(|one| one.eq_ignore_ascii_case(word))
}

/// `NEVER`, or what the sender is to be told of, each once.
fn is_notify(text: &str) -> bool {
    let words: Vec<String> = text.split(',').map(str::to_ascii_uppercase).collect();
    let is_once = |(at, word): (usize, &String)| !words[..at].contains(word);
    text.eq_ignore_ascii_case("NEVER")
        || words.iter().all(|word| is_among(&["SUCCESS", "FAILURE", "DELAY"], word))
            && words.iter().enumerate().all(is_once)
}

/// `rfc822;` and an address in xtext, or another kind; what isn't ASCII is for `utf-8` (RFC 6533 §3).
fn is_original_recipient(text: &str) -> bool {
    let Some((kind, address)) = text.split_once(';') else { return false };
    let is_kind = !kind.is_empty() && kind.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
    let is_address = match kind.eq_ignore_ascii_case("utf-8") {
        // Its escapes have a backslash, `x{…}`; all else stands for itself.
        true => !address.contains(char::is_control),
        false => is_xtext(address),
    };
    text.len() <= ORCPT_OCTETS && is_kind && !address.is_empty() && is_address
}

/// Printable ASCII; `+` and two digits, hexadecimal and upper case, for what isn't (RFC 3461 §4).
fn is_xtext(text: &str) -> bool {
    let octets = text.as_bytes();
    let is_digit =
        |at: usize| octets.get(at).is_some_and(|c| c.is_ascii_digit() || (b'A'..=b'F').contains(c));
    octets.iter().enumerate().all(|(at, octet)| match octet {
        b'+' => is_digit(at + 1) && is_digit(at + 2),
        octet => octet.is_ascii_graphic() && *octet != b'=',
    })
}

type Parameter<'t> = (&'t str, Option<&'t str>);

/// `SP keyword[=value]`, again and again. Trailing white space is no harm.
fn split(text: &str) -> Result<impl Iterator<Item = Result<Parameter<'_>, Reply>>, Reply> {
    if !text.is_empty() && !text.starts_with([' ', '\t']) {
        return Err(Reply::BadParameter);
    }
    Ok(text.split_ascii_whitespace().map(|word| {
        let (keyword, value) = match word.split_once('=') {
            Some((keyword, value)) => (keyword, Some(value)),
            None => (word, None),
        };
        let named = keyword.starts_with(|c: char| c.is_ascii_alphanumeric())
            && keyword.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        let valued = value
            .is_none_or(|v| !v.is_empty() && !v.contains('=') && !v.contains(char::is_control));
        if named && valued { Ok((keyword, value)) } else { Err(Reply::BadParameter) }
    }))
}

/// Up to 20 digits (RFC 1870 §6); what overflows is larger than any limit.
fn number(digits: &str) -> Result<u64, Reply> {
    match !digits.is_empty() && digits.len() <= 20 && digits.bytes().all(|d| d.is_ascii_digit()) {
        true => Ok(digits.parse().unwrap_or(u64::MAX)),
        false => Err(Reply::BadParameter),
    }
}

/// What BDAT says: octets, and whether they are the last (RFC 3030 §2).
pub(crate) fn bdat(text: &str) -> Option<(u64, bool)> {
    let mut words = text.split_ascii_whitespace();
    let size = number(words.next()?).ok()?;
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case("LAST") => true,
        Some(_) => return None,
    };
    words.next().is_none().then_some((size, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_mail() {
        let some = Offered { logins: true, dsn: false };
        let read = |text| mail(text, some);
        let none = MailParameters::default();
        assert_eq!(read(""), Ok(none.clone()));
        assert_eq!(read("  "), Ok(none.clone()));
        assert_eq!(
            read(" size=12 body=7bit"),
            Ok(MailParameters { size: Some(12), ..none.clone() })
        );
        assert_eq!(
            read(" SMTPUTF8 BODY=8BITMIME"),
            Ok(MailParameters { smtputf8: true, eight_bit: true, ..none.clone() })
        );
        assert_eq!(read(" SIZE=99999999999999999999").unwrap().size, Some(u64::MAX));
        assert_eq!(read(" AUTH=<>"), Ok(none.clone()));
        assert_eq!(read(" AUTH=a+2Bb@c"), Ok(none));
        assert_eq!(read(" AUTH=a+2gb@c"), Err(Reply::BadParameter));
        let nothing = Offered { logins: false, dsn: false };
        assert_eq!(mail(" AUTH=<>", nothing), Err(Reply::UnknownParameter));
        for bad in [
            "SIZE=1",
            " SIZE",
            " SIZE=",
            " SIZE=-1",
            " SIZE=1x",
            " SIZE=1=2",
            " SIZE=1 SIZE=1",
            " BODY",
            " BODY=BINARYMIME",
            " SMTPUTF8=1",
            " =5",
            " -A",
            " SIZE=999999999999999999999",
        ] {
            assert_eq!(read(bad), Err(Reply::BadParameter), "{bad}");
        }
        for unknown in [" RET=FULL", " X", " ENVID=5"] {
            assert_eq!(read(unknown), Err(Reply::UnknownParameter), "{unknown}");
        }
        assert_eq!(rcpt("", some), Ok(RcptParameters::default()));
        assert_eq!(rcpt(" NOTIFY=NEVER", some), Err(Reply::UnknownParameter));
        assert_eq!(rcpt("x", some), Err(Reply::BadParameter));
    }

    #[test]
    fn parameters_of_delivery_status_notifications() {
        let all = Offered { logins: true, dsn: true };
        let read = mail(" RET=hdrs ENVID=QQ+3D314", all).unwrap();
        assert_eq!((read.ret.as_deref(), read.envid.as_deref()), (Some("HDRS"), Some("QQ+3D314")));
        let long = format!(" ENVID={}", "x".repeat(101));
        for bad in
            [" RET=ALL", " RET", " ENVID=", " ENVID=a+", " ENVID=+3d", " ENVID=\u{fc}", &long]
        {
            assert_eq!(mail(bad, all), Err(Reply::BadParameter), "{bad}");
        }
        for good in ["NEVER", "success", "SUCCESS,FAILURE,DELAY", "delay,Failure"] {
            let read = rcpt(&format!(" NOTIFY={good}"), all).unwrap();
            assert_eq!(read.notify.as_deref(), Some(good));
        }
        for bad in ["", "NEVER,DELAY", "SUCCESS,", "DELAY,delay", "ALWAYS", "SUCCESS;DELAY"] {
            assert_eq!(rcpt(&format!(" NOTIFY={bad}"), all), Err(Reply::BadParameter), "{bad}");
        }
        for good in ["rfc822;a+2Bb@c.test", "X-4;5", "utf-8;\u{fc}@c.test"] {
            let read = rcpt(&format!(" ORCPT={good}"), all).unwrap();
            assert_eq!(read.orcpt.as_deref(), Some(good));
        }
        let long = format!("rfc822;{}", "x".repeat(500));
        for bad in ["a@b.test", ";a", "rfc822;", "rfc822;+zz", "rfc822;\u{fc}", "a b;c", &long] {
            assert_eq!(
                rcpt(&format!(" ORCPT={bad}"), all).unwrap_err().parts().0 / 100,
                5,
                "{bad}"
            );
        }
        assert_eq!(rcpt(" NOTIFY=NEVER NOTIFY=NEVER", all), Err(Reply::BadParameter));
        assert_eq!(rcpt(" RET=FULL", all), Err(Reply::UnknownParameter));
    }

    #[test]
    fn chunks() {
        assert_eq!(bdat("5"), Some((5, false)));
        assert_eq!(bdat(" 0  last "), Some((0, true)));
        for bad in ["", "x", "-1", "5 LATE", "5 LAST LAST", "+5", "5,LAST"] {
            assert_eq!(bdat(bad), None, "{bad}");
        }
    }
}
