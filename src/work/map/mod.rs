//! `dcfs map`, `dcfs gen` and `dcfs agg`: a program sees every row of a version, or every group of them, and what it answers
//! becomes columns of a new one.
//!
//! 1. What can be refused is refused before anything runs: the program, the types, the name, columns that clash ([`plan`]).
//! 2. A run that stopped goes on; a version that is there already is not made again ([`identity`]).
//! 3. Rows are read ahead of the program ([`feed`]), their files fetched and given a path ([`local`]); programs answer, a
//!    process for each row ([`each`]) or workers that stay ([`worker`]), and every answer is held against the types ([`task`]).
//! 4. Answers are kept in the run's own file; at the end they are joined with the rows they are of, and published
//!    ([`publish`]).
//!
//! | file | what it does |
//! |---|---|
//! | `work` | one run, from its beginning to its version |
//! | `program` | what is run, and the digest of its files |
//! | `plan` | what of a request makes sense, and which rows are computed |
//! | `identity` | what tells one computation from another; what a version keeps of it |
//! | `delta` | which rows of the last version stay |
//! | `group` | rows that a program sees together |
//! | `feed`, `local` | rows, and their files as plain paths |
//! | `engine` | everybody at work: fetching, programs, keeping |
//! | `each`, `worker`, `process` | how a program is asked |
//! | `shim.py` | how a Python function is asked |
//! | `step`, `tar` | steps that need no program |
//! | `task` | a row in the hands of a program |
//! | `keeper` | answers are kept; what failed is counted |
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

/// One answer for a row, or many, or for rows together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Map,
    Gen,
    /// One answer, or many, for all rows of a group.
    Agg,
}

impl Shape {
    /// As the command is called.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Map => "map",
            Self::Gen => "gen",
            Self::Agg => "agg",
        }
    }
}

/// What is done where the program is another one than when rows were computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edited {
    /// All rows again.
    Fresh,
    /// Only what is missing.
    Keep,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    pub shape: Shape,
    /// What is made.
    pub name: DatasetName,
    pub number: Number,
    pub description: Option<String>,
    pub attrs: Option<Vec<String>>,
    /// The program and its arguments.
    pub words: Vec<OsString>,
    /// In place of a program.
    pub step: Option<Step>,
    /// It stays, and answers lines of JSON.
    pub stays: bool,
    /// A process for each row has the file's bytes on standard input.
    pub stdin: bool,
    /// More files that the program depends on.
    pub depends: Vec<PathBuf>,
    /// The types of the answers; names alone where a function says the types.
    pub out: Option<String>,
    /// Columns whose values rows of a group have in common; none but for [`Shape::Agg`].
    pub by: Vec<String>,
    /// Columns that the program is handed beside the file.
    pub columns: Vec<String>,
    /// The File column.
    pub file: Option<String>,
    pub no_file: bool,
    /// The signals of the input that rows keep; `None` as is usual: all for a map, none for a gen.
    pub only: Option<Vec<String>>,
    pub jobs: Option<usize>,
    pub batch: usize,
    /// Rows between two commits, at most.
    pub commit: usize,
    /// Objects that are fetched ahead.
    pub prefetch: usize,
    /// Rows that fail are kept, with their error.
    pub keeps_errors: bool,
    pub max_errors: Option<u64>,
    pub tries: u32,
    pub row_timeout: Option<Duration>,
    pub start_timeout: Duration,
    /// Rows of the last version that failed are computed again.
    pub retry_errors: bool,
    /// Only what is new or changed; whether rows of what is gone stay.
    pub delta: Option<KeepDeleted>,
    pub edited: Option<Edited>,
    /// Only this part of the rows, for another run to make a version of.
    pub shard: Option<Shard>,
    /// So many rows, which are shown and not kept.
    pub sample: Option<u64>,
    /// A version without rows is made, too.
    pub allow_empty: bool,
    /// In its printed form.
    pub filter: Option<String>,
    pub provenance: Provenance,
}

/// Whether a delta keeps the rows of what is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepDeleted(pub bool);

/// What is read.
pub struct Input<'i> {
    pub catalog: Arc<Catalog>,
    pub of: VersionInfo,
    pub schema: Arc<Schema>,
    pub chosen: Chosen<'i>,
    /// How many rows are chosen.
    pub rows: u64,
}

/// What a run works with.
pub struct Desk<'d> {
    pub stores: Arc<Stores>,
    pub runtime: &'d Runtime,
    pub cache: PathBuf,
    /// Said true where the run is to stop.
    pub stop: watch::Sender<bool>,
    pub watch: &'d (dyn Watch + Sync),
}

/// Who is told how a run goes.
pub trait Watch {
    /// Something that a person should know, and that is no error.
    fn say(&self, what: &str);
    /// The run has so many rows to compute, of which so many are done already.
    fn begin(&self, run: &str, rows: u64, done: u64);
    /// So many more rows were answered; of so many bytes.
    fn rows(&self, rows: u64, bytes: u64, errors: u64);
    /// Rows of the new version that are written.
    fn wrote(&self, rows: u64);
}

/// A row of a sample.
#[derive(Clone, Debug)]
pub struct Sampled {
    pub row: i64,
    pub label: String,
    /// JSON, or why there is none.
    pub answer: std::result::Result<String, String>,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Finished {
    /// The run's id.
    pub run: String,
    pub saved: Option<Saved>,
    /// The version that is there already.
    pub unchanged: Option<VersionInfo>,
    /// The part that was computed, of which no version is made yet.
    pub part: Option<Shard>,
    /// Rows that this run computed, and those that were there from an earlier one.
    pub computed: u64,
    pub reused: u64,
    pub errors: u64,
    pub first_errors: Vec<String>,
    /// Of a delta.
    pub counts: Option<Counts>,
    pub seconds: f64,
    pub sample: Vec<Sampled>,
    /// Rows there are in all, where only a sample was run.
    pub of_rows: u64,
}

/// The types as they are typed.
fn printed(signals: &[Signal]) -> String {
    signature::Printed(signals).to_string()
}

/// Why a row failed, where it did.
fn error_of(answer: &Answer) -> Option<&str> {
    match answer {
        Answer::Error(why) => Some(why),
        Answer::Value(_) => None,
    }
}
