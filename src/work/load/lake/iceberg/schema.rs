//! The schema of an Iceberg table, whose columns are known by their ids.

use std::collections::HashMap;

use dcfs_core::hex::hex;
use dcfs_core::schema::Scalar;
use dcfs_core::time::Timestamp;
use serde::Deserialize;
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use super::super::MOST_COLUMNS;
use super::super::view::{Field, Words, unique};
use super::Constants;
use super::metadata::Metadata;

/// The property with the names of columns in files that have no ids.
const MAPPING: &str = "schema.name-mapping.default";

/// Microseconds per day.
const DAY: i64 = 86_400_000_000;

/// The columns of a table.
#[derive(Debug)]
pub struct Schema {
    pub fields: Vec<Field>,
    /// The type of each column, as it is written.
    types: Vec<Json>,
    /// Tells one schema from another.
    pub digest: String,
}

#[derive(Debug, Deserialize)]
struct Struct {
    fields: Vec<StructField>,
}

#[derive(Debug, Deserialize)]
struct StructField {
    id: i32,
    name: String,
    required: bool,
    #[serde(rename = "type")]
    kind: Json,
}

/// The names of a column in files without ids.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Mapped {
    field_id: Option<i32>,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    fields: Vec<Mapped>,
}

/// The names in files of all columns, by id.
type Names = HashMap<i32, Vec<String>>;

impl Schema {
    /// The schema of a number, by default the current one.
    ///
    /// # Errors
    /// A description: JSON that is no schema, types that are not known.
    pub fn new(metadata: &Metadata, number: Option<i64>) -> Result<Self, String> {
        let number = number.or(metadata.current_schema_id);
        let by_number = |one: &&Json| one["schema-id"].as_i64() == number && number.is_some();
        let found = metadata.schemas.iter().find(by_number);
        let of_first = metadata.schema.as_ref().filter(|_| metadata.schemas.is_empty());
        let found = found.or(of_first).ok_or("there is none of its number")?;
        let mut names = Names::new();
        if let Some(text) = metadata.properties.get(MAPPING) {
            let mapped: Vec<Mapped> =
                serde_json::from_str(text).map_err(|error| format!("`{MAPPING}`: {error}"))?;
            named(mapped, &mut names);
        }
        let mut count = 0;
        let fields = fields(found, &names, &mut count)?;
        let of_schema = found["fields"].as_array().into_iter().flatten();
        let types = of_schema.map(|field| field["type"].clone()).collect();
        let seen = format!("{found} {:?}", metadata.properties.get(MAPPING));
        let digest = hex(&Sha256::digest(seen)[..16]);
        Ok(Self { fields, types, digest })
    }

    /// The values of columns that tell partitions apart: a file may lack these columns.
    ///
    /// # Errors
    /// A description: a division into partitions that is not there.
    pub fn constants(
        &self,
        metadata: &Metadata,
        spec: i64,
        partition: &Json,
    ) -> Result<Constants, String> {
        let mut constants = Constants::new();
        let spec = metadata.partition_specs.iter().find(|one| one.spec_id == spec);
        // Values stand in the order of the fields; their names may be written otherwise.
        let values: Vec<&Json> =
            partition.as_object().into_iter().flat_map(|all| all.values()).collect();
        let Some(spec) = spec else {
            return match values.is_empty() {
                true => Ok(constants),
                false => {
                    Err("a manifest names a division into partitions that is not there".into())
                }
            };
        };
        if values.len() != spec.fields.len() {
            let (is, wanted) = (values.len(), spec.fields.len());
            return Err(format!(
                "a manifest has {is} values of a partition, and its division {wanted} fields"
            ));
        }
        for (field, value) in spec.fields.iter().zip(values) {
            let at =
                self.fields.iter().position(|one| one.id.map(i64::from) == Some(field.source_id));
            let Some(at) = at.filter(|_| field.transform == "identity") else { continue };
            constants.insert(at, constant(value, &self.types[at]));
        }
        Ok(constants)
    }
}

/// The value of a partition, of the types whose values are told apart without doubt.
fn constant(value: &Json, kind: &Json) -> Option<Json> {
    if value.is_null() {
        return Some(Json::Null);
    }
    match kind.as_str()? {
        "int" | "long" | "string" | "boolean" => Some(value.clone()),
        "date" => {
            let days = value.as_i64()?;
            Some(Timestamp::from_micros(days.saturating_mul(DAY)).rfc3339().into())
        }
        _ => None,
    }
}

fn named(mapped: Vec<Mapped>, names: &mut Names) {
    for one in mapped {
        if let Some(id) = one.field_id {
            names.insert(id, one.names);
        }
        named(one.fields, names);
    }
}

const WORDS: Words = Words { scalar, list: "list", item: "element", value: "value" };

/// The fields of a struct. The parser of JSON bounds how deep they nest.
fn fields(json: &Json, names: &Names, count: &mut usize) -> Result<Vec<Field>, String> {
    let found = Struct::deserialize(json).map_err(|error| error.to_string())?;
    *count += found.fields.len();
    if *count > MOST_COLUMNS {
        return Err(format!("it has more than {MOST_COLUMNS} columns"));
    }
    let one = |found: StructField| {
        let StructField { id, name, required, kind } = found;
        let shape = WORDS
            .shape(&kind, &mut |json| fields(json, names, count))
            .map_err(|what| format!("column `{name}`: {what}"))?;
        let stored = names.get(&id).cloned().unwrap_or_default();
        Ok(Field { name, stored, id: Some(id), shape, is_required: required })
    };
    unique(found.fields.into_iter().map(one).collect::<Result<_, String>>()?)
}

fn scalar(name: &str) -> Option<Scalar> {
    match name {
        "string" => Some(Scalar::Text),
        "binary" | "uuid" => Some(Scalar::Bytes),
        // Times of day are microseconds.
        "int" | "long" | "time" => Some(Scalar::Int),
        "float" | "double" => Some(Scalar::Float),
        "boolean" => Some(Scalar::Bool),
        "date" | "timestamp" | "timestamptz" => Some(Scalar::Time),
        _ if name.starts_with("decimal(") => Some(Scalar::Float),
        _ if name.starts_with("fixed[") => Some(Scalar::Bytes),
        _ => None,
    }
}
