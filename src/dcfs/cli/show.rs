//! `dcfs show`: the rows of a dataset, as a grid for people, as a table of the mount for programs.
//!
//! The grid reads only the catalog, so that it appears at once; the tables contain the path of each row's file,
//! which needs the version's pack.

use std::cell::Cell;
use std::io::{self, IsTerminal};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::asking::{Asked, AskingArgs};
use super::complete;
use super::output::Output;
use super::progress::{Progress, Unit};
use super::{terminal, usage, warn};
use dcfs_core::error::Result;
use dcfs_core::expr::Query;
use dcfs_core::id::RowId;
use dcfs_core::name::DatasetRef;
use dcfs_core::render::grid::{self, Column, Layout};
use dcfs_core::render::numbers::{count, counted};
use dcfs_core::render::rows::{self, Beside, Ours};
use dcfs_core::schema::{Schema, ValueType};
use dcfs_data::catalog::{Catalog, VersionInfo};
use dcfs_data::lost;
use dcfs_data::tables::parquet::{self, Encoding};
use dcfs_data::tables::{Source, text};
use dcfs_disk::whole_file::WholeFile;

/// The column with the number of a row, in a grid.
const ID: &str = "sys__id";

/// Default number of rows in a grid.
const SCREEN: u64 = 20;

/// Number of rows that determine the column widths of a grid, and that are in memory at a time.
const CHUNK: usize = 1000;

/// Print the rows of a dataset
#[derive(Debug, clap::Args)]
pub struct Show {
    /// Dataset, e.g. `pets`, `pets@1.0.0` or `pets@latest`
    #[arg(add = complete::datasets())]
    dataset: DatasetRef,
    #[command(flatten)]
    asking: AskingArgs,
    /// Only the rows that pass this filter, e.g. `info.width > 400 order by score desc`
    #[arg(long = "where", value_name = "FILTER", allow_hyphen_values = true, add = complete::filters())]
    filter: Option<String>,
    /// Columns, e.g. `label,info.width`; the name of a model includes all its columns
    #[arg(long, value_name = "C,..", value_delimiter = ',', add = complete::columns())]
    columns: Option<Vec<String>>,
    /// Rows to print, 0 for all [default: 20 in a table, else all]
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Print all rows
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// Rows to skip first
    #[arg(long, value_name = "N", default_value_t = 0)]
    offset: u64,
    /// Format of the output [default: by the extension of FILE, else table]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Print JSON, one object per line
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// File to write; it appears when it is complete
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace FILE if it exists
    #[arg(long, requires = "output")]
    force: bool,
}

/// Formats of `dcfs show`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Table,
    /// One object per line, nested as the models nest
    Jsonl,
    /// Dotted column names
    Csv,
    /// Typed and nested columns
    Parquet,
    /// The same as Arrow IPC, to be mapped into memory
    Arrow,
}

impl Format {
    fn of_file(path: &Path) -> Result<Self> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("jsonl" | "ndjson") => Ok(Self::Jsonl),
            Some("csv") => Ok(Self::Csv),
            Some("parquet") => Ok(Self::Parquet),
            Some("arrow" | "feather") => Ok(Self::Arrow),
            Some("txt") => Ok(Self::Table),
            _ => Err(usage(format!(
                "cannot tell the format from the name `{}`; say `--format jsonl`, `csv`, `parquet`, \
                 `arrow` or `table`",
                path.display()
            ))),
        }
    }
}

