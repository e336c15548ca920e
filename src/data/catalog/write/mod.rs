//! Writes into a catalog while others read and write it: rows are staged, then published. Here in
//! one SQLite file; [`super::split`] does the same on servers, with the same names and numbers.
//!
//! 1. Rows go into a table that no version refers to (`stage`), in transactions that hold the write
//!    lock for [`HELD`] at most, with a rest after each so that others get their turn.
//! 2. One short transaction gives that table its name and registers the version (`publish`): before
//!    it nothing is visible, after it everything.
//! 3. Nothing is ever overwritten: a version's number is chosen inside that transaction, above
//!    every number ever used.
//! 4. A stage is alive while the lock on its file is held. The stage of a killed process is emptied
//!    in slices and dropped by the next writer (`sweep`). Removing a version turns its table into
//!    such a stage.
//! 5. Values are bound; names are quoted; types come from DataChain's own list.
//!
//! | file | contents |
//! |---|---|
//! | `connection` | the write connection, and its short transactions |
//! | `create` | the tables of a new catalog |
//! | `naming` | names and numbers that are allowed |
//! | `stage` | adding rows |
//! | `in_file`, `mix`, `pace`, `lock` | the same in SQLite, and liveness of stages |
//! | `sweep` | removing the stages of dead processes |
//! | `publish`, `preview` | a stage becomes a version |
//! | `jobs` | the programs that make versions, as DataChain records them |
//! | `change` | removing, renaming, describing |
//! | `annotations` | annotations of columns: a table of dcfs's own |
//! | `provenance` | who saved a version, and how: a table of dcfs's own |
//! | `shared` | digests of what hosts share for a version: a table of dcfs's own |

mod annotations;
pub(super) mod change;
pub(super) mod connection;
pub(super) mod create;
mod error;
mod in_file;
mod jobs;
pub(super) mod lock;
mod mix;
pub(super) mod naming;
mod pace;
pub(super) mod preview;
mod provenance;
pub(super) mod publish;
mod shared;
mod stage;
mod sweep;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub(super) use annotations::read as annotations;
pub(super) use error::Refused;
pub(super) use in_file::PREFIX;
pub use jobs::{JobCounts, JobDone, JobEnd, NewJob};
pub use mix::Piece;
pub(super) use provenance::read as provenance;
pub(super) use provenance::settings;
pub use publish::{Copied, Number, Publication, Saved};
pub(super) use shared::{all as all_shared, find as shared};
pub use stage::Stage;
pub(super) use stage::{KEPT, Watch};

use super::ask::{Ask, Write};
use super::error::Error;
use super::split::{self, ServerStage, Servers};
use super::{Digest, VersionInfo};
use connection::Writing;
use dcfs_core::annotation::Annotation;
use dcfs_core::error::Result;
use dcfs_core::id::VersionId;
use dcfs_core::name::DatasetName;
use dcfs_core::schema::Layout;
use in_file::FileStage;
use naming::Places;

/// How long the write lock is held at a time. DataChain waits for a minute; people and mounts
/// should not notice.
const HELD: Duration = Duration::from_millis(40);

/// The rest after a full [`HELD`]: processes waiting for the lock retry every 100 ms at most.
const REST: Duration = Duration::from_millis(3);

/// A catalog open for writing. One thread writes; many may read through [`super::Catalog`] at the
/// same time.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    halves: Halves,
}

/// The places of names and rows.
#[derive(Debug)]
enum Halves {
    /// One SQLite file: one transaction changes both.
    File(Writing),
    /// Names in one place and rows in ClickHouse.
    Servers(Box<Servers>),
}

/// Changes to the description of a dataset; `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    pub description: Option<String>,
    pub attrs: Option<Vec<String>>,
}

