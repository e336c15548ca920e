//! Tables of Iceberg, versions 1 and 2 of the format: a snapshot's data files, and the deletes that apply to them.
//!
//! A file of metadata lists snapshots; a snapshot names a list of manifests, and each manifest data files or files of
//! deletes, <https://iceberg.apache.org/spec/>. Files are named by addresses below the table's location: a copy of the
//! table elsewhere is read from where it is.

mod avro;
mod deletes;
mod metadata;
mod schema;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value as Json;

use super::root::read;
use super::view::{Deleted, Fields, View, declared};
use super::{Allowed, MOST_FILES, Reach, Root, SourceFile, Table, TableKind, TableVersion, wrong};
use dcfs_core::error::Result;
use deletes::Deletes;
use metadata::Snapshot;
pub use metadata::is_path;
use schema::Schema;

/// The most manifests of a snapshot.
const MOST_MANIFESTS: usize = 1_000_000;

/// The longest list of manifests, and the longest manifest, in bytes.
const LONGEST: u64 = 1 << 30;

/// An entry of a list of manifests.
#[derive(Debug, Deserialize)]
struct Listed {
    manifest_path: String,
    manifest_length: u64,
    #[serde(default)]
    partition_spec_id: i64,
    /// 0 for data, 1 for deletes.
    #[serde(default)]
    content: i64,
    #[serde(default)]
    sequence_number: i64,
}

/// An entry of a manifest.
#[derive(Debug, Deserialize)]
struct Entry {
    status: i64,
    #[serde(default)]
    sequence_number: Option<i64>,
    data_file: DataFile,
}

/// The status of a file that is no longer in the table.
const DELETED: i64 = 2;

#[derive(Debug, Deserialize)]
struct DataFile {
    /// 0 for rows, 1 for deleted positions, 2 for deleted values.
    #[serde(default)]
    content: i64,
    file_path: String,
    file_format: String,
    #[serde(default)]
    partition: Json,
    record_count: u64,
    file_size_in_bytes: u64,
}

/// A data file of a snapshot, with what it inherits from its manifest.
struct Found {
    file: DataFile,
    sequence: i64,
    spec: i64,
}

/// A table, and how its files are reached.
struct Reader<'t> {
    root: &'t Root,
    location: String,
    reach: &'t dyn Reach,
    allowed: &'t Allowed,
}

/// Whether a folder holds a table, or a file is metadata of one.
///
/// # Errors
/// Errors of the store.
pub fn is_there(root: &Root, reach: &dyn Reach) -> Result<bool> {
    if metadata::is_path(root.shown()) {
        return Ok(true);
    }
    root.has_any(metadata::FOLDER, &metadata::is_metadata, reach)
}

/// Opens a table at a snapshot, by default the current one.
///
/// # Errors
/// As [`super::open`].
pub fn open(root: &Root, at: Option<&str>, reach: &dyn Reach, allowed: &Allowed) -> Result<Table> {
    let (root, metadata) = metadata::find(root, reach, allowed)?;
    let in_table = |what: String| wrong(root.shown(), what);
    let snapshot = metadata.snapshot(at).map_err(in_table)?;
    // The newest version of a table or of a branch has the current schema, which may be newer than the snapshot.
    let is_fixed = at.is_some_and(|at| !metadata.is_branch(at));
    let of_snapshot = snapshot.filter(|_| is_fixed).and_then(|one| one.schema_id);
    let schema = Schema::new(&metadata, of_snapshot);
    let schema = schema.map_err(|what| in_table(format!("its schema: {what}")))?;
    let location = metadata.location.trim_end_matches('/').to_owned();
    let reader = Reader { root: &root, location, reach, allowed };
    let (mut data, deletes) = match snapshot {
        Some(snapshot) => reader.files(snapshot)?,
        None => (Vec::new(), Deletes::default()),
    };
    data.sort_by(|one, other| one.file.file_path.cmp(&other.file.file_path));
    let fields =
        Arc::new(Fields { fields: schema.fields.clone(), by_id: true, in_any_case: false });
    let mut files = Vec::with_capacity(data.len());
    for found in &data {
        let file = reader.file(&found.file)?;
        let positions = deletes.of(&found.file.file_path, found.sequence);
        let constants = schema.constants(&metadata, found.spec, &found.file.partition);
        let constants = constants.map_err(in_table)?;
        // Files are written once: what may change is which rows of them are deleted, and how they are seen.
        let deleted = positions.as_ref().map(|positions| positions.digest());
        let etag = serde_json::to_string(&(&schema.digest, deleted, &found.file.partition));
        let deleted = match positions {
            Some(positions) => Deleted::Stored(positions),
            None => Deleted::None,
        };
        let rows = Some(found.file.record_count);
        let view = View { fields: fields.clone(), constants, constants_win: false, rows, deleted };
        files.push(file.seen(view, etag.unwrap_or_default()));
    }
    let of = TableVersion {
        kind: TableKind::Iceberg,
        address: root.address(),
        version: snapshot.map_or_else(|| "none".to_owned(), |one| one.snapshot_id.to_string()),
    };
    Ok(Table { of, columns: declared(&schema.fields), files })
}

