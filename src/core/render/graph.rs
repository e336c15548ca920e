//! The lineage graph of a version, as JSON and for Graphviz.

use serde::Serialize;

use super::Subject;
use super::markdown::visible;
use crate::provenance::Provenance;
use crate::time::Timestamp;

/// The kind of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A version that exists: a directory of this name.
    Dataset { directory: Vec<u8> },
    /// Storage that was listed.
    Storage,
    /// A version that was removed; its number stays taken.
    Removed,
    /// A deleted version of which no details are left.
    Deleted,
}

/// One version or storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// `pets@1.0.0`, or the URI of a storage.
    pub name: String,
    pub kind: Kind,
    pub rows: Option<u64>,
    pub size: Option<u64>,
}

/// A version and all its ancestors. Node 0 is the version itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    pub nodes: Vec<Node>,
    /// `(child, parent)`, without duplicates.
    pub edges: Vec<(usize, usize)>,
    /// The number of parents left out because there are too many.
    pub more: usize,
}

impl Graph {
    /// The direct parents of a node, in the order recorded.
    pub fn parents(&self, child: usize) -> impl Iterator<Item = usize> {
        self.edges.iter().filter(move |(c, _)| *c == child).map(|(_, parent)| *parent)
    }
}

#[derive(Serialize)]
struct Page<'a> {
    dataset: &'a str,
    version: &'a str,
    uuid: &'a str,
    rows: Option<u64>,
    size: Option<u64>,
    created_at: Option<String>,
    finished_at: Option<String>,
    author: Option<String>,
    /// Null if DataChain saved it.
    saved: Option<&'a Provenance>,
    script: &'a str,
    nodes: Vec<JsonNode>,
    edges: Vec<Edge>,
    more: usize,
}

#[derive(Serialize)]
struct JsonNode {
    id: usize,
    name: String,
    kind: &'static str,
    rows: Option<u64>,
    size: Option<u64>,
}

#[derive(Serialize)]
struct Edge {
    child: usize,
    parent: usize,
}

/// The lineage for programs.
pub fn json(of: &Subject, by: Option<&Provenance>, script: &str, graph: &Graph) -> String {
    let node = |(id, node): (usize, &'_ Node)| JsonNode {
        id,
        name: node.name.clone(),
        kind: kind(node),
        rows: node.rows,
        size: node.size,
    };
    let page = Page {
        dataset: &of.dataset,
        version: &of.version,
        uuid: &of.uuid,
        rows: of.rows,
        size: of.size,
        created_at: of.created_at.map(Timestamp::rfc3339),
        finished_at: of.finished_at.map(Timestamp::rfc3339),
        author: by.and_then(Provenance::author),
        saved: by,
        script,
        nodes: graph.nodes.iter().enumerate().map(node).collect(),
        edges: graph.edges.iter().map(|&(child, parent)| Edge { child, parent }).collect(),
        more: graph.more,
    };
    serde_json::to_string_pretty(&page).unwrap_or_default() + "\n"
}

fn kind(node: &Node) -> &'static str {
    match node.kind {
        Kind::Dataset { .. } => "dataset",
        Kind::Storage => "storage",
        Kind::Removed => "removed",
        Kind::Deleted => "deleted",
    }
}

/// The graph for Graphviz, parents at the top. Who saved the version, and how, is shown as a
/// tooltip.
pub fn dot(graph: &Graph, by: Option<&Provenance>) -> String {
    let mut out = "digraph lineage {\n  node [shape=box];\n".to_owned();
    for (id, node) in graph.nodes.iter().enumerate() {
        let style = match node.kind {
            Kind::Dataset { .. } => "",
            Kind::Storage => ", shape=cylinder",
            Kind::Removed | Kind::Deleted => ", style=dashed",
        };
        let tip = by.filter(|_| id == 0).map(tooltip).unwrap_or_default();
        out += &format!("  n{id} [label=\"{}\"{style}{tip}];\n", quoted(&node.name));
    }
    for (child, parent) in &graph.edges {
        out += &format!("  n{parent} -> n{child};\n");
    }
    out + "}\n"
}

fn tooltip(by: &Provenance) -> String {
    let author = by.author().map(|author| format!("saved by {author}"));
    let told: Vec<String> = author.into_iter().chain([by.script()]).collect();
    format!(", tooltip=\"{}\"", quoted(&told.join(": ")))
}

/// Escapes a text for a quoted string of dot, where a backslash begins an escape.
fn quoted(name: &str) -> String {
    visible(name, 200).replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_quotes() {
        let node = Node { name: "a\"]\\\nb".into(), kind: Kind::Removed, rows: None, size: None };
        let graph = Graph { nodes: vec![node], ..Graph::default() };
        assert_eq!(
            dot(&graph, None),
            "digraph lineage {\n  node [shape=box];\n  n0 [label=\"a\\\"]\\\\\\\\nb\", style=dashed];\n}\n"
        );
        let command = vec!["dcfs".into(), "\"x\ny".into()];
        let by = Provenance { user: Some("\"a\\".into()), command, ..Provenance::default() };
        assert!(
            dot(&graph, Some(&by))
                .contains("style=dashed, tooltip=\"saved by \\\"a\\\\: dcfs '\\\"x\\\\ny'\"];\n")
        );
        let page = json(&Subject::default(), Some(&by), "", &graph);
        let page: serde_json::Value = serde_json::from_str(&page).expect("JSON");
        assert_eq!(
            (&page["author"], &page["saved"]["command"][1]),
            (&"\"a\\".into(), &"\"x\ny".into())
        );
        assert_eq!(page["nodes"][0]["name"], "a\"]\\\nb");
    }
}
