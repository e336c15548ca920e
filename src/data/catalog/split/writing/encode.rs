//! Columns of tables that are written to ClickHouse, and cells in its `RowBinary`.
//!
//! A cell means there what it means in SQLite: whole numbers have 64 bits, other numbers are double, every scalar may be NULL, and
//! JSON is text. Lists of scalars are `Array`, which knows no NULL: such a list is empty, as DataChain has it. A number in a
//! column of text becomes text, and a whole number in a column of floats one of those; any other cell that is not of its
//! column's type is refused.

use serde_json::Value;

use super::super::table::{Known, identifier};
use super::super::types::Kind;
use crate::catalog::write::Refused;
use dcfs_core::cell::Cell;
use dcfs_core::json;
use dcfs_core::schema::{Layout, NewColumn};
use dcfs_core::time::Timestamp;

/// The deepest lists within lists that are kept as such.
const DEEPEST: usize = 8;

/// A column that is written.
#[derive(Debug)]
pub struct Column {
    pub name: String,
    /// For SQL.
    pub quoted: String,
    form: Form,
    is_source: bool,
    /// Of a list that is kept as JSON: whether its items are JSON, too.
    of_json: bool,
}

/// How values are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    Int,
    Unsigned,
    Float,
    Bool,
    Text,
    Moment,
    List(Box<Form>),
}

impl Form {
    fn of(declared: &str, said: &Value) -> Self {
        let told = said.get("type").and_then(Value::as_str).unwrap_or_default();
        match declared {
            "INTEGER" if told == "UInt64" => Self::Unsigned,
            "INTEGER" => Self::Int,
            "FLOAT" => Self::Float,
            "BOOLEAN" => Self::Bool,
            "DATETIME" => Self::Moment,
            "ARRAY" => Self::list(said, DEEPEST).unwrap_or(Self::Text),
            _ => Self::Text,
        }
    }

    /// A list by what `schema` says of it; `None` for one that is kept as JSON.
    fn list(said: &Value, depth: usize) -> Option<Self> {
        let depth = depth.checked_sub(1)?;
        let item = said.get("item_type")?;
        if item.get("dc_nullable").and_then(Value::as_bool) == Some(true) {
            return None;
        }
        let item = match item.get("type")?.as_str()? {
            "Int" | "Int64" | "Int32" | "UInt32" => Self::Int,
            "Float" | "Float32" | "Float64" => Self::Float,
            "Boolean" => Self::Bool,
            "String" => Self::Text,
            "Array" => Self::list(item, depth)?,
            _ => return None,
        };
        Some(Self::List(item.into()))
    }

    /// The name of the type, without NULL.
    fn plain(&self) -> String {
        match self {
            Self::Int => "Int64".into(),
            Self::Unsigned => "UInt64".into(),
            Self::Float => "Float64".into(),
            Self::Bool => "Bool".into(),
            Self::Text => "String".into(),
            Self::Moment => "DateTime64(6, 'UTC')".into(),
            Self::List(item) => format!("Array({})", item.plain()),
        }
    }
}

impl Column {
    /// Each column of a layout.
    pub fn all(layout: &Layout) -> Vec<Self> {
        let types: Value = serde_json::from_str(&layout.types).unwrap_or_default();
        layout.columns.iter().map(|column| Self::new(column, &types[&column.name])).collect()
    }

    fn new(column: &NewColumn, said: &Value) -> Self {
        let NewColumn { name, declared } = column;
        Self {
            name: name.clone(),
            quoted: identifier(name),
            form: Form::of(declared, said),
            is_source: name.ends_with("__source"),
            of_json: *declared == "ARRAY" && said["item_type"]["type"].as_str() == Some("JSON"),
        }
    }

    /// Its type, for SQL.
    pub fn kind(&self) -> String {
        match &self.form {
            Form::List(_) => self.form.plain(),
            // A few, which repeat.
            Form::Text if self.is_source => "LowCardinality(Nullable(String))".into(),
            form => format!("Nullable({})", form.plain()),
        }
    }

    /// SQL for the values of a column of another table, `known`, which `readable` reads.
    pub fn taken(&self, known: Option<&Known>, readable: String) -> String {
        let is_array = |known: &&Known| matches!(Kind::parse(&known.kind), Some(Kind::Array(_)));
        match known.filter(is_array) {
            Some(known) if self.form == Form::Text => match self.of_json {
                // Each item is JSON already.
                true if known.kind == "Array(String)" => {
                    format!("concat('[', arrayStringConcat({readable}, ','), ']')")
                }
                _ => format!("toJSONString({readable})"),
            },
            _ => readable,
        }
    }