impl Reader<'_> {
    /// The manifests of a snapshot.
    fn manifests(&self, snapshot: &Snapshot) -> Result<Vec<Listed>> {
        let mut manifests: Vec<Listed> = Vec::new();
        match (&snapshot.manifest_list, &snapshot.manifests) {
            (Some(list), _) => {
                let file = self.root.file(&self.below(list), None, self.reach, self.allowed)?;
                self.records(&file, &mut |listed| {
                    manifests.push(listed);
                    most(manifests.len(), MOST_MANIFESTS, "manifests")
                })?;
            }
            (None, Some(_)) => {
                let what = "its snapshot has no list of manifests, as the first writers of Iceberg wrote it: that is not read";
                return Err(wrong(self.root.shown(), what).into());
            }
            (None, None) => {}
        }
        Ok(manifests)
    }

    /// The data files of a snapshot, and its deletes.
    fn files(&self, snapshot: &Snapshot) -> Result<(Vec<Found>, Deletes)> {
        let (mut data, mut of_deletes) = (Vec::new(), Vec::new());
        for listed in &self.manifests(snapshot)? {
            let path = self.below(&listed.manifest_path);
            let file =
                self.root.file(&path, Some(listed.manifest_length), self.reach, self.allowed)?;
            let mut of_manifest: Vec<Found> = Vec::new();
            self.records(&file, &mut |entry: Entry| {
                if entry.status == DELETED {
                    return Ok(());
                }
                let sequence = entry.sequence_number.unwrap_or(listed.sequence_number);
                of_manifest.push(Found {
                    file: entry.data_file,
                    sequence,
                    spec: listed.partition_spec_id,
                });
                let count = of_manifest.len() + data.len() + of_deletes.len();
                most(count, MOST_FILES, "files")
            })?;
            for found in of_manifest {
                match (listed.content, found.file.content) {
                    (0, 0) => data.push(found),
                    (1, 1) => of_deletes.push(found),
                    (1, 2) => {
                        let what = "it has equality deletes, which are not read; rewrite its data files first (in Spark: \
                                    `CALL system.rewrite_data_files`)";
                        return Err(wrong(self.root.shown(), what).into());
                    }
                    _ => {
                        let what =
                            format!("its manifest `{}` has files of unknown contents", file.shown);
                        return Err(wrong(self.root.shown(), what).into());
                    }
                }
            }
        }
        let deletes = self.deletes(&data, &of_deletes)?;
        Ok((data, deletes))
    }

    /// The rows of data files that files of deletes tell.
    fn deletes(&self, data: &[Found], of_deletes: &[Found]) -> Result<Deletes> {
        let paths: HashSet<&str> = data.iter().map(|one| one.file.file_path.as_str()).collect();
        let mut deletes = Deletes::default();
        for found in of_deletes {
            let file = self.file(&found.file)?;
            deletes.add(&file, found.sequence, &paths, self.reach)?;
        }
        Ok(deletes)
    }

    /// Passes on the records of a file of Avro.
    fn records<R: for<'r> Deserialize<'r>>(
        &self,
        file: &SourceFile,
        each: &mut dyn FnMut(R) -> Result<(), String>,
    ) -> Result<()> {
        let bytes = read(file, LONGEST, self.reach)?;
        let read = avro::each(&bytes, &mut |record| {
            each(R::deserialize(&record).map_err(|error| error.to_string())?)
        });
        Ok(read.map_err(|what| wrong(&file.shown, what))?)
    }

    /// A file of rows or of deletes.
    fn file(&self, file: &DataFile) -> Result<SourceFile> {
        if !file.file_format.eq_ignore_ascii_case("parquet") {
            let what = format!(
                "its file `{}` is `{}`, and only Parquet is read",
                file.file_path, file.file_format
            );
            return Err(wrong(self.root.shown(), what).into());
        }
        let (path, size) = (self.below(&file.file_path), Some(file.file_size_in_bytes));
        self.root.file(&path, size, self.reach, self.allowed)
    }

    /// The path of a file below the table's location; another address as it is.
    fn below(&self, path: &str) -> String {
        let below = path.strip_prefix(&self.location).and_then(|below| below.strip_prefix('/'));
        below.unwrap_or(path).to_owned()
    }
}

fn most(count: usize, most: usize, what: &str) -> Result<(), String> {
    match count > most {
        true => Err(format!("it has more than {most} {what}")),
        false => Ok(()),
    }
}

/// The constants of a file that lacks columns, by their indices; `None` of one whose type is not read.
type Constants = HashMap<usize, Option<Json>>;
