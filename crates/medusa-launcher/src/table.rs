//! The table of what is served: service, address, what it serves. For eyes and for `awk` alike.

use std::fmt;

/// Rows under the three headings, as wide as they need to be.
#[derive(Default, Debug)]
pub(crate) struct Table {
    rows: Vec<[String; 3]>,
}

const HEADINGS: [&str; 3] = ["SERVICE", "ADDRESS", "SERVES"];

impl Table {
    /// Adds a row.
    pub(crate) fn push(&mut self, service: &str, address: impl fmt::Display, serves: &str) {
        let one_line = |text: &str| text.replace(['\n', '\r'], " ");
        self.rows.push([one_line(service), one_line(&address.to_string()), one_line(serves)]);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.chain([HEADINGS[column].len()]).max().unwrap_or(0)
        };
        let (first, second) = (width(0), width(1));
        let headings = HEADINGS.map(str::to_owned);
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
        let mut table = Table::default();
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
    }
}
