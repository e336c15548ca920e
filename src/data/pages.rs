//! The bytes of each page, the same for the mount and the command line.
//!
//! Here the facts are gathered from the catalog; [`dcfs_core::render`] makes them text.

use std::collections::HashMap;

use crate::catalog::{Catalog, Details, Parent, VersionInfo};
use dcfs_core::error::Result;
use dcfs_core::id::VersionId;
use dcfs_core::name::{DatasetName, escape};
pub use dcfs_core::render::Narrowed;
use dcfs_core::render::graph::{self, Graph, Kind, Node};
use dcfs_core::render::lineage::{Change, Lineage};
use dcfs_core::render::readme::Readme;
use dcfs_core::render::schema_json::schema_json;
use dcfs_core::render::{Subject, beside, diff};
use dcfs_core::secrets::masked;
use dcfs_core::version::Version;

/// The most versions in a lineage graph.
const MOST_NODES: usize = 300;

/// The most edges in a lineage graph.
const MOST_EDGES: usize = 2000;

/// The longest example value that is queried.
const LONGEST_EXAMPLE: usize = 60;

/// A helper file of a version's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Page {
    /// `_README.md`: an introduction to the directory.
    Readme,
    /// `_lineage.md`: the origin of the version.
    Lineage,
    /// `_schema.json`: its columns.
    Schema,
}

impl Page {
    /// Every page, in the order of their names.
    pub const ALL: [Self; 3] = [Self::Readme, Self::Lineage, Self::Schema];

    /// The file's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Readme => "_README.md",
            Self::Lineage => "_lineage.md",
            Self::Schema => "_schema.json",
        }
    }

    /// Whether the text never changes because it depends only on this version. That is true of no
    /// page now, because people may annotate columns at any time.
    pub const fn is_fixed(self) -> bool {
        match self {
            Self::Readme | Self::Lineage | Self::Schema => false,
        }
    }
}

/// The bytes of `page` for one version: for the mount, and for `dcfs schema` or `dcfs lineage`.
///
/// # Errors
/// [`dcfs_core::error::Kind::Stale`] if the version is removed meanwhile; errors of the catalog.
pub fn text(
    catalog: &Catalog,
    page: Page,
    of: &VersionInfo,
    narrowed: Option<&Narrowed>,
) -> Result<String> {
    match page {
        Page::Readme => readme(catalog, of, narrowed),
        Page::Lineage => lineage(catalog, of),
        Page::Schema => {
            let said = catalog.annotations(&of.dataset)?;
            Ok(schema_json(&subject(of), &catalog.schema(of)?, &said, narrowed))
        }
    }
}

/// `_views/_README.md`: an introduction to the views of a version, with a section for each
/// directory.
pub fn views(of: &VersionInfo, sections: &[String]) -> String {
    beside::views(&subject(of).name(), sections)
}

/// `_views/diff/_README.md`: an introduction to the differences from other versions.
pub fn diffs(of: &VersionInfo) -> String {
    diff::readme(&subject(of).name())
}

/// Lineage as JSON, for `dcfs lineage --format json`.
pub fn lineage_json(catalog: &Catalog, of: &VersionInfo) -> Result<String> {
    let details = catalog.details(of)?;
    let by = details.provenance.as_ref();
    Ok(graph::json(&subject(of), by, &details.script, &ancestry(catalog, of)?))
}

/// Lineage as Graphviz, for `dcfs lineage --format dot`.
pub fn lineage_dot(catalog: &Catalog, of: &VersionInfo) -> Result<String> {
    let by = catalog.details(of)?.provenance;
    Ok(graph::dot(&ancestry(catalog, of)?, by.as_ref()))
}

fn readme(catalog: &Catalog, of: &VersionInfo, narrowed: Option<&Narrowed>) -> Result<String> {
    let details = catalog.details(of)?;
    let page = Readme {
        of: &subject(of),
        description: details.description.as_deref(),
        schema: &catalog.schema(of)?,
        said: &catalog.annotations(&of.dataset)?,
        examples: &catalog.examples(
            of,
            narrowed.map(|narrowed| &narrowed.first[..]),
            LONGEST_EXAMPLE,
        )?,
        narrowed,
    };
    Ok(page.page())
}

