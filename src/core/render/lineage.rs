//! `_lineage.md`: where a version came from, as text and as a graph, and what changed.

use std::collections::HashSet;
use std::fmt::Write;

use super::Subject;
use super::graph::{Graph, Kind, Node};
use super::markdown::{block, code, link, mermaid, paragraph, text};
use super::numbers::{bytes, count, counted, difference};
use crate::provenance::{Git, Provenance};
use crate::schema::Schema;
use crate::time::Timestamp;
use serde_json::Value;

/// Printed if the catalog has no author.
const NO_AUTHOR: &str = "not recorded by DataChain";

/// The most derived versions that are named.
const MOST_CHILDREN: usize = 100;

/// The deepest indentation in the list of parents.
const DEEPEST: usize = 20;

/// The most bytes of a script that a page shows: more than people write.
const LONGEST_SCRIPT: usize = 64 << 10;

/// The contents of the page.
#[derive(Clone, Debug)]
pub struct Lineage<'a> {
    pub of: &'a Subject,
    pub description: Option<&'a str>,
    pub attrs: &'a [String],
    /// Who saved it, and how; `None` if DataChain did.
    pub by: Option<&'a Provenance>,
    /// The script's path, and Python's version.
    pub job: Option<(&'a str, Option<&'a str>)>,
    /// The text of the script; empty where none was recorded.
    pub script: &'a str,
    pub graph: &'a Graph,
    /// Versions made from this one, and their directories.
    pub children: &'a [(String, Vec<u8>)],
    pub before: Option<Change>,
}

/// The changes of a version since the one before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The version before, e.g. `1.0.0`.
    pub version: String,
    /// Its directory.
    pub directory: Vec<u8>,
    pub rows: (Option<u64>, Option<u64>),
    pub size: (Option<u64>, Option<u64>),
    /// Dotted names and types.
    pub added: Vec<(String, String)>,
    pub removed: Vec<(String, String)>,
    /// Dotted name, type before, type now.
    pub retyped: Vec<(String, String, String)>,
}

impl Change {
    /// Adds the differences between two schemas, by dotted names.
    pub fn columns(&mut self, before: &Schema, now: &Schema) {
        let table = |schema: &Schema| -> Vec<(String, String)> {
            let leaves = schema.leaves().into_iter();
            leaves.map(|leaf| (leaf.name, leaf.field.type_text.clone())).collect()
        };
        let (before, now) = (table(before), table(now));
        let of = |table: &[(String, String)], name: &str| {
            table.iter().find(|(n, _)| n == name).map(|(_, t)| t.clone())
        };
        for (name, kind) in &now {
            match of(&before, name) {
                None => self.added.push((name.clone(), kind.clone())),
                Some(old) if old != *kind => {
                    self.retyped.push((name.clone(), old, kind.clone()));
                }
                Some(_) => {}
            }
        }
        self.removed = before.into_iter().filter(|(name, _)| of(&now, name).is_none()).collect();
    }
}

