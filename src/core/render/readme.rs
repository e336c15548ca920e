//! `_README.md` in a version's directory: an introduction to the directory and how to use it.

use std::fmt::Write;

use super::markdown::visible;
use super::markdown::{code, paragraph, text};
use super::numbers::{bytes, counted};
use super::schema_json::unlisted;
use super::{Narrowed, Subject, directories};
use crate::annotation::Annotations;
use crate::schema::{Schema, ValueType};

/// The naming rules that users come across.
const NAMES: &str = "Where a column\n\
    has several sources, they come first (`s3/<bucket>/...`). A name that two objects want is given to the\n\
    first; the others have `~<sys__id>` before the extension.";

/// The most characters of an annotation in the table of columns.
const LONGEST_SAID: usize = 300;

/// The contents of the page of a version.
#[derive(Clone, Debug)]
pub struct Readme<'a> {
    pub of: &'a Subject,
    pub description: Option<&'a str>,
    pub schema: &'a Schema,
    /// People's annotations of columns.
    pub said: &'a Annotations,
    /// `(database column, a value)`.
    pub examples: &'a [(String, String)],
    /// The rows shown, in a query directory.
    pub narrowed: Option<&'a Narrowed>,
}

impl Readme<'_> {
    /// The page.
    pub fn page(&self) -> String {
        let mut page = format!("# {}\n\n", text(&self.of.name()));
        if let Some(description) = self.description.filter(|d| !d.is_empty()) {
            page += &format!("{}\n\n", paragraph(description));
        }
        page += &self.narrowed.map_or_else(|| self.opening(), |narrowed| self.query(narrowed));
        page += "\n## Files\n\n";
        page += &self.files();
        page += "\n## Columns\n\n";
        page += &self.columns();
        page += "\n## What else is here\n\n";
        let pages = "- `_schema.json`: the columns as a tree of models, for programs\n\
            - `_lineage.md`: what this was computed from, by which code, and what changed since the version before\n";
        let by_name = "By name only, so that loaders and `cp -r` do not see them:\n\n";
        page += &match self.narrowed {
            None => format!("{pages}\n{by_name}"),
            Some(_) => format!("{by_name}- `_README.md`: this page\n{pages}"),
        };
        page += "- `_rows.parquet`, `_rows.arrow`, `_rows.jsonl`, `_rows.csv`: the rows as tables; `_count`: their number\n";
        page += "- `_stats.md`, `_stats.json`: statistics of the columns, over all of these rows\n";
        page += "- `_views/by/<column>/<value>/`: the files of the rows with that value, as class folders\n";
        page +=
            "- `_views/rows/<sys__id>.json`: one row; `_views/hf/`: for Hugging Face `datasets`\n";
        page += "- any filter: a directory of the files of the rows that pass, see below\n";
        page += "\n## Using it\n\n";
        page += "    find . -type f | head          # names, sizes and times cost nothing\n";
        page += "    cp -r . ~/copy                 # bytes are fetched when they are read\n";
        page += "    python -m json.tool _schema.json\n";
        page += &self.filters();
        page
    }

    fn opening(&self) -> String {
        let rows =
            self.of.rows.map_or("an unknown number of rows".into(), |rows| counted(rows, "row"));
        let size = self.of.size.map_or(String::new(), |size| format!(", {} of files", bytes(size)));
        format!(
            "This directory is version {} of the dataset {}: {rows}{size}. It never changes: names, sizes\n\
             and bytes are those that were recorded when the version was saved. A file whose object is no longer\n\
             that one fails with ESTALE. Everything is read-only.\n",
            text(&self.of.version),
            code(&self.of.dataset),
        )
    }

    /// The section that describes a query directory.
    fn query(&self, narrowed: &Narrowed) -> String {
        let mut out = format!(
            "This directory is {} of {}: those that pass\n\n",
            counted(narrowed.rows, "row"),
            code(&self.of.name())
        );
        if let Some(diff) = &narrowed.diff {
            let _ = writeln!(out, "- {}", text(diff));
        }
        for filter in &narrowed.filters {
            let _ = writeln!(out, "- {}", code(filter));
        }
        if let Some(why) = &narrowed.why_empty {
            let _ = writeln!(out, "\nNo row passes, perhaps because {}.", text(why));
        }
        out += "\nIt never changes. Files have the same names and bytes as in the version, and are the same\n\
                files to the kernel's cache. A filter below it filters these rows.\n";
        if narrowed.is_ranked {
            out += "\nThe files are in order, `<rank>_<name>`, in this one directory; the value that orders them\n\
                    is `order_key` in `_rows.*`.\n";
        }
        out
    }

    fn files(&self) -> String {
        let listed = directories(self.schema);
        let mut out = match &listed[..] {
            [] => "The rows of this version name no files that can be read.\n".to_owned(),
            [(file, _)] => format!(
                "Each row's file is here, at the path that its column {} records. {NAMES}\n",
                code(&file.name)
            ),
            _ => format!(
                "Each column of files has a directory of its own, with the files at their recorded paths. {NAMES}\n\n"
            ),
        };
        if listed.len() > 1 {
            for (_, directory) in &listed {
                let _ = writeln!(out, "- {}", code(&format!("{directory}/")));
            }
        }
        for file in &self.schema.files {
            if let Some(reason) = unlisted(file) {
                let _ =
                    writeln!(out, "\nThe column {} has no files here: {reason}.", code(&file.name));
            }
        }
        out
    }

    /// The section on filters, with columns of this version.
    fn filters(&self) -> String {
        let leaves = self.schema.leaves();
        let find = |value: ValueType| {
            let mut of_type = leaves.iter().filter(|leaf| *leaf.value == value && !leaf.hidden);
            of_type.next_back().map(|leaf| leaf.name.clone())
        };
        let number = find(ValueType::Int).or_else(|| find(ValueType::Float));
        let number = number.unwrap_or_else(|| "sys__id".to_owned());
        let mut out = "\n## Filtering\n\n\
            A filter is a directory name, below any directory of files and below other filters. It is written like what\n\
            follows WHERE in SQL, over the columns above; `/` inside it is typed as U+2215, the division slash.\n\n"
            .to_owned();
        let mut example = |filter: String| {
            let _ = writeln!(out, "    ls '{filter}/'");
        };
        example(format!("{number} > 100"));
        if let Some(word) = find(ValueType::Text) {
            example(format!("{word} ilike \"%a%\" and {number} is not null"));
        }
        example(format!("order by {number} desc limit 10"));
        example("rand < 0.1".to_owned());
        out += "\nAn invalid filter is EINVAL: `cat '_error/<filter>'` says what is wrong, and why a filter selects nothing;\n\
            `dcfs explain` does too.\n";
        out
    }

    fn columns(&self) -> String {
        let is_said = self.schema.leaves().iter().any(|leaf| self.said.contains_key(&leaf.name));
        let mut out = match is_said {
            true => "| column | type | example | annotations |\n|---|---|---|---|\n".to_owned(),
            false => "| column | type | example |\n|---|---|---|\n".to_owned(),
        };
        for leaf in self.schema.leaves() {
            let example = self.examples.iter().find(|(column, _)| column == leaf.column);
            let example =
                example.map_or(String::new(), |(_, value)| code(shown(value, leaf.value)));
            let hidden = if leaf.hidden { " (hidden)" } else { "" };
            let row = (code(&leaf.name), code(&leaf.field.type_text));
            let said = self.said.get(&leaf.name);
            let said = said.map_or(String::new(), |said| quoted(&said.line()));
            let said = if is_said { format!(" {said} |") } else { String::new() };
            let _ = writeln!(out, "| {} | {}{hidden} | {example} |{said}", row.0, row.1);
        }
        out
    }
}

