//! Builds the tree from the two JSON texts and the table's columns.
//!
//! 1. Signals stand in the order of `feature_schema`; a model is unfolded while the table has columns
//!    below it, so a model that contains itself ends where the columns end.
//! 2. A column belongs to the first field that reaches it; a field without a column is left out.
//! 3. Columns that no field reaches follow flat, in table order; there, too, `x__source` beside
//!    `x__path` is a File.
//! 4. Names are compared exactly. `sys__id` and `sys__rand` are not in the tree.

use std::collections::{BTreeSet, HashSet};

use serde_json::{Map, Value};

use super::model::{self, Models};
use super::types::Type;
use super::{Field, FileColumn, Schema, Shape, ValueType};

/// The deepest nesting of models.
const DEEPEST: usize = 64;

/// The most fields examined: some twenty for each column that a SQLite table can have.
const MOST: usize = 50_000;

/// Types that no model may be named after.
const PLAIN: [&str; 12] = [
    "int", "str", "float", "bool", "bytes", "datetime", "list", "dict", "tuple", "Any", "Literal",
    "NoneType",
];

/// Why a schema cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a JSON object.
    #[error("the version's `{text}` is not a JSON object: {cause}")]
    Json { text: &'static str, cause: String },
    /// Nested deeper than any real model.
    #[error("the models of the version nest deeper than {0} levels")]
    TooDeep(usize),
    /// Models that unfold endlessly.
    #[error("the models of the version have more than {0} fields")]
    TooLarge(usize),
}

impl From<Error> for crate::error::Error {
    fn from(error: Error) -> Self {
        Self::new(crate::error::Kind::Broken, error)
    }
}

pub(super) fn schema(
    feature_schema: &str,
    schema: &str,
    table: &[(String, String)],
) -> Result<Schema, Error> {
    let features = object("feature_schema", feature_schema)?;
    let types = object("schema", schema)?;
    let mut tree = Tree::new(&features, &types, table);
    let mut signals = tree.signals(&features)?;
    let flat = tree.leftovers(table);
    let mut files = Vec::new();
    collect_files(&signals, "", &mut files);
    files.extend(flat_files(&flat));
    signals.extend(flat);
    Ok(Schema { signals, files })
}

/// A JSON object; empty if the text is empty or `null`.
fn object(text: &'static str, json: &str) -> Result<Map<String, Value>, Error> {
    if json.trim().is_empty() {
        return Ok(Map::new());
    }
    let fail = |cause: String| Error::Json { text, cause };
    match serde_json::from_str(json).map_err(|e| fail(e.to_string()))? {
        Value::Object(map) => Ok(map),
        Value::Null => Ok(Map::new()),
        Value::Array(_) => Err(fail("it is a list".into())),
        Value::String(_) => Err(fail("it is a string".into())),
        Value::Number(_) | Value::Bool(_) => Err(fail("it is a plain value".into())),
    }
}

/// The tree under construction.
struct Tree<'a> {
    models: Models,
    /// `schema`: the type of each column.
    types: &'a Map<String, Value>,
    /// Every column of the table except the two system columns.
    columns: BTreeSet<&'a str>,
    /// Columns that a field has reached.
    taken: HashSet<String>,
    /// How many more fields may be examined.
    left: usize,
}

/// A field that may enter the tree.
struct Candidate<'a> {
    name: &'a str,
    type_text: &'a str,
    hidden: bool,
    /// The database column, or the common prefix of several.
    column: String,
    depth: usize,
}

impl<'a> Tree<'a> {
    fn new(
        features: &Map<String, Value>,
        types: &'a Map<String, Value>,
        table: &'a [(String, String)],
    ) -> Self {
        let columns = table.iter().map(|(name, _)| name.as_str()).filter(|name| !is_system(name));
        Self {
            models: Models::read(features.get("_custom_types")),
            types,
            columns: columns.collect(),
            taken: HashSet::new(),
            left: MOST,
        }
    }

    fn signals(&mut self, features: &Map<String, Value>) -> Result<Vec<Field>, Error> {
        let mut signals = Vec::new();
        for (name, type_text) in features.iter().filter(|(name, _)| *name != "_custom_types") {
            let Some(type_text) = type_text.as_str() else { continue };
            // A signal's own name may hold a dot, which DataChain writes like the path into a
            // model.
            let is_plain =
                self.columns.contains(name.as_str()) || self.has_below(&format!("{name}__"));
            let column = if is_plain { name.clone() } else { name.replace('.', "__") };
            let candidate = Candidate { name, type_text, hidden: false, column, depth: 1 };
            signals.extend(self.field(candidate)?);
        }
        Ok(signals)
    }

    /// The field, if the table has columns for it: as a model, else as one column.
    fn field(&mut self, of: Candidate<'_>) -> Result<Option<Field>, Error> {
        self.left = self.left.checked_sub(1).ok_or(Error::TooLarge(MOST))?;
        let parsed = Type::parse(of.type_text);
        let (inner, optional) = match &parsed {
            Some(parsed) => parsed.unwrap_optional(),
            None => (&Type::Name(""), false),
        };
        let shape = match inner {
            Type::Name(name) if !PLAIN.contains(name) => self.model(&of, name)?,
            _ => None,
        };
        let Some(shape) = shape.or_else(|| self.leaf(&of)) else { return Ok(None) };
        let nullable = matches!(shape, Shape::Column { .. }) && self.is_nullable(&of.column);
        Ok(Some(Field {
            name: of.name.into(),
            type_text: of.type_text.into(),
            shape,
            optional: optional || nullable,
            hidden: of.hidden,
        }))
    }

