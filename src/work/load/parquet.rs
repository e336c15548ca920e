//! Parquet as records: converts values to JSON, so that types are found as for any other file.

use std::collections::HashSet;
use std::fs::File;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dcfs_core::error::Result;
use dcfs_core::time::Timestamp;
use dcfs_data::parquet_file::{Fault, Rows};
use parquet::basic::{LogicalType, TimeUnit};
use parquet::data_type::Decimal;
use parquet::record::{Field, Row};
use parquet::schema::types::Type;
use serde_json::{Map, Value as Json};

use super::Error;
use super::lake::View;
use super::records::{EachRecord, Record};

/// Microseconds per day.
const DAY: i64 = 86_400_000_000;

/// Passes on every row of a file in order; of a table's data file, as the table has it.
///
/// # Errors
/// A file that is not Parquet, or damaged, or disagrees with its table; errors of `each`.
pub fn each(
    opened: File,
    file: &str,
    view: Option<&View>,
    each: &mut EachRecord<'_>,
) -> Result<()> {
    /// Why not all rows were passed on.
    enum Ended {
        File(Fault),
        Caller(dcfs_core::error::Error),
    }
    impl From<Fault> for Ended {
        fn from(fault: Fault) -> Self {
            Self::File(fault)
        }
    }
    let told = |fault| match fault {
        Fault::Wrong(what) => Error::File { file: file.to_owned(), what },
        Fault::Unread(cause) => Error::Unread { file: file.to_owned(), cause },
    };
    let rows = Rows::open(opened).map_err(told)?;
    let nanos = rows.columns().filter(|field| is_nanos(field));
    let nanos: HashSet<String> = nanos.map(|field| field.name().to_owned()).collect();
    let view = view.map(|view| view.fit(rows.schema(), rows.count())).transpose();
    let view = view.map_err(|what| told(Fault::Wrong(what)))?;
    let read = rows.each(&mut |number, row| {
        let row = match &view {
            Some(view) if view.is_deleted(number - 1) => return Ok(()),
            Some(view) => view.row(fields(row, &nanos)),
            None => fields(row, &nanos),
        };
        each(number, Record::Json(&row)).map_err(Ended::Caller)
    });
    read.map_err(|ended| match ended {
        Ended::File(fault) => told(fault).into(),
        Ended::Caller(error) => error,
    })
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