impl Show {
    /// Prints the rows, or writes them to a file.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let format = self.format()?;
        let Some(path) = &self.output else {
            if let (Format::Parquet | Format::Arrow, true) = (format, io::stdout().is_terminal()) {
                let name = if format == Format::Arrow { "arrow" } else { "parquet" };
                return Err(usage(format!(
                    "{name} cannot be printed on a terminal; pass `-o FILE`"
                )));
            }
            return self.print(format, terminal::width(&io::stdout()), out);
        };
        self.may_replace(path)?;
        let file = WholeFile::create(path)?;
        let mut inside = Output::file(file.file())?;
        self.print(format, None, &mut inside)?;
        inside.flush()?;
        file.finish()
    }

    /// Protects an existing file from being overwritten by mistake; a pipe or a device is not protected.
    fn may_replace(&self, path: &Path) -> Result<()> {
        match path.metadata() {
            Ok(there) if there.is_file() && !self.force => Err(usage(format!(
                "`{}` exists already; choose another name, or replace it: --force",
                path.display()
            ))),
            _ => Ok(()),
        }
    }

    fn format(&self) -> Result<Format> {
        match (self.json, self.format, &self.output) {
            (true, ..) => Ok(Format::Jsonl),
            (false, Some(format), _) => Ok(format),
            (false, None, Some(path)) => Format::of_file(path),
            (false, None, None) => Ok(Format::Table),
        }
    }

    fn print(&self, format: Format, width: Option<usize>, out: &mut Output) -> Result<()> {
        let asked = self.asking.ask(&self.dataset)?;
        let query = self.filter.as_deref().map(|filter| asked.check(filter)).transpose()?;
        match format {
            Format::Table => self.grid(&asked, query.as_ref(), width, out),
            Format::Jsonl => {
                self.text(rows::Format::Jsonl, &self.source(&asked, query.as_ref())?, out)
            }
            Format::Csv => self.text(rows::Format::Csv, &self.source(&asked, query.as_ref())?, out),
            Format::Parquet | Format::Arrow => {
                let encoding =
                    if format == Format::Arrow { Encoding::Arrow } else { Encoding::Parquet };
                let source = self.source(&asked, query.as_ref())?;
                let (progress, told) = (self.progress(&source), Cell::new(0));
                let each = |rows: u64| progress.add(rows - told.replace(rows));
                let written = parquet::write(&source, encoding, &mut *out, &each);
                progress.clear();
                written.map(drop)
            }
        }
    }

    fn text(&self, format: rows::Format, source: &Source, out: &mut Output) -> Result<()> {
        let layout = source.layout(format);
        let progress = self.progress(source);
        let mut failed = out.row(layout.header());
        let mut row = Vec::new();
        let written = text::write(source, &layout, 0..=u32::MAX, &mut row, &mut |_, row| {
            progress.add(1);
            failed = std::mem::replace(&mut failed, Ok(())).and_then(|()| match format {
                rows::Format::Jsonl => out.json_row(row),
                rows::Format::Csv => out.row(row),
                _ => out.raw(row),
            });
            row.clear();
            failed.is_ok()
        });
        progress.clear();
        failed.and(written)
    }

    /// A progress bar, if the rows do not go to the terminal.
    fn progress(&self, source: &Source) -> Progress {
        let to_terminal = self.output.is_none() && io::stdout().is_terminal();
        let progress =
            if to_terminal { Progress::hidden(Unit::Rows) } else { Progress::new(Unit::Rows) };
        progress.set_total(source.row_count());
        progress
    }

    /// The number of rows; `None` for all.
    fn limit(&self, default: Option<u64>) -> Option<u64> {
        match self.limit {
            _ if self.all => None,
            Some(0) => None,
            Some(limit) => Some(limit),
            None => default,
        }
    }

    /// The columns of a table: those of the schema, and additional ones. All if none are named.
    fn chosen(&self, asked: &Asked, schema: &Schema) -> Result<(Schema, Beside)> {
        let Some(names) = &self.columns else { return Ok((schema.clone(), Beside::ALL)) };
        let ours = Ours::of(schema.signals.iter().map(|signal| signal.name.as_str()));
        let beside = Beside { path: names.contains(&ours.path), id: names.contains(&ours.id) };
        let is_ours = |name: &&str| *name == ours.path || *name == ours.id;
        let inside: Vec<&str> = names.iter().map(String::as_str).filter(|n| !is_ours(n)).collect();
        let others = [&*ours.path, &*ours.id];
        Ok((lost::select((&asked.catalog, &asked.of), schema, (&inside, &others))?, beside))
    }

    /// The rows of a table, with their files.
    fn source(&self, asked: &Asked, query: Option<&Query>) -> Result<Source> {
        let source = asked.source(query, self.offset, self.limit(None))?;
        let (schema, beside) = self.chosen(asked, &source.schema)?;
        Ok(Source { schema: Arc::new(schema), beside, ..source })
    }

    /// Prints the grid.
    fn grid(
        &self,
        asked: &Asked,
        query: Option<&Query>,
        width: Option<usize>,
        out: &mut Output,
    ) -> Result<()> {
        let selected = query.map(|query| asked.source(Some(query), self.offset, None));
        let selected = selected.transpose()?;
        let schema = selected.as_ref().map_or(&asked.schema, |source| &source.schema);
        let columns = self.grid_columns(asked, schema)?;
        let mut rows = match &selected {
            Some(source) => Chunks::Selected(SelectedRows::new(source, &columns)),
            None => Chunks::All(GridRows::new(&asked.catalog, &asked.of, &columns, self.offset)?),
        };
        let limit = self.limit(Some(SCREEN));
        let mut left = limit.unwrap_or(u64::MAX);
        let mut layout = None;
        loop {
            let asked = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK);
            let chunk = rows.next(asked)?;
            if layout.is_none() {
                let fitted = Layout::fit(&columns, &chunk, width);
                out.text(&fitted.header(&columns))?;
                layout = Some(fitted);
            }
            for texts in &chunk {
                out.text(&layout.as_ref().map_or(String::new(), |layout| layout.line(texts)))?;
            }
            left -= chunk.len() as u64;
            if left == 0 || chunk.len() < asked {
                break;
            }
        }
        match limit.filter(|_| left == 0) {
            Some(limit) if !rows.next(1)?.is_empty() => {
                let all = match &selected {
                    Some(source) => source.row_count() + self.offset,
                    None => asked.catalog.extent(&asked.of)?.0,
                };
                let after = match self.offset {
                    0 => String::new(),
                    offset => format!(", after the first {}", count(offset)),
                };
                out.line("")?;
                out.line(format_args!("[{} of {}{after}]", count(limit), counted(all, "row")))?;
            }
            _ => self.why_none(asked, query, selected.as_ref())?,
        }
        said(asked, &columns, out)
    }

    /// Explains why a filter selects nothing, beside the table.
    fn why_none(
        &self,
        asked: &Asked,
        query: Option<&Query>,
        selected: Option<&Source>,
    ) -> Result<()> {
        let empty = selected.filter(|source| source.row_count() == 0 && self.offset == 0);
        if let Some(why) = query.zip(empty).and_then(|(query, of)| asked.why_empty(&of.pack, query))
        {
            warn(format_args!("no row: {why}"));
        }
        Ok(())
    }

    /// The columns of the grid: the named ones, else those that DataChain shows.
    fn grid_columns(&self, asked: &Asked, schema: &Schema) -> Result<Vec<Column>> {
        let Some(names) = &self.columns else { return Ok(grid::columns(schema)) };
        let (ids, inside): (Vec<&str>, Vec<&str>) =
            names.iter().map(String::as_str).partition(|name| *name == ID);
        let chosen = lost::select((&asked.catalog, &asked.of), schema, (&inside, &[ID]))?;
        let mut columns = grid::columns(&chosen);
        columns.extend(ids.first().map(|id| Column {
            signal: (*id).to_owned(),
            field: String::new(),
            column: (*id).to_owned(),
            value: ValueType::Int,
        }));
        Ok(columns)
    }
}

