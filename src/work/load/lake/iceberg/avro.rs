//! Files of Avro as Iceberg writes its manifests: a schema, and records in compressed blocks,
//! <https://avro.apache.org/docs/1.12.0/specification/>.
//!
//! Only what manifests hold is read, within bounds: the crate `apache-avro` brings 21 others, and makes room for what a
//! file claims. A record becomes JSON; bytes are passed over, as no manifest has any that are needed here.

use std::collections::HashMap;
use std::io::Read as _;

use flate2::read::DeflateDecoder;
use serde_json::{Map, Value as Json};

/// The first bytes of a file.
const MARK: &[u8] = b"Obj\x01";

/// The longest block, in bytes, without compression.
const LONGEST: u64 = 256 << 20;

/// Values within values.
const DEEPEST: usize = 32;

/// The most types of one schema.
const MOST: usize = 20_000;

/// The most values of one record: values that take no bytes are not bounded by the file.
const MOST_VALUES: usize = 1_000_000;

const DAMAGED: &str = "it is damaged";

type Result<T, E = String> = std::result::Result<T, E>;

/// A type; named ones are numbered, so that one may hold itself.
#[derive(Clone, Debug)]
enum Schema {
    Null,
    Boolean,
    /// Of 32 or of 64 bits: both are written alike.
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Array(Box<Schema>),
    Map(Box<Schema>),
    Union(Vec<Schema>),
    Named(usize),
}

#[derive(Clone, Debug)]
enum Named {
    Record(Vec<(String, Schema)>),
    Fixed(u64),
    Enum(Vec<String>),
    /// Seen by name, and not yet to its end.
    Open,
}

/// Passes on every record of a file in order.
///
/// # Errors
/// A description: damaged, or beyond the bounds; errors of `each`.
pub fn each(file: &[u8], each: &mut dyn FnMut(Json) -> Result<()>) -> Result<()> {
    let mut bytes = Bytes::new(file.strip_prefix(MARK).ok_or("it is no file of Avro")?);
    let (mut schema, mut codec) = (None, b"null".as_slice());
    loop {
        let count = bytes.count()?;
        if count == 0 {
            break;
        }
        for _ in 0..count {
            let (key, value) = (bytes.text()?, bytes.text()?);
            match key {
                b"avro.schema" => schema = Some(value),
                b"avro.codec" => codec = value,
                _ => {}
            }
        }
    }
    let types = Types::parse(schema.ok_or(DAMAGED)?)?;
    let sync = bytes.take(16)?;
    while !bytes.rest.is_empty() {
        let (count, length) = (bytes.count()?, bytes.count()?);
        let block = bytes.take(length)?;
        if bytes.take(16)? != sync {
            return Err(DAMAGED.into());
        }
        let inflated = match codec {
            b"null" => None,
            b"deflate" => Some(inflated(block)?),
            other => {
                let other = String::from_utf8_lossy(other);
                return Err(format!(
                    "it is compressed with `{other}`; only with `deflate` it is read"
                ));
            }
        };
        let mut records = Bytes::new(inflated.as_deref().unwrap_or(block));
        for _ in 0..count {
            // No record is empty, so that no number of them is endless.
            let before = records.rest.len();
            records.values = MOST_VALUES;
            let record = types.value(&types.root, &mut records, 0)?;
            if records.rest.len() == before {
                return Err(DAMAGED.into());
            }
            each(record)?;
        }
        if !records.rest.is_empty() {
            return Err(DAMAGED.into());
        }
    }
    Ok(())
}

fn inflated(block: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = DeflateDecoder::new(block).take(LONGEST + 1).read_to_end(&mut bytes);
    match read {
        Ok(_) if bytes.len() as u64 <= LONGEST => Ok(bytes),
        Ok(_) => Err(format!("a block of it is longer than {} MiB", LONGEST >> 20)),
        Err(_) => Err(DAMAGED.into()),
    }
}

/// The types of a schema.
struct Types {
    root: Schema,
    named: Vec<Named>,
}

