//! Publishes a stage as a version: one short transaction, before which nothing is visible.

use rusqlite::{Connection, Transaction};
use uuid::Uuid;

use super::connection::Writing;
use super::error::Refused;
use super::jobs::{self, JobDone};
use super::naming::{self, Places, now};
use super::{preview, provenance};
use crate::catalog::Provenance;
use crate::catalog::ask::{Ask, Bound, Write, bound};
use crate::catalog::columns::identifier;
use crate::catalog::error::Error;
use crate::catalog::versions::{self, COMPLETE};
use dcfs_core::id::VersionId;
use dcfs_core::name::DatasetName;
use dcfs_core::schema::Layout;
use dcfs_core::time::Timestamp;
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

/// The properties that a version copied from another catalog keeps.
#[derive(Clone, Copy, Debug)]
pub struct Copied<'a> {
    pub uuid: &'a str,
    pub created_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// Whether it has a provenance: DataChain records none.
    pub has_provenance: bool,
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
pub struct Counted {
    pub rows: u64,
    pub size: Option<i64>,
    pub preview: String,
}

/// A stage that becomes a version.
pub trait Staged: Places {
    /// Renames the stage's table to that of the version.
    fn becomes(&self, table: &str) -> Result<(), Error>;
}

/// A stage in SQLite, within the transaction that names it.
struct Tables<'t>(&'t Transaction<'t>, &'t str);

impl Places for Tables<'_> {
    fn has_table(&self, table: &str) -> Result<bool, Error> {
        self.0.has_table(table)
    }
}

impl Staged for Tables<'_> {
    fn becomes(&self, table: &str) -> Result<(), Error> {
        let quoted = identifier(table).ok_or_else(|| Refused::TableInTheWay(table.to_owned()))?;
        let Self(write, stage) = self;
        Ok(write.execute_batch(&format!("ALTER TABLE \"{stage}\" RENAME TO {quoted}"))?)
    }
}

