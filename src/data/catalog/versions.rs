//! The versions that exist: the rows of `datasets_versions`, with the names of their datasets.
//!
//! A version is shown if it is COMPLETE, has a uuid and a version number, and is neither a listing
//! nor a temporary dataset of a running script.

use super::VersionInfo;
use super::ask::{Answer, Ask, Bound};
use super::columns::Columns;
use super::error::Error;
use dcfs_core::id::{DatasetId, VersionId};
use dcfs_core::name::{DatasetName, DatasetRef, nearest};
use dcfs_core::time::Timestamp;
use dcfs_core::version::Version;

/// `datasets_versions.status` of a complete version that was not removed.
pub(super) const COMPLETE: i64 = 4;
/// The status of a version whose rows are being dropped.
pub(super) const REMOVING: i64 = 7;
/// The status of a version whose rows are gone and whose number stays taken.
pub(super) const REMOVED: i64 = 8;

/// Joins a version with its name; `v`, `d`, `p`, `n` are the tables.
const TO_NAMES: &str = "JOIN datasets d ON d.id = v.dataset_id \
    JOIN projects p ON p.id = d.project_id JOIN namespaces n ON n.id = p.namespace_id";

/// The columns that queries require.
const NEEDED: [(&str, &[&str]); 4] = [
    ("datasets_versions", &["id", "uuid", "dataset_id", "version", "status"]),
    ("datasets", &["id", "project_id", "name"]),
    ("projects", &["id", "namespace_id", "name"]),
    ("namespaces", &["id", "name"]),
];

/// A version as recorded, whatever its status.
#[derive(Debug)]
pub(super) struct Record {
    pub id: VersionId,
    pub uuid: String,
    /// `None` if the text is not a version number.
    pub version: Option<Version>,
    pub version_text: String,
    pub dataset_id: DatasetId,
    pub dataset: DatasetName,
    pub complete: bool,
    pub rows: Option<u64>,
    pub size: Option<u64>,
    pub created_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

/// The result of [`all`].
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// By dataset id, then version.
    pub versions: Vec<VersionInfo>,
    /// Complete versions that cannot be shown, and why.
    pub odd: Vec<(VersionId, String)>,
}

/// The beginning of every query for versions: the columns of a [`Record`] and their tables. `None`
/// while DataChain is still creating the tables.
pub(super) fn select(tables: &dyn Ask) -> Result<Option<String>, Error> {
    let mut versions = None;
    for (table, needed) in NEEDED {
        let columns = Columns::of(tables, table)?;
        if !columns.exist() {
            return Ok(None);
        }
        columns.require(needed)?;
        versions = versions.or(Some(columns));
    }
    let optional = ["num_objects", "size", "created_at", "finished_at"];
    let optional = optional.map(|name| versions.as_ref().map(|v| v.or_null("v", name)));
    let optional: Vec<String> = optional.into_iter().flatten().collect();
    Ok(Some(format!(
        "SELECT v.id, v.uuid, v.version, v.status, d.id, n.name, p.name, d.name, {} \
         FROM datasets_versions v {TO_NAMES}",
        optional.join(", ")
    )))
}

/// Parses one row of a [`select`]; `None` if it has no key or no name.
pub(super) fn record(mut row: Answer) -> Option<Record> {
    let (id, dataset_id) = (row.integer(0)?, row.integer(4)?);
    let (namespace, project, name) = (row.take(5)?, row.take(6)?, row.take(7)?);
    let version_text = row.take(2).unwrap_or_default();
    Some(Record {
        id: VersionId::from_catalog(id),
        uuid: row.take(1).unwrap_or_default(),
        version: version_text.parse().ok(),
        version_text,
        dataset_id: DatasetId::from_catalog(dataset_id),
        dataset: DatasetName { namespace, project, name },
        complete: row.integer(3) == Some(COMPLETE),
        rows: row.unsigned(8),
        size: row.unsigned(9),
        created_at: row.time(10),
        finished_at: row.time(11),
    })
}

