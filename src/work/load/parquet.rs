//! Parquet as records: converts values to JSON, so that types are found as for any other file.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dcfs_core::error::Result;
use dcfs_core::time::Timestamp;
use parquet::basic::{LogicalType, TimeUnit};
use parquet::data_type::Decimal;
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use parquet::schema::types::Type;
use serde_json::{Map, Value as Json};

use super::records::{EachRecord, Record};

use super::{Error, footer};

/// The longest footer, in bytes.
const LONGEST_FOOTER: u32 = 256 << 20;

/// Microseconds per day.
const DAY: i64 = 86_400_000_000;

/// Passes on every row of a file in order.
///
/// # Errors
/// A file that is not Parquet, or damaged; errors of `each`.
pub fn each(opened: File, file: &str, each: &mut EachRecord<'_>) -> Result<()> {
    let wrong = |what: String| Error::File { file: file.to_owned(), what };
    let damaged = || wrong("it is damaged".into());
    let unread = |cause| Error::Unread { file: file.to_owned(), cause };
    if let Some(found) = footer_of(&opened).map_err(unread)? {
        footer::read(&found).map_err(|what| wrong(format!("its footer: {what}")))?;
    }
    let opened = catch_unwind(AssertUnwindSafe(|| SerializedFileReader::new(opened)));
    let reader = opened.map_err(|_| damaged())?.map_err(|error| wrong(told(&error)))?;
    // The crate returns as many rows as a group claims, filled with nothing if there are no more.
    let is_true = |group: &RowGroupMetaData| {
        let is_flat = |column: &&ColumnChunkMetaData| column.column_descr().max_rep_level() == 0;
        group.num_rows() >= 0
            && group.columns().iter().filter(is_flat).all(|c| c.num_values() == group.num_rows())
    };
    if !reader.metadata().row_groups().iter().all(is_true) {
        return Err(wrong("it is damaged: its columns are not as long as it says".into()).into());
    }
    let schema = reader.metadata().file_metadata().schema();
    let nanos: HashSet<String> = schema
        .get_fields()
        .iter()
        .filter(|field| is_nanos(field))
        .map(|f| f.name().to_owned())
        .collect();
    let rows = catch_unwind(AssertUnwindSafe(|| reader.get_row_iter(None)));
    let mut rows = rows.map_err(|_| damaged())?.map_err(|error| wrong(told(&error)))?;
    for number in 1.. {
        // The crate panics on some damaged files.
        let next = catch_unwind(AssertUnwindSafe(|| rows.next()));
        let next = next.map_err(|_| wrong(format!("it is damaged, at row {number}")))?;
        let Some(row) = next else { break };
        let row = row.map_err(|error| wrong(format!("row {number}: {}", told(&error))))?;
        each(number, Record::Json(&fields(row, &nanos)))?;
    }
    Ok(())
}

/// The number of rows and the names of the columns of a file, by its footer alone; `None` of what is none.
pub fn heading(footer: &[u8]) -> Option<(u64, Vec<String>)> {
    let found = footer::read(footer).ok()?;
    Some((found.rows, found.columns))
}

/// The footer of a file; `None` if the file does not end like Parquet, which the crate tells better.
fn footer_of(file: &File) -> io::Result<Option<Vec<u8>>> {
    let size = file.metadata()?.len();
    let Some(end) = size.checked_sub(8) else { return Ok(None) };
    let mut tail = [0; 8];
    file.read_exact_at(&mut tail, end)?;
    let [a, b, c, d, mark @ ..] = tail;
    let length = u32::from_le_bytes([a, b, c, d]);
    let Some(start) = end.checked_sub(length.into()) else { return Ok(None) };
    if mark != *b"PAR1" {
        return Ok(None);
    }
    if length > LONGEST_FOOTER {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "its footer is too long"));
    }
    let mut footer = vec![0; length as usize];
    file.read_exact_at(&mut footer, start)?;
    Ok(Some(footer))
}

/// The error of the crate, with a remedy.
fn told(error: &parquet::errors::ParquetError) -> String {
    let said = error.to_string();
    match said.contains("feature") || said.contains("codec") {
        true => format!("{said}; only files without compression, or with Snappy, are read"),
        false => said,
    }
}

/// Whether a column holds nanoseconds since 1970, which the crate returns as plain numbers.
fn is_nanos(field: &Type) -> bool {
    matches!(
        field.get_basic_info().logical_type_ref(),
        Some(LogicalType::Timestamp(time)) if time.unit == TimeUnit::NANOS
    )
}

fn fields(row: Row, nanos: &HashSet<String>) -> Map<String, Json> {
    let fields = row.into_columns().into_iter();
    fields
        .map(|(name, field)| {
            let value = match field {
                Field::Long(n) if nanos.contains(&name) => time(n.div_euclid(1000)),
                field => json(field),
            };
            (name, value)
        })
        .collect()
}

fn json(field: Field) -> Json {
    match field {
        Field::Null => Json::Null,
        Field::Bool(is) => is.into(),
        Field::Byte(n) => n.into(),
        Field::Short(n) => n.into(),
        Field::Int(n) => n.into(),
        Field::Long(n) => n.into(),
        Field::UByte(n) => n.into(),
        Field::UShort(n) => n.into(),
        Field::UInt(n) => n.into(),
        Field::ULong(n) => n.into(),
        Field::Float16(x) => f64::from(x).into(),
        // Via the shortest text: 0.1 stays 0.1.
        Field::Float(x) => x.to_string().parse::<f64>().unwrap_or(x.into()).into(),
        Field::Double(x) => x.into(),
        Field::Decimal(decimal) => decimal_of(&decimal),
        Field::Str(text) => text.into(),
        Field::Bytes(bytes) => STANDARD.encode(bytes.data()).into(),
        Field::Date(days) => time(i64::from(days).saturating_mul(DAY)),
        Field::TimeMillis(n) => n.into(),
        Field::TimeMicros(n) => n.into(),
        Field::TimestampMillis(n) => time(n.saturating_mul(1000)),
        Field::TimestampMicros(n) => time(n),
        Field::Group(row) => fields(row, &HashSet::new()).into(),
        Field::ListInternal(list) => list.elements().iter().cloned().map(json).collect(),
        Field::MapInternal(map) => {
            let key = |key: &Field| match json(key.clone()) {
                Json::String(text) => text,
                other => other.to_string(),
            };
            map.entries()
                .iter()
                .map(|(k, v)| (key(k), json(v.clone())))
                .collect::<Map<_, _>>()
                .into()
        }
    }
}

fn time(micros: i64) -> Json {
    Timestamp::from_micros(micros).rfc3339().into()
}

/// A fixed-point decimal.
fn decimal_of(decimal: &Decimal) -> Json {
    let bytes = decimal.data();
    let Some(first) = bytes.first().filter(|_| bytes.len() <= 16) else { return Json::Null };
    let fill = if *first >= 0x80 { 0xff } else { 0 };
    let mut wide = [fill; 16];
    wide[16 - bytes.len()..].copy_from_slice(bytes);
    (i128::from_be_bytes(wide) as f64 / 10_f64.powi(decimal.scale())).into()
}
