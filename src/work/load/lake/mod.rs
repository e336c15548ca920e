//! Tables of Delta Lake and Iceberg as sources of a load: their metadata is read here, their rows are Parquet.
//!
//! A table is a folder of data files, and metadata that says which of them are in a version, what their columns are
//! called and which rows are deleted. Only that metadata is read here: the crates that read whole tables bring an
//! engine with them (`deltalake-core` 99 crates that are not here yet, `iceberg` 108).
//!
//! | file | contents |
//! |---|---|
//! | [`root`] | the folder of a table, and which paths its metadata may name |
//! | [`view`] | rows of a data file as the table has them |
//! | [`delta`] | the log of Delta Lake |
//! | [`iceberg`] | the metadata of Iceberg |
//!
//! Metadata comes from strangers: what is not understood is refused with what it is, and nothing is saved.

mod delta;
mod iceberg;
mod root;
mod view;

use dcfs_core::error::{self, Kind, Result};
use dcfs_core::schema::Scalar;
use serde::{Deserialize, Serialize};

use super::{Error, SourceFile, wrong};
pub use root::{Allowed, Reach, Root};
pub use view::View;

/// The most data files of a table.
const MOST_FILES: usize = 10_000_000;

/// The most columns of a table, those of structs included.
const MOST_COLUMNS: usize = 10_000;

/// The kinds of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableKind {
    Delta,
    Iceberg,
}

impl TableKind {
    /// Its name, as after `--format`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delta => "delta",
            Self::Iceberg => "iceberg",
        }
    }
}

/// The version of a table that was loaded, as provenance records it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableVersion {
    pub kind: TableKind,
    pub address: String,
    /// The number of a version, or of a snapshot.
    pub version: String,
}

impl TableVersion {
    /// `version 12`, for people.
    pub fn version_told(&self) -> String {
        match self.kind {
            TableKind::Delta => format!("version {}", self.version),
            TableKind::Iceberg => format!("snapshot {}", self.version),
        }
    }
}

/// A column of a table: its name, and its type where it is neither a struct nor a list.
pub type Declared = (String, Option<Scalar>);

/// One version of a table.
pub struct Table {
    pub of: TableVersion,
    pub columns: Vec<Declared>,
    /// The data files, in the order of their paths.
    pub files: Vec<SourceFile>,
}

/// Whether a path is that of a file of Iceberg's metadata.
pub fn is_metadata(path: &str) -> bool {
    iceberg::is_path(path)
}

/// Finds out what kind of table a folder holds; `None` if it holds none.
///
/// # Errors
/// A table of Lance; errors of the store.
pub fn kind(root: &Root, reach: &dyn Reach) -> Result<Option<TableKind>> {
    if root.has("_delta_log", reach)? {
        return Ok(Some(TableKind::Delta));
    }
    if iceberg::is_there(root, reach)? {
        return Ok(Some(TableKind::Iceberg));
    }
    let is_manifest = |name: &str| name.ends_with(".manifest");
    if root.shown().ends_with(".lance") || root.has_any("_versions", &is_manifest, reach)? {
        let what = "it is a table of Lance, which is not read; write it as Parquet and load that: in Python, \
                    `pyarrow.parquet.write_table(lance.dataset(FOLDER).to_table(), 'table.parquet')`";
        return Err(wrong(root.shown(), what).into());
    }
    Ok(None)
}

/// Opens a table at a version, by default the newest.
///
/// # Errors
/// [`enum@Error`]: metadata that is damaged or needs what is not known here; a version that is not there.
pub fn open(
    kind: TableKind,
    root: &Root,
    at: Option<&str>,
    reach: &dyn Reach,
    allowed: &Allowed,
) -> Result<Table> {
    match kind {
        TableKind::Delta => delta::open(root, at, reach, allowed),
        TableKind::Iceberg => iceberg::open(root, at, reach, allowed),
    }
}

/// The error for a version that a table does not have.
fn missing(root: &Root, what: impl Into<String>) -> error::Error {
    error::Error::new(Kind::Missing, wrong(root.shown(), what))
}