impl Record {
    /// The version as shown, or the reason why it is not.
    fn shown(self) -> Result<VersionInfo, String> {
        let Some(version) = self.version else {
            return Err(format!("`{}` is not a version number", self.version_text));
        };
        if self.uuid.is_empty() {
            return Err("it has no uuid".into());
        }
        Ok(VersionInfo {
            id: self.id,
            uuid: self.uuid,
            dataset_id: self.dataset_id,
            dataset: self.dataset,
            version,
            rows: self.rows,
            size: self.size,
            created_at: self.created_at,
            finished_at: self.finished_at,
        })
    }
}

/// Whether a dataset is a listing or a temporary one of a running script.
fn is_internal(name: &DatasetName) -> bool {
    name.is_internal() || (name.namespace == "system" && name.project == "listing")
}

/// Every version that is shown.
pub(super) fn all(tables: &dyn Ask) -> Result<Shown, Error> {
    let mut shown = Shown::default();
    let Some(select) = select(tables)? else { return Ok(shown) };
    let complete = tables.ask(&format!("{select} WHERE v.status = ?1"), &[Bound::Int(COMPLETE)])?;
    let records = complete.into_iter().filter_map(record);
    for record in records.filter(|r| r.complete && !is_internal(&r.dataset)) {
        let (id, name) = (record.id, record.dataset.to_string());
        match record.shown() {
            Ok(version) => shown.versions.push(version),
            Err(why) => shown.odd.push((id, format!("a version of `{name}` is left out: {why}"))),
        }
    }
    shown.versions.sort_by_key(|v| (v.dataset_id, v.version, v.id));
    Ok(shown)
}

/// See [`super::Catalog::every_version`].
pub(super) fn every(tables: &dyn Ask) -> Result<Vec<VersionInfo>, Error> {
    let Some(select) = select(tables)? else { return Ok(Vec::new()) };
    let found = tables.ask(&format!("{select} WHERE v.status = ?1"), &[Bound::Int(COMPLETE)])?;
    let records = found.into_iter().filter_map(record);
    let kept = records.filter(|r| r.dataset.is_listing() || !is_internal(&r.dataset));
    let mut versions: Vec<VersionInfo> = kept.filter_map(|record| record.shown().ok()).collect();
    versions.sort_by_key(|version| version.id);
    Ok(versions)
}

/// The highest version that `wanted` admits.
pub(super) fn find(tables: &dyn Ask, wanted: &DatasetRef) -> Result<VersionInfo, Error> {
    let (of_name, others): (Vec<_>, Vec<_>) =
        all(tables)?.versions.into_iter().partition(|v| v.dataset == wanted.name);
    let latest = of_name.iter().map(|v| v.version).max();
    let admitted = of_name.into_iter().filter(|v| wanted.requirement.admits(v.version));
    match (admitted.max_by_key(|v| v.version), latest) {
        (Some(found), _) => Ok(found),
        (None, Some(latest)) => {
            let (name, wanted) = (wanted.name.clone(), wanted.requirement);
            Err(Error::NoVersion { name, wanted, latest })
        }
        (None, None) => Err(why_none(tables, &wanted.name, &others)?),
    }
}

/// See [`super::Catalog::latest`].
pub(super) fn latest(tables: &dyn Ask, name: &DatasetName) -> Result<Option<VersionInfo>, Error> {
    let Some(select) = select(tables)? else { return Ok(None) };
    let sql =
        format!("{select} WHERE v.status = ?1 AND n.name = ?2 AND p.name = ?3 AND d.name = ?4");
    let [namespace, project, name] = texts(name);
    let found = tables.ask(&sql, &[Bound::Int(COMPLETE), namespace, project, name])?;
    let shown = found.into_iter().filter_map(record).filter_map(|record| record.shown().ok());
    Ok(shown.max_by_key(|version| version.version))
}