impl Lineage<'_> {
    /// The page.
    pub fn page(&self) -> String {
        let mut page = format!("# Lineage of {}\n\n", text(&self.of.name()));
        if let Some(description) = self.description.filter(|d| !d.is_empty()) {
            page += &format!("{}\n\n", paragraph(description));
        }
        page += &self.facts();
        page += "\n## Parents\n\n";
        page += &self.parents();
        page += &self.used_by();
        page += "\n## Graph\n\n";
        page += &block("mermaid", &mermaid_graph(self.graph));
        page += "\n## Changes\n\n";
        page += &self.changes();
        page += "\n## Source code\n\n";
        page += &self.code();
        page
    }

    fn facts(&self) -> String {
        let time = |time: Option<Timestamp>| time.map_or("not recorded".into(), |t| t.to_string());
        let mut out = "| | |\n|---|---|\n".to_owned();
        let mut row = |name: &str, value: String| {
            let _ = writeln!(out, "| {name} | {value} |");
        };
        row("rows", self.of.rows.map_or("not recorded".into(), count));
        row("total size", self.of.size.map_or("not recorded".into(), bytes));
        row("created", time(self.of.created_at));
        row("finished", time(self.of.finished_at));
        match self.by {
            Some(by) => saved(by, &mut row),
            None => row("author", NO_AUTHOR.into()),
        }
        if let Some((script, python)) = self.job {
            row("script", code(script));
            row("Python", python.map_or("not recorded".into(), text));
        }
        if !self.attrs.is_empty() {
            row("attributes", self.attrs.iter().map(|a| code(a)).collect::<Vec<_>>().join(", "));
        }
        row("uuid", code(&self.of.uuid));
        out
    }

    /// The versions made from it; empty if there are none.
    fn used_by(&self) -> String {
        if self.children.is_empty() {
            return String::new();
        }
        let mut out = "\n## Used by\n\n".to_owned();
        for (name, directory) in self.children.iter().take(MOST_CHILDREN) {
            let _ = writeln!(out, "- {}", link(name, &[b"..", directory, b"_lineage.md"]));
        }
        if let Some(more @ 1..) = self.children.len().checked_sub(MOST_CHILDREN) {
            let _ = writeln!(out, "\n... and {} more.", count(more as u64));
        }
        out
    }

    /// The parents as a list, each version's own parents nested below it. A version already listed
    /// is not expanded again.
    fn parents(&self) -> String {
        let mut out = String::new();
        let mut told = HashSet::from([0]);
        let mut open: Vec<(usize, usize)> =
            self.graph.parents(0).map(|parent| (parent, 0)).collect();
        open.reverse();
        while let Some((id, depth)) = open.pop() {
            let Some(node) = self.graph.nodes.get(id) else { continue };
            let again = !told.insert(id);
            let indent = "  ".repeat(depth.min(DEEPEST));
            let note =
                if again && self.graph.parents(id).next().is_some() { " (see above)" } else { "" };
            let _ = writeln!(out, "{indent}- {}{note}", parent(node));
            if !again {
                let below: Vec<_> = self.graph.parents(id).map(|p| (p, depth + 1)).collect();
                open.extend(below.into_iter().rev());
            }
        }
        if out.is_empty() {
            out = "None was recorded.\n".into();
        }
        if self.graph.more > 0 {
            let _ = writeln!(out, "\n... and {} more.", count(self.graph.more as u64));
        }
        out
    }

    fn changes(&self) -> String {
        let Some(change) = &self.before else {
            return "This is the first version that exists.\n".into();
        };
        let before = link(&change.version, &[b"..", &change.directory, b"_lineage.md"]);
        let mut out = format!("Since {before}:\n\n");
        let _ = writeln!(out, "- rows: {}", step(change.rows, count));
        let _ = writeln!(out, "- total size: {}", step(change.size, bytes));
        for (name, kind) in &change.added {
            let _ = writeln!(out, "- column added: {} {}", code(name), code(kind));
        }
        for (name, kind) in &change.removed {
            let _ = writeln!(out, "- column removed: {} {}", code(name), code(kind));
        }
        for (name, old, new) in &change.retyped {
            let _ = writeln!(
                out,
                "- column retyped: {} from {} to {}",
                code(name),
                code(old),
                code(new)
            );
        }
        if change.added.is_empty() && change.removed.is_empty() && change.retyped.is_empty() {
            out += "- columns: the same\n";
        }
        out
    }

    fn code(&self) -> String {
        if self.script.is_empty() {
            return "None was recorded: DataChain keeps the text of script files, not of `python -c`, \
                    notebooks and the REPL.\n"
                .into();
        }
        let shown = beginning(self.script, LONGEST_SCRIPT);
        let page = block(if self.by.is_some() { "sh" } else { "python" }, shown);
        match self.script.len() - shown.len() {
            0 => page,
            more => format!(
                "{page}\n{} more are left out; `dcfs lineage --format json` has all.\n",
                bytes(more as u64)
            ),
        }
    }
}

