//! Values decoded from the cells of a dataset, by the schema that dcfs reads.

use std::ops::ControlFlow;

use dcfs_core::cell::{Cell, Cells};
use dcfs_core::id::RowId;
use dcfs_core::json;
use dcfs_core::schema::{Field, Schema, Shape, ValueType};
use dcfs_core::time::Timestamp;
use dcfs_data::catalog::Catalog;
use serde_json::{Value as Json, json};

use crate::Result;
use crate::value::Value;

/// The contents of the latest version of `name`, as the program prints them.
pub fn dataset(catalog: &Catalog, name: &str) -> Result<Json> {
    let of = catalog.find(&name.parse()?)?;
    let schema = catalog.schema(&of)?;
    let mut columns = Vec::new();
    schema.signals.iter().for_each(|field| gather(field, &mut columns));
    let mut rows = Vec::new();
    let mut each = |_: RowId, cells: &dyn Cells| {
        rows.push(row(&schema, cells));
        Ok(ControlFlow::Continue(()))
    };
    catalog.cells(&of, &columns, &mut std::iter::once(RowId::ALL), &mut each)?;
    let signals: Vec<Json> = schema.signals.iter().map(signal).collect();
    Ok(json!({"signals": signals, "rows": rows}))
}

fn row(schema: &Schema, cells: &dyn Cells) -> Json {
    let mut at = 0;
    schema.signals.iter().map(|field| value(field, cells, &mut at).json()).collect()
}

/// The columns below a field: the tag of an optional model before those of its fields.
fn gather(field: &Field, columns: &mut Vec<String>) {
    match &field.shape {
        Shape::Column { column, .. } => columns.push(column.clone()),
        Shape::Model { fields, tag, .. } => {
            columns.extend(tag.clone());
            fields.iter().for_each(|field| gather(field, columns));
        }
    }
}

/// Mirrors [`gather`].
fn value(field: &Field, cells: &dyn Cells, at: &mut usize) -> Value {
    let mut next = || {
        *at += 1;
        cells.cell(*at - 1)
    };
    match &field.shape {
        Shape::Column { value, .. } => of_cell(value, next()),
        Shape::Model { fields, tag, .. } => {
            let is_there = tag.is_none() || next() == Cell::Integer(0);
            let values = fields.iter().map(|f| (f.name.clone(), self::value(f, cells, at)));
            let values: Vec<_> = values.collect();
            if is_there { Value::Model(values) } else { Value::Nothing }
        }
    }
}

fn of_cell(value: &ValueType, cell: Cell<'_>) -> Value {
    match (value, cell) {
        (_, Cell::Null) => Value::Nothing,
        (ValueType::Int, Cell::Integer(n)) => Value::Int(n),
        (ValueType::Bool, Cell::Integer(n @ (0 | 1))) => Value::Bool(n == 1),
        (ValueType::Float, Cell::Real(x)) => Value::Float(x),
        (ValueType::Text, Cell::Text(text)) => Value::Text(utf8(text)),
        (ValueType::Time, Cell::Text(text)) => {
            Value::Time(Timestamp::parse(&utf8(text)).expect("a time").micros())
        }
        (ValueType::Bytes, Cell::Blob(bytes)) => Value::Bytes(bytes.to_owned()),
        (ValueType::List(_) | ValueType::Json, Cell::Text(text)) => of_json(value, text),
        (value, cell) => panic!("{cell:?} is no {value:?}"),
    }
}

fn of_json(value: &ValueType, text: &[u8]) -> Value {
    match value {
        _ if text == b"null" => Value::Nothing,
        ValueType::List(item) => {
            let items = json::items(text).expect("a list");
            Value::List(items.into_iter().map(|text| of_json(item, text)).collect())
        }
        ValueType::Json => {
            let fields = json::fields(text).expect("an object").into_iter();
            Value::Dict(fields.map(|(key, text)| (key, of_json(&ValueType::Text, text))).collect())
        }
        ValueType::Text => Value::Text(json::text(text).expect("a text")),
        ValueType::Time => {
            let text = json::text(text).expect("a text");
            Value::Time(Timestamp::parse(&text).unwrap_or_else(|| panic!("{text}")).micros())
        }
        ValueType::Float => Value::Float(match text {
            b"Infinity" => f64::INFINITY,
            b"-Infinity" => f64::NEG_INFINITY,
            text => utf8(text).parse().expect("a number"),
        }),
        ValueType::Int => Value::Int(utf8(text).parse().expect("a number")),
        ValueType::Bool => Value::Bool(text == b"true"),
        other => panic!("{other:?} in JSON"),
    }
}

fn utf8(text: &[u8]) -> String {
    String::from_utf8(text.to_owned()).expect("UTF-8")
}

/// In the form of `value::signal`.
fn signal(field: &Field) -> Json {
    let kind = match &field.shape {
        Shape::Column { value, .. } => json!(word(value)),
        Shape::Model { file: true, .. } => json!("file"),
        Shape::Model { model, .. } if model == "Image" => json!("image"),
        Shape::Model { fields, .. } => fields.iter().map(signal).collect(),
    };
    json!([field.name, kind, field.optional])
}

fn word(value: &ValueType) -> String {
    match value {
        ValueType::Text => "str".into(),
        ValueType::Int => "int".into(),
        ValueType::Float => "float".into(),
        ValueType::Bool => "bool".into(),
        ValueType::Time => "datetime".into(),
        ValueType::Bytes => "bytes".into(),
        ValueType::List(item) => format!("list[{}]", word(item)),
        ValueType::Json => "dict".into(),
        ValueType::Model(_) => "model".into(),
    }
}
