//! Compiles a schema into the steps that write a row.
//!
//! Besides the columns of the schema every row has `path`, its file relative to the directory of
//! the table (an object by File column if there are several), and `sys__id`, its name in
//! `_views/rows/`. A signal of that name keeps it, and ours is prefixed with `_`.

use std::io::Write as _;

use super::{Paths, csv, json};
use crate::cell::{Cell, Cells};
use crate::id::RowId;
use crate::schema::{Field, FileColumn, Leaf, Schema, Shape, ValueType};

/// The format of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// One JSON object per line, nested as the models nest.
    Jsonl,
    /// Dotted columns, a header.
    Csv,
    /// Hugging Face's `metadata.jsonl`: flat, only scalars, `file_name` for the path.
    Metadata,
    /// `file_name` and one text, for training on captions ([`caption`]).
    Captions,
    /// One JSON object, indented over many lines.
    Pretty,
}

/// The steps that write a row, and the database columns they need.
#[derive(Clone, Debug)]
pub struct Layout {
    columns: Vec<String>,
    header: Vec<u8>,
    steps: Vec<Step>,
    /// Rows without a file in this File column are left out.
    needs_path: Option<usize>,
    /// Whether files that Hugging Face would take for metadata are treated as absent.
    hides_metadata: bool,
}

#[derive(Clone, Debug)]
enum Step {
    /// Bytes that are the same in every row.
    Literal(Vec<u8>),
    /// A cell, by its index among the columns.
    Json(usize, ValueType),
    Csv(usize, ValueType),
    /// The path in a File column.
    JsonPath(usize),
    CsvPath(usize),
    /// The row's `sys__id`.
    Id,
    /// An optional model: if the cell is not 0, writes `null` and skips this many steps.
    Optional(usize, usize),
}

/// The columns of a table besides those of its schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beside {
    /// The path of the row's file.
    pub path: bool,
    /// The row's `sys__id`.
    pub id: bool,
}

impl Beside {
    /// Both, as in every table of a mount.
    pub const ALL: Self = Self { path: true, id: true };
}

impl Layout {
    /// The layout of `format` for rows of `schema`, whose listed File columns are `listed`.
    pub fn new(schema: &Schema, format: Format, listed: &[FileColumn], beside: Beside) -> Self {
        let mut layout = Self {
            columns: Vec::new(),
            header: Vec::new(),
            steps: Vec::new(),
            needs_path: None,
            hides_metadata: matches!(format, Format::Metadata | Format::Captions),
        };
        match format {
            Format::Jsonl => layout.object(schema, listed, beside, None),
            Format::Pretty => layout.object(schema, listed, beside, Some(1)),
            Format::Csv => layout.csv(schema, listed, beside),
            Format::Metadata => layout.metadata(schema, listed),
            Format::Captions => layout.captions(schema),
        }
        layout.literal(b"\n");
        layout
    }

    /// The database columns that [`Layout::write`] takes, in order.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The bytes before the first row.
    pub fn header(&self) -> &[u8] {
        &self.header
    }

    /// Writes one row if this format includes it; `paths` are its files in the listed columns.
    pub fn write(&self, out: &mut Vec<u8>, id: RowId, paths: &Paths, cells: &dyn Cells) {
        if self.needs_path.is_some_and(|at| self.path(paths, at).is_none()) {
            return;
        }
        let mut at = 0;
        while let Some(step) = self.steps.get(at) {
            at += 1;
            match step {
                Step::Literal(bytes) => out.extend_from_slice(bytes),
                Step::Json(cell, value) => json::cell(out, cells.cell(*cell), value),
                Step::Csv(cell, value) => csv::cell(out, cells.cell(*cell), value),
                Step::JsonPath(column) => match self.path(paths, *column) {
                    Some(path) => json::string(out, path),
                    None => out.extend_from_slice(b"null"),
                },
                Step::CsvPath(column) => {
                    if let Some(path) = self.path(paths, *column) {
                        csv::field(out, path);
                    }
                }
                Step::Id => write!(out, "{id}").expect("a vector takes any bytes"),
                Step::Optional(tag, skipped) => {
                    if cells.cell(*tag) != Cell::Integer(0) {
                        out.extend_from_slice(b"null");
                        at += skipped;
                    }
                }
            }
        }
    }

