//! Answers to SELECTs over datasets: found, printed, or saved as versions. `dcfs sql` and its kin bring the statement.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::ValueEnum;
use serde_json::Value as Json;

use super::asking::AskingArgs;
use super::naming::{self, DescriptionArgs, Numbering};
use super::options::{parse_duration, parse_size};
use super::output::Output;
use super::progress::{Progress, Unit};
use super::{command_line, places, save, terminal, usage};
use dcfs_core::cell::Cell;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::expr::{self, Group};
use dcfs_core::id::{RowId, VersionId};
use dcfs_core::name::{DatasetName, DatasetRef};
use dcfs_core::render::grid;
use dcfs_core::render::rows::{Beside, Format as RowFormat, Layout};
use dcfs_core::schema::ValueType;
use dcfs_core::sql::{
    Bound, Grouped, Hint, Known, ResultColumn, SqlColumn, Statement, Table, quoted,
};
use dcfs_data::catalog::{Catalog, Publication, VersionInfo, Writer};
use dcfs_data::pack::{Limits as PackLimits, Pack, Packs};
use dcfs_data::sql::{
    self, BytesOf, Engine, Limits, Origin, Seen, Shape, Spool, TableColumns,
    kernel::{self, Taking},
};
use dcfs_disk::whole_file::WholeFile;
use dcfs_work::{answer, author};

/// Rows of a grid that decide how wide its columns are.
const FITTED: usize = 1000;

/// What may be typed beside a statement: how its answer is printed or saved, and what it may take.
#[derive(Debug, clap::Args)]
pub struct Answering {
    #[command(flatten)]
    asking: AskingArgs,
    /// How to print the answer [default: by the extension of FILE, else table]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Print JSON, an object a line
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// File to write; it appears when it is complete
    #[arg(short, long, value_name = "FILE", conflicts_with = "name")]
    output: Option<PathBuf>,
    /// Replace FILE where it is there already
    #[arg(long, requires = "output")]
    force: bool,
    /// Save the answer as a version of this dataset; every table that is read is a parent
    #[arg(long = "as", value_name = "NAME", value_parser = naming::dataset)]
    name: Option<DatasetName>,
    #[command(flatten)]
    numbering: Numbering,
    #[command(flatten)]
    described: DescriptionArgs,
    /// How long the statement may take
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "60s")]
    timeout: Duration,
    /// Memory that the statement may take
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "1GiB")]
    memory: u64,
    /// Leave all of it to SQLite
    #[arg(long, hide = true)]
    sqlite: bool,
    /// Print what would run in place of running it
    #[arg(long, conflicts_with_all = ["output", "name"])]
    explain: bool,
}

/// Formats of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// An object a line, nested as the models nest
    Jsonl,
    /// A list of such objects
    Json,
    /// Dotted columns
    Csv,
}

/// A column that a person named, in a statement: always a name, whatever is typed.
pub fn named(column: &str) -> String {
    quoted(column)
}

/// The same of a dataset.
pub fn table(dataset: &DatasetRef) -> String {
    quoted(&dataset.to_string())
}

/// A table of the statement, found.
struct Found {
    known: Known,
    /// `None` for a table of the catalog itself.
    version: Option<(VersionInfo, Origin)>,
}

