//! Groups of rows, and their aggregates, made by a server: only those that are exactly those of the
//! kernels.
//!
//! Keys are integers, booleans and texts, which are compared byte by byte on both sides; so are
//! least and greatest values. Sums of integers are made in 128 bits, and means are divided here.
//! Sums of floats depend on the order of rows, and datetimes are texts in SQL: these stay.

use super::{Class, Remote, Sql, Writer};
use crate::expr::eval::{Fold, Operand};
use crate::expr::typed::{Column, Expr};

/// What a server is asked for groups of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSql {
    /// The keys, then one value per aggregate; see [`Answered`].
    pub values: Vec<String>,
    /// The number of keys.
    pub keys: usize,
    pub answered: Vec<Answered>,
    /// The condition on rows; empty for all.
    pub filter: Sql,
}

/// What a server's value of an aggregate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// The value itself.
    Value,
    /// A sum in 128 bits, as text; NULL without a value.
    Sum,
    /// The same, and behind a space the number of values.
    SumAndCount,
}

/// The question for groups of the rows for which `filter` is true; `None` if a server cannot answer it
/// exactly as the kernels do.
pub fn groups(
    keys: &[Operand],
    folds: &[Fold],
    filter: Option<&Expr>,
    columns: &dyn Fn(&Column) -> Option<Remote>,
) -> Option<GroupSql> {
    let mut writer = Writer { columns, parameters: Vec::new() };
    let mut values = Vec::new();
    for key in keys {
        values.push(match operand(&writer, key)? {
            (Class::Int | Class::Bool, key) => format!("toInt64({key})"),
            (Class::Text, key) => key,
            (Class::Float | Class::Time, _) => return None,
        });
    }
    let mut answered = Vec::new();
    for fold in folds {
        let (value, how) = folded(&writer, fold)?;
        values.push(value);
        answered.push(how);
    }
    let text = match filter {
        Some(filter) => writer.condition(filter).filter(|text| text.len() <= super::MOST)?,
        None => String::new(),
    };
    let filter = Sql { text, parameters: writer.parameters };
    Some(GroupSql { values, keys: keys.len(), answered, filter })
}

fn operand(writer: &Writer<'_>, of: &Operand) -> Option<(Class, String)> {
    if of.part.is_some() { None } else { writer.column(&of.column) }
}

fn folded(writer: &Writer<'_>, fold: &Fold) -> Option<(String, Answered)> {
    let operand = |of| operand(writer, of);
    let number = |of| match operand(of)? {
        (Class::Int | Class::Bool, of) => Some(of),
        _ => None,
    };
    let sum = |of: &str| format!("if(count({of}) = 0, NULL, toString(sum(toInt128({of}))))");
    let extreme = |word: &str, of| {
        let (class, of) = operand(of)?;
        let value = match class {
            Class::Int | Class::Bool => format!("toInt64({word}({of}))"),
            Class::Text => format!("{word}({of})"),
            Class::Float | Class::Time => return None,
        };
        Some(format!("if(count({of}) = 0, NULL, {value})"))
    };
    Some(match fold {
        Fold::Rows => ("count()".to_owned(), Answered::Value),
        Fold::Count(of) => match operand(of)? {
            (Class::Time, _) => return None,
            (_, of) => (format!("count({of})"), Answered::Value),
        },
        Fold::Sum(of) => (sum(&number(of)?), Answered::Sum),
        Fold::Mean(of) => {
            let of = number(of)?;
            (format!("concat({}, ' ', toString(count({of})))", sum(&of)), Answered::SumAndCount)
        }
        Fold::Least(of) => (extreme("min", of)?, Answered::Value),
        Fold::Greatest(of) => (extreme("max", of)?, Answered::Value),
    })
}
