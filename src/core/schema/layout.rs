//! The shape of a version to be written: its row table, and the two JSON texts that describe it.
//!
//! It is copied from another version word for word, so that Python finds the same types in a
//! selection of it, or built from signals. A model built here is named after a hash of its fields,
//! because DataChain prefers a model it already knows by name over the description in the version.

mod building;

use serde_json::{Map, Value, json};

use super::{Error, Schema};
use building::{Building, file, image, system_types};

/// The column types that DataChain declares, and the type that `schema` gives each.
const DECLARED: [(&str, &str); 8] = [
    ("VARCHAR", "String"),
    ("INTEGER", "Int64"),
    ("FLOAT", "Float"),
    ("BOOLEAN", "Boolean"),
    ("DATETIME", "DateTime"),
    ("BINARY", "Binary"),
    ("JSON", "JSON"),
    ("ARRAY", "Array"),
];

/// The columns of a row table, and the texts that `datasets_versions` holds for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Without `sys__id` and `sys__rand`.
    pub columns: Vec<NewColumn>,
    /// `feature_schema`, JSON.
    pub features: String,
    /// `schema`, JSON.
    pub types: String,
    /// The columns that add up to the size of a version.
    pub sizes: Vec<String>,
}

/// A signal that exists already.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the dataset has a column `{0}` already; name the new one otherwise (`--out`), or keep fewer (`--only`)"
)]
pub struct Clash(String);

impl From<Clash> for crate::error::Error {
    fn from(clash: Clash) -> Self {
        Self::new(crate::error::Kind::Invalid, clash)
    }
}

/// Whether a database column belongs to a signal or to a field of it. SQLite ignores the case of
/// names.
fn is_of(column: &str, signal: &str) -> bool {
    let begins = column.get(..signal.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(signal));
    begins && (column.len() == signal.len() || column[signal.len()..].starts_with("__"))
}

/// One column of a row table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewColumn {
    pub name: String,
    /// A type that DataChain declares; empty, which converts no value, if the column was declared
    /// differently.
    pub declared: &'static str,
}

/// A top-level column of a new version, or a field of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// No `__` and no dots; if it has fields, or is a field, no `_` at either end: DataChain splits
    /// column names at `__`, and would get the types of such models wrong.
    pub name: String,
    pub kind: SignalKind,
    pub optional: bool,
}

/// The type of a signal's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignalKind {
    /// DataChain's built-in `File`.
    File,
    /// DataChain's built-in `Image`: width, height, format.
    Image,
    Scalar(Scalar),
    /// A list of scalars, lists, custom models or JSON.
    List(Box<SignalKind>),
    /// A dictionary with text keys.
    Dict,
    /// Any JSON.
    Json,
    /// A custom model.
    Model(Vec<Signal>),
}

impl SignalKind {
    /// A list of scalars.
    pub fn list_of(item: Scalar) -> Self {
        Self::List(Box::new(Self::Scalar(item)))
    }

    /// The fields of DataChain's built-in models; empty for other kinds.
    pub fn fields(&self) -> Vec<Signal> {
        match self {
            Self::File => {
                let mut fields = file();
                // NULL except for members of an archive.
                fields.iter_mut().for_each(|field| field.optional = field.name == "location");
                fields
            }
            Self::Image => image(),
            _ => Vec::new(),
        }
    }
}

/// The type of a cell, or of a list item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    Text,
    Int,
    Float,
    Bool,
    Time,
    Bytes,
}

impl Scalar {
    /// The type's name in Python, as a declared column type, and in `schema`.
    const fn texts(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Text => ("str", "VARCHAR", "String"),
            Self::Int => ("int", "INTEGER", "Int64"),
            Self::Float => ("float", "FLOAT", "Float"),
            Self::Bool => ("bool", "BOOLEAN", "Boolean"),
            Self::Time => ("datetime", "DATETIME", "DateTime"),
            Self::Bytes => ("bytes", "BINARY", "Binary"),
        }
    }
}

