//! Loads the records of files as a dataset: a row each, with types that hold all values.
//!
//! Files are read twice: once for the types, then for the rows, so that types are not guessed from the first lines and
//! memory does not grow with the number of records. A delta reads only files that changed since the last version, and
//! copies the rows of the others inside the database.
//!
//! | file | contents |
//! |---|---|
//! | [`sources`] | the files: of a folder, of a pattern, of a store |
//! | [`records`] | CSV, JSON Lines and JSON as records |
//! | [`mod@parquet`] | Parquet as records |
//! | [`mod@xml`], [`labels`] | elements of XML, and label files of the field, as records |
//! | [`lake`] | tables of Delta Lake, as data files of Parquet and how their rows are seen |
//! | [`names`] | the names of classes beside YOLO's labels |
//! | [`types`], [`mod@column`], [`kinds`] | finds the types that hold the values seen |
//! | [`recipe`], [`delta`] | what a version remembers of its files; which of them are read again |

mod column;
mod delta;
mod kinds;
mod labels;
pub mod lake;
mod names;
mod parquet;
mod recipe;
mod records;
mod sources;
mod types;
mod xml;

use std::fs::File;

use dcfs_core::cell::Cell;
use dcfs_core::error::{self, Kind, Result};
use dcfs_core::id::RowId;
use dcfs_core::object::Object;
use dcfs_core::provenance::Provenance;
use dcfs_core::schema::{Layout, Scalar};
use dcfs_data::catalog::{Catalog, Piece, Publication, Saved, VersionInfo, Writer};

use crate::index::Counts;
use delta::{Part, Plan};
use kinds::Value;
pub use labels::{Classes, classes};
use recipe::{Known, LOAD, Recipe};
pub use records::{Format, Reading};
pub use sources::{SourceFile, endings, formats, local};
use types::Columns;

/// Rows, or ranges of them, written at a time.
const BATCH: usize = 256;

/// Why a file cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read `{file}`: {cause}")]
    Unread { file: String, cause: std::io::Error },
    #[error("`{file}`, line {line}: {what}")]
    Line { file: String, line: u64, what: String },
    #[error("`{file}`: {what}")]
    File { file: String, what: String },
    #[error(
        "`{file}`, line {line}: `{value}` in column `{column}` is no {wanted}; leave out `--types {column}:...`, or fix the file"
    )]
    Type { file: String, line: u64, column: String, value: String, wanted: &'static str },
}

impl From<Error> for error::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Unread { cause, .. } if cause.kind() == std::io::ErrorKind::NotFound => {
                Kind::Missing
            }
            Error::Unread { .. } => Kind::Denied,
            _ => Kind::Invalid,
        };
        Self::new(kind, error)
    }
}

fn wrong(file: &str, what: impl Into<String>) -> Error {
    Error::File { file: file.to_owned(), what: what.into() }
}

/// What to load.
pub struct Request<'r> {
    /// In the order of their rows; at least one.
    pub files: Vec<SourceFile>,
    /// Gets an object of a store.
    pub fetch: &'r dyn Fn(&Object) -> Result<File>,
    pub reading: Reading,
    /// Types that the user requests.
    pub types: Vec<(String, Scalar)>,
    /// Whether the rows of files that are gone stay, in a delta.
    pub keeps_deleted: bool,
    /// The table, and its version, whose data files these are.
    pub table: Option<lake::TableVersion>,
}

/// The version that a delta starts from.
pub struct Last {
    pub of: VersionInfo,
    by: Provenance,
    /// The first `sys__id` of its rows; `None` if the numbers of its rows have gaps.
    first: Option<RowId>,
}

impl Last {
    /// The version `of`, the latest of its dataset.
    ///
    /// # Errors
    /// It was not made by `dcfs load`; errors of the catalog.
    pub fn new(catalog: &Catalog, of: VersionInfo) -> Result<Self> {
        let by = catalog.details(&of)?.provenance.unwrap_or_default();
        if by.operation() != Some(LOAD) {
            let message = format!(
                "`{of}` was not made by `dcfs load`, so it is not known which of its rows are of which file; leave \
                 `--delta` out, or save under another name"
            );
            return Err(error::Error::new(Kind::Invalid, message));
        }
        let (rows, first, last) = catalog.extent(&of)?;
        let span = last.key().checked_sub(first.key()).and_then(|span| u64::try_from(span).ok());
        let is_dense = rows == 0 || span.and_then(|span| span.checked_add(1)) == Some(rows);
        let first = is_dense.then_some(first);
        Ok(Self { of, by, first })
    }
}

