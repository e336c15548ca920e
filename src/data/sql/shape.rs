//! The shape of a result: a schema to print its rows by, and the layout of a version made of it.
//!
//! A column taken from a table keeps its type; columns that together are all of a model, in its
//! order, become that model again. Other columns are typed by what is known of the expression, else
//! by their values.

use std::collections::HashSet;
use std::ops::Range;

use dcfs_core::cell::Cell;
use dcfs_core::schema::{
    Field, Layout, NewPart, Scalar, Schema, Shape as FieldShape, Signal, SignalKind, ValueType,
    plain_name,
};
use dcfs_core::sql::{Hint, Known, ResultColumn};

/// The table of a statement that a column comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    pub known: Known,
    pub schema: Schema,
    pub layout: Layout,
    /// Whether an outer join may leave its columns NULL.
    pub is_outer: bool,
}

/// The columns of a result, with the columns of a whole model combined.
#[derive(Debug)]
pub struct Shape<'o> {
    origins: &'o [Option<Origin>],
    parts: Vec<Part<'o>>,
}

#[derive(Debug)]
enum Part<'o> {
    /// A model, or a plain column, of a table.
    Taken {
        origin: &'o Origin,
        field: &'o Field,
        name: String,
        columns: Range<usize>,
        database: Vec<String>,
    },
    /// Anything else.
    Value { name: String, value: Option<ValueType>, column: usize },
}

/// The types of a column's values seen so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    null: bool,
    int: bool,
    real: bool,
    text: bool,
    blob: bool,
}

impl Seen {
    pub fn add(&mut self, cell: Cell<'_>) {
        let flag = match cell {
            Cell::Null => &mut self.null,
            Cell::Integer(_) => &mut self.int,
            Cell::Real(_) => &mut self.real,
            Cell::Text(_) => &mut self.text,
            Cell::Blob(_) => &mut self.blob,
        };
        *flag = true;
    }

    fn scalar(self) -> Scalar {
        match (self.text, self.blob, self.real, self.int) {
            (true, ..) => Scalar::Text,
            (_, true, ..) => Scalar::Bytes,
            (.., true, _) => Scalar::Float,
            (.., true) => Scalar::Int,
            _ => Scalar::Text,
        }
    }
}

impl<'o> Shape<'o> {
    /// The shape of the columns `results`, from the tables `origins`.
    pub fn new(results: &[ResultColumn], origins: &'o [Option<Origin>]) -> Self {
        let mut parts = Vec::new();
        let mut at = 0;
        while at < results.len() {
            let part = taken(results, at, origins).unwrap_or_else(|| Part::Value {
                name: results[at].name.clone(),
                value: value(&results[at].hint, origins),
                column: at,
            });
            at += match &part {
                Part::Taken { columns, .. } => columns.len(),
                Part::Value { .. } => 1,
            };
            parts.push(part);
        }
        Self { origins, parts }
    }

    /// A schema for printing rows: its database columns are the indices of the result's columns.
    pub fn schema(&self) -> Schema {
        self.schema_of(&[])
    }

    /// Whether a column is typed by its values alone.
    pub fn is_typed_by_values(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Value { value: None, .. }))
    }

    /// The same, with the types of the values that were seen in each column.
    pub fn schema_of(&self, seen: &[Seen]) -> Schema {
        let typed = |column: usize| match seen.get(column).map(|seen| seen.scalar()) {
            Some(Scalar::Int) => ValueType::Int,
            Some(Scalar::Float) => ValueType::Float,
            Some(Scalar::Bytes) => ValueType::Bytes,
            _ => ValueType::Text,
        };
        let signals = self.parts.iter().map(|part| match part {
            Part::Taken { field, name, columns, .. } => {
                let mut next = columns.clone();
                let is_plain = matches!(field.shape, FieldShape::Column { .. });
                Field {
                    name: name.clone(),
                    hidden: field.hidden && !is_plain,
                    ..numbered(field, &mut next)
                }
            }
            Part::Value { name, value, column } => Field {
                name: name.clone(),
                type_text: String::new(),
                shape: FieldShape::Column {
                    column: column.to_string(),
                    value: value.clone().unwrap_or_else(|| typed(*column)),
                },
                optional: true,
                hidden: false,
            },
        });
        Schema { signals: signals.collect(), files: Vec::new() }
    }

    /// The layout of a version of these rows, and for each of its columns the index of the result's
    /// column.
    pub fn layout(&self, seen: &[Seen]) -> (Layout, Vec<usize>) {
        let mut names = HashSet::new();
        let (mut parts, mut order) = (Vec::new(), Vec::new());
        for part in &self.parts {
            match part {
                Part::Taken { origin, field, name, columns, database } => {
                    let column = column_of(field, database);
                    let below: Vec<String> = origin
                        .layout
                        .below(&column)
                        .iter()
                        .map(|column| column.name.clone())
                        .collect();
                    order.extend(below.iter().map(|wanted| {
                        let place =
                            database.iter().position(|own| own == wanted).unwrap_or_default();
                        columns.start + place
                    }));
                    parts.push(NewPart::Taken {
                        from: &origin.layout,
                        column,
                        type_text: field.type_text.clone(),
                        name: fresh(name, &mut names),
                        may_be_null: origin.is_outer,
                    });
                }
                Part::Value { name, value, column } => {
                    let kind = match value {
                        Some(ValueType::List(item)) => {
                            SignalKind::list_of(scalar(item).unwrap_or(Scalar::Text))
                        }
                        Some(value) => SignalKind::Scalar(scalar(value).unwrap_or(Scalar::Text)),
                        None => SignalKind::Scalar(seen[*column].scalar()),
                    };
                    let optional = seen[*column].null && !matches!(kind, SignalKind::List(_));
                    order.push(*column);
                    parts.push(NewPart::New(Signal {
                        name: fresh(name, &mut names),
                        kind,
                        optional,
                    }));
                }
            }
        }
        (Layout::of_parts(&parts), order)
    }

    /// Whether any column comes from a table.
    pub fn has_tables(&self) -> bool {
        self.origins.iter().any(Option::is_some)
    }
}

