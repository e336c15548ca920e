//! `preview`: the first rows of a version as JSON, which DataChain stores for its pages.

use rusqlite::Connection;
use rusqlite::types::ValueRef;
use serde_json::{Map, Value};

use crate::catalog::columns::identifier;
use crate::catalog::error::Error;
use crate::catalog::sqlite::cell;
use dcfs_core::schema::{Layout, NewColumn};

/// Rows of a preview.
const ROWS: u32 = 20;

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
    let mut preview = Vec::new();
    while let Some(row) = rows.next()? {
        let mut shown = Map::new();
        for (at, name) in ["sys__id", "sys__rand"].into_iter().enumerate() {
            shown.insert(name.into(), value(row.get_ref(at)?, "INTEGER"));
        }
        for (at, (column, _)) in columns.iter().enumerate() {
            shown.insert(column.name.clone(), value(row.get_ref(at + 2)?, column.declared));
        }
        preview.push(Value::Object(shown));
    }
    Ok(Value::Array(preview).to_string())
}

/// One cell. A value that JSON cannot express (an infinity, a blob in a column of another type) is
/// null.
fn value(cell: ValueRef<'_>, declared: &str) -> Value {
    match (cell, declared) {
        (ValueRef::Null, _) => Value::Null,
        (ValueRef::Integer(n), "BOOLEAN") => Value::Bool(n != 0),
        (ValueRef::Integer(n), _) => n.into(),
        (ValueRef::Real(x), _) => x.into(),
        (ValueRef::Blob(bytes), _) => bytes.iter().take(BYTES).copied().collect::<Vec<u8>>().into(),
        (ValueRef::Text(_), "DATETIME") if let Some(time) = cell::time(cell) => {
            time.rfc3339().into()
        }
        (ValueRef::Text(text), "JSON" | "ARRAY") => {
            serde_json::from_slice(text).unwrap_or_else(|_| cell::text(cell).into())
        }
        (ValueRef::Text(_), _) => cell::text(cell).into(),
    }
}
