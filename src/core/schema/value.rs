//! The type of a cell that is not NULL, read from a type text: the base of tables, filters and
//! folders by value.

use super::model::Models;
use super::types::Type;

/// The most types read from one text, and the deepest nesting; models may contain each other.
/// Anything beyond is JSON.
const MOST: usize = 1000;
const DEEPEST: usize = 16;

/// The declared type of a value. Cells of a foreign catalog may hold anything else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// 0 or 1.
    Bool,
    /// 64 bits, signed.
    Int,
    /// 64 bits; NaN is stored as NULL.
    Float,
    Text,
    /// UTC, as text: `2024-01-02 03:04:05[.123456]`.
    Time,
    Bytes,
    /// A JSON list as text. May hold bare `NaN` and `Infinity`, which are not valid JSON.
    List(Box<ValueType>),
    /// A model inside a list, by its fields in order: a JSON object or, in a list that is a signal
    /// of its own, a JSON string that contains one.
    Model(Vec<(String, ValueType)>),
    /// Any JSON, as text: a dict, a union.
    Json,
}

impl ValueType {
    /// Whether a cell holds one value that can be compared and named: not a list, JSON or bytes.
    pub fn is_scalar(&self) -> bool {
        matches!(self, Self::Bool | Self::Int | Self::Float | Self::Text | Self::Time)
    }

    /// Reads a type text of `feature_schema` (`list[float]`), of `schema` (`Array[Float]`) or of a
    /// table (`VARCHAR`). Unknown types are [`ValueType::Text`].
    pub(super) fn read(text: &str, models: &Models) -> Self {
        let mut left = MOST;
        match Type::parse(text).map(|parsed| of(&parsed, models, DEEPEST, &mut left)) {
            // A column of its own cannot be unfolded further.
            Some(Self::Model(_)) => Self::Json,
            Some(value) => value,
            None => Self::Text,
        }
    }
}

fn of(text: &Type<'_>, models: &Models, depth: usize, left: &mut usize) -> ValueType {
    let (Some(below), Some(fewer)) = (depth.checked_sub(1), left.checked_sub(1)) else {
        return ValueType::Json;
    };
    *left = fewer;
    match text.unwrap_optional().0 {
        Type::Name(name) => match (plain(name), models.get(name)) {
            (Some(value), _) => value,
            (None, None) => ValueType::Text,
            (None, Some(model)) => {
                let field = |text: &str, left: &mut usize| match Type::parse(text) {
                    Some(parsed) => of(&parsed, models, below, left),
                    None => ValueType::Json,
                };
                let fields = model.fields.iter();
                let typed = fields.map(|f| (f.name.clone(), field(&f.type_text, left)));
                ValueType::Model(typed.collect())
            }
        },
        Type::Of("list" | "Array", items) if items.len() == 1 => {
            ValueType::List(Box::new(of(&items[0], models, below, left)))
        }
        Type::Of("Literal", _) => ValueType::Text,
        Type::Of(..) => ValueType::Json,
    }
}

/// The plain types, as Python, DataChain's `schema` and its tables call them.
fn plain(name: &str) -> Option<ValueType> {
    Some(match name {
        "bool" | "Boolean" | "BOOLEAN" => ValueType::Bool,
        "int" | "Int" | "Int32" | "Int64" | "UInt32" | "UInt64" | "INTEGER" | "BIGINT" => {
            ValueType::Int
        }
        "float" | "Float" | "Float32" | "Float64" | "FLOAT" | "REAL" => ValueType::Float,
        "str" | "String" | "VARCHAR" | "TEXT" | "Literal" | "NoneType" => ValueType::Text,
        "datetime" | "DateTime" | "DATETIME" => ValueType::Time,
        "bytes" | "Binary" | "BINARY" | "BLOB" => ValueType::Bytes,
        "list" | "dict" | "tuple" | "Any" | "Array" | "ARRAY" | "JSON" => ValueType::Json,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    use ValueType::{Bool, Bytes, Float, Int, Json, List, Model, Text, Time};
    use serde_json::json;

    fn list(item: ValueType) -> ValueType {
        List(Box::new(item))
    }

    #[test]
    fn reads_what_datachain_writes() {
        let models = Models::read(Some(&json!({"P@v1": {"x": "int", "tags": "list[str]"}})));
        let p = Model(vec![("x".into(), Int), ("tags".into(), list(Text))]);
        let cases = [
            ("int", Int),
            ("Optional[float]", Float),
            ("Literal['a', 'b']", Text),
            ("bool", Bool),
            ("datetime", Time),
            ("bytes", Bytes),
            ("list[float]", list(Float)),
            ("list[list[Optional[int]]]", list(list(Int))),
            ("Array[Array[Float32]]", list(list(Float))),
            ("list", Json),
            ("dict[str, int]", Json),
            ("Union[dict, list[dict], NoneType]", Json),
            ("tuple[int, int]", Json),
            ("list[P@v1]", list(p)),
            ("P@v1", Json),
            ("Unheard", Text),
            ("VARCHAR", Text),
            ("list[", Text),
            ("", Text),
        ];
        for (text, want) in cases {
            assert_eq!(ValueType::read(text, &models), want, "{text}");
        }
    }

    #[test]
    fn models_that_contain_each_other_end() {
        let two = json!({"a": "list[A]", "b": "list[A]", "c": "int"});
        let models = Models::read(Some(&json!({ "A": two })));
        assert!(matches!(ValueType::read("list[A]", &models), List(_)));
    }
}
