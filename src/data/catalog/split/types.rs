//! Types of ClickHouse and values in its `RowBinary` format, converted to the cells that a SQLite
//! table would hold.

use std::fmt::Write as _;
use std::ops::Range;

use dcfs_core::cell::{Cell, Cells};
use dcfs_core::expr::sql::Stored;
use dcfs_core::time::Timestamp;

/// The deepest nesting of types.
const DEEPEST: usize = 16;

/// A type whose values can be read from `RowBinary`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The size in bytes, and whether it is signed.
    Int(usize, bool),
    Single,
    Float,
    Bool,
    String,
    Fixed(usize),
    /// Days, in 4 bytes if true, else 2.
    Date(bool),
    /// Seconds in 4 bytes.
    Seconds,
    /// Ticks in 8 bytes; a tick is 10^-n seconds.
    Ticks(u32),
    Nullable(Box<Kind>),
    Array(Box<Kind>),
}

impl Kind {
    /// Parses the name of a type; `None` for one that is queried as text.
    pub fn parse(text: &str) -> Option<Self> {
        parse(text.trim(), DEEPEST)
    }

    /// The type without `Nullable`.
    pub fn inner(&self) -> &Self {
        match self {
            Self::Nullable(inner) => inner.inner(),
            other => other,
        }
    }

    /// The class of the column for filters; `None` if they are evaluated here.
    pub fn stored(&self) -> Option<Stored> {
        Some(match self.inner() {
            Self::Int(8, false) => return None,
            Self::Int(..) => Stored::Int,
            Self::Float => Stored::Float,
            Self::Single => Stored::Single,
            Self::Bool => Stored::Bool,
            Self::String => Stored::Text,
            Self::Ticks(scale) if *scale <= 6 => Stored::Ticks,
            Self::Seconds => Stored::Seconds,
            _ => return None,
        })
    }
}

/// The SQLite type for a type, as [`dcfs_core::schema::Schema::parse`] takes it.
pub fn declared(text: &str) -> &'static str {
    match Kind::parse(text).as_ref().map(Kind::inner) {
        Some(Kind::Int(..)) => "INTEGER",
        Some(Kind::Single | Kind::Float) => "FLOAT",
        Some(Kind::Bool) => "BOOLEAN",
        Some(Kind::Date(_) | Kind::Seconds | Kind::Ticks(_)) => "DATETIME",
        Some(Kind::Array(_)) => "ARRAY",
        None if is_json(text) => "JSON",
        _ => "VARCHAR",
    }
}

/// SQL for a column, quoted as `name`, that gives values of a [`Kind`].
pub fn readable(name: &str, text: &str) -> String {
    match Kind::parse(text) {
        Some(_) => name.to_owned(),
        None if is_json(text) => format!("toJSONString({name})"),
        None => format!("toString({name})"),
    }
}

fn is_json(text: &str) -> bool {
    ["JSON", "Object(", "Map(", "Tuple(", "Array(", "Variant(", "Dynamic", "Nested("]
        .iter()
        .any(|start| text.starts_with(start))
}

fn parse(text: &str, depth: usize) -> Option<Kind> {
    let depth = depth.checked_sub(1)?;
    let (name, inside) = match text.split_once('(') {
        Some((name, rest)) => (name, rest.strip_suffix(')')?.trim()),
        None => (text, ""),
    };
    Some(match name {
        "Int8" => Kind::Int(1, true),
        "Int16" => Kind::Int(2, true),
        "Int32" => Kind::Int(4, true),
        "Int64" => Kind::Int(8, true),
        "UInt8" => Kind::Int(1, false),
        "UInt16" => Kind::Int(2, false),
        "UInt32" => Kind::Int(4, false),
        "UInt64" => Kind::Int(8, false),
        "Float32" => Kind::Single,
        "Float64" => Kind::Float,
        "Bool" => Kind::Bool,
        "String" => Kind::String,
        "FixedString" => Kind::Fixed(inside.parse().ok().filter(|size| *size <= 1 << 20)?),
        "Date" => Kind::Date(false),
        "Date32" => Kind::Date(true),
        "DateTime" => Kind::Seconds,
        "DateTime64" => {
            let scale = inside.split(',').next()?.trim().parse().ok()?;
            if scale > 9 { None } else { Some(Kind::Ticks(scale)) }?
        }
        // Rows hold the inner type.
        "LowCardinality" => parse(inside, depth)?,
        "Nullable" => Kind::Nullable(parse(inside, depth)?.into()),
        "Array" => Kind::Array(parse(inside, depth)?.into()),
        _ => return None,
    })
}