impl Answering {
    /// Runs a statement, and prints or saves its answer.
    pub fn answer(&self, text: &str, out: &mut Output) -> Result<()> {
        let format = self.format()?;
        let statement = Statement::read(text)?;
        let catalog = Arc::new(self.asking.catalog.open()?);
        let found = find_all(&catalog, &statement)?;
        let known: Vec<Known> = found.iter().map(|found| found.known.clone()).collect();
        let bound = statement.bind(&known)?;
        if self.explain {
            return explain(&statement, &found, &bound, out);
        }
        let packs = self.packs(&catalog)?;
        let grouped = match (&bound.grouped, self.sqlite) {
            (Ok(grouped), false) => groups(&catalog, &packs, &found, grouped)?,
            _ => None,
        };
        let (mut engine, bound) = match (grouped, &bound.grouped) {
            (Some(groups), Ok(grouped)) => {
                let engine = Engine::new(self.limits(), Vec::new())?;
                engine.groups(&groups, grouped.keys.len(), grouped.folds.len())?;
                (engine, &grouped.bound)
            }
            _ => {
                let tables = tables(&catalog, &packs, &found, &bound.columns)?;
                (Engine::new(self.limits(), tables)?, &bound)
            }
        };
        for (number, (table, found)) in statement.tables().iter().zip(&found).enumerate() {
            if found.version.is_none() {
                engine.plain(number, &found.known, of_catalog(&catalog, &table.name)?)?;
            }
        }
        let origins: Vec<Option<Origin>> = found
            .iter()
            .map(|found| found.version.as_ref().map(|(_, origin)| origin.clone()))
            .collect();
        let ready = engine.prepare(bound)?;
        let results = results(&ready.columns(), bound.results.as_deref());
        let shape = Shape::new(&results, &origins);
        match &self.name {
            Some(name) => {
                let parents: Vec<VersionId> =
                    found.iter().filter_map(|found| Some(found.version.as_ref()?.0.id)).collect();
                let saved =
                    self.save(name, text, &catalog, ready, &shape, results.len(), &parents)?;
                save::tell(&saved, self.json, out)
            }
            None => match &self.output {
                None => print(format, ready, &shape, terminal::width(&io::stdout()), out),
                Some(path) => {
                    if path.metadata().is_ok_and(|there| there.is_file()) && !self.force {
                        return Err(usage(format!(
                            "`{}` is there already; choose another name, or replace it: --force",
                            path.display()
                        )));
                    }
                    let file = WholeFile::create(path)?;
                    let mut inside = Output::file(file.file())?;
                    print(format, ready, &shape, None, &mut inside)?;
                    inside.flush()?;
                    file.finish()
                }
            },
        }
    }

    /// The names of the signals of a dataset.
    ///
    /// # Errors
    /// No such dataset.
    pub fn signals(&self, dataset: &DatasetRef) -> Result<Vec<String>> {
        let asked = self.asking.ask(dataset)?;
        Ok(asked.schema.signals.iter().map(|signal| signal.name.clone()).collect())
    }

    fn format(&self) -> Result<Format> {
        if self.json {
            return Ok(Format::Jsonl);
        }
        let ending = self
            .output
            .as_deref()
            .and_then(|path| path.extension())
            .and_then(|ending| ending.to_str());
        match (self.format, &self.output, ending) {
            (Some(format), ..) => Ok(format),
            (None, None, _) => Ok(Format::Table),
            (.., Some("jsonl" | "ndjson")) => Ok(Format::Jsonl),
            (.., Some("json")) => Ok(Format::Json),
            (.., Some("csv")) => Ok(Format::Csv),
            (.., Some("txt")) => Ok(Format::Table),
            (_, Some(path), _) => Err(usage(format!(
                "cannot tell the format from the name `{}`; say `--format jsonl`, `json`, `csv` or `table`",
                path.display()
            ))),
        }
    }

    fn limits(&self) -> Limits {
        // Beyond a year no clock is asked; below 16 MiB SQLite cannot do much.
        let time = self.timeout.min(Duration::from_secs(366 * 24 * 3600));
        Limits { time, memory: self.memory.clamp(16 << 20, 1 << 40) }
    }

    fn packs(&self, catalog: &Arc<Catalog>) -> Result<Packs> {
        let cache = self.asking.cache_dir.clone().unwrap_or_else(places::cache);
        places::private_cache(&cache)?;
        Ok(Packs::new(catalog.clone(), cache, PackLimits::default()))
    }

    /// Saves the answer as a version.
    #[allow(clippy::too_many_arguments)]
    fn save(
        &self,
        name: &DatasetName,
        text: &str,
        catalog: &Catalog,
        ready: sql::Answer<'_>,
        shape: &Shape<'_>,
        columns: usize,
        parents: &[VersionId],
    ) -> Result<dcfs_data::catalog::Saved> {
        let number = self.numbering.number();
        let mut writer = Writer::open(catalog.path())?;
        writer.check_name(name)?;
        writer.check_number(name, number)?;
        let cache = self.asking.cache_dir.clone().unwrap_or_else(places::cache);
        let file = dcfs_data::pack::home::nameless(&cache);
        let unwritten = |error: io::Error| {
            Error::new(Kind::Full, format!("cannot write a temporary file: {error}"))
        };
        let mut spool = Spool::new(file.map_err(unwritten)?);
        let mut seen = vec![Seen::default(); columns];
        let progress = Progress::new(Unit::Rows);
        ready.rows(&mut |cells| {
            seen.iter_mut().zip(cells).for_each(|(seen, cell)| seen.add(*cell));
            spool.push(cells).map_err(unwritten)?;
            progress.add(1);
            Ok(ControlFlow::Continue(()))
        })?;
        progress.clear();
        let by = author::ask(&command_line(), Some(text.to_owned()));
        let script = format!("{}\n\n{text}\n", by.script());
        let publication = Publication {
            name,
            number,
            upon: None,
            parents,
            script: &script,
            description: self.described.description.as_deref(),
            attrs: self.described.attrs(),
            provenance: &by,
            job: None,
        };
        let progress = Progress::new(Unit::Rows);
        progress.set_total(spool.rows());
        let saved = answer::save(spool, shape, &seen, &mut writer, &publication, |rows| {
            progress.reach(rows)
        });
        progress.clear();
        saved
    }
}

