//! The scalar values of a schema, flattened: each is a column of a table, a filter or a folder.

use super::{Field, Schema, Shape, ValueType};

/// One value of the schema, by its dotted name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf<'a> {
    /// `info.width`. Not necessarily unique in a foreign schema.
    pub name: String,
    pub field: &'a Field,
    /// The database column. No two leaves share one.
    pub column: &'a str,
    pub value: &'a ValueType,
    /// Whether it or an enclosing model is hidden.
    pub hidden: bool,
}

impl Schema {
    /// Every value in order, models flattened.
    pub fn leaves(&self) -> Vec<Leaf<'_>> {
        let mut found = Vec::new();
        self.signals.iter().for_each(|signal| collect(signal, "", false, &mut found));
        found
    }
}

fn collect<'a>(field: &'a Field, above: &str, hidden: bool, found: &mut Vec<Leaf<'a>>) {
    let name = match above {
        "" => field.name.clone(),
        above => format!("{above}.{}", field.name),
    };
    let hidden = hidden || field.hidden;
    match &field.shape {
        Shape::Column { column, value } => found.push(Leaf { name, field, column, value, hidden }),
        Shape::Model { fields, .. } => {
            fields.iter().for_each(|below| collect(below, &name, hidden, found));
        }
    }
}
