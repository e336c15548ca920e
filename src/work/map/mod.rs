//! `dcfs map`, `dcfs gen` and `dcfs agg`: a program sees every row of a version, or every group of
//! rows, and its answers become columns of a new version.
//!
//! 1. Invalid requests are refused before anything runs: the program, the types, the name,
//!    conflicting columns ([`plan`]).
//! 2. A stopped run is resumed; a version that exists already is not made again ([`identity`]).
//! 3. Rows are read ahead of the program ([`feed`]), their files fetched and given a path
//!    ([`local`]); one process per row ([`each`]) or a worker ([`worker`]) answers, and every
//!    answer is checked against the types ([`task`]).
//! 4. Answers are stored in the run's own file; at the end they are joined with their rows and
//!    published ([`publish`]).
//!
//! | file | contents |
//! |---|---|
//! | `work` | one run, from its beginning to its version |
//! | `program` | the program, and the digest of its files |
//! | `plan` | validates a request, and decides which rows are computed |
//! | `identity` | the identity of a computation; the part of it stored with a version |
//! | `delta` | the rows of the last version that stay |
//! | `group` | rows that a program sees together |
//! | `feed`, `local` | rows, and their files as plain paths |
//! | `engine` | the tasks of a run: fetching, programs, storing |
//! | `each`, `worker`, `process` | how programs are run |
//! | `shim.py` | how Python functions are run |
//! | `step`, `tar` | built-in steps |
//! | `task` | a row passed to a program |
//! | `keeper` | stores answers and counts errors |
//! | `publish` | the new version |

mod delta;
mod each;
mod engine;
mod feed;
mod group;
mod identity;
mod keeper;
mod lines;
mod local;
mod plan;
mod process;
mod program;
mod publish;
mod silent;
mod step;
mod tar;
mod task;
mod work;
mod worker;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dcfs_core::name::DatasetName;
use dcfs_core::provenance::Provenance;
use dcfs_core::schema::{Schema, Signal, signature};
use dcfs_data::catalog::{Catalog, Number, Saved, VersionInfo};
use dcfs_data::runs::{Answer, Shard};
use dcfs_store::Stores;
use tokio::runtime::Runtime;
use tokio::sync::watch;

pub use crate::index::Counts;

pub use self::identity::{Recipe, short};
pub use self::process::kill_all;
pub use self::step::Step;
pub use self::work::run;

use crate::save::Chosen;

/// The number of answers: one per row, many per row, or for rows together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Map,
    Gen,
    /// One answer, or many, for all rows of a group.
    Agg,
}

impl Shape {
    /// The name of the command.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Map => "map",
            Self::Gen => "gen",
            Self::Agg => "agg",
        }
    }
}

/// The choice if the program has changed since rows were computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edited {
    /// Compute all rows again.
    Fresh,
    /// Compute only missing rows.
    Keep,
}

/// The request.
#[derive(Clone, Debug)]
pub struct Request {
    pub shape: Shape,
    /// The name of the new dataset.
    pub name: DatasetName,
    pub number: Number,
    pub description: Option<String>,
    pub attrs: Option<Vec<String>>,
    /// The program and its arguments.
    pub words: Vec<OsString>,
    /// A built-in step instead of a program.
    pub step: Option<Step>,
    /// Whether it is a worker that answers lines of JSON.
    pub stays: bool,
    /// Whether the process for a row gets the file's bytes on standard input.
    pub stdin: bool,
    /// Further files that the program depends on.
    pub depends: Vec<PathBuf>,
    /// The types of the answers; only names if a function declares the types.
    pub out: Option<String>,
    /// The columns to group by; only for [`Shape::Agg`].
    pub by: Vec<String>,
    /// Columns passed to the program besides the file.
    pub columns: Vec<String>,
    /// The File column.
    pub file: Option<String>,
    pub no_file: bool,
    /// The signals of the input that rows keep; `None` for the default: all for a map, none for a
    /// gen.
    pub only: Option<Vec<String>>,
    pub jobs: Option<usize>,
    pub batch: usize,
    /// The most rows between two commits.
    pub commit: usize,
    /// Objects prefetched.
    pub prefetch: usize,
    /// Whether rows that fail are kept, with their error.
    pub keeps_errors: bool,
    pub max_errors: Option<u64>,
    pub tries: u32,
    pub row_timeout: Option<Duration>,
    pub start_timeout: Duration,
    /// Whether failed rows of the last version are computed again.
    pub retry_errors: bool,
    /// Compute only new or changed rows; whether rows of deleted objects stay.
    pub delta: Option<KeepDeleted>,
    pub edited: Option<Edited>,
    /// Compute only this shard of the rows, for another run to make a version of.
    pub shard: Option<Shard>,
    /// Compute only this many rows, which are shown and not stored.
    pub sample: Option<u64>,
    /// Whether a version without rows may be made.
    pub allow_empty: bool,
    /// In canonical form.
    pub filter: Option<String>,
    pub provenance: Provenance,
}

/// Whether a delta keeps the rows of deleted objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepDeleted(pub bool);

/// The input version.
pub struct Input<'i> {
    pub catalog: Arc<Catalog>,
    pub of: VersionInfo,
    pub schema: Arc<Schema>,
    pub chosen: Chosen<'i>,
    /// The number of chosen rows.
    pub rows: u64,
}

/// The environment of a run.
pub struct Desk<'d> {
    pub stores: Arc<Stores>,
    pub runtime: &'d Runtime,
    pub cache: PathBuf,
    /// Set to true to stop the run.
    pub stop: watch::Sender<bool>,
    pub watch: &'d (dyn Watch + Sync),
}

/// Receives progress.
pub trait Watch {
    /// Information for the user that is not an error.
    fn say(&self, what: &str);
    /// The run has `rows` rows to compute, of which `done` are done already.
    fn begin(&self, run: &str, rows: u64, done: u64);
    /// This many more rows were answered, with their bytes and errors.
    fn rows(&self, rows: u64, bytes: u64, errors: u64);
    /// The number of rows of the new version written.
    fn wrote(&self, rows: u64);
}

/// A row of a sample.
#[derive(Clone, Debug)]
pub struct Sampled {
    pub row: i64,
    pub label: String,
    /// JSON, or the reason why there is none.
    pub answer: std::result::Result<String, String>,
}

/// The result.
#[derive(Clone, Debug, Default)]
pub struct Finished {
    /// The run's id.
    pub run: String,
    pub saved: Option<Saved>,
    /// The version that already exists.
    pub unchanged: Option<VersionInfo>,
    /// The shard that was computed, of which no version is made yet.
    pub part: Option<Shard>,
    /// The number of rows that this run computed, and that were left by an earlier one.
    pub computed: u64,
    pub reused: u64,
    pub errors: u64,
    pub first_errors: Vec<String>,
    /// For a delta.
    pub counts: Option<Counts>,
    pub seconds: f64,
    pub sample: Vec<Sampled>,
    /// The total number of rows, if only a sample was run.
    pub of_rows: u64,
}

/// The types as typed.
fn printed(signals: &[Signal]) -> String {
    signature::Printed(signals).to_string()
}

/// Why a row failed, if it did.
fn error_of(answer: &Answer) -> Option<&str> {
    match answer {
        Answer::Error(why) => Some(why),
        Answer::Value(_) => None,
    }
}