impl Types {
    fn parse(schema: &[u8]) -> Result<Self> {
        let json =
            serde_json::from_slice(schema).map_err(|error| format!("its schema: {error}"))?;
        let mut parser = Parser { names: HashMap::new(), named: Vec::new(), count: 0 };
        let root = parser.schema(&json)?;
        Ok(Self { root, named: parser.named })
    }

    fn value(&self, schema: &Schema, bytes: &mut Bytes<'_>, depth: usize) -> Result<Json> {
        if depth > DEEPEST {
            return Err("its values nest too deep".into());
        }
        let values = bytes.values.checked_sub(1);
        bytes.values = values.ok_or("a record of it has too many values")?;
        Ok(match schema {
            Schema::Null => Json::Null,
            Schema::Boolean => (bytes.take(1)? != [0]).into(),
            Schema::Long => bytes.long()?.into(),
            Schema::Float => bytes.take(4).map(|_| Json::Null)?,
            Schema::Double => bytes.take(8).map(|_| Json::Null)?,
            Schema::Bytes => bytes.text().map(|_| Json::Null)?,
            Schema::Text => {
                let text = String::from_utf8(bytes.text()?.to_vec());
                text.map_err(|_| DAMAGED)?.into()
            }
            Schema::Array(item) => {
                self.items(bytes, &mut |bytes| self.value(item, bytes, depth + 1))?
            }
            Schema::Map(value) => self.items(bytes, &mut |bytes| {
                bytes.text()?;
                self.value(value, bytes, depth + 1)
            })?,
            Schema::Union(all) => {
                let at = usize::try_from(bytes.long()?).map_err(|_| DAMAGED)?;
                self.value(all.get(at).ok_or(DAMAGED)?, bytes, depth + 1)?
            }
            Schema::Named(at) => self.named(&self.named[*at], bytes, depth + 1)?,
        })
    }

    fn named(&self, named: &Named, bytes: &mut Bytes<'_>, depth: usize) -> Result<Json> {
        Ok(match named {
            Named::Record(fields) => {
                let mut record = Map::new();
                for (name, schema) in fields {
                    record.insert(name.clone(), self.value(schema, bytes, depth)?);
                }
                record.into()
            }
            Named::Fixed(size) => bytes.take(*size).map(|_| Json::Null)?,
            Named::Enum(symbols) => {
                let at = usize::try_from(bytes.long()?).map_err(|_| DAMAGED)?;
                symbols.get(at).ok_or(DAMAGED)?.as_str().into()
            }
            Named::Open => return Err(DAMAGED.into()),
        })
    }

    /// The items of an array or of a map, which stand in blocks. Items of most types take a byte at least, so no block
    /// has more of them than bytes are left; those of other types are bounded by the values of the record.
    fn items(
        &self,
        bytes: &mut Bytes<'_>,
        item: &mut dyn FnMut(&mut Bytes<'_>) -> Result<Json>,
    ) -> Result<Json> {
        let mut items = Vec::new();
        loop {
            let count = bytes.long()?;
            if count == 0 {
                return Ok(items.into());
            }
            if count < 0 {
                // Its length in bytes follows.
                bytes.long()?;
            }
            if count.unsigned_abs() > bytes.rest.len() as u64 {
                return Err(DAMAGED.into());
            }
            for _ in 0..count.unsigned_abs() {
                items.push(item(bytes)?);
            }
        }
    }
}

struct Parser {
    names: HashMap<String, usize>,
    named: Vec<Named>,
    count: usize,
}

impl Parser {
    fn schema(&mut self, json: &Json) -> Result<Schema> {
        self.count += 1;
        if self.count > MOST {
            return Err(format!("its schema has more than {MOST} types"));
        }
        match json {
            Json::String(name) => self.by_name(name),
            Json::Array(all) => {
                all.iter().map(|one| self.schema(one)).collect::<Result<_>>().map(Schema::Union)
            }
            Json::Object(_) => self.complex(json),
            _ => Err(DAMAGED.into()),
        }
    }

