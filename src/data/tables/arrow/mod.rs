//! `_rows.arrow`: an Arrow IPC file, uncompressed, so that a program maps it into memory and reads no byte twice.
//!
//! Types and nesting are those of `_rows.parquet`: the rows are gathered by the same plan, and a group of rows becomes a
//! record batch. Buffers begin at multiples of 64 bytes.
//!
//! | dcfs | Arrow |
//! |---|---|
//! | `bool`, `int`, `float` | Bool, Int64, Float64 |
//! | `str`, dicts and unions (JSON) | Utf8 |
//! | `datetime` | Timestamp(us, UTC) |
//! | `bytes` | Binary |
//! | a model | Struct; nullable where it is Optional |
//! | `list[T]` | List of T |

mod batch;
mod flat;

use std::io::{self, Write};
use std::sync::mpsc::Receiver;

use parquet::basic::{ConvertedType, LogicalType, Type as Physical};
use parquet::schema::types::{Type, TypePtr};

use self::batch::{Batch, UNIT};
use self::flat::{Flat, buffer};
use super::parquet::Group;

/// What a file begins and ends with.
const MAGIC: &[u8] = b"ARROW1";

/// Version 5 of the metadata.
const V5: Flat = Flat::Short(4);

/// Numbers of the unions of Arrow's schema.
mod union {
    pub const SCHEMA: u8 = 1;
    pub const RECORD_BATCH: u8 = 3;
    pub const INT: u8 = 2;
    pub const FLOAT: u8 = 3;
    pub const BINARY: u8 = 4;
    pub const UTF8: u8 = 5;
    pub const BOOL: u8 = 6;
    pub const TIMESTAMP: u8 = 10;
    pub const LIST: u8 = 12;
    pub const STRUCT: u8 = 13;
}

/// Writes groups as they come.
///
/// # Errors
/// That `out` takes no more.
pub fn encode(root: &TypePtr, groups: Receiver<Group>, out: impl Write) -> io::Result<()> {
    let mut file = Counted { out, at: 0 };
    file.write_all(MAGIC)?;
    file.write_all(&[0; 2])?;
    let schema = schema(root);
    message(&mut file, union::SCHEMA, schema.clone(), 0)?;
    let mut blocks = Vec::new();
    for group in groups {
        let batch = Batch::of(root, &group);
        let at = file.at;
        let header = vec![
            Flat::Long(group.rows as i64),
            Flat::Structs(batch.nodes.clone()),
            Flat::Structs(batch.buffers()),
        ];
        let head = message(&mut file, union::RECORD_BATCH, header, batch.length())?;
        batch.write(&mut file)?;
        // The second word is an int with four bytes of padding.
        blocks.push(vec![at as i64, head as i64, batch.length() as i64]);
    }
    file.write_all(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0])?;
    let footer =
        buffer(&[V5, Flat::Table(schema), Flat::Structs(Vec::new()), Flat::Structs(blocks)]);
    file.write_all(&footer)?;
    file.write_all(&(footer.len() as i32).to_le_bytes())?;
    file.write_all(MAGIC)?;
    file.out.flush()
}

/// Writes the head of a message whose body has `length` bytes; how long the head is, its prefix included. The body begins at
/// a multiple of [`UNIT`].
fn message<W: Write>(
    file: &mut Counted<W>,
    kind: u8,
    header: Vec<Flat>,
    length: usize,
) -> io::Result<usize> {
    let mut head = buffer(&[V5, Flat::Byte(kind), Flat::Table(header), Flat::Long(length as i64)]);
    let begins = file.at + 8;
    head.resize((begins + head.len()).next_multiple_of(UNIT) - begins, 0);
    file.write_all(&[0xff; 4])?;
    file.write_all(&(head.len() as i32).to_le_bytes())?;
    file.write_all(&head)?;
    Ok(head.len() + 8)
}

fn schema(root: &Type) -> Vec<Flat> {
    vec![Flat::Short(0), Flat::Tables(root.get_fields().iter().map(|of| field(of, None)).collect())]
}

/// A field as a table of the schema.
fn field(of: &Type, name: Option<&str>) -> Vec<Flat> {
    let (kind, about) = kind(of);
    let children: Vec<Vec<Flat>> = match list_item(of) {
        Some(item) => vec![field(item, Some("item"))],
        None if of.is_group() => of.get_fields().iter().map(|of| field(of, None)).collect(),
        None => Vec::new(),
    };
    vec![
        Flat::Text(name.unwrap_or(of.name()).to_owned()),
        Flat::Byte(u8::from(of.is_optional())),
        Flat::Byte(kind),
        Flat::Table(about),
        Flat::None,
        Flat::Tables(children),
    ]
}

/// The items of a list; `None` for anything else.
pub fn list_item(of: &Type) -> Option<&Type> {
    let info = of.get_basic_info();
    let is_list = of.is_group()
        && (info.converted_type() == ConvertedType::LIST
            || info.logical_type_ref() == Some(&LogicalType::List));
    let repeated = is_list.then(|| of.get_fields().first()).flatten()?;
    repeated.get_fields().first().map(|item| &**item)
}

/// Its type: the number in the union, and the table.
fn kind(of: &Type) -> (u8, Vec<Flat>) {
    if list_item(of).is_some() {
        return (union::LIST, Vec::new());
    }
    if of.is_group() {
        return (union::STRUCT, Vec::new());
    }
    let logical = of.get_basic_info().logical_type_ref();
    match (of.get_physical_type(), logical) {
        (Physical::BOOLEAN, _) => (union::BOOL, Vec::new()),
        (Physical::INT64, Some(LogicalType::Timestamp(_))) => {
            (union::TIMESTAMP, vec![Flat::Short(2), Flat::Text("UTC".into())])
        }
        (Physical::DOUBLE, _) => (union::FLOAT, vec![Flat::Short(2)]),
        (Physical::BYTE_ARRAY, Some(_)) => (union::UTF8, Vec::new()),
        (Physical::BYTE_ARRAY, None) => (union::BINARY, Vec::new()),
        _ => (union::INT, vec![Flat::Int(64), Flat::Byte(1)]),
    }
}

/// Counts the bytes that were written.
struct Counted<W> {
    out: W,
    at: usize,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.at += written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
