//! The lineage of a version: its script, its job, and the versions it was computed from.

use std::collections::HashSet;

use serde_json::Value;

use super::ask::{Ask, Bound};
use super::columns::Columns;
use super::error::Error;
use super::{Details, Job, Parent, VersionInfo, versions, write};
use dcfs_core::id::VersionId;

/// See [`super::Catalog::details`].
pub(super) fn details(tables: &dyn Ask, of: &VersionInfo) -> Result<Details, Error> {
    versions::alive(tables, of)?;
    let version = Columns::of(tables, "datasets_versions")?;
    let dataset = Columns::of(tables, "datasets")?;
    let sql = format!(
        "SELECT {}, {}, {}, {} FROM datasets_versions v JOIN datasets d ON d.id = v.dataset_id \
         WHERE v.id = ?1",
        dataset.or_null("d", "description"),
        dataset.or_null("d", "attrs"),
        version.or_null("v", "query_script"),
        version.or_null("v", "job_id"),
    );
    let row = tables.first(&sql, &[Bound::Int(of.id.key())])?;
    let mut row = row.ok_or_else(|| Error::Removed(of.to_string()))?;
    let [description, attrs, script, job_id] = [0, 1, 2, 3].map(|at| row.take(at));
    Ok(Details {
        description: description.filter(|text| !text.is_empty()),
        attrs: attrs.map(|text| strings(&text)).unwrap_or_default(),
        script: script.unwrap_or_default(),
        job: job(tables, of.id, job_id)?,
        provenance: write::provenance(tables, &of.uuid)?,
    })
}

/// The strings of a JSON list; an item that is not a string as its JSON, and anything but a list as
/// nothing.
fn strings(json: &str) -> Vec<String> {
    let Ok(Value::Array(items)) = serde_json::from_str(json) else { return Vec::new() };
    let text = |item| match item {
        Value::String(text) => text,
        other => other.to_string(),
    };
    items.into_iter().map(text).collect()
}

/// The job that made the version: from `dataset_version_jobs`, else from the version's own
/// `job_id`.
fn job(tables: &dyn Ask, of: VersionId, job_id: Option<String>) -> Result<Option<Job>, Error> {
    let jobs = Columns::of(tables, "jobs")?;
    let id = creator(tables, of)?.or(job_id);
    let (Some(id), true, true) = (id, jobs.has("id"), jobs.has("name")) else { return Ok(None) };
    let python = jobs.or_null("j", "python_version");
    let sql = format!("SELECT j.name, {python} FROM jobs j WHERE j.id = ?1");
    let found = tables.first(&sql, &[Bound::Text(&id)])?;
    Ok(found
        .map(|mut row| Job { name: row.take(0).unwrap_or_default(), python_version: row.take(1) }))
}

fn creator(tables: &dyn Ask, of: VersionId) -> Result<Option<String>, Error> {
    let links = Columns::of(tables, "dataset_version_jobs")?;
    if links.require(&["id", "dataset_version_id", "job_id", "is_creator"]).is_err() {
        return Ok(None);
    }
    let sql = "SELECT job_id FROM dataset_version_jobs \
               WHERE dataset_version_id = ?1 AND is_creator = ?2 ORDER BY id LIMIT 1";
    let found = tables.first(sql, &[Bound::Int(of.key()), Bound::Int(1)])?;
    Ok(found.and_then(|mut row| row.take(0)))
}

/// The most direct parents of a version that are returned. A version with more is not a real one.
const MOST_PARENTS: i64 = 2000;

/// See [`super::Catalog::parents`]. In `datasets_dependencies`, the *source* is the child.
pub(super) fn parents(tables: &dyn Ask, of: VersionId) -> Result<Vec<Parent>, Error> {
    let links = Columns::of(tables, "datasets_dependencies")?;
    let needed = ["id", "source_dataset_version_id", "dataset_version_id"];
    if links.require(&needed).is_err() {
        return Ok(Vec::new());
    }
    // An edge may be recorded several times; one to a deleted parent names nothing.
    let sql = "SELECT dataset_version_id FROM datasets_dependencies \
               WHERE source_dataset_version_id = ?1 \
               GROUP BY dataset_version_id, CASE WHEN dataset_version_id IS NULL THEN id END ORDER BY min(id) LIMIT ?2";
    let found = tables.ask(sql, &[Bound::Int(of.key()), Bound::Int(MOST_PARENTS)])?;
    found.iter().map(|row| parent(tables, row.integer(0))).collect()
}

/// See [`super::Catalog::children`].
pub(super) fn children(tables: &dyn Ask, of: VersionId) -> Result<Vec<VersionInfo>, Error> {
    let links = Columns::of(tables, "datasets_dependencies")?;
    if links.require(&["source_dataset_version_id", "dataset_version_id"]).is_err() {
        return Ok(Vec::new());
    }
    let sql = "SELECT DISTINCT source_dataset_version_id FROM datasets_dependencies \
               WHERE dataset_version_id = ?1";
    let found = tables.ask(sql, &[Bound::Int(of.key())])?;
    let found: HashSet<Option<i64>> = found.iter().map(|row| row.integer(0)).collect();
    let mut shown = versions::all(tables)?.versions;
    shown.retain(|version| found.contains(&Some(version.id.key())));
    shown.sort_by(|a, b| (&a.dataset, a.version).cmp(&(&b.dataset, b.version)));
    Ok(shown)
}

/// The most pairs of versions that are returned: a catalog with more is not a real one.
const MOST_EDGES: i64 = 100_000;

/// See [`super::Catalog::edges`].
pub(super) fn edges(tables: &dyn Ask) -> Result<Vec<(VersionId, VersionId)>, Error> {
    let links = Columns::of(tables, "datasets_dependencies")?;
    if links.require(&["source_dataset_version_id", "dataset_version_id"]).is_err() {
        return Ok(Vec::new());
    }
    let sql = "SELECT DISTINCT source_dataset_version_id, dataset_version_id FROM datasets_dependencies \
               WHERE source_dataset_version_id IS NOT NULL AND dataset_version_id IS NOT NULL \
               ORDER BY 1, 2 LIMIT ?1";
    let found = tables.ask(sql, &[Bound::Int(MOST_EDGES)])?;
    let ends = found.iter().filter_map(|row| row.integer(0).zip(row.integer(1)));
    Ok(ends.map(|(a, b)| (VersionId::from_catalog(a), VersionId::from_catalog(b))).collect())
}

fn parent(tables: &dyn Ask, id: Option<i64>) -> Result<Parent, Error> {
    let (Some(id), Some(select)) = (id, versions::select(tables)?) else {
        return Ok(Parent::default());
    };
    let found = tables.first(&format!("{select} WHERE v.id = ?1"), &[Bound::Int(id)])?;
    let Some(record) = found.and_then(versions::record) else {
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
