//! The schema in the footer of a Parquet file, read before anything is built from it.
//!
//! Files come from strangers. The crate `parquet` builds groups by recursion and makes room for as many children as a
//! group claims, so that a few KiB end the process. Here the list of the schema is walked once, within bounds; nothing
//! else of the footer is kept. The footer is in the compact protocol of Thrift:
//! <https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>.

/// Groups within groups.
const DEEPEST: usize = 64;

/// Elements of a schema, and children of one group.
const MOST: u64 = 10_000;

/// Structs and lists within each other, of what is skipped.
const DEEPEST_VALUE: usize = 64;

/// The types of values that are looked at.
const I32: u8 = 5;
const I64: u8 = 6;
const TEXT: u8 = 8;
const LIST: u8 = 9;
const STRUCT: u8 = 12;

/// The contents of a footer that a heading needs.
#[derive(Debug, PartialEq, Eq)]
pub struct Footer {
    pub rows: u64,
    /// The names of the columns; of nested ones, of the outermost group.
    pub columns: Vec<String>,
}

const DAMAGED: &str = "it is damaged";

type Result<T, E = &'static str> = std::result::Result<T, E>;

/// Reads the metadata of a file: all before the length and the mark at its end.
///
/// # Errors
/// A description: damaged, or a schema beyond the bounds.
pub fn read(footer: &[u8]) -> Result<Footer> {
    let mut bytes = Bytes { rest: footer };
    let (mut rows, mut columns) = (None, None);
    let mut id = 0;
    while let Some(kind) = bytes.field(&mut id)? {
        // The crate takes fields 1 to 7 for these types, whatever they say of themselves.
        let is_right = match id {
            1 => kind == I32,
            2 | 4 | 5 | 7 => kind == LIST,
            3 => kind == I64,
            6 => kind == TEXT,
            _ => true,
        };
        if !is_right {
            return Err(DAMAGED);
        }
        match id {
            2 if columns.is_some() => return Err("it has two schemas"),
            2 => columns = Some(schema(&mut bytes)?),
            3 => rows = Some(u64::try_from(bytes.signed()?).map_err(|_| DAMAGED)?),
            _ => bytes.skip(kind, 0)?,
        }
    }
    match (rows, columns) {
        (Some(rows), Some(columns)) => Ok(Footer { rows, columns }),
        _ => Err(DAMAGED),
    }
}

/// The names of the columns: a schema is a list of elements, where the children of a group follow it.
fn schema(bytes: &mut Bytes<'_>) -> Result<Vec<String>> {
    let (kind, count) = bytes.list()?;
    if kind != STRUCT {
        return Err(DAMAGED);
    }
    if count > MOST {
        return Err("its schema has more than 10000 elements");
    }
    let mut columns = Vec::new();
    // The children that are still to come, of each group that is open.
    let mut open: Vec<u64> = Vec::new();
    for number in 0..count {
        let (name, children) = element(bytes)?;
        if number > 0 {
            while open.last() == Some(&0) {
                open.pop();
            }
            *open.last_mut().ok_or(DAMAGED)? -= 1;
            if open.len() == 1 {
                columns.push(String::from_utf8(name.to_vec()).map_err(|_| DAMAGED)?);
            }
        }
        if children > MOST {
            return Err("a group of its schema has more than 10000 columns");
        }
        if children > 0 {
            if open.len() == DEEPEST {
                return Err("its schema nests deeper than 64");
            }
            open.push(children);
        }
    }
    if open.iter().any(|missing| *missing > 0) {
        return Err(DAMAGED);
    }
    Ok(columns)
}

