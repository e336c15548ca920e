//! Plain text tables: columns as wide as needed, two spaces apart, no control characters that a
//! terminal obeys.

use std::fmt;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::markdown::visible;

/// The most characters of a cell that are shown; names of strangers may have thousands.
const WIDEST: usize = 120;

/// The most characters of a path that are shown: `PATH_MAX` of Linux, so that a path which is
/// printed to a pipe is whole.
const LONGEST_PATH: usize = 4_096;

/// The least width that a column is shortened to.
const NARROWEST: usize = 8;

/// The gap between columns.
const GAP: usize = 2;

/// Replaces text that is not shown.
const DOTS: &str = "...";

/// A table with a line of headers.
#[derive(Clone, Debug)]
pub struct TextTable {
    rows: Vec<Vec<String>>,
    /// Whether long cells lose their middle instead of their end, and only on a narrow terminal.
    is_of_paths: bool,
}

impl TextTable {
    /// A table with these headers.
    pub fn new<const N: usize>(headers: [&str; N]) -> Self {
        Self { rows: vec![headers.map(str::to_owned).into()], is_of_paths: false }
    }

    /// A table of paths: cells are cut in the middle, and whole where there is room.
    pub fn of_paths<const N: usize>(headers: [&str; N]) -> Self {
        Self { is_of_paths: true, ..Self::new(headers) }
    }

    /// Adds a line.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        let widest = if self.is_of_paths { LONGEST_PATH } else { WIDEST };
        self.rows.push(cells.iter().map(|cell| visible(cell, widest)).collect());
    }

    /// The table in lines of at most `width` terminal cells, or at its full width: the widest
    /// columns are shortened first.
    pub fn fitted(&self, width: Option<usize>) -> String {
        let mut widths = self.widths();
        let most = width.unwrap_or(usize::MAX);
        let gaps = GAP * widths.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > most {
            let Some(widest) = widths.iter_mut().max().filter(|widest| **widest > NARROWEST) else {
                break;
            };
            *widest -= 1;
        }
        let mut out = String::new();
        for row in &self.rows {
            out += &shortened(self.line(row, &widths).trim_end(), most, false);
            out.push('\n');
        }
        out
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let cell = shortened(cell, *width, self.is_of_paths);
            line += &cell;
            line += &" ".repeat(width - cell.width().min(*width) + GAP);
        }
        line
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width()).max()
        };
        (0..columns).map(|column| width(column).unwrap_or(0)).collect()
    }
}

/// `text` in at most `width` terminal cells: its beginning, or its beginning and end.
fn shortened(text: &str, width: usize, in_the_middle: bool) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let Some(room) = width.checked_sub(DOTS.len()) else { return DOTS[..width].to_owned() };
    let (head, tail) = if in_the_middle { (room / 2, room - room / 2) } else { (room, 0) };
    let end: String = fitting(text.chars().rev(), tail).chars().rev().collect();
    fitting(text.chars(), head) + DOTS + &end
}

/// The first characters that take at most `room` terminal cells.
fn fitting(text: impl Iterator<Item = char>, mut room: usize) -> String {
    let mut out = String::new();
    for c in text {
        let Some(left) = room.checked_sub(c.width().unwrap_or(0)) else { break };
        room = left;
        out.push(c);
    }
    out
}

impl fmt::Display for TextTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fitted(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = TextTable::new(["DATASET", "ROWS"]);
        table.row(["pets".into(), "10,000".into()]);
        table.row(["a longer name".into(), "1".into()]);
        assert_eq!(
            table.to_string(),
            "DATASET        ROWS\npets           10,000\na longer name  1\n"
        );
    }

    #[test]
    fn the_widest_columns_are_shortened_to_the_terminal() {
        let mut table = TextTable::new(["PLACE", "STATE", "LOG"]);
        table.row(["/mnt/somewhere/far/below/here".into(), "alive".into(), "/log".into()]);
        table.row(["\u{65e5}\u{672c}".into(), "dead".into(), "-".into()]);
        assert_eq!(
            table.fitted(Some(30)),
            "PLACE              STATE  LOG\n/mnt/somewhere...  alive  /log\n\u{65e5}\u{672c}               dead   -\n"
        );
        table.is_of_paths = true;
        let text = table.fitted(Some(30));
        assert!(text.contains("/mnt/so...ow/here  alive  /log\n"), "{text}");
        for width in 0..60 {
            for line in table.fitted(Some(width)).lines() {
                assert!(line.width() <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn a_cell_stays_one_line_that_moves_nothing() {
        let mut table = TextTable::new(["NAME"]);
        table.row(["a\nb\x1b[2J".into()]);
        table.row(["x".repeat(5_000)]);
        let text = table.to_string();
        assert_eq!(text.lines().count(), 3);
        assert_eq!(text.lines().nth(1), Some("a\\nb\\u{1b}[2J"));
        assert!(text.lines().all(|line| line.len() <= WIDEST));
    }

    #[test]
    fn a_path_is_whole_where_there_is_room() {
        let path = format!("/{}", "a/".repeat(2_000));
        let mut table = TextTable::of_paths(["PLACE"]);
        table.row([path.clone()]);
        assert_eq!(table.to_string().lines().nth(1), Some(path.as_str()));
    }
}
