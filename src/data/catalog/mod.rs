//! The catalog that DataChain writes: read, and written, while other processes write to it.
//!
//! DataChain separates a metastore of names from a warehouse of rows. SQLite is both, in one file;
//! or they are PostgreSQL and ClickHouse, or both are Studio's.
//!
//! Rules: [`Catalog`] never creates or writes anything, only a [`Writer`] does; one short
//! transaction per operation, never one per mount; tables are read by the columns they have, not
//! those they should have; only COMPLETE versions exist; no type of a database leaves this module.
//!
//! | file | contents |
//! |---|---|
//! | `locate` | finding the catalog |
//! | `metastore`, `ask` | the half that holds names, and queries to it |
//! | `versions` | the versions that exist |
//! | `lineage` | the lineage of a version |
//! | `warehouse` | the half that holds rows |
//! | `columns` | the columns that tables actually have |
//! | `digest` | digests of rows |
//! | `sqlite` | both halves in one file |
//! | `split` | names and rows on servers: PostgreSQL and ClickHouse |
//! | `studio` | names and rows of DataChain Studio, mirrored |
//! | `write` | new versions, and changes to existing ones |

mod ask;
mod columns;
mod digest;
mod error;
mod lineage;
mod locate;
mod metastore;
mod split;
mod sqlite;
mod studio;
mod versions;
mod warehouse;
mod write;

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::fmt;
use std::ops::{ControlFlow, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use dcfs_core::annotation::Annotations;
use dcfs_core::cell::Cells;
use dcfs_core::error::Result;
use dcfs_core::expr::sql::groups::{self, GroupSql, Groups, Stays, TableOf};
use dcfs_core::expr::sql::{Split, Sql};
use dcfs_core::expr::{self, Column, Expr, Group};
use dcfs_core::id::{DatasetId, RowId, VersionId};
use dcfs_core::name::{DatasetName, DatasetRef};
use dcfs_core::object::Object;
pub use dcfs_core::provenance::{Git, Provenance, Reached};
use dcfs_core::schema::{FileColumn, Layout, Schema};
use dcfs_core::time::Timestamp;
use dcfs_core::version::Version;
pub use digest::of as digest;
use error::Error;
use metastore::Metastore;
use split::address::{Address, Names};
pub(crate) use sqlite::bounds::Budget;
use sqlite::connect::Pool;
pub use studio::progress::{Pulling, pulls, watch_pulls};
pub use warehouse::Matching;
use warehouse::{Found, Warehouse};
pub use write::{
    Copied, Description, JobCounts, JobDone, JobEnd, NewJob, Number, Piece, Publication, Saved,
    Stage, Writer,
};

/// Changes when another process commits, and when the file is deleted and recreated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Revision {
    /// `PRAGMA data_version` of the watching connection.
    pub data_version: i64,
    /// Device and inode of the database file.
    pub file: (u64, u64),
    /// How often the file was reopened; `data_version` is comparable only within one opening.
    pub opened: u64,
}

/// One complete version that was not removed: everything a directory listing needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionInfo {
    pub id: VersionId,
    /// Identifies this immutable content for ever; a stranger's text, to be checked before use in a
    /// path.
    pub uuid: String,
    /// Orders datasets whose names do not decide.
    pub dataset_id: DatasetId,
    pub dataset: DatasetName,
    pub version: Version,
    /// `num_objects`: rows. `None` if an old release left it NULL.
    pub rows: Option<u64>,
    /// Bytes of all File columns, as DataChain summed them up.
    pub size: Option<u64>,
    pub created_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

/// `pets@1.0.0`, for messages and pages.
impl fmt::Display for VersionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.dataset, self.version)
    }
}

/// The contents of `_lineage.md` besides the parents of a version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Of the dataset, not the version.
    pub description: Option<String>,
    /// Of the dataset: `NLP`, `location=US`.
    pub attrs: Vec<String>,
    /// The script's full text; empty for `python -c`, the REPL and notebooks.
    pub script: String,
    /// The job that made it: the script's path, and Python's version, if recorded.
    pub job: Option<Job>,
    /// Who saved it; `None` if DataChain did, which does not record it.
    pub provenance: Option<Provenance>,
}

/// The job that saved a version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Job {
    pub name: String,
    pub python_version: Option<String>,
}

