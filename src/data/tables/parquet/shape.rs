//! Maps a schema to Parquet types, and to the plan that fills their leaves.
//!
//! | dcfs | Parquet |
//! |---|---|
//! | `bool`, `int`, `float` | BOOLEAN, INT64, DOUBLE |
//! | `str`, dicts and unions (JSON) | STRING |
//! | `datetime` | INT64, TIMESTAMP(MICROS, UTC) |
//! | `bytes` | BYTE_ARRAY |
//! | a model | group; optional if the model is |
//! | `list[T]` | LIST of T, at any depth; of a model, of groups |
//!
//! Every leaf may be NULL, because a stranger's cell may hold anything.

use std::sync::Arc;

use parquet::basic::{LogicalType, Repetition, TimeUnit, Type as PhysicalType};
use parquet::errors::Result;
use parquet::schema::types::{Type, TypePtr};

use super::column::{Column, Physical};
use dcfs_core::render::rows::{Beside, Ours, metadata_columns};
use dcfs_core::schema::{Field, FileColumn, Schema, Shape, ValueType};

/// How one node of the tree is filled. Levels are definition levels: they count what may be absent,
/// from the top down.
#[derive(Clone, Debug)]
pub enum Node {
    /// The path of the row's file in a File column.
    Path { column: usize, leaf: usize },
    /// The row's `sys__id`.
    Id { leaf: usize },
    /// A cell of one value.
    Cell { cell: usize, value: Value },
    /// A model by its fields; `tag` is the cell of an optional one, 0 if it is present.
    Model { tag: Option<usize>, level: i16, fields: Vec<Node> },
}

/// A value, in a cell or in a list.
#[derive(Clone, Debug)]
pub enum Value {
    Leaf {
        leaf: usize,
        value: ValueType,
    },
    /// `level` is that of a list that is present and empty; items repeat at `repeated`.
    List {
        level: i16,
        repeated: i16,
        item: Box<Value>,
    },
    /// A model in a list: its fields by name. `level` is that of a model that is present.
    Model {
        level: i16,
        fields: Vec<(String, Value)>,
    },
}

/// The file's schema, its empty columns, and how to fill them.
#[derive(Debug)]
pub struct Plan {
    pub root: TypePtr,
    pub nodes: Vec<Node>,
    /// The database columns that the nodes refer to.
    pub cells: Vec<String>,
    /// Empty columns, in the order of the file.
    pub columns: Vec<Column>,
    /// Whether rows are left out that name no file, or one that is metadata itself.
    pub needs_file: bool,
}

impl Plan {
    /// The plan for rows of `schema`, whose listed File columns are `listed`.
    pub fn new(schema: &Schema, listed: &[FileColumn], beside: Beside) -> Result<Self> {
        let mut plan = Self {
            root: Arc::new(Type::group_type_builder("schema").build()?),
            nodes: Vec::new(),
            cells: Vec::new(),
            columns: Vec::new(),
            needs_file: false,
        };
        let ours = Ours::of(schema.signals.iter().map(|signal| signal.name.as_str()));
        let mut fields = Vec::with_capacity(schema.signals.len() + 2);
        if beside.path {
            fields.push(plan.path(&ours.path, listed)?);
        }
        for signal in &schema.signals {
            let (field, node) = plan.field(signal, 0)?;
            fields.push(field);
            plan.nodes.push(node);
        }
        if beside.id {
            let leaf = plan.leaf(Physical::Int, 1, 0);
            plan.nodes.push(Node::Id { leaf });
            fields.push(scalar(&ours.id, &ValueType::Int)?);
        }
        plan.root = Arc::new(Type::group_type_builder("schema").with_fields(fields).build()?);
        Ok(plan)
    }

    /// The plan of Hugging Face's `metadata.parquet`: links to files, and scalars by their dotted names.
    pub fn metadata(schema: &Schema, listed: &[FileColumn]) -> Result<Self> {
        let (links, scalars) = metadata_columns(schema, listed);
        let fields = scalars.into_iter().map(|(name, leaf)| {
            let column = leaf.column.to_owned();
            let shape = Shape::Column { column, value: leaf.value.clone() };
            Field { name, shape, ..leaf.field.clone() }
        });
        let flat = Schema { signals: fields.collect(), files: Vec::new() };
        let mut plan = Self::new(&flat, &[], Beside { path: false, id: false })?;
        let mut fields = Vec::new();
        for (column, link) in links.iter().enumerate() {
            let leaf = plan.leaf(Physical::Bytes, 1, 0);
            plan.nodes.push(Node::Path { column, leaf });
            fields.push(scalar(link, &ValueType::Text)?);
        }
        // Columns are written in the order of their leaves.
        let others = plan.root.get_fields().iter().cloned();
        let fields = others.chain(fields).collect();
        plan.root = Arc::new(Type::group_type_builder("schema").with_fields(fields).build()?);
        plan.needs_file = listed.len() == 1;
        Ok(plan)
    }

    fn leaf(&mut self, physical: Physical, full: i16, repeated: i16) -> usize {
        self.columns.push(Column::new(physical, full, repeated > 0));
        self.columns.len() - 1
    }

