//! The JSON of Studio's API, as DataChain's client reads it (`DatasetListRecord`, `DatasetRecord` and what is inside).
//!
//! Fields that are not needed are passed over, so that a newer server may send more.

use dcfs_core::name::DatasetName;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A dataset with its versions, of `datachain/datasets` and `datachain/datasets/info`.
#[derive(Debug, Deserialize)]
pub struct Dataset {
    pub name: String,
    pub project: Project,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub attrs: Option<Vec<Value>>,
    pub versions: Vec<Version>,
}

#[derive(Debug, Deserialize)]
pub struct Project {
    pub name: String,
    pub namespace: Namespace,
}

#[derive(Debug, Deserialize)]
pub struct Namespace {
    pub name: String,
}

/// A version. The last three are of `info` alone.
#[derive(Debug, Deserialize)]
pub struct Version {
    pub uuid: String,
    pub version: String,
    pub status: i64,
    #[serde(default)]
    pub num_objects: Option<i64>,
    #[serde(default)]
    pub size: Option<i64>,
    #[serde(default)]
    pub created_at: Option<String>,
    #[serde(default)]
    pub finished_at: Option<String>,
    #[serde(default)]
    pub query_script: Option<String>,
    #[serde(default, deserialize_with = "json")]
    pub feature_schema: String,
    #[serde(default, deserialize_with = "json")]
    pub schema: String,
}

/// An export of a version.
#[derive(Debug, Deserialize)]
pub struct Export {
    export_id: Value,
    #[serde(default)]
    signed_urls: Option<Vec<String>>,
}

/// How far an export is.
#[derive(Debug, Deserialize)]
pub struct Progress {
    pub status: String,
    #[serde(default)]
    pub files_done: Option<u64>,
}

impl Dataset {
    pub fn full_name(&self) -> DatasetName {
        DatasetName {
            namespace: self.project.namespace.name.clone(),
            project: self.project.name.clone(),
            name: self.name.clone(),
        }
    }

    /// The attributes as the catalog keeps them.
    pub fn attrs(&self) -> String {
        Value::from(self.attrs.clone().unwrap_or_default()).to_string()
    }
}

impl Export {
    /// The number that its status is asked for by; `None` if that is neither a number nor a text.
    pub fn id(&self) -> Option<String> {
        match &self.export_id {
            Value::String(id) => Some(id.clone()),
            Value::Number(id) => Some(id.to_string()),
            _ => None,
        }
    }

    /// An address for each part.
    pub fn links(self) -> Vec<String> {
        self.signed_urls.unwrap_or_default()
    }
}

/// JSON as a text; a text, which is JSON already, as it is; `null` as an empty text.
fn json<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(match Value::deserialize(from)? {
        Value::Null => String::new(),
        Value::String(text) => text,
        other => other.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_the_client_is_read() {
        let text = r#"{"id": 1, "uuid": "u", "name": "pets", "description": null, "attrs": ["NLP", 7],
            "project": {"id": 1, "name": "p", "namespace": {"id": 2, "name": "@ann"}},
            "versions": [{"id": 3, "uuid": "v", "version": "1.0.0", "status": 4, "num_objects": null,
            "schema": {"a": {"type": "String"}}, "feature_schema": "{\"a\": \"str\"}", "new": 1}]}"#;
        let found: Dataset = serde_json::from_str(text).expect("a record");
        assert_eq!(found.full_name().to_string(), "@ann.p.pets");
        assert_eq!(found.attrs(), r#"["NLP",7]"#);
        let version = &found.versions[0];
        assert_eq!(version.schema, r#"{"a":{"type":"String"}}"#);
        assert_eq!(version.feature_schema, r#"{"a": "str"}"#);
        let export: Export = serde_json::from_str(r#"{"export_id": 12}"#).expect("an export");
        assert_eq!((export.id().as_deref(), export.links().len()), (Some("12"), 0));
        let export: Export = serde_json::from_str(r#"{"export_id": [1]}"#).expect("an export");
        assert_eq!(export.id(), None);
    }
}