/// Prints the descriptions of the columns below the grid.
fn said(asked: &Asked, columns: &[Column], out: &mut Output) -> Result<()> {
    let said = asked.catalog.annotations(&asked.of.dataset)?;
    let titles = columns.iter().map(Column::title);
    let lines = titles.filter_map(|title| Some((said.get(&title)?.line(), title)));
    for (number, (line, title)) in lines.enumerate() {
        if number == 0 {
            out.line("")?;
        }
        out.line(format_args!("{title}  # {line}"))?;
    }
    Ok(())
}

/// The rows of a grid, a few at a time.
enum Chunks<'c> {
    All(GridRows<'c>),
    Selected(SelectedRows<'c>),
}

impl Chunks<'_> {
    /// The next rows, at most `most`; fewer only at the end.
    fn next(&mut self, most: usize) -> Result<Vec<Vec<String>>> {
        match self {
            Self::All(rows) => rows.next(most),
            Self::Selected(rows) => rows.next(most),
        }
    }
}

/// The rows that a filter selects, in its order.
struct SelectedRows<'c> {
    source: &'c Source,
    columns: &'c [Column],
    asked: Vec<String>,
    /// Where to continue.
    from: u32,
}

impl<'c> SelectedRows<'c> {
    fn new(source: &'c Source, columns: &'c [Column]) -> Self {
        let asked = columns.iter().map(|column| column.column.clone()).collect();
        Self { source, columns, asked, from: 0 }
    }

