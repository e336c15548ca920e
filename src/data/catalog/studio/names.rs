//! The mirror of names: a SQLite file with DataChain's tables, without rows.
//!
//! A version is known by its uuid. One whose record changed keeps its key; one that has another name or number is another version.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use dcfs_core::name::DatasetName;
use dcfs_core::time::Timestamp;
use uuid::Uuid;

use super::answers::{Dataset, Version};
use crate::catalog::ask::{Answer, Ask, Write, bound};
use crate::catalog::error::Error;
use crate::catalog::versions::COMPLETE;
use crate::catalog::write::connection::Writing;
use crate::catalog::write::naming::now;
use crate::catalog::write::publish;

/// The record of a version, as the mirror keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    dataset: DatasetName,
    version: String,
    status: i64,
    rows: Option<i64>,
    size: Option<i64>,
    created: Option<String>,
    finished: Option<String>,
    script: String,
    description: Option<String>,
    attrs: String,
}

impl Record {
    fn of(dataset: &Dataset, version: &Version) -> Self {
        Self {
            dataset: dataset.full_name(),
            version: version.version.clone(),
            status: version.status,
            rows: version.num_objects,
            size: version.size,
            created: time(version.created_at.as_deref()),
            finished: time(version.finished_at.as_deref()),
            script: version.query_script.clone().unwrap_or_default(),
            description: dataset.description.clone(),
            attrs: dataset.attrs(),
        }
    }

    fn is_of(&self, other: &Self) -> bool {
        self.dataset == other.dataset && self.version == other.version
    }
}

/// A time as the catalog writes times.
fn time(text: Option<&str>) -> Option<String> {
    Some(Timestamp::parse(text?)?.catalog())
}

/// Makes the mirror at `file` hold `found` and nothing else. Writes only if something changed.
///
/// # Errors
/// Errors of SQLite and of the disk.
pub fn sync(file: &Path, found: &[Dataset]) -> Result<(), Error> {
    let wanted = wanted(found);
    let mut writing = Writing::open(file.to_owned(), true)?;
    writing.placed(|writing| {
        let there = known(writing.connection())?;
        let is_same = there.len() == wanted.len()
            && there.iter().all(|(uuid, (_, record))| wanted.get(uuid) == Some(record));
        match is_same {
            true => Ok(()),
            false => writing.brief(|write| change(write, &wanted)),
        }
    })
}

/// The versions by uuid. A uuid, or a name and number, that comes twice is taken once.
fn wanted(found: &[Dataset]) -> HashMap<String, Record> {
    let (mut wanted, mut named) = (HashMap::new(), HashSet::new());
    for dataset in found {
        for version in &dataset.versions {
            let record = Record::of(dataset, version);
            let is_new = !version.uuid.is_empty()
                && !wanted.contains_key(&version.uuid)
                && named.insert((record.dataset.clone(), record.version.clone()));
            match is_new {
                true => drop(wanted.insert(version.uuid.clone(), record)),
                false => tracing::debug!(
                    dataset = %record.dataset,
                    version = version.version,
                    "Studio names a version twice, or gives it no uuid; it is left out"
                ),
            }
        }
    }
    wanted
}

/// The versions that the mirror holds, with their keys.
fn known(tables: &dyn Ask) -> Result<HashMap<String, (i64, Record)>, Error> {
    let sql = "SELECT v.id, v.uuid, n.name, p.name, d.name, v.version, v.status, v.num_objects, v.size, v.created_at, \
               v.finished_at, v.query_script, d.description, d.attrs FROM datasets_versions v \
               JOIN datasets d ON d.id = v.dataset_id JOIN projects p ON p.id = d.project_id \
               JOIN namespaces n ON n.id = p.namespace_id";
    Ok(tables.ask(sql, &[])?.into_iter().filter_map(read).collect())
}

fn read(mut row: Answer) -> Option<(String, (i64, Record))> {
    let dataset =
        DatasetName { namespace: row.take(2)?, project: row.take(3)?, name: row.take(4)? };
    let record = Record {
        dataset,
        version: row.take(5)?,
        status: row.integer(6)?,
        rows: row.integer(7),
        size: row.integer(8),
        created: row.take(9),
        finished: row.take(10),
        script: row.take(11)?,
        description: row.take(12),
        attrs: row.take(13)?,
    };
    Some((row.take(1)?, (row.integer(0)?, record)))
}

