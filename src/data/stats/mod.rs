//! Exact statistics of the rows of a version, or of some of them, over packed columns; cached if
//! computing them takes a while.
//!
//! Every column is a task; threads take one after another. A column is read two or three times and
//! never held whole: [`runs`] bounds the memory, whatever the rows are. Columns that DataChain
//! hides (the parts of a File besides its path and size) are left out.
//!
//! | file | what lives there |
//! |---|---|
//! | [`facts`] | the statistics, and their JSON |
//! | [`page`], [`moved`] | the statistics for people; differences between two of them |
//! | [`reading`], [`runs`] | rows and their packed values; counting equal keys in bounded memory |
//! | [`mod@numbers`], [`mod@texts`], [`mod@lists`], [`mod@files`] | the measures of each type |

pub mod facts;
mod files;
mod lists;
pub mod moved;
mod numbers;
pub mod page;
mod reading;
mod runs;
mod texts;

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use sha2::{Digest, Sha256};

use self::facts::{ColumnStatistics, ColumnType, Files, Flag, Measures, Pictures, Statistics};
use self::files::FilePacked;
use self::lists::Lists;
use self::numbers::{Kind, measure};
use self::reading::{Damage, Rows};
use crate::catalog::VersionInfo;
use crate::pack::columns::Held;
use crate::pack::home::Home;
use crate::query;
use crate::tables::{Rows as TableRows, Source};
use dcfs_core::cancel;
use dcfs_core::error::{Error, Kind as ErrorKind, Result};
use dcfs_core::expr::packed::Packed;
use dcfs_core::expr::{Column, Fault, Form};
use dcfs_core::hex::hex;
use dcfs_core::schema::{FileColumn, Schema, ValueType};

/// Changes with the contents of statistics: those cached by another dcfs version are not read.
const FORMAT: u32 = 2;

/// Statistics of more cells than this are cached: computing them takes some tenth of a second.
const WORTH_KEEPING: u64 = 200_000;

/// The most bytes of cached statistics that are read.
const LARGEST: u64 = 64 << 20;

/// The most threads: each holds up to 16 MiB.
const MOST_THREADS: usize = 2;

/// The most labels of all columns together, and of one.
const LABELS_OF_ALL: usize = 20_000;
const MOST_LABELS: usize = 1000;

/// The share of one value above which a column is near-constant, and of NULLs above which it is
/// null-heavy.
const NEARLY: f64 = 0.99;
const HEAVY: f64 = 0.5;

/// The statistics of some rows: as JSON, and parsed.
#[derive(Clone, Debug)]
pub struct Found {
    /// `_stats.json`.
    pub json: String,
    pub facts: Statistics,
}

impl Found {
    fn read(json: String) -> Result<Self> {
        let facts = serde_json::from_str(&json).map_err(|e| Error::new(ErrorKind::Broken, e))?;
        Ok(Self { json, facts })
    }
}

/// The statistics of the rows of `source`. Blocks for a pass over the rows if a column is not
/// packed yet. Calls `each` now and then with the number of rows read.
///
/// # Errors
/// Errors of the catalog and the pack; cancellation.
pub fn of(source: &Source, each: &(dyn Fn(u64) + Sync)) -> Result<Found> {
    let home = Home::of(&source.pack, "stats");
    let stem = source.stem(&format!("stats{FORMAT}-{}", named(&source.of)));
    if let Some(found) = home.find(&stem).and_then(kept) {
        return Ok(found);
    }
    let facts = gather(source, each)?;
    let json =
        serde_json::to_string_pretty(&facts).map_err(|e| Error::new(ErrorKind::Broken, e))?;
    let cells = facts.num_examples.saturating_mul(facts.statistics.len() as u64);
    if cells > WORTH_KEEPING {
        // If they cannot be cached, they are computed again next time.
        let keep = |json: &str| -> Result<File> {
            let mut draft = home.create()?;
            draft.write_all(json.as_bytes()).map_err(|e| Error::new(ErrorKind::Broken, e))?;
            home.keep(draft, &stem)
        };
        if let Err(error) = keep(&json) {
            tracing::debug!(%error, "statistics are not kept");
        }
    }
    // Parsed from the text, so that cached and fresh statistics are bit-identical.
    Found::read(json + "\n")
}

