//! Statistics for people: `_stats.md`, a table for a terminal, and a summary line for each column.

use std::fmt::Write as _;

use super::facts::{
    ColumnStatistics, ColumnType, Files, Flag, Frequent, Histogram, Measures, Number, Statistics,
    share,
};
use dcfs_core::render::markdown::{code, text};
use dcfs_core::render::numbers::{bytes, count, counted};
use dcfs_core::render::stranger::visible;
use dcfs_core::render::table::TextTable;

/// The most columns on a page; the JSON has all.
const MOST_COLUMNS: usize = 200;

/// The most labels of a column on a page, and in a line.
const MOST_LABELS: usize = 20;
const FEW_LABELS: usize = 3;

/// The most characters of a label or a value.
const LONGEST: usize = 40;

/// Bars from low to high; an empty bin is a gap.
const BARS: [char; 8] = [
    '\u{2581}', '\u{2582}', '\u{2583}', '\u{2584}', '\u{2585}', '\u{2586}', '\u{2587}', '\u{2588}',
];

impl Statistics {
    /// `_stats.md`. `filters` are the filters of a query directory, outermost first.
    pub fn page(&self, filters: &[String]) -> String {
        let mut out = format!("# Statistics of {}\n\n", text(&self.dataset));
        let rows = counted(self.num_examples, "row");
        if filters.is_empty() {
            let _ = writeln!(out, "All {rows} were read.");
        } else {
            let _ = writeln!(out, "The {rows} that pass were read:\n");
            filters.iter().for_each(|filter| out += &format!("- {}\n", code(filter)));
        }
        let shown = &self.statistics[..self.statistics.len().min(MOST_COLUMNS)];
        out += &worth_a_look(shown, &self.files);
        out += "\n## Columns\n\n\
            | column | type | NULL | different | least | most | mean | median | spread |\n\
            |---|---|---:|---:|---|---|---|---|---|\n";
        for column in shown {
            let cells = Cells::of(column);
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                code(&column.column_name),
                cells.kind,
                cells.nulls,
                cells.different,
                text(&cells.min),
                text(&cells.max),
                text(&cells.mean),
                text(&cells.median),
                cells.spread,
            );
        }
        if shown.len() < self.statistics.len() {
            let more = (self.statistics.len() - shown.len()) as u64;
            let _ = writeln!(out, "\n{} more: see `_stats.json`.", counted(more, "column"));
        }
        out += "\nFor texts and lists, the columns least to spread describe lengths. `_stats.json` has quartiles and histograms.\n";
        shown.iter().for_each(|column| out += &labels(column));
        self.files.iter().for_each(|files| out += &file_section(files));
        for pictures in &self.pictures {
            let _ = writeln!(
                out,
                "\n## Pictures of {}\n\n{} with a size, {}:\n",
                text(&pictures.column_name),
                counted(pictures.count, "row"),
                counted(pictures.n_unique, "different size"),
            );
            for size in &pictures.sizes {
                let part = percent(size.count, pictures.count);
                let _ = writeln!(
                    out,
                    "- {} x {}: {} ({part})",
                    size.width,
                    size.height,
                    count(size.count)
                );
            }
        }
        out
    }

    /// The table for a terminal of that width.
    pub fn plain(&self, width: Option<usize>) -> String {
        let mut table = TextTable::new([
            "COLUMN",
            "TYPE",
            "NULL",
            "DIFFERENT",
            "LEAST",
            "MOST",
            "MEAN",
            "MEDIAN",
            "SPREAD",
            "NOTE",
        ]);
        for column in &self.statistics {
            let cells = Cells::of(column);
            let name = column.column_name.clone();
            let Cells { kind, nulls, different, min, max, mean, median, spread, note } = cells;
            let kind = kind.to_owned();
            table.row([name, kind, nulls, different, min, max, mean, median, spread, note]);
        }
        let mut out = format!("{}: {}\n\n", self.dataset, counted(self.num_examples, "row"));
        out += &table.fitted(width);
        let labelled = self.statistics.iter().filter(|c| c.column_statistics.frequencies.is_some());
        for column in labelled {
            let most = labels_line(&column.column_statistics, MOST_LABELS, LONGEST);
            let _ = writeln!(out, "\n{}: {most}", visible(&column.column_name, 100));
        }
        for files in &self.files {
            let _ = writeln!(out, "\n{}: {}", visible(&files.column_name, 100), files.line());
        }
        for pictures in &self.pictures {
            let sizes = pictures.sizes.iter();
            let sizes: Vec<String> = sizes
                .map(|s| format!("{} x {} {}", s.width, s.height, percent(s.count, pictures.count)))
                .collect();
            let name = visible(&pictures.column_name, 100);
            let _ = writeln!(
                out,
                "\n{name}: pictures of {}: {}",
                counted(pictures.n_unique, "different size"),
                sizes.join(", "),
            );
        }
        out
    }
}

