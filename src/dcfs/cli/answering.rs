//! Answers to SELECTs over datasets: computed, then printed or saved as versions. `dcfs sql` and the commands
//! built on it supply the statement.

use std::io::{self, IsTerminal};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use clap::ValueEnum;

use super::asking::AskingArgs;
use super::naming::{self, DescriptionArgs, Numbering};
use super::options::{parse_duration, parse_size};
use super::output::Output;
use super::progress::{Progress, Unit};
use super::{command_line, places, save, sharing, terminal, usage};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::id::VersionId;
use dcfs_core::name::{DatasetName, DatasetRef};
use dcfs_core::render::grid;
use dcfs_core::render::rows::Format as RowFormat;
use dcfs_core::sql::quoted;
use dcfs_core::time::Timestamp;
use dcfs_data::catalog::{Catalog, Publication, Writer};
use dcfs_data::pack::{Limits as PackLimits, Packs};
use dcfs_data::sql::lines::Lines;
use dcfs_data::sql::question::{self, Question, Step};
use dcfs_data::sql::{self, Limits, Seen, Shape, Spool, columnar};
use dcfs_data::tables::parquet::Encoding;
use dcfs_disk::whole_file::WholeFile;
use dcfs_work::{answer, author};

/// Number of rows that determine the column widths of a table.
const FITTED: usize = 1000;

/// The flags of a statement: output format, destination and limits.
#[derive(Debug, clap::Args)]
pub struct Answering {
    #[command(flatten)]
    asking: AskingArgs,
    /// Format of the answer [default: by the extension of FILE, else table]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Print JSON, one object per line
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// File to write; it appears when it is complete
    #[arg(short, long, value_name = "FILE", conflicts_with = "name")]
    output: Option<PathBuf>,
    /// Replace FILE if it exists
    #[arg(long, requires = "output")]
    force: bool,
    /// Save the answer as a version of this dataset; every table read becomes a parent
    #[arg(long = "as", value_name = "NAME", value_parser = naming::dataset)]
    name: Option<DatasetName>,
    #[command(flatten)]
    numbering: Numbering,
    #[command(flatten)]
    described: DescriptionArgs,
    /// Time limit of the statement
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "60s")]
    timeout: Duration,
    /// Memory limit of the statement
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "1GiB")]
    memory: u64,
    /// Run all of it in SQLite
    #[arg(long, hide = true)]
    sqlite: bool,
    /// Print what would run instead of running it
    #[arg(long, conflicts_with_all = ["output", "name"])]
    explain: bool,
}

/// Formats of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// One object per line, nested as the models nest
    Jsonl,
    /// A list of such objects
    Json,
    /// Dotted column names
    Csv,
    /// Typed and nested columns
    Parquet,
    /// The same as Arrow IPC, to be mapped into memory
    Arrow,
}

/// Quotes a column name for a statement: always a name, whatever was typed.
pub fn named(column: &str) -> String {
    quoted(column)
}

/// The same for a dataset.
pub fn table(dataset: &DatasetRef) -> String {
    quoted(&dataset.to_string())
}

impl Answering {
    /// The catalog that statements read.
    ///
    /// # Errors
    /// Errors of opening it.
    pub fn catalog(&self) -> Result<Arc<Catalog>> {
        Ok(Arc::new(self.asking.catalog.open()?))
    }

    /// Sets the format of results.
    pub fn print_as(&mut self, format: Format) {
        (self.format, self.json) = (Some(format), false);
    }