impl Signal {
    /// A signal that is never NULL.
    pub fn new(name: impl Into<String>, kind: SignalKind) -> Self {
        Self { name: name.into(), kind, optional: false }
    }

    /// A signal that may be NULL.
    pub fn optional(name: impl Into<String>, kind: SignalKind) -> Self {
        Self { name: name.into(), kind, optional: true }
    }
}

impl Layout {
    /// The shape of a version, read from its own texts and its table; see [`Schema::parse`].
    ///
    /// # Errors
    /// As [`Schema::parse`].
    pub fn of_version(
        features: &str,
        types: &str,
        table: &[(String, String)],
    ) -> Result<Self, Error> {
        let schema = Schema::parse(features, types, table)?;
        let own = table.iter().filter(|(name, _)| !name.starts_with("sys__"));
        let columns: Vec<NewColumn> = own
            .map(|(name, declared)| NewColumn { name: name.clone(), declared: known(declared) })
            .collect();
        let sizes = schema.files.iter().filter_map(|file| file.size.clone()).collect();
        let types = if types.is_empty() { types_of(&columns) } else { types.to_owned() };
        let features = if features.is_empty() { "{}" } else { features }.to_owned();
        Ok(Self { columns, features, types, sizes })
    }

    /// This shape with `signals` added; if `only` is given, reduced to those columns first.
    ///
    /// # Errors
    /// A signal that exists already, or would share a column with an existing one.
    pub fn with(&self, signals: &[Signal], only: Option<&[String]>) -> Result<Self, Clash> {
        let added = Self::of_signals(signals);
        let object =
            |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap_or_default();
        let (mut features, mut types) = (object(&self.features), object(&self.types));
        let is_kept =
            |column: &str| only.is_none_or(|only| only.iter().any(|root| is_of(column, root)));
        let mut columns: Vec<NewColumn> =
            self.columns.iter().filter(|column| is_kept(&column.name)).cloned().collect();
        if let Some(only) = only {
            features
                .retain(|name, _| name.starts_with('_') || only.iter().any(|root| root == name));
            types.retain(|name, _| name.starts_with("sys__") || is_kept(name));
        }
        for signal in signals {
            let name = &signal.name;
            let is_there = |other: &String| other.eq_ignore_ascii_case(name);
            if features.keys().any(is_there)
                || columns.iter().any(|column| is_of(&column.name, name))
            {
                return Err(Clash(name.clone()));
            }
        }
        let mut models = match features.remove("_custom_types") {
            Some(Value::Object(models)) => models,
            _ => Map::new(),
        };
        for (name, told) in object(&added.features) {
            match told {
                Value::Object(more) if name == "_custom_types" => models.extend(more),
                told => drop(features.insert(name, told)),
            }
        }
        if !models.is_empty() {
            features.insert("_custom_types".into(), models.into());
        }
        types.extend(object(&added.types));
        columns.extend(added.columns);
        let sizes = self.sizes.iter().filter(|size| is_kept(size)).cloned();
        Ok(Self {
            sizes: sizes.chain(added.sizes).collect(),
            columns,
            features: Value::Object(features).to_string(),
            types: Value::Object(types).to_string(),
        })
    }

    /// The shape made of `signals`, in order.
    pub fn of_signals(signals: &[Signal]) -> Self {
        let mut building = Building::default();
        let mut features = Map::new();
        for signal in signals {
            let type_text = building.add("", signal, false);
            features.insert(signal.name.clone(), type_text.into());
        }
        if !building.models.is_empty() {
            features.insert("_custom_types".into(), building.models.into());
        }
        let mut types = system_types();
        types.extend(building.types);
        Self {
            columns: building.columns,
            features: Value::Object(features).to_string(),
            types: Value::Object(types).to_string(),
            sizes: building.sizes,
        }
    }
}