/// A version or a storage that a version was computed from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parent {
    /// `None` if the parent was deleted and no details are left.
    pub dataset: Option<(DatasetName, Version)>,
    /// The parent's key, to follow its own parents.
    pub id: Option<VersionId>,
    pub uuid: String,
    /// COMPLETE and not removed: a directory of the mount (unless internal).
    pub alive: bool,
    pub rows: Option<u64>,
    pub size: Option<u64>,
}

/// One row as [`Catalog::scan`] passes it on: an object per requested File column.
pub struct Row<'a> {
    pub id: RowId,
    /// In the order of the requested columns; `None` if the row names no object.
    pub objects: &'a [Option<Object>],
}

/// SHA-256 of something that hosts share.
pub type Digest = [u8; 32];

/// The name of something that hosts share for a version, and the digest to verify it with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedName {
    /// Of the version; a stranger's text.
    pub uuid: String,
    pub name: String,
    pub digest: Digest,
}

/// The callback of [`Catalog::cells`] for every row: its id, and its cells in the requested order.
pub type EachRow<'e> = dyn FnMut(RowId, &dyn Cells) -> Result<ControlFlow<()>> + 'e;

/// An open catalog. Cheap to share: connections are pooled inside.
#[derive(Debug)]
pub struct Catalog {
    /// The database file, or the address.
    path: PathBuf,
    metastore: Metastore,
    warehouse: Box<dyn Warehouse>,
    /// Versions already warned about as impossible to show, so that each is reported once.
    told: Mutex<HashSet<VersionId>>,
}

/// The most versions that are ever warned about.
const MOST_TOLD: usize = 1000;

/// Finds the database file: `--catalog` (a `.datachain` folder, the folder that holds one, or the
/// file; an address of servers is returned as it is), else `DATACHAIN_DIR`, `DATACHAIN_ROOT_DIR`,
/// the current folder, then its parents.
///
/// # Errors
/// None found, with the places searched.
pub fn locate(given: Option<&Path>) -> Result<PathBuf> {
    Ok(locate::find(given, |name| std::env::var_os(name), std::env::current_dir)?)
}

/// Finds the database file as [`locate()`] does; if there is none, the path for a new one: below
/// the named folder, else in the current folder. Also returns whether it exists.
///
/// # Errors
/// A place that may not be searched.
pub fn locate_or_new(given: Option<&Path>) -> Result<(PathBuf, bool)> {
    Ok(locate::find_or_new(given, |name| std::env::var_os(name), std::env::current_dir)?)
}

/// The users who could have written to the catalog at `path`, in words: the owner of the file, or
/// of a folder on the way to it, a group, or everybody. `None` if only this user (or root) could.
pub fn foreign(path: &Path) -> Option<String> {
    locate::foreign(path)
}

/// Whether a path is the address of a catalog on servers.
pub fn is_address(path: &Path) -> bool {
    split::address::is_address(path) || is_studio(path)
}

/// Whether a path is the address of a catalog of Studio, which is only read.
pub fn is_studio(path: &Path) -> bool {
    studio::address::is_address(path)
}

/// The servers that an address names: for whoever decides whether they may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// The hosts of rows and of names; `None` if the names are in a file of this machine.
    Servers { rows: String, names: Option<String> },
    /// Whether the address names a team of Studio; its server is named elsewhere.
    Studio { has_team: bool },
}

/// Parses an address, without asking anybody.
///
/// # Errors
/// It is none, or an invalid one. A password in it is not repeated.
pub fn named(address: &str) -> Result<Named> {
    if is_studio(Path::new(address)) {
        let team = studio::address::team(address).map_err(error::Error::from)?;
        return Ok(Named::Studio { has_team: team.is_some() });
    }
    let Address { warehouse, metastore } = Address::parse(address).map_err(error::Error::from)?;
    let names = match metastore {
        Names::Postgres(server) => Some(server.host),
        Names::Sqlite(_) => None,
    };
    Ok(Named::Servers { rows: warehouse.host, names })
}

/// The user's folder for state.
pub(crate) fn state() -> PathBuf {
    studio::folder::state()
}

impl Catalog {
    /// Opens the database file `path` for reading, or the catalog on servers if it is an address.
    ///
    /// For servers: unreachable, access refused, or no catalog there. For a file: missing, not
    /// SQLite, not DataChain's, damaged, of an unknown schema version, or locked for long; each
    /// message says what to do.
    pub fn open(path: &Path) -> Result<Self> {
        if split::address::is_address(path) {
            let (metastore, warehouse) = split::open(path)?;
            let path = path.to_owned();
            return Ok(Self { path, metastore, warehouse, told: Mutex::default() });
        }
        if is_studio(path) {
            let (metastore, warehouse) = studio::open(path)?;
            let path = path.to_owned();
            return Ok(Self { path, metastore, warehouse, told: Mutex::default() });
        }
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let pool = Arc::new(Pool::open(path.clone())?);
        let metastore = Metastore::Sqlite(pool.clone());
        Ok(Self {
            path,
            metastore,
            warehouse: Box::new(sqlite::Rows(pool)),
            told: Mutex::default(),
        })
    }