impl ColumnStatistics {
    /// The column on one line, in the words of DataChain's knowledge base: `375 - 600, p50=480`.
    /// Not escaped.
    pub fn line(&self) -> String {
        let of = &self.column_statistics;
        let mut parts = Vec::new();
        let ends = of.min.as_ref().zip(of.max.as_ref());
        let range = ends.map(|(min, max)| match min == max {
            true => number(min),
            false => format!("{} - {}", number(min), number(max)),
        });
        match self.column_type {
            ColumnType::Bool | ColumnType::StringLabel => {
                parts.push(labels_line(of, FEW_LABELS, LONGEST));
                let more = of.labels().count().saturating_sub(FEW_LABELS);
                if more > 0 {
                    parts.push(format!("{more} more"));
                }
            }
            ColumnType::StringText => {
                parts.extend(of.n_unique.map(|n| format!("{} different", count(n))));
                parts.extend(range.map(|range| format!("length {range}")));
            }
            ColumnType::List => match of.dimension {
                Some(dimension) => {
                    parts.push(format!("vectors of {dimension}"));
                    parts.extend(
                        of.norm.as_ref().map(|norm| format!("norm mean={}", short(norm.mean))),
                    );
                }
                None => parts.extend(range.map(|range| format!("length {range}"))),
            },
            ColumnType::Json | ColumnType::Bytes => {}
            ColumnType::Int | ColumnType::Float | ColumnType::Datetime => {
                let is_one = ends.is_some_and(|(min, max)| min == max);
                parts.extend(range);
                let median = of.median.as_ref().filter(|_| !is_one);
                parts.extend(median.map(|median| format!("p50={}", number(median))));
            }
        }
        if of.nan_count > 0 {
            parts.push(format!("NULL {}", percent_of(of.nan_proportion)));
        }
        parts.extend(self.flags.iter().map(|flag| flag.word().to_owned()));
        parts.retain(|part| !part.is_empty());
        parts.join(", ")
    }
}

impl Files {
    /// The column on one line. Not escaped.
    pub fn line(&self) -> String {
        let most = self.extensions.iter().take(FEW_LABELS);
        let shares: Vec<String> = most
            .map(|one| format!("{} {}", extension(&one.extension), percent(one.count, self.count)))
            .collect();
        let mut line = format!("{}, {}", counted(self.n_unique, "file"), bytes(self.bytes));
        if !shares.is_empty() {
            line += &format!(", {}", shares.join(" "));
        }
        if self.duplicates > 0 {
            line += &format!(", {} name a file again", counted(self.duplicates, "row"));
        }
        if self.empty > 0 {
            line += &format!(", {} empty", count(self.empty));
        }
        line
    }
}

/// A column as the cells of a table. Not escaped.
struct Cells {
    kind: &'static str,
    nulls: String,
    different: String,
    min: String,
    max: String,
    mean: String,
    median: String,
    spread: String,
    note: String,
}

