//! Builds the columns of a new version and the JSON texts that describe it, signal by signal.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{Layout, NewColumn, Scalar, Signal, SignalKind};
use crate::hex::hex;

/// The columns and JSON texts under construction.
#[derive(Default)]
pub struct Building {
    pub columns: Vec<NewColumn>,
    pub types: Map<String, Value>,
    pub models: Map<String, Value>,
    pub sizes: Vec<String>,
}

impl Building {
    /// Adds the columns of `signal` below `prefix`; returns its type text. `inside`: below an
    /// optional model.
    pub fn add(&mut self, prefix: &str, signal: &Signal, inside: bool) -> String {
        let column = format!("{prefix}{}", signal.name);
        let type_text = match &signal.kind {
            SignalKind::Scalar(scalar) => {
                let (python, declared, told) = scalar.texts();
                let nullable = signal.optional || inside;
                self.column(&column, declared, scalar_type(told, nullable));
                python.to_owned()
            }
            SignalKind::List(item) => {
                let (python, told) = self.item(item);
                self.column(&column, "ARRAY", json!({"type": "Array", "item_type": told}));
                format!("list[{python}]")
            }
            SignalKind::Json => {
                self.column(&column, "JSON", json!({"type": "JSON"}));
                "dict".to_owned()
            }
            SignalKind::Dict => {
                self.column(&column, "JSON", json!({"type": "JSON"}));
                "dict[str, str]".to_owned()
            }
            SignalKind::File => self.model(&column, signal, &file(), inside),
            SignalKind::Image => self.model(&column, signal, &image(), inside),
            SignalKind::Model(fields) => self.model(&column, signal, fields, inside),
        };
        // NaN is stored as NULL, which DataChain reads as None below an optional model.
        let is_lossy = inside && signal.kind == SignalKind::Scalar(Scalar::Float);
        if signal.optional || is_lossy { format!("Optional[{type_text}]") } else { type_text }
    }

    fn model(&mut self, column: &str, signal: &Signal, fields: &[Signal], inside: bool) -> String {
        if signal.optional {
            self.column(&format!("{column}___type_tag"), "INTEGER", scalar_type("Int64", true));
        }
        let prefix = format!("{column}__");
        let inside = inside || signal.optional;
        let mut texts = Map::new();
        for field in fields {
            let text = match (&signal.kind, field.name.as_str()) {
                (SignalKind::File, "location") => {
                    self.column(&format!("{prefix}location"), "JSON", json!({"type": "JSON"}));
                    "Union[dict, list[dict], NoneType]".to_owned()
                }
                _ => self.add(&prefix, field, inside),
            };
            texts.insert(field.name.clone(), text.into());
        }
        if matches!(signal.kind, SignalKind::File) {
            self.sizes.push(format!("{prefix}size"));
        }
        let name = model_name(&signal.kind, &texts);
        let model = custom_type(&name, &signal.kind, texts);
        self.models.insert(name.clone(), model);
        name
    }

    /// The type of a list's items, in Python and in `schema`.
    fn item(&mut self, item: &SignalKind) -> (String, Value) {
        match item {
            SignalKind::Scalar(scalar) => {
                let (python, _, told) = scalar.texts();
                (python.to_owned(), json!({"type": told}))
            }
            SignalKind::List(inner) => {
                let (python, told) = self.item(inner);
                (format!("list[{python}]"), json!({"type": "Array", "item_type": told}))
            }
            SignalKind::Model(fields) => (self.item_model(item, fields), json!({"type": "JSON"})),
            _ => ("dict".to_owned(), json!({"type": "JSON"})),
        }
    }

    /// The model of a list's items, which has no columns: an item is a JSON object. Returns its name.
    fn item_model(&mut self, kind: &SignalKind, fields: &[Signal]) -> String {
        let mut texts = Map::new();
        for field in fields {
            let text = self.item(&field.kind).0;
            let text = if field.optional { format!("Optional[{text}]") } else { text };
            texts.insert(field.name.clone(), text.into());
        }
        let name = model_name(kind, &texts);
        let model = custom_type(&name, kind, texts);
        self.models.insert(name.clone(), model);
        name
    }

