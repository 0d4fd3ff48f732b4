//! The parameters of MAIL and RCPT (RFC 5321 §4.1.2): only those of extensions that are offered are known.

use crate::replies::Reply;

/// What MAIL may say of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct MailParameters {
    /// SIZE (RFC 1870 §6): about how many octets.
    pub size: Option<u64>,
    /// SMTPUTF8 (RFC 6531 §3.4).
    pub smtputf8: bool,
    /// BODY=8BITMIME (RFC 6152 §3).
    pub eight_bit: bool,
}

/// Reads what follows the path of MAIL. AUTH (RFC 4954 §5) is read where logins are offered, and not
/// believed.
pub(crate) fn mail(text: &str, logins: bool) -> Result<MailParameters, Reply> {
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
            ("AUTH", Some(_)) if logins => {}
            ("SIZE" | "BODY" | "SMTPUTF8", _) => return Err(Reply::BadParameter),
            _ => return Err(Reply::UnknownParameter),
        }
        seen.push(keyword);
    }
    Ok(parameters)
}

/// Reads what follows the path of RCPT: nothing is known there.
pub(crate) fn rcpt(text: &str) -> Result<(), Reply> {
    match split(text)?.next() {
        None => Ok(()),
        Some(Ok(_)) => Err(Reply::UnknownParameter),
        Some(Err(reply)) => Err(reply),
    }
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
        let read = |text| mail(text, true);
        let none = MailParameters::default();
        assert_eq!(read(""), Ok(none));
        assert_eq!(read("  "), Ok(none));
        assert_eq!(read(" size=12 body=7bit"), Ok(MailParameters { size: Some(12), ..none }));
        assert_eq!(
            read(" SMTPUTF8 BODY=8BITMIME"),
            Ok(MailParameters { smtputf8: true, eight_bit: true, ..none })
        );
        assert_eq!(read(" SIZE=99999999999999999999").unwrap().size, Some(u64::MAX));
        assert_eq!(read(" AUTH=<>"), Ok(none));
        assert_eq!(mail(" AUTH=<>", false), Err(Reply::UnknownParameter));
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
        assert_eq!(rcpt(""), Ok(()));
        assert_eq!(rcpt(" NOTIFY=NEVER"), Err(Reply::UnknownParameter));
        assert_eq!(rcpt("x"), Err(Reply::BadParameter));
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
