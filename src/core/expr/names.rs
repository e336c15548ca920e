//! Resolves the names of a filter: a column, a path component, a key inside JSON, an Optional
//! model.

use std::sync::Arc;

use super::typed::{Column, Expr, Form, Part};
use crate::name::nearest;
use crate::schema::{Field, Leaf, Schema, Shape, ValueType};

/// The columns that DataChain adds to every row: their names in filters, and in the database.
const OWN: [(&str, &str); 4] = [
    ("sys__id", "sys__id"),
    ("sys__rand", "sys__rand"),
    ("sys.id", "sys__id"),
    ("sys.rand", "sys__rand"),
];

/// The function without arguments.
const RAND: &str = "rand";

/// The names of one version.
pub struct Names<'s> {
    schema: &'s Schema,
    leaves: Vec<Leaf<'s>>,
}

/// The meaning of a name.
pub enum Meaning {
    Value(Expr),
    /// A model that may be absent, by its tag column.
    Optional(Arc<Column>),
    /// A model that is always present; one of its fields, for a hint.
    Model(Option<String>),
    Unknown,
}

impl<'s> Names<'s> {
    pub fn of(schema: &'s Schema) -> Self {
        Self { schema, leaves: schema.leaves() }
    }

    /// Resolves `name`.
    pub fn find(&self, name: &str) -> Meaning {
        let value = self.column(name).or_else(|| self.part(name)).or_else(|| self.inside(name));
        match value {
            Some(value) => Meaning::Value(value),
            None => self.model(name),
        }
    }

    fn column(&self, name: &str) -> Option<Expr> {
        if let Some(leaf) = self.leaf(name) {
            return Some(Expr::Column(column(leaf)));
        }
        if name == RAND {
            return Some(Expr::Rand(own("sys__rand")));
        }
        let (_, database) = OWN.into_iter().find(|(known, _)| *known == name)?;
        Some(Expr::Column(own(database)))
    }

    fn leaf(&self, name: &str) -> Option<&Leaf<'s>> {
        self.leaves.iter().find(|leaf| leaf.name == name)
    }

    /// `file.ext` and the other path components.
    fn part(&self, name: &str) -> Option<Expr> {
        let (file, part) = name.rsplit_once('.')?;
        let part = Part::ALL.into_iter().find(|known| known.word() == part)?;
        let known = self.schema.files.iter().find(|known| known.name == file)?;
        let path = known.path.as_deref()?;
        let column = Column {
            name: format!("{file}.path"),
            column: path.to_owned(),
            value: ValueType::Text,
            form: Form::Text,
        };
        Some(Expr::Part(file.to_owned(), part, column.into()))
    }

    /// A key path such as `meta.camera.iso`, where `meta` is JSON.
    fn inside(&self, name: &str) -> Option<Expr> {
        let ends = name.rmatch_indices('.').map(|(at, _)| at);
        let (leaf, keys) = ends
            .filter_map(|at| Some((self.leaf(&name[..at])?, &name[at + 1..])))
            .find(|(leaf, _)| *leaf.value == ValueType::Json)?;
        if keys.split('.').any(str::is_empty) {
            return None; // An empty key must be written in brackets.
        }
        let dig = |of: Expr, key: &str| Expr::Field(of.into(), key.to_owned(), ValueType::Json);
        Some(keys.split('.').fold(Expr::Column(column(leaf)), dig))
    }

    fn model(&self, name: &str) -> Meaning {
        let Some(field) = find(&self.schema.signals, name) else { return Meaning::Unknown };
        let Shape::Model { fields, tag, .. } = &field.shape else { return Meaning::Unknown };
        match tag {
            Some(tag) => Meaning::Optional(Arc::new(Column {
                name: name.to_owned(),
                column: tag.clone(),
                value: ValueType::Int,
                form: Form::Int,
            })),
            None => Meaning::Model(fields.first().map(|field| format!("{name}.{}", field.name))),
        }
    }

    /// The end of the message that a name does not exist.
    pub fn hint(&self, wanted: &str) -> String {
        let parts = self.schema.files.iter().filter(|file| file.path.is_some()).flat_map(|file| {
            Part::ALL.into_iter().map(|part| format!("{}.{}", file.name, part.word()))
        });
        let parts: Vec<String> = parts.collect();
        let leaves = self.leaves.iter().map(|leaf| leaf.name.as_str());
        let near = nearest::to_dotted(wanted, leaves.chain(parts.iter().map(String::as_str)));
        nearest::hint(&near, "`dcfs schema` lists what there is")
    }
}

/// The field with a dotted name; a signal's own name may contain dots.
fn find<'f>(fields: &'f [Field], name: &str) -> Option<&'f Field> {
    fields.iter().find_map(|field| {
        let rest = name.strip_prefix(field.name.as_str())?;
        match (rest.strip_prefix('.'), &field.shape) {
            (None, _) => rest.is_empty().then_some(field),
            (Some(below), Shape::Model { fields, .. }) => find(fields, below),
            (Some(_), Shape::Column { .. }) => None,
        }
    })
}

fn column(leaf: &Leaf<'_>) -> Arc<Column> {
    let form = match leaf.value {
        ValueType::Bool => Form::Bool,
        ValueType::Int => Form::Int,
        ValueType::Float => Form::Float,
        ValueType::Time => Form::Time,
        ValueType::Bytes => Form::Presence,
        ValueType::Text | ValueType::List(_) | ValueType::Model(_) | ValueType::Json => Form::Text,
    };
    let (name, column) = (leaf.name.clone(), leaf.column.to_owned());
    Arc::new(Column { name, column, value: leaf.value.clone(), form })
}

fn own(name: &str) -> Arc<Column> {
    let (name, value) = (name.to_owned(), ValueType::Int);
    Arc::new(Column { column: name.clone(), name, value, form: Form::Int })
}
