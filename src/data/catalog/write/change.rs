//! Changes to existing versions: removed, renamed, described, refreshed.

use rusqlite::{Connection, Transaction, params};
use uuid::Uuid;

use super::connection::Writing;
use super::error::Refused;
use super::lock::Lock;
use super::naming::{self, now};
use super::stage::PREFIX;
use super::{Description, annotations, publish, sweep};
use crate::catalog::VersionInfo;
use crate::catalog::columns::identifier;
use crate::catalog::error::Error;
use crate::catalog::sqlite::rows::{Table, table_name};
use crate::catalog::versions::{REMOVED, REMOVING};
use dcfs_core::annotation::Annotation;
use dcfs_core::name::DatasetName;

/// See [`super::Writer::refresh`].
pub fn refresh(writing: &mut Writing, listing: &VersionInfo) -> Result<(), Error> {
    writing.brief(|write| {
        crate::catalog::versions::alive(write, listing)?;
        let sql = "UPDATE datasets_versions SET finished_at = ?2 WHERE id = ?1";
        write.execute(sql, params![listing.id.key(), now()])?;
        Ok(())
    })
}

/// See [`super::Writer::remove`]. The table becomes an abandoned stage, which is then emptied like
/// that of a dead process: if killed in between, the next writer finishes.
pub fn remove(writing: &mut Writing, of: &VersionInfo) -> Result<(), Error> {
    let lock = Lock::new(writing.path())?;
    let stage = format!("{PREFIX}{}", lock.id());
    let done = writing.brief(|write| {
        let sql = "UPDATE datasets_versions SET status = ?2, removed_at = ?3 WHERE id = ?1";
        match Table::of(write, of)?.quoted_if_there()? {
            Some(table) => {
                write.execute_batch(&format!("ALTER TABLE {table} RENAME TO \"{stage}\""))?;
            }
            None => tracing::debug!(version = %of, "its rows are gone already"),
        }
        write.execute(sql, params![of.id.key(), REMOVED, now()])?;
        Ok(())
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
        naming::check(write, from)?;
        let id = dataset(write, from)?;
        if let Err(error) = naming::check(write, to)
            && !is_own_name(&error, from)
        {
            return Err(error);
        }
        if let Some(taken) = naming::dataset(write, to)? {
            return Err(match is_removed(write, taken)? {
                true => Refused::TakenByRemoved(to.clone()).into(),
                false => Refused::Taken(to.clone()).into(),
            });
        }
        for version in versions(write, id)? {
            move_table(write, &table_name(from, &version), &table_name(to, &version))?;
        }
        write.execute("UPDATE datasets SET name = ?2 WHERE id = ?1", params![id, to.name])?;
        annotations::rename(write, from, to)
    })
}

/// Whether a dataset had versions, and all were removed: nothing lists it.
fn is_removed(connection: &Connection, dataset: i64) -> Result<bool, Error> {
    let sql = "SELECT count(*) > 0 AND min(status IN (?2, ?3)) FROM datasets_versions WHERE dataset_id = ?1";
    let key = params![dataset, REMOVING, REMOVED];
    Ok(connection.query_row(sql, key, |row| row.get::<_, Option<bool>>(0))?.unwrap_or(false))
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
    if !from.eq_ignore_ascii_case(to) && naming::has_table(write, to)? {
        return Err(Refused::TableInTheWay(to.to_owned()).into());
    }
    // Via a third name: to SQLite, two names that differ only in case are the same.
    let between = identifier(&format!("{PREFIX}{}", Uuid::new_v4().simple())).unwrap_or_default();
    let sql =
        format!("ALTER TABLE {old} RENAME TO {between}; ALTER TABLE {between} RENAME TO {new}");
    Ok(write.execute_batch(&sql)?)
}

/// See [`super::Writer::describe`].
pub fn describe(
    writing: &mut Writing,
    name: &DatasetName,
    said: &Description,
) -> Result<(), Error> {
    writing.brief(|write| {
        let id = dataset(write, name)?;
        publish::say(write, id, said.description.as_deref(), said.attrs.as_deref())
    })
}

/// See [`super::Writer::annotate`].
pub fn annotate(
    writing: &mut Writing,
    name: &DatasetName,
    column: &str,
    said: &Annotation,
    by: &str,
) -> Result<(), Error> {
    writing.brief(|write| {
        dataset(write, name)?;
        annotations::say(write, name, column, said, by)
    })
}

/// The key of an existing dataset.
fn dataset(connection: &Connection, name: &DatasetName) -> Result<i64, Error> {
    naming::dataset(connection, name)?.ok_or_else(|| Refused::NoDataset(name.clone()).into())
}

fn versions(connection: &Connection, dataset: i64) -> Result<Vec<String>, Error> {
    let mut statement =
        connection.prepare("SELECT version FROM datasets_versions WHERE dataset_id = ?1")?;
    let rows = statement.query_map([dataset], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
