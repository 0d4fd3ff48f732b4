//! Tables in Markdown, and the statistics that stand in them.

/// A table: the first column to the left, the others to the right.
pub(crate) fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([headings[column].chars().count(), 3]).max().unwrap_or(3)
    };
    let line = |cells: [&str; N]| {
        let cells = cells.iter().enumerate().map(|(column, cell)| match column {
            0 => format!("{cell:0$}", width(column)),
            _ => format!("{cell:>0$}", width(column)),
        });
        format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
    };
    let rule = (0..N).map(|column| match column {
        0 => "-".repeat(width(column)),
        _ => format!("{}:", "-".repeat(width(column) - 1)),
    });
    let mut text = line(headings);
    text += &format!("| {} |\n", rule.collect::<Vec<_>>().join(" | "));
    for row in rows {
        text += &line(std::array::from_fn(|column| row[column].as_str()));
    }
    text
}

/// The middle of some numbers.
pub(crate) fn median(numbers: impl IntoIterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.into_iter().collect();
    numbers.sort_by(f64::total_cmp);
    match numbers.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => numbers[odd / 2],
        even => f64::midpoint(numbers[even / 2 - 1], numbers[even / 2]),
    }
}

/// How many times as much one is as another, round by round: what disturbs a round disturbs both.
pub(crate) fn ratio(
    one: impl IntoIterator<Item = f64>,
    base: impl IntoIterator<Item = f64>,
) -> f64 {
    median(one.into_iter().zip(base).map(|(one, base)| one / base))
}

/// A number with three digits that count, and commas between thousands.
pub(crate) fn number(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let decimals = match value.abs() {
        small if small < 9.995 => 2,
        middle if middle < 99.95 => 1,
        _ => 0,
    };
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) && grouped != "-" {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let rows = [["medusa".to_owned(), "1".to_owned()]];
        let expected =
            "| server | µs/request |\n| ------ | ---------: |\n| medusa |          1 |\n";
        assert_eq!(table(["server", "µs/request"], &rows), expected);
    }

    #[test]
    fn medians() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median([]).is_nan());
    }

    #[test]
    fn numbers_have_three_digits_that_count() {
        for (value, text) in [
            (0.5237, "0.52"),
            (9.999, "10.0"),
            (12.345, "12.3"),
            (99.96, "100"),
            (353.4, "353"),
            (-1234.0, "-1,234"),
            (123_456.7, "123,457"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
