//! The differences between two versions, in numbers: for `dcfs diff` and for `_views/diff/`.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::markdown::{code, text};
use super::numbers::{count, counted};
use super::table::TextTable;

/// The most columns that a page names.
const MOST_COLUMNS: usize = 100;

/// Row counts by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub same: u64,
    pub added: u64,
    pub changed: u64,
    pub removed: u64,
}

/// A column, and the number of rows in which it changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    pub column: String,
    pub rows: u64,
}

/// Dotted names of columns by outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Columns {
    pub added: Vec<String>,
    pub removed: Vec<String>,
    /// Those that changed in any row, in the order of the schema.
    pub changed: Vec<Changed>,
    /// Those whose type changed, even if every value is equal: 1 becomes true if it was a boolean.
    #[serde(default)]
    pub retyped: Vec<Retyped>,
}

/// A column whose type changed, with both types as DataChain writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retyped {
    pub column: String,
    pub from: String,
    pub to: String,
}

/// The comparison of two versions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The version before, e.g. `pets@1.0.0`.
    pub from: String,
    /// The version after.
    pub to: String,
    /// The columns that rows were matched by.
    pub on: Vec<String>,
    pub rows: Counts,
    pub columns: Columns,
}

impl Counts {
    /// `10,000 same, 500 added, 3 changed, 2 removed`.
    pub fn line(&self) -> String {
        let parts = [
            (self.same, "same"),
            (self.added, "added"),
            (self.changed, "changed"),
            (self.removed, "removed"),
        ];
        parts.map(|(n, what)| format!("{} {what}", count(n))).join(", ")
    }

    /// Whether any row differs.
    pub fn differ(&self) -> bool {
        self.added + self.changed + self.removed > 0
    }
}

impl Summary {
    /// Whether anything differs, rows or columns.
    pub fn differ(&self) -> bool {
        let Columns { added, removed, retyped, .. } = &self.columns;
        self.rows.differ() || !added.is_empty() || !removed.is_empty() || !retyped.is_empty()
    }

    /// The text for a terminal of that width.
    pub fn plain(&self, width: Option<usize>) -> String {
        let mut out = format!("{} -> {}, rows matched by {}\n", self.from, self.to, self.matched());
        let _ = writeln!(out, "{}", self.rows.line());
        if !self.columns.changed.is_empty() {
            let mut table = TextTable::new(["COLUMN", "CHANGED IN"]);
            for Changed { column, rows } in &self.columns.changed {
                table.row([column.clone(), rows_of(*rows)]);
            }
            let _ = write!(out, "\n{}", table.fitted(width));
        }
        if !self.columns.retyped.is_empty() {
            let mut table = TextTable::new(["COLUMN", "TYPE"]);
            for Retyped { column, from, to } in &self.columns.retyped {
                table.row([column.clone(), format!("{from} -> {to}")]);
            }
            let _ = write!(out, "\n{}", table.fitted(width));
        }
        let named = [("added", &self.columns.added), ("removed", &self.columns.removed)];
        for (what, columns) in named.iter().filter(|(_, columns)| !columns.is_empty()) {
            let _ = writeln!(out, "\ncolumns {what}: {}", columns.join(", "));
        }
        out
    }

    /// `_summary.md`.
    pub fn page(&self) -> String {
        let mut out = format!("# {} against {}\n\n", text(&self.to), text(&self.from));
        let _ = writeln!(out, "Rows are matched by {}.\n", codes(&self.on));
        out += "| rows | count |\n|---|---|\n";
        let Counts { same, added, changed, removed } = self.rows;
        let rows = [("same", same), ("added", added), ("changed", changed), ("removed", removed)];
        for (what, rows) in rows {
            let _ = writeln!(out, "| {what} | {} |", count(rows));
        }
        if !self.columns.changed.is_empty() {
            out += "\n| column | changed in |\n|---|---|\n";
            for Changed { column, rows } in self.columns.changed.iter().take(MOST_COLUMNS) {
                let _ = writeln!(out, "| {} | {} |", code(column), rows_of(*rows));
            }
        }
        if !self.columns.retyped.is_empty() {
            out += "\n| column | type before | type now |\n|---|---|---|\n";
            for Retyped { column, from, to } in self.columns.retyped.iter().take(MOST_COLUMNS) {
                let _ = writeln!(out, "| {} | {} | {} |", code(column), code(from), code(to));
            }
        }
        let named = [("Added", &self.columns.added), ("Removed", &self.columns.removed)];
        for (what, columns) in named.iter().filter(|(_, columns)| !columns.is_empty()) {
            let _ = writeln!(out, "\n{what} columns: {}", codes(columns));
        }
        out
    }