/// The types of the records, and which of them are read.
pub struct Found {
    columns: Columns,
    plan: Plan,
    /// The number of rows of the new version.
    pub rows: u64,
    /// Why a delta reads all files.
    pub whole: Option<String>,
    upon: Option<VersionInfo>,
}

impl Found {
    /// The layout of a version of the records.
    fn layout(&self) -> Layout {
        Layout::of_signals(&self.columns.signals())
    }

    /// Columns and their types, for people: `class: int`.
    pub fn told(&self) -> Vec<String> {
        self.columns.told()
    }

    /// The files that are new, changed, gone or none of these; `None` if they were not compared with a version's.
    pub fn counts(&self) -> Option<Counts> {
        (self.upon.is_some() && self.whole.is_none()).then_some(self.plan.counts)
    }

    /// The version that is as it would be made anew.
    pub fn unchanged(&self) -> Option<&VersionInfo> {
        self.upon.as_ref().filter(|_| self.counts().is_some_and(|counts| counts.is_nothing()))
    }
}

/// Reads all files, or those that changed since `last`, and returns the types that hold all values.
///
/// # Errors
/// [`enum@Error`].
pub fn look(request: &Request<'_>, last: Option<Last>) -> Result<Found> {
    let Some(last) = last else {
        let plan = Plan::all(request.files.len());
        let (columns, rows) = seen(request, &plan, Columns::default(), &mut |_, _| false)?;
        return Ok(Found { columns, plan, rows, whole: None, upon: None });
    };
    let why = match compared(request, &last) {
        Err(why) => why,
        Ok((plan, recipe)) => {
            // A type that the last version has not would be another in its rows, too.
            let mut odd = None;
            let mut was = recipe.columns;
            was.declare(request.declared());
            was.want(&request.types).map_err(|what| wrong(&last.of.to_string(), what))?;
            let (columns, rows) = seen(request, &plan, was.clone(), &mut |file, columns| {
                odd = was.differs(columns).map(|types| (file.shown.clone(), types));
                odd.is_some()
            })?;
            let Some((file, [was, is])) = odd else {
                let rows = rows + plan.kept();
                return Ok(Found { columns, plan, rows, whole: None, upon: Some(last.of) });
            };
            format!("`{}` has `{was}`, and with `{file}` it is `{is}`", last.of)
        }
    };
    if request.keeps_deleted {
        let what = format!(
            "{why}: all files have to be read again, and those that are gone cannot be; leave `--keep-deleted` out"
        );
        return Err(error::Error::new(Kind::Invalid, what));
    }
    let found = look(request, None)?;
    Ok(Found { whole: Some(why), upon: Some(last.of), ..found })
}

/// What a delta reads, and how the last version was loaded; or why all is read.
fn compared(request: &Request<'_>, last: &Last) -> std::result::Result<(Plan, Recipe), String> {
    let of = &last.of;
    let unknown = || format!("it is not recorded which rows of `{of}` are of which file");
    let recipe = Recipe::of(&last.by).ok_or_else(unknown)?;
    if recipe.reading != request.reading.told(&request.types) {
        return Err(format!("`{of}` was loaded with other options"));
    }
    let files = recipe.files().ok_or_else(unknown)?;
    let rows: u64 = files.iter().fold(0, |sum, file| sum.saturating_add(file.rows));
    let first = last.first.filter(|_| of.rows == Some(rows)).ok_or_else(unknown)?;
    let plan = Plan::delta(&request.known(), &files, first, request.keeps_deleted);
    Ok((plan, recipe))
}

impl Request<'_> {
    /// The state of the files, without rows.
    fn known(&self) -> Vec<Known> {
        self.files.iter().map(|file| self.known_of(file, 0)).collect()
    }

    fn known_of(&self, file: &SourceFile, rows: u64) -> Known {
        Known::of(file, self.reading.format == Format::Yolo, rows)
    }

    /// The columns of a table.
    fn declared(&self) -> &[lake::Declared] {
        self.reading.table.as_ref().map_or(&[], |(_, columns)| columns)
    }

    /// The error for a value that is not of the type of its column.
    fn mistyped(&self, file: &SourceFile, line: u64, odd: column::Odd) -> Error {
        let column::Odd { column, value, wanted } = odd;
        let file = file.shown.clone();
        let is_of_table = self.declared().iter().any(|(name, _)| *name == column)
            && !self.types.iter().any(|(name, _)| *name == column);
        match is_of_table {
            true => {
                let what = format!(
                    "row {line}: `{value}` in column `{column}` is no {wanted}, as the table has it"
                );
                Error::File { file, what }
            }
            false => Error::Type { file, line, column, value, wanted },
        }
    }

    /// The records of one file.
    fn each(&self, file: &SourceFile, each: &mut records::EachRecord<'_>) -> Result<()> {
        records::each(file.open(self.fetch)?, file, &self.reading, each)
    }
}

