//! Conditions that find the row of a parent, as filters of its columns.

use std::sync::Arc;

use dcfs_core::cell::Cell;
use dcfs_core::expr::{Column, Comparison, Expr, Form, Value};
use dcfs_core::object::Object;
use dcfs_core::schema::{FileColumn, ValueType};

/// Conditions for a File column to name the given object.
pub fn same_object(file: &FileColumn, object: &Object) -> Vec<Expr> {
    let Ok(path) = std::str::from_utf8(&object.path) else { return Vec::new() };
    let parts = [
        ("path", &file.path, path),
        ("source", &file.source, object.source.as_str()),
        ("version", &file.version, object.version.as_str()),
        ("etag", &file.etag, object.etag.as_str()),
    ];
    let condition = |(part, column, text): (&str, &Option<String>, &str)| {
        let column = column.clone().filter(|_| !text.is_empty())?;
        let name = format!("{}.{part}", file.name);
        let column = Column { name, column, value: ValueType::Text, form: Form::Text };
        Some(equal(Arc::new(column), Value::Text(text.to_owned())))
    };
    parts.into_iter().filter_map(condition).collect()
}

/// The condition for a column to equal a cell; `None` if the two cannot be compared.
pub fn is_equal(column: Arc<Column>, cell: Cell<'_>) -> Option<Expr> {
    let value = match (cell, column.form) {
        (Cell::Null, _) => return Some(Expr::IsNull(Expr::Column(column).into())),
        (Cell::Integer(n), Form::Bool) => Value::Bool(n != 0),
        (Cell::Integer(n), Form::Int) => Value::Int(n),
        (Cell::Text(text), Form::Text) => Value::Text(std::str::from_utf8(text).ok()?.to_owned()),
        _ => return None,
    };
    Some(equal(column, value))
}

fn equal(column: Arc<Column>, value: Value) -> Expr {
    Expr::Compare(Comparison::Equal, Expr::Column(column).into(), Expr::Value(value).into())
}

/// The packed form of a column of exact values; other columns are not compared.
pub fn form(value: &ValueType) -> Option<Form> {
    match value {
        ValueType::Bool => Some(Form::Bool),
        ValueType::Int => Some(Form::Int),
        ValueType::Text => Some(Form::Text),
        _ => None,
    }
}
