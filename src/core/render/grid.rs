//! Rows of a dataset for a terminal: the signal on one line of the header, the field on the next,
//! fitted to the available width.
//!
//! 1. Columns that DataChain hides are left out.
//! 2. Numbers are right-aligned and shown whole; texts, lists and JSON are shortened first, all to
//!    the same width, the widest that fits.
//! 3. If even [`NARROWEST`] does not fit, columns are dropped from the middle.
//! 4. A line is never wider than asked, and holds no control characters that a terminal obeys.
//!
//! The first rows decide the layout, so that the others can be printed as they come.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::markdown::visible;
use crate::cell::Cell;
use crate::schema::{Field, Schema, Shape, ValueType};

/// The widest a column gets.
const WIDEST: usize = 60;

/// The least width that a text is shortened to before a column is dropped.
const NARROWEST: usize = 10;

/// The gap between columns.
const GAP: usize = 2;

/// Replaces text that is not shown.
const DOTS: &str = "...";

/// The most bytes of a value that are read.
const LONGEST: usize = 1024;

/// One column of the grid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The first line of its header.
    pub signal: String,
    /// The second line: the rest of its dotted name; empty for a signal that is a value itself.
    pub field: String,
    /// The database column.
    pub column: String,
    pub value: ValueType,
}

/// The columns of a schema that are shown, in order.
pub fn columns(schema: &Schema) -> Vec<Column> {
    let mut found = Vec::new();
    for signal in schema.signals.iter().filter(|signal| !signal.hidden) {
        collect(signal, &signal.name, "", &mut found);
    }
    found
}

fn collect(field: &Field, signal: &str, name: &str, found: &mut Vec<Column>) {
    match &field.shape {
        Shape::Column { column, value } => found.push(Column {
            signal: signal.to_owned(),
            field: name.to_owned(),
            column: column.clone(),
            value: value.clone(),
        }),
        Shape::Model { fields, .. } => {
            for below in fields.iter().filter(|below| !below.hidden) {
                let dot = if name.is_empty() { "" } else { "." };
                collect(below, signal, &format!("{name}{dot}{}", below.name), found);
            }
        }
    }
}

impl Column {
    fn is_number(&self) -> bool {
        matches!(self.value, ValueType::Int | ValueType::Float)
    }

    /// Its whole dotted name.
    pub fn title(&self) -> String {
        match self.field.as_str() {
            "" => self.signal.clone(),
            field => format!("{}.{field}", self.signal),
        }
    }

    /// The text of a cell, on one line and not yet shortened to its column. NULL is `NULL`.
    pub fn text(&self, cell: Cell<'_>) -> String {
        let text: Cow<'_, str> = match cell {
            Cell::Null => "NULL".into(),
            Cell::Integer(0) if self.value == ValueType::Bool => "false".into(),
            Cell::Integer(1) if self.value == ValueType::Bool => "true".into(),
            Cell::Integer(n) => n.to_string().into(),
            Cell::Real(x) => format!("{x:?}").into(),
            Cell::Blob(bytes) => format!("b\"{}\"", start(bytes).escape_ascii()).into(),
            Cell::Text(text) => self.plain(String::from_utf8_lossy(start(text))),
        };
        visible(&text, LONGEST)
    }

    /// JSON without DataChain's needless escapes: `\/`, and models inside strings.
    fn plain<'t>(&self, text: Cow<'t, str>) -> Cow<'t, str> {
        match &self.value {
            ValueType::List(item) if matches!(**item, ValueType::Model(_)) => {
                let once = text.replace("\\/", "/").replace("\\\"", "\"").replace("\\\\", "\\");
                once.replace("\\/", "/").replace("\"{", "{").replace("}\"", "}").into()
            }
            ValueType::List(_) | ValueType::Json => text.replace("\\/", "/").into(),
            _ => text,
        }
    }
}

/// The beginning of a long value.
fn start(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(LONGEST)]
}

/// The columns that are shown, and their widths.
#[derive(Clone, Debug)]
pub struct Layout {
    places: Vec<Place>,
}

/// A column on the screen.
#[derive(Clone, Debug)]
enum Place {
    Column {
        number: usize,
        width: usize,
        right: bool,
    },
    /// Replaces columns that do not fit.
    Dots,
}

