//! The values of a signal, and their form in the side file.

use dcfs_core::schema::{Scalar, Signal, SignalKind};
use serde_json::{Map, Value as Json, json};

/// A value of a signal, of a field of a model or of an item of a list.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Nothing,
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    /// Microseconds since 1970, UTC.
    Time(i64),
    Bytes(Vec<u8>),
    List(Vec<Value>),
    Dict(Vec<(String, Value)>),
    Model(Vec<(String, Value)>),
}

impl Value {
    /// The part of it that a catalog can store.
    pub fn stored(&self) -> Self {
        match self {
            Self::Float(x) if x.is_nan() => Self::Nothing,
            Self::Float(x) if *x == 0.0 => Self::Float(0.0),
            Self::Model(fields) => {
                let stored = fields.iter().map(|(name, value)| (name.clone(), value.stored()));
                Self::Model(stored.collect())
            }
            other => other.clone(),
        }
    }

    /// Its form in the side file.
    pub fn json(&self) -> Json {
        match self {
            Self::Nothing => Json::Null,
            Self::Int(n) => json!(n),
            // All NaNs are equal.
            Self::Float(x) if x.is_nan() => json!({"float": f64::NAN.to_bits()}),
            Self::Float(x) => json!({"float": x.to_bits()}),
            Self::Bool(b) => json!(b),
            Self::Text(text) => json!(text),
            Self::Time(micros) => json!({"time": micros}),
            Self::Bytes(bytes) => {
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                json!({"bytes": hex})
            }
            Self::List(items) => items.iter().map(Self::json).collect(),
            Self::Dict(items) => json!({"dict": object(items)}),
            Self::Model(fields) => json!({"model": object(fields)}),
        }
    }
}

fn object(of: &[(String, Value)]) -> Map<String, Json> {
    of.iter().map(|(name, value)| (name.clone(), value.json())).collect()
}

/// `[name, type, optional]`; a model's type is the list of its fields. `inside`: below an optional model, where
/// scalars may be missing.
pub fn signal(signal: &Signal, inside: bool) -> Json {
    let inside = inside || signal.optional;
    let kind = match &signal.kind {
        SignalKind::File => json!("file"),
        SignalKind::Image => json!("image"),
        SignalKind::Scalar(scalar) => json!(word(*scalar)),
        SignalKind::List(item) => {
            let item = self::signal(&Signal::new("", SignalKind::clone(item)), false);
            json!(format!("list[{}]", item[1].as_str().unwrap_or_default()))
        }
        SignalKind::Dict | SignalKind::Json => json!("dict"),
        SignalKind::Model(fields) => fields.iter().map(|f| self::signal(f, inside)).collect(),
    };
    let optional = signal.optional || (inside && matches!(signal.kind, SignalKind::Scalar(_)));
    json!([signal.name, kind, optional])
}

const fn word(scalar: Scalar) -> &'static str {
    match scalar {
        Scalar::Text => "str",
        Scalar::Int => "int",
        Scalar::Float => "float",
        Scalar::Bool => "bool",
        Scalar::Time => "datetime",
        Scalar::Bytes => "bytes",
    }
}
