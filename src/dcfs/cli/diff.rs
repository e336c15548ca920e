//! `dcfs diff`: the differences between two versions, row by row.

use std::collections::HashSet;
use std::io;
use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::asking::AskingArgs;
use super::complete;
use super::output::Output;
use super::progress::{Progress, Unit};
use super::{places, terminal, usage};
use dcfs_core::cell::{Cell, OwnedCell};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::id::RowId;
use dcfs_core::name::DatasetRef;
use dcfs_core::render::diff::Summary;
use dcfs_core::render::grid::Column;
use dcfs_core::render::numbers::count;
use dcfs_core::render::table::TextTable;
use dcfs_core::schema::ValueType;
use dcfs_core::version::Requirement;
use dcfs_data::catalog::{Catalog, VersionInfo};
use dcfs_data::diff::first::{self, First, Kept};
use dcfs_data::diff::plan::Pair;
use dcfs_data::diff::sets::Tally;
use dcfs_data::diff::{Plan, Versions, compare};
use dcfs_data::stats::{self, moved::Moved};

/// Default number of rows shown of each kind.
const SHOWN: usize = 20;

/// Number of rows read and printed at a time.
const CHUNK: usize = 1000;

/// Limit of changes in one line.
const MOST_CHANGES: usize = 4;

/// Limit of characters of a value in a table.
const WIDEST: usize = 24;

/// Compare two versions row by row
///
/// Rows are matched by the object that their first File column names (source and path), or by the columns of
/// --on; without either, by all columns. A pair of rows is changed if any column that both versions have
/// differs in value. If several rows have the same key, the first of each version form a pair, and so on, by
/// sys__id.
#[derive(Debug, clap::Args)]
pub struct Diff {
    /// Older dataset, e.g. `pets@1.0.0`; if it is the only one, it is compared with its previous version
    #[arg(add = complete::datasets())]
    from: DatasetRef,
    /// Newer dataset, e.g. `pets@1.0.1`, or another dataset
    #[arg(add = complete::datasets())]
    to: Option<String>,
    #[command(flatten)]
    asking: AskingArgs,
    /// Columns that match rows, e.g. `file.path,label`; the name of a model includes all its columns
    #[arg(long, value_name = "C,..", value_delimiter = ',', add = complete::columns())]
    on: Vec<String>,
    /// Changed, added and removed rows to print, of each, 0 for all
    #[arg(long, value_name = "N", default_value_t = SHOWN)]
    limit: usize,
    /// Also print changes in the statistics of columns: NULLs, labels, minima and maxima, means
    #[arg(long)]
    stats: bool,
    /// Exit with 1 if anything differs
    #[arg(long)]
    exit_code: bool,
    /// Print JSON: all counts and columns, and the rows up to --limit
    #[arg(long)]
    json: bool,
}

/// The result of a comparison.
struct Found {
    catalog: Catalog,
    left: VersionInfo,
    right: VersionInfo,
    plan: Plan,
    summary: Summary,
    /// Added, changed and removed.
    first: [Vec<Kept>; 3],
    /// Changes in statistics, if requested.
    moved: Option<Vec<Moved>>,
    /// Whether paths alone do not identify objects, because there are several sources.
    has_sources: bool,
}

/// One row of the JSON output.
#[derive(Debug, Serialize)]
struct Line {
    /// The recorded source and path if rows are matched by their objects; else the matching columns.
    #[serde(flatten)]
    key: Map<String, Value>,
    /// `sys__id` in the older and the newer version.
    rows: [Option<i64>; 2],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    changed: Vec<Value>,
}

