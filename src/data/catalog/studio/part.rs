//! One part of an export: Parquet within LZ4 frames, and its values as cells.
//!
//! DataChain's client reads parts with pandas and lets SQLite's adapters write the values; the cells here are those that it writes:
//! times, which come as seconds, as text, rounded to microseconds; lists as JSON that is equal in meaning; `sys__id` made anew.

use std::fs::File;
use std::io::{self, Read};

use dcfs_core::cell::{Cell, OwnedCell};
use dcfs_core::time::Timestamp;
use lz4_flex::frame::FrameDecoder;
use parquet::record::{Field, Row};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::http::Body;
use crate::parquet_file::{Fault, Rows};

/// The largest part, decompressed, in bytes. DataChain's client holds a part in memory as a whole.
const MOST: u64 = 8 << 30;

/// The beginning of the columns that every row table has, and the one that is kept of them.
const OWN: &str = "sys__";
const RANDOM: &str = "sys__rand";

/// A column that a schema names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub kind: ColumnType,
}

/// The types of DataChain's columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    Text,
    Bool,
    Int,
    Float,
    List,
    Json,
    Time,
    Bytes,
}

impl ColumnType {
    /// The type of a name in `schema`.
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "String" => Self::Text,
            "Boolean" => Self::Bool,
            "Int" | "Int32" | "UInt32" | "Int64" | "UInt64" => Self::Int,
            "Float" | "Float32" | "Float64" => Self::Float,
            "Array" => Self::List,
            "JSON" => Self::Json,
            "DateTime" => Self::Time,
            "Binary" => Self::Bytes,
            _ => return None,
        })
    }

    /// The type that SQLite's table declares.
    pub const fn declared(self) -> &'static str {
        match self {
            Self::Text => "VARCHAR",
            Self::Bool => "BOOLEAN",
            Self::Int => "INTEGER",
            Self::Float => "FLOAT",
            Self::List => "ARRAY",
            Self::Json => "JSON",
            Self::Time => "DATETIME",
            Self::Bytes => "BINARY",
        }
    }

    /// For messages.
    const fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Bool => "a boolean",
            Self::Int => "a whole number of 64 bits",
            Self::Float => "a number",
            Self::List => "a list",
            Self::Json => "JSON",
            Self::Time => "a time",
            Self::Bytes => "bytes",
        }
    }
}

/// The columns that a `schema` names, without those of every table.
///
/// # Errors
/// A description: not a schema, or one with a type that is not known.
pub fn columns(schema: &str) -> Result<Vec<Column>, String> {
    let found: Map<String, Value> =
        serde_json::from_str(schema).map_err(|_| "it is not a JSON object".to_owned())?;
    let columns = found.into_iter().filter(|(name, _)| !name.starts_with(OWN));
    columns
        .map(|(name, told)| {
            let kind = told.get("type").and_then(Value::as_str).unwrap_or_default();
            let unknown = || {
                let (name, kind) = (name.escape_debug(), kind.escape_debug());
                format!("the type `{kind}` of the column `{name}` is not known")
            };
            let kind = ColumnType::named(kind).ok_or_else(unknown)?;
            Ok(Column { name, kind })
        })
        .collect()
}

/// Why a part cannot be read.
#[derive(Debug)]
pub enum Wrong {
    /// It broke off on its way.
    Broken(String),
    /// It is not what it should be.
    Content(String),
    /// It cannot be written, or read back.
    Disk(io::Error),
}

impl From<Fault> for Wrong {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unread(cause) => Self::Disk(cause),
            Fault::Wrong(what) => Self::Content(format!("it is not readable Parquet: {what}")),
        }
    }
}

/// Writes the Parquet file of a part that arrives; `each` is told of the bytes written.
///
/// # Errors
/// [`Wrong`].
pub fn unpack(body: Body, file: &mut File, each: &dyn Fn(u64)) -> Result<(), Wrong> {
    let mut decoder = FrameDecoder::new(body);
    let unpacked = unpacked(&mut decoder, file, MOST, each);
    match decoder.get_mut().broken.take() {
        Some(cause) => Err(Wrong::Broken(cause)),
        None => unpacked,
    }
}

fn unpacked(
    decoder: &mut impl Read,
    file: &mut impl io::Write,
    most: u64,
    each: &dyn Fn(u64),
) -> Result<(), Wrong> {
    let mut buffer = vec![0; 256 << 10];
    let mut passed = 0;
    loop {
        let read = match decoder.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(Wrong::Content(format!("it is not an LZ4 frame: {error}")));
            }
        };
        if passed == 0 && !buffer.starts_with(b"PAR1") && read >= 4 {
            return Err(Wrong::Content("it holds no Parquet".into()));
        }
        passed += read as u64;
        if passed > most {
            return Err(Wrong::Content("it does not end".into()));
        }
        file.write_all(&buffer[..read]).map_err(Wrong::Disk)?;
        each(read as u64);
    }
}