/// See [`super::Catalog::listings`].
pub(super) fn listings(tables: &dyn Ask) -> Result<Vec<VersionInfo>, Error> {
    let Some(select) = select(tables)? else { return Ok(Vec::new()) };
    let sql = format!("{select} WHERE v.status = ?1 AND substr(d.name, 1, 5) = 'lst__'");
    let found = tables.ask(&sql, &[Bound::Int(COMPLETE)])?;
    let shown = found.into_iter().filter_map(record).filter_map(|record| record.shown().ok());
    let mut latest: Vec<VersionInfo> =
        shown.filter(|version| version.dataset.listed_uri().is_some()).collect();
    latest.sort_by(|a, b| (&a.dataset, b.version).cmp(&(&b.dataset, a.version)));
    latest.dedup_by(|later, first| later.dataset == first.dataset);
    Ok(latest)
}

/// The reason why no version of `name` is shown.
fn why_none(tables: &dyn Ask, name: &DatasetName, others: &[VersionInfo]) -> Result<Error, Error> {
    let statuses = if is_internal(name) { Vec::new() } else { statuses(tables, name)? };
    if statuses.iter().any(|status| [REMOVING, REMOVED].contains(status)) {
        return Ok(Error::AllRemoved(name.clone()));
    }
    if !statuses.is_empty() {
        return Ok(Error::NoneComplete(name.clone()));
    }
    let names: Vec<String> = others.iter().map(|v| v.dataset.to_string()).collect();
    let near = nearest::to(&name.to_string(), names.iter().map(String::as_str));
    Ok(Error::NoDataset { wanted: name.clone(), near })
}

/// The status of every version of `name`.
fn statuses(tables: &dyn Ask, name: &DatasetName) -> Result<Vec<i64>, Error> {
    let Some(select) = select(tables)? else { return Ok(Vec::new()) };
    let sql = format!("{select} WHERE n.name = ?1 AND p.name = ?2 AND d.name = ?3");
    let found = tables.ask(&sql, &texts(name))?;
    Ok(found.iter().filter_map(|row| row.integer(3)).collect())
}

/// The parts of a name, for binding.
fn texts(name: &DatasetName) -> [Bound<'_>; 3] {
    [Bound::Text(&name.namespace), Bound::Text(&name.project), Bound::Text(&name.name)]
}

/// The version's present state, if it is still the one described by `of`.
///
/// # Errors
/// [`Error::Removed`] if it is not.
pub(super) fn alive(tables: &dyn Ask, of: &VersionInfo) -> Result<DatasetName, Error> {
    let sql = "SELECT v.uuid, v.version, n.name, p.name, d.name FROM datasets_versions v";
    let sql = format!("{sql} {TO_NAMES} WHERE v.id = ?1 AND v.status = ?2");
    let found = tables.first(&sql, &[Bound::Int(of.id.key()), Bound::Int(COMPLETE)])?;
    let removed = || Error::Removed(of.to_string());
    let mut row = found.ok_or_else(removed)?;
    let same = row.text(0) == Some(&of.uuid)
        && row.text(1).and_then(|text| text.parse().ok()) == Some(of.version);
    match (row.take(2), row.take(3), row.take(4)) {
        (Some(namespace), Some(project), Some(name)) if same => {
            Ok(DatasetName { namespace, project, name })
        }
        _ => Err(removed()),
    }
}

/// `feature_schema` and `schema` of a version, as recorded.
pub(super) fn schema_texts(tables: &dyn Ask, of: VersionId) -> Result<(String, String), Error> {
    let version = Columns::of(tables, "datasets_versions")?;
    let sql = format!(
        "SELECT {}, {} FROM datasets_versions v WHERE v.id = ?1",
        version.or_null("v", "feature_schema"),
        version.or_null("v", "schema"),
    );
    let row = tables.first(&sql, &[Bound::Int(of.key())])?;
    let text = |row: &mut Answer, at| row.take(at).unwrap_or_default();
    Ok(row.map(|mut row| (text(&mut row, 0), text(&mut row, 1))).unwrap_or_default())
}
