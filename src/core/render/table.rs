//! Plain text tables: columns as wide as they need to be, two spaces apart, nothing a terminal obeys.

use std::fmt;

use super::markdown::visible;

/// The most characters of a cell that are shown; names of strangers may have thousands.
const WIDEST: usize = 120;

/// A table with a line of headers.
#[derive(Clone, Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with its headers.
    pub fn new<const N: usize>(headers: [&str; N]) -> Self {
        Self { rows: vec![headers.map(str::to_owned).into()] }
    }

    /// Adds a line.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.iter().map(|cell| visible(cell, WIDEST)).collect());
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max()
        };
        (0..columns).map(|column| width(column).unwrap_or(0)).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line += &format!("{cell:<width$}  ");
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(["DATASET", "ROWS"]);
        table.row(["pets".into(), "10,000".into()]);
        table.row(["a longer name".into(), "1".into()]);
        assert_eq!(
            table.to_string(),
            "DATASET        ROWS\npets           10,000\na longer name  1\n"
        );
    }

    #[test]
    fn a_cell_stays_one_line_that_moves_nothing() {
        let mut table = Table::new(["NAME"]);
        table.row(["a\nb\x1b[2J".into()]);
        table.row(["x".repeat(5_000)]);
        let text = table.to_string();
        assert_eq!(text.lines().count(), 3);
        assert_eq!(text.lines().nth(1), Some("a\\nb\\u{1b}[2J"));
        assert!(text.lines().all(|line| line.len() <= WIDEST));
    }
}