impl Layout {
    /// Fits `columns` into `width` terminal cells (`None`: unlimited) by the texts of the first
    /// `rows`.
    pub fn fit(columns: &[Column], rows: &[Vec<String>], width: Option<usize>) -> Self {
        let wanted = wanted(columns, rows);
        let most = width.unwrap_or(usize::MAX);
        let mut shown: Vec<usize> = (0..columns.len()).collect();
        let fits = |shown: &[usize], cap: usize| {
            let dots = if shown.len() < columns.len() { DOTS.len() + GAP } else { 0 };
            let widths = shown.iter().map(|at| capped(&columns[*at], wanted[*at], cap) + GAP);
            widths.sum::<usize>() + dots <= most.saturating_add(GAP)
        };
        while shown.len() > 1 && !fits(&shown, NARROWEST) {
            shown.remove(shown.len() / 2);
        }
        let cap = (NARROWEST..=WIDEST).rev().find(|cap| fits(&shown, *cap)).unwrap_or(NARROWEST);
        let place = |at: usize| Place::Column {
            number: at,
            width: capped(&columns[at], wanted[at], cap).min(most),
            right: columns[at].is_number(),
        };
        let mut places: Vec<Place> = shown.iter().map(|at| place(*at)).collect();
        let gap = shown.iter().enumerate().find(|(place, at)| place != *at).map(|(place, _)| place);
        if shown.len() < columns.len() {
            let only = places.len() == 1 && !fits(&shown, NARROWEST);
            let at = gap.unwrap_or(places.len());
            if !only {
                places.insert(at, Place::Dots);
            }
        }
        Self { places }
    }

    /// The header: one line if no column is below a signal, else two.
    pub fn header(&self, columns: &[Column]) -> String {
        let signals: Vec<String> = columns.iter().map(|c| visible(&c.signal, LONGEST)).collect();
        let fields: Vec<String> = columns.iter().map(|c| visible(&c.field, LONGEST)).collect();
        let mut header = self.line(&signals);
        if fields.iter().any(|field| !field.is_empty()) {
            header += &self.line(&fields);
        }
        header
    }

    /// One row with its line break, from the texts of its columns.
    pub fn line(&self, texts: &[String]) -> String {
        let mut line = String::new();
        for place in &self.places {
            match place {
                Place::Dots => line += DOTS,
                Place::Column { number, width, right } => {
                    let text = shortened(texts.get(*number).map_or("", String::as_str), *width);
                    let pad = " ".repeat(width - text.width().min(*width));
                    let sides = if *right { [&*pad, &*text] } else { [&*text, &*pad] };
                    line.extend(sides);
                }
            }
            line += &" ".repeat(GAP);
        }
        line.truncate(line.trim_end().len());
        line.push('\n');
        line
    }
}

/// The preferred width of each column.
fn wanted(columns: &[Column], rows: &[Vec<String>]) -> Vec<usize> {
    let header = |column: &Column| {
        let lines = [&column.signal, &column.field];
        lines.map(|name| visible(name, LONGEST).width()).into_iter().max().unwrap_or(0)
    };
    let mut widths: Vec<usize> = columns.iter().map(header).collect();
    for row in rows {
        for (width, text) in widths.iter_mut().zip(row) {
            *width = text.width().max(*width);
        }
    }
    widths
}

fn capped(column: &Column, wanted: usize, cap: usize) -> usize {
    // Numbers are not wider than this, but a stranger's text in their column may be.
    const NUMBER: usize = 24;
    let cap = if column.is_number() { cap.max(NUMBER) } else { cap };
    wanted.min(cap)
}