/// An unpacked part, whose columns are those of the schema.
pub struct PartFile {
    rows: Rows,
    /// For each column of the file, its place among the cells of a row; `None` if it is not needed.
    places: Vec<Option<usize>>,
    kinds: Vec<Column>,
}

impl PartFile {
    /// # Errors
    /// It is not Parquet; it has other columns than the schema, or lists without the bytes for their values.
    pub fn open(file: File, columns: &[Column]) -> Result<Self, Wrong> {
        let rows = Rows::open(file)?;
        if !rows.has_bounded_lists() {
            let what = "its lists claim more values than its bytes can hold";
            return Err(Wrong::Content(what.into()));
        }
        let mut places = Vec::new();
        for name in rows.columns().map(|column| column.name()) {
            let place = match name {
                RANDOM => Some(columns.len()),
                name if name.starts_with(OWN) => None,
                name => match columns.iter().position(|column| column.name == name) {
                    Some(place) => Some(place),
                    None => return Err(column(name, "is not in the schema")),
                },
            };
            if place.is_some() && places.contains(&place) {
                return Err(column(name, "is there twice"));
            }
            places.push(place);
        }
        let missing = (0..columns.len()).find(|place| !places.contains(&Some(*place)));
        if let Some(missing) = missing {
            return Err(column(&columns[missing].name, "is missing"));
        }
        Ok(Self { rows, places, kinds: columns.to_vec() })
    }

    /// The number of rows that it claims.
    pub fn count(&self) -> u64 {
        self.rows.count()
    }