    fn cell(&mut self, name: &str) -> usize {
        self.cells.push(name.to_owned());
        self.cells.len() - 1
    }

    /// The path, or a group of paths if there are several File columns.
    fn path(&mut self, name: &str, listed: &[FileColumn]) -> Result<TypePtr> {
        let mut node = |column| {
            let leaf = self.leaf(Physical::Bytes, 1, 0);
            self.nodes.push(Node::Path { column, leaf });
        };
        if listed.len() < 2 {
            node(0);
            return scalar(name, &ValueType::Text);
        }
        (0..listed.len()).for_each(node);
        let fields = listed.iter().map(|file| scalar(&file.name, &ValueType::Text));
        let group = Type::group_type_builder(name).with_repetition(Repetition::REQUIRED);
        Ok(Arc::new(group.with_fields(fields.collect::<Result<_>>()?).build()?))
    }

    /// A field below something that is present at `level`.
    fn field(&mut self, field: &Field, level: i16) -> Result<(TypePtr, Node)> {
        match &field.shape {
            Shape::Column { column, value } => {
                let cell = self.cell(column);
                let (shape, value) = self.value(&field.name, value, level, 0)?;
                Ok((shape, Node::Cell { cell, value }))
            }
            Shape::Model { fields, .. } if fields.is_empty() => {
                // A group must have fields; only an optional model without any gets here.
                let leaf = self.leaf(Physical::Bytes, level + 1, 0);
                let value = Value::Leaf { leaf, value: ValueType::Text };
                let cell = self.cell("\0");
                Ok((scalar(&field.name, &ValueType::Text)?, Node::Cell { cell, value }))
            }
            Shape::Model { fields, tag, .. } => {
                let tag = tag.as_ref().map(|tag| self.cell(tag));
                let level = level + i16::from(tag.is_some());
                let mut shapes = Vec::with_capacity(fields.len());
                let mut nodes = Vec::with_capacity(fields.len());
                for field in fields {
                    let (shape, node) = self.field(field, level)?;
                    shapes.push(shape);
                    nodes.push(node);
                }
                let repetition =
                    if tag.is_some() { Repetition::OPTIONAL } else { Repetition::REQUIRED };
                let group = Type::group_type_builder(&field.name).with_repetition(repetition);
                let shape = Arc::new(group.with_fields(shapes).build()?);
                Ok((shape, Node::Model { tag, level, fields: nodes }))
            }
        }
    }

    fn value(
        &mut self,
        name: &str,
        value: &ValueType,
        level: i16,
        repeated: i16,
    ) -> Result<(TypePtr, Value)> {
        match value {
            ValueType::List(item) => {
                let (shape, item) = self.value("element", item, level + 2, repeated + 1)?;
                let list = Type::group_type_builder("list").with_repetition(Repetition::REPEATED);
                let list = Arc::new(list.with_fields(vec![shape]).build()?);
                let group = Type::group_type_builder(name)
                    .with_repetition(Repetition::OPTIONAL)
                    .with_logical_type(Some(LogicalType::List));
                let shape = Arc::new(group.with_fields(vec![list]).build()?);
                let (level, repeated, item) = (level + 1, repeated + 1, Box::new(item));
                Ok((shape, Value::List { level, repeated, item }))
            }
            ValueType::Model(fields) if !fields.is_empty() => {
                let (mut shapes, mut values) = (Vec::new(), Vec::new());
                for (name, value) in fields {
                    let (shape, value) = self.value(name, value, level + 1, repeated)?;
                    shapes.push(shape);
                    values.push((name.clone(), value));
                }
                let group = Type::group_type_builder(name).with_repetition(Repetition::OPTIONAL);
                let shape = Arc::new(group.with_fields(shapes).build()?);
                Ok((shape, Value::Model { level: level + 1, fields: values }))
            }
            _ => {
                let leaf = self.leaf(physical(value), level + 1, repeated);
                Ok((scalar(name, value)?, Value::Leaf { leaf, value: value.clone() }))
            }
        }
    }
}

fn physical(value: &ValueType) -> Physical {
    match value {
        ValueType::Bool => Physical::Bool,
        ValueType::Int | ValueType::Time => Physical::Int,
        ValueType::Float => Physical::Float,
        _ => Physical::Bytes,
    }
}

fn scalar(name: &str, value: &ValueType) -> Result<TypePtr> {
    let (physical, logical) = match value {
        ValueType::Bool => (PhysicalType::BOOLEAN, None),
        ValueType::Int => (PhysicalType::INT64, None),
        ValueType::Float => (PhysicalType::DOUBLE, None),
        ValueType::Time => {
            let unit = TimeUnit::MICROS;
            (PhysicalType::INT64, Some(LogicalType::timestamp(true, unit)))
        }
        ValueType::Bytes => (PhysicalType::BYTE_ARRAY, None),
        _ => (PhysicalType::BYTE_ARRAY, Some(LogicalType::String)),
    };
    let leaf = Type::primitive_type_builder(name, physical).with_repetition(Repetition::OPTIONAL);
    Ok(Arc::new(leaf.with_logical_type(logical).build()?))
}