impl Writer {
    /// Opens the catalog at `path`, and removes the stages of killed writers.
    ///
    /// # Errors
    /// As [`super::Catalog::open`]; a file or folder that may not be written to.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self::start(path.to_owned(), false)?)
    }

    /// The same; if the file is missing or empty, creates a catalog, and its folder.
    ///
    /// # Errors
    /// As [`Writer::open`].
    pub fn open_or_create(path: &Path) -> Result<Self> {
        Ok(Self::start(path.to_owned(), true)?)
    }

    fn start(path: PathBuf, may_create: bool) -> Result<Self, Error> {
        if super::is_studio(&path) {
            return Err(Refused::Studio(path.display().to_string()).into());
        }
        if split::address::is_address(&path) {
            let servers = Servers::open(&path, may_create)?;
            return Ok(Self { path, halves: Halves::Servers(Box::new(servers)) });
        }
        let mut writing = Writing::open(path, may_create)?;
        writing.placed(sweep::all)?;
        Ok(Self { path: writing.path().to_owned(), halves: Halves::File(writing) })
    }

    /// The database file, or the address.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps few pages of the file in memory: enough if rows are copied in the order of their ids.
    ///
    /// # Errors
    /// Errors of SQLite.
    pub fn in_order(&mut self) -> Result<()> {
        match &mut self.halves {
            Halves::File(writing) => Ok(writing.placed(|writing| writing.keep_few_pages())?),
            Halves::Servers(_) => Ok(()),
        }
    }

    /// Queries the tables of names.
    fn ask<T>(&mut self, work: impl FnOnce(&dyn Ask) -> Result<T, Error>) -> Result<T> {
        Ok(match &mut self.halves {
            Halves::File(writing) => writing.placed(|writing| work(writing.connection()))?,
            Halves::Servers(servers) => servers.ask(work)?,
        })
    }

    /// Changes the tables of names: all or nothing.
    fn brief<T>(&mut self, work: impl FnOnce(&dyn Write) -> Result<T, Error>) -> Result<T> {
        Ok(match &mut self.halves {
            Halves::File(writing) => {
                writing.placed(|writing| writing.brief(|write| work(write)))?
            }
            Halves::Servers(servers) => servers.brief(work)?,
        })
    }

    /// Checks that a dataset may be called `name`; called before long work, and again when it is
    /// published.
    ///
    /// # Errors
    /// The fault of the name: its form, a reserved beginning, another dataset's name in different
    /// case.
    pub fn check_name(&mut self, name: &DatasetName) -> Result<()> {
        self.ask(|tables| naming::check(tables, name))
    }

    /// Checks that a listing may be kept under `name`; called before long work, and again when it
    /// is published.
    ///
    /// # Errors
    /// Another listing has the name in different case.
    pub fn check_listing(&mut self, name: &DatasetName) -> Result<()> {
        self.ask(|tables| naming::neighbours(tables, name))
    }

    /// The part of [`Writer::check_name`] that needs no catalog: the form of the name.
    ///
    /// # Errors
    /// As [`Writer::check_name`].
    pub fn check_form(name: &DatasetName) -> Result<()> {
        Ok(naming::form(name)?)
    }

    /// Checks that a version may get `number`; called before long work, and again when it is
    /// published.
    ///
    /// # Errors
    /// A number that is not above all that ever existed, or whose table is taken.
    pub fn check_number(&mut self, name: &DatasetName, number: Number) -> Result<()> {
        let highest = self.ask(|tables| match naming::dataset(tables, name)? {
            Some(dataset) => naming::highest(tables, dataset),
            None => Ok(None),
        })?;
        let numbered = |places: &dyn Places| naming::numbered(places, name, highest, number);
        match &mut self.halves {
            Halves::File(writing) => writing.placed(|writing| numbered(writing.connection()))?,
            Halves::Servers(servers) => numbered(&**servers)?,
        };
        Ok(())
    }

    /// Creates a stage for rows, which nobody sees.
    ///
    /// # Errors
    /// A catalog that cannot be written; a column name that SQL cannot express.
    pub fn stage(&mut self, layout: Layout) -> Result<Stage<'_>> {
        Ok(match &mut self.halves {
            Halves::File(writing) => Stage::in_file(FileStage::begin(writing, layout)?),
            Halves::Servers(servers) => Stage::on_servers(ServerStage::begin(servers, layout)?),
        })
    }

    /// Records that a listing was made again just now with the same result: DataChain computes its
    /// age from `finished_at`.
    ///
    /// # Errors
    /// `Stale` if it is gone.
    pub fn refresh(&mut self, listing: &VersionInfo) -> Result<()> {
        self.brief(|write| change::refresh(write, listing))
    }

    /// Adds parents that are not recorded yet to a version that exists.
    ///
    /// # Errors
    /// `Stale` if it is gone.
    pub fn link(&mut self, of: &VersionInfo, parents: &[VersionId]) -> Result<()> {
        self.brief(|write| change::link(write, of, parents))
    }

    /// Removes a version, as DataChain does: its rows are dropped, its number stays taken.
    ///
    /// # Errors
    /// `Stale` if it is already gone.
    pub fn remove(&mut self, of: &VersionInfo) -> Result<()> {
        match &mut self.halves {
            Halves::File(writing) => writing.placed(|writing| change::remove(writing, of))?,
            Halves::Servers(servers) => servers.remove(of)?,
        }
        Ok(())
    }

    /// Renames a dataset with all its versions.
    ///
    /// # Errors
    /// As [`Writer::check_name`]; no such dataset.
    pub fn rename(&mut self, from: &DatasetName, to: &DatasetName) -> Result<()> {
        match &mut self.halves {
            Halves::File(writing) => writing.placed(|writing| change::rename(writing, from, to))?,
            Halves::Servers(servers) => servers.rename(from, to)?,
        }
        Ok(())
    }

    /// Records that a job starts.
    ///
    /// # Errors
    /// As [`Stage::publish`].
    pub fn begin_job(&mut self, job: &NewJob<'_>) -> Result<()> {
        self.brief(|write| jobs::begin(write, job))
    }

    /// Records how a job ended that made no version.
    ///
    /// # Errors
    /// As [`Stage::publish`].
    pub fn end_job(&mut self, id: &str, how: JobEnd<'_>) -> Result<()> {
        self.brief(|write| jobs::end(write, id, how))
    }

    /// Records that a job found its version already made.
    ///
    /// # Errors
    /// As [`Stage::publish`].
    pub fn reuse(&mut self, of: &VersionInfo, job: &str) -> Result<()> {
        self.brief(|write| jobs::noted(write, of.id.key(), job, false))
    }

    /// Annotates a column of a dataset, by its dotted name, or the dataset as a whole if the name
    /// is empty. `None` leaves a text as it was.
    ///
    /// # Errors
    /// No such dataset.
    pub fn annotate(
        &mut self,
        dataset: &DatasetName,
        column: &str,
        said: &Annotation,
        by: &str,
    ) -> Result<()> {
        self.brief(|write| change::annotate(write, dataset, column, said, by))
    }

    /// Stores the digest of what is shared as `name` for the version `uuid`.
    ///
    /// # Errors
    /// A catalog that cannot be written.
    pub fn share(&mut self, uuid: &str, name: &str, digest: &Digest) -> Result<()> {
        self.brief(|write| shared::note(write, uuid, name, digest))
    }

    /// The digest under `name` for `uuid`, which becomes `digest` if there is none: of two hosts at once, both get the
    /// same.
    ///
    /// # Errors
    /// A catalog that cannot be written.
    pub fn share_once(&mut self, uuid: &str, name: &str, digest: &Digest) -> Result<Digest> {
        self.brief(|write| shared::note_once(write, uuid, name, digest))
    }

    /// Deletes all digests of the version `uuid`.
    ///
    /// # Errors
    /// A catalog that cannot be written.
    pub fn unshare(&mut self, uuid: &str) -> Result<()> {
        self.brief(|write| shared::forget(write, uuid))
    }

    /// Changes the description of a dataset.
    ///
    /// # Errors
    /// No such dataset.
    pub fn describe(&mut self, name: &DatasetName, said: &Description) -> Result<()> {
        self.brief(|write| change::describe(write, name, said))
    }
}