    /// Passes on the cells of every row in the order of the schema, then its random number.
    ///
    /// # Errors
    /// A damaged file, a value that its column cannot hold; errors of `each`.
    pub fn each<E: From<Wrong> + From<Fault>>(
        &self,
        each: &mut dyn FnMut(Vec<OwnedCell>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.rows.each(&mut |number, row| {
            let cells = self.cells(row);
            each(cells.map_err(|what| Wrong::Content(format!("row {number}: {what}")))?)
        })
    }

    fn cells(&self, row: Row) -> Result<Vec<OwnedCell>, String> {
        let mut cells = vec![OwnedCell::Null; self.kinds.len() + 1];
        for ((_, field), place) in row.into_columns().into_iter().zip(&self.places) {
            let Some(place) = *place else { continue };
            cells[place] = match self.kinds.get(place) {
                Some(column) => cell(field, column.kind).ok_or_else(|| {
                    let name = column.name.escape_debug();
                    format!("the column `{name}` does not hold {}", column.kind.word())
                })?,
                None => random(&field),
            };
        }
        if let Some(random @ OwnedCell::Null) = cells.last_mut() {
            *random = OwnedCell::Integer((Uuid::new_v4().as_u64_pair().0 >> 1).cast_signed());
        }
        Ok(cells)
    }
}

fn column(name: &str, what: &str) -> Wrong {
    Wrong::Content(format!("the column `{}` {what}", name.escape_debug()))
}

/// The random number of a row: of 63 bits, as SQLite has them.
fn random(field: &Field) -> OwnedCell {
    match field {
        Field::ULong(n) => OwnedCell::Integer((n & (u64::MAX >> 1)).cast_signed()),
        field => whole(field).map_or(OwnedCell::Null, OwnedCell::Integer),
    }
}

/// The cell of a value; `None` if a column of this type cannot hold it.
fn cell(field: Field, kind: ColumnType) -> Option<OwnedCell> {
    let text = |text: String| OwnedCell::Text(text.into_bytes());
    Some(match (kind, field) {
        (_, Field::Null) => OwnedCell::Null,
        (ColumnType::Text | ColumnType::Json | ColumnType::List, Field::Str(found)) => text(found),
        (ColumnType::Text | ColumnType::Json | ColumnType::List, Field::Bytes(bytes)) => {
            OwnedCell::Text(std::str::from_utf8(bytes.data()).ok()?.as_bytes().to_vec())
        }
        (ColumnType::Text, _) => return None,
        (ColumnType::Bytes, Field::Bytes(bytes)) => OwnedCell::Blob(bytes.data().to_vec()),
        (ColumnType::Bytes, Field::Str(found)) => OwnedCell::Blob(found.into_bytes()),
        (ColumnType::Bytes, _) => return None,
        (ColumnType::Bool | ColumnType::Int, Field::Bool(is)) => OwnedCell::Integer(is.into()),
        (ColumnType::Bool, field) => match whole(&field)? {
            n @ (0 | 1) => OwnedCell::Integer(n),
            _ => return None,
        },
        (ColumnType::Int, field) => OwnedCell::Integer(whole(&field)?),
        (ColumnType::Float, field) => real(&field)?,
        (ColumnType::Time, field) => match seconds(&field)? {
            Some(time) => text(time.catalog()),
            None => OwnedCell::Null,
        },
        (ColumnType::List, field @ Field::ListInternal(_)) => text(json(&field)),
        (ColumnType::List, _) => return None,
        (ColumnType::Json, field) => text(json(&field)),
    })
}

fn whole(field: &Field) -> Option<i64> {
    Some(match field {
        Field::Byte(n) => (*n).into(),
        Field::Short(n) => (*n).into(),
        Field::Int(n) => (*n).into(),
        Field::Long(n) => *n,
        Field::UByte(n) => (*n).into(),
        Field::UShort(n) => (*n).into(),
        Field::UInt(n) => (*n).into(),
        Field::ULong(n) => (*n).try_into().ok()?,
        // pandas writes whole numbers among which one is missing as these.
        Field::Double(x) if x.fract() == 0.0 && x.abs() < 9e15 => *x as i64,
        _ => return None,
    })
}

/// SQLite stores NaN as NULL.
fn real(field: &Field) -> Option<OwnedCell> {
    let x = match field {
        Field::Float16(x) => f64::from(*x),
        Field::Float(x) => (*x).into(),
        Field::Double(x) => *x,
        field => whole(field)? as f64,
    };
    Some(if x.is_nan() { OwnedCell::Null } else { OwnedCell::Real(x) })
}

/// A time of seconds since 1970, or of a type of its own; `Some(None)` if there is none.
fn seconds(field: &Field) -> Option<Option<Timestamp>> {
    let micros = match field {
        Field::TimestampMicros(n) => *n,
        Field::TimestampMillis(n) => n.checked_mul(1000)?,
        Field::Double(x) if x.is_nan() => return Some(None),
        Field::Double(x) if (x * 1e6).abs() < 9e18 => (x * 1e6).round() as i64,
        Field::Float(x) if (f64::from(*x) * 1e6).abs() < 9e18 => {
            (f64::from(*x) * 1e6).round() as i64
        }
        Field::Double(_) | Field::Float(_) => return None,
        field => whole(field)?.checked_mul(1_000_000)?,
    };
    let time = Timestamp::from_micros(micros);
    // Only years that have a calendar are times.
    time.parts().map(|_| Some(time))
}

/// JSON as DataChain's adapters write it.
fn json(field: &Field) -> String {
    let mut text = String::new();
    write_json(field, &mut text);
    text
}

fn write_json(field: &Field, out: &mut String) {
    let quoted = |text: &str| Value::from(text).to_string();
    match field {
        Field::Null => out.push_str("null"),
        Field::Bool(is) => out.push_str(if *is { "true" } else { "false" }),
        Field::Str(text) => out.push_str(&quoted(text)),
        Field::Bytes(bytes) => out.push_str(&quoted(&String::from_utf8_lossy(bytes.data()))),
        Field::ULong(n) => out.push_str(&n.to_string()),
        Field::TimestampMicros(_) | Field::TimestampMillis(_) => match seconds(field) {
            Some(Some(time)) => out.push_str(&quoted(&time.rfc3339())),
            _ => out.push_str("null"),
        },
        Field::ListInternal(list) => {
            out.push('[');
            for (at, item) in list.elements().iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                write_json(item, out);
            }
            out.push(']');
        }
        Field::Group(row) => {
            out.push('{');
            for (at, (name, item)) in row.get_column_iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                out.push_str(&quoted(name));
                out.push(':');
                write_json(item, out);
            }
            out.push('}');
        }
        Field::MapInternal(map) => {
            out.push('{');
            for (at, (key, item)) in map.entries().iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                match key {
                    Field::Str(text) => out.push_str(&quoted(text)),
                    key => out.push_str(&quoted(&json(key))),
                }
                out.push(':');
                write_json(item, out);
            }
            out.push('}');
        }
        field => match (whole_only(field), real(field)) {
            (Some(n), _) => out.push_str(&n.to_string()),
            (None, Some(OwnedCell::Real(x))) if x.is_infinite() => {
                out.push_str(if x > 0.0 { "Infinity" } else { "-Infinity" });
            }
            (None, Some(OwnedCell::Real(x))) => out.push_str(&Value::from(x).to_string()),
            (None, Some(_)) => out.push_str("NaN"),
            (None, None) => out.push_str("null"),
        },
    }
}