impl Cells {
    fn of(column: &ColumnStatistics) -> Self {
        let of = &column.column_statistics;
        let cell = |n: &Option<Number>| n.as_ref().map(number).unwrap_or_default();
        let flags: Vec<&str> = column.flags.iter().map(|flag| flag.word()).collect();
        Self {
            kind: column.column_type.word(),
            nulls: if of.nan_count == 0 { String::new() } else { percent_of(of.nan_proportion) },
            different: of.n_unique.map(count).unwrap_or_default(),
            min: cell(&of.min),
            max: cell(&of.max),
            mean: cell(&of.mean),
            median: cell(&of.median),
            spread: of.histogram.as_ref().map(spread).unwrap_or_default(),
            note: flags.join(", "),
        }
    }
}

/// The section of flags, if there are any.
fn worth_a_look(columns: &[ColumnStatistics], files: &[Files]) -> String {
    let mut out = String::new();
    for column in columns {
        for flag in column.flags.iter().filter(|flag| **flag != Flag::Unique) {
            let _ = writeln!(out, "- {} is {}", code(&column.column_name), flag.word());
        }
    }
    for files in files.iter().filter(|files| files.duplicates > 0) {
        let _ = writeln!(
            out,
            "- {}: {} name a file that another row names",
            code(&files.column_name),
            counted(files.duplicates, "row"),
        );
    }
    if out.is_empty() { out } else { format!("\n## Worth a look\n\n{out}") }
}

/// The labels of a column, or its most frequent texts.
fn labels(column: &ColumnStatistics) -> String {
    let of = &column.column_statistics;
    let rows: u64 = of.labels().map(|(_, count)| count).sum();
    let mut lines: Vec<String> = of
        .labels()
        .take(MOST_LABELS)
        .map(|(label, n)| {
            format!("- {}: {} ({})\n", code(&visible(label, LONGEST)), count(n), percent(n, rows))
        })
        .collect();
    let more = of.labels().count().saturating_sub(MOST_LABELS);
    if more > 0 {
        lines.push(format!("- {more} more\n"));
    }
    if lines.is_empty() && column.column_type == ColumnType::StringText {
        let value = |frequent: &Frequent| {
            let value = code(&visible(&number(&frequent.value), LONGEST));
            format!("- {value}: {}\n", count(frequent.count))
        };
        lines = of.most_frequent.iter().map(value).collect();
    }
    match lines.is_empty() {
        true => String::new(),
        false => format!("\n## {}\n\n{}", text(&column.column_name), lines.concat()),
    }
}

fn file_section(files: &Files) -> String {
    let mut out = format!("\n## Files of {}\n\n", text(&files.column_name));
    let _ = writeln!(
        out,
        "{}, {} different, {}{}.\n",
        counted(files.count, "row"),
        count(files.n_unique),
        bytes(files.bytes),
        if files.empty > 0 { format!(", {} empty", count(files.empty)) } else { String::new() },
    );
    if files.extensions.is_empty() {
        return out;
    }
    out += "| extension | files | share | bytes |\n|---|---:|---:|---:|\n";
    for one in &files.extensions {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} |",
            code(extension(&one.extension)),
            count(one.count),
            percent(one.count, files.count),
            bytes(one.bytes),
        );
    }
    if files.more_extensions > 0 {
        let _ = writeln!(out, "\n{} more.", counted(files.more_extensions, "extension"));
    }
    out
}

fn extension(extension: &str) -> &str {
    if extension.is_empty() { "(none)" } else { extension }
}

fn labels_line(of: &Measures, most: usize, longest: usize) -> String {
    let rows: u64 = of.labels().map(|(_, count)| count).sum();
    let told = of.labels().take(most);
    let told: Vec<String> = told
        .map(|(label, n)| format!("{} {}", visible(label, longest), percent(n, rows)))
        .collect();
    told.join(", ")
}