/// The groups of a statement that the kernels answer; `None` where they prove too many, or a condition is no filter.
fn groups(
    catalog: &Arc<Catalog>,
    packs: &Packs,
    found: &[Found],
    grouped: &Grouped,
) -> Result<Option<Vec<Group>>> {
    let mut ready = Vec::new();
    for (found, filter) in found.iter().zip(&grouped.filters) {
        let Some((of, origin)) = &found.version else { return Ok(None) };
        let filter = match filter.as_deref().map(|filter| expr::check(filter, &origin.schema)) {
            Some(Err(_)) => return Ok(None),
            Some(Ok(query)) => Some(query),
            None => None,
        };
        ready.push((of, runtime()?.block_on(packs.get(of))?, filter));
    }
    let taking = |(of, pack, filter)| Taking { catalog, of, pack, filter };
    let taking: Vec<Taking<'_>> =
        ready.iter().map(|(of, pack, filter)| taking((*of, pack, filter.as_ref()))).collect();
    kernel::groups(&taking, grouped)
}

/// The columns of the tables, packed where they were not yet.
fn tables(
    catalog: &Arc<Catalog>,
    packs: &Packs,
    found: &[Found],
    columns: &[Vec<SqlColumn>],
) -> Result<Vec<Option<Arc<TableColumns>>>> {
    let runtime = runtime()?;
    let (progress, told) = (Progress::new(Unit::Rows), AtomicU64::new(0));
    let mut tables = Vec::new();
    for (found, columns) in found.iter().zip(columns) {
        let Some((of, _)) = &found.version else {
            tables.push(None);
            continue;
        };
        let pack: Arc<Pack> = runtime.block_on(packs.get(of))?;
        told.store(0, Ordering::Relaxed);
        progress.set_total(pack.row_count().into());
        let each = |rows: u64| {
            let before = told.swap(rows, Ordering::Relaxed);
            progress.add(rows.saturating_sub(before));
        };
        let wanted: Vec<_> = columns.iter().map(TableColumns::form).collect();
        let held = pack
            .packed(catalog, of, &wanted.iter().collect::<Vec<_>>(), &each)?
            .hold(&pack, &wanted);
        tables.push(Some(Arc::new(TableColumns::new(
            columns.clone(),
            held,
            bytes_of(catalog, of),
        ))));
    }
    progress.clear();
    Ok(tables)
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.map_err(|error| Error::new(Kind::Broken, error))
}

/// Prints what would run.
fn explain(statement: &Statement, found: &[Found], bound: &Bound, out: &mut Output) -> Result<()> {
    for (table, found) in statement.tables().iter().zip(found) {
        match &found.version {
            Some((of, _)) => out.line(format_args!("{} is {of}", table.name))?,
            None => out.line(format_args!("{} is a table of the catalog", table.name))?,
        }
    }
    match &bound.grouped {
        Ok(grouped) => {
            for (left, right) in &grouped.on {
                out.line(format_args!("kernels join where {} = {}", left.name, right.name))?;
            }
            let keys: Vec<&str> = grouped.keys.iter().map(|(_, key)| key.name.as_str()).collect();
            out.line(format_args!("kernels over packed columns group by ({})", keys.join(", ")))?;
            for (table, filter) in statement.tables().iter().zip(&grouped.filters) {
                if let Some(filter) = filter {
                    out.line(format_args!("  where, of {}, {filter}", table.alias))?;
                }
            }
            out.line("SQLite over the groups runs")?;
            out.line(format_args!("  {}", grouped.bound.sql))
        }
        Err(why) => {
            out.line(format_args!("SQLite over packed columns runs, for {why}"))?;
            out.line(format_args!("  {}", bound.sql))
        }
    }
}