    /// The model `name` unfolded, if it exists and the table has columns for it.
    fn model(&mut self, of: &Candidate<'_>, name: &str) -> Result<Option<Shape>, Error> {
        let below = format!("{}__", of.column);
        let Some(model) = self.models.get(name).filter(|_| self.has_below(&below)) else {
            return Ok(None);
        };
        if of.depth > DEEPEST {
            return Err(Error::TooDeep(DEEPEST));
        }
        let tag = self.take(format!("{below}_type_tag"));
        let mut fields = Vec::new();
        for field in &model.fields {
            fields.extend(self.field(Candidate {
                name: &field.name,
                type_text: &field.type_text,
                hidden: field.hidden,
                column: format!("{below}{}", field.name),
                depth: of.depth + 1,
            })?);
        }
        let model = (model::bare(name).to_owned(), model.file);
        let shape = Shape::Model { model: model.0, file: model.1, fields, tag };
        Ok((!is_empty(&shape)).then_some(shape))
    }

    fn leaf(&mut self, of: &Candidate<'_>) -> Option<Shape> {
        let column = self.take(of.column.clone())?;
        Some(Shape::Column { column, value: ValueType::read(of.type_text, &self.models) })
    }

    /// The column, if it exists and no field has reached it before.
    fn take(&mut self, column: String) -> Option<String> {
        let free = self.columns.contains(column.as_str()) && self.taken.insert(column.clone());
        free.then_some(column)
    }

    /// Whether the table has columns with this prefix.
    fn has_below(&self, prefix: &str) -> bool {
        self.columns.range(prefix..).next().is_some_and(|column| column.starts_with(prefix))
    }

    fn is_nullable(&self, column: &str) -> bool {
        self.types.get(column).and_then(|t| t.get("dc_nullable")) == Some(&Value::Bool(true))
    }

    /// The columns that no field has reached, flat, in table order.
    fn leftovers(&self, table: &[(String, String)]) -> Vec<Field> {
        let free = table.iter().filter(|(name, _)| !is_system(name) && !self.taken.contains(name));
        let flat = free.map(|(name, declared)| {
            let stored = self.types.get(name).and_then(stored_type);
            let type_text = stored.unwrap_or_else(|| declared.clone());
            let value = ValueType::read(&type_text, &self.models);
            Field {
                name: name.clone(),
                type_text,
                shape: Shape::Column { column: name.clone(), value },
                optional: self.is_nullable(name),
                hidden: false,
            }
        });
        flat.collect()
    }
}

/// Whether a model has no fields: a tag alone is not a model.
fn is_empty(shape: &Shape) -> bool {
    matches!(shape, Shape::Model { fields, tag: None, .. } if fields.is_empty())
}

fn is_system(column: &str) -> bool {
    matches!(column, "sys__id" | "sys__rand")
}

/// A type of `schema`: `{"type":"Array","item_type":{"type":"Float"}}` is `Array[Float]`.
fn stored_type(json: &Value) -> Option<String> {
    let name = json.get("type")?.as_str()?;
    match json.get("item_type").and_then(stored_type) {
        Some(item) => Some(format!("{name}[{item}]")),
        None => Some(name.into()),
    }
}

/// The Files of a tree, outer before inner.
fn collect_files(fields: &[Field], above: &str, files: &mut Vec<FileColumn>) {
    for field in fields {
        let Shape::Model { file, fields, .. } = &field.shape else { continue };
        let name = format!("{above}{}", field.name);
        let below = format!("{name}.");
        if *file {
            files.push(file_column(name, fields));
        }
        collect_files(fields, &below, files);
    }
}

fn file_column(name: String, fields: &[Field]) -> FileColumn {
    let mut file = FileColumn { name, ..FileColumn::default() };
    for field in fields {
        let Shape::Column { column, .. } = &field.shape else { continue };
        if let Some(part) = part(&mut file, &field.name) {
            *part = Some(column.clone());
        }
    }
    file
}

/// The slot of a File for the column of its field `name`.
fn part<'f>(file: &'f mut FileColumn, name: &str) -> Option<&'f mut Option<String>> {
    match name {
        "source" => Some(&mut file.source),
        "path" => Some(&mut file.path),
        "size" => Some(&mut file.size),
        "version" => Some(&mut file.version),
        "etag" => Some(&mut file.etag),
        "last_modified" => Some(&mut file.last_modified),
        "location" => Some(&mut file.location),
        _ => None,
    }
}

/// Files among columns without models: `x__source` beside `x__path`, at the position of `x__path`.
fn flat_files(flat: &[Field]) -> Vec<FileColumn> {
    let names: HashSet<&str> = flat.iter().map(|field| field.name.as_str()).collect();
    let prefixes = flat.iter().filter_map(|field| field.name.strip_suffix("__path"));
    let files = prefixes.filter(|prefix| names.contains(format!("{prefix}__source").as_str()));
    files.map(|prefix| flat_file(prefix, &names)).collect()
}

fn flat_file(prefix: &str, names: &HashSet<&str>) -> FileColumn {
    let mut file = FileColumn { name: prefix.replace("__", "."), ..FileColumn::default() };
    for name in ["source", "path", "size", "version", "etag", "last_modified", "location"] {
        let column = format!("{prefix}__{name}");
        if let Some(part) = part(&mut file, name).filter(|_| names.contains(column.as_str())) {
            *part = Some(column);
        }
    }
    file
}

#[cfg(test)]
mod tests;
