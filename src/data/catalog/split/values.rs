//! Values of PostgreSQL, sent and read as text whatever their type.

use std::error::Error as StdError;

use bytes::BytesMut;
use tokio_postgres::types::{Format, FromSql, IsNull, ToSql, Type, to_sql_checked};

use crate::catalog::ask::Bound;
use dcfs_core::time::Timestamp;

/// A value sent as text, whatever type the server infers.
#[derive(Debug)]
pub struct Value(Option<String>);

impl Value {
    pub fn of(bound: &Bound<'_>) -> Self {
        Self(match bound {
            Bound::Null => None,
            Bound::Int(n) => Some(n.to_string()),
            Bound::Text(text) => Some((*text).to_owned()),
        })
    }
}

impl ToSql for Value {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        let Some(text) = &self.0 else { return Ok(IsNull::Yes) };
        out.extend_from_slice(text.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

/// A value of any type that the tables may have, converted to text.
pub struct Text(pub Option<String>);

impl<'a> FromSql<'a> for Text {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        let text = match *kind {
            Type::BOOL => i64::from(bool::from_sql(kind, raw)?).to_string(),
            Type::INT2 => i16::from_sql(kind, raw)?.to_string(),
            Type::INT4 => i32::from_sql(kind, raw)?.to_string(),
            Type::INT8 => i64::from_sql(kind, raw)?.to_string(),
            Type::FLOAT4 => f32::from_sql(kind, raw)?.to_string(),
            Type::FLOAT8 => f64::from_sql(kind, raw)?.to_string(),
            Type::TIMESTAMP | Type::TIMESTAMPTZ => {
                // Microseconds since 2000-01-01.
                const Y2000: i64 = 946_684_800_000_000;
                let since = i64::from_be_bytes(raw.try_into()?);
                Timestamp::from_micros(since.saturating_add(Y2000)).catalog()
            }
            Type::UUID => uuid::Uuid::from_slice(raw)?.to_string(),
            Type::JSONB => String::from_utf8(raw.get(1..).unwrap_or_default().to_vec())?,
            _ => String::from_utf8(raw.to_vec())?,
        };
        Ok(Self(Some(text)))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