/// A part of a version that is assembled from others' columns.
#[derive(Clone, Debug)]
pub enum NewPart<'a> {
    /// A signal of a version, or a part of one: all of its columns, renamed.
    Taken {
        from: &'a Layout,
        /// The database column, or the common prefix of several.
        column: String,
        type_text: String,
        name: String,
        /// Whether the value may be absent in the new rows though it never is in the source.
        may_be_null: bool,
    },
    New(Signal),
}

impl Layout {
    /// The columns of a signal: the one called `column`, and those nested below it.
    pub fn below(&self, column: &str) -> Vec<&NewColumn> {
        let is_below = |name: &str| {
            name.strip_prefix(column).is_some_and(|rest| rest.is_empty() || rest.starts_with("__"))
        };
        self.columns.iter().filter(|own| is_below(&own.name)).collect()
    }

    /// The shape made of `parts`, in order. Models keep their names and classes.
    pub fn of_parts(parts: &[NewPart<'_>]) -> Self {
        let mut building = Building::default();
        let mut features = Map::new();
        for part in parts {
            let (name, type_text) = match part {
                NewPart::New(signal) => (signal.name.clone(), building.add("", signal, false)),
                NewPart::Taken { from, column, type_text, name, may_be_null } => {
                    let is_value = building.take(from, column, name, *may_be_null);
                    let is_optional =
                        type_text.starts_with("Optional[") || type_text.starts_with("Union[");
                    // A float that may be NaN is stored as NULL there too, and stays a float,
                    // unless it was inside a model that may be absent.
                    let was_inside = column.contains("__") && building.is_nullable(name);
                    let becomes = is_value && !is_optional && (*may_be_null || was_inside);
                    let type_text =
                        if becomes { format!("Optional[{type_text}]") } else { type_text.clone() };
                    (name.clone(), type_text)
                }
            };
            features.insert(name, type_text.into());
        }
        if !building.models.is_empty() {
            features.insert("_custom_types".into(), building.models.into());
        }
        let mut types = system_types();
        types.extend(building.types);
        let features = Value::Object(features).to_string();
        let types = Value::Object(types).to_string();
        let table: Vec<(String, String)> =
            building.columns.iter().map(|c| (c.name.clone(), c.declared.to_owned())).collect();
        let files = Schema::parse(&features, &types, &table).map(|schema| schema.files);
        let sizes = files.unwrap_or_default().iter().filter_map(|file| file.size.clone()).collect();
        Self { columns: building.columns, features, types, sizes }
    }
}

/// A signal name made from any text: DataChain splits names at `__` and dots.
pub fn plain_name(text: &str) -> String {
    let mut plain = String::new();
    for c in text.chars() {
        match c.is_alphanumeric() {
            true => plain.push(c),
            false if !plain.ends_with('_') => plain.push('_'),
            false => {}
        }
    }
    let plain = plain.trim_matches('_');
    match plain.chars().next() {
        None => "column".to_owned(),
        Some(first) if first.is_ascii_digit() => format!("c_{plain}"),
        Some(_) => plain.to_owned(),
    }
}

/// The declared type if DataChain declares it too.
fn known(declared: &str) -> &'static str {
    let found = DECLARED.iter().find(|(own, _)| own.eq_ignore_ascii_case(declared));
    found.map_or("", |(own, _)| own)
}

/// The `schema` text of a table that has none.
fn types_of(columns: &[NewColumn]) -> String {
    let mut types = system_types();
    for column in columns {
        let told = DECLARED.iter().find(|(own, _)| *own == column.declared);
        let told = match told {
            Some((_, "Array")) => json!({"type": "Array", "item_type": {"type": "String"}}),
            Some((_, told)) => json!({"type": told}),
            None => json!({"type": "String"}),
        };
        types.insert(column.name.clone(), told);
    }
    Value::Object(types).to_string()
}

#[cfg(test)]
mod tests;