/// A person's words, as a quotation.
fn quoted(said: &str) -> String {
    format!("\"{}\"", text(&visible(said, LONGEST_SAID)))
}

/// An example as a person would type it: the database stores booleans as 0 and 1.
fn shown<'v>(value: &'v str, kind: &ValueType) -> &'v str {
    match (kind, value) {
        (ValueType::Bool, "0") => "false",
        (ValueType::Bool, "1") => "true",
        _ => value,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::schema::{Field, Shape, ValueType};
    use crate::time::Timestamp;

    fn leaf(name: &str, kind: &str, column: &str) -> Field {
        let value = match kind.starts_with("list") {
            true => ValueType::List(Box::new(ValueType::Float)),
            false => ValueType::Text,
        };
        Field {
            name: name.into(),
            type_text: kind.into(),
            shape: Shape::Column { column: column.into(), value },
            optional: kind.starts_with("Optional"),
            hidden: false,
        }
    }

    /// A version with a File, a nested model, a list and an optional value.
    pub(in crate::render) fn pets() -> (Subject, Schema) {
        let of = Subject {
            dataset: "pets".into(),
            version: "1.0.1".into(),
            uuid: "0d3b3f5e-1c5a-4f65-9a53-1f3f3d1c9b10".into(),
            rows: Some(7_390),
            size: Some(811_706_944),
            created_at: Some(Timestamp::from_micros(1_795_170_683_000_000)),
            finished_at: Some(Timestamp::from_micros(1_795_170_690_000_000)),
        };
        let mut etag = leaf("etag", "str", "file__etag");
        etag.hidden = true;
        let fields = vec![
            leaf("source", "str", "file__source"),
            leaf("path", "str", "file__path"),
            leaf("size", "int", "file__size"),
            etag,
        ];
        let file = Shape::Model { model: "File".into(), file: true, fields, tag: None };
        let info = Shape::Model {
            model: "Info".into(),
            file: false,
            fields: vec![
                leaf("width", "int", "info__width"),
                leaf("note", "Optional[str]", "info__note"),
            ],
            tag: None,
        };
        let model = |name: &str, kind: &str, shape| Field {
            name: name.into(),
            type_text: kind.into(),
            shape,
            optional: false,
            hidden: false,
        };
        let part = |name: &str| Some(format!("file__{name}"));
        let signals = vec![
            model("file", "File@v1", file),
            model("info", "Info", info),
            leaf("emb", "list[float]", "emb"),
        ];
        let column = crate::schema::FileColumn {
            name: "file".into(),
            source: part("source"),
            path: part("path"),
            size: part("size"),
            etag: part("etag"),
            ..crate::schema::FileColumn::default()
        };
        (of, Schema { signals, files: vec![column] })
    }

    #[test]
    fn tells_where_one_is() {
        let (of, schema) = pets();
        let examples =
            [("file__path".to_owned(), "a|b.jpg".to_owned()), ("info__width".into(), "500".into())];
        let page = Readme {
            of: &of,
            description: Some("Cats & dogs"),
            schema: &schema,
            said: &Annotations::new(),
            examples: &examples,
            narrowed: None,
        };
        let want = "\
# pets@1.0.1

Cats \\& dogs

This directory is version 1.0.1 of the dataset `pets`: 7,390 rows, 774.1 MiB of files. It never changes: names, sizes
and bytes are those that were recorded when the version was saved. A file whose object is no longer
that one fails with ESTALE. Everything is read-only.

## Files

Each row's file is here, at the path that its column `file` records. Where a column
has several sources, they come first (`s3/<bucket>/...`). A name that two objects want is given to the
first; the others have `~<sys__id>` before the extension.

## Columns

| column | type | example |
|---|---|---|
| `file.source` | `str` |  |
| `file.path` | `str` | `a\\|b.jpg` |
| `file.size` | `int` |  |
| `file.etag` | `str` (hidden) |  |
| `info.width` | `int` | `500` |
| `info.note` | `Optional[str]` |  |
| `emb` | `list[float]` |  |
";
        let page = page.page();
        assert!(page.starts_with(want), "{page}");
        assert!(
            page.contains("- `_schema.json`: ") && page.contains("- `_lineage.md`: "),
            "{page}"
        );
    }

    #[test]
    fn a_boolean_is_an_example_that_can_be_typed() {
        let (of, mut schema) = pets();
        let value = ValueType::Bool;
        let shape = Shape::Column { column: "good".into(), value };
        schema.signals.push(Field { shape, ..leaf("good", "bool", "good") });
        let examples = [("good".to_owned(), "1".to_owned()), ("info__width".into(), "1".into())];
        let narrowed = Narrowed { why_empty: Some("of `x`".into()), ..Narrowed::default() };
        let page = Readme {
            of: &of,
            description: None,
            schema: &schema,
            said: &Annotations::new(),
            examples: &examples,
            narrowed: Some(&narrowed),
        };
        let page = page.page();
        assert!(page.contains("| `good` | `bool` | `true` |"), "{page}");
        assert!(page.contains("| `info.width` | `int` | `1` |"), "{page}");
        assert!(page.contains("No row passes, perhaps because of"), "{page}");
    }

    #[test]
    fn says_why_there_are_no_files() {
        let (of, mut schema) = pets();
        schema.files[0].source = None;
        let page = Readme {
            of: &of,
            description: None,
            schema: &schema,
            said: &Annotations::new(),
            examples: &[],
            narrowed: None,
        }
        .page();
        assert!(page.contains("name no files that can be read"), "{page}");
        assert!(
            page.contains("`file` has no files here: the version did not save its `source`"),
            "{page}"
        );
    }
}