/// One parsed row.
#[derive(Clone, Debug, Default)]
pub struct RowBuffer {
    cells: Vec<Slot>,
    /// Texts that cells refer to.
    texts: Vec<u8>,
    /// Which cells are bytes instead of text.
    pub blobs: Vec<bool>,
}

#[derive(Clone, Debug)]
enum Slot {
    Null,
    Integer(i64),
    Real(f64),
    Text(Range<usize>),
}

impl Cells for RowBuffer {
    fn cell(&self, index: usize) -> Cell<'_> {
        match self.cells.get(index) {
            None | Some(Slot::Null) => Cell::Null,
            Some(Slot::Integer(n)) => Cell::Integer(*n),
            Some(Slot::Real(x)) => Cell::Real(*x),
            Some(Slot::Text(range)) => {
                let text = self.texts.get(range.clone()).unwrap_or_default();
                match self.blobs.get(index) {
                    Some(true) => Cell::Blob(text),
                    _ => Cell::Text(text),
                }
            }
        }
    }
}

/// Why bytes are not a row.
#[derive(Debug, PartialEq, Eq)]
pub enum Short {
    /// The rest has not arrived yet.
    More,
    /// They are malformed.
    Never,
}

/// Bytes that are read from the front.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Short> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(Short::More)?;
        self.0 = rest;
        Ok(head)
    }

    /// The next `N` bytes.
    pub fn number<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    /// A length in LEB128, 7 bits per byte.
    pub fn length(&mut self) -> Result<usize, Short> {
        let mut value = 0u64;
        for shift in (0..63).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return usize::try_from(value).map_err(|_| Short::Never);
            }
        }
        Err(Short::Never)
    }

    /// A text with its length before it.
    pub fn text(&mut self) -> Result<&'a [u8], Short> {
        let length = self.length()?;
        if length > LONGEST {
            return Err(Short::Never);
        }
        self.take(length)
    }

    /// The same without the limit on its length.
    pub fn long(&mut self) -> Result<&'a [u8], Short> {
        let length = self.length()?;
        self.take(length)
    }
}

/// The longest text, in bytes.
const LONGEST: usize = 64 << 20;

/// The longest list, in items.
const MOST_ITEMS: usize = 16 << 20;

impl RowBuffer {
    /// Reads one row of `kinds` from the front of `bytes`; returns its length in bytes.
    pub fn read(&mut self, kinds: &[Kind], bytes: &[u8]) -> Result<usize, Short> {
        self.cells.clear();
        self.texts.clear();
        let mut reader = Reader(bytes);
        for kind in kinds {
            let slot = self.slot(kind, &mut reader)?;
            self.cells.push(slot);
        }
        Ok(bytes.len() - reader.0.len())
    }

    fn slot(&mut self, kind: &Kind, reader: &mut Reader<'_>) -> Result<Slot, Short> {
        Ok(match kind {
            Kind::Nullable(inner) => match reader.take(1)?[0] {
                0 => self.slot(inner, reader)?,
                1 => Slot::Null,
                _ => return Err(Short::Never),
            },
            Kind::Bool => Slot::Integer(reader.take(1)?[0].into()),
            Kind::Int(size, signed) => match integer(reader, *size, *signed)? {
                Ok(n) => Slot::Integer(n),
                Err(n) => Slot::Real(n as f64),
            },
            Kind::Single => real(f32::from_le_bytes(reader.number()?).into()),
            Kind::Float => real(f64::from_le_bytes(reader.number()?)),
            Kind::String => {
                let text = reader.text()?;
                self.text(|texts| texts.extend_from_slice(text))
            }
            Kind::Fixed(size) => {
                let text = reader.take(*size)?;
                self.text(|texts| texts.extend_from_slice(text))
            }
            Kind::Date(_) | Kind::Seconds | Kind::Ticks(_) => {
                let time = moment(kind, reader)?;
                self.text(|texts| texts.extend_from_slice(time.catalog().as_bytes()))
            }
            Kind::Array(_) => {
                let mut text = String::new();
                json(kind, reader, &mut text)?;
                self.text(|texts| texts.extend_from_slice(text.as_bytes()))
            }
        })
    }

