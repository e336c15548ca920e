//! Writing into a catalog beside its living readers and writers: rows are staged, then published.
//!
//! 1. Rows go into a table that nobody knows of (`stage`), in transactions that hold the write lock for
//!    [`HELD`] at most, with a rest after each so that others come to their turn.
//! 2. One short transaction gives that table its name and registers the version (`publish`): before it nothing
//!    is to be seen, after it everything.
//! 3. Nothing is ever overwritten: a version's number is chosen inside that transaction, above every number
//!    ever used.
//! 4. A stage is alive while the lock on its file is held. What a killed process left is emptied in slices and
//!    dropped by the next writer (`sweep`). Removing a version makes its table such a stage.
//! 5. Values are bound; names are quoted; types are of DataChain's own list.
//!
//! | file | what it does |
//! |---|---|
//! | `connection` | the one connection that writes, and its short transactions |
//! | `create` | the tables of a new catalog |
//! | `naming` | which names and numbers may be given |
//! | `stage`, `mix`, `pace`, `lock` | rows on their way in, and who is alive |
//! | `sweep` | what the dead left |
//! | `publish`, `preview` | a stage becomes a version |
//! | `jobs` | the programs that make versions, as DataChain notes them |
//! | `change` | removing, renaming, describing |
//! | `annotations` | what people say about columns: a table of dcfs's own |
//! | `provenance` | who saved a version, and how: a table of dcfs's own |
//! | `shared` | what hosts share of a version: a table of dcfs's own |

mod annotations;
mod change;
mod connection;
mod create;
mod error;
mod jobs;
mod lock;
mod mix;
mod naming;
mod pace;
mod preview;
mod provenance;
mod publish;
mod shared;
mod stage;
mod sweep;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub(super) use annotations::read as annotations;
pub(super) use error::Refused;
pub use jobs::{JobCounts, JobDone, JobEnd, NewJob};
pub use mix::Piece;
pub(super) use provenance::read as provenance;
pub(super) use provenance::settings;
pub use publish::{Number, Publication, Saved};
pub(super) use shared::{all as all_shared, find as shared};
pub use stage::Stage;

use super::error::Error;
use super::{Digest, VersionInfo, split};
use connection::Writing;
use dcfs_core::annotation::Annotation;
use dcfs_core::error::Result;
use dcfs_core::name::DatasetName;
use dcfs_core::schema::Layout;

/// How long the write lock is held at a time. DataChain waits for a minute; people and mounts should not notice.
const HELD: Duration = Duration::from_millis(40);

/// The rest after a full [`HELD`]: who waits for the lock asks for it every 100 ms at most.
const REST: Duration = Duration::from_millis(3);

/// A catalog open for writing. One thread writes; many may read beside it through [`super::Catalog`].
#[derive(Debug)]
pub struct Writer {
    writing: Writing,
}

/// What of a dataset's name is changed; `None` leaves it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    pub description: Option<String>,
    pub attrs: Option<Vec<String>>,
}