/// A histogram as a few characters.
fn spread(histogram: &Histogram) -> String {
    let most = histogram.hist.iter().copied().max().unwrap_or_default();
    let bar = |n: &u64| match *n {
        0 => ' ',
        n => {
            let eighths = (u128::from(n) * BARS.len() as u128).div_ceil(u128::from(most));
            BARS[eighths as usize - 1]
        }
    };
    // Spaces at the edges would be trimmed from a cell.
    let bars: String = histogram.hist.iter().map(bar).collect();
    bars.replace(' ', "\u{b7}")
}

fn percent(part: u64, whole: u64) -> String {
    percent_of(share(part, whole))
}

/// `12.5%`, `<0.1%`, `99.9%` for all but a few.
pub(super) fn percent_of(share: f64) -> String {
    match share {
        0.0 => "0%".to_owned(),
        1.0 => "100%".to_owned(),
        _ if share < 0.001 => "<0.1%".to_owned(),
        _ => {
            let tenths = (share * 1000.0).round().min(999.0) / 10.0;
            format!("{tenths}%")
        }
    }
}

/// A number with four significant digits, or in full.
pub(super) fn short(x: f64) -> String {
    if x == x.trunc() && x.abs() < 1e15 {
        return format!("{x}");
    }
    let digits = 3 - x.abs().log10().floor() as i32;
    match digits {
        0..=9 => {
            let text = format!("{x:.*}", digits as usize);
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        -11..0 => format!("{x:.0}"),
        _ => format!("{x:.3e}"),
    }
}

fn number(number: &Number) -> String {
    match number {
        Number::Int(n) => n.to_string(),
        Number::Real(x) => short(*x),
        // Times to the second.
        Number::Text(text) => text.split('.').next().unwrap_or(text).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (480.0, "480"),
            (0.123_456, "0.1235"),
            (12_345.678, "12346"),
            (1.0 / 3.0, "0.3333"),
            (1e-12, "1.000e-12"),
            (-2.5, "-2.5"),
            (1e300, "1.000e300"),
        ];
        for (x, text) in cases {
            assert_eq!(short(x), text);
        }
        let cases =
            [(0.0, "0%"), (1.0, "100%"), (0.99999, "99.9%"), (0.125, "12.5%"), (1e-9, "<0.1%")];
        for (share, text) in cases {
            assert_eq!(percent_of(share), text);
        }
    }

    #[test]
    fn a_stranger_makes_no_mark_up() {
        let mut frequencies = serde_json::Map::new();
        frequencies.insert("x](http://e)\n# head\u{202e}".into(), 2.into());
        let statistics = Statistics {
            dataset: "a\n# b@1.0.0".into(),
            num_examples: 2,
            statistics: vec![ColumnStatistics {
                column_name: "c|d`\n- e".into(),
                column_type: ColumnType::StringLabel,
                column_statistics: Measures {
                    n_unique: Some(1),
                    frequencies: Some(frequencies),
                    ..Measures::default()
                },
                flags: vec![Flag::Constant],
            }],
            ..Statistics::default()
        };
        let page = statistics.page(&["a|\n# b".into()]);
        let headings: Vec<&str> = page.lines().filter(|line| line.starts_with('#')).collect();
        assert_eq!(headings.len(), 4, "{page}");
        assert!(!page.contains('\u{202e}') && page.contains("`x](http"), "{page}");
        assert!(page.contains("is constant"), "{page}");
        assert_eq!(page.lines().filter(|line| line.starts_with("- e")).count(), 0, "{page}");
    }

    #[test]
    fn bars_rise() {
        let histogram = Histogram { hist: vec![0, 1, 50, 100], bin_edges: Vec::new() };
        assert_eq!(spread(&histogram), "\u{b7}\u{2581}\u{2584}\u{2588}");
    }
}
