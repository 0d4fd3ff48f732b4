//! The tables of what is served: service, address, what it serves; and of the certificates that are
//! shown. For eyes and for `awk` alike.

use std::fmt;

/// Rows under the three headings, as wide as they need to be.
#[derive(Debug)]
pub(crate) struct Table {
    headings: [&'static str; 3],
    rows: Vec<[String; 3]>,
}

impl Table {
    /// A table of services.
    pub(crate) fn of_services() -> Self {
        Self { headings: ["SERVICE", "ADDRESS", "SERVES"], rows: Vec::new() }
    }

    /// A table of certificates.
    pub(crate) fn of_certificates(rows: &[[String; 3]]) -> Self {
        let mut table = Self { headings: ["CERTIFICATE", "VALID UNTIL", "FOR"], rows: Vec::new() };
        for [file, until, names] in rows {
            table.push(file, until, names);
        }
        table
    }

    /// Adds a row.
    pub(crate) fn push(&mut self, first: &str, second: impl fmt::Display, third: &str) {
        let one_line = |text: &str| text.replace(['\n', '\r'], " ");
        self.rows.push([one_line(first), one_line(&second.to_string()), one_line(third)]);
    }
}

/// What a listener serves: the service's own words, and how it is reached where that isn't TCP alone.
pub(crate) fn serves(summary: &str, secured: bool, datagrams: bool) -> String {
    let how = [(secured, "TLS"), (datagrams, "UDP")];
    let how = how.iter().filter(|(is, _)| *is).map(|(_, how)| *how);
    let cells: Vec<&str> =
        Some(summary).filter(|text| !text.is_empty()).into_iter().chain(how).collect();
    cells.join(", ")
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.chain([self.headings[column].len()]).max().unwrap_or(0)
        };
        let (first, second) = (width(0), width(1));
        let headings = self.headings.map(str::to_owned);
        for [service, address, serves] in std::iter::once(&headings).chain(&self.rows) {
            let line = format!("{service:first$}  {address:second$}  {serves}");
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_rows_are_lines() {
        let mut table = Table::of_services();
        table.push("http.site", "127.0.0.1:8080", "public");
        table.push("dns.x", "[::]:53", "a\nb");
        table.push("finger.main", "unix:s", "");
        assert_eq!(
            table.to_string(),
            "SERVICE      ADDRESS         SERVES\n\
             http.site    127.0.0.1:8080  public\n\
             dns.x        [::]:53         a b\n\
             finger.main  unix:s\n"
        );
        let rows = [["cert.pem".to_owned(), "2031-01-01".to_owned(), "a.test".to_owned()]];
        assert_eq!(
            Table::of_certificates(&rows).to_string(),
            "CERTIFICATE  VALID UNTIL  FOR\ncert.pem     2031-01-01   a.test\n"
        );
    }

    #[test]
    fn what_is_no_plain_tcp_says_so() {
        assert_eq!(serves("public", false, false), "public");
        assert_eq!(serves("public", true, false), "public, TLS");
        assert_eq!(serves("", false, true), "UDP");
    }
}