/// A version's name in a cache file's name: a dataset may be renamed, and statistics include the
/// name.
fn named(of: &VersionInfo) -> String {
    hex(&Sha256::digest(of.to_string())[..8])
}

/// Reads cached statistics.
fn kept(file: File) -> Option<Found> {
    let mut json = String::new();
    file.take(LARGEST).read_to_string(&mut json).ok()?;
    Found::read(json + "\n").ok()
}

/// A task.
enum Task {
    /// A packed column of numbers, by its index among the requested columns.
    Numbers(usize, Kind),
    Bools(usize),
    Texts(usize),
    /// Only whether there is a value.
    Presence(usize, ColumnType),
    File(usize, FilePlaces),
    Pictures(String, usize, usize),
}

/// The indices of the parts of a File column among the requested columns.
struct FilePlaces {
    path: usize,
    source: Option<usize>,
    size: Option<usize>,
}

/// The result of a task.
enum Piece {
    Column(ColumnType, Box<Measures>),
    Files(Files),
    Pictures(Pictures),
}

/// The tasks.
#[derive(Default)]
struct Plan {
    wanted: Vec<Arc<Column>>,
    tasks: Vec<Task>,
    /// The names of columns in order, and the task, or the list, that measures each.
    columns: Vec<(String, At)>,
    files: Vec<(String, usize)>,
    pictures: Vec<usize>,
    lists: Vec<Lists>,
}

#[derive(Clone, Copy)]
enum At {
    Task(usize),
    List(usize),
}

impl Plan {
    fn new(schema: &Schema) -> Self {
        let mut plan = Self::default();
        let leaves = schema.leaves();
        // The keys of a ranking are not a column of the version.
        let shown = leaves.iter().filter(|leaf| !leaf.hidden && !leaf.column.starts_with('\0'));
        for leaf in shown.clone() {
            let at = plan.column(&leaf.name, leaf.column, leaf.value);
            plan.columns.push((leaf.name.clone(), at));
        }
        for leaf in shown.clone().filter(|leaf| *leaf.value == ValueType::Int) {
            let Some(model) = leaf.name.strip_suffix(".width") else { continue };
            let height = format!("{model}.height");
            let beside = shown.clone().find(|o| o.name == height && *o.value == ValueType::Int);
            let Some(beside) = beside else { continue };
            let sides = [leaf, beside].map(|side| plan.ask(&side.name, side.column, Form::Int));
            plan.pictures.push(plan.tasks.len());
            plan.tasks.push(Task::Pictures(model.to_owned(), sides[0], sides[1]));
        }
        for file in &schema.files {
            plan.file(file);
        }
        plan
    }

    fn column(&mut self, name: &str, column: &str, value: &ValueType) -> At {
        let task = match value {
            ValueType::List(item) => {
                let are_vectors = lists::are_vectors(item);
                self.lists.push(Lists { column: column.to_owned(), are_vectors });
                return At::List(self.lists.len() - 1);
            }
            ValueType::Int => Task::Numbers(self.ask(name, column, Form::Int), Kind::Int),
            ValueType::Float => Task::Numbers(self.ask(name, column, Form::Float), Kind::Float),
            ValueType::Time => Task::Numbers(self.ask(name, column, Form::Time), Kind::Time),
            ValueType::Bool => Task::Bools(self.ask(name, column, Form::Bool)),
            ValueType::Text => Task::Texts(self.ask(name, column, Form::Text)),
            ValueType::Bytes => {
                Task::Presence(self.ask(name, column, Form::Presence), ColumnType::Bytes)
            }
            ValueType::Model(_) | ValueType::Json => {
                Task::Presence(self.ask(name, column, Form::Presence), ColumnType::Json)
            }
        };
        self.tasks.push(task);
        At::Task(self.tasks.len() - 1)
    }

    fn file(&mut self, file: &FileColumn) {
        let Some(path) = &file.path else { return };
        let places = FilePlaces {
            path: self.ask(&file.name, path, Form::Text),
            source: file.source.as_ref().map(|column| self.ask(&file.name, column, Form::Text)),
            size: file.size.as_ref().map(|column| self.ask(&file.name, column, Form::Int)),
        };
        self.files.push((file.name.clone(), self.tasks.len()));
        self.tasks.push(Task::File(self.files.len() - 1, places));
    }

