//! Tables for people: the figures of a run's phases, columns as wide as they need.

use serde_json::Value;

/// A column of the phases' table: its heading, where the figure is, and how many decimals it gets.
struct Column {
    heading: &'static str,
    path: &'static [&'static str],
    decimals: usize,
}

const fn column(heading: &'static str, path: &'static [&'static str], decimals: usize) -> Column {
    Column { heading, path, decimals }
}

const COLUMNS: &[Column] = &[
    column("pager", &["pager"], 0),
    column("verified", &["verified_pages"], 0),
    column("corrupt", &["corrupt_pages"], 0),
    column("pages in", &["pages_in"], 0),
    column("pages out", &["pages_out"], 0),
    column("MiB/s", &["mib_per_s"], 1),
    column("faults/s", &["faults_per_s"], 0),
    column("p50 µs", &["touch_us", "p50"], 1),
    column("p99 µs", &["touch_us", "p99"], 1),
    column("max µs", &["touch_us", "max"], 0),
    column("pages/request", &["pages_per_request"], 1),
    column("copied/page", &["bytes_copied_per_page"], 0),
];

/// The table of the phases; a figure that a phase does not have is a dash.
pub(crate) fn phases(phases: &[Value]) -> String {
    let mut rows = vec![COLUMNS.iter().map(|column| column.heading.to_owned()).collect::<Vec<_>>()];
    rows.extend(phases.iter().map(|phase| COLUMNS.iter().map(|column| cell(phase, column)).collect()));
    align(&rows)
}

fn cell(phase: &Value, column: &Column) -> String {
    let value = column.path.iter().fold(phase, |value, key| &value[*key]);
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_u64() {
            Some(whole) => grouped(whole),
            None => format!("{:.*}", column.decimals, number.as_f64().unwrap_or(f64::NAN)),
        },
        _ => "-".to_owned(),
    }
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Rows as lines: the first column to the left, the others to the right.
pub(crate) fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let length = |text: &String| text.chars().count();
    let width = |column| rows.iter().filter_map(|row| row.get(column)).map(length).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(index, (cell, width))| match index {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn figures_stand_under_their_headings() {
        let phase = json!({ "pager": "swap", "verified_pages": 65536, "touch_us": { "p50": 12.34 }, "mib_per_s": 7 });
        let table = phases(&[phase]);
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[0].starts_with("pager  verified  corrupt"), "{table}");
        assert!(lines[1].starts_with("swap     65,536        -"), "{table}");
        assert!(lines[1].contains("12.3") && lines[1].contains(" 7 "), "{table}");
        assert_eq!(lines[0].chars().count(), lines[1].chars().count());
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1000), "1,000");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }

    #[test]
    fn short_rows_are_fine() {
        assert_eq!(align(&[vec!["a".into(), "bb".into()], vec!["ccc".into()]]), "a    bb\nccc\n");
    }
}