    /// The path of a row's file, if this format shows it.
    fn path<'p>(&self, paths: &'p Paths, column: usize) -> Option<&'p [u8]> {
        let path = paths.get(column)?.as_deref()?;
        let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
        (!(self.hides_metadata && is_metadata(name))).then_some(path)
    }

    fn literal(&mut self, bytes: &[u8]) {
        match self.steps.last_mut() {
            Some(Step::Literal(last)) => last.extend_from_slice(bytes),
            _ => self.steps.push(Step::Literal(bytes.to_vec())),
        }
    }

    /// The index of a database column.
    fn column(&mut self, name: &str) -> usize {
        self.columns.push(name.to_owned());
        self.columns.len() - 1
    }

    /// Writes a comma unless first, a line break with the indent of `depth` if given, and
    /// `"name":`.
    fn key(&mut self, name: &str, is_first: bool, depth: Option<usize>) {
        let mut text = Vec::new();
        if !is_first {
            text.push(b',');
        }
        text.extend(new_line(depth));
        json::string(&mut text, name.as_bytes());
        text.extend_from_slice(if depth.is_some() { b": " } else { b":" });
        self.literal(&text);
    }

    fn object(
        &mut self,
        schema: &Schema,
        listed: &[FileColumn],
        beside: Beside,
        depth: Option<usize>,
    ) {
        let names = Ours::of(schema.signals.iter().map(|signal| signal.name.as_str()));
        self.literal(b"{");
        if beside.path {
            self.key(&names.path, true, depth);
            self.json_paths(listed);
        }
        for (number, signal) in schema.signals.iter().enumerate() {
            self.field(signal, number == 0 && !beside.path, depth);
        }
        if beside.id {
            self.key(&names.id, schema.signals.is_empty() && !beside.path, depth);
            self.steps.push(Step::Id);
        }
        self.literal(&new_line(depth.map(|depth| depth - 1)));
        self.literal(b"}");
    }

    fn json_paths(&mut self, listed: &[FileColumn]) {
        match listed {
            [] => self.literal(b"null"),
            [_] => self.steps.push(Step::JsonPath(0)),
            many => {
                for (number, file) in many.iter().enumerate() {
                    let mut text = vec![if number == 0 { b'{' } else { b',' }];
                    json::string(&mut text, file.name.as_bytes());
                    text.push(b':');
                    self.literal(&text);
                    self.steps.push(Step::JsonPath(number));
                }
                self.literal(b"}");
            }
        }
    }

    fn field(&mut self, field: &Field, is_first: bool, depth: Option<usize>) {
        self.key(&field.name, is_first, depth);
        match &field.shape {
            Shape::Column { column, value } => {
                let number = self.column(column);
                self.steps.push(Step::Json(number, value.clone()));
            }
            Shape::Model { fields, tag, .. } => {
                let tag = tag.as_ref().map(|tag| self.column(tag));
                let begin = self.steps.len();
                if let Some(tag) = tag {
                    self.steps.push(Step::Optional(tag, 0));
                    // Keeps the literals after it apart from those before it, so that it can be
                    // skipped.
                    self.steps.push(Step::Literal(Vec::new()));
                }
                self.literal(b"{");
                let below = depth.map(|depth| depth + 1);
                for (number, field) in fields.iter().enumerate() {
                    self.field(field, number == 0, below);
                }
                self.literal(&new_line(depth.filter(|_| !fields.is_empty())));
                self.literal(b"}");
                if tag.is_some() {
                    let skipped = self.steps.len() - begin - 1;
                    if let Some(Step::Optional(_, skip)) = self.steps.get_mut(begin) {
                        *skip = skipped;
                    }
                    self.steps.push(Step::Literal(Vec::new()));
                }
            }
        }
    }

    fn csv(&mut self, schema: &Schema, listed: &[FileColumn], beside: Beside) {
        let leaves = schema.leaves();
        let ours = Ours::of(leaves.iter().map(|leaf| leaf.name.as_str()));
        let mut columns: Vec<(String, Step)> = match listed {
            _ if !beside.path => Vec::new(),
            [] | [_] => vec![(ours.path, Step::CsvPath(0))],
            many => {
                let name = |file: &FileColumn| format!("{}.{}", ours.path, file.name);
                let named = many.iter().enumerate();
                named.map(|(number, file)| (name(file), Step::CsvPath(number))).collect()
            }
        };
        for leaf in &leaves {
            let number = self.column(leaf.column);
            columns.push((leaf.name.clone(), Step::Csv(number, leaf.value.clone())));
        }
        columns.extend(beside.id.then_some((ours.id, Step::Id)));
        let mut header = Vec::new();
        for (number, (name, step)) in columns.into_iter().enumerate() {
            if number > 0 {
                header.push(b',');
                self.literal(b",");
            }
            csv::quoted(&mut header, name.as_bytes());
            self.steps.push(step);
        }
        header.push(b'\n');
        self.header = header;
    }

    fn captions(&mut self, schema: &Schema) {
        self.needs_path = Some(0);
        self.header = b"\"file_name\",\"text\"\n".to_vec();
        self.steps.push(Step::CsvPath(0));
        self.literal(b",");
        if let Some(leaf) = caption(schema) {
            let number = self.column(leaf.column);
            self.steps.push(Step::Csv(number, leaf.value.clone()));
        }
    }

    fn metadata(&mut self, schema: &Schema, listed: &[FileColumn]) {
        self.needs_path = (listed.len() == 1).then_some(0);
        let (links, scalars) = metadata_columns(schema, listed);
        self.literal(b"{");
        for (number, link) in links.iter().enumerate() {
            self.key(link, number == 0, None);
            self.steps.push(Step::JsonPath(number));
        }
        for (number, (name, leaf)) in scalars.iter().enumerate() {
            self.key(name, number == 0 && links.is_empty(), None);
            let column = self.column(leaf.column);
            self.steps.push(Step::Json(column, leaf.value.clone()));
        }
        self.literal(b"}");
    }
}