fn lineage(catalog: &Catalog, of: &VersionInfo) -> Result<String> {
    let Details { description, attrs, script, job, provenance } = catalog.details(of)?;
    // The recorded script may contain a secret.
    let script = masked(&script);
    let page = Lineage {
        of: &subject(of),
        description: description.as_deref(),
        attrs: &attrs,
        by: provenance.as_ref(),
        job: job.as_ref().map(|job| (job.name.as_str(), job.python_version.as_deref())),
        script: &script,
        graph: &ancestry(catalog, of)?,
        children: &children(catalog, of)?,
        before: change(catalog, of)?,
    };
    Ok(page.page())
}

fn subject(of: &VersionInfo) -> Subject {
    Subject {
        dataset: of.dataset.to_string(),
        version: of.version.to_string(),
        uuid: of.uuid.clone(),
        rows: of.rows,
        size: of.size,
        created_at: of.created_at,
        finished_at: of.finished_at,
    }
}

/// The directory of a version, as named in `datasets/` if no other wants the name.
fn directory(dataset: &DatasetName, version: Version) -> Vec<u8> {
    escape::segment(format!("{dataset}@{version}").as_bytes()).into_owned()
}

/// The versions that were made from this one, and their directories.
fn children(catalog: &Catalog, of: &VersionInfo) -> Result<Vec<(String, Vec<u8>)>> {
    let children = catalog.children(of.id)?.into_iter();
    Ok(children
        .map(|child| (child.to_string(), directory(&child.dataset, child.version)))
        .collect())
}

/// The changes since the next lower existing version; `None` for the first.
fn change(catalog: &Catalog, of: &VersionInfo) -> Result<Option<Change>> {
    let versions = catalog.versions()?.into_iter();
    let lower = versions.filter(|other| other.dataset == of.dataset && other.version < of.version);
    let Some(before) = lower.max_by_key(|other| other.version) else { return Ok(None) };
    let mut change = Change {
        version: before.version.to_string(),
        directory: directory(&before.dataset, before.version),
        rows: (before.rows, of.rows),
        size: (before.size, of.size),
        ..Change::default()
    };
    change.columns(&catalog.schema(&before)?, &catalog.schema(of)?);
    Ok(Some(change))
}

/// All ancestors of a version, breadth first, without duplicates.
fn ancestry(catalog: &Catalog, of: &VersionInfo) -> Result<Graph> {
    let mut graph = Graph::default();
    let mut known: HashMap<VersionId, usize> = HashMap::from([(of.id, 0)]);
    graph.nodes.push(Node {
        name: format!("{}@{}", of.dataset, of.version),
        kind: Kind::Dataset { directory: directory(&of.dataset, of.version) },
        rows: of.rows,
        size: of.size,
    });
    let mut open = std::collections::VecDeque::from([(0, of.id)]);
    while let Some((child, id)) = open.pop_front() {
        let mut parents = catalog.parents(id)?;
        // DataChain records them in the order of a Python set, which differs with each save.
        parents.sort_by(|a, b| a.dataset.cmp(&b.dataset));
        for parent in parents {
            if graph.edges.len() == MOST_EDGES {
                graph.more += 1;
                continue;
            }
            if let Some(&seen) = parent.id.and_then(|id| known.get(&id)) {
                graph.edges.push((child, seen));
                continue;
            }
            if graph.nodes.len() == MOST_NODES {
                graph.more += 1;
                continue;
            }
            let number = graph.nodes.len();
            graph.edges.push((child, number));
            if let Some(id) = parent.id {
                known.insert(id, number);
                open.push_back((number, id));
            }
            graph.nodes.push(node(parent));
        }
    }
    Ok(graph)
}

fn node(parent: Parent) -> Node {
    let Parent { dataset, alive, rows, size, .. } = parent;
    let Some((dataset, version)) = dataset else {
        return Node { name: String::new(), kind: Kind::Deleted, rows, size };
    };
    if let Some(uri) = dataset.listed_uri() {
        return Node { name: masked(&uri), kind: Kind::Storage, rows, size };
    }
    let kind = match alive && !dataset.is_internal() {
        true => Kind::Dataset { directory: directory(&dataset, version) },
        false => Kind::Removed,
    };
    Node { name: format!("{dataset}@{version}"), kind, rows, size }
}