/// See [`super::Stage::publish`].
pub fn publish(
    writing: &mut Writing,
    stage: &str,
    layout: &Layout,
    (publication, copied): (&Publication<'_>, Option<&Copied<'_>>),
) -> Result<Saved, Error> {
    let counted = count(writing.connection(), stage, layout)?;
    let uuid = uuid_of(copied);
    writing.brief(|write| {
        register(write, &Tables(write, stage), layout, (&uuid, &counted), (publication, copied))
    })
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
pub fn register(
    write: &dyn Write,
    stage: &dyn Staged,
    layout: &Layout,
    (uuid, counted): (&str, &Counted),
    (publication, copied): (&Publication<'_>, Option<&Copied<'_>>),
) -> Result<Saved, Error> {
    let name = publication.name;
    match name.is_listing() || copied.is_some() {
        true => naming::neighbours(write, name)?,
        false => naming::check(write, name)?,
    }
    if let Some(upon) = publication.upon {
        still_latest(write, name, upon)?;
    }
    let now = now();
    let dataset = dataset(write, layout, publication, &now)?;
    let (version, table) = match (copied, publication.number) {
        (Some(_), Number::Exactly(wanted)) => {
            naming::kept(stage, name, &naming::versions(write, dataset)?, wanted)?
        }
        (_, number) => naming::numbered(stage, name, naming::highest(write, dataset)?, number)?,
    };
    let size = counted.size;
    let was = |time: Option<Timestamp>| time.map_or_else(|| now.clone(), Timestamp::catalog);
    let created = copied.map_or_else(|| now.clone(), |copied| was(copied.created_at));
    let finished = copied.map_or_else(|| now.clone(), |copied| was(copied.finished_at));
    let id = write.insert(
        "INSERT INTO datasets_versions (uuid, dataset_id, version, status, feature_schema, created_at, \
         finished_at, error_message, error_stack, script_output, num_objects, size, preview, sources, \
         query_script, schema, pending_metadata_drop) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, '', '', '', ?8, ?9, ?10, '', ?11, ?12, ?13) RETURNING id",
        bound![
            uuid,
            dataset,
            &version.to_string(),
            COMPLETE,
            &layout.features,
            &created,
            &finished,
            counted.rows.cast_signed(),
            size,
            &counted.preview,
            publication.script,
            &layout.types,
            false,
        ],
    )?;
    parents(write, dataset, id, publication.parents)?;
    if copied.is_none_or(|copied| copied.has_provenance) {
        provenance::write(write, uuid, &created, publication.provenance)?;
    }
    if let Some(job) = publication.job {
        jobs::published(write, id, &format!("{}@{version}", name.whole()), job)?;
    }
    // Last: nothing is queried between a rename on a server and the end of the transaction.
    stage.becomes(&table)?;
    Ok(Saved {
        id: VersionId::from_catalog(id),
        dataset: name.clone(),
        version,
        uuid: uuid.to_owned(),
        rows: counted.rows,
        size: size.and_then(|size| size.try_into().ok()),
    })
}

/// The uuid of a version that is saved.
pub fn uuid_of(copied: Option<&Copied<'_>>) -> String {
    copied.map_or_else(|| Uuid::new_v4().to_string(), |copied| copied.uuid.to_owned())
}

/// Fails if another version was saved, or this one was removed, since it was read.
fn still_latest(write: &dyn Ask, name: &DatasetName, upon: VersionId) -> Result<(), Error> {
    match versions::latest(write, name)? {
        Some(latest) if latest.id == upon => Ok(()),
        _ => Err(Refused::Overtaken(name.clone()).into()),
    }
}

/// The key of the dataset, which is created if it does not exist.
fn dataset(
    write: &dyn Write,
    layout: &Layout,
    publication: &Publication<'_>,
    now: &str,
) -> Result<i64, Error> {
    let name = publication.name;
    let project = project(write, &name.namespace, &name.project, now)?;
    let sql = "SELECT id FROM datasets WHERE project_id = ?1 AND name = ?2";
    let id = match key(write, sql, bound![project, &name.name])? {
        Some(id) => id,
        None => write.insert(
            "INSERT INTO datasets (uuid, project_id, name, attrs, status, feature_schema, created_at, \
             finished_at, error_message, error_stack, script_output, sources, query_script, schema) \
             VALUES (?1, ?2, ?3, '[]', ?4, ?5, ?6, ?6, '', '', '', '', ?7, ?8) RETURNING id",
            bound![
                &Uuid::new_v4().to_string(),
                project,
                &name.name,
                COMPLETE,
                &layout.features,
                now,
                publication.script,
                &layout.types,
            ],
        )?,
    };
    say(write, id, publication.description, publication.attrs)?;
    Ok(id)
}

/// The first value of a result.
fn key(tables: &dyn Ask, sql: &str, bound: &[Bound<'_>]) -> Result<Option<i64>, Error> {
    Ok(tables.first(sql, bound)?.and_then(|row| row.integer(0)))
}

/// Changes the description of a dataset.
pub fn say(
    write: &dyn Write,
    dataset: i64,
    description: Option<&str>,
    attrs: Option<&[String]>,
) -> Result<(), Error> {
    if let Some(description) = description {
        let sql = "UPDATE datasets SET description = ?2 WHERE id = ?1";
        write.run(sql, bound![dataset, description])?;
    }
    if let Some(attrs) = attrs {
        let attrs = serde_json::Value::from(attrs).to_string();
        write.run("UPDATE datasets SET attrs = ?2 WHERE id = ?1", bound![dataset, &attrs])?;
    }
    Ok(())
}

/// The key of a project, which is created if it does not exist.
pub fn project(write: &dyn Write, namespace: &str, project: &str, now: &str) -> Result<i64, Error> {
    let find = "SELECT id FROM namespaces WHERE name = ?1";
    let within = match key(write, find, bound![namespace])? {
        Some(within) => within,
        None => {
            let said = (namespace == "system").then_some("System namespace");
            write.insert(
                "INSERT INTO namespaces (uuid, name, description, created_at) \
                 VALUES (?1, ?2, ?3, ?4) RETURNING id",
                bound![&Uuid::new_v4().to_string(), namespace, said, now],
            )?
        }
    };
    let find = "SELECT id FROM projects WHERE namespace_id = ?1 AND name = ?2";
    match key(write, find, bound![within, project])? {
        Some(id) => Ok(id),
        None => {
            let said = (project == "listing").then_some("Listing project");
            write.insert(
                "INSERT INTO projects (uuid, name, description, created_at, namespace_id) \
                 VALUES (?1, ?2, ?3, ?4, ?5) RETURNING id",
                bound![&Uuid::new_v4().to_string(), project, said, now, within],
            )
        }
    }
}

/// In `datasets_dependencies`, the *source* is the child. A parent that was deleted is left out.
pub fn parents(
    write: &dyn Write,
    dataset: i64,
    version: i64,
    parents: &[VersionId],
) -> Result<(), Error> {
    let of = "SELECT dataset_id FROM datasets_versions WHERE id = ?1";
    let sql = "INSERT INTO datasets_dependencies \
               (source_dataset_id, source_dataset_version_id, dataset_id, dataset_version_id) \
               VALUES (?1, ?2, ?3, ?4)";
    let mut told: Vec<VersionId> = Vec::new();
    for parent in parents {
        if told.contains(parent) {
            continue;
        }
        told.push(*parent);
        if let Some(of) = key(write, of, bound![parent.key()])? {
            write.run(sql, bound![dataset, version, of, parent.key()])?;
        }
    }
    Ok(())
}
