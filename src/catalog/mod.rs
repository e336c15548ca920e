//! The catalog that DataChain writes, read-only and beside its living writer.
//!
//! Rules: nothing is ever created or written; one short read transaction per operation, never one
//! per mount; tables are told by the schema they have, not the one they should have; only COMPLETE
//! versions exist; no SQLite type leaves this module.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::id::{RowId, VersionId};
use crate::name::{DatasetName, DatasetRef};
use crate::object::Object;
use crate::schema::{FileColumn, Schema};
use crate::time::Timestamp;
use crate::version::Version;

/// Moves when another process commits, and when the file is deleted and made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Revision {
    /// `PRAGMA data_version` of the watching connection.
    pub data_version: i64,
    /// Device and inode of the database file.
    pub file: (u64, u64),
}

/// One complete, unremoved version: everything a directory listing needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionInfo {
    pub id: VersionId,
    /// Names this immutable content for ever; a stranger's text, to be checked before use in a path.
    pub uuid: String,
    pub dataset: DatasetName,
    pub version: Version,
    /// `num_objects`: rows. `None` where an old release left it NULL.
    pub rows: Option<u64>,
    /// Bytes of all File columns, as DataChain added them up.
    pub size: Option<u64>,
    pub created_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

/// What `_lineage.md` tells of a version beside its parents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Of the name, not the version.
    pub description: Option<String>,
    /// Of the name: `NLP`, `location=US`.
    pub attrs: Vec<String>,
    /// The script's full text; empty for `python -c`, the REPL and notebooks.
    pub script: String,
    /// The creating job: the script's path, and Python's version, where recorded.
    pub job: Option<Job>,
}

/// The job that saved a version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Job {
    pub name: String,
    pub python_version: Option<String>,
}

/// What a version was computed from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// `None` where the parent was deleted for good and only the fact is left.
    pub dataset: Option<(DatasetName, Version)>,
    /// The parent's key, to follow its own parents.
    pub id: Option<VersionId>,
    pub uuid: String,
    /// COMPLETE and not removed: a directory of the mount (unless internal).
    pub alive: bool,
    pub rows: Option<u64>,
    pub size: Option<u64>,
}

/// One row as [`Catalog::scan`] hands it out: an object per File column asked for.
pub struct Row<'a> {
    pub id: RowId,
    /// In the order of the columns asked for; `None` where the row names no object.
    pub objects: &'a [Option<Object>],
}

/// An open catalog. Cheap to share: connections are pooled inside.
#[derive(Debug)]
pub struct Catalog {
    path: PathBuf,
}

/// Finds the database file: `--catalog` (a `.datachain` folder, the folder that holds one, or the
/// file), else `DATACHAIN_DIR`, `DATACHAIN_ROOT_DIR`, the current folder, then its parents.
///
/// # Errors
/// None found, with the places looked at.
pub fn locate(_given: Option<&Path>) -> Result<PathBuf> {
    todo!()
}

impl Catalog {
    /// Opens the database file `path` for reading.
    ///
    /// # Errors
    /// Missing, not SQLite, not DataChain's, damaged, of an unknown schema version, or locked for
    /// long; each says what to do.
    pub fn open(_path: &Path) -> Result<Self> {
        todo!()
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the catalog stands now; compare with an earlier answer. Costs microseconds.
    pub fn revision(&self) -> Result<Revision> {
        todo!()
    }

    /// Every version a mount shows: by dataset id, then version. Internal datasets are left out.
    pub fn versions(&self) -> Result<Vec<VersionInfo>> {
        todo!()
    }

    /// The highest version that `wanted` admits.
    ///
    /// # Errors
    /// No such dataset (with the nearest names), no such version (with the latest), all removed.
    pub fn find(&self, _wanted: &DatasetRef) -> Result<VersionInfo> {
        todo!()
    }

    /// The version's columns.
    pub fn schema(&self, _of: &VersionInfo) -> Result<Schema> {
        todo!()
    }

    pub fn details(&self, _of: &VersionInfo) -> Result<Details> {
        todo!()
    }

    /// Direct parents, in the order recorded. For any version, listings included.
    pub fn parents(&self, _of: VersionId) -> Result<Vec<Parent>> {
        todo!()
    }

    /// One example of each database column of `of`: the first non-NULL cell of its first 20 rows, as
    /// SQLite prints it, cut to `most` characters. Columns with none are left out.
    pub fn examples(&self, _of: &VersionInfo, _most: usize) -> Result<Vec<(String, String)>> {
        todo!()
    }

    /// Every row in `sys__id` order, in slices of one short transaction each.
    ///
    /// # Errors
    /// [`crate::error::Kind::Stale`] where the version is removed meanwhile; what `each` returns.
    pub fn scan(
        &self,
        _of: &VersionInfo,
        _columns: &[FileColumn],
        _each: &mut dyn FnMut(Row<'_>) -> Result<()>,
    ) -> Result<()> {
        todo!()
    }

    /// Whether a File column holds more than one source over the whole version.
    pub fn has_many_sources(&self, _of: &VersionInfo, _column: &FileColumn) -> Result<bool> {
        todo!()
    }

    /// The number of rows and the first and last `sys__id`; `(0, 0, 0)` for none.
    pub fn extent(&self, _of: &VersionInfo) -> Result<(u64, RowId, RowId)> {
        todo!()
    }

    /// The object that one row names in one File column.
    ///
    /// # Errors
    /// [`crate::error::Kind::Stale`] where the version or the row is gone.
    pub fn object(
        &self,
        _of: &VersionInfo,
        _column: &FileColumn,
        _row: RowId,
    ) -> Result<Option<Object>> {
        todo!()
    }
}