    /// The index of a packed column among the requested ones.
    fn ask(&mut self, name: &str, column: &str, form: Form) -> usize {
        let known = self.wanted.iter().position(|own| own.column == column && own.form == form);
        known.unwrap_or_else(|| {
            let value = match form {
                Form::Bool => ValueType::Bool,
                Form::Int => ValueType::Int,
                Form::Float => ValueType::Float,
                Form::Time => ValueType::Time,
                Form::Text | Form::Vector | Form::Presence => ValueType::Text,
            };
            let (name, column) = (name.to_owned(), column.to_owned());
            self.wanted.push(Arc::new(Column { name, column, value, form }));
            self.wanted.len() - 1
        })
    }
}

fn gather(source: &Source, each: &(dyn Fn(u64) + Sync)) -> Result<Statistics> {
    let plan = Plan::new(&source.schema);
    let asked: Vec<&Arc<Column>> = plan.wanted.iter().collect();
    let held = source
        .pack
        .packed(&source.catalog, &source.of, &asked, each)?
        .hold(&source.pack, &plan.wanted);
    let ranked;
    let within = match &source.rows {
        TableRows::All => None,
        TableRows::Some(rows) => Some(&**rows),
        TableRows::Ranked(ranking) => {
            ranked = ranking.rows.iter().map(|ranked| ranked.row).collect();
            Some(&ranked)
        }
    };
    let rows = Rows { count: held.rows(), within };
    let pieces = work(&plan, &held, rows)?;
    let lists = match plan.lists.is_empty() {
        true => Vec::new(),
        false => lists::lists(source, &plan.lists, each)?,
    };
    if source.pack.is_damaged() {
        return Err(query::Error::Damaged.into());
    }
    Ok(told(source.of.to_string(), rows.len(), &plan, pieces, &lists))
}

/// Runs all tasks, with a thread for each core.
fn work(plan: &Plan, held: &Held, rows: Rows<'_>) -> Result<Vec<Option<Piece>>> {
    let most_labels = LABELS_OF_ALL / plan.columns.len().max(1);
    let most_labels = most_labels.min(MOST_LABELS) as u64;
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<Option<Piece>>> = Mutex::new(plan.tasks.iter().map(|_| None).collect());
    let flag = cancel::current();
    let take = || -> Result<()> {
        loop {
            let number = next.fetch_add(1, Relaxed);
            let Some(task) = plan.tasks.get(number) else { return Ok(()) };
            cancel::check()?;
            let piece = task.run(plan, held, rows, most_labels).map_err(|Damage| {
                held.distrust();
                Error::from(query::Error::from(Fault::Damaged))
            })?;
            done.lock().unwrap_or_else(PoisonError::into_inner)[number] = Some(piece);
        }
    };
    thread::scope(|scope| {
        let start = || scope.spawn(|| cancel::within(flag.clone(), take));
        let running: Vec<_> = (1..threads_for(plan.tasks.len())).map(|_| start()).collect();
        let mut all = take();
        for thread in running {
            let lost = |_| Error::new(ErrorKind::Broken, "a thread that measures columns died");
            all = all.and(thread.join().map_err(lost).flatten());
        }
        all
    })?;
    Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// The number of threads for so many tasks.
fn threads_for(pieces: usize) -> usize {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    cores.min(MOST_THREADS).min(pieces).max(1)
}

impl Task {
    fn run(
        &self,
        plan: &Plan,
        held: &Held,
        rows: Rows<'_>,
        most_labels: u64,
    ) -> Result<Piece, Damage> {
        let column = |kind, packed: &Packed<'_>, measures: Measures| {
            let nulls = Measures::nulls(rows.len() - rows.valid(packed), rows.len());
            let Measures { nan_count, nan_proportion, .. } = nulls;
            Piece::Column(kind, Box::new(Measures { nan_count, nan_proportion, ..measures }))
        };
        Ok(match self {
            Self::Numbers(at, kind) => {
                let packed = held.get(*at);
                let shown = match kind {
                    Kind::Int => ColumnType::Int,
                    Kind::Float => ColumnType::Float,
                    Kind::Time => ColumnType::Datetime,
                };
                column(shown, &packed, numbers(&packed, *kind, rows)?)
            }
            Self::Bools(at) => {
                let packed = held.get(*at);
                column(ColumnType::Bool, &packed, bools(&packed, rows)?)
            }
            Self::Texts(at) => {
                let packed = held.get(*at);
                let (kind, measures) = texts::texts(&packed, rows, most_labels)?;
                column(kind, &packed, measures)
            }
            Self::Presence(at, kind) => column(*kind, &held.get(*at), Measures::default()),
            Self::File(number, places) => {
                let of = FilePacked {
                    path: held.get(places.path),
                    source: places.source.map(|at| held.get(at)),
                    size: places.size.map(|at| held.get(at)),
                };
                Piece::Files(files::files(&plan.files[*number].0, &of, rows)?)
            }
            Self::Pictures(name, width, height) => {
                let sides = (held.get(*width), held.get(*height));
                Piece::Pictures(files::pictures(name, (&sides.0, &sides.1), rows)?)
            }
        })
    }
}