    fn text(&mut self, put: impl FnOnce(&mut Vec<u8>)) -> Slot {
        let start = self.texts.len();
        put(&mut self.texts);
        Slot::Text(start..self.texts.len())
    }
}

/// NaN is NULL, as in SQLite.
fn real(x: f64) -> Slot {
    if x.is_nan() { Slot::Null } else { Slot::Real(x) }
}

/// An integer; above 63 bits as itself.
fn integer(reader: &mut Reader<'_>, size: usize, signed: bool) -> Result<Result<i64, u64>, Short> {
    let bytes = reader.take(size)?;
    let is_negative = signed && bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut whole = [if is_negative { 0xff } else { 0 }; 8];
    whole[..size].copy_from_slice(bytes);
    let n = i64::from_le_bytes(whole);
    Ok(if !signed && n < 0 { Err(n as u64) } else { Ok(n) })
}

fn moment(kind: &Kind, reader: &mut Reader<'_>) -> Result<Timestamp, Short> {
    const DAY: i64 = 86_400_000_000;
    let micros = match kind {
        Kind::Date(false) => i64::from(u16::from_le_bytes(reader.number()?)) * DAY,
        Kind::Date(true) => i64::from(i32::from_le_bytes(reader.number()?)).saturating_mul(DAY),
        Kind::Seconds => i64::from(u32::from_le_bytes(reader.number()?)) * 1_000_000,
        Kind::Ticks(scale) => {
            let ticks = i64::from_le_bytes(reader.number()?);
            match 6u32.checked_sub(*scale) {
                Some(more) => ticks.saturating_mul(10i64.pow(more)),
                None => ticks.div_euclid(10i64.pow(scale - 6)),
            }
        }
        _ => return Err(Short::Never),
    };
    Ok(Timestamp::from_micros(micros))
}

/// A value inside a list, as DataChain writes it into a list's text.
fn json(kind: &Kind, reader: &mut Reader<'_>, out: &mut String) -> Result<(), Short> {
    match kind {
        Kind::Nullable(inner) => match reader.take(1)?[0] {
            0 => json(inner, reader, out)?,
            1 => out.push_str("null"),
            _ => return Err(Short::Never),
        },
        Kind::Bool => out.push_str(if reader.take(1)?[0] == 0 { "false" } else { "true" }),
        Kind::Int(size, signed) => match integer(reader, *size, *signed)? {
            Ok(n) => put(out, format_args!("{n}")),
            Err(n) => put(out, format_args!("{n}")),
        },
        Kind::Single => float(f32::from_le_bytes(reader.number()?).into(), out),
        Kind::Float => float(f64::from_le_bytes(reader.number()?), out),
        Kind::String => string(reader.text()?, out),
        Kind::Fixed(size) => string(reader.take(*size)?, out),
        Kind::Date(_) | Kind::Seconds | Kind::Ticks(_) => {
            let time = moment(kind, reader)?;
            string(time.catalog().replacen(' ', "T", 1).as_bytes(), out);
        }
        Kind::Array(item) => {
            let count = reader.length()?;
            if count > MOST_ITEMS {
                return Err(Short::Never);
            }
            out.push('[');
            for index in 0..count {
                if index > 0 {
                    out.push(',');
                }
                json(item, reader, out)?;
            }
            out.push(']');
        }
    }
    Ok(())
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    // A string takes any text.
    let _ = out.write_fmt(text);
}

