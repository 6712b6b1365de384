//! A table in a terminal: columns as wide as what is in them, numbers to the right.

/// Rows of equal length, the first the heading.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    /// Columns from this one on are numbers.
    numbers_from: usize,
}

impl Table {
    pub(super) fn new(heading: &[&str], numbers_from: usize) -> Self {
        Self { rows: vec![heading.iter().map(|&cell| cell.to_owned()).collect()], numbers_from }
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The lines, each indented.
    pub(super) fn lines(&self) -> String {
        let width = |column: usize| self.rows.iter().map(|row| row.get(column).map_or(0, |cell| cell.chars().count())).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.rows.first().map_or(0, Vec::len)).map(width).collect();
        let mut lines = String::new();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| match column >= self.numbers_from {
                true => format!("{cell:>width$}"),
                false => format!("{cell:<width$}"),
            });
            lines.push_str("  ");
            lines.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
            lines.push('\n');
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_left_and_numbers_right() {
        let mut table = Table::new(&["NAME", "SIZE"], 1);
        table.row(vec!["é".into(), "1 KiB".into()]);
        assert_eq!(table.lines(), "  NAME   SIZE\n  é     1 KiB\n");
    }
}