/// Measures a packed column of numbers.
fn numbers(packed: &Packed<'_>, kind: Kind, rows: Rows<'_>) -> Result<Measures, Damage> {
    let mut count = 0;
    rows.keys(packed, kind, &mut |_| count += 1)?;
    // Every row was just read, so none is damaged.
    let each = |give: &mut dyn FnMut(u64)| {
        let _ = rows.keys(packed, kind, give);
    };
    let any = |give: &mut dyn FnMut(u64, u64)| each(&mut |key| give(key, 1));
    Ok(measure(kind, &any, &|give| runs::runs(count, &each, give)))
}

/// Measures a packed column of booleans; labels are spelled as in Python, like Hugging Face's.
fn bools(packed: &Packed<'_>, rows: Rows<'_>) -> Result<Measures, Damage> {
    let mut counts = [0_u64; 2];
    rows.each_valid(packed, |row| {
        counts[usize::from(packed.int(row).ok_or(Damage)? == 1)] += 1;
        Ok(())
    })?;
    let named = [("False", counts[0]), ("True", counts[1])];
    let told = named.into_iter().filter(|(_, count)| *count > 0);
    let frequencies: serde_json::Map<_, _> =
        told.map(|(name, count)| (name.to_owned(), count.into())).collect();
    let n_unique = Some(frequencies.len() as u64);
    Ok(Measures { n_unique, frequencies: Some(frequencies), ..Measures::default() })
}

/// Combines the results in the order of the columns.
fn told(
    dataset: String,
    rows: u64,
    plan: &Plan,
    pieces: Vec<Option<Piece>>,
    lists: &[(ColumnType, Measures, Vec<Flag>)],
) -> Statistics {
    let mut all = Statistics { dataset, num_examples: rows, ..Statistics::default() };
    for (name, at) in &plan.columns {
        let (column_type, column_statistics, mut flags) = match at {
            At::List(at) => lists.get(*at).cloned().unwrap_or_default(),
            At::Task(at) => match pieces.get(*at) {
                Some(Some(Piece::Column(kind, measures))) => {
                    (*kind, (**measures).clone(), Vec::new())
                }
                _ => continue,
            },
        };
        flags.extend(flags_of(&column_statistics, rows));
        let column_name = name.clone();
        all.statistics.push(ColumnStatistics {
            column_name,
            column_type,
            column_statistics,
            flags,
        });
    }
    for piece in pieces.into_iter().flatten() {
        match piece {
            Piece::Files(files) => all.files.push(files),
            Piece::Pictures(pictures) => all.pictures.push(pictures),
            Piece::Column(..) => {}
        }
    }
    all
}

/// The flags of a column.
fn flags_of(of: &Measures, rows: u64) -> Vec<Flag> {
    let valid = rows - of.nan_count;
    let mut flags = Vec::new();
    let most = of.labels().map(|(_, count)| count).max();
    let most = most.or_else(|| of.most_frequent.first().map(|frequent| frequent.count));
    match of.n_unique {
        Some(1) if valid > 1 => flags.push(Flag::Constant),
        Some(n) if n == rows && rows > 1 => flags.push(Flag::Unique),
        Some(_) if most.is_some_and(|most| facts::share(most, valid) >= NEARLY) => {
            flags.push(Flag::NearConstant);
        }
        _ => {}
    }
    if of.nan_count > 0 && of.nan_proportion >= HEAVY {
        flags.push(Flag::NullHeavy);
    }
    flags
}
