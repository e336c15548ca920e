//! Changes to existing versions: removed, renamed, described, refreshed.

use rusqlite::Transaction;
use uuid::Uuid;

use super::connection::Writing;
use super::error::Refused;
use super::in_file::PREFIX;
use super::lock::Lock;
use super::naming::{self, Places as _, now};
use super::{Description, annotations, publish, sweep};
use crate::catalog::VersionInfo;
use crate::catalog::ask::{Answer, Ask, Write, bound};
use crate::catalog::columns::identifier;
use crate::catalog::error::Error;
use crate::catalog::sqlite::rows::{Table, table_name};
use crate::catalog::versions::{REMOVED, REMOVING};
use dcfs_core::annotation::Annotation;
use dcfs_core::id::VersionId;
use dcfs_core::name::DatasetName;

/// See [`super::Writer::refresh`].
pub fn refresh(write: &dyn Write, listing: &VersionInfo) -> Result<(), Error> {
    crate::catalog::versions::alive(write, listing)?;
    let sql = "UPDATE datasets_versions SET finished_at = ?2 WHERE id = ?1";
    write.run(sql, bound![listing.id.key(), &now()])?;
    Ok(())
}

/// See [`super::Writer::link`].
pub fn link(write: &dyn Write, of: &VersionInfo, parents: &[VersionId]) -> Result<(), Error> {
    crate::catalog::versions::alive(write, of)?;
    let known = crate::catalog::lineage::parents(write, of.id)?;
    let is_new = |id: &&VersionId| known.iter().all(|parent| parent.id != Some(**id));
    let new: Vec<VersionId> = parents.iter().filter(is_new).copied().collect();
    let sql = "SELECT dataset_id FROM datasets_versions WHERE id = ?1";
    let dataset = write.first(sql, bound![of.id.key()])?.and_then(|row| row.integer(0));
    let dataset = dataset.ok_or_else(|| Error::Removed(of.to_string()))?;
    publish::parents(write, dataset, of.id.key(), &new)
}

/// Records that a version was removed: its number stays taken.
pub fn removed(write: &dyn Write, of: &VersionInfo) -> Result<(), Error> {
    let sql = "UPDATE datasets_versions SET status = ?2, removed_at = ?3 WHERE id = ?1";
    write.run(sql, bound![of.id.key(), REMOVED, &now()])?;
    Ok(())
}

/// See [`super::Writer::remove`]. The table becomes an abandoned stage, which is then emptied like
/// that of a dead process: if killed in between, the next writer finishes.
pub fn remove(writing: &mut Writing, of: &VersionInfo) -> Result<(), Error> {
    let lock = Lock::new(writing.path())?;
    let stage = format!("{PREFIX}{}", lock.id());
    let done = writing.brief(|write| {
        match Table::of(write, of)?.quoted_if_there()? {
            Some(table) => {
                write.execute_batch(&format!("ALTER TABLE {table} RENAME TO \"{stage}\""))?;
            }
            None => tracing::debug!(version = %of, "its rows are gone already"),
        }
        removed(write, of)
    });
    match done {
        Ok(()) => sweep::one(writing, lock),
        Err(error) => {
            lock.end();
            Err(error)
        }
    }
}

/// See [`super::Writer::rename`].
pub fn rename(writing: &mut Writing, from: &DatasetName, to: &DatasetName) -> Result<(), Error> {
    writing.brief(|write| {
        let id = may_become(write, from, to)?;
        for version in naming::versions(write, id)? {
            move_table(write, &table_name(from, &version), &table_name(to, &version))?;
        }
        renamed(write, id, from, to)
    })
}

/// The key of the dataset `from`, if it may be renamed to `to`.
pub fn may_become(tables: &dyn Ask, from: &DatasetName, to: &DatasetName) -> Result<i64, Error> {
    naming::check(tables, from)?;
    let id = dataset(tables, from)?;
    if let Err(error) = naming::check(tables, to)
        && !is_own_name(&error, from)
    {
        return Err(error);
    }
    match naming::dataset(tables, to)? {
        None => Ok(id),
        Some(taken) => Err(match is_removed(tables, taken)? {
            true => Refused::TakenByRemoved(to.clone()).into(),
            false => Refused::Taken(to.clone()).into(),
        }),
    }
}

/// Renames a dataset, with its annotations.
pub fn renamed(
    write: &dyn Write,
    dataset: i64,
    from: &DatasetName,
    to: &DatasetName,
) -> Result<(), Error> {
    let sql = "UPDATE datasets SET name = ?2 WHERE id = ?1";
    write.run(sql, bound![dataset, &to.name])?;
    annotations::rename(write, from, to)
}

/// Whether a dataset had versions, and all were removed: nothing lists it.
fn is_removed(tables: &dyn Ask, dataset: i64) -> Result<bool, Error> {
    let sql = "SELECT DISTINCT status FROM datasets_versions WHERE dataset_id = ?1";
    let rows = tables.ask(sql, bound![dataset])?;
    let is_gone = |row: &Answer| matches!(row.integer(0), Some(REMOVING | REMOVED));
    Ok(!rows.is_empty() && rows.iter().all(is_gone))
}

/// Whether a name is refused only because it is that of the dataset itself in different case.
fn is_own_name(error: &Error, own: &DatasetName) -> bool {
    matches!(error, Error::Refused(Refused::OtherCase { there, .. }) if *there == own.name)
}

/// Removed versions have no table.
fn move_table(write: &Transaction<'_>, from: &str, to: &str) -> Result<(), Error> {
    let (Some(old), Some(new)) = (identifier(from), identifier(to)) else { return Ok(()) };
    if !write.table_exists(None, from)? {
        return Ok(());
    }
    if !from.eq_ignore_ascii_case(to) && write.has_table(to)? {
        return Err(Refused::TableInTheWay(to.to_owned()).into());
    }
    // Via a third name: to SQLite, two names that differ only in case are the same.
    let between = identifier(&format!("{PREFIX}{}", Uuid::new_v4().simple())).unwrap_or_default();
    let sql =
        format!("ALTER TABLE {old} RENAME TO {between}; ALTER TABLE {between} RENAME TO {new}");
    Ok(write.execute_batch(&sql)?)
}

/// See [`super::Writer::describe`].
pub fn describe(write: &dyn Write, name: &DatasetName, said: &Description) -> Result<(), Error> {
    let id = dataset(write, name)?;
    publish::say(write, id, said.description.as_deref(), said.attrs.as_deref())
}

/// See [`super::Writer::annotate`].
pub fn annotate(
    write: &dyn Write,
    name: &DatasetName,
    column: &str,
    said: &Annotation,
    by: &str,
) -> Result<(), Error> {
    dataset(write, name)?;
    annotations::say(write, name, column, said, by)
}

/// The key of an existing dataset.
fn dataset(tables: &dyn Ask, name: &DatasetName) -> Result<i64, Error> {
    naming::dataset(tables, name)?.ok_or_else(|| Refused::NoDataset(name.clone()).into())
}