    /// Refuses flags that send a result elsewhere.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn is_printed(&self) -> Result<()> {
        match self.name.is_some() || self.output.is_some() {
            true => Err(usage("`--as` and `--output` are for one statement; name it")),
            false => Ok(()),
        }
    }

    /// The plan of a statement, in lines.
    ///
    /// # Errors
    /// Errors of the statement.
    pub fn explain(&self, text: &str) -> Result<Vec<String>> {
        Ok(self.question(&self.catalog()?, text)?.explain())
    }

    /// A statement over a catalog.
    fn question(&self, catalog: &Arc<Catalog>, text: &str) -> Result<Question> {
        let cache = self.asking.cache_dir.clone().unwrap_or_else(places::cache);
        Question::read(catalog, places::usage(&cache, catalog.path()), text)
    }

    /// Runs a statement, and prints or saves its answer.
    pub fn answer(&self, text: &str, out: &mut Output) -> Result<()> {
        let format = self.format()?;
        if matches!(format, Format::Parquet | Format::Arrow)
            && self.output.is_none()
            && self.name.is_none()
            && io::stdout().is_terminal()
        {
            return Err(usage("it cannot be printed on a terminal; pass `-o FILE`"));
        }
        let catalog = self.catalog()?;
        let question = self.question(&catalog, text)?;
        if self.explain {
            return question.explain().iter().try_for_each(|line| out.line(line));
        }
        let packs = self.packs(&catalog)?;
        question.note(Timestamp::of_system(SystemTime::now()));
        let (progress, told) = (Progress::new(Unit::Rows), AtomicU64::new(0));
        let each = |step: Step| match step {
            Step::Begins { rows } => {
                told.store(0, Ordering::Relaxed);
                progress.set_total(rows);
            }
            Step::Rows(rows) => {
                let before = told.swap(rows, Ordering::Relaxed);
                progress.add(rows.saturating_sub(before));
            }
        };
        let (mut engine, bound) = {
            let packs = |of: &_| question::pack_of(&packs, of);
            question.engine(&packs, self.limits(), !self.sqlite, &each)?
        };
        progress.clear();
        let origins = question.origins();
        let ready = engine.prepare(bound)?;
        let results = question::results(&ready.columns(), bound.results.as_deref());
        let shape = Shape::new(&results, &origins);
        let scratch = self.asking.cache_dir.clone().unwrap_or_else(places::cache);
        match &self.name {
            Some(name) => {
                let parents: Vec<VersionId> = question.versions().map(|of| of.id).collect();
                let saved =
                    self.save(name, text, &catalog, ready, &shape, results.len(), &parents)?;
                save::tell(&saved, self.json, out)
            }
            None => match &self.output {
                None => print(format, ready, &shape, &scratch, terminal::width(&io::stdout()), out),
                Some(path) => {
                    if path.metadata().is_ok_and(|there| there.is_file()) && !self.force {
                        return Err(usage(format!(
                            "`{}` exists already; choose another name, or replace it: --force",
                            path.display()
                        )));
                    }
                    let file = WholeFile::create(path)?;
                    let mut inside = Output::file(file.file())?;
                    print(format, ready, &shape, &scratch, None, &mut inside)?;
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
            (.., Some("parquet")) => Ok(Format::Parquet),
            (.., Some("arrow" | "feather")) => Ok(Format::Arrow),
            (.., Some("txt")) => Ok(Format::Table),
            (_, Some(path), _) => Err(usage(format!(
                "cannot tell the format from the name `{}`; say `--format jsonl`, `json`, `csv`, `parquet`, `arrow` or `table`",
                path.display()
            ))),
        }
    }

    fn limits(&self) -> Limits {
        // No clock can count beyond a year; below 16 MiB SQLite cannot do much.
        let time = self.timeout.min(Duration::from_secs(366 * 24 * 3600));
        Limits { time, memory: self.memory.clamp(16 << 20, 1 << 40), ..Limits::default() }
    }

    fn packs(&self, catalog: &Arc<Catalog>) -> Result<Packs> {
        let cache = self.asking.cache_dir.clone().unwrap_or_else(places::cache);
        places::private_cache(&cache)?;
        let tier = sharing::of_settings(catalog)?;
        Ok(Packs::shared(catalog.clone(), cache, PackLimits::default(), tier))
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
        let file = dcfs_disk::scratch::file(&cache);
        let unwritten = |error: io::Error| {
            Error::new(Kind::NoSpace, format!("cannot write a temporary file: {error}"))
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

/// Prints an answer.
fn print(
    format: Format,
    ready: sql::Answer<'_>,
    shape: &Shape<'_>,
    scratch: &Path,
    width: Option<usize>,
    out: &mut Output,
) -> Result<()> {
    match format {
        Format::Table => print_grid(ready, shape, width, out),
        Format::Jsonl => print_rows(RowFormat::Jsonl, (b"", b"", b""), ready, shape, out),
        Format::Json => print_rows(RowFormat::Jsonl, (b"[\n", b",\n", b"\n]\n"), ready, shape, out),
        Format::Parquet => columnar::write(ready, shape, Encoding::Parquet, scratch, out).map(drop),
        Format::Arrow => columnar::write(ready, shape, Encoding::Arrow, scratch, out).map(drop),
        Format::Csv => print_rows(RowFormat::Csv, (b"", b"", b""), ready, shape, out),
    }
}

/// The bytes before the first row, between two rows, and after the last.
type Around = (&'static [u8], &'static [u8], &'static [u8]);

fn print_rows(
    format: RowFormat,
    (open, between, close): Around,
    ready: sql::Answer<'_>,
    shape: &Shape<'_>,
    out: &mut Output,
) -> Result<()> {
    let lines = Lines::new(shape, format);
    out.raw(lines.header())?;
    out.raw(open)?;
    let (mut line, mut is_first) = (Vec::new(), true);
    ready.rows(&mut |cells| {
        line.clear();
        lines.write(&mut line, cells);
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
