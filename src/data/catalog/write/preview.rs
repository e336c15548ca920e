//! `preview`: the first rows of a version as JSON, which DataChain stores for its pages.

use rusqlite::Connection;
use rusqlite::types::ValueRef;
use serde_json::{Map, Value};

use crate::catalog::columns::identifier;
use crate::catalog::error::Error;
use dcfs_core::cell::{Cell, Cells};
use dcfs_core::schema::{Layout, NewColumn};
use dcfs_core::time::Timestamp;

/// Rows of a preview.
pub const ROWS: u32 = 20;

/// The most bytes of a blob that are shown.
const BYTES: usize = 1024;

/// The first rows of a stage.
pub fn of(connection: &Connection, stage: &str, layout: &Layout) -> Result<String, Error> {
    let columns = layout.columns.iter();
    let columns: Vec<(&NewColumn, String)> =
        columns.filter_map(|column| Some((column, identifier(&column.name)?))).collect();
    let list: Vec<&str> = columns.iter().map(|(_, quoted)| quoted.as_str()).collect();
    let list = [&["sys__id", "sys__rand"], &list[..]].concat().join(", ");
    let sql = format!("SELECT {list} FROM \"{stage}\" ORDER BY sys__id LIMIT {ROWS}");
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    let columns: Vec<&NewColumn> = columns.into_iter().map(|(column, _)| column).collect();
    let mut preview = Vec::new();
    while let Some(row) = rows.next()? {
        let cells: Vec<Cell<'_>> = (0..columns.len() + 2)
            .map(|at| Ok(of_value(row.get_ref(at)?)))
            .collect::<rusqlite::Result<_>>()?;
        preview.push(self::row(&columns, &&cells[..]));
    }
    Ok(Value::Array(preview).to_string())
}

pub fn of_value(value: ValueRef<'_>) -> Cell<'_> {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(n) => Cell::Integer(n),
        ValueRef::Real(x) => Cell::Real(x),
        ValueRef::Text(text) => Cell::Text(text),
        ValueRef::Blob(bytes) => Cell::Blob(bytes),
    }
}

/// One row: `sys__id`, `sys__rand`, and a cell for each column.
pub fn row(columns: &[&NewColumn], cells: &dyn Cells) -> Value {
    let mut shown = Map::new();
    for (at, name) in ["sys__id", "sys__rand"].into_iter().enumerate() {
        shown.insert(name.into(), value(cells.cell(at), "INTEGER"));
    }
    for (at, column) in columns.iter().enumerate() {
        shown.insert(column.name.clone(), value(cells.cell(at + 2), column.declared));
    }
    Value::Object(shown)
}

/// One cell. A value that JSON cannot express (an infinity, a blob in a column of another type) is
/// null.
fn value(cell: Cell<'_>, declared: &str) -> Value {
    let text = |text| String::from_utf8_lossy(text).into_owned();
    match (cell, declared) {
        (Cell::Null, _) => Value::Null,
        (Cell::Integer(n), "BOOLEAN") => Value::Bool(n != 0),
        (Cell::Integer(n), _) => n.into(),
        (Cell::Real(x), _) => x.into(),
        (Cell::Blob(bytes), _) => bytes.iter().take(BYTES).copied().collect::<Vec<u8>>().into(),
        (Cell::Text(said), "DATETIME") if let Some(time) = Timestamp::parse(&text(said)) => {
            time.rfc3339().into()
        }
        (Cell::Text(said), "JSON" | "ARRAY") => {
            serde_json::from_slice(said).unwrap_or_else(|_| text(said).into())
        }
        (Cell::Text(said), _) => text(said).into(),
    }
}