    fn next(&mut self, most: usize) -> Result<Vec<Vec<String>>> {
        let mut found = Vec::new();
        if most == 0 {
            return Ok(found);
        }
        let (columns, from) = (self.columns, self.from);
        self.source.scan(&self.asked, from..=u32::MAX, &mut |at, _, cells| {
            let texts = columns.iter().enumerate().map(|(at, column)| column.text(cells.cell(at)));
            found.push(texts.collect());
            self.from = at.position + 1;
            Ok(if found.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        Ok(found)
    }
}

/// All rows of a version, as text: reads only the catalog, so that they appear at once.
struct GridRows<'c> {
    catalog: &'c Catalog,
    of: &'c VersionInfo,
    columns: &'c [Column],
    asked: Vec<String>,
    /// Where to continue; `None` at the end.
    from: Option<i64>,
    /// Rows to skip before the next.
    skip: u64,
}

impl<'c> GridRows<'c> {
    fn new(
        catalog: &'c Catalog,
        of: &'c VersionInfo,
        columns: &'c [Column],
        offset: u64,
    ) -> Result<Self> {
        let asked = columns.iter().map(|column| column.column.clone()).collect();
        let rows = Self { catalog, of, columns, asked, from: Some(i64::MIN), skip: offset };
        if offset == 0 { Ok(rows) } else { rows.passed_over() }
    }

    /// Skips rows by their numbers, if those have no gaps.
    fn passed_over(mut self) -> Result<Self> {
        let (count, first, last) = self.catalog.extent(self.of)?;
        if self.skip >= count {
            self.from = None;
        } else if last.key().abs_diff(first.key()) == count - 1 {
            self.from = first.key().checked_add_unsigned(self.skip);
            self.skip = 0;
        }
        Ok(self)
    }

    /// The next rows, at most `most`; fewer only at the end.
    fn next(&mut self, most: usize) -> Result<Vec<Vec<String>>> {
        let mut found = Vec::new();
        let Some(from) = self.from.take().filter(|_| most > 0) else { return Ok(found) };
        let mut range = std::iter::once(RowId::new(from)..=RowId::new(i64::MAX));
        let (columns, skip, next) = (self.columns, &mut self.skip, &mut self.from);
        self.catalog.cells(self.of, &self.asked, &mut range, &mut |id, cells| {
            if *skip > 0 {
                *skip -= 1;
                return Ok(ControlFlow::Continue(()));
            }
            let texts = columns.iter().enumerate().map(|(at, column)| column.text(cells.cell(at)));
            found.push(texts.collect());
            if found.len() < most {
                return Ok(ControlFlow::Continue(()));
            }
            *next = id.key().checked_add(1);
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }
}
