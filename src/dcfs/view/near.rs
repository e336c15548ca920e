//! The versions around the one that is shown: those of its dataset, its ancestors and its descendants. Only
//! these can be shown next to it and compared.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::View;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::id::{RowId, VersionId};
use dcfs_core::secrets::masked;
use dcfs_core::time::Timestamp;
use dcfs_data::catalog::VersionInfo;
use dcfs_data::diff::first::{First, Kept};
use dcfs_data::diff::{Counts, Plan, Versions, compare};
use dcfs_data::pack::Packs;
use dcfs_data::query::Queries;
use dcfs_data::trace::Tracer;

/// Limits of the graph: the number of versions, and its depth in each direction.
const MOST_NODES: usize = 80;
const DEEPEST: i64 = 12;

/// Limits: versions kept open, cached comparisons, and rows of each kind in a comparison.
const MOST_OPEN: usize = 16;
const MOST_COMPARED: usize = 8;
const MOST_DIFFERENCES: usize = 10_000;

/// Limit of rows in one answer.
const MOST_ROWS: usize = 200;

/// The version that is shown first, and those around it.
pub struct Near {
    first: Arc<View>,
    packs: Arc<Packs>,
    /// Whether the page may save.
    pub may_write: bool,
    open: Mutex<HashMap<VersionId, Arc<View>>>,
    compared: Mutex<HashMap<(VersionId, VersionId), Arc<Compared>>>,
}

/// The differences between two versions.
struct Compared {
    counts: Counts,
    /// Added, changed and removed rows, by ascending id.
    rows: [Vec<Kept>; 3],
    /// Names of compared columns.
    columns: Vec<String>,
}

/// A version or a storage location in the graph.
struct Node {
    name: String,
    kind: &'static str,
    rows: Option<u64>,
    saved: Option<Timestamp>,
    /// Negative for ancestors, positive for descendants.
    level: i64,
    of: Option<VersionInfo>,
}

/// Nodes, and edges from child to parent by index.
type Graph = (Vec<Node>, Vec<(usize, usize)>);

impl Near {
    /// The neighbourhood of a version.
    pub fn new(first: Arc<View>, packs: Arc<Packs>, may_write: bool) -> Self {
        Self { first, packs, may_write, open: Mutex::default(), compared: Mutex::default() }
    }

    /// Why a row of a version is there, as `dcfs why` tells it. Blocks.
    ///
    /// # Errors
    /// What the catalog and the packs of its parents say.
    pub fn why(&self, view: &View, row: RowId) -> Result<Value> {
        if view.pack.ordinal(row)?.is_none() {
            return Err(Error::new(Kind::Missing, format!("no row {row}")));
        }
        let packs = |of: &_| Handle::current().block_on(self.packs.get(of));
        let step = Tracer::new(&view.catalog, &packs)?.trace(&view.of, row)?;
        Ok(json!({ "text": step.text() }))
    }

    /// The version of this name (`pets@1.0.0`); the first one if no name is given. Blocking.
    ///
    /// # Errors
    /// It is not among those around the first.
    pub fn version(&self, name: &str) -> Result<Arc<View>> {
        if name.is_empty() || name == self.first.of.to_string() {
            return Ok(self.first.clone());
        }
        let is_open = |view: &&Arc<View>| view.of.to_string() == name;
        if let Some(view) = self.open().values().find(is_open) {
            return Ok(view.clone());
        }
        let siblings = self.siblings()?;
        let mut of = siblings.iter().find(|of| of.to_string() == name).cloned();
        // The graph of one of the siblings has links to these.
        for sibling in siblings.iter().rev() {
            if of.is_some() {
                break;
            }
            let mut near = self.nodes(sibling)?.0.into_iter().filter_map(|node| node.of);
            of = near.find(|of| of.to_string() == name);
        }
        let of = of.ok_or_else(|| {
            let message = format!("`{name}` is not shown here; `dcfs view {name}` shows it");
            Error::new(Kind::Missing, message)
        })?;
        let pack = Handle::current().block_on(self.packs.get(&of))?;
        let first = &self.first;
        let view = Arc::new(View {
            catalog: first.catalog.clone(),
            schema: Arc::new(first.catalog.schema(&of)?),
            pack,
            queries: Queries::for_a_command(),
            stores: first.stores.clone(),
            filter: None,
            thumbs: first.thumbs.clone(),
            of,
        });
        let mut open = self.open();
        if open.len() >= MOST_OPEN {
            open.clear();
        }
        // Another thread may have opened it meanwhile.
        Ok(open.entry(view.of.id).or_insert(view).clone())
    }