/// A whole number, if it is stored as one.
fn whole_only(field: &Field) -> Option<i64> {
    match field {
        Field::Double(_) => None,
        field => whole(field),
    }
}

/// The cells of rows that wait, borrowed.
pub fn borrowed(rows: &[Vec<OwnedCell>]) -> impl Iterator<Item = Vec<Cell<'_>>> {
    rows.iter().map(|row| row.iter().map(OwnedCell::cell).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::io::Write;

    use lz4_flex::frame::FrameEncoder;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = FrameEncoder::new(Vec::new());
        encoder.write_all(bytes).expect("packed");
        encoder.finish().expect("packed")
    }

    fn unpack(bytes: &[u8], most: u64) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        match unpacked(&mut FrameDecoder::new(bytes), &mut out, most, &|_| {}) {
            Ok(()) => Ok(out),
            Err(Wrong::Content(what)) => Err(what),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_part_is_unpacked_within_bounds() {
        let whole = [b"PAR1".as_slice(), &[7; 3 << 20]].concat();
        let bytes = packed(&whole);
        assert_eq!(unpack(&bytes, MOST).as_deref(), Ok(&whole[..]));
        assert_eq!(unpack(&bytes, 1 << 20), Err("it does not end".into()));
        assert_eq!(unpack(&packed(&[0; 100]), MOST), Err("it holds no Parquet".into()));
        for bad in [&b"no frame"[..], &bytes[..bytes.len() / 2], &bytes[..5]] {
            let said = unpack(bad, MOST).expect_err("not a frame");
            assert!(said.contains("not an LZ4 frame"), "{said}");
        }
    }

    #[test]
    fn values_are_the_cells_that_datachain_writes() {
        let text = |text: &str| Some(OwnedCell::Text(text.into()));
        let int = |n| Some(OwnedCell::Integer(n));
        let cases = [
            (ColumnType::Text, Field::Str("a".into()), text("a")),
            (ColumnType::Text, Field::Int(1), None),
            (ColumnType::Int, Field::UInt(7), int(7)),
            (ColumnType::Int, Field::ULong(u64::MAX), None),
            (ColumnType::Int, Field::Double(3.0), int(3)),
            (ColumnType::Int, Field::Double(3.5), None),
            (ColumnType::Bool, Field::Bool(true), int(1)),
            (ColumnType::Bool, Field::UByte(2), None),
            (ColumnType::Float, Field::Double(f64::NAN), Some(OwnedCell::Null)),
            (ColumnType::Float, Field::Int(2), Some(OwnedCell::Real(2.0))),
            (ColumnType::Time, Field::UInt(1_704_164_645), text("2024-01-02 03:04:05")),
            (ColumnType::Time, Field::Double(0.5), text("1970-01-01 00:00:00.500000")),
            (ColumnType::Time, Field::TimestampMicros(1), text("1970-01-01 00:00:00.000001")),
            (ColumnType::Time, Field::Long(i64::MAX), None),
            (ColumnType::Time, Field::Double(f64::INFINITY), None),
            (ColumnType::Time, Field::Null, Some(OwnedCell::Null)),
            (ColumnType::Json, Field::Str("{}".into()), text("{}")),
            (ColumnType::List, Field::Int(1), None),
            (ColumnType::Bytes, Field::Str("x".into()), Some(OwnedCell::Blob(b"x".to_vec()))),
        ];
        for (kind, field, want) in cases {
            assert_eq!(cell(field.clone(), kind), want, "{kind:?} {field:?}");
        }
        assert_eq!(json(&Field::Double(f64::NAN)), "NaN");
        assert_eq!(json(&Field::Str("a\"\n".into())), r#""a\"\n""#);
    }

    #[test]
    fn a_schema_names_its_columns() {
        let schema = r#"{"sys__id": {"type": "UInt64"}, "a": {"type": "Array", "item_type": {"type": "Float"}}}"#;
        let found = columns(schema).expect("columns");
        assert_eq!(found, [Column { name: "a".into(), kind: ColumnType::List }]);
        for bad in ["[]", "", r#"{"a": {"type": "Point"}}"#, r#"{"a": 1}"#] {
            assert!(columns(bad).is_err(), "{bad}");
        }
    }
}
