//! The schema of a Delta table, and the values of its partitions.

use std::collections::HashMap;

use dcfs_core::hex::hex;
use dcfs_core::schema::Scalar;
use dcfs_core::time::Timestamp;
use serde::Deserialize;
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use super::super::MOST_COLUMNS;
use super::super::view::{Field, Shape, Words, unique};
use super::Mapping;
use super::log::{Add, Metadata};

/// The columns of a table.
#[derive(Debug)]
pub struct Schema {
    pub fields: Vec<Field>,
    /// The columns that tell partitions apart: their indices, and their names in the log.
    partitions: Vec<(usize, String)>,
    /// Tells one schema from another.
    pub digest: String,
}

/// A struct, as JSON.
#[derive(Debug, Deserialize)]
struct Struct {
    fields: Vec<StructField>,
}

#[derive(Debug, Deserialize)]
struct StructField {
    name: String,
    #[serde(rename = "type")]
    kind: Json,
    #[serde(default = "yes")]
    nullable: bool,
    #[serde(default)]
    metadata: HashMap<String, Json>,
}

fn yes() -> bool {
    true
}

impl Schema {
    /// # Errors
    /// A description: JSON that is no schema, types that are not known.
    pub fn new(metadata: &Metadata, mapping: Mapping) -> Result<Self, String> {
        let format = metadata.format.as_ref().map_or("parquet", |format| &format.provider);
        if format != "parquet" {
            return Err(format!("its files are `{format}`, and only Parquet is read"));
        }
        let found: Json = serde_json::from_str(&metadata.schema_string)
            .map_err(|error| format!("it is no JSON: {error}"))?;
        let mut count = 0;
        let fields = fields(&found, mapping, &mut count)?;
        let mut partitions = Vec::new();
        for name in &metadata.partition_columns {
            let at = fields.iter().position(|field| field.name == *name);
            let at = at.ok_or_else(|| {
                format!("there is no column `{name}`, which tells partitions apart")
            })?;
            let named = match mapping {
                Mapping::None => name.clone(),
                Mapping::Name | Mapping::Id => physical(&found, at)?,
            };
            partitions.push((at, named));
        }
        let seen =
            format!("{mapping:?} {:?} {}", metadata.partition_columns, metadata.schema_string);
        let digest = hex(&Sha256::digest(seen)[..16]);
        Ok(Self { fields, partitions, digest })
    }

    /// The values of a file's partition, by the indices of their columns.
    ///
    /// # Errors
    /// A description: a value that is missing, or of another type.
    pub fn constants(&self, add: &Add) -> Result<HashMap<usize, Option<Json>>, String> {
        let mut constants = HashMap::new();
        for (at, name) in &self.partitions {
            let field = &self.fields[*at];
            let values = add.partition_values.as_ref();
            let value = values.and_then(|values| values.get(name));
            let value = value.ok_or_else(|| {
                format!("it has no value of the partition column `{}`", field.name)
            })?;
            let text = value.as_deref().unwrap_or_default();
            let typed = constant(text, &field.shape).ok_or_else(|| {
                format!("`{text}` is no value of the partition column `{}`", field.name)
            })?;
            constants.insert(*at, Some(typed));
        }
        Ok(constants)
    }
}

/// The value of a partition; nothing is NULL, whatever the type.
fn constant(text: &str, shape: &Shape) -> Option<Json> {
    if text.is_empty() {
        return Some(Json::Null);
    }
    let Shape::Scalar(scalar) = shape else { return None };
    match scalar {
        Scalar::Text => Some(text.into()),
        Scalar::Int => text.parse::<i64>().ok().map(Json::from),
        // JSON has no other numbers, so they would become NULL.
        Scalar::Float => text.parse::<f64>().ok().filter(|x| x.is_finite()).map(Json::from),
        Scalar::Bool if text.eq_ignore_ascii_case("true") => Some(true.into()),
        Scalar::Bool if text.eq_ignore_ascii_case("false") => Some(false.into()),
        Scalar::Time => Timestamp::parse(text).map(|time| time.rfc3339().into()),
        Scalar::Bool | Scalar::Bytes => None,
    }
}

/// The name that a column has in the log, by its index.
fn physical(schema: &Json, at: usize) -> Result<String, String> {
    let name = &schema["fields"][at]["metadata"]["delta.columnMapping.physicalName"];
    name.as_str()
        .map(str::to_owned)
        .ok_or_else(|| format!("column {} has no `delta.columnMapping.physicalName`", at + 1))
}

const WORDS: Words = Words { scalar, list: "array", item: "elementType", value: "valueType" };

/// The fields of a struct. The parser of JSON bounds how deep they nest.
fn fields(json: &Json, mapping: Mapping, count: &mut usize) -> Result<Vec<Field>, String> {
    let found = Struct::deserialize(json).map_err(|error| error.to_string())?;
    *count += found.fields.len();
    if *count > MOST_COLUMNS {
        return Err(format!("it has more than {MOST_COLUMNS} columns"));
    }
    let one = |field| field_of(field, mapping, count);
    unique(found.fields.into_iter().map(one).collect::<Result<_, _>>()?)
}

fn field_of(found: StructField, mapping: Mapping, count: &mut usize) -> Result<Field, String> {
    let StructField { name, kind, nullable, metadata } = found;
    let told = |key: &str| metadata.get(&format!("delta.columnMapping.{key}"));
    let unnamed = |key: &str| format!("column `{name}` has no `delta.columnMapping.{key}`");
    let stored = match mapping {
        Mapping::None => vec![name.clone()],
        Mapping::Name => {
            let own = told("physicalName").and_then(Json::as_str);
            vec![own.ok_or_else(|| unnamed("physicalName"))?.to_owned()]
        }
        Mapping::Id => Vec::new(),
    };
    let id = match mapping {
        Mapping::Id => {
            let own = told("id").and_then(Json::as_i64).and_then(|id| i32::try_from(id).ok());
            Some(own.ok_or_else(|| unnamed("id"))?)
        }
        Mapping::None | Mapping::Name => None,
    };
    let shape = WORDS
        .shape(&kind, &mut |json| fields(json, mapping, count))
        .map_err(|what| format!("column `{name}`: {what}"))?;
    Ok(Field { name, stored, id, shape, is_required: !nullable })
}

fn scalar(name: &str) -> Option<Scalar> {
    match name {
        "string" => Some(Scalar::Text),
        "binary" => Some(Scalar::Bytes),
        "byte" | "short" | "integer" | "long" => Some(Scalar::Int),
        "float" | "double" => Some(Scalar::Float),
        "boolean" => Some(Scalar::Bool),
        "date" | "timestamp" | "timestamp_ntz" => Some(Scalar::Time),
        _ if name.starts_with("decimal") => Some(Scalar::Float),
        // Columns without a type hold nothing else than NULL.
        "void" => Some(Scalar::Text),
        _ => None,
    }
}