/// `text` in at most `width` cells.
fn shortened(text: &str, width: usize) -> Cow<'_, str> {
    if text.width() <= width {
        return text.into();
    }
    let dots = &DOTS[..DOTS.len().min(width)];
    let mut left = width - dots.len();
    let fits = |c: &char| {
        let cells = c.width().unwrap_or(0);
        let fits = cells <= left;
        left = if fits { left - cells } else { 0 };
        fits
    };
    let mut short: String = text.chars().take_while(fits).collect();
    short += dots;
    short.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn column(signal: &str, field: &str, value: ValueType) -> Column {
        Column { signal: signal.into(), field: field.into(), column: String::new(), value }
    }

    fn grid(columns: &[Column], rows: &[&[&str]], width: Option<usize>) -> String {
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(|text| (*text).to_owned()).collect()).collect();
        let layout = Layout::fit(columns, &rows, width);
        let lines: String = rows.iter().map(|row| layout.line(row)).collect();
        layout.header(columns) + &lines
    }

    #[test]
    fn headers_stand_above_each_other_and_numbers_to_the_right() {
        use ValueType::{Int, Text};
        let columns =
            [column("file", "path", Text), column("file", "size", Int), column("label", "", Text)];
        let rows: &[&[&str]] = &[&["a.jpg", "9", "pug"], &["\u{65e5}\u{672c}", "1200", "x"]];
        assert_eq!(
            grid(&columns, rows, None),
            "file   file  label\npath   size\na.jpg     9  pug\n\u{65e5}\u{672c}   1200  x\n"
        );
        assert_eq!(grid(&columns[2..], &[&["pug"]], None), "label\npug\n");
    }

    #[test]
    fn what_does_not_fit_is_shortened_then_dropped_from_the_middle() {
        use ValueType::{Int, Text};
        let names = ["a", "b", "c", "d", "e"];
        let columns = names.map(|name| column(name, "", Text));
        let long = "0123456789".repeat(9);
        let row: Vec<&str> = names.iter().map(|_| long.as_str()).collect();
        let cases = [
            (None, "0123456789".repeat(5) + "0123456..."),
            (
                Some(70),
                "012345678...  012345678...  012345678...  012345678...  012345678...".into(),
            ),
            (Some(40), "0123456789...  ...  0123456789...".into()),
            (Some(20), "012345678901234...".into()),
            (Some(8), "01234...".into()),
        ];
        for (width, start) in cases {
            let text = grid(&columns, &[&row], width);
            let line = text.lines().last().expect("a row");
            assert!(line.len() <= width.unwrap_or(400), "{width:?}: {line}");
            assert!(line.contains(DOTS), "{start}: {line}");
        }
        let wide = [column("n", "", Int), column("t", "", Text)];
        let text = grid(&wide, &[&["1234567890123", &long]], Some(30));
        assert_eq!(text.lines().last(), Some("1234567890123  012345678901..."));
    }

    #[test]
    fn cells_are_shown_as_their_columns_mean_them() {
        use ValueType::{Bool, Float, Json, List, Model, Text};
        let models = List(Box::new(Model(vec![("x".into(), Text)])));
        let cases = [
            (Bool, Cell::Integer(1), "true"),
            (Bool, Cell::Integer(2), "2"),
            (Float, Cell::Real(f64::INFINITY), "inf"),
            (Float, Cell::Null, "NULL"),
            (Text, Cell::Text(b"a\nb\x1b[2J"), "a\\nb\\u{1b}[2J"),
            (Text, Cell::Text(b"\xff"), "\u{fffd}"),
            (Json, Cell::Text(br#"{"a\/b":1}"#), r#"{"a/b":1}"#),
            (models, Cell::Text(br#"["{\"x\":\"a\\\/b\"}"]"#), r#"[{"x":"a/b"}]"#),
            (ValueType::Bytes, Cell::Blob(b"\0\n"), "b\"\\x00\\n\""),
        ];
        for (value, cell, want) in cases {
            assert_eq!(column("s", "", value).text(cell), want, "{cell:?}");
        }
        assert!(column("s", "", Text).text(Cell::Text(&[b'x'; 9999])).len() <= LONGEST);
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_terminal(
            texts in prop::collection::vec(".{0,90}", 1..9), width in 1..200_usize
        ) {
            let columns: Vec<Column> =
                texts.iter().map(|text| column(text, "x", ValueType::Text)).collect();
            let rows = vec![columns.iter().map(|c| c.text(Cell::Text(c.signal.as_bytes()))).collect()];
            let layout = Layout::fit(&columns, &rows, Some(width));
            for line in (layout.header(&columns) + &layout.line(&rows[0])).lines() {
                prop_assert!(line.width() <= width, "{} {:?}", width, line);
            }
        }
    }
}
