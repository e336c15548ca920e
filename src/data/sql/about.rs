//! The tables about the catalog itself: `catalog.datasets` and the like.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::catalog::{Catalog, VersionInfo};
use crate::runs;
use crate::usage::{Usage, Use};
use dcfs_core::error::Result;
use dcfs_core::schema::ValueType;
use dcfs_core::time::Timestamp;

const TEXT: ValueType = ValueType::Text;
const INT: ValueType = ValueType::Int;

/// The columns of a table about the catalog itself.
pub fn columns(name: &str) -> Option<&'static [(&'static str, ValueType)]> {
    Some(match name {
        "catalog.datasets" => &[
            ("name", TEXT),
            ("latest", TEXT),
            ("versions", INT),
            ("rows", INT),
            ("size", INT),
            ("finished_at", TEXT),
        ],
        "catalog.versions" => &[
            ("dataset", TEXT),
            ("version", TEXT),
            ("rows", INT),
            ("size", INT),
            ("created_at", TEXT),
            ("finished_at", TEXT),
            ("uuid", TEXT),
        ],
        "catalog.columns" => &[
            ("dataset", TEXT),
            ("version", TEXT),
            ("name", TEXT),
            ("type", TEXT),
            ("description", TEXT),
            ("owner", TEXT),
            ("caveat", TEXT),
        ],
        "catalog.dependencies" => {
            &[("dataset", TEXT), ("version", TEXT), ("parent", TEXT), ("parent_version", TEXT)]
        }
        "catalog.usage" => &[
            ("dataset", TEXT),
            ("version", TEXT),
            ("how", TEXT),
            ("day", TEXT),
            ("times", INT),
            ("columns", TEXT),
            ("joined", TEXT),
            ("joined_on", TEXT),
        ],
        "catalog.runs" => &[
            ("id", TEXT),
            ("kind", TEXT),
            ("dataset", TEXT),
            ("input", TEXT),
            ("state", TEXT),
            ("rows_done", INT),
            ("rows", INT),
            ("errors", INT),
            ("started_at", TEXT),
            ("host", TEXT),
            ("ended", TEXT),
        ],
        _ => return None,
    })
}

/// The rows of a table about the catalog itself.
pub fn rows(catalog: &Catalog, usage: &Usage, name: &str) -> Result<Vec<Vec<Json>>> {
    match name {
        "catalog.usage" => return Ok(of_usage(usage)),
        "catalog.runs" => return Ok(of_runs(catalog)),
        _ => {}
    }
    let versions = catalog.versions()?;
    let time = |time: Option<Timestamp>| time.map_or(Json::Null, |time| time.fixed().into());
    let count =
        |count: Option<u64>| count.map_or(Json::Null, |count| (count.min(i64::MAX as u64)).into());
    let dataset =
        |of: &VersionInfo| vec![Json::from(of.dataset.to_string()), of.version.to_string().into()];
    let mut rows = Vec::new();
    match name {
        "catalog.datasets" => {
            let mut datasets: BTreeMap<String, Vec<&VersionInfo>> = BTreeMap::new();
            versions
                .iter()
                .for_each(|of| datasets.entry(of.dataset.to_string()).or_default().push(of));
            for (name, of) in datasets {
                let Some(last) = of.last() else { continue };
                rows.push(vec![
                    name.into(),
                    last.version.to_string().into(),
                    of.len().into(),
                    count(last.rows),
                    count(last.size),
                    time(last.finished_at),
                ]);
            }
        }
        "catalog.versions" => {
            for of in &versions {
                let mut row = dataset(of);
                row.extend([
                    count(of.rows),
                    count(of.size),
                    time(of.created_at),
                    time(of.finished_at),
                    of.uuid.clone().into(),
                ]);
                rows.push(row);
            }
        }
        "catalog.columns" => {
            for of in &versions {
                let mut said = catalog.annotations(&of.dataset)?;
                for leaf in catalog.schema(of)?.leaves() {
                    let mut row = dataset(of);
                    let said = said.remove(&leaf.name).unwrap_or_default();
                    row.extend([leaf.name.into(), leaf.field.type_text.clone().into()]);
                    row.extend([said.description, said.owner, said.caveat].map(Json::from));
                    rows.push(row);
                }
            }
        }
        _ => {
            for of in &versions {
                for (parent, version) in
                    catalog.parents(of.id)?.into_iter().filter_map(|parent| parent.dataset)
                {
                    let mut row = dataset(of);
                    row.extend([parent.to_string().into(), version.to_string().into()]);
                    rows.push(row);
                }
            }
        }
    }
    Ok(rows)
}

fn of_usage(usage: &Usage) -> Vec<Vec<Json>> {
    let list = |names: &[String]| Json::from(names.join(", "));
    let all = usage.all().into_iter();
    all.map(|(used, times)| {
        let Use { day, how, dataset, version, columns, with, on } = used;
        vec![
            dataset.into(),
            version.into(),
            how.word().into(),
            day.into(),
            times.min(i64::MAX as u64).into(),
            list(&columns),
            list(&with),
            list(&on),
        ]
    })
    .collect()
}

/// Runs of programs that are not versions yet.
fn of_runs(catalog: &Catalog) -> Vec<Vec<Json>> {
    let found = runs::list(catalog.path()).into_iter();
    found
        .map(|found| {
            let runs::Found { about, state, rows, errors, ended, .. } = found;
            vec![
                about.id.into(),
                about.kind.into(),
                about.name.into(),
                about.input.into(),
                state.text().into(),
                rows.into(),
                about.rows.into(),
                errors.into(),
                about.started.into(),
                about.host.into(),
                ended.map_or(Json::Null, Json::from),
            ]
        })
        .collect()
}