/// The column of captions: the first text column with a name that suggests it.
pub fn caption(schema: &Schema) -> Option<Leaf<'_>> {
    let is_one = |name: &str| matches!(name, "caption" | "captions" | "text" | "description");
    let mut leaves = schema.leaves().into_iter();
    leaves.find(|leaf| {
        *leaf.value == ValueType::Text && is_one(leaf.name.rsplit('.').next().unwrap_or_default())
    })
}

/// The columns of Hugging Face's metadata: the link of each File column, and the scalars of a
/// schema whose names are free.
pub fn metadata_columns<'s>(
    schema: &'s Schema,
    listed: &[FileColumn],
) -> (Vec<String>, Vec<(String, Leaf<'s>)>) {
    let links = links(listed);
    let made = made(&links);
    let mut taken = links.clone();
    let scalars = schema.leaves().into_iter().filter(|leaf| leaf.value.is_scalar());
    let named = scalars.map(|leaf| {
        let mut name = leaf.name.clone();
        while taken.contains(&name) || made.contains(&name) || is_link(&name) {
            name.push('_');
        }
        taken.push(name.clone());
        (name, leaf)
    });
    let named = named.collect();
    (links, named)
}

/// Whether Hugging Face takes a file of this name for the metadata of the files beside it;
/// `_views/hf` generates its own, and hides recorded ones.
pub fn is_metadata(name: &[u8]) -> bool {
    matches!(name, b"metadata.csv" | b"metadata.jsonl" | b"metadata.parquet")
}

/// A line break and the indent of `depth`; empty in a table with one line per row.
fn new_line(depth: Option<usize>) -> Vec<u8> {
    depth.map_or(Vec::new(), |depth| format!("\n{}", "  ".repeat(depth)).into_bytes())
}

/// The names of `path` and `sys__id` beside the names of a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ours {
    pub path: String,
    pub id: String,
}

impl Ours {
    /// Names that differ from the given ones: those of signals, or dotted names.
    pub fn of<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let taken: Vec<&str> = names.collect();
        let below = |ours: &str, name: &str| {
            name.strip_prefix(ours).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let free = |wanted: &str| {
            let mut name = wanted.to_owned();
            while taken.iter().any(|taken| below(&name, taken)) {
                name.insert(0, '_');
            }
            name
        };
        Self { path: free("path"), id: free("sys__id") }
    }
}

/// The columns that Hugging Face reads as links to files, one per File column.
fn links(listed: &[FileColumn]) -> Vec<String> {
    if listed.len() == 1 {
        return vec!["file_name".into()];
    }
    let mut given: Vec<String> = Vec::new();
    for file in listed {
        let mut name = file.name.replace('.', "_");
        while given.contains(&format!("{name}_file_name")) {
            name.push('_');
        }
        given.push(format!("{name}_file_name"));
    }
    given
}

