//! A schema reduced to some columns, by the dotted names that a person types.

use super::{Field, Schema, Shape};
use crate::error::Kind;
use crate::name::nearest;

/// No column of a schema has this name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no column `{wanted}`{}", nearest::hint(.near, "`dcfs schema` lists what there is"))]
pub struct UnknownColumn {
    pub wanted: String,
    /// Names within a small edit distance.
    pub near: Vec<String>,
}

impl From<UnknownColumn> for crate::error::Error {
    fn from(error: UnknownColumn) -> Self {
        Self::new(Kind::Invalid, error)
    }
}

impl Schema {
    /// Keeps the named columns, in the order in which they are first named; a model's name takes
    /// every column below it. A column named itself is not hidden. [`Schema::files`] stay as they
    /// are.
    ///
    /// # Errors
    /// A name that no column has, with the nearest ones among the columns and `others`, names the
    /// caller knows.
    pub fn select(&self, names: &[&str], others: &[&str]) -> Result<Self, UnknownColumn> {
        let mut signals = Vec::new();
        for name in names {
            if !add(&mut signals, &self.signals, name) {
                return Err(self.unknown(name, others));
            }
        }
        Ok(Self { signals, files: self.files.clone() })
    }

    /// Whether `name` is a column, or a model.
    pub fn has(&self, name: &str) -> bool {
        add(&mut Vec::new(), &self.signals, name)
    }

    fn unknown(&self, wanted: &str, others: &[&str]) -> UnknownColumn {
        let leaves = self.leaves();
        let names = leaves.iter().map(|leaf| leaf.name.as_str());
        let signals = self.signals.iter().map(|signal| signal.name.as_str());
        let near = nearest::to_dotted(wanted, names.chain(signals).chain(others.iter().copied()));
        UnknownColumn { wanted: wanted.to_owned(), near }
    }
}

/// Adds the fields of `from` that `name` means to `chosen`; returns whether there are any.
fn add(chosen: &mut Vec<Field>, from: &[Field], name: &str) -> bool {
    if let Some(field) = from.iter().find(|field| field.name == name) {
        let whole = Field { hidden: false, ..field.clone() };
        match chosen.iter_mut().find(|known| known.name == name) {
            Some(known) => *known = whole,
            None => chosen.push(whole),
        }
        return true;
    }
    from.iter().any(|field| add_below(chosen, field, name))
}

/// The same for names that begin with the name of a model.
fn add_below(chosen: &mut Vec<Field>, of: &Field, name: &str) -> bool {
    let below = name.strip_prefix(of.name.as_str()).and_then(|rest| rest.strip_prefix('.'));
    let (Some(below), Shape::Model { model, file, fields, tag }) = (below, &of.shape) else {
        return false;
    };
    let known = chosen.iter_mut().find(|known| known.name == of.name);
    if let Some(Field { shape: Shape::Model { fields: inside, .. }, .. }) = known {
        return add(inside, fields, below);
    }
    let mut inside = Vec::new();
    let found = add(&mut inside, fields, below);
    if found {
        let (model, file, tag) = (model.clone(), *file, tag.clone());
        let shape = Shape::Model { model, file, fields: inside, tag };
        chosen.push(Field { shape, hidden: false, ..of.clone() });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Schema {
        let table = ["a", "m___type_tag", "m__x", "m__n__y", "m__n__z", "b.c"];
        let table: Vec<(String, String)> =
            table.iter().map(|name| ((*name).to_owned(), "INTEGER".to_owned())).collect();
        let features = r#"{"a": "int", "m": "Optional[M]", "_custom_types": {
            "M": {"schema_version": 2, "fields": {"x": "int", "n": "N"}, "hidden_fields": ["x"]},
            "N": {"y": "int", "z": "int"}}}"#;
        Schema::parse(features, "{}", &table).expect("a schema")
    }

    #[test]
    fn takes_what_is_named_in_that_order() {
        let cases: [(&[&str], &[&str]); 7] = [
            (&["a"], &["a"]),
            (&["m.n.z", "a"], &["m.n.z", "a"]),
            (&["m"], &["m.x", "m.n.y", "m.n.z"]),
            (&["m.n.z", "a", "m.x"], &["m.n.z", "m.x", "a"]),
            (&["m.n", "m.n.y"], &["m.n.y", "m.n.z"]),
            (&["m.n.z", "m.n"], &["m.n.y", "m.n.z"]),
            (&["b.c", "a", "a"], &["b.c", "a"]),
        ];
        for (names, want) in cases {
            let chosen = schema().select(names, &[]).unwrap_or_else(|e| panic!("{names:?}: {e}"));
            let found: Vec<String> = chosen.leaves().into_iter().map(|leaf| leaf.name).collect();
            assert_eq!(found, want, "{names:?}");
        }
    }

    #[test]
    fn a_model_keeps_its_tag_and_a_named_field_is_shown() {
        let chosen = schema().select(&["m.x"], &[]).expect("there");
        assert!(matches!(&chosen.signals[0].shape, Shape::Model { tag: Some(_), .. }));
        assert!(chosen.leaves().iter().all(|leaf| !leaf.hidden));
        let whole = schema().select(&["m"], &[]).expect("there");
        assert!(whole.leaves()[0].hidden);
    }

    #[test]
    fn says_what_is_near() {
        let cases = [
            ("m.n.v", "no column `m.n.v`; did you mean `m.n.y` or `m.n.z`?"),
            ("m.", "no column `m.`; did you mean `m` or `m.x`?"),
            ("a.b", "no column `a.b`; `dcfs schema` lists what there is"),
            ("pth", "no column `pth`; did you mean `path`?"),
            ("z", "no column `z`; did you mean `m.n.z`?"),
        ];
        for (name, message) in cases {
            let error = schema().select(&[name], &["path"]).expect_err(name);
            assert_eq!(error.to_string(), message);
        }
    }
}