/// The name of an element, and the number of its children.
fn element<'b>(bytes: &mut Bytes<'b>) -> Result<(&'b [u8], u64)> {
    let (mut name, mut children) = (None, 0);
    let mut id = 0;
    while let Some(kind) = bytes.field(&mut id)? {
        let is_right = match id {
            4 => kind == TEXT,
            1..=9 => kind == I32,
            10 => kind == STRUCT,
            _ => true,
        };
        if !is_right {
            return Err(DAMAGED);
        }
        match id {
            4 => name = Some(bytes.text()?),
            5 => children = u64::try_from(bytes.signed()?).map_err(|_| DAMAGED)?,
            _ => bytes.skip(kind, 0)?,
        }
    }
    Ok((name.ok_or(DAMAGED)?, children))
}

/// Bytes in the compact protocol.
struct Bytes<'b> {
    rest: &'b [u8],
}

impl<'b> Bytes<'b> {
    fn take(&mut self, length: u64) -> Result<&'b [u8]> {
        let length = usize::try_from(length).map_err(|_| DAMAGED)?;
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(DAMAGED)?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        let (first, rest) = self.rest.split_first().ok_or(DAMAGED)?;
        self.rest = rest;
        Ok(*first)
    }

    /// A number in groups of seven bits, the lowest first.
    fn number(&mut self) -> Result<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(DAMAGED)
    }

    /// A number whose lowest bit is the sign.
    fn signed(&mut self) -> Result<i64> {
        let number = self.number()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    fn text(&mut self) -> Result<&'b [u8]> {
        let length = self.number()?;
        self.take(length)
    }

    /// The type of the next field of a struct, whose number goes to `id`; `None` at its end.
    fn field(&mut self, id: &mut i64) -> Result<Option<u8>> {
        let head = self.byte()?;
        if head & 0x0f == 0 {
            return Ok(None);
        }
        *id = match head >> 4 {
            0 => self.signed()?,
            more => id.checked_add(more.into()).ok_or(DAMAGED)?,
        };
        // Fields are numbered with 16 bits.
        if i16::try_from(*id).is_err() {
            return Err(DAMAGED);
        }
        Ok(Some(head & 0x0f))
    }

    /// The type and the number of the items of a list. Each takes a byte at least.
    fn list(&mut self) -> Result<(u8, u64)> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => self.number()?,
            count => count.into(),
        };
        if count > self.rest.len() as u64 {
            return Err(DAMAGED);
        }
        // Some writers give no type to an empty list.
        Ok((if head == 0 { STRUCT } else { head & 0x0f }, count))
    }

    /// Passes over a value, so many structs and lists deep.
    fn skip(&mut self, kind: u8, depth: usize) -> Result<()> {
        if depth == DEEPEST_VALUE {
            return Err(DAMAGED);
        }
        match kind {
            // A boolean of a struct is in its type.
            1 | 2 => {}
            3 => {
                self.byte()?;
            }
            4..=6 => {
                self.number()?;
            }
            7 => {
                self.take(8)?;
            }
            8 => {
                self.text()?;
            }
            9 | 10 => {
                let (kind, count) = self.list()?;
                for _ in 0..count {
                    self.skip_item(kind, depth + 1)?;
                }
            }
            11 => {
                let count = self.number()?;
                let kinds = if count > 0 { self.byte()? } else { 0 };
                for _ in 0..count {
                    self.skip_item(kinds >> 4, depth + 1)?;
                    self.skip_item(kinds & 0x0f, depth + 1)?;
                }
            }
            12 => {
                let mut id = 0;
                while let Some(kind) = self.field(&mut id)? {
                    self.skip(kind, depth + 1)?;
                }
            }
            13 => {
                self.take(16)?;
            }
            _ => return Err(DAMAGED),
        }
        Ok(())
    }

    /// Passes over an item of a list, where a boolean is a byte.
    fn skip_item(&mut self, kind: u8, depth: usize) -> Result<()> {
        match kind {
            1 | 2 => self.byte().map(drop),
            _ => self.skip(kind, depth),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::Arc;

    use parquet::file::metadata::ParquetMetaDataReader;
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    fn number(mut number: u64, into: &mut Vec<u8>) {
        while number >= 0x80 {
            into.push(number as u8 | 0x80);
            number >>= 7;
        }
        into.push(number as u8);
    }

    /// An element of a schema: with children, a group; else a required integer.
    fn element(name: &str, children: u64, into: &mut Vec<u8>) {
        if children == 0 {
            into.extend([0x15, 2]);
        }
        into.extend([if children == 0 { 0x25 } else { 0x35 }, 0, 0x18]);
        number(name.len() as u64, into);
        into.extend(name.bytes());
        if children > 0 {
            into.push(0x15);
            number(children << 1, into);
        }
        into.push(0);
    }

    /// A footer with these elements, `(name, children)`, and 7 rows.
    fn footer(elements: &[(&str, u64)]) -> Vec<u8> {
        let mut bytes = vec![0x15, 2, 0x19, 0xfc];
        number(elements.len() as u64, &mut bytes);
        elements.iter().for_each(|(name, children)| element(name, *children, &mut bytes));
        bytes.extend([0x16, 14, 0x19, 0x0c, 0]);
        bytes
    }

    #[test]
    fn a_schema_has_its_columns() {
        let elements = [("root", 3), ("a", 0), ("b", 2), ("c", 1), ("d", 0), ("e", 0), ("f", 0)];
        let columns = ["a", "b", "f"].map(str::to_owned).to_vec();
        let bytes = footer(&elements);
        assert_eq!(read(&bytes), Ok(Footer { rows: 7, columns }));
        // The crate agrees that this is a footer.
        let metadata = ParquetMetaDataReader::decode_metadata(&bytes).expect("a footer");
        assert_eq!(metadata.file_metadata().num_rows(), 7);
        for end in 0..bytes.len() {
            assert!(read(&bytes[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn what_a_writer_writes_is_read() {
        let text = "message m { required int64 id; optional group list (LIST) { repeated group list \
                    { optional binary element (UTF8); } } required int64 at (TIMESTAMP(MICROS, true)); }";
        let schema = Arc::new(parse_message_type(text).expect("a schema"));
        let mut file = Vec::new();
        let properties = Arc::new(WriterProperties::builder().build());
        let writer = SerializedFileWriter::new(&mut file, schema, properties).expect("a writer");
        writer.close().expect("written");
        let end = file.len() - 8;
        let length = u32::from_le_bytes(file[end..end + 4].try_into().expect("four bytes"));
        let found = read(&file[end - length as usize..end]).expect("a footer");
        assert_eq!((found.rows, found.columns.join(" ")), (0, "id list at".to_owned()));
    }

    #[test]
    fn a_schema_beyond_its_bounds_is_refused() {
        let chain = |depth: usize| -> Vec<(&'static str, u64)> {
            [vec![("g", 1); depth], vec![("a", 0)]].concat()
        };
        assert!(read(&footer(&chain(DEEPEST))).is_ok());
        assert_eq!(read(&footer(&chain(DEEPEST + 1))), Err("its schema nests deeper than 64"));
        assert!(read(&footer(&chain(5000))).is_err());
        let claims = footer(&[("root", i32::MAX as u64), ("a", 0)]);
        assert_eq!(read(&claims), Err("a group of its schema has more than 10000 columns"));
        let wide: Vec<(&str, u64)> = [vec![("root", MOST)], vec![("a", 0); MOST as usize]].concat();
        assert_eq!(read(&footer(&wide)), Err("its schema has more than 10000 elements"));
        let odd: [&[(&str, u64)]; 3] =
            [&[("root", 2), ("a", 0)], &[("root", 1), ("a", 0), ("b", 0)], &[("r", 0), ("r", 0)]];
        for odd in odd {
            assert_eq!(read(&footer(odd)), Err(DAMAGED));
        }
        // A second schema.
        let mut twice = footer(&[("root", 1), ("a", 0)]);
        twice.pop();
        twice.extend([0x09, 4, 0x0c, 0]);
        assert_eq!(read(&twice), Err("it has two schemas"));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::arbitrary::any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }
    }
}
