//! Fills the columns of a plan from rows. A cell whose type differs from its column's is converted
//! if nothing is lost, and otherwise becomes NULL; such cells are counted.

use super::column::{Column, Scalar};
use super::shape::{Node, Value};
use dcfs_core::cell::{Cell, Cells};
use dcfs_core::id::RowId;
use dcfs_core::json;
use dcfs_core::schema::ValueType;
use dcfs_core::time::Timestamp;

/// The columns of a row group being filled.
#[derive(Debug)]
pub struct Group {
    pub columns: Vec<Column>,
    pub rows: usize,
    /// The bytes of text in it.
    pub text: usize,
    /// The number of cells that could not be converted.
    pub lost: u64,
}

/// The position of a value in nested lists.
#[derive(Clone, Copy)]
struct At {
    /// The depth down to which the path is present.
    level: i16,
    repeated: i16,
}

impl Group {
    /// An empty one.
    pub fn new(columns: &[Column]) -> Self {
        Self { columns: columns.iter().map(Column::again).collect(), rows: 0, text: 0, lost: 0 }
    }

    /// The approximate size in memory, in bytes.
    pub fn weight(&self) -> usize {
        self.columns.iter().map(Column::weight).sum()
    }

    /// Adds a row.
    pub fn push(
        &mut self,
        nodes: &[Node],
        id: RowId,
        paths: &[Option<Vec<u8>>],
        cells: &dyn Cells,
    ) {
        for node in nodes {
            self.node(node, id, paths, cells, At { level: 0, repeated: 0 });
        }
        self.rows += 1;
    }

    fn node(
        &mut self,
        node: &Node,
        id: RowId,
        paths: &[Option<Vec<u8>>],
        cells: &dyn Cells,
        at: At,
    ) {
        match node {
            Node::Path { column, leaf } => match paths.get(*column).and_then(Option::as_ref) {
                Some(path) => self.text(*leaf, path, at),
                None => self.columns[*leaf].push_none(at.level, at.repeated),
            },
            Node::Id { leaf } => {
                self.columns[*leaf].push(Scalar::Int(id.key()), at.repeated);
            }
            Node::Cell { cell, value } => self.cell(value, cells.cell(*cell), at),
            Node::Model { tag, level, fields } => {
                if tag.is_some_and(|tag| cells.cell(tag) != Cell::Integer(0)) {
                    return fields.iter().for_each(|field| self.absent_node(field, at));
                }
                let at = At { level: *level, ..at };
                fields.iter().for_each(|field| self.node(field, id, paths, cells, at));
            }
        }
    }

    fn absent_node(&mut self, node: &Node, at: At) {
        match node {
            Node::Path { leaf, .. } | Node::Id { leaf } => {
                self.columns[*leaf].push_none(at.level, at.repeated);
            }
            Node::Cell { value, .. } => self.absent(value, at),
            Node::Model { fields, .. } => {
                fields.iter().for_each(|field| self.absent_node(field, at));
            }
        }
    }

    /// Adds an absent value to every leaf below.
    fn absent(&mut self, value: &Value, at: At) {
        match value {
            Value::Leaf { leaf, .. } => self.columns[*leaf].push_none(at.level, at.repeated),
            Value::List { item, .. } => self.absent(item, at),
            Value::Model { fields, .. } => {
                fields.iter().for_each(|(_, field)| self.absent(field, at));
            }
        }
    }

    fn cell(&mut self, value: &Value, cell: Cell<'_>, at: At) {
        match (value, cell) {
            (_, Cell::Null) => self.absent(value, at),
            (Value::Leaf { leaf, value }, cell) => self.leaf(*leaf, value, cell, at),
            (_, Cell::Text(text)) => self.json(value, text, at),
            (_, _) => self.useless(value, at),
        }
    }

    fn useless(&mut self, value: &Value, at: At) {
        self.lost += 1;
        self.absent(value, at);
    }

    fn text(&mut self, leaf: usize, text: &[u8], at: At) {
        self.text += text.len();
        match std::str::from_utf8(text) {
            Ok(_) => self.columns[leaf].push(Scalar::Bytes(text), at.repeated),
            Err(_) => {
                let text = String::from_utf8_lossy(text);
                self.columns[leaf].push(Scalar::Bytes(text.as_bytes()), at.repeated)
            }
        };
    }