/// Removes what is gone, then adds and changes.
fn change(write: &dyn Write, wanted: &HashMap<String, Record>) -> Result<(), Error> {
    let mut there = known(write)?;
    let gone: Vec<String> = there
        .iter()
        .filter(|(uuid, (_, record))| !wanted.get(*uuid).is_some_and(|now| now.is_of(record)))
        .map(|(uuid, _)| uuid.clone())
        .collect();
    for uuid in gone {
        if let Some((id, _)) = there.remove(&uuid) {
            write.run("DELETE FROM datasets_versions WHERE id = ?1", bound![id])?;
        }
    }
    // In order, so that two mirrors number versions alike.
    let mut all: Vec<(&String, &Record)> = wanted.iter().collect();
    all.sort_by_key(|(uuid, record)| (record.created.clone(), (*uuid).clone()));
    for (uuid, record) in all {
        match there.get(uuid) {
            Some((_, known)) if known == record => {}
            known => put(write, uuid, record, known.map(|(id, _)| *id))?,
        }
    }
    write.run(
        "DELETE FROM datasets WHERE id NOT IN (SELECT dataset_id FROM datasets_versions)",
        &[],
    )?;
    Ok(())
}

/// Adds the version, or changes the one with the key `id`.
fn put(write: &dyn Write, uuid: &str, record: &Record, id: Option<i64>) -> Result<(), Error> {
    let dataset = dataset(write, record)?;
    match id {
        Some(id) => {
            write.run(
                "UPDATE datasets_versions SET status = ?2, num_objects = ?3, size = ?4, created_at = ?5, finished_at = ?6, \
                 query_script = ?7 WHERE id = ?1",
                bound![
                    id,
                    record.status,
                    record.rows,
                    record.size,
                    record.created.as_deref(),
                    record.finished.as_deref(),
                    &record.script,
                ],
            )?;
        }
        None => {
            write.run(
                "INSERT INTO datasets_versions (uuid, dataset_id, version, status, num_objects, size, created_at, finished_at, \
                 query_script, feature_schema, schema, error_message, error_stack, script_output, sources, \
                 pending_metadata_drop) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, '', '', '', '', '', '', ?10)",
                bound![
                    uuid,
                    dataset,
                    &record.version,
                    record.status,
                    record.rows,
                    record.size,
                    record.created.as_deref(),
                    record.finished.as_deref(),
                    &record.script,
                    false,
                ],
            )?;
        }
    }
    Ok(())
}

/// The key of the dataset, with its present description.
fn dataset(write: &dyn Write, record: &Record) -> Result<i64, Error> {
    let DatasetName { namespace, project, name } = &record.dataset;
    let project = publish::project(write, namespace, project, &now())?;
    let sql = "SELECT id FROM datasets WHERE project_id = ?1 AND name = ?2";
    let there = write.first(sql, bound![project, name])?.and_then(|row| row.integer(0));
    let description = record.description.as_deref();
    match there {
        Some(id) => {
            let sql = "UPDATE datasets SET description = ?2, attrs = ?3 WHERE id = ?1";
            write.run(sql, bound![id, description, &record.attrs])?;
            Ok(id)
        }
        None => write.insert(
            "INSERT INTO datasets (uuid, project_id, name, description, attrs, status, error_message, error_stack, \
             script_output, sources, query_script) VALUES (?5, ?1, ?2, ?3, ?4, 4, '', '', '', '', '') RETURNING id",
            bound![project, name, description, &record.attrs, &Uuid::new_v4().to_string()],
        ),
    }
}

