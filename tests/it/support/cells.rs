//! Cells and rows for [`super::catalog`]: any value of SQLite anywhere.

use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, ValueRef};

/// The columns of a File, as DataChain declares, types and stores them.
pub(super) const FILE: [(&str, &str, &str, &str); 8] = [
    ("source", "VARCHAR", "str", "String"),
    ("path", "VARCHAR", "str", "String"),
    ("size", "INTEGER", "int", "Int64"),
    ("version", "VARCHAR", "str", "String"),
    ("etag", "VARCHAR", "str", "String"),
    ("is_latest", "BOOLEAN", "bool", "Boolean"),
    ("last_modified", "DATETIME", "datetime", "DateTime"),
    ("location", "JSON", "Union[dict, list[dict], NoneType]", "JSON"),
];

/// The time of everything in a built catalog.
pub(super) const NOW: &str = "2024-01-02 03:04:05.123456";

/// One cell, of any of SQLite's types; text need not be UTF-8.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Null,
    Int(i64),
    Real(f64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

impl From<i64> for Cell {
    fn from(n: i64) -> Self {
        Self::Int(n)
    }
}

impl From<f64> for Cell {
    fn from(x: f64) -> Self {
        Self::Real(x)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.as_bytes().to_vec())
    }
}

impl From<&[u8]> for Cell {
    fn from(text: &[u8]) -> Self {
        Self::Text(text.to_vec())
    }
}

impl From<Vec<u8>> for Cell {
    fn from(text: Vec<u8>) -> Self {
        Self::Text(text)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text.into_bytes())
    }
}

impl<T: Into<Self>> From<Option<T>> for Cell {
    fn from(cell: Option<T>) -> Self {
        cell.map_or(Self::Null, Into::into)
    }
}

impl ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(n) => ValueRef::Integer(*n),
            Self::Real(x) => ValueRef::Real(*x),
            Self::Text(text) => ValueRef::Text(text),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// The eight cells of a File. Public, so that a test can put anything anywhere.
#[derive(Clone, Debug, PartialEq)]
pub struct FileCells {
    pub source: Cell,
    pub path: Cell,
    pub size: Cell,
    pub version: Cell,
    pub etag: Cell,
    pub last_modified: Cell,
    pub location: Cell,
}

/// An object of 0 bytes at `path` in `source`, with neither version nor etag.
pub fn file(source: impl Into<Cell>, path: impl Into<Cell>) -> FileCells {
    FileCells {
        source: source.into(),
        path: path.into(),
        size: Cell::Int(0),
        version: "".into(),
        etag: "".into(),
        last_modified: NOW.into(),
        location: Cell::Null,
    }
}

impl FileCells {
    pub fn size(self, size: impl Into<Cell>) -> Self {
        Self { size: size.into(), ..self }
    }

    pub fn version(self, version: impl Into<Cell>) -> Self {
        Self { version: version.into(), ..self }
    }

    pub fn etag(self, etag: impl Into<Cell>) -> Self {
        Self { etag: etag.into(), ..self }
    }

    pub fn last_modified(self, time: impl Into<Cell>) -> Self {
        Self { last_modified: time.into(), ..self }
    }

    pub fn location(self, location: impl Into<Cell>) -> Self {
        Self { location: location.into(), ..self }
    }
}

/// One row: its cells in the order of the version's columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    pub(super) id: Option<i64>,
    pub(super) cells: Vec<Cell>,
}

/// A row with no cells yet, whose `sys__id` is the one after the last.
pub fn row() -> Row {
    Row::default()
}

impl Row {
    /// Its `sys__id`.
    pub fn id(self, id: i64) -> Self {
        Self { id: Some(id), ..self }
    }

    /// The cells of one File column.
    pub fn file(mut self, of: FileCells) -> Self {
        let latest = Cell::Int(1);
        let FileCells { source, path, size, version, etag, last_modified, location } = of;
        self.cells.extend([source, path, size, version, etag, latest, last_modified, location]);
        self
    }

    /// A File column in which this row names no object.
    pub fn no_file(mut self) -> Self {
        self.cells.extend(vec![Cell::Null; FILE.len()]);
        self
    }

    /// One cell.
    pub fn cell(mut self, cell: impl Into<Cell>) -> Self {
        self.cells.push(cell.into());
        self
    }
}