    fn leaf(&mut self, leaf: usize, value: &ValueType, cell: Cell<'_>, at: At) {
        let scalar = match (value, cell) {
            (ValueType::Bool, Cell::Integer(n @ (0 | 1))) => Scalar::Bool(n == 1),
            (ValueType::Int, Cell::Integer(n)) => Scalar::Int(n),
            (ValueType::Float, Cell::Real(x)) => Scalar::Float(x),
            (ValueType::Float, Cell::Integer(n)) => Scalar::Float(n as f64),
            (ValueType::Time, Cell::Text(text)) => match time(text) {
                Some(micros) => Scalar::Int(micros),
                None => return self.lose(leaf, at),
            },
            (ValueType::Bytes, Cell::Text(bytes) | Cell::Blob(bytes)) => Scalar::Bytes(bytes),
            (ValueType::Text | ValueType::Json, Cell::Text(text)) => {
                return self.text(leaf, text, at);
            }
            (ValueType::Text | ValueType::Json, Cell::Integer(n)) => {
                return self.text(leaf, n.to_string().as_bytes(), at);
            }
            (ValueType::Text | ValueType::Json, Cell::Real(x)) => {
                return self.text(leaf, format!("{x:?}").as_bytes(), at);
            }
            _ => return self.lose(leaf, at),
        };
        self.columns[leaf].push(scalar, at.repeated);
    }

    fn lose(&mut self, leaf: usize, at: At) {
        self.lost += 1;
        self.columns[leaf].push_none(at.level, at.repeated);
    }

    /// Adds a value from stored JSON.
    fn json(&mut self, value: &Value, text: &[u8], at: At) {
        let text = text.trim_ascii();
        match value {
            _ if text == b"null" => self.absent(value, at),
            Value::Leaf { leaf, value } => self.json_leaf(*leaf, value, text, at),
            Value::List { level, repeated, item } => {
                let Some(items) = json::items(text) else { return self.useless(value, at) };
                if items.is_empty() {
                    return self.absent(item, At { level: *level, ..at });
                }
                let mut at = At { level: level + 1, ..at };
                for text in items {
                    self.json(item, text, at);
                    at.repeated = *repeated;
                }
            }
            Value::Model { level, fields } => {
                // In a list that is a signal of its own, models are JSON texts in strings.
                let inner = text.starts_with(b"\"").then(|| json::text(text)).flatten();
                let text = inner.as_ref().map_or(text, String::as_bytes);
                let Some(found) = json::fields(text) else { return self.useless(value, at) };
                let at = At { level: *level, ..at };
                for (name, field) in fields {
                    match found.iter().find(|(found, _)| found == name) {
                        Some((_, text)) => self.json(field, text, at),
                        None => self.absent(field, at),
                    }
                }
            }
        }
    }

    fn json_leaf(&mut self, leaf: usize, value: &ValueType, text: &[u8], at: At) {
        let number = || std::str::from_utf8(text).ok();
        let scalar = match (value, text) {
            (ValueType::Bool, b"true") => Some(Scalar::Bool(true)),
            (ValueType::Bool, b"false") => Some(Scalar::Bool(false)),
            (ValueType::Int, _) => number().and_then(|n| n.parse().ok()).map(Scalar::Int),
            (ValueType::Float, b"Infinity") => Some(Scalar::Float(f64::INFINITY)),
            (ValueType::Float, b"-Infinity") => Some(Scalar::Float(f64::NEG_INFINITY)),
            (ValueType::Float, _) => number().and_then(|x| x.parse().ok()).map(Scalar::Float),
            (ValueType::Json, _) => return self.text(leaf, text, at),
            _ => match json::text(text) {
                Some(text) => return self.leaf(leaf, value, Cell::Text(text.as_bytes()), at),
                None if *value == ValueType::Text => return self.text(leaf, text, at),
                None => None,
            },
        };
        match scalar {
            Some(scalar) => {
                self.columns[leaf].push(scalar, at.repeated);
            }
            None => self.lose(leaf, at),
        }
    }
}

/// A stored time as microseconds since 1970.
fn time(text: &[u8]) -> Option<i64> {
    Timestamp::parse(std::str::from_utf8(text).ok()?).map(Timestamp::micros)
}
