//! The columns of a version for people: the tree that DataChain's `print(chain.schema)` prints,
//! also for models inside lists.
//!
//! ```text
//! file: File@v1
//!   path: str
//! boxes: list[BBox@v1]
//!   * list of: BBox@v1
//!     coords: list[int]
//! ```

use std::fmt::Write as _;

use super::markdown::visible;
use crate::annotation::Annotations;
use crate::schema::{Field, Schema, Shape, Type, ValueType};

/// The most characters of a name or a type.
const LONGEST: usize = 200;

/// The indent per level, in columns.
const INDENT: usize = 2;

/// The tree, one line for each column or model.
pub fn tree(schema: &Schema) -> String {
    described(schema, &Annotations::new())
}

/// The tree with people's annotations on each line.
pub fn described(schema: &Schema, said: &Annotations) -> String {
    let mut out = String::new();
    schema.signals.iter().for_each(|signal| field(signal, &signal.name, said, 0, &mut out));
    out
}

fn field(field: &Field, path: &str, said: &Annotations, depth: usize, out: &mut String) {
    line(&field.name, &field.type_text, depth, out);
    if let Some(said) = said.get(path) {
        out.pop();
        let _ = writeln!(out, "  # {}", visible(&said.line(), LONGEST));
    }
    match &field.shape {
        Shape::Model { fields, .. } => fields.iter().for_each(|below| {
            self::field(below, &format!("{path}.{}", below.name), said, depth + 1, out);
        }),
        Shape::Column { value, .. } => items(value, &field.type_text, depth, out),
    }
}

/// Adds the models that a list holds.
fn items(value: &ValueType, type_text: &str, depth: usize, out: &mut String) {
    let ValueType::List(item) = value else { return };
    let ValueType::Model(fields) = &**item else { return };
    line("* list of", &item_of(type_text).unwrap_or_else(|| "model".into()), depth + 1, out);
    for (name, value) in fields {
        let text = written(value);
        line(name, &text, depth + 2, out);
        items(value, &text, depth + 2, out);
    }
}

fn line(name: &str, type_text: &str, depth: usize, out: &mut String) {
    let (name, type_text) = (visible(name, LONGEST), visible(type_text, LONGEST));
    let _ = writeln!(out, "{:depth$}{name}: {type_text}", "", depth = depth * INDENT);
}

/// `BBox@v1` of `list[BBox@v1]` and of `Optional[list[BBox@v1]]`.
fn item_of(type_text: &str) -> Option<String> {
    let parsed = Type::parse(type_text)?;
    match parsed.unwrap_optional().0 {
        Type::Of("list", items) => match items.first()?.unwrap_optional().0 {
            Type::Name(name) => Some((*name).to_owned()),
            Type::Of(..) => None,
        },
        _ => None,
    }
}

/// The type of a value inside a model inside a list, which DataChain stores only with the model.
fn written(value: &ValueType) -> String {
    match value {
        ValueType::Bool => "bool".into(),
        ValueType::Int => "int".into(),
        ValueType::Float => "float".into(),
        ValueType::Text => "str".into(),
        ValueType::Time => "datetime".into(),
        ValueType::Bytes => "bytes".into(),
        ValueType::List(item) => format!("list[{}]", written(item)),
        ValueType::Model(_) => "model".into(),
        ValueType::Json => "dict".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_nest_and_lists_tell_what_they_hold() {
        let features = r#"{"file": "File@v1", "boxes": "list[BBox@v1]", "n": "Optional[int]", "tags": "list[str]",
            "_custom_types": {"File@v1": {"source": "str", "path": "str"},
            "BBox@v1": {"schema_version": 2, "fields": {"title": "str", "coords": "list[int]"}}}}"#;
        let table = ["file__source", "file__path", "boxes", "n", "tags"];
        let table: Vec<_> = table.iter().map(|name| ((*name).into(), String::new())).collect();
        let schema = Schema::parse(features, "{}", &table).expect("a schema");
        let want = "\
file: File@v1
  source: str
  path: str
boxes: list[BBox@v1]
  * list of: BBox@v1
    title: str
    coords: list[int]
n: Optional[int]
tags: list[str]
";
        assert_eq!(tree(&schema), want);
    }
}
