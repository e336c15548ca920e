//! The models that a schema may refer to: its own, then DataChain's.

use std::collections::HashMap;
use std::rc::Rc;

use serde_json::{Map, Value};

use super::builtin;

/// One model: its fields in order.
#[derive(Debug)]
pub(super) struct Model {
    pub fields: Vec<ModelField>,
    pub file: bool,
}

/// One field of a model.
#[derive(Debug)]
pub(super) struct ModelField {
    pub name: String,
    pub type_text: String,
    pub hidden: bool,
}

/// All models, by the name that type texts use.
#[derive(Debug, Default)]
pub(super) struct Models {
    told: HashMap<String, Rc<Model>>,
}

impl Models {
    /// Reads `_custom_types`. Entries that are not models are skipped.
    pub fn read(custom: Option<&Value>) -> Self {
        let entries = custom.and_then(Value::as_object).into_iter().flatten();
        let told = entries.filter_map(|(name, text)| Some((name.clone(), told(name, text)?)));
        Self { told: told.collect() }
    }

    /// The model that a type text calls `name`, with or without a version (`@v1`).
    pub fn get(&self, name: &str) -> Option<Rc<Model>> {
        self.told.get(name).cloned().or_else(|| own(bare(name)))
    }
}

/// A model's name without its version: `BBox@v1` is `BBox`.
pub(super) fn bare(name: &str) -> &str {
    match name.rsplit_once("@v") {
        Some((bare, n)) if !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()) => bare,
        _ => name,
    }
}

fn own(name: &str) -> Option<Rc<Model>> {
    let builtin = builtin::model(name)?;
    let fields = builtin.fields.iter().map(|(name, type_text)| ModelField {
        name: (*name).into(),
        type_text: (*type_text).into(),
        hidden: builtin.file && !builtin::SHOWN.contains(name),
    });
    Some(Rc::new(Model { fields: fields.collect(), file: builtin.file }))
}

/// A custom model in either form: with `schema_version` and `fields`, or the bare fields of older
/// releases.
fn told(name: &str, text: &Value) -> Option<Rc<Model>> {
    let text = text.as_object()?;
    let fields = match text.get("fields").and_then(Value::as_object) {
        Some(fields) if text.contains_key("schema_version") => fields,
        _ => text,
    };
    let hidden: Vec<&str> = strings(text.get("hidden_fields")).collect();
    let file = is_file(name, text, fields);
    let fields = fields.iter().filter_map(|(name, type_text)| {
        let type_text = type_text.as_str()?.to_owned();
        Some(ModelField { name: name.clone(), type_text, hidden: hidden.contains(&name.as_str()) })
    });
    Some(Rc::new(Model { fields: fields.collect(), file }))
}

fn strings(list: Option<&Value>) -> impl Iterator<Item = &str> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// Whether a model is a File: by its bases, by the name of a partial one, or by its fields.
fn is_file(name: &str, text: &Map<String, Value>, fields: &Map<String, Value>) -> bool {
    let bases = text.get("bases").and_then(Value::as_array).into_iter().flatten();
    let descends = bases.into_iter().any(|base| {
        base.get(0).and_then(Value::as_str) == Some("File")
            && base.get(1).and_then(Value::as_str) == Some("datachain.lib.file")
    });
    let partial = bare(name)
        .split_once("Partial_")
        .is_some_and(|(kind, hash)| builtin::FILES.contains(&kind) && is_hash(hash));
    let holds = |name: &str| fields.contains_key(name);
    descends || partial || (holds("path") && ["source", "etag", "version"].into_iter().any(holds))
}

fn is_hash(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    use serde_json::json;

    #[test]
    fn knows_a_file_by_descent_by_name_and_by_what_it_holds() {
        let bases = json!([["Mine", "m", null], ["File", "datachain.lib.file", "File@v1"]]);
        let cases = [
            ("Mine", json!({"schema_version": 2, "fields": {"path": "str"}, "bases": bases}), true),
            ("FilePartial_66f6c9ee38@v1", json!({"schema_version": 2, "fields": {}}), true),
            ("MinePartial_66f6c9ee38@v1", json!({"schema_version": 2, "fields": {}}), false),
            ("FilePartial_not", json!({"path": "str"}), false),
            ("Old", json!({"path": "str", "etag": "str"}), true),
            ("Old", json!({"path": "str", "label": "str"}), false),
            ("Old", json!({"source": "str", "etag": "str"}), false),
            (
                "File",
                json!({"schema_version": 2, "fields": {"x": "int"}, "bases": [["File"]]}),
                false,
            ),
        ];
        for (name, text, file) in cases {
            assert_eq!(told(name, &text).map(|m| m.file), Some(file), "{name} {text}");
        }
    }

    #[test]
    fn a_told_model_goes_before_datachains_own() {
        let models = Models::read(Some(&json!({"BBox@v1": {"x": "int"}, "odd": 7})));
        let names = |name: &str| {
            models.get(name).map(|m| m.fields.iter().map(|f| f.name.clone()).collect::<Vec<_>>())
        };
        assert_eq!(names("BBox@v1"), Some(vec!["x".into()]));
        assert_eq!(names("BBox@v2"), Some(vec!["title".into(), "coords".into()]));
        assert_eq!(names("odd"), None);
        assert_eq!(names("File@v1").map(|n| n.len()), Some(8));
    }

    #[test]
    fn only_a_number_is_the_version_of_a_model() {
        let cases = [("A@v1", "A"), ("A", "A"), ("A@v", "A@v"), ("A@vx", "A@vx"), ("@v1", "")];
        for (name, want) in cases {
            assert_eq!(bare(name), want, "{name}");
        }
    }
}