    /// The open versions. Locked briefly: nothing is looked up or built meanwhile.
    fn open(&self) -> MutexGuard<'_, HashMap<VersionId, Arc<View>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The versions of the first one's dataset, oldest first.
    fn siblings(&self) -> Result<Vec<VersionInfo>> {
        let mut versions = self.first.catalog.versions()?;
        versions.retain(|of| of.dataset == self.first.of.dataset);
        versions.sort_by_key(|of| of.version);
        Ok(versions)
    }

    /// The description of a version, apart from its rows.
    ///
    /// # Errors
    /// Those of the catalog.
    pub fn about(&self, view: &View) -> Result<Value> {
        let mut about = view.about()?;
        let mut versions = view.catalog.versions()?;
        versions.retain(|of| of.dataset == view.of.dataset);
        versions.sort_by_key(|of| of.version);
        about["versions"] = versions
            .iter()
            .map(|of| {
                let saved = of.finished_at.or(of.created_at).map(Timestamp::rfc3339);
                json!({ "version": of.version.to_string(), "rows": of.rows, "saved": saved })
            })
            .collect();
        about["write"] = self.may_write.into();
        Ok(about)
    }

    /// The lineage graph of a version: nodes with levels, and edges from child to parent.
    ///
    /// # Errors
    /// Those of the catalog.
    pub fn graph(&self, of: &VersionInfo) -> Result<Value> {
        let (nodes, edges) = self.nodes(of)?;
        let nodes = nodes.iter().map(|node| {
            json!({
                "name": node.name,
                "kind": node.kind,
                "rows": node.rows,
                "saved": node.saved.map(Timestamp::rfc3339),
                "level": node.level,
            })
        });
        Ok(json!({ "nodes": nodes.collect::<Vec<_>>(), "edges": edges }))
    }

    fn nodes(&self, of: &VersionInfo) -> Result<Graph> {
        let catalog = &self.first.catalog;
        let versions = catalog.versions()?;
        let known: HashMap<VersionId, &VersionInfo> =
            versions.iter().map(|version| (version.id, version)).collect();
        let mut children: BTreeMap<VersionId, Vec<VersionId>> = BTreeMap::new();
        for (child, parent) in catalog.edges()? {
            children.entry(parent).or_default().push(child);
        }
        let mut graph = Growing::default();
        graph.add(version_node(of, 0));
        let mut open = VecDeque::from([0]);
        while let Some(at) = open.pop_front() {
            let (level, own) = (graph.nodes[at].level, graph.nodes[at].of.clone());
            let Some(own) = own else { continue };
            if level <= 0 && level > -DEEPEST {
                for parent in catalog.parents(own.id)? {
                    let version = parent.id.and_then(|id| known.get(&id).copied());
                    let node = match (version, &parent.dataset) {
                        (Some(version), _) => version_node(version, level - 1),
                        (None, Some((name, version))) => {
                            let storage = name.listed_uri().map(|uri| masked(&uri));
                            let kind = if storage.is_some() { "storage" } else { "removed" };
                            let name = storage.unwrap_or_else(|| format!("{name}@{version}"));
                            Node { rows: parent.rows, ..plain_node(name, kind, level - 1) }
                        }
                        (None, None) => plain_node("(deleted)".to_owned(), "removed", level - 1),
                    };
                    let Some((number, is_new)) = graph.add(node) else { continue };
                    graph.edge(at, number);
                    open.extend(is_new.then_some(number));
                }
            }
            if (0..DEEPEST).contains(&level) {
                for child in children.get(&own.id).into_iter().flatten() {
                    let Some(version) = known.get(child) else { continue };
                    let Some((number, is_new)) = graph.add(version_node(version, level + 1)) else {
                        continue;
                    };
                    graph.edge(number, at);
                    open.extend(is_new.then_some(number));
                }
            }
        }
        Ok((graph.nodes, graph.edges))
    }