/// Notes the schemas of a dataset's complete versions, once: an unfinished one may still get another.
///
/// # Errors
/// As [`sync`].
pub fn describe(file: &Path, found: &Dataset) -> Result<(), Error> {
    let mut writing = Writing::open(file.to_owned(), true)?;
    writing.placed(|writing| {
        writing.brief(|write| {
            let is_whole =
                |version: &&Version| version.status == COMPLETE && !version.schema.is_empty();
            for version in found.versions.iter().filter(is_whole) {
                let sql = "UPDATE datasets_versions SET feature_schema = ?2, schema = ?3 \
                           WHERE uuid = ?1 AND status = ?4 AND schema = ''";
                let Version { uuid, feature_schema, schema, .. } = version;
                write.run(sql, bound![uuid, feature_schema, schema, COMPLETE])?;
            }
            Ok(())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::catalog::Catalog;

    fn datasets(text: &str) -> Vec<Dataset> {
        serde_json::from_str(text).expect("datasets")
    }

    fn dataset(name: &str, versions: &[(&str, &str)]) -> String {
        let version = |(uuid, number): &(&str, &str)| {
            format!(r#"{{"uuid": "{uuid}", "version": "{number}", "status": 4, "num_objects": 3}}"#)
        };
        let versions: Vec<String> = versions.iter().map(version).collect();
        format!(
            r#"{{"name": "{name}", "project": {{"name": "p", "namespace": {{"name": "n"}}}},
                "versions": [{}]}}"#,
            versions.join(",")
        )
    }

    fn shown(file: &Path) -> Vec<(String, String, i64)> {
        let versions = Catalog::open(file).expect("a catalog").versions().expect("read");
        versions.into_iter().map(|v| (v.to_string(), v.uuid, v.id.key())).collect()
    }

    #[test]
    fn the_mirror_follows_and_keeps_keys() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("db");
        let first = format!("[{}]", dataset("a", &[("u1", "1.0.0"), ("u2", "1.0.1")]));
        sync(&file, &datasets(&first)).expect("synced");
        let before = shown(&file);
        assert_eq!(before.len(), 2);
        // Another number for a uuid, a number for another uuid, names and uuids that come twice, none.
        let second = format!(
            "[{},{},{}]",
            dataset("a", &[("u1", "1.0.0"), ("u3", "1.0.1"), ("u2", "2.0.0")]),
            dataset("A", &[("u4", "1.0.0"), ("u1", "5.0.0")]),
            dataset("a", &[("u5", "1.0.0"), ("", "6.0.0")]),
        );
        sync(&file, &datasets(&second)).expect("synced");
        let after = shown(&file);
        let names: Vec<(&str, &str)> =
            after.iter().map(|(name, uuid, _)| (name.as_str(), uuid.as_str())).collect();
        let want = [
            ("n.p.a@1.0.0", "u1"),
            ("n.p.a@1.0.1", "u3"),
            ("n.p.a@2.0.0", "u2"),
            ("n.p.A@1.0.0", "u4"),
        ];
        assert_eq!(names, want);
        let key = |all: &[(String, String, i64)], uuid: &str| {
            all.iter().find(|(_, own, _)| own == uuid).map(|(_, _, id)| *id)
        };
        assert_eq!(key(&before, "u1"), key(&after, "u1"));
        sync(&file, &[]).expect("synced");
        assert!(shown(&file).is_empty());
    }

    /// A dataset with a complete version and one of a status, which have a schema.
    fn described(status: i64, schema: &str) -> Vec<Dataset> {
        let whole = r#"{"uuid": "u1", "version": "1.0.0", "status": 4, "schema": {"a": 1}}"#;
        datasets(&format!(
            r#"[{{"name": "a", "project": {{"name": "p", "namespace": {{"name": "n"}}}}, "versions": [{whole},
                {{"uuid": "u2", "version": "1.0.1", "status": {status}, "schema": {schema}}}]}}]"#
        ))
    }

    #[test]
    fn an_unfinished_version_gets_its_schema_when_it_is_complete() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("db");
        let schemas = || -> Vec<String> {
            let tables = rusqlite::Connection::open(&file).expect("opened");
            let sql = "SELECT schema FROM datasets_versions ORDER BY uuid";
            let mut asked = tables.prepare(sql).expect("prepared");
            let rows = asked.query_map([], |row| row.get(0)).expect("asked");
            rows.map(|row| row.expect("a text")).collect()
        };
        for (status, schema, want) in [
            (2, "{}", ""),
            (4, r#"{"b":1}"#, r#"{"b":1}"#),
            // A complete version is immutable.
            (4, r#"{"c":1}"#, r#"{"b":1}"#),
        ] {
            let found = described(status, schema);
            sync(&file, &found).expect("synced");
            describe(&file, &found[0]).expect("described");
            assert_eq!(schemas(), [r#"{"a":1}"#, want]);
        }
    }
}
