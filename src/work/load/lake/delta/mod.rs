//! Tables of Delta Lake: the version that a log gives, and its data files.
//!
//! A log is a file of actions for each version, and checkpoints that sum up all versions before: the newest checkpoint is
//! read, then every version after it. What is in a log:
//! <https://github.com/delta-io/delta/blob/master/PROTOCOL.md>.

mod log;
mod schema;
mod vector;

use std::sync::Arc;

use percent_encoding::percent_decode_str;

use super::view::{Deleted, Fields, View, declared};
use super::{Allowed, Reach, Root, SourceFile, Table, TableKind, TableVersion};
use super::{missing, wrong};
use dcfs_core::error::Result;
use log::{Add, Log, State};
use schema::Schema;
use vector::Vectors;

/// Features of tables that are understood; other features that a reader must know are refused.
const FEATURES: [&str; 7] = [
    "columnMapping",
    "deletionVectors",
    "timestampNtz",
    "typeWidening",
    "typeWidening-preview",
    "v2Checkpoint",
    "vacuumProtocolCheck",
];

/// The newest version of the protocol for readers.
const PROTOCOL: i64 = 3;

/// The version of the protocol that lists its features.
const WITH_FEATURES: i64 = 3;

/// Opens a table at a version, by default the newest.
///
/// # Errors
/// As [`super::open`].
pub fn open(root: &Root, at: Option<&str>, reach: &dyn Reach, allowed: &Allowed) -> Result<Table> {
    let wanted = at.map(|at| at.parse::<u64>()).transpose();
    let wanted = wanted
        .map_err(|_| wrong(root.shown(), "versions of a Delta table are numbers: `--at 12`"))?;
    let log = Log::list(root, reach, allowed)?;
    let (version, state) = log.state(root, wanted, reach, allowed)?;
    let mapping = understood(&state).map_err(|what| wrong(root.shown(), what))?;
    let metadata = state.metadata.as_ref();
    let metadata = metadata.ok_or_else(|| missing(root, "its log tells no schema"))?;
    let schema = Schema::new(metadata, mapping)
        .map_err(|what| wrong(root.shown(), format!("its schema: {what}")))?;
    let mut adds: Vec<&Add> = state.files.values().collect();
    adds.sort_unstable_by(|one, other| one.path.cmp(&other.path));
    if let Some([one, _]) =
        adds.windows(2).map(|pair| [pair[0], pair[1]]).find(|[one, other]| one.path == other.path)
    {
        let what = format!("its log has `{}` twice, with other rows deleted", one.path);
        return Err(wrong(root.shown(), what).into());
    }
    let mut vectors = Vectors::new(root, reach, allowed);
    let (by_id, in_any_case) = (mapping == Mapping::Id, mapping == Mapping::None);
    let fields = Arc::new(Fields { fields: schema.fields.clone(), by_id, in_any_case });
    let mut files = Vec::with_capacity(adds.len());
    for add in adds {
        files.push(data_file(root, add, &schema, &fields, &mut vectors)?);
    }
    let of = TableVersion {
        kind: TableKind::Delta,
        address: root.address(),
        version: version.to_string(),
    };
    Ok(Table { of, columns: declared(&schema.fields), files })
}

/// How columns are found in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mapping {
    None,
    Name,
    Id,
}

/// How columns are mapped, if all that a reader must know of a table is known here.
fn understood(state: &State) -> Result<Mapping, String> {
    let protocol = state.protocol.as_ref().ok_or("its log tells no protocol")?;
    let version = protocol.min_reader_version;
    if !(1..=PROTOCOL).contains(&version) {
        return Err(format!(
            "it needs version {version} of Delta's protocol; 1 to {PROTOCOL} are read"
        ));
    }
    let features: &[String] = match &protocol.reader_features {
        Some(features) if version >= WITH_FEATURES => features,
        None if version >= WITH_FEATURES => {
            return Err(format!(
                "its protocol is of version {version}, and does not list its features"
            ));
        }
        _ => &[],
    };
    let unknown: Vec<String> = features
        .iter()
        .filter(|feature| !FEATURES.contains(&feature.as_str()))
        .map(|feature| format!("`{feature}`"))
        .collect();
    if !unknown.is_empty() {
        return Err(format!("it needs {}, which is not read", unknown.join(", ")));
    }
    let is_mapped = version == 2 || features.iter().any(|feature| feature == "columnMapping");
    let metadata = state.metadata.as_ref().filter(|_| is_mapped);
    let mode = metadata.and_then(|metadata| metadata.setting("delta.columnMapping.mode"));
    match mode {
        None | Some("none") => Ok(Mapping::None),
        Some("name") => Ok(Mapping::Name),
        Some("id") => Ok(Mapping::Id),
        Some(other) => {
            Err(format!("columns are mapped by `{other}`; by `name` and `id` they are read"))
        }
    }
}

/// One data file, and how its rows are seen.
fn data_file(
    root: &Root,
    add: &Add,
    schema: &Schema,
    fields: &Arc<Fields>,
    vectors: &mut Vectors<'_>,
) -> Result<SourceFile> {
    let of_file = |what: String| wrong(root.shown(), format!("its file `{}`: {what}", add.path));
    let path = decoded(&add.path).map_err(of_file)?;
    let size = u64::try_from(add.size).map_err(|_| of_file("its size is negative".into()))?;
    let file = root.file(&path, Some(size), vectors.reach, vectors.allowed)?;
    let constants = schema.constants(add).map_err(of_file)?;
    let deleted = match &add.deletion_vector {
        None => Deleted::None,
        Some(vector) => Deleted::Stored(vectors.get(vector)?),
    };
    // Files are written once: what may change is which rows of them are deleted, and how they are seen.
    let vector = add.deletion_vector.as_ref().map(log::Vector::id);
    let seen = (&schema.digest, add.modification_time, vector, &add.partition_values);
    let etag = serde_json::to_string(&seen).unwrap_or_default();
    let view = View { fields: fields.clone(), constants, constants_win: true, rows: None, deleted };
    Ok(file.seen(view, etag))
}

/// A path of the log, which is written as in addresses.
fn decoded(path: &str) -> Result<String, String> {
    let decoded = percent_decode_str(path).decode_utf8();
    decoded.map(Into::into).map_err(|_| "its path is not UTF-8".to_owned())
}