fn float(x: f64, out: &mut String) {
    match x {
        x if x.is_nan() => out.push_str("NaN"),
        x if x == f64::INFINITY => out.push_str("Infinity"),
        x if x == f64::NEG_INFINITY => out.push_str("-Infinity"),
        x => put(out, format_args!("{x:?}")),
    }
}

fn string(text: &[u8], out: &mut String) {
    let text = String::from_utf8_lossy(text);
    out.push_str(&serde_json::Value::from(text.as_ref()).to_string().replace('/', "\\/"));
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    #[test]
    fn types_are_read_by_their_names() {
        let cases = [
            ("Int64", Some(Kind::Int(8, true)), "INTEGER"),
            ("Nullable(Float32)", Some(Kind::Nullable(Kind::Single.into())), "FLOAT"),
            (
                "LowCardinality(Nullable(String))",
                Some(Kind::Nullable(Kind::String.into())),
                "VARCHAR",
            ),
            ("DateTime64(6, 'UTC')", Some(Kind::Ticks(6)), "DATETIME"),
            ("DateTime('Europe/Berlin')", Some(Kind::Seconds), "DATETIME"),
            (
                "Array(Array(Float64))",
                Some(Kind::Array(Kind::Array(Kind::Float.into()).into())),
                "ARRAY",
            ),
            ("Map(String, Int64)", None, "JSON"),
            ("JSON", None, "JSON"),
            ("Decimal(10, 2)", None, "VARCHAR"),
            ("DateTime64(12)", None, "VARCHAR"),
            ("Nullable(", None, "VARCHAR"),
        ];
        for (text, want, in_sqlite) in cases {
            assert_eq!((Kind::parse(text), declared(text)), (want, in_sqlite), "{text}");
        }
        assert_eq!(readable("`a`", "Decimal(10, 2)"), "toString(`a`)");
        assert_eq!(readable("`a`", "Tuple(Int8)"), "toJSONString(`a`)");
    }

    #[test]
    fn a_row_becomes_the_cells_of_sqlite() {
        let kinds: Vec<Kind> = [
            "Int16",
            "Nullable(Int64)",
            "Float64",
            "Bool",
            "String",
            "DateTime64(3)",
            "Array(Nullable(Float32))",
            "UInt64",
            "Array(String)",
        ]
        .iter()
        .map(|text| Kind::parse(text).expect("a type"))
        .collect();
        let mut bytes = Vec::new();
        bytes.extend((-2i16).to_le_bytes());
        bytes.push(1);
        bytes.extend(f64::NAN.to_le_bytes());
        bytes.push(1);
        bytes.extend([2, b'a', 0xff]);
        bytes.extend((-1500i64).to_le_bytes());
        bytes.extend([2, 1, 0]);
        bytes.extend(0.5f32.to_le_bytes());
        bytes.extend(u64::MAX.to_le_bytes());
        bytes.extend([1, 3, b'"', b'/', 0xff]);
        let mut row = RowBuffer::default();
        for end in 0..bytes.len() {
            assert_eq!(row.read(&kinds, &bytes[..end]), Err(Short::More), "{end}");
        }
        assert_eq!(row.read(&kinds, &bytes), Ok(bytes.len()));
        let want = [
            Cell::Integer(-2),
            Cell::Null,
            Cell::Null,
            Cell::Integer(1),
            Cell::Text(b"a\xff"),
            Cell::Text(b"1969-12-31 23:59:58.500000"),
            Cell::Text(b"[null,0.5]"),
            Cell::Real(18_446_744_073_709_551_615.0),
            Cell::Text("[\"\\\"\\/\u{fffd}\"]".as_bytes()),
            Cell::Null,
        ];
        for (index, want) in want.into_iter().enumerate() {
            assert_eq!(row.cell(index), want, "{index}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let kinds = ["Array(Array(Nullable(String)))", "Int32", "DateTime64(9)", "Date32", "Array(Float64)"];
            let kinds: Vec<Kind> = kinds.iter().filter_map(|text| Kind::parse(text)).collect();
            if let Ok(read) = RowBuffer::default().read(&kinds, &bytes) {
                prop_assert!(read <= bytes.len());
            }
        }
    }
}