    fn by_name(&mut self, name: &str) -> Result<Schema> {
        Ok(match name {
            "null" => Schema::Null,
            "boolean" => Schema::Boolean,
            "int" | "long" => Schema::Long,
            "float" => Schema::Float,
            "double" => Schema::Double,
            "bytes" => Schema::Bytes,
            "string" => Schema::Text,
            name => Schema::Named(*self.names.get(name).ok_or_else(|| {
                format!("its schema names the type `{name}`, which is not in it")
            })?),
        })
    }

    fn complex(&mut self, json: &Json) -> Result<Schema> {
        match json["type"].as_str() {
            Some("array") => Ok(Schema::Array(Box::new(self.schema(&json["items"])?))),
            Some("map") => Ok(Schema::Map(Box::new(self.schema(&json["values"])?))),
            Some("fixed") => {
                let size = json["size"].as_u64().ok_or(DAMAGED)?;
                Ok(Schema::Named(self.add(json, Named::Fixed(size))))
            }
            Some("enum") => {
                let symbols = json["symbols"].as_array().ok_or(DAMAGED)?.iter();
                let symbols = symbols.map(|one| one.as_str().map(str::to_owned));
                let symbols = symbols.collect::<Option<_>>().ok_or(DAMAGED)?;
                Ok(Schema::Named(self.add(json, Named::Enum(symbols))))
            }
            Some("record") => {
                let at = self.add(json, Named::Open);
                let mut fields = Vec::new();
                for field in json["fields"].as_array().ok_or(DAMAGED)? {
                    let name = field["name"].as_str().ok_or(DAMAGED)?.to_owned();
                    fields.push((name, self.schema(&field["type"])?));
                }
                self.named[at] = Named::Record(fields);
                Ok(Schema::Named(at))
            }
            Some(name) => self.by_name(name),
            None => self.schema(&json["type"]),
        }
    }

    fn add(&mut self, json: &Json, named: Named) -> usize {
        let at = self.named.len();
        self.named.push(named);
        self.names.insert(json["name"].as_str().unwrap_or_default().to_owned(), at);
        at
    }
}

/// Bytes that are read from their beginning.
struct Bytes<'b> {
    rest: &'b [u8],
    /// The values that a record may still have.
    values: usize,
}

impl<'b> Bytes<'b> {
    fn new(rest: &'b [u8]) -> Self {
        Self { rest, values: MOST_VALUES }
    }

