//! The typed tree of a filter: columns that exist, types that fit, and a canonical form.

use std::sync::Arc;

use super::function::Function;
use super::syntax::{Arithmetic, Comparison, Match};
use crate::schema::ValueType;
use crate::time::Timestamp;

/// A checked filter, and its `order by`, `limit` and `offset`. Prints in canonical form: texts that
/// differ only in spelling print alike.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Query {
    /// `None` for all rows.
    pub filter: Option<Expr>,
    pub order: Vec<Key>,
    pub limit: Option<u64>,
    pub offset: u64,
}

/// One key of `order by`. NULL comes last either way.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    pub by: Expr,
    pub down: bool,
}

/// A column that a filter reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Column {
    /// The dotted name, as typed.
    pub name: String,
    /// The database column.
    pub column: String,
    /// The type of its cells.
    pub value: ValueType,
    pub form: Form,
}

/// How a column is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Form {
    Bool,
    Int,
    Float,
    /// Also lists and JSON, in their stored form.
    Text,
    /// Microseconds since 1970.
    Time,
    /// Lists of numbers, all of the same length.
    Vector,
    /// Only which cells are NULL.
    Presence,
}

/// A component of a path; defined as in `datachain.func.path`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    Name,
    Stem,
    Ext,
    Parent,
}

/// The metric of a distance between two vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metric {
    /// `1 - u.v / sqrt(u.u * v.v)`, between 0 and 2.
    Cosine,
    Euclidean,
}

/// The target of a distance.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    Vector(Vec<f64>),
    /// The row with this `sys__id`.
    Row(i64),
    /// The row whose file has this path, or just this name.
    File(String),
}

/// The type of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type<'e> {
    /// The literal `null`, which is comparable with everything.
    Null,
    Bool,
    Int,
    Float,
    Text,
    Time,
    Bytes,
    List(&'e ValueType),
    /// A model inside a list, by its fields.
    Model(&'e [(String, ValueType)]),
    /// Known only when the value is read.
    Json,
}

/// A literal value of known type.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    /// Never NaN.
    Real(f64),
    Text(String),
    Time(Timestamp),
}

/// An expression whose columns and types are known.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    Column(Arc<Column>),
    /// A component of the path in this column; the name of its File comes first.
    Part(String, Part, Arc<Column>),
    Value(Value),
    /// `sys__rand` scaled to 0 to 1.
    Rand(Arc<Column>),
    Not(Box<Expr>),
    Minus(Box<Expr>),
    /// Two or more terms, none of them an [`Expr::And`].
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Compare(Comparison, Box<Expr>, Box<Expr>),
    Arithmetic(Arithmetic, Box<Expr>, Box<Expr>),
    In(Box<Expr>, Vec<Expr>),
    Between(Box<Expr>, Box<Expr>, Box<Expr>),
    /// `None` for the pattern `null`.
    Match(Match, Box<Expr>, Option<String>),
    IsNull(Box<Expr>),
    /// Whether an Optional model is absent, by its tag.
    IsAbsent(Arc<Column>),
    Call(Function, Vec<Expr>),
    Distance(Metric, Arc<Column>, Target),
    /// `list[0]`, with the item type; counts from the end if negative.
    Item(Box<Expr>, i64, ValueType),
    /// `model.field`, with the field's type.
    Field(Box<Expr>, String, ValueType),
    /// `any(list, condition)`: whether an item meets a condition, and how many others are around it. In the condition the
    /// item is the [`Expr::Element`] of that number.
    Any(Box<Expr>, usize, Box<Expr>),
    /// The item that the `any` with so many others around it looks at.
    Element(usize, ValueType),
}

impl Part {
    pub const ALL: [Self; 4] = [Self::Name, Self::Stem, Self::Ext, Self::Parent];

    pub const fn word(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Stem => "stem",
            Self::Ext => "ext",
            Self::Parent => "parent",
        }
    }

    /// This component of a path.
    pub fn of(self, path: &[u8]) -> &[u8] {
        let slash = path.iter().rposition(|b| *b == b'/');
        let name = slash.map_or(path, |at| &path[at + 1..]);
        let dot = name.iter().rposition(|b| *b == b'.');
        match self {
            Self::Name => name,
            Self::Parent => without_end(slash.map_or(b"", |at| &path[..at]), b'/'),
            Self::Ext => dot.map_or(b"", |at| &name[at + 1..]),
            Self::Stem => without_end(dot.map_or(name, |at| &name[..at]), b'.'),
        }
    }
}

/// A text without trailing `byte`s: DataChain strips all of them, so that `a//b` is in `a`.
fn without_end(text: &[u8], byte: u8) -> &[u8] {
    let end = text.iter().rposition(|b| *b != byte).map_or(0, |at| at + 1);
    &text[..end]
}

impl Metric {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Cosine => "cosine_distance",
            Self::Euclidean => "euclidean_distance",
        }
    }
}

impl<'e> Type<'e> {
    pub fn of(value: &'e ValueType) -> Self {
        match value {
            ValueType::Bool => Self::Bool,
            ValueType::Int => Self::Int,
            ValueType::Float => Self::Float,
            ValueType::Text => Self::Text,
            ValueType::Time => Self::Time,
            ValueType::Bytes => Self::Bytes,
            ValueType::List(item) => Self::List(item),
            ValueType::Model(fields) => Self::Model(fields),
            ValueType::Json => Self::Json,
        }
    }