    /// The database file, or the address of a catalog on servers.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a row is looked up without asking anybody but this machine: the catalog is a file on a disk of it.
    pub fn is_near(&self) -> bool {
        !is_address(&self.path) && dcfs_disk::kind::is_local(&self.path)
    }

    /// Whether the catalog is a file, with a folder around it for what people write.
    ///
    /// # Errors
    /// It is on servers.
    pub fn check_folder(&self) -> Result<()> {
        if is_studio(&self.path) {
            let address = self.path.display().to_string();
            return Err(Error::from(studio::StudioError::NoFolder(address)).into());
        }
        Ok(split::check_folder(&self.path).map_err(Error::from)?)
    }

    /// The current revision; compare it with an earlier one. Costs microseconds; on servers, one
    /// query a second.
    ///
    /// # Errors
    /// The file is gone, or was replaced by something else; and as [`Catalog::open`].
    pub fn revision(&self) -> Result<Revision> {
        Ok(self.metastore.revision()?)
    }

    /// Every version that a mount shows: by dataset id, then version. Internal datasets are left
    /// out.
    pub fn versions(&self) -> Result<Vec<VersionInfo>> {
        let shown = self.metastore.read(versions::all)?;
        for (id, why) in shown.odd {
            self.warn_once(id, &why);
        }
        Ok(shown.versions)
    }

    /// Every complete version, listings too, the oldest first; without the temporary datasets of running scripts.
    ///
    /// # Errors
    /// As [`Catalog::versions`].
    pub fn every_version(&self) -> Result<Vec<VersionInfo>> {
        Ok(self.metastore.read(versions::every)?)
    }

    fn warn_once(&self, id: VersionId, why: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < MOST_TOLD && told.insert(id) {
            tracing::warn!(catalog = %self.path().display(), "{why}");
        }
    }

    /// The highest version that `wanted` admits.
    ///
    /// # Errors
    /// No such dataset (with the nearest names), no such version (with the latest), all removed.
    pub fn find(&self, wanted: &DatasetRef) -> Result<VersionInfo> {
        Ok(self.metastore.read(|tables| versions::find(tables, wanted))?)
    }

    /// The version's columns.
    ///
    /// # Errors
    /// [`dcfs_core::error::Kind::Stale`] if the version was removed; [`dcfs_core::schema::Error`].
    pub fn schema(&self, of: &VersionInfo) -> Result<Schema> {
        let (features, types, table) = self.warehouse.schema_texts(of)?;
        Ok(Schema::parse(&features, &types, &table)?)
    }

    /// The script, the job and the description of the dataset.
    ///
    /// # Errors
    /// [`dcfs_core::error::Kind::Stale`] if the version was removed.
    pub fn details(&self, of: &VersionInfo) -> Result<Details> {
        Ok(self.metastore.read(|tables| lineage::details(tables, of))?)
    }

    /// People's annotations of a dataset and its columns.
    ///
    /// # Errors
    /// Errors of the database.
    pub fn annotations(&self, name: &DatasetName) -> Result<Annotations> {
        Ok(self.metastore.read(|tables| write::annotations(tables, name))?)
    }

    /// How sources were accessed when dcfs last indexed them, if not by default.
    ///
    /// # Errors
    /// Errors of the database.
    pub fn settings(&self) -> Result<BTreeMap<String, Reached>> {
        Ok(self.metastore.read(write::settings)?)
    }

    /// The digest of what hosts share as `name` for the version `uuid`.
    ///
    /// # Errors
    /// Errors of the database.
    pub fn shared(&self, uuid: &str, name: &str) -> Result<Option<Digest>> {
        Ok(self.metastore.read(|tables| write::shared(tables, uuid, name))?)
    }

    /// Everything that hosts share, by version.
    ///
    /// # Errors
    /// Errors of the database.
    pub fn all_shared(&self) -> Result<Vec<SharedName>> {
        Ok(self.metastore.read(write::all_shared)?)
    }

