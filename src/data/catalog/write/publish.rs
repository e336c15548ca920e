//! Publishes a stage as a version: one short transaction, before which nothing is visible.

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use uuid::Uuid;

use super::connection::Writing;
use super::error::Refused;
use super::jobs::{self, JobDone};
use super::naming::{self, now};
use super::{preview, provenance};
use crate::catalog::Provenance;
use crate::catalog::columns::identifier;
use crate::catalog::error::Error;
use crate::catalog::versions::{self, COMPLETE};
use dcfs_core::id::VersionId;
use dcfs_core::name::DatasetName;
use dcfs_core::schema::Layout;
use dcfs_core::version::{Bump, Version};

/// The metadata of a new version.
#[derive(Clone, Debug)]
pub struct Publication<'a> {
    pub name: &'a DatasetName,
    pub number: Number,
    /// The version that rows were compared with, which must still be the latest; `None` if it does
    /// not matter.
    pub upon: Option<VersionId>,
    /// The versions it was computed from.
    pub parents: &'a [VersionId],
    /// The text that `datachain show --script` prints: the command, with its filter.
    pub script: &'a str,
    /// The description of the dataset; `None` keeps the present one.
    pub description: Option<&'a str>,
    /// The attributes of the dataset; `None` keeps the present ones.
    pub attrs: Option<&'a [String]>,
    pub provenance: &'a Provenance,
    /// The job that made it, if one did.
    pub job: Option<&'a JobDone<'a>>,
}

/// The choice of a version's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// The next above every number ever used; 1.0.0 for the first version.
    Next(Bump),
    Exactly(Version),
}

/// A saved version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    pub id: VersionId,
    pub dataset: DatasetName,
    pub version: Version,
    pub uuid: String,
    pub rows: u64,
    /// Bytes of all its files, as DataChain sums them up; `None` if there are no rows.
    pub size: Option<u64>,
}

/// Facts about the rows, computed before the lock is taken.
struct Counted {
    rows: u64,
    size: Option<i64>,
    preview: String,
}

/// See [`super::Stage::publish`].
pub fn publish(
    writing: &mut Writing,
    stage: &str,
    layout: &Layout,
    publication: &Publication<'_>,
) -> Result<Saved, Error> {
    let counted = count(writing.connection(), stage, layout)?;
    writing.brief(|write| register(write, stage, layout, &counted, publication))
}

fn count(connection: &Connection, stage: &str, layout: &Layout) -> Result<Counted, Error> {
    let sizes: Vec<String> = layout.sizes.iter().filter_map(|name| identifier(name)).collect();
    let sum = if sizes.is_empty() { "0".to_owned() } else { sizes.join(" + ") };
    // In halves: SQLite's `sum` fails if sizes, which may be a stranger's, overflow 64 bits.
    let sql =
        format!("SELECT count(*), sum(({sum}) >> 32), sum(({sum}) & 4294967295) FROM \"{stage}\"");
    let (rows, high, low): (i64, Option<i64>, Option<i64>) =
        connection.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let size = high.zip(low).and_then(|(high, low)| whole(high, low));
    let preview = preview::of(connection, stage, layout)?;
    Ok(Counted { rows: rows.unsigned_abs(), size, preview })
}

/// A sum from its halves; `None` if it exceeds 64 bits.
fn whole(high: i64, low: i64) -> Option<i64> {
    i64::try_from((i128::from(high) << 32) + i128::from(low)).ok()
}

/// Registers everything: the dataset, the number, the table's name, the version, its parents, who
/// saved it.
fn register(
    write: &Transaction<'_>,
    stage: &str,
    layout: &Layout,
    counted: &Counted,
    publication: &Publication<'_>,
) -> Result<Saved, Error> {
    let name = publication.name;
    match name.is_listing() {
        true => naming::neighbours(write, name)?,
        false => naming::check(write, name)?,
    }
    if let Some(upon) = publication.upon {
        still_latest(write, name, upon)?;
    }
    let now = now();
    let dataset = dataset(write, layout, publication, &now)?;
    let highest = naming::highest(write, dataset)?;
    let (version, table) = naming::numbered(write, name, highest, publication.number)?;
    let quoted = identifier(&table).ok_or_else(|| Refused::TableInTheWay(table.clone()))?;
    write.execute_batch(&format!("ALTER TABLE \"{stage}\" RENAME TO {quoted}"))?;
    let uuid = Uuid::new_v4().to_string();
    let size = counted.size;
    write.execute(
        "INSERT INTO datasets_versions (uuid, dataset_id, version, status, feature_schema, created_at, \
         finished_at, error_message, error_stack, script_output, num_objects, size, preview, sources, \
         query_script, schema, pending_metadata_drop) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, '', '', '', ?7, ?8, ?9, '', ?10, ?11, 0)",
        params![
            uuid,
            dataset,
            version.to_string(),
            COMPLETE,
            layout.features,
            now,
            counted.rows.cast_signed(),
            size,
            counted.preview,
            publication.script,
            layout.types,
        ],
    )?;
    let id = write.last_insert_rowid();
    parents(write, dataset, id, publication.parents)?;
    provenance::write(write, &uuid, &now, publication.provenance)?;
    if let Some(job) = publication.job {
        jobs::published(write, id, &format!("{}@{version}", name.whole()), job)?;
    }
    Ok(Saved {
        id: VersionId::from_catalog(id),
        dataset: name.clone(),
        version,
        uuid,
        rows: counted.rows,
        size: size.and_then(|size| size.try_into().ok()),
    })
}