fn scalar(value: &ValueType) -> Option<Scalar> {
    Some(match value {
        ValueType::Bool => Scalar::Bool,
        ValueType::Int => Scalar::Int,
        ValueType::Float => Scalar::Float,
        ValueType::Text => Scalar::Text,
        ValueType::Time => Scalar::Time,
        ValueType::Bytes => Scalar::Bytes,
        ValueType::List(_) | ValueType::Model(_) | ValueType::Json => return None,
    })
}

fn value(hint: &Hint, origins: &[Option<Origin>]) -> Option<ValueType> {
    match hint {
        Hint::None => None,
        Hint::Value(value) => Some(value.clone()),
        Hint::Column(table, column) => {
            let origin = origins.get(*table)?.as_ref()?;
            Some(origin.known.find(column)?.value.clone())
        }
    }
}

/// The model, or the column of a table, that begins with the column `at`.
fn taken<'o>(
    results: &[ResultColumn],
    at: usize,
    origins: &'o [Option<Origin>],
) -> Option<Part<'o>> {
    let Hint::Column(table, column) = &results[at].hint else { return None };
    let origin = origins.get(*table)?.as_ref()?;
    // The outermost model that is complete.
    for (end, _) in column.match_indices('.') {
        let (model, suffix) = (&column[..end], &column[end..]);
        let below = origin.known.model(model);
        let Some(prefix) = results[at].name.strip_suffix(suffix) else { continue };
        let Some(here) = results.get(at..at + below.len()) else { continue };
        let is_whole = below.iter().zip(here).all(|(known, found)| {
            found.hint == Hint::Column(*table, known.name.clone())
                && found.name.strip_prefix(prefix) == Some(&known.name[model.len()..])
        });
        if is_whole
            && !below.is_empty()
            && let Some(field) = find(&origin.schema.signals, model)
        {
            let database = below.iter().map(|known| known.column.clone()).collect();
            let columns = at..at + below.len();
            return Some(Part::Taken { origin, field, name: prefix.to_owned(), columns, database });
        }
    }
    let known = origin.known.find(column).filter(|known| !known.is_derived)?;
    let field = find(&origin.schema.signals, column)?;
    let database = vec![known.column.clone()];
    Some(Part::Taken {
        origin,
        field,
        name: results[at].name.clone(),
        columns: at..at + 1,
        database,
    })
}

/// The field with a dotted name; a signal's own name may contain dots.
fn find<'f>(fields: &'f [Field], name: &str) -> Option<&'f Field> {
    fields.iter().find_map(|field| {
        let rest = name.strip_prefix(field.name.as_str())?;
        match (rest.strip_prefix('.'), &field.shape) {
            (None, _) => rest.is_empty().then_some(field),
            (Some(below), FieldShape::Model { fields, .. }) => find(fields, below),
            (Some(_), FieldShape::Column { .. }) => None,
        }
    })
}

/// A field whose columns are the numbers `next`, in order.
fn numbered(field: &Field, next: &mut Range<usize>) -> Field {
    let mut number = || next.next().unwrap_or_default().to_string();
    let shape = match &field.shape {
        FieldShape::Column { value, .. } => {
            FieldShape::Column { column: number(), value: value.clone() }
        }
        FieldShape::Model { model, file, fields, tag } => {
            let tag = tag.as_ref().map(|_| number());
            let fields = fields.iter().map(|field| numbered(field, next)).collect();
            FieldShape::Model { model: model.clone(), file: *file, fields, tag }
        }
    };
    Field { shape, ..field.clone() }
}

/// The database column of a field, or the common prefix of those of a model.
fn column_of(field: &Field, database: &[String]) -> String {
    match &field.shape {
        FieldShape::Column { column, .. } => column.clone(),
        FieldShape::Model { fields, tag, .. } => {
            let first = database.first().map_or("", String::as_str);
            if tag.as_deref() == Some(first) {
                return first.trim_end_matches("___type_tag").to_owned();
            }
            let inner = fields.first().map_or("", |field| field.name.as_str());
            let mut below = fields.first();
            let mut ending = format!("__{inner}");
            // The first column may be nested deeper.
            while let Some(Field { shape: FieldShape::Model { fields, tag, .. }, .. }) = below {
                if tag.is_some() {
                    ending += "___type_tag";
                    break;
                }
                below = fields.first();
                ending += &format!("__{}", below.map_or("", |field| field.name.as_str()));
            }
            first.strip_suffix(ending.as_str()).unwrap_or(first).to_owned()
        }
    }
}

/// A signal name that is not taken.
fn fresh(name: &str, taken: &mut HashSet<String>) -> String {
    let mut plain = plain_name(name);
    while !taken.insert(plain.to_lowercase()) {
        plain.insert_str(0, "right_");
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_datachain_takes() {
        let mut taken = HashSet::new();
        let cases = [
            ("count(*)", "count"),
            ("avg(info.width)", "avg_info_width"),
            ("avg(info.width)", "right_avg_info_width"),
            ("sys__id", "sys_id"),
            ("7", "c_7"),
            ("*", "column"),
        ];
        for (name, want) in cases {
            assert_eq!(fresh(name, &mut taken), want);
        }
    }
}