    /// The shape of the version's rows, for a new version made of them.
    ///
    /// # Errors
    /// As [`Catalog::schema`].
    pub fn layout(&self, of: &VersionInfo) -> Result<Layout> {
        let (features, types, table) = self.warehouse.schema_texts(of)?;
        Ok(Layout::of_version(&features, &types, &table)?)
    }

    /// The latest complete version of a listing, or of any other dataset; `None` if there is none.
    ///
    /// # Errors
    /// As [`Catalog::versions`].
    pub fn latest(&self, name: &DatasetName) -> Result<Option<VersionInfo>> {
        Ok(self.metastore.read(|tables| versions::latest(tables, name))?)
    }

    /// The latest complete version of every listing, by the storage it lists.
    ///
    /// # Errors
    /// As [`Catalog::versions`].
    pub fn listings(&self) -> Result<Vec<VersionInfo>> {
        Ok(self.metastore.read(versions::listings)?)
    }

    /// Pairs of versions `(child, parent)` where the child was computed from the parent, without
    /// duplicates; the first 100,000.
    ///
    /// # Errors
    /// Errors of the database.
    pub fn edges(&self) -> Result<Vec<(VersionId, VersionId)>> {
        Ok(self.metastore.read(lineage::edges)?)
    }

    /// Direct parents, in the recorded order. For any version, including listings.
    pub fn parents(&self, of: VersionId) -> Result<Vec<Parent>> {
        Ok(self.metastore.read(|tables| lineage::parents(tables, of))?)
    }

    /// Existing versions that were computed from `of`, by name.
    pub fn children(&self, of: VersionId) -> Result<Vec<VersionInfo>> {
        Ok(self.metastore.read(|tables| lineage::children(tables, of))?)
    }

    /// One example for each database column of `of`: the first non-NULL cell of its first 20 rows,
    /// or of the first of `rows`, as SQLite prints it, truncated to `most` characters. Columns
    /// without an example are left out.
    ///
    /// # Errors
    /// [`dcfs_core::error::Kind::Stale`] if the version was removed.
    pub fn examples(
        &self,
        of: &VersionInfo,
        rows: Option<&[RowId]>,
        most: usize,
    ) -> Result<Vec<(String, String)>> {
        Ok(self.warehouse.examples(of, rows, most)?)
    }