/// Fails if another version was saved, or this one was removed, since it was read.
fn still_latest(write: &Transaction<'_>, name: &DatasetName, upon: VersionId) -> Result<(), Error> {
    match versions::latest(write, name)? {
        Some(latest) if latest.id == upon => Ok(()),
        _ => Err(Refused::Overtaken(name.clone()).into()),
    }
}

/// The key of the dataset, which is created if it does not exist.
fn dataset(
    write: &Transaction<'_>,
    layout: &Layout,
    publication: &Publication<'_>,
    now: &str,
) -> Result<i64, Error> {
    let name = publication.name;
    let project = project(write, &name.namespace, &name.project, now)?;
    let sql = "SELECT id FROM datasets WHERE project_id = ?1 AND name = ?2";
    let found = write.query_row(sql, params![project, name.name], |row| row.get(0)).optional()?;
    let id = match found {
        Some(id) => id,
        None => {
            write.execute(
                "INSERT INTO datasets (uuid, project_id, name, attrs, status, feature_schema, created_at, \
                 finished_at, error_message, error_stack, script_output, sources, query_script, schema) \
                 VALUES (?1, ?2, ?3, '[]', ?4, ?5, ?6, ?6, '', '', '', '', ?7, ?8)",
                params![
                    Uuid::new_v4().to_string(),
                    project,
                    name.name,
                    COMPLETE,
                    layout.features,
                    now,
                    publication.script,
                    layout.types,
                ],
            )?;
            write.last_insert_rowid()
        }
    };
    say(write, id, publication.description, publication.attrs)?;
    Ok(id)
}

/// Changes the description of a dataset.
pub fn say(
    write: &Transaction<'_>,
    dataset: i64,
    description: Option<&str>,
    attrs: Option<&[String]>,
) -> Result<(), Error> {
    if let Some(description) = description {
        let sql = "UPDATE datasets SET description = ?2 WHERE id = ?1";
        write.execute(sql, params![dataset, description])?;
    }
    if let Some(attrs) = attrs {
        let attrs = serde_json::Value::from(attrs).to_string();
        write.execute("UPDATE datasets SET attrs = ?2 WHERE id = ?1", params![dataset, attrs])?;
    }
    Ok(())
}

/// The key of a project, which is created if it does not exist.
pub fn project(
    write: &Transaction<'_>,
    namespace: &str,
    project: &str,
    now: &str,
) -> Result<i64, Error> {
    write.execute(
        "INSERT INTO namespaces (uuid, name, description, created_at) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT DO NOTHING",
        params![
            Uuid::new_v4().to_string(),
            namespace,
            (namespace == "system").then_some("System namespace"),
            now
        ],
    )?;
    let within: i64 =
        write.query_row("SELECT id FROM namespaces WHERE name = ?1", [namespace], |row| {
            row.get(0)
        })?;
    write.execute(
        "INSERT INTO projects (uuid, name, description, created_at, namespace_id) \
         VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
        params![
            Uuid::new_v4().to_string(),
            project,
            (project == "listing").then_some("Listing project"),
            now,
            within
        ],
    )?;
    let sql = "SELECT id FROM projects WHERE namespace_id = ?1 AND name = ?2";
    Ok(write.query_row(sql, params![within, project], |row| row.get(0))?)
}

/// In `datasets_dependencies`, the *source* is the child. A parent that was deleted is left out.
fn parents(
    write: &Transaction<'_>,
    dataset: i64,
    version: i64,
    parents: &[VersionId],
) -> Result<(), Error> {
    let sql = "INSERT INTO datasets_dependencies \
               (source_dataset_id, source_dataset_version_id, dataset_id, dataset_version_id) \
               SELECT ?1, ?2, v.dataset_id, v.id FROM datasets_versions v WHERE v.id = ?3";
    let mut told: Vec<VersionId> = Vec::new();
    for parent in parents {
        if !told.contains(parent) {
            told.push(*parent);
            write.prepare_cached(sql)?.execute(params![dataset, version, parent.key()])?;
        }
    }
    Ok(())
}
