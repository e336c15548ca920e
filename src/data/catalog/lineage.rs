//! Where a version came from: its script, its job, and the versions it was computed from.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension};
use serde_json::Value;

use super::cell;
use super::columns::Columns;
use super::error::Error;
use super::{Details, Job, Parent, VersionInfo, versions, write};
use dcfs_core::id::VersionId;

/// See [`super::Catalog::details`].
pub(super) fn details(connection: &Connection, of: &VersionInfo) -> Result<Details, Error> {
    versions::alive(connection, of)?;
    let version = Columns::of(connection, "datasets_versions")?;
    let dataset = Columns::of(connection, "datasets")?;
    let sql = format!(
        "SELECT {}, {}, {}, {} FROM datasets_versions v JOIN datasets d ON d.id = v.dataset_id \
         WHERE v.id = ?1",
        dataset.or_null("d", "description"),
        dataset.or_null("d", "attrs"),
        version.or_null("v", "query_script"),
        version.or_null("v", "job_id"),
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let [description, attrs, script, job_id] = statement.query_row([of.id.key()], |row| {
        let text = |at| Ok::<_, rusqlite::Error>(cell::text(row.get_ref(at)?));
        Ok([text(0)?, text(1)?, text(2)?, text(3)?])
    })?;
    Ok(Details {
        description: description.filter(|text| !text.is_empty()),
        attrs: attrs.map(|text| strings(&text)).unwrap_or_default(),
        script: script.unwrap_or_default(),
        job: job(connection, of.id, job_id)?,
        provenance: write::provenance(connection, &of.uuid)?,
    })
}

/// The strings of a JSON list; what is no string as its JSON, and no list as nothing.
fn strings(json: &str) -> Vec<String> {
    let Ok(Value::Array(items)) = serde_json::from_str(json) else { return Vec::new() };
    let text = |item| match item {
        Value::String(text) => text,
        other => other.to_string(),
    };
    items.into_iter().map(text).collect()
}

/// The job that made the version: as `dataset_version_jobs` tells, else by the version's own `job_id`.
fn job(
    connection: &Connection,
    of: VersionId,
    job_id: Option<String>,
) -> Result<Option<Job>, Error> {
    let jobs = Columns::of(connection, "jobs")?;
    let id = creator(connection, of)?.or(job_id);
    let (Some(id), true, true) = (id, jobs.has("id"), jobs.has("name")) else { return Ok(None) };
    let python = jobs.or_null("j", "python_version");
    let sql = format!("SELECT j.name, {python} FROM jobs j WHERE j.id = ?1");
    let found = connection.prepare_cached(&sql)?.query_row([id], |row| {
        let name = cell::text(row.get_ref(0)?).unwrap_or_default();
        Ok(Job { name, python_version: cell::text(row.get_ref(1)?) })
    });
    Ok(found.optional()?)
}

fn creator(connection: &Connection, of: VersionId) -> Result<Option<String>, Error> {
    let links = Columns::of(connection, "dataset_version_jobs")?;
    if links.require(&["id", "dataset_version_id", "job_id", "is_creator"]).is_err() {
        return Ok(None);
    }
    let sql = "SELECT job_id FROM dataset_version_jobs \
               WHERE dataset_version_id = ?1 AND is_creator = 1 ORDER BY id LIMIT 1";
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_row([of.key()], |row| Ok(cell::text(row.get_ref(0)?)));
    Ok(found.optional()?.flatten())
}

/// Direct parents of one version that are told of, at most. A version that is made from more is made up.
const MOST_PARENTS: i64 = 2000;

/// See [`super::Catalog::parents`]. In `datasets_dependencies`, the *source* is the child.
pub(super) fn parents(connection: &Connection, of: VersionId) -> Result<Vec<Parent>, Error> {
    let links = Columns::of(connection, "datasets_dependencies")?;
    let needed = ["id", "source_dataset_version_id", "dataset_version_id"];
    if links.require(&needed).is_err() {
        return Ok(Vec::new());
    }
    // An edge may be recorded any number of times; one to a parent that was deleted names nothing.
    let sql = "SELECT dataset_version_id FROM datasets_dependencies \
               WHERE source_dataset_version_id = ?1 \
               GROUP BY ifnull(dataset_version_id, -id) ORDER BY min(id) LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([of.key(), MOST_PARENTS])?;
    let mut parents = Vec::new();
    while let Some(row) = rows.next()? {
        parents.push(parent(connection, cell::integer(row.get_ref(0)?))?);
    }
    Ok(parents)
}

/// See [`super::Catalog::children`].
pub(super) fn children(connection: &Connection, of: VersionId) -> Result<Vec<VersionInfo>, Error> {
    let links = Columns::of(connection, "datasets_dependencies")?;
    if links.require(&["source_dataset_version_id", "dataset_version_id"]).is_err() {
        return Ok(Vec::new());
    }
    let sql = "SELECT DISTINCT source_dataset_version_id FROM datasets_dependencies \
               WHERE dataset_version_id = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_map([of.key()], |row| Ok(cell::integer(row.get_ref(0)?)))?;
    let found: HashSet<Option<i64>> = found.collect::<rusqlite::Result<_>>()?;
    let mut shown = versions::all(connection)?.versions;
    shown.retain(|version| found.contains(&Some(version.id.key())));
    shown.sort_by(|a, b| (&a.dataset, a.version).cmp(&(&b.dataset, b.version)));
    Ok(shown)
}

/// Pairs of versions that are told of, at most: a catalog of more is made up.
const MOST_EDGES: i64 = 100_000;

/// See [`super::Catalog::edges`].
pub(super) fn edges(connection: &Connection) -> Result<Vec<(VersionId, VersionId)>, Error> {
    let links = Columns::of(connection, "datasets_dependencies")?;
    if links.require(&["source_dataset_version_id", "dataset_version_id"]).is_err() {
        return Ok(Vec::new());
    }
    let sql = "SELECT DISTINCT source_dataset_version_id, dataset_version_id FROM datasets_dependencies \
               WHERE source_dataset_version_id NOT NULL AND dataset_version_id NOT NULL \
               ORDER BY 1, 2 LIMIT ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([MOST_EDGES])?;
    let mut edges = Vec::new();
    while let Some(row) = rows.next()? {
        let ends = cell::integer(row.get_ref(0)?).zip(cell::integer(row.get_ref(1)?));
        edges.extend(ends.map(|(a, b)| (VersionId::from_catalog(a), VersionId::from_catalog(b))));
    }
    Ok(edges)
}

fn parent(connection: &Connection, id: Option<i64>) -> Result<Parent, Error> {
    let (Some(id), Some(select)) = (id, versions::select(connection)?) else {
        return Ok(Parent::default());
    };
    let mut statement = connection.prepare_cached(&format!("{select} WHERE v.id = ?1"))?;
    let mut rows = statement.query([id])?;
    let Some(record) = rows.next()?.map(versions::record).transpose()?.flatten() else {
        return Ok(Parent::default());
    };
    Ok(Parent {
        dataset: record.version.map(|version| (record.dataset, version)),
        id: Some(record.id),
        uuid: record.uuid,
        alive: record.complete,
        rows: record.rows,
        size: record.size,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_of_any_shape_are_read() {
        let cases: [(&str, &[&str]); 6] = [
            ("[]", &[]),
            ("[\"NLP\",\"location=US\"]", &["NLP", "location=US"]),
            ("[\"a\\/b\",7,null]", &["a/b", "7", "null"]),
            ("{\"a\":1}", &[]),
            ("[", &[]),
            ("", &[]),
        ];
        for (json, want) in cases {
            assert_eq!(strings(json), want, "{json}");
        }
    }
}