/// The columns with the kinds of all values that a plan reads, and the number of its records. `stop` is asked after each
/// file.
fn seen(
    request: &Request<'_>,
    plan: &Plan,
    mut columns: Columns,
    stop: &mut dyn FnMut(&SourceFile, &Columns) -> bool,
) -> Result<(Columns, u64)> {
    columns.declare(request.declared());
    let mut rows = 0;
    let mut shown = request.files.first().map_or("", |file| &file.shown);
    for at in plan.read() {
        let file = &request.files[at];
        shown = &file.shown;
        request.each(file, &mut |_, record| {
            rows += 1;
            columns.see(&record);
            Ok(())
        })?;
        if stop(file, &columns) {
            break;
        }
    }
    columns.want(&request.types).map_err(|what| wrong(shown, what))?;
    Ok((columns, rows))
}

/// Saves the records as a new version; calls `each` with the number of rows so far.
///
/// # Errors
/// As [`look`], if a file changed meanwhile; as [`dcfs_data::catalog::Stage::publish`].
pub fn save<'w>(
    request: &Request<'_>,
    found: &Found,
    writer: &'w mut Writer,
    publication: &Publication<'_>,
    each: impl Fn(u64) + 'w,
) -> Result<Saved> {
    let mut stage = writer.stage(found.layout())?;
    stage.watch(each);
    let of: Vec<VersionInfo> = found.upon.iter().cloned().collect();
    let mut batch: Vec<Piece<Vec<Value>>> = Vec::new();
    let mut known = Vec::with_capacity(found.plan.parts.len());
    let mut wanted = 0;
    let mut converter = found.columns.converter();
    let mut add = |batch: &mut Vec<Piece<Vec<Value>>>, most: usize| {
        if batch.len() > most {
            stage.mix(&of, &[], batch.iter().map(cells))?;
            batch.clear();
        }
        Ok::<_, error::Error>(())
    };
    for part in &found.plan.parts {
        match part {
            Part::Keep(file, rows) => {
                wanted += file.rows;
                known.push(*file);
                let Some(rows) = rows else { continue };
                match batch.last_mut() {
                    Some(Piece::Rows(_, last))
                        if last.end().key().checked_add(1) == Some(rows.start().key()) =>
                    {
                        *last = *last.start()..=*rows.end();
                    }
                    _ => batch.push(Piece::Rows(0, rows.clone())),
                }
            }
            Part::Read(at) => {
                let file = &request.files[*at];
                let mut count = 0;
                request.each(file, &mut |line, record| {
                    let row = converter.row(&record);
                    let row = row.map_err(|odd| request.mistyped(file, line, odd))?;
                    count += 1;
                    batch.push(Piece::New(row));
                    add(&mut batch, BATCH)
                })?;
                wanted += count;
                known.push(request.known_of(file, count));
            }
        }
        add(&mut batch, BATCH)?;
    }
    add(&mut batch, 0)?;
    if stage.rows()? != wanted {
        let message = "rows of the last version were removed while they were copied";
        return Err(error::Error::new(Kind::Stale, message));
    }
    let told = request.reading.told(&request.types);
    let recipe = Recipe::new(told, found.columns.clone(), request.table.clone(), &known);
    let recipe = serde_json::to_value(&recipe).ok();
    let provenance = Provenance { recipe, ..publication.provenance.clone() };
    let upon = found.upon.as_ref().map(|last| last.id);
    stage.publish(&Publication { upon, provenance: &provenance, ..publication.clone() })
}

fn cells(piece: &Piece<Vec<Value>>) -> Piece<Vec<Cell<'_>>> {
    let cells = Value::cells;
    match piece {
        Piece::Rows(of, rows) => Piece::Rows(*of, rows.clone()),
        Piece::Row(of, row, values) => Piece::Row(*of, *row, cells(values)),
        Piece::New(values) => Piece::New(cells(values)),
    }
}