impl Writer {
    /// Opens the catalog at `path`, and clears away what killed writers left.
    ///
    /// # Errors
    /// As [`super::Catalog::open`]; a file or folder that may not be written.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self::start(path.to_owned(), false)?)
    }

    /// The same; where there is no file yet, or an empty one, a catalog is made, and its folder.
    ///
    /// # Errors
    /// As [`Writer::open`].
    pub fn open_or_create(path: &Path) -> Result<Self> {
        Ok(Self::start(path.to_owned(), true)?)
    }

    fn start(path: PathBuf, may_create: bool) -> Result<Self, Error> {
        split::check_writable(&path)?;
        let mut writing = Writing::open(path, may_create)?;
        writing.placed(sweep::all)?;
        Ok(Self { writing })
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        self.writing.path()
    }

    /// Whether a dataset may be called `name`; asked before long work, and again as it is published.
    ///
    /// # Errors
    /// What is wrong with the name: its form, a reserved beginning, another dataset's name in other case.
    pub fn check_name(&mut self, name: &DatasetName) -> Result<()> {
        Ok(self.writing.placed(|writing| naming::check(writing.connection(), name))?)
    }

    /// Whether a listing may be kept under `name`; asked before long work, and again as it is published.
    ///
    /// # Errors
    /// Another listing has the name in other case.
    pub fn check_listing(&mut self, name: &DatasetName) -> Result<()> {
        Ok(self.writing.placed(|writing| naming::neighbours(writing.connection(), name))?)
    }

    /// The same as [`Writer::check_name`] where there is no catalog yet: the form of the name.
    ///
    /// # Errors
    /// As [`Writer::check_name`].
    pub fn check_form(name: &DatasetName) -> Result<()> {
        Ok(naming::form(name)?)
    }

    /// Whether a version may get `number`; asked before long work, and again as it is published.
    ///
    /// # Errors
    /// A number that is not above all there ever were, or whose place is taken.
    pub fn check_number(&mut self, name: &DatasetName, number: Number) -> Result<()> {
        Ok(self.writing.placed(|writing| {
            let connection = writing.connection();
            let dataset = naming::dataset(connection, name)?;
            let highest =
                dataset.map(|dataset| naming::highest(connection, dataset)).transpose()?;
            naming::numbered(connection, name, highest.flatten(), number).map(|_| ())
        })?)
    }

    /// A place for rows, which nobody sees.
    ///
    /// # Errors
    /// A catalog that cannot be written; a column's name that SQL cannot speak of.
    pub fn stage(&mut self, layout: Layout) -> Result<Stage<'_>> {
        Ok(Stage::begin(&mut self.writing, layout)?)
    }

    /// Says that a listing was made again just now and was found the same: DataChain counts its age from
    /// `finished_at`.
    ///
    /// # Errors
    /// `Stale` where it is gone.
    pub fn refresh(&mut self, listing: &VersionInfo) -> Result<()> {
        Ok(self.writing.placed(|writing| change::refresh(writing, listing))?)
    }

    /// Removes a version, as DataChain does: its rows are dropped, its number stays taken.
    ///
    /// # Errors
    /// `Stale` where it is gone already.
    pub fn remove(&mut self, of: &VersionInfo) -> Result<()> {
        Ok(self.writing.placed(|writing| change::remove(writing, of))?)
    }

    /// Gives all versions of a dataset another name.
    ///
    /// # Errors
    /// As [`Writer::check_name`]; no such dataset.
    pub fn rename(&mut self, from: &DatasetName, to: &DatasetName) -> Result<()> {
        Ok(self.writing.placed(|writing| change::rename(writing, from, to))?)
    }

    /// Notes that a job begins.
    ///
    /// # Errors
    /// As [`Stage::publish`].
    pub fn begin_job(&mut self, job: &NewJob<'_>) -> Result<()> {
        Ok(self.writing.placed(|writing| jobs::begin(writing, job))?)
    }

    /// Notes how a job ended that made no version.
    ///
    /// # Errors
    /// As [`Stage::publish`].
    pub fn end_job(&mut self, id: &str, how: JobEnd<'_>) -> Result<()> {
        Ok(self.writing.placed(|writing| jobs::end(writing, id, how))?)
    }

    /// Notes that a job found its version made already.
    ///
    /// # Errors
    /// As [`Stage::publish`].
    pub fn reuse(&mut self, of: &VersionInfo, job: &str) -> Result<()> {
        Ok(self
            .writing
            .placed(|writing| writing.brief(|write| jobs::noted(write, of.id.key(), job, false)))?)
    }

    /// Says something about a column of a dataset, by its dotted name; about the dataset as a whole with an empty one. What
    /// is `None` of it stays as it was.
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
        Ok(self.writing.placed(|writing| change::annotate(writing, dataset, column, said, by))?)
    }

    /// Keeps the digest of what is shared of the version `uuid` under `name`.
    ///
    /// # Errors
    /// A catalog that cannot be written.
    pub fn share(&mut self, uuid: &str, name: &str, digest: &Digest) -> Result<()> {
        Ok(self
            .writing
            .placed(|writing| writing.brief(|write| shared::note(write, uuid, name, digest)))?)
    }

    /// Forgets all that is shared of the version `uuid`.
    ///
    /// # Errors
    /// A catalog that cannot be written.
    pub fn unshare(&mut self, uuid: &str) -> Result<()> {
        Ok(self.writing.placed(|writing| writing.brief(|write| shared::forget(write, uuid)))?)
    }

    /// Changes what is said of a dataset.
    ///
    /// # Errors
    /// No such dataset.
    pub fn describe(&mut self, name: &DatasetName, said: &Description) -> Result<()> {
        Ok(self.writing.placed(|writing| change::describe(writing, name, said))?)
    }
}