    /// The type with its article, for a message: `an int`.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "a boolean",
            Self::Int => "an int",
            Self::Float => "a float",
            Self::Text => "a string",
            Self::Time => "a datetime",
            Self::Bytes => "bytes",
            Self::List(_) => "a list",
            Self::Model(_) => "a model",
            Self::Json => "JSON",
        }
    }

    pub const fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Float)
    }
}

impl Value {
    pub const fn kind(&self) -> Type<'static> {
        match self {
            Self::Null => Type::Null,
            Self::Bool(_) => Type::Bool,
            Self::Int(_) => Type::Int,
            Self::Real(_) => Type::Float,
            Self::Text(_) => Type::Text,
            Self::Time(_) => Type::Time,
        }
    }
}

impl Expr {
    /// The type of the value.
    pub fn kind(&self) -> Type<'_> {
        match self {
            Self::Column(column) => Type::of(&column.value),
            Self::Part(..) => Type::Text,
            Self::Value(value) => value.kind(),
            Self::Rand(_) | Self::Distance(..) => Type::Float,
            Self::Minus(of) => match of.kind() {
                Type::Json => Type::Float,
                other => other,
            },
            Self::Arithmetic(operation, left, right) => arithmetic(*operation, left, right),
            Self::Call(function, arguments) => function.gives(arguments),
            Self::Item(_, _, value) | Self::Field(_, _, value) | Self::Element(_, value) => {
                Type::of(value)
            }
            Self::Not(_)
            | Self::And(_)
            | Self::Or(_)
            | Self::Compare(..)
            | Self::In(..)
            | Self::Between(..)
            | Self::Match(..)
            | Self::IsNull(_)
            | Self::IsAbsent(_)
            | Self::Any(..) => Type::Bool,
        }
    }

    /// The condition that the file of this path is called `name`.
    pub fn is_named(file: &str, path: Arc<Column>, name: &str) -> Self {
        let part = Self::Part(file.to_owned(), Part::Name, path);
        let name = Self::Value(Value::Text(name.to_owned()));
        Self::Compare(Comparison::Equal, part.into(), name.into())
    }

    /// Calls `each` with every column it reads.
    pub fn each_column<'e>(&'e self, each: &mut impl FnMut(&'e Arc<Column>)) {
        match self {
            Self::Column(column)
            | Self::Part(_, _, column)
            | Self::Rand(column)
            | Self::IsAbsent(column)
            | Self::Distance(_, column, _) => each(column),
            _ => self.children().into_iter().for_each(|child| child.each_column(each)),
        }
    }

    /// The direct children.
    pub fn children(&self) -> Vec<&Self> {
        match self {
            Self::Column(_) | Self::Part(..) | Self::Value(_) | Self::Rand(_) => Vec::new(),
            Self::IsAbsent(_) | Self::Distance(..) | Self::Element(..) => Vec::new(),
            Self::Any(list, _, condition) => vec![list, condition],
            Self::Not(a) | Self::Minus(a) | Self::IsNull(a) => vec![a],
            Self::Match(_, a, _) | Self::Item(a, ..) | Self::Field(a, ..) => vec![a],
            Self::And(many) | Self::Or(many) | Self::Call(_, many) => many.iter().collect(),
            Self::Compare(_, a, b) | Self::Arithmetic(_, a, b) => vec![a, b],
            Self::In(a, list) => std::iter::once(&**a).chain(list).collect(),
            Self::Between(a, b, c) => vec![a, b, c],
        }
    }
}

fn arithmetic(operation: Arithmetic, left: &Expr, right: &Expr) -> Type<'static> {
    let whole = |expr: &Expr| matches!(expr.kind(), Type::Int | Type::Null);
    match operation {
        Arithmetic::Concat => Type::Text,
        Arithmetic::Divide => Type::Float,
        _ if whole(left) && whole(right) => Type::Int,
        _ => Type::Float,
    }
}

impl Query {
    /// The columns it reads, each once, in order of appearance.
    pub fn columns(&self) -> Vec<&Arc<Column>> {
        let mut found: Vec<&Arc<Column>> = Vec::new();
        let mut add = |column| {
            if !found.contains(&column) {
                found.push(column);
            }
        };
        let parts = self.filter.iter().chain(self.order.iter().map(|key| &key.by));
        parts.for_each(|part| part.each_column(&mut add));
        found
    }

    /// Whether it is only a condition, without order, limit and offset.
    pub fn is_plain(&self) -> bool {
        self.order.is_empty() && self.limit.is_none() && self.offset == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `datachain.func.path` answers in 0.62.
    #[test]
    fn parts_of_paths_are_those_of_datachain() {
        let cases = [
            ("a/b/c", ["c", "c", "", "a/b"]),
            ("x.tar.gz", ["x.tar.gz", "x.tar", "gz", ""]),
            ("d/.hidden", [".hidden", "", "hidden", "d"]),
            ("a//b..c", ["b..c", "b", "c", "a"]),
            ("a..", ["a..", "a", "", ""]),
            ("d/...x", ["...x", "", "x", "d"]),
            ("//x", ["x", "x", "", ""]),
            ("a/", ["", "", "", "a"]),
            ("", ["", "", "", ""]),
        ];
        for (path, want) in cases {
            let found = Part::ALL.map(|part| part.of(path.as_bytes()));
            assert_eq!(found, want.map(str::as_bytes), "{path}");
        }
    }
}