    /// The same as rows have it that are sent.
    pub fn sent(&self) -> String {
        match &self.form {
            Form::List(_) => self.form.plain(),
            form => format!("Nullable({})", form.plain()),
        }
    }

    /// Adds a cell to a row of [`Column::sent`] types.
    ///
    /// # Errors
    /// A cell of another type.
    pub fn put(&self, cell: &Cell<'_>, out: &mut Vec<u8>) -> Result<(), Refused> {
        let refused = || Refused::Cell {
            column: self.name.clone(),
            kind: self.form.plain(),
            cell: shown(cell),
        };
        match (&self.form, cell) {
            (Form::List(_), Cell::Null) => out.push(0),
            (Form::List(item), Cell::Text(text) | Cell::Blob(text)) => {
                let start = out.len();
                if list(item, text, out).is_none() {
                    out.truncate(start);
                    return Err(refused());
                }
            }
            (Form::List(_), _) => return Err(refused()),
            (_, Cell::Null) => out.push(1),
            (form, cell) => {
                out.push(0);
                scalar(form, cell, out).ok_or_else(refused)?;
            }
        }
        Ok(())
    }
}

fn scalar(form: &Form, cell: &Cell<'_>, out: &mut Vec<u8>) -> Option<()> {
    match (form, *cell) {
        (Form::Int, Cell::Integer(n)) => out.extend(n.to_le_bytes()),
        (Form::Unsigned, Cell::Integer(n)) => out.extend(u64::try_from(n).ok()?.to_le_bytes()),
        (Form::Float, Cell::Real(x)) => out.extend(x.to_le_bytes()),
        // As SQLite does in a column of floats.
        (Form::Float, Cell::Integer(n)) => out.extend((n as f64).to_le_bytes()),
        (Form::Bool, Cell::Integer(n @ (0 | 1))) => out.push(u8::try_from(n).ok()?),
        (Form::Text, Cell::Text(said) | Cell::Blob(said)) => text(said, out),
        (Form::Text, Cell::Integer(n)) => text(n.to_string().as_bytes(), out),
        (Form::Text, Cell::Real(x)) => text(format!("{x:?}").as_bytes(), out),
        (Form::Moment, Cell::Text(said)) => {
            let time = Timestamp::parse(std::str::from_utf8(said).ok()?)?;
            out.extend(time.micros().to_le_bytes());
        }
        _ => return None,
    }
    Some(())
}

/// The items of a list that is JSON; `None` where one is of another type.
fn list(item: &Form, said: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let items = json::items(said)?;
    length(items.len(), out);
    for said in items {
        let plain = std::str::from_utf8(said).ok()?;
        match item {
            Form::Int => out.extend(plain.parse::<i64>().ok()?.to_le_bytes()),
            Form::Float => out.extend(float(plain)?.to_le_bytes()),
            Form::Bool => out.push(plain.parse::<bool>().ok()?.into()),
            Form::Text => text(json::text(said)?.as_bytes(), out),
            Form::List(inner) => list(inner, said, out)?,
            Form::Unsigned | Form::Moment => return None,
        }
    }
    Some(())
}

/// A number of a list; NaN is kept there, where none is written as NULL.
fn float(text: &str) -> Option<f64> {
    match text {
        "null" | "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        text => text.parse().ok(),
    }
}

fn text(said: &[u8], out: &mut Vec<u8>) {
    length(said.len(), out);
    out.extend_from_slice(said);
}