/// The beginning of a text, at most `most` bytes.
fn beginning(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Adds the rows of the table that say who saved a version, and how.
fn saved(by: &Provenance, row: &mut impl FnMut(&str, String)) {
    row("author", by.author().map_or("not recorded".into(), |author| text(&author)));
    if let Some(place) = by.place() {
        row("saved at", code(&place));
    }
    if let Some(Git { commit: Some(commit), is_dirty, .. }) = &by.git {
        let changed = match is_dirty {
            Some(true) => ", with changes that are not committed",
            Some(false) => "",
            None => ", perhaps with changes that are not committed",
        };
        row("commit", code(commit) + changed);
    }
    if !by.command.is_empty() {
        row("command", code(&by.script()));
    }
    if let Some(filter) = &by.filter {
        row("filter", code(filter));
    }
    if let Some(recipe) = &by.recipe {
        table(recipe, row);
        computed(recipe, row);
    }
}

/// Adds the table that was loaded, and its version.
fn table(recipe: &Value, row: &mut impl FnMut(&str, String)) {
    let word = |key: &str| recipe["table"][key].as_str();
    if let (Some(kind), Some(address), Some(version)) =
        (word("kind"), word("address"), word("version"))
    {
        let told = if kind == "iceberg" { "Iceberg, snapshot" } else { "Delta Lake, version" };
        row(
            "table",
            format!("{} ({} {})", code(&crate::secrets::masked(address)), told, text(version)),
        );
    }
}

/// Adds the outcome of a `map`: the states of its program, and how many rows it failed for.
fn computed(recipe: &Value, row: &mut impl FnMut(&str, String)) {
    let Some(program) = recipe["program"].as_str() else { return };
    row("program", code(program));
    for made in recipe["programs"].as_array().into_iter().flatten() {
        let digest = made["digest"].as_str().unwrap_or_default();
        let rows = made["rows"].as_u64().unwrap_or(0);
        row("program digest", format!("{}: {}", code(digest), counted(rows, "row")));
    }
    let number = |key: &str| recipe[key].as_u64().unwrap_or(0);
    row("computed", counted(number("computed"), "row"));
    if number("errors") > 0 {
        row("failed", counted(number("errors"), "row"));
    }
}

/// `7,390 -> 7,400 (+10)`.
fn step((before, after): (Option<u64>, Option<u64>), print: fn(u64) -> String) -> String {
    let side = |n: Option<u64>| n.map_or("not recorded".into(), print);
    match (before, after) {
        (Some(b), Some(a)) => format!("{} -> {} ({})", print(b), print(a), difference(b, a, print)),
        _ => format!("{} -> {}", side(before), side(after)),
    }
}

fn parent(node: &Node) -> String {
    let facts = match (node.rows, node.size) {
        (Some(rows), Some(size)) => format!(": {}, {}", counted(rows, "row"), bytes(size)),
        (Some(rows), None) => format!(": {}", counted(rows, "row")),
        _ => String::new(),
    };
    match &node.kind {
        Kind::Dataset { directory } => {
            let link = link(&node.name, &[b"..", directory, b"_lineage.md"]);
            format!("{link}{facts}")
        }
        Kind::Storage => format!("storage {}", code(&node.name)),
        Kind::Removed => format!("{} (removed){facts}", text(&node.name)),
        Kind::Deleted => "a version that was deleted for good".into(),
    }
}

fn mermaid_graph(graph: &Graph) -> String {
    let mut out = "graph BT\n".to_owned();
    for (id, node) in graph.nodes.iter().enumerate() {
        let label = mermaid(&node.name);
        let _ = match node.kind {
            Kind::Dataset { .. } => writeln!(out, "  n{id}[\"{label}\"]"),
            Kind::Storage => writeln!(out, "  n{id}[(\"{label}\")]"),
            Kind::Removed => writeln!(out, "  n{id}[\"{label} (removed)\"]"),
            Kind::Deleted => writeln!(out, "  n{id}[\"(deleted)\"]"),
        };
    }
    for (child, parent) in &graph.edges {
        let _ = writeln!(out, "  n{child} --> n{parent}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::readme::tests::pets;

    fn node(name: &str, kind: Kind, rows: Option<u64>) -> Node {
        Node { name: name.into(), kind, rows, size: None }
    }

    fn here(name: &str) -> Kind {
        Kind::Dataset { directory: name.into() }
    }

    #[test]
    fn tells_where_a_version_came_from() {
        let (of, schema) = pets();
        let graph = Graph {
            nodes: vec![
                node("pets@1.0.1", here("pets@1.0.1"), None),
                node("raw|x@2.0.0", here("raw|x@2.0.0"), Some(7_400)),
                node("masks@1.0.0", Kind::Removed, None),
                node("s3://bucket/pets/", Kind::Storage, None),
                node("", Kind::Deleted, None),
            ],
            edges: vec![(0, 1), (0, 2), (1, 3), (2, 3), (0, 4)],
            more: 0,
        };
        let mut before = Change {
            version: "1.0.0".into(),
            directory: b"pets@1.0.0".to_vec(),
            rows: (Some(7_000), Some(7_390)),
            size: (None, Some(10)),
            ..Change::default()
        };
        let mut old = schema.clone();
        old.signals.pop();
        before.columns(&old, &schema);
        let page = Lineage {
            of: &of,
            description: None,
            attrs: &["NLP".into()],
            by: None,
            job: Some(("/home/x/save.py", Some("3.11"))),
            script: "import datachain as dc\n",
            graph: &graph,
            children: &[("big".into(), b"big@1.0.0".to_vec())],
            before: Some(before),
        };
        let want = "\
# Lineage of pets@1.0.1

| | |
|---|---|
| rows | 7,390 |
| total size | 774.1 MiB |
| created | 2026-11-20 10:31:23 UTC |
| finished | 2026-11-20 10:31:30 UTC |
| author | not recorded by DataChain |
| script | `/home/x/save.py` |
| Python | 3.11 |
| attributes | `NLP` |
| uuid | `0d3b3f5e-1c5a-4f65-9a53-1f3f3d1c9b10` |

## Parents

- [raw\\|x@2.0.0](../raw%7Cx@2.0.0/_lineage.md): 7,400 rows
  - storage `s3://bucket/pets/`
- masks@1.0.0 (removed)
  - storage `s3://bucket/pets/`
- a version that was deleted for good

## Used by

- [big](../big@1.0.0/_lineage.md)

## Graph

```mermaid
graph BT
  n0[\"pets@1.0.1\"]
  n1[\"raw|x@2.0.0\"]
  n2[\"masks@1.0.0 (removed)\"]
  n3[(\"s3://bucket/pets/\")]
  n4[\"(deleted)\"]
  n0 --> n1
  n0 --> n2
  n1 --> n3
  n2 --> n3
  n0 --> n4
```

## Changes

Since [1.0.0](../pets@1.0.0/_lineage.md):

- rows: 7,000 -> 7,390 (+390)
- total size: not recorded -> 10 B
- column added: `emb` `list[float]`

## Source code

```python
import datachain as dc
```
";
        assert_eq!(page.page(), want);
    }

    #[test]
    fn tells_who_saved_it_and_how() {
        let (of, _) = pets();
        let git = Git {
            name: Some("Ann|Lee".into()),
            email: Some("ann@example.org".into()),
            commit: Some("0d3b3f5e1c5a4f659a531f3f3d1c9b10aabbccdd".into()),
            is_dirty: Some(true),
        };
        let command = ["dcfs", "save", "raw", "--where", "a > 1 or b = \"`x|\n\"", "--as", "pets"];
        let by = Provenance {
            user: Some("ann".into()),
            host: Some("laptop".into()),
            folder: Some("/work/\u{1b}pets".into()),
            git: Some(git),
            command: command.map(str::to_owned).to_vec(),
            filter: Some("a > 1 or b = \"`x|\"".into()),
            ..Provenance::default()
        };
        let page = Lineage {
            of: &of,
            description: None,
            attrs: &[],
            by: Some(&by),
            job: None,
            script: &by.script(),
            graph: &Graph::default(),
            children: &[],
            before: None,
        };
        let page = page.page();
        let want = "\
| author | Ann\\|Lee \\<ann \\@example.org\\> |
| saved at | `ann@laptop:/work/\\u{1b}pets` |
| commit | `0d3b3f5e1c5a4f659a531f3f3d1c9b10aabbccdd`, with changes that are not committed |
| command | ``dcfs save raw --where 'a > 1 or b = \"`x\\|\\n\"' --as pets`` |
| filter | ``a > 1 or b = \"`x\\|\"`` |
| uuid | `0d3b3f5e-1c5a-4f65-9a53-1f3f3d1c9b10` |
";
        assert!(page.contains(want), "{page}");
        let code = "## Source code\n\n```sh\ndcfs save raw --where 'a > 1 or b = \"`x|\n\"' --as pets\n```\n";
        assert!(page.ends_with(code), "{page}");
    }

    #[test]
    fn a_long_script_is_cut_and_counted() {
        assert_eq!(beginning("a\u{e9}b", 2), "a");
        assert_eq!(beginning("ab", 9), "ab");
    }

    #[test]
    fn cycles_and_nothing_end() {
        let (of, _) = pets();
        let looping = Graph {
            nodes: vec![node("a", here("a"), None), node("b", here("b"), None)],
            edges: vec![(0, 1), (1, 0), (1, 1)],
            more: 12_000,
        };
        let by = Provenance { user: Some("ann <ann@host>".into()), ..Provenance::default() };
        for graph in [looping, Graph::default()] {
            let page = Lineage {
                of: &of,
                description: Some(""),
                attrs: &[],
                by: Some(&by),
                job: None,
                script: "",
                graph: &graph,
                children: &[],
                before: None,
            };
            let page = page.page();
            assert!(page.contains("first version") && page.contains("None was recorded"), "{page}");
            assert!(page.contains("ann \\<ann \\@host\\>"), "{page}");
        }
    }
}