/// The columns that Hugging Face derives from links: `mask` from `mask_file_name`, and from
/// `file_name` the one named after the loader (`imagefolder`, `audiofolder`, ...). A column of that
/// name would be a duplicate.
fn made(links: &[String]) -> Vec<String> {
    let of = |link: &String| match link.strip_suffix("_file_name") {
        Some(name) => vec![name.to_owned()],
        None => ["image", "audio", "video", "pdf", "nifti", "mesh"].map(str::to_owned).to_vec(),
    };
    links.iter().flat_map(of).collect()
}

/// Whether Hugging Face reads a column of this name as links to files (`folder_based_builder.py`).
fn is_link(name: &str) -> bool {
    let is = |suffix: &str| name == suffix || name.ends_with(&format!("_{suffix}"));
    is("file_name") || is("file_names")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(features: &str, table: &[(&str, &str)]) -> Schema {
        let table: Vec<_> = table.iter().map(|(n, t)| ((*n).into(), (*t).into())).collect();
        Schema::parse(features, "", &table).expect("a schema")
    }

    fn pets() -> Schema {
        let features = r#"{"file":"File@v1","info":"Optional[Info]","label":"str","tags":"list[str]",
            "_custom_types":{"Info":{"width":"int","box":"Box"},"Box":{"x":"float"}}}"#;
        schema(
            features,
            &[
                ("file__source", ""),
                ("file__path", ""),
                ("file__size", ""),
                ("info___type_tag", ""),
                ("info__width", ""),
                ("info__box__x", ""),
                ("label", ""),
                ("tags", ""),
            ],
        )
    }

    fn listed(schema: &Schema) -> Vec<FileColumn> {
        schema.listed_files().cloned().collect()
    }

    fn written(schema: &Schema, format: Format, paths: &Paths, cells: &[Cell<'_>]) -> String {
        let layout = Layout::new(schema, format, &listed(schema), Beside::ALL);
        assert_eq!(layout.columns().len(), cells.len(), "{:?}", layout.columns());
        let mut out = layout.header().to_vec();
        layout.write(&mut out, RowId::new(7), paths, &cells);
        String::from_utf8(out).expect("UTF-8")
    }

    const ROW: [Cell<'_>; 8] = [
        Cell::Text(b"s3://b"),
        Cell::Text(b"a.jpg"),
        Cell::Integer(9),
        Cell::Integer(0),
        Cell::Integer(400),
        Cell::Real(0.5),
        Cell::Text(b"pug"),
        Cell::Text(b"[\"x\"]"),
    ];

    fn absent(mut row: [Cell<'_>; 8]) -> [Cell<'_>; 8] {
        row[3] = Cell::Integer(1);
        row
    }

    #[test]
    fn a_row_is_nested_as_its_models() {
        let paths = [Some(b"x/a.jpg".to_vec())];
        assert_eq!(
            written(&pets(), Format::Jsonl, &paths, &ROW),
            "{\"path\":\"x/a.jpg\",\"file\":{\"source\":\"s3://b\",\"path\":\"a.jpg\",\"size\":9},\
             \"info\":{\"width\":400,\"box\":{\"x\":0.5}},\"label\":\"pug\",\"tags\":[\"x\"],\"sys__id\":7}\n"
        );
        assert_eq!(
            written(&pets(), Format::Jsonl, &[None], &absent(ROW)),
            "{\"path\":null,\"file\":{\"source\":\"s3://b\",\"path\":\"a.jpg\",\"size\":9},\
             \"info\":null,\"label\":\"pug\",\"tags\":[\"x\"],\"sys__id\":7}\n"
        );
    }

    #[test]
    fn a_row_alone_is_for_people() {
        let text = written(&pets(), Format::Pretty, &[None], &ROW);
        let parsed: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let again = serde_json::to_string_pretty(&parsed).expect("JSON");
        assert_eq!(text.replace("[\"x\"]", "[\n    \"x\"\n  ]"), again + "\n");
    }

    #[test]
    fn csv_has_dotted_columns() {
        assert_eq!(
            written(
                &pets(),
                Format::Csv,
                &[Some(b"x,y".to_vec())],
                &[ROW[0], ROW[1], ROW[2], ROW[4], ROW[5], ROW[6], ROW[7]]
            ),
            "\"path\",\"file.source\",\"file.path\",\"file.size\",\"info.width\",\"info.box.x\",\"label\",\"tags\",\"sys__id\"\n\
             \"x,y\",s3://b,a.jpg,9,400,0.5,pug,\"[\"\"x\"\"]\",7\n"
        );
    }

    #[test]
    fn hugging_face_has_links_and_scalars() {
        let cells = [ROW[0], ROW[1], ROW[2], ROW[4], ROW[5], ROW[6]];
        assert_eq!(
            written(&pets(), Format::Metadata, &[Some(b"a.jpg".to_vec())], &cells),
            "{\"file_name\":\"a.jpg\",\"file.source\":\"s3://b\",\"file.path\":\"a.jpg\",\"file.size\":9,\
             \"info.width\":400,\"info.box.x\":0.5,\"label\":\"pug\"}\n"
        );
        assert_eq!(written(&pets(), Format::Metadata, &[None], &cells), "", "no file, no row");
    }

    #[test]
    fn captions_are_a_name_and_a_text() {
        let schema = schema(
            r#"{"label":"str","info_text":"str","text":"str"}"#,
            &[("label", ""), ("info_text", ""), ("text", "")],
        );
        let paths = [Some(b"a,b.jpg".to_vec())];
        let got = written(&schema, Format::Captions, &paths, &[Cell::Text(b"a \"cat\"\n")]);
        assert_eq!(got, "\"file_name\",\"text\"\n\"a,b.jpg\",\"a \"\"cat\"\"\n\"\n");
        assert!(caption(&pets()).is_none());
    }

    #[test]
    fn several_files_have_a_path_each() {
        let features = r#"{"a":"File","path":"str","sys__id":"str"}"#;
        let table = ["a__source", "a__path", "a__size", "b__source", "b__path", "b__size", "path"];
        let table: Vec<_> = table.iter().map(|name| (*name, "")).collect();
        let schema = schema(features, &table);
        let paths = [Some(b"a/1".to_vec()), None];
        let cells = [Cell::Null; 7];
        let jsonl = written(&schema, Format::Jsonl, &paths, &cells);
        assert!(jsonl.starts_with("{\"_path\":{\"a\":\"a/1\",\"b\":null},\"a\":{"), "{jsonl}");
        let csv = written(&schema, Format::Csv, &paths, &cells);
        assert!(csv.starts_with("\"_path.a\",\"_path.b\",\"a.source\","), "{csv}");
        assert!(csv.ends_with("\na/1,,,,,,,,,7\n"), "{csv}");
        let metadata = written(&schema, Format::Metadata, &paths, &cells);
        assert!(
            metadata.starts_with("{\"a_file_name\":\"a/1\",\"b_file_name\":null,"),
            "{metadata}"
        );
    }

    #[test]
    fn no_column_has_the_name_of_one_that_hugging_face_makes() {
        let names = ["image", "image_", "audio", "file_name", "mask"];
        let table: Vec<_> = [&["file__source", "file__path", "file__size"][..], &names[..]]
            .concat()
            .into_iter()
            .map(|name| (name, ""))
            .collect();
        let features = r#"{"file":"File","image":"int","image_":"int","audio":"int","file_name":"int","mask":"int"}"#;
        let cells = [Cell::Integer(1); 8];
        let schema = schema(features, &table);
        let text = written(&schema, Format::Metadata, &[Some(b"a.jpg".to_vec())], &cells);
        let row: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&text).expect("JSON");
        let keys: Vec<&str> = row.keys().map(String::as_str).collect();
        for key in ["file_name", "image_", "image__", "audio_", "file_name_", "mask"] {
            assert!(keys.contains(&key), "{key}: {text}");
        }
        assert_eq!(text.matches("\":").count(), row.len(), "none is there twice: {text}");
    }

    #[test]
    fn files_that_would_be_metadata_have_no_row() {
        let schema = pets();
        let cells = [ROW[0], ROW[1], ROW[2], ROW[4], ROW[5], ROW[6]];
        for name in ["metadata.csv", "x/metadata.jsonl", "metadata.parquet"] {
            let paths = [Some(name.as_bytes().to_vec())];
            assert_eq!(written(&schema, Format::Metadata, &paths, &cells), "", "{name}");
            assert!(written(&schema, Format::Jsonl, &paths, &ROW).contains(name));
        }
        let paths = [Some(b"metadata.txt".to_vec())];
        assert!(written(&schema, Format::Metadata, &paths, &cells).contains("metadata.txt"));
    }

    #[test]
    fn a_column_that_would_be_a_link_is_none() {
        let cases =
            [("file_name", true), ("x_file_names", true), ("file.name", false), ("names", false)];
        for (name, want) in cases {
            assert_eq!(is_link(name), want, "{name}");
        }
    }
}