    /// `_summary.json`.
    pub fn json(&self) -> String {
        // Only strings and numbers: serialising cannot fail.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    fn matched(&self) -> String {
        match self.on.len() {
            0 => "nothing".into(),
            1..=5 => self.on.join(", "),
            more => format!("{}, and {} more columns", self.on[..4].join(", "), more - 4),
        }
    }
}

fn rows_of(n: u64) -> String {
    counted(n, "row")
}

fn codes(names: &[String]) -> String {
    let mut shown: Vec<String> = names.iter().take(MOST_COLUMNS).map(|name| code(name)).collect();
    if names.len() > MOST_COLUMNS {
        shown.push(format!("{} more", names.len() - MOST_COLUMNS));
    }
    shown.join(", ")
}

/// `_views/diff/_README.md` of the version called `name`.
pub fn readme(name: &str) -> String {
    format!(
        "# Differences between {} and other versions\n\n\
         One directory for each other version of the dataset, e.g. `1.0.0/`, in it:\n\n\
         - `added/`: the files of the rows that this version has and the other lacks\n\
         - `changed/`: those of the rows that both have and that differ in any column, as they are in this version\n\
         - `removed/`: those of the rows that only the other version has, with the other version's bytes\n\n\
         By name only, because computing them takes a pass over the rows of both versions:\n\n\
         - `_summary.md`, `_summary.json`: row counts, and the columns that changed\n\n\
         Each of the three is a directory like that of a filter, with `_count`, `_rows.jsonl` and filters, e.g.\n\n    \
         cat 1.0.0/_summary.md\n    \
         find 1.0.0/added -type f\n    \
         ls '1.0.0/changed/file.size > 1000'\n\n\
         Rows are matched by the object that their first File column names (source and path); without one, by all\n\
         columns. If several rows name one object, the first of each version are a pair, and so on, by `sys__id`.\n\
         `dcfs diff` shows the same in a terminal, row by row, also by other columns and between datasets.\n",
        text(name)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        Summary {
            from: "pets@1.0.0".into(),
            to: "pets@1.0.1".into(),
            on: vec!["file.source".into(), "file.path".into()],
            rows: Counts { same: 10_000, added: 500, changed: 3, removed: 2 },
            columns: Columns {
                added: vec!["a|b".into()],
                removed: Vec::new(),
                changed: vec![Changed { column: "info.width".into(), rows: 1 }],
                retyped: vec![Retyped {
                    column: "good".into(),
                    from: "bool".into(),
                    to: "int".into(),
                }],
            },
        }
    }

    #[test]
    fn a_terminal_gets_lines() {
        let want = "pets@1.0.0 -> pets@1.0.1, rows matched by file.source, file.path\n\
                    10,000 same, 500 added, 3 changed, 2 removed\n\n\
                    COLUMN      CHANGED IN\ninfo.width  1 row\n\n\
                    COLUMN  TYPE\ngood    bool -> int\n\ncolumns added: a|b\n";
        assert_eq!(summary().plain(None), want);
    }

    #[test]
    fn a_page_is_a_page_and_json_comes_back() {
        let page = summary().page();
        assert!(page.contains("| `good` | `bool` | `int` |"), "{page}");
        assert!(
            page.contains("| added | 500 |") && page.contains("| `info.width` | 1 row |"),
            "{page}"
        );
        let back: Summary = serde_json::from_str(&summary().json()).expect("JSON");
        assert_eq!(back, summary());
    }

    #[test]
    fn columns_alone_are_a_difference() {
        let rows = Counts { same: 1, ..Counts::default() };
        assert!(!rows.differ() && Summary { rows, ..summary() }.differ());
        assert!(!Summary { rows, columns: Columns::default(), ..summary() }.differ());
        let retyped = Columns { retyped: summary().columns.retyped, ..Columns::default() };
        assert!(Summary { rows, columns: retyped, ..summary() }.differ(), "a type alone is one");
    }
}