    /// The differences of a version against another one: counts, and `most` rows of one kind after the first
    /// `from`, each as one row or a pair.
    ///
    /// # Errors
    /// The other is not among those around; those of the catalog.
    pub fn diff(&self, view: &View, with: &str, part: &str, from: u64) -> Result<Value> {
        let other = self.version(with)?;
        let compared = self.compared(&other, view)?;
        let number = match part {
            "added" => 0,
            "removed" => 2,
            _ => 1,
        };
        let rows = &compared.rows[number];
        let start = usize::try_from(from).unwrap_or(usize::MAX).min(rows.len());
        let rows = &rows[start..(start + MOST_ROWS).min(rows.len())];
        let of = |id: &dyn Fn(&Kept) -> Option<RowId>| rows.iter().filter_map(id).collect();
        let (left, right): (Vec<RowId>, Vec<RowId>) = (of(&|row| row.left), of(&|row| row.right));
        let (left, right) = (other.paths(&left)?, view.paths(&right)?);
        let side = |paths: &HashMap<i64, Value>, id: Option<RowId>| {
            id.map(|id| json!({ "id": id.to_string(), "path": paths.get(&id.key()) }))
        };
        let rows = rows.iter().map(|row| {
            let columns =
                row.columns.iter().filter_map(|at| compared.columns.get(usize::from(*at)));
            json!({
                "before": side(&left, row.left),
                "after": side(&right, row.right),
                "columns": columns.collect::<Vec<_>>(),
            })
        });
        let rows: Vec<Value> = rows.collect();
        let Counts { added, changed, removed, same } = compared.counts;
        Ok(json!({
            "before": other.of.to_string(),
            "after": view.of.to_string(),
            "counts": { "added": added, "changed": changed, "removed": removed, "same": same },
            "most": MOST_DIFFERENCES,
            "rows": rows,
        }))
    }

    fn compared(&self, left: &View, right: &View) -> Result<Arc<Compared>> {
        let key = (left.of.id, right.of.id);
        let lock = || self.compared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = lock().get(&key) {
            return Ok(found.clone());
        }
        let plan = Plan::new((&left.of, &right.of), (&left.schema, &right.schema), &[])?;
        let mut first = First::new(MOST_DIFFERENCES);
        let versions = Versions { catalog: &right.catalog, left: &left.of, right: &right.of };
        let counts = compare(versions, &plan, right.pack.folder(), &|_| {}, &mut |difference| {
            first.push(difference);
            Ok(())
        })?;
        let columns = plan.compared.iter().map(|pair| pair.name.clone()).collect();
        let found = Arc::new(Compared { counts, rows: first.finish(), columns });
        let mut compared = lock();
        if compared.len() >= MOST_COMPARED {
            compared.clear();
        }
        compared.insert(key, found.clone());
        Ok(found)
    }
}

/// A graph under construction.
#[derive(Default)]
struct Growing {
    nodes: Vec<Node>,
    numbers: HashMap<String, usize>,
    edges: Vec<(usize, usize)>,
}

impl Growing {
    /// Adds a node; returns its index, and whether it is new; `None` if there are too many.
    fn add(&mut self, node: Node) -> Option<(usize, bool)> {
        if let Some(number) = self.numbers.get(&node.name) {
            return Some((*number, false));
        }
        if self.nodes.len() >= MOST_NODES {
            return None;
        }
        let number = self.nodes.len();
        self.numbers.insert(node.name.clone(), number);
        self.nodes.push(node);
        Some((number, true))
    }

    fn edge(&mut self, child: usize, parent: usize) {
        if !self.edges.contains(&(child, parent)) {
            self.edges.push((child, parent));
        }
    }
}

fn version_node(of: &VersionInfo, level: i64) -> Node {
    let (rows, saved) = (of.rows, of.finished_at.or(of.created_at));
    Node { rows, saved, of: Some(of.clone()), ..plain_node(of.to_string(), "version", level) }
}

fn plain_node(name: String, kind: &'static str, level: i64) -> Node {
    Node { name, kind, rows: None, saved: None, level, of: None }
}