/// Reads what is not packed.
fn bytes_of(catalog: &Arc<Catalog>, of: &VersionInfo) -> BytesOf {
    let (catalog, of) = (catalog.clone(), of.clone());
    BytesOf(Box::new(move |id, column| {
        let mut found = None;
        let columns = [column.to_owned()];
        catalog.cells(&of, &columns, &mut std::iter::once(id..=id), &mut |_, cells| {
            if let Cell::Blob(bytes) = cells.cell(0) {
                found = Some(bytes.to_vec());
            }
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }))
}

/// Every table of the statement.
fn find_all(catalog: &Catalog, statement: &Statement) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for table in statement.tables() {
        found.push(match catalog_columns(&table.name) {
            Some(columns) => Found { known: Known::plain(columns), version: None },
            None => dataset(catalog, statement, table)?,
        });
    }
    Ok(found)
}

fn dataset(catalog: &Catalog, statement: &Statement, table: &Table) -> Result<Found> {
    let wrong = |error: &dyn std::fmt::Display, kind| {
        let mut message = error.to_string();
        if table.name.starts_with("catalog.") {
            message = format!(
                "`{}` is none of catalog.datasets, .versions, .columns, .dependencies",
                table.name
            );
        }
        Error::new(kind, statement.wrong_table(table, message))
    };
    let wanted: DatasetRef =
        table.name.parse().map_err(|error: dcfs_core::name::Error| wrong(&error, Kind::Invalid))?;
    let of = catalog.find(&wanted).map_err(|error| wrong(&error, error.kind()))?;
    let schema = catalog.schema(&of)?;
    let known = Known::of(&schema);
    let layout = catalog.layout(&of)?;
    let origin = Origin { known: known.clone(), schema, layout, is_outer: table.is_outer };
    Ok(Found { known, version: Some((of, origin)) })
}

/// The columns of an answer: as they were bound, else as SQLite tells them.
fn results(columns: &[sql::AnswerColumn], bound: Option<&[ResultColumn]>) -> Vec<ResultColumn> {
    let told = columns.iter().enumerate().map(|(at, (name, origin))| {
        let hint =
            bound.filter(|bound| bound.len() == columns.len()).map(|bound| bound[at].hint.clone());
        let hint = match (hint, origin) {
            (None | Some(Hint::None), Some((table, column))) => {
                Hint::Column(*table, column.clone())
            }
            (hint, _) => hint.unwrap_or(Hint::None),
        };
        ResultColumn { name: name.clone(), hint }
    });
    told.collect()
}

const TEXT: ValueType = ValueType::Text;
const INT: ValueType = ValueType::Int;

/// The columns of a table that tells of the catalog itself.
fn catalog_columns(name: &str) -> Option<&'static [(&'static str, ValueType)]> {
    Some(match name {
        "catalog.datasets" => &[
            ("name", TEXT),
            ("latest", TEXT),
            ("versions", INT),
            ("rows", INT),
            ("size", INT),
            ("finished_at", TEXT),
        ],
        "catalog.versions" => &[
            ("dataset", TEXT),
            ("version", TEXT),
            ("rows", INT),
            ("size", INT),
            ("created_at", TEXT),
            ("finished_at", TEXT),
            ("uuid", TEXT),
        ],
        "catalog.columns" => {
            &[("dataset", TEXT), ("version", TEXT), ("name", TEXT), ("type", TEXT)]
        }
        "catalog.dependencies" => {
            &[("dataset", TEXT), ("version", TEXT), ("parent", TEXT), ("parent_version", TEXT)]
        }
        _ => return None,
    })
}

/// Its rows.
fn of_catalog(catalog: &Catalog, name: &str) -> Result<Vec<Vec<Json>>> {
    let versions = catalog.versions()?;
    let time = |time: Option<dcfs_core::time::Timestamp>| {
        time.map_or(Json::Null, |time| time.fixed().into())
    };
    let count =
        |count: Option<u64>| count.map_or(Json::Null, |count| (count.min(i64::MAX as u64)).into());
    let dataset =
        |of: &VersionInfo| vec![Json::from(of.dataset.to_string()), of.version.to_string().into()];
    let mut rows = Vec::new();
    match name {
        "catalog.datasets" => {
            let mut datasets: BTreeMap<String, Vec<&VersionInfo>> = BTreeMap::new();
            versions
                .iter()
                .for_each(|of| datasets.entry(of.dataset.to_string()).or_default().push(of));
            for (name, of) in datasets {
                let Some(last) = of.last() else { continue };
                rows.push(vec![
                    name.into(),
                    last.version.to_string().into(),
                    of.len().into(),
                    count(last.rows),
                    count(last.size),
                    time(last.finished_at),
                ]);
            }
        }
        "catalog.versions" => {
            for of in &versions {
                let mut row = dataset(of);
                row.extend([
                    count(of.rows),
                    count(of.size),
                    time(of.created_at),
                    time(of.finished_at),
                    of.uuid.clone().into(),
                ]);
                rows.push(row);
            }
        }
        "catalog.columns" => {
            for of in &versions {
                for leaf in catalog.schema(of)?.leaves() {
                    let mut row = dataset(of);
                    row.extend([leaf.name.into(), leaf.field.type_text.clone().into()]);
                    rows.push(row);
                }
            }
        }
        _ => {
            for of in &versions {
                for (parent, version) in
                    catalog.parents(of.id)?.into_iter().filter_map(|parent| parent.dataset)
                {
                    let mut row = dataset(of);
                    row.extend([parent.to_string().into(), version.to_string().into()]);
                    rows.push(row);
                }
            }
        }
    }
    Ok(rows)
}