/// A length in LEB128, 7 bits a byte.
fn length(mut n: usize, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// A cell for a message: what it is, and its beginning.
fn shown(cell: &Cell<'_>) -> String {
    match cell {
        Cell::Null => "NULL".into(),
        Cell::Integer(n) => n.to_string(),
        Cell::Real(x) => format!("{x:?}"),
        Cell::Text(text) | Cell::Blob(text) => {
            let said = String::from_utf8_lossy(text);
            said.chars().take(40).collect::<String>().escape_debug().to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::types::RowBuffer;
    use super::*;

    use dcfs_core::cell::Cells as _;
    use proptest::prelude::*;

    fn column(declared: &'static str, said: &str) -> Column {
        let said = serde_json::from_str(said).expect("JSON");
        Column::new(&NewColumn { name: "c".into(), declared }, &said)
    }

    /// What comes back of a cell that was sent.
    fn back(column: &Column, cell: Cell<'_>) -> RowBuffer {
        let mut bytes = Vec::new();
        column.put(&cell, &mut bytes).unwrap_or_else(|error| panic!("{cell:?}: {error}"));
        let kind = Kind::parse(&column.sent()).expect("a type that is read");
        let mut row = RowBuffer::default();
        assert_eq!(row.read(&[kind], &bytes), Ok(bytes.len()), "{cell:?}");
        row
    }

    #[test]
    fn a_cell_comes_back_as_it_was() {
        let list = |item: &str| {
            format!("{{\"type\": \"Array\", \"item_type\": {{\"type\": \"{item}\"}}}}")
        };
        let nested = "{\"type\": \"Array\", \"item_type\": {\"type\": \"Array\", \"item_type\": {\"type\": \"Int64\"}}}";
        let cases: &[(&'static str, &str, Cell<'_>)] = &[
            ("INTEGER", "{}", Cell::Integer(i64::MIN)),
            ("INTEGER", "{}", Cell::Null),
            ("INTEGER", "{\"type\": \"UInt64\"}", Cell::Integer(i64::MAX)),
            ("FLOAT", "{}", Cell::Real(-0.1)),
            ("FLOAT", "{}", Cell::Real(f64::INFINITY)),
            ("BOOLEAN", "{}", Cell::Integer(1)),
            ("VARCHAR", "{}", Cell::Text(b"a\0\xff")),
            ("JSON", "{}", Cell::Text(b"{\"a\":1.0}")),
            ("DATETIME", "{}", Cell::Text(b"0001-01-01 00:00:00.000001")),
            ("ARRAY", &list("Float"), Cell::Text(b"[0.1,-2.0,NaN]")),
            ("ARRAY", &list("String"), Cell::Text("[\"a\\\"\u{e9}\",\"\"]".as_bytes())),
            ("ARRAY", &list("JSON"), Cell::Text(b"[{\"a\":1}]")),
            ("ARRAY", nested, Cell::Text(b"[[1,2],[]]")),
            ("ARRAY", "{}", Cell::Null),
        ];
        for (declared, said, cell) in cases {
            assert_eq!(back(&column(declared, said), *cell).cell(0), *cell, "{declared} {said}");
        }
        assert_eq!(back(&column("ARRAY", &list("Int64")), Cell::Null).cell(0), Cell::Text(b"[]"));
    }

    #[test]
    fn a_cell_of_another_type_is_refused() {
        let list = "{\"type\": \"Array\", \"item_type\": {\"type\": \"Int64\"}}";
        let cases: &[(&'static str, &str, Cell<'_>)] = &[
            ("INTEGER", "{}", Cell::Text(b"1")),
            ("INTEGER", "{}", Cell::Real(1.5)),
            ("INTEGER", "{\"type\": \"UInt64\"}", Cell::Integer(-1)),
            ("BOOLEAN", "{}", Cell::Integer(2)),
            ("DATETIME", "{}", Cell::Text(b"soon")),
            ("ARRAY", list, Cell::Text(b"[1, null]")),
            ("ARRAY", list, Cell::Text(b"[1.5]")),
            ("ARRAY", list, Cell::Integer(1)),
        ];
        for (declared, said, cell) in cases {
            let mut out = b"kept".to_vec();
            assert!(column(declared, said).put(cell, &mut out).is_err(), "{declared} {cell:?}");
        }
    }

    proptest! {
        #[test]
        fn numbers_and_texts_survive(n in any::<i64>(), x in any::<f64>(), text in ".*") {
            let row = back(&column("INTEGER", "{}"), Cell::Integer(n));
            prop_assert_eq!(row.cell(0), Cell::Integer(n));
            if !x.is_nan() {
                let row = back(&column("FLOAT", "{}"), Cell::Real(x));
                prop_assert_eq!(row.cell(0), Cell::Real(x));
            }
            let text = Cell::Text(text.as_bytes());
            let row = back(&column("VARCHAR", "{}"), text);
            prop_assert_eq!(row.cell(0), text);
        }
    }
}
