//! Values as the cells that DataChain would write.

use dcfs_core::cell::Cell;
use dcfs_core::schema::{Signal, SignalKind};
use dcfs_core::time::Timestamp;

use crate::value::Value;

/// An owned cell.
#[derive(Debug)]
pub enum Own {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

impl Own {
    pub fn cell(&self) -> Cell<'_> {
        match self {
            Self::Null => Cell::Null,
            Self::Integer(n) => Cell::Integer(*n),
            Self::Real(x) => Cell::Real(*x),
            Self::Text(text) => Cell::Text(text.as_bytes()),
            Self::Blob(bytes) => Cell::Blob(bytes),
        }
    }
}

/// The cells of a row, in the order of the layout.
pub fn cells(signals: &[Signal], row: &[Value]) -> Vec<Own> {
    let mut cells = Vec::new();
    for (signal, value) in signals.iter().zip(row) {
        add(&mut cells, signal, value);
    }
    cells
}

fn add(cells: &mut Vec<Own>, signal: &Signal, value: &Value) {
    let Some(fields) = fields(&signal.kind) else {
        return cells.push(cell(value));
    };
    if signal.optional {
        cells.push(Own::Integer(i64::from(*value == Value::Nothing)));
    }
    for (number, field) in fields.iter().enumerate() {
        match value {
            Value::Model(values) => add(cells, field, &values[number].1),
            _ => absent(cells, field),
        }
    }
}

/// NULL for each field of an absent model, including its own tag.
fn absent(cells: &mut Vec<Own>, signal: &Signal) {
    let Some(fields) = fields(&signal.kind) else {
        return cells.push(Own::Null);
    };
    cells.extend(signal.optional.then_some(Own::Null));
    for field in &fields {
        absent(cells, field);
    }
}

/// The fields of a model; DataChain's own models are recognised by their number of fields.
fn fields(kind: &SignalKind) -> Option<Vec<Signal>> {
    let dummies = |count| vec![Signal::new("", SignalKind::Dict); count];
    match kind {
        SignalKind::File => Some(dummies(8)),
        SignalKind::Image => Some(dummies(3)),
        SignalKind::Model(fields) => Some(fields.clone()),
        _ => None,
    }
}

fn cell(value: &Value) -> Own {
    match value {
        Value::Nothing => Own::Null,
        Value::Int(n) => Own::Integer(*n),
        Value::Float(x) => Own::Real(*x),
        Value::Bool(b) => Own::Integer(i64::from(*b)),
        Value::Text(text) => Own::Text(text.clone()),
        Value::Time(micros) => Own::Text(Timestamp::from_micros(*micros).catalog()),
        Value::Bytes(bytes) => Own::Blob(bytes.clone()),
        Value::List(_) | Value::Dict(_) | Value::Model(_) => Own::Text(json(value)),
    }
}

/// JSON as DataChain stores it: compact, infinities and NaN as in Python's `json`, times as text.
fn json(value: &Value) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let object = |items: &[(String, Value)]| {
        let items: Vec<String> =
            items.iter().map(|(key, value)| format!("{}:{}", quoted(key), json(value))).collect();
        format!("{{{}}}", items.join(","))
    };
    match value {
        Value::Nothing => "null".into(),
        Value::Int(n) => n.to_string(),
        Value::Float(x) if x.is_nan() => "NaN".into(),
        Value::Float(x) if x.is_infinite() => {
            if *x > 0.0 { "Infinity" } else { "-Infinity" }.into()
        }
        Value::Float(x) => format!("{x:?}"),
        Value::Bool(b) => b.to_string(),
        Value::Text(text) => quoted(text),
        Value::Time(micros) => {
            quoted(&Timestamp::from_micros(*micros).rfc3339().replace('Z', "+00:00"))
        }
        Value::Bytes(_) => unreachable!("DataChain stores no bytes in JSON"),
        Value::List(items) => {
            format!("[{}]", items.iter().map(json).collect::<Vec<_>>().join(","))
        }
        Value::Dict(items) | Value::Model(items) => object(items),
    }
}