impl Diff {
    /// Compares, and prints the differences.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let found = self.compare()?;
        match self.json {
            true => found.json(out)?,
            false => found.print(out)?,
        }
        if !self.exit_code || !found.summary.differ() {
            return Ok(());
        }
        out.flush()?;
        Err(Error::new(Kind::Missing, format!("`{}` and `{}` differ", found.left, found.right)))
    }

    fn compare(&self) -> Result<Found> {
        let catalog = self.asking.catalog.open()?;
        let (left, right) = self.versions(&catalog)?;
        let schemas = (catalog.schema(&left)?, catalog.schema(&right)?);
        let plan = Plan::new((&left, &right), (&schemas.0, &schemas.1), &self.on)?;
        let scratch = self.asking.cache_dir.clone().unwrap_or_else(places::cache);
        places::scratch(&scratch)?;
        let progress = Progress::new(Unit::Rows).labelled("comparing");
        progress.set_total(left.rows.unwrap_or(0) + right.rows.unwrap_or(0));
        let limit = if self.limit == 0 { usize::MAX } else { self.limit };
        let (mut first, mut tally) = (First::new(limit), Tally::new(&plan));
        let versions = Versions { catalog: &catalog, left: &left, right: &right };
        let told = |rows| progress.add(rows);
        let counts = compare(versions, &plan, &scratch, &told, &mut |difference| {
            tally.push(difference);
            first.push(difference);
            Ok(())
        })?;
        progress.clear();
        let summary = tally.summary(&left, &right, counts);
        let moved = self.stats.then(|| self.moved(&left, &right)).transpose()?;
        let (first, has_sources) = (first.finish(), false);
        let found = Found { catalog, left, right, plan, summary, first, moved, has_sources };
        Ok(Found { has_sources: found.has_sources()?, ..found })
    }

    /// The changes in the statistics of columns.
    fn moved(&self, left: &VersionInfo, right: &VersionInfo) -> Result<Vec<Moved>> {
        let find = |of: &VersionInfo| {
            let asked = self.asking.ask_exactly(of)?;
            Ok::<_, Error>(stats::of(&asked.source(None, 0, None)?, &|_| {})?.facts)
        };
        Ok(stats::moved::moved(&find(left)?, &find(right)?))
    }

    /// The two versions: both as named, or one with the next lower of its dataset.
    fn versions(&self, catalog: &Catalog) -> Result<(VersionInfo, VersionInfo)> {
        let from = catalog.find(&self.from)?;
        let Some(to) = &self.to else {
            let all = catalog.versions()?.into_iter();
            let lower = all.filter(|v| v.dataset == from.dataset && v.version < from.version);
            let before = lower.max_by_key(|v| v.version).ok_or_else(|| {
                usage(format!("`{from}` is the first version; name another to compare it with"))
            })?;
            return Ok((before, from));
        };
        if to.parse::<Requirement>().is_ok() {
            return Err(usage(format!("`{to}` is not a dataset; write `{}@{to}`", from.dataset)));
        }
        let to = catalog.find(&to.parse::<DatasetRef>()?)?;
        Ok((from, to))
    }
}

/// The kind of change of a row, and its cells on each side: the key, then `columns`.
struct Row<'f> {
    kept: &'f Kept,
    /// Numbers of compared columns, ascending.
    columns: Rc<[u16]>,
    left: Vec<OwnedCell>,
    right: Vec<OwnedCell>,
}

impl Found {
    /// Calls `each` with some rows at a time.
    fn rows(&self, kept: &[Kept], each: &mut dyn FnMut(&[Row<'_>]) -> Result<()>) -> Result<()> {
        kept.chunks(CHUNK).try_for_each(|kept| each(&self.read(kept)?))
    }

    /// Reads the cells of some rows. Columns in which none of them changed are not read: vectors are long.
    fn read<'f>(&self, kept: &'f [Kept]) -> Result<Vec<Row<'f>>> {
        let mut columns: Vec<u16> = kept.iter().flat_map(|kept| &kept.columns).copied().collect();
        columns.sort_unstable();
        columns.dedup();
        let compared = columns.iter().filter_map(|at| self.plan.compared.get(usize::from(*at)));
        let pairs: Vec<&Pair> = self.plan.key.iter().chain(compared).collect();
        let names = |of: fn(&Pair) -> &String| pairs.iter().map(|pair| of(pair).clone()).collect();
        let lefts = self.side(&self.left, names(|pair| &pair.left), kept.iter().map(|k| k.left))?;
        let rights =
            self.side(&self.right, names(|pair| &pair.right), kept.iter().map(|k| k.right))?;
        let columns: Rc<[u16]> = columns.into();
        let row = |((kept, left), right)| Row { kept, columns: columns.clone(), left, right };
        Ok(kept.iter().zip(lefts).zip(rights).map(row).collect())
    }

    /// The cells of rows of one side; none for rows that do not exist there.
    fn side(
        &self,
        of: &VersionInfo,
        columns: Vec<String>,
        rows: impl Iterator<Item = Option<RowId>> + Clone,
    ) -> Result<Vec<Vec<OwnedCell>>> {
        let there: Vec<RowId> = rows.clone().flatten().collect();
        let mut cells = first::cells(&self.catalog, of, &there, &columns)?.into_iter();
        Ok(rows.map(|row| row.and_then(|_| cells.next()).unwrap_or_default()).collect())
    }

