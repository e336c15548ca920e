//! The columns that a statement may refer to.

use crate::expr::Part;
use crate::schema::{Field, Schema, Shape, ValueType};

/// The suffix of the column that says whether an Optional model is present.
pub const TAG: &str = "___type_tag";

/// A column of a table in SQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlColumn {
    /// The dotted name.
    pub name: String,
    /// The database column.
    pub column: String,
    pub value: ValueType,
    /// The path component this column holds, if it is derived from a path.
    pub part: Option<Part>,
    /// Whether `*` leaves it out: a path component, or a column that every table has.
    pub is_derived: bool,
}

/// The columns of one table, columns of one model side by side.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub columns: Vec<SqlColumn>,
}

impl Known {
    /// The columns of a version: its values, the tags of models, then path components, `sys__id`
    /// and `sys__rand`.
    pub fn of(schema: &Schema) -> Self {
        let mut columns = Vec::new();
        schema.signals.iter().for_each(|signal| collect(signal, "", &mut columns));
        for file in &schema.files {
            let Some(path) = &file.path else { continue };
            for part in Part::ALL {
                let name = format!("{}.{}", file.name, part.word());
                let (column, value) = (path.clone(), ValueType::Text);
                columns.push(SqlColumn { name, column, value, part: Some(part), is_derived: true });
            }
        }
        for name in ["sys__id", "sys__rand"] {
            let (column, value) = (name.to_owned(), ValueType::Int);
            columns.push(SqlColumn {
                name: name.to_owned(),
                column,
                value,
                part: None,
                is_derived: true,
            });
        }
        Self { columns }
    }

    /// The columns of a table that is not a dataset.
    pub fn plain(columns: &[(&str, ValueType)]) -> Self {
        let column = |(name, value): &(&str, ValueType)| SqlColumn {
            name: (*name).to_owned(),
            column: (*name).to_owned(),
            value: value.clone(),
            part: None,
            is_derived: false,
        };
        Self { columns: columns.iter().map(column).collect() }
    }

    /// The column called `name`. Case is ignored if that leaves a single match.
    pub fn find(&self, name: &str) -> Option<&SqlColumn> {
        self.columns.iter().find(|column| column.name == name).or_else(|| {
            let mut alike =
                self.columns.iter().filter(|column| column.name.eq_ignore_ascii_case(name));
            alike.next().filter(|_| alike.next().is_none())
        })
    }

    /// The columns of the model called `name`; empty if there is none.
    pub fn model(&self, name: &str) -> Vec<&SqlColumn> {
        let is_below = |column: &&SqlColumn| {
            let rest = column.name.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'));
            rest.is_some() && !column.is_derived
        };
        self.columns.iter().filter(is_below).collect()
    }

    /// The columns that `*` expands to.
    pub fn all(&self) -> Vec<&SqlColumn> {
        self.columns.iter().filter(|column| !column.is_derived).collect()
    }
}

fn collect(field: &Field, above: &str, columns: &mut Vec<SqlColumn>) {
    let name = match above {
        "" => field.name.clone(),
        above => format!("{above}.{}", field.name),
    };
    let plain = |name: String, column: &str, value: &ValueType| SqlColumn {
        name,
        column: column.to_owned(),
        value: value.clone(),
        part: None,
        is_derived: false,
    };
    match &field.shape {
        Shape::Column { column, value } => columns.push(plain(name, column, value)),
        Shape::Model { fields, tag, .. } => {
            if let Some(tag) = tag {
                columns.push(plain(format!("{name}.{TAG}"), tag, &ValueType::Int));
            }
            fields.iter().for_each(|below| collect(below, &name, columns));
        }
    }
}