/// Prints an answer.
fn print(
    format: Format,
    ready: sql::Answer<'_>,
    shape: &Shape<'_>,
    width: Option<usize>,
    out: &mut Output,
) -> Result<()> {
    match format {
        Format::Table => print_grid(ready, shape, width, out),
        Format::Jsonl => print_rows(RowFormat::Jsonl, (b"", b"", b""), ready, shape, out),
        Format::Json => print_rows(RowFormat::Jsonl, (b"[\n", b",\n", b"\n]\n"), ready, shape, out),
        Format::Csv => print_rows(RowFormat::Csv, (b"", b"", b""), ready, shape, out),
    }
}

/// Cells by the numbers that the columns of a schema are.
struct ByNumber<'c> {
    cells: &'c [Cell<'c>],
    numbers: &'c [usize],
}

impl dcfs_core::cell::Cells for ByNumber<'_> {
    fn cell(&self, index: usize) -> Cell<'_> {
        self.numbers
            .get(index)
            .and_then(|number| self.cells.get(*number))
            .copied()
            .unwrap_or_default()
    }
}

/// What stands before the first row, between two, and after the last.
type Around = (&'static [u8], &'static [u8], &'static [u8]);

fn print_rows(
    format: RowFormat,
    (open, between, close): Around,
    ready: sql::Answer<'_>,
    shape: &Shape<'_>,
    out: &mut Output,
) -> Result<()> {
    let layout = Layout::new(&shape.schema(), format, &[], Beside { path: false, id: false });
    let numbers: Vec<usize> =
        layout.columns().iter().filter_map(|name| name.parse().ok()).collect();
    out.raw(layout.header())?;
    out.raw(open)?;
    let (mut line, mut is_first) = (Vec::new(), true);
    ready.rows(&mut |cells| {
        line.clear();
        layout.write(&mut line, RowId::new(0), &[], &ByNumber { cells, numbers: &numbers });
        if !between.is_empty() {
            line.truncate(line.len() - 1);
            if !is_first {
                out.raw(between)?;
            }
        }
        is_first = false;
        out.row(&line)?;
        Ok(ControlFlow::Continue(()))
    })?;
    out.raw(close)
}

fn print_grid(
    ready: sql::Answer<'_>,
    shape: &Shape<'_>,
    width: Option<usize>,
    out: &mut Output,
) -> Result<()> {
    let columns = grid::columns(&shape.schema());
    let numbers: Vec<usize> =
        columns.iter().map(|column| column.column.parse().unwrap_or_default()).collect();
    let mut first: Vec<Vec<String>> = Vec::new();
    let mut fitted = None;
    let begin = |rows: &[Vec<String>], out: &mut Output| -> Result<grid::Layout> {
        let layout = grid::Layout::fit(&columns, rows, width);
        out.text(&layout.header(&columns))?;
        rows.iter().try_for_each(|row| out.text(&layout.line(row)))?;
        Ok(layout)
    };
    ready.rows(&mut |cells| {
        let texts = columns
            .iter()
            .zip(&numbers)
            .map(|(column, number)| column.text(cells.get(*number).copied().unwrap_or_default()));
        let texts: Vec<String> = texts.collect();
        match &fitted {
            Some(layout) => {
                let layout: &grid::Layout = layout;
                out.text(&layout.line(&texts))?;
            }
            None => {
                first.push(texts);
                if first.len() == FITTED {
                    fitted = Some(begin(&first, out)?);
                    first.clear();
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if fitted.is_none() {
        begin(&first, out)?;
    }
    Ok(())
}