    /// Whether the first rows of each kind have files of several sources.
    fn has_sources(&self) -> Result<bool> {
        let Some(pair) = self.plan.key.first().filter(|_| self.plan.is_by_file) else {
            return Ok(false);
        };
        let mut sources = HashSet::new();
        for kept in self.first.iter().map(|kept| &kept[..kept.len().min(CHUNK)]) {
            let (left, right) = (kept.iter().map(|k| k.left), kept.iter().map(|k| k.right));
            let lefts = self.side(&self.left, vec![pair.left.clone()], left)?;
            let rights = self.side(&self.right, vec![pair.right.clone()], right)?;
            sources.extend(lefts.iter().flatten().map(|cell| text(pair, true, cell)));
            sources.extend(rights.iter().flatten().map(|cell| text(pair, false, cell)));
        }
        Ok(sources.len() > 1)
    }

    fn print(&self, out: &mut Output) -> Result<()> {
        out.text(&self.summary.plain(terminal::width(&io::stdout())))?;
        self.print_moved(out)?;
        let [added, changed, removed] = &self.first;
        let counts = self.summary.rows;
        self.table(out, ("CHANGED", changed, counts.changed))?;
        self.table(out, ("ADDED", added, counts.added))?;
        self.table(out, ("REMOVED", removed, counts.removed))
    }

    fn print_moved(&self, out: &mut Output) -> Result<()> {
        let Some(moved) = &self.moved else { return Ok(()) };
        if moved.is_empty() {
            return out.line("\nno statistics moved");
        }
        let mut table = TextTable::new(["COLUMN", "STATISTICS"]);
        for Moved { column, how } in moved {
            table.row([column.clone(), how.join(", ")]);
        }
        out.line("")?;
        out.text(&table.fitted(terminal::width(&io::stdout())))
    }

    fn table(&self, out: &mut Output, (what, kept, all): (&str, &[Kept], u64)) -> Result<()> {
        self.rows(kept, &mut |rows| {
            let mut table = TextTable::new([what, "ROW", "WHAT CHANGED"]);
            if what != "CHANGED" {
                table = TextTable::new([what, "ROW", ""]);
            }
            for row in rows {
                let ids = [row.kept.left, row.kept.right].into_iter().flatten();
                let ids: Vec<String> = ids.map(|id| id.to_string()).collect();
                table.row([self.key(row), ids.join(" -> "), self.changes(row)]);
            }
            out.line("")?;
            out.text(&table.fitted(terminal::width(&io::stdout())))
        })?;
        match all - kept.len() as u64 {
            0 => Ok(()),
            more => out.line(format_args!("and {} more; `--limit 0` prints all", count(more))),
        }
    }

    /// The key of a row, for a table.
    fn key(&self, row: &Row<'_>) -> String {
        let (cells, is_left) = row.side();
        let keys = self.plan.key.iter().zip(cells);
        match self.plan.is_by_file {
            true => {
                let shown = keys.skip(usize::from(!self.has_sources));
                let parts = shown.map(|(pair, cell)| text(pair, is_left, cell));
                parts.collect::<Vec<_>>().join("/")
            }
            false => {
                let named = |(pair, cell): (&Pair, _)| {
                    format!("{}={}", pair.name, text(pair, is_left, cell))
                };
                keys.take(MOST_CHANGES).map(named).collect::<Vec<_>>().join(", ")
            }
        }
    }

    /// Formats as `info.width: 3 -> 4, label: pug -> NULL`.
    fn changes(&self, row: &Row<'_>) -> String {
        let changed = row.kept.columns.iter().filter_map(|number| self.change(row, *number));
        let lines = changed.take(MOST_CHANGES).map(|(pair, old, new)| {
            let [old, new] = [text(pair, true, old), text(pair, false, new)].map(cut);
            match old == new && pair.is_retyped() {
                true => {
                    format!("{}: {old} ({}) -> {new} ({})", pair.name, pair.types.0, pair.types.1)
                }
                false => format!("{}: {old} -> {new}", pair.name),
            }
        });
        let mut lines: Vec<String> = lines.collect();
        if let Some(more @ 1..) = row.kept.columns.len().checked_sub(MOST_CHANGES) {
            lines.push(format!("and {more} more"));
        }
        lines.join(", ")
    }