    fn take(&mut self, count: u64) -> Result<&'b [u8]> {
        let count = usize::try_from(count).map_err(|_| DAMAGED)?;
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(DAMAGED)?;
        self.rest = rest;
        Ok(taken)
    }

    /// A number in groups of seven bits, the lowest first; its lowest bit is the sign.
    fn long(&mut self) -> Result<i64> {
        let mut number: u64 = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((number >> 1) as i64 ^ -((number & 1) as i64));
            }
        }
        Err(DAMAGED.into())
    }

    /// A number that is none less than 0.
    fn count(&mut self) -> Result<u64> {
        u64::try_from(self.long()?).map_err(|_| DAMAGED.into())
    }

    fn text(&mut self) -> Result<&'b [u8]> {
        let length = self.count()?;
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    const SCHEMA: &str = r#"{"type": "record", "name": "entry", "fields": [
        {"name": "n", "type": ["null", "long"]}, {"name": "path", "type": "string"},
        {"name": "ids", "type": {"type": "array", "items": "int"}},
        {"name": "inner", "type": {"type": "record", "name": "r2", "fields": [{"name": "f", "type": {"type": "fixed", "name": "x", "size": 2}}]}}
    ]}"#;

    fn long(number: i64, into: &mut Vec<u8>) {
        let mut number = ((number << 1) ^ (number >> 63)) as u64;
        while number >= 0x80 {
            into.push(number as u8 | 0x80);
            number >>= 7;
        }
        into.push(number as u8);
    }

    fn text(text: &[u8], into: &mut Vec<u8>) {
        long(text.len() as i64, into);
        into.extend(text);
    }

    /// A file of one block with so many records.
    fn file(schema: &str, count: i64, records: &[u8]) -> Vec<u8> {
        let mut file = MARK.to_vec();
        long(1, &mut file);
        text(b"avro.schema", &mut file);
        text(schema.as_bytes(), &mut file);
        long(0, &mut file);
        file.extend([7; 16]);
        long(count, &mut file);
        text(records, &mut file);
        file.extend([7; 16]);
        file
    }

    fn read(file: &[u8]) -> Result<Vec<Json>> {
        let mut all = Vec::new();
        each(file, &mut |record| {
            all.push(record);
            Ok(())
        })?;
        Ok(all)
    }

    fn record() -> Vec<u8> {
        let mut bytes = Vec::new();
        long(1, &mut bytes);
        long(-300, &mut bytes);
        text("s3://b/\u{e9}".as_bytes(), &mut bytes);
        for number in [2, 1, 2, 0] {
            long(number, &mut bytes);
        }
        bytes.extend([1, 2]);
        bytes
    }

    #[test]
    fn records_are_read() {
        let whole = file(SCHEMA, 1, &record());
        let want = serde_json::json!(
            {"n": -300, "path": "s3://b/\u{e9}", "ids": [1, 2], "inner": {"f": null}}
        );
        assert_eq!(read(&whole), Ok(vec![want]));
        for end in 0..whole.len() {
            let at_block = end + 1 + record().len() + 1 + 16 == whole.len();
            assert!(read(&whole[..end]).is_err() || at_block, "cut at {end}");
        }
    }

    #[test]
    fn what_claims_more_than_it_holds_is_damaged() {
        let record =
            |fields: &str| format!(r#"{{"type": "record", "name": "r", "fields": [{fields}]}}"#);
        let nulls = record(r#"{"name": "a", "type": {"type": "array", "items": "null"}}"#);
        let mut many = Vec::new();
        long(i64::MAX, &mut many);
        assert!(read(&file(&nulls, 1, &many)).is_err());
        assert!(read(&file(&record(""), i64::MAX, b"")).is_err(), "empty records");
        let cyclic = record(r#"{"name": "a", "type": "r"}"#);
        assert!(read(&file(&cyclic, 1, b"x")).is_err());
        let fixed = record(
            r#"{"name": "a", "type": {"type": "fixed", "name": "f", "size": 18446744073709551615}}"#,
        );
        assert!(read(&file(&fixed, 1, b"x")).is_err());
        assert!(read(&file(r#""nothing""#, 1, b"x")).is_err());
        let deep = "[".repeat(1000) + &"]".repeat(1000);
        assert!(read(&file(&deep, 1, b"x")).is_err());
    }

    #[test]
    fn values_without_bytes_are_bounded() {
        let too_many: Result<Vec<Json>> = Err("a record of it has too many values".to_owned());
        let nulls = r#"{"type": "record", "name": "r", "fields": [{"name": "a", "type": {"type": "array", "items": "null"}}]}"#;
        let blocks = |count| {
            let mut bytes = Vec::new();
            (0..20_000).for_each(|_| long(count, &mut bytes));
            long(0, &mut bytes);
            bytes
        };
        assert_eq!(read(&file(nulls, 1, &blocks(1))).map(|all| all.len()), Ok(1));
        assert_eq!(read(&file(nulls, 1, &blocks(20_000))), too_many);
        // Each record holds the one before it twice.
        let mut doubling = r#""null""#.to_owned();
        for level in 0..31 {
            let twice = match level {
                0 => doubling.clone(),
                _ => format!(r#""r{}""#, level - 1),
            };
            doubling = format!(
                r#"{{"type": "record", "name": "r{level}", "fields": [{{"name": "a", "type": {doubling}}}, {{"name": "b", "type": {twice}}}]}}"#
            );
        }
        assert_eq!(read(&file(&doubling, 1, b"x")), too_many);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(records in prop::collection::vec(any::<u8>(), 0..200), at in 0..400_usize, flip in any::<u8>()) {
            let _ = read(&file(SCHEMA, 3, &records));
            let mut damaged = file(SCHEMA, 1, &record());
            if let Some(byte) = damaged.get_mut(at) {
                *byte ^= flip;
            }
            let _ = read(&damaged);
        }
    }
}