    /// Reads the rows `within` a range, by ascending `sys__id`, in slices of one short transaction
    /// each. `each` is called inside the transaction, and should not block. A whole version is
    /// [`RowId::ALL`].
    ///
    /// # Errors
    /// [`dcfs_core::error::Kind::Stale`] if the version is removed meanwhile; errors of `each`.
    pub fn scan(
        &self,
        of: &VersionInfo,
        columns: &[FileColumn],
        within: RangeInclusive<RowId>,
        each: &mut dyn FnMut(Row<'_>) -> Result<()>,
    ) -> Result<()> {
        Ok(self.warehouse.scan(of, columns, within, each)?)
    }

    /// Reads the cells of the database columns `columns` in the rows of `ranges`, one range after
    /// another, each by ascending `sys__id`.
    ///
    /// A whole version is [`RowId::ALL`]. A column that the table lacks is NULL. Works in slices of
    /// one short transaction each: `each` is called inside the transaction, and should not block.
    /// Every row is passed once. Breaking ends the scan early.
    ///
    /// # Errors
    /// [`dcfs_core::error::Kind::Stale`] if the version is removed meanwhile; errors of `each`.
    pub fn cells(
        &self,
        of: &VersionInfo,
        columns: &[String],
        ranges: &mut dyn Iterator<Item = RangeInclusive<RowId>>,
        each: &mut EachRow<'_>,
    ) -> Result<()> {
        Ok(self.warehouse.cells(of, columns, ranges, each)?)
    }

    /// Frees the pages of rows that were read in order and are not read again.
    ///
    /// # Errors
    /// Errors of SQLite.
    pub fn forget_pages(&self) -> Result<()> {
        Ok(self.warehouse.forget_pages()?)
    }

    /// Splits a filter into the part that the database engine evaluates and the rest; `None` if it
    /// can evaluate nothing, as for a catalog in a file. `stays` says which terms are better
    /// evaluated here.
    pub fn split(
        &self,
        of: &VersionInfo,
        filter: &Expr,
        stays: &dyn Fn(&Expr) -> bool,
    ) -> Option<Split> {
        expr::sql::split(filter, &|column| self.warehouse.remote(of, column), stays)
    }

    /// Whether rows are on a server, so that reading one is a request.
    pub fn is_far(&self) -> bool {
        self.warehouse.is_far()
    }

    /// Checks that a version far away was not removed, by its names alone. While these cannot be asked, it stays as it was.
    ///
    /// # Errors
    /// [`dcfs_core::error::Kind::Stale`] if the version was removed.
    pub fn check(&self, of: &VersionInfo) -> Result<()> {
        Ok(self.warehouse.check(of)?)
    }

    /// The approximate bytes to fetch for some database columns of a version; `None` if nothing is
    /// fetched because the catalog is a file.
    pub fn fetched(&self, of: &VersionInfo, columns: &[&str]) -> Option<u64> {
        self.warehouse.fetched(of, columns)
    }

    /// The rows for which the engine's part of a filter is true. `first` is the first id if ids
    /// have no gaps; then the result holds ordinals.
    ///
    /// # Errors
    /// Errors of the server; [`dcfs_core::error::Kind::Stale`] if the version is removed meanwhile.
    pub fn matching(
        &self,
        of: &VersionInfo,
        filter: &Sql,
        first: Option<RowId>,
    ) -> Result<Option<Matching>> {
        Ok(self.warehouse.matching(of, filter, first)?)
    }

    /// The number of rows for which the engine's part of a filter is true.
    ///
    /// # Errors
    /// As [`Catalog::matching`]; if there is no such engine.
    pub fn count(&self, of: &VersionInfo, filter: &Sql) -> Result<u64> {
        Ok(self.warehouse.count(of, filter)?)
    }

    /// The question that the database engine is asked for groups of the rows of some versions, each with
    /// its filter; [`Stays`] if it cannot answer it exactly as the kernels do. `None` for a catalog in a
    /// file, which has no such engine.
    pub fn grouping(
        &self,
        of: &[(&VersionInfo, Option<&Expr>)],
        asked: &Groups<'_>,
    ) -> Option<Result<GroupSql, Stays>> {
        self.warehouse.fetched(of.first()?.0, &[])?;
        let remote =
            of.iter().map(|(of, _)| move |column: &Column| self.warehouse.remote(of, column));
        let remote: Vec<_> = remote.collect();
        let tables = of.iter().zip(&remote);
        let tables: Vec<TableOf<'_>> =
            tables.map(|((_, filter), columns)| TableOf { filter: *filter, columns }).collect();
        Some(groups::groups(asked, &tables))
    }

    /// The groups that the engine makes, in the order of their keys; `None` if there are more than
    /// `most`, or a sum exceeds 64 bits. `until` is the deadline; the server is then told to stop.
    ///
    /// # Errors
    /// As [`Catalog::matching`].
    pub fn groups(
        &self,
        of: &[&VersionInfo],
        ask: &GroupSql,
        most: usize,
        until: Option<Instant>,
    ) -> Result<Option<Vec<Group>>> {
        Ok(self.warehouse.groups(of, ask, most, until)?)
    }

    /// The number of rows and the first and last `sys__id`; `(0, 0, 0)` for none.
    ///
    /// Rows are counted only if the ids have gaps, or no count is recorded: counting reads the
    /// whole table.
    ///
    /// # Errors
    /// [`dcfs_core::error::Kind::Stale`] if the version was removed.
    pub fn extent(&self, of: &VersionInfo) -> Result<(u64, RowId, RowId)> {
        let extent = self.warehouse.extent(of)?;
        Ok((extent.rows, RowId::new(extent.first), RowId::new(extent.last)))
    }

    /// The object that one row names in one File column.
    ///
    /// # Errors
    /// [`dcfs_core::error::Kind::Stale`] if the version or the row is gone.
    pub fn object(
        &self,
        of: &VersionInfo,
        column: &FileColumn,
        row: RowId,
    ) -> Result<Option<Object>> {
        Ok(match self.warehouse.object(of, column, row)? {
            Found::Object(object) => Some(object),
            Found::Nothing => None,
            Found::NoRow => Err(Error::RowGone { row: row.key(), of: of.to_string() })?,
        })
    }

    /// The objects that some rows name in one File column, in one transaction; `None` for rows that
    /// name none or are gone.
    ///
    /// # Errors
    /// [`dcfs_core::error::Kind::Stale`] if the version is gone.
    pub fn objects(
        &self,
        of: &VersionInfo,
        column: &FileColumn,
        rows: &[RowId],
    ) -> Result<Vec<Option<Object>>> {
        Ok(self.warehouse.objects(of, column, rows)?)
    }
}