    fn change<'r>(
        &self,
        row: &'r Row<'_>,
        number: u16,
    ) -> Option<(&Pair, &'r OwnedCell, &'r OwnedCell)> {
        let pair = self.plan.compared.get(usize::from(number))?;
        let place = self.plan.key.len() + row.columns.binary_search(&number).ok()?;
        Some((pair, row.left.get(place)?, row.right.get(place)?))
    }

    /// Prints the summary, then the rows, one per line.
    fn json(&self, out: &mut Output) -> Result<()> {
        let summary = self.summary.json();
        out.json_text(summary.trim_end().trim_end_matches('}').trim_end())?;
        if let Some(moved) = &self.moved {
            let moved = serde_json::to_string(moved).map_err(|e| Error::new(Kind::Broken, e))?;
            out.json_text(&format!(",\n  \"statistics\": {moved}"))?;
        }
        let [added, changed, removed] = &self.first;
        for (what, kept) in [("changed", changed), ("added", added), ("removed", removed)] {
            out.json_text(&format!(",\n  \"{what}\": ["))?;
            let mut comma = "";
            self.rows(kept, &mut |rows| {
                for row in rows {
                    let line = serde_json::to_string(&self.line(row));
                    let line = line.map_err(|error| Error::new(Kind::Broken, error))?;
                    out.json_text(&format!("{comma}\n    {line}"))?;
                    comma = ",";
                }
                Ok(())
            })?;
            out.json_text(if kept.is_empty() { "]" } else { "\n  ]" })?;
        }
        out.json_text("\n}\n")
    }

    fn line(&self, row: &Row<'_>) -> Line {
        let (cells, is_left) = row.side();
        let keys = self.plan.key.iter().zip(cells);
        let mut key = Map::new();
        match self.plan.is_by_file {
            true => {
                for (name, (pair, cell)) in ["source", "path"].into_iter().zip(keys) {
                    key.insert(name.into(), value(pair, is_left, cell));
                }
            }
            false => {
                let named = keys.map(|(pair, c)| (pair.name.clone(), value(pair, is_left, c)));
                key.insert("key".into(), Value::Object(named.collect()));
            }
        }
        let changed = row.kept.columns.iter().filter_map(|number| self.change(row, *number));
        let changed = changed.map(|(pair, old, new)| {
            let (old, new) = (value(pair, true, old), value(pair, false, new));
            json!({ "column": pair.name, "from": old, "to": new })
        });
        let rows = [row.kept.left, row.kept.right].map(|id| id.map(RowId::key));
        Line { key, rows, changed: changed.collect() }
    }
}

impl Row<'_> {
    /// The cells in the newer version, else in the older one; and which of the two it is.
    fn side(&self) -> (&[OwnedCell], bool) {
        if self.right.is_empty() { (&self.left, true) } else { (&self.right, false) }
    }
}

fn value_type(pair: &Pair, is_left: bool) -> &ValueType {
    if is_left { &pair.values.0 } else { &pair.values.1 }
}

/// A cell as text.
fn text(pair: &Pair, is_left: bool, cell: &OwnedCell) -> String {
    if pair.is_tag() {
        let is_there = cell.cell() == Cell::Integer(0);
        return if is_there { "present" } else { "absent" }.into();
    }
    let value = value_type(pair, is_left).clone();
    let (signal, field, column) = (String::new(), String::new(), String::new());
    Column { signal, field, column, value }.text(cell.cell())
}

/// Truncates a value.
fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(WIDEST) {
        text.truncate(end);
        text += "...";
    }
    text
}

/// A cell as JSON: lists and JSON as the stored text, infinities as strings, bytes as Base64.
fn value(pair: &Pair, is_left: bool, cell: &OwnedCell) -> Value {
    match (cell.cell(), value_type(pair, is_left)) {
        (cell, _) if pair.is_tag() => (cell == Cell::Integer(0)).into(),
        (Cell::Null, _) => Value::Null,
        (Cell::Integer(n @ (0 | 1)), ValueType::Bool) => (n == 1).into(),
        (Cell::Integer(n), _) => n.into(),
        (Cell::Real(x), _) if x.is_finite() => x.into(),
        (Cell::Real(x), _) => x.to_string().into(),
        (Cell::Text(text), _) => String::from_utf8_lossy(text).into(),
        (Cell::Blob(bytes), _) => STANDARD.encode(bytes).into(),
    }
}