    /// Adds the columns of another version's signal, and the models it refers to; returns whether
    /// it is a single value.
    pub fn take(&mut self, from: &Layout, column: &str, name: &str, may_be_null: bool) -> bool {
        let types: Value = serde_json::from_str(&from.types).unwrap_or_default();
        let below = from.below(column);
        for own in &below {
            let mut told =
                types.get(&own.name).cloned().unwrap_or_else(|| json!({"type": "String"}));
            if may_be_null && let Some(told) = told.as_object_mut() {
                let is_scalar =
                    !matches!(told.get("type").and_then(Value::as_str), Some("Array" | "JSON"));
                if is_scalar {
                    told.insert("dc_nullable".into(), true.into());
                }
            }
            self.column(&format!("{name}{}", &own.name[column.len()..]), own.declared, told);
        }
        let features: Value = serde_json::from_str(&from.features).unwrap_or_default();
        if let Some(models) = features.get("_custom_types").and_then(Value::as_object) {
            for (model, told) in models {
                self.models.entry(model.clone()).or_insert_with(|| told.clone());
            }
        }
        matches!(below.as_slice(), [own] if own.name == column)
    }

    pub fn is_nullable(&self, column: &str) -> bool {
        self.types.get(column).and_then(|told| told.get("dc_nullable")) == Some(&Value::Bool(true))
    }

    pub fn column(&mut self, name: &str, declared: &'static str, told: Value) {
        self.columns.push(NewColumn { name: name.to_owned(), declared });
        self.types.insert(name.to_owned(), told);
    }
}

fn scalar_type(told: &str, nullable: bool) -> Value {
    if nullable { json!({"type": told, "dc_nullable": true}) } else { json!({"type": told}) }
}

pub fn system_types() -> Map<String, Value> {
    ["sys__id", "sys__rand"]
        .map(|name| (name.to_owned(), json!({"type": "UInt64"})))
        .into_iter()
        .collect()
}

/// The fields of DataChain's `File`, in its order. `location` has a type of its own.
pub fn file() -> Vec<Signal> {
    let text = |name| Signal::new(name, SignalKind::Scalar(Scalar::Text));
    vec![
        text("source"),
        text("path"),
        Signal::new("size", SignalKind::Scalar(Scalar::Int)),
        text("version"),
        text("etag"),
        Signal::new("is_latest", SignalKind::Scalar(Scalar::Bool)),
        Signal::new("last_modified", SignalKind::Scalar(Scalar::Time)),
        Signal::new("location", SignalKind::Dict),
    ]
}

/// The fields of DataChain's `Image`.
pub fn image() -> Vec<Signal> {
    vec![
        Signal::new("width", SignalKind::Scalar(Scalar::Int)),
        Signal::new("height", SignalKind::Scalar(Scalar::Int)),
        Signal::new("format", SignalKind::Scalar(Scalar::Text)),
    ]
}

/// An entry of `_custom_types`, in the form DataChain writes for its own models.
fn custom_type(name: &str, kind: &SignalKind, fields: Map<String, Value>) -> Value {
    let base = [
        json!(["DataModel", "datachain.lib.data_model", "DataModel@v1"]),
        json!(["BaseModel", "pydantic.main", null]),
        json!(["object", "builtins", null]),
    ];
    let own = match kind {
        SignalKind::File => Some(json!(["File", "datachain.lib.file", "File@v1"])),
        SignalKind::Image => Some(json!(["Image", "datachain.lib.file", "Image@v1"])),
        _ => None,
    };
    let bases: Vec<Value> = own.map(|own| [&[own], &base[..]].concat()).unwrap_or_default();
    let hidden: &[&str] = match kind {
        SignalKind::File => {
            &["source", "version", "etag", "is_latest", "last_modified", "location"]
        }
        _ => &[],
    };
    json!({"schema_version": 2, "name": name, "fields": fields, "bases": bases, "hidden_fields": hidden})
}

/// The name of a custom model: `Dcfs_<hash of its fields and their types>`, whatever its class was called. DataChain
/// looks models up by name in its process: another class of the same name, with other fields, would be
/// taken instead.
fn model_name(kind: &SignalKind, texts: &Map<String, Value>) -> String {
    match kind {
        SignalKind::File => "File@v1".to_owned(),
        SignalKind::Image => "Image@v1".to_owned(),
        _ => {
            let digest = Sha256::digest(serde_json::to_vec(texts).unwrap_or_default());
            format!("Dcfs_{}", hex(&digest[..6]))
        }
    }
}
